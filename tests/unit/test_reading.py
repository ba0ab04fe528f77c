"""What people and pages ask of a log: masked or revealed, now and as of a position, about any kind of stream."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator, Callable, Collection
from typing import Any

import msgspec
import pytest

from ecproc.domain.ids import EffectKey
from ecproc.domain.log import Batch, Row
from ecproc.fold.recorded import decode_entry, encode_entry
from ecproc.fold.rows import quarantine_row
from ecproc.fold.tables import TABLES
from ecproc.fold.tickets import MACHINES
from ecproc.reading.entries import EntryFilter
from ecproc.reading.filters import TicketFilter
from ecproc.reading.join import LISTS
from ecproc.reading.masking import mask_struct
from ecproc.reading.queries import Queries
from tests.seeded import (
    BROKEN,
    CANARY,
    CHANGE,
    ENTRIES,
    INCIDENT,
    JOB,
    MORE_TABLES,
    SECOND,
    UNREADABLE,
    URL,
    Disk,
    fill_disk,
)


@pytest.fixture
async def disk() -> Disk:
    """Give a log with a bit of everything."""
    return await fill_disk()


@pytest.fixture
def ask(disk: Disk) -> Callable[..., Queries]:
    """Give what makes queries of that log."""

    def make(*, reveal: bool = False, entries: int = 1000, tables: Collection[str] = TABLES.names) -> Queries:
        return Queries(disk, tables=tables, machines=MACHINES, entries=entries, reveal=reveal)

    return make


async def numbers(documents: AsyncIterator[bytes]) -> list[str]:
    """The tickets that these documents are of."""
    return [msgspec.json.decode(document)["ticket"] async for document in documents]


async def document_of(queries: Queries, name: str, **more: Any) -> Any:
    """A document that is there."""
    document = await queries.ticket(name, **more)
    assert document is not None
    return msgspec.json.decode(document)


async def test_tickets_come_by_number_type_and_state_and_page_by_page(ask: Callable[..., Queries]) -> None:
    queries = ask()
    everything = sorted([INCIDENT, SECOND, CHANGE])
    assert await numbers(queries.list_tickets()) == everything
    assert await numbers(queries.list_tickets(TicketFilter(ticket_type="Change"))) == [CHANGE]
    assert await numbers(queries.list_tickets(TicketFilter(ticket_type="Incident", state="closed"))) == [SECOND]
    assert await numbers(queries.list_tickets(limit=2)) == everything[:2]
    assert await numbers(queries.list_tickets(after=everything[1], limit=2)) == everything[2:]


@pytest.mark.parametrize("name", [INCIDENT, "cs0000001", "E-CS0000001", "LOCAL-1"])
async def test_a_ticket_has_one_document_under_all_its_names(name: str, ask: Callable[..., Queries]) -> None:
    document = await document_of(ask(), name)
    assert (document["ticket"], document["client_ticket"]) == (INCIDENT, "LOCAL-1")
    listed = [msgspec.json.decode(item) async for item in ask().list_tickets()]
    assert [item for item in listed if item["ticket"] == INCIDENT] == [document]


@pytest.mark.parametrize("name", ["e-CS1", UNREADABLE, "", JOB])
async def test_what_is_no_ticket_has_no_document(name: str, ask: Callable[..., Queries]) -> None:
    assert await ask().ticket(name) is None
    assert await ask().ticket(name, at=1) is None


async def test_a_document_as_of_a_position_is_what_was_known_then(ask: Callable[..., Queries], disk: Disk) -> None:
    head = (await disk.head()).position
    first = await document_of(ask(), "LOCAL-1", at=1)
    assert (first["version"], first["client_ticket"], first["attachments"], first["effects"]) == (1, None, [], [])
    assert await ask().ticket(SECOND, at=1) is None
    assert await ask().ticket(INCIDENT, at=head) == await ask().ticket(INCIDENT)


async def test_long_lists_are_cut_and_counted_now_and_then(ask: Callable[..., Queries], disk: Disk) -> None:
    whole = await document_of(ask(), INCIDENT)
    for position in (None, (await disk.head()).position):
        cut = await document_of(ask(entries=ENTRIES), INCIDENT, at=position)
        assert cut["effects"] == whole["effects"][-ENTRIES:]
        assert cut["effects_count"] == len(whole["effects"]) > ENTRIES


@pytest.mark.requirement("I11")
async def test_every_answer_is_masked_unless_it_is_revealed(ask: Callable[..., Queries]) -> None:
    async def answer(queries: Queries) -> dict[str, str]:
        shown = {
            "ticket": await queries.ticket(INCIDENT) or b"",
            "former": await queries.ticket(INCIDENT, at=1) or b"",
            "tickets": b"".join([document async for document in queries.list_tickets()]),
            "events": b"".join([line async for page in queries.events().read() for line in page]),
            "entries": msgspec.json.encode([entry async for entry in queries.entries()]),
            "quarantine": msgspec.json.encode([message async for message in queries.quarantine()]),
        }
        return {question: text.decode() for question, text in shown.items()}

    revealed = await answer(ask(reveal=True))
    for question, text in (await answer(ask())).items():
        assert CANARY in revealed[question], question
        assert CANARY not in text, question
        assert "https://h/f?***" in text, question


@pytest.mark.requirement("I11")
async def test_the_exact_bytes_of_a_body_are_masked_too(ask: Callable[..., Queries]) -> None:
    (masked,) = [message async for message in ask().quarantine()]
    (revealed,) = [message async for message in ask(reveal=True).quarantine()]
    assert base64.b64decode(str(revealed.body_base64)) == BROKEN
    assert base64.b64decode(str(masked.body_base64)) == BROKEN.replace(f"sig={CANARY}".encode(), b"***")
    assert masked.stream == UNREADABLE


async def test_entries_are_chosen_by_state_lane_and_whether_they_are_done(ask: Callable[..., Queries]) -> None:
    entries = [entry async for entry in ask().entries()]
    (failed,) = [entry async for entry in ask().entries(EntryFilter(state="retryable"))]
    assert (failed.key, failed.reason) == (f"att:{INCIDENT}:abc", "403 from https://h/f?***")
    desk = [entry async for entry in ask().entries(EntryFilter(lane="desk"))]
    assert desk == [entry for entry in entries if entry.lane == "desk"]
    unfinished = [entry.key async for entry in ask().entries(EntryFilter(unfinished=True))]
    assert unfinished == [entry.key for entry in entries if entry.state != "completed"]
    assert f"create:{INCIDENT}:g1" not in unfinished


async def test_entries_go_on_behind_any_of_them_whatever_is_asked_for(ask: Callable[..., Queries]) -> None:
    for wanted in (EntryFilter(), EntryFilter(lane="desk"), EntryFilter(stream=INCIDENT)):
        entries = [entry async for entry in ask().entries(wanted)]
        assert len(entries) > 1
        for place, entry in enumerate(entries, start=1):
            behind = [found async for found in ask().entries(wanted, after=entry.key)]
            assert behind == entries[place:]
    assert [entry async for entry in ask().entries(after="create:e-CS9:g1")] == []


async def test_an_entry_is_found_whatever_its_key_names(ask: Callable[..., Queries], disk: Disk) -> None:
    (row,) = await disk.read_rows("outbox", stream=INCIDENT, id=f"att:{INCIDENT}:abc")
    entry = decode_entry(row.data or b"")
    for key in ("a key of somebody else's", f"x:y:{INCIDENT}", "", "note:client:OURS-1:7"):
        effect = msgspec.structs.replace(entry.effect, key=EffectKey(key))
        data = encode_entry(msgspec.structs.replace(entry, effect=effect))
        assert await ask().entry(key) is None
        await disk.commit(Batch(rows=[msgspec.structs.replace(row, id=key, data=data)]))
        found = await ask().entry(key)
        assert found is not None
        assert found.key == key


async def test_a_page_of_lines_is_as_long_as_is_asked_for(ask: Callable[..., Queries]) -> None:
    for stream in (None, INCIDENT):
        whole = [line async for page in ask().events(stream).read() for line in page]
        pages = [page async for page in ask().events(stream, page=2).read()]
        assert max(map(len, pages)) == 2
        assert [line for page in pages for line in page] == whole


async def test_a_message_that_newer_code_takes_is_told_so(ask: Callable[..., Queries], disk: Disk) -> None:
    (position,) = [message.position async for message in ask().quarantine()]
    found = await ask().quarantined(str(position))
    assert found is not None
    assert (found.now.taken, found.now.reason) == (False, "unroutable")
    whole = {"ticketType": "Incident", "ticketNumber": UNREADABLE, "status": "open"}
    await disk.receive(UNREADABLE, "Create", whole)
    head = (await disk.head()).position
    # As a former version may have left it: in quarantine, though nothing is wrong with it.
    await disk.commit(Batch(rows=[quarantine_row(UNREADABLE, head, message_id="m", reason="unroutable", detail="")]))
    found = await ask().quarantined(str(head))
    assert found is not None
    assert (found.now.taken, found.bad_byte, msgspec.json.decode(found.body)) == (True, None, whole)


async def test_a_line_is_given_once_however_often_one_looks(ask: Callable[..., Queries], disk: Disk) -> None:
    async def look() -> list[int]:
        return [msgspec.json.decode(line)["position"] async for page in lines.read() for line in page]

    for stream in (None, INCIDENT):
        lines = ask().events(stream, after=2)
        own = [event.position async for page in disk.read_log() for event in page if stream in (None, event.stream)]
        assert await look() == [position for position in own if position > 2]
        assert await look() == []
        await disk.receive(INCIDENT, "Update", {"ticketType": "Incident", "changed": {}})
        assert await look() == [(await disk.head()).position]


async def test_a_stream_is_found_with_or_without_a_document(ask: Callable[..., Queries]) -> None:
    assert await ask().find_stream("cs0000001") == INCIDENT
    assert await ask().find_stream(UNREADABLE) == UNREADABLE
    assert await ask().find_stream("e-CS1") is None


@pytest.fixture
async def job(disk: Disk) -> dict[str, object]:
    """Give the header of a stream that is no ticket, as it stands in that log beside its history and an anomaly."""
    header: dict[str, object] = {
        "subject": JOB,
        "kind": "job",
        "state": "under_review",
        "version": 2,
        "position": 12,
        "updated_at": "2026-01-01T00:00:00Z",
        "links": [{"rel": "client_ticket", "number": "INC1"}],
        "data": {"see": URL},
    }
    moved = b'{"position":12,"at":"2026-01-01T00:00:00Z","event":"failed","from":null,"to":"under_review"}'
    rows = [Row("history", JOB, str(number), number, moved) for number in range(3)]
    rows.append(Row("subject", JOB, JOB, 0, msgspec.json.encode(header), "job:under_review"))
    await disk.commit(Batch(rows=[*rows, Row("anomaly", JOB, "1", 1, b'{"position":12,"code":"late","detail":""}')]))
    return header


async def test_a_stream_of_another_kind_has_its_document_under_its_own_name(
    job: dict[str, object], ask: Callable[..., Queries]
) -> None:
    queries = ask(tables=MORE_TABLES.names, entries=ENTRIES, reveal=True)
    document = await document_of(queries, JOB)
    assert list(document) == [*job, "history", "effects", "anomalies", "effects_count"]
    assert {name: document[name] for name in job} == job
    assert (len(document["history"]), document["effects"], len(document["anomalies"])) == (ENTRIES, [], 1)
    assert await queries.find_stream(JOB) == JOB
    assert await queries.ticket(JOB.upper()) is None
    assert await numbers(queries.list_tickets()) == sorted([INCIDENT, SECOND, CHANGE])


async def test_a_table_that_the_store_does_not_have_is_not_asked(
    job: dict[str, object], ask: Callable[..., Queries], disk: Disk
) -> None:
    assert await ask().ticket(JOB) is None
    assert await ask().ticket(INCIDENT) is not None
    assert disk.asked == {"ticket", "timer", "pause", *LISTS["ticket"]}


def test_a_value_without_queries_stays_itself() -> None:
    row = Row("ticket", "a", "b", 0, b"https is no URL")
    assert mask_struct(row) is row
