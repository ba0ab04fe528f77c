"""Histories: whole logs as one build left them, and what a replay of each must give for ever.

    python -m tests.replay.histories NAME    record a new one with this build
    python -m tests.replay.histories         write down what this build's fold makes of those it has no word on yet

Neither ever changes a file that is there. When FOLD_VERSION has grown, run the second and read its documents against
the former version's: the difference is what users will see.
"""

from __future__ import annotations

import gzip
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import anyio
import msgspec

from ecproc.app import replay_log
from ecproc.config import Config, DataConfig
from ecproc.domain.ticket import FOLD_VERSION
from ecproc.reading.listing import list_documents
from ecproc.reading.opening import open_reading
from ecproc.simulator.bridge import RawMessage
from ecproc.simulator.faults import MILD, CallFaults
from ecproc.simulator.lives import DECK_SIZE, generate_lives
from ecproc.simulator.script import ScriptedLife
from ecproc.store.sqlite.datadir import ANCHOR, DATABASE
from tests.acceptance.world import Plan, World, open_world

FOLDER: Final = Path(__file__).parent / "histories"
STEPS: Final = 8
"""At how many positions besides the last one the state is written down."""

STORIES: Final = (
    *("case-reopened", "case-cancelled", "case-midway", "case-numbered", "case-returned", "case-late-note"),
    *("case-unknown-type", "row-3", "row-8", "change-generation-3", "change-missed-redraft", "change-skipped"),
    *("change-standard", "change-draft-left", "change-late-approval"),
)
ODD_TICKET: Final = "e-CS0700001"
ODD_CHANGE: Final = "e-CHG0700002"
UNTYPED: Final = "e-CS0700009"
ASKED: Final = "e-CHG0700010"
HELD: Final = "e-CS0700011"
CREATED: Final = "e-CS5000001"
LINKED: Final = ("e-CS0700012", "e-CS0700013", "e-CHG0700014", "e-CS0700015")
LINKS: Final = f"""\
ensono_number,client_number,reference,generation
{LINKED[0]},INC0700012,9d38,1
{LINKED[1]},INC0700013,,1
{LINKED[2]},CHG0700014,,1
{LINKED[2]},CHG0700015,,2
{LINKED[3]},INC0700015,,1
"""
ODD_CASE: Final = {
    "ticketType": "Incident",
    "ticketNumber": ODD_TICKET,
    "clientTicketNumber": "",
    "clientName": "testClient",
}


class Expected(msgspec.Struct, frozen=True, kw_only=True):
    """What a fold makes of a history: its digest over all rows at some positions and at the end."""

    events: int
    tickets: int
    hash: str
    digest: str
    digests: dict[str, str]


def list_histories() -> list[str]:
    """Every history's name."""
    return sorted(path.name for path in FOLDER.iterdir() if path.is_dir())


def unpack(name: str, data: Path) -> Config:
    """Put a history's log into a data directory and give the configuration to read it with."""
    data.mkdir()
    (data / DATABASE).write_bytes(gzip.decompress((FOLDER / name / f"{DATABASE}.gz").read_bytes()))
    (data / ANCHOR).write_bytes((FOLDER / name / ANCHOR).read_bytes())
    return Config(data=DataConfig(dir=data))


def read_expected(name: str) -> Expected:
    """What was written down for this build's fold."""
    return msgspec.json.decode((FOLDER / name / f"fold-{FOLD_VERSION}.json").read_bytes(), type=Expected)


def read_expected_documents(name: str) -> list[Any]:
    """The ticket documents that were written down for this build's fold."""
    lines = (FOLDER / name / f"fold-{FOLD_VERSION}.ndjson").read_bytes().splitlines()
    return [msgspec.json.decode(line) for line in lines]


async def fold_history(config: Config) -> Expected:
    """Replay a history with this build, whole and up to some positions."""
    async with open_reading(config) as reader:
        head = await reader.head()
    digests = {}
    for step in range(1, STEPS + 1):
        position = head.position * step // (STEPS + 1)
        report = await replay_log(config, verify=False, until=position, on_progress=lambda _: None)
        digests[str(position)] = report.digest
    whole = await replay_log(config, verify=False, until=head.position, on_progress=lambda _: None)
    return Expected(
        events=whole.events, tickets=whole.tickets, hash=head.hash.hex(), digest=whole.digest, digests=digests
    )


async def list_rebuilt_documents(config: Config) -> list[bytes]:
    """Put rebuilt rows in place of those that came with the history and give all documents."""
    await replay_log(config, verify=False, until=None, on_progress=lambda _: None)
    async with open_reading(config) as reader:
        return [document async for document in list_documents(reader, entries=1000)]


async def record_history(name: str) -> None:
    """Let this build live through a small world with every kind of event in it, and keep its log."""
    folder = FOLDER / name
    if folder.exists():
        raise SystemExit(f"{folder} is there already: a history never changes, record another one")
    faults = msgspec.structs.replace(MILD, tickets=CallFaults(throttle=0.1, lost=0.2, error_before=0.1))
    with tempfile.TemporaryDirectory() as work:
        async with open_world(Path(work), Plan(tickets=0, faults=faults, visibility=1.0)) as world:
            world.simulator.stage.play(pick_lives(world))
            for message in write_oddities(world.simulator.bridge.url_base):
                world.simulator.bridge.send_raw(message)
            await world.die_at("claim.committed", 5)
            await world.drain()
            world.simulator.bridge.send_raw(write_latecomer())
            await world.drain()
            for message in write_untyped():
                world.simulator.bridge.send_raw(message)
            await world.drain()
            for command in list_commands(Path(work)):
                answer = await world.ask(*command)
                if answer.code != 0:
                    raise SystemExit(f"{' '.join(command)}: {answer.err}")
            await world.drain()
            for message in (write_number(), *write_linked()):
                world.simulator.bridge.send_raw(message)
            await world.drain()
            folder.mkdir(parents=True)
            packed = gzip.compress((world.data / DATABASE).read_bytes(), mtime=0)
            (folder / f"{DATABASE}.gz").write_bytes(packed)
            (folder / ANCHOR).write_bytes((world.data / ANCHOR).read_bytes())


async def write_expected(name: str) -> None:
    """Write down what this build's fold makes of a history, unless that was done."""
    file = FOLDER / name / f"fold-{FOLD_VERSION}.json"
    if file.exists():
        return
    with tempfile.TemporaryDirectory() as work:
        config = unpack(name, Path(work) / "data")
        expected = await fold_history(config)
        documents = await list_rebuilt_documents(config)
    file.write_bytes(msgspec.json.format(msgspec.json.encode(expected)) + b"\n")
    file.with_suffix(".ndjson").write_bytes(b"".join(document + b"\n" for document in documents))


def pick_lives(world: World) -> Sequence[ScriptedLife]:
    """One life of each story that shows something of its own."""
    bridge = world.simulator.bridge
    lives = generate_lives(
        7,
        tickets=DECK_SIZE,
        base_time_ms=int(bridge.clock() * 1000),
        url_base=bridge.url_base,
        client_name="testClient",
    )
    return list({life.story: life for life in lives if life.story in STORIES}.values())


def write_oddities(url_base: str) -> Iterator[RawMessage]:
    """Messages that no life holds: repeated, mislinked, of unknown words, without a file, not to be read."""
    case = ODD_CASE
    yield write_message(1, "Create", {**case, "status": "open", "priority": "3", "shortDescription": "an odd one"})
    yield write_message(4, "Update", {**case, "status": "martian", "changed": {"status": "martian", "priority": "1"}})
    yield write_message(5, "Notes", {**case, "clientTicketNumber": "OTHER-1", "notes": {"id": "n1", "body": "ä\u2028"}})
    yield write_message(6, "Update", {**case, "changed": {"priority": "2"}}, message_id="again")
    yield write_message(7, "Update", {**case, "changed": {"priority": "2"}}, message_id="again")
    file = {"attachmentName": "gone.txt", "attachmentSize": "12", "attachmentType": "text/plain"}
    place = {
        "attachmentInfo": "https://envisiontest.servicenow.com/1",
        "attachment": f"{url_base}/s3/outbound/gone.txt?X-Amz-Date=20230101T000000Z&X-Amz-Expires=60",
    }
    yield write_message(8, "Attachment", {**case, **file, **place})
    yield write_message(9, "Closure", {**case, "status": "closed", "changed": {"status": "closed"}})
    change = {**case, "ticketType": "Change", "ticketNumber": ODD_CHANGE, "type": "Weird"}
    yield write_message(1, "Create", {**change, "state": "Review"}, group=ODD_CHANGE)
    yield write_message(2, "Update", {**change, "state": "Authorize"}, group=ODD_CHANGE)
    yield write_message(3, "Update", {**case, "ticketNumber": ODD_CHANGE}, group=ODD_CHANGE)
    yield write_message(1, "Update", "no object", group="e-CS0700003")
    yield write_message(1, "Update", {"ticketType": "Problem"}, group="e-CS0700004")
    yield from write_irregularities()


def write_irregularities() -> Iterator[RawMessage]:
    """Messages with parts that cannot be read as they are, or that tell of something missed."""
    shared = {**ODD_CASE, "status": "open", "clientTicketNumber": "INC0000042"}
    for group in ("e-CS0700005", "e-CS0700006"):
        yield write_message(1, "Create", {**shared, "ticketNumber": group}, group=group)
    case = {**ODD_CASE, "ticketNumber": "e-CS0700007", "status": "open", "priority": "4", "group": "A"}
    created = {**case, "clientName": "somebodyElse", "openedTime": "yesterday", "notes": "as text"}
    yield write_message(1, "Create", created, group="e-CS0700007")
    yield write_message(2, "Create", created, group="e-CS0700007")
    for count, text in enumerate(("one", "two"), 3):
        notes = {"type": "work_notes", "id": "n1", "body": text}
        yield write_message(count, "Notes", {**case, "notes": notes}, group="e-CS0700007", dedup_id="d" * 64)
    update = {**case, "priority": "9", "changed": {"priority": "9"}, "group": "B", "origin": {"a": 1}}
    yield write_message(5, "Update", update, group="e-CS0700007", message_id="null")
    change = {**ODD_CASE, "ticketType": "Change", "ticketNumber": "e-CHG0700008", "type": "Standard"}
    yield write_message(1, "Create", {**change, "state": "Scheduled"}, group="e-CHG0700008")
    asked = {"approvalId": "a1", "approvalState": "Requested", "approverName": "A", "approverEmail": "a@example.com"}
    yield write_message(2, "Approval Request", {**change, "state": "Scheduled", **asked}, group="e-CHG0700008")
    yield write_message(3, "Update", {**change, "type": "Normal", "state": "Implement"}, group="e-CHG0700008")
    yield write_message(4, "Closure", {**change, "type": "Normal", "state": "Closed"}, group="e-CHG0700008")


def write_latecomer() -> RawMessage:
    """A message that was overtaken by all others of its ticket."""
    return write_message(3, "Update", {**ODD_CASE, "status": "pending", "changed": {"priority": "4", "impact": "2"}})


def write_untyped() -> Iterator[RawMessage]:
    """A message that goes into quarantine, and one behind it with which it can be taken; a change that waits for an
    answer, and a ticket whose time is over."""
    untyped = {name: value for name, value in ODD_CASE.items() if name != "ticketType"} | {"ticketNumber": UNTYPED}
    note = {"type": "comments", "id": "n1", "body": "before its time"}
    yield write_message(1, "Notes", {**untyped, "notes": note}, group=UNTYPED, message_id=f"{UNTYPED}-1")
    yield write_message(2, "Create", {**untyped, "ticketType": "Incident", "status": "open"}, group=UNTYPED)
    change = {**ODD_CASE, "ticketType": "Change", "ticketNumber": ASKED, "type": "Normal", "state": "Assess"}
    yield write_message(1, "Create", change, group=ASKED)
    asked = {"approvalId": "a1", "approvalState": "Requested", "approverName": "A", "approverEmail": "a@example.com"}
    yield write_message(2, "Approval Request", {**change, **asked}, group=ASKED)
    held = {**ODD_CASE, "ticketNumber": HELD, "status": "pending", "offHoldDate": "2023-03-01T08:00:00Z"}
    yield write_message(1, "Create", held, group=HELD)


def write_number() -> RawMessage:
    """What Ensono says of a create whose answer it holds to be lost."""
    named = {**ODD_CASE, "ticketNumber": CREATED, "clientTicketNumber": "INC1", "status": "open"}
    return write_message(1, "ReturnEnsonoNum", named, group=CREATED)


def write_linked() -> Iterator[RawMessage]:
    """The first messages of tickets whose links were imported; of the last one none comes."""
    opened = {**ODD_CASE, "ticketNumber": LINKED[0], "status": "open", "priority": "3"}
    yield write_message(1, "Create", opened, group=LINKED[0])
    changed = {**opened, "ticketNumber": LINKED[1], "clientTicketNumber": "INC0700013", "changed": {"priority": "3"}}
    yield write_message(1, "Update", changed, group=LINKED[1])
    change = {**ODD_CASE, "ticketType": "Change", "ticketNumber": LINKED[2], "clientTicketNumber": "CHG0700015"}
    for count, state in enumerate(("New", "Assess"), 1):
        yield write_message(count, "Update", {**change, "type": "Normal", "state": state}, group=LINKED[2])


def list_commands(folder: Path) -> Iterator[Sequence[str]]:
    """What people do beside the processor, in order: each is recorded, and carried out by the next start."""
    file = folder / "readme.txt"
    file.write_text("read me\n", encoding="utf-8")
    contact = ("--contact-name", "Ann", "--contact-email", "ann@example.com")
    create = ("send", "create", "--type", "Incident", "--description", "it rattles", *contact)
    yield (*create, "--number", "INC1", "--short", "a fan", "--comment", "since Monday")
    yield (*create, "--number", "INC2", "--short", "another fan")
    yield ("send", "update", UNTYPED, "--priority", "1", "--group", "Fans")
    yield ("send", "note", UNTYPED, "--body", "x" * 5_000, "--author", "Ann")
    yield ("send", "attach", UNTYPED, str(file))
    yield ("send", "resolve", UNTYPED, "--notes", "oiled")
    yield ("send", "approve", ASKED, "--approver", "a@example.com", "--comment", "go ahead")
    yield ("quarantine", "retry", f"{UNTYPED}-1", "--note", "the type is known now")
    yield ("quarantine", "discard", "e-CS0700003-1")
    yield ("outbox", "retry", "--all", "--kind", "download_attachment", "--note", "once more")
    yield ("outbox", "discard", "--all", "--ticket", UNTYPED, "--kind", "upload_attachment")
    yield ("pause", "bridge")
    yield ("resume", "bridge")
    yield ("pause", ODD_CHANGE, "--note", "left alone")
    links = folder / "links.csv"
    links.write_text(LINKS, encoding="utf-8")
    yield ("link", "import", str(links), "--note", "cut-over")


def write_message(
    sequence: int,
    transaction: str,
    body: object,
    *,
    group: str = ODD_TICKET,
    message_id: str | None = None,
    dedup_id: str = "",
) -> RawMessage:
    """One message as the guide writes it; `sequence` orders it within its group."""
    attributes = {
        "MessageGroupId": group,
        "SequenceNumber": str(18_875_507_807_458_288_128 + sequence),
        "TransactionType": transaction,
        **({"MessageDeduplicationId": dedup_id} if dedup_id else {}),
    }
    body_text = msgspec.Raw(msgspec.json.encode(body))
    return RawMessage(Body=body_text, Attributes=attributes, MessageId=message_id or f"{group}-{sequence}")


async def main(arguments: Sequence[str]) -> None:
    """Record the named histories, then write down what is missing."""
    for name in arguments:
        await record_history(name)
    for name in list_histories():
        await write_expected(name)


if __name__ == "__main__":
    anyio.run(main, sys.argv[1:])
