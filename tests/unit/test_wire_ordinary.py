"""An ordinary message is read in one go, and exactly as the way for any message reads it."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecproc.domain.events import Message, Place, Remark, Transaction, Undecodable
from ecproc.wire import members as members_module
from ecproc.wire import translate as module
from ecproc.wire.members import FIELDS
from ecproc.wire.payload import Content, read_payload
from ecproc.wire.queue import decode_message
from ecproc.wire.translate import translate

MESSAGES = {
    path.stem: path.read_bytes() for path in sorted((Path(__file__).parents[1] / "fixtures/messages").glob("*"))
}
AT = 1_674_858_334_956_000
"""When the guide's messages were sent."""
HOUR = 3_600_000_000

Members = list[tuple[str, Any]]
"""An object's members in their order; a name may stand there twice."""


class Written(str):
    """JSON as it is to stand there."""


def read_object(text: str) -> Members:
    return list(json.loads(text, object_pairs_hook=list))


def write(value: Any) -> str:
    match value:
        case Written():
            return value
        case list() if value and all(isinstance(item, tuple) for item in value):
            return "{" + ",".join(f"{json.dumps(name)}:{write(item)}" for name, item in value) + "}"
        case _:
            return json.dumps(value)


SPELLINGS = ("Impact", "impact ", "updateOn", "UpdatedOn", "ticket_number", "Client Name", "State", "u_colour", "", "é")
NAMES = (
    *("clientName", "clientTicketNumber", "ticketType", "ticketNumber", "status", "state", "changed", "notes", "cis"),
    *("attachment", "attachmentName", "approvalId", "approvalState", "updatedOn", "openedTime", "openedAt", "impact"),
    *("endDate", "priority", "description", "comments"),
)
SCALARS: tuple[Any, ...] = (
    *("", " ", "null", "n/a", "None", "0", "[object Object]", " INC1 ", "\xa0x\u200b", "x\ufffd", "x\x00", "é\u2028"),
    *("open", "Resolved", "incident", "Incident ", "Request", "a,b", "x" * 100, "2023-02-08 16:25:44", "yesterday"),
    *("1969-12-31T23:59:59Z", "2400-01-01T00:00:00Z", " 2023-01-27T22:24:53Z", "2023-01-27T22:24:53+02:00", "20230127"),
    *(None, True, False, 0, 7, -1, 1.0, 2.5, 1e300, 10**30, 18875507807458288128),
)
OBJECTS: tuple[Any, ...] = (
    *([], [""], ["a", "b"], ["impact", "urgency"], [1, None], [[]], Written("{}"), Written("[" * 120 + "]" * 120)),
    *({"display_value": "On Hold", "value": "3"}, {"value": "2"}, {"link": "https://x"}, {"a": {"b": {}}}, [{"a": 1}]),
    *({"impact": "1"}, {"status": ""}, {"status": None}, {"state": "closed"}, {"status": "open", "state": "closed"}),
    *(
        {"impact": {"from": "1", "to": "2"}},
        {"ticketNumber": "x"},
        {"ticketType": "Change", "impact": "1"},
        {"attachment": "x"},
        {"Impact": "1"},
        {"u_x": "1"},
    ),
    *({"priority": 1}, {"updatedOn": ""}, {"updatedOn": "never"}, {"cis": None}, {"impact": True}, {"notes": "x"}),
    *([{"field": "impact", "value": "1"}], "impact,urgency", "nothing", '{"impact":"1"}', '["impact"]'),
    *(
        {"id": "1", "body": "b"},
        [{"id": "1", "body": "b"}, {"body": "c"}],
        {"type": "work_notes", "body": "x"},
        "a note",
    ),
    *({"n1": {"body": "b"}}, {"id": None, "body": 7}, Written('{"impact":"1","impact":"2"}')),
    Written(r'"half \ud800 a pair"'),
    Written(r'"\u0049NC"'),
)
ATTRIBUTES: tuple[tuple[str, Any], ...] = (
    *(("SentTimestamp", value) for value in ("1674858334956", "1674858334", "", " 1674858334956", "x", 1674858334956)),
    *(("SentTimestamp", value) for value in ("9" * 19, "٣" * 13, "-1674858334956", None)),
    *(
        ("SequenceNumber", value)
        for value in ("", " ", " 7", "7", "9" * 38, "9" * 39, "9" * 48, "9" * 49, "٣", "-1", 7)
    ),
    *(("TransactionType", value) for value in ("Create", "create", " Update", "Notes", "Attachment", "Status Update")),
    *(("TransactionType", value) for value in ("Approval Request", "unknown", "Redraft", "ReturnEnsonoNum", "?", None)),
    *(("ClientReferenceAvailable", value) for value in (True, False, "true", "no", "", "perhaps", None, 1)),
    *(("MessageDeduplicationId", value) for value in ("", "x", "é", 1)),
    *(("MessageGroupId", ""), ("SenderId", 1), ("Message Group ID", "g"), ("colour", "x")),
)
DAMAGE = (b"\xff", b'"', b"\\", b"}", b" ", b"\n", b"\x00", b"\xed\xa0\x80", b"")


def change(members: Members, random: Random) -> None:
    """One member dropped, doubled, moved, respelled or given another value, or a new one."""
    at = random.randrange(len(members)) if members else 0
    name, value = members[at] if members else ("impact", "1")
    scalar, nested = random.choice(("", random.choice(SCALARS), random.choice(SCALARS))), random.choice(OBJECTS)
    match random.randrange(11):
        case 0:
            del members[at : at + 1]
        case 1:
            members.insert(random.randrange(len(members) + 1), (name, random.choice((value, scalar))))
        case 2:
            random.shuffle(members)
        case 3:
            members[at : at + 1] = [(random.choice((*SPELLINGS, *NAMES)), value)]
        case 4 | 5:
            members[at : at + 1] = [(name, scalar)]
        case 6:
            members[at : at + 1] = [(name, nested)]
        case 7 | 8:
            members.append((random.choice(("changed", "changed", "notes")), nested))
        case _:
            members.append((random.choice(NAMES), random.choice((scalar, nested))))


def make_case(seed: int) -> tuple[bytes, Place, str]:
    """A message of the guide with up to four of its parts changed, as the log keeps it, and where it stands there."""
    random = Random(seed)
    read = json.loads(random.choice([*MESSAGES.values()]))
    attributes = dict(read["Attributes"])
    attributes.pop("ApproximateReceiveCount", None)
    attributes.pop("ApproximateFirstReceiveTimestamp", None)
    body = read_object(json.dumps(read["Body"]))
    for _ in range(random.randrange(4)):
        change(body, random)
    if random.random() < 0.3:
        attributes.update([random.choice(ATTRIBUTES)])
    if random.random() < 0.1:
        attributes.pop(random.choice([*attributes]), None)
    payload = f'{{"attributes":{json.dumps(attributes)},"body":{write(body)}}}'.encode()
    if random.random() < 0.06:
        at = random.randrange(len(payload))
        payload = payload[:at] + random.choice(DAMAGE) + payload[at + random.randrange(2) :]
    place = Place(
        position=7, version=3, at=AT + random.choice((0, 0, 0, HOUR, HOUR, 5 * 24 * HOUR, 20 * 24 * HOUR, -HOUR))
    )
    return payload, place, random.choice((*["m1"] * 9, "derived-1"))


def read_long(payload: bytes, place: Place, message_id: str) -> Message | Undecodable:
    return module._read_any(read_payload(payload), place, message_id)


def differing(seeds: range) -> Iterator[int]:
    for seed in seeds:
        case = make_case(seed)
        # Compared as text: it also tells 1 from True and one order of the fields from another.
        if repr(translate(*case)) != repr(read_long(*case)):
            yield seed


# --- which messages are ordinary ---


@pytest.mark.requirement("I5")
@pytest.mark.parametrize("name", MESSAGES)
def test_the_guides_messages_are_ordinary_unless_they_have_a_file_or_an_approval(name: str) -> None:
    envelope = decode_message(MESSAGES[name])
    read = module._read_ordinary(read_payload(envelope.payload), Place(7, 3, AT), envelope.message_id)

    assert (read is not None) is not name.endswith(("attachment", "approval-request"))
    if read is not None:
        assert repr(read) == repr(read_long(envelope.payload, Place(7, 3, AT), envelope.message_id))


# --- both ways are one ---


@pytest.mark.requirement("I5", "I9")
def test_a_changed_message_is_read_alike_both_ways() -> None:
    assert [*differing(range(3_000))] == []


@pytest.mark.requirement("I5", "I9")
@settings(max_examples=300)
@given(st.integers(10_000, 2**64))
def test_any_changed_message_is_read_alike_both_ways(seed: int) -> None:
    payload, place, message_id = make_case(seed)

    assert repr(translate(payload, place, message_id)) == repr(read_long(payload, place, message_id)), payload


def test_the_changed_messages_go_both_ways() -> None:
    cases = [make_case(seed) for seed in range(1_000)]
    ordinary = [module._read_ordinary(read_payload(payload), place, name) for payload, place, name in cases]

    assert 150 < sum(read is not None for read in ordinary) < 850


# --- a difference is found ---


def accept_more_types(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(module, "_TEXT", frozenset({str, type(None)}))


def accept_other_names(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(module, "FIELDS", FIELDS | {"Impact", "u_colour"})


def accept_any_change(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(members_module, "_CHANGEABLE", members_module._CHANGEABLE | {"ticketNumber", "ticketType", "Impact"})


def look_at_no_time(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(module, "TIMES", frozenset[str]())


def take_files_for_ordinary(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(module, "_ORDINARY", {**module._ORDINARY, "Attachment": Transaction.ATTACHMENT})


def read_otherwise(alter: Callable[[Message], dict[str, Any]]) -> Callable[[pytest.MonkeyPatch], None]:
    """The ordinary way with something of what it reads altered."""
    honest = module._read_ordinary

    def read(content: Content, place: Place, message_id: str) -> Message | None:
        message = honest(content, place, message_id)
        return None if message is None else msgspec.structs.replace(message, **alter(message))

    return lambda patch: patch.setattr(module, "_read_ordinary", read)


PLANTED = {
    "null for a text": accept_more_types,
    "a name that the guide does not know": accept_other_names,
    "a change of what is no field": accept_any_change,
    "a time that is none": look_at_no_time,
    "a file's message without a file": take_files_for_ordinary,
    "the fields in another order": read_otherwise(lambda read: {"fields": dict(sorted(read.fields.items()))}),
    "an empty text as none": read_otherwise(lambda read: {"status": read.status or None}),
    "a text without its blanks": read_otherwise(
        lambda read: {"fields": {name: text.strip() for name, text in read.fields.items()}}
    ),
    "no opening time": read_otherwise(lambda _: {"opened_at": None}),
    "a remark": read_otherwise(lambda _: {"remarks": (Remark("x", "y"),)}),
    "true for a number": read_otherwise(lambda read: {"dedup": bool(read.dedup)}),
}


@pytest.mark.parametrize("planted", PLANTED)
def test_a_planted_difference_is_found(planted: str, monkeypatch: pytest.MonkeyPatch) -> None:
    PLANTED[planted](monkeypatch)

    assert next(differing(range(3_000)), None) is not None
