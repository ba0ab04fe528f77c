"""A bridge in memory that answers what a test wrote down."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, TypeAlias

import anyio
import msgspec
from anyio.lowlevel import checkpoint

from ecproc.bridge.base import Answer, Deleted, Request
from ecproc.bridge.calls import delete_each
from ecproc.config import Limits
from ecproc.simulator import exchange
from ecproc.testing.ticket import FIRST_SEQUENCE, START, Sent

Line: TypeAlias = Answer | Exception | Callable[[], Awaitable[Answer]]
"""One call's fate in a script: answered, raised, or whatever the function makes of it."""


def give_queue(*messages: Mapping[str, Any]) -> Answer:
    """Give the answer to GET /queue that holds these messages; without any, the documented empty one."""
    result: dict[str, Any] = {"messages": messages} if messages else {"ReceiveMessageResult": {"messages": None}}
    body = {"ResponseMetadata": {"RequestId": "r"}, "ReceiveMessageResult": result}
    return Answer(200, msgspec.json.encode({"ReceiveMessageResponse": body}))


def number(message: Sent, count: int, *, handle: str | None = None) -> Mapping[str, Any]:
    """Give a message its MessageId, handle, number and time; the handle is `h` and the count unless it is named."""
    attributes = {
        "SequenceNumber": str(FIRST_SEQUENCE + count),
        "SentTimestamp": str((START + count) * 1000),
        **message["Attributes"],
    }
    return {"MessageId": f"m{count}", **message, "ReceiptHandle": handle or f"h{count}", "Attributes": attributes}


def from_reply(reply: exchange.Reply) -> Answer:
    """Give the simulator's reply as what our side reads."""
    return Answer(reply.status, reply.body, reply.retry_after)


EMPTY: Final = give_queue()
DELETED: Final = from_reply(exchange.give_deleted("r"))
EXPIRED: Final = from_reply(exchange.refuse_expired("h", "r", 400))
INVALID: Final = from_reply(exchange.refuse_invalid("h", "r", 400))
ACCEPTED: Final = from_reply(exchange.respond("PTN Added"))


class Call(msgspec.Struct, frozen=True):
    """A call that was made: receive, delete or send, of which handle or path, when on the loop's clock."""

    verb: str
    what: str
    at: float


class ScriptedBridge:
    """A Bridge that takes each answer from its script, in order, and a plain success when the script is at its end."""

    def __init__(self, *receives: Line, limits: Limits | None = None) -> None:
        self._places = asyncio.Semaphore((limits or Limits()).deletes_at_once)
        self.receives: deque[Line] = deque(receives)
        self.deletes: deque[Line] = deque()
        self.sends: deque[Line] = deque()
        self.calls: list[Call] = []
        self.requests: list[Request] = []

    async def receive(self) -> Answer:
        return await self._answer("receive", "", self.receives, EMPTY)

    async def delete(self, receipt_handle: str) -> Answer:
        return await self._answer("delete", receipt_handle, self.deletes, DELETED)

    async def delete_many(self, receipt_handles: Sequence[str], deleted: Deleted, *, within: float) -> None:
        await delete_each(self.delete, receipt_handles, deleted, places=self._places, within=within)

    async def send(self, request: Request) -> Answer:
        self.requests.append(request)
        return await self._answer("send", f"{request.method} {request.path}", self.sends, ACCEPTED)

    def times(self, verb: str) -> list[float]:
        """When calls of this verb were made."""
        return [call.at for call in self.calls if call.verb == verb]

    @property
    def deleted(self) -> list[str]:
        """The handles of all DELETEs, in order."""
        return [call.what for call in self.calls if call.verb == "delete"]

    async def _answer(self, verb: str, what: str, script: deque[Line], otherwise: Answer) -> Answer:
        self.calls.append(Call(verb, what, anyio.current_time()))
        line = script.popleft() if script else otherwise
        await checkpoint()
        if isinstance(line, Exception):
            raise line
        return line if isinstance(line, Answer) else await line()
