"""The content that stands in a data directory, and copies of it."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from ecproc.copying import sync_path

FOLDER: Final = "attachments"
_FOLDER_MODE: Final = 0o700
_FILE_MODE: Final = 0o600
_CREATE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_READ: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_PIECE: Final = 1024 * 1024
_FOLDER_NAME: Final = re.compile("[0-9a-f]{2}")
_DIGEST: Final = re.compile("[0-9a-f]{64}")


class KeptContent(msgspec.Struct, frozen=True):
    """One content that is kept: its SHA-256, where it stands below the data directory, its bytes, and when it came, in
    seconds since the epoch."""

    sha256: str
    place: str
    size: int
    kept_at: float


def list_contents(data_dir: Path) -> Iterator[KeptContent]:
    """All that is kept, by its folder; what is still on its way is not. Raises OSError."""
    for folder in _scan(data_dir / FOLDER):
        if not _FOLDER_NAME.fullmatch(folder.name):
            continue
        for entry in _scan(Path(folder.path)):
            if _DIGEST.fullmatch(entry.name) and entry.is_file(follow_symlinks=False):
                found = entry.stat(follow_symlinks=False)
                yield KeptContent(entry.name, f"{FOLDER}/{folder.name}/{entry.name}", found.st_size, found.st_mtime)


def copy_content(content: KeptContent, data_dir: Path, into: Path) -> bool:
    """Copy it to the same place below another directory, durably but for the names of its folders, and say whether it
    is what it was when it was kept; else there is no copy. Raises OSError."""
    target = into / content.place
    for folder in (target.parent.parent, target.parent):  # the mode given to mkdir with parents is the last one's only
        folder.mkdir(mode=_FOLDER_MODE, exist_ok=True)
    digest = hashlib.sha256()
    with (
        os.fdopen(os.open(data_dir / content.place, _READ), "rb", buffering=0) as source,
        os.fdopen(os.open(target, _CREATE, _FILE_MODE), "wb", buffering=0) as copy,
    ):
        while piece := source.read(_PIECE):
            digest.update(piece)
            _write(copy.fileno(), piece)
        os.fsync(copy.fileno())
    if digest.hexdigest() != content.sha256:
        target.unlink()
        return False
    return True


def sync_folders(directory: Path) -> None:
    """Make the names of copied contents durable. Raises OSError."""
    folder = directory / FOLDER
    if folder.is_dir():
        for entry in _scan(folder):
            sync_path(Path(entry.path))
        sync_path(folder)


def _scan(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except FileNotFoundError:
        return []


def _write(descriptor: int, piece: bytes) -> None:
    rest = memoryview(piece)
    while rest:
        rest = rest[os.write(descriptor, rest) :]
