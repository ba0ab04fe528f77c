"""No option and no limit is there for show: something reads each of them."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import msgspec
import pytest

from ecproc.config import Limits
from ecproc.config.catalogue import SECTIONS, field_of

PACKAGE: Final = Path(__file__).parents[2] / "ecproc"
PASSING_ON: Final = frozenset({"catalogue.py", "checks.py", "loading.py", "showing.py"})
"""Modules of `config` that treat every option alike, or only say what is wrong with it."""

STRUCTS: Final[Mapping[str, type[msgspec.Struct]]] = {
    **{field_of(section): struct for section, struct in SECTIONS.items()},
    "limits": Limits,
}
NAMES: Final = [f"{section}.{key}" for section, struct in STRUCTS.items() for key in struct.__struct_fields__]


def list_read(source: str) -> Iterator[str]:
    """What a module reads: `section.key`, that as a text, or `.key` where it names or defines the section's struct."""
    nodes = [*ast.walk(ast.parse(source))]
    known = {node.id for node in nodes if isinstance(node, ast.Name)}
    known |= {node.name for node in nodes if isinstance(node, ast.ClassDef)}
    sections = [section for section, struct in STRUCTS.items() if struct.__name__ in known]
    for node in nodes:
        match node:
            case ast.Attribute(attr=key, value=ast.Attribute(attr=owner) | ast.Name(id=owner)):
                yield f"{owner.removeprefix('_')}.{key}"
                yield from (f"{section}.{key}" for section in sections)
            case ast.Constant(value=str(text)):
                section, _, key = text.rpartition(".")
                yield f"{field_of(section)}.{key}"
            case _:
                pass


@pytest.fixture(scope="module")
def read() -> frozenset[str]:
    """What is read anywhere in the package."""
    own = {PACKAGE / "config" / name for name in PASSING_ON}
    modules = [path for path in PACKAGE.rglob("*.py") if path not in own]
    return frozenset(name for path in modules for name in list_read(path.read_text(encoding="utf-8")))


@pytest.mark.parametrize("name", NAMES)
def test_something_reads_it(read: frozenset[str], name: str) -> None:
    assert name in read


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("config.web.listen", {"web.listen"}),
        ("self._limits.states_held", {"limits.states_held"}),
        ("secrets['web.read_token']", {"web.read_token"}),
        ("def call(config: BridgeConfig) -> float:\n    return config.timeout", {"bridge.timeout"}),
        ("class LogConfig(Struct):\n    def is_loud(self) -> bool:\n        return self.level == ''", {"log.level"}),
        ("def look(entry: Entry) -> str:\n    return entry.effect.kind", set()),
        ("format: str = 'json'", set()),
    ],
)
def test_a_reading_is_told_from_a_word(source: str, found: set[str]) -> None:
    assert set(list_read(source)) & {*NAMES} == found
