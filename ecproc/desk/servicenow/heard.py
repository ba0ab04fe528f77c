"""From rows of watched tables to news, and which rows are our own doing. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

import msgspec

from ecproc.desk.base import News, StoredFile
from ecproc.desk.servicenow.files import is_file
from ecproc.desk.servicenow.instance import read_count
from ecproc.desk.servicenow.wire import RecordValues
from ecproc.domain.external import ExternalDecision, ExternalKind, ExternalNote, ExternalReceived
from ecproc.domain.remarks import Remark
from ecproc.mapping.tables import Inbound

DECIDED: Final = {"approved": True, "rejected": False}
"""What an approval may have come to."""
_MARKER: Final = re.compile(r"\[Ensono note [A-Za-z0-9:._|-]{1,120}\]")
_ANY_TYPE: Final = "application/octet-stream"


def is_own_note(row: RecordValues, user: str) -> bool:
    """Whether an entry of a journal is ours: by our user where that is known, or with a marker as its last line, whole.
    A person may quote a marker, or write behind one."""
    lines = row.get("value", "").rstrip().splitlines()
    by_us = bool(user) and row.get("sys_created_by") == user
    return by_us or (bool(lines) and _MARKER.fullmatch(lines[-1].strip()) is not None)


def is_own_file(row: RecordValues, handed: Iterable[StoredFile]) -> bool:
    """Whether an attachment is one of the files that Ensono's ticket has, which we hand over ourselves."""
    return any(is_file(row, file) for file in handed)


def tell_record(
    row: RecordValues, inbound: Inbound, *, key: str, source: str, mapping: str, remarks: tuple[Remark, ...] = ()
) -> News:
    """A record as it stands; `key` is what we look it up by, empty where it is none of ours."""
    return News(
        ExternalReceived(
            source,
            ExternalKind.RECORD,
            f"rec:{row['sys_id']}:{read_count(row)}",
            number=row.get("number", ""),
            reference=row["sys_id"],
            stamp=read_count(row),
            at=_write_time(row.get("sys_updated_on", "")),
            by=row.get("sys_updated_by", ""),
            mapping=mapping,
            view=inbound.view,
            key=f"create:{key}" if key else "",
            body=_write_body(row),
            remarks=remarks,
        )
    )


def tell_note(row: RecordValues, number: str, *, source: str) -> News:
    """An entry of a journal."""
    at, author = _write_time(row.get("sys_created_on", "")), row.get("sys_created_by", "")
    return News(
        ExternalReceived(
            source,
            ExternalKind.NOTE,
            f"jrn:{row['sys_id']}",
            number=number,
            reference=row.get("element_id", ""),
            at=at,
            by=author,
            note=ExternalNote(row.get("value", ""), author, at=at),
            body=_write_body(row),
        )
    )


def tell_file(row: RecordValues, number: str, *, source: str) -> News:
    """An attachment, whose content is to be fetched."""
    size = row.get("size_bytes", "")
    return News(
        ExternalReceived(
            source,
            ExternalKind.ATTACHMENT,
            f"att:{row['sys_id']}",
            number=number,
            reference=row.get("table_sys_id", ""),
            at=_write_time(row.get("sys_created_on", "")),
            by=row.get("sys_created_by", ""),
            body=_write_body(row),
        ),
        file=row["sys_id"],
        name=row.get("file_name", ""),
        type=row.get("content_type", "") or _ANY_TYPE,
        size=int(size) if size.isascii() and size.isdecimal() and len(size) < 19 else 0,
    )


def tell_decision(row: RecordValues, number: str, reference: str, decision: ExternalDecision, *, source: str) -> News:
    """An answer to a change; the row is the change's own, or that of one of those who were asked."""
    return News(
        ExternalReceived(
            source,
            ExternalKind.APPROVAL,
            f"apr:{row['sys_id']}:{read_count(row)}",
            number=number,
            reference=reference,
            stamp=read_count(row),
            at=_write_time(row.get("sys_updated_on", "")),
            by=row.get("sys_updated_by", ""),
            decision=decision,
            body=_write_body(row),
        )
    )


def _write_time(time: str) -> str:
    return f"{time.replace(' ', 'T')}Z" if time else ""


def _write_body(row: RecordValues) -> str:
    return msgspec.json.encode(row, order="sorted").decode()
