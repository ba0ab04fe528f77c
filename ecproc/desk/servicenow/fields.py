"""From a call in the guide's words to the fields of a record, by the mapping and the instance's own names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from ecproc.desk.base import DeskCall, DeskRefused
from ecproc.desk.servicenow.references import References
from ecproc.desk.servicenow.texts import shorten
from ecproc.desk.servicenow.wire import JOURNAL_FIELDS, RecordValues
from ecproc.domain.anomalies import Anomaly
from ecproc.domain.effects import EffectKind
from ecproc.domain.events import Remark
from ecproc.mapping.rules import Direction
from ecproc.mapping.tables import Inbound
from ecproc.mapping.tables import Mapping as FieldMapping

_CHANGE: Final = "change"
_NAMES: Final[Mapping[str, str]] = {"group": "name", "ci": "name", "user": "email"}
"""What the name of each kind of reference is kept in."""
_MAPPING_HINT: Final = "see ecproc map test: shorten the text at Ensono, or let the rule put the rest into a comment"
_STATES: Final = frozenset({"state", "status"})
_FIRST: Final = ("open", "New")
"""The state of a new ticket: of incidents and requests, and of changes."""
_OVER: Final = frozenset({"resolved", "closed", "cancelled", "Closed", "Cancelled"})
_ENDS: Final[Mapping[str, tuple[str, str]]] = {
    EffectKind.RESOLVE: ("resolved", "Review"),
    EffectKind.CLOSE: ("closed", "Closed"),
    EffectKind.CANCEL: ("cancelled", "Cancelled"),
    EffectKind.REOPEN: ("workinprogress", "Implement"),
}
"""The state that a kind means where the call names none: of incidents and requests, and of changes."""


class RecordNews(msgspec.Struct, frozen=True):
    """What a record is to be told: its fields, and texts that go to its journal."""

    fields: dict[str, str]
    notes: tuple[str, ...] = ()
    remarks: tuple[Remark, ...] = ()


class Translator:
    """Applies the mapping to calls."""

    def __init__(self, mapping: FieldMapping, references: References) -> None:
        self._mapping = mapping
        self._references = references

    async def translate(self, call: DeskCall) -> RecordNews:
        """What follows from the call for the record: for a create everything, else what changed.

        Raises DeskRefused where the mapping does, and DeskUnavailable where names cannot be looked up.
        """
        news = _with_state(call)
        record = {
            name: value for name, value in call.record.items() if name not in _STATES or not (_STATES & news.keys())
        }
        known = {**record, **news, "ticketNumber": call.ticket}
        changed = None if call.kind == EffectKind.CREATE else frozenset(news)
        out = self._mapping.to_desk(call.ticket_type, known, changed=changed)
        if out.refused:
            raise DeskRefused(out.refused, final=True, hint=_MAPPING_HINT)
        fields = {name: value for name, value in out.fields.items() if name not in JOURNAL_FIELDS}
        notes = [value for name, value in out.fields.items() if name in JOURNAL_FIELDS and value]
        remarks = [
            Remark(Anomaly.UNMAPPED, f"{one.type}.{one.field}: {shorten(one.value)!r}")
            for one in out.unmapped
            if one.reported
        ]
        for name, kind in out.references.items():
            found = await self._resolve(kind, fields[name], out.fallbacks.get(name, ""))
            if found is None:
                remarks.append(Remark(Anomaly.UNMAPPED, f"{name}: the desk knows no {kind} {shorten(fields[name])!r}"))
                del fields[name]
            else:
                fields[name], is_fallback = found
                if is_fallback:
                    remarks.append(Remark(Anomaly.UNMAPPED, f"{name}: the default {kind}, for one that the desk lacks"))
        return RecordNews(fields, (*notes, *out.overflow), tuple(remarks))

    async def find_user(self, email: str) -> str | None:
        """The sys_id of the one user with that address."""
        return await self._references.find("user", email)

    def list_heard(self, ticket_type: str) -> tuple[str, ...]:
        """The fields of a record whose changes are told to Ensono, and what those that refer to something call it."""
        fields = [name for name in self._mapping.list_desk_fields(ticket_type) if name not in JOURNAL_FIELDS]
        return self.with_names(ticket_type, fields)

    def with_names(self, ticket_type: str, fields: Iterable[str]) -> tuple[str, ...]:
        """These fields, and the names of what they refer to."""
        known = [*fields]
        naming = self._list_references(ticket_type)
        return tuple(dict.fromkeys([*known, *(naming[name] for name in known if name in naming)]))

    def view(self, ticket_type: str, row: RecordValues) -> dict[str, str]:
        """What a record has in these fields, under the guide's names and in the desk's own words."""
        return {name: raw for name, (raw, _) in self.hear(ticket_type, row).view.items()} if row else {}

    def restore(self, ticket_type: str, told: RecordValues, row: RecordValues) -> dict[str, str]:
        """A record as it was when it had just been `told` that. What a field refers to is called as in the row, if it
        is still the same there."""
        naming = self._list_references(ticket_type).items()
        return {**told, **{name: row.get(name, "") for field, name in naming if told.get(field) == row.get(field)}}

    def hear(self, ticket_type: str, row: RecordValues, *, ticket: str = "") -> Inbound:
        """What a record means to Ensono, whose ticket it may be. A reference is the name of what it refers to; one that
        our user may not see the name of is not heard of."""
        told = dict(row)
        for field, name in self._list_references(ticket_type).items():
            if told.get(field):
                del told[field]
                told |= {field: row[name]} if row.get(name) else {}
        return self._mapping.from_desk(ticket_type, told, known={"ticketNumber": ticket} if ticket else None)

    @property
    def mapping_hash(self) -> str:
        """Which mapping it is."""
        return self._mapping.hash

    def _list_references(self, ticket_type: str) -> dict[str, str]:
        """The fields that refer to something, and what of that is its name."""
        chains = self._mapping.chains.get((Direction.FROM_DESK, ticket_type.lower()), {})
        rules = [rule for chain in chains.values() for rule in chain if rule.reference in _NAMES]
        return {field: f"{field}.{_NAMES[rule.reference]}" for rule in rules for field in rule.sources}

    def name_state(self, ticket_type: str, state: str) -> str:
        """A record's state in Ensono's words, as far as the mapping has one: else as the desk shows it."""
        if not state:
            return ""
        view = self._mapping.from_desk(ticket_type, {"state": state}).view
        shown = self._mapping.choices.get(ticket_type.lower(), {}).get("state", {}).get(state, state)
        return view["status"][1] if "status" in view else shown

    async def _resolve(self, kind: str, name: str, fallback: str) -> tuple[str, bool] | None:
        """The id of a name, or of the one that stands in for it."""
        found = await self._references.find(kind, name)
        if found is not None:
            return found, False
        found = await self._references.find(kind, fallback) if fallback and fallback != name else None
        return None if found is None else (found, True)


def list_overruled(sent: RecordValues, got: RecordValues) -> tuple[Remark, ...]:
    """The fields that a record has otherwise than they were sent: rules of the instance changed them."""
    return tuple(
        Remark(Anomaly.DESK_CHANGED_VALUE, f"{name} is {shorten(got[name])!r}, not {shorten(value)!r}")
        for name, value in sent.items()
        if name in got and name not in JOURNAL_FIELDS and _bare(got[name]) != _bare(value)
    )


def _with_state(call: DeskCall) -> dict[str, str]:
    """The call's news, with the state that its kind means. A ticket is not made in a state that is an end: that has a
    call of its own."""
    news = dict(call.fields)
    named = news.get("state") or news.get("status") or ""
    is_change = call.ticket_type.lower() == _CHANGE
    if call.kind == EffectKind.CREATE and named in ("", *_OVER):
        return {**{name: value for name, value in news.items() if name not in _STATES}, "state": _FIRST[is_change]}
    if call.kind in _ENDS and not named:
        news["state"] = _ENDS[call.kind][is_change]
    return news


def _bare(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n").strip()
