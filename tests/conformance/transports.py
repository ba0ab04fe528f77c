"""The adapters that make the queue's two calls, for what is asked of each of them alike."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, TypeAlias

from ecproc.bridge.fast import FastBridge
from ecproc.bridge.http import HttpBridge

Adapter: TypeAlias = type[HttpBridge] | type[FastBridge]
ADAPTERS: Final[Mapping[str, Adapter]] = {"httpx": HttpBridge, "fast": FastBridge}
"""By the names that tests give them."""
