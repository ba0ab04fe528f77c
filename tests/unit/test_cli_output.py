"""Results and remarks that one terminal shows: each behind what was written before it."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest

from ecproc.cli.output import OutputFailed, flush, say, write_text


def buffered(raw: io.RawIOBase) -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BufferedWriter(raw), encoding="utf-8")


def test_a_remark_stands_behind_the_results_before_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = tmp_path / "terminal"
    with (
        buffered(io.FileIO(shown, "a")) as stdout,
        buffered(io.FileIO(shown, "a")) as stderr,
        monkeypatch.context() as patch,
    ):
        patch.setattr(sys, "stdout", stdout)
        patch.setattr(sys, "stderr", stderr)
        write_text("a row")
        say("1 of 1 tickets")
    assert shown.read_text(encoding="utf-8").splitlines() == ["a row", "1 of 1 tickets"]


def test_a_remark_comes_though_results_cannot_be_written_and_hides_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Full(io.RawIOBase):
        full = True

        def writable(self) -> bool:
            return True

        def write(self, data: object) -> int:
            if self.full:
                raise OSError(28, "No space left on device")
            return len(bytes(data))  # type: ignore[call-overload]

    full, told = Full(), tmp_path / "stderr"
    with buffered(full) as stdout, told.open("w", encoding="utf-8") as stderr, monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", stdout)
        patch.setattr(sys, "stderr", stderr)
        write_text("a row")
        say("a remark")
        with pytest.raises(OutputFailed, match="No space left"):
            flush()
        full.full = False
    assert told.read_text(encoding="utf-8") == "a remark\n"
