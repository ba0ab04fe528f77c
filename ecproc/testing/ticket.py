"""A ticket's life as a test tells it: `given` what came, `when` this comes, `then` the ticket is so."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from ecproc.domain.decisions import decide
from ecproc.domain.effects import Effect
from ecproc.domain.entry import Entry
from ecproc.domain.events import (
    Decided,
    EffectFailed,
    EffectStarted,
    EffectSucceeded,
    EffectUnknown,
    Fact,
    Outcome,
    Place,
    Quarantined,
)
from ecproc.domain.ids import EffectKey
from ecproc.domain.state import Delta, Flagged, Moved, NoteAdded, Planned, Refused, TicketState, plan
from ecproc.domain.ticket import apply_decided, evolve
from ecproc.fold.recorded import Kind, OwnEvent, decode_event, encode_event
from ecproc.wire.queue import decode_message
from ecproc.wire.translate import translate

FIRST_SEQUENCE: Final = 18_875_507_807_458_288_128
"""The guide's own first number: more than 64 bits hold."""
START: Final = 1_700_000_000
"""When every life begins, in seconds UTC; each event comes a second later unless it says `at`."""

Sent = Mapping[str, Any]
"""A message as the queue answers it, less what `Life` numbers: MessageId, SequenceNumber, SentTimestamp."""


class Answered(msgspec.Struct, frozen=True):
    """What came of an effect, named by its key or the start of it (`create`): the newest such entry is meant."""

    key: str
    outcome: Callable[[EffectKey], Outcome]


Event = Sent | Answered | Outcome


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
    whole = {"clientName": "testClient", "clientTicketNumber": "", "ticketType": kind, "ticketNumber": ticket}
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


class Recorded(msgspec.Struct, frozen=True):
    """An event as a log keeps it."""

    place: Place
    kind: Kind
    payload: bytes
    message_id: str = ""

    def read(self) -> Fact | Decided:
        """The fact in it."""
        if self.kind is Kind.MESSAGE_RECEIVED:
            return translate(self.payload, self.place, self.message_id)
        event = decode_event(self.kind, self.payload)
        assert event is not None
        return event


class Life:
    """One ticket's stream with its actor: steps as the runtime takes them, recorded as the runtime records them."""

    def __init__(self, stream: str | None = None) -> None:
        self.stream = stream
        self.state = TicketState(stream or "")
        self.log: list[Recorded] = []
        self.waiting: deque[Recorded] = deque()
        self.changes: list[Delta] = []
        self.effects: list[Effect] = []
        self.new: list[Effect] = []
        self._held: list[OwnEvent] = []
        self._counts = {"message": 0, "fact": 0, "number": 0}

    # --- what happens ---

    def append(self, *events: Event) -> Life:
        """Record facts, as the queue's reader and the dispatcher do: no step is taken."""
        for event in events:
            self._counts["fact"] += 1
            if isinstance(event, Mapping):
                self._append_message(event)
            else:
                self._record(*encode_event(self._resolve(event)), wanted=True)
        return self

    def begin(self) -> Life:
        """Let the actor evolve and decide everything that waits; nothing of it is recorded yet."""
        place, self.new = None, []
        while self.waiting:
            record = self.waiting.popleft()
            place, fact = record.place, record.read()
            assert not isinstance(fact, Decided)
            changes = evolve(self.state, fact, place)
            self._held += [Quarantined(place.position, c.reason, c.detail) for c in changes if isinstance(c, Refused)]
            self.new += plan(self.state, decide(self.state, fact, changes, place))
            self.changes += changes
        if place is not None:
            self._held.append(Decided(place.version, tuple(self.new)))
        return self

    def end(self) -> Life:
        """Record what the actor decided."""
        for event in self._held:
            self._record(*encode_event(event))
            self.effects += event.effects if isinstance(event, Decided) else ()
        self._held = []
        return self

    def when(self, *events: Event) -> Life:
        """Append the events and take one step for all of them; its effects are `new`."""
        return self.append(*events).begin().end()

    def settle(self) -> Life:
        """Answered every entry that is not finished with success, until none is left."""
        while open_keys := [entry.effect.key for entry in self._ordered() if not entry.finished]:
            for key in open_keys:
                self.when(succeed(key))
        return self

    def forget(self, *, snapshot: bool = False) -> Life:
        """Lose the folded state, and a step that is not recorded, and fold again: from the log, or out of bytes."""
        if snapshot and not self._held:
            self.state = msgspec.msgpack.decode(msgspec.msgpack.encode(self.state), type=TicketState)
            return self
        self.state, self.changes, self.waiting, self._held = TicketState(self.stream or ""), [], deque(), []
        skipped = {fact.position for fact in map(Recorded.read, self.log) if isinstance(fact, Quarantined)}
        for record in self.log:
            fact = record.read()
            if isinstance(fact, Decided):
                self._follow(fact, skipped)
            elif not isinstance(fact, Quarantined):
                self.waiting.append(record)
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
        return self.state.generation

    @property
    def fields(self) -> Mapping[str, str]:
        """The ticket's fields."""
        return self.state.fields

    @property
    def numbers(self) -> list[str]:
        """Our client tickets' numbers, oldest first."""
        return [item.number for item in self.state.client_tickets]

    @property
    def history(self) -> list[str]:
        """The states the ticket went to."""
        return [item.after for item in self.changes if isinstance(item, Moved)]

    @property
    def anomalies(self) -> list[str]:
        """The anomalies' codes."""
        return [item.code for item in self.changes if isinstance(item, Flagged)]

    @property
    def refused(self) -> list[str]:
        """Why messages were refused."""
        return [item.reason for item in self.changes if isinstance(item, Refused)]

    @property
    def notes(self) -> list[str]:
        """The notes' ids."""
        return [item.note.id for item in self.changes if isinstance(item, NoteAdded)]

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
            self.stream = self.state.stream = envelope.stream
        self._record(Kind.MESSAGE_RECEIVED, envelope.payload, wanted=True, message_id=envelope.message_id)

    def _record(self, kind: Kind, payload: bytes, *, wanted: bool = False, message_id: str = "") -> None:
        version = len(self.log) + 1
        at = (START + self._counts["fact"]) * 1_000_000
        record = Recorded(Place(version * 10, version, at), kind, payload, message_id)
        self.log.append(record)
        if wanted:
            self.waiting.append(record)

    def _resolve(self, event: Answered | Outcome) -> Outcome:
        if not isinstance(event, Answered):
            return event
        found = [key for key in self.state.entries if key == event.key or key.startswith(event.key + ":")]
        assert found, f"no effect {event.key} among {list(self.state.entries)}"
        outcome = event.outcome(max(found, key=lambda key: self.state.entries[key].order))
        if isinstance(outcome, EffectSucceeded) and not outcome.result and outcome.key.startswith("create:"):
            self._counts["number"] += 1
            return EffectSucceeded(outcome.key, {"number": f"LOCAL-{self._counts['number']:07}"})
        return outcome

    def _follow(self, decided: Decided, skipped: set[int]) -> None:
        while self.waiting and self.waiting[0].place.version <= decided.through:
            record = self.waiting.popleft()
            fact = record.read()
            assert not isinstance(fact, Decided)
            if record.place.position not in skipped:
                self.changes += evolve(self.state, fact, record.place)
        self.changes += [item for item in apply_decided(self.state, decided) if not isinstance(item, Planned)]

    def _ordered(self) -> list[Entry]:
        return sorted(self.state.entries.values(), key=lambda entry: entry.order)


def given(*events: Event) -> Life:
    """Give a ticket's life so far, one step for each event."""
    life = Life()
    for event in events:
        life.when(event)
    return life
