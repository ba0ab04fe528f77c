"""`ecproc desk check` on a simulated instance: each thing that is missing is found, and a sound one has no findings."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from ecproc.config.servicenow import ServiceNowConfig
from ecproc.desk.finding import DeskCheck
from ecproc.desk.servicenow.probe import check
from ecproc.mapping import default_mapping
from ecproc.simulator.servicenow.faults import FaultRule, InstanceFault
from ecproc.simulator.servicenow.server import ServiceNowSimulator
from tests.instance import ShiftedClock, open_on, run_instance


@pytest.fixture
def clock() -> ShiftedClock:
    return ShiftedClock()


@pytest.fixture
async def simulator(clock: ShiftedClock) -> AsyncIterator[ServiceNowSimulator]:
    async with run_instance(clock) as running:
        fill(running)
        yield running


def fill(simulator: ServiceNowSimulator) -> None:
    for table in ("incident", "sc_req_item", "change_request"):
        simulator.create(table, short_description="somebody's own")


async def look(simulator: ServiceNowSimulator, clock: ShiftedClock, *, write: bool = True, **options: Any) -> DeskCheck:
    desk = open_on(simulator, clock, **options)
    config = ServiceNowConfig(url=simulator.url)
    try:
        return await check(desk.instance, config, default_mapping("servicenow"), nonce="1", write=write)
    finally:
        await desk.aclose()


def checks(found: DeskCheck) -> set[str]:
    return {one.check for one in found.findings}


async def test_a_sound_instance_has_no_findings_and_its_test_records_are_over(
    simulator: ServiceNowSimulator, clock: ShiftedClock
) -> None:
    found = await look(simulator, clock)
    assert [one for one in found.findings if one.severity == "error"] == []
    assert any("60 s" in note for note in found.notes)
    for table in ("incident", "sc_req_item", "change_request"):
        (row,) = simulator.find(table, "correlation_display=ENSONO")
        assert row["active"] == "false", table
    assert simulator.ledger.list_doubles() == {}


async def test_without_write_nothing_is_written(simulator: ServiceNowSimulator, clock: ShiftedClock) -> None:
    await look(simulator, clock, write=False)
    assert not any(call.startswith(("POST", "PATCH")) for call in simulator.ledger.calls)


@pytest.mark.parametrize("write", [False, True])
async def test_a_key_field_that_is_not_there_is_found(clock: ShiftedClock, *, write: bool) -> None:
    async with run_instance(clock, missing_fields=frozenset({"correlation_id"})) as simulator:
        fill(simulator)
        assert "key" in checks(await look(simulator, clock, write=write))


async def test_a_key_that_is_dropped_is_found(simulator: ServiceNowSimulator, clock: ShiftedClock) -> None:
    simulator.faults.inject(FaultRule(kind=InstanceFault.DROP_FIELD, method="POST", table="incident"))
    assert "key" in checks(await look(simulator, clock))


@pytest.mark.parametrize("table", ["incident", "sys_journal_field", "sys_choice", "sys_attachment"])
async def test_a_right_that_is_missing_is_found(
    simulator: ServiceNowSimulator, clock: ShiftedClock, table: str
) -> None:
    simulator.faults.inject(FaultRule(kind=InstanceFault.ACL_DENY, table=table, method="GET", times=None))
    found = await look(simulator, clock, write=False)
    assert any(one.check == "rights" and table in one.text for one in found.findings)


async def test_a_user_in_another_zone_is_found(clock: ShiftedClock) -> None:
    async with run_instance(clock, zone="Asia/Kolkata") as simulator:
        fill(simulator)
        assert "zone" in checks(await look(simulator, clock, write=False))


async def test_a_wrong_secret_is_found_and_nothing_else_is_asked(
    simulator: ServiceNowSimulator, clock: ShiftedClock
) -> None:
    found = await look(simulator, clock, secrets={"client_secret": "wrong"})
    assert checks(found) == {"auth"}


async def test_no_answer_is_found(simulator: ServiceNowSimulator, clock: ShiftedClock) -> None:
    simulator.faults.inject(FaultRule(kind=InstanceFault.HTML_200, times=None))
    assert checks(await look(simulator, clock)) == {"reach"}
