"""`ecproc replay`: all state rebuilt from the log."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Annotated, Final

import msgspec
from cyclopts import Parameter, validators

from ecproc.cli.differences import describe_difference
from ecproc.cli.moments import check_position
from ecproc.cli.output import say, shows_motion, wants_json, write_document, write_human
from ecproc.cli.session import Json, Own, UsageError, require_log
from ecproc.clock import SystemClock
from ecproc.config import Config
from ecproc.errors import ExitCode, LogDamaged
from ecproc.rebuild.streams import Progress
from ecproc.store.checks import ReplayVerified, note_check

if TYPE_CHECKING:
    from ecproc.rebuild.live import ReplayReport

PROGRESS_SECONDS: Final = 5.0


class ReplayDocument(msgspec.Struct, frozen=True):
    """The result as JSON; the last three are null without --verify."""

    events: int
    tickets: int
    seconds: float
    events_per_second: float
    digest: str
    live_digest: str | None
    equal: bool | None
    differences: int | None


def replay(
    *,
    verify: Annotated[
        bool, Parameter(help="Compare with the live state row by row and leave it; exit 3 if it differs.")
    ] = False,
    until: Annotated[
        int | None, Parameter(help="Stop at this position; live state is left.", validator=validators.Number(gte=1))
    ] = None,
    processes: Annotated[
        int, Parameter(help="How many processes fold at once.", validator=validators.Number(gte=1, lte=64))
    ] = 1,
    json: Json = False,
    session: Own,
) -> ExitCode:
    """Rebuild all state from the log, without network, aside, and put it in place at the end.

    That needs the data directory's lock. With --verify or --until live state stays, and a processor may be running.

    Example:
        ecproc replay --verify
        ecproc replay --until 4242 --json
    """
    from ecproc.app import replay_log

    if verify and until is not None:
        raise UsageError(
            "--verify compares with the live state, which is that of the log's end: it goes without --until"
        )
    config = session.load_config()
    require_log(config)
    with _showing_progress() as on_progress:
        work = partial(replay_log, config, verify=verify, until=until, processes=processes, on_progress=on_progress)
        try:
            report = session.run_unless_stopped(partial(_replay, config, until, work))
        except* LogDamaged:
            if verify:  # what stood there of an earlier one would go on saying that all is well
                _note(config, is_equal=False)
            raise
    if report.equal is not None:
        _note(config, is_equal=report.equal)
    for difference in report.first:
        say(describe_difference(difference))
    if wants_json(json):
        write_document(msgspec.convert(report, ReplayDocument, from_attributes=True))
    else:
        write_human(_describe(report, replaced=not verify and until is None))
    return ExitCode.FINDINGS if report.equal is False else ExitCode.OK


def _note(config: Config, *, is_equal: bool) -> None:
    note_check(config.data.directory, ReplayVerified(SystemClock().now(), is_equal))


async def _replay(config: Config, until: int | None, work: Callable[[], Awaitable[ReplayReport]]) -> ReplayReport:
    from ecproc.reading.opening import open_queries

    if until is not None:
        async with open_queries(config) as queries:
            await check_position(queries, until)
    return await work()


def _describe(report: ReplayReport, *, replaced: bool) -> str:
    lines = [
        f"{report.events:,} events of {report.tickets:,} tickets in {report.seconds:.2f} s"
        f" ({report.events_per_second:,.0f} a second)",
        f"digest {report.digest}",
    ]
    if report.equal is not None:
        lines.append("equal to the live state" if report.equal else _count_differences(report.differences or 0))
    elif replaced:
        lines.append("this is the live state now")
    return "\n".join(lines)


def _count_differences(count: int) -> str:
    return "1 row differs from the live state" if count == 1 else f"{count:,} rows differ from the live state"


@contextmanager
def _showing_progress() -> Iterator[Callable[[Progress], None]]:
    """A bar on a terminal, else a line every five seconds; both on stderr."""
    if not shows_motion():
        yield _Lines().show
        return
    from rich.console import Console
    from rich.progress import BarColumn, TaskProgressColumn, TextColumn
    from rich.progress import Progress as Bar

    columns = (TextColumn("replay"), BarColumn(), TaskProgressColumn(), TextColumn("{task.description}"))
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=None)
        yield lambda now: bar.update(task, total=now.total, completed=now.events, description=_describe_pace(now))


class _Lines:
    """Progress for a log file."""

    def __init__(self) -> None:
        self._due = PROGRESS_SECONDS

    def show(self, now: Progress) -> None:
        """Say how far it is, at most every five seconds."""
        if now.seconds >= self._due:
            self._due = now.seconds + PROGRESS_SECONDS
            say(f"replay: {now.events:,} of {now.total:,} events, {_describe_pace(now)}")


def _describe_pace(now: Progress) -> str:
    eta = "" if now.eta is None else f", {now.eta:,.0f} s left"
    return f"{now.rate:,.0f}/s{eta}"
