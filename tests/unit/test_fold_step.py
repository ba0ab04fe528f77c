"""Steps, folds and rebuilds agree: however facts are grouped, wherever a fold was cold, at every position."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecproc.domain.entry import Entry, apply_outcome
from ecproc.domain.events import OUTCOMES, Decided, Outcome, Quarantined
from ecproc.domain.ids import EffectKey
from ecproc.domain.log import Batch, Fence, NewEvent, RecordedEvent
from ecproc.domain.policy import Policy
from ecproc.fold.history import read_fact
from ecproc.fold.recorded import Kind, decode_event, encode_event, wants_decision
from ecproc.fold.rows import entry_row, quarantine_row
from ecproc.fold.step import Step, take_step
from ecproc.fold.stream import StreamFold
from ecproc.fold.tables import TABLES
from ecproc.fold.tickets import MACHINES, TicketMachine
from ecproc.fold.whole import fold_events
from ecproc.rebuild.streams import RebuildOrder, rebuild
from ecproc.store.memory import MemoryStore
from ecproc.testing.ticket import START, Event, Sent, incident, note, sent
from ecproc.wire.queue import decode_message
from tests.simulation.clock import VirtualClock
from tests.simulation.simloop import simulate
from tests.simulation.strategies import History, histories

MACHINE = TicketMachine()
STREAM = "e-1"
NEVER = 1_000_000


class Log:
    """One stream in a store, decided by steps and told outcomes as its actor and the dispatcher do it."""

    def __init__(self) -> None:
        self.now = START * 1_000_000
        self.store = MemoryStore(lambda: self.now, TABLES)
        self.fold = StreamFold(STREAM, MACHINE)
        self.entries: dict[EffectKey, Entry] = {}
        self.messages = 0
        self.digests: dict[int, str] = {}

    async def append(self, event: Event) -> None:
        """Record what came in, or what came of an effect together with its entry's row."""
        self.now += 1_000_000
        if isinstance(event, dict):
            self.messages += 1
            envelope = decode_message(msgspec.json.encode(self._number(event)))
            new = NewEvent(STREAM, Kind.MESSAGE_RECEIVED, envelope.payload, message_key=envelope.key, wanted=True)
            await self._commit(Batch(events=[new]))
        else:
            fact: Any = event
            rows = []
            if isinstance(fact, OUTCOMES):
                entry = self.entries[fact.key] = apply_outcome(self.entries[fact.key], fact)
                rows = [entry_row(STREAM, entry)]
            new = NewEvent(STREAM, *encode_event(fact), wanted=wants_decision(fact))
            await self._commit(Batch(events=[new], rows=rows))

    async def step(self, *, limit: int = NEVER, snapshot_events: int = NEVER) -> Step | None:
        """Decide at most so many facts of those that wait."""
        self.fold.extend(await self.store.read_stream(STREAM, after=self.fold.seen))
        if not self.fold.undecided:
            return None
        step = take_step(
            self.fold, policy=Policy(), client_name="testClient", limit=limit, snapshot_events=snapshot_events
        )
        await self._commit(step.batch)
        self.entries |= {entry.effect.key: entry for entry in step.entries}
        return step

    async def forget(self) -> None:
        """Lose the folded state: go on from the snapshot, or from the start."""
        snapshot = await self.store.read_snapshot(STREAM, snapshot_version=MACHINE.snapshot_version)
        self.fold = StreamFold.from_snapshot(snapshot, MACHINE) if snapshot else StreamFold(STREAM, MACHINE)

    async def events(self) -> list[RecordedEvent]:
        return await self.store.read_stream(STREAM)

    async def compare(self, until: int | None = None, *, compact: bool = False) -> tuple[str, str, Any]:
        """The digests of live state and of a rebuild, and what differs."""
        async with self.store.reading() as reader, self.store.rebuilding(reader) as aside:
            await rebuild(
                reader, aside, RebuildOrder(until=until, compact=compact), machines=MACHINES, clock=VirtualClock()
            )
            return await aside.live_digest(), await aside.digest(), await aside.differences(3)

    async def _commit(self, batch: Batch) -> None:
        committed = await self.store.commit(batch)
        assert not committed.fenced
        for compact in (False, True):
            live, rebuilt, differences = await self.compare(compact=compact)
            assert live == rebuilt, differences
        self.digests[(await self.store.head()).position] = live

    def _number(self, message: Sent) -> dict[str, Any]:
        attributes = {
            "SequenceNumber": str(self.messages),
            "SentTimestamp": str(self.now // 1000),
            **message["Attributes"],
        }
        return {"MessageId": f"m{self.messages}", **message, "Attributes": attributes}


async def live_through(history: History, actions: list[str], log: Log) -> Log:
    """Let everything happen, with steps, snapshots and cold starts where `actions` say."""
    decided = -1
    for index, event in enumerate(history.events):
        if history.cause_of(index) > decided:
            await finish(log)
            decided = index - 1
        if isinstance(event, OUTCOMES) and event.key not in log.entries:
            continue
        await log.append(event)
        match actions[index % len(actions)]:
            case "one":
                await log.step(limit=1)
            case "step":
                await finish(log)
                decided = index
            case "snapshot":
                await log.step(snapshot_events=1)
            case "forget":
                await log.forget()
            case _:
                pass
    await finish(log)
    return log


async def finish(log: Log) -> None:
    while await log.step() is not None:
        pass


@pytest.mark.requirement("I5")
@settings(max_examples=60)
@given(histories(most=12), st.lists(st.sampled_from(["wait", "one", "step", "snapshot", "forget"]), min_size=1))
def test_live_rows_are_a_replays_rows_after_every_commit_and_at_every_position(
    history: History, actions: list[str]
) -> None:
    async def main() -> None:
        log = await live_through(history, actions, Log())
        for position, digest in log.digests.items():
            assert (await log.compare(until=position))[1] == digest

    simulate(main)


@pytest.mark.requirement("I5")
@settings(max_examples=60)
@given(histories(most=12), st.lists(st.sampled_from(["wait", "one", "snapshot"]), min_size=1))
def test_a_fold_from_its_snapshot_is_the_fold_of_everything(history: History, actions: list[str]) -> None:
    async def main() -> None:
        log = await live_through(history, actions, Log())
        whole, events = StreamFold(STREAM, MACHINE), await log.events()
        whole.extend(events)
        await log.forget()
        log.fold.extend(await log.store.read_stream(STREAM, after=log.fold.seen))
        assert log.fold.state == whole.state
        assert (log.fold.seen, log.fold.through) == (whole.seen, whole.through)
        assert log.fold.undecided == whole.undecided

    simulate(main)


CREATE = incident("Create", status="open", ticketNumber=STREAM)
NO_TICKET: Sent = {
    "Attributes": {"MessageGroupId": STREAM, "TransactionType": "Create"},
    "Body": {"ticketType": "Task"},
}


def say(transaction: str, **body: Any) -> Sent:
    return incident(transaction, ticketNumber=STREAM, **body)


async def decisions(log: Log) -> list[Decided]:
    facts = [read_fact(event) for event in await log.events()]
    return [fact for fact in facts if isinstance(fact, Decided)]


@pytest.mark.requirement("I3")
def test_a_step_takes_all_that_waits_and_says_through_where() -> None:
    async def main() -> None:
        log = Log()
        for count in range(3):
            await log.append(say("Notes", notes=note(f"n{count}")))
        step = await log.step()
        assert step is not None
        assert (step.decided, step.before, step.after) == (3, None, ("Incident", None))
        assert step.batch.fence is not None
        assert (step.batch.fence.expected, step.batch.fence.through) == (0, 3)
        await log.append(say("Notes", notes=note("n3")))
        await finish(log)
        assert [decided.through for decided in await decisions(log)] == [3, 5]
        assert await log.step() is None

    simulate(main)


def test_a_step_of_limited_length_leaves_the_rest_to_the_next() -> None:
    async def main() -> None:
        log = Log()
        for count in range(5):
            await log.append(say("Notes", notes=note(f"n{count}")))
        while await log.step(limit=2):
            pass
        assert [decided.through for decided in await decisions(log)] == [2, 4, 5]

    simulate(main)


def test_what_only_the_dispatcher_needs_is_decided_with_the_next_fact_that_wants_it() -> None:
    async def main() -> None:
        log = Log()
        await log.append(CREATE)
        await finish(log)
        (key,) = log.entries
        await log.append(decode("EffectStarted", key=key))
        assert await log.step() is None
        await log.append(decode("EffectSucceeded", key=key, result={"number": "L-1"}))
        await finish(log)
        assert [decided.through for decided in await decisions(log)] == [1, 4]
        assert [effect.key for effect in (await decisions(log))[1].effects] == [f"returnptn:{STREAM}:L-1"]

    simulate(main)


def decode(kind: str, **members: Any) -> Outcome:
    event = decode_event(kind, msgspec.json.encode(members))
    assert isinstance(event, OUTCOMES)
    return event


@pytest.mark.requirement("I9", "I5")
def test_what_cannot_be_taken_is_quarantined_and_skipped_for_ever() -> None:
    async def main() -> None:
        log = Log()
        await log.append(NO_TICKET)
        step = await log.step()
        assert step is not None
        assert [item.reason for item in step.quarantined] == ["unknown_ticket_type"]
        assert (step.before, step.after) == (None, None)
        await log.forget()
        await log.append(CREATE)
        await finish(log)
        rows, counters = fold_events(STREAM, await log.events(), MACHINE)
        assert sorted({row.table for row in rows}) == ["history", "outbox", "quarantine", "ticket"]
        (row,) = [row for row in rows if row.table == "quarantine"]
        assert msgspec.json.decode(row.data or b"")["message_id"] == "m1"
        assert (counters.version, counters.through, counters.wanted) == (5, 4, 4)

    simulate(main)


@pytest.mark.requirement("I9", "I5")
def test_what_was_quarantined_once_stays_out_though_newer_code_could_take_it() -> None:
    async def main() -> None:
        log = Log()
        await log.append(CREATE)
        own = [NewEvent(STREAM, *encode_event(event)) for event in (Quarantined(1, "undecodable"), Decided(through=1))]
        row = quarantine_row(STREAM, 1, message_id="m1", reason="undecodable", detail="")
        await log.store.commit(Batch(events=own, rows=[row], fence=Fence(STREAM, 0, 1)))
        rows, _ = fold_events(STREAM, await log.events(), MACHINE)
        assert [row.table for row in rows] == ["quarantine"]
        await log.append(say("Notes", status="pending", notes=note("n1")))
        await log.forget()
        step = await log.step()
        assert step is not None
        assert step.after == ("Incident", "pending")
        assert [item.code for item in step.anomalies] == ["adopted"]

    simulate(main)


def test_snapshots_come_less_and_less_often_as_a_stream_grows() -> None:
    async def main() -> None:
        log, at = Log(), []
        for count in range(60):
            await log.append(say("Notes", notes=note(f"n{count}")))
            step = await log.step(snapshot_events=4)
            if step is not None and step.batch.snapshot is not None:
                at.append(step.batch.snapshot.version)
        gaps = [after - before for before, after in pairwise(at)]
        assert min(gaps) >= 4
        assert all(gap >= before // 2 for gap, before in zip(gaps, at, strict=False))
        assert gaps[-1] > gaps[0]

    simulate(main)


def test_an_unknown_kind_of_event_changes_nothing() -> None:
    async def main() -> None:
        log = Log()
        await log.append(CREATE)
        await log.store.commit(Batch(events=[NewEvent(STREAM, "FromTheFuture", b"\xff")]))
        await log.append(say("Notes", notes=note("n1"), envelope=sent(at=4)))
        await finish(log)
        assert [decided.through for decided in await decisions(log)] == [3]
        live, rebuilt, differences = await log.compare()
        assert live == rebuilt, differences

    simulate(main)
