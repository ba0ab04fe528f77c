"""The page about desks of one's own: its package is laid out as it stands there, tested by its own suite, and run."""

from __future__ import annotations

import json
import os
import sqlite3
import sys
from contextlib import closing
from pathlib import Path
from subprocess import PIPE
from typing import Any, Final

import anyio
import pytest

from ecproc.desk.base import DESK_KINDS, Desk
from ecproc.domain.effects import Repeat
from ecproc.simulator.server import Simulator, run_simulator
from ecproc.simulator.settings import Scenario, SimulatorConfig
from tests.acceptance.world import ROOT
from tests.desk_packages import PAGE, install, install_example, read_blocks, read_example

TOKEN: Final = "toy-token"


def set_up(folder: Path, bridge: Simulator | None = None, **more: str) -> dict[str, str]:
    """The environment of a processor with the page's configuration, and the package beside it."""
    if not (folder / "site").exists():
        install_example(folder / "site")
    (folder / "ecproc.toml").write_text(read_blocks("toml")[0], encoding="utf-8")
    (folder / "token").write_text(f"{TOKEN}\n", encoding="utf-8")
    (folder / "token").chmod(0o600)
    config = bridge.bridge.config if bridge else SimulatorConfig()
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ECPROC_")}
    return {
        **kept,
        "PYTHONPATH": f"{folder / 'site'}:{ROOT}",
        "ECPROC_BRIDGE__URL": bridge.url if bridge else "http://127.0.0.1:1/client/dev",
        "ECPROC_BRIDGE__CLIENT_NAME": config.client_name,
        "ECPROC_BRIDGE__API_KEY": config.api_key,
        "ECPROC_BRIDGE__VISIBILITY": "2",
        "ECPROC_ATTACHMENTS__ALLOWED_HOSTS": "127.0.0.1",
        "ECPROC_DATA__DIR": str(folder / "data"),
        "ECPROC_WEB__LISTEN": "127.0.0.1:0",
        "ECPROC_OUTBOX__UNKNOWN_RETRY": "0.2, 0.5",
        "ECPROC_DESK_TOY__TOKEN_FILE": str(folder / "token"),
        **more,
    }


async def run(folder: Path, environment: dict[str, str], *arguments: str) -> tuple[int, str, str]:
    """How a command ended, and what it printed and said."""
    done = await anyio.run_process(
        [sys.executable, "-m", *arguments], cwd=folder, env=environment, check=False, stdout=PIPE, stderr=PIPE
    )
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def read_desk(folder: Path, query: str) -> list[Any]:
    with closing(sqlite3.connect(folder / "data" / "desks" / "toy" / "toy.db")) as file:
        return file.execute(query).fetchall()


@pytest.mark.parametrize(
    ("right", "wrong", "failed"),
    [
        ("", "", []),
        ("return await self.look_up(call) or self._apply(call)", "return self._apply(call)", ["once"]),
        (
            "INSERT INTO applied VALUES (?, ?, ?)",
            "INSERT INTO applied SELECT 1, 2, 3 WHERE ? || ? || ? = ''",
            ["look_up"],
        ),
        ('context.directory / "toy.db"', '":memory:"', ["opened_again"]),
    ],
)
async def test_it_passes_the_suite_that_is_shipped(right: str, wrong: str, failed: list[str], tmp_path: Path) -> None:
    """And planted bugs do not: the negative controls."""
    environment = set_up(tmp_path)
    program, suite = read_example()
    assert right in program
    (tmp_path / "site" / "toy_desk.py").write_text(program.replace(right, wrong) if right else program)
    (tmp_path / "test_toy_desk.py").write_text(suite, encoding="utf-8")
    options = ["-q", "-p", "no:cacheprovider", "--rootdir", "."]
    code, out, said = await run(tmp_path, environment, "pytest", *options, "test_toy_desk.py")
    assert code == (1 if failed else 0), out + said
    assert [word for word in failed if not any(word in line for line in out.splitlines() if "FAILED" in line)] == []


async def test_its_options_are_shown_and_its_secret_is_not(tmp_path: Path) -> None:
    environment = set_up(tmp_path)
    code, out, said = await run(tmp_path, environment, "ecproc", "config", "check")
    assert (code, json.loads(out)["ok"]) == (0, True), said
    code, out, said = await run(tmp_path, environment, "ecproc", "config", "show")
    rows = {row["key"]: row for row in json.loads(out)}
    assert rows["desk.toy.prefix"] == {"key": "desk.toy.prefix", "value": "HELP", "origin": "ecproc.toml:5"}
    assert rows["desk.toy.token"]["value"] == "***"
    assert rows["desk.toy.token"]["origin"] == "env ECPROC_DESK_TOY__TOKEN_FILE"
    assert TOKEN not in out + said


@pytest.mark.slow
@pytest.mark.requirement("I4")
async def test_a_processor_works_it_and_every_ticket_is_there_once(tmp_path: Path) -> None:
    scenario = Scenario(tickets=12, seed=5)
    async with run_simulator(SimulatorConfig(scenario=scenario, reflect_numbers=True)) as bridge:
        environment = set_up(tmp_path, bridge)
        code, _, said = await run(tmp_path, environment, "ecproc", "run", "--drain", "--timeout", "90")
        assert code == 0, said[-3000:]
        assert TOKEN not in said
        code, out, said = await run(tmp_path, environment, "ecproc", "tickets")
        listed = {(row["ticket"], row["client_ticket"]) for row in map(json.loads, out.splitlines())}
        made = read_desk(tmp_path, "SELECT number FROM applied WHERE key LIKE 'create:%'")
        assert len(made) == len(set(made)) > 0
        assert {number[:4] for (number,) in made} == {"HELP"}
        kept = set(read_desk(tmp_path, "SELECT ensono, number FROM ticket"))
        assert {pair for pair in listed if pair[1]} <= kept
        assert len(listed) == 12
        assert (tmp_path / "data" / "desks" / "toy").stat().st_mode & 0o777 == 0o700
        code, out, said = await run(tmp_path, environment, "ecproc", "replay", "--verify")
        assert code == 0, out + said


async def test_a_token_that_is_not_known_holds_everything(tmp_path: Path) -> None:
    """The negative control of the run: what the desk says is heard."""
    async with run_simulator(SimulatorConfig(scenario=Scenario(tickets=2, seed=5))) as bridge:
        environment = set_up(tmp_path, bridge)
        (tmp_path / "token").write_text("another\n", encoding="utf-8")
        code, _, said = await run(tmp_path, environment, "ecproc", "run", "--drain", "--timeout", "4")
        assert code == 75, said[-3000:]
        assert "it does not know our token" in said
        assert read_desk(tmp_path, "SELECT * FROM applied") == []


PLAIN: Final = "from ecproc.desk.plugin import DeskPlugin\nfrom toy_desk import ToyOptions\n"
REFUSED: Final = {
    "unknown": ("toys", "", "", ["unknown desk.kind 'toys'", "ecproc.toml:2", "did you mean toy? known here: local"]),
    "no import": (
        "bad",
        "import nothing_of_that_name",
        "",
        ["of bad-desk 1.0", "ModuleNotFoundError", "ecproc.toml:2"],
    ),
    "wrong object": ("bad", "PLUGIN = 3", "", ["of bad-desk 1.0", "is a int, not a DeskPlugin", "ecproc.toml:2"]),
    "bad option": ("toy", "", "prefix = 5", ["desk.toy.prefix must be text, not 5", "ecproc.toml:4"]),
    "unknown option": ("toy", "", "prefx = 'A'", ["unknown key desk.toy.prefx", "did you mean desk.toy.prefix?"]),
    "refused options": ("toy", "", "prefix = '1'", ["[desk.toy] is refused by its desk: prefix must be letters"]),
}


@pytest.mark.parametrize("command", [["config", "check"], ["run", "--drain"]])
@pytest.mark.parametrize("case", REFUSED)
async def test_what_cannot_be_ends_with_78(tmp_path: Path, case: str, command: list[str]) -> None:
    kind, program, option, words = REFUSED[case]
    environment = set_up(tmp_path)
    install(tmp_path / "site", "bad-desk", program, "bad = bad_desk:PLUGIN")
    (tmp_path / "ecproc.toml").write_text(f"[desk]\nkind = '{kind}'\n[desk.toy]\n{option}\n", encoding="utf-8")
    if kind != "toy":
        (tmp_path / "ecproc.toml").write_text(f"[desk]\nkind = '{kind}'\n", encoding="utf-8")
        del environment["ECPROC_DESK_TOY__TOKEN_FILE"]
    code, out, said = await run(tmp_path, environment, "ecproc", *command)
    assert code == 78, out + said
    assert [word for word in words if word not in said] == []
    assert "Traceback" not in out + said
    assert not (tmp_path / "data").exists()


async def test_a_desk_that_cannot_be_opened_ends_a_run_with_78(tmp_path: Path) -> None:
    async with run_simulator(SimulatorConfig(scenario=Scenario(tickets=1, seed=5))) as bridge:
        environment = set_up(tmp_path, bridge)
        program = f"{PLAIN}async def fail(options, context):\n    raise OSError(f'no {{options.token.reveal()}}')\n"
        points = "bad = bad_desk:PLUGIN"
        install(tmp_path / "site", "bad-desk", f"{program}PLUGIN = DeskPlugin(options=ToyOptions, open=fail)", points)
        (tmp_path / "ecproc.toml").write_text("[desk]\nkind = 'bad'\n", encoding="utf-8")
        environment["ECPROC_DESK_BAD__TOKEN"] = TOKEN
        del environment["ECPROC_DESK_TOY__TOKEN_FILE"]
        code, out, said = await run(tmp_path, environment, "ecproc", "run", "--drain", "--timeout", "10")
    assert code == 78, out + said
    assert "desk.kind 'bad' of bad-desk 1.0: it cannot be opened: OSError (bad_desk.py:4)" in said
    assert "Traceback" not in out + said
    assert TOKEN not in out + said


def test_the_page_names_every_class_method_and_type() -> None:
    page = PAGE.read_text(encoding="utf-8")
    methods = [name for name in vars(Desk) if not name.startswith("_")]
    assert [name for name in methods if f"| `{name}(" not in page] == []
    assert [one.name for one in Repeat if f"| `Repeat.{one.name}` |" not in page] == []
    states = page[page.index("STATES = {") : page.index("class ToyOptions")]
    assert [kind for kind in DESK_KINDS if f'"{kind}"' not in states] == []
