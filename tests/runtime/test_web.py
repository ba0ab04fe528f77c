"""The pages: what they answer, who may read them, and the server as a task that starts, reports and ends cleanly."""

import asyncio
import json
import re
import signal
import socket
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

import anyio
import httpx
import pytest
from prometheus_client import CollectorRegistry, Counter
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from ecproc.config import Limits, Secret
from ecproc.errors import ConfigError, ExitCode
from ecproc.reading.queries import Queries
from ecproc.reporting import ProcessHealth
from ecproc.web.app import build_app
from ecproc.web.server import serve
from ecproc.web.state import Check

TOKEN = "0123456789abcdef"
LIMITS = Limits(web_tickets=50)


class Tickets(Queries):
    """A process with two tickets; what it says about itself can be changed."""

    def __init__(self) -> None:  # without a reader: what the pages ask is answered here
        self.registry = CollectorRegistry()
        Counter("ecproc_things", "Things.", registry=self.registry).inc()
        self.is_live = True
        self.conditions = [Check("store", True, "writable"), Check("poll", True)]
        self.asked: list[tuple[str | None, str | None, int | None, str | None]] = []
        self.documents = {"e-CS1": b'{"ticket":"e-CS1"}', "LOCAL/7 ü": b'{"ticket":"e-CS2"}'}

    def live(self) -> bool:
        return self.is_live

    def checks(self) -> Sequence[Check]:
        return self.conditions

    def version(self) -> Mapping[str, str]:
        return {"version": "0.1.0"}

    async def tickets(
        self,
        *,
        ticket_type: str | None = None,
        state: str | None = None,
        after: str | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[bytes]:
        self.asked.append((ticket_type, state, limit, after))
        for document in list(self.documents.values())[:limit]:
            yield document

    async def ticket(self, name: str, *, at: int | None = None) -> bytes | None:
        if name == "defect":
            raise RuntimeError("canary-detail")
        return self.documents.get(name)


@pytest.fixture
def state() -> Tickets:
    """Give a process to look at."""
    return Tickets()


def client_of(state: Tickets, token: str = "") -> httpx.AsyncClient:
    """A client that calls the application without a socket."""
    app = build_app(state, state, read_token=lambda: Secret(token), limits=LIMITS)
    return httpx.AsyncClient(transport=httpx.ASGITransport(app, raise_app_exceptions=False), base_url="http://ecproc")


@pytest.fixture
async def client(state: Tickets) -> AsyncIterator[httpx.AsyncClient]:
    """Give a client of an application without a token."""
    async with client_of(state) as client:
        yield client


async def test_metrics_are_served_directly_in_both_formats(client: httpx.AsyncClient) -> None:
    plain = await client.get("/metrics")
    assert plain.status_code == 200
    assert plain.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert "ecproc_things_total 1.0" in plain.text
    wanted = "application/openmetrics-text;version=1.0.0,text/plain;q=0.5"
    open_metrics = await client.get("/metrics", headers={"accept": wanted})
    assert open_metrics.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    assert open_metrics.text.endswith("# EOF\n")


@pytest.mark.parametrize("path", ["/livez", "/healthz"])
async def test_liveness_asks_for_a_restart_only_when_nothing_moves(
    path: str, client: httpx.AsyncClient, state: Tickets
) -> None:
    state.conditions = [Check("draining", False)]
    assert ((await client.get(path)).status_code, (await client.get(path)).text) == (200, "ok\n")
    state.is_live = False
    assert (await client.get(path)).status_code == 503


async def test_readiness_names_what_is_missing(client: httpx.AsyncClient, state: Tickets) -> None:
    ready = await client.get("/readyz")
    assert (ready.status_code, ready.text) == (200, "ready\n")
    assert (await client.get("/readyz?verbose")).text == "[+] store: writable\n[+] poll\nready\n"
    state.conditions = [Check("store", True), Check("draining", False, "since 10:00")]
    missing = await client.get("/readyz")
    assert (missing.status_code, missing.text) == (503, "[-] draining: since 10:00\nnot ready\n")


async def test_a_process_is_ready_while_it_can_append_and_is_not_on_its_way_out() -> None:
    works, room = [True], [True]
    health = ProcessHealth(CollectorRegistry(), works=lambda: works[-1], has_room=lambda: room[-1])

    def failing() -> list[str]:
        return [check.name for check in health.checks() if not check.ok]

    assert (health.live(), failing()) == (True, [])
    room.append(False)
    assert (health.live(), failing()) == (True, ["store"])
    health.draining = True
    works.append(False)
    assert (health.live(), failing()) == (False, ["store", "draining"])
    assert list(health.version()) == ["version", "python", "sqlite"]


async def test_version_is_json(client: httpx.AsyncClient) -> None:
    answer = await client.get("/version")
    assert (answer.json(), answer.headers["content-type"]) == ({"version": "0.1.0"}, "application/json")


async def test_tickets_come_as_one_array_of_documents(client: httpx.AsyncClient, state: Tickets) -> None:
    answer = await client.get("/api/v1/tickets?type=Incident&state=open&limit=1&after=e-CS0")
    assert answer.json() == [{"ticket": "e-CS1"}]
    assert answer.headers["content-type"] == "application/json"
    state.documents.clear()
    assert (await client.get("/api/v1/tickets")).content == b"[]"
    assert state.asked == [("Incident", "open", 1, "e-CS0"), (None, None, 50, None)]


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("limit=0", "limit must be a whole number from 1 to 50"),
        ("limit=51", "limit must be a whole number from 1 to 50"),
        ("limit=-1", "limit must be a whole number from 1 to 50"),
        ("limit=%D9%A3", "limit must be a whole number from 1 to 50"),
        ("limit=" + "9" * 5_000, "limit must be a whole number from 1 to 50"),
        ("type=incident", "type must be one of Change, Incident, Request"),
        ("sate=open", "unknown parameter sate"),
    ],
)
async def test_wrong_parameters_are_refused_in_words(
    query: str, message: str, client: httpx.AsyncClient, state: Tickets
) -> None:
    answer = await client.get(f"/api/v1/tickets?{query}")
    assert (answer.status_code, answer.json()) == (400, {"error": message})
    assert not state.asked


async def test_one_ticket_is_found_by_either_number(client: httpx.AsyncClient) -> None:
    assert (await client.get("/api/v1/tickets/e-CS1")).json() == {"ticket": "e-CS1"}
    assert (await client.get("/api/v1/tickets/LOCAL%2F7%20%C3%BC")).json() == {"ticket": "e-CS2"}


async def test_a_missing_ticket_is_named(client: httpx.AsyncClient) -> None:
    answer = await client.get("/api/v1/tickets/e-CS9")
    assert (answer.status_code, answer.json()) == (404, {"error": "no ticket e-CS9"})
    assert len((await client.get(f"/api/v1/tickets/{'x' * 5_000}")).content) < 200


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 404),
        ("POST", "/api/v1/tickets", 405),
        ("DELETE", "/api/v1/tickets/e-CS1", 405),
        ("PUT", "/metrics", 405),
    ],
)
async def test_nothing_else_is_there_and_nothing_can_be_changed(
    method: str, path: str, status: int, client: httpx.AsyncClient
) -> None:
    answer = await client.request(method, path)
    assert answer.status_code == status
    assert set(answer.json()) == {"error"}


async def test_a_defect_says_nothing_about_itself(client: httpx.AsyncClient) -> None:
    answer = await client.get("/api/v1/tickets/defect")
    assert (answer.status_code, answer.json()) == (500, {"error": "internal error"})


@pytest.mark.parametrize(
    "path", ["/metrics", "/readyz", "/version", "/api/v1/tickets", "/api/v1/tickets/x", "/nothing"]
)
@pytest.mark.parametrize("token", ["", TOKEN])
async def test_every_answer_is_private(path: str, token: str, state: Tickets) -> None:
    async with client_of(state, token) as client:
        answer = await client.get(path)
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-content-type-options"] == "nosniff"


class TestToken:
    """With a read token only health and version are open."""

    @pytest.mark.parametrize("path", ["/metrics", "/api/v1/tickets", "/api/v1/tickets/e-CS1", "/nothing"])
    @pytest.mark.parametrize(
        "header",
        [
            None,
            "",
            "Bearer",
            "Bearer ",
            f"Basic {TOKEN}",
            TOKEN,
            f"Bearer {TOKEN}x",
            f"Bearer {TOKEN[:-1]}",
            "Bearer é",
        ],
    )
    async def test_others_are_refused(self, path: str, header: str | None, state: Tickets) -> None:
        async with client_of(state, TOKEN) as client:
            headers = [] if header is None else [(b"authorization", header.encode())]
            answer = await client.get(path, headers=headers)
        assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
        assert answer.json() == {"error": "a bearer token is required"}
        assert not state.asked

    async def test_its_bearer_reads(self, state: Tickets) -> None:
        async with client_of(state, TOKEN) as client:
            for scheme in ("Bearer", "bearer"):
                answer = await client.get("/api/v1/tickets", headers={"authorization": f"{scheme} {TOKEN}"})
                assert answer.status_code == 200

    @pytest.mark.parametrize("path", ["/livez", "/healthz", "/readyz", "/version"])
    async def test_probes_need_none(self, path: str, state: Tickets) -> None:
        async with client_of(state, TOKEN) as client:
            assert (await client.get(path)).status_code == 200


@asynccontextmanager
async def serving(app: Starlette, host: str = "127.0.0.1") -> AsyncIterator[str]:
    """Serve `app` on a free port of `host` for one block; gives its address."""
    async with anyio.create_task_group() as group:
        port = await group.start(lambda *, task_status: serve(app, host, 0, limits=LIMITS, task_status=task_status))
        yield f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        group.cancel_scope.cancel()


async def test_a_rotated_token_counts_at_once(state: Tickets) -> None:
    tokens = ["the-old-read-token"]
    app = build_app(state, state, read_token=lambda: Secret(tokens[-1]), limits=LIMITS)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://ecproc") as client:

        async def ask(token: str) -> int:
            return (await client.get("/metrics", headers={"authorization": f"Bearer {token}"})).status_code

        assert (await ask("the-old-read-token"), await ask("the-new-read-token")) == (200, 401)
        tokens.append("the-new-read-token")
        assert (await ask("the-old-read-token"), await ask("the-new-read-token")) == (401, 200)


async def test_the_server_answers_on_a_real_socket(state: Tickets, capfd: pytest.CaptureFixture[str]) -> None:
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    app = build_app(state, state, read_token=Secret, limits=LIMITS)
    with anyio.fail_after(10):
        async with serving(app) as address, httpx.AsyncClient(base_url=address, trust_env=False) as client:
            assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == handlers
            answer = await client.get("/api/v1/tickets/e-CS1")
            assert json.loads(answer.content) == {"ticket": "e-CS1"}
            assert "server" not in answer.headers
            # The raw path keeps its escapes on the wire.
            assert (await client.get("/api/v1/tickets/LOCAL%2F7%20%C3%BC")).status_code == 200
    assert capfd.readouterr() == ("", "")


async def test_cancelled_it_frees_the_port_and_leaves_no_task(state: Tickets) -> None:
    app = build_app(state, state, read_token=Secret, limits=LIMITS)
    with anyio.fail_after(10):
        before = asyncio.all_tasks()
        async with serving(app) as address, httpx.AsyncClient(base_url=address, trust_env=False) as client:
            await client.get("/livez")
        assert asyncio.all_tasks() == before
    host, port = address.removeprefix("http://").split(":")
    with socket.socket() as probe:
        assert probe.connect_ex((host, int(port))) != 0


async def test_cancelled_it_ends_although_an_answer_never_comes() -> None:
    entered = anyio.Event()

    async def hang(request: Request) -> Response:
        entered.set()
        await anyio.sleep_forever()
        return PlainTextResponse("never")

    with anyio.fail_after(10):
        before = asyncio.all_tasks()
        async with anyio.create_task_group() as group, serving(Starlette(routes=[Route("/", hang)])) as address:

            async def call() -> None:
                async with httpx.AsyncClient(trust_env=False) as client:
                    assert (await client.get(address, timeout=8)).status_code == 500

            group.start_soon(call)
            await entered.wait()
        assert asyncio.all_tasks() == before


async def test_an_answer_under_way_is_finished() -> None:
    entered, release = anyio.Event(), anyio.Event()
    answers: list[str] = []

    async def wait(request: Request) -> Response:
        entered.set()
        await release.wait()
        return PlainTextResponse("finished")

    with anyio.fail_after(10):
        async with anyio.create_task_group() as group, serving(Starlette(routes=[Route("/", wait)])) as address:

            async def call() -> None:
                async with httpx.AsyncClient(trust_env=False) as client:
                    answers.append((await client.get(address, timeout=8)).text)

            group.start_soon(call)
            await entered.wait()
            asyncio.get_running_loop().call_later(0.2, release.set)
    assert answers == ["finished"]


async def test_a_busy_port_is_a_problem_with_words(state: Tickets) -> None:
    app = build_app(state, state, read_token=Secret, limits=LIMITS)
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(ConfigError) as caught:
            await serve(app, "127.0.0.1", port, limits=LIMITS)
    assert caught.value.exit_code == ExitCode.CONFIG
    assert caught.value.problems[0].message == f"cannot listen on 127.0.0.1:{port}: another process listens there"


@pytest.mark.parametrize(
    ("host", "message"),
    [("192.0.2.1", "Cannot assign requested address"), ("ä..b", "that is not a host name"), ("a..b", "")],
)
async def test_an_address_that_is_not_ours_is_a_problem_too(host: str, message: str, state: Tickets) -> None:
    app = build_app(state, state, read_token=Secret, limits=LIMITS)
    with anyio.fail_after(10), pytest.raises(ConfigError, match=f"cannot listen on {re.escape(host)}:0: {message}"):
        await serve(app, host, 0, limits=LIMITS)


async def test_oversized_headers_are_refused(state: Tickets) -> None:
    app = build_app(state, state, read_token=Secret, limits=Limits(web_header_bytes=4_096))
    with anyio.fail_after(10):
        async with anyio.create_task_group() as group:
            port = await group.start(
                lambda *, task_status: serve(
                    app, "127.0.0.1", 0, limits=Limits(web_header_bytes=4_096), task_status=task_status
                )
            )
            async with await anyio.connect_tcp("127.0.0.1", port) as stream:
                await stream.send(b"GET /livez HTTP/1.1\r\nHost: x\r\nX-Big: " + b"x" * 100_000)
                assert (await stream.receive()).startswith(b"HTTP/1.1 400 ")
            group.cancel_scope.cancel()
