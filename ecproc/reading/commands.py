"""Accepted commands as people are told of them: what was asked, and what came of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum

import msgspec

from ecproc.domain.commands import KnownCommand
from ecproc.domain.entry import DEAD, Entry, EntryState
from ecproc.domain.ids import EffectKey
from ecproc.fold.recorded import decode_command, decode_entry
from ecproc.store.base import Reader


class CommandState(StrEnum):
    """How far a command is. `sent`: a call is under way, or some of its calls are done; `refused`: it leads to nothing,
    though it was accepted; `dead`: a call of it came to a bad end and waits for a person."""

    ACCEPTED = "accepted"
    SENT = "sent"
    UNKNOWN = "unknown"
    DONE = "done"
    REFUSED = "refused"
    DEAD = "dead"


class ShownCommand(msgspec.Struct, frozen=True):
    """A command's document: `command` is its key, `answer` what Ensono said, or why nothing came of it."""

    ticket: str | None
    client_ticket: str | None
    command: str
    state: str
    answer: str


def describe_command(command: KnownCommand, entries: Mapping[EffectKey, Entry]) -> ShownCommand:
    """The document of a command, out of its row and the outbox entries of its keys that there are."""
    own = [entries[key] for key in command.entries if key in entries]
    state = _find_state(command, own)
    numbers = [entry.effect.number for entry in own if entry.effect.number]
    return ShownCommand(
        ticket=_find_ticket(command, own),
        client_ticket=numbers[-1] if numbers else command.client_ticket or None,
        command=command.key,
        state=state,
        answer=_find_answer(command, own, state),
    )


async def read_command(reader: Reader, key: str) -> ShownCommand | None:
    """The document of the command with that key as of now; None if none was accepted under it."""
    rows = await reader.read_rows("command", id=key)
    if not rows:
        return None
    command, entries = decode_command(rows[0].data or b""), dict[EffectKey, Entry]()
    for planned in command.entries:
        for row in await reader.read_rows("outbox", stream=rows[0].stream, id=planned):
            entries[planned] = decode_entry(row.data or b"")
    return describe_command(command, entries)


def _find_state(command: KnownCommand, own: list[Entry]) -> CommandState:
    states = {entry.state for entry in own}
    if command.refused:
        return CommandState.REFUSED
    if command.answer:
        return CommandState.DONE
    if states & (DEAD | {EntryState.CANCELLED}):
        return CommandState.DEAD
    if EntryState.UNKNOWN in states:
        return CommandState.UNKNOWN
    if len(own) == len(command.entries) and states == {EntryState.COMPLETED}:
        return CommandState.DONE
    return CommandState.SENT if states & {EntryState.EXECUTING, EntryState.COMPLETED} else CommandState.ACCEPTED


def _find_ticket(command: KnownCommand, own: Iterable[Entry]) -> str | None:
    """Ensono's number; that of a create is what it led to."""
    made = next((entry.result["number"] for entry in own if "number" in entry.result), "")
    return command.ticket or made or None


def _find_answer(command: KnownCommand, own: Iterable[Entry], state: CommandState) -> str:
    """What was said last about whatever decides the state."""
    if command.refused or command.answer:
        return command.refused or command.answer
    told = [entry.result.get("answer", "") or entry.reason for entry in own if _decides(entry, state)]
    return next((text for text in reversed(told) if text), "")


def _decides(entry: Entry, state: CommandState) -> bool:
    match state:
        case CommandState.DEAD:
            return entry.state in DEAD
        case CommandState.UNKNOWN:
            return entry.state is EntryState.UNKNOWN
        case _:
            return True
