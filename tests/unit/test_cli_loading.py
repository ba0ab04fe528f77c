"""What a command loads before it can begin: a library that it does not need would cost it more than its work."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Final

import pytest

_RUN: Final = """\
import sys
from ecproc.cli import main

code = main()
print("loaded:", *sys.modules, file=sys.stderr)
sys.exit(code)
"""

DRAWING: Final = {"rich", "pygments", "markdown_it"}
CALLING: Final = {"httpx", "httpcore", "h11", "h2", "uvicorn", "starlette"}
RUNNING: Final = {"uvloop", "prometheus_client", "ecproc.app", "ecproc.pipeline", "ecproc.web", "ecproc.simulator"}
PROCESSES: Final = {"multiprocessing", "anyio.to_process"}


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    own = {name: value for name, value in os.environ.items() if not name.startswith("ECPROC_")}
    return own | {
        "ECPROC_CONFIG": os.devnull,
        "ECPROC_BRIDGE__URL": "http://127.0.0.1:1/client/prod",
        "ECPROC_BRIDGE__CLIENT_NAME": "client",
        "ECPROC_BRIDGE__API_KEY": "made-up",
        "ECPROC_DATA__DIR": str(tmp_path_factory.mktemp("start") / "data"),
        "ECPROC_DATA__RESERVE_BYTES": "0",
        "ECPROC_WEB__LISTEN": "127.0.0.1:0",
    }


def list_loaded(*words: str, environment: dict[str, str], code: int = 0) -> set[str]:
    """The modules that a process holds after this command, the packages they are in among them."""
    command = [sys.executable, "-c", _RUN, *words]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == code, ended.stderr[-2000:]
    return set(ended.stderr.rpartition("loaded: ")[2].split())


@pytest.fixture(scope="module")
def loaded_by_run(environment: dict[str, str]) -> set[str]:
    """What the processor loads until it is told to stop, with a log made on the way."""
    return list_loaded("run", "--drain", "--timeout", "0.01", environment=environment, code=75)


@pytest.mark.parametrize("words", [["--help"], ["--version"]])
def test_what_shells_ask_often_loads_no_parser(words: list[str], environment: dict[str, str]) -> None:
    loaded = list_loaded(*words, environment=environment)
    assert "ecproc.cli" in loaded
    assert (
        sorted(loaded & {"cyclopts", "structlog", "asyncio", "msgspec", *DRAWING, *CALLING, *RUNNING, *PROCESSES}) == []
    )


@pytest.mark.parametrize("words", [["tickets"], ["events"], ["outbox", "list"], ["config", "show"]])
def test_what_only_reads_loads_nothing_that_draws_calls_or_runs(
    words: list[str], environment: dict[str, str], loaded_by_run: set[str]
) -> None:
    loaded = list_loaded(*words, environment=environment)
    assert "ecproc.cli.session" in loaded
    assert sorted(loaded & {*DRAWING, *CALLING, *RUNNING, *PROCESSES}) == []


def test_the_processor_starts_without_what_only_files_and_terminals_need(loaded_by_run: set[str]) -> None:
    assert "ecproc.pipeline" in loaded_by_run
    assert sorted(loaded_by_run & {*DRAWING, "httpx", "httpcore", "h2", "ecproc.simulator", "anyio.to_process"}) == []


@pytest.mark.parametrize("words", [["tickets", "--help"], ["outbox", "--help"]])
def test_help_loads_nothing_that_draws_calls_or_runs(words: list[str], environment: dict[str, str]) -> None:
    loaded = list_loaded(*words, environment=environment)
    assert "ecproc.cli.help" in loaded
    assert sorted(loaded & {*DRAWING, *CALLING, *RUNNING, *PROCESSES}) == []


def test_a_library_that_is_loaded_is_seen(environment: dict[str, str]) -> None:
    assert "ecproc.simulator" in list_loaded("demo", "--help", environment=environment)
