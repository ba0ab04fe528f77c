"""A ticket's life: `evolve` folds any fact into its state with the ticket type's machine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, assert_never
from zlib import crc32

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
    Hold,
    Message,
    Noticed,
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
    identity,
)
from ecproc.domain.state import (
    Attachment,
    AttachmentChanged,
    ClientTicket,
    ClientTicketChanged,
    Delta,
    NoteAdded,
    NumberMissing,
    Planned,
    Refused,
    TicketState,
    add_entry,
    digest,
    flag,
    flag_once,
)

DEDUP_WINDOW: Final = 5 * 60 * 1_000_000
"""Microseconds in which the queue itself drops a repeated MessageDeduplicationId."""

_MANY_DEDUPS: Final = 16
_encode = msgspec.msgpack.Encoder().encode

RETURN_GRACE: Final = 5 * 60 * 1_000_000
"""Microseconds after which a message without our number means that Ensono lost it (decision 8)."""

_SIZE_DIGITS: Final = 18
_RECORDS: Final = frozenset({Transaction.CREATE, Transaction.UPDATE, Transaction.CLOSURE, Transaction.REDRAFT})


def evolve(state: TicketState, fact: Fact, place: Place) -> list[Delta]:
    """Fold one fact into the state in place and return what it changed. Never raises on any history."""
    match fact:
        case Message():
            return _evolve_message(state, fact)
        case Undecodable():
            return [Refused(fact.reason, fact.detail)]
        case Quarantined():
            return []
        case Noticed(position=position, code=code, detail=detail):
            _touch(state, place.position, place.version, place.at)
            return flag_once(state, code, detail, position)
        case EffectStarted() | EffectSucceeded() | EffectFailed() | EffectUnknown():
            _touch(state, place.position, place.version, place.at)
            return _evolve_outcome(state, fact, place)
        case _:
            assert_never(fact)


def apply_decided(state: TicketState, decided: Decided) -> list[Delta]:
    """Write down the effects of a recorded decision; nothing else of the state is touched (decision 4)."""
    return [Planned(add_entry(state, effect)) for effect in decided.effects]


def _touch(state: TicketState, position: int, version: int, at: int) -> None:
    state.position = position
    state.version = version
    state.updated_at = max(state.updated_at, at)


# --- messages ---------------------------------------------------------------------------------------------------------


def _evolve_message(state: TicketState, message: Message) -> list[Delta]:
    kind = state.type or message.ticket_type
    if kind is None:
        return [Refused("no_ticket_type", "no known ticketType in this message or any before it")]
    _touch(state, message.position, message.version, message.at)
    state.type = kind
    state.ticket = state.ticket or TicketNumber(message.ticket_number or state.stream)
    state.opened_at = state.opened_at or message.opened_at or (0 if _names_opening(message) else message.at)
    if message.message_id in state.message_ids:
        detail = f"message {message.message_id[:80]} came under another number"
        return [flag(state, "duplicate", detail, message.position)]
    state.message_ids.add(message.message_id)
    late = NO_SEQUENCE != message.sequence < state.sequence
    state.sequence = max(state.sequence, message.sequence)
    changes: list[Delta] = []
    if late:
        changes.append(flag(state, "late", "a newer message of this ticket was folded before", message.position))
    for remark in message.remarks:
        changes += flag_once(state, remark.code, remark.detail, message.position)
    changes += _flag_repeated(state, message)
    if message.ticket_type not in (None, kind):
        detail = f"ticketType {message.ticket_type} on a ticket of type {kind}"
        changes += flag_once(state, "type_changed", detail, message.position)
    if message.transaction is Transaction.UNKNOWN:
        detail = f"TransactionType {message.transaction_name[:80]!r}"
        return [*changes, flag(state, "unknown_type", detail, message.position)]
    if message.transaction is Transaction.CREATE and _is_repeat(state, message):
        return [*changes, flag(state, "duplicate", "the Create came again under another MessageId", message.position)]
    return changes + _apply_message(state, message, kind, late=late)


def _names_opening(message: Message) -> bool:
    return any(message.fields.get(name) for name in ("openedTime", "openedAt"))


def _flag_repeated(state: TicketState, message: Message) -> list[Delta]:
    """Flag a deduplication id that another message of the last minutes had: probably the same news twice (R41)."""
    if not message.dedup:
        return []
    oldest = message.at - DEDUP_WINDOW
    known = state.dedups.get(message.dedup)
    state.dedups[message.dedup] = message.at
    if len(state.dedups) > _MANY_DEDUPS:
        state.dedups = {dedup: at for dedup, at in state.dedups.items() if at > oldest}
    if known is None or known <= oldest:
        return []
    detail = "another message of the last five minutes had this MessageDeduplicationId"
    return [flag(state, "repeated_dedup_id", detail, message.position)]


def _is_repeat(state: TicketState, message: Message) -> bool:
    """Whether this very Create came before; a draft that leaves again may do so in the same words (C20). Any other news
    may come in the same words and be news: it is applied in its order (R41)."""
    known = crc32(_encode((message.status, message.fields, [note.body for note in message.notes])))
    repeated = known in state.creates and state.state != change.State.DRAFT
    state.creates.add(known)
    return repeated


def _apply_message(state: TicketState, message: Message, kind: TicketType, *, late: bool) -> list[Delta]:
    machine = change if kind is TicketType.CHANGE else incident
    changes: list[Delta] = []
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
            if message.transaction is Transaction.CREATE and machine is incident and state.state and not late:
                changes.append(flag(state, "duplicate", "a Create of a ticket that is known", message.position))
            changes += machine.apply_record(state, message, late=late)
        elif state.state in machine.FINAL and not late:
            detail = f"{message.transaction_name} on a ticket that is {state.state}"
            changes.append(flag(state, "after_final", detail, message.position))
    if message.notes:
        changes += _add_notes(state, message)
    if message.attachment is not None:
        changes += _announce(state, message.attachment, message.position, late=late)
    if kind is TicketType.CHANGE:
        changes += change.add_approval(state, message, late=late)
    return changes


def _adopt(state: TicketState, message: Message) -> list[Delta]:
    """Take over a ticket that has a client number already, or whose Create we never saw (decision 6)."""
    changes: list[Delta] = []
    if message.transaction is not Transaction.CREATE:
        changes.append(flag(state, "adopted", f"first message is {message.transaction_name}", message.position))
    if message.client_number:
        number = ClientNumber(message.client_number)
        known = ClientTicket(number=number, generation=1, returned=not message.number_missing, state="open")
        state.client_tickets.append(known)
        state.started = 1
        state.live = True
        changes.append(ClientTicketChanged(known, adopted=True))
    return changes


def _compare_numbers(state: TicketState, message: Message) -> list[Delta]:
    """Notice that Ensono has another number than ours, has ours, or lost it (R120, R121)."""
    theirs, ours = message.client_number, state.client_ticket
    known = not theirs or (ours is not None and ours.number == theirs)
    if not known and all(item.number != theirs for item in state.client_tickets):
        detail = f"Ensono has {theirs[:80]}, we have {ours.number if ours else 'none yet'}"
        return [flag(state, "link_mismatch", detail, message.position)]
    if ours is None:
        return []
    if not message.number_missing:
        return _confirm_number(state, ours) if theirs == ours.number else []
    if not ours.returned:
        return [NumberMissing(ours)]  # the return is under way, or dead and to be armed again
    # What we have only from Ensono itself has nothing under way that this message could have overtaken.
    lost = ours.returned_at is None or message.at > ours.returned_at + RETURN_GRACE
    return [NumberMissing(ours)] if lost else []


def _confirm_number(state: TicketState, ours: ClientTicket) -> list[Delta]:
    """Ensono shows our number: it has it, whatever it answered when we returned it."""
    if ours.returned:
        return []
    state.client_tickets[-1] = msgspec.structs.replace(ours, returned=True)
    return [ClientTicketChanged(state.client_tickets[-1])]


def _add_notes(state: TicketState, message: Message) -> list[Delta]:
    changes: list[Delta] = []
    before = len(state.notes)
    for note in message.notes:
        text = digest(note.body)
        known = state.notes.setdefault(note.id, text)
        if known != text:
            detail = f"note {note.id[:80]} has another text than before"
            changes += flag_once(state, "body_differs", detail, message.position, about=f"{note.id} {text}")
        if len(state.notes) == before:
            continue
        before = len(state.notes)
        changes.append(NoteAdded(note, message.at, before))
        if state.started == 0:
            state.held_notes.append(note)
    return changes


def _announce(state: TicketState, info: AttachmentInfo, position: int, *, late: bool) -> list[Delta]:
    """A file that is announced again while it is not here has a fresh address: the newest announcement's counts."""
    known = state.attachments.get(info.id)
    if known is not None and (known.status == "stored" or (late and known.status == "pending")):
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


def _evolve_outcome(state: TicketState, outcome: Outcome, place: Place) -> list[Delta]:
    entry = state.entries.get(outcome.key)
    if entry is None:
        return []
    ended = apply_outcome(entry, outcome)
    state.entries[outcome.key] = ended
    effect = entry.effect
    if effect.kind is EffectKind.DOWNLOAD:
        return _evolve_download(state, effect, outcome, place)
    if isinstance(outcome, EffectFailed) and outcome.held is Hold.ODD_ANSWER:
        return flag_once(state, "odd_answer", f"{effect.kind}: {outcome.reason[:200]}", place.position)
    if not isinstance(outcome, EffectSucceeded):
        return []
    if effect.kind is EffectKind.CREATE:
        return _link(state, effect, outcome.result, place)
    return _update_client_ticket(state, effect, outcome.result, place)


def _evolve_download(state: TicketState, effect: Effect, outcome: Outcome, place: Place) -> list[Delta]:
    """A file that was had is had, whichever address it came from; only that of its last announcement can fail it, and
    one that waits for a person is not given up."""
    known = _find_file(state, effect)
    if known is None:
        return []
    if isinstance(outcome, EffectSucceeded):
        return _store_file(state, known, outcome.result, place)
    if not isinstance(outcome, EffectFailed) or outcome.next_attempt_at is not None or outcome.parked:
        return []
    if known.status == "stored" or outcome.cause not in (0, known.announced):
        return []
    state.attachments[known.id] = msgspec.structs.replace(known, status="failed")
    return [AttachmentChanged(state.attachments[known.id])]


def _find_file(state: TicketState, effect: Effect) -> Attachment | None:
    """The file of a download; in an older log it may go by another id than its message gives it today."""
    known = state.attachments.get(effect.fields.get("attachment", ""))
    return known or next((item for item in state.attachments.values() if item.announced == effect.position), None)


def _store_file(state: TicketState, known: Attachment, result: Mapping[str, str], place: Place) -> list[Delta]:
    size = _parse_size(result.get("size", ""), known.size)
    stored = msgspec.structs.replace(
        known, status="stored", size=size, sha256=result.get("sha256"), path=result.get("path")
    )
    state.attachments[known.id] = stored
    if known.size in (None, size):
        return [AttachmentChanged(stored)]
    detail = f"{known.name[:80]}: announced {known.size} bytes, stored {size}"
    return [AttachmentChanged(stored), flag(state, "size_differs", detail, place.position)]


def _parse_size(text: str, announced: int | None) -> int | None:
    return int(text) if text.isdecimal() and len(text) <= _SIZE_DIGITS else announced


def _link(state: TicketState, effect: Effect, result: Mapping[str, str], place: Place) -> list[Delta]:
    number = ClientNumber(identity(result.get("number")))
    known = [item.number for item in state.client_tickets if item.generation == effect.generation]
    if not number or number in known:
        return []
    changes: list[Delta] = []
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


def _update_client_ticket(state: TicketState, effect: Effect, result: Mapping[str, str], place: Place) -> list[Delta]:
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
