"""`ecproc run`: the processor."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Final

import structlog
from cyclopts import Parameter, validators

from ecproc.cli.session import Own, UsageError
from ecproc.errors import ExitCode

log = structlog.get_logger()

DRAIN_SECONDS: Final = 600.0


def run(
    *,
    drain: Annotated[
        bool, Parameter(help="Exit 0 once nothing is left to do, 75 if --timeout came first.", show_default=False)
    ] = False,
    timeout: Annotated[
        float | None,
        Parameter(help=f"Seconds that --drain may take ({DRAIN_SECONDS:g}).", validator=validators.Number(gt=0)),
    ] = None,
    accept_loss: Annotated[
        bool,
        Parameter(help="Go on with what is there after a restore: once, it skips ticket numbers.", show_default=False),
    ] = False,
    session: Own,
) -> ExitCode:
    """Run the processor: receive, record, delete, decide, and carry out effects.

    SIGTERM and SIGINT drain within 20 s, a second one ends it at once. SIGHUP reads secret files again. A --drain that
    SIGTERM cuts short exits 75.

    Example:
        ecproc run
        ecproc --config /etc/ecproc/ecproc.toml run --drain --timeout 120
    """
    from ecproc.app import run_processor

    if timeout is not None and not drain:
        raise UsageError("--timeout goes with --drain")
    session.interrupts.stopped_code = ExitCode.TEMPORARY if drain else ExitCode.OK
    session.logs_failures = True
    config = session.load_config(require_bridge=True)
    for warning in config.warnings:
        log.warning("config_warning", reason=warning.message, place=warning.location, hint=warning.help)
    seconds = (timeout or DRAIN_SECONDS) if drain else None
    return session.run_loop(
        partial(
            run_processor,
            config,
            drain=seconds,
            accept_loss=accept_loss,
            learn=session.learn,
            interrupts=session.interrupts,
        )
    )
