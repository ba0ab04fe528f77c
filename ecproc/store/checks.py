"""What the last checks of a data directory found, left in it for the processor, which tells it in its metrics."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Final

import msgspec

CHECKS: Final = "checks.json"
_FILE_MODE: Final = 0o600


class LogVerified(msgspec.Struct, frozen=True):
    """A log that held when it was verified; `at` is microseconds UTC."""

    at: Annotated[int, msgspec.Meta(ge=0, lt=1 << 62)]
    ok: bool = True


class ReplayVerified(msgspec.Struct, frozen=True):
    """Whether a replay was equal to the live state; `at` is microseconds UTC."""

    at: Annotated[int, msgspec.Meta(ge=0, lt=1 << 62)]
    equal: bool


class _File(msgspec.Struct, omit_defaults=True):
    log_verify: LogVerified | None = None
    replay_verify: ReplayVerified | None = None


class Checks(msgspec.Struct, frozen=True):
    """When the log was last found sound, in microseconds UTC, and whether the last replay was equal to the live state;
    None where that is not known."""

    verified_at: int | None = None
    replay_equal: bool | None = None


def note_check(directory: Path, check: LogVerified | ReplayVerified) -> None:
    """Leave that in the data directory, in the place of the one before. Where it cannot be written nothing is said:
    whoever asked for the check has its result."""
    with suppress(OSError):
        noted = _read(directory)
        if isinstance(check, LogVerified):
            noted.log_verify = check
        else:
            noted.replay_verify = check
        replace_file(directory / CHECKS, msgspec.json.encode(noted))


def read_checks(directory: Path) -> Checks:
    """What the last checks left in a data directory; nothing is known where there is no file, or none that we wrote."""
    noted = _read(directory)
    verified, replayed = noted.log_verify, noted.replay_verify
    return Checks(
        verified_at=verified.at if verified is not None and verified.ok else None,
        replay_equal=None if replayed is None else replayed.equal,
    )


def _read(directory: Path) -> _File:
    try:
        return msgspec.json.decode((directory / CHECKS).read_bytes(), type=_File)
    except (OSError, msgspec.DecodeError, RecursionError):
        return _File()


def replace_file(path: Path, body: bytes) -> None:
    """Put that into the place of the file. It is not synced: what a failing machine loses of it is found out by the
    next check. Raises OSError, with the file as it was."""
    fresh = path.with_name(f"{path.name}.{os.getpid()}")  # two commands may end in the same moment
    try:
        file = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, _FILE_MODE)
        with os.fdopen(file, "wb") as opened:
            opened.write(body)
            if os.geteuid() == 0:  # as SQLite does with its files: the processor is to read what root's cron left
                owner = path.parent.stat()
                os.fchown(file, owner.st_uid, owner.st_gid)
        fresh.replace(path)
    except OSError:
        fresh.unlink(missing_ok=True)
        raise
