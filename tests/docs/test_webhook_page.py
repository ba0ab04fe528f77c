"""The page about webhooks: its receiver is run as it stands there, and holds what the page promises of it."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import anyio
import pytest

from ecproc.clock import SystemClock
from ecproc.config import DeskWebhookConfig, Secret
from ecproc.desk.base import DeskAnswer, DeskUnavailable
from ecproc.desk.webhook.desk import WebhookDesk
from ecproc.desk.webhook.probe import check
from ecproc.desk.webhook.wire import TYPES
from ecproc.testing.desk import make_call, plain

PAGE: Final = Path(__file__).parents[2] / "docs" / "webhook.md"
SECRET: Final = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
OTHER: Final = "whsec_plJ3nmyCDGBKInavdOK15jsl8QSLxCXR"


def read_receiver() -> str:
    """The program on the page."""
    (program,) = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    return str(program)


@contextmanager
def running(program: str, folder: Path) -> Iterator[str]:
    """Where the program listens."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    environment = {"WEBHOOK_SECRET": SECRET, "PORT": str(port)}
    with subprocess.Popen(
        [sys.executable, "-c", program], cwd=folder, env=environment, stderr=subprocess.DEVNULL
    ) as process:
        try:
            wait_for(port)
            yield f"http://127.0.0.1:{port}/"
        finally:
            process.kill()


def wait_for(port: int) -> None:
    """Return once something listens there."""
    until = time.monotonic() + 20
    while True:
        with socket.socket() as client:
            if client.connect_ex(("127.0.0.1", port)) == 0:
                return
        assert time.monotonic() < until
        time.sleep(0.02)


def open_desk(url: str, *secrets: str) -> WebhookDesk:
    known = [Secret(one) for one in secrets or (SECRET,)]
    return WebhookDesk(DeskWebhookConfig(url=url, timeout=10), secrets=lambda: known, clock=SystemClock())


def test_it_has_thirty_lines_and_nothing_but_the_standard_library() -> None:
    program = read_receiver()
    assert len([line for line in program.splitlines() if line.strip()]) <= 30
    imported = set(
        re.findall(r"[a-z0-9_.]+", " ".join(re.findall(r"^(?:import|from) ([^\n]*?)(?: import.*)?$", program, re.M)))
    )
    assert {name.split(".")[0] for name in imported} <= sys.stdlib_module_names


async def test_it_is_the_keyed_receiver_that_it_says_it_is(tmp_path: Path) -> None:
    answers: list[DeskAnswer] = []
    with running(read_receiver(), tmp_path) as url:
        desk = open_desk(url)

        async def create() -> None:
            answers.append(await desk.perform(make_call("create")))

        async with anyio.create_task_group() as tasks:
            for _ in range(10):
                tasks.start_soon(create)
        assert {answer.number for answer in answers} == {"MY0000001"}
        assert (await desk.perform(make_call("other"))).number == "MY0000002"
        for kind, state in [("comment_client_ticket", ""), ("resolve_client_ticket", "resolved")]:
            answer = await desk.perform(make_call(kind, kind, number="MY0000001"))
            assert plain(answer) == DeskAnswer("MY0000001", state)
        assert await check(desk, nonce="1", now=0) == ()
        stranger = open_desk(url, OTHER)
        with pytest.raises(DeskUnavailable, match="401"):
            await stranger.perform(make_call("stranger"))
        both = open_desk(url, OTHER, SECRET)
        assert (await both.perform(make_call("create"))).number == "MY0000001"
    with running(read_receiver(), tmp_path) as url:
        again = open_desk(url)
        assert (await again.perform(make_call("create"))).number == "MY0000001"
    for one in (desk, stranger, both, again):
        await one.aclose()


async def test_one_that_forgets_its_answers_is_found_out(tmp_path: Path) -> None:
    """The negative control."""
    program = (
        read_receiver().replace("if not answer:", "if True:").replace("INSERT INTO answered", "REPLACE INTO answered")
    )
    with running(program, tmp_path) as url:
        desk = open_desk(url)
        assert [found.check for found in await check(desk, nonce="1", now=0)] == ["class"]
        await desk.aclose()


def test_the_page_names_every_type() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert [kind for kind in TYPES.values() if f"`{kind}`" not in page and f"`.{kind.split('.')[1]}`" not in page] == []
