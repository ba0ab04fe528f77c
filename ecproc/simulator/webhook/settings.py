"""What a receiver is started with, and what goes wrong at it."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

import msgspec


class ReceiverFault(StrEnum):
    """What can happen to one call, in the order in which they are tried when several are due."""

    ERROR = "error"
    """500, and nothing is applied."""
    THROTTLE = "throttle"
    """429 with Retry-After, and nothing is applied."""
    GONE = "gone"
    """410, and nothing is applied."""
    LOST = "lost"
    """It is applied, and the connection closes without a byte."""
    SLOW = "slow"
    """It is applied, and answered after `slow_seconds`."""
    HTML = "html"
    """It is applied, and answered 200 with a page for people."""
    PENDING = "pending"
    """A create is applied, and its number comes only with the next answer about its id; others are answered at once."""


class ReceiverFaults(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Shares (0 to 1) of the calls."""

    error: float = 0.0
    throttle: float = 0.0
    gone: float = 0.0
    lost: float = 0.0
    slow: float = 0.0
    html: float = 0.0
    pending: float = 0.0
    slow_seconds: float = 30.0
    retry_after: int = 1


NONE: Final = ReceiverFaults()
PRESETS: Final[Mapping[str, ReceiverFaults]] = {
    "none": NONE,
    "mild": ReceiverFaults(error=0.02, throttle=0.01, lost=0.02, html=0.005, pending=0.02),
}


class ReceiverConfig(msgspec.Struct, frozen=True, kw_only=True):
    """One receiver. `secrets` are what it verifies with; `keyed` keeps each id with its answer."""

    host: str = "127.0.0.1"
    port: int = 0
    secrets: tuple[str, ...] = ("whsec_c2ltdWxhdG9yIHNpbXVsYXRvciBzaW11bGF0b3I=",)
    keyed: bool = True
    faults: ReceiverFaults = NONE
    seed: int = 0
