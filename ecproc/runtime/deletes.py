"""Deletes: what was appended leaves the queue while its handle is good; a later delivery has another (R21, R31)."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from ecproc.bridge.base import Answer, Queue
from ecproc.clock import Clock
from ecproc.domain.queue import DeleteOutcome
from ecproc.errors import BridgeUnavailable
from ecproc.failpoints import failpoint
from ecproc.telemetry.complaints import Complaints
from ecproc.telemetry.hooks import Telemetry
from ecproc.wire.queue import Envelope
from ecproc.wire.requests import quote_segment
from ecproc.wire.responses import Judgement, Verdict, judge_delete

_FIRST_PAUSE: Final = 0.2
"""Seconds, the shortest pause after a first trouble; the next ones double it."""
_LONGEST_PAUSE: Final = 5.0
"""Seconds, the longest that the shortest pause becomes."""
_JITTER: Final = 2.0
"""A pause is the shortest one times a number from 1 to this."""
_NO_HANDLE: Final = Judgement(
    Verdict.INVALID,
    "the message has no receipt handle: it is in the log and cannot be deleted",
    "ask Ensono to remove it from the queue",
)


class _Trial(msgspec.Struct, frozen=True):
    """The outcome of one DELETE, and how many seconds to wait before another one may do better; None if none can."""

    outcome: DeleteOutcome
    wait: float | None = None


_DELETED: Final = _Trial(DeleteOutcome.DELETED)
_SKIPPED: Final = _Trial(DeleteOutcome.SKIPPED)


class Deletes:
    """Deletes messages, each within `budget` seconds of its GET."""

    def __init__(
        self,
        queue: Queue,
        complaints: Complaints,
        *,
        budget: float,
        clock: Clock,
        rng: random.Random,
        telemetry: Telemetry,
    ) -> None:
        self._queue = queue
        self._complaints = complaints
        self._budget = budget
        self._clock = clock
        self._rng = rng
        self._telemetry = telemetry

    async def delete_all(
        self, messages: Sequence[Envelope], started: float, *, ended: Callable[[], None]
    ) -> list[DeleteOutcome]:
        """Delete each with this delivery's handle, whose GET began at `started`, and say what became of each; `ended`
        is called for each as soon as that is known."""

        def end(outcome: DeleteOutcome) -> None:
            self._report(outcome, started)
            ended()

        held = [message for message in messages if message.receipt_handle is not None]
        for message in messages:
            if message.receipt_handle is None:
                self._complain(message, _NO_HANDLE)
                end(DeleteOutcome.INVALID)
        outcomes = iter(await self._delete_held(held, started + self._budget, end))
        return [DeleteOutcome.INVALID if each.receipt_handle is None else next(outcomes) for each in messages]

    async def _delete_held(
        self, messages: Sequence[Envelope], deadline: float, end: Callable[[DeleteOutcome], None]
    ) -> list[DeleteOutcome]:
        outcomes = [DeleteOutcome.SKIPPED] * len(messages)

        def take(place: int, answer: Answer | BridgeUnavailable | None) -> None:
            message, trial = messages[place], self._judge(messages[place], answer)
            if trial.wait is None:
                outcomes[place] = trial.outcome
                end(trial.outcome)
            else:
                repeats.create_task(repeat(place, message, trial))

        async def repeat(place: int, message: Envelope, trial: _Trial) -> None:
            outcomes[place] = await self._repeat(message, trial, deadline)
            end(outcomes[place])

        within = deadline - self._clock.monotonic()
        if within <= 0:
            for outcome in outcomes:
                end(outcome)
            return outcomes
        async with asyncio.TaskGroup() as repeats:
            await self._queue.delete_many([each.receipt_handle or "" for each in messages], take, within=within)
        return outcomes

    async def _repeat(self, message: Envelope, trial: _Trial, deadline: float) -> DeleteOutcome:
        """What became of a message whose first DELETE met trouble; another one may do better after a while."""
        pause = _FIRST_PAUSE
        while trial.wait is not None:
            wait = max(trial.wait, pause * self._rng.uniform(1, _JITTER))
            pause = min(2 * pause, _LONGEST_PAUSE)
            if self._clock.monotonic() + wait >= deadline:
                break
            await self._clock.sleep(wait)
            if self._clock.monotonic() >= deadline:
                break
            trial = await self._delete_again(message)
        return trial.outcome

    async def _delete_again(self, message: Envelope) -> _Trial:
        try:
            answer: Answer | BridgeUnavailable = await self._queue.delete(message.receipt_handle or "")
        except BridgeUnavailable as error:
            answer = error.with_traceback(None)
        return self._judge(message, answer)

    def _judge(self, message: Envelope, answer: Answer | BridgeUnavailable | None) -> _Trial:
        if answer is None:
            return _SKIPPED
        if isinstance(answer, BridgeUnavailable):
            self._complain(message, Judgement(Verdict.TROUBLE, str(answer), answer.hint))
            return _Trial(DeleteOutcome.ERROR, 0.0)
        judgement = judge_delete(answer.status, answer.body)
        match judgement.verdict:
            case Verdict.ACCEPTED:
                return _DELETED
            case Verdict.EXPIRED:
                return _Trial(DeleteOutcome.EXPIRED)
            case Verdict.INVALID:
                self._complain(
                    message, judgement, answer, encoded_length=len(quote_segment(message.receipt_handle or ""))
                )
                return _Trial(DeleteOutcome.INVALID)
            case verdict:
                self._complain(message, judgement, answer)
                passes = verdict in (Verdict.TROUBLE, Verdict.TIMED_OUT)
                return _Trial(DeleteOutcome.ERROR, (answer.retry_after or 0.0) if passes else None)

    def _report(self, outcome: DeleteOutcome, started: float) -> None:
        self._telemetry.message_deleted(outcome)
        if outcome is DeleteOutcome.DELETED:
            failpoint("delete.sent")
            self._telemetry.receive_to_delete(self._clock.monotonic() - started)

    def _complain(
        self, message: Envelope, judgement: Judgement, answer: Answer | None = None, **fields: object
    ) -> None:
        self._complaints.tell(
            logging.ERROR if judgement.verdict is Verdict.INVALID else logging.WARNING,
            "delete_failed",
            judgement.text,
            now=self._clock.monotonic(),
            hint=judgement.hint,
            ticket=message.stream,
            message_id=message.message_id,
            receives=message.receive_count,
            status=None if answer is None else answer.status,
            request_id=judgement.request_id or ("" if answer is None else answer.request_id),
            **fields,
        )
