"""A stub of the bridge's queue in a process of its own: distinct messages from memory, as fast as a socket allows.

It hides and redelivers nothing: it is there to cost little. `GET /stat` tells what it answered, `/rewind` begins anew.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import ssl
import time
from pathlib import Path
from typing import Final, cast

import httptools
import uvloop

from benchmarks.messages import PER_ANSWER, make_answer

_DELETED: Final = b'{"DeleteMessageResponse":{"ResponseMetadata":{"RequestId":"8d9a7dc2-42c5-5e95-89c4-287741bf1a2f"}}}'
_ACCEPTED: Final = b'{"Response":"PTN Added"}'


def frame(body: bytes) -> bytes:
    """A whole answer on the wire."""
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body)
    return head + body


class Queue:
    """The answers, in order, and what was asked so far; `endless` begins again after the last one."""

    def __init__(self, answers: list[bytes], *, endless: bool) -> None:
        self._answers = [frame(answer) for answer in answers]
        self._empty = frame(make_answer(0, 0, tickets=1))
        self._endless = endless
        self.rewind()

    def rewind(self) -> None:
        """Begin anew."""
        self.gets = self.deletes = self.others = 0
        self.first_get: float | None = None

    def answer(self, method: bytes, path: bytes) -> bytes:
        """The answer to one request."""
        if method == b"DELETE":
            self.deletes += 1
            return _FRAMED_DELETED
        if path.endswith(b"/queue"):
            return self._give()
        if path == b"/stat":
            return frame(json.dumps(self._stat()).encode())
        if path == b"/rewind":
            self.rewind()
        else:
            self.others += 1
        return _FRAMED_ACCEPTED

    def _give(self) -> bytes:
        self.first_get = self.first_get or time.monotonic()
        number, self.gets = self.gets, self.gets + 1
        if self._endless:
            return self._answers[number % len(self._answers)]
        return self._answers[number] if number < len(self._answers) else self._empty

    def _stat(self) -> dict[str, float | None]:
        return {"gets": self.gets, "deletes": self.deletes, "others": self.others, "first_get": self.first_get}


_FRAMED_DELETED: Final = frame(_DELETED)
_FRAMED_ACCEPTED: Final = frame(_ACCEPTED)


class Connection(asyncio.Protocol):
    """One client connection; each answer to a queue call leaves `delay` seconds after its request."""

    def __init__(self, queue: Queue, delay: float) -> None:
        self._queue = queue
        self._delay = delay
        self._parser = httptools.HttpRequestParser(self)
        self._path = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_url(self, url: bytes) -> None:
        self._path = url

    def on_message_complete(self) -> None:
        answer = self._queue.answer(self._parser.get_method(), self._path)
        if self._delay and self._path not in (b"/stat", b"/rewind"):
            asyncio.get_running_loop().call_later(self._delay, self._write, answer)
        else:
            self._write(answer)

    def _write(self, answer: bytes) -> None:
        if not self._transport.is_closing():
            self._transport.write(answer)


async def serve(queue: Queue, *, delay: float, tls: ssl.SSLContext | None) -> None:
    """Serve on any free port of loopback until killed; prints the port."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(queue, delay), "127.0.0.1", 0, backlog=1024, ssl=tls)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


def main() -> None:
    """Read the arguments and serve."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--messages", type=int, default=1000)
    parser.add_argument("--tickets", type=int, default=100)
    parser.add_argument("--mix", default="quiet")
    parser.add_argument("--run", type=int, default=1)
    parser.add_argument("--delay", type=float, default=0.0)
    parser.add_argument("--endless", action="store_true")
    parser.add_argument("--pem", type=Path)
    given = parser.parse_args()
    starts = range(0, given.messages, PER_ANSWER)
    answers = [
        make_answer(start, min(PER_ANSWER, given.messages - start), tickets=given.tickets, mix=given.mix, run=given.run)
        for start in starts
    ]
    tls = None
    if given.pem is not None:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(given.pem)
    uvloop.run(serve(Queue(answers, endless=given.endless), delay=given.delay, tls=tls))


if __name__ == "__main__":
    main()
