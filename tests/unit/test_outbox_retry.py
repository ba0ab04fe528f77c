"""What an attempt leads to: the whole table."""

from __future__ import annotations

from random import Random
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecproc.domain.effects import Effect, EffectKind
from ecproc.domain.entry import Entry, EntryState, apply_outcome
from ecproc.domain.events import EffectFailed, EffectSucceeded, EffectUnknown
from ecproc.domain.ids import EffectKey, TicketNumber
from ecproc.domain.recorded import encode_event
from ecproc.outbox.retry import SECOND, Attempt, Blamed, Done, Held, RetryPolicy, Uncertain, back_off, conclude

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
    assert end(Done({"number": "L-1"})) == EffectSucceeded(EffectKey("k"), {"number": "L-1"})


@pytest.mark.requirement("R204")
def test_an_unknown_outcome_has_a_timer_of_its_own_and_is_no_failure() -> None:
    outcome = end(Uncertain("no answer"))

    assert isinstance(outcome, EffectUnknown)
    assert outcome.reason == "no answer"
    assert 60 <= min(waits(Uncertain("x"))) < 65
    assert 115 < max(waits(Uncertain("x"))) <= 120


def test_an_unknown_outcome_never_ends_by_itself() -> None:
    worn = make_entry(attempts=1000, blamed=3)

    assert end(Uncertain("x"), worn).next_attempt_at is not None


@pytest.mark.parametrize("blamed", [0, 1, 3])
def test_a_destination_in_trouble_costs_the_entry_nothing(blamed: int) -> None:
    entry = make_entry(blamed=blamed, attempts=blamed)

    outcome = end(Held("503"), entry)

    assert (outcome.blamed, outcome.parked) == (False, False)
    assert apply_outcome(entry, outcome).blamed == blamed
    assert apply_outcome(entry, outcome).state is EntryState.AVAILABLE
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
@pytest.mark.parametrize(("attempt", "blamed"), [(Blamed("no"), 3), (Blamed("never", final=True), 0)])
def test_the_last_blame_parks_a_create_and_discards_the_rest(kind: EffectKind, attempt: Attempt, blamed: int) -> None:
    entry = make_entry(kind, blamed=blamed)

    outcome = end(attempt, entry)

    assert isinstance(outcome, EffectFailed)
    assert outcome.next_attempt_at is None
    expected = EntryState.PARKED if kind is EffectKind.CREATE else EntryState.DISCARDED
    assert apply_outcome(entry, outcome).state is expected


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
    | st.builds(Blamed, TEXTS, st.booleans())
)
def test_whatever_a_receiver_says_the_log_can_keep_it(attempt: Attempt) -> None:
    _, payload = encode_event(end(attempt))

    assert len(payload) < 50_000
    msgspec.json.decode(payload)
