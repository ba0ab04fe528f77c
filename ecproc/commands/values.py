"""What a command's fields may hold: which there are, which it needs, closed lists, and how long a text may be."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final, Literal

import msgspec

from ecproc.commands.capability import Refusal
from ecproc.domain.commands import CommandKind, Comment
from ecproc.domain.ids import identity
from ecproc.domain.texts import LIMITS, comment_limit, written_length
from ecproc.domain.times import parse_time

LONGEST: Final = 100_000
"""Characters of a text that is sent in parts: beyond that it is no text to read in a ticket."""
SHORT: Final = 1_000
"""Characters of what is no text: names, addresses, groups."""

_SCHEME: Final = frozenset({"priority", "impact", "urgency"})
_CONTACT: Final = frozenset({"contactName", "contactEmail", "contactPhone"})
_TEXTS: Final = frozenset({"description", "shortDescription"})

FIELDS: Final[Mapping[CommandKind, frozenset[str]]] = {
    CommandKind.CREATE: frozenset({"clientTicketNumber", "ticketType", "group", "cis", *_TEXTS, *_CONTACT, *_SCHEME}),
    CommandKind.UPDATE: frozenset({"status", "group", *_TEXTS, *_SCHEME}),
    CommandKind.NOTE: frozenset(),
    CommandKind.RESOLVE: frozenset({"closeNotes"}),
    CommandKind.CLOSE: frozenset({"closeNotes"}),
    CommandKind.CANCEL: frozenset({"closeNotes"}),
    CommandKind.ATTACH: frozenset({"name", "sha256", "size", "type", "base64"}),
    CommandKind.APPROVE: frozenset({"approver", "approvalid", "comment"}),
    CommandKind.REJECT: frozenset({"approver", "approvalid", "comment"}),
    CommandKind.RETURN_NUMBER: frozenset({"clientTicketNumber"}),
}
"""The fields that each command takes, in the guide's names."""

REQUIRED: Final[Mapping[CommandKind, Sequence[str]]] = {
    CommandKind.CREATE: (
        *("clientTicketNumber", "ticketType", "shortDescription", "description", "contactName", "contactEmail"),
    ),
    CommandKind.UPDATE: (),
    CommandKind.NOTE: (),
    CommandKind.RESOLVE: ("closeNotes",),
    CommandKind.CLOSE: ("closeNotes",),
    CommandKind.CANCEL: ("closeNotes",),
    CommandKind.ATTACH: ("name", "sha256", "size", "type"),
    CommandKind.APPROVE: ("approver", "comment"),
    CommandKind.REJECT: ("approver", "comment"),
    CommandKind.RETURN_NUMBER: ("clientTicketNumber",),
}
"""The fields that each command needs (R86, R105, R106, R173, R176); an update needs one of its own."""

CLOSED: Final[Mapping[str, tuple[str, ...]]] = {
    "priority": ("1", "2", "3", "4"),
    "impact": ("1", "2", "3"),
    "urgency": ("1", "2", "3"),
    "status": ("open", "workinprogress", "pending"),
    "ticketType": ("Incident", "Request"),
}
"""Fields with a closed list of values (R87, R89, R90, R104); what ends a ticket is a command of its own."""

LONGEST_KEY: Final = 200
"""Characters of a key."""
KEY_PATTERN: Final = "^[!-~]([ -~]*[!-~])?$"
"""A key goes into headers, paths and tables."""

_KEY: Final = re.compile(KEY_PATTERN[:-1] + r"\Z")
_OWN_KEYS: Final = re.compile(
    "(create|returnptn|note|att|attach|upd|resolve|close|cancel|reopen):.*|.*:(comments|notes|resolve|group)"
)
"""Keys that ecproc gives itself: to effects that messages lead to, and to the further calls of a command."""
_NAMES: Final = frozenset({"clientTicketNumber", "approver", "approvalid"})
_ALLOWED_CONTROLS: Final = frozenset("\n\r\t")
_UNREADABLE: Final = frozenset({"Cc", "Cs"})


def check_key(key: str) -> Refusal | None:
    """Why no command can be known by that key; None if one can."""
    if len(key) > LONGEST_KEY or not _KEY.match(key):
        return Refusal(f"a key has 1 to {LONGEST_KEY} printable ASCII characters, and no blanks around them", "key")
    return Refusal(f"{key!r} is a key that ecproc gives itself", "key") if _OWN_KEYS.fullmatch(key) else None


def check_fields(
    kind: CommandKind, fields: Mapping[str, str], *, overflow: Literal["comment", "refuse"]
) -> Refusal | None:
    """Why these fields cannot be sent; None if they can."""
    for name, value in fields.items():
        if name not in FIELDS[kind]:
            return Refusal(f"{kind} has no field {name[:80]!r}", name[:80], tuple(sorted(FIELDS[kind])))
        refusal = _check_value(name, value, overflow=overflow)
        if refusal is not None:
            return refusal
    missing = [name for name in REQUIRED[kind] if name not in fields]
    if missing:
        return Refusal(f"{kind} needs {', '.join(missing)}", missing[0], CLOSED.get(missing[0], ()))
    return _check_scheme(kind, fields)


def check_comments(comments: Iterable[Comment], *, overflow: Literal["comment", "refuse"]) -> Refusal | None:
    """Why these comments cannot be sent; None if they can."""
    for comment in comments:
        if not comment.body.strip():
            return Refusal("a comment needs a text", "body")
        members = {"body": comment.body, **dict(_list_signature(comment))}
        for name, value in members.items():
            refusal = _check_text(name, value, limit=LONGEST if name == "body" else SHORT)
            if refusal is not None:
                return refusal
        if comment.comment_time and parse_time(comment.comment_time) is None:
            reason = f"{comment.comment_time[:80]!r} is no time such as 2026-01-31T12:00:00Z"
            return Refusal(reason, "commentTime")
        limit = comment_limit(comment)
        if overflow == "refuse" and written_length(comment.body) > limit:
            return _too_long("body", written_length(comment.body), limit)
    return None


def _list_signature(comment: Comment) -> Iterator[tuple[str, str]]:
    told = msgspec.to_builtins(comment)
    return ((name, value) for name, value in told.items() if name != "body")


def _check_value(name: str, value: str, *, overflow: Literal["comment", "refuse"]) -> Refusal | None:
    if not value.strip():
        return Refusal(f"{name} is empty", name, CLOSED.get(name, ()))
    if name in CLOSED and value not in CLOSED[name]:
        return Refusal(f"{name} cannot be {value[:80]!r}", name, CLOSED[name])
    if name in _NAMES and not identity(value):
        return Refusal(f"{name} {value[:80]!r} names nothing", name)
    limit = LIMITS.get(name)
    refusal = _check_text(name, value, limit=SHORT if limit is None else LONGEST, single=limit is None)
    if refusal is None and limit is not None and overflow == "refuse" and written_length(value) > limit:
        return _too_long(name, written_length(value), limit)
    if refusal is None and name == "cis" and not all(item.strip() for item in value.split(",")):
        return Refusal("cis names an item that is empty", name)
    return refusal


def _check_text(name: str, value: str, *, limit: int, single: bool = False) -> Refusal | None:
    """Why that text cannot be sent at all; one of a `single` line has no line breaks either."""
    if len(value) > limit:
        return _too_long(name, len(value), limit)
    allowed = frozenset[str]() if single else _ALLOWED_CONTROLS
    for letter in value:
        if unicodedata.category(letter) in _UNREADABLE and letter not in allowed:
            return Refusal(f"{name} has the control character U+{ord(letter):04X}", name)
    return None


def _too_long(name: str, length: int, limit: int) -> Refusal:
    return Refusal(f"{name} has {length} characters, {limit} at most", name)


def _check_scheme(kind: CommandKind, fields: Mapping[str, str]) -> Refusal | None:
    """A ticket has a priority, or an impact and an urgency, never both (R86, R91)."""
    graded = [name for name in ("impact", "urgency") if name in fields]
    if "priority" in fields and graded:
        return Refusal(f"either priority, or impact and urgency: not {graded[0]} beside priority", graded[0])
    if kind is CommandKind.CREATE and len(graded) == 1:
        missing = "urgency" if graded == ["impact"] else "impact"
        return Refusal(f"{graded[0]} goes with {missing}", missing, CLOSED[missing])
    return None
