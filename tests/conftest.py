"""What every test may use: the asyncio backend, the property-test profiles and the guide's own messages."""

import logging
import os
import signal
import sys
from collections.abc import Callable, Iterator, MutableMapping
from pathlib import Path
from typing import Any

import pytest
import structlog
from hypothesis import settings
from structlog.testing import capture_logs

MESSAGES = Path(__file__).parent / "fixtures" / "messages"

# A shell may hold the settings of somebody's processor and terminal: here every test brings its own.
for name in os.environ.keys() - {"ECPROC_SEEDS"}:
    if name.startswith("ECPROC_") or name == "COLUMNS":
        del os.environ[name]

# What ran these tests may ignore a signal, as nohup and a shell's `&` do: every process of theirs would inherit that.
for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, signal.default_int_handler if number is signal.SIGINT else signal.SIG_DFL)

# No deadline: the machines that run this are shared, and a slow example is not a wrong one.
settings.register_profile("default", deadline=None, max_examples=80, print_blob=True)
# The same examples every time: a red CI run must mean that the change is at fault.
settings.register_profile("ci", settings.get_profile("default"), derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "default")


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """Run async tests on asyncio, the one backend the processor runs on."""
    return "asyncio"


@pytest.fixture(scope="session")
def guide_message() -> Callable[[str], bytes]:
    """Give the bytes of one of the guide's messages by name, such as `incident-create`."""

    def read_message(name: str) -> bytes:
        return (MESSAGES / f"{name}.json").read_bytes()

    return read_message


@pytest.fixture
def logging_restored() -> Iterator[None]:
    """Logging as it was afterwards: commands set it up for the process they are."""
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    yield
    root.handlers, root.level = handlers, level
    structlog.reset_defaults()


@pytest.fixture
def fresh_loggers(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let no test before this one have a say in where log lines go: a configured logger keeps its settings for good."""
    structlog.reset_defaults()
    for name, module in list(sys.modules.items()):
        if name.startswith("ecproc.") and hasattr(module, "log"):
            monkeypatch.setattr(module, "log", structlog.get_logger())
    yield
    structlog.reset_defaults()


@pytest.fixture
def log_lines(fresh_loggers: None) -> Iterator[list[MutableMapping[str, Any]]]:
    """Give the log lines of this test, as they come."""
    with capture_logs() as lines:
        yield lines
