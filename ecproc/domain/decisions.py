"""Effects of one fact, as they are drafted: what tickets of all types lead to alike. What a type's own transitions lead
to stands with them, in its own file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from ecproc.domain.deltas import (
    Attachment,
    AttachmentChanged,
    ClientTicket,
    ClientTicketChanged,
    Delta,
    Echoed,
    FieldsChanged,
    GenerationStarted,
    NoteAdded,
    NumberMissing,
)
from ecproc.domain.effects import Effect, EffectKind
from ecproc.domain.events import AttachmentInfo, Fact, Note, Place
from ecproc.domain.external import ExternalReceived
from ecproc.domain.ids import EffectKey, attach_key, attachment_key, create_key, note_key, return_key
from ecproc.domain.state import AttachmentStatus, TicketState

_NO_ECHO: Final = Echoed()


class Draft:
    """Effects of one fact, numbered as they come; `echo` is what of it repeats our own words."""

    def __init__(self, state: TicketState, place: Place) -> None:
        self.state = state
        self.echo = _NO_ECHO
        self.effects: list[Effect] = []
        self._place = place

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
        done: bool = False,
    ) -> None:
        """Put an effect behind those drafted before; it is for the current client ticket unless it names another."""
        state, place = self.state, self._place
        generation = generation or state.generation.started
        known = state.client_ticket_of(generation) if number is None else None
        self.effects.append(
            Effect(
                key=key,
                kind=kind,
                generation=generation,
                position=place.position,
                at=place.at,
                ticket=state.ticket,
                ticket_type=state.type or "",
                ordinal=len(self.effects),
                number=known.number if known is not None else number,
                reference=known.reference if known is not None else "",
                fields=fields or {},
                deadline=deadline,
                rearm=rearm,
                hurry=hurry,
                done=done,
            )
        )


def begin(draft: Draft, delta: Delta) -> bool:
    """What comes before the record's own news: a client ticket's creation, its number's return. True if the client
    ticket has that news from its beginning, or its owner has it already."""
    match delta:
        case GenerationStarted():
            _create(draft, delta)
            return True
        case ClientTicketChanged(client_ticket=known, adopted=True):
            if not known.returned:
                return_number(draft, known)
            return True
        case NumberMissing(client_ticket=known):
            return_number(draft, known, rearm=True)
    return False


def hand_over(draft: Draft, delta: Delta) -> None:
    """What comes behind the record's own news: notes and files."""
    match delta:
        case NoteAdded(note=note) if draft.state.generation.started and note.id not in draft.echo.notes:
            _comment(draft, note)
        case AttachmentChanged(announced=AttachmentInfo() as info):
            _download(draft, info)


def decide_own(draft: Draft, fact: Fact, deltas: Iterable[Delta]) -> None:
    """What comes of a fact that no message is."""
    if isinstance(fact, ExternalReceived) and fact.lacks_reason:
        _ask_reason(draft, fact)
    for delta in deltas:
        if isinstance(delta, ClientTicketChanged) and delta.created:
            if isinstance(fact, ExternalReceived):
                _end_create(draft, delta.client_ticket, fact.key)
            return_number(draft, delta.client_ticket)
        elif isinstance(delta, ClientTicketChanged) and delta.adopted and not delta.client_ticket.returned:
            # A link took the place of a dead create: what waited behind that goes on.
            known = delta.client_ticket
            _end_create(draft, known, create_key(draft.state.stream, known.generation))
            return_number(draft, known)
        elif isinstance(delta, AttachmentChanged) and not delta.attachment.delivered:
            _attach(draft, delta.attachment)


def return_number(draft: Draft, known: ClientTicket, *, rearm: bool = False) -> None:
    """Tell Ensono the number; with `rearm` again, although it took it once."""
    key = return_key(draft.state.stream, known.number)
    draft.add(EffectKind.RETURN_NUMBER, key, generation=known.generation, number=known.number, rearm=rearm)


def _end_create(draft: Draft, created: ClientTicket, key: str) -> None:
    """Nothing is left to do under the key of a create whose client ticket the desk told by itself."""
    result = {"number": created.number, "state": created.state}
    result |= {"reference": created.reference} if created.reference else {}
    draft.add(EffectKind.CREATE, EffectKey(key), fields=result, generation=created.generation, done=True)


def _ask_reason(draft: Draft, rejected: ExternalReceived) -> None:
    """Tell whoever rejected a change at the desk that Ensono takes no rejection without a reason (R179)."""
    body = "Ensono was not told of this rejection yet: it needs a reason. Please add one as the approval's comment."
    draft.add(EffectKind.COMMENT, note_key(draft.state.stream, f"reason:{rejected.id}"), fields={"body": body})


def _attach(draft: Draft, file: Attachment) -> None:
    """Hand a stored file over to the client ticket, if there is (or will be) one."""
    generation = draft.state.generation.started
    if file.status != AttachmentStatus.STORED or not generation:
        return
    fields = {
        "attachment": file.id,
        "name": file.name,
        "type": file.type,
        "size": str(file.size or 0),
        "sha256": file.sha256 or "",
        "path": file.path or "",
    }
    draft.add(EffectKind.ATTACH, attach_key(draft.state.stream, file.id, generation), fields=fields)


def list_news(deltas: Iterable[Delta]) -> dict[str, str]:
    """All fields these deltas set, without the bookkeeping that is no news to the desk (R61), other spellings of the
    same word (R152), and our own words."""
    fields: dict[str, str] = {}
    for delta in deltas:
        if isinstance(delta, FieldsChanged):
            fields.update({name: value for name, value in delta.fields.items() if name not in delta.respelled})
        elif isinstance(delta, Echoed):  # it comes behind all of them
            fields = {name: value for name, value in fields.items() if name not in delta.fields}
    fields.pop("updatedOn", None)
    return fields


def _create(draft: Draft, started: GenerationStarted) -> None:
    state = draft.state
    fields = {**state.record.fields, "state": state.state or ""}
    key = create_key(state.stream, started.generation)
    draft.add(EffectKind.CREATE, key, fields=fields, generation=started.generation)
    for note in started.notes:
        _comment(draft, note)
    for file in state.attachments.values():
        _attach(draft, file)


def _comment(draft: Draft, note: Note) -> None:
    if note.body.strip():  # an empty one is flagged already, and nothing to tell
        fields = {"body": note.body, "author": note.author, "email": note.email}
        draft.add(EffectKind.COMMENT, note_key(draft.state.stream, note.id), fields=fields)


def _download(draft: Draft, info: AttachmentInfo) -> None:
    fields = {"attachment": info.id, **({"size": str(info.size)} if info.size is not None else {})}
    key = attachment_key(draft.state.stream, info.id)
    draft.add(EffectKind.DOWNLOAD, key, fields=fields, deadline=info.expires_at, rearm=True, hurry=info.session)
