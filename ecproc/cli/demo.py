"""`ecproc demo`: the whole job at work, and the proof that nothing was lost or done twice."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from math import ceil
from pathlib import Path
from typing import Annotated, Final

import anyio
import msgspec
from cyclopts import Parameter, validators

from ecproc.cli.demo_child import Child, replay, write_environment
from ecproc.cli.demo_people import is_left_open
from ecproc.cli.demo_proof import Proof, take_proof
from ecproc.cli.demo_scene import ScenarioName, Scene, open_scene
from ecproc.cli.demo_screen import DemoWatch, Screen, open_screen
from ecproc.cli.output import flush, say, write_document, write_text
from ecproc.cli.session import Failed, Json, Own, Stopped, UsageError
from ecproc.config import load_config
from ecproc.errors import ExitCode
from ecproc.simulator.faults import MILD, NONE
from ecproc.simulator.lives import DECK_SIZE, generate_lives
from ecproc.simulator.queue import QueueRules
from ecproc.simulator.script import ScriptedLife
from ecproc.simulator.server import Simulator, run_simulator
from ecproc.simulator.settings import SimulatorConfig

MESSAGES: Final[Mapping[ScenarioName, int]] = {"bridge": 1500, "desk": 800}
"""How many are sent by default: either is over in less than a minute."""
KEPT: Final = "demo-data"
VISIBILITY: Final = 3.0
"""Seconds; with Ensono's 30 every kill would be half a minute of waiting."""
KILLS: Final = (0.4, 0.7)
"""The processor is killed when this share of the messages has been deleted."""

_SENDING_SECONDS: Final = 18.0
_SLOWEST: Final = 20.0
"""Messages a second; at less the queue would look drained in between."""
_REST_SECONDS: Final = 60.0
"""What a start and a drain may take beside the messages: a machine may be slow, but nothing may hang."""
_LOOK_SECONDS: Final = 0.2
_SEED: Final = 0
_DATA: Final = "data"
_MARKER: Final = ".ecproc-demo"
"""The file by which a demo's folder is known."""
_LEAST_REDELIVERED: Final = 0.02
"""The share of messages that must have come again, or the faults were none."""


def demo(
    *,
    messages: Annotated[
        int | None,
        Parameter(
            help=f"About how many to send ({MESSAGES['bridge']}; {MESSAGES['desk']} with --scenario desk).",
            validator=validators.Number(gte=1),
        ),
    ] = None,
    faults: Annotated[
        bool, Parameter(negative="--no-faults", help="Fail calls, repeat messages, and kill the processor twice.")
    ] = True,
    scenario: Annotated[
        ScenarioName,
        Parameter(help="bridge: to the built-in desk. desk: to a simulated ServiceNow, whose people edit and comment."),
    ] = "bridge",
    keep: Annotated[
        Path | None,
        Parameter(
            help=f"Keep the data in this folder, new or a former demo's; ./{KEPT} on a terminal.", metavar="FOLDER"
        ),
    ] = None,
    json: Json = False,
    session: Own,
) -> ExitCode:
    """Run the processor against a simulated bridge until all is done, and prove it from the bridge's side.

    With --scenario desk it works a simulated ServiceNow in both directions, and the instance's side is counted too.
    Prints the proof as one line, with --json as one document, and exits 0 if it holds.

    Example:
        ecproc demo
        ecproc demo --scenario desk
        ecproc demo --messages 5000 --keep proof
    """
    session.start_logging()
    keep = Path(KEPT) if keep is None and sys.stdout.isatty() else keep
    folder = make_folder(keep)
    holds = False
    try:
        proof, lives = session.run_unless_stopped(
            partial(_play, scenario, folder, messages=messages or MESSAGES[scenario], faults=faults)
        )
        holds = proof.holds
    except (KeyboardInterrupt, Stopped):
        holds = True  # it was not the demo that failed
        raise
    finally:
        if not holds:
            say(f"everything is kept in {folder}")
        elif keep is None:
            shutil.rmtree(folder, ignore_errors=True)
    if json:
        write_document(msgspec.structs.asdict(proof) | {"holds": holds})
    else:
        write_text(proof.describe())
    flush()
    for line in _write_hints(scenario, lives, keep) if holds else proof.complaints:
        say(line)
    return ExitCode.OK if holds else ExitCode.FAILED


def make_folder(keep: Path | None) -> Path:
    """A new folder, in the place of a former demo's; a temporary one if none is named. Raises UsageError."""
    if keep is None:
        return Path(tempfile.mkdtemp(prefix="ecproc-demo-"))
    folder = keep.absolute()
    if (folder / _MARKER).is_file() and not folder.is_symlink():
        shutil.rmtree(folder)
    try:
        folder.mkdir(mode=0o700, parents=True)
        (folder / _MARKER).touch()
    except FileExistsError as error:
        raise UsageError(f"{folder} is no former demo's: name a new folder with --keep") from error
    return folder


async def _play(
    scenario: ScenarioName, folder: Path, *, messages: int, faults: bool
) -> tuple[Proof, Sequence[ScriptedLife]]:
    config = SimulatorConfig(
        queue=QueueRules(visibility=VISIBILITY), faults=MILD if faults else NONE, client="demo", seed=_SEED
    )
    async with run_simulator(config) as simulator:
        lives = _write_lives(simulator, messages, needs_open=scenario == "desk")
        async with open_scene(scenario, simulator.ledger, lives, faults=faults, seed=_SEED) as scene:
            return await _work(simulator, scene, folder, lives, kills=KILLS if faults else ()), lives


async def _work(
    simulator: Simulator, scene: Scene, folder: Path, lives: Sequence[ScriptedLife], *, kills: Sequence[float]
) -> Proof:
    environment = write_environment(simulator, folder / _DATA, visibility=VISIBILITY, desk=scene.variables)
    watch = DemoWatch(simulator.ledger, load_config(None, environment), total=sum(len(life.messages) for life in lives))
    rate = max(watch.total / _SENDING_SECONDS, _SLOWEST)
    child = Child(environment, folder / "processor.log", seconds=watch.total / _SLOWEST + _REST_SECONDS)
    simulator.stage.play(lives, rate=rate)
    with open_screen() as screen:
        screen.remark(f"{watch.total} messages about {len(lives)} tickets, {len(kills)} kills to come")
        await _run(child, watch, scene, screen, kills=kills)
        if done := scene.act_unseen():
            screen.remark(f"drained; {done} edits at the desk while nothing runs, starting again")
            await _run(child, watch, scene, screen, kills=(), killed=len(kills))
        screen.remark("drained; now replaying the log")
        replayed = await replay(environment)
    proof = await take_proof(
        watch.config,
        simulator.ledger,
        lives,
        opened=scene.list_opened(watch.config),
        replayed=replayed,
        least_redelivered=_LEAST_REDELIVERED if kills else 0.0,
    )
    return scene.prove(proof)


def _write_lives(simulator: Simulator, messages: int, *, needs_open: bool) -> Sequence[ScriptedLife]:
    """About so many messages' lives; with `needs_open` as many more as it takes for one that people can go on with."""
    write = partial(
        generate_lives,
        _SEED,
        base_time_ms=int(simulator.bridge.clock() * 1000),
        url_base=simulator.bridge.url_base,
        client_name=simulator.bridge.config.client_name,
    )
    deck = write(tickets=DECK_SIZE)
    tickets = ceil(messages * DECK_SIZE / sum(len(life.messages) for life in deck))
    if needs_open:
        first = next(place for place, life in enumerate(deck) if is_left_open(life) and life.outcome.type != "Change")
        tickets = max(tickets, first + 1)
    return write(tickets=tickets)


async def _run(
    child: Child, watch: DemoWatch, scene: Scene, screen: Screen, *, kills: Sequence[float], killed: int = 0
) -> None:
    """Let the processor work until it has drained, kill it on the way and start it again."""
    async with child:
        await child.start()
        coming = list(kills)
        while child.exit_code is None:
            sight = await watch.look(kills=killed + len(kills) - len(coming))
            screen.show(sight)
            await scene.act(watch.config)
            if coming and sight.deleted >= coming[0] * watch.total:
                await child.kill()
                screen.remark(f"killed with {sight.deleted} of {watch.total} messages deleted, starting again")
                await child.start()
                coming.pop(0)
            await anyio.sleep(_LOOK_SECONDS)
        screen.show(await watch.look(kills=killed + len(kills) - len(coming)))
    if child.exit_code != ExitCode.OK:
        say(child.last_words())
        raise Failed(f"the processor ended with exit code {child.exit_code}, after these last words")


def _write_hints(scenario: ScenarioName, lives: Sequence[ScriptedLife], kept: Path | None) -> Sequence[str]:
    """How to look at a ticket with a story worth reading."""
    life = max(lives, key=lambda life: (life.outcome.generation, len(life.messages)))
    program = _name_program()
    data = shlex.quote(str((kept or Path(KEPT)) / _DATA))
    commands = [f"ECPROC_DATA__DIR={data} {shlex.quote(program)} show {life.ticket}"]
    if kept is None:
        commands.insert(0, f"{shlex.quote(program)} demo --scenario {scenario} --keep {KEPT}")
    return ["to look at a ticket:", *(f"  {command}" for command in commands)]


def _name_program() -> str:
    """How whoever started this can start it again from where they are."""
    own = sys.argv[0]
    if Path(own).name != "ecproc":
        return "ecproc"
    with suppress(FileNotFoundError):  # the directory may be gone
        return os.path.relpath(own)
    return own
