"""`ecproc simulate`: the bridge simulator as a server."""

from __future__ import annotations

import signal
from functools import partial
from importlib.util import find_spec
from typing import Annotated, Final, Literal

import anyio
import msgspec
from cyclopts import Parameter, validators

from ecproc.cli.output import flush, say, wants_json, write_document, write_text
from ecproc.cli.session import Json, Own, UsageError
from ecproc.simulator.faults import PRESETS
from ecproc.simulator.server import run_simulator
from ecproc.simulator.settings import Scenario, SimulatorConfig

DEFAULT_PORT: Final = 8700


def simulate(
    *,
    port: Annotated[
        int, Parameter(help="Port on 127.0.0.1; 0 is any free one.", validator=validators.Number(gte=0, lte=65535))
    ] = DEFAULT_PORT,
    scenario: Annotated[
        str | None,
        Parameter(help="Scripted ticket lives to send, as in tickets=50,seed=1,rate=20 (rate is messages a second)."),
    ] = None,
    faults: Annotated[Literal["none", "mild"], Parameter(help="What goes wrong.")] = "none",
    json: Json = False,
    session: Own,
) -> None:
    """Serve a bridge on this machine until interrupted, and print how to reach it.

    Its own pages under /_sim/ send messages, change faults, and tell what it saw.
    """
    session.start_logging()
    config = SimulatorConfig(port=port, faults=PRESETS[faults], scenario=_read_scenario(scenario))
    options = {"use_uvloop": find_spec("uvloop") is not None}
    anyio.run(partial(_serve, config, as_json=wants_json(json)), backend_options=options)


def _read_scenario(text: str | None) -> Scenario | None:
    """The scenario that `name=value,…` or a JSON object describes."""
    if text is None:
        return None
    try:
        if text.lstrip().startswith("{"):
            return msgspec.json.decode(text, type=Scenario)
        pairs = (part.partition("=") for part in text.split(","))
        return msgspec.convert({name.strip(): value.strip() for name, _, value in pairs}, Scenario, strict=False)
    except msgspec.DecodeError as error:
        raise UsageError(f"--scenario cannot be read: {error}") from error


async def _serve(config: SimulatorConfig, *, as_json: bool) -> None:
    async with run_simulator(config) as simulator:
        access = {"url": simulator.url, "client_name": config.client_name, "api_key": config.api_key}
        if as_json:
            write_document(access)
        else:
            write_text("\n".join(f"export ECPROC_BRIDGE__{name.upper()}={value}" for name, value in access.items()))
        flush()
        say(f"listening on {simulator.url}")
        with anyio.open_signal_receiver(signal.SIGTERM) as signals:
            async for _ in signals:
                return
