"""`show` for a person: what can be typed about each thing that a ticket may wait for, and a timeline that fits."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from ecproc.cli.catalogue import COMMANDS
from ecproc.cli.document import draw_document
from ecproc.cli.output import write_human
from ecproc.cli.parser import build_parser
from ecproc.cli.timeline import draw_timeline
from ecproc.cli.verdict import draw_verdict, list_remedies
from ecproc.domain.events import (
    PAUSED_TICKET,
    Act,
    EffectFailed,
    EffectSucceeded,
    EffectUnknown,
    OperatorActed,
    TimerElapsed,
    TimerName,
)
from ecproc.domain.ids import EffectKey
from ecproc.domain.times import parse_time
from ecproc.fold.control import CONTROL_STREAM
from ecproc.fold.tables import TABLES
from ecproc.fold.tickets import MACHINES
from ecproc.reading.queries import Queries
from ecproc.reading.timeline import Happening, Timeline, TimelineEntry
from ecproc.reading.waiting import WaitWord
from ecproc.testing.ticket import START, approver, change, file, incident
from tests.unit.test_reading_waiting import CREATE, DAY, RETURN, Desk, linked

MINUTE = 60_000_000


async def remedies(desk: Desk, name: str = "e-CS1") -> Sequence[str]:
    """What can be typed, each of it a command line that its parser takes."""
    document = await Queries(desk.store, tables=TABLES.names, machines=MACHINES, entries=100).ticket(name)
    assert document is not None
    found = list_remedies(name, document)
    for line in found:
        program, *words = shlex.split(line)
        assert program == "ecproc"
        command = next(item for item in COMMANDS if words[: len(item.name.split())] == item.name.split())
        build_parser([command]).parse_args(words, exit_on_error=False, print_error=False)
    return found


async def test_what_waits_for_nothing_needs_nothing() -> None:
    assert await remedies(await linked()) == ()


async def test_what_goes_on_by_itself_can_be_looked_at() -> None:
    desk = Desk()
    await desk.receive(incident("Create", status="open"))
    assert await remedies(desk) == ("ecproc outbox list --ticket e-CS1",)
    await desk.tell(EffectUnknown(CREATE, "timeout", 1))
    assert await remedies(desk) == ("ecproc outbox list --ticket e-CS1",)


async def test_a_dead_letter_can_be_retried_or_discarded_by_its_key() -> None:
    desk = await linked()
    await desk.receive(incident("Attachment", **file("f 1; rm")))
    (key,) = [row.id for row in await desk.store.read_rows("outbox", stream="e-CS1") if row.tag is not None]
    await desk.tell(EffectFailed(EffectKey(key), "404, then retry or discard", blamed=True))
    quoted = shlex.quote(key)
    assert await remedies(desk) == (
        f"ecproc outbox show {quoted}",
        f"ecproc outbox retry {quoted} --wait",
        f"ecproc outbox discard {quoted} --note TEXT",
    )


async def test_what_is_paused_is_resumed_where_it_was_paused() -> None:
    desk = Desk()
    await desk.receive(incident("Create", status="open"))
    await desk.tell(OperatorActed(Act.PAUSE, "ann", "why not", what="desk"), stream=CONTROL_STREAM)
    assert await remedies(desk) == ("ecproc resume desk",)
    await desk.tell(OperatorActed(Act.PAUSE, "ann", what=PAUSED_TICKET))
    assert await remedies(desk) == ("ecproc resume e-CS1",)


async def test_a_parked_ticket_is_taken_up_again() -> None:
    desk = await linked()
    await desk.receive(incident("Update", status="open", changed={"priority": "2"}), decided=False)
    desk.now += DAY
    await desk.receive(incident("Create", status="open", ticketNumber="e-CS2", envelope=GROUP), decided=False)
    assert await remedies(desk) == ("ecproc events e-CS1", "ecproc resume e-CS1")


GROUP = {"Attributes": {"MessageGroupId": "e-CS2"}}


async def test_each_open_approval_can_be_answered() -> None:
    desk = Desk()
    await desk.receive(change("Create", state="Assess", type="Normal"))
    await desk.receive(change("Approval Request", state="Assess", type="Normal", **approver("a1")))
    while keys := [row.id for row in await desk.store.read_rows("outbox", stream="e-CHG1") if row.tag is not None]:
        results = [EffectSucceeded(EffectKey(key), {"number": "LOCAL-1"} if "create" in key else {}) for key in keys]
        await desk.tell(*results, stream="e-CHG1")
    end = "e-CHG1 --approver a@x.com --comment TEXT"
    assert await remedies(desk, "e-CHG1") == [f"ecproc send approve {end}", f"ecproc send reject {end}"]


@pytest.mark.parametrize("word", WaitWord)
@pytest.mark.parametrize("who", ["nobody", "operator", "client", "ensono"])
def test_a_hint_in_other_words_breaks_nothing(word: str, who: str) -> None:
    waits = {"what": word, "who": who, "hint": "as nobody wrote it", "since": None, "until": None}
    document: dict[str, Any] = {"waiting_for": waits, "approvals": []}
    for line in list_remedies("e-CS1; rm -r", msgspec.json.encode(document)):
        assert line.startswith("ecproc ")
        assert ";" not in line.replace(shlex.quote("e-CS1; rm -r"), "")


@pytest.mark.parametrize(
    ("until", "runs", "who", "end"),
    [
        ("2026-02-02T12:04:00Z", True, "nobody", " until 2026-02-02 12:04:00Z (in 4m); it goes on by itself"),
        ("2026-02-02T11:56:00Z", True, "nobody", ", was due 4m ago; it goes on by itself"),
        ("2026-02-02T11:56:00Z", False, "nobody", ", was due 4m ago; no processor runs, and nothing goes on until one"),
        ("2026-02-02T11:56:00Z", False, "operator", ", was due 4m ago; it is the operator's turn"),
    ],
)
def test_a_verdict_tells_what_is_overdue_and_that_no_processor_runs(until: str, runs: bool, who: str, end: str) -> None:
    waits = {"what": "desk", "who": who, "hint": "h", "since": None, "until": until}
    now = parse_time("2026-02-02T12:00:00Z") or 0
    assert draw_verdict(waits, now=now, runs=runs).plain.startswith(f"waits for desk{end}")


# --- the timeline -----------------------------------------------------------------------------------------------------


async def tell(desk: Desk, name: str = "e-CS1", **more: Any) -> list[tuple[Happening, str, str]]:
    queries = Queries(desk.store, tables=TABLES.names, machines=MACHINES, entries=100)
    timeline = await queries.timeline(name, **more)
    assert timeline is not None
    return [(entry.what, entry.title, entry.text) for entry in timeline.entries]


@pytest.mark.requirement("R208")
async def test_a_life_is_told_with_all_that_belongs_to_it() -> None:
    desk = Desk()
    await desk.receive(incident("Create", status="open", shortDescription="Dark"))
    await desk.tell(EffectFailed(CREATE, "503", blamed=False, next_attempt_at=(START + 60) * 1_000_000))
    desk.now += 2 * MINUTE
    await desk.tell(EffectSucceeded(CREATE, {"number": "LOCAL-1"}))
    await desk.receive(incident("Notes", status="open", notes={"id": "n1", "body": "one\ntwo", "commenter": "Ann"}))
    await desk.tell(OperatorActed(Act.RETRY, "ann", "because", key=EffectKey("note:e-CS1:n1")))
    await desk.receive(incident("Closure", status="resolved", changed={"status": "resolved"}))
    await desk.tell(TimerElapsed(TimerName.PRESUMED_CLOSED, ""))
    told = await tell(desk)
    for line in (
        (Happening.MESSAGE, "Create", ""),
        (Happening.MOVE, "open", ""),
        (Happening.EFFECT, "create_client_ticket planned", CREATE),
        (Happening.EFFECT, "create_client_ticket failed, attempt 1", "503\nagain at 2023-11-14T22:14:20Z"),
        (Happening.EFFECT, "create_client_ticket done, attempt 2", "number LOCAL-1"),
        (Happening.NUMBER, "client ticket LOCAL-1 created, Ensono lacks it", ""),
        (Happening.NOTE, "Ann", "one\ntwo"),
        (Happening.OPERATOR, "retry note:e-CS1:n1 by ann", "because"),
        (Happening.MOVE, "open → resolved", ""),
    ):
        assert line in told, line
    assert any(what is Happening.FIELDS and "shortDescription: Dark" in text for what, _, text in told)
    assert any(what is Happening.TIMER and title == "presumed_closed is overdue" for what, title, _ in told)
    assert told.index((Happening.MESSAGE, "Create", "")) == 0
    assert await tell(desk, "cs1") == await tell(desk, "LOCAL-1") == told
    assert await tell(desk, at=1) == told[: len(await tell(desk, at=1))]


@pytest.mark.requirement("R271")
async def test_a_call_is_told_from_what_led_to_it_to_its_answer() -> None:
    desk = Desk()
    await desk.receive(incident("Create", status="open"))
    await desk.tell(EffectSucceeded(CREATE, {"number": "LOCAL-1"}))
    call = {"method": "PUT", "path": "/tickets/e-CS1/returnptn"}
    await desk.tell(EffectUnknown(RETURN, "timeout", (START + 60) * 1_000_000, "req-7", call=call))
    await desk.tell(EffectFailed(RETURN, "no", True, parked=True, call={**call, "status": "400"}))
    await desk.tell(EffectSucceeded(RETURN, {**call, "status": "200", "answer": "PTN added", "sha256": "00"}))
    told = await tell(desk)
    own = [(title, text) for what, title, text in told if title.startswith("return_client_number")]
    assert own == [
        ("return_client_number planned", RETURN),
        (
            "return_client_number may have been done, attempt 1",
            "timeout\nPUT /tickets/e-CS1/returnptn\nrequest req-7\nagain at 2023-11-14T22:14:20Z",
        ),
        ("return_client_number parked, attempt 2", "no\nPUT /tickets/e-CS1/returnptn 400"),
        ("return_client_number done, attempt 3", "PUT /tickets/e-CS1/returnptn 200, answer PTN added"),
    ]
    titles = [title for _, title, _ in told]
    assert titles.index("Create") < titles.index("create_client_ticket planned") < titles.index(own[0][0])


async def test_of_a_long_life_the_newest_part_is_told_and_all_of_it_counted() -> None:
    desk = await linked()
    whole = await tell(desk)
    queries = Queries(desk.store, tables=TABLES.names, machines=MACHINES, entries=3)
    timeline = await queries.timeline("e-CS1")
    assert timeline is not None
    assert timeline.count == len(whole) > 3
    assert [(entry.what, entry.title, entry.text) for entry in timeline.entries] == whole[-3:]
    assert await queries.timeline("e-CS2") is None


def draw(timeline: Timeline, capsys: pytest.CaptureFixture[str], *, full: bool = False) -> list[str]:
    now = parse_time("2026-02-02T12:00:00Z") or 0
    write_human(*draw_timeline(timeline, now=now, full=full))
    sys.stdout.flush()
    return capsys.readouterr().out.splitlines()


def entry(at: str, what: Happening, title: str, text: str = "", took: int | None = None) -> TimelineEntry:
    return TimelineEntry(4242, f"2026-{at}.000000Z", what, title, text, took)


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setenv("NO_COLOR", "1")


@pytest.mark.usefixtures("narrow")
def test_a_timeline_tells_days_gaps_and_what_took_long(capsys: pytest.CaptureFixture[str]) -> None:
    entries = (
        entry("01-31T10:00:00", Happening.MESSAGE, "Create"),
        entry("01-31T10:00:00", Happening.MOVE, "open"),
        msgspec.structs.replace(entry("01-31T13:05:00", Happening.EFFECT, "x done", "ok", 3 * MINUTE), position=4243),
        msgspec.structs.replace(entry("02-01T13:05:00", Happening.NOTE, "Ann", "one\ntwo"), position=4250),
    )
    assert draw(Timeline(entries, 9), capsys) == [
        "",
        "Timeline (the last 4 of 9)",
        "  2026-01-31  1d ago",
        "  10:00:00Z          4242  message  Create",
        "                           move     open",
        "  13:05:00Z  +3h 5m  4243  effect   x done after 3m: ok",
        "  2026-02-01  22h ago",
        "  13:05:00Z  +1d     4250  note     Ann: one (+1 line)",
    ]
    assert draw(Timeline(entries, 4), capsys, full=True)[-2:] == [
        "  13:05:00Z  +1d     4250  note     Ann: one",
        "                                    two",
    ]


@pytest.mark.usefixtures("narrow")
def test_a_long_text_is_cut_unless_it_is_asked_for_in_full(capsys: pytest.CaptureFixture[str]) -> None:
    entries = (entry("01-31T10:00:00", Happening.NOTE, "Ann", "x" * 200_000),)
    cut = "".join("".join(draw(Timeline(entries, 1), capsys)).split())
    assert cut.endswith("x…(200,000characters,--full)")
    assert cut.count("x") == 300
    assert "".join(draw(Timeline(entries, 1), capsys, full=True)).count("x") == 200_000


@pytest.mark.usefixtures("narrow")
def test_fields_of_any_kind_are_cut(capsys: pytest.CaptureFixture[str]) -> None:
    fields = {"text": "x" * 5000, "list": ["y" * 5000]}
    document = {"ticket": "e-CS1", "version": 1, "position": 1, "updated_at": "", "state": None, "effects": []}
    drawn = draw_document(msgspec.json.encode(document | {"fields": fields}), Timeline((), 0), now=0)
    write_human(*drawn)
    shown = capsys.readouterr().out
    assert shown.count("characters, --full)") == 2
    assert (shown.count("x"), shown.count("y") < 310) == (301, True)


@pytest.mark.usefixtures("narrow")
def test_a_timeline_fits_eighty_columns(capsys: pytest.CaptureFixture[str]) -> None:
    long = "a-name-that-has-no-end" * 9
    entries = tuple(entry("01-31T10:00:00", what, f"title {long}", f"text {long}") for what in Happening)
    for full in (False, True):
        lines = draw(Timeline(entries, len(entries)), capsys, full=full)
        assert max(map(len, lines)) <= 80
        assert "".join(part.strip() for part in lines).count("a-name") >= len(entries)
