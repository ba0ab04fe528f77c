"""The readers: receive, append, delete; nothing else is on this path (I0, I1)."""

from __future__ import annotations

import asyncio
import logging
import random
from collections import defaultdict
from collections.abc import Callable, Sequence

import anyio
import structlog

from ecproc.bridge.base import Answer, Queue
from ecproc.clock import Clock
from ecproc.config import BridgeConfig, Limits
from ecproc.domain.ids import NO_SEQUENCE
from ecproc.domain.log import Batch, NewEvent, RecordedEvent
from ecproc.errors import BridgeUnavailable
from ecproc.failpoints import failpoint
from ecproc.fold.recorded import Kind
from ecproc.runtime.deletes import Deletes
from ecproc.store.base import Store
from ecproc.telemetry.complaints import Complaints
from ecproc.telemetry.hooks import Telemetry
from ecproc.wire.queue import BadAnswer, Envelope, Received, decode_answer
from ecproc.wire.responses import Judgement, Verdict, judge_receive

log = structlog.get_logger()
_stdlib_log = logging.getLogger(__name__)

_FIRST_BACK_OFF = 0.5
_LONGEST_BACK_OFF = 60.0
_NO_ROOM_PAUSE = 1.0
_PER_ANSWER = 10
"""Messages that one GET brings at most (R13)."""
_REMEMBERED = 10_000
_NEVER = -1.0
_MANY_RECEIVES = 10
_TOLD = frozenset({"error", "invalid"})
"""Outcomes of a delete that say in the log why it failed."""
_TOO_MANY_RECEIVES = 15


class Ingest:
    """Reads the queue into the log. One reader while idle, up to `max_readers` while messages come.

    A reader asks again while its last batch is being deleted, so that the calls to a slow bridge overlap; the messages
    that are held or asked for are two batches a reader at most.
    """

    def __init__(
        self,
        queue: Queue,
        store: Store,
        *,
        deliver: Callable[[Sequence[RecordedEvent]], None],
        config: BridgeConfig,
        limits: Limits,
        clock: Clock,
        rng: random.Random,
        telemetry: Telemetry,
    ) -> None:
        self._queue = queue
        self._store = store
        self._deliver = deliver
        self._config = config
        self._clock = clock
        self._rng = rng
        self._telemetry = telemetry
        self._complaints = Complaints()
        self._deletes = Deletes(
            queue,
            self._complaints,
            budget=config.delete_budget,
            at_once=limits.deletes_at_once,
            clock=clock,
            rng=rng,
            telemetry=telemetry,
        )
        self._held = 0
        self._freed = asyncio.Event()
        self._readers = 0
        self._allowed = config.max_readers
        self._failures = 0
        self._failed = False
        self._stalls = 0
        self._stalled = False
        self._gone: dict[bytes, tuple[float, int]] = {}
        self._hold = 0.0
        self._held_by_bridge = False
        self._stopping = anyio.Event()
        self._woken = anyio.Event()
        self._unsettled_at = clock.monotonic()
        self._proven_at = -1.0
        self.last_success: float | None = None

    async def run(self, *, idle_interval: float | None = None) -> None:
        """Read until `stop`; returns when everything received is appended and its deletes have ended."""
        interval = idle_interval or self._config.poll_interval
        async with asyncio.TaskGroup() as self._deleting:
            while not self._stopping.is_set():
                async with anyio.create_task_group() as readers:
                    self._readers = 1
                    self._failed = self._stalled = self._held_by_bridge = False
                    await self._read_on(readers)
                # One trouble that meets all readers at once is one failure.
                self._failures = min(self._failures + self._failed, 10)
                self._stalls = min(self._stalls + self._stalled, 10)
                pause = self._hold or interval * self._rng.uniform(0.9, 1.1)
                self._hold = 0.0
                with anyio.move_on_after(pause):
                    await self._woken.wait()
                if not self._stopping.is_set():
                    self._woken = anyio.Event()

    def stop(self) -> None:
        """Receive nothing more; what was received is still appended and deleted."""
        self._stopping.set()
        self._woken.set()

    def try_now(self) -> None:
        """Ask again at once: what the bridge refused, a rotated key, has changed."""
        self._failures = 0
        self._woken.set()

    @property
    def drained(self) -> bool:
        """Whether the queue answered empty for a whole visibility window since a GET that was anything else."""
        nothing_held = self._readers == 0 and self._held == 0
        return nothing_held and self._proven_at >= self._unsettled_at + self._config.visibility

    async def _read_on(self, readers: anyio.abc.TaskGroup) -> None:
        """One reader: go on at once while messages come, and call in another reader for each answer that has some."""
        while await self._may_read() and await self._read_once():
            if self._readers > self._allowed:
                break
            if self._readers < self._allowed:
                self._readers += 1
                readers.start_soon(self._read_on, readers)
        self._readers -= 1

    async def _may_read(self) -> bool:
        """Whether to ask now, once what is held leaves room for what a GET may bring."""
        while self._held + _PER_ANSWER > 2 * _PER_ANSWER * self._allowed:
            self._freed.clear()
            await self._freed.wait()
        return not (self._stopping.is_set() or self._held_by_bridge)

    def _release(self, messages: int) -> None:
        self._held -= messages
        self._freed.set()

    async def _read_once(self) -> bool:
        """One GET and the append of what it brought; False when there is no reason to ask again at once."""
        if not self._store.has_room():
            self._hold = max(self._hold, _NO_ROOM_PAUSE)
            return False
        started = self._clock.monotonic()
        self._held += _PER_ANSWER
        try:
            messages = await self._receive(started)
        finally:
            self._release(_PER_ANSWER)
        return bool(messages) and await self._append_and_delete(messages, started)

    async def _receive(self, started: float) -> Sequence[Envelope]:
        """The messages of one GET; none where it was empty or brought nothing usable."""
        try:
            answer = await self._queue.receive()
        except BridgeUnavailable as error:
            self._fail("error", Judgement(Verdict.TROUBLE, str(error), error.hint), None)
            return ()
        except BaseException:
            self._unsettled_at = self._clock.monotonic()
            raise
        received = self._take(answer)
        if received is None:
            return ()
        if not received.messages:
            self._telemetry.poll_finished("empty")
            self._proven_at = max(self._proven_at, started)
            return ()
        self._unsettled_at = self._clock.monotonic()
        self._telemetry.poll_finished("messages")
        if _stdlib_log.isEnabledFor(logging.DEBUG):
            ids = [message.message_id for message in received.messages]
            log.debug("received", request_id=received.request_id or answer.request_id, message_ids=ids)
        failpoint("receive.sent")
        return received.messages

    def _take(self, answer: Answer) -> Received | None:
        """The decoded answer, None where it was none of the queue's (counted, backed off)."""
        judgement = judge_receive(answer.status, answer.body)
        if judgement.verdict is Verdict.MISCONFIGURED:
            self._failures = max(self._failures, 6)
            self._fail("refused", judgement, answer)
            return None
        if judgement.verdict is not Verdict.ACCEPTED:
            self._fail("throttled" if answer.status == 429 else "error", judgement, answer)
            return None
        received = decode_answer(answer.body)
        if isinstance(received, BadAnswer):
            request_id = received.request_id or ""
            self._fail("error", Judgement(Verdict.TROUBLE, received.reason, request_id=request_id), answer)
            return None
        self._failures = 0
        self.last_success = self._clock.monotonic()
        return received

    def _fail(self, outcome: str, judgement: Judgement, answer: Answer | None) -> None:
        """Count a GET that brought nothing usable and hold the next one back, with jitter.

        What the bridge says about all our calls (throttled, refused, Retry-After) holds back all readers.
        """
        self._unsettled_at = self._clock.monotonic()
        self._telemetry.poll_finished(outcome)
        retry_after = None if answer is None else answer.retry_after
        self._failed = True
        hold = self._back_off(self._failures, at_least=retry_after or 0.0)
        self._held_by_bridge |= outcome != "error" or retry_after is not None
        refused = outcome == "refused"
        self._complaints.tell(
            logging.ERROR if refused else logging.WARNING,
            "queue_refused" if refused else "receive_failed",
            judgement.text,
            now=self._clock.monotonic(),
            hint=judgement.hint,
            outcome=outcome,
            status=None if answer is None else answer.status,
            request_id=judgement.request_id or ("" if answer is None else answer.request_id),
            retry_in=round(hold, 3),
        )

    def _back_off(self, failures: int, *, at_least: float = 0.0) -> float:
        ceiling = min(_LONGEST_BACK_OFF, _FIRST_BACK_OFF * 2**failures)
        hold = max(at_least, self._rng.uniform(ceiling / 2, ceiling))
        self._hold = max(self._hold, hold)
        return hold

    async def _append_and_delete(self, messages: Sequence[Envelope], started: float) -> bool:
        """Append the batch, and leave its deletes to themselves: the reader need not wait for them. Where all of it was
        in the log already it does, and has no reason to ask again at once unless one of them is gone from the queue."""
        self._held += len(messages)
        ordered = _put_in_order(messages)
        fresh = await self._append(ordered)
        failpoint("append.committed")
        deleting = self._deleting.create_task(self._delete_all(ordered, started))
        if fresh or "deleted" in (outcomes := await deleting):
            self._stalls = 0
            return True
        self._stalled = True
        self._back_off(self._stalls)
        if _TOLD.isdisjoint(outcomes):
            self._tell_of_return(ordered[0])
        return False

    def _tell_of_return(self, message: Envelope) -> None:
        self._complaints.tell(
            logging.WARNING,
            "delete_failed",
            "the same messages come again and none of them leaves the queue",
            now=self._clock.monotonic(),
            hint="see why the bridge does not delete them, before it drops them at their 20th receive",
            ticket=message.stream,
            message_id=message.message_id,
        )

    async def _delete_all(self, messages: Sequence[Envelope], started: float) -> list[str]:
        """What became of each; what was deleted before and came back all the same is `returned`."""
        outcomes = await asyncio.gather(*[self._delete(message, started) for message in messages])
        self._pace(outcomes)
        pairs = zip(messages, outcomes, strict=True)
        return [
            "returned" if outcome == "deleted" and not self._note_delete(message, started) else outcome
            for message, outcome in pairs
        ]

    def _note_delete(self, message: Envelope, started: float) -> bool:
        """Remember the delete, and say whether the message is gone by it: it was not deleted before the GET that
        brought it, nor more often than there are readers for it."""
        before, times = self._gone.pop(message.key, (_NEVER, 0))
        self._gone[message.key] = (self._clock.monotonic(), times + 1)
        if len(self._gone) > _REMEMBERED:
            del self._gone[next(iter(self._gone))]
        return times == 0 or (before > started and times < self._config.max_readers)

    async def _delete(self, message: Envelope, started: float) -> str:
        outcome = await self._deletes.delete(message, started)
        self._held -= 1
        self._freed.set()
        return outcome

    def _pace(self, outcomes: Sequence[str]) -> None:
        """Halve the readers when a delivery's time ran out, for it comes again and costs one of twenty receives (R23);
        give one back for every batch that was in time."""
        if "skipped" in outcomes or "expired" in outcomes:
            self._allowed = max(1, self._allowed // 2)
        else:
            self._allowed = min(self._config.max_readers, self._allowed + 1)

    async def _append(self, messages: Sequence[Envelope]) -> int:
        """Put the batch into the log in one commit, and say how many were not there yet (I2)."""
        events = [
            NewEvent(item.stream, Kind.MESSAGE_RECEIVED, item.payload, message_key=item.key, wanted=True)
            for item in messages
        ]
        committed = await self._store.commit(Batch(events=events))
        fresh = [event for event in committed.events if event is not None]
        self._report(messages, duplicates=len(messages) - len(fresh))
        self._deliver(fresh)
        return len(fresh)

    def _report(self, messages: Sequence[Envelope], *, duplicates: int) -> None:
        telemetry, now_ms = self._telemetry, self._clock.now() // 1000
        if duplicates:
            telemetry.message_duplicate(duplicates)
        for message in messages:
            telemetry.messages_received(message.transaction)
            if message.receive_count is not None:
                telemetry.receive_count(message.receive_count)
                if message.receive_count >= _MANY_RECEIVES:
                    self._warn_of_receives(message, message.receive_count)
            if message.sent_ms is not None:
                telemetry.message_age(max(0.0, (now_ms - message.sent_ms) / 1000))

    def _warn_of_receives(self, message: Envelope, count: int) -> None:
        """A message is lost to a failure queue at its twentieth receive (R23)."""
        self._complaints.tell(
            logging.ERROR if count >= _TOO_MANY_RECEIVES else logging.WARNING,
            "receives_high",
            f"received {count} times",
            now=self._clock.monotonic(),
            hint="at the 20th receive it is lost: see why it is not deleted, and ask Ensono about it",
            ticket=message.stream,
            message_id=message.message_id,
            receives=count,
        )


def _put_in_order(messages: Sequence[Envelope]) -> list[Envelope]:
    """Each ticket's messages by SequenceNumber, or by the time they were sent at where one has no number (decision 5);
    as they came where that is missing too."""
    if all(message.sequence != NO_SEQUENCE for message in messages):
        # One order for all of them: keys that grow are new to the log without a look.
        return sorted(messages, key=lambda message: message.sequence)
    streams: defaultdict[str, list[Envelope]] = defaultdict(list)
    for message in messages:
        streams[message.stream].append(message)
    for own in streams.values():
        if all(message.sequence != NO_SEQUENCE for message in own):
            own.sort(key=lambda message: message.sequence)
        elif all(message.sent_ms is not None for message in own):
            own.sort(key=lambda message: message.sent_ms or 0)
    return [message for own in streams.values() for message in own]
