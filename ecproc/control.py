"""Where a running processor takes commands: a socket in its data directory, however long the path to that is."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

CONTROL: Final = "control.sock"
"""The socket's name."""
CONTROL_HOST: Final = "localhost"
"""What requests on it call the server."""
WHO_HEADER: Final = "x-ecproc-who"
"""In which requests on it say whose command they are: a login name, quoted as in a URL."""
_LONGEST: Final = 107 - len(f"/{CONTROL}.new")
"""Bytes of a directory whose sockets' addresses fit into the system's 108."""


@contextmanager
def shorten_path(directory: Path) -> Iterator[str]:
    """A path to the directory that fits into the address of a socket in it, for as long as the block lasts.

    A longer one is written by the number of an open file. Raises OSError.
    """
    path = os.fsencode(directory)
    if len(path) <= _LONGEST:
        yield os.fsdecode(path)
        return
    opened = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{opened}"
    finally:
        os.close(opened)
