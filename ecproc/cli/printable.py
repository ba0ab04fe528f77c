"""What stands between a text and a screen: lines stay lines, and nothing in it acts on a terminal."""

from __future__ import annotations


def printable(text: str) -> str:
    """The text as a terminal may show it: what acts on one or hides is written out, line breaks and tabs stay."""
    return text if text.isprintable() else "".join(map(_show, text.replace("\r\n", "\n")))


def printable_line(text: str) -> str:
    """The same on one line, however many it had: nothing from outside begins a line of ours."""
    return text if text.isprintable() else "".join(map(_write_out, text))


def _show(character: str) -> str:
    return character if character in "\n\t" else _write_out(character)


def _write_out(character: str) -> str:
    return character if character.isprintable() else character.encode("unicode_escape").decode("ascii")
