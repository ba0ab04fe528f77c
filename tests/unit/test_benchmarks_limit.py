"""The yardsticks do what they say: the limit leaves a log that holds and rows that a replay of it gives too."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.lab import Call, Lab, open_lab
from ecproc.app import replay_log
from ecproc.config import Config, DataConfig
from ecproc.store.base import VerifiedLog
from ecproc.store.opening import verify_log


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with open_lab(quick=True, disk=tmp_path) as lab:
        yield lab


async def test_the_limit_leaves_a_log_that_the_processor_could_have_written(lab: Lab, tmp_path: Path) -> None:
    with lab.stub(messages=600, tickets=40, run=5) as stub:
        work = {"folder": str(tmp_path), "url": stub.url, "messages": 600, "readers": 1, "connections": 4}
        lab.take(Call("benchmarks.limit:run_limit", work))
        asked = stub.ask("/stat")
    config = Config(data=DataConfig(dir=tmp_path / "data", reserve_bytes=0))

    found = verify_log(config.data)
    report = await replay_log(config, verify=True, until=None, on_progress=lambda _: None)

    assert asked["deletes"] == 600
    assert isinstance(found, VerifiedLog)
    assert report.tickets == 40
    assert (report.equal, report.first) == (True, ())


@pytest.mark.parametrize("tls", [False, True])
def test_the_frozen_loop_takes_as_many_messages_as_it_is_told(lab: Lab, *, tls: bool) -> None:
    with lab.stub(messages=200, tickets=4, endless=True, tls=tls) as stub:
        work = {"url": stub.url, "ca_file": stub.ca_file, "messages": 200, "readers": 2, "connections": 8}
        sample = lab.take(Call("benchmarks.frozen:poll", work))

    assert sample.count == 200
