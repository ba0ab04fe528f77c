"""A large log to read back: made once per run, by appending as ingest does, and decided as after long bursts."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

from benchmarks.lab import BenchmarkFailed, Call, Lab
from benchmarks.least import read_messages
from benchmarks.limit import open_raw
from benchmarks.measure import Sample, peak_rss_bytes, timing, timing_baseline
from benchmarks.messages import make_bulk_events, make_openings
from benchmarks.transports import bridge_config
from ecproc.clock import SystemClock
from ecproc.collector import spare_the_collector
from ecproc.domain.events import Decided
from ecproc.domain.log import Batch, NewEvent
from ecproc.fold.recorded import encode_event
from ecproc.fold.tables import TABLES
from ecproc.fold.tickets import MACHINES
from ecproc.rebuild.streams import RebuildOrder, rebuild
from ecproc.store.sqlite.store import SqliteStore, open_store

_TENTHS = 10
_CALLERS = 16
_OPENINGS = 1000


async def build(folder: str, *, messages: int, tickets: int) -> Sample:
    """Append so many messages in ten parts, each decided at its end; `first` and `last` are their seconds a message,
    with `_cpu` those of CPU."""
    spare_the_collector()
    store = await open_store(
        Path(folder),
        TABLES,
        now=SystemClock().now,
        identity=msgspec.structs.asdict(bridge_config("http://127.0.0.1").identity),
        reserve_bytes=0,
    )
    spent: list[tuple[float, float]] = []
    part = messages // _TENTHS
    for number in range(_TENTHS):
        wall, cpu = await _append(store, number * part, part, tickets=tickets)
        spent.append((wall / part, cpu / part))
        await _decide(store, (number + 1) * part, tickets=tickets)
    events = (await store.head()).position
    await store.aclose()
    (first, first_cpu), (last, last_cpu) = spent[0], spent[-1]
    facts = {"first": first, "first_cpu": first_cpu, "last": last, "last_cpu": last_cpu, "events": events}
    return Sample(messages, sum([wall for wall, _ in spent]) * part, sum([cpu for _, cpu in spent]) * part, facts)


async def build_openings(folder: str, *, tickets: int) -> Sample:
    """Put in so many tickets of one short message, as the least that does the same writes them (see least.py)."""
    identity = msgspec.structs.asdict(bridge_config("http://127.0.0.1").identity)
    raw, folding = await open_raw(Path(folder), identity=identity)
    with timing_baseline() as watch:
        for start in range(0, tickets, _OPENINGS):
            group = folding.plan(read_messages(make_openings(start, min(_OPENINGS, tickets - start))))
            raw.commit(group.statements(), size=group.size)
    raw.close()
    await _close_in_order(Path(folder))
    return watch.sample(tickets)


async def _close_in_order(folder: Path) -> None:
    """Leave a log as a processor does that has looked at all its rows and was stopped."""
    store = await open_store(folder, TABLES, now=SystemClock().now, identity=None, reserve_bytes=0)
    async for damaged in store.check_rows():
        if damaged:
            raise BenchmarkFailed(f"the log is not as it should be: {damaged[0]}")
    await store.aclose()


async def renew(folder: str) -> Sample:
    """Replay the whole log from its bodies into a new live state and a new compact form, as after an upgrade."""
    spare_the_collector()
    store = await open_store(Path(folder), TABLES, now=SystemClock().now, identity=None, reserve_bytes=0)
    with timing() as watch:
        async with store.reading() as reader, store.rebuilding(reader) as aside:
            rebuilt = await rebuild(reader, aside, RebuildOrder(renew=True), machines=MACHINES, clock=SystemClock())
            await aside.swap(fold_version=MACHINES.fold_version)
    await store.aclose()
    return watch.sample(rebuilt.events, rss=peak_rss_bytes(), tickets=rebuilt.tickets)


async def _append(store: SqliteStore, start: int, count: int, *, tickets: int) -> tuple[float, float]:
    """Append messages and give the seconds it took and those of CPU, less those that making them took."""
    took = spent = 0.0
    for first in range(start, start + count, 10_000):
        batches = list(make_bulk_events(first, min(10_000, start + count - first), tickets=tickets))
        waiting = iter(batches)
        began, began_cpu = time.perf_counter(), time.process_time()
        await asyncio.gather(*[_call(store, waiting) for _ in range(_CALLERS)])
        took, spent = took + time.perf_counter() - began, spent + time.process_time() - began_cpu
    return took, spent


async def _call(store: SqliteStore, batches: Iterator[list[NewEvent]]) -> None:
    for events in batches:
        await store.commit(Batch(events=events))


async def _decide(store: SqliteStore, messages: int, *, tickets: int) -> None:
    """Decide everything so far: quiet messages have no effects, so a decision only says how far it went."""
    streams = [f"e-CS{number:07d}" for number in range(min(tickets, messages))]
    for start in range(0, len(streams), 500):
        await asyncio.gather(*[_decide_one(store, stream) for stream in streams[start : start + 500]])


async def _decide_one(store: SqliteStore, stream: str) -> None:
    state = await store.stream_state(stream)
    await store.commit(Batch(events=[NewEvent(stream, *encode_event(Decided(through=state.version, effects=())))]))


def build_log(lab: Lab) -> Sample:
    """The run's large log, made when it is first asked for; it stands in `lab.log`."""
    if lab.built is None:
        lab.built = _build(lab, lab.log, lab.log_messages)
    return lab.built


def build_again(lab: Lab) -> Sample:
    """The same log once more, for what making it takes; it is gone afterwards."""
    return _build(lab, Path("{folder}"), lab.log_messages)


def renew_log(lab: Lab) -> Sample:
    """The first replay of the run's large log, which gives it live state and compact form."""
    build_log(lab)
    if lab.renewed is None:
        lab.renewed = _renew(lab, lab.log)
    return lab.renewed


def build_tickets(lab: Lab, tickets: int) -> Path:
    """A log of so many tickets with one message each, with live state and compact form; made when first asked for."""
    folder = lab.scratch / f"tickets-{tickets}"
    if not folder.exists():
        lab.take(Call("benchmarks.logs:build_openings", {"folder": str(folder), "tickets": tickets}), pin="any")
    return folder


def build_part(lab: Lab) -> None:
    """A smaller log with live state and compact form; it stands in `lab.part`."""
    if not lab.part.exists():
        _build(lab, lab.part, lab.part_messages)
        _renew(lab, lab.part)


def _build(lab: Lab, folder: Path, messages: int) -> Sample:
    work = {"folder": str(folder), "messages": messages, "tickets": lab.log_tickets}
    return lab.take(Call("benchmarks.logs:build", work), pin="any")


def _renew(lab: Lab, folder: Path) -> Sample:
    return lab.take(Call("benchmarks.logs:renew", {"folder": str(folder)}))
