"""The command line: parse, call the application, print. Results go to stdout, everything else to stderr."""

import sys
from collections.abc import Sequence

from ecproc import __version__
from ecproc.cli.catalogue import describe_commands


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; nothing it raises gets out."""
    tokens = list(sys.argv[1:] if argv is None else argv)
    # Scripts and shells ask these two often; the parser would take longer to load than to answer.
    if tokens in ([], ["--help"], ["-h"]):
        print(describe_commands())
        return 0
    if tokens == ["--version"]:
        print(f"ecproc {__version__}")
        return 0
    from ecproc.cli.dispatch import dispatch

    return dispatch(tokens)
