"""Live rows that something outside altered while the processor was down: nothing of them is believed or sent."""

from __future__ import annotations

import signal
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final

import msgspec

from ecproc.errors import ExitCode
from ecproc.fold.tables import TABLES
from ecproc.simulator.faults import MILD
from tests.acceptance.claims import check_claims
from tests.acceptance.test_integrity import NO_OBJECT, steer
from tests.acceptance.test_mutants import Change, copy_package
from tests.acceptance.world import Plan, Running, open_world

PLAN: Final = Plan(tickets=16, seed=11, rate=60.0, faults=MILD, visibility=1.0)

OPEN: Final = {
    "no JSON": "UPDATE outbox SET data = '{' WHERE tag IS NOT NULL",
    "another number": "UPDATE outbox SET data = replace(replace(data, 'LOCAL-0', 'LOCAL-9'), 'e-C', 'e-X')"
    " WHERE tag IS NOT NULL",
    "no tag": "UPDATE outbox SET tag = NULL WHERE tag IS NOT NULL",
    "no row": "DELETE FROM outbox WHERE tag IS NOT NULL",
    "a row too many": "INSERT INTO outbox SELECT stream, id || 'x', ordinal, tag, data FROM outbox"
    " WHERE tag IS NOT NULL LIMIT 1",
    "of another ticket": "UPDATE outbox SET stream = stream || '1' WHERE tag IS NOT NULL",
    "nothing wanted": "UPDATE stream SET wanted = 0, through = version",
}
"""What happened to what a start goes by."""


FLIP: Final = "UPDATE {table} SET data = 'x' || substr(data, 2)"
"""Every row of a table has another byte."""


@contextmanager
def altered(data: Path) -> Iterator[sqlite3.Connection]:
    """The database, to alter it."""
    with closing(sqlite3.connect(data / "ecproc.db")) as file:
        yield file
        file.commit()


def find_damage(running: Running) -> dict[str, dict[str, Any]]:
    """What it said of damaged rows, by table."""
    lines = [line for line in running.list_lines() if line["event"] == "rows_damaged"]
    assert all(line["level"] == "error" and line["hint"] for line in lines), lines
    return {line["table"]: line for line in lines}


async def test_what_is_to_be_done_is_made_anew_from_the_log_before_anything_is_sent(tmp_path: Path) -> None:
    async with open_world(tmp_path, PLAN) as world:
        await world.die_at("claim.committed", 2)
        for name, statement in OPEN.items():
            with altered(world.data) as file:
                assert file.execute(statement).rowcount, name
            # It dies between the intent of a call and its first byte: nothing is sent, and all is left to be done.
            async with await world.start(FAILPOINTS="claim.committed:1") as running:
                assert await running.ended() == -signal.SIGKILL, (name, running.said)
                assert find_damage(running).keys() & {"outbox", "stream"}, (name, running.said)
        await world.drain()
        await check_claims(world)


async def test_a_byte_of_every_row_of_every_table_is_mended_at_the_start(tmp_path: Path) -> None:
    async with open_world(tmp_path, msgspec.structs.replace(PLAN, rate=None)) as world:
        world.simulator.bridge.send_raw(NO_OBJECT)
        await world.drain()
        await steer(world)
        await world.drain()
        with altered(world.data) as file:
            for table in TABLES.names:
                assert file.execute(FLIP.format(table=table)).rowcount, table
        refused = await world.ask("tickets")
        assert refused.code == ExitCode.STORAGE, refused
        assert "in table ticket is not as it was written" in refused.err
        assert "help: " in refused.err
        assert (await world.ask("replay", "--verify")).code == ExitCode.FINDINGS
        async with await world.start("--drain", "--timeout", "30") as running:
            assert await running.ended() == ExitCode.OK, running.said
            assert find_damage(running).keys() == TABLES.names
        assert (await world.ask("tickets")).code == ExitCode.OK
        assert (await world.ask("replay", "--verify")).code == ExitCode.OK


async def test_a_finished_row_that_the_desk_is_held_against_is_mended_too_where_a_start_looks_no_further(
    tmp_path: Path,
) -> None:
    hasty = tmp_path / "hasty"  # as with a log so large that the time is over before such a row comes
    copy_package(hasty, (Change("rebuild/live.py", "CHECK_SECONDS: Final = 5.0", "CHECK_SECONDS: Final = 0.0"),))
    async with open_world(tmp_path, msgspec.structs.replace(PLAN, tickets=4, package_root=hasty)) as world:
        await world.drain()
        with altered(world.data) as file:
            assert file.execute(FLIP.format(table="outbox") + " WHERE tag IS NULL").rowcount
        async with await world.start("--drain", "--timeout", "30") as running:
            assert await running.ended() == ExitCode.OK, running.said
            assert find_damage(running).keys() == {"outbox"}
        assert (await world.ask("replay", "--verify")).code == ExitCode.OK


async def test_a_verification_calls_a_damaged_log_by_its_name(tmp_path: Path) -> None:
    async with open_world(tmp_path, Plan(tickets=2, visibility=1.0)) as world:
        await world.drain()
        with altered(world.data) as file:
            file.execute("UPDATE event SET payload = CAST('{' AS BLOB) WHERE position = 3")
        answer = await world.ask("replay", "--verify")
        assert answer.code == ExitCode.LOG_DAMAGED, answer
        assert "damaged at position 3" in answer.err
