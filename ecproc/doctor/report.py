"""What an examination comes to: for each check whether it found nothing, and for each finding what to do about it."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

import msgspec

from ecproc.errors import Severity


class CheckName(StrEnum):
    """The checks, in the order in which they are made."""

    CONFIG = "config"
    URL = "url"
    BRIDGE = "bridge"
    TLS = "tls"
    KEY = "key"
    CLOCK = "clock"
    SQLITE = "sqlite"
    FILES = "files"
    DATA_DIR = "data_dir"
    DISK = "disk"
    FSYNC = "fsync"
    PROCESSOR = "processor"
    WEB = "web"
    LOG = "log"
    IDENTITY = "identity"
    ANCHOR = "anchor"
    DATABASE = "database"
    REPLAY = "replay"
    DESK = "desk"
    SENDERS = "senders"
    CONSUMERS = "consumers"
    APPROVERS = "approvers"
    WAITING = "waiting"
    ECHO = "echo"


class Trouble(msgspec.Struct, frozen=True):
    """Something that a check found, and what to do about it."""

    text: str
    fix: str
    severity: Severity = Severity.ERROR


class Opinion(msgspec.Struct, frozen=True):
    """What a check says: what it saw, in a few words, and what is wrong with that. One that was not made says why."""

    text: str
    troubles: tuple[Trouble, ...] = ()
    made: bool = True


class CheckOutcome(msgspec.Struct, frozen=True):
    """One check as it is reported; `ok` is true where it was made and found nothing."""

    check: str
    ok: bool
    text: str


class DoctorFinding(msgspec.Struct, frozen=True):
    """One finding as it is reported: what is wrong, and what to do about it."""

    check: str
    severity: str
    text: str
    fix: str


class DoctorReport(msgspec.Struct, frozen=True):
    """The document of `ecproc doctor`; `ok` is true where there are no findings."""

    ok: bool
    checks: tuple[CheckOutcome, ...]
    findings: tuple[DoctorFinding, ...]


def warn(text: str, fix: str) -> Trouble:
    """A finding that is no error."""
    return Trouble(text, fix, Severity.WARNING)


def skip(why: str) -> Opinion:
    """A check that was not made."""
    return Opinion(f"not looked at: {why}", made=False)


def write_report(opinions: Iterable[tuple[CheckName, Opinion]]) -> DoctorReport:
    """The document of these checks, in their order. One that only says what a check before it said, as many would of a
    log that cannot be opened, refers to that."""
    checks: list[CheckOutcome] = []
    findings: list[DoctorFinding] = []
    told: dict[tuple[Trouble, ...], CheckName] = {}
    for name, each in opinions:
        first = told.setdefault(each.troubles, name) if each.troubles else name
        opinion = each if first is name else skip(f"it fails as the check {first} does")
        checks.append(CheckOutcome(name, opinion.made and not opinion.troubles, opinion.text))
        findings += [DoctorFinding(name, one.severity, one.text, one.fix) for one in opinion.troubles]
    return DoctorReport(not findings, tuple(checks), tuple(findings))
