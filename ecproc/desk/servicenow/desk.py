"""The client's ServiceNow instance as the desk: what is asked of it is done once, also where an answer gets lost.

A create, a note and a file are looked up before they are repeated, everything else sets values. What an answer says is
held against what was sent: an instance may drop a field or leave a state as it was, and answer 200 all the same.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

from msgspec.structs import replace

from ecproc.clock import Clock
from ecproc.config.servicenow import ServiceNowConfig, ServiceNowTables
from ecproc.desk.base import DeskAnswer, DeskCall, DeskRefused
from ecproc.desk.servicenow.approvals import Approvals
from ecproc.desk.servicenow.creating import TicketMaker
from ecproc.desk.servicenow.doubles import Doubles
from ecproc.desk.servicenow.fields import RecordNews
from ecproc.desk.servicenow.files import Files, require_file
from ecproc.desk.servicenow.instance import InstanceLink
from ecproc.desk.servicenow.places import TicketPlace
from ecproc.desk.servicenow.setting import TicketSetter
from ecproc.desk.servicenow.soundness import Soundness
from ecproc.desk.servicenow.texts import write_comment, write_empty_file, write_marker
from ecproc.desk.servicenow.tokens import ReadSecret
from ecproc.domain.effects import EffectKind, Repeat
from ecproc.mapping.tables import Mapping as FieldMapping

_SETTING: Final = frozenset(
    {EffectKind.UPDATE, EffectKind.RESOLVE, EffectKind.CLOSE, EffectKind.CANCEL, EffectKind.REOPEN}
)
_ADDING: Final = frozenset({EffectKind.CREATE, EffectKind.COMMENT, EffectKind.ATTACH})


class ServiceNowDesk:
    """The desk. `config` has passed its checks, and `tables` too; secrets are read anew for every token."""

    def __init__(
        self,
        config: ServiceNowConfig,
        tables: ServiceNowTables,
        *,
        mapping: FieldMapping,
        secret: ReadSecret,
        clock: Clock,
    ) -> None:
        self._settles_after = config.settles_after
        self.instance = at = InstanceLink(config, tables, mapping=mapping, secret=secret, clock=clock)
        self._soundness = Soundness(at.calls, at.marks)
        self._doubles = Doubles(at.calls, at.marks, seconds=config.settles_after, monotonic=clock.monotonic)
        self._creating = TicketMaker(at, self._soundness, self._doubles)
        approvals = Approvals(at.calls, at.translator, as_records=config.approvals == "approver_record")
        self._setting = TicketSetter(at, approvals)
        self._files = Files(at.calls)

    def repeat_of(self, kind: EffectKind) -> Repeat:
        """Looked up where it adds something, idempotent where it sets something; keyed where every type of ticket goes
        through a transform map that finds its record by our key."""
        if kind is EffectKind.CREATE and self.instance.places.all_staged:
            return Repeat.KEYED
        return Repeat.LOOK_UP if kind in _ADDING else Repeat.IDEMPOTENT

    def ends_after(self, kind: EffectKind) -> float:
        """The instance's own quota, and a margin: until then it may still be working at what was cut off."""
        return self._settles_after

    async def perform(self, call: DeskCall) -> DeskAnswer:
        """Do it. A kind that is looked up is done again each time it is asked for."""
        await self._soundness.check()
        if call.kind == EffectKind.CREATE:
            return await self._creating.create(call)
        handle: Callable[[DeskCall, TicketPlace], Awaitable[DeskAnswer]]
        match call.kind:
            case EffectKind.COMMENT:
                handle = self._comment
            case EffectKind.ATTACH:
                handle = self._attach
            case kind if kind in _SETTING:
                handle = self._setting.set
            case _:
                raise DeskRefused(f"a ServiceNow desk has no {call.kind}", final=True)
        place = await self.instance.places.locate(call)
        answer = await handle(call, place)
        doubles = await self._doubles.look(place.table, place.sys_id)
        return replace(answer, remarks=(*answer.remarks, *doubles)) if doubles else answer

    async def look_up(self, call: DeskCall) -> DeskAnswer | None:
        """What a former call led to: a record by its key, a note by its marker, a file by its content."""
        if call.kind == EffectKind.CREATE:
            return await self._creating.find(call)
        if call.kind not in _ADDING:
            return None
        place = await self.instance.places.locate(call)
        if call.kind == EffectKind.ATTACH and require_file(call.file).size > 0:
            found = await self._files.has(place.sys_id, require_file(call.file))
        else:
            found = await self.instance.journal.holds(place.table, place.sys_id, write_marker(call))
        return await self.instance.read(call, place) if found else None

    async def aclose(self) -> None:
        """Close every connection."""
        await self.instance.session.aclose()

    async def _comment(self, call: DeskCall, place: TicketPlace) -> DeskAnswer:
        return await self._note(call, place, write_comment(call.fields))

    async def _attach(self, call: DeskCall, place: TicketPlace) -> DeskAnswer:
        file = require_file(call.file)
        if not file.size:
            return await self._note(call, place, write_empty_file(file.name))
        await self._files.attach(place.table, place.sys_id, file)
        return await self.instance.read_after(call, place)

    async def _note(self, call: DeskCall, place: TicketPlace, text: str) -> DeskAnswer:
        if place.staging:
            return await self._setting.stage(call, place, RecordNews({}, (text,)))
        row = await self.instance.journal.write(place.table, place.sys_id, text, write_marker(call))
        return self.instance.answer(call, place.table, row)
