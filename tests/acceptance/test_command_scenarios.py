"""The scenarios that begin with the client, against a bridge over real HTTP: what is on the wire, and what is told."""

from __future__ import annotations

import json
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import httpx
import msgspec
import pytest

from ecproc.control import CONTROL
from ecproc.simulator.bridge import RawMessage
from ecproc.simulator.exchange import HttpRequest, Reply
from ecproc.simulator.faults import NONE, CallFaults, FaultPlan
from tests.acceptance.world import Answer, Plan, Running, World, is_empty, open_world, wait_for

CREATE: Final = (
    *("send", "create", "--type", "Incident", "--number", "INC0042", "--short", "a fan is loud"),
    *("--description", "it rattles", "--contact-name", "Ann", "--contact-email", "ann@example.com"),
)
TICKET: Final = "e-CS5000001"
CHANGE: Final = "e-CHG0000009"
FOREIGN: Final = "e-CS0000001"
APPROVERS: Final = {"a1": "ann@x.org", "a2": "ben@x.org", "a3": "cat@x.org"}


class Wire:
    """The ticket calls that reach the bridge, in order."""

    def __init__(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls: list[tuple[str, str]] = []
        self.paths: set[str] = set()
        self.payloads: list[dict[str, Any]] = []
        answer = world.simulator.bridge.answer

        def listen(request: HttpRequest) -> Reply:
            _, client, environment, resource, *rest = request.path.split("/")
            self.paths.add("/".join(("", client, environment, resource)))
            if resource == "tickets":
                self.calls.append((request.method, "/".join(rest)))
                self.payloads.append(msgspec.json.decode(request.body)["payload"])
            return answer(request)

        monkeypatch.setattr(world.simulator.bridge, "answer", listen)


@asynccontextmanager
async def quiet_world(folder: Path, **changed: Any) -> AsyncIterator[World]:
    async with open_world(folder, Plan(tickets=0, visibility=0.5, **changed)) as world:
        yield world


@asynccontextmanager
async def begun(world: World, **changed: str) -> AsyncIterator[Running]:
    async with await world.start(**changed) as running:
        await wait_for((world.data / CONTROL).exists)
        yield running


def document(answer: Answer) -> Any:
    assert answer.out, answer.err
    return json.loads(answer.out)


async def do(world: World, *arguments: str) -> Any:
    """The document of a command that is done."""
    told = await world.ask("send", *arguments, "--wait", "--timeout", "45")
    assert (told.code, document(told)["state"]) == (0, "done"), (arguments, told.out, told.err)
    return document(told)


async def refuse(world: World, *arguments: str) -> str:
    """What is said about a command that is not taken."""
    told = await world.ask("send", *arguments)
    assert (told.code, told.out) == (1, ""), (arguments, told.out, told.err)
    return told.err


async def show(world: World, ticket: str) -> Any:
    return document(await world.ask("show", ticket))


async def assert_replay_is_equal(world: World) -> None:
    report = await world.ask("replay", "--verify")
    assert (report.code, document(report)["equal"]) == (0, True), report.err


def say(world: World, group: str, transaction: str, body: dict[str, Any]) -> None:
    """Let Ensono send a message."""
    attributes = {"MessageGroupId": group, "TransactionType": transaction, "ClientReferenceAvailable": False}
    whole = {"clientName": "testClient", "ticketNumber": group, "clientTicketNumber": "", **body}
    raw = msgspec.Raw(msgspec.json.encode(whole))
    world.simulator.bridge.send_raw(RawMessage(Body=raw, Attributes=attributes))


async def hear(world: World, running: Running) -> None:
    """Return when the processor has taken every message."""
    await world.reach(is_empty, running)


# --- creates ----------------------------------------------------------------------------------------------------------


@pytest.mark.requirement("S8", "R84", "R96")
async def test_s8_a_create_is_answered_with_its_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with quiet_world(tmp_path) as world, begun(world):
        wire = Wire(world, monkeypatch)
        assert (await do(world, *CREATE[1:]))["ticket"] == TICKET
        again = await world.ask(*CREATE)
        assert document(again)["answer"] == TICKET
        assert wire.calls == [("POST", "")]
        shown = await show(world, TICKET)
        assert (shown["client_ticket"], shown["client_tickets"][0]["returned"]) == ("INC0042", True)
        assert [effect["kind"] for effect in shown["effects"]] == []
        await assert_replay_is_equal(world)


@pytest.mark.requirement("S9", "R92", "R203")
@pytest.mark.parametrize("default", ["SERVICE DESK", ""], ids=["default group", "none"])
async def test_s9_a_group_that_is_refused(tmp_path: Path, default: str) -> None:
    known = frozenset({"SERVICE DESK"})
    async with quiet_world(tmp_path, groups=known) as world, begun(world, COMMANDS__DEFAULT_GROUP=default):
        told = await world.ask(*CREATE, "--group", "NOWHERE", "--wait", "--timeout", "45")
        assert world.ledger.refused["create"] == 1
        if default:
            assert (told.code, document(told)["state"]) == (0, "done"), told.err
            await world.simulator.wait_until(lambda ledger: bool(ledger.notes[TICKET]))
            (note,) = world.ledger.notes[TICKET]
            assert "NOWHERE" in note
            assert world.simulator.bridge.systems["dev"].tickets[TICKET].fields["group"] == default
        else:
            assert (told.code, document(told)["state"]) == (1, "dead"), told.err
            assert "assigment group sys id or name not found" in document(told)["answer"]
            assert not world.ledger.created


@pytest.mark.requirement("S10", "R97", "R74")
async def test_s10_a_lost_answer_is_told_by_the_queue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lost = FaultPlan(tickets=CallFaults(lost=1.0))
    async with quiet_world(tmp_path, faults=lost) as world, begun(world, OUTBOX__UNKNOWN_RETRY="20,30"):
        wire = Wire(world, monkeypatch)
        assert (await do(world, *CREATE[1:]))["ticket"] == TICKET
        assert wire.calls == [("POST", "")]
        assert world.ledger.created == {"INC0042": [TICKET]}
        await assert_replay_is_equal(world)


@pytest.mark.requirement("S11", "R97")
async def test_s11_a_create_that_nothing_is_heard_of_is_sent_once_more(tmp_path: Path) -> None:
    async with quiet_world(tmp_path, faults=FaultPlan(tickets=CallFaults(hang=1.0))) as world:
        faults = world.simulator.bridge.faults
        async with begun(world, BRIDGE__TIMEOUT="1"):
            assert (await world.ask(*CREATE)).code == 0
            await wait_for(lambda: faults.counts["tickets.hang"] == 1)
            faults.change_plan(NONE)
            assert (await do(world, *CREATE[1:]))["ticket"] == TICKET
            assert world.ledger.created == {"INC0042": [TICKET]}
            await assert_replay_is_equal(world)


@pytest.mark.requirement("S12", "R97", "C25")
async def test_s12_a_number_that_comes_after_the_second_create(tmp_path: Path) -> None:
    late = FaultPlan(tickets=CallFaults(late=1.0), late_seconds=(4.0, 4.0))
    async with quiet_world(tmp_path, faults=late) as world:
        faults = world.simulator.bridge.faults
        async with begun(world, BRIDGE__TIMEOUT="1") as running:
            assert (await world.ask(*CREATE)).code == 0
            await wait_for(lambda: faults.counts["tickets.late"] == 1)
            faults.change_plan(NONE)
            await do(world, *CREATE[1:])
            await world.simulator.wait_until(lambda ledger: len(ledger.created["INC0042"]) == 2)
            await hear(world, running)
            numbers = world.ledger.created["INC0042"]
            for ticket in numbers:
                flagged = await show_anomalies(world, ticket, running)
                assert all(number in flagged["double_create"] for number in numbers), flagged
            await assert_replay_is_equal(world)


async def show_anomalies(world: World, ticket: str, running: Running) -> dict[str, str]:
    """A ticket's anomalies, once there are some."""
    for _ in range(50):
        shown = await world.ask("show", ticket)
        if shown.code == 0 and (found := document(shown)["anomalies"]):
            return {anomaly["code"]: anomaly["detail"] for anomaly in found}
    raise AssertionError(f"{ticket} has no anomalies; it said {running.said[-1000:]}")


# --- what ends a ticket -----------------------------------------------------------------------------------------------


@pytest.mark.requirement("S13", "R88", "R108")
async def test_s13_over_long_notes_go_ahead_as_comments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = [f"step {number}: oiled;" for number in range(500)]
    async with quiet_world(tmp_path) as world, begun(world):
        await do(world, *CREATE[1:])
        wire = Wire(world, monkeypatch)
        await do(world, "resolve", TICKET, "--notes", " ".join(words))
        *before, (_, last) = wire.calls
        assert before
        assert all(path == f"{TICKET}/notes" for _, path in before)
        assert last == TICKET
        said = [*world.ledger.notes[TICKET], world.ledger.updates[TICKET][-1]["closeNotes"]]
        assert [part.partition(" ")[0] for part in said] == ["(1/3)", "(2/3)", "(3/3)"]
        assert "".join(part.partition(" ")[2] for part in said).split() == " ".join(words).split()
        assert "comments" not in wire.payloads[-1]


@pytest.mark.requirement("S14", "R80", "R112")
@pytest.mark.parametrize("policy", ["refuse", "resolve_first"])
async def test_s14_an_open_ticket_is_closed(tmp_path: Path, policy: str) -> None:
    async with quiet_world(tmp_path) as world, begun(world, COMMANDS__CLOSE_OPEN=policy):
        await do(world, *CREATE[1:])
        if policy == "refuse":
            said = await refuse(world, "close", TICKET, "--notes", "quiet")
            assert f"TICKET: {TICKET} is open: it cannot be closed" in said
            assert "possible: cancelled, pending, resolved, workinprogress" in said
            assert world.ledger.updates == {}
        else:
            await do(world, "close", TICKET, "--notes", "quiet")
            notes = {"closeNotes": "quiet"}
            assert world.ledger.updates[TICKET] == [{"status": "resolved", **notes}, {"status": "closed", **notes}]


@pytest.mark.requirement("S15", "R105", "R206")
async def test_s15_a_ticket_goes_to_a_group_of_ours_and_is_resolved_there(tmp_path: Path) -> None:
    async with quiet_world(tmp_path) as world, begun(world) as running:
        say(world, FOREIGN, "Create", {"ticketType": "Incident", "status": "open", "group": "ENSONO"})
        await hear(world, running)
        await world.simulator.wait_until(lambda ledger: bool(ledger.returnptn[FOREIGN]))
        await do(world, "update", FOREIGN, "--group", "CLIENT", "--status", "pending")
        await do(world, "resolve", FOREIGN, "--notes", "ours")
        await do(world, "close", FOREIGN, "--notes", "ours")
        assert world.ledger.updates[FOREIGN] == [
            {"status": "pending", "group": "CLIENT"},
            {"status": "resolved", "closeNotes": "ours"},
            {"status": "closed", "closeNotes": "ours"},
        ]
        assert "takes nothing more" in await refuse(world, "update", FOREIGN, "--status", "open")


# --- what comes back --------------------------------------------------------------------------------------------------


@pytest.mark.requirement("S16", "R8", "R9")
async def test_s16_the_echo_environment_sends_our_calls_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with quiet_world(tmp_path, env="echo") as world, begun(world) as running:
        wire = Wire(world, monkeypatch)
        await do(world, *CREATE[1:], "--comment", "seen before")
        await do(world, "update", TICKET, "--priority", "1", "--status", "pending")
        await do(world, "note", TICKET, "--body", "still loud")
        await do(world, "resolve", TICKET, "--notes", "oiled")
        await hear(world, running)
        assert world.ledger.sent >= 5
        assert wire.paths == {"/testclient/echo/tickets", "/testclient/dev/queue"}
        shown = await show(world, TICKET)
        assert shown["client_ticket"] == "INC0042"
        assert len(shown["notes"]) == 2
        assert {effect["kind"] for effect in shown["effects"]} == {"update_ticket", "add_comments", "resolve_ticket"}
        assert "serves no changes" not in running.said
        await assert_replay_is_equal(world)


@pytest.mark.requirement("S16", "I10", "R215")
async def test_s16_an_update_that_repeats_ours_is_no_news_and_another_is(tmp_path: Path) -> None:
    async with quiet_world(tmp_path) as world, begun(world) as running:
        await do(world, *CREATE[1:])
        await do(world, "update", TICKET, "--priority", "1")
        body = {"ticketType": "Incident", "status": "open", "clientTicketNumber": "INC0042"}
        say(world, TICKET, "Update", {**body, "priority": "1", "changed": {"priority": "1"}})
        await hear(world, running)
        shown = await show_at(world, TICKET, messages=1)
        assert [effect["kind"] for effect in shown["effects"]] == ["update_ticket"]
        say(world, TICKET, "Update", {**body, "priority": "2", "changed": {"priority": "2"}})
        await hear(world, running)
        shown = await show_at(world, TICKET, messages=2)
        assert [effect["kind"] for effect in shown["effects"]] == ["update_ticket", "update_client_ticket"]
        assert shown["fields"]["priority"] == "2"


async def show_at(world: World, ticket: str, *, messages: int) -> Any:
    """The ticket once so many messages about it are decided."""
    for _ in range(50):
        lines = [json.loads(line) for line in (await world.ask("events", ticket)).out.splitlines()]
        last = max((line["position"] for line in lines if line["kind"] == "MessageReceived"), default=0)
        shown = await show(world, ticket)
        if sum(line["kind"] == "MessageReceived" for line in lines) == messages and shown["position"] >= last:
            return shown
    raise AssertionError(f"{ticket} has not heard {messages} messages")


# --- changes ----------------------------------------------------------------------------------------------------------


def ask_for_approval(world: World, **approvers: str) -> None:
    change = {"ticketType": "Change", "type": "Normal", "state": "Assess"}
    say(world, CHANGE, "Create", change)
    for approval_id, email in approvers.items():
        asked = {"approvalId": approval_id, "approvalState": "Requested", "approverName": email, "approverEmail": email}
        say(world, CHANGE, "Approval Request", {**change, **asked})


def redraft(world: World) -> None:
    say(world, CHANGE, "Redraft", {"ticketType": "Change", "type": "Normal", "state": "New"})


async def list_approvals(world: World) -> dict[str, str]:
    return {approval["id"]: approval["state"] for approval in (await show(world, CHANGE))["approvals"]}


@pytest.mark.requirement("S30", "R177", "R178")
async def test_s30_of_three_approvers_the_first_decides(tmp_path: Path) -> None:
    async with quiet_world(tmp_path) as world, begun(world) as running:
        ask_for_approval(world, **APPROVERS)
        await hear(world, running)
        await world.simulator.wait_until(lambda ledger: bool(ledger.returnptn[CHANGE]))
        await do(world, "approve", CHANGE, "--approver", "ben@x.org", "--comment", "go ahead")
        for kind, approver in (("reject", "ann@x.org"), ("approve", "cat@x.org")):
            said = await refuse(world, kind, CHANGE, "--approver", approver, "--comment", "me too")
            assert "was answered in generation 1 already" in said
        (decision,) = world.ledger.decisions[CHANGE]
        assert (decision.approved, decision.approval_id) == (True, "a2")
        assert await list_approvals(world) == {"a1": "superseded", "a2": "approved", "a3": "superseded"}
        await assert_replay_is_equal(world)


@pytest.mark.requirement("S31", "R180")
async def test_s31_a_redraft_comes_while_an_approval_is_in_flight(tmp_path: Path) -> None:
    async with quiet_world(tmp_path) as world, begun(world) as running:
        ask_for_approval(world, a1="ann@x.org")
        await hear(world, running)
        await world.simulator.wait_until(lambda ledger: bool(ledger.returnptn[CHANGE]))
        world.simulator.bridge.faults.change_plan(FaultPlan(tickets=CallFaults(latency=(3.0, 3.0))))
        approve = ("approve", CHANGE, "--approver", "ann@x.org", "--comment", "go ahead")
        assert (await world.ask("send", *approve)).code == 0
        await world.simulator.wait_until(lambda ledger: ledger.calls["approve"] == 1)
        redraft(world)
        await hear(world, running)
        world.simulator.bridge.faults.change_plan(NONE)
        other = ("approve", CHANGE, "--approver", "ben@x.org", "--comment", "me too")
        assert "was answered in generation 1 already" in await refuse(world, *other)
        await world.simulator.wait_until(lambda ledger: ledger.in_flight == 0)
        assert await list_approvals(world) == {"a1": "void"}
        assert len(world.ledger.decisions[CHANGE]) == 1
        ask_for_approval(world, b1="ann@x.org")
        await hear(world, running)
        await do(world, *approve)
        assert [decision.approval_id for decision in world.ledger.decisions[CHANGE]] == ["a1", "b1"]
        assert await list_approvals(world) == {"a1": "void", "b1": "approved"}
        await assert_replay_is_equal(world)


@pytest.mark.requirement("S31", "R180")
async def test_s31_a_redraft_comes_before_an_approval_has_left(tmp_path: Path) -> None:
    async with quiet_world(tmp_path) as world, begun(world) as running:
        ask_for_approval(world, a1="ann@x.org")
        await hear(world, running)
        await world.simulator.wait_until(lambda ledger: bool(ledger.returnptn[CHANGE]))
        assert (await world.ask("pause", "bridge")).code == 0
        approve = ("send", "approve", CHANGE, "--approver", "ann@x.org", "--comment", "go ahead")
        assert (await world.ask(*approve)).code == 0
        redraft(world)
        await hear(world, running)
        assert (await world.ask("resume", "bridge")).code == 0
        told = await world.ask(*approve, "--wait", "--timeout", "45")
        assert told.code == 1, (told.out, told.err)
        assert "redrafted" in told.out + told.err
        assert CHANGE not in world.ledger.decisions
        await assert_replay_is_equal(world)


# --- what has to wait -------------------------------------------------------------------------------------------------


@pytest.mark.requirement("R102", "R110", "R119")
async def test_a_command_waits_for_our_number_and_goes_behind_its_return(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with quiet_world(tmp_path) as world, begun(world) as running:
        assert (await world.ask("pause", "desk")).code == 0
        wire = Wire(world, monkeypatch)
        say(world, FOREIGN, "Create", {"ticketType": "Incident", "status": "open"})
        await hear(world, running)
        early = await world.ask("send", "note", FOREIGN, "--body", "early", "--key", "n-1", "--wait", "--timeout", "1")
        assert (early.code, document(early)["state"]) == (75, "accepted"), early.err
        assert (await world.ask("send", "update", FOREIGN, "--priority", "1", "--key", "u-1")).code == 0
        assert wire.calls == []
        assert (await world.ask("resume", "desk")).code == 0
        await do(world, "update", FOREIGN, "--priority", "1", "--key", "u-1")
        assert wire.calls == [("PUT", f"{FOREIGN}/{end}".rstrip("/")) for end in ("returnptn", "notes", "")]
        assert [payload["clientTicketNumber"] for payload in wire.payloads] == ["LOCAL-0000001"] * 3


@pytest.mark.requirement("R11")
async def test_who_waits_beside_a_paused_bridge_is_told_that_nothing_is_known(tmp_path: Path) -> None:
    async with quiet_world(tmp_path) as world, begun(world):
        assert (await world.ask("pause", "bridge")).code == 0
        told = await world.ask(*CREATE, "--wait", "--timeout", "1")
        assert (told.code, document(told)["state"]) == (75, "accepted"), told.err
        assert (await world.ask("resume", "bridge")).code == 0
        assert (await do(world, *CREATE[1:]))["ticket"] == TICKET


async def test_nothing_is_taken_while_the_outbox_is_full(tmp_path: Path) -> None:
    async with quiet_world(tmp_path) as world, begun(world, OUTBOX__MAX_PENDING="1") as running:
        assert (await world.ask("pause", "bridge")).code == 0
        assert (await world.ask(*CREATE)).code == 0
        events = (await world.ask("events")).out
        other = [*CREATE[:5], "INC0043", *CREATE[6:]]
        said = await refuse(world, *other[1:])
        assert "the outbox is full" in said
        body = {"kind": "create", "type": "Incident", "number": "INC0043", "short": "x", "description": "x"}
        body |= {"contact_name": "Ann", "contact_email": "ann@example.com"}
        async with httpx.AsyncClient(base_url=await running.told("web", "url")) as client:
            full = await client.post("/api/v1/commands", json=body, headers={"Idempotency-Key": "k"})
        assert (full.status_code, full.headers["content-type"]) == (503, "application/problem+json")
        assert (await world.ask("events")).out == events
        assert (await world.ask("resume", "bridge")).code == 0
        assert (await do(world, *other[1:]))["client_ticket"] == "INC0043"


@pytest.mark.requirement("R11")
async def test_who_waits_alone_and_is_stopped_has_sent_or_will(tmp_path: Path) -> None:
    async with quiet_world(tmp_path, faults=FaultPlan(tickets=CallFaults(hang=1.0))) as world:
        faults = world.simulator.bridge.faults
        async with await world.begin(*CREATE, "--wait") as sending:
            await wait_for(lambda: faults.counts["tickets.hang"] == 1)
            faults.change_plan(NONE)
            sending.send(signal.SIGTERM)
            assert await sending.ended() == 75, sending.said
        assert (await world.ask("run", "--drain")).code == 0
        assert world.ledger.created == {"INC0042": [TICKET]}
        assert (await show(world, "INC0042"))["ticket"] == TICKET
