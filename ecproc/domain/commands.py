"""What the client wants done at Ensono's: commands as they were accepted, and the facts that link two streams."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Final

import msgspec

from ecproc.domain.ids import ClientNumber, EffectKey, TicketNumber


class CommandKind(StrEnum):
    """The closed set of commands, in the words of the command line."""

    CREATE = "create"
    UPDATE = "update"
    NOTE = "note"
    RESOLVE = "resolve"
    CLOSE = "close"
    CANCEL = "cancel"
    ATTACH = "attach"
    APPROVE = "approve"
    REJECT = "reject"
    RETURN_NUMBER = "return-number"


RESOLVE_FIRST: Final = "resolveFirst"
"""The one member of a command's fields that is none of the guide's: a close that resolves the ticket before (R80)."""


class Comment(msgspec.Struct, frozen=True, omit_defaults=True, rename="camel"):
    """A comment in the guide's members (R115). `key` is what the client knows it by: a comment is sent once (R117)."""

    body: str
    key: str = ""
    commenter: str = ""
    commenter_email: str = ""
    commenter_phone: str = ""
    comment_time: str = ""

    @property
    def signature(self) -> tuple[str, ...]:
        """What Ensono appends to the body, where it is given."""
        given = (self.commenter, self.comment_time, self.commenter_email, self.commenter_phone)
        return tuple(text for text in given if text)


class CommandAccepted(msgspec.Struct, frozen=True):
    """A person or the client's system wants this done; it was found possible, and will be tried.

    It stands in the ticket's stream; a create in `client:{number}`. `fields` and `comments` are texts as people wrote
    them, under the guide's names; `key` is that of its first effect; `digest` tells its whole request from others under
    the same key.
    """

    key: EffectKey
    command: CommandKind
    who: str = ""
    fields: Mapping[str, str] = {}
    comments: tuple[Comment, ...] = ()
    digest: str = ""


class ClientLinked(msgspec.Struct, frozen=True):
    """In the stream of Ensono's ticket: it is the one that our create, under that key, asked for (decision 11).

    `ticket` is Ensono's number, `number` ours; `fields` and `comments` are what the create told.
    """

    ticket: TicketNumber
    number: ClientNumber
    ticket_type: str
    key: EffectKey
    fields: Mapping[str, str] = {}
    comments: tuple[Comment, ...] = ()


class EnsonoNumberReturned(msgspec.Struct, frozen=True):
    """In `client:{number}`: the message at that position, of that stream, names our number for Ensono's ticket."""

    ticket: TicketNumber
    stream: str
    position: int


class KnownCommand(msgspec.Struct, frozen=True, omit_defaults=True):
    """An accepted command as its stream knows it.

    `at` is microseconds UTC; `entries` are the keys of its effects, which stand in the outbox once our number is known;
    `approval` is what it answers; `refused` says why it leads to nothing, `answer` that there was nothing to do.
    """

    key: EffectKey
    command: CommandKind
    at: int
    order: int
    who: str = ""
    digest: str = ""
    ticket: str = ""
    client_ticket: str = ""
    entries: tuple[EffectKey, ...] = ()
    approval: str = ""
    refused: str = ""
    answer: str = ""


_encode = msgspec.json.Encoder().encode


_decode = msgspec.json.Decoder(tuple[Comment, ...]).decode


def decode_comments(fields: Mapping[str, str]) -> tuple[Comment, ...]:
    """The comments that an effect's fields carry."""
    return _decode(fields["comments"]) if "comments" in fields else ()


def encode_comments(comments: Iterable[Comment]) -> str:
    """Comments as an effect's fields carry them: a JSON array, without what only we know them by."""
    return _encode([msgspec.structs.replace(comment, key="") for comment in comments]).decode()
