"""Whatever is done to a log behind its back is found, and at the right position (I6)."""

from __future__ import annotations

import random
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import anyio
import pytest

from ecproc.domain.log import Batch, NewEvent, Row
from ecproc.errors import StoreError
from ecproc.store.base import Damage, Head, VerifiedLog
from ecproc.store.chain import NO_HASH, link, payload_hash
from ecproc.store.sqlite.datadir import DataDir, read_anchor
from ecproc.store.sqlite.verify import verify_log
from ecproc.testing.store import make_message, make_row
from tests.conformance.sqlite_stores import sqlite_store

EVENTS = 120
PAGE = 8192
COLUMNS = ("stream", "version", "prev", "at", "kind", "message_key", "payload", "payload_hash", "hash")

Connection = sqlite3.Connection
Mutation = Callable[[Path, random.Random], int]
"""Changes a log and says the position that must be found."""


def make_events(number: int, chance: random.Random) -> list[NewEvent]:
    stream = f"e-CS{chance.randrange(9):07}"
    payload = b"<%d>" % number + chance.randbytes(chance.choice([20, 300, 3000, 30_000]))
    return [make_message(number, stream=stream, payload=payload), NewEvent(stream, "Decided", b"[%d]" % number)]


async def write_log(directory: Path) -> None:
    """A log, copied once as it stands while it is open and once closed."""
    chance = random.Random(1)
    async with sqlite_store(directory / "live") as store:
        for number in range(EVENTS // 2):
            await store.commit(Batch(events=make_events(number, chance), rows=[make_row(str(number))]))
        head = await store.head()
        with anyio.fail_after(10):
            while read_anchor(directory / "live") != head:  # noqa: ASYNC110 - a file has no signal
                await anyio.sleep(0.01)
        shutil.copytree(directory / "live", directory / "open")
    (directory / "live").rename(directory / "closed")


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("logs")
    anyio.run(write_log, directory)
    return directory


def connect(directory: Path) -> closing[Connection]:
    return closing(sqlite3.connect(directory / "ecproc.db", isolation_level=None))


def read_rows(connection: Connection) -> list[tuple[Any, ...]]:
    return connection.execute("SELECT * FROM event ORDER BY position").fetchall()


def flip(data: bytes, chance: random.Random) -> bytes:
    at = chance.randrange(len(data))
    return data[:at] + bytes([data[at] ^ 1 << chance.randrange(8)]) + data[at + 1 :]


def flip_file(path: Path, at: int, chance: random.Random) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1 << chance.randrange(8)
    path.write_bytes(data)


# --- what can happen to a log; each function tells where


def change_column(directory: Path, chance: random.Random) -> int:
    position = chance.randrange(1, EVENTS + 1)
    column = chance.choice(COLUMNS)
    with connect(directory) as connection:
        (value,) = connection.execute(f"SELECT {column} FROM event WHERE position = ?", (position,)).fetchone()  # noqa: S608
        other: object
        if isinstance(value, int):
            other = value + chance.choice([-(10**6), 1000, 10**9])
        elif isinstance(value, str):
            other = value + chance.choice(["x", "\x00", " "])
        elif column == "message_key":
            other = b"made up" if value is None else value + b"x"
        else:
            other = flip(value, chance)
        connection.execute(f"UPDATE event SET {column} = ? WHERE position = ?", (other, position))  # noqa: S608
    return position


def change_type(directory: Path, chance: random.Random) -> int:
    position = chance.randrange(1, EVENTS + 1)
    column = chance.choice(["at", "version", "prev", "payload", "payload_hash", "hash"])
    other = {"at": b"1", "version": "one", "prev": "none"}.get(column, "text")
    with connect(directory) as connection:
        connection.execute(f"UPDATE event SET {column} = ? WHERE position = ?", (other, position))  # noqa: S608
    return position


def change_position(directory: Path, chance: random.Random) -> int:
    position = chance.randrange(1, EVENTS + 1)
    with connect(directory) as connection:
        connection.execute("UPDATE event SET position = position + 1000 WHERE position = ?", (position,))
    return position


def delete_some(directory: Path, chance: random.Random) -> int:
    first = chance.randrange(1, EVENTS + 1)
    with connect(directory) as connection:
        connection.execute("DELETE FROM event WHERE position BETWEEN ? AND ?", (first, first + chance.randrange(4)))
    return first


def delete_tail(directory: Path, chance: random.Random) -> int:
    first = chance.randrange(1, EVENTS + 1)
    with connect(directory) as connection:
        connection.execute("DELETE FROM event WHERE position >= ?", (first,))
    return first


def swap_two(directory: Path, chance: random.Random) -> int:
    first, second = sorted(chance.sample(range(1, EVENTS + 1), 2))
    with connect(directory) as connection:
        for before, after in ((first, -1), (second, first), (-1, second)):
            connection.execute("UPDATE event SET position = ? WHERE position = ?", (after, before))
    return first


def flip_payload_in_file(directory: Path, chance: random.Random) -> int:
    number = chance.randrange(EVENTS // 2)
    path = directory / "ecproc.db"
    at = path.read_bytes().index(b"<%d>" % number)
    flip_file(path, at, chance)
    return 2 * number + 1


def cut_file(directory: Path, chance: random.Random) -> int:
    path = directory / "ecproc.db"
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.truncate(chance.randrange(1, size - PAGE))
    return 1


def cut_write_ahead_log(directory: Path, chance: random.Random) -> int:
    path = directory / "ecproc.db-wal"
    with path.open("r+b") as file:
        file.truncate(chance.randrange(path.stat().st_size // 2, path.stat().st_size))
    return _first_missing(directory)


def flip_write_ahead_log(directory: Path, chance: random.Random) -> int:
    path = directory / "ecproc.db-wal"
    flip_file(path, chance.randrange(path.stat().st_size // 2, path.stat().st_size), chance)
    return _first_missing(directory)


def _first_missing(directory: Path) -> int:
    with connect(directory) as connection:
        (head,) = connection.execute("SELECT max(position) FROM event").fetchone()
    assert head < EVENTS
    return int(head) + 1


CLOSED_LOG: list[Mutation] = [
    change_column,
    change_column,
    change_type,
    change_position,
    delete_some,
    delete_tail,
    swap_two,
    flip_payload_in_file,
    cut_file,
]
OPEN_LOG: list[Mutation] = [cut_write_ahead_log, flip_write_ahead_log]
CASES = [(CLOSED_LOG[seed % len(CLOSED_LOG)], "closed", seed) for seed in range(180)]
CASES += [(OPEN_LOG[seed % len(OPEN_LOG)], "open", seed) for seed in range(20)]


@pytest.mark.requirement("I6")
def test_every_mutation_is_found_at_its_position(logs: Path, tmp_path: Path) -> None:
    assert len(CASES) == 200
    for mutate, log, seed in CASES:
        directory = tmp_path / f"{mutate.__name__}-{seed}"
        shutil.copytree(logs / log, directory)
        expected = mutate(directory, random.Random(seed))
        found = verify_log(directory)
        assert isinstance(found, Damage), (mutate.__name__, seed)
        assert found.position == expected, (mutate.__name__, seed, found.reason)
        shutil.rmtree(directory)


@pytest.mark.requirement("I6")
@pytest.mark.parametrize("log", ["open", "closed"])
def test_a_sound_log_is_clean(logs: Path, tmp_path: Path, log: str) -> None:
    shutil.copytree(logs / log, tmp_path / "log")
    with connect(tmp_path / "log") as connection:
        last = read_rows(connection)[-1]
    assert verify_log(tmp_path / "log") == VerifiedLog(EVENTS, Head(EVENTS, last[-1]))


def test_live_rows_are_not_the_log(logs: Path, tmp_path: Path) -> None:
    shutil.copytree(logs / "closed", tmp_path / "log")
    with connect(tmp_path / "log") as connection:
        connection.execute("DELETE FROM note")
    assert isinstance(verify_log(tmp_path / "log"), VerifiedLog)


@pytest.mark.requirement("I6")
def test_any_flipped_bit_of_the_file_is_found_where_it_shows(logs: Path, tmp_path: Path) -> None:
    """A bit outside the events may pass; one that changes an event must not, nor be reported for another event."""
    with connect(logs / "closed") as connection:
        rows = read_rows(connection)
    found_at = []
    for seed in range(150):
        directory = tmp_path / str(seed)
        shutil.copytree(logs / "closed", directory)
        chance = random.Random(seed)
        path = directory / "ecproc.db"
        flip_file(path, chance.randrange(path.stat().st_size), chance)
        found, changed = _verify_or_refuse(directory), _first_changed(directory, rows)
        if changed is not None:
            assert isinstance(found, Damage), seed
            assert found.position in (changed, 0), (seed, found.reason)
            found_at.append(changed)
        shutil.rmtree(directory)
    assert len(found_at) > 50


def _verify_or_refuse(directory: Path) -> Damage | VerifiedLog:
    try:
        return verify_log(directory)
    except StoreError as refused:
        return Damage(0, str(refused))


def _first_changed(directory: Path, rows: list[tuple[Any, ...]]) -> int | None:
    """What an oracle that knows the events says: each is looked up by its position."""
    with connect(directory) as connection:
        for position, row in enumerate(rows, start=1):
            try:
                same = connection.execute("SELECT * FROM event WHERE position = ?", (position,)).fetchone() == row
            except sqlite3.Error:
                same = False
            if not same:
                return position
    return None


def _rechain(directory: Path, *changes: str) -> None:
    """Change the log and link it anew, as somebody who knows the format would."""
    with connect(directory) as connection:
        for change in changes:
            connection.execute(change)
        before = NO_HASH
        events = "SELECT position, stream, version, at, kind, message_key, payload FROM event ORDER BY position"
        for position, stream, version, at, kind, key, payload in connection.execute(events).fetchall():
            digest = payload_hash(payload)
            before = link(
                before,
                position,
                at=at,
                kind=kind,
                stream=stream,
                version=version,
                message_key=key,
                payload_hash=digest,
            )
            change = "UPDATE event SET payload_hash = ?, hash = ? WHERE position = ?"
            connection.execute(change, (digest, before, position))


def _anchor_anew(directory: Path) -> None:
    """Let the anchor name the log's end as it is now."""
    with connect(directory) as connection:
        (position, digest) = connection.execute("SELECT position, hash FROM event ORDER BY position DESC").fetchone()
    data_dir = DataDir.acquire(directory)
    data_dir.write_anchor(Head(position, digest))
    data_dir.release()


@pytest.mark.requirement("I6")
def test_a_log_that_was_linked_anew_is_found_by_its_anchor(logs: Path, tmp_path: Path) -> None:
    shutil.copytree(logs / "closed", tmp_path / "log")
    _rechain(tmp_path / "log", "UPDATE event SET payload = x'00' WHERE position = 30")
    found = verify_log(tmp_path / "log")
    assert isinstance(found, Damage)
    assert found.position == EVENTS


@pytest.mark.requirement("I6")
@pytest.mark.parametrize("position", [1, 30, EVENTS - 1, EVENTS])
@pytest.mark.parametrize(
    "change",
    [
        "version = version + 100",
        "version = version + 1",
        "version = version - 1",
        "version = version - 100",
        "version = 3 - version % 2",
        "stream = 'e-new'",
        "stream = stream || 'x', version = 1",
        "stream = stream || 'x', version = 1, prev = 0",
    ],
)
def test_versions_that_are_not_gapless_are_found_even_if_they_are_linked(
    logs: Path, tmp_path: Path, change: str, position: int
) -> None:
    shutil.copytree(logs / "closed", tmp_path / "log")
    with connect(tmp_path / "log") as connection:
        before = _list_order(connection)
    _rechain(tmp_path / "log", f"UPDATE event SET {change} WHERE position = {position}")  # noqa: S608
    _anchor_anew(tmp_path / "log")
    with connect(tmp_path / "log") as connection:
        expected = _first_out_of_order(connection)
        assert _list_order(connection) != before
    found = verify_log(tmp_path / "log")
    assert (found.position if isinstance(found, Damage) else None) == expected


@pytest.mark.requirement("I6")
def test_versions_that_were_exchanged_are_found_even_if_they_are_linked(logs: Path, tmp_path: Path) -> None:
    shutil.copytree(logs / "closed", tmp_path / "log")
    with connect(tmp_path / "log") as connection:
        rows = _list_order(connection)
    first, second = [row for row in rows if row[1] == rows[50][1]][2:6:3]
    changes = [
        f"UPDATE event SET version = {version} WHERE position = {position}"  # noqa: S608
        for position, version in ((first[0], second[2]), (second[0], first[2]))
    ]
    _rechain(tmp_path / "log", *changes)
    _anchor_anew(tmp_path / "log")
    found = verify_log(tmp_path / "log")
    assert isinstance(found, Damage)
    assert found.position == first[0]


@pytest.mark.requirement("I6")
@pytest.mark.parametrize("position", [1, 30, 31, EVENTS])
@pytest.mark.parametrize("prev", ["0", "-1", "position", "position - 1", "position + 1", "position + 1000", "prev + 1"])
def test_an_event_that_names_another_before_it_in_its_stream_is_found(
    logs: Path, tmp_path: Path, prev: str, position: int
) -> None:
    """What `prev` says is not in the chain: it follows from the versions."""
    shutil.copytree(logs / "closed", tmp_path / "log")
    where = f"position = {position} AND prev <> {prev}"
    with connect(tmp_path / "log") as connection:
        changed = connection.execute(f"UPDATE event SET prev = {prev} WHERE {where}").rowcount  # noqa: S608
    found = verify_log(tmp_path / "log")
    assert (found.position if isinstance(found, Damage) else 0) == position * changed


def _list_order(connection: Connection) -> list[tuple[Any, ...]]:
    return connection.execute("SELECT position, stream, version, prev FROM event ORDER BY position").fetchall()


def _first_out_of_order(connection: Connection) -> int | None:
    """What an oracle says that reads the log in order: who does not follow on the last event of its stream."""
    ends: dict[str, tuple[int, int]] = {}
    for position, stream, version, prev in _list_order(connection):
        if (version - 1, prev) != ends.get(stream, (0, 0)):
            return int(position)
        ends[stream] = (version, position)
    return None


@pytest.mark.requirement("I6", "I2")
def test_an_index_that_lost_a_message_is_found(logs: Path, tmp_path: Path) -> None:
    shutil.copytree(logs / "closed", tmp_path / "log")
    change_key = "UPDATE event SET message_key = ? WHERE position = 31"
    with connect(tmp_path / "log") as connection:
        (key,) = connection.execute("SELECT message_key FROM event WHERE position = 31").fetchone()
        definition = connection.execute("SELECT * FROM sqlite_master WHERE name = 'event_message'").fetchone()
        connection.execute(change_key, (b"another",))
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute("DELETE FROM sqlite_master WHERE name = 'event_message'")
    with connect(tmp_path / "log") as connection:
        connection.execute(change_key, (key,))
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute("INSERT INTO sqlite_master VALUES (?, ?, ?, ?, ?)", definition)
    found = verify_log(tmp_path / "log")
    assert isinstance(found, Damage)
    assert found.position == 31


def test_a_row_of_an_unknown_anchor_is_ignored_for_an_empty_log(tmp_path: Path) -> None:
    async def create() -> None:
        async with sqlite_store(tmp_path):
            pass

    anyio.run(create)
    assert verify_log(tmp_path) == VerifiedLog(0, Head(0, NO_HASH))
    data_dir = DataDir.acquire(tmp_path)
    data_dir.write_anchor(Head(3, bytes(32)))
    data_dir.release()
    assert verify_log(tmp_path) == Damage(1, "the log ends at position 0, but its anchor says that it reached 3")


def test_there_must_be_a_log(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no event log"):
        verify_log(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_log_is_verified_while_it_is_written(tmp_path: Path) -> None:
    async def write_and_verify() -> None:
        async with sqlite_store(tmp_path) as store, anyio.create_task_group() as group:

            async def write() -> None:
                for number in range(200):
                    await store.commit(
                        Batch(events=[make_message(number)], rows=[Row("note", "s", "a", number, b"{}")])
                    )

            group.start_soon(write)
            for _ in range(5):
                found = await anyio.to_thread.run_sync(verify_log, tmp_path)
                assert isinstance(found, VerifiedLog)

    anyio.run(write_and_verify)
