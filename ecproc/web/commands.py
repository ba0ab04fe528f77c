"""Commands to Ensono over HTTP, and how far each of them is."""

from __future__ import annotations

from typing import Final, assert_never

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from ecproc.commands.capability import Refusal
from ecproc.commands.intake import Accepted, Conflict, Intake, IntakeAnswer, Overloaded
from ecproc.commands.requests import AnyCommand, Attach, NoteOn, Update, kind_of, name_argument
from ecproc.commands.values import KEY_PATTERN, LONGEST_KEY, check_key
from ecproc.domain.commands import CommandKind
from ecproc.reading.commands import ShownCommand
from ecproc.web.answers import answer_document
from ecproc.web.connection import LOCAL
from ecproc.web.guard import find_role
from ecproc.web.operations import JSON, Given, Operation, Parameter
from ecproc.web.orders import FAILS, person_of, read_body
from ecproc.web.problems import BadRequest

KEY_HEADER: Final = "Idempotency-Key"
_LONGEST_WAIT: Final = 300
_ACCEPTED: Final = 202


class CommandPages:
    """One method per thing that can be asked about commands."""

    def __init__(self, intake: Intake) -> None:
        self._intake = intake

    def list_operations(self) -> tuple[Operation, ...]:
        """What can be asked."""
        key_text = "What this command is known by: the same once more is the same command, and gets what became of it."
        wait = Parameter(name="wait", text="Seconds to wait until it is settled.", numbers=(0, _LONGEST_WAIT))
        return (
            Operation(
                path="/api/v1/commands",
                name="send",
                text="Have something done at Ensono's; its document as it is accepted, or settled within the wait.",
                answer=self.take,
                method="POST",
                status=_ACCEPTED,
                parameters=(
                    Parameter(
                        name=KEY_HEADER, text=key_text, in_header=True, needed=True, form=(KEY_PATTERN, LONGEST_KEY)
                    ),
                    wait,
                ),
                takes=AnyCommand,
                answers={JSON: ShownCommand},
                fails={**FAILS, 409: "It is refused as things stand, or the key was used for another command."},
            ),
            Operation(
                path="/api/v1/commands/{key}",
                name="command",
                text="A command that was accepted, as of now.",
                answer=self.show,
                parameters=(wait,),
                answers={JSON: ShownCommand},
                fails={404: "No command was accepted under this key."},
            ),
        )

    async def take(self, request: Request, asked: Given) -> Response:
        command: AnyCommand = await read_body(request, AnyCommand)
        local = find_role(request.scope) == LOCAL
        key = asked.text(KEY_HEADER) or ""
        refused = check_key(key) if key else None
        if refused is not None:
            raise BadRequest(refused.reason, field=KEY_HEADER)
        if not key and (not local or isinstance(command, (NoteOn, Update))):
            raise BadRequest("a command needs a key of its own", field=KEY_HEADER)
        if isinstance(command, Attach) and command.file is not None and not local:
            raise BadRequest(
                "a file of this machine is named by the control socket only: send its content", field="file"
            )
        answer = await self._intake.take(command, key=key, who=person_of(request, "").who)
        document = _read_answer(kind_of(command), answer)
        if seconds := asked.number("wait", 0):
            document = await self._intake.wait(document.command, seconds) or document
        return answer_document(msgspec.json.encode(document), _ACCEPTED)

    async def show(self, request: Request, asked: Given) -> Response:
        key = str(request.path_params["key"])
        document = await self._intake.wait(key, asked.number("wait", 0))
        if document is None:
            raise HTTPException(404, f"no command was accepted under {key[:80]}")
        return answer_document(msgspec.json.encode(document))


def _read_answer(kind: CommandKind, answer: IntakeAnswer) -> ShownCommand:
    match answer:
        case Accepted(document=document):
            return document
        case Refusal(reason=reason, field=field, allowed=allowed):
            if field:
                raise BadRequest(reason, field=name_argument(kind, field), allowed=allowed, status=409)
            raise HTTPException(409, reason)
        case Conflict(key=key):
            raise BadRequest(f"the key {key} was used for another command", field=KEY_HEADER, status=409)
        case Overloaded():
            raise HTTPException(503, "the outbox is full: nothing is taken until some of it is done")
        case _:
            assert_never(answer)
