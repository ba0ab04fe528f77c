"""Packages that bring a desk, as pip leaves them behind: a module, and beside it what its entry points are."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Final

PAGE: Final = Path(__file__).parents[1] / "docs" / "own_desk.md"
GROUP: Final = "ecproc.desks"


def read_blocks(language: str) -> list[str]:
    """The blocks of the page in that language, in order."""
    text = PAGE.read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def read_example() -> tuple[str, str]:
    """The page's desk, and its tests."""
    desk, suite = read_blocks("python")
    return desk, suite


def install(folder: Path, name: str, program: str, points: str, *, version: str = "1.0") -> Path:
    """Lay a package of one module out in a folder of modules, with these lines of entry points."""
    module = name.replace("-", "_")
    folder.mkdir(exist_ok=True)
    (folder / f"{module}.py").write_text(program, encoding="utf-8")
    about = folder / f"{module}-{version}.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n", encoding="utf-8")
    (about / "entry_points.txt").write_text(f"[{GROUP}]\n{points}\n", encoding="utf-8")
    return folder


def install_example(folder: Path) -> Path:
    """The page's package, with the page's own metadata."""
    (metadata,) = [block for block in map(tomllib.loads, read_blocks("toml")) if "project" in block]
    project = metadata["project"]
    lines = [f"{name} = {value}" for name, value in project["entry-points"][GROUP].items()]
    return install(folder, project["name"], read_example()[0], "\n".join(lines), version=project["version"])
