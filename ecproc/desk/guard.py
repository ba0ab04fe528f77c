"""A desk of another package, held to the protocol: what it answers stands in the log for good."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final

import msgspec
import structlog

from ecproc.desk.base import DESK_KINDS, Desk, DeskAnswer, DeskCall, DeskHasNoRoom, DeskRefused, DeskUnavailable
from ecproc.domain.anomalies import Anomaly
from ecproc.domain.effects import EffectKind, Repeat
from ecproc.domain.remarks import Remark
from ecproc.errors import EcprocError

log = structlog.get_logger()

_METHODS: Final = ("repeat_of", "ends_after", "perform", "look_up", "aclose")
_CODES: Final = frozenset(Anomaly)
_MOST: Final = 4_096
"""Characters of any text that is kept of what a desk tells beside its view."""
_DEFECT_HINT: Final = "tell whoever made the desk's package; see at the desk whether it was applied"


class WrongDesk(Exception):
    """It has not what every desk has."""


class GuardedDesk:
    """Another package's desk. Its answers are of the protocol's types, or the call's outcome is unknown; what it says
    of repeats is what it said at first. Raises WrongDesk where it is none."""

    def __init__(self, desk: Desk) -> None:
        missing = [name for name in _METHODS if not callable(getattr(desk, name, None))]
        if missing:
            raise WrongDesk(f"a {type(desk).__name__} has no {', '.join(missing)}")
        self._desk = desk
        self._repeats = {kind: _read_repeat(desk, kind) for kind in DESK_KINDS}
        self._ends = {kind: _read_end(desk, kind) for kind in DESK_KINDS}

    def repeat_of(self, kind: EffectKind) -> Repeat:
        return self._repeats[kind]

    def ends_after(self, kind: EffectKind) -> float:
        return self._ends[kind]

    async def perform(self, call: DeskCall) -> DeskAnswer:
        with _speaking_for_itself():
            return _read_answer(await self._desk.perform(call))

    async def look_up(self, call: DeskCall) -> DeskAnswer | None:
        with _speaking_for_itself():
            answer = await self._desk.look_up(call)
            return None if answer is None else _read_answer(answer)

    async def aclose(self) -> None:
        """Close it; a failure is told and costs nothing: whatever it answered was kept."""
        try:
            await self._desk.aclose()
        except Exception as error:
            log.warning("desk_not_closed", error=type(error).__name__, exc_info=error)


def _read_repeat(desk: Desk, kind: EffectKind) -> Repeat:
    repeat = desk.repeat_of(kind)
    if not isinstance(repeat, Repeat):
        raise WrongDesk(f"repeat_of({kind}) is a {type(repeat).__name__}, not a Repeat")
    return repeat


def _read_end(desk: Desk, kind: EffectKind) -> float:
    seconds: object = desk.ends_after(kind)
    if not isinstance(seconds, int | float) or not 0 <= seconds < math.inf:
        raise WrongDesk(f"ends_after({kind}) is not a number of seconds")
    return float(seconds)


@contextmanager
def _speaking_for_itself() -> Iterator[None]:
    """Pass on what a desk may raise, in texts; anything else is a defect of its own, also where it has our names."""
    try:
        yield
    except DeskHasNoRoom:
        raise
    except DeskUnavailable as error:
        raise DeskUnavailable(
            _clip(error),
            sent=bool(error.sent),
            retry_after=_read_seconds(error.retry_after),
            down=bool(error.down),
            hint=_clip(error.hint),
            remarks=_read_remarks(error.remarks),
            call=_read_texts(error.call),
        ) from error
    except DeskRefused as error:
        raise DeskRefused(
            _clip(error),
            final=bool(error.final),
            hint=_clip(error.hint),
            remarks=_read_remarks(error.remarks),
            call=_read_texts(error.call),
        ) from error
    except EcprocError as error:  # of these some would end the process, which is not for a desk to say
        raise _be_open(f"it raised {type(error).__name__}") from error


def _be_open(reason: str) -> DeskUnavailable:
    """What a call came to whose answer is of no use: it may have been applied."""
    return DeskUnavailable(f"a defect of the desk: {reason}", sent=True, hint=_DEFECT_HINT)


def _read_answer(answer: DeskAnswer) -> DeskAnswer:
    """The answer, if it is one."""
    if not isinstance(answer, DeskAnswer):
        raise _be_open(f"it answered a {type(answer).__name__}, not a DeskAnswer")
    texts: tuple[object, ...] = (answer.number, answer.state, answer.reference, answer.url)
    if not all(isinstance(text, str) and len(text) <= _MOST for text in texts):
        raise _be_open(f"it answered what is no text of {_MOST:,} characters at most")
    if not answer.number.strip() or not answer.number.isprintable():
        raise _be_open("it answered without the number of the client ticket")
    view: tuple[object, ...] = (*answer.view, *answer.view.values())
    stamp: object = answer.stamp
    if not isinstance(stamp, int) or not all(isinstance(text, str) for text in view):
        raise _be_open("it answered a stamp that is no whole number, or a view that is not of texts")
    return msgspec.structs.replace(answer, remarks=_read_remarks(answer.remarks))


def _read_remarks(remarks: tuple[Remark, ...]) -> tuple[Remark, ...]:
    """The remarks, under codes of the contract: others would be none to whoever reads them."""
    return tuple(
        Remark(remark.code, _clip(remark.detail))
        if remark.code in _CODES
        else Remark(Anomaly.ODD_ANSWER, _clip(f"{remark.code}: {remark.detail}"))
        for remark in remarks
    )


def _read_texts(texts: Mapping[str, str]) -> Mapping[str, str]:
    return {_clip(name): _clip(text) for name, text in texts.items()}


def _read_seconds(seconds: float | None) -> float | None:
    return seconds if isinstance(seconds, int | float) and 0 <= seconds < math.inf else None


def _clip(text: object) -> str:
    return str(text)[:_MOST]
