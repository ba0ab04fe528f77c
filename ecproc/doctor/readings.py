"""Readings of the machine and of the data directory, each by a blocking call."""

from __future__ import annotations

import os
import resource
import socket
import tempfile
import time
from pathlib import Path
from typing import Final

from ecproc.config import DataConfig
from ecproc.descriptors import MOST_OPEN
from ecproc.doctor.machine import DirectoryReading
from ecproc.privacy import find_exposures

SYNCS: Final = 5
"""How many synced writes are timed."""
_SYNCED_BYTES: Final = 4096


def read_file_limits() -> tuple[int, int]:
    """How many files may be open, and what that may be raised to."""
    soft, hard = (MOST_OPEN if each == resource.RLIM_INFINITY else each for each in _limits())
    return soft, hard


def _limits() -> tuple[int, int]:
    return resource.getrlimit(resource.RLIMIT_NOFILE)


def read_directory(path: Path) -> DirectoryReading:
    """The data directory as it is found; one that is not there yet needs a place that lets it be made."""
    try:
        exists = path.exists()
    except OSError as error:  # what it stands in may not be looked into
        return DirectoryReading(path, exists=True, unusable=error.strerror or type(error).__name__)
    if not exists:
        place = find_place(path)
        is_above = place == next((each for each in path.parents if os.path.lexists(each)), place)  # and no file is
        may_make = is_above and place.is_dir() and os.access(place, os.W_OK | os.X_OK)
        why = "" if may_make and not path.is_symlink() else f"it is not there and cannot be made in {place}"
        return DirectoryReading(path, exists=False, unusable=why)
    if not path.is_dir():
        return DirectoryReading(path, exists=True, unusable="it is no directory")
    if not os.access(path, os.R_OK | os.W_OK | os.X_OK):
        return DirectoryReading(path, exists=True, unusable=f"user {os.geteuid()} may not read and write it")
    return DirectoryReading(path, exists=True, exposures=tuple(find_exposures(path)))


def find_place(path: Path) -> Path:
    """The nearest directory above that is there: its disk is the one that counts."""
    return next((each for each in (path, *path.parents) if os.path.isdir(each)), path)  # noqa: PTH112 - it never raises


def find_obstacle(host: str, port: int) -> str:
    """Why nobody can listen there, empty if one can; nothing is listened to."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as a server's own
            probe.bind(address)
    except OSError as error:
        return error.strerror or str(error)
    except UnicodeError:
        return "that is not a host name"
    return ""


def time_syncs(data: DataConfig) -> list[float]:
    """Seconds that synced writes took, to a file that has no name on the data directory's disk."""
    taken: list[float] = []
    with tempfile.TemporaryFile(dir=find_place(data.directory), prefix="doctor-") as file:
        for _ in range(SYNCS):
            file.write(bytes(_SYNCED_BYTES))
            file.flush()
            began = time.monotonic()
            os.fsync(file.fileno())
            taken.append(time.monotonic() - began)
    return taken
