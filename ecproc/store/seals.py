"""Live rows as they are kept: each ends with a checksum of all of it, so that what was altered outside is not believed.

The checksum stands behind the row's JSON as white space, which every JSON reader passes over: a row stays one document,
to older programs too. A row without one is of an older form, which the next start for writing makes anew.
"""

from __future__ import annotations

from itertools import product
from typing import Final
from zlib import crc32

from ecproc.domain.log import Row, StreamCounters
from ecproc.errors import RowDamaged

_DIGITS: Final = " \t\n\r"
_BYTES: Final = tuple("".join(digits) for digits in product(_DIGITS, repeat=4))
"""Every byte as four characters of white space."""
_SEAL_BYTES: Final = 16


def seal_row(row: Row) -> str:
    """The row's checksum, which is kept behind its data."""
    return _seal(_checksum(row.table, row.stream, row.id, row.ordinal, row.tag, row.data or b""))


def is_sealed(data: bytes) -> bool:
    """Whether there is a checksum, right or wrong; a JSON document of ours does not end with white space."""
    return data[-1:] in (b" ", b"\t", b"\n", b"\r")


def read_row(table: str, stream: str, id: str, ordinal: int, data: bytes, tag: str | None) -> Row:  # noqa: PLR0917 - columns
    """The row that these columns hold. Raises RowDamaged unless they are what was written together."""
    if type(data) is not bytes:
        raise RowDamaged(table, str(stream), str(id))
    if not is_sealed(data):
        return Row(table, stream, id, ordinal, data, tag)
    bare = data[:-_SEAL_BYTES]
    if data[-_SEAL_BYTES:] != _seal(_checksum(table, stream, id, ordinal, tag, bare)).encode():
        raise RowDamaged(table, str(stream), str(id))
    return Row(table, stream, id, ordinal, bare, tag)


def checksum_counters(stream: str, state: StreamCounters) -> int:
    """What tells a stream's counters as they were written from any others."""
    return crc32(f"{stream} {state.version} {state.through} {state.wanted} {state.last}".encode())


def _checksum(table: str, stream: str, id: str, ordinal: int, tag: str | None, data: bytes) -> int:  # noqa: PLR0917
    tagged = "" if tag is None else f"={tag}"
    return crc32(data, crc32(f"{table}\0{stream}\0{id}\0{ordinal}\0{tagged}\0".encode("utf-8", "surrogatepass")))


def _seal(checksum: int) -> str:
    one, two, three, four = checksum.to_bytes(4)
    return _BYTES[one] + _BYTES[two] + _BYTES[three] + _BYTES[four]
