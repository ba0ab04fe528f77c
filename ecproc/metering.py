"""The bridge, metered: how long calls took, how its clock goes and how long its certificate is good."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol

from ecproc.bridge.base import Answer, Bridge, Deleted, Request
from ecproc.clock import Clock
from ecproc.errors import BridgeUnavailable
from ecproc.network import parse_http_date
from ecproc.telemetry.hooks import Reading, Telemetry

_MICROSECONDS: Final = 1_000_000
_METHODS: Final = frozenset({"notes", "returnptn", "approve", "reject"})


class SecuredBridge(Bridge, Protocol):
    """A bridge that knows the certificate it talks to."""

    @property
    def certificate_end(self) -> float | None:
        """When the certificate of the newest connection ends, in seconds UTC; None where there was none."""


class MeteredBridge:
    """Passes every call on to `bridge` and tells `telemetry` about it (see `Bridge`)."""

    def __init__(self, bridge: SecuredBridge, *, telemetry: Telemetry, clock: Clock) -> None:
        self._bridge = bridge
        self._telemetry = telemetry
        self._clock = clock
        self._date = ""
        self._dated = 0
        telemetry.watch(Reading.CLOCK_SKEW, self._read_skew)
        telemetry.watch(Reading.TLS_END, lambda: bridge.certificate_end)

    async def receive(self) -> Answer:
        """See Queue."""
        began = self._clock.monotonic()
        try:
            answer = await self._bridge.receive()
        except BridgeUnavailable:
            self._tell("receive", None, began)
            raise
        self._tell("receive", answer, began)
        return answer

    async def delete(self, receipt_handle: str) -> Answer:
        """See Queue."""
        began = self._clock.monotonic()
        try:
            answer = await self._bridge.delete(receipt_handle)
        except BridgeUnavailable:
            self._tell("delete", None, began)
            raise
        self._tell("delete", answer, began)
        return answer

    async def delete_many(self, receipt_handles: Sequence[str], deleted: Deleted, *, within: float) -> None:
        """See Queue; each is timed from here, with what it waited for the others."""
        began = self._clock.monotonic()

        def hear(place: int, outcome: Answer | BridgeUnavailable | None) -> None:
            if outcome is not None:
                self._tell("delete", outcome if isinstance(outcome, Answer) else None, began)
            deleted(place, outcome)

        await self._bridge.delete_many(receipt_handles, hear, within=within)

    async def send(self, request: Request) -> Answer:
        """See Bridge."""
        call, began = name_call(request), self._clock.monotonic()
        try:
            answer = await self._bridge.send(request)
        except BridgeUnavailable:
            self._tell(call, None, began)
            raise
        self._tell(call, answer, began)
        return answer

    def _tell(self, call: str, answer: Answer | None, began: float) -> None:
        status = None
        if answer is not None:
            status = answer.status
            if answer.date and call != "delete":
                self._date, self._dated = answer.date, self._clock.now()
        self._telemetry.bridge_called(call, status, self._clock.monotonic() - began)

    def _read_skew(self) -> float | None:
        return read_skew(self._date, self._dated) if self._date else None


def read_skew(date: str, now: int) -> float | None:
    """How many seconds a clock that writes this HTTP date is ahead of one that says `now`, in microseconds UTC; None
    where it is no date. It is exact to a second."""
    at = parse_http_date(date)
    return None if at is None else at - now / _MICROSECONDS


def name_call(request: Request) -> str:
    """What a ticket call is called in metrics."""
    _, _, *rest = request.path.split("/")
    match request.method, rest:
        case "POST", _:
            return "create"
        case "GET", [_, "attachments", *_]:
            return "attachments"
        case "GET", _:
            return "show"
        case _, [_, method] if method in _METHODS:
            return method
        case _:
            return "update"
