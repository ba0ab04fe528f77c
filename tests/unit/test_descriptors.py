"""Descriptors: the limit is raised, and where none is left nothing ends that can be tried again."""

from __future__ import annotations

import asyncio
import errno
import subprocess
import sys
from pathlib import Path

import anyio
import pytest

from ecproc.attachments.base import Failure, FetchFailed
from ecproc.attachments.fetch import HttpFetcher
from ecproc.attachments.store import ContentStore
from ecproc.clock import SystemClock
from ecproc.config import Secret, SecretChange
from ecproc.config.rotation import LiveSecret
from ecproc.descriptors import is_out_of_files
from ecproc.desk.local import LocalDesk
from ecproc.domain.log import Batch
from ecproc.fold.tables import TABLES
from ecproc.network import classify
from ecproc.room import Room
from ecproc.store.sqlite.store import open_store
from ecproc.testing.desk import make_call
from ecproc.testing.store import append, make_message
from tests.scarcity import no_more_files


def run_python(code: str) -> str:
    """What a Python of its own prints."""
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def test_the_limit_is_raised_to_the_hard_one_and_no_further() -> None:
    code = """
import resource
from ecproc.descriptors import raise_limit
resource.setrlimit(resource.RLIMIT_NOFILE, (100, 300))
print(raise_limit(), resource.getrlimit(resource.RLIMIT_NOFILE), raise_limit())
"""
    assert run_python(code) == "300 (300, 300) 300"


def test_what_looks_names_up_is_loaded_with_the_processor() -> None:
    assert run_python("import ecproc.app, sys; print('encodings.idna' in sys.modules)") == "True"


def test_only_the_lack_of_descriptors_is_that() -> None:
    assert is_out_of_files(OSError(errno.EMFILE, "")) and is_out_of_files(OSError(errno.ENFILE, ""))
    assert not is_out_of_files(OSError(errno.EACCES, "")) and not is_out_of_files(ValueError())
    assert classify(OSError(errno.EMFILE, ""))[0] == "files"


async def test_an_open_store_reads_and_writes_without_opening_a_file(tmp_path: Path) -> None:
    store = await open_store(tmp_path, TABLES, now=lambda: 1, identity=None, reserve_bytes=0)
    try:
        await append(store, make_message(1))
        with no_more_files():
            await append(store, *[make_message(number) for number in range(2, 400)])
            for _ in range(3):  # past the anchor's time
                await asyncio.sleep(0.3)
                await store.commit(Batch())
            found = await asyncio.gather(*[store.read_event(position) for position in range(1, 400)])
            assert all(found)
            assert [page async for page in store.scan_rows("ticket")] == []
            assert await store.size_bytes() > 0
        assert not store.failed.is_set()
    finally:
        await store.aclose()
    assert (tmp_path / "anchor").exists()


async def test_an_open_desk_answers_without_opening_a_file(tmp_path: Path) -> None:
    desk = await LocalDesk.open(tmp_path / "desk.db", clock=SystemClock(), room=Room(tmp_path, reserve_bytes=0))
    await anyio.to_thread.run_sync(int)
    with no_more_files():
        for number in range(300):  # past a checkpoint
            await desk.perform(make_call(key=f"create:e-CS{number}:g1"))
    await desk.aclose()


async def test_a_download_waits_for_descriptors(tmp_path: Path) -> None:
    content = ContentStore(tmp_path)
    await content.sweep()
    fetcher = HttpFetcher(
        content, allowed_hosts=["127.0.0.1"], max_bytes=10, timeout=5, max_connections=1, clock=SystemClock()
    )
    with no_more_files(), pytest.raises(FetchFailed) as caught:
        await fetcher.fetch("http://127.0.0.1:9/x", announced_size=None)
    assert (caught.value.failure, caught.value.reason) == (Failure.HELD, "no more files can be open")
    await fetcher.aclose()


def test_a_secret_that_could_not_be_opened_is_looked_at_again(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("a-second-long-token", encoding="utf-8")
    heard: list[SecretChange] = []
    secret = LiveSecret("web.read_token", [Secret("a-first-long-token")], path=path, least=16, hear=heard.append)
    with no_more_files():
        assert not secret.look()
    assert (secret.value, heard) == (Secret("a-first-long-token"), [])
    assert secret.look()
    assert secret.value == Secret("a-second-long-token")
    path.write_text("too-short", encoding="utf-8")
    assert not secret.look()
    assert (secret.value, heard[-1].reason) == (Secret("a-second-long-token"), "it is shorter than 16 characters")
