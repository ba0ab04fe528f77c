"""Taking tickets into scope by a person's word: what their messages would have led to is planned now (R207).

An act is an event like any other, one for each ticket: whoever is killed in between goes on with those that are left,
and natural keys make a second act a no-op.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Protocol

import msgspec

from ecproc.domain.events import Act, OperatorActed, Place
from ecproc.domain.log import Batch, NewEvent
from ecproc.domain.policy import Policy
from ecproc.domain.scoping import judge_anew
from ecproc.fold.machine import Machines
from ecproc.fold.recorded import encode_event
from ecproc.fold.rescoping import replan
from ecproc.reading.scoped import fold_with_last_message
from ecproc.store.base import Reader


class Rescoped(msgspec.Struct, frozen=True):
    """One ticket that is taken in: the keys of the effects that are planned for it, in their order; `refused` says why
    none are."""

    ticket: str
    planned: tuple[str, ...] = ()
    refused: str = ""


class _Header(msgspec.Struct):
    scope: dict[str, object] = {}


_decode_header = msgspec.json.Decoder(_Header).decode


class Recording(Protocol):
    """As much of whoever has the log as is needed to record an act; see `steering.Acting`."""

    async def submit(self, batch: Batch) -> None:
        """Append facts, and return when they are decided or their tickets parked."""

    def parked_by(self, stream: str) -> str | None:
        """What stopped the ticket; None if it is not parked."""


class Rescoping:
    """Takes tickets in for whoever has the log; `policy` is the one in force."""

    def __init__(self, reader: Reader, acting: Recording, *, machines: Machines, policy: Policy) -> None:
        self._reader = reader
        self._acting = acting
        self._machines = machines
        self._policy = policy

    async def list_left_out(self) -> AsyncIterator[str]:
        """The tickets that were decided to be out of scope, and that today's rules take in."""
        async for page in self._reader.scan_rows("ticket"):
            for row in page:
                if row.data is not None and _decode_header(row.data).scope.get("in") is False:
                    events = await self._reader.read_stream(row.stream)
                    found = fold_with_last_message(row.stream, events, self._machines)
                    if found is not None and judge_anew(*found, self._policy).inside:
                        yield row.stream

    async def take_in(self, streams: Sequence[str], *, who: str, note: str, dry_run: bool) -> list[Rescoped]:
        """Take these in, or without any all that were left out and that today's rules take in; with `dry_run` it is
        only told what would be planned."""
        wanted = streams or [stream async for stream in self.list_left_out()]
        if dry_run:
            return [await self.plan(stream) for stream in wanted]
        return [await self.apply(stream, who=who, note=note) for stream in wanted]

    async def plan(self, stream: str) -> Rescoped:
        """What taking it in would plan; nothing is recorded."""
        events = await self._reader.read_stream(stream)
        found = fold_with_last_message(stream, events, self._machines)
        if found is None:
            return Rescoped(stream, refused="no message of it could be read")
        state, last = found[0], events[-1]
        act = Place(last.position + 1, last.version + 1, last.at)
        effects = replan(self._machines.of(stream), state, events, act, self._policy)
        return Rescoped(state.ticket, tuple(effect.key for effect in effects))

    async def apply(self, stream: str, *, who: str, note: str) -> Rescoped:
        """Take it in: what was planned for it."""
        planned = await self.plan(stream)
        if planned.refused:
            return planned
        acted = OperatorActed(Act.RESCOPE, who, note)
        await self._acting.submit(Batch(events=[NewEvent(stream, *encode_event(acted), wanted=True)]))
        stopped = self._acting.parked_by(stream)
        return msgspec.structs.replace(planned, refused=f"the ticket is parked: {stopped}") if stopped else planned
