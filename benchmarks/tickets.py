"""What a ticket's actor costs beside its work: steps through the Projector, and the same steps made without it."""

from __future__ import annotations

import gc
import sqlite3
import time
import tracemalloc
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import anyio
import msgspec

from benchmarks.decode import Payload
from benchmarks.lab import Call, Lab, Row, make_row, with_figures
from benchmarks.measure import Sample, timing, timing_baseline
from benchmarks.messages import make_events
from benchmarks.parts import make_projector
from ecproc.clock import SystemClock
from ecproc.collector import spare_the_collector
from ecproc.config import Limits
from ecproc.domain.entry import Entry
from ecproc.domain.log import Batch, RecordedEvent
from ecproc.domain.policy import Policy
from ecproc.fold.recorded import Kind
from ecproc.fold.step import take_step
from ecproc.fold.stream import StreamFold
from ecproc.fold.tables import TABLES
from ecproc.fold.tickets import TicketMachine
from ecproc.store.base import Store
from ecproc.store.memory import MemoryStore
from ecproc.store.sqlite.datadir import DATABASE
from ecproc.store.sqlite.store import open_store

_MACHINERY: Final = (
    "*/ecproc/runtime/projector.py",
    "*/ecproc/runtime/mailboxes.py",
    "*/anyio/*",
    "*/asyncio/*",
)


class _Sink:
    """An outbox that takes everything and does nothing."""

    has_room = True

    async def wait_for_room(self) -> None:
        return

    def pause(self, stream: str, what: str, *, paused: bool) -> None:
        pass

    def add(self, stream: str, entries: Sequence[Entry]) -> None:
        return


async def _fill(store: Store, *, tickets: int, start: int, messages: int) -> list[RecordedEvent]:
    recorded: list[RecordedEvent] = []
    for events in make_events(start, messages, tickets=tickets):
        committed = await store.commit(Batch(events=events))
        recorded += [event for event in committed.events if event is not None]
    return recorded


def _bursts(events: list[RecordedEvent], *, tickets: int, burst: int) -> list[list[RecordedEvent]]:
    """The events as they are delivered: `burst` of each of some tickets at a time."""
    size = tickets * burst
    bursts: list[list[RecordedEvent]] = []
    for start in range(0, len(events), size):
        by_stream: defaultdict[str, list[RecordedEvent]] = defaultdict(list)
        for event in events[start : start + size]:
            by_stream[event.stream].append(event)
        streams = list(by_stream.values())
        bursts += [[event for own in streams[n : n + 8] for event in own] for n in range(0, len(streams), 8)]
    return bursts


async def on_disk(folder: str, *, tickets: int, messages: int, held: int) -> Sample:
    """Deliver messages of known tickets to a Projector that holds so many folded states; of the others it
    reads the log."""
    store = await open_store(Path(folder) / "data", TABLES, now=SystemClock().now, identity=None, reserve_bytes=0)
    projector = make_projector(store, _Sink(), Limits(states_held=held))
    try:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(projector.run)
            await anyio.wait_all_tasks_blocked()
            projector.deliver(await _fill(store, tickets=tickets, start=0, messages=tickets))
            await projector.wait_idle()
            events = await _fill(store, tickets=tickets, start=tickets, messages=messages)
            bare = _read_bare(Path(folder) / "data")
            spare_the_collector()
            with timing() as watch:
                for delivered in _bursts(events, tickets=tickets, burst=1):
                    projector.deliver(delivered)
                    await projector.wait_idle()
            tasks.cancel_scope.cancel()
    finally:
        await store.aclose()
    return watch.sample(messages, read_wall=bare.wall / bare.count, read_cpu=bare.cpu / bare.count)


def _read_bare(directory: Path) -> Sample:
    """Read the events of each stream by their positions in one query, and decode the messages among them."""
    connection = sqlite3.connect(f"{(directory / DATABASE).as_uri()}?mode=ro", uri=True)
    places: defaultdict[str, list[int]] = defaultdict(list)
    for stream, position in connection.execute("SELECT stream, position FROM event"):
        places[stream].append(position)
    decode = msgspec.json.Decoder(Payload).decode
    with timing_baseline() as watch:
        for own in places.values():
            marks = ",".join("?" * len(own))
            query = f"SELECT kind, payload FROM event WHERE position IN ({marks})"  # noqa: S608 - question marks
            for kind, payload in connection.execute(query, own).fetchall():
                if kind == Kind.MESSAGE_RECEIVED:
                    decode(payload)
    connection.close()
    return watch.sample(len(places))


async def in_turn(*, tickets: int, messages: int, burst: int) -> Sample:
    """Bursts of tickets that are known already, each through the Projector and then once more without it; the second's
    seconds are a fact. In turn, because the difference is small beside what a machine's speed does within seconds."""
    stores = [MemoryStore(SystemClock().now, TABLES) for _ in range(2)]
    projector = make_projector(stores[0], _Sink())
    plain = _Plain(stores[1])
    routed = bare = 0.0
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(projector.run)
        await anyio.wait_all_tasks_blocked()
        known = [await _fill(store, tickets=tickets, start=0, messages=tickets) for store in stores]
        projector.deliver(known[0])
        await projector.wait_idle()
        await plain.deliver(known[1])
        events = [await _fill(store, tickets=tickets, start=tickets, messages=messages) for store in stores]
        spare_the_collector()
        with timing():
            for ours, theirs in zip(*[_bursts(each, tickets=tickets, burst=burst) for each in events], strict=True):
                began = time.process_time()
                projector.deliver(ours)
                await projector.wait_idle()
                between = time.process_time()
                await plain.deliver(theirs)
                routed, bare = routed + between - began, bare + time.process_time() - between
        tasks.cancel_scope.cancel()
    return Sample(messages, routed, routed, {"bare": bare})


class _Plain:
    """The same folds, steps and commits one after the other: no mailbox, no task, no bound."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._folds: dict[str, StreamFold] = {}

    async def deliver(self, delivered: list[RecordedEvent]) -> None:
        by_stream: defaultdict[str, list[RecordedEvent]] = defaultdict(list)
        for event in delivered:
            by_stream[event.stream].append(event)
        for events in by_stream.values():
            await self._step(events)

    async def _step(self, events: list[RecordedEvent]) -> None:
        fold = self._folds.get(events[0].stream)
        if fold is None:
            fold = self._folds[events[0].stream] = StreamFold(events[0].stream, TicketMachine())
        fold.extend(events)
        taken = take_step(fold, policy=Policy(), client_name="testClient", limit=1000, snapshot_events=200)
        committed = await self._store.commit(taken.batch)
        fold.extend([event for event in committed.events if event is not None])


async def idle(*, tickets: int) -> Sample:
    """Bytes that the machinery keeps for each ticket it has seen, when none has work; folded states not counted."""
    store = MemoryStore(SystemClock().now, TABLES)
    projector = make_projector(store, _Sink())
    events = await _fill(store, tickets=tickets, start=0, messages=tickets)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(projector.run)
        await anyio.wait_all_tasks_blocked()
        gc.collect()
        tracemalloc.start()
        projector.deliver(events)
        await projector.wait_idle()
        await anyio.wait_all_tasks_blocked()
        gc.collect()
        found = tracemalloc.take_snapshot().filter_traces([tracemalloc.Filter(True, name) for name in _MACHINERY])
        tracemalloc.stop()
        tasks.cancel_scope.cancel()
    held = sum(trace.size for trace in found.traces)
    return Sample(tickets, 0.0, 0.0, {"bytes": held / tickets})


def run(lab: Lab) -> list[Row]:
    """Warm tickets, in steps of one message and of ten; ten times more tickets than are held; and tickets at rest."""
    many = lab.size(2_000, 1_000)
    return [
        _machinery(lab, "ticket_warm", "one message a step", burst=1),
        _machinery(lab, "ticket_warm_10", "ten messages a step", burst=10),
        _cold(lab, many),
        _idle(lab, many),
    ]


def _machinery(lab: Lab, key: str, title: str, *, burst: int) -> Row:
    work = {"tickets": 100, "messages": lab.size(6_000, 2_000), "burst": burst}
    routed = lab.interleave({"both": Call("benchmarks.tickets:in_turn", work)})["both"]
    bare = [Sample(sample.count, sample.facts["bare"], sample.facts["bare"]) for sample in routed]
    row = make_row(
        key,
        f"per-ticket machinery, {title}",
        per="message",
        ours=routed,
        baseline=bare,
        against="the same steps without it",
    )
    return _with_difference(row, routed, bare, note="CPU beyond the steps themselves")


def _cold(lab: Lab, tickets: int) -> Row:
    work = {"folder": "{folder}", "tickets": tickets, "messages": tickets}
    calls = {
        "cold": Call("benchmarks.tickets:on_disk", {**work, "held": tickets // 10}),
        "warm": Call("benchmarks.tickets:on_disk", {**work, "held": tickets}),
    }
    samples = lab.interleave(calls)
    loads = [_subtract(cold, warm) for cold, warm in zip(samples["cold"], samples["warm"], strict=True)]
    reads = [Sample(1, cold.facts["read_wall"], cold.facts["read_cpu"]) for cold in samples["cold"]]
    return make_row(
        "ticket_cold",
        f"cold load, {tickets:,} tickets in turn, {tickets // 10:,} held",
        per="load",
        ours=loads,
        baseline=reads,
        against="one sqlite3 read + decode of the same bytes",
        note="what a message takes more than with all of them held",
    )


def _subtract(cold: Sample, warm: Sample) -> Sample:
    least = warm.cpu / warm.count / 1000  # where two noisy figures tell nothing
    wall, cpu = cold.wall / cold.count - warm.wall / warm.count, cold.cpu / cold.count - warm.cpu / warm.count
    return Sample(1, max(wall, least), max(cpu, least))


def _idle(lab: Lab, tickets: int) -> Row:
    sample = lab.take(Call("benchmarks.tickets:idle", {"tickets": tickets}))
    row = make_row("ticket_idle", f"{tickets:,} idle tickets", per="ticket", ours=[sample])
    return with_figures(row, [sample.facts["bytes"]], unit="B", note="allocated by Projector, anyio and asyncio")


def _with_difference(row: Row, ours: list[Sample], bare: list[Sample], *, note: str) -> Row:
    spent = [mine.cpu_us - theirs.cpu_us for mine, theirs in zip(ours, bare, strict=True)]
    return with_figures(row, spent, unit="us", note=note)
