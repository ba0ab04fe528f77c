"""What the client's own changes at the desk ask of Ensono: a pure comparison with what we last wrote or saw there.

*News only.* A field counts where it is otherwise, as the desk has it, than its shadow; what it becomes in the guide's
words is what is sent. A record seen for the first time is the measure for what comes later, and no news.

*Order.* Fields first, then notes, files and answers, and last what ends the ticket: Ensono takes nothing after that.

*Inside.* Where groups of Ensono's are named, a ticket that leaves them is the client's own business: Ensono is told
once, with a group and a state for that, hears of notes and files meanwhile, and of the fields again when it comes back
(R205, R206). A ticket that is resolved or closed inside is so at Ensono's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Final, TypeAlias

import msgspec

from ecproc.commands.checks import CommandRequest
from ecproc.domain.commands import CommandKind, Comment
from ecproc.domain.events import TicketType
from ecproc.domain.external import ExternalKind, ExternalReceived, Shadowed
from ecproc.domain.shadow import list_changed

_FIELDS: Final = frozenset({"shortDescription", "description", "group", "priority", "impact", "urgency"})
"""What an update may bring besides the status (R103)."""
_WORKING: Final = frozenset({"open", "workinprogress", "pending"})
_ENDS: Final[Mapping[str, CommandKind]] = {
    "resolved": CommandKind.RESOLVE,
    "closed": CommandKind.CLOSE,
    "cancelled": CommandKind.CANCEL,
}
_RANKS: Final = (
    CommandKind.UPDATE,
    CommandKind.NOTE,
    CommandKind.ATTACH,
    CommandKind.APPROVE,
    CommandKind.REJECT,
    CommandKind.RESOLVE,
    CommandKind.CLOSE,
    CommandKind.CANCEL,
)


Wanted: TypeAlias = tuple[ExternalReceived, CommandRequest]
"""A news, and something that it asks of Ensono."""


class DeskRules(msgspec.Struct, frozen=True):
    """What a client has decided about changes at its desk: see the options of `[policy.internal]`.

    `close_notes` is what is told where a ticket ends without a word.
    """

    ensono_groups: tuple[str, ...] = ()
    group: str = ""
    status: str = "pending"
    notes: bool = True
    close_notes: str = "Ended by the client."

    def is_inside(self, group: str | None) -> bool:
        """Whether that group, as the desk names it, is the client's own; unknown is Ensono's."""
        if not self.ensono_groups or group is None:
            return False
        return not any(fnmatchcase(group, pattern) for pattern in self.ensono_groups)


class DeskView(msgspec.Struct, frozen=True):
    """A ticket as its desk's news find it. `state` is Ensono's, our own commands included."""

    stream: str
    type: TicketType
    state: str | None
    shadow: Mapping[str, Shadowed] = {}

    @property
    def group(self) -> str | None:
        """The group that the client ticket was in, as the desk names it."""
        known = self.shadow.get("group")
        return None if known is None else known.raw


def derive(event: ExternalReceived, ticket: DeskView, rules: DeskRules) -> list[CommandRequest]:
    """What this asks of Ensono, given the shadow as it was before it."""
    match event.kind:
        case ExternalKind.RECORD:
            return [] if ticket.type is TicketType.CHANGE else _derive_record(event, ticket, rules)
        case ExternalKind.NOTE:
            return _derive_note(event, ticket, rules)
        case ExternalKind.ATTACHMENT:
            return _derive_file(event, ticket)
        case ExternalKind.APPROVAL:
            return _derive_decision(event)
        case _:
            return []


def in_order(requests: Iterable[Wanted]) -> list[Wanted]:
    """Requests of one ticket as they have to go out; those alike keep their order."""
    return sorted(requests, key=lambda each: _RANKS.index(each[1].kind))


def _derive_record(event: ExternalReceived, ticket: DeskView, rules: DeskRules) -> list[CommandRequest]:
    changed = {name: told for name, (_, told) in list_changed(ticket.shadow, event.view, event.stamp).items()}
    was_inside = rules.is_inside(ticket.group)
    now_inside = rules.is_inside(event.view["group"][0] if "group" in event.view else ticket.group)
    status = changed.get("status", "")
    if was_inside or now_inside:
        fields = _cross(changed, rules, was_inside=was_inside, now_inside=now_inside, ends=status in _ENDS)
    else:
        fields = {name: value for name, value in changed.items() if name in _FIELDS}
        fields |= {"status": status} if status in _WORKING else {}
    verb = "ec-int" if was_inside is not now_inside else "ec-upd"
    key = f"{verb}:{ticket.stream}:{event.id}"
    update = [CommandRequest(kind=CommandKind.UPDATE, fields=fields, key=key, who=_name(event))] if fields else []
    return update + _end(event, ticket, status, rules)


def _cross(
    changed: Mapping[str, str], rules: DeskRules, *, was_inside: bool, now_inside: bool, ends: bool
) -> dict[str, str]:
    """The fields to tell of a ticket that goes inside, is there, or comes back."""
    if was_inside and now_inside:
        return {}
    if now_inside:
        return {"group": rules.group, **({} if ends else {"status": rules.status})}
    group = changed.get("group", "")
    return {**({"group": group} if group else {}), **({} if ends else {"status": "workinprogress"})}


def _end(event: ExternalReceived, ticket: DeskView, status: str, rules: DeskRules) -> list[CommandRequest]:
    if status not in _ENDS:
        return []
    notes = event.view.get("closeNotes", ("", ""))[1].strip() or rules.close_notes
    kinds = [_ENDS[status]]
    if status == "closed" and ticket.state in _WORKING:
        kinds = [CommandKind.RESOLVE, CommandKind.CLOSE]
    return [CommandRequest(kind=kind, fields={"closeNotes": notes}, who=_name(event)) for kind in kinds]


def _derive_note(event: ExternalReceived, ticket: DeskView, rules: DeskRules) -> list[CommandRequest]:
    note = event.note
    if note is None or not note.body.strip() or (rules.is_inside(ticket.group) and not rules.notes):
        return []
    key = f"ec-note:{ticket.stream}:{event.id}"
    comment = Comment(note.body, key=key, commenter=note.author, commenter_email=note.email, comment_time=note.at)
    return [CommandRequest(kind=CommandKind.NOTE, comments=(comment,), key=key, who=_name(event))]


def _derive_file(event: ExternalReceived, ticket: DeskView) -> list[CommandRequest]:
    file = event.file
    if file is None or not file.size:
        return []
    fields = {"name": file.name, "sha256": file.sha256, "size": str(file.size), "type": file.type}
    key = f"ec-att:{ticket.stream}:{event.id}"
    return [CommandRequest(kind=CommandKind.ATTACH, fields=fields, key=key, who=_name(event))]


def _derive_decision(event: ExternalReceived) -> list[CommandRequest]:
    decision = event.decision
    if decision is None or event.lacks_reason:
        return []
    kind = CommandKind.APPROVE if decision.approved else CommandKind.REJECT
    fields = {"approver": decision.approver, "comment": decision.comment or "Approved at the client's desk."}
    return [CommandRequest(kind=kind, fields=fields, who=_name(event))]


def _name(event: ExternalReceived) -> str:
    return event.by or event.source
