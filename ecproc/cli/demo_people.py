"""The demo's people at the instance: they comment, attach and edit, and keep book of what Ensono must hear of it."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from enum import StrEnum
from typing import Final

import msgspec

from ecproc.cli.demo_desk import TABLES
from ecproc.simulator.ledger import Ledger
from ecproc.simulator.script import ScriptedLife
from ecproc.simulator.servicenow.server import ServiceNowSimulator

OPEN: Final = frozenset({"open", "workinprogress", "pending"})
"""Incidents and requests that end in one of these can be edited at any time."""
_AUTHOR: Final = "abel.tuter"
_ASKED: Final = frozenset({"Assess", "Authorize"})
"""Changes that end in one of these are still talked about."""
_ALL: Final = 4
"""What is done to an incident or a request: two comments, a file and an edit."""
_LONGEST: Final = 100
_HOLDS: Final = {"incident": {"state": "3", "hold_reason": "1"}, "sc_req_item": {"state": "-5"}}
_WORKS: Final = {"incident": {"state": "2", "hold_reason": ""}, "sc_req_item": {"state": "2"}}


class EditKind(StrEnum):
    """What a person did."""

    UPDATE = "update"
    COMMENT = "comment"
    FILE = "file"


class Edit(msgspec.Struct, frozen=True):
    """What Ensono must be told: `told` are an update's fields, a comment's `body`, or a file's `name` and `sha256`."""

    ticket: str
    kind: EditKind
    told: Mapping[str, str]


class People:
    """They act on tickets that have a number at both ends and that the script leaves open.

    Comments and files come at any moment of an incident's or request's life. Fields are edited once all that Ensono
    said is settled at both ends, for whichever of two edits of one field comes last is right.
    """

    def __init__(self, instance: ServiceNowSimulator, ledger: Ledger, lives: Sequence[ScriptedLife]) -> None:
        self._instance = instance
        self._ledger = ledger
        self._lives = [life for life in lives if is_left_open(life)]
        self._done: dict[str, int] = {}
        self._is_over = False
        self.edits: list[Edit] = []

    async def act(self, is_settled: Callable[[str], Awaitable[bool]]) -> None:
        """Do the next thing to each ticket for which it is time; nothing more after `act_unseen`."""
        if self._is_over:
            return
        left = {message.message_id for message in self._ledger.list_left()}
        for place, life in enumerate(self._lives):
            row = self._find_row(life)
            heard = row is not None and self._is_heard(life, left)
            if row is None or (life.outcome.type == "Change" and not heard):
                continue
            match self._done.get(life.ticket, 0):
                case 0:
                    self._comment(life, row, "Seen here too")
                case 1 if life.outcome.type != "Change":
                    self._attach(life, row)
                case 2 if life.outcome.type != "Change" and heard and await is_settled(life.ticket):
                    self._edit(life, row, place)

    def act_unseen(self) -> int:
        """Comment once more on every ticket, while no processor runs, and do what is still undone; gives how many."""
        self._is_over = True
        before = len(self.edits)
        for place, life in enumerate(self._lives):
            row = self._find_row(life)
            if row is None:
                continue
            self._comment(life, row, "Any news")
            if life.outcome.type != "Change" and self._done[life.ticket] < _ALL:
                self._edit(life, row, place)
        return len(self.edits) - before

    def _find_row(self, life: ScriptedLife) -> dict[str, str] | None:
        """The record that Ensono has the number of; None before the last generation's number is there."""
        numbers = list(dict.fromkeys(self._ledger.returnptn.get(life.ticket, ())))
        if len(numbers) < life.outcome.returnptn:
            return None
        number = numbers[-1] if numbers else life.outcome.adopted_number
        rows = self._instance.find(TABLES[life.outcome.type], f"number={number}")
        return rows[0] if rows else None

    def _is_heard(self, life: ScriptedLife, left: set[str]) -> bool:
        ids = [message.message_id for message in life.messages]
        return all(self._ledger.delivered[name] for name in ids) and left.isdisjoint(ids)

    def _comment(self, life: ScriptedLife, row: Mapping[str, str], words: str) -> None:
        text = f"{words}: {row['number']}, words no. {len(self.edits)}."
        self._instance.comment(TABLES[life.outcome.type], row["sys_id"], text, by=_AUTHOR)
        self._keep(life, EditKind.COMMENT, body=text)

    def _attach(self, life: ScriptedLife, row: Mapping[str, str]) -> None:
        name, content = f"trace-{len(self.edits)}.txt", f"{row['number']} as seen at the desk\n".encode()
        self._instance.attach((TABLES[life.outcome.type], row["sys_id"]), name, content, by=_AUTHOR)
        self._keep(life, EditKind.FILE, name=name, sha256=hashlib.sha256(content).hexdigest())

    def _edit(self, life: ScriptedLife, row: Mapping[str, str], place: int) -> None:
        table = TABLES[life.outcome.type]
        fields, told = choose_edit(table, row, place)
        self._instance.edit(table, row["sys_id"], by=_AUTHOR, **fields)
        self._keep(life, EditKind.UPDATE, **told)

    def _keep(self, life: ScriptedLife, kind: EditKind, **told: str) -> None:
        self._done[life.ticket] = self._done.get(life.ticket, 0) + 1
        self.edits.append(Edit(life.ticket, kind, told))


def is_left_open(life: ScriptedLife) -> bool:
    """Whether people may go on with the ticket once Ensono's script is over."""
    return life.outcome.state in (_ASKED if life.outcome.type == "Change" else OPEN)


def choose_edit(table: str, row: Mapping[str, str], place: int) -> tuple[Mapping[str, str], Mapping[str, str]]:
    """The fields that a person changes on a record, and what they are in Ensono's words: each third ticket alike."""
    match place % 3:
        case 0:
            is_high = row["impact"] == row["urgency"] == "1"
            level, priority = ("2", "3") if is_high else ("1", "1")
            return {"impact": level, "urgency": level}, {"priority": priority}
        case 1:
            text = f"{row['short_description'][:_LONGEST]} (seen again)"
            # The record's text begins with Ensono's number in brackets, which is no part of Ensono's own.
            return {"short_description": text}, {"shortDescription": text.partition("] ")[2]}
        case _:
            is_held = row["state"] == _HOLDS[table]["state"]
            return (_WORKS if is_held else _HOLDS)[table], {"status": "workinprogress" if is_held else "pending"}
