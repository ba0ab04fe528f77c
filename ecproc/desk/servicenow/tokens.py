"""How calls to an instance are authenticated: what is sent as it stands, and tokens that are fetched and renewed."""

from __future__ import annotations

import base64
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, TypeAlias

import anyio
import msgspec

from ecproc.clock import Clock
from ecproc.config.secret import Secret
from ecproc.config.servicenow import ServiceNowConfig
from ecproc.desk.base import DeskUnavailable
from ecproc.desk.servicenow.answers import InstanceAnswer, read_wait
from ecproc.desk.servicenow.wire import TOKEN_PATH, read_error

ReadSecret: TypeAlias = Callable[[str], Secret]
"""The secret of an option of `desk.servicenow` as it is now, by its key."""
PostForm: TypeAlias = Callable[[Mapping[str, str]], Awaitable[InstanceAnswer]]
"""Posts a form to where tokens are given. Raises DeskUnavailable without an answer."""

OAUTH: Final = frozenset({"client_credentials", "password", "refresh"})
_MARGIN: Final = 60.0
"""Seconds before its end from which a token is renewed, a tenth of its life at most."""
_USUAL_LIFE: Final = 1800.0
_LOGIN_HINT: Final = (
    "check the OAuth application (active, grant allowed, user set) and the secrets of [desk.servicenow]"
)
_CALL: Final = {"method": "POST", "path": TOKEN_PATH}


class _Token(msgspec.Struct, frozen=True):
    access_token: str
    expires_in: float = _USUAL_LIFE
    refresh_token: str = ""


_decode = msgspec.json.Decoder(_Token, strict=False).decode


class Tokens:
    """What a call is sent with. A token is fetched when one is needed, and anew shortly before it ends."""

    def __init__(self, config: ServiceNowConfig, secret: ReadSecret, post: PostForm, clock: Clock) -> None:
        self._config = config
        self._secrets = _Secrets(secret)
        self._post = post
        self._clock = clock
        self._renewing = anyio.Lock()
        self._access = Secret()
        self._refresh = Secret()
        self._ends = 0.0

    @property
    def can_renew(self) -> bool:
        """Whether a refused call may be sent once more with another token."""
        return self._config.auth in OAUTH

    @property
    def life(self) -> float | None:
        """Seconds until the token ends; None where there is none."""
        return self._ends - self._clock.monotonic() if self._access else None

    async def authorize(self, refused: Mapping[str, str] | None = None) -> dict[str, str]:
        """The headers to send, others than those that were refused. Raises DeskUnavailable."""
        config = self._config
        match config.auth:
            case "api_key":
                return {"x-sn-apikey": self._secrets.api_key.reveal()}
            case "basic":
                pair = f"{config.username}:{self._secrets.password.reveal()}"
                return {"authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}
            case _:
                async with self._renewing:
                    if self._must_renew(refused):
                        await self._renew()
                    return self._bearer()

    def _bearer(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self._access.reveal()}"}

    def _must_renew(self, refused: Mapping[str, str] | None) -> bool:
        return not self._access or self._clock.monotonic() >= self._ends - self._margin or refused == self._bearer()

    async def _renew(self) -> None:
        self._access = Secret()
        failed: DeskUnavailable | None = None
        for form in self._list_forms():
            seen = await self._post(form)
            token = _read_token(seen)
            if token is not None:
                self._take(token)
                return
            failed = _refuse(seen)
            if seen.status not in (400, 401, 403):
                break
            self._refresh = Secret()  # what it was refused for may be the token that renews
        if failed is not None:
            raise failed

    def _list_forms(self) -> list[dict[str, str]]:
        """What a token is asked for with, the best way first."""
        config = self._config
        common = {"client_id": config.client_id, "client_secret": self._secrets.client_secret.reveal()}
        if config.scope:
            common["scope"] = config.scope
        if config.auth == "client_credentials":
            return [{"grant_type": "client_credentials", **common}]
        renewing = [self._refresh] if self._refresh else []
        if config.auth == "refresh":
            renewing = list(dict.fromkeys([*renewing, self._secrets.refresh_token]))
        forms = [{"grant_type": "refresh_token", **common, "refresh_token": one.reveal()} for one in renewing]
        if config.auth == "password":
            pair = {"username": config.username, "password": self._secrets.password.reveal()}
            forms.append({"grant_type": "password", **common, **pair})
        return forms

    def _take(self, token: _Token) -> None:
        self._access = Secret(token.access_token)
        self._refresh = Secret(token.refresh_token)
        self._margin = min(_MARGIN, token.expires_in / 10)
        self._ends = self._clock.monotonic() + token.expires_in

    _margin = 0.0


class _Secrets:
    """The section's secrets, each as it is now."""

    def __init__(self, read: ReadSecret) -> None:
        self._read = read

    def __getattr__(self, key: str) -> Secret:
        return self._read(key)


def _read_token(seen: InstanceAnswer) -> _Token | None:
    if seen.status != 200:
        return None
    try:
        token = _decode(seen.body)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
    fits = token.access_token.isascii() and token.access_token.isprintable() and token.access_token
    return token if fits else None


def _refuse(seen: InstanceAnswer) -> DeskUnavailable:
    """Why there is no token. What was to be done with it was not sent."""
    words = read_error(seen.body)
    if seen.status == 200:
        words = "an answer without a token"
    reason = f"no token: HTTP {seen.status}{f': {words}' if words else ''}"
    wait = read_wait(seen)
    down = seen.status < 500 and seen.status != 408
    hint = _LOGIN_HINT if seen.status in (400, 401, 403) else ""
    call = {**_CALL, "status": str(seen.status)}
    return DeskUnavailable(reason, sent=False, retry_after=wait, down=down, hint=hint, call=call)
