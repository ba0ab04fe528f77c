"""A key that is planned anew while an attempt of it is under way: whichever the log has first, the new plan stands."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Any

import anyio
import msgspec
import pytest

from ecproc.domain.attempt import Attempt, Blamed, Done, Held, Odd, Postponed, Uncertain
from ecproc.domain.deltas import Attachment
from ecproc.domain.effects import Effect, EffectKind, Repeat
from ecproc.domain.entry import Entry, EntryState
from ecproc.domain.events import Decided, EffectFailed, EffectSucceeded, Place
from ecproc.domain.ids import TicketNumber, attachment_key
from ecproc.domain.log import Batch, NewEvent, RecordedEvent
from ecproc.domain.state import TicketState
from ecproc.fold.machine import evolve_fact, write_down
from ecproc.fold.recorded import decode_entry, encode_event
from ecproc.fold.rows import entry_row
from ecproc.fold.tickets import TicketMachine
from ecproc.fold.whole import fold_events
from ecproc.outbox.dispatcher import Dispatcher
from ecproc.outbox.retry import RetryPolicy
from ecproc.outbox.schedule import OutboxBounds
from ecproc.telemetry.hooks import Telemetry
from ecproc.testing.ticket import file, incident
from ecproc.wire.queue import decode_message
from tests.simulation.clock import VirtualClock
from tests.simulation.peers import SimulatedDisk
from tests.simulation.simloop import simulate

MACHINE = TicketMachine()
TICKET = TicketNumber("e-CS1")
KEY = attachment_key(TICKET, "f1")
STORED = {"sha256": "ab", "size": "3", "path": "attachments/ab/ab"}
ENDS: Sequence[Attempt] = (
    Blamed("404", final=True),
    Blamed("expired", lost=True),
    Blamed("404"),
    Held("503"),
    Odd("Perhaps"),
    Postponed("no such host here"),
    Uncertain("no answer"),
    Done(STORED),
)


class FileHost:
    """Answers each plan of the file as the test says, the last one with the file."""

    name = "attachments"
    kinds = (EffectKind.DOWNLOAD,)

    def __init__(self, scene: Scene) -> None:
        self._scene = scene

    def repeat_of(self, kind: EffectKind) -> Repeat:
        return Repeat.IDEMPOTENT

    def ends_after(self, kind: EffectKind) -> float:
        return 0.0

    async def perform(self, stream: str, entry: Entry) -> Attempt:
        scene = self._scene
        scene.performed.append(entry.effect.position)
        await anyio.sleep(scene.seconds * scene.rng.random())
        return Done(STORED) if entry.effect.position == scene.last else scene.rng.choice(scene.ends)


class Scene:
    """A file that is announced again and again while it is fetched; `errors` says where rows are not a replay's."""

    def __init__(
        self, seed: int, *, ends: Sequence[Attempt] = ENDS, seconds: float = 1.0, arguments_bytes: int = 1 << 20
    ) -> None:
        self.rng = Random(seed)
        self.ends = ends
        self.seconds = seconds
        self.bounds = OutboxBounds(
            max_in_flight=3,
            max_pending=100,
            breaker_seconds=1.0,
            attempt_seconds=100.0,
            arguments_bytes=arguments_bytes,
        )
        self.clock = VirtualClock()
        self.disk = SimulatedDisk(self.clock.now, rng=self.rng, slow=0.3)
        self.disk.on_commit = self._compare
        self.performed: list[int] = []
        self.errors: list[str] = []
        self.last = self.sent = self.order = self.known = 0
        self.dispatcher = self.open_dispatcher()

    def open_dispatcher(self) -> Dispatcher:
        return Dispatcher(
            self.disk,
            [FileHost(self)],
            take_in=self._take_in,
            wake=self._hear,
            policy=RetryPolicy(max_attempts=12, unknown_retry=(1.0, 2.0), longest=3600.0),
            bounds=self.bounds,
            clock=self.clock,
            rng=self.rng,
            telemetry=Telemetry(),
        )

    async def _take_in(self, events: Sequence[NewEvent]) -> dict[str, object]:
        """As where every ticket is busy."""
        return {}

    def _hear(self, events: Sequence[RecordedEvent], wake: bool) -> None:
        self.known = max(self.known, *(event.version for event in events))

    async def announce(self, *, last: bool) -> None:
        """Do what an actor does with a message that announces the file: append, decide, and tell of the plan."""
        self.sent += 1
        body = incident("Attachment", **file("f1"))
        message = decode_message(msgspec.json.encode({"MessageId": f"m{self.sent}", **body}))
        appended = NewEvent(TICKET, "MessageReceived", message.payload, message_key=message.key, wanted=True)
        committed = await self.disk.commit(Batch(events=[appended]))
        (event,) = [event for event in committed.events if event is not None]
        if last:
            self.last = event.position
        await anyio.sleep(self.rng.random())
        entry = self._plan(event)
        through = max(event.version, self.known if self.rng.random() < 0.5 else 0)
        decided = NewEvent(TICKET, *encode_event(Decided(through, (entry.effect,))))
        await self.disk.commit(Batch(events=[decided], rows=[entry_row(TICKET, entry)]))
        self.dispatcher.add(TICKET, [entry])

    def _plan(self, event: RecordedEvent) -> Entry:
        self.order += 1
        effect = Effect(
            key=KEY,
            kind=EffectKind.DOWNLOAD,
            generation=1,
            position=event.position,
            at=event.at,
            ticket=TICKET,
            ticket_type="Incident",
            fields={"attachment": "f1"},
            rearm=self.order > 1,
        )
        return Entry(effect, self.order)

    def _compare(self, committed: list[RecordedEvent]) -> None:
        """Compare live entries with those of a replay, right after each commit."""
        events = self.disk._state.events
        replayed = [row for row in fold_events(TICKET, events, MACHINE)[0] if row.table == "outbox"]
        live = self.disk._listed("outbox")
        if live != replayed:
            self.errors.append(f"at {events[-1].position}: {live} is not {replayed}")

    async def entry(self) -> Entry:
        (row,) = await self.disk.read_rows("outbox", stream=TICKET, id=KEY)
        return decode_entry(row.data or b"")

    async def file_status(self) -> Any:
        rows, _ = fold_events(TICKET, await self.disk.read_stream(TICKET), MACHINE, undecided=True)
        (row,) = [row for row in rows if row.table == "attachment"]
        return msgspec.json.decode(row.data or b"")["status"]


async def play(scene: Scene, *, announcements: int) -> None:
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(scene.dispatcher.run)
        for count in range(announcements):
            await scene.announce(last=count == announcements - 1)
            await anyio.sleep(scene.rng.random())
        await scene.dispatcher.wait_idle()
        tasks.cancel_scope.cancel()


@pytest.fixture(params=[1 << 20, 0], ids=["fields in memory", "fields in the store"])
def arguments_bytes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """Bytes of effects' fields that are kept in memory, where the smallest count too."""
    monkeypatch.setattr("ecproc.outbox.schedule._LARGE_BYTES", 1)
    return int(request.param)


@pytest.mark.requirement("I5", "R138")
@pytest.mark.parametrize("seed", range(60))
def test_the_last_announcement_of_a_file_is_fetched_whatever_became_of_the_others(
    seed: int, arguments_bytes: int
) -> None:
    async def main() -> Scene:
        scene = Scene(seed, arguments_bytes=arguments_bytes)
        await play(scene, announcements=scene.rng.choice((2, 3, 6)))
        assert (await scene.entry()).state is EntryState.COMPLETED
        assert (await scene.entry()).effect.position == scene.last == scene.performed[-1]
        assert await scene.file_status() == "stored"
        return scene

    assert simulate(main, seed=seed).errors == []


@pytest.mark.requirement("I5", "I4")
@pytest.mark.parametrize("seed", range(30))
def test_a_restart_in_between_loses_no_plan(seed: int, arguments_bytes: int) -> None:
    async def main() -> Scene:
        scene = Scene(seed, arguments_bytes=arguments_bytes)
        with anyio.move_on_after(scene.rng.uniform(0.5, 4)):
            await play(scene, announcements=4)
        scene.dispatcher = scene.open_dispatcher()
        await scene.dispatcher.recover()
        await play(scene, announcements=scene.rng.choice((1, 2)))
        assert (await scene.entry()).state is EntryState.COMPLETED
        assert (await scene.entry()).effect.position == scene.last == scene.performed[-1]
        return scene

    assert simulate(main, seed=seed).errors == []


@pytest.mark.parametrize("end", ENDS, ids=lambda end: type(end).__name__)
@pytest.mark.parametrize("known", [True, False], ids=["plan known first", "plan durable first"])
def test_an_attempt_at_the_old_address_leaves_the_new_plan_due_at_once(end: Attempt, known: bool) -> None:
    async def main() -> None:
        scene = Scene(0, ends=[end], seconds=0.0)
        scene.disk.slow = 0.0
        await scene.announce(last=False)
        old = await scene.entry()
        await scene.announce(last=True)
        if not known:
            scene.dispatcher = scene.open_dispatcher()
            scene.dispatcher.add(TICKET, [old])  # what is durable is heard of a moment later

        new = await scene.entry()
        dispatcher = scene.dispatcher
        outcome = dispatcher._conclude(TICKET, old, end)
        await dispatcher._settling.settle(TICKET, old, outcome)

        assert await scene.entry() == new
        assert (new.effect.position, new.next_attempt_at) == (scene.last, None)
        if known and not isinstance(end, Done):
            assert isinstance(outcome, EffectFailed)
            assert (outcome.blamed, outcome.next_attempt_at) == (False, dispatcher._now())
        assert scene.errors == []

    simulate(main, seed=0)


# --- the file itself --------------------------------------------------------------------------------------------------


def planned_for(position: int) -> Effect:
    return Effect(
        KEY, EffectKind.DOWNLOAD, 1, position, 1, TICKET, "Incident", fields={"attachment": "f1"}, rearm=position > 1
    )


@pytest.mark.requirement("I5")
@pytest.mark.parametrize(
    ("outcome", "status"),
    [
        (EffectSucceeded(KEY, STORED, cause=1), "stored"),
        (EffectFailed(KEY, "expired", blamed=True, cause=1), "pending"),
        (EffectFailed(KEY, "expired", blamed=True, cause=5), "failed"),
        (EffectFailed(KEY, "expired", blamed=True), "failed"),
        (EffectFailed(KEY, "503", blamed=False, next_attempt_at=9, cause=5), "pending"),
    ],
)
@pytest.mark.parametrize("planned_first", [True, False])
def test_only_its_last_announcement_can_fail_a_file_and_any_can_give_it(
    outcome: EffectFailed | EffectSucceeded, status: str, planned_first: bool
) -> None:
    """The outcome may be read before or after the decision that planned it anew: steps are grouped as it happens."""
    announced = Attachment("f1", "a.txt", "text/plain", 3, "pending", 1, announced=5)
    state = TicketState(TICKET, ticket=TICKET, opened=True, attachments={"f1": announced})
    write_down(state, Decided(1, (planned_for(1),)))
    if planned_first:
        write_down(state, Decided(5, (planned_for(5),)))

    evolve_fact(MACHINE, state, outcome, Place(6, 6, 6))

    if not planned_first:
        write_down(state, Decided(6, (planned_for(5),)))
    assert state.attachments["f1"].status == status
    assert state.plans.entries[KEY].finished == (planned_first and outcome.cause in (0, 5) and status == "failed")


def test_what_was_had_stays_had() -> None:
    state = TicketState(TICKET, ticket=TICKET, opened=True)
    state.attachments["f1"] = Attachment("f1", "a.txt", "text/plain", 3, "stored", 1, sha256="ab", announced=5)
    write_down(state, Decided(5, (planned_for(5),)))

    evolve_fact(MACHINE, state, EffectFailed(KEY, "expired", blamed=True, cause=5), Place(6, 6, 6))

    assert state.attachments["f1"].status == "stored"
