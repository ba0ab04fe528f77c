"""The queue's two calls, transport by transport: a GET of ten messages and their ten DELETEs, with nothing between."""

from __future__ import annotations

import asyncio
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final, Protocol
from urllib.parse import quote

import httpx
import msgspec

from benchmarks.lab import Call, Lab, Row, make_row
from benchmarks.measure import Sample, timing
from ecproc.bridge.base import Answer
from ecproc.bridge.fast import FastBridge
from ecproc.bridge.http import HttpBridge
from ecproc.clock import SystemClock
from ecproc.collector import spare_the_collector
from ecproc.config import BridgeConfig, Limits, LiveSecret, Secret
from ecproc.network import make_tls_context

TRANSPORTS: Final[Mapping[str, type[FastBridge] | type[HttpBridge]]] = {"fast": FastBridge, "httpx": HttpBridge}
"""Our adapters by the names of the report."""

KEY: Final = "k" * 40


class Closable(Protocol):
    """The two calls, one at a time, and their end."""

    async def receive(self) -> Answer: ...

    async def delete(self, receipt_handle: str) -> Answer: ...

    async def aclose(self) -> None: ...


class _Message(msgspec.Struct):
    ReceiptHandle: str


class _Result(msgspec.Struct):
    messages: list[_Message] | None = None


class _Response(msgspec.Struct):
    ReceiveMessageResult: _Result


class _Answer(msgspec.Struct):
    ReceiveMessageResponse: _Response


_decode = msgspec.json.Decoder(_Answer).decode


def read_handles(body: bytes) -> list[str]:
    """The least that a consumer must read of an answer."""
    return [item.ReceiptHandle for item in _decode(body).ReceiveMessageResponse.ReceiveMessageResult.messages or ()]


def bridge_config(url: str, ca_file: str = "") -> BridgeConfig:
    """How a stub is called."""
    return BridgeConfig(
        url=f"{url}/client/prod", client_name="testClient", api_key=Secret(KEY), timeout=30, ca_file=ca_file
    )


def open_ours(name: str, url: str, *, ca_file: str = "", connections: int = 64) -> Closable:
    """One of our adapters."""
    limits = Limits(bridge_connections=connections)
    config = bridge_config(url, ca_file)
    return TRANSPORTS[name](
        config, api_key=LiveSecret("bridge.api_key", [config.api_key]), limits=limits, clock=SystemClock()
    )


def rewind(url: str, ca_file: str) -> None:
    """Let the stub begin anew."""
    tls = make_tls_context(Path(ca_file)) if ca_file else None
    with urllib.request.urlopen(f"{url}/rewind", timeout=10, context=tls):  # noqa: S310 - our own stub
        pass


class StockQueue:
    """`httpx.AsyncClient` as its documentation shows it, with as many connections as there are calls at once."""

    def __init__(self, url: str, *, ca_file: str, connections: int) -> None:
        limits = httpx.Limits(max_connections=connections, max_keepalive_connections=connections)
        verify = make_tls_context(Path(ca_file) if ca_file else None)
        self._base = f"{url}/client/prod/queue"
        self._client = httpx.AsyncClient(headers={"x-api-key": KEY}, timeout=30, verify=verify, limits=limits)

    async def receive(self) -> Answer:
        answer = await self._client.get(self._base)
        return Answer(answer.status_code, answer.content)

    async def delete(self, receipt_handle: str) -> Answer:
        answer = await self._client.delete(f"{self._base}/{quote(receipt_handle, safe='')}")
        return Answer(answer.status_code, answer.content)

    async def aclose(self) -> None:
        await self._client.aclose()


@asynccontextmanager
async def open_queue(name: str, url: str, *, ca_file: str, connections: int) -> AsyncIterator[Closable]:
    """One of our adapters, or `stock` httpx."""
    queue: Closable
    if name == "stock":
        queue = StockQueue(url, ca_file=ca_file, connections=connections)
    else:
        queue = open_ours(name, url, ca_file=ca_file, connections=connections)
    try:
        yield queue
    finally:
        await queue.aclose()


async def poll(transport: str, url: str, *, messages: int, readers: int, connections: int, ca_file: str = "") -> Sample:
    """GET ten messages and DELETE each, all ten at once, in `readers` loops at once, until so many are gone."""
    async with open_queue(transport, url, ca_file=ca_file, connections=connections) as queue:
        await _drain(queue.receive, queue.delete, messages // 10, readers)
        spare_the_collector()
        with timing() as watch:
            done = await _drain(queue.receive, queue.delete, messages, readers)
    return watch.sample(done)


async def _drain(
    receive: Callable[[], Awaitable[Answer]], delete: Callable[[str], Awaitable[Answer]], messages: int, readers: int
) -> int:
    left = messages
    done = 0

    async def read() -> None:
        nonlocal left, done
        while left > 0:
            left -= 10
            handles = read_handles((await receive()).body)
            answers = await asyncio.gather(*[delete(handle) for handle in handles])
            done += sum(answer.status == 200 for answer in answers)

    await asyncio.gather(*[read() for _ in range(readers)])
    return done


def run(lab: Lab) -> list[Row]:
    """Each adapter against stock httpx, with 16 connections plain and under TLS, and with one."""
    rows: list[Row] = []
    for tls in (False, True):
        with lab.stub(messages=1000, tickets=100, endless=True, tls=tls) as stub:
            for connections in (16,) if tls else (1, 16):
                rows += _compare(lab, stub.url, stub.ca_file, connections=connections)
    return rows


def _compare(lab: Lab, url: str, ca_file: str, *, connections: int) -> list[Row]:
    names = (*TRANSPORTS, "stock")
    calls = {
        name: Call(
            "benchmarks.transports:poll",
            {
                "transport": name,
                "url": url,
                "messages": lab.size(2000, 600) if name == "fast" else lab.size(200, 100),
                "readers": 1,
                "connections": connections,
                "ca_file": ca_file,
            },
        )
        for name in names
    }
    samples = lab.interleave(calls)
    kind = "TLS" if url.startswith("https") else "plain"
    return [
        make_row(
            f"transport_{name}_{kind.lower()}_{connections}",
            f"GET of 10 + 10 DELETEs, {name}, {kind}, {connections} connection{'s' if connections > 1 else ''}",
            per="message",
            ours=samples[name],
            baseline=samples["stock"],
            against="stock httpx + sniffio",
        )
        for name in TRANSPORTS
    ]
