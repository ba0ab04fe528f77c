"""Quick rows are held against committed ratios: what became slow is caught, and noise is not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
import pytest

from benchmarks.held import FLOOR, TRIES, find_fallen, keep_rows
from benchmarks.lab import BenchmarkFailed, Lab, Row, make_row
from benchmarks.measure import Sample


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab(quick=True, scratch=tmp_path)


class Planted:
    """A part with one row that takes as long as told, run by run, beside a baseline that takes a second."""

    def __init__(self, key: str, *seconds: float) -> None:
        self.runs = 0
        self._key = key
        self._seconds = seconds

    def __call__(self, lab: Lab) -> Sequence[Row]:
        took = self._seconds[min(self.runs, len(self._seconds) - 1)]
        self.runs += 1
        if not took:
            raise BenchmarkFailed("it hung")
        row = make_row(self._key, "a row", per="message", ours=[Sample(1, took, took)], baseline=[Sample(1, 1.0, 1.0)])
        if self._key == "startup":
            row = msgspec.structs.replace(row, figure=took)
        return [row]


def test_a_row_that_became_slow_is_caught_after_three_tries(lab: Lab) -> None:
    slow = Planted("e2e_limit", 4.0)

    (line,) = find_fallen(lab, {"e2e_limit": 0.5}, [slow])

    assert "e2e_limit: 0.25, committed 0.5, at least 0.35" in line
    assert slow.runs == TRIES


@pytest.mark.parametrize("seconds", [1.0, 2.0, 2.0 / FLOOR - 0.01])
def test_a_row_that_is_as_fast_or_nearly_so_passes_at_once(lab: Lab, seconds: float) -> None:
    part = Planted("e2e_limit", seconds)
    assert find_fallen(lab, {"e2e_limit": 0.5}, [part]) == []
    assert part.runs == 1


@pytest.mark.parametrize("first", [9.0, 0.0])
def test_what_falls_or_fails_once_is_measured_again(lab: Lab, first: float) -> None:
    part = Planted("e2e_limit", first, 2.0)
    assert find_fallen(lab, {"e2e_limit": 0.5}, [part]) == []
    assert part.runs == 2


def test_what_never_gives_a_figure_is_told(lab: Lab) -> None:
    assert "it hung" in find_fallen(lab, {"e2e_limit": 0.5}, [Planted("e2e_limit", 0.0)])[0]


@pytest.mark.parametrize(("figure", "falls"), [(3.0, False), (6.0, True)])
def test_a_row_that_counts_a_cost_falls_by_rising(lab: Lab, figure: float, *, falls: bool) -> None:
    assert bool(find_fallen(lab, {"startup": 4.0}, [Planted("startup", figure)])) is falls


def test_a_row_that_is_not_held_is_not_judged(lab: Lab) -> None:
    held = Planted("e2e_limit", 2.0)
    assert find_fallen(lab, {"e2e_limit": 0.5}, [held, Planted("other", 99.0)]) == []


def test_a_committed_row_that_is_gone_is_told(lab: Lab) -> None:
    assert find_fallen(lab, {"gone": 1.0}, []) == ["gone: no row of that name was measured"]


def test_medians_of_what_hardly_differs_are_kept(lab: Lab, tmp_path: Path) -> None:
    steady, restless = Planted("steady", 2.0, 2.1, 1.9, 2.0, 2.0), Planted("restless", 2.0, 2.0, 2.0, 9.0)
    path = tmp_path / "held.json"

    keep_rows(lab, [steady, restless], path)

    assert msgspec.json.decode(path.read_bytes()) == {"steady": 0.5}


@pytest.fixture(autouse=True)
def quiet(capsys: pytest.CaptureFixture[str]) -> Iterator[None]:
    yield
    capsys.readouterr()
