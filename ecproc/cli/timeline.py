"""A document as a person reads it at a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec
from rich.console import RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from ecproc.cli.printable import printable, printable_line

_Item = dict[str, Any]

_TURNS: Final = {
    "nobody": "it goes on by itself",
    "operator": "it is the operator's turn",
    "client": "it is the client's turn",
    "ensono": "it is Ensono's turn",
}


class _Document(msgspec.Struct):
    """A ticket's document, or a subject's: each leaves out the other's members."""

    version: int
    position: int
    updated_at: str
    state: str | None
    history: list[_Item]
    effects: list[_Item]
    effects_count: int
    anomalies: list[_Item]
    ticket: str | None = None
    subject: str | None = None
    type: str = ""
    kind: str = ""
    client_ticket: str | None = None
    generation: int = 0
    opened_at: str | None = None
    waiting_for: _Item | None = None
    links: list[_Item] = []
    data: dict[str, Any] = {}
    fields: dict[str, Any] = {}
    notes: list[_Item] = []
    attachments: list[_Item] = []
    approvals: list[_Item] = []
    client_tickets: list[_Item] = []
    history_count: int = 0
    anomalies_count: int = 0


def draw_document(document: bytes) -> Iterator[RenderableType]:
    """The document's header, what it waits for, and one section for each of its lists that is not empty."""
    drawn = msgspec.json.decode(document, type=_Document)
    yield _headline(drawn)
    if drawn.subject is None:
        yield Padding(_verdict(drawn.waiting_for), (0, 0, 1, 2), expand=False)
    yield Padding(_facts(drawn), (0, 0, 0, 2), expand=False)
    links = [_columns(item, "rel", "number", "reference", "url") for item in drawn.links]
    yield from _section("Links", ("", "number", "reference", "url"), links)
    yield from _section("Data", ("", ""), _pairs(drawn.data))
    yield from _section("Fields", ("", ""), _pairs(drawn.fields))
    moves = [(*_when(item), _text(item["event"]), _move(item)) for item in drawn.history]
    yield from _section("History", ("position", "at", "event", ""), moves, of=drawn.history_count)
    notes = [
        (_short_time(item["at"]), _text(item["author"] or item["email"]), _long_text(item["body"]))
        for item in drawn.notes
    ]
    yield from _section("Notes", ("at", "author", ""), notes)
    files = [_columns(item, "name", "type", "size", "status", "path") for item in drawn.attachments]
    yield from _section("Attachments", ("name", "type", "bytes", "status", "path"), files)
    approvals = [_columns(item, "name", "email", "generation", "state") for item in drawn.approvals]
    yield from _section("Approvals", ("name", "email", "generation", "state"), approvals)
    own = [_columns(item, "number", "generation", "state", "returned") for item in drawn.client_tickets]
    yield from _section("Client tickets", ("number", "generation", "state", "returned"), own)
    effects = [_columns(item, "kind", "state", "attempts", "key") for item in drawn.effects]
    yield from _section("Effects", ("kind", "state", "attempts", "key"), effects, of=drawn.effects_count)
    anomalies = [_columns(item, "position", "code", "detail") for item in drawn.anomalies]
    yield from _section("Anomalies", ("position", "code", ""), anomalies, of=drawn.anomalies_count)


def _headline(drawn: _Document) -> Text:
    title = Text(_plain(drawn.subject or drawn.ticket or drawn.client_ticket), style="bold")
    title.append(f"  {_plain(drawn.type or drawn.kind)}  ", style="default")
    title.append(_plain(drawn.state or "no state"), style="bold cyan")
    return title


def _verdict(waits: _Item | None) -> Text:
    if waits is None:
        return Text("waits for nothing", style="green")
    verdict = Text("waits for ", style="yellow")
    verdict.append(_plain(waits["what"]).replace("_", " "), style="bold yellow")
    for word in ("since", "until"):
        if waits[word] is not None:
            verdict.append(f" {word} ").append_text(_short_time(waits[word]))
    verdict.append(f"; {_TURNS.get(waits['who'], '')}")
    return verdict.append("\n").append(_plain(waits["hint"]), style="default")


def _facts(drawn: _Document) -> Table:
    grid = Table.grid(padding=(0, 2))
    if drawn.subject is None:
        grid.add_row(Text("client ticket", style="dim"), _text(drawn.client_ticket or "none yet"))
        grid.add_row(Text("generation", style="dim"), _text(drawn.generation))
        grid.add_row(Text("opened", style="dim"), _short_time(drawn.opened_at))
    grid.add_row(Text("updated", style="dim"), _short_time(drawn.updated_at))
    grid.add_row(Text("events", style="dim"), _text(f"{drawn.version}, the last one at position {drawn.position}"))
    return grid


def _pairs(members: Mapping[str, object]) -> list[tuple[Text, Text]]:
    return [(_text(name), _long_text(value)) for name, value in members.items() if value not in ("", None)]


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
    return [_text(item.get(name)) for name in names]


def _short_time(text: str | None) -> Text:
    return _text(None if text is None else text.replace("T", " ").partition(".")[0].removesuffix("Z") + "Z")


def _text(value: object) -> Text:
    return Text(_plain(value))


def _long_text(value: object) -> Text:
    """With its line breaks: it stands in a column of its own, at the edge of the screen nothing begins with them."""
    return Text(printable(value)) if isinstance(value, str) else _text(value)


def _plain(value: object) -> str:
    match value:
        case None:
            return "–"
        case bool():
            return "yes" if value else "no"
        case dict() | list():
            return printable_line(msgspec.json.encode(value).decode())
        case _:
            return printable_line(str(value))
