"""How many files the process may have open: the limit raised, a few held back, and running out of them told apart."""

from __future__ import annotations

import errno
import os
import resource
from contextlib import suppress
from typing import Final

MOST_OPEN: Final = 65_536
"""Descriptors that are asked for where the system would give more."""
FEW_FILES: Final = 512
"""Descriptors below which calls may have to wait for each other's."""
HELD_BACK: Final = 4
"""Descriptors of a reserve."""
_OUT: Final = frozenset({errno.EMFILE, errno.ENFILE})


def raise_limit() -> int:
    """Let the process open as many files as its hard limit allows, 65,536 at most; how many that are now."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_OPEN if hard == resource.RLIM_INFINITY else min(hard, MOST_OPEN)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return MOST_OPEN if soft == resource.RLIM_INFINITY else soft
    with suppress(OSError, ValueError):  # what some systems say to a limit that they have just named
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        return wanted
    return soft


def is_out_of_files(error: BaseException) -> bool:
    """Whether it only says that no more files can be open just now: nothing was done, and it may pass."""
    return isinstance(error, OSError) and error.errno in _OUT


class Reserve:
    """Descriptors held back for what must be answered when there are no others."""

    def __init__(self) -> None:
        self._held: list[int] = []
        self.refill()

    def spend(self) -> bool:
        """Free one of them for whoever opens the next file; False if none is left."""
        if self._held:
            os.close(self._held.pop())
            return True
        return False

    def refill(self) -> None:
        """Hold as many as there should be, or as can be had."""
        with suppress(OSError):
            while len(self._held) < HELD_BACK:
                self._held.append(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))

    def close(self) -> None:
        """Hold none any more."""
        while self.spend():
            pass
