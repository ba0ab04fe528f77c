"""What the pages for readers of the code say of the tree is so: rooms, decisions, and every file they name."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Final

import pytest

REPOSITORY: Final = Path(__file__).parents[2]
PAGES: Final = ("ARCHITECTURE.md", "CONTRIBUTING.md", "README.md")
CITING: Final = ("ecproc", "tests", "benchmarks", "docs")
WRITTEN: Final = frozenset({".md", ".py", ".sql", ".toml"})
"""What people write decisions' numbers in."""

CITATION: Final = re.compile(r"\bdecisions?\s+(\d+(?:\s*(?:,|and|to|–)\s*\d+)*)", re.IGNORECASE)
HEADING: Final = re.compile(r"^### Decision (\d+): \S.*$", re.MULTILINE)
ROOM: Final = re.compile(r"^- `([^`]+)` – \S", re.MULTILINE)
NAMED_PATH: Final = re.compile(r"`((?:ecproc|tests|benchmarks|docs)/(?!\S*NAME)[\w./-]*)`")
"""A path in this tree; one with NAME is a file that somebody is told to add."""


def read_section(text: str, title: str) -> str:
    """What stands below that heading of the second level."""
    return "".join(re.findall(rf"^## {title}$(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL))


def list_decisions(page: str) -> list[int]:
    """The numbers of the decisions that the page explains."""
    return [int(number) for number in HEADING.findall(read_section(page, "Decisions"))]


def list_cited(text: str) -> Iterator[int]:
    """The decisions that a text cites, also across lines of a comment: one, several, or from one to another."""
    for numbers in CITATION.findall(re.sub(r"\s*\n[#\s]*", " ", text)):
        for part in re.split(r",|and", numbers):
            first, *last = map(int, re.findall(r"\d+", part))
            yield from range(first, (*last, first)[0] + 1)


def list_rooms(page: str) -> list[str]:
    """The rooms that the page lists."""
    return ROOM.findall(read_section(page, "Rooms"))


def list_packages(root: Path) -> set[str]:
    """The packages and modules that stand directly in `ecproc`, as the page is to write them."""
    package = root / "ecproc"
    modules = {f"ecproc/{path.name}" for path in package.glob("*.py") if path.name != "__init__.py"}
    return modules | {f"ecproc/{path.parent.name}/" for path in package.glob("*/__init__.py")}


def find_undecided(root: Path) -> list[str]:
    """Every citation of a decision that the page does not explain, with its file."""
    known = {*list_decisions((root / "ARCHITECTURE.md").read_text(encoding="utf-8"))}
    folders = chain.from_iterable((root / folder).rglob("*") for folder in CITING)
    files = [path for path in (*folders, *root.glob("*.md")) if path.suffix in WRITTEN]
    return [
        f"{path.relative_to(root).as_posix()}: decision {number}"
        for path in sorted(files)
        for number in list_cited(path.read_text(encoding="utf-8"))
        if number not in known
    ]


def find_missing(root: Path, page: str) -> list[str]:
    """Every path that a page names and the tree lacks."""
    named = NAMED_PATH.findall((root / page).read_text(encoding="utf-8"))
    return [path for path in named if not ((root / path).is_dir() if path.endswith("/") else (root / path).is_file())]


def test_every_decision_that_is_cited_is_explained() -> None:
    assert find_undecided(REPOSITORY) == []


def test_decisions_are_numbered_once_and_in_order() -> None:
    decisions = list_decisions((REPOSITORY / "ARCHITECTURE.md").read_text(encoding="utf-8"))

    assert decisions == [*range(1, len(decisions) + 1)]


def test_every_room_is_listed_once_and_there() -> None:
    rooms = list_rooms((REPOSITORY / "ARCHITECTURE.md").read_text(encoding="utf-8"))

    assert sorted(room for room in rooms if room.startswith("ecproc/")) == sorted(list_packages(REPOSITORY))
    assert len({*rooms}) == len(rooms)


@pytest.mark.parametrize("page", PAGES)
def test_every_path_that_a_page_names_is_there(page: str) -> None:
    assert find_missing(REPOSITORY, page) == []


PAGE: Final = """\
# Architecture

## Rooms

- `ecproc/fold/` – folds.
- `ecproc/app.py` – composes.
- `ecproc/gone/` – was here once.

## Decisions

### Decision 1: Raw first

See `ecproc/fold/__init__.py` and `ecproc/gone.py`, and add `ecproc/fold/NAME.py`.

### Decision 2: Chained
"""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Give a tree with two rooms, one of them a package, and a page that lists a third."""
    (tmp_path / "ARCHITECTURE.md").write_text(PAGE, encoding="utf-8")
    for name in ("ecproc/__init__.py", "ecproc/app.py", "ecproc/fold/__init__.py", "ecproc/fold/sql/one.sql"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path


def test_a_sample_is_read_as_it_is_meant(tree: Path) -> None:
    assert list_decisions(PAGE) == [1, 2]
    assert list_rooms(PAGE) == ["ecproc/fold/", "ecproc/app.py", "ecproc/gone/"]
    assert list_packages(tree) == {"ecproc/fold/", "ecproc/app.py"}
    assert find_missing(tree, "ARCHITECTURE.md") == ["ecproc/gone/", "ecproc/gone.py"]


@pytest.mark.parametrize(
    ("cited", "unknown"),
    [
        ("as {word} 2 says", []),
        ("as {word} 3 says", [3]),
        ("({word}s 1, 4 and 6)", [4, 6]),
        ("{word}s 2 to 4", [3, 4]),
        ("# told by {word}\n    # 5, for once", [5]),
        ("{word} number 7, indecision 8", []),
    ],
)
def test_a_citation_without_a_heading_is_found(tree: Path, cited: str, unknown: list[int]) -> None:
    (tree / "ecproc" / "app.py").write_text(cited.format(word="decision"), encoding="utf-8")

    assert find_undecided(tree) == [f"ecproc/app.py: decision {number}" for number in unknown]


@pytest.mark.requirement("R232")
def test_the_stack_is_what_was_asked_for_and_all_of_it_is_in_use() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    needed = {re.split(r"[^\w-]", line)[0] for line in project["dependencies"]}
    code = "\n".join(path.read_text(encoding="utf-8") for path in (REPOSITORY / "ecproc").rglob("*.py"))

    assert project["requires-python"] == ">=3.11"
    for name in ("anyio", "httpx", "msgspec", "aiosqlite", "prometheus-client", "orjson"):
        assert name in needed
        assert re.search(rf"^\s*(?:import|from) {name.replace('-', '_')}\b", code, re.MULTILINE), name
