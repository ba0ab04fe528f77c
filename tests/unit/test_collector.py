"""A replay spares the garbage collector as `run` does, in every process that folds."""

from __future__ import annotations

import gc
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio.to_process
import anyio.to_thread
import pytest

from ecproc.app import replay_log
from ecproc.clock import SystemClock
from ecproc.config import Config, DataConfig
from ecproc.domain.log import Batch
from ecproc.fold.tables import TABLES
from ecproc.store.sqlite.store import open_store
from ecproc.testing.store import make_message

PYTHONS_OWN = 2_000
"""The most new objects that any Python looks at its youngest ones after, of itself."""


async def run_here(work: Callable[..., Any], *arguments: object, **_: object) -> Any:
    """Stands in for another process: a thread of this one."""
    if work is signal.signal:
        return None
    return await anyio.to_thread.run_sync(work, *arguments)


@pytest.mark.parametrize("processes", [1, 2])
async def test_every_process_of_a_replay_spares_the_collector(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, processes: int
) -> None:
    store = await open_store(tmp_path, TABLES, now=SystemClock().now, identity=None, reserve_bytes=0)
    await store.commit(Batch(events=[make_message(number, stream=f"e-{number}") for number in range(4)]))
    await store.aclose()
    thresholds: list[tuple[int, ...]] = []
    monkeypatch.setattr(gc, "freeze", lambda: None)
    monkeypatch.setattr(gc, "set_threshold", lambda *given: thresholds.append(given))
    monkeypatch.setattr(anyio.to_process, "run_sync", run_here)

    config = Config(data=DataConfig(dir=tmp_path, reserve_bytes=0))
    report = await replay_log(config, verify=False, until=None, processes=processes, on_progress=lambda _: None)

    assert report.events == 4
    assert len(thresholds) == (1 if processes == 1 else 1 + processes)
    assert all(youngest > PYTHONS_OWN for youngest, *_ in thresholds)
