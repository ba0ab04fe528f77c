"""Whether what goes to the desk comes back as it went: from the guide's words over the desk's to the guide's again.

It is asked of the sources: two words that become one at the desk come back as one of them, and the other is lost.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from ecproc.mapping import guide
from ecproc.mapping.findings import Finding, ProofCheck, ask_near, report_error, report_warning
from ecproc.mapping.rules import Direction, How, Rule
from ecproc.mapping.tables import Mapping

_LISTED: Final = ("status", "priority", "statusNextAction")
"""Fields of whose words it is told which ones become one, also where the desk does not send them back."""
_COMPARED: Final = (*_LISTED, "group")


class _Way(NamedTuple):
    """A field of the guide's, as it goes to the desk and comes back in tickets of a type."""

    mapping: Mapping
    ticket_type: str
    field: str


def check_inverse(mapping: Mapping) -> Iterator[Finding]:
    """The words that do not come back, and what of `lossy` is none."""
    seen: set[str] = set()
    for ticket_type in guide.TYPES:
        for field in _COMPARED:
            way = _Way(mapping, ticket_type, field)
            rules = _list_rules(way)
            words = _list_words(way, rules)
            seen |= {form for word in words for form in _forms(way, word)}
            back = _find_back(way)
            if rules and back is not None:
                yield from _check_way_back(way, rules[0], back, words)
            elif field in _LISTED:
                for rule in rules:
                    yield from _check_collisions(way, rule, words)
    for word in sorted(mapping.lossy - seen):
        text = f"lossy names {word!r}, which no rule sends to the desk"
        yield report_error(ProofCheck.INVERSE, mapping.places.get("lossy", ""), text, ask_near(word, seen))


def _list_rules(way: _Way) -> list[Rule]:
    """The rules that send the field alone to the desk."""
    chains = way.mapping.chains.get((Direction.TO_DESK, way.ticket_type), {})
    names = guide.alias_names((way.field,))
    return [rule for chain in chains.values() for rule in chain if len(rule.sources) == 1 and rule.sources[0] in names]


def _list_words(way: _Way, rules: Sequence[Rule]) -> Sequence[str]:
    """The words that are sent to the desk: the guide's, else those of the tables."""
    if not rules:
        return ()
    words = guide.list_words(way.ticket_type, way.field)
    return words if words is not None else sorted({key for rule in rules for key in rule.rows if key})


def _find_back(way: _Way) -> Rule | None:
    """The rule that makes the field of what the desk has."""
    chains = way.mapping.chains.get((Direction.FROM_DESK, way.ticket_type), {})
    chain = next((chains[name] for name in sorted(guide.alias_names((way.field,))) if name in chains), ())
    return next((rule for rule in chain if rule.how is not How.CONST), None)


def _check_way_back(way: _Way, rule: Rule, back: Rule, words: Sequence[str]) -> Iterator[Finding]:
    """Send each word there and back."""
    became: dict[str, list[str]] = {}
    returned: dict[str, str] = {}
    for word in words:
        sent = way.mapping.to_desk(way.ticket_type, {way.field: word}, changed=None).fields
        record = {**dict.fromkeys((*back.reads, *back.condition_keys), ""), **sent}
        view = way.mapping.from_desk(way.ticket_type, record).view
        became.setdefault("/".join(sent.get(name, "") for name in back.reads), []).append(word)
        returned[word] = view[back.field][1] if back.field in view else ""
    for image, sources in became.items():
        lost = [word for word in sources if not _is_same(way.field, returned[word], word)]
        yield from _tell(way, rule, image=image, sources=sources, lost=lost, chosen=returned[sources[0]])


def _check_collisions(way: _Way, rule: Rule, words: Sequence[str]) -> Iterator[Finding]:
    """Where nothing comes back, the first word of the guide's list stands for those that became one."""
    became: dict[str, list[str]] = {}
    for word in words:
        image = rule.evaluate(guide.complete(way.ticket_type, {way.field: word})).value
        if rule.how is How.MAP and image is not None:
            became.setdefault(image, []).append(word)
    for image, sources in became.items():
        yield from _tell(way, rule, image=image, sources=sources, lost=sources[1:], chosen=sources[0])


def _tell(
    way: _Way, rule: Rule, *, image: str, sources: Sequence[str], lost: Sequence[str], chosen: str
) -> Iterator[Finding]:
    """What is lost of the sources that became one image, without what may be."""
    unsaid = [word for word in lost if way.mapping.lossy.isdisjoint(_forms(way, word))]
    if not unsaid:
        return
    become = "becomes" if len(sources) == 1 else "both become" if len(sources) == 2 else "all become"
    end = f"which comes back as {chosen!r}" if chosen else "which does not come back"
    text = f"{rule.name}: {' and '.join(map(repr, sources))} {become} {image!r}, {end}"
    named = ", ".join(f'"{word}"' for word in unsaid)
    place = rule.places.get(f"map.{unsaid[0]}", rule.place_of("map"))
    report = report_error if way.mapping.strict_inverse else report_warning
    yield report(ProofCheck.INVERSE, place, text, f"lossy = [{named}] accepts it")


def _forms(way: _Way, word: str) -> tuple[str, ...]:
    """What `lossy` may call a word: itself, or with type and field in front."""
    names = sorted(guide.alias_names((way.field,)))
    return (word, *(f"{way.ticket_type}.{name}.{word}" for name in names))


def _is_same(field: str, one: str, other: str) -> bool:
    return guide.fold_guide_word(field, one) == guide.fold_guide_word(field, other)
