"""Which entry of a ticket's lane is next: planned order, what holds, what lets pass."""

from __future__ import annotations

from itertools import count
from typing import Any

import pytest

from ecproc.domain.effects import Effect, EffectKind
from ecproc.domain.entry import Entry, EntryState
from ecproc.domain.ids import EffectKey, TicketNumber
from ecproc.outbox.lanes import Run, Wait, choose_next

NOW = 1_000
S = EntryState
K = EffectKind
_orders = count()


def entry(kind: EffectKind, state: EntryState = S.AVAILABLE, *, generation: int = 1, **members: Any) -> Entry:
    order = next(_orders)
    effect = Effect(
        key=EffectKey(f"{kind}:{order}"),
        kind=kind,
        generation=generation,
        position=order,
        at=0,
        ticket=TicketNumber("e-1"),
        ticket_type="Change",
    )
    return Entry(effect, order, state, **members)


def test_nothing_planned_nothing_due() -> None:
    assert choose_next([], NOW) is None


def test_the_first_in_planned_order_runs() -> None:
    first, second = entry(K.CREATE), entry(K.UPDATE)

    assert choose_next([first, second], NOW) == Run(first)


@pytest.mark.parametrize("state", [S.COMPLETED, S.CANCELLED, S.DISCARDED, S.PARKED])
def test_what_is_finished_lets_the_next_one_run(state: EntryState) -> None:
    following = entry(K.CLOSE)

    assert choose_next([entry(K.UPDATE, state), following], NOW) == Run(following)


@pytest.mark.parametrize("state", [S.UNKNOWN, S.RETRYABLE, S.AVAILABLE])
@pytest.mark.parametrize(("kind", "generation"), [(K.CLOSE, 1), (K.CREATE, 2)])
def test_what_waits_for_its_time_holds_those_behind(state: EntryState, kind: EffectKind, generation: int) -> None:
    first = entry(K.UPDATE, state, next_attempt_at=NOW + 1)
    behind = entry(kind, generation=generation)

    assert choose_next([first, behind], NOW) == Wait(NOW + 1)
    assert choose_next([first, behind], NOW + 1) == Run(first)


@pytest.mark.requirement("R110")
def test_what_is_being_performed_holds_those_behind() -> None:
    assert choose_next([entry(K.CREATE, S.EXECUTING), entry(K.UPDATE)], NOW) is None


@pytest.mark.parametrize("state", [S.DISCARDED, S.PARKED])
def test_a_dead_create_holds_its_generation_and_no_other(state: EntryState) -> None:
    dead, second = entry(K.CREATE, state), entry(K.CREATE, generation=2)

    assert choose_next([dead, entry(K.UPDATE), entry(K.CANCEL)], NOW) is None
    assert choose_next([dead, entry(K.UPDATE), entry(K.CANCEL), second], NOW) == Run(second)


@pytest.mark.parametrize("state", [S.AVAILABLE, S.UNKNOWN, S.RETRYABLE])
def test_a_create_that_was_planned_again_goes_before_what_waited_for_it(state: EntryState) -> None:
    update, create = entry(K.UPDATE), entry(K.CREATE, state)

    assert choose_next([update, create], NOW) == Run(create)


@pytest.mark.parametrize("state", [S.UNKNOWN, S.EXECUTING, S.RETRYABLE])
def test_what_is_held_holds_nobody_itself(state: EntryState) -> None:
    dead, second = entry(K.CREATE, S.PARKED), entry(K.UPDATE, generation=2)

    assert choose_next([dead, entry(K.UPDATE, state, next_attempt_at=NOW + 9), second], NOW) == Run(second)


def test_generations_run_in_the_order_they_were_planned() -> None:
    planned = [entry(kind, generation=generation) for generation in (1, 2) for kind in (K.CREATE, K.UPDATE, K.CANCEL)]
    ran = []

    while planned:
        chosen = choose_next(planned, NOW)
        assert isinstance(chosen, Run)
        ran.append(planned.pop(planned.index(chosen.entry)))

    assert [item.order for item in ran] == sorted(item.order for item in ran)
