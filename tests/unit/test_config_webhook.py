"""Options of the webhook desk and of the hooks listener: lists of secrets, sections by name, and what must hold."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from ecproc.config import Config, Secret, Secrets, describe_config, list_secret_texts, load_config
from ecproc.errors import ConfigError

ONE = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
TWO = "whsec_plJ3nmyCDGBKInavdOK15jsl8QSLxCXR"
DESK = f'[desk]\nkind = "webhook"\n[desk.webhook]\nurl = "https://d.example.com/x"\nsecrets = ["{ONE}"]\n'
HOOKS = f'[hooks]\nlisten = "127.0.0.1:8610"\n[hooks.sources.itsm]\nsecrets = ["{ONE}"]\n'


def load(text: str, folder: Path, env: Mapping[str, str] | None = None) -> Config:
    file = folder / "ecproc.toml"
    file.write_text(text)
    file.chmod(0o600)
    return load_config(file, env or {}, require_bridge=False)


def refuse(text: str, folder: Path, env: Mapping[str, str] | None = None) -> list[str]:
    with pytest.raises(ConfigError) as refused:
        load(text, folder, env)
    assert not [secret for secret in (ONE, TWO) if secret in str(refused.value)]
    return [problem.message for problem in refused.value.problems]


def test_secrets_are_a_list_wherever_they_come_from(tmp_path: Path) -> None:
    both = (Secret(ONE), Secret(TWO))
    file = tmp_path / "secrets"
    file.write_text(f"{ONE}\n{TWO}\n")
    file.chmod(0o600)
    for env in (
        {"ECPROC_DESK_WEBHOOK__SECRETS": f"{ONE}, {TWO}"},
        {"ECPROC_DESK_WEBHOOK__SECRETS": f'["{ONE}", "{TWO}"]'},
        {"ECPROC_DESK_WEBHOOK__SECRETS_FILE": str(file)},
    ):
        config = load(DESK, tmp_path, env)
        assert config.desk_webhook.secrets == both
        assert {ONE, TWO} <= {*list_secret_texts(config)}
    rows = {row.key: row.value for row in describe_config(config)}
    assert rows["desk.webhook.secrets"] == ("***", "***")
    assert rows["desk.webhook.class"] == "keyed"


def test_a_file_of_secrets_is_followed(tmp_path: Path) -> None:
    file = tmp_path / "secrets"
    file.write_text(ONE)
    file.chmod(0o600)
    heard: list[str] = []
    secrets = Secrets(
        load(DESK, tmp_path, {"ECPROC_DESK_WEBHOOK__SECRETS_FILE": str(file)}),
        lambda change: heard.append(change.reason),
    )
    live = secrets["desk.webhook.secrets"]
    assert [*live.values] == [Secret(ONE)]
    file.write_text(f"{TWO}\n{ONE}\n")
    assert list(secrets.look(force=True)) == ["desk.webhook.secrets"]
    assert [*live.values] == [Secret(TWO), Secret(ONE)]
    file.write_text("whsec_short\n")
    assert list(secrets.look(force=True)) == []
    assert [*live.values] == [Secret(TWO), Secret(ONE)]
    assert heard == ["", "a line of it is not whsec_ and the base64 of 24 to 64 bytes"]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('[desk]\nkind = "webhook"\n', "desk.webhook.url is required by desk.kind webhook"),
        (
            DESK.replace(ONE, "whsec_x"),
            "desk.webhook.secrets must be at most 8, each whsec_ and the base64 of 24 to 64 bytes",
        ),
        (DESK.replace(f'["{ONE}"]', "[]"), "desk.webhook.secrets is required by desk.kind webhook"),
        (
            DESK.replace(f'["{ONE}"]', str([ONE] * 9).replace("'", '"')),
            "desk.webhook.secrets must be at most 8, each whsec_ and the base64 of 24 to 64 bytes",
        ),
        (DESK.replace(f'["{ONE}"]', f'"{ONE}"'), "desk.webhook.secrets must be a list of texts"),
        (DESK.replace("https:", "http:"), "desk.webhook.url must begin with https://"),
        (DESK.replace("https://", "https://u:p@"), "desk.webhook.url must not contain a user name or password"),
        (DESK.replace("/x", "/x#y"), "desk.webhook.url must not contain a fragment"),
        (DESK.replace("https://d.example.com/x", "d.example.com"), "desk.webhook.url is not a valid URL"),
        (DESK + 'class = "look-up"\n', 'desk.webhook.lookup_url is required by class = "look-up"'),
        (DESK + 'class = "once"\n', 'desk.webhook.class must be "keyed" or "look-up" or "blind", not \'once\''),
        (DESK + 'lookup_url = "http://d.example.com"\n', "desk.webhook.lookup_url must begin with https://"),
        ('[hooks]\nlisten = "8610"\n', "hooks.listen must be HOST:PORT, not '8610'"),
        ('[hooks]\nlisten = "127.0.0.1:8600"\n', "hooks.listen is web.listen: each needs an address of its own"),
        ('[hooks]\npublic_url = "https://h.example.com"\n', "hooks.public_url needs hooks.listen"),
        (HOOKS.replace('[hooks]\nlisten = "127.0.0.1:8610"\n', ""), "hooks.sources.itsm needs hooks.listen"),
        (HOOKS.replace(f'["{ONE}"]', "[]"), "hooks.sources.itsm.secrets is required by kind standard"),
        (
            HOOKS + 'kind = "basic"\nusername = "u"\npassword = "short"\n',
            "hooks.sources.itsm.password must be 16 printable ASCII characters or more",
        ),
        (
            HOOKS + 'kind = "basic"\npassword = "0123456789abcdef"\n',
            "hooks.sources.itsm.username is required by kind basic, and has no colon",
        ),
        (HOOKS + 'kind = "bearer"\n', "hooks.sources.itsm.token must be 16 printable ASCII characters or more"),
        (HOOKS + 'secretz = "x"\n', "unknown key hooks.sources.itsm.secretz"),
        (HOOKS.replace("itsm", "ITSM"), "'ITSM' cannot be a name in hooks.sources"),
        (HOOKS.replace("itsm", "files"), "'files' cannot be a name in hooks.sources"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, text: str, problem: str) -> None:
    assert problem in refuse(text, tmp_path)


def test_http_is_for_loopback(tmp_path: Path) -> None:
    assert (
        load(DESK.replace("https://d.example.com", "http://127.0.0.1:9"), tmp_path).desk_webhook.url
        == "http://127.0.0.1:9/x"
    )


def test_a_source_has_its_secrets_from_variables_too(tmp_path: Path) -> None:
    bare = HOOKS.replace(f'secrets = ["{ONE}"]\n', "")
    config = load(bare, tmp_path, {"ECPROC_HOOKS_SOURCES_ITSM__SECRETS": TWO})
    assert config.hooks_sources["itsm"].secrets == (Secret(TWO),)
    assert {row.key: row.origin for row in describe_config(config)}[
        "hooks.sources.itsm.secrets"
    ] == "env ECPROC_HOOKS_SOURCES_ITSM__SECRETS"
    file = tmp_path / "token"
    file.write_text("0123456789abcdef\nfedcba9876543210\n")
    file.chmod(0o600)
    env = {"ECPROC_HOOKS_SOURCES_ITSM__TOKEN_FILE": str(file)}
    config = load(bare + 'kind = "bearer"\n', tmp_path, env)
    assert Secrets(config, lambda change: None)["hooks.sources.itsm.token"].values == (
        Secret("0123456789abcdef"),
        Secret("fedcba9876543210"),
    )
    assert "fedcba9876543210" in {*list_secret_texts(config)}


@pytest.mark.parametrize("name", ["ECPROC_HOOKS_SOURCES_OTHER__SECRETS", "ECPROC_HOOKS_SOURCES_ITSM__KIND"])
def test_no_source_is_made_by_a_variable(tmp_path: Path, name: str) -> None:
    assert refuse(HOOKS, tmp_path, {name: ONE}) == [f"unknown variable {name}"]
