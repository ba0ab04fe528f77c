"""The tree check: functions that can be read, locks that fit pyproject.toml."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
SCRIPT = REPOSITORY / "docs" / "check_tree.py"
FILES = ("pyproject.toml", "requirements.lock", "requirements-dev.lock")


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


def test_a_function_may_have_seventy_lines_and_no_more(tree: Path) -> None:
    module = tree / "ecproc" / "long.py"
    module.write_text("def tell():\n" + "    pass\n" * 69, encoding="utf-8")
    assert check(tree).returncode == 0

    module.write_text("async def tell():\n" + "    pass\n" * 70, encoding="utf-8")
    checked = check(tree)

    assert checked.returncode == 1
    assert "ecproc/long.py:1 tell: 71 lines" in checked.stderr


def test_a_long_module_is_pointed_out_and_passes(tree: Path) -> None:
    (tree / "ecproc" / "long.py").write_text("pass\n" * 451, encoding="utf-8")

    checked = check(tree)

    assert checked.returncode == 0
    assert "note: ecproc/long.py: 451 lines" in checked.stderr


@pytest.mark.parametrize(
    ("name", "old", "new", "complaint"),
    [
        ("pyproject.toml", '"anyio>=', '"newcomer>=1", "anyio>=', "does not meet newcomer>=1"),
        ("pyproject.toml", '"anyio>=4', '"anyio>=9', "does not meet anyio>=9"),
        ("pyproject.toml", '"structlog', '"orjson', "holds structlog for pyproject.toml"),
        ("pyproject.toml", '"hypothesis>=6', '"hypothesis>=99', "requirements-dev.lock does not meet hypothesis"),
        ("requirements.lock", r"anyio==\S+", "anyio==4.99.99", "requirements.lock to 4.99.99"),
        ("requirements.lock", r"(anyio==\S+) \\", r"\1", "has no hash"),
        ("requirements.lock", "", "--index-url mirror\n", "requirements.lock:1 names an address"),
        ("requirements-dev.lock", "", "# from https://mirror.example\n", "requirements-dev.lock:1 names an address"),
    ],
)
def test_a_lock_that_does_not_fit_is_named(tree: Path, name: str, old: str, new: str, complaint: str) -> None:
    replace(tree / name, old, new)

    checked = check(tree)

    assert checked.returncode == 1
    assert complaint in checked.stderr
