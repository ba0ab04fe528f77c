"""Both stores against a model of dictionaries and lists, whatever the order of calls."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, TypeVar

import anyio
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from ecproc.domain.log import Batch, Compact, Fence, NewEvent, Row, Snapshot, StreamCounters
from ecproc.store.base import Committed, ScanReader, Span, Store, VerifiedLog
from ecproc.store.memory import MemoryStore
from ecproc.store.sqlite.store import open_store
from ecproc.store.sqlite.verify import verify_log
from ecproc.testing.store import (
    SUITE_TABLES,
    copy_live,
    list_compact,
    list_counters,
    read_all,
    read_by_stream,
    scan_all,
)

T = TypeVar("T")

STREAMS = ["a", "b"]
LIVE = ["note", "outbox"]

streams = st.sampled_from(STREAMS)
keys = st.none() | st.integers(0, 6).map(lambda number: number.to_bytes(16, "big") + b"id")
events = st.builds(NewEvent, streams, st.sampled_from(["X", "Y"]), st.binary(max_size=3), keys, st.booleans())
rows = st.builds(
    Row,
    st.sampled_from(LIVE),
    streams,
    st.sampled_from(["1", "2", "3"]),
    st.integers(0, 2),
    st.none() | st.sampled_from([b"{}", b"[]"]),
    st.none() | st.just("tag"),
)
fences = st.none() | st.builds(Fence, streams, st.integers(0, 2), st.integers(0, 4))
snapshots = st.none() | st.builds(Snapshot, streams, st.integers(0, 9), st.integers(1, 2), st.just(b"s"))
plain = st.builds(Batch, st.lists(events, max_size=3), st.lists(rows, max_size=3), fences, snapshots)
decisions = st.builds(
    lambda before, fence, after, compact: Batch(
        events=[*before, NewEvent(fence.stream, "Decided", b""), *after], fence=fence, compact=compact
    ),
    st.lists(events, max_size=1),
    st.builds(Fence, streams, st.integers(0, 2), st.integers(0, 2)),
    st.lists(events, max_size=2),
    st.none() | st.binary(max_size=2),
)
batches = plain | decisions
spans = st.builds(Span, st.sampled_from(["", "a", "b", "c"]), st.sampled_from([None, "", "a", "b", "b\x00"]))


class Model:
    """What the store must hold."""

    def __init__(self) -> None:
        self.events: list[tuple[str, int, NewEvent]] = []
        self.states: dict[str, StreamCounters] = {}
        self.rows: dict[tuple[str, str, str], Row] = {}
        self.snapshots: dict[str, Snapshot] = {}
        self.compact: list[Compact] = []
        self.fold_version = 0

    def state(self, stream: str) -> StreamCounters:
        return self.states.get(stream, StreamCounters())

    def commit(self, batch: Batch) -> tuple[bool, list[int | None]]:
        """Whether the batch was fenced off, and the position of each event."""
        fence = batch.fence
        if fence is not None and self.state(fence.stream).through != fence.expected:
            return True, []
        positions = [self._append(event) for event in batch.events]
        if fence is not None:
            state = self.state(fence.stream)
            self.states[fence.stream] = StreamCounters(state.version, fence.through, state.wanted, state.last)
            if batch.compact is not None:
                self.compact.append(Compact(fence.stream, len(self.events), batch.compact))
        for row in batch.rows:
            key = (row.table, row.stream, row.id)
            if row.data is None:
                self.rows.pop(key, None)
            elif row.table != "outbox" or key not in self.rows or row.ordinal >= self.rows[key].ordinal:
                self.rows[key] = row
        if batch.snapshot is not None:
            self.snapshots[batch.snapshot.stream] = batch.snapshot
        return False, positions

    def _append(self, event: NewEvent) -> int | None:
        if event.message_key is not None and event.message_key in [one.message_key for _, _, one in self.events]:
            return None
        state = self.state(event.stream)
        version = state.version + 1
        self.events.append((event.stream, version, event))
        wanted = version if event.wanted else state.wanted
        self.states[event.stream] = StreamCounters(version, state.through, wanted, len(self.events))
        return len(self.events)

    def table(self, table: str) -> list[Row]:
        rows = [row for row in self.rows.values() if row.table == table]
        return sorted(rows, key=lambda row: (row.stream, row.ordinal, row.id))

    def list_compact(self, span: Span) -> list[Compact]:
        own = [one for one in self.compact if span.holds(one.stream)]
        return sorted(own, key=lambda one: (one.stream, one.position))

    def list_counters(self, span: Span) -> list[tuple[str, StreamCounters]]:
        return sorted((name, state) for name, state in self.states.items() if state.version and span.holds(name))


class StoreMachine(RuleBasedStateMachine):
    """Runs the store in an event loop of its own, which stays the same from step to step."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = tempfile.TemporaryDirectory()
        self.runner = asyncio.Runner()
        self.model = Model()
        self.store: Store = self.run(self.open_store(Path(self.directory.name)))

    open_store: Callable[[Path], Coroutine[Any, Any, Store]]
    """Gives the adapter under test, new or as it was left in that directory."""

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(work)

    def teardown(self) -> None:
        self.run(self.store.aclose())
        self.check_files()
        self.runner.close()
        self.directory.cleanup()

    def check_files(self) -> None:
        """Look at what is left once the store is closed."""

    @rule(batches=st.lists(batches, min_size=1, max_size=4))
    def commit_at_the_same_time(self, batches: list[Batch]) -> None:
        outcomes = self.run(_gather([partial(self.store.commit, batch) for batch in batches]))
        for batch, outcome in zip(batches, outcomes, strict=True):
            fenced, positions = self.model.commit(batch)
            assert outcome.fenced == fenced
            assert [event and event.position for event in outcome.events] == positions

    @rule(batch=batches)
    def read_one_moment_while_another_is_written(self, batch: Batch) -> None:
        async def read() -> None:
            async with self.store.reading() as moment:
                await self.store.commit(batch)
                await self.check(moment)

        self.run(read())
        self.model.commit(batch)

    @rule(stream=streams, after=st.integers(0, 12), limit=st.none() | st.integers(0, 5))
    def read_the_rest_of_a_stream(self, stream: str, after: int, limit: int | None) -> None:
        async def read() -> None:
            own = [event for event in await read_all(self.store) if event.stream == stream and event.version > after]
            assert await self.store.read_stream(stream, after=after, limit=limit) == own[:limit]

        self.run(read())

    @rule(span=spans, until=st.none() | st.integers(0, 30))
    def read_a_span(self, span: Span, until: int | None) -> None:
        async def read() -> None:
            expected = [event for event in await read_all(self.store, until=until) if span.holds(event.stream)]
            expected.sort(key=lambda event: (event.stream, event.version))
            assert await read_by_stream(self.store, until=until, span=span) == expected
            assert await list_compact(self.store, span) == self.model.list_compact(span)
            assert await list_counters(self.store, span) == self.model.list_counters(span)

        self.run(read())

    @rule(row=st.none() | rows, fold_version=st.none() | st.integers(1, 2))
    def rebuild(self, row: Row | None, fold_version: int | None) -> None:
        async def rebuild() -> None:
            async with self.store.rebuilding() as aside:
                await copy_live(self.store, aside)
                assert await aside.digest() == await aside.live_digest()
                before = dict(self.model.rows)
                if row is not None:
                    await aside.write([row])
                    self.model.commit(Batch(rows=[row]))
                count, _ = await aside.differences(0)
                assert count == (before != self.model.rows)
                if fold_version is not None:
                    await aside.swap(fold_version=fold_version)
                    assert await aside.digest() == await aside.live_digest()
                else:
                    self.model.rows = before

        self.run(rebuild())
        if fold_version is not None:
            self.model.fold_version = fold_version
            self.model.states = {name: state for name, state in self.model.states.items() if state.version}

    @invariant()
    def store_is_as_modelled(self) -> None:
        self.run(self.check(self.store))

    async def check(self, reader: ScanReader) -> None:
        model = self.model
        recorded = await read_all(reader)
        assert [(event.stream, event.version) for event in recorded] == [one[:2] for one in model.events]
        assert [event.position for event in recorded] == list(range(1, len(recorded) + 1))
        for event, (_, _, given) in zip(recorded, model.events, strict=True):
            assert (event.kind, event.payload, event.message_key) == (given.kind, given.payload, given.message_key)
        assert (await reader.head()).position == len(recorded)
        for stream in STREAMS:
            state = model.state(stream)
            assert await reader.stream_state(stream) == state
            own = [event for event in recorded if event.stream == stream]
            assert await reader.read_stream(stream) == own
            assert await reader.read_stream(stream, after=state.version // 2) == own[state.version // 2 :]
            for version in (1, 2):
                snapshot = model.snapshots.get(stream)
                expected = snapshot if snapshot is not None and snapshot.snapshot_version == version else None
                assert await reader.read_snapshot(stream, snapshot_version=version) == expected
        by_stream = sorted(recorded, key=lambda event: (event.stream, event.version))
        assert await read_by_stream(reader) == by_stream
        assert await list_counters(reader) == model.list_counters(Span())
        assert await list_compact(reader) == model.list_compact(Span())
        undecided = [stream for stream in STREAMS if model.state(stream).wanted > model.state(stream).through]
        assert await reader.undecided_streams() == undecided
        for table in SUITE_TABLES.names:
            assert await scan_all(reader, table) == model.table(table)
        tagged = [row for row in model.table("outbox") if row.tag is not None]
        assert await scan_all(reader, "outbox", tagged=True) == tagged
        assert await reader.fold_version() == model.fold_version


class MemoryMachine(StoreMachine):
    async def open_store(self, directory: Path) -> Store:
        return MemoryStore(count(1).__next__, SUITE_TABLES)


class SqliteMachine(StoreMachine):
    async def open_store(self, directory: Path) -> Store:
        return await open_store(directory, SUITE_TABLES, now=count(1).__next__, identity=None, reserve_bytes=0)

    @precondition(lambda self: self.model.events)
    @rule()
    def restart(self) -> None:
        self.run(self.store.aclose())
        self.check_files()
        self.store = self.run(self.open_store(Path(self.directory.name)))

    def check_files(self) -> None:
        verified = verify_log(Path(self.directory.name))
        assert isinstance(verified, VerifiedLog)
        assert verified.events == len(self.model.events)


async def _gather(calls: list[Callable[[], Awaitable[Committed]]]) -> list[Committed]:
    outcomes: list[Committed | None] = [None] * len(calls)

    async def call(index: int) -> None:
        outcomes[index] = await calls[index]()

    async with anyio.create_task_group() as group:
        for index in range(len(calls)):
            group.start_soon(call, index)
    return [outcome for outcome in outcomes if outcome is not None]


@pytest.mark.requirement("I2", "I3", "I5")
@pytest.mark.parametrize(("machine", "examples"), [(MemoryMachine, 40), (SqliteMachine, 20)])
def test_store_does_what_the_model_does(machine: type[StoreMachine], examples: int) -> None:
    run_state_machine_as_test(machine, settings=settings(max_examples=examples, stateful_step_count=12))
