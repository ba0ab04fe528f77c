"""The client's FIFO queue as the guide describes it: in memory, in the caller's time, without any I/O."""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from heapq import heappop, heappush

import msgspec

DAY = 86400.0
FIRST_SEQUENCE = 18875507807458288128
SEQUENCE_STEP = 1 << 20


class QueueRules(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The queue's numbers as the guide gives them (R13, R21, R23, R24); times in seconds.

    `per_group` is how many messages of one group may come in one batch: 10 as in SQS, 1 as in the guide's prose (R20).
    """

    visibility: float = 30.0
    max_receives: int = 20
    retention: float = 4 * DAY
    batch: int = 10
    per_group: int = 10


class QueueMessage(msgspec.Struct, frozen=True, kw_only=True):
    """A message as its sender gave it: the Body's JSON text and the attributes that don't depend on a delivery."""

    message_id: str
    group: str
    body: bytes
    attributes: Mapping[str, object]
    md5: str | None = None


class Delivery(msgspec.Struct, frozen=True):
    """One message handed out once; `first_received` in milliseconds since the epoch."""

    message: QueueMessage
    handle: str
    receive_count: int
    first_received: int


class HandleOutcome(StrEnum):
    """What became of a delete; the first two answer 200."""

    DELETED = "deleted"
    ALREADY_DELETED = "already_deleted"
    EXPIRED = "expired"
    INVALID = "invalid"


class Deletion(msgspec.Struct, frozen=True):
    """A delete's outcome and, when this call removed a message, its last delivery and its place in the queue."""

    outcome: HandleOutcome
    removed: Delivery | None = None
    index: int = -1


@dataclass(slots=True, eq=False)
class _Entry:
    index: int
    message: QueueMessage
    expires_at: float
    receive_count: int = 0
    first_received: int = 0
    in_flight: bool = False
    gone: bool = False


@dataclass(slots=True, eq=False)
class _Group:
    """One ticket's messages in order; locked while `in_flight` is not zero."""

    entries: deque[_Entry] = field(default_factory=deque)
    in_flight: int = 0


class FifoQueue:
    """A FIFO queue with message groups. `now` is always seconds since the epoch and never runs backwards.

    `failed` holds what was received too often, `expired` what nobody deleted in time; neither comes back (R23, R24).
    """

    def __init__(self, rules: QueueRules, *, salt: bytes = b"") -> None:
        self._rules = rules
        self._salt = hashlib.blake2b(salt, digest_size=32).digest()
        self._entries: dict[int, _Entry] = {}
        self._groups: dict[str, _Group] = {}
        self._ready: list[tuple[int, str]] = []
        self._timeouts: list[tuple[float, int, int]] = []
        self._retention: list[tuple[float, int]] = []
        self._given_up: set[int] = set()
        self._sent = 0
        self.failed: list[QueueMessage] = []
        self.expired: list[QueueMessage] = []

    def __len__(self) -> int:
        """Count the messages that wait or are in flight."""
        return len(self._entries)

    def waiting(self) -> list[QueueMessage]:
        """Give the messages that wait or are in flight, oldest first."""
        return [self._entries[index].message for index in sorted(self._entries)]

    def send(self, message: QueueMessage, now: float) -> QueueMessage:
        """Put a message at its group's end and give it as it will be delivered.

        SentTimestamp and SequenceNumber are set where the sender gave none; sequence numbers have 20 digits and grow.
        """
        filled = {
            "SentTimestamp": str(int(now * 1000)),
            "SequenceNumber": str(FIRST_SEQUENCE + self._sent * SEQUENCE_STEP),
        }
        stored = msgspec.structs.replace(message, attributes={**filled, **message.attributes})
        self._insert(_Entry(self._sent, stored, now + self._rules.retention))
        self._sent += 1
        return stored

    def receive(self, now: float) -> list[Delivery]:
        """Hand out up to a batch of messages, oldest first, and hide them for the visibility time.

        Groups with a message in flight give nothing; an unlocked group gives several of its messages in order (R20).
        """
        self.advance(now)
        heads = self._pop_unlocked_heads()
        taken: list[_Entry] = []
        given: Counter[str] = Counter()
        while heads and len(taken) < self._rules.batch:
            index, name = heappop(heads)
            taken.append(self._entries[index])
            given[name] += 1
            following = self._find_following(name, index) if given[name] < self._rules.per_group else None
            if following is not None:
                heappush(heads, (following, name))
        for index, name in heads:
            if name not in given:
                heappush(self._ready, (index, name))
        return [self._deliver(entry, now) for entry in taken]

    def check(self, handle: str, now: float) -> HandleOutcome:
        """Say what a delete would come to: only the newest handle of a hidden message deletes it (R27-R30)."""
        return self._find(handle, now)[0]

    def delete(self, handle: str, now: float) -> Deletion:
        """Remove the message this handle was given out for, if `check` says so."""
        outcome, entry = self._find(handle, now)
        if entry is None:
            return Deletion(outcome)
        self._remove(entry)
        removed = Delivery(entry.message, handle, entry.receive_count, entry.first_received)
        return Deletion(outcome, removed, entry.index)

    def put_back(self, deletion: Deletion) -> None:
        """Show a deleted message once more at its old place, as a queue that delivers at least once may do."""
        if deletion.removed is None or deletion.index in self._entries:
            return
        last = deletion.removed
        self._insert(
            _Entry(deletion.index, last.message, float("inf"), last.receive_count, first_received=last.first_received)
        )

    def advance(self, now: float) -> None:
        """Let time pass: show hidden messages again, move what was received too often, drop what expired."""
        while self._timeouts and self._timeouts[0][0] <= now:
            _, index, delivery = heappop(self._timeouts)
            entry = self._entries.get(index)
            if entry is not None and entry.in_flight and entry.receive_count == delivery:
                self._show(entry)
        while self._retention and self._retention[0][0] <= now:
            entry = self._entries.get(heappop(self._retention)[1])
            if entry is not None and entry.expires_at <= now:
                self._give_up(entry, self.expired)

    def _find(self, handle: str, now: float) -> tuple[HandleOutcome, _Entry | None]:
        """Give what a delete would come to, with the message it would remove."""
        self.advance(now)
        reference = self._read_handle(handle)
        if reference is None:
            return HandleOutcome.INVALID, None
        index, delivery = reference
        entry = self._entries.get(index)
        if entry is None:
            return HandleOutcome.EXPIRED if index in self._given_up else HandleOutcome.ALREADY_DELETED, None
        if entry.in_flight and entry.receive_count == delivery:
            return HandleOutcome.DELETED, entry
        return HandleOutcome.EXPIRED, None

    def _insert(self, entry: _Entry) -> None:
        group = self._groups.setdefault(entry.message.group, _Group())
        place = len(group.entries)
        while place and group.entries[place - 1].index > entry.index:
            place -= 1
        group.entries.insert(place, entry)
        self._entries[entry.index] = entry
        heappush(self._retention, (entry.expires_at, entry.index))
        if group.entries[0] is entry:
            self._offer(entry.message.group, group)

    def _offer(self, name: str, group: _Group) -> None:
        """Let the group be received from if nothing of it is in flight; drop it when it is empty."""
        while group.entries and group.entries[0].gone:
            group.entries.popleft()
        if not group.entries:
            self._groups.pop(name, None)
        elif group.in_flight == 0:
            heappush(self._ready, (group.entries[0].index, name))

    def _pop_unlocked_heads(self) -> list[tuple[int, str]]:
        """Take the oldest heads off the ready heap; entries there may be outdated or repeated."""
        heads: list[tuple[int, str]] = []
        while self._ready and len(heads) < self._rules.batch:
            head = heappop(self._ready)
            group = self._groups.get(head[1])
            if group is None or group.in_flight or group.entries[0].index != head[0]:
                continue
            if not heads or heads[-1] != head:
                heads.append(head)
        return heads

    def _find_following(self, name: str, index: int) -> int | None:
        """Give the index of the group's next message after this one."""
        return next((e.index for e in self._groups[name].entries if e.index > index and not e.gone), None)

    def _deliver(self, entry: _Entry, now: float) -> Delivery:
        entry.in_flight = True
        entry.receive_count += 1
        entry.first_received = entry.first_received or int(now * 1000)
        self._groups[entry.message.group].in_flight += 1
        heappush(self._timeouts, (now + self._rules.visibility, entry.index, entry.receive_count))
        handle = self._mint_handle(entry.index, entry.receive_count)
        return Delivery(entry.message, handle, entry.receive_count, entry.first_received)

    def _show(self, entry: _Entry) -> None:
        if entry.receive_count >= self._rules.max_receives:
            self._give_up(entry, self.failed)
            return
        group = self._groups[entry.message.group]
        entry.in_flight = False
        group.in_flight -= 1
        self._offer(entry.message.group, group)

    def _give_up(self, entry: _Entry, place: list[QueueMessage]) -> None:
        self._given_up.add(entry.index)
        place.append(entry.message)
        self._remove(entry)

    def _remove(self, entry: _Entry) -> None:
        del self._entries[entry.index]
        entry.gone = True
        group = self._groups[entry.message.group]
        group.in_flight -= entry.in_flight
        self._offer(entry.message.group, group)

    def _mint_handle(self, index: int, delivery: int) -> str:
        """Make a handle that holds `/`, `+` and `=` as the guide's do, so that clients must encode it (R27)."""
        reference = index.to_bytes(8, "big") + delivery.to_bytes(4, "big")
        proof = hashlib.blake2b(reference, key=self._salt).digest()
        text = base64.b64encode(reference + proof).decode()
        return f"AQEB{text[:16]}/{text[16:60]}+{text[60:]}"

    def _read_handle(self, handle: str) -> tuple[int, int] | None:
        """Give the place and the delivery number a handle stands for, None if this queue never gave it out."""
        try:
            reference = base64.b64decode(handle[4:20], validate=True)
        except (binascii.Error, ValueError):
            return None
        index, delivery = int.from_bytes(reference[:8], "big"), int.from_bytes(reference[8:], "big")
        return (index, delivery) if self._mint_handle(index, delivery) == handle else None
