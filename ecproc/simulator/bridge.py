"""The bridge itself: which request goes where, what is refused, what goes wrong, and what is written to the ledger."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from random import Random
from typing import Any
from urllib.parse import unquote, unquote_plus

import msgspec

from ecproc.simulator.announce import announce_number, mirror_call
from ecproc.simulator.exchange import (
    BAD_PATH,
    FORBIDDEN,
    MISSING_TOKEN,
    HttpRequest,
    Reply,
    give_deleted,
    give_json,
    give_messages,
    refuse,
    refuse_expired,
    refuse_invalid,
)
from ecproc.simulator.faults import CallKind, Fault, FaultSource, QueueFault
from ecproc.simulator.files import FileStore
from ecproc.simulator.late import LateRequests
from ecproc.simulator.ledger import Ledger
from ecproc.simulator.queue import FifoQueue, HandleOutcome, QueueMessage
from ecproc.simulator.settings import SimulatorConfig
from ecproc.simulator.tickets import Ticket, TicketSystem, open_texts

INSTANCES = {"dev": "dev", "echo": "dev", "cert": "cert", "prod": "prod"}
GARBAGE = b"<html><body><h1>200 OK</h1></body>"


class RawMessage(msgspec.Struct, frozen=True):
    """A message as the guide writes it, given by a test: any Body, any Attributes; what is missing stays missing."""

    Body: msgspec.Raw
    Attributes: dict[str, Any]
    MessageId: str | None = None
    MD5OfBody: str | None = None


class EnvisionBridge:
    """One client's bridge in all four environments. `clock` gives seconds since the epoch and never runs backwards.

    `on_decided` hears of each accepted approve (True) and reject: the ticket's number, and which it was. `late` holds
    what is still to take effect.
    """

    def __init__(self, config: SimulatorConfig, *, url_base: str, clock: Callable[[], float], rng: Random) -> None:
        self.config = config
        self.url_base = url_base
        self.clock = clock
        self._rng = rng
        self.faults = FaultSource(config.faults, rng)
        self.queues = {
            name: FifoQueue(config.queue, salt=f"{name} {config.seed}".encode()) for name in set(INSTANCES.values())
        }
        self.ledger = Ledger(self.queues.values(), self.faults.counts)
        self.systems = {
            name: TicketSystem(
                client_name=config.client_name,
                groups=config.groups,
                refusal_status=config.refusal_status,
                ledger=self.ledger,
            )
            for name in self.queues
        }
        self.files = FileStore(self.ledger)
        self.late: LateRequests[HttpRequest] = LateRequests()
        self.on_decided: Callable[[str, bool], None] = lambda number, approved: None

    def send(self, message: QueueMessage, env: str | None = None) -> QueueMessage:
        """Put a message into an environment's queue and give it as it will be delivered."""
        instance = INSTANCES[env or self.config.env]
        ticket = self.systems[instance].learn(message)
        if self.config.reflect_numbers and ticket.client_number:
            message = _reflect_number(message, ticket.client_number)
        self.ledger.sent += 1
        return self.queues[instance].send(message, self.clock())

    def send_raw(self, raw: RawMessage, env: str | None = None) -> QueueMessage:
        """Put a message into a queue just as it stands; its group is what MessageGroupId (or …ID) says."""
        group = raw.Attributes.get("MessageGroupId", raw.Attributes.get("MessageGroupID", ""))
        return self.send(
            QueueMessage(
                message_id=raw.MessageId or self._make_id(),
                group=str(group),
                body=bytes(raw.Body),
                attributes=raw.Attributes,
                md5=raw.MD5OfBody,
            ),
            env,
        )

    def answer(self, request: HttpRequest) -> Reply:
        """Answer one request, or let it suffer the fault that is due."""
        self.ledger.record_started()
        for late in self.late.take_due(self.clock()):
            self._announce_unheard(late, self._apply(late, _find_lane(late.path)))
        lane = _find_lane(request.path)
        fault = self.faults.draw_call(lane)
        delay = self.faults.draw_latency(lane)
        match fault:
            case Fault.ERROR_BEFORE:
                return _fail(self.faults, delay)
            case Fault.THROTTLE:
                body = b'{"message": "Too Many Requests"}'
                return Reply(status=429, body=body, delay=delay, retry_after=self.faults.plan.retry_after)
            case Fault.HANG:
                return Reply(status=504, dropped=True, delay=self.faults.plan.hang_seconds)
            case Fault.LATE:
                self.late.put(request, self.clock() + self.faults.draw_lateness())
                return Reply(status=504, dropped=True, delay=self.faults.plan.hang_seconds)
            case _:
                reply = self._apply(request, lane)
        if fault is not None:
            self._announce_unheard(request, reply)
        match fault:
            case Fault.LOST:
                return msgspec.structs.replace(reply, dropped=True, delay=delay)
            case Fault.ERROR_AFTER:
                return _fail(self.faults, delay)
            case Fault.GARBAGE:
                return Reply(status=200, body=GARBAGE, content_type="text/html", delay=delay)
            case _:
                return msgspec.structs.replace(reply, delay=delay) if delay else reply

    def record_answered(self) -> None:
        """Note that a request's answer left, was dropped, or that its client went away."""
        self.ledger.record_ended()

    def _apply(self, request: HttpRequest, lane: CallKind) -> Reply:
        now = self.clock()
        if lane is CallKind.FILES:
            self.ledger.calls["file"] += 1
            reply = self.files.answer(request, now)
            operation = "file"
        else:
            operation, reply = self._route(request, now)
        if reply.refused:
            self.ledger.refused[operation] += 1
        return reply

    def _route(self, request: HttpRequest, now: float) -> tuple[str, Reply]:
        """Go by client, environment and resource, which are all case-sensitive (R7), then by key."""
        segments = request.path.split("/")[1:]
        client, env, resource = [*segments, "", "", ""][:3]
        parts = segments[3:]
        if client != self.config.client:
            return "unrouted", FORBIDDEN
        if env not in INSTANCES or resource not in ("queue", "tickets") or (env, resource) == ("echo", "queue"):
            return "unrouted", MISSING_TOKEN
        if request.headers.get("x-api-key") != self.config.api_key:
            return "unrouted", FORBIDDEN
        if resource == "queue":
            return self._call_queue(request, INSTANCES[env], parts, now)
        return self._call_tickets(request, env, [unquote(part) for part in parts], now)

    def _call_queue(self, request: HttpRequest, instance: str, parts: list[str], now: float) -> tuple[str, Reply]:
        if request.method == "GET" and not parts:
            self.ledger.calls["receive"] += 1
            deliveries = self.queues[instance].receive(now)
            self.ledger.record_deliveries(deliveries)
            self.ledger.calls["receive_empty"] += not deliveries
            return "receive", give_messages(deliveries, self._make_id())
        if request.method == "DELETE" and parts:
            self.ledger.calls["delete"] += 1
            # A handle that was not encoded falls apart at its slashes and turns its plus signs into spaces.
            return "delete", self._delete(self.queues[instance], unquote_plus("/".join(parts)), len(parts) == 1, now)
        return "unrouted", MISSING_TOKEN

    def _delete(self, queue: FifoQueue, handle: str, whole: bool, now: float) -> Reply:
        outcome = queue.check(handle, now) if whole else HandleOutcome.INVALID
        fault = self.faults.draw_delete() if outcome is HandleOutcome.DELETED else None
        if outcome is HandleOutcome.INVALID:
            return refuse_invalid(handle, self._make_id(), self.config.refusal_status)
        if outcome is HandleOutcome.EXPIRED or fault is QueueFault.EXPIRED_HANDLE:
            return refuse_expired(handle, self._make_id(), self.config.refusal_status)
        if fault is not QueueFault.UNDELETED:
            deletion = queue.delete(handle, now)
            if deletion.removed is not None:
                self.ledger.record_deleted(deletion.removed.message)
            if fault is QueueFault.DUPLICATE:
                queue.put_back(deletion)
        return give_deleted(self._make_id())

    def _call_tickets(self, request: HttpRequest, env: str, parts: list[str], now: float) -> tuple[str, Reply]:
        system = self.systems[INSTANCES[env]]
        operation = "update"
        match request.method, parts:
            case "POST", []:
                operation = "create"
                reply = system.create(request.body)
            case "PUT", [number]:
                reply = system.call("", number, request.body)
            case "PUT", [number, operation]:
                reply = system.call(operation, number, request.body)
            case "GET", [number] if INSTANCES[env] == "dev":
                operation, reply = "show", system.show(number)
            case "GET", [number, "attachments", name]:
                operation = "attachments"
                reply = system.accepts_files(number) or self._offer_upload(number, name, now)
            case (("GET" | "PUT" | "POST"), _):
                operation, reply = "unrouted", refuse({"Response": BAD_PATH}, self.config.refusal_status)
            case _:
                operation, reply = "unrouted", MISSING_TOKEN
        if not reply.refused:
            self.ledger.calls[operation] += 1
            if operation in ("approve", "reject"):
                self.on_decided(parts[0], operation == "approve")
            if env == "echo" and request.method != "GET":
                number = _read_number(reply) if operation == "create" else parts[0]
                self._mirror(request, operation, system.tickets[number])
        return operation, reply

    def _offer_upload(self, number: str, name: str, now: float) -> Reply:
        url = self.files.open_slot(self.url_base, number, name, now)
        if url is None:
            return refuse({"Response": BAD_PATH}, self.config.refusal_status)
        return give_json({"Response": {"code": 200, "body": url}})

    def _mirror(self, request: HttpRequest, operation: str, ticket: Ticket) -> None:
        """Send an echoed call to the dev queue, incidents and requests only (R8-R10)."""
        if ticket.kind == "Change":
            return
        payload = open_texts(msgspec.json.decode(request.body)["payload"])
        for message in mirror_call(operation, ticket, payload, self.config.client_name, rng=self._rng):
            self.send(message, "dev")

    def _announce_unheard(self, request: HttpRequest, reply: Reply) -> None:
        """Let ReturnEnsonoNum follow a create whose answer the client does not get (R74, R97)."""
        if request.method != "POST" or reply.refused:
            return
        env = request.path.split("/")[2]
        ticket = self.systems[INSTANCES[env]].tickets[_read_number(reply)]
        self.send(announce_number(ticket, self.config.client_name, self._rng), env)

    def _make_id(self) -> str:
        return str(uuid.UUID(int=self._rng.getrandbits(128), version=4))


def _fail(faults: FaultSource, delay: float) -> Reply:
    return Reply(status=faults.draw_server_error(), body=b'{"message": "Internal server error"}', delay=delay)


def _find_lane(path: str) -> CallKind:
    if path.startswith("/s3/"):
        return CallKind.FILES
    return CallKind.QUEUE if path.split("/", 4)[3:4] == ["queue"] else CallKind.TICKETS


def _read_number(created: Reply) -> str:
    return str(msgspec.json.decode(created.body)["Response"])


def _reflect_number(message: QueueMessage, number: str) -> QueueMessage:
    """Write the client's number into a message, as Ensono does once returnptn was applied."""
    body = msgspec.json.decode(message.body)
    if not isinstance(body, dict):
        return message
    body["clientTicketNumber"] = number
    attributes = {**message.attributes, "ClientReferenceAvailable": True}
    return msgspec.structs.replace(message, body=msgspec.json.encode(body), attributes=attributes)
