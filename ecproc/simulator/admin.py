"""The simulator's own pages under /_sim/: read the ledger, send messages, change the faults, start a scenario."""

from __future__ import annotations

from urllib.parse import parse_qs

import msgspec

from ecproc.simulator.bridge import INSTANCES, EnvisionBridge, RawMessage
from ecproc.simulator.exchange import HttpRequest, Reply, give_json
from ecproc.simulator.faults import PRESETS, FaultPlan
from ecproc.simulator.settings import Scenario
from ecproc.simulator.stage import Stage

PREFIX = "/_sim/"


class Admin:
    """Answers the four pages; they need no key and suffer no faults.

    `GET ledger` · `POST messages[?env=]` (a list of messages as the guide writes them) · `POST faults` (a plan, or
    `"mild"`, `"none"`) · `POST scenario` (answers the expected outcomes, as `GET scenario` does for all so far).
    """

    def __init__(self, bridge: EnvisionBridge, stage: Stage) -> None:
        self._bridge = bridge
        self._stage = stage

    def answer(self, request: HttpRequest) -> Reply:
        """Answer one request; what it can't read it refuses with the reason."""
        try:
            return self._route(request)
        except (msgspec.DecodeError, KeyError) as error:
            return give_json({"message": str(error)}, 400)

    def _route(self, request: HttpRequest) -> Reply:
        match request.method, request.path.removeprefix(PREFIX):
            case "GET", "ledger":
                return give_json(self._bridge.ledger.describe())
            case "POST", "messages":
                return self._send_messages(request)
            case "POST", "faults":
                plan = msgspec.json.decode(request.body, type=FaultPlan | str)
                self._bridge.faults.change_plan(PRESETS[plan] if isinstance(plan, str) else plan)
                return give_json(self._bridge.faults.plan)
            case "POST", "scenario":
                scenario = msgspec.json.decode(request.body, type=Scenario)
                return give_json([life.outcome for life in self._stage.start(scenario)])
            case "GET", "scenario":
                return give_json([life.outcome for life in self._stage.lives])
            case _:
                return give_json({"message": "no such page"}, 404)

    def _send_messages(self, request: HttpRequest) -> Reply:
        env = parse_qs(request.query).get("env", [self._bridge.config.env])[0]
        if env not in INSTANCES:
            return give_json({"message": f"no environment {env}"}, 400)
        messages = msgspec.json.decode(request.body, type=list[RawMessage])
        return give_json([self._bridge.send_raw(message, env).message_id for message in messages])
