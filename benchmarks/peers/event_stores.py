"""Event stores: durable appends and reading everything back, beside ours on the same disk."""

from __future__ import annotations

from benchmarks.lab import BenchmarkFailed, Call, Lab, Row, make_row
from benchmarks.logs import build_part
from benchmarks.measure import Sample
from benchmarks.peers.places import has_node, has_python, node_peer, python_peer, write_messages


def run(lab: Lab) -> list[Row]:
    """`eventsourcing` and `eventsource-py`, and Emmett where node is."""
    if not has_python():
        raise BenchmarkFailed("no peers are installed: python -m benchmarks.peers.places")
    build_part(lab)
    return [*_python(lab), *(_emmett(lab) if has_node() else ())]


def _ours(rows: int, *, callers: int, per: int) -> Call:
    work = {"folder": "{folder}", "rows": rows, "callers": callers, "per": per}
    return Call("benchmarks.append:ours", work)


def _replay(lab: Lab) -> Call:
    return Call("benchmarks.replay:replay", {"folder": str(lab.part), "compact": True})


def _python(lab: Lab) -> list[Row]:
    messages = write_messages(lab)
    few, many = lab.size(2000, 500), lab.size(10_000, 2_000)
    samples = lab.interleave(
        {
            "ours, 64 callers x 1": _ours(few, callers=64, per=1),
            "ours, 1 caller x 10": _ours(few, callers=1, per=10),
            "our replay": _replay(lab),
            "save": python_peer("eventsourcing_save", messages, few),
            "log": python_peer("eventsourcing_replay", messages, many),
            "append": python_peer("eventsource_append", messages, few),
            "read": python_peer("eventsource_read", messages, few),
        }
    )
    rows = [
        (
            "peer_eventsourcing_save",
            "append, 64 callers x 1",
            "ours, 64 callers x 1",
            "save",
            "eventsourcing: Application.save",
        ),
        ("peer_eventsourcing_replay", "replay", "our replay", "log", "eventsourcing: notification log + mapper"),
        (
            "peer_eventsource_append",
            "append, 1 caller x 10",
            "ours, 1 caller x 10",
            "append",
            "eventsource-py: append by 10",
        ),
        ("peer_eventsource_read", "replay", "our replay", "read", "eventsource-py: read_all"),
    ]
    return [
        make_row(
            key,
            title,
            per="event",
            ours=samples[ours],
            baseline=samples[theirs],
            against=against,
            by="cpu" if title == "replay" else "wall",
        )
        for key, title, ours, theirs, against in rows
    ]


def _emmett(lab: Lab) -> list[Row]:
    messages = write_messages(lab)
    count = lab.size(5_000, 1_000)
    calls = {
        "ours": _ours(count, callers=1, per=10),
        "our replay": _replay(lab),
        # Its transactions sometimes end with SQLITE_BUSY: a run that does is no figure.
        "emmett": node_peer("emmett.mjs", str(messages), "{folder}", str(count), "10", attempts=5),
    }
    samples = lab.interleave(calls)
    read = [
        Sample(int(one.facts["read_count"]), one.facts["read_wall"], one.facts["read_cpu"]) for one in samples["emmett"]
    ]
    return [
        make_row(
            "peer_emmett_append",
            "append, 1 caller x 10",
            per="event",
            ours=samples["ours"],
            baseline=samples["emmett"],
            against="emmett-sqlite: append by 10",
            by="wall",
        ),
        make_row(
            "peer_emmett_read",
            "replay",
            per="event",
            ours=samples["our replay"],
            baseline=read,
            against="emmett-sqlite: read all by 1,000",
        ),
    ]
