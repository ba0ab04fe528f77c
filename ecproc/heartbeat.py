"""The event loop's pulse: how late it lets things run, and what it was doing where it stood still.

Whatever stands in the loop stops everything, the pages that would tell of it too: a thread looks from outside.
"""

from __future__ import annotations

import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Final

import anyio
import structlog

log = structlog.get_logger()

BEAT_SECONDS: Final = 0.5
STANDS_SECONDS: Final = 30.0
"""From when on a loop that does not turn counts as dead."""
_TOLD_SECONDS: Final = 10.0
"""From when on it is told where it stands."""
_WINDOW: Final = round(60 / BEAT_SECONDS)
_FRAMES: Final = 12
_HINT: Final = "what it waits for should never be waited for in the loop: restart it, and report this line as a defect"


class Heartbeat:
    """Beats twice a second while `run` does. Times are monotonic seconds."""

    def __init__(self) -> None:
        self._beat = time.monotonic()
        self._lags: deque[float] = deque(maxlen=_WINDOW)

    async def run(self) -> None:
        """Beat until cancelled, in the loop that is to be watched; a thread tells where it stands."""
        with self._watching():
            while True:
                self._beat = time.monotonic()
                await anyio.sleep(BEAT_SECONDS)
                stood = time.monotonic() - self._beat
                self._lags.append(max(0.0, stood - BEAT_SECONDS))
                if stood >= _TOLD_SECONDS:
                    log.info("loop_goes_on", duration=round(stood, 1))

    def is_alive(self) -> bool:
        """Whether the loop turned within the last half minute."""
        return time.monotonic() - self._beat < STANDS_SECONDS

    def worst_lag(self) -> float | None:
        """The longest that anything due was kept waiting within the last minute; None before the first beat."""
        return max(self._lags, default=None)

    @contextmanager
    def _watching(self) -> Iterator[None]:
        ended, loop_thread = threading.Event(), threading.get_ident()
        watcher = threading.Thread(target=self._watch, args=(ended, loop_thread), daemon=True, name="heartbeat")
        watcher.start()
        try:
            yield
        finally:
            ended.set()
            watcher.join()

    def _watch(self, ended: threading.Event, loop_thread: int) -> None:
        told = 0.0
        while not ended.wait(_TOLD_SECONDS / 2):
            beat = self._beat
            stands = time.monotonic() - beat
            if stands >= _TOLD_SECONDS and beat != told:
                told = beat
                log.error("loop_stands", duration=round(stands, 1), trace=_find_stack(loop_thread), hint=_HINT)


def _find_stack(thread: int) -> list[str]:
    """Where that thread is: files, lines and names, the innermost first."""
    frame = sys._current_frames().get(thread)
    frames = traceback.walk_stack(frame) if frame is not None else iter(())
    return [f"{each.f_code.co_filename}:{line} {each.f_code.co_name}" for each, line in islice(frames, _FRAMES)]
