"""Check what no linter does: code in pieces that can be read, and lock files that fit pyproject.toml and name no index.

Prints how long the functions are; exits 1 when something must be mended.
"""

import argparse
import ast
import re
import statistics
import sys
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Final, NamedTuple

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

CODE: Final = ("ecproc", "benchmarks", "docs")
SUITES: Final = "ecproc/testing/"
"""Where classes are test suites, which tell many scenarios about one thing."""

LONGEST_FUNCTION: Final = 70
LONGEST_CLASS: Final = 200
LONGEST_MODULE: Final = 400
LONGEST_MEDIAN: Final = 6
"""Lines of the function that half of all functions are no longer than."""

PIN: Final = re.compile(r"^(?P<name>[A-Za-z0-9._-]+)==(?P<version>[^ ;\\]+)")
ADDRESS: Final = re.compile(r"://|^-")
"""A URL, or an option that would name one: `--hash` stands indented."""
DIRECT: Final = re.compile(r"^ +#.* ecproc-bridge \(pyproject\.toml")


class Piece(NamedTuple):
    """A module, class or function of the code."""

    kind: type[ast.AST]
    file: str
    line: int
    name: str
    lines: int

    def __str__(self) -> str:
        place = f"{self.file}:{self.line} {self.name}" if self.name else self.file
        return f"{place}: {self.lines} lines"


def read_code(root: Path) -> Iterator[Piece]:
    """Yield every module, class and function, file by file."""
    for path in chain.from_iterable(sorted((root / folder).rglob("*.py")) for folder in CODE):
        text = path.read_text(encoding="utf-8")
        file = path.relative_to(root).as_posix()
        yield Piece(ast.Module, file, 1, "", len(text.splitlines()))
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                kind = ast.ClassDef if isinstance(node, ast.ClassDef) else ast.FunctionDef
                yield Piece(kind, file, node.lineno, node.name, (node.end_lineno or node.lineno) - node.lineno + 1)


def find_long_pieces(pieces: Sequence[Piece]) -> Iterator[str]:
    """Yield each module, class and function that is too long to be read in one go."""
    most = {ast.Module: LONGEST_MODULE, ast.ClassDef: LONGEST_CLASS, ast.FunctionDef: LONGEST_FUNCTION}
    for piece in pieces:
        is_suite = piece.kind is ast.ClassDef and piece.file.startswith(SUITES)
        if piece.lines > most[piece.kind] and not is_suite:
            yield f"{piece}, {most[piece.kind]} at most"


def measure_functions(pieces: Sequence[Piece]) -> list[int]:
    """The lines of each function, the shortest first."""
    return sorted(piece.lines for piece in pieces if piece.kind is ast.FunctionDef)


def check_median(lines: Sequence[int]) -> Iterator[str]:
    """Yield a complaint where functions in general have become long."""
    if lines and (median := statistics.median(lines)) > LONGEST_MEDIAN:
        yield f"the median function has {median:g} lines, {LONGEST_MEDIAN} at most"


def describe_functions(lines: Sequence[int]) -> str:
    """How long the functions are, in one line."""
    if not lines:
        return "no functions"
    most_are_shorter = lines[len(lines) * 9 // 10]
    return f"{len(lines)} functions: median {statistics.median(lines):g} lines, p90 {most_are_shorter}, max {lines[-1]}"


def check_locks(root: Path) -> Iterator[str]:
    """Yield what keeps the locks from being pyproject.toml's, hashed and free of addresses."""
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    runtime: list[str] = project["project"]["dependencies"]
    extras: list[list[str]] = list(project["project"].get("optional-dependencies", {}).values())
    dev: list[str] = project["dependency-groups"]["dev"]
    pinned = read_pins(root / "requirements.lock")
    pinned_dev = read_pins(root / "requirements-dev.lock")
    yield from check_lock(root / "requirements.lock", runtime)
    yield from check_lock(root / "requirements-dev.lock", [*runtime, *dev, *chain.from_iterable(extras)])
    yield from check_lock(root / "requirements-build.lock", project["build-system"]["requires"])
    for name, version in pinned.items():
        if pinned_dev.get(name) != version:
            yield f"requirements-dev.lock pins {name} to {pinned_dev.get(name)}, requirements.lock to {version}"


def check_lock(lock: Path, dependencies: Sequence[str]) -> Iterator[str]:
    """Yield what is wrong in one lock, given the direct dependencies it must hold."""
    pins = read_pins(lock)
    wanted = [*map(Requirement, dependencies)]
    for entry in wanted:
        version = pins.get(canonicalize_name(entry.name))
        if version is None or not entry.specifier.contains(version, prereleases=True):
            yield f"{lock.name} does not meet {entry.name}{entry.specifier}: make it again, as the Makefile says"
    yield from (
        f"{lock.name} holds {name} for pyproject.toml, which does not ask for it"
        for name in sorted(read_direct(lock) - {canonicalize_name(entry.name) for entry in wanted})
    )
    lines = lock.read_text(encoding="utf-8").splitlines()
    yield from (
        f"{lock.name}:{number} names an address" for number, line in enumerate(lines, 1) if ADDRESS.search(line)
    )
    yield from (
        f"{lock.name}:{number} has no hash"
        for number, line in enumerate(lines, 1)
        if PIN.match(line) and not line.endswith("\\")
    )


def read_pins(lock: Path) -> Mapping[str, str]:
    """Give the version of each package that a lock names."""
    matches = map(PIN.match, lock.read_text(encoding="utf-8").splitlines())
    return {canonicalize_name(match["name"]): match["version"] for match in matches if match}


def read_direct(lock: Path) -> set[str]:
    """Give the packages that the lock holds because pyproject.toml asked for them when it was made."""
    direct: set[str] = set()
    current = ""
    for line in lock.read_text(encoding="utf-8").splitlines():
        if match := PIN.match(line):
            current = canonicalize_name(match["name"])
        elif DIRECT.match(line):
            direct.add(current)
    return direct


def main() -> int:
    """Print what is wrong with the tree; 1 when something must be mended."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--root", type=Path, default=Path(__file__).parents[1], help="the tree to read")
    root: Path = parser.parse_args().root
    pieces = [*read_code(root)]
    functions = measure_functions(pieces)
    print(describe_functions(functions))
    problems = [*find_long_pieces(pieces), *check_median(functions), *check_locks(root)]
    for problem in problems:
        print(f"error: {problem}", file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
