"""A mapping in force: what a ticket of Ensono's is at the desk, and what a record of the desk's is at Ensono.

Applied at the edges only (decision 20): the log holds the guide's vocabulary, and no fold reads a mapping.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from collections.abc import Mapping as MappingOf
from typing import Final

import msgspec

from ecproc.domain.texts import split_text
from ecproc.mapping import guide
from ecproc.mapping.extra import Extra
from ecproc.mapping.rules import EVERY, Direction, How, Image, Rule

_DESCRIPTION: Final = "description"


class Fired(msgspec.Struct, frozen=True):
    """A rule that decided a field: its name, and the value before and after it."""

    rule: str
    direction: str
    field: str
    before: str
    after: str
    default: bool = False


class Unmapped(msgspec.Struct, frozen=True):
    """A value that no row has: of which field it was to become a value, and whether the rule wants that reported."""

    direction: str
    type: str
    field: str
    value: str
    reported: bool = False


class Outbound(msgspec.Struct, frozen=True, kw_only=True):
    """What the desk is to be told.

    `references` says which of the fields name something that the desk knows by an id, and of which kind; `fallbacks`
    what to name where it knows none of that name. `overflow` are the texts that a field had no room for, as comments in
    order. `refused` is why it must not be told at all, empty where it may.
    """

    fields: dict[str, str]
    references: dict[str, str]
    fallbacks: dict[str, str]
    overflow: tuple[str, ...]
    refused: str
    fired: tuple[Fired, ...]
    unmapped: tuple[Unmapped, ...]


class Inbound(msgspec.Struct, frozen=True, kw_only=True):
    """What a record of the desk's means to Ensono: for each of the guide's fields its raw value and the canonical one.
    `extra` are the fields that the guide has no place for, by their own names."""

    view: dict[str, tuple[str, str]]
    extra: dict[str, str]
    fired: tuple[Fired, ...]
    unmapped: tuple[Unmapped, ...]


class Mapping(msgspec.Struct, frozen=True, kw_only=True):
    """Rules by direction in the order of the file, the desk's closed lists by ticket type and field, and what goes
    along.

    `hash` tells one content from another: 12 hexadecimal digits, for comments and the order of a table's keys alike.
    """

    hash: str
    desk: str
    source: str
    rules: tuple[Rule, ...]
    choices: MappingOf[str, MappingOf[str, MappingOf[str, str]]] = {}
    lossy: frozenset[str] = frozenset()
    strict_inverse: bool = False
    extra: Extra = Extra()
    chains: MappingOf[tuple[str, str], MappingOf[str, tuple[Rule, ...]]] = {}
    """By direction and ticket type: for each field the rules that may decide it, the first that applies does."""
    places: MappingOf[str, str] = {}
    """Where the keys beside the rules stand, as `lossy`, at which `file:line`."""

    def list_targets(self, direction: str, ticket_type: str, field: str) -> Sequence[str] | None:
        """The words that a field takes that way, None for any text."""
        if direction == Direction.FROM_DESK:
            return guide.list_accepted(ticket_type, field)
        words = self.choices.get(ticket_type, {}).get(field)
        return None if words is None else tuple(words)

    def list_desk_fields(self, ticket_type: str) -> tuple[str, ...]:
        """The fields of a desk's record that are read to say what it means to Ensono."""
        chains = self.chains.get((Direction.FROM_DESK, ticket_type.lower()), {})
        rules = [rule for chain in chains.values() for rule in chain if rule.field != EVERY]
        read = [name for rule in rules for name in (*rule.reads, *sorted(rule.condition_keys - {"type"}))]
        return tuple(dict.fromkeys((*read, *self.extra.fields)))

    def to_desk(
        self,
        ticket_type: str,
        fields: MappingOf[str, str],
        *,
        changed: Collection[str] | None,
        before: MappingOf[str, str] | None = None,
        extra: MappingOf[str, str] | None = None,
    ) -> Outbound:
        """What to tell the desk of a ticket with these fields, by the guide's names: of an update only what follows
        from the `changed` ones, for a create (None) everything that has a value.

        A field whose condition no longer holds is cleared: once, with `before`, the fields as they were, and else
        whenever what it is made of changed. `extra` has the values that our own block in the description was made of.
        """
        values = guide.complete(ticket_type.lower(), fields)
        if extra is not None and _DESCRIPTION in values:
            values[_DESCRIPTION] = self.extra.strip_from(values[_DESCRIPTION], extra)
        telling = _Telling(self, ticket_type, values, given=tuple(fields))
        telling.tell_all(changed, before)
        return telling.conclude()

    def from_desk(
        self,
        ticket_type: str,
        record: MappingOf[str, str],
        *,
        names: MappingOf[str, MappingOf[str, str]] | None = None,
        known: MappingOf[str, str] | None = None,
    ) -> Inbound:
        """What a record means to Ensono, as far as it has the fields that a rule reads: an absent one is unchanged.

        `names` has for each kind of reference the name of an id; without a kind the record's own value is a name.
        `known` are the ticket's own fields, as ticketNumber, which a template put into texts that come back.
        """
        return _hear(self, ticket_type, record, names, known or {})


class _Telling:
    """What is being told to the desk."""

    def __init__(
        self, mapping: Mapping, ticket_type: str, values: MappingOf[str, str], *, given: Sequence[str]
    ) -> None:
        self._given = given
        self._mapping = mapping
        self._type = ticket_type.lower()
        self._values = values
        self._tested = with_type(self._type, values)
        self._out = Outbound(fields={}, references={}, fallbacks={}, overflow=(), refused="", fired=(), unmapped=())
        self._overflow: list[str] = []
        self._refused = ""
        self._fired: list[Fired] = []
        self._unmapped: list[Unmapped] = []

    def tell_all(self, changed: Collection[str] | None, before: MappingOf[str, str] | None) -> None:
        """Go through the rules of every field."""
        news = None if changed is None else guide.alias_names(changed)
        former = None if before is None else with_type(self._type, guide.complete(self._type, before))
        for field, chain in self._mapping.chains.get((Direction.TO_DESK, self._type), {}).items():
            if field == EVERY:
                self._copy_rest(chain[0], news)
                continue
            rule = next((rule for rule in chain if rule.applies(self._tested)), None)
            if rule is None:
                if news is not None and _is_left(chain, news, former):
                    self._put(chain[0], field, Image("", join_values(chain[0], self._values)), clear=True)
            elif news is None or not news.isdisjoint(_triggers(chain, rule)):
                listed = self._mapping.list_targets(Direction.TO_DESK, self._type, field)
                self._put(rule, field, rule.evaluate(self._values, listed=listed), clear=news is not None)

    def conclude(self) -> Outbound:
        """All of it."""
        return msgspec.structs.replace(
            self._out,
            overflow=tuple(self._overflow),
            refused=self._refused,
            fired=tuple(self._fired),
            unmapped=tuple(self._unmapped),
        )

    def _copy_rest(self, rule: Rule, news: frozenset[str] | None) -> None:
        for name in list_unnamed(self._mapping, Direction.TO_DESK, self._type, self._given):
            if news is None or name in news:
                value = self._values[name]
                self._put(rule, name, Image(value, value), clear=news is not None)

    def _put(self, rule: Rule, field: str, image: Image, *, clear: bool) -> None:
        self._unmapped += list_unmapped(rule, self._type, field, image)
        value = image.value
        if value is None or not (value or clear):
            return
        value = self._fit(rule, field, value)
        self._tell_left_out(rule, image.shown)
        self._out.fields[field] = value
        if rule.reference and value:
            self._out.references[field] = rule.reference
            if rule.default is not None:
                self._out.fallbacks[field] = rule.default
        self._fired.append(Fired(rule.name, rule.direction, field, image.shown, value, image.default))

    def _fit(self, rule: Rule, field: str, value: str) -> str:
        """The value as far as its field has room; the rest is comments, or a reason to refuse."""
        if not rule.max or len(value) <= rule.max:
            return value
        if rule.overflow == "refuse":
            self._refused = f"{field} has {len(value)} characters, {rule.max} at most ({rule.name})"
            return value
        first, *rest = split_text(value, rule.max, measure=len)
        self._overflow += rest
        return first

    def _tell_left_out(self, rule: Rule, shown: str) -> None:
        """Where a field takes the first item of a list only, say the whole list in a comment: nothing is cut off."""
        if rule.split and rule.join is None and rule.split in shown.strip().strip(rule.split):
            self._overflow.append(f"{rule.sources[0]}: {shown}")


def _triggers(chain: Sequence[Rule], rule: Rule) -> set[str]:
    """The fields whose change may have made the rule's value another one: its own, and what decides that it applies."""
    before = chain[: chain.index(rule) + 1]
    return {*rule.reads, *(key for earlier in before for key in earlier.condition_keys)}


def _is_left(chain: Sequence[Rule], news: frozenset[str], former: MappingOf[str, str] | None) -> bool:
    """Whether no rule of the field applies any more where one did."""
    if former is not None:
        return any(rule.applies(former) for rule in chain)
    return any(not news.isdisjoint(rule.reads) for rule in chain)


def _hear(
    mapping: Mapping,
    ticket_type: str,
    record: MappingOf[str, str],
    names: MappingOf[str, MappingOf[str, str]] | None,
    known: MappingOf[str, str],
) -> Inbound:
    kind = ticket_type.lower()
    inbound = Inbound(view={}, extra=mapping.extra.pick(record), fired=(), unmapped=())
    fired: list[Fired] = []
    unmapped: list[Unmapped] = []
    tested = with_type(kind, record)
    for rule, field in _list_heard(mapping, kind, record, tested):
        listed = mapping.list_targets(Direction.FROM_DESK, kind, field)
        if rule.field == EVERY:
            rule = msgspec.structs.replace(rule, field=field, sources=(field,))  # noqa: PLW2901 - it is that field's
        image = rule.evaluate(record, listed=listed, names=names)
        unmapped += list_unmapped(rule, kind, field, image)
        if image.value is None:
            continue
        value = _take_out(mapping, kind, rule, image.value, known)
        inbound.view[field] = (join_values(rule, record), value)
        fired.append(Fired(rule.name, rule.direction, field, image.shown, value, image.default))
    return msgspec.structs.replace(inbound, fired=tuple(fired), unmapped=tuple(unmapped))


def _list_heard(
    mapping: Mapping, kind: str, record: MappingOf[str, str], tested: MappingOf[str, str]
) -> Iterator[tuple[Rule, str]]:
    """The rules whose fields the record has, each with the guide's field that it decides."""
    for field, chain in mapping.chains.get((Direction.FROM_DESK, kind), {}).items():
        if field == EVERY:
            yield from ((chain[0], name) for name in list_unnamed(mapping, Direction.FROM_DESK, kind, record))
            continue
        rule = next((rule for rule in chain if rule.applies(tested)), None)
        if rule is not None and record.keys() >= {*rule.reads}:
            yield rule, field


def _take_out(mapping: Mapping, kind: str, rule: Rule, value: str, known: MappingOf[str, str]) -> str:
    """The value without what a template of ours put around it."""
    if rule.how is not How.COPY or not known:
        return value
    written = mapping.chains.get((Direction.TO_DESK, kind), {}).get(rule.sources[0], ())
    templates = [one for one in written if one.how is How.TEMPLATE]
    return templates[0].template.take_out(rule.field, value, known, templates[0].zone) if templates else value


def list_unnamed(mapping: Mapping, direction: Direction, ticket_type: str, names: Iterable[str]) -> list[str]:
    """Which of these fields a rule for every other one copies: none that another rule reads or decides."""
    chains = mapping.chains.get((direction, ticket_type), {})
    rules = [rule for chain in chains.values() for rule in chain if rule.field != EVERY]
    taken = {name for rule in rules for name in (rule.field, *rule.sources)}
    if direction is Direction.TO_DESK:
        return [name for name in names if name not in guide.alias_names(taken)]
    return [name for name in names if name not in taken and name in guide.FIELDS]


def list_unmapped(rule: Rule, ticket_type: str, field: str, image: Image) -> list[Unmapped]:
    """What a rule had no row for."""
    name = name_type(ticket_type)
    return [Unmapped(rule.direction, name, field, value, rule.report_unmapped) for value in image.unmapped]


def join_values(rule: Rule, values: MappingOf[str, str]) -> str:
    """What a rule reads, as it came."""
    return "/".join(values.get(name, "") for name in rule.reads)


def with_type(ticket_type: str, values: MappingOf[str, str]) -> dict[str, str]:
    """The fields as conditions see them: there `type` is the ticket's."""
    return {**values, "type": name_type(ticket_type)}


def name_type(ticket_type: str) -> str:
    """A ticket type as events call it; itself where it is none of the guide's, for which there are no rules."""
    known = guide.TYPES.get(ticket_type)
    return ticket_type if known is None else known.value


def chain_rules(rules: Sequence[Rule]) -> dict[tuple[str, str], dict[str, tuple[Rule, ...]]]:
    """The rules by direction and ticket type, then by field, in the order of the file; the one for every other field
    comes last."""
    chains: dict[tuple[str, str], dict[str, tuple[Rule, ...]]] = {}
    for rule in sorted(rules, key=lambda rule: rule.field == EVERY):
        for ticket_type in rule.types:
            fields = chains.setdefault((rule.direction, ticket_type), {})
            fields[rule.field] = (*fields.get(rule.field, ()), rule)
    return chains
