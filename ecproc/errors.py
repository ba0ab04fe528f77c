"""The faults ecproc raises, named by who is at fault; expected outcomes (duplicate, retry, discard) are values.

Every message here is safe to print: the adapter that raises keeps secrets and URL queries out of it.
"""

from __future__ import annotations

from enum import IntEnum, StrEnum
from pathlib import Path
from typing import Final

from msgspec import Struct


class ExitCode(IntEnum):
    """What the process tells its caller; the numbers are a contract with scripts and systemd units."""

    OK = 0
    FAILED = 1
    USAGE = 2
    FINDINGS = 3
    DATA_DIR_IN_USE = 69
    STORAGE = 70
    LOG_DAMAGED = 71
    TEMPORARY = 75
    CONFIG = 78
    INTERRUPTED = 130


class Severity(StrEnum):
    """How bad a finding is: an error keeps something from working, a warning will or may."""

    ERROR = "error"
    WARNING = "warning"


class EcprocError(Exception):
    """Any fault ecproc names itself; `exit_code` is what a command that dies of it returns."""

    exit_code: ExitCode = ExitCode.FAILED
    hint: str = ""
    """What to do about it, where that is not part of the text."""


class ConfigProblem(Struct, frozen=True):
    """One finding about the configuration: what is wrong, where it stands, and what to do about it."""

    message: str
    location: str = ""
    """`file:line`, the file, or the environment variable's name; empty when nothing was written at all."""
    help: str = ""

    def __str__(self) -> str:
        lines = [self.message]
        if self.location:
            lines.append(f"  --> {self.location}")
        if self.help:
            lines.append(f"  = help: {self.help}")
        return "\n".join(lines)


class ConfigError(EcprocError):
    """The operator's configuration is wrong; carries every problem found, not only the first."""

    exit_code = ExitCode.CONFIG

    def __init__(self, *problems: ConfigProblem) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = problems


_LOSS_HINT: Final = (
    "put the whole data directory back from the newest copy there is and start once with run --accept-loss, which goes "
    "on with what is there and lets the built-in desk skip 1,000,000 numbers, so that none is given twice"
)


class StoreError(EcprocError):
    """The data directory, or what stands in it, does not let us go on."""

    exit_code = ExitCode.STORAGE


class StoreUnavailable(StoreError):
    """The machine's storage failed (disk full, I/O error, failed fsync): nothing more may be acknowledged."""


class NoRoom(StoreUnavailable):
    """A lock of another program, no space or no descriptor was in the way just now: nothing was written, and it is
    worth another try."""


class StoreFailed(StoreUnavailable):
    """What became of a write nobody knows, so that nothing more is written: whatever it failed for, it does not pass by
    itself, and only a new start from the files goes on."""


class LogDamaged(StoreError):
    """The event log is not what we wrote: something outside changed, truncated or lost part of it.

    `position` is the first position that cannot be trusted, 0 where it is no one event's.
    """

    exit_code = ExitCode.LOG_DAMAGED
    hint = _LOSS_HINT

    def __init__(self, position: int, reason: str) -> None:
        place = f" at position {position}" if position else ""
        super().__init__(f"the event log is damaged{place}: {reason}")
        self.position = position
        self.reason = reason

    def __reduce__(self) -> tuple[type[LogDamaged], tuple[int, str]]:
        """How it gets from one process to another."""
        return type(self), (self.position, self.reason)


class OutOfStep(StoreError):
    """What stands beside the event log is of another moment than the log: one of them is older than it was, or gone."""

    exit_code = ExitCode.LOG_DAMAGED
    hint = _LOSS_HINT


class NewerFormat(StoreError):
    """What stands in the data directory was written by a newer ecproc, and this one could only guess at it."""

    exit_code = ExitCode.CONFIG
    hint = "install that version or a later one; what it wrote is left as it is"


class RowDamaged(EcprocError):
    """A live row, or a whole table of them, is not what we wrote; the log it is made from may be whole.

    `stream` and `id` are the row's key, empty where no row can be named.
    """

    exit_code = ExitCode.STORAGE
    hint = "a start of ecproc run writes live rows anew from the log, and so does ecproc replay"

    def __init__(self, table: str, stream: str = "", id: str = "", reason: str = "") -> None:
        row = f"row {id!r} of {stream!r} in table {table}" if stream or id else f"table {table}"
        super().__init__(f"{row} is not as it was written{reason and ': '}{reason}")
        self.table = table
        self.stream = stream
        self.id = id


class DataDirInUse(StoreError):
    """Another process of the operator's holds the data directory's lock; `pid` is None when it did not say."""

    exit_code = ExitCode.DATA_DIR_IN_USE

    def __init__(self, path: Path, pid: int | None = None) -> None:
        holder = "another process" if pid is None else f"process {pid}"
        super().__init__(f"{path} is in use by {holder}")
        self.path = path
        self.pid = pid
        self.hint = "end that one first, or choose another data.dir"


class DataDirUnusable(StoreUnavailable):
    """The operator's data directory cannot be read or written; `hint` says what to do about it."""

    def __init__(self, path: Path, reason: str, *, hint: str) -> None:
        super().__init__(f"cannot use the data directory {path} (data.dir): {reason}")
        self.path = path
        self.hint = hint


class WrongEnvironment(StoreError):
    """The configuration names another bridge, client or environment than the log was written for (R6)."""

    exit_code = ExitCode.CONFIG
    hint = (
        "give each environment a data.dir of its own; where bridge.url was wrong and nothing was received yet (ecproc "
        "events lists one event), remove the directory"
    )


class BridgeError(EcprocError):
    """The call to Ensono's bridge was not answered as it should be."""

    exit_code = ExitCode.TEMPORARY


_NETWORK_HINTS: Final = {
    "dns": "check the host in bridge.url and this machine's resolver",
    "connect": "check the host and port in bridge.url, and whether a firewall or a proxy (bridge.proxy) is in the way",
    "files": "raise the limit of open files (LimitNOFILE= of a systemd unit, ulimit -n) or find what holds them",
    "tls": "check whether something on the way opens TLS; its certificates belong in bridge.ca_file",
    "timeout": "check the way to the bridge (firewall, bridge.proxy), and whether bridge.timeout is long enough",
}


class BridgeUnavailable(BridgeError):
    """A call has no whole answer: no connection, no time left, or nothing that is HTTP and fits.

    `kind` is one word, `detail` says where and why (`host:port: Connection refused`), `hint` what a person can look at.
    `sent` says that bytes may have reached the bridge, so that the call's outcome is unknown.
    """

    def __init__(self, kind: str, detail: str = "", *, sent: bool) -> None:
        why = f"{kind}: {detail}" if detail else kind
        super().__init__(f"the bridge is unavailable ({why})")
        self.kind = kind
        self.detail = detail
        self.hint = _NETWORK_HINTS.get(kind, "")
        self.sent = sent


class BridgeRefused(BridgeError):
    """Our configuration is at fault: calls cannot be made as it stands (R216-R220).

    Repeating the call cannot help until someone changes the configuration; `help` says what to look at.
    """

    exit_code = ExitCode.CONFIG

    def __init__(self, reason: str, *, help: str = "") -> None:
        super().__init__(f"the bridge refuses our calls: {reason}" + (f" ({help})" if help else ""))
