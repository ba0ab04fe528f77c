"""What is said of each command: its options are all told, its example works, and `--help` shows both."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

import pytest

from ecproc.cli import main
from ecproc.cli.catalogue import COMMANDS, GROUPS, Command
from ecproc.cli.parser import build_parser
from ecproc.cli.reference import CommandReference, find_command, list_commands, split_docstring

BY_NAME = {command.name: command for command in list_commands()}


def list_examples(command: CommandReference) -> list[list[str]]:
    """The command lines of the example as a shell takes them, less what they are piped into."""
    text = "\n".join(command.example).replace("\\\n", " ")
    lines = [shlex.split(line) for line in text.splitlines() if line and not line.startswith("#")]
    return [line[: next((at for at, word in enumerate(line) if word in ("|", ">")), len(line))] for line in lines]


def test_commands_come_in_the_order_of_the_catalogue() -> None:
    assert list(BY_NAME) == [command.name for command in COMMANDS]
    assert all(BY_NAME[command.name].summary == command.summary for command in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_every_command_has_an_example_that_its_parser_takes(command: Command) -> None:
    examples = list_examples(BY_NAME[command.name])
    assert examples
    for words in examples:
        assert words[0] == "ecproc"
        own = words[3:] if words[1] == "--config" else words[1:]
        assert own[: len(command.name.split())] == command.name.split()
        app = build_parser([command])
        app.parse_args(own, exit_on_error=False, print_error=False)


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_every_argument_and_option_says_what_it_is(command: Command) -> None:
    told = BY_NAME[command.name]
    assert all(text.endswith((".", ":")) for text in told.text)
    for item in (*told.arguments, *told.options):
        assert item.help.endswith("."), item
        assert "[choices" not in item.help
    assert "--config" in [option.names[0] for option in told.options]


def test_what_a_parameter_is_can_be_read_off() -> None:
    retry = BY_NAME["outbox retry"]
    options = {option.names[0]: option for option in retry.options}
    assert [(item.names, item.repeated, item.required) for item in retry.arguments] == [(("KEYS",), True, False)]
    assert options["--lane"].choices == ("desk", "bridge", "attachments")
    assert (options["--lane"].value, options["--limit"].value, options["--reason"].value) == ("LANE", "N", "TEXT")
    assert (options["--force"].value, options["--force"].names) == ("", ("--force",))
    assert {option.names[0]: option.default for option in BY_NAME["simulate"].options}["--port"] == "8700"
    assert {option.names[0]: option.default for option in BY_NAME["replay"].options}["--processes"] == "1"
    faults = BY_NAME["demo"].options[1]
    assert (faults.names, faults.default) == (("--faults", "--no-faults"), "on")
    at = next(option for option in BY_NAME["show"].options if option.names[0] == "--at")
    assert at.value == "POSITION|TIME"
    number = next(option for option in BY_NAME["send create"].options if option.names[0] == "--number")
    assert number.required
    assert "--session" not in options


def test_usage_names_what_must_be_given() -> None:
    assert find_command("show").usage == "ecproc show [OPTIONS] TICKET"
    assert find_command("outbox retry").usage == "ecproc outbox retry [OPTIONS] [KEYS...]"
    assert find_command("send resolve").usage == "ecproc send resolve --notes TEXT [OPTIONS] TICKET"


def test_an_example_is_kept_as_it_is_written() -> None:
    text = "One\nsentence.\n\nAnother\none.\n\nExample:\n    a \\\n      b\n\n    c"
    assert split_docstring(text) == (("One sentence.", "Another one."), ("a \\", "  b", "", "c"))
    assert split_docstring("Only this.") == (("Only this.",), ())


@pytest.mark.parametrize("width", [40, 80, 132])
@pytest.mark.parametrize(
    "words", [["--help"], *([name, "--help"] for name in GROUPS), *([*name.split(), "--help"] for name in BY_NAME)]
)
def test_help_has_one_form_and_fits_the_terminal(
    words: Sequence[str], width: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    assert main(list(words)) == 0
    help_text, _, example = capsys.readouterr().out.partition("\nExample:\n")
    lines = help_text.splitlines()
    assert lines[0].startswith("Usage: ecproc")
    assert {line for line in lines if line and not line.startswith((" ", "Usage"))} & {"Options:"}
    assert [line for line in lines if len(line) > width and " " in line.strip()] == []
    assert not any(line.endswith(" ") for line in lines)
    command = BY_NAME.get(" ".join(words[:-1]))
    assert [line[2:] for line in example.splitlines()] == list(command.example if command else ())


@pytest.mark.parametrize("name", ["tickets", "events", "reconcile", "show"])
def test_json_says_whether_it_is_one_document_or_many(name: str) -> None:
    told = next(option.help for option in BY_NAME[name].options if option.names[0] == "--json")
    assert ("one JSON document" in told) == (name == "show")
    assert ("a document on each line" in told) == (name != "show")
