"""The desk on a ServiceNow instance: the shared suite, against the simulated one."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from ecproc.config.servicenow import ServiceNowTables
from ecproc.desk.base import DeskCall
from ecproc.desk.servicenow.desk import ServiceNowDesk
from ecproc.desk.servicenow.texts import write_marker
from ecproc.simulator.servicenow.faults import FaultRule, InstanceFault
from ecproc.simulator.servicenow.server import ServiceNowSimulator
from ecproc.testing.desk import DeskTests
from tests.instance import ShiftedClock, open_on, run_instance

LATE = 80.0


class OnInstance(DeskTests):
    reopened = "workinprogress"
    reopenings = ("workinprogress",)
    closed_behind_cancelled = "cancelled"
    simulator: ServiceNowSimulator
    clock: ShiftedClock
    tables = ServiceNowTables()

    @pytest.fixture(autouse=True)
    async def instance(self, anyio_backend: str) -> AsyncIterator[None]:
        self.clock = ShiftedClock()
        async with run_instance(self.clock) as self.simulator:
            yield

    async def open_desk(self, directory: Path) -> ServiceNowDesk:
        return open_on(self.simulator, self.clock, tables=self.tables)

    def lose_answer(self) -> None:
        for method in ("POST", "PATCH"):
            self.simulator.faults.inject(FaultRule(kind=InstanceFault.LOST_ANSWER, method=method))

    def apply_late(self) -> Callable[[], None]:
        self.simulator.faults.inject(FaultRule(kind=InstanceFault.APPLY_LATE, seconds=LATE))

        def apply() -> None:
            self.clock.ahead += LATE + 1

        return apply

    def count_made(self, call: DeskCall, number: str) -> int:
        ledger = self.simulator.ledger
        if call.kind == "create_client_ticket":
            return len(ledger.created.get(call.key.removeprefix("create:"), []))
        (record,) = self.simulator.find("incident", f"number={number}")
        if call.kind == "attach_client_ticket":
            return sum(len(made) for key, made in ledger.attachments.items() if key.startswith(record["sys_id"]))
        marker = write_marker(call).removeprefix("[Ensono note ").removesuffix("]")
        return len(ledger.notes.get(f"{record['sys_id']} {marker}", []))


class TestServiceNowDesk(OnInstance):
    """By the Table API."""
