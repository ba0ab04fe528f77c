"""One try of an effect: what is asked of the destination that makes it, and what came of it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final, Protocol, TypeAlias

import msgspec

from ecproc.domain.effects import EffectKind, Repeat
from ecproc.domain.entry import Entry
from ecproc.domain.events import Remark

LONGEST_POSTPONED: Final = 3_600.0
"""Seconds after which what our configuration refuses, or what was answered oddly, is tried once more."""

LOOK_HINT: Final = "see whether Ensono has it: if not, retry it, else discard it"
"""What a person can do about what may have been done and must not be done twice."""

_LONGEST_ASKED: Final = 300.0
"""Seconds that a destination may ask us to wait."""


class Done(msgspec.Struct, frozen=True):
    """It took effect; what the receiver told. `request_id`, here and below, is the receiver's own name for the call,
    and `remarks` what its answer shows to be odd about the ticket. `view` is what the desk has in the fields that were
    written, as it has them, at the record's `stamp`."""

    result: Mapping[str, str] = {}
    request_id: str = ""
    remarks: tuple[Remark, ...] = ()
    view: Mapping[str, str] = {}
    stamp: int = 0


class Odd(msgspec.Struct, frozen=True):
    """It was answered, in words nobody knows: not done, nobody's fault, and asked again once an hour at most.

    `final`: it is not repeated by itself, for nobody could tell whether that did it twice. `call`, here and below, is
    what was asked of whom and the answer's status (R202).
    """

    text: str
    request_id: str = ""
    final: bool = False
    call: Mapping[str, str] = {}

    @property
    def reason(self) -> str:
        """The words, marked as what they are."""
        return f"odd answer: {self.text}"


class Blamed(msgspec.Struct, frozen=True):
    """The receiver said no to this entry; `final` when asking again cannot help, `lost` when nobody and nothing can.

    `hint`, here and below, is what a person can do about it.
    """

    reason: str
    final: bool = False
    lost: bool = False
    hint: str = ""
    request_id: str = ""
    call: Mapping[str, str] = {}
    remarks: tuple[Remark, ...] = ()


class Held(msgspec.Struct, frozen=True):
    """The destination was in trouble and certainly did nothing. `down`: no entry would fare better there."""

    reason: str
    retry_after: float | None = None
    down: bool = False
    hint: str = ""
    request_id: str = ""
    call: Mapping[str, str] = {}
    remarks: tuple[Remark, ...] = ()

    @property
    def wait(self) -> float:
        """The seconds it asked for, 300 at most."""
        return min(self.retry_after or 0.0, _LONGEST_ASKED)


class Postponed(msgspec.Struct, frozen=True):
    """Our own configuration refuses it; it is tried again after `wait` seconds, an hour at most, and at every start."""

    reason: str
    wait: float = LONGEST_POSTPONED
    hint: str = ""
    request_id: str = ""
    call: Mapping[str, str] = {}


class Uncertain(msgspec.Struct, frozen=True):
    """Sent, no trusted answer: it may have taken effect."""

    reason: str
    hint: str = ""
    request_id: str = ""
    call: Mapping[str, str] = {}
    remarks: tuple[Remark, ...] = ()


class Deferred(msgspec.Struct, frozen=True):
    """There is no room for it here just now: nothing came of it, nothing is recorded, and it stays due.

    Only for kinds that leave no intent.
    """

    reason: str
    hint: str = ""


Attempt: TypeAlias = Done | Odd | Blamed | Held | Postponed | Uncertain
"""How one try ended."""


class Performer(Protocol):
    """One destination."""

    @property
    def name(self) -> str:
        """What the destination is called in metrics and logs; performers of one name share one breaker."""

    @property
    def kinds(self) -> Collection[EffectKind]:
        """The kinds of effects it takes; no other performer takes them."""

    def repeat_of(self, kind: EffectKind) -> Repeat:
        """Why repeating a call of that kind is harmless."""

    def ends_after(self, kind: EffectKind) -> float:
        """Seconds after which a call of that kind that was cut off has certainly come to its end at the receiver's:
        what became of it is not looked up before."""

    async def perform(self, stream: str, entry: Entry) -> Attempt | Deferred:
        """Try the entry once, asking first where `repeat_of` needs that. Expected troubles are values, never raised.

        It is given the entry as it was claimed, and cancelled at a deadline of the dispatcher's own: whatever was sent
        by then counts as uncertain. Anything raised but a StoreError is a defect and counts as uncertain, too.
        """
