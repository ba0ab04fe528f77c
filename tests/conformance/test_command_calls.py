"""Every command over real HTTP, by every transport: what stands on the wire, and what each answer leads to."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, Literal

import pytest

from ecproc.attachments.store import ContentStore
from ecproc.attachments.upload import HttpUploader
from ecproc.bridge.base import Bridge, Request
from ecproc.clock import SystemClock
from ecproc.config import BridgeConfig, CommandsConfig, Limits, LiveSecret, Secret
from ecproc.domain.attempt import Attempt, Blamed, Done, Held, Odd, Performer, Postponed, Uncertain
from ecproc.domain.effects import Effect, EffectKind
from ecproc.domain.entry import Entry
from ecproc.domain.ids import EffectKey, TicketNumber
from ecproc.fold.tables import TABLES
from ecproc.outbox.perform.bridge import BridgePerformer
from ecproc.outbox.perform.uploads import UploadPerformer
from ecproc.simulator.faults import NONE, CallFaults, FaultPlan
from ecproc.simulator.lives import ask_client
from ecproc.simulator.server import Simulator, run_simulator
from ecproc.simulator.settings import SimulatorConfig
from ecproc.store.memory import MemoryStore
from ecproc.wire.requests import show_ticket
from tests.conformance.faultserver import FaultServer, Script, answering, black_hole, close_after_request
from tests.conformance.transports import Adapter

K = EffectKind
NameIn = Literal["body", "query", "header"]
RESPONSES: Final = Path(__file__).parents[1] / "fixtures" / "responses"
NUMBER: Final = "INC0010299"
AT: Final = 1_613_717_714_000_000
IDENTITY: Final = '{"payload":{"clientName":"testClient","ticketType":"Incident","clientTicketNumber":"INC0010299"'
COMMENT: Final = {"body": 'says "no"\n', "commenter": "Ann", "commentTime": "2026-03-01T10:00:00Z"}
WIRED_COMMENT: Final = r'{"body":"says \\\"no\\\"\\n","commenter":"Ann","commentTime":"2026-03-01 10:00:00"}'
CREATE: Final = {
    "priority": "3",
    "contactName": "Ann",
    "contactEmail": "ann@client.example",
    "shortDescription": "Printer",
    "description": "It does not print.\nAt all.",
    "comments": json.dumps([COMMENT]),
}
WIRED_CREATE: Final = (
    r',"priority":"3","contactName":"Ann","contactEmail":"ann@client.example","shortDescription":"Printer",'
    r'"description":"It does not print.\\nAt all.","comments":[' + WIRED_COMMENT + "]}}"
)
DECISION: Final = {"approver": "cab@client.example", "approvalid": "157efa0f", "comment": "time conflict"}
WIRED_APPROVAL: Final = (
    ',"approver":"cab@client.example","approvalid":"157efa0f","comments":[{"body":"Email: cab@client.example approved '
    'Change Request INC0010299 via ecproc at 2021-02-19 06:55:14 UTC. time conflict"}]}}'
)
WIRED_REJECTION: Final = (
    ',"approver":"cab@client.example","approvalid":"157efa0f","comments":[{"body":"Email: cab@client.example rejected '
    'this Change Request INC0010299 due to time conflict via ecproc at 2021-02-19 06:55:14 UTC."}]}}'
)
PDF: Final = b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n"


def make_entry(kind: EffectKind, fields: Mapping[str, str], *, ticket: str = "e-CS1", **members: Any) -> Entry:
    effect = Effect(
        key=EffectKey(f"{kind}:k"),
        kind=kind,
        generation=1,
        position=1,
        at=AT,
        ticket=TicketNumber("" if kind is K.CREATE_TICKET else ticket),
        ticket_type="Incident",
        number=NUMBER,
        fields=fields,
    )
    return Entry(effect, 1, **members)


def make_config(url: str, *, name_in: NameIn = "body", timeout: float = 60.0) -> BridgeConfig:
    return BridgeConfig(url=url, client_name="testClient", client_name_in=name_in, timeout=timeout)


@asynccontextmanager
async def open_bridge(adapter: Adapter, config: BridgeConfig, *, key: str = "canary-key") -> AsyncIterator[Bridge]:
    bridge = adapter(config, api_key=LiveSecret("bridge.api_key", [Secret(key)]), limits=Limits(), clock=SystemClock())
    try:
        yield bridge
    finally:
        await bridge.aclose()


def make_performer(bridge: Bridge, commands: CommandsConfig | None = None) -> BridgePerformer:
    store = MemoryStore(SystemClock().now, TABLES)
    return BridgePerformer(bridge, store, client_name="testClient", commands=commands or CommandsConfig())


async def perform(performer: Performer, entry: Entry) -> Attempt:
    attempt = await performer.perform("e-CS1", entry)
    assert isinstance(attempt, Done | Odd | Blamed | Held | Postponed | Uncertain)
    return attempt


# --- what stands on the wire ------------------------------------------------------------------------------------------


CALLS: Final[list[tuple[EffectKind, Mapping[str, str], str, str, str]]] = [
    (K.CREATE_TICKET, CREATE, "POST", "/tickets", WIRED_CREATE),
    (
        K.UPDATE_TICKET,
        {"status": "pending", "group": "G"},
        "PUT",
        "/tickets/e-CS1",
        ',"status":"pending","group":"G"}}',
    ),
    (
        K.ADD_COMMENTS,
        {"comments": json.dumps([COMMENT, {"body": "b"}])},
        "PUT",
        "/tickets/e-CS1/notes",
        f',"comments":[{WIRED_COMMENT},{{"body":"b"}}]}}}}',
    ),
    *(
        (kind, {"closeNotes": "done"}, "PUT", "/tickets/e-CS1", f',"status":"{status}","closeNotes":"done"}}}}')
        for kind, status in (
            (K.RESOLVE_TICKET, "resolved"),
            (K.CLOSE_TICKET, "closed"),
            (K.CANCEL_TICKET, "cancelled"),
        )
    ),
    (K.APPROVE_CHANGE, DECISION, "PUT", "/tickets/e-CS1/approve", WIRED_APPROVAL),
    (K.REJECT_CHANGE, DECISION, "PUT", "/tickets/e-CS1/reject", WIRED_REJECTION),
    (K.RETURN_NUMBER, {}, "PUT", "/tickets/e-CS1/returnptn", "}}"),
]


@pytest.mark.requirement("R1", "R85", "R99")
@pytest.mark.parametrize("name_in", ["body", "query", "header"])
@pytest.mark.parametrize("call", CALLS, ids=[call[0] for call in CALLS])
async def test_every_command_stands_on_the_wire_as_the_guide_says(
    adapter: Adapter, call: tuple[EffectKind, Mapping[str, str], str, str, str], name_in: NameIn
) -> None:
    kind, fields, method, path, body = call
    async with FaultServer(answering(503)) as server:
        config = make_config(f"{server.url}/testclient/prod", name_in=name_in)
        async with open_bridge(adapter, config) as bridge:
            await perform(make_performer(bridge), make_entry(kind, fields))
    (request,) = server.requests
    assert (request.method, request.target) == (method, f"/testclient/prod{path}")
    assert request.body.decode() == IDENTITY + body
    assert request.headers["x-api-key"] == "canary-key"
    assert request.headers["content-type"] == "application/json"
    assert int(request.headers["content-length"]) == len(request.body)
    assert "clientname" not in request.headers


@pytest.mark.requirement("R2", "C28", "R126")
@pytest.mark.parametrize("name_in", ["body", "query", "header"])
async def test_a_read_names_the_client_where_it_is_to(adapter: Adapter, name_in: NameIn, tmp_path: Path) -> None:
    async with FaultServer(answering(503)) as server:
        config = make_config(f"{server.url}/testclient/dev", name_in=name_in)
        async with open_bridge(adapter, config) as bridge, open_uploader(tmp_path) as (uploader, content):
            fields = await keep(content, "rep ort.pdf", PDF)
            await perform(UploadPerformer(bridge, uploader), make_entry(K.UPLOAD, fields))
            await bridge.send(Request(*show_ticket("e-CS1")))
            await bridge.receive()
            await bridge.delete("h")
    query = "?clientName=testClient" if name_in == "query" else ""
    assert [(each.method, each.target, each.body) for each in server.requests] == [
        ("GET", f"/testclient/dev/tickets/e-CS1/attachments/rep-ort.pdf{query}", b""),
        ("GET", f"/testclient/dev/tickets/e-CS1{query}", b""),
        ("GET", f"/testclient/dev/queue{query}", b""),
        ("DELETE", f"/testclient/dev/queue/h{query}", b""),
    ]
    for each in server.requests:
        assert each.headers.get("clientname") == ("testClient" if name_in == "header" else None)
        assert each.headers["x-api-key"] == "canary-key"
        assert "content-type" not in each.headers


class CountingClock(SystemClock):
    """A clock that stands still and counts what is waited for on it."""

    def __init__(self) -> None:
        self.slept: list[float] = []

    def monotonic(self) -> float:
        return 100.0

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)


async def test_the_ceiling_is_for_ticket_calls_alone(adapter: Adapter) -> None:
    clock = CountingClock()
    async with FaultServer(answering(200, b"{}")) as server:
        config = BridgeConfig(url=server.url, client_name="C", requests_per_second=4.0)
        bridge = adapter(config, api_key=LiveSecret("k", [Secret("k")]), limits=Limits(), clock=clock)
        for _ in range(3):
            await bridge.receive()
            await bridge.send(Request("PUT", "/tickets/e-CS1", b"{}"))
        await bridge.aclose()
    assert clock.slept == [0.25, 0.5]


# --- what each answer leads to (Appendix D) ---------------------------------------------------------------------------


def read(name: str) -> bytes:
    (path,) = RESPONSES.glob(f"{name}.*")
    return path.read_bytes()


ONCE: Final = (K.CREATE_TICKET, K.ADD_COMMENTS)
ROWS: Final[list[tuple[str, Script, type, type]]] = [
    ("other text", answering(200, b'{"Response":"Thank you"}'), Odd, Odd),
    ("a list", answering(200, b'{"Response":["no"]}'), Blamed, Blamed),
    ("a list in a failure", answering(500, b'{"Response":["no"]}'), Blamed, Blamed),
    ("Bad Path", answering(200, read("error-bad-path")), Held, Held),
    ("not authorized", answering(400, read("error-apikey-not-authorized")), Blamed, Blamed),
    ("no mapping", answering(400, read("error-clientname-mapping")), Held, Held),
    ("no token", answering(403, read("error-missing-authentication-token")), Held, Held),
    ("forbidden", answering(403, read("error-forbidden")), Held, Held),
    ("invalid group", answering(400, read("error-invalid-group")), Blamed, Blamed),
    ("connection lost", close_after_request, Uncertain, Uncertain),
    ("time-out", black_hole, Uncertain, Uncertain),
    ("gateway time-out", answering(504, b'{"message":"Endpoint request timed out"}'), Uncertain, Uncertain),
    ("429", answering(429, b"{}", {"retry-after": "7"}), Held, Held),
    ("503", answering(503, b"", {"retry-after": "7"}), Held, Held),
    ("500", answering(500, b'{"message":"Internal server error"}'), Held, Uncertain),
    ("502", answering(502, b"<html>"), Held, Uncertain),
    ("401", answering(401), Held, Held),
    ("403", answering(403), Held, Held),
    ("404", answering(404, b'{"message":"no"}'), Blamed, Blamed),
    ("Lambda error", answering(200, b'{"errorMessage":"boom","errorType":"KeyError"}'), Held, Uncertain),
    ("ServiceNow error", answering(200, b'{"error":{"message":"No Record found"}}'), Blamed, Blamed),
    ("status inside", answering(200, b'{"statusCode":500,"body":"{}"}'), Held, Uncertain),
    ("nothing", answering(200), Held, Uncertain),
]


@pytest.mark.requirement("R221", "R222", "R223")
@pytest.mark.parametrize(("script", "settled", "once"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS])
async def test_every_row_leads_to_its_end_for_every_command(
    adapter: Adapter, script: Script, settled: type, once: type
) -> None:
    timeout = 0.3 if script is black_hole else 60.0
    async with FaultServer(script) as server, open_bridge(adapter, make_config(server.url, timeout=timeout)) as bridge:
        for kind, fields, *_ in CALLS:
            attempt = await perform(make_performer(bridge), make_entry(kind, fields))
            assert type(attempt) is (once if kind in ONCE else settled), kind
            if isinstance(attempt, Held) and attempt.retry_after is not None:
                assert attempt.retry_after == 7.0
    assert len(server.requests) == (0 if script is black_hole else len(CALLS))


@pytest.mark.requirement("R97")
async def test_a_bridge_that_cannot_be_reached_did_nothing(adapter: Adapter) -> None:
    async with FaultServer(answering(200)) as server:
        url = server.url
    async with open_bridge(adapter, make_config(url)) as bridge:
        for kind, fields, *_ in CALLS:
            assert isinstance(await perform(make_performer(bridge), make_entry(kind, fields)), Held)


# --- against the simulator --------------------------------------------------------------------------------------------


@asynccontextmanager
async def open_uploader(folder: Path) -> AsyncIterator[tuple[HttpUploader, ContentStore]]:
    content = ContentStore(folder)
    await content.sweep()
    uploader = HttpUploader(
        content, allowed_hosts=("127.0.0.1",), max_bytes=10**6, timeout=60, max_connections=4, clock=SystemClock()
    )
    try:
        yield uploader, content
    finally:
        await uploader.aclose()


async def keep(content: ContentStore, name: str, data: bytes, **members: str) -> dict[str, str]:
    """Take bytes into the store and give the fields of an effect that sends them."""
    async with content.receive() as upload:
        await upload.write(data)
        stored = await upload.keep()
    fields = {"name": name, "sha256": stored.sha256, "size": str(stored.size), "type": "application/pdf"}
    return fields | members


@asynccontextmanager
async def open_simulated(
    adapter: Adapter, config: SimulatorConfig, *, commands: CommandsConfig | None = None
) -> AsyncIterator[tuple[Simulator, Bridge, BridgePerformer]]:
    async with (
        run_simulator(config) as simulator,
        open_bridge(adapter, make_config(simulator.url), key=config.api_key) as bridge,
    ):
        yield simulator, bridge, make_performer(bridge, commands)


async def do(performer: Performer, kind: EffectKind, ticket: str = "", **fields: str) -> Mapping[str, str]:
    """Perform a command that must succeed; what it told."""
    attempt = await perform(performer, make_entry(kind, fields, ticket=ticket))
    assert isinstance(attempt, Done), attempt
    return attempt.result


@pytest.mark.requirement("R84", "R105", "R114")
async def test_a_ticket_of_ours_lives_its_life_at_ensono(adapter: Adapter) -> None:
    async with open_simulated(adapter, SimulatorConfig()) as (simulator, bridge, performer):
        ticket = (await do(performer, K.CREATE_TICKET, **CREATE))["number"]
        await do(performer, K.UPDATE_TICKET, ticket, status="workinprogress", priority="1")
        await do(performer, K.ADD_COMMENTS, ticket, comments=json.dumps([{"body": 'tab\t"quote"'}]))
        refused = await perform(performer, make_entry(K.CLOSE_TICKET, {"closeNotes": "x"}, ticket=ticket))
        await do(performer, K.RESOLVE_TICKET, ticket, closeNotes="Toner\nchanged")
        await do(performer, K.CLOSE_TICKET, ticket, closeNotes="bye")
        shown = json.loads((await bridge.send(Request(*show_ticket(ticket)))).body)["Response"]["case"]
        books = simulator.ledger.describe()
    assert isinstance(refused, Blamed)
    assert "must be in the resolved state" in refused.reason
    assert books.created == {NUMBER: [ticket]}
    assert books.notes == {ticket: [COMMENT["body"], 'tab\t"quote"']}
    assert [update.get("status") for update in books.updates[ticket]] == ["workinprogress", "resolved", "closed"]
    assert books.updates[ticket][1]["closeNotes"] == "Toner\nchanged"
    assert (shown["state"], shown["description"]) == ("closed", CREATE["description"])
    assert (books.doubles, books.repeated_notes, books.leaked_keys) == ({}, 0, 0)


@pytest.mark.requirement("R173", "R177")
@pytest.mark.parametrize("kind", [K.APPROVE_CHANGE, K.REJECT_CHANGE])
async def test_a_decision_reaches_the_change_that_asked(adapter: Adapter, kind: EffectKind) -> None:
    async with open_simulated(adapter, SimulatorConfig()) as (simulator, _, performer):
        life = ask_client(1, base_time_ms=0)
        simulator.stage.play([life])
        sent = simulator.ledger.sent
        await do(performer, kind, life.ticket, **{**DECISION, "approvalid": life.outcome.approvals[0]})
        (decision,) = simulator.ledger.decisions[life.ticket]
        went_on = simulator.ledger.sent - sent
    assert decision.approved == (kind is K.APPROVE_CHANGE)
    assert (decision.approver, decision.approval_id) == ("cab@client.example", life.outcome.approvals[0])
    assert life.approved and life.rejected
    assert went_on == len((life.approved if decision.approved else life.rejected).messages)


@pytest.mark.requirement("R203", "R221")
async def test_a_group_that_ensono_does_not_know_gives_way_to_the_default_one(adapter: Adapter) -> None:
    config = SimulatorConfig(groups=frozenset({"Ensono Service Desk"}))
    commands = CommandsConfig(default_group="Ensono Service Desk")
    async with open_simulated(adapter, config, commands=commands) as (simulator, _, performer):
        told = await do(performer, K.CREATE_TICKET, **{**CREATE, "group": "Printers"})
        tickets = simulator.bridge.systems["dev"].tickets
        assert tickets[told["number"]].fields["group"] == "Ensono Service Desk"
    assert (told["group"], told["wanted_group"]) == ("Ensono Service Desk", "Printers")
    assert simulator.ledger.list_doubles() == {}


@pytest.mark.requirement("R97")
async def test_a_create_whose_answer_got_lost_is_announced_in_the_queue(adapter: Adapter) -> None:
    config = SimulatorConfig(faults=FaultPlan(tickets=CallFaults(lost=1.0)))
    async with open_simulated(adapter, config) as (simulator, bridge, performer):
        attempt = await perform(performer, make_entry(K.CREATE_TICKET, CREATE))
        simulator.bridge.faults.change_plan(NONE)
        answer = await bridge.receive()
        created = simulator.ledger.created[NUMBER]
    assert isinstance(attempt, Uncertain)
    assert len(created) == 1
    assert created[0].encode() in answer.body
    assert b"ReturnEnsonoNum" in answer.body


@pytest.mark.requirement("R9", "R99")
async def test_echo_sends_a_command_back_to_devs_queue(adapter: Adapter) -> None:
    async with open_simulated(adapter, SimulatorConfig(env="echo")) as (_, bridge, performer):
        await do(performer, K.CREATE_TICKET, **CREATE)
        body = json.loads((await bridge.receive()).body)
    messages = body["ReceiveMessageResponse"]["ReceiveMessageResult"]["messages"]
    assert [message["Attributes"]["TransactionType"] for message in messages] == ["Create", "Notes"]
    assert messages[0]["Body"]["description"] == CREATE["description"]
    assert messages[1]["Body"]["notes"]["body"] == COMMENT["body"]


@pytest.mark.requirement("R128", "R129", "R135")
@pytest.mark.parametrize("base64", [True, False])
async def test_a_file_arrives_as_it_is_and_the_key_does_not(adapter: Adapter, tmp_path: Path, base64: bool) -> None:
    data = PDF + bytes(range(256)) * 1000
    config = SimulatorConfig()
    async with (
        open_simulated(adapter, config) as (simulator, bridge, performer),
        open_uploader(tmp_path) as (uploader, content),
    ):
        ticket = (await do(performer, K.CREATE_TICKET, **CREATE))["number"]
        fields = await keep(content, "rep ort.pdf", data, **({"base64": "true"} if base64 else {}))
        told = await do(UploadPerformer(bridge, uploader), K.UPLOAD, ticket, **fields)
    (upload,) = simulator.ledger.uploads
    assert (upload.ticket, upload.name, upload.size, upload.sha256) == (
        ticket,
        "rep-ort.pdf",
        len(data),
        fields["sha256"],
    )
    assert upload.content_type == ("text/plain" if base64 else "application/pdf")
    assert simulator.ledger.leaked_keys == 0
    assert "X-Amz" not in repr(told)
    assert told["status"] == "200"


@pytest.mark.requirement("R130", "R131")
async def test_an_address_that_expired_on_the_way_is_asked_for_again(adapter: Adapter, tmp_path: Path) -> None:
    late = [200.0, 0.0]
    now = 1_700_000_000.0

    class Slow(HttpUploader):
        """An uploader whose connection comes late."""

        async def upload(self, file: Any, url: str) -> Any:
            nonlocal now
            now += late.pop(0)
            return await super().upload(file, url)

    async with (
        run_simulator(SimulatorConfig(), clock=lambda: now) as simulator,
        open_uploader(tmp_path) as (_, content),
    ):
        uploader = Slow(
            content, allowed_hosts=("127.0.0.1",), max_bytes=10**6, timeout=60, max_connections=4, clock=SystemClock()
        )
        async with open_bridge(adapter, make_config(simulator.url), key="simulator-key") as bridge:
            ticket = (await do(make_performer(bridge), K.CREATE_TICKET, **CREATE))["number"]
            fields = await keep(content, "a.pdf", PDF)
            await do(UploadPerformer(bridge, uploader), K.UPLOAD, ticket, **fields)
        await uploader.aclose()
        books = simulator.ledger.describe()
    assert [upload.ticket for upload in books.uploads] == [ticket]
    assert (books.calls["attachments"], books.refused["file"]) == (2, 1)
