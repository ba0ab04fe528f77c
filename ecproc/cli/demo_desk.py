"""The demo's ServiceNow instance: what stands there before Ensono's first message, and how the processor reaches it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from ecproc.simulator.script import ScriptedLife
from ecproc.simulator.servicenow.faults import FaultRates, InstanceFault
from ecproc.simulator.servicenow.server import ServiceNowSimulator
from ecproc.simulator.servicenow.settings import InstanceConfig
from ecproc.simulator.texts import GROUPS

TABLES: Final[Mapping[str, str]] = {"Incident": "incident", "Request": "sc_req_item", "Change": "change_request"}
"""Where records of each type of Ensono's are kept."""

_FAULTS: Final = FaultRates(
    shares={InstanceFault.LOST_ANSWER: 0.03, InstanceFault.SLOW: 0.02, InstanceFault.APPLY_LATE: 0.01},
    slow_seconds=(0.1, 0.5),
    late_seconds=(0.1, 0.9),
    reads=False,
)
_QUOTA: Final = 1.0
"""Seconds; every late call is applied by then. With an instance's 60 each lost answer would be a minute of waiting."""
_MARGIN: Final = 0.5


class _Body(msgspec.Struct):
    cis: str = ""


def plan_instance(*, faults: bool, seed: int) -> InstanceConfig:
    """What the instance is started with."""
    return InstanceConfig(faults=_FAULTS if faults else FaultRates(), seed=seed)


def furnish(instance: ServiceNowSimulator, lives: Sequence[ScriptedLife]) -> None:
    """Make what people have there already: Ensono's groups and items, and the records whose numbers Ensono knows."""
    for group in dict.fromkeys(name for name, _ in GROUPS):
        instance.create("sys_user_group", name=group)
    bodies = (msgspec.json.decode(message.body, type=_Body) for life in lives for message in life.messages)
    for item in dict.fromkeys(item for body in bodies for item in body.cis.split(",") if item):
        instance.create("cmdb_ci", name=item)
    for life in lives:
        if number := life.outcome.adopted_number:
            instance.create(
                TABLES[life.outcome.type], number=number, short_description=f"Known to Ensono as {life.ticket}"
            )


def name_desk(instance: ServiceNowSimulator) -> Mapping[str, str]:
    """The variables that make this instance the processor's desk, which it asks every second."""
    config = instance.service.config
    return {
        "ECPROC_DESK__KIND": "servicenow",
        "ECPROC_DESK_SERVICENOW__URL": instance.url,
        "ECPROC_DESK_SERVICENOW__CLIENT_ID": config.client_id,
        "ECPROC_DESK_SERVICENOW__CLIENT_SECRET": config.client_secret,
        "ECPROC_DESK_SERVICENOW__QUOTA_SECONDS": f"{_QUOTA:g}",
        "ECPROC_DESK_SERVICENOW__LOOKUP_MARGIN_SECONDS": f"{_MARGIN:g}",
        "ECPROC_DESK_SERVICENOW__TIMEOUT": "5",
        "ECPROC_DESK_WATCH__INTERVAL": "1",
        "ECPROC_DESK_WATCH__OVERLAP": "5",
        "ECPROC_OUTBOX__UNKNOWN_RETRY": f"{_QUOTA + _MARGIN:g},3",
    }


def list_opened(instance: ServiceNowSimulator) -> Mapping[str, Sequence[str]]:
    """The records that the processor made, by Ensono's number, in the order of the ticket's generations."""
    opened: dict[str, list[str]] = {}
    keys = sorted(instance.ledger.created.items(), key=lambda made: _split(made[0]))
    for key, numbers in keys:
        opened.setdefault(_split(key)[0], []).extend(numbers)
    return opened


def _split(key: str) -> tuple[str, int]:
    """Ensono's number and the generation of the key that a record is found by, as in e-CS0879727:g1."""
    ticket, _, generation = key.rpartition(":g")
    return ticket, int(generation)
