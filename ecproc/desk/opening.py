"""Which desk it is: the one place that names the adapters."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import assert_never

from ecproc.clock import Clock
from ecproc.config import Config, Secrets
from ecproc.desk.backup import DESK_FILE
from ecproc.desk.base import Desk
from ecproc.desk.local import LocalDesk
from ecproc.room import Room


async def open_desk(
    config: Config, *, secrets: Secrets, align: Callable[[LocalDesk], Awaitable[None]], clock: Clock, room: Room
) -> Desk:
    """The desk of the operator's choice. `align` holds the built-in one's file against the log. Raises ConfigError,
    StoreError and what `align` raises."""
    match config.desk.kind:
        case "local":
            desk = await LocalDesk.open(config.data.directory / DESK_FILE, clock=clock, room=room)
            try:
                await align(desk)
            except BaseException:
                await desk.aclose()
                raise
            return desk
        case "webhook":
            from ecproc.desk.webhook.desk import WebhookDesk  # another desk need not wait for its HTTP client

            own = secrets["desk.webhook.secrets"]
            return await WebhookDesk.open(
                config.desk_webhook, secrets=lambda: own.values, clock=clock, public_url=config.hooks.public_url
            )
        case kind:
            assert_never(kind)
