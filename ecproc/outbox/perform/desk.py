"""Effects at the client's own ITSM."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

import anyio
import msgspec

from ecproc.desk.base import (
    DESK_KINDS,
    Desk,
    DeskAnswer,
    DeskCall,
    DeskHasNoRoom,
    DeskRefused,
    DeskUnavailable,
    StoredFile,
)
from ecproc.domain.attempt import Attempt, Blamed, Done, Held, Uncertain
from ecproc.domain.effects import Effect, EffectKind, Repeat
from ecproc.domain.entry import Entry, EntryState
from ecproc.domain.ids import create_key
from ecproc.fold.recorded import decode_entry
from ecproc.store.base import Reader

_NO_ROOM_PAUSE: Final = 1.0
"""Seconds until a desk whose file has no room is asked again."""
_NO_ROOM_TRIES: Final = 40
"""How often: a try may wait for a lock for seconds itself, and all of it has to fit into an attempt."""
_AGAIN: Final = "reopen:"
"""Begins the keys of creates that a re-open led to."""
_REMEMBERED: Final = 10_000
"""Client tickets whose numbers are kept in memory: what follows a ticket's create mostly comes soon."""


class _Header(msgspec.Struct):
    """What a ticket's row says of its record."""

    fields: Mapping[str, str] = {}
    state: str | None = None


_decode_header = msgspec.json.Decoder(_Header).decode


class DeskPerformer:
    """Calls the desk, which says of each kind why a repeat is harmless; one that has to be looked up is."""

    name = "desk"
    kinds = DESK_KINDS

    def __init__(self, desk: Desk, store: Reader, *, directory: Path, with_record: bool = False) -> None:
        """`directory` is the data directory, below which stored files stand; `with_record` gives the desk all that is
        known of a ticket with each call."""
        self._desk = desk
        self._with_record = with_record
        self._store = store
        self._directory = directory
        self._created: dict[tuple[str, str], tuple[str, str]] = {}

    def repeat_of(self, kind: EffectKind) -> Repeat:
        return self._desk.repeat_of(kind)

    def ends_after(self, kind: EffectKind) -> float:
        return self._desk.ends_after(kind)

    async def perform(self, stream: str, entry: Entry) -> Attempt:
        call = await self._make_call(stream, entry)
        if isinstance(call, Blamed):
            return call
        answer = None
        if entry.state is EntryState.UNKNOWN and self.repeat_of(entry.effect.kind) is Repeat.LOOK_UP:
            try:
                answer = await self._desk.look_up(call)
            except (DeskUnavailable, DeskRefused) as error:
                if isinstance(error, DeskRefused) and error.final:  # whatever was done is gone with its record
                    return _blame(error)
                # what a former attempt did is as open as before
                return Uncertain(f"look-up: {error}", error.hint, call=error.call, remarks=error.remarks)
        try:
            answer = answer or await self._perform(call)
        except DeskUnavailable as error:
            if error.sent:
                return Uncertain(str(error), error.hint, call=error.call, remarks=error.remarks)
            return Held(
                str(error),
                error.retry_after,
                down=error.down,
                hint=error.hint,
                call=error.call,
                remarks=error.remarks,
            )
        except DeskRefused as error:
            return _blame(error)
        if entry.effect.kind is EffectKind.CREATE:
            self._remember(stream, _name_create(stream, entry.effect), (answer.number, answer.reference))
        return Done(_tell(answer), remarks=answer.remarks, view=answer.view, stamp=answer.stamp)

    async def _make_call(self, stream: str, entry: Entry) -> DeskCall | Blamed:
        effect = entry.effect
        number, reference = effect.number, effect.reference
        if number is None and effect.kind is not EffectKind.CREATE:
            created = await self._find_created(stream, _name_create(stream, effect))
            if created is None:
                return Blamed("no client ticket of this generation", final=True)
            number, reference = created
        file = self._find_file(effect) if effect.kind is EffectKind.ATTACH else None
        return DeskCall(
            key=effect.key,
            kind=effect.kind,
            ticket=effect.ticket,
            ticket_type=effect.ticket_type,
            number=number,
            fields=effect.fields,
            generation=effect.generation,
            reference=reference,
            file=file,
            record=await self._read_record(stream) if self._with_record else {},
            planned_at=effect.at,
        )

    async def _read_record(self, stream: str) -> Mapping[str, str]:
        rows = await self._store.read_rows("ticket", stream=stream)
        if not rows or rows[0].data is None:
            return {}
        header = _decode_header(rows[0].data)
        return {**header.fields, "state": header.state or ""}

    def _find_file(self, effect: Effect) -> StoredFile:
        fields = effect.fields
        path = self._directory / fields["path"]
        return StoredFile(fields["name"], fields["type"], int(fields["size"]), fields["sha256"], path)

    async def _perform(self, call: DeskCall) -> DeskAnswer:
        """Ask, and ask again while the desk's own file has no room: that is no word about the entry or the desk."""
        for _ in range(_NO_ROOM_TRIES):
            with suppress(DeskHasNoRoom):
                return await self._desk.perform(call)
            await anyio.sleep(_NO_ROOM_PAUSE)
        return await self._desk.perform(call)

    async def _find_created(self, stream: str, create: str) -> tuple[str, str] | None:
        """The number and reference that creating this client ticket gave: as was seen lately, or as the create's entry
        has it."""
        created = self._created.get((stream, create))
        if created is None:
            for row in await self._store.read_rows("outbox", stream=stream, id=create):
                result = decode_entry(row.data or b"").result
                if "number" in result:
                    created = result["number"], result.get("reference", "")
            if created is not None:
                self._remember(stream, create, created)
        return created

    def _remember(self, stream: str, create: str, created: tuple[str, str]) -> None:
        self._created[stream, create] = created
        while len(self._created) > _REMEMBERED:
            del self._created[next(iter(self._created))]


def _name_create(stream: str, effect: Effect) -> str:
    """The key of the create that tells the number of the client ticket that the effect is for, or makes."""
    again = effect.key if effect.kind is EffectKind.CREATE and effect.key.startswith(_AGAIN) else ""
    return effect.created_by or again or create_key(stream, effect.generation)


def _blame(error: DeskRefused) -> Blamed:
    return Blamed(str(error), final=error.final, hint=error.hint, call=error.call, remarks=error.remarks)


def _tell(answer: DeskAnswer) -> dict[str, str]:
    """The answer as an outcome keeps it: a state that it does not tell stays what it was."""
    told = {"number": answer.number, "state": answer.state, "reference": answer.reference, "url": answer.url}
    return {name: text for name, text in told.items() if text or name == "number"}
