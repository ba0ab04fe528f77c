"""`ecproc doctor` as a process: prepared faults are named with what to do, beside a processor and without one."""

from __future__ import annotations

import json
import socket
import sqlite3
import ssl
from collections.abc import Callable, Mapping
from contextlib import closing
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from itertools import count
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest
import trustme

from ecproc.config import DataConfig
from ecproc.control import CONTROL
from ecproc.domain.log import Batch, NewEvent
from ecproc.fold.tables import TABLES
from ecproc.simulator.bridge import RawMessage
from ecproc.store.checks import ReplayVerified, note_check
from ecproc.store.opening import open_store
from tests.acceptance.world import ROOT, Plan, World, is_empty, open_world, wait_for
from tests.conformance.faultserver import FaultServer, answering, black_hole

INVALID: Final = b'{"Error":{"Code":"ReceiptHandleIsInvalid","Message":"x"},"RequestId":"r"}'
PATH: Final = "/testclient/dev"
SLOW_AND_OLD: Final = """\
import os, sqlite3, time
sync = os.fsync
def slow(file):
    time.sleep(0.15)
    sync(file)
os.fsync = slow
sqlite3.sqlite_version_info = (3, 31, 1)
"""


class Seen:
    """What one run of the doctor came to."""

    def __init__(self, code: int, out: str) -> None:
        self.code = code
        self.report: dict[str, Any] = json.loads(out)
        self.out = out

    @property
    def findings(self) -> dict[str, tuple[str, str, str]]:
        """Per check its severity, text and fix; a check has one here."""
        return {each["check"]: (each["severity"], each["text"], each["fix"]) for each in self.report["findings"]}

    @property
    def texts(self) -> dict[str, str]:
        """What each check saw."""
        return {each["check"]: each["text"] for each in self.report["checks"]}

    def assert_clean(self) -> None:
        assert (self.findings, self.code, self.report["ok"]) == ({}, 0, True)

    def assert_found(self, check: str, severity: str, text: str, fix: str) -> None:
        assert (self.code, self.report["ok"]) == (3, False)
        found = self.findings[check]
        assert found[0] == severity
        assert text in found[1]
        assert fix in found[2]
        assert not next(each["ok"] for each in self.report["checks"] if each["check"] == check)


async def examine(world: World, *arguments: str, **changed: str) -> Seen:
    answer = await world.ask("doctor", *arguments, **changed)
    assert "Traceback" not in answer.err
    assert answer.out, answer.err
    return Seen(answer.code, answer.out)


def dated(seconds: float = 0.0, body: bytes = INVALID, status: int = 400) -> FaultServer:
    """A bridge that refuses every handle, by a clock that is so many seconds behind ours."""
    at = datetime.now(UTC) - timedelta(seconds=seconds)
    return FaultServer(answering(status, body, {"date": format_datetime(at, usegmt=True)}))


async def test_a_machine_in_order_is_no_finding_and_nothing_is_received(tmp_path: Path) -> None:
    async with open_world(tmp_path, Plan(tickets=3)) as world:
        (await examine(world)).assert_clean()
        assert world.ledger.calls["receive"] == 0
        assert not world.data.exists()
        await world.drain()
        calls = dict(world.ledger.calls)
        seen = await examine(world)
        seen.assert_clean()
        assert "key and path are right" in seen.texts["key"]
        assert "calls leave from 127.0.0.1 and go to 127.0.0.1" in seen.texts["bridge"]
        assert "none runs" in seen.texts["processor"]
        assert {name: n for name, n in world.ledger.calls.items() if n != calls.get(name, 0)} == {
            "delete": calls["delete"] + 1
        }
        assert world.ledger.refused["delete"] == 2


async def test_it_looks_beside_a_running_processor(tmp_path: Path) -> None:
    async with open_world(tmp_path, Plan(tickets=3)) as world, await world.start() as running:
        await world.reach(is_empty, running)
        await wait_for((world.data / CONTROL).exists)
        seen = await examine(world)
        seen.assert_clean()
        assert f"process {running.pid}, and it is ready" in seen.texts["processor"]
        assert "events hold" in seen.texts["log"]
        short = await examine(world, DATA__RESERVE_BYTES=str(2**50))
        assert set(short.findings) == {"disk"}


@pytest.mark.slow
@pytest.mark.requirement("R5", "R7")
async def test_a_wrong_key_and_a_wrong_path_are_told_apart(tmp_path: Path) -> None:
    async with open_world(tmp_path, Plan(tickets=0)) as world:
        wrong = await examine(world, BRIDGE__API_KEY="hunter2-hunter2")
        wrong.assert_found("key", "error", "Forbidden", "check bridge.api_key")
        assert "hunter2" not in wrong.out

        for path in ("/testclient/Dev", "/TestClient/dev"):
            upper = await examine(world, BRIDGE__URL=world.simulator.bridge.url_base + path)
            upper.assert_found("key", "error", "paths are case sensitive", f"set bridge.url to {world.simulator.url}")
            assert "url" in upper.findings

        keys = tmp_path / "keys"
        keys.write_text("hunter2-hunter2\nsimulator-key\n", encoding="utf-8")
        keys.chmod(0o644)
        second = await examine(world, BRIDGE__API_KEY_FILE=str(keys))
        second.assert_found("key", "warning", "the second one is taken", "first line")
        second.assert_found("config", "warning", "other users may read", "chmod 600")
        assert "hunter2" not in second.out


async def test_a_plain_address_and_all_else_that_is_wrong_in_the_configuration_come_at_once(tmp_path: Path) -> None:
    async with open_world(tmp_path, Plan(tickets=0)) as world:
        seen = await examine(world, BRIDGE__URL="http://smconnect.example.com/client/prod", WEB__LISTEN="nowhere")
        assert seen.code == 3
        told = {(each["check"], each["text"].split(": ", 1)[1]): each["fix"] for each in seen.report["findings"]}
        assert {check for check, _ in told} == {"config"}
        assert "write https://" in told["config", "bridge.url must begin with https://"]
        assert len(told) == 2
        assert "configuration has errors" in seen.texts["log"]
        nothing = await examine(world, BRIDGE__CLIENT_NAME="")
        nothing.assert_found("config", "error", "bridge.client_name is required", "ECPROC_BRIDGE__CLIENT_NAME")
        assert set(nothing.findings) == {"config"}
        assert "there is no event log yet" in nothing.texts["log"]


@pytest.mark.requirement("C28")
async def test_the_form_in_which_the_clients_name_is_taken_is_found(tmp_path: Path) -> None:
    async def script(peer: Any) -> None:
        while (request := await peer.request()) is not None:
            named = "clientName=testClient" in request.target
            await peer.answer(400, INVALID if named else b'{"Response":"Unable to find mapping for ClientName"}')

    async with open_world(tmp_path, Plan(tickets=0)) as world, FaultServer(script) as bridge:
        seen = await examine(world, BRIDGE__URL=bridge.url + PATH)
        seen.assert_found("key", "error", 'client_name_in is "body"', 'client_name_in = "query"')
        assert {request.method for request in bridge.requests} == {"DELETE"}


async def test_a_clock_that_is_off_is_told(tmp_path: Path) -> None:
    async with open_world(tmp_path, Plan(tickets=0)) as world:
        async with dated(600) as bridge:
            off = await examine(world, BRIDGE__URL=bridge.url + PATH)
        off.assert_found("clock", "error", "ahead of the bridge's", "time service")
        async with dated(-120) as bridge:
            drifting = await examine(world, BRIDGE__URL=bridge.url + PATH)
        drifting.assert_found("clock", "warning", "behind the bridge's", "time service")
        async with dated() as bridge:
            right = await examine(world, BRIDGE__URL=bridge.url + PATH)
        right.assert_clean()


async def test_a_bridge_that_is_not_there_or_says_nothing_is_told_in_time(tmp_path: Path) -> None:
    async with open_world(tmp_path, Plan(tickets=0)) as world:
        async with FaultServer(black_hole) as silent:
            place = silent.url + PATH
            hung = await examine(world, BRIDGE__URL=place, BRIDGE__TIMEOUT="1")
        hung.assert_found("bridge", "error", "no answer within 1 s", "check the way to the bridge")
        gone = await examine(world, BRIDGE__URL=place)
        gone.assert_found("bridge", "error", "Connection refused", "firewall")
        assert "not reached" in gone.texts["key"]


@pytest.mark.slow
@pytest.mark.requirement("R3")
async def test_tls_that_cannot_be_trusted_and_a_certificate_that_ends_are_told(tmp_path: Path) -> None:
    ca = trustme.CA()
    ca.cert_pem.write_to_path(str(tmp_path / "ca.pem"))

    def serve(name: str, days: int) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        until = datetime.now(UTC) + timedelta(days=days)
        ca.issue_cert(name, not_after=until).configure_cert(context)
        return context

    script = answering(400, INVALID, {"date": format_datetime(datetime.now(UTC), usegmt=True)})
    trusted = {"BRIDGE__CA_FILE": str(tmp_path / "ca.pem")}
    async with open_world(tmp_path, Plan(tickets=0)) as world:
        async with FaultServer(script, tls=serve("127.0.0.1", 90)) as bridge:
            url = bridge.url + PATH
            strange = await examine(world, BRIDGE__URL=url)
            strange.assert_found("tls", "error", "certificate verify failed", "bridge.ca_file")
            known = await examine(world, BRIDGE__URL=url, **trusted)
            known.assert_clean()
            assert "ends in 89 days" in known.texts["tls"]
            missing = await examine(world, BRIDGE__URL=url, BRIDGE__CA_FILE="nowhere.pem")
            missing.assert_found("bridge", "error", "cannot read CA certificates", "PEM")
        async with FaultServer(script, tls=serve("127.0.0.1", 5)) as bridge:
            ending = await examine(world, BRIDGE__URL=bridge.url + PATH, **trusted)
        ending.assert_found("tls", "warning", "certificate ends on", "renewed")
        async with FaultServer(script, tls=serve("other.example.com", 90)) as bridge:
            other = await examine(world, BRIDGE__URL=bridge.url + PATH, **trusted)
        other.assert_found("tls", "error", "certificate verify failed", "bridge.ca_file")


async def test_an_open_directory_and_a_full_disk_are_told(tmp_path: Path) -> None:
    async with open_world(tmp_path, Plan(tickets=1)) as world:
        await world.drain()
        world.data.chmod(0o755)
        seen = await examine(world, DATA__RESERVE_BYTES=str(2**50))
        seen.assert_found("data_dir", "warning", "others can read it", f"chmod 700 {world.data}")
        seen.assert_found("disk", "error", "below data.reserve_bytes", "free space")
        assert set(seen.findings) == {"data_dir", "disk"}


async def test_a_slow_disk_and_an_old_sqlite_are_told(tmp_path: Path) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(SLOW_AND_OLD, encoding="utf-8")
    plan = Plan(tickets=0, package_root=Path(f"{tmp_path / 'site'}:{ROOT}"))
    async with open_world(tmp_path, plan) as world:
        seen = await examine(world)
        seen.assert_found("fsync", "warning", "a synced write takes ", "SSD")
        seen.assert_found("sqlite", "error", "SQLite 3.31.1 is older than", "Python")
        assert set(seen.findings) == {"fsync", "sqlite"}


@pytest.mark.requirement("I6")
async def test_a_damaged_log_is_told_with_its_position(tmp_path: Path) -> None:
    async with open_world(tmp_path, Plan(tickets=2)) as world:
        await world.drain()
        with closing(sqlite3.connect(world.data / "ecproc.db")) as database, database:
            database.execute("UPDATE event SET payload = x'7b7d' WHERE position = 3")
        seen = await examine(world)
        seen.assert_found("log", "error", "damaged at position 3", "--accept-loss")


async def test_a_log_that_is_no_database_or_another_environments_is_told_once(tmp_path: Path) -> None:
    async with open_world(tmp_path, Plan(tickets=1)) as world:
        await world.drain()
        other = await examine(world, BRIDGE__CLIENT_NAME="somebody")
        other.assert_found("identity", "error", "client_name='somebody'", "data.dir")
        assert set(other.findings) == {"identity"}
        (world.data / "ecproc.db").write_bytes(b"no database" * 1000)
        broken = await examine(world)
        broken.assert_found("log", "error", "file is not a database", "--accept-loss")
        assert set(broken.findings) == {"log"}
        assert broken.texts["waiting"] == "not looked at: it fails as the check log does"


async def test_what_run_would_refuse_is_told(tmp_path: Path) -> None:
    async with open_world(tmp_path, Plan(tickets=1)) as world:
        await world.drain()
        copy = tmp_path / "copy"
        assert (await world.ask("log", "backup", str(copy))).code == 0
        with socket.create_server(("127.0.0.1", 0)) as server:
            place = f"127.0.0.1:{server.getsockname()[1]}"
            seen = await examine(world, DATA__DIR=str(copy), WEB__LISTEN=place)
        seen.assert_found("web", "error", f"cannot listen on {place}", "web.listen")
        seen.assert_found("database", "error", "is a backup", "ecproc run --accept-loss")
        assert set(seen.findings) == {"web", "database"}
        note_check(world.data, ReplayVerified(1, equal=False))
        differing = await examine(world)
        differing.assert_found("replay", "error", "not equal to the live state", "ecproc replay")
        assert set(differing.findings) == {"replay"}


async def test_a_stale_anchor_is_told(tmp_path: Path) -> None:
    async with open_world(tmp_path, Plan(tickets=0)) as world:
        ticking = count(1_700_000_000_000_000, 60_000_000)
        store = await open_store(DataConfig(dir=world.data), TABLES, now=lambda: next(ticking), identity={"host": "h"})
        for number in range(4):
            await store.commit(Batch([NewEvent("e-CS1", f"Kind{number}", b"{}")]))
        first = await store.read_event(1)
        await store.aclose()
        sound = await examine(world)
        assert "anchor" not in sound.findings
        assert first is not None
        anchor = {"position": 1, "hash": first.hash.hex()}
        (world.data / "anchor").write_text(json.dumps(anchor), encoding="utf-8")
        stale = await examine(world)
        stale.assert_found("anchor", "error", "it names position 1", "older anchor")
        assert "log" not in stale.findings


async def test_a_desk_that_is_gone_is_told(tmp_path: Path) -> None:
    async with open_world(tmp_path, Plan(tickets=2)) as world:
        await world.drain()
        (world.data / "desk.db").unlink()
        seen = await examine(world)
        seen.assert_found("desk", "error", "is gone or empty", "put the whole data directory back")


@pytest.mark.requirement("R171")
async def test_what_waits_for_a_person_and_an_approver_without_an_address_are_told(
    tmp_path: Path, put_change: Callable[[World], None]
) -> None:
    async with open_world(tmp_path, Plan(tickets=0, groups=frozenset({"Known"}))) as world:
        put_change(world)
        await world.drain()
        refused = await world.ask(*CREATE, "--group", "Unknown", "--wait")
        assert refused.code == 1
        seen = await examine(world)
        seen.assert_found("approvers", "warning", "Ann (e-CHG0000009)", "--approver")
        seen.assert_found("waiting", "warning", "1 outbox entries came to a bad end", "ecproc outbox list")


@pytest.mark.requirement("R8", "R9")
async def test_a_round_trip_over_echo_is_proven_by_the_running_processors_log(tmp_path: Path) -> None:
    async with open_world(tmp_path, Plan(tickets=0)) as world:
        alone = await examine(world, "--echo")
        alone.assert_found("echo", "error", "nobody reads what comes back", "start ecproc run")
        assert world.ledger.calls["create"] == 0
        async with await world.start():
            await wait_for((world.data / CONTROL).exists)
            seen = await examine(world, "--echo")
        seen.assert_clean()
        assert "e-CS5000001 was opened by way of echo and came back" in seen.texts["echo"]
        assert world.ledger.calls["create"] == 1
        shown = json.loads((await world.ask("show", "e-CS5000001")).out)
        assert shown["fields"]["shortDescription"] == shown["client_ticket"]
        assert shown["client_ticket"].startswith("ECPROC-DOCTOR-")
        assert [effect for effect in shown["effects"] if effect["kind"] == "create_client_ticket"] == []


async def test_there_is_no_round_trip_where_there_is_no_echo(tmp_path: Path) -> None:
    async with open_world(tmp_path, Plan(tickets=0, env="prod")) as world:
        seen = await examine(world, "--echo")
        seen.assert_found("echo", "error", "this is prod", "dev")
        assert set(seen.findings) == {"echo"}


CREATE: Final = (
    *("send", "create", "--type", "Incident", "--number", "INC0042", "--short", "a fan is loud"),
    *("--description", "it rattles", "--contact-name", "Ann", "--contact-email", "ann@example.com"),
)


@pytest.fixture
def put_change() -> Callable[[World], None]:
    """What puts a change into the queue that asks somebody who has no address."""
    record: Mapping[str, str] = {
        "clientName": "testClient",
        "ticketNumber": "e-CHG0000009",
        "ticketType": "Change",
        "type": "Normal",
        "state": "Assess",
    }
    asked = {"approvalId": "a1", "approvalState": "Requested", "approverName": "Ann", "approverEmail": ""}

    def put(world: World) -> None:
        for body, transaction in ((record, "Create"), ({**record, **asked}, "ApprovalRequest")):
            attributes = {"MessageGroupId": "e-CHG0000009", "TransactionType": transaction}
            world.simulator.bridge.send_raw(RawMessage(msgspec.Raw(msgspec.json.encode(body)), attributes))

    return put
