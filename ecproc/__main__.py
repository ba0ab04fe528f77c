"""`python -m ecproc` is the `ecproc` command."""

import sys

from ecproc.cli import main

if __name__ == "__main__":  # the processes of a replay load this module too
    sys.exit(main())
