"""`ecproc log backup`: a copy of the data directory that can take its place."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter
from msgspec.structs import asdict

from ecproc.cli.output import say, shows_motion, wants_json, write_document, write_human
from ecproc.cli.printable import printable_line
from ecproc.cli.session import Json, Own, require_log
from ecproc.clock import SystemClock
from ecproc.errors import ExitCode
from ecproc.failpoints import arm_failpoints

if TYPE_CHECKING:
    from ecproc.backup import CopyProgress, Manifest


def backup(
    directory: Annotated[Path, Parameter(name="DIR", help="A new directory, which is made for it.")],
    /,
    *,
    attachments: Annotated[bool, Parameter(help="Copy stored files too.", show_default=False)] = False,
    json: Json = False,
    session: Own,
) -> ExitCode:
    """Copy log, live state, the built-in desk's file and anchor into a new directory, and check the copy.

    A processor may be running, and goes on. The copy can serve as a data directory: start on it once with
    run --accept-loss. Exit 3 where a stored file was not what it was when it was kept: it is named and left out.

    Example:
        ecproc log backup /backup/ecproc-2026-01-31 --attachments
    """
    from ecproc.backup import Backup

    config = session.load_config()
    require_log(config)
    arm_failpoints(os.environ.get("ECPROC_FAILPOINTS", ""))
    with _showing_progress() as tell:
        copying = Backup(config.data, directory, attachments=attachments, clock=SystemClock(), tell=tell, say=say)
        manifest = copying.make()
    for digest in manifest.attachments.damaged:
        say(f"attachments/{digest[:2]}/{digest} is not what it was when it was kept, and was left out")
    if wants_json(json):
        write_document({"directory": os.fspath(directory.absolute()), **asdict(manifest)})
    else:
        write_human(_describe(directory, manifest))
    return ExitCode.FINDINGS if manifest.attachments.damaged else ExitCode.OK


def _describe(directory: Path, manifest: Manifest) -> str:
    size = sum(file.bytes for file in manifest.files)
    files = manifest.attachments
    held = f" and {files.files:,} attachments of {files.bytes:,} bytes" if files.included else ", no attachments"
    return "\n".join(
        (
            printable_line(f"{directory} holds {manifest.events:,} events in {size:,} bytes{held}"),
            f"the log ends at {manifest.head.hash}",
            "start on it once with: ecproc run --accept-loss",
        )
    )


@contextmanager
def _showing_progress() -> Iterator[Callable[[CopyProgress], None]]:
    """A bar on a terminal, on stderr; else nothing: a copy of the largest log takes minutes."""
    if not shows_motion():
        yield lambda now: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=None)
        yield lambda now: bar.update(task, total=now.total, completed=now.copied, description=now.doing)
