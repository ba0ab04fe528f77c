"""The desk behind one signed POST: sent, and asked for what became of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final
from urllib.parse import quote, urlsplit

import anyio
import anyio.to_thread

from ecproc.clock import Clock
from ecproc.config import DeskWebhookConfig, Secret
from ecproc.desk.base import DeskAnswer, DeskCall, DeskRefused, DeskUnavailable, StoredFile
from ecproc.desk.webhook.mapped import MappedCall, map_call
from ecproc.desk.webhook.wire import (
    TYPES,
    HttpSeen,
    be_open,
    conclude,
    conclude_look_up,
    encode_call,
    encode_probe,
    make_id,
)
from ecproc.domain.effects import EffectKind, Repeat
from ecproc.http import HttpClient
from ecproc.mapping import Mapping as FieldMapping
from ecproc.network import HttpFault, Origin, parse_retry_after
from ecproc.webhooks import make_headers, read_key, sign_file

ANSWER_BYTES: Final = 256 * 1024
"""How much of an answer is read."""
FILE_PATH: Final = "/hooks/files/"
"""Where our own listener hands files out, below its public address."""
_GONE_HINT: Final = "bring the file back from a backup of the data directory and retry, or discard"
_CONNECT_SECONDS: Final = 10.0
_CONNECTIONS: Final = 32
_DEFAULT_PORTS: Final = {"https": 443, "http": 80}


class Address:
    """A configured URL, taken apart once; the checks of the configuration have seen that it is one."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self.origin = Origin(parts.scheme, parts.hostname or "", parts.port or _DEFAULT_PORTS[parts.scheme])
        self.target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")

    def ask(self, message_id: str) -> str:
        """The target that asks for that message."""
        return f"{self.target}{'&' if '?' in self.target else '?'}id={quote(message_id, safe='')}"


class WebhookDesk:
    """Posts each call, signed anew for each attempt, under the id of its effect.

    `secrets` is asked for at every call, so a rotated one counts at once. With a `public_url` each file that is handed
    over has an address there, good for an hour. Besides what a Desk raises there is nothing: the receiver's words are
    data, and neither the address nor a secret is part of any error.
    """

    def __init__(
        self,
        config: DeskWebhookConfig,
        *,
        secrets: Callable[[], Sequence[Secret]],
        clock: Clock,
        mapping: FieldMapping | None = None,
        public_url: str = "",
        max_connections: int = _CONNECTIONS,
    ) -> None:
        self._repeat = Repeat(config.repeat)
        self._timeout = config.timeout
        self._secrets = secrets
        self._clock = clock
        self._mapping = mapping
        self._public_url = public_url.rstrip("/")
        self._address = Address(config.url)
        self._look_up = Address(config.lookup_url) if config.lookup_url else None
        self._client = HttpClient(
            timeout=config.timeout,
            connect_seconds=_CONNECT_SECONDS,
            max_connections=max_connections,
            ca_file=Path(config.ca_file) if config.ca_file else None,
        )

    @classmethod
    async def open(
        cls,
        config: DeskWebhookConfig,
        *,
        secrets: Callable[[], Sequence[Secret]],
        clock: Clock,
        mapping: FieldMapping | None = None,
        public_url: str = "",
    ) -> WebhookDesk:
        """The desk of that configuration, which is told things by a mapping if there is one. Raises ConfigError where
        its certificates cannot be read."""
        return await anyio.to_thread.run_sync(
            lambda: cls(config, secrets=secrets, clock=clock, mapping=mapping, public_url=public_url)
        )

    def repeat_of(self, kind: EffectKind) -> Repeat:
        """The receiver's class, as it was configured: for its creates and all else."""
        return self._repeat

    def ends_after(self, kind: EffectKind) -> float:
        """When a call of ours has ended; a receiver that goes on without us is not seen by it."""
        return self._timeout

    async def perform(self, call: DeskCall) -> DeskAnswer:
        """Post it. A repeat has the same id and the same body, but for a file's address."""
        if call.kind not in TYPES:
            raise DeskRefused(f"a webhook desk has no {call.kind}", final=True)
        told = MappedCall() if self._mapping is None else map_call(call, self._mapping)
        download = await self._find_address(call.file)
        body = encode_call(call, download=download, mapped=told.fields, overflow=told.overflow)
        seen = await self._post(make_id(call.key), body)
        answer = conclude(call, seen, repeat=self._repeat)
        return answer if self._mapping is None else told.complete(answer)

    async def look_up(self, call: DeskCall) -> DeskAnswer | None:
        """Ask `lookup_url` for the message's id; the request is signed too, with an empty body."""
        if self._look_up is None:
            raise DeskRefused("desk.webhook.lookup_url is not set: nobody can be asked")
        found = conclude_look_up(call, await self.ask(make_id(call.key)))
        return found if found is None or self._mapping is None else map_call(call, self._mapping).complete(found)

    async def ask(self, message_id: str) -> HttpSeen:
        """What `lookup_url` answers about a message. Raises DeskUnavailable."""
        if self._look_up is None:
            raise DeskUnavailable("desk.webhook.lookup_url is not set", sent=False)
        return await self._exchange("GET", self._look_up.origin, self._look_up.ask(message_id), message_id, b"")

    async def probe(self, key: str, at: int) -> HttpSeen:
        """Post a probe, which asks for nothing, under the id of `key`. Raises DeskUnavailable."""
        return await self._post(make_id(key), encode_probe(key, at))

    async def aclose(self) -> None:
        """Close every connection."""
        await self._client.aclose()

    async def _post(self, message_id: str, body: bytes) -> HttpSeen:
        return await self._exchange("POST", self._address.origin, self._address.target, message_id, body)

    async def _exchange(self, method: str, origin: Origin, target: str, message_id: str, body: bytes) -> HttpSeen:
        headers = make_headers(self._read_keys(), message_id, self._clock.now() // 1_000_000, body)
        if body:
            headers["content-type"] = "application/json"
        try:
            async with self._client.open(method, origin, target, headers=headers, content=body or None) as response:
                wait = parse_retry_after(response.header("retry-after"), now=self._clock.now())
                return HttpSeen(response.status, await response.read(ANSWER_BYTES), wait)
        except HttpFault as fault:
            reason, sent = str(fault), fault.sent
        # Outside the handler, so that nothing that was sent hangs on to it.
        raise be_open(reason, repeat=self._repeat) if sent else DeskUnavailable(reason, sent=False)

    async def _find_address(self, file: StoredFile | None) -> str | None:
        """Where the file can be had from, None where nobody can fetch it from us."""
        if file is None or not self._public_url:
            return None
        if not await anyio.Path(file.path).is_file():
            raise DeskRefused(f"the stored file {file.path} is gone", final=True, hint=_GONE_HINT)
        token = sign_file(self._read_keys()[0], file.sha256, now=self._clock.now() / 1_000_000)
        return f"{self._public_url}{FILE_PATH}{token}"

    def _read_keys(self) -> Sequence[bytes]:
        return [read_key(secret.reveal()) for secret in self._secrets()]
