"""The desk on a simulated ServiceNow instance: what happens when answers get lost, odd, or say no."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from ecproc.config.servicenow import ServiceNowTables
from ecproc.desk.base import DeskAnswer, DeskCall, DeskRefused, DeskUnavailable
from ecproc.desk.servicenow.desk import ServiceNowDesk
from ecproc.desk.servicenow.session import BUSY_SECONDS, Ceiling, Connections
from ecproc.domain.effects import EffectKind, Repeat
from ecproc.mapping import Mapping, default_mapping, load_mapping
from ecproc.simulator.servicenow.faults import FaultRule, InstanceFault
from ecproc.simulator.servicenow.server import ServiceNowSimulator
from ecproc.simulator.servicenow.settings import StagingTable
from ecproc.testing.desk import make_call, write_file
from tests.instance import ShiftedClock, open_on, run_instance

CREATE = make_call("create:e-CS1:g1", ticket="e-CS1", fields={"shortDescription": "mail is down", "state": "open"})
COMMENT = "comment_client_ticket"
UPDATE = "update_client_ticket"
SETTLED = 76.0
"""Seconds after which an instance has certainly ended a call."""
_MAPPING = Path(__file__).parents[2] / "ecproc" / "mapping" / "servicenow.toml"


@pytest.fixture
def clock() -> ShiftedClock:
    return ShiftedClock()


@pytest.fixture
async def simulator(clock: ShiftedClock) -> AsyncIterator[ServiceNowSimulator]:
    async with run_instance(clock) as running:
        yield running


@pytest.fixture
async def desk(simulator: ServiceNowSimulator, clock: ShiftedClock) -> AsyncIterator[ServiceNowDesk]:
    opened = open_on(simulator, clock)
    yield opened
    await opened.aclose()


def go_wrong(simulator: ServiceNowSimulator, kind: InstanceFault, **how: Any) -> None:
    simulator.faults.inject(FaultRule(kind=kind, **how))


def about(created: DeskAnswer, key: str, kind: str, **fields: str) -> DeskCall:
    call = make_call(key, kind, ticket="e-CS1", number=created.number, reference=created.reference, fields=fields)
    return replace(call, record=CREATE.fields)


def make_change(key: str, kind: str = "create_client_ticket", **given: Any) -> DeskCall:
    fields = given.pop("fields", {"shortDescription": "patch", "state": "New", "type": "Normal"})
    return replace(make_call(key, kind, ticket="e-CHG1", fields=fields, **given), ticket_type="Change")


def codes(answer: DeskAnswer) -> list[str]:
    return [remark.code for remark in answer.remarks]


async def refuse(desk: ServiceNowDesk, call: DeskCall) -> DeskRefused:
    with pytest.raises(DeskRefused) as refused:
        await desk.perform(call)
    return refused.value


async def fail(desk: ServiceNowDesk, call: DeskCall) -> DeskUnavailable:
    with pytest.raises(DeskUnavailable) as failed:
        await desk.perform(call)
    return failed.value


# --- creates ----------------------------------------------------------------------------------------------------------


@pytest.mark.requirement("I4")
async def test_a_lost_answer_to_a_create_is_one_look_up_and_no_second_post(
    desk: ServiceNowDesk, simulator: ServiceNowSimulator
) -> None:
    go_wrong(simulator, InstanceFault.LOST_ANSWER, method="POST", table="incident")
    assert (await fail(desk, CREATE)).sent
    assert desk.ends_after(EffectKind.CREATE) == 75
    found = await desk.look_up(CREATE)
    assert found is not None
    assert simulator.find("incident")[0]["number"] == found.number
    assert (simulator.ledger.calls["POST incident"], simulator.ledger.calls["GET incident"]) == (1, 1)


async def test_a_record_that_was_looked_up_says_what_it_has_as_a_new_one_does(
    desk: ServiceNowDesk, simulator: ServiceNowSimulator
) -> None:
    go_wrong(simulator, InstanceFault.LOST_ANSWER, method="POST", table="incident")
    await fail(desk, CREATE)
    found = await desk.look_up(CREATE)
    assert found is not None
    assert found.view["shortDescription"] == "[e-CS1] mail is down"
    assert found.view["status"] == "1"


@pytest.mark.requirement("R215")
@pytest.mark.parametrize("edited", [False, True])
async def test_what_a_person_changed_before_the_look_up_is_no_measure(
    desk: ServiceNowDesk, simulator: ServiceNowSimulator, edited: bool
) -> None:
    go_wrong(simulator, InstanceFault.LOST_ANSWER, method="POST", table="incident")
    await fail(desk, CREATE)
    [row] = simulator.find("incident")
    if edited:
        simulator.edit("incident", row["sys_id"], by="abel.tuter", short_description="mine", impact="1", urgency="1")
    found = await desk.look_up(CREATE)
    simulator.delete("incident", row["sys_id"])
    made = await desk.perform(CREATE)
    assert found is not None
    assert {name: found.view[name] for name in ("shortDescription", "priority")} == {
        name: made.view[name] for name in ("shortDescription", "priority")
    }
    assert found.stamp == 0


@pytest.mark.requirement("I4")
async def test_a_create_applied_behind_its_look_up_is_told_with_both_numbers(
    desk: ServiceNowDesk, simulator: ServiceNowSimulator, clock: ShiftedClock
) -> None:
    go_wrong(simulator, InstanceFault.APPLY_LATE, method="POST", table="incident", seconds=80)
    assert (await fail(desk, CREATE)).sent
    clock.ahead = 75
    assert await desk.look_up(CREATE) is None
    linked = await desk.perform(CREATE)
    clock.ahead = 81
    answer = await desk.perform(about(linked, "note:e-CS1:1", COMMENT, body="hello"))
    older, younger = sorted(simulator.find("incident"), key=lambda row: row["sys_created_on"])
    assert linked.number == older["number"] == answer.number
    ((code, detail),) = [(remark.code, remark.detail) for remark in answer.remarks]
    assert (code, detail) == ("double_create", f"{older['number']}, {younger['number']}")
    again = await desk.perform(about(linked, "note:e-CS1:2", COMMENT, body="hello"))
    assert codes(again) == []
    found = await desk.look_up(CREATE)
    assert found is not None
    assert (found.number, codes(found)) == (older["number"], ["double_create"])


@pytest.mark.requirement("I4")
@pytest.mark.parametrize("returns_no_rows", [False, True])
async def test_a_key_field_that_does_not_exist_finds_nobody_and_makes_no_second(
    clock: ShiftedClock, *, returns_no_rows: bool
) -> None:
    missing = frozenset({"correlation_id"})
    async with run_instance(clock, missing_fields=missing, invalid_query_returns_no_rows=returns_no_rows) as simulator:
        simulator.create("incident", short_description="somebody's", correlation_display="ENSONO")
        desk = open_on(simulator, clock)
        go_wrong(simulator, InstanceFault.LOST_ANSWER, method="POST", table="incident")
        assert (await fail(desk, CREATE)).sent
        with pytest.raises(DeskUnavailable, match="query_ignored") as deaf:
            await desk.look_up(CREATE)
        assert [remark.code for remark in deaf.value.remarks] == ["query_ignored"]
        other = await fail(desk, make_call("create:e-CS2:g1", ticket="e-CS2"))
        assert (other.down, other.sent) == (True, False)
        assert simulator.ledger.calls["POST incident"] == 1
        await desk.aclose()


@pytest.mark.requirement("I4")
async def test_a_key_that_is_not_kept_downs_the_desk_until_it_is(
    desk: ServiceNowDesk, simulator: ServiceNowSimulator
) -> None:
    go_wrong(simulator, InstanceFault.DROP_FIELD, method="POST", table="incident")
    go_wrong(simulator, InstanceFault.DROP_FIELD, method="PATCH", table="incident")
    created = await desk.perform(CREATE)
    assert codes(created) == ["key_not_stored"]
    other = make_call("create:e-CS2:g1", ticket="e-CS2")
    failed = await fail(desk, other)
    assert (failed.down, failed.sent) == (True, False)
    assert "key_not_stored" in str(failed)
    assert simulator.ledger.calls["POST incident"] == 1
    mended = await desk.perform(other)  # the key is stored again by now, and the desk goes on
    assert codes(mended) == []
    assert simulator.find("incident", f"number={created.number}")[0]["correlation_id"] == "e-CS1:g1"


@pytest.mark.requirement("I4")
@pytest.mark.parametrize("fault", [InstanceFault.QUOTA_CUT, InstanceFault.APPLY_THEN_500])
async def test_a_success_that_breaks_off_or_fails_behind_the_write_is_looked_up(
    desk: ServiceNowDesk, simulator: ServiceNowSimulator, fault: InstanceFault
) -> None:
    go_wrong(simulator, fault, method="POST", table="incident")
    assert (await fail(desk, CREATE)).sent
    found = await desk.look_up(CREATE)
    assert found is not None
    assert simulator.ledger.created == {"e-CS1:g1": [found.number]}


async def test_a_record_says_where_it_is_and_what_was_written(
    desk: ServiceNowDesk, simulator: ServiceNowSimulator
) -> None:
    created = await desk.perform(replace(CREATE, fields={**CREATE.fields, "priority": "1", "group": "network"}))
    (row,) = simulator.find("incident")
    assert created.url == f"{simulator.url}/nav_to.do?uri=incident.do%3Fsys_id%3D{row['sys_id']}"
    assert (created.reference, created.stamp, created.state) == (row["sys_id"], int(row["sys_mod_count"]), "open")
    assert created.view["status"] == "1"
    assert created.view["shortDescription"] == row["short_description"] == "[e-CS1] mail is down"
    (group,) = simulator.find("sys_user_group", "name=Network")
    assert row["assignment_group"] == group["sys_id"]
    updated = await desk.perform(about(created, "upd:e-CS1:1", UPDATE, priority="4"))
    assert {**updated.view} == {"priority": "2/3"}


async def test_a_group_that_the_desk_lacks_becomes_the_default_and_is_told(desk: ServiceNowDesk) -> None:
    created = await desk.perform(replace(CREATE, fields={**CREATE.fields, "group": "Mainframe"}))
    assert codes(created) == ["unmapped"]


async def test_what_a_rule_of_the_instance_changed_is_told(
    desk: ServiceNowDesk, simulator: ServiceNowSimulator
) -> None:
    go_wrong(simulator, InstanceFault.DROP_FIELD, method="POST", field="short_description")
    assert codes(await desk.perform(CREATE)) == ["desk_changed_value"]


# --- states -----------------------------------------------------------------------------------------------------------


async def test_a_resolve_without_what_a_policy_wants_names_it_and_goes_on_once_the_mapping_is_mended(
    simulator: ServiceNowSimulator, clock: ShiftedClock
) -> None:
    bare = edit_mapping('field = "close_code"', 'field = "u_close_code"')
    desk = open_on(simulator, clock, mapping=bare)
    created = await desk.perform(CREATE)
    resolve = about(created, "resolve:e-CS1:2", "resolve_client_ticket", state="resolved", closeNotes="done")
    refused = await refuse(desk, resolve)
    assert refused.final
    assert "Close code" in str(refused)
    assert refused.call["status"] == "403"
    await desk.aclose()
    desk = open_on(simulator, clock)
    assert (await desk.perform(resolve)).state == "resolved"
    await desk.aclose()


async def test_a_state_that_stays_is_refused(desk: ServiceNowDesk, simulator: ServiceNowSimulator) -> None:
    created = await desk.perform(CREATE)
    go_wrong(simulator, InstanceFault.SILENT_STATE, method="PATCH")
    refused = await refuse(desk, about(created, "upd:e-CS1:1", UPDATE, state="workinprogress"))
    assert "state stayed 1" in str(refused)
    assert not refused.final


async def test_a_ticket_that_waits_gets_a_note_where_the_instance_asks_for_one(
    desk: ServiceNowDesk, simulator: ServiceNowSimulator
) -> None:
    created = await desk.perform(CREATE)
    waits = about(created, "upd:e-CS1:1", UPDATE, state="pending", statusNextAction="pending-caller")
    go_wrong(simulator, InstanceFault.LOST_ANSWER, method="PATCH", times=1)
    answer = None
    for _ in range(3):
        try:
            answer = await desk.perform(waits)
            break
        except DeskUnavailable:
            continue
    assert answer is not None
    assert answer.state == "pending"
    assert len(simulator.find("sys_journal_field")) == 1


@pytest.mark.requirement("I4")
async def test_a_change_that_was_moved_on_already_is_not_moved_again(
    desk: ServiceNowDesk, simulator: ServiceNowSimulator
) -> None:
    created = await desk.perform(make_change("create:e-CHG1:g1"))
    simulator.edit("change_request", created.reference, state="-1")
    move = make_change("upd:e-CHG1:1", UPDATE, number=created.number, fields={"state": "Scheduled"})
    answer = await desk.perform(move)
    assert answer.state == "Implement"
    assert simulator.ledger.calls["PATCH change_request"] == 0


async def test_a_change_walks_through_the_states_between(desk: ServiceNowDesk, simulator: ServiceNowSimulator) -> None:
    created = await desk.perform(make_change("create:e-CHG1:g1"))
    move = make_change("upd:e-CHG1:1", UPDATE, number=created.number, fields={"state": "Implement"})
    assert (await desk.perform(move)).state == "Implement"
    assert simulator.ledger.calls["PATCH change_request"] == 4
    fields = {"state": "Closed", "closeCode": "Successful", "closeNotes": "done"}
    close = make_change("close:e-CHG1:g1", "close_client_ticket", number=created.number, fields=fields)
    assert (await desk.perform(close)).state == "Closed"
    (row,) = simulator.find("change_request")
    assert (row["close_code"], row["close_notes"]) == ("successful", "done")


async def test_an_emergency_leaves_out_what_its_model_does(
    desk: ServiceNowDesk, simulator: ServiceNowSimulator
) -> None:
    fields = {"shortDescription": "patch", "state": "Authorize", "type": "Emergency"}
    created = await desk.perform(make_change("create:e-CHG1:g1", fields=fields))
    assert (created.state, codes(created)) == ("Authorize", [])
    (row,) = simulator.find("change_request")
    assert (row["state"], row["type"]) == ("-3", "emergency")


async def test_a_change_that_may_not_move_says_where_it_may(
    simulator: ServiceNowSimulator, clock: ShiftedClock
) -> None:
    desk = open_on(simulator, clock, walk_states=False)
    created = await desk.perform(make_change("create:e-CHG1:g1"))
    move = make_change("upd:e-CHG1:1", UPDATE, number=created.number, fields={"state": "Implement"})
    refused = await refuse(desk, move)
    assert str(refused) == "state stayed -5: the change does not go to state -1; it may go to -4, 4, -5"
    await desk.aclose()


async def test_a_standard_change_is_made_from_its_template(simulator: ServiceNowSimulator, clock: ShiftedClock) -> None:
    desk = open_on(simulator, clock, change_api="change_management", change_template="a" * 32)
    fields = {"shortDescription": "patch", "state": "New", "type": "Standard"}
    created = await desk.perform(make_change("create:e-CHG1:g1", fields=fields))
    (row,) = simulator.find("change_request")
    assert (row["type"], row["correlation_id"], codes(created)) == ("standard", "e-CHG1:g1", [])
    again = await desk.look_up(make_change("create:e-CHG1:g1", fields=fields))
    assert again is not None
    assert again.number == created.number
    await desk.aclose()


@pytest.mark.parametrize(("status", "state"), [("open", "1"), ("workinprogress", "2"), ("pending", "3")])
async def test_a_resolved_incident_is_reopened_by_way_of_work_in_progress(
    status: str, state: str, desk: ServiceNowDesk, simulator: ServiceNowSimulator
) -> None:
    created = await desk.perform(CREATE)
    await desk.perform(about(created, "resolve:e-CS1:1", "resolve_client_ticket", status="resolved"))
    assert simulator.find("incident")[0]["state"] == "6"
    answer = await desk.perform(about(created, "reopen:e-CS1:1", "reopen_client_ticket", status=status))
    assert answer.state == status
    assert simulator.find("incident")[0]["state"] == state


async def test_a_closed_incident_is_not_reopened(desk: ServiceNowDesk, simulator: ServiceNowSimulator) -> None:
    created = await desk.perform(CREATE)
    await desk.perform(about(created, "close:e-CS1:g1", "close_client_ticket", status="closed"))
    await refuse(desk, about(created, "reopen:e-CS1:1", "reopen_client_ticket", status="open"))
    assert simulator.find("incident")[0]["state"] == "7"


# --- notes and files --------------------------------------------------------------------------------------------------


async def test_note_1_is_not_note_12_and_a_quoted_marker_is_none(
    desk: ServiceNowDesk, simulator: ServiceNowSimulator
) -> None:
    created = await desk.perform(CREATE)
    await desk.perform(about(created, "note:e-CS1:12", COMMENT, body="see [Ensono note 1]\n[Ensono note 1]\nabove"))
    assert await desk.look_up(about(created, "note:e-CS1:1", COMMENT, body="hello")) is None
    assert await desk.look_up(about(created, "note:e-CS1:12", COMMENT, body="hello")) is not None


async def test_markup_in_a_note_stays_visible(desk: ServiceNowDesk, simulator: ServiceNowSimulator) -> None:
    created = await desk.perform(CREATE)
    text = "[code]<script>alert(1)</script>[/code]"
    await desk.perform(about(created, "note:e-CS1:1", COMMENT, body=text, author="Ada", email="ada@example.com"))
    (entry,) = simulator.find("sys_journal_field")
    assert "[code]" not in entry["value"]
    assert entry["value"].splitlines()[0] == "Ada <ada@example.com>:"
    assert entry["value"].splitlines()[-1] == "[Ensono note 1]"


@pytest.mark.requirement("I4")
@pytest.mark.parametrize("fault", [InstanceFault.ACL_DENY, InstanceFault.ACL_HIDE])
async def test_entries_that_are_hidden_are_looked_for_in_the_record(
    desk: ServiceNowDesk, simulator: ServiceNowSimulator, fault: InstanceFault
) -> None:
    created = await desk.perform(CREATE)
    first, second = (about(created, f"note:e-CS1:{number}", COMMENT, body="hello") for number in (1, 2))
    await desk.perform(first)
    go_wrong(simulator, fault, table="sys_journal_field", times=None)
    assert await desk.look_up(first) is not None
    assert await desk.look_up(second) is None
    go_wrong(simulator, InstanceFault.LOST_ANSWER, method="PATCH")
    assert (await fail(desk, second)).sent
    assert await desk.look_up(second) is not None


async def test_a_file_is_known_by_more_than_its_name(
    desk: ServiceNowDesk, simulator: ServiceNowSimulator, tmp_path: Path
) -> None:
    created = await desk.perform(CREATE)
    one, other = (write_file(tmp_path, content) for content in (b"one", b"three"))
    await desk.perform(replace(about(created, "attach:e-CS1:a:g1", "attach_client_ticket"), file=one))
    repeated = replace(about(created, "attach:e-CS1:b:g1", "attach_client_ticket"), file=other)
    assert await desk.look_up(repeated) is None
    await desk.perform(repeated)
    assert await desk.look_up(repeated) is not None
    assert [row["file_name"] for row in simulator.find("sys_attachment")] == ["report.txt"] * 2


async def test_an_empty_file_is_named_in_a_note(
    desk: ServiceNowDesk, simulator: ServiceNowSimulator, tmp_path: Path
) -> None:
    created = await desk.perform(CREATE)
    await desk.perform(
        replace(about(created, "attach:e-CS1:a:g1", "attach_client_ticket"), file=write_file(tmp_path, b""))
    )
    assert simulator.find("sys_attachment") == []
    assert "'report.txt'" in simulator.find("sys_journal_field")[0]["value"]


async def test_a_stored_file_that_was_changed_is_not_attached(
    desk: ServiceNowDesk, simulator: ServiceNowSimulator, tmp_path: Path
) -> None:
    created = await desk.perform(CREATE)
    file = write_file(tmp_path, b"content")
    file.path.write_bytes(b"more content")
    call = replace(about(created, "attach:e-CS1:a:g1", "attach_client_ticket"), file=file)
    assert (await refuse(desk, call)).final
    file.path.unlink()
    refused = await refuse(desk, call)
    assert refused.final
    assert "backup" in refused.hint
    assert simulator.find("sys_attachment") == []


async def test_a_record_that_was_deleted_is_told(desk: ServiceNowDesk, simulator: ServiceNowSimulator) -> None:
    created = await desk.perform(CREATE)
    simulator.delete("incident", created.reference)
    refused = await refuse(desk, about(created, "note:e-CS1:1", COMMENT, body="hello"))
    assert refused.final
    assert [remark.code for remark in refused.remarks] == ["client_ticket_gone"]


# --- approvals --------------------------------------------------------------------------------------------------------


async def test_an_approver_is_asked_once_and_a_stranger_in_a_note(
    simulator: ServiceNowSimulator, clock: ShiftedClock
) -> None:
    desk = open_on(simulator, clock, approvals="approver_record")
    created = await desk.perform(make_change("create:e-CHG1:g1"))

    def ask(email: str) -> DeskCall:
        fields = {"approvalState": "requested", "approverEmail": email, "approverName": "Abel", "approvalId": "1"}
        return make_change(f"upd:e-CHG1:{email}", UPDATE, number=created.number, fields=fields)

    for _ in range(2):
        await desk.perform(ask("abel.tuter@example.com"))
    assert len(simulator.find("sysapproval_approver")) == 1
    assert codes(await desk.perform(ask("nobody@example.com"))) == ["user_unknown"]
    assert codes(await desk.perform(ask("^active=true"))) == ["user_unknown"]
    assert len(simulator.find("sysapproval_approver")) == 1
    assert len(simulator.find("sys_journal_field")) == 2
    await desk.aclose()


# --- refusals and rest ------------------------------------------------------------------------------------------------


async def test_429_with_retry_after_holds_every_call_and_costs_none(
    desk: ServiceNowDesk, simulator: ServiceNowSimulator, clock: ShiftedClock
) -> None:
    created = await desk.perform(CREATE)
    go_wrong(simulator, InstanceFault.TOO_MANY, table="incident", method="PATCH", seconds=7)
    failed = await fail(desk, about(created, "note:e-CS1:1", COMMENT, body="hello"))
    assert (failed.retry_after, failed.down, failed.sent) == (7, True, False)
    calls = sum(simulator.ledger.calls.values())
    clock.ahead += 6
    held = await fail(desk, make_change("create:e-CHG1:g1"))
    assert held.retry_after is not None
    assert 0 < held.retry_after <= 1
    assert sum(simulator.ledger.calls.values()) == calls
    clock.ahead += 1
    await desk.perform(make_change("create:e-CHG1:g1"))


async def test_429_that_names_no_time_leaves_the_time_to_us(
    desk: ServiceNowDesk, simulator: ServiceNowSimulator
) -> None:
    go_wrong(simulator, InstanceFault.TOO_MANY, table="incident", bare=True)
    failed = await fail(desk, CREATE)
    assert (failed.retry_after, failed.down, failed.sent) == (None, False, False)
    assert (await desk.perform(CREATE)).number


def test_our_own_ceiling_gives_turns_and_tells_who_would_wait_for_long() -> None:
    now = 0.0
    ceiling = Ceiling(600, lambda: now)
    waits = [ceiling.take() for _ in range(26)]
    assert waits == [0.0] * 20 + [6.0, 12.0, 18.0, 24.0, 30.0, 36.0]
    assert ceiling.take() == 36.0  # whoever was told to come again has taken no turn
    now = 6.0
    assert ceiling.take() == 30.0
    assert [Ceiling(0, lambda: now).take() for _ in range(1_000)] == [0.0] * 1_000


async def test_a_busy_instance_gets_half_of_the_calls_for_a_minute(clock: ShiftedClock) -> None:
    connections = Connections(8, clock)
    assert connections.take().total_tokens == 8
    connections.halve()
    connections.halve()
    assert connections.take().total_tokens == 4
    clock.ahead += BUSY_SECONDS
    assert connections.take().total_tokens == 8


@pytest.mark.parametrize(
    ("fault", "down", "hint"),
    [
        (InstanceFault.HTML_200, False, "sleeps"),
        (InstanceFault.ACL_DENY, True, "roles"),
        (InstanceFault.MFA, True, "second factor"),
        (InstanceFault.LOST_REQUEST, False, ""),
    ],
)
async def test_trouble_that_is_everybodys_is_no_fault_of_the_entry(
    desk: ServiceNowDesk, simulator: ServiceNowSimulator, fault: InstanceFault, *, down: bool, hint: str
) -> None:
    go_wrong(simulator, fault, table="incident", method="POST")
    failed = await fail(desk, CREATE)
    assert failed.down is down
    assert hint in failed.hint
    assert failed.sent is (fault in (InstanceFault.HTML_200, InstanceFault.LOST_REQUEST))


async def test_a_rule_that_says_no_is_the_entrys_own(desk: ServiceNowDesk, simulator: ServiceNowSimulator) -> None:
    go_wrong(simulator, InstanceFault.ABORT_RULE, table="incident")
    refused = await refuse(desk, CREATE)
    assert refused.final
    assert "Business Rule" in str(refused)


# --- import sets ------------------------------------------------------------------------------------------------------

STAGED = ServiceNowTables(
    incident="import:u_ensono_incident", request="import:u_ensono_request", change="import:u_ensono_change"
)


@pytest.mark.requirement("I4")
async def test_an_import_set_finds_its_record_again_by_our_key(clock: ShiftedClock) -> None:
    staging = {"u_ensono_incident": StagingTable()}
    async with run_instance(clock, staging=staging) as simulator:
        desk = open_on(simulator, clock, tables=STAGED)
        assert desk.repeat_of(EffectKind.CREATE) is Repeat.KEYED
        first, again = await desk.perform(CREATE), await desk.perform(CREATE)
        assert (first.number, first.reference) == (again.number, again.reference)
        note = about(first, "note:e-CS1:1", COMMENT, body="hello")
        for _ in range(2):
            await desk.perform(note)
        notes = [row for row in simulator.find("sys_journal_field") if "hello" in row["value"]]
        assert len(notes) == 1
        resolve = about(first, "resolve:e-CS1:2", "resolve_client_ticket", state="resolved", closeNotes="done")
        assert (await desk.perform(resolve)).state == "resolved"
        assert len(simulator.find("incident")) == 1
        go_wrong(simulator, InstanceFault.ABORT_RULE, table="u_ensono_incident")
        assert "transform map failed" in str(await refuse(desk, about(first, "upd:e-CS1:3", UPDATE, priority="1")))
        await desk.aclose()


def edit_mapping(old: str, new: str) -> Mapping:
    """The built-in mapping with one of its lines otherwise."""
    text = _MAPPING.read_text(encoding="utf-8")
    assert text.count(old) == 2
    assert default_mapping("servicenow").desk == "servicenow"
    return load_mapping(text.replace(old, new), source="mapping.toml")
