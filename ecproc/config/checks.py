"""What must hold between and inside the options beyond their types: pure functions from values to findings."""

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple
from urllib.parse import SplitResult, urlsplit

from msgspec.structs import asdict

from ecproc.config.catalogue import OPTIONS, field_of
from ecproc.config.hooks import DeskWebhookConfig, HooksConfig, HookSourceConfig
from ecproc.config.options import BridgeConfig, Config, OutboxSlots, WebConfig, is_address, is_loopback
from ecproc.config.proxy import BadProxy, parse_proxy
from ecproc.config.secret import Secret
from ecproc.config.servicenow import Objection, check_servicenow
from ecproc.config.watch import check_internal, check_watch
from ecproc.webhooks import KEY_FORM, BadSecret, read_key

ENVIRONMENTS: Final = ("dev", "echo", "cert", "prod")

HEADER_SECRETS: Final = ("bridge.api_key", "web.read_token", "web.command_token", "desk.servicenow.api_key")
"""The secrets that are sent in a header as they stand."""
FORM_SECRETS: Final = ("desk.servicenow.password", "desk.servicenow.client_secret", "desk.servicenow.refresh_token")
"""The secrets that are sent encoded, whatever characters they have."""
WEBHOOK_SECRETS: Final = ("desk.webhook.secrets",)
"""The lists of secrets that sign."""
_MOST_SECRETS: Final = 8

_POLL_RANGE: Final = (30.0, 300.0)
TOKEN_LENGTH: Final = 16
"""Characters of a token that nobody guesses; the least where others may reach the server."""

_MAX_PORT: Final = 65_535
_LABEL: Final = r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?"
_HOST_PATTERN: Final = re.compile(rf"(?:(?:\*|{_LABEL})\.)*{_LABEL}\.{_LABEL}")
_HOSTS_HELP: Final = "a lower-case host without scheme or port; * stands for one label, not for the last two"
_PROXY_HELP: Final = "as in http://proxy.example.com:3128; @ : / and % in user or password as %40 %3A %2F %25"
_URL_HELP: Final = "https://smconnect.ensono.com/yourclient/prod"
_LISTEN: Final = re.compile(r"(\[[0-9a-fA-F:.]+(?:%[A-Za-z0-9._-]+)?\]|[A-Za-z0-9.-]+):([0-9]{1,5})")
_BARE_IPV6: Final = re.compile(r"([0-9a-fA-F:.]*:[0-9a-fA-F:.]*:[0-9a-fA-F.]*):([0-9]{1,5})")
_WEB_HOST: Final = re.compile(rf"(?:{_LABEL}\.)*{_LABEL}")
_WEB_HOSTS_HELP: Final = "a host name or an address, without scheme and port"
_DESK_URL_HELP: Final = "as in https://flows.example.com/ensono"
_SECRETS_HELP: Final = "set it, or its variable or file, to what ecproc hooks secret prints"
_BEARER_HELP: Final = "set it or ECPROC_WEB__READ_TOKEN[_FILE] to what openssl rand -hex 16 gives"


class OptionFinding(NamedTuple):
    """Something about one option that is wrong, or with `warning` only unwise."""

    name: str
    message: str
    help: str = ""
    warning: bool = False


def check_config(config: Config, *, require_bridge: bool) -> Iterator[OptionFinding]:
    """Everything to say about `config`; without `require_bridge` the bridge's options may be empty."""
    bridge = config.bridge
    if require_bridge:
        yield from _check_required(bridge)
    if bridge.url:
        yield from check_url(bridge.url)
    yield from _check_client_name(bridge)
    yield from _check_poll_interval(bridge)
    for name in HEADER_SECRETS:
        yield from _check_secret(name, config)
    yield from _check_proxy(bridge.proxy)
    yield from _check_path_text("data.dir", str(config.data.dir))
    yield from _check_path_text("mapping.file", config.mapping.file)
    for host in config.attachments.allowed_hosts:
        if not is_loopback(host) and not _HOST_PATTERN.fullmatch(host):
            yield OptionFinding("attachments.allowed_hosts", f"{host!r} is not a host name or pattern", _HOSTS_HELP)
    if config.outbox.unknown_retry[0] >= config.outbox.unknown_retry[1]:
        yield OptionFinding(
            "outbox.unknown_retry", "outbox.unknown_retry must be two increasing numbers", "as in [60, 120]"
        )
    yield from _check_slots(config.outbox_slots, config.outbox.max_in_flight)
    yield from _check_web(config.web)
    if config.desk.kind == "servicenow":
        yield from _check_servicenow(config)
        yield from _name_objections("desk.watch", check_watch(config.desk_watch))
    yield from _name_objections("policy.internal", check_internal(config.policy_internal))
    if config.desk.kind == "webhook":
        yield from _check_desk_webhook(config)
    yield from _check_hooks(config.hooks, config.web)
    for name, source in config.hooks_sources.items():
        yield from _check_source(f"hooks.sources.{name}", source, config)


def _check_slots(slots: OutboxSlots, in_all: int) -> Iterator[OptionFinding]:
    for lane, places in asdict(slots).items():
        if places > in_all:
            name = f"outbox.slots.{lane}"
            yield OptionFinding(
                name, f"{name} is more than outbox.max_in_flight, {in_all}", "raise outbox.max_in_flight"
            )


def _check_servicenow(config: Config) -> Iterator[OptionFinding]:
    section, parts = config.desk_servicenow, _split_url(config.desk_servicenow.url)
    objections = check_servicenow(
        section,
        config.desk_servicenow_tables,
        first_look=config.outbox.unknown_retry[0],
        is_local=parts is not None and is_loopback(parts.hostname or ""),
    )
    for key, message, advice, warning in objections:
        name = f"desk.servicenow.{key}"
        variable = OPTIONS[name].variable
        suffix = f", or {variable}_FILE" if OPTIONS[name].is_secret else ""
        yield OptionFinding(name, f"{name} {message}", advice or f"see {variable}{suffix}", warning)


def _name_objections(section: str, objections: Iterable[Objection]) -> Iterator[OptionFinding]:
    for key, message, advice, warning in objections:
        name = f"{section}.{key}"
        yield OptionFinding(name, f"{name} {message}", advice, warning)


def _check_path_text(name: str, path: str) -> Iterator[OptionFinding]:
    if path.startswith("~"):
        yield OptionFinding(name, f"{name} begins with ~, which is not expanded", "write the whole path")
    elif not path.isprintable():
        yield OptionFinding(name, f"{name} has unprintable characters")


def check_url(url: str) -> Iterator[OptionFinding]:
    """What is wrong with the bridge's address; messages never repeat a part that may hold a secret (R3, R6, R7)."""
    name = "bridge.url"
    parts = _split_url(url)
    if parts is None:
        yield OptionFinding(name, f"{name} is not a valid URL", _URL_HELP)
        return
    if parts.username is not None or parts.password is not None:
        yield OptionFinding(
            name, f"{name} must not contain a user name or password", "the key goes into bridge.api_key"
        )
    if "?" in url or "#" in url:
        yield OptionFinding(name, f"{name} must not contain a query or fragment", _URL_HELP)
    if is_loopback(parts.hostname or ""):
        return
    if parts.scheme != "https":
        yield OptionFinding(
            name, f"{name} must begin with https://", "write https://; http:// is allowed for loopback addresses only"
        )
    yield from _check_path(parts)


def _split_url(url: str) -> SplitResult | None:
    try:
        parts = urlsplit(url)
        valid = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return None
    return parts if valid and url.isascii() and url.isprintable() and " " not in url else None


def _check_path(parts: SplitResult) -> Iterator[OptionFinding]:
    client, _, environment = parts.path.rstrip("/").rpartition("/")
    lower = f"https://{parts.netloc.rpartition('@')[2]}{parts.path.lower()}"
    if environment not in ENVIRONMENTS:
        known = environment.lower() in ENVIRONMENTS
        yield OptionFinding(
            "bridge.url",
            f"bridge.url must end in /dev, /echo, /cert or /prod, not /{environment}",
            f"paths are case sensitive: {lower}" if known else _URL_HELP,
        )
    elif client != client.lower():
        yield OptionFinding(
            "bridge.url", "bridge.url has upper case in its path", f"usually it is {lower}", warning=True
        )


def _check_required(bridge: BridgeConfig) -> Iterator[OptionFinding]:
    for key in ("url", "client_name", "api_key"):
        if not getattr(bridge, key):
            option = OPTIONS[f"bridge.{key}"]
            file = f" or {option.variable}_FILE" if option.is_secret else f" or {key} in [bridge]"
            yield OptionFinding(option.name, f"{option.name} is required", f"set {option.variable}{file}")


def _check_client_name(bridge: BridgeConfig) -> Iterator[OptionFinding]:
    name = bridge.client_name
    if name != name.strip() or not name.isprintable():
        yield OptionFinding(
            "bridge.client_name", "bridge.client_name has white space around it or unprintable characters"
        )
    elif bridge.client_name_in == "header" and not name.isascii():
        reason = "bridge.client_name has characters that no HTTP header can carry"
        yield OptionFinding("bridge.client_name", reason, 'bridge.client_name_in = "query" can carry them')


def _check_proxy(proxy: Secret) -> Iterator[OptionFinding]:
    parsed = parse_proxy(proxy.reveal()) if proxy else None
    if isinstance(parsed, BadProxy):
        yield OptionFinding("bridge.proxy", f"bridge.proxy {parsed.reason}", _PROXY_HELP)


def _check_poll_interval(bridge: BridgeConfig) -> Iterator[OptionFinding]:
    low, high = _POLL_RANGE
    local = not bridge.url or is_loopback(bridge.identity.host)
    if not local and not low <= bridge.poll_interval <= high:
        yield OptionFinding(
            "bridge.poll_interval",
            f"bridge.poll_interval is {bridge.poll_interval:g}; Ensono expects {low:g} to {high:g} seconds",
            warning=True,
        )


def _check_secret(name: str, config: Config) -> Iterator[OptionFinding]:
    section, _, key = name.rpartition(".")
    secret: Secret = getattr(getattr(config, field_of(section)), key)
    file = config.secret_files.get(name)
    for value in file.values if file else (secret,):
        if not fits_header(value.reveal()):
            reason = f"{name} has characters that no HTTP header can carry"
            yield OptionFinding(name, reason, "is it pasted with a line break?")
            return
        if section == "web" and 0 < len(value.reveal()) < TOKEN_LENGTH:
            reason = f"{name} is shorter than {TOKEN_LENGTH} characters"
            yield OptionFinding(name, reason, "openssl rand -hex 16", warning=not config.web.is_exposed)


def fits_header(value: str) -> bool:
    """Whether an HTTP header can carry it as it stands."""
    return value.isascii() and value.isprintable() and value == value.strip()


def _check_web(web: WebConfig) -> Iterator[OptionFinding]:
    yield from _check_hosts(web.hosts)
    malformed = [*_check_listen("web.listen", web.listen, "as in 127.0.0.1:8600")]
    yield from malformed
    if malformed:
        return
    if not web.is_loopback and not web.read_token:
        reason = "web.read_token is required because web.listen is not a loopback address"
        yield OptionFinding("web.listen", reason, _BEARER_HELP)
    elif web.hosts and not web.read_token:
        yield OptionFinding("web.hosts", "web.read_token is required because web.hosts lets others in", _BEARER_HELP)


def is_webhook_secret(secret: Secret) -> bool:
    """Whether it is one that a message can be signed with."""
    try:
        read_key(secret.reveal())
    except BadSecret:
        return False
    return True


def _check_desk_webhook(config: Config) -> Iterator[OptionFinding]:
    webhook, name = config.desk_webhook, "desk.webhook.secrets"
    if webhook.url:
        yield from _check_address("desk.webhook.url", webhook.url)
    else:
        yield OptionFinding("desk.webhook.url", "desk.webhook.url is required by desk.kind webhook", _DESK_URL_HELP)
    yield from _check_signing(name, webhook.secrets, "desk.kind webhook")
    yield from _check_look_up(webhook)


def _check_signing(name: str, secrets: Sequence[Secret], reason: str) -> Iterator[OptionFinding]:
    if not secrets:
        yield OptionFinding(name, f"{name} is required by {reason}", _SECRETS_HELP)
    elif len(secrets) > _MOST_SECRETS or not all(map(is_webhook_secret, secrets)):
        yield OptionFinding(name, f"{name} must be at most {_MOST_SECRETS}, each {KEY_FORM}", _SECRETS_HELP)


def _check_source(section: str, source: HookSourceConfig, config: Config) -> Iterator[OptionFinding]:
    if not config.hooks.listen:
        yield OptionFinding(f"{section}.kind", f"{section} needs hooks.listen", "as in 0.0.0.0:8610")
    match source.kind:
        case "standard":
            yield from _check_signing(f"{section}.secrets", source.secrets, "kind standard")
        case "basic":
            if not source.username or ":" in source.username:
                name = f"{section}.username"
                yield OptionFinding(name, f"{name} is required by kind basic, and has no colon")
            yield from _check_shared(f"{section}.password", source.password, config)
        case "bearer":
            yield from _check_shared(f"{section}.token", source.token, config)


def _check_shared(name: str, secret: Secret, config: Config) -> Iterator[OptionFinding]:
    """What is wrong with what somebody else sends us to show who they are."""
    file = config.secret_files.get(name)
    for value in file.values if file else (secret,):
        if len(value.reveal()) < TOKEN_LENGTH or not fits_header(value.reveal()):
            reason = f"{name} must be {TOKEN_LENGTH} printable ASCII characters or more"
            yield OptionFinding(name, reason, "openssl rand -hex 16")
            return


def _check_look_up(webhook: DeskWebhookConfig) -> Iterator[OptionFinding]:
    name = "desk.webhook.lookup_url"
    if webhook.lookup_url:
        yield from _check_address(name, webhook.lookup_url)
    elif webhook.repeat == "look-up":
        yield OptionFinding(name, f'{name} is required by class = "look-up"', 'else class = "blind"')


def _check_address(name: str, url: str) -> Iterator[OptionFinding]:
    """What is wrong with an address of somebody else's; messages never repeat a part that may hold a secret."""
    parts = _split_url(url)
    if parts is None:
        yield OptionFinding(name, f"{name} is not a valid URL", _DESK_URL_HELP)
        return
    if parts.username is not None or parts.password is not None:
        yield OptionFinding(name, f"{name} must not contain a user name or password", "calls are signed with a secret")
    if "#" in url:
        yield OptionFinding(name, f"{name} must not contain a fragment")
    if parts.scheme != "https" and not is_loopback(parts.hostname or ""):
        help_text = "write https://; http:// is allowed for loopback addresses only"
        yield OptionFinding(name, f"{name} must begin with https://", help_text)


def _check_hooks(hooks: HooksConfig, web: WebConfig) -> Iterator[OptionFinding]:
    if hooks.listen:
        yield from _check_listen("hooks.listen", hooks.listen, "as in 0.0.0.0:8610")
    if hooks.listen == web.listen and not web.listen.endswith(":0"):
        yield OptionFinding("hooks.listen", "hooks.listen is web.listen: each needs an address of its own")
    if hooks.public_url:
        yield from _check_address("hooks.public_url", hooks.public_url)
        if "?" in hooks.public_url:
            yield OptionFinding("hooks.public_url", "hooks.public_url must not contain a query")
        if not hooks.listen:
            yield OptionFinding("hooks.public_url", "hooks.public_url needs hooks.listen", "as in 0.0.0.0:8610")


def _check_listen(name: str, listen: str, example: str) -> Iterator[OptionFinding]:
    match = _LISTEN.fullmatch(listen)
    if match is None or int(match[2]) > _MAX_PORT:
        bare = _BARE_IPV6.fullmatch(listen)
        advice = f"as in [{bare[1]}]:{bare[2]}" if bare else example
        yield OptionFinding(name, f"{name} must be HOST:PORT, not {listen!r}", advice)


def _check_hosts(hosts: Iterable[str]) -> Iterator[OptionFinding]:
    for host in hosts:
        if not _WEB_HOST.fullmatch(host.lower()) and not is_address(host):
            yield OptionFinding("web.hosts", f"web.hosts has {host!r}, which is no host name", _WEB_HOSTS_HELP)
