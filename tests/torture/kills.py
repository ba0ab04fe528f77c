"""A processor killed at every failpoint on the way of every command: what was accepted reaches Ensono, and what a class
promises to do once is done once.

Each case is a command for a ticket of its own: `ecproc send … --wait` runs the whole processor, which dies, and the
same line once more has to end with the command done. Ensono may be told twice only where it had been told at the kill,
and no outcome was in the log by then; for what sets a value or counts once that is no harm.
"""

from __future__ import annotations

import signal
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any, Final

import anyio
import msgspec

from ecproc.domain.commands import CommandKind
from ecproc.failpoints import FAILPOINTS
from ecproc.simulator.bridge import RawMessage
from ecproc.simulator.ledger import Ledger
from tests.acceptance.world import ROOT, Plan, World, is_empty, open_world
from tests.torture.frame import Figures, Part, Round

HITS: Final = (1, 2)
"""At which hits of a failpoint the processor dies: the first is often the acceptance's, the second the outcome's."""
OUTCOME_DURABLE: Final = frozenset({"settle.committed"})
"""Failpoints behind which nobody has to ask what became of a call."""
DOUBLED: Final = frozenset({CommandKind.CREATE, CommandKind.NOTE, CommandKind.ATTACH})
"""Commands of which a second call leaves a second thing."""
LEAST_POINTS: Final = 12
_VISIBILITY: Final = 0.5
_WAITS: Final = {"OUTBOX__UNKNOWN_RETRY": f"{2 * _VISIBILITY:g},{4 * _VISIBILITY:g}"}
"""As long, beside the time for which messages are hidden, as it usually is: what died with a message has to show it."""
OF_THE_QUEUE: Final = frozenset(
    {"receive.sent", "append.begun", "append.written", "append.committed", "delete.sent", "desk.committed"}
)
"""Failpoints on the way of messages: they are met while one of another ticket comes in beside the command."""
NOISE: Final = "e-CS0999999"
"""That other ticket."""


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """One command, the failpoint at which its processor dies, and the names that are its own."""

    kind: CommandKind
    failpoint: str
    hit: int
    place: int

    @property
    def number(self) -> str:
        """Our number."""
        return f"INC{self.place:07}"

    @property
    def ticket(self) -> str:
        """Ensono's, where the ticket was there before."""
        return f"e-{'CHG' if self.is_change else 'CS'}{self.place:07}"

    @property
    def is_change(self) -> bool:
        """Whether it is a change's."""
        return self.kind in (CommandKind.APPROVE, CommandKind.REJECT)

    @property
    def name(self) -> str:
        """What the case is called where it is told of."""
        return f"{self.kind} at {self.failpoint}:{self.hit}"


def list_cases(given: Round) -> list[Case]:
    """Every command at every failpoint and hit; where a share is wanted the seed chooses pairs, and one hit of each."""
    rng, pairs = Random(given.seed), [(kind, point) for kind in CommandKind for point in sorted(FAILPOINTS)]
    if given.share >= 1:
        chosen = [(kind, point, hit) for kind, point in pairs for hit in HITS]
    else:
        some = sorted(rng.sample(range(len(pairs)), given.count(len(pairs))))
        chosen = [(*pairs[place], rng.choice(HITS)) for place in some]
    return [
        Case(kind=kind, failpoint=point, hit=hit, place=place) for place, (kind, point, hit) in enumerate(chosen, 1)
    ]


# --- what is asked, and what Ensono has of it -------------------------------------------------------------------------


def write_line(case: Case, file: Path) -> list[str]:
    """The command's arguments. Its key, where it has none by nature, is the case's."""
    ticket, key = case.ticket, ["--key", f"kill-{case.place}"]
    match case.kind:
        case CommandKind.CREATE:
            contact = ["--contact-name", "Ann", "--contact-email", "ann@client.example"]
            texts = ["--short", "Printer", "--description", "It does not print."]
            return ["create", "--type", "Incident", "--number", case.number, *texts, *contact]
        case CommandKind.UPDATE:
            return ["update", ticket, "--short", case.name, *key]
        case CommandKind.NOTE:
            return ["note", ticket, "--body", case.name, *key]
        case CommandKind.RESOLVE | CommandKind.CLOSE | CommandKind.CANCEL:
            return [case.kind, ticket, "--notes", case.name]
        case CommandKind.ATTACH:
            return ["attach", ticket, str(file)]
        case CommandKind.APPROVE | CommandKind.REJECT:
            return [case.kind, ticket, "--approver", "ann@client.example", "--comment", case.name]
        case CommandKind.RETURN_NUMBER:
            return ["return-number", ticket, case.number]


def count_done(case: Case, ledger: Ledger) -> int:
    """How often Ensono did what the command asks for."""
    match case.kind:
        case CommandKind.CREATE:
            return len(ledger.created.get(case.number, ()))
        case CommandKind.NOTE:
            return ledger.notes[case.ticket].count(case.name)
        case CommandKind.ATTACH:
            return sum(file.ticket == case.ticket for file in ledger.uploads)
        case CommandKind.APPROVE | CommandKind.REJECT:
            return sum(case.name.rstrip(".") in decision.comment for decision in ledger.decisions[case.ticket])
        case CommandKind.RETURN_NUMBER:
            return ledger.returnptn[case.ticket].count(case.number)
        case _:
            return sum(case.name in update.values() for update in ledger.updates[case.ticket])


def prepare_messages(case: Case) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """What the queue tells of the case's ticket before, with transactions."""
    if case.kind is CommandKind.CREATE:
        return
    body = {"clientName": "testClient", "ticketNumber": case.ticket, "clientTicketNumber": "", "ticketType": "Incident"}
    if case.is_change:
        change = {**body, "ticketType": "Change", "type": "Normal", "state": "Assess"}
        yield "Create", change
        approver = {"approverName": "Ann", "approverEmail": "ann@client.example"}
        yield "Approval Request", {**change, "approvalId": f"a{case.place}", "approvalState": "Requested", **approver}
        return
    yield "Create", {**body, "status": "open", "shortDescription": "s"}
    if case.kind is CommandKind.CLOSE:
        yield "Closure", {**body, "status": "resolved", "changed": {"status": "resolved"}}


# --- a round ----------------------------------------------------------------------------------------------------------


class Killing:
    """One bridge, one data directory, and what its cases came to."""

    def __init__(self, world: World, folder: Path) -> None:
        self.findings: list[str] = []
        self.died: list[Case] = []
        self.counts: dict[str, int] = {"lost": 0, "doubled": 0, "repeated": 0, "not reached": 0}
        self._world = world
        self._folder = folder

    async def prepare(self, cases: Sequence[Case]) -> None:
        """Let a processor take what the queue tells of all tickets."""
        self._send(NOISE, "Create", {"ticketNumber": NOISE, "ticketType": "Incident", "status": "open"})
        for case in cases:
            for transaction, body in prepare_messages(case):
                self._send(case.ticket, transaction, body)
        answer = await self._world.ask("run", "--drain", "--timeout", "120")
        if answer.code != 0 or not is_empty(self._world.ledger):
            self.findings.append(f"nothing was prepared: exit {answer.code}: {answer.err[-500:]}")

    async def kill(self, case: Case) -> None:
        """Let the case's processor die, and another one end what it began."""
        world, ledger = self._world, self._world.ledger
        file = self._folder / f"{case.place}.txt"
        file.write_text(case.name, encoding="utf-8")
        line = ("send", *write_line(case, file), "--wait", "--timeout", "60")
        if case.failpoint in OF_THE_QUEUE:
            note = {"type": "comment", "id": f"{case.place:032x}", "body": case.name}
            self._send(NOISE, "Notes", {"ticketNumber": NOISE, "ticketType": "Incident", "notes": note})
        first = await world.ask(*line, FAILPOINTS=f"{case.failpoint}:{case.hit}", **_WAITS)
        before = count_done(case, ledger)
        if first.code == -signal.SIGKILL:
            self.died.append(case)
            again = await world.ask(*line, **_WAITS)
        else:
            self.counts["not reached"] += 1
            again, before = first, 0
        if again.code != 0:
            self.findings.append(f"{case.name}: exit {again.code}: {again.out[-300:]}{again.err[-500:]}")
        self._judge(case, before, count_done(case, ledger))

    def _judge(self, case: Case, before: int, after: int) -> None:
        allowed = 1 if case.failpoint in OUTCOME_DURABLE else 1 + before
        if after == 0:
            self.counts["lost"] += 1
        elif after > 1:
            self.counts["doubled" if case.kind in DOUBLED else "repeated"] += 1
        if not 0 < after <= allowed:
            self.findings.append(f"{case.name}: done {after} times, {before} of them at the kill")

    async def check_replay(self) -> None:
        """What is left is what a replay makes of the log."""
        replayed = await self._world.ask("replay", "--verify")
        if replayed.code != 0:
            self.findings.append(f"replay --verify: exit {replayed.code}: {replayed.out[-500:]}")

    def _send(self, group: str, transaction: str, body: Mapping[str, Any]) -> None:
        attributes = {"MessageGroupId": group, "TransactionType": transaction}
        self._world.simulator.bridge.send_raw(RawMessage(msgspec.Raw(msgspec.json.encode(body)), attributes))


def run_kills(given: Round) -> Figures:
    """Kill at every case, one after the other."""
    cases = list_cases(given)
    with tempfile.TemporaryDirectory() as folder:
        killing = anyio.run(kill_all, cases, Path(folder))
    findings = [*killing.findings, *(_find_unreached(killing.died) if given.share >= 1 else ())]
    return _sum_up(killing, len(cases), findings)


async def kill_all(cases: Sequence[Case], folder: Path, package_root: Path = ROOT) -> Killing:
    """Kill at these cases in a folder of their own, and compare what is left with a replay."""
    async with open_world(folder, Plan(tickets=0, visibility=_VISIBILITY, package_root=package_root)) as world:
        killing = Killing(world, folder)
        await killing.prepare(cases)
        for case in cases:
            await killing.kill(case)
        await killing.check_replay()
    return killing


def _find_unreached(died: Sequence[Case]) -> Iterator[str]:
    for kind in CommandKind:
        points = sorted({case.failpoint for case in died if case.kind is kind})
        if len(points) < LEAST_POINTS:
            yield f"{kind}: killed at {len(points)} failpoints only: {', '.join(points)}"


def _sum_up(killing: Killing, count: int, findings: Sequence[str]) -> Figures:
    counts, reached = killing.counts, {case.failpoint for case in killing.died}
    return Figures(
        what="commands",
        count=count,
        lost=counts["lost"],
        doubled=counts["doubled"],
        more={
            "repeated": counts["repeated"],
            "killed": len(killing.died),
            "not reached": counts["not reached"],
            "failpoints": len(reached),
        },
        findings=findings,
        told=[f"{kind} died at {points}" for kind in CommandKind if (points := _list_points(killing.died, kind))],
    )


def _list_points(died: Sequence[Case], kind: CommandKind) -> str:
    return ", ".join(f"{case.failpoint}:{case.hit}" for case in died if case.kind is kind)


PART: Final = Part(name="kills", limit=1_800.0, run=run_kills)
