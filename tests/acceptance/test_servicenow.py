"""A processor between a simulated bridge and a simulated ServiceNow instance: what was made there, by its own books."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ecproc.errors import ExitCode
from ecproc.simulator.servicenow.faults import FaultRates, InstanceFault
from ecproc.simulator.servicenow.server import ServiceNowSimulator
from tests.acceptance.world import Plan, World, open_world
from tests.instance import STANDARD, ShiftedClock, run_instance

LOSSES = FaultRates(
    shares={InstanceFault.LOST_ANSWER: 0.1, InstanceFault.APPLY_THEN_500: 0.05, InstanceFault.EXPIRED: 0.05},
    reads=False,
)


def point_at(world: World, instance: ServiceNowSimulator) -> None:
    """Let every command of the world have that instance for its desk; a cut call has ended within a second there."""
    options = {
        "DESK__KIND": "servicenow",
        "DESK_SERVICENOW__URL": instance.url,
        "DESK_SERVICENOW__CLIENT_ID": STANDARD.client_id,
        "DESK_SERVICENOW__CLIENT_SECRET": STANDARD.client_secret,
        "DESK_SERVICENOW__QUOTA_SECONDS": "1",
        "DESK_SERVICENOW__LOOKUP_MARGIN_SECONDS": "0",
    }
    world.variables.update({f"ECPROC_{name}": value for name, value in options.items()})


def read_lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


@pytest.mark.slow
@pytest.mark.requirement("I4")
async def test_every_ticket_has_one_record_though_answers_get_lost(tmp_path: Path) -> None:
    async with (
        open_world(tmp_path, Plan(tickets=12, seed=5)) as world,
        run_instance(ShiftedClock(), faults=LOSSES) as instance,
    ):
        point_at(world, instance)
        await world.die_at("effect.performed", 7)
        await world.drain()
        made = instance.ledger.created
        assert instance.ledger.list_doubles() == {}
        assert instance.faults.counts
        tickets = read_lines((await world.ask("tickets", "--json")).out)
        linked = {ticket["client_ticket"] for ticket in tickets if ticket["client_ticket"]}
        own = {number for numbers in made.values() for number in numbers}
        adopted = linked - own  # numbers that Ensono brought along: this instance never had them
        assert len(linked - adopted) > len(adopted)
        stuck = {one["ticket"] for one in json.loads((await world.ask("outbox", "list", "--json")).out)}
        assert stuck <= {ticket["ticket"] for ticket in tickets if ticket["client_ticket"] in adopted}


@pytest.mark.slow
async def test_the_check_and_the_lists_are_had_on_the_command_line(tmp_path: Path) -> None:
    async with (
        open_world(tmp_path, Plan(tickets=0)) as world,
        run_instance(ShiftedClock()) as instance,
    ):
        point_at(world, instance)
        checked = await world.ask("desk", "check", "--write", "--json")
        report = json.loads(checked.out)
        assert checked.code == (ExitCode.OK if report["ok"] else ExitCode.FINDINGS)
        assert [one for one in report["findings"] if one["severity"] == "error"] == []
        written = await world.ask("map", "choices", "--write", str(tmp_path / "mapping.toml"))
        assert written.code == ExitCode.OK, written.err
        assert (await world.ask("map", "check", str(tmp_path / "mapping.toml"))).code == ExitCode.OK
        refused = await world.ask("desk", "check", DESK_SERVICENOW__CLIENT_SECRET="wrong")
        assert refused.code == ExitCode.FINDINGS
        assert STANDARD.client_secret not in refused.out + refused.err
        told = await world.ask("doctor", "--json")
        assert [
            one for one in json.loads(told.out)["findings"] if one["check"] == "desk" and one["severity"] == "error"
        ] == []
        wrong_desk = await world.ask("desk", "check", "--write", DESK__KIND="local")
        assert wrong_desk.code == ExitCode.USAGE
