"""Calls to the bridge as requests."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import quote

import msgspec

_encode = msgspec.json.Encoder().encode


def quote_segment(text: str) -> str:
    """A path segment with no character left as it is that a path could read otherwise (R27)."""
    quoted = quote(text, safe="")
    return quoted if quoted.strip(".") else quoted.replace(".", "%2E")


def ticket_path(ticket: str, *rest: str) -> str:
    """The path of a ticket's call, case as Ensono wrote it (R7, R49)."""
    return "/".join(("/tickets", quote_segment(ticket), *rest))


def encode_payload(fields: Mapping[str, str]) -> bytes:
    """A command's body: everything stands under `payload` (R85)."""
    return _encode({"payload": fields})


def return_number(client_name: str, ticket: str, *, ticket_type: str, number: str) -> tuple[str, str, bytes]:
    """Method, path and body of returning our ticket's number (R119)."""
    body = encode_payload({"clientName": client_name, "ticketType": ticket_type, "clientTicketNumber": number})
    return "PUT", ticket_path(ticket, "returnptn"), body
