"""`python -m tests.torture [PART ...] [--seed N] [--minutes M] [--tenth]`: the long run. Exits 1 where a part fails."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from typing import Final

import structlog

from tests.torture import creates, kills, mappings, notes
from tests.torture.frame import Part, run_parts

PARTS: Final[dict[str, Part]] = {part.name: part for part in (creates.PART, notes.PART, kills.PART, mappings.PART)}
TENTH: Final = 0.1


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the chosen parts; 1 if one of them is not as it must be."""
    parser = argparse.ArgumentParser(prog="python -m tests.torture", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; all if none")
    parser.add_argument("--seed", type=int, default=1, help="of the first round; each further one has the next")
    parser.add_argument("--minutes", type=float, default=0.0, help="begin further rounds of each part for so long")
    parser.add_argument("--tenth", action="store_true", help="a tenth of the work: what a change must pass")
    given = parser.parse_args(arguments)
    unknown = set(given.names) - PARTS.keys()
    if unknown:
        parser.error(f"no such part: {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    parts = [PARTS[name] for name in given.names or PARTS]
    well = run_parts(parts, seed=given.seed, share=TENTH if given.tenth else 1.0, seconds=given.minutes * 60)
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main())
