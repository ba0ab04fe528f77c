"""Raw connections to a control socket."""

from __future__ import annotations

import socket
import time
from pathlib import Path
from typing import Final

from ecproc.control import CONTROL, shorten_path

_LOOK: Final = 0.01
"""Seconds until another try."""
_PATIENCE: Final = 10.0
"""Seconds of trying, and of waiting for a word."""


def dial_control(data: Path) -> socket.socket:
    """A connection to the control socket of that data directory, of which nothing was said yet."""
    client = socket.socket(socket.AF_UNIX)
    client.settimeout(_PATIENCE)
    until = time.monotonic() + _PATIENCE
    with shorten_path(data) as folder:
        while True:
            try:
                client.connect(f"{folder}/{CONTROL}")
            except BlockingIOError:  # as many wait to be taken as may
                if time.monotonic() > until:
                    client.close()
                    raise
                time.sleep(_LOOK)
            else:
                return client
