"""What a proof says."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from enum import StrEnum

import msgspec

from ecproc.errors import Severity
from ecproc.mapping.predicates import fold_word


class ProofCheck(StrEnum):
    """What a finding is about."""

    TOTALITY = "totality"
    """A value of a list has no image."""
    OPEN = "open"
    """A value may come that no list has, and there is no default."""
    IMAGE = "image"
    """What a rule yields is not among the words of its field."""
    NEVER = "never"
    """A rule, a row or a condition cannot apply."""
    DOUBLE = "double"
    """Two rules decide one field at once."""
    INVERSE = "inverse"
    """A value does not come back as it went."""
    NAME = "name"
    """A field has a name that the guide does not know."""
    FALLBACK = "fallback"
    """A value of a list has no row, and so becomes the default."""


class Finding(msgspec.Struct, frozen=True):
    """One thing that the proof found: where it stands as `file:line`, and what to do about it."""

    check: ProofCheck
    severity: Severity
    location: str
    text: str
    help: str = ""


def ask_near(word: str, known: Iterable[str]) -> str:
    """The question whether the nearest of the known words is meant; empty where none is near."""
    folded = {fold_word(item): item for item in known}
    near = difflib.get_close_matches(fold_word(word), list(folded), n=1)
    return f"did you mean {folded[near[0]]!r}?" if near else ""


def report_error(check: ProofCheck, location: str, text: str, help: str = "") -> Finding:
    """A finding that a mapping may not be used with."""
    return Finding(check, Severity.ERROR, location, text, help)


def report_warning(check: ProofCheck, location: str, text: str, help: str = "") -> Finding:
    """One that it may be used with."""
    return Finding(check, Severity.WARNING, location, text, help)
