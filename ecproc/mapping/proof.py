"""The proof of a mapping: that every value has an image, that every image is one, and that every rule can apply.

It knows the guide's lists and the desk's as `[choices]` tells them; nothing is asked of anybody.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from collections.abc import Mapping as MappingOf
from itertools import islice, product
from typing import Final

from ecproc.mapping import guide
from ecproc.mapping.findings import Finding, ProofCheck, ask_near, report_error, report_warning
from ecproc.mapping.inverse import check_inverse
from ecproc.mapping.predicates import are_disjoint, fold_word, implies
from ecproc.mapping.rules import BETWEEN, EVERY, Direction, How, Rule
from ecproc.mapping.tables import Mapping, with_type

_OTHER: Final = "\x00other"
"""Stands for any word beside a list."""
_MOST_COMBINED: Final = 50_000
"""Combinations of values that a rule without a default is tried with."""
_MOST_TRIED: Final = 300_000
"""Combinations that are tried in one proof."""
_MOST_NAMED: Final = 10
"""Values of one rule that are named each."""


def prove(mapping: Mapping) -> list[Finding]:
    """Everything there is to say of a mapping, in the order of its rules; without an error it may be used."""
    found: list[Finding] = []
    tries = iter(range(_MOST_TRIED))
    for rule in mapping.rules:
        found += _check_names(rule)
        found += _check_condition(mapping, rule)
        found += _check_keys(mapping, rule)
        found += _check_images(mapping, rule)
        found += _check_total(mapping, rule, tries)
    found += _check_doubles(mapping)
    found += _check_shadows(mapping)
    found += check_inverse(mapping)
    return [*dict.fromkeys(found)]


def list_source_words(mapping: Mapping, rule: Rule, ticket_type: str, name: str) -> Sequence[str] | None:
    """The words that are listed for a field that a rule reads or asks for; None where there is no list."""
    if rule.direction is Direction.TO_DESK:
        return guide.list_words(ticket_type, name)
    words = mapping.choices.get(ticket_type, {}).get(name)
    return None if words is None else tuple(words)


# --- names and conditions ---------------------------------------------------------------------------------------------


def _check_names(rule: Rule) -> Iterator[Finding]:
    if rule.field == EVERY:
        return
    if rule.direction is Direction.FROM_DESK:
        if rule.field not in guide.FIELDS:
            help_text = ask_near(rule.field, guide.FIELDS)
            yield report_error(
                ProofCheck.NAME, rule.place_of("field"), f"the guide has no field {rule.field!r}", help_text
            )
        return
    for name in rule.reads:
        if name not in guide.FIELDS:
            place = rule.place_of("from" if rule.sources else "template")
            text = f"{rule.name} reads {name!r}, which is no field of the guide's: it is empty unless Ensono adds it"
            yield report_warning(ProofCheck.NAME, place, text, ask_near(name, guide.FIELDS))


def _check_condition(mapping: Mapping, rule: Rule) -> Iterator[Finding]:
    if rule.only_if is None:
        return
    for key in sorted(rule.condition_keys - {"type"}):
        if rule.direction is Direction.TO_DESK and key not in guide.FIELDS:
            text = f"{rule.name}: only_if names {key!r}, which is no field of the guide's"
            yield report_error(ProofCheck.NEVER, rule.place_of(f"only_if.{key}"), text, ask_near(key, guide.FIELDS))
    for key, pattern, _ in rule.only_if.patterns:
        lists = [_list_condition_words(mapping, rule, ticket_type, key) for ticket_type in rule.types]
        known = {word for words in lists if words for word in words}
        if None in lists or not pattern or not known or set("*?") & set(pattern):
            continue
        if fold_word(pattern) not in {*map(fold_word, known)}:
            text = f"{rule.name}: only_if waits for {key} {pattern!r}, which is not among its words"
            yield report_error(ProofCheck.NEVER, rule.place_of(f"only_if.{key}"), text, ask_near(pattern, known))
    if not any(_can_hold(mapping, rule, ticket_type) for ticket_type in rule.types):
        yield report_error(
            ProofCheck.NEVER, rule.place_of("only_if"), f"{rule.name} can never apply: its only_if never holds"
        )


def _list_condition_words(mapping: Mapping, rule: Rule, ticket_type: str, key: str) -> Sequence[str] | None:
    if key == "type":
        return (guide.TYPES[ticket_type].value,) if rule.type != guide.ANY else tuple(guide.TYPES.values())
    return list_source_words(mapping, rule, ticket_type, key)


def _can_hold(mapping: Mapping, rule: Rule, ticket_type: str) -> bool:
    condition = rule.only_if
    if condition is None or not condition.may_hold(with_type(ticket_type, {})):
        return condition is None
    for clause in condition.clauses:
        words = list_source_words(mapping, rule, ticket_type, clause.key) if clause.key != "type" else None
        if words is not None and "" not in clause.patterns and not any(map(clause.matches, words)):
            return False
    return True


# --- tables -----------------------------------------------------------------------------------------------------------


def _check_keys(mapping: Mapping, rule: Rule) -> Iterator[Finding]:
    """Every key of a table is a word of the closed list that it is looked up by, in some type of ticket."""
    places: dict[int, set[str]] = {}
    for place, name in enumerate(rule.sources):
        lists = [list_source_words(mapping, rule, ticket_type, name) for ticket_type in rule.types]
        if None not in lists:
            places[place] = {word for words in lists for word in words or ()}
    for key in (*rule.rows, *rule.refuse):
        parts = key.split(BETWEEN) if len(rule.sources) > 1 else [key]
        for place, words in places.items():
            part = parts[place] if place < len(parts) else ""
            if part and rule.direction is Direction.TO_DESK:
                known = {guide.fold_guide_word(rule.sources[place], word) for word in words}
                is_known = guide.fold_guide_word(rule.sources[place], part) in known
            else:
                is_known = not part or fold_word(part) in {*map(fold_word, words)}
            if not is_known:
                where = rule.place_of(f"map.{key}" if key in rule.rows else "refuse")
                text = f"{rule.name}: {part!r} is not among the words of {rule.sources[place]}"
                yield report_error(ProofCheck.NEVER, where, text, ask_near(part, words))


def _check_images(mapping: Mapping, rule: Rule) -> Iterator[Finding]:
    """Every image is among the words that its field takes, for every type of ticket that has such a list (R104)."""
    for ticket_type in rule.types:
        words = mapping.list_targets(rule.direction, ticket_type, rule.field)
        if words is None or rule.field == EVERY:
            continue
        lists = rule.direction is Direction.FROM_DESK and rule.join is not None
        if rule.how in (How.TEMPLATE, How.REFERENCE) or lists:
            text = f"{rule.name} may yield any text, and {rule.field} takes only {', '.join(words)}"
            yield report_error(ProofCheck.IMAGE, rule.place, text, "use map, or copy with a default")
        for key, image in _list_images(rule):
            if image in words or (not image and rule.direction is Direction.TO_DESK):
                continue
            labels = mapping.choices.get(ticket_type, {}).get(rule.field, {})
            called = [word for word, label in labels.items() if fold_word(label) == fold_word(image)]
            help_text = f"did you mean {called[0]!r}?" if called else ask_near(image, words)
            text = f"{rule.name}: {image!r} is not among the words of {rule.field} ({', '.join(words)})"
            yield report_error(ProofCheck.IMAGE, rule.place_of(key), text, help_text)


def _list_images(rule: Rule) -> Iterator[tuple[str, str]]:
    """Everything that a rule names as a value of its field, and under which key."""
    yield from ((f"map.{key}", image) for key, image in rule.rows.items())
    if rule.how is How.CONST:
        yield "const", rule.const
    if rule.default is not None:
        yield "default", rule.default


# --- totality ---------------------------------------------------------------------------------------------------------


def _check_total(mapping: Mapping, rule: Rule, tries: Iterator[int]) -> Iterator[Finding]:
    if rule.field == EVERY or rule.how in (How.CONST, How.TEMPLATE):
        return
    if rule.how is How.REFERENCE:
        if rule.direction is Direction.TO_DESK and rule.default is None:
            yield _need_default(rule, rule.sources[0], "a name that the desk does not know")
        return
    for ticket_type in rule.types:
        if rule.default is not None:
            yield from _list_fallbacks(mapping, rule, ticket_type)
        else:
            yield from _list_missing(mapping, rule, ticket_type, tries=tries)


def _need_default(rule: Rule, name: str, what: str) -> Finding:
    text = f"{rule.name}: {name} is open, and there is no default for {what}"
    return report_error(ProofCheck.OPEN, rule.place_of("map"), text, 'add default = "…"')


def _list_fallbacks(mapping: Mapping, rule: Rule, ticket_type: str) -> Iterator[Finding]:
    """The listed words without a row: each becomes the default, which may not be what was meant. Of a ticket's state it
    never is: a default is for words that the guide does not list, and must not move a ticket that is at its end."""
    if rule.how is not How.MAP or len(rule.sources) > 1:
        return
    for word in list_source_words(mapping, rule, ticket_type, rule.sources[0]) or ():
        values = with_state(rule, ticket_type, {rule.sources[0]: word})
        may_apply = rule.only_if is None or rule.only_if.may_hold(with_type(ticket_type, values))
        if may_apply and rule.evaluate(values).unmapped:
            is_state = rule.direction is Direction.TO_DESK and rule.sources[0] in guide.STATE_NAMES
            name = f"{rule.direction}.{ticket_type}.{rule.field}"
            text = f"{name}: {word!r} has no image of its own, and becomes the default {rule.default!r}"
            report = report_error if is_state else report_warning
            yield report(ProofCheck.FALLBACK, rule.place_of("map"), text, f'add "{word}" = "…" to its map')


def _list_missing(mapping: Mapping, rule: Rule, ticket_type: str, *, tries: Iterator[int]) -> Iterator[Finding]:
    """The values that reach a rule without a default and have no image."""
    name = f"{rule.direction}.{ticket_type}.{rule.field}"
    listed = mapping.list_targets(rule.direction, ticket_type, rule.field)
    missing: dict[str, None] = {}
    for values in _list_reaching(mapping, rule, ticket_type, islice(tries, _MOST_COMBINED)):
        if values is None:
            text = f"{name} reads too many combinations of values to try them all"
            yield report_error(ProofCheck.TOTALITY, rule.place_of("map"), text, 'add default = "…"')
            return
        image = rule.evaluate(values, listed=listed)
        if image.value is None and image.unmapped:
            missing[BETWEEN.join(values[source] for source in rule.sources)] = None
        if len(missing) > _MOST_NAMED:
            break
    for shown in islice(missing, _MOST_NAMED):
        if _OTHER in shown:
            yield _need_default(rule, " and ".join(rule.sources), "what no list has")
        else:
            text = f"{name}: {shown!r} has no image and there is no default"
            yield report_error(
                ProofCheck.TOTALITY, rule.place_of("map"), text, f'add "{shown}" = "…" to its map, or a default'
            )


def _list_reaching(
    mapping: Mapping, rule: Rule, ticket_type: str, tries: Iterator[int]
) -> Iterator[dict[str, str] | None]:
    """Values of all that a rule reads and of all that decides whether it applies, for which it does; None at the end
    where there are more than may be tried."""
    chain = mapping.chains[rule.direction, ticket_type][rule.field]
    earlier = chain[: chain.index(rule)]
    deciding = [one for one in (*earlier, rule) if one.only_if is not None]
    if any(one.only_if is None for one in earlier):
        return
    keys = {key for one in deciding for key in one.condition_keys} - {"type"}
    own = [_unify(rule, name) for name in rule.sources]
    names = [*dict.fromkeys((*own, *sorted(_unify(rule, key) for key in keys)))]
    candidates = [
        _list_candidates(mapping, rule, ticket_type=ticket_type, name=name, deciding=deciding, may_lack=name not in own)
        for name in names
    ]
    for combined in product(*candidates):
        if next(tries, None) is None:
            yield None
            return
        values = with_state(rule, ticket_type, dict(zip(names, combined, strict=True)))
        tested = with_type(ticket_type, values)
        if rule.applies(tested) and not any(one.applies(tested) for one in earlier):
            yield values


def _unify(rule: Rule, name: str) -> str:
    """A field's name; the ticket's state has one only."""
    return "status" if rule.direction is Direction.TO_DESK and name in guide.STATE_NAMES else name


def with_state(rule: Rule, ticket_type: str, values: MappingOf[str, str]) -> dict[str, str]:
    """The fields as a rule of that direction reads them."""
    return guide.complete(ticket_type, values) if rule.direction is Direction.TO_DESK else dict(values)


def _list_candidates(
    mapping: Mapping, rule: Rule, *, ticket_type: str, name: str, deciding: Sequence[Rule], may_lack: bool
) -> Collection[str]:
    """Enough values of a field: the words of its list, one beside it where it is open, and one for each pattern."""
    words = list_source_words(mapping, rule, ticket_type, name)
    is_open = words is None or rule.direction is Direction.TO_DESK
    found = dict.fromkeys(words or ())
    if is_open:
        found[_OTHER] = None
        for one in deciding:
            for key, pattern, _ in one.only_if.patterns if one.only_if is not None else ():
                if _unify(rule, key) == name and pattern:
                    found[pattern.replace("*", _OTHER).replace("?", "\x00")] = None
    if may_lack:
        found[""] = None
    return found


# --- rules beside each other ------------------------------------------------------------------------------------------


def _check_doubles(mapping: Mapping) -> Iterator[Finding]:
    """No two rules of the same type decide one field at once."""
    groups: dict[tuple[str, str, str], list[Rule]] = {}
    for rule in mapping.rules:
        groups.setdefault((rule.direction, rule.type, rule.field), []).append(rule)
    for group in groups.values():
        for place, rule in enumerate(group):
            other = next((one for one in group[:place] if not are_disjoint(one.only_if, rule.only_if)), None)
            if other is not None:
                text = f"{rule.name} and {other.name} ({other.place}) can apply at once"
                yield report_error(
                    ProofCheck.DOUBLE, rule.place, text, "keep one, or give them only_if that exclude each other"
                )


def _check_shadows(mapping: Mapping) -> Iterator[Finding]:
    """No rule stands behind others that always apply where it does."""
    for rule in mapping.rules:
        covers = [_find_cover(mapping, rule, ticket_type) for ticket_type in rule.types]
        names = [*dict.fromkeys(cover.name for cover in covers if cover is not None)]
        if None not in covers:
            text = f"{rule.name} can never apply: {' and '.join(names)} always does before it"
            yield report_error(ProofCheck.NEVER, rule.place, text, "put it in front, or leave it out")


def _find_cover(mapping: Mapping, rule: Rule, ticket_type: str) -> Rule | None:
    chain = mapping.chains[rule.direction, ticket_type][rule.field]
    earlier = chain[: chain.index(rule)]
    return next((one for one in earlier if one.type != rule.type and implies(rule.only_if, one.only_if)), None)
