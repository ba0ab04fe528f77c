"""Logs of former builds replay as they did then: byte for byte, at every position, into the same documents."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec
import pytest

from ecproc.app import replay_log
from ecproc.domain.ticket import FOLD_VERSION
from ecproc.fold.recorded import Kind
from ecproc.fold.tickets import MACHINES
from ecproc.reading.opening import open_reading
from ecproc.store.base import VerifiedLog
from ecproc.store.identity import IDENTITY_KIND
from ecproc.store.opening import verify_log
from tests.replay.histories import (
    FOLDER,
    fold_history,
    list_histories,
    list_rebuilt_documents,
    read_expected,
    read_expected_documents,
    unpack,
)

ANOMALIES: Final = frozenset(
    {
        *("adopted", "skipped_state", "backward_state", "after_final", "unexpected_state"),
        *("late", "duplicate", "link_mismatch", "unknown_value", "unknown_type", "foreign_client", "derived_id"),
        *("type_changed", "repeated_dedup_id", "body_differs", "unreadable_part", "approval_unexpected"),
        *("no_close_code", "drift"),
    }
)
"""All that a log recorded here can hold: no desk of ours creates twice, no answer is odd, no time is long over."""


@pytest.mark.parametrize("name", list_histories())
@pytest.mark.requirement("I5", "R230")
async def test_a_history_replays_as_when_it_was_recorded(tmp_path: Path, name: str) -> None:
    config = unpack(name, tmp_path / "data")
    expected = read_expected(name)
    verified = verify_log(config.data)
    assert isinstance(verified, VerifiedLog), verified
    assert verified.head.hash.hex() == expected.hash
    assert await fold_history(config) == expected


@pytest.mark.parametrize("name", list_histories())
@pytest.mark.requirement("I5")
async def test_a_historys_live_rows_are_what_its_log_says(tmp_path: Path, name: str) -> None:
    config = unpack(name, tmp_path / "data")
    async with open_reading(config) as reader:
        if await reader.fold_version() != MACHINES.fold_version:
            pytest.skip("the rows that came with it are another fold's")
    report = await replay_log(config, verify=True, until=None, on_progress=lambda _: None)
    assert report.equal, report.first


@pytest.mark.parametrize("name", list_histories())
@pytest.mark.requirement("I5")
async def test_a_historys_documents_stay_what_they_were(tmp_path: Path, name: str) -> None:
    config = unpack(name, tmp_path / "data")
    documents = [msgspec.json.decode(document) for document in await list_rebuilt_documents(config)]
    for document, expected in zip(documents, read_expected_documents(name), strict=True):
        assert document == expected, expected["ticket"]


UNRECORDED = {Kind.EXTERNAL_RECEIVED}
"""Kinds that no build left a log with yet; what a fold makes of them is held in the runtime's tests."""


async def test_histories_hold_every_kind_of_event_and_anomaly(tmp_path: Path) -> None:
    kinds: set[str] = set()
    anomalies: set[str | None] = set()
    for name in list_histories():
        async with open_reading(unpack(name, tmp_path / name)) as reader:
            async for page in reader.read_log():
                kinds |= {event.kind for event in page}
            async for rows in reader.scan_rows("anomaly"):
                anomalies |= {row.tag for row in rows}
    assert kinds == {IDENTITY_KIND, *Kind} - UNRECORDED
    assert anomalies >= ANOMALIES


def test_every_version_of_the_fold_left_a_log() -> None:
    """What a history was recorded by is the oldest fold that was asked what it makes of it."""
    known = {name: [int(path.stem[5:]) for path in (FOLDER / name).glob("fold-*.json")] for name in list_histories()}

    assert {min(versions) for versions in known.values()} == {*range(1, FOLD_VERSION + 1)}
    assert all(FOLD_VERSION in versions for versions in known.values())
