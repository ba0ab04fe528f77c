"""Queue consumers: the whole processor beside loops that receive and delete the same messages, and store nothing.

FastStream is the exception: it stores each message in SQLite before its ack, as we do before a DELETE.
"""

from __future__ import annotations

from benchmarks.end_to_end import RUN, TICKETS
from benchmarks.lab import BenchmarkFailed, Call, Lab, Row, make_row
from benchmarks.measure import Sample
from benchmarks.peers.places import has_node, has_python, nats_server, node_peer, python_peer, write_messages


def run(lab: Lab) -> list[Row]:
    """boto3 and aiobotocore, FastStream, and sqs-consumer where node is; one DELETE per message in all of them."""
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
