"""What does not add up between us and Ensono, by the live rows and the log (R236).

Only tickets that have not come to their end are looked at: of others nothing would follow.

*Gap.* A message waited longer than the queue's four days, so that others may have expired (the anomaly `gap`); or a
ticket that was opened after this log began was first heard of by something else than its Create (`adopted`).
*Second consumer.* See `consumers`.
*Import open.* A link was imported, and no message of its ticket has come: whether Ensono has it nobody knows yet.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from enum import StrEnum
from typing import Final

import msgspec

from ecproc.domain import change, incident
from ecproc.domain.anomalies import Anomaly
from ecproc.domain.commands import CommandKind
from ecproc.domain.effects import EffectKind
from ecproc.domain.entry import Entry, EntryState
from ecproc.domain.events import Act, Message, OperatorActed, TimerName
from ecproc.domain.ids import CLIENT_PREFIX, return_key
from ecproc.domain.log import RecordedEvent
from ecproc.domain.times import format_time
from ecproc.fold.history import read_fact
from ecproc.fold.recorded import Kind, decode_command, decode_entry, decode_event, decode_timer
from ecproc.reading.consumers import Evidence, judge_consumers
from ecproc.reading.events import find_end
from ecproc.reading.grouping import group_by_stream
from ecproc.store.base import Reader
from ecproc.store.receipts import ReceiptWindow

SLOW_RETURN: Final = 15 * 60 * 1_000_000
"""Microseconds in which a number is usually returned; what takes longer is told."""
NO_MESSAGE: Final = ":"
"""The tag of a ticket of no type and in no state: a link that was imported, without a message."""
_FEW_EVENTS: Final = 100

_READ_WITHIN: Final = 3_600 * 1_000_000
_LINKS: Final = (Anomaly.LINK_MISMATCH.value, Anomaly.DOUBLE_CREATE.value)
_GAPS: Final = (Anomaly.GAP.value, Anomaly.ADOPTED.value)
_FINAL: Final = frozenset(map(str, incident.FINAL | change.FINAL))


class MismatchCode(StrEnum):
    """The closed set of what may not add up."""

    UNCONFIRMED = "unconfirmed"
    NOT_RETURNED = "not_returned"
    TWO_CLIENT_TICKETS = "two_client_tickets"
    LINK_DIFFERS = "link_differs"
    GAP = "gap"
    SECOND_CONSUMER = "second_consumer"
    IMPORT_OPEN = "import_open"
    REMOTE_DIFFERS = "remote_differs"


class Mismatch(msgspec.Struct, frozen=True):
    """One thing that does not add up: `ticket` is a name that `show` takes, None where it is about the queue; `since`
    is when it began, None where nothing says so; `hint` is what to do."""

    code: MismatchCode
    ticket: str | None
    detail: str
    since: str | None
    hint: str


class _Known(msgspec.Struct):
    number: str
    generation: int
    returned: bool


class _Noted(msgspec.Struct):
    position: int
    code: str
    detail: str


class _Header(msgspec.Struct):
    state: str | None = None
    client_ticket: str | None = None


_decode_known = msgspec.json.Decoder(_Known).decode
_decode_noted = msgspec.json.Decoder(_Noted).decode
_decode_header = msgspec.json.Decoder(_Header).decode


async def list_mismatches(reader: Reader, *, now: int, windows: Sequence[ReceiptWindow]) -> AsyncIterator[Mismatch]:
    """All that does not add up, code by code; `now` is microseconds UTC, `windows` what processors counted."""
    async for found in _list_unconfirmed(reader, now):
        yield found
    async for found in _list_client_tickets(reader, now):
        yield found
    async for found in _list_links(reader):
        yield found
    missed: list[int] = []
    async for found in _list_gaps(reader, missed):
        yield found
    for evidence in judge_consumers(missed, windows, now=now):
        yield _describe_consumer(evidence)
    async for found in _list_imports(reader):
        yield found


async def list_consumers(reader: Reader, *, now: int, windows: Sequence[ReceiptWindow]) -> AsyncIterator[Mismatch]:
    """What tells of somebody else who reads the queue."""
    missed: list[int] = []
    async for _ in _list_gaps(reader, missed):
        pass
    for found in judge_consumers(missed, windows, now=now):
        yield _describe_consumer(found)


def _describe_consumer(found: Evidence) -> Mismatch:
    hint = "find who else has this key or polls this queue, a script or another ecproc, and end that; else ask Ensono"
    return Mismatch(MismatchCode.SECOND_CONSUMER, None, found.detail, found.since, hint)


# --- commands ---------------------------------------------------------------------------------------------------------


async def _list_unconfirmed(reader: Reader, now: int) -> AsyncIterator[Mismatch]:
    """Commands that Ensono took and no message has shown within an hour (R182), and creates that were not taken."""
    async for page in reader.scan_rows("timer"):
        for row in page:
            timer = decode_timer(row.data or b"")
            overdue = timer.elapsed_at is not None or (timer.due_at is not None and timer.due_at <= now)
            if timer.timer is TimerName.CONFIRMATION and overdue:
                detail = f"Ensono took {timer.about}, and no message has shown it"
                hint = f"ecproc outbox show {timer.about} has the answer; ask Ensono, naming ticket and time"
                yield _describe(MismatchCode.UNCONFIRMED, row.stream, detail, timer.since, hint)
    async for page in reader.scan_rows("outbox", tagged=True):
        for row in page:
            entry = decode_entry(row.data or b"")
            if entry.effect.kind is EffectKind.CREATE_TICKET and entry.is_dead_letter:
                detail = f"it was not opened at Ensono's, {entry.effect.key} is {entry.state}: {entry.reason}"
                hint = f"ecproc outbox show {entry.effect.key}, mend what the answer names, then retry or discard"
                yield _describe(MismatchCode.UNCONFIRMED, row.stream, detail, entry.effect.at, hint)


# --- numbers ----------------------------------------------------------------------------------------------------------


async def _list_client_tickets(reader: Reader, now: int) -> AsyncIterator[Mismatch]:
    async for stream, rows in group_by_stream(reader.scan_rows("client_ticket")):
        known = [_decode_known(row.data or b"") for row in rows]
        has_doubles = len({item.generation for item in known}) < len(known)
        if all(item.returned for item in known) and not has_doubles:
            continue
        header = await _read_header(reader, stream)
        if header is None or header.state in _FINAL:
            continue
        if has_doubles and not await _was_decided(reader, stream):
            for found in find_doubles(stream, [(item.number, item.generation) for item in known]):
                yield found
        number = header.client_ticket
        if any(item.number == number and not item.returned for item in known):
            entries = await reader.read_rows("outbox", stream=stream, id=return_key(stream, number or ""))
            entry = decode_entry(entries[0].data or b"") if entries else None
            if found_late := judge_return(stream, number or "", entry, now=now):
                yield found_late


async def _was_decided(reader: Reader, stream: str) -> bool:
    """Whether a person had a number returned, by which it was said which one counts (R122)."""
    for row in await reader.read_rows("command", stream=stream):
        command = decode_command(row.data or b"")
        if command.command is CommandKind.RETURN_NUMBER and not command.refused:
            return True
    return False


def find_doubles(stream: str, numbers: Sequence[tuple[str, int]]) -> Iterator[Mismatch]:
    """Generations that have several client tickets, of numbers with the generation of each."""
    for generation in sorted({generation for _, generation in numbers}):
        own = [number for number, each in numbers if each == generation]
        if len(own) > 1:
            detail = f"{' and '.join(own)} are both for generation {generation}"
            hint = (
                f"keep one, close the others at the desk, then ecproc send return-number {stream} NUMBER; delete_failed"
                " in the log would say that messages came again"
            )
            yield Mismatch(MismatchCode.TWO_CLIENT_TICKETS, stream, detail, None, hint)


def judge_return(stream: str, number: str, entry: Entry | None, *, now: int) -> Mismatch | None:
    """Whether a number that Ensono does not have is only on its way, by the entry that returns it, if there is one."""
    again = f"ecproc send return-number {stream} {number}"
    if entry is None:
        detail = f"Ensono does not have our number {number}, and nothing returns it"
        return Mismatch(MismatchCode.NOT_RETURNED, stream, detail, None, again)
    since = entry.effect.at
    waits = entry.state not in (EntryState.DISCARDED, EntryState.PARKED) and entry.held is None
    if waits and now - since < SLOW_RETURN:
        return None
    why = f": {entry.reason}" if entry.reason else ""
    detail = f"Ensono does not have our number {number}, its return is {entry.state}{why}"
    hint = f"ecproc outbox show {entry.effect.key}, then outbox retry; or {again}"
    return _describe(MismatchCode.NOT_RETURNED, stream, detail, since, hint)


# --- anomalies --------------------------------------------------------------------------------------------------------


async def _list_links(reader: Reader) -> AsyncIterator[Mismatch]:
    """Numbers that do not belong together, unless a number was returned since: then Ensono was told."""
    async for stream, rows in group_by_stream(reader.scan_rows("anomaly", tags=_LINKS)):
        header = await _read_header(reader, stream)
        if header is not None and header.state in _FINAL:
            continue
        noted = _decode_noted(rows[-1].data or b"")
        entries = [decode_entry(row.data or b"") for row in await reader.read_rows("outbox", stream=stream)]
        if not is_settled(entries, noted.position):
            hint = f"see which number is right, then ecproc send return-number {stream} NUMBER"
            at = await _read_time(reader, noted.position)
            yield _describe(MismatchCode.LINK_DIFFERS, stream, noted.detail, at, hint)


def is_settled(entries: Sequence[Entry], position: int) -> bool:
    """Whether one of these returned a number that was decided on behind that position."""
    return any(
        entry.effect.kind is EffectKind.RETURN_NUMBER
        and entry.state is EntryState.COMPLETED
        and entry.effect.position > position
        for entry in entries
    )


async def _list_gaps(reader: Reader, missed: list[int]) -> AsyncIterator[Mismatch]:
    """Tickets of which messages may be missing; into `missed` goes when those were opened whose Create never came
    while the queue was being read."""
    first = await reader.read_event(1)
    began = first.at if first is not None else 0
    async for stream, rows in group_by_stream(reader.scan_rows("anomaly", tags=_GAPS)):
        header = await _read_header(reader, stream)
        if header is None or header.state in _FINAL:
            continue
        for noted in [_decode_noted(row.data or b"") for row in rows]:
            event = await reader.read_event(noted.position)
            detail = noted.detail
            if noted.code == Anomaly.ADOPTED:
                opened_at = _read_opening(event)
                if opened_at is None or opened_at <= began:
                    continue
                detail = f"its Create never came, {noted.detail}"
                if await _was_reading(reader, opened_at):
                    missed.append(opened_at)
            hint = "compare the ticket with Ensono's (in dev reconcile --remote), and ask Ensono for what is missing"
            yield _describe(MismatchCode.GAP, stream, detail, event.at if event is not None else None, hint)


def _read_opening(event: RecordedEvent | None) -> int | None:
    """When the message says that its ticket was opened; None where it does not say."""
    fact = read_fact(event) if event is not None and event.kind == Kind.MESSAGE_RECEIVED else None
    return fact.opened_at if isinstance(fact, Message) else None


async def _was_reading(reader: Reader, time: int) -> bool:
    """Whether the log went on within an hour before and after that time."""
    position = await find_end(reader, time)
    before, after = await reader.read_event(position), await reader.read_event(position + 1)
    if before is None or after is None:
        return False
    return time - before.at <= _READ_WITHIN and after.at - time <= _READ_WITHIN


# --- links ------------------------------------------------------------------------------------------------------------


async def _list_imports(reader: Reader) -> AsyncIterator[Mismatch]:
    """Links that were imported, of whose tickets no message has come yet."""
    async for page in reader.scan_rows("ticket", tags=(NO_MESSAGE,)):
        for row in page:
            number = _decode_header(row.data or b"{}").client_ticket
            at, acted = await _read_link(reader, row.stream)
            by = f" by {acted.who}{acted.note and f' ({acted.note})'}" if acted is not None else ""
            detail = f"linked to {number}{by}, and no message of it has come"
            hint = "nothing to do while Ensono has no news of it; where it has, see that the number is Ensono's own"
            yield _describe(MismatchCode.IMPORT_OPEN, row.stream, detail, at, hint)


async def _read_link(reader: Reader, stream: str) -> tuple[int | None, OperatorActed | None]:
    """When a ticket without messages was linked, and by whom."""
    for event in await reader.read_stream(stream, limit=_FEW_EVENTS):
        acted = decode_event(event.kind, event.payload) if event.kind == Kind.OPERATOR_ACTED else None
        if isinstance(acted, OperatorActed) and acted.act is Act.LINK:
            return event.at, acted
    return None, None


# --- rows -------------------------------------------------------------------------------------------------------------


async def _read_header(reader: Reader, stream: str) -> _Header | None:
    rows = await reader.read_rows("ticket", stream=stream)
    return _decode_header(rows[0].data or b"{}") if rows else None


async def _read_time(reader: Reader, position: int) -> int | None:
    event = await reader.read_event(position)
    return None if event is None else event.at


def _describe(code: MismatchCode, stream: str, detail: str, since: int | None, hint: str) -> Mismatch:
    return Mismatch(
        code, stream.removeprefix(CLIENT_PREFIX), detail, None if since is None else format_time(since), hint
    )
