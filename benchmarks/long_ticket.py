"""One ticket that goes on and on: whether its ten-thousandth message costs what its first did, effects included."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator, Sequence
from itertools import count, pairwise
from pathlib import Path
from typing import Final

import anyio

from benchmarks.lab import Call, Lab, Row, make_row
from benchmarks.measure import Sample, timing
from benchmarks.messages import PER_ANSWER, make_answer
from benchmarks.parts import make_pipeline
from benchmarks.transports import bridge_config
from ecproc.bridge.base import Answer, Deleted, Request
from ecproc.clock import SystemClock
from ecproc.collector import spare_the_collector
from ecproc.config import Config, DataConfig
from ecproc.desk.base import DeskAnswer, DeskCall
from ecproc.domain.effects import EffectKind, Repeat
from ecproc.fold.tables import TABLES
from ecproc.signals import Signal
from ecproc.simulator.exchange import give_deleted, respond
from ecproc.store.opening import open_store
from ecproc.store.sqlite.datadir import DATABASE
from ecproc.telemetry.hooks import Telemetry

_QUARTERS: Final = 4
_PATIENCE: Final = 400.0


class _Bridge:
    """A queue with messages of one ticket, and a bridge that takes all else at once."""

    def __init__(self, messages: int) -> None:
        self.wanted = anyio.Semaphore(0)
        self._deleted = Answer(200, give_deleted("8d9a7dc2-42c5-5e95-89c4-287741bf1a2f").body)
        self._accepted = Answer(200, respond("PTN Added").body)
        self._starts: Iterator[int] = iter(range(0, messages, PER_ANSWER))

    async def receive(self) -> Answer:
        await self.wanted.acquire()
        start = next(self._starts, None)
        return Answer(200, make_answer(start or 0, 0 if start is None else PER_ANSWER, tickets=1, mix="busy"))

    async def delete(self, receipt_handle: str) -> Answer:
        return self._deleted

    async def delete_many(self, receipt_handles: Sequence[str], deleted: Deleted, *, within: float) -> None:
        for place, _ in enumerate(receipt_handles):
            deleted(place, self._deleted)

    async def send(self, request: Request) -> Answer:
        return self._accepted


class _Heard(Telemetry):
    """How many messages are deleted."""

    def __init__(self) -> None:
        self._deleted = 0
        self._changed = Signal()

    def message_deleted(self, outcome: str) -> None:
        self._deleted += 1
        self._changed.notify()

    async def wait_for(self, count: int) -> None:
        """Return once so many are."""
        await self._changed.wait_until(lambda: self._deleted >= count)


class _Desk:
    """A desk that does everything at once."""

    def __init__(self) -> None:
        self._calls = count(1)

    def repeat_of(self, kind: EffectKind) -> Repeat:
        return Repeat.KEYED

    def ends_after(self, kind: EffectKind) -> float:
        return 0.0

    async def perform(self, call: DeskCall) -> DeskAnswer:
        return DeskAnswer(call.number or f"LOCAL-{next(self._calls):07d}", "open")

    async def look_up(self, call: DeskCall) -> DeskAnswer | None:
        return None

    async def aclose(self) -> None:
        """Nothing is open."""


async def live(folder: str, *, messages: int) -> Sample:
    """Take so many messages of one ticket, answer by answer, each with its effects to the end; its `first` to `fourth`
    are the quarters' CPU seconds a message."""
    directory = Path(folder) / "data"
    config = Config(bridge=bridge_config("http://127.0.0.1"), data=DataConfig(dir=directory, reserve_bytes=0))
    store = await open_store(config.data, TABLES, now=SystemClock().now, identity=None)
    bridge = _Bridge(messages)
    heard = _Heard()
    pipeline = make_pipeline(config, store, queue=bridge, bridge=bridge, desk=_Desk(), telemetry=heard)
    spare_the_collector()
    marks: list[float] = []
    async with anyio.create_task_group() as tasks:
        with timing() as watch, anyio.fail_after(_PATIENCE):
            tasks.start_soon(pipeline.run)
            for number in range(messages // PER_ANSWER):
                if number % max(1, messages // PER_ANSWER // _QUARTERS) == 0:
                    marks.append(time.process_time())
                bridge.wanted.release()
                await heard.wait_for((number + 1) * PER_ANSWER)
                await pipeline.wait_idle()
            marks.append(time.process_time())
        tasks.cancel_scope.cancel()
    events = (await store.head()).position
    await store.aclose()
    quarters = [(end - begin) * _QUARTERS / messages for begin, end in pairwise(marks)]
    names = ("first", "second", "third", "fourth")
    facts = dict(zip(names, quarters, strict=False))
    return watch.sample(messages, events=events, snapshot=_snapshot_bytes(directory), **facts)


def _snapshot_bytes(directory: Path) -> int:
    connection = sqlite3.connect(directory / DATABASE)
    (size,) = connection.execute("SELECT coalesce(max(length(data)), 0) FROM snapshot").fetchone()
    connection.close()
    return int(size)


def run(lab: Lab) -> list[Row]:
    """The last quarter of a long ticket's messages beside the first."""
    work = {"folder": "{folder}", "messages": lab.size(16_000, 400)}
    sample = lab.take(Call("benchmarks.long_ticket:live", work))
    names = ("first", "second", "third", "fourth")
    quarters = [sample.facts[name] for name in names]
    told = ", ".join(f"{seconds * 1_000_000:.0f}" for seconds in quarters)
    snapshot = f"{sample.facts['snapshot'] / 1e6:.1f} MB"
    row = make_row(
        "long_ticket",
        f"a ticket of {sample.facts['events']:,.0f} events, its last quarter",
        per="message",
        ours=[Sample(1, quarters[-1], quarters[-1])],
        baseline=[Sample(1, quarters[0], quarters[0])],
        against="its first",
        note=f"us CPU a message, effects included, by quarter: {told}; a snapshot of {snapshot}",
    )
    return [row]
