"""Files to Ensono: an address is asked for just in time, and used once (R126-R135)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, assert_never

import msgspec

from ecproc.attachments.base import Failure, Outgoing, Uploader, UploadFailed
from ecproc.bridge.base import Bridge, Request
from ecproc.domain.attempt import Attempt, Blamed, Done, Held, Odd, Postponed, Uncertain
from ecproc.domain.effects import Effect, EffectKind, Repeat
from ecproc.domain.entry import Entry
from ecproc.domain.filenames import BASE64_SUFFIX, name_type, name_upload, refuse_name
from ecproc.errors import BridgeUnavailable
from ecproc.outbox.perform.bridge import give_up, record_call
from ecproc.wire.answers import judge_upload_url
from ecproc.wire.requests import TicketCall, ask_upload_url
from ecproc.wire.responses import Verdict

_ADDRESSES: Final = 2
"""How many one attempt asks for: one lives for 120 s, and a file may have waited for its connection."""
_MEDIA_TYPE: Final = re.compile(r"[A-Za-z0-9.+-]+/[A-Za-z0-9.+-]+")


class _Given(msgspec.Struct, frozen=True):
    """An address to put to, and what outcomes keep of the PUT."""

    url: str
    call: Mapping[str, str]


class UploadPerformer:
    """Sends files out of the content store. A repeat may attach a file twice: nobody can be asked."""

    name = "uploads"
    kinds = (EffectKind.UPLOAD,)

    def __init__(self, bridge: Bridge, uploader: Uploader) -> None:
        self._bridge = bridge
        self._uploader = uploader

    def repeat_of(self, kind: EffectKind) -> Repeat:
        return Repeat.BLIND

    def ends_after(self, kind: EffectKind) -> float:
        return 0.0

    async def perform(self, stream: str, entry: Entry) -> Attempt:
        effect = entry.effect
        given_up = give_up(entry, Repeat.BLIND)
        if given_up is not None:
            return given_up
        refusal = refuse_name(effect.fields.get("name", ""))
        if refusal:
            return Blamed(refusal, final=True)
        file = _describe_file(effect)
        try:
            await self._uploader.examine(file)
        except UploadFailed as error:
            return _conclude_failure(error, {})
        attempt: Attempt = Held("no address")
        for _ in range(_ADDRESSES):
            given = await self._ask(effect, file)
            if not isinstance(given, _Given):
                return given
            try:
                answer = await self._uploader.upload(file, given.url)
            except UploadFailed as error:
                attempt = _conclude_failure(error, given.call)
                if error.failure is not Failure.EXPIRED:
                    return attempt
                continue
            told = {"answer": f"HTTP {answer.status}", **given.call, "status": str(answer.status)}
            return Done(told, answer.request_id)
        return attempt

    async def _ask(self, effect: Effect, file: Outgoing) -> _Given | Attempt:
        """An address for the file; what a call without one leads to is never unknown, for nothing was sent."""
        call = ask_upload_url(effect.ticket, file.name + (BASE64_SUFFIX if file.base64 else ""))
        try:
            answer = await self._bridge.send(Request(*call, repeatable=True))
        except BridgeUnavailable as error:
            return Held(str(error), hint=error.hint, call=record_call(call))
        judgement, url = judge_upload_url(answer.status, answer.body)
        kept = record_call(call, answer)
        named, text, hint = answer.request_id or judgement.request_id, judgement.text, judgement.hint
        match judgement.verdict:
            case Verdict.ACCEPTED:
                return _Given(url, record_call(TicketCall("PUT", url.partition("?")[0])))
            case Verdict.ODD:
                return Odd(text, named, call=kept)
            case Verdict.MISCONFIGURED:
                return Held(text, answer.retry_after, down=True, hint=hint, request_id=named, call=kept)
            case Verdict.TROUBLE | Verdict.TIMED_OUT:
                return Held(text, answer.retry_after, hint=hint, request_id=named, call=kept)
            case Verdict.REFUSED | Verdict.EXPIRED | Verdict.INVALID:
                return Blamed(text, final=True, hint=hint, request_id=named, call=kept)
            case _:
                assert_never(judgement.verdict)


def _describe_file(effect: Effect) -> Outgoing:
    fields = effect.fields
    name, size, told = name_upload(fields.get("name", "")), fields.get("size", ""), fields.get("type", "")
    return Outgoing(
        sha256=fields.get("sha256", ""),
        size=int(size) if size.isdecimal() else 0,
        name=name,
        type=told if _MEDIA_TYPE.fullmatch(told) else name_type(name),
        base64=fields.get("base64") == "true",
    )


def _conclude_failure(error: UploadFailed, call: Mapping[str, str]) -> Attempt:
    reason, hint, named = error.reason, error.hint, error.request_id
    kept = {**call, "status": str(error.status)} if error.status is not None else call
    if error.uncertain:
        return Uncertain(reason, hint, named, kept)
    match error.failure:
        case Failure.HELD | Failure.EXPIRED:
            return Held(reason, error.retry_after, hint=hint, request_id=named, call=kept)
        case Failure.CONFIGURATION:
            return Postponed(reason, hint=hint, request_id=named, call=kept)
        case Failure.REFUSED:
            return Blamed(reason, final=True, hint=hint, request_id=named, call=kept)
        case Failure.COUNTED:
            return Blamed(reason, hint=hint, request_id=named, call=kept)
        case _:
            assert_never(error.failure)
