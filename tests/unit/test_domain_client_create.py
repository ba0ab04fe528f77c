"""A ticket that the client opens at Ensono's: how far it is, what both streams are told, and when it is made twice."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given as for_all
from hypothesis import settings
from hypothesis import strategies as st

from ecproc.domain import client_create
from ecproc.domain.client_create import EXPECTED, ClientCreate, State, Word
from ecproc.domain.commands import (
    ClientLinked,
    CommandAccepted,
    CommandKind,
    Comment,
    EnsonoNumberReturned,
    KnownCommand,
)
from ecproc.domain.deltas import CommandChanged, Delta, Flagged, Refused, Tells
from ecproc.domain.events import EffectFailed, EffectStarted, EffectSucceeded, EffectUnknown, Noticed, Place
from ecproc.domain.ids import EffectKey, TicketNumber
from ecproc.domain.policy import Policy
from ecproc.fold.clients import ClientMachine
from ecproc.fold.recorded import decode_event
from ecproc.testing.ticket import Life, given, incident
from tests.simulation.strategies import History, any_facts, outcomes
from tests.unit.test_domain_properties import ACTIONS, play, told

KEY = EffectKey("ec-create:INC1")
STREAM = "client:INC1"
FIELDS = {"ticketType": "Incident", "shortDescription": "s", "description": "d", "contactName": "N", "priority": "3"}


def create(*comments: Comment, key: EffectKey = KEY, **fields: str) -> CommandAccepted:
    return CommandAccepted(key, CommandKind.CREATE, "somebody", {**FIELDS, **fields}, comments, "digest")


def returned(ticket: str = "e-CS9") -> EnsonoNumberReturned:
    return EnsonoNumberReturned(TicketNumber(ticket), ticket, 7)


def answered(ticket: str = "e-CS9", **more: str) -> EffectSucceeded:
    return EffectSucceeded(KEY, {"number": ticket, "answer": ticket, **more})


def asked(*events: Any) -> Life:
    life = Life(STREAM)
    for event in (create(), *events):
        life.when(event)
    return life


def state_of(life: Life) -> ClientCreate:
    assert isinstance(life.whole, ClientCreate)
    return life.whole


def list_told(life: Life) -> list[tuple[str, Any]]:
    return [(event.stream, decode_event(event.kind, event.payload)) for event in life.told]


def header(life: Life) -> Any:
    """Whether the stream shows the ticket, and as what."""
    rows = ClientMachine().rows(state_of(life), [])
    return [row.data for row in rows if row.table == "ticket"]


@pytest.mark.requirement("R95", "R96")
def test_a_create_is_sent_with_all_that_it_takes_along() -> None:
    life = Life(STREAM).when(create(Comment("one", "c1"), description="d" * 5_000))
    (effect,) = life.new

    assert (effect.key, effect.kind.value, effect.lane.value) == (KEY, "create_ticket", "bridge")
    assert (effect.ticket, effect.ticket_type, effect.number) == ("", "Incident", "INC1")
    assert effect.fields.keys() == {*FIELDS, "comments"} - {"ticketType"}
    assert len(effect.fields["description"]) <= 4_000
    assert effect.fields["comments"].startswith('[{"body":"(2/2) ')
    assert effect.fields["comments"].endswith('{"body":"one"}]')


@pytest.mark.requirement("R97")
@pytest.mark.parametrize(
    ("events", "state"),
    [
        ([], "requested"),
        ([EffectStarted(KEY)], "sent"),
        ([EffectFailed(KEY, "503", blamed=False, next_attempt_at=1)], "requested"),
        ([EffectStarted(KEY), EffectFailed(KEY, "503", blamed=False, next_attempt_at=1)], "requested"),
        ([EffectStarted(KEY), EffectUnknown(KEY, "timeout", 1)], "unknown"),
        ([EffectUnknown(KEY, "timeout", 1), EffectStarted(KEY)], "unknown"),
        ([EffectStarted(KEY), EffectFailed(KEY, "no", blamed=True, parked=True)], "rejected"),
        ([EffectStarted(KEY), EffectFailed(KEY, "no", blamed=True), answered()], "linked"),
        ([EffectStarted(KEY), EffectFailed(KEY, "no", blamed=True), returned()], "linked"),
        ([EffectStarted(KEY), answered()], "linked"),
        ([returned()], "linked"),
        ([EffectStarted(KEY), EffectUnknown(KEY, "timeout", 1), returned()], "linked"),
        ([returned(), EffectUnknown(KEY, "timeout", 1)], "linked"),
        ([EffectFailed(KEY, "no", blamed=True), create()], "requested"),
    ],
)
def test_it_goes_through_its_states(events: list[Any], state: str) -> None:
    life = Life(STREAM).when(create(), *events)
    assert state_of(life).state == state
    assert header(life) == [None] if state == "linked" else header(life) != [None]


def test_each_word_leads_where_the_table_says() -> None:
    assert EXPECTED.keys() == {None, *State}
    for leads in EXPECTED.values():
        assert leads.keys() <= set(Word)
    assert EXPECTED[State.LINKED] == {}


@pytest.mark.requirement("R84", "I4")
def test_its_answer_tells_the_tickets_stream_what_was_asked() -> None:
    life = Life(STREAM).when(create(Comment("one", "c1"))).when(answered())

    fields = {name: value for name, value in FIELDS.items() if name != "ticketType"}
    linked = ClientLinked(
        TicketNumber("e-CS9"), state_of(life).number, "Incident", KEY, fields, (Comment("one", "c1"),)
    )
    assert list_told(life) == [("e-CS9", linked)]
    assert not life.told[0].if_held
    assert life.when(answered()).told == life.told[:1]
    assert life.when(returned()).told == life.told[:1]
    assert life.anomalies == []


@pytest.mark.requirement("R97", "I4")
@pytest.mark.parametrize(
    "before",
    [
        [],
        [EffectStarted(KEY)],
        [EffectFailed(KEY, "503", blamed=False, next_attempt_at=1)],
        [EffectStarted(KEY), EffectUnknown(KEY, "timeout", 1)],
        [EffectFailed(KEY, "no", blamed=True, parked=True)],
    ],
)
@pytest.mark.parametrize("cause", [0, 10])
def test_a_number_that_comes_by_the_queue_ends_what_is_under_way(before: list[Any], cause: int) -> None:
    life = asked(*before).when(returned())

    assert life.entries == {KEY: "completed"}
    (entry,) = life.whole.plans.entries.values()
    assert entry.result == {"number": "e-CS9", "answer": "told by a message"}
    assert [stream for stream, _ in list_told(life)] == ["e-CS9"]

    if cause:  # of the attempt that was under way
        life.when(EffectUnknown(KEY, "timeout", 1, cause=cause))
        life.when(EffectFailed(KEY, "no", blamed=True, cause=cause))
        assert life.entries == {KEY: "completed"}
        assert state_of(life).state == "linked"


@pytest.mark.requirement("R97", "C25")
@pytest.mark.parametrize(
    "words", [(answered(), returned("e-CS8")), (returned(), answered("e-CS8")), (returned(), returned("e-CS8"))]
)
def test_a_second_number_is_told_to_all_whom_it_concerns_once(words: tuple[Any, Any]) -> None:
    life = asked(EffectUnknown(KEY, "timeout", 1), *words, words[1])

    assert life.anomalies == ["double_create"]
    (flagged,) = [delta for delta in life.deltas if isinstance(delta, Flagged)]
    assert "e-CS9" in flagged.detail
    assert "e-CS8" in flagged.detail
    told_of = [(stream, type(fact)) for stream, fact in list_told(life)]
    assert told_of == [("e-CS9", ClientLinked), ("e-CS8", ClientLinked), ("e-CS9", Noticed), ("e-CS8", Noticed)]
    assert state_of(life).ticket == "e-CS9"


def test_numbers_that_differ_in_spelling_alone_are_one() -> None:
    assert asked(answered(), returned("CS9")).anomalies == []


@pytest.mark.requirement("R203")
def test_a_group_that_was_not_taken_is_named_in_a_comment_of_the_ticket() -> None:
    life = asked(answered(group="Default", wanted_group="Mine"))

    (effect,) = life.new
    assert (effect.key, effect.kind.value, effect.ticket, effect.number) == (
        "ec-create:INC1:group",
        "add_comments",
        "e-CS9",
        "INC1",
    )
    ((_, linked),) = list_told(life)
    assert ["Mine" in comment.body for comment in linked.comments] == [True]
    assert list_commands(life)[-1].entries == (KEY, effect.key)


def list_commands(life: Life) -> list[KnownCommand]:
    return [delta.command for delta in life.deltas if isinstance(delta, CommandChanged)]


@pytest.mark.requirement("R96", "R87", "R143")
@pytest.mark.parametrize(
    ("life", "accepted", "why"),
    [
        (asked(), create(key=EffectKey("another")), "INC1 was opened under the key ec-create:INC1"),
        (asked(answered()), create(key=EffectKey("another")), "INC1 was opened under the key ec-create:INC1"),
        (Life(STREAM), create(ticketType="Change"), "only an Incident or a Request can be opened"),
        (Life(STREAM), CommandAccepted(KEY, CommandKind.NOTE), "INC1 is not known to Ensono yet"),
        (Life("client:n/a"), create(), "a ticket of ours has a number"),
    ],
)
def test_what_cannot_be_opened_says_why_and_leads_to_nothing(life: Life, accepted: CommandAccepted, why: str) -> None:
    life.when(accepted)
    assert (life.new, list_commands(life)[-1].refused) == ([], why)


def test_a_rejected_one_may_be_opened_under_another_key() -> None:
    life = asked(EffectFailed(KEY, "no", blamed=True)).when(create(key=EffectKey("another")))
    assert life.new_keys == ["another"]
    life.when(EffectSucceeded(EffectKey("another"), {"number": "e-CS9"}))
    assert state_of(life).state == "linked"


@pytest.mark.requirement("I9")
def test_a_message_of_such_a_group_is_none_of_ours() -> None:
    life = Life(STREAM).when(incident("Create", status="open"))
    assert life.refused == ["reserved_group"]
    assert header(life) == [None]


def test_an_answer_without_a_number_is_odd_and_the_queue_may_still_tell() -> None:
    life = asked(EffectSucceeded(KEY, {"answer": "ok"}))
    assert life.anomalies == ["odd_answer"]
    assert state_of(life.when(returned())).state == "linked"


# --- the ticket's side ------------------------------------------------------------------------------------------------


LINKED = ClientLinked(
    TicketNumber("e-CS1"),
    state_of(Life(STREAM)).number,
    "Incident",
    KEY,
    {"priority": "3", "description": "d"},
    (Comment("one", "c1"),),
)


def first(**body: Any) -> Any:
    return incident("Create", status="open", priority="4", clientTicketNumber="INC1", **body)


@pytest.mark.requirement("I3", "R84")
def test_either_of_link_and_message_may_come_first() -> None:
    before, after = given_link().when(first()), given(first(), LINKED)
    for life in (before, after):
        life.then(status="open", numbers=["INC1"], anomalies=[], keys=[], history=["open"])
        assert life.fields == {"priority": "4", "description": "d"}
        assert [known.returned for known in life.state.client_tickets] == [True]
        assert life.state.commands.comments == {"c1": KEY}


def given_link(*events: Any) -> Life:
    return Life("e-CS1").when(LINKED).when(*events)


@pytest.mark.requirement("R84")
def test_a_linked_ticket_is_shown_and_can_be_worked_on_before_any_message() -> None:
    life = given_link(CommandAccepted(EffectKey("K"), CommandKind.NOTE, comments=(Comment("text"),)))
    life.then(status="open", numbers=["INC1"], new_keys=["K"])
    assert (life.new[0].ticket, life.new[0].number) == ("e-CS1", "INC1")


@pytest.mark.requirement("R215")
def test_the_comments_of_a_create_come_back_to_nobody() -> None:
    life = given_link(first(notes={"id": "n1", "body": "one"}))
    life.then(notes=["n1"], keys=[])


@pytest.mark.requirement("R97")
@pytest.mark.parametrize(
    ("message", "tells"),
    [
        (first(), True),
        (incident("ReturnEnsonoNum", clientTicketNumber="INC1"), True),
        (incident("Update", clientTicketNumber="INC1", status="open"), True),
        (incident("Create", status="open"), False),
    ],
)
def test_a_first_message_that_names_our_number_tells_the_create(message: Any, tells: bool) -> None:
    life = given(message)
    expected = [("client:INC1", EnsonoNumberReturned(TicketNumber("e-CS1"), "e-CS1", 10))]
    assert list_told(life) == (expected if tells else [])
    assert all(event.if_held and event.wanted for event in life.told)


@pytest.mark.requirement("R97")
def test_a_later_one_tells_it_where_it_is_about_the_number() -> None:
    life = given(incident("Create", status="open"), incident("Update", clientTicketNumber="INC1"))
    assert life.told == []
    assert len(life.when(incident("ReturnEnsonoNum", clientTicketNumber="INC1")).told) == 1


@pytest.mark.requirement("R121")
def test_a_link_to_a_ticket_with_another_number_is_flagged_and_kept() -> None:
    life = given(incident("Create", status="open", clientTicketNumber="OTHER"), LINKED)
    life.then(anomalies=["link_mismatch"], numbers=["INC1", "OTHER"])
    odd = given(first(), ClientLinked(TicketNumber("e-CS1"), LINKED.number, "Change", KEY))
    odd.then(anomalies=["link_mismatch"], numbers=["INC1"])


# --- any history ------------------------------------------------------------------------------------------------------


@st.composite
def creates(draw: st.DrawFn) -> History:
    """What can happen to one create, in any order and grouping."""
    life, events, planned = Life(STREAM), [], []
    words = st.one_of(
        st.builds(create, key=st.sampled_from([KEY, EffectKey("another")])),
        st.builds(returned, st.sampled_from(["e-CS9", "e-CS8", "e-CS9"])),
        st.builds(CommandAccepted, st.just(KEY), st.sampled_from(CommandKind)),
        st.just(Noticed(1, "double_create", "two")),
        st.just(incident("Create", envelope={"Attributes": {"MessageGroupId": STREAM}})),
    )
    for _ in range(draw(st.integers(1, 12))):
        keys = [*life.whole.plans.entries]
        answer = outcomes(st.sampled_from(keys)) | st.just(answered()) if keys else words
        event: Any = draw(st.one_of(words, answer))
        life.when(event)
        events.append(event)
        planned.append(tuple(effect.key for effect in life.new))
    return History(life, tuple(events), tuple(planned))


@pytest.mark.requirement("I5", "R230")
@settings(max_examples=150)
@for_all(creates(), st.lists(st.sampled_from(ACTIONS), min_size=1, max_size=30))
def test_steps_of_a_create_may_be_grouped_and_torn_in_any_way(history: History, actions: list[str]) -> None:
    assert told(play(history, actions)) == told(history.life)


@pytest.mark.requirement("I5", "R230")
@for_all(creates())
def test_a_create_folded_again_is_the_same_and_tells_nobody_again(history: History) -> None:
    life = history.life
    before, heard = told(life), len(life.told)
    assert told(life.forget()) == before
    assert told(life.forget(snapshot=True)) == before
    assert len(life.told) == heard


@pytest.mark.requirement("I9")
@settings(max_examples=150)
@for_all(st.lists(any_facts(), max_size=20))
def test_no_history_is_too_odd_for_it(facts: list[Any]) -> None:
    machine = ClientMachine()
    state = machine.new(STREAM)
    for version, fact in enumerate(facts, 1):
        if type(fact).__name__ == "Decided":
            continue
        place = Place(version, version, version)
        deltas: list[Delta] = machine.evolve(state, fact, place)
        assert all(isinstance(delta, Delta) for delta in deltas)
        if any(isinstance(delta, Refused) for delta in deltas):
            continue
        effects = client_create.decide(state, fact, deltas, place, Policy())
        assert all(effect.position == version for effect in effects)
        machine.rows(state, deltas)
        assert all(isinstance(delta, Tells) for delta in deltas if hasattr(delta, "stream"))
