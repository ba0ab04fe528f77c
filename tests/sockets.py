"""Raw connections to a control socket."""

from __future__ import annotations

import socket
import time
from pathlib import Path
from typing import Final

from ecproc.control import CONTROL, shorten_path

_LOOK: Final = 0.01
"""Seconds until another try."""


def dial_control(data: Path) -> socket.socket:
    """A connection to the control socket of that data directory, of which nothing was said yet."""
    client = socket.socket(socket.AF_UNIX)
    client.settimeout(10)
    with shorten_path(data) as folder:
        while True:
            try:
                client.connect(f"{folder}/{CONTROL}")
            except BlockingIOError:  # as many wait to be taken as may
                time.sleep(_LOOK)
            else:
                return client
