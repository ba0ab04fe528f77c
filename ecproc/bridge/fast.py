"""The bridge's calls as bare HTTP/1.1 on the event loop's own transports: the path every message takes.

A general client costs several times what the call itself does; of HTTP nothing more is needed here than one request
at a time on each connection.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path

import msgspec

from ecproc import __version__
from ecproc.bridge.base import Answer, Deleted, Request
from ecproc.bridge.calls import (
    DELETE_BYTES,
    FORBIDDEN,
    ApiKey,
    Pacing,
    encode_handle,
    name_client,
    read_key,
    repeat_refused,
    send_with_key,
    split_url,
)
from ecproc.bridge.connect import CallOutcome, Dialler
from ecproc.bridge.pool import ConnectionPool
from ecproc.clock import Clock
from ecproc.config import BridgeConfig, Limits, Secret
from ecproc.config.proxy import Proxy
from ecproc.errors import BridgeUnavailable
from ecproc.network import HttpFault, Origin, make_tls_context


class FastBridge:
    """Ensono's bridge (see `Bridge`); made and used in one running event loop. `api_key` is asked at every call (R1,
    R5).

    TLS is 1.2 or newer and always verified, against the system's authorities or only those of `ca_file` (R3). No
    redirects, cookies or log lines, and no proxy but `config.proxy`; nothing is ever sent twice but a call that was
    refused with 403; the deadline spans everything from waiting for one of `limits.bridge_connections` to the last
    byte. Queue calls and ticket calls have that many connections each; a ticket call that is not repeatable has one of
    its own. Raises ConfigError when the CA file cannot be read.
    """

    def __init__(self, config: BridgeConfig, *, api_key: ApiKey, limits: Limits, clock: Clock) -> None:
        self._api_key = api_key
        self._name, name_headers = name_client(config)
        self._pacing = Pacing(config.requests_per_second, clock)
        tls = _make_tls(config)
        self._queue = _open_route(config.queue_url, config, tls=tls, limits=limits, clock=clock)
        self._tickets = _open_route(config.base_url, config, tls=tls, limits=limits, clock=clock)
        self._named = "".join(f"{name}: {value}\r\n" for name, value in name_headers.items())

    def __repr__(self) -> str:
        return f"<{type(self).__name__} on {self._queue.pool!r}>"

    async def receive(self) -> Answer:
        """GET /queue (R13-R15)."""
        return await self._call(self._queue, f"GET {self._queue.prefix}/queue{self._name}", self._named)

    async def delete(self, receipt_handle: str) -> Answer:
        """DELETE /queue/{handle}, encoded once and sent byte for byte (R27)."""
        return await send_with_key(self._api_key, self._delete(receipt_handle))

    async def delete_many(self, receipt_handles: Sequence[str], deleted: Deleted, *, within: float) -> None:
        """DELETE each, with its own deadline from when it is begun; one that is refused is repeated as a single one is
        (R5)."""
        key, pool = self._api_key.value, self._queue.pool
        before, _, after = self._write_delete("\n").partition("\n")
        after += f"x-api-key: {read_key(key)}\r\n\r\n"
        requests = [f"{before}{encode_handle(handle)}{after}".encode("ascii") for handle in receipt_handles]

        def take(place: int, outcome: CallOutcome | None) -> None:
            if isinstance(outcome, HttpFault):
                deleted(place, BridgeUnavailable(outcome.kind, outcome.detail, sent=outcome.sent))
            elif outcome is not None and outcome.status == FORBIDDEN:
                repeats.create_task(self._repeat_delete(receipt_handles[place], key, outcome, partial(deleted, place)))
            else:
                deleted(place, outcome)

        async with asyncio.TaskGroup() as repeats:
            await pool.call_many(requests, take, within=within, most=DELETE_BYTES)

    async def send(self, request: Request) -> Answer:
        """A ticket call; in the echo environment it goes to echo while the queue is dev's (R9)."""
        await self._pacing.wait_turn()
        path, body, headers = self._tickets.prefix + request.path, request.body, self._named
        if body is None:
            path += self._name.replace("?", "&", 1) if "?" in path else self._name
        else:
            headers = f"content-type: application/json\r\ncontent-length: {len(body)}\r\n"
        if not request.repeatable:
            headers += "connection: close\r\n"
        most = DELETE_BYTES if request.method == "DELETE" else None
        line = f"{request.method} {path}"
        return await self._call(self._tickets, line, headers, body or b"", most=most, kept=request.repeatable)

    @property
    def certificate_end(self) -> float | None:
        """When the bridge's certificate ends, in seconds UTC; None while none was seen."""
        return self._queue.dialler.certificate_end or self._tickets.dialler.certificate_end

    async def aclose(self) -> None:
        """Close every connection that no call is using."""
        await self._queue.pool.aclose()
        await self._tickets.pool.aclose()

    async def _call(
        self, route: _Route, line: str, headers: str, body: bytes = b"", *, most: int | None = None, kept: bool = True
    ) -> Answer:
        send = partial(route.pool.call, most=most, kept=kept)
        head = f"{line} HTTP/1.1\r\n{route.headers}{headers}"
        return await send_with_key(self._api_key, partial(_try_call, send, head, body))

    def _write_delete(self, handle: str) -> str:
        """All that a DELETE says before its key; its handle is encoded already."""
        path = f"{self._queue.prefix}/queue/{handle}{self._name}"
        return f"DELETE {path} HTTP/1.1\r\n{self._queue.headers}{self._named}"

    def _delete(self, receipt_handle: str) -> Callable[[Secret], Awaitable[Answer]]:
        send = partial(self._queue.pool.call, most=DELETE_BYTES, batched=True)
        return partial(_try_call, send, self._write_delete(encode_handle(receipt_handle)), b"")

    async def _repeat_delete(
        self, handle: str, key: Secret, refused: Answer, deleted: Callable[[Answer | BridgeUnavailable], None]
    ) -> None:
        try:
            outcome: Answer | BridgeUnavailable = await repeat_refused(
                self._api_key, key, refused, self._delete(handle)
            )
        except BridgeUnavailable as error:
            outcome = error.with_traceback(None)
        deleted(outcome)


async def _try_call(send: Callable[[bytes], Awaitable[Answer]], head: str, body: bytes, key: Secret) -> Answer:
    """The answer to a call with this key."""
    request = f"{head}x-api-key: {read_key(key)}\r\n\r\n".encode("ascii") + body
    try:
        return await send(request)
    except HttpFault as error:
        kind, detail, sent = error.kind, error.detail, error.sent
    # Outside the handler, so that nothing of the network's own errors is part of ours.
    raise BridgeUnavailable(kind, detail, sent=sent)


class _Route(msgspec.Struct, frozen=True):
    """The connections to an environment, what its calls' paths begin with, and the headers that all of them have."""

    dialler: Dialler
    pool: ConnectionPool
    prefix: str
    headers: str


def _make_tls(config: BridgeConfig) -> ssl.SSLContext | None:
    """The one context for all connections: making it takes as long as a hundred messages do."""
    if not config.base_url.startswith("https:"):
        return None
    return make_tls_context(Path(config.ca_file) if config.ca_file else None)


def _open_route(url: str, config: BridgeConfig, *, tls: ssl.SSLContext | None, limits: Limits, clock: Clock) -> _Route:
    origin, path = split_url(url)
    proxy = config.proxy_address
    dialler = Dialler(origin, tls=tls, proxy=proxy, limit=limits.response_bytes, timeout=config.timeout, clock=clock)
    pool = ConnectionPool(
        dialler, size=limits.bridge_connections, batched=limits.deletes_at_once, timeout=config.timeout
    )
    forwarded = None if tls is not None else proxy
    # What is forwarded names the whole address; a tunnel leads to it already.
    prefix = path if forwarded is None else f"http://{origin.authority}{path}"
    return _Route(dialler, pool, prefix, _write_headers(origin, forwarded))


def _write_headers(origin: Origin, forwarded: Proxy | None) -> str:
    """The lines that every request has; those that a proxy forwards are for the proxy too."""
    headers = {
        "host": origin.authority,
        "accept": "application/json",
        "accept-encoding": "identity",
        "user-agent": f"ecproc/{__version__}",
    }
    if forwarded is not None and forwarded.authorization:
        headers["proxy-authorization"] = forwarded.authorization.reveal()
    return "".join(f"{name}: {value}\r\n" for name, value in headers.items())
