"""Who may call the simulated instance, for how long, and how often."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from ecproc.simulator.servicenow.settings import InstanceConfig, RateRule
from tests.simulation.servicenow import Caller, instance

MACHINE = InstanceConfig()
CLIENT = {"client_id": MACHINE.client_id, "client_secret": MACHINE.client_secret}
PASSWORD = {"grant_type": "password", "username": "abel.tuter", "password": "simulator-password"}


async def grant(desk: Caller, **form: str) -> httpx.Response:
    return await desk.client.post("/oauth_token.do", data={**CLIENT, **form})


async def look(desk: Caller, **arguments: Any) -> int:
    """The status that a read gets with these credentials alone."""
    async with httpx.AsyncClient(base_url=desk.simulator.url, trust_env=False, **arguments) as client:
        return (await client.get("/api/now/table/incident")).status_code


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        ({"auth": (MACHINE.username, MACHINE.password)}, 200),
        ({"auth": ("abel.tuter", "simulator-password")}, 200),
        ({"auth": (MACHINE.username, "wrong")}, 401),
        ({"auth": ("nobody", "")}, 401),
        ({"headers": {"x-sn-apikey": MACHINE.api_key}}, 200),
        ({"headers": {"x-sn-apikey": "wrong"}}, 401),
        ({"headers": {"authorization": "Basic ~"}}, 401),
        ({"headers": {"authorization": "Basic /w=="}}, 401),
        ({"headers": {"authorization": "Bearer nix"}}, 401),
        ({"headers": {"authorization": "Digest x"}}, 401),
        ({}, 401),
    ],
)
async def test_calls_need_credentials(arguments: dict[str, Any], status: int) -> None:
    async with instance() as desk:
        assert await look(desk, **arguments) == status


async def test_a_machines_token_lives_half_an_hour_and_cannot_be_renewed() -> None:
    async with instance() as desk:
        given = (await grant(desk, grant_type="client_credentials")).json()
        assert {*given} == {"access_token", "scope", "token_type", "expires_in"}
        assert (given["token_type"], given["expires_in"]) == ("Bearer", 1800)
        bearer = {"authorization": f"Bearer {given['access_token']}"}
        desk.clock.now += 1799
        assert await look(desk, headers=bearer) == 200
        desk.clock.now += 1
        assert await look(desk, headers=bearer) == 401


async def test_a_persons_token_is_renewed_by_another_that_opens_nothing_itself() -> None:
    async with instance() as desk:
        first = (await grant(desk, **PASSWORD)).json()
        refresh = first["refresh_token"]
        assert await look(desk, headers={"authorization": f"Bearer {refresh}"}) == 401
        desk.clock.now += 8_639_999
        second = (await grant(desk, grant_type="refresh_token", refresh_token=refresh)).json()
        bearer = {"authorization": f"Bearer {second['access_token']}"}
        async with httpx.AsyncClient(headers=bearer, trust_env=False) as client:
            made = await client.post(f"{desk.simulator.url}/api/now/table/incident", json={})
        assert made.json()["result"]["sys_created_by"] == "abel.tuter"
        desk.clock.now += 1
        assert (await grant(desk, grant_type="refresh_token", refresh_token=refresh)).status_code == 401


@pytest.mark.parametrize(
    ("form", "status"),
    [
        ({"grant_type": "client_credentials", "client_secret": "wrong"}, 401),
        ({**PASSWORD, "password": "wrong"}, 401),
        ({**PASSWORD, "username": "nobody", "password": ""}, 401),
        ({"grant_type": "refresh_token", "refresh_token": "nix"}, 401),
        ({"grant_type": "authorization_code"}, 400),
    ],
)
async def test_no_token_is_given_for_less(form: dict[str, str], status: int) -> None:
    async with instance() as desk:
        refused = await grant(desk, **form)
        assert (refused.status_code, {*refused.json()}) == (status, {"error", "error_description"})
        assert (await desk.client.get("/oauth_token.do")).status_code == 400


async def test_a_rate_rule_counts_each_user_and_begins_anew() -> None:
    rules = (RateRule(name="Incidents", limit=2, table="incident"), RateRule(name="All", limit=5, seconds=60))
    async with instance(InstanceConfig(rate_rules=rules)) as desk:
        answers = [await desk.ask("table/incident") for _ in range(3)]
        assert [answer.status_code for answer in answers] == [200, 200, 429]
        refused = answers[-1].headers
        wait = int(refused["retry-after"])
        assert (refused["x-ratelimit-rule"], refused["x-ratelimit-limit"]) == ("Incidents", "2")
        assert int(refused["x-ratelimit-reset"]) == int(desk.clock.now) + wait
        assert (await desk.ask("table/sys_user")).status_code == 200
        assert await look(desk, auth=("abel.tuter", "simulator-password")) == 200
        desk.clock.now += wait
        assert (await desk.ask("table/incident")).status_code == 200
