"""Replay: all live rows again from the log, beside reading and decoding the same rows and nothing more."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import msgspec

from benchmarks.decode import Payload
from benchmarks.lab import Call, Lab, Row, make_row
from benchmarks.logs import build_part, renew_log
from benchmarks.measure import Sample, peak_rss_bytes, timing
from ecproc.app import replay_log
from ecproc.clock import SystemClock
from ecproc.config import Config, DataConfig
from ecproc.fold.compact import decode_step
from ecproc.fold.recorded import Kind
from ecproc.fold.tables import TABLES
from ecproc.fold.tickets import MACHINES
from ecproc.rebuild.streams import RebuildOrder, rebuild
from ecproc.store.sqlite.datadir import DATABASE
from ecproc.store.sqlite.store import open_reader


async def replay(folder: str, *, compact: bool) -> Sample:
    """Rebuild aside, as `ecproc replay` does from the compact form, and with --verify from the bodies."""
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
        report = await replay_log(
            config, verify=False, until=None, processes=processes, on_progress=lambda progress: None
        )
    return Sample(report.events, report.seconds, 0.0, {"with_swap": watch.wall})


def read_bodies(folder: str) -> Sample:
    """Read all events in the log's own order and decode each message's few necessary fields."""
    decode = msgspec.json.Decoder(Payload).decode
    count = 0
    with timing() as watch, _connect(folder) as connection:
        for kind, payload in connection.execute("SELECT kind, payload FROM event ORDER BY position"):
            if kind == Kind.MESSAGE_RECEIVED:
                decode(payload)
            count += 1
    return watch.sample(count)


def read_compact(folder: str) -> Sample:
    """Read all compact forms by stream and decode them."""
    count = 0
    with timing() as watch, _connect(folder) as connection:
        for _, data in connection.execute("SELECT stream, data FROM compact ORDER BY stream, position"):
            step = decode_step(data)
            count += step.events if step is not None else 0
    return watch.sample(count)


def _connect(folder: str) -> sqlite3.Connection:
    return sqlite3.connect(f"{(Path(folder) / DATABASE).as_uri()}?mode=ro", uri=True)


def run(lab: Lab) -> list[Row]:
    """From compact form and bodies, beside each other and beside a bare read; two processes; memory."""
    build_part(lab)
    renew_log(lab)
    return [*_forms(lab), _processes(lab), _memory(lab)]


def _forms(lab: Lab) -> list[Row]:
    part = str(lab.part)
    samples = lab.interleave(
        {
            "compact": Call("benchmarks.replay:replay", {"folder": part, "compact": True}),
            "bodies": Call("benchmarks.replay:replay", {"folder": part, "compact": False}),
            "read compact": Call("benchmarks.replay:read_compact", {"folder": part}),
            "read bodies": Call("benchmarks.replay:read_bodies", {"folder": part}),
        }
    )
    rows = [
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
    for _ in range(lab.rounds):
        one.append(lab.take(calls[1], pin="any"))
        two.append(lab.take(calls[2], pin="any"))
    title = f"replay of {one[0].count:,} events, compact, 2 processes"
    return make_row("replay_two", title, per="event", ours=two, baseline=one, against="1 process")


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
    return msgspec.structs.replace(row, figure=ratio, least=ratio, most=ratio, note=note)
