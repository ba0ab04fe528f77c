"""What accepted commands lead to at Ensono's: which calls, in which order, with which texts.

*One command, several calls.* Ensono ignores comments on a resolution and everything else on a comment (R108, R109), so
each goes out by itself: what is too long for a field becomes comments, behind an update, before what ends the ticket. A
create takes its comments along. One call has the command's own key; the others have it with a word behind.

*Our number.* Nearly every call names it (R102). What is accepted while it is not known waits in the state, and is
planned by the fact that makes it known, behind the return of the number itself (R119). A decision about a change means
one generation only: where that ended meanwhile it is dropped (R180).

*Known twice.* A key that was accepted is not taken again, unless what it led to is dead; a comment's key never is.

*What is acknowledged.* The values that commands set stand in an overlay until a message says something about them: an
update is compared with these first (R102), for Ensono may never tell us of our own changes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from typing import Final, assert_never

import msgspec

from ecproc.domain.approvals import close_approvals, note_answer
from ecproc.domain.commands import (
    RESOLVE_FIRST,
    CommandAccepted,
    CommandKind,
    Comment,
    KnownCommand,
    decode_comments,
    encode_comments,
)
from ecproc.domain.decisions import Draft
from ecproc.domain.deltas import (
    ApprovalChanged,
    CallsDue,
    CommandCall,
    CommandChanged,
    Delta,
    Echoed,
    FieldsChanged,
    Moved,
)
from ecproc.domain.echoes import hear_of, keep_print, make_print
from ecproc.domain.effects import Effect, EffectKind
from ecproc.domain.events import (
    Act,
    EffectFailed,
    EffectStarted,
    EffectSucceeded,
    Message,
    OperatorActed,
    Outcome,
    Place,
)
from ecproc.domain.ids import EffectKey
from ecproc.domain.state import ApprovalState, Overlaid, TicketState
from ecproc.domain.texts import LIMITS, split_comment, split_text
from ecproc.domain.timers import expect_confirmation, watch_call

COMMAND_EFFECTS: Final = frozenset(
    {
        EffectKind.CREATE_TICKET,
        EffectKind.UPDATE_TICKET,
        EffectKind.ADD_COMMENTS,
        EffectKind.RESOLVE_TICKET,
        EffectKind.CLOSE_TICKET,
        EffectKind.CANCEL_TICKET,
        EffectKind.APPROVE_CHANGE,
        EffectKind.REJECT_CHANGE,
        EffectKind.UPLOAD,
    }
)
"""What is done at Ensono's because of a command alone."""
STATUSES: Final[Mapping[CommandKind, tuple[EffectKind, str]]] = {
    CommandKind.RESOLVE: (EffectKind.RESOLVE_TICKET, "resolved"),
    CommandKind.CLOSE: (EffectKind.CLOSE_TICKET, "closed"),
    CommandKind.CANCEL: (EffectKind.CANCEL_TICKET, "cancelled"),
}
"""The commands that end a ticket: their call, and the status it asks for (R104)."""

_DECISIONS: Final[Mapping[CommandKind, tuple[EffectKind, ApprovalState]]] = {
    CommandKind.APPROVE: (EffectKind.APPROVE_CHANGE, ApprovalState.APPROVED),
    CommandKind.REJECT: (EffectKind.REJECT_CHANGE, ApprovalState.REJECTED),
}
_WITHOUT_NUMBER: Final = frozenset({EffectKind.UPLOAD, EffectKind.RETURN_NUMBER})
"""Calls that do not name the client ticket, or name one of their own."""
_WORKING: Final = frozenset({"open", "workinprogress", "pending"})
_ENDED: Final = frozenset({"resolved", "closed", "cancelled"})
_SENT_BEFORE: Final = "its comments were given before"
_VOIDED: Final = "the change was redrafted before it could be sent"


# --- the calls of a command -------------------------------------------------------------------------------------------


def list_calls(accepted: CommandAccepted, *, sent: Set[str] = frozenset(), generation: int = 0) -> list[CommandCall]:
    """The calls of a command, in order; comments with a key of `sent` are left out, so that there may be none."""
    kind, key, fields = accepted.command, accepted.key, accepted.fields
    comments = [comment for comment in accepted.comments if not comment.key or comment.key not in sent]
    said = [piece for comment in comments for piece in split_comment(comment)]
    match kind:
        case CommandKind.CREATE:
            within, rest = _fit(fields)
            within.pop("ticketType", None)
            return [CommandCall(EffectKind.CREATE_TICKET, key, key, within, (*rest, *said))]
        case CommandKind.UPDATE if fields:
            within, rest = _fit(fields)
            return [
                CommandCall(EffectKind.UPDATE_TICKET, key, key, within),
                *_say(accepted, "comments", [*rest, *said]),
            ]
        case CommandKind.UPDATE | CommandKind.NOTE:
            return [CommandCall(EffectKind.ADD_COMMENTS, key, key, comments=tuple(said))] if said else []
        case CommandKind.RESOLVE | CommandKind.CLOSE | CommandKind.CANCEL:
            return _end(accepted, said)
        case CommandKind.APPROVE | CommandKind.REJECT:
            before, comment = _say_before(fields.get("comment", ""), LIMITS["comment"])
            call = CommandCall(_DECISIONS[kind][0], key, key, {**fields, "comment": comment}, generation=generation)
            return [*_say(accepted, "notes", [*said, *before], generation=generation), call]
        case CommandKind.ATTACH:
            return [CommandCall(EffectKind.UPLOAD, key, key, fields)]
        case CommandKind.RETURN_NUMBER:
            return [CommandCall(EffectKind.RETURN_NUMBER, key, key, number=fields.get("clientTicketNumber", ""))]
        case _:
            assert_never(kind)


def name_wanted_group(command: EffectKey, outcome: EffectSucceeded) -> CommandCall | None:
    """The comment that names the group which was asked for, where Ensono did not take it and a default one did (R203);
    None where it took it."""
    wanted = outcome.result.get("wanted_group", "")
    if not wanted:
        return None
    used = outcome.result.get("group", "")
    key = EffectKey(f"{outcome.key}:group")
    comment = Comment(f"Asked for group {wanted}, which was not accepted; sent to group {used} instead.", key=key)
    return CommandCall(EffectKind.ADD_COMMENTS, key, command, comments=(comment,))


def encode_call(call: CommandCall) -> dict[str, str]:
    """The call's arguments as an effect carries them."""
    return {**call.fields, **({"comments": encode_comments(call.comments)} if call.comments else {})}


def _fit(fields: Mapping[str, str]) -> tuple[dict[str, str], list[Comment]]:
    """The fields within their limits, and what is left over as comments."""
    within, rest = dict(fields), list[Comment]()
    for name in ("shortDescription", "description"):
        if name in within:
            within[name], *more = split_text(within[name], LIMITS[name])
            rest += map(Comment, more)
    return within, rest


def _end(accepted: CommandAccepted, said: Sequence[Comment]) -> list[CommandCall]:
    """What ends a ticket, its comments before it: Ensono ignores those that come along (R108)."""
    key, (kind, status) = accepted.key, STATUSES[accepted.command]
    before, notes = _say_before(accepted.fields.get("closeNotes", ""), LIMITS["closeNotes"])
    calls = _say(accepted, "notes", [*said, *before])
    if accepted.fields.get(RESOLVE_FIRST):
        first, resolved = STATUSES[CommandKind.RESOLVE]
        calls.append(CommandCall(first, EffectKey(f"{key}:resolve"), key, {"status": resolved, "closeNotes": notes}))
    return [*calls, CommandCall(kind, key, key, {"status": status, "closeNotes": notes})]


def _say_before(text: str, limit: int) -> tuple[list[Comment], str]:
    """A text as the comments to say first, and what is left of it for the call itself."""
    *before, last = split_text(text, limit, limit)
    return [Comment(body) for body in before], last


def _say(
    accepted: CommandAccepted, word: str, comments: Sequence[Comment], *, generation: int = 0
) -> list[CommandCall]:
    if not comments:
        return []
    key = EffectKey(f"{accepted.key}:{word}")
    return [CommandCall(EffectKind.ADD_COMMENTS, key, accepted.key, comments=tuple(comments), generation=generation)]


# --- of a ticket ------------------------------------------------------------------------------------------------------


def evolve_command(state: TicketState, accepted: CommandAccepted, place: Place) -> list[Delta]:
    """Take a command into the ticket, whose calls are due or wait for our number."""
    commands, key = state.commands, accepted.key
    known = commands.known.get(key)
    if known is not None and not known.refused and not commands.is_dead(known):
        return []
    refused = _refuse(state, accepted)
    calls = [] if refused else _list_calls_of(state, accepted)
    command = KnownCommand(
        key=key,
        command=accepted.command,
        at=place.at,
        order=known.order if known else len(commands.known) + 1,
        who=accepted.who,
        digest=accepted.digest,
        ticket=state.ticket,
        client_ticket=state.current_number or "",
        entries=tuple(call.key for call in calls),
        approval=accepted.fields.get("approvalid", ""),
        refused=refused,
        answer="" if calls or refused else _SENT_BEFORE,
    )
    commands.known[key] = command
    if calls:
        commands.dead.difference_update(command.entries)
        commands.comments |= {comment.key: call.key for call in calls for comment in call.comments if comment.key}
        _remember(state, calls, place.at)
        _overlay(state, accepted)
    return [CommandChanged(command), *_make_due(state, calls)]


def _remember(state: TicketState, calls: Iterable[CommandCall], at: int) -> None:
    """Keep what these calls tell, accepted at that time: they come back, and are to be shown."""
    for call in calls:
        told = make_print(call.fields, call.comments, at)
        keep_print(state.commands, call.key, told)
        watch_call(state, call.kind, call.key, told)


def release_waiting(state: TicketState) -> list[Delta]:
    """The calls that waited for our number, once it is known; without those that a redraft made void."""
    commands = state.commands
    if not commands.waiting or state.current_number is None:
        return []
    waiting, commands.waiting = commands.waiting, []
    void = dict.fromkeys(call.command for call in waiting if call.generation not in (0, state.generation.number))
    deltas: list[Delta] = []
    for key in void:
        commands.known[key] = msgspec.structs.replace(commands.known[key], refused=_VOIDED)
        deltas.append(CommandChanged(commands.known[key]))
    return [*deltas, CallsDue(tuple(call for call in waiting if call.command not in void))]


def settle_command(state: TicketState, effect: Effect, outcome: Outcome, place: Place) -> list[Delta]:
    """Learn from what came of a command's call; the entry has taken it already."""
    commands, key = state.commands, _command_of(state, outcome.key)
    match outcome:
        case EffectStarted():
            return []
        case OperatorActed(act=Act.RETRY):
            commands.dead.discard(outcome.key)
            told = make_print(effect.fields, decode_comments(effect.fields), place.at)
            keep_print(commands, outcome.key, told)
            watch_call(state, effect.kind, outcome.key, told)
        case OperatorActed():
            _give_up(state, outcome.key, key)
        case EffectFailed(next_attempt_at=None) if outcome.cause in (0, effect.position):
            _give_up(state, outcome.key, key)
        case EffectSucceeded():
            commands.dead.discard(outcome.key)
            hear_of(commands, outcome.key, place.at, done=True)
            expect_confirmation(state, outcome.key, place.at)
            return _answer_approvals(state, effect, key) + _add_group_note(state, key, outcome, place)
        case _:
            hear_of(commands, outcome.key, place.at, done=False)
    return []


def _give_up(state: TicketState, key: EffectKey, command: EffectKey) -> None:
    """A call of that command will not be made, as far as anybody knows."""
    commands = state.commands
    commands.dead.add(key)
    commands.prints.pop(key, None)
    commands.unconfirmed.pop(key, None)
    commands.overlay = {name: told for name, told in commands.overlay.items() if told.key != command}


def note_message(state: TicketState, message: Message, deltas: Sequence[Delta]) -> None:
    """What a message tells is acknowledged by Ensono, whatever our commands set before; a ticket that came back, by
    no doing of ours, is worked on once more."""
    commands = state.commands
    moved = next((delta for delta in deltas if type(delta) is Moved), None)
    if moved is not None and moved.before in _ENDED and moved.after in _WORKING:
        commands.turn += not any(isinstance(delta, Echoed) and delta.moved for delta in deltas)
    if not commands.overlay:
        return
    told = {*(message.changed or ()), *(["status"] if moved is not None else [])}
    for delta in deltas:
        if isinstance(delta, FieldsChanged):
            told |= delta.fields.keys()
    commands.overlay = {name: known for name, known in commands.overlay.items() if name not in told}


def draft_calls(draft: Draft, calls: Iterable[CommandCall]) -> None:
    """Draft the effects of these calls."""
    number = draft.state.current_number
    for call in calls:
        draft.add(
            call.kind,
            call.key,
            fields=encode_call(call),
            generation=call.generation or None,
            number=call.number or number,
            rearm=call.kind is EffectKind.RETURN_NUMBER,
        )


def _list_calls_of(state: TicketState, accepted: CommandAccepted) -> list[CommandCall]:
    sent = state.commands.list_given(accepted.key)
    return list_calls(accepted, sent=sent, generation=state.generation.number)


def _refuse(state: TicketState, accepted: CommandAccepted) -> str:
    if state.type is None:
        return "there is no such ticket"
    return "a create is no command to a ticket" if accepted.command is CommandKind.CREATE else ""


def _make_due(state: TicketState, calls: Sequence[CommandCall]) -> list[Delta]:
    if state.current_number is None:
        state.commands.waiting += [call for call in calls if call.kind not in _WITHOUT_NUMBER]
        calls = [call for call in calls if call.kind in _WITHOUT_NUMBER]
    return [CallsDue(tuple(calls))] if calls else []


def _overlay(state: TicketState, accepted: CommandAccepted) -> None:
    commands = state.commands
    if accepted.command is CommandKind.UPDATE:
        told = accepted.fields
    elif accepted.command in STATUSES:
        told = {"status": STATUSES[accepted.command][1]}
    else:
        return
    before = commands.overlay["status"].value if "status" in commands.overlay else state.state
    commands.turn += before in _ENDED and told.get("status") in _WORKING
    commands.overlay |= {name: Overlaid(value, accepted.key) for name, value in told.items()}


def _command_of(state: TicketState, key: EffectKey) -> EffectKey:
    """The command whose call has that key: its own, or with a word behind."""
    return key if key in state.commands.known else EffectKey(key.rpartition(":")[0])


def _answer_approvals(state: TicketState, effect: Effect, command: EffectKey) -> list[Delta]:
    """What we told about a generation of a change counts from now on, if it is still that one (R177, R178)."""
    known = state.commands.known.get(command)
    if known is None or known.key != effect.key or known.command not in _DECISIONS:
        return []
    if effect.generation != state.generation.number:
        return []
    word = _DECISIONS[known.command][1]
    asked = state.approvals.get(known.approval)
    deltas: list[Delta] = []
    if asked is not None and (asked.generation, asked.state) == (effect.generation, ApprovalState.REQUESTED):
        state.approvals[asked.id] = msgspec.structs.replace(asked, state=word)
        deltas.append(ApprovalChanged(state.approvals[asked.id]))
    note_answer(state, word)
    return deltas + close_approvals(state, ApprovalState.SUPERSEDED)


def _add_group_note(state: TicketState, command: EffectKey, outcome: EffectSucceeded, place: Place) -> list[Delta]:
    call, known = name_wanted_group(command, outcome), state.commands.known.get(command)
    if call is None or known is None:
        return []
    _remember(state, [call], place.at)
    if call.key not in known.entries:
        known = msgspec.structs.replace(known, entries=(*known.entries, call.key))
        state.commands.known[command] = known
    return [CommandChanged(known), *_make_due(state, [call])]
