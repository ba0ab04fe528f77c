"""The readers: append first, delete in time, ask no more than there is room for, and never fall over an answer."""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from itertools import pairwise
from random import Random
from typing import Any

import anyio
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from ecproc.bridge.base import Answer
from ecproc.config import BridgeConfig, Limits
from ecproc.domain.log import Batch, NewEvent, RecordedEvent
from ecproc.errors import BridgeRefused, BridgeUnavailable, StoreUnavailable
from ecproc.fold.history import message_id_of
from ecproc.fold.tables import TABLES
from ecproc.fold.tickets import TicketMachine
from ecproc.fold.whole import fold_events
from ecproc.runtime.ingest import Ingest
from ecproc.simulator.bridge import EnvisionBridge
from ecproc.simulator.queue import QueueMessage
from ecproc.simulator.settings import SimulatorConfig
from ecproc.store.base import Committed
from ecproc.store.memory import MemoryStore
from ecproc.telemetry.hooks import Telemetry
from ecproc.telemetry.metrics import PrometheusTelemetry
from ecproc.testing.ticket import incident
from tests.simulation.clock import VirtualClock
from tests.simulation.peers import SimulatedBridge
from tests.simulation.scripted_bridge import DELETED, EMPTY, EXPIRED, INVALID, Line, ScriptedBridge, give_queue, number
from tests.simulation.simloop import simulate, simulated_backend

BAD_PATH = Answer(200, b'{"Response": "Bad Path"}')
FORBIDDEN = Answer(403, b'{"message": "Forbidden"}')
THROTTLED = Answer(429, b'{"message": "Too Many Requests"}')
BROKEN = Answer(500, b'{"message": "Internal server error"}')
LOST = BridgeUnavailable("timeout", sent=True)
Lines = list[MutableMapping[str, Any]]


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return simulated_backend()


def messages(*counts: int, handle: str = "h") -> Answer:
    """One answer with messages of these numbers, each of its own ticket."""
    return give_queue(*(number(say(f"e-CS{count}"), count, handle=f"{handle}{count}") for count in counts))


def say(ticket: str) -> dict[str, Any]:
    message = incident("Create", status="open", ticketNumber=ticket)
    return {**message, "Attributes": {**message["Attributes"], "MessageGroupId": ticket}}


class Heard(Telemetry):
    """Keeps what the readers report."""

    def __init__(self) -> None:
        self.polls: list[str] = []
        self.deletes: list[str] = []
        self.duplicates = 0
        self.ages: list[float] = []

    def poll_finished(self, outcome: str) -> None:
        self.polls.append(outcome)

    def message_deleted(self, outcome: str) -> None:
        self.deletes.append(outcome)

    def message_duplicate(self, count: int = 1) -> None:
        self.duplicates += count

    def message_age(self, seconds: float) -> None:
        self.ages.append(seconds)


class Disk(MemoryStore):
    """A store whose next commits take so long; keeps their sizes and what was deleted before each."""

    def __init__(self, now: Callable[[], int]) -> None:
        super().__init__(now, TABLES)
        self.stalls: list[float] = []
        self.commits: list[int] = []
        self.before_commit: Callable[[], None] = lambda: None

    async def commit(self, batch: Batch) -> Committed:
        if self.stalls:
            await anyio.sleep(self.stalls.pop(0))
        committed = await super().commit(batch)
        self.before_commit()
        self.commits.append(len(batch.events))
        return committed


class Bench:
    """Readers on a scripted bridge."""

    def __init__(self, *receives: Line, limits: Limits | None = None, **config: Any) -> None:
        self.clock = VirtualClock()
        self.disk = Disk(self.clock.now)
        self.bridge = ScriptedBridge(*receives, limits=limits)
        self.delivered: list[RecordedEvent] = []
        self.heard = Heard()
        self.ingest = self.make_ingest(**config)

    def make_ingest(self, *, bridge: Any = None, **config: Any) -> Ingest:
        return Ingest(
            bridge or self.bridge,
            self.disk,
            take_in=self.take_in,
            deliver=self.deliver,
            config=BridgeConfig(**config),
            clock=self.clock,
            rng=Random(7),
            telemetry=self.heard,
        )

    async def take_in(self, events: Sequence[NewEvent]) -> dict[str, object]:
        """As where every ticket is busy."""
        return {}

    def deliver(self, events: Sequence[RecordedEvent]) -> None:
        self.delivered += events

    async def run(self, seconds: float) -> None:
        """Read for so long, then stop and wait for what is held."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self.ingest.run)
            await anyio.sleep(seconds)
            self.ingest.stop()

    @property
    def gets(self) -> list[float]:
        return self.bridge.times("receive")

    @property
    def gaps(self) -> list[float]:
        return [after - before for before, after in pairwise(self.gets)]


def answer_in(seconds: float, answer: Answer = EMPTY) -> Callable[[], Awaitable[Answer]]:
    async def answer_late() -> Answer:
        await anyio.sleep(seconds)
        return answer

    return answer_late


# --- append and delete ------------------------------------------------------------------------------------------------


@pytest.mark.requirement("I1", "R18", "R226")
async def test_the_whole_batch_is_committed_at_once_before_anything_is_deleted() -> None:
    bench = Bench(messages(1, 2, 3))
    deleted_before: list[int] = []
    bench.disk.before_commit = lambda: deleted_before.append(len(bench.bridge.deleted))

    await bench.run(1)

    assert bench.disk.commits == [3]
    assert deleted_before == [0]
    assert sorted(bench.bridge.deleted) == ["h1", "h2", "h3"]
    assert [event.position for event in bench.delivered] == [1, 2, 3]
    assert bench.heard.deletes == ["deleted"] * 3


@pytest.mark.requirement("I1")
async def test_nothing_is_deleted_when_the_append_fails() -> None:
    bench = Bench(messages(1))
    bench.disk.is_open = False
    bench.disk.has_room = lambda: True  # type: ignore[method-assign]

    with pytest.RaisesGroup(StoreUnavailable, flatten_subgroups=True):
        await bench.run(1)

    assert bench.bridge.deleted == []


async def test_a_batch_is_appended_in_the_order_of_its_sequence_numbers() -> None:
    bench = Bench(messages(3, 1, 2))

    await bench.run(1)

    assert [event.stream for event in bench.delivered] == ["e-CS1", "e-CS2", "e-CS3"]


@pytest.mark.requirement("I2", "R22")
@pytest.mark.parametrize("together", [True, False], ids=["in one answer", "in the next answer"])
async def test_another_body_under_the_same_number_is_kept_once_and_leads_to_nothing(together: bool) -> None:
    first, other = number(say("e-CS1"), 1), number(say("e-CS1"), 1, handle="other")
    other = {**other, "Body": {**other["Body"], "status": "closed"}}
    answers = [give_queue(first, other)] if together else [give_queue(first), give_queue(other)]
    bench = Bench(*answers, give_queue(other), give_queue(first))

    await bench.run(60)

    assert [event.version for event in bench.delivered] == [1, 2]
    assert {message_id_of(event) for event in bench.delivered} == {"m1"}
    assert len(bench.bridge.deleted) == 4
    assert bench.heard.duplicates == 2
    rows, _ = fold_events("e-CS1", bench.delivered, TicketMachine(), undecided=True)
    assert [row.tag for row in rows if row.table == "ticket"] == ["Incident:open"]
    assert [row.tag for row in rows if row.table == "anomaly"] == ["duplicate", "body_differs"]


@pytest.mark.requirement("R19")
@pytest.mark.parametrize(
    ("sent", "order"), [(True, ["m1", "m2", "m3"]), (False, ["m3", "m1", "m2"])], ids=["by time", "as they came"]
)
async def test_messages_of_a_ticket_with_one_unnumbered_keep_their_order(sent: bool, order: list[str]) -> None:
    """An absent number says nothing, least of all that its message came before all others."""

    def write(count: int, *, numbered: bool = True) -> Mapping[str, Any]:
        message = number(say("e-CS1"), count)
        attributes = dict(message["Attributes"])
        if not numbered:
            attributes["SequenceNumber"] = None
        if not sent:
            attributes.pop("SentTimestamp")
        return {**message, "Attributes": attributes}

    bench = Bench(give_queue(write(3), write(1), write(2, numbered=False), number(say("e-CS9"), 9)))

    await bench.run(1)

    events = [event for event in bench.delivered if event.stream == "e-CS1"]
    assert [message_id_of(event) for event in events] == order
    assert [event.stream for event in bench.delivered][3:] == ["e-CS9"]


@pytest.mark.requirement("R31")
@pytest.mark.parametrize(("at_once", "starts"), [(10, [0, 0, 0, 0, 0]), (2, [0, 0, 3, 3, 6])])
async def test_deletes_run_side_by_side_up_to_their_bound(at_once: int, starts: list[float]) -> None:
    bench = Bench(messages(1, 2, 3, 4, 5), limits=Limits(deletes_at_once=at_once))
    bench.bridge.deletes.extend(answer_in(3, DELETED) for _ in range(5))

    await bench.run(1)

    assert bench.bridge.times("delete") == pytest.approx(starts)


@pytest.mark.requirement("R22", "I2")
async def test_a_redelivered_message_makes_no_second_event_and_is_deleted_with_its_new_handle() -> None:
    bench = Bench(messages(1, 2), messages(2, 3, handle="new"))

    await bench.run(1)

    assert [event.stream for event in bench.delivered] == ["e-CS1", "e-CS2", "e-CS3"]
    assert sorted(bench.bridge.deleted) == ["h1", "h2", "new2", "new3"]
    assert bench.heard.duplicates == 1


@pytest.mark.requirement("I2")
async def test_a_message_twice_in_one_answer_is_one_event_and_both_handles_are_used() -> None:
    twice = give_queue(number(say("e-CS1"), 1, handle="a"), number(say("e-CS1"), 1, handle="b"))
    bench = Bench(twice)

    await bench.run(1)

    assert len(bench.delivered) == 1
    assert sorted(bench.bridge.deleted) == ["a", "b"]


@pytest.mark.requirement("R21")
async def test_after_a_slow_append_the_old_handle_is_not_used() -> None:
    bench = Bench(messages(1), visibility=30)
    bench.disk.stalls.append(26)

    await bench.run(100)

    assert bench.bridge.deleted == []
    assert bench.heard.deletes == ["skipped"]
    assert len(bench.delivered) == 1


@pytest.mark.requirement("R21")
async def test_the_budget_counts_from_sending_the_get() -> None:
    bench = Bench(answer_in(20, messages(1, 2, 3)), visibility=30, limits=Limits(deletes_at_once=1))
    bench.bridge.deletes.extend(answer_in(3, DELETED) for _ in range(3))

    await bench.run(100)

    assert bench.bridge.times("delete") == pytest.approx([20, 23])
    assert sorted(bench.heard.deletes) == ["deleted", "deleted", "skipped"]


async def test_what_the_network_does_to_a_read_and_to_a_delete_says_where_to_look(log_lines: Lines) -> None:
    bench = Bench(BridgeUnavailable("dns", "h: unknown", sent=False), messages(1))
    bench.bridge.deletes.append(BridgeUnavailable("connect", "h:443: refused", sent=False))

    await bench.run(10)

    hints = {line["event"]: line["hint"] for line in log_lines if "hint" in line}
    assert "resolver" in hints["receive_failed"]
    assert "firewall" in hints["delete_failed"]


@pytest.mark.requirement("R29", "R30", "R31")
@pytest.mark.parametrize(
    ("first", "again", "outcome"),
    [
        pytest.param(LOST, True, "deleted", id="no answer"),
        pytest.param(BridgeUnavailable("connect", sent=False), True, "deleted", id="no connection"),
        pytest.param(BROKEN, True, "deleted", id="500"),
        pytest.param(THROTTLED, True, "deleted", id="429"),
        pytest.param(EXPIRED, False, "expired", id="expired"),
        pytest.param(msgspec.structs.replace(EXPIRED, status=200), False, "expired", id="expired with 200"),
        pytest.param(INVALID, False, "invalid", id="invalid"),
        pytest.param(FORBIDDEN, False, "error", id="403"),
        pytest.param(Answer(400, b"{}"), False, "error", id="400"),
    ],
)
async def test_only_a_delete_that_met_trouble_is_tried_again(first: Line, again: bool, outcome: str) -> None:
    bench = Bench(messages(1))
    bench.bridge.deletes.append(first)

    await bench.run(10)

    assert len(bench.bridge.deleted) == 1 + again
    assert bench.heard.deletes == [outcome]


@pytest.mark.requirement("R30")
async def test_a_handle_that_the_bridge_does_not_know_is_an_error_and_left_to_redelivery(log_lines: Lines) -> None:
    bench = Bench(messages(1), messages(1, handle="new"))
    bench.bridge.deletes.append(INVALID)

    await bench.run(10)

    assert bench.bridge.deleted == ["h1", "new1"]
    assert bench.heard.deletes == ["invalid", "deleted"]
    (line,) = (line for line in log_lines if line["event"] == "delete_failed")
    assert (line["log_level"], line["encoded_length"], line["message_id"]) == ("error", len("h1"), "m1")


@pytest.mark.requirement("R31")
async def test_a_delete_that_met_trouble_does_not_wait_for_those_beside_it() -> None:
    bench = Bench(messages(1, 2, 3), visibility=30)
    bench.bridge.deletes.extend([answer_in(20, DELETED), BROKEN, answer_in(10, DELETED)])

    await bench.run(60)

    assert bench.bridge.times("delete") == pytest.approx([0, 0, 0, 0.3], abs=0.11)
    assert bench.heard.deletes == ["deleted"] * 3


@pytest.mark.requirement("R21", "R31")
async def test_a_delete_is_given_up_when_its_time_is_over() -> None:
    bench = Bench(messages(1), visibility=30)
    bench.bridge.deletes.extend([BROKEN] * 1000)

    await bench.run(60)

    times = bench.bridge.times("delete")
    assert 18 < max(times) < 25
    assert len(times) > 5
    assert all(later - former < 11 for former, later in itertools.pairwise(times))
    assert bench.heard.deletes == ["error"]


@pytest.mark.requirement("R31")
@pytest.mark.parametrize(("wish", "times"), [(5, [0, 5]), (40, [0])])
async def test_a_delete_waits_as_long_as_it_is_told_or_not_at_all(wish: float, times: list[float]) -> None:
    bench = Bench(messages(1), visibility=30)
    bench.bridge.deletes.append(msgspec.structs.replace(THROTTLED, retry_after=wish))

    await bench.run(1)

    assert bench.bridge.times("delete") == pytest.approx(times, abs=0.01)
    assert anyio.current_time() < 10  # and nobody waits for what will not be done


async def test_a_message_without_a_handle_is_kept_and_not_deleted() -> None:
    bare = {name: value for name, value in number(say("e-CS1"), 1).items() if name != "ReceiptHandle"}
    bench = Bench(give_queue(bare))

    await bench.run(1)

    assert len(bench.delivered) == 1
    assert bench.bridge.deleted == []
    assert bench.heard.deletes == ["invalid"]


# --- when to ask ------------------------------------------------------------------------------------------------------


@pytest.mark.requirement("I0")
async def test_without_room_nothing_is_received_until_there_is_some_again() -> None:
    bench = Bench(messages(1))
    bench.disk.room = False

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(bench.ingest.run)
        await anyio.sleep(3600)
        assert bench.gets == []
        bench.disk.room = True
        await anyio.sleep(2)
        bench.ingest.stop()

    assert len(bench.delivered) == 1


@pytest.mark.requirement("I0", "I1")
async def test_stopping_finishes_what_is_held_and_asks_for_nothing_more() -> None:
    bench = Bench(answer_in(5, messages(1, 2)), messages(3))
    bench.disk.stalls.append(5)
    bench.bridge.deletes.append(answer_in(5, DELETED))

    await bench.run(1)

    assert len(bench.gets) == 1
    assert sorted(bench.bridge.deleted) == ["h1", "h2"]
    assert anyio.current_time() == pytest.approx(15)


@pytest.mark.requirement("I0")
async def test_once_stopped_it_never_asks() -> None:
    bench = Bench(messages(1))
    bench.ingest.stop()

    await bench.ingest.run()

    assert bench.gets == []


@pytest.mark.requirement("R17")
async def test_an_empty_queue_is_read_once_an_interval() -> None:
    bench = Bench(poll_interval=30)

    await bench.run(30_000)

    assert 0.9 * 30 <= min(bench.gaps) < 0.92 * 30
    assert 1.08 * 30 < max(bench.gaps) <= 1.1 * 30


@pytest.mark.requirement("C25")
async def test_whoever_has_to_know_what_the_queue_holds_waits_for_an_empty_answer_to_a_later_get() -> None:
    bench = Bench(answer_in(2.0), messages(1), EMPTY, poll_interval=300)
    looked: list[float] = []

    async def look() -> None:
        await anyio.sleep(1.0)  # the first GET is under way: its answer may be older than what is asked for
        await bench.ingest.look(60.0)
        looked.append(anyio.current_time())
        await bench.ingest.look(60.0)
        looked.append(anyio.current_time())

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(look)
        await bench.run(50)

    assert len(bench.delivered) == 1
    assert bench.gets[:2] == [0.0, 2.0]
    assert 2.0 <= looked[0] <= looked[1] < 3.0
    assert len(bench.gets) >= 4, "each look is a GET of its own"


async def test_a_look_at_a_queue_that_does_not_answer_takes_no_longer_than_it_may() -> None:
    bench = Bench(answer_in(1_000.0))
    looked: list[float] = []

    async def look() -> None:
        await bench.ingest.look(30.0)
        looked.append(anyio.current_time())

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(look)
        await bench.run(50)

    assert looked == [30.0]


@pytest.mark.requirement("R17")
async def test_readers_come_while_messages_come_and_leave_when_none_do() -> None:
    bench = Bench(max_readers=5)
    asking: list[int] = [0]
    most: list[int] = []

    async def answer() -> Answer:
        asking[0] += 1
        most.append(asking[0])
        await anyio.sleep(1)
        asking[0] -= 1
        return messages(len(most)) if anyio.current_time() < 20 else EMPTY

    bench.bridge.receives.extend([answer] * 10_000)
    await bench.run(200)

    busy = [count for count, at in zip(most, bench.gets, strict=True) if at < 20]
    idle = [count for count, at in zip(most, bench.gets, strict=True) if at > 25]
    assert busy[0] == 1
    assert max(busy) == 5
    assert len(idle) > 3
    assert set(idle) == {1}


async def test_readers_get_fewer_while_deliveries_run_out_of_time_and_come_back_after_it() -> None:
    bench = Bench(max_readers=8)
    asking: list[int] = [0]
    most: list[tuple[float, int]] = []

    async def answer() -> Answer:
        asking[0] += 1
        most.append((anyio.current_time(), asking[0]))
        await anyio.sleep(1)
        asking[0] -= 1
        return messages(len(most))

    async def delete() -> Answer:
        return EXPIRED if 50 < anyio.current_time() < 100 else DELETED

    bench.bridge.receives.extend([answer] * 10_000)
    bench.bridge.deletes.extend([delete] * 10_000)
    await bench.run(150)

    def readers(start: float, end: float) -> int:
        return max(count for at, count in most if start < at < end)

    assert [readers(20, 50), readers(60, 100), readers(130, 150)] == [8, 1, 8]


async def test_a_reader_asks_again_while_its_last_batch_is_being_deleted() -> None:
    bench = Bench(messages(1), messages(2), max_readers=1)
    bench.bridge.deletes.extend(answer_in(3, DELETED) for _ in range(2))

    await bench.run(1)

    assert bench.gets[:3] == pytest.approx([0, 0, 0])
    assert bench.bridge.times("delete") == pytest.approx([0, 0])


@pytest.mark.parametrize("readers", [1, 3])
async def test_readers_hold_two_batches_each_at_most_and_go_on_as_deletes_end(readers: int) -> None:
    bench = Bench(max_readers=readers, limits=Limits(deletes_at_once=5))
    held: list[int] = []
    batches = iter(range(10_000))

    async def answer() -> Answer:
        first = 10 * next(batches)
        held.append(first + 10 - len(bench.heard.deletes))
        return messages(*range(first, first + 10)) if anyio.current_time() < 50 else EMPTY

    bench.bridge.receives.extend([answer] * 10_000)
    bench.bridge.deletes.extend(answer_in(1, DELETED) for _ in range(10_000))
    await bench.run(200)

    busy = held[: len(bench.delivered) // 10]
    assert max(busy) == 20 * readers
    assert len(busy) >= 50 * 5 / 10  # the deletes never wait for a reader
    assert len(bench.heard.deletes) == len(bench.delivered)


@pytest.mark.requirement("R217")
@pytest.mark.parametrize("answer", [FORBIDDEN, Answer(401, b"{}"), BAD_PATH], ids=["403", "401", "Bad Path"])
async def test_a_wrong_key_or_path_is_asked_for_slowly(answer: Answer) -> None:
    bench = Bench(*[answer] * 8)

    await bench.run(300)

    assert 16 <= min(bench.gaps[:6]) <= max(bench.gaps[:6]) <= 60
    assert min(bench.gaps[2:6]) >= 30
    assert set(bench.heard.polls[:7]) == {"refused"}


@pytest.mark.parametrize(
    "line",
    [
        pytest.param(BROKEN, id="500"),
        pytest.param(Answer(504, b""), id="504"),
        pytest.param(LOST, id="no answer"),
        pytest.param(Answer(200, b""), id="nothing"),
        pytest.param(Answer(200, b"<html><body>200 OK</body></html>"), id="HTML"),
        pytest.param(Answer(200, b"{}"), id="empty object"),
        pytest.param(Answer(200, b'{"ReceiveMessageResponse":{"ReceiveMessageResult":{"messages":[{"Bo'), id="cut off"),
        pytest.param(Answer(404, EMPTY.body), id="404"),
    ],
)
@pytest.mark.requirement("I9")
async def test_trouble_is_waited_out_longer_and_longer(line: Line) -> None:
    bench = Bench(*[line] * 12, messages(1), line, line, max_readers=1)

    await bench.run(1_000)

    doubling = [0.5 * 2**index for index in range(12)]
    for gap, ceiling in zip(bench.gaps, doubling, strict=False):
        assert min(ceiling, 60) / 2 <= gap <= min(ceiling, 60)
    assert len({round(gap / ceiling, 3) for gap, ceiling in zip(bench.gaps[:7], doubling, strict=False)}) > 3
    assert len(bench.delivered) == 1
    assert bench.gaps[12] == 0  # a success forgets the trouble before it
    assert 0.25 <= bench.gaps[13] <= 0.5


async def test_a_wish_to_wait_is_honoured() -> None:
    bench = Bench(msgspec.structs.replace(THROTTLED, retry_after=77.0))

    await bench.run(200)

    assert bench.gaps[0] == pytest.approx(77, abs=0.1)
    assert bench.heard.polls[0] == "throttled"


async def test_a_wish_to_wait_is_for_all_readers_and_no_other_trouble_shortens_it() -> None:
    wish = msgspec.structs.replace(THROTTLED, retry_after=77.0)
    late = [answer_in(1, wish), answer_in(2, BROKEN), answer_in(3, messages(9))]
    bench = Bench(messages(1), messages(2), messages(3), *late)

    await bench.run(100)

    assert [at for at in bench.gets if 1.1 < at < 77] == []
    assert len(bench.gets) > 6


async def test_one_trouble_that_meets_all_readers_counts_once() -> None:
    burst = [messages(count) for count in range(1, 9)]
    bench = Bench(*burst, *[answer_in(1, BROKEN) for _ in range(8)], max_readers=8)

    await bench.run(20)

    first_after = min(at for at in bench.gets if at > 1)
    assert first_after < 1 + 0.5 + 0.01


async def test_a_key_that_cannot_be_sent_ends_the_readers() -> None:
    bench = Bench(BridgeRefused("the API key is empty"))

    with pytest.RaisesGroup(BridgeRefused, flatten_subgroups=True):
        await bench.run(1)


# --- drained ----------------------------------------------------------------------------------------------------------


async def drained_at(bench: Bench, *, within: float) -> float | None:
    """When the queue counted as drained first."""
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lambda: bench.ingest.run(idle_interval=10))
        with anyio.move_on_after(within):
            await bench.ingest.wait_drained()
            assert bench.ingest.drained
            tasks.cancel_scope.cancel()
            return anyio.current_time()
        tasks.cancel_scope.cancel()
    return None


@pytest.mark.parametrize(
    ("lines", "at"),
    [
        pytest.param([], 30, id="empty from the start"),
        pytest.param([messages(1)], 30, id="a message"),
        pytest.param([EMPTY, EMPTY, messages(1)], 50, id="a message later"),
        pytest.param([EMPTY, EMPTY, LOST], 50, id="a lost answer"),
        pytest.param([EMPTY, EMPTY, BROKEN], 50, id="a failure"),
        pytest.param([EMPTY, EMPTY, Answer(200, b"<html>")], 50, id="garbage"),
    ],
)
async def test_drained_is_a_whole_visibility_window_of_empty_answers(lines: list[Line], at: float) -> None:
    bench = Bench(*lines, visibility=30)

    found = await drained_at(bench, within=200)

    assert found is not None
    assert at <= found <= at + 12


async def test_not_drained_while_a_get_is_out() -> None:
    """A second reader's GET hangs and holds messages; what others see as empty proves nothing."""
    bench = Bench(messages(1), answer_in(200, messages(2)), visibility=30)
    bench.bridge.deletes.append(answer_in(60, DELETED))

    assert await drained_at(bench, within=150) is None


# --- against a queue --------------------------------------------------------------------------------------------------


@pytest.mark.requirement("I2", "I3")
async def test_two_readers_that_hold_one_group_after_a_stall_change_nothing() -> None:
    bench = Bench()
    simulator = EnvisionBridge(
        SimulatorConfig(), url_base="", clock=lambda: 1.7e9 + anyio.current_time(), rng=Random(1)
    )
    for count in range(5):
        body = msgspec.json.encode(say("e-CS1")["Body"])
        simulator.send(QueueMessage(message_id=f"m{count}", group="e-CS1", body=body, attributes=GROUP))
    bridge = SimulatedBridge(simulator, rng=Random(2))
    readers = [bench.make_ingest(bridge=bridge, poll_interval=2) for _ in range(2)]
    bench.disk.stalls.append(31)

    async with anyio.create_task_group() as tasks:
        for reader in readers:
            tasks.start_soon(reader.run)
        await anyio.sleep(120)
        for reader in readers:
            reader.stop()

    keys = [event.message_key for event in await bench.disk.read_stream("e-CS1")]
    assert [key[16:].decode() for key in keys if key] == [f"m{count}" for count in range(5)]
    assert len(simulator.queues["dev"]) == 0
    assert bench.heard.duplicates >= 5
    assert "expired" in bench.heard.deletes or "skipped" in bench.heard.deletes


GROUP = {"MessageGroupId": "e-CS1", "TransactionType": "Update"}


# --- whatever comes ---------------------------------------------------------------------------------------------------

WHOLE = give_queue(number(say("e-CS1"), 1), number(say("e-CS2"), 2)).body
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
NAMES = ["MessageId", "ReceiptHandle", "Body", "Attributes", "MD5OfBody"]
ATTRIBUTES = ["MessageGroupId", "SequenceNumber", "SentTimestamp", "ApproximateReceiveCount", "TransactionType"]
ODD_MESSAGES = st.fixed_dictionaries(
    {}, optional={name: VALUES | st.dictionaries(st.sampled_from(ATTRIBUTES), VALUES) for name in NAMES}
)


@st.composite
def spoilt(draw: st.DrawFn) -> bytes:
    """A good answer with some bytes replaced or cut out."""
    start = draw(st.integers(0, len(WHOLE) - 1))
    end = draw(st.integers(start, min(len(WHOLE), start + 20)))
    return WHOLE[:start] + draw(st.binary(max_size=8)) + WHOLE[end:]


@pytest.mark.requirement("I9")
@given(
    st.sampled_from([200, 200, 202, 404, 500]),
    st.binary(max_size=40)
    | VALUES.map(msgspec.json.encode)
    | st.lists(ODD_MESSAGES | VALUES, max_size=3).map(lambda items: give_queue(*items).body)  # type: ignore[arg-type]
    | spoilt(),
)
def test_no_answer_stops_the_readers(status: int, body: bytes) -> None:
    async def main() -> None:
        bench = Bench(Answer(status, body), messages(77))
        bench.bridge.deletes.append(Answer(status, body))
        await bench.run(120)
        assert "e-CS77" in {event.stream for event in bench.delivered}
        assert len(bench.delivered) == len({event.message_key for event in bench.delivered})

    simulate(main)


@pytest.mark.requirement("R29")
@pytest.mark.parametrize("first", [FORBIDDEN, EXPIRED])
async def test_a_delete_that_succeeds_at_the_second_delivery_is_no_return(first: Answer, log_lines: Lines) -> None:
    bench = Bench(messages(1), messages(1))
    bench.bridge.deletes.append(first)

    await bench.run(10)

    assert bench.heard.deletes[-1] == "deleted"
    assert "come again" not in str(log_lines)


# --- a queue that brings nothing new and lets nothing go (decision 23) ---


def without_handle(count: int) -> Answer:
    message = number(say(f"e-CS{count}"), count)
    message = {name: value for name, value in message.items() if name != "ReceiptHandle"}
    return give_queue(message)


STUCK = {
    "no handle": (without_handle(1), DELETED),
    "an empty text": (Answer(200, b'{"ReceiveMessageResponse":{"messages":[""]}}'), DELETED),
    "an empty object": (Answer(200, b'{"ReceiveMessageResponse":{"messages":{"":null}}}'), DELETED),
    "refused": (messages(1), FORBIDDEN),
    "odd": (messages(1), Answer(200, b'{"Response": "Whatever"}')),
    "a time-out in a success": (messages(1), Answer(200, b'{"errorMessage": "Task timed out after 3.00 seconds"}')),
    "invalid": (messages(1), INVALID),
    "expired": (messages(1), EXPIRED),
    "deleted, and there again": (messages(1), DELETED),
    "no answer": (Answer(200, b""), DELETED),
    "no messages": (Answer(200, b'{"ReceiveMessageResponse":{}}'), DELETED),
}


@pytest.mark.requirement("R17", "R31", "I8")
@pytest.mark.parametrize("name", STUCK)
async def test_what_comes_again_and_cannot_be_deleted_is_asked_for_less_and_less(name: str, log_lines: Lines) -> None:
    answer, deleted = STUCK[name]
    bench = Bench(*[answer] * 500, visibility=0.001)
    bench.bridge.deletes.extend([deleted] * 5000)

    await bench.run(20)

    assert 3 < len(bench.gets) <= 30
    assert bench.gaps[-1] > 3
    (event,) = (line["event"] for line in log_lines if line["event"] != "first_poll")
    assert event in ("delete_failed", "receive_failed")
    assert not bench.ingest.drained


@pytest.mark.requirement("R17", "R22", "R29")
async def test_duplicates_that_can_be_deleted_are_progress() -> None:
    numbers = range(1, 51)
    bench = Bench(*map(messages, numbers))
    bench.bridge.deletes.extend([EXPIRED] * 50)
    await bench.run(1)
    bench.bridge.receives.extend([messages(count, handle="again") for count in numbers])
    bench.ingest = bench.make_ingest()

    await bench.run(1)

    assert len(bench.gets) > 100
    assert bench.heard.duplicates == 50
    assert bench.heard.deletes == ["expired"] * 50 + ["deleted"] * 50


@pytest.mark.requirement("R17", "R20", "I8")
async def test_one_message_that_is_stuck_does_not_slow_down_the_fresh_ones() -> None:
    bench = Bench(*[give_queue(*stuck_and_fresh(count)) for count in range(2, 60)])

    await bench.run(1)

    assert len(bench.delivered) == 59
    assert bench.heard.deletes.count("deleted") == 58


def stuck_and_fresh(count: int) -> list[dict[str, Any]]:
    stuck = {name: value for name, value in number(say("e-CS1"), 1).items() if name != "ReceiptHandle"}
    return [stuck, dict(number(say(f"e-CS{count}"), count, handle=f"h{count}"))]


@pytest.mark.requirement("R17")
async def test_a_stuck_queue_is_read_on_at_once_when_it_brings_something_fresh() -> None:
    bench = Bench(*[without_handle(1)] * 6, *[messages(count) for count in range(2, 12)])

    await bench.run(60)

    fresh = bench.gets[6:16]
    assert fresh[-1] - fresh[0] < 0.5
    assert len(bench.delivered) == 11


def measure(bench: Bench) -> CollectorRegistry:
    """Let the metrics of a run hear the readers."""
    registry = CollectorRegistry()
    bench.heard = PrometheusTelemetry(registry, clock=bench.clock, version="0", python="0", sqlite="0")  # type: ignore[assignment]
    bench.ingest = bench.make_ingest(visibility=30)
    return registry


@pytest.mark.requirement("R24")
async def test_how_long_a_message_waited_is_measured_when_it_is_appended() -> None:
    message = number(say("e-CS1"), 1, handle="h")
    bench = Bench()
    sent_ms = bench.clock.now() // 1000 - 5 * 3_600_000
    attributes = {**message["Attributes"], "SentTimestamp": str(sent_ms)}
    bench.bridge.receives.append(give_queue({**message, "Attributes": attributes}))

    await bench.run(1)

    assert bench.heard.ages == pytest.approx([5 * 3_600], abs=1)


@pytest.mark.requirement("R210")
async def test_a_queue_that_cannot_be_read_is_told_and_its_last_read_stands_still(log_lines: Lines) -> None:
    bench = Bench(EMPTY, *[BROKEN] * 50, *[FORBIDDEN] * 50)
    registry = measure(bench)

    def read_last() -> float:
        return registry.get_sample_value("ecproc_queue_last_success_timestamp_seconds") or 0.0

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(bench.ingest.run)
        await anyio.sleep(1)
        first = read_last()
        await anyio.sleep(3 * 30)
        now = bench.clock.now() / 1_000_000
        assert now - read_last() >= 3 * 30  # Ensono counts thirty minutes
        assert read_last() == first > now - 120
        assert "receive_failed" in [line["event"] for line in log_lines]
        bench.bridge.receives.clear()
        await anyio.sleep(300)
        bench.ingest.stop()
    assert read_last() > first


@pytest.mark.requirement("R211")
@pytest.mark.parametrize(("answer", "outcome"), [(BROKEN, "error"), (INVALID, "invalid"), (FORBIDDEN, "error")])
async def test_messages_that_are_not_deleted_are_told_and_counted_at_once(
    answer: Answer, outcome: str, log_lines: Lines
) -> None:
    bench = Bench(messages(1))
    bench.bridge.deletes.extend([answer] * 1000)
    registry = measure(bench)

    await bench.run(60)  # Ensono waits until messages are an hour old

    assert registry.get_sample_value("ecproc_messages_deleted_total", {"outcome": outcome}) == 1
    assert registry.get_sample_value("ecproc_messages_deleted_total", {"outcome": "deleted"}) == 0
    assert "delete_failed" in [line["event"] for line in log_lines]


@pytest.mark.requirement("R23", "R235")
@pytest.mark.parametrize(("count", "level"), [("9", None), ("10", "warning"), ("15", "error")])
async def test_a_message_that_was_received_often_is_told_of(count: str, level: str | None, log_lines: Lines) -> None:
    message = say("e-CS1")
    attributes = {**message["Attributes"], "ApproximateReceiveCount": count}
    bench = Bench(give_queue(number({**message, "Attributes": attributes}, 1, handle="h")))

    await bench.run(1)

    told = [(line["event"], line["log_level"]) for line in log_lines if line["event"] != "first_poll"]
    assert told == ([] if level is None else [("receives_high", level)])


@pytest.mark.requirement("R216", "R217", "R14")
async def test_a_refusal_says_what_to_look_at_and_names_the_request(log_lines: Lines) -> None:
    bench = Bench(*[msgspec.structs.replace(FORBIDDEN, request_id="req-1")] * 5)

    await bench.run(20)

    (line,) = log_lines
    assert (line["event"], line["log_level"], line["reason"]) == ("queue_refused", "error", "Forbidden")
    assert (line["status"], line["request_id"]) == (403, "req-1")
    assert all(part in line["hint"] for part in ("check bridge.url", "check bridge.api_key"))


async def test_that_reading_works_again_is_told_once_with_how_long_it_did_not(log_lines: Lines) -> None:
    bench = Bench(FORBIDDEN, FORBIDDEN, BROKEN, messages(1), messages(2))

    await bench.run(120)

    (line,) = (line for line in log_lines if line["event"] == "receive_recovered")
    failed = bench.gets[:3]
    assert (line["log_level"], line["failures"]) == ("info", 3)
    assert line["duration"] == pytest.approx(bench.gets[3] - failed[0], abs=0.1)


async def test_a_recovery_from_what_was_not_told_is_not_told(log_lines: Lines) -> None:
    bench = Bench(BROKEN, messages(1), BROKEN, messages(2))

    await bench.run(20)

    told = [line["event"] for line in log_lines if line["event"].startswith("receive_")]
    assert told == ["receive_failed", "receive_recovered"]


async def test_an_outage_with_many_statuses_is_told_once_and_counted(log_lines: Lines) -> None:
    bench = Bench(*[Answer(status, b"") for status in (500, 502, 503, 504, 500, 503)], Answer(429, b""))

    await bench.run(120)

    told = [line["status"] for line in log_lines if line["event"] == "receive_failed"]
    assert told == [500, 429]


@pytest.mark.requirement("R5")
async def test_a_new_key_is_tried_at_once() -> None:
    bench = Bench(*[FORBIDDEN] * 100)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(bench.ingest.run)
        await anyio.sleep(100)
        refused = len(bench.gets)
        bench.bridge.receives.clear()
        bench.bridge.receives.append(messages(1))
        bench.ingest.try_now()
        await anyio.sleep(0.1)
        assert len(bench.gets) > refused
        assert len(bench.delivered) == 1
        bench.ingest.stop()
