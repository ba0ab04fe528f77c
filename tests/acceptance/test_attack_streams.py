"""Standard streams that are closed, full, slow or gone: the processor goes on, and other commands say what is wrong."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pytest

from ecproc.errors import ExitCode
from tests.acceptance.world import Plan, World, is_empty, open_world, wait_for

COMMAND = [sys.executable, "-m", "ecproc"]


def shell(redirections: str, *arguments: str, world: World, **changed: str) -> subprocess.Popen[str]:
    """One of our commands with these redirections of a shell."""
    return subprocess.Popen(
        ["sh", "-c", f'exec "$@" {redirections}', "sh", *COMMAND, *arguments],
        env=world.environment(**changed),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


async def is_over(process: subprocess.Popen[str]) -> int:
    """Its exit code, with the bridge served meanwhile."""
    await wait_for(lambda: process.poll() is not None)
    return int(process.returncode)


@pytest.mark.parametrize("redirections", ["2>&-", "2>/dev/full", ">&- 2>&- <&-", ">/dev/full", "2>&1 | true"])
async def test_a_processor_without_its_standard_streams_does_its_work(redirections: str, tmp_path: Path) -> None:
    async with open_world(tmp_path, Plan(tickets=3, visibility=1.0)) as world:
        with shell(redirections, "run", "--drain", "--timeout", "30", world=world) as process:
            await is_over(process)
        assert process.returncode == ExitCode.OK
        assert is_empty(world.ledger)


async def test_a_reader_of_the_log_that_sleeps_does_not_hold_up_the_processor(tmp_path: Path) -> None:
    async with open_world(tmp_path, Plan(tickets=12, visibility=1.0)) as world:
        reading, writing = os.pipe()
        os.set_blocking(writing, False)  # as some supervisors leave it; the pipe holds 64 KiB
        os.write(writing, b" " * 65536)
        process = subprocess.Popen(
            [*COMMAND, "run", "--drain", "--timeout", "30"], env=world.environment(), stderr=writing
        )
        try:
            await wait_for(lambda: is_empty(world.ledger))
            said: list[bytes] = []
            os.close(writing)
            reader = threading.Thread(target=lambda: said.extend(iter(lambda: os.read(reading, 65536), b"")))
            reader.start()
            await wait_for(lambda: process.poll() is not None)
            reader.join()
        finally:
            process.kill()
            process.wait()
            os.close(reading)
        assert process.returncode == ExitCode.OK
        lines = [json.loads(line) for line in b"".join(said).decode().strip().splitlines()]
        assert (lines[0]["event"], lines[-1]["event"]) == ("started", "stopped")


READERS: Sequence[Sequence[str]] = [
    ["tickets"],
    ["events"],
    ["outbox", "list"],
    ["show", "e-CS1"],
    ["log", "verify"],
    ["config", "show"],
    ["--help"],
    ["--version"],
    ["run", "--help"],
]


async def test_results_that_cannot_be_written_are_said_to_be_so(tmp_path: Path) -> None:
    async with open_world(tmp_path, Plan(tickets=2, visibility=1.0)) as world:
        await world.drain()
        ticket = json.loads((await world.ask("tickets")).out.splitlines()[0])["ticket"]
        for words in READERS:
            arguments = [ticket if word == "e-CS1" else word for word in words]
            begun = [(way, shell(way, *arguments, world=world)) for way in (">/dev/full", ">&-", "| true")]
            for redirections, process in begun:
                _, err = process.communicate(timeout=60)
                for sign in ("Traceback", "a defect of", "Exception ignored"):
                    assert sign not in err, (words, redirections, err)
                if redirections == ">/dev/full":
                    assert process.returncode == ExitCode.FAILED, (words, err)
                    assert err == "error: the result cannot be written to standard output: No space left on device\n"
                else:
                    assert process.returncode == ExitCode.OK, (words, redirections, err)
                    assert err == ""


async def test_a_reader_that_takes_its_time_gets_everything(tmp_path: Path) -> None:
    async with open_world(tmp_path, Plan(tickets=12, visibility=1.0)) as world:
        await world.drain()
        whole = (await world.ask("events")).out
        for unbuffered in ("", "1"):
            reading, writing = os.pipe()
            os.set_blocking(writing, False)
            environment = world.environment() | {"PYTHONUNBUFFERED": unbuffered}
            with subprocess.Popen([*COMMAND, "events"], env=environment, stdout=writing) as process:
                os.close(writing)
                pieces = iter(partial(os.read, reading, 4096), b"")
                assert b"".join(pieces).decode() == whole
            os.close(reading)
            assert process.returncode == ExitCode.OK


@pytest.mark.parametrize(
    "changed",
    [
        {"LC_ALL": "C", "PYTHONIOENCODING": "ascii"},
        {"TERM": "dumb", "COLUMNS": "1"},
        {"NO_COLOR": "1", "COLUMNS": "0"},
        {"FORCE_COLOR": "1", "COLUMNS": "x"},
        {"HOME": "/nowhere"},
    ],
    ids=" ".join,
)
async def test_an_odd_environment_costs_no_answer(changed: dict[str, str], tmp_path: Path) -> None:
    async with open_world(tmp_path, Plan(tickets=0)) as world:
        environment = world.environment() | {"ECPROC_CONFIG": os.devnull} | changed
        for words in (["--help"], ["run", "--help"], ["config", "show"], ["tickets"], ["nonsense"]):
            done = subprocess.run(
                [*COMMAND, *words], env=environment, capture_output=True, text=True, timeout=60, check=False
            )
            assert done.returncode == (ExitCode.USAGE if words == ["nonsense"] else ExitCode.OK), done
            assert "Traceback" not in done.stderr


async def test_a_directory_that_is_gone_is_said_to_be_so(tmp_path: Path) -> None:
    async with open_world(tmp_path, Plan(tickets=0)) as world:
        place = tmp_path / "gone"
        place.mkdir()
        environment = world.environment(DATA__DIR="data")
        done = subprocess.run(
            ["sh", "-c", 'cd "$1" && rmdir "$1" && shift && exec "$@"', "sh", str(place), *COMMAND, "tickets"],
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == ExitCode.FAILED
        assert "error: the directory this was started in is gone\n  = help: start it in a directory" in done.stderr
