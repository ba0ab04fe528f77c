"""Moments of the log as people name them: by a position, or by a time."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, NamedTuple

from cyclopts import Parameter, Token

from ecproc.cli.session import Failed, UsageError
from ecproc.clock import SystemClock
from ecproc.domain.times import EPOCH, MICROSECOND, format_time

if TYPE_CHECKING:
    from ecproc.reading.queries import Queries

_NUMBER: Final = re.compile(r"[+-]?[0-9]+")
_LARGEST: Final = 2**63 - 1
_EXAMPLE: Final = "2026-01-31T12:00:00Z"
_BACK: Final = re.compile(r"([0-9]{1,9})([smhdw])")
_SECONDS: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}


class Moment(NamedTuple):
    """A position of the log, or without one a time in microseconds UTC; `shown` is how a person reads it."""

    position: int | None
    time: int
    shown: str


def moment_option(help: str) -> Parameter:
    """An option that takes a position or a time, which is UTC where it names no zone."""

    def convert(_type: object, tokens: Sequence[Token]) -> Moment:
        try:
            return read_moment(tokens[0].value)
        except ValueError as error:
            raise UsageError(f"invalid value for {tokens[0].keyword}: {error}") from None

    return Parameter(
        help=help,
        converter=convert,
        metavar="POSITION|TIME",
        n_tokens=1,
        accepts_keys=False,
        allow_leading_hyphen=True,
    )


def read_moment(text: str) -> Moment:
    """The moment that is meant. Raises ValueError, which says what one looks like."""
    if _NUMBER.fullmatch(text):
        position = int(text) if len(text) < len(str(_LARGEST)) else _LARGEST * (-1 if text[0] == "-" else 1)
        if position < 1:
            raise ValueError(f"{text} is no position of the log, they are >= 1")
        return Moment(position, 0, f"position {text}")
    try:
        return _read_time(text)
    except (ValueError, OverflowError):
        raise ValueError(f"{text} is neither a position of the log nor a time such as {_EXAMPLE}") from None


def since_option(help: str) -> Parameter:
    """An option that takes a time, or how long ago it was; in microseconds UTC."""

    def convert(_type: object, tokens: Sequence[Token]) -> int:
        try:
            return read_since(tokens[0].value, SystemClock().now())
        except ValueError as error:
            raise UsageError(f"invalid value for {tokens[0].keyword}: {error}") from None

    return Parameter(help=help, converter=convert, metavar="TIME")


def read_since(text: str, now: int) -> int:
    """The time that is meant, in microseconds UTC. Raises ValueError, which says what one looks like."""
    back = _BACK.fullmatch(text.strip().lower())
    if back is not None:
        return max(0, now - int(back[1]) * _SECONDS[back[2]] * 1_000_000)
    try:
        return _read_time(text).time
    except (ValueError, OverflowError):
        raise ValueError(
            f"{text} is neither a time such as {_EXAMPLE} nor how long ago, such as 30m, 2h or 7d"
        ) from None


def _read_time(text: str) -> Moment:
    when = datetime.fromisoformat(text.strip().upper())
    when = when.replace(tzinfo=UTC) if when.tzinfo is None else when.astimezone(UTC)
    return Moment(None, (when - EPOCH) // MICROSECOND, f"{when:%Y-%m-%d %H:%M:%S}Z")


async def find_position(queries: Queries, moment: Moment) -> int:
    """The last position of that moment. Raises Failed where it lies behind the end of what is known."""
    if moment.position is not None:
        await check_position(queries, moment.position)
        return moment.position
    if moment.time > SystemClock().now():
        raise Failed(f"{moment.shown} is still to come; {await _describe_end(queries)}")
    return await queries.find_position(moment.time)


async def check_position(queries: Queries, position: int) -> None:
    """Raise Failed where the log does not go so far."""
    if position > (await queries.read_end())[0]:
        raise Failed(f"there is no position {position} yet; {await _describe_end(queries)}")


async def _describe_end(queries: Queries) -> str:
    position, at = await queries.read_end()
    return f"the log ends at position {position}, {format_time(at)}" if position else "the log is empty"
