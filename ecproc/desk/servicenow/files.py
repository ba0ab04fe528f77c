"""Stored files attached to a record, each once: an attachment is known again by its content, name and size."""

from __future__ import annotations

import re
from typing import Final

from ecproc.desk.base import DeskRefused, StoredFile
from ecproc.desk.servicenow.calls import Calls
from ecproc.desk.servicenow.session import FileBody
from ecproc.desk.servicenow.wire import RecordValues, attach, read_attachments
from ecproc.domain.filenames import LONGEST_FILE_NAME

_TYPE: Final = re.compile(r"[A-Za-z0-9!#$&^_.+-]{1,60}/[A-Za-z0-9!#$&^_.+-]{1,100}")
_ANY_TYPE: Final = "application/octet-stream"
_UNFIT: Final = re.compile(r"[\x00-\x1f\x7f/\\\ud800-\udfff\u202a-\u202e\u2066-\u2069]")


class Files:
    """What is attached to records."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    async def attach(self, table: str, sys_id: str, file: StoredFile) -> None:
        """Attach a file that has content. A repeat would attach it again: look first."""
        kind = file.type if _TYPE.fullmatch(file.type) else _ANY_TYPE
        await self._calls.record(attach(table, sys_id, name_file(file)), FileBody(file.path, file.size, kind))

    async def has(self, sys_id: str, file: StoredFile) -> bool:
        """Whether the file is attached."""
        return any(is_file(row, file) for row in await self._calls.rows(read_attachments(sys_id)))


def require_file(file: StoredFile | None) -> StoredFile:
    """The file that an attach is about. Raises DeskRefused without one."""
    if file is None:
        raise DeskRefused("the call names no file", final=True)
    return file


def name_file(file: StoredFile) -> str:
    """The file's name as one of a file: no path, nothing that steers a terminal, with its extension."""
    name = _UNFIT.sub("_", file.name).strip() or "file"
    stem, dot, extension = name.rpartition(".")
    if len(name) <= LONGEST_FILE_NAME or not dot or len(extension) >= LONGEST_FILE_NAME // 2:
        return name[:LONGEST_FILE_NAME]
    return f"{stem[: LONGEST_FILE_NAME - len(extension) - 1]}.{extension}"


def is_file(row: RecordValues, file: StoredFile) -> bool:
    """Whether an attachment is that file: by its hash where it has one, else by name and size."""
    if row.get("hash"):
        return row["hash"] == file.sha256 and row.get("file_name") == name_file(file)
    return row.get("file_name") == name_file(file) and row.get("size_bytes") == str(file.size)
