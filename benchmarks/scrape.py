"""What watching costs: a scrape of many tickets beside one of few, and messages while somebody scrapes beside none."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import anyio

from benchmarks.end_to_end import RUN, TICKETS, open_processor, process, process_call, run_processor
from benchmarks.lab import Call, Lab, Row, make_row, with_figures
from benchmarks.logs import build_tickets
from benchmarks.measure import Sample, pin_process, timing
from ecproc.telemetry.exposition import write_metrics

FEW: Final = 200
MANY: Final = 20_000
_PAIRS: Final = 7
_EVERY: Final = 1.0
"""Seconds between two scrapes: Prometheus' usual is fifteen times that."""
_PATIENCE: Final = 60.0

_SCRAPE: Final = """
import sys, time, urllib.request
while True:
    try:
        urllib.request.urlopen(sys.argv[1], timeout=5).read()
    except OSError:
        pass
    time.sleep(float(sys.argv[2]))
"""


async def scrape(folder: str, *, url: str, scrapes: int) -> Sample:
    """The CPU of so many scrapes of a processor that runs on that data directory."""
    async with (
        open_processor(Path(folder), url=url) as (processor, watch),
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(run_processor, processor)
        with anyio.fail_after(_PATIENCE):
            while watch.last_success is None:  # noqa: ASYNC110 - a measurement may look
                await anyio.sleep(0.05)
        text = b""
        with timing() as time:
            for _ in range(scrapes):
                text = write_metrics(watch.registry, "")[0]
        tasks.cancel_scope.cancel()
    return time.sample(scrapes, bytes=len(text))


async def process_scraped(folder: str, *, url: str, messages: int) -> Sample:
    """As `end_to_end.process`, while another process scrapes once a second."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        listen = f"127.0.0.1:{free.getsockname()[1]}"
    with scraping(f"http://{listen}/metrics"):
        return await process(folder, transport="fast", url=url, messages=messages, listen=listen)


@contextmanager
def scraping(url: str) -> Iterator[None]:
    """Have that scraped by another process, on the CPU that is not ours."""
    command = [sys.executable, "-c", _SCRAPE, url, str(_EVERY)]
    scraper = subprocess.Popen(command, stdout=subprocess.DEVNULL)  # noqa: S603 - our own interpreter
    pin_process(scraper.pid, "theirs")
    try:
        yield
    finally:
        scraper.kill()
        scraper.wait()


def run(lab: Lab) -> list[Row]:
    """Both, each beside the same with less to show or nobody to look."""
    return [_scrape_row(lab), _ingest_row(lab)]


def _scrape_row(lab: Lab) -> Row:
    scrapes = lab.size(500, 50)
    folders = {count: build_tickets(lab, count) for count in (FEW, MANY)}
    with lab.stub(messages=0, tickets=1) as stub:
        calls = {
            str(count): Call("benchmarks.scrape:scrape", {"folder": str(folder), "url": stub.url, "scrapes": scrapes})
            for count, folder in folders.items()
        }
        samples = lab.interleave(calls)
    many, few = samples[str(MANY)], samples[str(FEW)]
    row = make_row(
        "scrape_tickets",
        f"a scrape with {MANY:,} tickets",
        per="scrape",
        ours=many,
        baseline=few,
        against=f"with {FEW}",
        note=f"ours over the other; a text of {many[-1].facts['bytes'] / 1000:.0f} KB",
    )
    return with_figures(row, [mine.cpu / theirs.cpu for mine, theirs in zip(many, few, strict=True)], unit="x")


def _ingest_row(lab: Lab) -> Row:
    messages = lab.size(12_000, 1_500)
    mine, theirs = list[Sample](), list[Sample]()
    with lab.stub(messages=messages, tickets=TICKETS, run=RUN) as stub:
        scraped = {"folder": "{folder}", "url": stub.url, "messages": messages}
        for _ in range(1 if lab.quick else _PAIRS):
            mine.append(lab.take(Call("benchmarks.scrape:process_scraped", scraped)))
            theirs.append(lab.take(process_call(stub, messages)))
    return make_row(
        "scrape_ingest",
        f"end to end, fast, scraped every {_EVERY:g} s",
        per="message",
        ours=mine,
        baseline=theirs,
        against="not scraped",
        by="wall",
    )
