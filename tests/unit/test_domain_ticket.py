"""What every ticket does whatever its type: identity, order, numbers, attachments, what cannot be taken."""

from collections.abc import Callable
from typing import Any

import hypothesis
import pytest
from hypothesis import strategies as st

from ecproc.domain.events import EffectFailed, EffectSucceeded, Hold, Transaction
from ecproc.domain.ids import EffectKey, normalise_number
from ecproc.testing.ticket import Event, Sent, change, fail, file, given, incident, lose, note, sent, start, succeed

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


@pytest.mark.requirement("R67")
def test_a_first_message_that_names_no_state_leaves_it_open_which_one_it_is() -> None:
    life = given(incident("Attachment", **file("a1")))

    life.then(status=None, history=[], anomalies=["adopted"], keys=[f"create:{T}:g1", f"att:{T}:a1"])
    life.when(incident("Create", status="open")).then(status="open", anomalies=["adopted"], new_keys=[f"upd:{T}:m2"])


@pytest.mark.requirement("R67")
def test_a_ticket_first_seen_resolved_is_created_and_resolved() -> None:
    given(incident("Closure", status="resolved", closeNotes="x")).then(keys=[f"create:{T}:g1", f"resolve:{T}:m1"])


@pytest.mark.requirement("R74")
def test_the_return_of_ensonos_number_adopts_an_open_ticket_that_is_ours_already() -> None:
    life = given(incident("ReturnEnsonoNum", clientTicketNumber="INC1"))

    life.then(status="open", numbers=["INC1"], keys=[], anomalies=["adopted"], history=["open"])
    assert life.state.client_tickets[0].returned


@pytest.mark.requirement("R67")
@pytest.mark.parametrize("transaction", ["Create", "Update"])
def test_a_first_message_with_our_number_creates_nothing(transaction: str) -> None:
    life = given(incident(transaction, status="open", clientTicketNumber=" INC1 ", changed={}))

    life.then(numbers=["INC1"], keys=[]).when(update("INC1", priority="1")).then(new_keys=[f"upd:{T}:m2"])
    assert life.effects[-1].number == "INC1"
    assert "link_mismatch" not in life.anomalies


@pytest.mark.requirement("R121")
def test_only_the_first_message_adopts_a_number() -> None:
    given(CREATE).when(update("INC1")).then(keys=[f"create:{T}:g1"], anomalies=["link_mismatch"])


@pytest.mark.requirement("R46")
@pytest.mark.parametrize("transaction", [item.value for item in Transaction if item is not Transaction.UNKNOWN])
@pytest.mark.parametrize("say", [incident, change])
def test_a_message_needs_no_member_but_its_identity(say: Callable[[str], Sent], transaction: str) -> None:
    life = given(say(transaction)).then(refused=[])

    assert life.state.ticket in (T, "e-CHG1")


@pytest.mark.requirement("R165")
def test_a_change_is_adopted_from_an_approval_request_alone() -> None:
    given(change("Approval Request", state="Authorize", approvalId="a")).then(
        status="Authorize", anomalies=["adopted"], keys=["create:e-CHG1:g1", "upd:e-CHG1:m1"]
    )


@pytest.mark.requirement("R67")
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
    late = incident(
        "Notes", clientTicketNumber=number, notes=note("n0"), envelope=sent(sequence=1, message_id="old", at=900)
    )

    given(*OURS, update("LOCAL-0000001")).when(late).then(new_keys=[f"note:{T}:n0"], anomalies=["late"])


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


@pytest.mark.requirement("R120", "I4", "R119")
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


@pytest.mark.requirement("R26")
def test_a_message_without_a_sequence_number_is_never_late() -> None:
    given(CREATE).when(incident("Update", status="pending", envelope=sent(SequenceNumber=None))).then(
        status="pending", anomalies=[]
    )


@pytest.mark.requirement("R22", "I2")
def test_a_message_id_under_another_number_changes_nothing_and_is_flagged() -> None:
    life = given(*OURS, incident("Update", status="pending", envelope=sent(message_id="twice")))

    life.when(incident("Update", status="resolved", notes=note("n1"), envelope=sent(message_id="twice")))

    life.then(status="pending", notes=[], new_keys=[], anomalies=["duplicate"])


@pytest.mark.requirement("R33")
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

    life.then(status="pending", anomalies=["type_changed"])
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
        pytest.param({"Body": None}, "undecodable", id="null"),
        pytest.param({"Body": {"ticketNumber": T, "ticketType": "Task"}}, "unknown_ticket_type", id="unknown type"),
        pytest.param({"Body": {"ticketNumber": T}}, "no_ticket_type", id="no type"),
    ],
)
def test_what_cannot_be_taken_is_refused_and_leaves_the_state_alone(message: dict[str, object], reason: str) -> None:
    attributes = {"MessageGroupId": T, "TransactionType": "Create"}
    life = given({"Attributes": attributes, **message}).then(refused=[reason], keys=[], anomalies=[])

    life.when(CREATE).then(status="open", history=["open"], new_keys=[f"create:{T}:g1"])
    assert life.state.seen.version == 4


@pytest.mark.requirement("R237", "R36")
def test_a_message_that_names_no_ticket_is_refused() -> None:
    life = given({"Attributes": {"TransactionType": "Create"}, "Body": {"ticketType": "Incident", "status": "open"}})

    life.then(refused=["unroutable"], keys=[], stream="ungrouped")


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


@pytest.mark.requirement("R139")
def test_a_file_is_downloaded_once_and_from_its_newest_address() -> None:
    life = given(*OURS, incident("Attachment", **file("a1")))

    life.when(incident("Attachment", **file("a1", signed="20230209T172243Z")))
    life.then(new_keys=[f"att:{T}:a1"], attachments={"rocket.jpg": "pending"})
    (entry,) = [entry for entry in life.state.plans.entries.values() if entry.effect.key == f"att:{T}:a1"]
    assert (entry.effect.position, entry.effect.deadline) == (life.state.seen.position, 1675970563_000000)
    life.when(succeed("att")).when(incident("Attachment", **file("a1"))).then(
        new_keys=[], attachments={"rocket.jpg": "stored"}
    )
    life.when(incident("Attachment", **file("a2"))).then(new_keys=[f"att:{T}:a2"])


@pytest.mark.requirement("R138")
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
@pytest.mark.parametrize("words", [["open"], ["workinprogress"], ["pending"], ["resolved"], ["cancelled"]])
def test_a_file_is_taken_in_any_state(words: list[str]) -> None:
    life = given(*OURS, *(update(status=word) for word in words)).when(incident("Attachment", **file("a1")))

    life.then(status=words[-1], new_keys=[f"att:{T}:a1"], attachments={"rocket.jpg": "pending"})


@pytest.mark.requirement("R35")
@pytest.mark.parametrize("checksum", [{}, {"MD5OfBody": "0" * 32}, {"MD5OfBody": "no checksum"}, {"MD5OfBody": None}])
def test_no_message_is_refused_for_its_checksum(checksum: dict[str, Any]) -> None:
    given({**CREATE, **checksum}).then(status="open", refused=[], anomalies=[])


@pytest.mark.requirement("R68", "R79")
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
    assert [entry.order for entry in life.state.plans.entries.values()] == [1, 2, 3, 4]


@pytest.mark.requirement("I4")
def test_outcomes_of_effects_that_nobody_planned_change_nothing() -> None:
    life = given(*OURS)

    life.when(EffectSucceeded(EffectKey(f"create:{T}:g9"), {"number": "OTHER"}))

    life.then(new_keys=[], numbers=["LOCAL-0000001"])


@pytest.mark.requirement("R137", "I11")
def test_no_effect_carries_the_download_url() -> None:
    life = given(*OURS, incident("Attachment", **file("a1")))

    assert "X-Amz" not in repr(life.effects)
    assert "X-Amz" not in repr(life.state)


# --- what identifies, and what only fills the place of a name ---


@pytest.mark.requirement("R120", "R69")
@pytest.mark.parametrize("word", ["null", "None", "undefined", "N/A", " - ", "\u200b", "nil", False])
def test_a_placeholder_is_no_client_number(word: object) -> None:
    given(incident("Create", status="open", clientTicketNumber=word)).then(
        numbers=[], keys=[f"create:{T}:g1"], anomalies=[]
    )


@pytest.mark.requirement("R33", "R36")
def test_a_placeholder_is_no_ticket_group_or_message() -> None:
    body = {"ticketNumber": "null", "ticketType": "Incident", "status": "open"}
    life = given(
        {"MessageId": "undefined", "Body": body, "Attributes": {"MessageGroupId": T, "TransactionType": "Create"}}
    )

    life.then(stream=T, anomalies=["derived_id"], keys=[f"create:{T}:g1"])
    assert life.state.ticket == T
    grouped = {
        "Body": {**body, "ticketNumber": T},
        "Attributes": {"MessageGroupId": "n/a", "TransactionType": "Create"},
    }
    assert given(grouped).stream == T


@pytest.mark.requirement("R120", "R121")
def test_an_adopted_number_that_ensono_lacks_is_returned() -> None:
    life = given(
        incident("Create", status="open", clientTicketNumber="INC1", envelope=sent(ClientReferenceAvailable=False))
    )

    life.then(numbers=["INC1"], keys=[f"returnptn:{T}:INC1"])
    assert not life.state.client_tickets[0].returned
    life.when(succeed("returnptn"))
    assert life.state.client_tickets[0].returned


@pytest.mark.requirement("R120", "R121")
def test_an_adopted_number_is_returned_when_a_later_message_lacks_it() -> None:
    life = given(incident("Create", status="open", clientTicketNumber="INC1")).then(keys=[])

    life.when(incident("Notes", notes=note("n1"))).then(new_keys=[f"returnptn:{T}:INC1", f"note:{T}:n1"])
    life.when(incident("Notes", notes=note("n2"))).then(new_keys=[f"note:{T}:n2"])


@pytest.mark.requirement("R119", "R120")
def test_a_message_that_shows_our_number_says_that_ensono_has_it() -> None:
    life = given(CREATE, succeed("create"))
    assert not life.state.client_tickets[0].returned

    life.when(incident("Notes", clientTicketNumber="LOCAL-0000001", notes=note("n1")))

    life.then(anomalies=[], new_keys=[f"note:{T}:n1"])
    assert life.state.client_tickets[0].returned


@pytest.mark.requirement("R69")
def test_a_create_that_told_no_usable_number_links_nothing() -> None:
    given(CREATE, succeed("create", number="null")).then(numbers=[], keys=[f"create:{T}:g1"])


@pytest.mark.requirement("R101", "R119")
def test_an_answer_in_unfamiliar_words_is_flagged_once_and_counts_as_nothing() -> None:
    odd = EffectFailed(EffectKey(f"returnptn:{T}:LOCAL-0000001"), "odd answer: Stored", False, 1, held=Hold.ODD_ANSWER)
    life = given(CREATE, succeed("create"), odd, odd).then(anomalies=["odd_answer"])

    assert not life.state.client_tickets[0].returned
    assert life.entries[odd.key] == "retryable"


# --- nothing is skipped in silence ---


@pytest.mark.requirement("R50", "R59")
@pytest.mark.parametrize(
    ("field", "value", "known"),
    [("priority", "9", "4"), ("priority", "high", "1"), ("closeCode", "done", "Unresolved*")],
)
def test_a_value_outside_of_its_closed_list_is_kept_and_flagged_once(field: str, value: str, known: str) -> None:
    life = given(incident("Create", status="open", **{field: value})).then(anomalies=["unknown_value"])
    assert life.fields[field] == value

    life.when(incident("Update", status="open", **{field: value}))
    life.when(incident("Update", status="open", changed={field: known})).then(anomalies=["unknown_value"])


@pytest.mark.requirement("R41")
@pytest.mark.parametrize(("seconds", "codes"), [(299, ["repeated_dedup_id"]), (301, []), (-10, ["repeated_dedup_id"])])
def test_a_deduplication_id_that_comes_twice_within_five_minutes_is_flagged(seconds: int, codes: list[str]) -> None:
    messages = (
        incident(kind, status="open", notes=note(kind), envelope=sent(at=500 + at, MessageDeduplicationId="d" * 64))
        for kind, at in (("Create", 0), ("Notes", seconds))
    )

    life = given(*messages).then(anomalies=codes)

    life.then(notes=["Create", "Notes"])


@pytest.mark.requirement("R41")
@hypothesis.given(
    st.lists(st.tuples(st.sampled_from([1, 1, 1, 60, 299, 301, -1, -200, -400]), st.integers(0, 25)), max_size=60)
)
@hypothesis.settings(max_examples=60, deadline=None)
def test_which_of_many_deduplication_ids_come_twice_is_remembered_whatever_the_clock_does(
    story: list[tuple[int, int]],
) -> None:
    known: dict[int, int] = {}
    life, at, expected = given(incident("Create", status="open")), 10_000, 0
    for later, dedup in story:
        at += later
        expected += known.get(dedup, at - 300) > at - 300
        known[dedup] = at
        if len(known) > 16:
            known = {each: seen for each, seen in known.items() if seen > at - 300}
        life.when(incident("Notes", notes=note(f"{at}"), envelope=sent(at=at, MessageDeduplicationId=f"{dedup:064d}")))

    assert life.anomalies.count("repeated_dedup_id") == expected


@pytest.mark.requirement("R24", "R236")
@pytest.mark.parametrize(("days", "codes"), [(3.9, []), (4.1, ["gap"]), (13, ["gap"]), (15, []), (1000, [])])
def test_a_message_that_waited_for_more_than_four_days_tells_of_a_gap(days: float, codes: list[str]) -> None:
    life = given(incident("Create", status="open", envelope=sent(at=int(-days * 86_400))))

    life.then(anomalies=codes)


@pytest.mark.requirement("R38", "R40")
@pytest.mark.parametrize("attributes", [{"SentTimestamp": "yesterday"}, {"SequenceNumber": "first"}])
def test_an_attribute_that_cannot_be_read_is_flagged(attributes: dict[str, Any]) -> None:
    given(incident("Create", status="open", envelope=sent(**attributes))).then(anomalies=["unreadable_part"])


@pytest.mark.requirement("R61")
def test_drift_outside_of_changed_is_flagged_once_for_each_field() -> None:
    created = incident("Create", status="open", priority="4", group="A", urgency="3")
    drifted = incident("Update", status="open", priority="2", group="A", urgency="1", changed={"cis": "x"})
    life = given(created, drifted).then(anomalies=["drift"])
    assert life.fields["priority"] == "4"

    life.when(incident("Update", status="pending", priority="2", group="B", changed={"cis": "y"}))

    life.then(anomalies=["drift", "drift", "drift"], status="open")


@pytest.mark.requirement("R73", "R65")
@pytest.mark.parametrize("transaction", ["Notes", "Attachment"])
def test_a_message_without_what_its_transaction_brings_is_flagged(transaction: str) -> None:
    given(CREATE).when(incident(transaction)).then(anomalies=["unreadable_part"], new_keys=[])


# --- old news ---


@pytest.mark.requirement("R69")
@pytest.mark.parametrize("word", ["resolved", "closed", "pending"])
def test_a_create_that_comes_again_moves_nothing(word: str) -> None:
    life = given(*OURS, incident("Update", status=word, priority="1", changed={"status": word, "priority": "1"}))
    before = life.anomalies

    life.when(CREATE).then(status=word, new_keys=[], anomalies=[*before, "duplicate"])
    assert life.fields["priority"] == "1"


@pytest.mark.requirement("R69", "R79")
def test_a_create_in_other_words_brings_its_fields_and_moves_no_state() -> None:
    life = given(*OURS, incident("Closure", status="closed"))

    life.when(incident("Create", status="open", priority="2"))

    life.then(status="closed", new_keys=[f"upd:{T}:m3"])
    assert life.anomalies[-2:] == ["duplicate", "after_final"]


# --- what identifies a file ---

SYS_ID = "0ded161f1b64211426a2da49b04bcb2f"


@pytest.mark.requirement("R139", "C35")
@pytest.mark.parametrize(
    "info",
    [
        f"https://x.service-now.com/api/now/attachment/{SYS_ID}",
        f"https://x.service-now.com/api/now/attachment/{SYS_ID}/file",
        f"https://x.service-now.com/api/now/attachment/{SYS_ID.upper()}/file?sysparm_x={'0' * 32}",
        f"https://x.service-now.com/sys_attachment.do?sys_id={SYS_ID}&view=true",
        f"https://x.service-now.com/nav_to.do?uri=sys_attachment.do%3Fsys_id={SYS_ID}",
        f"https://x.service-now.com/api/now/table/incident/{'a' * 32}/attachments/{SYS_ID}/",
        SYS_ID,
        {"link": f"https://x.service-now.com/api/now/table/sys_attachment/{SYS_ID}", "value": SYS_ID},
        f'{{"sys_id":"{SYS_ID}","table_sys_id":"{"a" * 32}"}}',
        f"https://x.service-now.com/a.do?sysparm_this_url=incident.do?sys_id={'a' * 32}&sys_id={SYS_ID}",
    ],
)
def test_a_files_sys_id_is_found_wherever_its_info_has_it(info: object) -> None:
    life = given(CREATE).when(incident("Attachment", **{**file("a1"), "attachmentInfo": info}))

    life.then(new_keys=[f"att:{T}:{SYS_ID}"])


@pytest.mark.requirement("R139")
def test_files_without_a_sys_id_are_told_apart_by_what_they_are() -> None:
    files = [
        {**file("a1", name), "attachmentInfo": info, "attachmentSize": size}
        for name, info, size in (
            ("a", "https://x/f/file", "1"),
            ("b", "https://x/attachment/download", "1"),
            ("a", f"https://x/api/now/table/incident/{'a' * 32}/attachments/a.txt", "1"),
            ("a", "null", "2"),
        )
    ]

    life = given(CREATE, *(incident("Attachment", **told) for told in files), incident("Attachment", **files[0]))

    assert len(life.state.attachments) == 5  # it may be the same file twice: that is better than one less


@pytest.mark.requirement("R140")
@pytest.mark.parametrize(
    ("announced", "codes"), [("0", ["size_differs"]), ("4", ["size_differs"]), ("3", []), ("", [])]
)
def test_bytes_that_are_not_as_many_as_announced_are_kept_and_flagged(announced: str, codes: list[str]) -> None:
    life = given(CREATE, incident("Attachment", **{**file("a1"), "attachmentSize": announced}))

    life.when(succeed("att", sha256="00", size="3", path="p")).then(anomalies=codes)
    assert life.state.attachments["a1"].size == 3


@pytest.mark.requirement("R140")
@pytest.mark.parametrize(("text", "size"), [("138,092", 138092), ("138 092 bytes", 138092), ("5.0", 5), ("many", None)])
def test_a_size_is_read_as_people_write_it_or_flagged(text: str, size: int | None) -> None:
    life = given(CREATE).when(incident("Attachment", **{**file("a1"), "attachmentSize": text}))

    assert life.state.attachments["a1"].size == size
    life.then(anomalies=[] if size else ["unreadable_part"])


@pytest.mark.requirement("R138", "R26")
def test_a_late_announcement_does_not_bring_back_an_older_address() -> None:
    life = given(CREATE, incident("Attachment", **file("a1")), incident("Attachment", **file("a1")))

    life.when(incident("Attachment", **file("a1"), envelope=sent(sequence=1, message_id="old"))).then(new_keys=[])


@pytest.mark.requirement("R138")
def test_a_parked_download_is_not_given_up() -> None:
    life = given(CREATE, incident("Attachment", **file("a1")), fail("att", parked=True))
    life.then(attachments={"rocket.jpg": "pending"})

    life.when(incident("Attachment", **file("a1"))).then(new_keys=[f"att:{T}:a1"])
    assert life.entries[f"att:{T}:a1"] == "available"


@pytest.mark.requirement("R61")
@pytest.mark.parametrize("value", [["a", "b"], {"a": 1}, {"old": "x", "new": {"a": 1}}])
def test_what_cannot_be_read_in_changed_clears_nothing(value: object) -> None:
    life = given(incident("Create", status="open", description="as it was"))

    life.when(incident("Update", changed={"description": value, "priority": "2"}))

    life.then(anomalies=["unreadable_part"])
    assert (life.fields["description"], life.fields["priority"]) == ("as it was", "2")
    life.when(incident("Update", changed={"description": None}))
    assert life.fields["description"] == ""


@pytest.mark.requirement("R41")
def test_news_in_the_same_words_under_another_message_id_is_applied_in_its_order() -> None:
    pending = {"status": "pending", "updatedOn": "2023-01-27T22:26:29Z"}
    life = given(*OURS, incident("Update", status="pending", changed=pending), incident("Update", status="open"))

    life.when(incident("Update", status="pending", changed=pending)).then(status="pending")


@pytest.mark.requirement("R56")
@pytest.mark.parametrize("status", [None, ""])
def test_an_incident_without_a_status_is_flagged(status: str | None) -> None:
    given(incident("Create", status=status)).then(status=None, anomalies=["unknown_value"])


@pytest.mark.requirement("R71")
def test_a_note_without_a_text_is_not_told_to_the_desk() -> None:
    given(CREATE).when(incident("Notes", notes={"id": "n1"})).then(notes=["n1"], new_keys=[])
