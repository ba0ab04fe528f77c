"""What can be asked, as a table of data: routes, the reading of requests and the document of both are made from it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ecproc.web.problems import BadRequest

JSON: Final = "application/json"
_SHOWN: Final = 80
_TRUE: Final = ("true", "false")


class Parameter(msgspec.Struct, frozen=True, kw_only=True):
    """One parameter of a query: a word of `words`, a whole number of `numbers` (first and last), or any text.

    For the document: whether it is `needed`, and the pattern of a text and how long that may be, as its `form`.
    """

    name: str
    text: str
    words: tuple[str, ...] = ()
    numbers: tuple[int, int] | None = None
    in_header: bool = False
    needed: bool = False
    form: tuple[str, int] | None = None

    def check(self, value: str) -> None:
        """Raise BadRequest unless the value is one of its own."""
        if self.words and value not in self.words:
            known = sorted(self.words)
            raise BadRequest(f"{self.name} must be one of {', '.join(known)}", field=self.name, allowed=known)
        if self.numbers is not None and not _is_whole(value, *self.numbers):
            first, last = self.numbers
            raise BadRequest(f"{self.name} must be a whole number from {first} to {last}", field=self.name)


class Given(msgspec.Struct, frozen=True):
    """The parameters of one request, each as its operation allows it."""

    values: Mapping[str, str]

    def text(self, name: str) -> str | None:
        """The text or word of that name, None where it was not given."""
        return self.values.get(name)

    def number(self, name: str, default: int) -> int:
        """The whole number of that name."""
        value = self.values.get(name)
        return default if value is None else int(value)

    def flag(self, name: str) -> bool:
        """Whether the parameter of that name says true."""
        return self.values.get(name) == "true"


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that can be asked.

    `path` names its one variable part, which may hold anything, in braces. Where `parameters` is None any may be given.
    `takes` is the type of the document that is to be sent, None for none. `answers` are the kinds of a good answer, and
    `status` is its own: the type of its document, or None for text. `fails` are its own statuses, beside those that any
    request may get.
    """

    path: str
    name: str
    text: str
    answer: Callable[[Request, Given], Awaitable[Response]]
    method: str = "GET"
    status: int = 200
    parameters: tuple[Parameter, ...] | None = None
    takes: Any = None
    answers: Mapping[str, Any]
    fails: Mapping[int, str] = {}

    def make_route(self) -> Route:
        """Where it is asked."""
        return Route(self.path.replace("}", ":path}"), self._respond, methods=[self.method], name=self.name)

    async def _respond(self, request: Request) -> Response:
        asked = Given({}) if self.parameters is None else read_parameters(request, self.parameters)
        return await self.answer(request, asked)


def flag(name: str, text: str) -> Parameter:
    """A parameter that is true or false."""
    return Parameter(name=name, text=text, words=_TRUE)


def read_parameters(request: Request, known: tuple[Parameter, ...]) -> Given:
    """What a request gives of these. Raises BadRequest for others, for a second one, and for a value that is none."""
    values: dict[str, str] = {}
    in_query = {parameter.name for parameter in known if not parameter.in_header}
    for name, value in request.query_params.multi_items():
        if name not in in_query:
            raise BadRequest(f"unknown parameter {name[:_SHOWN]}", field=name[:_SHOWN], allowed=sorted(in_query))
        if name in values:
            raise BadRequest(f"{name} is given twice", field=name)
        values[name] = value
    for parameter in known:
        given = request.headers.get(parameter.name) if parameter.in_header else values.get(parameter.name)
        if given is not None:
            parameter.check(given)
            values[parameter.name] = given
    return Given(values)


def _is_whole(text: str, first: int, last: int) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= len(str(last)) and first <= int(text) <= last
