"""An outbox entry: where each outcome leads from each state."""

import msgspec
import pytest

from ecproc.domain.effects import LANES, Effect, EffectKind, Lane
from ecproc.domain.entry import DEAD, FINISHED, Entry, EntryState, apply_outcome
from ecproc.domain.events import (
    Act,
    EffectFailed,
    EffectStarted,
    EffectSucceeded,
    EffectUnknown,
    Hold,
    OperatorActed,
    Outcome,
)
from ecproc.domain.ids import EffectKey, TicketNumber
from ecproc.domain.plans import Plans
from ecproc.domain.sending import COMMAND_EFFECTS
from ecproc.fold.recorded import decode_entry, encode_entry

KEY = EffectKey("returnptn:e-CS1:A")


def effect(**changes: object) -> Effect:
    known: dict[str, object] = {"key": KEY, "kind": EffectKind.RETURN_NUMBER, "generation": 1, "position": 1, "at": 1}
    return Effect(**{**known, "ticket": TicketNumber("e-CS1"), "ticket_type": "Incident", **changes})  # type: ignore[arg-type]


def entry(state: EntryState = EntryState.AVAILABLE) -> Entry:
    return Entry(effect=effect(), order=1, state=state)


LEADS_TO: list[tuple[Outcome, EntryState]] = [
    (EffectStarted(KEY), EntryState.EXECUTING),
    (EffectSucceeded(KEY, {"number": "A"}), EntryState.COMPLETED),
    (EffectUnknown(KEY, "timeout", 7), EntryState.UNKNOWN),
    (EffectFailed(KEY, "refused", blamed=True, next_attempt_at=7), EntryState.RETRYABLE),
    (EffectFailed(KEY, "down", blamed=False, next_attempt_at=7), EntryState.RETRYABLE),
    (EffectFailed(KEY, "odd", blamed=False, next_attempt_at=7, held=Hold.ODD_ANSWER), EntryState.RETRYABLE),
    (EffectFailed(KEY, "refused", blamed=True), EntryState.DISCARDED),
    (EffectFailed(KEY, "refused", blamed=True, parked=True), EntryState.PARKED),
]


@pytest.mark.requirement("I4")
@pytest.mark.parametrize("before", [state for state in EntryState if state is not EntryState.DISCARDED])
@pytest.mark.parametrize(("outcome", "after"), LEADS_TO)
def test_an_outcome_counts_whatever_state_the_entry_was_in(
    before: EntryState, outcome: Outcome, after: EntryState
) -> None:
    ended = apply_outcome(entry(before), outcome)

    assert ended.state is after
    assert ended.finished == (after in FINISHED)
    assert ended.next_attempt_at == getattr(outcome, "next_attempt_at", None)


@pytest.mark.parametrize(("outcome", "after"), LEADS_TO)
def test_what_was_discarded_during_an_attempt_stays_so_unless_that_took_effect(
    outcome: Outcome, after: EntryState
) -> None:
    ended = apply_outcome(entry(EntryState.DISCARDED), outcome)

    done = after is EntryState.COMPLETED
    assert ended.state is (after if done else EntryState.DISCARDED)
    assert (ended.finished, ended.next_attempt_at) == (True, None)


ACTED: list[tuple[EntryState, EntryState, EntryState]] = [
    (EntryState.AVAILABLE, EntryState.RETRYABLE, EntryState.DISCARDED),
    (EntryState.EXECUTING, EntryState.EXECUTING, EntryState.DISCARDED),
    (EntryState.UNKNOWN, EntryState.UNKNOWN, EntryState.DISCARDED),
    (EntryState.RETRYABLE, EntryState.RETRYABLE, EntryState.DISCARDED),
    (EntryState.COMPLETED, EntryState.COMPLETED, EntryState.COMPLETED),
    (EntryState.CANCELLED, EntryState.CANCELLED, EntryState.CANCELLED),
    (EntryState.DISCARDED, EntryState.RETRYABLE, EntryState.DISCARDED),
    (EntryState.PARKED, EntryState.RETRYABLE, EntryState.DISCARDED),
]


@pytest.mark.parametrize(("before", "retried", "discarded"), ACTED)
def test_a_person_brings_back_what_is_dead_and_gives_up_what_is_not_done(
    before: EntryState, retried: EntryState, discarded: EntryState
) -> None:
    tried = Entry(effect=effect(), order=1, state=before, tries=3, blamed=3, attempts=3, next_attempt_at=9, reason="no")
    once_more = apply_outcome(tried, OperatorActed(Act.RETRY, "me", key=KEY, cause=1))
    given_up = apply_outcome(tried, OperatorActed(Act.DISCARD, "me", "of no use", key=KEY, cause=1))

    assert (once_more.state, given_up.state) == (retried, discarded)
    assert once_more.tries == given_up.tries == 3
    if retried is not before or retried in (EntryState.RETRYABLE, EntryState.UNKNOWN):
        assert (once_more.blamed, once_more.next_attempt_at) == (0, None)
    if discarded is not before:
        assert given_up.reason == "discarded by me: of no use"


def test_an_act_on_another_plan_of_the_key_changes_nothing() -> None:
    planned_anew = Entry(effect=effect(position=8), order=2)

    assert apply_outcome(planned_anew, OperatorActed(Act.DISCARD, "me", key=KEY, cause=1)) == planned_anew


def test_what_was_never_tried_is_available_again() -> None:
    dead = entry(EntryState.DISCARDED)

    assert apply_outcome(dead, OperatorActed(Act.RETRY, "me", key=KEY, cause=1)).state is EntryState.AVAILABLE


def test_what_was_told_is_forgotten_but_which_file_it_was_about_is_not() -> None:
    fields = {"description": "a" * 9}
    for kind in EffectKind:
        planned = Entry(effect=effect(kind=kind, fields=fields), order=1)
        waiting = apply_outcome(planned, EffectFailed(KEY, "down", blamed=False, next_attempt_at=7))
        dead = apply_outcome(planned, EffectFailed(KEY, "no", blamed=True))
        told = apply_outcome(planned, EffectSucceeded(KEY, {"number": "A"}))

        assert waiting.effect.fields == dead.effect.fields == fields
        assert told.effect == (
            planned.effect if kind in (EffectKind.DOWNLOAD, EffectKind.ATTACH) else effect(kind=kind)
        )


@pytest.mark.requirement("I4")
def test_only_a_judged_attempt_counts_and_only_a_blamed_one_is_spent() -> None:
    ended = entry()
    counts = []
    for outcome, _ in LEADS_TO:
        ended = apply_outcome(ended, outcome)
        counts.append((ended.attempts, ended.blamed, ended.tries))

    assert counts == [(0, 0, 0), (1, 0, 1), (2, 0, 2), (3, 1, 3), (3, 1, 4), (3, 1, 5), (4, 2, 6), (5, 3, 7)]


@pytest.mark.parametrize("before", list(EntryState))
@pytest.mark.parametrize("outcome", [outcome for outcome, _ in LEADS_TO if not isinstance(outcome, EffectStarted)])
@pytest.mark.parametrize(("cause", "counts"), [(0, True), (1, True), (2, False), (77, False)])
def test_an_outcome_of_another_plan_changes_nothing(
    before: EntryState, outcome: Outcome, cause: int, counts: bool
) -> None:
    known = entry(before)
    told = msgspec.structs.replace(outcome, cause=cause)

    assert apply_outcome(known, told) == (apply_outcome(known, outcome) if counts else known)


@pytest.mark.requirement("R97", "I4")
@pytest.mark.parametrize("before", list(EntryState))
@pytest.mark.parametrize("outcome", [outcome for outcome, _ in LEADS_TO])
def test_what_was_seen_done_is_done_whatever_comes_of_an_attempt_under_way(
    before: EntryState, outcome: Outcome
) -> None:
    plans = Plans({KEY: entry(before)}, count=1)
    seen = effect(position=2, done=True, fields={"number": "A"})

    planned = plans.plan([seen])

    assert planned == ([] if before is EntryState.COMPLETED else [seen])
    if planned:
        plans.settle(outcome)
        known = plans.entries[KEY]
        assert (known.state, known.order, known.result) == (EntryState.COMPLETED, 2, {"number": "A"})


@pytest.mark.parametrize("next_outcome", [outcome for outcome, _ in LEADS_TO if outcome != EffectStarted(KEY)])
def test_what_an_entry_waits_for_is_what_its_last_attempt_said(next_outcome: Outcome) -> None:
    failed = EffectFailed(KEY, "too large", blamed=False, next_attempt_at=7, held=Hold.CONFIGURATION)
    waiting = apply_outcome(entry(), failed)

    assert apply_outcome(waiting, EffectStarted(KEY)).held is Hold.CONFIGURATION
    assert apply_outcome(waiting, next_outcome).held is getattr(next_outcome, "held", None)


def test_a_reason_stays_until_it_is_out_of_date() -> None:
    failed = apply_outcome(entry(), EffectFailed(KEY, "refused", blamed=True, next_attempt_at=1))

    assert failed.reason == "refused"
    assert apply_outcome(failed, EffectSucceeded(KEY)).reason == ""


@pytest.mark.requirement("I4", "R229")
@pytest.mark.parametrize("before", list(EntryState))
@pytest.mark.parametrize("rearm", [False, True])
def test_planning_a_key_again_arms_only_what_is_over(before: EntryState, rearm: bool) -> None:
    plans = Plans({KEY: entry(before)}, count=1)
    again = effect(position=2, deadline=9, rearm=rearm)

    planned = plans.plan([again])

    armed = before in DEAD or (rearm and before in FINISHED)
    assert planned == ([again] if armed else [])
    assert plans.entries[KEY] == (Entry(effect=again, order=2) if armed else entry(before))


def test_every_kind_has_a_lane_and_only_returns_and_commands_go_to_the_bridge() -> None:
    assert LANES.keys() == set(EffectKind)
    commands = COMMAND_EFFECTS - {EffectKind.UPLOAD}
    assert {kind for kind in EffectKind if LANES[kind] is Lane.BRIDGE} == {EffectKind.RETURN_NUMBER, *commands}
    assert LANES[EffectKind.UPLOAD] is Lane.ATTACHMENTS
    assert entry().lane is Lane.BRIDGE


@pytest.mark.parametrize("state", list(EntryState))
def test_an_entry_is_kept_as_it_is(state: EntryState) -> None:
    kept = apply_outcome(entry(state), EffectSucceeded(KEY, {"number": "A"}))

    assert decode_entry(encode_entry(kept)) == kept
