"""A ticket as a person reads it at a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
from rich.console import RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from ecproc.cli.masking import printable

_Item = dict[str, Any]


class _Document(msgspec.Struct):
    ticket: str | None
    type: str
    state: str | None
    client_ticket: str | None
    generation: int
    version: int
    position: int
    opened_at: str | None
    updated_at: str
    fields: dict[str, Any]
    notes: list[_Item]
    attachments: list[_Item]
    approvals: list[_Item]
    client_tickets: list[_Item]
    history: list[_Item]
    history_count: int
    effects: list[_Item]
    effects_count: int
    anomalies: list[_Item]
    anomalies_count: int


def draw_ticket(document: bytes) -> Iterator[RenderableType]:
    """The ticket's header and one section for each of its lists that is not empty."""
    ticket = msgspec.json.decode(document, type=_Document)
    yield _headline(ticket)
    yield Padding(_facts(ticket), (0, 0, 0, 2), expand=False)
    rows = [(_text(name), _text(value)) for name, value in ticket.fields.items() if value not in ("", None)]
    yield from _section("Fields", ("", ""), rows)
    moves = [(*_when(item), _text(item["event"]), _move(item)) for item in ticket.history]
    yield from _section("History", ("position", "at", "event", ""), moves, of=ticket.history_count)
    notes = [
        (_short_time(item["at"]), _text(item["author"] or item["email"]), _text(item["body"])) for item in ticket.notes
    ]
    yield from _section("Notes", ("at", "author", ""), notes)
    files = [_columns(item, "name", "type", "size", "status", "path") for item in ticket.attachments]
    yield from _section("Attachments", ("name", "type", "bytes", "status", "path"), files)
    approvals = [_columns(item, "name", "email", "generation", "state") for item in ticket.approvals]
    yield from _section("Approvals", ("name", "email", "generation", "state"), approvals)
    own = [_columns(item, "number", "generation", "state", "returned") for item in ticket.client_tickets]
    yield from _section("Client tickets", ("number", "generation", "state", "returned"), own)
    effects = [_columns(item, "kind", "state", "attempts", "key") for item in ticket.effects]
    yield from _section("Effects", ("kind", "state", "attempts", "key"), effects, of=ticket.effects_count)
    anomalies = [_columns(item, "position", "code", "detail") for item in ticket.anomalies]
    yield from _section("Anomalies", ("position", "code", ""), anomalies, of=ticket.anomalies_count)


def _headline(ticket: _Document) -> Text:
    title = Text(_plain(ticket.ticket or ticket.client_ticket), style="bold")
    title.append(f"  {ticket.type}  ", style="default")
    title.append(ticket.state or "no state", style="bold cyan")
    return title


def _facts(ticket: _Document) -> Table:
    grid = Table.grid(padding=(0, 2))
    grid.add_row(Text("client ticket", style="dim"), _text(ticket.client_ticket or "none yet"))
    grid.add_row(Text("generation", style="dim"), _text(ticket.generation))
    grid.add_row(Text("opened", style="dim"), _short_time(ticket.opened_at))
    grid.add_row(Text("updated", style="dim"), _short_time(ticket.updated_at))
    grid.add_row(Text("events", style="dim"), _text(f"{ticket.version}, the last one at position {ticket.position}"))
    return grid


def _section(
    title: str, headings: Sequence[str], rows: Sequence[Sequence[Text]], *, of: int = 0
) -> Iterator[RenderableType]:
    """A table under its title; `of` says how many there are where only the newest are listed."""
    if not rows:
        return
    count = f" (the last {len(rows)} of {of})" if of > len(rows) else ""
    yield Text(f"\n{title}{count}", style="bold")
    table = Table(box=None, show_header=any(headings), header_style="dim", padding=(0, 2, 0, 0), pad_edge=False)
    for heading in headings:
        table.add_column(heading, overflow="fold")
    for row in rows:
        table.add_row(*row)
    yield Padding(table, (0, 0, 0, 2), expand=False)


def _when(item: _Item) -> tuple[Text, Text]:
    return _text(item["position"]), _short_time(item["at"])


def _move(item: _Item) -> Text:
    return _text(f"{item['from']} → {item['to']}" if item["from"] else item["to"])


def _columns(item: _Item, *names: str) -> list[Text]:
    return [_text(item[name]) for name in names]


def _short_time(text: str | None) -> Text:
    return _text(None) if text is None else Text(text.replace("T", " ").partition(".")[0].removesuffix("Z") + "Z")


def _text(value: object) -> Text:
    return Text(_plain(value))


def _plain(value: object) -> str:
    match value:
        case None:
            return "–"
        case bool():
            return "yes" if value else "no"
        case _:
            return printable(str(value))
