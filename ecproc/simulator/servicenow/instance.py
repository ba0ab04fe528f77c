"""The instance without HTTP: records are made, changed and removed by its rules, by machines and by people."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from random import Random
from typing import Final

import msgspec

from ecproc.simulator.servicenow import states
from ecproc.simulator.servicenow.answers import NO_RECORD, Denial, forbid_by_policy, forbid_by_rule
from ecproc.simulator.servicenow.database import Database, write_time
from ecproc.simulator.servicenow.faults import NOTHING, InstanceFault, Suffered
from ecproc.simulator.servicenow.ledger import InstanceLedger
from ecproc.simulator.servicenow.query import FieldValues
from ecproc.simulator.servicenow.rules import ReadBody, derive, derive_new, read_body, write_value
from ecproc.simulator.servicenow.schema import TASK_TABLES
from ecproc.simulator.servicenow.seeding import seed_tables
from ecproc.simulator.servicenow.settings import InstanceConfig

HUMAN: Final = "human"


class Author(msgspec.Struct, frozen=True):
    """Who writes, when, what goes wrong with it, and whether the rules hold; `machine` writes are in the ledger."""

    name: str
    now: float
    suffered: Suffered = NOTHING
    machine: bool = True
    is_bound: bool = True


class Instance:
    """Tables and their rules. `clock` gives seconds since the epoch; with one seed, ids are the same each time."""

    def __init__(
        self, config: InstanceConfig, *, clock: Callable[[], float], rng: Random, ledger: InstanceLedger
    ) -> None:
        self.config = config
        self.clock = clock
        self.ledger = ledger
        self.database = Database(rng, config.missing_fields)
        self.contents: dict[str, bytes] = {}
        self._numbers = {name: schema.first_number for name, schema in self.database.schemas.items() if schema.prefix}
        self._last_number: dict[str, str] = {}
        seed_tables(self.database, config, now=clock())

    def create(self, table: str, body: Mapping[str, object], author: Author) -> FieldValues | Denial:
        """Make a record; there is no upsert, whatever it is sent with."""
        schema = self.database.schemas[table]
        read = _suffer(table, read_body(schema, body), author.suffered)
        if isinstance(read, Denial):
            return read
        known = {name: field.default for name, field in schema.fields.items()} | read.values
        stamp, user = write_time(author.now), self.database.find_user(author.name)
        if "number" in known:
            known["number"] = known["number"] or self._take_number(table, author.suffered)
        known |= self._keep_known(table, derive_new(table, known, user=user, stamp=stamp))
        denied = self._check_policy(table, known, {}, read, author)
        if denied is not None:
            return denied
        row = self.database.insert(table, known, by=author.name, now=author.now)
        self._write_entries(table, row, read, author)
        if author.machine and table in TASK_TABLES:
            self.ledger.record_created(write_value(body.get("correlation_id")), row.get("number", ""))
        if table == "sysapproval_approver":
            self._follow_approval(row, author)
        return row

    def change(self, table: str, sys_id: str, body: Mapping[str, object], author: Author) -> FieldValues | Denial:
        """Change a record; where nothing differs nothing is written."""
        row = self.database.get(table, sys_id)
        if row is None:
            return NO_RECORD
        read = _suffer(table, read_body(self.database.schemas[table], body), author.suffered)
        if isinstance(read, Denial):
            return read
        changes = {name: value for name, value in read.values.items() if row.get(name, "") != value}
        if author.is_bound and not states.may_move(table, row, changes.get("state", row.get("state", ""))):
            if table != "change_request":
                return forbid_by_rule(table, "Keep to the state model")
            del changes["state"]  # a change model says no without a word: 200, and the old state
        denied = self._check_policy(table, {**row, **changes}, row, read, author)
        if denied is not None:
            return denied
        changes |= self._derive_reply(table, row, read, author)
        if changes or read.entries:
            self._apply(table, row, changes, author)
            self._write_entries(table, row, read, author)
        return row

    def remove(self, table: str, sys_id: str) -> bool:
        """Remove a record; False if there is none."""
        if self.database.get(table, sys_id) is None:
            return False
        self.database.stores[table].drop(sys_id)
        self.contents.pop(sys_id, None)
        return True

    def attach(
        self, target: tuple[str, str], name: str, content: bytes, content_type: str, author: Author
    ) -> FieldValues:
        """Attach a file to a record, given as table and sys_id; the record itself is not touched by that."""
        size = str(len(content))
        values = {
            "table_name": target[0],
            "table_sys_id": target[1],
            "file_name": name,
            "content_type": content_type,
            "size_bytes": size,
            "size_compressed": size,
            "hash": hashlib.sha256(content).hexdigest(),
            "state": "available",
        }
        row = self.database.insert("sys_attachment", values, by=author.name, now=author.now)
        self.contents[row["sys_id"]] = content
        if author.machine:
            self.ledger.record_attachment(row)
        return row

    def _take_number(self, table: str, suffered: Suffered) -> str:
        if suffered.has(InstanceFault.DOUBLE_NUMBER) and table in self._last_number:
            return self._last_number[table]
        number = f"{self.database.schemas[table].prefix}{self._numbers[table]:07d}"
        self._numbers[table] += 1
        self._last_number[table] = number
        return number

    def _keep_known(self, table: str, derived: FieldValues) -> FieldValues:
        fields = self.database.schemas[table].fields
        return {name: value for name, value in derived.items() if name in fields}

    def _check_policy(
        self, table: str, row: Mapping[str, str], previous: Mapping[str, str], read: ReadBody, author: Author
    ) -> Denial | None:
        if not author.is_bound:
            return None
        empty = states.find_empty(table, row, previous, commented="comments" in read.entries)
        return forbid_by_policy(", ".join(empty)) if empty else None

    def _derive_reply(self, table: str, row: FieldValues, read: ReadBody, author: Author) -> FieldValues:
        """A caller who answers takes the incident off hold."""
        waits = row.get("state") == states.ON_HOLD and row.get("hold_reason") == states.AWAITING_CALLER
        caller = self.database.get("sys_user", row.get("caller_id", "")) or {}
        is_reply = "comments" in read.entries and caller.get("user_name") == author.name
        return {"state": states.IN_PROGRESS, "hold_reason": ""} if table == "incident" and waits and is_reply else {}

    def _apply(self, table: str, row: FieldValues, changes: FieldValues, author: Author) -> None:
        user = self.database.find_user(author.name)
        derived = derive(table, {**row, **changes}, row, user=user, stamp=write_time(author.now))
        changes |= self._keep_known(table, derived)
        self.database.update(table, row["sys_id"], changes, by=author.name, now=author.now)
        if table == "sysapproval_approver" and "state" in changes:
            self._follow_approval(row, author)

    def _follow_approval(self, approver: FieldValues, author: Author) -> None:
        """The record's own approval follows that of its approvers."""
        table, sys_id, state = approver["source_table"] or "change_request", approver["sysapproval"], approver["state"]
        if author.machine and state == "requested":
            self.ledger.record_approval(approver)
        if table in TASK_TABLES and state in ("requested", "approved", "rejected"):
            row = self.database.get(table, sys_id)
            if row is not None and row.get("approval") != state:
                self.database.update(table, sys_id, {"approval": state}, by=author.name, now=author.now)

    def _write_entries(self, table: str, row: FieldValues, read: ReadBody, author: Author) -> None:
        for element, text in read.entries.items():
            values = {"name": table, "element": element, "element_id": row["sys_id"], "value": text}
            self.database.insert("sys_journal_field", values, by=author.name, now=author.now)
            if author.machine:
                self.ledger.record_notes(row["sys_id"], row.get("number", ""), text)


def _suffer(table: str, read: ReadBody, suffered: Suffered) -> ReadBody | Denial:
    """Let a write suffer what is due: it is refused, or loses a part without a word."""
    if not suffered.rules:
        return read
    if rule := suffered.get(InstanceFault.ABORT_RULE):
        return forbid_by_rule(table, rule.detail or "Stop outside changes")
    if rule := suffered.get(InstanceFault.DATA_POLICY):
        return forbid_by_policy(rule.detail or "Category")
    dropped = {rule.field for rule in suffered.rules if rule.kind is InstanceFault.DROP_FIELD}
    if suffered.has(InstanceFault.SILENT_STATE):
        dropped.add("state")
    keep = {name: value for name, value in read.values.items() if name not in dropped}
    return ReadBody(keep, {name: text for name, text in read.entries.items() if name not in dropped})
