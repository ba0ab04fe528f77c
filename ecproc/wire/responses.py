"""Answers to ticket and delete calls, classified (Appendix D): the body decides, the status alone never does (R223)."""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Final

import msgspec

_DECODE_ERRORS: Final = (msgspec.MsgspecError, UnicodeError, ValueError, RecursionError)
_decode = msgspec.json.Decoder().decode
_TEXT_LIMIT: Final = 200


class Verdict(StrEnum):
    """What an answer means for the call.

    accepted: done; odd: done, in words we do not know; refused: this call's own fault; misconfigured: every call would
    get this answer; trouble: the bridge's fault, try again; expired, invalid: the handle is of no more use.
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
    """A verdict and the bridge's words for it, cut to a length that is safe to keep."""

    verdict: Verdict
    text: str = ""
    hint: str = ""


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
_KNOWN: Final = {
    "bad path": Verdict.MISCONFIGURED,
    "apikey not authorized for ticket company": Verdict.REFUSED,
    "unable to find mapping for clientname": Verdict.MISCONFIGURED,
    "missing authentication token": Verdict.MISCONFIGURED,
    "forbidden": Verdict.MISCONFIGURED,
}
_OK: Final = range(200, 300)
_CREDENTIALS: Final = frozenset({401, 403})
_SERVER: Final = 500
_CODE_DIGITS: Final = 3
_TROUBLE: Final = frozenset({408, 425, 429})


def judge_answer(status: int, body: bytes) -> Judgement:
    """Judge the answer to a ticket call."""
    value = _value(body)
    status = _inner_status(value, status)
    text, listed = _words(value)
    known = _KNOWN.get(text.strip().lower())
    if known is not None:
        return Judgement(known, text[:_TEXT_LIMIT])
    if listed:
        return Judgement(Verdict.REFUSED, text[:_TEXT_LIMIT])
    if _is_error(value):
        return Judgement(_judge_status(status, ok=Verdict.REFUSED), text[:_TEXT_LIMIT])
    if status in _OK and body.strip() and not isinstance(value, dict):
        return Judgement(Verdict.TROUBLE, f"HTTP {status} with an answer nobody can read")
    if status in _OK:
        understood = text.strip().lower() in _SUCCESS
        return Judgement(Verdict.ACCEPTED if understood else Verdict.ODD, text[:_TEXT_LIMIT])
    return Judgement(_judge_status(status, ok=Verdict.ACCEPTED), f"HTTP {status} {text}"[:_TEXT_LIMIT].strip())


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


def judge_delete(status: int, body: bytes) -> Judgement:
    """Judge the answer to a DELETE: a 2xx that carries an Error is none (R28–R30)."""
    return _DONE if status == 200 and _is_documented_delete(body) else _judge_delete_tolerant(status, body)


def _is_documented_delete(body: bytes) -> bool:
    try:
        # Looking at its beginning is cheaper than an exception for each error.
        return b"DeleteMessageResponse" in body[:_BEGINNING] and _deleted.decode(body) is not None
    except _DECODE_ERRORS:
        return False


def _judge_delete_tolerant(status: int, body: bytes) -> Judgement:
    """Any answer to a DELETE, also one in other words."""
    value = _value(body)
    if isinstance(value, dict) and "Error" in value:
        error = value["Error"] if isinstance(value["Error"], dict) else {"Code": value["Error"]}
        code, message = str(error.get("Code", "")), str(error.get("Message", ""))
        if "expired" in message.lower():
            return Judgement(Verdict.EXPIRED, code[:_TEXT_LIMIT])
        if code == "ReceiptHandleIsInvalid":
            return Judgement(Verdict.INVALID, code)
        return Judgement(_judge_status(status, ok=Verdict.REFUSED), code[:_TEXT_LIMIT])
    text, _ = _words(value)
    known = _KNOWN.get(text.strip().lower())
    if known is not None:
        return Judgement(known, text[:_TEXT_LIMIT])
    return Judgement(_judge_status(status, ok=Verdict.ACCEPTED), f"HTTP {status}")


def judge_receive(status: int, body: bytes) -> Judgement:
    """Judge the status of a `GET /queue`; whether an accepted one holds messages is for the decoder."""
    if status in _OK and b"ReceiveMessageResponse" in body:
        return _RECEIVED
    return judge_answer(status, body)


def _judge_status(status: int, *, ok: Verdict) -> Verdict:
    if status in _OK:
        return ok
    if status in _CREDENTIALS:
        return Verdict.MISCONFIGURED
    if status >= _SERVER or status in _TROUBLE:
        return Verdict.TROUBLE
    return Verdict.REFUSED


def _value(body: bytes) -> Any:
    try:
        return _decode(body)
    except _DECODE_ERRORS:
        return None


def _inner_status(value: Any, status: int) -> int:
    """The code inside the answer where a success has one (C33)."""
    response = value.get("Response") if isinstance(value, dict) else None
    code = str(response.get("code")) if isinstance(response, dict) else ""
    return int(code) if status in _OK and len(code) == _CODE_DIGITS and code.isdecimal() else status


def _is_error(value: Any) -> bool:
    return isinstance(value, dict) and "Error" in value


def _words(value: Any) -> tuple[str, bool]:
    """The answer's words, and whether they came as a list, which is always an error (R221)."""
    if not isinstance(value, dict):
        return "", False
    response = value.get("Response", value.get("message", ""))
    if isinstance(response, list):
        return " ".join(str(item) for item in response), True
    if isinstance(response, dict):
        # An upload URL's query is a secret.
        return str(response.get("body", "")).partition("?")[0], False
    return str(response), False
