"""What holds for every history of every ticket."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecproc.domain.deltas import Delta, GenerationStarted, Moved, Refused
from ecproc.domain.effects import EffectKind
from ecproc.domain.entry import FINISHED
from ecproc.domain.events import Decided, Fact, Place
from ecproc.domain.ids import create_key
from ecproc.domain.plans import Plans
from ecproc.domain.policy import Policy
from ecproc.domain.state import TicketState
from ecproc.fold.history import place_of, read_fact
from ecproc.fold.machine import evolve_fact, write_down
from ecproc.fold.recorded import decode_event, encode_event
from ecproc.fold.tickets import TicketMachine
from ecproc.reading.join import join_document
from ecproc.testing.ticket import Life
from tests.simulation.strategies import History, any_facts, histories

ACTIONS = ["wait", "wait", "wait", "step", "step", "begin", "end", "crash", "snapshot"]


def play(history: History, actions: list[str]) -> Life:
    """Let the actor take its steps where `actions` say, but never hear of an effect before that was planned."""
    life, decided = Life(history.life.stream), -1
    for index, event in enumerate(history.events):
        if history.cause_of(index) > decided:
            finish(life)
            decided = index - 1
        life.append(event)
        begun = life.step is not None
        match actions[index % len(actions)]:
            case "begin" if not begun:
                life.begin()
            case "end" if begun:
                life.end()
            case "step":
                finish(life)
                decided = index
            case "crash" | "snapshot" as how:
                life.forget(snapshot=how == "snapshot")
            case _:
                pass
    return finish(life)


def finish(life: Life) -> Life:
    return life.end().begin().end()


def told(life: Life) -> Any:
    """Everything that a grouping of facts into steps must not change; places are counted in facts."""
    facts = [place_of(item) for item in life.log if item.kind not in {"Decided", "MessageQuarantined"}]
    places = {"position": {place.position: index for index, place in enumerate(facts, 1)}}
    places["announced"] = places["position"]
    places["version"] = {place.version: index for index, place in enumerate(facts, 1)}
    deltas = [item for item in life.deltas if not isinstance(item, Refused)]
    told_others = [(event.stream, event.kind) for event in life.told]
    return count_in_facts([life.whole, life.effects, deltas, told_others], places)


def count_in_facts(value: Any, places: Mapping[str, Mapping[int, int]]) -> Any:
    match value:
        case msgspec.Struct():
            members = {name: getattr(value, name) for name in value.__struct_fields__}
            counted = {name: places[name].get(members[name], members[name]) for name in places if name in members}
            return {name: count_in_facts(item, places) for name, item in (members | counted).items()}
        case dict():
            return {name: count_in_facts(item, places) for name, item in value.items()}
        case list() | tuple():
            return [count_in_facts(item, places) for item in value]
        case _:
            return value


@pytest.mark.requirement("I5", "R230")
@settings(max_examples=120)
@given(histories(), st.lists(st.sampled_from(ACTIONS), min_size=1, max_size=30))
def test_steps_may_be_grouped_torn_and_begun_again_in_any_way(history: History, actions: list[str]) -> None:
    assert told(play(history, actions)) == told(history.life)


@pytest.mark.requirement("I5", "R230")
@given(histories())
def test_a_log_folded_again_gives_the_same_ticket(history: History) -> None:
    life = history.life
    before = told(life)

    assert told(life.forget()) == before
    assert told(life.forget(snapshot=True)) == before


@pytest.mark.requirement("I5")
@settings(max_examples=120)
@given(st.lists(any_facts(), max_size=20))
def test_a_fold_takes_anything_and_a_decision_touches_effects_and_scope_alone(facts: list[Fact | Decided]) -> None:
    machine = TicketMachine()
    state = machine.new("e-1")
    for version, fact in enumerate(facts, 1):
        place = Place(version, version, version)
        if isinstance(fact, Decided):
            before = without_decisions(state)
            deltas: list[Delta] = write_down(state, fact)
            assert without_decisions(state) == before
        else:
            deltas = evolve_fact(machine, state, fact, place)
            state.plans.plan(machine.decide(state, fact, deltas, place, Policy()))
        rows = machine.rows(state, deltas)
        if state.type is not None:
            join_document(rows[0], {}, effects_count=0)
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(state), type=TicketState) == state


def without_decisions(state: TicketState) -> bytes:
    return msgspec.json.encode(msgspec.structs.replace(state, plans=Plans(), scope=None), order="sorted")


@pytest.mark.requirement("I4", "R209", "R180")
@settings(max_examples=80)
@given(histories(most=30))
def test_what_is_planned_and_counted_agrees_with_what_happened(history: History) -> None:
    life, state = history.life, history.life.state

    creates = Counter(effect.key for effect in life.effects if effect.kind is EffectKind.CREATE)
    started = [item.generation for item in life.deltas if isinstance(item, GenerationStarted)]
    assert creates == Counter(create_key(state.stream, generation) for generation in started)
    assert started == sorted(set(started))
    assert {*started, 1, life.generation} == set(range(1, life.generation + 1))
    returned = {effect.number for effect in life.effects if effect.kind is EffectKind.RETURN_NUMBER}
    assert returned <= set(life.numbers)
    assert {effect.number for effect in life.effects} <= {None, *life.numbers}
    generations = [item.generation for item in state.client_tickets]
    assert generations == sorted(generations)
    for approval in state.approvals.values():
        assert approval.state != "requested" or approval.generation == life.generation


@pytest.mark.requirement("I5")
@given(histories())
def test_counters_and_entries_agree_with_what_happened(history: History) -> None:
    life, state = history.life, history.life.state

    assert (state.journal.moves, state.journal.anomalies) == (len(life.history), len(life.anomalies))
    assert life.status == (life.history[-1] if life.history else None)
    moved = [item for item in life.deltas if isinstance(item, Moved)]
    assert [item.before for item in moved] == [None, *life.history][: len(moved)]
    orders = [entry.order for entry in state.plans.entries.values()]
    assert len(set(orders)) == len(orders)
    assert state.plans.count == max(orders, default=0) == len(life.effects)
    assert all(entry.next_attempt_at is None for entry in state.plans.entries.values() if entry.state in FINISHED)


@given(histories())
def test_own_events_are_read_as_they_were_written(history: History) -> None:
    for record in history.life.log:
        fact = read_fact(record)
        if record.kind != "MessageReceived":
            assert encode_event(fact) == (record.kind, record.payload)  # type: ignore[arg-type]
    assert decode_event("SomethingNewer", b"{}") is None
