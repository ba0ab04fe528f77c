"""What the watch of a ServiceNow instance tells, and what it leaves out as our own doing."""

from __future__ import annotations

import hashlib
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ecproc import mapping
from ecproc.desk.base import DeskCall, DeskRefused, DeskUnavailable, News, StoredFile
from ecproc.desk.servicenow.feed import Heard, RoundCursor, TableMark, WatchedTable, go_round, read_cursor, write_cursor
from ecproc.domain.external import ExternalDecision, ExternalKind
from ecproc.mapping.load import load_mapping
from ecproc.simulator.servicenow.faults import FaultRule, InstanceFault
from ecproc.simulator.servicenow.instance import Author
from ecproc.testing.watch import WatchRound
from tests.instance import STANDARD, DirectInstance

pytestmark = pytest.mark.anyio
INCIDENT = "incident"


def kinds(news: WatchRound, kind: ExternalKind) -> list[News]:
    return [each for page in news.pages for each in page if each.event.kind is kind]


async def read_later(at: DirectInstance, **options: Any) -> WatchRound:
    """A round that begins after the second of what was written."""
    at.clock.ahead += 1
    return await WatchRound(at.open_watch(**options)).read_all()


def create(at: DirectInstance, table: str = INCIDENT, **fields: str) -> dict[str, str]:
    return at.simulator.create(table, short_description="printer on fire", **fields)


def write_as_us(at: DirectInstance, table: str, sys_id: str, **fields: str) -> None:
    author = Author(STANDARD.username, at.clock.seconds(), machine=True, is_bound=False)
    at.simulator.service.instance.change(table, sys_id, fields, author)


async def perform(at: DirectInstance, key: str, kind: str, record: dict[str, str], **fields: str) -> None:
    call = DeskCall(
        key=key,
        kind=kind,
        ticket="e-CS1",
        ticket_type="Incident",
        number=record["number"],
        reference=record["sys_id"],
        fields=fields,
    )
    await at.desk.perform(call)


async def test_a_quiet_poll_costs_one_request_per_watched_table_and_moves_nothing() -> None:
    at = DirectInstance()
    create(at)
    watch = at.open_watch()
    cursor = (await WatchRound(watch).read_all()).cursor
    at.clock.ahead += 600
    at.session.asked.clear()
    quiet = await WatchRound(watch, cursor).read_all()
    assert (quiet.cursor, len(quiet.ids)) == (cursor, 1), "the newest row is read again"
    tables = Counter(asked.partition("?")[0].rpartition("/")[2] for asked in at.session.asked)
    assert tables == dict.fromkeys(
        ("sys_journal_field", "sys_attachment", "incident", "sc_req_item", "change_request"), 1
    )


@pytest.mark.requirement("R83")
async def test_a_record_is_told_as_it_is_there_and_in_the_guide_s_words() -> None:
    at = DirectInstance()
    made = create(at, impact="1", urgency="2")
    at.simulator.edit(INCIDENT, made["sys_id"], by="abel.tuter", state="2")
    [news] = kinds(await read_later(at), ExternalKind.RECORD)
    event = news.event
    assert (event.id, event.stamp) == (f"rec:{made['sys_id']}:1", 1)
    assert (event.number, event.reference, event.by) == (made["number"], made["sys_id"], "abel.tuter")
    assert event.view["status"] == ("2", "workinprogress"), "raw, and never as it is displayed"
    assert event.view["priority"] == ("1/2", "2")
    assert event.mapping == at.mapping.hash
    assert msgspec.json.decode(event.body)["number"] == made["number"]


async def test_what_our_template_put_into_a_text_is_no_part_of_it() -> None:
    at = DirectInstance()
    answer = await at.desk.perform(
        DeskCall(
            key="create:e-CS7:g1",
            kind="create_client_ticket",
            ticket="e-CS7",
            ticket_type="Incident",
            number=None,
            fields={"shortDescription": "disk full", "status": "open", "priority": "3"},
        )
    )
    [news] = kinds(await read_later(at), ExternalKind.RECORD)
    raw, told = news.event.view["shortDescription"]
    assert (raw, told) == ("[e-CS7] disk full", "disk full")
    assert answer.view == {name: raw for name, (raw, _) in news.event.view.items()}, "the shadow is what is read later"
    assert answer.stamp == news.event.stamp


async def test_a_group_is_told_by_its_name_by_the_poll_and_by_our_own_write_alike() -> None:
    built_in = Path(mapping.__file__).with_name("servicenow.toml").read_text(encoding="utf-8")
    rule = '[[from_desk]]\ntype = "any"\nfield = "group"\nfrom = "assignment_group"\nreference = "group"\n'
    text = built_in + rule + 'map = { "Network" = "Network Support" }\ndefault = "Service Desk"\n'
    at = DirectInstance(mapping=load_mapping(text, source="mapping.toml"))
    made = create(at)
    call = DeskCall(
        key="upd:1",
        kind="update_client_ticket",
        ticket="e-CS1",
        ticket_type="Incident",
        number=made["number"],
        reference=made["sys_id"],
        fields={"group": "Network"},
    )
    answer = await at.desk.perform(call)
    [news] = kinds(await read_later(at), ExternalKind.RECORD)
    assert news.event.view["group"] == ("Network", "Network Support")
    assert answer.view == {"group": "Network"}, "and nothing that we did not write"


async def test_of_our_own_note_a_note_of_ensono_s_and_a_person_s_only_the_person_s_is_told() -> None:
    at = DirectInstance()
    made = create(at)
    await perform(at, "note:e-CS1:1", "comment_client_ticket", made, body="from Ensono", author="Ann")
    write_as_us(at, INCIDENT, made["sys_id"], comments="told by another program of our user's")
    for text in ("I need it today", "you wrote\n[Ensono note 1]\nwhat does that mean?", "[Ensono note 12] is wrong"):
        at.simulator.comment(INCIDENT, made["sys_id"], text, by="abel.tuter")
    at.simulator.comment(INCIDENT, made["sys_id"], "between us", by="abel.tuter", field="work_notes")
    told = kinds(await read_later(at), ExternalKind.NOTE)
    assert sorted(news.event.note.body for news in told if news.event.note) == [
        "I need it today",
        "[Ensono note 12] is wrong",
        "you wrote\n[Ensono note 1]\nwhat does that mean?",
    ]
    assert {(news.event.number, news.event.by) for news in told} == {(made["number"], "abel.tuter")}


async def test_a_note_of_ours_is_known_where_nobody_told_who_we_are() -> None:
    at = DirectInstance(username="")
    made = create(at)
    await perform(at, "note:e-CS1:1", "comment_client_ticket", made, body="from Ensono")
    assert kinds(await read_later(at), ExternalKind.NOTE) == []


async def test_work_notes_go_to_ensono_where_that_is_asked_for() -> None:
    at = DirectInstance(notes_out=("work_notes",))
    made = create(at)
    at.simulator.comment(INCIDENT, made["sys_id"], "aloud", by="abel.tuter")
    at.simulator.comment(INCIDENT, made["sys_id"], "within", by="abel.tuter", field="work_notes")
    told = kinds(await read_later(at), ExternalKind.NOTE)
    assert [news.event.note.body for news in told if news.event.note] == ["within"]


async def test_a_change_by_our_own_user_is_told_like_any_other() -> None:
    at = DirectInstance()
    made = create(at)
    write_as_us(at, INCIDENT, made["sys_id"], urgency="1")
    told = kinds(await read_later(at), ExternalKind.RECORD)
    assert [news.event.id for news in told] == [f"rec:{made['sys_id']}:1"], "who changed it last says nothing"


async def test_a_file_that_we_handed_over_is_no_news_and_its_namesake_is() -> None:
    at = DirectInstance()
    made = create(at)
    content = b"our log"
    stored = StoredFile("log.txt", "text/plain", len(content), hashlib.sha256(content).hexdigest(), Path("x"))
    at.handed[made["number"]] = [stored]
    at.simulator.attach((INCIDENT, made["sys_id"]), "log.txt", content, by=STANDARD.username)
    at.simulator.attach((INCIDENT, made["sys_id"]), "log.txt", b"my log!", by="abel.tuter")
    at.simulator.attach((INCIDENT, made["sys_id"]), "copy.txt", content, by="abel.tuter")
    at.clock.ahead += 1
    watch = at.open_watch()
    told = kinds(await WatchRound(watch).read_all(), ExternalKind.ATTACHMENT)
    assert sorted((news.name, news.size) for news in told) == [("copy.txt", 7), ("log.txt", 7)]

    theirs = next(news for news in told if news.name == "log.txt")
    got = bytearray()

    async def write(piece: bytes) -> None:
        got.extend(piece)

    await watch.fetch(theirs.file, write, 7)
    assert bytes(got) == b"my log!"
    with pytest.raises(DeskRefused, match="more than 6 bytes"):
        await watch.fetch(theirs.file, write, 6)
    at.simulator.delete("sys_attachment", theirs.file)
    with pytest.raises(DeskRefused, match="gone"):
        await watch.fetch(theirs.file, write, 7)


async def test_what_was_said_is_told_before_the_end_that_came_in_the_middle_of_a_round() -> None:
    at = DirectInstance()
    made = create(at)
    at.simulator.attach((INCIDENT, made["sys_id"]), "log.txt", b"log", by="abel.tuter")
    at.clock.ahead += 5
    reading = WatchRound(at.open_watch())
    await reading.read_page()  # of files: the journal was read before
    at.clock.ahead += 1
    at.simulator.edit(INCIDENT, made["sys_id"], by="abel.tuter", comments="it works again", state="6")
    await reading.read_all()
    pages = [[news.event.kind for news in page] for page in reading.pages if page]
    assert pages[-1][:1] == [ExternalKind.NOTE]
    assert pages[-1][-1] == ExternalKind.RECORD


@pytest.mark.requirement("R172")
async def test_an_approver_s_answer_is_told_with_its_reason() -> None:
    at = DirectInstance(approvals="approver_record")
    change = create(at, "change_request", type="normal")
    user = at.simulator.find("sys_user", "user_name=abel.tuter")[0]
    row = at.simulator.create(
        "sysapproval_approver", sysapproval=change["sys_id"], approver=user["sys_id"], state="requested"
    )
    watch = at.open_watch()
    assert kinds(await WatchRound(watch).read_all(), ExternalKind.APPROVAL) == []
    at.simulator.edit("sysapproval_approver", row["sys_id"], by="abel.tuter", state="rejected", comments="too late")
    at.clock.ahead += 1
    [news] = kinds(await WatchRound(watch).read_all(), ExternalKind.APPROVAL)
    assert (news.event.id, news.event.number) == (f"apr:{row['sys_id']}:1", change["number"])
    assert news.event.decision == ExternalDecision(False, "abel.tuter@example.com", "too late")


@pytest.mark.requirement("R172")
async def test_without_records_of_approvers_the_change_s_own_approval_decides() -> None:
    at = DirectInstance()
    normal, standard = create(at, "change_request", type="normal"), create(at, "change_request", type="standard")
    at.simulator.comment("change_request", normal["sys_id"], "not before the audit", by="abel.tuter")
    for change in (normal, standard):
        at.simulator.edit("change_request", change["sys_id"], by="abel.tuter", approval="rejected")
    [news] = kinds(await read_later(at), ExternalKind.APPROVAL)
    assert (news.event.number, news.event.id) == (normal["number"], f"apr:{normal['sys_id']}:2")
    assert news.event.decision == ExternalDecision(
        approved=False, approver="abel.tuter", comment="not before the audit"
    )


async def test_rows_that_nobody_shows_us_are_a_finding() -> None:
    at = DirectInstance()
    for _ in range(30):
        create(at)
    at.simulator.faults.inject(FaultRule(kind=InstanceFault.ACL_HIDE, table=INCIDENT, every=1, times=None))
    assert kinds(await read_later(at, page=10), ExternalKind.RECORD) == []
    assert any("incident has rows" in reason for reason in at.complaints)


async def test_a_table_that_we_may_not_read_keeps_no_other_from_being_heard_of() -> None:
    at = DirectInstance()
    watch = at.open_watch()
    rule = FaultRule(kind=InstanceFault.ACL_DENY, table="sys_journal_field", times=None)
    at.simulator.faults.inject(rule)
    cursor = ""
    written: list[str] = []
    told: list[str] = []
    for _ in range(3):
        written.append(create(at)["sys_id"])
        at.clock.ahead += 30
        reading = WatchRound(watch, cursor)
        with pytest.raises(DeskUnavailable):
            await reading.read_all()
        cursor, told = reading.cursor, [*told, *reading.records]
    assert set(told) >= {*written[1:]}, "what failed last is asked last"
    at.simulator.faults.clear()
    reading = await WatchRound(watch, cursor).read_all()
    assert {*told, *reading.records} == {*written}


async def test_an_instance_that_goes_by_no_query_is_not_believed() -> None:
    at = DirectInstance()
    create(at)
    at.clock.ahead += 3_600
    watch = at.open_watch()
    cursor = (await WatchRound(watch).read_all()).cursor
    at.clock.ahead += 86_400 * 3
    at.simulator.service.instance.database.schemas[INCIDENT] = msgspec.structs.replace(
        at.simulator.service.instance.database.schemas[INCIDENT],
        fields={
            name: spec
            for name, spec in at.simulator.service.instance.database.schemas[INCIDENT].fields.items()
            if name != "sys_updated_on"
        },
    )
    later = write_cursor(
        RoundCursor({name: TableMark("2030-01-01 00:00:00") for name in read_cursor(cursor).tables if name == INCIDENT})
    )
    told = await WatchRound(at.open_watch(backfill_hours=0), later).read_all()
    assert told.records == [], "rows without the time that they were asked for by are nobody's news"


@pytest.mark.parametrize("text", ["^active=true", "javascript:gs.sleep(1)", "a^ORb=c"])
async def test_foreign_text_stands_in_no_request(text: str) -> None:
    at = DirectInstance()
    made = at.simulator.create(INCIDENT, by=text, short_description=text, description=text, category=text)
    at.simulator.comment(INCIDENT, made["sys_id"], text, by=text)
    at.simulator.attach((INCIDENT, made["sys_id"]), text, b"log", by=text)
    watch = at.open_watch()
    await WatchRound(watch).read_all()
    await watch.read_again([made["sys_id"], text])
    assert at.simulator.ledger.scripts == 0
    assert all("javascript" not in asked and "active%3Dtrue" not in asked for asked in at.session.asked)


def test_a_cursor_of_another_set_of_tables_begins_new_ones_where_a_lost_one_would() -> None:
    tables = [WatchedTable(table=name, heard=Heard.RECORD, time="sys_updated_on", fields=()) for name in ("a", "b")]
    known = RoundCursor({"a": TableMark("2026-01-02 00:00:00"), "gone": TableMark("2026-01-02 00:00:00")})
    begun = go_round(known, tables, start="2026-01-01 00:00:00", overlap=60, anew=False)
    assert begun.tables == {
        "a": TableMark("2026-01-02 00:00:00", at="2026-01-01 23:59:00"),
        "b": TableMark("2026-01-01 00:00:00", at="2025-12-31 23:59:00"),
    }
    assert read_cursor(write_cursor(begun)) == begun


@pytest.mark.requirement("R83", "R215")
async def test_what_hangs_on_a_record_that_is_read_again_is_told_before_it() -> None:
    at = DirectInstance()
    record = create(at)
    at.simulator.comment(INCIDENT, record["sys_id"], "nobody can work", by="abel.tuter")
    at.simulator.attach((INCIDENT, record["sys_id"]), "proof.txt", b"proof", by="abel.tuter")
    at.clock.ahead += 10_000
    news = await at.open_watch().read_again([record["sys_id"]])
    assert [each.event.kind for each in news] == [ExternalKind.NOTE, ExternalKind.ATTACHMENT, ExternalKind.RECORD]


@pytest.mark.requirement("R97")
async def test_a_record_says_by_which_create_it_was_made_where_it_is_ours() -> None:
    at = DirectInstance()
    create(at, correlation_id="e-CS1:g1", correlation_display="ENSONO")
    create(at, correlation_id="e-CS1:g1", correlation_display="another")
    records = kinds(await read_later(at), ExternalKind.RECORD)
    assert sorted(each.event.key for each in records) == ["", "create:e-CS1:g1"]
