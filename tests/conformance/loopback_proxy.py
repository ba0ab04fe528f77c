"""A small real proxy on loopback: it forwards what names a whole address and opens tunnels, for those it knows."""

from __future__ import annotations

import asyncio
import base64
from contextlib import suppress
from types import TracebackType
from typing import Final, Self

import msgspec

_PIECE: Final = 64 * 1024


class Seen(msgspec.Struct, frozen=True):
    """A request as the proxy was given it."""

    method: str
    target: str
    headers: dict[str, str]


class LoopbackProxy:
    """Listens on 127.0.0.1 while it is entered. `user` is `name:password` that it asks for; none: everyone may pass.

    Every name is taken for this machine's, so that a test can see who resolves it. `seen` lists what was asked of it.
    """

    def __init__(self, user: str = "") -> None:
        self._wanted = f"Basic {base64.b64encode(user.encode()).decode()}" if user else ""
        self._tasks: set[asyncio.Task[None]] = set()
        self.seen: list[Seen] = []
        self.tunnelled = bytearray()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port: int = self._server.sockets[0].getsockname()[1]
        self.place = f"127.0.0.1:{self.port}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            with suppress(OSError, asyncio.IncompleteReadError):
                while await self._serve(reader, writer):
                    pass
        except asyncio.CancelledError:
            writer.transport.abort()
        finally:
            writer.close()
            with suppress(OSError, asyncio.CancelledError):
                await writer.wait_closed()
            self._tasks.discard(task)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Serve one request; whether another one may follow on the connection."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        line, *lines = head.rstrip("\r\n").split("\r\n")
        method, target, _ = line.split(" ")
        headers = {name.lower(): value.strip() for name, _, value in (each.partition(":") for each in lines)}
        self.seen.append(Seen(method, target, headers))
        if self._wanted and headers.get("proxy-authorization") != self._wanted:
            writer.write(b"HTTP/1.1 407 Canary\r\nproxy-authenticate: Basic\r\ncontent-length: 6\r\n\r\ncanary")
            await writer.drain()
            return True
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        if method == "CONNECT":
            await self._tunnel(target, reader, writer)
            return False
        return await self._forward(method, target, headers, body, writer)

    async def _tunnel(self, target: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        behind, ahead = await asyncio.open_connection("127.0.0.1", int(target.rpartition(":")[2]))
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        back = asyncio.create_task(_pipe(behind, writer, bytearray()))
        try:
            await _pipe(reader, ahead, self.tunnelled)
        finally:
            ahead.close()
            back.cancel()
            await asyncio.gather(back, return_exceptions=True)

    async def _forward(
        self, method: str, target: str, headers: dict[str, str], body: bytes, writer: asyncio.StreamWriter
    ) -> bool:
        """Pass it on to the port that the target names; answers have a length here."""
        authority, slash, path = target.removeprefix("http://").partition("/")
        behind, ahead = await asyncio.open_connection("127.0.0.1", int(authority.rpartition(":")[2]))
        own = [f"{name}: {value}" for name, value in headers.items() if not name.startswith("proxy-")]
        ahead.write("\r\n".join([f"{method} {slash}{path} HTTP/1.1", *own, "", ""]).encode("latin-1") + body)
        try:
            head = await behind.readuntil(b"\r\n\r\n")
            length = head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0]
            writer.write(head + await behind.readexactly(int(length)))
            await writer.drain()
        finally:
            ahead.close()
        return True


async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, copy: bytearray) -> None:
    """Copy to the end."""
    while piece := await reader.read(_PIECE):
        copy += piece
        writer.write(piece)
        await writer.drain()
