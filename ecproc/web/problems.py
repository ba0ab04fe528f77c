"""What a request gets that cannot be answered: a problem document (RFC 9457)."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from http import HTTPStatus
from typing import Final

import msgspec
from msgspec import UNSET, UnsetType
from starlette.exceptions import HTTPException
from starlette.responses import Response

from ecproc.reading.escaping import one_line

PROBLEM_TYPE: Final = "application/problem+json"


class Problem(msgspec.Struct, frozen=True, omit_defaults=True):
    """Why there is no answer; where one parameter or member is to blame its name, and what it may be."""

    title: str
    status: int
    detail: str
    field: str | UnsetType = UNSET
    allowed: tuple[str, ...] | UnsetType = UNSET


class BadRequest(HTTPException):
    """One parameter or member is to blame; `allowed` are the words it may be, where they can be listed."""

    def __init__(self, detail: str, *, field: str, allowed: Collection[str] = (), status: int = 400) -> None:
        super().__init__(status, detail)
        self.field = field
        self.allowed = tuple(allowed)


def problem_answer(status: int, detail: str, headers: Mapping[str, str] | None = None) -> Response:
    """The problem as an answer."""
    return _answer(Problem(_title(status), status, detail), headers or {})


def answer_refused(error: HTTPException) -> Response:
    """The answer to what was refused while it was read."""
    problem = Problem(_title(error.status_code), error.status_code, error.detail)
    if isinstance(error, BadRequest):
        allowed = error.allowed or UNSET
        problem = msgspec.structs.replace(problem, field=error.field, allowed=allowed)
    return _answer(problem, error.headers or {})


def encode_problem(status: int, detail: str) -> bytes:
    """The problem's document alone."""
    return one_line(msgspec.json.encode(Problem(_title(status), status, detail)))


def _answer(problem: Problem, headers: Mapping[str, str]) -> Response:
    return Response(one_line(msgspec.json.encode(problem)), problem.status, dict(headers), PROBLEM_TYPE)


def _title(status: int) -> str:
    return HTTPStatus(status).phrase
