"""A stub of SQS's JSON protocol in a process of its own: the same messages without end, as fast as a socket allows."""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
from typing import Any, Final, cast

import httptools
import uvloop

from benchmarks.messages import PER_ANSWER, make_message

_SENT: Final = (
    "SequenceNumber",
    "MessageGroupId",
    "MessageDeduplicationId",
    "SentTimestamp",
    "ApproximateReceiveCount",
)


def frame(value: Any) -> bytes:
    """A whole answer on the wire."""
    body = json.dumps(value).encode()
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/x-amz-json-1.0\r\nx-amzn-requestid: 1\r\n"
    return head + b"content-length: %d\r\n\r\n" % len(body) + body


def make_sqs_message(index: int, *, tickets: int) -> dict[str, Any]:
    """A message as SQS gives it: the body is text, with an MD5 that clients check."""
    message = make_message(index, tickets=tickets)
    body = json.dumps(message["Body"])
    return {
        "MessageId": message["MessageId"],
        "ReceiptHandle": message["ReceiptHandle"],
        "MD5OfBody": hashlib.md5(body.encode(), usedforsecurity=False).hexdigest(),
        "Body": body,
        "Attributes": {name: str(message["Attributes"][name]) for name in _SENT},
    }


class Connection(asyncio.Protocol):
    """One client connection."""

    def __init__(self, answers: list[bytes], deleted: bytes) -> None:
        self._answers = answers
        self._deleted = deleted
        self._parser = httptools.HttpRequestParser(self)
        self._target = b""
        self._given = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() == b"x-amz-target":
            self._target = value
        elif name.lower() == b"expect":
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_message_complete(self) -> None:
        if self._target.endswith(b"ReceiveMessage"):
            self._given += 1
            self._transport.write(self._answers[self._given % len(self._answers)])
        else:
            self._transport.write(self._deleted)


async def serve(answers: list[bytes]) -> None:
    """Serve on any free port of loopback until killed; prints the port."""
    deleted = frame({})
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(answers, deleted), "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


def main() -> None:
    """Read the arguments and serve."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--messages", type=int, default=1000)
    parser.add_argument("--tickets", type=int, default=100)
    given, _ = parser.parse_known_args()
    batches = range(0, given.messages, PER_ANSWER)
    answers = [
        frame({"Messages": [make_sqs_message(start + step, tickets=given.tickets) for step in range(PER_ANSWER)]})
        for start in batches
    ]
    uvloop.run(serve(answers))


if __name__ == "__main__":
    main()
