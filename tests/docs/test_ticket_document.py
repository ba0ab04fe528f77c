"""The page about the ticket document names every member that a document has, and none that no document has."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from pathlib import Path
from typing import Final

from ecproc.domain.ticket import FOLD_VERSION
from ecproc.web.shapes import TicketDocument

REPOSITORY: Final = Path(__file__).parents[2]
PAGE: Final = REPOSITORY / "docs" / "reference" / "ticket-document.md"
HISTORIES: Final = REPOSITORY / "tests" / "replay" / "histories"


def read_page() -> dict[str, set[str]]:
    """The members by the heading they stand under."""
    named: defaultdict[str, set[str]] = defaultdict(set)
    for section in PAGE.read_text(encoding="utf-8").split("\n## ")[1:]:
        title, _, text = section.partition("\n")
        named[title] |= set(re.findall(r"^\| `(\w+)`", text, re.MULTILINE))
    return dict(named)


def read_documents() -> dict[str, set[str]]:
    """The members that the recorded histories' documents have."""
    found: defaultdict[str, set[str]] = defaultdict(set)
    for path in HISTORIES.glob(f"*/fold-{FOLD_VERSION}.ndjson"):
        for line in path.read_bytes().splitlines():
            document = json.loads(line)
            found["The ticket"] |= document.keys()
            for name, value in document.items():
                for item in value if isinstance(value, list) else [value]:
                    if isinstance(item, dict) and name != "fields":
                        found[name] |= item.keys()
    return dict(found)


def test_the_page_names_what_documents_have() -> None:
    assert read_page() == read_documents()


def test_so_does_the_openapi_document() -> None:
    assert read_page()["The ticket"] == {*TicketDocument.__struct_fields__}
