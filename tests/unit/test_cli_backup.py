"""`log backup` and `log stats`, called in this process on a small data directory."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import sqlite3
import sys
from collections.abc import Callable
from contextlib import closing
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, Final

import anyio
import msgspec
import pytest

from ecproc.attachments.store import ContentStore
from ecproc.backup import Backup, BackupRefused, Manifest
from ecproc.cli import backup as cli_backup
from ecproc.cli import main
from ecproc.clock import SystemClock
from ecproc.config import Config, DataConfig
from ecproc.desk.local import LocalDesk
from ecproc.domain.log import Batch, NewEvent
from ecproc.errors import ExitCode
from ecproc.fold.tables import TABLES
from ecproc.reading.opening import open_reading
from ecproc.reading.stats import LEAST, WINDOW, LogStats, estimate_days, estimate_rate, measure_log
from ecproc.room import Room
from ecproc.store.opening import open_store, verify_log
from ecproc.testing.desk import make_call

pytestmark = pytest.mark.usefixtures("logging_restored")

STARTED: Final = 1_700_000_000_000_000
DAY: Final = 86_400_000_000
CONTENT: Final = b"what was attached"
DIGEST: Final = hashlib.sha256(CONTENT).hexdigest()

Call = Callable[..., str]


async def build(directory: Path, *, step: int = 1_000_000, events: int = 8) -> None:
    """A log with some events, the desk's file with one ticket, and one stored file."""
    ticking = count(STARTED, step)
    store = await open_store(
        DataConfig(dir=directory, reserve_bytes=0), TABLES, now=lambda: next(ticking), identity={"host": "h"}
    )
    for number in range(events - 1):
        await store.commit(Batch([NewEvent(f"e-CS{number}", "Other", b"{}")]))
    await store.aclose()
    desk = await LocalDesk.open(directory / "desk.db", clock=SystemClock(), room=Room(directory, reserve_bytes=0))
    await desk.perform(make_call("create:e-CS1:g1"))
    await desk.aclose()
    contents = ContentStore(directory)
    await contents.sweep()
    async with contents.receive() as upload:
        await upload.write(CONTENT)
        await upload.keep()


@pytest.fixture
def data(tmp_path: Path) -> Path:
    directory = tmp_path / "data"
    anyio.run(partial(build, directory))
    return directory


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def call(
    data: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str], said: list[str]
) -> Call:
    """Run a command and give what it printed; it must exit with `code`. What it said of it stands in `said`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ECPROC_DATA__DIR", str(data))
    monkeypatch.setenv("ECPROC_DATA__RESERVE_BYTES", "0")

    def run(*arguments: str, code: int = 0) -> str:
        assert main(arguments) == code
        out, err = capsys.readouterr()
        said[:] = [err]
        return out

    return run


def make(data: Path, target: Path, *, free: int = 1 << 50, reserve: int = 0) -> Manifest:
    config = DataConfig(dir=data, reserve_bytes=reserve)
    return Backup(
        config,
        target,
        attachments=True,
        clock=SystemClock(),
        tell=lambda now: None,
        say=lambda text: None,
        free_bytes=lambda path: free,
    ).make()


def list_names(directory: Path) -> list[str]:
    return sorted(path.relative_to(directory).as_posix() for path in directory.rglob("*"))


# --- what a backup is


def test_a_backup_holds_log_desk_anchor_and_a_manifest(call: Call, data: Path, tmp_path: Path) -> None:
    document = json.loads(call("log", "backup", "copy"))
    copy = tmp_path / "copy"
    assert list_names(copy) == ["anchor", "desk.db", "ecproc.db", "manifest.json"]
    assert {path.stat().st_mode & 0o777 for path in copy.iterdir()} == {0o600}
    assert copy.stat().st_mode & 0o777 == 0o700
    manifest = json.loads((copy / "manifest.json").read_bytes())
    assert document == {"directory": str(copy), **manifest}
    verified = verify_log(DataConfig(dir=copy))
    assert verified == verify_log(DataConfig(dir=data))
    assert manifest["head"]["position"] == manifest["events"] == 8
    assert json.loads((copy / "anchor").read_bytes()) == manifest["head"]
    for file in manifest["files"]:
        content = (copy / file["name"]).read_bytes()
        assert (file["bytes"], file["sha256"]) == (len(content), hashlib.sha256(content).hexdigest())
    assert [file["name"] for file in manifest["files"]] == ["anchor", "desk.db", "ecproc.db"]
    assert manifest["attachments"] == {"included": False, "files": 0, "bytes": 0, "damaged": []}
    assert manifest["began_at"] <= manifest["ended_at"]


def test_a_backup_can_be_read_as_a_data_directory(call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = call("events")
    call("log", "backup", "copy")
    monkeypatch.setenv("ECPROC_DATA__DIR", str(tmp_path / "copy"))
    assert call("events") == before
    assert json.loads(call("log", "verify"))["ok"]
    with closing(sqlite3.connect(tmp_path / "copy" / "desk.db")) as desk:
        assert desk.execute("SELECT number FROM ticket").fetchall() == [("LOCAL-0000001",)]


def test_stored_files_are_copied_where_it_is_asked_for(call: Call, data: Path, tmp_path: Path) -> None:
    (data / "attachments" / "tmp" / "half").write_bytes(b"on its way")
    (data / "attachments" / "aa").mkdir()
    (data / "attachments" / "aa" / "stranger").write_bytes(b"none of ours")
    document = json.loads(call("log", "backup", "copy", "--attachments"))
    assert document["attachments"] == {"included": True, "files": 1, "bytes": len(CONTENT), "damaged": []}
    place = f"attachments/{DIGEST[:2]}/{DIGEST}"
    names = [name for name in list_names(tmp_path / "copy") if name.startswith("attachments")]
    assert names == ["attachments", f"attachments/{DIGEST[:2]}", place]
    assert (tmp_path / "copy" / place).read_bytes() == CONTENT
    assert (tmp_path / "copy" / place).stat().st_mode & 0o777 == 0o600
    folders = (path for path in (tmp_path / "copy").rglob("*") if path.is_dir())
    assert {path.name: path.stat().st_mode & 0o777 for path in folders} == {"attachments": 0o700, DIGEST[:2]: 0o700}


def test_a_stored_file_that_was_altered_is_named_and_left_out(
    call: Call, data: Path, tmp_path: Path, said: list[str]
) -> None:
    place = Path("attachments") / DIGEST[:2] / DIGEST
    (data / place).write_bytes(b"altered")
    document = json.loads(call("log", "backup", "copy", "--attachments", code=ExitCode.FINDINGS))
    assert document["attachments"] == {"included": True, "files": 0, "bytes": 0, "damaged": [DIGEST]}
    assert f"{place} is not what it was" in said[0]
    assert not (tmp_path / "copy" / place).exists()


def test_a_person_is_told_how_to_start_on_it(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    text = call("log", "backup", "copy")
    assert "copy holds 8 events" in text
    assert "ecproc run --accept-loss" in text


def test_a_data_directory_without_a_desk_is_copied_without_one(call: Call, data: Path, tmp_path: Path) -> None:
    (data / "desk.db").unlink()
    call("log", "backup", "copy")
    assert list_names(tmp_path / "copy") == ["anchor", "ecproc.db", "manifest.json"]


def test_a_terminal_sees_how_far_it_is(call: Call, monkeypatch: pytest.MonkeyPatch, said: list[str]) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setattr(cli_backup, "shows_motion", lambda: True)
    call("log", "backup", "copy")
    assert "checking" in said[0]


def test_progress_goes_up_to_all_of_it(data: Path, tmp_path: Path) -> None:
    seen: list[tuple[int, int, str]] = []
    made = Backup(
        DataConfig(dir=data, reserve_bytes=0),
        tmp_path / "copy",
        attachments=True,
        clock=SystemClock(),
        tell=lambda now: seen.append((now.copied, now.total, now.doing)),
        say=lambda text: None,
    ).make()
    assert [copied for copied, _, _ in seen] == sorted(copied for copied, _, _ in seen)
    size = sum(file.bytes for file in made.files if file.name != "anchor") + made.attachments.bytes
    assert {total for _, total, _ in seen} == {size}
    assert seen[0][2] == "copying"
    assert seen[-1] == (size, size, "checking")


# --- what is refused


def refuse(call: Call, target: str, said: list[str], reason: str) -> None:
    assert not call("log", "backup", target, code=ExitCode.FAILED)
    assert reason in said[0]


@pytest.mark.parametrize("kind", ["directory", "file", "link"])
def test_what_is_there_already_stays_as_it_is(call: Call, tmp_path: Path, said: list[str], kind: str) -> None:
    target = tmp_path / "copy"
    match kind:
        case "directory":
            target.mkdir()
        case "file":
            target.write_bytes(b"mine")
        case _:
            target.symlink_to("nowhere")
    before = list_names(tmp_path)
    refuse(call, "copy", said, "copy is there already")
    assert [name for name in list_names(tmp_path) if not name.startswith("data/")] == [
        name for name in before if not name.startswith("data/")
    ]


def test_a_place_inside_of_the_data_directory_is_refused_by_whatever_way(
    call: Call, data: Path, tmp_path: Path, said: list[str]
) -> None:
    (tmp_path / "link").symlink_to(data / "attachments")
    for target in ("data/copy", "data/attachments/copy", "link/copy", "data/../data/copy"):
        refuse(call, target, said, "is inside of the data directory")
    assert not (data / "copy").exists()


def test_a_place_that_is_not_there_is_refused(call: Call, said: list[str]) -> None:
    refuse(call, "nowhere/copy", said, "nowhere is no directory")


def test_a_copy_for_which_there_is_no_room_is_not_begun(data: Path, tmp_path: Path) -> None:
    need = sum((data / name).stat().st_size for name in ("ecproc.db", "desk.db")) + len(CONTENT)
    for reserve in (1 << 30, 1 << 25):
        with pytest.raises(BackupRefused, match="no room"):
            make(data, tmp_path / "copy", free=need + reserve - 1, reserve=reserve)
        assert list_names(tmp_path)[0].startswith("data")
    assert make(data, tmp_path / "copy", free=need + (1 << 30), reserve=1 << 30).events == 8


def test_no_log_is_no_backup(call: Call, data: Path, tmp_path: Path, said: list[str]) -> None:
    for name in ("ecproc.db", "anchor"):
        (data / name).unlink()
    refuse(call, "copy", said, "there is no event log")
    assert not (tmp_path / "copy").exists()


@pytest.mark.requirement("I6")
def test_a_damaged_log_leaves_nothing_behind(call: Call, data: Path, tmp_path: Path, said: list[str]) -> None:
    with closing(sqlite3.connect(data / "ecproc.db", isolation_level=None)) as file:
        file.execute("UPDATE event SET kind = 'Another' WHERE position = 3")
    call("log", "backup", "copy", code=ExitCode.LOG_DAMAGED)
    assert "position 3" in said[0]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data"]


def test_a_damaged_desk_leaves_nothing_behind(call: Call, data: Path, tmp_path: Path, said: list[str]) -> None:
    (data / "desk.db").write_bytes(b"SQLite format 3\x00" + b"\xff" * 4080)
    call("log", "backup", "copy", code=ExitCode.STORAGE)
    assert "desk.db cannot be copied" in said[0]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data"]


# --- what a killed one left


def test_what_a_killed_backup_left_is_named_and_removed(call: Call, tmp_path: Path, said: list[str]) -> None:
    part = tmp_path / "copy.part"
    (part / "attachments" / "aa").mkdir(parents=True)
    (part / "ecproc.db").write_bytes(b"half")
    call("log", "backup", "copy")
    assert f"removed {Path('copy.part')}" in said[0]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["copy", "data"]


@pytest.mark.parametrize("name", ["ecproc.db", "desk.db"])
@pytest.mark.parametrize("mode", ["WAL", "PERSIST"])
def test_what_was_left_while_it_was_written_to_is_removed_too(
    call: Call, data: Path, tmp_path: Path, name: str, mode: str
) -> None:
    part = tmp_path / "copy.part"
    part.mkdir()
    shutil.copy(data / name, part)
    with closing(sqlite3.connect(part / name, isolation_level=None)) as left:
        left.execute(f"PRAGMA journal_mode = {mode}")
        left.execute("CREATE TABLE marked (x)")
        assert len(list_names(part)) > 1
        call("log", "backup", "copy")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["copy", "data"]


@pytest.mark.parametrize("kind", ["other", "file", "link"])
def test_what_only_looks_like_it_stays(call: Call, tmp_path: Path, said: list[str], kind: str) -> None:
    part = tmp_path / "copy.part"
    match kind:
        case "other":
            part.mkdir()
            (part / "thesis.tex").write_bytes(b"")
        case "file":
            part.write_bytes(b"")
        case _:
            part.symlink_to(tmp_path / "data")
    refuse(call, "copy", said, "no unfinished backup")
    assert os.path.lexists(part)
    assert (tmp_path / "data" / "ecproc.db").exists()


def test_a_backup_that_another_process_writes_is_left_alone(call: Call, tmp_path: Path, said: list[str]) -> None:
    part = tmp_path / "copy.part"
    part.mkdir()
    held = os.open(part, os.O_RDONLY)
    try:
        fcntl.flock(held, fcntl.LOCK_EX)
        refuse(call, "copy", said, "another backup is being written")
        assert part.exists()
    finally:
        os.close(held)


@pytest.mark.parametrize("moment", ["before it is opened", "before it is locked"])
def test_of_two_backups_of_one_name_one_is_whole_and_the_other_refused(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    target, part = tmp_path / "copy", tmp_path / "copy.part"
    module, name = (os, "open") if moment == "before it is opened" else (fcntl, "flock")
    call = getattr(module, name)
    others: list[Manifest] = []

    def let_another_by(about: Any, *rest: Any) -> Any:
        place = about if isinstance(about, Path) else Path(f"/proc/self/fd/{about}").readlink()
        if place == part:
            monkeypatch.setattr(module, name, call)
            others.append(make(data, target))
        return call(about, *rest)

    monkeypatch.setattr(module, name, let_another_by)
    with pytest.raises(BackupRefused, match="another backup is being written"):
        make(data, target)
    assert msgspec.json.decode((target / "manifest.json").read_bytes(), type=Manifest) == others[0]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["copy", "data"]


# --- stats


def stats(data: Path, *, now: int, free: int, reserve: int = 0) -> LogStats:
    config = Config(data=DataConfig(dir=data, reserve_bytes=reserve))

    async def measure() -> LogStats:
        async with open_reading(config) as reader:
            return await measure_log(reader, config.data, now=now, free_bytes=lambda path: free)

    return anyio.run(measure)


def test_stats_are_the_members_of_the_contract(call: Call, data: Path) -> None:
    document = json.loads(call("log", "stats"))
    assert list(document) == [
        *("events", "bytes", "bytes_per_day", "days_left"),
        *("wal_bytes", "attachments_bytes", "oldest", "newest"),
    ]
    assert document["events"] == 8
    assert document["bytes"] >= (data / "ecproc.db").stat().st_size
    assert document["attachments_bytes"] == len(CONTENT)
    assert document["wal_bytes"] == 0
    assert document["oldest"] == "2023-11-14T22:13:20.000000Z" < document["newest"]


def test_the_rate_is_that_of_the_last_seven_days(tmp_path: Path) -> None:
    data = tmp_path / "data"
    anyio.run(partial(build, data, step=DAY, events=21))  # the last one 20 days after the first
    os.utime(data / "attachments" / DIGEST[:2] / DIGEST, (0, (STARTED + 19 * DAY) / 1_000_000))
    found = stats(data, now=STARTED + 20 * DAY, free=10**9 + 500, reserve=500)
    assert found.bytes_per_day is not None
    assert found.bytes_per_day == (found.bytes * 7 // 21 + len(CONTENT)) // 7
    assert found.days_left == round(10**9 / found.bytes_per_day, 1)
    os.utime(data / "attachments" / DIGEST[:2] / DIGEST, (0, STARTED / 1_000_000))
    later = stats(data, now=STARTED + 20 * DAY, free=10**9)
    assert later.bytes_per_day == later.bytes * 7 // 21 // 7
    assert later.attachments_bytes == found.attachments_bytes


def test_nothing_is_said_of_a_rate_that_is_not_known() -> None:
    assert estimate_rate(1000, span=LEAST - 1) is None
    assert estimate_rate(1000, span=LEAST) == 24_000
    assert estimate_rate(7000, span=WINDOW) == 1000
    assert estimate_days(10_000, None) is None
    assert estimate_days(10_000, 0) is None  # nothing grows
    assert estimate_days(10_000, 1000) == 10
    assert estimate_days(-1, 1000) == 0


def test_stats_are_a_table_for_a_person(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    text = call("log", "stats")
    assert "bytes per day" in text
    assert "2023-11-14T22:13:20" in text


def test_stats_of_no_log_fail(call: Call, data: Path, said: list[str]) -> None:
    for name in ("ecproc.db", "anchor"):
        (data / name).unlink()
    call("log", "stats", code=ExitCode.FAILED)
    assert "there is no event log" in said[0]
