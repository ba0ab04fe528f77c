"""A ticket's life: `evolve` folds any fact into its state with the ticket type's machine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, assert_never

import msgspec

from ecproc.domain import change, incident
from ecproc.domain.effects import Effect, EffectKind
from ecproc.domain.entry import apply_outcome
from ecproc.domain.events import (
    AttachmentInfo,
    Decided,
    EffectFailed,
    EffectStarted,
    EffectSucceeded,
    EffectUnknown,
    Fact,
    Message,
    Outcome,
    Place,
    Quarantined,
    TicketType,
    Transaction,
    Undecodable,
)
from ecproc.domain.ids import (
    NO_SEQUENCE,
    ClientNumber,
    TicketNumber,
)
from ecproc.domain.state import (
    Attachment,
    AttachmentChanged,
    Change,
    ClientTicket,
    ClientTicketChanged,
    NoteAdded,
    NumberMissing,
    Planned,
    Refused,
    TicketState,
    add_entry,
    flag,
)

RETURN_GRACE: Final = 5 * 60 * 1_000_000
"""Microseconds after which a message without our number means that Ensono lost it (decision 8)."""

_SIZE_DIGITS: Final = 18
_RECORDS: Final = frozenset({Transaction.CREATE, Transaction.UPDATE, Transaction.CLOSURE, Transaction.REDRAFT})


def evolve(state: TicketState, fact: Fact, place: Place) -> list[Change]:
    """Fold one fact into the state in place and return what it changed. Never raises on any history."""
    match fact:
        case Message():
            return _evolve_message(state, fact)
        case Undecodable():
            return [Refused(fact.reason, fact.detail)]
        case Quarantined():
            return []
        case EffectStarted() | EffectSucceeded() | EffectFailed() | EffectUnknown():
            _touch(state, place.position, place.version, place.at)
            return _evolve_outcome(state, fact, place)
        case _:
            assert_never(fact)


def apply_decided(state: TicketState, decided: Decided) -> list[Change]:
    """Write down the effects of a recorded decision; nothing else of the state is touched (decision 4)."""
    return [Planned(add_entry(state, effect)) for effect in decided.effects]


def _touch(state: TicketState, position: int, version: int, at: int) -> None:
    state.position = position
    state.version = version
    state.updated_at = max(state.updated_at, at)


# --- messages ---------------------------------------------------------------------------------------------------------


def _evolve_message(state: TicketState, message: Message) -> list[Change]:
    kind = state.type or message.ticket_type
    if kind is None:
        return [Refused("no_ticket_type", "no known ticketType in this message or any before it")]
    _touch(state, message.position, message.version, message.at)
    state.type = kind
    state.ticket = state.ticket or TicketNumber(message.ticket_number or state.stream)
    state.opened_at = state.opened_at or message.opened_at or message.at
    if message.message_id in state.message_ids:
        detail = f"message {message.message_id[:80]} came under another number"
        return [flag(state, "duplicate", detail, message.position)]
    state.message_ids.add(message.message_id)
    late = NO_SEQUENCE != message.sequence < state.sequence
    state.sequence = max(state.sequence, message.sequence)
    changes: list[Change] = []
    if late:
        changes.append(flag(state, "late", "a newer message of this ticket was folded before", message.position))
    if message.ticket_type not in (None, kind):
        detail = f"ticketType {message.ticket_type} on a ticket of type {kind}"
        changes.append(flag(state, "unknown_value", detail, message.position))
    if message.transaction is Transaction.UNKNOWN:
        detail = f"TransactionType {message.transaction_name[:80]!r}"
        return [*changes, flag(state, "unknown_type", detail, message.position)]
    changes += _apply_message(state, message, kind, late=late)
    return changes


def _apply_message(state: TicketState, message: Message, kind: TicketType, *, late: bool) -> list[Change]:
    machine = change if kind is TicketType.CHANGE else incident
    changes: list[Change] = []
    if not state.opened:
        state.opened = True
        if state.ticket != state.stream:
            detail = f"ticketNumber {state.ticket[:80]} in group {state.stream[:80]}"
            changes.append(flag(state, "link_mismatch", detail, message.position))
        changes += _adopt(state, message) + machine.open_ticket(state, message)
    else:
        if not late:
            changes += _compare_numbers(state, message)
        if message.transaction in _RECORDS:
            changes += machine.apply_record(state, message, late=late)
        elif state.state in machine.FINAL and not late:
            detail = f"{message.transaction_name} on a ticket that is {state.state}"
            changes.append(flag(state, "after_final", detail, message.position))
    if message.notes:
        changes += _add_notes(state, message)
    if message.attachment is not None:
        changes += _announce(state, message.attachment, message.position)
    if kind is TicketType.CHANGE:
        changes += change.add_approval(state, message)
    return changes


def _adopt(state: TicketState, message: Message) -> list[Change]:
    """Take over a ticket that has a client number already, or whose Create we never saw (decision 6)."""
    changes: list[Change] = []
    if message.transaction is not Transaction.CREATE:
        changes.append(flag(state, "adopted", f"first message is {message.transaction_name}", message.position))
    if message.client_number:
        number = ClientNumber(message.client_number)
        known = ClientTicket(number=number, generation=1, returned=True, state="open")
        state.client_tickets.append(known)
        state.started = 1
        state.live = True
        changes.append(ClientTicketChanged(known))
    return changes


def _compare_numbers(state: TicketState, message: Message) -> list[Change]:
    """Notice that Ensono has another number than ours, or lost ours (R120, R121)."""
    theirs, ours = message.client_number, state.client_ticket
    known = not theirs or (ours is not None and ours.number == theirs)
    if not known and all(item.number != theirs for item in state.client_tickets):
        detail = f"Ensono has {theirs[:80]}, we have {ours.number if ours else 'none yet'}"
        return [flag(state, "link_mismatch", detail, message.position)]
    if ours is None or not message.number_missing:
        return []
    if not ours.returned:
        return [NumberMissing(ours)]  # the return is under way, or dead and to be armed again
    lost = ours.returned_at is not None and message.at > ours.returned_at + RETURN_GRACE
    return [NumberMissing(ours)] if lost else []


def _add_notes(state: TicketState, message: Message) -> list[Change]:
    changes: list[Change] = []
    for note in message.notes:
        if note.id in state.note_ids:
            continue
        state.note_ids.add(note.id)
        changes.append(NoteAdded(note, message.at, len(state.note_ids)))
        if state.started == 0:
            state.held_notes.append(note)
    return changes


def _announce(state: TicketState, info: AttachmentInfo, position: int) -> list[Change]:
    known = state.attachments.get(info.id)
    if known is not None and known.status != "failed":
        return []
    attachment = Attachment(
        id=info.id,
        name=info.name,
        type=info.type,
        size=info.size,
        status="pending",
        order=known.order if known else len(state.attachments) + 1,
        announced=position,
    )
    state.attachments[info.id] = attachment
    return [AttachmentChanged(attachment, announced=info)]


# --- outcomes ---------------------------------------------------------------------------------------------------------


def _evolve_outcome(state: TicketState, outcome: Outcome, place: Place) -> list[Change]:
    entry = state.entries.get(outcome.key)
    if entry is None:
        return []
    ended = apply_outcome(entry, outcome)
    state.entries[outcome.key] = ended
    effect = entry.effect
    if effect.kind is EffectKind.DOWNLOAD:
        return _evolve_download(state, effect, outcome)
    if not isinstance(outcome, EffectSucceeded):
        return []
    if effect.kind is EffectKind.CREATE:
        return _link(state, effect, outcome.result, place)
    return _update_client_ticket(state, effect, outcome.result, place)


def _evolve_download(state: TicketState, effect: Effect, outcome: Outcome) -> list[Change]:
    """A file that was had is had, whichever address it came from; only that of its last announcement can fail it."""
    known = state.attachments.get(effect.fields.get("attachment", ""))
    if known is None:
        return []
    if isinstance(outcome, EffectSucceeded):
        result = outcome.result
        size = _parse_size(result.get("size", ""), known.size)
        sha256, path = result.get("sha256"), result.get("path")
        stored = msgspec.structs.replace(known, status="stored", size=size, sha256=sha256, path=path)
    elif isinstance(outcome, EffectFailed) and outcome.next_attempt_at is None and known.status != "stored":
        if outcome.cause not in (0, known.announced):
            return []
        stored = msgspec.structs.replace(known, status="failed")
    else:
        return []
    state.attachments[known.id] = stored
    return [AttachmentChanged(stored)]


def _parse_size(text: str, announced: int | None) -> int | None:
    return int(text) if text.isdecimal() and len(text) <= _SIZE_DIGITS else announced


def _link(state: TicketState, effect: Effect, result: Mapping[str, str], place: Place) -> list[Change]:
    number = ClientNumber(result.get("number", ""))
    known = [item.number for item in state.client_tickets if item.generation == effect.generation]
    if not number or number in known:
        return []
    changes: list[Change] = []
    if known:
        detail = f"{', '.join(known)} and {number} for generation {effect.generation}"
        changes.append(flag(state, "double_create", detail, place.position))
    created = ClientTicket(
        number=number, generation=effect.generation, returned=False, state=result.get("state", "open")
    )
    state.client_tickets.append(created)
    state.client_tickets.sort(key=_generation_of)
    return [*changes, ClientTicketChanged(created, created=True)]


def _generation_of(client_ticket: ClientTicket) -> int:
    return client_ticket.generation


def _update_client_ticket(state: TicketState, effect: Effect, result: Mapping[str, str], place: Place) -> list[Change]:
    for index, known in enumerate(state.client_tickets):
        if known.number != (effect.number or result.get("number")):
            continue
        if effect.kind is EffectKind.RETURN_NUMBER:
            updated = msgspec.structs.replace(known, returned=True, returned_at=place.at)
        else:
            updated = msgspec.structs.replace(known, state=result.get("state", known.state))
        state.client_tickets[index] = updated
        return [ClientTicketChanged(updated)] if updated != known else []
    return []
