"""Faults come as often as the plan says, whatever the seed, and a bridge with faults still loses nothing."""

from __future__ import annotations

import json
from random import Random
from urllib.parse import quote

import msgspec
import pytest

from ecproc.simulator.bridge import EnvisionBridge
from ecproc.simulator.exchange import HttpRequest, Reply
from ecproc.simulator.faults import (
    MILD,
    NONE,
    CallFaults,
    CallKind,
    Fault,
    FaultPlan,
    FaultSource,
    MessageFaults,
    Quota,
)
from ecproc.simulator.ledger import MessageCounts
from ecproc.simulator.queue import QueueRules
from ecproc.simulator.settings import Scenario, SimulatorConfig
from ecproc.simulator.stage import Stage

HEADERS = {"x-api-key": "simulator-key"}
ROOT = "/testclient/dev"


@pytest.mark.parametrize("rate", [0.002, 0.04, 0.1, 0.37, 0.9, 1.0])
@pytest.mark.parametrize("seed", range(5))
def test_a_quota_fires_at_its_rate_and_never_runs_short(rate: float, seed: int) -> None:
    quota = Quota(rate, Random(seed))
    fired = 0
    for calls in range(1, 2001):
        if quota.advance():
            quota.take()
            fired += 1
        assert int(calls * rate) - 1 <= fired <= calls * rate + 1


def test_a_due_fault_waits_for_the_next_call_when_another_takes_this_one() -> None:
    faults = FaultSource(FaultPlan(queue=CallFaults(error_before=0.5, lost=0.5)), Random(1))
    drawn = [faults.draw_call(CallKind.QUEUE) for _ in range(100)]
    assert drawn.count(Fault.ERROR_BEFORE) >= 49
    assert drawn.count(Fault.LOST) >= 49
    assert faults.draw_call(CallKind.TICKETS) is None


def test_the_same_seed_draws_the_same_faults() -> None:
    def draw(seed: int) -> list[Fault | None]:
        faults = FaultSource(MILD, Random(seed))
        return [faults.draw_call(CallKind.QUEUE) for _ in range(500)]

    assert draw(7) == draw(7)
    assert draw(7) != draw(8)


def test_without_faults_nothing_is_drawn() -> None:
    faults = FaultSource(NONE, Random(1))
    assert {faults.draw_call(lane) for lane in CallKind for _ in range(1000)} == {None}
    assert {faults.draw_delete() for _ in range(1000)} == {None}
    assert faults.draw_latency(CallKind.FILES) == 0.0


class Reader:
    """A patient client: reads and deletes until the queue stays empty, believing only proper answers."""

    def __init__(self, plan: FaultPlan, *, seed: int = 0, tickets: int = 90, rules: QueueRules | None = None) -> None:
        self.now = 1_700_000_000.0
        config = SimulatorConfig(faults=plan, seed=seed, queue=rules or QueueRules())
        self.bridge = EnvisionBridge(config, url_base="http://127.0.0.1:1", clock=lambda: self.now, rng=Random(seed))
        Stage(self.bridge, lambda *_: None).start(Scenario(tickets=tickets, seed=seed))

    def call(self, method: str, path: str) -> Reply:
        reply = self.bridge.answer(HttpRequest(method=method, path=f"{ROOT}{path}", headers=HEADERS))
        self.bridge.record_answered()
        self.now += 0.01
        return reply

    def read(self) -> list[str] | None:
        reply = self.call("GET", "/queue")
        try:
            result = json.loads(reply.body)["ReceiveMessageResponse"]["ReceiveMessageResult"]
        except (ValueError, KeyError):
            return None
        if reply.dropped or reply.status != 200:
            return None
        return [message["ReceiptHandle"] for message in result.get("messages") or ()]

    def run(self) -> MessageCounts:
        """Go on until the queue holds nothing any more, for 10,000 reads at most."""
        for _ in range(10_000):
            handles = self.read()
            for handle in handles or ():
                self.call("DELETE", f"/queue/{quote(handle, safe='')}")
            if not handles:
                self.now += 1
            if not len(self.bridge.queues["dev"]):
                break
        return self.bridge.ledger.count_messages()


@pytest.mark.requirement("R22", "I2")
@pytest.mark.parametrize("seed", range(4))
def test_mild_faults_redeliver_at_least_two_percent_and_lose_nothing(seed: int) -> None:
    reader = Reader(MILD, seed=seed)
    counts = reader.run()
    assert counts.sent >= 500
    assert counts.redelivered >= 0.02 * counts.sent
    assert (counts.deleted, counts.received, counts.left, counts.lost) == (counts.sent, counts.sent, 0, 0)
    assert {"messages.duplicate", "messages.undeleted", "queue.lost", "queue.error_after"} <= set(
        reader.bridge.faults.counts
    )


@pytest.mark.parametrize("fault", list(Fault))
def test_each_fault_alone_is_survived(fault: Fault) -> None:
    faults = msgspec.structs.replace(CallFaults(), **{fault: 0.2})
    reader = Reader(FaultPlan(queue=faults), tickets=20)
    counts = reader.run()
    assert (counts.deleted, counts.lost) == (counts.sent, 0)
    assert reader.bridge.faults.counts[f"queue.{fault}"] > 20


@pytest.mark.parametrize("applied", [Fault.LOST, Fault.ERROR_AFTER, Fault.GARBAGE])
def test_a_read_whose_answer_is_spoilt_has_hidden_its_messages(applied: Fault) -> None:
    faults = msgspec.structs.replace(CallFaults(), **{applied: 1.0})
    reader = Reader(FaultPlan(queue=faults), tickets=3)
    reader.call("GET", "/queue")
    received = reader.bridge.ledger.count_messages().received
    assert received > 0
    reader.bridge.faults.change_plan(NONE)
    reader.now += 30
    assert len(reader.read() or ()) == received
    assert reader.bridge.ledger.count_messages().redelivered == received


@pytest.mark.parametrize("before", [Fault.ERROR_BEFORE, Fault.THROTTLE, Fault.HANG, Fault.LATE])
def test_a_read_that_failed_first_has_touched_nothing(before: Fault) -> None:
    faults = msgspec.structs.replace(CallFaults(), **{before: 1.0})
    reader = Reader(FaultPlan(queue=faults, retry_after=3, hang_seconds=9.0), tickets=3)
    reply = reader.call("GET", "/queue")
    assert reader.bridge.ledger.count_messages().received == 0
    expected = {
        Fault.ERROR_BEFORE: (reply.status in (500, 502, 503, 504), None, False, 0.0),
        Fault.THROTTLE: (reply.status == 429, 3, False, 0.0),
        Fault.HANG: (True, None, True, 9.0),
        Fault.LATE: (True, None, True, 9.0),
    }
    assert (True, reply.retry_after, reply.dropped, reply.delay) == expected[before]


@pytest.mark.requirement("R23")
def test_messages_that_are_never_deleted_are_counted_as_lost() -> None:
    plan = FaultPlan(messages=MessageFaults(undeleted=1.0))
    reader = Reader(plan, tickets=5, rules=QueueRules(max_receives=3))
    counts = reader.run()
    assert counts.lost == counts.failed == counts.sent
    assert (counts.deleted, counts.left) == (0, 0)
    assert counts.redelivered == 2 * counts.sent


CREATE = {
    "clientName": "testClient",
    "ticketType": "Incident",
    "clientTicketNumber": "INC1",
    "description": "It does not print.",
    "shortDescription": "Printer",
    "contactName": "Ann",
    "contactEmail": "ann@client.example",
}


def create(reader: Reader) -> Reply:
    body = json.dumps({"payload": CREATE}).encode()
    return reader.bridge.answer(HttpRequest(method="POST", path=f"{ROOT}/tickets", headers=HEADERS, body=body))


@pytest.mark.requirement("R97", "C25")
@pytest.mark.parametrize("late", [True, False])
def test_a_late_create_takes_effect_after_a_later_one(late: bool) -> None:
    plan = FaultPlan(tickets=CallFaults(late=1.0) if late else CallFaults(hang=1.0), late_seconds=(150.0, 150.0))
    reader = Reader(plan, tickets=0)

    assert create(reader).dropped
    reader.bridge.faults.change_plan(NONE)
    reader.now += 100
    reader.read()
    assert reader.bridge.ledger.created == {}, "it is still on its way"
    assert len(reader.bridge.late) == late
    assert create(reader).status == 200
    reader.now += 100
    handles = reader.read()

    assert reader.bridge.ledger.list_doubles() == ({"INC1": ["e-CS5000001", "e-CS5000002"]} if late else {})
    assert len(handles or ()) == late, "the number of a create that nobody heard of is announced"
    assert len(reader.bridge.late) == 0
