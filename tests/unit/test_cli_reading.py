"""The commands that read, called in this process on a small log: documents, event lines, lists, replay, verify."""

import base64
import hashlib
import json
import shutil
import sqlite3
import sys
from collections.abc import Callable
from contextlib import closing
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, NoReturn

import anyio
import msgspec
import pytest

from ecproc.cli import main
from ecproc.cli.document import draw_document
from ecproc.cli.output import write_human
from ecproc.config import DataConfig
from ecproc.domain.events import EffectFailed, EffectSucceeded, Message
from ecproc.domain.ids import EffectKey
from ecproc.domain.log import Batch, NewEvent
from ecproc.domain.policy import Policy
from ecproc.errors import ExitCode
from ecproc.fold.recorded import Kind, encode_event
from ecproc.fold.step import take_step
from ecproc.fold.stream import StreamFold
from ecproc.fold.tables import TABLES
from ecproc.fold.tickets import MACHINES, TicketMachine
from ecproc.reading.timeline import Happening, Timeline, TimelineEntry
from ecproc.store.checks import read_checks
from ecproc.store.opening import open_store
from ecproc.wire.queue import decode_message

pytestmark = pytest.mark.usefixtures("logging_restored")

CANARY = "canarysignature"
INCIDENT = "e-CS0879727"
CREATE, DOWNLOAD = f"create:{INCIDENT}:g1", f"att:{INCIDENT}:abc"
QUARANTINED = b'{"ticketNumber":"e-CS9","attachment":"https:\\/\\/h\\/f?sig=' + CANARY.encode() + b'","bad":"\xff",}'
STARTED = 1_700_000_000_000_000

Json = Any


def write_message(name: str, group: str, transaction: str, body: bytes, *, sequence: str) -> bytes:
    """One message as the queue delivers it."""
    attributes = {"MessageGroupId": group, "TransactionType": transaction, "SentTimestamp": "1699999999000"}
    text = json.dumps(attributes)[:-1] + f', "SequenceNumber": {sequence}}}'
    return b'{"MessageId":"%s","ReceiptHandle":"AQEBx","MD5OfBody":"0","Body":%s,"Attributes":%s}' % (
        name.encode(),
        body,
        text.encode(),
    )


def write_attachment() -> bytes:
    """An attachment's body over several lines, with an escaped URL, a big number and a line separator."""
    return (
        '{\n  "ticketNumber": "e-CS0879727",\r\n  "ticketType": "Incident",\n'
        '  "attachmentName": "a.txt", "attachmentInfo": "https://h/api/now/attachment/abc", "odd": "x\u2028y",\n'
        f'  "big": 123456789012345678901234567890, "attachment": "https:\\/\\/b.s3.amazonaws.com\\/f?sig={CANARY}"\n}}'
    ).encode()


async def build_log(directory: Path, create: bytes) -> None:
    """A ticket that got its client ticket and waits for a download, and a message that could not be taken."""
    ticking = count(STARTED, 1_000_000)
    store = await open_store(DataConfig(dir=directory), TABLES, now=lambda: next(ticking), identity={"host": "h"})
    messages = [
        write_message("m-1", INCIDENT, "Create", create, sequence='"18875507807458288128"'),
        write_message("m-2", INCIDENT, "Attachment", write_attachment(), sequence="18875507807458288129"),
        write_message("m-3", "e-CS9", "Create", QUARANTINED, sequence='"18875507807458288130"'),
    ]
    for envelope in map(decode_message, messages):
        event = NewEvent(envelope.stream, Kind.MESSAGE_RECEIVED, envelope.payload, envelope.key, wanted=True)
        await store.commit(Batch([event]))
    created = EffectSucceeded(EffectKey(f"create:{INCIDENT}:g1"), {"number": "LOCAL-0000001", "state": "open"})
    failed = EffectFailed(EffectKey(f"att:{INCIDENT}:abc"), f"403 from https://h/f?sig={CANARY}", False, STARTED)
    for outcomes in ((), (created, failed)):
        await store.commit(Batch([NewEvent(INCIDENT, *encode_event(outcome), wanted=True) for outcome in outcomes]))
        for stream in await store.undecided_streams():
            fold = StreamFold(stream, MACHINES.of(stream))
            fold.extend(await store.read_stream(stream))
            await store.commit(
                take_step(fold, policy=Policy(), client_name="testClient", limit=100, snapshot_events=100).batch
            )
    await store.aclose()


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data directory with the small log; its live rows were rebuilt from it."""
    directory = tmp_path_factory.mktemp("cli") / "data"
    create = (Path(__file__).parents[1] / "fixtures" / "messages" / "incident-create.json").read_bytes()
    body = bytes(msgspec.json.decode(create, type=dict[str, msgspec.Raw])["Body"])
    anyio.run(partial(build_log, directory, body))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ECPROC_DATA__DIR", str(directory))
        assert main(["replay"]) == 0
    return directory


@pytest.fixture
def call(
    built: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> Callable[..., str]:
    """Run a command on the small log and give what it printed; it must exit with `code`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ECPROC_DATA__DIR", str(built))

    def run(*arguments: str, code: int = 0) -> str:
        assert main(arguments) == code
        return capsys.readouterr().out

    return run


@pytest.fixture
def at_terminal(call: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """The same with a terminal to print on."""
    monkeypatch.setenv("COLUMNS", "140")
    monkeypatch.setenv("TERM", "dumb")

    def run(*arguments: str, code: int = 0) -> str:
        monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
        return call(*arguments, code=code)

    return run


def read_events(call: Callable[..., str], *arguments: str) -> list[Json]:
    """The lines of `events`, as any reader takes them."""
    return [json.loads(line) for line in call("events", *arguments).splitlines()]


@pytest.mark.requirement("R208", "R49")
@pytest.mark.parametrize("number", ["LOCAL-0000001", "cs0879727", "E-CS0879727"])
def test_the_whole_story_is_told_from_either_number(call: Callable[..., str], number: str) -> None:
    told = json.loads(call("show", number))

    assert told == json.loads(call("show", INCIDENT))
    assert [moved["to"] for moved in told["history"]] == ["open"]
    assert [file["id"] for file in told["attachments"]] == ["abc"]
    assert {effect["key"] for effect in told["effects"]} >= {CREATE, DOWNLOAD, f"returnptn:{INCIDENT}:LOCAL-0000001"}
    assert told["waiting_for"] is not None


@pytest.mark.requirement("R142", "R230")
@pytest.mark.parametrize("verify", [True, False])
def test_a_replay_asks_nobody(
    built: Path, call: Callable[..., str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, verify: bool
) -> None:
    def refuse(*_: object, **__: object) -> NoReturn:
        raise AssertionError("a replay went to the network")

    data = shutil.copytree(built, tmp_path / "data")
    monkeypatch.setenv("ECPROC_DATA__DIR", str(data))
    for name in ("connect", "connect_ex", "sendto"):
        monkeypatch.setattr(f"socket.socket.{name}", refuse)
    monkeypatch.setattr("socket.getaddrinfo", refuse)

    report = json.loads(call("replay", "--processes", "1", *(["--verify"] if verify else [])))

    assert report["tickets"] == 1
    (file,) = json.loads(call("show", INCIDENT))["attachments"]
    assert file["status"] != "stored"


@pytest.mark.requirement("R202")
def test_an_event_line_has_the_members_of_the_contract(call: Callable[..., str], built: Path) -> None:
    events = read_events(call)
    received, own = events[1], next(event for event in events if event["kind"] == "Decided")
    names = ["position", "stream", "stream_version", "at", "kind", "message_id", "data", "hash"]
    assert list(received) == names
    assert list(own) == [name for name in names if name != "message_id"]
    assert received["position"] == 2
    assert received["stream"] == INCIDENT
    assert received["stream_version"] == 1
    assert received["message_id"] == "m-1"
    assert received["at"] == "2023-11-14T22:13:21.000000Z"
    assert list(received["data"]) == ["attributes", "body"]
    with sqlite3.connect(built / "ecproc.db") as connection:
        hashes = connection.execute("SELECT hash FROM event ORDER BY position").fetchall()
    connection.close()
    assert [bytes.fromhex(event["hash"]) for event in events] == [row[0] for row in hashes]
    assert [event["position"] for event in events] == list(range(1, len(events) + 1))


def test_a_body_is_printed_as_received_on_one_line(call: Callable[..., str]) -> None:
    line = call("events", "--reveal").splitlines()[2]
    event = json.loads(line)
    assert event["data"]["body"] == json.loads(write_attachment())
    assert "123456789012345678901234567890" in line
    assert event["data"]["attributes"]["SequenceNumber"] == "18875507807458288129"


def test_a_body_that_is_no_json_is_text_with_its_bytes(call: Callable[..., str]) -> None:
    event = read_events(call, "e-CS9", "--reveal")[0]
    assert event["data"]["body"] == QUARANTINED.decode("utf-8", "replace")
    assert base64.b64decode(event["data"]["body_base64"]) == QUARANTINED


@pytest.mark.requirement("R202", "I11")
def test_url_queries_are_masked_unless_revealed(call: Callable[..., str]) -> None:
    commands = [["events"], ["tickets"], ["show", INCIDENT], ["outbox", "list"], ["quarantine", "list"]]
    for command in commands:
        shown = call(*command)
        assert CANARY not in shown
        assert not any(CANARY.encode() in text for text in find_base64(shown))
    for command in (["events"], ["outbox", "list"], ["quarantine", "list"]):
        revealed = call(*command, "--reveal")
        assert CANARY in revealed
        assert command[0] == "outbox" or any(CANARY.encode() in text for text in find_base64(revealed))


def find_base64(text: str) -> list[bytes]:
    """Every body that is given in base64."""
    return [base64.b64decode(part.partition('"')[0]) for part in text.split('"body_base64":"')[1:]]


def test_times_of_own_events_are_text(call: Callable[..., str]) -> None:
    failed = next(event for event in read_events(call) if event["kind"] == "EffectFailed")
    assert failed["data"]["next_attempt_at"] == "2023-11-14T22:13:20.000000Z"
    decided = next(event for event in read_events(call, INCIDENT) if event["kind"] == "Decided")
    assert decided["data"]["effects"][0]["key"] == f"create:{INCIDENT}:g1"
    assert decided["data"]["effects"][0]["at"].endswith("Z")


def test_events_of_one_ticket_and_behind_a_position(call: Callable[..., str]) -> None:
    everything = read_events(call)
    own = [event for event in everything if event["stream"] == INCIDENT]
    assert read_events(call, "cs0879727") == own
    assert read_events(call, "LOCAL-0000001", "--after", "3") == [event for event in own if event["position"] > 3]
    assert read_events(call, "--after", "4") == everything[4:]
    assert read_events(call, "ecproc") == everything[:1]


@pytest.mark.requirement("C27")
@pytest.mark.parametrize("number", [INCIDENT, "CS0879727", "E-cs0879727", "LOCAL-0000001"])
def test_show_takes_either_number_in_any_spelling(call: Callable[..., str], number: str) -> None:
    document = json.loads(call("show", number))
    assert document["ticket"] == INCIDENT
    assert document["client_ticket"] == "LOCAL-0000001"


def test_tickets_prints_the_documents_that_show_prints(call: Callable[..., str]) -> None:
    (line,) = call("tickets").splitlines()
    assert json.loads(line) == json.loads(call("show", INCIDENT))
    assert call("tickets", "--state", "open", "--type", "Incident").splitlines() == [line]
    assert call("tickets", "--state", "closed") == ""
    assert call("tickets", "--type", "Change") == ""


@pytest.mark.parametrize(
    ("conditions", "found"),
    [
        (["--search", "CS0879"], True),
        (["--search", "e-cs0879727"], True),
        (["--search", "local-0000001"], True),
        (["--search", "nothing of it"], False),
        (["--waiting", "attachment"], True),
        (["--waiting", "attachment", "--state", "closed"], False),
        (["--waiting", "desk"], False),
        (["--anomaly", "gap"], False),
        (["--since", "2023-11-14"], True),
        (["--since", "7d"], False),
    ],
    ids=str,
)
def test_tickets_are_those_that_meet_every_condition(
    conditions: list[str], found: bool, call: Callable[..., str]
) -> None:
    assert [json.loads(line)["ticket"] for line in call("tickets", *conditions).splitlines()] == [INCIDENT] * found


@pytest.mark.usefixtures("call")
def test_a_person_sees_how_many_tickets_there_are_besides(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    for conditions, told in (
        (["--waiting", "desk"], "0 of 1 tickets"),
        ([], "1 of 1 tickets"),
        (["--limit", "1"], "1 of 1 tickets, the first that match"),
    ):
        assert main(["tickets", *conditions]) == 0
        assert capsys.readouterr().err == f"{told}\n"


def test_a_ticket_is_one_line_that_says_what_is_the_matter(
    at_terminal: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "90")
    headings, row = at_terminal("tickets").splitlines()
    assert headings.split("  ")[0] == "ticket"
    assert row.split()[:4] == [INCIDENT, "Incident", "open", "LOCAL-0000001"]
    assert row[headings.index("waiting for") :].startswith("attachment")
    assert max(len(headings), len(row)) <= 90


def test_a_ticket_that_our_code_cannot_fold_is_shown_up_to_there(
    at_terminal: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    evolve = TicketMachine.evolve

    def stumble(state: Any, fact: Any, place: Any) -> Any:
        if isinstance(fact, Message) and fact.transaction == "Attachment":
            raise KeyError("a defect")
        return evolve(state, fact, place)

    whole = at_terminal("show", INCIDENT)
    monkeypatch.setattr(TicketMachine, "evolve", staticmethod(stumble))
    shown = at_terminal("show", INCIDENT)
    verdict, _, rest = shown.partition("Timeline")
    assert "waits for attachment since" in verdict
    timeline, fields, lists = rest.partition("\nFields")
    assert (fields, lists) == ("\nFields", whole.partition("\nFields")[2])
    told, _, defect = " ".join(timeline.split()).partition(" defect ")
    assert defect.startswith("ecproc raised KeyError: its defect keeps this event")
    assert told.endswith("message Attachment")
    assert " ".join(whole.partition("Timeline")[2].split()).startswith(told)


def test_show_at_a_position_is_the_ticket_as_of_then(call: Callable[..., str]) -> None:
    now = json.loads(call("show", INCIDENT))
    position = next(event["position"] for event in read_events(call, INCIDENT) if event["kind"] == "Decided")
    then = json.loads(call("show", INCIDENT, "--at", str(position)))
    assert (then["state"], then["client_ticket"]) == ("open", None)
    assert [effect["state"] for effect in then["effects"]] == ["available", "available"]
    assert now["effects"][0]["state"] == "completed"
    end = read_events(call)[-1]
    for behind_it in (str(end["position"]), "2023-11-15", "2023-11-15T00:00:00", "2023-11-15T02:00:00+02:00"):
        assert json.loads(call("show", INCIDENT, "--at", behind_it)) == now, behind_it
    decided = next(event for event in read_events(call, INCIDENT) if event["kind"] == "Decided")
    assert json.loads(call("show", INCIDENT, "--at", decided["at"].lower().replace("t", " ")))["position"] <= position


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["show", INCIDENT, "--at", "999999"], "there is no position 999999 yet; the log ends at position"),
        (["show", INCIDENT, "--at", "9999-12-31"], "9999-12-31 00:00:00Z is still to come; the log ends at position"),
        (["show", INCIDENT, "--at", "1970-01-01"], f"there was no ticket {INCIDENT} at 1970-01-01 00:00:00Z"),
        (["replay", "--until", "999999"], "there is no position 999999 yet; the log ends at position"),
    ],
)
@pytest.mark.usefixtures("call")
def test_a_moment_that_the_log_does_not_reach_is_no_answer(
    arguments: list[str], reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == ExitCode.FAILED
    assert reason in capsys.readouterr().err


def test_an_unknown_ticket_is_a_failure(call: Callable[..., str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", "e-CS1"]) == ExitCode.FAILED
    assert main(["events", "e-CS1"]) == ExitCode.FAILED
    assert main(["show", INCIDENT, "--at", "1"]) == ExitCode.FAILED
    assert capsys.readouterr().err.splitlines() == [
        "error: there is no ticket e-CS1",
        "error: there is no ticket e-CS1",
        f"error: there was no ticket {INCIDENT} at position 1",
    ]


def test_a_stream_that_is_no_ticket_is_told_by_its_name(
    call: Callable[..., str], at_terminal: Callable[..., str]
) -> None:
    (opened,) = {event["stream"] for event in read_events(call)} - {INCIDENT, "e-CS9"}
    told = json.loads(call("show", "e-CS9"))
    assert (told["stream"], told["timeline_count"]) == ("e-CS9", len(told["timeline"]))
    assert [entry["what"] for entry in told["timeline"]] == ["message", "quarantine"]
    shown = at_terminal("show", "e-CS9")
    assert shown.startswith("e-CS9  no ticket\n    ecproc events e-CS9\n    ecproc quarantine list\n")
    assert "undecodable" in shown
    assert CANARY not in shown
    assert at_terminal("show", opened).startswith(f"{opened}  no ticket\n    ecproc events {opened}\n")
    call("show", "e-CS9", "--at", "1", code=ExitCode.FAILED)


def test_the_outbox_lists_entries_with_state_and_lane(call: Callable[..., str]) -> None:
    entries = {entry["key"]: entry for entry in json.loads(call("outbox", "list", "--all"))}
    download = entries[f"att:{INCIDENT}:abc"]
    assert download["lane"] == "attachments"
    assert (download["state"], download["attempts"], download["tries"]) == ("retryable", 0, 1)
    assert download["reason"] == "403 from https://h/f?***"
    assert download["next_attempt_at"] == "2023-11-14T22:13:20.000000Z"
    assert entries[f"create:{INCIDENT}:g1"]["result"]["number"] == "LOCAL-0000001"
    desk = json.loads(call("outbox", "list", "--all", "--lane", "desk"))
    assert {entry["lane"] for entry in desk} == {"desk"}
    assert json.loads(call("outbox", "list", "--state", "parked")) == []


def test_quarantine_lists_reason_and_raw_body(call: Callable[..., str]) -> None:
    (message,) = json.loads(call("quarantine", "list"))
    assert message["position"] == 4
    assert message["stream"] == "e-CS9"
    assert message["message_id"] == "m-3"
    assert message["reason"] == "undecodable"
    assert message["at"] == "2023-11-14T22:13:23.000000Z"
    assert message["body"].startswith('{"ticketNumber":"e-CS9"')


@pytest.mark.requirement("R230", "I5")
def test_replay_verify_finds_the_live_state_equal(call: Callable[..., str], built: Path) -> None:
    report = json.loads(call("replay", "--verify"))
    assert read_checks(built).replay_equal is True
    assert list(report) == [
        *("events", "tickets", "seconds", "events_per_second"),
        *("digest", "live_digest", "equal", "differences"),
    ]
    assert (report["equal"], report["differences"], report["tickets"]) == (True, 0, 1)
    assert report["digest"] == report["live_digest"]


def test_replay_verify_exits_3_and_shows_what_differs(
    call: Callable[..., str], built: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = tmp_path / "copy"
    copy.mkdir()
    with sqlite3.connect(built / "ecproc.db") as source, sqlite3.connect(copy / "ecproc.db") as target:
        source.backup(target)
        target.execute("UPDATE ticket SET tag = 'Incident:https://h/?sig=canary'")
        target.execute("UPDATE ticket SET data = ?", (b'{"u":"https://h/?sig=canary"}',))
    source.close()
    target.close()
    shutil.copy(built / "anchor", copy)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ECPROC_DATA__DIR", str(copy))
        report = json.loads(call("replay", "--verify", code=ExitCode.FINDINGS))
        patch.setattr(sys.stdout, "isatty", lambda: True)
        assert main(["replay", "--verify"]) == ExitCode.FINDINGS
    assert read_checks(copy).replay_equal is False
    assert (report["equal"], report["differences"]) == (False, 1)
    told = capsys.readouterr()
    assert "\n1 row differs from the live state\n" in told.out
    assert f"differs: ticket {INCIDENT} " in told.err
    assert '\n  state\n    live    (none)\n    rebuilt "open"\n' in told.err


def test_a_log_that_does_not_hold_is_equal_to_nothing(
    built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(built, copy)
    monkeypatch.setenv("ECPROC_DATA__DIR", str(copy))
    assert main(["replay", "--verify"]) == 0
    with closing(sqlite3.connect(copy / "ecproc.db", isolation_level=None)) as file:
        file.execute("UPDATE event SET payload = x'7b7d20' WHERE position = 2")
    assert main(["replay"]) == ExitCode.LOG_DAMAGED
    assert read_checks(copy).replay_equal is True
    assert main(["replay", "--verify"]) == ExitCode.LOG_DAMAGED
    assert read_checks(copy).replay_equal is False


def test_replay_until_a_position_has_nothing_to_compare(call: Callable[..., str]) -> None:
    report = json.loads(call("replay", "--until", "3"))
    assert report["events"] == 3
    assert (report["live_digest"], report["equal"], report["differences"]) == (None, None, None)


def test_log_verify_accepts_the_log_and_locates_damage(call: Callable[..., str], built: Path, tmp_path: Path) -> None:
    head = read_events(call)[-1]
    verdict = {"position": head["position"], "hash": head["hash"]}
    assert json.loads(call("log", "verify")) == {"ok": True, "events": head["position"], "head": verdict}
    assert read_checks(built).verified_at is not None
    copy = tmp_path / "copy"
    copy.mkdir()
    with sqlite3.connect(built / "ecproc.db") as source, sqlite3.connect(copy / "ecproc.db") as target:
        source.backup(target)
        target.execute("UPDATE event SET kind = 'Other' WHERE position = 3")
    source.close()
    target.close()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ECPROC_DATA__DIR", str(copy))
        damage = json.loads(call("log", "verify", code=ExitCode.FINDINGS))
    assert read_checks(copy).verified_at is None
    assert (damage["ok"], damage["position"]) == (False, 3)


def test_reading_changes_nothing(call: Callable[..., str], built: Path) -> None:
    before = hashlib.sha256((built / "ecproc.db").read_bytes()).hexdigest()
    for command in (["events"], ["tickets"], ["show", INCIDENT], ["outbox", "list"], ["replay", "--verify"]):
        call(*command)
    assert hashlib.sha256((built / "ecproc.db").read_bytes()).hexdigest() == before


@pytest.mark.parametrize(
    ("command", "code", "out"),
    [
        (["tickets"], 0, ""),
        (["events"], 0, ""),
        (["events", INCIDENT], 0, ""),
        (["outbox", "list"], 0, "[]\n"),
        (["quarantine", "list"], 0, "[]\n"),
        (["show", INCIDENT], 1, ""),
        (["replay"], 1, ""),
        (["replay", "--verify"], 1, ""),
        (["log", "verify"], 1, ""),
    ],
)
def test_without_a_log_lists_are_empty_and_the_rest_fails(
    command: list[str], code: int, out: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    missing = Path(__file__).with_name("no-such-data")
    monkeypatch.setenv("ECPROC_DATA__DIR", str(missing))
    assert main(command) == code
    captured = capsys.readouterr()
    assert captured.out == out
    assert f"there is no event log in {missing} yet" in captured.err
    assert not missing.exists()


def test_a_person_sees_a_timeline(at_terminal: Callable[..., str]) -> None:
    text = at_terminal("show", INCIDENT)
    assert text.splitlines()[0].split() == [INCIDENT, "Incident", "open"]
    assert text.splitlines()[1].split()[:4] == ["waits", "for", "attachment", "since"]
    assert "no processor runs" in " ".join(text.split())
    assert f"    ecproc outbox list --ticket {INCIDENT}" in text.splitlines()
    for part in ("LOCAL-0000001", "Timeline", "create_client_ticket planned", "a.txt announced", "Fields", "available"):
        assert part in text
    assert "download_attachment failed, attempt 1: 403 from https://h/f?*** (+1 line)" in " ".join(text.split())
    assert "again at 2023-11-14" in at_terminal("show", INCIDENT, "--full")
    assert CANARY not in text
    assert json.loads(at_terminal("show", INCIDENT, "--json"))["ticket"] == INCIDENT


def test_a_person_sees_a_stream_of_another_kind_as_a_timeline_too(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "140")
    effect = {"key": "call:7", "kind": "call", "state": "available", "attempts": 0}
    document = {
        "subject": "job:prod:7",
        "kind": "job",
        "state": "under_\x1breview",
        "version": 9,
        "position": 812,
        "updated_at": "2026-01-01T10:00:00.000000Z",
        "links": [{"rel": "client_ticket", "number": "INC7", "reference": "abc"}],
        "data": {"runs": [{"code": 8}], "machine": "prod"},
        "history": [],
        "effects": [effect],
        "effects_count": 2,
        "anomalies": [],
    }
    timeline = Timeline((TimelineEntry(812, "2026-01-01T10:00:00.000000Z", Happening.MOVE, "a → b"),), 2)
    write_human(*draw_document(msgspec.json.encode(document), timeline, now=1_767_261_605_000_000))
    text = capsys.readouterr().out
    assert text.splitlines()[0] == "job:prod:7  job  under_\\x1breview"
    for part in (
        "INC7",
        '[{"code":8}]',
        "prod",
        "call:7",
        "(the last 1 of 2)",
        "9, the last one at position 812",
        "a → b",
        "5s ago",
    ):
        assert part in text
    assert "client ticket " not in text


def test_a_person_sees_what_does_not_add_up(call: Callable[..., str], at_terminal: Callable[..., str]) -> None:
    (line,) = [json.loads(line) for line in call("reconcile", code=3).splitlines()]
    assert (line["code"], line["ticket"]) == ("not_returned", INCIDENT)
    table = at_terminal("reconcile", code=3)
    assert table.split()[:5] == ["code", "ticket", "since", "detail", "hint"]
    assert f"not_returned  {INCIDENT}" in table
    assert json.loads(at_terminal("reconcile", "--json", code=3)) == line


def test_a_person_sees_what_the_doctor_found_and_what_to_do(at_terminal: Callable[..., str]) -> None:
    text = at_terminal("doctor", code=3)
    assert [row.split()[1] for row in text.splitlines() if row.startswith(("sqlite ", "key ", "log ", "desk "))] == [
        "–",
        "ok",
        "ok",
        "error",
    ]
    assert "warning: waiting: 1 messages could not be taken\n  = fix: ecproc quarantine list" in text
    assert "error: config: bridge.url is required\n  = fix: set ECPROC_BRIDGE__URL" in text
    assert text.splitlines()[-1].startswith("findings: ")
    report = json.loads(at_terminal("doctor", "--json", code=3))
    assert (list(report), report["ok"]) == (["ok", "checks", "findings"], False)


def test_a_person_sees_what_is_not_done_yet(at_terminal: Callable[..., str]) -> None:
    listed = at_terminal("outbox", "list").splitlines()
    assert [line.split()[:3] for line in listed if f"returnptn:{INCIDENT}" in line] == [["available", "0", "0"]]
    assert any(f"att:{INCIDENT}:abc" in line for line in listed)
    assert f"create:{INCIDENT}:g1" not in at_terminal("outbox", "list")
    assert f"create:{INCIDENT}:g1" in at_terminal("outbox", "list", "--state", "completed")


def test_a_person_sees_lists_without_queries_and_verdicts_in_words(at_terminal: Callable[..., str]) -> None:
    assert "undecodable" in at_terminal("quarantine", "list")
    assert CANARY not in at_terminal("quarantine", "list")
    assert "equal to the live state" in at_terminal("replay", "--verify")
    assert "events hold" in at_terminal("log", "verify")
    assert json.loads(at_terminal("events", "--json").splitlines()[0])["position"] == 1


LISTS = [
    ["tickets"],
    ["tickets", "--limit", "1"],
    ["tickets", "--type", "incident"],
    ["tickets", "--state", "OPEN"],
    ["tickets", "--state", "none"],
    ["tickets", "--search", "local-0000001"],
    ["tickets", "--waiting", "Attachment"],
    ["tickets", "--waiting", "desk"],
    ["tickets", "--anomaly", "gap"],
    ["tickets", "--since", "2023-11-14"],
    ["tickets", "--since", "1d"],
    ["events"],
    ["events", "--limit", "3"],
    ["events", INCIDENT, "--after", "2"],
    ["outbox", "list"],
    ["outbox", "list", "--all"],
    ["outbox", "list", "--limit", "1"],
    ["outbox", "list", "--state", "Completed"],
    ["quarantine", "list"],
    ["quarantine", "list", "--limit", "1"],
]


@pytest.mark.parametrize("command", LISTS, ids=" ".join)
def test_a_list_has_the_same_rows_on_a_terminal_and_off_it(
    command: list[str], call: Callable[..., str], at_terminal: Callable[..., str]
) -> None:
    piped = call(*command)
    items = json.loads(piped) if piped.startswith("[") else [json.loads(line) for line in piped.splitlines()]
    assert at_terminal(*command, "--json") == piped
    rows = [line for line in at_terminal(*command).splitlines() if not line.startswith(" ")]
    assert len(rows) - bool(items) == len(items)
