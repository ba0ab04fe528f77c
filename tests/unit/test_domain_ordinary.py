"""The short way for ordinary updates: whatever it takes, it makes of it what the long way does."""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest
from hypothesis import Phase, find, given, settings
from hypothesis import strategies as st

from ecproc.domain import incident, ticket
from ecproc.domain.commands import CommandAccepted, CommandKind
from ecproc.domain.deltas import Delta
from ecproc.domain.events import (
    OTHER_BODY,
    ApprovalRequest,
    AttachmentInfo,
    Decided,
    EffectSucceeded,
    Fact,
    Message,
    Note,
    Place,
    Remark,
    TicketType,
    Transaction,
)
from ecproc.domain.ids import EffectKey
from ecproc.domain.log import Compact, RecordedEvent, Row
from ecproc.domain.policy import Policy
from ecproc.domain.state import TicketState
from ecproc.fold import whole
from ecproc.fold.compact import CompactStep, compact_fact, encode_step
from ecproc.fold.history import place_of, read_fact
from ecproc.fold.machine import evolve_fact, write_down
from ecproc.fold.recorded import Kind, encode_event
from ecproc.fold.tickets import TicketMachine
from ecproc.fold.whole import fold_compact
from ecproc.reading.opening import open_reading
from tests.replay.histories import list_histories, unpack
from tests.simulation.simloop import simulate
from tests.simulation.strategies import History, any_facts, histories
from tests.simulation.world import World, WorldPlan

MACHINE: Final = TicketMachine()
MINUTE: Final = 60_000_000

Fold = Callable[[TicketState, Message], list[Delta] | None]


class Comparison:
    """Folds facts by the long way, and each message by the short one beside it, on a state that never shared a thing
    with the other. `taken` counts what the short one took, `wrong` tells where the two part."""

    def __init__(self, stream: str = "e-1", short: Fold = ticket.evolve_ordinary) -> None:
        self.state = MACHINE.new(stream)
        self.taken = 0
        self.wrong: list[str] = []
        self._short = short

    def follow(self, facts: Iterable[tuple[Fact | Decided, Place]]) -> Comparison:
        for fact, place in facts:
            if isinstance(fact, Decided):
                write_down(self.state, fact)
            elif isinstance(fact, Message):
                self._compare(fact, place)
            else:
                evolve_fact(MACHINE, self.state, fact, place)
        return self

    def _compare(self, message: Message, place: Place) -> None:
        other = copy(self.state)
        try:
            deltas = self._short(other, message)
        except (KeyError, TypeError) as error:
            self.wrong.append(f"{error!r} for {message}")
            deltas = None
        if deltas is None and show(other) != show(self.state):
            self.wrong.append(f"the state is not as it was after {message}")
        expected = ticket.evolve_in_full(self.state, message)
        if deltas is None:
            return
        self.taken += 1
        if (deltas, show(other), lead(other, message, deltas, place)) != (
            expected,
            show(self.state),
            lead(self.state, message, expected, place),
        ):
            self.wrong.append(f"{deltas} instead of {expected} for {message}")


def lead(state: TicketState, message: Message, deltas: Sequence[Delta], place: Place) -> Any:
    """The effects and rows that come of a message, and which of the effects are new."""
    effects = MACHINE.decide(state, message, deltas, place, Policy())
    return effects, MACHINE.rows(state, deltas), copy(state).plans.plan(effects)


def copy(state: TicketState) -> TicketState:
    return msgspec.msgpack.decode(msgspec.msgpack.encode(state), type=TicketState)


def show(state: TicketState) -> Any:
    """All that a state holds, and the order of what has one."""
    return copy(state), [*state.record.fields], [*state.record.sequences], [*state.memory.dedups]


# --- what is nearly an ordinary update --------------------------------------------------------------------------------


def either(usual: Any, *odd: Any) -> st.SearchStrategy[Any]:
    """Mostly as usual."""
    return st.sampled_from([*[usual] * 40, *odd])


_ORDINARY: Final[list[dict[str, str]]] = [{"updatedOn": "9"}, {"group": "B"}, {"updatedOn": "8", "group": "A"}, {}]
_MESSAGES: Final[st.SearchStrategy[dict[str, Any]]] = st.builds(
    dict,
    transaction=either(Transaction.UPDATE, *Transaction, Transaction.CREATE, *[Transaction.UNKNOWN] * 2),
    ticket_type=either(TicketType.INCIDENT, None, *TicketType),
    client_number=either("INC1", *[""] * 4, "INC2"),
    number_missing=either(False, True),
    status=either("open", None, "", "Open", "pending", "closed", "on ice"),
    fields=either({"group": "A", "cis": "a"}, {}, {"group": "B", "cis": "c"}, {"priority": "9", "note": "x"}),
    changed=st.sampled_from(
        [*_ORDINARY * 4, None, {"priority": "7"}, {"closeCode": "x"}, {"priority": "2"}, {"status": "resolved"}]
    ),
    notes=either((), (Note("n1", "text", "", ""),)),
    attachment=either(None, AttachmentInfo("f1", "f", "t", None, None)),
    approval=either(None, ApprovalRequest("a1", "A", "", "requested")),
    opened_at=either(None, 7),
    remarks=either((), (OTHER_BODY,), (Remark("gap", "one"),)),
    again=either(None, "message_id", "dedup", "sequence", "late", "unordered", "early"),
    asked=either("", "B", "A", "C"),
)


def walk(members: Sequence[dict[str, Any]]) -> Iterator[tuple[Fact, Place]]:
    """Messages one after the other, each but for its oddities newer than those before it."""
    for count, given_ in enumerate(members, 1):
        again = given_["again"]
        place = Place(count * 2, count * 2, (100 + count - 60 * (again == "early")) * MINUTE // 4)
        number = {"late": count - 2, "sequence": count - 1, "unordered": 0}.get(str(again), count)
        yield (
            Message(
                position=place.position,
                version=place.version,
                at=place.at,
                message_id=f"m{count - (again == 'message_id')}",
                ticket_number="e-1",
                transaction_name=str(given_["transaction"]),
                sequence=max(number, 0).to_bytes(16),
                dedup=max(count - (again == "dedup"), 0),
                **{name: value for name, value in given_.items() if name not in ("again", "asked")},
            ),
            place,
        )
        if count % 5 == 0:
            yield EffectSucceeded(EffectKey("create:e-1:g1"), {"number": "INC1"}), place
        if given_["asked"]:
            fields = {"group": given_["asked"]}
            yield CommandAccepted(EffectKey(f"ec-{count}"), CommandKind.UPDATE, fields=fields), place


def walks(most: int = 20) -> st.SearchStrategy[list[dict[str, Any]]]:
    return st.lists(_MESSAGES, min_size=1, max_size=most)


@pytest.mark.requirement("I5")
@settings(max_examples=150)
@given(walks())
def test_an_update_that_is_nearly_ordinary_is_folded_as_at_length(members: list[dict[str, Any]]) -> None:
    assert Comparison().follow(walk(members)).wrong == []


@pytest.mark.requirement("I5")
@settings(max_examples=60)
@given(st.lists(any_facts(), max_size=20))
def test_no_state_and_no_message_is_too_odd(facts: list[Fact | Decided]) -> None:
    places = [(fact, Place(version, version, version)) for version, fact in enumerate(facts, 1)]
    assert Comparison().follow(places).wrong == []


@pytest.mark.requirement("I5")
@settings(max_examples=40)
@given(histories())
def test_what_can_happen_to_a_ticket_is_folded_as_at_length(history: History) -> None:
    assert Comparison().follow(read_all(history.life.log)).wrong == []


def read_all(events: Iterable[RecordedEvent]) -> Iterator[tuple[Fact | Decided, Place]]:
    for event in events:
        fact = read_fact(event)
        if fact is not None:
            yield fact, place_of(event)


@pytest.mark.requirement("I5")
async def test_logs_of_former_builds_are_folded_as_at_length(tmp_path: Path) -> None:
    taken = 0
    for name in list_histories():
        streams: dict[str, list[RecordedEvent]] = {}
        async with open_reading(unpack(name, tmp_path / name)) as reader:
            async for page in reader.read_log():
                for event in page:
                    streams.setdefault(event.stream, []).append(event)
        for stream, events in streams.items():
            comparison = Comparison(stream).follow(read_all(events))
            assert comparison.wrong == []
            taken += comparison.taken
    assert taken


@pytest.mark.requirement("I5")
@pytest.mark.parametrize("seed", [1, 2])
def test_the_lives_of_a_world_are_folded_as_at_length(seed: int) -> None:
    async def main() -> int:
        world = World(WorldPlan(tickets=30, rate=50), seed=seed)
        world.start()
        await world.finish(within=600)
        taken = 0
        for life in world.lives:
            comparison = Comparison(life.ticket).follow(read_all(await world.disk.read_stream(life.ticket)))
            assert comparison.wrong == []
            taken += comparison.taken
        return taken

    assert simulate(main)


# --- out of the compact form, which leaves out what a message repeats -----------------------------------------------


def fold_both(members: Sequence[dict[str, Any]]) -> tuple[list[Row], list[Row]]:
    """The rows that a replay of the compact form makes, and those of the long way alone."""
    state, deltas, steps = MACHINE.new("e-1"), list[Delta](), list[Compact]()
    before: Mapping[str, str] | None = {}
    for version, (fact, place) in enumerate(walk(members), 1):
        kind, payload = (Kind.MESSAGE_RECEIVED, b"") if isinstance(fact, Message) else encode_event(fact)  # type: ignore[arg-type]
        event = RecordedEvent(place.position, "e-1", place.version, place.at, kind, payload, b"")
        told, before = compact_fact(event, fact, {}, before)
        data = encode_step(CompactStep(version - 1, version, 2, (told,)))
        steps.append(Compact("e-1", place.position, data))
        if isinstance(fact, Message):
            deltas += ticket.evolve_in_full(state, fact)
        else:
            deltas += evolve_fact(MACHINE, state, fact, place)
    folded = fold_compact("e-1", steps, MACHINE)
    assert folded is not None
    return keep_last(folded[0]), [row for row in keep_last(MACHINE.rows(state, deltas)) if row.data is not None]


def keep_last(rows: Iterable[Row]) -> list[Row]:
    return list({(row.table, row.id): row for row in rows}.values())


@pytest.mark.requirement("I5")
@settings(max_examples=300)
@given(walks())
def test_the_compact_form_gives_the_rows_of_the_long_way(members: list[dict[str, Any]]) -> None:
    rows, expected = fold_both(members)
    assert rows == expected


# --- what holds the tests above ---------------------------------------------------------------------------------------


def list_conditions(function: Callable[..., Any]) -> list[str]:
    """The lines of its conditions that can be left out one by one."""
    lines = inspect.getsource(function).splitlines()
    return [line for line in lines if line.lstrip().startswith("or ")]


def plant(function: Callable[..., Any], old: str, new: str, monkeypatch: pytest.MonkeyPatch) -> None:
    source = inspect.getsource(function)
    assert source.count(old) == 1
    names = dict(vars(inspect.getmodule(function)))
    exec(compile(source.replace(old, new), function.__name__, "exec", flags=PLAIN), names)  # noqa: S102
    monkeypatch.setattr(inspect.getmodule(function), function.__name__, names[function.__name__])


PLAIN: Final = __import__("__future__").annotations.compiler_flag

_ERRORS: Final = [
    *((ticket.evolve_ordinary, f"{line}\n", "") for line in list_conditions(ticket.evolve_ordinary)),
    (ticket.evolve_ordinary, "message.changed is None\n        or ", ""),
    (ticket.evolve_ordinary, " or message.number_missing", ""),
    (ticket.evolve_ordinary, " or not ours.returned", ""),
    (ticket.evolve_ordinary, "memory.message_ids.add(message.message_id)", "pass"),
    (ticket.evolve_ordinary, "record.sequence = message.sequence", "pass"),
    (ticket.evolve_ordinary, "remember_dedup(memory, message.dedup, message.at)", "pass"),
    (ticket.evolve_ordinary, "state.touch(message)", "pass"),
    (incident.apply_ordinary, '"status" in changed or ', ""),
    (incident.apply_ordinary, "known in FINAL or ", ""),
    (incident.apply_ordinary, " or not VALUES.keys().isdisjoint(changed)", ""),
    (incident.apply_ordinary, " and status != known", " and False"),
    (incident.apply_ordinary, " + _find_field_drift(state, message, changed)", ""),
]


@pytest.mark.parametrize(("function", "old", "new"), _ERRORS, ids=[old.strip() for _, old, _ in _ERRORS])
def test_an_error_in_the_short_way_is_found(
    function: Callable[..., Any], old: str, new: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(function, old, new, monkeypatch)
    find(
        walks(8),
        lambda members: bool(Comparison(short=ticket.evolve_ordinary).follow(walk(members)).wrong),
        settings=settings(max_examples=3_000, derandomize=True, database=None, phases=[Phase.generate]),
    )


def test_a_date_off_hold_is_no_ordinary_field(monkeypatch: pytest.MonkeyPatch) -> None:
    usual: dict[str, Any] = {
        "transaction": Transaction.UPDATE,
        "ticket_type": TicketType.INCIDENT,
        "client_number": "",
        "status": "pending",
        "again": None,
        "asked": "",
    }
    held = [{**usual, "changed": None}, {**usual, "changed": {"offHoldDate": "2023-02-08 16:25:44"}}]

    assert Comparison().follow(walk(held)).wrong == []
    plant(incident.apply_ordinary, '"offHoldDate" in changed or ', "", monkeypatch)
    assert Comparison(short=ticket.evolve_ordinary).follow(walk(held)).wrong


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("steady and find(name) == value", "steady"),
        ("self._fields.update(message.fields)", "pass"),
    ],
)
def test_an_error_in_what_the_compact_form_leaves_out_is_found(
    old: str, new: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("_take", "_follow_news"):
        function = getattr(whole._CompactFold, name)
        source = textwrap.dedent(inspect.getsource(function))
        names = dict(vars(whole))
        exec(compile(source.replace(old, new), name, "exec", flags=PLAIN), names)  # noqa: S102
        monkeypatch.setattr(whole._CompactFold, name, names[name])

    def is_wrong(members: list[dict[str, Any]]) -> bool:
        try:
            rows, expected = fold_both(members)
        except KeyError:  # a field is gone that never came
            return True
        return rows != expected

    find(
        walks(),
        is_wrong,
        settings=settings(max_examples=3_000, derandomize=True, database=None, phases=[Phase.generate]),
    )
