"""Names lead only to public addresses, whatever a resolver answers."""

from __future__ import annotations

import socket
from ipaddress import ip_address

import anyio
import pytest

from ecproc.attachments.resolve import AddressRefused, is_global, resolve_global, resolve_loopback


def answer_with(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> None:
    async def getaddrinfo(host: str, port: int, **_: object) -> list[tuple[object, ...]]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses]

    monkeypatch.setattr(anyio, "getaddrinfo", getaddrinfo)


@pytest.mark.parametrize(
    "address",
    [
        "0.0.0.0",
        "10.1.2.3",
        "100.64.0.1",
        "127.0.0.1",
        "169.254.169.254",
        "172.16.0.1",
        "192.0.2.1",
        "192.168.1.1",
        "198.18.0.1",
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::10.0.0.1",
        "::ffff:10.0.0.1",
        "::ffff:52.216.0.1",
        "::ffff:169.254.169.254",
        "fe80::1",
        "fe80::1%eth0",
        "fc00::1",
        "fd00:ec2::254",
        "ff02::1",
        "2001:db8::1",
        "2002:a00:1::1",
        "64:ff9b::a9fe:a9fe",
        "64:ff9b:1::a00:1",
    ],
)
async def test_address_inside_is_refused(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not is_global(ip_address(address))
    answer_with(monkeypatch, "52.216.0.1", address)
    with pytest.raises(AddressRefused):
        await resolve_global("bucket.s3.amazonaws.com", 443)


@pytest.mark.parametrize("address", ["52.216.0.1", "2600:1fa0::1", "64:ff9b::34d8:1"])
async def test_public_address_is_given_as_it_is(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    answer_with(monkeypatch, address)
    assert await resolve_global("bucket.s3.amazonaws.com", 443) == address


async def test_ipv4_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    answer_with(monkeypatch, "2600:1fa0::1", "52.216.0.1")
    assert await resolve_global("bucket.s3.amazonaws.com", 443) == "52.216.0.1"


async def test_no_address_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    answer_with(monkeypatch)
    with pytest.raises(AddressRefused):
        await resolve_global("bucket.s3.amazonaws.com", 443)


async def test_loopback_names_must_stay_on_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    assert await resolve_loopback("127.0.0.1", 80) == "127.0.0.1"
    answer_with(monkeypatch, "::1", "127.0.0.1")
    assert await resolve_loopback("localhost", 80) == "127.0.0.1"
    answer_with(monkeypatch, "10.0.0.1")
    with pytest.raises(AddressRefused):
        await resolve_loopback("localhost", 80)
