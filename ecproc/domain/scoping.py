"""Whether a ticket is in the client's scope (R207): judged on the state just after each message, never by a fold.

*Out.* The ticket is folded as any other, and nothing at all is done about it, downloads included.

*In after all.* Its group changed, or the rules did: it is created with the state it has by then. What was said before
is not brought in; one comment tells how much there was, and `scope apply` brings it.

*In for good.* A ticket that has a client ticket, or is getting one, is never dropped half-way.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from ecproc.domain.anomalies import Anomaly
from ecproc.domain.decisions import Draft, comment, create
from ecproc.domain.deltas import AttachmentChanged, Delta, GenerationStarted, NoteAdded
from ecproc.domain.effects import EffectKind, Lane
from ecproc.domain.events import Act, Fact, Message, Noticed, OperatorActed, Released, Scope
from ecproc.domain.ids import attachment_key, create_key, message_effect_key
from ecproc.domain.policy import ADOPT_FINAL, RESCOPED, AdoptFinal, Policy
from ecproc.domain.reopening import is_past_telling
from ecproc.domain.state import TicketState

_FINAL: Final = frozenset({"closed", "cancelled", "Closed", "Cancelled"})


class Ruling(msgspec.Struct, frozen=True):
    """What the policy says of a stream's scope, where it says anything, and what a person should know of that."""

    scope: Scope | None = None
    notices: tuple[Noticed, ...] = ()


def judge(state: TicketState, fact: Fact, deltas: Sequence[Delta], policy: Policy) -> Ruling | None:
    """What the policy says of a ticket after this fact; None where it has nothing to say."""
    judges = policy.judges or state.scope is not None
    if type(fact) is Message and not (judges or state.reopens):  # which is what most are
        return None
    message = fact.fact if isinstance(fact, Released) else fact
    if not isinstance(message, Message):
        return _judge_act(state, fact)
    if state.type is None or not (judges or state.reopens):
        return None
    scope = judge_message(state, message, policy) if judges else None
    silent = deltas and state.reopens and is_past_telling(state, policy)
    return Ruling(scope, (_tell_silence(state, message),) if silent else ())


def _judge_act(state: TicketState, fact: Fact) -> Ruling | None:
    if not isinstance(fact, OperatorActed) or fact.act is not Act.RESCOPE or state.type is None or is_bound(state):
        return None
    return Ruling(Scope(True, RESCOPED))


def judge_message(state: TicketState, message: Message, policy: Policy) -> Scope:
    """Whether a ticket is in scope just after this message, and by which rule."""
    known = state.scope
    if known is not None and known.inside and known.rule == RESCOPED:
        return known
    if is_bound(state):
        return known if known is not None and known.inside else Scope(True)
    return judge_anew(state, message, policy)


def judge_anew(state: TicketState, message: Message, policy: Policy) -> Scope:
    """What the rules alone say of it, whatever was decided before."""
    judged = policy.find_scope(list_values(state, message))
    if judged.inside and state.state in _FINAL and policy.adopt_final is AdoptFinal.DOCUMENT:
        return Scope(False, ADOPT_FINAL)
    return judged


def list_values(state: TicketState, message: Message) -> dict[str, str]:
    """What conditions may ask of a ticket just after a message: its fields by the guide's names, and the rest."""
    named = state.state or ""
    return {
        **state.record.fields,
        "type": state.type or "",
        "state": named,
        "status": named,
        "client": message.client_name,
        "transaction": message.transaction_name,
    }


def is_bound(state: TicketState) -> bool:
    """Whether the ticket has a client ticket, or is getting one."""
    entries, stream = state.plans.entries, state.stream
    planned = range(1, state.generation.started + 1)
    return bool(state.client_tickets) or any(create_key(stream, generation) in entries for generation in planned)


def bring_in(draft: Draft, deltas: Sequence[Delta]) -> bool:
    """Create the client ticket that a ticket should have had before, if it has none; whether it had none."""
    state, generation = draft.state, draft.state.generation
    if is_bound(state) or any(isinstance(delta, GenerationStarted) for delta in deltas):
        return False
    if not generation.started or not (generation.live or state.state in _FINAL):
        return False  # a change that is a draft gets its client ticket when it leaves
    create(draft, generation.started)
    return True


def tell_missed(draft: Draft, message: Message, deltas: Sequence[Delta]) -> None:
    """Say on a client ticket that was just created what came before it and is not brought in."""
    state = draft.state
    if is_bound(state) or not any(effect.kind is EffectKind.CREATE for effect in draft.effects):
        return
    fresh = {delta.note.id for delta in deltas if isinstance(delta, NoteAdded)}
    fresh |= {note.id for delta in deltas if isinstance(delta, GenerationStarted) for note in delta.notes}
    named = {delta.attachment.id for delta in deltas if isinstance(delta, AttachmentChanged)}
    downloads = {attachment_key(state.stream, file) for file in state.attachments} & state.plans.entries.keys()
    told = [
        _count(len(state.memory.notes.keys() - fresh), "note"),
        _count(len(state.attachments.keys() - named) - len(downloads), "file"),
    ]
    if any(told):
        body = f"Before this ticket came here it had {' and '.join(filter(None, told))}, not brought in."
        comment(draft, message_effect_key("scope", state.stream, message.message_id), body)


def keep_aimed(draft: Draft) -> None:
    """Drop what is for a client ticket of a generation that has none and gets none: it was out of scope then."""
    state = draft.state
    known = {item.generation for item in state.client_tickets}
    known |= {effect.generation for effect in draft.effects if effect.kind is EffectKind.CREATE}
    entries, stream = state.plans.entries, state.stream
    draft.effects = [
        effect
        for effect in draft.effects
        if effect.lane is not Lane.DESK
        or effect.generation in known
        or create_key(stream, effect.generation) in entries
    ]


def _count(number: int, word: str) -> str:
    return f"{number} {word}{'s' if number > 1 else ''}" if number else ""


def _tell_silence(state: TicketState, message: Message) -> Noticed:
    known = state.client_ticket
    number = known.number if known is not None else ""
    detail = f"{message.transaction_name} {message.message_id[:80]}: {number} is closed, and is told by comments only"
    return Noticed(message.position, Anomaly.AFTER_FINAL, detail)
