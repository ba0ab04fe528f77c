"""Commands from the command line and over HTTP, against a bridge over real HTTP: accepted once, sent once, settled."""

from __future__ import annotations

import json
import shutil
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import httpx
import msgspec
import pytest

from ecproc.control import CONTROL
from ecproc.simulator.bridge import RawMessage
from ecproc.simulator.faults import CallFaults, FaultPlan
from tests.acceptance.world import Answer, Plan, Running, World, is_empty, open_world, wait_for

CREATE = (
    *("send", "create", "--type", "Incident", "--number", "INC0042", "--short", "a fan is loud"),
    *("--description", 'it says "wheee"\nand stops', "--contact-name", "Ann", "--contact-email", "ann@example.com"),
)
BODY: dict[str, Any] = {
    "kind": "create",
    "type": "Incident",
    "number": "INC0042",
    "short": "a fan is loud",
    "description": "it rattles",
    "contact_name": "Ann",
    "contact_email": "ann@example.com",
}
CHANGE = "e-CHG0000009"


@asynccontextmanager
async def quiet_world(folder: Path, faults: FaultPlan | None = None) -> AsyncIterator[World]:
    plan = Plan(tickets=0, visibility=0.5) if faults is None else Plan(tickets=0, visibility=0.5, faults=faults)
    async with open_world(folder, plan) as world:
        yield world


@asynccontextmanager
async def begun(world: World, **changed: str) -> AsyncIterator[Running]:
    async with await world.start(**changed) as running:
        await wait_for((world.data / CONTROL).exists)
        yield running


def document(answer: Answer) -> Any:
    assert answer.out, answer.err
    return json.loads(answer.out)


async def assert_replay_is_equal(world: World) -> None:
    report = await world.ask("replay", "--verify")
    assert (report.code, document(report)["equal"]) == (0, True), report.err


@pytest.mark.parametrize("alive", [True, False], ids=["running", "alone"])
async def test_a_create_is_told_its_number(tmp_path: Path, alive: bool) -> None:
    async with quiet_world(tmp_path) as world:
        if alive:
            async with begun(world):
                told = await world.ask(*CREATE, "--wait")
        else:
            told = await world.ask(*CREATE, "--wait")
        assert told.code == 0, told.err
        shown = document(told)
        assert shown == {
            "ticket": "e-CS5000001",
            "client_ticket": "INC0042",
            "command": "ec-create:INC0042",
            "state": "done",
            "answer": "e-CS5000001",
        }
        assert world.ledger.created == {"INC0042": ["e-CS5000001"]}
        ticket = document(await world.ask("show", "INC0042"))
        assert (ticket["ticket"], ticket["client_ticket"], ticket["state"]) == ("e-CS5000001", "INC0042", "open")
        again = await world.ask(*CREATE)
        assert (again.code, document(again)["state"]) == (0, "done")
        other = await world.ask(*CREATE, "--group", "X")
        assert (other.code, "used for another command" in other.err) == (1, True), other.err
        assert world.ledger.created == {"INC0042": ["e-CS5000001"]}
        await assert_replay_is_equal(world)


async def test_what_is_accepted_while_nobody_runs_is_sent_by_the_next_start(tmp_path: Path) -> None:
    async with quiet_world(tmp_path) as world:
        accepted = await world.ask(*CREATE)
        assert (accepted.code, document(accepted)["state"]) == (0, "accepted"), accepted.err
        waiting = document(await world.ask("show", "INC0042"))
        assert (waiting["ticket"], waiting["client_ticket"]) == (None, "INC0042")
        assert world.ledger.created == {}
        assert (await world.ask("run", "--drain")).code == 0
        assert world.ledger.created == {"INC0042": ["e-CS5000001"]}
        await assert_replay_is_equal(world)


async def test_every_command_of_an_incident_reaches_ensono_once(tmp_path: Path) -> None:
    file = tmp_path / "log.txt"
    file.write_text("a line\n", encoding="utf-8")
    async with quiet_world(tmp_path) as world, begun(world):
        assert (await world.ask(*CREATE, "--wait", "--comment", "seen before")).code == 0
        ticket = "e-CS5000001"
        for arguments in (
            ("update", ticket, "--priority", "1", "--status", "pending"),
            ("note", "INC0042", "--body", "still loud", "--author", "Ann"),
            ("attach", ticket, str(file)),
            ("resolve", ticket, "--notes", "oiled"),
            ("close", ticket, "--notes", "quiet"),
        ):
            told = await world.ask("send", *arguments, "--wait", "--timeout", "30")
            assert told.code == 0, (arguments, told.out, told.err)
            assert document(told)["state"] == "done"
        ledger = world.ledger
        assert ledger.updates[ticket] == [
            {"priority": "1", "status": "pending"},
            {"status": "resolved", "closeNotes": "oiled"},
            {"status": "closed", "closeNotes": "quiet"},
        ]
        assert ledger.notes[ticket] == ["seen before", "still loud"]
        assert [(one.ticket, one.name, one.size) for one in ledger.uploads] == [(ticket, "log.txt", 7)]
        assert ledger.leaked_keys == 0
        late = await world.ask("send", "update", ticket, "--priority", "2")
        assert (late.code, "takes nothing more" in late.err) == (1, True), late.err
        await assert_replay_is_equal(world)


async def test_a_change_is_answered_once_in_a_generation(tmp_path: Path) -> None:
    change = {
        "clientName": "testClient",
        "ticketNumber": CHANGE,
        "clientTicketNumber": "",
        "ticketType": "Change",
        "type": "Normal",
        "state": "Assess",
    }
    asked = {"approvalId": "a1", "approvalState": "Requested", "approverName": "Ann", "approverEmail": "ann@x.org"}
    async with quiet_world(tmp_path) as world, begun(world) as running:
        for transaction, more in (("Create", {}), ("Approval Request", asked)):
            attributes = {"MessageGroupId": CHANGE, "TransactionType": transaction}
            body = msgspec.Raw(msgspec.json.encode({**change, **more}))
            world.simulator.bridge.send_raw(RawMessage(Body=body, Attributes=attributes))
        await world.reach(is_empty, running)
        approve = ("send", "approve", CHANGE, "--approver", "ann@x.org", "--comment", "go ahead")
        told = await world.ask(*approve, "--wait")
        assert (told.code, document(told)["state"]) == (0, "done"), told.err
        reject = await world.ask("send", "reject", CHANGE, "--approver", "ann@x.org", "--comment", "no")
        assert reject.code == 1, reject.out
        (decision,) = world.ledger.decisions[CHANGE]
        assert (decision.approved, decision.approver, decision.approval_id) == (True, "ann@x.org", "a1")
        assert "go ahead" in decision.comment
        resolved = await world.ask("send", "resolve", CHANGE, "--notes", "x")
        assert (resolved.code, "not possible for a Change" in resolved.err) == (1, True), resolved.err


async def test_over_http_a_key_is_needed_and_means_one_command(tmp_path: Path) -> None:
    async with quiet_world(tmp_path) as world, begun(world) as running:
        async with httpx.AsyncClient(base_url=await running.told("web", "url"), timeout=60) as client:
            assert (await client.post("/api/v1/commands", json=BODY)).status_code == 400
            key = {"Idempotency-Key": "k-1"}
            first = await client.post("/api/v1/commands?wait=30", json=BODY, headers=key)
            assert (first.status_code, first.json()["state"]) == (202, "done"), first.text
            same = await client.post("/api/v1/commands", json=BODY, headers=key)
            assert (same.status_code, same.json()) == (202, first.json())
            other = await client.post("/api/v1/commands", json={**BODY, "short": "x"}, headers=key)
            assert (other.status_code, other.json()["field"]) == (409, "Idempotency-Key")
            twice = await client.post("/api/v1/commands", json=BODY, headers={"Idempotency-Key": "k-2"})
            assert (twice.status_code, twice.json()["field"]) == (409, "number")
            shown = await client.get("/api/v1/commands/k-1")
            assert shown.json() == first.json()
            file = {"kind": "attach", "ticket": "INC0042", "file": "/etc/hostname"}
            refused = await client.post("/api/v1/commands", json=file, headers={"Idempotency-Key": "k-3"})
            assert (refused.status_code, refused.json()["field"]) == (400, "file")
            bad = {**BODY, "number": "INC0043", "priority": "9"}
            wrong = await client.post("/api/v1/commands", json=bad, headers={"Idempotency-Key": "k-4"})
            assert (wrong.status_code, wrong.json()["allowed"]) == (409, ["1", "2", "3", "4"])
        assert world.ledger.created == {"INC0042": ["e-CS5000001"]}


async def test_a_lost_answer_is_settled_by_the_queue(tmp_path: Path) -> None:
    faults = FaultPlan(tickets=CallFaults(lost=1.0))
    async with quiet_world(tmp_path, faults) as world, begun(world, OUTBOX__UNKNOWN_RETRY="5,10"):
        told = await world.ask(*CREATE, "--wait", "--timeout", "60")
        assert (told.code, document(told)["ticket"]) == (0, "e-CS5000001"), told.err
        assert world.ledger.created == {"INC0042": ["e-CS5000001"]}
        await assert_replay_is_equal(world)


async def test_a_dry_run_prints_the_request_and_sends_nothing(tmp_path: Path) -> None:
    async with quiet_world(tmp_path) as world:
        assert (await world.ask("run", "--drain")).code == 0
        (call,) = document(await world.ask(*CREATE, "--dry-run"))
        assert (call["method"], call["url"]) == ("POST", f"{world.simulator.url}/tickets")
        assert call["headers"] == {"x-api-key": "***", "content-type": "application/json"}
        assert call["body"]["payload"]["description"] == 'it says \\"wheee\\"\\nand stops'
        assert call["body"]["payload"]["clientTicketNumber"] == "INC0042"
        assert world.ledger.calls["create"] == 0


async def test_a_processor_that_ends_while_somebody_waits_says_how_far_it_is(tmp_path: Path) -> None:
    async with quiet_world(tmp_path) as world, begun(world) as running:
        assert (await world.ask("pause", "bridge")).code == 0
        async with anyio.create_task_group() as tasks:
            answers: list[Answer] = []

            async def send() -> None:
                answers.append(await world.ask(*CREATE, "--wait", "--timeout", "40"))

            tasks.start_soon(send)
            while "CommandAccepted" not in (await world.ask("events")).out:
                assert not answers, answers
            running.send(signal.SIGTERM)
        assert await running.ended() == 0, running.said
        (answer,) = answers
        assert answer.code == 75, answer
        assert document(answer)["state"] in ("accepted", "sent")
        assert not [line for line in running.list_lines() if line["level"] == "error"]


async def test_what_a_person_asks_for_without_room_is_refused_at_once(tmp_path: Path) -> None:
    reserve = 4 * shutil.disk_usage(tmp_path).total
    async with quiet_world(tmp_path) as world:
        await world.drain()  # so that there is a log
        async with begun(world, DATA__RESERVE_BYTES=str(reserve)):
            paused = await world.ask("pause", "desk")
            sent = await world.ask(*CREATE)
    assert (paused.code, sent.code) == (75, 1)
    assert all("reserve" in answer.err for answer in (paused, sent))
