"""A bridge that misbehaves and the processor beside it in a process of its own, to be killed and asked from outside."""

from __future__ import annotations

import json
import math
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import anyio
import msgspec
from anyio.abc import Process

from ecproc.simulator.faults import NONE, FaultPlan
from ecproc.simulator.ledger import Ledger
from ecproc.simulator.queue import QueueRules
from ecproc.simulator.server import Simulator, run_simulator
from ecproc.simulator.settings import Scenario, SimulatorConfig

ROOT: Final = Path(__file__).parents[2]
"""Where the package under test is imported from, unless a test says otherwise."""

KEY: Final = "simulator-key"
PATIENCE: Final = 60.0
"""Seconds after which whatever was waited for counts as never coming."""

RECEIVES: Final = 100
"""How often a message may be received here: time runs fifteen times as fast as at the bridge, each kill costs a
receive, and a busy machine may stand still for seconds. The bridge's 20 would run out for the test's sake."""

LOOK: Final = 0.002
"""Seconds between two looks at what cannot be waited on."""

Reached = Callable[[Ledger], bool]


class Broken(AssertionError):
    """The processor did not keep its promises; `claims` names those that do not hold."""

    def __init__(self, findings: Mapping[str, Sequence[str]]) -> None:
        lines = [f"{claim}: {finding}" for claim, found in findings.items() for finding in found]
        super().__init__("\n".join(lines))
        self.claims = frozenset(findings)


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What a world is made of. `rate` is in messages per second, None sends all at once; times in seconds.

    `patience` is how long the last drain may take. Without `groups` Ensono knows every group.
    """

    tickets: int
    seed: int = 1
    faults: FaultPlan = NONE
    rate: float | None = None
    visibility: float = 2.0
    patience: float = PATIENCE
    package_root: Path = ROOT
    env: str = "dev"
    groups: frozenset[str] = frozenset()


class Answer(msgspec.Struct, frozen=True):
    """What a command printed and how it ended."""

    code: int
    out: str
    err: str


def is_empty(ledger: Ledger) -> bool:
    """Whether every message was sent and deleted; looks closely only when that can be."""
    return not ledger.unsent and ledger.calls["delete"] >= ledger.sent and not ledger.list_left()


class Running:
    """One process of ours; killed at the end of its block if it still runs."""

    def __init__(self, process: Process, out: Path, err: Path) -> None:
        self.pid = process.pid
        self._process = process
        self._out = out
        self._err = err

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with anyio.CancelScope(shield=True):
            if not self.is_over:
                self._process.kill()
            await self._process.wait()

    @property
    def printed(self) -> str:
        """Its standard output so far."""
        return self._out.read_text(encoding="utf-8", errors="replace")

    @property
    def said(self) -> str:
        """Its standard error so far."""
        return self._err.read_text(encoding="utf-8", errors="replace")

    @property
    def is_over(self) -> bool:
        """Whether it has ended."""
        return self._process.returncode is not None

    def send(self, number: signal.Signals) -> None:
        """Send it a signal, unless it has ended."""
        if not self.is_over:
            self._process.send_signal(number)

    async def ended(self, within: float = PATIENCE) -> int:
        """The exit code once it ended, minus the signal's number if one killed it; Broken if it does not end."""
        with anyio.move_on_after(within):
            return await self._process.wait()
        raise Broken({"ends": [f"the process still runs after {within:g} s; it said:\n{self.said[-2000:]}"]})

    def list_lines(self) -> list[dict[str, Any]]:
        """The whole lines of its log so far."""
        return [json.loads(line) for line in self.said.splitlines(keepends=True) if line.endswith("\n")]

    async def told(self, event: str, field: str) -> str:
        """That field of the first line of its log about this event."""
        lines: list[dict[str, Any]] = []

        def find() -> bool:
            lines[:] = [line for line in self.list_lines() if line["event"] == event]
            return bool(lines)

        await wait_for(find)
        return str(lines[0][field])


async def wait_for(condition: Callable[[], bool], within: float = PATIENCE) -> None:
    """Return when something outside of the bridge has come true; Broken if it does not in time."""
    with anyio.move_on_after(within) as waiting:
        while not condition():  # noqa: ASYNC110 - what other processes do sets no event here
            await anyio.sleep(LOOK)
    if waiting.cancelled_caught:
        raise Broken({"goes on": [f"what was waited for did not come within {within:g} s"]})


class World:
    """One bridge and one data directory."""

    def __init__(self, simulator: Simulator, folder: Path, plan: Plan) -> None:
        self.simulator = simulator
        self.plan = plan
        self.data = folder / "data"
        self.variables: dict[str, str] = {}
        self._folder = folder
        self._begun = 0

    @property
    def ledger(self) -> Ledger:
        """What the bridge saw and did so far."""
        return self.simulator.ledger

    def environment(self, **changed: str) -> dict[str, str]:
        """The documented variables a processor is started with, where its code is, and the world's own `variables`.

        `changed` replaces or adds some by their names less `ECPROC_`; a key in a file takes the place of the other one.
        """
        options = {
            "BRIDGE__URL": self.simulator.url,
            "BRIDGE__API_KEY": KEY,
            "BRIDGE__CLIENT_NAME": self.simulator.bridge.config.client_name,
            "BRIDGE__VISIBILITY": str(self.plan.visibility),
            "BRIDGE__POLL_INTERVAL": "0.2",
            "DATA__DIR": str(self.data),
            "DATA__RESERVE_BYTES": "0",
            "ATTACHMENTS__ALLOWED_HOSTS": "127.0.0.1",
            "OUTBOX__UNKNOWN_RETRY": "0.3,0.6",
            "POLICY__CREATE_PER_MINUTE": "0",
            "WEB__LISTEN": "127.0.0.1:0",
            **changed,
        }
        if "BRIDGE__API_KEY_FILE" in changed:
            del options["BRIDGE__API_KEY"]
        return {
            **self.variables,
            "PYTHONPATH": str(self.plan.package_root),
            **{f"ECPROC_{name}": value for name, value in options.items()},
        }

    async def begin(self, *arguments: str, **changed: str) -> Running:
        """Start one of our commands; it is killed where the block that takes it ends."""
        self._begun += 1
        paths = [self._folder / f"{self._begun}-{arguments[0]}.{name}" for name in ("out", "err")]
        with paths[0].open("wb") as out, paths[1].open("wb") as err:
            process = await anyio.open_process(
                [sys.executable, "-m", "ecproc", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                env=self.environment(**changed),
                cwd=self._folder,
            )
        return Running(process, *paths)

    async def start(self, *arguments: str, **changed: str) -> Running:
        """Start a processor."""
        return await self.begin("run", *arguments, **changed)

    async def ask(self, *arguments: str, **changed: str) -> Answer:
        """Run a command to its end."""
        async with await self.begin(*arguments, **changed) as running:
            code = await running.ended()
        return Answer(code, running.printed, running.said)

    async def reach(self, reached: Reached, running: Running, within: float = PATIENCE) -> None:
        """Wait until the bridge saw that much; Broken if the processor ends before, or it takes too long."""
        codes: list[int] = []

        async def watch_end() -> None:
            codes.append(await running.ended(math.inf))
            waits.cancel_scope.cancel()

        with anyio.move_on_after(within) as waiting:
            async with anyio.create_task_group() as waits:
                waits.start_soon(watch_end)
                await self.simulator.wait_until(reached)
                waits.cancel_scope.cancel()
        if codes or waiting.cancelled_caught:
            what = f"ended with {codes[0]}" if codes else f"took more than {within:g} s"
            raise Broken({"goes on": [f"the processor {what}; it said:\n{running.said[-2000:]}"]})

    async def kill_when(self, reached: Reached) -> None:
        """Run a processor and kill it as soon as the bridge saw that much."""
        async with await self.start() as running:
            await self.reach(reached, running)
            running.send(signal.SIGKILL)
            assert await running.ended() == -signal.SIGKILL, running.said

    async def die_at(self, failpoint: str, count: int) -> None:
        """Run a processor that kills itself at the count-th hit of a failpoint, and see that it did."""
        async with await self.start(FAILPOINTS=f"{failpoint}:{count}") as running:
            code = await running.ended()
        if code != -signal.SIGKILL:
            raise Broken({"dies": [f"{failpoint}:{count} ended with {code}; it said:\n{running.said[-2000:]}"]})

    async def drain(self) -> None:
        """Run a processor until nothing is left to do, which must come in time.

        Faults end with the last delete: an empty queue must be seen empty for a whole visibility window in a row.
        """
        within = self.plan.patience
        async with await self.start("--drain", "--timeout", f"{within:g}") as running:
            await self.reach(is_empty, running, within + 30)
            self.simulator.bridge.faults.change_plan(NONE)
            code = await running.ended(within + 30)
        if code != 0:
            raise Broken({"drains": [f"exit {code} after at most {within:g} s; it said:\n{running.said[-2000:]}"]})


@asynccontextmanager
async def open_world(folder: Path, plan: Plan) -> AsyncIterator[World]:
    """A world whose lives begin at once."""
    scenario = Scenario(tickets=plan.tickets, seed=plan.seed, rate=plan.rate) if plan.tickets else None
    queue = QueueRules(visibility=plan.visibility, max_receives=RECEIVES)
    config = SimulatorConfig(
        env=plan.env, groups=plan.groups, queue=queue, faults=plan.faults, seed=plan.seed, scenario=scenario
    )
    async with run_simulator(config) as simulator:
        yield World(simulator, folder, plan)
