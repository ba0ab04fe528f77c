"""Ticket documents, as `ecproc tickets` and `ecproc show` print them."""

from __future__ import annotations

from typing import Final

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from ecproc.config import Limits
from ecproc.reading.documents import NO_STATE
from ecproc.reading.filters import TicketFilter
from ecproc.reading.queries import Queries
from ecproc.telemetry.hooks import TICKET_STATES
from ecproc.web.answers import answer_document, answer_list, limit_parameter, read_limit
from ecproc.web.operations import JSON, Given, Operation, Parameter
from ecproc.web.problems import BadRequest
from ecproc.web.shapes import TicketDocument

SHOWN: Final = 80
"""How much of a name that is not there is said again."""
_STATES: Final = tuple(dict.fromkeys([*(state for states in TICKET_STATES.values() for state in states), NO_STATE]))


class TicketPages:
    """One method per page about tickets."""

    def __init__(self, queries: Queries, limits: Limits) -> None:
        self._queries = queries
        self._limits = limits

    def list_operations(self) -> tuple[Operation, ...]:
        """What can be asked."""
        return (
            Operation(
                path="/api/v1/tickets",
                name="tickets",
                text="Ticket documents by stream.",
                answer=self.list_tickets,
                parameters=(
                    Parameter(name="type", text="Only tickets of this type.", words=tuple(TICKET_STATES)),
                    Parameter(name="state", text="Only tickets in this state, or in none.", words=_STATES),
                    limit_parameter(self._limits),
                    Parameter(name="after", text="Begin behind this stream: the last document's `ticket`."),
                ),
                answers={JSON: list[TicketDocument]},
            ),
            Operation(
                path="/api/v1/tickets/{number}",
                name="ticket",
                text="One ticket's document, by Ensono's number or ours, in any case, with or without `e-`.",
                answer=self.show_ticket,
                parameters=(),
                answers={JSON: TicketDocument},
                fails={404: "There is no such ticket."},
            ),
        )

    async def list_tickets(self, request: Request, asked: Given) -> Response:
        wanted = TicketFilter(ticket_type=asked.text("type"), state=asked.text("state"))
        documents = self._queries.list_tickets(wanted, after=asked.text("after"), limit=read_limit(asked, self._limits))
        return await answer_list(documents)

    async def show_ticket(self, request: Request, asked: Given) -> Response:
        number = str(request.path_params["number"])
        document = await self._queries.ticket(number)
        if document is None:
            raise HTTPException(404, f"no ticket {number[:SHOWN]}")
        return answer_document(document)


async def find_stream(queries: Queries, asked: Given, name: str) -> str | None:
    """The stream that a parameter names by either number or by itself, None where it was not given."""
    wanted = asked.text(name)
    if wanted is None:
        return None
    stream = await queries.find_stream(wanted)
    if stream is None:
        raise BadRequest(f"no ticket {wanted[:SHOWN]}", field=name, status=404)
    return stream
