"""The hooks listener: who is let in, what each post is answered, and files for whoever has their address."""

from __future__ import annotations

import asyncio
import json
import math
from base64 import b64encode
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import anyio
import httpx
import pytest
from structlog.testing import capture_logs

from ecproc.clock import SystemClock
from ecproc.config import Limits, Secret
from ecproc.descriptors import Reserve
from ecproc.domain.external import Fate
from ecproc.errors import NoRoom
from ecproc.telemetry.hooks import Telemetry
from ecproc.web.files import FilePages
from ecproc.web.guard import Refusals
from ecproc.web.hook_auth import by_password, by_signature, by_token
from ecproc.web.hooks import BODY_BYTES, Hooks, HookSource, RateLimit
from ecproc.web.server import serve
from ecproc.webhooks import make_headers, read_key, sign_file

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
OTHER = "whsec_plJ3nmyCDGBKInavdOK15jsl8QSLxCXR"
DIGEST = "ab" * 32
NOW = 1_790_000_000
BODY = b'{"type":"ticket.note","data":{"number":"INC1"}}'


class Frozen(SystemClock):
    """A clock that stands; its sleeps are real."""

    def __init__(self) -> None:
        self.at = float(NOW)

    def now(self) -> int:
        return int(self.at * 1_000_000)

    def monotonic(self) -> float:
        return self.at


class Log:
    """Takes in what is posted, as the store does: an id once, for ever."""

    def __init__(self) -> None:
        self.events: dict[tuple[str, str], bytes] = {}
        self.told: Fate | Exception | None = None

    async def accept(self, source: str, message_id: str, body: bytes) -> Fate:
        await anyio.lowlevel.checkpoint()
        if isinstance(self.told, Exception):
            raise self.told
        if self.told is not None:
            return self.told
        if (source, message_id) in self.events:
            return Fate.DUPLICATE
        self.events[source, message_id] = body
        return Fate.APPENDED


class Listener:
    """The application, the log behind it, and its clock."""

    def __init__(self, folder: Path, *, rate: int = 100_000) -> None:
        self.log = Log()
        self.clock = Frozen()
        self.secrets = [Secret(SECRET)]
        self.answered: Counter[tuple[str, int]] = Counter()
        sources = [
            HookSource("itsm", by_signature(lambda: self.secrets)),
            HookSource("basic", by_password("ops", lambda: [Secret("first pässword"), Secret("second")])),
            HookSource("bearer", by_token(lambda: [Secret("0123456789abcdef")])),
        ]
        files = FilePages(lambda sha256: folder / sha256, keys=lambda: [read_key(SECRET)], clock=self.clock)
        self.app = Hooks(
            sources={source.name: source for source in sources},
            accept=self.log.accept,
            rate=rate,
            others=files,
            on_answered=lambda source, status, _: self.answered.update([(source, status)]),
            clock=self.clock,
        )
        self.client = httpx.AsyncClient(transport=httpx.ASGITransport(self.app), base_url="http://hooks")

    def sign(self, message_id: str = "msg_1", body: bytes = BODY, *secrets: str, at: int = NOW) -> dict[str, str]:
        headers = make_headers([read_key(secret) for secret in secrets or (SECRET,)], message_id, at, body)
        return {"content-type": "application/json", **headers}

    async def post(self, headers: dict[str, str], body: bytes = BODY, path: str = "/hooks/itsm") -> httpx.Response:
        return await self.client.post(path, headers=headers, content=body)


@pytest.fixture
async def listener(tmp_path: Path) -> AsyncIterator[Listener]:
    one = Listener(tmp_path)
    async with one.client:
        yield one


async def test_what_is_signed_is_taken_as_it_came(listener: Listener) -> None:
    answer = await listener.post(listener.sign())
    assert (answer.status_code, answer.json()) == (202, {"accepted": True})
    assert answer.headers["cache-control"] == "no-store"
    assert listener.log.events == {("itsm", "msg_1"): BODY}
    assert listener.answered == {("itsm", 202): 1}


@pytest.mark.parametrize("fate", [Fate.APPENDED, Fate.DUPLICATE, Fate.IGNORED])
async def test_whatever_becomes_of_it_what_is_ours_is_202(listener: Listener, fate: Fate) -> None:
    listener.log.told = fate
    assert (await listener.post(listener.sign())).status_code == 202


async def test_what_is_no_json_is_taken_once_its_id_is_known(listener: Listener) -> None:
    assert (await listener.post(listener.sign(body=b"\xff{"), b"\xff{")).status_code == 202
    assert listener.log.events == {("itsm", "msg_1"): b"\xff{"}


@pytest.mark.parametrize("trouble", [Fate.BUSY, Fate.DEFERRED, NoRoom("full")])
async def test_what_cannot_be_taken_is_to_come_again(listener: Listener, trouble: Fate | Exception) -> None:
    listener.log.told = trouble
    answer = await listener.post(listener.sign())
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    listener.log.told = None
    assert (await listener.post(listener.sign())).status_code == 202


async def test_the_answer_comes_after_the_commit_and_within_ten_seconds(
    listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ecproc.web.hooks.ANSWER_SECONDS", 0.05)
    accept, started = listener.log.accept, anyio.Event()

    async def hang(source: str, message_id: str, body: bytes) -> Fate:
        started.set()
        await anyio.sleep_forever()
        return await accept(source, message_id, body)

    listener.app._accept = hang
    answer = await listener.post(listener.sign())
    assert started.is_set()
    assert (answer.status_code, "retry-after" in answer.headers) == (503, True)
    assert listener.log.events == {}


@pytest.mark.parametrize("seconds", [-301, 301, 360])
async def test_a_captured_post_is_worth_nothing_after_five_minutes(listener: Listener, seconds: int) -> None:
    headers = listener.sign()
    listener.clock.at += seconds
    assert (await listener.post(headers)).status_code == 401
    assert listener.log.events == {}


async def test_a_captured_post_within_five_minutes_is_no_second_event(listener: Listener) -> None:
    headers = listener.sign()
    assert (await listener.post(headers)).status_code == 202
    listener.clock.at += 299
    assert (await listener.post(headers)).status_code == 202
    assert len(listener.log.events) == 1


@pytest.mark.parametrize("name", ["webhook-timestamp", "webhook-signature"])
async def test_a_missing_header_is_401(listener: Listener, name: str) -> None:
    headers = listener.sign()
    del headers[name]
    assert (await listener.post(headers)).status_code == 401


async def test_without_an_id_it_is_400(listener: Listener) -> None:
    headers = listener.sign()
    del headers["webhook-id"]
    assert (await listener.post(headers)).status_code == 400
    assert (await listener.post(listener.sign("x" * 257))).status_code == 400


async def test_every_refusal_of_a_sender_says_the_same(listener: Listener) -> None:
    wrong = [
        await listener.post(listener.sign(), BODY + b" "),
        await listener.post(listener.sign("msg_1", BODY, OTHER)),
        await listener.post(listener.sign(at=NOW - 400)),
        await listener.post({**listener.sign(), "webhook-signature": "v2,AAAA"}),
    ]
    assert {answer.status_code for answer in wrong} == {401}
    assert len({answer.content for answer in wrong}) == 1
    assert listener.log.events == {}


async def test_two_signatures_and_a_rotated_secret_are_let_in(listener: Listener) -> None:
    assert (await listener.post(listener.sign("msg_1", BODY, OTHER, SECRET))).status_code == 202
    listener.secrets = [Secret(OTHER), Secret(SECRET)]
    assert (await listener.post(listener.sign("msg_2"))).status_code == 202
    listener.secrets = [Secret(OTHER)]
    assert (await listener.post(listener.sign("msg_3"))).status_code == 401


def basic(text: str) -> dict[str, str]:
    return {"authorization": f"Basic {b64encode(text.encode()).decode()}"}


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("basic", basic("ops:first pässword"), 202),
        ("basic", basic("ops:second"), 202),
        ("basic", basic("ops:third"), 401),
        ("basic", basic("ops:"), 401),
        ("basic", basic("root:second"), 401),
        ("basic", {"authorization": "Basic ops:second"}, 401),
        ("basic", {"authorization": f"Bearer {b64encode(b'ops:second').decode()}"}, 401),
        ("basic", {}, 401),
        ("bearer", {"authorization": "Bearer 0123456789abcdef"}, 202),
        ("bearer", {"authorization": "bearer 0123456789abcdef"}, 202),
        ("bearer", {"authorization": "Basic 0123456789abcdef"}, 401),
        ("bearer", {"authorization": "Bearer 0123456789abcdeg"}, 401),
        ("bearer", {"authorization": "Bearer "}, 401),
        ("bearer", {}, 401),
    ],
)
async def test_a_password_or_a_token_lets_in(
    listener: Listener, path: str, headers: dict[str, str], status: int
) -> None:
    more = {"content-type": "application/json; charset=utf-8", "webhook-id": "1"}
    answer = await listener.post({**headers, **more}, path=f"/hooks/{path}")
    assert answer.status_code == status


@pytest.mark.parametrize(
    "path", ["/", "/hooks", "/hooks/", "/hooks/nobody", "/hooks/itsm/", "/hook/itsm", "/hooks/files/x"]
)
async def test_an_unknown_path_is_404(listener: Listener, path: str) -> None:
    headers = listener.sign()
    assert (await listener.client.get(path, headers=headers)).status_code == 404


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "HEAD", "OPTIONS"])
async def test_another_method_is_405(listener: Listener, method: str) -> None:
    answer = await listener.client.request(method, "/hooks/itsm", headers=listener.sign(), content=BODY)
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")


@pytest.mark.parametrize("media", ["", "text/plain", "application/x-www-form-urlencoded", "application/jsonp"])
async def test_another_content_type_is_415(listener: Listener, media: str) -> None:
    assert (await listener.post({**listener.sign(), "content-type": media})).status_code == 415


async def test_a_megabyte_is_taken_and_a_byte_more_is_413(listener: Listener) -> None:
    most = b'"' + b"x" * (BODY_BYTES - 2) + b'"'
    assert (await listener.post(listener.sign("msg_1", most), most)).status_code == 202
    more = most + b" "
    assert (await listener.post(listener.sign("msg_2", more), more)).status_code == 413

    async def in_pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(more), 65_536):
            yield more[start : start + 65_536]

    answer = await listener.client.post("/hooks/itsm", headers=listener.sign("msg_2", more), content=in_pieces())
    assert answer.status_code == 413
    assert len(listener.log.events) == 1


async def test_the_order_of_refusals_is_the_contracts(listener: Listener) -> None:
    """Each of these is wrong in all later respects too."""
    big = {"content-length": str(BODY_BYTES + 1), "content-type": "text/plain"}
    ask = partial(listener.client.request, headers=big, content=b"")
    assert (await ask("PUT", "/hooks/nobody")).status_code == 404
    assert (await ask("PUT", "/hooks/itsm")).status_code == 405
    assert (await ask("POST", "/hooks/itsm")).status_code == 413
    assert (await listener.post({"content-type": "text/plain"})).status_code == 415


async def test_ten_thousand_posts_of_one_id_are_one_event(listener: Listener) -> None:
    headers, statuses = listener.sign(), Counter[int]()

    async def post() -> None:
        for _ in range(100):
            statuses[(await listener.post(headers)).status_code] += 1

    async with anyio.create_task_group() as tasks:
        for _ in range(100):
            tasks.start_soon(post)
    assert statuses == {202: 10_000}
    assert len(listener.log.events) == 1


async def test_more_than_the_rate_is_429_and_strangers_use_none_of_it(tmp_path: Path) -> None:
    listener = Listener(tmp_path, rate=60)
    async with listener.client:
        for index in range(100):
            assert (await listener.post(listener.sign(f"s{index}", BODY, OTHER))).status_code == 401
        for index in range(60):
            assert (await listener.post(listener.sign(f"m{index}"))).status_code == 202
        refused = await listener.post(listener.sign("m60"))
        assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
        listener.clock.at += 1
        assert (await listener.post(listener.sign("m60"))).status_code == 202


def test_the_rate_never_saves_up_more_than_a_minute() -> None:
    rate = RateLimit(30)
    assert [rate.take(1e6) for _ in range(31)] == [0.0] * 30 + [2.0]
    assert rate.take(1e6 + 2) == 0.0
    assert math.isclose(rate.take(1e6 + 3), 1.0)


async def test_nothing_that_fails_tells_a_secret(listener: Listener) -> None:
    with capture_logs() as logs:
        answers = [
            await listener.post(listener.sign(), BODY + b"x"),
            await listener.post(
                {"content-type": "application/json", "webhook-id": "1", **basic("ops:wrong")}, path="/hooks/basic"
            ),
        ]
    said = json.dumps(logs) + "".join(answer.text + str(answer.headers) for answer in answers)
    assert not [secret for secret in (SECRET, SECRET[6:], "first pässword", "second") if secret in said]


@pytest.fixture
def stored(tmp_path: Path) -> bytes:
    content = bytes(range(256)) * 1_000
    (tmp_path / DIGEST).write_bytes(content)
    (tmp_path / ("cd" * 32)).write_bytes(b"another")
    return content


async def test_a_signed_address_gives_its_file_for_an_hour(listener: Listener, stored: bytes) -> None:
    url = f"/hooks/files/{sign_file(read_key(SECRET), DIGEST, now=NOW)}"
    answer = await listener.client.get(url)
    assert (answer.status_code, answer.content) == (200, stored)
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["content-disposition"] == "attachment"
    assert answer.headers["cache-control"] == "no-store"
    assert (await listener.client.head(url)).headers["content-length"] == str(len(stored))
    assert (await listener.client.post(url)).status_code == 405
    listener.clock.at += 3_599
    assert (await listener.client.get(url)).status_code == 200
    listener.clock.at += 1
    assert (await listener.client.get(url)).status_code == 404


async def test_no_other_address_gives_anything(listener: Listener, stored: bytes, tmp_path: Path) -> None:
    token = sign_file(read_key(SECRET), DIGEST, now=NOW)
    strangers = sign_file(read_key(OTHER), DIGEST, now=NOW)
    for tried in (strangers, token[:-1], f"{token}A", DIGEST, "../" + DIGEST, f"..%2F{DIGEST}", "%00"):
        assert (await listener.client.get(f"/hooks/files/{tried}")).status_code == 404
    (tmp_path / DIGEST).unlink()
    assert (await listener.client.get(f"/hooks/files/{token}")).status_code == 404


@asynccontextmanager
async def served(listener: Listener) -> AsyncIterator[str]:
    """The application on a socket, as it runs in the process."""
    refusals = Refusals(Telemetry(), SystemClock())
    start = partial(serve, listener.app, "127.0.0.1", 0, limits=Limits(), reserve=Reserve(), refusals=refusals)
    async with anyio.create_task_group() as tasks:
        port = await tasks.start(start)
        yield f"http://127.0.0.1:{port}"
        tasks.cancel_scope.cancel()


async def test_on_a_socket_too_large_is_said_before_it_comes(listener: Listener, stored: bytes) -> None:
    async with served(listener) as url, httpx.AsyncClient() as client:
        assert (await client.post(f"{url}/hooks/itsm", headers=listener.sign(), content=BODY)).status_code == 202
        token = sign_file(read_key(SECRET), DIGEST, now=NOW)
        assert (await client.get(f"{url}/hooks/files/{token}")).content == stored
        port = int(url.rpartition(":")[2])
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"POST /hooks/itsm HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % (BODY_BYTES + 1))
        head = await reader.readuntil(b"\r\n")
        assert head == b"HTTP/1.1 413 Request Entity Too Large\r\n" or b" 413 " in head
        writer.close()
        await writer.wait_closed()
