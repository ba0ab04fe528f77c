"""`outbox show` and `quarantine show`: everything about one entry and one message, and who waits for whom in a lane."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecproc.cli import main
from ecproc.domain.effects import Effect, EffectKind, Lane
from ecproc.domain.entry import Entry, EntryState
from ecproc.domain.ids import EffectKey, TicketNumber
from ecproc.errors import ExitCode
from ecproc.outbox.lanes import Run, choose_next
from ecproc.reading.lanes import LaneState, find_waiting
from ecproc.reading.quarantine import BadByte, find_bad_byte
from tests.unit.test_cli_reading import (  # noqa: F401 - fixtures
    CANARY,
    INCIDENT,
    QUARANTINED,
    at_terminal,
    built,
    call,
)

pytestmark = pytest.mark.usefixtures("logging_restored")

CREATE = f"create:{INCIDENT}:g1"
DOWNLOAD = f"att:{INCIDENT}:abc"


@pytest.mark.requirement("R202")
def test_an_entry_is_shown_with_its_cause_its_attempts_and_its_lane(call: Callable[..., str]) -> None:  # noqa: F811
    (listed,) = (entry for entry in json.loads(call("outbox", "list")) if entry["key"] == DOWNLOAD)
    shown = json.loads(call("outbox", "show", DOWNLOAD))
    assert {name: shown[name] for name in listed} == listed
    assert (shown["cause"]["kind"], shown["cause"]["message_id"]) == ("MessageReceived", "m-2")
    assert [(event["kind"], event["data"]["reason"]) for event in shown["events"]] == [
        ("EffectFailed", "403 from https://h/f?***")
    ]
    assert (shown["waits_for"], shown["blocks"]) == (None, [])
    until = "2023-11-14T22:13:20.000000Z"
    assert shown["lane_now"] == {"state": "waiting", "unfinished": 1, "next": DOWNLOAD, "until": until}
    done = json.loads(call("outbox", "show", CREATE))
    assert [event["kind"] for event in done["events"]] == ["EffectSucceeded"]
    assert (done["state"], done["result"]["number"]) == ("completed", "LOCAL-0000001")


def test_a_person_reads_what_became_of_an_entry(at_terminal: Callable[..., str]) -> None:  # noqa: F811
    text = at_terminal("outbox", "show", DOWNLOAD)
    assert text.splitlines()[0].split() == [DOWNLOAD, "download_attachment", "retryable"]
    for part in (
        "Cause",
        "m-2",
        "Attempts",
        "EffectFailed",
        "403 from https://h/f?***",
        "is tried again at 2023-11-14",
    ):
        assert part in text
    assert CANARY not in text
    assert json.loads(at_terminal("outbox", "show", DOWNLOAD, "--json"))["key"] == DOWNLOAD


@pytest.mark.parametrize("name", ["4", "m-3"])
def test_a_message_is_shown_with_the_byte_that_is_wrong(name: str, call: Callable[..., str]) -> None:  # noqa: F811
    (listed,) = json.loads(call("quarantine", "list"))
    shown = json.loads(call("quarantine", "show", name))
    assert {member: shown[member] for member in listed} == listed
    offset = QUARANTINED.index(b"\xff")
    assert shown["bad_byte"] == {"offset": offset, "line": 1, "column": offset + 1, "hex": "ff"}
    assert (shown["now"]["taken"], shown["now"]["reason"]) == (False, "undecodable")
    assert shown["raw"].startswith('{"ticketNumber":"e-CS9"')
    assert shown["same_id"] == []
    revealed = json.loads(call("quarantine", "show", name, "--reveal"))
    assert base64.b64decode(revealed["body_base64"]) == QUARANTINED


def test_a_person_reads_why_a_message_was_not_taken(at_terminal: Callable[..., str]) -> None:  # noqa: F811
    text = at_terminal("quarantine", "show", "m-3")
    assert text.splitlines()[0].split() == ["4", "e-CS9", "undecodable"]
    for part in ("0xff", "line 1", "no: undecodable", "Body as received"):
        assert part in text


@pytest.mark.requirement("I11")
def test_what_is_shown_of_one_is_masked_too(call: Callable[..., str]) -> None:  # noqa: F811
    for command in (("outbox", "show", DOWNLOAD), ("quarantine", "show", "4")):
        text = call(*command)
        assert CANARY not in text
        encoded = [base64.b64decode(part.partition('"')[0]) for part in text.split('"body_base64":"')[1:]]
        assert not any(CANARY.encode() in body for body in encoded)
        assert CANARY in call(*command, "--reveal")


@pytest.mark.usefixtures("call")
def test_what_is_not_there_is_a_failure_with_a_hint(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["outbox", "show", "create:e-CS1:g9"]) == ExitCode.FAILED
    assert main(["quarantine", "show", "m-1"]) == ExitCode.FAILED
    assert main(["quarantine", "show", "\udcff"]) == ExitCode.FAILED
    assert main(["outbox", "show", "\udcff"]) == ExitCode.FAILED
    assert main(["outbox", "list", "--ticket", "e-CS1"]) == ExitCode.FAILED
    told = capsys.readouterr().err
    assert "there is no outbox entry create:e-CS1:g9" in told
    assert "there is no message m-1 in quarantine" in told
    assert "there is no ticket e-CS1" in told


def test_the_outbox_is_filtered_by_kind_ticket_and_reason(call: Callable[..., str]) -> None:  # noqa: F811
    def keys(*options: str) -> list[str]:
        return [entry["key"] for entry in json.loads(call("outbox", "list", "--all", *options))]

    everything = keys()
    assert keys("--kind", "download_attachment") == [DOWNLOAD]
    assert keys("--ticket", "local-0000001".upper()) == everything
    assert keys("--ticket", INCIDENT, "--reason", "403 FROM") == [DOWNLOAD]
    assert keys("--reason", "nothing of the kind") == []


@pytest.mark.parametrize(
    ("raw", "found"),
    [
        (b"{}", None),
        (b'{"a":\xff}', BadByte(5, 1, 6, "ff")),
        (b'{\n "a": nope}', BadByte(9, 2, 8, "6f")),
        (b'{"a":1', BadByte(6, 1, 7, "")),
        ('{"ä": x}'.encode(), BadByte(7, 1, 7, "78")),
    ],
)
def test_the_first_byte_that_no_reader_takes_is_named(raw: bytes, found: BadByte | None) -> None:
    assert find_bad_byte(raw) == found


def planned(order: int, kind: EffectKind, state: EntryState, generation: int, until: int | None) -> Entry:
    """One entry of a ticket's desk lane."""
    key = EffectKey(f"{kind}:e-CS1:{order}")
    effect = Effect(key, kind, generation, order, 0, TicketNumber("e-CS1"), "Incident")
    return Entry(effect, order, state, next_attempt_at=None if state is EntryState.EXECUTING else until)


@st.composite
def lanes(draw: st.DrawFn) -> Sequence[Entry]:
    """The entries of one ticket and lane, in planned order."""
    kinds = st.sampled_from([EffectKind.CREATE, EffectKind.UPDATE, EffectKind.CLOSE])
    parts = st.tuples(kinds, st.sampled_from(EntryState), st.integers(1, 2), st.sampled_from([None, 5, 50]))
    return [planned(order, *part) for order, part in enumerate(draw(st.lists(parts, max_size=6)))]


@given(lanes())
def test_who_waits_for_whom_is_what_the_dispatcher_does(entries: Sequence[Entry]) -> None:
    waiting = find_waiting(entries)
    chosen = choose_next(entries, 10)
    unfinished = {entry.effect.key for entry in entries if not entry.finished}
    assert {entry.lane for entry in entries} <= {Lane.DESK}
    assert unfinished - set(waiting.behind) == ({waiting.next.effect.key} if waiting.next else set())
    if isinstance(chosen, Run):
        assert waiting.next == chosen.entry
    assert (waiting.next is None) == (waiting.state in (LaneState.IDLE, LaneState.HELD))
    assert (waiting.state is LaneState.EXECUTING) == (chosen is None and waiting.next is not None)
