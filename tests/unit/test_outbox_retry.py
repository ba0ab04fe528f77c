"""What an attempt leads to: the whole table."""

from __future__ import annotations

from random import Random
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecproc.domain.attempt import Attempt, Blamed, Done, Held, Odd, Postponed, Uncertain
from ecproc.domain.effects import Effect, EffectKind, Repeat
from ecproc.domain.entry import Entry, EntryState, apply_outcome
from ecproc.domain.events import EffectFailed, EffectSucceeded, EffectUnknown, Hold
from ecproc.domain.ids import EffectKey, TicketNumber
from ecproc.fold.recorded import Kind, decode_event, encode_event
from ecproc.outbox.retry import SECOND, RetryPolicy, back_off, conclude, interrupt, supersede, take_up

NOW = 1_700_000_000 * SECOND
POLICY = RetryPolicy(max_attempts=4, unknown_retry=(60.0, 120.0), longest=100.0)


def make_entry(kind: EffectKind = EffectKind.UPDATE, **members: Any) -> Entry:
    effect = Effect(
        key=EffectKey("k"),
        kind=kind,
        generation=1,
        position=1,
        at=NOW,
        ticket=TicketNumber("e-1"),
        ticket_type="Incident",
    )
    return Entry(effect, 1, **members)


def end(attempt: Attempt, entry: Entry | None = None, *, seed: int = 1) -> Any:
    return conclude(entry or make_entry(), attempt, now=NOW, rng=Random(seed), policy=POLICY)


def waits(attempt: Attempt, entry: Entry | None = None) -> list[float]:
    """The waits that a hundred dice give, in seconds."""
    return [(end(attempt, entry, seed=seed).next_attempt_at - NOW) / SECOND for seed in range(100)]


def test_success_ends_it_with_what_the_receiver_told() -> None:
    assert end(Done({"number": "L-1"})) == EffectSucceeded(EffectKey("k"), {"number": "L-1"}, cause=1)


@pytest.mark.requirement("R204", "R97")
def test_an_unknown_outcome_has_a_timer_of_its_own_and_is_no_failure() -> None:
    outcome = end(Uncertain("no answer"))

    assert isinstance(outcome, EffectUnknown)
    assert outcome.reason == "no answer"
    assert 60 <= min(waits(Uncertain("x"))) < 65
    assert 115 < max(waits(Uncertain("x"))) <= 120


def test_an_unknown_outcome_never_ends_by_itself() -> None:
    worn = make_entry(attempts=1000, blamed=3)

    assert end(Uncertain("x"), worn).next_attempt_at is not None


@pytest.mark.requirement("R119")
@pytest.mark.parametrize("blamed", [0, 1, 3])
def test_a_destination_in_trouble_costs_the_entry_nothing(blamed: int) -> None:
    entry = make_entry(blamed=blamed, attempts=blamed)

    outcome = end(Held("503"), entry)

    assert (outcome.blamed, outcome.parked) == (False, False)
    assert apply_outcome(entry, outcome).blamed == blamed
    assert (apply_outcome(entry, outcome).state, apply_outcome(entry, outcome).tries) == (EntryState.RETRYABLE, 1)
    assert 0.5 <= min(waits(Held("x"))) < max(waits(Held("x"))) <= 1


@pytest.mark.parametrize(
    ("asked", "shortest", "longest"), [(None, 0.5, 1), (0.0, 0.5, 1), (17.0, 17, 17), (3600.0, 300, 300)]
)
def test_a_wish_to_wait_is_honoured_within_reason(asked: float | None, shortest: float, longest: float) -> None:
    found = waits(Held("429", retry_after=asked))

    assert shortest <= min(found) <= max(found) <= longest


@pytest.mark.parametrize("asked", [float("inf"), 1e300])
def test_an_endless_wish_is_none(asked: float) -> None:
    assert max(waits(Held("429", retry_after=asked))) == 300


@pytest.mark.parametrize(("blamed", "ceiling"), [(0, 1), (1, 2), (2, 4)])
def test_blame_costs_an_attempt_and_waits_longer_each_time(blamed: int, ceiling: float) -> None:
    entry = make_entry(blamed=blamed)

    after = apply_outcome(entry, end(Blamed("no"), entry))

    assert (after.state, after.blamed, after.reason) == (EntryState.RETRYABLE, blamed + 1, "no")
    assert ceiling / 2 <= min(waits(Blamed("no"), entry)) < max(waits(Blamed("no"), entry)) <= ceiling


@pytest.mark.parametrize("kind", EffectKind)
@pytest.mark.parametrize(
    ("attempt", "blamed", "expected"),
    [
        (Blamed("no"), 3, EntryState.PARKED),
        (Blamed("never", final=True), 0, EntryState.PARKED),
        (Blamed("gone", lost=True), 0, EntryState.DISCARDED),
        (Blamed("gone", lost=True), 3, EntryState.DISCARDED),
    ],
)
def test_what_somebody_could_mend_is_parked_and_only_what_is_lost_is_discarded(
    kind: EffectKind, attempt: Attempt, blamed: int, expected: EntryState
) -> None:
    entry = make_entry(kind, blamed=blamed)

    outcome = end(attempt, entry)

    assert isinstance(outcome, EffectFailed)
    assert outcome.next_attempt_at is None
    assert apply_outcome(entry, outcome).state is expected


@pytest.mark.parametrize(
    ("attempt", "held", "reason", "seconds"),
    [
        (Odd("Ticket was updated, probably"), Hold.ODD_ANSWER, "odd answer: Ticket was updated, probably", 3600),
        (Odd(""), Hold.ODD_ANSWER, "odd answer: ", 3600),
        (Postponed("no such host here"), Hold.CONFIGURATION, "no such host here", 3600),
        (Postponed("too large", 90.0), Hold.CONFIGURATION, "too large", 90),
        (Postponed("too large", 1e9), Hold.CONFIGURATION, "too large", 3600),
    ],
)
@pytest.mark.parametrize("blamed", [0, 3])
def test_what_is_nobodys_fault_waits_and_costs_nothing(
    attempt: Attempt, held: Hold, reason: str, seconds: int, blamed: int
) -> None:
    entry = make_entry(EffectKind.DOWNLOAD, blamed=blamed)

    outcome = end(attempt, entry)
    after = apply_outcome(entry, outcome)

    assert outcome.next_attempt_at == NOW + seconds * SECOND
    assert (after.state, after.held, after.reason) == (EntryState.RETRYABLE, held, reason)
    assert (after.blamed, after.attempts, after.tries) == (blamed, 0, 1)


@pytest.mark.parametrize(
    "attempt",
    [
        Odd("?", "r-1"),
        Blamed("no", request_id="r-1"),
        Blamed("no", lost=True, request_id="r-1"),
        Held("503", request_id="r-1"),
        Postponed("too large", request_id="r-1"),
        Uncertain("timed out", request_id="r-1"),
    ],
)
def test_the_receivers_name_for_a_call_is_kept(attempt: Attempt) -> None:
    assert end(attempt).request_id == "r-1"


def test_the_receivers_name_for_a_call_stands_in_the_result_of_one_that_succeeded() -> None:
    assert end(Done({"answer": "PTN added"}, "r-1")).result == {"answer": "PTN added", "request_id": "r-1"}


@pytest.mark.parametrize(
    "attempt",
    [Uncertain("?"), Odd("?"), Held("503"), Blamed("no"), Blamed("no", final=True), Blamed("gone", lost=True)],
)
def test_an_attempt_at_a_plan_that_was_replaced_ends_nothing_and_blames_nobody(attempt: Attempt) -> None:
    outcome = supersede(end(attempt), now=NOW)

    assert isinstance(outcome, EffectFailed)
    assert (outcome.blamed, outcome.parked, outcome.held, outcome.next_attempt_at) == (False, False, None, NOW)
    assert (outcome.cause, outcome.reason) == (1, attempt.reason)  # type: ignore[union-attr]


def test_success_is_success_whichever_plan_it_was_for() -> None:
    outcome = end(Done({"sha256": "ab"}))

    assert supersede(outcome, now=NOW) is outcome


@given(st.integers(1, 10_000), st.floats(0.5, 1e6))
def test_back_off_doubles_from_one_up_to_its_cap(attempt: int, longest: float) -> None:
    ceiling = min(longest, 2.0 ** min(attempt - 1, 30))

    found = [back_off(attempt, rng=Random(seed), longest=longest) for seed in range(20)]

    assert all(ceiling / 2 <= seconds <= ceiling for seconds in found)
    assert len(set(found)) > 1


TEXTS = st.text(st.characters(), max_size=20) | st.sampled_from(["\ud800", "a\udcffb", "x" * 100_000])


@given(
    st.builds(Done, st.dictionaries(TEXTS, TEXTS, max_size=2))
    | st.builds(Uncertain, TEXTS)
    | st.builds(Held, TEXTS, st.none() | st.floats(0, allow_nan=False))
    | st.builds(Blamed, TEXTS, st.booleans(), request_id=TEXTS)
    | st.builds(Odd, TEXTS, TEXTS)
    | st.builds(Postponed, TEXTS, request_id=TEXTS)
)
def test_whatever_a_receiver_says_the_log_can_keep_it(attempt: Attempt) -> None:
    _, payload = encode_event(end(attempt))

    assert len(payload) < 50_000
    msgspec.json.decode(payload)


@pytest.mark.parametrize("repeat", Repeat)
def test_what_was_cut_off_is_asked_again_once_nothing_of_it_can_arrive(repeat: Repeat) -> None:
    outcomes = [interrupt(make_entry(), repeat, now=NOW, rng=Random(seed), policy=POLICY) for seed in range(100)]

    waited = [((outcome.next_attempt_at or 0) - NOW) / SECOND for outcome in outcomes]
    at_once = repeat in (Repeat.IDEMPOTENT, Repeat.KEYED)
    assert all(wait == 0 if at_once else 60 <= wait <= 120 for wait in waited)
    assert {(outcome.reason, outcome.cause) for outcome in outcomes} == {("interrupted", 1)}


@pytest.mark.parametrize(
    ("held", "at", "due"),
    [
        (None, None, None),
        (None, NOW - 1, NOW - 1),
        (None, NOW + 100 * SECOND, NOW + 100 * SECOND),
        (None, NOW + 101 * SECOND, NOW + 100 * SECOND),
        (Hold.ODD_ANSWER, NOW + 99 * SECOND, NOW + 99 * SECOND),
        (Hold.CONFIGURATION, NOW + 99 * SECOND, None),
    ],
)
def test_a_new_process_waits_no_longer_than_a_retry_may_take_nor_for_what_it_may_do_otherwise(
    held: Hold | None, at: int | None, due: int | None
) -> None:
    entry = make_entry(state=EntryState.RETRYABLE, held=held, next_attempt_at=at)

    assert take_up(entry, now=NOW, policy=POLICY) == msgspec.structs.replace(entry, next_attempt_at=due)


# --- what was asked of whom -------------------------------------------------------------------------------------------

CALL = {"method": "PUT", "path": "/tickets/e-CS1", "status": "503"}


@pytest.mark.requirement("R202")
@pytest.mark.parametrize(
    "attempt",
    [
        Odd("?", call=CALL),
        Blamed("no", call=CALL),
        Held("HTTP 503", call=CALL),
        Postponed("not allowed", call=CALL),
        Uncertain("no answer", call=CALL),
    ],
)
def test_every_end_keeps_the_call(attempt: Attempt) -> None:
    outcome = end(attempt)
    kind, payload = encode_event(outcome)

    assert outcome.call == CALL
    assert decode_event(kind, payload) == outcome
    assert supersede(outcome, now=NOW).call == CALL  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("kind", "payload"),
    [
        (Kind.EFFECT_FAILED, b'{"key":"k","reason":"HTTP 503","blamed":false,"next_attempt_at":1}'),
        (Kind.EFFECT_UNKNOWN, b'{"key":"k","reason":"no answer","next_attempt_at":1}'),
    ],
)
def test_an_older_log_knows_of_no_call(kind: Kind, payload: bytes) -> None:
    outcome = decode_event(kind, payload)

    assert isinstance(outcome, EffectFailed | EffectUnknown)
    assert outcome.call == {}


@pytest.mark.requirement("I4")
def test_an_odd_answer_to_what_must_not_be_repeated_waits_for_a_person() -> None:
    outcome = end(Odd("Thank you", final=True))
    entry = apply_outcome(make_entry(), outcome)

    assert (outcome.held, outcome.blamed, outcome.next_attempt_at) == (Hold.ODD_ANSWER, False, None)
    assert (entry.state, entry.next_attempt_at, entry.reason) == (EntryState.PARKED, None, "odd answer: Thank you")
