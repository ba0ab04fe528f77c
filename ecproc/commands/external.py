"""What the client's desk tells, taken in: found its ticket, compared with what we know of it, and written down together
with what it asks of Ensono.

*One transaction.* The news and the commands that it leads to are appended together, and whoever brought them is
answered after that. So a news that is there is done with, and one that is not comes again: its id is permanent (I2),
and so are its commands' keys.

*One way in.* The commands are checked as those of people are, each on the ticket as the ones before it leave it. What
Ensono would refuse is not asked: the ticket says why (`incomplete`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

import anyio
import msgspec

from ecproc.clock import Clock
from ecproc.commands.capability import Refusal
from ecproc.commands.checks import check_command, name_command
from ecproc.commands.derive import DeskRules, DeskView, Wanted, derive, in_order
from ecproc.commands.intake import Submitting
from ecproc.commands.known import know_ticket
from ecproc.commands.seconds import judge_record
from ecproc.config import CommandsConfig
from ecproc.domain.anomalies import Anomaly
from ecproc.domain.commands import CommandAccepted
from ecproc.domain.effects import EffectKind, Lane
from ecproc.domain.entry import Entry, EntryState
from ecproc.domain.events import Place, TicketType
from ecproc.domain.external import ExternalKind, ExternalReceived, Fate
from ecproc.domain.ids import CLIENT_PREFIX, is_create_key
from ecproc.domain.log import Batch, NewEvent
from ecproc.domain.remarks import Remark
from ecproc.domain.sending import evolve_command
from ecproc.domain.shadow import evolve_external
from ecproc.domain.state import TicketState
from ecproc.fold.control import EXTERNAL_STREAM
from ecproc.fold.machine import Machines
from ecproc.fold.recorded import encode_event
from ecproc.reading.folding import read_state
from ecproc.store.base import Reader

_IN_FLIGHT: Final = frozenset({EntryState.EXECUTING, EntryState.UNKNOWN})


class ExternalIntake:
    """Takes news of the desk in; `is_at_work` says whether a call to the desk is under way for a stream."""

    def __init__(
        self,
        reader: Reader,
        log: Submitting,
        *,
        machines: Machines,
        options: CommandsConfig,
        environment: str,
        rules: DeskRules,
        is_at_work: Callable[[str, Lane], bool],
        clock: Clock,
    ) -> None:
        self._reader = reader
        self._log = log
        self._machines = machines
        self._options = options
        self._environment = environment
        self._rules = rules
        self._is_at_work = is_at_work
        self._clock = clock
        self._one_at_a_time = anyio.Lock()

    async def wants(self, event: ExternalReceived) -> bool:
        """Whether it is about a ticket of Ensono's, and not known yet."""
        known = await self._reader.read_message(event.message_key)
        return known is None and await self._find_home(event) is not None

    async def type_of(self, event: ExternalReceived) -> str:
        """The type of the ticket that it is about; an incident's where there is none."""
        stream = await self._find_home(event)
        rows = await self._reader.read_rows("ticket", stream=stream) if stream is not None else []
        found = (rows[0].tag or "").partition(":")[0] if rows else ""
        return found or TicketType.INCIDENT.value

    async def take(self, events: Sequence[ExternalReceived]) -> list[Fate]:
        """What became of each, once all that is appended of them is durable. Raises StoreError."""
        async with self._one_at_a_time:
            fates = [Fate.BUSY] * len(events)
            if not self._log.has_room or self._log.stopping:
                return fates
            grouped: dict[str, list[int]] = {}
            for index, event in enumerate(events):
                if await self._reader.read_message(event.message_key) is not None:
                    fates[index] = Fate.DUPLICATE
                elif (stream := await self._find_home(event)) is None:
                    fates[index] = Fate.IGNORED
                else:
                    grouped.setdefault(stream, []).append(index)
            news: list[NewEvent] = []
            for stream, indexes in grouped.items():
                told = await self._take_stream(stream, {index: events[index] for index in indexes}, fates)
                news += told
            if news:
                await self._log.submit(Batch(events=news))
            return fates

    async def _find_home(self, event: ExternalReceived) -> str | None:
        """The stream of the ticket that it is about."""
        if event.kind is ExternalKind.UNDECODABLE:
            return EXTERNAL_STREAM
        if event.kind is ExternalKind.CREATED:
            return await self._find_create(event.key)
        rows = await self._reader.read_rows("client_ticket", id=event.number) if event.number else []
        if (known := next((row.stream for row in rows if not row.stream.startswith(CLIENT_PREFIX)), None)) is not None:
            return known
        return await self._find_create(event.key) if event.kind is ExternalKind.RECORD and event.number else None

    async def _find_create(self, key: str) -> str | None:
        rows = await self._reader.read_rows("outbox", id=key) if is_create_key(key) else []
        return rows[0].stream if rows else None

    async def _take_stream(
        self, stream: str, events: Mapping[int, ExternalReceived], fates: list[Fate]
    ) -> list[NewEvent]:
        if stream == EXTERNAL_STREAM:
            unread = {event.id: event for event in events.values()}
            for index in events:
                fates[index] = Fate.APPENDED
            return [_append(stream, event, event.message_key) for event in unread.values()]
        state = await self._fold(stream)
        if state is None:
            fates[:] = [Fate.IGNORED if index in events else fate for index, fate in enumerate(fates)]
            return []
        place = Place(state.seen.position, state.seen.version, self._clock.now())
        moving = self._is_at_work(stream, Lane.DESK) or _is_unsettled(state)
        taken: dict[str, ExternalReceived] = {}
        wanted: list[Wanted] = []
        for index, told in events.items():
            event = judge_record(state, told, moving=moving)
            if isinstance(event, Fate):
                fates[index] = event
                continue
            fates[index] = Fate.DUPLICATE if event.id in taken else Fate.APPENDED
            if event.id not in taken:
                taken[event.id] = event
                wanted += [(event, request) for request in derive(event, _look(state, event), self._rules)]
                evolve_external(state, event, place)
        commands = self._check(state, in_order(wanted), taken, place)
        return [
            *[_append(stream, event, event.message_key) for event in taken.values()],
            *[_append(stream, command) for command in commands],
        ]

    def _check(
        self,
        state: TicketState,
        wanted: Sequence[Wanted],
        taken: dict[str, ExternalReceived],
        place: Place,
    ) -> list[CommandAccepted]:
        """The commands that can be accepted, one after the other; why another cannot is remarked of its news."""
        accepted: list[CommandAccepted] = []
        for event, request in wanted:
            ticket = know_ticket(state)
            known = state.commands.known.get(name_command(request, ticket))
            if known is not None and not known.refused and not state.commands.is_dead(known):
                continue
            checked = check_command(request, ticket, self._options, environment=self._environment)
            if isinstance(checked, CommandAccepted):
                evolve_command(state, checked, place)
                accepted.append(checked)
            elif isinstance(checked, Refusal):
                news = taken[event.id]
                remark = Remark(Anomaly.INCOMPLETE, f"{request.kind}: {checked.reason}")
                taken[event.id] = msgspec.structs.replace(news, remarks=(*news.remarks, remark))
        return accepted

    async def _fold(self, stream: str) -> TicketState | None:
        state = await read_state(self._reader, stream, self._machines)
        return state if isinstance(state, TicketState) and state.type is not None else None


def _look(state: TicketState, event: ExternalReceived) -> DeskView:
    ticket = know_ticket(state)
    shadow = state.shadows.get(event.number, {})
    return DeskView(state.stream, state.type or TicketType.INCIDENT, ticket.state if ticket else None, shadow)


def _is_unsettled(state: TicketState) -> bool:
    return any(
        _may_be_applied(entry) and entry.lane is Lane.DESK and entry.effect.kind is not EffectKind.CREATE
        for entry in state.plans.entries.values()
    )


def _may_be_applied(entry: Entry) -> bool:
    """Whether the desk may show what the call wrote, and we do not know it: also one whose repeat does no harm and
    whose answer got lost. What was refused by an answer was not applied."""
    return entry.state in _IN_FLIGHT or (entry.state is EntryState.RETRYABLE and not entry.blamed)


def _append(stream: str, event: ExternalReceived | CommandAccepted, key: bytes | None = None) -> NewEvent:
    kind, payload = encode_event(event)
    return NewEvent(stream, kind, payload, message_key=key, wanted=True)
