"""Completion in real shells: the printed script is sourced, and asked for what it completes."""

from __future__ import annotations

import os
import pty
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import pytest

from ecproc.cli.catalogue import COMMANDS, GROUPS
from ecproc.cli.completion import SHELLS
from ecproc.cli.reference import list_commands

ROOT: Final = Path(__file__).parents[2]
PATIENCE: Final = 30.0
NOWHERE: Final = {"PATH": "/nonexistent", "HOME": "/nonexistent", "TERM": "dumb"}
"""Whatever a script would start is not to be found."""

ASK_BASH: Final = """\
source "$1"; shift
while IFS= read -r line; do
  read -ra COMP_WORDS <<<"$line"
  [[ $line == *' ' ]] && COMP_WORDS+=('')
  COMP_CWORD=$((${#COMP_WORDS[@]} - 1)) COMPREPLY=()
  _ecproc
  echo "${COMPREPLY[*]}"
done
"""
ASK_FISH: Final = (
    'source $argv[1]; while read -l line; complete -C "$line" | string split -f1 \\t | string join " "; end'
)

EXPECTED: Final[Sequence[tuple[str, set[str]]]] = [
    ("ecproc quar", {"quarantine"}),
    ("ecproc outbox re", {"retry"}),
    ("ecproc --config x outbox li", {"list"}),
    ("ecproc outbox list --st", {"--state"}),
    ("ecproc outbox list --state pa", {"parked"}),
    ("ecproc tickets --type ", {"Incident", "Request", "Change"}),
    ("ecproc send create --priority ", {"1", "2", "3", "4"}),
    ("ecproc completion ", set(SHELLS)),
]


@pytest.fixture(scope="module")
def scripts(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    """What `ecproc completion` prints for each shell."""
    folder = tmp_path_factory.mktemp("completion")
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    for shell in SHELLS:
        command = [sys.executable, "-m", "ecproc", "completion", shell]
        ended = subprocess.run(command, env=env, capture_output=True, text=True, timeout=120, check=True)
        assert ended.stderr == ""
        (folder / shell).write_text(ended.stdout, encoding="utf-8")
    return {shell: folder / shell for shell in SHELLS}


def find_shell(name: str) -> str:
    """Where that shell is."""
    return shutil.which(name) or pytest.skip(f"needs {name}")


def ask(command: Sequence[str], lines: Sequence[str]) -> list[set[str]]:
    """What a shell completes each line with; it is left with nothing to run but itself."""
    asked = "".join(f"{line}\n" for line in lines)
    ended = subprocess.run(
        command, env=NOWHERE, cwd="/", input=asked, capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert ended.stderr == ""
    return [set(line.split()) for line in ended.stdout.splitlines()]


def ask_bash(script: Path, lines: Sequence[str]) -> list[set[str]]:
    return ask([find_shell("bash"), "--norc", "-c", ASK_BASH, "bash", str(script)], lines)


def test_bash_completes_commands_options_and_words(scripts: Mapping[str, Path]) -> None:
    assert ask_bash(scripts["bash"], [line for line, _ in EXPECTED]) == [found for _, found in EXPECTED]


def test_bash_completes_every_command_and_every_option(scripts: Mapping[str, Path]) -> None:
    commands = list_commands()
    offered, *options = ask_bash(scripts["bash"], ["ecproc ", *(f"ecproc {item.name} --" for item in commands)])
    assert offered == {command.name.partition(" ")[0] for command in COMMANDS}
    for command, found in zip(commands, options, strict=True):
        assert {name for option in command.options for name in option.names} <= found, command.name
    members = ask_bash(scripts["bash"], [f"ecproc {group} " for group in GROUPS])
    for group, found in zip(GROUPS, members, strict=True):
        assert found == {command.name.split()[1] for command in COMMANDS if command.name.startswith(f"{group} ")}


def test_bash_completes_files_where_one_is_named(scripts: Mapping[str, Path]) -> None:
    folder = str(scripts["bash"].parent)
    lines = [f"ecproc --config {folder}/ba", f"ecproc send attach e-CS1 {folder}/ba", f"ecproc show {folder}/ba"]
    assert ask_bash(scripts["bash"], lines) == [{f"{folder}/bash"}, {f"{folder}/bash"}, set()]


def test_fish_completes_commands_options_and_words(scripts: Mapping[str, Path]) -> None:
    command = [find_shell("fish"), "--no-config", "-c", ASK_FISH, str(scripts["fish"])]
    found = ask(command, [line for line, _ in EXPECTED])
    for (line, expected), offered in zip(EXPECTED, found, strict=True):
        assert expected <= offered, line


@pytest.mark.parametrize("way", ["sourced", "found by its name"])
def test_zsh_completes_commands_options_and_words(way: str, scripts: Mapping[str, Path], tmp_path: Path) -> None:
    shutil.copy(scripts["zsh"], tmp_path / "_ecproc")
    path = f"fpath=({tmp_path} $fpath); " if way == "found by its name" else ""
    sourced = f"source {scripts['zsh']}; " if way == "sourced" else ""
    zsh = find_shell("zsh")
    terminal, theirs = pty.openpty()
    shell = subprocess.Popen(
        [zsh, "-f", "-i"], env={**NOWHERE, "COLUMNS": "200"}, stdin=theirs, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    try:
        type_in(terminal, f"{path}autoload -Uz compinit; compinit -u -D; {sourced}print re''ady\n", until="\nready")
        type_in(terminal, "ecproc quar\t", until="quarantine ")
        type_in(terminal, "l\t", until="list ")
        type_in(terminal, "--li\t", until="--limit ")
        type_in(terminal, "\x15ecproc outbox list --state par\t", until="parked ")
    finally:
        shell.kill()
        shell.wait()
        os.close(terminal)


def type_in(terminal: int, text: str, *, until: str) -> None:
    """Type at a terminal, and wait for what it must show then."""
    os.write(terminal, text.encode())
    shown = ""
    end = time.monotonic() + PATIENCE
    while until not in shown:
        ready, _, _ = select.select([terminal], [], [], max(0.0, end - time.monotonic()))
        assert ready, f"{until!r} did not come behind {shown!r}"
        shown += os.read(terminal, 65536).decode(errors="replace").replace("\r", "")
