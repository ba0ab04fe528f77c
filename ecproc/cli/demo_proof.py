"""The demo's proof: what the bridge and the desk saw, held against what the scripts say must come of them."""

from __future__ import annotations

import sqlite3
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from contextlib import closing
from typing import Any, Final

import msgspec

from ecproc.cli.replay import ReplayDocument
from ecproc.config import Config
from ecproc.domain.anomalies import Anomaly
from ecproc.domain.entry import EntryState
from ecproc.fold.history import message_id_of
from ecproc.fold.recorded import Kind
from ecproc.reading.opening import open_queries, open_reading
from ecproc.reading.queries import Queries
from ecproc.simulator.ledger import Ledger
from ecproc.simulator.script import ScriptedLife
from ecproc.store.base import Reader
from ecproc.wire.payload import body_of

_DESK: Final = "desk.db"
_OWN_TICKETS: Final = "SELECT ensono, number FROM ticket WHERE serial IS NOT NULL ORDER BY serial"


class Proof(msgspec.Struct, frozen=True):
    """Received, deleted and redelivered are the bridge's own counts; `complaints` is empty if all of it holds.

    `lost` are messages that were sent and are neither in the log as they were sent nor left in the queue; `doubled`
    are client tickets and returned numbers beyond those that the scripts ask for.
    """

    received: int
    appended: int
    deleted: int
    redelivered: int
    lost: int
    tickets: int
    effects: int
    doubled: int
    replay_equal: bool
    complaints: tuple[str, ...]

    @property
    def holds(self) -> bool:
        """Whether nothing was lost, doubled or otherwise wrong."""
        return not self.complaints

    def describe(self) -> str:
        """The one line."""
        share = 100 * self.redelivered / self.received if self.received else 0.0
        return " · ".join(
            [
                f"received {self.received}",
                f"appended {self.appended}",
                f"deleted {self.deleted}",
                f"redelivered {self.redelivered} ({share:.1f} %)",
                f"lost {self.lost}",
                f"tickets {self.tickets}",
                f"effects {self.effects} {self.describe_effects()}",
                f"replay {'equal' if self.replay_equal else 'differs'}",
            ]
        )

    def describe_effects(self) -> str:
        """What the line has about effects beside their number."""
        return f"doubled {self.doubled}"


class _Stored(msgspec.Struct, frozen=True):
    """What the processor left behind."""

    bodies: Mapping[str, bytes]
    appended: int
    documents: Mapping[str, Mapping[str, Any]]
    entries: Mapping[str, int]


class _Tally(msgspec.Struct, frozen=True):
    """What of the client's tickets is too much, and what is too little."""

    doubled: int
    missing: int


async def take_proof(
    config: Config,
    ledger: Ledger,
    lives: Sequence[ScriptedLife],
    *,
    opened: Mapping[str, Sequence[str]],
    replayed: ReplayDocument,
    least_redelivered: float,
) -> Proof:
    """Count everything anew from both sides; `least_redelivered` is the share the faults must have come to.

    `opened` are the client tickets that the processor opened at the desk, by Ensono's number, oldest first.
    """
    async with open_reading(config) as reader, open_queries(config, reveal=True) as queries:
        stored = await _read_stored(reader, queries)
    counts = ledger.count_messages()
    tally = _compare_numbers(opened, ledger, lives)
    lost = _count_lost(stored, ledger, lives)
    effects = stored.entries.get(EntryState.COMPLETED, 0)
    checks = {
        f"{lost} messages are lost": lost or counts.lost,
        f"{counts.left} messages were left in the queue": counts.left,
        f"{stored.appended} events for {counts.received} messages": stored.appended != counts.received,
        f"{tally.doubled} client tickets or numbers too many": tally.doubled,
        f"{tally.missing} client tickets or numbers too few": tally.missing,
        f"{sum(stored.entries.values()) - effects} effects did not come to a good end": len(stored.entries) > 1,
        f"the replay differs in {replayed.differences} rows": not replayed.equal,
        "less was redelivered than the faults should have caused": (
            counts.redelivered < least_redelivered * counts.received
        ),
    }
    wrong = [
        f"{life.ticket} ({life.story}): {problem}"
        for life in lives
        for problem in life.outcome.differences(_leave_out_desk(stored.documents.get(life.ticket)))
    ]
    return Proof(
        received=counts.received,
        appended=stored.appended,
        deleted=counts.deleted,
        redelivered=counts.redelivered,
        lost=lost,
        tickets=len(stored.documents),
        effects=effects,
        doubled=tally.doubled,
        replay_equal=replayed.equal is True,
        complaints=(*(text for text, failed in checks.items() if failed), *wrong),
    )


def _leave_out_desk(document: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """The document without what a desk's own rules did to a record: of that no script of Ensono's knows."""
    if document is None:
        return None
    kept = [anomaly for anomaly in document["anomalies"] if anomaly["code"] != Anomaly.DESK_CHANGED_VALUE]
    return {**document, "anomalies": kept}


async def _read_stored(reader: Reader, queries: Queries) -> _Stored:
    bodies: dict[str, bytes] = {}
    appended = 0
    async for page in reader.read_log():
        for event in page:
            if event.kind == Kind.MESSAGE_RECEIVED:
                bodies[message_id_of(event)] = body_of(event.payload)
                appended += 1
    documents = [msgspec.json.decode(item) async for item in queries.list_tickets()]
    states = Counter([entry.state async for entry in queries.entries()])
    return _Stored(bodies, appended, {document["ticket"]: document for document in documents}, states)


def _count_lost(stored: _Stored, ledger: Ledger, lives: Sequence[ScriptedLife]) -> int:
    left = {message.message_id for message in ledger.list_left()}
    sent = (message for life in lives for message in life.messages if message.message_id not in left)
    return sum(stored.bodies.get(message.message_id) != message.body for message in sent)


def read_desk(config: Config) -> Mapping[str, Sequence[str]]:
    """The client tickets that the built-in desk opened itself, by Ensono's number, oldest first."""
    path = config.data.directory / _DESK
    opened: defaultdict[str, list[str]] = defaultdict(list)
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as connection:
        for ensono, number in connection.execute(_OWN_TICKETS):
            opened[ensono].append(number)
    return opened


def _compare_numbers(desk: Mapping[str, Sequence[str]], ledger: Ledger, lives: Sequence[ScriptedLife]) -> _Tally:
    """Count the client tickets and the numbers Ensono was given: every ticket of ours must be there, and only those."""
    doubled = missing = 0
    for life in lives:
        expected, own = life.outcome.returnptn, list(desk.get(life.ticket, ()))
        returned = ledger.returnptn.get(life.ticket, [])
        doubled += max(0, len(own) - expected) + len(set(returned) - set(own))
        missing += max(0, expected - len(own)) + len(set(own) - set(returned))
        missing += bool(own) and returned[-1:] != own[-1:]
    return _Tally(doubled, missing)
