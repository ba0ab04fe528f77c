"""A whole processor between a simulated bridge and a simulated ServiceNow instance, watched, in virtual time."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, cast

import anyio
import msgspec
import pytest
from anyio import to_thread

from ecproc.commands.derive import DeskRules
from ecproc.commands.external import ExternalIntake
from ecproc.commands.handed import HandedFiles
from ecproc.config import BridgeConfig, CommandsConfig, Config, DeskConfig
from ecproc.config.watch import WatchConfig
from ecproc.desk.base import News, Watch
from ecproc.desk.servicenow.watch import ServiceNowWatch
from ecproc.domain.external import ExternalFile
from ecproc.fold.tickets import MACHINES
from ecproc.outbox.schedule import is_at_work
from ecproc.pipeline import Pipeline
from ecproc.runtime.watch import CursorFile, Standing, Watching
from ecproc.simulator.bridge import RawMessage
from ecproc.telemetry.hooks import Telemetry
from tests.instance import DirectInstance, HeldClock
from tests.simulation.clock import VirtualClock
from tests.simulation.world import World, WorldPlan

TICKET = "e-CS0000001"
CONFIG = Config(
    bridge=BridgeConfig(client_name="testClient"), desk=DeskConfig(kind="servicenow"), commands=CommandsConfig()
)
INTERVAL = 30.0


class LoopClock(VirtualClock):
    """The loop's time, which the instance goes by too."""

    def seconds(self) -> float:
        return self.now() / 1_000_000


class HeldFile:
    """A cursor's file that is written without a thread."""

    def __init__(self) -> None:
        self.standing = Standing()

    def read(self) -> Standing:
        return self.standing

    def write(self, standing: Standing) -> None:
        self.standing = standing


class Counted(Telemetry):
    """What became of news, and of polls."""

    def __init__(self) -> None:
        self.fates: list[str] = []
        self.polls: list[str] = []

    def external_received(self, source: str, outcome: str) -> None:
        self.fates.append(outcome)

    def desk_polled(self, source: str, outcome: str, *, whole_at: int | None) -> None:
        self.polls.append(outcome)


class TwoWays:
    """One ticket of Ensono's and its record; processors come and go."""

    def __init__(
        self,
        seed: int = 0,
        *,
        rules: DeskRules | None = None,
        watch: type[ServiceNowWatch] = ServiceNowWatch,
        **desk: Any,
    ) -> None:
        self.world = World(WorldPlan(tickets=0, config=CONFIG), seed=seed)
        self.clock = LoopClock()
        self.world.clock = self.clock
        self.at = DirectInstance(cast("HeldClock", self.clock), **desk)
        self.world.desk = cast("Any", self.at.desk)
        self.rules = rules or DeskRules()
        self.file = HeldFile()
        self.telemetry = Counted()
        self._watch = watch
        self._sent = 0

    @asynccontextmanager
    async def running(self) -> AsyncIterator[tuple[Pipeline, Watching]]:
        """A processor for a block, which then loses its power."""
        pipeline = self.world.make_pipeline()
        watching = self._open_watching(pipeline)
        async with anyio.create_task_group() as tasks:
            await tasks.start(pipeline.run)
            tasks.start_soon(watching.run)
            yield pipeline, watching
            tasks.cancel_scope.cancel()

    def _open_watching(self, pipeline: Pipeline) -> Watching:
        store = self.world.disk
        handed = HandedFiles(store, CONFIG.data.directory)
        watch = self._watch(
            self.at.desk.instance,
            self.at.config,
            self.at.tables,
            WatchConfig(interval=INTERVAL),
            source="desk",
            handed=handed.find,
            complain=lambda reason: None,
            clock=cast("Any", self.clock),
        )
        intake = ExternalIntake(
            store,
            pipeline,
            machines=MACHINES,
            options=CONFIG.commands,
            environment="dev",
            rules=self.rules,
            is_at_work=partial(is_at_work, pipeline.dispatcher.schedule),
            clock=cast("Any", self.clock),
        )
        return Watching(
            watch,
            intake,
            keep=partial(keep_in_memory, watch),
            may_take=lambda: True,
            file=cast("CursorFile", self.file),
            interval=INTERVAL,
            clock=cast("Any", self.clock),
            telemetry=self.telemetry,
        )

    def send(self, transaction: str, **body: Any) -> None:
        """Have Ensono send a message about the ticket."""
        self._sent += 1
        whole = {"clientName": "testClient", "clientTicketNumber": "", "ticketType": "Incident", "ticketNumber": TICKET}
        attributes = {"MessageGroupId": TICKET, "TransactionType": transaction}
        message_id = f"00000000-0000-4000-8000-{self._sent:012d}"
        self.world.simulator.send_raw(
            RawMessage(msgspec.Raw(msgspec.json.encode({**whole, **body})), dict(attributes), message_id)
        )

    async def open(self, *, group: str = "Net") -> dict[str, str]:
        """Have the ticket made at the instance; gives its record."""
        texts = {"shortDescription": "mail is slow", "description": "since 9"}
        self.send("Create", status="open", priority="4", group=group, **texts)
        await anyio.sleep(INTERVAL * 2)
        return self.record()

    def record(self) -> dict[str, str]:
        """The ticket's record as it stands."""
        [row] = self.at.simulator.find("incident", f"correlation_id={TICKET}:g1")
        return row

    def edit(self, **fields: str) -> None:
        """Have a person change it."""
        self.at.simulator.edit("incident", self.record()["sys_id"], by="abel.tuter", **fields)

    @property
    def updates(self) -> Sequence[dict[str, str]]:
        """What Ensono was told of its fields."""
        return self.world.simulator.ledger.updates.get(TICKET, [])

    @property
    def notes(self) -> Sequence[str]:
        """What Ensono was told in comments."""
        return self.world.simulator.ledger.notes.get(TICKET, [])

    async def list_own(self) -> list[str]:
        """The keys of what the desk's news asked of Ensono."""
        rows = await self.world.disk.read_rows("outbox", stream=TICKET)
        return [row.id for row in rows if row.id.startswith("ec-")]


async def keep_in_memory(watch: Watch, news: News) -> ExternalFile:
    """The file that a news is about, whose bytes nobody needs."""
    content = bytearray()

    async def write(piece: bytes) -> None:
        content.extend(piece)

    await watch.fetch(news.file, write, 10**6)
    digest = hashlib.sha256(content).hexdigest()
    return ExternalFile(news.name, news.type, len(content), digest, f"attachments/{digest[:2]}/{digest}")


@pytest.fixture
def without_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Write cursors where we stand: a simulated loop has no threads."""

    async def run_sync(function: Callable[..., Any], *arguments: Any) -> Any:
        return function(*arguments)

    monkeypatch.setattr(to_thread, "run_sync", run_sync)
