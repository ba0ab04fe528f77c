"""[append]: durable, hash-chained, de-duplicated, by callers who each wait for their own batch."""

from __future__ import annotations

import asyncio
from pathlib import Path

from benchmarks.lab import Call, Lab, Row, make_row
from benchmarks.logs import build_again, build_log
from benchmarks.measure import Sample, timing, timing_baseline
from benchmarks.messages import make_events
from benchmarks.raw import RawLog, append_statements, slow_down_commits, weigh
from ecproc.clock import SystemClock
from ecproc.collector import spare_the_collector
from ecproc.domain.log import Batch, NewEvent
from ecproc.fold.tables import TABLES
from ecproc.store.sqlite.store import open_store

TICKETS = 1000


def _batches(rows: int, per: int) -> list[list[NewEvent]]:
    events = [event for batch in make_events(0, rows, tickets=TICKETS) for event in batch]
    return [events[start : start + per] for start in range(0, rows, per)]


async def ours(folder: str, *, rows: int, callers: int, per: int, fsync: float = 0.0) -> Sample:
    """Append `rows` messages, `per` at a time, by so many callers at once."""
    if fsync:
        slow_down_commits(fsync)
    batches = iter(_batches(rows, per))
    commits = 0

    def count(_seconds: float, _batches: int) -> None:
        nonlocal commits
        commits += 1

    store = await open_store(
        Path(folder) / "data", TABLES, now=SystemClock().now, identity=None, reserve_bytes=0, on_commit=count
    )

    async def call() -> None:
        for events in batches:
            await store.commit(Batch(events=events))

    spare_the_collector()
    with timing() as watch:
        await asyncio.gather(*[call() for _ in range(callers)])
    await store.aclose()
    return watch.sample(rows, commits=commits / rows)


def raw(folder: str, *, rows: int, per: int, fsync: float = 0.0, tuned: bool = False) -> Sample:
    """`executemany` and COMMIT by `per`, the same rows into the same schema, but no hash, no duplicate looked for."""
    batches = _batches(rows, per)
    log = RawLog(Path(folder) / "raw.db", tuned=tuned, fsync=fsync)
    with timing_baseline() as watch:
        for number, batch in enumerate(batches):
            log.commit(append_statements(batch, start=number * per, tickets=TICKETS), size=weigh(batch))
    log.close()
    return watch.sample(rows, commits=1 / per)


def run(lab: Lab) -> list[Row]:
    """Callers in a crowd and alone, on this disk and on slower ones, and what is left of the rate in a large log."""
    rows = [
        *_compare_both(lab, "append_grouped", callers=16, per=10, rows=lab.size(10_000, 3_000)),
        *_compare_both(lab, "append_single", callers=1, per=100, rows=lab.size(15_000, 3_000)),
        _compare(lab, "append_one", callers=1, per=10, rows=lab.size(5_000, 2_000)),
    ]
    for milliseconds in (1.0, 5.0):
        rows.append(
            _compare(
                lab,
                f"append_fsync_{milliseconds:g}",
                callers=16,
                per=10,
                rows=lab.size(3_000, 1_000),
                fsync=milliseconds / 1000,
            )
        )
    return [*rows, grow(lab)]


def grow(lab: Lab) -> Row:
    """The rate of the last tenth of a large log beside that of its first tenth; a run of it also makes the log that
    others read."""
    built = [build_log(lab), *[build_again(lab) for _ in range(lab.size(2, 0))]]
    first, last = [
        [Sample(1, each.facts[name], each.facts[f"{name}_cpu"]) for each in built] for name in ("first", "last")
    ]
    return make_row(
        "append_growth",
        f"append, last tenth of {lab.log_messages:,} messages",
        per="message",
        ours=last,
        baseline=first,
        against="first tenth",
        note=f"16 callers x 10; single runs: {len(built)}",
        by="wall",
    )


def _compare_both(lab: Lab, key: str, *, callers: int, per: int, rows: int) -> list[Row]:
    """Beside SQLite as it comes and as we tune it."""
    work = {"folder": "{folder}", "rows": rows, "per": per}
    samples = lab.interleave(
        {
            "ours": Call("benchmarks.append:ours", {**work, "callers": callers}),
            "plain": Call("benchmarks.append:raw", work),
            "tuned": Call("benchmarks.append:raw", {**work, "tuned": True}),
        }
    )
    return [
        make_row(
            key + suffix,
            f"append, {_name(callers, per)}",
            per="message",
            ours=samples["ours"],
            baseline=samples[side],
            against=f"raw sqlite3 by {per}{settings}",
            by="wall",
        )
        for side, suffix, settings in (("plain", "", ""), ("tuned", "_tuned", ", our pages and checkpoints"))
    ]


def _compare(lab: Lab, key: str, *, callers: int, per: int, rows: int, fsync: float = 0.0) -> Row:
    work = {"folder": "{folder}", "rows": rows, "per": per, "fsync": fsync}
    slow = f", fsync + {fsync * 1000:g} ms" if fsync else ""
    return lab.compare(
        key,
        f"append, {_name(callers, per)}{slow}",
        per="message",
        ours=Call("benchmarks.append:ours", {**work, "callers": callers}),
        baseline=Call("benchmarks.append:raw", work),
        against=f"raw sqlite3 by {per}",
        by="wall",
        note="a sleep of that length in every transaction" if fsync else "",
    )


def _name(callers: int, per: int) -> str:
    return f"{callers} callers x {per}" if callers > 1 else f"1 caller x {per}"
