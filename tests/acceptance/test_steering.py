"""What ends dead, in quarantine or paused is brought back by a person: beside a running processor, and without one."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from ecproc.control import CONTROL
from ecproc.simulator.bridge import RawMessage
from ecproc.simulator.ledger import Ledger
from tests.acceptance.world import Answer, Plan, Running, World, is_empty, open_world, wait_for

TICKET = "e-CS0000001"
RETURN = f"returnptn:{TICKET}:LOCAL-0000001"
ONCE = {"OUTBOX__MAX_ATTEMPTS": "1"}
TOKENS = {"WEB__READ_TOKEN": "reads-0123456789", "WEB__COMMAND_TOKEN": "commands-0123456789"}


@asynccontextmanager
async def quiet_world(folder: Path) -> AsyncIterator[World]:
    async with open_world(folder, Plan(tickets=0, visibility=0.5)) as world:
        yield world


def send(world: World, body: object, *, group: str = TICKET, transaction: str = "Create") -> None:
    """Put a message into the queue."""
    attributes = {"MessageGroupId": group, "TransactionType": transaction, "ClientReferenceAvailable": False}
    world.simulator.bridge.send_raw(RawMessage(Body=msgspec.Raw(msgspec.json.encode(body)), Attributes=attributes))


def create(**changed: str) -> dict[str, str]:
    """The body of a Create."""
    return {
        "clientName": "testClient",
        "ticketNumber": TICKET,
        "clientTicketNumber": "",
        "ticketType": "Incident",
        "status": "open",
        "shortDescription": "a fan is loud",
        **changed,
    }


def make_foreign(world: World) -> Callable[[], None]:
    """Let Ensono refuse every call about the ticket; gives what makes it well again."""
    tickets = world.simulator.bridge.systems["dev"].tickets
    known = tickets.pop(TICKET)
    return lambda: tickets.update({TICKET: known})


def documents(answer: Answer) -> Any:
    """What a command printed."""
    assert answer.out, answer.err
    return json.loads(answer.out)


async def state_of(world: World, key: str) -> str:
    """The state that `outbox list` shows of an entry."""
    listed = documents(await world.ask("outbox", "list", "--all"))
    return next((str(entry["state"]) for entry in listed if entry["key"] == key), "")


async def assert_replay_is_equal(world: World) -> None:
    report = await world.ask("replay", "--verify")
    assert (report.code, documents(report)["equal"]) == (0, True), report.err


@asynccontextmanager
async def begun(world: World, **changed: str) -> AsyncIterator[Running]:
    """A processor that takes orders."""
    async with await world.start(**changed) as running:
        await wait_for((world.data / CONTROL).exists)
        yield running


@asynccontextmanager
async def running_world(folder: Path, **changed: str) -> AsyncIterator[tuple[World, Running]]:
    async with quiet_world(folder) as world, begun(world, **changed) as running:
        yield world, running


def was_refused(ledger: Ledger) -> bool:
    return ledger.refused["returnptn"] > 0


async def test_a_dead_letter_completes_beside_a_running_processor(tmp_path: Path) -> None:
    async with running_world(tmp_path, **ONCE) as (world, running):
        send(world, create())
        mend = make_foreign(world)
        await world.reach(was_refused, running)
        await wait_for_state(world, RETURN, "parked")

        again = await world.ask("outbox", "retry", RETURN, "--wait", "--note", "tried too early")
        assert again.code == 1, again.err
        assert documents(again)["entries"][0]["state"] == "parked"

        mend()
        done = await world.ask("outbox", "retry", RETURN, "--wait", "--note", "Ensono mended it")
        assert done.code == 0, done.err
        assert documents(done)["entries"][0] | {"reason": ""} == {
            "key": RETURN,
            "ticket": TICKET,
            "kind": "return_client_number",
            "state": "completed",
            "reason": "",
            "refused": "",
        }
        assert world.ledger.returnptn[TICKET] == ["LOCAL-0000001"]
        acts = [event["data"] for event in await list_events(world) if event["kind"] == "OperatorActed"]
        assert [(act["act"], act["key"], act["note"]) for act in acts] == [
            ("retry", RETURN, "tried too early"),
            ("retry", RETURN, "Ensono mended it"),
        ]
        assert all(act["who"] for act in acts)

        over = await world.ask("outbox", "retry", RETURN)
        assert over.code == 1
        assert "nothing is left to retry" in documents(over)["entries"][0]["refused"]
        await assert_replay_is_equal(world)


async def test_a_dead_letter_completes_at_the_next_start(tmp_path: Path) -> None:
    async with quiet_world(tmp_path) as world:
        send(world, create())
        mend = make_foreign(world)
        assert (await world.ask("run", "--drain", **ONCE)).code == 0
        assert await state_of(world, RETURN) == "parked"

        discarded = await world.ask("outbox", "discard", "--all", "--kind", "return_client_number")
        assert (discarded.code, await state_of(world, RETURN)) == (0, "discarded"), discarded.err
        mend()
        waiting = await world.ask("outbox", "retry", RETURN, "--wait")
        assert waiting.code == 1
        assert "while no processor runs" in waiting.err
        retried = await world.ask("outbox", "retry", "--all", "--ticket", TICKET)
        assert (retried.code, await state_of(world, RETURN)) == (0, "retryable"), retried.err
        await assert_replay_is_equal(world)
        assert (await world.ask("run", "--drain")).code == 0
        assert (await state_of(world, RETURN), world.ledger.returnptn[TICKET]) == ("completed", ["LOCAL-0000001"])
        await assert_replay_is_equal(world)


@pytest.mark.requirement("R237")
@pytest.mark.parametrize("alive", [True, False], ids=["running", "alone"])
async def test_a_message_in_quarantine_is_taken_once_it_can_be(tmp_path: Path, alive: bool) -> None:
    async with quiet_world(tmp_path) as world:
        body = create()
        del body["ticketType"]
        send(world, {**body, "notes": [{"id": "n1", "type": "note", "body": "mind the dust"}]}, transaction="Notes")
        send(world, [1, 2], group="e-CS0000002")
        assert (await world.ask("run", "--drain")).code == 0
        held = documents(await world.ask("quarantine", "list"))
        assert [message["reason"] for message in held] == ["no_ticket_type", "undecodable"]
        untyped, broken = (message["position"] for message in held)

        async def steer() -> None:
            still = await world.ask("quarantine", "retry", str(broken), str(untyped))
            assert (still.code, [one["state"] for one in documents(still)]) == (3, ["quarantined", "quarantined"])
            send(world, create())
            await wait_for_empty(world)
            taken = await world.ask("quarantine", "retry", held[0]["message_id"], "--note", "the type is known now")
            assert (taken.code, documents(taken)[0]["state"]) == (0, "released"), taken.err
            gone = await world.ask("quarantine", "discard", str(broken))
            assert (gone.code, documents(gone)[0]["state"]) == (0, "discarded"), gone.err

        async def wait_for_empty(world: World) -> None:
            if alive:
                await world.reach(is_empty, running)
                await wait_for_ticket(world)
            else:
                assert (await world.ask("run", "--drain")).code == 0

        if alive:
            async with begun(world) as running:
                await steer()
        else:
            await steer()
        assert (await world.ask("run", "--drain")).code == 0
        assert documents(await world.ask("quarantine", "list")) == []
        shown = documents(await world.ask("show", TICKET))
        assert [note["body"] for note in shown["notes"]] == ["mind the dust"]
        assert [anomaly["code"] for anomaly in shown["anomalies"]] == ["late"]
        assert [effect["state"] for effect in shown["effects"]] == ["completed"] * 3
        unknown = await world.ask("quarantine", "retry", str(untyped))
        assert (unknown.code, "no message in quarantine" in unknown.err) == (1, True)
        await assert_replay_is_equal(world)


async def test_what_is_paused_stays_so_over_a_restart_and_goes_on(tmp_path: Path) -> None:
    async with quiet_world(tmp_path) as world:
        async with begun(world) as running:
            assert (await world.ask("pause", "bridge", "--note", "maintenance")).code == 0
            assert (await world.ask("pause", "bridge")).code == 1
            send(world, create())
            await world.reach(is_empty, running)
            await wait_for_state(world, RETURN, "available")
            async with httpx.AsyncClient() as client:
                metrics = (await client.get(f"{await running.told('web', 'url')}/metrics")).text
            assert 'ecproc_paused{what="bridge"} 1.0' in metrics
        async with begun(world) as running:
            assert (await running.told("paused", "what")) == "bridge"
            assert await state_of(world, RETURN) == "available"
            assert (await world.ask("resume", "bridge")).code == 0
            await wait_for_state(world, RETURN, "completed")
            assert (await world.ask("pause", TICKET)).code == 0
            assert documents(await world.ask("show", TICKET))["paused"] is True
            assert (await world.ask("resume", "LOCAL-0000001")).code == 0
            assert documents(await world.ask("show", TICKET))["paused"] is False
            nothing = await world.ask("resume", TICKET)
            assert (nothing.code, "neither paused nor parked" in nothing.err) == (1, True)
            await assert_replay_is_equal(world)


async def test_over_http_only_the_command_token_changes_anything(tmp_path: Path) -> None:
    async with running_world(tmp_path, **TOKENS) as (world, running):
        url = await running.told("web", "url")
        reads, commands = ({"authorization": f"Bearer {token}"} for token in TOKENS.values())
        async with httpx.AsyncClient(base_url=url) as client:
            body = {"what": "desk", "note": "x"}
            assert (await client.post("/api/v1/pause", json=body)).status_code == 401
            assert (await client.post("/api/v1/pause", json=body, headers=reads)).status_code == 401
            form = {**commands, "content-type": "text/plain"}
            assert (await client.post("/api/v1/pause", content=b"{}", headers=form)).status_code == 415
            wrong = await client.post("/api/v1/pause", json={"what": "desk", "why": 1}, headers=commands)
            assert (wrong.status_code, "why" in wrong.text) == (400, True)
            assert (await client.post("/api/v1/pause", json=body, headers=commands)).status_code == 200
            assert (await client.post("/api/v1/pause", json=body, headers=commands)).status_code == 409
            assert (await client.get("/api/v1/tickets", headers=commands)).status_code == 200
            absent = await client.post("/api/v1/outbox/create:x:g1/retry", json={}, headers=commands)
            assert absent.status_code == 404
            both = await client.post("/api/v1/outbox/discard", json={}, headers=commands)
            assert both.status_code == 409
        acts = [event["data"] for event in await list_events(world) if event["kind"] == "OperatorActed"]
        assert acts == [{"act": "pause", "who": "command", "note": "x", "what": "desk"}]


# --- what is waited for -----------------------------------------------------------------------------------------------


async def list_events(world: World) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (await world.ask("events")).out.splitlines()]


async def wait_for_state(world: World, key: str, state: str) -> None:
    """Return when an entry is in that state."""
    for _ in range(100):
        if await state_of(world, key) == state:
            return
    raise AssertionError(f"{key} is {await state_of(world, key)!r}")


async def wait_for_ticket(world: World) -> None:
    for _ in range(100):
        if (await world.ask("show", TICKET)).code == 0:
            return
    raise AssertionError("no ticket")
