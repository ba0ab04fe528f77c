"""What a rule makes of a value before or after its table: escapes undone, lists taken apart, times told by a zone."""

from __future__ import annotations

import html
import re
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Final, NamedTuple

from ecproc.domain.times import EPOCH, parse_time

_ESCAPE: Final = re.compile(r'\\([\\"/nrt])')
_MEANT: Final = {"n": "\n", "r": "\r", "t": "\t"}
_SHOWN: Final = "%Y-%m-%d %H:%M:%S"


class MovedTime(NamedTuple):
    """A time in UTC, and why it may be another one than was meant; empty where the clock showed it once."""

    text: str
    doubt: str = ""


def unescape(text: str) -> str:
    r"""The text with `\n`, `\"` and their like as the characters they stand for, and HTML's `&lt;` and its like too."""
    return html.unescape(_ESCAPE.sub(lambda match: _MEANT.get(match[1], match[1]), text))


def split_list(text: str, separator: str) -> list[str]:
    """The items of a list, without blanks around them and without empty ones, in their order (R53)."""
    return [item for part in text.split(separator) if (item := part.strip())]


def show_time(text: str, zone: tzinfo | None = None) -> str | None:
    """A time in UTC as the clocks of a zone show it, UTC's if there is none, like `2026-01-31 12:00:00` (R155); None
    where the text is no time."""
    at = parse_time(text)
    if at is None:
        return None
    try:
        return (EPOCH + timedelta(microseconds=at)).astimezone(zone or UTC).strftime(_SHOWN)
    except OverflowError:
        return None


def read_time(text: str, zone: tzinfo) -> MovedTime | None:
    """A time as the clocks of a zone show it, in UTC; one with an offset of its own is that time. None where the text
    is no time.

    Of a time that the clocks show twice the first is taken, and of one that they skip what they show then; both are
    told.
    """
    try:
        moment = datetime.fromisoformat(text.strip())
        if moment.tzinfo is not None:
            return MovedTime(_in_utc(moment))
        first, second = moment.replace(tzinfo=zone), moment.replace(tzinfo=zone, fold=1)
        told = _in_utc(first)
        if first.utcoffset() == second.utcoffset():
            return MovedTime(told)
        back = datetime.fromisoformat(told).astimezone(zone).replace(tzinfo=None)
    except (ValueError, OverflowError):
        return None
    return MovedTime(told, "the clocks show it twice" if back == moment else "the clocks skip it")


def _in_utc(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
