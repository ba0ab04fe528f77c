"""A ticket's life as a test tells it: `given` what came, `when` this comes, `then` the ticket is so."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from ecproc.domain.commands import ClientLinked, CommandAccepted, EnsonoNumberReturned
from ecproc.domain.deltas import Delta, Flagged, Moved, NoteAdded, Planned, Refused
from ecproc.domain.effects import Effect, EffectKind
from ecproc.domain.entry import Entry
from ecproc.domain.events import (
    Decided,
    EffectFailed,
    EffectStarted,
    EffectSucceeded,
    EffectUnknown,
    Noticed,
    Outcome,
    TimerElapsed,
)
from ecproc.domain.ids import EffectKey
from ecproc.domain.log import NewEvent, RecordedEvent
from ecproc.domain.policy import Policy
from ecproc.domain.state import StreamState, TicketState
from ecproc.fold.recorded import Kind, OwnEvent, decode_event, encode_event
from ecproc.fold.step import Step, take_step
from ecproc.fold.stream import StreamFold
from ecproc.fold.tickets import MACHINES
from ecproc.wire.queue import decode_message

FIRST_SEQUENCE: Final = 18_875_507_807_458_288_128
"""The guide's own first number: more than 64 bits hold."""
CLIENT: Final = "testClient"
"""The client whose messages these are."""
START: Final = 1_700_000_000
"""When every life begins, in seconds UTC; each event comes a second later unless it says `at`."""

Sent = Mapping[str, Any]
"""A message as the queue answers it, less what `Life` numbers: MessageId, SequenceNumber, SentTimestamp."""


class Answered(msgspec.Struct, frozen=True):
    """What came of an effect, named by its key or the start of it (`create`): the newest such entry is meant."""

    key: str
    outcome: Callable[[EffectKey], Outcome]


Event = Sent | Answered | Outcome | CommandAccepted | ClientLinked | EnsonoNumberReturned | Noticed | TimerElapsed


def incident(transaction: str, **body: Any) -> Sent:
    """Give an incident's message with these body members; envelope members go in as `envelope=sent(...)`."""
    return _message("Incident", "e-CS1", transaction, body)


def change(transaction: str, **body: Any) -> Sent:
    """Give a change's message, see `incident`."""
    return _message("Change", "e-CHG1", transaction, body)


def sent(
    *, message_id: str | None = None, sequence: int | None = None, at: int | None = None, **attributes: Any
) -> Mapping[str, Any]:
    """Give a message's envelope: `sequence` counts from FIRST_SEQUENCE, `at` in seconds since START."""
    numbered = {} if sequence is None else {"SequenceNumber": str(FIRST_SEQUENCE + sequence)}
    timed = {} if at is None else {"SentTimestamp": str((START + at) * 1000)}
    known = {} if message_id is None else {"MessageId": message_id}
    return {**known, "Attributes": {**numbered, **timed, **attributes}}


def _message(kind: str, ticket: str, transaction: str, body: Mapping[str, Any]) -> Sent:
    members = dict(body)
    envelope = members.pop("envelope", {})
    whole = {"clientName": CLIENT, "clientTicketNumber": "", "ticketType": kind, "ticketNumber": ticket}
    attributes = {"MessageGroupId": ticket, "TransactionType": transaction, **envelope.get("Attributes", {})}
    return {"ReceiptHandle": "AQEB+/=", **envelope, "Body": {**whole, **members}, "Attributes": attributes}


def note(note_id: str, body: str = "text") -> Mapping[str, str]:
    """Give a body's `notes` member."""
    return {"type": "comment", "id": note_id, "body": body, "commenter": "Ensono User", "commenterEmail": "e@x.com"}


def file(file_id: str, name: str = "rocket.jpg", *, signed: str = "20230208T172243Z") -> Mapping[str, str]:
    """Give a body's attachment members; the URL lives two hours."""
    url = f"https://b.s3.us-west-1.amazonaws.com/{name}?X-Amz-Date={signed}&X-Amz-Expires=7200&X-Amz-Signature=00"
    info = f"https://envisiontest.service-now.com/api/now/attachment/{file_id}"
    return {"attachmentName": name, "attachmentInfo": info, "attachmentSize": "138092", "attachment": url}


def approver(approval_id: str, state: str = "Requested") -> Mapping[str, str]:
    """Give a body's approval members."""
    name = f"Approver {approval_id}"
    return {"approvalId": approval_id, "approvalState": state, "approverName": name, "approverEmail": "a@x.com"}


def succeed(key: str, **result: str) -> Answered:
    """An effect succeeded; a create without `number` gets LOCAL-0000001 and so on from `Life`."""
    return Answered(key, lambda exact: EffectSucceeded(exact, result))


def fail(key: str, *, retry_at: int | None = None, parked: bool = False) -> Answered:
    """An effect's own attempt failed: for good unless `retry_at`."""
    return Answered(key, lambda exact: EffectFailed(exact, "refused", True, retry_at, parked))


def start(key: str) -> Answered:
    """An effect's first byte may leave."""
    return Answered(key, EffectStarted)


def lose(key: str) -> Answered:
    """An effect's answer was lost."""
    return Answered(key, lambda exact: EffectUnknown(exact, "timeout", 1))


_EVERYTHING: Final = 1_000_000_000


def _open_fold(stream: str) -> StreamFold:
    return StreamFold(stream, MACHINES.of(stream))


class Life:
    """One stream with its actor: the fold and the steps of the runtime, recorded as it records them; `told` is what
    other streams were told."""

    def __init__(self, stream: str | None = None, *, policy: Policy | None = None) -> None:
        self.stream = stream
        self.policy = policy or Policy()
        self.fold = _open_fold(stream or "")
        self.told: list[NewEvent] = []
        self.log: list[RecordedEvent] = []
        self.deltas: list[Delta] = []
        self.effects: list[Effect] = []
        self.new: list[Effect] = []
        self.step: Step | None = None
        self._counts = {"message": 0, "fact": 0, "number": 0}

    @property
    def whole(self) -> StreamState:
        """The stream as folded so far, of whatever kind."""
        return self.fold.state

    @property
    def state(self) -> TicketState:
        """The ticket as folded so far."""
        assert isinstance(self.fold.state, TicketState)
        return self.fold.state

    # --- what happens ---

    def append(self, *events: Event) -> Life:
        """Record facts, as the queue's reader and the dispatcher do: no step is taken."""
        for event in events:
            self._counts["fact"] += 1
            if isinstance(event, Mapping):
                self._append_message(event)
            else:
                self._read(self._record(*encode_event(self._resolve(event))))
        return self

    def begin(self) -> Life:
        """Let the actor evolve and decide everything that waits; nothing of it is recorded yet."""
        self.new = []
        if self.fold.pending:
            self.fold.history = list(self.log) if self.fold.needs_history else None
            self.step = take_step(
                self.fold, policy=self.policy, client_name=CLIENT, limit=_EVERYTHING, snapshot_events=_EVERYTHING
            )
            self.new = _read_effects(self.step)
            self.deltas += self.step.deltas
        return self

    def end(self) -> Life:
        """Record what the actor decided."""
        step, self.step = self.step, None
        for event in step.batch.events if step is not None else ():
            self._take_up(event)
        self.effects += self.new if step is not None else ()
        return self

    def when(self, *events: Event) -> Life:
        """Append the events and take one step for all of them; its effects are `new`."""
        return self.append(*events).begin().end()

    def wait(self, seconds: float) -> Life:
        """Let time pass before what happens next."""
        self._counts["fact"] += int(seconds)
        return self

    def settle(self) -> Life:
        """Answer every entry that is not finished with success, until none is left."""
        while open_keys := [entry.effect.key for entry in self._ordered() if not entry.finished]:
            for key in open_keys:
                self.when(succeed(key))
        return self

    def forget(self, *, snapshot: bool = False) -> Life:
        """Lose the folded state, and a step that is not recorded, and fold again: from the log, or out of bytes."""
        if snapshot and self.step is None:
            waiting = [event for event, _ in self.fold.pending]
            self.fold = StreamFold.from_snapshot(self.fold.snapshot(), self.fold.machine)
            self._read(*waiting)
            return self
        self.step, self.fold = None, _open_fold(self.stream or "")
        self.deltas = [delta for delta in self.fold.extend(self.log) if not isinstance(delta, Planned)]
        return self

    # --- what came of it ---

    def then(self, **expected: Any) -> Life:
        """Assert that these properties are equal to what is expected."""
        found = {name: getattr(self, name) for name in expected}
        assert found == expected, f"{found} is not {expected}"
        return self

    @property
    def status(self) -> str | None:
        """The ticket's state."""
        return self.state.state

    @property
    def generation(self) -> int:
        """The ticket's generation."""
        return self.state.generation.number

    @property
    def fields(self) -> Mapping[str, str]:
        """The ticket's fields."""
        return self.state.record.fields

    @property
    def numbers(self) -> list[str]:
        """Our client tickets' numbers, oldest first."""
        return [item.number for item in self.state.client_tickets]

    @property
    def history(self) -> list[str]:
        """The states the ticket went to."""
        return [item.after for item in self.deltas if isinstance(item, Moved)]

    @property
    def anomalies(self) -> list[str]:
        """The anomalies' codes."""
        return [item.code for item in self.deltas if isinstance(item, Flagged)]

    @property
    def refused(self) -> list[str]:
        """Why messages were refused."""
        return [item.reason for item in self.deltas if isinstance(item, Refused)]

    @property
    def notes(self) -> list[str]:
        """The notes' ids."""
        return [item.note.id for item in self.deltas if isinstance(item, NoteAdded)]

    @property
    def approvals(self) -> dict[str, str]:
        """The approvals' states by id."""
        return {item.id: item.state for item in self.state.approvals.values()}

    @property
    def attachments(self) -> dict[str, str]:
        """The attachments' states by name."""
        return {item.name: item.status for item in self.state.attachments.values()}

    @property
    def entries(self) -> dict[str, str]:
        """The outbox entries' states by key, in planned order."""
        return {entry.effect.key: entry.state.value for entry in self._ordered()}

    @property
    def keys(self) -> list[str]:
        """The keys of all effects ever planned, in order."""
        return [effect.key for effect in self.effects]

    @property
    def kinds(self) -> list[str]:
        """The first words of those effects' kinds (`create`, `return`, …)."""
        return [effect.kind.value.partition("_")[0] for effect in self.effects]

    @property
    def new_keys(self) -> list[str]:
        """The keys of the effects that the last step planned."""
        return [effect.key for effect in self.new]

    # --- inside ---

    def _append_message(self, message: Sent) -> None:
        self._counts["message"] += 1
        count = self._counts["message"]
        numbered = {
            "SequenceNumber": str(FIRST_SEQUENCE + count),
            "SentTimestamp": str((START + self._counts["fact"]) * 1000),
            **message["Attributes"],
        }
        whole = {"MessageId": f"m{count}", **message, "Attributes": numbered}
        self.receive(msgspec.json.encode(whole))

    def receive(self, raw: bytes) -> None:
        """Record one message of a queue answer, byte for byte."""
        envelope = decode_message(raw)
        if self.stream is None:
            self.stream = envelope.stream
            self.fold = _open_fold(envelope.stream)
        self._read(self._record(Kind.MESSAGE_RECEIVED, envelope.payload, message_key=envelope.key))

    def _record(self, kind: str, payload: bytes, *, message_key: bytes | None = None) -> RecordedEvent:
        version = len(self.log) + 1
        at = (START + self._counts["fact"]) * 1_000_000
        event = RecordedEvent(version * 10, self.stream or "", version, at, kind, payload, b"", message_key)
        self.log.append(event)
        return event

    def _read(self, *events: RecordedEvent) -> None:
        self.fold.extend(events)

    def _take_up(self, event: NewEvent) -> None:
        if event.stream != self.fold.state.stream:
            self.told.append(event)
            return
        recorded = self._record(event.kind, event.payload)
        if event.wanted or not self.fold.pass_own(recorded):
            self._read(recorded)

    def _resolve(self, event: Answered | OwnEvent) -> OwnEvent:
        if not isinstance(event, Answered):
            return event
        entries = self.whole.plans.entries
        found = [key for key in entries if key == event.key or key.startswith(event.key + ":")]
        assert found, f"no effect {event.key} among {list(entries)}"
        outcome = event.outcome(max(found, key=lambda key: entries[key].order))
        is_create = entries[outcome.key].effect.kind is EffectKind.CREATE
        if isinstance(outcome, EffectSucceeded) and not outcome.result and is_create:
            self._counts["number"] += 1
            return EffectSucceeded(outcome.key, {"number": f"LOCAL-{self._counts['number']:07}"})
        return outcome

    def _ordered(self) -> list[Entry]:
        return sorted(self.whole.plans.entries.values(), key=lambda entry: entry.order)


def _read_effects(step: Step) -> list[Effect]:
    """The effects of its decision; a key that was planned twice is there twice."""
    events = [decode_event(event.kind, event.payload) for event in step.batch.events]
    return [effect for event in events if isinstance(event, Decided) for effect in event.effects]


def given(*events: Event, policy: Policy | None = None) -> Life:
    """Give a ticket's life so far, one step for each event, under that policy."""
    life = Life(policy=policy)
    for event in events:
        life.when(event)
    return life
