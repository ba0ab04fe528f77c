"""What the API tells of the log: lines and streams of events, entries, quarantine; who asks; and the document of it."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import httpx
import msgspec
import pytest

from ecproc.clock import SystemClock
from ecproc.config import Limits
from ecproc.domain.log import Batch, NewEvent, RecordedEvent
from ecproc.domain.refusals import WebRefusal
from ecproc.fold.recorded import Kind
from ecproc.web.app import describe_all
from tests.runtime.test_web import Heard, problem, serving, wait_until
from tests.seeded import BROKEN, CANARY, INCIDENT, SECOND, UNREADABLE, Disk, fill_disk
from tests.web import Restless, as_local, call_app, serve_log

TOKEN = "0123456789abcdef"
DOWNLOAD = f"att:{INCIDENT}:abc"
FOLLOW = {"accept": "text/event-stream"}


@pytest.fixture
async def disk() -> Disk:
    """Give a log with a bit of everything."""
    return await fill_disk()


@pytest.fixture
async def client(disk: Disk) -> AsyncIterator[httpx.AsyncClient]:
    """Give a client of the process that holds it."""
    async with call_app(serve_log(disk, limits=Limits(web_tickets=3, web_events=5))) as client:
        yield client


async def positions(client: httpx.AsyncClient, query: str) -> list[int]:
    answer = await client.get(f"/api/v1/events{query}")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/x-ndjson")
    return [json.loads(line)["position"] for line in answer.text.splitlines()]


class TestEvents:
    """The log a page at a time."""

    async def test_a_page_goes_on_where_the_one_before_it_ended(self, client: httpx.AsyncClient, disk: Disk) -> None:
        end = (await disk.head()).position
        found: list[int] = []
        while page := await positions(client, f"?after={found[-1] if found else 0}"):
            assert len(page) <= 5
            found += page
        assert found == list(range(1, end + 1))
        assert await positions(client, "?after=2&limit=2") == [3, 4]
        assert await positions(client, f"?after={2**63 - 1}") == []

    async def test_one_stream_is_named_by_any_of_its_names(self, client: httpx.AsyncClient) -> None:
        own = await positions(client, f"?stream={INCIDENT}")
        assert own == await positions(client, "?stream=LOCAL-1") == await positions(client, "?stream=cs0000001")
        answer = await client.get("/api/v1/events?stream=e-CS9")
        wanted = problem(404, "no ticket e-CS9") | {"field": "stream"}
        assert (answer.status_code, answer.json()) == (404, wanted)

    async def test_lines_are_masked_and_harmless(self, client: httpx.AsyncClient, disk: Disk) -> None:
        await disk.receive(INCIDENT, "Create", {"shortDescription": "\x9b31m\u2028\u202e"})
        text = "".join([(await client.get(f"/api/v1/events?after={after}")).text for after in range(0, 30, 5)])
        assert CANARY not in text
        assert text.replace("\n", "").isprintable()

    @pytest.mark.parametrize(
        ("query", "field"), [("after=-1", "after"), ("after=x", "after"), ("limit=6", "limit"), ("follow=1", "follow")]
    )
    async def test_what_cannot_be_meant_is_named(self, query: str, field: str, client: httpx.AsyncClient) -> None:
        answer = await client.get(f"/api/v1/events?{query}")
        assert (answer.status_code, answer.json()["field"]) == (400, field)


class TestOutbox:
    """Entries, by the filters of the command line."""

    async def keys(self, client: httpx.AsyncClient, query: str = "") -> list[str]:
        answer = await client.get(f"/api/v1/outbox{query}")
        assert answer.status_code == 200, answer.text
        return [entry["key"] for entry in answer.json()]

    async def test_pages_follow_each_other_and_done_ones_come_where_asked_for(self, client: httpx.AsyncClient) -> None:
        waiting = await self.keys(client)
        assert DOWNLOAD in waiting
        assert f"create:{INCIDENT}:g1" not in waiting
        found: list[str] = []
        while page := await self.keys(client, "?all=true&limit=2" + (f"&after={found[-1]}" if found else "")):
            found += page
        assert set(waiting) < set(found)
        assert len(set(found)) == len(found)
        assert await self.keys(client, "?state=completed") == [f"create:{INCIDENT}:g1"]

    async def test_each_filter_leaves_what_it_names(self, client: httpx.AsyncClient) -> None:
        assert await self.keys(client, "?lane=attachments") == [DOWNLOAD]
        assert await self.keys(client, "?kind=download_attachment&ticket=LOCAL-1&reason=403%20FROM") == [DOWNLOAD]
        assert await self.keys(client, f"?lane=attachments&ticket={SECOND}") == []

    @pytest.mark.parametrize(
        ("query", "status", "field", "allowed"),
        [
            ("lane=dest", 400, "lane", ["attachments", "bridge", "desk"]),
            ("all=yes", 400, "all", ["false", "true"]),
            ("after=create:e-CS9:g1", 404, "after", None),
            ("ticket=e-CS9", 404, "ticket", None),
            ("state=parked&state=parked", 400, "state", None),
        ],
    )
    async def test_a_filter_that_cannot_be_meant_is_named(
        self, query: str, status: int, field: str, allowed: list[str] | None, client: httpx.AsyncClient
    ) -> None:
        answer = await client.get(f"/api/v1/outbox?{query}")
        told = answer.json()
        assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
        assert (told["status"], told["field"], told.get("allowed")) == (status, field, allowed)

    async def test_one_entry_is_shown_whole(self, client: httpx.AsyncClient) -> None:
        answer = await client.get(f"/api/v1/outbox/{DOWNLOAD}")
        entry = answer.json()
        assert (entry["key"], entry["cause"]["kind"], len(entry["events"])) == (DOWNLOAD, "MessageReceived", 1)
        assert CANARY not in answer.text
        missing = await client.get("/api/v1/outbox/create:e-CS9:g1")
        assert (missing.status_code, missing.json()) == (404, problem(404, "no outbox entry create:e-CS9:g1"))


class TestQuarantine:
    """Messages that could not be taken."""

    async def test_they_are_listed_and_one_is_shown_by_either_name(self, client: httpx.AsyncClient) -> None:
        (listed,) = (await client.get("/api/v1/quarantine")).json()
        assert listed["stream"] == UNREADABLE
        for name in (listed["position"], listed["message_id"]):
            shown = (await client.get(f"/api/v1/quarantine/{name}")).json()
            assert {member: shown[member] for member in listed} == listed
            assert shown["bad_byte"]["offset"] == BROKEN.index(b"\xff")
            assert shown["now"]["taken"] is False
        assert (await client.get(f"/api/v1/quarantine?after={listed['position']}")).json() == []
        assert (await client.get("/api/v1/quarantine?reason=too_deep")).json() == []
        assert (await client.get("/api/v1/quarantine/m-1")).status_code == 404
        assert CANARY not in (await client.get(f"/api/v1/quarantine/{listed['position']}")).text


class TestRole:
    """Who comes by the control socket needs no token, and calls the server by a fixed name."""

    async def test_local_requests_need_no_token(self, disk: Disk) -> None:
        app = serve_log(disk, token=TOKEN)
        async with call_app(app) as stranger, call_app(as_local(app)) as local:
            for path in ("/api/v1/tickets", "/api/v1/events", "/api/v1/openapi.json", "/version"):
                assert (await stranger.get(path)).status_code == 401
                assert (await local.get(path)).status_code == 200
        async with call_app(as_local(app), "evil.example") as rebound:
            assert (await rebound.get("/api/v1/tickets")).status_code == 421

    async def test_answers_to_others_take_no_place_of_theirs(self, disk: Disk) -> None:
        app = serve_log(disk, limits=Limits(web_answers=1))
        entered, release = anyio.Event(), anyio.Event()
        read = disk.head

        async def hang() -> object:
            entered.set()
            await release.wait()
            return await read()

        disk.head = hang  # type: ignore[assignment,method-assign]
        async with call_app(app) as other, call_app(as_local(app)) as local, anyio.create_task_group() as tasks:
            tasks.start_soon(other.get, "/api/v1/events")
            await entered.wait()
            assert (await other.get("/api/v1/quarantine")).status_code == 503
            assert (await local.get("/api/v1/quarantine")).status_code == 200
            release.set()


class Stream:
    """What a follower hears."""

    def __init__(self, response: httpx.Response) -> None:
        self.status = response.status_code
        self._chunks = response.aiter_text()
        self._text = ""

    async def read(self, count: int) -> list[tuple[int, int]]:
        """The ids and positions of the next so many events."""
        while len(found := re.findall(r"id: (\d+)\ndata: (.*)\n\n", self._text)) < count:
            self._text += await anext(self._chunks)
        *_, end = [match.end() for match in re.finditer(r"id: .*\ndata: .*\n\n", self._text)][:count]
        self._text = self._text[end:]
        return [(int(number), json.loads(data)["position"]) for number, data in found[:count]]

    async def read_silence(self) -> None:
        """Return once it was told that there is nothing to tell."""
        while ": still here\n\n" not in self._text:
            self._text += await anext(self._chunks)

    async def read_end(self) -> str:
        """The rest, once it ends."""
        return self._text + "".join([chunk async for chunk in self._chunks])


@asynccontextmanager
async def following(address: str, query: str = "", **headers: str) -> AsyncIterator[Stream]:
    """Follow the log there for one block."""
    async with (
        httpx.AsyncClient(base_url=address, trust_env=False, timeout=10) as client,
        client.stream("GET", f"/api/v1/events{query}", headers={**FOLLOW, **headers}) as response,
    ):
        yield Stream(response)


class TestFollowing:
    """`Accept: text/event-stream` goes on with what is appended."""

    async def test_it_tells_what_was_and_what_comes_and_goes_on_after_the_last_id(self, disk: Disk) -> None:
        end = (await disk.head()).position
        with anyio.fail_after(20):
            async with serving(serve_log(disk, clock=SystemClock())) as address:
                async with following(address, "?after=1") as stream:
                    assert await stream.read(end - 1) == [(number, number) for number in range(2, end + 1)]
                    await disk.receive(INCIDENT, "Update", {"ticketType": "Incident", "changed": {}})
                    assert await stream.read(1) == [(end + 1, end + 1)]
                async with following(address, "?after=1", **{"last-event-id": str(end - 1)}) as stream:
                    assert await stream.read(2) == [(end, end), (end + 1, end + 1)]
                async with following(address, f"?stream={SECOND}") as stream:
                    own = [event.position for event in await disk.read_stream(SECOND)]
                    assert [number for number, _ in await stream.read(len(own))] == own

    async def test_silence_is_filled_and_the_end_of_the_server_ends_it_in_order(self, disk: Disk) -> None:
        clock = Restless()
        with anyio.fail_after(20):
            async with anyio.create_task_group() as tasks:
                heard: list[str] = []
                end = (await disk.head()).position

                async def follow(address: str, begun: anyio.Event) -> None:
                    async with following(address, f"?after={end - 1}") as stream:
                        await stream.read(1)
                        await stream.read_silence()
                        begun.set()
                        heard.append(await stream.read_end())

                async with serving(serve_log(disk, clock=clock)) as address:
                    begun = anyio.Event()
                    tasks.start_soon(follow, address, begun)
                    await begun.wait()
        assert not heard[0].replace(": still here\n\n", "")

    async def test_no_more_may_follow_than_have_room_and_one_that_left_makes_some(self, disk: Disk) -> None:
        limits = Limits(web_followers=2)
        with anyio.fail_after(20):
            async with serving(serve_log(disk, limits=limits, clock=SystemClock()), limits=limits) as address:
                async with following(address) as first, following(address) as second:
                    assert (first.status, second.status) == (200, 200)
                    async with following(address) as third:
                        assert third.status == 503
                    async with httpx.AsyncClient(base_url=address, trust_env=False) as client:
                        assert (await client.get("/api/v1/events")).status_code == 200
                        assert (await client.head("/api/v1/events", headers=FOLLOW)).status_code == 200
                while True:
                    async with following(address) as again:
                        if again.status == 200:
                            break

    async def test_who_reads_nothing_is_cut_and_holds_a_few_events_only(self, disk: Disk) -> None:
        body = b'{"attributes":{},"body":"%s"}' % (b"x" * 100_000)
        await disk.commit(Batch([NewEvent(INCIDENT, Kind.MESSAGE_RECEIVED, body) for _ in range(200)]))
        limits = Limits(web_wait_seconds=1.0)
        read: list[int] = []
        original = disk.read_log

        async def read_log(*, after: int = 0, until: int | None = None) -> AsyncIterator[list[RecordedEvent]]:
            async for page in original(after=after, until=until):
                read.append(len(page))
                yield page

        disk.read_log = read_log  # type: ignore[method-assign]
        heard = Heard()
        app = serve_log(disk, limits=limits, clock=SystemClock())
        with anyio.fail_after(30):
            async with serving(app, limits=limits, heard=heard) as address, following(address) as stream:
                await wait_until(lambda: WebRefusal.SLOW in heard.refused)
                with pytest.raises(httpx.HTTPError):
                    await stream.read_end()
        assert max(read) <= 16
        assert sum(read) < 200


def test_the_document_names_itself_last() -> None:
    assert [operation.path for operation in describe_all(())] == ["/api/v1/openapi.json"]


async def test_the_document_and_the_routes_are_of_one_table(client: httpx.AsyncClient, disk: Disk) -> None:
    document = (await client.get("/api/v1/openapi.json")).json()
    described = {(method.upper(), path) for path, methods in document["paths"].items() for method in methods}
    routes = serve_log(disk).routes
    served = {
        (method, re.sub(r":path}", "}", route.path))  # type: ignore[attr-defined]
        for route in routes
        for method in route.methods - {"HEAD"}  # type: ignore[attr-defined]
    }
    assert described == served
    assert len(routes) == len(described)
    names = set(re.findall(r'"#/components/schemas/(\w+)"', msgspec.json.encode(document).decode()))
    assert names <= set(document["components"]["schemas"])
    ids = [one["operationId"] for methods in document["paths"].values() for one in methods.values()]
    assert len(set(ids)) == len(ids)
