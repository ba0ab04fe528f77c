"""Replay: all live rows again from the log, beside reading and decoding the same rows and nothing more."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import msgspec

from benchmarks.decode import Payload
from benchmarks.lab import Call, Lab, Row, make_row
from benchmarks.logs import build_log, replay_built_log
from benchmarks.measure import Sample, peak_rss_bytes, timing
from ecproc.clock import SystemClock
from ecproc.domain.recorded import Kind
from ecproc.runtime.replay import rebuild
from ecproc.store.datadir import DATABASE
from ecproc.store.sqlite import open_reader


async def replay(folder: str, *, until: int) -> Sample:
    """Rebuild aside what the first `until` events make of live state, as `ecproc replay --until` does."""
    async with open_reader(Path(folder)) as opened, opened.reading() as reader, opened.rebuilding(reader) as aside:
        with timing() as watch:
            rebuilt = await rebuild(reader, aside, clock=SystemClock(), until=until)
    return watch.sample(rebuilt.events, rss=peak_rss_bytes())


def read_and_decode(folder: str, *, until: int) -> Sample:
    """Read the same events in the log's own order and decode each message's few necessary fields."""
    connection = sqlite3.connect(f"{(Path(folder) / DATABASE).as_uri()}?mode=ro", uri=True)
    decode = msgspec.json.Decoder(Payload).decode
    query = "SELECT stream, kind, payload FROM event WHERE position <= ? ORDER BY position"
    count = 0
    with timing() as watch:
        for _, kind, payload in connection.execute(query, (until,)):
            if kind == Kind.MESSAGE_RECEIVED:
                decode(payload)
            count += 1
    connection.close()
    return watch.sample(count, rss=peak_rss_bytes())


def run(lab: Lab) -> list[Row]:
    """The rate on a part of the large log, and the memory that all of it takes beside a fifth of it."""
    build_log(lab)
    until = lab.size(100_000, 20_000)
    work = {"folder": str(lab.log), "until": until}
    rows = [
        lab.compare(
            "replay_raw",
            f"replay of {until:,} events from raw bodies",
            per="event",
            ours=Call("benchmarks.replay:replay", work),
            baseline=Call("benchmarks.replay:read_and_decode", work),
            against="read + decode, raw sqlite3 + msgspec",
        )
    ]
    return [*rows, _memory(lab)]


def _memory(lab: Lab) -> Row:
    whole = replay_built_log(lab)
    part = lab.take(Call("benchmarks.logs:replay", {"folder": str(lab.log), "until": int(whole.facts["tickets"] * 22)}))
    ratio = whole.facts["rss"] / part.facts["rss"]
    row = make_row(
        "replay_rss",
        f"peak memory of replay, {whole.count:,} events",
        per="event",
        ours=[whole],
        baseline=[part],
        against=f"{part.count:,} events of as many tickets",
    )
    note = f"{whole.facts['rss'] / 2**20:.0f} MiB against {part.facts['rss'] / 2**20:.0f} MiB; a single run"
    return msgspec.structs.replace(row, figure=ratio, least=ratio, most=ratio, note=note)
