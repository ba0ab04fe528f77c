"""A log or live state that is not what was written: found, named, and mended by a replay."""

from __future__ import annotations

import hashlib
import json
import shutil
import signal
import sqlite3
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

import anyio
import msgspec
import pytest

from ecproc.clock import SystemClock
from ecproc.config import DataConfig, Limits
from ecproc.domain.log import Batch, NewEvent, RecordedEvent
from ecproc.domain.policy import Policy
from ecproc.fold.recorded import Kind
from ecproc.fold.step import take_step
from ecproc.fold.stream import StreamFold
from ecproc.fold.tables import TABLES
from ecproc.fold.tickets import MACHINES
from ecproc.simulator.bridge import RawMessage
from ecproc.simulator.lives import generate_lives, order_messages
from ecproc.simulator.queue import QueueMessage
from ecproc.store.base import Damage
from ecproc.store.opening import open_store
from ecproc.store.sqlite.datadir import DATABASE
from ecproc.store.sqlite.verify import verify_log
from ecproc.wire.queue import decode_message
from tests.acceptance.scenario import write_redrafts
from tests.acceptance.world import Answer, Plan, World, open_world, wait_for

NO_OBJECT: Final = RawMessage(
    Body=msgspec.Raw(b'"no object"'), Attributes={"MessageGroupId": "e-CS0999999", "TransactionType": "Update"}
)

DAMAGE: Final = {
    "a payload is changed": ("UPDATE event SET payload = CAST(payload || ' ' AS BLOB) WHERE position = {last} - 3", -3),
    "an event is gone": ("DELETE FROM event WHERE position = {last} - 2", -2),
    "the end is gone": ("DELETE FROM event WHERE position = {last}", 0),
    "two events are swapped": (
        "UPDATE event SET position = -1 WHERE position = {last} - 7;"
        " UPDATE event SET position = {last} - 7 WHERE position = {last} - 6;"
        " UPDATE event SET position = {last} - 6 WHERE position = -1",
        -7,
    ),
}
"""What somebody did to the log, and the first position that cannot be trusted, counted from the last one."""

EDITS: Final = {
    "ticket": "UPDATE ticket SET data = replace(data, 'Authorize', 'Assess') WHERE tag = 'Change:Authorize'",
    "client_ticket": "UPDATE client_ticket SET ordinal = ordinal + 7 WHERE id = (SELECT max(id) FROM client_ticket)",
    "note": "DELETE FROM note WHERE id = (SELECT max(id) FROM note)",
    "attachment": "UPDATE attachment SET data = data || ' ' WHERE id = (SELECT max(id) FROM attachment)",
    "approval": "UPDATE approval SET data = data || ' ' WHERE id = (SELECT max(id) FROM approval)",
    "history": "UPDATE history SET data = data || ' ' WHERE ordinal = (SELECT max(ordinal) FROM history)",
    "anomaly": "DELETE FROM anomaly WHERE stream = (SELECT max(stream) FROM anomaly)",
    "outbox": "INSERT INTO outbox SELECT stream, id || 'x', ordinal, tag, data FROM outbox LIMIT 1",
    "quarantine": "UPDATE quarantine SET tag = 'unknown'",
    "pause": "UPDATE pause SET data = data || ' '",
    "command": "UPDATE command SET data = data || ' '",
    "timer": "UPDATE timer SET data = data || ' ' WHERE stream || id = (SELECT max(stream || id) FROM timer)",
}
"""One row changed, added or taken away in each live table."""

BIG_LOG_TICKETS: Final = 800


async def steer(world: World) -> None:
    """Let a person pause what is not needed any more, and send something."""
    contact = ("--contact-name", "Ann", "--contact-email", "ann@example.com")
    create = (
        "send",
        "create",
        "--type",
        "Incident",
        "--number",
        "INC1",
        "--short",
        "a",
        "--description",
        "b",
        *contact,
    )
    for command in (("pause", "attachments"), create):
        answer = await world.ask(*command)
        assert answer.code == 0, answer.err


@pytest.fixture(scope="module")
async def drained(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    """A world that was drained once, with rows in every live table; tests work on copies of its data directory."""
    async with open_world(tmp_path_factory.mktemp("drained"), Plan(tickets=8, seed=5, visibility=1.0)) as world:
        world.simulator.stage.play([write_redrafts(world, 1)])
        world.simulator.bridge.send_raw(NO_OBJECT)
        await world.drain()
        await steer(world)
        await world.drain()
        yield world


@pytest.mark.requirement("R6")
async def test_the_log_of_another_environment_is_refused(drained: World, tmp_path: Path) -> None:
    data = shutil.copytree(drained.data, tmp_path / "data")
    calls, before = drained.ledger.calls.total(), digest_database(data, "event")
    other = drained.simulator.url.replace("/dev", "/cert")
    refused = await drained.ask("run", BRIDGE__URL=other, DATA__DIR=str(data))
    assert refused.code == 78, refused
    assert "environment='dev'" in refused.err
    assert "environment='cert'" in refused.err
    assert drained.ledger.calls.total() == calls
    assert digest_database(data, "event") == before


@pytest.mark.requirement("I6", "I0")
async def test_a_damaged_log_is_refused_at_start_naming_the_position(drained: World, tmp_path: Path) -> None:
    calls = drained.ledger.calls.total()
    for name, (statements, place) in DAMAGE.items():
        data = shutil.copytree(drained.data, tmp_path / name)
        with edited(data) as file:
            (last,) = file.execute("SELECT max(position) FROM event").fetchone()
            file.executescript(statements.format(last=last))
        refused = await drained.ask("run", DATA__DIR=str(data))
        assert refused.code == 71, (name, refused)
        assert f"damaged at position {last + place}:" in refused.err, (name, refused)
        verified = verify_log(data)
        assert isinstance(verified, Damage), (name, verified)
        assert verified.position == last + place, (name, verified)
    assert drained.ledger.calls.total() == calls, "nothing may be received into a damaged log"


@pytest.mark.requirement("I6")
async def test_a_log_behind_its_anchor_is_taken_only_if_the_loss_is_accepted(drained: World, tmp_path: Path) -> None:
    data = shutil.copytree(drained.data, tmp_path / "data")
    with edited(data) as file:
        file.execute("DELETE FROM event WHERE position = (SELECT max(position) FROM event)")
    refused = await drained.ask("run", "--drain", "--timeout", "60", DATA__DIR=str(data))
    assert refused.code == 71, refused
    accepted = await drained.ask("run", "--drain", "--timeout", "60", "--accept-loss", DATA__DIR=str(data))
    assert accepted.code == 0, accepted
    assert (await drained.ask("replay", "--verify", DATA__DIR=str(data))).code == 0


@pytest.mark.requirement("I5", "R230")
async def test_replay_verify_finds_one_changed_row_in_any_live_table(drained: World, tmp_path: Path) -> None:
    assert (await verify_replay(drained, drained.data)).code == 0
    assert EDITS.keys() == TABLES.names
    for table, statement in EDITS.items():
        data = shutil.copytree(drained.data, tmp_path / table)
        with edited(data) as file:
            assert file.execute(statement).rowcount == 1, f"{table} has no row to change"
        answer = await verify_replay(drained, data)
        report = json.loads(answer.out)
        assert (answer.code, report["equal"], report["differences"]) == (3, False, 1), (table, answer)
        assert f"differs: {table} " in answer.err, (table, answer)
        assert report["digest"] != report["live_digest"], table


MENDED: Final = {
    "a ticket": EDITS["ticket"],
    "counters": "UPDATE stream SET version = version - 1 WHERE stream = (SELECT max(stream) FROM stream)",
    "a last position": "UPDATE stream SET last = last - 1 WHERE stream = (SELECT max(stream) FROM stream)",
    "a stream": "DELETE FROM stream WHERE stream = (SELECT max(stream) FROM stream)",
    "a compact form": "UPDATE compact SET data = CAST(substr(data, 1, 9) || 'x' || substr(data, 11) AS BLOB)"
    " WHERE position = (SELECT max(position) FROM compact)",
    "a compact form that is no text": "UPDATE compact SET data = data || ''"
    " WHERE position = (SELECT max(position) FROM compact)",
    "no compact form": "DELETE FROM compact WHERE stream = (SELECT max(stream) FROM compact)",
    "another codec": "UPDATE compact SET data = CAST(x'00' || substr(data, 2) AS BLOB)",
}
"""What somebody did to what a replay writes anew, or reads in place of the log."""


@pytest.mark.requirement("I5", "R230")
@pytest.mark.parametrize("processes", [1, 2])
async def test_a_replay_mends_whatever_is_not_the_log(drained: World, tmp_path: Path, processes: int) -> None:
    intact = digest_live_state(drained.data), digest_database(drained.data, "compact")
    for name, statement in MENDED.items():
        data = shutil.copytree(drained.data, tmp_path / name)
        with edited(data) as file:
            assert file.execute(statement).rowcount, name
        whole = await drained.ask("replay", "--processes", str(processes), DATA__DIR=str(data))
        assert whole.code == 0, (name, whole)
        assert (digest_live_state(data), digest_database(data, "compact")) == intact, name


@pytest.mark.requirement("I5")
async def test_several_processes_verify_what_one_does(drained: World) -> None:
    reports = [
        json.loads((await drained.ask("replay", "--verify", "--processes", str(processes))).out) for processes in (1, 3)
    ]
    for report in reports:
        assert report.pop("seconds") > 0
        assert report.pop("events_per_second") > 0
    assert reports[0] == reports[1]
    assert reports[0]["equal"]


@pytest.mark.requirement("I6")
@pytest.mark.parametrize("processes", [1, 2])
async def test_an_event_that_is_gone_ends_a_verification(drained: World, tmp_path: Path, processes: int) -> None:
    data = shutil.copytree(drained.data, tmp_path / "data")
    with edited(data) as file:
        file.execute("DELETE FROM event WHERE position = (SELECT max(position) FROM event) - 2")
    answer = await drained.ask("replay", "--verify", "--processes", str(processes), DATA__DIR=str(data))
    assert answer.code == 71, answer


@pytest.mark.slow
@pytest.mark.requirement("I5", "R230")
async def test_a_killed_replay_leaves_live_state_alone_and_a_whole_one_mends_it(tmp_path: Path) -> None:
    async with open_world(tmp_path, Plan(tickets=0)) as world:
        await write_big_log(world.data)
        intact = digest_live_state(world.data)
        with edited(world.data) as file:
            file.execute("UPDATE ticket SET data = data || ' ' WHERE stream = (SELECT max(stream) FROM ticket)")
        marked = digest_live_state(world.data)
        await kill_replay(world, when=is_begun)
        assert digest_live_state(world.data) == marked
        await kill_replay(world, when=is_folded)
        assert digest_live_state(world.data) in (marked, intact), "neither the old live state nor the new one"
        whole = await world.ask("replay")
        assert whole.code == 0, whole
        assert digest_live_state(world.data) == intact
        verified = await verify_replay(world, world.data)
        assert (verified.code, json.loads(verified.out)["equal"]) == (0, True), verified
        assert json.loads(whole.out)["digest"] == json.loads(verified.out)["live_digest"]
        assert not list(world.data.glob("rebuild-*")), "what the killed ones left was not swept"


async def kill_replay(world: World, *, when: Callable[[Path], bool]) -> None:
    """Begin to replace live state and kill it as soon as it has come that far; it may be over just then."""
    for path in world.data.glob("rebuild-*"):
        path.unlink()
    async with await world.begin("replay") as running:
        await wait_for(lambda: running.is_over or when(world.data))
        running.send(signal.SIGKILL)
        assert await running.ended() in (-signal.SIGKILL, 0), running.said


def is_begun(data: Path) -> bool:
    """Whether a rebuild has its file."""
    return any(data.glob("rebuild-*.db"))


def is_folded(data: Path) -> bool:
    """Whether all rows are in that file, and are about to be put in place."""
    try:
        return any(path.stat().st_size for path in data.glob("rebuild-*.db"))
    except FileNotFoundError:  # it was put in place meanwhile
        return True


async def verify_replay(world: World, data: Path) -> Answer:
    """Rebuild aside and compare."""
    return await world.ask("replay", "--verify", DATA__DIR=str(data))


def digest_live_state(data: Path) -> str:
    """A digest of all live rows and counters."""
    return digest_database(data, *sorted(TABLES.names), "stream")


def digest_database(data: Path, *tables: str) -> str:
    """A digest of some tables' rows as SQLite shows them."""
    digest = hashlib.sha256()
    with edited(data) as file:
        for table in tables:
            for row in file.execute(f"SELECT * FROM {table} ORDER BY 1, 2"):  # noqa: S608 - names from our own list
                digest.update(repr((table, row)).encode())
    return digest.hexdigest()


@contextmanager
def edited(data: Path) -> Iterator[sqlite3.Connection]:
    """Another program's hands on the database."""
    with closing(sqlite3.connect(data / DATABASE)) as file, file:
        yield file


async def write_big_log(data: Path) -> None:
    """A log of many tickets with their live state, as a processor leaves it before any effect was done."""
    clock = SystemClock()
    store = await open_store(DataConfig(dir=data), TABLES, now=clock.now, identity={"host": "127.0.0.1"})
    lives = generate_lives(1, tickets=BIG_LOG_TICKETS, base_time_ms=clock.now() // 1000)
    events = [to_event(message) for message in order_messages(lives)]
    streams: defaultdict[str, list[RecordedEvent]] = defaultdict(list)
    for recorded in (await store.commit(Batch(events=events))).events:
        assert recorded is not None
        streams[recorded.stream].append(recorded)
    async with anyio.create_task_group() as deciding:
        for stream, recorded_events in streams.items():
            fold = StreamFold(stream, MACHINES.of(stream))
            fold.extend(recorded_events)
            step = take_step(
                fold,
                policy=Policy(),
                client_name="testClient",
                limit=len(recorded_events),
                snapshot_events=Limits().snapshot_events,
            )
            deciding.start_soon(store.commit, step.batch)
    await store.aclose()


def to_event(message: QueueMessage) -> NewEvent:
    """What the log keeps of a message that was received."""
    wire = {"MessageId": message.message_id, "Attributes": message.attributes, "Body": msgspec.Raw(message.body)}
    envelope = decode_message(msgspec.json.encode(wire))
    return NewEvent(envelope.stream, Kind.MESSAGE_RECEIVED, envelope.payload, message_key=envelope.key, wanted=True)
