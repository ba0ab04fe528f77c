"""What the rest of ecproc asks of attachments."""

from __future__ import annotations

from typing import Protocol

import msgspec

from ecproc.errors import EcprocError


class Stored(msgspec.Struct, frozen=True):
    """Content in the store; `path` is below the data directory, with forward slashes."""

    sha256: str
    size: int
    path: str


class FetchFailed(EcprocError):
    """The attachment could not be stored.

    `final`: no later attempt can succeed (`expired`: because the URL has). `held`: the network, the storage host or our
    disk is at fault, not this attachment, so the attempt does not count. Otherwise it is worth a counted repeat.
    `retry_after` is the host's own wish in seconds. `reason` names no part of the address.
    """

    def __init__(
        self,
        reason: str,
        *,
        final: bool = False,
        held: bool = False,
        expired: bool = False,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(f"the attachment could not be fetched: {reason}")
        self.reason = reason
        self.final = final
        self.held = held
        self.expired = expired
        self.retry_after = retry_after


class Fetcher(Protocol):
    """Downloads attachments; the same content is kept once."""

    async def fetch(self, url: str, *, announced_size: int | None) -> Stored:
        """Download `url` and keep what it holds, durably.

        Raises FetchFailed, and StoreUnavailable when the disk fails in any other way than being full.
        """

    async def aclose(self) -> None:
        """Close every connection."""
