"""What Ensono's notes look like at the desk, and how one of ours is known again. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from hashlib import sha256
from typing import Final

from ecproc.desk.base import DeskCall

_FITS: Final = re.compile(r"[A-Za-z0-9:._|-]{1,120}")
_MARKUP: Final = re.compile(r"\[(/?code\])", re.IGNORECASE)
_SPLIT: Final = "[\u200b\\1"
"""Behind its bracket a character that nobody sees."""
_LONGEST_SHOWN: Final = 80


def write_marker(call: DeskCall) -> str:
    """The last line of a note: what it is known again by. A note has its own number, anything else its key."""
    name = call.key.removeprefix(f"note:{call.ticket}:")
    if not _FITS.fullmatch(name):
        name = sha256(call.key.encode(errors="surrogatepass")).hexdigest()[:32]
    return f"[Ensono note {name}]"


def write_note(text: str, marker: str) -> str:
    """The text as a journal takes it. `[code]` would make markup of it: it stays visible."""
    return f"{_MARKUP.sub(_SPLIT, text).rstrip()}\n{marker}"


def has_marker(entry: str, marker: str) -> bool:
    """Whether a journal's entry is the note of that marker: its last line is, whole. A text in it may hold any."""
    lines = entry.rstrip().splitlines()
    return bool(lines) and lines[-1].strip() == marker


def names_marker(journal: str, marker: str) -> bool:
    """Whether a journal that is given as one text has that note: one line is its marker."""
    return any(line.strip() == marker for line in journal.splitlines())


def write_comment(fields: Mapping[str, str]) -> str:
    """A note of Ensono's with whoever wrote it."""
    author = " ".join(part for part in (fields.get("author", ""), _angle(fields.get("email", ""))) if part)
    body = fields.get("body", "")
    return f"{author}:\n{body}" if author else body


def write_empty_file(name: str) -> str:
    """What stands for a file that has no bytes, which no record takes."""
    return f"The file {shorten(name)!r} came from Ensono without any content, and is not attached."


def write_approval(fields: Mapping[str, str]) -> str:
    """What an approval is asked for with where no record of its own does."""
    who = " ".join(part for part in (fields.get("approverName", ""), _angle(fields.get("approverEmail", ""))) if part)
    return f"Ensono asks for an approval ({fields.get('approvalState', '')}): {who or 'nobody is named'}"


def write_hold(fields: Mapping[str, str]) -> str:
    """Why a ticket waits, for instances that ask for a comment then."""
    action = fields.get("statusNextAction", "")
    return f"Ensono waits: {action}" if action else "Ensono waits."


def join_texts(texts: Iterable[str]) -> str:
    """Several texts as one note."""
    return "\n\n".join(text for text in texts if text)


def shorten(text: str) -> str:
    """So much of a text as a remark shows."""
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}…"


def _angle(email: str) -> str:
    return f"<{email}>" if email else ""
