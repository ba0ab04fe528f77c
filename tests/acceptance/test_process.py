"""The process as operators meet it: signals, exit codes, a second start, a full disk, a stall."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import anyio
import httpx
import msgspec
import pytest

from ecproc.simulator.bridge import RawMessage
from ecproc.simulator.faults import MILD, NONE, CallFaults, FaultPlan
from tests.acceptance.claims import check_claims
from tests.acceptance.world import Plan, is_empty, open_world

SIGNED = "https://h/f?sig=SECRET"
MARGIN: Final = 1024 * 1024 * 1024
"""Bytes that others may write to or free on the disk while a test counts on what is free."""

STALL: Final = 31 / 30
"""How long an answer is held back, in visibility times."""


# --- stopping ---------------------------------------------------------------------------------------------------------


@pytest.mark.requirement("R226")
async def test_sigterm_under_load_ends_well_within_20_seconds_and_loses_nothing(tmp_path: Path) -> None:
    async with open_world(tmp_path, Plan(tickets=30, seed=2, faults=MILD, visibility=1.0)) as world:
        async with await world.start() as running:
            await world.reach(lambda ledger: ledger.calls["delete"] >= 40, running)
            running.send(signal.SIGTERM)
            assert await running.ended(20) == 0, running.said
        assert world.ledger.count_messages().left > 0, "it was not under load"
        await world.drain()
        await check_claims(world)


async def test_drain_gives_up_in_time_when_the_bridge_is_down(tmp_path: Path) -> None:
    async with open_world(tmp_path, Plan(tickets=0)) as world:
        with socket.socket() as taken:  # bound, but nobody listens: every connection is refused
            taken.bind(("127.0.0.1", 0))
            url = f"http://127.0.0.1:{taken.getsockname()[1]}/testclient/dev"
            async with await world.start("--drain", "--timeout", "1", BRIDGE__URL=url) as running:
                assert await running.ended(30) == 75, running.said


# --- whose data directory it is ---------------------------------------------------------------------------------------


@pytest.mark.requirement("I12", "R25")
async def test_a_second_processor_leaves_at_once_and_touches_nothing(tmp_path: Path) -> None:
    async with open_world(tmp_path, Plan(tickets=5, visibility=1.0)) as world, await world.start() as first:
        await world.reach(is_empty, first)
        with suspended(first.pid):  # whatever is written now is the second one's doing
            before = describe_files(world.data)
            refused = await world.ask("run")
            assert describe_files(world.data) == before
        assert refused.code == 69, refused
        assert str(first.pid) in refused.err
        first.send(signal.SIGTERM)
        assert await first.ended() == 0, first.said


async def test_a_bad_configuration_is_refused_with_every_error_at_once(tmp_path: Path) -> None:
    wrong = {
        "BRIDGE__URL": "ftp://bridge.example/yourclient/prod",
        "BRIDGE__POLL_INTERVAL": "soon",
        "BRIDGE__VISIBILTY": "30",
        "OUTBOX__MAX_IN_FLIGHT": "0",
        "WEB__LISTEN": "0.0.0.0:8600",
    }
    async with open_world(tmp_path, Plan(tickets=0)) as world:
        refused = await world.ask("run", **wrong)
        assert refused.code == 78, refused
        named = {"web.read_token", *(f"ECPROC_{name}" for name in wrong if name != "WEB__LISTEN")}
        assert {name for name in named if name not in refused.err} == set()
        assert len(refused.err.splitlines()) == len(named)
        assert refused.out == ""
        assert not world.data.exists()
        assert not world.ledger.calls


# --- a full disk ------------------------------------------------------------------------------------------------------


@pytest.mark.requirement("I0")
async def test_nothing_is_received_below_the_reserve_and_it_recovers_by_itself(tmp_path: Path) -> None:
    ballast = tmp_path / "ballast"
    with ballast.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, 2 * MARGIN)
    reserve = shutil.disk_usage(tmp_path).free + MARGIN
    plan = Plan(tickets=5, visibility=1.0)
    async with open_world(tmp_path, plan) as world, await world.start(DATA__RESERVE_BYTES=str(reserve)) as running:
        page = f"{await running.told('web', 'url')}/readyz"
        assert await get_status(page) == 503
        with anyio.move_on_after(3) as patience:  # several times the pause between two looks at the disk
            await world.reach(lambda ledger: ledger.max_in_flight > 0, running)
        assert patience.cancelled_caught, "a GET was sent without room for what it brings"
        assert await get_status(page) == 503
        ballast.unlink()
        await world.reach(is_empty, running)
        assert await get_status(page) == 200
        running.send(signal.SIGTERM)
        assert await running.ended() == 0, running.said


# --- a stall ----------------------------------------------------------------------------------------------------------


@pytest.mark.requirement("R22", "R25")
async def test_readers_that_hold_the_same_messages_after_a_stall_change_nothing(tmp_path: Path) -> None:
    stalls = FaultPlan(queue=CallFaults(latency=(0.0, 2 * STALL)))
    async with open_world(tmp_path, Plan(tickets=25, seed=4, faults=stalls, visibility=1.0)) as world:
        async with await world.start("--drain", "--timeout", "60") as running:
            await world.reach(lambda ledger: ledger.count_messages().redelivered >= 20, running)
            world.simulator.bridge.faults.change_plan(NONE)
            assert await running.ended() == 0, running.said
        await check_claims(world, redelivered=0.1)


async def test_the_json_api_masks_the_query_of_a_url_as_the_commands_do(tmp_path: Path) -> None:
    body = {"ticketType": "Incident", "ticketNumber": "e-CS1", "status": "open", "shortDescription": f"see {SIGNED}"}
    attributes = {"MessageGroupId": "e-CS1", "TransactionType": "Create", "SequenceNumber": "1"}
    async with open_world(tmp_path, Plan(tickets=0, visibility=0.5)) as world:
        world.simulator.bridge.send_raw(RawMessage(msgspec.Raw(msgspec.json.encode(body)), attributes))
        await world.drain()
        async with await world.start() as running:
            url = await running.told("web", "url")
            async with httpx.AsyncClient(trust_env=False, timeout=10) as client:
                answers = [(await client.get(f"{url}/api/v1/tickets{one}")).text for one in ("", "/e-CS1")]
    for answer in answers:
        assert "see https://h/f?***" in answer
        assert "SECRET" not in answer


@contextmanager
def suspended(pid: int) -> Iterator[None]:
    """Hold a process still, from when it has really stopped."""
    os.kill(pid, signal.SIGSTOP)
    try:
        while Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "T":
            pass
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def describe_files(folder: Path) -> Mapping[str, tuple[object, ...]]:
    """Everything about a folder's files that a touch would change."""
    found: dict[str, tuple[object, ...]] = {}
    for path in folder.rglob("*"):
        status = path.stat()
        digest = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
        found[str(path.relative_to(folder))] = (digest, status.st_size, status.st_mode, status.st_mtime_ns)
    return found


async def get_status(page: str) -> int:
    """The status a page answers with."""
    async with httpx.AsyncClient(trust_env=False, timeout=10) as client:
        return (await client.get(page)).status_code


# --- what it says -----------------------------------------------------------------------------------------------------


async def test_every_line_is_json_from_the_first_to_the_last(tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("simulator-key", encoding="utf-8")
    key.chmod(0o644)  # which is worth a warning
    async with open_world(tmp_path, Plan(tickets=2, visibility=0.5)) as world:
        options = {"BRIDGE__API_KEY_FILE": str(key), "WEB__LISTEN": "[::1]:0"}
        async with await world.start("--drain", "--timeout", "30", **options) as running:
            assert await running.ended() == 0, running.said
        lines = [json.loads(line) for line in running.said.splitlines()]
        told = {line["event"]: line for line in lines}
        assert [event for event in told if event != "anomaly"] == [
            *("config_warning", "started", "web", "recovered", "first_poll", "drained", "stopped")
        ]
        assert all(list(line)[:3] == ["ts", "level", "event"] for line in lines)
        assert told["config_warning"]["hint"] == f"chmod 600 {key}"
        assert told["web"]["url"].startswith("http://[::1]:")
        started = told["started"]
        assert (started["host"], started["client"], started["environment"]) == ("127.0.0.1", "testClient", "dev")
        assert (started["data_dir"], started["position"], started["unfinished"]) == (str(world.data), 2, {})
        assert told["drained"]["position"] > 1
        assert told["stopped"]["exit_code"] == 0


async def test_text_and_level_are_the_operators_to_choose(tmp_path: Path) -> None:
    async with open_world(tmp_path, Plan(tickets=0, visibility=0.2)) as world:
        plain = await world.ask("run", "--drain", LOG__FORMAT="text")
        assert [line.split()[1:3] for line in plain.err.splitlines()] == [
            ["info", "started"],
            ["info", "web"],
            ["info", "recovered"],
            ["info", "first_poll"],
            ["info", "drained"],
            ["info", "stopped"],
        ]
        quiet = await world.ask("run", "--drain", LOG__LEVEL="error")
        assert (quiet.code, quiet.err) == (0, "")


async def test_a_start_that_fails_ends_its_log_with_the_reason_once(tmp_path: Path) -> None:
    async with open_world(tmp_path, Plan(tickets=0)) as world:
        (tmp_path / "data").symlink_to("nowhere")
        failed = await world.ask("run")
        assert failed.code == 70, failed
        [line] = [json.loads(line) for line in failed.err.splitlines()]
        assert (line["level"], line["event"]) == ("error", "stopped")
        assert f"{world.data} is a link to nowhere, which is not there" in line["reason"]
        assert "data.dir" in line["hint"]


async def test_a_drain_that_runs_out_of_time_says_what_it_waited_for(tmp_path: Path) -> None:
    async with open_world(tmp_path, Plan(tickets=0, visibility=30)) as world:
        for seconds in ("0.5", "4", "16"):  # the time counts from the start, which a busy machine makes long
            late = await world.ask("run", "--drain", "--timeout", seconds, LOG__LEVEL="warning")
            assert late.code == 75
            [line] = [json.loads(line) for line in late.err.splitlines()]
            assert line["event"] == "drained"
            if not line["reason"].startswith("the start took all of the time"):
                break
        assert line["reason"] == "the queue was not seen empty for a whole visibility window"
