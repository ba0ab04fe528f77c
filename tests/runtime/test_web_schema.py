"""Requests made from the OpenAPI document, right and wrong: each answer, with a token and without, is as it says."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import FailureGroup
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi import checks
from starlette.applications import Starlette
from starlette.routing import Route

from ecproc.attachments.store import ContentStore
from tests.seeded import CHANGE, INCIDENT, SECOND, UNREADABLE, Disk, Obedient, fill_disk, open_intake
from tests.web import Restless, call_app, serve_log

EXAMPLES: Final = 500
COMMANDS: Final = "/api/v1/commands"
TOKEN: Final = "0123456789abcdef"
OPEN: Final = ("/livez", "/readyz", "/healthz")
"""What needs no token."""

CHECKS: Final = [
    not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
]
"""Of a library's own, those that look at one answer; what may be sent without a token is asked here."""

JUDGED: Final = [checks.negative_data_rejection, checks.positive_data_acceptance]
"""Whether right requests are taken and wrong ones refused."""

KNOWN: Final = {
    "number": (INCIDENT, "LOCAL-1"),
    "key": (f"create:{INCIDENT}:g1", f"att:{INCIDENT}:abc", "k-1"),
    "name": ("5", UNREADABLE),
    "ticket": (INCIDENT, "LOCAL-1", SECOND, CHANGE),
}
"""What is there under the name of a path's variable part or a body's member: nobody hits on it by chance."""
NOTE: Final = {"kind": "note", "ticket": INCIDENT, "body": "seen"}


class Served:
    """A process with a log, in this thread, and the document that it gives."""

    def __init__(self, folder: Path) -> None:
        self._loop = asyncio.new_event_loop()
        self._loop.run_until_complete(ContentStore(folder).sweep())
        disk = self._loop.run_until_complete(fill_disk())
        self.app = serve_all(disk, folder, token=TOKEN)
        self._client = call_app(self.app)
        self.ask("POST", "/api/v1/commands", headers={"Idempotency-Key": "k-1"}, json=NOTE)
        self.schema = schemathesis.openapi.from_dict(self.ask("GET", "/api/v1/openapi.json").json())

    def ask(self, method: str, url: str, *, token: str = TOKEN, **more: Any) -> httpx.Response:
        """The answer to one request."""
        headers = {**more.pop("headers", {}), **({"authorization": f"Bearer {token}"} if token else {})}
        request = self._client.build_request(method, url, headers=headers, **more)
        return self._loop.run_until_complete(self._client.send(request))

    def close(self) -> None:
        """End it."""
        self._loop.run_until_complete(self._client.aclose())
        self._loop.close()


def serve_all(disk: Disk, folder: Path, token: str = "") -> Starlette:
    """Everything that can be asked and changed."""
    clock = Restless()
    log = Obedient(disk, clock)
    intake = open_intake(disk, log, folder=folder, clock=clock)
    return serve_log(disk, token=token, acting=log, intake=intake, clock=clock)


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Served]:
    """Give a process of which nothing was asked."""
    fresh = Served(tmp_path)
    yield fresh
    fresh.close()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Give a process to ask what changes nothing."""
    served = Served(tmp_path_factory.mktemp("served"))
    yield served
    served.close()


ROUTES: Final = [route for route in serve_all(Disk(), Path()).routes if isinstance(route, Route) and route.methods]
OPERATIONS: Final = [
    (method, route.path.replace(":path", "")) for route in ROUTES for method in route.methods or () if method != "HEAD"
]
"""Everything that can be asked, with its path as the document writes it."""
PATHS: Final = list(dict.fromkeys(path for _, path in OPERATIONS))


@pytest.mark.slow
@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_every_answer_is_as_the_document_says(method: str, path: str, fresh: Served) -> None:
    served, operation = fresh, fresh.schema[path][method]
    takes_something = bool(len(operation.query) or len(operation.path_parameters) or len(operation.body))
    right, wrong = GenerationMode.POSITIVE, GenerationMode.NEGATIVE
    modes = [right, right, right, wrong] if takes_something else [right]  # a wrong one takes long to make
    named = [part.name for part in operation.path_parameters] or (["ticket"] if path == COMMANDS else [])
    known = st.sampled_from([None, *(KNOWN[name] for name in named)]).flatmap(
        lambda words: st.none() if words is None else st.sampled_from(words)
    )
    more = st.dictionaries(st.text(st.characters(codec="utf-8"), max_size=8), st.text(max_size=8), max_size=2)
    statuses: Counter[int] = Counter()
    refused = served.ask("GET", "/version", token="")

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(
        case=st.one_of([operation.as_strategy(generation_mode=mode) for mode in modes]),
        name=known,
        more=st.just({}) if takes_something else more,
    )
    def ask(case: Any, name: str | None, more: dict[str, str]) -> None:
        if name is not None and path == COMMANDS:
            case.body = {**case.body, "ticket": name} if isinstance(case.body, dict) else case.body
        elif name is not None:
            (part,) = case.path_parameters
            case.path_parameters = {part: name}
        sent = case.as_transport_kwargs(base_url="http://localhost")
        request: dict[str, Any] = {
            "params": {**(sent.get("params") or {}), **more},
            "headers": dict(sent.get("headers") or {}),
        }
        for kind in ("json", "content", "data"):
            if kind in sent:
                request["content" if kind == "data" else kind] = sent[kind]
        answer = served.ask(method, sent["url"], **request)
        judged = [] if more or name is not None else JUDGED
        case.validate_response(answer, checks=[*CHECKS, *judged])
        statuses[answer.status_code] += 1
        without = served.ask(method, sent["url"], token="", **request)
        if path in OPEN:
            assert without.status_code == answer.status_code
        else:
            assert (without.status_code, without.content) == (refused.status_code, refused.content)

    ask()
    assert statuses.total() >= EXAMPLES
    assert statuses[200] or method == "POST"
    assert statuses[202] or path != COMMANDS
    assert takes_something <= bool(statuses[400] or statuses[404])


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "QUERY"])
def test_other_methods_are_refused_with_those_there_are(method: str, path: str, served: Served) -> None:
    described = {name.upper() for name in served.schema.raw_schema["paths"][path]}
    if method in described:
        return
    answer = served.ask(method, path.replace("{", "").replace("}", ""))
    assert answer.status_code == 405
    assert {name.strip() for name in answer.headers["allow"].split(",")} == described | (
        {"HEAD"} if "GET" in described else set()
    )


def test_what_has_no_token_is_refused_as_the_document_says(served: Served) -> None:
    answer = served.ask("GET", "/version", token="")
    assert answer.status_code == 401
    served.schema["/version"]["GET"].Case().validate_response(answer, checks=CHECKS)


@pytest.mark.parametrize(
    ("status", "document"), [(200, {"version": 7}), (200, []), (418, {}), (404, {"title": "", "status": 404})]
)
def test_an_answer_that_is_not_as_the_document_says_is_found(status: int, document: object, served: Served) -> None:
    answer = httpx.Response(status, json=document, request=httpx.Request("GET", "http://localhost/version"))
    answer.elapsed = timedelta()
    with pytest.raises(FailureGroup):
        served.schema["/version"]["GET"].Case().validate_response(answer, checks=CHECKS)
