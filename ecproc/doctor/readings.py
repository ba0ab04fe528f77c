"""Readings of the machine and of the data directory, each by a blocking call."""

from __future__ import annotations

import os
import resource
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
    if not path.exists():
        place = find_place(path)
        may_make = place.is_dir() and os.access(place, os.W_OK | os.X_OK)
        why = "" if may_make and not path.is_symlink() else f"it is not there and cannot be made in {place}"
        return DirectoryReading(path, exists=False, unusable=why)
    if not path.is_dir():
        return DirectoryReading(path, exists=True, unusable="it is no directory")
    if not os.access(path, os.R_OK | os.W_OK | os.X_OK):
        return DirectoryReading(path, exists=True, unusable=f"user {os.geteuid()} may not read and write it")
    return DirectoryReading(path, exists=True, exposures=tuple(find_exposures(path)))


def find_place(path: Path) -> Path:
    """The nearest directory above that is there: its disk is the one that counts."""
    return next((each for each in (path, *path.parents) if each.is_dir()), path)


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
