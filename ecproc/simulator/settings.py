"""What a simulator is started with."""

from __future__ import annotations

from typing import Annotated

import msgspec

from ecproc.simulator.faults import NONE, FaultPlan
from ecproc.simulator.queue import QueueRules


class Scenario(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Scripted ticket lives to send; `rate` is in messages per second, None sends all at once.

    `asked` changes come besides, which go on only once the client has approved or rejected them.
    """

    tickets: Annotated[int, msgspec.Meta(ge=0)] = 50
    asked: Annotated[int, msgspec.Meta(ge=0)] = 0
    seed: int = 0
    rate: Annotated[float, msgspec.Meta(gt=0)] | None = None


class SimulatorConfig(msgspec.Struct, frozen=True, kw_only=True):
    """One bridge with one client. `env` is where scenarios are sent and what `Simulator.url` names.

    `groups` empty means that every group name is known. `refusal_status` goes with the error bodies whose HTTP status
    the guide leaves open (R223). `reflect_numbers` fills in the client's number in messages sent after returnptn.
    """

    host: str = "127.0.0.1"
    port: int = 0
    client: str = "testclient"
    env: str = "dev"
    client_name: str = "testClient"
    api_key: str = "simulator-key"
    queue: QueueRules = QueueRules()
    groups: frozenset[str] = frozenset()
    refusal_status: int = 400
    faults: FaultPlan = NONE
    reflect_numbers: bool = False
    seed: int = 0
    scenario: Scenario | None = None
