"""How many entries of one kind may begin within a minute. Pure: it is told what time it is."""

from __future__ import annotations

from collections import deque
from typing import Final

_MINUTE: Final = 60.0


class Rate:
    """At most so many begin within any minute; 0 is no limit. Times are steady seconds."""

    def __init__(self, per_minute: int) -> None:
        self._begun: deque[float] = deque(maxlen=per_minute or 1)
        self._per_minute = per_minute

    def may_begin(self, now: float) -> bool:
        """Whether another may begin now."""
        return self.wait(now) <= 0.0

    def begin(self, now: float) -> None:
        """Note that one begins."""
        if self._per_minute:
            self._begun.append(now)

    def wait(self, now: float) -> float:
        """Seconds until another may begin."""
        if len(self._begun) < self._per_minute or not self._per_minute:
            return 0.0
        return max(0.0, self._begun[0] + _MINUTE - now)
