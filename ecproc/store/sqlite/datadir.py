"""The files of one data directory beside the database's own: the lock, the anchor, what rebuilds leave behind."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import msgspec

from ecproc.errors import DataDirInUse, DataDirUnusable
from ecproc.store.base import Head
from ecproc.store.chain import NO_HASH
from ecproc.wal import measure_wal

DATABASE: Final = "ecproc.db"
LOCK: Final = "LOCK"
ANCHOR: Final = "anchor"
CLOSED: Final = "closed"
REBUILD_PREFIX: Final = "rebuild-"
REBUILD_SUFFIX: Final = ".db"

_DIR_MODE: Final = 0o700
_FILE_MODE: Final = 0o600


_RIGHTS: Final = "give it to the user that ecproc runs as (chown), or set data.dir to a directory of that user's"
_OTHERWISE: Final = "set data.dir (ECPROC_DATA__DIR) to a directory that can be read and written"
_ADVICE: Final[Mapping[int, str]] = {
    errno.EACCES: _RIGHTS,
    errno.EPERM: _RIGHTS,
    errno.EROFS: "mount it for writing, or set data.dir to a directory that can be written",
    errno.ENOSPC: "free some space there, or set data.dir to a larger disk",
}


class _Anchor(msgspec.Struct, frozen=True):
    position: int
    hash: str


class _Closed(msgspec.Struct, frozen=True):
    """How the system describes the database's file; whoever writes to it or puts another there changes that."""

    inode: int
    size: int
    modified: int
    changed: int


class AnchorUnreadable(Exception):
    """The anchor file is there, but it is not what we wrote."""


class DataDir:
    """A data directory held for writing: nobody else appends to it until `release` (I12)."""

    def __init__(self, path: Path, lock: int) -> None:
        self.path = path
        self.database = path / DATABASE
        self._lock: int | None = lock

    @classmethod
    def acquire(cls, path: Path) -> DataDir:
        """Create the directory (0700) if need be and lock it; a directory in use is left exactly as it is.

        Raises DataDirInUse or DataDirUnusable.
        """
        with naming_trouble(path):
            _make_directory(path)
            lock = os.open(path / LOCK, os.O_RDWR | os.O_CREAT, _FILE_MODE)
        try:
            _take_lock(path, lock)
        except BaseException:
            os.close(lock)
            raise
        return cls(path, lock)

    def prepare(self) -> None:
        """Make the database file before SQLite opens it, and sweep rebuilds that a dead process left.

        The file is never opened this way again: closing it would drop the locks that SQLite holds on it.
        """
        for orphan in self.path.glob(f"{REBUILD_PREFIX}*{REBUILD_SUFFIX}*"):
            orphan.unlink(missing_ok=True)
        if not self.database.exists():
            create_file(self.database)

    def check_files(self) -> None:
        """Raise DataDirUnusable where SQLite could only say that a file cannot be opened, as after a copy by another
        user: that would look like a want of descriptors. Opens none: see `prepare`."""
        for name in (DATABASE, f"{DATABASE}-wal", f"{DATABASE}-shm"):
            path = self.path / name
            if path.exists() and not path.is_file():
                raise describe_trouble(path, OSError(errno.EISDIR, "it is no file"))
            if path.exists() and not os.access(path, os.R_OK | os.W_OK):
                raise describe_trouble(path, PermissionError(errno.EACCES, os.strerror(errno.EACCES)))

    def sync(self) -> None:
        """Make the names of the files durable; SQLite does that too, but does not say when it failed."""
        _sync_directory(self.path)

    def write_anchor(self, head: Head) -> None:
        """Replace the anchor atomically and durably."""
        write_anchor(self.path, head)

    def is_as_left(self) -> bool:
        """Whether the database is the file that was closed in order, and nobody wrote to it since, or is yet to be
        made."""
        if measure_wal(self.database):
            return False
        if not self.database.stat().st_size:
            return True
        with suppress(OSError, msgspec.DecodeError):
            return msgspec.json.decode((self.path / CLOSED).read_bytes(), type=_Closed) == _describe(self.database)
        return False

    def note_closed(self, *, is_sound: bool) -> None:
        """Remember the database's file as it is, or nothing. What is lost of that is a file that was altered."""
        with suppress(OSError):
            (self.path / CLOSED).write_bytes(msgspec.json.encode(_describe(self.database)) if is_sound else b"")

    def release(self) -> None:
        """Let go of the directory; a second call does nothing."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def write_anchor(path: Path, head: Head) -> None:
    """Replace the anchor of that data directory atomically and durably; for who holds its lock, or made it."""
    body = msgspec.json.encode(_Anchor(head.position, head.hash.hex()))
    fresh = path / f"{ANCHOR}.new"
    file = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, _FILE_MODE)
    try:
        if os.write(file, body) < len(body):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        _sync_file(file)
    finally:
        os.close(file)
    fresh.replace(path / ANCHOR)


def read_anchor(path: Path) -> Head | None:
    """The anchor of that data directory, None if there is none yet; raises AnchorUnreadable or OSError."""
    try:
        body = (path / ANCHOR).read_bytes()
    except FileNotFoundError:
        return None
    try:
        anchor = msgspec.json.decode(body, type=_Anchor)
        head = Head(anchor.position, bytes.fromhex(anchor.hash))
    except (msgspec.DecodeError, ValueError) as error:
        raise AnchorUnreadable(f"the file {ANCHOR} cannot be read: {error}") from error
    if head.position < 0 or len(head.hash) != len(NO_HASH):
        raise AnchorUnreadable(f"the file {ANCHOR} names no position and hash")
    return head


def check_readable(path: Path) -> None:
    """Raise DataDirUnusable if `path` or the log in it is there and cannot be read; nothing there is no trouble."""
    with naming_trouble(path):
        try:
            with os.scandir(path):
                pass
            if not os.access(path / DATABASE, os.R_OK) and (path / DATABASE).exists():
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        except FileNotFoundError:
            if _dangling_link(path) is not None:
                raise


def holds_log(path: Path) -> bool:
    """Whether that data directory holds a log, or held one; raises DataDirUnusable as `check_readable` does."""
    check_readable(path)
    database = path / DATABASE
    # A new file is empty for a moment; an empty one with an anchor has lost what it held, which the store tells.
    return database.is_file() and (database.stat().st_size > 0 or (path / ANCHOR).exists())


def find_holder(path: Path) -> DataDirInUse | None:
    """Who holds that data directory's lock, None if nobody does. Raises DataDirUnusable."""
    with naming_trouble(path):
        try:
            lock = os.open(path / LOCK, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)  # given back at once
        except BlockingIOError:
            return DataDirInUse(path, _read_pid(lock))
        finally:
            os.close(lock)
    return None


@contextmanager
def naming_trouble(path: Path) -> Iterator[None]:
    """Turn what the system says about a data directory into what its operator needs to know."""
    try:
        yield
    except OSError as error:
        trouble = describe_trouble(path.absolute(), error)
        trouble.__cause__ = error
    else:
        return
    raise trouble


def describe_trouble(path: Path, error: OSError) -> DataDirUnusable:
    """Why that directory cannot be used, and what to do about it."""
    link = _dangling_link(path)
    if link is not None:
        reason = f"{link} is a link to {link.readlink()}, which is not there"
        return DataDirUnusable(path, reason, hint="mount or create what the link leads to, or set data.dir anew")
    reason = error.strerror or type(error).__name__
    return DataDirUnusable(path, reason, hint=_ADVICE.get(error.errno or 0, _OTHERWISE))


def _dangling_link(path: Path) -> Path | None:
    """The link on the way to `path` that leads nowhere."""
    with suppress(OSError):
        return next((link for link in (path, *path.parents) if link.is_symlink() and not link.exists()), None)
    return None


def measure_files(path: Path) -> int:
    """The bytes that the database, its write-ahead log and that one's index take."""
    return sum(_measure(path / name) for name in (DATABASE, f"{DATABASE}-wal", f"{DATABASE}-shm"))


def _measure(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:  # a log that was closed has no write-ahead log
        return 0


def _describe(database: Path) -> _Closed:
    found = database.stat()
    return _Closed(found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


def _make_directory(path: Path) -> None:
    if path.is_dir():
        return
    path.mkdir(mode=_DIR_MODE, parents=True, exist_ok=True)
    _sync_directory(path.parent)


def _take_lock(path: Path, lock: int) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise DataDirInUse(path, _read_pid(lock)) from None
    os.ftruncate(lock, 0)
    os.pwrite(lock, str(os.getpid()).encode(), 0)


def _read_pid(lock: int) -> int | None:
    written = os.pread(lock, 20, 0)
    return int(written) if written.isdigit() else None


def create_file(path: Path) -> None:
    """Make an empty file that only we can read, durably; raises FileExistsError if there is one."""
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _FILE_MODE)
    try:
        os.fsync(file)
    finally:
        os.close(file)


def _sync_file(file: int) -> None:
    try:
        os.fsync(file)
    except OSError as error:  # whatever the reason: what was written may be gone, which no second try would tell
        raise OSError(errno.EIO, f"sync failed: {error.strerror}") from error


def _sync_directory(path: Path) -> None:
    directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
