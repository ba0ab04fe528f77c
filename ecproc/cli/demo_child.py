"""The demo's processor: a process of its own, so that it can be killed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final

import anyio
import msgspec
from anyio.abc import Process

from ecproc.cli.output import say
from ecproc.cli.replay import ReplayDocument
from ecproc.cli.session import Failed
from ecproc.simulator.server import Simulator

_REPLAY_SECONDS: Final = 600.0
_LAST_WORDS: Final = 2000


def write_environment(
    simulator: Simulator, data_dir: Path, *, visibility: float, desk: Mapping[str, str]
) -> Mapping[str, str]:
    """The variables the processor is configured with, those of its desk among them, and nothing else of ours that
    stands in the environment."""
    config = simulator.bridge.config
    own = {name: value for name, value in os.environ.items() if not name.startswith("ECPROC_")}
    return own | {
        "ECPROC_CONFIG": os.devnull,
        "ECPROC_BRIDGE__URL": simulator.url,
        "ECPROC_BRIDGE__CLIENT_NAME": config.client_name,
        "ECPROC_BRIDGE__API_KEY": config.api_key,
        "ECPROC_BRIDGE__POLL_INTERVAL": "0.2",
        "ECPROC_BRIDGE__VISIBILITY": f"{visibility:g}",
        "ECPROC_BRIDGE__TIMEOUT": "5",
        "ECPROC_DATA__DIR": str(data_dir),
        "ECPROC_DATA__RESERVE_BYTES": "1048576",
        "ECPROC_ATTACHMENTS__ALLOWED_HOSTS": config.host,
        "ECPROC_OUTBOX__UNKNOWN_RETRY": "0.5,1",
        "ECPROC_WEB__LISTEN": "127.0.0.1:0",
        **desk,
    }


class Child:
    """`ecproc run --drain`, which gives up after so many seconds; killed at the end of the block if it still runs."""

    def __init__(self, environment: Mapping[str, str], log: Path, *, seconds: float) -> None:
        self._environment = environment
        self._seconds = seconds
        self._log = log
        self._process: Process | None = None

    async def __aenter__(self) -> Child:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with anyio.CancelScope(shield=True):
            await self.kill()

    async def start(self) -> None:
        """Start it; what it says goes to the end of the log file."""
        with self._log.open("ab") as log:
            self._process = await anyio.open_process(
                [*_command(), "run", "--drain", "--timeout", f"{self._seconds:g}"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self._environment,
                start_new_session=True,  # Ctrl-C is for the demo, which then takes it along
            )

    async def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()

    @property
    def exit_code(self) -> int | None:
        """None while it runs."""
        return self._process.returncode if self._process is not None else None

    def last_words(self) -> str:
        """The end of what it said."""
        return self._log.read_bytes()[-_LAST_WORDS:].decode("utf-8", "replace").strip()


def _command() -> Sequence[str]:
    return (sys.executable, "-m", "ecproc.cli.demo_run", str(os.getpid()))


async def replay(environment: Mapping[str, str]) -> ReplayDocument:
    """What `ecproc replay --verify` finds. Raises Failed if it does not end in time or finds nothing."""
    with anyio.move_on_after(_REPLAY_SECONDS):
        command = [*_command(), "replay", "--verify", "--json"]
        done = await anyio.run_process(command, env=environment, check=False)
        try:
            return msgspec.json.decode(done.stdout, type=ReplayDocument)
        except msgspec.DecodeError:
            said = done.stderr.decode("utf-8", "replace").strip()
            say(said)
            raise Failed(f"the replay ended with exit code {done.returncode}, after these last words") from None
    raise Failed(f"the replay was not done after {_REPLAY_SECONDS:g} s")
