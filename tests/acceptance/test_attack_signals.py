"""Signals at every moment: an order to end is obeyed from the first line on, and nothing is left half-written."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

import anyio
import pytest

from ecproc.config import DataConfig
from ecproc.errors import ExitCode
from ecproc.store.base import VerifiedLog
from ecproc.store.opening import verify_log
from tests.acceptance.world import Plan, Running, World, open_world, wait_for

SPAN: Final = 2.0
"""Seconds over which the signals are spread: every third from the start of its process on, the others from when it
began to hold signals, whenever this machine comes to that."""
AT_ONCE: Final = 5
"""Processes that are started together, so that the whole takes no longer than the slowest few."""

HELD: Final = "SigCgt:"


def catches(pid: int, number: signal.Signals) -> bool:
    """Whether the process has a handler of its own for it."""
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    except OSError:
        return False
    mask = next((line.split()[1] for line in status.splitlines() if line.startswith(HELD)), "0")
    return bool(int(mask, 16) >> (number - 1) & 1)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with open_world(tmp_path, Plan(tickets=3)) as made:
        yield made


async def end_at(world: World, number: signal.Signals, moment: float, *, data: str, early: bool) -> tuple[bool, int]:
    """Start a processor and send it the signal so many seconds later, or after it began to hold signals if not `early`:
    whether it was held then, and the exit code."""
    started = anyio.current_time()
    async with await world.start(DATA__DIR=data) as running:
        # Before it holds SIGINT the interpreter takes it, and may lose it while it imports.
        if not early or number is signal.SIGINT:
            await started_to_hold(running)
            started = anyio.current_time()
        await anyio.sleep_until(started + moment)
        held = catches(running.pid, signal.SIGTERM)
        running.send(number)
        return held, await running.ended()


@pytest.mark.parametrize(
    ("number", "code", "moments"),
    [(signal.SIGTERM, ExitCode.OK, 25), (signal.SIGINT, ExitCode.INTERRUPTED, 10)],
    ids=["SIGTERM", "SIGINT"],
)
async def test_an_early_signal_ends_a_processor_in_order_once_it_is_held(
    number: signal.Signals, code: int, moments: int, world: World, tmp_path: Path
) -> None:
    ends: list[tuple[bool, int]] = []

    async def play(turns: Sequence[int]) -> None:
        for turn in turns:
            data = tmp_path / f"data-{turn}"
            moment, early = SPAN * turn / moments, turn % 3 == 0
            ends.append(await end_at(world, number, moment, data=str(data), early=early))
            if (data / "ecproc.db").exists():
                assert isinstance(verify_log(DataConfig(dir=data)), VerifiedLog)

    async with anyio.create_task_group() as players:
        for first in range(AT_ONCE):
            players.start_soon(play, range(first, moments, AT_ONCE))
    assert len(ends) == moments
    for held, ended in ends:
        assert ended == code or (not held and ended == -number), ends
    assert [ended for _, ended in ends].count(code) > moments / 2


async def started_to_hold(running: Running) -> None:
    """Return as soon as the process catches signals, which is long before it listens to them."""
    await wait_for(lambda: catches(running.pid, signal.SIGHUP))


async def test_a_hangup_while_it_starts_ends_nothing(world: World) -> None:
    async with await world.start() as running:
        await started_to_hold(running)
        running.send(signal.SIGHUP)
        await running.told("web", "url")
        running.send(signal.SIGTERM)
        assert await running.ended() == ExitCode.OK


async def test_a_second_signal_ends_it_at_once_at_any_time(world: World) -> None:
    async with await world.start() as running:
        await started_to_hold(running)
        running.send(signal.SIGTERM)
        await wait_for(lambda: not is_pending(running.pid, signal.SIGTERM))
        running.send(signal.SIGTERM)
        assert await running.ended() in (ExitCode.INTERRUPTED, ExitCode.OK)
        assert "Traceback" not in running.said


def is_pending(pid: int, number: signal.Signals) -> bool:
    """Whether the process was sent it and has not taken it yet."""
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    except OSError:
        return False
    masks = [line.split()[1] for line in status.splitlines() if line.startswith(("SigPnd:", "ShdPnd:"))]
    return any(int(mask, 16) >> (number - 1) & 1 for mask in masks)


def is_asleep(pid: int) -> bool:
    """Whether the process waits in a call."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return "State:\tS" in status


IMPATIENT: Final = """
import sys, ecproc.interrupts
ecproc.interrupts.START_SECONDS = 0.3
from ecproc.cli import main
sys.exit(main())
"""
"""The command, with less time to end while it cannot hear of a signal."""


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGTERM, ExitCode.OK), (signal.SIGINT, ExitCode.INTERRUPTED)],
    ids=["SIGTERM", "SIGINT"],
)
async def test_a_signal_while_a_secret_cannot_be_read_ends_it_in_time(
    number: signal.Signals, code: int, world: World, tmp_path: Path
) -> None:
    pipe = tmp_path / "key"
    os.mkfifo(pipe)
    process = await anyio.open_process(
        [sys.executable, "-c", IMPATIENT, "run"], env=world.environment(BRIDGE__API_KEY_FILE=str(pipe))
    )
    async with process:
        writing: list[int] = []

        def is_read() -> bool:
            with suppress(OSError):  # as long as nobody reads
                writing.append(os.open(pipe, os.O_WRONLY | os.O_NONBLOCK))
            return bool(writing)

        try:
            await wait_for(is_read)
            await wait_for(
                lambda: is_asleep(process.pid)
            )  # between two calls it would hear of a signal at the next one
            process.send_signal(number)
            with anyio.fail_after(10):
                assert await process.wait() == code
        finally:
            if process.returncode is None:
                process.kill()
            os.close(writing[0])


async def test_the_demo_takes_its_processor_along_however_it_ends(world: World) -> None:
    async with await world.begin("demo", "--messages", "3000") as running:
        children = Path(f"/proc/{running.pid}/task/{running.pid}/children")
        await wait_for(lambda: bool(children.read_text(encoding="ascii").split()))
        (child,) = map(int, children.read_text(encoding="ascii").split())
        await wait_for(lambda: catches(child, signal.SIGTERM))
        running.send(signal.SIGKILL)
        assert await running.ended() == -signal.SIGKILL
        await wait_for(lambda: is_gone(child))


async def test_an_interrupt_of_a_replay_and_its_processes_is_said_by_none(world: World) -> None:
    await world.drain()
    command = [sys.executable, "-m", "ecproc", "replay", "--processes", "2"]
    process = await anyio.open_process(command, env=world.environment(), start_new_session=True)
    async with process:
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")

        def list_ready() -> list[str]:  # what they fold with is loaded after that, which takes them a while
            return [pid for pid in children.read_text(encoding="ascii").split() if ignores_interrupts(int(pid))]

        await wait_for(lambda: len(list_ready()) == 2)
        os.killpg(process.pid, signal.SIGINT)
        assert process.stderr is not None
        said = b"".join([piece async for piece in process.stderr])
        assert (await process.wait(), said) == (ExitCode.INTERRUPTED, b"")


def ignores_interrupts(pid: int) -> bool:
    """Whether SIGINT does nothing to the process."""
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    except OSError:
        return False
    mask = next((line.split()[1] for line in status.splitlines() if line.startswith("SigIgn:")), "0")
    return bool(int(mask, 16) >> (signal.SIGINT - 1) & 1)


def is_gone(pid: int) -> bool:
    """Whether the process has ended."""
    try:
        return ") Z " in Path(f"/proc/{pid}/stat").read_text(encoding="ascii")
    except OSError:
        return True


async def test_a_signal_while_a_drain_comes_to_its_end_changes_nothing(world: World) -> None:
    async with await world.start("--drain") as running:
        await running.told("drained", "event")
        running.send(signal.SIGTERM)
        assert await running.ended() == ExitCode.OK
        assert running.list_lines()[-1]["event"] == "stopped"


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["simulate", "--port", "0"], {signal.SIGTERM: 0, signal.SIGINT: 130, signal.SIGHUP: 0}),
        (["demo", "--messages", "50"], {signal.SIGTERM: 1, signal.SIGINT: 130, signal.SIGHUP: 1}),
        (["replay"], {signal.SIGTERM: 1, signal.SIGINT: 130, signal.SIGHUP: 1}),
        (["tickets"], {signal.SIGTERM: -15, signal.SIGINT: 130, signal.SIGHUP: -1}),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
async def test_other_commands_end_early_in_their_own_ways(
    arguments: list[str], code: dict[signal.Signals, int], world: World
) -> None:
    await world.drain()
    for number, expected in code.items():
        async with await world.begin(*arguments) as running:
            await started_to_hold(running)
            running.send(number)
            assert await running.ended() == expected, (number, running.said)
            assert "Traceback" not in running.said
    assert (await world.ask("replay", "--verify")).code == ExitCode.OK
