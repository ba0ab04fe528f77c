"""The HTTP client of attachments: neither API key nor cookies, a connection for each request (R129)."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

import anyio

from ecproc.config.proxy import Proxy
from ecproc.network import HttpFault

if TYPE_CHECKING:
    from ecproc.http import HttpClient, HttpResponse

_ERROR_TEXT_BYTES: Final = 64 * 1024


class LateClient:
    """A client that is loaded and made when it is first needed: most processes start long before their first file."""

    def __init__(
        self, *, timeout: float, connect_seconds: float, max_connections: int, ca_file: Path | None, proxy: Proxy | None
    ) -> None:
        self._timeout = timeout
        self._connect_seconds = connect_seconds
        self._max_connections = max_connections
        self._ca_file = ca_file
        self._proxy = proxy
        self._made: HttpClient | None = None
        self._making = anyio.Lock()

    async def get(self) -> HttpClient:
        """The client."""
        async with self._making:
            if self._made is None:
                self._made = await anyio.to_thread.run_sync(self._make)
            return self._made

    async def aclose(self) -> None:
        """Close every connection."""
        if self._made is not None:
            await self._made.aclose()

    def _make(self) -> HttpClient:
        from ecproc.http import HttpClient  # a start need not wait for it

        return HttpClient(
            timeout=self._timeout,
            connect_seconds=self._connect_seconds,
            max_connections=self._max_connections,
            ca_file=self._ca_file,
            keep_alive=False,
            proxy=self._proxy,
        )


async def read_error_text(response: HttpResponse) -> bytes:
    """What a refusal says, empty where it cannot be read."""
    with suppress(HttpFault):
        return await response.read(_ERROR_TEXT_BYTES)
    return b""
