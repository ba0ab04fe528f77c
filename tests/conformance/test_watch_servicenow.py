"""The watch of a ServiceNow instance: the shared suite, and what is its own, against the simulated one in process."""

from __future__ import annotations

from ecproc.desk.servicenow.watch import ServiceNowWatch
from ecproc.simulator.servicenow.faults import FaultRule, InstanceFault
from ecproc.testing.watch import WatchedDesk, WatchTests
from tests.instance import DirectInstance


class SimulatedDesk:
    """See WatchedDesk; people's edits of incidents."""

    def __init__(self) -> None:
        self.at = DirectInstance()
        self._edits = 0

    def write(self, *, ago: float = 0.0) -> str:
        self.at.clock.ahead -= ago
        row = self.at.simulator.create("incident", short_description="printer on fire")
        self.at.clock.ahead += ago
        return row["sys_id"]

    def edit(self, reference: str) -> None:
        self._edits += 1
        self.at.simulator.edit("incident", reference, short_description=f"edit {self._edits}")

    def tick(self, seconds: float) -> None:
        self.at.clock.ahead += seconds

    def hide(self, *, every: int) -> None:
        rule = FaultRule(kind=InstanceFault.ACL_HIDE, table="incident", every=every, times=None)
        self.at.simulator.faults.inject(rule)


class TestServiceNowWatch(WatchTests):
    async def open_desk(self) -> SimulatedDesk:
        return SimulatedDesk()

    async def open_watch(self, desk: WatchedDesk, *, page: int, overlap: float) -> ServiceNowWatch:
        assert isinstance(desk, SimulatedDesk)
        return desk.at.open_watch(page=page, overlap=overlap)
