"""Watching the desk of the operator's choice: its parts put together beside a running pipeline."""

from __future__ import annotations

import logging
from functools import partial
from typing import Final

from ecproc.attachments.store import ContentStore
from ecproc.clock import Clock
from ecproc.commands.derive import DeskRules
from ecproc.commands.external import ExternalIntake
from ecproc.commands.handed import HandedFiles
from ecproc.config import Config
from ecproc.desk.base import Desk, DeskRefused, News, Watch
from ecproc.desk.opening import open_watch
from ecproc.domain.external import ExternalFile
from ecproc.fold.tickets import MACHINES
from ecproc.outbox.schedule import is_at_work
from ecproc.pipeline import Pipeline
from ecproc.runtime.watch import CursorFile, Watching
from ecproc.store.base import Store
from ecproc.telemetry.complaints import Complaints
from ecproc.telemetry.hooks import Telemetry

SOURCE: Final = "desk"
"""What the desk is called among the systems that tell us news."""
_FOLDER: Final = "watch"
_HINT: Final = (
    "let our user read the rows, or narrow the records by desk.watch.query; what is visible is read all the same"
)


def open_external(config: Config, store: Store, pipeline: Pipeline, *, clock: Clock) -> ExternalIntake:
    """The one way in for what other systems tell, whether they are asked or post it."""
    return ExternalIntake(
        store,
        pipeline,
        machines=MACHINES,
        options=config.commands,
        environment=config.bridge.identity.environment,
        rules=read_rules(config),
        is_at_work=partial(is_at_work, pipeline.dispatcher.schedule),
        clock=clock,
    )


def open_watching(
    config: Config,
    desk: Desk,
    *,
    store: Store,
    intake: ExternalIntake,
    content: ContentStore,
    telemetry: Telemetry,
    clock: Clock,
) -> Watching | None:
    """What polls the desk, None where nothing does. Nothing is asked before it runs."""
    _complaints = Complaints()

    def complain(reason: str) -> None:
        now = clock.monotonic()
        _complaints.tell(logging.WARNING, "acl_hides_rows", reason, now=now, source=SOURCE, hint=_HINT)

    handed = HandedFiles(store, config.data.directory)
    watch = open_watch(config, desk, source=SOURCE, handed=handed.find, complain=complain, clock=clock)
    if watch is None:
        return None
    return Watching(
        watch,
        intake,
        keep=partial(keep_file, watch, content, config.attachments.max_bytes),
        may_take=store.may_perform,
        file=CursorFile(config.data.directory / _FOLDER / f"{SOURCE}.json"),
        interval=config.desk_watch.interval,
        clock=clock,
        telemetry=telemetry,
    )


def read_rules(config: Config) -> DeskRules:
    """What [policy.internal] says."""
    return DeskRules(
        config.policy_internal.ensono_groups,
        config.policy_internal.group,
        config.policy_internal.status,
        config.policy_internal.notes,
    )


async def keep_file(watch: Watch, content: ContentStore, most: int, news: News) -> ExternalFile:
    """Store the content that a news is about. Raises DeskUnavailable, DeskRefused for one that cannot be had, and
    OSError where there is no room for it."""
    if news.size > most:
        raise DeskRefused(f"it has {news.size} bytes, {most} at most are stored (attachments.max_bytes)")
    async with content.receive(news.size) as upload:
        await watch.fetch(news.file, upload.write, most)
        stored = await upload.keep()
    return ExternalFile(news.name, news.type, stored.size, stored.sha256, stored.path)
