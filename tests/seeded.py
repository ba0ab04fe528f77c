"""A log in memory as a few messages leave it: tickets, a download that waits, and what could not be taken."""

from __future__ import annotations

import json
from collections.abc import Mapping
from itertools import count
from pathlib import Path

import msgspec

from ecproc.attachments.store import ContentStore
from ecproc.clock import Clock, SystemClock
from ecproc.commands.intake import Intake
from ecproc.config import CommandsConfig
from ecproc.domain.entry import Entry
from ecproc.domain.events import EffectFailed, EffectSucceeded, OperatorActed
from ecproc.domain.ids import EffectKey
from ecproc.domain.log import Batch, NewEvent, Row
from ecproc.domain.policy import Policy
from ecproc.fold.recorded import Kind, encode_event
from ecproc.fold.step import take_step
from ecproc.fold.stream import StreamFold
from ecproc.fold.tables import TABLES
from ecproc.fold.tickets import MACHINES
from ecproc.fold.whole import fold_events
from ecproc.outbox.settling import act_on
from ecproc.store.memory import MemoryStore

CANARY = "canarysignature"
URL = f"https://h/f?sig={CANARY}"
INCIDENT, SECOND, CHANGE = "e-CS0000001", "e-CS0000002", "e-CHG0000003"
UNREADABLE = "e-CS0000009"
JOB = "job:prod:7"
STARTED = 1_700_000_000_000_000
NEVER = 300.0
"""Seconds after which nobody waits any longer for what does not come."""
ENTRIES = 2
"""So few that a list is cut soon."""

BROKEN = b'{"see":"' + URL.encode() + b'","bad":"\xff"}'


MORE_TABLES = msgspec.structs.replace(TABLES, names=TABLES.names | {"subject"})


class Disk(MemoryStore):
    """A store that also holds headers of streams that are no tickets, and knows which tables were asked."""

    def __init__(self) -> None:
        ticking = count(STARTED, 1_000_000)
        super().__init__(lambda: next(ticking), MORE_TABLES)
        self.asked: set[str] = set()

    async def read_rows(
        self, table: str, *, stream: str | None = None, id: str | None = None, last: int | None = None
    ) -> list[Row]:
        self.asked.add(table)
        return await super().read_rows(table, stream=stream, id=id, last=last)

    async def receive(self, stream: str, transaction: str, body: Mapping[str, object] | bytes) -> None:
        """Append a message."""
        raw = body if isinstance(body, bytes) else json.dumps({"ticketNumber": stream, **body}).encode()
        number = (await self.head()).position + 1
        payload = b'{"attributes":{"TransactionType":"%s"},"body":%s}' % (transaction.encode(), raw)
        key = number.to_bytes(16, "big") + f"m-{number}".encode()
        await self.commit(Batch([NewEvent(stream, Kind.MESSAGE_RECEIVED, payload, key, wanted=True)]))

    async def decide(self) -> None:
        """Let every ticket take a step."""
        for stream in await self.undecided_streams():
            fold = StreamFold(stream, MACHINES.of(stream))
            fold.extend(await self.read_stream(stream))
            await self.commit(
                take_step(fold, policy=Policy(), client_name="testClient", limit=100, snapshot_events=100).batch
            )

    async def settle(self, stream: str, *outcomes: EffectSucceeded | EffectFailed) -> None:
        """Append what came of effects, with the rows that this leaves."""
        await self.commit(Batch([NewEvent(stream, *encode_event(outcome), wanted=True) for outcome in outcomes]))
        await self.decide()
        rows, _ = fold_events(stream, await self.read_stream(stream), MACHINES.of(stream))
        await self.commit(Batch(rows=rows))


class Obedient:
    """Whoever acts on a log that nobody performs anything of: what is submitted is decided at once."""

    has_room = True
    stopping = False

    def __init__(self, disk: Disk, clock: Clock | None = None) -> None:
        self._disk = disk
        self._clock = clock or SystemClock()

    async def act(self, stream: str, entry: Entry, acted: OperatorActed) -> bool:
        await self.submit(act_on(stream, entry, acted))
        return True

    async def wait_tried(self, stream: str, entry: Entry) -> None:
        return

    async def submit(self, batch: Batch) -> None:
        await self._disk.commit(batch)
        await self._disk.decide()

    async def wait_change(self, seconds: float) -> None:
        await self._clock.sleep(NEVER)

    def parked_by(self, stream: str) -> str | None:
        return None

    async def take_up(self, stream: str) -> bool:
        return True


def open_intake(disk: Disk, log: Obedient, *, folder: Path, clock: Clock) -> Intake:
    """What takes commands into that log; files are kept in the folder, with room for one MiB each."""
    return Intake(
        disk,
        log,
        machines=MACHINES,
        options=CommandsConfig(),
        environment="dev",
        content=ContentStore(folder),
        max_bytes=1024 * 1024,
        clock=clock,
    )


async def fill_disk() -> Disk:
    """A log of two incidents and a change, of which one waits for a download, and a message in quarantine."""
    disk = Disk()
    incident = {"ticketType": "Incident", "status": "open", "shortDescription": f"see {URL}"}
    file = {"attachmentName": "a.txt", "attachmentInfo": "https://h/api/now/attachment/abc", "attachment": URL}
    await disk.receive(INCIDENT, "Create", incident)
    await disk.receive(SECOND, "Create", incident)
    await disk.receive(CHANGE, "Create", {"ticketType": "Change", "state": "Assess", "type": "Normal"})
    await disk.receive(INCIDENT, "Attachment", {**incident, **file})
    await disk.receive(UNREADABLE, "Create", BROKEN)
    await disk.decide()
    await disk.receive(SECOND, "Update", {**incident, "status": "closed", "changed": {"status": "closed"}})
    await disk.decide()
    await disk.settle(
        INCIDENT,
        EffectSucceeded(EffectKey(f"create:{INCIDENT}:g1"), {"number": "LOCAL-1", "state": "open"}),
        EffectFailed(EffectKey(f"att:{INCIDENT}:abc"), f"403 from {URL}", False, STARTED),
    )
    return disk
