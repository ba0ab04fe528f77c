"""A stub of the bridge, and of a desk to POST to, in a process of its own: distinct messages from memory, as fast as a
socket allows.

It hides and redelivers nothing: it is there to cost little. `GET /stat` tells what it answered, `/rewind` begins anew.
"""

from __future__ import annotations

import argparse
import asyncio
import ssl
import time
from pathlib import Path
from typing import Final

import msgspec
import uvloop

from benchmarks.messages import PER_ANSWER, make_answer
from ecproc.simulator.connection import Connection, Service
from ecproc.simulator.exchange import HttpRequest, Reply, give_deleted, give_json, respond

_REQUEST_ID: Final = "8d9a7dc2-42c5-5e95-89c4-287741bf1a2f"


class Queue:
    """The answers, in order, and what was asked so far; `endless` begins again after the last one.

    Each answer to a queue call leaves `delay` seconds after its request.
    """

    headers = ()

    def __init__(self, answers: list[bytes], *, endless: bool, delay: float) -> None:
        self._answers = [Reply(status=200, body=answer, delay=delay) for answer in answers]
        self._empty = Reply(status=200, body=make_answer(0, 0, tickets=1), delay=delay)
        self._deleted = msgspec.structs.replace(give_deleted(_REQUEST_ID), delay=delay)
        self._accepted = msgspec.structs.replace(respond("PTN Added"), delay=delay)
        self._endless = endless
        self.rewind()

    def rewind(self) -> None:
        """Begin anew."""
        self.gets = self.deletes = self.others = 0
        self.first_get: float | None = None

    def answer(self, request: HttpRequest) -> Reply:
        """The answer to one request."""
        if request.method == "DELETE":
            self.deletes += 1
            return self._deleted
        if request.path.endswith("/queue"):
            return self._give()
        if request.path == "/stat":
            return give_json(self._stat())
        if request.path == "/rewind":
            self.rewind()
            return give_json({})
        self.others += 1
        return self._settle(request.path) if request.method == "POST" else self._accepted

    def record_answered(self, request: HttpRequest) -> None:
        """Nothing is kept of it."""

    def _give(self) -> Reply:
        self.first_get = self.first_get or time.monotonic()
        number, self.gets = self.gets, self.gets + 1
        if self._endless:
            return self._answers[number % len(self._answers)]
        return self._answers[number] if number < len(self._answers) else self._empty

    def _settle(self, path: str) -> Reply:
        """What a desk says: each ticket has a number of its own, which its path ends with."""
        return give_json({"number": f"INC{path.rpartition('e-CS')[2]}", "state": "open"})

    def _stat(self) -> dict[str, float | None]:
        return {"gets": self.gets, "deletes": self.deletes, "others": self.others, "first_get": self.first_get}


async def serve(service: Service, *, tls: ssl.SSLContext | None = None) -> None:
    """Serve on any free port of loopback until killed; prints the port."""
    loop = asyncio.get_running_loop()
    connections: set[Connection] = set()
    server = await loop.create_server(lambda: Connection(service, connections), "127.0.0.1", 0, backlog=1024, ssl=tls)
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
    uvloop.run(serve(Queue(answers, endless=given.endless, delay=given.delay), tls=tls))


if __name__ == "__main__":
    main()
