"""A message's notes, in each of the shapes in which ServiceNow hands comments out (R65)."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from ecproc.domain.anomalies import Anomaly
from ecproc.domain.events import Note, Remark
from ecproc.domain.ids import identity
from ecproc.wire.lenient import SHOWN, fold_names, open_text
from ecproc.wire.members import known_time, read_text

MOST_NOTES: Final = 400
"""Notes of a message that are read, the newest: each of them takes its own row, effect and entry."""

_IDS: Final = ("id", "sysid", "noteid", "commentid")
_BODIES: Final = ("body", "value", "text", "comment", "comments", "note", "message", "displayvalue")
_AUTHORS: Final = ("commenter", "author", "name", "createdby", "syscreatedby")
_TIMES: Final = ("syscreatedon", "createdon", "createdat", "created", "time", "date")
_EMAILS: Final = ("commenteremail", "email")
_COMMENTS: Final = frozenset({"", "comment", "comments", "additional comments", "note", "notes"})
_ENTRY: Final = re.compile(
    r"\n(\d[\d/.-]{7,9}[ T]\d{1,2}:\d\d:\d\d) - (?>(.{0,400}) \()([^()\n]*)\)[ \t]*\r?$", re.MULTILINE
)
"""The line that begins an entry in a journal field's text: time, author, (Comments) or (Work notes)."""


def read_notes(value: Any, message_id: str, remarks: list[Remark]) -> tuple[Note, ...]:
    """One note or several, the newest MOST_NOTES of them; one without an id is known by its message. What is no note is
    remarked, and how many more there are."""
    return tuple(_read_any(value, message_id, remarks))


def _read_any(value: Any, message_id: str, remarks: list[Remark]) -> Iterator[Note]:
    match value:
        case None:
            return
        case str():
            yield from _read_text_notes(value, message_id, remarks)
        case list():
            for index in _choose_items(value, remarks):
                yield from _read_item(value[index], f"{message_id}:{index}", remarks)
        case dict() if len(value) == 1 and (inner := _unwrap(value)) is not None:
            yield from _read_any(inner, message_id, remarks)
        case dict() if _is_by_id(value):
            keys = list(value)
            for index in _choose_items(list(value.values()), remarks):
                yield from _read_item(value[keys[index]], keys[index], remarks)
        case _:
            yield from _read_item(value, f"{message_id}:0", remarks)


def _choose(times: Sequence[str], remarks: list[Remark], *, falling: bool) -> range:
    """Which of the notes are read: the first of those that begin with the newest, else the last; `falling` says which
    it is where the times do not."""
    count = len(times)
    if count <= MOST_NOTES:
        return range(count)
    remarks.append(Remark(Anomaly.UNREADABLE_PART, f"{count - MOST_NOTES} more notes: too many to be read"))
    first, last = known_time(times[0]), known_time(times[-1])
    if first is not None and last is not None and first != last:
        falling = first > last
    return range(MOST_NOTES) if falling else range(count - MOST_NOTES, count)


def _choose_items(items: Sequence[Any], remarks: list[Remark]) -> range:
    """Which of a list's notes are read; only a long list is looked at."""
    if len(items) <= MOST_NOTES:
        return range(len(items))
    ends = [_written(items[0]), *[""] * (len(items) - 2), _written(items[-1])]
    return _choose(ends, remarks, falling=False)


def _written(item: Any) -> str:
    """When a note was written, where it says so."""
    members = fold_names(item) if isinstance(item, dict) else {}
    return next((text for name in _TIMES if isinstance(text := members.get(name), str)), "")


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
    text = f"\n{text}"
    entries = list(_ENTRY.finditer(text))
    before = text[: entries[0].start()].rstrip() if entries else text
    if before.strip():
        yield Note(id=f"{message_id}:0", body=before[1:], author="", email="")
    ends = [entry.start() for entry in entries[1:]] + [len(text)]
    for index in _choose([entry[1] for entry in entries], remarks, falling=True):
        yield _read_entry(entries[index], text[entries[index].end() : ends[index]].strip(), remarks)


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
