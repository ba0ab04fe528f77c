"""A scripted ticket: what Ensono sends about it, and what must stand in the client's books afterwards."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from itertools import pairwise
from random import Random
from typing import Any, Final

import msgspec

from ecproc.simulator.announce import SENDER
from ecproc.simulator.files import File, locate
from ecproc.simulator.presigned import CHANGE_LIFETIME, INCIDENT_LIFETIME, sign_url
from ecproc.simulator.queue import QueueMessage
from ecproc.simulator.texts import FILES, PEOPLE, write_note


class ExpectedFile(msgspec.Struct, frozen=True):
    """An attachment as it must be stored."""

    id: str
    name: str
    type: str
    size: int
    sha256: str


class Expected(msgspec.Struct, frozen=True, kw_only=True):
    """What a ticket's document must show once its whole life was received, in the outer contract's words.

    It follows from the script alone. `history` holds the `to` of each entry. `client_tickets` counts the client's own
    tickets over all generations, `returnptn` the different numbers that must have been returned; an adopted number
    needs none. `fields` are a subset that must hold, `anomalies` the codes in any order.
    """

    ticket: str
    type: str
    state: str
    history: tuple[str, ...]
    generation: int
    client_tickets: int
    returnptn: int
    adopted_number: str | None
    notes: tuple[str, ...]
    files: tuple[ExpectedFile, ...]
    approvals: tuple[str, ...]
    fields: dict[str, str]
    anomalies: tuple[str, ...]

    def differences(self, document: Mapping[str, Any] | None) -> list[str]:
        """Where a ticket's document, if it has one, is not what the script leads to, each in words; empty if it is.

        Nothing may be left to do either: every client ticket's number is returned, every file stored, every effect
        completed.
        """
        if document is None:
            return ["it has no document"]
        expected, shown = self._facts(), self._read(document)
        return [f"{name} {shown[name]!r}, not {fact!r}" for name, fact in expected.items() if shown[name] != fact]

    def _facts(self) -> Mapping[str, object]:
        return {
            "type": self.type,
            "state": self.state,
            "history": [*pairwise([None, *self.history])],
            "generation": self.generation,
            "client tickets": [(generation, True) for generation in range(1, self.client_tickets + 1)],
            "client ticket": True,
            "notes": list(self.notes),
            "files": [(file.id, file.name, file.type, file.size, file.sha256, "stored") for file in self.files],
            "approvals": list(self.approvals),
            "fields": self.fields,
            "anomalies": sorted(self.anomalies),
            "effects left": set(),
        }

    def _read(self, document: Mapping[str, Any]) -> Mapping[str, object]:
        """The same out of a document."""
        tickets, files = document["client_tickets"], document["attachments"]
        return {
            "type": document["type"],
            "state": document["state"],
            "history": [(step["from"], step["to"]) for step in document["history"]],
            "generation": document["generation"],
            "client tickets": [(known["generation"], known["returned"]) for known in tickets],
            "client ticket": document["client_ticket"] == (tickets[-1]["number"] if tickets else None),
            "notes": [note["id"] for note in document["notes"]],
            "files": [tuple(file[name] for name in _OF_FILE) for file in files],
            "approvals": [approval["id"] for approval in document["approvals"]],
            "fields": {name: document["fields"].get(name) for name in self.fields},
            "anomalies": sorted(anomaly["code"] for anomaly in document["anomalies"]),
            "effects left": {effect["state"] for effect in document["effects"]} - {"completed"},
        }


_OF_FILE: Final = ("id", "name", "type", "size", "sha256", "status")


class Sequel(msgspec.Struct, frozen=True, kw_only=True):
    """How a life goes on after the client's answer, and what must stand in its books then."""

    messages: tuple[QueueMessage, ...]
    outcome: Expected


class ScriptedLife(msgspec.Struct, frozen=True, kw_only=True):
    """One ticket from its first message to its last; `story` names the plot, `files` are what its URLs lead to.

    One that asks the client waits behind `messages` for its first answer: `approved` or `rejected` is what follows.
    """

    story: str
    ticket: str
    messages: tuple[QueueMessage, ...]
    files: tuple[File, ...]
    outcome: Expected
    approved: Sequel | None = None
    rejected: Sequel | None = None


class Setting(msgspec.Struct, frozen=True, kw_only=True):
    """What all lives of one run share: pre-signed URLs start at `base_time_ms` on `url_base`."""

    rng: Random
    base_time_ms: int
    url_base: str
    client_name: str


class Script:
    """Writes one ticket's messages and keeps its expected outcome beside them."""

    def __init__(self, world: Setting, *, ticket: str, kind: str, client_number: str = "") -> None:
        self.rng = world.rng
        self.ticket = ticket
        self.kind = kind
        self.history: list[str] = []
        self.generation = 1
        self.created = 0
        self.notes: list[str] = []
        self.approvals: list[str] = []
        self.anomalies: list[str] = []
        self.known: dict[str, str] = {}
        self._world = world
        self._client_number = client_number
        self._seconds = world.base_time_ms // 1000 - self.rng.randrange(3600, 40 * 3600)
        self._messages: list[QueueMessage] = []
        self._files: list[File] = []

    def identity(self) -> dict[str, object]:
        """Give the members that every body carries."""
        return {
            "clientName": self._world.client_name,
            "ticketNumber": self.ticket,
            "clientTicketNumber": self._client_number,
            "ticketType": self.kind,
        }

    def tell_time(self, *, later: int = 0) -> str:
        """Give the ticket's own time as the guide writes it."""
        return f"{datetime.fromtimestamp(self._seconds + later, UTC):%Y-%m-%dT%H:%M:%SZ}"

    def say(self, transaction: str, body: Mapping[str, object], *, md5: bool = True) -> None:
        """Send one message; some minutes pass afterwards."""
        text = msgspec.json.encode(body)
        message_id = str(uuid.UUID(int=self.rng.getrandbits(128), version=4))
        attributes: dict[str, object] = {
            "SenderId": SENDER,
            "MessageDeduplicationId": hashlib.sha256(message_id.encode()).hexdigest(),
            "MessageGroupId": self.ticket,
            "ClientReferenceAvailable": bool(self._client_number),
            "TransactionType": transaction,
        }
        digest = hashlib.md5(text, usedforsecurity=False).hexdigest() if md5 else None
        self._messages.append(
            QueueMessage(message_id=message_id, group=self.ticket, body=text, attributes=attributes, md5=digest)
        )
        self._seconds += self.rng.randrange(30, 900)

    def enter(self, state: str) -> None:
        """Expect one more entry in the history, unless the ticket is there already."""
        if not self.history or self.history[-1] != state:
            self.history.append(state)

    def make_id(self) -> str:
        """Give a sys_id."""
        return f"{self.rng.getrandbits(128):032x}"

    def write_note(self) -> dict[str, str]:
        """Give a new comment and expect it to be kept."""
        name, email = self.rng.choice(PEOPLE)
        note = {"type": "comment", "id": self.make_id(), "body": write_note(self.rng)}
        self.notes.append(note["id"])
        return {**note, "commenter": name, "commenterEmail": email}

    def attach(self, group: str) -> None:
        """Send a public attachment: a few KB that are served until the pre-signed URL's end (R73, R167)."""
        change = self.kind == "Change"
        name, content_type, magic = self.rng.choice(FILES)
        content = magic + self.rng.randbytes(self.rng.randrange(1_000, 6_000))
        file = File(self.make_id(), name, content_type, content)
        self._files.append(file)
        url = sign_url(
            self._world.url_base,
            locate(file.id, name),
            signed_at=self._world.base_time_ms / 1000,
            lifetime=CHANGE_LIFETIME if change else INCIDENT_LIFETIME,
        )
        host = "envisiontest.service-now.com" if change else "envisiontest.servicenow.com"
        body = {
            **self.identity(),
            "attachmentName": name,
            "attachmentInfo": f"https://{host}/api/now/attachment/{file.id}",
            "attachmentSize": str(len(content)),
            "attachmentType": content_type,
            "attachment": url,
            "group": group,
        }
        self.say("Attachment", body, md5=not change)

    def finish(self, story: str) -> ScriptedLife:
        """Close the script."""
        adopted = self._client_number or None
        outcome = Expected(
            ticket=self.ticket,
            type=self.kind,
            state=self.history[-1],
            history=tuple(self.history),
            generation=self.generation,
            client_tickets=self.created + (adopted is not None),
            returnptn=self.created,
            adopted_number=adopted,
            notes=tuple(self.notes),
            files=tuple(_describe_file(file) for file in self._files),
            approvals=tuple(self.approvals),
            fields={name: value for name, value in self.known.items() if value},
            anomalies=tuple(self.anomalies),
        )
        return ScriptedLife(
            story=story,
            ticket=self.ticket,
            messages=tuple(self._messages),
            files=tuple(self._files),
            outcome=outcome,
        )


def _describe_file(file: File) -> ExpectedFile:
    return ExpectedFile(file.id, file.name, file.type, len(file.content), hashlib.sha256(file.content).hexdigest())
