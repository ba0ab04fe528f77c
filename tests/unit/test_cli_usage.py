"""The command line's frame: help, usage errors, and what becomes of every kind of failure."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ecproc import __version__
from ecproc.cli import main
from ecproc.cli.catalogue import COMMANDS, GROUPS
from ecproc.cli.output import OutputClosed
from ecproc.cli.session import Session
from ecproc.errors import (
    BridgeRefused,
    ConfigError,
    ConfigProblem,
    DataDirInUse,
    ExitCode,
    LogDamaged,
    StoreUnavailable,
    WrongEnvironment,
)

pytestmark = pytest.mark.usefixtures("logging_restored")

BRIDGE = {
    "ECPROC_BRIDGE__URL": "http://127.0.0.1:1/demo/dev",
    "ECPROC_BRIDGE__CLIENT_NAME": "testClient",
    "ECPROC_BRIDGE__API_KEY": "canary-api-key",
}


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An empty directory, and no variables of ours."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ECPROC_CONFIG", raising=False)


@pytest.fixture
def configured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Variables that are enough to run."""
    for name, value in BRIDGE.items():
        monkeypatch.setenv(name, value)


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    out = capsys.readouterr().out
    assert all(f"\n  {command.name} " in out for command in COMMANDS)
    assert all(command.summary in " ".join(out.split()) for command in COMMANDS)


def test_no_arguments_are_a_call_for_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    assert "Usage: ecproc" in capsys.readouterr().out


def test_a_group_alone_lacks_its_command_and_says_what_it_has(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["outbox"]) == ExitCode.USAGE
    captured = capsys.readouterr()
    assert captured.err == "error: outbox needs a command: list, show, retry, discard\n  = help: ecproc outbox --help\n"
    assert captured.out == ""


@pytest.mark.parametrize(
    ("arguments", "usage"),
    [
        (["outbox", "--help"], "ecproc outbox COMMAND"),
        (["help", "outbox"], "ecproc outbox COMMAND"),
        (["outbox", "help"], "ecproc outbox COMMAND"),
        (["outbox", "help", "retry"], "ecproc outbox retry "),
        (["help", "help"], "ecproc [--config FILE] COMMAND"),
        (["help", "help", "show"], "ecproc show "),
    ],
)
def test_help_is_a_word_too(arguments: list[str], usage: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == ExitCode.OK
    assert capsys.readouterr().out.startswith(f"Usage: {usage}")


def test_a_group_lists_its_commands_and_no_others(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["quarantine", "--help"]) == ExitCode.OK
    out = capsys.readouterr().out
    for command in COMMANDS:
        assert (f"  {command.name} " in out) == command.name.startswith("quarantine "), command.name


def test_help_and_version_load_no_parser(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "ecproc.cli.dispatch", None)
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"ecproc {__version__}\n"


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_every_command_describes_itself(command: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*command.name.split(), "--help"]) == 0
    captured = capsys.readouterr()
    assert captured.out.startswith(f"Usage: ecproc {command.name}")
    assert "--config" in captured.out
    assert captured.err == ""


@pytest.mark.parametrize(
    ("command", "told"),
    [
        ("run", "a second one ends it at once"),
        ("outbox list", "Completed and cancelled entries are left out unless --all"),
        ("config init", "ecproc config init > ecproc.toml"),
        ("tickets", "Draft, Assess, Authorize"),
    ],
)
def test_all_that_a_command_says_of_itself_is_shown_wherever_help_is_asked_for(
    command: str, told: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    words = command.split()
    for arguments in (
        ["help", *words],
        ["--help", *words],
        [*words, "-h"],
        ["--config", "x", words[0], "--help", *words[1:]],
    ):
        assert main(arguments) == 0
        out = capsys.readouterr().out
        assert out.startswith(f"Usage: ecproc {command} [OPTIONS]")
        assert told in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["shw", "X"], "there is no command shw, did you mean show?"),
        (["SHOW", "X"], "there is no command SHOW, did you mean show?"),
        (["outbox", "List"], "there is no command List, did you mean list?"),
        (["hlep"], "there is no command hlep, did you mean help?"),
        (["outbox", "lsit"], "there is no command lsit, did you mean list?"),
        (["--cnfig", "f", "show"], "there is no option --cnfig, did you mean --config?"),
        (["show"], "TICKET requires an argument"),
        (["show", "A", "B"], "too many arguments: B"),
        (["show", "A", "--jsn"], "Did you mean --json?"),
        (["show", "A", "--at", "x"], "x is neither a position of the log nor a time such as 2026-01-31T12:00:00Z"),
        (["show", "A", "--at", "0"], "they are >= 1"),
        (["show", "A", "--at", "-5"], "they are >= 1"),
        (["show", "A", "--at", f"-{'9' * 5000}"], "they are >= 1"),
        (["show", "A", "--at", "9999-12-31T23:59:59-12:00"], "neither a position"),
        (["show", "A", "--at", "2026-02-30"], "neither a position"),
        (["tickets", "--limit", "0"], "Must be >= 1"),
        (["events", "--limit", "-1"], "Must be >= 1"),
        (["outbox", "list", "--limit", "abc"], 'unable to convert "abc" into int'),
        (["replay", "--verify", "--until", "3"], "--verify compares with the live state"),
        (["nonsense", "--help"], "there is no command nonsense"),
        (["outbox", "nonsense", "--help"], "there is no command nonsense in outbox, which has list"),
        (["help", "nonsense"], "there is no command nonsense"),
        (["log"], "log needs a command: verify"),
        (["--config", "x", "config"], "config needs a command: check, show, init"),
        (["show", "help", "x"], "too many arguments: x"),
        (
            ["log", "show"],
            "no command show in log, which has verify, backup, stats; did you mean ecproc show or ecproc outbox show ",
        ),
        (["list", "outbox"], "no command list on its own, did you mean outbox list or quarantine list?"),
        (["e-CS0879727"], "did you mean show e-CS0879727?"),
        (["--json", "tickets"], "there is no option --json before the command: write ecproc tickets --json"),
        (["--config"], "--config requires an argument"),
        (["events", "--after", "-1"], "Must be >= 0"),
        (["show", ""], "it is empty"),
        (["events", " "], "it is empty"),
        (["tickets", "--state", "opened"], "open, workinprogress"),
        (["tickets", "--type", "incidnt"], "is none of Incident, Request, Change, did you mean Incident?"),
        (["tickets", "--state", "CLOSED"], "did you mean closed or Closed?"),
        (["tickets", "--state", "[/x]"], "[/x] is none of"),
        (["outbox", "list", "--state", "parkd"], "did you mean parked?"),
        (["outbox", "list", "--lane", "x"], "none of desk"),
        (["completion"], "SHELL requires an argument"),
        (["completion", "fihs"], "fihs is none of bash, zsh, fish, did you mean fish?"),
        (["run", "--timeout", "5"], "--timeout goes with --drain"),
        (["run", "--drain", "--timeout", "0"], "Must be > 0"),
        (["simulate", "--scenario", "tickets=many"], "--scenario cannot be read"),
        (["simulate", "--scenario", '{"ticket":1}'], "unknown field"),
        (["simulate", "--scenario", "tickets=-1"], "`int` >= 0"),
        (["simulate", "--scenario", '{"asked":-1}'], "`int` >= 0"),
        (["simulate", "--scenario", "rate=0"], "`float` > 0"),
        (["simulate", "--port", "70000"], "Must be <= 65535"),
        (["simulate", "nix"], "nix is none of bridge, servicenow"),
        (["simulate", "servicenow", "--scenario", "tickets=1"], "--scenario goes with bridge alone"),
        (["demo", "--messages", "0"], "Must be >= 1"),
        (["config", "check", "--config"], "--config requires an argument"),
    ],
)
def test_a_usage_error_exits_2_and_says_what_to_type(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == ExitCode.USAGE
    captured = capsys.readouterr()
    assert captured.out == ""
    assert message in captured.err
    if arguments[0] == "run":  # its stderr is a log
        assert json.loads(captured.err)["hint"] == "ecproc run --help"
    else:
        assert captured.err.startswith("error: ")
        assert "= help: ecproc" in captured.err


@pytest.mark.parametrize("word", [*(command.name for command in COMMANDS), *GROUPS, "help", "--help", "nonsense"])
def test_what_may_have_been_meant_is_never_the_word_itself(word: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Every command's name in every place where a command may be named."""
    *_, last = word.split()
    for arguments in ([last], ["help", last], [last, "--help"], *([group, last] for group in GROUPS)):
        if main([*arguments, "--help"]) == ExitCode.USAGE:
            meant = capsys.readouterr().err.partition("did you mean ")[2].partition("?")[0]
            assert last not in meant.split(" or "), arguments
        capsys.readouterr()


@pytest.mark.parametrize(
    "arguments",
    [
        ["--config", "mine.toml", "config", "show"],
        ["config", "--config=mine.toml", "show"],
        ["config", "show", "--config", "mine.toml"],
    ],
)
def test_the_config_file_may_be_named_anywhere(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.toml").write_text('[data]\ndir = "elsewhere"\n', encoding="utf-8")
    assert main(arguments) == 0
    rows = {row["key"]: row for row in json.loads(capsys.readouterr().out)}
    assert rows["data.dir"] == {"key": "data.dir", "value": "elsewhere", "origin": "mine.toml:2"}


@pytest.mark.requirement("I11")
@pytest.mark.usefixtures("configured")
def test_config_show_names_origins_and_hides_secrets(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "show"]) == 0
    out = capsys.readouterr().out
    rows = {row["key"]: row for row in json.loads(out)}
    assert rows["bridge.client_name"]["origin"] == "env ECPROC_BRIDGE__CLIENT_NAME"
    assert rows["bridge.api_key"]["value"] == "***"
    assert rows["web.listen"]["origin"] == "default"
    assert "canary" not in out


@pytest.mark.usefixtures("configured")
def test_config_check_accepts_what_run_needs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "check"]) == 0
    assert json.loads(capsys.readouterr().out) == {"ok": True, "problems": [], "warnings": []}


def test_config_check_names_every_problem_with_its_place(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "ecproc.toml").write_text('[bridge]\nclient_nam = "x"\n[web]\nlisten = "x"\n', encoding="utf-8")
    assert main(["config", "check"]) == ExitCode.CONFIG
    captured = capsys.readouterr()
    problems = {problem["message"]: problem for problem in json.loads(captured.out)["problems"]}
    assert problems["unknown key bridge.client_nam"]["location"] == "ecproc.toml:2"
    assert problems["unknown key bridge.client_nam"]["help"] == "did you mean bridge.client_name?"
    assert "ECPROC_BRIDGE__API_KEY" in problems["bridge.api_key is required"]["help"]
    assert "error: unknown key bridge.client_nam\n  --> ecproc.toml:2\n  = help: did you mean" in captured.err
    assert "  --> ecproc.toml:4" in captured.err


def test_run_without_configuration_exits_78(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run"]) == ExitCode.CONFIG
    told = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert all(line["event"] == "stopped" for line in told)
    (url,) = [line for line in told if line["reason"] == "bridge.url is required"]
    assert url["hint"].startswith("set ECPROC_BRIDGE__URL")


def test_config_init_prints_a_file_that_is_valid(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "init"]) == 0
    (tmp_path / "fresh.toml").write_text(capsys.readouterr().out, encoding="utf-8")
    assert main(["--config", "fresh.toml", "config", "show"]) == 0


def test_an_answer_for_a_person_is_text(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "120")
    assert main(["config", "show"]) == 0
    table = capsys.readouterr().out
    assert "option" in table.splitlines()[0]
    assert "\x1b" not in table, "bold and dim are escapes too"
    assert main(["config", "show", "--json"]) == 0
    json.loads(capsys.readouterr().out)


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Callable[[BaseException], int]:
    """Run a command that has read its configuration and then raises."""

    def call(error: BaseException) -> int:
        def load_config(session: Session, **_: object) -> None:
            session.learn("canary-api-key")
            raise error

        monkeypatch.setattr(Session, "load_config", load_config)
        return main(["tickets"])

    return call


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (DataDirInUse(Path("data"), 17), 69, "data is in use by process 17"),
        (StoreUnavailable("disk full"), 70, "disk full"),
        (LogDamaged(7, "the event is missing"), 71, "damaged at position 7: the event is missing"),
        (WrongEnvironment("another bridge"), 78, "another bridge"),
        (BridgeRefused("the key"), 78, "the bridge refuses our calls: the key"),
        (OSError(98, "Address already in use"), 1, "error: Address already in use"),
        (OSError(13, "Permission denied", "/x/y"), 1, "error: /x/y: Permission denied\n"),
        (ExceptionGroup("x", [ExceptionGroup("y", [LogDamaged(1, "a")]), StoreUnavailable("b")]), 71, "error: b"),
        (ConfigError(ConfigProblem("a", "f:1", "b")), 78, "error: a\n  --> f:1\n  = help: b"),
    ],
)
def test_each_fault_has_its_message_and_exit_code(
    error: Exception,
    code: int,
    message: str,
    failing: Callable[[BaseException], int],
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert failing(error) == code
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.out == ""


def test_what_a_group_of_failures_says_alike_is_said_once(
    failing: Callable[[BaseException], int], capsys: pytest.CaptureFixture[str]
) -> None:
    same = [StoreUnavailable("disk full") for _ in range(3)]
    assert failing(BaseExceptionGroup("x", [same[0], ExceptionGroup("y", [*same[1:], LogDamaged(1, "a")])])) == 71
    assert capsys.readouterr().err.splitlines() == [
        "error: disk full",
        "error: the event log is damaged at position 1: a",
        f"  = help: {LogDamaged.hint}",
    ]


@pytest.mark.parametrize("arguments", [["tickets"], ["show", "A"], ["events"], ["log", "verify"], ["outbox", "list"]])
def test_a_data_directory_in_the_way_is_named_whole_with_reason_and_remedy(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "link").symlink_to("nowhere")
    (tmp_path / "file").touch()
    for name, reason in (
        ("link", f"{tmp_path}/link is a link to nowhere, which is not there"),
        ("link/below", f"{tmp_path}/link is a link to nowhere, which is not there"),
        ("file", "Not a directory"),
        ("file/below", "Not a directory"),
    ):
        monkeypatch.setenv("ECPROC_DATA__DIR", name)
        assert main(arguments) == ExitCode.STORAGE
        captured = capsys.readouterr()
        first, remedy = captured.err.splitlines()
        assert first == f"error: cannot use the data directory {tmp_path}/{name} (data.dir): {reason}"
        assert remedy.startswith("  = help: ")
        assert captured.out == ""


def test_a_log_that_is_not_there_yet_is_named_whole(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tickets"]) == ExitCode.OK
    assert f"there is no event log in {tmp_path}/data yet" in capsys.readouterr().err


@pytest.mark.requirement("I11")
def test_a_defect_is_told_without_secrets_and_traceback(
    failing: Callable[[BaseException], int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert failing(ValueError("bad canary-api-key at https://h/p?sig=canary-query\nmore")) == ExitCode.FAILED
    err = capsys.readouterr().err
    assert err.startswith("error: a defect of ecproc: ValueError: bad *** at https://h/p?***")
    assert "test_cli_usage.py:" in err
    assert "canary" not in err
    assert "Traceback" not in err


@pytest.mark.parametrize("error", [KeyboardInterrupt(), BaseExceptionGroup("x", [KeyboardInterrupt(), OSError()])])
def test_an_interrupt_exits_130_without_a_word(
    error: BaseException, failing: Callable[[BaseException], int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert failing(error) == ExitCode.INTERRUPTED
    assert capsys.readouterr().err == ""


def test_a_reader_that_went_away_is_no_failure(
    failing: Callable[[BaseException], int], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ecproc.cli.dispatch.abandon_output", lambda: None)
    assert failing(OutputClosed()) == ExitCode.OK
    assert capsys.readouterr().err == ""
