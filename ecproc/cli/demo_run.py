"""One of our commands as the demo starts it: it ends with the demo, however that ends.

python -m ecproc.cli.demo_run PARENT COMMAND…
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from typing import Final

from ecproc.cli import main

_PR_SET_PDEATHSIG: Final = 1


def end_with(parent: int) -> None:
    """Let this process be killed when its parent ends, as Linux can; at once if that has happened already."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    end_with(int(sys.argv.pop(1)))
    sys.exit(main())
