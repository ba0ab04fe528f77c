"""A mapping between calls, or posts, and the receiver's own fields."""

from __future__ import annotations

import json

import pytest

from ecproc.desk.base import DeskAnswer, DeskCall, DeskRefused
from ecproc.desk.webhook.mapped import map_call, map_post
from ecproc.desk.webhook.wire import encode_call
from ecproc.domain.external import ExternalKind, ExternalReceived
from ecproc.domain.remarks import Remark
from ecproc.mapping import Mapping, load_mapping

RULES = """
version = 1
desk = "webhook"
[[to_desk]]
type = "any"
field = "prio"
from = "priority"
map = { "1" = "P1", "2" = "P2", "3" = "P3", "4" = "P4" }
default = "P3"
report_unmapped = true
[[to_desk]]
type = "any"
field = "title"
from = "shortDescription"
copy = true
max = 40
overflow = "comment"
[[to_desk]]
type = "any"
field = "owner"
from = "group"
copy = true
[[from_desk]]
type = "any"
field = "priority"
from = "prio"
map = { P1 = "1", P2 = "2", P3 = "3", P4 = "4" }
default = "3"
[[from_desk]]
type = "any"
field = "group"
from = "owner"
copy = true
"""


@pytest.fixture(scope="module")
def mapping() -> Mapping:
    return load_mapping(RULES, source="m.toml")


def make_call(kind: str, fields: dict[str, str], **record: str) -> DeskCall:
    return DeskCall("k", f"{kind}_client_ticket", "e-CS1", "Incident", "INC1", fields, record=record)


def test_a_create_tells_all_and_an_update_what_follows_from_its_news(mapping: Mapping) -> None:
    record = {"priority": "2", "group": "Voice", "shortDescription": "s"}

    assert map_call(make_call("create", record), mapping).fields == {"prio": "P2", "owner": "Voice", "title": "s"}
    update = map_call(make_call("update", {"priority": "1"}, **record), mapping)
    assert (update.fields, update.view) == ({"prio": "P1"}, {"priority": "P1"})


def test_what_we_wrote_is_what_comes_back(mapping: Mapping) -> None:
    told = map_call(make_call("update", {"priority": "1", "group": "Net"}), mapping)
    event = ExternalReceived("itsm", ExternalKind.RECORD, "1", number="INC1")
    heard = map_post(event, told.fields, "Incident", mapping)

    assert {name: raw for name, (raw, _) in heard.view.items()} == told.view
    assert heard.view == {"priority": ("P1", "1"), "group": ("Net", "Net")}
    assert heard.mapping == mapping.hash
    assert told.complete(DeskAnswer("INC1", "open", view={"priority": "1"})).view == told.view


def test_what_no_row_has_is_remarked_and_the_default_told(mapping: Mapping) -> None:
    told = map_call(make_call("update", {"priority": "9"}), mapping)

    assert told.fields == {"prio": "P3"}
    assert told.remarks == (Remark("unmapped", "Incident.prio: '9'"),)


def test_notes_and_files_are_not_mapped(mapping: Mapping) -> None:
    assert map_call(make_call("comment", {"body": "hi"}, priority="1"), mapping).fields == {}
    assert map_call(make_call("attach", {"name": "a"}, priority="1"), mapping).view == {}


def test_a_text_without_room_goes_along_and_one_that_must_not_be_cut_is_refused(mapping: Mapping) -> None:
    call = make_call("update", {"shortDescription": "word " * 20})
    told = map_call(call, mapping)
    said = json.loads(encode_call(call, download=None, mapped=told.fields, overflow=told.overflow))["data"]

    assert said["mapped"] == told.fields
    assert "".join([said["mapped"]["title"], *said["overflow"]]).count("word") == 20
    strict = load_mapping(
        'version = 1\ndesk = "webhook"\n[[to_desk]]\ntype = "any"\nfield = "title"\nfrom = "shortDescription"\n'
        'copy = true\nmax = 40\noverflow = "refuse"\n',
        source="m.toml",
    )
    with pytest.raises(DeskRefused) as refused:
        map_call(call, strict)
    assert refused.value.final
