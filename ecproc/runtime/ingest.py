"""The readers: receive, append, delete; nothing else is on this path (I0, I1). When and how much: see `pace`."""

from __future__ import annotations

import asyncio
import logging
import random
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final, assert_never

import anyio
import anyio.to_thread
import msgspec
import structlog

from ecproc.bridge.base import Answer, Queue
from ecproc.clock import Clock
from ecproc.config import BridgeConfig
from ecproc.domain.ids import NO_SEQUENCE
from ecproc.domain.log import Batch, NewEvent, RecordedEvent
from ecproc.domain.queue import DeleteOutcome, PollOutcome
from ecproc.errors import BridgeUnavailable
from ecproc.failpoints import failpoint
from ecproc.fold.recorded import Kind
from ecproc.runtime.deletes import Deletes
from ecproc.runtime.held import Undeleted
from ecproc.runtime.pace import Move, Pace
from ecproc.runtime.receipts import Receipts
from ecproc.runtime.variants import find_variants
from ecproc.signals import Signal
from ecproc.store.base import Store
from ecproc.telemetry.complaints import Complaints
from ecproc.telemetry.hooks import Reading, Telemetry
from ecproc.wire.queue import BadAnswer, Envelope, Received, decode_answer
from ecproc.wire.responses import Judgement, Verdict, judge_receive

log = structlog.get_logger()
_stdlib_log = logging.getLogger(__name__)

_MANY_RECEIVES: Final = 10
"""Receives from which on a message is warned of: at its twentieth it is lost to a failure queue (R23)."""
_TOO_MANY_RECEIVES: Final = 15
"""Receives from which on that is an error."""
_QUICK_BYTES: Final = 512 * 1024
"""Answers up to this size are taken apart at once; nothing else has to wait while a larger one is."""
_SERVER_ERRORS: Final = 500
"""The status from which on it is the server's fault; in one outage such answers come with all kinds of words."""
_TOLD: Final = frozenset({DeleteOutcome.ERROR, DeleteOutcome.INVALID})
"""What `Deletes` says in the log itself."""


class Ingest:
    """Reads the queue into the log. One reader while idle, up to `max_readers` while messages come.

    A reader asks again while its last batch is being deleted, so that the calls to a slow bridge overlap. `appended` is
    how many messages the log had not had before, `receipts` what tells of somebody else who reads.
    """

    def __init__(
        self,
        queue: Queue,
        store: Store,
        *,
        take_in: Callable[[Sequence[NewEvent]], Awaitable[Mapping[str, object]]],
        deliver: Callable[[Sequence[RecordedEvent]], None],
        config: BridgeConfig,
        clock: Clock,
        rng: random.Random,
        telemetry: Telemetry,
    ) -> None:
        self.appended = 0
        self.receipts = Receipts(clock.now())
        self._queue = queue
        self._store = store
        self._take_in = take_in
        self._deliver = deliver
        self._interval = config.poll_interval
        self._clock = clock
        self._pace = Pace(max_readers=config.max_readers, visibility=config.visibility, rng=rng, now=clock.monotonic())
        self._changed = Signal()  # for who waits for a word of the pace, that was told something
        self._undeleted = Undeleted(config.visibility)
        complaints = Complaints()
        self._reports = _Reports(telemetry, complaints, clock=clock)
        telemetry.watch(Reading.RECEIVES_LEFT, self._undeleted.count_receives_left)
        telemetry.watch(Reading.QUEUE_EXPIRY, lambda: self._undeleted.count_seconds_left(clock.now()))
        telemetry.watch(Reading.RECEIVING, lambda: _list_stoppers(store, self._pace))
        telemetry.watch(Reading.POLL_INTERVAL, lambda: self._interval)
        self._deletes = Deletes(
            queue,
            complaints,
            budget=config.delete_budget,
            clock=clock,
            rng=rng,
            telemetry=telemetry,
        )

    async def run(self, *, idle_interval: float | None = None) -> None:
        """Read until `stop`; returns when everything received is appended and its deletes have ended."""
        pace = self._pace
        self._interval = interval = idle_interval or self._interval
        async with asyncio.TaskGroup() as self._deleting:
            while not pace.stopping:
                async with anyio.create_task_group() as readers:
                    pace.begin_look()
                    await self._read_on(readers)
                with anyio.move_on_after(pace.end_look(interval)):
                    await self._changed.wait_until(pace.hurried)

    def stop(self) -> None:
        """Receive nothing more; what was received is still appended and deleted."""
        self._pace.stopping = True
        self._changed.notify()

    def try_now(self) -> None:
        """Ask again at once: what the bridge refused, a rotated key, has changed."""
        self._pace.try_now()
        self._changed.notify()

    async def look(self, seconds: float) -> None:
        """Return once the queue answered empty to a GET that was sent from now on; after that time at the latest."""
        pace, since = self._pace, self._clock.monotonic()
        pace.hurry()
        self._changed.notify()
        with anyio.move_on_after(seconds):
            await self._changed.wait_until(lambda: pace.emptied >= since or pace.stopping)

    @property
    def drained(self) -> bool:
        """Whether the queue answered empty for a whole visibility window since a GET that was anything else."""
        return self._pace.drained

    async def wait_drained(self) -> None:
        """Return at a moment when the queue is `drained`."""
        await self._changed.wait_until(lambda: self._pace.drained)

    async def _read_on(self, readers: anyio.abc.TaskGroup) -> None:
        """One reader: go on at once while messages come, and call in another reader for each answer that has some."""
        while await self._read_once():
            match self._pace.next_move():
                case Move.STAY:
                    pass
                case Move.CALL_IN:
                    readers.start_soon(self._read_on, readers)
                case Move.LEAVE:
                    break
                case unreachable:
                    assert_never(unreachable)
        self._pace.leave()
        self._changed.notify()

    async def _read_once(self) -> bool:
        """One GET and the append of what it brought; False when there is no reason to ask again at once."""
        pace = self._pace
        await self._changed.wait_until(pace.has_room)
        if not pace.ask(writable=self._store.has_room()):
            return False
        started = self._clock.monotonic()
        try:
            came = await self._receive()
        except BaseException:
            pace.lose_answer(self._clock.monotonic())
            raise
        messages = self._take(came, started)
        self._changed.notify()
        if not messages:
            return False
        failpoint("receive.sent")
        return await self._append_and_delete(messages, started)

    async def _receive(self) -> Received | _Failed:
        try:
            answer = await self._queue.receive()
        except BridgeUnavailable as error:
            return _Failed(PollOutcome.ERROR, Judgement(Verdict.TROUBLE, str(error), error.hint))
        if len(answer.body) <= _QUICK_BYTES:
            return _judge(answer)
        return await anyio.to_thread.run_sync(_judge, answer)

    def _take(self, came: Received | _Failed, started: float) -> Sequence[Envelope]:
        now = self._clock.monotonic()
        if isinstance(came, _Failed):
            retry_in = self._pace.take_trouble(came.outcome, retry_after=came.retry_after, now=now)
            self._reports.failed(came, retry_in=retry_in)
            ended = self._clock.now()
            self.receipts.fail(ended - round((now - started) * 1_000_000), ended)
            return ()
        if came.messages:
            self._pace.take_messages(len(came.messages), now=now)
        else:
            self._pace.take_empty(started)
            self._undeleted.see_empty(started)
        self._reports.received(came)
        return came.messages

    async def _append_and_delete(self, messages: Sequence[Envelope], started: float) -> bool:
        """Append the batch, and leave its deletes to themselves: the reader need not wait for them. Where all of it was
        in the log already it does, and has no reason to ask again at once unless one of them is gone from the queue."""
        ordered = _put_in_order(messages)
        self._undeleted.take(ordered, started)
        fresh = await self._append(ordered)
        failpoint("append.committed")
        deleting = self._deleting.create_task(self._delete_all(ordered, started))
        if fresh:
            self._pace.take_fresh()
            return True
        outcomes = await deleting
        if self._pace.take_known(outcomes):
            return True
        if _TOLD.isdisjoint(outcomes):
            self._reports.came_again(ordered[0])
        return False

    async def _append(self, messages: Sequence[Envelope]) -> int:
        """Put the batch into the log in one commit, and say how many were not there yet (I2)."""
        events = [
            NewEvent(item.stream, Kind.MESSAGE_RECEIVED, item.payload, message_key=item.key, wanted=True)
            for item in messages
        ]
        taken = await self._take_in(events)
        fresh = len(events)
        if rest := [event for event in events if event.stream not in taken]:
            fresh += await self._append_rest(rest) - len(rest)
        self.appended += fresh
        self._reports.appended(messages, duplicates=len(messages) - fresh)
        self.receipts.take(messages, duplicates=len(messages) - fresh, now=self._clock.now())
        return fresh

    async def _append_rest(self, events: Sequence[NewEvent]) -> int:
        committed = await self._store.commit(Batch(events=events))
        fresh = [event for event in committed.events if event is not None]
        if len(fresh) < len(events) and (variants := await find_variants(self._store, events, committed.events)):
            committed = await self._store.commit(Batch(events=variants))
            fresh += [event for event in committed.events if event is not None]
        self._deliver(fresh)
        return len(fresh)

    async def _delete_all(self, messages: Sequence[Envelope], started: float) -> list[DeleteOutcome]:
        outcomes = await self._deletes.delete_all(messages, started, ended=self._release)
        keys, now = [message.key for message in messages], self._clock.monotonic()
        self._undeleted.end(keys, outcomes)
        outcomes = self._pace.end_deletes(keys, outcomes, started=started, now=now)
        self._changed.notify()
        return outcomes

    def _release(self) -> None:
        """A message is held no longer."""
        self._pace.release(1)
        if self._pace.has_room():  # nobody waits for less
            self._changed.notify()


class _Failed(msgspec.Struct, frozen=True):
    """A GET that brought nothing usable, and what the bridge said about it; no `status` where nothing was answered."""

    outcome: PollOutcome
    judgement: Judgement
    status: int | None = None
    retry_after: float | None = None
    request_id: str = ""


def _judge(answer: Answer) -> Received | _Failed:
    """The decoded answer, unless it is none of the queue's."""
    judgement = judge_receive(answer.status, answer.body)
    if judgement.verdict is Verdict.ACCEPTED:
        received = decode_answer(answer.body)
        if not isinstance(received, BadAnswer):
            return received if received.request_id else msgspec.structs.replace(received, request_id=answer.request_id)
        outcome = PollOutcome.ERROR
        judgement = Judgement(Verdict.TROUBLE, received.reason, request_id=received.request_id or "")
    elif judgement.verdict is Verdict.MISCONFIGURED:
        outcome = PollOutcome.REFUSED
    else:
        outcome = PollOutcome.THROTTLED if answer.status == 429 else PollOutcome.ERROR
    request_id = judgement.request_id or answer.request_id
    return _Failed(outcome, judgement, answer.status, answer.retry_after, request_id)


class _Outage(msgspec.Struct):
    """Reads that failed, none of them answered in between, and whether the log says so."""

    since: float
    failures: int = 0
    is_told: bool = False


class _Reports:
    """What the readers count and say in the log."""

    def __init__(self, telemetry: Telemetry, complaints: Complaints, *, clock: Clock) -> None:
        self._telemetry = telemetry
        self._complaints = complaints
        self._clock = clock
        self._polled = False
        self._outage: _Outage | None = None

    def received(self, received: Received) -> None:
        """A GET was answered as the queue does."""
        if not self._polled:
            self._polled = True
            log.info("first_poll", messages=len(received.messages), request_id=received.request_id)
        outage, self._outage = self._outage, None
        if outage is not None and outage.is_told:
            duration = round(self._clock.monotonic() - outage.since, 1)
            log.info("receive_recovered", duration=duration, failures=outage.failures)
        self._telemetry.poll_finished(PollOutcome.MESSAGES if received.messages else PollOutcome.EMPTY)
        if received.messages and _stdlib_log.isEnabledFor(logging.DEBUG):
            ids = [message.message_id for message in received.messages]
            log.debug("received", request_id=received.request_id, message_ids=ids)

    def failed(self, failed: _Failed, *, retry_in: float) -> None:
        """A GET brought nothing usable; the next one follows in so many seconds."""
        self._telemetry.poll_finished(failed.outcome)
        refused = failed.outcome is PollOutcome.REFUSED
        outage = self._outage = self._outage or _Outage(self._clock.monotonic())
        outage.failures += 1
        outage.is_told |= self._complaints.tell(
            logging.ERROR if refused else logging.WARNING,
            "queue_refused" if refused else "receive_failed",
            failed.judgement.text,
            now=self._clock.monotonic(),
            same_as=_SERVER_ERRORS if failed.status is not None and failed.status >= _SERVER_ERRORS else None,
            hint=failed.judgement.hint,
            outcome=failed.outcome,
            status=failed.status,
            request_id=failed.request_id,
            retry_in=round(retry_in, 3),
        )

    def appended(self, messages: Sequence[Envelope], *, duplicates: int) -> None:
        """These messages are in the log, so many of them from before (R22)."""
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

    def came_again(self, message: Envelope) -> None:
        """This one and those beside it brought nothing fresh, and deleting them freed nothing."""
        self._complaints.tell(
            logging.WARNING,
            "delete_failed",
            "the same messages come again and none of them leaves the queue",
            now=self._clock.monotonic(),
            hint="see why the bridge does not delete them, before it drops them at their 20th receive",
            ticket=message.stream,
            message_id=message.message_id,
        )

    def _warn_of_receives(self, message: Envelope, count: int) -> None:
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


def _list_stoppers(store: Store, pace: Pace) -> Mapping[str, float]:
    """By what may stop receiving, 0 where it does."""
    return {
        "disk_reserve": float(bool(store.waits) or store.has_room()),
        "store_waits": float(not store.waits),
        "backlog": float(pace.has_room()),
        "stopping": float(not pace.stopping),
    }


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
