"""Raw connections to a control socket."""

from __future__ import annotations

import socket
from pathlib import Path

from ecproc.control import CONTROL, shorten_path


def dial_control(data: Path) -> socket.socket:
    """A connection to the control socket of that data directory, of which nothing was said yet."""
    client = socket.socket(socket.AF_UNIX)
    client.settimeout(10)
    with shorten_path(data) as folder:
        client.connect(f"{folder}/{CONTROL}")
    return client
