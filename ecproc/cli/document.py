"""A ticket, or any stream, as a person reads it at a terminal: the verdict, its timeline, and how it stands now."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec
from rich.console import RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from ecproc.cli.printable import printable
from ecproc.cli.timeline import draw_timeline, fold_text
from ecproc.cli.verdict import draw_verdict, list_remedies, plain, plain_text, tell_time
from ecproc.reading.timeline import Happening, Timeline

_Item = dict[str, Any]

_OPEN: Final = ("available", "executing", "unknown", "retryable", "parked", "discarded")
"""Entries that may still come to something."""


class _Document(msgspec.Struct):
    """A ticket's document, or a subject's: each leaves out the other's members."""

    version: int
    position: int
    updated_at: str
    state: str | None
    effects: list[_Item]
    ticket: str | None = None
    subject: str | None = None
    type: str | None = ""
    kind: str = ""
    client_ticket: str | None = None
    generation: int = 0
    opened_at: str | None = None
    waiting_for: _Item | None = None
    links: list[_Item] = []
    data: dict[str, Any] = {}
    fields: dict[str, Any] = {}
    attachments: list[_Item] = []
    approvals: list[_Item] = []
    client_tickets: list[_Item] = []


def draw_document(
    document: bytes, timeline: Timeline, *, now: int, full: bool = False, runs: bool = True
) -> Iterator[RenderableType]:
    """The verdict with what a person can do, the timeline, and one section for each list of how it stands now.

    `now` is in microseconds UTC; texts are folded to their first line unless `full`; `runs` is whether a processor
    does.
    """
    drawn = msgspec.json.decode(document, type=_Document)
    yield _headline(drawn)
    if drawn.subject is None:
        name = drawn.ticket or drawn.client_ticket or ""
        yield Padding(draw_verdict(drawn.waiting_for, now=now, runs=runs), (0, 0, 0, 2), expand=False)
        for command in list_remedies(name, document):
            yield Text(f"    {plain(command)}", style="bold", no_wrap=True)  # in one piece, to be copied
        yield Text()
    yield Padding(_facts(drawn, now), (0, 0, 0, 2), expand=False)
    yield from draw_timeline(timeline, now=now, full=full)
    links = [_columns(item, "rel", "number", "reference", "url") for item in drawn.links]
    yield from _section("Links", ("", "number", "reference", "url"), links)
    yield from _section("Data", ("", ""), _pairs(drawn.data, full=full))
    yield from _section("Fields", ("", ""), _pairs(drawn.fields, full=full))
    files = [_columns(item, "name", "type", "size", "status", "path") for item in drawn.attachments]
    yield from _section("Attachments", ("name", "type", "bytes", "status", "path"), files)
    approvals = [_columns(item, "name", "email", "generation", "state") for item in drawn.approvals]
    yield from _section("Approvals", ("name", "email", "generation", "state"), approvals)
    own = [_columns(item, "number", "generation", "state", "returned") for item in drawn.client_tickets]
    yield from _section("Client tickets", ("number", "generation", "state", "returned"), own)
    effects = [_columns(item, "kind", "state", "attempts", "key") for item in drawn.effects if item["state"] in _OPEN]
    yield from _section("Effects that are not done", ("kind", "state", "attempts", "key"), effects)


def draw_stream(stream: str, timeline: Timeline, *, now: int, full: bool = False) -> Iterator[RenderableType]:
    """A stream that has no document: what happened, and where there is more of it."""
    yield Text(plain(stream), style="bold").append("  no ticket", style="default")
    is_quarantined = any(entry.what is Happening.QUARANTINE for entry in timeline.entries)
    commands = (f"ecproc events {shlex.quote(stream)}", *(("ecproc quarantine list",) if is_quarantined else ()))
    for command in commands:
        yield Text(f"    {plain(command)}", style="bold", no_wrap=True)
    yield from draw_timeline(timeline, now=now, full=full)


def _headline(drawn: _Document) -> Text:
    title = Text(plain(drawn.subject or drawn.ticket or drawn.client_ticket), style="bold")
    title.append(f"  {plain(drawn.type or drawn.kind)}  ", style="default")
    title.append(plain(drawn.state or "no state"), style="bold cyan")
    return title


def _facts(drawn: _Document, now: int) -> Table:
    grid = Table.grid(padding=(0, 2))
    if drawn.subject is None:
        grid.add_row(Text("client ticket", style="dim"), plain_text(drawn.client_ticket or "none yet"))
        grid.add_row(Text("generation", style="dim"), plain_text(drawn.generation))
        grid.add_row(Text("opened", style="dim"), tell_time(drawn.opened_at, now))
    grid.add_row(Text("updated", style="dim"), tell_time(drawn.updated_at, now))
    grid.add_row(Text("events", style="dim"), plain_text(f"{drawn.version}, the last one at position {drawn.position}"))
    return grid


def _pairs(members: Mapping[str, object], *, full: bool) -> list[tuple[Text, Text]]:
    shown = {name: value for name, value in members.items() if value not in ("", None)}
    return [
        (plain_text(name), _value(value) if full else fold_text(value if isinstance(value, str) else plain(value)))
        for name, value in shown.items()
    ]


def _section(title: str, headings: Sequence[str], rows: Sequence[Sequence[Text]]) -> Iterator[RenderableType]:
    """A table under its title, if it has rows."""
    if not rows:
        return
    yield Text(f"\n{title}", style="bold")
    table = Table(box=None, show_header=any(headings), header_style="dim", padding=(0, 2, 0, 0), pad_edge=False)
    for heading in headings:
        table.add_column(heading, overflow="fold")
    for row in rows:
        table.add_row(*row)
    yield Padding(table, (0, 0, 0, 2), expand=False)


def _columns(item: _Item, *names: str) -> list[Text]:
    return [plain_text(item.get(name)) for name in names]


def _value(value: object) -> Text:
    """With its line breaks: it stands in a column of its own, at the edge of the screen nothing begins with them."""
    return Text(printable(value)) if isinstance(value, str) else plain_text(value)
