"""What goes wrong at the instance: on demand, by a call's own header, or at a rate from a seed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from enum import StrEnum
from random import Random
from typing import Annotated, Final

import msgspec

from ecproc.simulator.faults import Quota

HEADER: Final = "x-simulator-fault"
Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
Duration = Annotated[float, msgspec.Meta(ge=0, le=1e7)]


class InstanceFault(StrEnum):
    """What can happen to a call.

    Not applied: `abort_rule` (403, a business rule), `data_policy` (403), `acl_deny` (403), `429`, `401_expired` (the
    token is gone), `mfa` (401 that asks for a second factor), `html_200` (a sleeping instance), `lost_request`.
    Applied, and answered oddly: `drop_field` and `silent_state` (left out without a word), `double_number` (that of the
    record before), `quota_cut` (a success whose JSON breaks off), `apply_then_500`, `lost_answer`, `slow`. `apply_late`
    closes the connection at once and applies the call `seconds` later. `acl_hide` hides rows from this call.
    """

    ABORT_RULE = "abort_rule"
    DATA_POLICY = "data_policy"
    ACL_DENY = "acl_deny"
    ACL_HIDE = "acl_hide"
    DROP_FIELD = "drop_field"
    SILENT_STATE = "silent_state"
    DOUBLE_NUMBER = "double_number"
    QUOTA_CUT = "quota_cut"
    HTML_200 = "html_200"
    APPLY_THEN_500 = "apply_then_500"
    APPLY_LATE = "apply_late"
    TOO_MANY = "429"
    EXPIRED = "401_expired"
    MFA = "mfa"
    SLOW = "slow"
    LOST_ANSWER = "lost_answer"
    LOST_REQUEST = "lost_request"


_WITH_BODY: Final = ("POST", "PUT", "PATCH")
_WRITES: Final = (*_WITH_BODY, "DELETE")
METHODS: Final[Mapping[InstanceFault, tuple[str, ...]]] = {
    InstanceFault.ABORT_RULE: _WRITES,
    InstanceFault.DATA_POLICY: _WITH_BODY,
    InstanceFault.DROP_FIELD: _WITH_BODY,
    InstanceFault.SILENT_STATE: _WITH_BODY,
    InstanceFault.DOUBLE_NUMBER: ("POST",),
    InstanceFault.APPLY_THEN_500: _WRITES,
    InstanceFault.APPLY_LATE: _WRITES,
}
"""Faults that only calls by these methods suffer; others pass by, and the fault waits on."""


class FaultRule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A fault that the next `times` calls suffer which it fits; null is for ever.

    `method` and `table` narrow it. `seconds` is how long `slow` waits and after how many `apply_late` applies, and what
    `429` names as Retry-After; `bare` leaves out all of its headers, as full queues do. `field` is what `drop_field`
    drops, `every` says which rows `acl_hide` hides (1 all, 2 every second), `detail` is what a refusal says.
    """

    kind: InstanceFault
    method: str | None = None
    table: str | None = None
    times: Annotated[int, msgspec.Meta(ge=1)] | None = 1
    seconds: Duration = 1.0
    field: str = "correlation_id"
    every: Annotated[int, msgspec.Meta(ge=1)] = 1
    bare: bool = False
    detail: str = ""

    def fits(self, method: str, table: str) -> bool:
        """Say whether this fault can happen to such a call."""
        return (
            (self.method is None or self.method == method)
            and (self.table is None or self.table == table)
            and method in METHODS.get(self.kind, (method,))
        )


class FaultRates(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Shares (0 to 1) of the calls that suffer a fault by themselves, one at most; ranges are in seconds.

    Without `reads`, only writes do.
    """

    shares: Mapping[InstanceFault, Share] = {}
    slow_seconds: tuple[Duration, Duration] = (1.0, 3.0)
    late_seconds: tuple[Duration, Duration] = (1.0, 60.0)
    retry_after: Duration = 1.0
    reads: bool = True


PRESETS: Final = {
    "none": FaultRates(),
    "mild": FaultRates(
        shares={InstanceFault.LOST_ANSWER: 0.05, InstanceFault.SLOW: 0.02, InstanceFault.APPLY_LATE: 0.005}
    ),
}
"""Rates by name; `mild` is enough of everything that leaves a caller in doubt."""


class Suffered(msgspec.Struct, frozen=True):
    """The faults of one call, the first of a kind counts."""

    rules: tuple[FaultRule, ...] = ()

    def get(self, kind: InstanceFault) -> FaultRule | None:
        """Give the call's fault of this kind."""
        return next((rule for rule in self.rules if rule.kind is kind), None)

    def has(self, kind: InstanceFault) -> bool:
        """Say whether the call suffers this fault."""
        return self.get(kind) is not None


NOTHING: Final = Suffered()


class Faults:
    """Decides about each call, by its header, by the rules that wait, and by the rates; counts what it let happen."""

    def __init__(self, rng: Random, rates: FaultRates | None = None) -> None:
        self._rng = rng
        self._waiting: list[tuple[FaultRule, int | None]] = []
        self.counts: Counter[str] = Counter()
        self.set_rates(rates or FaultRates())

    @property
    def rules(self) -> list[FaultRule]:
        """The rules that still wait for a call, with how often they will happen."""
        return [msgspec.structs.replace(rule, times=left) for rule, left in self._waiting]

    def inject(self, rule: FaultRule) -> None:
        """Let this happen to the next calls that it fits."""
        self._waiting.append((rule, rule.times))

    def set_rates(self, rates: FaultRates) -> None:
        """Follow other rates from now on; counts stay."""
        self.rates = rates
        self._quotas = {kind: Quota(share, self._rng) for kind, share in rates.shares.items()}

    def clear(self) -> None:
        """Let nothing go wrong any more."""
        self._waiting.clear()
        self.set_rates(FaultRates())

    def draw(self, method: str, table: str, header: str | None = None) -> Suffered:
        """Give what happens to this call. ValueError for a header that names no fault."""
        if header is None and not self._waiting and not self._quotas:
            return NOTHING
        rules = [read_header(header)] if header is not None else []
        rules += self._take_waiting(method, table)
        if not rules and (rule := self._draw_rate(method, table)) is not None:
            rules.append(rule)
        self.counts.update(str(rule.kind) for rule in rules)
        return Suffered(tuple(rules))

    def _take_waiting(self, method: str, table: str) -> list[FaultRule]:
        taken = []
        kept: list[tuple[FaultRule, int | None]] = []
        for rule, left in self._waiting:
            happens = rule.fits(method, table)
            if happens:
                taken.append(rule)
            rest = left - 1 if happens and left is not None else left
            if rest != 0:
                kept.append((rule, rest))
        self._waiting = kept
        return taken

    def _draw_rate(self, method: str, table: str) -> FaultRule | None:
        if method == "GET" and not self.rates.reads:
            return None
        fitting = [kind for kind in self._quotas if method in METHODS.get(kind, (method,))]
        due = [kind for kind in fitting if self._quotas[kind].advance()]
        if not due:
            return None
        self._quotas[due[0]].take()
        return FaultRule(kind=due[0], table=table, seconds=self._draw_seconds(due[0]))

    def _draw_seconds(self, kind: InstanceFault) -> float:
        if kind is InstanceFault.TOO_MANY:
            return self.rates.retry_after
        span = self.rates.late_seconds if kind is InstanceFault.APPLY_LATE else self.rates.slow_seconds
        return self._rng.uniform(*span)


def read_header(text: str) -> FaultRule:
    """Read `kind; name=value; …`, as in `apply_late; seconds=80`. ValueError for what names no fault."""
    kind, *options = (part.strip() for part in text.split(";"))
    pairs = (option.partition("=") for option in options if option)
    named = {name.strip(): value.strip() for name, _, value in pairs}
    return msgspec.convert({**named, "kind": kind}, FaultRule, strict=False)
