"""A store whose process is killed, or whose disk fails, keeps all it acknowledged and nothing by halves (I1, I2)."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ecproc.domain.log import Compact, StreamCounters
from ecproc.errors import ExitCode
from ecproc.store.base import VerifiedLog
from ecproc.store.sqlite.verify import verify_log
from ecproc.testing.store import STREAM, list_compact, read_all, scan_all
from tests.conformance.sqlite_stores import sqlite_store

CHILD = """
import itertools, sys
from pathlib import Path
import anyio
from ecproc.errors import StoreUnavailable
from ecproc.failpoints import arm_failpoints
from ecproc.domain.log import Batch, Fence
from ecproc.store.sqlite.store import open_store
from ecproc.testing.store import STREAM, SUITE_TABLES, make_message, make_row

async def main(directory, failpoints, first, limit):
    if limit:
        import resource
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    store = await open_store(
        Path(directory), SUITE_TABLES, now=itertools.count().__next__, identity=None, reserve_bytes=0
    )
    arm_failpoints(failpoints)
    try:
        for number in range(first, first + 200):
            through = (await store.stream_state(STREAM)).through
            await store.commit(
                Batch(
                    events=[make_message(number, "a", payload=bytes(3000)), make_message(number, "b")],
                    rows=[make_row(str(number))],
                    fence=Fence(STREAM, through, through + 1),
                    compact=b"%d" % number,
                )
            )
            print(number, flush=True)
    except StoreUnavailable as error:
        assert not store.has_room()
        try:
            await store.commit(Batch(events=[make_message(999)]))
        except StoreUnavailable:
            await store.aclose()
            sys.exit(error.exit_code)
    await store.aclose()

anyio.run(main, sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
"""
TURN = "        for number in range(first, first + 200):\n"
ACKNOWLEDGE = "            print(number, flush=True)\n"
TOO_EARLY = CHILD.replace(ACKNOWLEDGE, "").replace(TURN, TURN + ACKNOWLEDGE)
"""A child that acknowledges what it has yet to write."""


def run_child(
    directory: Path,
    *,
    code: str = CHILD,
    failpoints: str = "",
    first: int = 0,
    limit: int = 0,
    wrapper: tuple[str, ...] = (),
) -> subprocess.Popen[bytes]:
    command = [*wrapper, sys.executable, "-c", code, str(directory), failpoints, str(first), str(limit)]
    # Nothing is read ahead: what `read_some` leaves is all there for `finish`.
    return subprocess.Popen(command, bufsize=0, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def read_some(child: subprocess.Popen[bytes], lines: int) -> list[int]:
    """The child's next acknowledgements."""
    assert child.stdout is not None
    return [int(child.stdout.readline()) for _ in range(lines)]


def finish(child: subprocess.Popen[bytes]) -> tuple[list[int], int, str]:
    """What the child acknowledged since, how it ended, and what it complained of."""
    out, complaints = child.communicate(timeout=100)
    return [int(line) for line in out.split()], child.returncode, complaints.decode()


async def read_numbers(directory: Path) -> list[int]:
    """The batches that are in the log; each must be there whole, once, and with what belongs to it."""
    async with sqlite_store(directory) as store:
        events = await read_all(store)
        assert await store.read_stream(STREAM) == events
        keys = [event.message_key or b"" for event in events]
        numbers = [int.from_bytes(key[:16], "big") for key in keys[::2]]
        rows = {row.id for row in await scan_all(store, "note")}
        state = await store.stream_state(STREAM)
        compact = await list_compact(store)
    assert [key[16:] for key in keys] == [b"a", b"b"] * len(numbers)
    assert [int.from_bytes(key[:16], "big") for key in keys[1::2]] == numbers
    assert len(set(numbers)) == len(numbers)
    assert rows == {str(number) for number in numbers}
    last = 2 * len(numbers)
    assert state == StreamCounters(version=last, through=len(numbers), wanted=last, last=last)
    assert compact == [Compact(STREAM, 2 * index, b"%d" % number) for index, number in enumerate(numbers, start=1)]
    assert isinstance(verify_log(directory), VerifiedLog)
    return numbers


@pytest.mark.requirement("I1", "I2")
@pytest.mark.parametrize("count", [1, 4])
@pytest.mark.parametrize(
    ("failpoint", "is_durable"),
    [("append.begun", False), ("append.written", False), ("append.committed", True), ("project.committed", True)],
)
async def test_a_batch_is_whole_or_absent_wherever_the_process_dies(
    tmp_path: Path, failpoint: str, is_durable: bool, count: int
) -> None:
    acknowledged, code, complaints = finish(run_child(tmp_path, failpoints=f"{failpoint}:{count}"))
    assert code == -signal.SIGKILL, complaints
    assert acknowledged == list(range(count - 1))
    assert await read_numbers(tmp_path) == list(range(count - 1 + is_durable))


@pytest.mark.requirement("I1", "I12")
async def test_what_was_acknowledged_outlives_kills_at_any_time(tmp_path: Path) -> None:
    everything: list[int] = []
    for life in range(5):
        child = run_child(tmp_path, first=life * 1000)
        acknowledged = read_some(child, 3 * life + 1)
        child.kill()
        rest, code, complaints = finish(child)
        assert code == -signal.SIGKILL, complaints
        acknowledged += rest
        assert acknowledged == list(range(life * 1000, life * 1000 + len(acknowledged)))
        everything += acknowledged
    found = await read_numbers(tmp_path)
    assert set(everything) <= set(found)
    assert len(found) <= len(everything) + 5
    assert sorted(found) == found


@pytest.mark.parametrize("read_before", [0, 1, 8])
async def test_an_acknowledgement_that_comes_too_early_is_found_out(tmp_path: Path, read_before: int) -> None:
    child = run_child(tmp_path, code=TOO_EARLY, failpoints="append.begun:9")
    child.wait(timeout=100)  # so that all of it is there to be read ahead
    acknowledged = read_some(child, read_before)
    rest, code, complaints = finish(child)
    assert code == -signal.SIGKILL, complaints
    assert [*acknowledged, *rest] == list(range(9))
    assert await read_numbers(tmp_path) == list(range(8))


@pytest.mark.requirement("I1")
async def test_a_write_that_fails_stops_the_store(tmp_path: Path) -> None:
    acknowledged, code, complaints = finish(run_child(tmp_path, limit=400_000))
    assert code == ExitCode.STORAGE, complaints
    assert acknowledged == list(range(len(acknowledged)))
    assert 0 < len(acknowledged) < 200
    assert await read_numbers(tmp_path) == acknowledged


@pytest.mark.requirement("I1")
async def test_a_sync_that_fails_stops_the_store(tmp_path: Path) -> None:
    if shutil.which("strace") is None or subprocess.run(["strace", "-qq", "true"], check=False).returncode:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("needs strace to make fdatasync fail")
    for failing_sync in (12, 30):
        directory = tmp_path / str(failing_sync)
        inject = f"inject=fdatasync:error=EIO:when={failing_sync}"
        wrapper = ("strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=fdatasync", "-e", inject)
        acknowledged, code, complaints = finish(run_child(directory, wrapper=wrapper))
        assert code == ExitCode.STORAGE, complaints
        assert acknowledged == list(range(len(acknowledged)))
        assert 0 < len(acknowledged) < failing_sync
        assert (await read_numbers(directory))[: len(acknowledged)] == acknowledged
