"""Templates of texts: `[{ticketNumber}] {shortDescription|first:80}`. No expressions and no code, read once."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from datetime import tzinfo
from typing import Final

from msgspec import Struct

from ecproc.domain.texts import cut_text
from ecproc.mapping.words import show_time

_PIECE: Final = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")
_FIELD: Final = re.compile(r"([A-Za-z_][A-Za-z0-9_.]{0,99})(?:\|(date|first:([1-9][0-9]{0,5})))?")
_HELP: Final = "{field}, {field|date} or {field|first:80}; {{ and }} are braces"


class BadTemplate(ValueError):
    """Why a text is no template."""

    help = _HELP


class Slot(Struct, frozen=True):
    """A place that a field's value is put in: whole, as a time, or its `first` characters."""

    field: str
    date: bool = False
    first: int = 0

    def render(self, text: str, zone: tzinfo | None) -> str:
        """What stands there for that value; what is no time stays as it came."""
        if self.date:
            return show_time(text, zone) or text
        return cut_text(text, self.first) if self.first else text


class Template(Struct, frozen=True):
    """Texts and slots in turn."""

    parts: tuple[str | Slot, ...]

    @property
    def fields(self) -> tuple[str, ...]:
        """The fields it needs, each once."""
        return tuple(dict.fromkeys(part.field for part in self.parts if isinstance(part, Slot)))

    def render(self, values: Mapping[str, str], zone: tzinfo | None = None) -> str:
        """The text for these values; an absent field is empty."""
        return "".join(
            part if isinstance(part, str) else part.render(values.get(part.field, ""), zone) for part in self.parts
        )

    def take_out(self, field: str, text: str, known: Mapping[str, str], zone: tzinfo | None = None) -> str:
        """The field's value in a text that this template made of it and the `known` fields; the text as it is where it
        is not of that form."""
        at = [place for place, part in enumerate(self.parts) if isinstance(part, Slot) and part.field == field]
        if len(at) != 1 or self.parts[at[0]] != Slot(field) or not {*self.fields} - {field} <= known.keys():
            return text
        before = Template(self.parts[: at[0]]).render(known, zone)
        after = Template(self.parts[at[0] + 1 :]).render(known, zone)
        if len(text) < len(before) + len(after) or not (text.startswith(before) and text.endswith(after)):
            return text
        return text[len(before) : len(text) - len(after)]


def read_template(text: str, check: Callable[[str], None] = lambda name: None) -> Template:
    """The template that a text means; `check` is told each field. Raises BadTemplate."""
    parts: list[str | Slot] = []
    for part in _read_parts(text):
        if isinstance(part, Slot):
            check(part.field)
            parts.append(part)
        elif parts and isinstance(parts[-1], str):
            parts[-1] += part
        elif part:
            parts.append(part)
    return Template(tuple(parts))


def _read_parts(text: str) -> Iterator[str | Slot]:
    at = 0
    for match in _PIECE.finditer(text):
        yield text[at : match.start()]
        at = match.end()
        if match[0] in ("{{", "}}"):
            yield match[0][0]
        elif match[1] is None:
            raise BadTemplate(f"a single {match[0]} means nothing")
        elif (slot := _FIELD.fullmatch(match[1])) is None:
            raise BadTemplate(f"{match[0]!r} is no field of a template")
        else:
            yield Slot(slot[1], date=slot[2] == "date", first=int(slot[3] or 0))
    yield text[at:]
