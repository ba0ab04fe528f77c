"""The guide's own messages, played in their order, leave what a reader of the guide expects."""

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from ecproc.testing.ticket import Life
from ecproc.wire.queue import decode_message

FIXTURES = Path(__file__).parents[1] / "fixtures"
EXPECTED = json.loads((FIXTURES / "expected" / "guide-messages.json").read_text())["tickets"]


@pytest.fixture(scope="module")
def lives() -> dict[str, Life]:
    """Give every ticket's life after all messages; each effect succeeded as soon as it was planned."""
    messages = [path.read_bytes() for path in sorted((FIXTURES / "messages").glob("*.json"))]
    told: dict[str, Life] = defaultdict(Life)
    for raw in sorted(messages, key=lambda raw: decode_message(raw).sequence):
        life = told[decode_message(raw).stream]
        life.receive(raw)
        life.begin().end().settle()
    return dict(told)


def test_thirteen_messages_are_four_tickets(lives: dict[str, Life]) -> None:
    assert lives.keys() == EXPECTED.keys()
    assert sum(record.kind == "MessageReceived" for life in lives.values() for record in life.log) == 13


@pytest.mark.requirement("R183", "R228")
@pytest.mark.parametrize("ticket", EXPECTED)
def test_a_ticket_of_the_guide_is_left_as_expected(lives: dict[str, Life], ticket: str) -> None:
    life, wanted = lives[ticket], EXPECTED[ticket]
    ours = life.numbers[-1] if life.numbers else None
    expected: dict[str, Any] = json.loads(json.dumps(wanted).replace("<ours>", ours or "<none>"))

    life.then(
        status=expected["state"],
        generation=expected["generation"],
        history=expected["history"],
        notes=expected["notes"],
        anomalies=expected["anomalies"],
        refused=[],
    )
    assert life.state.type == expected["type"]
    assert ours == expected["client_ticket"]
    assert list(life.attachments) == expected["attachments"]
    assert list(life.approvals) == expected["approvals"]
    assert life.fields.items() >= expected["fields"].items()
    assert set(life.keys) >= set(expected["keys"])
    assert set(life.entries.values()) <= {"completed"}


def test_a_ticket_that_needs_nothing_done_plans_nothing(lives: dict[str, Life]) -> None:
    idle = [ticket for ticket, wanted in EXPECTED.items() if not wanted["keys"]]
    assert len(idle) == 2
    assert [lives[ticket].keys for ticket in idle] == [[], []]


def test_a_file_of_the_guide_is_to_be_fetched_before_its_url_ends(lives: dict[str, Life]) -> None:
    deadlines = [effect.deadline for life in lives.values() for effect in life.effects if effect.deadline]

    assert deadlines == [1674944915_000000, 1675884163_000000]


def test_the_comment_on_a_change_reaches_its_client_change(lives: dict[str, Life]) -> None:
    assert lives["e-CHG0032103"].kinds == [
        *("create", "return", "update", "update", "comment", "download", "attach", "close"),
    ]
