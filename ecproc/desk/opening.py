"""Which desk it is: the one place that names the adapters, ours and whatever another package brings."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from typing import TYPE_CHECKING

import anyio.to_thread

from ecproc.clock import Clock
from ecproc.config import Config, Secrets
from ecproc.desk.backup import DESK_FILE
from ecproc.desk.base import Desk, StoredFile, Watch
from ecproc.desk.local import LocalDesk
from ecproc.mapping import Mapping
from ecproc.room import Room

if TYPE_CHECKING:
    from ecproc.desk.servicenow.desk import ServiceNowDesk


async def open_desk(
    config: Config,
    mapping: Mapping,
    *,
    secrets: Secrets,
    align: Callable[[LocalDesk], Awaitable[None]],
    clock: Clock,
    room: Room,
) -> Desk:
    """The desk of the operator's choice, which is told things by the mapping. `align` holds the built-in one's file
    against the log. Raises ConfigError, StoreError, what `align` raises, and what says that there is no room
    (`ecproc/room.py`)."""
    match config.desk.kind:
        case "local":
            desk = await LocalDesk.open(config.data.directory / DESK_FILE, clock=clock, room=room)
            try:
                await align(desk)
            except BaseException:
                await desk.aclose()
                raise
            return desk
        case "servicenow":
            return await open_servicenow(config, mapping=mapping, secrets=secrets, clock=clock)
        case "webhook":
            from ecproc.desk.webhook.desk import WebhookDesk  # another desk need not wait for its HTTP client

            own = secrets["desk.webhook.secrets"]
            return await WebhookDesk.open(
                config.desk_webhook,
                secrets=lambda: own.values,
                clock=clock,
                mapping=mapping if config.mapping_file is not None else None,
                public_url=config.hooks.public_url,
            )
        case _:
            from ecproc.desk.plugin import open_plugin  # only who has such a desk waits for a look at what is installed

            return await open_plugin(config, mapping=mapping, secrets=secrets, clock=clock)


async def open_servicenow(config: Config, *, mapping: Mapping, secrets: Secrets, clock: Clock) -> ServiceNowDesk:
    """The desk on a ServiceNow instance; nothing is asked of it yet. Raises ConfigError."""
    from ecproc.desk.servicenow.desk import ServiceNowDesk

    return await anyio.to_thread.run_sync(  # reading authorities takes its time
        lambda: ServiceNowDesk(
            config.desk_servicenow,
            config.desk_servicenow_tables,
            mapping=mapping,
            secret=lambda key: secrets[f"desk.servicenow.{key}"].value,
            clock=clock,
        )
    )


def has_watch(config: Config) -> bool:
    """Whether the desk is asked for what people changed there."""
    return config.desk.kind == "servicenow" and config.desk_watch.interval > 0


def open_watch(
    config: Config,
    desk: Desk,
    *,
    source: str,
    handed: Callable[[str], Awaitable[Collection[StoredFile]]],
    complain: Callable[[str], None],
    clock: Clock,
) -> Watch | None:
    """The watch of that open desk; None where it has none, or is not to be asked. `handed` tells which files we attach
    ourselves, `complain` hears of rows that our user may not see."""
    if not has_watch(config):
        return None
    from ecproc.desk.servicenow.desk import ServiceNowDesk
    from ecproc.desk.servicenow.watch import ServiceNowWatch

    if not isinstance(desk, ServiceNowDesk):
        return None
    return ServiceNowWatch(
        desk.instance,
        config.desk_servicenow,
        config.desk_servicenow_tables,
        config.desk_watch,
        source=source,
        handed=handed,
        complain=complain,
        clock=clock,
    )
