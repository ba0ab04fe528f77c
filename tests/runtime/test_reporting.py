"""What a run tells of itself while it goes on: the hour, what is about to expire, and what it answers an operator."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import anyio
import pytest
from structlog.testing import capture_logs

from ecproc.domain.effects import Effect, EffectKind
from ecproc.domain.entry import Entry
from ecproc.domain.ids import EffectKey, TicketNumber
from ecproc.reporting import Reporting
from ecproc.room import Room
from ecproc.web.state import Check
from tests.simulation.simloop import simulate
from tests.simulation.telemetry import make_telemetry
from tests.simulation.world import CONFIG, World, WorldPlan

pytestmark = pytest.mark.usefixtures("fresh_loggers")

HOURS: Final = 3
PAUSED_SECONDS: Final = 1_000.0


def watch(until: float, *, deadline: int | None = None) -> tuple[list[Mapping[str, Any]], Sequence[Check]]:
    """The lines of that many seconds, in which nothing is performed; with a file whose address ends then."""

    async def go() -> tuple[list[Mapping[str, Any]], Sequence[Check]]:
        world = World(WorldPlan(tickets=1, rate=50), seed=1)
        world.start()
        pipeline, telemetry = world.make_pipeline(), make_telemetry(world.clock)
        reporting = Reporting(
            CONFIG, world.disk, pipeline, Room(Path(), reserve_bytes=0), telemetry=telemetry, clock=world.clock
        )
        if deadline is not None:
            key, kind = EffectKey("download:1"), EffectKind.DOWNLOAD
            at = world.clock.now() + deadline * 1_000_000
            effect = Effect(key, kind, 1, 1, 1, TicketNumber("e-CS1"), "Incident", deadline=at)
            pipeline.dispatcher.add("e-CS1", [Entry(effect, 1)])
        with capture_logs() as lines:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(reporting.tell_hourly)
                tasks.start_soon(reporting.watch_expiries)
                await anyio.sleep(until)
                tasks.cancel_scope.cancel()
        return [dict(line) for line in lines], reporting.list_checks()

    return simulate(go)


def test_every_hour_is_told_with_totals_so_that_silence_means_dead() -> None:
    lines, _ = watch(HOURS * 3_600 + 1)

    assert [line["event"] for line in lines] == ["hourly"] * HOURS
    assert [line["uptime"] for line in lines] == [3_600 * hour for hour in range(1, HOURS + 1)]
    names = {"received", "duplicates", "deleted", "quarantined", "effects", "effects_lost"}
    assert names | {"position", "parked", "waiting", "unfinished"} <= lines[0].keys()


@pytest.mark.requirement("R138")
def test_an_address_that_is_about_to_end_is_warned_of_once_a_minute() -> None:
    lines, _ = watch(1_000, deadline=1_000)

    assert {(line["event"], line["log_level"]) for line in lines} == {("attachment_expiring", "warning")}
    assert {(line["ticket"], line["key"]) for line in lines} == {("e-CS1", "download:1")}
    assert "ecproc outbox show download:1" in lines[0]["hint"]
    minutes = 900 / 60
    assert minutes - 2 <= len(lines) <= minutes + 1


def test_one_that_has_time_is_not_told_of() -> None:
    lines, _ = watch(90, deadline=1_000)

    assert lines == []


def test_an_operator_is_told_what_is_no_reason_to_send_nobody_here() -> None:
    _, told = watch(1)

    checks = {check.name: check for check in told}
    assert not any(check.counts for check in checks.values())
    assert {"queue", "breaker bridge", "breaker desk", "breaker attachments", "parked", "quarantine"} <= checks.keys()
    assert (checks["queue"].ok, checks["queue"].detail) == (False, "not read successfully yet")
    assert (checks["breaker desk"].ok, checks["breaker desk"].detail) == (True, "closed")
