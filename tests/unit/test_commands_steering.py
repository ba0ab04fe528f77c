"""Steering: what may be done to which entry, in what numbers, and what stands in the way."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from ecproc.commands.orders import EntriesOrder, PauseOrder, steer_entries, steer_message, steer_pause
from ecproc.commands.steering import EntriesWanted, NotFound, NotPossible, Person, Steering
from ecproc.domain.effects import LANES, Effect, EffectKind
from ecproc.domain.entry import Entry, EntryState, apply_outcome
from ecproc.domain.events import Act, EffectFailed, EffectSucceeded, OperatorActed
from ecproc.domain.ids import EffectKey, TicketNumber, normalise_number
from ecproc.domain.log import Batch, Row
from ecproc.fold.recorded import decode_event
from ecproc.fold.rows import entry_row
from ecproc.fold.tables import TABLES
from ecproc.fold.tickets import MACHINES
from ecproc.outbox.settling import act_on
from ecproc.store.memory import MemoryStore
from tests.simulation.clock import VirtualClock

K = EffectKind
S = EntryState
ME = Person("me", "why not")
STREAM = "e-1"


class Bench:
    """A store with entries, and whoever acts on them; an attempt fails for the keys in `bad`."""

    def __init__(self) -> None:
        self.store = MemoryStore(VirtualClock().now, TABLES)
        self.busy: set[str] = set()
        self.bad: set[str] = set()
        self.tried: list[str] = []
        self.parked: dict[str, str] = {}
        self.steering = Steering(self.store, self, machines=MACHINES, pausable=("bridge", "desk"))

    async def keep(self, states: Mapping[str, EntryState], kind: EffectKind = K.UPDATE) -> None:
        """Entries of these keys and states, in planned order."""
        rows = [Row("ticket", stream, normalise_number(stream), 0, b"{}") for stream in (STREAM, "e-2")]
        for order, (key, state) in enumerate(states.items(), 1):
            effect = Effect(EffectKey(key), kind, 1, 1, 1, TicketNumber(STREAM), "Incident")
            rows.append(entry_row(STREAM, Entry(effect, order, state, tries=1, reason=f"why {key}")))
        await self.store.commit(Batch(rows=rows))

    async def act(self, stream: str, entry: Entry, acted: OperatorActed) -> bool:
        if entry.effect.key in self.busy:
            return False
        await self.store.commit(act_on(stream, entry, acted))
        return True

    async def wait_tried(self, stream: str, entry: Entry) -> None:
        key = entry.effect.key
        self.tried.append(key)
        bad = EffectFailed(key, "no", blamed=True, parked=True)
        outcome = bad if key in self.bad else EffectSucceeded(key)
        await self.store.commit(Batch(rows=[entry_row(stream, apply_outcome(entry, outcome))]))

    async def submit(self, batch: Batch) -> None:
        await self.store.commit(batch)

    def parked_by(self, stream: str) -> str | None:
        return self.parked.get(stream)

    async def take_up(self, stream: str) -> bool:
        return self.parked.pop(stream, "") == "mended"

    async def steer(self, act: Act, *keys: str, **order: object) -> dict[str, str]:
        """What became of each entry: its state, or why nothing was done."""
        wanted = EntriesOrder(keys=keys, **order)  # type: ignore[arg-type]
        report = await steer_entries(self.steering, act, wanted, ME)
        return {entry.key: entry.refused or entry.state for entry in report.entries}

    async def acts(self) -> list[OperatorActed]:
        """What people did, as the log has it."""
        events = [event async for page in self.store.read_log() for event in page]
        told = [decode_event(event.kind, event.payload) for event in events]
        return [fact for fact in told if isinstance(fact, OperatorActed)]


async def test_an_act_says_what_it_is_about_who_wanted_it_and_why() -> None:
    bench = Bench()
    await bench.keep({"a": S.PARKED})

    assert await bench.steer(Act.RETRY, "a") == {"a": "retryable"}
    assert await bench.acts() == [OperatorActed(Act.RETRY, "me", "why not", key=EffectKey("a"), cause=1)]


@pytest.mark.parametrize(
    ("act", "state", "words"),
    [
        (Act.RETRY, S.COMPLETED, "it is completed: nothing is left to retry"),
        (Act.DISCARD, S.CANCELLED, "it is cancelled: nothing is left to discard"),
        (Act.RETRY, S.EXECUTING, "being tried"),
        (Act.DISCARD, S.DISCARDED, "discarded already"),
    ],
)
async def test_what_cannot_be_done_is_told_and_not_recorded(act: Act, state: EntryState, words: str) -> None:
    bench = Bench()
    await bench.keep({"a": state})

    assert words in (await bench.steer(act, "a"))["a"]
    assert await bench.acts() == []


async def test_what_is_being_tried_is_left_alone() -> None:
    bench = Bench()
    await bench.keep({"a": S.RETRYABLE})
    bench.busy.add("a")

    assert "being tried" in (await bench.steer(Act.DISCARD, "a"))["a"]


@pytest.mark.parametrize(
    ("kind", "held"),
    [(K.UPDATE, True), (K.RETURN_NUMBER, True), (K.COMMENT, False), (K.DOWNLOAD, False), (K.CREATE, False)],
)
async def test_what_would_undo_something_later_needs_force(kind: EffectKind, held: bool) -> None:
    bench = Bench()
    await bench.keep({"a": S.DISCARDED, "b": S.COMPLETED}, kind)

    told = (await bench.steer(Act.RETRY, "a"))["a"]
    assert ("b was done after it" in told) is held
    assert (await bench.steer(Act.RETRY, "a", force=True))["a"] == "retryable"


async def test_what_was_done_before_stands_in_nobodys_way() -> None:
    bench = Bench()
    await bench.keep({"a": S.COMPLETED, "b": S.DISCARDED})

    assert await bench.steer(Act.RETRY, "b") == {"b": "retryable"}


async def test_a_filter_means_what_can_be_brought_back_or_given_up() -> None:
    states = {state.value: state for state in EntryState}
    bench = Bench()
    await bench.keep(states)

    retried = await bench.steer(Act.RETRY, filter=EntriesWanted(), force=True)
    assert list(retried) == ["retryable", "discarded", "parked"]
    bench = Bench()
    await bench.keep(states)
    discarded = await bench.steer(Act.DISCARD, filter=EntriesWanted())
    assert list(discarded) == ["available", "unknown", "retryable", "parked"]
    assert await bench.steer(Act.RETRY, filter=EntriesWanted(state=S.UNKNOWN), force=True) == {}


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (EntriesWanted(lane=LANES[K.UPDATE]), 2),
        (EntriesWanted(lane=LANES[K.DOWNLOAD]), 0),
        (EntriesWanted(kind=K.UPDATE), 2),
        (EntriesWanted(kind=K.CLOSE), 0),
        (EntriesWanted(ticket=STREAM), 2),
        (EntriesWanted(ticket="e-2"), 0),
        (EntriesWanted(reason="WHY A"), 1),
        (EntriesWanted(reason="503"), 0),
    ],
)
async def test_a_filter_finds_by_each_of_its_words(wanted: EntriesWanted, found: int) -> None:
    bench = Bench()
    await bench.keep({"a": S.PARKED, "b": S.PARKED})

    assert len(await bench.steer(Act.RETRY, filter=wanted)) == found
    assert len(await bench.steer(Act.DISCARD, filter=wanted, limit=1)) == min(found, 1)


async def test_many_are_retried_in_growing_numbers_up_to_the_first_that_fails() -> None:
    bench = Bench()
    keys = [f"k{number:02}" for number in range(30)]
    await bench.keep(dict.fromkeys(keys, S.PARKED), K.COMMENT)
    bench.bad.add("k05")

    report = await steer_entries(bench.steering, Act.RETRY, EntriesOrder(filter=EntriesWanted(), gradual=True), ME)

    assert bench.tried == keys[:8]  # 1 + 2 + 5
    assert [entry.state for entry in report.entries] == ["completed"] * 5 + ["parked"] + ["completed"] * 2
    assert report.left == 22
    bench.bad.clear()
    await bench.steer(Act.RETRY, filter=EntriesWanted(), gradual=True)
    assert len(bench.tried) == 8 + 23


async def test_an_order_names_keys_or_a_filter() -> None:
    bench = Bench()
    for order in (EntriesOrder(), EntriesOrder(keys=("a",), filter=EntriesWanted())):
        with pytest.raises(NotPossible):
            await steer_entries(bench.steering, Act.RETRY, order, ME)
    with pytest.raises(NotFound):
        await bench.steer(Act.RETRY, "nobody")
    with pytest.raises(NotFound):
        await steer_message(bench.steering, Act.RETRY, "nobody", ME)
    with pytest.raises(NotFound):
        await steer_pause(bench.steering, Act.PAUSE, PauseOrder("nobody"), ME)


async def test_a_parked_ticket_is_taken_up_and_told_if_it_is_parked_again() -> None:
    bench = Bench()
    for reason, told in (("mended", ""), ("KeyError", "parked again")):
        bench.parked["$control"] = reason
        report = await steer_pause(bench.steering, Act.RESUME, PauseOrder("desk"), ME)
        assert (report.paused, report.reason.startswith(told)) == (False, True)
