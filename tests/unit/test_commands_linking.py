"""Links to import: what a file may hold, what one line says against another and against the log, all or nothing."""

from __future__ import annotations

import pytest

from ecproc.commands.linkfile import read_links
from ecproc.commands.linking import (
    MOST_PAIRS,
    MOST_TOLD,
    Examination,
    LinkPair,
    LinkReport,
    check_pairs,
    examine_pairs,
    import_links,
    report_links,
    tidy,
)
from ecproc.domain.entry import Entry, EntryState
from ecproc.domain.events import OperatorActed
from ecproc.domain.log import Batch, NewEvent
from ecproc.fold.recorded import Kind, decode_event, encode_event
from ecproc.fold.rows import entry_row, ticket_rows
from ecproc.fold.tables import TABLES
from ecproc.store.memory import MemoryStore
from ecproc.testing.ticket import Event, given, incident, succeed
from tests.simulation.clock import VirtualClock
from tests.unit.test_domain_adoption import link, linked

HEAD = "ensono_number,client_number"
PLAIN = LinkPair("e-CS0000001", "INC1")


def pair(ensono_number: str = "e-CS0000001", client_number: str = "INC1", **more: object) -> LinkPair:
    return LinkPair(ensono_number, client_number, **more)  # type: ignore[arg-type]


# --- the file ---


@pytest.mark.parametrize("start", ["", "\ufeff"], ids=["plain", "bom"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_file_is_read_with_and_without_what_may_be_left_out(start: str, end: str) -> None:
    text = end.join(
        ["ensono_number,client_number,reference,generation", " e-CS0000001 ,INC1,9d38,1", "", 'e-CHG1,"A, B",null,2']
    )
    links = read_links((start + text).encode())
    assert links == (
        [pair(reference="9d38", line=2), pair("e-CHG1", "A, B", generation=2, line=4)],
        [],
    )
    assert read_links(f"{HEAD},generation{end}e-CHG1,C1,3".encode()).pairs == [
        pair("e-CHG1", "C1", generation=3, line=2)
    ]


@pytest.mark.parametrize(
    ("data", "line", "field", "says"),
    [
        (b"", 1, "header", "write that into the first line"),
        (b"e-CS1,INC1\n", 1, "header", "'e-CS1,INC1' is not ensono_number,client_number"),
        (b"ensono_number;client_number\n", 1, "header", "parted by commas"),
        (b"client_number,ensono_number\n", 1, "header", "is not"),
        (f"{HEAD}\ne-CS1,INC1,more\n".encode(), 2, "columns", "3 of 2"),
        (f"{HEAD}\ne-CS1\n".encode(), 2, "columns", "1 of 2"),
        (f"{HEAD}\n\ne-CS1,\xe4\n".encode("latin-1"), 3, "file", "0xe4 is no UTF-8"),
        (f"{HEAD}\ne-CS1,\0INC\n".encode(), 2, "file", "NUL"),
        (f'{HEAD}\ne-CS1,"INC1\n'.encode(), 2, "line", "quote is missing"),
        (f"{HEAD},generation\ne-CS1,INC1,0\n".encode(), 2, "generation", "'0' is none"),
        (f"{HEAD},generation\ne-CS1,INC1,\n".encode(), 2, "generation", "'' is none"),
        (f"{HEAD},generation\ne-CS1,INC1,\u0661\n".encode(), 2, "generation", "is none"),
        (f"{HEAD},generation\ne-CS1,INC1,1.0\n".encode(), 2, "generation", "'1.0' is none"),
    ],
)
def test_a_line_that_is_none_is_named_with_what_to_do(data: bytes, line: int, field: str, says: str) -> None:
    links = read_links(data)
    (problem,) = links.problems
    assert (problem.line, problem.field, list(links.pairs)) == (line, field, [])
    assert says in problem.text


# --- pairs by themselves ---


@pytest.mark.parametrize(
    ("wrong", "field", "says"),
    [
        (pair(""), "ensono_number", "names nothing"),
        (pair("n/a"), "ensono_number", "names nothing"),
        (pair(client_number="null"), "client_number", "names nothing"),
        (pair(client_number=""), "client_number", "names nothing"),
        (pair("CS0000001"), "ensono_number", "such as e-CS0879727"),
        (pair("e-cs0000001"), "ensono_number", "is not as on the wire"),
        (pair("e-CS 1"), "ensono_number", "is not as on the wire"),
        (pair("e-"), "ensono_number", "is not as on the wire"),
        (pair("e-CS\u0661"), "ensono_number", "is not as on the wire"),
        (pair("client:INC1"), "ensono_number", "ecproc gives itself"),
        (pair("$control"), "ensono_number", "ecproc gives itself"),
        (pair("ungrouped"), "ensono_number", "ecproc gives itself"),
        (pair(client_number="INC\x1b[31m1"), "client_number", "U+001B"),
        (pair(client_number="INC\u200b1"), "client_number", "U+200B"),
        (pair(client_number="x" * 101), "client_number", "101 characters"),
        (pair(reference="a\nb"), "reference", "U+000A"),
        (pair(generation=0), "generation", "0 is none"),
    ],
)
def test_a_pair_that_names_no_ticket_is_refused(wrong: LinkPair, field: str, says: str) -> None:
    (problem,) = check_pairs([tidy(wrong)])
    assert problem.field == field
    assert says in problem.text
    assert "\x1b" not in problem.text


def test_a_ticket_or_a_number_that_is_there_twice_is_named_with_the_line_it_was_first_on() -> None:
    first = pair(line=2)
    doubles = [pair("e-CS0000001", "INC2", line=3), pair("e-CS0000002", "INC1", line=4)]
    told = [(problem.line, problem.field, problem.text[:10]) for problem in check_pairs([first, *doubles])]
    assert told == [(3, "ensono_number", "line 2 has"), (4, "client_number", "line 2 giv")]
    assert check_pairs([pair("e-CHG1", "C1"), pair("e-CHG1", "C2", generation=2)]) == []


def test_there_may_be_so_many_pairs_and_no_more() -> None:
    pairs = [pair(f"e-CS{number}", f"INC{number}") for number in range(MOST_PAIRS + 1)]
    assert [problem.field for problem in check_pairs(pairs)] == ["pairs"]
    assert check_pairs(pairs[1:]) == []


def test_of_many_problems_the_first_are_told_and_all_are_counted() -> None:
    pairs = [pair("x", line=line) for line in range(100, 0, -1)]
    report = report_links(pairs, Examination((), 0, check_pairs(pairs)))
    assert (len(report.problems), report.problems_count, report.problems[0].line) == (MOST_TOLD, 100, 1)


# --- pairs beside the log ---


class Log:
    """A log in memory in which tickets have lived; `submit` folds what is linked, as actors do."""

    def __init__(self) -> None:
        self.store = MemoryStore(VirtualClock().now, TABLES)
        self.batches: list[Batch] = []

    async def live(self, *events: Event) -> None:
        life = given(*events)
        entries = [row for row in life.step.batch.rows if row.table == "outbox"] if life.step else []
        await self.store.commit(Batch(rows=[*ticket_rows(life.state, life.deltas), *entries]))

    async def submit(self, batch: Batch) -> None:
        self.batches.append(batch)
        rows = []
        for event in batch.events:
            acted = decode_event(event.kind, event.payload)
            assert isinstance(acted, OperatorActed)
            life = linked(acted, stream=event.stream)
            rows += ticket_rows(life.state, life.deltas)
        await self.store.commit(Batch(events=batch.events, rows=rows))

    async def link(self, *pairs: LinkPair) -> LinkReport:
        return await import_links(self.store, self.submit, pairs, who="ann", note="moved")


@pytest.fixture
async def log() -> Log:
    return Log()


async def test_pairs_become_acts_in_one_batch_and_none_a_second_time(log: Log) -> None:
    pairs = [pair(reference="9d38"), pair("e-CHG1", "C2", generation=2)]
    assert await log.link(*pairs) == LinkReport(2, 2, 0)
    (batch,) = log.batches
    told = [(event.stream, event.kind, decode_event(event.kind, event.payload)) for event in batch.events]
    assert told == [
        ("e-CS0000001", Kind.OPERATOR_ACTED, link("INC1", reference="9d38")),
        ("e-CHG1", Kind.OPERATOR_ACTED, link("C2", 2)),
    ]
    assert all(event.wanted for event in batch.events)
    assert await log.link(*pairs) == LinkReport(2, 0, 2)
    assert await log.link(*pairs, pair("e-CS3", "INC3")) == LinkReport(3, 1, 2)
    assert len(log.batches) == 2


@pytest.mark.parametrize(
    ("wrong", "field", "says"),
    [
        (pair("e-CS1", "INC7"), "client_number", "the log has 'LOCAL-0000001'"),
        (pair("e-CS1", "LOCAL-0000001", generation=2), "generation", "for generation 1: write that"),
        (pair("e-CS7", "LOCAL-0000001"), "client_number", "to e-CS1"),
        (pair("e-CS7", "INC9"), "client_number", "opened at Ensono's by ecproc"),
    ],
)
async def test_what_the_log_has_otherwise_is_in_the_way_of_all(
    log: Log, wrong: LinkPair, field: str, says: str
) -> None:
    await log.live(incident("Create", status="open"), succeed("create"))
    await log.store.commit(Batch(events=[NewEvent("client:INC9", Kind.COMMAND_ACCEPTED, b"{}")]))
    report = await log.link(pair("e-CS5", "INC5"), wrong)
    assert (report.imported, log.batches) == (0, [])
    assert [problem.field for problem in report.problems] == [field]
    assert says in report.problems[0].text


async def test_the_same_pair_that_a_message_told_is_known(log: Log) -> None:
    await log.live(incident("Create", status="open", clientTicketNumber="INC1"))
    assert await log.link(pair("e-CS1", "INC1")) == LinkReport(1, 0, 1)


async def test_a_ticket_whose_create_is_under_way_is_left_alone(log: Log) -> None:
    life = given(incident("Create", status="open"))
    await log.live(incident("Create", status="open"))
    await log.store.commit(Batch(rows=[entry_row("e-CS1", Entry(life.effects[0], 1))]))
    report = await log.link(pair("e-CS1", "INC7"))
    assert [problem.field for problem in report.problems] == ["ensono_number"]
    assert "create:e-CS1:g1 is available" in report.problems[0].text
    dead = Entry(life.effects[0], 1, EntryState.DISCARDED)
    await log.store.commit(Batch(rows=[entry_row("e-CS1", dead)]))
    assert (await examine_pairs(log.store, [pair("e-CS1", "INC7")])).problems == []


async def test_a_number_that_the_log_spells_otherwise_is_named_as_it_is_there(log: Log) -> None:
    await log.link(pair("e-CS1", "INC1"))
    found = await examine_pairs(log.store, [pair("e-CS1", "INC1"), pair("e-CS3", "INC2")])
    assert (found.known, len(found.fresh)) == (1, 1)
    await log.submit(Batch(events=[NewEvent("CS2", *encode_event(link("INC3")))]))
    report = await log.link(pair("e-CS2", "INC3"))
    assert "the log calls it 'CS2'" in report.problems[0].text


async def test_a_link_that_a_message_overtook_is_told(log: Log) -> None:
    async def submit(batch: Batch) -> None:
        await log.store.commit(Batch(events=batch.events))

    report = await import_links(log.store, submit, [PLAIN], who="ann", note="")
    assert (report.imported, report.problems_count) == (0, 1)
    assert "recorded too late" in report.problems[0].text
