"""What may stand in a request to an instance, what answers are read as, and how calls are authenticated."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from ecproc.desk.base import DeskRefused, DeskUnavailable, StoredFile
from ecproc.desk.servicenow import session as session_module
from ecproc.desk.servicenow.answers import InstanceAnswer, judge_refusal, read_answer, read_list, read_wait
from ecproc.desk.servicenow.moves import choose_step, is_reached
from ecproc.desk.servicenow.query import EncodedQuery, UnsafeQuery, is_email, is_key, is_number, is_sys_id
from ecproc.desk.servicenow.session import InstanceSession
from ecproc.desk.servicenow.texts import has_marker, names_marker, write_marker, write_note
from ecproc.desk.servicenow.wire import (
    Display,
    InstanceCall,
    create,
    find_by_key,
    patch,
    read_error,
    read_row,
    read_rows,
)
from ecproc.simulator.servicenow.faults import FaultRule, InstanceFault
from ecproc.simulator.servicenow.server import ServiceNowSimulator
from ecproc.testing.desk import make_call
from tests.instance import ShiftedClock, open_on, run_instance

SYS_ID = "0123456789abcdef0123456789abcdef"
MARKS = Display(key_field="correlation_id", display_field="correlation_display", display="ENSONO")
HOSTILE = ("^active=true", "javascript:gs.sleep(1)", "x^NQactive=true", "a&sysparm_query=active=true", "#?/../", "%5E")
texts = st.one_of(st.sampled_from(HOSTILE), st.text(max_size=40))


@pytest.fixture
def clock() -> ShiftedClock:
    return ShiftedClock()


@pytest.fixture
async def simulator(clock: ShiftedClock) -> AsyncIterator[ServiceNowSimulator]:
    async with run_instance(clock) as running:
        yield running


# --- queries ----------------------------------------------------------------------------------------------------------


@given(texts)
def test_a_query_has_no_more_conditions_than_it_was_built_of(text: str) -> None:
    built = 0
    ways: list[Callable[[EncodedQuery], EncodedQuery]] = [
        lambda query: query.where_key("correlation_id", text),
        lambda query: query.where_id("element_id", text),
        lambda query: query.where_number(text),
        lambda query: query.where_email("email", text),
        lambda query: query.where_constant("display", text),
        lambda query: query.behind(text),
        lambda query: query.ordered_by(text),
    ]
    for add in ways:
        try:
            query = str(add(EncodedQuery().where_id("sys_id", SYS_ID)))
        except UnsafeQuery:
            continue
        built += 1
        assert query.count("^") == 1
        assert "javascript:" not in query.lower()
    assert built == 0 or "^" not in text


@pytest.mark.parametrize("form", [is_key, is_sys_id, is_number, is_email])
@pytest.mark.parametrize("text", [*HOSTILE, "", "a b", "x\n", "\uff49", "a" * 101, "javascript:1"])
def test_what_is_of_no_form_is_refused(form: Any, text: str) -> None:
    assert not form(text)


def test_a_query_is_one_parameter() -> None:
    request = find_by_key("incident", "e-CS1:g1", replace(MARKS, display="A & B=C#+"))
    asked = parse_qs(urlsplit(request.target).query)["sysparm_query"]
    assert asked == ["correlation_id=e-CS1:g1^correlation_display=A & B=C#+^ORDERBYsys_created_on"]
    assert all(sign not in request.target for sign in "^# ")


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=texts)
async def test_no_text_of_ensonos_gets_into_a_request_target(text: str, tmp_path: Path) -> None:
    """The acceptance of query safety: every field of every kind of call, and what the request lines were."""
    clock = ShiftedClock()
    targets: list[str] = []
    async with run_instance(clock) as simulator:
        desk = open_on(simulator, clock, approvals="approver_record")
        keep(desk.instance.session, targets)
        names = ("shortDescription", "description", "group", "cis", "priority", "status", "body", "author", "email")
        more = ("approvalState", "approverEmail", "approverName", "closeNotes", "statusNextAction", "type", "startDate")
        fields = dict.fromkeys((*names, *more), text)
        path = tmp_path / "file"
        path.write_bytes(b"x")
        file = StoredFile(text, text, 1, "0" * 64, path)
        calls = [
            make_call("create:e-CS1:g1", ticket="e-CS1", fields=fields),
            make_call(f"create:{text}:g1", ticket=text, fields=fields),
            *(
                make_call(f"{kind}:{text}", f"{kind}_client_ticket", number=number, fields=fields, file=file)
                for kind in ("update", "comment", "resolve", "close", "cancel", "reopen", "attach")
                for number in ("INC0010001", text)
            ),
        ]
        for call in calls:
            for ask in (desk.perform, desk.look_up):
                try:
                    await ask(call)
                except (DeskRefused, DeskUnavailable):
                    continue
        await desk.aclose()
    queries = [query for target in targets for query in parse_qs(urlsplit(target).query).get("sysparm_query", [])]
    assert queries
    for query in queries:
        assert query.count("^") <= 3
        assert "javascript:" not in query.lower()
    if text in HOSTILE and text != "%5E":  # which is how a query's own parts are joined
        assert not any(text in target for target in targets)
        assert not any(text in query for query in queries)


def keep(session: InstanceSession, targets: list[str]) -> None:
    """Write down every request target that a session sends."""
    send = session.send

    async def note(request: InstanceCall, upload: session_module.FileBody | None = None) -> InstanceAnswer:
        targets.append(request.target)
        return await send(request, upload)

    session.send = note  # type: ignore[method-assign]  # the one place where all of them pass


# --- answers ----------------------------------------------------------------------------------------------------------

POST = create("incident", {"short_description": "x"}, key_field="correlation_id")
PATCH = patch("incident", SYS_ID, {"state": "2"}, key_field="correlation_id")
NOTE = patch("incident", SYS_ID, {"comments": "x"}, key_field="correlation_id", repeatable=False)
LIST = find_by_key("incident", "e-CS1:g1", MARKS)


def judge(request: InstanceCall, status: int, body: bytes = b"", **headers: Any) -> DeskUnavailable | DeskRefused:
    try:
        read_answer(request, InstanceAnswer(status=status, body=body, **headers))
    except (DeskUnavailable, DeskRefused) as error:
        return error
    raise AssertionError("taken for a success")


@pytest.mark.parametrize("body", [b"", b"<html>Hibernating</html>", b'{"result": {"sys_id"', b"{}", b"\xff", b"[1]"])
def test_a_success_that_is_none_leaves_a_write_open_and_a_read_undone(body: bytes) -> None:
    written, asked = judge(POST, 201, body), judge(LIST, 200, body)
    assert isinstance(written, DeskUnavailable)
    assert isinstance(asked, DeskUnavailable)
    assert (written.sent, asked.sent, asked.down) == (True, False, True)


@pytest.mark.parametrize(
    ("request_", "status", "sent", "down"),
    [
        (POST, 302, False, True),
        (POST, 401, False, True),
        (POST, 403, False, True),
        (POST, 404, False, True),
        (LIST, 404, False, True),
        (POST, 405, False, True),
        (POST, 408, False, False),
        (POST, 500, True, False),
        (NOTE, 503, True, False),
        (PATCH, 500, False, False),
        (PATCH, 502, False, False),
        (LIST, 500, False, False),
    ],
)
def test_trouble_by_status(request_: InstanceCall, status: int, *, sent: bool, down: bool) -> None:
    error = judge(request_, status, b'{"error":{"message":"no","detail":"why"},"status":"failure"}')
    assert isinstance(error, DeskUnavailable)
    assert (error.sent, error.down) == (sent, down)
    assert error.call == {"method": request_.method, "path": request_.path, "status": str(status)}


@pytest.mark.parametrize("status", [400, 409, 410, 422])
def test_a_call_that_is_refused_is_blamed(status: int) -> None:
    error = judge_refusal(POST, InstanceAnswer(status=status, body=b""))
    assert isinstance(error, DeskRefused)
    assert error.final


def test_a_list_without_rows_is_empty_either_way() -> None:
    none = b'{"error":{"message":"No Record found","detail":"Records matching query not found"},"status":"failure"}'
    assert (
        read_list(LIST, InstanceAnswer(status=404, body=none))
        == read_list(LIST, InstanceAnswer(status=200, body=b'{"result":[]}'))
        == []
    )


@pytest.mark.parametrize(
    ("retry_after", "reset", "wait"),
    [("7", "1", 7.0), (None, "1010", 10.0), (None, "1", 0.0), (None, None, None), (None, "soon", None), ("", "", None)],
)
def test_how_long_an_instance_asks_us_to_wait(retry_after: str | None, reset: str | None, wait: float | None) -> None:
    seen = InstanceAnswer(status=429, body=b"", retry_after=retry_after, rate_reset=reset, at=1_000_000_000)
    assert read_wait(seen) == wait


def test_values_are_raw_ones() -> None:
    row = read_row(
        {"a": {"value": "1", "display_value": "One"}, "b": {"link": "x", "value": SYS_ID}, "c": None, "d": 7}
    )
    assert row == {"a": "1", "b": SYS_ID, "c": "", "d": "7"}
    assert read_rows({"a": 1}) is None
    assert read_row([1]) is None


@given(st.binary(max_size=200))
def test_no_body_is_too_odd_to_be_read(body: bytes) -> None:
    assert isinstance(read_error(body), str)


def test_the_words_of_an_error_are_one_bounded_line() -> None:
    words = read_error(b'{"error":{"message":"a\\nb","detail":"' + b"x" * 9_000 + b'"}}')
    assert words.startswith("a b: xxx")
    assert len(words) == 500


# --- changes and notes ------------------------------------------------------------------------------------------------


def test_the_way_of_a_change() -> None:
    assert is_reached("0", "-1")
    assert is_reached("3", "4")
    assert is_reached("4", "3")
    assert not is_reached("-1", "4")
    assert not is_reached("-5", "-1")
    assert choose_step("-5", "-1", walk=True) == "-4"
    assert choose_step("-5", "-1", walk=True, offered=("-3", "-1")) == "-3"
    assert choose_step("-5", "-1", walk=True, offered=("4",)) is None
    assert choose_step("-5", "-1", walk=False) == "-1"
    assert choose_step("-5", "4", walk=True) == "4"


@given(st.text(max_size=60), st.text(max_size=60))
def test_a_note_is_known_by_its_own_marker_only(text: str, other: str) -> None:
    one = write_marker(make_call("note:e-CS0879727:1", "comment_client_ticket"))
    twelve = write_marker(make_call(f"note:e-CS0879727:{other}", "comment_client_ticket"))
    entry = write_note(f"{text}\n{one}\n{text}", twelve)
    assert has_marker(entry, twelve)
    assert has_marker(entry, one) == (one == twelve)
    assert names_marker(f"2026-11-28 - ecproc (Additional comments)\n{entry}\n\n", twelve)


# --- credentials ------------------------------------------------------------------------------------------------------

CREATE = make_call("create:e-CS1:g1", ticket="e-CS1")


@pytest.mark.parametrize("auth", ["basic", "client_credentials", "password", "api_key"])
async def test_each_way_to_authenticate_works(simulator: ServiceNowSimulator, clock: ShiftedClock, auth: str) -> None:
    desk = open_on(simulator, clock, auth=auth)
    assert (await desk.perform(CREATE)).number
    await desk.aclose()


async def test_a_refresh_token_gets_tokens(simulator: ServiceNowSimulator, clock: ShiftedClock) -> None:
    first = open_on(simulator, clock, auth="password")
    await first.perform(CREATE)
    token = first.instance.session.tokens._refresh.reveal()
    await first.aclose()
    desk = open_on(simulator, clock, auth="refresh", secrets={"refresh_token": token})
    assert (await desk.perform(make_call("create:e-CS2:g1", ticket="e-CS2"))).number
    await desk.aclose()
    wrong = open_on(simulator, clock, auth="refresh", secrets={"refresh_token": "stale"})
    with pytest.raises(DeskUnavailable, match="no token") as failed:
        await wrong.perform(CREATE)
    assert (failed.value.down, failed.value.sent) == (True, False)
    await wrong.aclose()


async def test_a_token_that_ends_is_renewed_and_so_is_one_that_is_refused(
    simulator: ServiceNowSimulator, clock: ShiftedClock
) -> None:
    desk = open_on(simulator, clock, auth="password")
    for number, shift in enumerate((0.0, 1750.0, 8_700_000.0)):
        clock.ahead += shift  # the second finds a token that ends within the minute, the third none that renews
        assert (await desk.perform(make_call(f"create:e-CS{number}:g1", ticket=f"e-CS{number}"))).number
    simulator.faults.inject(FaultRule(kind=InstanceFault.EXPIRED, table="incident"))
    assert (await desk.perform(make_call("create:e-CS9:g1", ticket="e-CS9"))).number
    assert simulator.ledger.list_doubles() == {}
    await desk.aclose()


async def test_a_refused_password_is_not_tried_twice(simulator: ServiceNowSimulator, clock: ShiftedClock) -> None:
    desk = open_on(simulator, clock, auth="basic", secrets={"password": "wrong"})
    with pytest.raises(DeskUnavailable) as failed:
        await desk.perform(CREATE)
    assert failed.value.down
    assert simulator.ledger.answers["401"] == 1
    await desk.aclose()


async def test_a_403_renews_no_token(simulator: ServiceNowSimulator, clock: ShiftedClock) -> None:
    desk = open_on(simulator, clock)
    await desk.perform(CREATE)
    before = sum(simulator.ledger.answers.values())
    simulator.faults.inject(FaultRule(kind=InstanceFault.ACL_DENY, table="incident", method="POST"))
    with pytest.raises(DeskUnavailable):
        await desk.perform(make_call("create:e-CS2:g1", ticket="e-CS2"))
    assert sum(simulator.ledger.answers.values()) == before + 1
    await desk.aclose()


@pytest.mark.requirement("I11")
async def test_no_secret_is_told(
    simulator: ServiceNowSimulator, clock: ShiftedClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    canaries = {"password": "canary-password", "client_secret": "canary-secret", "api_key": "canary-key"}
    told: list[str] = []
    for auth in ("basic", "client_credentials", "password", "api_key"):
        desk = open_on(simulator, clock, auth=auth, secrets=canaries)
        with pytest.raises(DeskUnavailable) as failed:
            await desk.perform(CREATE)
        told += [str(failed.getrepr(showlocals=True)), repr(failed.value.__dict__), failed.value.hint]
        await desk.aclose()
    assert "canary" not in "".join(told[1::3] + told[2::3]) + caplog.text
