"""Whether a database file holds every page that it speaks of, be they in the file or still in its write-ahead log."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Final

_WAL_HEADER_BYTES: Final = 32
_FRAME_HEADER_BYTES: Final = 24
_SALTS: Final = slice(16, 24)
"""Where the write-ahead log's header has what each of its frames repeats."""
_FRAME_SALTS: Final = slice(8, 16)


def describe_shortage(connection: sqlite3.Connection, path: Path) -> str | None:
    """What the file lacks; None if nothing. Sound beside a writer: no page moves while a read transaction is open."""
    connection.execute("BEGIN")
    try:
        connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone()
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
        (page_size,) = connection.execute("PRAGMA page_size").fetchone()
        return _compare(path, pages=pages, page_size=page_size)
    finally:
        connection.execute("ROLLBACK")


def _compare(path: Path, *, pages: int, page_size: int) -> str | None:
    size = path.stat().st_size
    whole = size // page_size
    if whole >= pages and size % page_size == 0:
        return None
    logged = _list_logged_pages(path.with_name(f"{path.name}-wal"), page_size)
    lost = next((page for page in range(whole + 1, pages + 1) if page not in logged), None)
    if lost is not None:
        return f"the file {path.name} is shorter than it says: page {lost} of {pages} is missing"
    return None if logged or whole < pages else f"the file {path.name} ends within a page"


def _list_logged_pages(path: Path, page_size: int) -> set[int]:
    """The pages in a write-ahead log, as its frames name them up to the first of a former round."""
    pages: set[int] = set()
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return pages
    with file:
        salts = file.read(_WAL_HEADER_BYTES)[_SALTS]
        while len(frame := file.read(_FRAME_HEADER_BYTES)) == _FRAME_HEADER_BYTES and frame[_FRAME_SALTS] == salts:
            pages.add(int.from_bytes(frame[:4], "big"))
            file.seek(page_size, 1)
    return pages
