"""What a ratio is made of, and how an interpreter was built, stand in the report."""

from __future__ import annotations

import pytest

from benchmarks.lab import Clock, make_row
from benchmarks.machine import describe_build
from benchmarks.measure import Sample
from benchmarks.report import print_rows


@pytest.mark.parametrize(("by", "figure"), [("cpu", 3.0), ("wall", 0.5)])
def test_a_ratio_is_of_the_clock_that_the_row_says(by: Clock, figure: float) -> None:
    ours, theirs = Sample(10, wall=4.0, cpu=1.0), Sample(10, wall=2.0, cpu=3.0)

    row = make_row("e2e_tls", "a row", per="message", ours=[ours], baseline=[theirs], against="another", by=by)

    assert row.figure == figure
    assert f"× {'CPU' if by == 'cpu' else 'wall'}**" in print_rows([row])


def test_the_figure_is_the_median_of_the_rounds_own_ratios() -> None:
    ours = [Sample(1, 1.0, seconds) for seconds in (1.0, 10.0, 2.0)]
    theirs = [Sample(1, 1.0, seconds) for seconds in (1.0, 40.0, 4.0)]

    row = make_row("e2e_tls", "a row", per="message", ours=ours, baseline=theirs)

    assert (row.least, row.figure, row.most) == (1.0, 2.0, 4.0)


@pytest.mark.parametrize(
    ("variables", "told"),
    [
        (
            {"CONFIG_ARGS": "'--prefix=/opt/it' '--enable-shared'", "Py_ENABLE_SHARED": 1},
            "not configured with --enable-optimizations, shared libpython",
        ),
        (
            {"CONFIG_ARGS": "'--enable-optimizations' '--with-lto=full' 'CFLAGS=-g -O2'", "Py_ENABLE_SHARED": 0},
            "optimised, LTO, libpython linked in",
        ),
        ({}, "not configured with --enable-optimizations, libpython linked in"),
    ],
)
def test_a_build_is_told_without_its_places(variables: dict[str, object], told: str) -> None:
    assert describe_build(variables) == told
