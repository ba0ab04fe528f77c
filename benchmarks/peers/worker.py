"""The peers' side, run by the peers' own interpreter: standard library and one peer at a time, nothing of ecproc.

`worker.py MODE MESSAGES FOLDER COUNT [ADDRESS]` prints one line of JSON: count, wall and cpu seconds, facts. Messages
are lines of JSON as `make_message` gives them; what no consumer could leave away (decoding a body) is done here too.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import logging
import os
import sqlite3
import sys
import time
import uuid
import warnings
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import quote

MESSAGES: list[dict[str, Any]] = []
FOLDER = Path()
ADDRESS = ""
_PER_STREAM = 5


class Watch:
    """Wall clock and CPU since it was made or last asked."""

    def __init__(self) -> None:
        self._cpu, self._wall = time.process_time(), time.perf_counter()

    def report(self, count: int, **facts: float) -> None:
        """Print the measurement."""
        wall, cpu = time.perf_counter() - self._wall, time.process_time() - self._cpu
        print(json.dumps({"count": count, "wall": wall, "cpu": cpu, "facts": facts}), flush=True)


def eventsourcing_application() -> tuple[Any, Any]:
    """An application whose ticket keeps each message's body, on SQLite with the library's own settings."""
    application = importlib.import_module("eventsourcing.application")
    domain = importlib.import_module("eventsourcing.domain")

    def receive(self: Any, body: dict[str, Any]) -> None:
        self.status, self.priority = body["status"], body["priority"]

    def begin(self: Any, number: str) -> None:
        self.number, self.status, self.priority = number, "", ""

    members = {
        "__module__": __name__,
        "__qualname__": "Ticket",
        "__init__": begin,
        "receive": domain.event("Received")(receive),
    }
    ticket = type(domain.Aggregate)("Ticket", (domain.Aggregate,), members)
    globals()["Ticket"] = ticket
    environment = {"PERSISTENCE_MODULE": "eventsourcing.sqlite", "SQLITE_DBNAME": str(FOLDER / "events.db")}
    return application.Application(env=environment), ticket


def eventsourcing_save(count: int) -> None:
    """One event per `Application.save`, which is the library's unit of durability; five events per ticket."""
    application, ticket = eventsourcing_application()
    watch = Watch()
    _save(application, ticket, count)
    watch.report(count)


def eventsourcing_replay(count: int) -> None:
    """Everything through the notification log and the mapper, by a thousand, keeping the last body of each ticket."""
    application, ticket = eventsourcing_application()
    _save(application, ticket, count)
    last: dict[object, object] = {}
    start, read = 1, 0
    watch = Watch()
    while found := application.recorder.select_notifications(start, 1000):
        for notification in found:
            event = application.mapper.to_domain_event(notification)
            last[event.originator_id] = getattr(event, "body", None)
        read += len(found)
        start = found[-1].id + 1
    watch.report(read)


def _save(application: Any, ticket: Any, count: int) -> None:
    for first in range(0, count, _PER_STREAM):
        aggregate = ticket(number=f"e-CS{first:07d}")
        application.save(aggregate)
        for step in range(first + 1, min(first + _PER_STREAM, count)):
            aggregate.receive(body=MESSAGES[step % len(MESSAGES)]["Body"])
            application.save(aggregate)


def boto3(count: int) -> None:
    """boto3 as its documentation shows it: receive ten, then one DeleteMessage each from ten threads."""
    client = importlib.import_module("boto3").client(
        "sqs",
        config=importlib.import_module("botocore.config").Config(max_pool_connections=64),
        **_credentials(),
    )
    url = f"{ADDRESS}/000000000000/q.fifo"

    def once(pool: ThreadPoolExecutor) -> int:
        found = client.receive_message(QueueUrl=url, MaxNumberOfMessages=10)["Messages"]
        for message in found:
            json.loads(message["Body"])
        list(pool.map(lambda item: client.delete_message(QueueUrl=url, ReceiptHandle=item["ReceiptHandle"]), found))
        return len(found)

    with ThreadPoolExecutor(10) as pool:
        once(pool)
        done = 0
        watch = Watch()
        while done < count:
            done += once(pool)
        watch.report(done)


def aiobotocore(count: int) -> None:
    """aiobotocore with eight readers, each deleting its ten messages at once, one call each; on uvloop as we are."""
    importlib.import_module("uvloop").run(_aiobotocore(count))


async def _aiobotocore(count: int) -> None:
    session = importlib.import_module("aiobotocore.session").get_session()
    config = importlib.import_module("aiobotocore.config").AioConfig(max_pool_connections=96)
    url = f"{ADDRESS}/000000000000/q.fifo"
    done = 0
    async with session.create_client("sqs", config=config, **_credentials()) as client:

        async def once() -> int:
            found = (await client.receive_message(QueueUrl=url, MaxNumberOfMessages=10))["Messages"]
            for message in found:
                json.loads(message["Body"])
            await asyncio.gather(
                *[client.delete_message(QueueUrl=url, ReceiptHandle=item["ReceiptHandle"]) for item in found]
            )
            return len(found)

        async def read() -> None:
            nonlocal done
            while done < count:
                got = await once()
                done += got

        await once()
        watch = Watch()
        await asyncio.gather(*[read() for _ in range(8)])
        watch.report(done)


def aiohttp(count: int) -> None:
    """A hand-written loop by aiohttp that stores nothing: eight readers, and for each message of ten the calls that we
    make of it: a POST to the desk, PUT returnptn for a new ticket, DELETE; on uvloop as we are."""
    importlib.import_module("uvloop").run(_aiohttp(count))


async def _aiohttp(count: int) -> None:
    client, url = importlib.import_module("aiohttp"), importlib.import_module("yarl").URL
    base, done = f"{ADDRESS}/client/prod", 0
    async with client.ClientSession(
        connector=client.TCPConnector(limit=64), headers={"x-api-key": "k" * 40}
    ) as session:

        async def ask(method: str, path: str, body: Any = None) -> bytes:
            async with session.request(method, url(base + path, encoded=True), json=body) as answer:
                return bytes(await answer.read())

        async def handle(message: dict[str, Any]) -> None:
            body = message["Body"]
            fields = {name: body[name] for name in ("status", "priority", "group", "shortDescription")}
            ticket = body["ticketNumber"]
            number = json.loads(await ask("POST", f"/desk/{ticket}", {"key": message["MessageId"], "fields": fields}))
            if message["Attributes"]["TransactionType"] == "Create":
                told = {"clientName": "testClient", "clientTicketNumber": number["number"]}
                await ask("PUT", f"/tickets/{ticket}/returnptn", told)
            await ask("DELETE", f"/queue/{quote(message['ReceiptHandle'], safe='')}")

        async def read() -> None:
            nonlocal done
            while done < count:
                found = json.loads(await ask("GET", "/queue"))["ReceiveMessageResponse"]["ReceiveMessageResult"]
                await asyncio.gather(*[handle(message) for message in found["messages"]])
                done += len(found["messages"])

        watch = Watch()
        await asyncio.gather(*[read() for _ in range(8)])
        watch.report(done)


def _credentials() -> dict[str, str]:
    return {
        "endpoint_url": ADDRESS,
        "region_name": "us-east-1",
        "aws_access_key_id": "a",
        "aws_secret_access_key": "b",
    }


def faststream(count: int) -> None:
    """FastStream on JetStream: a pull consumer of 100, each message inserted in SQLite (synced) before its ack."""
    importlib.import_module("uvloop").run(_faststream(count))


async def _faststream(count: int) -> None:
    await _publish(count)
    nats = importlib.import_module("faststream.nats")
    api = importlib.import_module("nats.js.api")
    connection = _open_database(FOLDER / "consumed.db")
    broker = nats.NatsBroker(ADDRESS, logger=None)
    done = asyncio.Event()
    taken = 0

    async def handle(body: bytes, message: Any) -> None:
        nonlocal taken
        raw = message.raw_message
        connection.execute(
            "INSERT OR IGNORE INTO event (stream, dedup, body) VALUES (?, ?, ?)",
            (raw.subject, raw.headers["Nats-Msg-Id"], body),
        )
        taken += 1
        if taken >= count:
            done.set()

    handle.__annotations__ = {"body": bytes, "message": nats.NatsMessage, "return": None}
    broker.subscriber(
        "ev.>",
        stream=nats.JStream("EV", declare=False),
        durable="bench",
        pull_sub=nats.PullSub(batch_size=100),
        config=api.ConsumerConfig(ack_policy=api.AckPolicy.EXPLICIT, max_ack_pending=5000),
        max_workers=1,
        decoder=_body,
        no_reply=True,
    )(handle)
    watch = Watch()
    await broker.start()
    await asyncio.wait_for(done.wait(), 120)
    watch.report(taken)
    await broker.stop()
    connection.close()


async def _body(message: Any) -> Any:
    return message.body


async def _publish(count: int) -> None:
    nats = importlib.import_module("nats")
    api = importlib.import_module("nats.js.api")
    client = await nats.connect(ADDRESS)
    stream = client.jetstream(timeout=10)
    await stream.add_stream(api.StreamConfig(name="EV", subjects=["ev.>"], storage="file"))
    bodies = [json.dumps(message).encode() for message in MESSAGES]
    for first in range(0, count, 250):
        await asyncio.gather(
            *[
                stream.publish(f"ev.t{index % 256}", bodies[index % len(bodies)], headers={"Nats-Msg-Id": f"d{index}"})
                for index in range(first, min(first + 250, count))
            ]
        )
    await client.close()


def _open_database(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute(
        "CREATE TABLE event (position INTEGER PRIMARY KEY, stream TEXT NOT NULL, dedup TEXT NOT NULL UNIQUE,"
        " body BLOB NOT NULL)"
    )
    return connection


def eventsource_append(count: int) -> None:
    """eventsource-py: ten events per append."""
    asyncio.run(_eventsource(count, read=False))


def eventsource_read(count: int) -> None:
    """eventsource-py: read everything and keep each ticket's last status."""
    asyncio.run(_eventsource(count, read=True))


async def _eventsource(count: int, *, read: bool) -> None:
    library = importlib.import_module("eventsource")
    positions = importlib.import_module("eventsource.ports.positions")
    annotations = {"aggregate_type": str, "event_type": str, "body": dict[str, Any]}
    members = {
        "__module__": __name__,
        "__annotations__": annotations,
        "aggregate_type": "Ticket",
        "event_type": "Updated",
    }
    updated = library.register_event(type(library.DomainEvent)("Updated", (library.DomainEvent,), members))
    store = library.SQLiteEventStore(str(FOLDER / "events.db"))
    anyway = positions.ExpectedVersion.any_()
    watch = Watch()
    for first in range(0, count, 10):
        stream = uuid.UUID(int=first // 10 % 1000 + 1)
        events = [
            updated(aggregate_id=stream, body=MESSAGES[(first + step) % len(MESSAGES)]["Body"]) for step in range(10)
        ]
        await store.append(library.StreamId(stream, "Ticket"), events, anyway)
    if read:
        watch = Watch()
        last: dict[object, object] = {}
        async for found in store.read_all():
            event = getattr(found, "event", found)
            last[event.aggregate_id] = event.body["status"]
    watch.report(count)
    await store.close()


MODES: dict[str, Callable[[int], None] | Callable[[int], Awaitable[None]]] = {
    "eventsourcing_save": eventsourcing_save,
    "eventsourcing_replay": eventsourcing_replay,
    "eventsource_append": eventsource_append,
    "eventsource_read": eventsource_read,
    "boto3": boto3,
    "aiobotocore": aiobotocore,
    "aiohttp": aiohttp,
    "faststream": faststream,
}


def main() -> None:
    """Run one mode."""
    global FOLDER, ADDRESS
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    mode, messages, folder, count, *rest = sys.argv[1:]
    MESSAGES.extend(json.loads(line) for line in Path(messages).read_text(encoding="utf-8").splitlines())
    FOLDER, ADDRESS = Path(folder), rest[0] if rest else ""
    MODES[mode](int(count))
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
