"""Downloads: the address comes from the message that announced the file, never from the effect."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, assert_never

import msgspec

from ecproc.attachments.base import Failure, Fetcher, FetchFailed, OutOfRoom
from ecproc.clock import Clock
from ecproc.domain.attempt import Attempt, Blamed, Deferred, Done, Held, Postponed
from ecproc.domain.effects import Effect, EffectKind, Repeat
from ecproc.domain.entry import Entry
from ecproc.store.base import Store
from ecproc.wire.translate import attachment_url

SEND_AGAIN_HINT: Final = "ask Ensono to send the file again: what a new message announces is fetched at once"
"""What can be done about a file that is lost."""


class _Attachment(msgspec.Struct):
    """As much as is needed here of a file's live row."""

    status: str
    sha256: str | None = None
    size: int | None = None
    path: str | None = None


_decode_attachment = msgspec.json.Decoder(_Attachment).decode


class AttachmentPerformer:
    """Fetches announced files."""

    name = "attachments"
    kinds = (EffectKind.DOWNLOAD,)

    def __init__(self, fetcher: Fetcher, store: Store, *, clock: Clock) -> None:
        self._fetcher = fetcher
        self._store = store
        self._clock = clock

    def repeat_of(self, kind: EffectKind) -> Repeat:
        return Repeat.IDEMPOTENT  # content is stored under its own digest

    def ends_after(self, kind: EffectKind) -> float:
        return 0.0

    async def perform(self, stream: str, entry: Entry) -> Attempt | Deferred:
        effect = entry.effect
        stored = await self._find_stored(stream, effect) if effect.rearm else None
        if stored is not None:
            return Done(stored)
        message = await self._store.read_event(effect.position)
        url = attachment_url(message.payload) if message is not None else ""
        if not url:
            return Blamed("the message names no address", final=True)
        size = effect.fields.get("size")
        try:
            fetched = await self._fetcher.fetch(url, announced_size=int(size) if size is not None else None)
        except OutOfRoom as error:
            return Deferred(error.reason, hint=error.hint)
        except FetchFailed as error:
            return _judge(error, overdue=effect.deadline is not None and self._clock.now() > effect.deadline)
        return Done({"sha256": fetched.sha256, "size": str(fetched.size), "path": fetched.path})

    async def _find_stored(self, stream: str, effect: Effect) -> Mapping[str, str] | None:
        """What the address of a former announcement gave while this one was being planned."""
        for row in await self._store.read_rows("attachment", stream=stream, id=effect.fields.get("attachment", "")):
            known = _decode_attachment(row.data or b"")
            if known.status == "stored":
                return {"sha256": known.sha256 or "", "size": str(known.size), "path": known.path or ""}
        return None


def _judge(error: FetchFailed, *, overdue: bool) -> Attempt:
    """Past its address's expiry a file is tried once and no more (decision 9); before it only the host's own word
    that it is over makes it lost."""
    reason, hint, named = error.reason, error.hint, error.request_id
    if error.failure is Failure.HELD:
        return Held(reason, error.retry_after, hint=hint, request_id=named)
    if overdue or error.failure is Failure.EXPIRED:
        hint = f"{hint}; then {SEND_AGAIN_HINT}" if hint else SEND_AGAIN_HINT
        return Blamed(f"expired: {reason}", lost=True, hint=hint, request_id=named)
    match error.failure:
        case Failure.CONFIGURATION:
            return Postponed(reason, hint=hint, request_id=named)
        case Failure.REFUSED:
            return Blamed(reason, final=True, hint=hint, request_id=named)
        case Failure.COUNTED:
            return Blamed(reason, hint=hint, request_id=named)
        case _:
            assert_never(error.failure)
