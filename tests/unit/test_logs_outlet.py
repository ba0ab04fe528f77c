"""A reader of the log that is slow or gone costs lines, which are counted, and never a moment of the process."""

from __future__ import annotations

import errno
import io
import os
import threading
from collections.abc import Iterator
from pathlib import Path
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


@pytest.fixture
def room(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Give the bytes that a disk still takes; it can be made smaller and larger."""
    left, write = [10_000_000], os.write

    def write_what_fits(file: int, data: bytes) -> int:
        if not left[0]:
            raise OSError(errno.ENOSPC, "No space left on device")
        written = write(file, data[: left[0]])
        left[0] -= written
        return written

    monkeypatch.setattr(os, "write", write_what_fits)
    return left


@pytest.mark.parametrize("fits", [0, 1, 500, 999, 1000])
def test_what_a_full_disk_did_not_take_is_counted_and_no_line_goes_on_behind_a_half_one(
    fits: int, tmp_path: Path, room: list[int]
) -> None:
    log = tmp_path / "log"
    with log.open("w", encoding="utf-8") as stream:
        outlet = Outlet(stream, describe_loss)
        room[0] = fits
        for _ in range(3):
            outlet.write(LINE)
        room[0] = 10_000_000
        outlet.write("after\n")
        outlet.write("last\n")
    lost = 2 if fits == len(LINE) else 3
    half = [LINE[:fits].removesuffix("\n")] if fits else []
    assert log.read_text(encoding="utf-8").splitlines() == [*half, f"lost {lost}", "after", "last"]


def test_a_loss_that_no_line_follows_is_told_at_the_end(tmp_path: Path, room: list[int]) -> None:
    log = tmp_path / "log"
    with log.open("w", encoding="utf-8") as stream:
        outlet = Outlet(stream, describe_loss)
        room[0] = 0
        outlet.write(LINE)
        outlet.close()
        room[0] = 10_000_000
        outlet.close()
    assert log.read_text(encoding="utf-8") == "lost 1\n"


def test_a_writer_whose_stream_fails_ends_and_counts(pipe: Pipe) -> None:
    outlet = Outlet(pipe.stream, describe_loss)
    for _ in range(PIPE_BYTES // len(LINE) + 10):
        outlet.write(LINE)
    writer = outlet._writer
    assert writer is not None
    pipe.close()
    writer.join(60)
    assert not writer.is_alive()
    assert outlet._lost > 0


def test_a_stream_without_a_file_is_written_as_it_is() -> None:
    stream = io.StringIO()
    Outlet(stream, describe_loss).write("a\n")
    assert stream.getvalue() == "a\n"
