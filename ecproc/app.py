"""The composition root: names the adapters, owns the one task group, and fixes the order of starting and draining."""

from __future__ import annotations

import gc
import os
import random
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, closing
from functools import partial
from typing import TYPE_CHECKING, Final, Protocol, TypeAlias, TypeVar, assert_never

import anyio
import msgspec
import structlog
from anyio.abc import TaskGroup
from prometheus_client import CollectorRegistry
from starlette.applications import Starlette
from starlette.types import ASGIApp

from ecproc.attachments.opening import open_fetcher, open_uploader
from ecproc.attachments.store import ContentStore
from ecproc.bridge.fast import FastBridge
from ecproc.clock import Clock, SystemClock
from ecproc.collector import spare_the_collector
from ecproc.commands.intake import Intake
from ecproc.commands.steering import Steering
from ecproc.config import Config, DataConfig, LiveSecret, Secrets
from ecproc.descriptors import Reserve
from ecproc.desk.base import Desk
from ecproc.desk.local import LocalDesk
from ecproc.desk.opening import has_watch, open_desk
from ecproc.domain.log import Batch
from ecproc.ending import Ending
from ecproc.errors import ExitCode, LogDamaged, RowDamaged, StoreUnavailable
from ecproc.failpoints import arm_failpoints
from ecproc.fold.tables import TABLES
from ecproc.fold.tickets import MACHINES
from ecproc.governing import govern
from ecproc.heartbeat import Heartbeat
from ecproc.hooking import open_hooks
from ecproc.interrupts import Interrupts
from ecproc.mapping_file import open_mapping
from ecproc.metering import MeteredBridge
from ecproc.offline import open_intake
from ecproc.pipeline import Pipeline
from ecproc.reading.queries import Queries
from ecproc.rebuild.live import LiveCheck, ReplayReport, mend_live_state, renew_live_state, replay_aside, replay_live
from ecproc.rebuild.parts import Team
from ecproc.rebuild.streams import Progress
from ecproc.reloading import Reloading
from ecproc.reporting import ProcessHealth, ReceiptKeeper, Reporting, read_versions, tell_exposures, watch_room
from ecproc.restoring import align_desk
from ecproc.room import Room
from ecproc.runtime.watch import Watching
from ecproc.starting import Front, Opening, raise_file_limit
from ecproc.store.base import Damage, Store
from ecproc.store.opening import open_reader, open_store, verify_log
from ecproc.systemd import ServiceManager
from ecproc.telemetry.hooks import PAUSABLE, Reading
from ecproc.telemetry.metrics import PrometheusTelemetry
from ecproc.watching import SOURCE, open_external, open_watching

if TYPE_CHECKING:
    from ecproc.bridge.http import HttpBridge

log = structlog.get_logger()


class _Closable(Protocol):
    async def aclose(self) -> None: ...


Peer = TypeVar("Peer", bound=_Closable)
Errand: TypeAlias = Callable[[Intake], Awaitable[ExitCode]]
"""What a processor is started for, and how it ends."""
_SHUT_DOWN_SHARE: Final = 0.75
"""The share of `limits.shutdown_seconds` that what is in flight gets; the rest is for closing what was opened."""


async def replay_log(
    config: Config,
    *,
    verify: bool,
    until: int | None,
    processes: int = 1,
    on_progress: Callable[[Progress], None],
) -> ReplayReport:
    """Rebuild all state from the log. Without `verify` and `until` the rebuilt rows replace the live ones, which takes
    the data directory's lock; otherwise live state is only read, and nothing but the messages as received is trusted.
    """
    spare_the_collector()
    team = _team(config, SystemClock(), processes=processes)
    if verify:
        await anyio.to_thread.run_sync(_check_log, config.data)
    if verify or until is not None:
        return await replay_aside(team, verify=verify, until=until, on_progress=on_progress)
    store = await open_store(
        config.data, TABLES, now=team.clock.now, identity=None, require_known=MACHINES.require_known
    )
    try:
        return await replay_live(store, team, on_progress=on_progress)
    finally:
        await store.aclose()


def _check_log(data: DataConfig) -> None:
    found = verify_log(data)
    if isinstance(found, Damage):
        raise LogDamaged(found.position, found.reason)


def _team(config: Config, clock: Clock, *, processes: int = 1) -> Team:
    return Team(processes, partial(open_reader, config.data, TABLES), MACHINES, clock)


async def run_processor(
    config: Config,
    *,
    drain: float | None = None,
    accept_loss: bool = False,
    learn: Callable[[str], None],
    interrupts: Interrupts,
    errand: Errand | None = None,
) -> ExitCode:
    """Run until a signal, or with `drain` until nothing is left to do, that many seconds at most, or with an `errand`
    until that is done, with the exit code that it gives.

    `accept_loss` goes on with a log that ends before its anchor, as after a restore: effects behind its end are decided
    again, which their keys make harmless where the receiver honours them, and the built-in desk skips a million
    numbers. SIGTERM and SIGINT drain within `limits.shutdown_seconds`, and while the parts are opened they end that; a
    second one ends the process at once, which is as safe as a crash. SIGHUP reads secret files again; `learn` is given
    each text that must not be printed because of that. Where there is no room to start it shows its pages and waits.
    Raises StoreError, ConfigError and BridgeRefused.
    """
    gc.freeze()  # what is loaded stays: no look for cycles need go through it
    arm_failpoints(os.environ.get("ECPROC_FAILPOINTS", ""))
    os.umask(0o077)
    async with AsyncExitStack() as stack, anyio.create_task_group() as tasks:
        clock = SystemClock()
        raise_file_limit()
        reserve = stack.enter_context(closing(Reserve()))
        polled = {SOURCE: config.desk_watch.interval} if has_watch(config) else {}
        sources = (*config.hooks_sources, *polled)
        telemetry = PrometheusTelemetry(
            CollectorRegistry(), clock=clock, sources=sources, polled=polled, **read_versions()
        )
        front = Front(config, tasks, reserve=reserve, telemetry=telemetry, clock=clock)
        start = Opening(telemetry.registry, front=front, interrupts=interrupts, clock=clock)
        opening = partial(
            Processor.open,
            config,
            stack,
            start,
            accept_loss=accept_loss,
            telemetry=telemetry,
            clock=clock,
            learn=learn,
        )
        began = clock.monotonic()
        processor = await start.run(opening, seconds=drain)
        left = None if drain is None else max(drain - (clock.monotonic() - began), 0)
        code = start.exit_code
        if processor is not None:
            code = await processor.run(drain=left, errand=errand, interrupts=interrupts)
        tasks.cancel_scope.cancel()
    log.info("stopped", exit_code=int(code))
    return code


class Processor:
    """The running parts: put together by `open`, started and taken down by `run`."""

    def __init__(
        self,
        config: Config,
        pipeline: Pipeline,
        *,
        store: Store,
        content: ContentStore,
        room: Room,
        desk: Desk,
        front: Front,
        hooks: ASGIApp,
        unchecked: LiveCheck | None,
        reloading: Reloading,
        watching: Watching | None,
        telemetry: PrometheusTelemetry,
        clock: Clock,
    ) -> None:
        self._config = config
        self._pipeline = pipeline
        self._store = store
        self._intake = open_intake(config, store, pipeline, content=content, clock=clock)
        self._desk = desk
        self._front = front
        self._hooks = hooks
        self._unchecked = unchecked
        self._reloading = reloading
        self._watching = watching
        self._heartbeat = Heartbeat()
        self._reporting = Reporting(config, store, pipeline, room, telemetry=telemetry, clock=clock)
        self._receipts = ReceiptKeeper(config, pipeline.ingest, clock=clock)
        self._manager = ServiceManager(os.environ, clock)
        self._ending = Ending(pipeline, self._reporting, watching=watching, reread=reloading.reread, clock=clock)
        self._health = ProcessHealth(
            telemetry.registry,
            works=lambda: self._heartbeat.is_alive() and not store.failed.is_set(),
            has_room=store.has_room,
            waits=lambda: store.waits,
            tell_more=self._reporting.list_checks,
        )
        telemetry.watch(Reading.LOOP_LAG, self._heartbeat.worst_lag)

    @classmethod
    async def open(
        cls,
        config: Config,
        stack: AsyncExitStack,
        start: Opening,
        *,
        accept_loss: bool,
        telemetry: PrometheusTelemetry,
        clock: Clock,
        learn: Callable[[str], None],
    ) -> Processor:
        """Take the data directory, bring live state up to this code, and put the parts together."""
        room = Room(config.data.directory, reserve_bytes=config.data.reserve_bytes)
        watch_room(room, telemetry)
        store = await _open_log(config, start, room, accept_loss=accept_loss, telemetry=telemetry, clock=clock)
        stack.push_async_callback(store.aclose)
        tell_exposures(config.data.directory)
        unchecked = await start.when_there_is_room(lambda: renew_live_state(store, _team(config, clock)))
        content = ContentStore(config.data.directory, room)
        await start.when_there_is_room(content.sweep)
        reloading = Reloading(config, clock=clock, learn=learn)
        opening = partial(_open_desk, config, store, secrets=reloading.secrets, clock=clock, room=room)
        desk = _close_with(stack, await start.when_there_is_room(opening))
        adapter = _close_with(stack, _open_bridge(config, api_key=reloading.secrets["bridge.api_key"], clock=clock))
        bridge = MeteredBridge(adapter, telemetry=telemetry, clock=clock)
        fetcher = _close_with(stack, open_fetcher(config, content, clock=clock))
        uploader = _close_with(stack, open_uploader(config, content, clock=clock))
        pipeline = Pipeline(
            config,
            store=store,
            queue=bridge,
            bridge=bridge,
            desk=desk,
            fetcher=fetcher,
            clock=clock,
            rng=random.Random(),
            telemetry=telemetry,
            machines=MACHINES,
            policy=await start.when_there_is_room(lambda: govern(store, config)),
            uploader=uploader,
        )
        reloading.on_new_key = pipeline.ingest.try_now
        external = open_external(config, store, pipeline, clock=clock)
        watching = open_watching(
            config, desk, store=store, intake=external, content=content, telemetry=telemetry, clock=clock
        )
        opens_hooks = partial(open_hooks, config, external, content=content, fetcher=fetcher)
        return cls(
            config,
            pipeline,
            store=store,
            content=content,
            room=room,
            desk=desk,
            front=start.front,
            hooks=opens_hooks(secrets=reloading.secrets, telemetry=telemetry, clock=clock),
            unchecked=unchecked,
            reloading=reloading,
            watching=watching,
            telemetry=telemetry,
            clock=clock,
        )

    async def run(self, *, drain: float | None, interrupts: Interrupts, errand: Errand | None = None) -> ExitCode:
        """Start the parts, wait for an end, and take them down in order."""
        spare_the_collector()
        await self._reporting.count_tickets()
        await self._reporting.tell_start()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._ending.watch_signals, interrupts)
            await self._front.show(self._build_pages())
            await self._front.show_locally(self._config.data.directory)
            await self._front.show_hooks(self._hooks)
            tasks.start_soon(self._watch_store)
            tasks.start_soon(self._heartbeat.run)
            tasks.start_soon(self._reporting.watch_room)
            tasks.start_soon(self._receive, tasks, drain)
            tasks.start_soon(self._manager.keep_alive, self._health.live)
            tasks.start_soon(self._reporting.refresh_gauges)
            tasks.start_soon(self._reporting.watch_expiries)
            tasks.start_soon(self._reporting.tell_hourly)
            tasks.start_soon(self._receipts.run)
            if isinstance(self._desk, LocalDesk):
                tasks.start_soon(self._desk.keep_short)
            tasks.start_soon(self._reloading.run)
            if self._unchecked is not None:
                tasks.start_soon(self._unchecked.finish)
            if drain is not None:
                tasks.start_soon(self._ending.watch_drain, drain)
            if errand is not None:
                tasks.start_soon(self._ending.watch_errand, partial(errand, self._intake))
            await self._ending.wait()
            with anyio.move_on_after(self._config.limits.shutdown_seconds * _SHUT_DOWN_SHARE):
                self._health.draining = True
                self._manager.tell_stopping()
                if self._watching is not None:
                    self._watching.stop()
                await self._pipeline.shut_down()
            tasks.cancel_scope.cancel()
        return self._ending.exit_code

    async def _receive(self, tasks: TaskGroup, drain: float | None) -> None:
        await tasks.start(self._pipeline.run, self._idle_interval(drain))
        if self._watching is not None:
            tasks.start_soon(self._watching.run)
        await self._manager.tell_ready()

    def _idle_interval(self, drain: float | None) -> float:
        """Seconds between two looks at an empty queue; while draining, its visibility window must be seen empty."""
        bridge = self._config.bridge
        return min(bridge.poll_interval, bridge.visibility / 3) if drain is not None else bridge.poll_interval

    async def _watch_store(self) -> None:
        """Turn a storage fault into the end of the process, whoever met it first (decision 13)."""
        await self._store.failed.wait()
        await self._store.commit(Batch())  # raises what everyone else is told, so that it is said once
        raise StoreUnavailable("the storage failed: nothing more can be acknowledged")

    def _build_pages(self) -> Starlette:
        reads, commands = (self._reloading.secrets[f"web.{name}"] for name in ("read_token", "command_token"))
        entries = self._config.limits.document_entries
        queries = Queries(self._store, tables=TABLES.names, machines=MACHINES, entries=entries)
        policy = self._pipeline.policy
        steering = Steering(self._store, self._pipeline, machines=MACHINES, pausable=PAUSABLE, policy=policy)
        return self._front.build_pages(
            queries,
            self._health,
            steering=steering,
            intake=self._intake,
            read_token=lambda: reads.value,
            command_token=lambda: commands.value,
        )


def _close_with(stack: AsyncExitStack, peer: Peer) -> Peer:
    """The peer, which is closed when the stack is."""
    stack.push_async_callback(peer.aclose)
    return peer


async def _open_log(
    config: Config, start: Opening, room: Room, *, accept_loss: bool, telemetry: PrometheusTelemetry, clock: Clock
) -> Store:
    """The log and its live state, once there is room for it."""
    return await start.when_there_is_room(
        lambda: open_store(
            config.data,
            TABLES,
            now=clock.now,
            identity=msgspec.structs.asdict(config.bridge.identity),
            accept_loss=accept_loss,
            require_known=MACHINES.require_known,
            room=room,
            on_commit=lambda seconds, _: telemetry.append_finished(seconds),
        )
    )


async def _open_desk(config: Config, store: Store, *, secrets: Secrets, clock: Clock, room: Room) -> Desk:
    """The desk, where a damaged row that it is held against is made anew first; one that stays so is raised."""
    align = partial(align_desk, store=store, clock=clock)
    mapping, _ = open_mapping(config)
    opening = partial(open_desk, config, mapping, secrets=secrets, align=align, clock=clock, room=room)
    try:
        return await opening()
    except RowDamaged as damaged:
        await mend_live_state(store, _team(config, clock), damaged)
        return await opening()


def _open_bridge(config: Config, *, api_key: LiveSecret, clock: Clock) -> FastBridge | HttpBridge:
    """The bridge over the transport of the operator's choice."""
    match config.bridge.transport:
        case "fast":
            return FastBridge(config.bridge, api_key=api_key, limits=config.limits, clock=clock)
        case "httpx":
            from ecproc.bridge.http import HttpBridge

            return HttpBridge(config.bridge, api_key=api_key, limits=config.limits, clock=clock)
        case transport:
            assert_never(transport)
