"""What the bridge saw and did, counted on its own side: the other half of every claim about lost or doubled work."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from copy import deepcopy

import msgspec

from ecproc.simulator.queue import Delivery, FifoQueue, QueueMessage

_MessageKey = tuple[str, str]


class MessageCounts(msgspec.Struct, frozen=True, kw_only=True):
    """Messages by what became of them: sent = deleted + left + lost, whatever the faults.

    `received` and `deleted` count each message once, `redelivered` every delivery after a message's first. `lost` is
    what went to the failure queue or expired without ever being deleted. `unsent` still waits at its sender.
    """

    sent: int
    unsent: int
    received: int
    deliveries: int
    redelivered: int
    deleted: int
    left: int
    failed: int
    expired: int
    lost: int


class UploadedFile(msgspec.Struct, frozen=True):
    """A file the client put to a one-time URL."""

    ticket: str
    name: str
    size: int
    sha256: str
    content_type: str


class Decision(msgspec.Struct, frozen=True):
    """An accepted approve or reject; only a change's first one counts (R177)."""

    approved: bool
    approver: str
    approval_id: str
    comment: str


class LedgerDocument(msgspec.Struct, frozen=True, kw_only=True):
    """The ledger as data. Mappings go by ticket number unless said otherwise.

    `delivered` goes by MessageId, `created` (Ensono's numbers) by client number, `downloads` by attachment id, `calls`
    and `refused` by operation. `returnptn` lists every accepted call in order, `numbers` the one that holds now.
    `doubles` are those of `created` with more than one number; `repeated_notes` counts comments that their ticket had
    word for word already.
    """

    messages: MessageCounts
    delivered: Mapping[str, int]
    returnptn: Mapping[str, list[str]]
    numbers: Mapping[str, str]
    created: Mapping[str, list[str]]
    updates: Mapping[str, list[dict[str, str]]]
    notes: Mapping[str, list[str]]
    decisions: Mapping[str, list[Decision]]
    downloads: Mapping[str, int]
    uploads: list[UploadedFile]
    calls: Mapping[str, int]
    refused: Mapping[str, int]
    faults: Mapping[str, int]
    leaked_keys: int
    doubles: Mapping[str, list[str]]
    repeated_notes: int
    in_flight: int
    max_in_flight: int


class Ledger:
    """Everything of one simulator, over all environments; to be read at any time, written by the simulator only."""

    def __init__(self, queues: Iterable[FifoQueue], faults: Counter[str]) -> None:
        self._queues = tuple(queues)
        self._faults = faults
        self._received: set[_MessageKey] = set()
        self._deleted: set[_MessageKey] = set()
        self.sent = 0
        self.unsent = 0
        self.delivered: Counter[str] = Counter()
        self.returnptn: defaultdict[str, list[str]] = defaultdict(list)
        self.created: defaultdict[str, list[str]] = defaultdict(list)
        self.updates: defaultdict[str, list[dict[str, str]]] = defaultdict(list)
        self.notes: defaultdict[str, list[str]] = defaultdict(list)
        self.decisions: defaultdict[str, list[Decision]] = defaultdict(list)
        self.downloads: Counter[str] = Counter()
        self.uploads: list[UploadedFile] = []
        self.calls: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        self.leaked_keys = 0
        self.in_flight = 0
        self.max_in_flight = 0

    def record_started(self) -> None:
        """Count a request whose answer is outstanding."""
        self.in_flight += 1
        self.max_in_flight = max(self.max_in_flight, self.in_flight)

    def record_ended(self) -> None:
        """Count that request as answered, dropped or abandoned by its client."""
        self.in_flight -= 1

    def record_deliveries(self, deliveries: Iterable[Delivery]) -> None:
        """Count what one GET handed out."""
        for delivery in deliveries:
            self.delivered[delivery.message.message_id] += 1
            self._received.add(_identify(delivery.message))

    def record_deleted(self, message: QueueMessage) -> None:
        """Count a message as deleted; its second delete changes nothing."""
        self._deleted.add(_identify(message))

    def count_messages(self) -> MessageCounts:
        """Count the messages as of now."""
        failed = {_identify(message) for queue in self._queues for message in queue.failed}
        expired = {_identify(message) for queue in self._queues for message in queue.expired}
        lost = (failed | expired) - self._deleted
        deliveries = self.delivered.total()
        return MessageCounts(
            sent=self.sent,
            unsent=self.unsent,
            received=len(self._received),
            deliveries=deliveries,
            redelivered=deliveries - len(self._received),
            deleted=len(self._deleted),
            left=self.sent - len(self._deleted) - len(lost),
            failed=len(failed),
            expired=len(expired),
            lost=len(lost),
        )

    def list_left(self) -> list[QueueMessage]:
        """Give the messages still in a queue that were never deleted, oldest first."""
        waiting = (message for queue in self._queues for message in queue.waiting())
        return [message for message in waiting if _identify(message) not in self._deleted]

    def list_doubles(self) -> dict[str, list[str]]:
        """Give the client numbers that several tickets were created for."""
        return {number: tickets for number, tickets in self.created.items() if len(tickets) > 1}

    def count_repeated_notes(self) -> int:
        """Count the comments that their ticket had word for word already."""
        return sum(len(bodies) - len(set(bodies)) for bodies in self.notes.values())

    def describe(self) -> LedgerDocument:
        """Give everything as data that later calls don't change."""
        document = LedgerDocument(
            messages=self.count_messages(),
            delivered=self.delivered,
            returnptn=self.returnptn,
            numbers={ticket: numbers[-1] for ticket, numbers in self.returnptn.items()},
            created=self.created,
            updates=self.updates,
            notes=self.notes,
            decisions=self.decisions,
            downloads=self.downloads,
            uploads=self.uploads,
            calls=self.calls,
            refused=self.refused,
            faults=self._faults,
            leaked_keys=self.leaked_keys,
            doubles=self.list_doubles(),
            repeated_notes=self.count_repeated_notes(),
            in_flight=self.in_flight,
            max_in_flight=self.max_in_flight,
        )
        return deepcopy(document)


def _identify(message: QueueMessage) -> _MessageKey:
    """Tell messages apart even if a test sends two with one MessageId."""
    return message.message_id, str(message.attributes.get("SequenceNumber"))
