"""Effects at Ensono's side: returning our ticket's number (R119)."""

from __future__ import annotations

from typing import assert_never

from ecproc.bridge.base import Bridge, Request
from ecproc.domain.entry import Entry
from ecproc.errors import BridgeUnavailable
from ecproc.outbox.retry import Attempt, Blamed, Done, Held, Uncertain
from ecproc.wire.requests import return_number
from ecproc.wire.responses import Verdict, judge_answer


class BridgePerformer:
    """Sends to the bridge. Idempotent: PUT returnptn sets a value, so a repeat is harmless."""

    name = "bridge"
    keyed = True

    def __init__(self, bridge: Bridge, *, client_name: str) -> None:
        self._bridge = bridge
        self._client_name = client_name

    async def perform(self, stream: str, entry: Entry) -> Attempt:
        effect = entry.effect
        method, path, body = return_number(
            self._client_name, effect.ticket, ticket_type=effect.ticket_type, number=effect.number or ""
        )
        try:
            answer = await self._bridge.send(Request(method, path, body))
        except BridgeUnavailable as error:
            return Uncertain(str(error)) if error.sent else Held(str(error), error.retry_after)
        judgement = judge_answer(answer.status, answer.body)
        match judgement.verdict:
            case Verdict.ACCEPTED | Verdict.ODD:
                return Done({"answer": judgement.text})
            case Verdict.MISCONFIGURED:
                return Held(judgement.text, answer.retry_after, down=True)
            case Verdict.TIMED_OUT:
                return Uncertain(judgement.text)
            case Verdict.TROUBLE:
                return Held(judgement.text, answer.retry_after)
            case Verdict.REFUSED | Verdict.EXPIRED | Verdict.INVALID:
                return Blamed(judgement.text)
            case _:
                assert_never(judgement.verdict)
