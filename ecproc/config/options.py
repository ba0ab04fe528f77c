"""The options: frozen values with their defaults, bounds and descriptions."""

import ipaddress
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Final, Literal, TypeAlias
from urllib.parse import urlsplit

from msgspec import Meta, Struct, field

from ecproc.config.hooks import DeskWebhookConfig, HooksConfig, HookSourceConfig
from ecproc.config.limits import Limits
from ecproc.config.policies import PolicyAdopt, PolicyConfig, PolicyReopen
from ecproc.config.proxy import BadProxy, Proxy, parse_proxy
from ecproc.config.secret import Secret
from ecproc.config.servicenow import ServiceNowConfig, ServiceNowTables
from ecproc.config.tables import TableAt
from ecproc.config.watch import InternalConfig, WatchConfig
from ecproc.errors import ConfigProblem

Seconds: TypeAlias = Annotated[float, Meta(gt=0, le=86_400)]
Count: TypeAlias = Annotated[int, Meta(ge=1, le=10_000_000)]
Places: TypeAlias = Annotated[int, Meta(ge=0, le=1_024)]

DESKS: Final = ("local", "servicenow", "webhook")
"""The desks that are ours; any other `desk.kind` is the name of one that an installed package brings."""


def is_loopback(host: str) -> bool:
    """Whether `host` names this machine itself: 127.0.0.0/8, ::1 or localhost."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def is_address(host: str) -> bool:
    """Whether `host` is an IP address, without brackets."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


class BridgeIdentity(Struct, frozen=True):
    """Which queue a log belongs to (R6); the port is left out because it says nothing about that."""

    host: str
    path: str
    """What stands before the environment: `/yourclient`."""
    environment: str
    client_name: str
    guide: str = "1.2"
    """The version of the guide that it was begun by, which makes it no other log."""


class BridgeConfig(Struct, frozen=True, kw_only=True):
    """Ensono's bridge and how it is called."""

    url: Annotated[
        str,
        Meta(
            description="https://smconnect.ensono.com/CLIENT/ENVIRONMENT, where the environment is dev, echo, cert or"
            " prod in lower case; http:// only for loopback; required by run"
        ),
    ] = ""
    client_name: Annotated[str, Meta(description="the clientName Ensono issued; required by run")] = ""
    client_name_in: Annotated[
        Literal["body", "query", "header"],
        Meta(description="where calls without a body name the client: body is not at all"),
    ] = "body"
    api_key: Annotated[
        Secret,
        Meta(
            description="better: ECPROC_BRIDGE__API_KEY_FILE, which is read again when the file changes and may"
            " hold two lines, the second for when the first is refused; or ECPROC_BRIDGE__API_KEY; required by run"
        ),
    ] = Secret()
    requests_per_second: Annotated[
        float, Meta(ge=0, le=1_000, description="our own ceiling for ticket calls; 0 is none")
    ] = 0.0
    poll_interval: Annotated[
        Seconds,
        Meta(description="seconds between reads while idle; reads follow at once while messages come"),
    ] = 30.0
    visibility: Annotated[Seconds, Meta(description="seconds the bridge hides a message that was read")] = 30.0
    timeout: Annotated[float, Meta(gt=0, le=3_600, description="total seconds per call")] = 30.0
    max_readers: Annotated[int, Meta(ge=1, le=64, description="concurrent GETs while messages come")] = 8
    transport: Annotated[
        Literal["fast", "httpx"],
        Meta(description="how the bridge is called: fast, or httpx should a TLS setup need a general client"),
    ] = "fast"
    proxy: Annotated[
        Secret,
        Meta(
            description="http://[user:password@]host:port for all bridge calls and attachments, better in"
            " ECPROC_BRIDGE__PROXY_FILE; never taken from HTTP_PROXY and its like"
        ),
    ] = Secret()
    ca_file: Annotated[str, Meta(description="private CA certificates (PEM) to trust instead of the system's")] = ""

    @property
    def base_url(self) -> str:
        """Where ticket calls go; no trailing slash."""
        return self.url.rstrip("/")

    @property
    def queue_url(self) -> str:
        """The base of the queue calls (`/queue` follows it): echo has no queue, its messages arrive in dev (R9)."""
        base = self.base_url
        return f"{base.removesuffix('/echo')}/dev" if self.environment == "echo" else base

    @property
    def environment(self) -> str:
        """The url's last path segment, empty when it has none."""
        return urlsplit(self.base_url).path.rpartition("/")[2]

    @property
    def identity(self) -> BridgeIdentity:
        """What the log's first event records, so that two environments never share one log (R6)."""
        parts = urlsplit(self.base_url)
        return BridgeIdentity(parts.hostname or "", parts.path.rpartition("/")[0], self.environment, self.client_name)

    @property
    def proxy_address(self) -> Proxy | None:
        """The proxy to go through, None without one; the checks have seen that it is one."""
        proxy = parse_proxy(self.proxy.reveal()) if self.proxy else None
        return None if isinstance(proxy, BadProxy) else proxy

    @property
    def delete_budget(self) -> float:
        """Seconds from sending a GET within which its messages may still be deleted: 25 of 30 (R21)."""
        return self.visibility * 5 / 6


class DataConfig(Struct, frozen=True, kw_only=True):
    """Where everything durable stands."""

    dir: Annotated[Path, Meta(description="event log, attachments, lock; created 0700")] = Path("data")
    store: Annotated[Literal["sqlite"], Meta(description="the event log's storage")] = "sqlite"
    reserve_bytes: Annotated[
        int,
        Meta(
            ge=0,
            le=2**50,
            description="below this free space nothing is received, below half of it effects and downloads pause",
        ),
    ] = 268_435_456

    @property
    def directory(self) -> Path:
        """The whole path: messages name a place, not what it is called from where we stand."""
        return self.dir.absolute()


class AttachmentsConfig(Struct, frozen=True, kw_only=True):
    """Which attachments are downloaded."""

    allowed_hosts: Annotated[
        tuple[str, ...],
        Meta(
            description="https on 443 only; * stands for one label; a loopback host named here may use http and any"
            " port"
        ),
    ] = ("*.s3.amazonaws.com", "*.s3.*.amazonaws.com")
    max_bytes: Annotated[int, Meta(ge=1, le=2**40, description="a larger attachment is not stored")] = 52_428_800


class DeskConfig(Struct, frozen=True, kw_only=True):
    """The client's own ITSM."""

    kind: Annotated[
        str,
        Meta(
            description="local: numbers LOCAL-0000001 and so on, kept in the data directory; servicenow: the instance"
            " at desk.servicenow.url; webhook: one signed POST per call to desk.webhook.url; or the name of a desk that"
            " an installed package brings, whose options stand in desk.NAME"
        ),
    ] = "local"

    @property
    def is_ours(self) -> bool:
        """Whether no other package brings it."""
        return self.kind in DESKS


class MappingConfig(Struct, frozen=True, kw_only=True):
    """What the guide's words are at the desk, and the desk's at Ensono."""

    file: Annotated[
        str,
        Meta(
            description="mapping file (TOML), relative to the directory of this file; empty is the built-in mapping of"
            " the desk"
        ),
    ] = ""


class OutboxConfig(Struct, frozen=True, kw_only=True):
    """How side effects are carried out."""

    max_in_flight: Annotated[int, Meta(ge=1, le=1_024, description="effects performed at the same time")] = 32
    max_pending: Annotated[Count, Meta(description="entries; above it tickets wait, messages do not")] = 100_000
    max_attempts: Annotated[Count, Meta(description="only answers that blame the entry count")] = 12
    unknown_retry: Annotated[
        tuple[Seconds, Seconds],
        Meta(description="seconds, from and to, before an effect whose outcome is unknown is looked at again"),
    ] = (60.0, 120.0)


class OutboxSlots(Struct, frozen=True, kw_only=True):
    """How many effects of a lane are performed at the same time, of `outbox.max_in_flight` in all."""

    desk: Annotated[Places, Meta(description="effects at the client's desk; 0 is an equal share of max_in_flight")] = 0
    bridge: Annotated[Places, Meta(description="calls that work Ensono's tickets; 0 is an equal share")] = 0
    attachments: Annotated[Places, Meta(description="downloads; 0 is an equal share")] = 0


class CommandsConfig(Struct, frozen=True, kw_only=True):
    """What the client asks of Ensono, where the guide leaves it a choice."""

    default_group: Annotated[str, Meta(description="tried once when Ensono rejects a group")] = ""
    close_open: Annotated[
        Literal["refuse", "resolve_first"], Meta(description="closing a ticket that is not resolved")
    ] = "refuse"
    overflow: Annotated[
        Literal["comment", "refuse"], Meta(description="over-long text: comment is numbered comments")
    ] = "comment"
    contact_name: Annotated[str, Meta(description="contact of creates that name none")] = ""
    contact_email: Annotated[str, Meta(description="its address")] = ""
    approval_id_name: Annotated[
        Literal["approvalid", "approvalId"], Meta(description="how an approval's id is spelled when it is answered")
    ] = "approvalid"
    change_note_type: Annotated[
        Literal["Change", "Incident"], Meta(description="the ticketType that comments on a change name")
    ] = "Change"


class WebConfig(Struct, frozen=True, kw_only=True):
    """The built-in HTTP server."""

    listen: Annotated[
        str, Meta(description="HOST:PORT; 0 is any free port; anything but loopback needs read_token")
    ] = "127.0.0.1:8600"
    hosts: Annotated[
        tuple[str, ...],
        Meta(
            description="further names that requests may call the server by, as of a proxy in front; then read_token is"
            " needed on loopback too"
        ),
    ] = ()
    read_token: Annotated[
        Secret, Meta(description="bearer token of /metrics and the JSON API's reads; 16 characters or more")
    ] = Secret()
    command_token: Annotated[
        Secret,
        Meta(
            description="bearer token of whatever changes something, and of reads too; where read_token is set nothing"
            " can be changed over the network without it"
        ),
    ] = Secret()

    @property
    def host(self) -> str:
        """The address to bind, without the brackets of an IPv6 literal."""
        return self.listen.rpartition(":")[0].strip("[]")

    @property
    def port(self) -> int:
        """The port to bind; 0 is any free one."""
        return int(self.listen.rpartition(":")[2])

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach the server."""
        return is_loopback(self.host)

    @property
    def is_exposed(self) -> bool:
        """Whether others may reach it, by themselves or through a proxy, so that a token has to keep them out."""
        return not self.is_loopback or bool(self.hosts)


class LogConfig(Struct, frozen=True, kw_only=True):
    """What is said on stderr."""

    level: Annotated[
        Literal["debug", "info", "warning", "error"], Meta(description="nothing less important is written")
    ] = "info"
    format: Annotated[
        Literal["text", "json", "auto"],
        Meta(description="auto is text on a terminal and one JSON object per line elsewhere"),
    ] = "auto"


class SecretFile(Struct, frozen=True):
    """Where a secret was read from, and every line that may be sent of it, the first one first."""

    path: Path
    values: tuple[Secret, ...]


class Config(Struct, frozen=True, kw_only=True):
    """Everything a process is told from outside, checked; `limits` is not for operators."""

    bridge: BridgeConfig = BridgeConfig()
    data: DataConfig = DataConfig()
    attachments: AttachmentsConfig = AttachmentsConfig()
    desk: DeskConfig = DeskConfig()
    mapping: MappingConfig = MappingConfig()
    desk_servicenow: ServiceNowConfig = ServiceNowConfig()
    desk_servicenow_tables: ServiceNowTables = ServiceNowTables()
    desk_webhook: DeskWebhookConfig = DeskWebhookConfig()
    desk_options: Struct | None = None
    """Those of a desk that another package brings, of the type that it names; None where the desk is ours."""
    desk_watch: WatchConfig = WatchConfig()
    policy_internal: InternalConfig = InternalConfig()
    outbox: OutboxConfig = OutboxConfig()
    outbox_slots: OutboxSlots = OutboxSlots()
    policy: PolicyConfig = PolicyConfig()
    policy_reopen: PolicyReopen = PolicyReopen()
    policy_adopt: PolicyAdopt = PolicyAdopt()
    policy_scope: tuple[TableAt, ...] = ()
    commands: CommandsConfig = CommandsConfig()
    web: WebConfig = WebConfig()
    hooks: HooksConfig = HooksConfig()
    hooks_sources: Mapping[str, HookSourceConfig] = {}
    """By name."""
    log: LogConfig = LogConfig()
    limits: Limits = Limits()
    origins: Mapping[str, str] = field(default_factory=dict)
    """Per `section.key`: `default`, `file:line`, or `env NAME`."""
    secret_files: Mapping[str, SecretFile] = field(default_factory=dict)
    """Per `section.key` of a secret that a file holds."""
    directory: Path = Path()
    """Where the configuration file stands; without one, where we stand."""
    warnings: tuple[ConfigProblem, ...] = ()

    @property
    def is_mapped(self) -> bool:
        """Whether the desk's fields may be made of several of the guide's, and not only of those that changed: what
        those of another package are made of is their own matter."""
        return self.desk.kind == "servicenow" or not self.desk.is_ours or self.mapping_file is not None

    @property
    def mapping_file(self) -> Path | None:
        """The mapping file; None for the built-in mapping."""
        return self.directory / self.mapping.file if self.mapping.file else None
