"""What an effect costs: at the built-in desk as `ecproc run` has it, and at a desk that is called over HTTP and TLS."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final

import anyio
import msgspec

from benchmarks.end_to_end import PATIENCE, RUN, TICKETS, Watch, limit_call, process_call
from benchmarks.lab import Call, Lab, Row, Stub, make_row, with_figures
from benchmarks.measure import Sample, timing
from benchmarks.parts import make_pipeline
from benchmarks.transports import bridge_config, rewind
from ecproc.bridge.base import Bridge, Request
from ecproc.bridge.fast import FastBridge
from ecproc.clock import SystemClock
from ecproc.collector import spare_the_collector
from ecproc.config import Config, DataConfig, Limits, LiveSecret
from ecproc.desk.base import DeskAnswer, DeskCall, DeskUnavailable
from ecproc.domain.effects import EffectKind, Repeat
from ecproc.fold.tables import TABLES
from ecproc.store.opening import open_store

_CALLERS: Final = 10
"""Calls at once of the bare loop."""
_LEAST: Final = 0.001
"""Of a message's time: what an effect takes at least where two noisy figures tell nothing."""

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(DeskAnswer).decode


class HttpDesk:
    """A desk over HTTP that knows a call it had before by its key: POST over the bridge's own kept connections."""

    def __init__(self, transport: Bridge) -> None:
        self._transport = transport

    def repeat_of(self, kind: EffectKind) -> Repeat:
        return Repeat.KEYED

    def ends_after(self, kind: EffectKind) -> float:
        return 0.0

    async def perform(self, call: DeskCall) -> DeskAnswer:
        answer = await self._transport.send(Request("POST", f"/desk/{call.ticket}", _encode(call), repeatable=True))
        if answer.status != 200:
            raise DeskUnavailable(f"status {answer.status}", sent=True)
        return _decode(answer.body)

    async def look_up(self, call: DeskCall) -> DeskAnswer | None:
        return None

    async def aclose(self) -> None:
        """The transport is somebody else's."""


async def process_http(folder: str, *, url: str, messages: int, ca_file: str) -> Sample:
    """Take so many messages through the processor's parts on a new data directory, with a desk over HTTP."""
    config = Config(bridge=bridge_config(url, ca_file), data=DataConfig(dir=Path(folder) / "data", reserve_bytes=0))
    clock = SystemClock()
    rewind(url, ca_file)
    watch = Watch(messages, clock)
    async with AsyncExitStack() as stack, anyio.create_task_group() as tasks:
        store = await open_store(
            config.data,
            TABLES,
            now=clock.now,
            identity=None,
            on_commit=lambda seconds, _: watch.append_finished(seconds),
        )
        stack.push_async_callback(store.aclose)
        bridge = open_bridge(url, ca_file)
        stack.push_async_callback(bridge.aclose)
        pipeline = make_pipeline(config, store, queue=bridge, bridge=bridge, desk=HttpDesk(bridge), telemetry=watch)
        spare_the_collector()
        with timing() as time, anyio.fail_after(PATIENCE):
            tasks.start_soon(pipeline.run)
            await watch.done.wait()
        tasks.cancel_scope.cancel()
    return time.sample(messages, **watch.facts())


async def call_bare(*, url: str, calls: int, ca_file: str) -> Sample:
    """The same call as an effect's, over the same transport, and nothing else; so many, ten at a time."""
    bridge = open_bridge(url, ca_file)
    desk = HttpDesk(bridge)
    fields = {"status": "workinprogress", "priority": "2", "group": "Service Desk Tier 2", "text": "text " * 40}
    call = DeskCall("update:e-CS0000001:7", EffectKind.UPDATE, "e-CS0000001", "Incident", "INC0000001", fields)

    async def repeat(times: int) -> None:
        for _ in range(times):
            await desk.perform(call)

    await asyncio.gather(*[repeat(2) for _ in range(_CALLERS)])
    spare_the_collector()
    with timing() as watch:
        await asyncio.gather(*[repeat(calls // _CALLERS) for _ in range(_CALLERS)])
    await bridge.aclose()
    return watch.sample(calls // _CALLERS * _CALLERS)


def open_bridge(url: str, ca_file: str) -> FastBridge:
    """The transport that the processor uses."""
    config = bridge_config(url, ca_file)
    return FastBridge(
        config, api_key=LiveSecret("bridge.api_key", [config.api_key]), limits=Limits(), clock=SystemClock()
    )


def run(lab: Lab) -> list[Row]:
    """An effect at the built-in desk, and at one over HTTP."""
    return [*measure_local(lab), measure_http(lab)]


def measure_local(lab: Lab) -> list[Row]:
    """A message with one effect beside one without, an effect beside what a message takes at least, and the commits of
    a message that has its share of effects."""
    messages = lab.size(1000, 500)
    with (
        lab.stub(messages=messages, tickets=TICKETS, run=RUN, mix="busy") as busy,
        lab.stub(messages=messages, tickets=TICKETS, run=RUN) as quiet,
    ):
        calls = {"busy": process_call(busy, messages), "quiet": process_call(quiet, messages)}
        samples = lab.interleave({**calls, "limit": limit_call(quiet, messages)})
    effects = _effects(samples["busy"], samples["quiet"])
    row = make_row(
        "e2e_effects",
        "end to end, a message with one effect (local desk, returnptn)",
        per="message",
        ours=[_add(one, two) for one, two in zip(samples["quiet"], effects, strict=True)],
        baseline=samples["quiet"],
        against="a message without",
        note=_describe(samples["busy"], effects),
    )
    commits = make_row(
        "e2e_effects_commits", "end to end, busy (commits per message)", per="message", ours=samples["busy"]
    )
    least = make_row(
        "effect_limit",
        "an effect (local desk, returnptn)",
        per="effect",
        ours=effects,
        baseline=samples["limit"],
        against="a message at the least (limit.py)",
    )
    return [row, least, with_figures(commits, [one.facts["commits"] for one in samples["busy"]], unit="commits")]


def measure_http(lab: Lab) -> Row:
    """An effect at a desk over HTTP and TLS beside the same call alone."""
    messages, calls = lab.size(1000, 500), lab.size(2000, 500)
    with (
        lab.stub(messages=messages, tickets=TICKETS, run=RUN, mix="busy", tls=True) as busy,
        lab.stub(messages=messages, tickets=TICKETS, run=RUN, tls=True) as quiet,
    ):
        bare = {"url": busy.url, "ca_file": busy.ca_file, "calls": calls}
        samples = lab.interleave(
            {
                "busy": _over_http(busy, messages),
                "quiet": _over_http(quiet, messages),
                "bare": Call("benchmarks.effects:call_bare", bare),
            }
        )
    effects = _effects(samples["busy"], samples["quiet"])
    return make_row(
        "effect_http",
        "an effect at a desk over HTTP, TLS",
        per="effect",
        ours=effects,
        baseline=samples["bare"],
        against="the same call bare, same transport",
        note=_describe(samples["busy"], effects),
    )


def _over_http(stub: Stub, messages: int) -> Call:
    work = {"folder": "{folder}", "url": stub.url, "messages": messages, "ca_file": stub.ca_file}
    return Call("benchmarks.effects:process_http", work)


def _effects(busy: list[Sample], quiet: list[Sample]) -> list[Sample]:
    """One effect, round by round: what a busy message takes more than a quiet one, over the effects that it had."""
    return [_divide(more, less) for more, less in zip(busy, quiet, strict=True)]


def _divide(busy: Sample, quiet: Sample) -> Sample:
    effects = busy.facts["effects"] * busy.count
    share = busy.count / quiet.count
    wall, cpu = busy.wall - quiet.wall * share, busy.cpu - quiet.cpu * share
    return Sample(round(effects), max(wall, quiet.wall * _LEAST), max(cpu, quiet.cpu * _LEAST))


def _add(message: Sample, effect: Sample) -> Sample:
    per = message.count / effect.count
    return Sample(message.count, message.wall + effect.wall * per, message.cpu + effect.cpu * per)


def _describe(busy: list[Sample], effects: list[Sample]) -> str:
    costs = sorted(one.cpu_us for one in effects)
    spread = f" ({costs[0]:.0f}–{costs[-1]:.0f})" if len(costs) > 1 else ""
    return f"an effect: {costs[len(costs) // 2]:.0f} us CPU{spread}; {busy[-1].facts['effects']:.2f} of them a message"
