"""Configuration: what is accepted, where values come from, and what an operator reads when something is wrong."""

import base64
import copy
import json
import pickle
import tomllib
import traceback
from pathlib import Path
from typing import Any

import msgspec
import orjson
import pytest
from msgspec.structs import astuple

from ecproc.config import (
    BridgeConfig,
    Config,
    Limits,
    Secret,
    SecretFile,
    WebConfig,
    describe_config,
    list_secret_texts,
    load_config,
    template,
)
from ecproc.config.options import is_loopback
from ecproc.errors import (
    BridgeRefused,
    BridgeUnavailable,
    ConfigError,
    ConfigProblem,
    DataDirInUse,
    EcprocError,
    ExitCode,
    LogDamaged,
    StoreUnavailable,
    WrongEnvironment,
)

CANARY = "canary-7f3a9c-key"

TOKEN_HELP = "openssl rand -hex 16"
URL_HELP = "https://smconnect.ensono.com/yourclient/prod"

BRIDGE = {
    "ECPROC_BRIDGE__URL": "https://smconnect.ensono.com/yourclient/prod",
    "ECPROC_BRIDGE__CLIENT_NAME": "YourCompanyName",
    "ECPROC_BRIDGE__API_KEY": CANARY,
}


def load(
    text: str | None, tmp_path: Path, env: dict[str, str] | None = None, *, require_bridge: bool = False
) -> Config:
    """The configuration of a file with `text`, read as `ecproc.toml` of its own directory."""
    path = None
    if text is not None:
        path = tmp_path / "ecproc.toml"
        path.write_text(text, encoding="utf-8")
        path.chmod(0o600)
    return load_config(path, env or {}, require_bridge=require_bridge, default_path=tmp_path / "none.toml")


def problems_of(
    text: str | None, tmp_path: Path, env: dict[str, str] | None = None, *, require_bridge: bool = False
) -> list[tuple[str, str, str]]:
    """Every problem as (message, place, help), with the directory cut off the places."""
    with pytest.raises(ConfigError) as caught:
        load(text, tmp_path, env, require_bridge=require_bridge)
    assert caught.value.exit_code == ExitCode.CONFIG
    cut = f"{tmp_path}/"
    return [(p.message.replace(cut, ""), p.location.replace(cut, ""), p.help) for p in caught.value.problems]


def test_defaults_are_those_of_the_contract(tmp_path: Path) -> None:
    config = load(None, tmp_path)
    assert config.bridge.poll_interval == config.bridge.visibility == config.bridge.timeout == 30
    assert config.bridge.max_readers == 8
    assert config.data.dir == Path("data")
    assert config.data.store == "sqlite"
    assert config.data.reserve_bytes == 268_435_456
    assert config.attachments.allowed_hosts == ("*.s3.amazonaws.com", "*.s3.*.amazonaws.com")
    assert config.attachments.max_bytes == 52_428_800
    assert config.outbox.max_in_flight == 32
    assert config.outbox.max_pending == 100_000
    assert config.outbox.max_attempts == 12
    assert config.outbox.unknown_retry == (60.0, 120.0)
    assert astuple(config.outbox_slots) == (0, 0, 0)
    assert (config.log.level, config.log.format) == ("info", "auto")
    assert config.bridge.client_name_in == "body"
    assert config.bridge.proxy_address is None
    assert config.web.listen == "127.0.0.1:8600"
    assert not config.warnings
    assert set(config.origins.values()) == {"default"}


def test_file_is_found_by_argument_then_variable_then_default(tmp_path: Path) -> None:
    paths = {name: tmp_path / f"{name}.toml" for name in ("argument", "variable", "default")}
    for name, path in paths.items():
        path.write_text(f'[bridge]\nclient_name = "{name}"\n', encoding="utf-8")
    env = {"ECPROC_CONFIG": str(paths["variable"])}

    def chosen(path: Path | None, env: dict[str, str]) -> str:
        return load_config(path, env, require_bridge=False, default_path=paths["default"]).bridge.client_name

    assert chosen(paths["argument"], env) == "argument"
    assert chosen(None, env) == "variable"
    assert chosen(None, {}) == "default"
    assert chosen(None, {"ECPROC_CONFIG": ""}) == "default"


def test_variables_win_over_the_file_and_the_file_over_defaults(tmp_path: Path) -> None:
    text = '# comment\n[outbox]\n\nmax_in_flight = 5\nmax_attempts = 7\n[web]\nlisten = "127.0.0.1:0"\n'
    config = load(text, tmp_path, {"ECPROC_OUTBOX__MAX_ATTEMPTS": "9"})
    assert (config.outbox.max_in_flight, config.outbox.max_attempts, config.outbox.max_pending) == (5, 9, 100_000)
    assert config.origins["outbox.max_in_flight"] == f"{tmp_path}/ecproc.toml:4"
    assert config.origins["outbox.max_attempts"] == "env ECPROC_OUTBOX__MAX_ATTEMPTS"
    assert config.origins["outbox.max_pending"] == "default"
    assert config.web.port == 0


def test_a_wrong_value_in_the_file_is_no_problem_when_a_variable_replaces_it(tmp_path: Path) -> None:
    messages = problems_of('[outbox]\nmax_attempts = "many"\nmax_pending = 0\n', tmp_path)
    assert len(messages) == 2


@pytest.mark.parametrize(
    ("variable", "value", "expected"),
    [
        ("ECPROC_BRIDGE__POLL_INTERVAL", "0.25", 0.25),
        ("ECPROC_BRIDGE__MAX_READERS", "64", 64),
        ("ECPROC_OUTBOX__UNKNOWN_RETRY", "1, 2.5", (1.0, 2.5)),
        ("ECPROC_OUTBOX__SLOTS__DESK", "32", 32),
        ("ECPROC_OUTBOX__UNKNOWN_RETRY", "[1, 2.5]", (1.0, 2.5)),
        ("ECPROC_ATTACHMENTS__ALLOWED_HOSTS", "a.example.com, *.b.example.com,", ("a.example.com", "*.b.example.com")),
        ("ECPROC_ATTACHMENTS__ALLOWED_HOSTS", '["127.0.0.1", "::1", "localhost"]', ("127.0.0.1", "::1", "localhost")),
        ("ECPROC_ATTACHMENTS__ALLOWED_HOSTS", "", ()),
        ("ECPROC_DATA__DIR", "/var/lib/ecproc", Path("/var/lib/ecproc")),
        ("ECPROC_BRIDGE__CLIENT_NAME_IN", "header", "header"),
        ("ECPROC_DATA__RESERVE_BYTES", "0", 0),
    ],
)
def test_variables_are_parsed_by_the_option_s_type(variable: str, value: str, expected: object, tmp_path: Path) -> None:
    config = load(None, tmp_path, {variable: value})
    *section, key = variable.removeprefix("ECPROC_").lower().split("__")
    assert getattr(getattr(config, "_".join(section)), key) == expected


BAD_FILES = [
    (
        "[bridge]\nurl = 3\nmax_readers = 65\n",
        [
            ("bridge.url must be text, not 3", "ecproc.toml:2", ""),
            ("bridge.max_readers must be a whole number from 1 to 64, not 65", "ecproc.toml:3", ""),
        ],
    ),
    (
        "[outbox]\nmax_in_flight = 8\n\n[outbox.slots]\ndesk = 9\nbridge = -1\ndesks = 2\n",
        [
            ("outbox.slots.bridge must be a whole number from 0 to 1024, not -1", "ecproc.toml:6", ""),
            ("unknown key outbox.slots.desks", "ecproc.toml:7", "did you mean outbox.slots.desk?"),
            (
                "outbox.slots.desk is more than outbox.max_in_flight, 8",
                "ecproc.toml:5",
                "raise outbox.max_in_flight",
            ),
        ],
    ),
    (
        "[outbox]\nslots = 3\n",
        [("outbox.slots must be a section", "ecproc.toml:2", "write [outbox.slots] and its keys below")],
    ),
    (
        "[bridge]\npoll_interval = 0\nvisibility = -1.5\ntimeout = nan\n",
        [
            ("bridge.poll_interval must be a number above 0 and at most 86400, not 0", "ecproc.toml:2", ""),
            ("bridge.visibility must be a number above 0 and at most 86400, not -1.5", "ecproc.toml:3", ""),
            ("bridge.timeout must be a number above 0 and at most 3600, not nan", "ecproc.toml:4", ""),
        ],
    ),
    (
        "[bridge]\nmax_readers = true\n",
        [("bridge.max_readers must be a whole number from 1 to 64, not True", "ecproc.toml:2", "")],
    ),
    (
        "[brigde]\nurl = 'x'\n",
        [("unknown section [brigde]", "ecproc.toml:1", "did you mean [bridge]?")],
    ),
    ("bridge = 3\n", [("bridge must be a section", "ecproc.toml:1", "write [bridge] and its keys below")]),
    ("[[bridge]]\nurl = 'x'\n", [("bridge must be a section", "ecproc.toml:1", "write [bridge] and its keys below")]),
    (
        "client_name = 'x'\n",
        [("client_name stands in no section", "ecproc.toml:1", "did you mean bridge.client_name?")],
    ),
    (
        "[bridge]\nclientname = 'x'\n[web]\nqwertz = 1\nmax_in_flight = 3\n",
        [
            ("unknown key bridge.clientname", "ecproc.toml:2", "did you mean bridge.client_name?"),
            ("unknown key web.qwertz", "ecproc.toml:4", ""),
            ("unknown key web.max_in_flight", "ecproc.toml:5", "did you mean outbox.max_in_flight?"),
        ],
    ),
    (
        '[data]\nstore = "memory"\ndir = ""\n',
        [
            ("data.store must be \"sqlite\", not 'memory'", "ecproc.toml:2", ""),
            ("data.dir must be a path, not ''", "ecproc.toml:3", ""),
        ],
    ),
    (
        '[data]\ndir = "~/ecproc"\n',
        [("data.dir begins with ~, which is not expanded", "ecproc.toml:2", "write the whole path")],
    ),
    (
        '[desk]\nkind = "paper"\n',
        [('desk.kind must be "local" or "servicenow" or "webhook", not \'paper\'', "ecproc.toml:2", "")],
    ),
    (
        '[log]\nformat = "xml"\n',
        [('log.format must be "text" or "json" or "auto", not \'xml\'', "ecproc.toml:2", "")],
    ),
    (
        '[bridge]\nclient_name = "Übër"\nclient_name_in = "header"\n',
        [
            (
                "bridge.client_name has characters that no HTTP header can carry",
                "ecproc.toml:2",
                'bridge.client_name_in = "query" can carry them',
            )
        ],
    ),
    ("[zebra]\ndefault_group = 'x'\n", [("unknown section [zebra]", "ecproc.toml:1", "")]),
    (
        "[outbox]\nunknown_retry = [120, 60]\nmax_attempts = 0\n",
        [
            ("outbox.max_attempts must be a whole number from 1 to 10000000, not 0", "ecproc.toml:3", ""),
            ("outbox.unknown_retry must be two increasing numbers", "ecproc.toml:2", "as in [60, 120]"),
        ],
    ),
    (
        "[outbox]\nunknown_retry = [\n  60,\n]\n\nmax_pending = -1\n",
        [
            (
                "outbox.unknown_retry must be two numbers, each a number above 0 and at most 86400, not [60]",
                "ecproc.toml:2",
                "",
            ),
            ("outbox.max_pending must be a whole number from 1 to 10000000, not -1", "ecproc.toml:6", ""),
        ],
    ),
    (
        '[attachments]\nallowed_hosts = ["https://x.com", "*.com", "a.b:1"]\n',
        [
            (
                f"{host!r} is not a host name or pattern",
                "ecproc.toml:2",
                "a lower-case host without scheme or port; * stands for one label, not for the last two",
            )
            for host in ("https://x.com", "*.com", "a.b:1")
        ],
    ),
    (
        '[web]\nlisten = "8600"\n',
        [("web.listen must be HOST:PORT, not '8600'", "ecproc.toml:2", "as in 127.0.0.1:8600")],
    ),
    (
        '[web]\nlisten = "127.0.0.1:70000"\n',
        [("web.listen must be HOST:PORT, not '127.0.0.1:70000'", "ecproc.toml:2", "as in 127.0.0.1:8600")],
    ),
    (
        '[web]\nlisten = "0.0.0.0:8600"\n',
        [
            (
                "web.read_token is required because web.listen is not a loopback address",
                "ecproc.toml:2",
                "set it or ECPROC_WEB__READ_TOKEN[_FILE] to what openssl rand -hex 16 gives",
            )
        ],
    ),
    (
        '[web]\ncomand_token = "0123456789abcdef"\n',
        [("unknown key web.comand_token", "ecproc.toml:2", "did you mean web.command_token?")],
    ),
    ("[bridge]\nurl = \n", [("not valid TOML: Invalid value", "ecproc.toml:2", "")]),
    ('[bridge]\nurl = "x', [("not valid TOML: Unterminated string", "ecproc.toml:2", "")]),
]


@pytest.mark.parametrize(("text", "expected"), BAD_FILES)
def test_every_problem_of_a_file_is_named_with_its_line(
    text: str, expected: list[tuple[str, str, str]], tmp_path: Path
) -> None:
    assert problems_of(text, tmp_path) == expected


@pytest.mark.parametrize(
    ("url", "message", "help_text"),
    [
        (
            "https://h.example.com/acme/Prod",
            "must end in /dev, /echo, /cert or /prod, not /Prod",
            "paths are case sensitive: https://h.example.com/acme/prod",
        ),
        ("https://h.example.com/acme", "must end in /dev, /echo, /cert or /prod, not /acme", URL_HELP),
        ("https://h.example.com/acme/echo/queue", "must end in /dev, /echo, /cert or /prod, not /queue", URL_HELP),
        (
            "http://h.example.com/acme/prod",
            "must begin with https://",
            "write https://; http:// is allowed for loopback addresses only",
        ),
        (
            f"https://u:{CANARY}@h.example.com/acme/prod",
            "must not contain a user name or password",
            "the key goes into bridge.api_key",
        ),
        (f"https://h.example.com/acme/prod?key={CANARY}", "must not contain a query or fragment", URL_HELP),
        (f"https://h.example.com/acme/prod#{CANARY}", "must not contain a query or fragment", URL_HELP),
        ("ftp://h.example.com/acme/prod", "is not a valid URL", URL_HELP),
        ("https://h.example.com:99999/acme/prod", "is not a valid URL", URL_HELP),
        ("https://h.example.com/ac me/prod", "is not a valid URL", URL_HELP),
        ("smconnect", "is not a valid URL", URL_HELP),
    ],
)
@pytest.mark.requirement("R3", "R7", "R9")
def test_wrong_urls_are_refused_without_repeating_a_secret(
    url: str, message: str, help_text: str, tmp_path: Path
) -> None:
    found = problems_of(None, tmp_path, BRIDGE | {"ECPROC_BRIDGE__URL": url}, require_bridge=True)
    assert found == [(f"bridge.url {message}", "ECPROC_BRIDGE__URL", help_text)]
    assert CANARY not in str(found)


@pytest.mark.requirement("R7")
def test_upper_case_client_segment_is_a_warning(tmp_path: Path) -> None:
    config = load(None, tmp_path, BRIDGE | {"ECPROC_BRIDGE__URL": "https://h.example.com/Acme/prod/"})
    assert config.warnings == (
        ConfigProblem(
            "bridge.url has upper case in its path",
            "ECPROC_BRIDGE__URL",
            "usually it is https://h.example.com/acme/prod/",
        ),
    )


@pytest.mark.requirement("R17")
@pytest.mark.parametrize(("seconds", "warned"), [("29.9", True), ("30", False), ("300", False), ("301", True)])
def test_poll_interval_outside_ensono_s_range_is_a_warning(seconds: str, warned: bool, tmp_path: Path) -> None:
    config = load(None, tmp_path, BRIDGE | {"ECPROC_BRIDGE__POLL_INTERVAL": seconds})
    assert [problem.location for problem in config.warnings] == ["ECPROC_BRIDGE__POLL_INTERVAL"] * warned


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.1:8601", "[::1]:9", "localhost:1"])
def test_a_loopback_bridge_may_use_http_any_path_and_any_interval(host: str, tmp_path: Path) -> None:
    env = {"ECPROC_BRIDGE__URL": f"http://{host}", "ECPROC_BRIDGE__POLL_INTERVAL": "0.1"}
    config = load(None, tmp_path, env)
    assert not config.warnings
    assert config.bridge.environment == ""


def test_loopback_is_only_this_machine() -> None:
    assert all(map(is_loopback, ["127.0.0.1", "127.255.0.9", "::1", "localhost", "LOCALHOST"]))
    assert not any(map(is_loopback, ["0.0.0.0", "::", "10.0.0.1", "localhost.example.com", "127.0.0.1.nip.io", ""]))


@pytest.mark.parametrize("text", ["[bridge\n", None])
def test_what_a_file_that_cannot_be_read_sets_is_not_called_missing(text: str | None, tmp_path: Path) -> None:
    path = tmp_path / "ecproc.toml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_config(path, {}, default_path=tmp_path / "none.toml")
    assert len(caught.value.problems) == 1
    assert "required" not in str(caught.value)


@pytest.mark.requirement("R1")
def test_run_needs_url_client_name_and_key_and_nothing_else_does(tmp_path: Path) -> None:
    assert problems_of('[bridge]\napi_key = ""\n', tmp_path, require_bridge=True) == [
        ("bridge.url is required", "", "set ECPROC_BRIDGE__URL or url in [bridge]"),
        ("bridge.client_name is required", "", "set ECPROC_BRIDGE__CLIENT_NAME or client_name in [bridge]"),
        (
            "bridge.api_key is required",
            "ecproc.toml:2",
            "set ECPROC_BRIDGE__API_KEY or ECPROC_BRIDGE__API_KEY_FILE",
        ),
    ]
    assert load(None, tmp_path, BRIDGE, require_bridge=True).bridge.api_key.reveal() == CANARY


def test_unknown_variables_are_problems_except_the_reserved_ones(tmp_path: Path) -> None:
    env = {
        "ECPROC_BRIDGE_API_KEY": CANARY,
        "ECPROC_OUTBOX__MAX_ATTEMPTS_FILE": "/x",
        "ECPROC_QQQ": "1",
        "ECPROC_FAILPOINTS": "after_append",
        "PATH": "/bin",
    }
    assert problems_of(None, tmp_path, env) == [
        ("unknown variable ECPROC_BRIDGE_API_KEY", "ECPROC_BRIDGE_API_KEY", "did you mean ECPROC_BRIDGE__API_KEY?"),
        (
            "unknown variable ECPROC_OUTBOX__MAX_ATTEMPTS_FILE",
            "ECPROC_OUTBOX__MAX_ATTEMPTS_FILE",
            "did you mean ECPROC_OUTBOX__MAX_ATTEMPTS?",
        ),
        ("unknown variable ECPROC_QQQ", "ECPROC_QQQ", ""),
    ]


def test_wrong_variables_are_named_by_the_variable(tmp_path: Path) -> None:
    env = {"ECPROC_BRIDGE__MAX_READERS": "many", "ECPROC_OUTBOX__UNKNOWN_RETRY": "[60"}
    assert problems_of(None, tmp_path, env) == [
        (
            "bridge.max_readers must be a whole number from 1 to 64, not 'many'",
            "ECPROC_BRIDGE__MAX_READERS",
            "",
        ),
        (
            "outbox.unknown_retry must be two numbers, each a number above 0 and at most 86400, not '[60'",
            "ECPROC_OUTBOX__UNKNOWN_RETRY",
            "",
        ),
    ]


def test_problems_of_file_and_environment_come_together(tmp_path: Path) -> None:
    found = problems_of("[bridge]\nfoo = 1\n[web]\nlisten = 'x'\n", tmp_path, {"ECPROC_X": "1"}, require_bridge=True)
    assert len(found) == 6


def test_missing_and_unreadable_files_are_problems(tmp_path: Path) -> None:
    gone = tmp_path / "gone.toml"
    with pytest.raises(ConfigError, match=r"cannot read the configuration file .*gone\.toml: No such file"):
        load_config(gone, {}, require_bridge=False)
    with pytest.raises(ConfigError) as caught:
        load_config(None, {"ECPROC_CONFIG": str(tmp_path)}, require_bridge=False)
    assert caught.value.problems[0].location == "ECPROC_CONFIG"
    gone.write_bytes(b"[bridge]\nclient_name = '\xff'\n")
    with pytest.raises(ConfigError, match="it is not UTF-8"):
        load_config(gone, {}, require_bridge=False)


def test_windows_files_are_read(tmp_path: Path) -> None:
    path = tmp_path / "ecproc.toml"
    path.write_bytes(b'\xef\xbb\xbf[bridge]\r\n\r\nclient_name = "x"\r\n')
    config = load_config(path, {}, require_bridge=False)
    assert config.origins["bridge.client_name"] == f"{path}:3"


@pytest.mark.parametrize(
    "text",
    [
        "# one\n# two\nbridge = { client_name = 'x', max_readers = 99 }\n",
        "\n\nbridge.max_readers = 99\n",
        "[outbox.slots]\ndesk = 2\n[bridge]\nmax_readers = 99\n",
        "[ 'bridge' ] # note\nclient_name = '''\n[web]\nmax_readers = 1\n'''\n\"max_readers\" = 99\n",
        "[outbox]\nunknown_retry = [ # from\n 60,\n 120\n]\n[bridge]\nclient_name = 'x'\nmax_readers = 99\n",
    ],
)
def test_lines_are_right_for_every_way_to_write_a_key(text: str, tmp_path: Path) -> None:
    line = 1 + next(number for number, content in enumerate(text.split("\n")) if "= 99" in content)
    env = {"ECPROC_BRIDGE__CLIENT_NAME": "x"}
    [(message, place, _)] = problems_of(text, tmp_path, env)
    assert message == "bridge.max_readers must be a whole number from 1 to 64, not 99"
    assert place == f"ecproc.toml:{line}"


PROXY_HELP = "as in http://proxy.example.com:3128; @ : / and % in user or password as %40 %3A %2F %25"


@pytest.mark.parametrize(
    ("proxy", "reason"),
    [
        (f"https://u:{CANARY}@proxy.example:3128", "is not of the form http://[user:password@]host:port"),
        (f"socks5://u:{CANARY}@proxy.example:3128", "is not of the form http://[user:password@]host:port"),
        ("proxy.example:3128", "is not of the form http://[user:password@]host:port"),
        ("http://proxy.example", "is not of the form http://[user:password@]host:port"),
        (f"http://proxy.example:3128/{CANARY}", "is not of the form http://[user:password@]host:port"),
        (f"http://u:{CANARY}/x@proxy.example:3128", "is not of the form http://[user:password@]host:port"),
        ("http://proxy.example:0", "has a port that does not exist"),
        ("http://proxy.example:70000", "has a port that does not exist"),
        ("http://[1:2]:3128", "has an address that does not exist"),
        (f"http://{CANARY}@proxy.example:3128", "has something other than user:password before its @"),
        (f"http://u%3A:{CANARY}@proxy.example:3128", "has something other than user:password before its @"),
        (f"http://u:{CANARY}%0d%0ax@proxy.example:3128", "has something other than user:password before its @"),
    ],
)
def test_a_wrong_proxy_is_refused_without_repeating_it(proxy: str, reason: str, tmp_path: Path) -> None:
    found = problems_of(None, tmp_path, BRIDGE | {"ECPROC_BRIDGE__PROXY": proxy})
    assert found == [(f"bridge.proxy {reason}", "ECPROC_BRIDGE__PROXY", PROXY_HELP)]
    assert CANARY not in str(found)


@pytest.mark.parametrize(
    ("proxy", "place", "authorization"),
    [
        ("http://Proxy.Example:3128", "proxy.example:3128", ""),
        ("http://[0:0::1]:3128/", "[::1]:3128", ""),
        ("http://u:p%40%3A%C3%BC@10.0.0.1:80", "10.0.0.1:80", f"Basic {base64.b64encode('u:p@:ü'.encode()).decode()}"),
        ("http://u:@10.0.0.1:80", "10.0.0.1:80", "Basic dTo="),
    ],
)
def test_a_proxy_is_taken_apart(proxy: str, place: str, authorization: str, tmp_path: Path) -> None:
    config = load(None, tmp_path, BRIDGE | {"ECPROC_BRIDGE__PROXY": proxy})
    address = config.bridge.proxy_address
    assert address is not None
    assert (address.place, address.authorization.reveal()) == (place, authorization)


@pytest.mark.requirement("I11")
def test_every_form_of_a_secret_is_named_to_be_masked(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("first-key\nsecond-key\n", encoding="utf-8")
    file.chmod(0o600)
    env = {
        "ECPROC_BRIDGE__API_KEY_FILE": str(file),
        "ECPROC_BRIDGE__PROXY": "http://user:pass%40word@proxy.example:3128",
        "ECPROC_WEB__READ_TOKEN": "0123456789abcdef",
    }
    config = load(None, tmp_path, env)
    basic = base64.b64encode(b"user:pass@word").decode()
    wanted = {"first-key", "second-key", "pass%40word", "pass@word", "0123456789abcdef", basic}
    assert wanted <= set(list_secret_texts(config))
    assert {row.key: row.value for row in describe_config(config)}["bridge.proxy"] == "***"
    assert not config.warnings


class TestSecretFiles:
    """`..._FILE` variables, as container and service managers mount secrets."""

    def test_the_value_is_read_without_its_line_break(self, tmp_path: Path) -> None:
        file = tmp_path / "key"
        file.write_text(f"{CANARY}\r\n\n", encoding="utf-8")
        file.chmod(0o600)
        config = load(None, tmp_path, {"ECPROC_BRIDGE__API_KEY_FILE": str(file)})
        assert config.bridge.api_key.reveal() == CANARY
        assert config.origins["bridge.api_key"] == "env ECPROC_BRIDGE__API_KEY_FILE"
        assert not config.warnings

    @pytest.mark.requirement("R5")
    def test_a_key_file_may_hold_two_lines_and_no_more(self, tmp_path: Path) -> None:
        file = tmp_path / "key"
        file.write_text("first\r\n\nsecond\n", encoding="utf-8")
        file.chmod(0o600)
        env = {"ECPROC_BRIDGE__API_KEY_FILE": str(file)}
        config = load(None, tmp_path, env)
        assert config.bridge.api_key == Secret("first")
        assert config.secret_files["bridge.api_key"] == SecretFile(file, (Secret("first"), Secret("second")))
        file.write_text("first\nsecond\nthird\n", encoding="utf-8")
        assert problems_of(None, tmp_path, env) == [
            ("key cannot be used: it has more than two lines", "ECPROC_BRIDGE__API_KEY_FILE", "")
        ]
        file.write_text(f"first\n {CANARY}\n", encoding="utf-8")
        assert [message for message, _, _ in problems_of(None, tmp_path, env)] == [
            "bridge.api_key has characters that no HTTP header can carry"
        ]

    def test_a_token_file_holds_one_line(self, tmp_path: Path) -> None:
        file = tmp_path / "token"
        file.write_text("0123456789abcdef\n0123456789abcdef\n", encoding="utf-8")
        assert [
            message for message, _, _ in problems_of(None, tmp_path, {"ECPROC_WEB__READ_TOKEN_FILE": str(file)})
        ] == ["web.read_token has characters that no HTTP header can carry"]

    def test_it_wins_over_the_configuration_file(self, tmp_path: Path) -> None:
        file = tmp_path / "token"
        file.write_text(CANARY, encoding="utf-8")
        file.chmod(0o600)
        config = load('[web]\nread_token = "x"\n', tmp_path, {"ECPROC_WEB__READ_TOKEN_FILE": str(file)})
        assert config.web.read_token == Secret(CANARY)

    def test_a_file_others_may_read_is_a_warning(self, tmp_path: Path) -> None:
        file = tmp_path / "key"
        file.write_text(CANARY, encoding="utf-8")
        file.chmod(0o640)
        config = load(None, tmp_path, {"ECPROC_BRIDGE__API_KEY_FILE": str(file)})
        assert config.warnings == (
            ConfigProblem(
                f"other users may read {file}, which holds a secret", "ECPROC_BRIDGE__API_KEY_FILE", f"chmod 600 {file}"
            ),
        )

    def test_a_configuration_file_with_a_key_is_held_to_the_same(self, tmp_path: Path) -> None:
        path = tmp_path / "ecproc.toml"
        path.write_text(f'[bridge]\napi_key = "{CANARY}"\n', encoding="utf-8")
        path.chmod(0o644)
        assert "other users may read" in load_config(path, {}, require_bridge=False).warnings[0].message
        path.write_text('[bridge]\napi_key = ""\n', encoding="utf-8")
        assert load_config(path, {}, require_bridge=False).warnings == ()

    def test_missing_empty_and_doubled_files_are_problems(self, tmp_path: Path) -> None:
        (tmp_path / "empty").write_text("\n", encoding="utf-8")
        env = {
            "ECPROC_BRIDGE__API_KEY_FILE": str(tmp_path / "gone"),
            "ECPROC_WEB__READ_TOKEN_FILE": str(tmp_path / "empty"),
            "ECPROC_BRIDGE__PROXY": f"http://ecproc:{CANARY}@127.0.0.1:3128",
            "ECPROC_BRIDGE__PROXY_FILE": str(tmp_path / "empty"),
        }
        assert problems_of(None, tmp_path, env) == [
            (
                "cannot read the file of bridge.api_key gone: No such file or directory",
                "ECPROC_BRIDGE__API_KEY_FILE",
                "",
            ),
            (
                "ECPROC_BRIDGE__PROXY and ECPROC_BRIDGE__PROXY_FILE are both set",
                "ECPROC_BRIDGE__PROXY_FILE",
                "keep one of them",
            ),
            ("empty cannot be used: it is empty", "ECPROC_WEB__READ_TOKEN_FILE", ""),
        ]


class TestSecrets:
    """I11 at its source: a secret shows itself to nobody but the call that needs it."""

    def test_a_secret_hides_in_every_text_form(self) -> None:
        secret = Secret(CANARY)
        config = Config(bridge=BridgeConfig(api_key=secret), web=WebConfig(read_token=secret))
        for text in (
            str(secret),
            repr(secret),
            f"{secret}",
            f"{secret!r:>50}",
            repr(config),
            str(describe_config(config)),
        ):
            assert CANARY not in text
        assert secret.reveal() == CANARY
        assert secret
        assert not Secret()

    def test_no_encoder_takes_it(self) -> None:
        config = BridgeConfig(api_key=Secret(CANARY))
        for encode in (msgspec.json.encode, msgspec.to_builtins, orjson.dumps, json.dumps, pickle.dumps, copy.deepcopy):
            with pytest.raises(TypeError):
                encode(config.api_key)
        for encode_struct in (msgspec.json.encode, msgspec.to_builtins, msgspec.msgpack.encode):
            with pytest.raises(TypeError):
                encode_struct(config)
        assert CANARY not in json.dumps({"key": config.api_key}, default=str)

    @pytest.mark.parametrize("value", [f"{CANARY}\nX-Evil: 1", f" {CANARY}", f"{CANARY}é", f"{CANARY}\x1b[31m"])
    def test_a_wrong_secret_is_not_repeated_in_the_error(self, value: str, tmp_path: Path) -> None:
        with pytest.raises(
            ConfigError, match=r"bridge\.api_key has characters that no HTTP header can carry"
        ) as caught:
            load(None, tmp_path, BRIDGE | {"ECPROC_BRIDGE__API_KEY": value})
        assert CANARY not in "".join(traceback.format_exception(caught.value))

    def test_a_secret_of_the_wrong_type_is_not_repeated_either(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError) as caught:
            load(f'[bridge]\napi_key = ["{CANARY}"]\n', tmp_path)
        assert str(caught.value).startswith("bridge.api_key must be text\n")
        assert CANARY not in "".join(traceback.format_exception(caught.value))
        assert caught.value.__context__ is None

    def test_a_misnamed_key_is_not_repeated_either(self, tmp_path: Path) -> None:
        found = problems_of(f'[bridge]\napikey = "{CANARY}"\n', tmp_path, {"ECPROC_API_KEY": CANARY})
        assert len(found) == 2
        assert CANARY not in str(found)

    def test_short_tokens_are_a_warning(self, tmp_path: Path) -> None:
        config = load(None, tmp_path, {"ECPROC_WEB__READ_TOKEN": "short"})
        assert [problem.message for problem in config.warnings] == ["web.read_token is shorter than 16 characters"]


class TestBridge:
    """What the bridge section says about itself."""

    @pytest.mark.requirement("R6", "R9")
    @pytest.mark.parametrize(
        ("url", "base", "queue", "environment", "path"),
        [
            (
                "https://H.example.com:444/acme/prod/",
                "https://H.example.com:444/acme/prod",
                "https://H.example.com:444/acme/prod",
                "prod",
                "/acme",
            ),
            (
                "https://h.example.com/acme/echo",
                "https://h.example.com/acme/echo",
                "https://h.example.com/acme/dev",
                "echo",
                "/acme",
            ),
            ("http://127.0.0.1:5/echo", "http://127.0.0.1:5/echo", "http://127.0.0.1:5/dev", "echo", ""),
            ("http://127.0.0.1:5", "http://127.0.0.1:5", "http://127.0.0.1:5", "", ""),
        ],
    )
    def test_addresses(self, url: str, base: str, queue: str, environment: str, path: str) -> None:
        bridge = BridgeConfig(url=url, client_name="x")
        assert (bridge.base_url, bridge.queue_url, bridge.environment) == (base, queue, environment)
        assert (bridge.identity.path, bridge.identity.environment) == (path, environment)

    @pytest.mark.requirement("R83")
    def test_what_is_recorded_names_the_guides_version(self) -> None:
        recorded = msgspec.structs.asdict(BridgeConfig(url="https://h.example.com/acme/prod", client_name="x").identity)
        assert recorded["guide"] == "1.2"

    def test_identity_ignores_the_port_and_the_host_s_case(self) -> None:
        first = BridgeConfig(url="https://H.example.com:444/acme/prod", client_name="x")
        second = BridgeConfig(url="https://h.example.com/acme/prod/", client_name="x")
        assert first.identity == second.identity

    @pytest.mark.requirement("R21")
    def test_the_delete_budget_leaves_room_before_the_message_returns(self) -> None:
        assert BridgeConfig().delete_budget == 25


@pytest.mark.parametrize(
    ("listen", "host", "port", "loopback"),
    [("127.0.0.1:0", "127.0.0.1", 0, True), ("[::1]:8600", "::1", 8600, True), ("0.0.0.0:80", "0.0.0.0", 80, False)],
)
def test_web_address_is_taken_apart(listen: str, host: str, port: int, loopback: bool) -> None:
    web = WebConfig(listen=listen)
    assert (web.host, web.port, web.is_loopback) == (host, port, loopback)


def count_keys(table: dict[str, Any]) -> int:
    return sum(count_keys(value) if isinstance(value, dict) else 1 for value in table.values())


def test_template_is_a_file_of_all_defaults(tmp_path: Path) -> None:
    config = load(template(), tmp_path)
    plain = load(None, tmp_path)
    assert [row[:2] for row in describe_config(config)] == [row[:2] for row in describe_config(plain)]
    assert all(origin != "default" for origin in config.origins.values())
    sections = tomllib.loads(template())
    assert count_keys(sections) == len(config.origins)


def test_description_masks_secrets_and_names_origins(tmp_path: Path) -> None:
    rows = {row.key: row for row in describe_config(load("[web]\nlisten = '[::1]:0'\n", tmp_path, BRIDGE))}
    assert rows["bridge.api_key"] == ("bridge.api_key", "***", "env ECPROC_BRIDGE__API_KEY")
    assert rows["web.read_token"] == ("web.read_token", "", "default")
    assert rows["web.listen"] == ("web.listen", "[::1]:0", f"{tmp_path}/ecproc.toml:2")
    assert rows["outbox.unknown_retry"] == ("outbox.unknown_retry", (60.0, 120.0), "default")


def test_internal_bounds_are_positive_and_no_option() -> None:
    assert all(value > 0 for value in msgspec.structs.astuple(Limits()))
    assert not any(row.key.startswith("limits") for row in describe_config(Config()))


def test_problems_read_like_compiler_messages() -> None:
    problem = ConfigProblem("unknown key bridge.x", "ecproc.toml:4", "did you mean bridge.url?")
    assert str(problem) == "unknown key bridge.x\n  --> ecproc.toml:4\n  = help: did you mean bridge.url?"
    assert str(ConfigProblem("plain")) == "plain"


@pytest.mark.parametrize(
    ("fault", "code", "text"),
    [
        (EcprocError("x"), 1, "x"),
        (DataDirInUse(Path("data"), 7), 69, "data is in use by process 7"),
        (DataDirInUse(Path("data")), 69, "data is in use by another process"),
        (StoreUnavailable("disk full"), 70, "disk full"),
        (LogDamaged(5, "the hash differs"), 71, "the event log is damaged at position 5: the hash differs"),
        (
            BridgeUnavailable("dns", "h: unknown", sent=False),
            75,
            "the bridge is unavailable (dns: h: unknown)",
        ),
        (BridgeUnavailable("timeout", sent=True), 75, "the bridge is unavailable (timeout)"),
        (WrongEnvironment("another client"), 78, "another client"),
        (
            BridgeRefused("Forbidden", help="x-api-key"),
            78,
            "the bridge refuses our calls: Forbidden (x-api-key)",
        ),
    ],
)
def test_faults_carry_their_exit_code(fault: EcprocError, code: int, text: str) -> None:
    assert (fault.exit_code, str(fault)) == (code, text)


SHORT = "web.read_token is shorter than 16 characters"
NO_HOST = "a host name or an address, without scheme and port"
LONG = 'read_token = "0123456789abcdef"'


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('listen = "::1:8605"', ("web.listen must be HOST:PORT, not '::1:8605'", "as in [::1]:8605")),
        ('hosts = ["proxy.example"]\nread_token = "short"', (SHORT, "openssl rand -hex 16")),
        ('listen = "0.0.0.0:1"\nread_token = "x"', (SHORT, "openssl rand -hex 16")),
        *(
            (f'hosts = ["{host}"]\n{LONG}', (f"web.hosts has {host!r}, which is no host name", NO_HOST))
            for host in ("http://proxy.example", "proxy.example:443", "*.example", "a b", "", "[::1]")
        ),
    ],
)
def test_others_call_the_pages_by_a_name_and_with_a_long_token(
    text: str, found: tuple[str, str], tmp_path: Path
) -> None:
    problems = problems_of(f"[web]\n{text}\n", tmp_path)
    assert [(message, advice) for message, _, advice in problems] == [found]


@pytest.mark.parametrize(
    "text", ['listen = "[fe80::1%eth0]:8600"', 'hosts = ["Proxy.example", "10.0.0.1", "2001:db8::1", "proxy"]']
)
def test_names_and_addresses_of_every_kind_are_taken(text: str, tmp_path: Path) -> None:
    config = load(f"[web]\n{text}\n{LONG}\n", tmp_path)
    assert config.web.is_exposed
    assert not config.warnings
