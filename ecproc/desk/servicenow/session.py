"""Calls to an instance: authenticated, bounded in number, time and size, and silent where it asked for that."""

from __future__ import annotations

import math
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import BinaryIO, Final
from urllib.parse import urlencode, urlsplit

import anyio
import anyio.to_thread
import msgspec

from ecproc.clock import Clock
from ecproc.config.servicenow import ServiceNowConfig
from ecproc.desk.base import DeskRefused, DeskUnavailable
from ecproc.desk.servicenow.answers import InstanceAnswer, judge_fault, read_wait
from ecproc.desk.servicenow.tokens import ReadSecret, Tokens
from ecproc.desk.servicenow.wire import TOKEN_PATH, InstanceCall
from ecproc.http import HttpClient, HttpFault, HttpResponse, Origin
from ecproc.network import parse_http_date

ANSWER_BYTES: Final = 16 * 1024 * 1024
"""Largest answer that is read."""
BUSY_SECONDS: Final = 60.0
"""How long half of the connections have to do once the instance was too busy to say for how long."""

_SECOND: Final = 1_000_000
_PIECE: Final = 256 * 1024
_BURST_SHARE: Final = 60
"""Of an hour's calls, one in so many may leave at once, and so many as one step may need in any case."""
_AT_ONCE: Final = 20.0
LONGEST_TURN: Final = 30.0
"""Seconds that a call waits for its turn here; who would have to wait longer is told for how long."""
_HOUR: Final = 3600.0
_FILE_HINT: Final = "bring the file back from a backup of the data directory and retry, or discard"
_BUSY: Final = frozenset({408, 429})


class FileBody(msgspec.Struct, frozen=True):
    """A file that is a request's body."""

    path: Path
    size: int
    type: str


class InstanceSession:
    """The way to one instance. A 401 renews the token once and sends again, which is safe: nothing was done."""

    def __init__(self, config: ServiceNowConfig, *, secret: ReadSecret, clock: Clock) -> None:
        parts = urlsplit(config.base_url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
        self.base_url = config.base_url
        self._origin = Origin(parts.scheme, parts.hostname or "", port)
        self._clock = clock
        self._client = HttpClient(
            timeout=config.timeout,
            max_connections=config.max_connections,
            ca_file=config.authorities,
            proxy=config.proxy_address,
        )
        self.tokens = Tokens(config, secret, self._post_form, clock)
        self._places = Connections(config.max_connections, clock)
        self._ceiling = Ceiling(config.requests_per_hour, clock.monotonic)
        self._silent_until = -math.inf

    async def send(self, request: InstanceCall, upload: FileBody | None = None) -> InstanceAnswer:
        """The answer of any status. Raises DeskUnavailable where there is none, or nothing may be sent just now."""
        return await self._ask(request, lambda headers: self._send(request, headers, upload))

    async def copy(self, request: InstanceCall, write: Callable[[bytes], Awaitable[None]], most: int) -> InstanceAnswer:
        """The answer; the body of a good one goes to `write` piece by piece. Raises as `send` does, and DeskRefused
        where it has more than `most` bytes."""
        return await self._ask(request, lambda headers: self._copy(request, headers, write, most))

    async def aclose(self) -> None:
        """Close every connection."""
        await self._client.aclose()

    async def _ask(
        self, request: InstanceCall, send: Callable[[dict[str, str]], Awaitable[InstanceAnswer]]
    ) -> InstanceAnswer:
        async with self._places.take():
            await self._wait_turn(request)
            headers = await self.tokens.authorize()
            seen = await send(headers)
            if seen.status == 401 and self.tokens.can_renew and not seen.asks_for_factor:
                seen = await send(await self.tokens.authorize(refused=headers))
        self._learn(seen)
        return seen

    async def _wait_turn(self, request: InstanceCall) -> None:
        """Return when a call may leave, which is soon; raise where it is not."""
        reason = "as many calls as desk.servicenow.requests_per_hour allows"
        left = self._silent_until - self._clock.monotonic()
        if left > 0:
            reason = f"the instance asked for silence, {left:.0f} s more"
        else:
            left = self._ceiling.take()
            if left <= LONGEST_TURN:
                await self._clock.sleep(left)
                return
        raise DeskUnavailable(reason, sent=False, retry_after=left, down=True, call=request.told)

    def _learn(self, seen: InstanceAnswer) -> None:
        """Go by what an answer says of the instance's load: a named time holds every call."""
        if seen.status not in _BUSY:
            return
        wait = read_wait(seen)
        if wait is None:
            self._places.halve()
        else:
            self._silent_until = max(self._silent_until, self._clock.monotonic() + wait)

    async def _send(self, request: InstanceCall, headers: Mapping[str, str], upload: FileBody | None) -> InstanceAnswer:
        sent = {"accept": "application/json", **headers}
        if upload is not None:
            return await self._send_file(request, sent, upload)
        content = None
        if request.body is not None:
            content = msgspec.json.encode(request.body)
            sent["content-type"] = "application/json"
        return await self._exchange(request, sent, content)

    async def _copy(
        self, request: InstanceCall, headers: Mapping[str, str], write: Callable[[bytes], Awaitable[None]], most: int
    ) -> InstanceAnswer:
        sent = {"accept": "*/*", "accept-encoding": "identity", **headers}
        too_large = False
        try:
            async with self._client.open(request.method, self._origin, request.target, headers=sent) as response:
                body = b"" if response.status == 200 else await response.read(ANSWER_BYTES)
                if response.status == 200:
                    await response.copy_to(write, most)
                return self._describe(response, body)
        except HttpFault as fault:
            failed = judge_fault(request, fault)
            too_large = fault.kind == "too_large"
        # Outside the handler: the fault's frames hold the headers.
        try:
            raise DeskRefused(f"it has more than {most} bytes", final=True) if too_large else failed
        finally:
            del failed

    async def _send_file(self, request: InstanceCall, headers: dict[str, str], upload: FileBody) -> InstanceAnswer:
        try:
            file = await anyio.to_thread.run_sync(lambda: upload.path.open("rb", buffering=0))
        except OSError as error:
            is_gone = isinstance(error, FileNotFoundError)
            reason = f"the stored file {upload.path.name} cannot be read: {error.strerror}"
            raise DeskRefused(reason, final=is_gone, hint=_FILE_HINT, call=request.told) from None
        with file:
            if os.fstat(file.fileno()).st_size != upload.size:
                reason = f"the stored file {upload.path.name} is not what was downloaded"
                raise DeskRefused(reason, final=True, hint=_FILE_HINT, call=request.told)
            headers |= {"content-type": upload.type, "content-length": str(upload.size)}
            return await self._exchange(request, headers, _read_pieces(file))

    async def _post_form(self, form: Mapping[str, str]) -> InstanceAnswer:
        request = InstanceCall(method="POST", path=TOKEN_PATH)
        headers = {"accept": "application/json", "content-type": "application/x-www-form-urlencoded"}
        return await self._exchange(request, headers, urlencode(form).encode())

    async def _exchange(
        self, request: InstanceCall, headers: Mapping[str, str], content: bytes | AsyncIterator[bytes] | None
    ) -> InstanceAnswer:
        try:
            async with self._client.open(
                request.method, self._origin, request.target, headers=headers, content=content
            ) as response:
                body = await response.read(ANSWER_BYTES)
                return self._describe(response, body)
        except HttpFault as fault:
            failed = judge_fault(request, fault)
        # Outside the handler: the fault's frames hold the headers.
        try:
            raise failed
        finally:
            del failed

    def _describe(self, response: HttpResponse, body: bytes) -> InstanceAnswer:
        date = parse_http_date(response.header("date") or "")
        return InstanceAnswer(
            status=response.status,
            body=body,
            retry_after=response.header("retry-after"),
            rate_reset=response.header("x-ratelimit-reset"),
            asks_for_factor=response.header("x-mfa_token") is not None,
            at=self._clock.now(),
            date=None if date is None else int(date * _SECOND),
            links=response.header("link"),
            total=response.header("x-total-count"),
        )


class Ceiling:
    """So many calls in an hour at most, 0 as many as one likes; some may leave at once, the others one by one."""

    def __init__(self, per_hour: int, monotonic: Callable[[], float]) -> None:
        self._rate = per_hour / _HOUR
        self._most = max(_AT_ONCE, per_hour / _BURST_SHARE)
        self._monotonic = monotonic
        self._left = self._most
        self._at = monotonic()

    def take(self) -> float:
        """The seconds until the call's turn, which is its own then; with more than LONGEST_TURN it has none."""
        if not self._rate:
            return 0.0
        now = self._monotonic()
        self._left = min(self._most, self._left + (now - self._at) * self._rate)
        self._at = now
        wait = max(0.0, (1 - self._left) / self._rate)
        if wait <= LONGEST_TURN:
            self._left -= 1
        return wait


class Connections:
    """Places for calls at the same time: half as many for a while after the instance was too busy."""

    def __init__(self, count: int, clock: Clock) -> None:
        self._count = count
        self._clock = clock
        self._limiter = anyio.CapacityLimiter(count)
        self._halved_until: float | None = None

    def take(self) -> anyio.CapacityLimiter:
        """A place, for a block."""
        if self._halved_until is not None and self._clock.monotonic() >= self._halved_until:
            self._halved_until = None
            self._limiter.total_tokens = self._count
        return self._limiter

    def halve(self) -> None:
        """Let half as many through from now on, for a minute."""
        if self._halved_until is None:
            self._limiter.total_tokens = max(1, self._count // 2)
        self._halved_until = self._clock.monotonic() + BUSY_SECONDS


async def _read_pieces(file: BinaryIO) -> AsyncIterator[bytes]:
    while piece := await anyio.to_thread.run_sync(file.read, _PIECE):
        yield piece
