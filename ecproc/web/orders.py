"""What a person changes over HTTP: entries retried and discarded, messages let out of quarantine, pauses."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, get_args
from urllib.parse import unquote

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from ecproc.commands.linking import LinkReport
from ecproc.commands.orders import (
    EntriesOrder,
    EntriesReport,
    EntryOrder,
    LinksOrder,
    MessageReport,
    NoteOrder,
    PauseOrder,
    PauseReport,
    steer_entries,
    steer_links,
    steer_message,
    steer_pause,
)
from ecproc.commands.steering import Person, SteeredEntry, Steering
from ecproc.control import WHO_HEADER
from ecproc.domain.events import Act
from ecproc.web.answers import answer_document
from ecproc.web.connection import LOCAL
from ecproc.web.guard import find_role
from ecproc.web.operations import JSON, Given, Operation
from ecproc.web.problems import BadRequest

_LONGEST_NAME: Final = 64
_REMOTE: Final = "command"
"""The role of whoever asks over the network."""

_SHOWN: Final = 80
_UNKNOWN: Final = re.compile(r"unknown field `(.*?)`")
_MISSING: Final = re.compile(r"missing required field `(\w+)`$")
_MEMBER: Final = re.compile(r"at `\$\.(\w+)")
_KIND: Final = "kind"
"""The member that tells documents apart of which several are taken."""
FAILS: Final = {
    403: "Nothing may be changed here: there is no command token.",
    404: "What is named is not there.",
    409: "It cannot be done as things stand; nothing was changed.",
    415: "The document is not said to be JSON.",
}


class _Kinded(msgspec.Struct):
    kind: str = ""


class Orders:
    """One method per thing that can be done."""

    def __init__(self, steering: Steering) -> None:
        self._steering = steering

    def list_operations(self) -> tuple[Operation, ...]:
        """What can be done."""
        endings, pauses = (Act.RETRY, Act.DISCARD), (Act.PAUSE, Act.RESUME)
        return (
            *(self._about_entries(act) for act in endings),
            *(self._about_entry(act) for act in endings),
            *(self._about_message(act) for act in endings),
            *(self._about_pause(act) for act in pauses),
            self._about_links(),
        )

    def _about_entries(self, act: Act) -> Operation:
        async def steer(request: Request, asked: Given) -> Response:
            order = await read_body(request, EntriesOrder)
            return _answer(await steer_entries(self._steering, act, order, person_of(request, order.note)))

        text = f"{act.capitalize()} these outbox entries, or all that a filter finds."
        return _post(f"/api/v1/outbox/{act}", f"{act}_entries", text, steer, (EntriesOrder, EntriesReport))

    def _about_entry(self, act: Act) -> Operation:
        async def steer(request: Request, asked: Given) -> Response:
            order = await read_body(request, EntryOrder)
            keys = EntriesOrder(keys=(request.path_params["key"],), force=order.force)
            report = await steer_entries(self._steering, act, keys, person_of(request, order.note))
            if refused := report.entries[0].refused:
                raise HTTPException(409, refused)
            return _answer(report.entries[0])

        text = f"{act.capitalize()} one outbox entry."
        return _post(f"/api/v1/outbox/{{key}}/{act}", f"{act}_entry", text, steer, (EntryOrder, SteeredEntry))

    def _about_message(self, act: Act) -> Operation:
        async def steer(request: Request, asked: Given) -> Response:
            order, name = await read_body(request, NoteOrder), request.path_params["name"]
            report = await steer_message(self._steering, act, name, person_of(request, order.note))
            if report.reason and find_role(request.scope) != LOCAL:  # a command tells its report
                raise HTTPException(409, f"it cannot be taken: {report.reason}")
            return _answer(report)

        text = "Have a message in quarantine taken." if act is Act.RETRY else "Take a message out of quarantine."
        return _post(f"/api/v1/quarantine/{{name}}/{act}", f"{act}_message", text, steer, (NoteOrder, MessageReport))

    def _about_pause(self, act: Act) -> Operation:
        async def steer(request: Request, asked: Given) -> Response:
            order = await read_body(request, PauseOrder)
            report = await steer_pause(self._steering, act, order, person_of(request, order.note))
            if report.reason and find_role(request.scope) != LOCAL:
                raise HTTPException(409, report.reason)
            return _answer(report)

        text = "Perform nothing more there." if act is Act.PAUSE else "Go on there."
        return _post(f"/api/v1/{act}", act, text, steer, (PauseOrder, PauseReport))

    def _about_links(self) -> Operation:
        async def steer(request: Request, asked: Given) -> Response:
            order = await read_body(request, LinksOrder)
            report = await steer_links(self._steering, order, person_of(request, order.note))
            if report.problems and find_role(request.scope) != LOCAL:
                told = [f"line {problem.line}: {problem.field}: {problem.text}" for problem in report.problems]
                raise HTTPException(409, "; ".join(told))
            return _answer(report)

        text = "Take over links that another integration made."
        return _post("/api/v1/links", "import_links", text, steer, (LinksOrder, LinkReport))


def _post(
    path: str,
    name: str,
    text: str,
    answer: Callable[[Request, Given], Awaitable[Response]],
    documents: tuple[type[msgspec.Struct], type[msgspec.Struct]],
) -> Operation:
    """The operation; `documents` are what it takes and what it answers."""
    takes, answers = documents
    return Operation(
        path=path,
        name=name,
        text=text,
        answer=answer,
        method="POST",
        parameters=(),
        takes=takes,
        answers={JSON: answers},
        fails=FAILS,
    )


def person_of(request: Request, note: str) -> Person:
    """Who asks: by the control socket the login name that the command tells, else the role."""
    told = request.headers.get(WHO_HEADER, "") if find_role(request.scope) == LOCAL else ""
    return Person(unquote(told)[:_LONGEST_NAME] or _REMOTE, note)


def _answer(report: msgspec.Struct) -> Response:
    return answer_document(msgspec.json.encode(report))


async def read_body(request: Request, shape: Any) -> Any:
    """The request's body as that document; no body is an empty one. A browser sends a form elsewhere without asking,
    but no JSON. Raises HTTPException."""
    body = await request.body()  # whose length the connection bounds
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != JSON:
        raise HTTPException(415, f"the body is JSON, and content-type says so: {JSON}")
    try:
        return msgspec.json.decode(body or b"{}", type=shape)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _blame(str(error), _list_shapes(shape), body) from None


def _blame(reason: str, shapes: Mapping[str, type[msgspec.Struct]], body: bytes) -> HTTPException:
    """The refusal, with the member that is to blame where there is one."""
    unknown, named = _UNKNOWN.search(reason), _MISSING.search(reason) or _MEMBER.search(reason)
    if unknown is not None:
        within = _MEMBER.search(reason) is not None
        meant = None if within else shapes.get(_read_kind(body) if len(shapes) > 1 else next(iter(shapes)))
        known = [field.encode_name for field in msgspec.structs.fields(meant)] if meant is not None else ()
        return BadRequest(f"unknown member {unknown[1][:_SHOWN]}", field=unknown[1][:_SHOWN], allowed=known)
    if named is None:
        return HTTPException(400, f"the body cannot be read: {reason}")
    member = named[1]
    return BadRequest(f"{member}: {reason}", field=member, allowed=shapes if member == _KIND else ())


def _list_shapes(shape: Any) -> dict[str, type[msgspec.Struct]]:
    """The documents that are taken, by what their `kind` says."""
    shapes: tuple[type[msgspec.Struct], ...] = get_args(shape) or (shape,)
    return {str(one.__struct_config__.tag): one for one in shapes}


def _read_kind(body: bytes) -> str:
    try:
        return msgspec.json.decode(body, type=_Kinded).kind
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ""
