"""A round trip over echo: what is sent there comes back by dev's queue, as if somebody at Ensono had done it (R8, R9).

The queue is the running processor's: whoever else received from it would hide its messages and burn one of their twenty
receives. So nothing is received here; the processor appends the message, and the log is read until it has it.
"""

from __future__ import annotations

from typing import Any, Final

import anyio
import msgspec

from ecproc.bridge.base import Request
from ecproc.bridge.http import HttpBridge
from ecproc.clock import Clock
from ecproc.commands.capability import ECHO, READABLE
from ecproc.config import BridgeConfig, Config, Secrets
from ecproc.doctor.report import Opinion, Trouble, warn
from ecproc.domain.effects import Effect, EffectKind
from ecproc.domain.events import TicketType
from ecproc.domain.ids import EffectKey, TicketNumber
from ecproc.errors import BridgeUnavailable
from ecproc.fold.recorded import Kind
from ecproc.reading.opening import open_reading
from ecproc.store.base import Reader
from ecproc.store.opening import find_holder, holds_log
from ecproc.wire.answers import judge_call
from ecproc.wire.payload import body_of
from ecproc.wire.requests import Spelling, write_call
from ecproc.wire.responses import Judgement, Verdict

ECHO_SECONDS: Final = 60.0
"""How long the message is waited for, beside one `bridge.poll_interval`."""
LOOK_SECONDS: Final = 0.25
_DESCRIPTION: Final = "A round trip that ecproc doctor made. There is nothing to do: it may be cancelled."
_ASK: Final = "see the check of the key; if that finds nothing, ask Ensono whether echo is set up"
_START: Final = "start ecproc run, which reads dev's queue, and ask again"


async def prove_echo(config: Config, *, clock: Clock) -> Opinion:
    """Open an incident by way of echo, and wait until the log has what comes back. It stays open at Ensono's dev
    instance, where it does no harm. Refused where the environment has no echo beside it, or nobody reads its queue."""
    refused = refuse_echo(config.bridge.environment, is_read=_is_read(config))
    if refused is not None:
        return refused
    token = f"ECPROC-DOCTOR-{clock.now() // 1000}"
    async with open_reading(config) as reader:
        before, began = (await reader.head()).position, clock.monotonic()
        judgement = await _send(config, token, clock)
        if judgement.verdict is not Verdict.ACCEPTED:
            return Opinion("refused", (Trouble(f"echo took no incident: {judgement.text}", judgement.hint or _ASK),))
        body: bytes | None = None
        with anyio.move_on_after(ECHO_SECONDS + config.bridge.poll_interval):
            body = await _wait_for(reader, token, after=before, clock=clock)
    return judge_echo(body, token, number=judgement.text, seconds=clock.monotonic() - began)


def refuse_echo(environment: str, *, is_read: bool) -> Opinion | None:
    """Why there can be no round trip; None if there can."""
    if environment not in READABLE:
        text = f"a round trip is for dev and echo only, and this is {environment or 'no environment'}"
        return Opinion("refused", (Trouble(text, "leave --echo out, or name the configuration of dev"),))
    if not is_read:
        text = "no processor runs on this data directory, so nobody reads what comes back"
        return Opinion("not made", (Trouble(text, _START),))
    return None


def judge_echo(body: bytes | None, token: str, *, number: str, seconds: float) -> Opinion:
    """What came back, None if nothing did, against what was sent under that token; Ensono gave it that number."""
    if body is None:
        text = f"{number} was opened by way of echo, and nothing came back in {seconds:.0f} s"
        fix = "see queue_refused and receive_failed in the processor's log, and whether somebody else reads dev's queue"
        return Opinion("nothing came back", (Trouble(text, fix),))
    told = f"{number} was opened by way of echo and came back in {seconds:.1f} s"
    same = _read_short(body) == token
    text = f"{number} came back with another short description than was sent"
    return Opinion(told, () if same else (warn(text, "ask Ensono what its mapping does to shortDescription"),))


def to_echo(bridge: BridgeConfig) -> BridgeConfig:
    """The configuration with which ticket calls go to echo, wherever they usually go."""
    return msgspec.structs.replace(bridge, url=f"{bridge.base_url.rpartition('/')[0]}/{ECHO}")


def _is_read(config: Config) -> bool:
    return find_holder(config.data) is not None and holds_log(config.data)


async def _send(config: Config, token: str, clock: Clock) -> Judgement:
    """What echo says to an incident whose number of ours and short description are that token."""
    commands = config.commands
    fields = {
        "shortDescription": token,
        "description": _DESCRIPTION,
        "contactName": commands.contact_name or "ecproc doctor",
        "contactEmail": commands.contact_email or "ecproc@example.com",
    } | ({"group": commands.default_group} if commands.default_group else {})
    effect = Effect(
        key=EffectKey(f"ec-create:{token}"),
        kind=EffectKind.CREATE_TICKET,
        generation=1,
        position=0,
        at=clock.now(),
        ticket=TicketNumber(""),
        ticket_type=TicketType.INCIDENT,
        number=token,
        fields=fields,
    )
    call = write_call(effect, Spelling(client_name=config.bridge.client_name))
    key = Secrets(config, lambda change: None)["bridge.api_key"]
    bridge = HttpBridge(to_echo(config.bridge), api_key=key, limits=config.limits, clock=clock)
    try:
        answer = await bridge.send(Request(call.method, call.path, call.body))
        return judge_call(effect.kind, answer.status, answer.body)
    except BridgeUnavailable as error:
        return Judgement(Verdict.TROUBLE, str(error), error.hint)
    finally:
        await bridge.aclose()


async def _wait_for(reader: Reader, token: str, *, after: int, clock: Clock) -> bytes:
    """The body of the message that names the token, once the log has it."""
    wanted = token.encode()
    while True:
        async for page in reader.read_log(after=after):
            for event in page:
                if event.kind == Kind.MESSAGE_RECEIVED and wanted in event.payload:
                    return body_of(event.payload)
            after = page[-1].position
        await clock.sleep(LOOK_SECONDS)


def _read_short(body: bytes) -> Any:
    try:
        record = msgspec.json.decode(body)
        record = msgspec.json.decode(record) if isinstance(record, str) else record
    except msgspec.DecodeError:
        return None
    return record.get("shortDescription") if isinstance(record, dict) else None
