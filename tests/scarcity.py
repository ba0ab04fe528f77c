"""What a process meets when the system has no more to give."""

from __future__ import annotations

import os
import resource
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

NOBODY = 65534


@contextmanager
def no_more_files() -> Iterator[None]:
    """Let this process open no file in the block."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken = [os.open(os.devnull, os.O_RDONLY)]
    resource.setrlimit(resource.RLIMIT_NOFILE, (taken[0] + 64, limits[1]))
    try:
        with suppress(OSError):
            while True:
                taken.append(os.open(os.devnull, os.O_RDONLY))
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        for descriptor in taken:
            os.close(descriptor)


@contextmanager
def without_privileges() -> Iterator[None]:
    """Be somebody whom file modes bind: root may write everywhere."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


@contextmanager
def read_only_copy(data: Path) -> Iterator[Path]:
    """A log as it stands on a medium that cannot be written, which its user may read."""
    with tempfile.TemporaryDirectory() as name:
        medium = Path(name)
        for file in ("ecproc.db", "anchor"):
            shutil.copy(data / file, medium)
            (medium / file).chmod(0o444)
        medium.chmod(0o555)
        try:
            yield medium
        finally:
            medium.chmod(0o755)
