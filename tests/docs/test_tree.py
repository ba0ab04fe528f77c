"""The tree check: code in pieces that can be read, locks that fit pyproject.toml."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
SCRIPT = REPOSITORY / "docs" / "check_tree.py"
FILES = ("pyproject.toml", "requirements.lock", "requirements-dev.lock", "requirements-build.lock")


def check(root: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), "--root", str(root)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Give a checkout with this project's locks and no code."""
    for name in FILES:
        shutil.copy(REPOSITORY / name, tmp_path)
    (tmp_path / "ecproc").mkdir()
    return tmp_path


def replace(path: Path, old: str, new: str) -> None:
    text, replaced = re.subn(old, new, path.read_text(encoding="utf-8"), count=1)
    assert replaced
    path.write_text(text, encoding="utf-8")


def test_this_tree_passes() -> None:
    checked = check(REPOSITORY)

    assert checked.returncode == 0, checked.stderr


def write_function(lines: int, *, name: str = "tell") -> str:
    """Give a function of so many lines."""
    return f"async def {name}():\n" + "    pass\n" * (lines - 1)


def test_a_function_may_have_seventy_lines_and_no_more(tree: Path) -> None:
    short = "".join(write_function(2, name=f"tell_{number}") for number in range(2))
    module = tree / "ecproc" / "long.py"
    module.write_text(short + write_function(70), encoding="utf-8")
    assert check(tree).returncode == 0

    module.write_text(short + write_function(71), encoding="utf-8")
    checked = check(tree)

    assert checked.returncode == 1
    assert "error: ecproc/long.py:5 tell: 71 lines, 70 at most" in checked.stderr


@pytest.mark.parametrize("folder", ["ecproc/wire", "benchmarks", "docs"])
def test_a_class_may_have_two_hundred_lines_and_no_more(tree: Path, folder: str) -> None:
    module = tree / folder / "long.py"
    module.parent.mkdir(exist_ok=True)
    module.write_text("class Teller:\n" + "    pass\n" * 199, encoding="utf-8")
    assert check(tree).returncode == 0

    module.write_text("class Teller:\n" + "    pass\n" * 200, encoding="utf-8")
    checked = check(tree)

    assert checked.returncode == 1
    assert f"error: {folder}/long.py:1 Teller: 201 lines, 200 at most" in checked.stderr


def test_a_suite_may_be_longer(tree: Path) -> None:
    (tree / "ecproc" / "testing").mkdir()
    (tree / "ecproc" / "testing" / "desk.py").write_text("class DeskTests:\n" + "    pass\n" * 300, encoding="utf-8")

    assert check(tree).returncode == 0


def test_a_module_may_have_four_hundred_lines_and_no_more(tree: Path) -> None:
    module = tree / "ecproc" / "long.py"
    module.write_text("pass\n" * 400, encoding="utf-8")
    assert check(tree).returncode == 0

    module.write_text("pass\n" * 401, encoding="utf-8")
    checked = check(tree)

    assert checked.returncode == 1
    assert "error: ecproc/long.py: 401 lines, 400 at most" in checked.stderr


def test_most_functions_are_short_and_their_lengths_are_told(tree: Path) -> None:
    lengths = [2, 3, 4, 5, 6, 7, 8, 9, 10, 11]
    module = tree / "ecproc" / "many.py"
    module.write_text("".join(write_function(lines) for lines in lengths[:-1]), encoding="utf-8")
    assert check(tree).stdout == "9 functions: median 6 lines, p90 10, max 10\n"

    module.write_text("".join(write_function(lines) for lines in lengths), encoding="utf-8")
    checked = check(tree)

    assert checked.returncode == 1
    assert checked.stdout == "10 functions: median 6.5 lines, p90 11, max 11\n"
    assert "error: the median function has 6.5 lines, 6 at most" in checked.stderr


@pytest.mark.parametrize(
    ("name", "old", "new", "complaint"),
    [
        ("pyproject.toml", '"anyio>=', '"newcomer>=1", "anyio>=', "does not meet newcomer>=1"),
        ("pyproject.toml", '"anyio>=4', '"anyio>=9', "does not meet anyio>=9"),
        ("pyproject.toml", '"structlog', '"orjson', "holds structlog for pyproject.toml"),
        (
            "pyproject.toml",
            '"pytest>=9.2", # runs',
            '"pytest>=99", # runs',
            "requirements-dev.lock does not meet pytest>=99",
        ),
        ("pyproject.toml", '"hypothesis>=6', '"hypothesis>=99', "requirements-dev.lock does not meet hypothesis"),
        ("requirements.lock", r"anyio==\S+", "anyio==4.99.99", "requirements.lock to 4.99.99"),
        ("requirements.lock", r"(anyio==\S+) \\", r"\1", "has no hash"),
        ("requirements.lock", "", "--index-url mirror\n", "requirements.lock:1 names an address"),
        ("pyproject.toml", '"hatchling>=1', '"hatchling>=99', "requirements-build.lock does not meet hatchling>=99"),
        ("requirements-build.lock", r"(hatchling==\S+) \\", r"\1", "has no hash"),
        ("requirements-dev.lock", "", "# from https://mirror.example\n", "requirements-dev.lock:1 names an address"),
    ],
)
def test_a_lock_that_does_not_fit_is_named(tree: Path, name: str, old: str, new: str, complaint: str) -> None:
    replace(tree / name, old, new)

    checked = check(tree)

    assert checked.returncode == 1
    assert complaint in checked.stderr
