"""Anomalies: what the protocol does not foresee is applied and flagged with one of these codes."""

from __future__ import annotations

from enum import StrEnum


class Anomaly(StrEnum):
    """The closed set of codes, in the order in which metrics and documents list them."""

    ADOPTED = "adopted"
    """The ticket's first message is no Create: its state and fields are taken from its body."""
    SKIPPED_STATE = "skipped_state"
    BACKWARD_STATE = "backward_state"
    AFTER_FINAL = "after_final"
    """News of a ticket that is closed or cancelled."""
    UNEXPECTED_STATE = "unexpected_state"
    LATE = "late"
    """A message that was sent before one that was folded already: it sets no state and no newer field."""
    DUPLICATE = "duplicate"
    LINK_MISMATCH = "link_mismatch"
    """Numbers that do not belong together: theirs and ours, ticket and group, or two tickets with one number."""
    DOUBLE_CREATE = "double_create"
    UNKNOWN_VALUE = "unknown_value"
    UNKNOWN_TYPE = "unknown_type"
    FOREIGN_CLIENT = "foreign_client"
    DERIVED_ID = "derived_id"
    GAP = "gap"
    TYPE_CHANGED = "type_changed"
    REPEATED_DEDUP_ID = "repeated_dedup_id"
    BODY_DIFFERS = "body_differs"
    ODD_ANSWER = "odd_answer"
    """An effect was answered in words that nobody knows."""
    SIZE_DIFFERS = "size_differs"
    UNREADABLE_PART = "unreadable_part"
    APPROVAL_UNEXPECTED = "approval_unexpected"
    NO_CLOSE_CODE = "no_close_code"
    DRIFT = "drift"
    """A message has a field otherwise than the ticket and does not say that it changed it."""
