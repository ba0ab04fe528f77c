"""The hooks listener put together: who may post, what becomes of a post, and the files that are handed out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final, assert_never

import msgspec
from starlette.types import ASGIApp

from ecproc.attachments.base import Failure, Fetcher, FetchFailed, Stored
from ecproc.attachments.store import ContentStore
from ecproc.clock import Clock
from ecproc.config import Config, Secret, Secrets
from ecproc.desk.webhook.mapped import map_post
from ecproc.desk.webhook.posts import Told, read_post
from ecproc.domain.anomalies import Anomaly
from ecproc.domain.external import ExternalFile, ExternalReceived, Fate
from ecproc.domain.remarks import Remark
from ecproc.mapping import Mapping as FieldMapping
from ecproc.mapping_file import open_mapping
from ecproc.runtime.watch import Taking
from ecproc.telemetry.hooks import Telemetry
from ecproc.web.files import FilePages
from ecproc.web.hook_auth import Authenticate, by_password, by_signature, by_token
from ecproc.web.hooks import Hooks, HookSource
from ecproc.webhooks import read_key

_WAITING: Final = frozenset({Failure.HELD, Failure.COUNTED})
"""Failures of a download after which the same post may be worth another try."""


class PostIntake:
    """Takes posts in, their files first: what an event names is there. Without a `mapping` the desk speaks the guide's
    words."""

    def __init__(
        self,
        intake: Taking,
        content: ContentStore,
        fetcher: Fetcher,
        *,
        most: int,
        telemetry: Telemetry,
        mapping: FieldMapping | None = None,
    ) -> None:
        self._intake = intake
        self._content = content
        self._fetcher = fetcher
        self._most = most
        self._telemetry = telemetry
        self._mapping = mapping

    async def accept(self, source: str, message_id: str, body: bytes) -> Fate:
        """What became of a post, once that is durable. Raises StoreError."""
        told = read_post(source, message_id, body)
        if told is None:
            return Fate.IGNORED
        event = await self._complete(told)
        fate = Fate.BUSY if event is None else (await self._intake.take([event]))[0]
        self._telemetry.external_received(source, fate)
        return fate

    async def _complete(self, told: Told) -> ExternalReceived | None:
        """The event with what its fields mean, and its file, if it has one and anybody wants it; None where the file
        may be had later."""
        event = told.event
        if self._mapping is not None and told.fields:
            event = map_post(event, told.fields, await self._intake.type_of(event), self._mapping)
        if (told.content is None and not told.url) or not await self._intake.wants(event):
            return event
        try:
            stored = await self._keep(told)
        except OSError:
            return None
        except FetchFailed as failed:
            if failed.failure in _WAITING:
                return None
            return _remark(told, failed.reason)
        if stored is None:
            return _remark(told, f"it is larger than {self._most} bytes")
        file = ExternalFile(told.name, told.type, stored.size, stored.sha256, stored.path)
        return msgspec.structs.replace(event, file=file)

    async def _keep(self, told: Told) -> Stored | None:
        if told.content is None:
            return await self._fetcher.fetch(told.url, announced_size=told.size)
        if len(told.content) > self._most:
            return None
        async with self._content.receive(len(told.content)) as upload:
            await upload.write(told.content)
            return await upload.keep()


def open_hooks(
    config: Config,
    intake: Taking,
    *,
    content: ContentStore,
    fetcher: Fetcher,
    secrets: Secrets,
    telemetry: Telemetry,
    clock: Clock,
) -> ASGIApp:
    """The hooks listener's application. Raises ConfigError where the mapping cannot be read."""
    mapping = open_mapping(config)[0] if config.mapping_file is not None else None
    posts = PostIntake(
        intake, content, fetcher, most=config.attachments.max_bytes, telemetry=telemetry, mapping=mapping
    )
    return build_hooks(config, posts, content, secrets=secrets, telemetry=telemetry, clock=clock)


def build_hooks(
    config: Config, posts: PostIntake, content: ContentStore, *, secrets: Secrets, telemetry: Telemetry, clock: Clock
) -> ASGIApp:
    """The application of the hooks listener."""
    desk = secrets["desk.webhook.secrets"]
    files = FilePages(content.locate, keys=lambda: [read_key(one.reveal()) for one in desk.values], clock=clock)
    return Hooks(
        sources=_list_sources(config, secrets),
        accept=posts.accept,
        rate=config.hooks.rate,
        others=files,
        on_answered=telemetry.hook_answered,
        clock=clock,
    )


def _list_sources(config: Config, secrets: Secrets) -> Mapping[str, HookSource]:
    named = config.hooks_sources
    return {name: HookSource(name, _authentication(config, name, secrets)) for name in named}


def _authentication(config: Config, name: str, secrets: Secrets) -> Authenticate:
    source = config.hooks_sources[name]

    def follow(key: str) -> Callable[[], Sequence[Secret]]:
        live = secrets[f"hooks.sources.{name}.{key}"]
        return lambda: live.values

    match source.kind:
        case "standard":
            return by_signature(follow("secrets"))
        case "basic":
            return by_password(source.username, follow("password"))
        case "bearer":
            return by_token(follow("token"))
        case kind:
            assert_never(kind)


def _remark(told: Told, why: str) -> ExternalReceived:
    remark = Remark(Anomaly.INCOMPLETE, f"attachment {told.name[:80]}: {why}")
    return msgspec.structs.replace(told.event, remarks=(*told.event.remarks, remark))
