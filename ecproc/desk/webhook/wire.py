"""What is sent to a webhook desk and what its answers mean. Pure."""

from __future__ import annotations

import hashlib
from base64 import b32encode
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

import msgspec

from ecproc.desk.base import DeskAnswer, DeskCall, DeskRefused, DeskUnavailable
from ecproc.domain.anomalies import Anomaly
from ecproc.domain.effects import EffectKind, Repeat
from ecproc.domain.ids import identity
from ecproc.domain.remarks import Remark

PROBE: Final = "probe"
"""The type of the message that `ecproc desk check` sends."""
TYPES: Final[Mapping[str, str]] = {
    EffectKind.CREATE: "ticket.create",
    EffectKind.UPDATE: "ticket.update",
    EffectKind.COMMENT: "ticket.comment",
    EffectKind.RESOLVE: "ticket.resolve",
    EffectKind.CLOSE: "ticket.close",
    EffectKind.CANCEL: "ticket.cancel",
    EffectKind.REOPEN: "ticket.reopen",
    EffectKind.ATTACH: "ticket.attach",
}
"""What a message is called for each kind of effect."""
_STATES: Final[Mapping[str, str]] = {
    EffectKind.RESOLVE: "resolved",
    EffectKind.CLOSE: "closed",
    EffectKind.CANCEL: "cancelled",
}
"""The state that a kind leads to, where an empty answer leaves it to us."""
_ID_CHARACTERS: Final = 26
_TOLD: Final = 500
"""Characters of a receiver's own words that are kept."""
_BLAMING: Final = frozenset({400, 404, 409, 422})
_DOWN: Final = frozenset({401, 403, 410})
_BUSY: Final = frozenset({408, 425, 429})
_GONE: Final = 410
_NO_NUMBER: Final = "no number in the answer"
_HINTS: Final[Mapping[int, str]] = {
    401: "see that desk.webhook.secrets holds the secret that the receiver verifies with",
    403: "see that desk.webhook.secrets holds the secret that the receiver verifies with",
    410: "the receiver has been taken away: set desk.webhook.url to the one that stands in its place",
}
_LOOK_UP_HINT: Final = (
    "have desk.webhook.lookup_url answer 200 with what a call led to, and 404 with a JSON object where it led to"
    " nothing"
)
_MOVED_HINT: Final = "redirects are never followed: set desk.webhook.url to where it leads"


class NoteWord(msgspec.Struct, frozen=True):
    """A comment; texts as Ensono sent them."""

    body: str
    author: str = ""
    email: str = ""


class FileWord(msgspec.Struct, frozen=True):
    """A file to attach; `download` is where it can be had for an hour, None where our own listener has no address."""

    name: str
    type: str
    size: int
    sha256: str
    download: str | None


class CallWord(msgspec.Struct, frozen=True, kw_only=True):
    """One call. `timestamp` is when it was decided, the same in every attempt. `fields` are the guide's names, of an
    update those that changed; `mapped` what a mapping makes of them, empty without one."""

    key: str
    ticket: str
    ticket_type: str
    generation: int
    number: str | None
    reference: str | None
    timestamp: str
    fields: Mapping[str, str]
    mapped: Mapping[str, str] = {}
    overflow: tuple[str, ...] | msgspec.UnsetType = msgspec.UNSET
    note: NoteWord | None = None
    attachment: FileWord | None = None


class ProbeWord(msgspec.Struct, frozen=True):
    """Nothing to do: whoever gets it chooses a `nonce` and answers with it, and with the same one to a repeat."""

    key: str


class MessageWord(msgspec.Struct, frozen=True):
    """A body as the standard has it."""

    type: str
    timestamp: str
    data: CallWord | ProbeWord


class ReceiverWord(msgspec.Struct, frozen=True):
    """A body that is usable; unknown members are nobody's business, and what is null is not told."""

    number: str = ""
    state: str = ""
    reference: str = ""
    url: str = ""
    pending: bool = False
    error: str = ""
    nonce: str = ""


class _Members(msgspec.Struct, frozen=True):
    """What an answer may look like: many desks number with numbers."""

    number: str | int | None = None
    state: str | None = None
    reference: str | int | None = None
    url: str | None = None
    pending: bool | None = None
    error: object = None
    nonce: str | int | None = None


_decode: Final = msgspec.json.Decoder(_Members).decode


def make_id(key: str) -> str:
    """The message's id: of one effect always the same, whichever attempt it is."""
    digest = hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()
    return f"msg_{b32encode(digest)[:_ID_CHARACTERS].decode('ascii').lower()}"


def encode_call(
    call: DeskCall, *, download: str | None, mapped: Mapping[str, str] | None = None, overflow: tuple[str, ...] = ()
) -> bytes:
    """The body of a call, one of TYPES. `download` is the file's address, `mapped` what a mapping makes of the fields,
    and `overflow` the texts that these had no room for."""
    fields, note, file = call.fields, None, None
    if call.kind == EffectKind.COMMENT:
        note = NoteWord(fields.get("body", ""), fields.get("author", ""), fields.get("email", ""))
        fields = {}
    if call.file is not None:
        file = FileWord(call.file.name, call.file.type, call.file.size, call.file.sha256, download)
        fields = {}
    at = format_time(call.planned_at)
    data = CallWord(
        key=call.key,
        ticket=call.ticket,
        ticket_type=call.ticket_type,
        generation=call.generation,
        number=call.number,
        reference=call.reference or None,
        timestamp=at,
        fields=fields,
        mapped=mapped or {},
        overflow=overflow or msgspec.UNSET,
        note=note,
        attachment=file,
    )
    return msgspec.json.encode(MessageWord(TYPES[call.kind], at, data))


def encode_probe(key: str, at: int) -> bytes:
    """The body of a probe; `at` is microseconds UTC."""
    return msgspec.json.encode(MessageWord(PROBE, format_time(at), ProbeWord(key)))


def format_time(at: int) -> str:
    """Microseconds UTC as the wire has them: to the second."""
    return datetime.fromtimestamp(at // 1_000_000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def read_answer(body: bytes) -> ReceiverWord | None:
    """The answer in a body, an empty one in none; None where it is not a JSON object with our members as texts."""
    if not body.strip():
        return ReceiverWord()
    try:
        found = _decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    told = {name: str(value) for name, value in msgspec.structs.asdict(found).items() if value is not None}
    told["number"], told["reference"] = identity(told.get("number")), identity(told.get("reference"))
    return ReceiverWord(**{**told, "pending": bool(found.pending)})  # type: ignore[arg-type]  # all others are texts


class HttpSeen(msgspec.Struct, frozen=True):
    """One HTTP answer; `retry_after` in seconds, where it names any."""

    status: int
    body: bytes
    retry_after: float | None = None


def conclude(call: DeskCall, seen: HttpSeen, *, repeat: Repeat) -> DeskAnswer:
    """What a call came to. Raises DeskUnavailable or DeskRefused; `repeat` is the desk's class."""
    status, asked = seen.status, {"method": "POST", "status": str(seen.status)}
    if 200 <= status < 300:
        return _accept(call, seen, asked, repeat)
    answer = read_answer(seen.body) or ReceiverWord()
    reason = f"the receiver answered {status}{answer.error and f': {answer.error[:_TOLD]}'}"
    if status in _BLAMING:
        raise DeskRefused(reason, call=asked)
    if status in _DOWN or 300 <= status < 400:
        hint = _HINTS.get(status, _MOVED_HINT)
        gone = (Remark(Anomaly.ODD_ANSWER, f"{call.kind}: the receiver says that it is gone (410)"),)
        remarks = gone if status == _GONE else ()
        raise DeskUnavailable(reason, sent=False, down=True, hint=hint, remarks=remarks, call=asked)
    if status in _BUSY or status >= 500:
        raise be_open(reason, repeat=repeat, retry_after=seen.retry_after, call=asked)
    raise DeskRefused(reason, call=asked)


def be_open(
    reason: str, *, repeat: Repeat, retry_after: float | None = None, call: Mapping[str, str] | None = None
) -> DeskUnavailable:
    """The error of a call that was sent and may have been applied: a receiver that knows its key is asked again."""
    return DeskUnavailable(reason, sent=repeat is not Repeat.KEYED, retry_after=retry_after, call=call)


def conclude_look_up(call: DeskCall, seen: HttpSeen) -> DeskAnswer | None:
    """What a look-up came to, None where the call was never applied: only a receiver's own 404, a JSON object, says so.

    Raises DeskUnavailable.
    """
    answer, asked = read_answer(seen.body), {"method": "GET", "status": str(seen.status)}
    spoken = answer is not None and bool(seen.body.strip())
    if seen.status == 404 and spoken:
        return None
    reason = f"the look-up was answered {seen.status}"
    if seen.status != 200 or not spoken or answer is None:
        raise DeskUnavailable(reason, sent=True, retry_after=seen.retry_after, hint=_LOOK_UP_HINT, call=asked)
    if answer.pending or not (call.number or answer.number):
        raise DeskUnavailable(f"{reason}, without a number yet", sent=True, call=asked)
    return read_applied(call, answer)


def _accept(call: DeskCall, seen: HttpSeen, asked: Mapping[str, str], repeat: Repeat) -> DeskAnswer:
    answer = read_answer(seen.body)
    if answer is not None and answer.pending:
        raise DeskUnavailable("the receiver takes its time (pending)", sent=True, call=asked)
    if call.kind == EffectKind.CREATE and not (answer and answer.number):
        # It may have been applied: only a receiver that knows the key may be asked once more without a person.
        final = repeat is not Repeat.KEYED
        raise DeskRefused(_NO_NUMBER, final=final, hint="see what the receiver answers to ticket.create", call=asked)
    if answer is None:
        raise be_open("odd answer: it is no JSON object of known members", repeat=repeat, call=asked)
    return read_applied(call, answer)


def read_applied(call: DeskCall, answer: ReceiverWord) -> DeskAnswer:
    """The client ticket as an answer tells it."""
    state = answer.state or _guess_state(call)
    view = _see(call, state)
    return DeskAnswer(call.number or answer.number, state, answer.reference, answer.url, view=view)


def _see(call: DeskCall, state: str) -> Mapping[str, str]:
    """What the record has in the fields that the call wrote, as far as the receiver lets us know: what was sent."""
    if call.kind in (EffectKind.COMMENT, EffectKind.ATTACH):
        return {}
    fields = {name: value for name, value in call.fields.items() if name not in ("state", "status")}
    return {**fields, **({"status": state} if state else {})}


def _guess_state(call: DeskCall) -> str:
    """The state a kind leads to; empty where it changes none, or nothing says which."""
    named = call.fields.get("state") or call.fields.get("status") or ""
    match call.kind:
        case EffectKind.CREATE | EffectKind.REOPEN:
            return named or "open"
        case EffectKind.UPDATE:
            return named
        case _:
            return _STATES.get(call.kind, "")
