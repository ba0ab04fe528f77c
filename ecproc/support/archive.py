"""An archive that only its owner can read, in the same order whoever makes it, without any of our secrets."""

from __future__ import annotations

import gzip
import io
import json
import os
import tarfile
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final
from urllib.parse import quote

from ecproc.errors import EcprocError
from ecproc.telemetry.redaction import MASK

_CREATE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE_MODE: Final = 0o600
_SHORTEST_SECRET: Final = 4


class NotWritten(EcprocError):
    """There is no archive: something of its name is there already, or its place takes none."""

    def __init__(self, reason: str, *, hint: str = "") -> None:
        super().__init__(reason)
        self.hint = hint


def conceal(content: bytes, secrets: Iterable[str]) -> bytes:
    """The content without these secrets, in whatever form they stand in it: as they are, in a URL, in JSON."""
    for secret in sorted({secret for secret in secrets if len(secret) >= _SHORTEST_SECRET}, key=len, reverse=True):
        in_json = json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1]
        for form in (secret, quote(secret, safe=""), *in_json):
            content = content.replace(form.encode(), MASK.encode())
    return content


def write_archive(path: Path, members: Mapping[str, bytes], *, folder: str, at: int) -> int:
    """Write a new .tar.gz with these members, by name, in one folder; its bytes. `at` is seconds since the epoch.

    Raises NotWritten, with nothing left behind.
    """
    packed = io.BytesIO()
    with gzip.GzipFile(fileobj=packed, mode="wb", mtime=at) as file, tarfile.open(fileobj=file, mode="w") as archive:
        for name in sorted(members):
            archive.addfile(_describe(f"{folder}/{name}", members[name], at), io.BytesIO(members[name]))
    return write_new(path, packed.getvalue())


def write_new(path: Path, content: bytes) -> int:
    """Write a new file that only its owner can read; its bytes. Raises NotWritten, with nothing left behind."""
    try:
        file = os.fdopen(os.open(path, _CREATE, _FILE_MODE), "wb")
    except FileExistsError:
        raise NotWritten(f"{path} is there already", hint="name another file with --output") from None
    except OSError as error:
        raise NotWritten(
            f"{path} cannot be written: {error.strerror}", hint="name another file with --output"
        ) from error
    try:
        with file:
            file.write(content)
    except BaseException as error:
        with suppress(OSError):
            path.unlink()
        if isinstance(error, OSError):
            raise NotWritten(f"{path} cannot be written: {error.strerror}") from error
        raise
    return len(content)


def _describe(name: str, content: bytes, at: int) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.size, member.mtime, member.mode = len(content), at, _FILE_MODE
    return member
