"""Random mappings, and whether one misses a value: found out by trying every one that could come."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from random import Random
from typing import Final

from ecproc.errors import Severity
from ecproc.mapping import Mapping as Tables
from ecproc.mapping import ProofCheck, load_mapping, prove

GUIDE: Final[Mapping[str, Mapping[str, Sequence[str]]]] = {
    "incident": {
        "status": ("open", "workinprogress", "pending", "resolved", "closed", "cancelled"),
        "priority": ("1", "2", "3", "4"),
        "closeCode": ("resolved", "unresolved", "cancelled", "resolved*", "unresolved*"),
        "statusNextAction": ("pending-client", "pending-vendor", "pending-change", "pending-caller"),
    },
    "change": {
        "status": ("New", "Assess", "Authorize", "Scheduled", "Implement", "Review", "Closed", "Cancelled"),
        "priority": ("1", "2", "3", "4"),
        "type": ("Normal", "Standard", "Emergency"),
        "closeCode": (*("Successful", "Successful with issues", "Successful Outside Change Window", "Unsuccessful"),),
    },
}
"""The guide's lists once more, as a person reads them there."""
TYPES: Final = {"incident": "Incident", "request": "Request", "change": "Change"}
DESK: Final = {"d_state": ("1", "2", "3"), "d_hold": ("a", "b"), "d_grade": ("1", "2", "3", "4")}
UNLISTED: Final = "unlisted"
STARRED: Final = {"closeCode": ("resolvedbutodd", "unresolvedbutodd")}
"""What else a condition matches that names a starred word: there the star stands for anything."""
GROUPS: Final = ("Net", "Netqq", "qq")
TARGETS: Final = {"status": GUIDE["incident"]["status"], "priority": GUIDE["incident"]["priority"], "group": ("x", "y")}
CHECKED: Final = frozenset({ProofCheck.TOTALITY, ProofCheck.OPEN})


def guide_words(ticket_type: str, name: str) -> Sequence[str] | None:
    """The guide's list of a field, None where it has none."""
    return GUIDE["change" if ticket_type == "change" else "incident"].get(name)


class Maker:
    """Makes mappings out of one seed."""

    def __init__(self, seed: int) -> None:
        self._random = Random(seed)
        self.choices = {
            ticket_type: {name: words for name, words in DESK.items() if self._random.random() < 0.7}
            for ticket_type in TYPES
        }

    def make(self) -> str:
        """The text of a mapping."""
        lines = ["version = 1", 'desk = "any"']
        for ticket_type, lists in self.choices.items():
            if lists:
                lines += [f"[choices.{ticket_type}]", *(f"{name} = {_table(lists[name])}" for name in lists)]
        for _ in range(self._random.randint(1, 4)):
            lines += self._make_rule(self._random.choice(["to_desk", "from_desk"]))
        return "\n".join(lines)

    def _make_rule(self, direction: str) -> Iterator[str]:
        some = self._random
        written = some.choice([*TYPES, "any"])
        concrete = "change" if written == "change" else "incident"
        to_desk = direction == "to_desk"
        field = some.choice([*DESK, "d_free"] if to_desk else [*TARGETS])
        sources = some.sample([*GUIDE[concrete], "group"] if to_desk else [*DESK], some.choice([1, 1, 1, 2]))
        yield f"[[{direction}]]"
        yield f'type = "{written}"\nfield = "{field}"'
        how = some.choice(["map", "map", "map", "map", "copy", "const"])
        if how == "const":
            yield 'const = "1"'
        else:
            sources = sources if how == "map" else sources[:1]
            yield f"from = {json.dumps(sources)}"
            yield f"map = {self._make_rows(written, field, sources)}" if how == "map" else "copy = true"
            if some.random() < 0.4:
                yield 'default = "3"'
        if some.random() < 0.4:
            yield f"only_if = {self._make_condition(concrete, sources, to_desk=to_desk)}"

    def _make_rows(self, written: str, field: str, sources: Sequence[str]) -> str:
        some, keep = self._random, self._random.choice([0.9, 1.0, 1.0])
        types = [*TYPES] if written == "any" else [written]
        keys: list[str] = []
        for ticket_type in types:
            lists = [
                guide_words(ticket_type, name) or DESK.get(name) or GROUPS[: some.randint(1, 3)] for name in sources
            ]
            keys += ["/".join(parts) for parts in product(*lists)]
        keys = [*{key.lower(): key for key in keys}.values()]
        rows = {key: some.choice(TARGETS.get(field, ("1", "2"))) for key in keys if some.random() < keep}
        spelled = {some.choice([key, key.upper()]): image for key, image in rows.items()}
        return "{ " + ", ".join(f"{json.dumps(key)} = {json.dumps(image)}" for key, image in spelled.items()) + " }"

    def _make_condition(self, concrete: str, sources: Sequence[str], *, to_desk: bool) -> str:
        some = self._random
        name = some.choice([*sources, "status", "group"] if to_desk else [*DESK])
        words = (guide_words(concrete, name) if to_desk else DESK.get(name)) or ("Net*", "Net", "*")
        wanted = some.sample([*words], some.randint(1, len(words)))
        condition = f"{name} = {json.dumps(wanted)}"
        return f"{{ {condition} }}" if some.random() < 0.7 else f"{{ not = {{ {condition} }} }}"


def _table(words: Sequence[str]) -> str:
    return "{ " + ", ".join(f'"{word}" = "called {word}"' for word in words) + " }"


def accepts(mapping: Tables) -> bool:
    """Whether the proof has nothing against it for want of images."""
    return not [found for found in prove(mapping) if found.check in CHECKED and found.severity is Severity.ERROR]


def is_total(mapping: Tables, maker: Maker) -> bool:
    """Whether each value that could come has an image, whatever else the ticket has."""
    return all(
        not _misses(mapping, direction, ticket_type, field, values)
        for (direction, ticket_type), chains in mapping.chains.items()
        for field, chain in chains.items()
        for values in _list_values(
            {name for rule in chain for name in (*rule.sources, *rule.condition_keys)}, direction, ticket_type, maker
        )
    )


def _list_values(names: set[str], direction: str, ticket_type: str, maker: Maker) -> Iterator[dict[str, str]]:
    ordered = sorted(names)
    lists: list[Sequence[str]] = []
    for name in ordered:
        if direction == "to_desk":
            words = guide_words(ticket_type, name)
            lists.append(
                (*GROUPS, "zz", "Netzz")
                if words is None and name == "group"
                else (*(words or ()), UNLISTED, *STARRED.get(name, ()))
            )
        else:
            listed = maker.choices[ticket_type].get(name)
            lists.append(listed if listed is not None else (*DESK.get(name, ()), UNLISTED))
    yield from (dict(zip(ordered, values, strict=True)) for values in product(*((*words, "") for words in lists)))


def _misses(mapping: Tables, direction: str, ticket_type: str, field: str, values: Mapping[str, str]) -> bool:
    if direction == "to_desk":
        out = mapping.to_desk(TYPES[ticket_type], values, changed=set(values))
        sent, unmapped = set(out.fields), out.unmapped
    else:
        heard = mapping.from_desk(TYPES[ticket_type], values)
        sent, unmapped = set(heard.view), heard.unmapped
    return field not in sent and any(one.field == field and "" not in one.value.split("/") for one in unmapped)


def compare(seed: int) -> tuple[bool, bool, str]:
    """Whether the proof accepts that seed's mapping, whether it is total, and its text."""
    maker = Maker(seed)
    text = maker.make()
    mapping = load_mapping(text, source=f"seed {seed}")
    return accepts(mapping), is_total(mapping, maker), text
