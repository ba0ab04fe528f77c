"""Commands taken in: checked against the ticket as it stands, written down as an event, and told how far they are.

What was accepted once under a key is not taken again: the same request gets what became of it, another one a refusal.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final, Protocol, TypeAlias

import msgspec

from ecproc.attachments.base import FileRefused
from ecproc.attachments.kinds import HEAD_BYTES, find_mismatch
from ecproc.attachments.store import ContentStore
from ecproc.clock import Clock
from ecproc.commands.capability import Refusal
from ecproc.commands.checks import (
    CommandRequest,
    Unchanged,
    check_command,
    digest_request,
    find_home,
    name_command,
)
from ecproc.commands.known import KnownTicket, know_ticket
from ecproc.commands.requests import AnyCommand, Attach, Create, write_request
from ecproc.commands.values import check_key
from ecproc.config import CommandsConfig
from ecproc.domain.commands import CommandAccepted, CommandKind
from ecproc.domain.filenames import name_type, refuse_name
from ecproc.domain.ids import CLIENT_PREFIX, identity
from ecproc.domain.log import Batch, NewEvent
from ecproc.domain.state import TicketState
from ecproc.fold.machine import Machines
from ecproc.fold.recorded import decode_command, encode_event
from ecproc.reading.commands import CommandState, ShownCommand, read_command
from ecproc.reading.documents import find_stream
from ecproc.reading.folding import read_state
from ecproc.store.base import Reader

SETTLED: Final = frozenset({CommandState.DONE, CommandState.REFUSED, CommandState.DEAD})
"""States that nothing but a person leads out of."""
_DECIDED_LOOKS: Final = 100
_DECIDED_SECONDS: Final = 0.05
"""How often, and how long after each other, it is looked whether a ticket's facts are decided."""
_LOOK_SECONDS: Final = 1.0
"""How long nobody is told of a change that no attempt brought."""


class Conflict(msgspec.Struct, frozen=True):
    """The key was used for another request."""

    key: str


class Overloaded(msgspec.Struct, frozen=True):
    """The outbox is full: nothing is taken until some of it is done."""


class Accepted(msgspec.Struct, frozen=True):
    """It is written down, or was before, or there was nothing to do."""

    document: ShownCommand


class Examined(msgspec.Struct, frozen=True):
    """What would be accepted, for which ticket, and in which stream."""

    command: CommandAccepted
    ticket: KnownTicket | None
    stream: str


IntakeAnswer: TypeAlias = Accepted | Refusal | Conflict | Overloaded
"""What becomes of a command that is asked for."""


class Submitting(Protocol):
    """Whoever has the log: a running processor, or a command that took the data directory."""

    @property
    def has_room(self) -> bool:
        """Whether the outbox takes more."""

    async def submit(self, batch: Batch) -> None:
        """Append facts, and return when they are decided or their tickets parked."""

    def parked_by(self, stream: str) -> str | None:
        """What stopped the ticket; None if it is not parked."""

    @property
    def stopping(self) -> bool:
        """Whether nothing more will be performed here."""

    async def wait_change(self, seconds: float) -> None:
        """Return when an attempt has ended, or after that time."""


class Intake:
    """Takes commands in. Files are copied into `content`, of `max_bytes` at most."""

    def __init__(
        self,
        reader: Reader,
        log: Submitting,
        *,
        machines: Machines,
        options: CommandsConfig,
        environment: str,
        content: ContentStore,
        max_bytes: int,
        clock: Clock,
    ) -> None:
        self._reader = reader
        self._log = log
        self._machines = machines
        self._options = options
        self._environment = environment
        self._content = content
        self._max_bytes = max_bytes
        self._clock = clock

    async def take(self, command: AnyCommand, *, key: str, who: str) -> IntakeAnswer:
        """Accept the command under that key, which is empty where it has one by nature."""
        request = await self._read(command, key=key, who=who)
        if isinstance(request, Refusal):
            return request
        found = await self._find_ticket(command, request)
        await self._wait_decided(find_home(request, found))
        known = await self._find_known(request, found)
        if known is not None:
            return known
        examined = self._examine(request, found)
        if not isinstance(examined, Examined):
            return examined
        if not self._log.has_room:
            return Overloaded()
        event = NewEvent(examined.stream, *encode_event(examined.command), wanted=True)
        await self._log.submit(Batch(events=[event]))
        return await self._tell(examined)

    async def examine(self, command: AnyCommand, *, key: str, who: str) -> Examined | IntakeAnswer:
        """What `take` would accept, with nothing written down."""
        request = await self._read(command, key=key, who=who)
        if isinstance(request, Refusal):
            return request
        found = await self._find_ticket(command, request)
        return await self._find_known(request, found) or self._examine(request, found)

    async def show(self, key: str) -> ShownCommand | None:
        """The command of that key as of now."""
        return await read_command(self._reader, key)

    async def wait(self, key: str, seconds: float) -> ShownCommand | None:
        """The same, once it is settled or after that time, or when it will not be settled here any more."""
        end = self._clock.monotonic() + seconds
        while True:
            shown = await self.show(key)
            left = end - self._clock.monotonic()
            if shown is None or shown.state in SETTLED or left <= 0 or self._log.stopping:
                return shown
            await self._log.wait_change(min(left, _LOOK_SECONDS))

    async def _read(self, command: AnyCommand, *, key: str, who: str) -> CommandRequest | Refusal:
        refused_key = check_key(key) if key else None
        if refused_key is not None:
            return refused_key
        if not isinstance(command, Attach):
            return write_request(command, key=key, who=who)
        name, source = command.name or Path(command.file or "").name, "file" if command.content is None else "content"
        if (command.file is None) == (command.content is None) or not name:
            return Refusal("a file is given by its path, or by a name and its content", "name" if not name else "file")
        if refused := refuse_name(name):
            return Refusal(refused, "file" if command.name is None else "name")
        try:
            stored = await self._keep(command)
        except FileRefused as error:
            return Refusal(str(error), source)
        except OSError as error:
            return Refusal(f"{name} cannot be kept: {error.strerror or error}", source)
        with self._content.locate(stored[0]).open("rb") as file:
            mismatch = find_mismatch(name, file.read(HEAD_BYTES))
        if mismatch:
            return Refusal(f"{name}: {mismatch}", source)
        fields = {"name": name, "sha256": stored[0], "size": str(stored[1]), "type": name_type(name)}
        fields |= {"base64": "true"} if command.base64 else {}
        return CommandRequest(kind=CommandKind.ATTACH, fields=fields, key=key, who=who)

    async def _keep(self, command: Attach) -> tuple[str, int]:
        if command.file is not None:
            stored = await self._content.take(Path(command.file), self._max_bytes)
            return stored.sha256, stored.size
        content = command.content or b""
        if len(content) > self._max_bytes:
            raise FileRefused(command.name or "", f"it has {len(content)} bytes, {self._max_bytes} at most")
        async with self._content.receive(len(content)) as upload:
            await upload.write(content)
            kept = await upload.keep()
        return kept.sha256, kept.size

    async def _wait_decided(self, stream: str) -> None:
        """Return when what a former process accepted last is known by its key, too; at once where it is parked."""
        for _ in range(_DECIDED_LOOKS):
            state = await self._reader.stream_state(stream)
            if state.wanted <= state.through or self._log.parked_by(stream) is not None:
                return
            await self._log.wait_change(_DECIDED_SECONDS)

    async def _find_ticket(self, command: AnyCommand, request: CommandRequest) -> KnownTicket | None:
        """The ticket that is meant; of a create the one that has its number already."""
        if isinstance(command, Create):
            number = identity(request.fields.get("clientTicketNumber"))
            rows = await self._reader.read_rows("client_ticket", id=number)
            streams: Sequence[str] = [row.stream for row in rows if not row.stream.startswith(CLIENT_PREFIX)]
            return await self._know(streams[0]) if streams else None
        stream = await find_stream(self._reader, command.ticket)
        return None if stream is None else await self._know(stream)

    async def _know(self, stream: str) -> KnownTicket | None:
        state = await read_state(self._reader, stream, self._machines)
        return know_ticket(state) if isinstance(state, TicketState) else None

    async def _find_known(self, request: CommandRequest, ticket: KnownTicket | None) -> IntakeAnswer | None:
        """What became of the request under its key before; None where it is asked anew.

        One under a key by nature may be asked anew once it came to nothing; under a key of its own that is another one.
        """
        key = name_command(request, ticket)
        rows = await self._reader.read_rows("command", id=key) if key else []
        if not rows:
            return None
        shown, known = await self.show(key), decode_command(rows[0].data or b"")
        if not request.key and shown is not None and shown.state in (CommandState.REFUSED, CommandState.DEAD):
            return None
        if shown is not None and known.digest == digest_request(request):
            return Accepted(shown)
        decides = request.kind in (CommandKind.APPROVE, CommandKind.REJECT)
        return None if decides and not request.key else Conflict(key)  # of answers the check says which counts

    def _examine(self, request: CommandRequest, ticket: KnownTicket | None) -> Examined | IntakeAnswer:
        checked = check_command(request, ticket, self._options, environment=self._environment)
        if isinstance(checked, Refusal):
            return checked
        if isinstance(checked, Unchanged):
            key = name_command(request, ticket)
            number, ours = (ticket.ticket, ticket.number) if ticket is not None else ("", "")
            done = ShownCommand(number or None, ours or None, key, CommandState.DONE, checked.reason)
            return Accepted(done)
        return Examined(checked, ticket, find_home(request, ticket))

    async def _tell(self, examined: Examined) -> IntakeAnswer:
        """What became of what was just submitted; somebody else may have come first."""
        command, key = examined.command, examined.command.key
        rows = await self._reader.read_rows("command", id=key)
        if rows and decode_command(rows[0].data or b"").digest != command.digest:
            return Conflict(key)
        shown = await self.show(key)
        if shown is not None:
            return Accepted(shown)
        ticket = examined.ticket  # it is parked: the command waits with it
        ours = command.fields.get("clientTicketNumber", "") if ticket is None else ticket.number
        waiting = ShownCommand(ticket.ticket if ticket else None, ours or None, key, CommandState.ACCEPTED, "")
        return Accepted(waiting)
