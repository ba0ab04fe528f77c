"""Replay: all live rows again from the log, beside reading and decoding the same rows and nothing more."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Final

import msgspec

from benchmarks.decode import Payload
from benchmarks.lab import Call, Lab, Row, make_row, with_figures
from benchmarks.logs import build_part, build_tickets, renew_log
from benchmarks.measure import Sample, peak_rss_bytes, timing, timing_baseline
from ecproc.app import replay_log
from ecproc.clock import SystemClock
from ecproc.collector import spare_the_collector
from ecproc.config import Config, DataConfig
from ecproc.fold.compact import decode_step
from ecproc.fold.recorded import Kind
from ecproc.fold.tables import TABLES
from ecproc.fold.tickets import MACHINES
from ecproc.rebuild.streams import RebuildOrder, rebuild
from ecproc.store.sqlite.datadir import DATABASE
from ecproc.store.sqlite.schema import Statement, connect_scratch
from ecproc.store.sqlite.sql import live, log
from ecproc.store.sqlite.store import open_reader

_PAIRS: Final = 3
"""Of one process and two: they take the longest."""
_MANY: Final = 1_000_000
"""Tickets, for the one row that asks what they cost a replay."""
_LIVE_ROWS: Final = "SELECT stream, id, ordinal, tag, CAST(data AS BLOB), '' FROM {table} ORDER BY stream, id"
_COUNTERS: Final = "SELECT stream, version, through, wanted, last, crc FROM stream ORDER BY stream"


async def replay(folder: str, *, compact: bool) -> Sample:
    """Rebuild aside, as `ecproc replay` does from the compact form, and with --verify from the bodies."""
    spare_the_collector()
    async with (
        open_reader(Path(folder), TABLES) as opened,
        opened.reading() as reader,
        opened.rebuilding(reader) as aside,
    ):
        with timing() as watch:
            rebuilt = await rebuild(
                reader, aside, RebuildOrder(compact=compact), machines=MACHINES, clock=SystemClock()
            )
    return watch.sample(rebuilt.events, rss=peak_rss_bytes())


async def replay_whole(folder: str, *, processes: int) -> Sample:
    """`ecproc replay --processes N`: the time it tells, which is all but the digest and the swap."""
    config = Config(data=DataConfig(dir=Path(folder), reserve_bytes=0))
    with timing() as watch:
        report = await replay_log(config, verify=False, until=None, processes=processes, on_progress=lambda _: None)
    return Sample(report.events, report.seconds, 0.0, {"with_swap": watch.wall})


def read_bodies(folder: str) -> Sample:
    """Read all events in the log's own order and decode each message's few necessary fields."""
    decode = msgspec.json.Decoder(Payload).decode
    count = 0
    with timing_baseline() as watch, _connect(folder) as connection:
        for kind, payload in connection.execute("SELECT kind, payload FROM event ORDER BY position"):
            if kind == Kind.MESSAGE_RECEIVED:
                decode(payload)
            count += 1
    return watch.sample(count)


def read_compact(folder: str) -> Sample:
    """Read all compact forms by stream and decode them."""
    with timing_baseline() as watch:
        count = _read_steps(folder)
    return watch.sample(count)


def read_and_write(folder: str, *, scratch: str) -> Sample:
    """The same, and write the live rows and counters that stand there into a throw-away file, as a rebuild does."""
    statements = _live_statements(folder)
    connection = connect_scratch(Path(scratch) / "rows.db", TABLES)
    with timing_baseline() as watch:
        count = _read_steps(folder)
        for statement, parameters in statements:
            connection.executemany(statement, parameters)
        connection.execute("COMMIT")
    connection.close()
    return watch.sample(count)


def _read_steps(folder: str) -> int:
    count = 0
    with _connect(folder) as connection:
        for _, data in connection.execute("SELECT stream, data FROM compact ORDER BY stream, position"):
            step = decode_step(data)
            count += step.events if step is not None else 0
    return count


def _live_statements(folder: str) -> list[Statement]:
    """What writes the rows as they are, checksums included."""
    with _connect(folder) as connection:
        rows = [
            (live.put_row(table), connection.execute(_LIVE_ROWS.format(table=table)).fetchall())
            for table in sorted(TABLES.names)
        ]
        return [*rows, (log.PUT_STREAM, connection.execute(_COUNTERS).fetchall())]


def _connect(folder: str) -> sqlite3.Connection:
    return sqlite3.connect(f"{(Path(folder) / DATABASE).as_uri()}?mode=ro", uri=True)


def run(lab: Lab) -> list[Row]:
    """From compact form and bodies, beside each other and beside a bare read; two processes; memory."""
    renew_log(lab)
    rows = [*measure_forms(lab), _processes(lab), _memory(lab)]
    return rows if lab.quick else [*rows, _many(lab)]


def measure_forms(lab: Lab) -> list[Row]:
    """From the compact form and from the bodies, beside what of it is no folding, and beside each other."""
    build_part(lab)
    part = str(lab.part)
    samples = lab.interleave(
        {
            "compact": Call("benchmarks.replay:replay", {"folder": part, "compact": True}),
            "bodies": Call("benchmarks.replay:replay", {"folder": part, "compact": False}),
            "read compact": Call("benchmarks.replay:read_compact", {"folder": part}),
            "write": Call("benchmarks.replay:read_and_write", {"folder": part, "scratch": "{folder}"}),
            "read bodies": Call("benchmarks.replay:read_bodies", {"folder": part}),
        }
    )
    rows = [
        ("replay_written", "compact", "write", "read + decode + write of the same rows"),
        ("replay_compact", "compact", "read compact", "read + decode of the same rows"),
        ("replay_compact_raw", "compact", "bodies", "replay from bodies"),
        ("replay_raw", "bodies", "read bodies", "read + decode of the same rows"),
    ]
    events = samples["bodies"][0].count
    return [
        make_row(
            key,
            f"replay of {events:,} events, {ours}",
            per="event",
            ours=samples[ours],
            baseline=samples[theirs],
            against=against,
        )
        for key, ours, theirs, against in rows
    ]


def _processes(lab: Lab) -> Row:
    calls = {
        processes: Call("benchmarks.replay:replay_whole", {"folder": str(lab.log), "processes": processes})
        for processes in (1, 2)
    }
    two: list[Sample] = []
    one: list[Sample] = []
    for _ in range(min(lab.rounds, _PAIRS)):
        one.append(lab.take(calls[1], pin="any"))
        two.append(lab.take(calls[2], pin="any"))
    title = f"replay of {one[0].count:,} events, compact, 2 processes"
    return make_row(
        "replay_two",
        title,
        per="event",
        ours=two,
        baseline=one,
        against="1 process",
        note=f"{len(one)} pairs",
        by="wall",
    )


def _memory(lab: Lab) -> Row:
    whole, part = [
        lab.take(Call("benchmarks.replay:replay", {"folder": str(folder), "compact": True}))
        for folder in (lab.log, lab.part)
    ]
    row = make_row(
        "replay_rss",
        f"peak memory of replay, {whole.count:,} events",
        per="event",
        ours=[whole],
        baseline=[part],
        against=f"{part.count:,} events of as many tickets",
    )
    ratio = whole.facts["rss"] / part.facts["rss"]
    note = f"{whole.facts['rss'] / 2**20:.0f} MiB against {part.facts['rss'] / 2**20:.0f} MiB; a single run"
    return with_figures(row, [ratio], unit="x", note=note)


def _many(lab: Lab) -> Row:
    """A million tickets: what an event takes, and how much memory."""
    folder = str(build_tickets(lab, _MANY))
    sample = lab.take(Call("benchmarks.replay:replay", {"folder": folder, "compact": True}))
    title = f"replay of {sample.count:,} events of {_MANY:,} tickets, compact"
    row = make_row("replay_many", title, per="event", ours=[sample])
    return with_figures(row, [sample.facts["rss"] / 2**20], unit="MiB", note="peak memory; a single run")
