"""Python's garbage collector as processes that do much of the same want it."""

from __future__ import annotations

import gc
from typing import Final

_THRESHOLDS: Final = (20_000, 20, 50)
"""Objects more than went, and looks at the younger ones, before a look."""


def spare_the_collector() -> None:
    """Look for cycles less often, and never among what is loaded by now: messages and their folds make very few."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_THRESHOLDS)
