"""The dispatcher: intent first, outcome and row together, order per ticket and lane, bounds, nobody waits in vain."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

import anyio
import msgspec
import pytest
from structlog.testing import capture_logs

from ecproc.desk.base import DeskAnswer, DeskCall
from ecproc.domain.attempt import Attempt, Blamed, Deferred, Done, Held, Odd, Postponed, Uncertain
from ecproc.domain.effects import LANES, Effect, EffectKind, Lane, Repeat
from ecproc.domain.entry import Entry, EntryState
from ecproc.domain.events import PAUSED_TICKET, Act, EffectUnknown, OperatorActed
from ecproc.domain.ids import EffectKey, TicketNumber
from ecproc.domain.log import Batch, NewEvent, RecordedEvent, Row
from ecproc.errors import RowDamaged, StoreUnavailable
from ecproc.fold.recorded import Kind, decode_entry, decode_event
from ecproc.fold.rows import entry_row
from ecproc.fold.tables import TABLES
from ecproc.outbox.dispatcher import Dispatcher
from ecproc.outbox.perform.desk import DeskPerformer
from ecproc.outbox.retry import RetryPolicy
from ecproc.outbox.schedule import OutboxBounds
from ecproc.store.base import Committed
from ecproc.store.memory import MemoryStore
from ecproc.telemetry.hooks import Read, Reading, Telemetry
from tests.simulation.clock import VirtualClock
from tests.simulation.simloop import simulated_backend

K = EffectKind
S = EntryState
SECOND = 1_000_000


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return simulated_backend()


class Destination:
    """A performer that answers an entry as the test wrote it down for its key, else with success; takes `seconds`."""

    def __init__(self, bench: Bench, lane: Lane) -> None:
        self.name = lane.value
        self.kinds = [kind for kind in EffectKind if LANES[kind] is lane]
        self.repeat = Repeat.KEYED if lane is Lane.DESK else Repeat.IDEMPOTENT
        self.seconds = 1.0
        self.script: dict[str, list[Attempt | Deferred | BaseException]] = {}
        self.always: Attempt | Deferred | None = None
        self.at_work = 0
        self.most_at_work = 0
        self._bench = bench

    def repeat_of(self, kind: EffectKind) -> Repeat:
        return self.repeat

    def ends_after(self, kind: EffectKind) -> float:
        return 0.0

    async def perform(self, stream: str, entry: Entry) -> Attempt | Deferred:
        self._bench.performed.append((entry.effect.key, anyio.current_time()))
        self.at_work += 1
        self.most_at_work = max(self.most_at_work, self.at_work)
        try:
            await anyio.sleep(self.seconds)
        finally:
            self.at_work -= 1
        lines = self.script.get(entry.effect.key)
        outcome = lines.pop(0) if lines else self.always or Done({"number": "L-1"})
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome


class Heard(Telemetry):
    """Keeps what the dispatcher reports."""

    def __init__(self) -> None:
        self.states: list[tuple[str | None, str | None]] = []
        self.outcomes: list[str] = []
        self.breakers: list[tuple[str, bool]] = []
        self.reads: dict[Reading, Read] = {}

    def watch(self, reading: Reading, read: Read) -> None:
        self.reads[reading] = read

    def read_ages(self) -> Mapping[str, float]:
        """How long each lane's oldest due entry has been due."""
        found = self.reads[Reading.OLDEST_DUE]()
        assert isinstance(found, Mapping)
        return found

    def outbox_changed(self, lane: str, before: str | None, after: str | None) -> None:
        self.states.append((before, after))

    def effect_finished(self, kind: str, outcome: str, seconds: float, *, position: int, reason: str = "") -> None:
        self.outcomes.append(outcome)

    def breaker(self, destination: str, *, is_open: bool) -> None:
        self.breakers.append((destination, is_open))


class Bench:
    """A dispatcher over a store in memory, with one destination per lane."""

    def __init__(
        self,
        *,
        in_flight: int = 30,
        pending: int = 1000,
        attempts: int = 12,
        attempt_seconds: float = 10_000.0,
        arguments_bytes: int = 1 << 20,
        slots: Mapping[Lane, int] = {},
    ) -> None:
        self.clock = VirtualClock()
        self.store = MemoryStore(self.clock.now, TABLES)
        self.performed: list[tuple[str, float]] = []
        self.woken: list[tuple[str, bool]] = []
        self.order = 0
        self._policy = RetryPolicy(max_attempts=attempts, unknown_retry=(60.0, 120.0), longest=3600.0)
        self._bounds = OutboxBounds(
            max_in_flight=in_flight,
            max_pending=pending,
            breaker_seconds=30.0,
            attempt_seconds=attempt_seconds,
            arguments_bytes=arguments_bytes,
            slots=slots,
        )
        self.lanes: dict[str, Any] = {lane: Destination(self, lane) for lane in Lane}
        self.desk, self.bridge, self.attachments = (self.lanes[lane] for lane in Lane)
        self.open_dispatcher()

    def open_dispatcher(self) -> None:
        """A dispatcher that knows nothing yet, as after a restart."""
        self.heard = Heard()
        self.dispatcher = Dispatcher(
            self.store,
            list(self.lanes.values()),
            take_in=self._take_in,
            wake=self._wake,
            policy=self._policy,
            bounds=self._bounds,
            clock=self.clock,
            rng=Random(5),
            telemetry=self.heard,
        )

    async def _take_in(self, events: Sequence[NewEvent]) -> dict[str, object]:
        """As where every ticket is busy."""
        return {}

    def _wake(self, events: Sequence[RecordedEvent], wake: bool) -> None:
        self.woken += [(event.kind, wake) for event in events]

    def make(self, ticket: str, kind: EffectKind, key: str, **members: Any) -> Entry:
        self.order += 1
        members = {"generation": 1, "position": 1, "at": self.clock.now(), "ticket_type": "Incident", **members}
        effect = Effect(key=EffectKey(key), kind=kind, ticket=TicketNumber(ticket), **members)
        return Entry(effect, self.order)

    async def keep(self, ticket: str, *entries: Entry) -> None:
        await self.store.commit(Batch(rows=[entry_row(ticket, entry) for entry in entries]))

    async def plan(self, ticket: str, *planned: tuple[EffectKind, str], **members: Any) -> None:
        """Plan effects as an actor does: their rows are durable, then the dispatcher hears of them."""
        entries = [self.make(ticket, kind, key, **members) for kind, key in planned]
        await self.keep(ticket, *entries)
        self.dispatcher.add(ticket, entries)

    async def run(self, seconds: float | None = None, *, work: Callable[[], Any] | None = None) -> None:
        """Run until nothing is pending, or for so long."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self.dispatcher.run)
            if work is not None:
                await work()
            if seconds is None:
                await self.dispatcher.wait_idle()
            else:
                await anyio.sleep(seconds)
            tasks.cancel_scope.cancel()

    async def events(self, ticket: str) -> list[str]:
        """The kinds of a ticket's events, without the word Effect."""
        return [event.kind.removeprefix("Effect") for event in await self.store.read_stream(ticket)]

    async def entry(self, ticket: str, key: str) -> Entry:
        (row,) = await self.store.read_rows("outbox", stream=ticket, id=key)
        return decode_entry(row.data or b"")

    def order_of(self, *keys: str) -> list[str]:
        return [key for key, _ in self.performed if not keys or key in keys]

    def times_of(self, key: str) -> list[float]:
        return [at for done, at in self.performed if done == key]


# --- intent and outcome -----------------------------------------------------------------------------------------------


@pytest.mark.requirement("I7")
async def test_what_is_to_be_told_is_left_in_the_store_where_it_is_too_much() -> None:
    bench = Bench(arguments_bytes=10_000)
    told: list[Mapping[str, str]] = []
    texts = [{"description": str(number) * 4_000} for number in range(5)]

    class Telling(Destination):
        async def perform(self, stream: str, entry: Entry) -> Attempt | Deferred:
            told.append(entry.effect.fields)
            return await super().perform(stream, entry)

    bench.lanes[Lane.DESK] = Telling(bench, Lane.DESK)
    bench.lanes[Lane.DESK].script["3"] = [Held("down for now"), Uncertain("lost")]
    bench.open_dispatcher()
    for number, fields in enumerate(texts):
        await bench.plan(f"e-{number}", (EffectKind.UPDATE, str(number)), fields=fields)

    await bench.run()

    assert sorted(text["description"][0] for text in told) == ["0", "1", "2", "3", "3", "3", "4"]
    for number in range(len(texts)):
        entry = await bench.entry(f"e-{number}", str(number))
        assert (entry.state, entry.effect.fields) == (EntryState.COMPLETED, {})


async def test_an_effect_whose_row_is_not_as_it_was_written_waits_and_is_not_sent() -> None:
    bench = Bench(arguments_bytes=0)
    await bench.plan("e-1", (EffectKind.UPDATE, "k"), fields={"description": "x" * 4_000})
    read_rows = bench.store.read_rows

    async def refuse(*_: Any, **__: Any) -> list[Row]:
        raise RowDamaged("outbox", "e-1", "k")

    bench.store.read_rows = refuse  # type: ignore[method-assign]
    await bench.run(200)
    assert bench.performed == []

    bench.store.read_rows = read_rows  # type: ignore[method-assign]
    await bench.run()
    assert bench.order_of() == ["k"]
    assert (await bench.entry("e-1", "k")).state is EntryState.COMPLETED


@pytest.mark.requirement("I4")
@pytest.mark.parametrize("kind", EffectKind)
@pytest.mark.parametrize("repeat", Repeat)
async def test_an_intent_is_durable_before_the_first_byte_unless_a_repeat_is_harmless(
    kind: EffectKind, repeat: Repeat
) -> None:
    bench = Bench()
    await bench.plan("e-1", (kind, "k"))
    seen: list[list[str]] = []

    class Looking(Destination):
        async def perform(self, stream: str, entry: Entry) -> Attempt:
            seen.append(await bench.events("e-1"))
            seen.append([(await bench.entry("e-1", "k")).state])
            return Done()

    bench.lanes[LANES[kind]] = Looking(bench, LANES[kind])
    bench.lanes[LANES[kind]].repeat = repeat
    bench.open_dispatcher()
    await bench.dispatcher.recover()
    await bench.run()

    harmless = repeat in {Repeat.IDEMPOTENT, Repeat.KEYED}
    assert seen == ([[], [S.AVAILABLE]] if harmless else [["Started"], [S.EXECUTING]])
    assert await bench.events("e-1") == (["Succeeded"] if harmless else ["Started", "Succeeded"])
    assert bench.woken[-1] == ("EffectSucceeded", True)


@pytest.mark.requirement("I4")
async def test_an_outcome_and_its_row_are_one_commit() -> None:
    bench = Bench()
    commit, batches = bench.store.commit, []

    async def watch(batch: Batch) -> Any:
        batches.append(batch)
        return await commit(batch)

    bench.desk.repeat = Repeat.LOOK_UP
    await bench.plan("e-1", (K.CREATE, "k"))
    bench.store.commit = watch  # type: ignore[method-assign]
    await bench.run()

    assert [[event.kind for event in batch.events] for batch in batches] == [["EffectStarted"], ["EffectSucceeded"]]
    states = [decode_entry(row.data or b"").state for batch in batches for row in batch.rows]
    assert states == [S.EXECUTING, S.COMPLETED]
    assert [event.wanted for batch in batches for event in batch.events] == [False, True]


@pytest.mark.parametrize(
    ("attempt", "kinds", "state", "word"),
    [
        (Uncertain("?"), ["Unknown"], S.UNKNOWN, "unknown"),
        (Held("503"), ["Failed"], S.RETRYABLE, "held"),
        (Odd("Perhaps"), ["Failed"], S.RETRYABLE, "held"),
        (Postponed("not so"), ["Failed"], S.RETRYABLE, "held"),
        (Blamed("no"), ["Failed"], S.RETRYABLE, "retryable"),
        (Blamed("no", final=True), ["Failed"], S.PARKED, "parked"),
        (Blamed("no", lost=True), ["Failed"], S.DISCARDED, "discarded"),
        (Done({"number": "L"}), ["Succeeded"], S.COMPLETED, "succeeded"),
    ],
)
async def test_every_ended_attempt_is_an_event_that_says_what_is_next(
    attempt: Attempt, kinds: list[str], state: EntryState, word: str
) -> None:
    bench = Bench()
    bench.desk.script["k"] = [attempt]
    await bench.plan("e-1", (K.UPDATE, "k"))

    await bench.run(1.1)

    entry = await bench.entry("e-1", "k")
    assert await bench.events("e-1") == kinds
    assert entry.state is state
    assert (entry.next_attempt_at is not None) == (not entry.finished)
    assert bench.heard.outcomes == [word]
    assert bench.woken[-1][1] == (entry.finished or isinstance(attempt, Odd))


@pytest.mark.parametrize("kind", [K.CREATE, K.UPDATE, K.RETURN_NUMBER, K.DOWNLOAD])
async def test_what_is_out_of_attempts_is_parked_and_what_is_lost_is_discarded(kind: EffectKind) -> None:
    bench = Bench(attempts=3)
    bench.lanes[LANES[kind]].script = {"refused": [Blamed("no")] * 3, "lost": [Held("503"), Blamed("no", lost=True)]}
    await bench.plan("e-1", (kind, "refused"))
    await bench.plan("e-2", (kind, "lost"))

    await bench.run()

    parked, discarded = await bench.entry("e-1", "refused"), await bench.entry("e-2", "lost")
    assert (parked.state, parked.attempts, parked.blamed, parked.tries) == (S.PARKED, 3, 3, 3)
    assert (discarded.state, discarded.attempts, discarded.tries) == (S.DISCARDED, 1, 2)


@pytest.mark.requirement("R101")
async def test_an_answer_in_words_nobody_knows_is_asked_for_again_hourly_and_holds_nobody_else() -> None:
    bench = Bench()
    bench.desk.script["odd"] = [Odd("Perhaps")] * 7
    await bench.plan("e-1", (K.UPDATE, "odd"), (K.UPDATE, "behind"))
    await bench.plan("e-2", *((K.UPDATE, f"other{count}") for count in range(20)))

    await bench.run()

    times = bench.times_of("odd")
    assert [round(later - earlier) for earlier, later in pairwise(times)] == [3601] * 7
    assert bench.heard.breakers == []
    assert bench.times_of("other19") == [19]
    entry = await bench.entry("e-1", "odd")
    assert (entry.state, entry.blamed, entry.attempts, entry.tries) == (S.COMPLETED, 0, 1, 8)


async def test_what_our_configuration_refuses_holds_only_itself() -> None:
    bench = Bench()
    for count in range(12):
        bench.attachments.script[f"refused{count}"] = [Postponed("no such host here", 1800.0)]
        await bench.plan(f"e-{count}", (K.DOWNLOAD, f"refused{count}"))
    await bench.plan("e-99", (K.DOWNLOAD, "fine"))

    await bench.run()

    assert bench.heard.breakers == []
    assert bench.times_of("fine") == [1]
    assert bench.times_of("refused0") == [0, 1801]


# --- restarts ---------------------------------------------------------------------------------------------------------


@pytest.mark.requirement("I4")
@pytest.mark.parametrize(
    ("repeat", "soonest", "latest"),
    [(Repeat.IDEMPOTENT, 0, 0), (Repeat.KEYED, 0, 0), (Repeat.LOOK_UP, 60, 120), (Repeat.BLIND, 60, 120)],
)
async def test_what_was_started_and_never_settled_is_unknown_on_start(
    repeat: Repeat, soonest: float, latest: float
) -> None:
    bench = Bench()
    entry = bench.make("e-1", K.CREATE, "k")
    await bench.keep("e-1", msgspec.structs.replace(entry, state=S.EXECUTING))
    bench.desk.repeat = repeat

    await bench.dispatcher.recover()
    assert await bench.events("e-1") == ["Unknown"]
    assert (await bench.entry("e-1", "k")).state is S.UNKNOWN
    await bench.run()

    assert soonest <= bench.times_of("k")[0] <= latest
    assert (await bench.entry("e-1", "k")).state is S.COMPLETED


async def test_a_restart_takes_up_what_is_not_finished_in_its_order() -> None:
    bench = Bench()
    entries = [bench.make("e-1", kind, key) for kind, key in ((K.CREATE, "a"), (K.UPDATE, "b"), (K.CLOSE, "c"))]
    await bench.keep("e-1", msgspec.structs.replace(entries[0], state=S.COMPLETED), *entries[1:])

    await bench.dispatcher.recover()
    await bench.run()

    assert bench.order_of() == ["b", "c"]


async def test_a_restart_keeps_waiting_for_what_has_its_time_and_not_longer_than_a_retry_may_take() -> None:
    bench = Bench()
    later = bench.clock.now() + 500 * SECOND
    wrong = bench.clock.now() + 10**9 * SECOND  # written while the clock was wrong
    for ticket, at in (("e-1", later), ("e-2", wrong)):
        entry = msgspec.structs.replace(bench.make(ticket, K.UPDATE, ticket), state=S.UNKNOWN, next_attempt_at=at)
        await bench.keep(ticket, entry)

    await bench.dispatcher.recover()
    await bench.run()

    assert bench.times_of("e-1") == pytest.approx([500])
    assert bench.times_of("e-2") == pytest.approx([3600])


async def test_a_restart_tries_at_once_what_the_configuration_held_and_nothing_else() -> None:
    bench = Bench()
    bench.attachments.script["refused"] = [Postponed("no such host here")]
    bench.desk.script["odd"] = [Odd("Perhaps")]
    bench.bridge.script["held"] = [Held("429", retry_after=200.0)]
    await bench.plan("e-1", (K.DOWNLOAD, "refused"), (K.UPDATE, "odd"), (K.RETURN_NUMBER, "held"))
    await bench.run(100)

    bench.open_dispatcher()
    await bench.dispatcher.recover()
    await bench.run()

    assert bench.times_of("refused") == [0, 100]
    assert bench.times_of("odd") == [0, 3601]
    assert bench.times_of("held") == [0, 201]


async def test_a_restart_holds_what_stands_behind_a_dead_create() -> None:
    bench = Bench()
    parked = msgspec.structs.replace(bench.make("e-1", K.CREATE, "g1"), state=S.PARKED)
    await bench.keep("e-1", parked, bench.make("e-1", K.CLOSE, "close"))
    await bench.keep("e-1", bench.make("e-1", K.CREATE, "g2", generation=2))

    await bench.dispatcher.recover()
    await bench.run(100)

    assert bench.order_of() == ["g2"]
    assert not bench.dispatcher.idle


# --- order ------------------------------------------------------------------------------------------------------------


@pytest.mark.requirement("I3")
async def test_a_tickets_entries_of_one_lane_end_in_planned_order_whatever_happens_to_them() -> None:
    bench = Bench()
    bench.desk.script = {
        "create:g1": [Uncertain("?"), Held("503"), Blamed("no"), Done({"number": "L-1"})],
        "update": [Blamed("never", final=True)],
        "cancel:g1": [Held("503")],
    }
    first = [(K.CREATE, "create:g1"), (K.UPDATE, "update"), (K.CANCEL, "cancel:g1")]
    await bench.plan("e-1", *first)
    await bench.plan("e-1", (K.CREATE, "create:g2"), generation=2)

    await bench.run()

    assert bench.order_of() == ["create:g1"] * 4 + ["update", "cancel:g1", "cancel:g1", "create:g2"]


@pytest.mark.requirement("I8")
async def test_lanes_and_tickets_do_not_wait_for_each_other() -> None:
    bench = Bench()
    bench.attachments.seconds = 5_000.0
    bench.desk.script["stuck"] = [Uncertain("?")] * 50
    await bench.plan("e-1", *((K.DOWNLOAD, f"file{count}") for count in range(3)))
    await bench.plan("e-1", (K.CREATE, "stuck"), (K.UPDATE, "behind"), (K.RETURN_NUMBER, "number"))
    await bench.plan("e-2", (K.CREATE, "other"), (K.UPDATE, "next"))

    await bench.run(10)

    assert bench.times_of("number") == [0]
    assert bench.times_of("other") == [0]
    assert bench.times_of("next") == [1]
    assert bench.times_of("behind") == []


@pytest.mark.requirement("R138")
async def test_of_the_files_that_can_be_had_the_one_that_expires_first_goes_first() -> None:
    bench = Bench(in_flight=3)
    now = bench.clock.now()
    for key, expires in (("none", None), ("late", 9_000), ("soon", 50), ("past", -10), ("next", 60), ("lost", 3)):
        deadline = None if expires is None else now + expires * SECOND
        await bench.plan(f"e-{key}", (K.DOWNLOAD, key), deadline=deadline)
    bench.attachments.script["soon"] = [Held("503")]
    bench.attachments.seconds = 4.0

    await bench.run()

    # "lost" goes first and "soon" is tried again as soon as it may, before everything that can wait.
    assert bench.order_of() == ["lost", "soon", "next", "soon", "late", "none", "past"]


@pytest.mark.requirement("R138")
async def test_a_file_whose_address_may_die_before_its_expiry_goes_before_all_others() -> None:
    bench = Bench(in_flight=3)
    now = bench.clock.now()
    for key, expires, hurry in (("none", None, False), ("near", 60, False), ("far", 9_000, True), ("past", -1, True)):
        deadline = None if expires is None else now + expires * SECOND
        await bench.plan(f"e-{key}", (K.DOWNLOAD, key), deadline=deadline, hurry=hurry)
    await bench.plan("e-unknown", (K.DOWNLOAD, "unknown"), hurry=True)

    await bench.run()

    assert bench.order_of() == ["far", "unknown", "near", "none", "past"]


async def test_a_file_that_expires_while_it_waits_gives_way_to_those_that_can_still_be_had() -> None:
    bench = Bench(in_flight=3)
    bench.attachments.seconds = 10.0
    for key, expires in (("first", 1), ("second", 2), ("third", 100)):
        await bench.plan(f"e-{key}", (K.DOWNLOAD, key), deadline=bench.clock.now() + expires * SECOND)

    await bench.run()

    assert bench.order_of() == ["first", "third", "second"]


async def test_what_was_held_longest_goes_first() -> None:
    bench = Bench(in_flight=3)
    bench.desk.script["old"] = [Held("503")]
    await bench.plan("e-old", (K.UPDATE, "old"))
    await bench.run(1.1)
    for count in range(5):
        await bench.plan(f"e-{count}", (K.UPDATE, f"new{count}"))
    await anyio.sleep(1)
    await bench.plan("e-5", (K.UPDATE, "new5"))

    await bench.run()

    assert bench.order_of() == ["old", "new0", "new1", "new2", "new3", "new4", "old", "new5"]


# --- bounds -----------------------------------------------------------------------------------------------------------


@pytest.mark.requirement("I7")
async def test_no_more_at_once_than_allowed() -> None:
    bench = Bench(in_flight=9)
    for count in range(20):
        kinds = ((K.CREATE, f"c{count}"), (K.RETURN_NUMBER, f"r{count}"), (K.DOWNLOAD, f"d{count}"))
        await bench.plan(f"e-{count}", *kinds)

    await bench.run()

    assert [bench.lanes[lane].most_at_work for lane in Lane] == [3, 3, 3]
    assert len(bench.performed) == 60
    assert set(bench.heard.outcomes) == {"succeeded"}


@pytest.mark.requirement("I7", "I8")
async def test_a_lane_may_have_more_places_than_its_share_and_leaves_some_to_the_others() -> None:
    bench = Bench(in_flight=9, slots={Lane.DESK: 9, Lane.BRIDGE: 0, Lane.ATTACHMENTS: 1})
    for count in range(20):
        kinds = ((K.CREATE, f"c{count}"), (K.RETURN_NUMBER, f"r{count}"), (K.DOWNLOAD, f"d{count}"))
        await bench.plan(f"e-{count}", *kinds)

    await bench.run()

    assert [bench.lanes[lane].most_at_work for lane in Lane] == [9, 3, 1]
    begun = [at for _, at in bench.performed]
    assert max(sum(at <= other < at + 1 for other in begun) for at in begun) == 9
    last = {lane: max(at for key, at in bench.performed if key.startswith(lane)) for lane in "crd"}
    assert last["r"] < last["d"], "each lane goes on whatever the others do"


@pytest.mark.requirement("I7")
@pytest.mark.parametrize("bound", [1, 2])
async def test_lanes_share_fewer_places_than_there_are_of_them(bound: int) -> None:
    bench = Bench(in_flight=bound)
    for count in range(4):
        kinds = ((K.UPDATE, f"u{count}"), (K.RETURN_NUMBER, f"r{count}"), (K.DOWNLOAD, f"d{count}"))
        await bench.plan(f"e-{count}", *kinds)

    await bench.run()

    begun = [at for _, at in bench.performed]
    assert max(sum(at <= other < at + 1 for other in begun) for at in begun) == bound
    assert len(begun) == 12


@pytest.mark.requirement("I7", "I8", "R229")
async def test_a_full_outbox_lets_nobody_in_until_a_fifth_is_done_and_then_everybody() -> None:
    bench = Bench(pending=10, in_flight=3)
    entered: list[tuple[int, float]] = []

    async def enter(index: int) -> None:
        await bench.dispatcher.wait_for_room()
        entered.append((index, anyio.current_time()))

    async def work() -> None:
        await enter(0)
        for count in range(10):
            await bench.plan(f"e-{count}", (K.UPDATE, f"k{count}"))
        async with anyio.create_task_group() as tasks:
            for index in (1, 2, 3):
                tasks.start_soon(enter, index)
            await anyio.sleep(1.5)
            tasks.start_soon(enter, 4)  # nine are pending now: who comes late does not come first

    await bench.run(work=work)

    assert entered[0] == (0, 0.0)
    assert sorted(index for index, _ in entered) == [0, 1, 2, 3, 4]
    assert {at for _, at in entered[1:]} == {2.0}


async def test_all_who_wait_for_the_end_are_told() -> None:
    bench = Bench()
    told: list[int] = []

    async def wait(index: int) -> None:
        await bench.dispatcher.wait_idle()
        told.append(index)

    async def work() -> None:
        await bench.plan("e-1", (K.UPDATE, "a"), (K.UPDATE, "b"))
        async with anyio.create_task_group() as tasks:
            for index in range(3):
                tasks.start_soon(wait, index)

    await bench.run(work=work)

    assert sorted(told) == [0, 1, 2]


@pytest.mark.requirement("I7")
async def test_what_is_finished_leaves_nothing_behind() -> None:
    bench = Bench()
    for count in range(5):
        await bench.plan(f"e-{count}", (K.CREATE, f"c{count}"), (K.DOWNLOAD, f"d{count}"))

    await bench.run()

    assert bench.dispatcher.idle
    assert [len(lane.tickets) for lane in bench.dispatcher.schedule._lanes.values()] == [0] * len(Lane)
    finished = [states for states in bench.heard.states if states[1] == S.COMPLETED]
    assert len(finished) == 10


# --- stopping ---------------------------------------------------------------------------------------------------------


async def test_stopping_claims_nothing_more_and_waits_for_what_is_in_flight() -> None:
    bench = Bench(in_flight=3, pending=4)
    bench.desk.seconds = 5.0
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(bench.dispatcher.run)
        for count in range(4):
            await bench.plan(f"e-{count}", (K.CREATE, f"c{count}"), (K.UPDATE, f"u{count}"))
        await anyio.sleep(1)
        tasks.start_soon(bench.dispatcher.wait_for_room)
        await bench.dispatcher.stop()
        assert anyio.current_time() == 5
        await bench.plan("e-9", *((K.UPDATE, f"late{count}") for count in range(9)))
        await bench.dispatcher.wait_for_room()  # nobody has to wait for room that will not come

    assert bench.order_of() == ["c0"]
    assert (await bench.entry("e-0", "c0")).state is S.COMPLETED


async def test_stopping_an_idle_dispatcher_takes_no_time() -> None:
    bench = Bench()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(bench.dispatcher.run)
        await anyio.sleep(1)
        await bench.dispatcher.stop()

    assert anyio.current_time() == 1


# --- faults -----------------------------------------------------------------------------------------------------------


async def test_a_defect_in_an_adapter_costs_only_its_entry() -> None:
    bench = Bench()
    bench.desk.script["bad"] = [ZeroDivisionError("a defect")]
    await bench.plan("e-1", (K.CREATE, "bad"), (K.UPDATE, "behind"))
    await bench.plan("e-2", (K.CREATE, "good"))

    await bench.run()

    assert bench.times_of("good") == [0]
    assert 61 <= bench.times_of("bad")[1] <= 121
    assert (await bench.entry("e-1", "bad")).state is S.COMPLETED
    assert bench.heard.outcomes.count("unknown") == 1


async def test_an_attempt_that_does_not_end_gives_its_place_back() -> None:
    bench = Bench(in_flight=3, attempt_seconds=40.0)
    bench.desk.seconds = 1_000.0
    await bench.plan("e-1", (K.CREATE, "hangs"))

    async def work() -> None:
        await anyio.sleep(39)
        await bench.plan("e-2", (K.CREATE, "waits"))
        await anyio.sleep(2)
        bench.desk.seconds = 1.0

    await bench.run(work=work)

    assert bench.times_of("waits")[0] == 40
    assert 100 <= bench.times_of("hangs")[1] <= 160
    assert (await bench.events("e-1"))[:2] == ["Unknown", "Succeeded"]


@pytest.mark.parametrize("where", ["performer", "store"])
async def test_a_storage_fault_ends_the_dispatcher(where: str) -> None:
    bench = Bench()
    await bench.plan("e-1", (K.CREATE, "k"))
    if where == "performer":
        bench.desk.script["k"] = [StoreUnavailable("the desk's file failed")]
    else:

        async def fail(batch: Batch) -> Committed:
            bench.store.commit = commit  # type: ignore[method-assign]
            raise StoreUnavailable("the disk failed")

        commit = bench.store.commit

        bench.store.commit = fail  # type: ignore[method-assign]

    with pytest.RaisesGroup(StoreUnavailable, flatten_subgroups=True):
        await bench.run()


async def test_odd_text_from_a_receiver_is_kept_as_far_as_it_can_be() -> None:
    bench = Bench()
    bench.desk.script["k"] = [Uncertain("\ud800" + "x" * 99_999), Done({"number": "L-\udfff"})]
    await bench.plan("e-1", (K.CREATE, "k"))

    await bench.run()

    assert (await bench.entry("e-1", "k")).result == {"number": "L-?"}


@pytest.mark.requirement("I13")
@pytest.mark.parametrize("years", [-10, 10])
async def test_a_clock_that_is_set_moves_no_retry(years: int) -> None:
    bench = Bench()
    bench.desk.script = {"unknown": [Uncertain("?")], "held": [Held("503", retry_after=200.0)]}
    await bench.plan("e-1", (K.CREATE, "unknown"))
    await bench.plan("e-2", (K.CREATE, "held"))

    async def work() -> None:
        await anyio.sleep(0.5)
        bench.clock.jump(years * 365 * 86_400)
        await anyio.sleep(50)
        bench.clock.jump(-years * 365 * 86_400)

    await bench.run(work=work)

    assert 61 <= bench.times_of("unknown")[1] <= 121
    assert bench.times_of("held")[1] == pytest.approx(201)


@pytest.mark.requirement("I13")
async def test_a_clock_that_is_set_changes_no_age_of_what_is_due() -> None:
    bench = Bench()
    bench.dispatcher.pause("e-1", "desk", paused=True)
    await bench.plan("e-1", (K.CREATE, "k"))
    ages: list[float] = []

    async def work() -> None:
        for jump in (3_600, -7_200):
            await anyio.sleep(10)
            bench.clock.jump(jump)
            ages.append(bench.heard.read_ages()["desk"])
        bench.dispatcher.pause("e-1", "desk", paused=False)

    await bench.run(work=work)

    assert ages == pytest.approx([10.0, 20.0], abs=1.0)
    assert bench.heard.read_ages() == dict.fromkeys(Lane, 0.0)


async def test_a_destination_that_is_down_is_left_alone_and_tried_by_one() -> None:
    bench = Bench()
    bench.desk.always = Held("503")
    for count in range(40):
        await bench.plan(f"e-{count}", (K.UPDATE, f"k{count}"))

    async def work() -> None:
        await anyio.sleep(100)
        down = len(bench.performed)
        assert 10 < down <= 10 + 8  # ten were in flight when it opened, then one after each rest of up to 30 s
        bench.desk.always = None

    await bench.run(work=work)

    assert bench.heard.breakers == [("desk", True), ("desk", False)]
    assert set(bench.heard.outcomes[-40:]) == {"succeeded"}
    assert [(await bench.entry(f"e-{count}", f"k{count}")).blamed for count in range(40)] == [0] * 40


async def test_a_breaker_is_for_one_destination_only() -> None:
    bench = Bench()
    bench.desk.always = Held("not today", down=True)
    await bench.plan("e-1", (K.CREATE, "c"), (K.RETURN_NUMBER, "r"), (K.DOWNLOAD, "d"))

    await bench.run(5)

    assert bench.times_of("r") == bench.times_of("d") == [0]
    assert bench.heard.breakers == [("desk", True)]


# --- room on our own disk ---------------------------------------------------------------------------------------------


@pytest.mark.requirement("I0")
async def test_without_room_nothing_is_begun_and_what_is_under_way_is_settled() -> None:
    bench = Bench()
    bench.desk.seconds = 10
    await bench.plan("e-1", (K.CREATE, "under way"))

    async def work() -> None:
        await anyio.sleep(5)
        bench.store.room = False
        await bench.plan("e-2", (K.CREATE, "c"), (K.RETURN_NUMBER, "r"), (K.DOWNLOAD, "d"))
        await anyio.sleep(600)
        assert bench.order_of() == ["under way"]
        assert (await bench.entry("e-1", "under way")).state is S.COMPLETED
        assert (await bench.events("e-2")) == []
        bench.store.room = True

    await bench.run(work=work)

    assert sorted(bench.order_of()) == ["c", "d", "r", "under way"]
    assert [(await bench.entry("e-2", key)).tries for key in "crd"] == [1, 1, 1]
    assert bench.heard.breakers == []
    assert max(bench.times_of("r")) < 605 + 2


@pytest.mark.requirement("I0")
@pytest.mark.usefixtures("fresh_loggers")
async def test_a_deferred_entry_waits_without_a_trace_and_lets_others_pass() -> None:
    bench = Bench()
    bench.attachments.script = {"large": [Held("503", down=True)] + [Deferred("disk_full", hint="free space")] * 20}
    await bench.plan("e-1", (K.DOWNLOAD, "large"))

    async def work() -> None:
        await anyio.sleep(60)
        await bench.plan("e-2", (K.DOWNLOAD, "small"))

    with capture_logs() as lines:
        await bench.run(work=work)

    assert bench.order_of("small", "large")[-1] == "large"
    assert len(bench.times_of("small")) == 1
    assert len(bench.times_of("large")) == 22
    assert (await bench.events("e-1")) == ["Failed", "Succeeded"]
    assert (await bench.entry("e-1", "large")).tries == 2
    told = [line for line in lines if line.get("reason") == "disk_full"]
    assert len(told) < 6
    assert told[0]["hint"] == "free space"


@pytest.mark.requirement("I0")
async def test_an_effect_whose_data_find_no_room_is_not_begun_and_lets_smaller_ones_pass(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bench = Bench()
    free, taken = 60_000, 0

    @contextmanager
    def taking(content: int) -> Iterator[bool]:
        nonlocal taken
        fits = taken + content <= free
        taken += content * fits
        yield fits
        taken -= content * fits

    monkeypatch.setattr(bench.store, "taking", taking)
    await bench.plan("e-1", (K.CREATE, "large"), fields={"description": "x" * 50_000})
    await bench.plan("e-2", (K.CREATE, "one"), fields={"description": "x" * 10_000})
    await bench.plan("e-3", (K.CREATE, "other"), fields={"description": "x" * 10_000})

    async def work() -> None:
        nonlocal free
        await anyio.sleep(30)
        assert sorted(bench.order_of()) == ["one", "other"]
        assert await bench.events("e-1") == []
        free = 250_000

    await bench.run(work=work)
    assert bench.order_of()[-1] == "large"
    assert taken == 0


@pytest.mark.requirement("I7")
@pytest.mark.usefixtures("fresh_loggers")
async def test_a_row_that_is_not_as_it_was_written_is_told_with_what_helps() -> None:
    bench = Bench(arguments_bytes=0)
    await bench.plan("e-1", (K.UPDATE, "k"), fields={"description": "x" * 4_000})

    async def refuse(*_: Any, **__: Any) -> list[Row]:
        raise RowDamaged("outbox", "e-1", "k")

    bench.store.read_rows = refuse  # type: ignore[method-assign]
    with capture_logs() as lines:
        await bench.run(100)

    told = [line for line in lines if line["event"] == "effect_retry"]
    assert [(line["log_level"], line["key"], line["hint"]) for line in told] == [
        ("error", "k", RowDamaged("outbox", "e-1", "k").hint)
    ] * len(told)
    assert told
    assert bench.heard.outcomes == ["held"] * 2
    assert await bench.events("e-1") == ["Failed"] * 2
    assert bench.performed == []
    assert bench.heard.breakers == []


# --- a key planned again ----------------------------------------------------------------------------------------------


async def test_a_finished_entry_that_is_armed_again_is_performed_again_behind_the_others() -> None:
    bench = Bench()
    await bench.plan("e-1", (K.RETURN_NUMBER, "number"))
    await bench.run()
    await bench.plan("e-1", (K.RETURN_NUMBER, "other"), (K.RETURN_NUMBER, "number"))

    await bench.run()

    assert bench.order_of() == ["number", "other", "number"]
    entry = await bench.entry("e-1", "number")
    assert (entry.state, entry.attempts, entry.order) == (S.COMPLETED, 1, 3)


async def test_a_dead_create_that_is_armed_again_lets_its_generation_go_on() -> None:
    bench = Bench()
    bench.desk.script["create"] = [Blamed("no", final=True), Held("503")]
    await bench.plan("e-1", (K.CREATE, "create"), (K.UPDATE, "update"))
    await bench.run(10)
    assert bench.order_of() == ["create"]

    await bench.plan("e-1", (K.CREATE, "create"), (K.CLOSE, "close"))
    await bench.run()

    assert bench.order_of() == ["create", "create", "create", "update", "close"]
    assert bench.dispatcher.idle


# --- what a person does -----------------------------------------------------------------------------------------------


async def act(bench: Bench, act: Act, ticket: str, key: str) -> bool:
    """Let a person do that to an entry as its row stands."""
    entry = await bench.entry(ticket, key)
    acted = OperatorActed(act, "me", key=entry.effect.key, cause=entry.effect.position)
    return await bench.dispatcher.act(ticket, entry, acted)


async def test_a_dead_entry_is_tried_again_in_its_old_place() -> None:
    bench = Bench()
    bench.desk.script["first"] = [Blamed("no", final=True)]
    bench.desk.script["second"] = [Held("503", retry_after=30.0)]
    await bench.plan("e-1", (K.UPDATE, "first"), (K.UPDATE, "second"), (K.UPDATE, "third"))
    await bench.run(5)
    assert bench.order_of() == ["first", "second"]
    assert (await bench.entry("e-1", "first")).state is S.PARKED

    assert await act(bench, Act.RETRY, "e-1", "first")
    await bench.run()

    assert bench.order_of() == ["first", "second", "first", "second", "third"]
    assert [kind for kind in await bench.events("e-1") if kind == "OperatorActed"] == ["OperatorActed"]
    counts = Counter(after for _, after in bench.heard.states) - Counter(before for before, _ in bench.heard.states)
    assert {state: count for state, count in counts.items() if state} == {"completed": 3}


async def test_what_is_being_tried_is_left_alone_and_what_waits_can_be_given_up() -> None:
    bench = Bench()
    await bench.plan("e-1", (K.UPDATE, "first"), (K.UPDATE, "second"))

    async def work() -> None:
        await anyio.sleep(0.5)
        assert not await act(bench, Act.DISCARD, "e-1", "first")
        assert await act(bench, Act.DISCARD, "e-1", "second")

    await bench.run(work=work)

    assert bench.order_of() == ["first"]
    assert [(await bench.entry("e-1", key)).state for key in ("first", "second")] == [S.COMPLETED, S.DISCARDED]


async def test_whoever_waits_for_a_try_is_told_when_it_has_ended() -> None:
    bench = Bench()
    bench.desk.script["update"] = [Blamed("no", final=True), Held("503"), Done({})]
    await bench.plan("e-1", (K.UPDATE, "update"))
    ended: list[EntryState] = []

    async def work() -> None:
        await bench.dispatcher.wait_idle()
        for _ in range(2):
            before = await bench.entry("e-1", "update")
            assert await act(bench, Act.RETRY, "e-1", "update")
            await bench.dispatcher.wait_tried("e-1", before)
            ended.append((await bench.entry("e-1", "update")).state)

    await bench.run(work=work)

    assert ended == [S.RETRYABLE, S.COMPLETED]


@pytest.mark.parametrize("what", ["desk", PAUSED_TICKET])
async def test_what_is_paused_is_not_performed_until_it_goes_on(what: str) -> None:
    bench = Bench()
    bench.dispatcher.pause("e-1", what, paused=True)
    await bench.plan("e-1", (K.UPDATE, "update"), (K.RETURN_NUMBER, "number"))
    await bench.plan("e-2", (K.UPDATE, "other"))
    await bench.run(1000)
    assert sorted(bench.order_of()) == (["number"] if what == "desk" else ["other"])

    async def work() -> None:
        bench.dispatcher.pause("e-1", what, paused=False)

    await bench.run(work=work)

    assert sorted(bench.order_of()) == ["number", "other", "update"]


async def test_a_pause_holds_after_a_restart() -> None:
    bench = Bench()
    await bench.store.commit(Batch(rows=[Row("pause", "$control", "desk", 0, b"{}")]))
    await bench.plan("e-1", (K.UPDATE, "update"), (K.RETURN_NUMBER, "number"))
    bench.open_dispatcher()
    await bench.dispatcher.recover()

    await bench.run(1000)

    assert bench.order_of() == ["number"]


# --- performers -------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("fresh_loggers")
async def test_what_nobody_performs_waits_is_told_once_and_holds_nobody() -> None:
    bench = Bench()
    del bench.lanes[Lane.ATTACHMENTS]
    bench.open_dispatcher()
    started = msgspec.structs.replace(bench.make("e-1", K.DOWNLOAD, "started"), state=S.EXECUTING)
    await bench.keep("e-1", started)

    with capture_logs() as lines:
        await bench.dispatcher.recover()
        await bench.plan("e-1", (K.DOWNLOAD, "d"), (K.DOWNLOAD, "e"), (K.RETURN_NUMBER, "r"), (K.UPDATE, "u"))
        await bench.run()

    assert [(line["event"], line["kind"], line["lane"]) for line in lines] == [
        ("effect_unserved", "download_attachment", "attachments")
    ]
    assert sorted(bench.order_of()) == ["r", "u"]
    assert await bench.entry("e-1", "started") == started
    assert bench.heard.states.count((None, S.AVAILABLE)) == 4

    bench.lanes[Lane.ATTACHMENTS] = bench.attachments
    bench.open_dispatcher()
    await bench.dispatcher.recover()
    await bench.run()

    assert bench.order_of("started", "d", "e") == ["started", "d", "e"]
    assert (await bench.events("e-1"))[-4:] == ["Unknown", "Succeeded", "Succeeded", "Succeeded"]


@pytest.mark.requirement("I3")
async def test_a_lane_with_two_destinations_keeps_its_order_and_each_has_its_own_breaker() -> None:
    bench = Bench()
    notes = Destination(bench, Lane.DESK)
    notes.name, notes.kinds, notes.script = "notes", [K.COMMENT], {"down": [Held("not today", down=True)]}
    bench.desk.kinds.remove(K.COMMENT)
    bench.lanes["notes"] = notes
    bench.open_dispatcher()
    await bench.plan("e-1", (K.CREATE, "create"), (K.COMMENT, "comment"), (K.UPDATE, "update"))
    await bench.plan("e-2", (K.COMMENT, "down"))
    await bench.plan("e-3", (K.CREATE, "fine"), (K.UPDATE, "too"))

    await bench.run()

    assert bench.order_of("create", "comment", "update") == ["create", "comment", "update"]
    assert bench.times_of("fine") + bench.times_of("too") == [0, 1]
    assert bench.heard.breakers == [("notes", True), ("notes", False)]
    assert bench.times_of("comment")[0] > 1  # its destination was down, and nobody else waited for that


# --- a look-up desk ---------------------------------------------------------------------------------------------------


class ForgetfulDesk:
    """A look-up desk that applies a create and loses its answer."""

    def __init__(self, ends_after: float = 0.0) -> None:
        self.calls: list[str] = []
        self.applied: list[str] = []
        self._ends_after = ends_after

    def repeat_of(self, kind: EffectKind) -> Repeat:
        return Repeat.LOOK_UP

    def ends_after(self, kind: EffectKind) -> float:
        return self._ends_after

    async def perform(self, call: DeskCall) -> DeskAnswer:
        self.calls.append("perform")
        self.applied.append(call.key)
        await anyio.sleep(3_000)
        return DeskAnswer("L-1", "open")

    async def look_up(self, call: DeskCall) -> DeskAnswer | None:
        self.calls.append("look_up")
        await anyio.sleep(1)
        return DeskAnswer("L-1", "open") if call.key in self.applied else None

    async def aclose(self) -> None: ...


@pytest.mark.requirement("I4")
async def test_a_look_up_desk_is_asked_before_an_interrupted_call_is_made_again() -> None:
    bench = Bench()
    desk = ForgetfulDesk()
    bench.lanes[Lane.DESK] = DeskPerformer(desk, bench.store, directory=Path())
    bench.open_dispatcher()
    await bench.plan("e-1", (K.CREATE, "k"))
    await bench.run(10)  # the process dies while the desk takes its time

    bench.open_dispatcher()
    await bench.dispatcher.recover()
    await bench.run()

    assert desk.calls == ["perform", "look_up"]
    assert await bench.events("e-1") == ["Started", "Unknown", "Started", "Succeeded"]
    last = (await bench.store.read_stream("e-1"))[-1]
    assert decode_event(last.kind, last.payload).result["number"] == "L-1"  # type: ignore[union-attr]
    assert last.kind == Kind.EFFECT_SUCCEEDED


@pytest.mark.parametrize(("ends_after", "earliest", "latest"), [(0.0, 60, 120), (75.0, 75, 120), (300.0, 300, 300)])
async def test_an_interrupted_call_is_not_looked_up_before_it_has_come_to_its_end_there(
    ends_after: float, earliest: float, latest: float
) -> None:
    bench = Bench()
    bench.lanes[Lane.DESK] = DeskPerformer(ForgetfulDesk(ends_after), bench.store, directory=Path())
    bench.open_dispatcher()
    await bench.plan("e-1", (K.CREATE, "k"))
    await bench.run(10)
    bench.open_dispatcher()
    await bench.dispatcher.recover()

    last = (await bench.store.read_stream("e-1"))[-1]
    unknown = decode_event(last.kind, last.payload)
    assert isinstance(unknown, EffectUnknown)
    assert unknown.next_attempt_at is not None
    assert earliest <= round(unknown.next_attempt_at / 1e6 - last.at / 1e6, 3) <= latest
