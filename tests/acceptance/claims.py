"""What must hold of a world when its processor has drained, judged from outside.

The lives' scripts and the bridge's ledger are set against the log, documents, files and desk that the processor left.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from itertools import pairwise
from typing import Any, Final, NamedTuple

import anyio

from ecproc.simulator.script import Expected, ScriptedLife
from tests.acceptance.world import Answer, Broken, World

REDELIVERED: Final = 0.02
"""The least share of messages that must have come twice, or the world was too kind to prove anything."""

_SHOWN: Final = 4
_ENDS: Final = frozenset({"resolved", "closed", "cancelled"})
_DRAFT: Final = "Draft"
_FINAL: Final = frozenset({"Closed", "Cancelled"})
_CHANGE_PATH: Final = ("Assess", "Authorize", "Scheduled", "Implement", "Review", "Closed")

Document = Mapping[str, Any]


class Action(NamedTuple):
    """One call that the desk applied."""

    key: str
    number: str
    kind: str
    fields: Mapping[str, str]


class Desk(NamedTuple):
    """The desk's own file: the client tickets it numbered, by its create keys, and its calls in order."""

    created: Mapping[str, str]
    actions: Sequence[Action]


class Evidence(NamedTuple):
    """All that is looked at."""

    lives: Sequence[ScriptedLife]
    recorded: Counter[str]
    documents: Mapping[str, Document]
    desk: Desk
    replay: Answer
    verified: Answer
    world: World


async def check_claims(world: World, *, redelivered: float = 0.0) -> None:
    """Raise Broken with every claim that does not hold; `redelivered` is the share of messages that came twice."""
    counts = world.ledger.count_messages()
    assert counts.redelivered >= redelivered * counts.sent, f"the world was too kind: {counts}"
    evidence = await gather_evidence(world)
    findings: dict[str, list[str]] = {}
    for claim, found in (
        ("every message is in the log", list_missing(evidence)),
        ("no message is in the log twice", list_surplus(evidence)),
        ("the bridge is content", list_left(world)),
        ("documents are what the lives lead to", list_wrong_documents(evidence)),
        ("attachments are on disk", list_wrong_files(evidence)),
        ("every effect is completed", list_unfinished(evidence)),
        ("one client ticket per generation", list_wrong_tickets(evidence)),
        ("one action per desk effect", list_wrong_actions(evidence)),
        ("the desk was told every step in order", list_untold(evidence)),
        ("Ensono has the newest number", list_wrong_numbers(evidence)),
        ("replay equals live", list_replay_troubles(evidence)),
        ("the log's chain holds", list_damage(evidence)),
    ):
        some = list(found)
        if some:
            findings[claim] = [*some[:_SHOWN], *([f"and {len(some) - _SHOWN} more"] if len(some) > _SHOWN else [])]
    if findings:
        raise Broken(findings)


async def gather_evidence(world: World) -> Evidence:
    """Ask the processor's commands, each in a process of its own, and read the desk's file."""
    answers: dict[str, Answer] = {}

    async def ask(*arguments: str) -> None:
        answers[arguments[0]] = await world.ask(*arguments)

    async with anyio.create_task_group() as asking:
        asking.start_soon(ask, "events")
        asking.start_soon(ask, "tickets")
        asking.start_soon(ask, "replay", "--verify")
        asking.start_soon(ask, "log", "verify")
    failed = {name: answer for name, answer in answers.items() if answer.code and name in ("events", "tickets")}
    if failed:
        raise Broken({"the log can be read": [f"{name}: exit {bad.code}: {bad.err}" for name, bad in failed.items()]})
    events, documents = read_lines(answers["events"]), read_lines(answers["tickets"])
    return Evidence(
        lives=world.simulator.stage.lives,
        recorded=Counter(event["message_id"] for event in events if event["kind"] == "MessageReceived"),
        documents={document["ticket"]: document for document in documents},
        desk=read_desk(world),
        replay=answers["replay"],
        verified=answers["log"],
        world=world,
    )


def read_lines(answer: Answer) -> list[Document]:
    """Decode NDJSON; other line ends than a line feed belong to its texts."""
    return [json.loads(line) for line in answer.out.split("\n") if line]


def read_desk(world: World) -> Desk:
    """Read the desk's documented schema."""
    with closing(sqlite3.connect(f"{(world.data / 'desk.db').as_uri()}?mode=ro", uri=True)) as file:
        created = dict(file.execute("SELECT key, number FROM ticket WHERE key IS NOT NULL"))
        rows = file.execute("SELECT key, number, kind, fields FROM action ORDER BY at").fetchall()
    return Desk(created, [Action(key, number, kind, json.loads(fields)) for key, number, kind, fields in rows])


def list_missing(evidence: Evidence) -> Iterator[str]:
    for life in evidence.lives:
        for message in life.messages:
            if not evidence.recorded[message.message_id]:
                yield f"{life.ticket} ({life.story}) lost {message.message_id}"


def list_surplus(evidence: Evidence) -> Iterator[str]:
    sent = {message.message_id for life in evidence.lives for message in life.messages}
    for message_id, times in evidence.recorded.items():
        if times > 1:
            yield f"{message_id} is there {times} times"
        elif message_id not in sent:
            yield f"{message_id} was never sent"


def list_left(world: World) -> Iterator[str]:
    counts = world.ledger.count_messages()
    if counts.unsent or counts.left or counts.lost or counts.deleted != counts.sent:
        yield str(counts)
    if world.ledger.leaked_keys:
        yield f"the API key went to the file store {world.ledger.leaked_keys} times"


def list_wrong_documents(evidence: Evidence) -> Iterator[str]:
    """Compare each life's document with what its script says must come of it."""
    for life in evidence.lives:
        document = evidence.documents.get(life.ticket)
        for wrong in life.outcome.differences(document):
            yield f"{life.ticket} ({life.story}): {wrong}"
        bodies = [json.loads(message.body) for message in life.messages]
        sent = [body["notes"]["body"] for body in bodies if "notes" in body]
        if document is not None and [note["body"] for note in document["notes"]] != sent:
            yield f"{life.ticket} ({life.story}): its notes do not say what was sent"
    for ticket in evidence.documents.keys() - {life.ticket for life in evidence.lives}:
        yield f"{ticket} is no ticket of this world"


def list_wrong_files(evidence: Evidence) -> Iterator[str]:
    """Compare stored content with what the bridge served, byte for byte."""
    data = evidence.world.data
    wanted = {hashlib.sha256(file.content).hexdigest(): file for life in evidence.lives for file in life.files}
    stored = {path.name: path for path in (data / "attachments").glob("??/*")}
    for digest, file in wanted.items():
        path = stored.get(digest)
        if path is None or path.read_bytes() != file.content or path.parent.name != digest[:2]:
            yield f"{file.name} ({digest}) is not there as it was served"
    for digest in stored.keys() - wanted.keys():
        yield f"{digest} belongs to no life"
    yield from (f"{path.name} was left half done" for path in (data / "attachments" / "tmp").iterdir())
    for document in evidence.documents.values():
        for file in document["attachments"]:
            if file["path"] != f"attachments/{file['sha256'][:2]}/{file['sha256']}":
                yield f"{document['ticket']}: {file['name']} is said to be at {file['path']}"


def list_unfinished(evidence: Evidence) -> Iterator[str]:
    for document in evidence.documents.values():
        for effect in document["effects"]:
            if effect["state"] != "completed":
                yield f"{effect['key']} is {effect['state']}"


def list_wrong_tickets(evidence: Evidence) -> Iterator[str]:
    """Exactly one client ticket stands at the desk for each ticket and generation that needs one, and no other."""
    expected = {
        f"create:{life.ticket}:g{life.outcome.generation - back}"
        for life in evidence.lives
        for back in range(life.outcome.returnptn)
    }
    yield from (f"{key} never happened" for key in expected - evidence.desk.created.keys())
    yield from (f"{key} was not asked for" for key in evidence.desk.created.keys() - expected)
    numbers = [int(number.removeprefix("LOCAL-")) for number in evidence.desk.created.values()]
    if sorted(numbers) != list(range(1, len(numbers) + 1)):
        yield f"the desk's numbers are not 1 to {len(numbers)}"


def list_wrong_actions(evidence: Evidence) -> Iterator[str]:
    """The desk's calls are the completed desk effects, each once."""
    told = Counter(action.key for action in evidence.desk.actions)
    planned = {
        effect["key"]
        for document in evidence.documents.values()
        for effect in document["effects"]
        if effect["kind"].endswith("_client_ticket")
    }
    yield from (f"{key} was applied {told[key]} times" for key in planned if told[key] != 1)
    yield from (f"{key} is no effect of any ticket" for key in told.keys() - planned)


def list_untold(evidence: Evidence) -> Iterator[str]:
    """Every state change, note and approval must have reached the client ticket of its generation, in order."""
    numbers = {key: number for key, number in evidence.desk.created.items()}
    states: defaultdict[str, list[str]] = defaultdict(list)
    notes: Counter[str] = Counter()
    approvals: Counter[str] = Counter()
    for action in evidence.desk.actions:
        if "state" in action.fields:
            states[action.number].append(action.fields["state"])
        if action.kind == "comment_client_ticket":
            notes[action.key] += 1
        if "approvalId" in action.fields:
            approvals[action.fields["approvalId"]] += 1
    for life in evidence.lives:
        outcome = life.outcome
        for generation, expected in enumerate(tell_states(outcome), start=1):
            own = numbers.get(f"create:{life.ticket}:g{generation}", outcome.adopted_number or "")
            if states[own] != expected:
                yield f"{own} of {life.ticket} ({life.story}) was told {states[own]}, not {expected}"
        times = int(outcome.client_tickets > 0)
        yield from (f"note {item}" for item in outcome.notes if notes[f"note:{life.ticket}:{item}"] != times)
        yield from (f"approval {item}" for item in outcome.approvals if approvals[item] != 1)


def tell_states(outcome: Expected) -> list[list[str]]:
    """The states each generation's client ticket must be told, its own first one included unless it was adopted.

    A case that is first seen at an end is created and then brought to that end.
    A change that falls back to Draft, or jumps back without it, ends its client ticket; leaving Draft opens another. A
    change that is cancelled after the client rejected it was ended by the client already (the guide's row 8).
    """
    if outcome.type != "Change":
        first, rest = outcome.history[0], list(outcome.history[1:])
        own = [] if outcome.adopted_number else [first]
        return [[*own, *([first] if first in _ENDS else []), *rest]]
    told: list[list[str]] = []
    live = False
    for before, state in pairwise([None, *outcome.history]):
        back = before in _CHANGE_PATH and state in _CHANGE_PATH and _follows(before, state)
        if live and (back or state == _DRAFT or state in _FINAL):
            if not (state == "Cancelled" and outcome.fields.get("approval") == "rejected"):
                told[-1].append(str(state))
            live = False
        elif live:
            told[-1].append(str(state))
        if not live and state != _DRAFT and state not in _FINAL:
            told.append([] if outcome.adopted_number and not told else [str(state)])
            live = True
    return told


def _follows(before: str | None, state: str | None) -> bool:
    """Whether `before` comes behind `state` on a change's path."""
    places = {name: place for place, name in enumerate(_CHANGE_PATH)}
    return places[str(before)] > places[str(state)]


def list_wrong_numbers(evidence: Evidence) -> Iterator[str]:
    """Numbers returned per ticket never go back to an older generation and end with the newest one's."""
    generations = {number: int(key.rpartition(":g")[2]) for key, number in evidence.desk.created.items()}
    tickets = {number: key.split(":")[1] for key, number in evidence.desk.created.items()}
    for ticket, returned in evidence.world.ledger.returnptn.items():
        strange = [number for number in returned if tickets.get(number) != ticket]
        order = [generations.get(number, 0) for number in returned]
        if strange or order != sorted(order):
            yield f"{ticket} was given {returned}, generations {order}"
    for life in evidence.lives:
        outcome = life.outcome
        given = evidence.world.ledger.returnptn.get(life.ticket, [])
        newest = evidence.desk.created.get(f"create:{life.ticket}:g{outcome.generation}")
        if len(set(given)) != outcome.returnptn or (given and given[-1] != newest):
            yield f"{life.ticket} ({life.story}) was given {given}, its newest number is {newest}"


def list_replay_troubles(evidence: Evidence) -> Iterator[str]:
    answer = evidence.replay
    report = json.loads(answer.out) if answer.out else {}
    if answer.code or not report.get("equal") or report["tickets"] != len(evidence.lives):
        yield f"exit {answer.code}: {answer.out}{answer.err}"


def list_damage(evidence: Evidence) -> Iterator[str]:
    if evidence.verified.code or not json.loads(evidence.verified.out)["ok"]:
        yield f"exit {evidence.verified.code}: {evidence.verified.out}{evidence.verified.err}"
