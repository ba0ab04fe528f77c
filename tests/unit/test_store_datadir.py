"""What an operator is told about a data directory that cannot be used."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from ecproc.errors import DataDirInUse, DataDirUnusable
from ecproc.store.sqlite.datadir import DataDir, check_readable, describe_trouble, find_holder


@pytest.mark.parametrize(
    ("number", "remedy"),
    [
        (errno.EACCES, "chown"),
        (errno.EPERM, "chown"),
        (errno.EROFS, "mount it for writing"),
        (errno.ENOSPC, "free some space"),
        (errno.ELOOP, "ECPROC_DATA__DIR"),
    ],
)
def test_each_reason_has_a_remedy(number: int, remedy: str, tmp_path: Path) -> None:
    told = describe_trouble(tmp_path, OSError(number, os.strerror(number)))
    assert str(told) == f"cannot use the data directory {tmp_path} (data.dir): {os.strerror(number)}"
    assert remedy in told.hint


def test_a_link_that_leads_nowhere_is_named_and_left_as_it_is(tmp_path: Path) -> None:
    link = tmp_path / "data"
    link.symlink_to(tmp_path / "unmounted" / "disk")
    for use in (DataDir.acquire, check_readable):
        with pytest.raises(DataDirUnusable, match=f"{link} is a link to {tmp_path}/unmounted/disk, which is not there"):
            use(link)
    assert not (tmp_path / "unmounted").exists()


def test_a_log_that_others_keep_from_us_is_no_missing_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "ecproc.db").touch()
    check_readable(tmp_path)
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # as for a user without rights, which root has not
    with pytest.raises(DataDirUnusable, match="Permission denied"):
        check_readable(tmp_path)


@pytest.mark.parametrize("name", ["ecproc.db", "ecproc.db-wal", "ecproc.db-shm"])
def test_files_that_sqlite_could_not_open_are_told_before_it_tries(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    held = DataDir.acquire(tmp_path)
    try:
        (tmp_path / name).touch()
        held.check_files()
        with monkeypatch.context() as patch:
            patch.setattr(os, "access", lambda path, mode: False)  # as for a user without rights, which root has not
            with pytest.raises(DataDirUnusable, match=f"{name}.*Permission denied"):
                held.check_files()
        (tmp_path / name).unlink()
        (tmp_path / name).mkdir()
        with pytest.raises(DataDirUnusable, match=f"{name}.*no file"):
            held.check_files()
    finally:
        held.release()


def test_nothing_there_is_no_trouble(tmp_path: Path) -> None:
    check_readable(tmp_path / "not" / "yet")


def test_a_directory_in_use_is_told_as_such(tmp_path: Path) -> None:
    held = DataDir.acquire(tmp_path)
    try:
        with pytest.raises(DataDirInUse, match=f"process {os.getpid()}"):
            DataDir.acquire(tmp_path)
    finally:
        held.release()


def test_who_holds_a_directory_is_told_and_asking_takes_nothing(tmp_path: Path) -> None:
    assert find_holder(tmp_path / "missing") is None
    for _ in range(2):
        held = DataDir.acquire(tmp_path)
        try:
            holder = find_holder(tmp_path)
            assert holder is not None
            assert holder.pid == os.getpid()
        finally:
            held.release()
        assert find_holder(tmp_path) is None
