"""The least that does the same as the processor, as a yardstick for it: no more code than the stub's messages need.

GET, decode, the same hash chain, the same rows of the same schema with their checksums, one synced transaction for a
message and what is decided of it, and then its DELETE; by callbacks, with as many readers and sockets as the processor
has. A replay of the log that it leaves gives the rows that it wrote. What it lacks is all that a queue which keeps to
the script never asks for: tolerance, late and unknown messages, effects, deadlines, metrics, bounds, faults.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from queue import SimpleQueue
from typing import Final, TypeAlias, cast
from urllib.parse import urlsplit

import httptools

from benchmarks.least import Folding, Group, Raw, read_messages
from benchmarks.measure import Sample, timing_baseline
from benchmarks.raw import RawLog
from benchmarks.transports import KEY, rewind
from ecproc.bridge.calls import encode_handle
from ecproc.clock import SystemClock
from ecproc.fold.tables import TABLES
from ecproc.fold.tickets import MACHINES
from ecproc.store.sqlite.datadir import DATABASE
from ecproc.store.sqlite.sql import log
from ecproc.store.sqlite.store import open_store

PER_GET: Final = 10
Answered: TypeAlias = Callable[[int, bytes], None]


class _Connection(asyncio.Protocol):
    """One request at a time, by callback: no task, no future."""

    def __init__(self, pool: _Pool) -> None:
        self._pool = pool
        self._parser = httptools.HttpResponseParser(self)
        self._body: list[bytes] = []

    def ask(self, request: bytes, answered: Answered) -> None:
        """Send it."""
        self._answered = answered
        self._transport.write(request)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._pool.free(self)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_body(self, body: bytes) -> None:
        self._body.append(body)

    def on_message_complete(self) -> None:
        body = b"".join(self._body)
        self._body = []
        answered, status = self._answered, self._parser.get_status_code()
        self._pool.free(self)
        answered(status, body)


class _Pool:
    """Connections that are free, or requests that wait for one."""

    def __init__(self) -> None:
        self._idle: list[_Connection] = []
        self._waiting: deque[tuple[bytes, Answered]] = deque()

    def free(self, connection: _Connection) -> None:
        """Let it take the next request."""
        if self._waiting:
            connection.ask(*self._waiting.popleft())
        else:
            self._idle.append(connection)

    def ask(self, request: bytes, answered: Answered) -> None:
        """Send it as soon as a connection is free."""
        if self._idle:
            self._idle.pop().ask(request, answered)
        else:
            self._waiting.append((request, answered))


class _Limit:
    """The loop: answers become groups while the one before is being written, and go to one thread that writes."""

    def __init__(self, raw: RawLog, folding: Folding, url: str, *, messages: int) -> None:
        self.commits = 0
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.pool = _Pool()
        self._raw = raw
        self._folding = folding
        self._queue: SimpleQueue[Group | None] = SimpleQueue()
        self._inbox: list[Raw] = []
        self._is_busy = False
        self._undeleted = messages
        self._gets_left = messages // PER_GET
        head = {"host": urlsplit(url).netloc, "accept": "application/json", "accept-encoding": "identity"}
        lines = "".join(f"{name}: {value}\r\n" for name, value in {**head, "user-agent": "x", "x-api-key": KEY}.items())
        self._head = f" HTTP/1.1\r\n{lines}\r\n"
        self._get = f"GET /client/prod/queue{self._head}".encode()
        self._loop = asyncio.get_running_loop()

    def read(self, readers: int) -> None:
        """Send so many GETs."""
        for _ in range(min(readers, self._gets_left)):
            self._gets_left -= 1
            self.pool.ask(self._get, self._received)

    def write(self) -> None:
        """Write groups until told to stop; the thread's whole work."""
        while (group := self._queue.get()) is not None:
            self._raw.commit(group.statements(), size=group.size)
            self.commits += 1
            self._loop.call_soon_threadsafe(self._committed, group.handles)

    def stop(self) -> None:
        """End the thread's work."""
        self._queue.put(None)

    def _received(self, status: int, body: bytes) -> None:
        self._check(status)
        self._inbox += read_messages(body)
        if not self._is_busy:
            self._is_busy = True
            self._loop.call_soon(self._work)

    def _work(self) -> None:
        messages, self._inbox = self._inbox, []
        self._queue.put(self._folding.plan(messages))

    def _committed(self, handles: Sequence[str]) -> None:
        if self._inbox:
            self._work()
        else:
            self._is_busy = False
        for handle in handles:
            request = f"DELETE /client/prod/queue/{encode_handle(handle)}{self._head}"
            self.pool.ask(request.encode(), self._deleted)
        self.read(max(1, len(handles) // PER_GET))

    def _deleted(self, status: int, body: bytes) -> None:
        self._check(status)
        self._undeleted -= 1
        if self._undeleted == 0:
            self.done.set_result(None)

    def _check(self, status: int) -> None:
        if status != 200 and not self.done.done():
            self.done.set_exception(ConnectionError(f"the stub answered {status}"))


async def open_raw(directory: Path, *, identity: Mapping[str, str] | None = None) -> tuple[RawLog, Folding]:
    """A new log to write into without its store, and what makes its rows."""
    store = await open_store(directory, TABLES, now=SystemClock().now, identity=identity, reserve_bytes=0)
    head = await store.head()
    await store.aclose()
    raw = RawLog(directory / DATABASE, tuned=True)
    raw.commit([(log.PUT_FOLD_VERSION, [(MACHINES.fold_version,)])], size=0)
    reader = sqlite3.connect(directory / DATABASE)

    def holds_key(key: bytes) -> bool:
        return reader.execute(log.FIND_MESSAGE, (key,)).fetchone() is not None

    return raw, Folding(head.position, head.hash, holds_key)


async def run_limit(folder: str, *, url: str, messages: int, readers: int, connections: int) -> Sample:
    """Take so many messages off a quiet queue that holds them once, into a new log in the folder's `data`."""
    raw, folding = await open_raw(Path(folder) / "data")
    rewind(url, "")
    limit = _Limit(raw, folding, url, messages=messages)
    thread = threading.Thread(target=limit.write, daemon=True)
    with timing_baseline() as watch:
        thread.start()
        port = urlsplit(url).port or 0
        for _ in range(connections):
            await asyncio.get_running_loop().create_connection(lambda: _Connection(limit.pool), "127.0.0.1", port)
        limit.read(readers)
        await limit.done
    limit.stop()
    thread.join()
    raw.close()
    return watch.sample(messages, commits=limit.commits / messages)
