"""Which tickets a filter means: what their documents say, however it is asked for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecproc.domain.anomalies import Anomaly
from ecproc.domain.events import PAUSED_TICKET, Act, EffectSucceeded, OperatorActed
from ecproc.domain.ids import EffectKey
from ecproc.domain.log import Batch, NewEvent, Row
from ecproc.domain.times import parse_time
from ecproc.fold.control import CONTROL_STREAM
from ecproc.fold.recorded import encode_event
from ecproc.fold.tables import TABLES
from ecproc.fold.tickets import MACHINES
from ecproc.reading.filters import TicketFilter
from ecproc.reading.queries import Queries
from ecproc.reading.waiting import WaitWord
from tests.seeded import CANARY, CHANGE, INCIDENT, SECOND, Disk, fill_disk

Document = Mapping[str, Any]

NOTED: Final = {"id": "n1", "body": "The LAMP is out, Straße 7", "commenter": "Ann Other", "commenterEmail": "a@x.com"}
SEARCHES: Final = ("lamp", "STRASSE", "cs0000001", "E-CS0000001", "local-1", "see https", "ann", "incident", "zzz", "1")


async def list_all(disk: Disk, wanted: TicketFilter, **more: Any) -> list[Document]:
    """The documents of the tickets that are meant."""
    reveal = more.pop("reveal", False)
    queries = Queries(disk, tables=TABLES.names, machines=MACHINES, entries=100, reveal=reveal)
    return [msgspec.json.decode(document) async for document in queries.list_tickets(wanted, **more)]


async def find(disk: Disk, *, reveal: bool = False, **conditions: Any) -> list[str]:
    """Their numbers."""
    return [item["ticket"] for item in await list_all(disk, TicketFilter(**conditions), reveal=reveal)]


@pytest.fixture
async def disk() -> Disk:
    """Give a log with a bit of everything: notes, approvals, anomalies, pauses."""
    return await build()


async def build() -> Disk:
    disk = await fill_disk()
    incident = {"ticketType": "Incident", "status": "closed"}
    await disk.receive(SECOND, "Notes", {**incident, "notes": NOTED})
    await disk.receive("e-CS0000004", "Create", {"ticketType": "Incident", "status": "open", "urgency": "1"})
    approver = {"approvalId": "a1", "approvalState": "Requested", "approverName": "A", "approverEmail": "a@x.com"}
    await disk.receive(CHANGE, "Approval Request", {"ticketType": "Change", "state": "Assess", **approver})
    await disk.decide()
    created, returned = EffectKey(f"create:{CHANGE}:g1"), EffectKey(f"returnptn:{CHANGE}:LOCAL-3")
    await disk.settle(CHANGE, EffectSucceeded(created, {"number": "LOCAL-3"}))
    await disk.settle(CHANGE, EffectSucceeded(returned))
    await disk.settle(
        CHANGE,
        *(EffectSucceeded(EffectKey(item.id)) for item in await disk.read_rows("outbox", stream=CHANGE) if item.tag),
    )
    acted = OperatorActed(Act.PAUSE, "ann", what=PAUSED_TICKET)
    await disk.commit(Batch([NewEvent("e-CS0000004", *encode_event(acted), wanted=True)]))
    await disk.decide()
    return disk


def meets(wanted: TicketFilter, document: Document) -> bool:
    """Whether a document is of a ticket that is meant, as its reader would judge."""
    texts = [document["ticket"], document["client_ticket"], *document["fields"].values()]
    texts += [note[name] for note in document["notes"] for name in ("body", "author")]
    texts += [known["number"] for known in document["client_tickets"]]
    waits = document["waiting_for"] or {"what": None}
    return (
        wanted.ticket_type in (None, document["type"])
        and wanted.state in (None, document["state"] or "none")
        and wanted.waiting in (None, waits["what"])
        and (wanted.anomaly is None or wanted.anomaly in [flag["code"] for flag in document["anomalies"]])
        and (wanted.since is None or (parse_time(document["updated_at"]) or 0) >= wanted.since)
        and (not wanted.search or any(wanted.search.casefold() in (text or "").casefold() for text in texts))
    )


@given(data=st.data())
async def test_a_filter_means_the_tickets_whose_documents_meet_it(data: st.DataObject) -> None:
    disk = await build()
    everything = await list_all(disk, TicketFilter())
    times = [parse_time(document["updated_at"]) for document in everything]
    wanted = TicketFilter(
        ticket_type=data.draw(st.sampled_from([None, None, "Incident", "Change"])),
        state=data.draw(st.sampled_from([None, None, "open", "closed", "Assess", "none"])),
        search=data.draw(st.sampled_from([None, "", *SEARCHES])),
        waiting=data.draw(st.sampled_from([None, None, *WaitWord])),
        anomaly=data.draw(st.sampled_from([None, None, None, *Anomaly])),
        since=data.draw(st.sampled_from([None, *times])),
    )
    expected = [document for document in everything if meets(wanted, document)]
    assert await list_all(disk, wanted) == expected
    for document in expected:
        behind = [item for item in expected if item["ticket"] > document["ticket"]]
        assert await list_all(disk, wanted, after=document["ticket"]) == behind
        assert await list_all(disk, wanted, after=document["ticket"], limit=1) == behind[:1]


async def test_each_condition_finds_what_it_is_for(disk: Disk) -> None:
    assert await find(disk, search="lamp") == [SECOND]
    assert await find(disk, search="STRASSE") == [SECOND]
    assert await find(disk, search="local-1") == [INCIDENT]
    assert await find(disk, search="E-cs0000001") == [INCIDENT]
    assert await find(disk, waiting=WaitWord.APPROVAL) == [CHANGE]
    assert await find(disk, waiting=WaitWord.PAUSED) == ["e-CS0000004"]
    assert await find(disk, waiting=WaitWord.ATTACHMENT) == [INCIDENT]
    assert await find(disk, state="closed", anomaly="after_final") == [SECOND]


async def test_a_paused_destination_is_what_its_tickets_wait_for(disk: Disk) -> None:
    acted = OperatorActed(Act.PAUSE, "ann", what="attachments")
    await disk.commit(Batch([NewEvent(CONTROL_STREAM, *encode_event(acted), wanted=True)]))
    await disk.decide()
    assert await find(disk, waiting=WaitWord.ATTACHMENT) == []
    assert INCIDENT in await find(disk, waiting=WaitWord.PAUSED)


@pytest.mark.requirement("I11")
async def test_what_is_masked_is_not_found(disk: Disk) -> None:
    assert await find(disk, search=CANARY) == []
    assert len(await find(disk, search=CANARY, reveal=True)) == 2
    assert len(await find(disk, search="https://h/f")) == 2


async def test_only_what_a_condition_needs_is_read(disk: Disk) -> None:
    assert TicketFilter(state="open").tables == ()
    disk.asked.clear()
    assert await find(disk, state="Draft") == []
    assert await find(disk, search="zzz", waiting=WaitWord.DESK) == []
    assert disk.asked <= {"pause"}


async def test_rows_of_many_pages_are_put_to_their_tickets(disk: Disk) -> None:
    (header,) = await disk.read_rows("ticket", stream=SECOND)
    streams = [f"e-CS1{number:07}" for number in range(2_500)]
    data = header.data or b""
    rows = [
        msgspec.structs.replace(header, stream=stream, id=stream, data=data.replace(SECOND.encode(), stream.encode()))
        for stream in streams
    ]
    notes = [
        Row("note", stream, f"n{note}", note, b'{"body":"about %s"}' % stream.encode())
        for stream in streams[::2]
        for note in range(3)
    ]
    await disk.commit(Batch(rows=[*rows, *notes]))
    assert await find(disk, search="about e-CS10000004") == [streams[4]]
    assert len(await find(disk, search="about e-CS10002")) == 250
    assert await find(disk, search="about e-CS10000005") == []
