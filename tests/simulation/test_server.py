"""The simulator as a server: raw bytes, hanging and lost answers, its own pages, and an end in time."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from urllib.parse import quote, urlsplit

import anyio
import httpx
import pytest

from ecproc.simulator.faults import MILD, CallFaults, FaultPlan
from ecproc.simulator.lives import DECK_SIZE
from ecproc.simulator.server import Simulator, run_simulator
from ecproc.simulator.settings import Scenario, SimulatorConfig

PATIENCE = 60.0
"""Seconds after which what was waited for counts as never coming."""
KEY = {"x-api-key": "simulator-key"}
MESSAGE = {"Body": {"ticketNumber": "e-CS1", "ticketType": "Incident"}, "Attributes": {"MessageGroupId": "e-CS1"}}


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(headers=KEY, timeout=PATIENCE, trust_env=False) as client:
        yield client


async def send_bytes(simulator: Simulator, data: bytes) -> bytes:
    """Write raw bytes to the server and read until it closes."""
    port = urlsplit(simulator.url).port
    assert port is not None
    async with await anyio.connect_tcp("127.0.0.1", port) as stream:
        await stream.send(data)
        received = b""
        with anyio.fail_after(PATIENCE):
            try:
                async for part in stream:
                    received += part
            except anyio.BrokenResourceError:
                pass
        return received


async def test_a_message_goes_out_is_deleted_and_counted(client: httpx.AsyncClient) -> None:
    async with run_simulator(SimulatorConfig()) as simulator:
        await client.post(f"{simulator.bridge.url_base}/_sim/messages", json=[MESSAGE, MESSAGE])
        for _ in range(2):
            answer = (await client.get(f"{simulator.url}/queue")).json()
            for message in answer["ReceiveMessageResponse"]["ReceiveMessageResult"]["messages"]:
                handle = quote(message["ReceiptHandle"], safe="")
                assert (await client.delete(f"{simulator.url}/queue/{handle}")).status_code == 200
            if simulator.ledger.count_messages().left == 0:
                break
        ledger = (await client.get(f"{simulator.bridge.url_base}/_sim/ledger")).json()
    assert ledger["messages"]["sent"] == ledger["messages"]["received"] == ledger["messages"]["deleted"] == 2
    assert ledger["messages"]["left"] == ledger["messages"]["lost"] == ledger["messages"]["redelivered"] == 0
    assert ledger["calls"]["delete"] == 2
    assert (ledger["in_flight"], ledger["max_in_flight"]) == (0, 1)


async def test_requests_on_one_connection_are_answered_in_turn() -> None:
    latency = FaultPlan(queue=CallFaults(latency=(0.02, 0.02)))
    async with run_simulator(SimulatorConfig(faults=latency)) as simulator:
        queue = b"GET /testclient/dev/queue HTTP/1.1\r\nhost: x\r\nx-api-key: simulator-key\r\n\r\n"
        other = b"GET /Testclient/dev/queue HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
        received = await send_bytes(simulator, queue + other)
    assert received.count(b"HTTP/1.1 ") == 2
    assert received.index(b"200 OK") < received.index(b"403 Forbidden")


async def test_a_client_that_asks_before_it_sends_a_body_is_told_to_go_on() -> None:
    head = b"POST /testclient/dev/tickets HTTP/1.1\r\nhost: x\r\nconnection: close\r\nexpect: 100-continue\r\n"
    async with run_simulator(SimulatorConfig()) as simulator:
        received = await send_bytes(simulator, head + b"content-length: 2\r\n\r\n{}")
    assert received.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 403 ")


async def test_what_is_no_http_is_refused_and_the_server_goes_on(client: httpx.AsyncClient) -> None:
    async with run_simulator(SimulatorConfig()) as simulator:
        assert (await send_bytes(simulator, b"\x16\x03\x01\x02\x00 hello\r\n\r\n")).startswith(b"HTTP/1.1 400 ")
        upgrade = b"GET / HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n"
        assert (await send_bytes(simulator, upgrade)).startswith(b"HTTP/1.1 4")
        assert (await client.get(f"{simulator.url}/queue")).status_code == 200


async def test_a_lost_answer_closes_the_connection_after_the_work_is_done(client: httpx.AsyncClient) -> None:
    async with run_simulator(SimulatorConfig(faults=FaultPlan(queue=CallFaults(lost=1.0)))) as simulator:
        await client.post(f"{simulator.bridge.url_base}/_sim/messages", json=[MESSAGE])
        with pytest.raises(httpx.RemoteProtocolError):
            await client.get(f"{simulator.url}/queue")
        assert simulator.ledger.count_messages().received == 1


async def test_throttling_names_a_time(client: httpx.AsyncClient) -> None:
    plan = FaultPlan(tickets=CallFaults(throttle=1.0), retry_after=7)
    async with run_simulator(SimulatorConfig(faults=plan)) as simulator:
        answer = await client.post(f"{simulator.url}/tickets", json={})
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "7")


async def test_leaving_takes_less_than_two_seconds_with_answers_held_back(client: httpx.AsyncClient) -> None:
    plan = FaultPlan(queue=CallFaults(hang=1.0), hang_seconds=3600)
    async with anyio.create_task_group() as tasks:

        async def ask(url: str) -> None:
            with pytest.raises(httpx.TransportError):
                await client.get(url)

        async with run_simulator(SimulatorConfig(faults=plan)) as simulator:
            for _ in range(3):
                tasks.start_soon(ask, f"{simulator.url}/queue")
            with anyio.fail_after(PATIENCE):
                await simulator.wait_until(lambda ledger: ledger.in_flight == 3)
            leaving = time.monotonic()
        assert time.monotonic() - leaving < 2
    assert simulator.ledger.in_flight == 0
    assert simulator.ledger.max_in_flight == 3


async def test_a_client_that_goes_away_ends_its_request(client: httpx.AsyncClient) -> None:
    plan = FaultPlan(queue=CallFaults(hang=1.0), hang_seconds=3600)
    async with run_simulator(SimulatorConfig(faults=plan)) as simulator:
        with anyio.fail_after(PATIENCE):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(client.get, f"{simulator.url}/queue")
                await simulator.wait_until(lambda ledger: ledger.in_flight == 1)
                tasks.cancel_scope.cancel()
            await simulator.wait_until(lambda ledger: ledger.in_flight == 0)


async def test_a_taken_port_is_an_ordinary_error() -> None:
    async with run_simulator(SimulatorConfig()) as simulator:
        port = urlsplit(simulator.url).port or 0
        with pytest.raises(OSError, match="in use"):
            async with run_simulator(SimulatorConfig(port=port)):
                pytest.fail("two servers on one port")


async def test_an_error_in_the_block_comes_out_as_it_is() -> None:
    with pytest.raises(LookupError):
        async with run_simulator(SimulatorConfig(scenario=Scenario(tickets=3, rate=1.0))):
            raise LookupError


async def test_faults_change_at_run_time(client: httpx.AsyncClient) -> None:
    async with run_simulator(SimulatorConfig()) as simulator:
        page = f"{simulator.bridge.url_base}/_sim/faults"
        assert (await client.get(f"{simulator.url}/queue")).status_code == 200
        assert (await client.post(page, json={"queue": {"error_before": 1.0}})).status_code == 200
        assert (await client.get(f"{simulator.url}/queue")).status_code >= 500
        assert (await client.post(page, json="mild")).json()["messages"]["duplicate"] == MILD.messages.duplicate
        assert (await client.post(page, json={"queue": {"eror_before": 1.0}})).status_code == 400
        assert (await client.post(page, json="wild")).status_code == 400
        assert (await client.get(f"{simulator.bridge.url_base}/_sim/nothing")).status_code == 404


async def test_a_scenario_is_sent_at_its_pace_and_tells_its_outcomes(client: httpx.AsyncClient) -> None:
    async with run_simulator(SimulatorConfig(scenario=Scenario(tickets=5, seed=1))) as simulator:
        assert simulator.ledger.count_messages().unsent == 0
        page = f"{simulator.bridge.url_base}/_sim/scenario"
        answer = await client.post(page, json={"tickets": 10, "seed": 2, "rate": 400})
        assert len(answer.json()) == 10
        assert simulator.ledger.count_messages().unsent > 0
        with anyio.fail_after(PATIENCE):
            await simulator.wait_until(lambda ledger: ledger.unsent == 0)
        assert len((await client.get(page)).json()) == 15
        sent = sum(len(life.messages) for life in simulator.stage.lives)
        assert simulator.ledger.count_messages().left == simulator.ledger.sent == sent


async def test_scripted_attachments_can_be_downloaded() -> None:
    async with run_simulator(SimulatorConfig(scenario=Scenario(tickets=DECK_SIZE))) as simulator:
        async with httpx.AsyncClient(trust_env=False) as bare:
            for life in simulator.stage.lives:
                urls = [json.loads(message.body).get("attachment") for message in life.messages]
                for url, file in zip(filter(None, urls), life.files, strict=True):
                    answer = await bare.get(url)
                    assert (answer.status_code, answer.content) == (200, file.content)
        assert simulator.ledger.downloads.total() == sum(len(life.files) for life in simulator.stage.lives)
