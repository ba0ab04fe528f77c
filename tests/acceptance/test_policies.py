"""A client's policies on a whole process: what is out of scope costs the desk nothing, what is taken in later happens
once, and a re-open goes where the policy says."""

from __future__ import annotations

import signal
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ecproc.simulator.bridge import RawMessage
from tests.acceptance.world import Plan, World, open_world

FIRST = 800_001
OUT = '[[policy.scope]]\nname = "network"\nwhen = { group = "Network*" }\nthen = "out"\n'


def as_message(ticket: str, serial: int, transaction: str, **body: Any) -> RawMessage:
    names = {"MessageGroupId": ticket, "TransactionType": transaction, "SequenceNumber": str(10_000 + serial)}
    whole = {"ticketType": "Incident", "ticketNumber": ticket, "clientName": "testClient", "clientTicketNumber": ""}
    return RawMessage(msgspec.Raw(msgspec.json.encode({**whole, **body})), names)


def send(world: World, ticket: str, serial: int, transaction: str, **body: Any) -> None:
    world.simulator.bridge.send_raw(as_message(ticket, serial, transaction, **body))


def note(note_id: str) -> Mapping[str, str]:
    return {"type": "comment", "id": note_id, "body": f"text {note_id}", "commenter": "E", "commenterEmail": "e@x.com"}


def configure(folder: Path, world: World, text: str) -> None:
    path = folder / "policy.toml"
    path.write_text(text, encoding="utf-8")
    path.chmod(0o600)
    world.variables["ECPROC_CONFIG"] = str(path)


def desk_actions(world: World) -> list[tuple[str, str, str]]:
    """What the built-in desk did: key, number and kind, in order."""
    path = world.data / "desk.db"
    if not path.exists():
        return []
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as desk:
        return desk.execute("SELECT key, number, kind FROM action ORDER BY at, key").fetchall()


async def ask(world: World, *command: str, code: int = 0) -> Any:
    answer = await world.ask(*command)
    assert answer.code == code, answer.err
    return msgspec.json.decode(answer.out)


@pytest.mark.slow
@pytest.mark.requirement("R207", "I5")
async def test_what_is_out_of_scope_costs_nothing_and_is_taken_in_exactly_once(tmp_path: Path) -> None:
    async with open_world(tmp_path, Plan(tickets=0, visibility=1.0)) as world:
        configure(tmp_path, world, OUT)
        tickets = [f"e-CS{FIRST + number}" for number in range(25)]
        for number, ticket in enumerate(tickets):
            send(world, ticket, 4 * number, "Create", status="open", group="Network Ops", shortDescription="slow")
            for each in (1, 2, 3):
                send(world, ticket, 4 * number + each, "Notes", status="open", notes=note(f"{ticket}-{each}"))
        await world.drain()

        stats = await ask(world, "log", "stats", "--json")
        assert stats["events"] >= 100
        assert world.ledger.calls["delete"] == 100
        assert desk_actions(world) == []
        assert await ask(world, "outbox", "list", "--all", "--json") == []
        document = await ask(world, "show", tickets[0], "--json")
        assert document["scope"] == {"in": False, "rule": "network"}
        assert len(document["notes"]) == 3
        explained = await ask(world, "explain", tickets[0], "--json")
        assert explained["scope"] == {"in": False, "rule": "network"}
        assert (explained["trigger"], explained["mapping"]) == (None, [])
        assert (await ask(world, "scope", "test", tickets[0], "--json"))[0]["rule"] == "network"
        assert (await ask(world, "scope", "apply", "--all", "--dry-run"))["tickets"] == []

        configure(tmp_path, world, "")
        planned = await ask(world, "scope", "apply", "--all", "--dry-run")
        assert len(planned["tickets"]) == 25
        expected = [f"create:{tickets[0]}:g1", *(f"note:{tickets[0]}:{tickets[0]}-{each}" for each in (1, 2, 3))]
        assert next(one for one in planned["tickets"] if one["ticket"] == tickets[0])["planned"] == expected
        assert desk_actions(world) == []

        async with await world.begin("scope", "apply", "--all") as running:
            running.send(signal.SIGKILL)
            await running.ended()
        await ask(world, "scope", "apply", tickets[0], "--note", "the rule was wrong")
        await ask(world, "scope", "apply", "--all")
        await world.die_at("effect.performed", 30)
        async with await world.start() as processor:
            await processor.told("web", "url")
            beside = await ask(world, "scope", "apply", *tickets, "--note", "once more")
            assert [one["planned"] for one in beside["tickets"]] == [[]] * 25
            processor.send(signal.SIGTERM)
            assert await processor.ended() == 0
        await world.drain()

        done = desk_actions(world)
        assert len({key for key, _, _ in done}) == len(done) == 100
        assert len({number for _, number, kind in done if kind == "create_client_ticket"}) == 25
        assert all(len(set(numbers)) == 1 for numbers in world.ledger.returnptn.values())
        assert (await ask(world, "replay", "--verify", "--json"))["equal"]
        document = await ask(world, "show", tickets[0], "--json")
        assert document["scope"] == {"in": True, "rule": "scope apply"}


@pytest.mark.slow
@pytest.mark.requirement("R213", "R214")
async def test_a_re_open_with_a_new_ticket_goes_to_the_second_number_alone(tmp_path: Path) -> None:
    ticket = f"e-CS{FIRST}"
    async with open_world(tmp_path, Plan(tickets=0, visibility=1.0)) as world:
        configure(tmp_path, world, '[policy.reopen]\nincident = "new_ticket"\n')
        send(world, ticket, 1, "Create", status="open", group="Desk", description="slow")
        send(world, ticket, 2, "Notes", status="open", notes=note("n1"))
        send(world, ticket, 3, "Update", status="resolved", changed={"status": "resolved"})
        send(world, ticket, 4, "Update", status="open", changed={"status": "open"})
        send(world, ticket, 5, "Notes", status="open", notes=note("n2"))
        await world.die_at("effect.performed", 4)
        await world.drain()

        first, second = "LOCAL-0000001", "LOCAL-0000002"
        numbers = {kind: number for key, number, kind in desk_actions(world) if not key.endswith("n1")}
        assert numbers["create_client_ticket"] == numbers["comment_client_ticket"] == second
        assert numbers["resolve_client_ticket"] == first
        assert list(dict.fromkeys(world.ledger.returnptn[ticket])) == [first, second]
        document = await ask(world, "show", ticket, "--json")
        assert [(item["number"], item["returned"]) for item in document["client_tickets"]] == [
            (first, True),
            (second, True),
        ]
        assert document["client_tickets"][1]["follows"] == first
        explained = await ask(world, "explain", second, "--json")
        assert explained["policy"]["reopen"]["way"] == "new_ticket"
        assert [one["handled"] for one in explained["policy"]["reopen"]["came"]] == ["new_ticket"]
        assert "description" in {one["field"] for one in explained["mapping"]}
        assert (await ask(world, "replay", "--verify", "--json"))["equal"]


@pytest.mark.slow
async def test_the_policy_is_recorded_when_it_is_another_one(tmp_path: Path) -> None:
    async with open_world(tmp_path, Plan(tickets=0, visibility=1.0)) as world:
        await world.drain()
        await world.drain()
        configure(tmp_path, world, OUT)
        await world.drain()
        answer = await world.ask("events", "$config", "--json")
        events = [msgspec.json.decode(line) for line in answer.out.splitlines()]
        assert [event["kind"] for event in events] == ["PolicyChanged"] * 2
        assert events[1]["data"]["policy"]["scope"][0]["name"] == "network"
        assert events[0]["data"]["hash"] != events[1]["data"]["hash"]
        assert events[0]["data"]["mapping"]["hash"]
        assert (await ask(world, "replay", "--verify", "--json"))["equal"]
