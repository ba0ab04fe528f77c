"""Which files of Ensono's a client ticket has, or is about to get: we attach them there ourselves."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec

from ecproc.desk.base import StoredFile
from ecproc.domain.ids import CLIENT_PREFIX
from ecproc.store.base import Reader


class _Known(msgspec.Struct):
    name: str = ""
    type: str | None = None
    size: int | None = None
    sha256: str | None = None


_decode: Final = msgspec.json.Decoder(_Known).decode


class HandedFiles:
    """Looks them up by the client ticket's number; `directory` is the data directory."""

    def __init__(self, reader: Reader, directory: Path) -> None:
        self._reader = reader
        self._directory = directory

    async def find(self, number: str) -> list[StoredFile]:
        """The stored files of the ticket that has this client ticket."""
        tickets = await self._reader.read_rows("client_ticket", id=number)
        streams = {row.stream for row in tickets if not row.stream.startswith(CLIENT_PREFIX)}
        known = [
            _decode(row.data)
            for stream in sorted(streams)
            for row in await self._reader.read_rows("attachment", stream=stream)
            if row.data is not None
        ]
        return [
            StoredFile(file.name, file.type or "", file.size, file.sha256, self._directory)
            for file in known
            if file.sha256 is not None and file.size is not None
        ]
