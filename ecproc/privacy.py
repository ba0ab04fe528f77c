"""Who besides us can read or change what is kept: told at the start, with what to do about it."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import msgspec

_MOUNTS: Final = Path("/proc/self/mountinfo")
_REMOTE: Final = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "lustre", "glusterfs", "fuse.sshfs", "fuse.glusterfs"}
)
"""File systems on which locks and synced writes may not be what SQLite needs them to be."""

_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO
_WRITERS: Final = stat.S_IWGRP | stat.S_IWOTH
_KEPT: Final = (
    "ecproc.db",
    "ecproc.db-wal",
    "desk.db",
    "desk.db-wal",
    "anchor",
    "LOCK",
    "checks.json",
    "receipts.json",
    "attachments",
)
"""What stands in a data directory, by name."""


class Exposure(msgspec.Struct, frozen=True):
    """One path that others can get at, or that is not what it seems: what is wrong, and what to do."""

    path: Path
    reason: str
    hint: str


def find_exposures(data: Path) -> list[Exposure]:
    """What is wrong with a data directory and what stands in it. The configuration tells of its secrets' files."""
    found = [*_check_directory(data), *_check_mount(data)]
    for name in _KEPT:
        found += _check_kept(data / name)
    return found


def is_shared(secret: os.stat_result, user: int) -> bool:
    """Whether others than that user may read or change a secret's file.

    What root lets a group read is handed over to a service, as systemd and Kubernetes do it.
    """
    handed_over = secret.st_uid == 0 != user
    return bool(secret.st_mode & (_OTHERS & ~stat.S_IRGRP if handed_over else _OTHERS))


def _check_directory(path: Path) -> Iterator[Exposure]:
    if path.is_symlink():
        hint = "name in data.dir where the link leads to, so that nobody can turn it to another place"
        yield Exposure(path, f"it is a link to {path.readlink()}", hint)
    yield from _check_owner_and_mode(path, path.stat(), allowed="700")


def _check_kept(path: Path) -> Iterator[Exposure]:
    try:
        seen = path.lstat()
    except OSError:
        return
    if stat.S_ISLNK(seen.st_mode):
        yield Exposure(path, f"it is a link to {path.readlink()}", "stop, and move what it leads to into its place")
    elif stat.S_ISREG(seen.st_mode) and seen.st_nlink > 1:
        hint = "stop, copy it, and put the copy in its place: what changes it elsewhere would change it here"
        yield Exposure(path, f"it has {seen.st_nlink} names (hard links)", hint)
    else:
        yield from _check_owner_and_mode(path, seen, allowed="700" if stat.S_ISDIR(seen.st_mode) else "600")


def _check_owner_and_mode(path: Path, seen: os.stat_result, *, allowed: str) -> Iterator[Exposure]:
    if seen.st_uid != os.geteuid():
        hint = f"chown it to the user that ecproc runs as ({os.geteuid()})"
        yield Exposure(path, f"it belongs to user {seen.st_uid}, who can read and change it", hint)
    if seen.st_mode & _OTHERS:
        can = "change" if seen.st_mode & _WRITERS else "read"
        yield Exposure(path, f"others can {can} it (mode {stat.S_IMODE(seen.st_mode):04o})", f"chmod {allowed} {path}")


def _check_mount(path: Path) -> Iterator[Exposure]:
    kind = read_file_systems(_read_mounts()).get(path.stat().st_dev)
    if kind in _REMOTE:
        hint = "set data.dir to a local disk: over a network a lock or a synced write may be lost"
        yield Exposure(path, f"it is on a network file system ({kind})", hint)


def read_file_systems(mounts: str) -> Mapping[int, str]:
    """The kind of file system of each device, as the kernel's mountinfo lists them."""
    kinds: dict[int, str] = {}
    for line in mounts.splitlines():
        before, _, after = line.partition(" - ")
        device = before.split()[2:3]
        if device and after:
            major, _, minor = device[0].partition(":")
            kinds[os.makedev(int(major), int(minor))] = after.split()[0]
    return kinds


def _read_mounts() -> str:
    try:
        return _MOUNTS.read_text(encoding="utf-8", errors="replace")
    except OSError:  # another kernel
        return ""
