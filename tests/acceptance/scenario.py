"""The scenario that proves the main job: lives come in, the processor is killed on the way, then all must be well."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Final

import msgspec

from ecproc.simulator.cases import CaseScript
from ecproc.simulator.changes import ChangeScript, reach_generation_three
from ecproc.simulator.script import ScriptedLife, Setting
from ecproc.simulator.settings import Scenario
from tests.acceptance.claims import check_claims
from tests.acceptance.world import Plan, World, is_empty, open_world

REACH: Final[Mapping[str, int]] = {"delete": 60, "receive": 12, "returnptn": 10, "file": 8}
"""How many more calls of a kind a random kill waits for at most."""

MORE: Final = 20
"""Lives that begin each time the processor is done with all others before its kills are over."""

TWINS: Final = 3
REDRAFTS: Final = 8
"""Lives that come on top of the plan's."""

ONCE: Final = frozenset({"start.recovered"})
"""Failpoints that a process meets only once."""


class Kill(msgspec.Struct, frozen=True):
    """One end by SIGKILL: at the count-th hit of a failpoint, or when the bridge saw `count` more calls of a kind."""

    name: str
    count: int


def pick_kills(seed: int, *, failpoints: Sequence[str], moments: int) -> list[Kill]:
    """Each failpoint once and so many random moments, mixed."""
    rng = random.Random(seed)
    kills = [Kill(name, 1 if name in ONCE else rng.randint(1, 5)) for name in sorted(failpoints)]
    for _ in range(moments):
        call = rng.choice(sorted(REACH))
        kills.append(Kill(call, rng.randint(1, REACH[call])))
    rng.shuffle(kills)
    return kills


async def run_scenario(folder: Path, plan: Plan, *, kills: Sequence[Kill] = (), redelivered: float = 0.0) -> None:
    """Let the plan's lives come, kill the processor, drain, and check every claim; raises Broken if one falls."""
    async with open_world(folder, plan) as world:
        world.simulator.stage.play([write_twins(world, number) for number in range(TWINS)])
        world.simulator.stage.play([write_redrafts(world, number) for number in range(REDRAFTS)])
        try:
            await die_often(world, kills)
            await world.drain()
            await check_claims(world, redelivered=redelivered)
        except AssertionError as error:
            error.add_note(f"seed {plan.seed}, {plan}\nkills {kills}")
            raise


async def die_often(world: World, kills: Sequence[Kill]) -> None:
    """Run a processor to each of these ends, always with work before it."""
    sending = asyncio.create_task(keep_sending(world))
    try:
        for kill in kills:
            await die(world, kill)
    finally:
        sending.cancel()


async def keep_sending(world: World) -> None:
    """Begin more lives whenever all is deleted: a kill may wait for a call that only new ones bring about."""
    for seed in count(world.plan.seed + 1):
        await world.simulator.wait_until(is_empty)
        world.simulator.stage.start(Scenario(tickets=MORE, seed=seed, rate=world.plan.rate))


async def die(world: World, kill: Kill) -> None:
    """Run a processor to one end."""
    if kill.name not in REACH:
        await world.die_at(kill.name, kill.count)
        return
    goal = world.ledger.calls[kill.name] + kill.count
    await world.kill_when(lambda ledger: ledger.calls[kill.name] >= goal)


def write_twins(world: World, number: int) -> ScriptedLife:
    """A life with two honest messages of one MessageDeduplicationId: equal updates that lie far enough apart."""
    case = CaseScript(describe_setting(world, number), ticket=f"e-CS099000{number}")
    case.create()
    case.move("pending")
    case.move("workinprogress")
    case.move("pending")
    case.anomalies.append("repeated_dedup_id")
    life = case.finish("twins")
    twin = msgspec.structs.replace(life.messages[1], message_id=life.messages[3].message_id)
    return put_in_order(msgspec.structs.replace(life, messages=(*life.messages[:3], twin)))


def write_redrafts(world: World, number: int) -> ScriptedLife:
    """A change that is redrafted twice: three client tickets, and three numbers to return in this order."""
    change = ChangeScript(describe_setting(world, number), ticket=f"e-CHG099000{number}", type_name="Normal")
    reach_generation_three(change)
    return put_in_order(change.finish("redrafts"))


def describe_setting(world: World, number: int) -> Setting:
    """What a script needs to know of the world it plays in."""
    bridge = world.simulator.bridge
    return Setting(
        rng=random.Random(number),
        base_time_ms=int(bridge.clock() * 1000),
        url_base=bridge.url_base,
        client_name=bridge.config.client_name,
    )


def put_in_order(life: ScriptedLife) -> ScriptedLife:
    """Number a life's messages as the stage wants them; the queue gives them its own numbers."""
    stamped = [
        msgspec.structs.replace(message, attributes={**message.attributes, "SequenceNumber": str(place)})
        for place, message in enumerate(life.messages)
    ]
    return msgspec.structs.replace(life, messages=tuple(stamped))
