"""The bridge answers as the guide documents, body for body; paths are case-sensitive and errors are the known ones."""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path
from random import Random
from typing import Any
from urllib.parse import quote, urlsplit

import msgspec
import pytest

from ecproc.simulator.bridge import EnvisionBridge, RawMessage
from ecproc.simulator.exchange import HttpRequest, Reply
from ecproc.simulator.faults import CallFaults, FaultPlan
from ecproc.simulator.ledger import Decision
from ecproc.simulator.presigned import sign_url
from ecproc.simulator.settings import Scenario, SimulatorConfig
from ecproc.simulator.stage import Stage

RESPONSES = Path(__file__).parent.parent / "fixtures" / "responses"
KEY = {"x-api-key": "simulator-key"}
IDENTITY = {"clientName": "testClient", "ticketType": "Incident", "clientTicketNumber": "INC1"}
CREATE = {
    **IDENTITY,
    "description": "It does not print.",
    "shortDescription": "Printer",
    "contactName": "Ann",
    "contactEmail": "ann@client.example",
    "priority": "3",
}
TICKET = "e-CS0879727"
CHANGE = "e-CHG0032103"


class Caller:
    """Calls a bridge without a network, at a time of our own."""

    def __init__(self, config: SimulatorConfig | None = None) -> None:
        self.now = 1_700_000_000.0
        self.bridge = EnvisionBridge(
            config or SimulatorConfig(), url_base="http://127.0.0.1:1", clock=lambda: self.now, rng=Random(5)
        )

    def call(
        self, method: str, path: str, payload: object = None, *, headers: dict[str, str] = KEY, body: bytes = b""
    ) -> Reply:
        text = body if payload is None else json.dumps({"payload": payload}).encode()
        target = urlsplit(path)
        request = HttpRequest(method=method, path=target.path, query=target.query, headers=headers, body=text)
        reply = self.bridge.answer(request)
        self.bridge.record_answered()
        return reply

    def learn(self, *names: str) -> None:
        """Send the guide's own messages, so that their tickets are known."""
        for name in names:
            text = (RESPONSES.parent / "messages" / f"{name}.json").read_bytes()
            message = json.loads(text)
            attributes = message["Attributes"]
            self.bridge.send_raw(
                RawMessage(msgspec.Raw(json.dumps(message["Body"]).encode()), attributes, message["MessageId"])
            )

    def receive(self, env: str = "dev") -> list[dict[str, Any]]:
        reply = self.call("GET", f"/testclient/{env}/queue")
        result = json.loads(reply.body)["ReceiveMessageResponse"]["ReceiveMessageResult"]
        return list(result.get("messages") or ())


def read_fixture(name: str) -> Any:
    return json.loads((RESPONSES / f"{name}.json").read_bytes())


def read(reply: Reply) -> Any:
    return json.loads(reply.body)


def hide(document: Any, *names: str) -> Any:
    """Blank members whose values differ from call to call."""
    if isinstance(document, dict):
        return {name: "" if name in names else hide(value, *names) for name, value in document.items()}
    return [hide(value, *names) for value in document] if isinstance(document, list) else document


@pytest.fixture
def caller() -> Caller:
    caller = Caller()
    caller.learn("incident-create", "change-create")
    return caller


@pytest.mark.requirement("R14", "R35", "R39")
def test_a_read_with_messages_has_the_documented_shape() -> None:
    caller = Caller()
    text = (RESPONSES.parent / "messages" / "incident-create.json").read_bytes()
    message = json.loads(text)
    body = json.dumps(message["Body"]).encode()
    caller.bridge.send_raw(
        RawMessage(msgspec.Raw(body), message["Attributes"], message["MessageId"], message["MD5OfBody"])
    )
    given = read(caller.call("GET", "/testclient/dev/queue"))
    changing = ("RequestId", "ReceiptHandle", "ApproximateFirstReceiveTimestamp", "ApproximateReceiveCount")
    assert hide(given, *changing) == hide(read_fixture("queue-with-messages"), *changing)


@pytest.mark.requirement("R15", "C1")
def test_an_empty_read_nests_its_result_twice() -> None:
    given = read(Caller().call("GET", "/testclient/dev/queue"))
    assert hide(given, "RequestId") == hide(read_fixture("queue-empty"), "RequestId")


@pytest.mark.requirement("R28", "R29", "R30")
def test_deletes_answer_as_documented(caller: Caller) -> None:
    first, second = caller.receive()
    path = f"/testclient/dev/queue/{quote(first['ReceiptHandle'], safe='')}"
    for _ in range(2):
        reply = caller.call("DELETE", path)
        assert reply.status == 200
        assert hide(read(reply), "RequestId") == hide(read_fixture("queue-delete"), "RequestId")
    caller.now += 30
    handle = second["ReceiptHandle"]
    expired = read(caller.call("DELETE", f"/testclient/dev/queue/{quote(handle, safe='')}"))
    documented = read_fixture("error-receipt-handle-expired")["Error"]
    assert expired["Error"]["Code"] == documented["Code"]
    assert expired["Error"]["Message"] == f"Value {handle} {documented['Message'].split(' ', 2)[2]}"
    (again,) = caller.receive()
    for wrong in (again["ReceiptHandle"], quote(quote(again["ReceiptHandle"], safe=""), safe="")):
        invalid = read(caller.call("DELETE", f"/testclient/dev/queue/{wrong}"))
        assert invalid["Error"]["Code"] == read_fixture("error-receipt-handle-invalid")["Error"]["Code"]
        assert "is not a valid receipt handle." in invalid["Error"]["Message"]
    assert caller.bridge.ledger.count_messages().deleted == 1


@pytest.mark.requirement("R27")
@pytest.mark.parametrize("safe", ["", "=:", "=", "~"])
def test_any_legal_encoding_of_a_handle_deletes(caller: Caller, safe: str) -> None:
    for message in caller.receive():
        assert (
            caller.call("DELETE", f"/testclient/dev/queue/{quote(message['ReceiptHandle'], safe=safe)}").status == 200
        )
    assert caller.bridge.ledger.count_messages().left == 0


@pytest.mark.requirement("R7", "R9", "R216")
@pytest.mark.parametrize(
    ("method", "path", "fixture"),
    [
        ("GET", "/testclient/Dev/queue", "error-missing-authentication-token"),
        ("GET", "/testclient/dev/Queue", "error-missing-authentication-token"),
        ("GET", "/testclient/dev/queue/", "error-missing-authentication-token"),
        ("GET", "/testclient/echo/queue", "error-missing-authentication-token"),
        ("POST", "/testclient/dev/queue", "error-missing-authentication-token"),
        ("DELETE", "/testclient/dev/queue", "error-missing-authentication-token"),
        ("PUT", f"/testclient/dev/Tickets/{TICKET}", "error-missing-authentication-token"),
        ("DELETE", f"/testclient/dev/tickets/{TICKET}", "error-missing-authentication-token"),
        ("GET", "/testclient/dev", "error-missing-authentication-token"),
        ("GET", "/Testclient/dev/queue", "error-forbidden"),
        ("GET", "/", "error-forbidden"),
        ("PUT", f"/testclient/dev/tickets/{TICKET}/nots", "error-bad-path"),
        ("PUT", "/testclient/dev/tickets/notes", "error-bad-path"),
        ("GET", f"/testclient/cert/tickets/{TICKET}", "error-bad-path"),
        ("PUT", f"/testclient/dev/tickets/{TICKET}/approve", "error-bad-path"),
        ("GET", f"/testclient/dev/tickets/{CHANGE}/attachments/a.txt", "error-bad-path"),
        ("GET", f"/testclient/dev/tickets/{TICKET}/attachments/setup.exe", "error-bad-path"),
        ("PUT", "/testclient/dev/tickets/e-CS1/notes", "error-apikey-not-authorized"),
        ("GET", "/testclient/dev/tickets/e-CS1/attachments/a.txt", "error-apikey-not-authorized"),
    ],
)
def test_a_wrong_path_gets_the_documented_error(caller: Caller, method: str, path: str, fixture: str) -> None:
    reply = caller.call(method, path, IDENTITY)
    assert read(reply) == read_fixture(fixture)
    assert reply.status == (403 if "message" in read(reply) else 400)


@pytest.mark.requirement("R1", "R217")
@pytest.mark.parametrize("headers", [{}, {"x-api-key": "other"}])
def test_without_the_key_everything_is_forbidden(caller: Caller, headers: dict[str, str]) -> None:
    for method, path in (("GET", "/testclient/dev/queue"), ("PUT", f"/testclient/dev/tickets/{TICKET}/notes")):
        reply = caller.call(method, path, IDENTITY, headers=headers)
        assert (reply.status, read(reply)) == (403, read_fixture("error-forbidden"))
    assert caller.bridge.ledger.calls.total() == 0


@pytest.mark.requirement("R220", "R221", "R223")
def test_refusals_by_ensono_carry_the_configured_status() -> None:
    caller = Caller(SimulatorConfig(groups=frozenset({"Ensono Support"}), refusal_status=200))
    unknown = caller.call("POST", "/testclient/dev/tickets", {**CREATE, "clientName": "testclient"})
    assert (unknown.status, read(unknown)) == (200, read_fixture("error-clientname-mapping"))
    group = caller.call("POST", "/testclient/dev/tickets", {**CREATE, "group": "Nobody"})
    assert (group.status, read(group)) == (200, read_fixture("error-invalid-group"))
    assert caller.bridge.ledger.created == {}
    assert (caller.bridge.ledger.calls, caller.bridge.ledger.refused) == ({}, {"create": 2})


@pytest.mark.requirement("R84", "R86", "R87")
def test_a_create_needs_its_fields_and_answers_a_number() -> None:
    caller = Caller()
    for name in ("description", "contactEmail", "clientTicketNumber", "ticketType"):
        incomplete = {key: value for key, value in CREATE.items() if key != name}
        assert isinstance(read(caller.call("POST", "/testclient/dev/tickets", incomplete))["Response"], list)
    reply = caller.call("POST", "/testclient/dev/tickets", CREATE)
    number = read(reply)["Response"]
    assert (reply.status, number[:4]) == (200, "e-CS")
    assert caller.bridge.ledger.created == {"INC1": [number]}
    assert caller.call("POST", "/testclient/dev/tickets", body=b"{").status == 400


@pytest.mark.requirement("R101", "R105", "R106")
def test_updates_resolves_and_closes_answer_as_documented(caller: Caller) -> None:
    path = f"/testclient/dev/tickets/{TICKET}"
    update = caller.call("PUT", path, {**IDENTITY, "priority": "2", "comments": [{"body": "with a comment"}]})
    assert (update.status, read(update)) == (202, read_fixture("ticket-update-202"))
    closing = {**IDENTITY, "closeNotes": "done", "priority": "1", "comments": [{"body": "ignored"}]}
    early = caller.call("PUT", path, {**closing, "status": "closed"})
    assert isinstance(read(early)["Response"], list)
    for status in ("resolved", "closed"):
        reply = caller.call("PUT", path, {**closing, "status": status})
        assert (reply.status, read(reply)) == (200, read_fixture("ticket-resolve-200"))
    assert isinstance(read(caller.call("PUT", path, {**IDENTITY, "priority": "1"}))["Response"], list)
    ledger = caller.bridge.ledger
    assert ledger.notes == {TICKET: ["with a comment"]}
    assert [update.get("status") for update in ledger.updates[TICKET]] == [None, "resolved", "closed"]
    assert "priority" not in ledger.updates[TICKET][1]


@pytest.mark.requirement("R119", "R114", "R122")
def test_numbers_and_notes_are_kept_in_order(caller: Caller) -> None:
    for number in ("LOCAL-1", "LOCAL-1", "LOCAL-2"):
        payload = {**IDENTITY, "ticketType": "Change", "clientTicketNumber": number}
        reply = caller.call("PUT", f"/testclient/dev/tickets/{CHANGE}/returnptn", payload)
        assert (reply.status, read(reply)) == (200, read_fixture("returnptn-200"))
    notes = caller.call("PUT", f"/testclient/dev/tickets/{TICKET}/notes", {**IDENTITY, "comments": [{"body": "hello"}]})
    assert (notes.status, read(notes)) == (200, read_fixture("notes-200"))
    document = caller.bridge.ledger.describe()
    assert document.returnptn == {CHANGE: ["LOCAL-1", "LOCAL-1", "LOCAL-2"]}
    assert document.numbers == {CHANGE: "LOCAL-2"}
    assert document.notes == {TICKET: ["hello"]}
    empty = caller.call("PUT", f"/testclient/dev/tickets/{TICKET}/notes", {**IDENTITY, "comments": [{"body": " "}]})
    assert isinstance(read(empty)["Response"], list)


@pytest.mark.requirement("R173", "R174")
def test_approvals_and_rejections_are_answered_as_documented(caller: Caller) -> None:
    payload = {
        **IDENTITY,
        "ticketType": "Change",
        "approver": "cab@client.example",
        "approvalid": "157efa0f",
        "comments": [{"body": "Jason approved"}],
    }
    for operation in ("approve", "reject"):
        reply = caller.call("PUT", f"/testclient/dev/tickets/{CHANGE}/{operation}", payload)
        assert (reply.status, read(reply)) == (200, read_fixture(f"{operation}-200"))
    decisions = caller.bridge.ledger.decisions[CHANGE]
    assert decisions[0] == Decision(True, "cab@client.example", "157efa0f", "Jason approved")
    assert [decision.approved for decision in decisions] == [True, False]


@pytest.mark.requirement("R124", "R125")
def test_a_ticket_can_be_shown_in_dev(caller: Caller) -> None:
    caller.call("PUT", f"/testclient/dev/tickets/{TICKET}/returnptn", {**IDENTITY, "clientTicketNumber": "LOCAL-7"})
    shown = read(caller.call("GET", f"/testclient/dev/tickets/{TICKET}"))["Response"]
    assert shown["case"] == shown["incident"]
    assert shown["case"]["x_aito_data_sync_client_number"] == "LOCAL-7"
    assert (shown["case"]["number"], shown["case"]["state"]) == (TICKET.removeprefix("e-"), "open")


@pytest.mark.requirement("R126", "R130", "R131")
def test_an_upload_url_works_once_and_for_120_seconds(caller: Caller) -> None:
    path = f"/testclient/dev/tickets/{TICKET}/attachments/test1.pdf"
    first, second = (read(caller.call("GET", path))["Response"] for _ in range(2))
    assert first["code"] == 200
    target = first["body"].removeprefix("http://127.0.0.1:1")
    headers = {"content-type": "application/pdf"}
    assert caller.call("PUT", target, headers=headers, body=b"%PDF-1.7").status == 200
    assert caller.call("PUT", target, headers=headers, body=b"%PDF-1.7").status == 403
    caller.now += 120
    late = caller.call("PUT", second["body"].removeprefix("http://127.0.0.1:1"), headers=headers, body=b"%PDF")
    documented = (RESPONSES / "error-presigned-url-expired.xml").read_text()
    assert late.status == 403
    for part in ("<Code>AccessDenied</Code>", "<Message>Request has expired</Message>", "<X-Amz-Expires>120<"):
        assert part in late.body.decode()
        assert part in documented
    (upload,) = caller.bridge.ledger.uploads
    assert (upload.ticket, upload.name, upload.sha256) == (TICKET, "test1.pdf", hashlib.sha256(b"%PDF-1.7").hexdigest())


@pytest.mark.requirement("R135")
def test_a_base64_upload_is_decoded(caller: Caller) -> None:
    url = read(caller.call("GET", f"/testclient/dev/tickets/{TICKET}/attachments/a.txt.base64"))["Response"]["body"]
    target = url.removeprefix("http://127.0.0.1:1")
    assert caller.call("PUT", target, headers={}, body=b"not base64!").status == 400
    assert caller.call("PUT", target, headers={}, body=base64.b64encode(b"text")).status == 200
    (upload,) = caller.bridge.ledger.uploads
    assert (upload.name, upload.size) == ("a.txt", 4)


@pytest.mark.requirement("R129", "R137", "R138")
def test_downloads_live_as_long_as_their_url_and_refuse_the_key() -> None:
    caller = Caller()
    stage = Stage(caller.bridge, lambda *_: None)
    lives = stage.start(Scenario(tickets=60, seed=2))
    life = next(life for life in lives if life.files and life.outcome.type != "Change")
    file = life.files[0]
    body = next(json.loads(m.body) for m in life.messages if m.attributes["TransactionType"] == "Attachment")
    target = body["attachment"].removeprefix("http://127.0.0.1:1")
    reply = caller.call("GET", target, headers={})
    assert (reply.status, reply.body, reply.content_type) == (200, file.content, file.type)
    assert caller.bridge.ledger.downloads == {file.id: 1}
    assert caller.call("GET", target).status == 403
    assert caller.bridge.ledger.leaked_keys == 1
    assert caller.call("GET", target.replace("X-Amz-Signature=", "X-Amz-Signature=0"), headers={}).status == 403
    assert caller.call("GET", urlsplit(target).path, headers={}).status == 403
    missing = sign_url("", "/s3/outbound/none", signed_at=caller.now, lifetime=60)
    assert caller.call("GET", missing, headers={}).status == 404
    caller.now += 86400
    late = caller.call("GET", target, headers={})
    assert (late.status, b"Request has expired" in late.body) == (403, True)
    assert caller.bridge.ledger.downloads == {file.id: 1}


@pytest.mark.requirement("R6", "R8")
def test_environments_have_queues_of_their_own_and_echo_shares_devs() -> None:
    caller = Caller()
    raw = RawMessage(msgspec.Raw(b'{"ticketNumber":"e-CS9"}'), {"MessageGroupId": "e-CS9"})
    caller.bridge.send_raw(raw, "prod")
    assert [len(caller.receive(env)) for env in ("dev", "cert", "prod")] == [0, 0, 1]
    assert caller.call("PUT", "/testclient/dev/tickets/e-CS9/notes", IDENTITY).status == 400


@pytest.mark.requirement("R8", "R10", "R215")
def test_echo_sends_accepted_calls_back_to_the_dev_queue() -> None:
    caller = Caller()
    comments = {"comments": [{"body": "first"}]}
    number = read(caller.call("POST", "/testclient/echo/tickets", {**CREATE, **comments}))["Response"]
    caller.call("PUT", f"/testclient/echo/tickets/{number}", {**IDENTITY, "priority": "1"})
    caller.call("PUT", f"/testclient/echo/tickets/{number}", {**IDENTITY, "status": "resolved", "closeNotes": "ok"})
    caller.call("PUT", f"/testclient/echo/tickets/{number}/returnptn", IDENTITY)
    caller.call("PUT", f"/testclient/dev/tickets/{number}/notes", {**IDENTITY, **comments})
    mirrored = caller.receive()
    kinds = [message["Attributes"]["TransactionType"] for message in mirrored]
    assert kinds == ["Create", "Notes", "Update", "Closure"]
    assert all(message["Body"]["clientTicketNumber"] == "INC1" for message in mirrored)
    assert mirrored[2]["Body"]["changed"] == {"priority": "1"}


@pytest.mark.requirement("R74", "R97")
def test_a_create_whose_answer_is_lost_is_followed_by_its_number() -> None:
    caller = Caller(SimulatorConfig(faults=FaultPlan(tickets=CallFaults(lost=1.0))))
    reply = caller.call("POST", "/testclient/dev/tickets", CREATE)
    assert reply.dropped
    (message,) = caller.receive()
    documented = json.loads((RESPONSES.parent / "messages" / "incident-return-ensono-num.json").read_bytes())
    assert message["Attributes"]["TransactionType"] == "ReturnEnsonoNum"
    assert message["Attributes"]["ClientReferenceAvailable"] is True
    assert message["Body"].keys() == documented["Body"].keys()
    assert caller.bridge.ledger.created == {"INC1": [message["Body"]["ticketNumber"]]}


@pytest.mark.requirement("R120")
def test_later_messages_show_the_returned_number_when_asked_to() -> None:
    raw = RawMessage(
        msgspec.Raw(b'{"ticketNumber":"e-CS9","ticketType":"Incident","clientTicketNumber":""}'),
        {"MessageGroupId": "e-CS9", "ClientReferenceAvailable": False},
    )
    for reflect in (False, True):
        caller = Caller(SimulatorConfig(reflect_numbers=reflect))
        caller.bridge.send_raw(raw)
        caller.call("PUT", "/testclient/dev/tickets/e-CS9/returnptn", {**IDENTITY, "clientTicketNumber": "LOCAL-1"})
        caller.bridge.send_raw(raw)
        first, second = caller.receive()
        assert (first["Body"]["clientTicketNumber"], first["Attributes"]["ClientReferenceAvailable"]) == ("", False)
        assert second["Body"]["clientTicketNumber"] == ("LOCAL-1" if reflect else "")
        assert second["Attributes"]["ClientReferenceAvailable"] is reflect


@pytest.mark.requirement("R99", "R8")
def test_texts_that_were_escaped_twice_are_kept_as_they_were_meant(caller: Caller) -> None:
    text, escaped = 'a "b"\r\n\tC:\\temp', r"a \"b\"\r\n\tC:\\temp"
    path = f"/testclient/echo/tickets/{TICKET}"
    caller.call("PUT", path, {**IDENTITY, "description": escaped, "group": escaped})
    caller.call("PUT", f"{path}/notes", {**IDENTITY, "comments": [{"body": escaped}]})

    assert caller.bridge.ledger.updates[TICKET] == [{"description": text, "group": escaped}]
    assert caller.bridge.ledger.notes[TICKET] == [text]
    bodies = [message["Body"] for message in caller.receive() if message["Body"]["ticketNumber"] == TICKET]
    assert bodies[-1].get("notes", {}).get("body") in (text, None)


def test_a_text_is_measured_as_it_was_meant(caller: Caller) -> None:
    for size, kept in ((4000, True), (4001, False)):
        notes = {**IDENTITY, "comments": [{"body": "x" + r"\n" * (size - 1)}]}
        reply = caller.call("PUT", f"/testclient/dev/tickets/{TICKET}/notes", notes)
        assert (reply.status == 200) == kept


def test_what_came_twice_is_counted(caller: Caller) -> None:
    for _ in range(2):
        caller.call("POST", "/testclient/dev/tickets", CREATE)
        caller.call("POST", "/testclient/dev/tickets", {**CREATE, "clientTicketNumber": f"INC{_ + 7}"})
        for body in ("again", f"only once {_}"):
            caller.call("PUT", f"/testclient/dev/tickets/{TICKET}/notes", {**IDENTITY, "comments": [{"body": body}]})

    document = caller.bridge.ledger.describe()
    assert document.doubles == {"INC1": ["e-CS5000001", "e-CS5000003"]}
    assert document.repeated_notes == 1


@pytest.mark.requirement("R221")
@pytest.mark.parametrize("method", ["POST", "PUT"])
def test_a_group_that_nobody_knows_is_refused(method: str) -> None:
    caller = Caller(SimulatorConfig(groups=frozenset({"Ensono Service Desk"})))
    caller.learn("incident-create")
    path = "/testclient/dev/tickets" if method == "POST" else f"/testclient/dev/tickets/{TICKET}"

    refused = caller.call(method, path, {**CREATE, "group": "No Such Group"})
    taken = caller.call(method, path, {**CREATE, "group": "Ensono Service Desk"})

    assert read(refused) == read_fixture("error-invalid-group")
    assert taken.status in (200, 202)


@pytest.mark.requirement("R173", "R177")
@pytest.mark.parametrize(("first", "last_state"), [("approve", "Closed"), ("reject", "Cancelled")])
def test_a_change_that_asks_goes_on_once_the_client_has_answered(first: str, last_state: str) -> None:
    caller = Caller()
    stage = Stage(caller.bridge, lambda *_: None)
    (life,) = stage.start(Scenario(tickets=0, asked=1, seed=3))
    assert life.approved and life.rejected
    sent = caller.bridge.ledger.sent
    payload = {
        **IDENTITY,
        "ticketType": "Change",
        "approver": "cab@client.example",
        "approvalid": life.outcome.approvals[0],
        "comments": [{"body": "decided"}],
    }
    path = f"/testclient/dev/tickets/{life.ticket}"

    assert life.outcome.state == "Assess"
    assert caller.call("PUT", f"{path}/{first}", {**payload, "approvalid": ""}).refused
    assert caller.bridge.ledger.sent == sent
    for operation in (first, "reject", "approve"):
        caller.call("PUT", f"{path}/{operation}", payload)

    sequel = life.approved if first == "approve" else life.rejected
    assert caller.bridge.ledger.sent == sent + len(sequel.messages)
    assert [known.outcome for known in stage.lives] == [sequel.outcome]
    assert sequel.outcome.state == last_state
    assert sequel.outcome.history[: len(life.outcome.history)] == life.outcome.history


@pytest.mark.requirement("R124", "C42")
@pytest.mark.parametrize(("env", "shown"), [("dev", True), ("echo", True), ("cert", False), ("prod", False)])
def test_a_ticket_is_shown_where_the_guide_says(env: str, shown: bool) -> None:
    caller = Caller()
    number = read(caller.call("POST", f"/testclient/{env}/tickets", CREATE))["Response"]

    assert caller.call("GET", f"/testclient/{env}/tickets/{number}").refused == (not shown)
