"""What bad commands get, on the command line and over HTTP: what is to blame, what it may be, and nothing done."""

from __future__ import annotations

import json
import signal
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Final

import anyio
import httpx
import msgspec
import pytest

from ecproc.control import CONTROL
from ecproc.simulator.bridge import RawMessage
from tests.acceptance.world import Plan, Running, World, is_empty, open_world, wait_for

OPEN: Final = "e-CS0000001"
CLOSED: Final = "e-CS0000002"
CHANGE: Final = "e-CHG0000003"
STATUSES: Final = ["open", "workinprogress", "pending"]
KEY: Final = {"Idempotency-Key": "k-1"}
NOTE: Final = {"kind": "note", "ticket": OPEN, "body": "still loud"}
CREATE: Final = {
    "kind": "create",
    "type": "Incident",
    "number": "INC0042",
    "short": "a fan is loud",
    "description": "it rattles",
    "contact_name": "Ann",
    "contact_email": "ann@example.com",
}
OPTIONS: Final = {f"--{name.replace('_', '-')}": text for name, text in CREATE.items() if name != "kind"}


def create(**changed: str | None) -> tuple[str, ...]:
    """The words of a create, some of them changed or left out."""
    options = {**OPTIONS, **{f"--{name.replace('_', '-')}": text for name, text in changed.items()}}
    told = [(name, text) for name, text in options.items() if text is not None]
    return ("create", *(word for pair in told for word in pair))


WORDS: Final[Mapping[str, tuple[tuple[str, ...], int, tuple[str, ...]]]] = {
    "unknown option": (create(colour="red"), 2, ("--colour",)),
    "missing option": (create(short=None), 2, ("--short",)),
    "missing contact": (create(contact_email=None), 1, ("--contact-email: create needs contactEmail",)),
    "a change": (create(type="Change"), 2, ("--type", "Incident, Request")),
    "closed list": (create(priority="9"), 2, ("--priority", "1, 2, 3, 4")),
    "wrong type": (("update", OPEN, "--priority", "high"), 2, ("--priority", "1, 2, 3, 4")),
    "wrong number": (("note", OPEN, "--body", "x", "--timeout", "soon"), 2, ("--timeout",)),
    "two schemes": (create(priority="1", impact="1", urgency="1"), 1, ("--impact: either priority, or impact",)),
    "half a scheme": (create(impact="1"), 1, ("--urgency: impact goes with urgency", "possible: 1, 2, 3")),
    "over-long text": (create(description="x" * 4001), 1, ("--description: ", "4001 characters, 4000 at most")),
    "over-long note": (("note", OPEN, "--body", "x" * 4001), 1, ("--body: ", "4001 characters, 4000 at most")),
    "over-long comment": (create(comment="x" * 4001), 1, ("--comment: ", "4001 characters, 4000 at most")),
    "empty": (create(short=" "), 1, ("--short: shortDescription is empty",)),
    "control character": (create(short="a\x1bb"), 1, ("--short: ", "control character U+001B")),
    "no time": (("note", OPEN, "--body", "x", "--at", "soon"), 1, ("--at: 'soon' is no time such as 2026-",)),
    "own key": (("note", OPEN, "--body", "x", "--key", f"create:{OPEN}:g1"), 1, ("--key: ", "gives itself")),
    "odd key": (("note", OPEN, "--body", "x", "--key", "a\nb"), 1, ("--key: ", "printable ASCII")),
    "unknown ticket": (("resolve", "e-CS0000099", "--notes", "x"), 1, ("TICKET: there is no such ticket",)),
    "closed ticket": (("note", CLOSED, "--body", "x"), 1, (f"TICKET: {CLOSED} is closed",)),
    "step back": (("close", OPEN, "--notes", "x"), 1, ("TICKET: ", "possible: cancelled, pending, resolved")),
    "wrong type of ticket": (("cancel", CHANGE, "--notes", "x"), 1, ("TICKET: ", "possible: Incident, Request")),
    "wrong approver": (
        ("approve", CHANGE, "--approver", "ann@x.org", "--comment", "x", "--approval-id", "a9"),
        1,
        ("--approval-id: approval a9 is not open in generation 1", "possible: a1"),
    ),
    "no approver": (("approve", CHANGE, "--approver", "none", "--comment", "x"), 1, ("--approver: ",)),
    "no file": (("attach", OPEN, "absent.txt"), 1, ("FILE: ", "No such file")),
    "a program": (("attach", OPEN, "tool.exe"), 1, ("FILE: ", "exe")),
}
"""Words behind `send`, the exit code, and what is said."""


def less(name: str) -> dict[str, str]:
    return {member: text for member, text in CREATE.items() if member != name}


KINDS: Final = [
    "approve",
    "attach",
    "cancel",
    "close",
    "create",
    "note",
    "reject",
    "resolve",
    "return-number",
    "update",
]
BODIES: Final[Mapping[str, tuple[object, int, str | None, list[str] | None]]] = {
    "unknown member": ({**NOTE, "colour": "red"}, 400, "colour", ["at", "author", "body", "email", "phone", "ticket"]),
    "unknown kind": ({**NOTE, "kind": "shout"}, 400, "kind", KINDS),
    "no kind": ({"ticket": OPEN}, 400, "kind", KINDS),
    "missing member": (less("short"), 400, "short", None),
    "missing contact": (less("contact_email"), 409, "contact_email", None),
    "wrong type": ({**NOTE, "body": 7}, 400, "body", None),
    "no object": ([NOTE], 400, None, None),
    "half a body": (b'{"kind": "note", "tick', 400, None, None),
    "no body": (b"", 400, "kind", KINDS),
    "many brackets": (b'{"x":' + b"[" * 100_000, 400, None, None),
    "half a character": (b'{"kind": "note", "ticket": "\\ud800", "body": "x"}', 400, None, None),
    "no UTF-8": (b'{"kind": "note", "ticket": "\xff", "body": "x"}', 400, None, None),
    "a change": ({**CREATE, "type": "Change"}, 409, "type", ["Incident", "Request"]),
    "closed list": ({**CREATE, "priority": 9}, 409, "priority", ["1", "2", "3", "4"]),
    "half a number": ({**CREATE, "priority": 1.5}, 409, "priority", ["1", "2", "3", "4"]),
    "closing by an update": ({"kind": "update", "ticket": OPEN, "status": "closed"}, 409, "status", STATUSES),
    "two schemes": ({**CREATE, "priority": 1, "impact": 1, "urgency": 1}, 409, "impact", None),
    "over-long text": ({**CREATE, "description": "x" * 4001}, 409, "description", None),
    "over-long comment": ({**CREATE, "comment": ["x" * 4001]}, 409, "comment", None),
    "control character": ({**CREATE, "short": "a\x1bb"}, 409, "short", None),
    "NUL": ({**NOTE, "author": "a\0b"}, 409, "author", None),
    "no time": ({**NOTE, "at": "soon"}, 409, "at", None),
    "comma": ({**CREATE, "cis": ["a,b"]}, 400, "cis", None),
    "unknown ticket": ({**NOTE, "ticket": "e-CS0000099"}, 409, "ticket", None),
    "closed ticket": ({**NOTE, "ticket": CLOSED}, 409, "ticket", None),
    "wrong type of ticket": (
        {"kind": "cancel", "ticket": CHANGE, "notes": "x"},
        409,
        "ticket",
        ["Incident", "Request"],
    ),
    "wrong approver": (
        {"kind": "approve", "ticket": CHANGE, "approver": "ann@x.org", "comment": "x", "approval_id": "a9"},
        409,
        "approval_id",
        ["a1"],
    ),
    "a file of ours": ({"kind": "attach", "ticket": OPEN, "file": "/etc/hostname"}, 400, "file", None),
    "no Base64": ({"kind": "attach", "ticket": OPEN, "name": "a.txt", "content": "%"}, 400, "content", None),
    "a program": ({"kind": "attach", "ticket": OPEN, "name": "a.exe", "content": "AAAA"}, 409, "name", None),
    "another content": (
        {"kind": "attach", "ticket": OPEN, "name": "a.pdf", "content": "R0lGODlh"},
        409,
        "content",
        None,
    ),
}
"""Bodies, the status, and the member that is to blame with what it may be."""

HEADERS: Final[Mapping[str, tuple[dict[str, str], int, str | None]]] = {
    "no key": ({"Idempotency-Key": ""}, 400, "Idempotency-Key"),
    "own key": ({"Idempotency-Key": "k-1:notes"}, 400, "Idempotency-Key"),
    "odd key": ({"Idempotency-Key": "a\tb"}, 400, "Idempotency-Key"),
    "long key": ({"Idempotency-Key": "k" * 201}, 400, "Idempotency-Key"),
    "a form": ({**KEY, "Content-Type": "text/plain"}, 415, None),
    "another host": ({**KEY, "Host": "example.com"}, 421, None),
}


@asynccontextmanager
async def told_world(folder: Path) -> AsyncIterator[tuple[World, Running]]:
    """A processor that refuses over-long texts, and knows an open ticket, a closed one, and a change to approve."""
    async with (
        open_world(folder, Plan(tickets=0, visibility=0.5)) as world,
        await world.start(COMMANDS__OVERFLOW="refuse") as running,
    ):
        await wait_for((world.data / CONTROL).exists)
        say(world, OPEN, "Create", {"ticketType": "Incident", "status": "open"})
        say(world, CLOSED, "Create", {"ticketType": "Incident", "status": "closed"})
        change = {"ticketType": "Change", "type": "Normal", "state": "Assess"}
        asked = {"approvalId": "a1", "approvalState": "Requested", "approverEmail": "ann@x.org"}
        say(world, CHANGE, "Create", change)
        say(world, CHANGE, "Approval Request", {**change, **asked})
        await world.reach(is_empty, running)
        await world.simulator.wait_until(lambda ledger: ledger.calls["returnptn"] == 3)
        yield world, running


def say(world: World, group: str, transaction: str, body: dict[str, Any]) -> None:
    attributes = {"MessageGroupId": group, "TransactionType": transaction, "ClientReferenceAvailable": False}
    whole = {"clientName": "testClient", "ticketNumber": group, "clientTicketNumber": "", **body}
    raw = msgspec.Raw(msgspec.json.encode(whole))
    world.simulator.bridge.send_raw(RawMessage(Body=raw, Attributes=attributes))


async def list_events(world: World) -> list[str]:
    """The kinds of all events but those of what went on before."""
    lines = [json.loads(line) for line in (await world.ask("events")).out.splitlines()]
    return [line["kind"] for line in lines if line["kind"] == "CommandAccepted"]


def count_calls(world: World) -> int:
    """Ticket calls that the bridge saw, refused ones too."""
    calls = world.ledger.calls + world.ledger.refused
    return sum(number for name, number in calls.items() if not name.startswith(("receive", "delete", "returnptn")))


@pytest.mark.requirement("R86", "R88", "R144")
@pytest.mark.parametrize("alive", [True, False], ids=["running", "alone"])
async def test_bad_words_are_told_and_nothing_is_done(tmp_path: Path, alive: bool) -> None:
    said: dict[str, str] = {}

    async def ask(name: str) -> None:
        words, code, parts = WORDS[name]
        told = await world.ask("send", *words, COMMANDS__OVERFLOW="refuse")
        if (told.code, told.out) != (code, "") or not all(part in told.err for part in parts):
            said[name] = f"{told.code} {told.out}{told.err}"

    async with told_world(tmp_path) as (world, running):
        (tmp_path / "tool.exe").write_bytes(b"MZ")
        if not alive:
            running.send(signal.SIGTERM)
            assert await running.ended() == 0
        for name in WORDS:
            await ask(name)
        assert said == {}
        assert await list_events(world) == []
        assert count_calls(world) == 0


@pytest.mark.requirement("R12", "R86", "R88")
async def test_bad_bodies_are_told_and_nothing_is_done(tmp_path: Path) -> None:
    said: dict[str, str] = {}

    def judge(name: str, answer: httpx.Response, status: int, field: str | None, allowed: list[str] | None) -> None:
        problem = answer.json()
        listed = problem.get("allowed")
        told = (answer.status_code, problem.get("field"), sorted(listed) if listed and allowed else listed)
        wanted = (status, field, sorted(allowed) if allowed else listed)
        if told != wanted or answer.headers["content-type"] != "application/problem+json":
            said[name] = f"{told} {answer.text}"

    async with told_world(tmp_path) as (world, running):
        async with httpx.AsyncClient(base_url=await running.told("web", "url"), timeout=30) as client:
            for name, (body, status, field, allowed) in BODIES.items():
                content = body if isinstance(body, bytes) else json.dumps(body).encode()
                headers = {**KEY, "Content-Type": "application/json"}
                judge(
                    name,
                    await client.post("/api/v1/commands", content=content, headers=headers),
                    status,
                    field,
                    allowed,
                )
            for name, (headers, status, field) in HEADERS.items():
                judge(name, await client.post("/api/v1/commands", json=NOTE, headers=headers), status, field, None)
            absent = await client.get("/api/v1/commands/k-1")
            assert (absent.status_code, said) == (404, {})
        assert await list_events(world) == []
        assert count_calls(world) == 0


@pytest.mark.requirement("I4")
async def test_a_key_means_one_command_however_it_is_asked_for(tmp_path: Path) -> None:
    async with told_world(tmp_path) as (world, running):
        first = await world.ask("send", "note", OPEN, "--body", "one", "--key", "k-1", "--wait")
        assert first.code == 0, first.err
        other = await world.ask("send", "note", OPEN, "--body", "two", "--key", "k-1")
        assert (other.code, "the key k-1 was used for another command" in other.err) == (1, True)
        async with httpx.AsyncClient(base_url=await running.told("web", "url")) as client:
            same = await client.post("/api/v1/commands", json={**NOTE, "body": "one"}, headers=KEY)
            assert (same.status_code, same.json()["state"]) == (202, "done")
            changed = await client.post("/api/v1/commands", json=NOTE, headers=KEY)
            assert (changed.status_code, changed.json()["field"]) == (409, "Idempotency-Key")
        assert world.ledger.notes[OPEN] == ["one"]
        assert await list_events(world) == ["CommandAccepted"]


async def test_a_body_that_breaks_off_is_no_command(tmp_path: Path) -> None:
    async with told_world(tmp_path) as (world, running):
        url = httpx.URL(await running.told("web", "url"))
        body = json.dumps(NOTE).encode()
        head = f"POST /api/v1/commands HTTP/1.1\r\nhost: {url.host}:{url.port}\r\ncontent-type: application/json\r\n"
        head += f"idempotency-key: k-1\r\ncontent-length: {len(body) + 1}\r\n\r\n"
        async with await anyio.connect_tcp(url.host, url.port or 0) as stream:
            await stream.send(head.encode() + body)
            await stream.send_eof()
            with anyio.fail_after(10), suppress(anyio.EndOfStream):
                assert b" 202 " not in await stream.receive()
        assert await list_events(world) == []
        assert count_calls(world) == 0
