"""What every ticket does whatever its type: identity, order, numbers, attachments, what cannot be taken."""

import pytest

from ecproc.domain.events import EffectSucceeded
from ecproc.domain.ids import EffectKey, normalise_number
from ecproc.testing.ticket import Event, change, fail, file, given, incident, lose, note, sent, start, succeed

T = "e-CS1"
CREATE = incident("Create", status="open", priority="4")
OURS: tuple[Event, ...] = (CREATE, succeed("create"), succeed("returnptn"))
RETURN = f"returnptn:{T}:LOCAL-0000001"


def update(number: str = "", at: int | None = None, **changed: str) -> Event:
    return incident("Update", clientTicketNumber=number, changed=changed, envelope=sent(at=at))


# --- adoption (decision 6) ---


@pytest.mark.requirement("R67")
@pytest.mark.parametrize("transaction", ["Update", "Notes", "Closure"])
def test_a_first_message_that_is_no_create_adopts_what_its_body_says(transaction: str) -> None:
    life = given(incident(transaction, status="pending", priority="2", notes=note("n1"), changed={}))

    life.then(status="pending", anomalies=["adopted"], history=["pending"], notes=["n1"])
    assert life.keys == [f"create:{T}:g1", f"note:{T}:n1"]
    assert life.effects[0].fields == {"priority": "2", "state": "pending"}


@pytest.mark.requirement("R67", "R149")
def test_a_first_message_that_names_no_state_leaves_it_open_which_one_it_is() -> None:
    life = given(incident("Attachment", **file("a1")))

    life.then(status=None, history=[], anomalies=["adopted"], keys=[f"create:{T}:g1", f"att:{T}:a1"])
    life.when(incident("Create", status="open")).then(status="open", anomalies=["adopted"], new_keys=[f"upd:{T}:m2"])


@pytest.mark.requirement("R67", "R79")
def test_a_ticket_first_seen_resolved_is_created_and_resolved() -> None:
    given(incident("Closure", status="resolved", closeNotes="x")).then(keys=[f"create:{T}:g1", f"resolve:{T}:m1"])


@pytest.mark.requirement("R74")
def test_the_return_of_ensonos_number_adopts_an_open_ticket_that_is_ours_already() -> None:
    life = given(incident("ReturnEnsonoNum", clientTicketNumber="INC1"))

    life.then(status="open", numbers=["INC1"], keys=[], anomalies=["adopted"], history=["open"])
    assert life.state.client_tickets[0].returned


@pytest.mark.requirement("R74")
@pytest.mark.parametrize("transaction", ["Create", "Update"])
def test_a_first_message_with_our_number_creates_nothing(transaction: str) -> None:
    life = given(incident(transaction, status="open", clientTicketNumber=" INC1 ", changed={}))

    life.then(numbers=["INC1"], keys=[]).when(update("INC1", priority="1")).then(new_keys=[f"upd:{T}:m2"])
    assert life.effects[-1].number == "INC1"
    assert "link_mismatch" not in life.anomalies


@pytest.mark.requirement("R74")
def test_only_the_first_message_adopts_a_number() -> None:
    given(CREATE).when(update("INC1")).then(keys=[f"create:{T}:g1"], anomalies=["link_mismatch"])


@pytest.mark.requirement("R165")
def test_a_change_is_adopted_from_an_approval_request_alone() -> None:
    given(change("Approval Request", state="Authorize", approvalId="a")).then(
        status="Authorize", anomalies=["adopted"], keys=["create:e-CHG1:g1", "upd:e-CHG1:m1"]
    )


@pytest.mark.requirement("R143")
def test_an_adopted_draft_keeps_its_client_change_when_it_leaves_draft() -> None:
    life = given(change("Redraft", state="New", clientTicketNumber="CHG7"))

    life.when(change("Update", state="Assess", clientTicketNumber="CHG7")).then(numbers=["CHG7"], generation=1)
    assert "create:e-CHG1:g1" not in life.keys


# --- numbers ---


@pytest.mark.requirement("R120")
def test_a_number_that_ensono_lost_is_returned_again_once_for_each_gap() -> None:
    life = given(*OURS)

    life.when(update(at=200, priority="3")).then(new_keys=[f"upd:{T}:m2"])
    life.when(update(at=500)).then(new_keys=[RETURN])
    life.when(update(at=501)).then(new_keys=[])
    life.when(succeed("returnptn")).when(update("LOCAL-0000001", at=900)).then(new_keys=[])
    life.when(update(at=1000)).then(new_keys=[RETURN], anomalies=[])


@pytest.mark.requirement("R120")
@pytest.mark.parametrize(("at", "lost"), [(1, False), (4, False), (303, False), (304, True)])
def test_a_number_is_lost_once_a_message_of_five_minutes_after_its_acceptance_lacks_it(at: int, lost: bool) -> None:
    given(*OURS).when(update(at=at)).then(new_keys=[RETURN] if lost else [])


@pytest.mark.requirement("R26", "R120")
@pytest.mark.parametrize("number", ["", "OTHER"])
def test_a_late_message_says_nothing_about_the_number(number: str) -> None:
    late = incident("Notes", clientTicketNumber=number, envelope=sent(sequence=1, message_id="old", at=900))

    given(*OURS, update("LOCAL-0000001")).when(late).then(new_keys=[], anomalies=["late"])


@pytest.mark.requirement("R39", "R120")
@pytest.mark.parametrize(
    ("available", "lost"), [(False, True), ("false", True), ("False", True), (True, False), (None, False)]
)
def test_a_flag_that_says_no_counts_as_a_missing_number(available: object, lost: bool) -> None:
    message = incident(
        "Update",
        clientTicketNumber="LOCAL-0000001",
        changed={},
        envelope=sent(at=900, ClientReferenceAvailable=available),
    )

    given(*OURS).when(message).then(new_keys=[RETURN] if lost else [])


@pytest.mark.requirement("R120", "I4")
def test_a_return_that_died_is_armed_again_by_the_next_message_that_lacks_the_number() -> None:
    life = given(CREATE, succeed("create")).when(update()).then(new_keys=[])

    life.when(fail("returnptn")).when(update()).then(new_keys=[RETURN])
    assert life.entries[RETURN] == "available"


@pytest.mark.requirement("R121")
def test_a_number_that_is_none_of_ours_is_flagged_and_changes_nothing() -> None:
    given(*OURS).when(update("OTHER", at=900)).then(anomalies=["link_mismatch"], numbers=["LOCAL-0000001"], new_keys=[])


@pytest.mark.requirement("R122")
def test_the_number_of_an_earlier_generation_is_still_ours() -> None:
    life = given(
        change("Create", type="Normal", state="Assess"),
        succeed("create"),
        change("Redraft", type="Normal", state="New"),
        change("Update", type="Normal", state="Assess"),
        succeed("create"),
    )

    life.when(change("Update", type="Normal", state="Assess", clientTicketNumber="LOCAL-0000001")).then(anomalies=[])


@pytest.mark.requirement("R209")
def test_two_client_tickets_for_one_generation_are_flagged_and_both_kept() -> None:
    life = given(CREATE, succeed("create", number="A")).when(succeed("create", number="B"))

    life.then(numbers=["A", "B"], anomalies=["double_create"], new_keys=[f"returnptn:{T}:B"])
    life.when(succeed("create", number="B")).then(numbers=["A", "B"], anomalies=["double_create"])


@pytest.mark.requirement("R119")
def test_a_number_is_known_to_be_returned_once_ensono_took_it() -> None:
    life = given(CREATE, succeed("create", number="A", state="new"))
    assert not life.state.client_tickets[0].returned

    life.when(succeed("returnptn"))

    (ours,) = life.state.client_tickets
    assert (ours.returned, ours.state) == (True, "new")


@pytest.mark.requirement("R113")
def test_a_client_tickets_state_is_what_the_desk_last_said() -> None:
    life = given(*OURS, update(status="resolved")).when(succeed("resolve", number="LOCAL-0000001", state="solved"))

    assert life.state.client_tickets[0].state == "solved"


@pytest.mark.requirement("R36", "C27")
def test_a_ticket_in_another_group_is_flagged_and_called_by_its_own_number() -> None:
    life = given(incident("Create", ticketNumber="e-CS2", status="open"), succeed("create"))

    life.then(anomalies=["link_mismatch"], keys=[f"create:{T}:g1", RETURN])
    assert {effect.ticket for effect in life.effects} == {"e-CS2"}


@pytest.mark.requirement("R49", "C27")
@pytest.mark.parametrize("number", ["e-CS0879727", "CS0879727", " E-cs0879727"])
def test_a_number_is_looked_up_with_and_without_its_prefix(number: str) -> None:
    assert normalise_number(number) == "CS0879727"


# --- order and identity ---


@pytest.mark.requirement("R26")
def test_a_late_message_adds_and_fills_in_but_never_overwrites_or_moves() -> None:
    life = given(*OURS, update(priority="1"), update(status="resolved"))

    life.when(
        incident(
            "Update",
            changed={"priority": "3", "cis": "a", "status": "pending"},
            notes=note("n1"),
            **file("a1"),
            envelope=sent(sequence=1, message_id="old"),
        )
    )

    life.then(
        status="resolved",
        anomalies=["late"],
        notes=["n1"],
        attachments={"rocket.jpg": "pending"},
        new_keys=[f"upd:{T}:old", f"note:{T}:n1", f"att:{T}:a1"],
    )
    assert life.fields == {"priority": "1", "cis": "a"}
    assert life.effects[-3].fields == {"cis": "a"}


@pytest.mark.requirement("R26")
def test_two_late_messages_leave_the_newer_of_their_values() -> None:
    life = given(*OURS, update(status="pending"), update(status="open"))

    for sequence, value in ((3, "new"), (2, "old")):
        life.when(incident("Update", changed={"cis": value}, envelope=sent(sequence=sequence - 1, message_id=value)))

    life.then(anomalies=["late", "late"])
    assert life.fields["cis"] == "new"


@pytest.mark.requirement("R40")
def test_a_message_without_a_sequence_number_is_never_late() -> None:
    given(CREATE).when(incident("Update", status="pending", envelope=sent(SequenceNumber=None))).then(
        status="pending", anomalies=[]
    )


@pytest.mark.requirement("R22", "I2")
def test_a_message_id_under_another_number_changes_nothing_and_is_flagged() -> None:
    life = given(*OURS, incident("Update", status="pending", envelope=sent(message_id="twice")))

    life.when(incident("Update", status="resolved", notes=note("n1"), envelope=sent(message_id="twice")))

    life.then(status="pending", notes=[], new_keys=[], anomalies=["duplicate"])


@pytest.mark.requirement("R41")
def test_two_messages_with_one_sequence_number_both_live() -> None:
    life = given(CREATE).when(incident("Notes", notes=note("n1"), envelope=sent(sequence=1)))

    life.when(incident("Notes", notes=note("n2"), envelope=sent(sequence=1))).then(notes=["n1", "n2"], anomalies=[])


# --- what is not known ---


@pytest.mark.requirement("R37", "C4")
@pytest.mark.parametrize("transaction", ["Escalation", "", "Status  Upgrade"])
def test_an_unknown_transaction_changes_nothing_but_is_flagged(transaction: str) -> None:
    life = given(*OURS).when(incident(transaction, status="resolved", notes=note("n1"), priority="1"))

    life.then(status="open", notes=[], new_keys=[], anomalies=["unknown_type"])
    assert life.fields["priority"] == "4"


@pytest.mark.requirement("R37")
def test_a_ticket_begins_with_its_first_message_of_a_known_transaction() -> None:
    given(incident("Escalation", status="open")).then(status=None, keys=[]).when(CREATE).then(
        status="open", keys=[f"create:{T}:g1"], anomalies=["unknown_type"]
    )


@pytest.mark.requirement("R48")
def test_a_ticket_keeps_its_first_type_and_another_one_is_flagged() -> None:
    life = given(CREATE).when(incident("Update", ticketType="Request", status="pending"))

    life.then(status="pending", anomalies=["unknown_value"])
    assert life.state.type == "Incident"


@pytest.mark.requirement("R48")
def test_a_message_without_a_ticket_type_is_taken_where_the_type_is_known() -> None:
    life = (
        given(CREATE).when(incident("Update", ticketType=None, status="pending")).then(status="pending", anomalies=[])
    )
    assert not life.refused


@pytest.mark.requirement("R237", "I9")
@pytest.mark.parametrize(
    ("message", "reason"),
    [
        pytest.param({"Body": "}{"}, "undecodable", id="no json"),
        pytest.param({"Body": [1]}, "undecodable", id="no object"),
        pytest.param({"Body": None}, "no_body", id="null"),
        pytest.param({"Body": {"ticketNumber": T, "ticketType": "Task"}}, "unknown_ticket_type", id="unknown type"),
        pytest.param({"Body": {"ticketNumber": T}}, "no_ticket_type", id="no type"),
    ],
)
def test_what_cannot_be_taken_is_refused_and_leaves_the_state_alone(message: dict[str, object], reason: str) -> None:
    attributes = {"MessageGroupId": T, "TransactionType": "Create"}
    life = given({"Attributes": attributes, **message}).then(refused=[reason], keys=[], anomalies=[])

    life.when(CREATE).then(status="open", history=["open"], new_keys=[f"create:{T}:g1"])
    assert life.state.version == 4


@pytest.mark.requirement("R237", "R36")
def test_a_message_that_names_no_ticket_is_refused() -> None:
    life = given({"Attributes": {"TransactionType": "Create"}, "Body": {"ticketType": "Incident", "status": "open"}})

    life.then(refused=["no_group"], keys=[], stream="ungrouped")


# --- attachments ---


@pytest.mark.requirement("R73", "R139")
def test_a_file_is_announced_downloaded_and_stored() -> None:
    life = given(*OURS).when(incident("Attachment", status="closed", **file("a1")))
    life.then(status="open", new_keys=[f"att:{T}:a1"], attachments={"rocket.jpg": "pending"}, anomalies=[])
    assert life.effects[-1].deadline == 1675884163_000000
    assert life.effects[-1].fields == {"attachment": "a1", "size": "138092"}

    life.when(succeed("att", sha256="00ff", size="138093", path="attachments/00/00ff"))

    stored = life.state.attachments["a1"]
    assert (stored.status, stored.size, stored.sha256, stored.path) == ("stored", 138093, "00ff", "attachments/00/00ff")


@pytest.mark.requirement("R142", "R139")
def test_a_file_that_is_stored_or_under_way_is_not_downloaded_again() -> None:
    life = given(*OURS, incident("Attachment", **file("a1")))

    life.when(incident("Attachment", **file("a1"))).then(new_keys=[])
    life.when(succeed("att")).when(incident("Attachment", **file("a1"))).then(
        new_keys=[], attachments={"rocket.jpg": "stored"}
    )
    life.when(incident("Attachment", **file("a2"))).then(new_keys=[f"att:{T}:a2"])


@pytest.mark.requirement("R138", "R229")
def test_a_file_that_failed_is_downloaded_again_when_it_is_announced_again() -> None:
    life = given(*OURS, incident("Attachment", **file("a1")), fail("att"))
    life.then(attachments={"rocket.jpg": "failed"})

    life.when(incident("Attachment", **file("a1", signed="20230209T172243Z"))).then(
        new_keys=[f"att:{T}:a1"], attachments={"rocket.jpg": "pending"}
    )
    assert life.entries[f"att:{T}:a1"] == "available"
    assert life.effects[-1].deadline == 1675970563_000000


@pytest.mark.requirement("R138")
def test_a_download_that_is_to_be_repeated_keeps_the_file_pending() -> None:
    life = given(*OURS, incident("Attachment", **file("a1")))

    life.when(start("att")).when(lose("att")).when(fail("att", retry_at=5)).then(attachments={"rocket.jpg": "pending"})
    assert life.entries[f"att:{T}:a1"] == "retryable"


@pytest.mark.requirement("R68")
def test_a_file_may_come_after_the_end_and_is_flagged_and_downloaded() -> None:
    given(*OURS, update(status="resolved"), update(status="closed")).when(incident("Attachment", **file("a1"))).then(
        new_keys=[f"att:{T}:a1"], anomalies=["after_final"]
    )


@pytest.mark.requirement("R139")
def test_a_file_without_a_sys_id_is_known_by_name_size_and_message() -> None:
    one, other = ({**file("a1"), "attachmentInfo": ""} for _ in range(2))
    life = given(*OURS, incident("Attachment", **one)).when(incident("Attachment", **other))

    assert len(life.state.attachments) == 2


# --- effects ---


@pytest.mark.requirement("R119", "R149")
def test_what_comes_before_the_client_ticket_is_created_waits_behind_its_create_in_order() -> None:
    life = given(CREATE).when(update(priority="1"), incident("Notes", notes=note("n1")), update(status="resolved"))

    life.then(keys=[f"create:{T}:g1", f"upd:{T}:m2", f"note:{T}:n1", f"resolve:{T}:m4"])
    assert [entry.order for entry in life.state.entries.values()] == [1, 2, 3, 4]


@pytest.mark.requirement("R142", "I4")
def test_outcomes_of_effects_that_nobody_planned_change_nothing() -> None:
    life = given(*OURS)

    life.when(EffectSucceeded(EffectKey(f"create:{T}:g9"), {"number": "OTHER"}))

    life.then(new_keys=[], numbers=["LOCAL-0000001"])


@pytest.mark.requirement("R137", "I11")
def test_no_effect_carries_the_download_url() -> None:
    life = given(*OURS, incident("Attachment", **file("a1")))

    assert "X-Amz" not in repr(life.effects)
    assert "X-Amz" not in repr(life.state)
