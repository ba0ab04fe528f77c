"""What the outbox tells: every ended attempt to the metrics, and to the log what somebody may have to know."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, assert_never

import structlog

from ecproc.clock import Clock
from ecproc.domain.attempt import LOOK_HINT, Attempt, Blamed, Deferred, Done, Held, Odd, Postponed, Uncertain
from ecproc.domain.effects import LANES, Effect, EffectKind, Lane
from ecproc.domain.entry import Entry
from ecproc.domain.events import EffectFailed, EffectOutcome, EffectSucceeded, EffectUnknown, LossReason
from ecproc.domain.sending import COMMAND_EFFECTS
from ecproc.outbox.retry import SECOND, Ended
from ecproc.telemetry.complaints import Complaints
from ecproc.telemetry.hooks import LOSSES, Telemetry

log = structlog.get_logger()

_ODD_HINT: Final = "nothing to do unless it goes on: it counts as done once a message shows that it was"
_PARKED_HINT: Final = "it is kept and waits until somebody mends the cause; see: ecproc outbox list"
_UNSERVED_HINT: Final = "it waits until something that does it is configured; see: ecproc outbox list"
_GONE_HINT: Final = "nothing brings it back; what it was for stands in: ecproc outbox list"


class Reports:
    """Repeats of one complaint are counted and told once a minute with their number; a loss is always told."""

    def __init__(self, telemetry: Telemetry, clock: Clock) -> None:
        self._telemetry = telemetry
        self._clock = clock
        self._complaints = Complaints()
        self._unserved: set[EffectKind] = set()
        self._paced = False

    def attempt_ended(
        self, entry: Entry, attempt: Attempt, outcome: Ended, *, stream: str, destination: str, seconds: float
    ) -> None:
        """Tell what an attempt of the entry, as it stood before, led to and how long it took."""
        word, effect = _word(outcome), entry.effect
        reason = _name_loss(attempt) if word in LOSSES else ""
        self._telemetry.effect_finished(effect.kind, word, seconds, position=effect.position, reason=reason)
        if isinstance(outcome, EffectSucceeded):
            self._note_arrival(effect)
            return
        fields = _describe(entry, outcome, stream)
        hint = _hint(attempt)
        if isinstance(outcome, EffectUnknown):
            self._complain("warning", "effect_unknown", destination, fields, hint=hint)
        elif outcome.next_attempt_at is None:
            log.error("effect_lost", **fields, hint=hint or _what_to_do(outcome))
        else:
            self._complain("error" if _is_refusal(attempt) else "info", "effect_retry", destination, fields, hint=hint)

    def looked(self, due: Mapping[Lane, int | None], *, paced: int) -> None:
        """Since when each lane has something due, where that changed; that so many creates wait for their turn is said
        once while it lasts."""
        for lane, since in due.items():
            self._telemetry.outbox_oldest_due(lane, since)
        if paced and not self._paced:
            hint = "nothing to do: policy.create_per_minute bounds them, 0 lets all of them begin at once"
            log.info("creates_paced", waiting=paced, hint=hint)
        self._paced = bool(paced)

    def _note_arrival(self, effect: Effect) -> None:
        direction = "in" if LANES[effect.kind] is Lane.DESK else "out" if effect.kind in COMMAND_EFFECTS else ""
        if direction:
            seconds = max(0.0, (self._clock.now() - effect.at) / SECOND)
            self._telemetry.arrived(direction, seconds, position=effect.position)

    def deferred(self, entry: Entry, attempt: Deferred, *, stream: str) -> None:
        """Tell that there was no room for this entry."""
        fields = {**_name(entry, stream), "reason": attempt.reason}
        self._complain("info", "effect_retry", entry.lane, fields, hint=attempt.hint)

    def paused(self, stream: str, what: str, count: int, *, paused: bool) -> None:
        """Tell that a person lets nothing more be performed there, or lets it go on."""
        self._telemetry.paused(what, count)
        log.info("paused", what=what, stream=stream, paused=paused)

    def left_alone(self, entry: Entry) -> None:
        """Tell, once for each kind, that nothing that is configured performs this entry."""
        kind = entry.effect.kind
        if kind not in self._unserved:
            self._unserved.add(kind)
            log.warning("effect_unserved", kind=kind, lane=entry.lane, hint=_UNSERVED_HINT)

    def breaker_changed(self, destination: str, attempt: Attempt, *, is_open: bool) -> None:
        """Tell that a destination is left alone from now on, because of this attempt, or that it is well again."""
        self._telemetry.breaker(destination, is_open=is_open)
        told = log.info if not is_open else log.error if _is_refusal(attempt) else log.warning
        reason = attempt.reason if is_open and not isinstance(attempt, Done) else ""
        told("breaker", destination=destination, open=is_open, **_present(reason=reason, hint=_hint(attempt)))

    def _complain(self, level: str, event: str, destination: str, fields: Mapping[str, Any], *, hint: str = "") -> None:
        repeats = self._complaints.count((event, destination, fields.get("reason")), self._clock.monotonic())
        if repeats is not None:
            more = _present(hint=hint) | ({"repeats": repeats} if repeats > 1 else {})
            getattr(log, level)(event, **fields, **more)


def _describe(entry: Entry, outcome: EffectFailed | EffectUnknown, stream: str) -> dict[str, Any]:
    more = _present(reason=outcome.reason, request_id=outcome.request_id)
    return {**_name(entry, stream), "attempt": entry.tries + 1, **more}


def _name(entry: Entry, stream: str) -> dict[str, Any]:
    effect = entry.effect
    return {"key": effect.key, "kind": effect.kind, "lane": entry.lane, "ticket": effect.ticket or stream}


def _present(**texts: str) -> dict[str, Any]:
    return {name: text for name, text in texts.items() if text}


def _hint(attempt: Attempt) -> str:
    match attempt:
        case Blamed(hint=hint) | Held(hint=hint) | Postponed(hint=hint) | Uncertain(hint=hint):
            return hint
        case Odd(final=final):
            return LOOK_HINT if final else _ODD_HINT
        case Done():
            return ""
        case _:
            assert_never(attempt)


def _is_refusal(attempt: Attempt) -> bool:
    """Whether it goes on only once somebody has put something right."""
    return isinstance(attempt, Postponed) or (isinstance(attempt, Held) and attempt.down)


def _what_to_do(outcome: EffectFailed) -> str:
    return _PARKED_HINT if outcome.parked else _GONE_HINT


def _name_loss(attempt: Attempt) -> LossReason:
    match attempt:
        case Blamed(lost=True):
            return LossReason.EXPIRED
        case Blamed(hint=hint) if hint == LOOK_HINT:
            return LossReason.UNKNOWN
        case Blamed(final=True):
            return LossReason.REFUSED
        case Odd():
            return LossReason.ODD_ANSWER
        case _:
            return LossReason.ATTEMPTS_SPENT


def _word(outcome: Ended) -> EffectOutcome:
    match outcome:
        case EffectSucceeded():
            return EffectOutcome.SUCCEEDED
        case EffectUnknown():
            return EffectOutcome.UNKNOWN
        case EffectFailed(next_attempt_at=None, parked=parked):
            return EffectOutcome.PARKED if parked else EffectOutcome.DISCARDED
        case EffectFailed(blamed=blamed):
            return EffectOutcome.RETRYABLE if blamed else EffectOutcome.HELD
