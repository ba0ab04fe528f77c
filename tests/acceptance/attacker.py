"""A bridge that hands out whatever bytes it is given: a queue of raw messages, and answers of any size."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Final
from urllib.parse import unquote

from ecproc.signals import Signal
from tests.conformance.faultserver import make_head
from tests.conformance.loopback import LoopbackServer, Received, read_request

PATH: Final = "/client/dev"
OVERSIZE: Final = 17 * 1024 * 1024
"""More than the processor reads of any answer."""
_CHUNK: Final = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
_DELETED: Final = b'{"DeleteMessageResponse":{"ResponseMetadata":{"RequestId":"r"}}}'
_RETURNED: Final = b'{"Response":"PTN added"}'


def make_body(ticket: str) -> bytes:
    """The body of an ordinary Create."""
    return json.dumps(
        {"ticketNumber": ticket, "ticketType": "Incident", "status": "open", "shortDescription": "it is down"}
    ).encode()


class RawBridge(LoopbackServer):
    """Every message is handed out until it is deleted, `batch` in an answer; `oversize` of the next GETs are answered
    with too much."""

    def __init__(self) -> None:
        super().__init__()
        self.waiting: dict[str, bytes] = {}
        self.batch = 10
        self.oversize = 0
        self.oversizing = 0
        self.oversized = 0
        self.deleted: set[str] = set()
        self.changed = Signal()
        self._count = 0

    @property
    def environment(self) -> Mapping[str, str]:
        """What a processor needs to know to come here."""
        return {"BRIDGE__URL": self.url + PATH, "BRIDGE__CLIENT_NAME": "Client", "BRIDGE__POLL_INTERVAL": "0.05"}

    def put(self, ticket: str, body: bytes) -> str:
        """Put a message of that ticket into the queue; its handle."""
        self._count += 1
        handle = f"h{self._count}"
        attributes = {
            "MessageGroupId": ticket,
            "SequenceNumber": str(18_875_507_807_458_288_128 + self._count),
            "SentTimestamp": "1674858334956",
            "TransactionType": "Create",
            "ApproximateReceiveCount": "1",
        }
        self.waiting[handle] = b'{"MessageId":"m-%d","ReceiptHandle":"%b","Body":%b,"Attributes":%b}' % (
            self._count,
            handle.encode(),
            body,
            json.dumps(attributes).encode(),
        )
        return handle

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            request = await read_request(reader)
            if request.method == "GET" and self.oversize:
                self.oversize -= 1
                self.oversizing += 1
                await self._send_too_much(writer)
                return
            body = self._answer(request)
            writer.write(make_head(200, {"content-length": str(len(body))}) + body)
            await writer.drain()

    def _answer(self, request: Received) -> bytes:
        if request.method == "GET":
            some = [self.waiting[handle] for handle in self._next()]
            inner = b'{"messages":[%b]}' % b",".join(some)
            return b'{"ReceiveMessageResponse":{"ReceiveMessageResult":%b}}' % inner
        if request.method == "DELETE":
            handle = unquote(request.target.partition("?")[0].rpartition("/")[2])
            self.waiting.pop(handle, None)
            self.deleted.add(handle)
            self.changed.notify()
            return _DELETED
        return _RETURNED

    def _next(self) -> list[str]:
        """The handles of the next messages; those that were handed out last come last."""
        some = list(self.waiting)[: self.batch]
        for handle in some:
            self.waiting[handle] = self.waiting.pop(handle)
        return some

    async def _send_too_much(self, writer: asyncio.StreamWriter) -> None:
        try:
            writer.write(make_head(200, {"transfer-encoding": "chunked"}))
            for _ in range(OVERSIZE // 0x10000):
                writer.write(_CHUNK)
                await writer.drain()
        finally:
            self.oversizing -= 1
            self.oversized += 1
            self.changed.notify()
