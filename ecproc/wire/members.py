"""The members of a body: their names in the guide under any spelling, and their values as text."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import islice
from typing import Any, Final, TypeGuard, cast

from ecproc.domain import change, incident
from ecproc.domain.anomalies import Anomaly
from ecproc.domain.events import Remark, TicketType
from ecproc.domain.times import parse_time
from ecproc.wire.lenient import SHOWN, fold_all, fold_name, fold_names, open_text, scalar_text

TIMES: Final = frozenset({"updatedOn", "openedTime", "openedAt", "startDate", "endDate", "offHoldDate"})
FIELDS: Final = TIMES | {
    *("description", "shortDescription", "group", "ensonoGroup", "priority", "impact", "urgency", "category", "origin"),
    *("cis", "statusNextAction", "closeNotes", "closeCode", "closureCategory", "requestedByName", "type", "approval"),
    *("risk", "justification", "preChangeChecks", "implementationPlan", "testPlan", "backoutPlan"),
}
"""What the guide calls a ticket's fields; any other member is a field too, but one the guide does not know."""
_NOT_FIELDS: Final = frozenset(
    {
        *("clientName", "clientTicketNumber", "ticketType", "ticketNumber", "status", "state", "changed", "notes"),
        *("attachment", "attachmentName", "attachmentInfo", "attachmentSize", "attachmentType"),
        *("approvalId", "approvalState", "approverName", "approverEmail"),
    }
)
_KNOWN: Final = FIELDS | _NOT_FIELDS
_CANONICAL: Final[Mapping[str, str]] = {
    **{fold_name(name): name for name in _KNOWN},
    "updateon": "updatedOn",  # as the guide's table spells it (C13)
    "approvalld": "approvalId",  # as the guide's table reads (C14)
}
TICKET_TYPES: Final[Mapping[str, TicketType]] = {item.value.lower(): item for item in TicketType}
_NOTES: Final = ("comments", "comment", "note")
"""What notes are called where they are not called so."""
_DIGITS_WANTED: Final = frozenset({"priority", "impact", "urgency"})
_ADDRESS: Final = "attachment"
_LISTS: Final = frozenset({"cis"})
_EMPTY: Final = (None, "")
_TIME_LENGTH: Final = 32
"""Of a time that is remembered: a hostile one is not."""
_MOST: Final = 2_000
"""Members beside the guide's own, and names of what changed, that are read: each of them takes its microseconds."""
LATEST: Final = 7_258_118_400_000_000
"""The year 2200, in microseconds: no ticket's time is later."""


def read_members(body: Mapping[str, Any], remarks: list[Remark]) -> Mapping[str, Any]:
    """The body's members by the guide's names; where one came under two spellings, the guide's own counts."""
    if body.keys() <= _KNOWN:
        return body
    body = _read_first(body, remarks)
    read: dict[str, Any] = {}
    for name, value in body.items():
        own = canonical_name(name)
        if own in read and value not in _EMPTY and read[own] not in _EMPTY and read[own] != value:
            remarks.append(Remark(Anomaly.UNREADABLE_PART, f"{own[:SHOWN]} came under two names with two values"))
        if own not in read or read[own] in _EMPTY or (name == own and value not in _EMPTY):
            read[own] = value
    alias = next((name for name in _NOTES if name in read), None)
    if alias is not None and "notes" not in read:
        read["notes"] = read.pop(alias)
    return read


def _read_first(members: Mapping[str, Any], remarks: list[Remark]) -> Mapping[str, Any]:
    """The members without those there is no room for: the guide's own names stay first, then its other spellings."""
    if len(members) <= _MOST:
        return members
    own = members.keys() & _KNOWN
    known = [name for name, folded in zip(members, fold_all(members), strict=True) if folded in _CANONICAL]
    kept = set(islice(dict.fromkeys((*own, *known, *members)), _MOST))
    remarks.append(_more(len(members) - len(kept), "members"))
    return {name: members[name] for name in members if name in kept}


def _more(count: int, what: str) -> Remark:
    return Remark(Anomaly.UNREADABLE_PART, f"{count} more {what}: too many to be read")


def canonical_name(name: str) -> str:
    """The guide's name of a member, whatever its spelling; the name as it is where the guide has none."""
    return name if name in _KNOWN else _CANONICAL.get(fold_name(name), name)


def read_text(name: str, value: Any, remarks: list[Remark]) -> str | None:
    """A member's value as text, None for null: a structure that is not ServiceNow's way to write a text says nothing,
    and that it came is remarked."""
    if value is None or type(value) is str:
        return value
    text = scalar_text(value)
    if text is not None:
        return text
    if isinstance(value, dict):
        return _read_object(name, value, remarks)
    if isinstance(value, list):
        return _read_list(name, value, remarks)
    return None


def _read_object(name: str, value: Mapping[str, Any], remarks: list[Remark]) -> str | None:
    """`{"display_value": …, "value": …}`: the one that the field wants; either may be missing, `link` is an address."""
    parts = fold_names(value)
    if name == _ADDRESS:
        texts = (scalar_text(item) or "" for item in parts.values())
        return next((text for text in texts if text.lower().startswith("http")), None)
    shown, stored = scalar_text(parts.get("displayvalue")), scalar_text(parts.get("value"))
    if not parts.keys() <= {"displayvalue", "value", "link", "displayvaluelink"} or parts.keys() == {"link"}:
        remarks.append(_unfit(name, "an object"))
        return None
    if not shown or not stored:
        return shown or stored or (None if {shown, stored} == {None} else "")
    return stored if _wants_stored(name, shown, stored) else shown


def _wants_stored(name: str, shown: str, stored: str) -> bool:
    """Whether a field is better read from the value than from what people see of it."""
    if name in TIMES:
        return known_time(stored) is not None
    if name in _DIGITS_WANTED:
        return stored.isdecimal() and (name == "priority" or shown[:1].isdigit())
    if name in ("status", "state"):
        return not _names_state(shown) and _names_state(stored)
    if name == "ticketType":
        return shown.strip().lower() not in TICKET_TYPES
    return False


def _names_state(text: str) -> bool:
    return incident.parse_state(text) is not None or change.parse_state(text) is not None


def _read_list(name: str, value: Sequence[Any], remarks: list[Remark]) -> str | None:
    if name in _LISTS or len(value) <= 1:
        if set(map(type, value)) == {str}:  # the ordinary ones, and it may be thousands
            return ",".join(value)
        texts = list(map(scalar_text, value))
        if None not in texts:
            return ",".join(cast("list[str]", texts))
    remarks.append(_unfit(name, "a list"))
    return None


def _unfit(name: str, what: str) -> Remark:
    return Remark(Anomaly.UNREADABLE_PART, f"{name[:SHOWN]} is {what}")


def known_time(text: str) -> int | None:
    """The time a text names, remembered: each of a ticket's messages repeats its times. None also for one that no
    ticket can have: before 1970, or after 2199."""
    return _parse_known(text) if len(text) <= _TIME_LENGTH else None


@lru_cache(maxsize=4096)
def _parse_known(text: str) -> int | None:
    moment = parse_time(text)
    return moment if moment is not None and 0 < moment < LATEST else None


def read_fields(body: Mapping[str, Any], remarks: list[Remark]) -> dict[str, str]:
    """The body's own fields; null says nothing, and an empty time is null (C13)."""
    fields: dict[str, str] = {}
    for name, value in body.items():
        if name in _NOT_FIELDS:
            continue
        text = value if type(value) is str else read_text(name, value, remarks)
        if text is None or (not text and name in TIMES):
            continue
        fields[name] = text
    for name in sorted(TIMES & fields.keys()):  # a set's own order is another in every process
        if known_time(fields[name]) is None:
            remarks.append(Remark(Anomaly.UNKNOWN_VALUE, f"{name} {fields[name][:SHOWN]!r} is no time"))
    return fields


# --- `changed` ---

_CHANGEABLE: Final = FIELDS | {"status"}
_TEXT: Final = frozenset({str})
_NEWS: Final = ("newvalue", "new", "to", "after", "current")
_OTHER_STATE: Final = {"status": "state", "state": "status"}
_NAMES: Final = ("field", "fieldname", "name", "element")


def read_changed(value: Any, body: Mapping[str, Any], remarks: list[Remark]) -> Mapping[str, str] | None:
    """What an update says it changed: an object, JSON text of one, a list of names or of changes; None where it says
    nothing that can be read, which is remarked unless it is absent. A null clears the field; `state` is `status`."""
    if value is None:
        return None
    members = _changed_members(value, body, remarks)
    if members is None:
        shown = value[:SHOWN] if isinstance(value, str) else type(value).__name__
        remarks.append(Remark(Anomaly.UNREADABLE_PART, f"changed {shown!r} names no fields: the body counts"))
        return None
    changed: dict[str, str] = {}
    for spelled, item in _read_first(members, remarks).items():
        name = canonical_name(spelled)
        name = "status" if name == "state" else name
        news = _news_of(item)
        text = "" if news is None else read_text(name, news, remarks)
        if name in _NOT_FIELDS and name != "status":
            if name not in body and name not in ("state", *_NOTES):
                remarks.append(Remark(Anomaly.UNREADABLE_PART, f"changed has {name}, the body does not"))
        elif text is not None and (text or name != "status"):  # what cannot be read clears nothing
            changed[name] = text
    return changed


def is_plain_change(value: Any) -> TypeGuard[Mapping[str, str]]:
    """Whether `changed` is as the guide shows it, texts under its own names of fields, and so reads as it is."""
    if not isinstance(value, dict) or not value.keys() <= _CHANGEABLE:
        return False
    return _TEXT.issuperset(map(type, value.values())) and value.get("status") != ""


def _changed_members(value: Any, body: Mapping[str, Any], remarks: list[Remark]) -> Mapping[str, Any] | None:
    match value:
        case dict():
            return value
        case str() if not value.strip():
            return {}
        case str():
            return _changed_text(value.strip(), body, remarks)
        case list():
            return _changed_list(value, body, remarks)
        case _:
            return None


def _changed_text(text: str, body: Mapping[str, Any], remarks: list[Remark]) -> Mapping[str, Any] | None:
    if text[:1] in ("{", "["):
        return _changed_members(open_text(text), body, remarks)
    names = text.replace(";", ",").split(",", _MOST)
    if len(names) > _MOST:
        remarks.append(_more(names.pop().count(",") + 1, "names of what changed"))
    return _named(names, body)


def _changed_list(items: Sequence[Any], body: Mapping[str, Any], remarks: list[Remark]) -> Mapping[str, Any] | None:
    if len(items) > _MOST:
        remarks.append(_more(len(items) - _MOST, "names of what changed"))
        items = items[:_MOST]
    if all(isinstance(item, str) for item in items):
        return _named(items, body)
    if not all(isinstance(item, dict) for item in items):
        return None
    changed: dict[str, Any] = {}
    for item in items:
        name = _pick(item, _NAMES)
        if isinstance(name, str) and len(item) > 1:
            changed[name] = _pick(item, (*_NEWS, "value"))
        else:
            changed |= item
    return changed


def _named(names: Iterable[str], body: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The named members as the body has them; None where a name is none of the body's."""
    own = [canonical_name(name) for name in dict.fromkeys(map(str.strip, names)) if name]
    own = [_OTHER_STATE.get(name, name) if name not in body else name for name in own]
    return {name: body[name] for name in own} if all(name in body for name in own) else None


def _news_of(value: Any) -> Any:
    """The new value where the old one stands beside it."""
    if isinstance(value, dict) and len(value) > 1:
        news = _pick(value, _NEWS)
        return value if news is None else news
    return value


def _pick(item: Mapping[str, Any], names: Sequence[str]) -> Any:
    folded = fold_names(item)
    return next((folded[name] for name in names if name in folded), None)
