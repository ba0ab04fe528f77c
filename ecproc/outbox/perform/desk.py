"""Effects at the client's own ITSM."""

from __future__ import annotations

from contextlib import suppress
from typing import Final

import anyio

from ecproc.desk.base import DESK_KINDS, Desk, DeskAnswer, DeskCall, DeskHasNoRoom, DeskRefused, DeskUnavailable
from ecproc.domain.attempt import Attempt, Blamed, Done, Held, Uncertain
from ecproc.domain.effects import EffectKind, Repeat
from ecproc.domain.entry import Entry, EntryState
from ecproc.domain.ids import create_key
from ecproc.fold.recorded import decode_entry
from ecproc.store.base import Reader

_NO_ROOM_PAUSE: Final = 1.0
"""Seconds until a desk whose file has no room is asked again."""
_NO_ROOM_TRIES: Final = 40
"""How often: a try may wait for a lock for seconds itself, and all of it has to fit into an attempt."""
_REMEMBERED: Final = 10_000
"""Client tickets whose numbers are kept in memory: what follows a ticket's create mostly comes soon."""


class DeskPerformer:
    """Calls the desk, which says of each kind why a repeat is harmless; one that has to be looked up is."""

    name = "desk"
    kinds = DESK_KINDS

    def __init__(self, desk: Desk, store: Reader) -> None:
        self._desk = desk
        self._store = store
        self._created: dict[tuple[str, int], str] = {}

    def repeat_of(self, kind: EffectKind) -> Repeat:
        return self._desk.repeat_of(kind)

    async def perform(self, stream: str, entry: Entry) -> Attempt:
        number = entry.effect.number
        if number is None and entry.effect.kind is not EffectKind.CREATE:
            number = await self._find_created(stream, entry.effect.generation)
            if number is None:
                return Blamed("no client ticket of this generation", final=True)
        call = DeskCall(
            key=entry.effect.key,
            kind=entry.effect.kind,
            ticket=entry.effect.ticket,
            ticket_type=entry.effect.ticket_type,
            number=number,
            fields=entry.effect.fields,
        )
        answer = None
        if entry.state is EntryState.UNKNOWN and self.repeat_of(entry.effect.kind) is Repeat.LOOK_UP:
            try:
                answer = await self._desk.look_up(call)
            except (DeskUnavailable, DeskRefused) as error:
                return Uncertain(f"look-up: {error}")  # what a former attempt did is as open as before
        try:
            answer = answer or await self._perform(call)
        except DeskUnavailable as error:
            return Uncertain(str(error)) if error.sent else Held(str(error), error.retry_after)
        except DeskRefused as error:
            return Blamed(str(error))
        if entry.effect.kind is EffectKind.CREATE:
            self._remember(stream, entry.effect.generation, answer.number)
        return Done({"number": answer.number, "state": answer.state})

    async def _perform(self, call: DeskCall) -> DeskAnswer:
        """Ask, and ask again while the desk's own file has no room: that is no word about the entry or the desk."""
        for _ in range(_NO_ROOM_TRIES):
            with suppress(DeskHasNoRoom):
                return await self._desk.perform(call)
            await anyio.sleep(_NO_ROOM_PAUSE)
        return await self._desk.perform(call)

    async def _find_created(self, stream: str, generation: int) -> str | None:
        """The number that creating this generation's client ticket gave: as was seen lately, or as its entry has it."""
        number = self._created.get((stream, generation))
        if number is None:
            for row in await self._store.read_rows("outbox", stream=stream, id=create_key(stream, generation)):
                number = decode_entry(row.data or b"").result.get("number")
            if number is not None:
                self._remember(stream, generation, number)
        return number

    def _remember(self, stream: str, generation: int, number: str) -> None:
        self._created[stream, generation] = number
        while len(self._created) > _REMEMBERED:
            del self._created[next(iter(self._created))]
