"""What a FIFO queue with groups does, asked of our simulator over HTTP and of an SQS emulator that others wrote."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Protocol
from urllib.parse import quote

import anyio
import httpx
import msgspec
import pytest

from ecproc.simulator.queue import QueueRules
from ecproc.simulator.server import Simulator, run_simulator
from ecproc.simulator.settings import SimulatorConfig

VISIBILITY = 600.0
"""Seconds of clocks that are turned by hand: nothing comes again because the machine is slow."""
STEP = VISIBILITY / 3
MAX_RECEIVES = 3
PATIENCE = 100.0
"""Seconds after which what was waited for counts as never coming."""
API_KEY = "simulator-key"


class Got(msgspec.Struct, frozen=True):
    """One delivery as a client sees it."""

    text: str
    group: str
    message_id: str
    handle: str
    count: int


EMULATOR = f"""
import runpy, signal, time
now, ahead = time.time, [0.0]
time.time = lambda: now() + sum(ahead)
signal.signal(signal.SIGUSR1, lambda *_: ahead.append({STEP}))
runpy.run_module("ministack", run_name="__main__")
"""


class Emulator(msgspec.Struct, frozen=True):
    """A running ministack, whose clock goes a step ahead at a signal."""

    url: str
    pid: int


class FifoPort(Protocol):
    """A queue whose visibility is VISIBILITY and that gives up after MAX_RECEIVES receives."""

    async def send(self, group: str, text: str) -> None: ...

    async def receive(self) -> list[Got]: ...

    async def let_time_pass(self) -> None:
        """Come a little closer to the end of the visibility time."""

    async def delete(self, handle: str) -> bool:
        """Say whether the queue accepted it."""

    async def list_failed(self) -> list[str]: ...


class SimulatedQueue:
    """Our simulator, through its HTTP server; its clock is turned by hand."""

    def __init__(self, simulator: Simulator, client: httpx.AsyncClient, clock: list[float]) -> None:
        self._simulator = simulator
        self._client = client
        self._clock = clock

    async def send(self, group: str, text: str) -> None:
        message = {"Body": {"text": text}, "Attributes": {"MessageGroupId": group}}
        answer = await self._client.post(f"{self._simulator.bridge.url_base}/_sim/messages", json=[message])
        assert answer.status_code == 200

    async def receive(self) -> list[Got]:
        answer = await self._client.get(f"{self._simulator.url}/queue")
        result = answer.json()["ReceiveMessageResponse"]["ReceiveMessageResult"]
        return [
            Got(
                message["Body"]["text"],
                message["Attributes"]["MessageGroupId"],
                message["MessageId"],
                message["ReceiptHandle"],
                int(message["Attributes"]["ApproximateReceiveCount"]),
            )
            for message in result.get("messages") or ()
        ]

    async def let_time_pass(self) -> None:
        self._clock[0] += STEP

    async def delete(self, handle: str) -> bool:
        answer = await self._client.delete(f"{self._simulator.url}/queue/{quote(handle, safe='')}")
        return answer.status_code == 200

    async def list_failed(self) -> list[str]:
        return [json.loads(message.body)["text"] for message in self._simulator.bridge.queues["dev"].failed]


class EmulatedQueue:
    """A queue of ministack's, driven with SQS's own JSON protocol."""

    def __init__(self, client: httpx.AsyncClient, url: str, failed_url: str, pid: int) -> None:
        self._client = client
        self._pid = pid
        self._url = url
        self._failed_url = failed_url
        self._sent = 0

    async def send(self, group: str, text: str) -> None:
        self._sent += 1
        answer = await call_sqs(
            self._client,
            "SendMessage",
            {
                "QueueUrl": self._url,
                "MessageBody": text,
                "MessageGroupId": group,
                "MessageDeduplicationId": str(self._sent),
            },
        )
        assert answer.status_code == 200, answer.text

    async def receive(self) -> list[Got]:
        return await self._receive(self._url)

    async def let_time_pass(self) -> None:
        os.kill(self._pid, signal.SIGUSR1)

    async def delete(self, handle: str) -> bool:
        body = {"QueueUrl": self._url, "ReceiptHandle": handle}
        return (await call_sqs(self._client, "DeleteMessage", body)).status_code == 200

    async def list_failed(self) -> list[str]:
        return [got.text for got in await self._receive(self._failed_url)]

    async def _receive(self, url: str) -> list[Got]:
        body = {"QueueUrl": url, "MaxNumberOfMessages": 10, "AttributeNames": ["All"]}
        answer = await call_sqs(self._client, "ReceiveMessage", body)
        return [
            Got(
                message["Body"],
                message["Attributes"]["MessageGroupId"],
                message["MessageId"],
                message["ReceiptHandle"],
                int(message["Attributes"]["ApproximateReceiveCount"]),
            )
            for message in answer.json().get("Messages", [])
        ]


async def call_sqs(client: httpx.AsyncClient, action: str, body: Mapping[str, object]) -> httpx.Response:
    headers = {"X-Amz-Target": f"AmazonSQS.{action}", "Content-Type": "application/x-amz-json-1.0"}
    return await client.post("/", json=body, headers=headers)


@asynccontextmanager
async def open_simulated(per_group: int) -> AsyncIterator[FifoPort]:
    clock = [1_700_000_000.0]
    rules = QueueRules(visibility=VISIBILITY, max_receives=MAX_RECEIVES, per_group=per_group)
    async with (
        run_simulator(SimulatorConfig(queue=rules), clock=lambda: clock[0]) as simulator,
        httpx.AsyncClient(headers={"x-api-key": API_KEY}, trust_env=False, timeout=PATIENCE) as client,
    ):
        yield SimulatedQueue(simulator, client, clock)


@asynccontextmanager
async def open_emulated(emulator: Emulator, name: str) -> AsyncIterator[FifoPort]:
    async with httpx.AsyncClient(base_url=emulator.url, trust_env=False, timeout=PATIENCE) as client:

        async def create(queue: str, **attributes: str) -> str:
            body = {"QueueName": f"{queue}.fifo", "Attributes": {"FifoQueue": "true", **attributes}}
            answer = await call_sqs(client, "CreateQueue", body)
            assert answer.status_code == 200, answer.text
            return str(answer.json()["QueueUrl"])

        failed_url = await create(f"{name}-failed")
        arn = f"arn:aws:sqs:us-east-1:000000000000:{name}-failed.fifo"
        redrive = json.dumps({"deadLetterTargetArn": arn, "maxReceiveCount": str(MAX_RECEIVES)})
        queue_url = await create(name, VisibilityTimeout=str(int(VISIBILITY)), RedrivePolicy=redrive)
        yield EmulatedQueue(client, queue_url, failed_url, emulator.pid)


@pytest.fixture(scope="module")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    """Run ministack, bound to loopback, for the tests of this file."""
    place: Path = tmp_path_factory.mktemp("ministack")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    settings = {"BIND_HOST": "127.0.0.1", "GATEWAY_PORT": str(port), "TMPDIR": str(place), "IOT_MTLS_ENABLED": "0"}
    with (place / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-c", EMULATOR], env={**os.environ, **settings}, cwd=place, stdout=log, stderr=log
        )
        try:
            deadline = time.monotonic() + PATIENCE
            while not is_answering(url):
                assert process.poll() is None, (place / "log").read_text()
                assert time.monotonic() < deadline, (place / "log").read_text()
                time.sleep(0.05)  # it is still importing, on this very processor perhaps
            yield Emulator(url, process.pid)
        finally:
            process.kill()
            process.wait()


def is_answering(url: str) -> bool:
    try:
        return httpx.get(f"{url}/_ministack/health", timeout=PATIENCE, trust_env=False).status_code == 200
    except httpx.TransportError:
        return False


@pytest.fixture(params=["simulator", "simulator-one-by-one", "ministack"])
async def queue(request: pytest.FixtureRequest) -> AsyncIterator[FifoPort]:
    async with AsyncExitStack() as stack:
        if request.param == "ministack":
            emulator = request.getfixturevalue("emulator")
            name = "".join(c if c.isalnum() else "-" for c in request.node.originalname)
            yield await stack.enter_async_context(open_emulated(emulator, name))
        else:
            per_group = 1 if request.param == "simulator-one-by-one" else 10
            yield await stack.enter_async_context(open_simulated(per_group))


async def fetch(queue: FifoPort) -> list[Got]:
    """Receive, as soon as there is something to receive."""
    with anyio.fail_after(PATIENCE):
        while not (batch := await queue.receive()):
            await queue.let_time_pass()
    return batch


async def send_all(queue: FifoPort, *messages: tuple[str, str]) -> None:
    for group, text in messages:
        await queue.send(group, text)


async def drain(queue: FifoPort, *, total: int) -> list[Got]:
    """Receive and delete this many messages."""
    taken: list[Got] = []
    while len(taken) < total:
        batch = await fetch(queue)
        assert len(batch) <= 10
        for got in batch:
            assert await queue.delete(got.handle)
        taken += batch
    return taken


@pytest.mark.requirement("R13", "R19")
async def test_a_group_comes_in_the_order_it_was_sent_in(queue: FifoPort) -> None:
    await send_all(queue, *((f"g{n % 3}", f"{n}") for n in range(27)))
    taken = await drain(queue, total=27)
    for group in ("g0", "g1", "g2"):
        texts = [int(got.text) for got in taken if got.group == group]
        assert texts == sorted(texts)
    assert {got.count for got in taken} == {1}
    assert len({got.message_id for got in taken}) == 27


@pytest.mark.requirement("R20")
async def test_a_group_gives_nothing_while_one_of_its_messages_is_in_flight(queue: FifoPort) -> None:
    await send_all(queue, *(("busy", f"b{n}") for n in range(12)), ("free", "f0"))
    first = await queue.receive()
    busy = [got.text for got in first if got.group == "busy"]
    assert busy == [f"b{n}" for n in range(len(busy))]
    second = await queue.receive()
    assert [got for got in second if got.group == "busy"] == []
    assert "free" in {got.group for got in [*first, *second]}
    third = await queue.receive()
    assert third == []


@pytest.mark.requirement("R20", "R25")
async def test_an_undeleted_message_blocks_its_own_group_only(queue: FifoPort) -> None:
    await send_all(queue, ("stuck", "s0"), ("other", "o0"))
    batch = await queue.receive()
    assert {got.group for got in batch} == {"stuck", "other"}
    assert await queue.delete(next(got.handle for got in batch if got.group == "other"))
    await send_all(queue, ("stuck", "s1"), ("other", "o1"))
    assert [got.text for got in await queue.receive()] == ["o1"]


@pytest.mark.requirement("R20")
async def test_deleting_what_is_in_flight_frees_the_group_at_once(queue: FifoPort) -> None:
    await send_all(queue, *(("g", f"{n}") for n in range(12)))
    seen: list[str] = []
    while len(seen) < 12:
        batch = await queue.receive()
        assert batch, f"nothing after {seen}"
        seen += [got.text for got in batch]
        for got in batch:
            assert await queue.delete(got.handle)
    assert seen == [f"{n}" for n in range(12)]


@pytest.mark.requirement("R21", "R22")
async def test_an_undeleted_message_comes_again_with_a_new_handle(queue: FifoPort) -> None:
    await send_all(queue, ("g", "first"), ("g", "second"))
    (before, *rest) = await queue.receive()
    again = await fetch(queue)
    assert [got.text for got in again][: 1 + len(rest)] == ["first", "second"][: 1 + len(rest)]
    assert again[0].message_id == before.message_id
    assert again[0].handle != before.handle
    assert again[0].count == 2


@pytest.mark.requirement("R22", "R29")
async def test_only_the_newest_handle_deletes(queue: FifoPort) -> None:
    await queue.send("g", "only")
    (before,) = await queue.receive()
    (again,) = await fetch(queue)
    assert not await queue.delete(before.handle)
    assert await queue.delete(again.handle)


@pytest.mark.requirement("R30")
async def test_a_handle_that_was_never_given_out_is_refused(queue: FifoPort) -> None:
    await queue.send("g", "only")
    (got,) = await queue.receive()
    assert not await queue.delete(f"AQEB{got.handle[4:][::-1]}")
    (again,) = await fetch(queue)
    assert again.text == "only"


@pytest.mark.requirement("R28")
async def test_a_deleted_message_does_not_come_again(queue: FifoPort) -> None:
    await send_all(queue, ("gone", "gone"), ("kept", "kept"))
    batch = await queue.receive()
    assert await queue.delete(next(got.handle for got in batch if got.text == "gone"))
    assert [got.text for got in await fetch(queue)] == ["kept"]


@pytest.mark.requirement("R23")
async def test_a_message_received_too_often_goes_to_the_failure_queue(queue: FifoPort) -> None:
    await queue.send("g", "poison")
    for count in range(1, MAX_RECEIVES + 1):
        (got,) = await fetch(queue)
        assert (got.text, got.count) == ("poison", count)
    await queue.send("g", "next")
    assert [got.text for got in await fetch(queue)] == ["next"]
    assert await queue.list_failed() == ["poison"]
