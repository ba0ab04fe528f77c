"""What a person sees at a terminal of eighty columns, on a log that a processor left: lists, and a ticket's life."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import struct
import subprocess
import sys
import termios
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import pytest

from ecproc.errors import ExitCode

ROOT: Final = Path(__file__).parents[2]
COLUMNS: Final = 80


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, str]:
    """The data of a small demo without faults."""
    folder = tmp_path_factory.mktemp("terminal") / "kept"
    # Buffered, as at a person's shell: only then can a remark overtake the rows before it.
    ours = ("ECPROC_", "COLUMNS", "LINES", "PYTHONUNBUFFERED")
    own = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    env = {**own, "PYTHONPATH": str(ROOT), "TERM": "dumb", "ECPROC_CONFIG": os.devnull}
    command = [sys.executable, "-m", "ecproc", "demo", "--messages", "100", "--no-faults", "--keep", str(folder)]
    subprocess.run(command, env=env, check=True, timeout=240, capture_output=True)
    return {**env, "ECPROC_DATA__DIR": str(folder / "data")}


@pytest.fixture
def shown(environment: Mapping[str, str]) -> Callable[..., list[str]]:
    """The lines that a command shows on a terminal."""

    def run(*arguments: str, code: int = ExitCode.OK) -> list[str]:
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, COLUMNS, 0, 0))
        command = [sys.executable, "-m", "ecproc", *arguments]
        process = subprocess.Popen(command, env=environment, stdin=theirs, stdout=theirs, stderr=theirs)
        os.close(theirs)
        pieces = []
        try:
            while piece := os.read(ours, 65536):
                pieces.append(piece)
        except OSError:  # the other side is closed
            pass
        finally:
            os.close(ours)
        assert process.wait(timeout=60) == code
        return b"".join(pieces).decode().replace("\r\n", "\n").splitlines()

    return run


@pytest.fixture
def piped(environment: Mapping[str, str]) -> Callable[..., list[str]]:
    """The lines that it gives into a pipe."""

    def run(*arguments: str) -> list[str]:
        command = [sys.executable, "-m", "ecproc", *arguments]
        ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=True)
        return ended.stdout.splitlines()

    return run


def test_tickets_fit_the_terminal_and_are_those_of_the_pipe(
    shown: Callable[..., list[str]], piped: Callable[..., list[str]]
) -> None:
    total = len(piped("tickets"))
    for conditions in ([], ["--type", "Change"], ["--search", "LOCAL-0000002"], ["--since", "1h", "--limit", "3"]):
        documents = [json.loads(line) for line in piped("tickets", *conditions)]
        headings, *rows, end = shown("tickets", *conditions)
        assert headings.split()[:2] == ["ticket", "type"]
        assert [row.split()[0] for row in rows] == [document["ticket"] for document in documents] != []
        assert max(map(len, rows)) <= COLUMNS
        assert end.startswith(f"{len(rows)} of {total} tickets")
    assert shown("tickets", "--waiting", "parked") == [f"0 of {total} tickets"]


def test_events_fit_the_terminal_and_are_those_of_the_pipe(
    shown: Callable[..., list[str]], piped: Callable[..., list[str]]
) -> None:
    headings, *rows = shown("events", "--limit", "300")
    assert headings.split()[:2] == ["position", "at"]
    assert [row.split()[0] for row in rows] == [str(json.loads(line)["position"]) for line in piped("events")[:300]]
    assert max(map(len, rows)) <= COLUMNS


def test_a_ticket_shows_its_verdict_first_and_then_its_life(
    shown: Callable[..., list[str]], piped: Callable[..., list[str]]
) -> None:
    document = max((json.loads(line) for line in piped("tickets")), key=lambda item: len(item["history"]))
    number = document["ticket"]
    lines = shown("show", number)
    assert lines[0].split()[:2] == [number, document["type"]]
    assert lines[1].startswith("  waits for ")
    assert max(len(line) for line in lines if "    ecproc " not in line) <= COLUMNS
    life = lines[lines.index("Timeline") :]
    for move in document["history"]:
        state = f"{move['from']} → {move['to']}" if move["from"] else move["to"]
        assert [line for line in life if f" {state}" in line], state
    assert all(any(str(item["position"]) in line for line in life) for item in document["history"])
    assert len(shown("show", number, "--full")) >= len(lines)
    first = document["history"][0]["position"]
    assert len(shown("show", number, "--at", str(first))) < len(lines)


def test_help_fits_the_terminal(shown: Callable[..., list[str]]) -> None:
    assert max(map(len, shown("outbox", "retry", "--help")[:-3])) <= COLUMNS
    assert shown("outbox", code=ExitCode.USAGE)[0] == "error: outbox needs a command: list, show, retry, discard"
