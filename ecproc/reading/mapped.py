"""What a mapping makes of messages, records of the desk and events: the rules that fire, and what would be sent."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec

from ecproc.domain.effects import Effect, EffectKind, Lane
from ecproc.domain.events import Decided, Message, Place, TicketType, Transaction
from ecproc.domain.ids import EffectKey, TicketNumber
from ecproc.errors import EcprocError
from ecproc.fold.recorded import Kind, decode_event
from ecproc.mapping import Fired, Outbound, Unmapped
from ecproc.mapping import Mapping as Tables
from ecproc.wire.lenient import DECODE_ERRORS, fold_names
from ecproc.wire.queue import decode_message
from ecproc.wire.requests import Spelling, write_call
from ecproc.wire.translate import translate

TOLD: Final = frozenset(
    {
        *(EffectKind.CREATE, EffectKind.UPDATE, EffectKind.REOPEN),
        *(EffectKind.RESOLVE, EffectKind.CLOSE, EffectKind.CANCEL),
    }
)
"""Effects at the desk whose fields go through the mapping."""

_TABLES: Final[Mapping[str, str]] = {
    TicketType.INCIDENT: "incident",
    TicketType.REQUEST: "sc_req_item",
    TicketType.CHANGE: "change_request",
}
_CLASSES: Final = {table: ticket_type for ticket_type, table in _TABLES.items()}
_ENDS: Final = {
    "resolved": EffectKind.RESOLVE_TICKET,
    "closed": EffectKind.CLOSE_TICKET,
    "cancelled": EffectKind.CANCEL_TICKET,
}
_RECORD_ID: Final = "{sys_id}"
_RECORD: Final = "record"


class Unreadable(EcprocError):
    """What was given is no message, record or event."""

    def __init__(self, reason: str, *, hint: str = "") -> None:
        super().__init__(reason)
        self.hint = hint


class TriedCall(msgspec.Struct, frozen=True):
    """A request as it would be sent; method and path are empty where the desk has calls of another form."""

    method: str
    path: str
    body: Any


class Trial(msgspec.Struct, frozen=True, kw_only=True):
    """What a mapping makes of one thing that was given: `what` is message, record, effect or other. `remark` says why
    nothing, or not all, can be told."""

    what: str
    ticket: str = ""
    type: str = ""
    rules: tuple[Fired, ...] = ()
    call: TriedCall | None = None
    overflow: tuple[str, ...] = ()
    unmapped: tuple[Unmapped, ...] = ()
    refused: str = ""
    remark: str = ""

    @property
    def is_reported(self) -> bool:
        """Whether a value that no row has fell to the default of a rule that wants that reported."""
        return any(one.reported for one in self.unmapped)


def list_trials(
    mapping: Tables, content: bytes, *, ticket_type: TicketType | None = None, client_name: str = ""
) -> Iterator[Trial]:
    """Try a mapping on what a file holds: one JSON value, a list of them, or one on each line. Records are of that type
    where they do not tell it themselves. Raises Unreadable."""
    for raw in _list_items(content):
        try:
            members = msgspec.json.decode(raw)
        except DECODE_ERRORS as error:
            raise Unreadable(f"it is no JSON: {error}") from None
        if not isinstance(members, dict):
            raise Unreadable("it is neither a message, nor a record, nor an event: it is no JSON object")
        folded = fold_names(members)
        if "body" in folded and {"attributes", "messageid"} & folded.keys():
            yield _try_message(mapping, decode_message(raw).payload)
        elif {"stream", "kind", "data"} <= folded.keys():
            yield from _try_event(mapping, members)
        else:
            yield _try_record(mapping, members, ticket_type, client_name)


def tell_desk(
    mapping: Tables, effect: Effect, known: Mapping[str, str], before: Mapping[str, str] | None = None
) -> Outbound:
    """What an effect tells the desk; `known` are the ticket's fields, `before` what the desk was told until then."""
    fields = {**known, **effect.fields, "ticketNumber": effect.ticket, "clientTicketNumber": effect.number or ""}
    changed = None if effect.kind is EffectKind.CREATE else frozenset(effect.fields)
    return mapping.to_desk(effect.ticket_type, fields, changed=changed, before=before)


def _list_items(content: bytes) -> Iterator[bytes]:
    try:
        whole = msgspec.json.decode(content)
    except DECODE_ERRORS:
        lines = content.splitlines()
        yield from (line for line in lines if line.strip())
        return
    yield from _unwrap(whole)


def _unwrap(value: Any) -> Iterator[bytes]:
    """The things in one JSON value: in a list, under `result` as ServiceNow answers, under `messages` as the queue."""
    if isinstance(value, list):
        for item in value:
            yield from _unwrap(item)
        return
    if isinstance(value, dict):
        for name in ("result", "Messages", "messages"):
            if isinstance(value.get(name), list | dict):
                yield from _unwrap(value[name])
                return
    yield msgspec.json.encode(value)


def _try_message(mapping: Tables, payload: bytes) -> Trial:
    message = translate(payload, Place(1, 1, 0), "")
    if not isinstance(message, Message) or message.ticket_type is None:
        return Trial(what="message", remark="it would go into quarantine, or names no ticketType")
    named = Trial(what="message", ticket=message.ticket_number, type=message.ticket_type)
    fields = {**message.fields, "ticketNumber": message.ticket_number, "clientTicketNumber": message.client_number}
    if message.status:
        fields["status"] = message.status
    match message.transaction:
        case Transaction.CREATE:
            return _tell(mapping, named, fields, None)
        case Transaction.UPDATE | Transaction.CLOSURE | Transaction.REDRAFT:
            changed = frozenset(fields if message.changed is None else message.changed)
            remark = "as if every field had changed" if message.changed is None else ""
            return _tell(mapping, msgspec.structs.replace(named, remark=remark), fields, changed)
        case _:
            return msgspec.structs.replace(named, remark=f"{message.transaction_name} changes no field")


def _try_event(mapping: Tables, members: Mapping[str, Any]) -> Iterator[Trial]:
    kind, data = members["kind"], msgspec.json.encode(members["data"])
    if kind == Kind.MESSAGE_RECEIVED:
        yield _try_message(mapping, data)
        return
    try:
        event = decode_event(str(kind), data)
    except DECODE_ERRORS:
        raise Unreadable(f"its data are not those of a {str(kind)[:80]}") from None
    effects = event.effects if isinstance(event, Decided) else ()
    told = [effect for effect in effects if effect.lane is Lane.DESK and effect.kind in TOLD]
    for effect in told:
        named = Trial(what="effect", ticket=effect.ticket, type=effect.ticket_type)
        yield _show(mapping, named, tell_desk(mapping, effect, {}), is_create=effect.kind is EffectKind.CREATE)
    if not told:
        yield Trial(what="other", ticket=str(members["stream"]), remark=f"{str(kind)[:80]} tells the desk no field")


def _tell(mapping: Tables, named: Trial, fields: Mapping[str, str], changed: frozenset[str] | None) -> Trial:
    return _show(mapping, named, mapping.to_desk(named.type, fields, changed=changed), is_create=changed is None)


def _show(mapping: Tables, named: Trial, out: Outbound, *, is_create: bool) -> Trial:
    method = path = ""
    if mapping.desk == "servicenow":
        method = "POST" if is_create else "PATCH"
        path = f"/api/now/table/{_TABLES[named.type]}" + ("" if is_create else f"/{_RECORD_ID}")
    return msgspec.structs.replace(
        named,
        rules=out.fired,
        call=TriedCall(method, path, out.fields) if out.fields and not out.refused else None,
        overflow=out.overflow,
        unmapped=out.unmapped,
        refused=out.refused,
    )


def _try_record(mapping: Tables, members: Mapping[str, Any], ticket_type: TicketType | None, client_name: str) -> Trial:
    record = {name: _text(value) for name, value in members.items()}
    kind = _CLASSES.get(record.get("sys_class_name", "")) or ticket_type
    if kind is None:
        raise Unreadable("it does not say of which type of ticket a record is", hint="say it with --type")
    inbound = mapping.from_desk(kind, record)
    ticket = record.get("correlation_id", "").partition(":")[0]
    canonical = {name: value for name, (_, value) in inbound.view.items() if value}
    call = None
    if canonical and kind != TicketType.CHANGE:
        call = _call_ensono(canonical, ticket, kind, record.get("number", ""), client_name)
    return Trial(
        what=_RECORD,
        ticket=ticket or record.get("number", ""),
        type=kind,
        rules=inbound.fired,
        call=call,
        unmapped=inbound.unmapped,
        remark="Ensono takes no field of a change" if kind == TicketType.CHANGE else "as if every field had changed",
    )


def _call_ensono(fields: dict[str, str], ticket: str, ticket_type: str, number: str, client_name: str) -> TriedCall:
    """The call that tells Ensono all of it: a record that names no ticket of Ensono's would be opened there."""
    kind = _ENDS.get(fields.get("status", ""), EffectKind.UPDATE_TICKET) if ticket else EffectKind.CREATE_TICKET
    effect = Effect(
        key=EffectKey(""),
        kind=kind,
        generation=1,
        position=0,
        at=0,
        ticket=TicketNumber(ticket),
        ticket_type=ticket_type,
        number=number,
        fields=fields,
    )
    call = write_call(effect, Spelling(client_name=client_name))
    return TriedCall(call.method, call.path, msgspec.json.decode(call.body or b"null"))


def _text(value: Any) -> str:
    """A record's value as text: of one with a display value the stored one."""
    if isinstance(value, dict) and "value" in value:
        value = value["value"]
    if value is None:
        return ""
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()
