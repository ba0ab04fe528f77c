"""A tunnel through a proxy as a bare socket, for a client that then speaks TLS on it."""

from __future__ import annotations

import asyncio
import socket

from ecproc.config.proxy import Proxy
from ecproc.network import TUNNEL_HEAD_BYTES, HttpFault, TunnelAnswer, classify


async def open_tunnel(proxy: Proxy, place: str) -> socket.socket:
    """A socket that ends at `place`, a host and port, which the proxy resolves. Raises HttpFault; nothing is sent to
    `place` by this, and a caller who is cancelled leaves no socket behind."""
    sock: socket.socket | None = None
    try:
        sock = await _connect(proxy)
        why = await _ask(sock, proxy.request_tunnel(place))
    except OSError as error:
        why = classify(error)[1]
    except BaseException:
        if sock is not None:
            sock.close()
        raise
    if sock is not None and why is None:
        return sock
    if sock is not None:
        sock.close()
    raise HttpFault("proxy", f"{proxy.place}: {why}", sent=False)


async def _connect(proxy: Proxy) -> socket.socket:
    """A socket to the first of the proxy's addresses that answers."""
    loop = asyncio.get_running_loop()
    failure = OSError()
    for family, kind, protocol, _, address in await loop.getaddrinfo(proxy.host, proxy.port, type=socket.SOCK_STREAM):
        sock = socket.socket(family, kind, protocol)
        try:
            sock.setblocking(False)
            await loop.sock_connect(sock, address)
            return sock
        except OSError as error:
            sock.close()
            failure = error
        except BaseException:
            sock.close()
            raise
    try:
        raise failure
    finally:
        del failure  # which would hold this frame that holds it


async def _ask(sock: socket.socket, request: bytes) -> str | None:
    """Send the request for a tunnel; why it was refused, None if it stands."""
    loop = asyncio.get_running_loop()
    await loop.sock_sendall(sock, request)
    answer = TunnelAnswer()
    while not answer.feed(await loop.sock_recv(sock, TUNNEL_HEAD_BYTES)):
        pass
    return answer.judge()
