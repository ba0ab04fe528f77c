"""What the page about log events says, to be held against the lines that a processor wrote."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

PAGE: Final = Path(__file__).parents[2] / "docs" / "reference" / "log-events.md"
EVERY_LINE: Final = frozenset({"ts", "level", "event"})


class LogEvent:
    """One row of the page."""

    def __init__(self, levels: str, fields: str) -> None:
        self.levels = set(levels.split(", "))
        self.fields = EVERY_LINE | set(re.findall(r"`(\w+)`", fields))


def read_log_events() -> dict[str, LogEvent]:
    """Every event of the page, by name."""
    rows = re.findall(r"^\| `(\w+)` \| ([^|]*) \| ([^|]*) \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    return {event: LogEvent(levels, fields) for event, levels, fields in rows}


def find_unexplained(lines: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """Each line whose event, level or fields the page does not have."""
    known = read_log_events()
    for line in lines:
        event = known.get(line["event"])
        if event is None or line["level"] not in event.levels or not line.keys() <= event.fields:
            yield str(dict(line))
