"""What the client's policies make of a ticket: which ones it wants, and what a re-open means for its own."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from ecproc.domain.effects import EffectKind
from ecproc.domain.events import Act, Decided, OperatorActed
from ecproc.domain.policy import AdoptFinal, Policy, Reopen
from ecproc.fold.recorded import decode_event, encode_event
from ecproc.policy.rules import read_rules
from ecproc.testing.ticket import Event, Life, change, fail, file, given, incident, note, sent, start, succeed

T = "e-CS1"
DAYS = 24 * 3_600


def scope(*rules: tuple[str, dict[str, Any], str], **policy: Any) -> Policy:
    tables = [{"name": name, "when": when, "then": then} for name, when, then in rules]
    known, problems = read_rules(tables)
    assert not problems
    return Policy(scope=known, **policy)


NETWORK = scope(("network", {"group": "Network*"}, "out"))
NEW_TICKET = Policy(reopen_incident=Reopen.NEW_TICKET)
COMMENTS = Policy(reopen_incident=Reopen.COMMENT_ONLY)


def create(group: str = "Network Ops", **more: Any) -> Event:
    return incident("Create", status="open", priority="4", group=group, description="It is slow", **more)


def update(**changed: str | None) -> Event:
    return incident("Update", status="open", changed=changed)


def noted(note_id: str, **more: Any) -> Event:
    return incident("Notes", status="open", notes=note(note_id, f"text {note_id}"), **more)


def decisions(life: Life) -> list[Decided]:
    facts = [decode_event(event.kind, event.payload) for event in life.log if event.kind == "Decided"]
    return [fact for fact in facts if isinstance(fact, Decided)]


def scopes(life: Life) -> list[tuple[bool, str]]:
    return [(item.scope.inside, item.scope.rule) for item in decisions(life) if item.scope is not msgspec.UNSET]


def bodies(life: Life) -> list[str]:
    return [effect.fields.get("body", "") for effect in life.effects if effect.kind is EffectKind.COMMENT]


# --- scope ------------------------------------------------------------------------------------------------------------


@pytest.mark.requirement("R207")
def test_a_ticket_out_of_scope_is_folded_and_nothing_is_done_about_it() -> None:
    life = given(
        create(),
        noted("n1"),
        incident("Attachment", status="open", **file("f1")),
        update(status="resolved"),
        update(status="open"),
        incident("Closure", status="closed"),
        policy=NETWORK,
    )

    life.then(status="closed", effects=[], notes=["n1"], attachments={"rocket.jpg": "pending"})
    assert scopes(life) == [(False, "network")]
    assert life.state.scope is not None
    assert not life.state.is_inside


@pytest.mark.requirement("R207")
def test_without_rules_a_decision_is_what_it_always_was() -> None:
    life = given(create(), noted("n1"))

    assert life.state.scope is None
    assert b"scope" not in b"".join(event.payload for event in life.log if event.kind == "Decided")
    assert encode_event(Decided(1))[1] == b'{"through":1,"effects":[]}'


@pytest.mark.requirement("R207")
def test_a_ticket_that_comes_into_scope_is_created_as_it_is_then() -> None:
    life = given(create(), noted("n1"), update(priority="1"), policy=NETWORK)

    life.when(update(group="Service Desk"), noted("n2"))

    life.then(new_keys=[f"create:{T}:g1", f"scope:{T}:m4", f"note:{T}:n2"])
    made = life.new[0]
    assert (made.fields["priority"], made.fields["group"]) == ("1", "Service Desk")
    assert bodies(life) == ["Before this ticket came here it had 1 note, not brought in.", "text n2"]
    assert scopes(life) == [(False, "network"), (True, "")]

    life.when(succeed("create")).then(new_keys=[f"returnptn:{T}:LOCAL-0000001"])
    life.when(update(priority="2")).then(new_keys=[f"upd:{T}:m6"])


def test_the_message_that_brings_it_in_brings_its_own_notes_and_files() -> None:
    life = given(create(), noted("n1"), incident("Attachment", status="open", **file("f0")), policy=NETWORK)

    moved = incident("Update", status="open", changed={"group": "Desk"}, notes=note("n2"), **file("f1", "two.jpg"))
    life.when(moved)

    life.then(new_keys=[f"create:{T}:g1", f"note:{T}:n2", f"att:{T}:f1", f"scope:{T}:m4"])
    assert life.new[-1].fields["body"] == "Before this ticket came here it had 1 note and 1 file, not brought in."


@pytest.mark.requirement("R207")
def test_a_ticket_with_a_client_ticket_stays_in() -> None:
    life = given(create("Service Desk"), update(group="Network Ops"), noted("n1"), policy=NETWORK)

    life.then(new_keys=[f"note:{T}:n1"], keys=[f"create:{T}:g1", f"upd:{T}:m2", f"note:{T}:n1"])
    assert scopes(life) == [(True, "")]


def test_a_ticket_that_ensono_has_our_number_of_stays_in() -> None:
    life = given(create(clientTicketNumber="INC1"), noted("n1"), policy=NETWORK)

    life.then(keys=[f"returnptn:{T}:INC1", f"note:{T}:n1"])


def test_rules_that_are_gone_take_a_ticket_in_with_its_next_message_only() -> None:
    life = given(create(), noted("n1"), policy=NETWORK)
    life.policy = Policy()

    life.then(effects=[])
    life.when(noted("n2")).then(new_keys=[f"create:{T}:g1", f"note:{T}:n2", f"scope:{T}:m3"])


def test_the_first_rule_that_holds_decides() -> None:
    policy = scope(("vip", {"group": "Network VIP"}, "in"), ("network", {"group": "Network*"}, "out"))

    life = given(create("Network VIP"), policy=policy)

    life.then(new_keys=[f"create:{T}:g1"])
    assert scopes(life) == [(True, "vip")]


@pytest.mark.parametrize(
    "when",
    [
        {"type": "incident"},
        {"client": "testClient"},
        {"transaction": "create"},
        {"state": "OPEN"},
        {"status": "open"},
        {"group": ["a", "Network ?ps"], "not": {"cis": "*"}},
    ],
)
def test_what_conditions_may_ask(when: dict[str, Any]) -> None:
    given(create(), policy=scope(("rule", when, "out"))).then(effects=[])


def test_a_change_out_of_scope_is_created_when_its_next_generation_is_in() -> None:
    policy = scope(("network", {"group": "Network*"}, "out"))
    life = Life(policy=policy)
    life.when(change("Create", state="Assess", group="Network"))
    life.when(change("Update", state="New", group="Network"), change("Notes", state="New", notes=note("n1")))
    life.then(effects=[], generation=1)

    life.when(change("Update", state="Assess", group="Desk"))

    life.then(new_keys=["create:e-CHG1:g2", "scope:e-CHG1:m4"], generation=2)


def test_a_change_that_comes_in_as_a_draft_waits_for_its_generation() -> None:
    life = Life(policy=NETWORK)
    life.when(change("Create", state="New", group="Network"), change("Update", state="New", group="Desk"))
    life.then(effects=[])

    life.when(change("Update", state="Assess", group="Desk")).then(new_keys=["create:e-CHG1:g1"])


@pytest.mark.requirement("R207")
def test_a_ticket_that_is_over_when_first_seen_is_only_documented_where_that_is_the_policy() -> None:
    closed = incident("Closure", status="closed", group="Desk")
    assert given(closed).keys[0] == f"create:{T}:g1"

    life = given(closed, policy=Policy(adopt_final=AdoptFinal.DOCUMENT)).then(effects=[], status="closed")
    assert scopes(life) == [(False, "policy.adopt.final")]

    life.when(update(status="open")).then(new_keys=[f"create:{T}:g1"])
    assert life.new[0].fields["state"] == "open"


def test_an_ordinary_update_is_judged_too() -> None:
    """It takes the short way through the fold, and the same way through the policy."""
    life = given(create("Desk"), succeed("create"), succeed("returnptn"), policy=NETWORK)
    ours = {"clientTicketNumber": "LOCAL-0000001"}
    life.when(incident("Update", status="open", changed={"priority": "2"}, **ours)).then(new_keys=[f"upd:{T}:m2"])

    life = given(create(), policy=NETWORK)
    life.when(update(priority="2")).then(new_keys=[])
    life.when(update(group="Desk")).then(new_keys=[f"create:{T}:g1"])


# --- scope apply ------------------------------------------------------------------------------------------------------

RESCOPE = OperatorActed(Act.RESCOPE, "anna", "the rule was wrong")


@pytest.mark.requirement("R207")
def test_a_rescoped_ticket_is_planned_as_if_it_had_been_in_scope() -> None:
    history = [create(), noted("n1"), incident("Attachment", status="open", **file("f1")), update(priority="1")]
    history += [noted("n2"), update(status="resolved"), update(status="open")]
    life = given(*history, policy=NETWORK)

    life.when(RESCOPE)

    assert life.new_keys == given(*history).keys
    assert life.new[0].fields["priority"] == "4"
    assert [effect.position for effect in life.new] == sorted(effect.position for effect in life.new)
    download = next(effect for effect in life.new if effect.kind is EffectKind.DOWNLOAD)
    announced = next(event for event in life.log if event.position == download.position)
    assert b"rocket.jpg" in announced.payload
    assert scopes(life)[-1] == (True, "scope apply")

    life.when(RESCOPE).then(new_keys=[])
    life.settle().when(RESCOPE).then(new_keys=[])
    life.when(noted("n3")).then(new_keys=[f"note:{T}:n3"])


@pytest.mark.requirement("R207")
def test_rescoping_brings_to_a_client_ticket_only_what_it_lacks() -> None:
    life = given(create(), noted("n1"), update(priority="1"), policy=NETWORK)
    life.when(update(group="Desk")).when(succeed("create")).when(update(priority="3"))

    life.when(RESCOPE).then(new_keys=[f"note:{T}:n1"])
    assert life.new[0].number == "LOCAL-0000001"
    life.when(RESCOPE).then(new_keys=[])


def test_rescoping_does_not_bring_back_what_came_to_a_bad_end() -> None:
    life = given(create(), incident("Attachment", status="open", **file("f1")), policy=NETWORK)
    life.when(RESCOPE)
    life.when(fail("att")).then(attachments={"rocket.jpg": "failed"})

    life.when(RESCOPE).then(new_keys=[])


def test_a_rescoped_draft_stays_in_scope() -> None:
    life = Life(policy=NETWORK).when(change("Create", state="New", group="Network"), RESCOPE)
    life.then(effects=[])

    life.when(change("Update", state="Assess", group="Network")).then(new_keys=["create:e-CHG1:g1"])


def test_a_rescope_is_decided_the_same_when_it_is_torn_off_and_begun_again() -> None:
    life = given(create(), noted("n1"), policy=NETWORK).append(RESCOPE).begin()
    life.forget().when()

    life.then(new_keys=[f"create:{T}:g1", f"note:{T}:n1"])


# --- re-open ----------------------------------------------------------------------------------------------------------

OURS: tuple[Event, ...] = (create("Desk"), succeed("create"), succeed("returnptn"))


def resolved(policy: Policy, *more: Event) -> Life:
    return given(*OURS, *more, update(status="resolved"), succeed("resolve", state="resolved"), policy=policy)


@pytest.mark.requirement("R213", "R214")
@pytest.mark.parametrize("transaction", ["Update", "Closure"])
def test_a_new_ticket_is_created_and_returned_and_takes_what_comes_later(transaction: str) -> None:
    life = resolved(NEW_TICKET)
    key = f"reopen:{T}:m3"

    life.when(incident(transaction, status="open", changed={"status": "open"}, notes=note("n1")))

    life.then(new_keys=[key, f"note:{T}:n1"])
    made, said = life.new
    assert made.kind is EffectKind.CREATE
    assert made.number is None
    assert made.fields["description"] == "Re-opened by Ensono; the former ticket is LOCAL-0000001.\n\nIt is slow"
    assert (said.number, said.created_by) == (None, key)

    life.when(noted("n2"))
    assert (life.new[0].number, life.new[0].created_by) == (None, key)

    life.when(succeed(key)).then(
        new_keys=[f"returnptn:{T}:LOCAL-0000002"], numbers=["LOCAL-0000001", "LOCAL-0000002"], anomalies=[]
    )
    assert [item.follows for item in life.state.client_tickets] == ["", "LOCAL-0000001"]
    assert [item.generation for item in life.state.client_tickets] == [1, 1]

    life.when(noted("n3"), update(priority="1"), update(status="resolved"))
    assert [effect.number for effect in life.new] == ["LOCAL-0000002"] * 3
    assert not any(effect.created_by for effect in life.new)


@pytest.mark.requirement("R213")
def test_a_new_ticket_gets_the_files_so_far_and_the_notes_that_its_former_one_was_not_told() -> None:
    life = given(*OURS, incident("Attachment", status="open", **file("f1")), policy=NEW_TICKET)
    life.when(succeed("att", sha256="aa", size="3", path="attachments/aa/aa")).when(succeed("attach"))
    life.when(noted("n1"), noted("n2")).when(succeed(f"note:{T}:n1"), fail(f"note:{T}:n2", parked=True))
    life.when(update(status="resolved")).when(succeed("resolve"))

    life.when(update(status="workinprogress"))

    life.then(new_keys=[f"reopen:{T}:m6", f"note:{T}:n2", f"attach:{T}:f1:rm6"])
    assert life.new[1].fields["body"] == "text n2"
    life.when(incident("Attachment", status="open", **file("f2")))
    life.when(succeed(f"att:{T}:f2", sha256="bb", size="3", path="p")).then(new_keys=[f"attach:{T}:f2:rm6"])
    life.settle()
    assert life.numbers == ["LOCAL-0000001", "LOCAL-0000002"]


@pytest.mark.requirement("R213")
def test_each_re_open_has_a_client_ticket_of_its_own() -> None:
    life = resolved(NEW_TICKET).when(update(status="open")).settle()
    life.when(update(status="resolved")).settle()

    life.when(update(status="pending")).settle()

    assert [item.follows for item in life.state.client_tickets] == ["", "LOCAL-0000001", "LOCAL-0000002"]
    life.when(noted("n9"))
    assert life.new[0].number == "LOCAL-0000003"
    assert life.anomalies == []


@pytest.mark.requirement("R213")
@pytest.mark.parametrize(("days", "kind"), [(29, EffectKind.REOPEN), (31, EffectKind.CREATE)])
def test_a_late_re_open_gets_a_new_ticket_by_the_messages_own_times(days: int, kind: EffectKind) -> None:
    policy = Policy(reopen_within_days=30)
    end = incident("Update", status="resolved", changed={"status": "resolved"}, envelope=sent(at=100))
    back = incident("Update", status="open", changed={"status": "open"}, envelope=sent(at=100 + days * DAYS))

    life = given(create("Desk"), end, back, policy=policy)

    assert life.new[0].kind is kind


def test_a_late_re_open_is_only_commented_where_that_is_the_policy() -> None:
    policy = Policy(reopen_incident=Reopen.COMMENT_ONLY, reopen_within_days=1)
    end = incident("Update", status="resolved", changed={"status": "resolved"}, envelope=sent(at=100))
    back = incident("Update", status="open", changed={"status": "open"}, envelope=sent(at=100 + 9 * DAYS))

    assert given(create("Desk"), end, back, policy=policy).new[0].kind is EffectKind.COMMENT


@pytest.mark.requirement("R213")
def test_comments_alone_tell_a_ticket_that_is_left_as_it_is() -> None:
    life = resolved(COMMENTS)
    told = {"status": "workinprogress", "priority": "1"}

    life.when(incident("Update", status="workinprogress", changed=told))
    life.then(new_keys=[f"reopen:{T}:m3"])
    assert bodies(life) == ["Ensono re-opened its ticket.\nstate: resolved → workinprogress\npriority: 1"]

    life.when(update(status="resolved", closeNotes="done"), incident("Closure", status="closed"))
    assert [effect.kind for effect in life.new] == [EffectKind.COMMENT] * 2
    assert life.new_keys == [f"resolve:{T}:m4", f"close:{T}:m5"]
    assert bodies(life)[-1] == "Ensono changed its ticket.\nstate: resolved → closed"

    life.when(noted("n1"), incident("Attachment", status="open", **file("f1")))
    life.then(new_keys=[f"note:{T}:n1", f"att:{T}:f1"])
    life.when(succeed("att", sha256="aa", size="3", path="p")).then(new_keys=[f"attach:{T}:f1:g1"])


@pytest.mark.requirement("R213")
def test_a_ticket_that_is_closed_at_the_desk_is_told_nothing_more_and_that_is_flagged() -> None:
    life = resolved(COMMENTS).when(update(status="open")).when(succeed("reopen", state="closed"))

    life.when(update(priority="1"), noted("n1"), incident("Attachment", status="open", **file("f1")))

    life.then(new_keys=[f"att:{T}:f1"])
    life.when().then(anomalies=["after_final"] * 3)
    life.when(succeed("att", sha256="aa", size="3", path="p")).then(new_keys=[])


@pytest.mark.requirement("R213")
def test_a_re_open_of_a_ticket_closed_at_the_desk_is_flagged_alone() -> None:
    life = given(*OURS, update(status="resolved"), succeed("resolve", state="closed"), policy=COMMENTS)

    life.when(update(status="open")).then(new_keys=[])
    life.when(update(priority="1")).then(new_keys=[])
    life.when().then(anomalies=["after_final"] * 2)


def test_requests_have_a_policy_of_their_own() -> None:
    policy = Policy(reopen_incident=Reopen.COMMENT_ONLY)
    request = [
        incident("Create", ticketType="Request", status="open"),
        incident("Update", ticketType="Request", status="resolved", changed={"status": "resolved"}),
        incident("Update", ticketType="Request", status="open", changed={"status": "open"}),
    ]

    assert given(*request, policy=policy).new[0].kind is EffectKind.REOPEN
    assert given(*request, policy=Policy(reopen_request=Reopen.NEW_TICKET)).new[0].kind is EffectKind.CREATE


@pytest.mark.requirement("R213")
def test_a_refused_re_open_is_flagged_with_the_desks_words() -> None:
    life = resolved(Policy()).when(update(status="open"))

    life.when(fail("reopen", parked=True)).then(new_keys=[], anomalies=["reopen_refused"])
    assert life.numbers == ["LOCAL-0000001"]


@pytest.mark.requirement("R213")
def test_a_refused_re_open_becomes_a_new_ticket_where_that_is_the_fallback() -> None:
    life = resolved(Policy(reopen_fallback=True)).when(update(status="open"))

    life.when(start("reopen"), fail("reopen", parked=True)).then(new_keys=[f"reopen:{T}:m3"])
    assert life.new[0].kind is EffectKind.CREATE
    life.when(succeed("reopen")).then(new_keys=[f"returnptn:{T}:LOCAL-0000002"])
    life.when(noted("n1"))
    assert life.new[0].number == "LOCAL-0000002"


def test_a_refusal_that_came_too_late_creates_nothing() -> None:
    life = resolved(Policy(reopen_fallback=True)).when(update(status="open"), update(status="resolved"))

    life.when(fail("reopen", parked=True)).then(new_keys=[], anomalies=["reopen_refused"])


@pytest.mark.requirement("R213")
@pytest.mark.parametrize("first", list(Reopen))
@pytest.mark.parametrize("second", list(Reopen))
def test_a_policy_that_is_changed_turns_no_ticket_round(first: Reopen, second: Reopen) -> None:
    life = resolved(Policy(reopen_incident=first)).when(update(status="open")).settle()
    before = list(life.effects)
    life.policy = Policy(reopen_incident=second)

    life.when(update(priority="1"))

    assert life.effects[: len(before)] == before
    expected = EffectKind.COMMENT if first is Reopen.COMMENT_ONLY else EffectKind.UPDATE
    assert [(effect.kind, effect.number) for effect in life.new] == [(expected, life.numbers[-1])]


def test_a_re_open_while_out_of_scope_is_no_reason_for_comments() -> None:
    policy = msgspec.structs.replace(NETWORK, reopen_incident=Reopen.COMMENT_ONLY)
    life = given(create(), update(status="resolved"), update(status="open"), policy=policy)

    life.when(update(group="Desk")).then(new_keys=[f"create:{T}:g1"])
    life.when(update(priority="1")).then(new_keys=[f"upd:{T}:m5"])
    assert life.new[0].kind is EffectKind.UPDATE
