"""Outbox entries and messages in quarantine, as `ecproc outbox` and `ecproc quarantine` print them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Final

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from ecproc.config import Limits
from ecproc.domain.entry import EntryState
from ecproc.reading.entries import EntryDetail, EntryFilter, ShownEntry
from ecproc.reading.quarantine import QuarantineDetail, QuarantinedMessage
from ecproc.reading.queries import Queries
from ecproc.telemetry.hooks import EFFECT_KINDS, ENTRY_STATES, LANES, QUARANTINE_REASONS
from ecproc.web.answers import answer_document, answer_list, limit_parameter, read_limit
from ecproc.web.operations import JSON, Given, Operation, Parameter, flag
from ecproc.web.problems import BadRequest
from ecproc.web.tickets import SHOWN, find_stream

_ENDED: Final = (EntryState.COMPLETED, EntryState.CANCELLED)
_LARGEST: Final = 2**63 - 1


class OutboxPages:
    """One method per page about entries and about what could not be taken."""

    def __init__(self, queries: Queries, limits: Limits) -> None:
        self._queries = queries
        self._limits = limits

    def list_operations(self) -> tuple[Operation, ...]:
        """What can be asked."""
        limit = limit_parameter(self._limits)
        return (
            Operation(
                path="/api/v1/outbox",
                name="outbox",
                text="Outbox entries by ticket, in planned order; completed and cancelled ones only where asked for.",
                answer=self.list_entries,
                parameters=(
                    Parameter(name="state", text="Only entries in this state.", words=ENTRY_STATES),
                    Parameter(name="lane", text="Only entries of this lane.", words=LANES),
                    Parameter(name="kind", text="Only entries of this kind.", words=EFFECT_KINDS),
                    Parameter(name="ticket", text="Only entries of this ticket, by either number."),
                    Parameter(name="reason", text="Only entries whose reason has this text in it, in any case."),
                    flag("all", "Completed and cancelled entries too."),
                    limit,
                    Parameter(name="after", text="Begin behind the entry with this key."),
                ),
                answers={JSON: list[ShownEntry]},
                fails={404: "There is no such ticket, or no entry to begin behind."},
            ),
            Operation(
                path="/api/v1/outbox/{key}",
                name="entry",
                text="One outbox entry: its cause, every attempt and answer, what it waits for and what waits for it.",
                answer=self.show_entry,
                parameters=(),
                answers={JSON: EntryDetail},
                fails={404: "There is no such entry."},
            ),
            Operation(
                path="/api/v1/quarantine",
                name="quarantine",
                text="Messages that could not be taken, by position.",
                answer=self.list_messages,
                parameters=(
                    Parameter(name="reason", text="Only those for this reason.", words=QUARANTINE_REASONS),
                    limit,
                    Parameter(name="after", text="Begin behind this position.", numbers=(0, _LARGEST)),
                ),
                answers={JSON: list[QuarantinedMessage]},
            ),
            Operation(
                path="/api/v1/quarantine/{name}",
                name="quarantined",
                text="One message that could not be taken, by its position or MessageId.",
                answer=self.show_message,
                parameters=(),
                answers={JSON: QuarantineDetail},
                fails={404: "There is no such message in quarantine."},
            ),
        )

    async def list_entries(self, request: Request, asked: Given) -> Response:
        state, after = asked.text("state"), asked.text("after")
        if after is not None and not await self._queries.has_entry(after):
            raise BadRequest(f"no outbox entry {after[:SHOWN]}", field="after", status=404)
        wanted = EntryFilter(
            state=state,
            lane=asked.text("lane"),
            kind=asked.text("kind"),
            stream=await find_stream(self._queries, asked, "ticket"),
            reason=asked.text("reason"),
            unfinished=not asked.flag("all") and state not in _ENDED,
        )
        entries = self._queries.entries(wanted, after=after)
        return await answer_list(_encode(entries, read_limit(asked, self._limits)))

    async def show_entry(self, request: Request, asked: Given) -> Response:
        key = str(request.path_params["key"])
        entry = await self._queries.entry(key)
        if entry is None:
            raise HTTPException(404, f"no outbox entry {key[:SHOWN]}")
        return answer_document(msgspec.json.encode(entry))

    async def list_messages(self, request: Request, asked: Given) -> Response:
        messages = self._queries.quarantine(after=asked.number("after", 0), reason=asked.text("reason"))
        return await answer_list(_encode(messages, read_limit(asked, self._limits)))

    async def show_message(self, request: Request, asked: Given) -> Response:
        name = str(request.path_params["name"])
        message = await self._queries.quarantined(name)
        if message is None:
            raise HTTPException(404, f"no message {name[:SHOWN]} in quarantine")
        return answer_document(msgspec.json.encode(message))


async def _encode(items: AsyncIterator[msgspec.Struct], limit: int) -> AsyncIterator[bytes]:
    left = limit
    async for item in items:
        yield msgspec.json.encode(item)
        left -= 1
        if not left:
            return
