"""The calls that a command would lead to, exactly as they would leave, without anything being written or sent."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

import msgspec

from ecproc.attachments.store import ContentStore
from ecproc.clock import SystemClock
from ecproc.commands.intake import Examined, Intake, IntakeAnswer
from ecproc.commands.requests import AnyCommand
from ecproc.config import Config
from ecproc.domain.effects import Effect, EffectKind
from ecproc.domain.filenames import BASE64_SUFFIX, name_upload
from ecproc.domain.ids import TicketNumber
from ecproc.domain.log import Batch
from ecproc.domain.sending import encode_call, list_calls
from ecproc.fold.tickets import MACHINES
from ecproc.reading.opening import open_reading
from ecproc.wire.requests import Spelling, TicketCall, ask_upload_url, write_call

_MASKED = "***"


class PreviewedCall(msgspec.Struct, frozen=True):
    """One request; what is secret in it is masked."""

    method: str
    url: str
    headers: Mapping[str, str]
    body: msgspec.Raw | None


class _Nobody:
    """Takes nothing."""

    has_room = stopping = True

    async def submit(self, batch: Batch) -> None:
        raise AssertionError("nothing is submitted")

    def parked_by(self, stream: str) -> str | None:
        return None

    async def wait_change(self, seconds: float) -> None:
        return


async def preview_command(
    config: Config, command: AnyCommand, *, key: str, who: str
) -> list[PreviewedCall] | IntakeAnswer:
    """The calls of the command as its ticket stands now, or why it would not be taken. Raises StoreError."""
    with tempfile.TemporaryDirectory() as folder:
        content = ContentStore(Path(folder))
        await content.sweep()
        async with open_reading(config) as reader:
            intake = Intake(
                reader,
                _Nobody(),
                machines=MACHINES,
                options=config.commands,
                environment=config.bridge.identity.environment,
                content=content,
                max_bytes=config.attachments.max_bytes,
                clock=SystemClock(),
            )
            examined = await intake.examine(command, key=key, who=who)
    return _list_calls(config, examined) if isinstance(examined, Examined) else examined


def _list_calls(config: Config, examined: Examined) -> list[PreviewedCall]:
    spelling = Spelling(
        client_name=config.bridge.client_name,
        approval_id_name=config.commands.approval_id_name,
        change_note_type=config.commands.change_note_type,
    )
    command, ticket = examined.command, examined.ticket
    number = command.fields.get("clientTicketNumber") or (ticket.number if ticket else "")
    number = number or examined.stream.partition(":")[2]
    shown = []
    for call in list_calls(command, generation=ticket.generation if ticket else 0):
        effect = Effect(
            key=call.key,
            kind=call.kind,
            generation=ticket.generation if ticket else 1,
            position=0,
            at=SystemClock().now(),
            ticket=TicketNumber(ticket.ticket if ticket else ""),
            ticket_type=(ticket.type or "") if ticket else command.fields.get("ticketType", ""),
            number=call.number or number,
            fields=encode_call(call),
        )
        shown.append(_show(config, _write(effect, spelling)))
    return shown


def _write(effect: Effect, spelling: Spelling) -> TicketCall:
    if effect.kind is not EffectKind.UPLOAD:
        return write_call(effect, spelling)
    suffix = BASE64_SUFFIX if effect.fields.get("base64") == "true" else ""
    return ask_upload_url(effect.ticket, name_upload(effect.fields["name"]) + suffix)


def _show(config: Config, call: TicketCall) -> PreviewedCall:
    kind = {"content-type": "application/json"} if call.body is not None else {}
    return PreviewedCall(
        call.method,
        f"{config.bridge.url.rstrip('/')}{call.path}",
        {"x-api-key": _MASKED, **kind},
        None if call.body is None else msgspec.Raw(call.body),
    )
