"""Where benchmarks are run: children on their own CPU, rounds in turn, and rows that keep both sides of a ratio."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from statistics import median
from typing import Any, Final, Literal, TypeAlias

import msgspec
import trustme

from benchmarks.measure import Sample

ROOT: Final = Path(__file__).parents[1]
CHILD_SECONDS: Final = 480.0
"""After which a measurement counts as hung."""


Clock: TypeAlias = Literal["cpu", "wall"]
"""What a ratio is made of: CPU where both sides compute, wall clock where they wait for a disk or an answer."""


class BenchmarkFailed(Exception):
    """A measurement gave no figure."""


class Call(msgspec.Struct, frozen=True):
    """One measurement to take in a child: our function as `module:name` and its arguments, or a peer's command; tried
    `attempts` times until it ends well."""

    function: str
    arguments: Mapping[str, Any] = {}
    command: tuple[str, ...] = ()
    cwd: str = str(ROOT)
    attempts: int = 1


class Side(msgspec.Struct, frozen=True):
    """One side of a comparison over all its rounds: medians, and what the last round saw besides."""

    name: str
    us: float
    us_least: float
    us_most: float
    cpu_us: float
    runs: int
    facts: Mapping[str, float] = {}


class Row(msgspec.Struct, frozen=True):
    """One line of the report. `figure` is what a goal is set for: with the unit `x` the baseline's time over ours, so
    how many times its rate we have, `by` that clock, else what `note` says; `least` and `most` are its extremes over
    the rounds."""

    key: str
    title: str
    per: str
    ours: Side
    baseline: Side | None = None
    figure: float | None = None
    least: float | None = None
    most: float | None = None
    unit: str = "x"
    note: str = ""
    by: Clock = "wall"


class Stub(msgspec.Struct, frozen=True):
    """A running stub of the bridge."""

    url: str
    ca_file: str

    def ask(self, path: str) -> dict[str, Any]:
        """One of the stub's own pages; of a stub without TLS."""
        with urllib.request.urlopen(f"{self.url}{path}", timeout=10) as answer:  # noqa: S310 - our own stub
            found: dict[str, Any] = msgspec.json.decode(answer.read())
        return found


class Lab:
    """One run of benchmarks. `quick` shrinks the work and the rounds; `scratch` is emptied at the end.

    `log` is a large log of `log_messages`, once `built` says what making it took; `part` a smaller one.
    """

    def __init__(self, *, quick: bool, scratch: Path) -> None:
        self.quick = quick
        self.scratch = scratch
        self.rounds = 1 if quick else 5
        self.log = scratch / "log"
        self.part = scratch / "part"
        self.log_messages = 20_000 if quick else 500_000
        self.part_messages = 5_000 if quick else 100_000
        self.log_tickets = 1_000 if quick else 10_000
        self.built: Sample | None = None
        self.renewed: Sample | None = None
        self._folders = 0

    def size(self, full: int, quick: int) -> int:
        """How much work to do."""
        return quick if self.quick else full

    def folder(self) -> Path:
        """A new empty folder on the disk under test."""
        self._folders += 1
        path = self.scratch / f"{self._folders:04d}"
        path.mkdir(parents=True)
        return path

    def take(self, call: Call, *, pin: str = "ours") -> Sample:
        """Take one measurement in a child; a `{folder}` argument becomes a new folder that is removed afterwards."""
        for _ in range(call.attempts - 1):
            with suppress(BenchmarkFailed):
                return self._take(call, pin=pin)
        return self._take(call, pin=pin)

    def _take(self, call: Call, *, pin: str) -> Sample:
        folder = str(self.folder())
        if call.command:
            command = [sys.executable, "-c", _START_PINNED, pin, *call.command]
            command = [folder if word == "{folder}" else word for word in command]
        else:
            arguments = {name: folder if value == "{folder}" else value for name, value in call.arguments.items()}
            command = [sys.executable, "-m", "benchmarks.measure", call.function]
            command += [msgspec.json.encode(arguments).decode(), "--pin", pin]
        try:
            return run_child(call.function, command, cwd=call.cwd)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def interleave(self, calls: Mapping[str, Call]) -> dict[str, list[Sample]]:
        """Take each measurement once per round, in turn, so that a disturbance meets all of them."""
        samples: dict[str, list[Sample]] = {name: [] for name in calls}
        for _ in range(self.rounds):
            for name, call in calls.items():
                samples[name].append(self.take(call))
        return samples

    def compare(
        self,
        key: str,
        title: str,
        *,
        per: str,
        ours: Call,
        baseline: Call,
        against: str,
        note: str = "",
        by: Clock = "cpu",
    ) -> Row:
        """Measure both sides in turn and make their row."""
        samples = self.interleave({"ours": ours, "baseline": baseline})
        mine, theirs = samples["ours"], samples["baseline"]
        return make_row(key, title, per=per, ours=mine, baseline=theirs, against=against, note=note, by=by)

    @contextmanager
    def stub(
        self,
        *,
        messages: int,
        tickets: int,
        mix: str = "quiet",
        run: int = 1,
        delay: float = 0.0,
        endless: bool = False,
        tls: bool = False,
        module: str = "benchmarks.stub",
    ) -> Iterator[Stub]:
        """A stub of the bridge in its own process, on the CPU that measurements leave alone."""
        arguments = ["--messages", str(messages), "--tickets", str(tickets), "--mix", mix, "--delay", str(delay)]
        arguments += ["--run", str(run)] if run > 1 else []
        arguments += ["--endless"] if endless else []
        ca_file = ""
        if tls:
            folder = self.folder()
            ca_file = _issue_certificates(folder)
            arguments += ["--pem", str(folder / "server.pem")]
        command = [sys.executable, "-c", _START_STUB, module, *arguments]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT)  # noqa: S603 - our own module
        try:
            port = int((process.stdout.readline() if process.stdout else b"") or b"0")
            if not port:
                raise BenchmarkFailed("the stub did not start")
            yield Stub(f"{'https' if tls else 'http'}://127.0.0.1:{port}", ca_file)
        finally:
            process.kill()
            process.communicate()


_START_STUB: Final = """
import runpy, sys
from benchmarks.measure import pin
pin("theirs")
module = sys.argv.pop(1)
runpy.run_module(module, run_name="__main__", alter_sys=True)
"""
_START_PINNED: Final = """
import os, sys
from benchmarks.measure import pin
pin(sys.argv[1])
os.execvp(sys.argv[2], sys.argv[2:])
"""


def run_child(name: str, command: list[str], *, cwd: str) -> Sample:
    """Run a command whose last line of output is a Sample in JSON."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(ROOT), os.environ.get("PYTHONPATH", "")))}
    try:
        ended = subprocess.run(  # noqa: S603 - our own modules, or a peer's
            command, capture_output=True, timeout=CHILD_SECONDS, cwd=cwd, env=environment, check=False
        )
    except subprocess.TimeoutExpired:
        raise BenchmarkFailed(f"{name} took more than {CHILD_SECONDS:g} s") from None
    lines = ended.stdout.splitlines()
    if ended.returncode or not lines:
        raise BenchmarkFailed(f"{name} ended with {ended.returncode}: {ended.stderr.decode()[-2000:]}")
    return msgspec.json.decode(lines[-1], type=Sample)


def make_side(name: str, samples: list[Sample]) -> Side:
    """The medians of a side's rounds."""
    times = [sample.us for sample in samples]
    return Side(
        name=name,
        us=median(times),
        us_least=min(times),
        us_most=max(times),
        cpu_us=median(sample.cpu_us for sample in samples),
        runs=len(samples),
        facts={
            fact: median(sample.facts[fact] for sample in samples if fact in sample.facts) for fact in samples[-1].facts
        },
    )


def make_row(
    key: str,
    title: str,
    *,
    per: str,
    ours: list[Sample],
    baseline: list[Sample] | None = None,
    against: str = "",
    note: str = "",
    by: Clock = "cpu",
) -> Row:
    """A row out of both sides' rounds; its ratio is the median of the rounds' own ratios."""
    row = Row(key=key, title=title, per=per, ours=make_side("ecproc", ours), unit="", note=note, by=by)
    if baseline is None:
        return row
    ratios = [_spent(theirs, by) / _spent(mine, by) for mine, theirs in zip(ours, baseline, strict=True)]
    return with_figures(msgspec.structs.replace(row, baseline=make_side(against, baseline)), ratios, unit="x")


def with_figures(row: Row, figures: Sequence[float], *, unit: str, note: str = "") -> Row:
    """The row with what each round gave as its figure."""
    least, most = min(figures), max(figures)
    told = note or row.note
    return msgspec.structs.replace(row, figure=median(figures), least=least, most=most, unit=unit, note=told)


def _spent(sample: Sample, by: Clock) -> float:
    return sample.cpu_us if by == "cpu" else sample.us


@contextmanager
def open_lab(*, quick: bool, disk: Path | None = None) -> Iterator[Lab]:
    """A lab whose scratch folder is gone at the end."""
    with tempfile.TemporaryDirectory(prefix="ecproc-bench-", dir=disk) as scratch:
        yield Lab(quick=quick, scratch=Path(scratch))


def measure_fsync(folder: Path, rounds: int = 200) -> float:
    """The median seconds that fsync takes behind a write of 26 KB, as one commit of ten messages is."""
    data = os.urandom(26_000)
    times: list[float] = []
    path = folder / "fsync"
    with path.open("wb", buffering=0) as file:
        for _ in range(rounds):
            file.write(data)
            began = time.perf_counter()
            os.fsync(file.fileno())
            times.append(time.perf_counter() - began)
    path.unlink()
    return median(times)


def _issue_certificates(folder: Path) -> str:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(folder / "server.pem"))
    return str(folder / "ca.pem")
