"""`ecproc hooks` and `ecproc desk check`, as far as they need nobody else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ecproc.cli import main
from ecproc.webhooks import read_key

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def configure(folder: Path, text: str) -> None:
    file = folder / "ecproc.toml"
    file.write_text(text)
    file.chmod(0o600)


def test_each_secret_is_a_fresh_one(capsys: pytest.CaptureFixture[str]) -> None:
    made = []
    for _ in range(2):
        assert main(["hooks", "secret"]) == 0
        made.append(capsys.readouterr().out.strip())
    assert made[0] != made[1]
    assert [len(read_key(one)) for one in made] == [32, 32]


@pytest.mark.parametrize(
    ("port", "source", "ended"),
    [
        (0, "itsm", (1, "port 0")),
        (9, "itsm", (1, "connect: 127.0.0.1:9")),
        (9, "other", (2, "other is no source: itsm")),
    ],
)
def test_a_probe_that_does_not_arrive_is_a_failure(
    folder: Path, capsys: pytest.CaptureFixture[str], port: int, source: str, ended: tuple[int, str]
) -> None:
    configure(folder, f'[hooks]\nlisten = "127.0.0.1:{port}"\n[hooks.sources.itsm]\nsecrets = ["{SECRET}"]\n')
    code, said = ended
    assert main(["hooks", "test", source]) == code
    err = capsys.readouterr().err
    assert said in err
    assert SECRET not in err


def test_the_built_in_desk_needs_no_check(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["desk", "check"]) == 0
    assert json.loads(capsys.readouterr().out) == {"ok": True, "desk": "local", "findings": [], "notes": []}


def test_a_desk_that_is_not_there_is_a_finding(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    url = "http://127.0.0.1:9/x?sig=canary"
    configure(folder, f'[desk]\nkind = "webhook"\n[desk.webhook]\nurl = "{url}"\nsecrets = ["{SECRET}"]\n')
    assert main(["desk", "check"]) == 3
    told = capsys.readouterr()
    (found,) = json.loads(told.out)["findings"]
    assert (found["check"], found["severity"]) == ("reach", "error")
    assert "canary" not in told.out + told.err
    assert main(["config", "show"]) == 0
    assert "canary" not in capsys.readouterr().out, "an address may hold a key in its query"
