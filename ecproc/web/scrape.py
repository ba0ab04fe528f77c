"""The text of the metrics: never older than the question, and made for all who ask at the same time."""

from __future__ import annotations

from typing import Final

import anyio
from msgspec import Struct
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from ecproc.clock import Clock
from ecproc.telemetry.exposition import write_metrics

APART_SECONDS: Final = 0.1
"""Between two texts: one takes milliseconds of the loop, and who asks without end gets no more of it."""


class Scraped(Struct, frozen=True):
    """A text in the format that was asked for; `serial` is the last question that came before it was made."""

    body: bytes
    content_type: str
    serial: int


class Scraper:
    """Writes a registry's metrics."""

    def __init__(self, registry: CollectorRegistry, clock: Clock) -> None:
        self._registry = registry
        self._clock = clock
        self._asked = 0
        self._made: dict[str, Scraped] = {}
        self._made_at = float("-inf")
        self._turn = anyio.Lock()

    async def scrape(self, accept: str) -> Scraped:
        """The metrics as of now, in a format that this Accept header names."""
        content_type = choose_encoder(accept)[1]
        self._asked += 1
        asked = self._asked
        async with self._turn:
            made = self._made.get(content_type)
            if made is None or made.serial < asked:
                wait = self._made_at + APART_SECONDS - self._clock.monotonic()
                if wait > 0:
                    await self._clock.sleep(wait)
                made = Scraped(*write_metrics(self._registry, accept), self._asked)
                self._made = {content_type: made}
                self._made_at = self._clock.monotonic()
        return made
