"""What checks leave in a data directory: one is replaced, the other stays, and nothing of it can fail a command."""

from __future__ import annotations

from pathlib import Path

import pytest

from ecproc.store.checks import CHECKS, Checks, LogVerified, ReplayVerified, note_check, read_checks

NOW = 1_700_000_000_000_000


def test_nothing_is_known_of_a_directory_that_was_never_checked(tmp_path: Path) -> None:
    assert read_checks(tmp_path) == read_checks(tmp_path / "none") == Checks(None, None)


def test_each_check_replaces_its_own_former_one(tmp_path: Path) -> None:
    note_check(tmp_path, LogVerified(NOW))
    note_check(tmp_path, ReplayVerified(NOW + 1, True))
    assert read_checks(tmp_path) == Checks(NOW, True)
    note_check(tmp_path, ReplayVerified(NOW + 2, False))
    note_check(tmp_path, LogVerified(NOW + 3))
    assert read_checks(tmp_path) == Checks(NOW + 3, False)
    assert [path.name for path in tmp_path.iterdir()] == [CHECKS]
    assert (tmp_path / CHECKS).stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"log_verify":{"at":"x"}}', b"\xff"])
def test_what_we_did_not_write_says_nothing_and_is_replaced(tmp_path: Path, content: bytes) -> None:
    (tmp_path / CHECKS).write_bytes(content)
    assert read_checks(tmp_path) == Checks(None, None)
    note_check(tmp_path, LogVerified(NOW))
    assert read_checks(tmp_path) == Checks(NOW, None)


def test_a_log_that_did_not_hold_is_no_success(tmp_path: Path) -> None:
    note_check(tmp_path, LogVerified(NOW, ok=False))
    assert read_checks(tmp_path).verified_at is None


def test_where_nothing_can_be_written_nothing_fails(tmp_path: Path) -> None:
    (tmp_path / CHECKS).mkdir()
    note_check(tmp_path, LogVerified(NOW))
    note_check(tmp_path / "none", LogVerified(NOW))
    assert [path.name for path in tmp_path.iterdir()] == [CHECKS]
