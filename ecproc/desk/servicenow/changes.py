"""Changes of changes: their own interface for new ones, and their states one by one."""

from __future__ import annotations

from typing import Final

from ecproc.desk.base import DeskCall, DeskRefused
from ecproc.desk.servicenow.calls import Calls
from ecproc.desk.servicenow.moves import CANCELED, MOST_STEPS, choose_step, is_reached, read_offered
from ecproc.desk.servicenow.wire import InstanceCall, RecordValues, create_change, patch, read, read_next_states
from ecproc.domain.effects import EffectKind

TABLE: Final = "change_request"
_STANDARD: Final = "standard"
_KINDS: Final = ("normal", "emergency", _STANDARD)
_OF_THE_END: Final = frozenset({"close_code", "close_notes"})
"""Fields that belong to a change's end: where that was reached before, they were filled in by somebody else."""
_HINT: Final = "let somebody move the change at the desk, or mend the mapping's states; then ecproc outbox retry"


class Changes:
    """The changes of one instance."""

    def __init__(self, calls: Calls, *, key_field: str, walk: bool, managed: bool, template: str) -> None:
        self._calls = calls
        self._key_field = key_field
        self._walk = walk
        self._managed = managed
        self._template = template

    def write_create(self, call: DeskCall, body: RecordValues) -> InstanceCall | None:
        """The request that makes a change by their own interface; None where the table takes it."""
        kind = (body.get("type") or call.fields.get("type", "")).strip().lower()
        if kind == _STANDARD and self._template:
            return create_change(kind, body, template=self._template)
        if not self._managed:
            return None
        # Without a template there is no standard change there: its type is told, and the model decides.
        return create_change(kind if kind in _KINDS and kind != _STANDARD else "normal", body)

    async def write(self, call: DeskCall, sys_id: str, fields: RecordValues, *, extra: RecordValues) -> RecordValues:
        """Bring a change to the fields' state and the other fields; `extra` goes along with the first thing that is
        written. A state that the change went through already is not written. Raises DeskRefused where it stays behind.
        """
        row = await self._calls.known(read(TABLE, sys_id, key_field=self._key_field, fields=fields))
        target, others = fields["state"], {name: value for name, value in fields.items() if name != "state"}
        if is_reached(row.get("state", ""), target):
            others = {name: value for name, value in others.items() if name not in _OF_THE_END}
            news = {name: value for name, value in others.items() if row.get(name) != value} | dict(extra)
            if call.kind == EffectKind.CLOSE or not news:
                return row
            return await self._calls.record(self._patch(sys_id, news, repeatable=not extra))
        return await self._go(sys_id, row, target, others, extra)

    async def _go(
        self, sys_id: str, row: RecordValues, target: str, others: RecordValues, extra: RecordValues
    ) -> RecordValues:
        offered: tuple[str, ...] | None = None
        along = {**extra}
        for _ in range(MOST_STEPS):
            current = row.get("state", "")
            if is_reached(current, target):
                return row
            step = choose_step(current, target, walk=self._walk, offered=offered)
            if step is None:
                break
            body = {"state": step, **(others if step == target else {}), **along}
            row = await self._calls.record(self._patch(sys_id, body, repeatable=not along))
            along = {}
            if row.get("state", "") != current:
                offered = None
            elif offered is None:
                offered = read_offered(await self._calls.result(read_next_states(sys_id)))
            else:
                break
        if is_reached(row.get("state", ""), target):
            return row
        raise self._describe(row, target, offered)

    def _patch(self, sys_id: str, body: RecordValues, *, repeatable: bool) -> InstanceCall:
        return patch(TABLE, sys_id, body, key_field=self._key_field, repeatable=repeatable)

    def _describe(self, row: RecordValues, target: str, offered: tuple[str, ...] | None) -> DeskRefused:
        known = f"; it may go to {', '.join(offered) or 'no other one'}" if offered is not None else ""
        what = "be cancelled" if target == CANCELED else f"go to state {target}"
        return DeskRefused(f"state stayed {row.get('state')}: the change does not {what}{known}", hint=_HINT)
