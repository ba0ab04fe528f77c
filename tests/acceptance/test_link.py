"""`ecproc link import` as a process: a cut-over without a second ticket, before the first start, beside a processor,
and killed in the middle."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import pytest

from tests.acceptance.test_reconcile import put, reconcile, show
from tests.acceptance.world import Answer, Plan, World, open_world, wait_for

HEAD: Final = "ensono_number,client_number,reference,generation\n"
T: Final = "e-CS5000001"
MANY: Final = 2_000


def write(folder: Path, lines: Iterable[str], *, head: str = HEAD) -> str:
    """A file of these lines; its path."""
    file = folder / "links.csv"
    file.write_text(head + "".join(f"{line}\n" for line in lines), encoding="utf-8")
    return str(file)


def document(answer: Answer) -> dict[str, Any]:
    assert answer.code == 0, answer.err
    found: dict[str, Any] = json.loads(answer.out)
    return found


async def count_links(world: World) -> int:
    """How many links the log has."""
    told = await world.ask("events")
    assert told.code == 0, told.err
    return sum('"act":"link"' in line for line in told.out.splitlines())


async def assert_replay_is_equal(world: World) -> None:
    report = await world.ask("replay", "--verify")
    assert (report.code, json.loads(report.out)["equal"]) == (0, True), report.err


@pytest.mark.requirement("R67")
async def test_what_was_linked_before_the_first_start_is_opened_by_nobody_again(tmp_path: Path) -> None:
    async with open_world(tmp_path, Plan(tickets=0)) as world:
        file = write(tmp_path, [f"{T},INC0001,9d38,1", "e-CS5000002,INC0002,,1", "e-CS5000003,INC0003,,1"])
        counts = {"file": file, "pairs": 3, "imported": 3, "known": 0}
        assert document(await world.ask("link", "import", file, "--dry-run")) == {**counts, "dry_run": True}
        assert not world.data.exists()
        assert document(await world.ask("link", "import", file, "--note", "cut-over")) == counts
        assert document(await world.ask("link", "import", file)) == {**counts, "imported": 0, "known": 3}
        ticket = await show(world, T)
        assert (ticket["state"], ticket["type"], ticket["client_ticket"]) == (None, None, "INC0001")
        assert ticket["waiting_for"] is None
        assert "linked to INC0001" in str(await reconcile(world))
        listed = await world.ask("tickets", "--state", "none", "--search", "INC0002")
        assert [json.loads(line)["ticket"] for line in listed.out.splitlines()] == ["e-CS5000002"]
        noted = await world.ask("send", "note", T, "--body", "hello")
        assert (noted.code, "no message of e-CS5000001 has come yet" in noted.err) == (1, True)

        put(world, T, "Create", shortDescription="a fan is loud", priority="4")
        put(world, "e-CS5000002", "Update", clientTicketNumber="INC0002", priority="1")
        await world.drain()
        assert {number: told for number, told in world.ledger.returnptn.items() if told} == {T: ["INC0001"]}
        for number, ours, kinds in (
            (T, "INC0001", ["return_client_number"]),
            ("e-CS5000002", "INC0002", ["update_client_ticket"]),
        ):
            ticket = await show(world, number)
            assert (ticket["state"], [each["number"] for each in ticket["client_tickets"]]) == ("open", [ours])
            assert [effect["kind"] for effect in ticket["effects"]] == kinds
            assert ticket["anomalies"] == []
        (line,) = await reconcile(world)
        assert (line["code"], line["ticket"]) == ("import_open", "e-CS5000003")
        assert "cut-over" in line["detail"]
        await assert_replay_is_equal(world)


async def test_it_goes_to_the_running_processor(tmp_path: Path) -> None:
    async with open_world(tmp_path, Plan(tickets=0)) as world, await world.start():
        await wait_for((world.data / "control.sock").exists)
        file = write(
            tmp_path, [f"e-CS6{number:06},INC{number}" for number in range(MANY)], head="ensono_number,client_number\n"
        )
        counts = {"file": file, "pairs": MANY, "imported": MANY, "known": 0}
        assert document(await world.ask("link", "import", file)) == counts
        put(world, "e-CS6000007", "Create", shortDescription="a fan is loud")
        await world.simulator.wait_until(lambda ledger: ledger.returnptn["e-CS6000007"] == ["INC7"])
        assert document(await world.ask("link", "import", file)) == {**counts, "imported": 0, "known": MANY}
        put(world, T, "Create", shortDescription="a fan is loud")
        await world.simulator.wait_until(lambda ledger: ledger.returnptn[T] == ["LOCAL-0000001"])
        refused = await world.ask("link", "import", write(tmp_path, ["e-CS5000009,INC9,,1", f"{T},INC8,,1"]))
        assert (refused.code, refused.out) == (1, "")
        assert f"links.csv:3: client_number: the log has 'LOCAL-0000001' for {T}" in refused.err
        assert await count_links(world) == MANY
        await assert_replay_is_equal(world)


async def test_where_a_line_is_wrong_all_are_named_and_nothing_is_imported(tmp_path: Path) -> None:
    async with open_world(tmp_path, Plan(tickets=0)) as world:
        lines = [f"{T},INC1,,1", f"{T},INC2,,1", "e-CS2,n/a,,1", "CS3,INC3,,1", "e-CS4,\x1b[2JINC4,,0", "e-CS5,INC5"]
        refused = await world.ask("link", "import", write(tmp_path, lines))
        told = [line.split("links.csv:")[1] for line in refused.err.splitlines() if "links.csv:" in line]
        assert (refused.code, refused.out) == (1, "")
        assert [line.split(":")[:2] for line in told] == [
            ["3", " ensono_number"],
            ["4", " client_number"],
            ["5", " ensono_number"],
            ["6", " generation"],
            ["7", " columns"],
        ]
        assert "nothing was imported: 5 problems" in refused.err
        assert "\x1b" not in refused.err
        many = await world.ask("link", "import", write(tmp_path, ["x,y,,1"] * 30))
        assert (many.err.count("links.csv:"), "30 problems, 10 more are not shown" in many.err) == (20, True)
        gone = await world.ask("link", "import", str(tmp_path / "none.csv"))
        assert (gone.code, "No such file" in gone.err) == (1, True)
        assert (await world.ask("link", "import")).code == 2
        assert not world.data.exists()


async def test_a_link_that_was_forgotten_takes_the_place_of_a_create_that_waits(tmp_path: Path) -> None:
    async with open_world(tmp_path, Plan(tickets=0)) as world:
        forgotten, create = f"{T},INC0001,,1", f"create:{T}:g1"
        document(await world.ask("link", "import", write(tmp_path, ["e-CS5000002,INC0002,,1"])))
        document(await world.ask("pause", "desk"))
        async with await world.start() as running:
            await wait_for((world.data / "control.sock").exists)
            put(world, T, "Create", shortDescription="a fan is loud", priority="4")
            put(world, T, "Update", shortDescription="a fan is loud", priority="1")
            await world.reach(lambda ledger: ledger.calls["delete"] >= 2, running)
            refused = await world.ask("link", "import", write(tmp_path, [forgotten]))
            assert (refused.code, f"ecproc outbox discard {create}, then import again" in refused.err) == (1, True)
            document(await world.ask("outbox", "discard", create))
            assert document(await world.ask("link", "import", write(tmp_path, [forgotten])))["imported"] == 1
            document(await world.ask("resume", "desk"))
        await world.drain()
        assert world.ledger.returnptn[T] == ["INC0001"]
        ticket = await show(world, T)
        assert [each["number"] for each in ticket["client_tickets"]] == ["INC0001"]
        assert [effect["state"] for effect in ticket["effects"]] == ["completed"] * 3
        assert (ticket["waiting_for"], ticket["anomalies"]) == (None, [])
        await assert_replay_is_equal(world)


@pytest.mark.parametrize(
    ("failpoint", "held"),
    [("link.examined", 0), ("project.folded:1", MANY), ("project.committed:1", MANY)],
)
async def test_killed_in_the_middle_it_has_imported_all_or_nothing(failpoint: str, held: int, tmp_path: Path) -> None:
    async with open_world(tmp_path, Plan(tickets=0)) as world:
        file = write(tmp_path, [f"e-CS6{number:06},INC{number},,1" for number in range(MANY)])
        killed = await world.ask("link", "import", file, FAILPOINTS=failpoint)
        assert killed.code == -signal.SIGKILL, killed.err
        assert await count_links(world) == held
        counts = {"file": file, "pairs": MANY, "imported": MANY - held, "known": held}
        assert document(await world.ask("link", "import", file)) == counts
        assert await count_links(world) == MANY
        assert len(await reconcile(world)) == MANY
        await assert_replay_is_equal(world)
