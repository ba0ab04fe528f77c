"""What every HTTP call needs whichever client makes it: where it goes, trusted TLS, codings, and words for failures."""

from __future__ import annotations

import codecs
import os
import socket
import ssl
import zlib
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import UTC
from email.utils import parsedate_to_datetime
from functools import cache
from http import HTTPStatus
from pathlib import Path
from typing import Final, Literal, TypeAlias

import msgspec

from ecproc.descriptors import is_out_of_files
from ecproc.errors import ConfigError, ConfigProblem

FaultKind: TypeAlias = Literal["connect", "dns", "files", "tls", "timeout", "protocol", "too_large", "proxy"]

RETRY_AFTER_LONGEST: Final = 300.0
PROXY_REFUSES: Final = 407
"""The one status that speaks of the proxy and never of the server behind it."""
REQUEST_IDS: Final = ("x-amzn-requestid", "x-amz-apigw-id", "x-amz-request-id")
"""Headers that name a call to whoever answered it, the best one first."""
TUNNEL_HEAD_BYTES: Final = 8 * 1024
"""How much a proxy may say before a tunnel stands."""

NO_ANSWER: Final = "no whole HTTP answer came"
_HEAD_ENDS: Final = b"\r\n\r\n"

_OPENED: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - what is listened on, not by us
_MAX_CAUSES: Final = 16
_LONGEST_REQUEST_ID: Final = 128
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}

codecs.lookup("idna")  # every look-up of a name needs it, and Python would read it from disk at the first one


class HttpFault(Exception):
    """There is no usable answer; `sent` says that the request may have reached the server all the same.

    The text is `kind: host:port: why`. Neither it nor the exception's context holds anything of the path, the query,
    the headers or the body.
    """

    def __init__(self, kind: FaultKind, detail: str = "", *, sent: bool) -> None:
        super().__init__(f"{kind}: {detail}" if detail else kind)
        self.kind = kind
        self.detail = detail
        self.sent = sent


class Origin(msgspec.Struct, frozen=True):
    """Where requests go: `http` or `https`, a host name or address without brackets, a port."""

    scheme: str
    host: str
    port: int

    @property
    def authority(self) -> str:
        """Host and port as the Host header names them."""
        return bracket(self.host) if self.port == _DEFAULT_PORTS[self.scheme] else self.place

    @property
    def place(self) -> str:
        """Host and port as messages name them, and as a tunnel is asked for."""
        return f"{bracket(self.host)}:{self.port}"


def bracket(host: str) -> str:
    """A host as it stands before a port: IPv6 addresses in brackets."""
    return f"[{host}]" if ":" in host else host


def write_url(host: str, port: int) -> str:
    """Where a person on this machine finds what listens there: an address that stands for all of them is none to ask.

    A link-local address keeps its zone.
    """
    shown = _OPENED.get(host, host).replace("%", "%25")
    return f"http://{bracket(shown)}:{port}"


def classify(error: BaseException) -> tuple[FaultKind, str]:
    """What kind of failure an exception of the network tells of, and why in the system's own words."""
    if isinstance(error, TimeoutError):
        return "timeout", "the connection timed out"
    for cause in follow_causes(error):
        match cause:
            case socket.gaierror():
                return "dns", cause.strerror or "the name cannot be resolved"
            case ssl.SSLCertVerificationError():
                return "tls", f"certificate verify failed: {cause.verify_message}"
            case ssl.SSLWantReadError() | ssl.SSLWantWriteError():
                continue
            case ssl.SSLError():
                return "tls", (cause.reason or "the handshake failed").lower().replace("_", " ")
            case OSError() if is_out_of_files(cause):
                return "files", os.strerror(cause.errno or 0)
            case OSError() if cause.errno:
                return "connect", os.strerror(cause.errno)
    return "connect", "the connection failed"


def describe_timeout(seconds: float, *, sent: bool) -> str:
    """Why a call was given up."""
    return f"no {'answer' if sent else 'connection'} within {seconds:g} s"


def describe_refusal(status: int) -> str:
    """Why a proxy did not let a call pass; the words are ours, not the proxy's."""
    phrase = next((f" {known.phrase}" for known in HTTPStatus if known == status), "")
    advice = " (check the user and password of bridge.proxy)" if status == PROXY_REFUSES else ""
    return f"{status}{phrase}{advice}"


class TunnelAnswer:
    """What a proxy answers to CONNECT, piece by piece; whatever comes behind its head would be the tunnel's."""

    def __init__(self) -> None:
        self._text = b""

    def feed(self, piece: bytes) -> bool:
        """Take what came, nothing where the connection ended; whether it can be judged."""
        self._text += piece
        return not piece or _HEAD_ENDS in self._text or len(self._text) >= TUNNEL_HEAD_BYTES

    def judge(self) -> str | None:
        """Why there is no tunnel; None if it stands."""
        version, _, rest = self._text.partition(b" ")
        status = rest[:3]
        if not self._text:
            return "it closed the connection"
        if not version.startswith(b"HTTP/1.") or not status.isdigit():
            return "it does not speak HTTP"
        if not status.startswith(b"2"):
            return describe_refusal(int(status))
        stands = self._text.find(_HEAD_ENDS) == len(self._text) - len(_HEAD_ENDS)
        return None if stands else "it says more than that the tunnel stands"


def pick_request_id(headers: Mapping[str, str]) -> str:
    """The name that the answering side gave a call, empty if none; `headers` has names in lower case."""
    return next((headers[name][:_LONGEST_REQUEST_ID] for name in REQUEST_IDS if headers.get(name)), "")


class Inflater:
    """Undoes a body's content coding without ever holding more than was asked for; `place` is for its faults."""

    def __init__(self, encoding: str, place: str) -> None:
        self._place = place
        self._inflate = None
        if encoding in ("gzip", "x-gzip", "deflate"):
            self._inflate = zlib.decompressobj(wbits=zlib.MAX_WBITS | 32)
        elif encoding != "identity":
            raise self._fail("protocol", "the answer has a coding that was not asked for")

    def feed(self, chunk: bytes, room: int) -> bytes:
        """The next decoded bytes, at most `room` of them."""
        if self._inflate is None:
            return chunk
        piece = _inflate_some(self._inflate, chunk, room + 1)
        if piece is None:
            raise self._fail("protocol", "the answer's coding cannot be undone")
        if len(piece) > room:
            raise self._fail("too_large", "the decoded answer is too large")
        return piece

    def finish(self) -> None:
        """Raise if the coded body ended too early or too late."""
        if self._inflate is not None and (not self._inflate.eof or self._inflate.unused_data):
            raise self._fail("protocol", "the answer's coding cannot be undone")

    def _fail(self, kind: FaultKind, why: str) -> HttpFault:
        return HttpFault(kind, f"{self._place}: {why}", sent=True)


@cache
def make_tls_context(ca_file: Path | None = None) -> ssl.SSLContext:
    """The client context of these authorities: TLS 1.2 or newer, certificate and host name verified, HTTP/1.1;
    `ca_file` replaces the system's authorities (R3).

    It is one for the whole process: making it takes as long as a hundred messages do. Raises ConfigError when the file
    is no readable set of certificates.
    """
    # Not ssl.create_default_context, which writes session keys to a file that the environment may name.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])  # as httpcore sets it: who else uses it says the same, before and after
    if ca_file is None:
        context.load_default_certs()
        return context
    try:
        context.load_verify_locations(ca_file)
    except OSError as error:
        reason = error.strerror or "no certificates"
        problem = ConfigProblem(f"cannot read CA certificates: {reason}", str(ca_file), "a file of PEM certificates")
        raise ConfigError(problem) from None
    return context


def read_certificate_end(secured: ssl.SSLObject | None) -> float | None:
    """When the other side's certificate ends, in seconds UTC; None where there is no TLS."""
    certificate = None if secured is None else secured.getpeercert()
    end = (certificate or {}).get("notAfter")
    return ssl.cert_time_to_seconds(end) if isinstance(end, str) else None


def parse_retry_after(value: str | None, *, now: int) -> float | None:
    """Seconds to wait from a Retry-After header (a number or an HTTP date), at most 300; None if it says nothing.

    `now` is microseconds since the epoch.
    """
    text = (value or "").strip()
    if text.isascii() and text.isdecimal():
        return min(float(text[:10]), RETRY_AFTER_LONGEST)
    at = parse_http_date(text)
    return None if at is None else min(max(at - now / 1_000_000, 0.0), RETRY_AFTER_LONGEST)


def parse_http_date(text: str) -> float | None:
    """Seconds UTC of an HTTP date, which is UTC whatever zone it names or not; None for what is none."""
    with suppress(ValueError, OverflowError, IndexError, TypeError):
        date = parsedate_to_datetime(text)
        return (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()
    return None


def _inflate_some(inflate: zlib._Decompress, chunk: bytes, most: int) -> bytes | None:
    try:
        return inflate.decompress(chunk, most)
    except zlib.error:
        return None


def follow_causes(error: BaseException) -> Iterator[BaseException]:
    """The exceptions that led to one, from it downwards; of a group whose members failed alike, the first."""
    cause: BaseException | None = error
    for _ in range(_MAX_CAUSES):
        if cause is None:
            return
        yield cause
        inner = cause.exceptions[0] if isinstance(cause, BaseExceptionGroup) else None
        cause = inner or cause.__cause__ or cause.__context__
