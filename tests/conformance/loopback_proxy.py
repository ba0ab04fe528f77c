"""A small real proxy on loopback: it forwards what names a whole address and opens tunnels, for those it knows."""

from __future__ import annotations

import asyncio
import base64
from typing import Final

from tests.conformance.loopback import LoopbackServer, Received, read_request

_PIECE: Final = 64 * 1024


class LoopbackProxy(LoopbackServer):
    """A proxy. `user` is `name:password` that it asks for; none: everyone may pass.

    Every name is taken for this machine's, so that a test can see who resolves it. `seen` lists what was asked of it.
    """

    def __init__(self, user: str = "") -> None:
        super().__init__()
        self._wanted = f"Basic {base64.b64encode(user.encode()).decode()}" if user else ""
        self.seen: list[Received] = []
        self.tunnelled = bytearray()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await self._pass_on(await read_request(reader), reader, writer):
            pass

    async def _pass_on(self, asked: Received, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Serve one request; whether another one may follow on the connection."""
        self.seen.append(asked)
        if self._wanted and asked.headers.get("proxy-authorization") != self._wanted:
            writer.write(b"HTTP/1.1 407 Canary\r\nproxy-authenticate: Basic\r\ncontent-length: 6\r\n\r\ncanary")
            await writer.drain()
            return True
        if asked.method == "CONNECT":
            await self._tunnel(asked.target, reader, writer)
            return False
        await self._forward(asked, writer)
        return True

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

    async def _forward(self, asked: Received, writer: asyncio.StreamWriter) -> None:
        """Pass it on to the port that the target names; answers have a length here."""
        authority, slash, path = asked.target.removeprefix("http://").partition("/")
        behind, ahead = await asyncio.open_connection("127.0.0.1", int(authority.rpartition(":")[2]))
        own = [f"{name}: {value}" for name, value in asked.headers.items() if not name.startswith("proxy-")]
        ahead.write(
            "\r\n".join([f"{asked.method} {slash}{path} HTTP/1.1", *own, "", ""]).encode("latin-1") + asked.body
        )
        try:
            head = await behind.readuntil(b"\r\n\r\n")
            length = head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0]
            writer.write(head + await behind.readexactly(int(length)))
            await writer.drain()
        finally:
            ahead.close()


async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, copy: bytearray) -> None:
    """Copy to the end."""
    while piece := await reader.read(_PIECE):
        copy += piece
        writer.write(piece)
        await writer.drain()
