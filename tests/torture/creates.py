"""Tickets opened at Ensono's while answers get lost: none is missing, and two for one of ours are no fault of ours.

A POST that arrives after it was given up and sent again is beyond anybody: a pair is allowed where the queue could not
have told the first number before the second POST, and each is reported with both numbers (R97, C25).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import inf
from typing import Final

import msgspec

from ecproc.domain.commands import CommandAccepted, CommandKind
from ecproc.domain.ids import client_create_key, client_stream
from ecproc.fold.tables import TABLES
from ecproc.fold.tickets import MACHINES
from ecproc.reading.commands import CommandState
from ecproc.reading.queries import Queries
from ecproc.simulator.faults import CallFaults, FaultPlan
from tests.simulation.simloop import simulate
from tests.torture.frame import Figures, Part, Round
from tests.torture.world import LATEST, CommandWorld

CREATES: Final = 10_000
FAULTS: Final = FaultPlan(tickets=CallFaults(lost=0.05, hang=0.02, late=0.005), late_seconds=(1.0, LATEST))
FIELDS: Final = {
    "ticketType": "Incident",
    "shortDescription": "Printer",
    "description": "It does not print.",
    "contactName": "Ann",
    "contactEmail": "ann@client.example",
    "priority": "3",
}
TAKEN_IN: Final = 1.0
"""Seconds within which a number that was read keeps the create from being sent again."""
LONGEST_PAUSE: Final = 35.0
"""Seconds between two looks at an idle queue, with what a look takes: so long may a number stand in it unread."""


def run_creates(given: Round) -> Figures:
    """Open many tickets."""
    return simulate(lambda: _open_tickets(given), seed=given.seed)


async def _open_tickets(given: Round) -> Figures:
    world = CommandWorld(seed=given.seed)
    numbers = [f"INC{place:07}" for place in range(given.count(CREATES))]
    await world.carry_out([ask_create(number) for number in numbers], FAULTS)
    await world.books.check_replay()
    created, doubles = world.simulator.ledger.created, world.simulator.ledger.list_doubles()
    lost = [number for number in numbers if number not in created]
    findings = [*world.books.errors, *(f"{number} was never opened" for number in lost)]
    for number in created:
        findings += [*await _check_answer(world, number), *_check_resent(world, number)]
    for number, tickets in doubles.items():
        findings += await _check_reported(world, number, tickets)
    posts = world.watched.posts
    return Figures(
        what="creates",
        count=len(numbers),
        lost=len(lost),
        doubled=len(doubles),
        more={
            "unanswered": sum(world.faults.values()),
            "late": world.faults["late"],
            "resent": sum(len(times) - 1 for times in posts.values()),
            "resent unread": sum(world.opened[number][0] < posts[number][-1] for number in doubles),
        },
        findings=findings,
    )


def ask_create(number: str) -> tuple[str, CommandAccepted]:
    """The command that opens a ticket for that number of ours, with the stream it belongs in."""
    return client_stream(number), CommandAccepted(client_create_key(number), CommandKind.CREATE, "torture", FIELDS)


async def _check_answer(world: CommandWorld, number: str) -> list[str]:
    """The command is done, and names a ticket that there is."""
    shown, tickets = await world.show(client_create_key(number)), world.simulator.ledger.created[number]
    well = shown.state == CommandState.DONE and shown.ticket in tickets
    return [] if well else [f"{number}: {shown.state}, {shown.ticket} instead of one of {tickets}: {shown.answer}"]


def _check_resent(world: CommandWorld, number: str) -> Iterator[str]:
    """It was sent again only where the queue had told nothing, and could not have told anything for long."""
    told, opened = world.watched.told.get(number, inf), world.opened[number][0]
    for sent in world.watched.posts[number][1:]:
        if sent > told + TAKEN_IN:
            yield f"{number}: sent again {sent - told:.1f} s after the queue had told Ensono's number"
        elif sent > opened + LONGEST_PAUSE:
            yield f"{number}: sent again {sent - opened:.1f} s after Ensono had opened it"


async def _check_reported(world: CommandWorld, number: str, tickets: Sequence[str]) -> list[str]:
    """Each of the tickets is flagged beside another, and one of them, which came first, beside all the others."""
    queries = Queries(world.disk, tables=TABLES.names, machines=MACHINES, entries=100)
    beside: dict[str, set[str]] = {}
    for ticket in tickets:
        document = msgspec.json.decode(await queries.ticket(ticket) or b'{"anomalies":[]}')
        details = [item["detail"] for item in document["anomalies"] if item["code"] == "double_create"]
        pairs = [detail for detail in details if ticket in detail]
        beside[ticket] = {other for other in tickets if other != ticket and any(other in pair for pair in pairs)}
    silent = [ticket for ticket in tickets if not beside[ticket]]
    together = any(len(others) == len(tickets) - 1 for others in beside.values())
    return [] if together and not silent else [f"{number}: of {tickets} is told only {beside}"]


PART: Final = Part(name="creates", limit=900.0, run=run_creates)
