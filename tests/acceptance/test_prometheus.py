"""A real Prometheus beside a live processor: it takes what is exposed, and answers every query of boards and rules."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import anyio
import httpx
import prometheus_client.openmetrics.parser as openmetrics
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from ecproc.simulator.faults import MILD
from tests.acceptance.world import Plan, Running, World, is_empty, open_world
from tests.grafana import (
    PROMETHEUS,
    Query,
    describe,
    fill,
    list_board_queries,
    list_rule_queries,
    name_family,
    read_boards,
    read_catalogue,
)

TOKEN: Final = "a-read-token-of-a-test"
SCRAPE: Final = "1s"
FILLED: Final = {"$job": ".*", "$instance": ".*", "$__rate_interval": "10s", "$__interval": "10s"}
PATIENCE: Final = 40.0
"""Seconds within which every query must be answered with something."""
LOOK: Final = 1.0
"""Seconds between two looks at what is not answered yet: no query changes before the next scrape."""
OTHERS_WORDS: Final = frozenset({"other", "unknown"})
"""What a label has where a word outside of its closed set came."""
TICKET: Final = re.compile(r"\b(e-)?(CS|CHG|INC|LOCAL-)\d+", re.IGNORECASE)

MAY_BE_EMPTY: Final[Mapping[str, str]] = {
    "outbox.json: Alerts": "no alert fires here within seconds",
    "overview.json: Alerts": "no alert fires here within seconds",
    "time-to-loss.json: Alerts": "no alert fires here within seconds",
    "overview.json: Alerts that fire A": "no alert fires here within seconds",
    "outbox.json: Starts": "one process is one start",
    "outbox.json: News of the desk A": "the built-in desk tells none",
    "outbox.json: Polls of the desk A": "the built-in desk is not polled",
    "outbox.json: Desk last told everything A": "the built-in desk is not polled",
    "overview.json: Starts": "one process is one start",
    "time-to-loss.json: Starts": "one process is one start",
    "overview.json: Anomalies A": "nothing odd may have come within the interval",
    "outbox.json: Given up A": "nothing may have been given up within the interval",
    "time-to-loss.json: Receives left A": "nothing may be held when it is scraped",
    "time-to-loss.json: Receives left over time A": "nothing may be held when it is scraped",
    "time-to-loss.json: Queue keeps it for A": "nothing may be held when it is scraped",
    "time-to-loss.json: Queue keeps it for, over time A": "nothing may be held when it is scraped",
    "time-to-loss.json: Attachment's address ends in A": "no download may be pending when it is scraped",
    "time-to-loss.json: Time left to fetch attachments A": "no download may be pending when it is scraped",
    "time-to-loss.json: Certificate ends in A": "a loopback bridge has no TLS",
    "time-to-loss.json: Clock skew A": "the simulator's answers have no Date",
}
"""Queries that a short life on loopback may leave without an answer, and why."""


@pytest.fixture
def tools() -> tuple[str, str]:
    """Prometheus and promtool; their absence fails where everything must be tried."""
    found = shutil.which("prometheus"), shutil.which("promtool")
    if None in found and not os.environ.get("CI"):
        pytest.skip("Prometheus is not installed")
    assert None not in found, "Prometheus is not installed"
    return str(found[0]), str(found[1])


@pytest.mark.requirement("R231")
async def test_every_query_is_answered_by_a_prometheus_that_scrapes_us(tmp_path: Path, tools: tuple[str, str]) -> None:
    plan = Plan(tickets=40, seed=3, faults=MILD, rate=12.0, visibility=1.0)
    async with open_world(tmp_path, plan) as world, await start(world) as running:
        target = (await running.told("web", "url")).removeprefix("http://")
        async with run_prometheus(tools[0], tmp_path / "prometheus", target) as client:
            await world.reach(lambda ledger: ledger.calls["delete"] > 0, running)
            for command in (["log", "verify"], ["replay", "--verify"]):
                assert (await world.ask(*command)).code == 0
            queries = [*list_board_queries(read_boards()), *list_rule_queries()]
            empty = await ask_until_answered(client, queries)
            rules = [rule async for rule in list_rules(client)]

    alerts = {query.where for query in queries if query.where.startswith("Ecproc")}
    assert sorted(empty - alerts - MAY_BE_EMPTY.keys()) == []
    assert len(rules) == len([*list_rule_queries()])
    assert [rule for rule in rules if rule["health"] != "ok"] == []
    assert {rule["name"] for rule in rules if rule.get("state") == "firing"} == set()


@pytest.mark.requirement("R231")
async def test_what_is_exposed_is_taken_in_both_formats_and_names_no_ticket(
    tmp_path: Path, tools: tuple[str, str]
) -> None:
    async with open_world(tmp_path, Plan(tickets=20, seed=5, visibility=1.0)) as world, await start(world) as running:
        url = await running.told("web", "url")
        await world.reach(is_empty, running)
        texts = [await scrape_at_rest(url)]
        newer = await scrape(url, "application/openmetrics-text; version=1.0.0")
        texts.append(await scrape(url, "text/plain"))

    checked = subprocess.run(
        [tools[1], "check", "metrics"], input=texts[0], capture_output=True, text=True, timeout=60, check=False
    )
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, "")
    families, later = ([*text_string_to_metric_families(text)] for text in texts)
    others = openmetrics.text_string_to_metric_families(newer)  # type: ignore[no-untyped-call]
    names, names_later, names_between = (set(map(name_family, each)) for each in (families, later, others))
    assert names & names_later <= names_between
    known = read_catalogue()
    assert names | names_later | names_between <= known.keys()
    for family in families:
        if family.name in {"ecproc_build", "ecproc_build_info"}:
            continue  # versions are what they are
        for label, values in describe(family).labels.items():
            assert {value for value in values if TICKET.search(value)} == set(), family.name
            assert values <= known[name_family(family)].labels[label] | OTHERS_WORDS, family.name


def test_a_ticket_s_number_in_a_label_is_found() -> None:
    assert all(map(TICKET.search, ("e-CS0879727", "CHG0031000", "INC0012345", "create:e-CS1:g1", "LOCAL-0000001")))
    assert not any(map(TICKET.search, ("Incident", "Create", "disk_reserve", "2xx", "0.005")))


async def start(world: World) -> Running:
    """Start a processor that asks for the token that the example of a configuration sends."""
    return await world.start(WEB__READ_TOKEN=TOKEN)


async def scrape_at_rest(url: str) -> str:
    """Give what is exposed once nothing is left to do: until then what is about the next effect comes and goes."""
    with anyio.fail_after(PATIENCE):
        while True:
            text = await scrape(url, "text/plain")
            families = text_string_to_metric_families(text)
            entries = [each for family in families for each in family.samples if each.name == "ecproc_outbox_entries"]
            assert entries
            if not any(entry.value for entry in entries):
                return text
            await anyio.sleep(LOOK)


async def scrape(url: str, accept: str) -> str:
    """Give what is exposed, in the format that is asked for."""
    headers = {"Accept": accept, "Authorization": f"Bearer {TOKEN}"}
    async with httpx.AsyncClient(trust_env=False, timeout=10) as client:
        answer = await client.get(f"{url}/metrics", headers=headers)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith(accept.partition(";")[0])
    return answer.text


@asynccontextmanager
async def run_prometheus(command: str, folder: Path, target: str) -> AsyncIterator[httpx.AsyncClient]:
    """A Prometheus with our rules and the example of a configuration, less its pace and address, and its API."""
    write_config(folder, target)
    port = find_port()
    arguments = [
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--log.level=warn",
    ]
    said = folder / "prometheus.log"
    with said.open("wb") as log:
        process = await anyio.open_process([command, *arguments], stdout=log, stderr=log)
    try:
        async with httpx.AsyncClient(trust_env=False, timeout=10, base_url=f"http://127.0.0.1:{port}") as client:
            with anyio.fail_after(20):
                while not await is_ready(client):
                    assert process.returncode is None, said.read_text(encoding="utf-8")
                    await anyio.sleep(0.05)
            yield client
    finally:
        with anyio.CancelScope(shield=True):
            if process.returncode is None:
                process.kill()
            await process.wait()


def write_config(folder: Path, target: str) -> None:
    """Put the example, our rules and the token into a folder, for that target."""
    folder.mkdir()
    (folder / "token").write_text(TOKEN, encoding="utf-8")
    config: dict[str, Any] = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text(encoding="utf-8"))
    config["global"] = {"scrape_interval": SCRAPE, "evaluation_interval": SCRAPE}
    [job] = config["scrape_configs"]
    job["authorization"]["credentials_file"] = str(folder / "token")
    job["static_configs"] = [{"targets": [target]}]
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config), encoding="utf-8")
    for name in config["rule_files"]:
        shutil.copy(PROMETHEUS / name, folder / name)


def find_port() -> int:
    """Give a port that was free a moment ago: Prometheus does not say which one it took."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


async def is_ready(client: httpx.AsyncClient) -> bool:
    """Whether Prometheus answers queries."""
    try:
        return (await client.get("/-/ready")).status_code == 200
    except httpx.TransportError:
        return False


async def ask_until_answered(client: httpx.AsyncClient, queries: list[Query]) -> set[str]:
    """Ask all of them again and again for those that were not answered with something; which were not in the end.

    A query that Prometheus calls wrong fails at once.
    """
    left = {query.where: fill(query.expr, FILLED) for query in queries}
    alerts = {query.where for query in queries if query.where.startswith("Ecproc")}
    with anyio.move_on_after(PATIENCE):
        while left.keys() - alerts - MAY_BE_EMPTY.keys():
            for where, expr in [*left.items()]:
                if await ask(client, where, expr):
                    del left[where]
            await anyio.sleep(LOOK)
    return {*left}


async def ask(client: httpx.AsyncClient, where: str, expr: str) -> bool:
    """Whether a query is answered with anything."""
    answer = (await client.post("/api/v1/query", data={"query": expr})).json()
    assert answer["status"] == "success", f"{where}: {answer}"
    assert "warnings" not in answer, f"{where}: {answer}"
    return bool(answer["data"]["result"])


async def list_rules(client: httpx.AsyncClient) -> AsyncIterator[dict[str, Any]]:
    """Yield the rules as Prometheus evaluates them, once each of them was."""
    groups: list[dict[str, Any]] = []
    with anyio.fail_after(20):
        while not groups or any(rule["health"] == "unknown" for group in groups for rule in group["rules"]):
            groups = (await client.get("/api/v1/rules")).json()["data"]["groups"]
            await anyio.sleep(0.1)
    for group in groups:
        for rule in group["rules"]:
            yield rule
