"""Requests made and their answers judged: a record, a list, or an error in the desk's words."""

from __future__ import annotations

from typing import Any

from ecproc.desk.base import DeskRefused, DeskUnavailable
from ecproc.desk.servicenow.answers import gone, read_answer, read_list, read_record
from ecproc.desk.servicenow.session import FileBody, InstanceSession
from ecproc.desk.servicenow.wire import InstanceCall, RecordValues


class Calls:
    """What the parts of the desk ask the instance. All raise DeskUnavailable and DeskRefused."""

    def __init__(self, session: InstanceSession) -> None:
        self._session = session

    async def result(self, request: InstanceCall) -> Any:
        """What an answer holds, whatever it is."""
        return read_answer(request, await self._session.send(request))

    async def record(self, request: InstanceCall, upload: FileBody | None = None) -> RecordValues:
        """The record that was made, changed or read."""
        return read_record(request, await self._session.send(request, upload))

    async def known(self, request: InstanceCall) -> RecordValues:
        """A record that is read by its sys_id, which a client ticket has: it must be there."""
        seen = await self._session.send(request)
        if seen.status == 404:
            raise gone(request, seen, "HTTP 404: the client ticket's record is not there")
        return read_record(request, seen)

    async def rows(self, request: InstanceCall) -> list[RecordValues]:
        """The records that were found."""
        return read_list(request, await self._session.send(request))


def before_writing(error: DeskUnavailable | DeskRefused) -> DeskUnavailable:
    """What failed while we only made sure of something: the call itself was not sent."""
    if isinstance(error, DeskUnavailable):
        return DeskUnavailable(
            str(error),
            sent=False,
            retry_after=error.retry_after,
            down=error.down,
            hint=error.hint,
            remarks=error.remarks,
            call=error.call,
        )
    return DeskUnavailable(str(error), sent=False, down=True, hint=error.hint, remarks=error.remarks, call=error.call)
