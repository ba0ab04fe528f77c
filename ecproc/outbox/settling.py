"""What came of an entry, written into log and outbox, and told to its ticket's actor."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence

from msgspec.structs import replace

from ecproc.domain.entry import Entry, apply_outcome
from ecproc.domain.events import OperatorActed, Outcome
from ecproc.domain.log import Batch, NewEvent, RecordedEvent
from ecproc.failpoints import failpoint
from ecproc.fold.recorded import encode_event, wants_decision
from ecproc.fold.rows import entry_row
from ecproc.outbox.schedule import LEFT_IN_STORE, Schedule
from ecproc.store.base import Store


class Settling:
    """Records outcomes: `take_in` decides them at once where it can, `wake` is given those that it did not, `put` the
    entries that were changed."""

    def __init__(
        self,
        store: Store,
        schedule: Schedule,
        *,
        take_in: Callable[[Sequence[NewEvent]], Awaitable[Mapping[str, object]]],
        wake: Callable[[Sequence[RecordedEvent], bool], None],
        put: Callable[[str, Entry], None],
    ) -> None:
        self._store = store
        self._schedule = schedule
        self._take_in = take_in
        self._wake = wake
        self._put = put

    async def settle(self, stream: str, entry: Entry, outcome: Outcome) -> None:
        """Record an outcome, the entry's new state, and all that it leads to, in one transaction; or the first two, and
        then tell its actor, if that has other work."""
        event = NewEvent(stream, *encode_event(outcome), wanted=wants_decision(outcome))
        if not (event.wanted and stream in await self._take_in([event])):
            await self._settle_alone(event, entry, outcome)
        failpoint("settle.committed")

    async def _settle_alone(self, event: NewEvent, entry: Entry, outcome: Outcome) -> None:
        """Record an outcome and the entry's new state in one transaction, then tell its actor.

        The key may have been planned anew meanwhile, and we hear of that only after the plan is durable: such an
        outcome is recorded and changes nothing else, in no order of the two.
        """
        stream = event.stream
        current = self._schedule.newest(stream, entry)
        if current.effect.fields is LEFT_IN_STORE and is_same_plan(entry, current):
            current = replace(current, effect=entry.effect)
        after = apply_outcome(current, outcome)
        # Where the newer plan is not known here yet, the store keeps its row (see `Tables.newest_stays`).
        whole = is_same_plan(entry, current) and entry.effect.fields is not LEFT_IN_STORE
        rows = [entry_row(stream, after)] if whole else []
        committed = await self._store.commit(Batch(events=[event], rows=rows))
        if is_same_plan(current, self._schedule.newest(stream, entry)):
            self._put(stream, after)
        self._wake([event for event in committed.events if event is not None], event.wanted)


def act_on(stream: str, entry: Entry, acted: OperatorActed) -> Batch:
    """A person's act on an entry that nobody is performing, and the entry after it."""
    event = NewEvent(stream, *encode_event(acted), wanted=True)
    return Batch(events=[event], rows=[entry_row(stream, apply_outcome(entry, acted))])


def is_same_plan(entry: Entry, other: Entry) -> bool:
    """Whether both are of one plan of their key: planned because of the same event."""
    return entry.effect.position == other.effect.position
