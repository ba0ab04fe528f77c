"""Approvals that Ensono asks for: a record of the approver, or a note where there is no such user."""

from __future__ import annotations

from typing import Final, NamedTuple

from ecproc.desk.base import DeskCall, DeskUnavailable
from ecproc.desk.servicenow.calls import Calls, before_writing
from ecproc.desk.servicenow.fields import Translator
from ecproc.desk.servicenow.texts import shorten, write_approval
from ecproc.desk.servicenow.wire import ask_approver, read_approvers
from ecproc.domain.anomalies import Anomaly
from ecproc.domain.events import Remark

_ASKED: Final = "requested"


class ApprovalNote(NamedTuple):
    """What is left to be said in a note, and what is odd about it."""

    notes: tuple[str, ...] = ()
    remarks: tuple[Remark, ...] = ()


class Approvals:
    """Asks for approvals in the way of the operator's choice."""

    def __init__(self, calls: Calls, translator: Translator, *, as_records: bool) -> None:
        self._calls = calls
        self._translator = translator
        self._as_records = as_records

    async def ask(self, call: DeskCall, sys_id: str, *, is_change: bool) -> ApprovalNote:
        """Ask for the approval that a call brings, once. Raises DeskUnavailable and DeskRefused."""
        state = call.fields.get("approvalState", "")
        if not state:
            return ApprovalNote()
        if not (self._as_records and is_change and state.strip().lower() == _ASKED):
            return ApprovalNote((write_approval(call.fields),))
        email = call.fields.get("approverEmail", "")
        try:
            user = await self._translator.find_user(email)
            known = {row.get("approver") for row in await self._calls.rows(read_approvers(sys_id))} if user else set()
        except DeskUnavailable as error:
            raise before_writing(error) from None
        if user is None:
            remark = Remark(Anomaly.USER_UNKNOWN, f"approver {shorten(email)!r}")
            return ApprovalNote((write_approval(call.fields),), (remark,))
        if user not in known:
            await self._calls.record(ask_approver(sys_id, user))
        return ApprovalNote()
