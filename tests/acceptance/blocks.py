"""Blocks of commands as pages show them, to be run as a reader would paste them."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from textwrap import dedent
from typing import Final, NamedTuple

ROOT: Final = Path(__file__).parents[2]
SET_UP: Final = "set up"
YOUR_BRIDGE: Final = "your bridge"
"""Titles of blocks that are not run as they stand: they need a package index, or Ensono."""

_FENCED: Final = re.compile(r'^ *```sh(?: title="([^"]*)")?\n(.*?)^ *```$', re.MULTILINE | re.DOTALL)
_INDENTED: Final = re.compile(r"^\n((?: {4}\S.*\n)+)", re.MULTILINE)
_KEY_FILE: Final = "/run/secrets/ecproc-api-key"
"""Where pages keep the key."""


class Block(NamedTuple):
    """Lines to paste; `title` tells where."""

    title: str
    text: str

    @property
    def commands(self) -> list[str]:
        """Its lines."""
        return self.text.splitlines()


def read_blocks(page: str) -> list[Block]:
    """Every block of commands of a page of the tree: fenced as `sh`, or, where none is, indented by four."""
    text = (ROOT / page).read_text(encoding="utf-8")
    fenced = [Block(title, dedent(body)) for title, body in _FENCED.findall(text)]
    return fenced or [Block("", dedent(body)) for body in _INDENTED.findall(text)]


def check_exports(block: Block, *, environment: Mapping[str, str], folder: Path) -> subprocess.CompletedProcess[str]:
    """Set what the block sets, and what else it does as far as `ecproc config check`: nobody is called."""
    key = folder / "key"
    key.write_text("a-key-of-ensonos\n", encoding="utf-8")
    key.chmod(0o600)
    lines = [line for line in block.commands if not line.startswith("ecproc run")]
    script = "set -eu\n" + "\n".join(lines).replace(_KEY_FILE, str(key))
    return subprocess.run(
        ["bash", "-c", script],
        env=dict(environment),
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
