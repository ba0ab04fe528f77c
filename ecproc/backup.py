"""A data directory copied while it is in use, into one that can take its place.

The log and the desk's file are held at nearly the same moment, the log first: what the log says is done, the desk of
the copy knows. It may know a little more, whose keys it answers as the first time. Files that the log says are stored
stood there before it said so, and never change.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Final

import msgspec

from ecproc import __version__
from ecproc.attachments.listing import FOLDER, copy_content, list_contents, sync_folders
from ecproc.clock import Clock
from ecproc.config import DataConfig
from ecproc.copying import sync_path
from ecproc.desk.backup import DESK_FILE, HeldDesk, holding_desk
from ecproc.domain.times import format_time
from ecproc.errors import EcprocError
from ecproc.failpoints import failpoint
from ecproc.store.base import HeldLog, VerifiedLog
from ecproc.store.opening import holding_log

MANIFEST: Final = "manifest.json"
PART_SUFFIX: Final = ".part"
_FORMAT: Final = 1
_FILE_MODE: Final = 0o600
_MARGIN: Final = 16 * 1024 * 1024
"""Bytes that stay free on a disk that is not the data directory's."""
_LOG_FILE: Final = "ecproc.db"
_SQLITE_FILES: Final = (name + end for name in (_LOG_FILE, DESK_FILE) for end in ("", "-journal", "-wal", "-shm"))
_OURS: Final = frozenset({*_SQLITE_FILES, "anchor", "anchor.new", MANIFEST, FOLDER})
"""All that can stand in a copy that was not finished."""
_PIECE: Final = 1024 * 1024


class BackupRefused(EcprocError):
    """Nothing was copied, and nothing changed."""

    def __init__(self, reason: str, *, hint: str = "") -> None:
        super().__init__(reason)
        self.hint = hint


class CopiedFile(msgspec.Struct, frozen=True):
    """One file of a backup, but for those of `attachments`."""

    name: str
    bytes: int
    sha256: str


class CopiedHead(msgspec.Struct, frozen=True):
    """Where the log ends in the copy; the hash as hexadecimal digits."""

    position: int
    hash: str


class CopiedContents(msgspec.Struct, frozen=True):
    """What was copied of `attachments`. `damaged` are the SHA-256 names of files that are not what they were when they
    were kept, and were left out."""

    included: bool
    files: int = 0
    bytes: int = 0
    damaged: tuple[str, ...] = ()


class Manifest(msgspec.Struct, frozen=True):
    """What a backup holds, as it stands in its `manifest.json`; times are RFC 3339 UTC."""

    format: int
    version: str
    began_at: str
    ended_at: str
    events: int
    head: CopiedHead
    files: tuple[CopiedFile, ...]
    attachments: CopiedContents


class CopyProgress(msgspec.Struct):
    """How far a backup is: the bytes that are copied of all, and what it does."""

    total: int
    copied: int = 0
    doing: str = "copying"


class Backup:
    """One backup into a new directory. `tell` hears how far it is, `say` what a person should know of it."""

    def __init__(
        self,
        data: DataConfig,
        target: Path,
        *,
        attachments: bool,
        clock: Clock,
        tell: Callable[[CopyProgress], None],
        say: Callable[[str], None],
        free_bytes: Callable[[Path], int] = lambda path: shutil.disk_usage(path).free,
    ) -> None:
        self._data = data
        self._target = target
        self._takes_attachments = attachments
        self._clock = clock
        self._tell = tell
        self._say = say
        self._free_bytes = free_bytes
        self._progress = CopyProgress(0)
        self._began = format_time(clock.now())

    def make(self) -> Manifest:
        """Copy and check all of it; nothing of that name is there before it is whole and durable.

        Raises BackupRefused, LogDamaged or another StoreError; then nothing is left of it.
        """
        self._check_target()
        with ExitStack() as stack:
            log = stack.enter_context(holding_log(self._data))
            desk_file = self._data.directory / DESK_FILE
            desk = stack.enter_context(holding_desk(desk_file)) if desk_file.exists() else None
            self._check_room(log, desk)
            part = stack.enter_context(self._open_part())
            manifest = self._fill(part, log, desk)
            failpoint("backup.written")
            self._put_in_place(part)
        return manifest

    def _check_target(self) -> None:
        target, data = self._target, self._data.directory
        if os.path.lexists(target):
            raise BackupRefused(f"{target} is there already", hint="a backup is a new directory: choose another name")
        if not target.parent.is_dir():
            raise BackupRefused(f"{target.parent} is no directory", hint="make it, or mount what it stands on, first")
        if target.parent.resolve().is_relative_to(data.resolve()):
            raise BackupRefused(f"{target} is inside of the data directory", hint="choose a place outside of it")

    def _check_room(self, log: HeldLog, desk: HeldDesk | None) -> None:
        """A backup on the data directory's own disk must not stop the processor from receiving."""
        need = log.size + (desk.size if desk else 0) + self._measure_contents()
        parent = self._target.parent
        is_same = parent.stat().st_dev == self._data.directory.stat().st_dev
        kept = max(self._data.reserve_bytes, _MARGIN) if is_same else _MARGIN
        free = self._free_bytes(parent)
        if free - need < kept:
            raise BackupRefused(
                f"there is no room in {parent}: the copy takes {need:,} bytes, {free:,} are free, and {kept:,} of them "
                + ("are kept by data.reserve_bytes" if is_same and kept > _MARGIN else "are to stay so"),
                hint="choose a directory on another disk",
            )
        self._progress = CopyProgress(need)

    def _measure_contents(self) -> int:
        if not self._takes_attachments:
            return 0
        return sum(content.size for content in list_contents(self._data.directory))

    @contextmanager
    def _open_part(self) -> Iterator[Path]:
        """The directory beside the target that becomes it; held, so that nobody takes it for a leftover."""
        part = self._target.with_name(f"{self._target.name}{PART_SUFFIX}")
        if os.path.lexists(part):
            _remove_leftover(part)
            self._say(f"removed {part}, which a backup that was killed had left")
        try:
            part.mkdir(mode=0o700)
        except FileExistsError:
            raise _refuse_second(part) from None
        lock = _lock(part)
        try:
            yield part
        except BaseException:
            with suppress(OSError):
                shutil.rmtree(part)
            raise
        finally:
            os.close(lock)

    def _fill(self, part: Path, log: HeldLog, desk: HeldDesk | None) -> Manifest:
        names = [_LOG_FILE, "anchor"]
        if desk is not None:
            desk.copy(part, self._count())
            names.append(DESK_FILE)
        verified = log.copy(part, self._count())
        contents = self._copy_contents(part)
        manifest = self._describe(part, names, verified, contents)
        _write_file(part / MANIFEST, msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n")
        sync_path(part)
        return manifest

    def _count(self) -> Callable[[int], None]:
        """What hears how much of one file is copied, and tells how much of all is."""
        before, progress = self._progress.copied, self._progress

        def on_copied(copied: int) -> None:
            progress.copied = before + copied
            progress.doing = "checking" if progress.copied >= progress.total else "copying"
            self._tell(progress)

        return on_copied

    def _copy_contents(self, part: Path) -> CopiedContents:
        if not self._takes_attachments:
            return CopiedContents(False)
        files = size = 0
        damaged = []
        for content in list_contents(self._data.directory):
            on_copied = self._count()
            if copy_content(content, self._data.directory, part):
                files, size = files + 1, size + content.size
            else:
                damaged.append(content.sha256)
            on_copied(content.size)
        sync_folders(part)
        return CopiedContents(True, files, size, tuple(damaged))

    def _describe(self, part: Path, names: list[str], verified: VerifiedLog, contents: CopiedContents) -> Manifest:
        return Manifest(
            format=_FORMAT,
            version=__version__,
            began_at=self._began,
            ended_at=format_time(self._clock.now()),
            events=verified.events,
            head=CopiedHead(verified.head.position, verified.head.hash.hex()),
            files=tuple(_describe_file(part / name) for name in sorted(names)),
            attachments=contents,
        )

    def _put_in_place(self, part: Path) -> None:
        try:
            part.rename(self._target)
        except OSError as error:
            raise BackupRefused(f"{self._target} cannot be made: {error.strerror}") from error
        sync_path(self._target.parent)


def _remove_leftover(part: Path) -> None:
    """Remove what a killed backup left; anything else of that name stays. Raises BackupRefused."""
    hint = "move it away, or choose another name for the backup"
    if part.is_symlink() or not part.is_dir():
        raise BackupRefused(f"{part} is there, and is no unfinished backup", hint=hint)
    lock = _lock(part)
    try:
        strange = sorted({path.name for path in part.iterdir()} - _OURS)
        if strange:
            raise BackupRefused(f"{part} is no unfinished backup: it holds {strange[0]}", hint=hint)
        shutil.rmtree(part)
    finally:
        os.close(lock)


def _lock(part: Path) -> int:
    """A descriptor that holds the directory of that name. Raises BackupRefused where another backup has it.

    That one may have taken ours for a leftover before it was locked, or finished: then what is locked has another name
    or none, and what has the name, if anything, is another's.
    """
    with ExitStack() as stack:
        try:
            lock = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
            stack.callback(os.close, lock)
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            is_ours = os.path.samestat(os.fstat(lock), part.lstat())
        except (BlockingIOError, FileNotFoundError):
            is_ours = False
        if not is_ours:
            raise _refuse_second(part)
        stack.pop_all()
    return lock


def _refuse_second(part: Path) -> BackupRefused:
    return BackupRefused(f"another backup is being written to {part}", hint="wait for it")


def _describe_file(path: Path) -> CopiedFile:
    digest = hashlib.sha256()
    with path.open("rb", buffering=0) as file:
        while piece := file.read(_PIECE):
            digest.update(piece)
    return CopiedFile(path.name, path.stat().st_size, digest.hexdigest())


def _write_file(path: Path, content: bytes) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _FILE_MODE), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
