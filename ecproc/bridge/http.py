"""The bridge over HTTP: the guide's paths, the API key, and one place that says why there is no answer."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import msgspec

from ecproc.bridge.base import Answer, Deleted, Request
from ecproc.bridge.calls import (
    DELETE_BYTES,
    ApiKey,
    Pacing,
    delete_each,
    encode_handle,
    name_client,
    read_key,
    send_with_key,
    split_url,
)
from ecproc.clock import Clock
from ecproc.config import BridgeConfig, Limits, Secret
from ecproc.errors import BridgeUnavailable
from ecproc.http import HttpClient, HttpFault, Origin, parse_retry_after


class HttpBridge:
    """Ensono's bridge (see `Bridge`). `api_key` is asked at every call, so a rotated key is used at once (R1, R5).
    Every call goes through `config.proxy` if there is one.

    Queue calls share connections. A ticket call has its own: on a connection that the bridge is just about to close
    it would stay unknown whether the call took effect.
    """

    def __init__(self, config: BridgeConfig, *, api_key: ApiKey, limits: Limits, clock: Clock) -> None:
        self._api_key = api_key
        self._clock = clock
        self._certificate_end: float | None = None
        self._most_bytes = limits.response_bytes
        self._places = asyncio.Semaphore(limits.deletes_at_once)
        self._name, self._name_headers = name_client(config)
        self._pacing = Pacing(config.requests_per_second, clock)
        self._queue = _Route(_make_client(config, limits, keep_alive=True), *split_url(config.queue_url))
        self._tickets = _Route(_make_client(config, limits, keep_alive=False), *split_url(config.base_url))

    async def receive(self) -> Answer:
        """GET /queue (R13-R15)."""
        return await self._call(self._queue, Request("GET", "/queue"))

    async def delete(self, receipt_handle: str) -> Answer:
        """DELETE /queue/{handle}, encoded once and sent byte for byte (R27)."""
        return await self._call(self._queue, Request("DELETE", f"/queue/{encode_handle(receipt_handle)}"))

    async def delete_many(self, receipt_handles: Sequence[str], deleted: Deleted, *, within: float) -> None:
        """A task for each (R27)."""
        await delete_each(self.delete, receipt_handles, deleted, places=self._places, within=within)

    async def send(self, request: Request) -> Answer:
        """A ticket call; in the echo environment it goes to echo while the queue is dev's (R9)."""
        await self._pacing.wait_turn()
        return await self._call(self._tickets, request)

    @property
    def certificate_end(self) -> float | None:
        """When the bridge's certificate ends, in seconds UTC; None while none was seen."""
        return self._certificate_end

    async def aclose(self) -> None:
        """Close every connection."""
        await self._queue.client.aclose()
        await self._tickets.client.aclose()

    async def _call(self, route: _Route, request: Request) -> Answer:
        return await send_with_key(self._api_key, lambda key: self._try(route, request, key))

    async def _try(self, route: _Route, request: Request, key: Secret) -> Answer:
        headers = self._headers(request, key)
        try:
            return await self._exchange(route, request, headers)
        except HttpFault as error:
            kind, detail, sent = error.kind, error.detail, error.sent
        raise BridgeUnavailable(kind, detail, sent=sent)

    async def _exchange(self, route: _Route, request: Request, headers: dict[str, str]) -> Answer:
        target = route.prefix + request.path
        if request.body is None:
            target += self._name.replace("?", "&", 1) if "?" in target else self._name
        call = route.client.open(request.method, route.origin, target, headers=headers, content=request.body)
        async with call as response:
            self._certificate_end = response.ends.certificate_ends or self._certificate_end
            most = min(self._most_bytes, DELETE_BYTES) if request.method == "DELETE" else self._most_bytes
            body = await response.read(most)
            wait = parse_retry_after(response.header("retry-after"), now=self._clock.now())
            return Answer(response.status, body, wait, response.request_id, response.header("date") or "")

    def _headers(self, request: Request, key: Secret) -> dict[str, str]:
        headers = {"x-api-key": read_key(key), "accept": "application/json"}
        if request.body is None:
            return headers | self._name_headers
        return headers | {"content-type": "application/json"}


class _Route(msgspec.Struct, frozen=True):
    """An environment's URL in parts, and the connections to it."""

    client: HttpClient
    origin: Origin
    prefix: str


def _make_client(config: BridgeConfig, limits: Limits, *, keep_alive: bool) -> HttpClient:
    """Connections to the bridge as the operator wants them. Raises ConfigError when the CA file cannot be read."""
    return HttpClient(
        timeout=config.timeout,
        max_connections=limits.bridge_connections,
        ca_file=Path(config.ca_file) if config.ca_file else None,
        keep_alive=keep_alive,
        proxy=config.proxy_address,
    )
