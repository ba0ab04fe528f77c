"""`ecproc map` and the mapping in `config check` and `run`: what they print, and how they exit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import anyio
import pytest

from ecproc.cli import main
from ecproc.config import DataConfig
from ecproc.domain.log import Batch, NewEvent
from ecproc.errors import ExitCode
from ecproc.fold.tables import TABLES
from ecproc.mapping import default_mapping, load_mapping
from ecproc.reading.mapped import list_trials
from ecproc.reading.whatif import WhatIf, list_rule_changes
from ecproc.store.memory import MemoryStore
from ecproc.store.opening import open_store
from tests.conftest import MESSAGES
from tests.seeded import CANARY, INCIDENT, STARTED, URL, Disk, fill_disk

pytestmark = pytest.mark.usefixtures("logging_restored")

Json = Any

BRIDGE = 'url = "http://127.0.0.1:1/client/dev"\nclient_name = "testClient"\napi_key = "key-of-sixteen-x"\n'
WHOLE = 'open = "1", workinprogress = "2", pending = "3", resolved = "6", closed = "7", cancelled = "8"'
STATE = f'[[to_desk]]\ntype = "incident"\nfield = "state"\nfrom = "status"\nmap = {{ {WHOLE} }}\ndefault = "2"\n'
GROUP = '[[to_desk]]\nfield = "g"\nfrom = "group"\nmap = { A = "a" }\ndefault = "d"\nreport_unmapped = true\n'
FORMER = GROUP + '[[to_desk]]\nfield = "state"\ntype = "any"\nfrom = "status"\ncopy = true\n'


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with a configuration and, beside it, the mapping that it names."""
    (tmp_path / "etc").mkdir()
    text = f'[bridge]\n{BRIDGE}[data]\ndir = "{tmp_path / "data"}"\n[mapping]\nfile = "mapping.toml"\n'
    (tmp_path / "etc" / "ecproc.toml").write_text(text, encoding="utf-8")
    (tmp_path / "etc" / "ecproc.toml").chmod(0o600)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ECPROC_CONFIG", str(tmp_path / "etc" / "ecproc.toml"))
    write(tmp_path / "etc" / "mapping.toml", STATE)
    return tmp_path


def write(path: Path, rules: str, desk: str = "local") -> Path:
    path.write_text(f'version = 1\ndesk = "{desk}"\n{rules}', encoding="utf-8")
    return path


def ask(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, Json, str]:
    """Run a command; its exit code, its document and what stands on stderr."""
    code = main(list(words))
    out, err = capsys.readouterr()
    return code, json.loads(out) if out else None, err


@pytest.mark.requirement("R200")
@pytest.mark.parametrize("command", ["config check", "map check", "run"])
def test_a_mapping_without_a_state_is_refused_with_its_line(
    folder: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    write(folder / "etc" / "mapping.toml", STATE.replace(', cancelled = "8"', ""))
    code, document, err = ask(capsys, *command.split())
    assert code == ExitCode.CONFIG
    place = f"{folder}/etc/mapping.toml:7"
    for text in ("to_desk.incident.state: 'cancelled' has no image", place, "to its map"):
        assert text in (err if command != "run" else json.loads(err)["reason"] + err)
    if document is not None:
        assert not document["ok"]
        assert document["problems"][0]["location"] == place


def test_a_warning_is_shown_as_those_of_the_configuration_are(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hold = (
        '[[to_desk]]\ntype = "incident"\nfield = "hold"\nfrom = "statusNextAction"\nmap = { pending-client = "1", '
        'pending-caller = "1", pending-vendor = "4", pending-change = "5" }\ndefault = "1"\n'
    )
    write(folder / "etc" / "mapping.toml", hold)
    for command in ("config check", "map check"):
        code, document, err = ask(capsys, *command.split())
        assert code == ExitCode.OK
        assert "'pending-client' and 'pending-caller' both become '1', which comes back as 'pending-client'" in err
        assert document["warnings"][0]["help"] == 'lossy = ["pending-caller"] accepts it'


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "No such file or directory"),
        (b"\xff", "it is not UTF-8"),
        (b'version = 1\ndesk = "webhook"\n', "the mapping is for the desk 'webhook', and desk.kind is 'local'"),
        (b"#" + b"x" * 1024 * 1024, "1,048,576 at most"),
    ],
)
def test_a_mapping_that_cannot_be_used_is_told(
    folder: Path, capsys: pytest.CaptureFixture[str], content: bytes | None, reason: str
) -> None:
    path = folder / "etc" / "mapping.toml"
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    code, document, err = ask(capsys, "config", "check")
    assert code == ExitCode.CONFIG
    assert reason in err
    assert str(path) in document["problems"][0]["location"] + document["problems"][0]["message"]


def test_commands_that_read_do_not_care_for_the_mapping(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "etc" / "mapping.toml").unlink()
    assert main(["config", "show"]) == ExitCode.OK
    assert main(["tickets"]) == ExitCode.OK
    capsys.readouterr()


def test_without_a_file_the_desk_has_its_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, document, _ = ask(capsys, "map", "show")
    assert (code, document["mapping"], document["desk"]) == (0, default_mapping("local").hash, "local")
    assert [rule["rule"] for rule in document["rules"]] == ["to_desk.any.*", "from_desk.any.*"]


def test_the_tables_in_force_are_shown_with_their_hash(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, document, _ = ask(capsys, "map", "show")
    own = load_mapping((folder / "etc" / "mapping.toml").read_text(encoding="utf-8"), source="x")
    assert (code, document["mapping"]) == (0, own.hash)
    (rule,) = document["rules"]
    assert (rule["reads"], rule["map"]["cancelled"], rule["default"]) == (["status"], "8", "2")
    assert rule["place"].endswith("mapping.toml:3")


# --- map test ---


def servicenow(folder: Path) -> Path:
    source = Path(__file__).parents[2] / "ecproc" / "mapping" / "servicenow.toml"
    path = folder / "sn.toml"
    path.write_bytes(source.read_bytes())
    return path


def test_a_message_is_tried(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = MESSAGES / "incident-create.json"
    code, (document,), _ = ask(capsys, "map", "test", str(path), "--mapping", str(servicenow(folder)))
    assert (code, document["file"]) == (0, str(path))
    (item,) = document["items"]
    assert (item["what"], item["ticket"], item["type"]) == ("message", "e-CS0879727", "Incident")
    assert (item["call"]["method"], item["call"]["path"]) == ("POST", "/api/now/table/incident")
    assert item["call"]["body"]["short_description"] == "[e-CS0879727] test"
    fired = {rule["field"]: rule for rule in item["rules"]}
    assert (fired["state"]["before"], fired["state"]["after"]) == ("open", "1")


@pytest.mark.parametrize("name", sorted(path.stem for path in MESSAGES.glob("*.json")))
def test_each_of_the_guides_messages_can_be_tried(folder: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    words = ("map", "test", str(MESSAGES / f"{name}.json"), "--mapping", str(servicenow(folder)))
    code, (document,), _ = ask(capsys, *words)
    (item,) = document["items"]
    assert code == ExitCode.OK
    assert not item["unmapped"]
    assert bool(item["call"]) != name.endswith(("notes", "attachment", "request", "num"))


def test_an_update_says_what_changed_only(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("map", "test", str(MESSAGES / "incident-update.json"), "--mapping", str(servicenow(folder)))
    _, (document,), _ = ask(capsys, *words)
    assert document["items"][0]["call"]["method"] == "PATCH"
    assert document["items"][0]["call"]["body"] == {"state": "3", "hold_reason": "1"}


def test_a_default_that_is_to_be_reported_is_a_finding(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(folder / "etc" / "mapping.toml", GROUP)
    code, (document,), _ = ask(capsys, "map", "test", str(MESSAGES / "incident-create.json"))
    assert code == ExitCode.FINDINGS
    (missing,) = document["items"][0]["unmapped"]
    assert (missing["field"], missing["value"]) == ("g", "Ensono Support")
    write(folder / "etc" / "mapping.toml", GROUP.replace("report_unmapped = true\n", ""))
    assert ask(capsys, "map", "test", str(MESSAGES / "incident-create.json"))[0] == ExitCode.OK


def test_records_of_the_desk_are_tried(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record = {"sys_class_name": "incident", "number": "INC7", "correlation_id": "e-CS1:g1", "state": "6"}
    more = {"number": "RITM1", "state": {"value": "1", "display_value": "Open"}, "short_description": 'say "x"'}
    (folder / "r.json").write_text(json.dumps({"result": [record, more]}), encoding="utf-8")
    words = ("map", "test", "r.json", "--mapping", str(servicenow(folder)), "--type", "Request")
    code, (document,), _ = ask(capsys, *words)
    assert code == ExitCode.OK
    ended, opened = (item["call"] for item in document["items"])
    assert (ended["method"], ended["path"]) == ("PUT", "/tickets/e-CS1")
    assert ended["body"]["payload"]["status"] == "resolved"
    assert (opened["method"], opened["path"]) == ("POST", "/tickets")
    assert opened["body"]["payload"]["shortDescription"] == 'say \\"x\\"'
    assert ask(capsys, *words[:-2])[0] == ExitCode.FAILED


@pytest.mark.parametrize("content", ["nonsense", "[1]", '{"stream":"s","kind":"Decided","data":{"through":"x"}}'])
def test_what_is_none_of_these_is_refused(folder: Path, capsys: pytest.CaptureFixture[str], content: str) -> None:
    (folder / "x").write_text(content, encoding="utf-8")
    code, document, err = ask(capsys, "map", "test", "x")
    assert (code, document) == (ExitCode.FAILED, None)
    assert "error: x: " in err
    assert ask(capsys, "map", "test")[0] == ExitCode.USAGE


async def test_lines_of_events_are_tried() -> None:
    disk = await fill_disk()
    lines = [
        json.dumps({"stream": event.stream, "kind": event.kind, "data": json.loads(event.payload)})
        async for page in disk.read_log()
        for event in page
        if event.stream == INCIDENT
    ]
    trials = list(list_trials(default_mapping("servicenow"), "\n".join(lines).encode()))
    assert {trial.what for trial in trials} == {"message", "effect", "other"}
    (effect,) = [trial for trial in trials if trial.what == "effect"]
    assert effect.call is not None
    assert effect.call.body["state"] == "1"


def test_addresses_are_masked_and_terminals_are_safe(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record = {"short_description": f"see {URL}", "description": "\x1b[31m", "sys_class_name": "incident"}
    (folder / "r.json").write_text(json.dumps(record), encoding="utf-8")
    main(["map", "test", "r.json", "--mapping", str(servicenow(folder))])
    out = capsys.readouterr().out
    assert CANARY not in out
    assert "\x1b" not in out


def test_a_person_reads_what_would_be_sent(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    message = json.loads((MESSAGES / "incident-create.json").read_bytes())
    message["Body"]["shortDescription"] = "x" * 200 + "\x1b[31m"
    (folder / "m.json").write_text(json.dumps(message), encoding="utf-8")
    write(folder / "etc" / "mapping.toml", GROUP)
    main(["map", "test", "m.json"])
    main(["map", "test", "m.json", "--mapping", str(servicenow(folder))])
    main(["map", "check"])
    main(["map", "show"])
    main(["map", "diff", "sn.toml", "etc/mapping.toml"])
    out, err = capsys.readouterr()
    for text in ("no row: to_desk g 'Ensono Support'", "POST /api/now/table/incident", "comment: (2/2)", "holds"):
        assert text in out
    assert "\x1b[31m" not in out
    assert "differences between" in err


# --- map diff ---


def test_rules_are_compared_by_what_they_say(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old = write(folder / "old.toml", STATE + GROUP)
    new = write(
        folder / "new.toml", "# moved\n" + GROUP.replace('"d"', '"e"') + "[[to_desk]]\nfield = 'n'\nconst = 'x'\n"
    )
    code, document, _ = ask(capsys, "map", "diff", str(old), str(new))
    assert code == ExitCode.OK
    assert document["old"] != document["new"]
    assert {(one["rule"], one["change"]) for one in document["rules"]} == {
        ("to_desk.incident.state", "removed"),
        ("to_desk.any.n", "added"),
        ("to_desk.any.g", "changed"),
    }
    assert ask(capsys, "map", "diff", str(old), str(old))[1]["rules"] == []
    assert ask(capsys, "map", "diff", str(old), str(new), "--log")[0] == ExitCode.FAILED
    assert ask(capsys, "map", "diff", str(old), str(folder / "none.toml"))[0] == ExitCode.CONFIG


async def compare(
    disk: MemoryStore, old: str, new: str
) -> tuple[WhatIf, list[tuple[str, str, str | None, str | None]]]:
    head = 'version = 1\ndesk = "local"\n'
    what_if = WhatIf(load_mapping(head + old, source="old"), load_mapping(head + new, source="new"))
    found = [one async for one in what_if.list_otherwise(disk)]
    return what_if, [(one.kind, one.field, one.old, one.new) for one in found]


async def test_the_log_is_asked_what_would_have_been_sent_otherwise() -> None:
    disk = await fill_disk()
    what_if, found = await compare(disk, FORMER, FORMER.replace("copy = true", f'map = {{ {WHOLE} }}\ndefault = "2"'))
    assert set(found) == {
        ("create_client_ticket", "state", "open", "1"),
        ("create_client_ticket", "state", "Assess", "2"),
        ("close_client_ticket", "state", "closed", "7"),
    }
    assert what_if.effects == 4
    assert what_if.otherwise == 4
    what_if, found = await compare(disk, FORMER, FORMER)
    assert (what_if.effects, what_if.otherwise, found) == (4, 0, [])


async def test_nothing_is_compared_in_an_empty_log() -> None:
    what_if, found = await compare(Disk(), FORMER, GROUP)
    assert (what_if.effects, found) == (0, [])
    assert list_rule_changes(default_mapping("local"), default_mapping("local")) == []
    assert list_rule_changes(default_mapping("local"), default_mapping("webhook"))[0].rule == "desk"


async def fill_log(folder: Path) -> None:
    """The log of `fill_disk`, in a file."""
    disk = await fill_disk()
    store = await open_store(DataConfig(dir=folder), TABLES, now=lambda: STARTED, identity={"host": "h"})
    async for page in disk.read_log():
        events = [NewEvent(event.stream, event.kind, event.payload, event.message_key) for event in page]
        await store.commit(Batch(events))
    await store.aclose()


def test_the_log_in_the_data_directory_is_read(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    anyio.run(fill_log, folder / "data")
    old, new = write(folder / "old.toml", GROUP), write(folder / "new.toml", GROUP.replace('"d"', '"e"'))
    code, document, _ = ask(capsys, "map", "diff", str(old), str(new), "--log")
    assert code == ExitCode.OK
    assert document["effects"] == 4
    assert {(one["field"], one["old"], one["new"]) for one in document["fields"]} == {("g", "d", "e")}
