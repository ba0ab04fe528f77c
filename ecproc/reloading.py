"""Secrets taken up anew while the process runs: when a file changes, on SIGHUP, and what is said of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import structlog

from ecproc.clock import Clock
from ecproc.config import Config, SecretChange, Secrets, secret_texts
from ecproc.config.rotation import API_KEY, PROXIES

log = structlog.get_logger()

LOOK_SECONDS: Final = 3.0
"""How long a changed file may go unnoticed; a look is one stat per file."""


class Reloading:
    """The configuration's secrets as they are now; `learn` is given every text that must not be printed from now on.
    `on_new_key` is called when the bridge's key is another one: what was refused may be tried at once."""

    def __init__(self, config: Config, *, clock: Clock, learn: Callable[[str], None]) -> None:
        self.secrets = Secrets(config, self._hear)
        self.on_new_key: Callable[[], None] = lambda: None
        self._clock = clock
        self._learn = learn
        self._told_fixed = False
        self._told_proxy = False

    async def run(self) -> None:
        """Look at the files once in a while until cancelled."""
        while True:
            self.secrets.look()
            await self._clock.sleep(LOOK_SECONDS)

    def reread(self) -> None:
        """Read every file now, and say once what only a restart can change (SIGHUP)."""
        changed = [option for option in self.secrets.look(force=True) if option not in PROXIES]
        log.info("secrets_read", changed=changed)
        if self.secrets.fixed and not self._told_fixed:
            self._told_fixed = True
            advice = "only secrets given as a file (ECPROC_…_FILE) are read again, everything else needs a restart"
            log.warning("not_reloaded", options=self.secrets.fixed, hint=advice)

    def _hear(self, change: SecretChange) -> None:
        for text in secret_texts(change.option, change.values):
            self._learn(text)
        known = {"option": change.option, "file": str(change.path)}
        if change.reason:
            advice = "what was read before is still used; write the file anew or send SIGHUP once it can be read"
            log.error("secret_not_reloaded", **known, reason=change.reason, hint=advice)
        elif change.option not in PROXIES:
            log.info("secret_reloaded", **known)
            if change.option == API_KEY:
                self.on_new_key()
        elif not self._told_proxy:
            self._told_proxy = True
            log.warning("secret_not_reloaded", **known, reason="the proxy is fixed", hint="restart to use the new one")
