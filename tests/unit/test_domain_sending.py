"""Commands of a ticket: which calls they lead to, in which order, and what they wait for."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from ecproc.domain.commands import ClientLinked, CommandAccepted, CommandKind, Comment
from ecproc.domain.deltas import CommandChanged
from ecproc.domain.effects import Effect, EffectKind
from ecproc.domain.events import EffectFailed, EffectSucceeded
from ecproc.domain.ids import ClientNumber, EffectKey, TicketNumber
from ecproc.testing.ticket import Life, approver, change, given, incident, lose, note, sent, succeed

K = EffectKey("K")


def ask(command: CommandKind, *comments: Comment, key: str = "K", **fields: str) -> CommandAccepted:
    return CommandAccepted(EffectKey(key), command, "somebody", fields, comments, "digest")


def told(effect: Effect) -> Any:
    """An effect's kind and arguments, its comments read."""
    fields = {**effect.fields, **({"comments": read(effect)} if "comments" in effect.fields else {})}
    return effect.kind.value, fields


def read(effect: Effect) -> Any:
    return msgspec.json.decode(effect.fields["comments"])


def ours() -> Life:
    """A ticket of which Ensono has our number."""
    return given(incident("Create", status="open", priority="3", clientTicketNumber="INC1"))


def known(life: Life) -> dict[str, Any]:
    """Commands as they are known last, by key."""
    return {delta.command.key: delta.command for delta in life.deltas if isinstance(delta, CommandChanged)}


@pytest.mark.requirement("R108", "R109")
@pytest.mark.parametrize(
    ("accepted", "expected"),
    [
        (
            ask(CommandKind.UPDATE, priority="2", status="pending"),
            [("update_ticket", {"priority": "2", "status": "pending"})],
        ),
        (
            ask(CommandKind.NOTE, Comment("one", "c1", "Jason Doe"), Comment("two")),
            [("add_comments", {"comments": [{"body": "one", "commenter": "Jason Doe"}, {"body": "two"}]})],
        ),
        (
            ask(CommandKind.RESOLVE, closeNotes="done"),
            [("resolve_ticket", {"status": "resolved", "closeNotes": "done"})],
        ),
        (ask(CommandKind.CLOSE, closeNotes="done"), [("close_ticket", {"status": "closed", "closeNotes": "done"})]),
        (ask(CommandKind.CANCEL, closeNotes="no"), [("cancel_ticket", {"status": "cancelled", "closeNotes": "no"})]),
        (
            ask(CommandKind.CLOSE, closeNotes="done", resolveFirst="true"),
            [
                ("resolve_ticket", {"status": "resolved", "closeNotes": "done"}),
                ("close_ticket", {"status": "closed", "closeNotes": "done"}),
            ],
        ),
        (
            ask(CommandKind.RESOLVE, Comment("before"), closeNotes="done"),
            [
                ("add_comments", {"comments": [{"body": "before"}]}),
                ("resolve_ticket", {"status": "resolved", "closeNotes": "done"}),
            ],
        ),
        (
            ask(CommandKind.UPDATE, Comment("behind"), group="B"),
            [("update_ticket", {"group": "B"}), ("add_comments", {"comments": [{"body": "behind"}]})],
        ),
        (
            ask(CommandKind.ATTACH, name="a.txt", sha256="00", size="1", type="text/plain"),
            [("upload_attachment", {"name": "a.txt", "sha256": "00", "size": "1", "type": "text/plain"})],
        ),
    ],
)
def test_each_command_leads_to_its_calls_in_order(accepted: CommandAccepted, expected: Any) -> None:
    life = ours().when(accepted)

    assert [told(effect) for effect in life.new] == expected
    assert K in life.new_keys
    assert {(effect.ticket, effect.number, effect.ticket_type) for effect in life.new} == {
        ("e-CS1", "INC1", "Incident")
    }
    assert [entry.effect.key for entry in life.state.plans.entries.values()] == list(known(life)[K].entries)


@pytest.mark.requirement("R88", "R108")
def test_what_is_too_long_for_a_field_becomes_comments_where_ensono_reads_them() -> None:
    update = ours().when(ask(CommandKind.UPDATE, description="d" * 9_000, shortDescription="s" * 200)).new
    assert [effect.kind for effect in update] == [EffectKind.UPDATE_TICKET, EffectKind.ADD_COMMENTS]
    assert [len(update[0].fields[name]) <= limit for name, limit in (("description", 4_000), ("shortDescription", 160))]
    bodies = [comment["body"] for comment in read(update[1])]
    assert [body[:6] for body in bodies] == ["(2/2) ", "(2/3) ", "(3/3) "]
    assert sum(map(len, [*update[0].fields.values(), *bodies])) == 9_200 + 5 * len("(1/2) ")

    resolve = ours().when(ask(CommandKind.RESOLVE, closeNotes="n" * 5_000)).new
    assert [effect.kind for effect in resolve] == [EffectKind.ADD_COMMENTS, EffectKind.RESOLVE_TICKET]
    assert read(resolve[0])[0]["body"].startswith("(1/2) n")
    assert resolve[1].fields["closeNotes"].startswith("(2/2) n")


@pytest.mark.requirement("R119", "R110")
def test_what_names_our_number_waits_for_it_and_goes_behind_its_return() -> None:
    life = given(incident("Create", status="open"))
    life.when(ask(CommandKind.UPDATE, group="B"), ask(CommandKind.NOTE, Comment("text"), key="K2"))
    life.when(ask(CommandKind.ATTACH, key="K3", name="a", sha256="0", size="1", type="t"))
    assert life.new_keys == ["K3"]
    assert life.keys == ["create:e-CS1:g1", "K3"]

    life.when(succeed("create", number="INC7"))

    assert life.new_keys == ["returnptn:e-CS1:INC7", "K", "K2"]
    assert {effect.number for effect in life.new} == {"INC7"}
    assert life.state.commands.waiting == []


@pytest.mark.requirement("I4")
def test_a_key_is_taken_once_unless_it_is_dead() -> None:
    life = ours().when(ask(CommandKind.UPDATE, group="B"))
    life.when(ask(CommandKind.UPDATE, group="C"))
    assert life.new == []
    assert known(life)[K].digest == "digest"

    life.when(EffectFailed(K, "no such group", blamed=True, parked=True)).when(ask(CommandKind.UPDATE, group="C"))

    assert [effect.fields for effect in life.new] == [{"group": "C"}]
    assert life.entries == {"K": "available"}


@pytest.mark.requirement("R117", "R95")
def test_a_comment_is_sent_once_whatever_it_came_with() -> None:
    linked = ClientLinked(
        TicketNumber("e-CS1"), ClientNumber("INC1"), "Incident", EffectKey("ec"), comments=(Comment("zero", "c0"),)
    )
    life = ours().when(linked).when(ask(CommandKind.NOTE, Comment("one", "c1")))
    again = life.when(
        ask(CommandKind.NOTE, Comment("one", "c1"), Comment("zero", "c0"), Comment("two", "c2"), key="K2")
    )
    assert [comment["body"] for comment in read(again.new[0])] == ["two"]

    life.when(ask(CommandKind.NOTE, Comment("one", "c1"), key="K3"))
    assert (life.new, known(life)[EffectKey("K3")].answer) == ([], "its comments were given before")

    life.when(EffectFailed(K, "refused", blamed=True)).when(ask(CommandKind.NOTE, Comment("one", "c1"), key="K4"))
    assert [comment["body"] for comment in read(life.new[0])] == ["one"]


def test_a_comment_of_a_command_that_is_asked_again_is_not_lost() -> None:
    life = ours().when(ask(CommandKind.NOTE, Comment("one", "c1"))).when(EffectFailed(K, "refused", blamed=True))
    life.when(ask(CommandKind.NOTE, Comment("one", "c1")))
    assert [comment["body"] for comment in read(life.new[0])] == ["one"]


@pytest.mark.requirement("R203")
def test_a_group_that_was_not_taken_is_named_in_a_comment() -> None:
    life = ours().when(ask(CommandKind.UPDATE, group="Mine"))
    life.when(EffectSucceeded(K, {"answer": "ok", "group": "Default", "wanted_group": "Mine"}))

    assert life.new_keys == ["K:group"]
    (comment,) = read(life.new[0])
    assert "Mine" in comment["body"]
    assert "Default" in comment["body"]
    assert known(life)[K].entries == ("K", "K:group")


def asking(*more: Any) -> Life:
    """A normal change of ours that asks three approvers."""
    body: dict[str, Any] = {"type": "Normal", "state": "Assess", "clientTicketNumber": "CHG1"}
    asks = [change("Approval Request", **body, **approver(name)) for name in ("a1", "a2", "a3")]
    return given(change("Create", **body), *asks, *more)


def decide_as(command: CommandKind, approval: str = "a2", key: str = "decision:e-CHG1:g1") -> CommandAccepted:
    return ask(command, key=key, approver="a@x.com", approvalid=approval, comment="because")


@pytest.mark.requirement("R173", "R177", "R178")
@pytest.mark.parametrize(
    ("command", "kind", "word"),
    [(CommandKind.APPROVE, "approve_change", "approved"), (CommandKind.REJECT, "reject_change", "rejected")],
)
def test_the_first_decision_counts_and_the_others_are_superseded(command: CommandKind, kind: str, word: str) -> None:
    life = asking().when(decide_as(command))
    assert [told(effect) for effect in life.new] == [
        (kind, {"approver": "a@x.com", "approvalid": "a2", "comment": "because"})
    ]
    assert life.new[0].ticket_type == "Change"

    life.when(succeed("decision:e-CHG1:g1", answer="received"))

    assert life.approvals == {"a1": "superseded", "a2": word, "a3": "superseded"}
    assert life.state.generation.rejected == (word == "rejected")


@pytest.mark.requirement("R175", "R88")
def test_a_reason_that_is_too_long_is_told_before_the_decision() -> None:
    accepted = decide_as(CommandKind.REJECT)
    life = asking().when(msgspec.structs.replace(accepted, fields={**accepted.fields, "comment": "r" * 5_000}))
    assert life.new_keys == ["decision:e-CHG1:g1:notes", "decision:e-CHG1:g1"]
    assert life.new[1].fields["comment"].startswith("(2/2) r")
    assert len(read(life.new[0])[0]["body"]) <= 3_500


@pytest.mark.requirement("R180")
def test_an_answer_that_comes_after_a_redraft_decides_nothing() -> None:
    life = asking().when(decide_as(CommandKind.REJECT))
    life.when(change("Redraft", state="New", type="Normal")).when(change("Update", state="Assess", type="Normal"))
    life.when(succeed("decision:e-CHG1:g1", answer="received"))

    assert life.generation == 2
    assert life.approvals == {"a1": "void", "a2": "void", "a3": "void"}
    assert not life.state.generation.rejected


@pytest.mark.requirement("R180")
def test_a_decision_that_waits_for_our_number_is_dropped_by_a_redraft() -> None:
    body = {"type": "Normal", "state": "Assess"}
    life = given(change("Create", **body), change("Approval Request", **body, **approver("a1")))
    life.when(decide_as(CommandKind.APPROVE, "a1"))
    life.when(change("Redraft", state="New", type="Normal")).when(change("Update", state="Assess", type="Normal"))
    life.when(succeed("create:e-CHG1:g2", number="CHG2"))

    assert "decision:e-CHG1:g1" not in life.keys
    assert known(life)[EffectKey("decision:e-CHG1:g1")].refused.startswith("the change was redrafted")


@pytest.mark.requirement("R122")
def test_a_number_that_a_person_has_us_return_becomes_the_tickets_newest() -> None:
    key = "returnptn:e-CS1:INC2"
    life = ours().when(ask(CommandKind.RETURN_NUMBER, key=key, clientTicketNumber="INC2"))
    assert [(effect.kind, effect.number) for effect in life.new] == [(EffectKind.RETURN_NUMBER, "INC2")]

    life.when(succeed(key, answer="PTN added")).when(ask(CommandKind.NOTE, Comment("text"), key="K2"))

    assert life.numbers == ["INC1", "INC2"]
    assert life.new[0].number == "INC2"


def test_a_number_that_was_returned_before_is_returned_again_when_asked_for() -> None:
    life = given(incident("Create", status="open")).settle()
    (number,) = life.numbers
    key = f"returnptn:e-CS1:{number}"
    life.when(ask(CommandKind.RETURN_NUMBER, key=key, clientTicketNumber=number))
    assert life.new_keys == [key]
    assert life.entries[key] == "available"


def test_a_command_to_no_ticket_leads_to_nothing_and_says_why() -> None:
    life = Life("e-CS9").when(ask(CommandKind.NOTE, Comment("text")))
    assert life.new == []
    assert known(life)[K].refused == "there is no such ticket"
    life = ours().when(ask(CommandKind.CREATE, ticketType="Incident"))
    assert known(life)[K].refused == "a create is no command to a ticket"


@pytest.mark.requirement("R102")
def test_values_that_were_set_are_acknowledged_until_a_message_says_otherwise() -> None:
    life = ours().when(ask(CommandKind.UPDATE, priority="2", group="B"), ask(CommandKind.RESOLVE, key="K2"))
    assert {name: told.value for name, told in life.state.commands.overlay.items()} == {
        "priority": "2",
        "group": "B",
        "status": "resolved",
    }
    life.when(incident("Update", priority="1", group="A", changed={"priority": "1"}))
    assert life.state.commands.overlay.keys() == {"group", "status"}
    life.when(EffectFailed(K, "refused", blamed=True))
    assert life.state.commands.overlay.keys() == {"status"}
    life.when(incident("Update", status="pending", changed={"status": "pending"}))
    assert life.state.commands.overlay == {}


@pytest.mark.requirement("I4")
def test_a_ticket_that_comes_back_is_worked_on_once_more_whoever_brought_it_back() -> None:
    life = ours().when(incident("Closure", status="resolved", changed={"status": "resolved"}))
    assert life.state.commands.turn == 1
    life.when(incident("Update", status="open", changed={"status": "open"}))
    assert life.state.commands.turn == 2
    life.when(ask(CommandKind.RESOLVE)).when(ask(CommandKind.UPDATE, key="K2", status="open"))
    assert life.state.commands.turn == 3
    for status in ("resolved", "open"):  # what comes back is our own doing
        life.when(incident("Update", status=status, changed={"status": status}))
    assert life.state.commands.turn == 3


# --- own echo ---------------------------------------------------------------------------------------------------------


def update(**changed: str) -> Any:
    return incident("Update", clientTicketNumber="INC1", **{"priority": "3", **changed}, changed=changed)


@pytest.mark.requirement("R215", "I10")
@pytest.mark.parametrize("answer", [succeed("K", answer="ok"), lose("K"), None])
def test_what_repeats_our_own_update_is_folded_and_told_to_nobody(answer: Any) -> None:
    life = ours().when(ask(CommandKind.UPDATE, priority="2", status="pending"))
    life.when(*([answer] if answer else []))
    life.when(update(priority="2", status="pending"))

    life.then(status="pending", new_keys=[])
    assert life.fields["priority"] == "2"


@pytest.mark.requirement("R215")
def test_a_change_beyond_our_own_still_reaches_the_desk_alone() -> None:
    life = ours().when(ask(CommandKind.UPDATE, priority="2")).when(succeed("K", answer="ok"))
    life.when(update(priority="2", group="B"))
    assert [effect.fields for effect in life.new] == [{"group": "B"}]
    life.when(update(priority="1"))
    assert [effect.fields for effect in life.new] == [{"priority": "1"}]


@pytest.mark.requirement("R215", "R113")
def test_our_own_resolve_and_close_are_not_echoed_to_the_desk() -> None:
    life = ours().when(incident("Update", status="pending", changed={"status": "pending", "offHoldDate": "2023-01-01"}))
    life.when(ask(CommandKind.RESOLVE, closeNotes="done")).when(succeed("K", answer="ok"))
    life.when(update(status="resolved", closeNotes="done", updatedOn="now"))
    life.then(status="resolved", new_keys=[])
    life.when(update(status="closed", closeCode="resolved"))
    assert life.kinds[-1] == "close"


@pytest.mark.requirement("R215")
@pytest.mark.parametrize(
    ("body", "ours_again"),
    [
        ("one  two", True),
        ("one two\n\nJason Doe (j@x.com)", True),
        ("one two\nCommenter: Jason Doe, Email: j@x.com", True),
        ("one two but please wait", False),
        ("one two\nJason Doe: I disagree", False),
        ("one two by", False),
        ("one", False),
        ("another", False),
    ],
)
def test_a_note_is_ours_only_with_our_words_and_signature(body: str, ours_again: bool) -> None:
    life = (
        ours()
        .when(ask(CommandKind.NOTE, Comment("one two", "c", "Jason Doe", "j@x.com")))
        .when(succeed("K", answer="ok"))
    )
    life.when(incident("Notes", clientTicketNumber="INC1", notes=note("n1", body)))

    assert life.notes == ["n1"]
    assert life.new_keys == ([] if ours_again else ["note:e-CS1:n1"])


@pytest.mark.requirement("R215")
def test_the_window_of_an_echo_ends_and_a_refused_call_leaves_none() -> None:
    again = sent(at=2 * 3_600)
    late = incident("Update", clientTicketNumber="INC1", priority="2", changed={"priority": "2"}, envelope=again)
    life = ours().when(ask(CommandKind.UPDATE, priority="2")).when(succeed("K", answer="ok")).when(late)
    assert [effect.fields for effect in life.new] == [{"priority": "2"}]

    life = ours().when(ask(CommandKind.UPDATE, priority="2")).when(EffectFailed(K, "refused", blamed=True))
    life.when(update(priority="2"))
    assert [effect.fields for effect in life.new] == [{"priority": "2"}]


@pytest.mark.requirement("R215", "I10")
def test_a_value_that_somebody_else_sets_in_between_makes_ours_news_again() -> None:
    life = ours().when(ask(CommandKind.UPDATE, priority="2")).when(succeed("K", answer="ok"))
    for priority in ("1", "2"):
        life.when(update(priority=priority))
        assert [effect.fields for effect in life.new] == [{"priority": priority}]


@pytest.mark.requirement("R215", "I10")
def test_what_comes_back_comes_back_once() -> None:
    life = ours().when(ask(CommandKind.UPDATE, status="pending"), ask(CommandKind.NOTE, Comment("text"), key="K2"))
    life.when(update(status="pending"))
    life.when(incident("Notes", clientTicketNumber="INC1", notes=note("n1", "text")))
    assert life.keys == ["K", "K2"]
    life.when(update(status="open")).when(update(status="pending"))
    life.when(incident("Notes", clientTicketNumber="INC1", notes=note("n2", "text")))
    assert [key.partition(":")[0] for key in life.keys[2:]] == ["upd", "upd", "note"]


@pytest.mark.requirement("R215")
def test_two_of_our_own_updates_come_back_one_after_the_other() -> None:
    life = ours().when(ask(CommandKind.UPDATE, priority="2"), ask(CommandKind.UPDATE, key="K2", priority="1"))
    life.when(update(priority="2")).when(update(priority="1"))
    assert life.keys == ["K", "K2"]
