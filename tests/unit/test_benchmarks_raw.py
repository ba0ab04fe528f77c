"""The raw side of storage comparisons writes the store's own schema."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from benchmarks.raw import RawLog, append_statements, weigh
from ecproc.testing.store import make_message


@pytest.mark.parametrize("tuned", [False, True])
def test_what_an_append_writes_fits_the_schema(tmp_path: Path, *, tuned: bool) -> None:
    events = [make_message(number, stream=f"e-{number % 2}") for number in range(4)]
    log = RawLog(tmp_path / "raw.db", tuned=tuned)
    log.commit(append_statements(events, start=0, tickets=2), size=weigh(events))
    log.close()
    with closing(sqlite3.connect(tmp_path / "raw.db")) as reader:
        assert reader.execute("SELECT count(*), max(position) FROM event").fetchone() == (4, 4)
        assert reader.execute("SELECT stream, version, last FROM stream ORDER BY stream").fetchall() == [
            ("e-0", 2, 3),
            ("e-1", 2, 4),
        ]
