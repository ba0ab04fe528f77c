"""`python -m ecproc` is the `ecproc` command."""

import sys

from ecproc.cli import main

sys.exit(main())
