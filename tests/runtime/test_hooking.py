"""Posts of the client's own systems, from the listener into the log: each once, and what it asks of Ensono once."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest

from ecproc.attachments.base import Failure, FetchFailed, Stored
from ecproc.attachments.store import ContentStore
from ecproc.clock import SystemClock
from ecproc.commands.derive import DeskRules
from ecproc.commands.external import ExternalIntake
from ecproc.config import CommandsConfig, Config, HooksConfig, HookSourceConfig, Secret, Secrets
from ecproc.domain.effects import EffectKind
from ecproc.domain.events import EffectSucceeded
from ecproc.domain.ids import EffectKey
from ecproc.fold.tickets import MACHINES
from ecproc.hooking import PostIntake, build_hooks
from ecproc.telemetry.hooks import Telemetry
from ecproc.testing.ticket import incident
from ecproc.webhooks import make_headers, read_key
from tests.runtime.test_external_intake import STREAM, Processor

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Host:
    """Where files can be fetched from, or not."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.failure: Failure | None = None

    async def fetch(self, url: str, *, announced_size: int | None) -> Stored:
        self.asked.append(url)
        if self.failure is not None:
            raise FetchFailed("no", self.failure)
        return Stored("ab" * 32, 3, "attachments/ab/" + "ab" * 32)

    async def aclose(self) -> None: ...


class Counted(Telemetry):
    """Counts what is reported."""

    def __init__(self) -> None:
        self.fates: Counter[tuple[str, str]] = Counter()
        self.answers: Counter[tuple[str, int]] = Counter()

    def external_received(self, source: str, outcome: str) -> None:
        self.fates[source, outcome] += 1

    def hook_answered(self, source: str, status: int, seconds: float) -> None:
        assert 0 <= seconds < 60
        self.answers[source, status] += 1


class World:
    """A log, the listener before it, and somebody who posts."""

    def __init__(self, folder: Path) -> None:
        self.processor = Processor()
        self.host = Host()
        self.telemetry = Counted()
        self.content = ContentStore(folder)
        self.client = self.open(self.processor.intake)

    def open(self, intake: ExternalIntake) -> httpx.AsyncClient:
        """Whoever posts to a listener of a process that takes in so."""
        config = Config(
            hooks=HooksConfig(listen="127.0.0.1:0", rate=100_000),
            hooks_sources={"itsm": HookSourceConfig(secrets=(Secret(SECRET),))},
        )
        posts = PostIntake(intake, self.content, self.host, most=1_000, telemetry=self.telemetry)
        secrets = Secrets(config, lambda change: None)
        app = build_hooks(config, posts, self.content, secrets=secrets, telemetry=self.telemetry, clock=SystemClock())
        return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://hooks")

    async def post(self, message_id: str, kind: str, **data: Any) -> int:
        body = json.dumps({"type": kind, "timestamp": "2026-11-27T16:00:00Z", "data": data}).encode()
        now = SystemClock().now() // 1_000_000
        headers = {"content-type": "application/json", **make_headers([read_key(SECRET)], message_id, now, body)}
        return (await self.client.post("/hooks/itsm", headers=headers, content=body)).status_code

    async def count(self, kind: str) -> int:
        return (await self.processor.kinds()).count(kind)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    one = World(tmp_path)
    await one.content.sweep()
    async with one.client:
        yield one


@pytest.mark.slow
async def test_ten_thousand_posts_of_one_id_are_one_event_and_one_command(world: World) -> None:
    await world.processor.open()
    statuses = Counter[int]()

    async def post() -> None:
        for _ in range(100):
            statuses[await world.post("msg_1", "ticket.note", number="INC1", body="hello")] += 1

    async with anyio.create_task_group() as tasks:
        for _ in range(100):
            tasks.start_soon(post)
    assert statuses == {202: 10_000}
    assert (await world.count("ExternalReceived"), await world.processor.keys()) == (1, ["ec-note:e-CS1:msg_1"])
    assert world.telemetry.fates == {("itsm", "appended"): 1, ("itsm", "duplicate"): 9_999}
    assert world.telemetry.answers == {("itsm", 202): 10_000}


async def test_an_id_counts_for_ever(world: World) -> None:
    await world.processor.open()
    assert await world.post("msg_1", "ticket.note", number="INC1", body="hello") == 202
    async with world.open(
        ExternalIntake(
            world.processor.store,
            world.processor,
            machines=MACHINES,
            options=CommandsConfig(),
            environment="dev",
            rules=DeskRules(),
            is_at_work=lambda stream, lane: False,
            clock=world.processor.clock,
        )
    ) as world.client:
        assert await world.post("msg_1", "ticket.note", number="INC1", body="hello") == 202
    assert world.telemetry.fates == {("itsm", "appended"): 1, ("itsm", "duplicate"): 1}
    assert (await world.count("ExternalReceived"), await world.processor.keys()) == (1, ["ec-note:e-CS1:msg_1"])


async def test_another_id_is_another_event(world: World) -> None:
    """The negative control of the one above."""
    await world.processor.open()
    for index in range(3):
        assert await world.post(f"msg_{index}", "ticket.note", number="INC1", body="hello") == 202
    assert await world.count("ExternalReceived") == 3


async def test_a_change_is_told_to_ensono_and_our_own_write_is_not(world: World) -> None:
    await world.processor.receive(incident("Create", status="open", priority="4"))
    told, sent = {"number": "INC1", "state": "open"}, {"priority": "4", "status": "open"}
    await world.processor.tell(EffectSucceeded(EffectKey("create:e-CS1:g1"), told, view=sent))
    await world.processor.receive(incident("Update", changed={"priority": "1"}))
    rows = await world.processor.store.read_rows("outbox", stream=STREAM)
    key = next(row.id for row in rows if row.id.startswith("upd:"))
    await world.processor.tell(EffectSucceeded(EffectKey(key), {"number": "INC1"}, view={"priority": "1"}))

    assert await world.post("msg_1", "ticket.changed", number="INC1", fields={"priority": "1"}) == 202
    assert await world.processor.keys() == []
    assert await world.post("msg_2", "ticket.changed", number="INC1", fields={"priority": "2"}) == 202
    assert await world.processor.keys() == ["ec-upd:e-CS1:msg_2"]


async def test_a_late_number_settles_a_create_also_before_its_answer(world: World) -> None:
    await world.processor.receive(incident("Create", status="open", priority="4"))
    assert await world.post("msg_1", "ticket.created", key="create:e-CS1:g1", number="INC7") == 202
    rows = await world.processor.store.read_rows("client_ticket", id="INC7")
    assert [row.stream for row in rows] == [STREAM]
    created = EffectSucceeded(EffectKey("create:e-CS1:g1"), {"number": "INC7", "state": "open"})
    await world.processor.tell(created)
    assert len(await world.processor.store.read_rows("client_ticket", id="INC7")) == 1
    assert EffectKind.CREATE in str(await world.processor.store.read_rows("outbox", stream=STREAM))


async def test_a_file_is_there_before_the_event_that_names_it(world: World) -> None:
    await world.processor.open()
    told = {"number": "INC1", "name": "a.txt", "type": "text/plain"}
    assert await world.post("msg_1", "ticket.attached", **told, content_base64="YWJj") == 202
    (event,) = [one for one in await world.processor.store.read_stream(STREAM) if one.kind == "ExternalReceived"]
    file = json.loads(event.payload)["file"]
    assert world.content.locate(file["sha256"]).read_bytes() == b"abc"
    assert b"YWJj" not in event.payload
    assert await world.post("msg_2", "ticket.attached", **told, url="https://files.example.com/1") == 202
    assert world.host.asked == ["https://files.example.com/1"]


@pytest.mark.parametrize(
    ("failure", "status", "events"),
    [(Failure.HELD, 503, 0), (Failure.COUNTED, 503, 0), (Failure.EXPIRED, 202, 1), (Failure.CONFIGURATION, 202, 1)],
)
async def test_a_file_that_may_be_had_later_is_asked_for_later(
    world: World, failure: Failure, status: int, events: int
) -> None:
    await world.processor.open()
    world.host.failure = failure
    told = {"number": "INC1", "name": "a.txt", "url": "https://files.example.com/1"}
    assert await world.post("msg_1", "ticket.attached", **told) == status
    assert await world.count("ExternalReceived") == events
    assert await world.processor.anomalies() == ["incomplete"] * events


async def test_a_file_of_nobodys_is_not_fetched(world: World) -> None:
    await world.processor.open()
    assert (
        await world.post("msg_1", "ticket.attached", number="INC9", name="a", url="https://files.example.com/1") == 202
    )
    assert world.host.asked == []


async def test_too_large_a_file_is_remarked(world: World) -> None:
    await world.processor.open()
    assert await world.post("msg_1", "ticket.attached", number="INC1", name="a", content_base64="QUFB" * 400) == 202
    assert await world.processor.anomalies() == ["incomplete"]


async def test_a_full_outbox_takes_nothing_and_a_probe_is_nothing(world: World) -> None:
    await world.processor.open()
    before = (await world.processor.store.head()).position
    world.processor.has_room = False
    assert await world.post("msg_1", "ticket.note", number="INC1", body="x") == 503
    assert await world.post("msg_2", "probe", key="k") == 202
    assert (await world.processor.store.head()).position == before
