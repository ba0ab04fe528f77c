"""Sends scripted lives through a bridge: all at once, or so many messages per second."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

import msgspec

from ecproc.simulator.bridge import EnvisionBridge
from ecproc.simulator.lives import ask_client, generate_lives, order_messages
from ecproc.simulator.queue import QueueMessage
from ecproc.simulator.script import ScriptedLife
from ecproc.simulator.settings import Scenario

SHORTEST_NAP = 0.02


class Stage:
    """The sender on Ensono's side. `schedule` runs a function after so many seconds on the caller's clock."""

    def __init__(self, bridge: EnvisionBridge, schedule: Callable[[float, Callable[[], None]], object]) -> None:
        self._bridge = bridge
        self._schedule = schedule
        self.lives: list[ScriptedLife] = []
        self._asked: dict[str, ScriptedLife] = {}
        bridge.on_decided = self._go_on

    def start(self, scenario: Scenario) -> Sequence[ScriptedLife]:
        """Write a scenario's lives for this bridge, offer their files and begin to send; gives the lives."""
        config = self._bridge.config
        now = int(self._bridge.clock() * 1000)
        lives = generate_lives(
            scenario.seed,
            tickets=scenario.tickets,
            base_time_ms=now,
            url_base=self._bridge.url_base,
            client_name=config.client_name,
        )
        lives += [
            ask_client(seed, base_time_ms=now, url_base=self._bridge.url_base, client_name=config.client_name)
            for seed in range(scenario.seed, scenario.seed + scenario.asked)
        ]
        self.play(lives, rate=scenario.rate)
        return lives

    def play(self, lives: Sequence[ScriptedLife], *, rate: float | None = None) -> None:
        """Offer the lives' files and send their messages, stamped with the time they are sent at.

        A life that asks the client goes on when it is answered; its first answer counts (R177).
        """
        self.lives.extend(lives)
        self._asked.update({life.ticket: life for life in lives if life.approved or life.rejected})
        for life in lives:
            for file in life.files:
                self._bridge.files.offer(file)
        messages = deque(order_messages(lives))
        self._bridge.ledger.unsent += len(messages)
        if rate is None:
            self._send(messages, len(messages))
        else:
            self._keep_pace(messages, rate, self._bridge.clock(), len(messages))

    def _go_on(self, ticket: str, approved: bool) -> None:
        life = self._asked.pop(ticket, None)
        sequel = None if life is None else life.approved if approved else life.rejected
        if life is not None and sequel is not None:
            self.lives[self.lives.index(life)] = msgspec.structs.replace(life, outcome=sequel.outcome)
            for message in sequel.messages:
                self._bridge.send(_unstamp(message))

    def _keep_pace(self, messages: deque[QueueMessage], rate: float, started: float, total: int) -> None:
        due = int((self._bridge.clock() - started) * rate) + 1
        self._send(messages, min(due - (total - len(messages)), len(messages)))
        if messages:
            nap = max(1 / rate, SHORTEST_NAP)
            self._schedule(nap, lambda: self._keep_pace(messages, rate, started, total))

    def _send(self, messages: deque[QueueMessage], count: int) -> None:
        for _ in range(count):
            self._bridge.send(_unstamp(messages.popleft()))
            self._bridge.ledger.unsent -= 1


def _unstamp(message: QueueMessage) -> QueueMessage:
    """Leave the time and the sequence number to the queue, as a message that is sent only now."""
    kept = {
        name: value for name, value in message.attributes.items() if name not in ("SentTimestamp", "SequenceNumber")
    }
    return msgspec.structs.replace(message, attributes=kept)
