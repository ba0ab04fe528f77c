"""Where log lines leave the process: a reader that is slow, or gone, costs lines and never holds anybody up."""

from __future__ import annotations

import os
import select
import stat
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Final, NamedTuple, TextIO

WAITING_BYTES: Final = 1024 * 1024
"""How much may wait for a reader; what comes beyond is counted and dropped."""

CLOSE_SECONDS: Final = 2.0
"""How long the end of the process waits for a reader."""

_AT_ONCE: Final = 4096
"""POSIX's PIPE_BUF on Linux: a pipe that is ready takes so many bytes without waiting, and whole."""


class _Line(NamedTuple):
    data: bytes
    lines: int = 1
    """How many lines are lost with it."""


class Outlet:
    """Writes whole lines to a stream in order; `describe_loss` makes the line that tells how many were dropped.

    A line that could be written in part only is ended before the next one begins.
    """

    def __init__(self, stream: TextIO, describe_loss: Callable[[int], str]) -> None:
        self._stream = stream
        self._describe_loss = describe_loss
        self._file = _number_of(stream)
        self._never_waits = self._file is not None and stat.S_ISREG(os.fstat(self._file).st_mode)
        self._waiting: deque[_Line] = deque()
        self._size = 0
        self._lost = 0
        self._half = False
        self._lock = threading.Lock()
        self._writer: threading.Thread | None = None

    def write(self, line: str) -> None:
        """Write the line, at once where that holds nobody up, else as soon as it can be read."""
        if self._file is None:
            self._stream.write(line)
            self._stream.flush()
            return
        data = line.encode(self._stream.encoding or "utf-8", "backslashreplace")
        with self._lock:
            self._tell_loss(self._file)
            self._pass_on(self._file, _Line(data))

    def close(self, seconds: float = CLOSE_SECONDS) -> None:
        """Wait until what waits has been read, for so long at most."""
        if self._file is not None:
            with self._lock:
                self._tell_loss(self._file)
        writer = self._writer
        if writer is not None:
            writer.join(seconds)

    def _tell_loss(self, file: int) -> None:
        if self._writer is None and self._lost:
            self._pass_on(file, self._take_loss())

    def _take_loss(self) -> _Line:
        lost, self._lost = self._lost, 0
        return _Line(self._describe_loss(lost).encode("utf-8", "backslashreplace"), lost)

    def _pass_on(self, file: int, line: _Line) -> None:
        if self._writer is None:
            rest = self._write_at_once(file, line)
            if rest:
                self._writer = threading.Thread(target=self._drain, args=(file, line._replace(data=rest)), daemon=True)
                self._writer.start()
        elif self._size + len(line.data) <= WAITING_BYTES:
            self._waiting.append(line)
            self._size += len(line.data)
        else:
            self._lost += line.lines

    def _write_at_once(self, file: int, line: _Line) -> bytes:
        """Write what can be written without waiting, and give the rest; a line that nobody can ever read is dropped."""
        data = self._end_half() + line.data
        while data:
            if not self._never_waits and (len(data) > _AT_ONCE or not _is_ready(file, 0)):
                return data
            try:
                data = self._put(file, data)
            except BlockingIOError:
                return data
            except OSError:
                self._lost += line.lines
                return b""
        return data

    def _drain(self, file: int, line: _Line) -> None:
        while True:
            whole = self._write_all(file, line.data)
            with self._lock:
                if not whole:
                    self._lost += line.lines
                if self._waiting:
                    line = self._waiting.popleft()
                    self._size -= len(line.data)
                elif self._lost and whole:
                    line = self._take_loss()
                else:  # what was lost just now is told before the next line
                    self._writer = None
                    return
                line = line._replace(data=self._end_half() + line.data)

    def _write_all(self, file: int, data: bytes) -> bool:
        """Whether it could be written."""
        while data:
            _is_ready(file, None)
            try:
                data = self._put(file, data[:_AT_ONCE]) + data[_AT_ONCE:]
            except BlockingIOError:
                continue
            except OSError:
                return False
        return True

    def _put(self, file: int, data: bytes) -> bytes:
        """Write some of it, and give the rest."""
        written = os.write(file, data)
        self._half = data[written - 1 : written] != b"\n"
        return data[written:]

    def _end_half(self) -> bytes:
        return b"\n" if self._half else b""


def _is_ready(file: int, milliseconds: int | None) -> bool:
    waiter = select.poll()
    waiter.register(file, select.POLLOUT)
    return bool(waiter.poll(milliseconds))


def _number_of(stream: TextIO) -> int | None:
    with suppress(OSError, ValueError, AttributeError):
        return stream.fileno()
    return None
