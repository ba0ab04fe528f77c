"""What news of the desk's ask of Ensono: a pure comparison with the shadow."""

from __future__ import annotations

from typing import Any

import pytest

from ecproc.commands.checks import CommandRequest
from ecproc.commands.derive import DeskRules, DeskView, derive, in_order
from ecproc.domain.events import TicketType
from ecproc.domain.external import (
    ExternalDecision,
    ExternalFile,
    ExternalKind,
    ExternalNote,
    ExternalReceived,
    Shadowed,
)

STREAM = "e-CS1"
INSIDE = DeskRules(ensono_groups=("Ensono*",), group="Client internal")


def record(view: dict[str, tuple[str, str]], *, stamp: int = 5, **members: Any) -> ExternalReceived:
    return ExternalReceived("itsm", ExternalKind.RECORD, "rec:1:5", "INC1", stamp=stamp, view=view, **members)


def ticket(state: str = "open", of: TicketType = TicketType.INCIDENT, **raw: str) -> DeskView:
    return DeskView(STREAM, of, state, {name: Shadowed(value, 5) for name, value in raw.items()})


def told(requests: list[CommandRequest]) -> list[tuple[str, dict[str, str]]]:
    return [(request.kind.value, dict(request.fields)) for request in requests]


@pytest.mark.requirement("R103")
def test_only_what_differs_from_the_shadow_is_told_and_in_the_guide_s_words() -> None:
    view = {"priority": ("P1", "1"), "group": ("g-2", "Voice"), "status": ("2", "workinprogress")}
    [update] = derive(record(view), ticket(priority="P1", group="g-1", status="2"), DeskRules())

    assert (update.kind, update.fields, update.key) == ("update", {"group": "Voice"}, "ec-upd:e-CS1:rec:1:5")
    assert update.who == "itsm"
    assert derive(record(view), ticket(priority="P1", group="g-2", status="2"), DeskRules()) == []


def test_a_record_seen_for_the_first_time_is_the_measure_and_no_news() -> None:
    assert derive(record({"priority": ("P1", "1")}), ticket(), DeskRules()) == []


def test_a_changed_mapping_makes_no_field_look_changed() -> None:
    assert derive(record({"priority": ("P1", "2")}), ticket(priority="P1"), DeskRules()) == []


def test_what_was_read_before_our_own_write_landed_says_nothing_of_what_we_wrote() -> None:
    known = DeskView(STREAM, TicketType.INCIDENT, "open", {"priority": Shadowed("P1", 6), "group": Shadowed("a", 4)})
    view = {"priority": ("P3", "3"), "group": ("b", "B")}

    assert told(derive(record(view, stamp=5), known, DeskRules())) == [("update", {"group": "B"})]
    assert told(derive(record(view, stamp=6), known, DeskRules())) == [("update", {"priority": "3", "group": "B"})]


@pytest.mark.parametrize(
    ("status", "state", "kinds"),
    [
        ("resolved", "open", ["resolve"]),
        ("closed", "resolved", ["close"]),
        ("closed", "pending", ["resolve", "close"]),
        ("cancelled", "open", ["cancel"]),
    ],
)
def test_an_end_at_the_desk_is_asked_for_with_its_notes(status: str, state: str, kinds: list[str]) -> None:
    view = {"status": ("6", status), "closeNotes": ("done", "done")}
    requests = derive(record(view), ticket(state, status="2", closeNotes=""), DeskRules())

    assert told(requests) == [(kind, {"closeNotes": "done"}) for kind in kinds]


def test_an_end_without_a_word_gets_one() -> None:
    requests = derive(record({"status": ("6", "resolved")}), ticket(status="2"), DeskRules(close_notes="Over."))

    assert told(requests) == [("resolve", {"closeNotes": "Over."})]


def test_a_status_that_no_table_has_changes_nothing() -> None:
    assert derive(record({"status": ("99", "")}), ticket(status="2"), DeskRules()) == []


def test_of_a_change_only_notes_files_and_answers_are_told() -> None:
    change = ticket("Assess", TicketType.CHANGE, status="-4", group="a")
    note = ExternalReceived("itsm", ExternalKind.NOTE, "jrn:1", "CHG1", note=ExternalNote("hello"))

    assert derive(record({"status": ("3", "closed"), "group": ("b", "B")}), change, DeskRules()) == []
    assert [request.kind for request in derive(note, change, DeskRules())] == ["note"]


@pytest.mark.requirement("R206")
def test_a_ticket_that_goes_inside_and_comes_back_is_told_of_once_each() -> None:
    out = record({"group": ("Printers", "Printers"), "status": ("2", "workinprogress"), "priority": ("P1", "1")})
    inside = derive(out, ticket(group="Ensono L1", status="1", priority="P2"), INSIDE)
    assert told(inside) == [("update", {"group": "Client internal", "status": "pending"})]
    assert inside[0].key == "ec-int:e-CS1:rec:1:5"

    assert derive(out, ticket(group="Scanners", status="1", priority="P2"), INSIDE) == []

    back = record({"group": ("Ensono L2", "Network"), "status": ("2", "workinprogress")})
    assert told(derive(back, ticket(group="Printers", status="3"), INSIDE)) == [
        ("update", {"group": "Network", "status": "workinprogress"})
    ]


@pytest.mark.requirement("R205")
def test_what_ends_inside_ends_at_ensono_s() -> None:
    ended = record({"group": ("Printers", "Printers"), "status": ("6", "resolved")})

    assert told(derive(ended, ticket("pending", group="Printers", status="2"), INSIDE)) == [
        ("resolve", {"closeNotes": INSIDE.close_notes})
    ]
    assert [kind for kind, _ in told(derive(ended, ticket(group="Ensono L1", status="2"), INSIDE))] == [
        "update",
        "resolve",
    ]


@pytest.mark.parametrize(("notes", "kinds"), [(True, ["note"]), (False, [])])
def test_notes_from_inside_are_told_if_the_client_wants_so(notes: bool, kinds: list[str]) -> None:
    rules = DeskRules(ensono_groups=("Ensono*",), group="x", notes=notes)
    note = ExternalReceived("itsm", ExternalKind.NOTE, "jrn:1", "INC1", note=ExternalNote("hello"))

    assert [request.kind for request in derive(note, ticket(group="Printers"), rules)] == kinds
    assert [request.kind for request in derive(note, ticket(group="Ensono L1"), rules)] == ["note"]


def test_a_note_a_file_and_an_answer_have_keys_for_ever() -> None:
    note = ExternalReceived(
        "itsm", ExternalKind.NOTE, "jrn:9", "INC1", by="joe", note=ExternalNote("a", "Joe", "j@x", "2026-01-01")
    )
    file = ExternalReceived(
        "itsm", ExternalKind.ATTACHMENT, "att:7", "INC1", file=ExternalFile("a.txt", "text/plain", 3, "ab", "x/ab")
    )
    [said], [sent] = derive(note, ticket(), DeskRules()), derive(file, ticket(), DeskRules())

    assert (said.key, sent.key, said.who) == ("ec-note:e-CS1:jrn:9", "ec-att:e-CS1:att:7", "joe")
    assert (said.comments[0].body, said.comments[0].commenter, said.comments[0].key) == ("a", "Joe", said.key)
    assert sent.fields == {"name": "a.txt", "sha256": "ab", "size": "3", "type": "text/plain"}


@pytest.mark.requirement("R179")
def test_a_rejection_without_a_reason_is_not_told() -> None:
    def answer(comment: str, *, approved: bool) -> list[tuple[str, dict[str, str]]]:
        decision = ExternalDecision(approved, "a@x.com", comment)
        event = ExternalReceived("itsm", ExternalKind.APPROVAL, "apr:1:1", "CHG1", decision=decision)
        return told(derive(event, ticket("Authorize", TicketType.CHANGE), DeskRules()))

    assert answer(" ", approved=False) == []
    assert answer("too risky", approved=False) == [("reject", {"approver": "a@x.com", "comment": "too risky"})]
    assert [kind for kind, _ in answer("", approved=True)] == ["approve"]


def test_what_ends_a_ticket_goes_out_last() -> None:
    ended = record({"status": ("7", "closed"), "priority": ("P1", "1")})
    note = ExternalReceived("itsm", ExternalKind.NOTE, "jrn:1", "INC1", note=ExternalNote("hello"))
    known = ticket(status="2", priority="P2")
    wanted = [(event, request) for event in (ended, note) for request in derive(event, known, DeskRules())]

    assert [request.kind for _, request in in_order(wanted)] == ["update", "note", "resolve", "close"]
