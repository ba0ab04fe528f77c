"""What comes page by page in the order of its streams, stream by stream."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Protocol, TypeVar


class _OfStream(Protocol):
    @property
    def stream(self) -> str: ...


_T = TypeVar("_T", bound=_OfStream)


async def group_by_stream(pages: AsyncIterator[list[_T]]) -> AsyncIterator[tuple[str, list[_T]]]:
    """Each stream with all that is its own; a stream may go over several pages."""
    current: list[_T] = []
    async for page in pages:
        for item in page:
            if current and current[0].stream != item.stream:
                yield current[0].stream, current
                current = []
            current.append(item)
    if current:
        yield current[0].stream, current
