"""What is shipped: the archives hold what they should, and the suites run where nothing else of the project is."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from itertools import chain
from pathlib import Path
from typing import Final, NamedTuple, NoReturn

import pytest

from ecproc.testing.desk import DeskTests
from ecproc.testing.store import StoreTests

ROOT: Final = Path(__file__).parents[2]
NO_NETWORK: Final = ("Failed to fetch", "network was disabled")
"""What uv says when the package index cannot be reached."""
OURS: Final = ("PYTHON", "PYTEST_", "VIRTUAL_ENV")
"""How the variables begin that would let the tree, or this run of pytest, into another project."""

STORE: Final = """\
from itertools import count
from ecproc.store.memory import MemoryStore
from ecproc.testing.store import StoreTests


class TestStore(StoreTests):
    async def open_store(self, directory, tables):
        return MemoryStore(count(1_700_000_000_000_000).__next__, tables)
"""

DESK: Final = """\
from ecproc.clock import SystemClock
from ecproc.desk.local import LocalDesk
from ecproc.room import Room
from ecproc.testing.desk import DeskTests


class TestDesk(DeskTests):
    async def open_desk(self, directory):
        return await LocalDesk.open(directory / "desk.db", clock=SystemClock(), room=Room(directory, reserve_bytes=0))
"""


class Archives(NamedTuple):
    """The two files of a release; the wheel is built from the source archive."""

    source: Path
    wheel: Path


def do_without(what: str) -> NoReturn:
    """Skip where the machine lacks something; a CI run must not."""
    (pytest.fail if os.environ.get("CI") else pytest.skip)(f"needs {what}")


def run(*command: str | Path, cwd: Path = ROOT) -> str:
    """The output of a command that must end well and sees nothing of this tree or run."""
    env = {name: value for name, value in os.environ.items() if not name.startswith(OURS)}
    env = {"UV_SYSTEM_CERTS": "1", "UV_CACHE_DIR": str(ROOT / ".uv" / "cache"), **env}
    ended = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=300, check=False)
    if any(words in ended.stderr for words in NO_NETWORK):
        do_without(f"the package index: {ended.stderr}")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


@pytest.fixture(scope="module")
def uv() -> str:
    """The installer as the Makefile finds it."""
    return shutil.which("uv") or shutil.which("uv", path=ROOT / ".uv" / "bin") or do_without("uv: make sets it up")


@pytest.fixture(scope="module")
def archives(uv: str, tmp_path_factory: pytest.TempPathFactory) -> Archives:
    """A release of this tree."""
    folder = tmp_path_factory.mktemp("dist")
    run(uv, "build", "--quiet", "--python", sys.executable, "--out-dir", folder)
    return Archives(*folder.glob("*.tar.gz"), *folder.glob("*.whl"))


def list_tree(folder: str) -> set[str]:
    """The files below that folder of the tree, less what Python compiled."""
    files = (path for path in (ROOT / folder).rglob("*") if path.is_file() and path.suffix != ".pyc")
    return {path.relative_to(ROOT).as_posix() for path in files}


def test_the_wheel_is_the_package_and_its_manual_page_and_nothing_else(archives: Archives) -> None:
    with zipfile.ZipFile(archives.wheel) as wheel:
        held = {name for name in wheel.namelist() if ".dist-info/" not in name}
        shared = {name for name in held if ".data/" in name}
        page = [wheel.read(name) for name in shared]

    assert "ecproc/py.typed" in held
    assert held - shared == list_tree("ecproc")
    assert [name.partition("/")[2] for name in shared] == ["data/share/man/man1/ecproc.1"]
    assert page == [(ROOT / "docs" / "man" / "ecproc.1").read_bytes()]


def test_what_serves_only_the_tests_is_not_shipped(archives: Archives) -> None:
    own = {Path(name).name for name in list_tree("tests/simulation") | list_tree("tests/conformance")}
    with zipfile.ZipFile(archives.wheel) as wheel:
        shipped = {Path(name).name for name in wheel.namelist() if name.startswith("ecproc/testing/")}

    assert {"world.py", "simloop.py", "faultserver.py"} <= own
    assert own & shipped == set()


def list_project() -> set[str]:
    """What the project is made of: what is tracked, or without a repository what is there and not ignored."""
    if (ROOT / ".git").exists():
        return {*run("git", "ls-files").splitlines()}
    ignored = {line.strip("/") for line in (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()}
    kept = [path.name for path in ROOT.iterdir() if path.name not in ignored]
    return {*chain.from_iterable(list_tree(name) if (ROOT / name).is_dir() else [name] for name in kept)}


@pytest.fixture(scope="module")
def unpacked(archives: Archives, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the source archive holds."""
    folder = tmp_path_factory.mktemp("unpacked")
    with tarfile.open(archives.source) as source:
        source.extractall(folder, filter="data")
    (found,) = folder.iterdir()
    return found


def test_the_source_archive_is_the_whole_project(archives: Archives) -> None:
    with tarfile.open(archives.source) as source:
        held = {member.name.partition("/")[2]: member.mode for member in source if member.isfile()}

    assert {*held} - list_project() <= {"PKG-INFO"}
    assert list_project() <= {*held}
    assert held[".ci/run"] & 0o111


@pytest.mark.parametrize(
    "command",
    [
        ("docs/check_tree.py",),
        ("docs/build_requirements.py", "--check"),
        ("docs/build_diagrams.py", "--check"),
        ("-m", "pytest", "-q", "--collect-only", "-p", "no:cacheprovider"),
        ("-m", "benchmarks", "--help"),
    ],
    ids=" ".join,
)
def test_the_source_archive_can_be_worked_on(unpacked: Path, command: tuple[str, ...]) -> None:
    assert str(unpacked) in run(sys.executable, "-c", "import ecproc; print(ecproc.__file__)", cwd=unpacked)

    run(sys.executable, *command, cwd=unpacked)


def test_an_index_shows_the_page_without_links_that_lead_nowhere_from_there(archives: Archives) -> None:
    with zipfile.ZipFile(archives.wheel) as wheel:
        (name,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
        shown = wheel.read(name).decode().partition("\n\n")[2]
    page = (ROOT / "README.md").read_text(encoding="utf-8")

    assert re.findall(r"\]\((?!https?://)", page)
    assert shown.strip() == re.sub(r"\[([^]]+)\]\((?!https?://)[^)]+\)", r"\1", page).strip()


def test_the_bill_of_materials_is_what_runs() -> None:
    if not (ROOT / ".venv" / "bin" / "python").exists():
        do_without("the environment that make sets up")
    run("make", "-o", ".venv/.dev", "sbom")

    bill = json.loads((ROOT / "build" / "ecproc-bridge.cdx.json").read_text(encoding="utf-8"))
    pins = re.findall(r"^([\w.-]+)==([\w.]+)", (ROOT / "requirements.lock").read_text(encoding="utf-8"), re.MULTILINE)
    assert bill["metadata"]["component"]["name"] == "ecproc-bridge"
    assert {(part["name"], part["version"]) for part in bill["components"]} == {*pins} != set()


@pytest.mark.slow
def test_the_suites_run_in_an_empty_project(archives: Archives, uv: str, tmp_path: Path) -> None:
    """With the extra `testing`, under plain pytest: no ini file, no conftest.py, no marker of the project's own."""
    python = tmp_path / "venv" / "bin" / "python"
    run(uv, "venv", "--quiet", "--python", sys.executable, tmp_path / "venv")
    wheel = f"ecproc-bridge[testing] @ {archives.wheel.as_uri()}"
    run(uv, "pip", "install", "--quiet", "--python", python, "--constraint", ROOT / "requirements-dev.lock", wheel)
    project = tmp_path / "project"
    project.mkdir()
    (project / "test_store.py").write_text(STORE, encoding="utf-8")
    (project / "test_desk.py").write_text(DESK, encoding="utf-8")

    told = run(python, "-m", "pytest", "-q", "--strict-markers", "-p", "no:cacheprovider", cwd=project)

    last = told.splitlines()[-1]
    passed = re.fullmatch(r"(\d+) passed(?:, \d+ skipped)? in .*", last)  # no warning
    assert passed, told
    assert int(passed[1]) >= sum(name.startswith("test_") for name in (*dir(StoreTests), *dir(DeskTests)))
