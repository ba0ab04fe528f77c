"""Messages of many parts: what can be read of them is read, and what there is no room for is flagged."""

from __future__ import annotations

import json
from typing import Any, Final

import pytest

from ecproc.domain.events import Message, Place
from ecproc.wire.queue import decode_message
from ecproc.wire.translate import translate

PLACE: Final = Place(position=7, version=3, at=1_700_000_000_000_000)
NEWEST: Final = 400
"""Notes that are read of a message."""
NAMES: Final = [f"server-{number:05}" for number in range(5_200)]


def read(body: dict[str, Any] | bytes, transaction: str = "Update") -> Message:
    """What a message with that body says, and that it closes its ticket all the same."""
    known = {"ticketNumber": "e-CHG1", "ticketType": "Change", "state": "Closed"}
    raw = json.dumps({**known, **body}).encode() if isinstance(body, dict) else json.dumps(known).encode()[:-1] + body
    attributes = {"MessageGroupId": "e-CHG1", "TransactionType": transaction, "SentTimestamp": "1700000000000"}
    envelope = decode_message(b'{"MessageId":"m","Body":%b,"Attributes":%b}' % (raw, json.dumps(attributes).encode()))
    fact = translate(envelope.payload, PLACE, envelope.message_id)
    assert isinstance(fact, Message)
    assert (fact.ticket_number, fact.ticket_type, fact.status) == ("e-CHG1", "Change", "Closed")
    return fact


def details(message: Message) -> list[str]:
    return [remark.detail for remark in message.remarks]


def write_journal(numbers: range) -> str:
    """A journal field's text, an entry for each number."""
    return "\n\n".join(
        f"2023-02-{1 + number // 1440:02} {number // 60 % 24:02}:{number % 60:02}:00 - A (Comments)\nentry {number}\n"
        f"1 - of 2 - lines"
        for number in numbers
    )


@pytest.mark.requirement("I9")
@pytest.mark.parametrize("extra", [{}, {"mark": "\ud800"}], ids=["strict", "mended"])
def test_a_change_of_many_items_is_read_as_a_whole(extra: dict[str, str]) -> None:
    message = read({"cis": NAMES, **extra})

    assert message.fields["cis"] == ",".join(NAMES)
    assert len(message.remarks) == len(extra)


@pytest.mark.requirement("I9")
@pytest.mark.parametrize(
    ("name", "count"), [("cis", 1_900), ("u_items", 1_500), ("u_items", 3_000)], ids=["cis", "unknown", "many"]
)
def test_many_objects_in_a_member_cost_that_member_only(name: str, count: int) -> None:
    link = "https://x.service-now.com/api/now/table/cmdb_ci/"
    listed = [{"display_value": f"s{n}", "link": link, "value": f"{n:032x}", "x": 1} for n in range(count)]

    message = read({name: listed, "description": "text"})

    assert message.fields == {"description": "text"}
    assert details(message) == [f"{name} is a list"]


@pytest.mark.requirement("I9")
def test_of_more_members_than_there_is_room_for_the_guides_own_are_read() -> None:
    unknown = {f"u_{number}": "x" for number in range(20_000)}

    message = read({**unknown, "description": "last", "Short Description": "other spelling"})

    assert message.fields["description"] == "last"
    assert message.fields["shortDescription"] == "other spelling"
    assert (message.fields["u_0"], "u_19999" in message.fields) == ("x", False)
    assert details(message) == ["18005 more members: too many to be read"]


@pytest.mark.requirement("I9")
def test_numbers_near_the_end_of_what_a_float_holds_are_numbers() -> None:
    message = read(b',"x":[' + b",".join([b"1.5e300"] * 10_000) + b'],"y":1.5e300,"z":1e999}')

    assert message.fields == {"y": "1.5e+300"}
    assert details(message) == ["the body has characters that could not be read as they were", "x is a list"]


@pytest.mark.requirement("R65", "I9")
@pytest.mark.parametrize("count", [400, 401, 900])
@pytest.mark.parametrize("newest_first", [True, False], ids=["newest first", "oldest first"])
def test_the_newest_entries_of_a_long_journal_are_its_notes(count: int, newest_first: bool) -> None:
    numbers = range(count)[::-1] if newest_first else range(count)
    kept = numbers[:NEWEST] if newest_first else numbers[-NEWEST:]

    message = read({"notes": write_journal(numbers)}, "Notes")

    assert message.notes == read({"notes": write_journal(kept)}, "Notes").notes
    assert [note.body.split("\n")[0] for note in message.notes] == [f"entry {number}" for number in kept]
    assert details(message) == ([f"{count - NEWEST} more notes: too many to be read"] if count > NEWEST else [])


@pytest.mark.requirement("R65", "I9")
def test_a_line_that_looks_like_an_entry_cuts_none_in_two() -> None:
    like = "2023-01-01 00:00:00 - as I said\nand more"
    entries = [f"2023-02-08 10:{n // 60:02}:{n % 60:02} - A (Comments)\nentry {n}\n{like}" for n in range(600)]

    for order in (entries, entries[::-1]):
        newest = order[-NEWEST:] if order is entries else order[:NEWEST]
        found = read({"notes": "\n\n".join(order)}).notes
        assert found == read({"notes": "\n\n".join(newest)}).notes
        assert len(found) == NEWEST


@pytest.mark.requirement("R65", "I9")
def test_of_a_long_list_of_notes_the_newest_are_read() -> None:
    plain = [f"note {number}" for number in range(1_000)]  # in the order of their texts the last is not the greatest
    timed = [
        {"id": f"n{n}", "body": "b", "sys_created_on": f"2023-02-08 10:{n // 60:02}:{n % 60:02}"} for n in range(1_000)
    ]

    assert [note.id for note in read({"notes": plain}).notes] == [f"m:{number}" for number in range(600, 1_000)]
    assert [note.id for note in read({"notes": timed}).notes] == [f"n{number}" for number in range(600, 1_000)]
    assert [note.id for note in read({"notes": timed[::-1]}).notes] == [f"n{n}" for n in range(999, 599, -1)]
    by_id = {item["id"]: {"body": "b"} for item in timed}
    assert [note.id for note in read({"notes": by_id}).notes] == [f"n{number}" for number in range(600, 1_000)]
    assert details(read({"notes": json.dumps(timed)})) == ["600 more notes: too many to be read"]


@pytest.mark.requirement("I9")
def test_a_long_list_of_what_changed_names_what_it_names() -> None:
    message = read({"description": "text", "changed": "description;" * 20_000})

    assert message.changed == {"description": "text"}
    assert details(message) == ["18001 more names of what changed: too many to be read"]
    assert read({"changed": [{"field": "description", "new": "x"}] * 3_000}).changed == {"description": "x"}
