"""Queue messages the bridge itself makes: ReturnEnsonoNum, and the echo environment's mirror of the client's calls."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Mapping
from random import Random
from typing import Any

import msgspec

from ecproc.simulator.queue import QueueMessage
from ecproc.simulator.tickets import UPDATED, Ticket, list_comments

SENDER = "AROAYCQITFFPPLPIRNUQG:envxsn2qdev1SN2QBridge"


def announce_number(ticket: Ticket, client_name: str, rng: Random) -> QueueMessage:
    """Tell the client the number of the ticket whose POST it got no answer to (R74)."""
    return _write_message(ticket, _identify(ticket, client_name), "ReturnEnsonoNum", rng)


def mirror_call(
    operation: str, ticket: Ticket, payload: Mapping[str, Any], client_name: str, *, rng: Random
) -> list[QueueMessage]:
    """Give what the echo environment sends back for an accepted call, as if an Ensono user had made it (R8)."""
    body = {**_identify(ticket, client_name), **_describe(ticket)}
    messages: list[QueueMessage] = []
    if operation == "create":
        messages.append(_write_message(ticket, body, "Create", rng))
    elif operation == "update":
        changed = {name: ticket.fields[name] for name in UPDATED if name in payload and name in ticket.fields}
        kind = "Closure" if payload.get("status") in ("resolved", "closed") else "Update"
        if changed:
            messages.append(_write_message(ticket, {**body, "changed": changed}, kind, rng))
    if operation in ("create", "update", "notes"):
        for text in list_comments(payload):
            note = {"type": "comment", "id": f"{rng.getrandbits(128):032x}", "body": text}
            note |= {"commenter": "Echo User", "commenterEmail": "echo.user@ensono.example"}
            messages.append(_write_message(ticket, {**body, "notes": note}, "Notes", rng))
    return messages


def _identify(ticket: Ticket, client_name: str) -> dict[str, object]:
    return {
        "clientName": client_name,
        "ticketNumber": ticket.number,
        "clientTicketNumber": ticket.client_number,
        "ticketType": ticket.kind,
    }


def _describe(ticket: Ticket) -> dict[str, object]:
    names = ("description", "shortDescription", "group", "priority", "impact", "urgency", "cis")
    return {"status": ticket.status, **{name: ticket.fields.get(name, "") for name in names}}


def _write_message(ticket: Ticket, body: Mapping[str, object], transaction: str, rng: Random) -> QueueMessage:
    text = msgspec.json.encode(body)
    message_id = str(uuid.UUID(int=rng.getrandbits(128), version=4))
    return QueueMessage(
        message_id=message_id,
        group=ticket.number,
        body=text,
        attributes={
            "SenderId": SENDER,
            "MessageDeduplicationId": hashlib.sha256(message_id.encode()).hexdigest(),
            "MessageGroupId": ticket.number,
            "ClientReferenceAvailable": bool(ticket.client_number),
            "TransactionType": transaction,
        },
        md5=hashlib.md5(text, usedforsecurity=False).hexdigest(),
    )
