"""From a name to the one address that is then connected to: a name cannot lead into our own network."""

from __future__ import annotations

import socket
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import Final, TypeAlias

import anyio

_Address: TypeAlias = IPv4Address | IPv6Address

_UNICAST: Final = IPv6Network("2000::/3")
_NAT64: Final = IPv6Network("64:ff9b::/96")


class AddressRefused(Exception):
    """The name leads to an address that must not be asked; the text names neither."""


async def resolve_global(host: str, port: int) -> str:
    """An address of `host`, all of whose addresses are on the public internet (IPv4 first).

    Raises AddressRefused otherwise, and OSError when the name cannot be resolved.
    """
    return await _resolve(host, port, is_global)


async def resolve_loopback(host: str, port: int) -> str:
    """An address of `host`, all of whose addresses are this machine's own; raises as `resolve_global`."""
    return await _resolve(host, port, lambda address: address.is_loopback)


def is_global(address: _Address) -> bool:
    """Whether the address, and the IPv4 address it may carry, is a public host's."""
    if isinstance(address, IPv4Address):
        return address.is_global and not (address.is_multicast or address.is_reserved)
    carried = (_nat64(address), address.sixtofour, *(address.teredo or ()))
    public = (address.is_global and address in _UNICAST) or address in _NAT64
    return public and all(is_global(inner) for inner in carried if inner)


def _nat64(address: IPv6Address) -> IPv4Address | None:
    return IPv4Address(int(address) & 0xFFFFFFFF) if address in _NAT64 else None


async def _resolve(host: str, port: int, may_ask: Callable[[_Address], bool]) -> str:
    found = await anyio.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    addresses = [ip_address(place[0]) for *_, place in found]
    if not addresses or not all(map(may_ask, addresses)):
        raise AddressRefused
    return str(min(addresses, key=lambda address: address.version))
