"""Check what no linter does: functions short enough to read, and lock files that fit pyproject.toml and name no index.

Exits 1 when something must be mended; a long module is only pointed out.
"""

import argparse
import ast
import re
import sys
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

CODE: Final = ("ecproc", "benchmarks", "docs")
LONGEST_FUNCTION: Final = 70
LONGEST_MODULE: Final = 450

PIN: Final = re.compile(r"^(?P<name>[A-Za-z0-9._-]+)==(?P<version>[^ ;\\]+)")
ADDRESS: Final = re.compile(r"://|^-")
"""A URL, or an option that would name one: `--hash` stands indented."""
DIRECT: Final = re.compile(r"^ +#.* ecproc-bridge \(pyproject\.toml")


def find_long_functions(root: Path) -> Iterator[str]:
    """Yield `file:line name: lines` for each function that does not fit on a screen."""
    for path in find_code(root):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or node.lineno) - node.lineno + 1
                if lines > LONGEST_FUNCTION:
                    place = f"{path.relative_to(root).as_posix()}:{node.lineno}"
                    yield f"{place} {node.name}: {lines} lines, {LONGEST_FUNCTION} at most"


def find_long_modules(root: Path) -> Iterator[str]:
    """Yield `file: lines` for each module that should perhaps be two."""
    for path in find_code(root):
        lines = len(path.read_text(encoding="utf-8").splitlines())
        if lines > LONGEST_MODULE:
            yield f"{path.relative_to(root).as_posix()}: {lines} lines, more than {LONGEST_MODULE}"


def find_code(root: Path) -> Iterator[Path]:
    for folder in CODE:
        yield from sorted((root / folder).rglob("*.py"))


def check_locks(root: Path) -> Iterator[str]:
    """Yield what keeps the two locks from being pyproject.toml's, hashed and free of addresses."""
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    runtime: list[str] = project["project"]["dependencies"]
    dev: list[str] = project["dependency-groups"]["dev"]
    pinned = read_pins(root / "requirements.lock")
    pinned_dev = read_pins(root / "requirements-dev.lock")
    yield from check_lock(root / "requirements.lock", runtime)
    yield from check_lock(root / "requirements-dev.lock", [*runtime, *dev])
    for name, version in pinned.items():
        if pinned_dev.get(name) != version:
            yield f"requirements-dev.lock pins {name} to {pinned_dev.get(name)}, requirements.lock to {version}"


def check_lock(lock: Path, dependencies: Sequence[str]) -> Iterator[str]:
    """Yield what is wrong in one lock, given the direct dependencies it must hold."""
    pins = read_pins(lock)
    wanted = {canonicalize_name(entry.name): entry for entry in map(Requirement, dependencies)}
    for name, entry in wanted.items():
        if name not in pins or not entry.specifier.contains(pins[name], prereleases=True):
            yield f"{lock.name} does not meet {entry.name}{entry.specifier}: make it again, as the Makefile says"
    yield from (
        f"{lock.name} holds {name} for pyproject.toml, which does not ask for it"
        for name in read_direct(lock) - wanted.keys()
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
    problems = [*find_long_functions(root), *check_locks(root)]
    for problem in problems:
        print(f"error: {problem}", file=sys.stderr)
    for note in find_long_modules(root):
        print(f"note: {note}", file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
