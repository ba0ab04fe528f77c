"""Blocking calls that nobody waits for longer than he wants: a disk or a resolver may hang."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from threading import Thread
from typing import TypeVar

T = TypeVar("T")


async def call_aside(function: Callable[[], T]) -> T:
    """What a blocking call gives, or raises. Whoever is cancelled leaves it behind, and so does the end of the process,
    which a worker thread of anyio's would hold up."""
    loop = asyncio.get_running_loop()
    outcome: asyncio.Future[T] = loop.create_future()

    def tell(settle: Callable[[], None]) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(lambda: None if outcome.done() else settle())

    def work() -> None:
        try:
            result = function()
        except Exception as error:
            failure = error
            tell(lambda: outcome.set_exception(failure))
        else:
            tell(lambda: outcome.set_result(result))

    Thread(target=work, name="ecproc doctor", daemon=True).start()
    return await outcome
