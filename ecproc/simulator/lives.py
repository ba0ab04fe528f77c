"""Scripted ticket lives from a seed: what Ensono sends, in which order, and what must come of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import count
from random import Random

import msgspec

from ecproc.simulator import cases, changes
from ecproc.simulator.cases import CaseScript
from ecproc.simulator.changes import ChangeScript
from ecproc.simulator.queue import FIRST_SEQUENCE, SEQUENCE_STEP, QueueMessage
from ecproc.simulator.script import ScriptedLife, Sequel, Setting

MESSAGE_GAP_MS = 7
_FIRST_ASKED = 9_000_000
STORIES = {**cases.STORIES, **changes.STORIES}
DECK_SIZE = sum(share for share, _ in STORIES.values())


def generate_lives(
    seed: int,
    *,
    tickets: int,
    base_time_ms: int,
    url_base: str = "http://127.0.0.1",
    client_name: str = "testClient",
) -> list[ScriptedLife]:
    """Give this many tickets' lives, the same for the same arguments; DECK_SIZE tickets show every plot.

    Messages carry SequenceNumbers and SentTimestamps (from `base_time_ms` on) of one global order in which the lives
    run side by side. Attachment URLs on `url_base` are signed at `base_time_ms`. The numbers depend on the seed.
    """
    rng = Random(seed)
    world = Setting(rng=rng, base_time_ms=base_time_ms, url_base=url_base, client_name=client_name)
    first = 1_000_000 + seed % 300 * 10_000
    deck: list[str] = []
    lives: list[ScriptedLife] = []
    for number in range(first, first + tickets):
        if not deck:
            deck = _shuffle_deck(rng)
        lives.append(_write_life(world, deck.pop(), number))
    return _stamp(lives, rng, base_time_ms)


def ask_client(
    seed: int, *, base_time_ms: int, url_base: str = "http://127.0.0.1", client_name: str = "testClient"
) -> ScriptedLife:
    """Give a Normal change that goes on only once the client has approved or rejected it, whichever comes first."""

    def play(go_on: Callable[[ChangeScript], None] | None) -> ScriptedLife:
        world = Setting(rng=Random(seed), base_time_ms=base_time_ms, url_base=url_base, client_name=client_name)
        change = ChangeScript(world, ticket=f"e-CHG{_FIRST_ASKED + seed}", type_name="Normal")
        changes.begin_normally(change)
        if go_on is not None:
            go_on(change)
        return change.finish("change-asked")

    (asked,) = _stamp([play(None)], Random(seed), base_time_ms)

    def follow(go_on: Callable[[ChangeScript], None]) -> Sequel:
        life = play(go_on)
        return Sequel(messages=life.messages[len(asked.messages) :], outcome=life.outcome)

    return msgspec.structs.replace(
        asked, approved=follow(changes.go_on_after_approval), rejected=follow(changes.go_on_after_rejection)
    )


def order_messages(lives: Iterable[ScriptedLife]) -> list[QueueMessage]:
    """Give all messages in the order Ensono sends them: the lives mixed, each life's own order kept."""
    messages = [message for life in lives for message in life.messages]
    return sorted(messages, key=lambda message: int(str(message.attributes["SequenceNumber"])))


def _shuffle_deck(rng: Random) -> list[str]:
    deck = [story for story, (share, _) in STORIES.items() for _ in range(share)]
    rng.shuffle(deck)
    return deck


def _write_life(world: Setting, story: str, number: int) -> ScriptedLife:
    if story in cases.STORIES:
        client_number = f"INC{number + 7_000_000}" if story in cases.NUMBERED else ""
        case = CaseScript(world, ticket=f"e-CS{number}", client_number=client_number)
        cases.STORIES[story][1](case)
        return case.finish(story)
    client_number = f"CHG{number + 7_000_000}" if story in changes.NUMBERED else ""
    type_name = changes.TYPES.get(story, "Normal")
    change = ChangeScript(world, ticket=f"e-CHG{number}", type_name=type_name, client_number=client_number)
    changes.STORIES[story][1](change)
    return change.finish(story)


def _stamp(lives: Sequence[ScriptedLife], rng: Random, base_time_ms: int) -> list[ScriptedLife]:
    """Mix the lives into one order and number their messages by it."""
    times: list[tuple[float, int]] = []
    for place, life in enumerate(lives):
        moment = rng.random()
        for _ in life.messages:
            times.append((moment, place))
            moment += rng.expovariate(12)
    order = count()
    stamped: list[list[QueueMessage]] = [[] for _ in lives]
    for _, place in sorted(times):
        message, position = lives[place].messages[len(stamped[place])], next(order)
        attributes = {
            **message.attributes,
            "SentTimestamp": str(base_time_ms + position * MESSAGE_GAP_MS),
            "SequenceNumber": str(FIRST_SEQUENCE + position * SEQUENCE_STEP),
        }
        stamped[place].append(msgspec.structs.replace(message, attributes=attributes))
    return [msgspec.structs.replace(life, messages=tuple(own)) for life, own in zip(lives, stamped, strict=True)]
