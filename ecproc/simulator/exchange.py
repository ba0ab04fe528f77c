"""HTTP requests and replies as values, and the bridge's documented answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from ecproc.simulator.queue import Delivery

JSON = "application/json"
XML = "application/xml"


class HttpRequest(msgspec.Struct, frozen=True, kw_only=True):
    """One request; `path` is the raw target before `?`, percent-encoding untouched."""

    method: str
    path: str
    query: str = ""
    headers: Mapping[str, str] = {}
    body: bytes = b""


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """One answer, given after `delay` seconds; a dropped one closes the connection without a byte.

    `refused` says that nothing was done, which the status need not tell (R223). `headers` go out as they stand: whoever
    puts foreign text into one has encoded it. `date`, in seconds since the epoch, is the machine's where there is none.
    """

    status: int
    body: bytes = b""
    content_type: str = JSON
    delay: float = 0.0
    dropped: bool = False
    refused: bool = False
    retry_after: int | None = None
    headers: tuple[tuple[str, str], ...] = ()
    date: float | None = None


class _Identity(msgspec.Struct, frozen=True):
    """What the queue's answers carry so that Ensono's support can find the call."""

    RequestId: str


class _WireMessage(msgspec.Struct, frozen=True, omit_defaults=True):
    """A message as GET /queue gives it; member names are the guide's."""

    MessageId: str
    ReceiptHandle: str
    Body: msgspec.Raw
    Attributes: Mapping[str, object]
    MD5OfBody: str | None = None


MISSING_TOKEN = Reply(status=403, body=b'{"message": "Missing Authentication Token"}', refused=True)
FORBIDDEN = Reply(status=403, body=b'{"message": "Forbidden"}', refused=True)
UNREADABLE = Reply(status=400, body=b'{"message": "Invalid request body"}', refused=True)
BAD_PATH = "Bad Path"
FOREIGN_TICKET = "APIKey not authorized for ticket company"
UNKNOWN_CLIENT = "Unable to find mapping for ClientName"
UNKNOWN_GROUP = ("assigment group sys id or name not found.", "This ticket cannot be created.")


def give_json(document: object, status: int = 200) -> Reply:
    """Answer with this document."""
    return Reply(status=status, body=msgspec.json.encode(document))


def respond(response: object, status: int = 200) -> Reply:
    """Answer as the ticket methods do: one member named Response."""
    return give_json({"Response": response}, status)


def refuse(document: object, status: int) -> Reply:
    """Answer with this document and note that nothing was done."""
    return Reply(status=status, body=msgspec.json.encode(document), refused=True)


def give_messages(deliveries: Sequence[Delivery], request_id: str) -> Reply:
    """Answer GET /queue: the shape with messages, or the empty one that nests its result twice (R14, R15)."""
    identity = _Identity(request_id)
    if not deliveries:
        result = {"ResponseMetadata": identity, "ReceiveMessageResult": {"messages": None}}
        return give_json({"ReceiveMessageResponse": {"ReceiveMessageResult": result}})
    messages = [_show_message(delivery) for delivery in deliveries]
    return give_json(
        {"ReceiveMessageResponse": {"ResponseMetadata": identity, "ReceiveMessageResult": {"messages": messages}}}
    )


def give_deleted(request_id: str) -> Reply:
    """Answer DELETE /queue/{handle} (R28)."""
    return give_json({"DeleteMessageResponse": {"ResponseMetadata": _Identity(request_id)}})


def refuse_expired(handle: str, request_id: str, status: int) -> Reply:
    """Answer a delete whose handle no longer counts (R29)."""
    text = f"Value {handle} for parameter ReceiptHandle is invalid. Reason: The receipt handle has expired."
    return _refuse_handle("InvalidParameterValue", text, request_id, status)


def refuse_invalid(handle: str, request_id: str, status: int) -> Reply:
    """Answer a delete whose handle was never given out, as one that wasn't URL-encoded (R30)."""
    text = f'The input receipt handle "{handle}" is not a valid receipt handle.'
    return _refuse_handle("ReceiptHandleIsInvalid", text, request_id, status)


def _refuse_handle(code: str, text: str, request_id: str, status: int) -> Reply:
    error = {"Code": code, "Message": text, "Type": "Sender"}
    return refuse({"Error": error, "RequestId": request_id}, status)


def _show_message(delivery: Delivery) -> _WireMessage:
    message = delivery.message
    attributes = {
        **message.attributes,
        "ApproximateFirstReceiveTimestamp": str(delivery.first_received),
        "ApproximateReceiveCount": str(delivery.receive_count),
    }
    return _WireMessage(message.message_id, delivery.handle, msgspec.Raw(message.body), attributes, message.md5)
