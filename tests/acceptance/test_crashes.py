"""The processor killed over and over while it works: nothing is lost, nothing is done twice, replay equals live."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec
import pytest

from ecproc.failpoints import FAILPOINTS
from ecproc.simulator.faults import MILD, CallFaults
from tests.acceptance.scenario import pick_kills, run_scenario
from tests.acceptance.world import Plan

SEED: Final = 1
MOMENTS: Final = 15
FAULTS: Final = msgspec.structs.replace(
    MILD,
    tickets=CallFaults(error_before=0.05, throttle=0.01, lost=0.05, error_after=0.03, latency=(0.001, 0.01)),
)
"""Mild ones, and numbers whose return fails or stays unknown more often, so that generations could overtake."""


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.requirement("I1", "I4", "R199")
async def test_300_lives_come_out_right_however_often_the_processor_is_killed(tmp_path: Path) -> None:
    assert len(FAILPOINTS) >= 12
    kills = pick_kills(SEED, failpoints=sorted(FAILPOINTS), moments=MOMENTS)
    plan = Plan(tickets=300, seed=SEED, faults=FAULTS, rate=90, patience=150)
    await run_scenario(tmp_path, plan, kills=kills, redelivered=0.02)
