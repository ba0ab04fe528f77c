"""What does not add up: one line for each thing that is so, none for what is on its way, settled or at its end."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
import pytest

from ecproc.bridge.base import Answer, Request
from ecproc.doctor.remote import LocalTicket, compare_shown, list_remote_differences
from ecproc.domain.anomalies import Anomaly
from ecproc.domain.commands import CommandKind, KnownCommand
from ecproc.domain.deltas import Timer
from ecproc.domain.effects import Effect, EffectKind
from ecproc.domain.entry import Entry, EntryState
from ecproc.domain.events import Act, Hold, OperatorActed, TimerName
from ecproc.domain.ids import EffectKey, TicketNumber, client_create_key, client_stream, return_key
from ecproc.domain.log import Batch, NewEvent, Row
from ecproc.domain.times import format_time
from ecproc.errors import BridgeRefused, BridgeUnavailable
from ecproc.fold.recorded import Kind, encode_event
from ecproc.fold.rows import command_row, entry_row, timer_row
from ecproc.fold.tables import TABLES
from ecproc.reading.consumers import TOLD, judge_consumers
from ecproc.reading.mismatches import (
    SLOW_RETURN,
    Mismatch,
    MismatchCode,
    list_consumers,
    list_mismatches,
)
from ecproc.store.memory import MemoryStore
from ecproc.store.receipts import ReceiptWindow
from ecproc.wire.queue import decode_message
from ecproc.wire.shown import read_shown

SECOND: Final = 1_000_000
HOUR: Final = 3_600 * SECOND
START: Final = 1_790_000_000 * SECOND
NOW: Final = START + 24 * HOUR
TICKET: Final = "e-CS1"
OURS: Final = "LOCAL-1"
SHOW: Final = EffectKey("ec-upd:e-CS1:1")


class Log:
    """A log in memory, into which rows are put as they are after some life of a ticket."""

    def __init__(self) -> None:
        self.now = START
        self.store = MemoryStore(lambda: self.now, TABLES)

    async def put(self, *rows: Row) -> None:
        await self.store.commit(Batch(rows=rows))

    async def receive(self, ticket: str, transaction: str, at: int, **body: str) -> int:
        """Append a message at that time; its position."""
        self.now = at
        count = (await self.store.head()).position + 1
        attributes = {
            "MessageGroupId": ticket,
            "TransactionType": transaction,
            "SentTimestamp": str(at // 1000),
            "SequenceNumber": str(18_875_507_807_458_288_128 + count),
        }
        record = {"ticketNumber": ticket, "ticketType": "Incident", "status": "open", **body}
        message = {"MessageId": f"m-{count}", "ReceiptHandle": "h", "Body": record, "Attributes": attributes}
        envelope = decode_message(json.dumps(message).encode())
        event = NewEvent(envelope.stream, Kind.MESSAGE_RECEIVED, envelope.payload, envelope.key)
        await self.store.commit(Batch([event]))
        return count

    async def find(self, windows: Sequence[ReceiptWindow] = ()) -> list[Mismatch]:
        return [found async for found in list_mismatches(self.store, now=NOW, windows=windows)]


@pytest.fixture
async def log() -> Log:
    """A log that began with a message of another ticket."""
    log = Log()
    await log.receive("e-CS0", "Create", START)
    return log


def header(stream: str = TICKET, **changed: Any) -> Row:
    data = {"ticket": stream, "type": "Incident", "state": "open", "client_ticket": OURS, **changed}
    return Row("ticket", stream, stream.upper(), 0, msgspec.json.encode(data), "Incident:open")


def ours(number: str = OURS, *, generation: int = 1, returned: bool = True, stream: str = TICKET) -> Row:
    data = {"number": number, "generation": generation, "returned": returned, "state": "open"}
    return Row("client_ticket", stream, number, generation, msgspec.json.encode(data))


def anomaly(code: Anomaly, position: int, detail: str = "it differs", *, stream: str = TICKET) -> Row:
    data = {"position": position, "code": code, "detail": detail}
    return Row("anomaly", stream, f"{code}{position}", position, msgspec.json.encode(data), code)


def entry(key: str, kind: EffectKind, state: EntryState, *, stream: str = TICKET, at: int = START, **more: Any) -> Row:
    effect = Effect(EffectKey(key), kind, 1, more.pop("position", 1), at, TicketNumber(stream), "Incident", number=OURS)
    return entry_row(stream, Entry(effect=effect, order=1, state=state, **more))


def returning(state: EntryState, **more: Any) -> Row:
    return entry(return_key(TICKET, OURS), EffectKind.RETURN_NUMBER, state, **more)


def confirmation(due_at: int, elapsed_at: int | None = None) -> Row:
    return timer_row(TICKET, Timer(TimerName.CONFIRMATION, SHOW, START, due_at, elapsed_at))


def refused_create(state: EntryState, reason: str) -> Row:
    return entry(
        client_create_key("INC7"), EffectKind.CREATE_TICKET, state, stream=client_stream("INC7"), reason=reason
    )


def decided(**more: Any) -> Row:
    return command_row(TICKET, KnownCommand(EffectKey("c"), CommandKind.RETURN_NUMBER, at=START, order=1, **more))


FOUND: Final[Mapping[str, tuple[Sequence[Row], str, str, str, bool]]] = {
    "a command that no message showed": (
        [header(), confirmation(START + HOUR, START + HOUR)],
        "unconfirmed",
        TICKET,
        f"Ensono took {SHOW}",
        True,
    ),
    "the same while nobody runs to tell it": (
        [header(), confirmation(NOW)],
        "unconfirmed",
        TICKET,
        f"Ensono took {SHOW}",
        True,
    ),
    "a create that was refused": (
        [refused_create(EntryState.DISCARDED, "group not found")],
        "unconfirmed",
        "INC7",
        "group not found",
        True,
    ),
    "a create that is parked": ([refused_create(EntryState.PARKED, "")], "unconfirmed", "INC7", "is parked", True),
    "a number that nothing returns": (
        [header(), ours(returned=False)],
        "not_returned",
        TICKET,
        "nothing returns it",
        False,
    ),
    "a return that is dead": (
        [header(), ours(returned=False), returning(EntryState.DISCARDED, at=NOW, reason="no")],
        "not_returned",
        TICKET,
        "discarded: no",
        True,
    ),
    "a return that is held": (
        [header(), ours(returned=False), returning(EntryState.RETRYABLE, at=NOW, held=Hold.ODD_ANSWER)],
        "not_returned",
        TICKET,
        "retryable",
        True,
    ),
    "a return that takes long": (
        [header(), ours(returned=False), returning(EntryState.RETRYABLE, at=NOW - SLOW_RETURN)],
        "not_returned",
        TICKET,
        "retryable",
        True,
    ),
    "two tickets of ours": (
        [header(), ours(), ours("LOCAL-2")],
        "two_client_tickets",
        TICKET,
        "LOCAL-1 and LOCAL-2 are both for generation 1",
        False,
    ),
    "two tickets of ours and a decision that was refused": (
        [header(), ours(), ours("LOCAL-2"), decided(refused="no")],
        "two_client_tickets",
        TICKET,
        "LOCAL-1 and LOCAL-2",
        False,
    ),
    "another number at Ensono's": (
        [header(), anomaly(Anomaly.LINK_MISMATCH, 1)],
        "link_differs",
        TICKET,
        "it differs",
        True,
    ),
    "a number that was returned before": (
        [header(), anomaly(Anomaly.LINK_MISMATCH, 1), returning(EntryState.COMPLETED, position=1)],
        "link_differs",
        TICKET,
        "it differs",
        True,
    ),
    "two tickets at Ensono's": (
        [anomaly(Anomaly.DOUBLE_CREATE, 1, stream="client:INC7")],
        "link_differs",
        "INC7",
        "it differs",
        True,
    ),
    "a message that waited for long": (
        [header(), anomaly(Anomaly.GAP, 1, "sent long ago")],
        "gap",
        TICKET,
        "sent long ago",
        True,
    ),
}


@pytest.mark.requirement("R236")
@pytest.mark.parametrize("what", FOUND)
async def test_what_does_not_add_up_is_one_line(what: str, log: Log) -> None:
    rows, code, ticket, detail, has_time = FOUND[what]
    await log.put(*rows)
    (found,) = await log.find()
    assert (found.code, found.ticket) == (code, ticket)
    assert detail in found.detail
    assert found.hint
    assert (found.since is not None) is has_time


CLEAN: Final[Mapping[str, Sequence[Row]]] = {
    "an empty ticket": [header()],
    "a command that may still be shown": [header(), confirmation(NOW + 1)],
    "another timer": [timer_row(TICKET, Timer(TimerName.PRESUMED_CLOSED, "x", START, START, START))],
    "a create under way": [refused_create(EntryState.RETRYABLE, "503")],
    "a create that a person gave up": [refused_create(EntryState.DISCARDED, "discarded by ann")],
    "a number that is returned": [header(), ours()],
    "a return under way": [header(), ours(returned=False), returning(EntryState.RETRYABLE, at=NOW - SLOW_RETURN + 1)],
    "the number of a former generation": [
        header(client_ticket="LOCAL-2"),
        ours(returned=False),
        ours("LOCAL-2", generation=2),
    ],
    "a number of a closed ticket": [header(state="closed"), ours(returned=False)],
    "two of a change that is over": [header(state="Cancelled"), ours(), ours("LOCAL-2")],
    "two of which a person chose": [header(), ours(), ours("LOCAL-2"), decided()],
    "one for each generation": [header(client_ticket="LOCAL-2"), ours(), ours("LOCAL-2", generation=2)],
    "another number, and ours returned since": [
        header(),
        anomaly(Anomaly.LINK_MISMATCH, 1),
        returning(EntryState.COMPLETED, position=2),
    ],
    "another number of a closed ticket": [header(state="closed"), anomaly(Anomaly.LINK_MISMATCH, 1)],
    "another anomaly": [header(), anomaly(Anomaly.LATE, 1)],
    "a gap of a closed ticket": [header(state="closed"), anomaly(Anomaly.GAP, 1)],
}


@pytest.mark.parametrize("what", CLEAN)
async def test_what_adds_up_or_is_on_its_way_is_no_line(what: str, log: Log) -> None:
    await log.put(*CLEAN[what])
    assert await log.find() == []


async def adopt(log: Log, ticket: str, *, opened: int | None, heard: int) -> None:
    """A ticket that was opened and heard of at those times, and whose Create never came."""
    told = {} if opened is None else {"openedTime": format_time(opened)}
    position = await log.receive(ticket, "Notes", heard, **told)
    await log.put(header(ticket), anomaly(Anomaly.ADOPTED, position, "first message is Notes", stream=ticket))


async def test_a_ticket_whose_create_never_came_is_a_gap_if_it_is_younger_than_the_log(log: Log) -> None:
    await adopt(log, "e-CS2", opened=START - HOUR, heard=START + HOUR)
    await adopt(log, "e-CS3", opened=None, heard=START + HOUR)
    assert await log.find() == []
    await adopt(log, "e-CS4", opened=START + HOUR, heard=START + 2 * HOUR)
    (found,) = await log.find()
    assert (found.code, found.ticket) == ("gap", "e-CS4")
    assert found.detail == "its Create never came, first message is Notes"
    assert found.since == format_time(START + 2 * HOUR)


@pytest.mark.parametrize(("apart", "told"), [(HOUR, True), (2 * HOUR, False)])
async def test_several_of_those_tell_of_a_second_consumer_where_the_queue_was_read_meanwhile(
    apart: int, told: bool, log: Log
) -> None:
    at = START
    for number in range(3):
        at += 2 * apart
        await log.receive("e-CS0", "Update", at - apart)
        await adopt(log, f"e-CS{number + 2}", opened=at - apart // 2, heard=at + apart // 2)
    codes = [each.code for each in await log.find()]
    assert codes == [MismatchCode.GAP] * 3 + [MismatchCode.SECOND_CONSUMER] * told


def window(again: int, *, known: int = 0, lost: int = 0, readers: int = 8, last: int = NOW) -> ReceiptWindow:
    return ReceiptWindow(START, last, again, known, lost, readers, last)


@pytest.mark.requirement("R236")
@pytest.mark.parametrize(
    ("windows", "found"),
    [
        ([window(100, known=20)], False),
        ([window(101, known=20)], True),
        ([window(110, known=20, lost=10)], False),
        ([window(111, known=20, lost=10)], True),
        ([window(0, readers=1)], False),
        ([window(80)] * 9, False),
        ([window(1_000, last=NOW - TOLD)], False),
        ([window(1_000, last=NOW - TOLD + 1), window(0)], True),
        ([], False),
    ],
)
def test_what_was_handed_out_to_nobody_of_ours_was_handed_to_somebody_else(
    windows: Sequence[ReceiptWindow], found: bool
) -> None:
    evidence = list(judge_consumers([], windows, now=NOW))
    assert [each.since for each in evidence] == [format_time(START)] * found
    assert all("had been handed out before" in each.detail for each in evidence)


async def test_it_is_told_without_a_ticket_and_with_what_to_do(log: Log) -> None:
    (line,) = await log.find([window(101, known=20)])
    assert (line.code, line.ticket) == (MismatchCode.SECOND_CONSUMER, None)
    assert "key" in line.hint
    assert [found async for found in list_consumers(log.store, now=NOW, windows=[window(101, known=20)])] == [line]


async def test_a_link_without_a_message_is_told_until_one_comes(log: Log) -> None:
    log.now = START + HOUR
    acted = OperatorActed(Act.LINK, "ann", "moved", number=OURS, generation=1)
    await log.store.commit(Batch([NewEvent(TICKET, *encode_event(acted))]))
    await log.put(msgspec.structs.replace(header(type=None, state=None), tag=":"), ours())
    (line,) = await log.find()
    assert (line.code, line.ticket, line.since) == ("import_open", TICKET, format_time(START + HOUR))
    assert line.detail == f"linked to {OURS} by ann (moved), and no message of it has come"
    await log.put(header())
    assert await log.find() == []


@pytest.mark.parametrize(("missed", "found"), [(0, 0), (2, 0), (3, 1), (9, 1)])
def test_creates_that_never_came_while_we_read_are_no_accident(missed: int, found: int) -> None:
    lines = list(judge_consumers([START] * missed, [], now=NOW))
    assert len(lines) == found
    assert all(f"{missed} Creates" in line.detail and line.since for line in lines)


# --- Ensono's side ----------------------------------------------------------------------------------------------------

MINE: Final = LocalTicket(
    TICKET, "Incident", "workinprogress", OURS, "2026-09-21T00:00:00Z", {"priority": "4", "shortDescription": "a  fan"}
)


def shown(**fields: object) -> bytes:
    return json.dumps({"Response": {"task ci": {}, "case": fields, "incident": {"state": "closed"}}}).encode()


@pytest.mark.requirement("R124", "R125")
@pytest.mark.parametrize(
    ("record", "details"),
    [
        ({"state": "Work In Progress", "priority": 4, "short_description": "a fan ", "impact": "2"}, []),
        ({"state": "", "x_aito_data_sync_client_number": None}, []),
        ({"state": "resolved"}, ["status is 'resolved' at Ensono's, and 'workinprogress' here"]),
        ({"priority": "1"}, ["priority is '1' at Ensono's, and '4' here"]),
        ({"short description": "a pump"}, ["shortDescription is 'a pump' at Ensono's, and 'a  fan' here"]),
        ({"x aito data sync client number": "X"}, ["clientTicketNumber is 'X' at Ensono's, and 'LOCAL-1' here"]),
    ],
)
def test_what_ensono_has_otherwise_is_named(record: Mapping[str, object], details: Sequence[str]) -> None:
    found = list(compare_shown(MINE, shown(**record)))
    assert [each.detail for each in found] == details
    assert {each.code for each in found} <= {MismatchCode.REMOTE_DIFFERS}


@pytest.mark.requirement("R125")
def test_an_answer_that_shows_no_ticket_is_told() -> None:
    for body in (b"", b"{}", b'{"Response":"Bad Path"}', b'{"Response":{"case":[]}}', b"<html>"):
        assert read_shown(body) is None
        assert [each.detail for each in compare_shown(MINE, body)] == ["the answer shows no ticket"]
    incident = b'{"Response":{"incident":{"state":"open"}}}'
    assert read_shown(incident) == {"status": "open"}


class ScriptedBridge:
    """Answers every call alike, and keeps what was asked."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.asked: list[str] = []

    async def receive(self) -> Answer:
        raise AssertionError("nothing is received here")

    async def delete(self, receipt_handle: str) -> Answer:
        raise AssertionError("nothing is deleted here")

    async def delete_many(self, *_: object, **__: object) -> None:
        raise AssertionError("nothing is deleted here")

    async def send(self, request: Request) -> Answer:
        self.asked.append(f"{request.method} {request.path}")
        return self.answer


async def ask_remote(log: Log, answer: Answer) -> tuple[list[Mismatch], list[str]]:
    bridge = ScriptedBridge(answer)
    found = [each async for each in list_remote_differences(log.store, bridge)]
    return found, bridge.asked


@pytest.mark.requirement("R124")
async def test_open_incidents_and_requests_are_asked_for_and_nothing_else(log: Log) -> None:
    await log.put(
        *(header(f"e-CS{number}", type="Request") for number in range(5)),
        header("e-CS8", state="closed"),
        header("e-CHG1", type="Change", state="Assess"),
        header("client:INC7", ticket=None),
    )
    found, asked = await ask_remote(log, Answer(200, shown(state="resolved")))
    assert sorted(asked) == [f"GET /tickets/e-CS{number}" for number in range(5)]
    assert [each.ticket for each in found] == [f"e-CS{number}" for number in range(5)]


async def test_a_ticket_that_ensono_does_not_show_is_a_line_and_a_bridge_that_is_down_is_a_failure(log: Log) -> None:
    await log.put(header())
    found, _ = await ask_remote(log, Answer(400, b'{"Response":"APIKey not authorized for ticket company"}'))
    assert [each.detail for each in found] == ["Ensono does not show it: APIKey not authorized for ticket company"]
    with pytest.raises(BridgeRefused):
        await ask_remote(log, Answer(403, b'{"message":"Forbidden"}'))
    with pytest.raises(BridgeUnavailable):
        await ask_remote(log, Answer(503, b""))
