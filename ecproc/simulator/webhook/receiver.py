"""The receiver itself: from a request to a reply, strictly by the contract of docs/webhook.md."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from random import Random
from typing import Any, Final
from urllib.parse import parse_qs

import msgspec

from ecproc.network import bracket
from ecproc.simulator.exchange import HttpRequest, Reply, give_json
from ecproc.simulator.faults import Quota
from ecproc.simulator.listening import bind, serve, start_clock
from ecproc.simulator.webhook.books import TYPES, Applied, Books, NoSuchTicket
from ecproc.simulator.webhook.settings import ReceiverConfig, ReceiverFault, ReceiverFaults
from ecproc.simulator.webhook.signatures import is_signed

PATH: Final = "/ensono"
LEDGER: Final = "/_sim/ledger"
_PROBE: Final = "probe"
_PAGE: Final = b"<html><body>Sign in to go on</body></html>"


class Receiver:
    """A running receiver; `order` has faults happen to the next calls, one each."""

    headers = ("webhook-id", "webhook-timestamp", "webhook-signature", "content-type")

    def __init__(self, config: ReceiverConfig, *, clock: Callable[[], float]) -> None:
        self.secrets = config.secrets
        self.keyed = config.keyed
        self.books = Books()
        self.calls: Counter[int] = Counter()
        """How many were answered with each status."""
        self.requests: list[HttpRequest] = []
        """The last calls, as they came."""
        self._clock = clock
        self._rng = Random(config.seed)
        self._nonces: dict[str, str] = {}
        self._ordered: deque[ReceiverFault | None] = deque()
        self.change_faults(config.faults)

    def change_faults(self, faults: ReceiverFaults) -> None:
        """Follow these from now on."""
        self._faults = faults
        self._quotas = {fault: Quota(getattr(faults, fault), self._rng) for fault in ReceiverFault}

    def order(self, *faults: ReceiverFault | None) -> None:
        """Have these happen to the next calls, None for nothing."""
        self._ordered.extend(faults)

    def answer(self, request: HttpRequest) -> Reply:
        """See Service."""
        if request.path == LEDGER:
            return give_json(self.show())
        reply = self._answer(request)
        self.calls[reply.status] += 1
        return reply

    def record_answered(self, request: HttpRequest) -> None:
        """See Service."""

    def show(self) -> Mapping[str, Any]:
        """What it saw and did."""
        books = self.books
        return {"calls": dict(self.calls), "tickets": books.tickets, "doubled": books.doubled, "applied": books.applied}

    def _answer(self, request: HttpRequest) -> Reply:
        self.requests = [*self.requests[-999:], request]
        if request.path != PATH:
            return _refuse(404, "nothing is here")
        if not is_signed(request.headers, request.body, secrets=self.secrets, now=self._clock()):
            return _refuse(401, "the signature is wrong")
        if request.method == "GET":
            return self._look_up(request.query)
        if request.method != "POST":
            return _refuse(405, "POST or GET")
        if request.headers.get("content-type") != "application/json":
            return _refuse(415, "application/json")
        return self._take(request)

    def _look_up(self, query: str) -> Reply:
        found = self.books.find(next(iter(parse_qs(query).get("id", [])), ""))
        if found is None:
            return _refuse(404, "nothing was applied under this id")
        return _tell(found)

    def _take(self, request: HttpRequest) -> Reply:
        try:
            message = msgspec.json.decode(request.body, type=dict[str, Any])
            kind, data = str(message["type"]), dict(message["data"])
        except (msgspec.MsgspecError, KeyError, TypeError, ValueError):
            return _refuse(400, "no message of the standard")
        message_id, fault = request.headers["webhook-id"], self._draw()
        match fault:
            case ReceiverFault.ERROR:
                return _refuse(500, "it failed")
            case ReceiverFault.THROTTLE:
                return Reply(status=429, body=b'{"error":"slower"}', retry_after=self._faults.retry_after)
            case ReceiverFault.GONE:
                return _refuse(410, "the flow was deleted")
        if kind == _PROBE:
            return give_json({"nonce": self._choose_nonce(message_id)})
        if kind not in TYPES:
            return _refuse(422, f"unknown type {kind}")
        try:
            applied = self._apply(message_id, kind, data)
        except NoSuchTicket as refused:
            return _refuse(404, str(refused))
        return self._spoil(fault, applied)

    def _apply(self, message_id: str, kind: str, data: Mapping[str, Any]) -> Applied:
        known = self.books.find(message_id) if self.keyed else None
        return known or self.books.apply(message_id, kind, data)

    def _choose_nonce(self, message_id: str) -> str:
        nonce = f"{self._rng.getrandbits(64):016x}"
        return self._nonces.setdefault(message_id, nonce) if self.keyed else nonce

    def _spoil(self, fault: ReceiverFault | None, applied: Applied) -> Reply:
        reply = _tell(applied)
        match fault:
            case ReceiverFault.LOST:
                return msgspec.structs.replace(reply, dropped=True)
            case ReceiverFault.SLOW:
                return msgspec.structs.replace(reply, delay=self._faults.slow_seconds)
            case ReceiverFault.HTML:
                return Reply(status=200, body=_PAGE, content_type="text/html")
            case ReceiverFault.PENDING if applied.type == "ticket.create":
                return give_json({"pending": True}, 202)
            case _:
                return reply

    def _draw(self) -> ReceiverFault | None:
        if self._ordered:
            return self._ordered.popleft()
        due = [fault for fault, quota in self._quotas.items() if quota.advance()]
        if not due:
            return None
        self._quotas[due[0]].take()
        return due[0]


class ServedReceiver(msgspec.Struct, frozen=True):
    """A receiver and where it is reached."""

    receiver: Receiver
    url: str


@asynccontextmanager
async def run_receiver(
    config: ReceiverConfig, *, clock: Callable[[], float] | None = None
) -> AsyncIterator[ServedReceiver]:
    """Serve a receiver while the block runs; needs asyncio. OSError if the port is taken. `clock` gives seconds since
    the epoch."""
    with bind(config.host, config.port) as listener:
        url = f"http://{bracket(config.host)}:{listener.getsockname()[1]}{PATH}"
        receiver = Receiver(config, clock=clock or start_clock())
        async with serve(receiver, listener):
            yield ServedReceiver(receiver, url)


def _tell(applied: Applied) -> Reply:
    return give_json({"number": applied.number, "state": applied.state})


def _refuse(status: int, error: str) -> Reply:
    return give_json({"error": error}, status)
