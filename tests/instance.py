"""A simulated ServiceNow instance and the desk on it, on a clock that tests set forward."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, cast

import msgspec

from ecproc.clock import SystemClock
from ecproc.config import Secret
from ecproc.config.servicenow import ServiceNowConfig, ServiceNowTables
from ecproc.config.watch import WatchConfig
from ecproc.desk.base import DeskRefused, DeskUnavailable, StoredFile
from ecproc.desk.servicenow.answers import InstanceAnswer
from ecproc.desk.servicenow.desk import ServiceNowDesk
from ecproc.desk.servicenow.session import FileBody, InstanceSession
from ecproc.desk.servicenow.watch import ServiceNowWatch
from ecproc.desk.servicenow.wire import InstanceCall
from ecproc.mapping import Mapping, default_mapping
from ecproc.simulator.exchange import HttpRequest
from ecproc.simulator.servicenow.server import ServiceNowSimulator, run_servicenow
from ecproc.simulator.servicenow.service import ServiceNow
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


class HeldClock(ShiftedClock):
    """Clocks that stand still until a test sets them forward, or back."""

    def __init__(self) -> None:
        super().__init__()
        self._began = 1_790_000_000

    def now(self) -> int:
        return int((self._began + self.ahead) * 1_000_000)

    def monotonic(self) -> float:
        return self.ahead

    def seconds(self) -> float:
        return self._began + self.ahead


class DirectSession:
    """The way to a simulated instance without a network. `asked` has what was sent."""

    base_url = "http://instance.example"

    def __init__(self, simulator: ServiceNowSimulator, clock: HeldClock) -> None:
        self._simulator = simulator
        self._clock = clock
        self.asked: list[str] = []

    async def send(self, request: InstanceCall, upload: FileBody | None = None) -> InstanceAnswer:
        self.asked.append(f"{request.method} {request.target}")
        path, _, query = request.target.partition("?")
        headers = {"accept": "application/json", "x-sn-apikey": STANDARD.api_key, "content-type": "application/json"}
        body = msgspec.json.encode(request.body) if request.body is not None else b""
        if upload is not None:
            headers["content-type"], body = upload.type, upload.path.read_bytes()
        asked = HttpRequest(method=request.method, path=path, query=query, headers=headers, body=body)
        reply = self._simulator.answer(asked)
        self._simulator.record_answered(asked)
        if reply.dropped:
            raise DeskUnavailable("the connection was closed", sent=not request.repeatable, call=request.told)
        told = dict(reply.headers)
        now = self._clock.now()
        return InstanceAnswer(
            status=reply.status,
            body=reply.body,
            retry_after=None if reply.retry_after is None else str(reply.retry_after),
            at=now,
            date=now // 1_000_000 * 1_000_000,
            links=told.get("link"),
            total=told.get("x-total-count"),
        )

    async def copy(self, request: InstanceCall, write: Callable[[bytes], Awaitable[None]], most: int) -> InstanceAnswer:
        seen = await self.send(request)
        if seen.status == 200:
            if len(seen.body) > most:
                raise DeskRefused(f"it has more than {most} bytes", final=True)
            await write(seen.body)
        return seen

    async def aclose(self) -> None: ...


class DirectInstance:
    """A simulated instance in this process, its desk and its watches, on one clock that stands still."""

    def __init__(self, clock: HeldClock | None = None, **options: Any) -> None:
        self.clock = clock or HeldClock()
        service = ServiceNow(InstanceConfig(), url_base="http://instance.example", clock=self.clock.seconds)
        self.simulator = ServiceNowSimulator(service, "http://instance.example")
        self.session = DirectSession(self.simulator, self.clock)
        self.handed: dict[str, list[StoredFile]] = {}
        self.complaints: list[str] = []
        self.mapping: Mapping = options.pop("mapping", None) or default_mapping("servicenow")
        known = {"auth": "api_key", "username": STANDARD.username, "url": "http://127.0.0.1:1"}
        self.config = ServiceNowConfig(**(known | options))
        self.tables = ServiceNowTables()
        self.desk = ServiceNowDesk(
            self.config,
            self.tables,
            mapping=self.mapping,
            secret=lambda key: Secret(CREDENTIALS[key]),
            clock=self.clock,
        )
        direct = cast("InstanceSession", self.session)
        self.desk.instance.session = self.desk.instance.calls._session = direct

    def open_watch(self, *, source: str = "desk", **options: Any) -> ServiceNowWatch:
        """A watch of it."""

        async def find_handed(number: str) -> list[StoredFile]:
            return self.handed.get(number, [])

        return ServiceNowWatch(
            self.desk.instance,
            self.config,
            self.tables,
            WatchConfig(**options),
            source=source,
            handed=find_handed,
            complain=self.complaints.append,
            clock=self.clock,
        )
