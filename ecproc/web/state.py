"""What the health pages ask of the process they belong to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from msgspec import Struct
from prometheus_client import CollectorRegistry


class Check(Struct, frozen=True):
    """One condition of being ready; `detail` is shown to anyone who can reach the port.

    One that does not `count` is told on demand alone: what is wrong elsewhere is no reason to send nobody here.
    """

    name: str
    ok: bool
    detail: str = ""
    counts: bool = True


class Health(Protocol):
    """How the running process is; no call changes anything."""

    @property
    def registry(self) -> CollectorRegistry:
        """What /metrics shows."""

    def live(self) -> bool:
        """Whether the process still makes progress; False asks for a restart."""

    def checks(self) -> Sequence[Check]:
        """Everything that must hold to be ready, and what else there is to know of the processor."""

    def version(self) -> Mapping[str, str]:
        """Names and versions of what is running."""
