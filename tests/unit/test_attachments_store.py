"""The content store: content under its own hash, durable before it is named, nothing left of what was cut."""

from __future__ import annotations

import errno
import gzip
import hashlib
import os
import zlib
from collections.abc import Callable
from pathlib import Path

import anyio
import pytest

from ecproc.attachments import store as store_module
from ecproc.attachments.base import FileRefused, Stored
from ecproc.attachments.store import ContentStore, Decoding


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


@pytest.mark.requirement("R140", "R141")
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


PLAIN = os.urandom(700_000) + bytes(3_000_000)


@pytest.mark.parametrize(
    ("coded", "plain"),
    [
        (gzip.compress(PLAIN), PLAIN),
        (zlib.compress(PLAIN), PLAIN),
        (gzip.compress(b""), b""),
        (gzip.compress(b"rock") + gzip.compress(b"et"), b"rocket"),
        (gzip.compress(bytes(1 << 20)), bytes(1 << 20)),  # ends just where a piece does
        (gzip.compress(bytes((1 << 20) + 1)), bytes((1 << 20) + 1)),
    ],
    ids=["gzip", "zlib", "nothing", "two members", "one piece", "one piece and a byte"],
)
async def test_coded_content_is_decoded_in_place(
    store: ContentStore, tmp_path: Path, coded: bytes, plain: bytes
) -> None:
    async with store.receive() as upload:
        await upload.write(coded)
        assert await upload.decode(len(plain)) is Decoding.DECODED
        assert upload.size == len(plain)
        stored = await upload.keep()

    assert stored.sha256 == hashlib.sha256(plain).hexdigest()
    assert (tmp_path / stored.path).read_bytes() == plain
    assert files_below(tmp_path) == [stored.path]


@pytest.mark.parametrize(
    ("content", "outcome"),
    [
        (b"plain text", Decoding.UNREADABLE),
        (b"", Decoding.UNREADABLE),
        (gzip.compress(PLAIN)[:-9], Decoding.UNREADABLE),
        (gzip.compress(b"rocket")[:-1] + b"!", Decoding.UNREADABLE),
        (gzip.compress(b"rocket") + b"and more", Decoding.UNREADABLE),
        (gzip.compress(bytes(50_000_001)), Decoding.TOO_LARGE),
        (gzip.compress(bytes(2_000_000)) * 30, Decoding.TOO_LARGE),
    ],
    ids=["plain", "empty", "cut", "wrong checksum", "trailing", "bomb", "bomb of members"],
)
async def test_what_cannot_be_decoded_stays_as_it_is(
    store: ContentStore, tmp_path: Path, content: bytes, outcome: Decoding, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[int] = []
    write = os.write

    def record_write(descriptor: int, data: bytes) -> int:
        written.append(len(data))
        return write(descriptor, data)

    monkeypatch.setattr(os, "write", record_write)
    async with store.receive() as upload:
        await upload.write(content)
        assert await upload.decode(4_000_000) is outcome
        stored = await upload.keep()

    assert (tmp_path / stored.path).read_bytes() == content
    assert files_below(tmp_path) == [stored.path]
    assert sum(written) < len(content) + 4_000_000 + 2 * 1024 * 1024


async def test_sweep_removes_what_a_crash_left(store: ContentStore, tmp_path: Path) -> None:
    kept = await put(store, b"kept")
    temporary = tmp_path / "attachments" / "tmp"
    (temporary / "half").write_bytes(b"half")
    (temporary / "link").symlink_to(tmp_path / kept.path)
    assert await store.sweep() == 2
    assert files_below(tmp_path) == [kept.path]
    assert (tmp_path / "attachments").stat().st_mode & 0o777 == 0o700


@pytest.mark.requirement("R137")
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


# --- a file of the user's own -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 7, 2_500_000])
async def test_a_local_file_is_copied_as_it_is(store: ContentStore, tmp_path: Path, size: int) -> None:
    content, source = os.urandom(size), tmp_path / "report.pdf"
    source.write_bytes(content)

    stored = await store.take(source, size)

    digest = hashlib.sha256(content).hexdigest()
    assert stored == Stored(digest, size, f"attachments/{digest[:2]}/{digest}")
    assert store.locate(digest).read_bytes() == content
    source.write_bytes(b"changed meanwhile")
    assert store.locate(digest).read_bytes() == content


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda path: None, "No such file"),
        (Path.mkdir, "no regular file"),
        (os.mkfifo, "no regular file"),
        (lambda path: path.symlink_to("/dev/zero"), "no regular file"),
        (lambda path: path.write_bytes(bytes(101)), "101 bytes, and attachments.max_bytes is 100"),
    ],
)
async def test_what_is_no_file_or_too_large_is_refused_and_leaves_nothing(
    store: ContentStore, tmp_path: Path, make: Callable[[Path], object], words: str
) -> None:
    source = tmp_path / "source"
    make(source)

    with pytest.raises(FileRefused, match=words) as caught:
        await store.take(source, 100)

    assert str(source) in str(caught.value)
    assert files_below(tmp_path / "attachments") == []


async def test_a_file_that_grows_while_it_is_read_is_cut_off(
    store: ContentStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "growing.log"
    source.write_bytes(bytes(10))
    monkeypatch.setattr(store_module, "_read_source", lambda *_: bytes(60))

    with pytest.raises(FileRefused, match=r"100$"):
        await store.take(source, 100)

    assert files_below(tmp_path / "attachments") == []
