"""The verdict as a person reads it: what a ticket waits for, whose turn it is, and what to type about it."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import Any, Final

import msgspec
from rich.text import Text

from ecproc.cli.printable import printable_line
from ecproc.cli.spans import describe_span
from ecproc.domain.times import parse_time

_TURNS: Final = {
    "nobody": "it goes on by itself",
    "operator": "it is the operator's turn",
    "client": "it is the client's turn",
    "ensono": "it is Ensono's turn",
}
_NONE_RUNS: Final = "no processor runs, and nothing goes on until one does"
_SHOW: Final = "ecproc outbox show "


class _Wait(msgspec.Struct):
    what: str
    who: str
    hint: str
    since: str | None
    until: str | None


class _Approval(msgspec.Struct):
    id: str
    email: str
    state: str


class _Seen(msgspec.Struct):
    """What of a document says what can be done."""

    paused: bool = False
    waiting_for: _Wait | None = None
    approvals: list[_Approval] = []


def draw_verdict(waits: dict[str, Any] | None, *, now: int, runs: bool = True) -> Text:
    """What is waited for, since when and until when, and whose turn it is; `runs` is whether a processor does."""
    if waits is None:
        return Text("waits for nothing", style="green")
    verdict = Text("waits for ", style="yellow")
    verdict.append(plain(waits["what"]).replace("_", " "), style="bold yellow")
    if waits["since"] is not None:
        verdict.append(" since ").append_text(tell_time(waits["since"], now))
    if waits["until"] is not None:
        verdict.append_text(_tell_end(waits["until"], now))
    is_left = waits["who"] == "nobody" and not runs
    verdict.append(f"; {_NONE_RUNS if is_left else _TURNS.get(waits['who'], '')}")
    return verdict.append("\n").append(plain(waits["hint"]), style="default")


def _tell_end(until: str, now: int) -> Text:
    time = parse_time(until)
    if time is None or time > now:
        return Text(" until ").append_text(tell_time(until, now))
    return Text(f", was due {describe_span(now - time)} ago")


def list_remedies(name: str, document: bytes) -> Sequence[str]:
    """The commands that a person can do something with about what that ticket waits for; `name` is its number.

    What stands in capitals is to be filled in.
    """
    seen = msgspec.json.decode(document, type=_Seen)
    waits, number = seen.waiting_for, shlex.quote(name)
    if waits is None:
        return ()
    match waits.what:
        case "paused":
            # A destination is named by nothing but the hint, which begins with it.
            return (f"ecproc resume {number if seen.paused else waits.hint.partition(' ')[0]}",)
        case "parked":
            return (f"ecproc events {number}", f"ecproc resume {number}")
        case "dead_letter":
            key = _find_key(waits.hint, ", then retry or discard")
            entries = [f"ecproc outbox {act} {key}" for act in ("retry", "discard")]
            return (f"{_SHOW}{key}", f"{entries[0]} --wait", f"{entries[1]} --note TEXT")
        case "confirmation":
            return (f"{_SHOW}{_find_key(waits.hint, ', then ask Ensono')}",)
        case "approval":
            return _answer_approvals(number, seen.approvals)
        case "off_hold" | "presumed_closed":
            return (f"ecproc send note {number} --body TEXT",)
        case _:
            held = ("ecproc config check",) if waits.who == "operator" else ()
            return (f"ecproc outbox list --ticket {number}", *held)


def _find_key(hint: str, end: str) -> str:
    """The entry's key that the hint names: after it comes `end`."""
    return shlex.quote(hint.rpartition(end)[0].rpartition(_SHOW)[2])


def _answer_approvals(number: str, approvals: Sequence[_Approval]) -> Sequence[str]:
    asked = [item for item in approvals if item.state == "requested"]
    return [
        f"ecproc send {answer} {number} --approver {shlex.quote(item.email) or 'EMAIL'} --comment TEXT"
        + (f" --approval-id {shlex.quote(item.id)}" if len(asked) > 1 else "")
        for item in asked
        for answer in ("approve", "reject")
    ]


def tell_time(text: str | None, now: int) -> Text:
    """A time of a document to the second, with how long ago or ahead of `now` (microseconds UTC) it is."""
    time = parse_time(text or "")
    if text is None or time is None:
        return plain_text(text)
    span = describe_span(abs(now - time))
    shown = f"{text[:19].replace('T', ' ')}Z"
    return Text(f"{printable_line(shown)} ({f'in {span}' if time > now else f'{span} ago'})")


def plain_text(value: object) -> Text:
    """Any value of a document on one line."""
    return Text(plain(value))


def plain(value: object) -> str:
    """The same as a string."""
    match value:
        case None:
            return "–"
        case bool():
            return "yes" if value else "no"
        case dict() | list():
            return printable_line(msgspec.json.encode(value).decode())
        case _:
            return printable_line(str(value))
