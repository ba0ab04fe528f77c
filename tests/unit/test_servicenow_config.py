"""The options of a desk on a ServiceNow instance: what is refused, what is warned of, and secrets that follow files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from ecproc.config import Config, Secrets, list_secret_texts, load_config
from ecproc.errors import ConfigError

OAUTH = 'url = "https://acme.service-now.com"\nclient_id = "id"\nclient_secret = "canary"\n'
CALM = "[outbox]\nunknown_retry = [75, 120]\n"


def read(directory: Path, section: str, *, env: Mapping[str, str] | None = None, rest: str = CALM) -> Config:
    file = directory / "ecproc.toml"
    file.write_text(f'[desk]\nkind = "servicenow"\n[desk.servicenow]\n{section}\n{rest}')
    file.chmod(0o600)
    return load_config(file, env or {}, require_bridge=False)


def refuse(directory: Path, section: str) -> str:
    with pytest.raises(ConfigError) as refused:
        read(directory, section)
    return str(refused.value)


def test_a_whole_section_is_taken(tmp_path: Path) -> None:
    config = read(tmp_path, OAUTH + '[desk.servicenow.tables]\nincident = "sn_customerservice_case"\n')
    assert config.warnings == ()
    assert config.desk_servicenow.settles_after == 75
    assert config.desk_servicenow_tables.table_of("Incident") == "sn_customerservice_case"
    assert config.desk_servicenow_tables.table_of("Change") == "change_request"
    inline = OAUTH + 'tables = { request = "import:u_ensono_request" }\n'
    assert read(tmp_path, inline).desk_servicenow_tables.table_of("Request") == "import:u_ensono_request"


def test_variables_win(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("other\n")
    secret.chmod(0o600)
    env = {
        "ECPROC_DESK_SERVICENOW__URL": "https://other.service-now.com/",
        "ECPROC_DESK_SERVICENOW__CLIENT_SECRET_FILE": str(secret),
        "ECPROC_DESK_SERVICENOW_TABLES__INCIDENT": "sn_customerservice_case",
    }
    config = read(tmp_path, 'client_id = "id"', env=env)
    assert config.desk_servicenow.base_url == "https://other.service-now.com"
    assert config.desk_servicenow.client_secret.reveal() == "other"
    assert config.desk_servicenow_tables.incident == "sn_customerservice_case"


@pytest.mark.parametrize(
    ("section", "text"),
    [
        ("", "desk.servicenow.url is required"),
        (OAUTH.replace("https", "http"), "must begin with https://"),
        (OAUTH.replace("acme.", "user:canary@acme."), "must not contain a user name"),
        (OAUTH.replace(".com", ".com/now"), "must end with the host"),
        (OAUTH.replace(".com", ".com?x=1"), "must end with the host"),
        (
            'url = "https://acme.service-now.com"\nclient_id = "id"',
            "desk.servicenow.client_secret is required for auth",
        ),
        (OAUTH + 'auth = "basic"\nusername = "u"\n', "desk.servicenow.password is required for auth"),
        (OAUTH + 'api_key = "canary"', "desk.servicenow.api_key is not used by auth"),
        (OAUTH + 'auth = "refresh"', "desk.servicenow.refresh_token is required"),
        (OAUTH + 'key_field = "comments"', "must be a text field"),
        (OAUTH + 'key_field = "caller_id"', "must be a text field"),
        (OAUTH + 'key_field = "a^b"', "is no field's name"),
        (OAUTH + 'display_field = "correlation_id"', "must be another field than key_field"),
        (OAUTH + 'display = "x^active=true"', "without ^"),
        (OAUTH + 'display = "JavaScript:x"', "without ^"),
        (OAUTH + 'change_template = "x"', "must be a sys_id"),
        (OAUTH + 'tables = { incident = "sys_user" }', "desk.servicenow.tables.incident must be incident or"),
        (OAUTH + 'tables = { change = "incident" }', "desk.servicenow.tables.change must be change_request"),
        (OAUTH + "requests_per_hour = 60", "must be 0, or 600 or more"),
        (OAUTH + 'proxy = "socks5://canary"', "desk.servicenow.proxy is not of the form"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, section: str, text: str) -> None:
    said = refuse(tmp_path, section)
    assert text in said
    assert "canary" not in said


@pytest.mark.parametrize(
    ("rest", "option", "text"),
    [
        ("", "quota_seconds", "after outbox.unknown_retry's first 60 s"),
        (CALM, "lookup_margin_seconds", "is below 15"),
    ],
)
def test_what_is_unwise_is_warned_of(tmp_path: Path, rest: str, option: str, text: str) -> None:
    section = OAUTH + ("lookup_margin_seconds = 5\n" if rest else "")
    (warning,) = read(tmp_path, section, rest=rest).warnings
    assert option in warning.message
    assert text in warning.message


def test_another_desk_asks_nothing_of_this_section(tmp_path: Path) -> None:
    file = tmp_path / "ecproc.toml"
    file.write_text('[desk]\nkind = "local"\n')
    assert load_config(file, {}, require_bridge=False).warnings == ()


@pytest.mark.requirement("I11")
def test_a_secret_follows_its_file_and_is_known_to_the_redaction(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("first\n")
    secret.chmod(0o600)
    section = 'url = "https://acme.service-now.com"\nauth = "basic"\nusername = "u"\n'
    config = read(tmp_path, section, env={"ECPROC_DESK_SERVICENOW__PASSWORD_FILE": str(secret)})
    assert "first" in set(list_secret_texts(config))
    heard: list[str] = []
    secrets = Secrets(config, lambda change: heard.append(change.option))
    live = secrets["desk.servicenow.password"]
    assert live.value.reveal() == "first"
    secret.write_text("pässword: with anything\n")
    assert secrets.look() == ["desk.servicenow.password"]
    assert live.value.reveal() == "pässword: with anything"
    assert heard == ["desk.servicenow.password"]
