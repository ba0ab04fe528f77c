"""The content store: content under its own hash, durable before it is named, nothing left of what was cut."""

from __future__ import annotations

import errno
import hashlib
import os
from pathlib import Path

import anyio
import pytest

from ecproc.attachments import store as store_module
from ecproc.attachments.base import Stored
from ecproc.attachments.store import ContentStore


@pytest.fixture
async def store(tmp_path: Path) -> ContentStore:
    store = ContentStore(tmp_path)
    assert await store.sweep() == 0
    return store


async def put(store: ContentStore, *chunks: bytes) -> Stored:
    async with store.receive() as upload:
        for chunk in chunks:
            await upload.write(chunk)
        return await upload.keep()


def files_below(path: Path) -> list[str]:
    return sorted(str(each.relative_to(path)) for each in path.rglob("*") if each.is_file())


@pytest.mark.requirement("R140")
async def test_content_stands_under_its_hash(store: ContentStore, tmp_path: Path) -> None:
    chunks = [os.urandom(700_000) for _ in range(4)]
    content = b"".join(chunks)
    stored = await put(store, *chunks)
    digest = hashlib.sha256(content).hexdigest()
    assert stored == Stored(digest, len(content), f"attachments/{digest[:2]}/{digest}")
    path = tmp_path / stored.path
    assert path.read_bytes() == content
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert files_below(tmp_path) == [stored.path]


async def test_empty_content_is_content(store: ContentStore, tmp_path: Path) -> None:
    stored = await put(store)
    assert stored.size == 0
    assert (tmp_path / stored.path).read_bytes() == b""


async def test_same_content_twice_stands_once(store: ContentStore, tmp_path: Path) -> None:
    first = await put(store, b"rocket")
    async with anyio.create_task_group() as tasks:
        for _ in range(8):
            tasks.start_soon(put, store, b"rock", b"et")
    assert files_below(tmp_path) == [first.path]


async def test_damaged_content_is_replaced(store: ContentStore, tmp_path: Path) -> None:
    stored = await put(store, b"rocket")
    (tmp_path / stored.path).write_bytes(b"rust")
    assert await put(store, b"rocket") == stored
    assert (tmp_path / stored.path).read_bytes() == b"rocket"


@pytest.mark.parametrize("cut", ["error", "cancelled", "never kept"])
async def test_nothing_remains_of_an_upload_that_was_cut(store: ContentStore, tmp_path: Path, cut: str) -> None:
    with anyio.CancelScope() as scope:
        try:
            async with store.receive() as upload:
                await upload.write(bytes(2_000_000))
                if cut == "error":
                    raise ZeroDivisionError
                if cut == "cancelled":
                    scope.cancel()
                    await anyio.sleep_forever()
        except ZeroDivisionError:
            assert cut == "error"
    assert files_below(tmp_path) == []


async def test_sweep_removes_what_a_crash_left(store: ContentStore, tmp_path: Path) -> None:
    kept = await put(store, b"kept")
    temporary = tmp_path / "attachments" / "tmp"
    (temporary / "half").write_bytes(b"half")
    (temporary / "link").symlink_to(tmp_path / kept.path)
    assert await store.sweep() == 2
    assert files_below(tmp_path) == [kept.path]
    assert (tmp_path / "attachments").stat().st_mode & 0o777 == 0o700


async def test_file_is_synced_before_it_is_renamed_and_folders_after(
    store: ContentStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []
    sync, replace = os.fsync, Path.replace

    def note_sync(descriptor: int) -> None:
        steps.append("sync " + str(Path(f"/proc/self/fd/{descriptor}").readlink().relative_to(tmp_path)))
        sync(descriptor)

    def note_replace(path: Path, target: Path) -> Path:
        steps.append("rename")
        return replace(path, target)

    monkeypatch.setattr(os, "fsync", note_sync)
    monkeypatch.setattr(Path, "replace", note_replace)
    monkeypatch.setattr(store_module, "failpoint", steps.append)
    stored = await put(store, b"rocket")
    assert steps[0].startswith("sync attachments/tmp/")
    assert steps[1:] == [
        "attachment.written",
        "rename",
        f"sync attachments/{stored.sha256[:2]}",
        "sync attachments",
        "attachment.renamed",
    ]


async def test_full_disk_leaves_nothing(store: ContentStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(descriptor: int, data: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "write", refuse)
    with pytest.raises(OSError, match="No space"):
        await put(store, b"rocket")
    monkeypatch.undo()
    assert files_below(tmp_path) == []
