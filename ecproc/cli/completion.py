"""`ecproc completion`: what a shell needs to complete our commands."""

from __future__ import annotations

from typing import Annotated, Final, Literal, cast

from ecproc.cli.output import write_text
from ecproc.cli.words import choice

_Shell = Literal["bash", "zsh", "fish"]
SHELLS: Final[tuple[_Shell, ...]] = ("bash", "zsh", "fish")

_ZSH_END: Final = """
if [[ $funcstack[1] == _ecproc ]]; then
  _cyclopts_ecproc "$@"
else
  compdef _cyclopts_ecproc ecproc
fi
"""
"""For a file of the usual name, and for one that is sourced: cyclopts writes for a name of its own."""


def completion(shell: Annotated[str, choice(SHELLS, help="The shell to print it for.")], /) -> None:
    """Print a script that completes commands, options and the words that options take.

    The script holds all that it completes: it starts no ecproc. Print it again after an update.

    Example:
        ecproc completion bash > ~/.local/share/bash-completion/completions/ecproc
        ecproc completion zsh > "${fpath[1]}/_ecproc"
        ecproc completion fish > ~/.config/fish/completions/ecproc.fish
    """
    from ecproc.cli.parser import build_described

    script = build_described().generate_completion(prog_name="ecproc", shell=cast("_Shell", shell))
    write_text(f"{script}{_ZSH_END if shell == 'zsh' else ''}".rstrip("\n"))
