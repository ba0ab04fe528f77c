"""What something shows by itself to be odd about its ticket."""

from __future__ import annotations

import msgspec


class Remark(msgspec.Struct, frozen=True, array_like=True):
    """An anomaly that a message, an answer or a news shows by itself: code and detail."""

    code: str
    detail: str
