"""Whether a record of the desk's is the client ticket, or a second one that bears the key of its create. Pure.

The network may apply a create behind the look-up that did not find it. Nobody asks for that record any more, and a
processor that died has forgotten that it had to: the watch, which reads what changed, meets it all the same (R97).
"""

from __future__ import annotations

from typing import Final

import msgspec

from ecproc.domain.anomalies import Anomaly
from ecproc.domain.entry import EntryState
from ecproc.domain.external import ExternalKind, ExternalReceived, Fate
from ecproc.domain.ids import EffectKey
from ecproc.domain.remarks import Remark
from ecproc.domain.state import TicketState

_UNSETTLED: Final = frozenset({EntryState.EXECUTING, EntryState.UNKNOWN, EntryState.RETRYABLE})


def judge_record(state: TicketState, event: ExternalReceived, *, moving: bool) -> ExternalReceived | Fate:
    """The news as it is taken, or why it is not. A record that a call of ours is `moving` is left for later."""
    if event.kind is not ExternalKind.RECORD:
        return event
    if event.key and all(known.number != event.number for known in state.client_tickets):
        return _judge_strange(state, event)
    return Fate.DEFERRED if moving else event


def _judge_strange(state: TicketState, event: ExternalReceived) -> ExternalReceived | Fate:
    """What is kept of it: that there are two, with both numbers, and nothing that would change the ticket. While the
    create is not settled it is left for later: the record may be the one that is taken."""
    entry = state.plans.entries.get(EffectKey(event.key))
    if entry is None:
        return Fate.IGNORED
    linked = [known.number for known in state.client_tickets if known.generation == entry.effect.generation]
    if not linked:
        return Fate.DEFERRED if entry.state in _UNSETTLED else Fate.IGNORED
    remark = Remark(Anomaly.DOUBLE_CREATE, ", ".join([*linked, event.number]))
    return msgspec.structs.replace(event, view={}, remarks=(*event.remarks, remark))
