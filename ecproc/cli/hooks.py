"""`ecproc hooks`: a fresh secret to share with another system, and a post as that system would make it."""

from __future__ import annotations

import secrets
from base64 import b64encode
from functools import partial
from typing import Annotated, Final, assert_never

from cyclopts import Parameter

from ecproc.cli.output import wants_json, write_document, write_human, write_text
from ecproc.cli.session import Failed, Json, Own, UsageError
from ecproc.clock import SystemClock
from ecproc.config import HookSourceConfig, Secret
from ecproc.config.rotation import Secrets
from ecproc.desk.webhook.wire import encode_probe, make_id
from ecproc.errors import ExitCode
from ecproc.http import HttpClient
from ecproc.network import HttpFault, Origin, write_url
from ecproc.webhooks import ID_HEADER, make_headers, make_secret, read_key

_SECONDS: Final = 15.0
_ANSWER_BYTES: Final = 64 * 1024
_TAKEN: Final = 202
_HINT: Final = "see that `ecproc run` runs with this configuration, and what its log says"


def secret(*, session: Own) -> None:
    """Print a fresh Standard Webhooks secret. It is kept nowhere.

    Example:
        ecproc hooks secret > secret && chmod 600 secret
    """
    session.start_logging()
    write_text(make_secret(secrets.token_bytes))


def test(
    source: Annotated[str, Parameter(help="A source of the configuration, NAME of [hooks.sources.NAME].")],
    /,
    *,
    json: Json = False,
    session: Own,
) -> ExitCode:
    """Post a probe to our own listener as that source would; exit 0 if it is taken. Nothing is appended.

    Example:
        ecproc hooks test itsm
    """
    config = session.load_config()
    found = config.hooks_sources.get(source)
    if found is None:
        known = ", ".join(config.hooks_sources) or "there is none"
        raise UsageError(f"{source} is no source: {known}")
    if not config.hooks.port:
        raise Failed("hooks.listen has port 0: nobody can tell which one it is", hint="give hooks.listen a port")
    live, base = Secrets(config, lambda change: None), f"hooks.sources.{source}"
    values = live[f"{base}.{_SECRET_OF[found.kind]}"].values
    clock = SystemClock()
    message_id = make_id(f"probe:{secrets.token_hex(16)}")
    body = encode_probe(message_id, clock.now())
    headers = _sign(found, values[0], message_id, clock.now() // 1_000_000, body)
    status = session.run_loop(partial(_post, config.hooks.host, config.hooks.port, f"/hooks/{source}", headers, body))
    if wants_json(json):
        write_document({"ok": status == _TAKEN, "status": status})
    elif status == _TAKEN:
        write_human(f"the listener takes what {source} posts")
    if status != _TAKEN:
        raise Failed(f"the listener answered {status}", hint=_HINT)
    return ExitCode.OK


_SECRET_OF: Final = {"standard": "secrets", "basic": "password", "bearer": "token"}


def _sign(source: HookSourceConfig, value: Secret, message_id: str, at: int, body: bytes) -> dict[str, str]:
    headers = {"content-type": "application/json", ID_HEADER: message_id}
    match source.kind:
        case "standard":
            return headers | make_headers([read_key(value.reveal())], message_id, at, body)
        case "basic":
            told = b64encode(f"{source.username}:{value.reveal()}".encode()).decode("ascii")
            return headers | {"authorization": f"Basic {told}"}
        case "bearer":
            return headers | {"authorization": f"Bearer {value.reveal()}"}
        case kind:
            assert_never(kind)


async def _post(host: str, port: int, target: str, headers: dict[str, str], body: bytes) -> int:
    """The status that the listener answers. Raises Failed."""
    http = HttpClient(timeout=_SECONDS, max_connections=1, keep_alive=False)
    address = write_url(host, port).removeprefix("http://").rpartition(":")[0].strip("[]").replace("%25", "%")
    try:
        async with http.open("POST", Origin("http", address, port), target, headers=headers, content=body) as response:
            await response.read(_ANSWER_BYTES)
            return response.status
    except HttpFault as fault:
        reason = str(fault)
    finally:
        await http.aclose()
    raise Failed(reason, hint=_HINT)
