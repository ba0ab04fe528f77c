"""`ecproc desk check` for a webhook desk: whether its receiver is of the class that it is configured as."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from ecproc.desk.base import DeskUnavailable
from ecproc.desk.finding import DeskFinding
from ecproc.desk.webhook.desk import WebhookDesk
from ecproc.desk.webhook.wire import HttpSeen, ReceiverWord, make_id, read_answer
from ecproc.domain.effects import EffectKind, Repeat

_CLASS_FIX: Final = (
    'have the receiver keep each webhook-id with its answer; until it does, set desk.webhook.class to "look-up", or to'
    ' "blind" where it cannot be asked'
)
_REACH_FIX: Final = "see desk.webhook.url, ca_file and timeout, and whether the receiver runs"
_KEY_FIX: Final = "see that the receiver verifies with one of desk.webhook.secrets, and that its clock is right"
_LOOK_UP_FIX: Final = (
    "have desk.webhook.lookup_url answer 404 with a JSON object for an id that it never saw, and 200 with the number"
    " for one that it applied"
)


async def check(desk: WebhookDesk, *, nonce: str, now: int) -> tuple[DeskFinding, ...]:
    """Everything wrong with the receiver; empty proves its class as far as a probe can.

    A probe is posted twice under one id, and both have to be answered with the nonce that the receiver chose at the
    first: one that is called keyed and is not doubles tickets. `nonce` makes the id a fresh one, `now` is microseconds
    UTC. Nothing is changed at the desk.
    """
    key = f"probe:{nonce}"
    try:
        first, second = await desk.probe(key, now), await desk.probe(key, now)
    except DeskUnavailable as error:
        return (DeskFinding("reach", "error", str(error), _REACH_FIX),)
    findings = [*_judge(first, second, desk.repeat_of(EffectKind.CREATE))]
    if desk.repeat_of(EffectKind.CREATE) is Repeat.LOOK_UP:
        findings += await _check_look_up(desk, make_id(f"never:{nonce}"))
    return tuple(findings)


def _judge(first: HttpSeen, second: HttpSeen, repeat: Repeat) -> Iterator[DeskFinding]:
    refused = next((seen for seen in (first, second) if not 200 <= seen.status < 300), None)
    if refused is not None:
        fix = _KEY_FIX if refused.status in (401, 403) else "have the receiver answer 200 to messages of type probe"
        yield DeskFinding("probe", "error", f"the receiver answered {refused.status} to a probe", fix)
        return
    if repeat is not Repeat.KEYED:
        return
    one, other = (read_answer(seen.body) or ReceiverWord() for seen in (first, second))
    if not one.nonce or not other.nonce:
        text = "the receiver answers a probe without a nonce, so nothing shows that it applies an id once"
        yield DeskFinding("class", "error", text, _CLASS_FIX)
    elif one.nonce != other.nonce:
        text = "the receiver answered one id with two nonces: it is not keyed, and a repeat doubles tickets"
        yield DeskFinding("class", "error", text, _CLASS_FIX)


async def _check_look_up(desk: WebhookDesk, message_id: str) -> list[DeskFinding]:
    try:
        seen = await desk.ask(message_id)
    except DeskUnavailable as error:
        return [DeskFinding("look_up", "error", f"look-up: {error}", _REACH_FIX)]
    if seen.status == 404 and seen.body.strip() and read_answer(seen.body) is not None:
        return []
    text = f"the look-up of an id that was never sent was answered {seen.status}, not 404 with a JSON object"
    return [DeskFinding("look_up", "error", text, _LOOK_UP_FIX)]
