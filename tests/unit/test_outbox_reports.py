"""What the outbox tells: one line for each kind of end, repeats counted, what to do where somebody can do something."""

from __future__ import annotations

from random import Random
from typing import Any

import anyio
import pytest
from structlog.testing import capture_logs

from ecproc.domain.attempt import LOOK_HINT, Attempt, Blamed, Done, Held, Odd, Postponed, Uncertain
from ecproc.domain.effects import Effect, EffectKind
from ecproc.domain.entry import Entry
from ecproc.domain.ids import EffectKey, TicketNumber
from ecproc.outbox.reports import Reports
from ecproc.outbox.retry import RetryPolicy, conclude
from ecproc.telemetry.hooks import Telemetry
from tests.simulation.clock import VirtualClock
from tests.simulation.simloop import simulated_backend

pytestmark = pytest.mark.usefixtures("fresh_loggers")

POLICY = RetryPolicy(max_attempts=12, unknown_retry=(60.0, 120.0), longest=3600.0)


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return simulated_backend()


class Told(Telemetry):
    """Keeps the metrics' words."""

    def __init__(self) -> None:
        self.words: list[tuple[str, str, float]] = []
        self.losses: list[str] = []
        self.arrivals: list[tuple[str, float]] = []
        self.breakers: list[tuple[str, bool]] = []

    def effect_finished(self, kind: str, outcome: str, seconds: float, *, position: int, reason: str = "") -> None:
        assert position == 1
        self.words.append((kind, outcome, seconds))
        self.losses += [reason] if reason else []

    def arrived(self, direction: str, seconds: float, *, position: int) -> None:
        assert position == 1
        self.arrivals.append((direction, seconds))

    def breaker(self, destination: str, *, is_open: bool) -> None:
        self.breakers.append((destination, is_open))


class Desk:
    """Reports of attempts on one clock, and the lines they left."""

    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.telemetry = Told()
        self.reports = Reports(self.telemetry, self.clock)

    def end(
        self,
        attempt: Attempt,
        kind: EffectKind = EffectKind.DOWNLOAD,
        *,
        key: str = "k",
        tries: int = 0,
        blamed: int = 0,
    ) -> Any:
        """The line that such an attempt leaves, None for none."""
        effect = Effect(EffectKey(key), kind, 1, 1, 1, TicketNumber("e-CS1"), "Incident")
        entry = Entry(effect, 1, tries=tries, blamed=blamed)
        outcome = conclude(entry, attempt, now=self.clock.now(), rng=Random(1), policy=POLICY)
        with capture_logs() as lines:
            self.reports.attempt_ended(entry, attempt, outcome, stream="e-CS1", destination="attachments", seconds=1.5)
        assert len(lines) <= 1
        return lines[0] if lines else None


async def test_success_is_counted_and_not_told() -> None:
    desk = Desk()

    assert desk.end(Done({"sha256": "ab"})) is None
    assert desk.telemetry.words == [("download_attachment", "succeeded", 1.5)]


@pytest.mark.parametrize(
    ("attempt", "level", "event", "word"),
    [
        (Held("HTTP 503"), "info", "effect_retry", "held"),
        (Blamed("HTTP 404 NoSuchKey"), "info", "effect_retry", "retryable"),
        (Held("Forbidden", down=True, hint="check bridge.api_key"), "error", "effect_retry", "held"),
        (Postponed("too large", hint="raise attachments.max_bytes"), "error", "effect_retry", "held"),
        (Odd("Perhaps"), "info", "effect_retry", "held"),
        (Uncertain("no answer"), "warning", "effect_unknown", "unknown"),
        (Blamed("no", final=True), "error", "effect_lost", "parked"),
        (Blamed("expired", lost=True), "error", "effect_lost", "discarded"),
    ],
)
async def test_each_end_has_its_line(attempt: Attempt, level: str, event: str, word: str) -> None:
    desk = Desk()

    line = desk.end(attempt, tries=4)

    assert (line["log_level"], line["event"], line["attempt"]) == (level, event, 5)
    assert (line["key"], line["kind"], line["lane"]) == ("k", "download_attachment", "attachments")
    assert (line["ticket"], line["reason"]) == ("e-CS1", attempt.reason)  # type: ignore[union-attr]
    assert ("hint" in line) == (level == "error" or isinstance(attempt, Odd))
    assert not {"repeats", "request_id"} & set(line)
    assert desk.telemetry.words == [("download_attachment", word, 1.5)]


@pytest.mark.parametrize(
    ("attempt", "kind", "reason"),
    [
        (Blamed("gone", lost=True), EffectKind.DOWNLOAD, "expired"),
        (Blamed("no", final=True), EffectKind.UPDATE, "refused"),
        (Blamed("unknown 10 times", final=True, hint=LOOK_HINT), EffectKind.CREATE_TICKET, "unknown"),
        (Odd("Thank you", final=True), EffectKind.CREATE_TICKET, "odd_answer"),
        (Blamed("no"), EffectKind.UPDATE, "attempts_spent"),
    ],
)
async def test_a_loss_is_counted_with_its_reason(attempt: Attempt, kind: EffectKind, reason: str) -> None:
    desk = Desk()

    desk.end(attempt, kind, blamed=POLICY.max_attempts - 1)

    assert desk.telemetry.losses == [reason]


@pytest.mark.parametrize(
    ("kind", "direction"),
    [
        (EffectKind.CREATE, "in"),
        (EffectKind.CREATE_TICKET, "out"),
        (EffectKind.UPLOAD, "out"),
        (EffectKind.RETURN_NUMBER, None),
        (EffectKind.DOWNLOAD, None),
    ],
)
async def test_what_arrives_is_timed_from_its_cause_s_record(kind: EffectKind, direction: str | None) -> None:
    desk = Desk()

    desk.end(Done(), kind)
    desk.end(Blamed("no", final=True), kind)

    seconds = (desk.clock.now() - 1) / 1_000_000
    assert desk.telemetry.arrivals == ([] if direction is None else [(direction, seconds)])


@pytest.mark.parametrize(
    ("attempt", "kind", "hint"),
    [
        (Blamed("no", final=True), EffectKind.UPDATE, "ecproc outbox list"),
        (Blamed("gone", lost=True), EffectKind.COMMENT, "nothing brings it back"),
        (Blamed("no", final=True, hint="name another group"), EffectKind.UPDATE, "name another group"),
        (Odd("Thank you", final=True), EffectKind.CREATE_TICKET, "see whether Ensono has it"),
    ],
)
async def test_a_loss_says_what_to_do(attempt: Attempt, kind: EffectKind, hint: str) -> None:
    assert hint in Desk().end(attempt, kind)["hint"]


async def test_the_receivers_name_for_the_call_is_told() -> None:
    assert Desk().end(Held("HTTP 503", request_id="4A5B"))["request_id"] == "4A5B"


@pytest.mark.parametrize("attempt", [Held("HTTP 503"), Uncertain("no answer"), Postponed("too large", hint="raise it")])
async def test_repeats_of_one_complaint_are_told_once_a_minute(attempt: Attempt) -> None:
    desk = Desk()
    told = []
    for count in range(8):
        told.append(desk.end(attempt, key=f"k{count}"))
        await anyio.sleep(10)

    assert [line is not None for line in told] == [True, *[False] * 5, True, False]
    assert (told[0].get("repeats"), told[6]["repeats"], told[6]["key"]) == (None, 6, "k6")


async def test_another_reason_is_another_complaint_and_a_loss_is_always_told() -> None:
    desk = Desk()

    assert [desk.end(Held(reason))["reason"] for reason in ("a", "b")] == ["a", "b"]
    assert all(desk.end(Blamed("expired", lost=True), key=f"k{count}") for count in range(5))


async def test_a_breaker_tells_why_it_opened_and_that_it_closed() -> None:
    desk = Desk()
    with capture_logs() as lines:
        desk.reports.breaker_changed("bridge", Held("Forbidden", hint="check the key"), is_open=True)
        desk.reports.breaker_changed("bridge", Done(), is_open=False)

    first, second = lines
    assert (first["event"], first["log_level"], first["open"]) == ("breaker", "warning", True)
    assert (first["reason"], first["hint"], first["destination"]) == ("Forbidden", "check the key", "bridge")
    assert (second["event"], second["log_level"], second["open"]) == ("breaker", "info", False)
    assert desk.telemetry.breakers == [("bridge", True), ("bridge", False)]
