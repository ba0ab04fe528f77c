"""Where log lines leave the process: a reader that is slow, or gone, costs lines and never holds anybody up."""

from __future__ import annotations

import os
import select
import stat
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Final, TextIO

WAITING_BYTES: Final = 1024 * 1024
"""How much may wait for a reader; what comes beyond is counted and dropped."""

CLOSE_SECONDS: Final = 2.0
"""How long the end of the process waits for a reader."""

_AT_ONCE: Final = 4096
"""POSIX's PIPE_BUF on Linux: a pipe that is ready takes so many bytes without waiting, and whole."""


class Outlet:
    """Writes whole lines to a stream in order; `describe_loss` makes the line that tells how many were dropped."""

    def __init__(self, stream: TextIO, describe_loss: Callable[[int], str]) -> None:
        self._stream = stream
        self._describe_loss = describe_loss
        self._file = _number_of(stream)
        self._never_waits = self._file is not None and stat.S_ISREG(os.fstat(self._file).st_mode)
        self._waiting: deque[bytes] = deque()
        self._size = 0
        self._lost = 0
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
            if self._writer is None:
                data = self._write_at_once(self._file, data)
                if data:
                    self._writer = threading.Thread(target=self._drain, args=(self._file,), daemon=True)
                    self._append(data)
                    self._writer.start()
            elif self._size + len(data) <= WAITING_BYTES:
                self._append(data)
            else:
                self._lost += 1

    def close(self, seconds: float = CLOSE_SECONDS) -> None:
        """Wait until what waits has been read, for so long at most."""
        writer = self._writer
        if writer is not None:
            writer.join(seconds)

    def _append(self, data: bytes) -> None:
        self._waiting.append(data)
        self._size += len(data)

    def _write_at_once(self, file: int, data: bytes) -> bytes:
        """Write what can be written without waiting, and give the rest; a line that nobody can ever read is dropped."""
        if not self._never_waits and (len(data) > _AT_ONCE or not _is_ready(file, 0)):
            return data
        try:
            return data[os.write(file, data) :]
        except BlockingIOError:
            return data
        except OSError:
            return b""

    def _drain(self, file: int) -> None:
        while True:
            with self._lock:
                if not self._waiting:
                    if not self._lost:
                        self._writer = None
                        return
                    lost, self._lost = self._lost, 0
                    self._append(self._describe_loss(lost).encode("utf-8", "backslashreplace"))
                data = self._waiting.popleft()
                self._size -= len(data)
            _write_all(file, data)


def _write_all(file: int, data: bytes) -> None:
    while data:
        _is_ready(file, None)
        try:
            data = data[os.write(file, data[:_AT_ONCE]) :]
        except BlockingIOError:
            continue
        except OSError:
            return


def _is_ready(file: int, milliseconds: int | None) -> bool:
    waiter = select.poll()
    waiter.register(file, select.POLLOUT)
    return bool(waiter.poll(milliseconds))


def _number_of(stream: TextIO) -> int | None:
    with suppress(OSError, ValueError, AttributeError):
        return stream.fileno()
    return None
