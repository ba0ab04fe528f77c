"""What the tests of calls share: the adapters, a private CA, and servers it vouches for."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest
import trustme

from tests.conformance.transports import ADAPTERS, Adapter


@pytest.fixture(params=[*ADAPTERS.values()], ids=[*ADAPTERS])
def adapter(request: pytest.FixtureRequest) -> Adapter:
    """Each of the queue's adapters in turn."""
    chosen: Adapter = request.param
    return chosen


@pytest.fixture(scope="session")
def ca() -> trustme.CA:
    """A private certificate authority."""
    return trustme.CA()


@pytest.fixture
def ca_file(ca: trustme.CA, tmp_path: Path) -> str:
    """The authority's certificate as a client is given it."""
    path = tmp_path / "ca.pem"
    ca.cert_pem.write_to_path(str(path))
    return str(path)


@pytest.fixture
def make_server_tls(ca: trustme.CA) -> Callable[..., ssl.SSLContext]:
    """What makes the context of a server that has a certificate for this name."""

    def make(name: str = "127.0.0.1", *, expires: datetime | None = None) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        ca.issue_cert(name, not_after=expires).configure_cert(context)
        return context

    return make
