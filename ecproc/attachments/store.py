"""Attachments by content: each stands once, under its SHA-256, durable before anything says so."""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final, TypeVar

import anyio
import anyio.to_thread

from ecproc.attachments.base import Stored
from ecproc.failpoints import failpoint

T = TypeVar("T")

_FOLDER: Final = "attachments"
_TEMPORARY: Final = "tmp"
_CREATE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_BUFFERED: Final = 1024 * 1024


class Upload:
    """Content on its way into the store. Small pieces are gathered, so that a thread is asked once per megabyte."""

    def __init__(self, folder: Path, descriptor: int, temporary: Path) -> None:
        self._folder = folder
        self._descriptor = descriptor
        self._temporary = temporary
        self._hash = hashlib.sha256()
        self._waiting = bytearray()
        self.size = 0

    async def write(self, chunk: bytes) -> None:
        """Append a piece. Raises OSError when the disk does not take it."""
        self._waiting += chunk
        self.size += len(chunk)
        if len(self._waiting) >= _BUFFERED:
            await _in_thread(self._flush)

    async def keep(self) -> Stored:
        """Put the content in its place; when this returns it is durable, and the same content may have stood there."""
        return await _in_thread(self._keep)

    def close(self) -> None:
        """Release the file; what was not kept is gone."""
        os.close(self._descriptor)
        self._temporary.unlink(missing_ok=True)

    def _flush(self) -> None:
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
    """The folder `attachments` of a data directory. An announced name is never part of a path."""

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir
        self._folder = data_dir / _FOLDER

    async def sweep(self) -> int:
        """Make the folders and remove what a crash left unfinished; to be called once, before any upload."""
        return await _in_thread(self._sweep)

    @asynccontextmanager
    async def receive(self) -> AsyncIterator[Upload]:
        """A place for new content; unless it is kept nothing remains of it."""
        upload = await _in_thread(self._create)
        try:
            yield upload
        finally:
            with anyio.CancelScope(shield=True):
                await _in_thread(upload.close)

    def _create(self) -> Upload:
        temporary = self._folder / _TEMPORARY / secrets.token_hex(16)
        return Upload(self._folder, os.open(temporary, _CREATE, 0o600), temporary)

    def _sweep(self) -> int:
        temporary = self._folder / _TEMPORARY
        for folder in (self._folder, temporary):
            folder.mkdir(mode=0o700, exist_ok=True)
            _sync_folder(folder.parent)
        left = [path for path in temporary.iterdir() if path.is_symlink() or not path.is_dir()]
        for path in left:
            path.unlink()
        return len(left)


def _sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


async def _in_thread(work: Callable[[], T]) -> T:
    return await anyio.to_thread.run_sync(work)
