"""One word, one thing: no public type of the package is defined in two modules."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

REPOSITORY: Final = Path(__file__).parents[2]

MOST_EXCEPTIONS: Final = 5
EXCEPTIONS: Final[Mapping[str, str]] = {
    "State": "incidents, changes and creates have their own, always written with their module, as `incident.State`",
}
"""Names that may be defined twice, each with the reason."""


def list_types(source: str) -> Iterator[str]:
    """The public classes and type aliases that a module defines."""
    for node in ast.parse(source).body:
        match node:
            case (
                ast.ClassDef(name=name)
                | ast.Assign(targets=[ast.Name(id=name)])
                | ast.AnnAssign(target=ast.Name(id=name), annotation=ast.Name(id="TypeAlias"))
            ) if name[0].isupper() and not name.isupper():  # constants are all upper case, private names begin with _
                yield name
            case _:
                pass


def find_shared(folder: Path) -> dict[str, list[str]]:
    """The types that several modules define, with those modules."""
    places: defaultdict[str, list[str]] = defaultdict(list)
    for path in sorted(folder.rglob("*.py")):
        for name in list_types(path.read_text(encoding="utf-8")):
            places[name].append(path.relative_to(folder).as_posix())
    return {name: modules for name, modules in places.items() if len(modules) > 1}


def test_no_public_type_is_defined_in_two_modules() -> None:
    shared = find_shared(REPOSITORY / "ecproc")

    assert {name: modules for name, modules in shared.items() if name not in EXCEPTIONS} == {}


def test_exceptions_are_few_and_needed() -> None:
    assert len(EXCEPTIONS) <= MOST_EXCEPTIONS
    assert EXCEPTIONS.keys() <= find_shared(REPOSITORY / "ecproc").keys()


def test_a_type_is_found_however_it_is_defined(tmp_path: Path) -> None:
    types = (
        "class Told: ...\n"
        "Reached = Callable[[int], bool]\n"
        "Seconds: TypeAlias = float\n"
        "EffectKey = NewType('EffectKey', str)\n"
    )
    others = (
        "class _Told: ...\n"
        "REACHED = 1\n"
        "MOST: Final = 2\n"
        "log = get_logger()\n"
        "def make() -> None:\n"
        "    class Inner: ...\n"
    )
    for name, source in {"a": types, "b": types, "c": others, "d": others + "class Single: ...\n"}.items():
        (tmp_path / f"{name}.py").write_text(source, encoding="utf-8")

    found = find_shared(tmp_path)

    assert found.keys() == {"Told", "Reached", "Seconds", "EffectKey"}
    assert found["Told"] == ["a.py", "b.py"]
