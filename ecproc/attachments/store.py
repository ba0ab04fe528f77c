"""Attachments by content: each stands once, under its SHA-256, durable before anything says so."""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
import stat
import zlib
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from enum import Enum
from functools import partial
from pathlib import Path
from typing import BinaryIO, Final, TypeVar

import anyio
import anyio.to_thread

from ecproc.attachments.base import FileRefused, Stored
from ecproc.failpoints import failpoint
from ecproc.room import Promise, Room

T = TypeVar("T")

_FOLDER: Final = "attachments"
_TEMPORARY: Final = "tmp"
_CREATE: Final = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_BUFFERED: Final = 1024 * 1024
_ANY_CODING: Final = zlib.MAX_WBITS | 32
"""zlib tells gzip and deflate apart by itself."""


class Decoding(Enum):
    """What came of decoding an upload; unless it was decoded, its content is as it was."""

    DECODED = "decoded"
    UNREADABLE = "unreadable"
    TOO_LARGE = "too_large"


class Upload:
    """Content on its way into the store. Small pieces are gathered, so that a thread is asked once per megabyte."""

    def __init__(self, folder: Path, descriptor: int, temporary: Path, promise: Promise | None) -> None:
        self._promise = promise
        self._folder = folder
        self._descriptor = descriptor
        self._temporary = temporary
        self._hash = hashlib.sha256()
        self._waiting = bytearray()
        self.size = 0

    async def write(self, chunk: bytes) -> None:
        """Append a piece. Raises OSError when the disk does not take it, or has no room for it above its mark."""
        self._waiting += chunk
        self.size += len(chunk)
        if len(self._waiting) >= _BUFFERED:
            await _in_thread(self._flush)

    async def decode(self, most: int) -> Decoding:
        """Put what the content decodes to, as gzip or deflate, into its place; never writes much more than `most`."""
        return await _in_thread(partial(self._decode, most))

    async def keep(self) -> Stored:
        """Put the content in its place; when this returns it is durable, and the same content may have stood there."""
        return await _in_thread(self._keep)

    def close(self) -> None:
        """Release the file; what was not kept is gone."""
        os.close(self._descriptor)
        self._temporary.unlink(missing_ok=True)

    def _decode(self, most: int) -> Decoding:
        self._flush()
        decoded = _create_upload(self._folder, self._promise)
        try:
            outcome = decoded._inflate(self._descriptor, most)
            if outcome is Decoding.DECODED:
                self._swap(decoded)
        finally:
            decoded.close()
        return outcome

    def _inflate(self, descriptor: int, most: int) -> Decoding:
        """Fill this upload with what the file holds in coded form, which may be several gzip members."""
        os.lseek(descriptor, 0, os.SEEK_SET)
        inflate = zlib.decompressobj(_ANY_CODING)
        while chunk := os.read(descriptor, _BUFFERED):
            more = True
            while more:
                if inflate.eof:
                    inflate = zlib.decompressobj(_ANY_CODING)
                try:
                    piece = inflate.decompress(chunk, _BUFFERED)
                except zlib.error:
                    return Decoding.UNREADABLE
                self._waiting += piece
                self.size += len(piece)
                self._flush()
                if self.size > most:
                    return Decoding.TOO_LARGE
                chunk = inflate.unused_data if inflate.eof else inflate.unconsumed_tail
                more = bool(chunk) or (not inflate.eof and len(piece) == _BUFFERED)
        return Decoding.DECODED if inflate.eof else Decoding.UNREADABLE

    def _swap(self, other: Upload) -> None:
        """Exchange contents."""
        self._descriptor, other._descriptor = other._descriptor, self._descriptor
        self._temporary, other._temporary = other._temporary, self._temporary
        self._hash, other._hash = other._hash, self._hash
        self.size, other.size = other.size, self.size

    def _flush(self) -> None:
        if self._promise is not None and not self._promise.spend(len(self._waiting)):
            raise _no_space()
        with memoryview(self._waiting) as view:
            self._hash.update(view)
            written = 0
            while written < len(view):
                written += os.write(self._descriptor, view[written:])
        self._waiting.clear()

    def _keep(self) -> Stored:
        self._flush()
        os.fsync(self._descriptor)
        failpoint("attachment.written")
        digest = self._hash.hexdigest()
        folder = self._folder / digest[:2]
        folder.mkdir(mode=0o700, exist_ok=True)
        self._temporary.replace(folder / digest)
        _sync_folder(folder)
        _sync_folder(self._folder)
        failpoint("attachment.renamed")
        return Stored(digest, self.size, f"{_FOLDER}/{digest[:2]}/{digest}")


class ContentStore:
    """The folder `attachments` of a data directory. An announced name is never part of a path.

    With a `room` nothing is written that the disk has no room for above its lower mark.
    """

    def __init__(self, data_dir: Path, room: Room | None = None) -> None:
        self._data_dir = data_dir
        self._room = room
        self._folder = data_dir / _FOLDER

    async def sweep(self) -> int:
        """Make the folders and remove what a crash left unfinished; to be called once, before any upload."""
        return await _in_thread(self._sweep)

    def locate(self, sha256: str) -> Path:
        """Where content with that digest stands if it was kept."""
        return self._folder / sha256[:2] / sha256

    async def take(self, source: Path, most: int) -> Stored:
        """Keep a copy of a file as it is now; when this returns it is durable.

        Raises FileRefused where `source` is no file that can be read, or has more than `most` bytes, and OSError where
        there is no room for it.
        """
        file = await _in_thread(partial(_open_source, source, most))
        with file:
            async with self.receive(os.fstat(file.fileno()).st_size) as upload:
                while piece := await _in_thread(partial(_read_source, source, file)):
                    await upload.write(piece)
                    if upload.size > most:  # it grew meanwhile
                        raise _refuse_size(source, upload.size, most)
                return await upload.keep()

    @asynccontextmanager
    async def receive(self, size: int = 0) -> AsyncIterator[Upload]:
        """A place for new content of about that size; unless it is kept nothing remains of it.

        Raises OSError, also out of the block, where there is no room for so much.
        """
        with self._promised(size) as promise:
            upload = await _in_thread(partial(_create_upload, self._folder, promise))
            try:
                yield upload
            finally:
                with anyio.CancelScope(shield=True):
                    await _in_thread(upload.close)

    @contextmanager
    def _promised(self, size: int) -> Iterator[Promise | None]:
        if self._room is None:
            yield None
            return
        promise = self._room.promise(size)
        if promise is None:
            raise _no_space()
        try:
            yield promise
        finally:
            promise.end()

    def _sweep(self) -> int:
        temporary = self._folder / _TEMPORARY
        for folder in (self._folder, temporary):
            folder.mkdir(mode=0o700, exist_ok=True)
            _sync_folder(folder.parent)
        left = [path for path in temporary.iterdir() if path.is_symlink() or not path.is_dir()]
        for path in left:
            path.unlink()
        return len(left)


def _open_source(source: Path, most: int) -> BinaryIO:
    try:
        # A pipe that nobody writes to would hold us up.
        descriptor = os.open(source, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise FileRefused(str(source), error.strerror or "it cannot be read") from None
    except ValueError:  # a name with a NUL byte, or one that this system cannot spell
        raise FileRefused(repr(str(source)), "no file can be called so") from None
    status = os.fstat(descriptor)
    refused = _refuse_size(source, status.st_size, most) if status.st_size > most else None
    if not stat.S_ISREG(status.st_mode):
        refused = FileRefused(str(source), "it is no regular file")
    if refused is not None:
        os.close(descriptor)
        raise refused
    return os.fdopen(descriptor, "rb", buffering=0)


def _read_source(source: Path, file: BinaryIO) -> bytes:
    try:
        return file.read(_BUFFERED)
    except OSError as error:
        raise FileRefused(str(source), error.strerror or "it cannot be read") from None


def _refuse_size(source: Path, size: int, most: int) -> FileRefused:
    hint = "raise attachments.max_bytes, or send it another way"
    return FileRefused(str(source), f"it has {size} bytes, and attachments.max_bytes is {most}", hint=hint)


def _create_upload(folder: Path, promise: Promise | None) -> Upload:
    temporary = folder / _TEMPORARY / secrets.token_hex(16)
    return Upload(folder, os.open(temporary, _CREATE, 0o600), temporary, promise)


def _no_space() -> OSError:
    return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


async def _in_thread(work: Callable[[], T]) -> T:
    return await anyio.to_thread.run_sync(work)
