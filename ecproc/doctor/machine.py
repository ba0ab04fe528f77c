"""What is to be said of the machine, by readings: SQLite, open files, the data directory, its disk."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Final

import msgspec

from ecproc.descriptors import FEW_FILES, MOST_OPEN
from ecproc.doctor.report import Opinion, Trouble, warn
from ecproc.errors import ConfigProblem
from ecproc.privacy import Exposure

OLDEST_SQLITE: Final = (3, 38, 0)
"""The first one that has JSON functions in every build, which look-ups of several events need."""
RESET_MENDED: Final = (3, 51, 3)
"""The first one without the fault that two programs which write or checkpoint one file at the same instant may meet."""
SLOW_SYNC: Final = 0.1
"""Seconds that a synced write may take: each batch of messages waits for one."""
_MEGABYTE: Final = 1_000_000


class DirectoryReading(msgspec.Struct, frozen=True):
    """A data directory as it is found; `unusable` says why a start could not use it."""

    path: Path
    exists: bool
    unusable: str = ""
    exposures: tuple[Exposure, ...] = ()


def judge_config(
    problems: Sequence[ConfigProblem], warnings: Sequence[ConfigProblem], policy: Sequence[str] = ()
) -> Opinion:
    """Everything that is wrong with the configuration, at once, and the policy that it sets."""
    troubles = [Trouble(_place(each), each.help or "mend it; ecproc config init has every option") for each in problems]
    troubles += [warn(_place(each), each.help or "see whether it is meant") for each in warnings]
    told = f"{len(problems)} errors, {len(warnings)} warnings" if troubles else "it is valid"
    return Opinion("; ".join((told, *policy)), tuple(troubles))


def judge_sqlite(version: tuple[int, ...]) -> Opinion:
    """Whether SQLite has what the store asks of it. The fault of releases before 3.51.3 is only mentioned: it strikes
    where a second program writes or checkpoints, and ecproc has one writer, which makes all checkpoints itself."""
    shown = ".".join(map(str, version))
    if version < OLDEST_SQLITE:
        least = ".".join(map(str, OLDEST_SQLITE))
        fix = f"use a Python whose sqlite3 module has SQLite {least} or newer"
        return Opinion(shown, (Trouble(f"SQLite {shown} is older than {least}, which the log needs", fix),))
    if version < RESET_MENDED:
        return Opinion(f"{shown}; let no other program write to or checkpoint ecproc.db (mended in 3.51.3)")
    return Opinion(shown)


def judge_files(soft: int, hard: int) -> Opinion:
    """Whether enough files may be open: `run` raises its limit from `soft` to `hard` by itself."""
    most = min(hard, MOST_OPEN)
    text = f"{most:,} files may be open at once ({soft:,} before run raises it)"
    if most >= FEW_FILES:
        return Opinion(text)
    fix = "raise the hard limit: LimitNOFILE= of a systemd unit, ulimit -Hn"
    return Opinion(text, (warn(f"only {most} files may be open at once, connections included", fix),))


def judge_directory(found: DirectoryReading) -> Opinion:
    """Whether the data directory can be used, and by us alone."""
    if found.unusable:
        fix = "give it to the user that ecproc runs as, or set data.dir to a directory of that user's"
        return Opinion(str(found.path), (Trouble(f"{found.path} cannot be used: {found.unusable}", fix),))
    if not found.exists:
        return Opinion(f"{found.path} is not there yet: the first start makes it")
    return Opinion(str(found.path), tuple(warn(f"{each.path}: {each.reason}", each.hint) for each in found.exposures))


def judge_disk(free: int, reserve: int, place: Path) -> Opinion:
    """Whether the disk has room: below the reserve nothing is received, below half of it nothing is done either."""
    text = f"{_megabytes(free)} free at {place}, the reserve is {_megabytes(reserve)}"
    if free >= reserve:
        return Opinion(text)
    stops = "nothing is received" if free >= reserve // 2 else "nothing is received, effects and downloads pause"
    fix = f"free space on the disk of {place}, or set data.dir to a larger one; it then goes on by itself"
    return Opinion(text, (Trouble(f"only {_megabytes(free)} are free, below data.reserve_bytes: {stops}", fix),))


def judge_sync(seconds: Sequence[float]) -> Opinion:
    """Whether the disk makes writes durable fast enough."""
    usual = median(seconds)
    text = f"{usual * 1000:.1f} ms, the median of {len(seconds)} synced writes"
    if usual <= SLOW_SYNC:
        return Opinion(text)
    fix = "put data.dir on a local SSD; a network disk, or one that others keep busy, is slow to sync"
    return Opinion(text, (warn(f"a synced write takes {usual * 1000:.0f} ms, and every batch waits for one", fix),))


def _place(problem: ConfigProblem) -> str:
    return f"{problem.location}: {problem.message}" if problem.location else problem.message


def _megabytes(size: int) -> str:
    return f"{size / _MEGABYTE:,.0f} MB"
