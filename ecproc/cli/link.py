"""`ecproc link import`: links that another integration made, taken over before the first message."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import msgspec
from cyclopts import Parameter

from ecproc.cli.output import say, wants_json, write_document, write_text
from ecproc.cli.printable import printable_line
from ecproc.cli.session import Failed, Json, Own, Session, has_log
from ecproc.errors import ExitCode
from ecproc.failpoints import arm_failpoints

if TYPE_CHECKING:
    from ecproc.commands.linkfile import LinkFile
    from ecproc.commands.linking import Examination, LinkPair, LinkReport
    from ecproc.config import Config

_MOST_BYTES: Final = 16 * 1024 * 1024
_IMPORT_SECONDS: Final = 120.0


class _Imported(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is printed of an import."""

    file: str
    pairs: int
    imported: int
    known: int
    dry_run: bool = False


def import_links(
    file: Annotated[Path, Parameter(help="UTF-8, first line ensono_number,client_number[,reference][,generation].")],
    /,
    *,
    dry_run: Annotated[
        bool, Parameter(help="Say what would be imported, and record nothing.", show_default=False)
    ] = False,
    note: Annotated[str, Parameter(help="Why, for whoever reads the log later.", show_default=False)] = "",
    json: Json = False,
    session: Own,
) -> ExitCode:
    """Take over links that another integration made, so that no ticket is opened a second time at the desk.

    A line for each pair: Ensono's number as messages name it, and the number of its ticket at the desk; `reference` is
    what the ITSM itself calls that record, `generation` which one of a change it is (else 1). All are recorded in one
    transaction, or none: a line that is wrong, or there twice, or that the log has otherwise, is named, and nothing is
    imported then. The same file a second time imports nothing. It goes to the running processor, or takes the data
    directory where none runs, also before the first start.

    Example:
        ecproc link import links.csv --dry-run
        ecproc link import links.csv --note 'cut-over of 1 March'
    """
    from ecproc.commands.linkfile import read_links

    arm_failpoints(os.environ.get("ECPROC_FAILPOINTS", ""))
    links = read_links(_read_file(file))
    report = _import(session, links, dry_run=dry_run, note=note)
    if report.problems:
        _tell_problems(file, report)
        return ExitCode.FAILED
    if wants_json(json):
        write_document(_Imported(str(file), report.pairs, report.imported, report.known, dry_run))
    else:
        done = "would be imported" if dry_run else "imported"
        write_text(f"{report.pairs:,} pairs: {report.imported:,} {done}, {report.known:,} known already")
    return ExitCode.OK


def _read_file(file: Path) -> bytes:
    try:
        with file.open("rb") as opened:
            data = opened.read(_MOST_BYTES + 1)
    except OSError as error:
        raise Failed(f"{file}: {error.strerror or error}") from None
    if len(data) > _MOST_BYTES:
        raise Failed(f"{file}: more than {_MOST_BYTES:,} bytes", hint="split it: each part is imported by itself")
    return data


def _import(session: Session, links: LinkFile, *, dry_run: bool, note: str) -> LinkReport:
    """What became of the pairs, or would: where something is wrong the rest is looked at all the same."""
    from ecproc.commands.linking import Examination, check_pairs, report_links

    problems = [*links.problems, *check_pairs(links.pairs)]
    config = session.load_config(require_bridge=not dry_run)
    if not dry_run and not problems:
        return _record(session, config, links, note)
    wrong = {problem.line for problem in problems}
    sound = [pair for pair in links.pairs if pair.line not in wrong]
    found = session.run_unless_stopped(partial(_examine, config, sound))
    return report_links(links.pairs, Examination(found.fresh, found.known, [*problems, *found.problems]))


def _record(session: Session, config: Config, links: LinkFile, note: str) -> LinkReport:
    from ecproc.cli.steer import OrderCall, carry_out
    from ecproc.commands.linking import LinkReport
    from ecproc.commands.orders import LinksOrder, steer_links

    order = LinksOrder(tuple(links.pairs), note)
    size, most = len(msgspec.json.encode(order)), config.limits.web_body_bytes
    call = OrderCall("/api/v1/links", order, LinkReport, seconds=_IMPORT_SECONDS)
    try:
        return carry_out(session, call, lambda steering, person: steer_links(steering, order, person), needs_log=False)
    except Failed as error:
        if size > most:  # a running processor takes no longer body
            error.hint = f"{len(links.pairs):,} pairs are {size:,} bytes, {most:,} at most: split the file"
        raise


async def _examine(config: Config, pairs: Sequence[LinkPair]) -> Examination:
    """What the log says of these pairs; before the first start it says nothing."""
    from ecproc.commands.linking import Examination, examine_pairs
    from ecproc.reading.opening import open_reading

    if not has_log(config):
        return Examination(pairs, 0, ())
    async with open_reading(config) as reader:
        return await examine_pairs(reader, pairs)


def _tell_problems(file: Path, report: LinkReport) -> None:
    for problem in report.problems:
        say(printable_line(f"{file}:{problem.line}: {problem.field}: {problem.text}"))
    more = report.problems_count - len(report.problems)
    left = f", {more} more are not shown" if more else ""
    done = f"{report.imported:,} pairs were imported" if report.imported else "nothing was imported"
    say(f"error: {done}: {report.problems_count} problems{left}")
