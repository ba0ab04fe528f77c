"""Where results and remarks go: stdout for results, stderr for everything else."""

from __future__ import annotations

import os
import select
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Literal, TextIO

from ecproc.cli.printable import printable
from ecproc.reading.escaping import one_line

if TYPE_CHECKING:
    from rich.console import RenderableType


class OutputClosed(Exception):
    """Whoever read our results has gone: there is nothing left to say."""


class OutputFailed(Exception):
    """Results cannot be written where they were to go."""


def open_standard_streams() -> None:
    """Give a process that was started without some of the standard streams /dev/null in their places.

    Otherwise a file of ours gets the number of one, and a stray word to it goes into the log's file.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    stdout: TextIO | None = sys.stdout
    stderr: TextIO | None = sys.stderr
    sys.stdout = stdout or _open_nowhere(1)
    sys.stderr = stderr or _open_nowhere(2)


def deliver(text: str) -> int:
    """Print this as the one result there is; gives the exit code."""
    open_standard_streams()
    try:
        write_text(text)
        flush()
    except OutputClosed:
        abandon_output()
    except OutputFailed as error:
        abandon_output()
        say(f"error: {error}")
        return 1
    return 0


def wants_json(flag: bool) -> bool:
    """Whether the result is a JSON document: when asked for, and whenever no terminal shows it."""
    return flag or not sys.stdout.isatty()


def shows_motion() -> bool:
    """Whether what goes to stderr may move: it is a terminal, and not one that only knows lines."""
    return sys.stderr.isatty() and os.environ.get("TERM") not in ("dumb", "unknown")


def write_line(line: bytes) -> None:
    """Write one line of JSON; it stays buffered until `flush`."""
    _write(one_line(line) + b"\n")


def write_document(document: Any) -> None:
    """Write the one JSON document that is a command's result."""
    write_line(_encode(document))


def write_text(text: str) -> None:
    """Write text as it is."""
    _write(f"{text}\n".encode(sys.stdout.encoding or "utf-8", "backslashreplace"))


def write_human(*parts: RenderableType) -> None:
    """Write tables and text for a person at a terminal; nothing but text where NO_COLOR is set."""
    from rich.console import Console
    from rich.text import Text

    colours: Literal["auto"] | None = None if os.environ.get("NO_COLOR") else "auto"  # with none bold and dim go too
    console = Console(file=sys.stdout, color_system=colours, highlight=False, markup=False, emoji=False)
    with console.capture() as captured:
        for part in parts:
            flows = isinstance(part, str) or (isinstance(part, Text) and part.no_wrap is True)
            console.print(printable(part) if isinstance(part, str) else part, soft_wrap=flows, crop=False)
    # Blanks up to a table's edge would break into empty lines on a terminal that is narrower than the table.
    write_text("\n".join(line.rstrip(" ") for line in captured.get().removesuffix("\n").split("\n")))


def flush() -> None:
    """Send everything written so far."""
    _finish(sys.stdout.flush)


def say(text: str) -> None:
    """A remark on stderr, harmless to a terminal and behind what was written before it; a stderr that cannot be written
    is no reason to stop."""
    with suppress(OSError, ValueError):  # who closed stdout is told by the next `flush`
        sys.stdout.flush()
    with suppress(OSError, ValueError):
        print(printable(text), file=sys.stderr, flush=True)


def abandon_output() -> None:
    """Let nothing be written at exit: the interpreter would complain about the closed pipe."""
    with suppress(OSError, ValueError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
        os.close(null)


def _open_nowhere(number: int) -> TextIO:
    return os.fdopen(number, "w", encoding="utf-8", errors="backslashreplace", closefd=False)


def _encode(document: Any) -> bytes:
    import msgspec

    try:
        return msgspec.json.encode(document)
    except UnicodeEncodeError:  # a path may hold bytes that are no text
        import json

        return json.dumps(document).encode()


def _write(data: bytes) -> None:
    rest = memoryview(data)

    def go_on() -> None:
        nonlocal rest
        while rest:
            try:
                written: int | None = sys.stdout.buffer.write(rest)
            except BlockingIOError as error:
                rest = rest[error.characters_written :]
                raise
            if written is None:  # as an unbuffered stream says it
                raise BlockingIOError
            rest = rest[written:]

    _finish(go_on)


def _finish(action: Callable[[], object]) -> None:
    """Do this until it is done, however slowly it is read on the other side of a pipe that does not block."""
    while True:
        try:
            action()
        except BlockingIOError:
            select.select([], [sys.stdout.fileno()], [])
        except BrokenPipeError as error:
            raise OutputClosed from error
        except OSError as error:
            raise OutputFailed(f"the result cannot be written to standard output: {error.strerror or error}") from error
        else:
            return
