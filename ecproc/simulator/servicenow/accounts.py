"""Who calls: passwords, API key and OAuth tokens, and how often they may."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from math import ceil
from random import Random
from typing import Final
from urllib.parse import parse_qs

import msgspec

from ecproc.simulator.exchange import HttpRequest, Reply
from ecproc.simulator.servicenow.answers import throttle
from ecproc.simulator.servicenow.display import read_param
from ecproc.simulator.servicenow.settings import InstanceConfig, RateRule

FORM: Final = "application/x-www-form-urlencoded"
_DENIED: Final = {"error_description": "access_denied", "error": "server_error"}


class _Token(msgspec.Struct, frozen=True):
    user: str
    ends: float
    refreshes: bool = False


class Accounts:
    """Checks credentials and gives tokens out; they end by the instance's clock."""

    def __init__(self, config: InstanceConfig, rng: Random) -> None:
        self._config = config
        self._rng = rng
        self._passwords = {config.username: config.password, **config.people}
        self._tokens: dict[str, _Token] = {}

    def identify(self, request: HttpRequest, now: float) -> str | None:
        """Give the user that a request comes from, None where its credentials are missing, wrong or over."""
        if "x-sn-apikey" in request.headers:
            return self._config.username if request.headers["x-sn-apikey"] == self._config.api_key else None
        scheme, _, value = request.headers.get("authorization", "").partition(" ")
        match scheme.lower():
            case "basic":
                return self._check_basic(value)
            case "bearer":
                token = self._tokens.get(value)
                return token.user if token is not None and not token.refreshes and now < token.ends else None
            case _:
                return None

    def revoke(self, request: HttpRequest) -> None:
        """End the token that a request carries, whatever is left of its life."""
        self._tokens.pop(request.headers.get("authorization", "").partition(" ")[2], None)

    def give_token(self, request: HttpRequest, now: float) -> Reply:
        """Answer POST /oauth_token.do."""
        if request.method != "POST" or not request.headers.get("content-type", "").startswith(FORM):
            return _give({"error_description": "form-encoded POST only", "error": "invalid_request"}, 400)
        form = parse_qs(request.body.decode("utf-8", "replace"), keep_blank_values=True)
        known = (self._config.client_id, self._config.client_secret)
        if (read_param(form, "client_id"), read_param(form, "client_secret")) != known:
            return _give({"error_description": "access_denied", "error": "invalid_client"}, 401)
        scope = read_param(form, "scope") or "useraccount"
        match read_param(form, "grant_type"):
            case "client_credentials":
                return self._grant(self._config.username, scope, now, renewable=False)
            case "password":
                user = read_param(form, "username")
                is_known = self._passwords.get(user, "") == read_param(form, "password") != ""
                return self._grant(user, scope, now) if is_known else _give(_DENIED, 401)
            case "refresh_token":
                token = self._tokens.get(read_param(form, "refresh_token"))
                is_valid = token is not None and token.refreshes and now < token.ends
                return self._grant(token.user, scope, now) if token and is_valid else _give(_DENIED, 401)
            case _:
                return _give({"error_description": "unknown grant type", "error": "unsupported_grant_type"}, 400)

    def _check_basic(self, value: str) -> str | None:
        try:
            user, _, password = base64.b64decode(value, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            return None
        return user if self._passwords.get(user, "") == password != "" else None

    def _grant(self, user: str, scope: str, now: float, *, renewable: bool = True) -> Reply:
        granted: dict[str, object] = {"access_token": self._make(user, now + self._config.token_seconds)}
        if renewable:
            granted["refresh_token"] = self._make(user, now + self._config.refresh_seconds, refreshes=True)
        rest = {"scope": scope, "token_type": "Bearer", "expires_in": self._config.token_seconds}
        return _give(granted | rest, 200)

    def _make(self, user: str, ends: float, *, refreshes: bool = False) -> str:
        text = f"{self._rng.getrandbits(384):096x}"
        self._tokens[text] = _Token(user, ends, refreshes)
        return text


class RateLimits:
    """Counts the calls of each user against the rules, in whole windows of each rule's length."""

    def __init__(self, rules: Sequence[RateRule]) -> None:
        self._rules = rules
        self._counts: dict[tuple[str, str], tuple[int, int]] = {}

    def count(self, user: str, table: str, now: float) -> Reply | None:
        """Count one call; gives the 429 where a rule is exceeded."""
        for rule in self._rules:
            if rule.table not in (None, table):
                continue
            window = int(now // rule.seconds)
            last, count = self._counts.get((rule.name, user), (window, 0))
            count = count + 1 if last == window else 1
            self._counts[rule.name, user] = (window, count)
            if count > rule.limit:
                reset = ceil((window + 1) * rule.seconds)
                wait = max(1, ceil(reset - now))
                return throttle(retry_after=wait, limit=rule.limit, reset=reset, rule=rule.name)
        return None


def _give(document: object, status: int) -> Reply:
    headers = (("cache-control", "no-store"),)
    return Reply(status=status, body=msgspec.json.encode(document), headers=headers, refused=status != 200)
