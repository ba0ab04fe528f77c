"""Commands at the bridge: which call is made, what each answer counts as, and what is kept of it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
import pytest

from ecproc.bridge.base import Answer
from ecproc.config import CommandsConfig
from ecproc.domain.attempt import Attempt, Blamed, Done, Held, Odd, Uncertain
from ecproc.domain.deltas import Approval, ApprovalChanged, ClientTicket, ClientTicketChanged
from ecproc.domain.effects import Effect, EffectKind, Repeat
from ecproc.domain.entry import Entry, EntryState
from ecproc.domain.events import TicketType
from ecproc.domain.ids import ClientNumber, EffectKey, TicketNumber
from ecproc.domain.log import Batch, Row
from ecproc.domain.state import ApprovalState, TicketState
from ecproc.errors import BridgeUnavailable
from ecproc.fold.rows import ticket_rows
from ecproc.fold.tables import TABLES
from ecproc.outbox.perform.bridge import REPEATS, BridgePerformer
from ecproc.store.memory import MemoryStore
from tests.simulation.clock import VirtualClock
from tests.simulation.scripted_bridge import Line, ScriptedBridge
from tests.simulation.simloop import simulated_backend

K = EffectKind
UNTOLD: Final = CommandsConfig()
NUMBER: Final = ClientNumber("INC0010299")
STREAM: Final = f"client:{NUMBER}"
SUCCESSES: Final[Mapping[EffectKind, str]] = {
    K.CREATE_TICKET: "e-CS0204070",
    K.UPDATE_TICKET: "Update Successful",
    K.ADD_COMMENTS: "Comments added",
    K.RESOLVE_TICKET: "Ticket Closed Successfully",
    K.CLOSE_TICKET: "Ticket Closed Successfully",
    K.CANCEL_TICKET: "Update Successful",
    K.APPROVE_CHANGE: "Approval Received Successfully",
    K.REJECT_CHANGE: " Rejection Received Successfully",
}
CALLS: Final[Mapping[EffectKind, tuple[str, str]]] = {
    K.CREATE_TICKET: ("POST", "/tickets"),
    K.UPDATE_TICKET: ("PUT", "/tickets/e-CS1"),
    K.ADD_COMMENTS: ("PUT", "/tickets/e-CS1/notes"),
    K.RESOLVE_TICKET: ("PUT", "/tickets/e-CS1"),
    K.CLOSE_TICKET: ("PUT", "/tickets/e-CS1"),
    K.CANCEL_TICKET: ("PUT", "/tickets/e-CS1"),
    K.APPROVE_CHANGE: ("PUT", "/tickets/e-CS1/approve"),
    K.REJECT_CHANGE: ("PUT", "/tickets/e-CS1/reject"),
}
ONCE: Final = (K.CREATE_TICKET, K.ADD_COMMENTS)
"""What a repeat would do twice."""
GROUP_ERROR: Final = ["assigment group sys id or name not found.", "This ticket cannot be created."]


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return simulated_backend()


def say(response: object, status: int = 200, **members: Any) -> Answer:
    return Answer(status, json.dumps({"Response": response}).encode(), **members)


def make_entry(kind: EffectKind, fields: Mapping[str, str] | None = None, **members: Any) -> Entry:
    effect = Effect(
        key=EffectKey(f"{kind}:k"),
        kind=kind,
        generation=1,
        position=1,
        at=0,
        ticket=TicketNumber("" if kind is K.CREATE_TICKET else "e-CS1"),
        ticket_type="Incident",
        number=NUMBER,
        fields=fields or {},
    )
    return Entry(effect, 1, **members)


async def perform(
    entry: Entry,
    *lines: Line,
    rows: Sequence[Row] = (),
    commands: CommandsConfig = UNTOLD,
    began: int = 0,
    looks: list[str] | None = None,
) -> tuple[Attempt, ScriptedBridge]:
    bridge, store = ScriptedBridge(), MemoryStore(VirtualClock().now, TABLES)
    bridge.sends.extend(lines)
    await store.commit(Batch(rows=rows))

    async def look() -> None:
        if looks is not None:
            looks.append("look")

    performer = BridgePerformer(bridge, store, client_name="testClient", commands=commands, look=look)
    performer.began = began
    return await performer.perform(STREAM, entry), bridge


def call_of(kind: EffectKind, status: int | None = None) -> dict[str, str]:
    method, path = CALLS[kind]
    return {"method": method, "path": path} | ({} if status is None else {"status": str(status)})


def payload_of(bridge: ScriptedBridge, place: int = 0) -> Any:
    return json.loads(bridge.requests[place].body or b"")["payload"]


# --- what is kept of every call ---------------------------------------------------------------------------------------


@pytest.mark.requirement("R202", "R84")
@pytest.mark.parametrize("kind", SUCCESSES)
async def test_a_success_keeps_what_was_asked_and_what_was_answered(kind: EffectKind) -> None:
    attempt, bridge = await perform(make_entry(kind), say(SUCCESSES[kind], request_id="r-1"))

    number = {"number": "e-CS0204070"} if kind is K.CREATE_TICKET else {}
    assert attempt == Done({"answer": SUCCESSES[kind], **call_of(kind, 200), **number}, "r-1")
    (request,) = bridge.requests
    assert (request.method, request.path) == CALLS[kind]
    assert payload_of(bridge)["clientTicketNumber"] == NUMBER
    assert request.repeatable == (kind not in ONCE)


@pytest.mark.requirement("R202")
@pytest.mark.parametrize("kind", SUCCESSES)
@pytest.mark.parametrize(
    ("line", "expected", "status"),
    [
        (say("Thank you"), Odd("Thank you"), 200),
        (say(["no"], 400), Blamed("no", final=True), 400),
        (say("Bad Path"), Held("Bad Path", down=True), 200),
        (Answer(503, b""), Held("HTTP 503"), 503),
        (Answer(504, b""), Uncertain("HTTP 504"), 504),
        (BridgeUnavailable("timeout", sent=True), Uncertain("the bridge is unavailable (timeout)"), None),
        (BridgeUnavailable("connect", sent=False), Held("the bridge is unavailable (connect)"), None),
    ],
)
async def test_so_does_every_other_end(kind: EffectKind, line: Line, expected: Attempt, status: int | None) -> None:
    attempt, _ = await perform(make_entry(kind), line)

    assert not isinstance(attempt, Done)
    assert type(attempt) is type(expected)
    assert attempt.call == call_of(kind, status)
    assert not isinstance(expected, Done)
    assert getattr(attempt, "reason", "") == expected.reason


# --- Appendix D, by outcome class -------------------------------------------------------------------------------------


@pytest.mark.requirement("R219")
@pytest.mark.parametrize("kind", SUCCESSES)
@pytest.mark.parametrize("status", [200, 403, 500])
async def test_a_ticket_of_another_company_ends_this_command_and_holds_no_other(kind: EffectKind, status: int) -> None:
    attempt, bridge = await perform(make_entry(kind), say("APIKey not authorized for ticket company", status))

    assert isinstance(attempt, Blamed)
    assert (attempt.final, attempt.reason) == (True, "APIKey not authorized for ticket company")
    assert attempt.hint
    assert len(bridge.requests) == 1


@pytest.mark.requirement("R181")
@pytest.mark.parametrize("kind", [K.APPROVE_CHANGE, K.REJECT_CHANGE])
async def test_a_decision_that_nobody_knows_the_outcome_of_is_sent_again_as_it_was(kind: EffectKind) -> None:
    fields = {"approver": "a@x.com", "approvalid": "a1", "comment": "because"}
    lost = BridgeUnavailable("timeout", sent=True)

    first, once = await perform(make_entry(kind, fields), lost)
    again = make_entry(kind, fields, tries=1, attempts=1, state=EntryState.UNKNOWN)
    second, twice = await perform(again, say(SUCCESSES[kind]))

    assert (type(first), type(second)) == (Uncertain, Done)
    assert once.requests == twice.requests
    assert len(once.requests) == 1


@pytest.mark.requirement("R217", "R218", "R220")
@pytest.mark.parametrize("kind", SUCCESSES)
@pytest.mark.parametrize(
    "line",
    [
        say("Bad Path"),
        say("Unable to find mapping for ClientName", 400),
        Answer(403, b'{"message": "Forbidden"}'),
        Answer(403, b'{"message": "Missing Authentication Token"}'),
        Answer(401, b""),
    ],
)
async def test_what_every_call_would_get_holds_them_all_and_blames_none(kind: EffectKind, line: Answer) -> None:
    attempt, _ = await perform(make_entry(kind), line)

    assert isinstance(attempt, Held)
    assert attempt.down
    assert attempt.hint


@pytest.mark.requirement("R223")
@pytest.mark.parametrize("kind", SUCCESSES)
@pytest.mark.parametrize("status", [408, 425, 429, 503])
async def test_whoever_was_turned_away_waits_as_it_was_told(kind: EffectKind, status: int) -> None:
    attempt, _ = await perform(make_entry(kind), Answer(status, b"", 17.0))

    assert isinstance(attempt, Held)
    assert (attempt.wait, attempt.down) == (17.0, False)


@pytest.mark.requirement("R97", "R117")
@pytest.mark.parametrize("kind", SUCCESSES)
@pytest.mark.parametrize(
    "line",
    [
        Answer(500, b'{"message":"Internal server error"}'),
        Answer(502, b"<html>"),
        Answer(200, b""),
        Answer(200, b'{"errorMessage":"RequestId: 9a6c Error: Runtime exited"}'),
        Answer(200, b'{"statusCode":503,"body":"{}"}'),
    ],
)
async def test_what_failed_somewhere_in_its_work_may_have_been_done(kind: EffectKind, line: Answer) -> None:
    attempt, _ = await perform(make_entry(kind), line)

    assert isinstance(attempt, Uncertain if kind in ONCE else Held)


@pytest.mark.requirement("I4")
@pytest.mark.parametrize("kind", SUCCESSES)
async def test_words_that_nobody_knows_end_what_must_not_be_done_twice(kind: EffectKind) -> None:
    attempt, _ = await perform(make_entry(kind), say("Thank you"))

    assert isinstance(attempt, Odd)
    assert attempt.final == (kind in ONCE)


def test_each_command_says_why_a_repeat_is_harmless() -> None:
    assert {kind for kind, repeat in REPEATS.items() if repeat is Repeat.LOOK_UP} == {K.CREATE_TICKET}
    assert {kind for kind, repeat in REPEATS.items() if repeat is Repeat.BLIND} == {K.ADD_COMMENTS}
    assert set(REPEATS.values()) == {Repeat.LOOK_UP, Repeat.BLIND, Repeat.IDEMPOTENT}


# --- a create whose answer got lost -----------------------------------------------------------------------------------


def show_number(stream: str, ticket: str | None = None) -> list[Row]:
    """The live rows of a ticket whose message brought our number."""
    state = TicketState(stream, ticket=TicketNumber(ticket or stream), type=TicketType.INCIDENT)
    changed = ClientTicketChanged(ClientTicket(NUMBER, 1, returned=True, state="open"))
    return ticket_rows(state, [changed])


@pytest.mark.requirement("R97", "C25")
@pytest.mark.parametrize("state", [EntryState.UNKNOWN, EntryState.RETRYABLE])
async def test_a_repeated_create_asks_first_whether_its_number_came_back(state: EntryState) -> None:
    entry = make_entry(K.CREATE_TICKET, tries=1, state=state)

    attempt, bridge = await perform(entry, rows=show_number("CS0204070", "e-CS0204070"))

    assert attempt == Done({"answer": "shown by a message", "number": "e-CS0204070"})
    assert bridge.requests == []


@pytest.mark.requirement("R97", "I4")
@pytest.mark.parametrize(
    ("tries", "rows"),
    [
        (0, show_number("e-CS0204070")),  # nothing was sent yet, so nothing can have come back
        (1, []),
        (1, show_number(STREAM)),  # our own stream's word is none of Ensono's
    ],
)
async def test_else_it_is_sent(tries: int, rows: Sequence[Row]) -> None:
    attempt, bridge = await perform(make_entry(K.CREATE_TICKET, tries=tries), say("e-CS7000001"), rows=rows)

    assert isinstance(attempt, Done)
    assert attempt.result["number"] == "e-CS7000001"
    assert len(bridge.requests) == 1


async def test_no_other_command_is_done_by_a_number_that_came() -> None:
    for kind in SUCCESSES:
        if kind is not K.CREATE_TICKET:
            _, bridge = await perform(make_entry(kind, tries=1), rows=show_number("e-CS0204070"))
            assert len(bridge.requests) == 1


# --- what is refused although it is so already ------------------------------------------------------------------------

CLOSED: Final = ["The ticket must be in the resolved state for it to be closed.", "This ticket cannot be updated."]


def show_ticket(
    state: str, fields: Mapping[str, str] | None = None, approval: ApprovalState | None = None
) -> list[Row]:
    """The live rows of a ticket that is in that state and has those fields, or one approval in that state."""
    shown = TicketState(STREAM, ticket=TicketNumber(STREAM), type=TicketType.INCIDENT, state=state)
    shown.record.fields |= fields or {}
    asked = [] if approval is None else [ApprovalChanged(Approval("a1", "Ann", "ann@client.example", 1, approval, 1))]
    return ticket_rows(shown, asked)


@pytest.mark.requirement("I4")
@pytest.mark.parametrize(
    ("kind", "told", "rows", "is_done"),
    [
        (K.CLOSE_TICKET, {"status": "closed", "closeNotes": "Ours."}, show_ticket("closed"), True),
        (K.CLOSE_TICKET, {"status": "closed", "closeNotes": "Ours."}, show_ticket("open"), False),
        (K.CLOSE_TICKET, {"status": "closed", "closeNotes": "Ours."}, [], False),
        (K.RESOLVE_TICKET, {"status": "resolved"}, show_ticket("resolved"), True),
        (K.RESOLVE_TICKET, {"status": "resolved"}, show_ticket("closed"), False),
        (K.CANCEL_TICKET, {"status": "cancelled"}, show_ticket("cancelled"), True),
        (K.UPDATE_TICKET, {"priority": "2", "status": "pending"}, show_ticket("pending", {"priority": "2"}), True),
        (K.UPDATE_TICKET, {"priority": "2", "status": "pending"}, show_ticket("pending", {"priority": "3"}), False),
        (K.UPDATE_TICKET, {"priority": "2"}, show_ticket("pending"), False),
        (K.APPROVE_CHANGE, {"approvalid": "a1"}, show_ticket("Assess", approval=ApprovalState.APPROVED), True),
        (K.APPROVE_CHANGE, {"approvalid": "a1"}, show_ticket("Assess", approval=ApprovalState.REJECTED), False),
        (K.REJECT_CHANGE, {"approvalid": "a1"}, show_ticket("Assess", approval=ApprovalState.REJECTED), True),
        (K.ADD_COMMENTS, {"comments": '[{"body":"b"}]'}, show_ticket("closed"), False),
    ],
)
async def test_what_is_refused_is_done_where_messages_show_it(
    kind: EffectKind, told: Mapping[str, str], rows: Sequence[Row], is_done: bool
) -> None:
    attempt, bridge = await perform(make_entry(kind, told), say(CLOSED, 400, request_id="r"), rows=rows)

    assert len(bridge.requests) == 1
    if is_done:
        assert isinstance(attempt, Done)
        assert attempt.result["answer"] == "shown by a message"
        assert (attempt.result["refusal"], attempt.result["status"], attempt.request_id) == (
            " ".join(CLOSED),
            "400",
            "r",
        )
    else:
        assert isinstance(attempt, Blamed)
        assert attempt.final


@pytest.mark.requirement("I4")
@pytest.mark.parametrize(
    ("members", "began", "waits"),
    [
        ({}, 0, False),  # nobody tried it before
        ({}, 1, True),  # it stood in the log when this process began
        ({"tries": 1, "state": EntryState.RETRYABLE}, 0, True),
        ({"tries": 2, "state": EntryState.UNKNOWN}, 1, None),
    ],
)
async def test_a_refusal_of_what_may_have_been_done_waits_once_for_the_message_that_shows_it(
    members: Mapping[str, Any], began: int, waits: bool | None
) -> None:
    entry = make_entry(K.CLOSE_TICKET, {"status": "closed", "closeNotes": "Ours."}, **members)

    looks: list[str] = []
    attempt, _ = await perform(entry, say(CLOSED, 400), rows=show_ticket("resolved"), began=began, looks=looks)

    assert bool(looks) == bool(members or began), "the queue is read only where somebody may have been there before"
    if waits is None:  # by then no message is on its way any more
        assert isinstance(attempt, Done)
    else:
        assert isinstance(attempt, Uncertain if waits else Blamed)
        assert attempt.reason == " ".join(CLOSED)


@pytest.mark.requirement("I4", "R104", "R215")
@pytest.mark.parametrize(
    ("kind", "words", "state", "is_done"),
    [
        (K.CLOSE_TICKET, CLOSED, "resolved", True),
        (K.CLOSE_TICKET, CLOSED, "open", False),  # a message says that it came back
        (K.CLOSE_TICKET, ["Mandatory fields missing: closeNotes"], "resolved", False),
        (K.CANCEL_TICKET, CLOSED, "resolved", False),
    ],
)
async def test_a_ticket_that_left_the_resolved_state_unseen_was_closed_by_a_call_before(
    kind: EffectKind, words: list[str], state: str, *, is_done: bool
) -> None:
    told = {"status": "closed" if kind is K.CLOSE_TICKET else "cancelled"}
    entry = make_entry(kind, told, tries=2, state=EntryState.UNKNOWN)

    attempt, _ = await perform(entry, say(words, 400), rows=show_ticket(state))

    assert isinstance(attempt, Done if is_done else Blamed)


@pytest.mark.requirement("I4", "R97", "R117")
@pytest.mark.parametrize("kind", SUCCESSES)
@pytest.mark.parametrize(
    ("members", "ends"),
    [
        ({"attempts": 9, "state": EntryState.UNKNOWN}, False),
        ({"attempts": 10, "state": EntryState.UNKNOWN}, True),
        ({"attempts": 12, "blamed": 3, "state": EntryState.UNKNOWN}, False),
        ({"attempts": 10, "state": EntryState.AVAILABLE}, False),  # a person retried it
    ],
)
async def test_what_is_unknown_again_and_again_waits_for_a_person_unless_repeats_are_harmless(
    kind: EffectKind, members: Mapping[str, Any], ends: bool
) -> None:
    attempt, bridge = await perform(make_entry(kind, tries=12, reason="no answer", **members), say(SUCCESSES[kind]))

    if ends and kind in ONCE:
        assert isinstance(attempt, Blamed)
        assert (attempt.final, attempt.reason) == (True, "unknown 10 times, lastly: no answer")
        assert bridge.requests == []
    else:
        assert isinstance(attempt, Done)


# --- groups -----------------------------------------------------------------------------------------------------------

DEFAULT: Final = CommandsConfig(default_group="Ensono Service Desk")
WANTED: Final = {"group": "No Such Group", "priority": "4"}


@pytest.mark.requirement("R203", "R221", "R92")
@pytest.mark.parametrize("kind", [K.CREATE_TICKET, K.UPDATE_TICKET])
async def test_a_refused_group_is_replaced_once_by_the_default_one(kind: EffectKind) -> None:
    lines = [say(GROUP_ERROR, 400), say(SUCCESSES[kind], request_id="r")]

    attempt, bridge = await perform(make_entry(kind, WANTED), *lines, commands=DEFAULT)

    assert isinstance(attempt, Done)
    assert attempt.request_id == "r"
    assert (attempt.result["group"], attempt.result["wanted_group"]) == ("Ensono Service Desk", "No Such Group")
    assert attempt.result["refusal"] == " ".join(GROUP_ERROR)
    assert [payload_of(bridge, place)["group"] for place in (0, 1)] == ["No Such Group", "Ensono Service Desk"]
    assert payload_of(bridge, 1)["priority"] == "4"


@pytest.mark.requirement("R203", "R221")
@pytest.mark.parametrize(
    ("wanted", "commands", "calls"),
    [
        (WANTED, CommandsConfig(), 1),
        ({"group": "Ensono Service Desk"}, DEFAULT, 1),
        (WANTED, DEFAULT, 2),
    ],
)
async def test_where_that_does_not_help_it_ends_with_the_reason(
    wanted: Mapping[str, str], commands: CommandsConfig, calls: int
) -> None:
    lines = [say(GROUP_ERROR)] * calls

    attempt, bridge = await perform(make_entry(K.CREATE_TICKET, wanted), *lines, commands=commands)

    assert isinstance(attempt, Blamed)
    assert (attempt.final, attempt.reason) == (True, " ".join(GROUP_ERROR))
    assert "group" in attempt.hint
    assert len(bridge.requests) == calls


@pytest.mark.requirement("R97")
async def test_a_second_call_that_got_lost_is_as_unknown_as_a_first() -> None:
    lines: list[Line] = [say(GROUP_ERROR), BridgeUnavailable("timeout", sent=True)]

    attempt, _ = await perform(make_entry(K.CREATE_TICKET, WANTED), *lines, commands=DEFAULT)

    assert isinstance(attempt, Uncertain)


async def test_another_refusal_is_not_about_the_group() -> None:
    attempt, bridge = await perform(make_entry(K.CREATE_TICKET, WANTED), say(["Invalid ticketType."]), commands=DEFAULT)

    assert isinstance(attempt, Blamed)
    assert len(bridge.requests) == 1


@pytest.mark.requirement("C14", "C15")
async def test_the_clients_spelling_reaches_the_wire() -> None:
    commands = CommandsConfig(approval_id_name="approvalId", change_note_type="Incident")
    note = make_entry(K.ADD_COMMENTS, {"comments": '[{"body":"x"}]'})
    note = msgspec.structs.replace(note, effect=msgspec.structs.replace(note.effect, ticket_type="Change"))

    _, noted = await perform(note, commands=commands)
    _, approved = await perform(make_entry(K.APPROVE_CHANGE, {"approvalid": "7"}), commands=commands)

    assert payload_of(noted)["ticketType"] == "Incident"
    assert payload_of(approved)["approvalId"] == "7"
