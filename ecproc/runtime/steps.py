"""Steps: what tickets' facts lead to, worked out, written, and told to whom it concerns."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol, TypeAlias

import msgspec
import structlog

from ecproc.clock import Clock
from ecproc.config import Limits
from ecproc.domain.deltas import Flagged, TimerChanged
from ecproc.domain.entry import Entry
from ecproc.domain.log import NewEvent, RecordedEvent
from ecproc.domain.policy import Policy
from ecproc.errors import StoreError
from ecproc.failpoints import failpoint
from ecproc.fold.step import Ahead, Step, take_step
from ecproc.fold.stream import StreamFold
from ecproc.runtime.mailboxes import Mailboxes
from ecproc.runtime.sharing import SharedNumbers
from ecproc.store.base import Committed, Store
from ecproc.telemetry.complaints import Complaints
from ecproc.telemetry.hooks import SCOPE_DECISIONS, Telemetry

log = structlog.get_logger()

Taken: TypeAlias = Sequence[tuple[StreamFold, Step]]
"""Steps, each with the fold that took it."""


class EffectSink(Protocol):
    """Where planned effects go: the outbox."""

    @property
    def has_room(self) -> bool:
        """Whether fewer entries are pending than the bound allows."""

    async def wait_for_room(self) -> None:
        """Return when fewer entries are pending than the bound allows (decision 16)."""

    def add(self, stream: str, entries: Sequence[Entry]) -> None:
        """Take entries whose rows are durable."""

    def pause(self, stream: str, what: str, *, paused: bool) -> None:
        """Perform nothing more of that stream (PAUSED_TICKET) or at that destination, or go on."""


class Steps:
    """Takes tickets' steps, writes them, and puts what is written where it belongs; a defect costs its own ticket only,
    which `park` is told of. `note_timers` is told of timers that changed."""

    def __init__(
        self,
        store: Store,
        boxes: Mailboxes[StreamFold],
        effects: EffectSink,
        *,
        park: Callable[[str, Exception], None],
        note_timers: Callable[[str, Sequence[TimerChanged]], None] | None,
        policy: Policy,
        client_name: str,
        limits: Limits,
        clock: Clock,
        telemetry: Telemetry,
    ) -> None:
        self._store = store
        self._boxes = boxes
        self._effects = effects
        self._park = park
        self._note_timers = note_timers
        self._limit = limits.step_facts
        self._take_step = partial(
            take_step,
            policy=policy,
            client_name=client_name,
            limit=limits.step_facts,
            snapshot_events=limits.snapshot_events,
        )
        self._shared = SharedNumbers(store)
        self._reports = _Reports(telemetry, clock=clock)

    def decide(self, folds: Sequence[StreamFold]) -> Taken:
        """A step of each."""
        steps: list[tuple[StreamFold, Step]] = []
        for fold in folds:
            try:
                step = self._take_step(fold)
            except Exception as error:
                self._park(fold.state.stream, error)
            else:
                steps.append((fold, step))
        failpoint("project.folded")
        return steps

    def decide_ahead(self, events: Sequence[NewEvent]) -> Taken:
        """Steps over events that are not recorded yet, of the tickets for which that can be done at once."""
        foreseen = self._store.foresee() if self._effects.has_room else None
        if foreseen is None:
            return []
        position, at = foreseen
        steps: list[tuple[StreamFold, Step]] = []
        for stream, coming in _by_stream(events).items():
            try:
                fold = self._boxes.borrow(stream)
                if fold is not None and not fold.is_followed_by(coming, limit=self._limit):
                    self._boxes.finish([stream])
                elif fold is not None:
                    steps.append((fold, self._take_step(fold, ahead=Ahead(coming, position, at))))
                    position += steps[-1][1].batch.likely_events
            except Exception as error:
                self._park(stream, error)
        if steps:
            failpoint("project.folded")
        return steps

    async def write(self, steps: Taken) -> list[str]:
        """Commit these steps and tell who has to know, other tickets too; the tickets that go on."""
        try:
            written = await self._shared.commit_all([step for _, step in steps])
        except StoreError:
            raise
        except Exception as error:  # one of them cannot be stored as it is
            if len(steps) > 1:
                return [stream for one in steps for stream in await self.write([one])]
            self._park(steps[0][0].state.stream, error)
            return []
        return self._take_up_all([(fold, step, one) for (fold, _), (step, one) in zip(steps, written, strict=True)])

    async def write_ahead(self, steps: Taken) -> tuple[dict[str, Sequence[RecordedEvent]], list[str]]:
        """Commit steps over what was not recorded yet: what now is, by stream, and the tickets that go on."""
        written = await self._shared.commit_ahead([step for _, step in steps])
        whole = [(fold, step, one) for (fold, step), one in zip(steps, written, strict=True)]
        for fold, _, one in whole:
            if not one.fenced:
                self._boxes.keep(fold.state.stream, fold)
        recorded: dict[str, Sequence[RecordedEvent]] = {
            fold.state.stream: [event for event in one.events[: step.ahead] if event is not None]
            for fold, step, one in whole
            if not one.fenced
        }
        return recorded, self._take_up_all(whole)

    def _take_up_all(self, written: Sequence[tuple[StreamFold, Step, Committed]]) -> list[str]:
        """Take up what became of these steps; the tickets that go on."""
        going_on: list[str] = []
        for fold, step, committed in written:
            try:
                self._take_up(fold, step, committed)
            except Exception as error:
                self._park(fold.state.stream, error)
            else:
                going_on.append(fold.state.stream)
        return going_on

    def _take_up(self, fold: StreamFold, step: Step, committed: Committed) -> None:
        """Put each event that was written into its own stream's mailbox; this fold goes past what tells it nothing."""
        stream = fold.state.stream
        if committed.fenced:
            self._boxes.forget(stream)
            return
        self._boxes.count_decided(step.decided - step.ahead)
        own = zip(step.batch.events[step.ahead :], committed.events[step.ahead :], strict=True)
        for new, event in own:
            if event is not None and (new.wanted or event.stream != stream or not fold.pass_own(event)):
                self._boxes.put([event], wake=new.wanted)
        self._reports.stepped(stream, step, lag=self._boxes.lag)
        self._effects.add(stream, step.entries)
        for pause in step.pauses:
            self._effects.pause(stream, pause.what, paused=pause.paused)
        if step.timers and self._note_timers is not None:
            self._note_timers(stream, step.timers)


def _by_stream(events: Sequence[NewEvent]) -> dict[str, list[NewEvent]]:
    streams: dict[str, list[NewEvent]] = {}
    for event in events:
        streams.setdefault(event.stream, []).append(event)
    return streams


class _Reports:
    """What came of the steps, for the metrics and the log."""

    def __init__(self, telemetry: Telemetry, *, clock: Clock) -> None:
        self._telemetry = telemetry
        self._complaints = Complaints()
        self._clock = clock

    def stepped(self, stream: str, step: Step, *, lag: int) -> None:
        """A step was written; so many events wait for others."""
        telemetry = self._telemetry
        telemetry.projection_lag(lag)
        if step.after != step.before:
            telemetry.ticket_changed(step.before, step.after)
        telemetry.unknown_fields(step.unknown_fields)
        for decision, count in zip(SCOPE_DECISIONS, step.scoped, strict=True):
            if count:
                telemetry.scope_decided(decision, count)
        for anomaly in step.anomalies:
            telemetry.anomaly(anomaly.code)
            self._log_anomaly(stream, anomaly)
        for row in step.batch.rows if step.quarantined else ():
            if row.table == "quarantine" and row.data is not None:
                refused = msgspec.json.decode(row.data, type=_Refused)
                telemetry.message_quarantined(refused.reason)
                self._log_quarantine(stream, refused)

    def _log_anomaly(self, stream: str, anomaly: Flagged) -> None:
        self._complaints.tell(
            logging.INFO,
            "anomaly",
            anomaly.code,
            now=self._clock.monotonic(),
            ticket=stream,
            position=anomaly.position,
            detail=anomaly.detail,
        )

    def _log_quarantine(self, stream: str, refused: _Refused) -> None:
        log.error(
            "message_quarantined",
            stream=stream,
            position=refused.position,
            message_id=refused.message_id,
            reason=refused.reason,
            detail=refused.detail,
            hint=f"it is in the log and gone from the queue: ecproc quarantine show|retry|discard {refused.position}",
        )


class _Refused(msgspec.Struct):
    """As much as is told of a message in quarantine, out of its live row."""

    position: int
    message_id: str
    reason: str
    detail: str
