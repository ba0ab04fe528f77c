"""What the doctor says of readings: each fault is named with what to do, and what is right is no finding."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import anyio
import msgspec
import pytest

from ecproc.config import BridgeConfig, Config, DataConfig, Secret, SecretFile, WebConfig
from ecproc.desk.health import DeskHealth
from ecproc.desk.numbers import DeskStand
from ecproc.doctor import bridging, data, machine
from ecproc.doctor.aside import call_aside
from ecproc.doctor.bridging import ProbeAnswer, Probed, ProbeFailure, ProbeForm, list_other_forms
from ecproc.doctor.echo import judge_echo, refuse_echo, to_echo
from ecproc.doctor.examination import Surroundings, examine, list_keys, make_check
from ecproc.doctor.machine import DirectoryReading
from ecproc.doctor.readings import find_obstacle
from ecproc.doctor.report import CheckName, Opinion, Trouble, skip, warn, write_report
from ecproc.errors import ConfigError, ConfigProblem, Severity, StoreError
from ecproc.http import ConnectionEnds
from ecproc.privacy import Exposure
from ecproc.reading.attention import Approver, Attention
from ecproc.reading.mismatches import Mismatch, MismatchCode
from ecproc.store.base import Damage, Head, LogHealth, VerifiedLog
from ecproc.wire.responses import judge_delete

URL: Final = "https://smconnect.ensono.com/yourclient/prod"
SECOND: Final = 1_000_000
NOW: Final = 1_790_000_000 * SECOND
DAY: Final = 24 * 3600
INVALID: Final = b'{"Error":{"Code":"ReceiptHandleIsInvalid","Message":"x"},"RequestId":"r"}'
FORBIDDEN: Final = b'{"message": "Forbidden"}'
UNKNOWN_CLIENT: Final = b'{"Response": "Unable to find mapping for ClientName"}'
PLACE: Final = Path("/var/lib/ecproc")
ERROR, WARNING = Severity.ERROR, Severity.WARNING


def bridge(**changed: Any) -> BridgeConfig:
    return BridgeConfig(**{"url": URL, "client_name": "Client", "api_key": Secret("k" * 20), **changed})


def answer(body: bytes = INVALID, status: int = 400, *, off: float = 0.0, days: float = 90) -> ProbeAnswer:
    """An answer that came while our clock was that much ahead, with a certificate that ends in so many days."""
    ends = ConnectionEnds("10.0.0.7", "203.0.113.9", NOW / SECOND + days * DAY)
    date = NOW - int(off * SECOND)
    return ProbeAnswer(judgement=judge_delete(status, body), ends=ends, date=date, at=NOW, took=0.05)


def probed(outcome: ProbeAnswer | ProbeFailure, **changed: Any) -> Probed:
    return Probed(ProbeForm(bridge(**changed)), outcome)


def health(**changed: Any) -> LogHealth:
    return LogHealth(**{"size_bytes": 10, "wal_bytes": 0, "anchor": 5, "behind_at": None, "newest_at": NOW, **changed})


Case = tuple[Opinion, Severity, str, str]

FAULTS: Final[dict[str, Case]] = {
    "wrong key": (bridging.judge_key([probed(answer(FORBIDDEN, 403))]), ERROR, "Forbidden", "bridge.api_key"),
    "address not allowed": (bridging.judge_key([probed(answer(FORBIDDEN, 403))]), ERROR, "", "leave from 10.0.0.7"),
    "path in upper case": (
        bridging.judge_key(
            [probed(answer(FORBIDDEN, 403), url=URL.replace("y", "Y")), probed(answer(), url=URL)],
        ),
        ERROR,
        "case sensitive",
        f"set bridge.url to {URL}",
    ),
    "name of the client": (
        bridging.judge_key([probed(answer(UNKNOWN_CLIENT)), probed(answer(), client_name_in="query")]),
        ERROR,
        'client_name_in is "body"',
        'client_name_in = "query"',
    ),
    "name of the client in no form": (
        bridging.judge_key([probed(answer(UNKNOWN_CLIENT)), probed(answer(UNKNOWN_CLIENT), client_name_in="query")]),
        ERROR,
        "ClientName",
        "bridge.client_name",
    ),
    "first key": (
        bridging.judge_key([probed(answer(FORBIDDEN, 403)), Probed(ProbeForm(bridge(), key=1), answer())]),
        WARNING,
        "the second one is taken",
        "first line",
    ),
    "bridge in trouble": (bridging.judge_key([probed(answer(b"", 503))]), ERROR, "503", "help desk"),
    "something else answers": (bridging.judge_key([probed(answer(b"hello", 404))]), ERROR, "hello", "bridge.url"),
    "http": (bridging.judge_url(bridge(url=URL.replace("https", "http"))), ERROR, "http://", "https://"),
    "environment in upper case": (
        bridging.judge_url(bridge(url=URL.replace("prod", "PROD"))),
        ERROR,
        "PROD, not prod",
        f"set bridge.url to {URL}",
    ),
    "unknown environment": (bridging.judge_url(bridge(url=URL + "uction")), ERROR, "production", "dev, echo, cert"),
    "client in upper case": (
        bridging.judge_url(bridge(url="http://127.0.0.1:8/Client/dev")),
        WARNING,
        "upper case",
        "usually it is http://127.0.0.1:8/client/dev",
    ),
    "unreachable": (
        bridging.judge_reach([probed(ProbeFailure("connect", "h:443: Connection refused"))]),
        ERROR,
        "Connection refused",
        "firewall",
    ),
    "no such name": (bridging.judge_reach([probed(ProbeFailure("dns", "h: unknown"))]), ERROR, "dns", "resolver"),
    "TLS": (
        bridging.judge_certificate([probed(ProbeFailure("tls", "certificate verify failed"))], now=NOW),
        ERROR,
        "verify failed",
        "bridge.ca_file",
    ),
    "certificate ends": (
        bridging.judge_certificate([probed(answer(days=13.5))], now=NOW),
        WARNING,
        "ends on 2026-",
        "renewed",
    ),
    "clock": (bridging.judge_clock([probed(answer(off=600))]), ERROR, "600 s ahead of", "time service"),
    "clock behind": (bridging.judge_clock([probed(answer(off=-301))]), ERROR, "301 s behind", "time service"),
    "clock drifts": (bridging.judge_clock([probed(answer(off=61))]), WARNING, "61 s ahead", "time service"),
    "old SQLite": (machine.judge_sqlite((3, 37, 2)), ERROR, "3.37.2 is older than 3.38.0", "Python"),
    "few files": (machine.judge_files(128, 256), WARNING, "256 files", "LimitNOFILE"),
    "no data directory": (
        machine.judge_directory(DirectoryReading(PLACE, True, unusable="it is no directory")),
        ERROR,
        "no directory",
        "data.dir",
    ),
    "others can read": (
        machine.judge_directory(
            DirectoryReading(PLACE, True, exposures=(Exposure(PLACE, "others can read it", "chmod 700"),))
        ),
        WARNING,
        "others can read",
        "chmod 700",
    ),
    "full disk": (machine.judge_disk(99, 100, PLACE), ERROR, "nothing is received", "free space"),
    "fuller disk": (machine.judge_disk(49, 100, PLACE), ERROR, "effects and downloads pause", "free space"),
    "slow disk": (machine.judge_sync([0.3, 0.01, 0.2]), WARNING, "200 ms", "SSD"),
    "configuration": (
        machine.judge_config([ConfigProblem("unknown key a.b", "e.toml:3", "did you mean a.c?")], []),
        ERROR,
        "e.toml:3: unknown key",
        "a.c",
    ),
    "unwise configuration": (
        machine.judge_config([], [ConfigProblem("other users may read x", "", "chmod 600 x")]),
        WARNING,
        "other users may read",
        "chmod 600",
    ),
    "processor not ready": (
        data.judge_processor("process 7", "[-] store: the disk is below its reserve\n[+] draining\nnot ready\n"),
        ERROR,
        "store: the disk is below",
        "log",
    ),
    "long write-ahead log": (data.judge_database(health(wal_bytes=data.LONG_WAL)), WARNING, "134 MB", "fuser"),
    "changed database": (data.judge_database(health(odd="it is in no mode")), WARNING, "in no mode", "other program"),
    "address that is taken": (
        data.judge_web("127.0.0.1:9464", "Address already in use"),
        ERROR,
        "127.0.0.1:9464 (web.listen): Address already in use",
        "web.listen",
    ),
    "backup": (data.judge_database(health(is_backup=True)), ERROR, "is a backup", "run --accept-loss"),
    "other live state": (data.judge_replay(False), ERROR, "not equal", "ecproc replay"),
    "damaged log": (data.judge_log(Damage(7, "it is missing")), ERROR, "position 7: it is missing", "--accept-loss"),
    "log of another environment": (
        data.judge_identity("was written for environment='dev'"),
        ERROR,
        "environment='dev'",
        "data.dir",
    ),
    "stale anchor": (
        data.judge_anchor(health(behind_at=NOW - 61 * SECOND), running=False, now=0),
        ERROR,
        "position 5, and the log went on for 61 s",
        "older anchor",
    ),
    "stale anchor while it runs": (
        data.judge_anchor(health(behind_at=NOW - SECOND), running=True, now=NOW + 100 * SECOND),
        ERROR,
        "101 s",
        "writable",
    ),
    "damaged desk": (data.judge_desk(DeskHealth(1, DeskStand(1), "row 3"), ""), ERROR, "row 3", "put the whole"),
    "desk of another time": (
        data.judge_desk(DeskHealth(1, DeskStand(1)), "the log is older"),
        ERROR,
        "the log is older",
        "put the whole",
    ),
    "sender": (
        data.judge_senders({"AROA:envxsn2qdev1SN2QBridge": 9}, "prod"),
        WARNING,
        "position 9",
        "bridge.url",
    ),
    "second consumer": (
        data.judge_consumers([Mismatch(MismatchCode.SECOND_CONSUMER, None, "9 of them", None, "end that")]),
        ERROR,
        "somebody else reads this queue: 9 of them",
        "end that",
    ),
    "approver without address": (
        data.judge_approvers([Approver("e-CHG1", "Ann", "")]),
        WARNING,
        "Ann (e-CHG1)",
        "--approver",
    ),
    "quarantine": (data.judge_waiting(Attention(2, 0)), WARNING, "2 messages", "quarantine list"),
    "parked": (data.judge_waiting(Attention(0, 0, parked=("e-CS1",))), WARNING, "e-CS1", "ecproc resume"),
    "dead": (data.judge_waiting(Attention(0, 3)), WARNING, "3 outbox entries", "outbox list"),
    "echo in prod": (refuse_echo("prod", is_read=True) or Opinion(""), ERROR, "this is prod", "--echo"),
    "echo that nobody reads": (refuse_echo("dev", is_read=False) or Opinion(""), ERROR, "nobody reads", "ecproc run"),
    "echo without an answer": (judge_echo(None, "T", number="e-1", seconds=90), ERROR, "90 s", "dev's queue"),
    "echo that says something else": (
        judge_echo(b'{"shortDescription":"other"}', "T", number="e-1", seconds=1),
        WARNING,
        "another short description",
        "ask Ensono",
    ),
}


@pytest.mark.requirement("R4", "R7", "R43")
@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_is_named_with_what_to_do(fault: str) -> None:
    opinion, severity, text, fix = FAULTS[fault]
    (trouble,) = opinion.troubles
    assert trouble.severity is severity
    assert text in trouble.text
    assert fix in trouble.fix


RIGHT: Final[dict[str, Opinion]] = {
    "key": bridging.judge_key([probed(answer())]),
    "expired handle": bridging.judge_key(
        [probed(answer(b'{"Error":{"Message":"Reason: The receipt handle has expired."}}'))]
    ),
    "url": bridging.judge_url(bridge()),
    "what the configuration warned of": bridging.judge_url(bridge(url=URL.replace("your", "Your"))),
    "loopback": bridging.judge_url(bridge(url="http://127.0.0.1:8/client/dev")),
    "reached": bridging.judge_reach([probed(answer())]),
    "certificate": bridging.judge_certificate([probed(answer(days=14.5))], now=NOW),
    "clock": bridging.judge_clock([probed(answer(off=-59))]),
    "oldest SQLite": machine.judge_sqlite(machine.OLDEST_SQLITE),
    "newest SQLite": machine.judge_sqlite((4, 0, 0)),
    "files": machine.judge_files(256, 100_000),
    "directory": machine.judge_directory(DirectoryReading(PLACE, True)),
    "directory to be made": machine.judge_directory(DirectoryReading(PLACE, False)),
    "disk": machine.judge_disk(100, 100, PLACE),
    "fsync": machine.judge_sync([0.5, 0.1, 0.01]),
    "configuration": machine.judge_config([], []),
    "no processor": data.judge_processor("", ""),
    "processor": data.judge_processor("process 7", "[+] store: it works\nready\n"),
    "free address": data.judge_web("127.0.0.1:9464", ""),
    "live state": data.judge_replay(True),
    "live state that nobody compared": data.judge_replay(None),
    "database": data.judge_database(health()),
    "log": data.judge_log(VerifiedLog(5, Head(5, b""))),
    "anchor": data.judge_anchor(health(), running=True, now=NOW),
    "anchor of a moment ago": data.judge_anchor(health(behind_at=NOW - SECOND), running=True, now=NOW),
    "anchor of a process that died": data.judge_anchor(health(behind_at=NOW - SECOND), running=False, now=NOW * 2),
    "desk": data.judge_desk(DeskHealth(3, DeskStand(3)), ""),
    "no desk": data.judge_desk(None, ""),
    "identity": data.judge_identity(""),
    "no log": data.judge_database(None),
    "no log to anchor": data.judge_anchor(None, running=False, now=NOW),
    "no log to verify": data.judge_log(None),
    "sender": data.judge_senders({"AROA:envxsn2qdev1SN2QBridge": 9, "somebody": 10}, "echo"),
    "no other consumer": data.judge_consumers([]),
    "approvers": data.judge_approvers([]),
    "nothing waits": data.judge_waiting(Attention(0, 0, paused=("desk",))),
    "echo": judge_echo(b'"{\\"shortDescription\\":\\"T\\"}"', "T", number="e-1", seconds=1),
}


@pytest.mark.parametrize("thing", RIGHT)
def test_what_is_right_is_no_finding(thing: str) -> None:
    assert RIGHT[thing].troubles == ()
    assert RIGHT[thing].made
    assert RIGHT[thing].text


def test_what_needs_an_answer_is_not_looked_at_without_one() -> None:
    unreached = [probed(ProbeFailure("timeout", "h:443: no connection within 6 s"))]
    looks = (bridging.judge_key, bridging.judge_clock, lambda each: bridging.judge_certificate(each, now=NOW))
    for opinion in [look(unreached) for look in looks]:
        assert (opinion.made, opinion.troubles) == (False, ())
    without_date = msgspec.structs.replace(answer(), date=None)
    assert not bridging.judge_clock([probed(without_date)]).made


@pytest.mark.requirement("R4")
def test_the_address_that_calls_leave_from_is_named() -> None:
    assert "leave from 10.0.0.7 and go to 203.0.113.9" in bridging.judge_reach([probed(answer())]).text
    by_proxy = bridging.judge_reach([probed(answer(), proxy=Secret("http://ann:pw@proxy.example.com:3128"))]).text
    assert "proxy.example.com:3128, whose address Ensono sees" in by_proxy
    assert "pw" not in by_proxy


@pytest.mark.requirement("C28", "R5", "R7")
def test_other_forms_are_tried_for_what_the_refusal_is_about() -> None:
    def others(outcome: ProbeAnswer | ProbeFailure, *, keys: int = 1, **changed: Any) -> Sequence[ProbeForm]:
        return list(list_other_forms(probed(outcome, **changed), keys=keys))

    forms = [form.bridge.client_name_in for form in others(answer(UNKNOWN_CLIENT), client_name_in="query")]
    assert forms == ["body", "header"]
    upper = URL.replace("your", "Your")
    assert [(form.key, form.bridge.url) for form in others(answer(FORBIDDEN, 403), keys=2, url=upper)] == [
        (1, upper),
        (0, URL),
    ]
    assert others(answer(FORBIDDEN, 403)) == []
    assert others(answer(), keys=2, url=upper) == []
    assert others(answer(b"", 503), keys=2) == []
    assert others(ProbeFailure("tls", ""), keys=2) == []


def test_a_report_has_every_check_and_what_it_found() -> None:
    report = write_report(
        [
            (CheckName.URL, Opinion("fine")),
            (CheckName.TLS, skip("no reason")),
            (CheckName.KEY, Opinion("bad", (Trouble("a", "b"), warn("c", "d")))),
        ]
    )
    assert msgspec.json.decode(msgspec.json.encode(report)) == {
        "ok": False,
        "checks": [
            {"check": "url", "ok": True, "text": "fine"},
            {"check": "tls", "ok": False, "text": "not looked at: no reason"},
            {"check": "key", "ok": False, "text": "bad"},
        ],
        "findings": [
            {"check": "key", "severity": "error", "text": "a", "fix": "b"},
            {"check": "key", "severity": "warning", "text": "c", "fix": "d"},
        ],
    }
    assert write_report([(CheckName.TLS, skip("no reason"))]).ok


def test_what_several_checks_say_is_said_once() -> None:
    same = Opinion("failed", (Trouble("no database", "put it back"),))
    report = write_report([(CheckName.LOG, same), (CheckName.ANCHOR, same), (CheckName.URL, Opinion("fine"))])
    assert [finding.check for finding in report.findings] == ["log"]
    assert [(each.ok, each.text) for each in report.checks] == [
        (False, "failed"),
        (False, "not looked at: it fails as the check log does"),
        (True, "fine"),
    ]


async def failing(error: Exception) -> Opinion:
    raise error


@pytest.mark.parametrize(
    ("error", "text", "fix"),
    [
        (StoreError("no log"), "no log", "ask again"),
        (ConfigError(ConfigProblem("bad file", "x.pem", "PEM")), "bad file", "PEM"),
        (OSError(5, "Input/output error hunter2"), "Input/output error ***", "system"),
        (ZeroDivisionError("hunter2"), "a defect of ecproc: ZeroDivisionError: ***", "report it"),
    ],
)
async def test_a_check_that_fails_is_a_finding_without_secrets(error: Exception, text: str, fix: str) -> None:
    opinion = await make_check(
        CheckName.LOG, lambda: failing(error), seconds=5, redact=lambda said: said.replace("hunter2", "***")
    )
    (trouble,) = opinion.troubles
    assert text in trouble.text
    assert fix in trouble.fix
    assert trouble.severity is ERROR


async def test_a_check_that_takes_too_long_is_a_finding_and_holds_up_nothing() -> None:
    released = threading.Event()

    async def hang() -> Opinion:
        return await call_aside(lambda: Opinion(str(released.wait())))

    try:
        with anyio.fail_after(5):
            opinion = await make_check(CheckName.DISK, hang, seconds=0.01, redact=str)
    finally:
        released.set()
    assert [trouble.text for trouble in opinion.troubles] == ["the check disk came to no result in its time"]


async def test_what_is_called_aside_gives_its_result_or_its_error() -> None:
    assert await call_aside(lambda: threading.current_thread().daemon) is True
    with pytest.raises(ZeroDivisionError):
        await call_aside(lambda: 1 // 0)


class StoppedClock:
    """A clock that stands still, or leaps at each look."""

    def __init__(self, leap: float = 0.0) -> None:
        self.leap = leap
        self.seconds = 0.0

    def now(self) -> int:
        return NOW

    def monotonic(self) -> float:
        self.seconds += self.leap
        return self.seconds

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(0)


def surroundings(config: Config | None, *, leap: float = 0.0) -> Surroundings:
    async def ask_ready(_: Config) -> str:
        return "ready\n"

    problems = [ConfigProblem("bridge.url is required", "", "set it")]
    return Surroundings(config=config, complete=False, problems=problems, clock=StoppedClock(leap), ask_ready=ask_ready)


async def test_every_check_is_reported_in_order_whatever_the_configuration_is(tmp_path: Path) -> None:
    config = Config(data=DataConfig(dir=tmp_path / "data", reserve_bytes=0))
    for given in (None, config):
        report = await examine(surroundings(given), echo=True, redact=str)
        names = [each.check for each in report.checks]
        assert names == [*CheckName][: len(names)]
        assert set(CheckName) - set(names) <= {CheckName.ECHO}
        assert [(each.check, each.severity) for each in report.findings] == [("config", "error")]
    assert [each for each in tmp_path.iterdir() if each.name == "data"] == []


@pytest.mark.parametrize("name", ["file", "file/below"])
async def test_a_data_directory_that_cannot_be_used_is_told_once(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    config = Config(data=DataConfig(dir=tmp_path / name, reserve_bytes=0), web=WebConfig(listen="127.0.0.1:0"))
    report = await examine(surroundings(config), echo=False, redact=str)
    assert [each.check for each in report.findings] == ["config", "data_dir"]
    told = {each.check: each.text for each in report.checks}
    assert {told[name] for name in ("fsync", "processor", "log", "replay")} == {
        "not looked at: it fails as the check data_dir does"
    }
    assert "free at" in told["disk"]


def test_only_an_address_that_somebody_listens_on_is_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert "in use" in find_obstacle("127.0.0.1", port)
    assert find_obstacle("127.0.0.1", port) == ""
    assert find_obstacle("host..invalid", 1) != ""


async def test_checks_for_which_no_time_is_left_are_findings(tmp_path: Path) -> None:
    config = Config(data=DataConfig(dir=tmp_path, reserve_bytes=0))
    report = await examine(surroundings(config, leap=60), echo=False, redact=str)
    late = {each.check for each in report.findings if "in its time" in each.text}
    assert {CheckName.DISK, CheckName.LOG, CheckName.WAITING} <= late


def test_all_keys_of_a_file_may_be_sent() -> None:
    one, two = Secret("one"), Secret("two")
    assert list_keys(Config(bridge=bridge(api_key=one))) == (one,)
    file = SecretFile(Path("key"), (one, two))
    assert list_keys(Config(bridge=bridge(api_key=one), secret_files={"bridge.api_key": file})) == (one, two)


@pytest.mark.requirement("R9")
def test_echo_is_beside_dev_and_its_queue_is_devs() -> None:
    for environment in ("dev", "echo"):
        config = to_echo(bridge(url=f"https://h.example.com/client/{environment}"))
        assert config.base_url == "https://h.example.com/client/echo"
        assert config.queue_url == "https://h.example.com/client/dev"
        assert refuse_echo(environment, is_read=True) is None
