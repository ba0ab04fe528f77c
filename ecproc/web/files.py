"""Stored files for whoever has a signed address of theirs, for as long as that is good."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import anyio
from starlette.responses import FileResponse, Response
from starlette.types import Receive, Scope, Send

from ecproc.clock import Clock
from ecproc.web.guard import mark_private
from ecproc.web.problems import problem_answer
from ecproc.webhooks import open_file

FILES: Final = "/hooks/files/"
_BINARY: Final = "application/octet-stream"
_NOTHING: Final = "nothing is here"
_METHODS: Final = ("GET", "HEAD")


class FilePages:
    """`GET /hooks/files/{token}`: the bytes of the one file that the token was signed for.

    What cannot be opened (another path or token, too late, gone from the store) is 404 alike. The file's name and type
    were told with its address; here it is bytes to save, which no browser shows.
    """

    def __init__(self, locate: Callable[[str], Path], *, keys: Callable[[], Sequence[bytes]], clock: Clock) -> None:
        self._locate = locate
        self._keys = keys
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "http":
            await (await self._answer(scope))(scope, receive, mark_private(send))

    async def _answer(self, scope: Scope) -> Response:
        path = str(scope["path"])
        if not path.startswith(FILES):
            return problem_answer(404, _NOTHING)
        if scope["method"] not in _METHODS:
            return problem_answer(405, "GET", {"allow": ", ".join(_METHODS)})
        digest = open_file(self._keys(), path.removeprefix(FILES), now=self._clock.now() / 1_000_000)
        stored = None if digest is None else self._locate(digest)
        if stored is None or not await anyio.Path(stored).is_file():
            return problem_answer(404, _NOTHING)
        return FileResponse(stored, media_type=_BINARY, headers={"content-disposition": "attachment"})
