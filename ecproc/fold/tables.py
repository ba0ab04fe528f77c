"""The live tables: what one stream's rows are joined from."""

from __future__ import annotations

from typing import Final

import msgspec


class LiveTables(msgspec.Struct, frozen=True, kw_only=True):
    """The names of live tables and what is asked of their rows (see `store.base.Tables`)."""

    names: frozenset[str]
    later: frozenset[str] = frozenset()
    newest_stays: frozenset[str] = frozenset()
    searched_by_id: frozenset[str] = frozenset()
    searched_by_tag: frozenset[str] = frozenset()
    grouped_by_tag: frozenset[str] = frozenset()


TABLES: Final = LiveTables(
    names=frozenset(
        {
            "ticket",
            "client_ticket",
            "note",
            "attachment",
            "approval",
            "history",
            "anomaly",
            "outbox",
            "quarantine",
            "pause",
            "command",
            "timer",
        }
    ),
    later=frozenset({"pause", "command", "timer"}),
    newest_stays=frozenset({"outbox"}),
    searched_by_id=frozenset({"ticket", "client_ticket", "command"}),
    searched_by_tag=frozenset({"outbox", "timer"}),
    grouped_by_tag=frozenset({"ticket"}),
)
"""What our folds write. One that is added here is named in `later` too."""
