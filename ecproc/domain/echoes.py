"""Our own changes as they come back: Ensono tells the queue of every change, ours too, and ours is no news (R215).

Each call of a command leaves a print of what it told: digests of its fields' values, the state it asked for, its
comments. A message that is sent while the print is fresh repeats it where a field changed to that very value, the
ticket moved to that very state, or a note has those very words, white space aside, followed by nothing but the
signature that Ensono appends (R115). Such a part is folded as any other and shown, and nobody is told at the desk;
whatever else the message brings is.

A print is fresh from the acceptance of its command, for the message may overtake the answer, until an hour after the
call was last heard of; the clocks of both sides may differ by five minutes. A call that came to a bad end left nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec

from ecproc.domain.commands import Comment
from ecproc.domain.deltas import CommandCall, Delta, Echoed, FieldsChanged, Moved, NoteAdded
from ecproc.domain.events import Message
from ecproc.domain.ids import EffectKey
from ecproc.domain.state import Commands, NotePrint, Print, digest

ECHO_WINDOW: Final = 60 * 60 * 1_000_000
"""Microseconds after the last word of a call in which what it told counts as its echo."""
CLOCK_SKEW: Final = 5 * 60 * 1_000_000
"""Microseconds by which Ensono's clock may be behind ours."""

_MOST: Final = 256
"""Prints that are kept at once; the oldest go first."""
_LABELS: Final = frozenset(
    {"by", "comment", "commenter", "date", "e", "email", "from", "mail", "name", "phone", "time"}
)
"""Words with which a signature may be introduced."""


_UNTOLD: Final = frozenset({"approver", "approvalid", "comment", "comments"})
"""Arguments that come back in no field."""


def remember(commands: Commands, calls: Iterable[CommandCall], at: int) -> None:
    """Keep a print of each of these calls, accepted at that time."""
    for call in calls:
        keep_print(commands, call.key, make_print(call.fields, call.comments, at))


def keep_print(commands: Commands, key: EffectKey, kept: Print) -> None:
    """Keep that print under the key of its call."""
    commands.prints.pop(key, None)
    commands.prints[key] = kept
    while len(commands.prints) > _MOST:
        del commands.prints[next(iter(commands.prints))]


def make_print(told: Mapping[str, str], comments: Sequence[Comment], at: int) -> Print:
    """The print of a call that tells these fields and comments; what only introduces them is none."""
    fields = {name: digest(_bare(value)) for name, value in told.items() if name not in _UNTOLD}
    notes = [_print_note(comment) for comment in comments]
    if told.get("comment"):
        notes.append(_print_note(Comment(told["comment"])))
    return Print(at, at, fields, tuple(notes))


def _print_note(comment: Comment) -> NotePrint:
    text = _bare(comment.body)
    return NotePrint(len(text), digest(text), tuple(map(_bare, comment.signature)))


def hear_of(commands: Commands, key: EffectKey, at: int) -> None:
    """That call was heard of at that time."""
    known = commands.prints.get(key)
    if known is not None:
        commands.prints[key] = msgspec.structs.replace(known, at=max(known.at, at))


def find_echo(commands: Commands, message: Message, deltas: Sequence[Delta]) -> list[Delta]:
    """What of these changes, which the message made, repeats what we told; prints that are over are forgotten."""
    if not commands.prints:
        return []
    for key in [key for key, known in commands.prints.items() if message.at > known.at + ECHO_WINDOW]:
        del commands.prints[key]
    fresh = [known for known in commands.prints.values() if message.at >= known.since - CLOCK_SKEW]
    fields = frozenset(name for name, value in _list_fields(deltas) if _has_field(fresh, name, value))
    moved = any(isinstance(delta, Moved) and _has_field(fresh, "status", delta.after) for delta in deltas)
    if moved:  # what a state takes with it goes with ours
        fields |= {name for name, value in _list_fields(deltas) if not value}
    notes = frozenset(
        delta.note.id for delta in deltas if isinstance(delta, NoteAdded) and _has_note(fresh, delta.note.body)
    )
    return [Echoed(fields, moved, notes)] if fields or moved or notes else []


def _list_fields(deltas: Iterable[Delta]) -> list[tuple[str, str]]:
    return [item for delta in deltas if isinstance(delta, FieldsChanged) for item in delta.fields.items()]


def _has_field(prints: Iterable[Print], name: str, value: str) -> bool:
    told = digest(_bare(value))
    return any(known.fields.get(name) == told for known in prints)


def _has_note(prints: Iterable[Print], body: str) -> bool:
    text = _bare(body)
    return any(_is_ours(text, note) for known in prints for note in known.notes)


def _is_ours(text: str, note: NotePrint) -> bool:
    if len(text) < note.length or digest(text[: note.length]) != note.text:
        return False
    rest = text[note.length :]
    if not rest:
        return True
    if not any(value in rest for value in note.signature):
        return False
    for value in note.signature:
        rest = rest.replace(value, " ")
    return all(word.lower() in _LABELS for word in re.findall(r"\w+", rest))


def _bare(text: str) -> str:
    return " ".join(text.split())
