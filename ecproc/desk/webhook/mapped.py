"""A mapping between a call, or a post, and the receiver's own fields. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from ecproc.desk.base import DeskAnswer, DeskCall, DeskRefused
from ecproc.domain.anomalies import Anomaly
from ecproc.domain.effects import EffectKind
from ecproc.domain.external import ExternalReceived
from ecproc.domain.remarks import Remark
from ecproc.mapping import Mapping as FieldMapping
from ecproc.mapping import Unmapped

_STATES: Final = frozenset({"state", "status"})
_UNMAPPED_KINDS: Final = frozenset({EffectKind.COMMENT.value, EffectKind.ATTACH.value})
"""What tells no field."""
_SHOWN: Final = 80
_HINT: Final = "see ecproc map test: shorten the text at Ensono, or let the rule put the rest into a comment"


class MappedCall(msgspec.Struct, frozen=True):
    """What a call tells in the receiver's own fields, and the texts that they had no room for; `view` is what these
    fields mean when they come back, under the guide's names and in the receiver's words."""

    fields: Mapping[str, str] = {}
    overflow: tuple[str, ...] = ()
    view: Mapping[str, str] = {}
    remarks: tuple[Remark, ...] = ()

    def complete(self, answer: DeskAnswer) -> DeskAnswer:
        """The answer with what was told by the mapping."""
        return msgspec.structs.replace(answer, view=self.view, remarks=(*answer.remarks, *self.remarks))


def map_call(call: DeskCall, mapping: FieldMapping) -> MappedCall:
    """What follows from the call: for a create everything, else what changed. Raises DeskRefused where a rule does."""
    if call.kind in _UNMAPPED_KINDS:
        return MappedCall()
    news = dict(call.fields)
    record = {name: value for name, value in call.record.items() if name not in _STATES or not (_STATES & news.keys())}
    known = {**record, **news, "ticketNumber": call.ticket}
    changed = None if call.kind == EffectKind.CREATE else frozenset(news)
    out = mapping.to_desk(call.ticket_type, known, changed=changed)
    if out.refused:
        raise DeskRefused(out.refused, final=True, hint=_HINT)
    heard = mapping.from_desk(call.ticket_type, out.fields, known={"ticketNumber": call.ticket})
    view = {name: raw for name, (raw, _) in heard.view.items()}
    return MappedCall(out.fields, out.overflow, view, _remark(out.unmapped))


def map_post(
    event: ExternalReceived, fields: Mapping[str, str], ticket_type: str, mapping: FieldMapping
) -> ExternalReceived:
    """The news with what these fields of its record mean, for a ticket of that type."""
    heard = mapping.from_desk(ticket_type, fields)
    remarks = (*event.remarks, *_remark(heard.unmapped))
    return msgspec.structs.replace(event, view=heard.view, mapping=mapping.hash, remarks=remarks)


def _remark(unmapped: tuple[Unmapped, ...]) -> tuple[Remark, ...]:
    return tuple(
        Remark(Anomaly.UNMAPPED, f"{one.type}.{one.field}: {one.value[:_SHOWN]!r}") for one in unmapped if one.reported
    )
