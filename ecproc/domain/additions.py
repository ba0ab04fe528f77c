"""What a message adds to a ticket whatever its type: notes and files."""

from __future__ import annotations

from ecproc.domain.anomalies import Anomaly
from ecproc.domain.deltas import Attachment, AttachmentChanged, Delta, NoteAdded
from ecproc.domain.events import AttachmentInfo, Message
from ecproc.domain.state import AttachmentStatus, TicketState, digest, flag_once


def add_notes(state: TicketState, message: Message) -> list[Delta]:
    """Keep the notes that the ticket does not have; without a client ticket to come they are held for it."""
    deltas: list[Delta] = []
    notes = state.memory.notes
    before = len(notes)
    for note in message.notes:
        text = digest(note.body)
        known = notes.setdefault(note.id, text)
        if known != text:
            detail = f"note {note.id[:80]} has another text than before"
            deltas += flag_once(state, Anomaly.BODY_DIFFERS, detail, message.position, about=f"{note.id} {text}")
        if len(notes) == before:
            continue
        before = len(notes)
        deltas.append(NoteAdded(note, message.at, before))
        if state.generation.started == 0:
            state.held_notes.append(note)
    return deltas


def announce(state: TicketState, info: AttachmentInfo, position: int, *, late: bool) -> list[Delta]:
    """A file that is announced again while it is not here has a fresh address: the newest announcement's counts."""
    known = state.attachments.get(info.id)
    if known is not None:
        pending = known.status == AttachmentStatus.PENDING
        if known.status == AttachmentStatus.STORED or (late and pending):
            return []
    attachment = Attachment(
        id=info.id,
        name=info.name,
        type=info.type,
        size=info.size,
        status=AttachmentStatus.PENDING,
        order=known.order if known else len(state.attachments) + 1,
        announced=position,
    )
    state.attachments[info.id] = attachment
    return [AttachmentChanged(attachment, announced=info)]
