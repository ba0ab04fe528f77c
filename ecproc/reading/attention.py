"""What waits for a person, over all streams, and what a person should know of those at Ensono."""

from __future__ import annotations

from typing import Final

import msgspec

from ecproc.domain.state import ApprovalState
from ecproc.fold.recorded import Kind, decode_entry
from ecproc.reading.waiting import find_passed_over, look_around
from ecproc.store.base import Reader
from ecproc.wire.payload import attributes_of

_SENDER: Final = "senderid"


class Attention(msgspec.Struct, frozen=True):
    """How much waits for a person: messages in quarantine, entries that came to a bad end, streams that are parked; and
    what is paused, which somebody wanted."""

    quarantined: int
    dead: int
    parked: tuple[str, ...] = ()
    paused: tuple[str, ...] = ()


class Approver(msgspec.Struct, frozen=True):
    """Somebody who is asked to approve a change, as Ensono names him."""

    stream: str
    name: str
    email: str


class _Asked(msgspec.Struct):
    name: str
    email: str
    state: str


_decode_asked = msgspec.json.Decoder(_Asked).decode


async def read_attention(reader: Reader) -> Attention:
    """What waits for a person now."""
    around = await look_around(reader)
    quarantined = sum([len(page) async for page in reader.scan_rows("quarantine")])
    dead = 0
    async for page in reader.scan_rows("outbox", tagged=True):
        dead += sum(decode_entry(row.data or b"").is_dead_letter for row in page)
    parked = [
        stream for stream in sorted(around.undecided) if await find_passed_over(reader, stream, around) is not None
    ]
    return Attention(quarantined, dead, tuple(parked), tuple(sorted(around.paused)))


async def list_lost_approvers(reader: Reader) -> list[Approver]:
    """Whoever is asked for an approval and has no e-mail address, by which alone an answer could name him (R171)."""
    return [
        Approver(row.stream, asked.name, asked.email)
        async for page in reader.scan_rows("approval")
        for row in page
        if (asked := _decode_asked(row.data or b"")).state == ApprovalState.REQUESTED and "@" not in asked.email
    ]


async def list_senders(reader: Reader, *, newest: int) -> dict[str, int]:
    """Who sent the messages among the log's newest events, so many of them, as their SenderId says (R43), each with the
    position of the last one."""
    head = (await reader.head()).position
    found: dict[str, int] = {}
    async for page in reader.read_log(after=max(head - newest, 0), until=head):
        for event in page:
            if event.kind == Kind.MESSAGE_RECEIVED and (sender := _read_sender(event.payload)):
                found[sender] = event.position
    return found


def _read_sender(payload: bytes) -> str:
    for name, value in attributes_of(payload).items():
        if name.replace(" ", "").lower() == _SENDER:
            return value.strip(b'"').decode("utf-8", "replace")
    return ""
