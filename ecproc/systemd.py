"""What the service manager is told of a run (`sd_notify`): that it receives, that it lives, and that it ends."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable, Mapping
from typing import Final

import structlog

from ecproc.clock import Clock

log = structlog.get_logger()

RETRY_SECONDS: Final = 0.5
"""Until a datagram is sent again that the manager has no room for."""
_BUSY: Final = frozenset({errno.EAGAIN, errno.ENOBUFS})
_HINT: Final = "systemd ends a service that it does not hear of; see that $NOTIFY_SOCKET leads to it"


class ServiceManager:
    """Whoever `$NOTIFY_SOCKET` names; where that is unset nobody is told anything.

    `$WATCHDOG_USEC` says how long it may hear nothing, unless `$WATCHDOG_PID` is another process.
    """

    def __init__(self, environment: Mapping[str, str], clock: Clock) -> None:
        self._address = _read_address(environment.get("NOTIFY_SOCKET", ""))
        self._patience = _read_patience(environment)
        self._clock = clock
        self._complained = False

    async def tell_ready(self) -> None:
        """Say that messages are received."""
        await self._tell("READY=1")

    def tell_stopping(self) -> None:
        """Say that the run is on its way out, unless there is no room for it: nothing waits for this one."""
        if self._address:
            self._send("STOPPING=1")

    async def keep_alive(self, is_live: Callable[[], bool]) -> None:
        """Say twice in its patience that the caller's loop turns, while `is_live`; returns if nobody wants to know."""
        if not self._address or self._patience is None:
            return
        while True:
            if is_live():
                await self._tell("WATCHDOG=1")
            await self._clock.sleep(self._patience / 2)

    async def _tell(self, state: str) -> None:
        while self._address and not self._send(state):
            await self._clock.sleep(RETRY_SECONDS)

    def _send(self, state: str) -> bool:
        """Whether nothing is to be tried again: a full socket must not hold up the loop, any other trouble is told."""
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
                sender.setblocking(False)
                sender.sendto(state.encode(), self._address)
        except OSError as error:
            if error.errno in _BUSY:
                return False
            self._complain(state, error)
        return True

    def _complain(self, state: str, error: OSError) -> None:
        if not self._complained:
            self._complained = True
            reason = f"{state} could not be sent: {error.strerror or error}"
            log.warning("service_manager", reason=reason, hint=_HINT)


def _read_address(named: str) -> str:
    """A path, or with @ in front an address without one; what else there may be (vsock) is for whole machines."""
    if named.startswith("@"):
        return f"\0{named[1:]}"
    return named if named.startswith("/") else ""


def _read_patience(environment: Mapping[str, str]) -> float | None:
    """Seconds; None without a watchdog of this process."""
    microseconds = environment.get("WATCHDOG_USEC", "")
    is_ours = environment.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
    if not is_ours or not microseconds.isdecimal() or int(microseconds) == 0:
        return None
    return int(microseconds) / 1_000_000
