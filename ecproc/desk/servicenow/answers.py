"""What an answer, or the want of one, means for the call that it was about. Pure.

A write that is not repeatable and was not clearly refused may have been applied: `sent` says so, and it is looked up
before it is made again.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from ecproc.desk.base import DeskRefused, DeskUnavailable
from ecproc.desk.servicenow.wire import InstanceCall, RecordValues, read_error, read_result, read_row, read_rows
from ecproc.domain.anomalies import Anomaly
from ecproc.domain.events import Remark
from ecproc.network import HttpFault, parse_retry_after

NO_RECORD: Final = "no record found"
"""What a list without rows is answered by some versions, with a 404."""

_TAKEN: Final = range(200, 300)
_MOVED: Final = range(300, 400)
_LONGEST_WAIT: Final = 300.0
_REFUSED_BY_RULE: Final = ("business rule", "data policy")
_POLICY: Final = "data policy"
_HINTS: Final[Mapping[str, str]] = {
    "address": "see desk.servicenow.url, and whether the instance sleeps: open it in a browser",
    "login": "check the secrets of [desk.servicenow] and that the user is active, not locked out and has web access",
    "mfa": "the user must not need a second factor: make it one for integrations (web service access only)",
    "rights": "give the user the roles that docs/servicenow.md lists; ecproc desk check says what is missing",
    "rule": "let an administrator of the instance see the rule that the text names, then ecproc outbox retry",
    "policy": "map the fields that the text names (ecproc map test shows what is sent), then ecproc outbox retry",
    "gone": "somebody deleted the record or hid it from our user: bring it back and retry, or discard",
    "defect": "the instance takes no such request: see the mapping's fields, then ecproc outbox retry",
    "tls": "check whether something on the way opens TLS; its certificates belong in desk.servicenow.ca_file",
    "way": "check the host in desk.servicenow.url and the way to it (firewall, desk.servicenow.proxy)",
}


class InstanceAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """An answer of any status, with what its headers say of waiting and of a second factor. `at` is our time then,
    `date` the instance's, in microseconds UTC; `links` lead to other pages of a list, which has `total` rows."""

    status: int
    body: bytes
    retry_after: str | None = None
    rate_reset: str | None = None
    asks_for_factor: bool = False
    at: int = 0
    date: int | None = None
    links: str | None = None
    total: str | None = None


def read_answer(request: InstanceCall, seen: InstanceAnswer) -> Any:
    """The `result` of an answer that did what was asked. Raises DeskUnavailable or DeskRefused."""
    if seen.status in _TAKEN:
        result = read_result(seen.body)
        if result is not None:
            return result
        reason = f"HTTP {seen.status} that is no answer of ServiceNow's"
        raise _unavailable(request, seen, reason, sent=not request.is_read, down=request.is_read, hint="address")
    if seen.status in _MOVED:
        reason = f"HTTP {seen.status}: a sign-on page, or a wrong address"
        raise _unavailable(request, seen, reason, down=True, hint="address")
    raise judge_refusal(request, seen)


def read_record(request: InstanceCall, seen: InstanceAnswer) -> RecordValues:
    """The record that an answer tells of."""
    row = read_row(read_answer(request, seen))
    if row is None or not row.get("sys_id"):
        reason = f"HTTP {seen.status} without a record"
        raise _unavailable(request, seen, reason, sent=not request.is_read, down=request.is_read, hint="address")
    return row


def read_list(request: InstanceCall, seen: InstanceAnswer) -> list[RecordValues]:
    """The records that an answer lists; both ways to say that there are none are one."""
    if seen.status == 404 and NO_RECORD in read_error(seen.body).lower():
        return []
    rows = read_rows(read_answer(request, seen))
    if rows is None:
        raise _unavailable(request, seen, f"HTTP {seen.status} without a list", down=True, hint="address")
    return rows


def judge_refusal(request: InstanceCall, seen: InstanceAnswer) -> DeskUnavailable | DeskRefused:
    """Why a call that was answered by no success was not done, or may not have been."""
    words = read_error(seen.body)
    reason = f"HTTP {seen.status}{f': {words}' if words else ''}"
    match seen.status:
        case 401:
            hint = "mfa" if seen.asks_for_factor else "login"
            return _unavailable(request, seen, reason, down=True, hint=hint)
        case 403 if any(rule in words.lower() for rule in _REFUSED_BY_RULE):
            return _refused(request, seen, reason, hint="policy" if _POLICY in words.lower() else "rule")
        case 403:
            return _unavailable(request, seen, reason, down=True, hint="rights")
        case 404 if not request.is_read and is_about_record(request):
            return gone(request, seen, reason)
        case 404 | 405 | 406 | 415:
            return _unavailable(request, seen, reason, down=True, hint="address")
        case 408 | 429:
            wait = read_wait(seen)
            return _unavailable(request, seen, reason, retry_after=wait, down=wait is not None)
        case status if status >= 500:
            return _unavailable(request, seen, reason, sent=not request.repeatable)
        case _:
            return _refused(request, seen, reason, hint="defect")


def judge_fault(request: InstanceCall, fault: HttpFault) -> DeskUnavailable:
    """What the want of an answer means: what may have left and must not be done twice is open now."""
    hint = "tls" if fault.kind == "tls" else "way" if fault.kind in ("dns", "connect", "proxy") else ""
    return DeskUnavailable(
        str(fault),
        sent=fault.sent and not request.repeatable,
        down=fault.kind == "tls",
        hint=_HINTS.get(hint, ""),
        call=request.told,
    )


def gone(request: InstanceCall, seen: InstanceAnswer | None, reason: str) -> DeskRefused:
    """The record of a client ticket is not there, or not for us to see."""
    remark = Remark(Anomaly.CLIENT_TICKET_GONE, reason)
    return DeskRefused(reason, final=True, hint=_HINTS["gone"], remarks=(remark,), call=_tell(request, seen))


def is_about_record(request: InstanceCall) -> bool:
    """Whether a 404 says that one record is missing, and not a whole table or interface."""
    return request.method == "PATCH" or ("table_sys_id" in dict(request.params))


def misses_comment(refused: DeskRefused) -> bool:
    """Whether a data policy wanted more than was sent."""
    return refused.hint == _HINTS["policy"]


def read_wait(seen: InstanceAnswer) -> float | None:
    """Seconds that an answer asks us to wait, 300 at most; None where it names no time."""
    wait = parse_retry_after(seen.retry_after, now=seen.at)
    reset = (seen.rate_reset or "").strip()
    if wait is None and reset.isascii() and reset.isdecimal() and len(reset) < 15:
        wait = min(max(int(reset) - seen.at / 1_000_000, 0.0), _LONGEST_WAIT)
    return wait


def _tell(request: InstanceCall, seen: InstanceAnswer | None) -> dict[str, str]:
    return {**request.told, **({"status": str(seen.status)} if seen is not None else {})}


def _unavailable(
    request: InstanceCall,
    seen: InstanceAnswer,
    reason: str,
    *,
    sent: bool = False,
    down: bool = False,
    retry_after: float | None = None,
    hint: str = "",
) -> DeskUnavailable:
    return DeskUnavailable(
        reason,
        sent=sent,
        down=down,
        retry_after=retry_after,
        hint=_HINTS.get(hint, ""),
        call=_tell(request, seen),
    )


def _refused(request: InstanceCall, seen: InstanceAnswer, reason: str, *, hint: str) -> DeskRefused:
    return DeskRefused(reason, final=True, hint=_HINTS[hint], call=_tell(request, seen))
