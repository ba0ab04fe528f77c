"""What comes from outside is shown on a terminal and never obeyed, wherever it is printed."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path
from typing import Final

import msgspec
import pytest

from ecproc.cli import main
from ecproc.cli.document import draw_document
from ecproc.cli.events import EventTable
from ecproc.cli.listing import write_table
from ecproc.cli.output import say, write_document, write_human
from ecproc.cli.printable import printable, printable_line
from ecproc.reading.escaping import one_line
from ecproc.reading.timeline import Happening, Timeline, TimelineEntry
from ecproc.telemetry.redaction import Redactor

RANGES: Final = (
    *(range(0x00, 0x20), range(0x7F, 0xA0), range(0x200B, 0x2010), range(0x2028, 0x202F), range(0x2060, 0x2070)),
    *(range(0xE0000, 0xE0080), (0x061C, 0xAD, 0xFEFF, 0x180E, 0xFFF9, 0xFFFB)),
)
HARMFUL: Final = [chr(code) for codes in RANGES for code in codes]
"""Controls, what turns the order of letters round, and what is there without being seen."""
SURROGATE: Final = "\udcff"
NASTY: Final = "".join(HARMFUL)
KEPT: Final = frozenset("\n\t")
WELCOME: Final = "äß 漢字 العربية עברית 👍 – “…” \\ \x20"


def is_harmless(text: str) -> bool:
    """Whether a terminal only shows it."""
    return not any(
        unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp") for character in text if character not in KEPT
    )


@pytest.mark.parametrize("character", [*HARMFUL, SURROGATE], ids=lambda character: f"{ord(character):x}")
def test_a_character_that_acts_is_written_out(character: str) -> None:
    shown = printable(f"a{character}b")
    assert is_harmless(shown)
    assert character in KEPT or shown.startswith("a\\")
    assert is_harmless(Redactor().redact(f"a{character}b"))


def test_letters_of_all_languages_stay() -> None:
    assert printable(WELCOME) == WELCOME
    assert one_line(WELCOME.encode()) == WELCOME.encode()


def test_a_document_keeps_its_values_and_shows_nothing_that_acts() -> None:
    document = msgspec.json.encode({NASTY: [NASTY, WELCOME]})
    line = one_line(document).decode()
    assert is_harmless(line)
    assert "\n" not in line
    assert json.loads(line) == {NASTY: [NASTY, WELCOME]}


def printed_by_all(text: str, *, says: bool = True) -> None:
    """Let everything that prints for a person print this."""
    if says:
        say(text)
        write_human(f"found {text}")
    write_table(("name", "value"), [(text, "1")])
    item = {"at": text, "author": text, "email": text, "body": text, "code": text, "detail": text, "position": 1}
    entry = {"key": text, "kind": text, "state": text, "attempts": 0}
    move = {"position": 1, "at": text, "event": text, "from": text, "to": text}
    document = {
        **{name: text for name in ("ticket", "type", "state", "client_ticket", "opened_at", "updated_at")},
        **{"version": 1, "position": 1, "effects_count": 1, "fields": {text: text}, "notes": [item]},
        **{"history": [move], "effects": [entry], "anomalies": [item], "links": [{"rel": text}]},
        **{
            "attachments": [{"name": text, "path": text}],
            "approvals": [{name: text for name in ("id", "name", "email", "state")}],
        },
        **{"client_tickets": [{"number": text}]},
    }
    waits = {"what": text, "who": text, "hint": text, "since": text, "until": text}
    for full in (False, True):
        timeline = Timeline(tuple(TimelineEntry(1, text, what, text, text) for what in Happening), 99)
        told = json.dumps(document | {"waiting_for": waits}).encode()
        write_human(*draw_document(told, timeline, now=0, full=full))


def test_tables_timelines_and_remarks_show_and_do_not_obey(capsys: pytest.CaptureFixture[str]) -> None:
    printed_by_all("\x1b[31mx" + "".join(character for character in NASTY if character not in "\n\r\t"))
    captured = capsys.readouterr()
    assert is_harmless(captured.out)
    assert is_harmless(captured.err)
    assert captured.out.count("\\x1b[31mx") > 10


FORGED: Final = "x\r\nFORGED\nFORGED\ty"


def test_what_is_one_line_has_no_second_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert printable_line(FORGED) == "x\\r\\nFORGED\\nFORGED\\ty"
    write_table(("name", "value"), [(FORGED, FORGED)], whole=("name", "value"))
    table = EventTable()
    table.write(
        json.dumps({"position": 1, "at": FORGED, "stream": FORGED, "kind": FORGED, "message_id": FORGED}).encode()
    )
    table.flush()
    assert len(capsys.readouterr().out.splitlines()) == 4
    printed_by_all(FORGED, says=False)
    printed = capsys.readouterr().out.splitlines()
    assert printed
    assert not [line for line in printed if line.startswith("FORGED")]


def test_a_text_of_several_lines_stays_readable_in_its_column(capsys: pytest.CaptureFixture[str]) -> None:
    document = {"ticket": "e-CS1", "version": 1, "position": 1, "updated_at": "", "state": None, "effects": []}
    note = TimelineEntry(1, "2026-01-31T12:00:00.000000Z", Happening.NOTE, "", "first\nsecond")
    write_human(*draw_document(json.dumps(document).encode(), Timeline((note,), 1), now=0, full=True))
    printed = capsys.readouterr().out.splitlines()
    (first,), (second,) = ([line.find(word) for line in printed if word in line] for word in ("first", "second"))
    assert first == second > 0


@pytest.mark.parametrize(
    "arguments",
    [["{}"], ["show", "{}"], ["events", "{}"], ["tickets", "--state", "{}"], ["show", "x", "--at", "{}"], ["--{}"]],
    ids=" ".join,
)
def test_an_argument_begins_no_line_of_its_own(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    main([argument.format("x\nFORGED") for argument in arguments])
    assert not [line for line in capsys.readouterr().err.splitlines() if line.startswith("FORGED")]


@pytest.mark.parametrize(
    "arguments",
    [
        ["{}"],
        ["outbox", "{}"],
        ["--{}"],
        ["tickets", "--{}"],
        ["tickets", "{}"],
        ["tickets", "--state", "{}"],
        ["tickets", "--limit", "{}"],
        ["tickets", "--since", "{}"],
        ["tickets", "--anomaly", "{}"],
        ["show", "{}"],
        ["show", "x", "--at", "{}"],
        ["events", "{}"],
        ["--config", "{}", "tickets"],
        ["simulate", "--scenario", "{}"],
    ],
    ids=" ".join,
)
def test_an_argument_is_shown_in_its_error_and_not_obeyed(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    nasty = "\x1b]0;owned\x07\x9b31m\u202e\u2066\u200b\u2028\r" + SURROGATE
    main([argument.format(nasty) for argument in arguments])
    err = capsys.readouterr().err
    assert err
    assert is_harmless(err)
    assert "a defect of" not in err


def test_bytes_that_are_no_text_are_no_defect_in_a_document(capsys: pytest.CaptureFixture[str]) -> None:
    write_document({"path": SURROGATE})
    assert capsys.readouterr().out == '{"path": "\\udcff"}\n'
