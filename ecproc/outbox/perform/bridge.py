"""Effects at Ensono's side: returning our ticket's number (R119), and every command but a file."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, assert_never

import msgspec
from msgspec.structs import replace

from ecproc.bridge.base import Answer, Bridge, Request
from ecproc.config import CommandsConfig
from ecproc.domain.attempt import LOOK_HINT, Attempt, Blamed, Done, Held, Odd, Uncertain
from ecproc.domain.commands import CommandKind
from ecproc.domain.effects import Effect, EffectKind, Repeat
from ecproc.domain.entry import Entry, EntryState
from ecproc.domain.ids import CLIENT_PREFIX
from ecproc.domain.sending import STATUSES
from ecproc.domain.state import ApprovalState
from ecproc.errors import BridgeUnavailable
from ecproc.store.base import Reader
from ecproc.wire.answers import blames_group, judge_call
from ecproc.wire.requests import Spelling, TicketCall, write_call
from ecproc.wire.responses import Judgement, Verdict

REPEATS: Final[Mapping[EffectKind, Repeat]] = {
    EffectKind.RETURN_NUMBER: Repeat.IDEMPOTENT,
    EffectKind.CREATE_TICKET: Repeat.LOOK_UP,
    EffectKind.UPDATE_TICKET: Repeat.IDEMPOTENT,
    EffectKind.ADD_COMMENTS: Repeat.BLIND,
    EffectKind.RESOLVE_TICKET: Repeat.IDEMPOTENT,
    EffectKind.CLOSE_TICKET: Repeat.IDEMPOTENT,
    EffectKind.CANCEL_TICKET: Repeat.IDEMPOTENT,
    EffectKind.APPROVE_CHANGE: Repeat.IDEMPOTENT,
    EffectKind.REJECT_CHANGE: Repeat.IDEMPOTENT,
}
"""Why repeating a call is harmless: a PUT sets values and of decisions the first counts (R177), a create is looked up,
and comments may come twice (R117)."""
_UNTOLD: Final = CommandsConfig()
_MOST_UNKNOWN: Final = 10
"""How often what must not be done twice is sent without anybody knowing what became of it (decision 9)."""
_GROUP_HINT: Final = "name a group that Ensono knows, and send the command again; commands.default_group may be one"
_DECISIONS: Final[Mapping[EffectKind, ApprovalState]] = {
    EffectKind.APPROVE_CHANGE: ApprovalState.APPROVED,
    EffectKind.REJECT_CHANGE: ApprovalState.REJECTED,
}
_SETTERS: Final = frozenset(
    {EffectKind.UPDATE_TICKET, EffectKind.RESOLVE_TICKET, EffectKind.CLOSE_TICKET, EffectKind.CANCEL_TICKET}
)
"""Calls that set what a ticket's live row shows."""
_VOIDED: Final = "the change was redrafted before it could be sent"
_NOT_RESOLVED: Final = re.compile(r"(?i)must be in the resolved state")
"""How Ensono refuses to close what is not resolved."""
_CLOSED_BEFORE: Final = "closed by a call before, whose answer nobody saw"
_TURNED_AWAY: Final = frozenset({408, 425, 429, 503})
"""Statuses of calls that nobody began to carry out."""


class _ClientTicket(msgspec.Struct):
    """As much as is needed here of a client ticket's live row."""

    returned: bool = False


class _Header(msgspec.Struct):
    """As much as is needed here of a ticket's live row."""

    ticket: str
    state: str | None = None
    fields: Mapping[str, str] = {}


class _Approval(msgspec.Struct):
    """As much as is needed here of an approval's live row."""

    state: str = ""


_decode_approval = msgspec.json.Decoder(_Approval).decode
_decode_client_ticket = msgspec.json.Decoder(_ClientTicket).decode
_decode_header = msgspec.json.Decoder(_Header).decode


class BridgePerformer:
    """Sends to the bridge.

    A create that is repeated asks first whether a message has brought its number meanwhile; `look` has the queue read
    for that. What is refused for its group goes out once more with the default one, in the same attempt.

    What is refused although messages show that it is so is done. Where a former attempt may have brought that about
    unseen, the message may still be on its way: it is asked once more later. Of what stands in the log up to `began`
    a former process may have made one and died before its outcome was written.
    """

    name = "bridge"
    kinds = tuple(REPEATS)

    def __init__(
        self,
        bridge: Bridge,
        store: Reader,
        *,
        client_name: str,
        commands: CommandsConfig = _UNTOLD,
        look: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self._bridge = bridge
        self.began = 0
        self._look = look or _look_nowhere
        self._store = store
        self._default_group = commands.default_group
        self._spelling = Spelling(
            client_name=client_name,
            approval_id_name=commands.approval_id_name,
            change_note_type=commands.change_note_type,
        )

    def repeat_of(self, kind: EffectKind) -> Repeat:
        return REPEATS[kind]

    def ends_after(self, kind: EffectKind) -> float:
        return 0.0

    async def perform(self, stream: str, entry: Entry) -> Attempt:
        effect = entry.effect
        shown = await self._find_shown(stream, entry) if entry.tries else None
        if shown is not None:
            return Done({"answer": "shown by a message", **shown})
        if effect.kind in _DECISIONS and await self._is_void(stream, effect):
            return Blamed(_VOIDED, final=True)
        given_up = give_up(entry, self.repeat_of(effect.kind))
        if given_up is not None:
            return given_up
        attempt = await self._call_with_default(effect)
        if isinstance(attempt, Blamed) and effect.kind in _SETTERS | _DECISIONS.keys():
            return await self._examine(stream, entry, attempt)
        return attempt

    async def _examine(self, stream: str, entry: Entry, refused: Blamed) -> Attempt:
        """What the refusal of a call that sets values comes to: no more than a word where it is so already."""
        may_be_done = entry.tries or entry.effect.position <= self.began
        if may_be_done:
            await self._look()
        if await self._is_so(stream, entry.effect):
            return Done({"answer": "shown by a message", **refused.call, "refusal": refused.reason}, refused.request_id)
        if may_be_done and entry.state is not EntryState.UNKNOWN:
            return Uncertain(refused.reason, refused.hint, refused.request_id, refused.call)
        if may_be_done and await self._is_past(stream, entry.effect, refused):
            return Done({"answer": _CLOSED_BEFORE, **refused.call, "refusal": refused.reason}, refused.request_id)
        return refused

    async def _is_past(self, stream: str, effect: Effect, refused: Blamed) -> bool:
        """Whether a ticket that is to be closed has left the resolved state, by Ensono's own words, and no message says
        that it came back: of our own changes Ensono need not tell us (R215)."""
        if effect.kind is not EffectKind.CLOSE_TICKET or not _NOT_RESOLVED.search(refused.reason):
            return False
        rows = await self._store.read_rows("ticket", stream=stream)
        return any(_decode_header(row.data or b"").state == STATUSES[CommandKind.RESOLVE][1] for row in rows)

    async def _call_with_default(self, effect: Effect) -> Attempt:
        """What comes of it, with the default group where its own is refused (R203)."""
        attempt = await self._call(effect)
        wanted, default = effect.fields.get("group", ""), self._default_group
        if not (isinstance(attempt, Blamed) and blames_group(attempt.reason)) or default in ("", wanted):
            return attempt
        again = await self._call(replace(effect, fields={**effect.fields, "group": default}))
        if isinstance(again, Done):
            told = {**again.result, "group": default, "wanted_group": wanted, "refusal": attempt.reason}
            return replace(again, result=told)
        return again

    async def _find_shown(self, stream: str, entry: Entry) -> Mapping[str, str] | None:
        """What messages have told meanwhile of what was tried before."""
        effect = entry.effect
        if effect.kind is EffectKind.CREATE_TICKET:
            await self._look()
            ticket = await self._find_ticket(effect.number or "")
            return {"number": ticket} if ticket else None
        if effect.kind is EffectKind.RETURN_NUMBER and not effect.rearm and await self._is_shown(stream, effect):
            return {}
        return None

    async def _is_so(self, stream: str, effect: Effect) -> bool:
        """Whether messages show what the call was to bring about, as a check before its acceptance would find it."""
        if effect.kind in _DECISIONS:
            return await self._is_approval(stream, effect, _DECISIONS[effect.kind])
        wanted = {name: value for name, value in effect.fields.items() if name != "closeNotes"}
        for row in await self._store.read_rows("ticket", stream=stream):
            header = _decode_header(row.data or b"")
            return wanted.items() <= {**header.fields, "status": header.state}.items()
        return False

    async def _is_void(self, stream: str, effect: Effect) -> bool:
        """Whether a redraft made the request void that is to be answered (R180)."""
        return await self._is_approval(stream, effect, ApprovalState.VOID)

    async def _is_approval(self, stream: str, effect: Effect, state: ApprovalState) -> bool:
        """Whether the request that the decision answers is in that state."""
        rows = await self._store.read_rows("approval", stream=stream, id=effect.fields.get("approvalid", ""))
        return any(_decode_approval(row.data or b"{}").state == state for row in rows)

    async def _is_shown(self, stream: str, effect: Effect) -> bool:
        """Whether a message has shown the number since. An entry that was armed again asks itself nothing of the kind:
        Ensono had the number once and lost it."""
        rows = await self._store.read_rows("client_ticket", stream=stream, id=effect.number or "")
        return any(_decode_client_ticket(row.data or b"{}").returned for row in rows)

    async def _find_ticket(self, number: str) -> str:
        """Ensono's number of the ticket that has ours, by whatever message it came; empty if there is none (R97)."""
        for found in await self._store.read_rows("client_ticket", id=number):
            if not found.stream.startswith(CLIENT_PREFIX):
                for header in await self._store.read_rows("ticket", stream=found.stream):
                    return _decode_header(header.data or b"").ticket
        return ""

    async def _call(self, effect: Effect) -> Attempt:
        """What comes of one call, with what was asked and the answer's status (R202)."""
        call = write_call(effect, self._spelling)
        repeatable = self.repeat_of(effect.kind) is Repeat.IDEMPOTENT
        try:
            answer = await self._bridge.send(Request(*call, repeatable=repeatable))
        except BridgeUnavailable as error:
            return explain_silence(error, call)
        judgement = judge_call(effect.kind, answer.status, answer.body)
        return conclude_answer(effect.kind, answer, judgement, record_call(call, answer))


async def _look_nowhere() -> None:
    """There is no queue to read."""


def give_up(entry: Entry, repeat: Repeat) -> Blamed | None:
    """The end of what must not be done twice and was left unknown again and again: a person has to look. One that a
    person retries is sent once more."""
    unknown = entry.attempts - entry.blamed
    if not repeat.leaves_intent or entry.state is not EntryState.UNKNOWN or unknown < _MOST_UNKNOWN:
        return None
    return Blamed(f"unknown {unknown} times, lastly: {entry.reason}", final=True, hint=LOOK_HINT)


def record_call(call: TicketCall, answer: Answer | None = None) -> dict[str, str]:
    """What was asked and the answer's status, as outcomes keep it (R202)."""
    asked = {"method": call.method, "path": call.path}
    return asked if answer is None else asked | {"status": str(answer.status)}


def explain_silence(error: BridgeUnavailable, call: TicketCall) -> Held | Uncertain:
    """What a call without an answer leads to."""
    if error.sent:
        return Uncertain(str(error), error.hint, call=record_call(call))
    return Held(str(error), hint=error.hint, call=record_call(call))


def conclude_answer(kind: EffectKind, answer: Answer, judgement: Judgement, call: Mapping[str, str]) -> Attempt:
    """What an answer to a command leads to; `call` is what outcomes keep of it."""
    named = answer.request_id or judgement.request_id
    text, hint, wait = judgement.text, judgement.hint, answer.retry_after
    repeatable = REPEATS[kind] is Repeat.IDEMPOTENT
    match judgement.verdict:
        case Verdict.ACCEPTED:
            told = {"number": text.strip()} if kind is EffectKind.CREATE_TICKET else {}
            return Done({"answer": text, **call, **told}, named)
        case Verdict.ODD:
            return Odd(text, named, final=not repeatable, call=call)
        case Verdict.TIMED_OUT:
            return Uncertain(text, hint, named, call)
        case Verdict.MISCONFIGURED:
            return Held(text, wait, down=True, hint=hint, request_id=named, call=call)
        case Verdict.TROUBLE if repeatable or answer.status in _TURNED_AWAY:
            return Held(text, wait, hint=hint, request_id=named, call=call)
        case Verdict.TROUBLE:  # it failed somewhere in its work, which may have been done by then
            return Uncertain(text, hint, named, call)
        case Verdict.REFUSED | Verdict.EXPIRED | Verdict.INVALID:
            hint = _GROUP_HINT if blames_group(text) else hint
            return Blamed(text, final=kind is not EffectKind.RETURN_NUMBER, hint=hint, request_id=named, call=call)
        case _:
            assert_never(judgement.verdict)
