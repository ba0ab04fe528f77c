"""What a client has decided about its own side, as `decide` is told it."""

from __future__ import annotations

import msgspec


class Policy(msgspec.Struct, frozen=True):
    """The policy in force. There is nothing to choose yet: a re-opened ticket keeps its client ticket, every ticket is
    in scope."""
