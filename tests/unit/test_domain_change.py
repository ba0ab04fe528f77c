"""A change's life: the guide's scenarios, types, generations and approvals."""

import itertools

import pytest

from ecproc.domain.change import EXPECTED, FINAL, ORDER, ChangeType, State
from ecproc.domain.deltas import GenerationStarted
from ecproc.domain.effects import EffectKind, Lane
from ecproc.outbox.lanes import Run, choose_next
from ecproc.testing.ticket import Event, Life, approver, change, fail, file, given, note, sent, succeed

T = "e-CHG1"
CREATE = change("Create", type="Normal", state="Assess", approval="requested")
APPROVAL = change("Approval Request", state="Assess", **approver("ap1"))
OURS: tuple[Event, ...] = (CREATE, succeed("create"), succeed("returnptn"), APPROVAL, succeed("upd"))
"""A Normal change that is assessed, with our client change and its approver told."""
APPROVED = (*OURS, change("Update", type="Normal", state="Authorize", approval="approved"), succeed("upd"))
REJECTED = (
    *OURS,
    change("Update", type="Normal", state="Assess", approval="rejected"),
    succeed("upd", number="LOCAL-0000001", state="closed"),
)
"""The desk closed its change when the client rejected it, and says so."""
TO_CLOSED = [change("Update", type="Normal", state=state) for state in ("Scheduled", "Implement", "Review")]


def closure(code: str) -> Event:
    return change("Closure", type="Normal", state="Closed", closeCode=code, closeNotes="Free text")


def move(state: str, transaction: str = "Update", *, type: str = "Normal") -> Event:
    code = {"closeCode": "Successful"} if state == "Closed" else {}
    return change(transaction, type=type, state=state, **code)


def last_fields(life: Life) -> dict[str, str]:
    return dict(life.effects[-1].fields)


def check_close(code: str) -> None:
    life = given(*APPROVED, *TO_CLOSED).when(closure(code))

    life.then(
        status="Closed",
        history=["Assess", "Authorize", "Scheduled", "Implement", "Review", "Closed"],
        anomalies=[],
        new_keys=[f"close:{T}:g1"],
        generation=1,
    )
    assert last_fields(life) == {"closeCode": code, "closeNotes": "Free text", "state": "Closed"}


# --- the ten rows of "Normal Change Scenarios" ---


@pytest.mark.requirement("R183", "R169")
def test_row_1_approved_and_successful_closes_the_client_change() -> None:
    check_close("Successful")


@pytest.mark.requirement("R184")
def test_row_2_approved_and_successful_with_issues_closes_the_client_change() -> None:
    check_close("Successful with issues")


@pytest.mark.requirement("R185")
def test_row_3_approved_and_failed_closes_the_client_change() -> None:
    check_close("Unsuccessful")


@pytest.mark.requirement("C17", "R161")
def test_the_fourth_close_code_closes_the_client_change_too() -> None:
    check_close("Successful Outside Change Window")


@pytest.mark.requirement("R186", "C19")
def test_row_4_approved_then_rejected_by_ensono_and_moved_to_new_cancels_the_client_change() -> None:
    life = given(*APPROVED).when(change("Redraft", type="Normal", state="New", approval="rejected"))

    life.then(status="Draft", new_keys=[f"cancel:{T}:g1"], anomalies=[])
    assert last_fields(life) == {"approval": "rejected", "state": "Draft"}


@pytest.mark.requirement("R187", "R170")
@pytest.mark.parametrize("transaction", ["Update", "Closure"])
def test_row_5_approved_then_cancelled_cancels_the_client_change(transaction: str) -> None:
    given(*APPROVED).when(move("Cancelled", transaction)).then(
        status="Cancelled", new_keys=[f"cancel:{T}:g1"], anomalies=[]
    )


@pytest.mark.requirement("R188", "R166")
@pytest.mark.parametrize("transaction", ["Redraft", "Update"])
def test_row_6_approved_then_moved_to_new_cancels_the_client_change(transaction: str) -> None:
    given(*APPROVED).when(move("New", transaction)).then(
        status="Draft", new_keys=[f"cancel:{T}:g1"], anomalies=[], generation=1
    )


@pytest.mark.requirement("R189", "C20")
@pytest.mark.parametrize("transaction", ["Create", "Update"])
def test_row_7_approved_then_new_then_assess_again_makes_a_new_client_change(transaction: str) -> None:
    life = given(*APPROVED, move("New", "Redraft"), succeed("cancel"))

    life.when(move("Assess", transaction)).then(new_keys=[f"create:{T}:g2"], generation=2, anomalies=[])
    life.when(succeed("create")).then(
        numbers=["LOCAL-0000001", "LOCAL-0000002"], new_keys=[f"returnptn:{T}:LOCAL-0000002"]
    )


@pytest.mark.requirement("R190", "C18")
def test_row_8_rejected_then_cancelled_does_nothing_where_the_client_change_is_closed() -> None:
    given(*REJECTED).when(move("Cancelled")).then(status="Cancelled", new_keys=[], anomalies=[])


@pytest.mark.requirement("R191")
def test_row_9_rejected_then_new_does_nothing_where_the_client_change_is_closed() -> None:
    given(*REJECTED).when(move("New", "Redraft")).then(status="Draft", new_keys=[], anomalies=[])


@pytest.mark.requirement("R191", "C18")
def test_row_9_rejected_then_new_cancels_a_client_change_that_is_still_open() -> None:
    life = given(*OURS, change("Update", type="Normal", state="Assess", approval="rejected"), succeed("upd"))

    life.when(move("New", "Redraft")).then(status="Draft", new_keys=[f"cancel:{T}:g1"])


@pytest.mark.requirement("R192")
def test_row_10_rejected_then_new_then_assess_again_makes_a_new_client_change() -> None:
    given(*REJECTED, move("New", "Redraft")).when(move("Assess")).then(
        new_keys=[f"create:{T}:g2"], generation=2, anomalies=[]
    )


# --- types ---


def walk(type: str, *states: str) -> Life:
    first, *others = states
    events = [move(state, type=type) for state in others]
    return given(change("Create", type=type, state=first), succeed("create"), *events)


@pytest.mark.requirement("R145", "R164")
def test_a_normal_change_walks_from_assess_to_closed() -> None:
    life = walk("Normal", "Assess", "Authorize", "Scheduled", "Implement", "Review", "Closed")

    life.then(anomalies=[], kinds=["create", "return", "update", "update", "update", "update", "close"])


@pytest.mark.requirement("R146", "R193")
def test_a_standard_change_starts_at_scheduled() -> None:
    walk("Standard", "Scheduled", "Implement", "Review", "Closed").then(
        anomalies=[], kinds=["create", "return", "update", "update", "close"]
    )


@pytest.mark.requirement("R147", "C43")
@pytest.mark.parametrize("path", [("Authorize", "Scheduled", "Implement"), ("Authorize", "Implement")])
def test_an_emergency_change_starts_at_authorize_and_may_skip_scheduled(path: tuple[str, ...]) -> None:
    walk("Emergency", *path, "Review", "Closed").then(anomalies=[], status="Closed")


@pytest.mark.requirement("C12")
@pytest.mark.parametrize(
    ("type", "state"), [("Normal", "Scheduled"), ("Standard", "Assess"), ("Emergency", "Implement")]
)
def test_a_create_in_another_state_than_its_type_starts_in_is_taken_and_flagged(type: str, state: str) -> None:
    given(change("Create", type=type, state=state)).then(
        status=state, anomalies=["unexpected_state"], keys=[f"create:{T}:g1"]
    )


@pytest.mark.requirement("R151")
def test_an_unknown_type_is_flagged_and_walks_as_normal() -> None:
    given(change("Create", type="Routine", state="Assess")).then(status="Assess", anomalies=["unknown_value"])


@pytest.mark.requirement("R150", "C10")
@pytest.mark.parametrize("word", ["New", "Draft", "new", " DRAFT "])
def test_new_on_the_wire_is_draft_here(word: str) -> None:
    given(*APPROVED).when(move(word)).then(status="Draft", history=["Assess", "Authorize", "Draft"])


@pytest.mark.requirement("R150")
def test_an_unknown_state_leaves_the_change_where_it_is_and_is_flagged() -> None:
    given(CREATE).when(move("On Ice")).then(status="Assess", anomalies=["unknown_value"], new_keys=[])


@pytest.mark.requirement("R194")
def test_a_skipped_state_is_applied_and_flagged() -> None:
    given(*OURS).when(move("Implement")).then(status="Implement", anomalies=["skipped_state"])


@pytest.mark.requirement("R194", "R82")
def test_a_jump_back_is_applied_and_flagged_and_starts_no_generation() -> None:
    given(*OURS, *TO_CLOSED).when(move("Authorize")).then(
        status="Authorize", anomalies=["skipped_state", "backward_state"], generation=1
    )


# --- fields ---


@pytest.mark.requirement("R158", "R148")
def test_an_update_tells_the_desk_what_differs_and_the_new_state() -> None:
    life = given(*OURS).when(change("Update", type="Normal", state="Authorize", risk="High", approval="requested"))

    assert last_fields(life) == {"risk": "High", "state": "Authorize"}


@pytest.mark.requirement("R158")
def test_an_update_that_repeats_everything_tells_the_desk_nothing() -> None:
    given(*OURS).when(change("Update", type="Normal", state="Assess", approval="requested")).then(
        new_keys=[], anomalies=[]
    )


@pytest.mark.requirement("R156", "C13")
def test_an_empty_time_is_none_and_the_other_spelling_is_known() -> None:
    life = given(change("Create", type="Normal", state="Assess", updateOn="2023-02-08T16:25:48Z"))

    life.when(change("Update", type="Normal", state="Assess", updatedOn="", startDate=""))

    assert life.fields == {"type": "Normal", "updatedOn": "2023-02-08T16:25:48Z"}


@pytest.mark.requirement("R152", "C11")
@pytest.mark.parametrize(
    "word", ["Approved", "REJECTED", " requested ", "Not Yet Requested", "not requested", "not yet requested"]
)
def test_an_approval_is_known_whatever_its_case_and_by_both_its_names(word: str) -> None:
    life = given(change("Create", type="Normal", state="Assess", approval=word)).then(anomalies=[])

    assert life.fields["approval"].strip().lower() == word.strip().lower()


@pytest.mark.requirement("R152", "C11")
@pytest.mark.parametrize(
    ("before", "after", "tells"),
    [
        ("Not Yet Requested", "not requested", False),
        ("not requested", "NOT YET REQUESTED", False),
        ("requested", " Requested ", False),
        ("not requested", "requested", True),
        ("requested", "approved", True),
    ],
)
def test_an_approval_in_another_spelling_is_shown_and_no_news_to_the_desk(
    before: str, after: str, *, tells: bool
) -> None:
    ours = (change("Create", type="Normal", state="Assess", approval=before), *OURS[1:])
    life = given(*ours).when(change("Update", type="Normal", state="Assess", approval=after))

    life.then(anomalies=[])
    assert life.fields["approval"].strip() == after.strip()
    assert bool(life.new_keys) == tells


@pytest.mark.requirement("R153", "C16")
@pytest.mark.parametrize("category", ["Hardware", "Other", "Something that no list has", ""])
def test_a_changes_category_is_an_open_list(category: str) -> None:
    life = given(change("Create", type="Normal", state="Assess", category=category)).then(anomalies=[])

    assert life.fields["category"] == category


@pytest.mark.requirement("R159")
@pytest.mark.parametrize("priority", [None, "4"])
def test_a_change_may_carry_a_priority(priority: str | None) -> None:
    life = given(change("Create", type="Normal", state="Assess", priority=priority)).then(anomalies=[])

    assert life.fields.get("priority") == priority


@pytest.mark.requirement("R157")
def test_a_changes_long_texts_reach_the_desk_whole() -> None:
    names = ["shortDescription", "description", "justification", "preChangeChecks"]
    names += ["implementationPlan", "testPlan", "backoutPlan"]
    texts = {name: f"{name}: " + "step\n" * 2_000 for name in names}

    life = given(change("Create", type="Normal", state="Assess", **texts)).then(anomalies=[])

    assert life.fields.items() >= texts.items()
    assert last_fields(life).items() >= texts.items()


@pytest.mark.requirement("R161")
@pytest.mark.parametrize(
    "code", ["SUCCESSFUL", "successful with Issues", " Successful outside change window ", "unsuccessful"]
)
def test_a_close_code_is_known_whatever_its_case(code: str) -> None:
    given(*APPROVED, *TO_CLOSED).when(closure(code)).then(status="Closed", anomalies=[], new_keys=[f"close:{T}:g1"])


@pytest.mark.requirement("R149")
def test_approvals_and_files_that_come_with_a_new_change_stand_behind_its_create() -> None:
    life = given(
        CREATE, APPROVAL, change("Attachment", **file("a1")), change("Notes", state="Assess", notes=note("n1"))
    )

    life.then(keys=[f"create:{T}:g1", f"upd:{T}:m2", f"att:{T}:a1", f"note:{T}:n1"], anomalies=[])
    desk = [entry for entry in life.state.plans.entries.values() if entry.effect.lane is Lane.DESK]
    for done, due in (((), "create"), (("create",), "upd"), (("create", "upd"), "note")):
        open_ = [entry for entry in desk if not entry.effect.key.startswith(done or "-")]
        assert choose_next(open_, 0) == Run(next(entry for entry in desk if entry.effect.key.startswith(due)))


@pytest.mark.requirement("R168")
def test_a_note_moves_neither_state_nor_fields() -> None:
    life = given(*OURS)

    life.when(change("Notes", type="Normal", state="Review", risk="High", notes=note("n1")))

    life.then(status="Assess", notes=["n1"], new_keys=[f"note:{T}:n1"], anomalies=[])
    assert "risk" not in life.fields


# --- generations ---


@pytest.mark.requirement("R163")
def test_a_change_first_seen_in_draft_creates_nothing_until_it_leaves() -> None:
    life = given(move("New", "Redraft")).then(status="Draft", keys=[], generation=1, anomalies=["adopted"])

    life.when(move("Assess")).then(new_keys=[f"create:{T}:g1"], generation=1, anomalies=["adopted"])


@pytest.mark.requirement("R163")
def test_a_change_that_ends_in_draft_never_creates_a_client_change() -> None:
    given(move("New", "Redraft"), move("Cancelled")).then(status="Cancelled", keys=[])


@pytest.mark.requirement("R149")
def test_notes_that_came_while_there_was_no_client_change_follow_its_create() -> None:
    life = given(move("New", "Redraft"), change("Notes", state="New", notes=note("n1"))).then(keys=[], notes=["n1"])

    life.when(change("Update", type="Normal", state="Assess", notes=note("n2"))).then(
        new_keys=[f"create:{T}:g1", f"note:{T}:n1", f"note:{T}:n2"]
    )


@pytest.mark.requirement("R189")
@pytest.mark.parametrize("seen", ["Authorize", "Scheduled", "Implement", "Review"])
def test_a_missed_redraft_cancels_and_creates_in_that_order(seen: str) -> None:
    life = given(*OURS, move(seen))

    life.when(move("Assess")).then(status="Assess", generation=2, new_keys=[f"cancel:{T}:g1", f"create:{T}:g2"])
    assert life.anomalies[-1] == "backward_state"


@pytest.mark.requirement("R189", "R193")
@pytest.mark.parametrize(("type", "first"), [("Standard", "Scheduled"), ("Emergency", "Authorize")])
def test_a_missed_redraft_is_known_by_the_first_state_of_the_type(type: str, first: str) -> None:
    walk(type, first, "Implement").when(move(first, type=type)).then(
        generation=2, new_keys=[f"cancel:{T}:g1", f"create:{T}:g2"]
    )


@pytest.mark.requirement("R163", "R167")
def test_a_change_that_was_never_seen_in_a_state_gets_its_client_change_once_it_is() -> None:
    life = given(change("Attachment", **file("a1"))).then(status=None, keys=[f"att:{T}:a1"])

    life.when(move("New", "Redraft")).then(new_keys=[], generation=1)
    life.when(move("Assess")).then(new_keys=[f"create:{T}:g1"], generation=1)


@pytest.mark.requirement("R188")
def test_a_client_change_that_is_not_created_yet_is_cancelled_behind_its_create() -> None:
    life = given(CREATE, move("New", "Redraft"), move("Assess")).then(
        keys=[f"create:{T}:g1", f"cancel:{T}:g1", f"create:{T}:g2"]
    )

    life.when(succeed(f"create:{T}:g1", number="A")).when(succeed(f"create:{T}:g2", number="B")).then(
        numbers=["A", "B"], keys=[*life.keys[:3], f"returnptn:{T}:A", f"returnptn:{T}:B"]
    )
    assert [item.number for item in life.effects] == [None, None, None, "A", "B"]


@pytest.mark.requirement("R122")
def test_numbers_of_two_generations_stay_in_order_whichever_is_known_first() -> None:
    life = given(CREATE, move("New", "Redraft"), move("Assess"))

    life.when(succeed(f"create:{T}:g2", number="B")).when(succeed(f"create:{T}:g1", number="A"))

    life.then(numbers=["A", "B"])
    assert life.state.client_ticket is not None
    assert life.state.client_ticket.number == "B"


@pytest.mark.requirement("R82")
def test_whatever_comes_after_the_end_is_flagged_and_notes_still_reach_the_client_change() -> None:
    life = given(*APPROVED, move("Cancelled"), succeed("cancel"))

    life.when(change("Notes", state="Cancelled", notes=note("n1"))).then(new_keys=[f"note:{T}:n1"])
    life.when(move("Cancelled")).then(new_keys=[])
    life.when(move("Implement")).then(status="Implement", new_keys=[], anomalies=["after_final"] * 3)


@pytest.mark.requirement("R189")
def test_a_change_that_comes_back_from_its_end_to_its_first_state_is_a_new_generation() -> None:
    given(*APPROVED, move("Cancelled"), succeed("cancel")).when(move("Assess")).then(
        generation=2, new_keys=[f"create:{T}:g2"], anomalies=["after_final", "backward_state"]
    )


# --- approvals ---


@pytest.mark.requirement("R165", "C11")
def test_an_approval_request_adds_an_approver_and_moves_nothing() -> None:
    life = given(CREATE, succeed("create"))

    life.when(change("Approval Request", state="Scheduled", group="G", **approver("ap1")))

    life.then(status="Assess", approvals={"ap1": "requested"}, new_keys=[f"upd:{T}:m2"], anomalies=[])
    assert life.fields == {"type": "Normal", "approval": "requested"}
    assert last_fields(life)["approverEmail"] == "a@x.com"


@pytest.mark.requirement("R165")
def test_news_and_an_approval_in_one_message_reach_the_desk_in_one_update() -> None:
    life = given(*OURS).when(change("Update", type="Normal", state="Authorize", risk="High", **approver("ap2")))

    life.then(status="Authorize", approvals={"ap1": "requested", "ap2": "requested"}, new_keys=[f"upd:{T}:m3"])
    told = last_fields(life)
    assert (told["state"], told["risk"], told["approvalId"]) == ("Authorize", "High", "ap2")


@pytest.mark.requirement("R149")
def test_an_approval_request_that_comes_first_adopts_the_change() -> None:
    life = given(APPROVAL).then(status="Assess", approvals={"ap1": "requested"}, anomalies=["adopted"])

    life.when(CREATE).then(anomalies=["adopted"], status="Assess")
    assert life.keys.count(f"create:{T}:g1") == 1


@pytest.mark.requirement("R177", "R178")
def test_the_first_decision_counts_and_supersedes_the_other_requests() -> None:
    life = given(*OURS, *(change("Approval Request", state="Assess", **approver(name)) for name in ("ap2", "ap3")))

    life.when(change("Approval Request", state="Assess", **approver("ap2", "Approved"))).then(
        approvals={"ap1": "superseded", "ap2": "approved", "ap3": "superseded"}
    )
    life.when(change("Approval Request", state="Assess", **approver("ap4", "Rejected"))).then(
        approvals={"ap1": "superseded", "ap2": "approved", "ap3": "superseded", "ap4": "superseded"}
    )
    life.when(change("Approval Request", state="Assess", **approver("ap2", "Rejected")))
    assert life.approvals["ap2"] == "approved"


@pytest.mark.requirement("R180")
@pytest.mark.parametrize("transaction", ["Redraft", "Update"])
def test_a_redraft_voids_open_approvals(transaction: str) -> None:
    given(*OURS).when(move("New", transaction)).then(approvals={"ap1": "void"})


@pytest.mark.requirement("R180", "R189")
def test_a_missed_redraft_voids_open_approvals_and_the_new_generation_has_its_own() -> None:
    life = given(*OURS, move("Authorize")).when(move("Assess")).then(approvals={"ap1": "void"})

    life.when(change("Approval Request", state="Assess", **approver("ap2"))).then(
        approvals={"ap1": "void", "ap2": "requested"}
    )
    assert life.state.approvals["ap2"].generation == 2


@pytest.mark.requirement("R180")
def test_an_approval_asked_for_in_a_redraft_is_void_once_the_next_generation_begins() -> None:
    life = given(*OURS, move("New", "Redraft"))
    life.when(change("Approval Request", state="New", **approver("ap2"))).then(new_keys=[])

    life.when(move("Assess")).then(approvals={"ap1": "void", "ap2": "void"})


@pytest.mark.requirement("R179")
@pytest.mark.parametrize("state", ["Scheduled", "Cancelled", "Closed"])
def test_an_approval_still_open_when_the_change_moves_on_is_superseded(state: str) -> None:
    given(*OURS).when(move(state)).then(approvals={"ap1": "superseded"})


@pytest.mark.requirement("R179")
def test_an_approval_stays_open_while_the_change_is_authorized() -> None:
    given(*OURS).when(move("Authorize")).then(approvals={"ap1": "requested"})


@pytest.mark.requirement("C14")
@pytest.mark.parametrize("spelling", ["approvalId", "approvalid", "approvalID"])
def test_the_approval_id_is_read_in_any_case(spelling: str) -> None:
    asked = {spelling: "ap1", "approverName": "A", "approvalState": "Requested"}

    given(CREATE).when(change("Approval Request", state="Assess", **asked)).then(approvals={"ap1": "requested"})


# --- every type, state and state ---


@pytest.mark.requirement("R228", "R194")
@pytest.mark.parametrize("type", list(ChangeType))
@pytest.mark.parametrize("before", list(State))
@pytest.mark.parametrize("after", list(State))
def test_every_step_of_every_type(type: ChangeType, before: State, after: State) -> None:
    first = move(before.value, type=type.value)
    life = given(first, *([] if before is State.DRAFT else [succeed("create"), succeed("returnptn")]))

    life.when(move(after.value, type=type.value))

    life.then(status=after.value, anomalies=["adopted", *expected_anomalies(type, before, after)])
    ended = [kind for kind in life.kinds if kind in ("cancel", "close")]
    if before in FINAL or after in FINAL or after is State.DRAFT:
        assert len(ended) == (0 if before is State.DRAFT else 1)
    started = [item for item in life.deltas if isinstance(item, GenerationStarted)]
    assert len(started) == life.kinds.count("create") == len({item.generation for item in started})
    assert life.generation == max((item.generation for item in started), default=1)
    if EffectKind.UPDATE in [item.kind for item in life.new]:
        assert last_fields(life)["state"] == after


PATHS = {
    "Normal": ["Draft", "Assess", "Authorize", "Scheduled", "Implement", "Review", "Closed"],
    "Standard": ["Draft", "Scheduled", "Implement", "Review", "Closed"],
    "Emergency": ["Draft", "Authorize", "Scheduled", "Implement", "Review", "Closed"],
}
FORWARD = {type: set(itertools.pairwise(path)) for type, path in PATHS.items()}
FORWARD["Emergency"].add(("Authorize", "Implement"))


def expected_anomalies(type: ChangeType, before: State, after: State) -> list[str]:
    if before in ("Closed", "Cancelled"):
        return ["after_final", *(["backward_state"] if after == PATHS[type][1] else [])]
    if after in (before, "Draft", "Cancelled") or (before, after) in FORWARD[type]:
        return []
    order = PATHS["Normal"]
    return ["skipped_state" if order.index(after) > order.index(before) else "backward_state"]


@pytest.mark.requirement("R228")
def test_every_type_reaches_its_end_by_expected_steps_alone() -> None:
    for steps in EXPECTED.values():
        reached = {State.DRAFT}
        for _ in ORDER:
            reached |= set(itertools.chain.from_iterable(steps.get(state, ()) for state in reached))
        assert State.CLOSED in reached
        assert set(steps) == reached - {State.CLOSED}


@pytest.mark.requirement("I4")
def test_a_create_that_died_is_not_planned_again_by_more_messages() -> None:
    life = given(CREATE, fail("create", parked=True)).when(move("Authorize")).then(new_keys=[f"upd:{T}:m2"])

    assert life.entries[f"create:{T}:g1"] == "parked"


@pytest.mark.requirement("R26")
def test_a_late_message_moves_no_state_and_starts_no_generation() -> None:
    life = given(CREATE, move("Authorize"), move("Scheduled"))

    life.when(change("Redraft", type="Normal", state="New", risk="Low", envelope=sent(sequence=2)))

    life.then(status="Scheduled", generation=1, anomalies=["late"])
    assert last_fields(life) == {"risk": "Low"}


# --- nothing is guessed, nothing is skipped ---


@pytest.mark.requirement("R56", "R145")
@pytest.mark.parametrize("state", ["-5", "Neu", None, ""])
def test_a_change_in_no_known_state_creates_nothing_until_it_has_one(state: str | None) -> None:
    life = given(change("Create", type="Normal", state=state)).then(status=None, keys=[], anomalies=["unknown_value"])

    life.when(move("New")).then(new_keys=[], generation=1)
    life.when(move("Assess")).then(new_keys=[f"create:{T}:g1"], generation=1)


@pytest.mark.requirement("R56", "R145")
def test_a_known_state_after_an_unknown_one_is_the_first() -> None:
    life = given(change("Create", type="Normal", state="?"), change("Notes", state="?", notes=note("n1")))

    life.when(move("Assess")).then(new_keys=[f"create:{T}:g1", f"note:{T}:n1"], history=["Assess"])


@pytest.mark.requirement("R165")
@pytest.mark.parametrize("word", ["No Longer Required", "Cancelled", "not requested", "?"])
def test_an_approvals_unknown_word_changes_nothing_and_is_flagged(word: str) -> None:
    asked = change("Approval Request", state="Assess", **approver("ap1", word))

    given(*OURS).when(asked).then(approvals={"ap1": "requested"}, new_keys=[], anomalies=["unknown_value"])
    given(CREATE).when(asked).then(approvals={}, new_keys=[], anomalies=["unknown_value"])


@pytest.mark.requirement("R165")
def test_an_approval_request_without_an_id_is_flagged() -> None:
    given(CREATE).when(change("Approval Request", state="Assess", approvalState="Requested")).then(
        approvals={}, anomalies=["unreadable_part"]
    )


@pytest.mark.requirement("R172")
@pytest.mark.parametrize(("type", "state"), [("Standard", "Scheduled"), ("Emergency", "Authorize")])
def test_an_approval_of_a_change_that_needs_none_is_recorded_and_flagged(type: str, state: str) -> None:
    life = given(change("Create", type=type, state=state), change("Approval Request", state=state, **approver("ap1")))

    life.then(approvals={"ap1": "requested"}, anomalies=["approval_unexpected"])


@pytest.mark.requirement("R151")
def test_a_change_that_changes_its_type_is_flagged() -> None:
    life = given(CREATE).when(move("Authorize", type="Emergency")).then(anomalies=["type_changed", "skipped_state"])

    life.when(change("Update", state="Scheduled")).then(anomalies=["type_changed", "skipped_state"])
    given(CREATE).when(change("Update", type="normal ", state="Authorize")).then(anomalies=[])


@pytest.mark.requirement("R160")
def test_a_change_that_is_closed_without_a_code_is_flagged() -> None:
    life = given(CREATE, move("Authorize"), move("Scheduled"), move("Implement"), move("Review"))

    life.when(change("Closure", type="Normal", state="Closed", closeNotes="x")).then(
        status="Closed", new_keys=[f"close:{T}:g1"], anomalies=["no_close_code"]
    )


@pytest.mark.requirement("R154")
@pytest.mark.parametrize(
    ("field", "value"), [("risk", "Huge"), ("impact", "9"), ("approval", "maybe"), ("priority", "0")]
)
def test_a_change_field_outside_of_its_closed_list_is_flagged(field: str, value: str) -> None:
    given(change("Create", type="Normal", state="Assess", **{field: value})).then(anomalies=["unknown_value"])


# --- an approval belongs to the generation it was asked in ---

REDRAFTED: tuple[Event, ...] = (*OURS, move("New", "Redraft"), move("Assess"))


@pytest.mark.requirement("R180")
@pytest.mark.parametrize("word", ["Approved", "Rejected"])
def test_an_answer_to_a_former_generation_decides_nothing_in_the_new_one(word: str) -> None:
    life = given(*REDRAFTED, change("Approval Request", state="Assess", **approver("ap2")))

    life.when(change("Approval Request", state="Assess", **approver("ap1", word)))

    life.then(approvals={"ap1": "void", "ap2": "requested"}, new_keys=[], anomalies=["approval_unexpected"])


@pytest.mark.requirement("R180", "R26")
@pytest.mark.parametrize(("word", "state"), [("Requested", "void"), ("Approved", "superseded")])
def test_a_late_approval_of_a_former_generation_stays_there(word: str, state: str) -> None:
    life = given(*REDRAFTED, change("Approval Request", state="Assess", **approver("ap2")))
    late = change(
        "Approval Request", state="Assess", **approver("ap0", word), envelope=sent(sequence=2, message_id="x")
    )

    life.when(late)

    life.then(approvals={"ap1": "void", "ap2": "requested", "ap0": state}, new_keys=[], anomalies=["late"])
    assert life.state.approvals["ap0"].generation == 1


@pytest.mark.requirement("R180")
def test_the_same_approver_may_be_asked_again_in_a_new_generation() -> None:
    life = given(*REDRAFTED).when(APPROVAL)

    life.then(approvals={"ap1": "requested"}, anomalies=[])
    assert life.state.approvals["ap1"].generation == 2


# --- a create that comes again ---


@pytest.mark.requirement("R69", "C20")
def test_a_changes_create_that_comes_again_moves_nothing_unless_it_leaves_its_draft_so() -> None:
    life = given(CREATE, move("Authorize"))
    life.when(CREATE).then(status="Authorize", new_keys=[], anomalies=["duplicate"])

    life.when(move("New", "Redraft")).when(CREATE).then(status="Assess", generation=2, anomalies=["duplicate"])
    closed = given(CREATE, closure("Successful"))
    closed.when(CREATE).then(status="Closed", new_keys=[], generation=1)


# --- scenario row 8: rejected, then cancelled ---


@pytest.mark.requirement("R190")
@pytest.mark.parametrize(
    "answer",
    [
        change("Approval Request", state="Assess", **approver("ap1", "Rejected")),
        change("Update", type="Normal", state="Assess", approval="rejected"),
    ],
)
def test_a_change_that_is_cancelled_after_a_rejection_is_left_to_the_client(answer: Event) -> None:
    life = given(*OURS, answer).when(move("Cancelled")).then(status="Cancelled", new_keys=[])

    assert "cancel" not in life.kinds


@pytest.mark.requirement("R191", "R192")
def test_a_rejected_change_that_goes_back_to_new_is_cancelled_and_created_anew() -> None:
    life = given(*OURS, change("Approval Request", state="Assess", **approver("ap1", "Rejected")), succeed("upd"))

    life.when(move("New", "Redraft")).then(new_keys=[f"cancel:{T}:g1"])
    life.when(move("Assess")).when(move("Cancelled")).then(new_keys=[f"cancel:{T}:g2"])


@pytest.mark.requirement("R187", "R190")
def test_an_answer_that_the_change_went_on_after_holds_nothing_back() -> None:
    rejected = change("Approval Request", state="Assess", **approver("ap1", "Rejected"))
    approved = change("Update", type="Normal", state="Authorize", approval="approved")

    given(*OURS, rejected, approved).when(move("Cancelled")).then(new_keys=[f"cancel:{T}:g1"])
    given(*OURS, rejected, move("Scheduled")).when(move("Cancelled")).then(new_keys=[f"cancel:{T}:g1"])


@pytest.mark.requirement("R189", "R190")
def test_a_rejection_is_of_its_own_generation_only() -> None:
    rejected = change("Update", type="Normal", state="Assess", approval="rejected")
    life = given(*OURS, rejected, move("New", "Redraft"), move("Assess"))

    life.when(move("Cancelled")).then(new_keys=[f"cancel:{T}:g2"])


@pytest.mark.requirement("R190", "R192")
def test_a_cancel_that_was_left_to_the_client_is_made_up_for_when_the_change_comes_back() -> None:
    rejected = change("Update", type="Normal", state="Assess", approval="rejected")
    life = given(*OURS, rejected).when(move("Cancelled")).then(new_keys=[])

    life.when(move("New")).then(new_keys=[f"cancel:{T}:g1"])
    life.when(move("Assess")).then(new_keys=[f"create:{T}:g2"])


@pytest.mark.requirement("R165")
@pytest.mark.parametrize("word", [["Cancelled", "x"], {"a": "b"}, {"display_value": None, "value": None}])
def test_an_approval_state_that_is_no_word_asks_for_nothing(word: object) -> None:
    asked = {**approver("ap1"), "approvalState": word}

    life = given(CREATE).when(change("Approval Request", state="Assess", **asked)).then(approvals={}, new_keys=[])

    assert "unknown_value" in life.anomalies


@pytest.mark.requirement("R177")
def test_an_answer_behind_the_first_one_is_flagged_and_decides_nothing() -> None:
    life = given(*OURS, change("Approval Request", state="Assess", **approver("ap1", "Approved")))

    life.when(change("Approval Request", state="Assess", **approver("ap1", "Rejected")))

    life.then(approvals={"ap1": "approved"}, anomalies=["approval_unexpected"], new_keys=[])
