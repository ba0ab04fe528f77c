"""`ecproc reconcile` as a process: what does not add up, the guide's two examples, and what Ensono has otherwise."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any, Final

import httpx
import msgspec
import pytest

from ecproc.control import CONTROL
from ecproc.simulator.bridge import RawMessage
from ecproc.simulator.faults import CallFaults, FaultPlan, MessageFaults
from tests.acceptance.world import KEY, ROOT, Plan, World, is_empty, open_world, wait_for

TICKET: Final = "e-CS5000001"
CREATE: Final = (
    *("send", "create", "--type", "Incident", "--number", "INC0042", "--short", "a fan is loud"),
    *("--description", "it rattles", "--contact-name", "Ann", "--contact-email", "ann@example.com"),
)
LATER: Final = """\
import time
now = time.time_ns
time.time_ns = lambda: now() + 2 * 3600 * 10**9
"""
"""A process that runs two hours ahead."""


async def reconcile(world: World, *arguments: str, **changed: str) -> list[dict[str, Any]]:
    """The lines that it prints; it exits 3 if there are any."""
    answer = await world.ask("reconcile", *arguments, **changed)
    lines = [json.loads(line) for line in answer.out.splitlines()]
    assert answer.code == (3 if lines else 0), answer.err
    assert all(line.keys() == {"code", "ticket", "detail", "since", "hint"} for line in lines)
    return lines


async def show(world: World, number: str) -> dict[str, Any]:
    """A ticket's document."""
    answer = await world.ask("show", number)
    assert answer.code == 0, answer.err
    document: dict[str, Any] = json.loads(answer.out)
    return document


def put(world: World, ticket: str, transaction: str, **body: str) -> None:
    """Put a message of an incident into the queue."""
    record = {"clientName": "testClient", "ticketNumber": ticket, "ticketType": "Incident", "status": "open", **body}
    attributes = {"MessageGroupId": ticket, "TransactionType": transaction}
    world.simulator.bridge.send_raw(RawMessage(msgspec.Raw(msgspec.json.encode(record)), attributes))


async def test_ordinary_lives_add_up(tmp_path: Path) -> None:
    async with open_world(tmp_path, Plan(tickets=5)) as world:
        empty = await world.ask("reconcile")
        assert (empty.code, empty.out, "nothing was received" in empty.err) == (0, "", True)
        async with await world.start() as running:
            await world.reach(is_empty, running)
            await wait_for((world.data / CONTROL).exists)
            assert await reconcile(world) == []
        await world.drain()
        assert await reconcile(world) == []


@pytest.mark.requirement("R236")
async def test_example_1_a_create_that_ensono_refused_is_shown_with_its_answer(tmp_path: Path) -> None:
    async with open_world(tmp_path, Plan(tickets=0, groups=frozenset({"Known"}))) as world:
        assert (await world.ask(*CREATE, "--group", "Unknown", "--wait")).code == 1
        (line,) = await reconcile(world)
        assert (line["code"], line["ticket"]) == ("unconfirmed", "INC0042")
        assert "assigment group sys id or name not found" in line["detail"]
        assert "ecproc outbox show ec-create:INC0042" in line["hint"]
        waiting = (await show(world, line["ticket"]))["waiting_for"]
        assert (waiting["what"], waiting["who"]) == ("dead_letter", "operator")
        assert "assigment group sys id or name not found" in waiting["hint"]
        entry = json.loads((await world.ask("outbox", "show", "ec-create:INC0042")).out)
        assert [event["kind"] for event in entry["events"]][-1] == "EffectFailed"


@pytest.mark.requirement("R236", "R182")
async def test_example_1_a_create_that_was_taken_and_never_shows_is_ensonos_turn(tmp_path: Path) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(LATER, encoding="utf-8")
    async with open_world(tmp_path, Plan(tickets=0)) as world:
        assert (await world.ask(*CREATE, "--wait")).code == 0
        await world.drain()
        assert await reconcile(world) == []
        world.plan = msgspec.structs.replace(world.plan, package_root=Path(f"{tmp_path / 'site'}:{ROOT}"))
        (line,) = await reconcile(world)
        assert (line["code"], line["ticket"]) == ("unconfirmed", TICKET)
        assert line["detail"] == "Ensono took ec-create:INC0042, and no message has shown it"
        assert "ask Ensono" in line["hint"]
        effect = json.loads((await world.ask("outbox", "show", "ec-create:INC0042")).out)
        assert (effect["state"], effect["result"]["number"]) == ("completed", TICKET)


@pytest.mark.requirement("R236", "R22")
async def test_example_2_messages_that_are_not_deleted_make_no_second_ticket(tmp_path: Path) -> None:
    faults = FaultPlan(messages=MessageFaults(undeleted=0.5))
    async with open_world(tmp_path, Plan(tickets=4, visibility=0.5, faults=faults)) as world:
        await world.drain()
        assert world.ledger.sent < sum(world.ledger.delivered.values())
        assert await reconcile(world) == []
        listed = await world.ask("tickets")
        for ticket in map(json.loads, listed.out.splitlines()):
            known = [each["generation"] for each in ticket["client_tickets"]]
            assert len(known) == len(set(known))


@pytest.mark.requirement("R236")
async def test_example_2_two_tickets_of_ours_are_named_until_a_person_says_which_one_counts(tmp_path: Path) -> None:
    async with open_world(tmp_path, Plan(tickets=0)) as world:
        put(world, TICKET, "Create", shortDescription="a fan is loud")
        async with await world.start():
            await wait_for((world.data / CONTROL).exists)
            await world.simulator.wait_until(lambda ledger: ledger.returnptn[TICKET] == ["LOCAL-0000001"])
            assert (await world.ask(*CREATE, "--wait")).code == 0
            found = {line["code"]: line for line in await reconcile(world)}
            assert set(found) == {"two_client_tickets", "link_differs"}
            assert found["two_client_tickets"]["ticket"] == TICKET
            assert "INC0042 and LOCAL-0000001" in found["two_client_tickets"]["detail"]
            assert "opened as INC0042, we have LOCAL-0000001" in found["link_differs"]["detail"]
            document = await show(world, TICKET)
            assert {each["number"] for each in document["client_tickets"]} == {"INC0042", "LOCAL-0000001"}
            limited = await reconcile(world, "--limit", "1")
            assert len(limited) == 1
            told = await world.ask("send", "return-number", TICKET, "INC0042", "--wait")
            assert told.code == 0, told.err
            assert await reconcile(world) == []


@pytest.mark.requirement("R236")
async def test_somebody_else_who_reads_the_queue_is_known_also_when_nothing_runs(tmp_path: Path) -> None:
    async with open_world(tmp_path, Plan(tickets=0, visibility=0.5)) as world:
        async with (
            await world.start(BRIDGE__MAX_READERS="1", BRIDGE__POLL_INTERVAL="3600") as running,
            httpx.AsyncClient(headers={"x-api-key": KEY}, trust_env=False) as thief,
        ):
            await wait_for(lambda: "first_poll" in running.said)
            for number in range(30):
                put(world, f"e-CS600000{number:02d}", "Create", shortDescription="a fan is loud")
            for _ in range(3):
                assert (await thief.get(f"{world.simulator.url}/queue")).status_code == 200
            running.send(signal.SIGTERM)
            assert await running.ended() == 0
        await world.drain()
        assert await reconcile(world) == [], "what was handed out before the start may have been anybody's"
        async with (
            await world.start(BRIDGE__MAX_READERS="1", BRIDGE__POLL_INTERVAL="1") as running,
            httpx.AsyncClient(headers={"x-api-key": KEY}, trust_env=False) as thief,
        ):
            await wait_for(lambda: "first_poll" in running.said)
            for number in range(30):
                put(world, f"e-CS700000{number:02d}", "Create", shortDescription="a fan is loud")
            for _ in range(3):
                assert (await thief.get(f"{world.simulator.url}/queue")).status_code == 200
            await world.reach(is_empty, running)
            running.send(signal.SIGTERM)
            assert await running.ended() == 0
        lines = await reconcile(world)
        assert [(line["code"], line["ticket"]) for line in lines] == [("second_consumer", None)]
        assert "messages had been handed out before, and at most 10" in lines[0]["detail"]
        assert "who else has this key" in lines[0]["hint"]
        examined = json.loads((await world.ask("doctor")).out)
        found = [(each["check"], each["severity"]) for each in examined["findings"] if each["check"] == "consumers"]
        assert found == [("consumers", "error")]


@pytest.mark.slow
async def test_answers_that_are_lost_and_deletes_that_fail_are_no_second_consumer(tmp_path: Path) -> None:
    queue = CallFaults(lost=0.15, error_after=0.15, garbage=0.1)
    plan = Plan(
        tickets=20,
        visibility=0.5,
        faults=FaultPlan(queue=queue, messages=MessageFaults(undeleted=0.2, duplicate=0.1)),
    )
    async with open_world(tmp_path, plan) as world:
        async with await world.start(BRIDGE__MAX_READERS="1") as running:
            await world.reach(is_empty, running)
            running.send(signal.SIGTERM)
            assert await running.ended() == 0
        assert sum(world.ledger.delivered.values()) > world.ledger.sent + 10
        lines = await reconcile(world)
        assert [line for line in lines if line["code"] == "second_consumer"] == []


@pytest.mark.requirement("R124", "R236")
async def test_what_ensono_has_otherwise_is_told_in_dev_and_nowhere_else(tmp_path: Path) -> None:
    async with open_world(tmp_path, Plan(tickets=0)) as world:
        put(world, TICKET, "Create", shortDescription="a fan is loud", priority="4")
        await world.drain()
        assert await reconcile(world, "--remote") == []
        assert world.ledger.calls["show"] == 1
        theirs = world.simulator.bridge.systems["dev"].tickets[TICKET]
        theirs.fields["priority"], theirs.status, theirs.client_number = "1", "resolved", "OTHER"
        lines = await reconcile(world, "--remote")
        assert {line["code"] for line in lines} == {"remote_differs"}
        assert sorted(line["detail"].split(" at ")[0] for line in lines) == [
            "clientTicketNumber is 'OTHER'",
            "priority is '1'",
            "status is 'resolved'",
        ]
        refused = await world.ask("reconcile", "--remote", BRIDGE__API_KEY="wrong-wrong-wrong")
        assert (refused.code, "Forbidden" in refused.err) == (78, True), refused.err
    (tmp_path / "prod").mkdir()
    async with open_world(tmp_path / "prod", Plan(tickets=0, env="prod")) as world:
        refused = await world.ask("reconcile", "--remote")
        assert (refused.code, "dev and echo only" in refused.err) == (1, True), refused.err
