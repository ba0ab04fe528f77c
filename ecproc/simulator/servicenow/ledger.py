"""What the instance applied, counted on its own side: the other half of every claim about lost or doubled work."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Mapping
from copy import deepcopy
from typing import Final

import msgspec

MARKER: Final = re.compile(r"\[Ensono note ([^\]]+)\]")
"""What a note of Ensono's ends with at the desk."""


class InstanceLedgerDocument(msgspec.Struct, frozen=True, kw_only=True):
    """The ledger as data; it counts what the machine's credentials did, and nothing that people did.

    Each mapping goes from a key to the records it was applied to, in order: `created` by correlation_id as it was sent,
    `notes` by `{sys_id} {marker}`, `attachments` by `{sys_id} {name} {size} {sha256}`, `approvals` by
    `{sys_id} {approver}`. `doubles` are the keys of all four that were applied more than once. `calls` goes by method
    and table, `answers` by status, `scripts` counts queries with `javascript:` in them, `late` what was applied after
    its caller had gone.
    """

    created: Mapping[str, list[str]]
    notes: Mapping[str, list[str]]
    attachments: Mapping[str, list[str]]
    approvals: Mapping[str, list[str]]
    doubles: Mapping[str, list[str]]
    calls: Mapping[str, int]
    answers: Mapping[str, int]
    faults: Mapping[str, int]
    late: int
    waiting: int
    scripts: int
    in_flight: int
    max_in_flight: int


class InstanceLedger:
    """Everything that one instance applied; to be read at any time, written by the simulator only."""

    def __init__(self, faults: Counter[str]) -> None:
        self._faults = faults
        self.created: defaultdict[str, list[str]] = defaultdict(list)
        self.notes: defaultdict[str, list[str]] = defaultdict(list)
        self.attachments: defaultdict[str, list[str]] = defaultdict(list)
        self.approvals: defaultdict[str, list[str]] = defaultdict(list)
        self.calls: Counter[str] = Counter()
        self.answers: Counter[str] = Counter()
        self.late = 0
        self.waiting = 0
        self.scripts = 0
        self.in_flight = 0
        self.max_in_flight = 0

    def record_started(self) -> None:
        """Count a request whose answer is outstanding."""
        self.in_flight += 1
        self.max_in_flight = max(self.max_in_flight, self.in_flight)

    def record_ended(self) -> None:
        """Count that request as answered, dropped or abandoned by its client."""
        self.in_flight -= 1

    def record_created(self, key: str, number: str) -> None:
        """Count a record made under this key; records without one have none to be told apart by."""
        if key:
            self.created[key].append(number)

    def record_notes(self, sys_id: str, number: str, text: str) -> None:
        """Count the markers of a journal entry."""
        for marker in MARKER.findall(text):
            self.notes[f"{sys_id} {marker}"].append(number)

    def record_attachment(self, row: Mapping[str, str]) -> None:
        """Count a file that was attached."""
        key = f"{row['table_sys_id']} {row['file_name']} {row['size_bytes']} {row['hash']}"
        self.attachments[key].append(row["sys_id"])

    def record_approval(self, row: Mapping[str, str]) -> None:
        """Count a request for approval."""
        self.approvals[f"{row['sysapproval']} {row['approver']}"].append(row["sys_id"])

    def list_doubles(self) -> dict[str, list[str]]:
        """Give the keys that were applied more than once, with the records."""
        kinds = (self.created, self.notes, self.attachments, self.approvals)
        return {key: made for kind in kinds for key, made in kind.items() if len(made) > 1}

    def describe(self) -> InstanceLedgerDocument:
        """Give everything as data that later calls don't change."""
        document = InstanceLedgerDocument(
            created=self.created,
            notes=self.notes,
            attachments=self.attachments,
            approvals=self.approvals,
            doubles=self.list_doubles(),
            calls=self.calls,
            answers=self.answers,
            faults=self._faults,
            late=self.late,
            waiting=self.waiting,
            scripts=self.scripts,
            in_flight=self.in_flight,
            max_in_flight=self.max_in_flight,
        )
        return deepcopy(document)
