"""Downloads: the address comes from the message that announced the file, never from the effect."""

from __future__ import annotations

from ecproc.attachments.base import Fetcher, FetchFailed
from ecproc.clock import Clock
from ecproc.domain.entry import Entry
from ecproc.outbox.retry import Attempt, Blamed, Done, Held
from ecproc.store.base import Store
from ecproc.wire.translate import attachment_url


class AttachmentPerformer:
    """Fetches announced files, while the disk has room. Idempotent: content is stored under its own digest."""

    name = "attachments"
    keyed = True

    def __init__(self, fetcher: Fetcher, store: Store, *, clock: Clock) -> None:
        self._fetcher = fetcher
        self._store = store
        self._clock = clock

    async def perform(self, stream: str, entry: Entry) -> Attempt:
        if not self._store.has_room():
            return Held("the disk is at its reserve", down=True)
        message = await self._store.read_event(entry.effect.position)
        url = attachment_url(message.payload) if message is not None else ""
        if not url:
            return Blamed("the message names no address", final=True)
        size = entry.effect.fields.get("size")
        try:
            stored = await self._fetcher.fetch(url, announced_size=int(size) if size is not None else None)
        except FetchFailed as error:
            return self._judge(entry, error)
        return Done({"sha256": stored.sha256, "size": str(stored.size), "path": stored.path})

    def _judge(self, entry: Entry, error: FetchFailed) -> Attempt:
        """Past its address's expiry a file is tried once and no more (decision 9)."""
        deadline = entry.effect.deadline
        expired = error.expired or (deadline is not None and self._clock.now() > deadline and not error.held)
        if expired:
            return Blamed(f"expired: {error.reason}", final=True)
        if error.held:
            return Held(error.reason, error.retry_after)
        return Blamed(error.reason, final=error.final)
