"""The queue's two calls as bare HTTP/1.1 on the event loop's own transports: the path every message takes.

A general client costs several times what the call itself does; of HTTP nothing more is needed here than one request
without a body at a time on each connection.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from ecproc import __version__
from ecproc.bridge.base import Answer
from ecproc.bridge.calls import (
    DELETE_BYTES,
    FORBIDDEN,
    ApiKey,
    encode_handle,
    name_client,
    read_key,
    repeat_refused,
    split_url,
)
from ecproc.bridge.pool import ConnectionPool
from ecproc.clock import Clock
from ecproc.config import BridgeConfig, Limits, Secret
from ecproc.config.proxy import Proxy
from ecproc.errors import BridgeUnavailable
from ecproc.network import HttpFault, Origin, make_tls_context


class FastQueue:
    """The queue calls of `Bridge`; made and used in one running event loop. `api_key` is asked at every call (R1, R5).

    TLS is 1.2 or newer and always verified, against the system's authorities or only those of `ca_file` (R3). No
    redirects, cookies or log lines, and no proxy but `config.proxy`; nothing is ever sent twice but a call that was
    refused with 403; the deadline spans everything from waiting for one of `limits.bridge_connections` to the last
    byte. Raises ConfigError when the CA file cannot be read.
    """

    def __init__(self, config: BridgeConfig, *, api_key: ApiKey, limits: Limits, clock: Clock) -> None:
        self._api_key = api_key
        self._timeout = config.timeout
        origin, path = split_url(config.queue_url)
        secure, proxy = origin.scheme == "https", config.proxy_address
        self._pool = ConnectionPool(
            origin,
            tls=make_tls_context(Path(config.ca_file) if config.ca_file else None) if secure else None,
            proxy=proxy,
            size=limits.bridge_connections,
            limit=limits.response_bytes,
            timeout=config.timeout,
            clock=clock,
        )
        forwarded = None if secure else proxy
        # What is forwarded names the whole address; a tunnel leads to it already.
        self._path = f"{path}/queue" if forwarded is None else f"http://{origin.authority}{path}/queue"
        self._name, name_headers = name_client(config)
        self._headers = _write_headers(origin, forwarded, name_headers)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} on {self._pool!r}>"

    async def receive(self) -> Answer:
        """GET /queue (R13-R15)."""
        return await self._call("GET", self._path)

    async def delete(self, receipt_handle: str) -> Answer:
        """DELETE /queue/{handle}, encoded once and sent byte for byte (R27)."""
        return await self._call("DELETE", f"{self._path}/{encode_handle(receipt_handle)}", most=DELETE_BYTES)

    async def aclose(self) -> None:
        """Close every connection that no call is using."""
        await self._pool.aclose()

    async def _call(self, method: str, target: str, *, most: int | None = None) -> Answer:
        key, call = self._api_key.value, partial(self._try, method, target, most)
        answer = await call(key)
        return answer if answer.status != FORBIDDEN else await repeat_refused(self._api_key, key, answer, call)

    async def _try(self, method: str, target: str, most: int | None, key: Secret) -> Answer:
        head = f"{method} {target}{self._name} HTTP/1.1\r\n{self._headers}x-api-key: {read_key(key)}\r\n\r\n"
        deadline = asyncio.get_running_loop().time() + self._timeout
        try:
            return await self._pool.call(head.encode("ascii"), deadline, most=most)
        except HttpFault as error:
            kind, detail, sent = error.kind, error.detail, error.sent
        # Outside the handler, so that nothing of the network's own errors is part of ours.
        raise BridgeUnavailable(kind, detail, sent=sent)


def _write_headers(origin: Origin, forwarded: Proxy | None, more: Mapping[str, str]) -> str:
    """The lines that every request has; those that a proxy forwards are for the proxy too."""
    headers = {
        "host": origin.authority,
        "accept": "application/json",
        "accept-encoding": "identity",
        "user-agent": f"ecproc/{__version__}",
        **more,
    }
    if forwarded is not None and forwarded.authorization:
        headers["proxy-authorization"] = forwarded.authorization.reveal()
    return "".join(f"{name}: {value}\r\n" for name, value in headers.items())
