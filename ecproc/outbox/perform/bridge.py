"""Effects at Ensono's side: returning our ticket's number (R119)."""

from __future__ import annotations

from typing import assert_never

import msgspec

from ecproc.bridge.base import Answer, Bridge, Request
from ecproc.domain.attempt import Attempt, Blamed, Done, Held, Odd, Uncertain
from ecproc.domain.effects import Effect, EffectKind, Repeat
from ecproc.domain.entry import Entry
from ecproc.errors import BridgeUnavailable
from ecproc.store.base import Reader
from ecproc.wire.requests import return_number
from ecproc.wire.responses import Verdict, judge_answer


class _ClientTicket(msgspec.Struct):
    """As much as is needed here of a client ticket's live row."""

    returned: bool = False


_decode_client_ticket = msgspec.json.Decoder(_ClientTicket).decode


class BridgePerformer:
    """Sends to the bridge."""

    name = "bridge"
    kinds = (EffectKind.RETURN_NUMBER,)

    def __init__(self, bridge: Bridge, store: Reader, *, client_name: str) -> None:
        self._bridge = bridge
        self._store = store
        self._client_name = client_name

    def repeat_of(self, kind: EffectKind) -> Repeat:
        return Repeat.IDEMPOTENT  # PUT returnptn sets a value

    async def perform(self, stream: str, entry: Entry) -> Attempt:
        effect = entry.effect
        if entry.tries and not effect.rearm and await self._is_shown(stream, effect):
            return Done({"answer": "shown by a message"})
        method, path, body = return_number(
            self._client_name, effect.ticket, ticket_type=effect.ticket_type, number=effect.number or ""
        )
        try:
            answer = await self._bridge.send(Request(method, path, body, repeatable=True))
        except BridgeUnavailable as error:
            if error.sent:
                return Uncertain(str(error), error.hint)
            return Held(str(error), hint=error.hint)
        return _judge(answer)

    async def _is_shown(self, stream: str, effect: Effect) -> bool:
        """Whether a message has shown the number since. An entry that was armed again asks itself nothing of the kind:
        Ensono had the number once and lost it."""
        rows = await self._store.read_rows("client_ticket", stream=stream, id=effect.number or "")
        return any(_decode_client_ticket(row.data or b"{}").returned for row in rows)


def _judge(answer: Answer) -> Attempt:
    judgement = judge_answer(answer.status, answer.body)
    named = answer.request_id or judgement.request_id
    text, hint = judgement.text, judgement.hint
    match judgement.verdict:
        case Verdict.ACCEPTED:
            return Done({"answer": text}, named)
        case Verdict.ODD:
            return Odd(text, named)
        case Verdict.TIMED_OUT:
            return Uncertain(text, hint, named)
        case Verdict.MISCONFIGURED:
            return Held(text, answer.retry_after, down=True, hint=hint, request_id=named)
        case Verdict.TROUBLE:
            return Held(text, answer.retry_after, hint=hint, request_id=named)
        case Verdict.REFUSED | Verdict.EXPIRED | Verdict.INVALID:
            return Blamed(text, hint=hint, request_id=named)
        case _:
            assert_never(judgement.verdict)
