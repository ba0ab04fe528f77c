"""One connection: a whole request in time, an answer read in time, and nothing that a stranger's bytes break."""

from __future__ import annotations

import asyncio
import weakref
from typing import Any, Final, Protocol, cast

from starlette.types import Scope
from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle
from uvicorn.server import ServerState

from ecproc.config import Limits
from ecproc.domain.refusals import WebRefusal
from ecproc.web.problems import encode_problem

LEAST_BYTES: Final = 16 * 1024
"""What has to be read of an answer within the time a request may take to come."""
CONNECTION: Final = "connection"
"""Under which name the state of a request holds a weak reference to the connection it came on."""
ROLE: Final = "role"
"""Under which name the state of a request says who asks, where the way it came by tells that."""
LOCAL: Final = "local"
"""The role of whoever may write to the data directory: all rights, and no token."""
_PIECE_BYTES: Final = 2 * 1024
_LINGER_SECONDS: Final = 1.0
"""How long a connection may take to close."""
_BAD_BODY: Final = encode_problem(400, "this is no valid HTTP")
_BAD_REQUEST: Final = (
    b"HTTP/1.1 400 Bad Request\r\ncontent-type: application/problem+json\r\ncache-control: no-store\r\n"
    b"x-content-type-options: nosniff\r\nconnection: close\r\ncontent-length: %d\r\n\r\n%s"
    % (len(_BAD_BODY), _BAD_BODY)
)


def is_ending(scope: Scope) -> bool:
    """Whether the connection that a request came on ends, or has ended; one that came on none goes on."""
    find = scope.get("state", {}).get(CONNECTION)
    if find is None:
        return False
    connection: WebConnection | None = find()
    return connection is None or connection.is_ending


class ConnectionKeeper(Protocol):
    """Who keeps the connections."""

    def opened(self, connection: WebConnection) -> None:
        """There is one more."""

    def rested(self, connection: WebConnection) -> None:
        """Its last request was answered."""

    def closed(self, connection: WebConnection) -> None:
        """It is gone."""

    def turned_away(self, refusal: WebRefusal, peer: str) -> None:
        """A connection from that address had to end."""


class WebConnection(H11Protocol):
    """uvicorn's, which bounds nothing of what a client does slowly."""

    def __init__(
        self, config: Config, server_state: ServerState, *, keeper: ConnectionKeeper, limits: Limits, role: str
    ) -> None:
        super().__init__(config=config, server_state=server_state, app_state={})
        self.app_state = {CONNECTION: weakref.ref(self), ROLE: role}
        self._keeper = keeper
        self._wait = limits.web_wait_seconds
        self._most = limits.web_header_bytes + limits.web_body_bytes
        self._received = 0
        self._timer: asyncio.TimerHandle | None = None
        self._unsent = 0
        self._begun = False
        self._paused_at = 0.0
        self.is_ending = False
        """Whether the server ends: an answer that could go on for ever does not."""

    @property
    def peer(self) -> str:
        """The other side's address, or its role where it has none."""
        return self.client[0] if self.client else str(self.app_state[ROLE])

    @property
    def answering(self) -> bool:
        """Whether a whole request came whose answer is not complete."""
        cycle: RequestResponseCycle | None = self.cycle
        return cycle is not None and not cycle.response_complete and not cycle.more_body

    @property
    def unread(self) -> bool:
        """Whether some of an answer, which may be complete, is still on its way."""
        return self._measure_unsent() > 0

    @property
    def stalled_seconds(self) -> float:
        """How long an answer has waited for its reader; 0 where none does."""
        waits = self.flow.write_paused and not self.transport.is_closing()
        return self.loop.time() - self._paused_at if waits else 0.0

    def give_up(self, refusal: WebRefusal) -> None:
        """End it at once."""
        self._keeper.turned_away(refusal, self.peer)
        self.transport.abort()

    # What the transport, uvicorn and the timer call.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(cast("asyncio.Transport", transport))
        self._set_timer(self._wait)
        self._keeper.opened(self)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._unset_keepalive_if_required()
        super().connection_lost(exc)
        self._keeper.closed(self)

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        if not self._begun:
            self._begun = True
            self._set_timer(self._wait)
        self._received += len(data)
        if self._received > self._most:  # whether it is read, or thrown away behind its answer: both take time
            self.give_up(WebRefusal.TOO_LARGE)
            return
        try:
            for start in range(0, len(data), _PIECE_BYTES):  # of what comes at once the parser bounds nothing
                super().data_received(data[start : start + _PIECE_BYTES])
                if self.transport.is_closing():
                    return
        except Exception:  # what the parser cannot even refuse, as more bytes behind a request that was refused
            self.give_up(WebRefusal.MALFORMED)

    def send_400_response(self, msg: str) -> None:
        if self.answering:
            self.give_up(WebRefusal.MALFORMED)
            return
        self._keeper.turned_away(WebRefusal.MALFORMED, self.peer)
        self.transport.write(_BAD_REQUEST)
        self.transport.close()

    def on_response_complete(self) -> None:
        self._begun = False
        self._received = 0
        self._set_timer(self._wait)
        self._keeper.rested(self)
        super().on_response_complete()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._paused_at = self.loop.time()
        self._set_timer(self._wait)

    def shutdown(self) -> None:
        self.is_ending = True
        try:
            super().shutdown()
        except Exception:  # its request was refused a moment ago
            self.transport.abort()

    def _set_timer(self, seconds: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._unsent = self._measure_unsent()
        self._timer = self.loop.call_later(seconds, self._look)

    def _look(self) -> None:
        """Go on while the answer is being made or read; else it is time to end."""
        unsent, closing = self._measure_unsent(), self.transport.is_closing()
        at_work = self.answering and not self.flow.write_paused and not closing
        if at_work or self._unsent - unsent >= LEAST_BYTES:
            self._set_timer(self._wait)
        elif unsent or closing or self._begun:
            self.give_up(WebRefusal.SLOW)
        else:
            self.transport.close()
            self._set_timer(_LINGER_SECONDS)

    def _measure_unsent(self) -> int:
        transport: Any = self.transport
        return int(transport.get_write_buffer_size())
