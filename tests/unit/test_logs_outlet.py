"""A reader of the log that is slow or gone costs lines, which are counted, and never a moment of the process."""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Iterator
from typing import Final, TextIO

import pytest

from ecproc.telemetry.outlet import WAITING_BYTES, Outlet

LINE: Final = "x" * 999 + "\n"
PIPE_BYTES: Final = 64 * 1024


class Pipe:
    """A pipe whose other end nobody reads until `read_all`."""

    def __init__(self, *, blocking: bool) -> None:
        self._reading, self._writing = os.pipe()
        os.set_blocking(self._writing, blocking)
        self.stream: TextIO = os.fdopen(self._writing, "w", encoding="utf-8")

    def read_all(self, outlet: Outlet) -> str:
        """What was written, once the outlet has given all of it away."""
        pieces: list[bytes] = []
        reader = threading.Thread(target=lambda: pieces.extend(iter(lambda: os.read(self._reading, PIPE_BYTES), b"")))
        reader.start()
        outlet.close(60)
        self.stream.close()
        reader.join()
        return b"".join(pieces).decode()

    def close(self) -> None:
        """Let nobody read it any more."""
        if self._reading >= 0:
            os.close(self._reading)
            self._reading = -1


@pytest.fixture(params=[True, False], ids=["blocking", "not blocking"])
def pipe(request: pytest.FixtureRequest) -> Iterator[Pipe]:
    made = Pipe(blocking=request.param)
    yield made
    made.close()
    made.stream.close()


def describe_loss(count: int) -> str:
    return f"lost {count}\n"


def test_what_fits_is_written_at_once(pipe: Pipe) -> None:
    outlet = Outlet(pipe.stream, describe_loss)
    outlet.write("ä\n")
    assert outlet._writer is None
    assert pipe.read_all(outlet) == "ä\n"


@pytest.mark.parametrize("length", [1000, 5000, 100_000])
def test_lines_that_wait_come_whole_and_in_order(length: int, pipe: Pipe) -> None:
    outlet = Outlet(pipe.stream, describe_loss)
    lines = [f"{number:0{length}}\n" for number in range(3 * PIPE_BYTES // length + 2)]
    for line in lines:
        outlet.write(line)
    assert pipe.read_all(outlet) == "".join(lines)


def test_what_nobody_reads_is_counted_and_told(pipe: Pipe) -> None:
    outlet = Outlet(pipe.stream, describe_loss)
    written = 2 * (WAITING_BYTES + PIPE_BYTES) // len(LINE)
    for _ in range(written):
        outlet.write(LINE)
    lines = pipe.read_all(outlet).splitlines(keepends=True)
    lost = written - lines.count(LINE)
    assert lost > 0
    assert lines[-1] == f"lost {lost}\n"
    assert len(lines) == written - lost + 1


def test_a_reader_that_has_gone_and_a_full_disk_are_no_failure(pipe: Pipe) -> None:
    pipe.close()
    outlet = Outlet(pipe.stream, describe_loss)
    outlet.write(LINE)
    outlet.close(0)
    with open("/dev/full", "w", encoding="utf-8") as full:  # noqa: PTH123 - a device
        Outlet(full, describe_loss).write(LINE)
        Outlet(full, describe_loss).write(10 * LINE)


def test_a_stream_without_a_file_is_written_as_it_is() -> None:
    stream = io.StringIO()
    Outlet(stream, describe_loss).write("a\n")
    assert stream.getvalue() == "a\n"
