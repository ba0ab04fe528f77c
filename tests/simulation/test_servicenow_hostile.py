"""Whatever is sent to the simulated instance, it answers, and goes on."""

from __future__ import annotations

import json
from typing import Final
from urllib.parse import quote

from hypothesis import given
from hypothesis import strategies as st

from ecproc.simulator.connection import encode_reply
from ecproc.simulator.exchange import HttpRequest
from ecproc.simulator.servicenow.answers import Denial
from ecproc.simulator.servicenow.instance import Author
from ecproc.simulator.servicenow.pages import InstancePages
from ecproc.simulator.servicenow.service import ServiceNow
from ecproc.simulator.servicenow.settings import InstanceConfig
from tests.simulation.servicenow import START

SERVICE: Final = ServiceNow(InstanceConfig(), url_base="http://x", clock=lambda: START)
PAGES: Final = InstancePages(SERVICE)
RECORDS: Final = {
    table: SERVICE.instance.create(table, {}, Author("human", START, machine=False))
    for table in ("incident", "change_request", "sysapproval_approver")
}
OWN: Final = tuple(
    f"/api/now/table/{table}/{row['sys_id']}" for table, row in RECORDS.items() if not isinstance(row, Denial)
)
DEEP: Final = b"[" * 100_000
NAMES: Final = st.sampled_from(
    ("incident", "change_request", "sys_attachment", "sysapproval_approver", "u_ensono_incident", "%00", "v1")
)
WORDS: Final = NAMES | st.sampled_from(
    ("now", "api", "table", "import", "attachment", "file", "conflict", "nextstates")
)
PATHS: Final = st.one_of(
    st.sampled_from(OWN),
    st.sampled_from(OWN).map(lambda path: path.replace("now/table/change_request", "sn_chg_rest/change")),
    st.builds("/api/now/table/{}".format, NAMES),
    st.builds("/api/now/{}/{}".format, WORDS, WORDS),
    st.builds("/api/sn_chg_rest/change/{}/{}".format, WORDS, WORDS),
    st.lists(WORDS, max_size=6).map(lambda words: "/" + "/".join(words)),
    st.just("/oauth_token.do"),
    st.just("/simulator/faults"),
)
PARAMETERS: Final = st.sampled_from(
    (
        "sysparm_query",
        "sysparm_fields",
        "sysparm_limit",
        "sysparm_offset",
        "sysparm_display_value",
        "file_name",
        "table_name",
    )
)
FIELDS: Final = st.sampled_from(
    (
        "state",
        "urgency",
        "correlation_id",
        "comments",
        "due_date",
        "reopen_count",
        "caller_id",
        "type",
        "number",
        "sys_id",
    )
)
VALUES: Final = st.text() | st.integers() | st.booleans() | st.none() | st.floats() | st.lists(st.text(), max_size=2)
TEXTS: Final = st.text(max_size=40) | st.builds("{}{}{}".format, FIELDS, st.sampled_from(("=", ">", "LIKE")), st.text())
BODIES: Final = (
    st.binary(max_size=40) | st.just(DEEP) | st.dictionaries(FIELDS, VALUES).map(lambda body: json.dumps(body).encode())
)


QUERIES: Final = st.lists(st.tuples(PARAMETERS, TEXTS), max_size=4).map(
    lambda pairs: "&".join(f"{name}={quote(value, errors='replace')}" for name, value in pairs)
)
HEADERS: Final = st.fixed_dictionaries(
    {
        "x-sn-apikey": st.just("simulator-key"),
        "content-type": st.sampled_from(("application/json", "application/x-www-form-urlencoded", "~")),
    },
    optional={
        "x-simulator-fault": st.sampled_from(
            ("acl_hide; every=2", "drop_field", "quota_cut", "apply_late", "slow; seconds=nan", "~")
        ),
        "accept": st.just("application/json"),
    },
)
REQUESTS: Final = st.builds(
    HttpRequest,
    method=st.sampled_from(("GET", "POST", "PATCH", "TRACE")),
    path=PATHS,
    query=QUERIES,
    headers=HEADERS,
    body=BODIES,
)


@given(REQUESTS)
def test_every_request_has_an_answer(request: HttpRequest) -> None:
    service = PAGES if request.path.startswith("/simulator/") else SERVICE
    reply = service.answer(request)
    assert 200 <= reply.status < 600
    encode_reply(reply, keep=True)


def test_paths_through_references_have_an_end() -> None:
    service = ServiceNow(InstanceConfig(), url_base="http://x", clock=lambda: START)
    headers = {"x-sn-apikey": "simulator-key", "content-type": "application/json"}
    table = "/api/now/table/incident"
    assert service.answer(HttpRequest(method="POST", path=table, headers=headers, body=b"{}")).status == 201
    long = ".".join(["parent"] * 20_000)
    query = f"sysparm_query={long}.number=1^ORDERBY{long}&sysparm_fields={long}.number,number"
    reply = service.answer(HttpRequest(method="GET", path=table, query=query, headers=headers))
    assert json.loads(reply.body) == {"result": [{"number": "INC0010001"}]}
