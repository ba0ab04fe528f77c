"""What documents look like that are joined from rows and have no type of their own."""

from __future__ import annotations

from typing import Any

import msgspec


class TicketDocument(msgspec.Struct, frozen=True):
    """A ticket as it stands; long lists show their last entries, and `…_count` says how many there are."""

    ticket: str | None
    type: str | None
    state: str | None
    client_ticket: str | None
    generation: int
    paused: bool
    waiting_for: dict[str, Any] | None
    version: int
    position: int
    opened_at: str | None
    updated_at: str
    fields: dict[str, Any]
    notes: list[dict[str, Any]]
    attachments: list[dict[str, Any]]
    approvals: list[dict[str, Any]]
    client_tickets: list[dict[str, Any]]
    history: list[dict[str, Any]]
    effects: list[dict[str, Any]]
    anomalies: list[dict[str, Any]]
    history_count: int
    anomalies_count: int
    effects_count: int
