"""Calls to the bridge, byte for byte."""

import json

import pytest

from ecproc.wire.requests import encode_payload, quote_segment, return_number, ticket_path

HANDLE = "AQEBD4eNzuQjJoBJ+TRMwOo5Ub/VvF/AmGYEVooeBKrkEwUh+o9f3d48="


@pytest.mark.requirement("R119", "R123", "R85")
@pytest.mark.parametrize(("ticket", "kind"), [("e-CS0879727", "Incident"), ("e-CHG0032103", "Change")])
def test_returning_a_number_is_the_documented_call(ticket: str, kind: str) -> None:
    assert return_number("testClient", ticket, ticket_type=kind, number="INC0010299") == (
        "PUT",
        f"/tickets/{ticket}/returnptn",
        f'{{"payload":{{"clientName":"testClient","ticketType":"{kind}","clientTicketNumber":"INC0010299"}}}}'.encode(),
    )


@pytest.mark.requirement("R27")
def test_a_handle_is_encoded_with_nothing_left_as_it_is() -> None:
    assert quote_segment(HANDLE) == "AQEBD4eNzuQjJoBJ%2BTRMwOo5Ub%2FVvF%2FAmGYEVooeBKrkEwUh%2Bo9f3d48%3D"


@pytest.mark.requirement("R49", "R7")
@pytest.mark.parametrize(
    ("ticket", "path"),
    [
        ("e-CS0879727", "/tickets/e-CS0879727"),
        ("E-cs1", "/tickets/E-cs1"),
        ("a/b?c#d", "/tickets/a%2Fb%3Fc%23d"),
        ("..", "/tickets/%2E%2E"),
        (".", "/tickets/%2E"),
        ("../..", "/tickets/..%2F.."),
        ("e-CS1.5", "/tickets/e-CS1.5"),
        ("é %", "/tickets/%C3%A9%20%25"),
    ],
)
def test_a_ticket_number_stays_one_segment_of_the_path(ticket: str, path: str) -> None:
    assert ticket_path(ticket) == path
    assert ticket_path(ticket, "notes") == f"{path}/notes"


@pytest.mark.requirement("R85", "R40")
def test_a_payload_holds_any_text() -> None:
    fields = {"description": 'a "b"\n\\ é\u0000😀', "clientTicketNumber": "18875507807458288128"}

    assert json.loads(encode_payload(fields)) == {"payload": fields}
