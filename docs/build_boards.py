"""Write grafana/dashboards/*.json from grafana/boards.toml, and the list of metrics in grafana/README.md.

A board is rows of panels, placed from left to right; all that Grafana wants besides is the same for each and stands
here. `--check` writes nothing and exits 1 when a file is stale.
"""

import argparse
import json
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

GRAFANA: Final = Path(__file__).parents[1] / "grafana"
TARGET: Final = 'job=~"$job", instance=~"$instance"'
"""What `TARGET` stands for in the queries of boards.toml."""
COLUMNS: Final = 24
"""The width of a board, in Grafana's units."""
SOURCE: Final = {"type": "prometheus", "uid": "${datasource}"}
COLOURS: Final = ("green", "yellow", "red")
METRIC: Final = re.compile(r"(?<![:\w])ecproc_[a-z_]+")
SERIES: Final = re.compile(r"_(bucket|count|sum)$")
LIST: Final = re.compile(r"(?<=<!-- metrics -->\n)(.*?)(?=<!-- /metrics -->)", re.DOTALL)


class Query(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One query and the name of its series."""

    expr: str
    legend: str = ""


class Panel(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What is particular about a panel. `steps` are the values from which it is yellow and red; where the second is
    smaller, low values are the bad ones. `absent` is shown where there is no value."""

    title: str
    description: str
    type: Literal["stat", "timeseries", "heatmap", "table"] = "timeseries"
    unit: str
    width: int = 8
    steps: tuple[float, float] | None = None
    words: Mapping[str, str] = {}
    absent: str = "none"
    stacked: bool = False
    queries: list[Query]


class Row(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Panels under a heading, or under none: as many lines as they need, each `height` high."""

    panels: list[Panel]
    title: str = ""
    height: int = 8


class Board(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One dashboard; its file is called as its `name`."""

    name: str
    title: str
    description: str
    rows: list[Row]


class Boards(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All of boards.toml; `left_out` says of metrics that are on no board why."""

    boards: list[Board]
    left_out: Mapping[str, str]


def read_boards(folder: Path) -> Boards:
    """Give the boards; raises msgspec.ValidationError with the place of the first mistake."""
    return msgspec.toml.decode((folder / "boards.toml").read_text(encoding="utf-8"), type=Boards)


def build_board(board: Board) -> dict[str, Any]:
    """Give a board as Grafana reads it."""
    return {
        "annotations": {"list": [*build_annotations()]},
        "description": board.description,
        "editable": False,
        "graphTooltip": 1,
        "id": None,
        "links": [build_link()],
        "panels": [*place_rows(board.rows)],
        "refresh": "30s",
        "schemaVersion": 39,
        "tags": ["ecproc"],
        "templating": {"list": build_variables()},
        "time": {"from": "now-6h", "to": "now"},
        "timezone": "",
        "title": f"ecproc / {board.title}",
        "uid": f"ecproc-{board.name}",
        "version": 1,
    }


def build_annotations() -> Iterator[dict[str, Any]]:
    """Yield the marks across all panels: starts of the processor, and alerts."""
    marks = {
        "Starts": (f"changes(process_start_time_seconds{{{TARGET}}}[$__interval]) > 0", "blue", "{{instance}} started"),
        "Alerts": (
            f'ALERTS{{alertname=~"Ecproc.+", alertstate="firing", {TARGET}}}',
            "red",
            "{{alertname}} {{instance}}",
        ),
    }
    for name, (expr, colour, text) in marks.items():
        yield {
            "datasource": SOURCE,
            "enable": True,
            "expr": expr,
            "iconColor": colour,
            "name": name,
            "step": "60s",
            "titleFormat": text,
        }


def build_link() -> dict[str, Any]:
    """Give the links to the other boards, which keep the time and what is selected."""
    return {
        "asDropdown": False,
        "includeVars": True,
        "keepTime": True,
        "tags": ["ecproc"],
        "title": "ecproc",
        "type": "dashboards",
    }


def build_variables() -> list[dict[str, Any]]:
    """Give the three selections above a board: data source, job, instance."""
    source = {"label": "Data source", "name": "datasource", "query": "prometheus", "type": "datasource"}
    return [
        source,
        build_variable("job", "label_values(ecproc_build_info, job)"),
        build_variable("instance", 'label_values(ecproc_build_info{job=~"$job"}, instance)'),
    ]


def build_variable(label: str, query: str) -> dict[str, Any]:
    return {
        "allValue": ".*",  # also what has no such label, as an alert about a target that is gone
        "current": {"selected": True, "text": "All", "value": "$__all"},
        "datasource": SOURCE,
        "includeAll": True,
        "label": label.capitalize(),
        "multi": True,
        "name": label,
        "query": {"qryType": 1, "query": query, "refId": "variable"},
        "refresh": 2,  # when the time range changes
        "sort": 1,
        "type": "query",
    }


def place_rows(rows: Sequence[Row]) -> Iterator[dict[str, Any]]:
    """Yield headings and panels with their places; what finds no place on a line begins the next one."""
    top, number = 0, 0
    for row in rows:
        if row.title:
            number += 1
            yield {
                "collapsed": False,
                "gridPos": {"h": 1, "w": COLUMNS, "x": 0, "y": top},
                "id": number,
                "panels": [],
                "title": row.title,
                "type": "row",
            }
            top += 1
        left = 0
        for panel in row.panels:
            number += 1
            if left + panel.width > COLUMNS:
                left, top = 0, top + row.height
            place = {"h": row.height, "w": panel.width, "x": left, "y": top}
            yield {**build_panel(panel), "gridPos": place, "id": number}
            left += panel.width
        top += row.height


def build_panel(panel: Panel) -> dict[str, Any]:
    """Give a panel without its place."""
    return {
        "datasource": SOURCE,
        "description": panel.description,
        "fieldConfig": {"defaults": build_defaults(panel), "overrides": []},
        "options": build_options(panel),
        "targets": [build_target(panel, query, number) for number, query in enumerate(panel.queries)],
        "title": panel.title,
        "type": panel.type,
        **({"transformations": build_columns()} if panel.type == "table" else {}),
    }


def build_defaults(panel: Panel) -> dict[str, Any]:
    """Give what holds for all series of a panel: unit, colours, words for values."""
    options = {value: {"index": index, "text": text} for index, (value, text) in enumerate(panel.words.items())}
    defaults: dict[str, Any] = {
        "mappings": [{"options": options, "type": "value"}] if options else [],
        "noValue": panel.absent,
        "thresholds": {"mode": "absolute", "steps": [*build_steps(panel.steps)]},
        "unit": panel.unit,
    }
    if panel.type == "timeseries":
        defaults["custom"] = {
            "axisSoftMin": 0,
            "fillOpacity": 30 if panel.stacked else 10,
            "lineWidth": 1,
            "stacking": {"group": "A", "mode": "normal" if panel.stacked else "none"},
            "thresholdsStyle": {"mode": "dashed" if panel.steps else "off"},
        }
    else:
        defaults["color"] = {"mode": "thresholds"}
    return defaults


def build_steps(steps: tuple[float, float] | None) -> Iterator[dict[str, Any]]:
    """Yield the colours and the values from which they hold; upside down where the second value is the smaller one."""
    colours: Sequence[str] = COLOURS
    values: list[float | None] = [None, *(steps or ())]
    if steps is not None and steps[1] < steps[0]:
        colours, values = COLOURS[::-1], [None, *reversed(steps)]
    for colour, value in zip(colours, values, strict=False):
        yield {"color": colour, "value": value}


def build_options(panel: Panel) -> dict[str, Any]:
    """Give what only this type of panel knows."""
    match panel.type:
        case "stat":
            reduce = {"calcs": ["lastNotNull"], "fields": "", "values": False}
            colour = "background" if panel.steps else "none"
            return {"colorMode": colour, "graphMode": "none", "reduceOptions": reduce, "textMode": "auto"}
        case "heatmap":
            return {"calculate": False, "cellGap": 1, "color": {"scheme": "Blues"}, "yAxis": {"unit": panel.unit}}
        case "table":
            return {"cellHeight": "sm", "showHeader": True}
        case "timeseries":
            legend = {"calcs": ["lastNotNull", "max"], "displayMode": "table", "placement": "bottom"}
            return {"legend": legend, "tooltip": {"mode": "multi", "sort": "desc"}}


def build_target(panel: Panel, query: Query, number: int) -> dict[str, Any]:
    """Give a query. What is there only at times is asked for as of now, so that no former value is shown for it."""
    at_once = panel.type in ("stat", "table")
    return {
        "datasource": SOURCE,
        "editorMode": "code",
        "expr": query.expr.strip().replace("TARGET", TARGET),
        "format": panel.type if panel.type in ("heatmap", "table") else "time_series",
        "instant": at_once,
        "legendFormat": query.legend or "__auto",
        "range": not at_once,
        "refId": chr(ord("A") + number),
    }


def build_columns() -> list[dict[str, Any]]:
    """Give a table's transformations: one row for each series, without columns that say nothing."""
    hidden = {"Time": True, "Value": True, "__name__": True}
    return [{"id": "merge", "options": {}}, {"id": "organize", "options": {"excludeByName": hidden}}]


def list_metrics(boards: Boards) -> str:
    """Give the table of every metric and where it is shown, or why it is not."""
    shown: dict[str, list[str]] = {}
    for board in boards.boards:
        queries = [query.expr for row in board.rows for panel in row.panels for query in panel.queries]
        for name in {SERIES.sub("", name) for expr in queries for name in METRIC.findall(expr)}:
            shown.setdefault(name, []).append(board.title)
    places = {name: ", ".join(titles) for name, titles in shown.items()}
    places |= {name: f"on no board: {reason}" for name, reason in boards.left_out.items()}
    lines = [f"| `{name}` | {place} |" for name, place in sorted(places.items())]
    return "\n".join(["| metric | board |", "|---|---|", *lines, ""])


def render(folder: Path) -> Mapping[Path, str]:
    """Give every file that is made, with its text."""
    boards = read_boards(folder)
    page = folder / "README.md"
    listed = LIST.sub(lambda _: list_metrics(boards), page.read_text(encoding="utf-8"))
    files = {
        folder / "dashboards" / f"{board.name}.json": json.dumps(build_board(board), indent=2, ensure_ascii=False)
        + "\n"
        for board in boards.boards
    }
    return {**files, page: listed}


def find_stale(folder: Path, files: Mapping[Path, str]) -> Iterator[str]:
    """Yield the files that are not as they would be made now, and boards that nothing makes."""
    for path, text in files.items():
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            yield f"{path.name} is stale: run `python docs/build_boards.py`"
    for path in sorted((folder / "dashboards").glob("*.json")):
        if path not in files:
            yield f"{path.name} is none of boards.toml's: remove it"


def main() -> int:
    """Write the files, or check them."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing, exit 1 when a file is stale")
    parser.add_argument("--folder", type=Path, default=GRAFANA, help="where boards.toml is")
    options = parser.parse_args()
    folder: Path = options.folder
    files = render(folder)
    if options.check:
        problems = [*find_stale(folder, files)]
        for problem in problems:
            print(f"error: {problem}", file=sys.stderr)
        return 1 if problems else 0
    (folder / "dashboards").mkdir(exist_ok=True)
    for path, text in files.items():
        path.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
