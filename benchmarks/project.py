"""[project] on disk, per message, and [settle] beside the same rows written without a dispatcher."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Final

import anyio
from anyio.lowlevel import checkpoint

from benchmarks.lab import Call, Lab, Row, make_row, with_figures
from benchmarks.measure import Sample, timing, timing_baseline
from benchmarks.messages import make_events
from benchmarks.parts import make_projector
from benchmarks.raw import RawLog
from ecproc.clock import SystemClock
from ecproc.collector import spare_the_collector
from ecproc.config import Limits
from ecproc.desk.base import DESK_KINDS
from ecproc.domain.attempt import Attempt, Done
from ecproc.domain.effects import EffectKind, Repeat
from ecproc.domain.entry import Entry
from ecproc.domain.log import Batch, NewEvent, RecordedEvent, StreamCounters
from ecproc.domain.log import Row as LiveRow
from ecproc.fold.tables import TABLES
from ecproc.outbox.dispatcher import Dispatcher
from ecproc.outbox.retry import RetryPolicy
from ecproc.outbox.schedule import OutboxBounds
from ecproc.store.base import Committed
from ecproc.store.chain import payload_hash
from ecproc.store.sqlite.schema import Statement, row_statements, stream_statements
from ecproc.store.sqlite.sql import log as log_sql
from ecproc.store.sqlite.store import SqliteStore, open_store
from ecproc.telemetry.hooks import Telemetry

_BATCH_BYTES: Final = 2_000
_PATIENCE: Final = 120.0
Written = list[tuple[Batch, Committed]]


class _Sink:
    """An outbox that keeps what it is given."""

    def __init__(self) -> None:
        self.entries: list[tuple[str, Entry]] = []

    has_room = True

    async def wait_for_room(self) -> None:
        return

    def pause(self, stream: str, what: str, *, paused: bool) -> None:
        pass

    def add(self, stream: str, entries: Sequence[Entry]) -> None:
        self.entries += [(stream, entry) for entry in entries]


class _Instant:
    """A destination that does everything at once."""

    name = "desk"
    kinds = tuple(EffectKind)

    def repeat_of(self, kind: EffectKind) -> Repeat:
        return Repeat.KEYED if kind in DESK_KINDS else Repeat.IDEMPOTENT

    def ends_after(self, kind: EffectKind) -> float:
        return 0.0

    async def perform(self, stream: str, entry: Entry) -> Attempt:
        return Done({"number": "LOCAL-0000001", "state": "open"})


class _Tapped:
    """A store, what was written to it since `start`, and in how many transactions."""

    def __init__(self) -> None:
        self.written: Written = []
        self.commits = 0

    def start(self, store: SqliteStore) -> None:
        """Listen from now on."""
        commit_all = store.commit_all
        self.commits = 0

        async def listen(batches: Sequence[Batch]) -> list[Committed]:
            committed = await commit_all(batches)
            self.written += zip(batches, committed, strict=True)
            return committed

        store.commit_all = listen  # type: ignore[method-assign]

    def count(self, _seconds: float, _batches: int) -> None:
        self.commits += 1


async def project(folder: str, *, tickets: int, messages: int, mix: str) -> Sample:
    """Decide and project messages that stand in the log, as the Projector does."""
    tapped, sink = _Tapped(), _Sink()
    store = await _open(folder, tapped)
    events = await _append(store, tickets=tickets, messages=messages, mix=mix)
    projector = make_projector(store, sink)
    tapped.commits = 0
    spare_the_collector()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(projector.run)
        await checkpoint()
        with timing() as watch, anyio.fail_after(_PATIENCE):
            for start in range(0, len(events), 10):
                projector.deliver(events[start : start + 10])
                await checkpoint()
            await projector.wait_idle()
        tasks.cancel_scope.cancel()
    await store.aclose()
    return watch.sample(messages, commits=tapped.commits / messages)


async def settle(folder: str, *, tickets: int, messages: int) -> Sample:
    """Claim and settle the effects of messages that are projected, at a desk that takes no time, then the same raw."""
    tapped, sink = _Tapped(), _Sink()
    store = await _open(folder, tapped)
    events = await _append(store, tickets=tickets, messages=messages, mix="busy")
    async with anyio.create_task_group() as tasks:
        projector = make_projector(store, sink)
        tasks.start_soon(projector.run)
        await checkpoint()
        projector.deliver(events)
        await projector.wait_idle()
        tasks.cancel_scope.cancel()
    tapped.start(store)
    dispatcher = _dispatcher(store)
    spare_the_collector()
    async with anyio.create_task_group() as tasks:
        with timing() as watch, anyio.fail_after(_PATIENCE):
            tasks.start_soon(dispatcher.run)
            for stream, entry in sink.entries:
                dispatcher.add(stream, [entry])
            await dispatcher.wait_idle()
        tasks.cancel_scope.cancel()
    await store.aclose()
    return _beside_raw(folder, watch.sample(len(sink.entries)), tapped)


async def _leave_all(events: Sequence[NewEvent]) -> dict[str, object]:
    return {}


def _dispatcher(store: SqliteStore) -> Dispatcher:
    return Dispatcher(
        store,
        [_Instant()],
        take_in=_leave_all,
        wake=lambda events, wake: None,
        policy=RetryPolicy(max_attempts=1, unknown_retry=(1, 2), longest=60),
        bounds=OutboxBounds(
            max_in_flight=96,
            max_pending=1_000_000,
            breaker_seconds=1,
            attempt_seconds=60.0,
            arguments_bytes=Limits().arguments_bytes,
        ),
        clock=SystemClock(),
        rng=Random(1),
        telemetry=Telemetry(),
    )


async def _open(folder: str, tapped: _Tapped) -> SqliteStore:
    return await open_store(
        Path(folder) / "data", TABLES, now=SystemClock().now, identity=None, reserve_bytes=0, on_commit=tapped.count
    )


async def _append(store: SqliteStore, *, tickets: int, messages: int, mix: str) -> list[RecordedEvent]:
    recorded: list[RecordedEvent] = []
    for events in make_events(0, messages, tickets=tickets, mix="busy" if mix == "busy" else "quiet"):
        committed = await store.commit(Batch(events=events))
        recorded += [event for event in committed.events if event is not None]
    return recorded


def _beside_raw(folder: str, sample: Sample, tapped: _Tapped) -> Sample:
    """The sample with what the same rows cost raw, in as many transactions."""
    groups = _group(tapped.written, max(1, round(len(tapped.written) / max(1, tapped.commits))))
    log = RawLog(Path(folder) / "raw.db", tuned=True)
    with timing_baseline() as watch:
        for statements, size in groups:
            log.commit(statements, size=size)
    log.close()
    bare = watch.sample(sample.count)
    facts = {"raw_wall": bare.wall, "raw_cpu": bare.cpu, "commits": tapped.commits / sample.count}
    return Sample(sample.count, sample.wall, sample.cpu, facts)


def _group(written: Written, size: int) -> list[tuple[list[Statement], int]]:
    groups: list[tuple[list[Statement], int]] = []
    for start in range(0, len(written), size):
        part = written[start : start + size]
        events = [event for _, committed in part for event in committed.events if event is not None]
        rows: dict[tuple[str, str, str], LiveRow] = {}
        for batch, _ in part:
            rows.update({(row.table, row.stream, row.id): row for row in batch.rows})
        streams = {
            event.stream: StreamCounters(event.version, event.version, event.version, event.position)
            for event in events
        }
        compact: list[tuple[object, ...]] = [(event.position, event.stream, data) for event, data in _compact(part)]
        statements: list[Statement] = [
            (log_sql.INSERT_EVENT, [_parameters(event) for event in events]),
            (log_sql.INSERT_COMPACT, compact),
            *row_statements(rows.values(), TABLES.newest_stays, TABLES.searched_by_tag),
            *stream_statements(streams.items()),
        ]
        groups.append((statements, len(part) * _BATCH_BYTES))
    return groups


def _compact(part: Written) -> Iterator[tuple[RecordedEvent, bytes]]:
    for batch, committed in part:
        last = committed.events[-1] if committed.events else None
        if batch.compact is not None and last is not None:
            yield last, batch.compact


def _parameters(event: RecordedEvent) -> tuple[object, ...]:
    place = (event.position, event.stream, event.version, 0, event.at, event.kind, event.message_key)
    return (*place, event.payload, payload_hash(event.payload), event.hash)


def run(lab: Lab) -> list[Row]:
    """[project] per message with 1 and 256 busy tickets and with an effect planned by each, and [settle]."""
    size = lab.size(2_500, 1_000)
    planned = "[project], 256 busy, an effect planned by each"
    return [
        *[_project(lab, f"project_{tickets}", f"[project], {tickets} busy", tickets, size) for tickets in (1, 256)],
        _project(lab, "project_effects", planned, 256, size, mix="busy"),
        measure_settle(lab),
    ]


def _project(lab: Lab, key: str, title: str, tickets: int, messages: int, *, mix: str = "quiet") -> Row:
    work = {"folder": "{folder}", "tickets": tickets, "messages": messages, "mix": mix}
    samples = lab.interleave({"ours": Call("benchmarks.project:project", work)})["ours"]
    row = make_row(key, title, per="message", ours=samples)
    note = f"CPU a message; {samples[-1].facts['commits']:.3f} commits"
    return with_figures(row, [one.cpu_us for one in samples], unit="us", note=note)


def measure_settle(lab: Lab) -> Row:
    """Settling many effects at once at a desk that takes no time, beside the same rows raw."""
    work = {"folder": "{folder}", "tickets": 256, "messages": lab.size(2_000, 500)}
    samples = lab.interleave({"ours": Call("benchmarks.project:settle", work)})["ours"]
    bare = [Sample(one.count, one.facts["raw_wall"], one.facts["raw_cpu"]) for one in samples]
    return make_row(
        "settle", "[settle], 256 busy", per="effect", ours=samples, baseline=bare, against="the same rows, raw sqlite3"
    )
