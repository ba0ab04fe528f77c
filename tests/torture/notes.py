"""Comments while answers get lost: none is missing, and no more come twice than nobody knew the outcome of (R117)."""

from __future__ import annotations

from typing import Final

from ecproc.domain.commands import CommandAccepted, CommandKind, Comment
from ecproc.domain.ids import EffectKey
from ecproc.fold.recorded import Kind
from ecproc.reading.commands import CommandState
from ecproc.simulator.faults import CallFaults, FaultPlan
from tests.simulation.simloop import simulate
from tests.torture.creates import ask_create
from tests.torture.frame import Figures, Part, Round
from tests.torture.world import CommandWorld

NOTES: Final = 4_000
TO_EACH: Final = 20
"""Comments of one ticket, which go one after the other."""
FAULTS: Final = FaultPlan(tickets=CallFaults(error_before=0.05, throttle=0.05, hang=0.02, lost=0.05))


def run_notes(given: Round) -> Figures:
    """Open tickets, then give each of them comments."""
    return simulate(lambda: _comment_tickets(given), seed=given.seed)


async def _comment_tickets(given: Round) -> Figures:
    world = CommandWorld(seed=given.seed)
    numbers = [f"INC{place:07}" for place in range(given.count(NOTES // TO_EACH))]
    await world.carry_out([ask_create(number) for number in numbers])
    ledger = world.simulator.ledger
    bodies = {ledger.created[number][0]: [f'{number}: "{place}"\n' for place in range(TO_EACH)] for number in numbers}
    notes = [_ask(ticket, place, said[place]) for place in range(TO_EACH) for ticket, said in bodies.items()]
    await world.carry_out(notes, FAULTS)
    await world.books.check_replay()
    lost = [body for ticket, said in bodies.items() for body in said if body not in ledger.notes[ticket]]
    doubled, unknown = ledger.count_repeated_notes(), (await world.count_kinds())[Kind.EFFECT_UNKNOWN]
    findings = [*world.books.errors, *(f"{body!r} is not there" for body in lost)]
    findings += [
        f"the comments of {ticket} came in another order: {ledger.notes[ticket]}"
        for ticket, said in bodies.items()
        if [*dict.fromkeys(ledger.notes[ticket])] != [body for body in said if body not in lost]
    ]
    for _, accepted in notes:
        shown = await world.show(accepted.key)
        findings += [f"{accepted.key}: {shown.state}: {shown.answer}"] if shown.state != CommandState.DONE else []
    if doubled > unknown:
        findings.append(f"{doubled} comments came twice, and of {unknown} calls only nobody knew the outcome")
    return Figures(
        what="comments",
        count=len(notes),
        lost=len(lost),
        doubled=doubled,
        more={"unknown": unknown, "applied": ledger.calls["notes"]},
        findings=findings,
    )


def _ask(ticket: str, place: int, body: str) -> tuple[str, CommandAccepted]:
    key = EffectKey(f"note-{ticket}-{place}")
    return ticket, CommandAccepted(key, CommandKind.NOTE, "torture", {}, (Comment(body, key),))


PART: Final = Part(name="notes", limit=600.0, run=run_notes)
