"""What holds another package's desk to the protocol takes nothing from one that keeps it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ecproc.clock import SystemClock
from ecproc.desk.guard import GuardedDesk
from ecproc.desk.local import LocalDesk
from ecproc.room import Room
from ecproc.testing.desk import DeskTests

if TYPE_CHECKING:
    from pathlib import Path


class TestGuardedDesk(DeskTests):
    async def open_desk(self, directory: Path) -> GuardedDesk:
        room = Room(directory, reserve_bytes=0)
        return GuardedDesk(await LocalDesk.open(directory / "desk.db", clock=SystemClock(), room=room))
