"""What goes wrong at the simulated instance: each fault with its effect, and what the ledger says of it."""

from __future__ import annotations

import json
import time
from collections import Counter
from random import Random

import anyio
import httpx
import pytest

from ecproc.simulator.exchange import HttpRequest
from ecproc.simulator.servicenow.faults import PRESETS, FaultRates, FaultRule, Faults, InstanceFault
from ecproc.simulator.servicenow.service import ServiceNow
from ecproc.simulator.servicenow.settings import InstanceConfig
from tests.simulation.servicenow import FIELDS, START, Caller, explain, instance

RECORD = {"short_description": "x", "correlation_id": "e-CS1:g1"}


async def send(desk: Caller, header: str | None = None, **fields: object) -> httpx.Response:
    """Make a record while this goes wrong."""
    headers = {} if header is None else {"x-simulator-fault": header}
    return await desk.ask("table/incident", "POST", json={**RECORD, **fields}, headers=headers)


def count(desk: Caller) -> int:
    """How many records there are."""
    return len(desk.simulator.find("incident"))


async def test_without_a_fault_a_record_is_made_once() -> None:
    async with instance() as desk:
        assert (await send(desk)).status_code == 201
        assert (count(desk), desk.simulator.ledger.created) == (1, {"e-CS1:g1": ["INC0010001"]})
        assert desk.simulator.faults.counts == {}


@pytest.mark.parametrize(
    ("fault", "status", "words"),
    [
        ("abort_rule", 403, "aborted by Business Rule"),
        ("abort_rule; detail=No outsiders", 403, "No outsiders"),
        ("data_policy", 403, "Data Policy Exception"),
        ("data_policy; detail=Location", 403, "Location"),
        ("acl_deny", 403, "ACL Exception"),
    ],
)
async def test_a_refusal_applies_nothing_and_says_why(fault: str, status: int, words: str) -> None:
    async with instance() as desk:
        refused = await send(desk, fault)
        assert (refused.status_code, words in explain(refused), count(desk)) == (status, True, 0)
        assert (await send(desk)).status_code == 201


async def test_hidden_rows_are_left_out_of_a_page_that_is_no_longer_for_it() -> None:
    async with instance() as desk:
        rows = [desk.simulator.create("incident") for _ in range(4)]
        desk.simulator.faults.inject(FaultRule(kind=InstanceFault.ACL_HIDE, table="incident", every=2, times=None))
        page = await desk.ask("table/incident?sysparm_limit=2&sysparm_query=ORDERBYnumber")
        assert [row["sys_id"] for row in page.json()["result"]] == [rows[0]["sys_id"]]
        assert page.headers["x-total-count"] == "4"
        hidden = f"table/incident/{rows[1]['sys_id']}"
        assert [(await desk.ask(hidden, method, json={})).status_code for method in ("GET", "PATCH", "DELETE")] == [
            404
        ] * 3
        assert (await desk.change(rows[2]["sys_id"], description="x")).status_code == 200
        desk.simulator.faults.inject(FaultRule(kind=InstanceFault.ACL_HIDE, table="sys_journal_field", times=None))
        await desk.change(rows[2]["sys_id"], comments="x")
        assert await desk.find("sys_journal_field") == []
        desk.simulator.faults.clear()
        assert len(await desk.find("incident")) == 4


async def test_a_dropped_field_is_not_stored_and_nobody_says_so() -> None:
    async with instance() as desk:
        made = (await send(desk, "drop_field; field=correlation_id")).json()["result"]
        assert made["correlation_id"] == ""
        assert await desk.find("incident", "correlation_id=e-CS1:g1") == []
        assert desk.simulator.ledger.created == {"e-CS1:g1": [made["number"]]}  # by what was sent


async def test_a_silent_state_stays_and_the_rest_is_written() -> None:
    async with instance() as desk:
        made = await desk.create()
        desk.simulator.faults.inject(FaultRule(kind=InstanceFault.SILENT_STATE))
        kept = await desk.change(made["sys_id"], state="2", description="more")
        assert (kept.status_code, kept.json()["result"]["state"]) == (200, "1")
        assert kept.json()["result"]["description"] == "more"
        assert (await desk.change(made["sys_id"], state="2")).json()["result"]["state"] == "2"


async def test_a_cancelled_call_is_applied_and_its_answer_breaks_off() -> None:
    async with instance() as desk:
        cut = await send(desk, "quota_cut")
        assert cut.status_code == 201
        with pytest.raises(json.JSONDecodeError):
            cut.json()
        assert count(desk) == 1


async def test_a_sleeping_instance_answers_with_a_page_and_applies_nothing() -> None:
    async with instance() as desk:
        slept = await send(desk, "html_200")
        assert (slept.status_code, slept.headers["content-type"].startswith("text/html")) == (200, True)
        assert (slept.text.startswith("<html>"), count(desk)) == (True, 0)


async def test_a_rule_may_fail_once_the_record_is_written() -> None:
    async with instance() as desk:
        assert ((await send(desk, "apply_then_500")).status_code, count(desk)) == (500, 1)
        await send(desk)
        assert desk.simulator.ledger.list_doubles() == {"e-CS1:g1": ["INC0010001", "INC0010002"]}


async def test_a_lost_answer_was_applied_and_a_lost_request_was_not() -> None:
    async with instance() as desk:
        for fault, held in (("lost_request", 0), ("lost_answer", 1)):
            with pytest.raises(httpx.RemoteProtocolError):
                await send(desk, fault)
            assert count(desk) == held
        assert desk.simulator.ledger.answers["dropped"] == 2
        assert desk.simulator.ledger.in_flight == 0


async def test_what_is_applied_late_is_there_at_its_time_and_not_before() -> None:
    async with instance() as desk:
        with pytest.raises(httpx.RemoteProtocolError):
            await send(desk, "apply_late; seconds=80")
        assert (count(desk), desk.simulator.ledger.waiting) == (0, 1)
        desk.clock.now += 79
        assert await desk.find("incident", "correlation_id=e-CS1:g1") == []
        await send(desk)
        desk.clock.now += 40
        rows = await desk.find("incident", "correlation_id=e-CS1:g1^ORDERBYsys_created_on")
        assert [row["sys_created_on"] for row in rows] == ["2026-09-21 14:14:39", "2026-09-21 14:14:40"]
        ledger = desk.simulator.ledger
        assert (ledger.late, ledger.waiting, [*ledger.list_doubles()]) == (1, 0, ["e-CS1:g1"])


async def test_too_many_calls_name_a_time_or_nothing_at_all() -> None:
    async with instance() as desk:
        refused = await send(desk, "429; seconds=7; detail=Incidents")
        assert (refused.status_code, refused.headers["retry-after"]) == (429, "7")
        assert refused.headers["x-ratelimit-reset"] == str(int(desk.clock.now) + 7)
        assert refused.headers["x-ratelimit-rule"] == "Incidents"
        assert refused.json()["error"]["message"] == "Rate limit exceeded"
        bare = await send(desk, "429; bare=true")
        assert {name for name in bare.headers if "rate" in name or "retry" in name} == set()
        assert (bare.status_code, count(desk)) == (429, 0)


async def test_a_token_may_end_early_and_a_second_factor_may_be_asked_for() -> None:
    async with instance() as desk:
        machine = desk.simulator.service.config
        form = {
            "grant_type": "client_credentials",
            "client_id": machine.client_id,
            "client_secret": machine.client_secret,
        }
        token = (await desk.client.post("/oauth_token.do", data=form)).json()["access_token"]
        bearer = {"authorization": f"Bearer {token}"}
        async with httpx.AsyncClient(base_url=desk.simulator.url, headers=bearer, trust_env=False) as client:
            assert (await client.get("/api/now/table/incident")).status_code == 200
            desk.simulator.faults.inject(FaultRule(kind=InstanceFault.EXPIRED))
            for _ in range(2):  # it is gone for good
                assert (await client.get("/api/now/table/incident")).status_code == 401
        asked = await send(desk, "mfa")
        assert (asked.status_code, "x-mfa_token" in asked.headers, count(desk)) == (401, True, 0)


async def test_a_slow_answer_comes_late_and_was_applied_at_once() -> None:
    async with instance() as desk:
        started = time.monotonic()
        assert (await send(desk, "slow; seconds=0.05")).status_code == 201
        assert time.monotonic() - started >= 0.05
        with pytest.raises(httpx.ReadTimeout):
            await desk.ask(
                "table/incident", "POST", json=RECORD, headers={"x-simulator-fault": "slow; seconds=600"}, timeout=0.05
            )
        assert count(desk) == 2
        with anyio.fail_after(60):
            await desk.simulator.wait_until(lambda ledger: ledger.in_flight == 0)


async def test_two_records_may_get_one_number() -> None:
    async with instance() as desk:
        first = await desk.create()
        desk.simulator.faults.inject(FaultRule(kind=InstanceFault.DOUBLE_NUMBER))
        await desk.find("incident")  # reads pass it by
        second = await desk.create()
        assert (second["number"], second["sys_id"] != first["sys_id"]) == (first["number"], True)
        assert (await desk.create())["number"] != first["number"]


@pytest.mark.parametrize("header", ["nix", "slow; seconds=long", "slow; nix=1", "acl_hide; every=0"])
async def test_a_header_that_names_no_fault_is_refused(header: str) -> None:
    async with instance() as desk:
        assert ((await send(desk, header)).status_code, count(desk)) == (400, 0)


async def test_rules_wait_for_the_calls_that_they_fit() -> None:
    async with instance() as desk:
        made = await desk.create()
        rule = FaultRule(kind=InstanceFault.ACL_DENY, method="PATCH", table="incident", times=2)
        desk.simulator.faults.inject(rule)
        assert len(await desk.find("incident")) == 1
        desk.simulator.create("change_request")
        answers = [(await desk.change(made["sys_id"], description=str(turn))).status_code for turn in range(3)]
        assert answers == [403, 403, 200]
        assert desk.simulator.faults.counts == {"acl_deny": 2}
        assert desk.simulator.faults.rules == []


async def test_pages_order_faults_and_tell_what_was_applied() -> None:
    async with instance() as desk:
        order = {"rules": [{"kind": "lost_answer", "times": None}], "rates": {"shares": {"slow": 0.5}}}
        answer = await desk.client.post("/simulator/faults", json=order)
        (rule,) = answer.json()["rules"]
        assert (rule["kind"], rule["times"], answer.json()["rates"]["shares"]) == ("lost_answer", None, {"slow": 0.5})
        assert (await desk.client.get("/simulator/faults")).json() == answer.json()
        with pytest.raises(httpx.RemoteProtocolError):
            await send(desk)
        assert (await desk.client.delete("/simulator/faults")).json()["rules"] == []
        await send(desk)
        ledger = (await desk.client.get("/simulator/ledger")).json()
        assert ledger["doubles"] == {"e-CS1:g1": ["INC0010001", "INC0010002"]}
        assert (ledger["faults"], ledger["calls"]) == ({"lost_answer": 1}, {"POST incident": 2})
        for body in (b"{", b'{"rules":[{"kind":"nix"}]}', b'{"nix":1}', b"\xff"):
            refused = await desk.client.post("/simulator/faults", content=body)
            assert (refused.status_code, [*refused.json()]) == (400, ["message"])
        assert (await desk.client.get("/simulator/nix")).status_code == 404


def test_a_soak_is_not_kept_waiting() -> None:
    """Five hundred calls take less than a second of the processor, among two thousand records."""
    service = ServiceNow(InstanceConfig(), url_base="http://x", clock=lambda: START)
    headers = {"x-sn-apikey": "simulator-key", "content-type": "application/json"}
    table = "/api/now/table/incident"

    def call(method: str, query: str, body: bytes = b"", *, path: str = table) -> None:
        request = HttpRequest(method=method, path=path, query=query, headers=headers, body=body)
        assert service.answer(request).status < 300

    for number in range(2000):
        call("POST", FIELDS, b'{"correlation_id":"k%d"}' % number)
    sys_ids = [*service.instance.database.stores["incident"].rows]
    started = time.process_time()
    for number in range(125):
        call("POST", FIELDS, b'{"correlation_id":"n%d"}' % number)
        call("GET", f"sysparm_query=correlation_id=n{number}^ORDERBYsys_created_on&{FIELDS}")
        call("PATCH", FIELDS, b'{"comments":"x [Ensono note %d]"}' % number, path=f"{table}/{sys_ids[number]}")
        query = f"sysparm_query=element_id={sys_ids[number]}^element=comments^ORDERBYDESCsys_created_on"
        call("GET", query, path="/api/now/table/sys_journal_field")
    assert time.process_time() - started < 1


def draw(rates: FaultRates, calls: int, *, seed: int = 1, method: str = "POST") -> list[str]:
    faults = Faults(Random(seed), rates)
    return [str(rule.kind) for _ in range(calls) for rule in faults.draw(method, "incident").rules]


def test_rates_hold_and_come_from_the_seed() -> None:
    drawn = Counter(draw(PRESETS["mild"], 1000))
    assert {name: round(times / 1000, 3) for name, times in drawn.items()} == pytest.approx(
        {"lost_answer": 0.05, "slow": 0.02, "apply_late": 0.005}, abs=0.002
    )
    assert draw(PRESETS["mild"], 1000) == draw(PRESETS["mild"], 1000) != draw(PRESETS["mild"], 1000, seed=2)
    assert draw(PRESETS["none"], 1000) == []


def test_reads_suffer_only_what_a_read_can() -> None:
    assert set(draw(PRESETS["mild"], 1000, method="GET")) == {"lost_answer", "slow"}
    writes = FaultRates(shares=PRESETS["mild"].shares, reads=False)
    assert draw(writes, 1000, method="GET") == []


def test_seconds_stay_within_their_range() -> None:
    shares = {InstanceFault.SLOW: 0.5, InstanceFault.APPLY_LATE: 0.5, InstanceFault.TOO_MANY: 0.1}
    rates = FaultRates(shares=shares, slow_seconds=(1, 2), late_seconds=(70, 80), retry_after=9)
    faults = Faults(Random(1), rates)
    drawn = [rule for _ in range(200) for rule in faults.draw("POST", "incident").rules]
    spans = {"slow": (1, 2), "apply_late": (70, 80), "429": (9, 9)}
    assert {str(rule.kind) for rule in drawn} == {*spans}
    assert all(spans[rule.kind][0] <= rule.seconds <= spans[rule.kind][1] for rule in drawn)


async def test_a_soak_that_repeats_what_it_doubts_doubles_and_the_ledger_counts_it() -> None:
    rates = FaultRates(shares={InstanceFault.LOST_ANSWER: 0.1, InstanceFault.APPLY_LATE: 0.05}, late_seconds=(1, 5))
    async with instance(InstanceConfig(faults=rates, seed=4)) as desk:
        for number in range(100):
            record = {"correlation_id": f"k{number}"}
            try:
                await desk.ask("table/incident", "POST", json=record)
            except httpx.RemoteProtocolError:
                await desk.ask("table/incident", "POST", json=record, headers={"x-simulator-fault": "slow; seconds=0"})
            desk.clock.now += 1
        desk.clock.now += 5
        ledger = desk.simulator.ledger
        unsure = desk.simulator.faults.counts
        assert (unsure["lost_answer"], unsure["apply_late"], ledger.late) == (10, 5, 5)
        assert (len(ledger.created), len(ledger.list_doubles()), count(desk)) == (100, 15, 115)
