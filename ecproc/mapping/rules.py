"""One rule of a mapping: when it applies, what it reads, and what it makes of that."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import tzinfo
from enum import StrEnum
from typing import Final, NamedTuple

import msgspec

from ecproc.mapping.guide import concrete_types, fold_guide_word
from ecproc.mapping.predicates import Predicate, fold_word
from ecproc.mapping.templates import Template
from ecproc.mapping.words import read_time, show_time, split_list, unescape

EVERY: Final = "*"
"""The field of a rule that copies whatever no other rule names."""
BETWEEN: Final = "/"
"""What joins the values of several sources to the key of a table."""


class Direction(StrEnum):
    """Which way a rule goes."""

    TO_DESK = "to_desk"
    FROM_DESK = "from_desk"


class How(StrEnum):
    """What a rule's right-hand side is."""

    MAP = "map"
    COPY = "copy"
    CONST = "const"
    TEMPLATE = "template"
    REFERENCE = "reference"


class Image(NamedTuple):
    """What a rule makes of a value: None where it sends nothing. `default`: no row of its own led to it; `unmapped` are
    the values that had none although they said something, `shown` what the value was."""

    value: str | None
    shown: str
    default: bool = False
    unmapped: tuple[str, ...] = ()


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """A field of the other side, and where its value comes from.

    `rows` is its table under the keys as written, `default` what is used without a row. `places` says for the keys of
    the rule, such as `map.cancelled`, at which `file:line` they stand; `place` is that of its header.
    """

    name: str
    direction: Direction
    type: str
    field: str
    how: How
    place: str
    places: Mapping[str, str] = {}
    sources: tuple[str, ...] = ()
    rows: Mapping[str, str] = {}
    const: str = ""
    template: Template = Template(())
    default: str | None = None
    refuse: tuple[str, ...] = ()
    only_if: Predicate | None = None
    reference: str = ""
    max: int = 0
    overflow: str = "comment"
    report_unmapped: bool = False
    unescape: bool = False
    split: str = ""
    join: str | None = None
    zone: tzinfo | None = None
    folded: Mapping[str, str] = {}
    """The rows again, under the keys as they are compared."""

    @property
    def reads(self) -> tuple[str, ...]:
        """The fields that its value is made of."""
        return self.template.fields if self.how is How.TEMPLATE else self.sources

    @property
    def types(self) -> Iterable[str]:
        """The ticket types it is for."""
        return concrete_types(self.type)

    @property
    def condition_keys(self) -> frozenset[str]:
        """The fields that decide whether it applies."""
        return self.only_if.keys if self.only_if is not None else frozenset()

    def place_of(self, key: str) -> str:
        """Where a key of the rule stands, else its header."""
        return self.places.get(key, self.place)

    def applies(self, values: Mapping[str, str]) -> bool:
        """Whether its condition holds."""
        return self.only_if is None or self.only_if.holds(values)

    def evaluate(
        self,
        values: Mapping[str, str],
        *,
        listed: Sequence[str] | None = None,
        names: Mapping[str, Mapping[str, str]] | None = None,
    ) -> Image:
        """What it makes of these fields. `listed` are the words that its own field takes, None for any text; `names`
        has for each kind of reference the name of an id."""
        if self.how is How.CONST:
            return Image(self.const, "")
        if self.how is How.TEMPLATE:
            told = {name: self._undo(values.get(name, "")) for name in self.template.fields}
            return Image(self.template.render(told, self.zone), BETWEEN.join(told.values()))
        texts = [self._undo(values.get(name, "")) for name in self.sources]
        shown = BETWEEN.join(texts)
        if not any(text.strip() for text in texts) and "" not in self.rows:
            return Image(self.default or "", shown, default=self.default is not None)
        if self.split:
            return self._evaluate_list(shown, listed, names)
        return self._find(texts, shown, listed, names)

    def _undo(self, text: str) -> str:
        return unescape(text) if self.unescape else text

    def _evaluate_list(
        self, text: str, listed: Sequence[str] | None, names: Mapping[str, Mapping[str, str]] | None
    ) -> Image:
        """Each item on its own: the first one, or all of them with `join` between."""
        items = split_list(text, self.split)
        taken = items if self.join is not None else items[:1]
        found = [self._find([item], item, listed, names) for item in taken]
        values = dict.fromkeys(image.value for image in found if image.value)
        unmapped = tuple(value for image in found for value in image.unmapped)
        return Image((self.join or "").join(values), text, any(image.default for image in found), unmapped)

    def _find(
        self,
        texts: Sequence[str],
        shown: str,
        listed: Sequence[str] | None,
        names: Mapping[str, Mapping[str, str]] | None,
    ) -> Image:
        if self.direction is Direction.FROM_DESK and self.reference and names and self.reference in names:
            named = names[self.reference].get(texts[0])
            if named is None:
                return self._miss(shown)
            texts = [named]
        if self.how is How.MAP:
            return self._look_up(texts, shown)
        value = texts[0]
        if listed is not None:
            known = {fold_guide_word(self.field, word): word for word in listed}
            word = known.get(fold_guide_word(self.field, value))
            return self._miss(shown) if word is None else Image(word, shown)
        return self._tell_time(value, shown) if self.zone is not None else Image(value, shown)

    def _look_up(self, texts: Sequence[str], shown: str) -> Image:
        # A value with the separator in it could be taken for two.
        if len(texts) > 1 and any(BETWEEN in text for text in texts):
            return self._miss(shown)
        if (exact := BETWEEN.join(text.strip() for text in texts)) in self.rows:
            return Image(self.rows[exact], shown)
        for key in self._list_keys(texts):
            if key in self.folded:
                return Image(self.folded[key], shown)
            if key in {self.fold(item) for item in self.refuse}:
                return Image(None, shown)
        return self._miss(shown)

    def _list_keys(self, texts: Sequence[str]) -> Iterable[str]:
        """The keys that the values may stand under; a close code's star means nothing where it has no row (C9)."""
        key = self.fold(BETWEEN.join(texts))
        yield key
        if self.sources == ("closeCode",) and key.endswith("*"):
            yield key.rstrip("*")

    def _tell_time(self, value: str, shown: str) -> Image:
        if self.zone is None:
            return Image(value, shown)
        if self.direction is Direction.TO_DESK:
            local = show_time(value, self.zone)
            return Image(local, shown) if local is not None else Image(value, shown, unmapped=(value,))
        moved = read_time(value, self.zone)
        if moved is None:  # what is no time goes on as it came, and is told (R55)
            return Image(value, shown, unmapped=(value,))
        return Image(moved.text, shown, unmapped=(value,) if moved.doubt else ())

    def _miss(self, shown: str) -> Image:
        """A value without a row: the default is used, and that is told."""
        return Image(self.default, shown, self.default is not None, (shown,))

    def fold(self, key: str) -> str:
        """A key of its table, or values that were joined to one, as they are compared."""
        return BETWEEN.join(map(self._folding, self.sources, key.split(BETWEEN))) if self._is_joined else self._one(key)

    @property
    def _is_joined(self) -> bool:
        return len(self.sources) > 1

    def _one(self, key: str) -> str:
        return self._folding(self.sources[0], key) if self.sources else fold_word(key)

    def _folding(self, source: str, text: str) -> str:
        return fold_guide_word(source, text) if self.direction is Direction.TO_DESK else fold_word(text)


def fold_rows(rows: Mapping[str, str], fold: Callable[[str], str]) -> tuple[dict[str, str], list[str]]:
    """The rows under their keys as they are compared, and the keys that are another one with another image. Such rows
    are not found but by their exact spelling."""
    folded: dict[str, str] = {}
    differing: dict[str, str] = {}
    for key, value in rows.items():
        word = fold(key)
        if folded.setdefault(word, value) != value:
            differing[word] = key
    return {word: value for word, value in folded.items() if word not in differing}, [*differing.values()]
