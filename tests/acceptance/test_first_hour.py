"""What README and tutorial tell a newcomer to type, typed: a terminal with the simulator, and one beside it."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final
from urllib.request import urlopen

import pytest

from ecproc.errors import ExitCode
from tests.acceptance.blocks import SET_UP, YOUR_BRIDGE, check_exports, read_blocks
from tests.acceptance.log_page import find_unexplained

ROOT: Final = Path(__file__).parents[2]
SCRIPT: Final = f'#!/bin/sh\nexec {sys.executable} -m ecproc "$@"\n'


TUTORIAL: Final = read_blocks("docs/tutorial.md")
FIRST: Final = "first terminal"
SECOND: Final = "second terminal"
RUNNING: Final = "your bridge, running"
BOOKS: Final = "calls "
"""What the simulator's last line has."""


@pytest.fixture
def environment(tmp_path: Path) -> Mapping[str, str]:
    """A newcomer's: an `ecproc` on the path and nothing configured; the bridge's half minutes are seconds here."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "ecproc").write_text(SCRIPT, encoding="utf-8")
    (tmp_path / "bin" / "ecproc").chmod(0o700)
    own = {name: value for name, value in os.environ.items() if not name.startswith("ECPROC_")}
    return own | {
        "PATH": f"{tmp_path / 'bin'}:{own['PATH']}",
        "PYTHONPATH": str(ROOT),
        "TERM": "dumb",
        "ECPROC_BRIDGE__VISIBILITY": "2",
        "ECPROC_WEB__LISTEN": "127.0.0.1:0",
    }


@contextmanager
def terminal(command: str, *, environment: Mapping[str, str], cwd: Path, ending: str) -> Iterator[Callable[[str], str]]:
    """A command at a terminal of its own, interrupted at the end of the block, where it must say `ending`.

    Gives what reads on until a text appears, and returns all that was shown.
    """
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        ["bash", "-c", f"exec {command}"], env=environment, cwd=cwd, stdin=theirs, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    shown = ""

    def read_until(text: str) -> str:
        nonlocal shown
        while text not in shown:
            try:
                piece = os.read(ours, 65536).decode().replace("\r\n", "\n")
            except OSError:  # the other side is closed
                break
            shown += piece
        return shown

    try:
        yield read_until
        process.send_signal(signal.SIGINT)
        assert ending in read_until(ending)
        assert process.wait(timeout=60) == ExitCode.INTERRUPTED
    finally:
        process.kill()
        process.wait()
        os.close(ours)


def paste(exports: str, command: str, *, environment: Mapping[str, str], cwd: Path) -> subprocess.CompletedProcess[str]:
    """The second terminal: the lines as they were printed, then a command."""
    return subprocess.run(
        ["bash", "-c", f'eval "$PASTED"; {command}'],
        env={**environment, "PASTED": exports},
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_what_simulate_prints_and_a_second_terminal_pastes_leaves_every_attachment_stored(
    environment: Mapping[str, str], tmp_path: Path
) -> None:
    command = "ecproc simulate --port 0 --scenario tickets=20"
    with terminal(command, environment=environment, cwd=tmp_path, ending=BOOKS) as read_until:
        shown = read_until("/_sim/ledger")
        exports = "\n".join(line for line in shown.splitlines() if line.startswith("export "))
        assert "in a second terminal: ecproc run" in shown
        ran = paste(exports, "ecproc run --drain --timeout 60", environment=environment, cwd=tmp_path)
        assert ran.returncode == ExitCode.OK, ran.stderr
        drained = next(line for line in map(json.loads, ran.stderr.splitlines()) if line["event"] == "drained")
        listed = paste(exports, "ecproc tickets", environment=environment, cwd=tmp_path)
        assert len(listed.stdout.splitlines()) == 20
        files = [file for line in listed.stdout.splitlines() for file in json.loads(line)["attachments"]]
        assert files
        assert {file["status"] for file in files} == {"stored"}
        with urlopen(shown.split()[-1]) as answer:  # noqa: S310 - the address of its books
            assert json.load(answer)["messages"]["deleted"] == drained["messages"]


def test_a_bare_simulator_says_how_to_fill_its_queue(environment: Mapping[str, str], tmp_path: Path) -> None:
    with terminal("ecproc simulate --port 0", environment=environment, cwd=tmp_path, ending=BOOKS) as read_until:
        shown = read_until("/_sim/ledger")
        assert "the queue is empty" in shown
        words = next(line for line in shown.splitlines() if "curl" in line).split()
        with urlopen(words[-1], data=words[-2].strip("'").encode()) as answer:  # noqa: S310 - what curl would do
            assert len(json.load(answer)) == 20
        with urlopen(words[-1].replace("scenario", "ledger")) as answer:  # noqa: S310
            assert json.load(answer)["messages"]["left"] > 20


def test_a_taken_port_is_named(environment: Mapping[str, str], tmp_path: Path) -> None:
    with terminal("ecproc simulate --port 0", environment=environment, cwd=tmp_path, ending=BOOKS) as read_until:
        port = next(line for line in read_until("/_sim/ledger").splitlines() if "listening" in line).split(":")[2]
        second = subprocess.run(
            ["ecproc", "simulate", "--port", port.partition("/")[0]],
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert second.returncode == ExitCode.FAILED
    assert second.stderr.startswith(f"error: port {port.partition('/')[0]} on 127.0.0.1 cannot be used: ")
    assert "= help: --port 0 takes any free one" in second.stderr


def list_commands(title: str) -> list[str]:
    """The commands of the tutorial's blocks with that title, in order."""
    return [line for block in TUTORIAL if block.title == title for line in block.commands]


def test_the_tutorial_pasted_block_by_block_shows_what_it_says(environment: Mapping[str, str], tmp_path: Path) -> None:
    (simulator,) = list_commands(FIRST)
    shown: list[str] = []
    with terminal(simulator, environment=environment, cwd=tmp_path, ending="left 0 · lost 0") as read_until:
        lines = read_until("/_sim/ledger").splitlines()
        exports = "\n".join(line for line in lines if line.startswith("export "))
        assert len(exports.splitlines()) == 4
        for command in list_commands(SECOND):
            ran = paste(exports, command, environment=environment, cwd=tmp_path)
            assert ran.returncode == ExitCode.OK, (command, ran.stderr)
            shown.append(ran.stdout + ran.stderr)
    told = "".join(shown)
    logged = [json.loads(line) for line in shown[1].splitlines()]
    assert [line["event"] for line in logged][-2:] == ["drained", "stopped"]
    assert [*find_unexplained(logged)] == []
    assert '"number":"LOCAL-0000001"' in told
    assert "We look into it." in told


def test_the_tutorial_is_made_of_the_blocks_that_are_run() -> None:
    assert {block.title for block in TUTORIAL} == {SET_UP, FIRST, SECOND, YOUR_BRIDGE, RUNNING}
    assert list_commands(RUNNING) == ["ecproc run"]


def test_what_sets_up_is_there_to_be_made(environment: Mapping[str, str]) -> None:
    made = [line.split()[1:] for line in list_commands(SET_UP) if line.startswith("make ")]
    assert made == [["demo"]]
    planned = subprocess.run(
        ["make", "-n", *made[0]], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert ".venv/bin/ecproc demo" in planned.stdout
    assert 'export PATH="$PWD/.venv/bin:$PATH"' in list_commands(SET_UP)


@pytest.mark.parametrize("page", ["README.md", "docs/tutorial.md", "docs/howto/proxy.md"])
def test_what_a_page_sets_for_a_real_bridge_is_a_whole_configuration(
    environment: Mapping[str, str], tmp_path: Path, page: str
) -> None:
    blocks = [block for block in read_blocks(page) if "smconnect.ensono.com" in block.text]
    assert blocks
    for block in blocks:
        checked = check_exports(block, environment=environment, folder=tmp_path)
        assert checked.returncode == ExitCode.OK, checked.stderr
