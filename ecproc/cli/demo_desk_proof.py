"""The desk scenario's proof: what people did at the instance, held against what Ensono was told, and the other way."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import TypeAlias

import msgspec

from ecproc.cli.demo_people import Edit, EditKind
from ecproc.cli.demo_proof import Proof
from ecproc.simulator.ledger import Ledger
from ecproc.simulator.servicenow.ledger import InstanceLedger

_Told: TypeAlias = tuple[str, str, frozenset[tuple[str, str]]]
"""A ticket, what kind of command or edit it is, and what it says."""


class DeskProof(Proof, frozen=True):
    """`created` are records at the instance; `updated`, `commented` and `attached` what Ensono was told of people's
    edits, each once.

    `doubled` counts returned numbers, and the records, notes and files that the instance has twice, and the comments
    and tickets that Ensono has twice. Fields and files that Ensono was sent again, as it did not answer, are no double.
    `echoed` counts the commands at Ensono that no person's edit explains, `unheard` the edits that no command tells of.
    """

    created: int
    updated: int
    commented: int
    attached: int
    echoed: int
    unheard: int

    def describe_effects(self) -> str:
        """What the line has about effects beside their number."""
        told = (
            f"created {self.created} · updated {self.updated} · commented {self.commented} · attached {self.attached}"
        )
        return f"· {told} · doubled {self.doubled} · echoed {self.echoed}"


class _Answers(msgspec.Struct, frozen=True):
    """How people's edits and the commands at Ensono fit together."""

    heard: Mapping[EditKind, int]
    echoed: int
    repeated: int
    unheard: int


def prove_desk(proof: Proof, ledger: Ledger, instance: InstanceLedger, edits: Sequence[Edit]) -> DeskProof:
    """The bridge's proof, and on top of it what both sides of the desk's counts say."""
    answers = _match(edits, ledger)
    doubles = len(instance.list_doubles()) + len(ledger.list_doubles()) + answers.repeated
    opened = sum(len(numbers) for numbers in instance.created.values())
    checks = {
        f"{doubles} records, notes, files or comments are doubled": doubles,
        f"{answers.echoed} commands at Ensono that no person's edit explains": answers.echoed,
        f"{answers.unheard} edits of people's that Ensono was not told of": answers.unheard,
        "nobody edited anything at the instance": not edits,
    }
    counts = {name: getattr(proof, name) for name in proof.__struct_fields__}
    counts["doubled"] += doubles
    counts["complaints"] += tuple(text for text, failed in checks.items() if failed)
    return DeskProof(
        **counts,
        created=opened,
        updated=answers.heard.get(EditKind.UPDATE, 0),
        commented=answers.heard.get(EditKind.COMMENT, 0),
        attached=answers.heard.get(EditKind.FILE, 0),
        echoed=answers.echoed,
        unheard=answers.unheard,
    )


def _match(edits: Sequence[Edit], ledger: Ledger) -> _Answers:
    """Hold people's edits against the commands that came to Ensono."""
    done = [(edit.ticket, str(edit.kind), frozenset(edit.told.items())) for edit in edits]
    told = Counter(_list_commands(ledger))
    explained = set(done)
    return _Answers(
        heard=Counter(EditKind(kind) for _, kind, _ in told.keys() & explained),
        echoed=sum(count for command, count in told.items() if command not in explained),
        repeated=sum(told[command] - 1 for command in told.keys() & explained if command[1] == EditKind.COMMENT),
        unheard=len(explained - told.keys()),
    )


def _list_commands(ledger: Ledger) -> Iterator[_Told]:
    """Everything that Ensono was told but client numbers, which are counted by themselves."""
    for ticket, updates in ledger.updates.items():
        yield from ((ticket, EditKind.UPDATE, frozenset(fields.items())) for fields in updates)
    for ticket, bodies in ledger.notes.items():
        yield from ((ticket, EditKind.COMMENT, frozenset({("body", body)})) for body in bodies)
    for file in ledger.uploads:
        yield (file.ticket, EditKind.FILE, frozenset({("name", file.name), ("sha256", file.sha256)}))
    for ticket, decisions in ledger.decisions.items():
        yield from ((ticket, "decision", frozenset({("approver", one.approver)})) for one in decisions)
    for number, tickets in ledger.created.items():
        yield from ((ticket, "create", frozenset({("clientTicketNumber", number)})) for ticket in tickets)
