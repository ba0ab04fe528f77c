"""`ecproc bundle`: what somebody else needs to look at a ticket, without secrets and people."""

from __future__ import annotations

import os
import re
from functools import partial
from pathlib import Path
from typing import Annotated, Final

import anyio
from cyclopts import Parameter

from ecproc.cli.output import say, wants_json, write_document, write_human
from ecproc.cli.printable import printable_line
from ecproc.cli.session import Failed, Json, Own, TicketArgument, UsageError, require_log
from ecproc.clock import SystemClock
from ecproc.config import Config
from ecproc.domain.times import format_time

_SECOND: Final = 1_000_000
_NO_NAME: Final = re.compile(r"[^A-Za-z0-9_-]+")


def bundle(
    ticket: TicketArgument | None = None,
    /,
    *,
    output: Annotated[
        Path | None, Parameter(help="Write to this new file; else one named for ticket and time, here.")
    ] = None,
    as_test: Annotated[
        bool,
        Parameter(
            help="Write the ticket's messages as a test: all texts, names and numbers replaced.", show_default=False
        ),
    ] = False,
    json: Json = False,
    session: Own,
) -> None:
    """Write an archive for Ensono's support: messages, calls and answers, timeline, versions, configuration.

    Without TICKET it is about the tickets that wait or failed. Secrets, names, addresses and numbers of people are
    masked; read it before you send it. requests.txt in it says whom to ask, and in what words.

    Example:
        ecproc bundle e-CS0879727
        ecproc bundle --output for-ensono.tar.gz
    """
    if as_test and ticket is None:
        raise UsageError("--as-test writes the messages of one ticket: name it")
    config = session.load_config()
    require_log(config)
    now = SystemClock().now()
    path = output or (_name("test", now, ".json") if as_test else _name(ticket or "all", now, ".tar.gz"))
    _refuse_inside(config.data.directory, path)
    if as_test:
        document = anyio.run(partial(_write_fixture, config, str(ticket), path))
    else:
        document = anyio.run(partial(_write_bundle, config, ticket, path, now))
    if wants_json(json):
        write_document(document)
    else:
        write_human(printable_line(str(document["path"])))
    say("read it before you send it: what free texts say of people is not found")


async def _write_bundle(config: Config, ticket: str | None, path: Path, now: int) -> dict[str, object]:
    from ecproc.reading.opening import open_reading
    from ecproc.support.archive import write_archive
    from ecproc.support.bundle import collect_bundle

    async with open_reading(config) as reader:
        found = await collect_bundle(reader, config, ticket, now=now)
    if found is None:
        raise Failed(f"there is no ticket {ticket}")
    size = write_archive(path, found.members, folder=_name_folder(path), at=now // _SECOND)
    return {**_place(path, size), "tickets": found.tickets, "members": sorted(found.members)}


async def _write_fixture(config: Config, ticket: str, path: Path) -> dict[str, object]:
    from ecproc.reading.opening import open_reading
    from ecproc.support.archive import write_new
    from ecproc.support.fixture import collect_fixture

    async with open_reading(config) as reader:
        fixture = await collect_fixture(reader, ticket)
    if fixture is None:
        raise Failed(f"there is no ticket {ticket}")
    return {**_place(path, write_new(path, fixture.content)), "messages": fixture.messages}


def _refuse_inside(data: Path, path: Path) -> None:
    """Raise Failed where a file of ours would stand among those of the processor."""
    if path.parent.resolve().is_relative_to(data.resolve()):
        raise Failed(f"{path} is inside of the data directory", hint="choose a place outside of it with --output")


def _name_folder(archive: Path) -> str:
    """What the archive is unpacked into: called like it without its suffixes, never like the archive itself."""
    bare = archive.name.removesuffix(".gz").removesuffix(".tar").removesuffix(".tgz")
    return bare if bare not in ("", archive.name) else f"{archive.name}-files"


def _place(path: Path, size: int) -> dict[str, object]:
    return {"path": os.fspath(path.absolute()), "bytes": size}


def _name(about: str, now: int, suffix: str) -> Path:
    """`ecproc-bundle-e-CS0879727-20260131T120000Z.tar.gz`, say."""
    time = re.sub(r"[-:]", "", format_time(now).partition(".")[0])
    return Path(f"ecproc-bundle-{_NO_NAME.sub('-', about)[:80]}-{time}Z{suffix}")
