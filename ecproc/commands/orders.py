"""What a person asks of `Steering`, as a document, and what is answered: the same over HTTP and on the command line."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from ecproc.commands.linking import LinkPair, LinkReport
from ecproc.commands.steering import EntriesWanted, NotPossible, Person, SteeredEntry, Steering
from ecproc.domain.events import Act

Why = Annotated[str, Meta(max_length=2_000)]
"""Why, in a person's words."""


class EntriesOrder(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """Entries to retry or discard: these keys, or all that a filter means. `wait` for what comes of each attempt,
    `gradual` in growing numbers up to the first that fails, `force` though a later entry would be undone."""

    keys: tuple[str, ...] = ()
    filter: EntriesWanted | None = None
    limit: Annotated[float, Meta(ge=0, multiple_of=1)] | None = None
    gradual: bool = False
    force: bool = False
    wait: bool = False
    note: Why = ""


class EntryOrder(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """One entry to retry or discard, `force` though a later one would be undone."""

    force: bool = False
    note: Why = ""


class NoteOrder(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """Why it is done."""

    note: Why = ""


class PauseOrder(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """What to pause or to let go on: a destination, or a ticket by either number."""

    what: str
    note: Why = ""


class LinksOrder(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """Links of another integration to take over: all of them, or none where one cannot be."""

    pairs: tuple[LinkPair, ...]
    note: Why = ""


class EntriesReport(msgspec.Struct, frozen=True):
    """What became of each entry; `left` are those that a gradual order did not come to."""

    act: Act
    entries: list[SteeredEntry]
    left: int = 0


class MessageReport(msgspec.Struct, frozen=True):
    """What became of a message: released or discarded, or quarantined still, and why."""

    message: str
    state: str
    reason: str = ""


class PauseReport(msgspec.Struct, frozen=True):
    """What is paused now, or goes on; `reason`: why the ticket is parked all the same."""

    what: str
    paused: bool
    reason: str = ""


async def steer_entries(steering: Steering, act: Act, order: EntriesOrder, person: Person) -> EntriesReport:
    """Retry or discard entries. Raises NotPossible, with nothing recorded, where the order names none or both."""
    if bool(order.keys) == (order.filter is not None):
        raise NotPossible("name entries by their keys or by a filter", hint="keys, or a filter, and not both")
    if order.filter is not None:
        entries = await steering.list_entries(act, order.filter, limit=order.limit)
    else:
        entries = await steering.find_entries(order.keys)
    steered = steering.steer(act, entries, person, force=order.force, wait=order.wait, gradual=order.gradual)
    told = [entry async for entry in steered]
    return EntriesReport(act, told, len(entries) - len(told))


async def steer_message(steering: Steering, act: Act, name: str, person: Person) -> MessageReport:
    """Take a message out of quarantine, for good or to be folded. Raises NotFound."""
    if act is Act.DISCARD:
        await steering.discard_message(name, person)
        return MessageReport(name, "discarded")
    reason = await steering.release(name, person)
    return MessageReport(name, "quarantined" if reason else "released", reason)


async def steer_pause(steering: Steering, act: Act, order: PauseOrder, person: Person) -> PauseReport:
    """Pause something or let it go on. Raises NotPossible and NotFound."""
    if act is Act.PAUSE:
        await steering.pause(order.what, person)
        return PauseReport(order.what, paused=True)
    return PauseReport(order.what, paused=False, reason=await steering.resume(order.what, person))


async def steer_links(steering: Steering, order: LinksOrder, person: Person) -> LinkReport:
    """Take over links that another integration made."""
    return await steering.link(order.pairs, person)
