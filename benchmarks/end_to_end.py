"""The whole processor as `ecproc run` composes it, against a stub of the bridge: from the first GET to nothing left.

The clock stops when every message is deleted, every ticket decided and every effect settled.
"""

from __future__ import annotations

import platform
import sqlite3
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, closing
from pathlib import Path
from typing import Final

import anyio
import msgspec
from prometheus_client import CollectorRegistry

from benchmarks.lab import Call, Lab, Row, Stub, make_row, with_figures
from benchmarks.measure import Sample, peak_rss_bytes, timing
from benchmarks.transports import bridge_config, rewind
from ecproc import __version__
from ecproc.app import Processor
from ecproc.clock import SystemClock
from ecproc.config import Config, DataConfig, Limits, WebConfig
from ecproc.descriptors import Reserve
from ecproc.interrupts import Interrupts
from ecproc.starting import Front, Opening
from ecproc.telemetry.metrics import PrometheusTelemetry

TICKETS: Final = 256
RUN: Final = 5
"""A ticket's messages in an answer: SQS gives as many of one group as there are, and a backlog holds whole lives."""
READERS: Final = 8
SOCKETS: Final = Limits().bridge_connections
LATENCY: Final = 0.08
_CALLS: Final = 1.1
"""Per message: its DELETE and its tenth of a GET."""
PATIENCE: Final = 100.0
_ANY_PORT: Final = "127.0.0.1:0"


class Watch(PrometheusTelemetry):
    """The processor's metrics, and the moment when nothing is left to do."""

    def __init__(self, messages: int, clock: SystemClock) -> None:
        super().__init__(
            CollectorRegistry(),
            clock=clock,
            version=__version__,
            python=platform.python_version(),
            sqlite=sqlite3.sqlite_version,
        )
        self.done = anyio.Event()
        self.commits = 0
        self.effects = 0
        self._messages = self._undeleted = messages
        self._undecided = 0
        self._unsettled = 0

    def message_deleted(self, outcome: str) -> None:
        super().message_deleted(outcome)
        self._undeleted -= outcome == "deleted"
        self._look()

    def projection_lag(self, events: int) -> None:
        super().projection_lag(events)
        self._undecided = events
        self._look()

    def outbox_changed(self, lane: str, before: str | None, after: str | None) -> None:
        super().outbox_changed(lane, before, after)
        self._unsettled += (after != "completed") - (before is not None)
        self.effects += after == "completed"
        self._look()

    def append_finished(self, seconds: float) -> None:
        super().append_finished(seconds)
        self.commits += 1

    def facts(self) -> dict[str, float]:
        """What was seen, per message, and the process's largest size."""
        commits, effects = self.commits / self._messages, self.effects / self._messages
        return {"commits": commits, "effects": effects, "rss": peak_rss_bytes()}

    def _look(self) -> None:
        if self._undeleted <= 0 and self._undecided == 0 and self._unsettled == 0:
            self.done.set()


@asynccontextmanager
async def open_processor(
    directory: Path,
    *,
    url: str,
    listen: str = "127.0.0.1:0",
    transport: str = "fast",
    ca_file: str = "",
    messages: int = 0,
) -> AsyncIterator[tuple[Processor, Watch]]:
    """A processor on that data directory as `ecproc run` opens it, and its watched metrics."""
    config = Config(
        bridge=msgspec.structs.replace(bridge_config(url, ca_file), transport=transport),
        data=DataConfig(dir=directory, reserve_bytes=0),
        web=WebConfig(listen=listen),
    )
    clock = SystemClock()
    watch = Watch(messages, clock)
    async with AsyncExitStack() as stack, anyio.create_task_group() as tasks:
        reserve = stack.enter_context(closing(Reserve()))
        front = Front(config, tasks, reserve=reserve, telemetry=watch, clock=clock)
        start = Opening(watch.registry, front=front, interrupts=Interrupts(), clock=clock)
        processor = await Processor.open(
            config,
            stack,
            start,
            accept_loss=False,
            telemetry=watch,
            clock=clock,
            learn=lambda text: None,
        )
        yield processor, watch
        tasks.cancel_scope.cancel()


async def process(
    folder: str, *, transport: str, url: str, messages: int, ca_file: str = "", listen: str = _ANY_PORT
) -> Sample:
    """Run a processor on a new data directory until so many messages are through."""
    rewind(url, ca_file)
    directory = Path(folder) / "data"
    opened = open_processor(directory, url=url, listen=listen, transport=transport, ca_file=ca_file, messages=messages)
    async with opened as (processor, watch), anyio.create_task_group() as tasks:
        with timing() as time, anyio.fail_after(PATIENCE):
            tasks.start_soon(run_processor, processor)
            await watch.done.wait()
        tasks.cancel_scope.cancel()
    return time.sample(messages, **watch.facts())


async def run_processor(processor: Processor) -> None:
    """Run it until it is cancelled."""
    await processor.run(drain=None, interrupts=Interrupts())


def run(lab: Lab) -> list[Row]:
    """The whole beside its yardsticks, over TLS, and at a slow bridge."""
    return [*measure_message(lab), _tls(lab), _latency(lab)]


def process_call(stub: Stub, messages: int, transport: str = "fast") -> Call:
    """One run of the whole processor."""
    work = {"folder": "{folder}", "transport": transport, "url": stub.url, "messages": messages}
    return Call("benchmarks.end_to_end:process", {**work, "ca_file": stub.ca_file})


def limit_call(stub: Stub, messages: int) -> Call:
    """One run of the least that does the same."""
    work = {"folder": "{folder}", "url": stub.url, "messages": messages}
    return Call("benchmarks.limit:run_limit", {**work, "readers": READERS, "connections": SOCKETS})


def _frozen(stub: Stub, messages: int) -> Call:
    work = {"url": stub.url, "ca_file": stub.ca_file, "messages": messages}
    return Call("benchmarks.frozen:poll", {**work, "readers": READERS, "connections": SOCKETS})


def measure_message(lab: Lab) -> list[Row]:
    """A message end to end beside the least that does the same, the frozen loop, and stock httpx."""
    fast, slow = lab.size(12_000, 1500), lab.size(500, 200)
    with (
        lab.stub(messages=fast, tickets=TICKETS, run=RUN) as queue,
        lab.stub(messages=fast, tickets=TICKETS) as scattered,
        lab.stub(messages=slow, tickets=TICKETS, run=RUN) as short,
        lab.stub(messages=1000, tickets=TICKETS, endless=True) as endless,
    ):
        stock = {"transport": "stock", "url": endless.url, "messages": slow, "readers": 2, "connections": 16}
        samples = lab.interleave(
            {
                "limit": limit_call(queue, fast),
                "fast": process_call(queue, fast),
                "frozen": _frozen(endless, fast),
                "scattered": process_call(scattered, fast),
                "stock": Call("benchmarks.transports:poll", stock),
                "httpx": process_call(short, slow, "httpx"),
            }
        )
    rows = [
        ("e2e_limit", "fast", "limit", "the least that does the same (limit.py)"),
        ("e2e_frozen", "fast", "frozen", "bare GET + DELETE loop over a frozen transport"),
        ("e2e_stock", "fast", "stock", "bare loop on stock httpx + sniffio, 16 sockets"),
        ("e2e_scattered", "scattered", "fast", "each answer with runs of five of a ticket"),
        ("e2e_httpx", "httpx", "stock", "bare loop on stock httpx + sniffio, 16 sockets"),
    ]
    commits = make_row("e2e_commits", "end to end, fast (commits per message)", per="message", ours=samples["fast"])
    return [
        *[
            make_row(
                key, f"end to end, {mine}", per="message", ours=samples[mine], baseline=samples[one], against=against
            )
            for key, mine, one, against in rows
        ],
        with_figures(commits, [sample.facts["commits"] for sample in samples["fast"]], unit="commits"),
    ]


def _tls(lab: Lab) -> Row:
    messages = lab.size(3000, 1500)
    with (
        lab.stub(messages=messages, tickets=TICKETS, run=RUN, tls=True) as queue,
        lab.stub(messages=1000, tickets=TICKETS, endless=True, tls=True) as endless,
    ):
        return lab.compare(
            "e2e_tls",
            "end to end, fast, TLS",
            per="message",
            ours=process_call(queue, messages),
            baseline=_frozen(endless, messages),
            against="bare GET + DELETE loop over a frozen transport, TLS",
        )


def _latency(lab: Lab) -> Row:
    """A bridge that answers late: beside what all sockets could do if each call took the latency and nothing else."""
    messages = lab.size(2000, 1000)
    with lab.stub(messages=messages, tickets=TICKETS, run=RUN, delay=LATENCY) as stub:
        samples = lab.interleave({"ours": process_call(stub, messages)})["ours"]
    limit = Sample(messages, messages * _CALLS * LATENCY / SOCKETS, 0.0)
    return make_row(
        "e2e_latency",
        f"end to end, {LATENCY * 1000:.0f} ms per call",
        per="message",
        ours=samples,
        baseline=[limit] * len(samples),
        against=f"{SOCKETS} sockets, {_CALLS} calls a message",
        note="the limit is computed, not measured",
        by="wall",
    )
