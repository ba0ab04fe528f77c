"""What every call needs whichever adapter makes it: where it goes, its API key, its client's name, the handle."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from string import ascii_letters, digits
from typing import Final, Protocol
from urllib.parse import quote, urlsplit

from ecproc.bridge.base import Answer, Deleted
from ecproc.clock import Clock
from ecproc.config import BridgeConfig, Secret
from ecproc.errors import BridgeRefused, BridgeUnavailable
from ecproc.network import Origin

FORBIDDEN: Final = 403
DELETE_BYTES: Final = 256 * 1024
"""Largest answer that is read to a DELETE: dozens of them are under way at once, and each says a few words."""

_BASE64: Final = (ascii_letters + digits + "+/=").encode("ascii")


class ApiKey(Protocol):
    """The API key as it is now; it may change between two calls (R5)."""

    @property
    def value(self) -> Secret:
        """What to send."""

    def instead_of(self, refused: Secret) -> Secret | None:
        """What to send after a value was refused, None if there is nothing else."""

    def settle(self, worked: Secret) -> None:
        """From now on send the value that was taken."""


class Pacing:
    """Turns for ticket calls, so many per second at most; 0 is as many as there are."""

    def __init__(self, per_second: float, clock: Clock) -> None:
        self._interval = 1 / per_second if per_second else 0.0
        self._clock = clock
        self._next = 0.0

    async def wait_turn(self) -> None:
        """Return when the next call may leave; those that wait go in the order they came."""
        now = self._clock.monotonic()
        at = max(self._next, now)
        self._next = at + self._interval
        if at > now:
            await self._clock.sleep(at - now)


def split_url(url: str) -> tuple[Origin, str]:
    """An environment's URL as its origin and the path that every call's own follows."""
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    return Origin(parts.scheme, parts.hostname or "", port), parts.path


def name_client(config: BridgeConfig) -> tuple[str, dict[str, str]]:
    """How calls without a body name the client (R2): what is added to their path, and to their headers."""
    match config.client_name_in:
        case "query":
            return f"?clientName={quote(config.client_name, safe='')}", {}
        case "header":
            return "", {"clientName": config.client_name}
        case _:
            return "", {}


async def send_with_key(key: ApiKey, call: Callable[[Secret], Awaitable[Answer]]) -> Answer:
    """Make a call; one that is refused is made once more with another key if there is one: 403 means not taken (R5)."""
    value = key.value
    answer = await call(value)
    if answer.status != FORBIDDEN:
        return answer
    return await repeat_refused(key, value, answer, call)


async def repeat_refused(
    key: ApiKey, refused: Secret, answer: Answer, call: Callable[[Secret], Awaitable[Answer]]
) -> Answer:
    """The answer to a call whose key was refused: the second one's if there is another key, else the first one's."""
    other = key.instead_of(refused)
    if other is None:
        return answer
    again = await call(other)
    if again.status != FORBIDDEN:
        key.settle(other)
    return again


def read_key(key: Secret) -> str:
    """The API key in clear (R1). Raises BridgeRefused when it cannot be sent."""
    text = key.reveal()
    if not (text and text.isascii() and text.isprintable()):
        raise BridgeRefused("the API key is empty or no header can carry it", help="check bridge.api_key")
    return text


def encode_handle(handle: str) -> str:
    """A receipt handle percent-encoded once with no safe characters (R27); the usual base64 takes the short way."""
    if not handle.encode().translate(None, _BASE64):
        return handle.replace("/", "%2F").replace("+", "%2B").replace("=", "%3D")
    return quote(handle, safe="")


async def delete_each(
    delete: Callable[[str], Awaitable[Answer]],
    receipt_handles: Sequence[str],
    deleted: Deleted,
    *,
    places: asyncio.Semaphore,
    within: float,
) -> None:
    """`Queue.delete_many` by a task for each, of which as many call `delete` at once as there are `places`."""
    loop = asyncio.get_running_loop()
    until = loop.time() + within

    async def delete_one(place: int, handle: str) -> None:
        outcome: Answer | BridgeUnavailable | None = None
        async with places:
            if loop.time() < until:
                try:
                    outcome = await delete(handle)
                except BridgeUnavailable as error:
                    outcome = error.with_traceback(None)
        deleted(place, outcome)

    async with asyncio.TaskGroup() as tasks:
        for place, handle in enumerate(receipt_handles):
            tasks.create_task(delete_one(place, handle))
