"""What a mapping makes of tickets and records: tables, conditions, limits, lists, times, and what is told of it."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecproc.mapping import Fired, Mapping, Unmapped, default_mapping, load_mapping
from ecproc.mapping.templates import read_template
from ecproc.mapping.words import read_time, show_time, unescape

TICKET = {
    "ticketNumber": "e-CS0879727",
    "shortDescription": "test",
    "description": "test",
    "group": "Ensono Support",
    "priority": "4",
    "status": "open",
}


def load(rules: str, *, more: str = "") -> Mapping:
    return load_mapping(f'version = 1\ndesk = "any"\n{more}\n{rules}', source="m.toml")


def to_desk(rules: str, **fields: str) -> dict[str, str]:
    """What a create of an incident tells the desk."""
    return load(rules).to_desk("Incident", fields, changed=None).fields


STATE = """
[[to_desk]]
type = "incident"
field = "state"
from = "status"
map = { open = "1", pending = "3", cancelled = "8" }
default = "2"
report_unmapped = true
"""
HOLD = """
[[to_desk]]
type = "incident"
field = "hold_reason"
from = "statusNextAction"
map = { pending-client = "1", pending-vendor = "4" }
default = "1"
only_if = { status = "pending" }
"""


# --- tables ---


@pytest.mark.requirement("R200")
@pytest.mark.parametrize(
    ("word", "state", "default"),
    [
        ("open", "1", False),
        ("OPEN", "1", False),
        (" Pending ", "3", False),
        ("canceled", "8", False),
        ("odd", "2", True),
    ],
)
def test_a_word_finds_its_row_however_it_is_written(word: str, state: str, default: bool) -> None:
    out = load(STATE).to_desk("Incident", {"status": word}, changed=None)
    assert out.fields == {"state": state}
    assert out.fired == (Fired("to_desk.incident.state", "to_desk", "state", word, state, default),)
    assert out.unmapped == ((Unmapped("to_desk", "Incident", "state", word, reported=True),) if default else ())


def test_a_row_is_found_whatever_the_case_of_its_key() -> None:
    rule = '[[to_desk]]\nfield = "g"\nfrom = "group"\nmap = { "Network Ops" = "1", "VOICE" = "2", "voice" = "3" }\n'
    assert to_desk(rule + 'default = "d"', group="network ops") == {"g": "1"}
    assert to_desk(rule + 'default = "d"', group="VOICE") == {"g": "2"}
    assert to_desk(rule + 'default = "d"', group="voice") == {"g": "3"}
    assert to_desk(rule + 'default = "d"', group="Voice") == {"g": "d"}  # which of the two is meant nobody knows


def test_what_explain_prints_are_the_members_of_a_fired_rule() -> None:
    out = load(STATE).to_desk("Incident", {"status": "open"}, changed=None)
    assert msgspec.to_builtins(out.fired[0]) == {
        "rule": "to_desk.incident.state",
        "direction": "to_desk",
        "field": "state",
        "before": "open",
        "after": "1",
        "default": False,
    }


def test_a_rule_of_another_type_says_nothing() -> None:
    assert load(STATE).to_desk("Request", {"status": "open"}, changed=None).fields == {}


def test_a_type_that_the_guide_does_not_have_has_no_rules() -> None:
    mapping = default_mapping("local")
    assert mapping.to_desk("", {"status": "open"}, changed=None).fields == {}
    assert mapping.from_desk("Problem", {"status": "open"}).view == {}


def test_the_state_has_both_of_its_names() -> None:
    assert to_desk(STATE, state="pending") == {"state": "3"}
    rule = '[[to_desk]]\ntype = "change"\nfield = "s"\nfrom = "status"\nmap = { New = "-5", Assess = "-4" }'
    for word in ("Draft", "New", "new"):
        assert load(rule).to_desk("Change", {"state": word}, changed=None).fields == {"s": "-5"}


@pytest.mark.requirement("R59")
def test_the_star_of_a_close_code_means_nothing_where_it_has_no_row() -> None:
    rule = (
        '[[to_desk]]\nfield = "c"\nfrom = "closeCode"\nmap = { resolved = "1", "unresolved*" = "2", unresolved = "3" }'
    )
    assert [to_desk(rule, closeCode=word)["c"] for word in ("resolved*", "unresolved*", "unresolved")] == [
        "1",
        "2",
        "3",
    ]


@pytest.mark.requirement("R89", "R200")
def test_several_sources_are_looked_up_together() -> None:
    mapping = default_mapping("servicenow")
    view = mapping.from_desk("Incident", {"impact": "2", "urgency": "3"}).view
    assert view == {"priority": ("2/3", "4")}
    odd = mapping.from_desk("Incident", {"impact": "2", "urgency": "9"})
    assert odd.view == {"priority": ("2/9", "3")}
    assert odd.unmapped == (Unmapped("from_desk", "Incident", "priority", "2/9"),)
    assert mapping.from_desk("Incident", {"impact": "2"}).view == {}


def test_a_value_with_the_separator_in_it_is_not_taken_for_two() -> None:
    rule = '[[to_desk]]\nfield = "x"\nfrom = ["group", "category"]\nmap = { "a/b" = "1" }\ndefault = "d"'
    assert to_desk(rule, group="a", category="b") == {"x": "1"}
    assert to_desk(rule, group="a/b", category="") == {"x": "d"}


def test_refused_values_send_nothing_and_are_not_missed() -> None:
    rule = '[[from_desk]]\nfield = "status"\nfrom = "state"\nmap = { "1" = "open" }\nrefuse = ["9"]'
    heard = load(rule).from_desk("Incident", {"state": "9"})
    assert (heard.view, heard.unmapped) == ({}, ())
    assert load(rule).from_desk("Incident", {"state": "5"}).unmapped


@pytest.mark.requirement("R104")
def test_nothing_outside_of_the_guides_list_is_ever_yielded() -> None:
    rule = '[[from_desk]]\nfield = "status"\nfrom = "state"\ncopy = true'
    assert load(rule).from_desk("Incident", {"state": "Pending"}).view == {"status": ("Pending", "pending")}
    assert load(rule).from_desk("Incident", {"state": "javascript:"}).view == {}


# --- creates and updates ---


def test_a_create_says_what_has_a_value_and_an_update_what_changed() -> None:
    mapping = default_mapping("servicenow")
    created = mapping.to_desk("Incident", {**TICKET, "closeNotes": ""}, changed=None)
    assert created.fields == {
        "short_description": "[e-CS0879727] test",
        "description": "test",
        "assignment_group": "Ensono Support",
        "state": "1",
        "impact": "2",
        "urgency": "3",
    }
    assert created.references == {"assignment_group": "group"}
    assert created.fallbacks == {"assignment_group": "Service Desk"}
    updated = mapping.to_desk("Incident", {**TICKET, "priority": "1"}, changed={"priority", "updatedOn"})
    assert updated.fields == {"impact": "1", "urgency": "1"}
    assert mapping.to_desk("Incident", TICKET, changed=set()).fields == {}
    assert mapping.to_desk("Incident", {**TICKET, "description": ""}, changed={"description"}).fields == {
        "description": ""
    }


@pytest.mark.requirement("R57")
def test_a_conditional_field_comes_with_its_condition_and_goes_once() -> None:
    mapping = load(STATE + HOLD)
    on_hold = {"status": "pending", "statusNextAction": "pending-vendor"}
    assert mapping.to_desk("Incident", on_hold, changed={"status"}).fields == {"state": "3", "hold_reason": "4"}
    assert mapping.to_desk("Incident", {"status": "pending"}, changed=None).fields == {"state": "3", "hold_reason": "1"}
    gone = {"status": "open", "statusNextAction": ""}
    told = mapping.to_desk("Incident", gone, changed={"status", "statusNextAction"})
    assert told.fields == {"state": "1", "hold_reason": ""}
    assert mapping.to_desk("Incident", gone, changed={"status"}, before=on_hold).fields["hold_reason"] == ""
    assert "hold_reason" not in mapping.to_desk("Incident", gone, changed={"status"}, before=gone).fields
    assert "hold_reason" not in mapping.to_desk("Incident", gone, changed=None).fields


@pytest.mark.requirement("R52")
def test_a_group_that_no_table_knows_becomes_the_default_and_is_told() -> None:
    rule = '[[to_desk]]\nfield = "g"\nfrom = "group"\nmap = { A = "a" }\nreference = "group"\ndefault = "Service Desk"'
    out = load(rule).to_desk("Incident", {"group": "Nobody's"}, changed=None)
    assert out.fields == {"g": "Service Desk"}
    assert out.references == {"g": "group"}
    assert out.unmapped == (Unmapped("to_desk", "Incident", "g", "Nobody's"),)
    assert out.fired[0].default
    empty = load(rule).to_desk("Incident", {"group": ""}, changed=None)
    assert (empty.fields, empty.unmapped) == ({"g": "Service Desk"}, ())  # nothing was said that could be missed


def test_names_of_ids_are_looked_up_before_the_table() -> None:
    rule = (
        '[[from_desk]]\nfield = "group"\nfrom = "g"\nreference = "group"\nmap = { Net = "Ensono Net" }\ndefault = "D"'
    )
    names = {"group": {"6f": "net", "70": "Other"}}
    heard = [load(rule).from_desk("Incident", {"g": known}, names=names) for known in ("6f", "70", "71")]
    assert [one.view["group"] for one in heard] == [("6f", "Ensono Net"), ("70", "D"), ("71", "D")]
    assert [bool(one.unmapped) for one in heard] == [False, True, True]


def test_everything_is_copied_where_the_desk_speaks_the_guides_words() -> None:
    mapping = default_mapping("local")
    fields = {"state": "pending", "priority": "2", "u_new": "x"}
    assert mapping.to_desk("Incident", fields, changed=None).fields == fields
    assert mapping.to_desk("Incident", fields, changed={"priority"}).fields == {"priority": "2"}
    heard = mapping.from_desk("Incident", {"status": "Pending", "u_new": "x", "priority": "7"})
    assert heard.view == {"status": ("Pending", "pending")}
    assert [one.value for one in heard.unmapped] == ["7"]


def test_the_rest_is_what_no_other_rule_names() -> None:
    rules = '[[to_desk]]\nfield = "*"\ncopy = true\n[[to_desk]]\nfield = "prio"\nfrom = "priority"\ncopy = true'
    assert to_desk(rules, priority="1", status="open") == {"prio": "1", "status": "open"}


# --- texts ---


@pytest.mark.requirement("R88")
def test_a_text_is_never_cut_silently() -> None:
    rule = '[[to_desk]]\nfield = "s"\nfrom = "shortDescription"\ncopy = true\nmax = 160\n'
    text = "word " * 100
    out = load(rule).to_desk("Incident", {"shortDescription": text}, changed=None)
    parts = [out.fields["s"], *out.overflow]
    assert len(parts[0]) <= 160
    assert "".join(part.split(") ", 1)[1] for part in parts) == text
    assert out.refused == ""
    refusing = load(rule + 'overflow = "refuse"').to_desk("Incident", {"shortDescription": text}, changed=None)
    assert refusing.refused == "s has 500 characters, 160 at most (to_desk.any.s)"
    assert refusing.overflow == ()


@pytest.mark.requirement("R53")
@pytest.mark.parametrize(
    ("cis", "options", "value", "overflow"),
    [
        (" a , b,,c ", "", "a", ("cis:  a , b,,c ",)),
        ("a,", "", "a", ()),
        (",", "", "-", ()),
        ("", "", "-", ()),
        ("a, b,a", 'join = "\\n"', "a\nb", ()),
    ],
)
def test_a_list_is_taken_apart(cis: str, options: str, value: str, overflow: tuple[str, ...]) -> None:
    rule = f'[[to_desk]]\nfield = "ci"\nfrom = "cis"\ncopy = true\nsplit = ","\ndefault = "-"\n{options}'
    out = load(rule).to_desk("Incident", {"cis": cis}, changed=None)
    assert (out.fields.get("ci", "-"), out.overflow) == (value, overflow)


def test_each_item_of_a_list_has_its_row() -> None:
    rule = '[[to_desk]]\nfield = "ci"\nfrom = "cis"\nmap = { a = "1", b = "2" }\nsplit = ","\njoin = ";"\ndefault = "0"'
    out = load(rule).to_desk("Incident", {"cis": "b, x, A"}, changed=None)
    assert out.fields == {"ci": "2;0;1"}
    assert [one.value for one in out.unmapped] == ["x"]


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        (r"one\ntwo", "one\ntwo"),
        (r"say \"hi\" \\n", 'say "hi" \\n'),
        ("a &lt;b&gt; &amp;amp;", "a <b> &amp;"),
        (r"C:\temp\x", "C:\temp\\x"),
        ("plain", "plain"),
    ],
)
def test_escapes_are_undone_where_a_rule_says_so(text: str, meant: str) -> None:
    assert unescape(text) == meant
    rule = '[[to_desk]]\nfield = "d"\nfrom = "description"\ncopy = true\n'
    assert to_desk(rule + "unescape = true", description=text) == {"d": meant}
    assert to_desk(rule, description=text) == {"d": text}


def test_a_template_is_filled_in_once() -> None:
    rule = (
        """[[to_desk]]\nfield = "d"\ntemplate = "{{{ticketNumber}}} {shortDescription|first:3} {startDate|date}{x}" """
    )
    told = to_desk(rule, ticketNumber="{group}", group="G", shortDescription="abcdef", startDate="2026-01-02T03:04:05Z")
    assert told == {"d": "{{group}} abc 2026-01-02 03:04:05"}
    assert to_desk(rule, startDate="soon") == {"d": "{}  soon"}


def test_what_a_template_put_around_a_text_does_not_come_back() -> None:
    mapping = default_mapping("servicenow")
    known = {"ticketNumber": "e-CS1"}
    for text, heard in (("[e-CS1] new", "new"), ("[URGENT] new", "[URGENT] new"), ("[e-CS2] x", "[e-CS2] x"), ("", "")):
        view = mapping.from_desk("Incident", {"short_description": text}, known=known).view
        assert view["shortDescription"] == (text, heard)
    assert mapping.from_desk("Incident", {"short_description": "[e-CS1] a"}).view["shortDescription"][1] == "[e-CS1] a"


@given(st.text(max_size=30), st.text(max_size=10))
def test_a_template_is_taken_out_as_it_was_put_in(text: str, number: str) -> None:
    template = read_template("[{ticketNumber}] {shortDescription} ({ticketNumber})")
    values = {"ticketNumber": number, "shortDescription": text}
    assert template.take_out("shortDescription", template.render(values), {"ticketNumber": number}) == text


# --- times ---


@pytest.mark.requirement("R155")
@pytest.mark.parametrize(
    ("utc", "local"),
    [
        ("2026-01-31T12:00:00Z", "2026-01-31 13:00:00"),
        ("2026-07-31T12:00:00Z", "2026-07-31 14:00:00"),
        ("2026-03-29T00:59:59Z", "2026-03-29 01:59:59"),  # the last second before the clocks go forward
        ("2026-03-29T01:00:00Z", "2026-03-29 03:00:00"),
        ("2026-10-25T00:30:00Z", "2026-10-25 02:30:00"),  # twice the same
        ("2026-10-25T01:30:00Z", "2026-10-25 02:30:00"),
        ("2026-01-31 12:00:00", "2026-01-31 13:00:00"),
    ],
)
def test_times_go_to_the_clocks_of_the_zone(utc: str, local: str) -> None:
    rule = '[[to_desk]]\nfield = "start"\nfrom = "startDate"\ncopy = true\nzone = "Europe/Berlin"'
    assert to_desk(rule, startDate=utc) == {"start": local}


@pytest.mark.requirement("R155")
@pytest.mark.parametrize(
    ("local", "utc", "is_told"),
    [
        ("2026-01-31 13:00:00", "2026-01-31T12:00:00Z", False),
        ("2026-07-31 14:00:00", "2026-07-31T12:00:00Z", False),
        ("2026-03-29 02:30:00", "2026-03-29T01:30:00Z", True),  # the clocks skip it
        ("2026-10-25 02:30:00", "2026-10-25T00:30:00Z", True),  # they show it twice: the first
        ("2026-10-25 03:00:00", "2026-10-25T02:00:00Z", False),
        ("2026-01-31T13:00:00+05:00", "2026-01-31T08:00:00Z", False),
        ("tomorrow", "tomorrow", True),
    ],
)
def test_times_come_from_the_clocks_of_the_zone(local: str, utc: str, is_told: bool) -> None:
    rule = '[[from_desk]]\nfield = "startDate"\nfrom = "start"\ncopy = true\nzone = "Europe/Berlin"'
    heard = load(rule).from_desk("Change", {"start": local})
    assert heard.view == {"startDate": (local, utc)}
    assert bool(heard.unmapped) is is_told


@given(
    st.datetimes(datetime(1971, 1, 1), datetime(2199, 1, 1)),
    st.sampled_from(["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu", "UTC"]),
)
def test_a_time_comes_back_from_a_zone_or_its_doubt_is_told(moment: datetime, name: str) -> None:
    zone, text = ZoneInfo(name), moment.replace(microsecond=0, tzinfo=UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    local = show_time(text, zone)
    assert local is not None
    back = read_time(local, zone)
    assert back is not None
    assert back.text == text or back.doubt == "the clocks show it twice"


# --- extra fields ---

EXTRA = """
[extra]
fields = ["u_unit", "start_date"]
header = "--- client data ---"
footer = "--- end of client data ---"
"""
UNIT = {"u_unit": "Retail", "start_date": "2026-01-01"}
BLOCK = "--- client data ---\nu_unit: Retail\nstart_date: 2026-01-01\n--- end of client data ---"


@pytest.mark.requirement("R198")
def test_extra_fields_are_a_block_behind_the_description() -> None:
    mapping = load(EXTRA)
    assert mapping.from_desk("Incident", {**UNIT, "other": "x"}).extra == UNIT
    extra = mapping.extra
    assert extra.append_to("text", UNIT) == f"text\n\n{BLOCK}"
    assert extra.append_to("text", {"u_unit": " "}) == "text"
    assert extra.append_to("", UNIT) == BLOCK
    assert mapping.list_desk_fields("Incident") == ("u_unit", "start_date")


@pytest.mark.requirement("R198")
@pytest.mark.parametrize(
    ("text", "stripped"),
    [
        (f"text\n\n{BLOCK}", "text"),
        (f"text\r\n\r\n{BLOCK}\r\n".replace("\nu_unit", "\r\nu_unit"), "text"),
        (BLOCK, ""),
        (f"text\n\n{BLOCK.replace('Retail', 'Bank')}", f"text\n\n{BLOCK.replace('Retail', 'Bank')}"),
        (f"text\n\n{BLOCK}\nmore", f"text\n\n{BLOCK}\nmore"),
        ("text\n--- client data ---\nmine", "text\n--- client data ---\nmine"),
        (f"x{BLOCK}", f"x{BLOCK}"),
        ("text", "text"),
    ],
)
def test_our_own_block_is_stripped_and_nothing_else(text: str, stripped: str) -> None:
    rules = '[[to_desk]]\nfield = "d"\nfrom = "description"\ncopy = true\n' + EXTRA
    told = load(rules).to_desk("Incident", {"description": text}, changed={"description"}, extra=UNIT)
    assert told.fields == {"d": stripped}
    assert load(rules).to_desk("Incident", {"description": text}, changed=None).fields.get("d", "") == text


@pytest.mark.requirement("R198")
@given(st.text(st.sampled_from("ab \n-"), max_size=20), st.text(st.sampled_from("ab{}: \n"), max_size=9))
def test_the_block_comes_off_as_it_was_put_on(description: str, unit: str) -> None:
    extra = load(EXTRA).extra
    values = {"u_unit": unit, "start_date": "{name}"}
    assert extra.strip_from(extra.append_to(description, values), values) == description.rstrip()


@pytest.mark.requirement("R198")
def test_only_the_lines_that_changed_are_told_later() -> None:
    extra = load(EXTRA).extra
    assert extra.describe_change(UNIT, {**UNIT, "u_unit": "Bank"}) == "u_unit: Bank"
    assert extra.describe_change(UNIT, UNIT) == ""
    assert extra.describe_change({"u_unit": "x"}, {}) == "u_unit: "
    silent = load(EXTRA + 'on_change = "ignore"\ninto = "comment"').extra
    assert silent.describe_change(UNIT, {}) == ""
    assert silent.append_to("text", UNIT) == "text"
    assert silent.write_block(UNIT) == BLOCK


def test_the_fields_that_are_read_of_a_record_are_known() -> None:
    fields = default_mapping("servicenow").list_desk_fields("Incident")
    assert {"state", "impact", "urgency", "short_description", "caller_id.name"} <= set(fields)
    assert len(fields) == len(set(fields))
