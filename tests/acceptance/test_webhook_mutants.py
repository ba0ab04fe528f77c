"""Negative controls of the webhooks: for each bug that is easily made, the tests that are to find it must fail."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Final, NamedTuple

import pytest

from tests.acceptance.test_mutants import Change, copy_package
from tests.acceptance.world import ROOT

SIGNATURES: Final = "tests/unit/test_webhooks.py"
WIRE: Final = "tests/unit/test_desk_webhook_wire.py"
DESK: Final = "tests/conformance/test_desk_webhook.py"
LISTENER: Final = "tests/runtime/test_web_hooks.py"
POSTS: Final = "tests/runtime/test_hooking.py"


class Planted(NamedTuple):
    """A bug, and the file of tests that has to find it."""

    suite: str
    changes: tuple[Change, ...]


PLANTED: Final = {
    "body-encoded-anew": Planted(
        LISTENER,
        (
            Change(
                "web/hooks.py",
                "authenticate(headers, body, ",
                "authenticate(headers, msgspec.json.encode(msgspec.json.decode(body)), ",
            ),
        ),
    ),
    "compare-gives-up-early": Planted(
        SIGNATURES,
        (Change("webhooks.py", "matches |= hmac.compare_digest(made, found)", "matches |= made == found"),),
    ),
    "timestamp-not-checked": Planted(
        SIGNATURES,
        (Change("webhooks.py", "    return timely and matches\n", "    return formed and matches\n"),),
    ),
    "every-version-counts": Planted(
        SIGNATURES,
        (Change("webhooks.py", " if version == _VERSION]", "]"),),
    ),
    "only-the-first-secret": Planted(
        SIGNATURES,
        (Change("webhooks.py", "    for key in keys:\n        made", "    for key in list(keys)[:1]:\n        made"),),
    ),
    "dedupe-in-memory-only": Planted(
        POSTS,
        (
            Change(
                "commands/external.py",
                "if await self._reader.read_message(event.message_key) is not None:",
                "seen = self.__dict__.setdefault('seen', set())\n"
                "                if event.message_key in seen or seen.add(event.message_key):",
            ),
        ),
    ),
    "fresh-id-for-each-attempt": Planted(
        DESK,
        (
            Change(
                "desk/webhook/desk.py",
                "seen = await self._post(make_id(call.key), body)",
                "seen = await self._post(make_id(f'{call.key}{self._clock.now()}'), body)",
            ),
        ),
    ),
    "signed-in-another-charset": Planted(
        SIGNATURES,
        (
            Change(
                "webhooks.py",
                "hmac.digest(key, head + body, hashlib.sha256)",
                "hmac.digest(key, head + body.decode('latin-1').encode(), hashlib.sha256)",
            ),
        ),
    ),
    "answered-before-the-commit": Planted(
        LISTENER,
        (
            Change(
                "web/hooks.py",
                "        fate = await self._accept(source.name, headers[ID_HEADER], body)\n",
                "        fate = Fate.APPENDED\n",
            ),
        ),
    ),
    "secret-told-on-failure": Planted(
        DESK,
        (
            Change(
                "desk/webhook/desk.py",
                "            reason, sent = str(fault), fault.sent\n",
                "            reason, sent = f'{fault}: {[one.reveal() for one in self._secrets()]}', fault.sent\n",
            ),
        ),
    ),
    "a-lost-answer-is-no-answer": Planted(
        WIRE,
        (Change("desk/webhook/wire.py", "sent=repeat is not Repeat.KEYED", "sent=False"),),
    ),
    "any-404-is-never-applied": Planted(
        WIRE,
        (Change("desk/webhook/wire.py", "if seen.status == 404 and spoken:", "if seen.status == 404:"),),
    ),
    "rate-before-authentication": Planted(
        LISTENER,
        (
            Change(
                "web/hooks.py",
                "        if not source.authenticate(",
                "        self._rates[source.name].take(self._clock.monotonic())\n        if not source.authenticate(",
            ),
        ),
    ),
}


def run_suite(package_root: Path, suite: str) -> int:
    """How pytest ended on that file, over the package below that folder."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(package_root), *filter(None, sys.path)])}
    options = ["-q", "-x", "-p", "no:cacheprovider", "-m", "not slow", "-o", f"pythonpath={package_root} {ROOT}"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, suite],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode in (0, 1), done.stdout + done.stderr
    return done.returncode


@pytest.mark.slow
@pytest.mark.parametrize("suite", [SIGNATURES, WIRE, DESK, LISTENER, POSTS])
def test_the_package_as_it_is_passes(tmp_path: Path, suite: str) -> None:
    copy_package(tmp_path / "same", ())
    assert run_suite(tmp_path / "same", suite) == 0


@pytest.mark.slow
@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_bug_is_found(tmp_path: Path, name: str) -> None:
    planted = PLANTED[name]
    copy_package(tmp_path / "mutant", planted.changes)
    assert run_suite(tmp_path / "mutant", planted.suite) == 1, "nothing failed"
