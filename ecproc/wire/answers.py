"""Answers to commands: what done looks like for each call, and what of an answer is read (Appendix D)."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec

from ecproc.config import is_loopback
from ecproc.domain.effects import EffectKind
from ecproc.wire.lenient import DECODE_ERRORS, decode_json, fold_names
from ecproc.wire.responses import Judgement, Verdict, judge_answer

_UPDATED: Final = frozenset({"update successful", "ticket closed successfully"})
"""One method sets fields and statuses; its words do not tell resolved from closed (C6, C7)."""
_DONE: Final[Mapping[EffectKind, frozenset[str]]] = {
    EffectKind.RETURN_NUMBER: frozenset({"ptn added"}),
    EffectKind.UPDATE_TICKET: _UPDATED,
    EffectKind.RESOLVE_TICKET: _UPDATED,
    EffectKind.CLOSE_TICKET: _UPDATED,
    EffectKind.CANCEL_TICKET: _UPDATED,
    EffectKind.ADD_COMMENTS: frozenset({"comments added"}),
    EffectKind.APPROVE_CHANGE: frozenset({"approval received successfully"}),
    EffectKind.REJECT_CHANGE: frozenset({"rejection received successfully"}),
}
"""What means done, in lower case (R101, R105, R114, R119, R174)."""
_NUMBER: Final = re.compile(r"(?:e-)?[A-Z]{2,8}[0-9]{4,15}", re.IGNORECASE | re.ASCII)
"""A ticket number as Ensono gives it (C27)."""
_GROUP: Final = re.compile(r"assign?ment group", re.IGNORECASE)
_OK: Final = frozenset({"200"})


def judge_call(kind: EffectKind, status: int, body: bytes) -> Judgement:
    """Judge the answer to that command; a create is done only by a ticket number, which is its words (R84)."""
    return judge_answer(status, body, is_done=_TELLS_DONE[kind])


def blames_group(words: str) -> bool:
    """Whether a call was refused with these words for the group it names, misspelled as that is (R221)."""
    return _GROUP.search(words) is not None


def judge_upload_url(status: int, body: bytes) -> tuple[Judgement, str]:
    """Judge the answer to asking where a file can be put, with that address: done is code 200 inside it and an https
    address, or one on this machine (R126). The address is a secret, and empty unless it is done."""
    judgement = judge_answer(status, body, is_done=_is_address)
    url = _read_url(body) if judgement.verdict is Verdict.ACCEPTED else ""
    if judgement.verdict is Verdict.ACCEPTED and not url:
        judgement = msgspec.structs.replace(judgement, verdict=Verdict.ODD)
    return judgement, url


def _says(words: frozenset[str], text: str) -> bool:
    return text.lower() in words


def _is_number(text: str) -> bool:
    return _NUMBER.fullmatch(text) is not None


def _is_address(text: str) -> bool:
    try:
        parts = urlsplit(text)
        return parts.scheme == "https" or (parts.scheme == "http" and is_loopback(parts.hostname or ""))
    except ValueError:
        return False


def _read_url(body: bytes) -> str:
    try:
        answer: Any = decode_json(body).value
    except DECODE_ERRORS:
        return ""
    response = fold_names(answer).get("response") if isinstance(answer, dict) else None
    inner = fold_names(response) if isinstance(response, dict) else {}
    url = inner.get("body")
    return url if isinstance(url, str) and str(inner.get("code")).strip() in _OK else ""


_TELLS_DONE: Final[Mapping[EffectKind, Callable[[str], bool]]] = {
    EffectKind.CREATE_TICKET: _is_number,
    **{kind: partial(_says, words) for kind, words in _DONE.items()},
}
