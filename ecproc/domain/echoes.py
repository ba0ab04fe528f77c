"""Our own changes as they come back: Ensono tells the queue of every change, ours too, and ours is no news (R215).

Each call of a command leaves a print of what it told: digests of its fields' values, the state it asked for, its
comments. A message that is sent while the print is fresh repeats it where a field changed to that very value, the
ticket moved to that very state, or a note has those very words, white space aside, followed by nothing but the
signature that Ensono appends (R115). Such a part is folded as any other and shown, and nobody is told at the desk;
whatever else the message brings is.

Each part of a print is used once, by the first message that repeats it. Where a message sets a field or a state to
something else, which is told to the desk, no print of it is left: ours is news then, if it comes back.

A print is fresh from the acceptance of its command, for the message may overtake the answer, until an hour after the
call was done, however long it waits before that; the clocks of both sides may differ by five minutes. A call that came
to a bad end left nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from ecproc.domain.commands import Comment
from ecproc.domain.deltas import Delta, Echoed, FieldsChanged, Moved, NoteAdded
from ecproc.domain.events import Message
from ecproc.domain.ids import EffectKey
from ecproc.domain.state import Commands, NotePrint, Print, Unconfirmed, digest

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
    return Print(at, at, fields, notes)


def _print_note(comment: Comment) -> NotePrint:
    text = _bare(comment.body)
    return NotePrint(len(text), digest(text), tuple(map(_bare, comment.signature)))


def hear_of(commands: Commands, key: EffectKey, at: int, *, done: bool) -> None:
    """That call was heard of at that time, and may be done now."""
    known = commands.prints.get(key)
    if known is not None:
        known.at, known.done = max(known.at, at), known.done or done


def find_echo(commands: Commands, message: Message, deltas: Sequence[Delta]) -> list[Delta]:
    """What of these changes, which the message made, repeats what we told; that is used up, and prints that are over
    are forgotten."""
    if not commands.prints:
        return []
    prints = {
        key: known for key, known in commands.prints.items() if not known.done or message.at <= known.at + ECHO_WINDOW
    }
    fresh = [known for known in prints.values() if message.at >= known.since - CLOCK_SKEW]
    changed = _list_fields(deltas)
    fields = {name for name, value in changed if _use_field(fresh, prints.values(), name, value)}
    steps = [delta.after for delta in deltas if isinstance(delta, Moved)]
    moved = any([_use_field(fresh, prints.values(), "status", after) for after in steps])
    if moved:  # what a state takes with it goes with ours
        fields |= {name for name, value in changed if not value}
    notes = {delta.note.id for delta in deltas if isinstance(delta, NoteAdded) and _use_note(fresh, delta.note.body)}
    commands.prints = {key: known for key, known in prints.items() if known.fields or known.notes}
    return [Echoed(frozenset(fields), moved, frozenset(notes))] if fields or moved or notes else []


def is_shown(call: Unconfirmed, fields: Mapping[str, str], bodies: Iterable[str]) -> bool:
    """Whether any of these values, or the words of any of these notes, is what that call tells."""
    if any(call.fields.get(name) == digest(_bare(value)) for name, value in fields.items()):
        return True
    texts = [_bare(body) for body in bodies]
    return any(_is_ours(text, note) for text in texts for note in call.notes)


def _list_fields(deltas: Iterable[Delta]) -> list[tuple[str, str]]:
    return [item for delta in deltas if isinstance(delta, FieldsChanged) for item in delta.fields.items()]


def _use_field(fresh: Iterable[Print], prints: Iterable[Print], name: str, value: str) -> bool:
    """Whether one of the fresh prints set that, which it then has done. Another value is somebody else's: the desk has
    that now, and is to hear of ours when it comes back."""
    told = digest(_bare(value))
    for known in fresh:
        if known.fields.get(name) == told:
            del known.fields[name]
            return True
    for known in prints:
        known.fields.pop(name, None)
    return False


def _use_note(prints: Iterable[Print], body: str) -> bool:
    text = _bare(body)
    for known in prints:
        for note in known.notes:
            if _is_ours(text, note):
                known.notes.remove(note)
                return True
    return False


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
