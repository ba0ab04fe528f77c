"""What is left of receive counts in a data directory: one window for each run and day, the newest ones, nothing odd."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from ecproc.domain.events import Transaction
from ecproc.domain.ids import NO_SEQUENCE
from ecproc.runtime.receipts import HANDED_OUT, MARGIN, Receipts
from ecproc.store.receipts import MOST_WINDOWS, RECEIPTS, ReceiptWindow, note_receipts, read_receipts
from ecproc.wire.queue import Envelope

NOW = 1_700_000_000_000_000
SECOND = 1_000_000
WINDOW = ReceiptWindow(NOW, NOW + 1, 5, 1, 2, 8, NOW + 1)


def test_nothing_is_known_where_nothing_was_left(tmp_path: Path) -> None:
    assert read_receipts(tmp_path) == read_receipts(tmp_path / "none") == ()


def test_a_window_takes_the_place_of_its_own_former_state(tmp_path: Path) -> None:
    newer = msgspec.structs.replace(WINDOW, until=NOW + 2, again=6)
    other = msgspec.structs.replace(WINDOW, since=NOW + 3)
    for window in (WINDOW, newer, other):
        note_receipts(tmp_path, window)
    assert read_receipts(tmp_path) == (newer, other)
    assert [path.name for path in tmp_path.iterdir()] == [RECEIPTS]
    assert (tmp_path / RECEIPTS).stat().st_mode & 0o777 == 0o600


def test_there_are_only_so_many_of_them(tmp_path: Path) -> None:
    for count in range(MOST_WINDOWS + 5):
        note_receipts(tmp_path, msgspec.structs.replace(WINDOW, since=NOW + count))
    assert [window.since for window in read_receipts(tmp_path)] == [NOW + count for count in range(5, MOST_WINDOWS + 5)]


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"windows":[{"since":-1}]}', b"\xff", b"[" * 100_000])
def test_what_we_did_not_write_says_nothing_and_is_replaced(tmp_path: Path, content: bytes) -> None:
    (tmp_path / RECEIPTS).write_bytes(content)
    assert read_receipts(tmp_path) == ()
    note_receipts(tmp_path, WINDOW)
    assert read_receipts(tmp_path) == (WINDOW,)


def test_where_nothing_can_be_written_nothing_fails(tmp_path: Path) -> None:
    (tmp_path / RECEIPTS).mkdir()
    note_receipts(tmp_path, WINDOW)
    note_receipts(tmp_path / "none", WINDOW)
    assert [path.name for path in tmp_path.iterdir()] == [RECEIPTS]


@pytest.mark.parametrize(
    ("count", "first_ms", "again"),
    [
        (2, NOW // 1000, 1),
        (9, NOW // 1000 + 5, 1),
        (2, NOW // 1000 - 1, 0),
        (2, None, 0),
        (1, None, 0),
        (None, NOW // 1000, 0),
    ],
    ids=["second", "ninth", "handed-out-before-us", "no-first-time", "first", "no-count"],
)
def test_a_delivery_counts_that_is_not_the_first_of_a_message_first_handed_out_in_our_time(
    count: int | None, first_ms: int | None, again: int
) -> None:
    message = Envelope("e-CS1", "m1", NO_SEQUENCE, b"{}", Transaction.UPDATE, "AQEB", None, count, first_ms)
    receipts = Receipts(NOW)
    receipts.take([message], duplicates=1, now=NOW + 9)
    assert (receipts.again, receipts.known, receipts.lost) == (again, 1, 0)
    assert receipts.last == (NOW + 9 if again else 0)


@pytest.mark.parametrize(
    ("first", "lost"),
    [(NOW + 1, 1), (NOW + 30 * SECOND + MARGIN, 1), (NOW + 31 * SECOND + MARGIN, 0)],
    ids=["meanwhile", "within-the-margin", "later"],
)
def test_what_was_handed_out_first_while_a_get_failed_was_lost_to_us(first: int, lost: int) -> None:
    receipts = Receipts(NOW)
    receipts.fail(NOW, NOW + 30 * SECOND)
    message = Envelope("e-CS1", "m1", NO_SEQUENCE, b"{}", Transaction.UPDATE, "AQEB", None, 2, -(-first // 1000))
    receipts.take([message], duplicates=0, now=NOW + 9)
    assert (receipts.again, receipts.lost) == (1, lost)


def test_one_get_loses_ten_at_most() -> None:
    receipts = Receipts(NOW)
    receipts.fail(NOW, NOW)
    message = Envelope("e-CS1", "m1", NO_SEQUENCE, b"{}", Transaction.UPDATE, "AQEB", None, 2, NOW // 1000)
    receipts.take([message] * 25, duplicates=0, now=NOW + 9)
    assert (receipts.again, receipts.lost) == (25, HANDED_OUT)
