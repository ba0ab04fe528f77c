"""Every answer of the simulated instance has the members that the vendor's reference names."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from ecproc.simulator.servicenow.settings import InstanceConfig
from tests.simulation.servicenow import Caller, instance

DOCUMENTED: Final[dict[str, Any]] = json.loads(
    (Path(__file__).parents[1] / "fixtures/servicenow/documented.json").read_text(encoding="utf-8")
)
CASES: Final = [name for name in DOCUMENTED if name != "about"]


def differences(documented: Any, given: Any, *, exact: bool, path: str = "") -> list[str]:
    """Where an answer lacks a documented member, has one of another kind, or (if `exact`) one more."""
    if isinstance(documented, dict) and isinstance(given, dict):
        names = documented.keys() | given.keys() if exact else documented.keys()
        missing = [f"{path}.{name}" for name in sorted(names) if not (name in documented and name in given)]
        shared = documented.keys() & given.keys()
        return missing + [
            difference
            for name in sorted(shared)
            for difference in differences(documented[name], given[name], exact=exact, path=f"{path}.{name}")
        ]
    if isinstance(documented, list) and isinstance(given, list):
        return differences(documented[0], given[0], exact=exact, path=f"{path}[]") if documented and given else []
    may_be_linked = isinstance(given, dict | str) and isinstance(documented, dict | str)  # a reference, set or empty
    return [] if type(documented) is type(given) or may_be_linked else [f"{path} is a {type(given).__name__}"]


async def ask_for(desk: Caller, name: str) -> httpx.Response:
    """Make the call whose answer is documented under this name."""
    machine = desk.simulator.service.config
    record = await desk.create()
    change = await desk.create("change_request")
    desk.simulator.edit("change_request", change["sys_id"], state="-2")
    row = desk.simulator.attach(("incident", record["sys_id"]), "a.log", b"1")
    password = {"grant_type": "password", "username": machine.username, "password": machine.password}
    form = {**password, "client_id": machine.client_id, "client_secret": machine.client_secret}
    limited = {"x-simulator-fault": "429"}
    targets: dict[str, tuple[str, str, dict[str, Any]]] = {
        "table_list": ("GET", "/api/now/table/incident", {}),
        "table_record": ("GET", f"/api/now/table/incident/{record['sys_id']}", {}),
        "change_record": ("GET", f"/api/sn_chg_rest/change/{change['sys_id']}", {}),
        "nextstates": ("GET", f"/api/sn_chg_rest/change/{change['sys_id']}/nextstates", {}),
        "conflict": ("GET", f"/api/sn_chg_rest/change/{change['sys_id']}/conflict", {}),
        "attachment_list": ("GET", "/api/now/attachment", {}),
        "attachment_record": ("GET", f"/api/now/attachment/{row['sys_id']}", {}),
        "import": ("POST", "/api/now/import/u_ensono_incident", {"json": {"u_short_description": "x"}}),
        "token": ("POST", "/oauth_token.do", {"data": form}),
        "error": ("GET", "/api/now/table/incident/nix", {}),
        "rate_limit": ("GET", "/api/now/table/incident", {"headers": limited}),
    }
    method, target, arguments = targets[name]
    return await desk.client.request(method, target, **arguments)


@pytest.mark.parametrize("name", CASES)
async def test_an_answer_has_the_documented_members(name: str) -> None:
    case = DOCUMENTED[name]
    async with instance() as desk:
        given = (await ask_for(desk, name)).json()
    assert differences(case["answer"], given, exact=case["compare"] == "all") == [], case["source"]


async def test_an_answer_without_one_is_found() -> None:
    async with instance(InstanceConfig(missing_fields=frozenset({"correlation_id"}))) as desk:
        given = (await ask_for(desk, "table_list")).json()
    assert differences(DOCUMENTED["table_list"]["answer"], given, exact=False) == [".result[].correlation_id"]


def test_one_member_more_and_one_of_another_kind_are_found() -> None:
    assert differences({"a": "1"}, {"a": "1", "b": "2"}, exact=True) == [".b"]
    assert differences({"a": {"b": 1}}, {"a": {"b": "1"}}, exact=False) == [".a.b is a str"]
