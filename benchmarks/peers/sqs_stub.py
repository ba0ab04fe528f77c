"""A stub of SQS's JSON protocol in a process of its own: the same messages without end, as fast as a socket allows."""

from __future__ import annotations

import argparse
import hashlib
import json
from typing import Any, Final

import uvloop

from benchmarks.messages import PER_ANSWER, make_message
from benchmarks.stub import serve
from ecproc.simulator.exchange import HttpRequest, Reply

_SENT: Final = (
    "SequenceNumber",
    "MessageGroupId",
    "MessageDeduplicationId",
    "SentTimestamp",
    "ApproximateReceiveCount",
)


def make_reply(value: Any) -> Reply:
    """An answer as SQS gives it."""
    return Reply(status=200, body=json.dumps(value).encode(), content_type="application/x-amz-json-1.0")


def make_sqs_message(index: int, *, tickets: int) -> dict[str, Any]:
    """A message as SQS gives it: the body is text, with an MD5 that clients check."""
    message = make_message(index, tickets=tickets)
    body = json.dumps(message["Body"])
    return {
        "MessageId": message["MessageId"],
        "ReceiptHandle": message["ReceiptHandle"],
        "MD5OfBody": hashlib.md5(body.encode(), usedforsecurity=False).hexdigest(),
        "Body": body,
        "Attributes": {name: str(message["Attributes"][name]) for name in _SENT},
    }


class Queue:
    """The answers in turn, again and again; whatever else is asked is taken for a delete."""

    headers = ("x-amz-target",)

    def __init__(self, answers: list[Reply]) -> None:
        self._answers = answers
        self._deleted = make_reply({})
        self._given = 0

    def answer(self, request: HttpRequest) -> Reply:
        """The answer to one request."""
        if not request.headers.get("x-amz-target", "").endswith("ReceiveMessage"):
            return self._deleted
        self._given += 1
        return self._answers[self._given % len(self._answers)]

    def record_answered(self, request: HttpRequest) -> None:
        """Nothing is kept of it."""


def main() -> None:
    """Read the arguments and serve."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--messages", type=int, default=1000)
    parser.add_argument("--tickets", type=int, default=100)
    given, _ = parser.parse_known_args()
    batches = range(0, given.messages, PER_ANSWER)
    answers = [
        make_reply({"Messages": [make_sqs_message(start + step, tickets=given.tickets) for step in range(PER_ANSWER)]})
        for start in batches
    ]
    uvloop.run(serve(Queue(answers)))


if __name__ == "__main__":
    main()
