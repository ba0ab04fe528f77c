"""The simulated instance as a desk sees it: records, journals, paging, states, attachments, changes and imports."""

from __future__ import annotations

import re

import httpx
import pytest

from ecproc.simulator.servicenow.settings import InstanceConfig, StagingTable
from tests.simulation.servicenow import Caller, explain, instance


async def test_a_record_is_made_with_a_number_defaults_and_its_address() -> None:
    async with instance() as desk:
        answer = await desk.ask(
            "table/incident", "POST", json={"short_description": "x" * 200, "nix": "1", "impact": 1}
        )
        made = answer.json()["result"]
        assert answer.status_code == 201
        assert answer.headers["location"] == f"{desk.simulator.url}/api/now/table/incident/{made['sys_id']}"
        assert re.fullmatch("INC[0-9]{7}", made["number"])
        assert re.fullmatch("[0-9a-f]{32}", made["sys_id"])
        assert (made["short_description"], made["priority"], made["state"]) == ("x" * 160, "3", "1")
        assert made["sys_created_on"] == made["sys_updated_on"] == "2026-09-21 14:13:20"
        assert (made["sys_mod_count"], made["sys_created_by"]) == ("0", "ecproc.integration")
        assert made["opened_by"]["link"].endswith(made["opened_by"]["value"])
        assert "nix" not in made


async def test_ids_are_the_same_from_one_seed_and_others_from_another() -> None:
    made = []
    for seed in (1, 1, 2):
        async with instance(InstanceConfig(seed=seed)) as desk:
            made.append((await desk.create())["sys_id"])
    assert made[0] == made[1] != made[2]


async def test_of_several_records_only_the_first_is_taken_and_nothing_is_ever_merged() -> None:
    async with instance() as desk:
        many = [{"correlation_id": "k"}, {"correlation_id": "l"}]
        assert (await desk.ask("table/incident", "POST", json=many)).status_code == 201
        assert (await desk.ask("table/incident", "POST", json={"records": many})).status_code == 201
        assert len(await desk.find("incident", "correlation_id=k")) == 2
        assert await desk.find("incident", "correlation_id=l") == []
        assert desk.simulator.ledger.list_doubles() == {"k": ["INC0010001", "INC0010002"]}


async def test_a_change_counts_and_one_that_changes_nothing_does_not() -> None:
    async with instance() as desk:
        made = await desk.create()
        desk.clock.now += 61.9
        changed = (await desk.change(made["sys_id"], description="more", correlation_id=None)).json()["result"]
        assert (changed["sys_mod_count"], changed["sys_updated_on"]) == ("1", "2026-09-21 14:14:21")
        desk.clock.now += 60
        same = (await desk.change(made["sys_id"], description="more")).json()["result"]
        assert same == changed
        cleared = (await desk.change(made["sys_id"], description="", sys_mod_count="77", number="INC9")).json()[
            "result"
        ]
        assert (cleared["description"], cleared["sys_mod_count"], cleared["number"]) == ("", "2", "INC9")


async def test_put_and_delete_go_by_sys_id() -> None:
    async with instance() as desk:
        made = await desk.create()
        target = f"table/incident/{made['sys_id']}"
        assert (await desk.ask(target, "PUT", json={"urgency": "1"})).json()["result"]["urgency"] == "1"
        gone = await desk.ask(target, "DELETE")
        assert (gone.status_code, gone.content, "content-length" in gone.headers) == (204, b"", False)
        for method in ("GET", "PATCH", "DELETE"):
            missing = await desk.ask(target, method, json={})
            assert (missing.status_code, missing.json()["error"]["message"]) == (404, "No Record found")


@pytest.mark.parametrize(
    ("method", "target", "arguments", "status"),
    [
        ("GET", "table/no_such_table", {}, 400),
        ("GET", "nix", {}, 400),
        ("POST", "table/incident/x", {"json": {}}, 405),
        ("GET", "table/incident?sysparm_limit=-1", {}, 400),
        ("GET", "table/incident?sysparm_offset=many", {}, 400),
        ("GET", "table/incident", {"headers": {"accept": "text/csv"}}, 406),
        ("POST", "table/incident", {"content": b"{}"}, 400),
        ("POST", "table/incident", {"content": b"a=1", "headers": {"content-type": "text/plain"}}, 415),
        ("POST", "table/incident", {"content": b"{", "headers": {"content-type": "application/json"}}, 400),
        ("POST", "table/incident", {"json": "text"}, 400),
        ("GET", "v1/table/incident", {}, 404),
        ("GET", "v2/table/incident", {}, 200),
    ],
)
async def test_what_cannot_be_answered_is_refused(
    method: str, target: str, arguments: dict[str, object], status: int
) -> None:
    async with instance() as desk:
        answer = await desk.ask(target, method, **arguments)
        assert answer.status_code == status
        assert set(answer.json()) in ({"error", "status"}, {"result"})


def read_links(page: httpx.Response) -> dict[str, str]:
    return {rel: url for url, rel in re.findall(r'<([^>]+)>;rel="(\w+)"', page.headers["link"])}


async def test_pages_say_how_many_there_are_and_where_the_next_one_is() -> None:
    async with instance() as desk:
        for number in range(5):
            desk.simulator.create("incident", short_description=str(number))
        page = await desk.ask("table/incident?sysparm_query=ORDERBYnumber&sysparm_limit=2&sysparm_offset=2")
        assert page.headers["x-total-count"] == "5"
        links = read_links(page)
        assert {*links} == {"first", "prev", "next", "last"}
        last = await desk.client.get(links["next"])
        assert [row["short_description"] for row in last.json()["result"]] == ["4"]
        assert {*read_links(last)} == {"first", "prev", "last"}
        bare = await desk.ask("table/incident?sysparm_suppress_pagination_header=true&sysparm_no_count=true")
        assert ("link" in bare.headers, "x-total-count" in bare.headers) == (False, False)


async def test_a_thousand_records_of_one_second_are_paged_by_their_ids() -> None:
    async with instance() as desk:
        for _ in range(1000):
            desk.simulator.create("incident")
        seen: list[str] = []
        while True:
            query = f"sys_updated_on=2026-09-21 14:13:20^sys_id>{seen[-1] if seen else ''}^ORDERBYsys_id"
            page = await desk.find("incident", query, sysparm_limit="200", sysparm_fields="sys_id")
            seen += [row["sys_id"] for row in page]
            if len(page) < 200:
                break
        assert len(seen) == len(set(seen)) == 1000


async def test_values_are_shown_raw_to_people_or_both_ways() -> None:
    async with instance(InstanceConfig(zone="Europe/Berlin")) as desk:
        (group,) = await desk.find("sys_user_group", "name=Network")
        made = await desk.create(assignment_group=group["sys_id"], comments="first", work_notes="inner")
        target = f"table/incident/{made['sys_id']}?sysparm_fields=state,assignment_group,opened_at,comments,nix"
        raw = (await desk.ask(target)).json()["result"]
        link = f"{desk.simulator.url}/api/now/table/sys_user_group/{group['sys_id']}"
        assert raw == {
            "state": "1",
            "assignment_group": {"link": link, "value": group["sys_id"]},
            "opened_at": "2026-09-21 14:13:20",
            "comments": "",
        }
        shown = (await desk.ask(target + "&sysparm_display_value=true")).json()["result"]
        entry = "2026-09-21 16:13:20 - Ecproc Integration (Additional comments)\nfirst\n\n"
        assert shown == {
            "state": "New",
            "assignment_group": {"display_value": "Network", "link": link},
            "opened_at": "2026-09-21 16:13:20",
            "comments": entry,
        }
        both = "&sysparm_display_value=all&sysparm_exclude_reference_link=true"
        assert (await desk.ask(target + both)).json()["result"] == {
            "state": {"display_value": "New", "value": "1"},
            "assignment_group": {"display_value": "Network", "value": group["sys_id"]},
            "opened_at": {"display_value": "2026-09-21 16:13:20", "value": "2026-09-21 14:13:20"},
            "comments": {"display_value": entry, "value": ""},
        }


async def test_what_lies_behind_a_reference_can_be_asked_for() -> None:
    async with instance() as desk:
        made = await desk.create()
        fields = "opened_by.email,assigned_to.email,opened_by.nix,state.nix"
        shown = (await desk.ask(f"table/incident/{made['sys_id']}?sysparm_fields={fields}")).json()["result"]
        assert shown == {"opened_by.email": "ecproc.integration@example.com", "assigned_to.email": ""}


async def test_journal_texts_are_rows_of_their_own() -> None:
    async with instance() as desk:
        made = await desk.create(comments="one [Ensono note 1]")
        desk.clock.now += 2
        await desk.change(made["sys_id"], comments="two [Ensono note 12]", work_notes="inner")
        query = f"element_id={made['sys_id']}^element=comments^ORDERBYDESCsys_created_on"
        rows = await desk.find("sys_journal_field", query)
        assert [row["value"] for row in rows] == ["two [Ensono note 12]", "one [Ensono note 1]"]
        assert {row["sys_created_by"] for row in rows} == {"ecproc.integration"}
        assert desk.simulator.ledger.notes == {f"{made['sys_id']} {mark}": [made["number"]] for mark in ("1", "12")}
        assert desk.simulator.find("incident")[0]["sys_mod_count"] == "1"


async def test_an_instance_can_lack_a_column_and_can_mind_unknown_ones() -> None:
    async with instance(InstanceConfig(missing_fields=frozenset({"correlation_id"}))) as desk:
        await desk.create(correlation_id="a")
        made = await desk.create(correlation_id="b")
        assert "correlation_id" not in made
        assert len(await desk.find("incident", "correlation_id=a^correlation_display=")) == 2
        assert desk.simulator.ledger.created == {"a": ["INC0010001"], "b": ["INC0010002"]}
    async with instance(InstanceConfig(invalid_query_returns_no_rows=True)) as desk:
        await desk.create()
        assert await desk.find("incident", "nix=a^state=1") == []
        assert len(await desk.find("incident", "state=1")) == 1


async def test_queries_that_would_run_a_script_are_counted() -> None:
    async with instance() as desk:
        await desk.find("incident", "caller_id=JavaScript:gs.getUserID()")
        await desk.find("incident", "caller_id=x")
        assert desk.simulator.ledger.scripts == 1


async def test_what_a_client_sends_may_be_no_number_and_no_time() -> None:
    async with instance(InstanceConfig(zone="Asia/Tokyo")) as desk:
        times = {"due_date": "9999-12-31 23:59:59", "follow_up": "soon"}
        made = await desk.create(urgency="high", reopen_count="many", order=7, **times)
        assert (made["urgency"], made["reopen_count"], made["order"]) == ("3", "0", "7")
        (shown,) = await desk.find("incident", sysparm_display_value="true", sysparm_fields="due_date,follow_up")
        assert shown == times


async def test_answers_are_dated_by_the_instances_clock() -> None:
    async with instance() as desk:
        assert (await desk.ask("table/incident")).headers["date"] == "Mon, 21 Sep 2026 14:13:20 GMT"


# --- states ---


async def test_an_incident_is_resolved_with_code_and_notes_or_not_at_all() -> None:
    async with instance() as desk:
        made = await desk.create()
        refused = await desk.change(made["sys_id"], state="6", close_code="Solution provided")
        assert refused.status_code == 403
        assert explain(refused).startswith("Data Policy Exception")
        assert "Close notes" in explain(refused)
        assert desk.simulator.find("incident")[0]["state"] == "1"
        filled = {"close_code": "Solution provided", "close_notes": "done"}
        solved = (await desk.change(made["sys_id"], state="6", **filled)).json()["result"]
        assert (solved["state"], solved["active"], solved["resolved_at"]) == ("6", "true", "2026-09-21 14:13:20")
        opened = (await desk.change(made["sys_id"], state="2")).json()["result"]
        assert (opened["state"], opened["reopen_count"]) == ("2", "1")
        closed = (await desk.change(made["sys_id"], state="7")).json()["result"]
        assert (closed["active"], closed["closed_at"]) == ("false", "2026-09-21 14:13:20")
        stays = await desk.change(made["sys_id"], state="2")
        assert (stays.status_code, "Business Rule" in explain(stays)) == (403, True)


async def test_waiting_for_the_caller_needs_a_comment_and_ends_with_the_callers_own() -> None:
    async with instance() as desk:
        (caller,) = await desk.find("sys_user", "user_name=abel.tuter")
        made = await desk.create(caller_id=caller["sys_id"])
        hold = {"state": "3", "hold_reason": "1"}
        assert "Additional comments" in explain(await desk.change(made["sys_id"], **hold))
        assert (await desk.change(made["sys_id"], **hold, comments="please tell")).status_code == 200
        assert (await desk.change(made["sys_id"], description="x")).status_code == 200
        desk.simulator.comment("incident", made["sys_id"], "somebody else", by="beth")
        assert desk.simulator.find("incident")[0]["state"] == "3"
        answered = desk.simulator.comment("incident", made["sys_id"], "it is room 4", by="abel.tuter")
        assert (answered["state"], answered["hold_reason"], answered["sys_updated_by"]) == ("2", "", "abel.tuter")


@pytest.mark.parametrize(
    ("kind", "path"),
    [
        ("normal", ("-4", "-3", "-2", "-1", "0", "3")),
        ("emergency", ("-3", "-2", "-1", "0", "3")),
        ("standard", ("-2", "-1", "0", "3")),
    ],
)
async def test_a_change_goes_step_by_step_and_says_no_without_a_word(kind: str, path: tuple[str, ...]) -> None:
    async with instance() as desk:
        made = await desk.create("change_request", type=kind, state="-1")
        assert made["state"] == "-5"
        filled = {"close_code": "successful", "close_notes": "done"}
        for state in path:
            early = await desk.change(made["sys_id"], "change_request", state="3" if state != "3" else "4", **filled)
            assert early.status_code == 200
            assert early.json()["result"]["state"] != "3"
            steps = (await desk.client.get(f"/api/sn_chg_rest/change/{made['sys_id']}/nextstates")).json()["result"]
            assert state in steps["available_states"]
            assert early.json()["result"]["state"] == steps["available_states"][-1]
            moved = await desk.change(made["sys_id"], "change_request", state=state)
            assert moved.json()["result"]["state"] == state


async def test_a_change_on_hold_and_one_in_review_stay_where_they_are() -> None:
    async with instance() as desk:
        made = await desk.create("change_request", type="standard", on_hold=True)
        steps = (await desk.client.get(f"/api/sn_chg_rest/v1/change/{made['sys_id']}/nextstates")).json()["result"]
        open_now = {move["to_state"]: move["transition_available"] for (move,) in steps["state_transitions"]}
        assert open_now == {"-2": False, "4": True}
        assert (await desk.change(made["sys_id"], "change_request", state="-2")).json()["result"]["state"] == "-5"
        desk.simulator.edit("change_request", made["sys_id"], state="0", on_hold="false")
        assert (await desk.change(made["sys_id"], "change_request", state="4")).json()["result"]["state"] == "0"
        assert (await desk.change(made["sys_id"], "change_request", state="3")).status_code == 403


async def test_conflicts_are_those_that_overlap_whatever_the_status_says() -> None:
    async with instance(InstanceConfig(conflict_seconds=5)) as desk:
        (item,) = await desk.find("cmdb_ci", "name=payroll")
        planned = {"cmdb_ci": item["sys_id"], "start_date": "2026-10-01 10:00:00", "end_date": "2026-10-01 12:00:00"}
        first = await desk.create("change_request", **planned)
        target = f"/api/sn_chg_rest/change/{first['sys_id']}/conflict"
        assert (await desk.client.get(target)).json()["result"]["status"] == "Not Run"
        assert (await desk.client.post(target, json={})).json()["result"]["job_status"] == "1"
        desk.clock.now += 5
        alone = (await desk.client.get(target)).json()["result"]
        assert (alone["status"], alone["job_status"], alone["conflicts"]) == ("Conflict", "2", [])
        other = await desk.create("change_request", **{**planned, "start_date": "2026-10-01 11:00:00"})
        (found,) = (await desk.client.get(target)).json()["result"]["conflicts"]
        assert found["conflicting_change"]["display_value"] == other["number"]


async def test_changes_are_made_by_their_own_api_too() -> None:
    async with instance() as desk:
        made = (await desk.client.post("/api/sn_chg_rest/change/standard/7a0d", json={"correlation_id": "k"})).json()
        assert made["result"]["type"] == {"display_value": "Standard", "value": "standard"}
        assert made["result"]["std_change_producer_version"]["value"] == "7a0d"
        target = f"/api/sn_chg_rest/change/{made['result']['sys_id']['value']}"
        changed = (await desk.client.patch(target, json={"state": "-2"})).json()["result"]
        assert changed["state"] == (await desk.client.get(target)).json()["result"]["state"]
        assert changed["state"] == {"display_value": "Scheduled", "value": "-2"}
        assert (await desk.client.get("/api/sn_chg_rest/change/nix")).status_code == 404
        assert [*desk.simulator.ledger.created] == ["k"]


async def test_an_approvers_word_becomes_the_changes_own() -> None:
    async with instance() as desk:
        made = await desk.create("change_request")
        (user,) = await desk.find("sys_user", "user_name=abel.tuter")
        asked = {"sysapproval": made["sys_id"], "approver": user["sys_id"], "source_table": "change_request"}
        row = await desk.create("sysapproval_approver", **asked, state="requested")
        assert desk.simulator.find("change_request")[0]["approval"] == "requested"
        edited = desk.simulator.edit("sysapproval_approver", row["sys_id"], state="rejected", comments="not now")
        assert (edited["sys_mod_count"], edited["sys_updated_by"]) == ("1", "human")
        assert desk.simulator.find("change_request")[0]["approval"] == "rejected"
        assert desk.simulator.ledger.approvals == {f"{made['sys_id']} {user['sys_id']}": [row["sys_id"]]}


# --- attachments ---


async def attach(desk: Caller, sys_id: str, name: str, content: bytes = b"text") -> httpx.Response:
    parameters = {"table_name": "incident", "table_sys_id": sys_id, "file_name": name}
    return await desk.ask(
        "attachment/file", "POST", params=parameters, content=content, headers={"content-type": "text/plain"}
    )


async def test_a_file_is_taken_listed_given_back_and_removed() -> None:
    async with instance() as desk:
        made = await desk.create()
        taken = await attach(desk, made["sys_id"], "größe ^x.txt", b"12345")
        row = taken.json()["result"]
        assert taken.status_code == 201
        assert taken.headers["location"].endswith(f"/api/now/v1/attachment/{row['sys_id']}")
        assert (row["file_name"], row["size_bytes"], row["content_type"]) == ("größe ^x.txt", "5", "text/plain")
        listed = await desk.ask(f"attachment?sysparm_query=table_sys_id={made['sys_id']}&sysparm_limit=500")
        assert listed.json()["result"] == [row]
        assert listed.headers["x-total-count"] == "1"
        assert (await desk.client.get(row["download_link"])).content == b"12345"
        (held,) = await desk.find("sys_attachment")
        assert held["hash"] in str(desk.simulator.ledger.attachments)
        assert desk.simulator.find("incident")[0]["sys_mod_count"] == "0"
        assert (await desk.ask(f"attachment/{row['sys_id']}", "DELETE")).status_code == 204
        assert (await desk.ask(f"attachment/{row['sys_id']}")).status_code == 404


async def test_files_have_limits() -> None:
    config = InstanceConfig(max_attachment_bytes=4, allowed_extensions=frozenset({"txt"}))
    async with instance(config) as desk:
        sys_id = (await desk.create())["sys_id"]
        assert (await attach(desk, sys_id, "a.TXT")).status_code == 201
        assert (await attach(desk, sys_id, "a.txt", b"12345")).status_code == 413
        assert (await attach(desk, sys_id, "a.txt", b"")).status_code == 400
        assert (await attach(desk, sys_id, "a.exe")).status_code == 400
        assert (await attach(desk, "nix", "a.txt")).status_code == 404
        assert (await attach(desk, sys_id, "")).status_code == 400
        assert len(desk.simulator.ledger.attachments) == 1


# --- imports ---


async def test_an_import_says_by_its_status_what_became_of_a_row() -> None:
    async with instance(InstanceConfig(staging={"u_in": StagingTable()})) as desk:

        async def send(**row: str) -> dict[str, str]:
            answer = await desk.ask("import/u_in", "POST", json={"u_correlation_id": "k^state=1", **row})
            assert answer.status_code == 201
            assert (await desk.client.get(answer.headers["location"])).json() == answer.json()
            (result,) = answer.json()["result"]
            return dict(result)

        made = await send(u_short_description="x")
        assert (made["status"], made["display_name"]) == ("inserted", "number")
        assert (await send(u_short_description="y"))["status"] == "updated"
        assert (await send(u_short_description="y"))["status"] == "ignored"
        failed = await send(u_state="6")
        assert (failed["status"], "Data Policy" in failed["error_message"]) == ("error", True)
        (row,) = desk.simulator.find("incident")
        assert (row["sys_id"], row["short_description"]) == (made["sys_id"], "y")
        assert desk.simulator.ledger.list_doubles() == {}
        assert (await desk.ask("import/nix", "POST", json={})).status_code == 400


# --- people ---


async def test_people_write_past_the_rules_and_past_the_ledger() -> None:
    async with instance() as desk:
        made = await desk.create(correlation_id="k")
        edited = desk.simulator.edit("incident", made["sys_id"], by="beth", state="7", short_description="mine")
        assert (edited["state"], edited["active"], edited["sys_updated_by"]) == ("7", "false", "beth")
        desk.simulator.create("incident", correlation_id="k")
        desk.simulator.comment("incident", made["sys_id"], "copied [Ensono note 1]")
        desk.simulator.attach(("incident", made["sys_id"]), "a.txt", b"1")
        ledger = desk.simulator.ledger
        assert (len(ledger.created), len(ledger.notes), len(ledger.attachments)) == (1, 0, 0)
        assert ledger.list_doubles() == {}
        desk.simulator.delete("incident", made["sys_id"])
        for act in (desk.simulator.delete, desk.simulator.edit):
            with pytest.raises(KeyError):
                act("incident", made["sys_id"])
        with pytest.raises(KeyError):
            desk.simulator.attach(("incident", made["sys_id"]), "a.txt", b"1")


async def test_a_person_with_an_account_counts_as_a_person() -> None:
    async with instance() as desk:
        row = {"correlation_id": "k", "comments": "[Ensono note 1]"}
        answer = await desk.ask("table/incident", "POST", json=row, auth=("abel.tuter", "simulator-password"))
        assert answer.json()["result"]["sys_created_by"] == "abel.tuter"
        assert desk.simulator.ledger.created == desk.simulator.ledger.notes == {}
