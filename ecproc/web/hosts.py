"""Which names a request may call us by: a page that has its own name lead here must read nothing."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Final

from ecproc.config.options import is_address, is_loopback

_HOST: Final = re.compile(r"(?:\[([0-9a-f:.]+)\]|([a-z0-9._-]+?)\.?)(?::[0-9]{0,5})?")


class HostRule:
    """On loopback the names of this machine itself, elsewhere any address, and the `names` of the operator's.

    Without `names` a server that others can reach knows too little about what it is called: there the token decides.
    """

    def __init__(self, listen: str, names: Collection[str]) -> None:
        self._local = is_loopback(listen)
        self._names = frozenset(name.lower() for name in names)

    def allows(self, header: str) -> bool:
        """Whether a request with this Host header, empty if it has none, is meant for us."""
        if not self._local and not self._names:
            return True
        match = _HOST.fullmatch(header.lower())
        if match is None:
            return False
        host = match[1] or match[2]
        return host in self._names or is_loopback(host) or (not self._local and is_address(host))
