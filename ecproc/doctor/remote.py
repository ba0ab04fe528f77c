"""Our tickets beside Ensono's, where those can be read: in dev and echo (R124, R236)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import Final

import anyio
import msgspec

from ecproc.bridge.base import Bridge, Request
from ecproc.domain import incident
from ecproc.domain.events import TicketType
from ecproc.domain.incident import parse_state
from ecproc.errors import BridgeRefused, BridgeUnavailable
from ecproc.reading.mismatches import Mismatch, MismatchCode
from ecproc.store.base import Reader
from ecproc.wire.requests import show_ticket
from ecproc.wire.responses import Verdict, judge_answer
from ecproc.wire.shown import read_shown

AT_ONCE: Final = 4
"""Tickets that are asked for at the same time."""
_TYPES: Final = frozenset({TicketType.INCIDENT.value, TicketType.REQUEST.value})
"""What can be read: changes have no such call (R12)."""
_FINAL: Final = frozenset(map(str, incident.FINAL))
_SHOWN: Final = 60


class LocalTicket(msgspec.Struct, frozen=True):
    """A ticket as we have it, as far as the live rows' header tells."""

    ticket: str | None = None
    type: str | None = None
    state: str | None = None
    client_ticket: str | None = None
    updated_at: str | None = None
    fields: Mapping[str, str] = {}


_decode = msgspec.json.Decoder(LocalTicket).decode


async def list_remote_differences(reader: Reader, bridge: Bridge) -> AsyncIterator[Mismatch]:
    """What Ensono has otherwise of each ticket that has not come to its end. Raises BridgeUnavailable, and
    BridgeRefused where every call would be refused."""
    async for page in reader.scan_rows("ticket"):
        known = [ticket for row in page if _can_be_read(ticket := _decode(row.data or b"{}"))]
        for first in range(0, len(known), AT_ONCE):
            for found in await _ask_some(bridge, known[first : first + AT_ONCE]):
                yield found


def compare_shown(ours: LocalTicket, body: bytes) -> Iterator[Mismatch]:
    """What differs between our ticket and the answer that shows Ensono's. Only what both sides fill in is compared: an
    empty field says nothing of what somebody wanted."""
    shown = read_shown(body)
    if shown is None:
        yield _describe(ours, "the answer shows no ticket", "see whether the bridge's answer is as the guide has it")
        return
    for name, theirs in shown.items():
        mine = _read_own(ours, name)
        if mine and _fold(name, mine) != _fold(name, theirs):
            detail = f"{name} is {_cut(theirs)!r} at Ensono's, and {_cut(mine)!r} here"
            hint = f"see ecproc show {ours.ticket}: a message may be on its way; else send what is right, or ask Ensono"
            yield _describe(ours, detail, hint)


async def _ask_some(bridge: Bridge, tickets: Sequence[LocalTicket]) -> list[Mismatch]:
    """What differs in these, in their order."""
    found: list[list[Mismatch]] = [[] for _ in tickets]
    failed: list[BridgeUnavailable | BridgeRefused] = []

    async def ask(place: int, ours: LocalTicket) -> None:
        try:
            found[place] = await _ask(bridge, ours)
        except (BridgeUnavailable, BridgeRefused) as error:
            failed.append(error)

    async with anyio.create_task_group() as tasks:
        for place, ours in enumerate(tickets):
            tasks.start_soon(ask, place, ours)
    if failed:
        raise failed[0]
    return [each for some in found for each in some]


async def _ask(bridge: Bridge, ours: LocalTicket) -> list[Mismatch]:
    call = show_ticket(ours.ticket or "")
    answer = await bridge.send(Request(call.method, call.path, repeatable=True))
    if read_shown(answer.body) is not None:
        return list(compare_shown(ours, answer.body))
    judgement = judge_answer(answer.status, answer.body)
    match judgement.verdict:
        case Verdict.MISCONFIGURED:
            raise BridgeRefused(judgement.text, help=judgement.hint)
        case Verdict.TROUBLE | Verdict.TIMED_OUT:
            raise BridgeUnavailable("answer", judgement.text, sent=True)
        case _:
            hint = "ask Ensono whether the ticket is still there, and whether it belongs to this environment"
            return [_describe(ours, f"Ensono does not show it: {judgement.text}", hint)]


def _can_be_read(ours: LocalTicket) -> bool:
    return ours.ticket is not None and ours.type in _TYPES and ours.state not in _FINAL


def _read_own(ours: LocalTicket, name: str) -> str:
    match name:
        case "status":
            return ours.state or ""
        case "clientTicketNumber":
            return ours.client_ticket or ""
        case _:
            return ours.fields.get(name, "").strip()


def _fold(name: str, text: str) -> str:
    """The text as it is compared: states by their meaning, and white space aside."""
    if name == "status":
        return str(parse_state(text) or text.strip().lower())
    return " ".join(text.split())


def _cut(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def _describe(ours: LocalTicket, detail: str, hint: str) -> Mismatch:
    return Mismatch(MismatchCode.REMOTE_DIFFERS, ours.ticket, detail, ours.updated_at, hint)
