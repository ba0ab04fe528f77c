"""The processor with a desk behind a webhook: every ticket there once, whatever gets lost on the way."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import sys
from pathlib import Path
from subprocess import PIPE

import anyio
import httpx
import pytest

from ecproc.simulator.server import Simulator, run_simulator
from ecproc.simulator.settings import Scenario, SimulatorConfig
from ecproc.simulator.webhook.books import Applied
from ecproc.simulator.webhook.receiver import Receiver, ServedReceiver, run_receiver
from ecproc.simulator.webhook.settings import ReceiverConfig, ReceiverFaults
from tests.acceptance.world import ROOT

LOSSES = ReceiverFaults(error=0.1, lost=0.1, pending=0.05)


def set_up(folder: Path, bridge: Simulator, served: ServedReceiver, **more: str) -> dict[str, str]:
    """The environment of a processor between the two."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ECPROC_")}
    return {
        **kept,
        "PYTHONPATH": str(ROOT),
        "ECPROC_BRIDGE__URL": bridge.url,
        "ECPROC_BRIDGE__CLIENT_NAME": bridge.bridge.config.client_name,
        "ECPROC_BRIDGE__API_KEY": bridge.bridge.config.api_key,
        "ECPROC_BRIDGE__VISIBILITY": "2",
        "ECPROC_ATTACHMENTS__ALLOWED_HOSTS": "127.0.0.1",
        "ECPROC_DATA__DIR": str(folder / "data"),
        "ECPROC_WEB__LISTEN": "127.0.0.1:0",
        "ECPROC_OUTBOX__UNKNOWN_RETRY": "0.2, 0.5",
        "ECPROC_DESK__KIND": "webhook",
        "ECPROC_DESK_WEBHOOK__TIMEOUT": "3",
        "ECPROC_DESK_WEBHOOK__URL": served.url,
        "ECPROC_DESK_WEBHOOK__LOOKUP_URL": served.url,
        "ECPROC_DESK_WEBHOOK__SECRETS": ",".join(served.receiver.secrets),
        **more,
    }


def list_attached(receiver: Receiver) -> list[Applied]:
    """The files that were handed over."""
    return [one for one in receiver.books.applied if one.type == "ticket.attach"]


async def run(folder: Path, environment: dict[str, str], *arguments: str) -> tuple[int, str]:
    """How a command ended, and what it said on stderr."""
    done = await anyio.run_process(
        [sys.executable, "-m", "ecproc", *arguments], cwd=folder, env=environment, check=False, stdout=PIPE, stderr=PIPE
    )
    return done.returncode, (done.stdout + done.stderr).decode()


@pytest.mark.slow
@pytest.mark.requirement("I4")
@pytest.mark.parametrize("kind", ["keyed", "look-up"])
async def test_every_ticket_is_there_once(tmp_path: Path, kind: str) -> None:
    scenario = Scenario(tickets=12, seed=5)
    async with (
        run_simulator(SimulatorConfig(scenario=scenario, reflect_numbers=True)) as bridge,
        run_receiver(ReceiverConfig(keyed=kind == "keyed", faults=LOSSES, seed=3)) as served,
    ):
        environment = set_up(tmp_path, bridge, served, ECPROC_DESK_WEBHOOK__CLASS=kind)
        code, said = await run(tmp_path, environment, "run", "--drain", "--timeout", "90")
        assert code == 0, said[-3000:]
        books = served.receiver.books
        assert books.doubled == []
        created = [one.number for one in books.applied if one.type == "ticket.create"]
        assert sorted(created) == sorted(number for number in books.tickets if number.startswith("WH")) != []
        assert served.receiver.calls[500] > 0, "the faults came"
        assert served.receiver.secrets[0] not in said
        replayed, said = await run(tmp_path, environment, "replay", "--verify")
        assert replayed == 0, said


@pytest.mark.slow
async def test_the_listener_of_a_running_processor(tmp_path: Path) -> None:
    secret = ReceiverConfig().secrets[0]
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    file = tmp_path / "ecproc.toml"
    file.write_text(
        f'[hooks]\nlisten = "127.0.0.1:{port}"\npublic_url = "http://127.0.0.1:{port}"\n'
        '[hooks.sources.itsm]\nkind = "standard"\n'
    )
    scenario = Scenario(tickets=12, seed=5)
    async with (
        run_simulator(SimulatorConfig(scenario=scenario, reflect_numbers=True)) as bridge,
        run_receiver(ReceiverConfig()) as served,
    ):
        environment = set_up(tmp_path, bridge, served, ECPROC_HOOKS_SOURCES_ITSM__SECRETS=secret)
        command = [sys.executable, "-m", "ecproc", "run"]
        async with await anyio.open_process(
            command, cwd=tmp_path, env=environment, stdout=PIPE, stderr=PIPE
        ) as process:
            try:
                with anyio.fail_after(60):
                    while not (found := list_attached(served.receiver)):  # noqa: ASYNC110 - a process sets no event here
                        await anyio.sleep(0.05)
                code, said = await run(tmp_path, environment, "hooks", "test", "itsm")
                assert code == 0, said
                wrong = environment | {"ECPROC_HOOKS_SOURCES_ITSM__SECRETS": "whsec_" + "A" * 32}
                code, said = await run(tmp_path, wrong, "hooks", "test", "itsm")
                assert (code, "401" in said) == (1, True)
                told = found[0].data["attachment"]
                async with httpx.AsyncClient() as client:
                    fetched = (await client.get(told["download"])).content
                assert (len(fetched), hashlib.sha256(fetched).hexdigest()) == (told["size"], told["sha256"])
                code, said = await run(tmp_path, environment, "desk", "check")
                assert (code, json.loads(said)["ok"]) == (0, True)
            finally:
                process.terminate()


@pytest.mark.parametrize(
    ("switches", "kind", "code"), [([], "keyed", 0), (["--no-keyed"], "look-up", 0), (["--no-keyed"], "keyed", 3)]
)
async def test_a_receiver_to_try_against_is_what_it_is_said_to_be(
    tmp_path: Path, switches: list[str], kind: str, code: int
) -> None:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ECPROC_")}
    environment = {**kept, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "ecproc", "simulate", "webhook", "--port", "0", *switches]
    async with await anyio.open_process(command, cwd=tmp_path, env=environment, stderr=None) as simulator:
        try:
            assert simulator.stdout is not None
            told = json.loads(await simulator.stdout.receive())["environment"]
            more = told | {"ECPROC_DESK_WEBHOOK__CLASS": kind}
            ended, said = await run(tmp_path, environment | more, "desk", "check")
            assert ended == code, said
            assert [found["check"] for found in json.loads(said)["findings"]] == (["class"] if code else [])
        finally:
            simulator.terminate()
