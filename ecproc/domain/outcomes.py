"""What came of a ticket's effects, folded into the ticket: client tickets linked and changed, files stored."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from ecproc.domain.anomalies import Anomaly
from ecproc.domain.deltas import Attachment, AttachmentChanged, ClientTicket, ClientTicketChanged, Delta
from ecproc.domain.effects import Effect, EffectKind
from ecproc.domain.entry import Entry, EntryState
from ecproc.domain.events import EffectFailed, EffectStarted, EffectSucceeded, Hold, OperatorActed, Outcome, Place
from ecproc.domain.ids import ClientNumber, create_key, identity
from ecproc.domain.sending import COMMAND_EFFECTS, settle_command
from ecproc.domain.shadow import note_written
from ecproc.domain.state import AttachmentStatus, TicketState, flag, flag_once

_SIZE_DIGITS: Final = 18
"""More than that is no size of a file, and would not fit into 64 bits."""


def evolve_outcome(state: TicketState, outcome: Outcome, place: Place) -> list[Delta]:
    """Fold an outcome that its entry has taken already; that of a key nobody planned changes nothing."""
    entry = state.plans.entries.get(outcome.key)
    if entry is None:
        return []
    return _flag_remarks(state, outcome, place) + _evolve_planned(state, entry, outcome, place)


def _flag_remarks(state: TicketState, outcome: Outcome, place: Place) -> list[Delta]:
    remarks = () if isinstance(outcome, (EffectStarted, OperatorActed)) else outcome.remarks or ()
    return [delta for each in remarks for delta in flag_once(state, each.code, each.detail, place.position)]


def _evolve_planned(state: TicketState, entry: Entry, outcome: Outcome, place: Place) -> list[Delta]:
    effect = entry.effect
    if effect.kind is EffectKind.DOWNLOAD:
        if isinstance(outcome, OperatorActed):
            return _steer_download(state, entry)
        return _evolve_download(state, effect, outcome, place)
    if isinstance(outcome, EffectFailed) and outcome.held is Hold.ODD_ANSWER:
        detail = f"{effect.kind}: {outcome.reason[:200]}"
        return flag_once(state, Anomaly.ODD_ANSWER, detail, place.position)
    if effect.kind in COMMAND_EFFECTS:
        return settle_command(state, effect, outcome, place)
    if not isinstance(outcome, EffectSucceeded):
        return _flag_refused(state, effect, outcome, place)
    note_written(state, effect.number or outcome.result.get("number", ""), outcome)
    if effect.kind is EffectKind.CREATE:
        return _link(state, effect, outcome.result, place)
    if effect.kind is EffectKind.ATTACH:
        return _deliver_file(state, effect)
    return _update_client_ticket(state, effect, outcome.result, place)


def _flag_refused(state: TicketState, effect: Effect, outcome: Outcome, place: Place) -> list[Delta]:
    """A re-open that will not be tried again is told with what the desk said; a person's own act is none."""
    if effect.kind is not EffectKind.REOPEN or not isinstance(outcome, EffectFailed):
        return []
    if outcome.next_attempt_at is not None:
        return []
    return [flag(state, Anomaly.REOPEN_REFUSED, outcome.reason[:200], place.position)]


def _steer_download(state: TicketState, entry: Entry) -> list[Delta]:
    """A file is pending again once a person wants it tried, and given up where that person said so."""
    known = _find_file(state, entry.effect)
    status = AttachmentStatus.FAILED if entry.state is EntryState.DISCARDED else AttachmentStatus.PENDING
    if known is None or known.status in (AttachmentStatus.STORED, status):
        return []
    state.attachments[known.id] = msgspec.structs.replace(known, status=status)
    return [AttachmentChanged(state.attachments[known.id])]


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
    if known.status == AttachmentStatus.STORED or outcome.cause not in (0, known.announced):
        return []
    state.attachments[known.id] = msgspec.structs.replace(known, status=AttachmentStatus.FAILED)
    return [AttachmentChanged(state.attachments[known.id])]


def _find_file(state: TicketState, effect: Effect) -> Attachment | None:
    """The file of a download; in an older log it may go by another id than its message gives it today."""
    known = state.attachments.get(effect.fields.get("attachment", ""))
    return known or next((item for item in state.attachments.values() if item.announced == effect.position), None)


def _store_file(state: TicketState, known: Attachment, result: Mapping[str, str], place: Place) -> list[Delta]:
    size = _parse_size(result.get("size", ""), known.size)
    stored = msgspec.structs.replace(
        known, status=AttachmentStatus.STORED, size=size, sha256=result.get("sha256"), path=result.get("path")
    )
    state.attachments[known.id] = stored
    if known.size in (None, size):
        return [AttachmentChanged(stored)]
    detail = f"{known.name[:80]}: announced {known.size} bytes, stored {size}"
    return [AttachmentChanged(stored), flag(state, Anomaly.SIZE_DIFFERS, detail, place.position)]


def _deliver_file(state: TicketState, effect: Effect) -> list[Delta]:
    known = state.attachments.get(effect.fields.get("attachment", ""))
    if known is None or known.delivered >= effect.generation:
        return []
    state.attachments[known.id] = msgspec.structs.replace(known, delivered=effect.generation)
    return [AttachmentChanged(state.attachments[known.id])]


def _parse_size(text: str, announced: int | None) -> int | None:
    return int(text) if text.isdecimal() and len(text) <= _SIZE_DIGITS else announced


def _link(state: TicketState, effect: Effect, result: Mapping[str, str], place: Place) -> list[Delta]:
    number = ClientNumber(identity(result.get("number")))
    known = [item.number for item in state.client_tickets if item.generation == effect.generation]
    if not number or number in known:
        return []
    deltas: list[Delta] = []
    again = effect.key != create_key(state.stream, effect.generation)
    if known and not again:
        detail = f"{', '.join(known)} and {number} for generation {effect.generation}"
        deltas.append(flag(state, Anomaly.DOUBLE_CREATE, detail, place.position))
    created = ClientTicket(
        number=number,
        generation=effect.generation,
        returned=False,
        state=result.get("state", "open"),
        reference=result.get("reference", ""),
        url=result.get("url", ""),
        follows=known[-1] if known and again else "",
    )
    state.client_tickets.append(created)
    state.client_tickets.sort(key=_generation_of)
    return [*deltas, ClientTicketChanged(created, created=True)]


def _generation_of(client_ticket: ClientTicket) -> int:
    return client_ticket.generation


def _update_client_ticket(state: TicketState, effect: Effect, result: Mapping[str, str], place: Place) -> list[Delta]:
    for index, known in enumerate(state.client_tickets):
        if known.number != (effect.number or result.get("number")):
            continue
        if effect.kind is EffectKind.RETURN_NUMBER:
            updated = msgspec.structs.replace(known, returned=True, returned_at=place.at)
        else:
            updated = msgspec.structs.replace(
                known,
                state=result.get("state", known.state),
                reference=result.get("reference", known.reference),
                url=result.get("url", known.url),
            )
        state.client_tickets[index] = updated
        return [ClientTicketChanged(updated)] if updated != known else []
    return _adopt_returned(state, effect, place) if effect.kind is EffectKind.RETURN_NUMBER else []


def _adopt_returned(state: TicketState, effect: Effect, place: Place) -> list[Delta]:
    """A number that a person had us return is the ticket's newest, which Ensono has (R122)."""
    if not effect.number:
        return []
    generation = state.generation
    if generation.started == 0:
        generation.started, generation.live = generation.number, True
    returned = ClientTicket(
        number=ClientNumber(effect.number),
        generation=generation.started,
        returned=True,
        state="open",
        returned_at=place.at,
    )
    state.client_tickets.append(returned)
    return [ClientTicketChanged(returned, adopted=True)]
