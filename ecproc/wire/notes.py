"""A message's notes, in each of the shapes in which ServiceNow hands comments out (R65)."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, Final

from ecproc.domain.anomalies import Anomaly
from ecproc.domain.events import Note, Remark
from ecproc.domain.ids import identity
from ecproc.wire.lenient import SHOWN, TooMuch, fold_names, open_text
from ecproc.wire.members import read_text

_IDS: Final = ("id", "sysid", "noteid", "commentid")
_BODIES: Final = ("body", "value", "text", "comment", "comments", "note", "message", "displayvalue")
_AUTHORS: Final = ("commenter", "author", "name", "createdby", "syscreatedby")
_EMAILS: Final = ("commenteremail", "email")
_COMMENTS: Final = frozenset({"", "comment", "comments", "additional comments", "note", "notes"})
_ENTRY: Final = re.compile(
    r"^(\d[\d/.-]{7,9}[ T]\d{1,2}:\d\d:\d\d) - (?>(.{0,400}) \()([^()\n]*)\)[ \t]*\r?$", re.MULTILINE
)
"""The head of an entry in a journal field's text: time, author, (Comments) or (Work notes)."""


def read_notes(value: Any, message_id: str, remarks: list[Remark], *, most: int | None = None) -> tuple[Note, ...]:
    """One note or several; one without an id is known by its message. What is no note is remarked. Raises TooMuch where
    there are more than `most`."""
    notes = tuple(islice(_read_any(value, message_id, remarks), None if most is None else most + 1))
    if most is not None and len(notes) > most:
        raise TooMuch(f"more than {most} notes")
    return notes


def _read_any(value: Any, message_id: str, remarks: list[Remark]) -> Iterator[Note]:
    match value:
        case None:
            return
        case str():
            yield from _read_text_notes(value, message_id, remarks)
        case list():
            for index, item in enumerate(value):
                yield from _read_item(item, f"{message_id}:{index}", remarks)
        case dict() if len(value) == 1 and (inner := _unwrap(value)) is not None:
            yield from _read_any(inner, message_id, remarks)
        case dict() if _is_by_id(value):
            for key, item in value.items():
                yield from _read_item(item, key, remarks)
        case _:
            yield from _read_item(value, f"{message_id}:0", remarks)


def _unwrap(value: Mapping[str, Any]) -> list[Any] | None:
    """The list in an object that holds nothing else, as XML is made into JSON."""
    (inner,) = value.values()
    return inner if isinstance(inner, list) else None


def _is_by_id(value: Mapping[str, Any]) -> bool:
    """Whether these are notes under their ids, as the guide's GET answers them (R125)."""
    return bool(value) and all(isinstance(item, dict) for item in value.values())


def _read_text_notes(text: str, message_id: str, remarks: list[Remark]) -> Iterator[Note]:
    opened = open_text(text.strip())
    if opened is not None:
        yield from _read_any(opened, message_id, remarks)
        return
    entries = _ENTRY.finditer(text)
    entry = next(entries, None)
    before = text[: entry.start()].rstrip() if entry else text
    if before.strip():
        yield Note(id=f"{message_id}:0", body=before, author="", email="")
    while entry is not None:
        after = next(entries, None)
        end = after.start() if after else len(text)
        yield _read_entry(entry, text[entry.end() : end].strip(), remarks)
        entry = after


def _read_entry(entry: re.Match[str], body: str, remarks: list[Remark]) -> Note:
    """One entry of a journal, known by what it says: later messages repeat it."""
    at, author, kind = entry.groups()
    _check_kind(kind, remarks)
    digest = hashlib.sha256("\0".join((at, author, body)).encode()).hexdigest()
    return Note(id=f"journal-{digest[:32]}", body=body, author=author, email="")


def _read_item(item: Any, fallback: str, remarks: list[Remark]) -> Iterator[Note]:
    if isinstance(item, str) and item.strip():
        yield Note(id=fallback, body=item, author="", email="")
        return
    if not isinstance(item, dict) or not item:
        remarks.append(Remark(Anomaly.UNREADABLE_PART, f"a note is {_name_shape(item)}"))
        return
    members = fold_names(item)
    _check_kind(_pick("type", members, ("type", "element"), remarks), remarks)
    body = _pick("a note's body", members, _BODIES, remarks)
    if not body:
        remarks.append(Remark(Anomaly.UNREADABLE_PART, "a note has no body"))
    yield Note(
        id=identity(_pick("a note's id", members, _IDS, remarks)) or fallback,
        body=body,
        author=_pick("a note's author", members, _AUTHORS, remarks),
        email=_pick("a note's email", members, _EMAILS, remarks),
    )


def _pick(what: str, members: Mapping[str, Any], names: Sequence[str], remarks: list[Remark]) -> str:
    for name in names:
        if name in members and (text := read_text(what, members[name], remarks)):
            return text
    return ""


def _check_kind(kind: str, remarks: list[Remark]) -> None:
    if kind.strip().lower() not in _COMMENTS:
        remarks.append(Remark(Anomaly.UNKNOWN_VALUE, f"note type {kind[:SHOWN]!r}"))


def _name_shape(item: Any) -> str:
    return "empty" if item in (None, "", {}, []) else type(item).__name__
