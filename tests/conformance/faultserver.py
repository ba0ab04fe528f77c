"""A loopback server that misbehaves on purpose: every connection is handled by a script."""

from __future__ import annotations

import asyncio
import gzip
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, TypeAlias

from tests.conformance.loopback import LoopbackServer, Received, read_request

_LINGER_ZERO: Final = struct.pack("ii", 1, 0)
_PIECE: Final = 64 * 1024


class Peer:
    """One accepted connection, as a script sees it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, received: list[Received]) -> None:
        self._reader = reader
        self._writer = writer
        self._received = received
        self.sent_bytes = 0

    async def request(self) -> Received | None:
        """The next request, also kept in the server's list; None when the client is gone."""
        try:
            received = await read_request(self._reader)
        except (asyncio.IncompleteReadError, OSError):
            return None
        self._received.append(received)
        return received

    async def take(self, size: int) -> None:
        """Read that many bytes of whatever comes."""
        await self._reader.readexactly(size)

    async def send(self, data: bytes) -> None:
        """Write bytes as they are."""
        if self._writer.is_closing():
            raise ConnectionResetError("the client is gone")  # for which uvloop has a RuntimeError
        self._writer.write(data)
        await self._writer.drain()
        self.sent_bytes += len(data)

    async def answer(self, status: int, body: bytes = b"", headers: Mapping[str, str] | None = None) -> None:
        """Write a whole, well-formed answer; `headers` may replace its Content-Length."""
        await self.send(make_head(status, {"content-length": str(len(body)), **(headers or {})}) + body)

    async def drip(self, data: bytes, *, seconds_per_byte: float) -> None:
        """Write one byte at a time."""
        for byte in data:
            await self.send(bytes([byte]))
            await asyncio.sleep(seconds_per_byte)

    async def hang(self) -> None:
        """Keep the connection open and silent until the client or the server ends it."""
        while await self._reader.read(_PIECE):
            pass

    def reset(self) -> None:
        """Drop the connection with a TCP reset."""
        sock: socket.socket = self._writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_ZERO)
        self._writer.transport.abort()


Script: TypeAlias = Callable[[Peer], Awaitable[None]]


class FaultServer(LoopbackServer):
    """Plays a script to each connection; `requests` lists every request read, `peers` every connection accepted."""

    def __init__(self, script: Script, *, tls: ssl.SSLContext | None = None) -> None:
        super().__init__(tls=tls)
        self._script = script
        self.requests: list[Received] = []
        self.peers: list[Peer] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = Peer(reader, writer, self.requests)
        self.peers.append(peer)
        await self._script(peer)


def make_head(status: int, headers: Mapping[str, str] | None = None) -> bytes:
    """An answer's status line and headers, up to and including the empty line."""
    lines = [f"HTTP/1.1 {status} Scripted", *(f"{name}: {value}" for name, value in (headers or {}).items())]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def make_gzip_bomb(decoded_bytes: int) -> bytes:
    """Zeros that take about a thousandth of their size on the wire."""
    return gzip.compress(bytes(decoded_bytes))


def answering(status: int, body: bytes = b"", headers: Mapping[str, str] | None = None) -> Script:
    """Answer every request of a connection the same way."""

    async def script(peer: Peer) -> None:
        while await peer.request():
            await peer.answer(status, body, headers)

    return script


def endless(headers: Mapping[str, str] | None = None) -> Script:
    """Answer 200 with a body that never ends."""

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(make_head(200, headers))
        while True:
            await peer.send(bytes(_PIECE))

    return script


async def black_hole(peer: Peer) -> None:
    """Take everything, say nothing."""
    await peer.hang()


async def reset_at_once(peer: Peer) -> None:
    """Reset the connection before anything is read."""
    peer.reset()


async def reset_after_request(peer: Peer) -> None:
    """Read the request, then reset the connection."""
    await peer.request()
    peer.reset()


async def close_after_request(peer: Peer) -> None:
    """Read the request, then close without an answer, as a server does whose keep-alive time has run out."""
    await peer.request()


async def slow_loris(peer: Peer) -> None:
    """Answer one byte every twentieth of a second, never the whole."""
    await peer.request()
    await peer.drip(make_head(200, {"content-length": "100000"}), seconds_per_byte=0.001)
    await peer.drip(bytes(100_000), seconds_per_byte=0.05)


async def slow_body(peer: Peer) -> None:
    """Answer 200 at once, then one byte of its body every twentieth of a second."""
    await peer.request()
    await peer.send(make_head(200, {"content-length": "100000"}))
    await peer.drip(bytes(100_000), seconds_per_byte=0.05)


async def truncate(peer: Peer) -> None:
    """Promise a hundred bytes, send ten, close."""
    await peer.request()
    await peer.send(make_head(200, {"content-length": "100"}) + bytes(10))


async def talk_nonsense(peer: Peer) -> None:
    """Answer with something that is not HTTP."""
    await peer.request()
    await peer.send(b"SSH-2.0-OpenSSH_9.2\r\n\r\n")
