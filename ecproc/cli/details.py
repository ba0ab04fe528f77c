"""An outbox entry and a message in quarantine as a person reads them at a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import msgspec

from ecproc.cli.printable import printable_line
from ecproc.reading.entries import EntryDetail
from ecproc.reading.lanes import LaneState
from ecproc.reading.quarantine import QuarantineDetail

_LANES: Final[Mapping[LaneState, str]] = {
    LaneState.IDLE: "nothing in it is unfinished",
    LaneState.DUE: "{next} is due",
    LaneState.WAITING: "{next} is tried again at {until}",
    LaneState.EXECUTING: "{next} is being performed",
    LaneState.HELD: "what is unfinished waits for a create that is dead",
}


class _Event(msgspec.Struct):
    """What of an event a person sees; nothing where there is none."""

    position: int = 0
    at: str = ""
    stream: str = ""
    kind: str = ""
    message_id: str = ""
    data: Any = None


def draw_entry(entry: EntryDetail) -> Iterator[str]:
    """The entry, what led to it, what came of it, and its place in its lane."""
    yield f"{_plain(entry.key)}  {_plain(entry.kind)}  {entry.state}"
    yield from _pairs(
        {
            "ticket": entry.ticket,
            "client ticket": entry.client_ticket,
            "planned": _short_time(entry.planned_at),
            "attempts": f"{entry.attempts} of {entry.tries} tries count",
            "reason": entry.reason,
            "next attempt": _short_time(entry.next_attempt_at),
            "deadline": _short_time(entry.deadline),
            **{f"result {name}": value for name, value in entry.result.items()},
            **{f"field {name}": value for name, value in entry.fields.items()},
        }
    )
    yield from _section("Cause", map(_line, [entry.cause]))
    yield from _section("Attempts", map(_line, entry.events))
    now = entry.lane_now
    said = _LANES[now.state].format(next=_plain(now.next), until=_short_time(now.until))
    yield from _section(f"Lane {entry.lane} of this ticket, {now.unfinished} unfinished", [said])
    yield from _section("Waits for", [] if entry.waits_for is None else [_plain(entry.waits_for)])
    yield from _section("Blocks", map(_plain, entry.blocks))


def draw_message(message: QuarantineDetail) -> Iterator[str]:
    """The message, why it could not be taken, its body, and whether this version would take it."""
    yield f"{message.position}  {_plain(message.stream)}  {message.reason}"
    bad, now = message.bad_byte, message.now
    yield from _pairs(
        {
            "message": message.message_id,
            "received": _short_time(message.at),
            "detail": message.detail,
            "first bad byte": bad and f"byte {bad.offset} (0x{bad.hex}), line {bad.line}, column {bad.column}",
            "taken now": "yes" if now.taken else f"no: {now.reason} {now.detail}".rstrip(),
            "same id at": ", ".join(map(str, message.same_id)),
        }
    )
    if message.body_base64 is msgspec.UNSET:
        pretty = msgspec.json.format(bytes(message.body), indent=2).decode()
        yield from _section("Body", pretty.splitlines())
    yield from _section("Body as received", message.raw.splitlines())


def _pairs(members: Mapping[str, object]) -> Iterator[str]:
    shown = {name: value for name, value in members.items() if value not in (None, "")}
    width = max(map(len, shown), default=0)
    for name, value in shown.items():
        yield f"  {_plain(name):{width}}  {_plain(value)}"


def _section(title: str, lines: Iterable[str]) -> Iterator[str]:
    shown = [f"  {printable_line(line)}" for line in lines if line]
    if shown:
        yield f"\n{title}"
        yield from shown


def _line(raw: msgspec.Raw) -> str:
    event = msgspec.json.decode(raw, type=_Event | None)
    if event is None:
        return ""
    data = event.data if isinstance(event.data, dict) else {}
    kept = {name: value for name, value in data.items() if name not in ("key", "attributes", "body", "effects")}
    told = msgspec.json.encode(kept).decode() if kept else event.message_id
    return f"{event.position:>8}  {_short_time(event.at)}  {event.stream}  {event.kind}  {told}"


def _short_time(text: str | None) -> str | None:
    return None if text is None else f"{text[:19].replace('T', ' ')}Z"


def _plain(value: object) -> str:
    return printable_line(str(value))
