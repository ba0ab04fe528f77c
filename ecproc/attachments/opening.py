"""The ways of files over the network, as the configuration has them."""

from __future__ import annotations

from ecproc.attachments.fetch import HttpFetcher
from ecproc.attachments.store import ContentStore
from ecproc.attachments.upload import HttpUploader
from ecproc.clock import Clock
from ecproc.config import Config


def open_fetcher(config: Config, content: ContentStore, *, clock: Clock) -> HttpFetcher:
    """What downloads announced files."""
    return HttpFetcher(
        content,
        allowed_hosts=config.attachments.allowed_hosts,
        max_bytes=config.attachments.max_bytes,
        timeout=config.limits.download_seconds,
        max_connections=config.limits.bridge_connections,
        clock=clock,
        proxy=config.bridge.proxy_address,
    )


def open_uploader(config: Config, content: ContentStore, *, clock: Clock) -> HttpUploader:
    """What uploads stored ones."""
    return HttpUploader(
        content,
        allowed_hosts=config.attachments.allowed_hosts,
        max_bytes=config.attachments.max_bytes,
        timeout=config.limits.download_seconds,
        max_connections=config.limits.bridge_connections,
        clock=clock,
        proxy=config.bridge.proxy_address,
    )
