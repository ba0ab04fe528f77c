"""Ensono's ticket system behind the bridge: it checks calls as the guide says and answers with the documented texts."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from ecproc.simulator.exchange import (
    BAD_PATH,
    FOREIGN_TICKET,
    UNKNOWN_CLIENT,
    UNKNOWN_GROUP,
    UNREADABLE,
    Reply,
    refuse,
    respond,
)
from ecproc.simulator.ledger import Decision, Ledger
from ecproc.simulator.queue import QueueMessage

FIRST_OWN_NUMBER = 5_000_000
STATUSES = ("open", "workinprogress", "pending", "resolved", "closed", "cancelled")
REQUIRED = ("clientTicketNumber", "description", "shortDescription", "contactName", "contactEmail")
LIMITS = {"description": 4000, "shortDescription": 160, "closeNotes": 4000}
CREATED = (
    *("clientTicketNumber", "ticketType", "description", "shortDescription", "group", "priority", "impact", "urgency"),
    *("cis", "contactName", "contactEmail", "contactPhone"),
)
UPDATED = ("status", "closeNotes", "description", "shortDescription", "group", "priority", "impact", "urgency")
FREE_TEXT = frozenset({*LIMITS, "contactName", "contactEmail", "contactPhone"})
_ESCAPE = re.compile(r'\\([\\"nrt])')
_MEANT = {"\\": "\\", '"': '"', "n": "\n", "r": "\r", "t": "\t"}
NO_CREATE = "This ticket cannot be created."
NO_UPDATE = "This ticket cannot be updated."


@dataclass(slots=True)
class Ticket:
    """A ticket as Ensono has it."""

    number: str
    kind: str
    status: str = "open"
    client_number: str = ""
    fields: dict[str, str] = field(default_factory=dict)
    comments: list[str] = field(default_factory=list)


class _Payload(msgspec.Struct):
    payload: dict[str, Any]


class TicketSystem:
    """The tickets of one ServiceNow instance; dev and echo share one (R8). Accepted calls are written to the ledger."""

    def __init__(self, *, client_name: str, groups: frozenset[str], refusal_status: int, ledger: Ledger) -> None:
        self._client_name = client_name
        self._groups = groups
        self._refusal_status = refusal_status
        self._ledger = ledger
        self._created = 0
        self.tickets: dict[str, Ticket] = {}

    def learn(self, message: QueueMessage) -> Ticket:
        """Know the ticket that a message sent to the client is about."""
        body = _read_object(message.body)
        number = str(body.get("ticketNumber") or message.group)
        ticket = self.tickets.get(number) or Ticket(number, str(body.get("ticketType", "")))
        self.tickets[number] = self.tickets[message.group] = ticket
        ticket.status = str(body.get("status") or body.get("state") or ticket.status)
        ticket.client_number = ticket.client_number or str(body.get("clientTicketNumber") or "")
        ticket.fields.update({name: value for name in UPDATED if isinstance(value := body.get(name), str)})
        return ticket

    def create(self, body: bytes) -> Reply:
        """POST /tickets (R84-R95): the answer holds the new number."""
        payload = self._read_payload(body)
        if isinstance(payload, Reply):
            return payload
        problem = self._find_create_problem(payload)
        if problem is not None:
            return self._refuse(problem)
        self._created += 1
        number = f"e-CS{FIRST_OWN_NUMBER + self._created}"
        fields = {name: str(payload[name]) for name in CREATED if name in payload}
        ticket = Ticket(number, fields["ticketType"], client_number=fields["clientTicketNumber"], fields=fields)
        self.tickets[number] = ticket
        self._ledger.created[ticket.client_number].append(number)
        self._add_comments(ticket, payload)
        return respond(number)

    def call(self, operation: str, number: str, body: bytes) -> Reply:
        """PUT /tickets/{number}/{operation}; the plain update has the empty operation."""
        methods: dict[str, Callable[[Ticket, Mapping[str, Any]], Reply]] = {
            "": self._update,
            "returnptn": self._return_number,
            "notes": self._add_notes,
            "approve": self._approve,
            "reject": self._reject,
        }
        method = methods.get(operation)
        if method is None or number in methods:
            return self._refuse(BAD_PATH)
        payload = self._read_payload(body)
        if isinstance(payload, Reply):
            return payload
        ticket = self.tickets.get(number)
        return self._refuse(FOREIGN_TICKET) if ticket is None else method(ticket, payload)

    def show(self, number: str) -> Reply:
        """GET /tickets/{number}, dev and echo only (R124, R125)."""
        ticket = self.tickets.get(number)
        if ticket is None:
            return self._refuse(FOREIGN_TICKET)
        record = {
            "number": ticket.number.removeprefix("e-"),
            "short_description": ticket.fields.get("shortDescription", ""),
            "description": ticket.fields.get("description", ""),
            "priority": ticket.fields.get("priority", ""),
            "state": ticket.status,
            "u_case_type": ticket.kind,
            "x_aito_data_sync_client_number": ticket.client_number,
            "closeNotes": ticket.fields.get("closeNotes", ""),
        }
        comments = {f"{index:032x}": {"value": body} for index, body in enumerate(ticket.comments)}
        return respond(
            {
                "task ci": {},
                "attachments": {},
                "comments": comments,
                "incident": record,
                "case": record,
                "u_task_integ": {},
            }
        )

    def accepts_files(self, number: str) -> Reply | None:
        """Say why a file can't be added to this ticket, None if it can (R127, R136)."""
        ticket = self.tickets.get(number)
        if ticket is None:
            return self._refuse(FOREIGN_TICKET)
        return self._refuse(BAD_PATH) if ticket.kind == "Change" else None

    def _update(self, ticket: Ticket, payload: Mapping[str, Any]) -> Reply:
        fields = {name: str(payload[name]) for name in UPDATED if name in payload}
        problem = self._find_update_problem(ticket, fields)
        if problem is not None:
            return self._refuse(problem)
        status = fields.get("status", "")
        ending = status in ("resolved", "closed")
        applied = {name: value for name, value in fields.items() if not ending or name in ("status", "closeNotes")}
        ticket.status = status or ticket.status
        ticket.fields.update(applied)
        self._ledger.updates[ticket.number].append(applied)
        if not ending:  # a closure's comments are ignored (R108)
            self._add_comments(ticket, payload)
        return respond("Ticket Closed Successfully") if ending else respond("Update Successful", 202)

    def _return_number(self, ticket: Ticket, payload: Mapping[str, Any]) -> Reply:
        number = str(payload.get("clientTicketNumber") or "")
        if not number:
            return self._refuse(["Mandatory fields missing: clientTicketNumber", NO_UPDATE])
        ticket.client_number = number
        self._ledger.returnptn[ticket.number].append(number)
        return respond("PTN added")

    def _add_notes(self, ticket: Ticket, payload: Mapping[str, Any]) -> Reply:
        bodies = list_comments(payload)
        if not bodies or any(not body.strip() or len(body) > LIMITS["description"] for body in bodies):
            return self._refuse(["Mandatory fields missing or too long: comments.body", NO_UPDATE])
        self._add_comments(ticket, payload)
        return respond("Comments added")

    def _approve(self, ticket: Ticket, payload: Mapping[str, Any]) -> Reply:
        return self._decide(ticket, payload, approved=True)

    def _reject(self, ticket: Ticket, payload: Mapping[str, Any]) -> Reply:
        return self._decide(ticket, payload, approved=False)

    def _decide(self, ticket: Ticket, payload: Mapping[str, Any], *, approved: bool) -> Reply:
        if ticket.kind != "Change":
            return self._refuse(BAD_PATH)
        comment = "\n".join(list_comments(payload))
        approver = str(payload.get("approver") or "")
        approval_id = str(payload.get("approvalid") or payload.get("approvalId") or "")  # the guide has both (C14)
        if not approver or not approval_id or not comment:
            return self._refuse(["Mandatory fields missing: approver, approvalid, comments", NO_UPDATE])
        self._ledger.decisions[ticket.number].append(Decision(approved, approver, approval_id, comment))
        return respond("Approval Received Successfully" if approved else " Rejection Received Successfully")

    def _find_create_problem(self, payload: Mapping[str, Any]) -> object | None:
        if payload.get("ticketType") not in ("Incident", "Request"):
            return ["Invalid ticketType.", NO_CREATE]
        missing = [name for name in REQUIRED if not payload.get(name)]
        if missing:
            return [f"Mandatory fields missing: {', '.join(missing)}", NO_CREATE]
        if self._has_unknown_group(payload):
            return UNKNOWN_GROUP
        return _find_too_long(payload, NO_CREATE)

    def _find_update_problem(self, ticket: Ticket, fields: Mapping[str, str]) -> object | None:
        if ticket.kind == "Change":
            return BAD_PATH
        status = fields.get("status")
        if status is not None and status not in STATUSES:
            return ["Invalid status.", NO_UPDATE]
        if status == "closed" and ticket.status != "resolved":
            return ["The ticket must be in the resolved state for it to be closed.", NO_UPDATE]
        if status in ("resolved", "closed") and not fields.get("closeNotes"):
            return ["Mandatory fields missing: closeNotes", NO_UPDATE]
        if ticket.status == "closed":
            return ["The ticket is closed.", NO_UPDATE]
        return UNKNOWN_GROUP if self._has_unknown_group(fields) else _find_too_long(fields, NO_UPDATE)

    def _has_unknown_group(self, fields: Mapping[str, Any]) -> bool:
        return bool(self._groups) and "group" in fields and str(fields["group"]) not in self._groups

    def _add_comments(self, ticket: Ticket, payload: Mapping[str, Any]) -> None:
        bodies = list_comments(payload)
        ticket.comments.extend(bodies)
        if bodies:
            self._ledger.notes[ticket.number].extend(bodies)

    def _read_payload(self, body: bytes) -> dict[str, Any] | Reply:
        try:
            payload = open_texts(msgspec.json.decode(body, type=_Payload).payload)
        except msgspec.DecodeError:
            return UNREADABLE
        if payload.get("clientName") != self._client_name:
            return self._refuse(UNKNOWN_CLIENT)
        return payload

    def _refuse(self, response: object) -> Reply:
        return refuse({"Response": response}, self._refusal_status)


def _find_too_long(fields: Mapping[str, Any], consequence: str) -> object | None:
    long = [name for name, limit in LIMITS.items() if len(str(fields.get(name, ""))) > limit]
    return [f"Value too long: {', '.join(long)}", consequence] if long else None


def list_comments(payload: Mapping[str, Any]) -> list[str]:
    """Give the bodies in a payload's comments array."""
    comments = payload.get("comments")
    if not isinstance(comments, list):
        return []
    return [str(comment.get("body", "")) for comment in comments if isinstance(comment, dict)]


def unescape(text: str) -> str:
    """The text that was meant: what was escaped twice is opened once by whoever decodes the JSON (R99)."""
    return _ESCAPE.sub(lambda found: _MEANT[found[1]], text)


def open_texts(payload: dict[str, Any]) -> dict[str, Any]:
    """The payload with its free texts as they were meant."""
    opened = {name: _open(value) if name in FREE_TEXT else value for name, value in payload.items()}
    comments = payload.get("comments")
    if isinstance(comments, list):
        opened["comments"] = [
            {name: _open(value) for name, value in comment.items()} if isinstance(comment, dict) else comment
            for comment in comments
        ]
    return opened


def _open(value: Any) -> Any:
    return unescape(value) if isinstance(value, str) else value


def _read_object(text: bytes) -> dict[str, Any]:
    try:
        document = msgspec.json.decode(text)
        if isinstance(document, str):
            document = msgspec.json.decode(document)
    except msgspec.DecodeError:
        return {}
    return document if isinstance(document, dict) else {}
