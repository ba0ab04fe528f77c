"""Spans of time as people read them."""

from __future__ import annotations

from typing import Final

_UNITS: Final = ((86_400, "d"), (3_600, "h"), (60, "m"), (1, "s"))


def describe_span(microseconds: int, *, parts: int = 2) -> str:
    """A span in its largest units, no more than so many: `3d 4h`, `12m`; below a second `0s`."""
    left = max(0, microseconds) // 1_000_000
    shown: list[str] = []
    for seconds, unit in _UNITS:
        count, left = divmod(left, seconds)
        if count or shown:
            shown.append(f"{count}{unit}" if count else "")
        if len(shown) == parts:
            break
    return " ".join(filter(None, shown)) or "0s"
