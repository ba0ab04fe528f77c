"""What is to be said of the data: who holds it, whether the log holds, what waits in it for a person."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final

from ecproc.desk.health import DeskHealth
from ecproc.doctor.report import Opinion, Trouble, skip, warn
from ecproc.errors import LogDamaged
from ecproc.reading.attention import Approver, Attention
from ecproc.reading.mismatches import Mismatch
from ecproc.store.base import Damage, LogHealth, VerifiedLog

LONG_WAL: Final = 128 * 1024 * 1024
"""Bytes from which a write-ahead log is far longer than our own checkpoints leave it."""
ANCHOR_SECONDS: Final = 60
"""How far the anchor may be behind: it follows within a second, and a busy machine may stand still for some."""
NO_LOG: Final = "there is no event log yet"
SENDERS_READ: Final = 500
"""The newest events whose senders are looked at."""

_MICROSECONDS: Final = 1_000_000
_MEGABYTE: Final = 1_000_000
_SHOWN: Final = 3
_INSTANCES: Final = ("dev", "cert", "prod")
_ENVIRONMENT: Final = re.compile(r"(?<![a-z])env\w*?(dev|cert|prod)\d", re.IGNORECASE)
"""Where a SenderId names an environment, as in `AROA…:envxsn2qdev1SN2QBridge` (R43)."""


def judge_processor(holder: str, ready: str) -> Opinion:
    """Whether a processor runs, and what it says of itself; `holder` is empty where none does, `ready` what /readyz
    answered."""
    if not holder:
        return Opinion("none runs on this data directory")
    lines = [line for line in ready.splitlines() if line]
    if lines[-1:] == ["ready"]:
        return Opinion(f"{holder}, and it is ready")
    reasons = "; ".join(line.removeprefix("[-] ") for line in lines if line.startswith("[-]")) or "it does not say why"
    fix = "see the last warnings in its log; if it does not pass, stop it and start it anew"
    return Opinion(f"{holder}, and it is not ready", (Trouble(f"the processor is not ready: {reasons}", fix),))


def judge_web(place: str, taken: str) -> Opinion:
    """Whether the HTTP server can listen there; `taken` is why it cannot."""
    if not taken:
        return Opinion(f"{place} is free")
    fix = "end what listens there (ss -ltnp), or set web.listen to another HOST:PORT"
    return Opinion("it cannot listen", (Trouble(f"run cannot listen on {place} (web.listen): {taken}", fix),))


def judge_replay(equal: bool | None) -> Opinion:
    """Whether the last replay of the log gave the live state; None where nobody looked."""
    if equal is None:
        return Opinion("it was never compared with a replay: ecproc replay --verify does it")
    if equal:
        return Opinion("the last replay was equal to the live state")
    fix = "stop the processor and let ecproc replay rebuild it, then ecproc replay --verify"
    return Opinion("not equal", (Trouble("the last replay of the log was not equal to the live state", fix),))


def judge_database(found: LogHealth | None) -> Opinion:
    """Whether the database's files are as the one writer keeps them."""
    if found is None:
        return Opinion(NO_LOG)
    text = f"{found.size_bytes / _MEGABYTE:,.1f} MB, and {found.wal_bytes / _MEGABYTE:,.1f} MB not moved into it yet"
    if found.is_backup:
        fix = "see that the processor it is a copy of is gone, then start once with ecproc run --accept-loss"
        return Opinion(text, (Trouble("it is a backup that was not started yet, and run refuses it", fix),))
    if found.odd:
        fix = "let no other program change ecproc.db; the next start of ecproc run puts it back"
        return Opinion(text, (warn(f"ecproc.db was changed by another program: {found.odd}", fix),))
    if found.wal_bytes < LONG_WAL:
        return Opinion(text)
    fix = "find what reads it for so long (fuser ecproc.db; a backup, a shell) and end that"
    return Opinion(text, (warn(f"ecproc.db-wal has grown to {found.wal_bytes / _MEGABYTE:,.0f} MB", fix),))


def judge_log(found: Damage | VerifiedLog | None) -> Opinion:
    """Whether every event is as it was written, and the log as long as its anchor says."""
    if found is None:
        return Opinion(NO_LOG)
    if isinstance(found, VerifiedLog):
        return Opinion(f"{found.events:,} events hold")
    place = f" at position {found.position}" if found.position else ""
    return Opinion("damaged", (Trouble(f"the event log is damaged{place}: {found.reason}", LogDamaged.hint),))


def judge_identity(mismatch: str) -> Opinion:
    """Whether the log is that of the configured bridge, client and environment (R6)."""
    if not mismatch:
        return Opinion("it was written for this bridge, client and environment")
    fix = "see bridge.url and bridge.client_name, or set data.dir to the directory that belongs to them"
    return Opinion("another one's", (Trouble(f"the log {mismatch}", fix),))


def judge_anchor(found: LogHealth | None, *, running: bool, now: int) -> Opinion:
    """Whether the anchor keeps up with the log: what is behind it could be lost without anyone knowing. While nobody
    writes, the log's last event tells how long it went on without."""
    if found is None:
        return Opinion(NO_LOG)
    if found.anchor is None:
        return skip("there is none, which the check of the log tells")
    if found.behind_at is None:
        return Opinion(f"it names the log's end, position {found.anchor}")
    seconds = ((now if running else found.newest_at) - found.behind_at) / _MICROSECONDS
    if seconds <= ANCHOR_SECONDS:
        return Opinion(f"it names position {found.anchor}, and the log goes on for {max(seconds, 0):.0f} s behind it")
    text = f"the anchor is stale: it names position {found.anchor}, and the log went on for {seconds:,.0f} s since"
    fix = "an older anchor was put back, or it cannot be written: see that data.dir is writable; the next clean stop of"
    return Opinion("stale", (Trouble(text, f"{fix} ecproc run writes it anew"),))


def judge_desk(found: DeskHealth | None, mismatch: str) -> Opinion:
    """Whether the built-in desk's file opens and is of one moment with the log."""
    if found is None and not mismatch:
        return Opinion("it has no file yet: the first start makes it")
    text = f"{found.tickets:,} tickets" if found is not None else "gone"
    if found is not None and found.damage:
        return Opinion(text, (Trouble(f"desk.db is damaged: {found.damage}", LogDamaged.hint),))
    return Opinion(text, (Trouble(mismatch, LogDamaged.hint),) if mismatch else ())


def judge_senders(senders: Mapping[str, int], environment: str) -> Opinion:
    """Whether what was received last came from this environment (R43)."""
    ours = "dev" if environment == "echo" else environment.lower()
    if ours not in _INSTANCES:
        return skip("the environment is unknown, see the check of the url")
    troubles = [
        warn(
            f"the message at position {position} was sent by {sender}, which names {named}: this is {ours}",
            "see whether bridge.url leads to the queue that is meant, and ask Ensono",
        )
        for sender, position in senders.items()
        if (match := _ENVIRONMENT.search(sender)) and (named := match[1].lower()) != ours
    ]
    told = f"{len(senders)} among the last {SENDERS_READ} events" if senders else "none known yet"
    return Opinion(told, tuple(troubles[:_SHOWN]))


def judge_consumers(found: Sequence[Mismatch]) -> Opinion:
    """Whether somebody else reads this queue: each message that goes there is missing here."""
    if not found:
        return Opinion("nothing tells of another reader of the queue")
    troubles = tuple([Trouble(f"somebody else reads this queue: {each.detail}", each.hint) for each in found])
    return Opinion("somebody else reads it", troubles)


def judge_approvers(lost: Sequence[Approver]) -> Opinion:
    """Whether everyone who is asked for an approval can be named in the answer, which takes an address (R171)."""
    if not lost:
        return Opinion("everyone who is asked has an e-mail address")
    shown = _list([f"{each.name or 'somebody'} ({each.stream})" for each in lost])
    fix = "have Ensono put the address into the approver's record; ecproc send approve needs it (--approver EMAIL)"
    return Opinion(f"{len(lost)} without", (warn(f"{len(lost)} approvers have no e-mail address: {shown}", fix),))


def judge_waiting(found: Attention) -> Opinion:
    """Whether anything waits for a person. What is paused is told and is no finding: somebody wanted that."""
    troubles = []
    if found.quarantined:
        fix = "ecproc quarantine list, then retry or discard"
        troubles.append(warn(f"{found.quarantined} messages could not be taken", fix))
    if found.parked:
        fix = "see ticket_parked in the log, then ecproc resume TICKET"
        troubles.append(warn(f"{len(found.parked)} tickets are parked: {_list(found.parked)}", fix))
    if found.dead:
        fix = "ecproc outbox list, then retry or discard"
        troubles.append(warn(f"{found.dead} outbox entries came to a bad end", fix))
    text = "something waits for a person" if troubles else "nothing waits for a person"
    return Opinion(text + (f"; paused: {', '.join(found.paused)}" if found.paused else ""), tuple(troubles))


def _list(names: Sequence[str]) -> str:
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
