"""Secrets that follow their files: which value is sent, what a changed file brings, and what is said of it."""

from __future__ import annotations

import io
import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest
import structlog

from ecproc.config import Config, LiveSecret, Secret, SecretChange, load_config
from ecproc.reloading import LOOK_SECONDS, Reloading
from ecproc.telemetry.logs import configure_logging
from ecproc.telemetry.redaction import Redactor

KEY = "bridge.api_key"


class Case:
    """A key that follows a file, and what it was heard to say."""

    def __init__(self, path: Path, text: str = "old\n") -> None:
        self.path = path
        self.heard: list[SecretChange] = []
        path.write_text(text, encoding="utf-8")
        self.key = LiveSecret(KEY, [Secret(line) for line in text.split()], path=path, hear=self.heard.append)
        self.key.look()

    def write(self, text: str) -> None:
        """Put another file in the place of this one, as whoever rotates a key should."""
        fresh = self.path.with_suffix(".new")
        fresh.write_bytes(text.encode("latin-1"))
        fresh.replace(self.path)

    @property
    def reasons(self) -> list[str]:
        """Why changes were not taken up, empty for one that was."""
        return [change.reason for change in self.heard]


@pytest.fixture
def case(tmp_path: Path) -> Case:
    """One key in a file."""
    return Case(tmp_path / "key")


@pytest.mark.requirement("R5")
class TestLooks:
    def test_a_new_file_is_taken_up_and_told(self, case: Case) -> None:
        case.write("new\n")
        assert case.key.value == Secret("old")
        assert case.key.look()
        assert case.key.value == Secret("new")
        assert case.heard == [SecretChange(KEY, case.path, (Secret("new"),))]

    def test_the_first_look_sees_what_changed_since_the_start(self, tmp_path: Path) -> None:
        (tmp_path / "key").write_text("new", encoding="utf-8")
        key = LiveSecret(KEY, [Secret("old")], path=tmp_path / "key")
        assert key.look()
        assert key.value == Secret("new")

    def test_a_file_that_was_only_touched_is_no_change(self, case: Case) -> None:
        os.utime(case.path, (1, 1))
        assert not case.key.look()
        assert not case.key.look(force=True)
        assert case.heard == []

    def test_a_link_that_leads_elsewhere_is_one(self, tmp_path: Path) -> None:
        for name in ("one", "two"):
            (tmp_path / name).mkdir()
            (tmp_path / name / "key").write_text(name, encoding="utf-8")
        (tmp_path / "data").symlink_to("one")
        (tmp_path / "key").symlink_to("data/key")
        key = LiveSecret(KEY, [Secret("one")], path=tmp_path / "key")
        assert not key.look()
        (tmp_path / "next").symlink_to("two")
        (tmp_path / "next").replace(tmp_path / "data")
        assert key.look()
        assert key.value == Secret("two")

    @pytest.mark.parametrize(
        ("text", "reason"),
        [
            ("", "it is empty"),
            ("\r\n\n", "it is empty"),
            ("a\nb\nc\n", "it has more than two lines"),
            ("canary\x00\n", "it has characters that no HTTP header can carry"),
            ("good\n canary\n", "it has characters that no HTTP header can carry"),
            ("\xff", "it is not UTF-8"),
            (None, "No such file or directory"),
        ],
    )
    def test_a_broken_file_keeps_the_old_key_and_is_told_once(self, case: Case, text: str | None, reason: str) -> None:
        if text is None:
            case.path.unlink()
        else:
            case.write(text)
        for _ in range(3):
            assert not case.key.look()
        assert case.key.value == Secret("old")
        assert case.reasons == [reason]
        case.write("new")
        assert case.key.look()
        assert case.key.value == Secret("new")

    def test_a_folder_or_pipe_in_its_place_is_not_opened(self, case: Case) -> None:
        case.path.unlink()
        os.mkfifo(case.path)  # opening it would wait for a writer
        assert not case.key.look()
        assert case.reasons == ["it is no regular file"]

    def test_without_a_file_nothing_is_looked_at(self) -> None:
        key = LiveSecret(KEY, [Secret("old")])
        assert not key.look(force=True)
        assert key.instead_of(key.value) is None


@pytest.mark.requirement("R5")
class TestRefusals:
    def test_one_key_and_no_new_file_leave_nothing_to_try(self, case: Case) -> None:
        assert case.key.instead_of(Secret("old")) is None

    def test_a_file_that_changed_is_looked_at_at_once(self, case: Case) -> None:
        case.write("new")
        assert case.key.instead_of(Secret("old")) == Secret("new")
        assert case.key.value == Secret("new")

    def test_a_call_that_was_under_way_is_given_the_key_of_now(self, case: Case) -> None:
        case.write("new")
        case.key.look()
        assert case.key.instead_of(Secret("old")) == Secret("new")

    def test_the_second_line_is_used_once_it_worked_until_the_file_changes(self, tmp_path: Path) -> None:
        case = Case(tmp_path / "key", "first\nsecond\n")
        assert case.key.instead_of(Secret("first")) == Secret("second")
        assert case.key.value == Secret("first"), "it did not work yet"
        case.key.settle(Secret("second"))
        assert case.key.value == Secret("second")
        assert case.key.instead_of(Secret("second")) == Secret("first"), "the old one may be back"
        case.write("third\nsecond\n")
        case.key.look()
        assert case.key.value == Secret("third")

    def test_a_key_that_is_gone_since_does_not_come_back(self, case: Case) -> None:
        case.write("new")
        case.key.look()
        case.key.settle(Secret("old"))
        assert case.key.value == Secret("new")


# --- what is said of it -----------------------------------------------------------------------------------------------


class Log:
    """What went to the log as JSON lines."""

    def __init__(self) -> None:
        self.stream = io.StringIO()
        self.redactor = Redactor()

    @property
    def text(self) -> str:
        return self.stream.getvalue()

    def lines(self, *events: str) -> list[dict[str, Any]]:
        """The lines about these events."""
        return [line for line in map(json.loads, self.text.splitlines()) if line["event"] in events]


@pytest.fixture
def log() -> Iterator[Log]:
    """The log of this test, with the secrets that it learns; then logging as it was."""
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    log = Log()
    configure_logging(log.stream, json=True, redactor=log.redactor)
    yield log
    root.handlers = handlers
    root.setLevel(level)
    structlog.reset_defaults()


class Steps:
    """A clock whose sleeps are steps that a test takes."""

    def __init__(self) -> None:
        self.slept: list[float] = []
        self.looked = anyio.Event()
        self.go = anyio.Event()

    def now(self) -> int:
        return 0

    def monotonic(self) -> float:
        return 0.0

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.looked.set()
        await self.go.wait()
        self.go = anyio.Event()


def load(folder: Path, **files: str) -> Config:
    """A configuration whose secrets of these names stand in files."""
    env = {}
    for name, text in files.items():
        path = folder / name
        path.write_text(text, encoding="utf-8")
        path.chmod(0o600)
        env[f"ECPROC_{name.upper()}_FILE"] = str(path)
    return load_config(None, env, require_bridge=False, default_path=folder / "none")


@pytest.mark.requirement("R5", "I11")
async def test_a_changed_file_is_noticed_between_two_looks_told_and_masked(tmp_path: Path, log: Log) -> None:
    clock = Steps()
    config = load(tmp_path, bridge__api_key="canary-old", web__read_token="canary-0123456789")
    reloading = Reloading(config, clock=clock, learn=log.redactor.learn)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(reloading.run)
        await clock.looked.wait()
        (tmp_path / "bridge__api_key").write_text("canary-new", encoding="utf-8")
        clock.looked = anyio.Event()
        clock.go.set()
        await clock.looked.wait()
        tasks.cancel_scope.cancel()
    assert set(clock.slept) == {LOOK_SECONDS}
    assert LOOK_SECONDS <= 5
    assert reloading.secrets[KEY].value == Secret("canary-new")
    [line] = log.lines("secret_reloaded", "secret_not_reloaded")
    assert (line["level"], line["option"], line["file"]) == ("info", KEY, str(tmp_path / "bridge__api_key"))
    structlog.get_logger().warning("said", what="canary-new")
    assert "canary-new" not in log.text


@pytest.mark.requirement("R5")
def test_a_hangup_reads_everything_and_says_once_what_stays(tmp_path: Path, log: Log) -> None:
    (tmp_path / "web__read_token").write_text("0123456789abcdef", encoding="utf-8")
    (tmp_path / "bridge__proxy").write_text("http://u:canary-1@h:1", encoding="utf-8")
    config = load_config(
        None,
        {
            "ECPROC_BRIDGE__API_KEY": "canary-fixed",
            "ECPROC_POLICY_REOPEN__INCIDENT": "new_ticket",
            "ECPROC_BRIDGE__PROXY_FILE": str(tmp_path / "bridge__proxy"),
            "ECPROC_WEB__READ_TOKEN_FILE": str(tmp_path / "web__read_token"),
        },
        require_bridge=False,
        default_path=tmp_path / "none",
    )
    reloading = Reloading(config, clock=Steps(), learn=log.redactor.learn)
    (tmp_path / "web__read_token").write_text("fedcba9876543210", encoding="utf-8")
    (tmp_path / "bridge__proxy").write_text("http://u:canary-2@h:1", encoding="utf-8")
    for _ in range(2):
        reloading.reread()
    read = log.lines("secrets_read")
    assert [line["changed"] for line in read] == [["web.read_token"], []]
    [stays] = log.lines("not_reloaded")
    assert stays["options"] == ["bridge.api_key", "bridge.proxy", "policy.reopen.incident"]
    [told] = log.lines("secret_not_reloaded")
    assert (told["option"], told["level"], told["hint"]) == ("bridge.proxy", "warning", "restart to use the new one")
    assert reloading.secrets["web.read_token"].value == Secret("fedcba9876543210")
    structlog.get_logger().info("said", what="canary-2")
    assert "canary" not in log.text


def test_a_file_that_cannot_be_used_is_an_error_with_a_remedy(tmp_path: Path, log: Log) -> None:
    reloading = Reloading(load(tmp_path, bridge__api_key="canary"), clock=Steps(), learn=log.redactor.learn)
    (tmp_path / "bridge__api_key").write_text("", encoding="utf-8")
    reloading.secrets.look()
    [line] = log.lines("secret_not_reloaded")
    assert (line["level"], line["option"], line["reason"]) == ("error", KEY, "it is empty")
    assert "still used" in line["hint"]
