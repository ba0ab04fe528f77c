"""Random mappings: the proof accepts exactly those in which every value that could come has an image (R200)."""

from __future__ import annotations

from typing import Final

from tests.mappings import compare
from tests.torture.frame import Figures, Part, Round

MAPPINGS: Final = 10_000


def run_mappings(given: Round) -> Figures:
    """Prove each mapping, and try out all values that it may get."""
    count = given.count(MAPPINGS)
    first = given.seed * MAPPINGS
    findings = []
    total = 0
    for seed in range(first, first + count):
        accepted, whole, text = compare(seed)
        total += whole
        if accepted != whole:
            findings.append(f"seed {seed}: accepted {accepted}, total {whole}\n{text}")
    more = {"total": total, "partial": count - total}
    return Figures(what="mappings", count=count, lost=0, doubled=0, more=more, findings=tuple(findings))


PART: Final = Part(name="mappings", limit=600.0, run=run_mappings)
