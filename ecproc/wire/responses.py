"""Answers to ticket and delete calls, classified (Appendix D): the body decides, the status alone never does (R223).

Done is only what is known to mean done (decision 21). An error may hide in an answer of any status and shape: a
gateway's `message`, a Lambda's `errorMessage`, ServiceNow's `error`, a code in the body.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from enum import StrEnum
from typing import Any, Final

import msgspec

from ecproc.wire.lenient import DECODE_ERRORS, decode_json, fold_all, fold_name, fold_names, is_json, object_members

_TEXT_LIMIT: Final = 300
_EXAMINED: Final = 2_000
_LEVELS: Final = 6
_LARGEST: Final = 32 * 1024
"""Bytes of an answer that are read: an error is told in fewer. Of a larger one only the members that may tell."""


class Verdict(StrEnum):
    """What an answer means for the call.

    accepted: done; odd: in words we do not know, which may mean anything; refused: this call's own fault;
    misconfigured: every call would get this answer; trouble: the bridge's fault, it did nothing; timed_out: it may have
    been done; expired, invalid: the handle is of no more use.
    """

    ACCEPTED = "accepted"
    ODD = "odd"
    REFUSED = "refused"
    MISCONFIGURED = "misconfigured"
    TROUBLE = "trouble"
    TIMED_OUT = "timed_out"
    EXPIRED = "expired"
    INVALID = "invalid"


class Judgement(msgspec.Struct, frozen=True):
    """A verdict, the bridge's words for it, cut to a length that is safe to keep, and what a person can do about it.
    `request_id` is what the answer itself calls the request."""

    verdict: Verdict
    text: str = ""
    hint: str = ""
    request_id: str = ""


_SUCCESS: Final = frozenset(
    {
        "update successful",
        "comments added",
        "ptn added",
        "ticket closed successfully",
        "approval received successfully",
        "rejection received successfully",
    }
)
_CASE: Final = "check bridge.url: environment and client stand in lower case, and both are case sensitive"
_KEY: Final = "check bridge.api_key, and whether this machine's address is on Ensono's IP allow-list"
_KNOWN: Final[Mapping[str, tuple[Verdict, str]]] = {
    "bad path": (Verdict.MISCONFIGURED, f"a wrong method or a misspelled path: {_CASE}"),
    "apikey not authorized for ticket company": (
        Verdict.REFUSED,
        "the ticket is another company's: check that bridge.url and the ticket belong to one environment",
    ),
    "unable to find mapping for clientname": (
        Verdict.MISCONFIGURED,
        "check bridge.client_name, and ask Ensono whether its mapping is set up",
    ),
    "missing authentication token": (Verdict.MISCONFIGURED, f"a wrong method or path: {_CASE}"),
    "forbidden": (Verdict.MISCONFIGURED, f"a wrong environment or client in the path, or a wrong key: {_CASE}; {_KEY}"),
}
_OK: Final = range(200, 300)
_CREDENTIALS: Final = frozenset({401, 403})
_SERVER: Final = 500
_GATEWAY_TIMEOUT: Final = 504
_STATUSES: Final = range(100, 600)
_TROUBLE: Final = frozenset({408, 425, 429})
_CODES: Final = frozenset({"code", "statuscode", "httpstatus", "httpstatuscode", "status"})
_ERRORS: Final = frozenset(
    {
        *("error", "errors", "errormessage", "errortype", "errorcode", "type", "fault", "faultstring", "exception"),
        *("stacktrace", "errordescription"),
    }
)
"""Names, folded, under which an answer tells of an error; `__type` is AWS's."""
_FAILED: Final = frozenset({"failure", "failed", "fail", "error", "unsuccessful", "false"})
_RESULTS: Final = frozenset({"status", "result", "outcome", "success", "ok"})
_OUTER: Final = frozenset({"response", "requestid", "responsemetadata", "statuscode"})
_INNER: Final = frozenset({"code", "body", "requestid"})
_WORDS: Final = (
    *("errormessage", "error", "errors", "fault", "faultstring", "errordescription", "response", "message", "reason"),
    *("title", "detail", "body", "code"),
)
"""Names, folded, under which an answer's words stand: an error's before those of a success beside it."""
_LISTED: Final = frozenset({"response", "message"})
_TELLING: Final = _ERRORS | _RESULTS | _CODES | _OUTER | frozenset(_WORDS) | {"messages"}
_RAW_WORDS: Final = 120
_TIMED_OUT: Final = re.compile(r"(?i)timed?[ -]?out|timeout")
_PASSES: Final = re.compile(r"(?i)throttl|rate exceeded|too many requests|internal|unavailable|try again|busy")
_REFUSES: Final = re.compile(
    r"(?i)not found|no record|not exist|not authori[sz]ed|denied|invalid|unable|cannot|can't|could not|fail|error"
)
_CODE: Final = re.compile(r"\s*(\d{3})(?:\.0+)?(?![\d.])", re.ASCII)
_ADDRESS: Final = re.compile(r"(https?://[^\s?#\"']*)[?#][^\s\"']*")
_TAG: Final = re.compile(r"<[^<>]*>")
_HANDLE: Final = re.compile(r"AQEB[^\s\"',;]*")


def _is_success(text: str) -> bool:
    return text.lower() in _SUCCESS


def judge_answer(status: int, body: bytes, *, is_done: Callable[[str], bool] = _is_success) -> Judgement:
    """Judge the answer to a ticket call, one whose words, without blanks around them, mean done where `is_done`."""
    return _judge_value(status, _value(body), body, is_done=is_done)


def _judge_value(status: int, value: Any, body: bytes, *, is_done: Callable[[str], bool] = _is_success) -> Judgement:
    status = _inner_status(value, status)
    text, listed = _words(value, body)
    own = _request_id(value)
    verdict, hint = _KNOWN.get(text.strip().lower(), (None, ""))
    if verdict is None and listed:
        verdict = Verdict.REFUSED
    if verdict is not None:
        return Judgement(verdict, text, hint, own)
    if status not in _OK:
        told = f"HTTP {status} {text}".strip()[:_TEXT_LIMIT]
        return Judgement(_judge_status(status, text), told, _hint_of(status), own)
    success = is_done(text.strip()) and len(body) <= _LARGEST
    if _tells_error(value):
        told = f"{text!r} and an error without words" if success else text or "an error without words"
        return Judgement(_judge_error(value, text), told, "", own)
    if success and _is_plain(value):
        return Judgement(Verdict.ACCEPTED, text, "", own)
    return Judgement(*_judge_unknown(status, value, body, text=text), "", own)


def _is_plain(value: Any) -> bool:
    """Whether the answer is one of the guide's: words in Response, or a code and words, and nothing that could take
    them back."""
    if not isinstance(value, dict) or not {fold_name(name) for name in value} <= _OUTER:
        return False
    response = next((item for name, item in value.items() if fold_name(name) == "response"), None)
    if isinstance(response, dict):
        return fold_names(response).keys() <= _INNER
    return isinstance(response, str)


def _judge_unknown(status: int, value: Any, body: bytes, *, text: str) -> tuple[Verdict, str]:
    """A 2xx in words that are no known success; one that is not read as a whole may mean anything."""
    if len(body) > _LARGEST and (not text.strip() or not isinstance(value, dict)):
        told = text.strip() or f"{len(body)} bytes that are not read"
        late = _TIMED_OUT.search(body[:_LARGEST].decode("utf-8", "replace"))
        return (Verdict.TIMED_OUT if late else Verdict.ODD), told
    if not body.strip() or value in ({}, ""):
        return Verdict.TROUBLE, f"HTTP {status} with nothing in it"
    if not text.strip() or not isinstance(value, dict):
        return Verdict.TROUBLE, f"HTTP {status} with an answer nobody can read: {text}".strip(": ")
    if _TIMED_OUT.search(text):
        return Verdict.TIMED_OUT, text
    return (Verdict.REFUSED if _REFUSES.search(text) else Verdict.ODD), text


class _Metadata(msgspec.Struct, forbid_unknown_fields=True):
    RequestId: str


class _DeleteMessageResponse(msgspec.Struct, forbid_unknown_fields=True):
    ResponseMetadata: _Metadata


class _Deleted(msgspec.Struct, forbid_unknown_fields=True):
    """The documented answer to a DELETE: it has no place for an Error."""

    DeleteMessageResponse: _DeleteMessageResponse


_deleted = msgspec.json.Decoder(_Deleted)
_BEGINNING: Final = 64
_DONE: Final = Judgement(Verdict.ACCEPTED, "HTTP 200")
_RECEIVED: Final = Judgement(Verdict.ACCEPTED)
_ENVELOPE: Final = re.compile(rb"(?i)receive[ _-]?message[ _-]?response")


def judge_delete(status: int, body: bytes) -> Judgement:
    """Judge the answer to a DELETE: done is a 2xx that says so and carries no Error (R28–R30)."""
    return _DONE if status == 200 and _is_documented_delete(body) else _judge_delete_tolerant(status, body)


def _is_documented_delete(body: bytes) -> bool:
    try:
        # Looking at its beginning is cheaper than an exception for each error.
        return b"DeleteMessageResponse" in body[:_BEGINNING] and _deleted.decode(body) is not None
    except DECODE_ERRORS:
        return False


def _judge_delete_tolerant(status: int, body: bytes) -> Judgement:
    """Any answer to a DELETE, also one in other words."""
    value = _value(body)
    text = " ".join(_all_texts(value))
    if "receipt handle has expired" in text.lower():
        return Judgement(Verdict.EXPIRED, "the receipt handle has expired", "", _request_id(value))
    if "ReceiptHandleIsInvalid" in text:
        return Judgement(Verdict.INVALID, "ReceiptHandleIsInvalid", "", _request_id(value))
    if _inner_status(value, status) in _OK and _is_deleted(value) and not _tells_error(value):
        return Judgement(Verdict.ACCEPTED, f"HTTP {status}")
    judged = _judge_value(status, value, body)
    if judged.verdict is Verdict.ACCEPTED:  # the words of another call's success
        return msgspec.structs.replace(judged, verdict=Verdict.ODD)
    return judged


def _is_deleted(value: Any) -> bool:
    """Whether this is the documented answer under other spellings, and nothing besides."""
    if not isinstance(value, dict):
        return False
    folded = fold_names(value)
    response = folded.pop("deletemessageresponse", None)
    metadata = fold_names(response).keys() if isinstance(response, dict) else set()
    return bool(metadata & {"responsemetadata", "requestid"}) and folded.keys() <= _OUTER


def tells_error(body: bytes) -> str:
    """The words of an error that stands in a queue answer beside no messages; empty if there is none."""
    value = _value(body)
    if not isinstance(value, dict):
        return ""
    beside = {name: item for name, item in value.items() if not _ENVELOPE.fullmatch(name.encode())}
    inside = _tells_error(value) or _inner_status(value, 200) not in _OK
    if not inside and not fold_names(beside).keys() & {"message", "messages"}:
        return ""
    return _words(beside, b"")[0] or "an error without words"


def judge_receive(status: int, body: bytes) -> Judgement:
    """Judge the status of a `GET /queue`; whether an accepted one holds messages is for the decoder."""
    if status in _OK and (b"ReceiveMessageResponse" in body or _ENVELOPE.search(body, 0, _LARGEST)):
        return _RECEIVED
    return judge_answer(status, body)


def _judge_status(status: int, text: str) -> Verdict:
    if status in _CREDENTIALS:
        return Verdict.MISCONFIGURED
    if status == _GATEWAY_TIMEOUT or (status >= _SERVER and _TIMED_OUT.search(text)):
        return Verdict.TIMED_OUT
    if status >= _SERVER or status in _TROUBLE:
        return Verdict.TROUBLE
    return Verdict.REFUSED


def _hint_of(status: int) -> str:
    return f"{_KEY}; {_CASE}" if status in _CREDENTIALS else ""


def _judge_error(value: Any, text: str) -> Verdict:
    """An error in a 2xx: a Lambda's, which may be anywhere in its work, or the ITSM's own no."""
    if _TIMED_OUT.search(text):
        return Verdict.TIMED_OUT
    names = fold_names(value).keys() if isinstance(value, dict) else set()
    lambdas = bool(names & {"errormessage", "errortype", "type"})
    return Verdict.TROUBLE if lambdas or _PASSES.search(text) else Verdict.REFUSED


def _value(body: bytes) -> Any:
    """The answer's value; of a Lambda proxy's answer that came through unopened, the inner one with its status. None
    where it cannot be read."""
    if len(body) > _LARGEST:
        return _telling_members(body)
    try:
        value = decode_json(body).value
        if isinstance(value, dict) and isinstance(inner := value.get("body"), str) and "statusCode" in value:
            opened = decode_json(inner.encode()).value
            return {**opened, "statusCode": value["statusCode"]} if isinstance(opened, dict) else value
    except DECODE_ERRORS:
        return None
    return value


def _telling_members(body: bytes) -> Any:
    """The members of a large answer that may tell what became of a call, texts and lists cut to what anyone reads; of a
    damaged one those in its first part."""
    raw = object_members(body if is_json(body) else body[:_LARGEST])
    if raw is None:
        return None
    found: dict[str, Any] = {}
    room = _LARGEST
    for (name, value), folded in zip(raw.items(), fold_all(raw), strict=True):
        if folded not in _TELLING or len(name) > _EXAMINED or room <= 0:
            continue
        if len(value) <= room:
            room -= len(value)
            found[name] = _value(value)
        elif value.startswith((b'"', b"[")):
            words = value[1:_EXAMINED].decode("utf-8", "replace")
            found[name] = [words] if value.startswith(b"[") else words
    return found


def _inner_status(value: Any, status: int) -> int:
    """The worst code inside the answer where a success has one (C33)."""
    if status not in _OK:
        return status
    codes = [code for name, item in _members(value) if fold_name(name) in _CODES and (code := _code(item))]
    return max((code for code in codes if code not in _OK), default=status)


def _code(item: Any) -> int:
    """A status code as number or text, also with a fraction or words behind it; 0 for what is none."""
    match = None if isinstance(item, bool) else _CODE.match(str(item))
    return int(match[1]) if match and int(match[1]) in _STATUSES else 0


def _tells_error(value: Any) -> bool:
    for name, item in _members(value):
        folded = fold_name(name)
        if folded in _RESULTS and str(item).strip().lower() in _FAILED:
            return True
        # A plain `type` says many things, AWS's `__type` is an error's; an Error without content is one all the same.
        if folded in _ERRORS and (folded != "type" or name.startswith("__")) and (item or name == "Error"):
            return True
    return False


def _members(value: Any, levels: int = _LEVELS) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict) and levels:
        for name, item in value.items():
            yield name, item
            yield from _members(item, levels - 1)
    elif isinstance(value, list) and levels:
        for item in value:
            yield from _members(item, levels - 1)


def _words(value: Any, body: bytes) -> tuple[str, bool]:
    """The answer's words, and whether they came as a list where words stand, which is always an error (R221)."""
    if isinstance(value, str):
        return _mask(value), False
    if not isinstance(value, dict):
        text = _TAG.sub(" ", body[:_EXAMINED].decode("utf-8", "replace"))
        return _mask(" ".join(text.split()))[:_RAW_WORDS], False
    folded = fold_names(value)
    name = next((name for name in _WORDS if folded.get(name) or (folded.get(name) == [] and name in _LISTED)), "")
    found = folded.get(name)
    if isinstance(found, list):
        return _mask(" ".join(map(str, found))), name in _LISTED
    if isinstance(found, dict):
        return _mask(_words_of_object(found)), False
    told = [str(found)] if found is not None else []
    if "type" in folded and "__type" in value:
        told.insert(0, str(folded["type"]))
    return _mask(": ".join(told)), False


def _words_of_object(found: Mapping[str, Any]) -> str:
    """An error's code and message, or a response's body."""
    folded = fold_names(found)
    names = ("body",) if folded.get("body") else ("code", "message", "detail", "faultstring", "description")
    return ": ".join(str(folded[name]) for name in names if isinstance(folded.get(name), str | int))


def _all_texts(value: Any) -> Iterator[str]:
    for name, item in _members(value):
        if isinstance(item, str):
            yield f"{name} {item}"


def _request_id(value: Any) -> str:
    found = (item for name, item in _members(value) if fold_name(name) == "requestid" and isinstance(item, str))
    return next(found, "")[:_TEXT_LIMIT]


def _mask(text: str) -> str:
    """A stranger's words without what must not be kept: an address's query, a receipt handle; and no longer than anyone
    reads."""
    # Cut first: a search for addresses takes the square of what a stranger may send.
    return _HANDLE.sub("***", _ADDRESS.sub(r"\1", text[:_EXAMINED]))[:_TEXT_LIMIT]
