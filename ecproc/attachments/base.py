"""What the rest of ecproc asks of attachments."""

from __future__ import annotations

from enum import StrEnum
from typing import Protocol

import msgspec

from ecproc.errors import EcprocError


class Stored(msgspec.Struct, frozen=True):
    """Content in the store; `path` is below the data directory, with forward slashes."""

    sha256: str
    size: int
    path: str


class Failure(StrEnum):
    """Why there is no file, by what can be done about it."""

    COUNTED = "counted"
    """The host's answer to this very request: worth a repeat, which counts."""
    HELD = "held"
    """The network, the storage host, a clock or our disk is at fault, not this file."""
    REFUSED = "refused"
    """Nobody will ever get it from this address, but a new announcement brings another."""
    EXPIRED = "expired"
    """The address was good for a time that is over."""
    CONFIGURATION = "configuration"
    """Our own configuration forbids it."""


class FetchFailed(EcprocError):
    """The attachment could not be stored.

    `retry_after` is the host's own wish in seconds, `hint` what the operator can do, `request_id` the host's name for
    the request. `reason` holds the host's words; of the address it names the host at most.
    """

    def __init__(
        self,
        reason: str,
        failure: Failure,
        *,
        retry_after: float | None = None,
        hint: str = "",
        request_id: str = "",
    ) -> None:
        super().__init__(f"the attachment could not be fetched: {reason}")
        self.reason = reason
        self.failure = failure
        self.retry_after = retry_after
        self.hint = hint
        self.request_id = request_id


class OutOfRoom(FetchFailed):
    """Our own disk or our limit of open files has no room for it: nothing is wrong with the file or its host."""

    def __init__(
        self,
        reason: str = "disk_full",
        *,
        hint: str = "free some space on the data directory's disk; it goes on by itself",
    ) -> None:
        super().__init__(reason, Failure.HELD, hint=hint)


class Fetcher(Protocol):
    """Downloads attachments; the same content is kept once."""

    async def fetch(self, url: str, *, announced_size: int | None) -> Stored:
        """Download `url` and keep what it holds, durably, whatever size was announced.

        Raises FetchFailed, OutOfRoom among them, and StoreUnavailable when the disk fails in any other way.
        """

    async def aclose(self) -> None:
        """Close every connection."""


class FileRefused(EcprocError):
    """A file of the user's own that is not taken in; `hint` says what to do."""

    def __init__(self, place: str, reason: str, *, hint: str = "") -> None:
        super().__init__(f"{place} cannot be attached: {reason}")
        self.hint = hint


class Outgoing(msgspec.Struct, frozen=True):
    """Content of the store on its way to Ensono; `name` is what it is called there, `type` its media type. With
    `base64` it is sent as Base64 (R135)."""

    sha256: str
    size: int
    name: str
    type: str
    base64: bool = False


class Uploaded(msgspec.Struct, frozen=True):
    """What the storage host answered: its status, and its own name for the request."""

    status: int
    request_id: str = ""


class UploadFailed(EcprocError):
    """The file was not sent, or nobody knows what became of it.

    `uncertain`: the whole of it had left. `status` is the host's answer if there was one; the rest as in FetchFailed.
    """

    def __init__(
        self,
        reason: str,
        failure: Failure,
        *,
        uncertain: bool = False,
        status: int | None = None,
        retry_after: float | None = None,
        hint: str = "",
        request_id: str = "",
    ) -> None:
        super().__init__(f"the file could not be sent: {reason}")
        self.reason = reason
        self.failure = failure
        self.uncertain = uncertain
        self.status = status
        self.retry_after = retry_after
        self.hint = hint
        self.request_id = request_id


class Uploader(Protocol):
    """Puts content of the store to addresses that the bridge gave."""

    async def examine(self, file: Outgoing) -> None:
        """Raise UploadFailed where this file would not be taken, whatever the address."""

    async def upload(self, file: Outgoing, url: str) -> Uploaded:
        """Put the file to `url`, once. Raises UploadFailed; its failure is `expired` where another address may do."""

    async def aclose(self) -> None:
        """Close every connection."""
