"""The running processor, asked by a command over the socket in its data directory."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Final

import anyio
import msgspec

from ecproc.config import Config
from ecproc.control import CONTROL, CONTROL_HOST, shorten_path
from ecproc.errors import EcprocError, ExitCode
from ecproc.http import HttpClient, HttpFault
from ecproc.network import Origin
from ecproc.store.opening import find_holder

ANSWER_BYTES: Final = 64 * 1024 * 1024
"""What one answer may hold."""
CALL_SECONDS: Final = 30.0
"""How long a call may take that names no time of its own."""
PATIENCE_SECONDS: Final = 5.0
"""How long a processor that starts or ends is waited for."""
_CONNECT_SECONDS: Final = 5.0
_LOOK_SECONDS: Final = 0.1


class ControlFailed(EcprocError):
    """The running processor gave no answer; `sent` says that it may have taken what was asked all the same."""

    exit_code = ExitCode.TEMPORARY

    def __init__(self, reason: str, *, hint: str, sent: bool = False) -> None:
        super().__init__(reason)
        self.hint = hint
        self.sent = sent


class ControlAnswer(msgspec.Struct, frozen=True):
    """What the processor answered."""

    status: int
    body: bytes


class Control:
    """The JSON API of the processor that holds a data directory."""

    def __init__(self, directory: Path, address: str) -> None:
        self._directory = directory
        self._address = address

    async def call(
        self,
        method: str,
        target: str,
        *,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        seconds: float = CALL_SECONDS,
    ) -> ControlAnswer:
        """Its answer, of whatever status, to one request that is made once. Raises ControlFailed."""
        try:
            return await self._call(method, target, body=body, headers=headers or {}, seconds=seconds)
        except HttpFault as fault:
            failed = self._explain(fault, seconds)
        raise failed

    async def _call(
        self, method: str, target: str, *, body: bytes | None, headers: Mapping[str, str], seconds: float
    ) -> ControlAnswer:
        client = HttpClient(
            timeout=seconds,
            max_connections=1,
            connect_seconds=_CONNECT_SECONDS,
            keep_alive=False,
            unix_socket=self._address,
        )
        kind = {"content-type": "application/json"} if body is not None else {}
        origin = Origin("http", CONTROL_HOST, 80)
        try:
            async with client.open(method, origin, target, content=body, headers={**kind, **headers}) as response:
                return ControlAnswer(response.status, await response.read(ANSWER_BYTES))
        finally:
            await client.aclose()

    def _explain(self, fault: HttpFault, seconds: float) -> ControlFailed:
        place = self._directory / CONTROL
        why = f"no answer within {seconds:g} s" if fault.kind == "timeout" else f"it is gone ({fault.kind})"
        if fault.sent:
            hint = "it may have been taken all the same: look before it is asked for again"
        else:
            hint = "nothing was asked yet: see whether the processor still runs, and try again"
        return ControlFailed(f"the processor on {place}: {why}", hint=hint, sent=fault.sent)


@asynccontextmanager
async def connect(config: Config, *, patience: float = PATIENCE_SECONDS) -> AsyncIterator[Control | None]:
    """The processor that holds this data directory, None if nobody does; only for as long as the block lasts.

    One that starts or ends is waited for. Raises ControlFailed where it does not answer then, and DataDirUnusable.
    """
    if find_holder(config.data) is None:
        yield None
        return
    directory = config.data.directory
    with shorten_path(directory) as folder:
        yield await _reach(config, Control(directory, f"{folder}/{CONTROL}"), patience=patience)


async def _reach(config: Config, control: Control, *, patience: float) -> Control | None:
    """The processor once it answers, None once nobody holds the directory any more."""
    with anyio.move_on_after(patience):
        while (holder := find_holder(config.data)) is not None:
            with suppress(ControlFailed):
                await control.call("GET", "/version")
                return control
            await anyio.sleep(_LOOK_SECONDS)
        return None
    hint = "it starts, ends or stands still: try again once /readyz says ready, and see its log for the control socket"
    raise ControlFailed(f"{holder}, which takes no commands on {CONTROL}", hint=hint)
