"""Run a simulated instance, write to it as people do, and wait for what it saw."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import anyio

from ecproc.network import bracket
from ecproc.simulator.exchange import HttpRequest, Reply
from ecproc.simulator.listening import bind, serve, start_clock
from ecproc.simulator.servicenow.answers import Denial
from ecproc.simulator.servicenow.faults import Faults
from ecproc.simulator.servicenow.instance import HUMAN, Author
from ecproc.simulator.servicenow.ledger import InstanceLedger
from ecproc.simulator.servicenow.pages import PREFIX, InstancePages
from ecproc.simulator.servicenow.query import FieldValues
from ecproc.simulator.servicenow.service import ServiceNow
from ecproc.simulator.servicenow.settings import InstanceConfig


class ServiceNowSimulator:
    """A running instance. People's edits keep to no state model and no data policy, and stand in no ledger."""

    headers = ServiceNow.headers

    def __init__(self, service: ServiceNow, url: str) -> None:
        self.service = service
        self.url = url
        self._pages = InstancePages(service)
        self._changed: anyio.Event | None = None

    @property
    def ledger(self) -> InstanceLedger:
        """What the instance applied, up to what is due by now."""
        self.service.apply_due()
        return self.service.ledger

    @property
    def faults(self) -> Faults:
        """What is to go wrong."""
        return self.service.faults

    def find(self, table: str, query: str = "") -> list[dict[str, str]]:
        """Give copies of the rows that an encoded query finds; KeyError if there is no such table."""
        self.service.apply_due()
        return [dict(row) for row in self.service.instance.database.find(table, query)]

    def create(self, table: str, by: str = HUMAN, **fields: str) -> dict[str, str]:
        """Make a record as a person does; gives its values."""
        return self._written(self.service.instance.create(table, fields, self._author(by)))

    def edit(self, table: str, sys_id: str, by: str = HUMAN, **fields: str) -> dict[str, str]:
        """Change a record as a person does; KeyError if there is none."""
        return self._written(self.service.instance.change(table, sys_id, fields, self._author(by)))

    def comment(
        self, table: str, sys_id: str, text: str, *, by: str = HUMAN, field: str = "comments"
    ) -> dict[str, str]:
        """Write a comment, or a work note, as a person does; the caller's own takes an incident off hold."""
        return self.edit(table, sys_id, by, **{field: text})

    def attach(
        self, target: tuple[str, str], name: str, content: bytes, *, by: str = HUMAN, content_type: str = "text/plain"
    ) -> dict[str, str]:
        """Attach a file to the record `target`, table and sys_id, as a person does; gives the attachment's row."""
        if self.service.instance.database.get(*target) is None:
            raise KeyError(target)
        row = self.service.instance.attach(target, name, content, content_type, self._author(by))
        self.wake_waiters()
        return dict(row)

    def delete(self, table: str, sys_id: str) -> None:
        """Remove a record; KeyError if there is none."""
        if not self.service.instance.remove(table, sys_id):
            raise KeyError(sys_id)
        self.wake_waiters()

    def answer(self, request: HttpRequest) -> Reply:
        """Answer one request, the instance's or our own pages'."""
        is_own = request.path.startswith(PREFIX)
        reply = self._pages.answer(request) if is_own else self.service.answer(request)
        self.wake_waiters()
        return reply

    def record_answered(self, request: HttpRequest) -> None:
        """Count the request as over; our own pages don't count."""
        if not request.path.startswith(PREFIX):
            self.service.ledger.record_ended()
        self.wake_waiters()

    async def wait_until(self, reached: Callable[[InstanceLedger], bool]) -> None:
        """Return once the ledger satisfies `reached`, looking after each request, each answer and each edit."""
        while not reached(self.ledger):
            self._changed = self._changed or anyio.Event()
            await self._changed.wait()

    def wake_waiters(self) -> None:
        """Let `wait_until` look at the ledger again."""
        if self._changed is not None:
            self._changed.set()
            self._changed = None

    def _author(self, by: str) -> Author:
        self.service.apply_due()
        return Author(by, self.service.clock(), machine=False, is_bound=False)

    def _written(self, row: FieldValues | Denial) -> dict[str, str]:
        if isinstance(row, Denial):
            raise KeyError(row.detail)
        self.wake_waiters()
        return dict(row)


@asynccontextmanager
async def run_servicenow(
    config: InstanceConfig | None = None,
    *,
    clock: Callable[[], float] | None = None,
    tls: ssl.SSLContext | None = None,
) -> AsyncIterator[ServiceNowSimulator]:
    """Serve an instance while the block runs, over TLS where a context is given; needs asyncio.

    `clock` gives seconds since the epoch and rules stamps, tokens, rate rules and what is applied late; delays of
    answers run in real time. OSError if the port is taken. Leaving takes at most 2 s, also with answers held back.
    """
    config = config or InstanceConfig()
    with bind(config.host, config.port) as listener:
        scheme = "http" if tls is None else "https"
        url = f"{scheme}://{bracket(config.host)}:{listener.getsockname()[1]}"
        service = ServiceNow(config, url_base=url, clock=clock or start_clock())
        simulator = ServiceNowSimulator(service, url)
        async with serve(simulator, listener, tls=tls):
            yield simulator
