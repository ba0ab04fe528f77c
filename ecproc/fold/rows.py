"""Live rows: what a step of a stream's actor writes, and nothing it did not change (decision 12)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import msgspec

from ecproc.domain.client_create import ClientCreate
from ecproc.domain.commands import KnownCommand
from ecproc.domain.deltas import (
    Approval,
    ApprovalChanged,
    Attachment,
    AttachmentChanged,
    ClientTicket,
    ClientTicketChanged,
    CommandChanged,
    Delta,
    Flagged,
    Moved,
    NoteAdded,
    PauseChanged,
    Planned,
    QuarantineLeft,
    Timer,
    TimerChanged,
)
from ecproc.domain.entry import Entry, EntryState
from ecproc.domain.ids import normalise_number
from ecproc.domain.log import Row
from ecproc.domain.state import TicketState
from ecproc.domain.times import format_time
from ecproc.fold.recorded import encode_command, encode_entry, encode_timer

_encode = msgspec.json.Encoder().encode


def header_row(state: TicketState) -> Row:
    """The ticket's header, fields and counters; that of an imported link is of no type until a message comes."""
    newest = state.client_ticket
    data = {
        "ticket": state.ticket,
        "type": state.type,
        "state": state.state,
        "client_ticket": newest.number if newest else None,
        "generation": state.generation.number,
        "paused": state.paused,
        "version": state.seen.version,
        "position": state.seen.position,
        "opened_at": format_time(state.opened_at) if state.opened_at else None,
        "updated_at": format_time(state.seen.at),
        "fields": state.record.fields,
        "history_count": state.journal.moves,
        "anomalies_count": state.journal.anomalies,
    }
    tag = f"{state.type or ''}:{state.state or ''}"
    return Row("ticket", state.stream, normalise_number(state.ticket), 0, _encode(data), tag)


def entry_row(stream: str, entry: Entry) -> Row:
    """An outbox entry's row; its lane is the tag until it came to a good end."""
    done = entry.state in (EntryState.COMPLETED, EntryState.CANCELLED)
    return Row("outbox", stream, entry.effect.key, entry.order, encode_entry(entry), None if done else entry.lane)


def command_row(stream: str, command: KnownCommand) -> Row:
    """An accepted command, by its key."""
    return Row("command", stream, command.key, command.order, encode_command(command))


def timer_row(stream: str, timer: Timer, *, over: bool = False) -> Row:
    """A ticket's timer; it is tagged while it may elapse."""
    waits = timer.due_at is not None and timer.elapsed_at is None
    data, tag = (None, None) if over else (encode_timer(timer), timer.timer.value if waits else None)
    return Row("timer", stream, timer.key, timer.due_at or 0, data, tag)


def quarantine_row(stream: str, position: int, *, message_id: str, reason: str, detail: str) -> Row:
    """A message that could not be taken."""
    data = {"position": position, "stream": stream, "message_id": message_id, "reason": reason, "detail": detail}
    return Row("quarantine", stream, str(position), position, _encode(data), reason)


def _flagged_row(stream: str, delta: Flagged) -> Row:
    data = {"position": delta.position, "code": delta.code, "detail": delta.detail}
    return Row("anomaly", stream, str(delta.order), delta.order, _encode(data), delta.code)


def _note_row(stream: str, delta: NoteAdded) -> Row:
    note, at = delta.note, format_time(delta.at)
    data = {"id": note.id, "body": note.body, "author": note.author, "email": note.email, "at": at}
    return Row("note", stream, note.id, delta.order, _encode(data))


def _attachment_row(stream: str, delta: AttachmentChanged) -> Row:
    attachment = delta.attachment
    return Row("attachment", stream, attachment.id, attachment.order, _encode(_attachment(attachment)))


def _approval_row(stream: str, delta: ApprovalChanged) -> Row:
    approval = delta.approval
    return Row("approval", stream, approval.id, approval.order, _encode(_approval(approval)))


def _client_ticket_row(stream: str, delta: ClientTicketChanged) -> Row:
    known = delta.client_ticket
    return Row("client_ticket", stream, known.number, known.generation, _encode(_client_ticket(known)))


def _planned_row(stream: str, delta: Planned) -> Row:
    return entry_row(stream, delta.entry)


def _pause_row(stream: str, delta: PauseChanged) -> Row:
    data = {"what": delta.what, "who": delta.who, "note": delta.note, "at": format_time(delta.at)}
    return Row("pause", stream, delta.what, 0, _encode(data) if delta.paused else None)


def _taken_row(stream: str, delta: QuarantineLeft) -> Row:
    return Row("quarantine", stream, str(delta.position), delta.position, None)


def _command_row(stream: str, delta: CommandChanged) -> Row:
    return command_row(stream, delta.command)


def _timer_row(stream: str, delta: TimerChanged) -> Row:
    return timer_row(stream, delta.timer, over=delta.over)


def _history_row(stream: str, moved: Moved) -> Row:
    data = {
        "position": moved.position,
        "at": format_time(moved.at),
        "event": moved.event,
        "from": moved.before,
        "to": moved.after,
    }
    return Row("history", stream, str(moved.order), moved.order, _encode(data))


def _attachment(attachment: Attachment) -> dict[str, Any]:
    return {
        "id": attachment.id,
        "name": attachment.name,
        "size": attachment.size,
        "type": attachment.type,
        "sha256": attachment.sha256,
        "status": attachment.status,
        "path": attachment.path,
        "delivered": attachment.delivered > 0,
    }


def _approval(approval: Approval) -> dict[str, Any]:
    return {
        "id": approval.id,
        "name": approval.name,
        "email": approval.email,
        "generation": approval.generation,
        "state": approval.state,
    }


def _client_ticket(known: ClientTicket) -> dict[str, Any]:
    return {
        "number": known.number,
        "generation": known.generation,
        "returned": known.returned,
        "state": known.state,
        **({"reference": known.reference} if known.reference else {}),
        **({"url": known.url} if known.url else {}),
    }


SHARED_ROWS: Final[Mapping[type[Delta], Callable[[str, Any], Row]]] = {
    Moved: _history_row,
    Flagged: _flagged_row,
    Planned: _planned_row,
    PauseChanged: _pause_row,
    QuarantineLeft: _taken_row,
    CommandChanged: _command_row,
}
"""How what every kind of stream may go through becomes a row."""
_TICKET_ROWS: Final[Mapping[type[Delta], Callable[[str, Any], Row]]] = {
    **SHARED_ROWS,
    NoteAdded: _note_row,
    AttachmentChanged: _attachment_row,
    ApprovalChanged: _approval_row,
    ClientTicketChanged: _client_ticket_row,
    TimerChanged: _timer_row,
}


def ticket_rows(state: TicketState, deltas: Iterable[Delta]) -> list[Row]:
    """The rows to write after a step: the ticket's header and one row per delta that has one."""
    rows = [header_row(state)] if state.type is not None or state.client_tickets else []
    return rows + delta_rows(state.stream, deltas, _TICKET_ROWS)


def client_rows(state: ClientCreate, deltas: Iterable[Delta]) -> list[Row]:
    """The rows to write after a step of a create of ours. Its header is that of a ticket without Ensono's number, found
    by ours, until Ensono's own stream shows the ticket."""
    header = Row("ticket", state.stream, normalise_number(state.number), 0, None)
    if state.is_shown:
        data = {
            "ticket": None,
            "type": state.type,
            "state": None,
            "client_ticket": state.number,
            "generation": 1,
            "version": state.seen.version,
            "position": state.seen.position,
            "opened_at": format_time(state.opened_at),
            "updated_at": format_time(state.seen.at),
            "fields": state.fields,
            "history_count": state.journal.moves,
            "anomalies_count": state.journal.anomalies,
        }
        header = msgspec.structs.replace(header, data=_encode(data), tag=f"{state.type}:")
    return [header, *delta_rows(state.stream, deltas)]


def delta_rows(
    stream: str, deltas: Iterable[Delta], makers: Mapping[type[Delta], Callable[[str, Any], Row]] = SHARED_ROWS
) -> list[Row]:
    """One row per delta that has one: of those that every kind of stream goes through, unless there are more makers."""
    return [make_row(stream, delta) for delta in deltas if (make_row := makers.get(type(delta))) is not None]
