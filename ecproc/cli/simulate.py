"""`ecproc simulate`: a simulator as a server."""

from __future__ import annotations

import shlex
import signal
from collections.abc import Awaitable, Callable, Iterator, Mapping
from functools import partial
from typing import Annotated, Final

import anyio
import msgspec
from cyclopts import Parameter, validators

from ecproc.cli.output import flush, say, wants_json, write_document, write_text
from ecproc.cli.session import Failed, Json, Own, UsageError
from ecproc.cli.simulate_servicenow import serve_servicenow
from ecproc.cli.simulate_webhook import serve_webhook
from ecproc.cli.words import choice
from ecproc.collector import spare_the_collector
from ecproc.errors import ExitCode
from ecproc.simulator.faults import PRESETS
from ecproc.simulator.ledger import Ledger
from ecproc.simulator.server import Simulator, run_simulator
from ecproc.simulator.servicenow import faults as instance_faults
from ecproc.simulator.servicenow.settings import InstanceConfig
from ecproc.simulator.settings import Scenario, SimulatorConfig
from ecproc.simulator.webhook import settings as receivers

DEFAULT_PORT: Final = 8700
_BRIDGE: Final = "bridge"
_WEBHOOK: Final = "webhook"
_SIMULATORS: Final = (_BRIDGE, "servicenow", _WEBHOOK)

_EXAMPLE: Final = 20
"""Tickets of the scenario that is suggested for an empty queue."""


def simulate(
    simulator: Annotated[str, choice(_SIMULATORS, name="SIMULATOR", help="What to stand in for.")] = _BRIDGE,
    /,
    *,
    port: Annotated[
        int, Parameter(help="Port on 127.0.0.1; 0 is any free one.", validator=validators.Number(gte=0, lte=65535))
    ] = DEFAULT_PORT,
    scenario: Annotated[
        str | None,
        Parameter(
            help="Scripted ticket lives that a bridge sends, as in tickets=50,seed=1,rate=20 (messages a second)."
        ),
    ] = None,
    faults: Annotated[str, choice(tuple(PRESETS), help="What goes wrong.")] = "none",
    keyed: Annotated[
        bool,
        Parameter(
            help="Whether a webhook's receiver applies an id once and answers a repeat alike.", negative="--no-keyed"
        ),
    ] = True,
    json: Json = False,
    session: Own,
) -> ExitCode:
    """Serve a bridge, a ServiceNow instance or a webhook's receiver on this machine until interrupted, and print how to
    reach it.

    On a terminal these are lines to paste into a second one; with a bridge's, `ecproc run` then takes what is sent. At
    the end it says what it sent and saw. A bridge's own pages send messages (POST /_sim/messages), start a scenario
    (POST /_sim/scenario), change the faults (POST /_sim/faults) and tell what it saw (GET /_sim/ledger). An instance's
    order faults (POST /simulator/faults) and tell what was applied, and how often (GET /simulator/ledger). A receiver
    is strict about signatures, and tells what it applied, and how often (GET /_sim/ledger).

    Example:
        ecproc simulate bridge --scenario tickets=20
        ecproc simulate --port 0 --faults mild --json
        ecproc simulate servicenow --port 8701
        ecproc simulate webhook --port 8702 --no-keyed
    """
    session.start_logging()
    session.interrupts.stop_at_hangup()
    serve = _choose(simulator, port, scenario=scenario, faults=faults, keyed=keyed, as_json=wants_json(json))
    session.run_loop(partial(session.interrupts.cut_short, partial(_serve_on, port, serve)))
    return ExitCode.INTERRUPTED if session.interrupts.stop is signal.SIGINT else ExitCode.OK


def _choose(
    simulator: str, port: int, *, scenario: str | None, faults: str, keyed: bool, as_json: bool
) -> Callable[[], Awaitable[None]]:
    """What serves the simulator that is asked for."""
    if not keyed and simulator != _WEBHOOK:
        raise UsageError(f"--no-keyed goes with {_WEBHOOK} alone")
    if simulator == _BRIDGE:
        config = SimulatorConfig(port=port, faults=PRESETS[faults], scenario=_read_scenario(scenario))
        return partial(_serve, config, as_json=as_json)
    if scenario is not None:
        raise UsageError(f"--scenario goes with {_BRIDGE} alone")
    if simulator == _WEBHOOK:
        receiver = receivers.ReceiverConfig(port=port, keyed=keyed, faults=receivers.PRESETS[faults])
        return partial(serve_webhook, receiver, as_json=as_json)
    return partial(serve_servicenow, InstanceConfig(port=port, faults=instance_faults.PRESETS[faults]), as_json=as_json)


def _read_scenario(text: str | None) -> Scenario | None:
    """The scenario that `name=value,…` or a JSON object describes."""
    if text is None:
        return None
    try:
        if text.lstrip().startswith("{"):
            return msgspec.json.decode(text, type=Scenario)
        pairs = (part.partition("=") for part in text.split(","))
        return msgspec.convert({name.strip(): value.strip() for name, _, value in pairs}, Scenario, strict=False)
    except (msgspec.DecodeError, UnicodeEncodeError) as error:
        raise UsageError(f"--scenario cannot be read: {error}") from error


async def _serve_on(port: int, serve: Callable[[], Awaitable[None]]) -> None:
    spare_the_collector()
    try:
        await serve()
    except OSError as error:
        hint = "--port 0 takes any free one"
        raise Failed(f"port {port} on 127.0.0.1 cannot be used: {error.strerror}", hint=hint) from error


async def _serve(config: SimulatorConfig, *, as_json: bool) -> None:
    async with run_simulator(config) as simulator:
        _tell_access(simulator, as_json=as_json)
        try:
            await anyio.sleep_forever()
        finally:
            say(_describe_books(simulator.ledger))


def _tell_access(simulator: Simulator, *, as_json: bool) -> None:
    config = simulator.bridge.config
    access = {"url": simulator.url, "client_name": config.client_name, "api_key": config.api_key}
    variables = {f"ECPROC_BRIDGE__{name.upper()}": value for name, value in access.items()}
    variables["ECPROC_ATTACHMENTS__ALLOWED_HOSTS"] = config.host
    if as_json:
        write_document(access | {"environment": variables})
    else:
        write_text("\n".join(f"export {name}={shlex.quote(value)}" for name, value in variables.items()))
    flush()
    for line in _write_hints(simulator, variables):
        say(line)


def _write_hints(simulator: Simulator, variables: Mapping[str, str]) -> Iterator[str]:
    """What to do next."""
    pages = f"{simulator.bridge.url_base}/_sim"
    yield f"listening on {simulator.url}"
    yield f"with these {len(variables)} variables in a second terminal: ecproc run"
    if not simulator.ledger.sent and not simulator.ledger.unsent:
        yield "the queue is empty; to send the lives of some tickets:"
        yield f"  curl -d '{{\"tickets\":{_EXAMPLE}}}' {pages}/scenario"
    yield f"what was sent and seen so far: {pages}/ledger"


def _describe_books(ledger: Ledger) -> str:
    counts = ledger.count_messages()
    calls = ", ".join(f"{name} {count}" for name, count in sorted(ledger.calls.items()) if count)
    return " · ".join(
        [
            *([f"unsent {counts.unsent}"] if counts.unsent else []),
            f"sent {counts.sent}",
            f"received {counts.received}",
            f"deleted {counts.deleted}",
            f"redelivered {counts.redelivered}",
            f"left {counts.left}",
            f"lost {counts.lost}",
            f"numbers returned {len(ledger.returnptn)}",
            f"downloads {ledger.downloads.total()}",
            f"calls {calls or 'none'}",
        ]
    )
