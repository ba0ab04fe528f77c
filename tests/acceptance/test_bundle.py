"""Bundles beside a processor that works: nothing secret in them, and each ticket of a lived log makes a test."""

from __future__ import annotations

import json
import re
import tarfile
from pathlib import Path

import pytest

from ecproc.config import Config, DataConfig
from ecproc.reading.opening import open_reading
from ecproc.simulator.faults import MILD
from ecproc.support.fixture import collect_fixture, read_fixture
from tests.acceptance.world import KEY, Plan, open_world


def read_all(path: str) -> str:
    """All that stands in an archive."""
    with tarfile.open(path) as archive:
        files = [archive.extractfile(member) for member in archive.getmembers()]
        return "".join(file.read().decode() for file in files if file is not None)


@pytest.mark.requirement("I11", "R225")
async def test_a_bundle_made_beside_a_processor_holds_no_secret(tmp_path: Path) -> None:
    plan = Plan(tickets=20, rate=100, faults=MILD)
    async with open_world(tmp_path, plan) as world, await world.start() as running:
        await world.reach(lambda ledger: ledger.calls["delete"] >= 40, running)
        events = await world.ask("events", "--reveal")
        signatures = set(re.findall(r"X-Amz-Signature=(\w+)", events.out))
        assert signatures
        (ticket, *_) = [json.loads(line)["ticket"] for line in (await world.ask("tickets")).out.splitlines()]
        for arguments in ([ticket], []):
            answer = await world.ask("bundle", *arguments)
            assert answer.code == 0, answer
            text = read_all(json.loads(answer.out)["path"])
            assert KEY not in text
            assert not [signature for signature in signatures if signature in text]
        assert not running.is_over, running.said


async def test_each_ticket_that_lived_makes_a_test_of_the_same_states(tmp_path: Path) -> None:
    async with open_world(tmp_path, Plan(tickets=30, faults=MILD)) as world:
        await world.drain()
        async with open_reading(Config(data=DataConfig(dir=world.data))) as reader:
            for life in world.simulator.stage.lives:
                fixture = await collect_fixture(reader, life.ticket)
                assert fixture is not None
                states, expected = read_fixture(fixture.content)
                assert states == expected is not None
                assert [step.after for step in expected.history] == list(life.outcome.history)
                assert life.ticket.encode() not in fixture.content
