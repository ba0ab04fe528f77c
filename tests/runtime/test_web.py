"""The pages: what they answer, who may read them, and the server as a task that starts, reports and ends cleanly."""

import asyncio
import itertools
import json
import re
import signal
import socket
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, closing
from functools import partial
from http import HTTPStatus
from urllib.parse import quote

import anyio
import anyio.abc
import httpx
import msgspec
import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from structlog.testing import capture_logs

from ecproc.clock import SystemClock
from ecproc.config import Limits, Secret
from ecproc.descriptors import HELD_BACK, Reserve
from ecproc.domain.refusals import WebRefusal
from ecproc.errors import ConfigError, ExitCode, StoreUnavailable
from ecproc.network import write_url
from ecproc.reading.filters import TicketFilter
from ecproc.reading.listing import EVERY
from ecproc.reading.queries import Queries
from ecproc.reporting import ProcessHealth
from ecproc.telemetry.hooks import Telemetry
from ecproc.web.app import build_app, show_cut
from ecproc.web.guard import SLOWED_AT_ONCE, SLOWED_SECONDS, Refusals
from ecproc.web.hosts import HostRule
from ecproc.web.server import serve
from ecproc.web.state import Check
from tests.scarcity import no_more_files

TOKEN = "0123456789abcdef"
LIMITS = Limits(web_tickets=50)


PROBLEM = {"title", "status", "detail"}


def problem(status: int, detail: str) -> dict[str, object]:
    """The document that says why there is no answer."""
    return {"title": HTTPStatus(status).phrase, "status": status, "detail": detail}


LIVEZ = b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


async def wait_until(condition: Callable[[], bool]) -> None:
    """Return when what happens behind a socket has come true."""
    while not condition():  # noqa: ASYNC110 - sockets set no event here
        await anyio.sleep(0.01)


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

    async def list_tickets(
        self, wanted: TicketFilter = EVERY, *, after: str | None = None, limit: int | None = None
    ) -> AsyncIterator[bytes]:
        self.asked.append((wanted.ticket_type, wanted.state, limit, after))
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


class Heard(Telemetry):
    """Whom the pages turned away."""

    def __init__(self) -> None:
        self.refused: list[str] = []

    def web_refused(self, reason: str) -> None:
        self.refused.append(reason)


class Sleeps(SystemClock):
    """A clock whose sleeps are over at once, unless `held`; it keeps them all."""

    def __init__(self) -> None:
        self.slept: list[float] = []
        self.held: anyio.Event | None = None

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        if self.held is not None:
            await self.held.wait()


def app_of(
    state: Tickets,
    *,
    hosts: HostRule | None = None,
    read_token: Callable[[], Secret] = Secret,
    limits: Limits = LIMITS,
    heard: Telemetry | None = None,
    clock: SystemClock | None = None,
    begun: bool = True,
) -> Starlette:
    """The application of that process; what is not given is as on loopback without a token."""
    clock = clock or Sleeps()
    return build_app(
        state if begun else None,
        state,
        hosts=hosts or HostRule("127.0.0.1", ()),
        steering=None,
        intake=None,
        read_token=read_token,
        command_token=Secret,
        limits=limits,
        refusals=Refusals(heard or Telemetry(), clock),
        clock=clock,
    )


def call(app: Starlette, host: str = "localhost") -> httpx.AsyncClient:
    """A client that calls an application without a socket."""
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url=f"http://{host}")


def client_of(state: Tickets, token: str = "") -> httpx.AsyncClient:
    """A client of an application with that token."""
    return call(app_of(state, read_token=lambda: Secret(token)))


@pytest.fixture
async def client(state: Tickets) -> AsyncIterator[httpx.AsyncClient]:
    """Give a client of an application without a token."""
    async with client_of(state) as client:
        yield client


@pytest.mark.requirement("R231")
async def test_metrics_are_served_directly_in_both_formats(client: httpx.AsyncClient) -> None:
    plain = await client.get("/metrics")
    assert plain.status_code == 200
    assert plain.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert "ecproc_things_total 1.0" in plain.text
    wanted = "application/openmetrics-text;version=1.0.0,text/plain;q=0.5"
    open_metrics = await client.get("/metrics", headers={"accept": wanted})
    assert open_metrics.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    assert open_metrics.text.endswith("# EOF\n")


async def test_metrics_are_made_once_for_all_who_wait_and_never_older_than_the_question(state: Tickets) -> None:
    clock = Sleeps()
    texts_made = itertools.count(1)
    Gauge("ecproc_texts", "Made.", registry=state.registry).set_function(lambda: next(texts_made))
    async with call(app_of(state, clock=clock)) as client:
        assert "ecproc_texts 1.0" in (await client.get("/metrics")).text
        clock.held = anyio.Event()
        texts: list[str] = []

        async def scrape() -> None:
            texts.append((await client.get("/metrics")).text)

        async with anyio.create_task_group() as group:
            for _ in range(30):
                group.start_soon(scrape)
            await anyio.wait_all_tasks_blocked()
            clock.held.set()
        assert ["ecproc_texts 2.0" in text for text in texts] == [True] * 30
        assert "ecproc_texts 3.0" in (await client.get("/metrics")).text


@pytest.mark.requirement("R231")
@pytest.mark.parametrize("path", ["/livez", "/healthz"])
async def test_liveness_asks_for_a_restart_only_when_nothing_moves(
    path: str, client: httpx.AsyncClient, state: Tickets
) -> None:
    state.conditions = [Check("draining", False)]
    assert ((await client.get(path)).status_code, (await client.get(path)).text) == (200, "ok\n")
    state.is_live = False
    assert (await client.get(path)).status_code == 503


@pytest.mark.requirement("R231")
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
    assert (answer.status_code, answer.json()["detail"]) == (400, message)
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["field"] in message
    assert not state.asked


async def test_one_ticket_is_found_by_either_number(client: httpx.AsyncClient) -> None:
    assert (await client.get("/api/v1/tickets/e-CS1")).json() == {"ticket": "e-CS1"}
    assert (await client.get("/api/v1/tickets/LOCAL%2F7%20%C3%BC")).json() == {"ticket": "e-CS2"}


async def test_a_missing_ticket_is_named(client: httpx.AsyncClient) -> None:
    answer = await client.get("/api/v1/tickets/e-CS9")
    assert (answer.status_code, answer.json()) == (404, problem(404, "no ticket e-CS9"))
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
    assert set(answer.json()) == PROBLEM


async def test_what_is_sent_acts_on_no_terminal_and_keeps_its_values(client: httpx.AsyncClient, state: Tickets) -> None:
    nasty = "\x9b31m \u202e \u200b \u2028 \U000e0041 \x7f \x1b"
    state.documents = {nasty: msgspec.json.encode({"ticket": nasty, "other": "\u00e4\u5c71"})}
    name = quote(nasty)
    for path in ("/api/v1/tickets", f"/api/v1/tickets/{name}", f"/api/v1/tickets/x{name}", f"/api/v1/tickets?{name}=1"):
        answer = await client.get(path)
        assert nasty in json.dumps(answer.json(), ensure_ascii=False).replace("\\u001b", "\x1b").replace(
            "\\x7f", "\x7f"
        )
        assert answer.text.isprintable()


async def test_a_defect_says_nothing_about_itself(client: httpx.AsyncClient) -> None:
    answer = await client.get("/api/v1/tickets/defect")
    assert (answer.status_code, answer.json()) == (500, problem(500, "internal error"))


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
    """With a read token only health is open."""

    @pytest.mark.parametrize("path", ["/metrics", "/version", "/api/v1/tickets", "/api/v1/tickets/e-CS1", "/nothing"])
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
        assert answer.json() == problem(401, "a bearer token is required")
        assert not state.asked

    async def test_its_bearer_reads(self, state: Tickets) -> None:
        async with client_of(state, TOKEN) as client:
            for scheme in ("Bearer", "bearer"):
                answer = await client.get("/api/v1/tickets", headers={"authorization": f"{scheme} {TOKEN}"})
                assert answer.status_code == 200

    @pytest.mark.parametrize("path", ["/livez", "/healthz", "/readyz"])
    async def test_probes_need_none(self, path: str, state: Tickets) -> None:
        async with client_of(state, TOKEN) as client:
            assert (await client.get(path)).status_code == 200


@asynccontextmanager
async def serving(
    app: Starlette,
    host: str = "127.0.0.1",
    *,
    limits: Limits = LIMITS,
    heard: Telemetry | None = None,
    reserve: Reserve | None = None,
) -> AsyncIterator[str]:
    """Serve `app` on a free port of `host` for one block; gives its address."""
    refusals = Refusals(heard or Telemetry(), SystemClock())
    with closing(reserve or Reserve()) as held:
        async with anyio.create_task_group() as group:
            served = partial(serve, app, host, 0, limits=limits, reserve=held, refusals=refusals)
            port = await group.start(served)
            yield f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
            group.cancel_scope.cancel()


async def run_server(app: Starlette, host: str, port: int) -> None:
    """Serve `app` where that may not be possible."""
    with closing(Reserve()) as reserve:
        refusals = Refusals(Telemetry(), SystemClock())
        await serve(app, host, port, limits=LIMITS, reserve=reserve, refusals=refusals)


async def test_a_rotated_token_counts_at_once(state: Tickets) -> None:
    tokens = ["the-old-read-token"]
    async with call(app_of(state, read_token=lambda: Secret(tokens[-1]))) as client:

        async def ask(token: str) -> int:
            return (await client.get("/metrics", headers={"authorization": f"Bearer {token}"})).status_code

        assert (await ask("the-old-read-token"), await ask("the-new-read-token")) == (200, 401)
        tokens.append("the-new-read-token")
        assert (await ask("the-old-read-token"), await ask("the-new-read-token")) == (401, 200)


async def test_the_server_answers_on_a_real_socket(state: Tickets, capfd: pytest.CaptureFixture[str]) -> None:
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    app = app_of(state)
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
    app = app_of(state)
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
    app = app_of(state)
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(ConfigError) as caught:
            await run_server(app, "127.0.0.1", port)
    assert caught.value.exit_code == ExitCode.CONFIG
    assert caught.value.problems[0].message == f"cannot listen on 127.0.0.1:{port}: another process listens there"


@pytest.mark.parametrize(
    ("host", "message"),
    [("192.0.2.1", "Cannot assign requested address"), ("ä..b", "that is not a host name"), ("a..b", "")],
)
async def test_an_address_that_is_not_ours_is_a_problem_too(host: str, message: str, state: Tickets) -> None:
    app = app_of(state)
    with anyio.fail_after(10), pytest.raises(ConfigError, match=f"cannot listen on {re.escape(host)}:0: {message}"):
        await run_server(app, host, 0)


async def test_oversized_headers_are_refused(state: Tickets) -> None:
    with anyio.fail_after(10):
        async with serving(app_of(state), limits=Limits(web_header_bytes=4_096)) as address:
            assert (await say(address, b"GET /livez HTTP/1.1\r\nHost: x\r\nX-Big: " + b"x" * 100_000)).startswith(
                b"HTTP/1.1 400 "
            )


async def connect(address: str) -> anyio.abc.SocketStream:
    """A connection of which nothing was said yet."""
    host, port = address.removeprefix("http://").rsplit(":", 1)
    return await anyio.connect_tcp(host.strip("[]"), int(port))


async def read_all(stream: anyio.abc.SocketStream) -> bytes:
    """All that comes until the other side ends it."""
    came = bytearray()
    try:
        async for piece in stream:
            came += piece
    except anyio.BrokenResourceError:
        pass
    return bytes(came)


async def say(address: str, request: bytes) -> bytes:
    """What a server answers to these bytes until it ends the connection."""
    async with await connect(address) as stream:
        await stream.send(request)
        return await read_all(stream)


async def test_a_process_that_has_not_begun_shows_probes_and_turns_others_away(state: Tickets) -> None:
    app = app_of(state, begun=False)
    async with call(app) as client:
        assert (await client.get("/livez")).status_code == 200
        assert (await client.get("/metrics")).status_code == 200
        for path in ("/", "/api/v1/tickets", "/api/v1/tickets/e-CS1"):
            answer = await client.get(path)
            assert (answer.status_code, answer.json()) == (503, problem(503, "not ready: it is starting"))
    async with call(app, "evil.example") as stranger:
        assert (await stranger.get("/api/v1/tickets")).status_code == 421


class TestHost:
    """A page whose own name leads here is not what the pages are for."""

    @pytest.mark.parametrize(
        "header",
        ["localhost", "LOCALHOST:8600", "localhost.", "127.0.0.1", "127.8.9.1:80", "[::1]", "[::1]:8600", "localhost:"],
    )
    async def test_on_loopback_the_machine_has_its_own_names(self, header: str, state: Tickets) -> None:
        async with call(app_of(state)) as client:
            assert (await client.get("/api/v1/tickets", headers={"host": header})).status_code == 200

    @pytest.mark.parametrize(
        "path", ["/api/v1/tickets", "/api/v1/tickets/e-CS1", "/metrics", "/version", "/healthz", "/"]
    )
    @pytest.mark.parametrize(
        "header",
        [
            "evil.example",
            "evil.example:8600",
            "localhost.evil.example",
            "127.0.0.1.nip.io",
            "localhost@evil.example",
            "evil.example:80@localhost",
            "10.0.0.1",
            "0.0.0.0:8600",
            "[fe80::1]:80",
            "localhost:80:80",
            "127.1",
            "2130706433",
            "[::1",
            "[::1]x",
            "",
            " ",
            "é",
            "localhost, evil.example",
        ],
    )
    async def test_others_get_probes_and_nothing_else(self, path: str, header: str, state: Tickets) -> None:
        heard = Heard()
        async with call(app_of(state, heard=heard)) as client:
            answer = await client.get(path, headers=[(b"host", header.encode())])
            assert (answer.status_code, set(answer.json())) == (421, PROBLEM)
            for probe in ("/livez", "/readyz"):
                assert (await client.get(probe, headers=[(b"host", header.encode())])).status_code == 200
        assert (state.asked, heard.refused) == ([], [WebRefusal.HOST])

    @pytest.mark.parametrize(
        ("listen", "names", "allowed", "refused"),
        [
            ("127.0.0.1", ("Proxy.example",), ["proxy.example:443", "localhost"], ["example", "10.0.0.1", ""]),
            ("::1", (), ["[::1]:1", "localhost"], ["evil.example"]),
            ("0.0.0.0", ("proxy.example",), ["proxy.example", "10.1.2.3:8600", "[2001:db8::1]"], ["evil.example", ""]),
            ("0.0.0.0", (), ["evil.example", "10.1.2.3", ""], []),
        ],
    )
    def test_names_of_the_operators_are_ours_too(
        self, listen: str, names: tuple[str, ...], allowed: list[str], refused: list[str]
    ) -> None:
        rule = HostRule(listen, names)
        assert [header for header in allowed if not rule.allows(header)] == []
        assert [header for header in refused if rule.allows(header)] == []


class TestGuesses:
    """Wrong tokens are counted, slowed and told, and a right one never waits for them."""

    async def test_each_is_counted_slowed_and_told_without_the_token(self, state: Tickets) -> None:
        heard, clock = Heard(), Sleeps()
        with capture_logs() as lines:
            async with call(app_of(state, read_token=lambda: Secret(TOKEN), heard=heard, clock=clock)) as client:
                for guess in ("guessed-canary-1", "guessed-canary-2"):
                    answer = await client.get("/metrics", headers={"authorization": f"Bearer {guess}"})
                    assert answer.status_code == 401
                assert (await client.get("/metrics")).status_code == 401
        assert heard.refused == [WebRefusal.WRONG_TOKEN, WebRefusal.WRONG_TOKEN, WebRefusal.NO_TOKEN]
        assert clock.slept == [SLOWED_SECONDS, SLOWED_SECONDS]
        assert [(line["event"], line["log_level"], line["peer"]) for line in lines] == [("web", "warning", "127.0.0.1")]
        assert "canary" not in str(lines)

    async def test_a_flood_of_them_holds_nothing_and_locks_nobody_out(self, state: Tickets) -> None:
        clock = Sleeps()
        clock.held = anyio.Event()
        statuses: list[int] = []
        async with call(app_of(state, read_token=lambda: Secret(TOKEN), clock=clock)) as client:

            async def guess() -> None:
                statuses.append((await client.get("/metrics", headers={"authorization": "Bearer wrong"})).status_code)

            async with anyio.create_task_group() as group:
                for _ in range(SLOWED_AT_ONCE + 5):
                    group.start_soon(guess)
                await anyio.wait_all_tasks_blocked()
                assert statuses == [429] * 5
                right = await client.get("/metrics", headers={"authorization": f"Bearer {TOKEN}"})
                assert right.status_code == 200
                clock.held.set()
        assert statuses == [429] * 5 + [401] * SLOWED_AT_ONCE

    @pytest.mark.parametrize(
        "header",
        [b"Bearer \xff\xfe", b"Bearer " + b"x" * 20_000, b"Bearer \xc3\xa9", b"\x01", b"Bearer  a  b", b"Digest"],
    )
    async def test_no_header_breaks_it(self, header: bytes, state: Tickets) -> None:
        async with client_of(state, TOKEN) as client:
            assert (await client.get("/metrics", headers=[(b"authorization", header)])).status_code == 401


class TestSlowClients:
    """Whoever is slow or silent loses the connection, and nobody else notices."""

    LIMITS = Limits(web_tickets=50, web_connections=8, web_wait_seconds=1.0)

    @pytest.mark.parametrize(
        ("begun", "refused"),
        [
            (b"", []),
            (b"GET /livez HTTP/1.1\r\nHost: x\r\nX-Slow: ", [WebRefusal.SLOW]),
            (b"GET /nothing HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n12", []),
            (b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n", []),
        ],
    )
    async def test_a_request_that_does_not_come_whole_is_cut(
        self, begun: bytes, refused: list[str], state: Tickets
    ) -> None:
        heard = Heard()
        with anyio.fail_after(10):
            async with serving(app_of(state), limits=self.LIMITS, heard=heard) as address:
                answer = await say(address, begun)
        assert (answer.startswith(b"HTTP/1.1 "), heard.refused) == (begun.endswith((b"\n", b"12")), refused)

    async def test_bytes_one_by_one_win_no_time(self, state: Tickets) -> None:
        with anyio.fail_after(10):
            async with serving(app_of(state), limits=self.LIMITS) as address, await connect(address) as stream:
                with pytest.raises((anyio.BrokenResourceError, anyio.EndOfStream)):
                    while True:
                        await stream.send(b"G")
                        with anyio.move_on_after(0.02):
                            await stream.receive()

    async def test_an_answer_that_nobody_reads_is_cut(self, state: Tickets) -> None:
        state.documents = {str(number): b'"%s"' % (b"x" * 1_000_000) for number in range(40)}
        heard = Heard()
        with anyio.fail_after(20):
            async with serving(app_of(state), limits=self.LIMITS, heard=heard) as address:
                async with await connect(address) as stream:
                    await stream.send(b"GET /api/v1/tickets HTTP/1.1\r\nHost: localhost\r\n\r\n")
                    await wait_until(lambda: WebRefusal.SLOW in heard.refused)
                    assert len(await read_all(stream)) < 40_000_000
                # The same answer to who reads is whole.
                whole = await say(
                    address, b"GET /api/v1/tickets HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
                )
        assert whole.count(b"x" * 1_000_000) == 40
        assert heard.refused == [WebRefusal.SLOW]

    async def test_more_connections_than_there_may_be_cost_the_oldest_silent_ones(self, state: Tickets) -> None:
        heard = Heard()
        limits = Limits(web_tickets=50, web_connections=8, web_wait_seconds=8.0)
        with anyio.fail_after(10):
            async with serving(app_of(state), limits=limits, heard=heard) as address:
                silent = [await connect(address) for _ in range(20)]
                for path in (b"/livez", b"/readyz", b"/metrics", b"/api/v1/tickets"):
                    answer = await say(
                        address, b"GET %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n" % path
                    )
                    assert answer.startswith(b"HTTP/1.1 200 ")
                assert await read_all(silent[0]) == b""
                for stream in silent:
                    await stream.aclose()
        assert set(heard.refused) == {WebRefusal.CROWDED}

    async def test_where_no_answer_has_a_place_probes_and_metrics_still_do(self) -> None:
        state, release, entered = Tickets(), anyio.Event(), anyio.Event()

        async def hang(name: str, *, at: int | None = None) -> bytes | None:
            entered.set()
            await release.wait()
            return b"{}"

        state.ticket = hang  # type: ignore[method-assign]
        heard = Heard()
        async with call(app_of(state, limits=Limits(web_answers=1), heard=heard)) as client:
            async with anyio.create_task_group() as group:
                group.start_soon(client.get, "/api/v1/tickets/1")
                await entered.wait()
                assert (await client.get("/api/v1/tickets")).status_code == 503
                for path in ("/livez", "/readyz", "/metrics", "/version"):
                    assert (await client.get(path)).status_code == 200
                release.set()
            assert (await client.get("/api/v1/tickets/1")).status_code == 200
        assert heard.refused == [WebRefusal.BUSY]

    async def test_whoever_reads_nothing_closes_the_api_to_nobody(self, state: Tickets) -> None:
        state.documents = {str(number): b'"%s"' % (b"x" * 1_000_000) for number in range(40)}
        heard = Heard()
        limits = Limits(web_tickets=50, web_answers=3, web_wait_seconds=60.0)
        slow = b"GET /api/v1/tickets HTTP/1.1\r\nHost: localhost\r\n\r\n"
        ask = b"GET /api/v1/tickets?limit=1 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        with anyio.fail_after(20):
            app = app_of(state, limits=limits, heard=heard)
            async with serving(app, limits=limits, heard=heard) as address, AsyncExitStack() as stack:
                for _ in range(3):
                    stream = await stack.enter_async_context(await connect(address))
                    await stream.send(slow)
                    await stream.receive(1)  # it is answered now
                while (answer := await say(address, ask)).startswith(b"HTTP/1.1 503 "):
                    assert WebRefusal.SLOW not in heard.refused
                assert answer.startswith(b"HTTP/1.1 200 ")
                assert answer.count(b"x") > 1_000_000
        assert heard.refused.count(WebRefusal.SLOW) == 1

    async def test_a_request_has_its_time_however_late_it_begins(self, state: Tickets) -> None:
        loop, wait = asyncio.get_running_loop(), 3.0  # whoever is late by less on a busy machine still shows it
        limits = Limits(web_tickets=50, web_connections=8, web_wait_seconds=wait)
        with anyio.fail_after(10 * wait):
            async with serving(app_of(state), limits=limits) as address, await connect(address) as stream:
                await stream.send(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
                await stream.receive()
                late = loop.time() + 0.7 * wait
                await anyio.sleep_until(late)
                await stream.send(LIVEZ[:10])
                await anyio.sleep_until(late + 0.7 * wait)
                await stream.send(LIVEZ[10:])
                assert (await read_all(stream)).startswith(b"HTTP/1.1 200 ")

    async def test_an_answer_on_its_way_is_not_cut_for_a_newcomer_while_another_is_silent(self, state: Tickets) -> None:
        document = b'"%s"' % (b"x" * 1_000_000)
        state.documents = {"big": document}
        limits = Limits(web_tickets=50, web_connections=2, web_wait_seconds=60.0)
        with anyio.fail_after(10):
            async with (
                serving(app_of(state), limits=limits) as address,
                await connect(address) as reader,
                await connect(address) as silent,
            ):
                await reader.send(b"GET /api/v1/tickets/big HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                begun = await reader.receive(1)
                await silent.send(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
                await silent.receive()  # it rests for less time than the reader's answer is complete
                assert (await say(address, LIVEZ)).startswith(b"HTTP/1.1 200 ")
                assert (begun + await read_all(reader)).endswith(document)
                assert await read_all(silent) == b""


async def read_body(request: Request) -> Response:
    """Tell how long the body was."""
    return PlainTextResponse(str(len(await request.body())))


class TestBodies:
    """A body comes whole, in time and in size, or not at all."""

    LIMITS = Limits(web_wait_seconds=1.0, web_body_bytes=100_000)
    APP = Starlette(routes=[Route("/", read_body, methods=["POST"])], exception_handlers={ClientDisconnect: show_cut})

    async def test_one_that_fits_is_read(self) -> None:
        request = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\nConnection: close\r\n\r\n" + b"x" * 100_000
        with anyio.fail_after(10):
            async with serving(self.APP, limits=self.LIMITS) as address:
                assert (await say(address, request)).endswith(b"100000")

    @pytest.mark.parametrize("head", [b"Content-Length: 50000", b"Transfer-Encoding: chunked"])
    async def test_half_of_one_is_cut_also_where_it_is_waited_for(self, head: bytes) -> None:
        heard = Heard()
        with anyio.fail_after(10):
            async with serving(self.APP, limits=self.LIMITS, heard=heard) as address:
                assert not await say(address, b"POST / HTTP/1.1\r\nHost: x\r\n%s\r\n\r\n5\r\nhe" % head)
        assert heard.refused == [WebRefusal.SLOW]

    async def test_bytes_of_one_now_and_then_win_no_time(self) -> None:
        with anyio.fail_after(10):
            async with serving(self.APP, limits=self.LIMITS) as address, await connect(address) as stream:
                await stream.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 50000\r\n\r\n")
                with pytest.raises((anyio.BrokenResourceError, anyio.EndOfStream)):
                    while True:
                        await stream.send(b"x")
                        with anyio.move_on_after(0.02):
                            await stream.receive()

    @pytest.mark.parametrize("head", [b"Content-Length: 1000000000", b"Transfer-Encoding: chunked"])
    async def test_one_without_end_is_cut_whoever_reads_it(self, head: bytes, state: Tickets) -> None:
        piece = b"FFFF\r\n" + b"x" * 0xFFFF + b"\r\n"
        for path in (b"/", b"/api/v1/tickets"):
            heard, sent = Heard(), 0
            app = self.APP if path == b"/" else app_of(state, heard=heard)
            with anyio.fail_after(10):
                async with serving(app, limits=self.LIMITS, heard=heard) as address, await connect(address) as stream:
                    await stream.send(b"POST %s HTTP/1.1\r\nHost: localhost\r\n%s\r\n\r\n" % (path, head))
                    with pytest.raises((anyio.BrokenResourceError, anyio.EndOfStream)):
                        while True:
                            await stream.send(piece)
                            sent += len(piece)
            assert heard.refused == [WebRefusal.TOO_LARGE]
            assert sent < 20_000_000  # the system's buffers, and no more

    async def test_one_that_announces_too_much_is_told_so(self, state: Tickets) -> None:
        heard = Heard()
        async with call(app_of(state, heard=heard, limits=self.LIMITS)) as client:
            answer = await client.post("/api/v1/tickets", content=b"x" * 100_001)
        assert (answer.status_code, answer.json()) == (413, problem(413, "a body has 100000 bytes at most"))
        assert heard.refused == [WebRefusal.TOO_LARGE]


class TestOutOfDescriptors:
    """Where no file can be opened, whoever asks something is still answered."""

    async def test_whoever_asks_is_answered_and_the_silent_make_way(self, state: Tickets) -> None:
        heard, loop = Heard(), asyncio.get_running_loop()
        with anyio.fail_after(20):
            async with serving(app_of(state), heard=heard) as address:
                host, port = address.removeprefix("http://").split(":")
                clients = [socket.socket() for _ in range(HELD_BACK + 4)]
                with no_more_files():
                    for client in clients:
                        client.setblocking(False)
                        await loop.sock_connect(client, (host, int(port)))
                    await loop.sock_sendall(clients[-1], LIVEZ)
                    assert (await loop.sock_recv(clients[-1], 1_000)).startswith(b"HTTP/1.1 200 ")
                for client in clients:
                    client.close()
                assert (await say(address, LIVEZ)).startswith(b"HTTP/1.1 200 ")
        assert set(heard.refused) == {WebRefusal.CROWDED}

    def test_a_reserve_is_spent_and_filled_again(self) -> None:
        with closing(Reserve()) as reserve:
            assert [reserve.spend() for _ in range(HELD_BACK + 1)] == [True] * HELD_BACK + [False]
            reserve.refill()
            assert reserve.spend()


class TestHostileRequests:
    """What no client of ours sends."""

    LIMITS = Limits(web_wait_seconds=1.0)

    @pytest.mark.parametrize(
        "request_bytes",
        [
            b"GET /livez HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx",
            b"GET /livez HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
            b"GET /livez HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked, gzip\r\n\r\n",
            b"GET /livez HTTP/1.1\r\n\r\n",
            b"GET /livez HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
            b"GET /livez HTTP/1.1\r\nHost: x\r\nA\x00B: y\r\n\r\n",
            b"GET /livez HTTP/1.1\nHost: x\r\nX : y\r\n\r\n",
            b"GET /a b HTTP/1.1\r\nHost: x\r\n\r\n",
            b"GET /\xff HTTP/1.1\r\nHost: x\r\n\r\n",
            b"GET /" + b"x" * 60_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
            b"\x00" * 64 + b"\r\n\r\n",
        ],
    )
    async def test_no_http_is_a_400(self, request_bytes: bytes, state: Tickets) -> None:
        heard = Heard()
        with anyio.fail_after(10):
            async with serving(app_of(state), heard=heard) as address:
                answer = await say(address, request_bytes)
                assert answer.startswith(b"HTTP/1.1 400 ")
                assert json.loads(answer.partition(b"\r\n\r\n")[2]) == problem(400, "this is no valid HTTP")
                assert (await say(address, LIVEZ)).startswith(b"HTTP/1.1 200 ")
        assert heard.refused == [WebRefusal.MALFORMED]

    @pytest.mark.parametrize("after", [b"\x00\x01\x02\r\n\r\n", b"5;\r\nxx", b"zz\r\n\r\n"])
    async def test_nonsense_behind_a_request_ends_the_connection_only(
        self, after: bytes, state: Tickets, capfd: pytest.CaptureFixture[str]
    ) -> None:
        with anyio.fail_after(10):
            async with serving(app_of(state), limits=self.LIMITS) as address:
                chunked = b"POST /livez HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
                async with await connect(address) as stream:
                    await stream.send(chunked)
                    await stream.receive()
                    await stream.send(after)
                    await read_all(stream)
                assert (await say(address, LIVEZ)).startswith(b"HTTP/1.1 200 ")
        assert "Traceback" not in "".join(capfd.readouterr())

    async def test_a_length_beside_chunks_smuggles_nothing(self, state: Tickets) -> None:
        smuggled = b"GET /api/v1/tickets HTTP/1.1\r\nHost: localhost\r\n\r\n"
        request = (
            b"POST /livez HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
        )
        with anyio.fail_after(10):
            async with serving(app_of(state), limits=self.LIMITS) as address:
                await say(address, request % (5 + len(smuggled)) + smuggled)
        assert state.asked == []

    async def test_pipelined_requests_are_answered_in_order(self, state: Tickets) -> None:
        with anyio.fail_after(10):
            async with serving(app_of(state)) as address:
                paths = [b"/livez", b"/nothing", b"/api/v1/tickets/e-CS1"]
                heads = [b"GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n" % path for path in paths]
                answer = await say(address, b"".join(heads) + LIVEZ)
        assert re.findall(rb"HTTP/1.1 (\d+)", answer) == [b"200", b"404", b"200", b"200"]

    @pytest.mark.parametrize(
        "path", ["/livez", "/readyz", "/metrics", "/version", "/api/v1/tickets", "/api/v1/tickets/e-CS1"]
    )
    async def test_head_answers_as_get_does_without_a_body(self, path: str, state: Tickets) -> None:
        async with serving(app_of(state)) as address:
            answer = await say(
                address, f"HEAD {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode()
            )
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert answer.endswith(b"\r\n\r\n")

    @pytest.mark.parametrize(
        "number",
        ["%00", "%0d%0aX-Evil:%20y", "..%2f..%2fetc%2fpasswd", "../../metrics", "%ff%fe", "%F0%9F%98%80", "%25"],
    )
    async def test_no_number_is_more_than_a_number(self, number: str, state: Tickets) -> None:
        async with serving(app_of(state)) as address:
            request = f"GET /api/v1/tickets/{number} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
            head, _, body = (await say(address, request.encode())).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 404 ")
        assert b"x-evil" not in head.lower()
        assert set(json.loads(body)) == PROBLEM


async def test_a_log_that_cannot_be_read_is_said_to_be_so(state: Tickets) -> None:
    async def fail(name: str, *, at: int | None = None) -> bytes | None:
        raise StoreUnavailable("canary-detail")

    state.ticket = fail  # type: ignore[method-assign]
    async with client_of(state) as client:
        answer = await client.get("/api/v1/tickets/e-CS1")
    assert (answer.status_code, answer.json()) == (503, problem(503, "the log cannot be read now"))


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:1"),
        ("::1", "http://[::1]:1"),
        ("0.0.0.0", "http://127.0.0.1:1"),
        ("::", "http://[::1]:1"),
        ("fe80::1%eth0", "http://[fe80::1%25eth0]:1"),
        ("localhost", "http://localhost:1"),
    ],
)
def test_an_address_is_printed_as_one_that_can_be_opened(host: str, url: str) -> None:
    assert write_url(host, 1) == url
