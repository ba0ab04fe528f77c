"""An incident's and a request's life: transitions, updates, notes, ends."""

import pytest

from ecproc.testing.ticket import Event, Life, given, incident, note, sent, succeed

T = "e-CS1"
CREATE = incident("Create", status="open", priority="4", group="Ensono Support")
OURS: tuple[Event, ...] = (CREATE, succeed("create"), succeed("returnptn"))


def update(**changed: str | None) -> Event:
    return incident("Update", status="open", priority="4", changed=changed)


def last_fields(life: Life) -> dict[str, str]:
    return dict(life.effects[-1].fields)


@pytest.mark.requirement("R69", "R119")
@pytest.mark.parametrize("kind", ["Incident", "Request"])
def test_a_create_makes_one_client_ticket_and_returns_its_number(kind: str) -> None:
    life = given(incident("Create", ticketType=kind, status="open", priority="4"))
    life.then(status="open", new_keys=[f"create:{T}:g1"], anomalies=[], generation=1)
    assert last_fields(life) == {"priority": "4", "state": "open"}

    life.when(succeed("create", number="LOCAL-0000001"))

    life.then(numbers=["LOCAL-0000001"], new_keys=[f"returnptn:{T}:LOCAL-0000001"])
    assert [life.effects[-1].ticket, life.effects[-1].ticket_type] == [T, kind]


@pytest.mark.requirement("R76", "R228")
def test_an_incident_lives_from_open_to_closed() -> None:
    words = ["workinprogress", "pending", "open", "resolved", "closed"]

    given(*OURS, *(update(status=word) for word in words)).then(
        status="closed",
        history=["open", *words],
        anomalies=[],
        kinds=["create", "return", "update", "update", "update", "resolve", "close"],
    )


@pytest.mark.requirement("R77", "R214")
@pytest.mark.parametrize("word", ["open", "workinprogress", "pending"])
def test_a_resolved_ticket_is_reopened_and_keeps_its_client_ticket(word: str) -> None:
    life = given(*OURS, update(status="resolved"), succeed("resolve"))

    life.when(update(status=word)).then(new_keys=[f"reopen:{T}:m3"], anomalies=[], numbers=["LOCAL-0000001"])
    life.when(update(status="resolved")).then(new_keys=[f"resolve:{T}:m4"], generation=1)


@pytest.mark.requirement("R214")
@pytest.mark.parametrize("transaction", ["Update", "Closure"])
def test_a_reopening_is_known_by_the_state_before_it(transaction: str) -> None:
    back = incident(transaction, status="open", changed={"status": "open"})

    given(*OURS, update(status="resolved")).when(back).then(status="open", new_keys=[f"reopen:{T}:m3"])
    given(*OURS, update(status="pending")).when(back).then(status="open", new_keys=[f"upd:{T}:m3"])


@pytest.mark.requirement("R51")
def test_impact_and_urgency_are_free_text_and_decide_no_state() -> None:
    told = {"impact": "the whole site", "urgency": "before noon"}

    life = given(incident("Create", status="open", **told), succeed("create"), succeed("returnptn"))

    life.then(status="open", anomalies=[])
    assert life.fields == told
    life.when(update(impact="9")).then(status="open", anomalies=[], history=["open"])
    assert life.fields["impact"] == "9"


@pytest.mark.requirement("R54")
@pytest.mark.parametrize("category", ["", "Private Cloud", None])
def test_a_category_is_taken_on_create_filled_or_empty(category: str | None) -> None:
    life = given(incident("Create", status="open", category=category)).then(status="open", anomalies=[])

    assert life.fields.get("category") == category


@pytest.mark.requirement("R60")
@pytest.mark.parametrize("told", [{}, {"closeNotes": "oiled"}, {"closeNotes": "oiled", "closureCategory": "Hardware"}])
def test_close_notes_and_their_category_are_optional_and_reach_the_desk(told: dict[str, str]) -> None:
    life = given(*OURS).when(incident("Closure", status="resolved", changed={"status": "resolved", **told}))

    life.then(status="resolved", new_keys=[f"resolve:{T}:m2"], anomalies=[])
    assert last_fields(life) == {"state": "resolved", **told}


@pytest.mark.requirement("R72", "C5", "R113")
@pytest.mark.parametrize(("word", "verb"), [("resolved", "resolve"), ("closed", "close"), ("cancelled", "cancel")])
def test_a_closure_does_what_its_status_says(word: str, verb: str) -> None:
    given(*OURS, update(status="resolved")).when(incident("Closure", status=word)).then(
        status=word, new_keys=[] if word == "resolved" else [f"{verb}:{T}:{'m3' if verb == 'close' else 'g1'}"]
    )


@pytest.mark.requirement("R72", "R61", "R60")
def test_a_closure_whose_changed_names_no_status_has_the_bodys() -> None:
    life = given(*OURS).when(incident("Closure", status="resolved", changed={"closeNotes": "done"}))

    life.then(status="resolved", new_keys=[f"resolve:{T}:m2"])
    assert last_fields(life) == {"closeNotes": "done", "state": "resolved"}


@pytest.mark.requirement("R79", "R82")
@pytest.mark.parametrize("end", ["closed", "cancelled"])
def test_a_finished_ticket_takes_what_comes_and_flags_it(end: str) -> None:
    life = given(*OURS, update(status="resolved"), incident("Closure", status=end))
    before = life.anomalies

    life.when(incident("Notes", status="open", notes=note("n1"))).then(status=end, new_keys=[f"note:{T}:n1"])
    life.when(update(priority="1")).then(status=end, new_keys=[f"upd:{T}:m5"])
    life.when(update(status="open")).then(status="open", new_keys=[f"reopen:{T}:m6"])
    flagged = [code for code in life.anomalies if code != "drift"]
    assert flagged == [*before, "after_final", "after_final", "after_final"]


@pytest.mark.requirement("R57", "C8")
@pytest.mark.parametrize("word", ["open", "workinprogress", "resolved", "cancelled"])
def test_leaving_pending_clears_what_belongs_to_pending(word: str) -> None:
    held = {"statusNextAction": "pending-caller", "offHoldDate": "2023-01-28T22:26:23Z"}
    life = given(*OURS).when(update(status="pending", **held))
    assert life.fields.items() >= held.items()
    assert last_fields(life) == {"state": "pending", **held}

    life.when(update(status=word))

    assert not life.fields.keys() & held.keys()


@pytest.mark.requirement("R26", "R57")
def test_a_late_message_does_not_bring_back_what_leaving_pending_cleared() -> None:
    life = given(*OURS, update(status="pending"), update(status="open"))

    life.when(incident("Update", changed={"statusNextAction": "pending-vendor", "cis": "a"}, envelope=sent(sequence=2)))

    life.then(status="open", anomalies=["late"])
    assert "statusNextAction" not in life.fields
    assert life.fields["cis"] == "a"


@pytest.mark.requirement("R61")
def test_an_update_applies_only_what_stands_in_changed() -> None:
    life = given(*OURS).when(update(priority="1", updatedOn="2023-01-27T22:26:29Z"))

    assert life.fields.items() >= {"priority": "1", "updatedOn": "2023-01-27T22:26:29Z"}.items()
    assert last_fields(life) == {"priority": "1"}


@pytest.mark.requirement("R62")
def test_a_field_that_no_table_knows_is_applied_too_and_a_null_clears() -> None:
    life = given(*OURS).when(update(closureCategory="x", priority=None))

    assert life.fields.items() >= {"closureCategory": "x", "priority": ""}.items()


@pytest.mark.requirement("R63", "R70")
def test_an_update_without_changed_is_compared_with_what_is_known() -> None:
    life = given(*OURS)

    life.when(incident("Update", status="open", priority="2", group="Ensono Support")).then(new_keys=[f"upd:{T}:m2"])
    assert last_fields(life) == {"priority": "2"}
    life.when(incident("Update", status="open", priority="2")).then(new_keys=[], anomalies=[])


@pytest.mark.requirement("R61")
def test_an_update_whose_changed_is_empty_changes_nothing() -> None:
    life = given(*OURS).when(incident("Update", status="resolved", priority="1", changed={}))

    life.then(status="open", new_keys=[], anomalies=["drift", "drift"])
    assert life.fields["priority"] == "4"


@pytest.mark.requirement("C40")
def test_bookkeeping_alone_is_no_news_to_the_desk() -> None:
    given(*OURS).when(update(updatedOn="2023-01-27T22:26:29Z")).then(new_keys=[])


@pytest.mark.requirement("R64", "R71")
def test_a_note_brings_its_text_and_nothing_else() -> None:
    life = given(*OURS).when(incident("Notes", status="pending", priority="1", notes=note("n1", "hello")))

    life.then(status="open", notes=["n1"], new_keys=[f"note:{T}:n1"], anomalies=[])
    assert life.fields["priority"] == "4"
    assert last_fields(life) == {"body": "hello", "author": "Ensono User", "email": "e@x.com"}


@pytest.mark.requirement("R75")
def test_an_update_and_the_note_of_the_same_action_have_one_status_effect() -> None:
    given(*OURS).when(update(status="pending"), incident("Notes", status="pending", notes=note("n1"))).then(
        history=["open", "pending"], new_keys=[f"upd:{T}:m2", f"note:{T}:n1"]
    )


@pytest.mark.requirement("R65")
def test_notes_come_one_by_one_or_as_a_list_and_once_each() -> None:
    life = given(*OURS).when(incident("Notes", notes=[note("n1"), note("n2")]))

    life.when(incident("Notes", notes=[note("n2"), note("n3")])).then(
        notes=["n1", "n2", "n3"], new_keys=[f"note:{T}:n3"]
    )


@pytest.mark.requirement("R65")
def test_a_note_without_an_id_is_known_by_its_message() -> None:
    given(*OURS).when(incident("Notes", notes={"type": "comment", "body": "x"})).then(notes=["m2:0"])


@pytest.mark.requirement("R69")
def test_a_second_create_makes_no_second_client_ticket() -> None:
    life = given(*OURS).when(incident("Create", status="open", priority="1", group="Ensono Support"))

    life.then(new_keys=[f"upd:{T}:m2"], anomalies=["duplicate"])
    assert life.kinds.count("create") == 1


@pytest.mark.requirement("R107")
def test_a_ticket_that_is_cancelled_twice_is_cancelled_at_the_desk_twice() -> None:
    life = given(*OURS).when(update(status="cancelled")).then(new_keys=[f"cancel:{T}:g1"], anomalies=[])

    life.when(update(status="open")).then(new_keys=[f"reopen:{T}:m3"])
    life.when(update(status="cancelled")).then(new_keys=[f"cancel:{T}:m4"])
    life.when(update(status="cancelled")).then(new_keys=[])


@pytest.mark.requirement("R56")
@pytest.mark.parametrize(
    ("text", "state"), [("Work In Progress", "workinprogress"), ("CANCELED", "cancelled"), (" on-hold ", "open")]
)
def test_a_status_is_read_whatever_its_spelling_and_an_unknown_one_changes_nothing(text: str, state: str) -> None:
    life = given(*OURS).when(update(status=text)).then(status=state)

    assert life.anomalies == (["unknown_value"] if state == "open" else [])


@pytest.mark.requirement("R107")
def test_an_unknown_status_behind_the_end_is_both() -> None:
    life = given(*OURS, update(status="cancelled")).when(update(status="melting"))

    life.then(status="cancelled", anomalies=["unknown_value", "after_final"])


@pytest.mark.requirement("R56")
def test_a_first_status_that_is_unknown_leaves_the_ticket_without_one() -> None:
    given(incident("Create", status="melting")).then(status=None, anomalies=["unknown_value"], kinds=["create"])


# --- Appendix B, cell by cell: `.` as expected, `a` an anomaly, `A` one after the end ---

STATES = ["open", "workinprogress", "pending", "resolved", "closed", "cancelled"]
TABLE = """
start          . a a a a a
open           . . . . a .
workinprogress . . . . a .
pending        . . . . a .
resolved       . . . . . a
closed         A A A A . A
cancelled      A A A A . .
"""
CELLS = {
    (before, after): mark
    for before, *marks in map(str.split, TABLE.strip().split("\n"))
    for after, mark in zip(STATES, marks, strict=True)
}
VERBS = {"resolved": "resolve", "closed": "close", "cancelled": "cancel"}


@pytest.mark.requirement("R82", "R228")
@pytest.mark.parametrize(("before", "after"), list(CELLS))
def test_every_cell_of_the_transition_table(before: str, after: str) -> None:
    known: list[Event] = [incident("Update", status=before), succeed("create"), succeed("returnptn")]
    life = given(*(known if before != "start" else []))
    flagged = len(life.anomalies)

    life.when(incident("Create" if before == "start" else "Update", status=after))

    codes = {".": [], "a": ["unexpected_state"], "A": ["after_final"]}[CELLS[before, after]]
    life.then(status=after, refused=[])
    assert life.anomalies[flagged:] == codes
    assert [item.kind.value.partition("_")[0] for item in life.new] == expected_kinds(before, after)


def expected_kinds(before: str, after: str) -> list[str]:
    created = ["create"] if before == "start" else []
    if before == after:
        return []
    if after in VERBS:
        return [*created, VERBS[after]]
    return created or (["reopen"] if before in VERBS else ["update"])


@pytest.mark.requirement("R67")
@pytest.mark.parametrize("state", STATES)
def test_a_ticket_may_be_first_seen_in_any_state_if_its_create_was_missed(state: str) -> None:
    given(incident("Update", status=state)).then(status=state, anomalies=["adopted"], history=[state])


@pytest.mark.requirement("R57", "C8")
def test_the_desk_is_told_that_what_belonged_to_pending_is_gone() -> None:
    held = {"statusNextAction": "pending-caller", "offHoldDate": "2023-01-28T22:26:23Z"}
    life = given(*OURS, update(status="pending", **held))

    life.when(update(status="workinprogress"))

    assert last_fields(life) == {"statusNextAction": "", "offHoldDate": "", "state": "workinprogress"}


@pytest.mark.requirement("R214")
def test_a_reopening_names_the_status_it_goes_back_to() -> None:
    life = given(*OURS, update(status="resolved")).when(update(status="pending"))

    assert (life.kinds[-1], last_fields(life)) == ("reopen", {"state": "pending"})
