"""Queue consumers: the whole processor beside loops that receive and delete the same messages, and store nothing.

FastStream is the exception: it stores each message in SQLite before its ack, as we do before a DELETE.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from benchmarks.end_to_end import RUN, TICKETS
from benchmarks.lab import BenchmarkFailed, Call, Lab, Row, make_row
from benchmarks.measure import Sample
from benchmarks.peers.places import has_node, has_python, nats_server, node_peer, python_peer, write_messages


def run(lab: Lab) -> list[Row]:
    """boto3 and aiobotocore, FastStream, and sqs-consumer where node is: one DELETE per message in all of them. With
    effects a hand-written loop."""
    if not has_python():
        raise BenchmarkFailed("no peers are installed: python -m benchmarks.peers.places")
    messages = lab.size(8000, 1500)
    samples: dict[str, list[Sample]] = {}
    with (
        lab.stub(messages=messages, tickets=TICKETS, run=RUN) as queue,
        lab.stub(messages=1000, tickets=TICKETS, module="benchmarks.peers.sqs_stub") as sqs,
    ):
        work = {"folder": "{folder}", "transport": "fast", "url": queue.url, "messages": messages}
        samples = lab.interleave(
            {"ours": Call("benchmarks.end_to_end:process", work), **_sqs_calls(lab, sqs.url)},
        )
    samples["faststream"] = [_faststream(lab) for _ in range(lab.rounds)]
    rows = [
        ("peer_sqs_consumer", "sqs_consumer", "sqs-consumer, 8 consumers, one by one"),
        ("peer_boto3", "boto3", "boto3, one DELETE each from 10 threads"),
        ("peer_aiobotocore", "aiobotocore", "aiobotocore, 8 readers, one DELETE each"),
        ("peer_faststream", "faststream", "FastStream: JetStream, SQLite, ack per message"),
    ]
    return [*_rows(samples, rows), _effects(lab)]


def _effects(lab: Lab) -> Row:
    """A message and its effects beside a loop that makes the same calls of it and stores nothing."""
    messages = lab.size(1500, 500)
    with (
        lab.stub(messages=messages, tickets=TICKETS, run=RUN, mix="busy") as busy,
        lab.stub(messages=1000, tickets=TICKETS, run=RUN, mix="busy", endless=True) as endless,
    ):
        work = {"folder": "{folder}", "url": busy.url, "messages": messages, "ca_file": ""}
        lines = write_messages(lab, 1)
        samples = lab.interleave(
            {
                "ours": Call("benchmarks.effects:process_http", work),
                "aiohttp": python_peer("aiohttp", lines, messages, endless.url),
            }
        )
    return make_row(
        "peer_aiohttp",
        "end to end, a message and its effects (desk over HTTP, returnptn)",
        per="message",
        ours=samples["ours"],
        baseline=samples["aiohttp"],
        against="a loop by aiohttp: the same calls, nothing stored",
    )


def _rows(samples: Mapping[str, list[Sample]], rows: Sequence[tuple[str, str, str]]) -> list[Row]:
    return [
        make_row(
            key,
            "end to end, fast",
            per="message",
            ours=samples["ours"],
            baseline=samples[peer],
            against=against,
            by="wall" if peer == "faststream" else "cpu",  # its broker and its disk work for it
        )
        for key, peer, against in rows
        if peer in samples
    ]


def _sqs_calls(lab: Lab, address: str) -> dict[str, Call]:
    messages = write_messages(lab, 10)
    count = lab.size(1500, 500)
    calls = {mode: python_peer(mode, messages, count, address) for mode in ("boto3", "aiobotocore")}
    if has_node():
        calls["sqs_consumer"] = node_peer("sqs_consumer.mjs", address, str(count), "8")
    return calls


def _faststream(lab: Lab) -> Sample:
    messages = write_messages(lab)
    with nats_server(lab) as address:
        return lab.take(python_peer("faststream", messages, lab.size(2000, 600), address))
