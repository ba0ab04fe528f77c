"""A simulated ServiceNow instance and the desk on it, on a clock that tests set forward."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from ecproc.clock import SystemClock
from ecproc.config import Secret
from ecproc.config.servicenow import ServiceNowConfig, ServiceNowTables
from ecproc.desk.servicenow.desk import ServiceNowDesk
from ecproc.mapping import Mapping, default_mapping
from ecproc.simulator.servicenow.server import ServiceNowSimulator, run_servicenow
from ecproc.simulator.servicenow.settings import InstanceConfig

STANDARD = InstanceConfig()
CREDENTIALS = {
    "password": STANDARD.password,
    "client_secret": STANDARD.client_secret,
    "api_key": STANDARD.api_key,
    "refresh_token": "",
}


class ShiftedClock(SystemClock):
    """The machine's clocks, as many seconds ahead as a test says; the instance and the desk go by the same."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def now(self) -> int:
        return super().now() + int(self.ahead * 1_000_000)

    def monotonic(self) -> float:
        return super().monotonic() + self.ahead

    def seconds(self) -> float:
        """What the instance's clock shows."""
        return time.time() + self.ahead


@asynccontextmanager
async def run_instance(clock: ShiftedClock, **settings: Any) -> AsyncIterator[ServiceNowSimulator]:
    """Serve an instance for a block."""
    async with run_servicenow(InstanceConfig(**settings), clock=clock.seconds) as simulator:
        yield simulator


def open_on(
    simulator: ServiceNowSimulator,
    clock: ShiftedClock,
    *,
    tables: ServiceNowTables | None = None,
    mapping: Mapping | None = None,
    secrets: dict[str, str] | None = None,
    **options: Any,
) -> ServiceNowDesk:
    """The desk on that instance."""
    known = {"auth": "client_credentials", "client_id": STANDARD.client_id, "username": STANDARD.username}
    config = ServiceNowConfig(url=simulator.url, **(known | options))
    texts = CREDENTIALS | (secrets or {})
    return ServiceNowDesk(
        config,
        tables or ServiceNowTables(),
        mapping=mapping or default_mapping("servicenow"),
        secret=lambda key: Secret(texts[key]),
        clock=clock,
    )
