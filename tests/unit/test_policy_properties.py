"""What holds under every policy: how facts are grouped into steps changes no effect, and a fold reads no policy."""

from __future__ import annotations

from collections import Counter
from typing import Any, Final

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecproc.domain.effects import EffectKind, Lane
from ecproc.domain.events import Act, OperatorActed
from ecproc.domain.ids import create_key
from ecproc.domain.policy import AdoptFinal, Policy, Reopen
from ecproc.fold.history import place_of
from ecproc.fold.tickets import TicketMachine
from ecproc.fold.whole import compact_events, fold_compact, fold_events
from ecproc.policy.rules import read_rules
from ecproc.testing.ticket import Event, Life
from tests.simulation.strategies import History, change_messages, incident_messages, outcomes
from tests.unit.test_domain_properties import ACTIONS, count_in_facts, finish

_WHENS: Final[list[dict[str, Any]]] = [
    {"priority": "3"},
    {"status": ["open", "assess"]},
    {"type": "Incident", "not": {"cis": "*"}},
    {"transaction": "Update"},
    {"statusNextAction": "*"},
    {"state": "*"},
]
RESCOPE: Final = OperatorActed(Act.RESCOPE, "somebody")


@st.composite
def policies(draw: st.DrawFn) -> Policy:
    """Any policy."""
    tables = [
        {"name": f"rule{place}", "when": when, "then": draw(st.sampled_from(["out", "out", "in"]))}
        for place, when in enumerate(draw(st.lists(st.sampled_from(_WHENS), max_size=3, unique_by=str)))
    ]
    rules, _ = read_rules(tables)
    return Policy(
        scope=rules,
        reopen_incident=draw(st.sampled_from(Reopen)),
        reopen_request=draw(st.sampled_from(Reopen)),
        reopen_within_days=draw(st.sampled_from([0, 1])),
        reopen_fallback=draw(st.booleans()),
        adopt_final=draw(st.sampled_from(AdoptFinal)),
    )


@st.composite
def governed(draw: st.DrawFn, *, most: int = 25) -> History:
    """What could really happen to one ticket under a policy, with people who take it into scope."""
    kind = draw(st.sampled_from([incident_messages(), incident_messages(), change_messages()]))
    life, events, planned = Life("e-1", policy=draw(policies())), list[Event](), []
    for _ in range(draw(st.integers(1, most))):
        keys = [entry.effect.key for entry in life.state.plans.entries.values()]
        answered = bool(keys) and draw(st.booleans())
        told = st.one_of(kind, kind, kind, kind, st.just(RESCOPE))
        event: Event = draw(outcomes(st.sampled_from(keys)) if answered else told)
        life.when(event)
        events.append(event)
        planned.append(tuple(effect.key for effect in life.new))
    return History(life, tuple(events), tuple(planned))


def play(history: History, actions: list[str]) -> Life:
    """Let the actor take its steps where `actions` say, but never hear of an effect before that was planned."""
    life, decided = Life(history.life.stream, policy=history.life.policy), -1
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


def decided(life: Life) -> Any:
    """What was decided; places are counted in facts that came, not in those that only the processor noticed."""
    own = {"Decided", "MessageQuarantined", "AnomalyNoticed"}
    facts = [place_of(item) for item in life.log if item.kind not in own]
    places = {"position": {place.position: index for index, place in enumerate(facts, 1)}}
    timed = {place.at: index for index, place in enumerate(facts, 1)}
    effects = [msgspec.structs.replace(effect, at=timed.get(effect.at, effect.at)) for effect in life.effects]
    return count_in_facts([effects, life.state.scope, life.state.client_tickets], places)


@pytest.mark.requirement("I5", "R207", "R213")
@settings(max_examples=100)
@given(governed(), st.lists(st.sampled_from(ACTIONS), min_size=1, max_size=30))
def test_under_any_policy_steps_may_be_grouped_torn_and_begun_again(history: History, actions: list[str]) -> None:
    assert decided(play(history, actions)) == decided(history.life)


@pytest.mark.requirement("I5", "R230")
@settings(max_examples=50)
@given(governed(), policies())
def test_a_log_folded_again_under_any_policy_gives_the_same_ticket(history: History, other: Policy) -> None:
    life = history.life
    before = life.whole
    rows, _ = fold_events("e-1", life.log, TicketMachine())
    life.policy = other

    assert life.forget().whole == before
    assert life.forget(snapshot=True).whole == before
    short = fold_compact("e-1", compact_events("e-1", life.log), TicketMachine())
    assert short is not None
    assert [row for row in short[0] if row.table == "ticket"] == [row for row in rows if row.table == "ticket"]


@pytest.mark.requirement("R207")
@settings(max_examples=60)
@given(governed())
def test_nothing_is_done_for_a_ticket_that_was_never_in(history: History) -> None:
    life = history.life
    was_in = life.state.scope is None or life.state.scope.inside
    lanes = {effect.lane for effect in life.effects}
    assert was_in or life.state.client_tickets or not lanes & {Lane.DESK, Lane.ATTACHMENTS}


@pytest.mark.requirement("I4", "R209", "R213")
@settings(max_examples=60)
@given(governed())
def test_every_desk_effect_has_a_client_ticket_to_go_to(history: History) -> None:
    life = history.life
    creates = Counter(effect.key for effect in life.effects if effect.kind is EffectKind.CREATE)
    numbers = {item.generation for item in life.state.client_tickets}
    for effect in life.effects:
        if effect.lane is not Lane.DESK or effect.kind is EffectKind.CREATE:
            continue
        home = effect.created_by or create_key("e-1", effect.generation)
        assert effect.number is not None or home in creates or effect.generation in numbers


@pytest.mark.requirement("R207")
@settings(max_examples=50)
@given(governed())
def test_to_rescope_twice_is_to_rescope_once(history: History) -> None:
    life = history.life
    life.when(RESCOPE)

    assert life.when(RESCOPE).new_keys == []
