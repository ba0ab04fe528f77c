"""What is told of a data directory that others can get at."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ecproc import privacy
from ecproc.privacy import find_exposures, is_shared, read_file_systems

MOUNTS = """\
22 27 0:20 / /sys rw,nosuid - sysfs sysfs rw
31 27 8:17 / /srv rw,relatime shared:1 master:2 - nfs4 host:/export rw,vers=4.2
broken line
"""


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A private data directory with what stands in one."""
    folder = tmp_path / "data"
    folder.mkdir(mode=0o700)
    for name in ("ecproc.db", "desk.db", "anchor"):
        (folder / name).touch(mode=0o600)
    (folder / "attachments").mkdir(mode=0o700)
    return folder


def test_a_private_directory_is_not_worth_a_word(data: Path) -> None:
    assert find_exposures(data) == []


@pytest.mark.parametrize(("mode", "can"), [(0o777, "change"), (0o770, "change"), (0o755, "read"), (0o701, "read")])
def test_a_directory_that_others_may_enter_is_told_with_the_remedy(data: Path, mode: int, can: str) -> None:
    data.chmod(mode)
    (found,) = find_exposures(data)
    assert (found.path, found.reason) == (data, f"others can {can} it (mode {mode:04o})")
    assert found.hint == f"chmod 700 {data}"


@pytest.mark.parametrize(
    ("name", "mode", "hint"), [("desk.db", 0o644, "600"), ("ecproc.db", 0o660, "600"), ("attachments", 0o755, "700")]
)
def test_a_file_in_it_that_others_may_read_is_told(data: Path, name: str, mode: int, hint: str) -> None:
    (data / name).chmod(mode)
    (found,) = find_exposures(data)
    assert (found.path, found.hint) == (data / name, f"chmod {hint} {data / name}")


def test_another_owner_is_told(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: mine + 1)
    found = find_exposures(data)
    assert {one.path for one in found} == {data, *data.iterdir()}
    assert all(one.reason.startswith(f"it belongs to user {mine}") and "chown" in one.hint for one in found)


def test_links_are_told(data: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(data)
    (data / "attachments").rmdir()
    (data / "attachments").symlink_to(tmp_path)
    os.link(data / "ecproc.db", tmp_path / "elsewhere.db")
    reasons = {one.path: one.reason for one in find_exposures(link)}
    assert reasons == {
        link: f"it is a link to {data}",
        link / "attachments": f"it is a link to {tmp_path}",
        link / "ecproc.db": "it has 2 names (hard links)",
    }


def test_a_network_file_system_is_told(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert read_file_systems(MOUNTS) == {os.makedev(0, 20): "sysfs", os.makedev(8, 17): "nfs4"}
    device = data.stat().st_dev
    line = f"31 27 {os.major(device)}:{os.minor(device)} / /srv rw - nfs4 host:/export rw\n"
    monkeypatch.setattr(privacy, "_read_mounts", lambda: line)
    (found,) = find_exposures(data)
    assert "nfs4" in found.reason
    assert "local disk" in found.hint


@pytest.mark.parametrize(
    ("owner", "mode", "shared"),
    [
        (1000, 0o400, False),
        (1000, 0o600, False),
        (1000, 0o640, True),
        (1000, 0o604, True),
        (0, 0o440, False),  # a credential of systemd's, or a Secret of Kubernetes with fsGroup
        (0, 0o444, True),
        (0, 0o460, True),
    ],
)
def test_a_secret_is_ours_alone_or_handed_over_by_root(owner: int, mode: int, shared: bool) -> None:
    assert is_shared(os.stat_result((mode, 0, 0, 1, owner, 1000, 0, 0, 0, 0)), 1000) is shared


def test_a_secret_of_roots_own_is_held_to_the_same_as_anybodys() -> None:
    assert is_shared(os.stat_result((0o440, 0, 0, 1, 0, 0, 0, 0, 0, 0)), 0)
