"""The verdict: what a stream waits for, since when, until when, and who can do something about it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import StrEnum
from typing import Final

import msgspec

from ecproc.domain.deltas import Timer
from ecproc.domain.effects import EffectKind, Lane
from ecproc.domain.entry import Entry, EntryState
from ecproc.domain.events import PAUSED_TICKET, Hold, TimerName
from ecproc.domain.log import RecordedEvent, Row
from ecproc.domain.timers import APPROVED_BEFORE
from ecproc.domain.times import format_time
from ecproc.fold.control import CONTROL_STREAM
from ecproc.fold.recorded import decode_entry, decode_timer
from ecproc.reading.lanes import find_waiting
from ecproc.store.base import Reader

_PASSED_OVER: Final = 5 * 60 * 1_000_000
"""Microseconds for which the log went on without a ticket's undecided event: nothing but a parked ticket waits that
long."""


class WaitWord(StrEnum):
    """What may be waited for: the closed set."""

    DESK = "desk"
    """An effect at the client's desk."""
    BRIDGE = "bridge"
    """A call to Ensono."""
    ATTACHMENT = "attachment"
    """A download."""
    UNKNOWN_RESULT = "unknown_result"
    """Whether a call whose answer was lost was carried out."""
    PAUSED = "paused"
    """Somebody paused the ticket or a destination."""
    PARKED = "parked"
    """The ticket, or one of its effects, waits for a person."""
    DEAD_LETTER = "dead_letter"
    """An effect was given up."""
    APPROVAL = "approval"
    """An answer to an approval that Ensono asked for."""
    CONFIRMATION = "confirmation"
    """A message that shows what a command of ours asked for."""
    OFF_HOLD = "off_hold"
    """The time until which the ticket is on hold."""
    PRESUMED_CLOSED = "presumed_closed"
    """It was resolved so long ago that Ensono has probably closed it."""


class Mover(StrEnum):
    """Who has to do something for it to go on."""

    NOBODY = "nobody"
    """It goes on by itself."""
    OPERATOR = "operator"
    """Whoever runs ecproc."""
    CLIENT = "client"
    """The client's own people."""
    ENSONO = "ensono"
    """Ensono's people."""


class WaitingFor(msgspec.Struct, frozen=True):
    """The first thing that a stream waits for, what a person should look at before what goes on by itself."""

    what: WaitWord
    since: str | None
    until: str | None
    who: Mover
    hint: str


class PauseNow(msgspec.Struct, frozen=True):
    """Who paused something, when and why."""

    at: str = ""
    who: str = ""
    note: str = ""


class Around(msgspec.Struct, frozen=True):
    """What concerns more than one stream: destinations that are paused, streams with something undecided, and when
    the log's last event was recorded."""

    paused: Mapping[str, PauseNow] = {}
    undecided: frozenset[str] = frozenset()
    now: int = 0


_LANE_WORDS: Final[Mapping[Lane, WaitWord]] = {
    Lane.DESK: WaitWord.DESK,
    Lane.BRIDGE: WaitWord.BRIDGE,
    Lane.ATTACHMENTS: WaitWord.ATTACHMENT,
}
_TIMER_ORDER: Final = tuple(TimerName)
_decode_pause = msgspec.json.Decoder(PauseNow).decode


async def look_around(reader: Reader) -> Around:
    """What concerns more than one stream, as of now."""
    paused = {
        row.id: _decode_pause(row.data or b"{}") for row in await reader.read_rows("pause", stream=CONTROL_STREAM)
    }
    undecided = frozenset(await reader.undecided_streams())
    last = await reader.read_event((await reader.head()).position) if undecided else None
    return Around(paused, undecided, last.at if last is not None else 0)


async def read_wait(reader: Reader, header: Row, entries: Iterable[Row], around: Around) -> WaitingFor | None:
    """What that header's stream waits for, `entries` being the rows of its outbox."""
    stream = header.stream
    passed_over = await find_passed_over(reader, stream, around)
    return find_wait(
        header,
        entries,
        await reader.read_rows("timer", stream=stream),
        await reader.read_rows("pause", stream=stream),
        around=around,
        passed_over=passed_over,
    )


def find_wait(
    header: Row,
    entries: Iterable[Row],
    timers: Iterable[Row],
    pauses: Iterable[Row],
    *,
    around: Around,
    passed_over: RecordedEvent | None = None,
) -> WaitingFor | None:
    """What a stream waits for, by its rows; `passed_over` is the event that stopped it."""
    if passed_over is not None:
        return _describe_parked(header.stream, passed_over)
    for row in pauses:
        if row.id == PAUSED_TICKET:
            return _describe_pause(_decode_pause(row.data or b"{}"), header.stream)
    open_entries = [decode_entry(row.data or b"") for row in entries if row.tag is not None]
    found = next(_list_entry_waits(open_entries, around), None)
    return found or _find_timer(header.stream, [decode_timer(row.data or b"") for row in timers])


async def find_passed_over(reader: Reader, stream: str, around: Around) -> RecordedEvent | None:
    """The stream's first undecided event, if the log went on long without it."""
    if stream not in around.undecided:
        return None
    counters = await reader.stream_state(stream)
    waiting = await reader.read_stream(stream, after=counters.through, limit=1)
    return waiting[0] if waiting and around.now - waiting[0].at >= _PASSED_OVER else None


# --- what is stopped --------------------------------------------------------------------------------------------------


def _describe_parked(stream: str, event: RecordedEvent) -> WaitingFor:
    hint = (
        f"its event at position {event.position} could not be taken: see ticket_parked in the log, then resume {stream}"
    )
    return WaitingFor(WaitWord.PARKED, format_time(event.at), None, Mover.OPERATOR, hint)


def _describe_pause(pause: PauseNow, what: str) -> WaitingFor:
    why = f" ({pause.note})" if pause.note else ""
    hint = f"{what} was paused by {pause.who}{why}: ecproc resume {what}"
    return WaitingFor(WaitWord.PAUSED, pause.at or None, None, Mover.OPERATOR, hint)


# --- entries ----------------------------------------------------------------------------------------------------------


def _list_entry_waits(entries: Sequence[Entry], around: Around) -> Iterator[WaitingFor]:
    """What its outbox waits for, the worst first."""
    for entry in entries:
        if entry.is_dead_letter:
            reason = f": {entry.reason}" if entry.reason else ""
            shown = f"ecproc outbox show {entry.effect.key}, then retry or discard"
            hint = f"{entry.effect.kind} is {entry.state}{reason}; {shown}"
            yield _describe_entry(WaitWord.DEAD_LETTER, entry, Mover.OPERATOR, hint)
    for entry in entries:
        if entry.state is EntryState.UNKNOWN:
            hint = f"{entry.effect.kind} may have been done ({entry.reason}): it is asked for or repeated by itself"
            yield _describe_entry(WaitWord.UNKNOWN_RESULT, entry, Mover.NOBODY, hint)
    first = [find_waiting([entry for entry in entries if entry.lane is lane]).next for lane in Lane]
    due = sorted([entry for entry in first if entry is not None], key=_trouble)
    for entry in due:
        destination = _destination(entry)
        if destination in around.paused:
            yield _describe_pause(around.paused[destination], destination)
    for entry in due:
        yield _describe_due(entry)


def _trouble(entry: Entry) -> tuple[bool, bool]:
    """What is held stands before what was tried and waits, and that before what is merely due."""
    return entry.held is None, entry.tries == 0


def _destination(entry: Entry) -> str:
    """What has to be paused for the entry to wait: files go to Ensono, too."""
    return Lane.BRIDGE.value if entry.effect.kind is EffectKind.UPLOAD else entry.lane.value


def _describe_due(entry: Entry) -> WaitingFor:
    who = Mover.OPERATOR if entry.held is not None else Mover.NOBODY
    why = {
        None: f": {entry.reason}" if entry.reason else "",
        Hold.ODD_ANSWER: f" was answered oddly: {entry.reason}",
        Hold.CONFIGURATION: f" is refused by our configuration: {entry.reason}",
    }[entry.held]
    return _describe_entry(_LANE_WORDS[entry.lane], entry, who, f"{entry.effect.kind} ({entry.state}){why}")


def _describe_entry(what: WaitWord, entry: Entry, who: Mover, hint: str) -> WaitingFor:
    until = None if entry.next_attempt_at is None else format_time(entry.next_attempt_at)
    return WaitingFor(what, format_time(entry.effect.at), until, who, hint)


# --- timers -----------------------------------------------------------------------------------------------------------


def _find_timer(stream: str, timers: Sequence[Timer]) -> WaitingFor | None:
    """The wait of the first timer that has something to say, those that a person should look at before others."""
    for timer in sorted(timers, key=_rank):
        if (found := _describe_timer(stream, timer)) is not None:
            return found
    return None


def _rank(timer: Timer) -> tuple[bool, int, int]:
    name = timer.timer
    to_look_at = timer.elapsed_at is not None and name in (TimerName.APPROVAL, TimerName.CONFIRMATION)
    return not to_look_at, -_TIMER_ORDER.index(name) if to_look_at else _TIMER_ORDER.index(name), timer.due_at or 0


def _describe_timer(stream: str, timer: Timer) -> WaitingFor | None:
    """What is waited for; of a confirmation and the end of a resolved ticket there is nothing to say before they are
    overdue."""
    elapsed, since = timer.elapsed_at is not None, format_time(timer.since)
    until = None if timer.due_at is None else format_time(timer.due_at)
    match timer.timer:
        case TimerName.APPROVAL:
            starts = None if timer.due_at is None else format_time(timer.due_at + APPROVED_BEFORE)
            soon = ", and the change starts within a day" if elapsed else ""
            hint = f"approval {timer.about} is open{soon}: ecproc send approve {stream}, or reject"
            return WaitingFor(WaitWord.APPROVAL, since, starts, Mover.CLIENT, hint)
        case TimerName.CONFIRMATION if elapsed:
            hint = f"Ensono took it, and no message has shown it: ecproc outbox show {timer.about}, then ask Ensono"
            return WaitingFor(WaitWord.CONFIRMATION, since, None, Mover.OPERATOR, hint)
        case TimerName.OFF_HOLD:
            hint = "its date has come, and no message says that it goes on" if elapsed else "it is on hold"
            return WaitingFor(WaitWord.OFF_HOLD, since, until, Mover.ENSONO, hint)
        case TimerName.PRESUMED_CLOSED if elapsed:
            hint = "resolved for seven days, after which Ensono closes a ticket: no message has said so"
            return WaitingFor(WaitWord.PRESUMED_CLOSED, since, None, Mover.ENSONO, hint)
        case _:
            return None
