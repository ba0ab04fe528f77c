"""What a re-open at Ensono's means for the client ticket, and which client ticket calls are for after one (R213, R214).

*Detected from the state.* A ticket that was resolved, closed or cancelled and is worked on again was re-opened,
whatever the TransactionType says; `evolve` keeps which messages did that, and when the ticket came to its end. One that
we asked for ourselves is none: it began at the desk.

*Three ways.* The client ticket is re-opened; or it is left as it is, and another one is created; or it is left as it is
and told by comments what happens. All three have the key `reopen:{ticket}:{MessageId}`: what was planned under it says
for ever which way was taken, so that a policy that is changed later does not turn a ticket round half-way. Too late a
re-open, by the messages' own times, gets a new ticket; so may one that the desk refuses, in place of the dead entry.

*The newest ticket* is the one that calls are for, from the moment its create is planned. While its number is not known
they name the create that will tell it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from ecproc.domain.deltas import Moved
from ecproc.domain.effects import EffectKind
from ecproc.domain.entry import Entry, EntryState
from ecproc.domain.events import Message
from ecproc.domain.ids import EffectKey, create_key, message_effect_key
from ecproc.domain.policy import DAY, Policy, Reopen
from ecproc.domain.state import TicketState

ENDED: Final = frozenset({"resolved", "closed", "cancelled"})
"""States that a ticket comes back from."""
OVER: Final = frozenset({"closed", "cancelled", "canceled"})
"""What a desk calls a client ticket that has come to its end."""
_TAG: Final = 8
"""Characters of a MessageId that tell one re-open of a ticket from another."""


def reopen_key(stream: str, message_id: str) -> EffectKey:
    """Key of what is done about the re-open by that message."""
    return message_effect_key("reopen", stream, message_id)


def forget_reopen(state: TicketState, message_id: str) -> None:
    """Take it for none of Ensono's, if that message was one."""
    if state.reopens and state.reopens[-1].message_id == message_id:
        state.reopens.pop()


def choose_way(state: TicketState, message: Message, policy: Policy) -> Reopen:
    """What is done about the re-open by this message, on the state just after it."""
    way, days = policy.reopen_of(state.type), policy.reopen_within_days
    if way is Reopen.REOPEN and days and state.ended_at and message.at - state.ended_at > days * DAY:
        return Reopen.NEW_TICKET
    return way


def find_newest_create(state: TicketState) -> Entry | None:
    """The create of the newest client ticket, where that was created because of a re-open."""
    entries, stream = state.plans.entries, state.stream
    for reopened in reversed(state.reopens):
        entry = entries.get(reopen_key(stream, reopened.message_id))
        if entry is not None and entry.effect.kind is EffectKind.CREATE:
            return entry
    return None


def find_awaited_create(state: TicketState) -> EffectKey | None:
    """The create whose number calls have to wait for, where a re-open led to it; None where the number is known."""
    entry = find_newest_create(state) if state.reopens else None
    return None if entry is None or entry.state is EntryState.COMPLETED else entry.effect.key


def name_ticket(state: TicketState, awaited: EffectKey | None) -> str:
    """What tells the client ticket that files go to now from the generation's others; empty for its first."""
    if awaited is None:
        newest = find_newest_create(state) if state.reopens else None
        awaited = newest.effect.key if newest is not None else None
    return f"r{awaited.rpartition(':')[2][:_TAG]}" if awaited is not None else ""


def is_told_by_comments(state: TicketState, policy: Policy) -> bool:
    """Whether the client ticket was left as it was by the last re-open, and hears of the ticket by comments alone."""
    if not state.reopens:
        return False
    last = state.reopens[-1]
    entry = state.plans.entries.get(reopen_key(state.stream, last.message_id))
    if entry is not None:
        return entry.effect.kind is EffectKind.COMMENT
    create = state.plans.entries.get(create_key(state.stream, state.generation.started))
    if create is not None and create.effect.position >= last.position:
        return False  # it was created as the ticket was after that
    return policy.reopen_of(state.type) is Reopen.COMMENT_ONLY


def is_past_telling(state: TicketState, policy: Policy) -> bool:
    """Whether it would be told by comments, and the desk has told that it is over: nothing is said to it any more."""
    known = state.client_ticket
    return known is not None and known.state.strip().lower() in OVER and is_told_by_comments(state, policy)


def describe_news(moved: Moved | None, fields: Mapping[str, str]) -> str:
    """What a message changed, in words for a comment."""
    again = moved is not None and moved.before in ENDED and moved.after not in ENDED
    lines = ["Ensono re-opened its ticket." if again else "Ensono changed its ticket."]
    if moved is not None:
        lines.append(f"state: {moved.before} → {moved.after}")
    return "\n".join([*lines, *(f"{name}: {value or '(empty)'}" for name, value in fields.items() if name != "state")])
