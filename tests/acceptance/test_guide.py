"""The guide's own 13 messages, over real HTTP, leave what the guide says they mean."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest

from ecproc.simulator.bridge import RawMessage
from ecproc.simulator.files import File, locate
from ecproc.simulator.presigned import CHANGE_LIFETIME, sign_url
from tests.acceptance.claims import read_lines
from tests.acceptance.world import Plan, World, open_world

FIXTURES: Final = Path(__file__).parents[1] / "fixtures"
OURS: Final = "<ours>"

Document = Mapping[str, Any]


@pytest.mark.requirement("R46", "R167", "R234")
async def test_the_guides_messages_leave_what_the_guide_says(tmp_path: Path) -> None:
    expected = json.loads((FIXTURES / "expected" / "guide-messages.json").read_bytes())["tickets"]
    async with open_world(tmp_path, Plan(tickets=0, visibility=1.0)) as world:
        messages = [serve_attachment(world, message) for message in read_messages()]
        assert len(messages) == 13
        for message in messages:
            world.simulator.bridge.send_raw(message)
        await world.drain()
        answer = await world.ask("tickets")
        counts = world.ledger.count_messages()
    documents = {document["ticket"]: document for document in read_lines(answer)}
    assert counts.deleted == counts.sent == 13
    assert {name: reduce_document(documents[name], tell) for name, tell in expected.items()} == expected
    assert documents.keys() == expected.keys()
    for document in documents.values():
        for file in document["attachments"]:
            assert (file["size"], file["status"]) == (138092, "stored")
            assert (world.data / file["path"]).read_bytes() == picture(file["id"])
        assert {effect["state"] for effect in document["effects"]} <= {"completed"}
    assert {ticket: numbers[-1] for ticket, numbers in world.ledger.returnptn.items()} == {
        name: documents[name]["client_ticket"] for name, tell in expected.items() if tell["client_ticket"] == OURS
    }


def read_messages() -> list[RawMessage]:
    """The guide's messages in the order of their SequenceNumbers."""
    paths = sorted((FIXTURES / "messages").glob("*.json"))
    messages = [msgspec.json.decode(path.read_bytes(), type=RawMessage) for path in paths]
    return sorted(messages, key=lambda message: int(message.Attributes["SequenceNumber"]))


def serve_attachment(world: World, message: RawMessage) -> RawMessage:
    """Let the simulator serve the announced file, since the guide's address died with the guide's bucket."""
    body = msgspec.json.decode(message.Body)
    if "attachment" not in body:
        return message
    sys_id = body["attachmentInfo"].rpartition("/")[2]
    bridge = world.simulator.bridge
    bridge.files.offer(File(sys_id, body["attachmentName"], body["attachmentType"], picture(sys_id)))
    path = locate(sys_id, body["attachmentName"])
    url = sign_url(bridge.url_base, path, signed_at=bridge.clock(), lifetime=CHANGE_LIFETIME)
    body["attachment"] = url
    return msgspec.structs.replace(message, Body=msgspec.Raw(msgspec.json.encode(body)))


def picture(sys_id: str) -> bytes:
    """Bytes of the announced size."""
    return (b"\xff\xd8\xff\xe0" + sys_id.encode()).ljust(138092, b"r")


def reduce_document(document: Document, tell: Document) -> dict[str, object]:
    """Write a document as the fixture does: `fields` and `keys` are subsets, names stand for files."""
    number = document["client_ticket"]
    ours = OURS if str(number).startswith("LOCAL-") else number
    keys = {effect["key"] for effect in document["effects"]}
    return {
        **{name: document[name] for name in ("type", "state", "generation")},
        "client_ticket": ours,
        "history": [step["to"] for step in document["history"]],
        "notes": [note["id"] for note in document["notes"]],
        "attachments": [file["name"] for file in document["attachments"]],
        "approvals": [approval["id"] for approval in document["approvals"]],
        "fields": {name: document["fields"].get(name) for name in tell["fields"]},
        "anomalies": [anomaly["code"] for anomaly in document["anomalies"]],
        "keys": [key for key in tell["keys"] if key.replace(OURS, str(number)) in keys],
    }
