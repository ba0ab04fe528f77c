"""Client numbers that two tickets have: each ticket folds alone, so this is looked for where they are written."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from ecproc.domain.anomalies import Anomaly
from ecproc.domain.events import Noticed
from ecproc.domain.log import NewEvent
from ecproc.errors import RowDamaged
from ecproc.fold.step import Link, Step, notice_event
from ecproc.store.base import Committed, Store


class SharedNumbers:
    """Writes steps, and beside those that link a number the notice, to both tickets, that another one has it too."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._linking: dict[str, str] = {}

    async def commit_all(self, steps: Sequence[Step]) -> list[tuple[Step, Committed]]:
        """Each step as it was written, and what became of it: all in one commit, each for itself all or nothing."""
        try:
            written = [await self._add_notices(step) if step.linked else step for step in steps]
            committed = await self._store.commit_all([step.batch for step in written])
        finally:
            for step in steps:
                for link in step.linked:
                    self._linking.pop(link.number, None)
        return list(zip(written, committed, strict=True))

    async def commit_ahead(self, steps: Sequence[Step]) -> list[Committed]:
        """Write steps over what is not recorded yet, in one commit: those that would need a notice are fenced, and all
        are where one of their numbers is on its way into the store already, or one cannot be stored as it is."""
        links = {link.number: _stream_of(step) for step in steps for link in step.linked}
        fenced = [Committed(fenced=True) for _ in steps]
        if not self._linking.keys().isdisjoint(links):
            return fenced
        self._linking.update(links)
        try:
            return await self._store.commit_all([step.batch for step in steps])
        except ValueError:
            return fenced
        finally:
            for number in links:
                del self._linking[number]

    async def _add_notices(self, step: Step) -> Step:
        stream = _stream_of(step)
        events = list(step.batch.events)
        for link in step.linked:
            # What is on its way into the store is not found there: the first to come here claims the number.
            other = self._linking.setdefault(link.number, stream)
            others = {other, *await self._find_holders(link.number)} - {stream}
            events = _with_notices(events, link, stream, sorted(others))
        return msgspec.structs.replace(step, batch=msgspec.structs.replace(step.batch, events=events))

    async def _find_holders(self, number: str) -> list[str]:
        """The streams that have the number; of a row that was altered only the key counts here."""
        try:
            return [row.stream for row in await self._store.read_rows("client_ticket", id=number)]
        except RowDamaged as damaged:
            return [damaged.stream] if damaged.stream else []


def _stream_of(step: Step) -> str:
    return step.batch.fence.stream if step.batch.fence is not None else ""


def _with_notices(events: list[NewEvent], link: Link, stream: str, others: Sequence[str]) -> list[NewEvent]:
    theirs = [notice_event(other, _notice(link, stream)) for other in others]
    ours = [notice_event(stream, _notice(link, other)) for other in others]
    # The step's own events stay together and last: its compact form goes by the last one.
    return [*theirs, *events, *ours]


def _notice(link: Link, other: str) -> Noticed:
    return Noticed(link.position, Anomaly.LINK_MISMATCH, f"client number {link.number[:80]} is also {other[:80]}'s")
