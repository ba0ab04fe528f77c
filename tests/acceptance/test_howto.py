"""How-to pages, pasted: their blocks run one after the other where a bridge was drained and something is stuck."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Final

import anyio
import msgspec
import pytest

from ecproc.errors import ExitCode
from ecproc.simulator.bridge import RawMessage
from tests.acceptance.blocks import ROOT, YOUR_BRIDGE, read_blocks
from tests.acceptance.log_page import find_unexplained
from tests.acceptance.world import KEY, Plan, World, open_world

PAGES: Final = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "docs" / "howto").glob("*.md"))
BLOCKS: Final = {page: [b for b in read_blocks(page) if b.title != YOUR_BRIDGE] for page in PAGES}
SCRIPT: Final = f'#!/bin/sh\nexec {sys.executable} -m ecproc "$@"\n'
NEW_KEY: Final = "a-key-that-comes"


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """A drained bridge, with one dead letter and one message in quarantine."""
    async with open_world(tmp_path, Plan(tickets=20, visibility=1.0, groups=frozenset({"Fans"}))) as world:
        untyped = {"ticketNumber": "e-CS0700009", "clientName": "testClient", "clientTicketNumber": ""}
        attributes = {"MessageGroupId": "e-CS0700009", "SequenceNumber": "1", "TransactionType": "Update"}
        body = msgspec.Raw(msgspec.json.encode(untyped))
        world.simulator.bridge.send_raw(RawMessage(Body=body, Attributes=attributes, MessageId="untyped"))
        await world.drain()
        listed = [json.loads(line) for line in (await world.ask("tickets")).out.splitlines()]
        ticket = next(found["ticket"] for found in listed if found["state"] in {"open", "workinprogress", "pending"})
        sent = await world.ask("send", "update", ticket, "--group", "Nobody", "--key", "a-dead-letter")
        assert sent.code == ExitCode.OK, sent.err
        await world.drain()
        yield world


def list_variables(world: World, folder: Path) -> Mapping[str, str]:
    """A reader's: `ecproc` on the path, the key in a file, and what the pages say that there is."""
    (folder / "bin").mkdir()
    (folder / "bin" / "ecproc").write_text(SCRIPT, encoding="utf-8")
    (folder / "bin" / "ecproc").chmod(0o700)
    (folder / "key").write_text(f"{KEY}\n", encoding="utf-8")
    (folder / "key").chmod(0o600)
    own = world.environment(BRIDGE__API_KEY_FILE=str(folder / "key"))
    return {**own, "PATH": f"{folder / 'bin'}:{os.environ['PATH']}", "NEW_KEY": NEW_KEY}


async def paste(text: str, *, variables: Mapping[str, str], cwd: Path) -> subprocess.CompletedProcess[bytes]:
    with anyio.fail_after(60):
        return await anyio.run_process(["bash", "-euc", text], env=variables, cwd=cwd, check=False)


def fill_in(text: str, *, dead: str, quarantined: str) -> str:
    """What a reader puts in the place of names in capitals."""
    return text.replace(" KEY", f" {dead}").replace(" POSITION", f" {quarantined}")


@pytest.mark.slow
async def test_every_block_of_every_page_runs(world: World, tmp_path: Path) -> None:
    variables = list_variables(world, tmp_path)
    (stuck,) = json.loads((await world.ask("quarantine", "list")).out)
    (dead,) = json.loads((await world.ask("outbox", "list")).out)

    for page, blocks in BLOCKS.items():
        for block in blocks:
            text = fill_in(block.text, dead=dead["key"], quarantined=str(stuck["position"]))
            ran = await paste(text, variables=variables, cwd=tmp_path)
            assert ran.returncode == ExitCode.OK, (page, text, ran.stderr.decode())

    assert (tmp_path / "key").read_text(encoding="utf-8").splitlines() == [NEW_KEY, KEY]
    assert (world.data.with_name("data.before") / "anchor").is_file()
    (given_up,) = json.loads((await world.ask("outbox", "list", "--state", "discarded")).out)
    assert "done by hand" in given_up["reason"]
    # Ensono has not switched yet: the new key is refused, and the old one goes on.
    async with await world.start("--drain", BRIDGE__API_KEY_FILE=str(tmp_path / "key")) as running:
        assert await running.ended() == ExitCode.OK, running.said
    assert [*find_unexplained(running.list_lines())] == []


async def test_a_dead_letter_shows_what_its_page_says(world: World, tmp_path: Path) -> None:
    listed, shown, *_ = [block.text for block in BLOCKS["docs/howto/dead-letter.md"]]
    variables = list_variables(world, tmp_path)

    (entry,) = json.loads((await paste(listed, variables=variables, cwd=tmp_path)).stdout)
    assert entry["state"] in {"discarded", "parked"}
    read = fill_in(shown, dead=entry["key"], quarantined="")
    detail = json.loads((await paste(read, variables=variables, cwd=tmp_path)).stdout)
    assert "group" in detail["reason"].lower()
    assert any("call" in event["data"] for event in detail["events"])
