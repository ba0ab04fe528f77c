"""What is asked of Ensono, checked against ticket and guide: accepted, refused with what is possible, or no-op."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given as for_all
from hypothesis import settings
from hypothesis import strategies as st

from ecproc.commands.capability import MATRIX, READABLE, Refusal, check_capability
from ecproc.commands.checks import (
    Checked,
    CommandRequest,
    Unchanged,
    check_command,
    digest_request,
    find_home,
    name_command,
)
from ecproc.commands.known import KnownTicket, know_ticket
from ecproc.commands.requests import AnyCommand, write_request
from ecproc.commands.values import CLOSED, FIELDS, LONGEST, REQUIRED
from ecproc.config import CommandsConfig
from ecproc.domain import incident as incident_machine
from ecproc.domain.commands import CommandAccepted, CommandKind, Comment
from ecproc.domain.events import EffectFailed, TicketType
from ecproc.domain.ids import EffectKey
from ecproc.testing.ticket import Life, approver, change, given, incident, succeed
from tests.simulation.strategies import History, histories

K = CommandKind
OPEN = given(incident("Create", status="open", priority="3", group="A", clientTicketNumber="INC1"))
CREATE: dict[str, Any] = {
    "clientTicketNumber": "INC7",
    "ticketType": "Incident",
    "shortDescription": "s",
    "description": "d",
    "contactName": "Jason Doe",
    "contactEmail": "j@x.com",
}


def ask(
    kind: CommandKind,
    life: Life | None = None,
    *comments: Comment,
    key: str = "",
    options: CommandsConfig | None = None,
    environment: str = "prod",
    **fields: Any,
) -> Checked:
    """What becomes of it; updates and notes get a key."""
    needs = kind in (K.UPDATE, K.NOTE) and not key
    request = CommandRequest(kind=kind, fields=fields, comments=comments, key="k" if needs else key, who="me")
    ticket = know_ticket(life.state) if life is not None else None
    return check_command(request, ticket, options or CommandsConfig(), environment=environment)


def accepted(checked: Checked) -> CommandAccepted:
    assert isinstance(checked, CommandAccepted), checked
    return checked


def refused(checked: Checked) -> tuple[str, tuple[str, ...]]:
    """The field that is named, and what is allowed."""
    assert isinstance(checked, Refusal), checked
    assert checked.reason
    return checked.field, checked.allowed


def after(status: str) -> Life:
    return given(
        incident("Create", status="open", clientTicketNumber="INC1"),
        incident("Update", status=status, clientTicketNumber="INC1", changed={"status": status}),
    )


# --- the matrix -------------------------------------------------------------------------------------------------------


@pytest.mark.requirement("R87", "R136", "R162")
def test_changes_have_notes_numbers_and_decisions_alone_and_nothing_else_has_decisions() -> None:
    assert MATRIX.keys() == set(CommandKind)
    of_changes = {kind for kind, types in MATRIX.items() if TicketType.CHANGE in types}
    assert of_changes == {K.NOTE, K.RETURN_NUMBER, K.APPROVE, K.REJECT}
    assert {kind for kind in CommandKind if TicketType.INCIDENT not in MATRIX[kind]} == {K.APPROVE, K.REJECT}
    assert all((TicketType.INCIDENT in types) == (TicketType.REQUEST in types) for types in MATRIX.values())
    assert {"dev", "echo"} == READABLE


@pytest.mark.requirement("R10", "R12")
@pytest.mark.parametrize("kind", CommandKind)
@pytest.mark.parametrize("type_", TicketType)
def test_what_is_not_served_is_refused_with_the_types_that_are(kind: CommandKind, type_: TicketType) -> None:
    refusal = check_capability(kind, type_, environment="prod")
    assert (refusal is None) == (type_ in MATRIX[kind])
    if refusal is not None:
        assert set(refusal.allowed) == {item.value for item in MATRIX[kind]}
    assert (check_capability(kind, type_, environment="echo") is None) == (
        type_ in MATRIX[kind] and type_ is not TicketType.CHANGE
    )


# --- creates ----------------------------------------------------------------------------------------------------------


@pytest.mark.requirement("R86", "C31", "R197")
def test_a_create_says_everything_that_is_required() -> None:
    command = accepted(ask(K.CREATE, **CREATE))
    assert command.key == "ec-create:INC7"
    expected = {name: value for name, value in CREATE.items() if name != "clientTicketNumber"}
    assert command.fields == {**expected, "priority": "3"}
    request = CommandRequest(kind=K.CREATE, fields=CREATE)
    assert find_home(request, None) == "client:INC7"
    for name in REQUIRED[K.CREATE]:
        field, allowed = refused(ask(K.CREATE, **{key: value for key, value in CREATE.items() if key != name}))
        assert (field, allowed) == (name, CLOSED.get(name, ()))


@pytest.mark.requirement("R94")
def test_the_contact_is_the_configured_one_where_none_is_named() -> None:
    options = CommandsConfig(contact_name="Desk", contact_email="desk@x.com")
    bare: dict[str, Any] = {name: value for name, value in CREATE.items() if not name.startswith("contact")}
    assert accepted(ask(K.CREATE, options=options, **bare)).fields["contactEmail"] == "desk@x.com"
    assert accepted(ask(K.CREATE, options=options, **CREATE)).fields["contactName"] == "Jason Doe"


@pytest.mark.requirement("R90", "R91", "R86")
@pytest.mark.parametrize(
    ("told", "blamed"),
    [
        ({"priority": "5"}, ("priority", ("1", "2", "3", "4"))),
        ({"impact": "4", "urgency": "1"}, ("impact", ("1", "2", "3"))),
        ({"impact": "1"}, ("urgency", ("1", "2", "3"))),
        ({"urgency": "1"}, ("impact", ("1", "2", "3"))),
        ({"priority": "1", "impact": "1", "urgency": "1"}, ("impact", ())),
        ({"ticketType": "Change"}, ("ticketType", ("Incident", "Request"))),
        ({"cis": "a,,b"}, ("cis", ())),
        ({"description": "  "}, ("description", ())),
        ({"clientTicketNumber": "n/a"}, ("clientTicketNumber", ())),
        ({"group": "a\nb"}, ("group", ())),
        ({"description": "a\x00b"}, ("description", ())),
        ({"description": "d" * (LONGEST + 1)}, ("description", ())),
        ({"status": "open"}, ("status", tuple(sorted(FIELDS[K.CREATE])))),
        ({"colour": "red"}, ("colour", tuple(sorted(FIELDS[K.CREATE])))),
    ],
)
def test_a_field_that_is_wrong_is_named_with_what_it_may_be(told: dict[str, Any], blamed: Any) -> None:
    assert refused(ask(K.CREATE, **{**CREATE, **told})) == blamed


def test_texts_may_have_lines_and_letters_of_all_scripts() -> None:
    command = accepted(ask(K.CREATE, **{**CREATE, "description": " ä\r\n\t😀 "}))
    assert command.fields["description"] == " ä\r\n\t😀 "
    assert accepted(ask(K.CREATE, **CREATE, impact="1", urgency="2")).fields.get("priority") is None


@pytest.mark.requirement("R96")
def test_a_number_that_ensono_has_is_not_opened_again() -> None:
    assert refused(ask(K.CREATE, OPEN, **CREATE)) == ("clientTicketNumber", ())


@pytest.mark.requirement("R88")
@pytest.mark.parametrize(("name", "limit"), [("description", 4_000), ("shortDescription", 160)])
def test_an_over_long_text_is_refused_where_the_client_wants_that(name: str, limit: int) -> None:
    refuse = CommandsConfig(overflow="refuse")
    for letter in ("a", "😀"):
        fits, not_ = {**CREATE, name: letter * limit}, {**CREATE, name: letter * (limit + 1)}
        assert accepted(ask(K.CREATE, options=refuse, **fits)).fields[name] == letter * limit
        assert refused(ask(K.CREATE, options=refuse, **not_)) == (name, ())
        assert accepted(ask(K.CREATE, **not_)).fields[name] == letter * (limit + 1)
    assert refused(ask(K.NOTE, OPEN, Comment("a" * 3_990, commenter="Jason"), options=refuse)) == ("body", ())


# --- updates ----------------------------------------------------------------------------------------------------------


@pytest.mark.requirement("R102", "R103", "R197")
def test_only_what_changes_is_sent() -> None:
    assert accepted(ask(K.UPDATE, OPEN, priority="2", group="A")).fields == {"priority": "2"}
    assert "group" not in accepted(ask(K.UPDATE, OPEN, description="new")).fields
    assert isinstance(ask(K.UPDATE, OPEN, priority="3", group="A", status="open"), Unchanged)
    assert refused(ask(K.UPDATE, OPEN))[0] == ""


@pytest.mark.requirement("R102")
def test_our_own_commands_under_way_count_as_done_until_they_are_dead() -> None:
    life = given(incident("Create", status="open", priority="3", clientTicketNumber="INC1"))
    life.when(accepted(ask(K.UPDATE, life, priority="2", key="u1")))
    assert isinstance(ask(K.UPDATE, life, priority="2", key="u2"), Unchanged)
    assert accepted(ask(K.UPDATE, life, priority="3", key="u2")).fields == {"priority": "3"}
    life.when(EffectFailed(EffectKey("u1"), "no", blamed=True))
    assert accepted(ask(K.UPDATE, life, priority="2", key="u2")).fields == {"priority": "2"}


@pytest.mark.requirement("R111", "R104")
def test_a_status_is_asked_for_only_where_the_table_leads() -> None:
    assert accepted(ask(K.UPDATE, after("resolved"), status="open")).fields == {"status": "open"}
    assert refused(ask(K.UPDATE, OPEN, status="resolved")) == ("status", CLOSED["status"])
    assert refused(ask(K.UPDATE, OPEN, status="New")) == ("status", CLOSED["status"])
    assert {*CLOSED["status"], "resolved", "closed", "cancelled"} == {state.value for state in incident_machine.State}


@pytest.mark.parametrize("kind", [K.UPDATE, K.NOTE])
def test_an_update_and_a_note_need_a_key_of_their_own(kind: CommandKind) -> None:
    request = CommandRequest(kind=kind, fields={"group": "B"} if kind is K.UPDATE else {}, comments=(Comment("text"),))
    ticket = know_ticket(OPEN.state)
    assert refused(check_command(request, ticket, CommandsConfig(), environment="prod")) == ("key", ())


# --- what ends a ticket -----------------------------------------------------------------------------------------------


@pytest.mark.requirement("R80", "R82", "R206")
@pytest.mark.parametrize("status", [state.value for state in incident_machine.State])
@pytest.mark.parametrize("kind", [K.RESOLVE, K.CLOSE, K.CANCEL])
def test_a_ticket_is_ended_only_where_the_table_leads(kind: CommandKind, status: str) -> None:
    target = {K.RESOLVE: "resolved", K.CLOSE: "closed", K.CANCEL: "cancelled"}[kind]
    life = after(status)
    checked = ask(kind, life, closeNotes="done")
    moves = incident_machine.EXPECTED[incident_machine.State(status)]
    if status in incident_machine.FINAL and (target not in moves or status == target):
        assert refused(checked)[0] == "ticket"
    elif status == target:
        assert isinstance(checked, Unchanged)
    elif target in moves:
        assert accepted(checked).key == f"ec-{kind}:e-CS1:1"
    else:
        assert refused(checked) == ("ticket", tuple(sorted(moves - {status})))


@pytest.mark.requirement("R80", "R112")
def test_a_ticket_is_resolved_on_its_way_to_closed_where_the_client_wants_that() -> None:
    options = CommandsConfig(close_open="resolve_first")
    assert accepted(ask(K.CLOSE, OPEN, closeNotes="done", options=options)).fields == {
        "closeNotes": "done",
        "resolveFirst": "true",
    }
    assert accepted(ask(K.CLOSE, after("resolved"), closeNotes="done", options=options)).fields == {
        "closeNotes": "done"
    }
    assert refused(ask(K.CLOSE, OPEN, options=options)) == ("closeNotes", ())


@pytest.mark.requirement("R80")
def test_a_close_may_follow_a_resolve_that_is_under_way() -> None:
    life = given(incident("Create", status="open", clientTicketNumber="INC1"))
    life.when(accepted(ask(K.RESOLVE, life, closeNotes="done")))
    assert accepted(ask(K.CLOSE, life, closeNotes="done")).key == "ec-close:e-CS1:1"
    assert isinstance(ask(K.RESOLVE, life, closeNotes="done"), Unchanged)


@pytest.mark.requirement("I4")
def test_a_ticket_that_came_back_is_resolved_under_another_key() -> None:
    life = after("resolved").when(
        incident("Update", status="open", clientTicketNumber="INC1", changed={"status": "open"})
    )
    assert accepted(ask(K.RESOLVE, life, closeNotes="done")).key == "ec-resolve:e-CS1:2"


@pytest.mark.requirement("R76")
def test_a_resolved_ticket_still_takes_notes_updates_and_files() -> None:
    life = after("resolved")
    file: dict[str, Any] = {"name": "a.txt", "sha256": "0" * 64, "size": "1", "type": "text/plain"}

    assert accepted(ask(K.NOTE, life, Comment("text"))).command is K.NOTE
    assert accepted(ask(K.UPDATE, life, group="B")).fields == {"group": "B"}
    assert accepted(ask(K.ATTACH, life, **file)).command is K.ATTACH


@pytest.mark.requirement("R93")
def test_configuration_items_are_joined_by_commas_and_a_name_with_one_is_refused() -> None:
    told = {"kind": "create", "type": "Incident", "number": "INC7", "short": "s", "description": "d"}

    def take(*cis: str) -> CommandRequest:
        return write_request(msgspec.convert({**told, "cis": cis}, AnyCommand), key="", who="me")

    assert take("one", "two three").fields["cis"] == "one,two three"
    with pytest.raises(msgspec.ValidationError, match=r"cis\[1\]"):
        take("one", "two,three")


@pytest.mark.requirement("R76", "R111")
@pytest.mark.parametrize("status", ["closed", "cancelled"])
@pytest.mark.parametrize("kind", [K.NOTE, K.UPDATE, K.ATTACH, K.RETURN_NUMBER, K.RESOLVE])
def test_a_ticket_that_is_over_takes_nothing_more(kind: CommandKind, status: str) -> None:
    assert refused(ask(kind, after(status), Comment("text")))[0] == "ticket"


@pytest.mark.parametrize("kind", [kind for kind in CommandKind if kind is not K.CREATE])
def test_an_unknown_ticket_is_refused(kind: CommandKind) -> None:
    assert refused(ask(kind, None)) == ("ticket", ())
    assert refused(ask(kind, Life("e-CS9"))) == ("ticket", ())


# --- notes, files, numbers --------------------------------------------------------------------------------------------


@pytest.mark.requirement("R115")
def test_a_note_needs_a_text() -> None:
    assert accepted(ask(K.NOTE, OPEN, Comment("text", "c1"))).comments == (Comment("text", "c1"),)
    for comments in ((), (Comment(" \n"),), (Comment("text"), Comment(""))):
        assert refused(ask(K.NOTE, OPEN, *comments)) == ("body", ())
    assert refused(ask(K.NOTE, OPEN, Comment("a\x07"))) == ("body", ())
    assert refused(ask(K.NOTE, OPEN, Comment("a", commenter="b" * 2_000))) == ("commenter", ())


def test_a_number_and_a_file_have_keys_by_nature() -> None:
    assert accepted(ask(K.RETURN_NUMBER, OPEN, clientTicketNumber=" INC2 ")).key == "returnptn:e-CS1:INC2"
    file: dict[str, Any] = {"name": "a.txt", "sha256": "00ff", "size": "1", "type": "text/plain"}
    assert accepted(ask(K.ATTACH, OPEN, **file)).key == "ec-att:e-CS1:00ff:a.txt"
    assert accepted(ask(K.ATTACH, OPEN, key="mine", **file)).key == "mine"
    assert refused(ask(K.RETURN_NUMBER, OPEN, clientTicketNumber="none")) == ("clientTicketNumber", ())


# --- changes ----------------------------------------------------------------------------------------------------------


BODY: dict[str, Any] = {"type": "Normal", "state": "Assess", "clientTicketNumber": "CHG1"}
DECIDE: dict[str, Any] = {"approver": "B@x.com", "comment": "because"}


def asking() -> Life:
    asks = [{**approver(name), "approverEmail": f"{name}@x.com"} for name in ("a", "b", "c")]
    return given(change("Create", **BODY), *(change("Approval Request", **BODY, **one) for one in asks))


@pytest.mark.requirement("R173", "R178")
def test_a_decision_is_about_the_approvers_own_request_else_the_first() -> None:
    assert accepted(ask(K.APPROVE, asking(), **DECIDE)).fields == {
        **DECIDE,
        "approverName": "Approver b",
        "approvalid": "b",
    }
    assert accepted(ask(K.REJECT, asking(), **{**DECIDE, "approver": "z@x.com"})).fields["approvalid"] == "a"
    assert accepted(ask(K.APPROVE, asking(), **DECIDE, approvalid="c")).fields["approvalid"] == "c"
    assert accepted(ask(K.APPROVE, asking(), **DECIDE)).key == "decision:e-CHG1:g1"
    assert refused(ask(K.APPROVE, asking(), **DECIDE, approvalid="x")) == ("approvalid", ("a", "b", "c"))


@pytest.mark.requirement("R176")
@pytest.mark.parametrize("name", ["approver", "comment"])
def test_a_decision_names_its_approver_and_its_reason(name: str) -> None:
    told: dict[str, Any] = {key: value for key, value in DECIDE.items() if key != name}
    assert refused(ask(K.REJECT, asking(), **told)) == (name, ())
    assert refused(ask(K.REJECT, asking(), **(told | {name: " "}))) == (name, ())


@pytest.mark.requirement("R177", "R180")
def test_a_generation_is_answered_once_and_a_redraft_makes_its_requests_void() -> None:
    life = asking()
    life.when(accepted(ask(K.APPROVE, life, **DECIDE)))
    assert refused(ask(K.REJECT, life, **DECIDE)) == ("ticket", ())
    life.when(succeed("decision:e-CHG1:g1", answer="ok"))
    assert refused(ask(K.REJECT, life, **DECIDE)) == ("ticket", ())

    again = asking().when(change("Redraft", **{**BODY, "state": "New"})).when(change("Update", **BODY))
    checked = ask(K.APPROVE, again, **DECIDE)
    assert isinstance(checked, Refusal)
    assert "void" in checked.reason
    again.when(change("Approval Request", **BODY, **approver("d")))
    assert accepted(ask(K.APPROVE, again, **DECIDE)).key == "decision:e-CHG1:g2"


@pytest.mark.requirement("R12", "R10", "R162")
def test_a_change_takes_no_updates_and_the_echo_no_changes() -> None:
    assert refused(ask(K.UPDATE, asking(), group="B")) == ("ticket", ("Incident", "Request"))
    assert accepted(ask(K.NOTE, asking(), Comment("text"))).command is K.NOTE
    assert refused(ask(K.NOTE, asking(), Comment("text"), environment="echo"))[0] == "ticket"


# --- any of it --------------------------------------------------------------------------------------------------------


def test_a_request_is_told_from_another_whoever_asks() -> None:
    one = CommandRequest(kind=K.UPDATE, fields={"group": "A", "priority": "1"}, key="k", who="a")
    same = CommandRequest(kind=K.UPDATE, fields={"priority": "1", "group": "A"}, key="k", who="b")
    others = [
        msgspec.structs.replace(one, fields={"group": "A"}),
        msgspec.structs.replace(one, kind=K.NOTE),
        msgspec.structs.replace(one, comments=(Comment("text"),)),
    ]
    assert digest_request(one) == digest_request(same)
    assert len({digest_request(one), *map(digest_request, others)}) == 4


_TEXTS = st.text(max_size=5) | st.sampled_from(["open", "pending", "1", "a", "b", "n/a", "Incident", " x "])


@st.composite
def requests(draw: st.DrawFn) -> CommandRequest:
    kind = draw(st.sampled_from(CommandKind))
    names = st.sampled_from([*sorted(FIELDS[kind]), "odd"])
    comments = draw(st.lists(st.builds(Comment, _TEXTS, _TEXTS, _TEXTS), max_size=2))
    fields = {name: draw(_TEXTS) for name in draw(st.lists(names, max_size=6))}
    return CommandRequest(kind=kind, fields=fields, comments=tuple(comments), key=draw(st.sampled_from(["", "k"])))


@pytest.mark.requirement("R82", "I4")
@settings(max_examples=200)
@for_all(requests(), histories(most=6), st.sampled_from(["prod", "echo"]), st.sampled_from(["refuse", "resolve_first"]))
def test_any_request_to_any_ticket_is_answered_and_what_is_accepted_leads_to_its_key(
    request: CommandRequest, history: History, environment: str, close_open: Any
) -> None:
    life = history.life
    ticket = None if request.kind is K.CREATE else know_ticket(life.state)
    checked = check_command(request, ticket, CommandsConfig(close_open=close_open), environment=environment)

    if not isinstance(checked, CommandAccepted):
        assert checked.reason
        return
    assert checked.key == name_command(request, ticket)
    home = Life(find_home(request, ticket)) if ticket is None else life
    home.when(checked)
    waiting = [part.key for part in life.state.commands.waiting]
    assert checked.key in {*home.whole.plans.entries, *waiting} or checked.comments


def test_a_ticket_is_known_with_what_is_under_way() -> None:
    life = given(incident("Create", status="open", priority="3", clientTicketNumber="INC1"))
    life.when(accepted(ask(K.UPDATE, life, priority="1", status="pending", key="u1")))
    known = know_ticket(life.state)
    assert isinstance(known, KnownTicket)
    assert (known.state, known.fields["priority"], known.number) == ("pending", "1", "INC1")
    assert known.asked == {EffectKey("u1")}
