"""What every part of the long run is: a name, how much it does, how long it may take, and the figures it ends with."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import TextIO

import msgspec


class Round(msgspec.Struct, frozen=True):
    """How much of a part is done once: all chance is the seed's, and `share` of the usual work is enough."""

    seed: int
    share: float = 1.0

    def count(self, usual: int) -> int:
        """That share of the usual number."""
        return max(1, round(usual * self.share))


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """What a round did. `lost` and `doubled` are counted on the other side; `more` are other numbers worth reading;
    `told` are lines to read with them, and `findings` say what is not as it must be."""

    what: str
    count: int
    lost: int
    doubled: int
    more: Mapping[str, int] = {}
    told: Sequence[str] = ()
    findings: Sequence[str] = ()


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """A part of the long run. One round ends within `limit` seconds or counts as failed."""

    name: str
    limit: float
    run: Callable[[Round], Figures]


class OutOfTime(KeyboardInterrupt):
    """A round took too long. No task and no handler of ordinary errors keeps it for itself."""


def run_parts(
    parts: Sequence[Part], *, seed: int, share: float = 1.0, seconds: float = 0.0, out: TextIO | None = None
) -> bool:
    """Run each part, again with further seeds while less than so many seconds have passed since it began; True if all
    was as it must be. Each round is a line; what failed is told below it, with the seed that shows it again."""
    well = True
    for part in parts:
        began, number = time.monotonic(), seed
        while True:
            well &= _run_round(part, Round(number, share), out)
            number += 1
            if time.monotonic() - began >= seconds:
                break
    return well


def _run_round(part: Part, given: Round, out: TextIO | None) -> bool:
    began = time.monotonic()
    try:
        with _limit_time(part.limit):
            figures = part.run(given)
    except OutOfTime:
        figures = Figures(what="", count=0, lost=0, doubled=0, findings=[f"took more than {part.limit:g} s"])
    print(describe_round(part.name, given, figures, seconds=time.monotonic() - began), file=out, flush=True)
    return not figures.findings


def describe_round(name: str, given: Round, figures: Figures, *, seconds: float) -> str:
    """The line of a round, and below it what it found."""
    more = {"lost": figures.lost, "doubled": figures.doubled, **figures.more}
    told = [f"{figures.count} {figures.what}".strip(), *(f"{word} {number}" for word, number in more.items())]
    end = "FAILED" if figures.findings else "ok"
    line = f"{name} seed {given.seed}: {' · '.join([*told, f'{seconds:.1f} s', end])}"
    return "\n".join([line, *(f"  {text}" for text in (*figures.told, *figures.findings))])


@contextmanager
def _limit_time(seconds: float) -> Iterator[None]:
    def interrupt(number: int, frame: FrameType | None) -> None:
        raise OutOfTime

    former = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, former)
