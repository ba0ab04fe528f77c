"""`ecproc doctor`: whether machine, configuration, data and the way to the bridge are as `run` needs them."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Annotated, Final

from cyclopts import Parameter

from ecproc.cli.listing import write_table
from ecproc.cli.output import wants_json, write_document, write_human
from ecproc.cli.printable import printable_line
from ecproc.cli.session import Json, Own, Session
from ecproc.clock import SystemClock
from ecproc.config import Config
from ecproc.errors import ConfigError, ConfigProblem, ExitCode
from ecproc.reading.masking import mask_struct

if TYPE_CHECKING:
    from ecproc.doctor.report import DoctorReport

_READY_SECONDS: Final = 3.0


def doctor(
    *,
    echo: Annotated[
        bool,
        Parameter(
            help="Prove a round trip: open an incident by way of echo, and wait until it comes back. Needs a running"
            " processor, in dev or echo.",
            show_default=False,
        ),
    ] = False,
    json: Json = False,
    session: Own,
) -> ExitCode:
    """See whether all that `run` needs is as it should be; exit 3 if something is not, with what to do about it.

    It only looks, beside a running processor or without one, and receives nothing: key and path are proven by deleting
    a handle that does not exist. It ends within thirty seconds; the round trip takes as long as the processor's next
    read of the queue, and leaves an incident at Ensono's dev instance.

    Example:
        ecproc doctor
        ecproc doctor --json | jq '.findings[]'
    """
    from ecproc.doctor.examination import Surroundings, examine

    config, complete, problems = _read_config(session)
    around = Surroundings(
        config=config, complete=complete, problems=problems, clock=SystemClock(), ask_ready=_ask_ready
    )
    report = mask_struct(session.run_loop(partial(examine, around, echo=echo, redact=session.redact)))
    if wants_json(json):
        write_document(report)
    else:
        _draw(report)
    return ExitCode.OK if report.ok else ExitCode.FINDINGS


def _read_config(session: Session) -> tuple[Config | None, bool, tuple[ConfigProblem, ...]]:
    """The configuration as far as it is right, whether it has all that `run` needs, and what is wrong with it."""
    try:
        return session.load_config(require_bridge=True), True, ()
    except ConfigError as error:
        problems = error.problems
    try:
        return session.load_config(), False, problems
    except ConfigError:
        return None, False, problems


async def _ask_ready(config: Config) -> str:
    """What the running processor says of itself."""
    from ecproc.cli.control import connect

    async with connect(config, patience=_READY_SECONDS) as processor:
        if processor is None:
            return "[-] it has just ended"
        answer = await processor.call("GET", "/readyz?verbose", seconds=_READY_SECONDS)
        return answer.body.decode("utf-8", "replace")


def _draw(report: DoctorReport) -> None:
    worst = {finding.check: finding.severity for finding in reversed(report.findings)}
    rows = [(each.check, worst.get(each.check, "ok" if each.ok else "–"), each.text) for each in report.checks]
    write_table(("check", "is", "what was seen"), rows, whole=("check", "is"))
    for finding in report.findings:
        text = printable_line(f"{finding.severity}: {finding.check}: {finding.text}")
        write_human(f"\n{text}\n  = fix: {printable_line(finding.fix)}")
    write_human("\nnothing was found" if report.ok else f"\nfindings: {len(report.findings)}")
