"""`ecproc reconcile`: what does not add up between us and Ensono."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from functools import partial
from typing import TYPE_CHECKING, Annotated, Final

import anyio
import msgspec
from cyclopts import Parameter

from ecproc.cli.control import ControlFailed, connect
from ecproc.cli.listing import take, write_table
from ecproc.cli.output import say, wants_json, write_line
from ecproc.cli.session import Failed, JsonLines, Limit, Own, has_log, mention_missing_log
from ecproc.clock import SystemClock
from ecproc.commands.capability import READABLE
from ecproc.config import Config
from ecproc.domain.queue import PollOutcome
from ecproc.errors import ExitCode
from ecproc.reading.masking import mask_struct

if TYPE_CHECKING:
    from ecproc.reading.mismatches import Mismatch, QueueCounts
    from ecproc.store.base import Reader

_COLUMNS: Final = ("code", "ticket", "since", "detail", "hint")
_METRICS_SECONDS: Final = 5.0
_RECEIVES: Final = ("ecproc_message_receives", "ecproc_message_receive_count")
"""What the histogram of receive counts is called, now or in a processor of another release."""
_ANSWERED: Final = frozenset({PollOutcome.MESSAGES.value, PollOutcome.EMPTY.value})


def reconcile(
    *,
    remote: Annotated[
        bool,
        Parameter(help="Compare open incidents and requests with Ensono's, in dev and echo only.", show_default=False),
    ] = False,
    limit: Limit = None,
    json: JsonLines = False,
    session: Own,
) -> ExitCode:
    """List what does not add up between us and Ensono: one line each, as JSON unless a terminal shows it; exit 3 if
    there is any.

    Codes are unconfirmed, not_returned, two_client_tickets, link_differs, gap, second_consumer and, with --remote,
    remote_differs. Only tickets that have not come to their end are looked at. It only reads, beside a running
    processor or without one; what the processor has counted is evidence too.

    Example:
        ecproc reconcile
        ecproc reconcile --json | jq -r .ticket
    """
    config = session.load_config(require_bridge=remote)
    if remote and config.bridge.environment not in READABLE:
        raise Failed(f"--remote is for {' and '.join(sorted(READABLE))} only: elsewhere Ensono shows no tickets (R124)")
    if not has_log(config):
        mention_missing_log(config)
        return ExitCode.OK
    found = anyio.run(partial(_list, config, remote=remote, limit=limit, as_json=wants_json(json)))
    return ExitCode.FINDINGS if found else ExitCode.OK


async def _list(config: Config, *, remote: bool, limit: int | None, as_json: bool) -> int:
    """Print what does not add up; how much that is."""
    from ecproc.reading.opening import open_reading

    counts = await _ask_counts(config)
    rows: list[tuple[str, ...]] = []
    found = 0
    async with open_reading(config) as reader, aclosing(_find(config, reader, counts, remote=remote)) as items:
        async for item in take(items, limit):
            found += 1
            shown = mask_struct(item)
            if as_json:
                write_line(msgspec.json.encode(shown))
            else:
                since = f"{shown.since[:19]}Z" if shown.since else "–"
                rows.append((shown.code, shown.ticket or "–", since, shown.detail, shown.hint))
    if not as_json:
        write_table(_COLUMNS, rows, whole=_COLUMNS[:3])
        say(f"{found} that do not add up" if found else "everything adds up")
    return found


async def _find(
    config: Config, reader: Reader, counts: QueueCounts | None, *, remote: bool
) -> AsyncGenerator[Mismatch, None]:
    from ecproc.reading.mismatches import list_mismatches

    clock = SystemClock()
    async for item in list_mismatches(reader, now=clock.now(), counts=counts):
        yield item
    if not remote:
        return
    from ecproc.bridge.http import HttpBridge
    from ecproc.config import Secrets
    from ecproc.doctor.remote import list_remote_differences

    key = Secrets(config, lambda change: None)["bridge.api_key"]
    bridge = HttpBridge(config.bridge, api_key=key, limits=config.limits, clock=clock)
    try:
        async for item in list_remote_differences(reader, bridge):
            yield item
    finally:
        await bridge.aclose()


async def _ask_counts(config: Config) -> QueueCounts | None:
    """What the running processor counted, None if none runs. One that does not answer is mentioned."""
    try:
        async with connect(config, patience=_METRICS_SECONDS) as processor:
            if processor is None:
                return None
            answer = await processor.call("GET", "/metrics", seconds=_METRICS_SECONDS)
    except ControlFailed as error:
        say(f"{error}: its counters, by which a second consumer shows, are left out")
        return None
    return read_counts(answer.body.decode("utf-8", "replace"), readers=config.bridge.max_readers)


def read_counts(metrics: str, *, readers: int) -> QueueCounts:
    """What these metrics, in Prometheus' text format, count of the queue."""
    from prometheus_client.parser import text_string_to_metric_families

    from ecproc.reading.mismatches import QueueCounts

    known = failed = 0.0
    again = dict.fromkeys(_RECEIVES, 0.0)
    for family in text_string_to_metric_families(metrics):
        for sample in family.samples:
            match sample.name:
                case "ecproc_messages_duplicate_total":
                    known += sample.value
                case "ecproc_queue_polls_total" if sample.labels.get("outcome") not in _ANSWERED:
                    failed += sample.value
                case name if family.name in again and name.endswith("_count"):
                    again[family.name] += sample.value
                case name if family.name in again and name.endswith("_bucket") and _is_first(sample.labels):
                    again[family.name] -= sample.value
                case _:
                    pass
    return QueueCounts(int(max(again.values())), int(known), int(failed), readers)


def _is_first(labels: Mapping[str, str]) -> bool:
    """Whether it is the bucket of messages that were handed out once."""
    return float(labels["le"]) == 1
