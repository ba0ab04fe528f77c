"""News of the desk's taken in: found, compared, and written down once with what they ask of Ensono."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import pytest

from ecproc.commands.derive import DeskRules
from ecproc.commands.external import ExternalIntake
from ecproc.config import CommandsConfig
from ecproc.domain.effects import Lane
from ecproc.domain.events import EffectStarted, EffectSucceeded
from ecproc.domain.external import ExternalKind, ExternalNote, ExternalReceived, Fate
from ecproc.domain.ids import EffectKey
from ecproc.domain.log import Batch, NewEvent
from ecproc.domain.policy import Policy
from ecproc.domain.remarks import Remark
from ecproc.fold.recorded import decode_event, encode_event
from ecproc.fold.rows import entry_row
from ecproc.fold.step import take_step
from ecproc.fold.stream import StreamFold
from ecproc.fold.tables import TABLES
from ecproc.fold.tickets import MACHINES
from ecproc.fold.whole import fold_events
from ecproc.reading.quarantine import list_quarantined, read_quarantined
from ecproc.store.memory import MemoryStore
from ecproc.testing.ticket import incident
from ecproc.wire.queue import decode_message
from tests.simulation.clock import VirtualClock
from tests.simulation.simloop import simulated_backend

STREAM = "e-CS1"
VIEW = {"priority": ("P4", "4"), "status": ("1", "open")}


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return simulated_backend()


class Processor:
    """A log whose every fact is decided at once, and the desk's way into it."""

    def __init__(self, **options: Any) -> None:
        self.clock = VirtualClock()
        self.store = MemoryStore(self.clock.now, TABLES)
        self.at_work: set[str] = set()
        self.has_room, self.stopping = True, False
        self.batches = 0
        self._messages = 0
        self.intake = ExternalIntake(
            self.store,
            self,
            machines=MACHINES,
            options=CommandsConfig(),
            environment="dev",
            rules=options.pop("rules", DeskRules()),
            is_at_work=lambda stream, lane: lane is Lane.DESK and stream in self.at_work,
            clock=self.clock,
        )

    async def submit(self, batch: Batch) -> None:
        self.batches += 1
        await self.store.commit(batch)
        for stream in dict.fromkeys(event.stream for event in batch.events):
            await self._decide(stream)

    def parked_by(self, stream: str) -> str | None:
        return None

    async def wait_change(self, seconds: float) -> None: ...

    async def receive(self, message: Mapping[str, Any]) -> None:
        self._messages += 1
        numbered = {
            "SequenceNumber": str(10**20 + self._messages),
            "SentTimestamp": str(1_700_000_000_000 + self._messages),
        }
        whole = {"MessageId": f"m{self._messages}", **message, "Attributes": {**message["Attributes"], **numbered}}
        envelope = decode_message(msgspec.json.encode(whole))
        event = NewEvent(STREAM, "MessageReceived", envelope.payload, message_key=envelope.key, wanted=True)
        await self.submit(Batch(events=[event]))

    async def tell(self, *outcomes: EffectSucceeded | EffectStarted) -> None:
        await self.submit(Batch(events=[NewEvent(STREAM, *encode_event(each), wanted=True) for each in outcomes]))

    async def open(self, number: str = "INC1", view: Mapping[str, str] | None = None) -> None:
        """Have a ticket with a client ticket at the desk."""
        await self.receive(incident("Create", status="open", priority="4"))
        told = {"priority": "P4", "status": "1"} if view is None else view
        created = EffectSucceeded(EffectKey("create:e-CS1:g1"), {"number": number, "state": "open"}, view=told, stamp=1)
        await self.tell(created)

    async def take(self, *events: ExternalReceived) -> list[Fate]:
        return await self.intake.take(events)

    async def keys(self) -> list[str]:
        rows = await self.store.read_rows("outbox", stream=STREAM)
        return [row.id for row in sorted(rows, key=lambda row: row.ordinal) if row.id.startswith("ec-")]

    async def kinds(self) -> list[str]:
        return [event.kind for event in await self.store.read_stream(STREAM)]

    async def anomalies(self) -> list[str]:
        return [str(row.tag) for row in await self.store.read_rows("anomaly", stream=STREAM)]

    async def _decide(self, stream: str) -> None:
        events = await self.store.read_stream(stream)
        fold = StreamFold(stream, MACHINES.of(stream))
        fold.extend(events)
        step = take_step(fold, policy=Policy(), client_name="testClient", limit=10**6, snapshot_events=10**6)
        rows = [entry_row(stream, entry) for entry in fold.state.plans.entries.values()]
        await self.store.commit(msgspec.structs.replace(step.batch, rows=[*step.batch.rows, *rows]))


def record(view: Mapping[str, tuple[str, str]], event_id: str = "rec:7f:2", **members: Any) -> ExternalReceived:
    members = {"number": "INC1", "stamp": 2, "reference": "7f", **members}
    return ExternalReceived("itsm", ExternalKind.RECORD, event_id, view={**VIEW, **view}, **members)


def note(text: str, event_id: str, **members: Any) -> ExternalReceived:
    members = {"number": "INC1", **members}
    return ExternalReceived("itsm", ExternalKind.NOTE, event_id, note=ExternalNote(text, "Joe"), **members)


@pytest.mark.requirement("R83")
async def test_a_change_at_the_desk_is_written_down_once_with_the_command_that_it_is() -> None:
    processor = Processor()
    await processor.open()

    assert await processor.take(record({"priority": ("P1", "1")})) == [Fate.APPENDED]
    assert await processor.keys() == ["ec-upd:e-CS1:rec:7f:2"]
    assert (await processor.kinds())[-3:] == ["ExternalReceived", "CommandAccepted", "Decided"]
    head = (await processor.store.head()).position

    assert await processor.take(record({"priority": ("P1", "1")})) == [Fate.DUPLICATE]
    assert (await processor.store.head()).position == head


@pytest.mark.requirement("R215")
async def test_what_we_wrote_ourselves_is_no_news() -> None:
    processor = Processor()
    await processor.open()
    await processor.receive(incident("Update", changed={"priority": "1"}))
    key = next(row.id for row in await processor.store.read_rows("outbox", stream=STREAM) if row.id.startswith("upd:"))
    await processor.tell(EffectSucceeded(EffectKey(key), {"number": "INC1"}, view={"priority": "P1"}, stamp=3))

    assert await processor.take(record({"priority": ("P1", "1")}, stamp=3)) == [Fate.APPENDED]
    assert await processor.keys() == []


async def test_a_person_s_change_between_our_write_and_the_poll_is_exactly_what_is_told() -> None:
    processor = Processor()
    await processor.open(view={"priority": "P4", "status": "1", "group": "A"})
    await processor.receive(incident("Update", changed={"priority": "1"}))
    key = next(row.id for row in await processor.store.read_rows("outbox", stream=STREAM) if row.id.startswith("upd:"))
    await processor.tell(EffectSucceeded(EffectKey(key), {"number": "INC1"}, view={"priority": "P1"}, stamp=2))

    seen = record({"priority": ("P1", "1"), "group": ("B", "Voice")}, stamp=3)
    assert await processor.take(seen) == [Fate.APPENDED]

    events = await processor.store.read_stream(STREAM)
    [command] = [decode_event(event.kind, event.payload) for event in events if event.kind == "CommandAccepted"]
    assert command.fields == {"group": "Voice"}  # type: ignore[union-attr]


async def test_a_record_is_left_alone_while_a_call_of_ours_to_it_is_under_way_or_unknown() -> None:
    processor = Processor()
    await processor.open()
    processor.at_work = {STREAM}
    assert await processor.take(record({"priority": ("P1", "1")}), note("hello", "jrn:1")) == [
        Fate.DEFERRED,
        Fate.APPENDED,
    ]
    processor.at_work = set()
    await processor.receive(incident("Update", changed={"priority": "2"}))
    key = next(row.id for row in await processor.store.read_rows("outbox", stream=STREAM) if row.id.startswith("upd:"))
    await processor.tell(EffectStarted(EffectKey(key)))
    assert await processor.take(record({"priority": ("P1", "1")})) == [Fate.DEFERRED]

    await processor.tell(EffectSucceeded(EffectKey(key), {"number": "INC1"}, view={"priority": "P2"}, stamp=2))
    assert await processor.take(record({"priority": ("P1", "1")}, stamp=3)) == [Fate.APPENDED]
    assert await processor.keys() == ["ec-note:e-CS1:jrn:1", "ec-upd:e-CS1:rec:7f:2"]


async def test_what_is_about_no_ticket_of_ensono_s_is_not_kept() -> None:
    processor = Processor()
    await processor.open()
    head = (await processor.store.head()).position

    assert await processor.take(record({}, number="INC9"), note("x", "jrn:9", number="")) == [Fate.IGNORED] * 2
    assert (await processor.store.head()).position == head


async def test_all_of_a_page_is_one_transaction_and_a_full_outbox_takes_none_of_it() -> None:
    processor = Processor()
    await processor.open()
    before = processor.batches
    events = [note(f"text {index}", f"jrn:{index}") for index in range(50)]
    processor.has_room = False
    assert set(await processor.take(*events)) == {Fate.BUSY}
    processor.has_room = True
    assert set(await processor.take(*events, *events)) <= {Fate.APPENDED, Fate.DUPLICATE}

    assert processor.batches == before + 1
    assert len(await processor.keys()) == 50


async def test_what_ensono_would_refuse_is_said_on_the_ticket_and_not_asked() -> None:
    processor = Processor()
    await processor.open()
    await processor.take(record({"status": ("7", "closed")}, stamp=2))
    await processor.take(record({"status": ("1", "open")}, "rec:7f:3", stamp=3))

    assert await processor.keys() == ["ec-resolve:e-CS1:1", "ec-close:e-CS1:1"]
    assert await processor.anomalies() == ["incomplete"]


async def test_two_records_of_one_page_are_compared_with_each_other() -> None:
    processor = Processor()
    await processor.open()
    first, second = record({"priority": ("P1", "1")}), record({"priority": ("P4", "4")}, "rec:7f:3", stamp=3)

    assert await processor.take(first, second) == [Fate.APPENDED] * 2
    assert await processor.keys() == ["ec-upd:e-CS1:rec:7f:2", "ec-upd:e-CS1:rec:7f:3"]


async def test_a_late_answer_to_a_create_links_the_client_ticket_and_ends_the_create() -> None:
    processor = Processor()
    await processor.receive(incident("Create", status="open"))
    told = ExternalReceived("itsm", ExternalKind.CREATED, "msg_1", number="INC7", key="create:e-CS1:g1")
    unknown = ExternalReceived("itsm", ExternalKind.CREATED, "msg_2", number="INC8", key="create:e-CS2:g1")

    assert await processor.take(told, unknown) == [Fate.APPENDED, Fate.IGNORED]
    rows = {row.id: row for row in await processor.store.read_rows("outbox", stream=STREAM)}
    assert list(rows) == ["create:e-CS1:g1", "returnptn:e-CS1:INC7"]
    assert rows["create:e-CS1:g1"].tag is None, "it came to a good end"


@pytest.mark.requirement("R97")
async def test_a_second_record_of_one_create_is_told_with_both_numbers_and_changes_nothing() -> None:
    processor = Processor()
    await processor.open()
    late = record({"priority": ("P1", "1")}, "rec:8a:0", number="INC2", reference="8a", key="create:e-CS1:g1")
    again = msgspec.structs.replace(late, id="rec:8a:1", stamp=3)

    assert await processor.take(late) == [Fate.APPENDED]
    assert await processor.take(again) == [Fate.APPENDED]
    assert await processor.anomalies() == ["double_create"]
    assert await processor.keys() == []
    own = record({"priority": ("P1", "1")}, key="create:e-CS1:g1")
    assert await processor.take(own) == [Fate.APPENDED]
    assert await processor.keys() == ["ec-upd:e-CS1:rec:7f:2"]


@pytest.mark.requirement("R97")
async def test_a_record_whose_create_is_not_settled_is_left_for_later() -> None:
    processor = Processor()
    await processor.receive(incident("Create", status="open"))
    seen = record({}, key="create:e-CS1:g1")
    strange = record({}, "rec:9:1", number="INC9", key="create:e-CS9:g1")

    assert await processor.take(seen, strange) == [Fate.IGNORED] * 2, "nobody has tried it"
    await processor.tell(EffectStarted(EffectKey("create:e-CS1:g1")))
    assert await processor.take(seen) == [Fate.DEFERRED]
    created = EffectSucceeded(EffectKey("create:e-CS1:g1"), {"number": "INC1", "state": "open"}, stamp=1)
    await processor.tell(created)
    assert await processor.take(seen) == [Fate.APPENDED]
    assert await processor.anomalies() == []


async def test_a_replay_gives_what_is_live_and_reads_no_rules() -> None:
    processor = Processor(rules=DeskRules(ensono_groups=("Ensono*",), group="Inside"))
    await processor.open(view={"group": "Ensono L1", "status": "1"})
    await processor.take(record({"group": ("Printers", "Printers"), "status": ("2", "workinprogress")}))
    await processor.take(note("from inside", "jrn:1"), record({"status": ("6", "resolved")}, "rec:7f:4", stamp=4))

    rows, _ = fold_events(STREAM, await processor.store.read_stream(STREAM), MACHINES.of(STREAM))
    live: Sequence[Any] = [
        row for table in TABLES.names for row in await processor.store.read_rows(table, stream=STREAM)
    ]
    assert sorted(rows, key=repr) == sorted(live, key=repr)
    assert await processor.keys() == ["ec-int:e-CS1:rec:7f:2", "ec-note:e-CS1:jrn:1", "ec-resolve:e-CS1:1"]


async def test_remarks_of_a_news_stand_on_the_ticket() -> None:
    processor = Processor()
    await processor.open()
    await processor.take(record({}, remarks=(Remark("incomplete", "attachment x: too large"),)))

    assert await processor.anomalies() == ["incomplete"]


async def test_what_cannot_be_read_is_kept_once_and_waits_in_quarantine() -> None:
    processor = Processor()
    odd = ExternalReceived("itsm", ExternalKind.UNDECODABLE, "msg_1", body='{"type":"nobody.knows"}')

    assert await processor.take(odd) == [Fate.APPENDED]
    assert await processor.take(odd) == [Fate.DUPLICATE]
    [waiting] = [each async for each in list_quarantined(processor.store, reveal=True)]
    assert (waiting.stream, waiting.reason) == ("$external", "bad_payload")
    assert b"nobody.knows" in bytes(waiting.body)
    shown = await read_quarantined(processor.store, str(waiting.position), machines=MACHINES, reveal=True)
    assert shown is not None
    assert not shown.now.taken
