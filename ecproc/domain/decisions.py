"""What a fact leads to outside: `decide` names the effects of one fact, on the state just after it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from ecproc.domain import incident
from ecproc.domain.effects import Effect, EffectKind
from ecproc.domain.events import (
    ApprovalRequest,
    AttachmentInfo,
    Fact,
    Message,
    Place,
    TicketType,
)
from ecproc.domain.ids import (
    EffectKey,
    attachment_key,
    create_key,
    generation_key,
    message_effect_key,
    note_key,
    return_key,
)
from ecproc.domain.state import (
    ApprovalChanged,
    AttachmentChanged,
    ClientTicket,
    ClientTicketChanged,
    Delta,
    FieldsChanged,
    GenerationEnded,
    GenerationStarted,
    Moved,
    NoteAdded,
    NumberMissing,
    TicketState,
)


class _Draft:
    """Effects of one fact, numbered as they come."""

    def __init__(self, state: TicketState, place: Place) -> None:
        self.state = state
        self.place = place
        self.effects: list[Effect] = []

    def add(
        self,
        kind: EffectKind,
        key: EffectKey,
        *,
        fields: Mapping[str, str] | None = None,
        generation: int | None = None,
        number: str | None = None,
        deadline: int | None = None,
        rearm: bool = False,
        hurry: bool = False,
    ) -> None:
        generation = generation or self.state.started
        self.effects.append(
            Effect(
                key=key,
                kind=kind,
                generation=generation,
                position=self.place.position,
                at=self.place.at,
                ticket=self.state.ticket,
                ticket_type=self.state.type or "",
                ordinal=len(self.effects),
                number=number or self.state.number_of(generation),
                fields=fields or {},
                deadline=deadline,
                rearm=rearm,
                hurry=hurry,
            )
        )


def decide(state: TicketState, fact: Fact, changes: list[Delta], place: Place) -> list[Effect]:
    """The effects of one fact, given the state just after it and what it changed. Never reads former decisions."""
    draft = _Draft(state, place)
    if isinstance(fact, Message):
        _decide_message(draft, fact, changes)
    else:
        for item in changes:
            if isinstance(item, ClientTicketChanged) and item.created:
                _return_number(draft, item.client_ticket)
    return draft.effects


def _decide_message(draft: _Draft, message: Message, changes: list[Delta]) -> None:
    fresh = False
    for item in changes:
        match item:
            case GenerationStarted():
                fresh = True
                _create(draft, item)
            case ClientTicketChanged(client_ticket=known, adopted=True):
                fresh = True  # its owner has this news already
                if not known.returned:
                    _return_number(draft, known)
            case GenerationEnded():
                _end(draft, message, item, changes)
            case NumberMissing(client_ticket=known):
                _return_number(draft, known, rearm=True)
            case _:
                pass
    _follow_record(draft, message, changes, fresh=fresh)
    for item in changes:
        match item:
            case NoteAdded(note=note) if draft.state.started:
                _comment(draft, note.id, {"body": note.body, "author": note.author, "email": note.email})
            case AttachmentChanged(announced=AttachmentInfo() as info):
                _download(draft, info)
            case ApprovalChanged(asked=ApprovalRequest() as asked):
                _pass_approval(draft, message, asked)
            case _:
                pass


def _create(draft: _Draft, started: GenerationStarted) -> None:
    state = draft.state
    fields = {**state.fields, "state": state.state or ""}
    key = create_key(state.stream, started.generation)
    draft.add(EffectKind.CREATE, key, fields=fields, generation=started.generation)
    for note in started.notes:
        _comment(draft, note.id, {"body": note.body, "author": note.author, "email": note.email})


def _end(draft: _Draft, message: Message, ended: GenerationEnded, changes: list[Delta]) -> None:
    if not ended.closed and (ended.rejected or _is_over(draft.state, ended.generation)):
        return
    verb, kind = ("close", EffectKind.CLOSE) if ended.closed else ("cancel", EffectKind.CANCEL)
    key = generation_key(verb, draft.state.stream, ended.generation)
    fields = {**_news(changes), "state": draft.state.state or ""}
    draft.add(kind, key, fields=fields, generation=ended.generation)


def _is_over(state: TicketState, generation: int) -> bool:
    """Whether the desk has told that this generation's client ticket came to its end already (R190, R191)."""
    known = [item for item in state.client_tickets if item.generation == generation]
    return bool(known) and all(item.state.strip().lower() in _OVER for item in known)


_OVER: Final = frozenset({"closed", "cancelled", "canceled"})


def _return_number(draft: _Draft, known: ClientTicket, *, rearm: bool = False) -> None:
    key = return_key(draft.state.stream, known.number)
    draft.add(EffectKind.RETURN_NUMBER, key, generation=known.generation, number=known.number, rearm=rearm)


def _follow_record(draft: _Draft, message: Message, changes: list[Delta], *, fresh: bool) -> None:
    """Bring the client ticket to the ticket's new state and fields, in one effect."""
    state = draft.state
    moved = next((item for item in changes if isinstance(item, Moved)), None)
    fields = _news(changes)
    if state.type is TicketType.CHANGE:
        if fresh or not state.live or not (moved or fields):
            return
        kind = EffectKind.UPDATE
    else:
        kind = incident.desk_kind(moved) if moved else EffectKind.UPDATE
        if kind is EffectKind.UPDATE and (fresh or not (moved or fields)):
            return
    if moved:
        fields["state"] = moved.after
    draft.add(kind, _record_key(state, kind, message), fields=fields)


def _record_key(state: TicketState, kind: EffectKind, message: Message) -> EffectKey:
    if kind is EffectKind.CANCEL:
        # An incident that came back and is cancelled again must be cancelled at the desk again.
        if state.cancels <= 1:
            return generation_key("cancel", state.stream, state.started)
        return message_effect_key("cancel", state.stream, message.message_id)
    return message_effect_key(_VERBS[kind], state.stream, message.message_id)


_VERBS: Final = {
    EffectKind.UPDATE: "upd",
    EffectKind.RESOLVE: "resolve",
    EffectKind.CLOSE: "close",
    EffectKind.REOPEN: "reopen",
}


def _news(changes: list[Delta]) -> dict[str, str]:
    """All fields these changes set, without the bookkeeping that is no news to the desk (R61)."""
    fields: dict[str, str] = {}
    for item in changes:
        if isinstance(item, FieldsChanged):
            fields.update(item.fields)
    fields.pop("updatedOn", None)
    return fields


def _comment(draft: _Draft, note_id: str, fields: Mapping[str, str]) -> None:
    if not fields["body"].strip():
        return  # flagged already, and nothing to tell
    draft.add(EffectKind.COMMENT, note_key(draft.state.stream, note_id), fields=fields)


def _download(draft: _Draft, info: AttachmentInfo) -> None:
    fields = {"attachment": info.id, **({"size": str(info.size)} if info.size is not None else {})}
    key = attachment_key(draft.state.stream, info.id)
    draft.add(EffectKind.DOWNLOAD, key, fields=fields, deadline=info.expires_at, rearm=True, hurry=info.session)


def _pass_approval(draft: _Draft, message: Message, asked: ApprovalRequest) -> None:
    if not draft.state.live:
        return
    fields = {
        "approvalId": asked.id,
        "approverName": asked.name,
        "approverEmail": asked.email,
        "approvalState": asked.state,
    }
    key = message_effect_key("upd", draft.state.stream, message.message_id)
    for place, known in enumerate(draft.effects):
        if known.key == key:  # the message brought news of the record too: the desk gets all of it in one update
            draft.effects[place] = msgspec.structs.replace(known, fields={**known.fields, **fields})
            return
    draft.add(EffectKind.UPDATE, key, fields=fields)
