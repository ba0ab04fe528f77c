"""Which tickets are meant: the conditions of the command line and of pages."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, Final

import msgspec

from ecproc.domain.ids import normalise_number
from ecproc.domain.log import Row
from ecproc.domain.times import format_time
from ecproc.reading.documents import NO_STATE
from ecproc.reading.masking import mask_json
from ecproc.reading.waiting import WaitWord

_SEARCHED: Final = ("client_ticket", "note")
_WAITING: Final = ("outbox", "timer", "pause")


class _Header(msgspec.Struct):
    """What of a ticket's header is looked at."""

    updated_at: str
    client_ticket: str | None = None
    fields: dict[str, Any] = {}


class _Beside(msgspec.Struct):
    """What of a note or a former client ticket is looked at."""

    number: str = ""
    body: str | None = ""
    author: str | None = ""


_decode_header: Final = msgspec.json.Decoder(_Header).decode
_decode_beside: Final = msgspec.json.Decoder(_Beside).decode


class TicketFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which tickets are meant: each condition that is given must hold.

    `state` may be NO_STATE. `search` is a part, in any case, of a number, of a field or of a note. `waiting` is what
    the verdict says, `anomaly` a code that was flagged at any time. `since` is a time in microseconds UTC: the last
    event of the ticket was recorded then or later.
    """

    ticket_type: str | None = None
    state: str | None = None
    search: str | None = None
    waiting: WaitWord | None = None
    anomaly: str | None = None
    since: int | None = None

    @property
    def chooses_tags(self) -> bool:
        """Whether type or state leave some tickets out."""
        return self.ticket_type is not None or self.state is not None

    @property
    def tables(self) -> Sequence[str]:
        """The tables whose rows of a ticket it has to see beside the header; of the outbox those that are tagged."""
        return (
            *(_SEARCHED if self.search else ()),
            *(("anomaly",) if self.anomaly is not None else ()),
            *(_WAITING if self.waiting is not None else ()),
        )

    def matches_tag(self, tag: str) -> bool:
        """Whether tickets with that tag may be meant."""
        found_type, _, found_state = tag.partition(":")
        return self.ticket_type in (None, found_type) and self.state in (None, found_state or NO_STATE)

    def matches(self, header: Row, rows: Mapping[str, Sequence[Row]], *, reveal: bool = False) -> bool:
        """Whether the ticket with that header and those rows is meant, whatever it waits for.

        What is masked unless `reveal` is not found then, either.
        """
        if self.anomaly is not None and not any(row.tag == self.anomaly for row in rows["anomaly"]):
            return False
        told = _decode_header(header.data or b"{}")
        if self.since is not None and told.updated_at < format_time(self.since):
            return False
        if not self.search:
            return True
        beside = [row for table in _SEARCHED for row in rows[table]]
        # Masking takes longer than all the rest, and few tickets come so far.
        return self._finds(header, beside, shown=bytes) and (reveal or self._finds(header, beside, shown=mask_json))

    def _finds(self, header: Row, beside: Iterable[Row], *, shown: Callable[[bytes], bytes]) -> bool:
        wanted, number = (self.search or "").casefold(), normalise_number(self.search or "")
        if number and number in header.id:
            return True
        texts = chain(_list_header(header, shown), chain.from_iterable(_list_texts(row, shown) for row in beside))
        return any(wanted in text.casefold() for text in texts)


def _list_header(header: Row, shown: Callable[[bytes], bytes]) -> Iterator[str]:
    """Our number and the fields' texts; Ensono's is the row's id."""
    told = _decode_header(shown(header.data or b"{}"))
    yield told.client_ticket or ""
    for value in told.fields.values():
        yield value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _list_texts(row: Row, shown: Callable[[bytes], bytes]) -> Iterator[str]:
    told = _decode_beside(shown(row.data or b"{}"))
    yield told.number
    yield told.body or ""
    yield told.author or ""
