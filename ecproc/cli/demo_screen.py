"""What the demo shows while it runs: a live table on a terminal, a few remarks elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final, Protocol

import msgspec
from rich.console import Console
from rich.live import Live
from rich.table import Table

from ecproc.cli.output import say, shows_motion
from ecproc.cli.session import has_log
from ecproc.config import Config
from ecproc.errors import StoreError
from ecproc.fold.recorded import Kind
from ecproc.reading.opening import open_reading
from ecproc.simulator.ledger import Ledger

_BAR: Final = 40


class Sight(msgspec.Struct, frozen=True):
    """One look at how far it is: the queue as the bridge sees it, the log as the processor wrote it."""

    total: int
    received: int
    appended: int
    deleted: int
    redelivered: int
    tickets: int
    effects: int
    kills: int


class DemoWatch:
    """Counts on both sides; of the log only what is new since the last look."""

    def __init__(self, ledger: Ledger, config: Config, *, total: int) -> None:
        self.config = config
        self.total = total
        self._ledger = ledger
        self._position = 0
        self._appended = 0
        self._effects = 0
        self._tickets: set[str] = set()

    async def look(self, *, kills: int) -> Sight:
        """Count as of now."""
        if has_log(self.config):
            with suppress(StoreError):  # for a moment at the first start the file is there without its tables
                await self._read_log()
        messages = self._ledger.count_messages()
        return Sight(
            total=self.total,
            received=messages.received,
            appended=self._appended,
            deleted=messages.deleted,
            redelivered=messages.redelivered,
            tickets=len(self._tickets),
            effects=self._effects,
            kills=kills,
        )

    async def _read_log(self) -> None:
        async with open_reading(self.config) as reader:
            async for page in reader.read_log(after=self._position):
                received = [event.stream for event in page if event.kind == Kind.MESSAGE_RECEIVED]
                self._appended += len(received)
                self._tickets.update(received)
                self._effects += sum(event.kind == Kind.EFFECT_SUCCEEDED for event in page)
                self._position = page[-1].position


class Screen(Protocol):
    """Where the demo shows itself."""

    def show(self, sight: Sight) -> None:
        """Show how far it is."""

    def remark(self, text: str) -> None:
        """Say what happened."""


@contextmanager
def open_screen() -> Iterator[Screen]:
    """A live table if stderr is a terminal."""
    if not shows_motion():
        yield _Remarks()
        return
    with Live(console=Console(stderr=True, highlight=False, markup=False), auto_refresh=False) as live:
        yield _Live(live)


class _Remarks:
    def show(self, sight: Sight) -> None:
        pass

    def remark(self, text: str) -> None:
        say(text)


class _Live:
    def __init__(self, live: Live) -> None:
        self._live = live

    def show(self, sight: Sight) -> None:
        self._live.update(_draw(sight), refresh=True)

    def remark(self, text: str) -> None:
        self._live.console.print(text)


def _draw(sight: Sight) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim")
    table.add_column(justify="right", style="bold")
    table.add_column()
    for name in ("received", "appended", "deleted"):
        count = getattr(sight, name)
        filled = _BAR * min(count, sight.total) // sight.total
        table.add_row(name, f"{count:,}", f"{'━' * filled}{' ' * (_BAR - filled)} of {sight.total:,}")
    for name in ("redelivered", "tickets", "effects", "kills"):
        table.add_row(name, f"{getattr(sight, name):,}", "")
    return table
