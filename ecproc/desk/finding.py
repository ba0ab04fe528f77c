"""What a look at the client's desk finds wrong, whichever desk it is."""

from __future__ import annotations

from typing import Literal

import msgspec


class DeskFinding(msgspec.Struct, frozen=True):
    """Something to be mended: which check found it, what is wrong, and what to do about it. An error loses or doubles
    tickets, or lets none through; a warning may."""

    check: str
    severity: Literal["error", "warning"]
    text: str
    fix: str


class DeskCheck(msgspec.Struct, frozen=True):
    """What a look came to: what is to be mended, and what else is worth knowing."""

    findings: tuple[DeskFinding, ...]
    notes: tuple[str, ...] = ()
