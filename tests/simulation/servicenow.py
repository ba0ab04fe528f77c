"""What the tests of the simulated instance share: a clock to turn, calls as a desk makes them, and what they answer."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import httpx

from ecproc.simulator.servicenow.server import ServiceNowSimulator, run_servicenow
from ecproc.simulator.servicenow.settings import InstanceConfig

START: Final = 1_790_000_000.0
"""2026-09-21 14:13:20 UTC."""
FIELDS: Final = "sysparm_fields=sys_id,number,state,sys_mod_count,sys_updated_on,sys_updated_by,correlation_id"


class Turned:
    """A clock that stands still until it is turned."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> float:
        return self.now


class Caller:
    """A client with the machine's credentials, and the simulator behind it."""

    def __init__(self, simulator: ServiceNowSimulator, client: httpx.AsyncClient, clock: Turned) -> None:
        self.simulator = simulator
        self.client = client
        self.clock = clock

    async def ask(self, target: str, method: str = "GET", **arguments: Any) -> httpx.Response:
        """Call below /api/now."""
        return await self.client.request(method, f"/api/now/{target}", **arguments)

    async def create(self, table: str = "incident", **fields: object) -> dict[str, Any]:
        """Make a record; gives its raw values."""
        answer = await self.ask(f"table/{table}?sysparm_exclude_reference_link=true", "POST", json=fields)
        assert answer.status_code == 201, answer.text
        return dict(answer.json()["result"])

    async def change(self, sys_id: str, table: str = "incident", **fields: object) -> httpx.Response:
        """Change a record."""
        return await self.ask(f"table/{table}/{sys_id}?sysparm_exclude_reference_link=true", "PATCH", json=fields)

    async def find(self, table: str, query: str = "", **parameters: str) -> list[dict[str, Any]]:
        """Give the rows that a query finds."""
        answer = await self.ask(f"table/{table}", params={"sysparm_query": query, **parameters})
        assert answer.status_code == 200, answer.text
        return list(answer.json()["result"])


@asynccontextmanager
async def instance(config: InstanceConfig | None = None) -> AsyncIterator[Caller]:
    """Serve an instance and call it."""
    clock = Turned()
    async with run_servicenow(config, clock=clock) as simulator:
        machine = simulator.service.config
        async with httpx.AsyncClient(
            base_url=simulator.url, auth=(machine.username, machine.password), timeout=60.0, trust_env=False
        ) as client:
            yield Caller(simulator, client, clock)


def explain(answer: httpx.Response) -> str:
    """The detail of a refusal."""
    return str(answer.json()["error"]["detail"])
