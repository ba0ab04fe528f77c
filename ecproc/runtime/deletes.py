"""Deletes: what was appended leaves the queue while its handle is good; a later delivery has another (R21, R31)."""

from __future__ import annotations

import asyncio
import logging
import random
from typing import Final

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


class Deletes:
    """Deletes messages, at most `at_once` at a time, each within `budget` seconds of its GET."""

    def __init__(
        self,
        queue: Queue,
        complaints: Complaints,
        *,
        budget: float,
        at_once: int,
        clock: Clock,
        rng: random.Random,
        telemetry: Telemetry,
    ) -> None:
        self._queue = queue
        self._complaints = complaints
        self._budget = budget
        self._places = asyncio.Semaphore(at_once)
        self._clock = clock
        self._rng = rng
        self._telemetry = telemetry

    async def delete(self, message: Envelope, started: float) -> DeleteOutcome:
        """Delete with this delivery's handle, whose GET began at `started`, and say what became of it."""
        outcome = DeleteOutcome.INVALID
        if message.receipt_handle is None:
            self._complain(message, _NO_HANDLE)
        else:
            async with self._places:
                outcome = await self._delete_in_time(message, message.receipt_handle, started + self._budget)
        self._telemetry.message_deleted(outcome)
        if outcome is DeleteOutcome.DELETED:
            failpoint("delete.sent")
            self._telemetry.receive_to_delete(self._clock.monotonic() - started)
        return outcome

    async def _delete_in_time(self, message: Envelope, handle: str, deadline: float) -> DeleteOutcome:
        outcome, pause = DeleteOutcome.SKIPPED, _FIRST_PAUSE
        while self._clock.monotonic() < deadline:
            outcome, wait = await self._delete_once(message, handle)
            if wait is None:
                return outcome
            wait = max(wait, pause * self._rng.uniform(1, _JITTER))
            pause = min(2 * pause, _LONGEST_PAUSE)
            if self._clock.monotonic() + wait >= deadline:
                return outcome
            await self._clock.sleep(wait)
        return outcome

    async def _delete_once(self, message: Envelope, handle: str) -> tuple[DeleteOutcome, float | None]:
        """The outcome of one DELETE, and how long to wait before another one may do better; None if none can."""
        try:
            answer = await self._queue.delete(handle)
        except BridgeUnavailable as error:
            self._complain(message, Judgement(Verdict.TROUBLE, str(error), error.hint))
            return DeleteOutcome.ERROR, 0.0
        judgement = judge_delete(answer.status, answer.body)
        match judgement.verdict:
            case Verdict.ACCEPTED:
                return DeleteOutcome.DELETED, None
            case Verdict.EXPIRED:
                return DeleteOutcome.EXPIRED, None
            case Verdict.INVALID:
                self._complain(message, judgement, answer, encoded_length=len(quote_segment(handle)))
                return DeleteOutcome.INVALID, None
            case verdict:
                self._complain(message, judgement, answer)
                passes = verdict in (Verdict.TROUBLE, Verdict.TIMED_OUT)
                return DeleteOutcome.ERROR, (answer.retry_after or 0.0) if passes else None

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
