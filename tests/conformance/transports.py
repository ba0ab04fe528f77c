"""The adapters that make the queue's two calls, for what is asked of each of them alike."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, TypeAlias

from ecproc.bridge.fast import FastQueue
from ecproc.bridge.http import HttpBridge

Adapter: TypeAlias = type[HttpBridge] | type[FastQueue]
ADAPTERS: Final[Mapping[str, Adapter]] = {"httpx": HttpBridge, "fast": FastQueue}
"""By the names that tests give them."""
