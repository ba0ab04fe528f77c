"""Steering what is stuck: outbox entries, messages in quarantine, what is paused. An act is an event with who and why.

Retrying passes the natural keys and keeps the lane's order: nothing is done twice that was done (decisions 8, 10).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Sequence
from typing import Final, Protocol

import msgspec

from ecproc.commands.linking import LinkPair, LinkReport, import_links
from ecproc.domain.effects import EffectKind, Lane, is_superseded
from ecproc.domain.entry import Entry, EntryState
from ecproc.domain.events import PAUSED_TICKET, Act, OperatorActed
from ecproc.domain.ids import EffectKey, split_key
from ecproc.domain.log import Batch, NewEvent
from ecproc.errors import EcprocError
from ecproc.fold.control import CONTROL_STREAM
from ecproc.fold.machine import Machines
from ecproc.fold.recorded import Kind, Release, decode_entry, encode_event, encode_release
from ecproc.reading.documents import find_stream
from ecproc.reading.entries import EntryFilter, find_entry, scan_entries, search_entry
from ecproc.reading.quarantine import QuarantineRow, find_quarantined, try_again
from ecproc.store.base import Reader

RETRIED: Final = frozenset({EntryState.PARKED, EntryState.DISCARDED, EntryState.RETRYABLE})
"""States in which a filter that names none finds what to retry: dead, or waiting for its next try."""
DISCARDED: Final = frozenset({EntryState.PARKED, EntryState.RETRYABLE, EntryState.UNKNOWN, EntryState.AVAILABLE})
"""States in which it finds what to discard."""
_STEPS: Final = (1, 2, 5)
_TENFOLD: Final = 10


class NotPossible(EcprocError):
    """It cannot be done as things stand; nothing was recorded."""

    def __init__(self, reason: str, *, hint: str = "") -> None:
        super().__init__(reason)
        self.hint = hint


class NotFound(NotPossible):
    """What was named is not there."""


class EntriesWanted(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """Which entries are meant: all that have these, where they are given. Of a reason a part is enough, a ticket goes
    by either number."""

    state: EntryState | None = None
    lane: Lane | None = None
    kind: EffectKind | None = None
    ticket: str | None = None
    reason: str | None = None


class Person(msgspec.Struct, frozen=True):
    """Who wants it and why."""

    who: str
    note: str = ""


class SteeredEntry(msgspec.Struct, frozen=True):
    """What became of one entry: its state after the act, or after the attempt where that was waited for; `refused`
    says why nothing was recorded."""

    key: str
    ticket: str
    kind: str
    state: str
    reason: str = ""
    refused: str = ""


class Acting(Protocol):
    """Whoever has the log: a running processor, or a command that took the data directory."""

    async def act(self, stream: str, entry: Entry, acted: OperatorActed) -> bool:
        """Record an act on an entry; False, with nothing recorded, while the entry is being tried."""

    async def wait_tried(self, stream: str, entry: Entry) -> None:
        """Return when an attempt has ended since the entry stood like this. Raises NotPossible where none will."""

    async def submit(self, batch: Batch) -> None:
        """Append facts, and return when they are decided or their tickets parked."""

    def parked_by(self, stream: str) -> str | None:
        """What stopped the ticket; None if it is not parked."""

    async def take_up(self, stream: str) -> bool:
        """Go on with a parked ticket; False where it is parked again."""


class Steering:
    """What a person can do about what is stuck. `pausable` are the destinations there are."""

    def __init__(self, reader: Reader, acting: Acting, *, machines: Machines, pausable: Collection[str]) -> None:
        self._reader = reader
        self._acting = acting
        self._machines = machines
        self._pausable = pausable

    # --- entries ---

    async def find_entries(self, keys: Sequence[str]) -> list[tuple[str, Entry]]:
        """The entries of these keys with their streams. Raises NotFound."""
        found = []
        for key in keys:
            row = await find_entry(self._reader, key) or await search_entry(self._reader, key)
            if row is None:
                raise NotFound(f"no outbox entry has the key {key!r}", hint="ecproc outbox list --all shows the keys")
            found.append((row.stream, decode_entry(row.data or b"")))
        return found

    async def list_entries(self, act: Act, wanted: EntriesWanted, *, limit: float | None) -> list[tuple[str, Entry]]:
        """The entries that are wanted for that act, by stream in planned order. Raises NotFound."""
        meant = EntryFilter(
            state=wanted.state,
            lane=wanted.lane,
            kind=wanted.kind,
            stream=None if wanted.ticket is None else await self._find_ticket(wanted.ticket),
            reason=wanted.reason,
            unfinished=True,
        )
        states = {wanted.state} if wanted.state is not None else RETRIED if act is Act.RETRY else DISCARDED
        found: list[tuple[str, Entry]] = []
        async for row, entry in scan_entries(self._reader, meant):
            if len(found) == limit:
                break
            if entry.state in states:
                found.append((row.stream, entry))
        return found

    async def _find_ticket(self, name: str) -> str:
        stream = await find_stream(self._reader, name)
        if stream is None:
            raise NotFound(f"{name!r} is no ticket", hint="a ticket goes by Ensono's number or ours")
        return stream

    async def steer(
        self,
        act: Act,
        entries: Sequence[tuple[str, Entry]],
        person: Person,
        *,
        force: bool = False,
        wait: bool = False,
        gradual: bool = False,
    ) -> AsyncIterator[SteeredEntry]:
        """Do it to all of them in turn and tell what became of each; with `gradual` 1, 2, 5, 10 … at once, each waited
        for, and no further once one of them did not come to its end."""
        for group in _grow(entries) if gradual else [entries]:
            begun = [(item, await self._steer_one(act, *item, person, force=force)) for item in group]
            failed = False
            for (stream, entry), told in begun:
                waits = (wait or gradual) and act is Act.RETRY and not told.refused
                steered = await self._wait_for(stream, entry) if waits else told
                failed = failed or bool(steered.refused) or (waits and steered.state != EntryState.COMPLETED)
                yield steered
            if gradual and failed:
                return

    async def _steer_one(self, act: Act, stream: str, entry: Entry, person: Person, *, force: bool) -> SteeredEntry:
        refused = await self._find_obstacle(act, stream, entry, force=force)
        effect = entry.effect
        if not refused:
            acted = OperatorActed(act, person.who, person.note, key=effect.key, cause=effect.position)
            if not await self._acting.act(stream, entry, acted):
                refused = "it is being tried just now; look again in a moment"
        return await self._describe(stream, entry, refused=refused)

    async def _find_obstacle(self, act: Act, stream: str, entry: Entry, *, force: bool) -> str:
        match entry.state:
            case EntryState.COMPLETED | EntryState.CANCELLED:
                return f"it is {entry.state}: nothing is left to {act}"
            case EntryState.EXECUTING:
                return "it is being tried just now; look again in a moment"
            case EntryState.DISCARDED if act is Act.DISCARD:
                return "it is discarded already"
        if act is Act.RETRY and not force and (later := await self._find_later(stream, entry)):
            return f"{later} was done after it and would be undone: --force does it all the same"
        return ""

    async def _find_later(self, stream: str, entry: Entry) -> str:
        """The key of what was planned later and done, and sets what this one sets."""
        for row in await self._reader.read_rows("outbox", stream=stream):
            other = decode_entry(row.data or b"")
            done = other.state is EntryState.COMPLETED and other.order > entry.order
            if done and is_superseded(entry.effect.kind, other.effect.kind):
                return other.effect.key
        return ""

    async def _wait_for(self, stream: str, entry: Entry) -> SteeredEntry:
        await self._acting.wait_tried(stream, entry)
        return await self._describe(stream, entry)

    async def _describe(self, stream: str, entry: Entry, *, refused: str = "") -> SteeredEntry:
        effect, now = entry.effect, await self._read(stream, entry.effect.key)
        return SteeredEntry(effect.key, effect.ticket or stream, effect.kind, now.state, now.reason, refused)

    async def _read(self, stream: str, key: EffectKey) -> Entry:
        rows = await self._reader.read_rows("outbox", stream=stream, id=key)
        return decode_entry(rows[0].data or b"")

    # --- quarantine ---

    async def release(self, name: str, person: Person) -> str:
        """Have a message in quarantine, named by position or MessageId, taken after all; why it still cannot be, empty
        when it was. Raises NotFound."""
        row = await self._find_message(name)
        event = await self._reader.read_event(row.position)
        if event is None:
            raise NotFound(f"position {row.position} is not in the log")
        message_id, other_body = split_key(event.message_key or b"")
        head = Release(row.position, event.at, message_id, other_body, person.who, person.note)
        released = NewEvent(row.stream, Kind.MESSAGE_RELEASED, encode_release(head, event.payload), wanted=True)
        again = await try_again(self._reader, event, self._machines)
        if not again.taken:
            return f"{again.reason}: {again.detail}"
        await self._acting.submit(Batch(events=[released]))
        if await find_quarantined(self._reader, str(row.position)) is None:
            return ""
        stopped = self._acting.parked_by(row.stream)
        return f"the ticket is parked: {stopped}" if stopped else "it could not be taken"

    async def discard_message(self, name: str, person: Person) -> QuarantineRow:
        """Take a message out of quarantine for good; it stays in the log. Raises NotFound."""
        row = await self._find_message(name)
        acted = OperatorActed(Act.DISCARD, person.who, person.note, position=row.position)
        await self._acting.submit(_batch(row.stream, acted))
        return row

    async def _find_message(self, name: str) -> QuarantineRow:
        found = await find_quarantined(self._reader, name)
        if found is None:
            raise NotFound(f"no message in quarantine is called {name!r}", hint="ecproc quarantine list shows them")
        return found

    # --- pausing ---

    async def pause(self, what: str, person: Person) -> str:
        """Let nothing more be performed at a destination or of a ticket; the stream that it is recorded in. Raises
        NotPossible where it is so already, and NotFound."""
        stream, named = await self._find_pausable(what)
        if await self._is_paused(stream, named):
            raise NotPossible(f"{what} is paused already")
        await self._acting.submit(_batch(stream, OperatorActed(Act.PAUSE, person.who, person.note, what=named)))
        return stream

    async def resume(self, what: str, person: Person) -> str:
        """Let it go on, and take a parked ticket up again; why it was parked once more, empty if it was not. Raises
        NotPossible where it was neither paused nor parked, and NotFound."""
        stream, named = await self._find_pausable(what)
        parked = self._acting.parked_by(stream)
        if not await self._is_paused(stream, named) and parked is None:
            raise NotPossible(f"{what} is neither paused nor parked")
        await self._acting.submit(_batch(stream, OperatorActed(Act.RESUME, person.who, person.note, what=named)))
        if parked is None or await self._acting.take_up(stream):
            return ""
        return f"parked again by {self._acting.parked_by(stream)}"

    async def _find_pausable(self, what: str) -> tuple[str, str]:
        if what in self._pausable:
            return CONTROL_STREAM, what
        try:
            return await self._find_ticket(what), PAUSED_TICKET
        except NotFound:
            known = ", ".join(sorted(self._pausable))
            hint = f"{known}, or a ticket by either number"
            raise NotFound(f"{what!r} is no ticket and no destination", hint=hint) from None

    async def _is_paused(self, stream: str, what: str) -> bool:
        return bool(await self._reader.read_rows("pause", stream=stream, id=what))

    # --- links ---

    async def link(self, pairs: Sequence[LinkPair], person: Person) -> LinkReport:
        """Take over links that another integration made: all that are new, or none where one cannot be taken."""
        return await import_links(self._reader, self._acting.submit, pairs, who=person.who, note=person.note)


def _batch(stream: str, acted: OperatorActed) -> Batch:
    return Batch(events=[NewEvent(stream, *encode_event(acted), wanted=True)])


def _grow(entries: Sequence[tuple[str, Entry]]) -> list[Sequence[tuple[str, Entry]]]:
    """1, 2, 5, 10, 20, 50 … of them at once."""
    groups: list[Sequence[tuple[str, Entry]]] = []
    size, taken = 0, 0
    while taken < len(entries):
        size = _STEPS[len(groups) % len(_STEPS)] * _TENFOLD ** (len(groups) // len(_STEPS))
        groups.append(entries[taken : taken + size])
        taken += size
    return groups
