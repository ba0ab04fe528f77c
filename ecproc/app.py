"""The composition root: names the adapters, owns the one task group, and fixes the order of starting and draining."""

from __future__ import annotations

import gc
import os
import platform
import random
import signal
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final

import anyio
import msgspec
import structlog
from prometheus_client import CollectorRegistry

from ecproc import __version__
from ecproc.attachments.fetch import HttpFetcher
from ecproc.attachments.store import ContentStore
from ecproc.bridge.fast import FastQueue
from ecproc.bridge.http import HttpBridge
from ecproc.clock import Clock, SystemClock
from ecproc.config import Config, LiveSecret
from ecproc.desk.local import LocalDesk
from ecproc.domain.log import Batch
from ecproc.domain.policy import Policy
from ecproc.errors import ExitCode, StoreUnavailable
from ecproc.failpoints import arm_failpoints
from ecproc.fold.recorded import decode_entry
from ecproc.fold.tickets import MACHINES
from ecproc.network import bracket
from ecproc.pipeline import Pipeline
from ecproc.reading.documents import find_stream, list_documents, read_document
from ecproc.reloading import Reloading
from ecproc.replaying import renew_live_state
from ecproc.store.base import Reader
from ecproc.store.sqlite import SqliteStore, open_reader, open_store
from ecproc.store.verify import VerifiedLog, verify_log
from ecproc.telemetry.metrics import PrometheusTelemetry
from ecproc.web.app import build_app
from ecproc.web.server import serve
from ecproc.web.state import Check

__all__ = ["VerifiedLog", "open_reading", "run_processor", "verify_log"]

log = structlog.get_logger()

_GAUGE_SECONDS: Final = 2.0
_DRAIN_LOOK_SECONDS: Final = 0.1


@asynccontextmanager
async def open_reading(config: Config) -> AsyncIterator[Reader]:
    """A read-only view of the data directory, beside a running processor or without one."""
    async with open_reader(config.data.directory) as reader:
        yield reader


async def run_processor(
    config: Config, *, drain: float | None = None, accept_loss: bool = False, learn: Callable[[str], None]
) -> ExitCode:
    """Run until a signal, or with `drain` until nothing is left to do; that many seconds at most.

    `accept_loss` goes on with a log that ends before its anchor, as after a restore: effects behind its end are decided
    again, which their keys make harmless where the receiver honours them. SIGTERM and SIGINT drain within
    `limits.shutdown_seconds`; a second signal ends the process at once, which is as safe as a crash. SIGHUP reads
    secret files again; `learn` is given each text that must not be printed because of that.
    Raises StoreError, ConfigError and BridgeRefused.
    """
    arm_failpoints(os.environ.get("ECPROC_FAILPOINTS", ""))
    os.umask(0o077)
    async with AsyncExitStack() as stack:
        clock = SystemClock()
        telemetry = PrometheusTelemetry(
            CollectorRegistry(),
            clock=clock,
            version=__version__,
            python=platform.python_version(),
            sqlite=sqlite3.sqlite_version,
        )
        processor = await Processor.open(
            config, stack, accept_loss=accept_loss, telemetry=telemetry, clock=clock, learn=learn
        )
        code = await processor.run(drain=drain)
    log.info("stopped", exit_code=int(code))
    return code


class Processor:
    """The running parts and what the web pages may know of them."""

    def __init__(
        self,
        config: Config,
        pipeline: Pipeline,
        *,
        store: SqliteStore,
        reloading: Reloading,
        telemetry: PrometheusTelemetry,
        clock: Clock,
    ) -> None:
        self.registry = telemetry.registry
        self._config = config
        self._pipeline = pipeline
        self._store = store
        self._reloading = reloading
        self._telemetry = telemetry
        self._clock = clock
        self._draining = False
        self._exit = ExitCode.OK

    @classmethod
    async def open(
        cls,
        config: Config,
        stack: AsyncExitStack,
        *,
        accept_loss: bool,
        telemetry: PrometheusTelemetry,
        clock: Clock,
        learn: Callable[[str], None],
    ) -> Processor:
        """Take the data directory, bring live state up to this code, and put the parts together."""
        limits = config.limits
        store = await open_store(
            config.data.directory,
            now=clock.now,
            identity=msgspec.structs.asdict(config.bridge.identity),
            reserve_bytes=config.data.reserve_bytes,
            accept_loss=accept_loss,
            on_commit=lambda seconds, _: telemetry.append_finished(seconds),
        )
        stack.push_async_callback(store.aclose)
        await renew_live_state(store, telemetry)
        content = ContentStore(config.data.directory)
        await content.sweep()
        desk = await LocalDesk.open(config.data.directory / "desk.db", clock=clock)
        stack.push_async_callback(desk.aclose)
        reloading = Reloading(config, clock=clock, learn=learn)
        api_key = reloading.secrets["bridge.api_key"]
        bridge = HttpBridge(config.bridge, api_key=api_key, limits=limits, clock=clock)
        stack.push_async_callback(bridge.aclose)
        queue = _open_queue(config, bridge, api_key=api_key, clock=clock)
        stack.push_async_callback(queue.aclose)
        fetcher = HttpFetcher(
            content,
            allowed_hosts=config.attachments.allowed_hosts,
            max_bytes=config.attachments.max_bytes,
            timeout=limits.download_seconds,
            max_connections=limits.bridge_connections,
            clock=clock,
            proxy=config.bridge.proxy_address,
        )
        stack.push_async_callback(fetcher.aclose)
        pipeline = Pipeline(
            config,
            store=store,
            queue=queue,
            bridge=bridge,
            desk=desk,
            fetcher=fetcher,
            clock=clock,
            rng=random.Random(),
            telemetry=telemetry,
            machines=MACHINES,
            policy=Policy(),
        )
        reloading.on_new_key = pipeline.ingest.try_now
        return cls(config, pipeline, store=store, reloading=reloading, telemetry=telemetry, clock=clock)

    async def run(self, *, drain: float | None) -> ExitCode:
        """Start the parts, wait for an end, and take them down in order."""
        _spare_the_collector()
        await self._count_tickets()
        await self._tell_start()
        async with anyio.create_task_group() as tasks:
            ended = anyio.Event()
            await tasks.start(self._watch_signals, ended)
            port: int = await tasks.start(self._serve_web)
            log.info("web", url=f"http://{bracket(self._config.web.host)}:{port}")
            await tasks.start(self._pipeline.run, self._idle_interval(drain))
            tasks.start_soon(self._refresh_gauges)
            tasks.start_soon(self._watch_store)
            tasks.start_soon(self._reloading.run)
            if drain is not None:
                tasks.start_soon(self._watch_drain, ended, drain)
            await ended.wait()
            with anyio.move_on_after(self._config.limits.shutdown_seconds * 0.75):
                self._draining = True
                await self._pipeline.shut_down()
            tasks.cancel_scope.cancel()
        return self._exit

    def _idle_interval(self, drain: float | None) -> float:
        """Seconds between two looks at an empty queue; while draining, its visibility window must be seen empty."""
        bridge = self._config.bridge
        return min(bridge.poll_interval, bridge.visibility / 3) if drain is not None else bridge.poll_interval

    async def _watch_signals(self, ended: anyio.Event, *, task_status: anyio.abc.TaskStatus[None]) -> None:
        try:
            with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as signals:
                task_status.started()
                async for number in signals:
                    self._take_signal(number, ended)
        finally:
            signal.signal(signal.SIGHUP, signal.SIG_IGN)  # nobody listens any more, and it is to end nothing

    def _take_signal(self, number: signal.Signals, ended: anyio.Event) -> None:
        if number is signal.SIGHUP:
            self._reloading.reread()
            return
        if ended.is_set():
            os._exit(ExitCode.INTERRUPTED)
        log.info("draining", signal=number.name)
        self._exit = ExitCode.INTERRUPTED if number is signal.SIGINT else ExitCode.OK
        ended.set()

    async def _watch_drain(self, ended: anyio.Event, seconds: float) -> None:
        """End when the queue, the actors and the outbox have nothing left, or when the time is up."""
        self._exit = ExitCode.TEMPORARY
        started = self._clock.monotonic()
        with anyio.move_on_after(seconds):
            while not (self._pipeline.ingest.drained and self._pipeline.idle):
                await self._clock.sleep(_DRAIN_LOOK_SECONDS)
            self._exit = ExitCode.OK
        await self._tell_drained(round(self._clock.monotonic() - started, 1))
        ended.set()

    async def _tell_start(self) -> None:
        identity = self._config.bridge.identity
        log.info(
            "started",
            version=__version__,
            host=identity.host,
            client=identity.client_name,
            environment=identity.environment,
            data_dir=str(self._config.data.directory),
            position=(await self._store.head()).position,
            unfinished=await self._count_entries(),
        )

    async def _tell_drained(self, seconds: float) -> None:
        """Say what a drain left behind, and what it still waited for when its time was up."""
        known = {
            "duration": seconds,
            "position": (await self._store.head()).position,
            "entries": await self._count_entries(),
        }
        if self._exit == ExitCode.OK:
            log.info("drained", **known)
            return
        waits = {
            "the queue was not seen empty for a whole visibility window": not self._pipeline.ingest.drained,
            "tickets or entries are unfinished": not self._pipeline.idle,
        }
        reason = "; ".join(what for what, waiting in waits.items() if waiting)
        advice = "run --drain with a longer --timeout; ecproc outbox list shows what waits"
        log.warning("drained", **known, reason=reason, hint=advice)

    async def _count_entries(self) -> Mapping[str, int]:
        """The outbox entries that came to no good end yet, by state."""
        counts: Counter[str] = Counter()
        async for rows in self._store.scan_rows("outbox", tagged=True):
            counts.update(str(decode_entry(row.data or b"").state) for row in rows)
        return counts

    async def _watch_store(self) -> None:
        """Turn a storage fault into the end of the process, whoever met it first (decision 13)."""
        await self._store.failed.wait()
        await self._store.commit(Batch())  # raises what everyone else is told, so that it is said once
        raise StoreUnavailable("the storage failed: nothing more can be acknowledged")

    async def _serve_web(self, *, task_status: anyio.abc.TaskStatus[int]) -> None:
        web = self._config.web
        token = self._reloading.secrets["web.read_token"]
        application = build_app(self, read_token=lambda: token.value, limits=self._config.limits)
        await serve(application, web.host, web.port, limits=self._config.limits, task_status=task_status)

    async def _count_tickets(self) -> None:
        counts: dict[tuple[str, str], int] = {}
        async for rows in self._store.scan_rows("ticket"):
            for row in rows:
                ticket_type, _, state = (row.tag or "").partition(":")
                counts[ticket_type, state] = counts.get((ticket_type, state), 0) + 1
        for (ticket_type, state), count in counts.items():
            self._telemetry.tickets_counted(ticket_type, state, count)

    async def _refresh_gauges(self) -> None:
        while True:
            head = await self._store.head()
            self._telemetry.log_position(head.position, await self._store.size_bytes())
            await self._clock.sleep(_GAUGE_SECONDS)

    # --- what the web pages ask ---------------------------------------------------------------------------------------

    def live(self) -> bool:
        """Whether the store still works; a bridge or a desk that is down is no reason to restart."""
        return not self._store.failed.is_set()

    def checks(self) -> Sequence[Check]:
        """Ready means: an append is possible and we are not on our way out."""
        return (
            Check("store", self._store.has_room(), "an append is possible and the disk is above its reserve"),
            Check("draining", not self._draining, "not on the way out"),
        )

    def version(self) -> Mapping[str, str]:
        """What is running."""
        return {
            "version": __version__,
            "python": platform.python_version(),
            "sqlite": sqlite3.sqlite_version,
        }

    async def tickets(
        self, *, ticket_type: str | None, state: str | None, limit: int, after: str | None
    ) -> Sequence[bytes]:
        """Documents in the order of their tickets' streams."""
        found: list[bytes] = []
        entries = self._config.limits.document_entries
        documents = list_documents(self._store, ticket_type=ticket_type, state=state, entries=entries, after=after)
        async for document in documents:
            found.append(document)
            if len(found) == limit:
                break
        return found

    async def ticket(self, number: str) -> bytes | None:
        """One document by either number."""
        stream = await find_stream(self._store, number)
        if stream is None:
            return None
        return await read_document(self._store, stream, entries=self._config.limits.document_entries)


def _spare_the_collector() -> None:
    """Look for cycles less often, and never among what is loaded by now: messages make very few."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)


def _open_queue(config: Config, bridge: HttpBridge, *, api_key: LiveSecret, clock: Clock) -> FastQueue | HttpBridge:
    """The queue's transport of the operator's choice."""
    if config.bridge.transport == "httpx":
        return bridge
    return FastQueue(config.bridge, api_key=api_key, limits=config.limits, clock=clock)
