"""Both ways at once: what Ensono says reaches the record, what people change there reaches Ensono, and no echo does."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

import anyio
import pytest

from ecproc import mapping
from ecproc.commands.derive import DeskRules
from ecproc.mapping.load import load_mapping
from ecproc.simulator.servicenow.faults import FaultRule, InstanceFault
from tests.simulation.simloop import simulated_backend
from tests.simulation.two_ways import INTERVAL, TICKET, TwoWays, without_threads

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("without_threads")]
_ = without_threads
SETTLED = INTERVAL * 6


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return simulated_backend()


@pytest.mark.requirement("R83", "R215")
async def test_a_ticket_goes_to_the_desk_and_a_person_s_edits_come_back() -> None:
    ways = TwoWays()
    async with ways.running():
        record = await ways.open()
        assert record["short_description"] == "[e-CS0000001] mail is slow"
        ways.edit(urgency="1", impact="1", comments="nobody can work")
        await anyio.sleep(SETTLED)
        ways.send("Update", priority="2", changed={"priority": "2"})
        await anyio.sleep(SETTLED)
        assert [update["priority"] for update in ways.updates if "priority" in update] == ["1"]
        assert len(ways.notes) == 1
        assert "nobody can work" in ways.notes[0]
        assert (ways.record()["impact"], ways.record()["urgency"]) == ("1", "2")
        assert len(await ways.list_own()) == 2


@pytest.mark.requirement("R83", "R215")
async def test_what_a_person_did_before_the_answer_to_a_create_was_known_comes_back() -> None:
    ways = TwoWays()
    ways.at.simulator.faults.inject(FaultRule(kind=InstanceFault.LOST_ANSWER, method="POST", table="incident"))
    async with ways.running():
        ways.send("Create", status="open", priority="4", shortDescription="mail is slow", description="since 9")
        await anyio.sleep(10)
        ways.edit(short_description="all mail is slow", comments="nobody can work")
        await anyio.sleep(SETTLED * 2)
        assert [update.get("shortDescription") for update in ways.updates] == ["all mail is slow"]
        assert len(ways.notes) == 1


@pytest.mark.requirement("R97")
@pytest.mark.parametrize("dies", [False, True])
async def test_a_create_applied_behind_its_look_up_is_told_though_nobody_works_on_the_ticket(dies: bool) -> None:
    ways = TwoWays()
    late = FaultRule(kind=InstanceFault.APPLY_LATE, method="POST", table="incident", seconds=300)
    ways.at.simulator.faults.inject(late)
    async with ways.running():
        ways.send("Create", status="open", priority="4", shortDescription="mail is slow", description="since 9")
        await anyio.sleep(200)
        linked = ways.record()
        await anyio.sleep(0 if dies else SETTLED * 2)
    async with ways.running():
        await anyio.sleep(SETTLED * 2)
        [second] = [row["number"] for row in ways.at.simulator.find("incident") if row["number"] != linked["number"]]
        told = [row.data for row in await ways.world.disk.read_rows("anomaly", stream=TICKET)]
        assert [row.tag for row in await ways.world.disk.read_rows("anomaly", stream=TICKET)] == ["double_create"]
        assert f"{linked['number']}, {second}".encode() in (told[0] or b"")
        assert ways.updates == []


@pytest.mark.requirement("R205", "R206")
async def test_a_ticket_that_goes_inside_and_is_resolved_there_is_one_update_and_one_resolve() -> None:
    rule = DeskRules(ensono_groups=("Ensono*",), group="Client internal")
    ways = TwoWays(rules=rule, mapping=mapping_with_groups())
    async with ways.running():
        await ways.open()
        groups = {row["name"]: row["sys_id"] for row in ways.at.simulator.find("sys_user_group")}
        ways.edit(assignment_group=groups["Ensono Support"])
        await anyio.sleep(SETTLED)
        before = len(await ways.list_own())
        ways.edit(assignment_group=groups["Hardware"])
        await anyio.sleep(SETTLED)
        ways.edit(state="6", close_code="Solution provided", close_notes="a new fan")
        await anyio.sleep(SETTLED)
        own = (await ways.list_own())[before:]
        assert [key.partition(":")[0] for key in own] == ["ec-int", "ec-resolve"]
        told = ways.updates[-2:]
        assert (told[0]["group"], told[0]["status"]) == ("Client internal", "pending")


@pytest.mark.requirement("R215")
async def test_our_own_resolve_is_no_news() -> None:
    ways = TwoWays()
    async with ways.running():
        await ways.open()
        ways.send("Update", status="resolved", closeNotes="done", changed={"status": "resolved"})
        await anyio.sleep(SETTLED)
        assert ways.record()["state"] == "6"
        assert await ways.list_own() == []


@pytest.mark.requirement("R215")
@pytest.mark.parametrize("lost", [False, True])
async def test_what_became_of_our_own_words_at_the_desk_is_no_news(lost: bool) -> None:
    ways = TwoWays(mapping=mapping_with_groups())
    async with ways.running():
        await ways.open(group="Network")
        before = await ways.list_own()
        if lost:
            rule = FaultRule(kind=InstanceFault.LOST_ANSWER, method="PATCH", times=12)
            ways.at.simulator.faults.inject(rule)
        ways.send("Update", group="Nobody's", changed={"group": "Nobody's"})
        await anyio.sleep(1_200)
        groups = {row["sys_id"]: row["name"] for row in ways.at.simulator.find("sys_user_group")}
        assert groups[ways.record()["assignment_group"]] == "Service Desk", "which stands in for what it lacks"
        assert await ways.list_own() == before


@pytest.mark.requirement("R215")
@pytest.mark.parametrize("seed", range(25))
async def test_whatever_comes_between_a_person_s_words_and_edits_are_told_once_and_ours_never(seed: int) -> None:
    rng, ways = Random(seed), TwoWays(seed)
    said: list[str] = []
    titles: list[str] = []

    def say() -> None:
        said.append(f"words <{len(said)}>")
        ways.edit(comments=said[-1])

    def rename() -> None:
        titles.append(f"title {len(titles)}")
        ways.edit(short_description=titles[-1])

    def note() -> None:
        comment = {"body": "from Ensono", "commenter": "Ann", "comment_time": "2026-01-01 00:00:00"}
        ways.send("Comment", comments=[comment])

    def lose() -> None:
        ways.at.simulator.faults.inject(FaultRule(kind=InstanceFault.LOST_ANSWER, method="PATCH"))

    def prioritize() -> None:
        ways.send("Update", priority=(priority := rng.choice("1234")), changed={"priority": priority})

    def move() -> None:
        ways.send("Update", status=(status := rng.choice(["workinprogress", "open"])), changed={"status": status})

    for life in range(2):
        async with ways.running():
            if not life:
                await ways.open()
            for _ in range(12):
                rng.choice([say, rename, note, prioritize, move, lose])()
                await anyio.sleep(rng.choice([0.0, 0.01, 0.5, 3.0, 29.0, 31.0]))
    async with ways.running() as (pipeline, _watching):
        await anyio.sleep(600)
        assert pipeline.idle
        assert [sum(words in text for text in ways.notes) for words in said] == [1] * len(said)
        assert len(ways.notes) == len(said), "and no note of Ensono's"
        sent = [update for update in ways.updates if "shortDescription" in update]
        own = [key for key in await ways.list_own() if key.startswith("ec-upd")]
        assert len(own) <= len(titles)
        if titles:
            assert sent[-1]["shortDescription"] == titles[-1]
        assert not [update for update in ways.updates if "priority" in update], "that is Ensono's own doing"


def mapping_with_groups() -> Any:
    text = Path(mapping.__file__).with_name("servicenow.toml").read_text(encoding="utf-8")
    rule = (
        '[[from_desk]]\ntype = "any"\nfield = "group"\nfrom = "assignment_group"\nreference = "group"\ndefault = "X"\n'
    )
    return load_mapping(text + rule, source="mapping.toml")
