"""How calls of the queue end: the closed sets that loops tell and metrics count."""

from __future__ import annotations

from enum import StrEnum


class PollOutcome(StrEnum):
    """How one GET of the queue ended; the first two are successes."""

    MESSAGES = "messages"
    EMPTY = "empty"
    THROTTLED = "throttled"
    REFUSED = "refused"
    """Our key, path or client name is wrong."""
    ERROR = "error"


class DeleteOutcome(StrEnum):
    """How the delete of one delivery ended."""

    DELETED = "deleted"
    EXPIRED = "expired"
    """The receipt handle was: the message comes again with another."""
    INVALID = "invalid"
    ERROR = "error"
    SKIPPED = "skipped"
    """Its time was up before we asked (R21)."""
    RETURNED = "returned"
    """It was deleted, and had been before: it came back all the same. Found out after it was counted."""
