"""The numbers and keys everything is called by."""

from __future__ import annotations

from hashlib import sha256
from typing import Final, NewType

TicketNumber = NewType("TicketNumber", str)
"""Ensono's number, exactly as on the wire (`e-CS0879727`): paths need every character of it."""
ClientNumber = NewType("ClientNumber", str)
"""The number the client's own ITSM gave."""
MessageId = NewType("MessageId", str)
EffectKey = NewType("EffectKey", str)
"""An effect's permanent idempotency key."""

_PLACEHOLDERS: Final = frozenset(
    {"", "null", "none", "nil", "nan", "undefined", "n/a", "na", "n.a", "0", "true", "false", "object object"}
)
_LONGEST_PLACEHOLDER: Final = 20
_AROUND: Final = "\"'()[]<>{} -–—._?"
_UNREADABLE: Final = "\ufffd"
_BLANK: Final = "".join(chr(code) for code in range(0x3001) if chr(code).isspace()) + (
    "\x00\xad\u180e\u200b\u200c\u200d\u2060\ufeff"
)

SEQUENCE_BYTES: Final = 16
NO_SEQUENCE: Final = bytes(SEQUENCE_BYTES)
"""What stands for an absent SequenceNumber."""
_VARIANT: Final = b"\xff"
_VARIANT_BYTES: Final = 16


def identity(text: str | None) -> str:
    """The text where it names something; empty where it only fills the place of a name (decision 21), or where a part
    of it could not be read: two names must not become one."""
    bare = (text or "").strip(_BLANK)
    if len(bare) <= _LONGEST_PLACEHOLDER and bare.strip(_AROUND).lower() in _PLACEHOLDERS:
        return ""
    return "" if _UNREADABLE in bare else bare


UNGROUPED: Final = "ungrouped"
"""The stream of messages that name neither a group nor a ticket."""
CLIENT_PREFIX: Final = "client:"
"""What the streams of our own creates are called by (decision 11)."""
SHELTER_PREFIX: Final = "bridge:"
"""Begins the stream of messages whose group has a name that streams of our own have."""
_RESERVED: Final = (SHELTER_PREFIX, CLIENT_PREFIX, "job:", "oncall:", "pe:", "$")


def is_reserved(group: str) -> bool:
    """Whether a queue message of that group must not stand in a stream of that name: it is one of our own."""
    return group == UNGROUPED or group.startswith(_RESERVED)


def message_key(sequence: bytes, message_id: str) -> bytes:
    """The dedupe key of a message: redelivery repeats both parts, and inserts stay monotone."""
    return sequence + message_id.encode()


def variant_key(key: bytes, body: bytes) -> bytes:
    """The key of a message that has another's key and this body: behind a byte that no MessageId holds its hash."""
    return key + _VARIANT + sha256(body).digest()[:_VARIANT_BYTES]


def split_key(key: bytes) -> tuple[str, bool]:
    """The MessageId in a dedupe key, and whether the message has another body than the first of that key."""
    named, variant, _ = key[SEQUENCE_BYTES:].partition(_VARIANT)
    return named.decode("utf-8", "replace"), bool(variant)


def normalise_number(number: str) -> str:
    """A ticket number for look-ups: upper case, without Ensono's `e-` (C27)."""
    return number.strip().upper().removeprefix("E-")


def create_key(ticket: str, generation: int) -> EffectKey:
    """Key of the client ticket's creation: one per generation."""
    return EffectKey(f"create:{ticket}:g{generation}")


def is_create_key(key: str) -> bool:
    """Whether a client ticket may have been created under that key: as a generation's first, or by a re-open."""
    return key.startswith(("create:", "reopen:"))


def return_key(ticket: str, number: str) -> EffectKey:
    """Key of returning one client number to Ensono."""
    return EffectKey(f"returnptn:{ticket}:{number}")


def note_key(ticket: str, note_id: str) -> EffectKey:
    """Key of handing one note to the desk."""
    return EffectKey(f"note:{ticket}:{note_id}")


def attachment_key(ticket: str, attachment_id: str) -> EffectKey:
    """Key of one download."""
    return EffectKey(f"att:{ticket}:{attachment_id}")


def attach_key(ticket: str, attachment_id: str, generation: int, tag: str = "") -> EffectKey:
    """Key of handing one stored file to the client ticket of a generation, or to the one of that `tag`."""
    return EffectKey(f"attach:{ticket}:{attachment_id}:{tag or f'g{generation}'}")


def message_effect_key(verb: str, ticket: str, message_id: str) -> EffectKey:
    """Key of what one message does to the client ticket (`upd`, `resolve`, `close`, `reopen`, …)."""
    return EffectKey(f"{verb}:{ticket}:{message_id}")


def generation_key(verb: str, ticket: str, generation: int) -> EffectKey:
    """Key of what ends a generation (`close`, `cancel`)."""
    return EffectKey(f"{verb}:{ticket}:g{generation}")


def client_stream(number: str) -> str:
    """The stream in which the client ticket of that number is opened at Ensono's."""
    return CLIENT_PREFIX + number


def client_create_key(number: str) -> EffectKey:
    """Key of opening our ticket at Ensono's: one for ever (R96)."""
    return EffectKey(f"ec-create:{number}")


def command_key(verb: str, ticket: str, turn: int) -> EffectKey:
    """Key of what Ensono's ticket goes through once each time it is worked on (`resolve`, `close`, `cancel`)."""
    return EffectKey(f"ec-{verb}:{ticket}:{turn}")


def decision_key(ticket: str, generation: int) -> EffectKey:
    """Key of approving or rejecting a change: only the first answer of a generation counts (R177)."""
    return EffectKey(f"decision:{ticket}:g{generation}")


def upload_key(ticket: str, sha256: str, name: str) -> EffectKey:
    """Key of handing a file to Ensono: by content and name."""
    return EffectKey(f"ec-att:{ticket}:{sha256}:{name}")
