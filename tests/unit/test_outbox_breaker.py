"""The breaker: closed, open, one that tries for all, closed again."""

from __future__ import annotations

from random import Random

import pytest

from ecproc.domain.attempt import Attempt, Blamed, Done, Held, Odd, Postponed, Uncertain
from ecproc.outbox.breaker import Breaker

TROUBLE = Held("503")


def make_breaker() -> Breaker:
    return Breaker(longest=30, rng=Random(1))


def opened(at: float = 0.0) -> Breaker:
    breaker = make_breaker()
    for _ in range(5):
        breaker.sending()
        breaker.note(TROUBLE, at)
    return breaker


@pytest.mark.parametrize("attempt", [Held("503"), Uncertain("no answer")])
def test_five_troubles_in_a_row_open_it(attempt: Attempt) -> None:
    breaker = make_breaker()

    for _ in range(4):
        assert not breaker.sending()
        breaker.note(attempt, 0)
        assert breaker.may_send(0)
    breaker.note(attempt, 0)

    assert breaker.is_open
    assert not breaker.may_send(0)
    assert 0.5 <= breaker.wait(0) <= 1


@pytest.mark.parametrize("attempt", [Done(), Blamed("no"), Blamed("never", final=True)])
def test_any_answer_ends_the_row(attempt: Attempt) -> None:
    breaker = make_breaker()

    for _ in range(10):
        for _ in range(4):
            breaker.note(TROUBLE, 0)
        breaker.note(attempt, 0)

    assert not breaker.is_open


def test_what_is_down_for_all_opens_it_at_once() -> None:
    breaker = make_breaker()

    breaker.note(Held("Forbidden", down=True), 0)

    assert breaker.is_open


def test_after_its_rest_exactly_one_tries() -> None:
    breaker = opened()

    assert not breaker.may_send(0.4)
    assert breaker.may_send(1)
    assert breaker.sending()
    assert not breaker.may_send(1)
    assert not breaker.may_send(1_000)
    assert breaker.wait(1) == 0


def test_its_success_closes_it() -> None:
    breaker = opened()
    probe = breaker.sending()

    breaker.note(Done(), 2, probe=probe)

    assert not breaker.is_open
    assert breaker.may_send(2)
    breaker.note(TROUBLE, 2)
    assert not breaker.is_open


def test_each_failure_of_it_rests_longer_up_to_the_limit() -> None:
    breaker, now, rests = opened(), 0.0, []

    for _ in range(9):
        now += breaker.wait(now)
        assert breaker.may_send(now)
        breaker.note(TROUBLE, now, probe=breaker.sending())
        rests.append(breaker.wait(now))

    ceilings = [min(30, 2.0**index) for index in range(1, 10)]
    assert all(ceiling / 2 <= rest <= ceiling for rest, ceiling in zip(rests, ceilings, strict=True))


def test_what_was_on_its_way_when_it_opened_makes_it_no_worse() -> None:
    breaker = opened()
    rest = breaker.wait(0)

    for _ in range(20):
        breaker.note(TROUBLE, 0.1)

    assert breaker.wait(0) == rest


def test_what_was_on_its_way_lets_no_second_one_try() -> None:
    breaker = opened()
    breaker.sending()

    breaker.note(TROUBLE, 2)

    assert not breaker.may_send(1_000)


def test_what_was_on_its_way_and_succeeded_closes_it() -> None:
    breaker = opened()

    breaker.note(Done(), 0.1)

    assert breaker.may_send(0.1)


@pytest.mark.parametrize("attempt", [Odd("whatever"), Blamed("no"), Done()])
def test_any_answer_closes_it(attempt: Attempt) -> None:
    breaker = opened()
    probe = breaker.sending()

    breaker.note(attempt, 50, probe=probe)

    assert not breaker.is_open


def test_what_our_configuration_refuses_says_nothing_about_the_destination() -> None:
    breaker, untouched = opened(), make_breaker()

    for _ in range(20):
        untouched.note(Postponed("no such host here"), 0)
    breaker.note(Postponed("no such host here"), 50, probe=breaker.sending())

    assert not untouched.is_open
    assert breaker.is_open
    assert breaker.may_send(50)


@pytest.mark.parametrize(("asked", "rest"), [(77.0, 77.0), (1e9, 300.0)])
def test_it_rests_as_long_as_it_is_asked_to_within_reason(asked: float, rest: float) -> None:
    breaker = opened()

    breaker.note(Held("429", retry_after=asked), 0)

    assert breaker.wait(0) == rest
