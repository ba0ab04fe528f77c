"""The documentation as a site: it builds without a warning, leads nowhere that is not there, and asks no other host."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import unquote, urlsplit

import pytest

from ecproc.cli.catalogue import COMMANDS, GROUPS
from ecproc.config import Limits
from ecproc.config.catalogue import OPTIONS, SECTIONS
from ecproc.config.options import OutboxConfig
from ecproc.errors import ExitCode
from ecproc.outbox.perform import bridge
from ecproc.runtime import ingest

REPOSITORY: Final = Path(__file__).parents[2]
DOCS: Final = REPOSITORY / "docs"
PAGES: Final = sorted(path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md"))
LOADED: Final = {"script": "src", "link": "href", "img": "src", "iframe": "src", "source": "src"}
DRAWN_BY_OTHERS: Final = frozenset({"mermaid", "glightbox", "pyodide"})
"""Classes for whose elements the theme's script fetches another one from elsewhere."""


def build(folder: Path) -> subprocess.CompletedProcess[str]:
    zensical = Path(sys.executable).with_name("zensical")
    return subprocess.run(
        [zensical, "build", "--strict", "--clean"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def copy_sources(folder: Path) -> Path:
    shutil.copy(REPOSITORY / "mkdocs.yml", folder)
    shutil.copytree(DOCS, folder / "docs")
    return folder


FENCED: Final = re.compile(r"^ *```.*?^ *```$", re.MULTILINE | re.DOTALL)
CODE: Final = re.compile(r"^ *```.*?^ *```|`[^`\n]+`", re.MULTILINE | re.DOTALL)
"""Fenced blocks, and code inside of a line."""


class Element(NamedTuple):
    """A start tag."""

    tag: str
    attributes: dict[str, str]


class Elements(HTMLParser):
    """All start tags of one page."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.found: list[Element] = []
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: Sequence[tuple[str, str | None]]) -> None:
        self.found.append(Element(tag, {name: value or "" for name, value in attrs}))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built from the pages as they stand."""
    folder = copy_sources(tmp_path_factory.mktemp("site"))
    built = build(folder)
    assert (built.returncode, "Warning" in built.stdout + built.stderr) == (0, False), built.stdout + built.stderr
    return folder / "site"


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, list[Element]]:
    """Every page of it, by its file."""
    return {page: Elements(page).found for page in sorted(site.rglob("*.html"))}


def article(found: list[Element]) -> list[Element]:
    """What stands in a page's own text."""
    first = next(place for place, element in enumerate(found) if element.tag == "article")
    return found[first:]


def list_dead(pages: dict[Path, list[Element]]) -> Iterator[str]:
    """Each link to a page or a place of a page that is not there."""
    ids = {page: {element.attributes.get("id", "") for element in found} for page, found in pages.items()}
    for page, found in pages.items():
        for link in (element.attributes.get("href", "") for element in found if element.tag == "a"):
            parts = urlsplit(link)
            if parts.scheme or parts.netloc or page.name == "404.html":
                continue
            target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
            target = target / "index.html" if target.is_dir() else target
            if not target.is_file() or (parts.fragment and unquote(parts.fragment) not in ids.get(target, ())):
                yield f"{page.name}: {link}"


def test_no_link_is_dead(pages: dict[Path, list[Element]]) -> None:
    assert len(pages) > len(PAGES)
    assert [*list_dead(pages)] == []


def test_every_page_is_in_the_navigation(site: Path) -> None:
    text = (REPOSITORY / "mkdocs.yml").read_text(encoding="utf-8").partition("\nnav:")[2]

    assert sorted(re.findall(r"[\w/-]+\.md", text)) == PAGES


def test_it_asks_no_other_host(site: Path, pages: dict[Path, list[Element]]) -> None:
    elements = [element for found in pages.values() for element in found]
    loaded = [element.attributes.get(LOADED[element.tag], "") for element in elements if element.tag in LOADED]
    classes = {name for element in elements for name in element.attributes.get("class", "").split()}
    styles = "".join(style.read_text(encoding="utf-8") for style in site.rglob("*.css"))

    assert loaded
    assert [address for address in loaded if urlsplit(address).netloc] == []
    assert not classes & DRAWN_BY_OTHERS
    assert re.findall(r"(?:@import|url\()\s*[\"']?(?:https?:)?//[^)]*", styles) == []


def test_it_holds_pages_and_no_scripts_of_ours(site: Path) -> None:
    assert [path.name for path in site.rglob("*") if path.suffix in {".py", ".toml"}] == []


@pytest.mark.parametrize("link", ["[gone](gone.md)", "[gone](steering.md#gone)"])
def test_a_dead_link_fails_the_build(tmp_path: Path, link: str) -> None:
    folder = copy_sources(tmp_path)
    with (folder / "docs" / "index.md").open("a", encoding="utf-8") as page:
        page.write(f"\n{link}\n")

    built = build(folder)

    assert built.returncode != 0
    assert "does not exist" in re.sub(r"\x1b\[[\d;]*m", "", built.stderr)


@pytest.mark.parametrize("page", ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md"])
def test_links_of_the_pages_beside_it_lead_somewhere(page: str) -> None:
    links = re.findall(r"\]\(([^)#:]+)\)", (REPOSITORY / page).read_text(encoding="utf-8"))

    assert [link for link in links if not (REPOSITORY / link).exists()] == []


def read_pages() -> Iterator[tuple[str, str]]:
    """Every page that people write, with its text."""
    yield "README.md", (REPOSITORY / "README.md").read_text(encoding="utf-8")
    for page in PAGES:
        if not page.startswith("reference/") and page != "requirements.md":
            yield page, (DOCS / page).read_text(encoding="utf-8")


@pytest.mark.parametrize("page", [page for page in PAGES if page.startswith(("howto/", "explanation/"))])
def test_a_page_says_first_what_its_reader_gets(page: str) -> None:
    title, _, lead, *_ = (DOCS / page).read_text(encoding="utf-8").splitlines()

    assert title.startswith("# ")
    assert lead.startswith("You get ")


@pytest.mark.parametrize("page", PAGES)
def test_lists_and_tables_stand_on_the_site_as_they_are_written(
    site: Path, pages: dict[Path, list[Element]], page: str
) -> None:
    """Its reader of Markdown wants blocks inside of lists four in, and an empty line before a list or a table."""
    text = FENCED.sub("", (DOCS / page).read_text(encoding="utf-8"))
    items = re.findall(r"^ *(?:\d+\.|-) \S", text, re.MULTILINE)
    rows = re.findall(r"^ *\| *(?!-)[^ -]", re.sub(r"^ *\| *-.*\n", "", text, flags=re.MULTILINE), re.MULTILINE)
    shown = [
        element.tag for element in article(pages[site / page.replace("README.md", "index.md").replace(".md", ".html")])
    ]

    assert (shown.count("li"), shown.count("tr")) == (len(items), len(rows))


def test_every_metric_that_a_page_names_is_there() -> None:
    known = set(
        re.findall(r"^\| `(\w+)`", (DOCS / "reference" / "metrics.md").read_text(encoding="utf-8"), re.MULTILINE)
    )
    named = {(page, name) for page, text in read_pages() for name in re.findall(r"`(ecproc_\w+)", text)}

    assert named
    assert {(page, name) for page, name in named if name not in known} == set()


def test_every_option_that_a_page_names_is_there() -> None:
    sections = "|".join(re.escape(section) for section in sorted(SECTIONS, key=len, reverse=True))
    pattern = re.compile(rf"`((?:{sections})\.[a-z_]+)\b(?!\.)")
    variable = re.compile(r"\b(ECPROC_[A-Z]+__[A-Z_]*[A-Z])\b")
    variables = {option.variable for option in OPTIONS.values()}
    variables |= {f"{option.variable}_FILE" for option in OPTIONS.values() if option.is_secret}
    files = {"desk.db"}
    texts = [*read_pages()]
    named = {(page, name) for page, text in texts for name in pattern.findall(text)}
    asked = {(page, name) for page, text in texts for name in variable.findall(text)}

    assert named
    assert asked
    assert {(page, name) for page, name in named if name not in OPTIONS.keys() | files} == set()
    assert {(page, name) for page, name in asked if name not in variables} == set()


def test_every_command_that_a_page_names_is_there() -> None:
    names = {command.name for command in COMMANDS} | GROUPS.keys()
    named = {
        (page, words)
        for page, text in read_pages()
        for code in CODE.findall(text)
        for words in re.findall(r"(?:^|[`($])\s*ecproc ([a-z]+(?: [a-z-]+)?)", code, re.MULTILINE)
    }

    assert named
    assert {(page, words) for page, words in named if not {words, words.partition(" ")[0]} & names} == set()


@pytest.mark.parametrize(
    ("page", "words"),
    [
        ("howto/move-a-host.md", f"ends within {Limits().shutdown_seconds:g} seconds"),
        ("tutorial.md", f"drains within {Limits().shutdown_seconds:g} seconds"),
        ("reference/ticket-document.md", f"their last {Limits().document_entries:,} entries"),
        ("howto/loss.md", f"warning at {ingest._MANY_RECEIVES}, error at {ingest._TOO_MANY_RECEIVES}"),
        ("howto/ask-ensono.md", f"comments repeated at most {bridge._MOST_UNKNOWN} times"),
        (
            "explanation/unknown-results.md",
            "waits {:g} to {:g} seconds (`outbox.unknown_retry`)".format(*OutboxConfig().unknown_retry),
        ),
    ],
)
def test_numbers_are_the_codes_own(page: str, words: str) -> None:
    assert words in " ".join((DOCS / page).read_text(encoding="utf-8").split())


def test_the_readme_names_every_exit_code() -> None:
    told = re.findall(r"^Exit codes: (.*?)\.$", (REPOSITORY / "README.md").read_text(encoding="utf-8"), re.M | re.S)

    assert {int(number) for number in re.findall(r"\b\d+\b", told[0])} == {*map(int, ExitCode)}
