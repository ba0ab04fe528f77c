"""Where results and remarks go: stdout for results, stderr for everything else."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TextIO

import msgspec

from ecproc.cli.printable import one_line

if TYPE_CHECKING:
    from rich.console import RenderableType


class OutputClosed(Exception):
    """Whoever read our results has gone: there is nothing left to say."""


def wants_json(flag: bool) -> bool:
    """Whether the result is a JSON document: when asked for, and whenever no terminal shows it."""
    return flag or not sys.stdout.isatty()


def write_line(line: bytes) -> None:
    """Write one line of JSON; it stays buffered until `flush`."""
    _write(lambda: sys.stdout.buffer.write(one_line(line) + b"\n"))


def write_document(document: Any) -> None:
    """Write the one JSON document that is a command's result."""
    write_line(msgspec.json.encode(document))


def write_text(text: str) -> None:
    """Write text as it is."""
    _write(lambda: sys.stdout.buffer.write(f"{text}\n".encode(sys.stdout.encoding or "utf-8", "backslashreplace")))


def write_human(*parts: RenderableType) -> None:
    """Write tables and text for a person at a terminal; no colour where NO_COLOR is set."""
    from rich.console import Console

    console = Console(file=sys.stdout, highlight=False, markup=False, emoji=False)
    with console.capture() as captured:
        for part in parts:
            console.print(part, soft_wrap=isinstance(part, str), crop=False)
    # Blanks up to a table's edge would break into empty lines on a terminal that is narrower than the table.
    write_text("\n".join(line.rstrip(" ") for line in captured.get().removesuffix("\n").split("\n")))


def flush() -> None:
    """Send everything written so far."""
    _write(sys.stdout.flush)


def say(text: str) -> None:
    """A remark on stderr; a stderr that is closed is no reason to stop."""
    stderr: TextIO | None = sys.stderr  # None in a process that was started without one
    if stderr is not None:
        with suppress(OSError, ValueError):
            print(text, file=stderr, flush=True)


def abandon_output() -> None:
    """Let nothing be written at exit: the interpreter would complain about the closed pipe."""
    with suppress(OSError, ValueError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
        os.close(null)


def _write(action: Callable[[], object]) -> None:
    try:
        action()
    except BrokenPipeError as error:
        raise OutputClosed from error
