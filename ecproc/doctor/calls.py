"""Calls that prove something and do nothing: a handle that does not exist is deleted, and the refusal tells."""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import anyio

from ecproc.bridge.calls import DELETE_BYTES, encode_handle, name_client, read_key, split_url
from ecproc.config import BridgeConfig, Secret
from ecproc.config.options import is_address
from ecproc.doctor.aside import call_aside
from ecproc.doctor.bridging import ProbeAnswer, Probed, ProbeFailure, ProbeForm, is_right, list_other_forms
from ecproc.http import HttpClient, HttpFault
from ecproc.network import describe_timeout, parse_http_date
from ecproc.wire.responses import judge_delete

NO_HANDLE: Final = "ecproc-doctor"
"""A receipt handle that no queue ever gave out (R30)."""
CALL_SECONDS: Final = 6.0
"""How long one of these calls may take, where the configuration gives it no less."""
_RESOLVE_SECONDS: Final = 5.0


async def probe_bridge(bridge: BridgeConfig, keys: Sequence[Secret], *, now: Callable[[], int]) -> list[Probed]:
    """What the bridge says to the configured form of a call, and where it refuses that, to others that may work, up to
    the first that does. `now` is microseconds UTC. Raises ConfigError and BridgeRefused where none can be made."""
    configured = ProbeForm(bridge)
    failed = await _resolve(bridge)
    probed = [Probed(configured, failed or await _probe(configured, keys[0], now=now))]
    for form in list_other_forms(probed[0], keys=len(keys)):
        if any(is_right(each.outcome) for each in probed):
            break
        probed.append(Probed(form, await _probe(form, keys[form.key], now=now)))
    return probed


async def _resolve(bridge: BridgeConfig) -> ProbeFailure | None:
    """Why the name of whom we connect to is not found, None if it is: a resolver that hangs is left behind."""
    proxy = bridge.proxy_address
    host = proxy.host if proxy is not None else split_url(bridge.queue_url)[0].host
    if is_address(host):
        return None
    reason = f"{host}: no answer from the resolver within {_RESOLVE_SECONDS:g} s"
    with anyio.move_on_after(_RESOLVE_SECONDS):
        try:
            await call_aside(lambda: socket.getaddrinfo(host, None, type=socket.SOCK_STREAM))
        except OSError as error:
            reason = f"{host}: {error.strerror or 'the name cannot be resolved'}"
        else:
            return None
    return ProbeFailure("dns", reason)


async def _probe(form: ProbeForm, key: Secret, *, now: Callable[[], int]) -> ProbeAnswer | ProbeFailure:
    bridge = form.bridge
    seconds = min(CALL_SECONDS, bridge.timeout)
    origin, prefix = split_url(bridge.queue_url)
    query, named = name_client(bridge)
    headers = {"x-api-key": read_key(key), "accept": "application/json", **named}
    ca_file = Path(bridge.ca_file) if bridge.ca_file else None
    client = HttpClient(
        timeout=seconds, max_connections=1, ca_file=ca_file, keep_alive=False, proxy=bridge.proxy_address
    )
    began = now()
    try:
        target = f"{prefix}/queue/{encode_handle(NO_HANDLE)}{query}"
        async with client.open("DELETE", origin, target, headers=headers) as response:
            answered, ends = now(), response.ends
            body = await response.read(DELETE_BYTES)
            return ProbeAnswer(
                judgement=judge_delete(response.status, body),
                ends=ends,
                date=_read_date(response.header("date")),
                at=(began + answered) // 2,
                took=(answered - began) / 1_000_000,
            )
    except HttpFault as fault:
        detail = fault.detail or describe_timeout(seconds, sent=fault.sent)
        return ProbeFailure(fault.kind, detail)
    finally:
        await client.aclose()


def _read_date(text: str | None) -> int | None:
    """The middle of the second that a Date header names, in microseconds UTC; None if it names none."""
    at = parse_http_date(text or "")
    return None if at is None else int(at * 1_000_000) + 500_000
