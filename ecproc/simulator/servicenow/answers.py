"""The instance's documented answers, the odd ones too."""

from __future__ import annotations

from typing import Final

import msgspec

from ecproc.simulator.exchange import Reply

OPERATION_FAILED: Final = "Operation Failed"
HTML: Final = "text/html;charset=UTF-8"
SLEEPING: Final = Reply(
    status=200,
    body=b"<html><head><title>Instance Hibernating page</title></head><body>Your instance sleeps.</body></html>",
    content_type=HTML,
    refused=True,
)
_ENCODER: Final = msgspec.json.Encoder()


class Denial(msgspec.Struct, frozen=True):
    """Why a call was not applied."""

    status: int
    message: str
    detail: str | None = None


NO_RECORD: Final = Denial(404, "No Record found", "Record doesn't exist or ACL restricts the record retrieval")
UNAUTHENTICATED: Final = Denial(401, "User Not Authenticated", "Required to provide Auth information")
ACL: Final = Denial(403, OPERATION_FAILED, "ACL Exception Insert Failed due to security constraints")
NO_SUCH_METHOD: Final = Denial(405, "Method not supported", "The method is not supported by this resource")
NO_SUCH_PATH: Final = Denial(400, "Requested URI does not represent any resource", None)


def give(result: object, status: int = 200, headers: tuple[tuple[str, str], ...] = ()) -> Reply:
    """Answer with this result."""
    return Reply(status=status, body=_ENCODER.encode({"result": result}), headers=headers)


def deny(denial: Denial, headers: tuple[tuple[str, str], ...] = ()) -> Reply:
    """Answer with the documented error."""
    error = {"error": {"message": denial.message, "detail": denial.detail}, "status": "failure"}
    return Reply(status=denial.status, body=_ENCODER.encode(error), headers=headers, refused=True)


def forbid_by_rule(table: str, rule: str = "Stop outside changes") -> Denial:
    """The answer where a business rule aborts a write."""
    detail = f"Operation against file '{table}' was aborted by Business Rule '{rule}'. Business Rule Stack:{rule}"
    return Denial(403, OPERATION_FAILED, detail)


def forbid_by_policy(labels: str) -> Denial:
    """The answer where a data policy asks for more."""
    return Denial(
        403, OPERATION_FAILED, f"Data Policy Exception:\r\n\r\n The following fields are mandatory: {labels}\r\n"
    )


def refuse_request(message: str, detail: str | None = None) -> Denial:
    """The answer to a request that cannot be read."""
    return Denial(400, message, detail)


def throttle(*, retry_after: int, limit: int, reset: int, rule: str) -> Reply:
    """The answer where a rate rule is exceeded."""
    return deny_rate(
        (
            ("retry-after", str(retry_after)),
            ("x-ratelimit-limit", str(limit)),
            ("x-ratelimit-reset", str(reset)),
            ("x-ratelimit-rule", rule),
        )
    )


def deny_rate(headers: tuple[tuple[str, str], ...] = ()) -> Reply:
    """The 429; without headers it comes from queues that are full."""
    error = {"error": {"message": "Rate limit exceeded", "detail": "Rate limit exceeded"}, "status": "failure"}
    return Reply(status=429, body=_ENCODER.encode(error), headers=headers, refused=True)


def cut(reply: Reply) -> Reply:
    """Break an answer off in its middle, as a cancelled transaction does."""
    return msgspec.structs.replace(reply, body=reply.body[: len(reply.body) // 2])
