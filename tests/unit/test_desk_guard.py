"""A desk of another package: what it may answer and raise, and what becomes of anything else."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final

import msgspec
import pytest
import structlog

from ecproc.desk.base import DeskAnswer, DeskCall, DeskHasNoRoom, DeskRefused, DeskUnavailable
from ecproc.desk.guard import GuardedDesk, WrongDesk
from ecproc.domain.effects import EffectKind, Repeat
from ecproc.domain.remarks import Remark
from ecproc.errors import RowDamaged, StoreFailed
from ecproc.testing.desk import make_call

GOOD: Final = DeskAnswer("INC1", "open", "ref", "https://desk", (), {"status": "open"}, 3)


class Scripted:
    """A desk that answers what it is told to, or raises it."""

    def __init__(self, answer: object = GOOD, *, repeat: object = Repeat.LOOK_UP, ends: object = 5) -> None:
        self.answer = answer
        self.repeat = repeat
        self.ends = ends

    def repeat_of(self, kind: EffectKind) -> Any:
        return self.repeat

    def ends_after(self, kind: EffectKind) -> Any:
        return self.ends

    async def perform(self, call: DeskCall) -> Any:
        if isinstance(self.answer, BaseException):
            raise self.answer
        return self.answer

    async def look_up(self, call: DeskCall) -> Any:
        return await self.perform(call)

    async def aclose(self) -> None:
        if isinstance(self.answer, BaseException):
            raise self.answer


def change(**fields: object) -> DeskAnswer:
    return msgspec.structs.replace(GOOD, **fields)


async def test_a_good_answer_is_passed_on() -> None:
    desk = GuardedDesk(Scripted())
    assert await desk.perform(make_call("1")) == await desk.look_up(make_call("1")) == GOOD
    assert await GuardedDesk(Scripted(None)).look_up(make_call("1")) is None


async def test_what_it_says_of_repeats_stays() -> None:
    own = Scripted()
    desk = GuardedDesk(own)
    own.repeat, own.ends = Repeat.BLIND, 9
    assert (desk.repeat_of(EffectKind.CREATE), desk.ends_after(EffectKind.CREATE)) == (Repeat.LOOK_UP, 5.0)


@pytest.mark.parametrize(
    "make",
    [
        object,
        lambda: Scripted(repeat="keyed"),
        lambda: Scripted(ends=math.inf),
        lambda: Scripted(ends=-1),
        lambda: Scripted(ends="5"),
    ],
)
def test_what_is_no_desk_is_refused(make: Callable[[], Any]) -> None:
    with pytest.raises(WrongDesk):
        GuardedDesk(make())


@pytest.mark.requirement("I4")
@pytest.mark.parametrize(
    "answer",
    [
        "INC1",
        change(number=1),
        change(number=" "),
        change(number="INC\x1b[31m"),
        change(number="x" * 5_000),
        change(state=None),
        change(view={"status": 1}),
        change(stamp="3"),
        StoreFailed("it is for us to say that"),
        RowDamaged("ticket", "e-CS1", "", "so is this"),
    ],
)
@pytest.mark.parametrize("way", ["perform", "look_up"])
async def test_an_answer_of_no_use_leaves_the_outcome_unknown(answer: object, way: str) -> None:
    """It may have been applied, and nothing of the kind may get into the log or end the process."""
    with pytest.raises(DeskUnavailable, match="a defect of the desk") as unknown:
        await getattr(GuardedDesk(Scripted(answer)), way)(make_call("1"))
    assert unknown.value.sent


async def test_none_is_no_answer_to_a_call() -> None:
    with pytest.raises(DeskUnavailable, match="NoneType"):
        await GuardedDesk(Scripted(None)).perform(make_call("1"))


async def test_what_it_may_raise_is_passed_on_in_texts() -> None:
    said: Any = DeskUnavailable(
        "x" * 9_000,
        sent=True,
        retry_after=math.nan,
        down=True,
        hint="h",
        remarks=(Remark("odd_answer", "a"), Remark("mine", "b")),
        call={"method": "POST", "status": 500},  # type: ignore[dict-item]
    )
    with pytest.raises(DeskUnavailable) as unavailable:
        await GuardedDesk(Scripted(said)).perform(make_call("1"))
    told = unavailable.value
    assert (len(str(told)), told.sent, told.retry_after, told.down, told.hint) == (4_096, True, None, True, "h")
    assert told.remarks == (Remark("odd_answer", "a"), Remark("odd_answer", "mine: b"))
    assert told.call == {"method": "POST", "status": "500"}
    with pytest.raises(DeskRefused) as refused:
        await GuardedDesk(Scripted(DeskRefused("no", final=True, hint="ask"))).perform(make_call("1"))
    assert (str(refused.value), refused.value.final, refused.value.hint) == ("no", True, "ask")
    with pytest.raises(DeskHasNoRoom):
        await GuardedDesk(Scripted(DeskHasNoRoom("locked"))).perform(make_call("1"))


async def test_any_other_failure_is_left_to_whoever_asks() -> None:
    """The dispatcher tells it as a defect, with where it was, and counts the outcome as unknown."""
    with pytest.raises(KeyError):
        await GuardedDesk(Scripted(KeyError("x"))).perform(make_call("1"))


async def test_a_failure_while_it_is_closed_is_told_and_costs_nothing() -> None:
    with structlog.testing.capture_logs() as lines:
        await GuardedDesk(Scripted(OSError("gone"))).aclose()
    assert [(line["event"], line["error"]) for line in lines] == [("desk_not_closed", "OSError")]
