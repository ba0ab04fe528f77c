"""`ecproc bundle`, called in this process: what is in it, what never is, and the test that it makes of a ticket."""

from __future__ import annotations

import json
import re
import shlex
import tarfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import anyio
import pytest

from ecproc.cli import main
from ecproc.config import DataConfig, Secret
from ecproc.config.catalogue import OPTIONS
from ecproc.domain.events import EffectFailed, EffectSucceeded, EffectUnknown
from ecproc.domain.ids import EffectKey
from ecproc.domain.log import Batch, NewEvent
from ecproc.domain.policy import Policy
from ecproc.errors import ExitCode
from ecproc.fold.recorded import Kind, encode_event
from ecproc.fold.step import take_step
from ecproc.fold.stream import StreamFold
from ecproc.fold.tables import TABLES
from ecproc.fold.tickets import MACHINES
from ecproc.reading.queries import Queries
from ecproc.store.base import Store
from ecproc.store.opening import open_store
from ecproc.support import bundle as collecting
from ecproc.support.fixture import read_fixture
from ecproc.support.routes import HELP_DESK, ROUTES
from ecproc.testing.ticket import approver, change, file, incident, note, sent
from ecproc.wire.queue import decode_message

pytestmark = pytest.mark.usefixtures("logging_restored")

STARTED: Final = 1_700_000_000_000_000
CANARY: Final = "canary-of-a-secret"
QUERY: Final = "canaryquerysignature"
PERSON: Final = "Ada Lovelace"
EMAIL: Final = "ada@lovelace.example"
PHONE: Final = "+44 20 7946 0958"
IDENTITY: Final = {"host": "smconnect.ensono.com", "environment": "prod", "client_name": "YourCompanyName"}
HANDLE: Final = "AQEBcanaryhandle"

Json = Any
Call = Callable[..., str]


def make_body(transaction: str, **members: Json) -> Mapping[str, Json]:
    return incident(transaction, **members)


LIFE: Final[Sequence[Mapping[str, Json]]] = (
    make_body(
        "Create", status="open", shortDescription=f"{PERSON} cannot log in", description=f"call {PHONE} or {EMAIL}"
    ),
    make_body(
        "Notes",
        notes={**note("n1", f"key {CANARY}api_key, says {PERSON}"), "commenter": PERSON, "commenterEmail": EMAIL},
    ),
    make_body("Attachment", **{**file("a1"), "attachment": f"https://b.s3.amazonaws.com/f?X-Amz-Signature={QUERY}"}),
    make_body("Update", status="pending", changed={"status": "pending", "u_acme_code": "ACME-7"}),
    make_body("Update", status="workinprogress", changed='{"status": "workinprogress"}', statusNextAction=PERSON),
    make_body(
        "Update",
        status="resolved",
        changed=[{"field": "status", "newValue": "resolved"}],
        closeNotes="done",
        statusNextAction=f"ask {PERSON}",
    ),
    make_body("Closure", status="closed"),
)
CHANGE_LIFE: Final = (
    change("Redraft", state="New", shortDescription="Apply it"),
    change("Update", state="Assess"),
    change("Approval Request", state="Authorize", **approver("ap1")),
    change("Update", state={"display_value": "Scheduled", "value": "-2", "link": f"https://h/?x={QUERY}"}),
    change("Update", state="Implement"),
    change("Redraft", state="New"),
    change("Update", state="Assess", envelope=sent(sequence=2)),
)


def number(life: Sequence[Mapping[str, Json]], prefix: str) -> Iterator[bytes]:
    """The messages with what the queue gives them."""
    for place, message in enumerate(life):
        attributes = {
            "SequenceNumber": str(18_875_507_807_458_288_128 + place),
            "SentTimestamp": str(STARTED // 1000 + place),
            "MessageDeduplicationId": f"{place:064x}",
            **message["Attributes"],
        }
        yield json.dumps(
            {**message, "MessageId": f"{prefix}-{place}", "ReceiptHandle": HANDLE, "Attributes": attributes}
        ).encode()


async def append_all(store: Store, messages: Iterator[bytes]) -> None:
    for envelope in map(decode_message, messages):
        event = NewEvent(envelope.stream, Kind.MESSAGE_RECEIVED, envelope.payload, envelope.key, wanted=True)
        await store.commit(Batch([event]))


async def decide_all(store: Store, stream: str) -> None:
    fold = StreamFold(stream, MACHINES.of(stream))
    fold.extend(await store.read_stream(stream))
    step = take_step(fold, policy=Policy(), client_name="testClient", limit=100, snapshot_events=100)
    await store.commit(step.batch)


async def settle(store: Store, stream: str, *outcomes: EffectSucceeded | EffectFailed | EffectUnknown) -> None:
    events = [NewEvent(stream, *encode_event(outcome), wanted=True) for outcome in outcomes]
    await store.commit(Batch(events))


async def build(directory: Path) -> None:
    ticking = count(STARTED, 1_000_000)
    store = await open_store(
        DataConfig(dir=directory, reserve_bytes=0), TABLES, now=lambda: next(ticking), identity=IDENTITY
    )
    broken = b'{"MessageId":"q-1","Body":"{\\"commenter\\":\\"%s\\", \\"u\\":\\"%s\\",","Attributes":%s}' % (
        PERSON.encode(),
        EMAIL.encode(),
        json.dumps({"MessageGroupId": "e-CS9"}).encode(),
    )
    for messages in (number(LIFE, "m"), number(CHANGE_LIFE, "c"), iter([broken])):
        await append_all(store, messages)
    for stream in ("e-CS1", "e-CHG1", "e-CS9"):
        await decide_all(store, stream)
    create = EffectKey("create:e-CS1:g1")
    await settle(store, "e-CS1", EffectSucceeded(create, {"number": "LOCAL-0000001", "state": "open"}))
    await decide_all(store, "e-CS1")
    returned = EffectKey("returnptn:e-CS1:LOCAL-0000001")
    call = {"method": "PUT", "path": f"/yourclient/prod/tickets/returnptn?apikey={QUERY}", "status": "500"}
    reason = f"Internal error for {EMAIL} ({PERSON}), see https://h/?sig={QUERY}"
    failed = EffectFailed(returned, reason, False, STARTED, request_id="req-1", call=call)
    unknown = EffectUnknown(returned, "timed out", STARTED, "req-2", call=call)
    await settle(store, "e-CS1", failed, unknown)
    await decide_all(store, "e-CS1")
    await store.aclose()


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("bundle") / "data"
    anyio.run(partial(build, directory))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ECPROC_DATA__DIR", str(directory))
        assert main(["replay"]) == 0
    return directory


def list_secrets() -> dict[str, str]:
    """Every option that holds a secret, set to a canary of its own."""
    names = [name for name, option in OPTIONS.items() if isinstance(option.default, Secret)]
    values = {name: f"{CANARY}{name.rpartition('.')[2]}" for name in names}
    return values | {"bridge.proxy": f"http://{CANARY}user:{CANARY}password@127.0.0.1:3128"}


@pytest.fixture
def call(built: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Call:
    """Run a command on the log and give what it printed; it must exit with `code`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ECPROC_DATA__DIR", str(built))
    monkeypatch.setenv("ECPROC_COMMANDS__CONTACT_NAME", PERSON)
    for name, value in list_secrets().items():
        section, _, key = name.rpartition(".")
        monkeypatch.setenv(f"ECPROC_{section.replace('.', '_').upper()}__{key.upper()}", value)

    def run(*arguments: str, code: int = 0) -> str:
        assert main(arguments) == code
        return capsys.readouterr().out

    return run


def unpack(path: Path) -> dict[str, str]:
    with tarfile.open(path) as archive:
        files = {member.name.partition("/")[2]: archive.extractfile(member) for member in archive.getmembers()}
        return {name: file.read().decode() for name, file in files.items() if file is not None}


def lines(text: str) -> list[Json]:
    return [json.loads(line) for line in text.splitlines()]


@pytest.mark.requirement("R225")
def test_a_bundle_holds_what_came_what_was_answered_and_what_to_ask_for(call: Call, tmp_path: Path) -> None:
    document = json.loads(call("bundle", "CS1", "--output", "b.tar.gz"))
    members = unpack(tmp_path / "b.tar.gz")
    assert document["members"] == sorted(members) == list(members)
    assert document["tickets"] == ["e-CS1"]
    assert (tmp_path / "b.tar.gz").stat().st_mode & 0o777 == 0o600
    told = {name.rpartition("/")[2]: text for name, text in members.items()}
    messages = lines(told["messages.ndjson"])
    assert [message["message_id"] for message in messages] == [f"m-{place}" for place in range(len(LIFE))]
    assert messages[3]["data"]["body"]["status"] == "pending"
    first, second = lines(told["calls.ndjson"])
    assert (first["method"], first["path"]) == ("PUT", "/yourclient/prod/tickets/returnptn")
    assert (first["status"], first["request_id"], first["outcome"]) == ("500", "req-1", "failed")
    assert first["text"] == "Internal error for [email 1] ([name 1]), see https://h/?***"
    assert (second["outcome"], second["request_id"]) == ("unknown", "req-2")
    assert {"Decided", "EffectFailed"} <= {event["kind"] for event in lines(told["timeline.ndjson"])}
    assert json.loads(told["ticket.json"])["state"] == "closed"
    around = lines(told["around.ndjson"])
    assert {event["stream"] for event in around} >= {"e-CS1", "e-CHG1"}
    assert all("data" not in event for event in around)
    assert json.loads(told["versions.json"])["ecproc"]
    assert json.loads(told["config.json"])["bridge"]["api_key"] == "***"
    assert "are kept by whoever runs it" in told["README.txt"]


@pytest.mark.requirement("R225")
def test_each_route_of_support_has_a_text_with_its_facts(call: Call, tmp_path: Path) -> None:
    call("bundle", "CS1", "--output", "b.tar.gz")
    text = unpack(tmp_path / "b.tar.gz")["requests.txt"]
    routes = text.split("\n\n\n") if "\n\n\n" in text else text.split("Text:")[1:]
    assert len(routes) == 5
    for route in routes:
        assert "Client YourCompanyName, environment prod at smconnect.ensono.com" in route
        assert "Tickets: e-CS1" in route
        assert "m-0, m-1" in route
        assert "RequestIds: req-1, req-2" in route
        assert "PUT /yourclient/prod/tickets/returnptn 500 Internal error" in route
    for said in ("+1 833-662-7378", "'Platform BPMDevandSupport'", "'US - Service Management'", "'ServiceNow Admin'"):
        assert said in text


@pytest.mark.requirement("I11", "R225")
@pytest.mark.parametrize("arguments", [["CS1"], [], ["e-CS9"], ["e-CHG1"]])
def test_no_secret_no_query_and_no_person_is_in_it(call: Call, tmp_path: Path, arguments: list[str]) -> None:
    printed = call("bundle", *arguments, "--output", "b.tar.gz")
    members = unpack(tmp_path / "b.tar.gz")
    assert any(name.startswith("tickets/") for name in members)
    everything = printed + "".join(f"{name}\n{text}" for name, text in members.items())
    for word in (CANARY, quote(CANARY, safe=""), QUERY, HANDLE, PERSON, "Lovelace", EMAIL, "7946", "@x.com"):
        assert word not in everything, word


def test_without_a_ticket_it_is_about_those_in_trouble(call: Call) -> None:
    document = json.loads(call("bundle", "--output", "b.tar.gz"))
    assert document["tickets"] == ["e-CS1", "e-CS9"]


def test_a_bundle_is_named_for_ticket_and_time_and_never_overwrites(call: Call, tmp_path: Path) -> None:
    document = json.loads(call("bundle", "CS1"))
    path = Path(document["path"])
    assert path.parent == tmp_path
    assert path.name.startswith("ecproc-bundle-CS1-")
    assert document["bytes"] == path.stat().st_size
    before = path.read_bytes()
    call("bundle", "CS1", "--output", path.name, code=ExitCode.FAILED)
    call("bundle", "CS1", "--output", "nowhere/b.tar.gz", code=ExitCode.FAILED)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("name", "folder"), [("x.tgz", "x"), ("x.tar.gz", "x"), ("x.1", "x.1-files"), (".tgz", ".tgz-files")]
)
def test_what_an_archive_is_unpacked_into_is_not_called_like_it(
    call: Call, tmp_path: Path, name: str, folder: str
) -> None:
    call("bundle", "e-CS1", "--output", name)
    with tarfile.open(tmp_path / name) as archive:
        assert {member.name.partition("/")[0] for member in archive.getmembers()} == {folder}


@pytest.mark.parametrize("options", [[], ["--as-test"]])
def test_a_bundle_is_not_written_into_the_data_directory(
    call: Call, built: Path, capsys: pytest.CaptureFixture[str], options: list[str]
) -> None:
    before = sorted(built.iterdir())
    assert main(["bundle", "e-CS1", *options, "--output", str(built / "x.tgz")]) == ExitCode.FAILED
    assert "inside of the data directory" in capsys.readouterr().err
    assert sorted(built.iterdir()) == before


def test_a_stream_without_messages_makes_no_test_and_says_why(call: Call, capsys: pytest.CaptureFixture[str]) -> None:
    call("bundle", "ecproc")
    assert main(["bundle", "ecproc", "--as-test"]) == ExitCode.FAILED
    assert "no message of ecproc came from Ensono yet" in capsys.readouterr().err


def test_an_unknown_ticket_leaves_no_file(call: Call, tmp_path: Path) -> None:
    for name in ("CS404", "\udcff"):
        call("bundle", name, code=ExitCode.FAILED)
        call("bundle", name, "--as-test", code=ExitCode.FAILED)
    call("bundle", "--as-test", code=ExitCode.USAGE)
    assert list(tmp_path.iterdir()) == []


def test_of_a_long_ticket_the_newest_events_are_given_and_the_rest_is_told(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    call("bundle", "CS1", "--output", "whole.tar.gz")
    monkeypatch.setattr(collecting, "MOST_EVENTS", 3)
    call("bundle", "CS1", "--output", "cut.tar.gz")
    whole, cut = (
        [
            event
            for name, text in unpack(tmp_path / path).items()
            if "e-CS1/m" in name or "e-CS1/t" in name
            for event in (lines(text) if name.endswith("ndjson") else [])
        ]
        for path in ("whole.tar.gz", "cut.tar.gz")
    )
    positions = sorted(event["position"] for event in whole)
    assert sorted(event["position"] for event in cut) == positions[-3:]
    assert f"e-CS1: {len(whole) - 3} older events are left out" in unpack(tmp_path / "cut.tar.gz")["README.txt"]


def test_whoever_only_the_ticket_still_names_is_masked(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collecting, "MOST_EVENTS", 0)
    call("bundle", "e-CHG1", "--output", "cut.tar.gz")
    told = {name.rpartition("/")[2]: text for name, text in unpack(tmp_path / "cut.tar.gz").items()}
    assert told["messages.ndjson"] == told["timeline.ndjson"] == ""
    (approval,) = json.loads(told["ticket.json"])["approvals"]
    assert (approval["name"], approval["email"]) == ("[name 1]", "[email 1]")


# --- as a test


@pytest.mark.parametrize("levels", [300, 600, 900, 5000])
def test_what_is_nested_too_deep_makes_no_test_and_no_defect(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], levels: int
) -> None:
    deep = b'{"a":' * levels + b'"Ada"' + b"}" * levels
    message = next(number(LIFE[:1], "m")).replace(b'"Attributes": {', b'"Attributes": {"X": %s, ' % deep)
    assert deep in message

    async def build_deep() -> None:
        data = DataConfig(dir=tmp_path / "data", reserve_bytes=0)
        store = await open_store(data, TABLES, now=lambda: STARTED, identity=IDENTITY)
        await append_all(store, iter([message]))
        await decide_all(store, "e-CS1")
        await store.aclose()

    anyio.run(build_deep)
    monkeypatch.setenv("ECPROC_DATA__DIR", str(tmp_path / "data"))
    path = tmp_path / "t.json"
    made = main(["bundle", "e-CS1", "--as-test", "--output", str(path)])
    said = capsys.readouterr().err
    if made == ExitCode.OK:
        assert "Ada" not in path.read_text()
    else:
        assert (made, path.exists()) == (ExitCode.FAILED, False)
        assert "is nested too deep to replace its texts" in said


async def read_history(store: Store, stream: str) -> tuple[list[tuple[str, Json, Json]], Json]:
    queries = Queries(store, tables=TABLES.names, machines=MACHINES, entries=1000)
    document = json.loads(await queries.ticket(stream) or b"null")
    return [(step["event"], step["from"], step["to"]) for step in document["history"]], document


async def live_again(directory: Path, fixture: Mapping[str, Json]) -> tuple[list[tuple[str, Json, Json]], Json]:
    """A new log to which the fixture's messages come as from the queue."""
    store = await open_store(DataConfig(dir=directory, reserve_bytes=0), TABLES, now=lambda: STARTED, identity=None)
    try:
        await append_all(store, iter([json.dumps(each["message"]).encode() for each in fixture["messages"]]))
        await decide_all(store, fixture["stream"])
        return await read_history(store, fixture["stream"])
    finally:
        await store.aclose()


async def look_up(directory: Path, stream: str) -> tuple[list[tuple[str, Json, Json]], Json]:
    store = await open_store(DataConfig(dir=directory, reserve_bytes=0), TABLES, now=lambda: STARTED, identity=None)
    try:
        return await read_history(store, stream)
    finally:
        await store.aclose()


@pytest.mark.parametrize("stream", ["e-CS1", "e-CHG1"])
def test_a_test_made_of_a_ticket_lives_the_same_life(call: Call, built: Path, tmp_path: Path, stream: str) -> None:
    call("bundle", stream, "--as-test", "--output", "t.json")
    content = (tmp_path / "t.json").read_bytes()
    fixture = json.loads(content)
    real, original = anyio.run(partial(look_up, built, stream))
    again, document = anyio.run(partial(live_again, tmp_path / "again", fixture))
    assert again == real
    assert [(step["event"], step["from"], step["to"]) for step in fixture["expected"]["history"]] == real
    assert len(real) > 4
    for member in ("type", "state", "generation"):
        assert document[member] == original[member] == fixture["expected"][member]
    for member in ("notes", "attachments", "approvals"):
        assert len(document[member]) == len(original[member])
    assert [each["code"] for each in document["anomalies"]] == [each["code"] for each in original["anomalies"]]
    states, expected = read_fixture(content)
    assert states == expected


@pytest.mark.requirement("I11")
@pytest.mark.parametrize("stream", ["e-CS1", "e-CHG1"])
def test_a_test_made_of_a_ticket_says_nothing_of_whose_it_was(call: Call, tmp_path: Path, stream: str) -> None:
    call("bundle", stream, "--as-test", "--output", "t.json")
    text = (tmp_path / "t.json").read_text()
    assert (tmp_path / "t.json").stat().st_mode & 0o777 == 0o600
    for word in (CANARY, QUERY, HANDLE, PERSON, EMAIL, "7946", "log in", "Ensono User", "x.com", "acme", "ACME", "m-0"):
        assert word not in text, word


def test_a_test_keeps_form_and_length(call: Call, tmp_path: Path) -> None:
    call("bundle", "e-CS1", "--as-test", "--output", "t.json")
    fixture = json.loads((tmp_path / "t.json").read_bytes())
    bodies = [each["message"]["Body"] for each in fixture["messages"]]
    assert [list(body) for body in bodies] == [list(message["Body"]) for message in LIFE]
    assert len(bodies[0]["description"]) == len(LIFE[0]["Body"]["description"])
    assert list(bodies[3]["changed"]) == ["status", "member1"]
    assert json.loads(bodies[4]["changed"]) == {"status": "workinprogress"}
    assert bodies[5]["changed"] == [{"field": "status", "newValue": "resolved"}]
    assert {each["message"]["Attributes"]["MessageGroupId"] for each in fixture["messages"]} == {fixture["stream"]}
    assert {body["ticketNumber"] for body in bodies} == {fixture["stream"]}


def test_what_no_states_follow_from_makes_no_test(call: Call, tmp_path: Path) -> None:
    call("bundle", "e-CS9", "--as-test", code=ExitCode.FAILED)
    assert list(tmp_path.iterdir()) == []


def test_the_page_about_support_does_what_it_says(call: Call, tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "support.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```sh\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    commands = [line for block in blocks for line in block.splitlines()]
    assert len(commands) == 3
    for command in commands:
        call(*shlex.split(command.replace("CS0879727", "CS1"))[1:])
    assert sorted(path.name for path in tmp_path.iterdir())[0] == "all.tar.gz"
    members = {name.replace("e-CS1", "NUMBER") for name in unpack(tmp_path / "all.tar.gz") if "e-CS9" not in name}
    assert all(f"`{name}`" in page for name in members), members
    for route in ROUTES:
        for group in re.findall(r"'([^']+)'", route.ask):
            assert group in page
    assert HELP_DESK in page
