"""What grafana/ holds, as tests look at it: panels, rules, and every query taken apart."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, Final, NamedTuple

import promql_parser as promql
import yaml
from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import Metric as MetricFamily

from ecproc.clock import SystemClock
from ecproc.telemetry.hooks import LANES, STOPPERS, Reading
from ecproc.telemetry.metrics import PrometheusTelemetry

ROOT: Final = Path(__file__).parents[1]
GRAFANA: Final = ROOT / "grafana"
PROMETHEUS: Final = GRAFANA / "prometheus"
RUNBOOKS: Final = ROOT / "docs" / "runbooks"

RATE_INTERVAL: Final = timedelta(seconds=271)
"""What `$__rate_interval` is filled in with: no query says this number itself."""
FILLED: Final = {"$__rate_interval": "271s", "$__interval": "17s"}
SELECTED: Final = {"job": "$job", "instance": "$instance"}
"""What each query must be narrowed to, as regular expressions."""
COMMON_LABELS: Final = frozenset({"job", "instance", "le"})
"""Labels that any series may have: those of the target, and a bucket's edge."""
LEGEND: Final = re.compile(r"\{\{(\w+)\}\}")
TEMPLATE: Final = re.compile(r"\$labels\.(\w+)")
METRIC: Final = re.compile(r"(?<![:\w])(?:ecproc|process)_[a-z_]*[a-z]\b")
SERIES: Final = re.compile(r"_(bucket|count|sum)$")


class Query(NamedTuple):
    """A query, where it stands, and the labels that the texts beside it name."""

    where: str
    expr: str
    shown: frozenset[str] = frozenset()


class Selector(NamedTuple):
    """A metric in a query: its matchers as (label, operator, value), its range, and the function it is argument of."""

    name: str
    matchers: tuple[tuple[str, str, str], ...]
    range: timedelta | None = None
    function: str = ""


def read_boards() -> Mapping[str, dict[str, Any]]:
    """Give the boards by their files' names."""
    return {path.name: json.loads(path.read_text(encoding="utf-8")) for path in sorted(GRAFANA.glob("dashboards/*"))}


def list_panels(board: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Give the panels that show something."""
    return [panel for panel in board["panels"] if panel["type"] != "row"]


def list_board_queries(boards: Mapping[str, Mapping[str, Any]]) -> Iterator[Query]:
    """Yield the queries of panels and of marks."""
    for name, board in boards.items():
        for panel in list_panels(board):
            for target in panel["targets"]:
                shown = frozenset(LEGEND.findall(target["legendFormat"]))
                yield Query(f"{name}: {panel['title']} {target['refId']}", target["expr"], shown)
        for mark in board["annotations"]["list"]:
            yield Query(f"{name}: {mark['name']}", mark["expr"], frozenset(LEGEND.findall(mark["titleFormat"])))


def read_rules(name: str) -> list[dict[str, Any]]:
    """Give the rules of one file, whatever their groups."""
    groups = yaml.safe_load((PROMETHEUS / name).read_text(encoding="utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def list_rule_queries() -> Iterator[Query]:
    """Yield the queries of the rules that record and of those that alert."""
    for rule in read_rules("recording.yml"):
        yield Query(rule["record"], rule["expr"])
    for rule in read_rules("alerts.yml"):
        shown = frozenset(TEMPLATE.findall(" ".join(rule["annotations"].values())))
        yield Query(rule["alert"], rule["expr"], shown)


def fill(expr: str, values: Mapping[str, str] = FILLED) -> str:
    """Give a query without Grafana's intervals, as PromQL."""
    for name, value in values.items():
        expr = expr.replace(name, value)
    return expr


def parse(expr: str) -> promql.Expr:
    """Give a query taken apart; raises ValueError if it is none."""
    return promql.parse(fill(expr))


def walk(expr: promql.Expr) -> Iterator[promql.Expr]:
    """Yield a query and all that it is made of."""
    yield expr
    inner: Sequence[Any] = [getattr(expr, name, None) for name in ("lhs", "rhs", "expr", "param", "vector_selector")]
    for part in (*inner, *getattr(expr, "args", ())):
        if isinstance(part, promql.Expr):
            yield from walk(part)


def list_selectors(expr: str) -> list[Selector]:
    """Give every metric that a query reads."""
    found: list[Selector] = []

    def look(part: Any, seconds: timedelta | None, function: str) -> None:
        match part:
            case promql.VectorSelector():
                matchers = tuple((each.name, str(each.op), each.value) for each in part.matchers.matchers)
                found.append(Selector(part.name or "", matchers, seconds, function))
            case promql.MatrixSelector():
                look(part.vector_selector, part.range, function)
            case promql.Call():
                for argument in part.args:
                    look(argument, None, part.func.name)
            case promql.Expr():
                for name in ("lhs", "rhs", "expr", "param"):
                    look(getattr(part, name, None), None, "")
            case _:
                pass

    look(parse(expr), None, "")
    return found


def list_labels(query: Query) -> set[str]:
    """Give the labels that a query and the texts beside it speak of, less those that it makes itself."""
    named = {*query.shown}
    made: set[str] = set()
    for part in walk(parse(query.expr)):
        match part:
            case promql.AggregateExpr(modifier=modifier) if modifier is not None:
                named.update(modifier.labels)
            case promql.BinaryExpr(modifier=modifier) if modifier is not None and modifier.matching is not None:
                named.update(modifier.matching.labels)
            case promql.Call(args=args) if part.func.name == "label_replace":
                made.update(each.val for each in args[1:2] if isinstance(each, promql.StringLiteral))
                named.update(each.val for each in args[3:4] if isinstance(each, promql.StringLiteral))
            case _:
                pass
    return named - made


class Metric(NamedTuple):
    """What is exposed under a name: its type, and its labels with the values that are known from the start; a label
    without any may have every value."""

    type: str
    labels: Mapping[str, frozenset[str]]


def read_catalogue() -> Mapping[str, Metric]:
    """Give every metric that ecproc exposes, by the name that queries read it by, less a histogram's suffixes."""
    registry = CollectorRegistry()
    telemetry = PrometheusTelemetry(
        registry, clock=SystemClock(), version="1", python="3", sqlite="3", sources=("desk",), polled={"desk": 30.0}
    )
    labelled = {Reading.RECEIVING: read_stoppers, Reading.OLDEST_DUE: read_lanes}
    for reading in Reading:
        telemetry.watch(reading, labelled.get(reading, read_something))
    telemetry.log_position(1, 1)
    telemetry.poll_finished("empty")
    telemetry.quarantine_counted(1)
    telemetry.desk_polled("desk", "ok", whole_at=1)
    for lane in LANES:
        telemetry.outbox_oldest_due(lane, 1)
    return {name_family(family): describe(family) for family in registry.collect()}


def read_something() -> float:
    """A reading."""
    return 1.0


def read_lanes() -> Mapping[str, float]:
    """The reading that has a lane's."""
    return dict.fromkeys(LANES, 0.0)


def read_stoppers() -> Mapping[str, float]:
    """The reading that has a label."""
    return dict.fromkeys(STOPPERS, 1.0)


def list_derived() -> Mapping[str, Metric]:
    """Give what Prometheus makes of metrics: the series that rules record, and what it knows of targets and alerts."""
    recorded = {rule["record"]: Metric("gauge", {}) for rule in read_rules("recording.yml")}
    alerts = Metric("gauge", {"alertname": frozenset(), "alertstate": frozenset({"firing", "pending"})})
    return {**recorded, "up": Metric("gauge", {}), "ALERTS": alerts}


def name_family(family: MetricFamily) -> str:
    """Give a family's name as queries have it."""
    return family.name + {"counter": "_total", "info": "_info"}.get(family.type, "")


def describe(family: MetricFamily) -> Metric:
    """Give type and labels of a family."""
    values: dict[str, set[str]] = {}
    for sample in family.samples:
        for label, value in sample.labels.items():
            values.setdefault(label, set()).add(value)
    return Metric(family.type, {label: frozenset(known) for label, known in values.items()})


def find_unknown(query: Query, catalogue: Mapping[str, Metric]) -> list[str]:
    """Give what a query speaks of and nobody exposes: names, labels, and values of labels that are a closed set."""
    found: list[str] = []
    labels = set(COMMON_LABELS)
    for selector in list_selectors(query.expr):
        base = SERIES.sub("", selector.name)
        name = base if base in catalogue and catalogue[base].type == "histogram" else selector.name
        metric = catalogue.get(name)
        if metric is None or (metric.type == "histogram" and name == selector.name):
            found.append(selector.name)
            continue
        labels.update(metric.labels)
        for label, operator, value in selector.matchers:
            known = metric.labels.get(label)
            if known is None and label not in COMMON_LABELS:
                found.append(label)
            elif known:
                words = [value] if operator in {"MatchOp.Equal", "MatchOp.NotEqual"} else value.split("|")
                found += [f'{label}="{word}"' for word in words if word not in known]
    return found + sorted(list_labels(query) - labels)


def find_undone_counters(query: Query, catalogue: Mapping[str, Metric]) -> list[str]:
    """Give the counters and buckets whose totals since the start a query takes as they stand, which means nothing."""
    return [
        selector.name
        for selector in list_selectors(query.expr)
        if ((selector.name in catalogue and catalogue[selector.name].type == "counter") or SERIES.search(selector.name))
        and selector.function not in {"rate", "increase"}
    ]
