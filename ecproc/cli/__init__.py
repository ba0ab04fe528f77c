"""The command line: parse, call the application, print. Results go to stdout, everything else to stderr."""

import gc
import sys
from collections.abc import Sequence
from typing import Final

from ecproc.interrupts import Interrupts

_LOADED_OBJECTS: Final = 400_000
"""How many objects may come before the collector looks for cycles."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; nothing it raises gets out.

    Without `argv` the process is the command's: signals stay held to its very end, which nothing is to disturb.
    """
    # Before anything that takes long to load: from here on a signal ends the process in order.
    interrupts = Interrupts()
    interrupts.hold()
    if argv is None:
        # Loading makes many objects that stay and hardly a cycle: looking for those would take a quarter of the time.
        gc.set_threshold(_LOADED_OBJECTS)
    try:
        return _call(list(sys.argv[1:] if argv is None else argv), interrupts)
    finally:
        if argv is not None:
            interrupts.release()


def _call(tokens: Sequence[str], interrupts: Interrupts) -> int:
    from ecproc.cli.output import deliver

    # Scripts and shells ask these two often; the parser would take longer to load than to answer.
    if tokens in ([], ["--help"], ["-h"]):
        from ecproc.cli.help import describe_program

        return deliver(describe_program())
    if tokens == ["--version"]:
        from ecproc import __version__

        return deliver(f"ecproc {__version__}")
    _load_structlog()
    from ecproc.cli.dispatch import dispatch

    return dispatch(tokens, interrupts)


def _load_structlog() -> None:
    """Load structlog without rich: it takes that where it finds it, for tracebacks that we never draw."""
    if "structlog" in sys.modules or "rich" in sys.modules:
        return
    sys.modules["rich"] = None  # type: ignore[assignment]  # how Python is told that there is none
    try:
        import structlog  # noqa: F401
    finally:
        del sys.modules["rich"]
