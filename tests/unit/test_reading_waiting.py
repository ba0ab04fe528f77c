"""The verdict: the one thing that a ticket waits for, whatever else it could wait for, too."""

from __future__ import annotations

from itertools import count
from typing import Any, Final

import msgspec
import pytest

from ecproc.domain.commands import CommandAccepted, CommandKind
from ecproc.domain.events import (
    PAUSED_TICKET,
    Act,
    EffectFailed,
    EffectSucceeded,
    EffectUnknown,
    Hold,
    OperatorActed,
    TimerElapsed,
    TimerName,
)
from ecproc.domain.ids import EffectKey
from ecproc.domain.log import Batch, NewEvent
from ecproc.domain.policy import Policy
from ecproc.fold.control import CONTROL_STREAM
from ecproc.fold.recorded import Kind, OwnEvent, encode_event
from ecproc.fold.rows import entry_row
from ecproc.fold.step import take_step
from ecproc.fold.stream import StreamFold
from ecproc.fold.tables import TABLES
from ecproc.fold.tickets import MACHINES
from ecproc.reading.queries import Queries
from ecproc.reading.waiting import Mover, WaitWord
from ecproc.store.memory import MemoryStore
from ecproc.testing.ticket import START, Sent, approver, change, file, incident
from ecproc.wire.queue import decode_message
from tests.simulation.scripted_bridge import number

DAY: Final = 24 * 3_600 * 1_000_000
CREATE: Final = EffectKey("create:e-CS1:g1")
RETURN: Final = EffectKey("returnptn:e-CS1:LOCAL-1")


class Desk:
    """A log that a ticket lives in, one step for each thing that happens; `now` is the clock."""

    def __init__(self) -> None:
        self.now = START * 1_000_000
        self.store = MemoryStore(lambda: self.now, TABLES)
        self._count = count(1)

    async def receive(self, *messages: Sent, decided: bool = True) -> None:
        for message in messages:
            envelope = decode_message(msgspec.json.encode(number(message, next(self._count))))
            kind = Kind.MESSAGE_RECEIVED
            event = NewEvent(envelope.stream, kind, envelope.payload, message_key=envelope.key, wanted=True)
            await self.store.commit(Batch(events=[event]))
            if decided:
                await self.decide()

    async def tell(self, *facts: OwnEvent, stream: str = "e-CS1") -> None:
        for fact in facts:
            await self.store.commit(Batch(events=[NewEvent(stream, *encode_event(fact), wanted=True)]))
            await self.decide()
            fold = await self._fold(stream)
            rows = [entry_row(stream, entry) for entry in fold.state.plans.entries.values()]
            await self.store.commit(Batch(rows=rows))

    async def decide(self) -> None:
        for stream in await self.store.undecided_streams():
            fold = await self._fold(stream)
            step = take_step(fold, policy=Policy(), client_name="testClient", limit=99, snapshot_events=99)
            await self.store.commit(step.batch)

    async def _fold(self, stream: str) -> StreamFold:
        fold = StreamFold(stream, MACHINES.of(stream))
        fold.extend(await self.store.read_stream(stream))
        return fold

    async def verdict(self, name: str = "e-CS1", *, at: int | None = None) -> Any:
        queries = Queries(self.store, tables=TABLES.names, machines=MACHINES, entries=100)
        document = await queries.ticket(name, at=at)
        assert document is not None
        listed = [msgspec.json.decode(item) async for item in queries.list_tickets()]
        found = msgspec.json.decode(document)
        assert at is not None or found in listed
        return found["waiting_for"]


async def linked() -> Desk:
    """A ticket that waits for nothing."""
    desk = Desk()
    await desk.receive(incident("Create", status="open"))
    await desk.tell(EffectSucceeded(CREATE, {"number": "LOCAL-1"}), EffectSucceeded(RETURN))
    return desk


def told(verdict: Any) -> tuple[str, str]:
    assert verdict is not None
    assert verdict["what"] in set(WaitWord)
    assert verdict["since"]
    return verdict["what"], verdict["who"]


async def test_a_ticket_with_nothing_to_do_waits_for_nothing() -> None:
    assert await (await linked()).verdict() is None


@pytest.mark.parametrize(
    ("outcome", "expected", "hint"),
    [
        (None, ("desk", "nobody"), "create_client_ticket (available)"),
        (EffectFailed(CREATE, "HTTP 503", False, (START + 60) * 1_000_000), ("desk", "nobody"), "HTTP 503"),
        (EffectFailed(CREATE, "no such form", False, 1, held=Hold.CONFIGURATION), ("desk", "operator"), "no such form"),
        (EffectUnknown(CREATE, "timeout", (START + 60) * 1_000_000), ("unknown_result", "nobody"), "timeout"),
        (EffectFailed(CREATE, "refused", True, None, parked=True), ("dead_letter", "operator"), f"show {CREATE}"),
        (EffectFailed(CREATE, "refused", True, None), ("dead_letter", "operator"), "refused"),
        (EffectSucceeded(CREATE, {"number": "LOCAL-1"}), ("bridge", "nobody"), "return_client_number"),
    ],
)
async def test_an_entry_is_waited_for(outcome: OwnEvent | None, expected: tuple[str, str], hint: str) -> None:
    desk = Desk()
    await desk.receive(incident("Create", status="open"))
    if outcome is not None:
        await desk.tell(outcome)
    verdict = await desk.verdict()
    assert told(verdict) == expected
    assert hint in verdict["hint"]
    retried = isinstance(outcome, (EffectFailed, EffectUnknown)) and outcome.next_attempt_at is not None
    assert (verdict["until"] is not None) == retried


async def test_a_file_is_waited_for() -> None:
    desk = await linked()
    await desk.receive(incident("Attachment", **file("f1")))
    assert told(await desk.verdict()) == ("attachment", "nobody")


async def test_what_a_person_gave_up_is_waited_for_no_more() -> None:
    desk = await linked()
    await desk.receive(incident("Attachment", **file("f1")))
    key = EffectKey("att:e-CS1:f1")
    await desk.tell(EffectFailed(key, "gone", True, None))
    assert told(await desk.verdict()) == ("dead_letter", "operator")
    await desk.tell(OperatorActed(Act.DISCARD, "ann", "nobody needs it", key=key))
    assert await desk.verdict() is None


async def test_a_paused_ticket_says_by_whom_and_why() -> None:
    desk = await linked()
    await desk.tell(OperatorActed(Act.PAUSE, "ann", "holiday", what=PAUSED_TICKET))
    verdict = await desk.verdict()
    assert told(verdict) == ("paused", "operator")
    assert "ann (holiday): ecproc resume e-CS1" in verdict["hint"]
    await desk.tell(OperatorActed(Act.RESUME, "ann", what=PAUSED_TICKET))
    assert await desk.verdict() is None


async def test_a_paused_destination_holds_the_tickets_that_have_something_for_it() -> None:
    desk = await linked()
    await desk.tell(OperatorActed(Act.PAUSE, "ann", what="attachments"), stream=CONTROL_STREAM)
    assert await desk.verdict() is None
    await desk.receive(incident("Attachment", **file("f1")))
    verdict = await desk.verdict()
    assert told(verdict) == ("paused", "operator")
    assert "ecproc resume attachments" in verdict["hint"]


async def test_a_ticket_that_the_log_went_on_without_is_parked() -> None:
    desk = await linked()
    await desk.receive(incident("Update", status="open", changed={"priority": "2"}), decided=False)
    assert await desk.verdict() is None
    desk.now += 600 * 1_000_000
    await desk.store.commit(Batch(events=[NewEvent("e-CS2", Kind.MESSAGE_RECEIVED, b"{}")]))
    verdict = await desk.verdict()
    assert told(verdict) == ("parked", "operator")
    assert "resume e-CS1" in verdict["hint"]


@pytest.mark.requirement("R179")
async def test_an_open_approval_is_the_clients_turn_until_the_change_starts() -> None:
    desk = Desk()
    body = {"type": "Normal", "state": "Assess", "startDate": "2023-11-16T22:13:20Z", "clientTicketNumber": "CHG1"}
    await desk.receive(change("Create", **body), change("Approval Request", **body, **approver("a1")))
    keys = [row.id for row in await desk.store.read_rows("outbox", stream="e-CHG1")]
    await desk.tell(*[EffectSucceeded(EffectKey(key)) for key in keys], stream="e-CHG1")
    verdict = await desk.verdict("e-CHG1")
    assert (told(verdict), verdict["until"]) == (("approval", "client"), "2023-11-16T22:13:20.000000Z")
    assert verdict["since"].startswith("2023-11-14T22:13:2")
    assert "within a day" not in verdict["hint"]

    desk.now += DAY + 1
    await desk.tell(TimerElapsed(TimerName.APPROVAL, "a1"), stream="e-CHG1")
    assert "within a day" in (await desk.verdict("e-CHG1"))["hint"]


@pytest.mark.requirement("R182")
async def test_a_command_is_waited_for_once_its_hour_is_over() -> None:
    desk = await linked()
    await desk.tell(CommandAccepted(EffectKey("K"), CommandKind.UPDATE, "ann", {"priority": "2"}))
    assert told(await desk.verdict()) == ("bridge", "nobody")
    await desk.tell(EffectSucceeded(EffectKey("K")))
    assert await desk.verdict() is None
    desk.now += DAY
    await desk.tell(TimerElapsed(TimerName.CONFIRMATION, "K"))
    verdict = await desk.verdict()
    assert told(verdict) == ("confirmation", "operator")
    assert "outbox show K" in verdict["hint"]


@pytest.mark.requirement("R58", "R78")
async def test_a_date_and_the_seven_days_are_ensonos_turn() -> None:
    desk = await linked()
    held = {"status": "pending", "offHoldDate": "2023-11-15 00:00:00"}
    await desk.receive(incident("Update", **held, changed=held))
    await _settle(desk)
    verdict = await desk.verdict()
    assert (told(verdict), verdict["until"]) == (("off_hold", "ensono"), "2023-11-15T00:00:00.000000Z")
    position = (await desk.store.head()).position

    await desk.receive(incident("Closure", status="resolved", changed={"status": "resolved"}))
    await _settle(desk)
    assert await desk.verdict() is None
    desk.now += 8 * DAY
    (row,) = await desk.store.read_rows("timer", stream="e-CS1")
    await desk.tell(TimerElapsed(TimerName.PRESUMED_CLOSED, row.id.partition(":")[2]))
    assert told(await desk.verdict()) == ("presumed_closed", "ensono")
    assert told(await desk.verdict(at=position)) == ("off_hold", "ensono")


async def _settle(desk: Desk) -> None:
    """Let everything that is open be done."""
    for row in await desk.store.read_rows("outbox", stream="e-CS1"):
        if row.tag is not None:
            await desk.tell(EffectSucceeded(EffectKey(row.id)))


def test_the_words_are_those_of_the_contract() -> None:
    assert {*map(str, TimerName)} <= {*map(str, WaitWord)}
    assert {*map(str, Mover)} == {"nobody", "operator", "client", "ensono"}
