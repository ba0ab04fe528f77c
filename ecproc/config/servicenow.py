"""The options of a desk on a ServiceNow instance, and what must hold between them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Final, Literal, NamedTuple
from urllib.parse import urlsplit

from msgspec import Meta, Struct

from ecproc.config.proxy import BadProxy, Proxy, parse_proxy
from ecproc.config.secret import Secret

IMPORT: Final = "import:"
"""What stands before the name of a staging table."""
QUOTA_MARGIN: Final = 15.0
"""Seconds behind the instance's quota from which a look-up's "not there" can be relied on: a cancelled call may end
that much later."""
LEAST_PER_HOUR: Final = 600
"""The lowest ceiling of our own: of any lower one the reading of a list would take it all."""

_TABLES: Final[Mapping[str, frozenset[str]]] = {
    "incident": frozenset({"incident", "sn_customerservice_case"}),
    "request": frozenset({"sc_req_item", "sn_customerservice_case"}),
    "change": frozenset({"change_request"}),
}
_STAGING: Final = re.compile(r"import:(?:x|u)_[a-z0-9_]{1,74}")
_FIELD: Final = re.compile(r"[a-z][a-z0-9_]{0,79}")
_UNFIT: Final = frozenset({"comments", "work_notes", "comments_and_work_notes", "sys_id", "number", "state"})
_REFERENCES: Final = frozenset(
    {
        "caller_id",
        "assignment_group",
        "assigned_to",
        "opened_by",
        "cmdb_ci",
        "parent",
        "company",
        "location",
        "problem_id",
    }
)
_JOURNALS: Final = frozenset({"comments", "work_notes"})
_CONSTANT: Final = re.compile(r"[^\^\r\n]{1,100}")
_TEMPLATE: Final = re.compile(r"[0-9a-f]{32}")
_NEEDED: Final[Mapping[str, tuple[str, ...]]] = {
    "basic": ("username", "password"),
    "client_credentials": ("client_id", "client_secret"),
    "password": ("client_id", "client_secret", "username", "password"),
    "refresh": ("client_id", "client_secret", "refresh_token"),
    "api_key": ("api_key",),
}
_CREDENTIALS: Final = ("username", "password", "client_id", "client_secret", "refresh_token", "api_key")
_SECRETS: Final = frozenset({"password", "client_secret", "refresh_token", "api_key"})


class Objection(NamedTuple):
    """What is wrong with an option of this section, or with `warning` only unwise; `key` is its name in the section."""

    key: str
    message: str
    help: str = ""
    warning: bool = False


class ServiceNowTables(Struct, frozen=True, kw_only=True):
    """Where client tickets of each type are kept."""

    incident: Annotated[
        str, Meta(description="incident or sn_customerservice_case, or import:STAGING_TABLE for an import set")
    ] = "incident"
    request: Annotated[str, Meta(description="sc_req_item or sn_customerservice_case, or import:STAGING_TABLE")] = (
        "sc_req_item"
    )
    change: Annotated[str, Meta(description="change_request, or import:STAGING_TABLE")] = "change_request"

    def table_of(self, ticket_type: str) -> str:
        """The table of tickets of a type, as the option has it; incidents' for a type that nobody knows."""
        known = {"request": self.request, "change": self.change}
        return known.get(ticket_type.lower(), self.incident)


class ServiceNowConfig(Struct, frozen=True, kw_only=True):
    """The instance and how it is called."""

    url: Annotated[str, Meta(description="https://YOURS.service-now.com; http:// only for loopback")] = ""
    auth: Annotated[
        Literal["basic", "client_credentials", "password", "refresh", "api_key"],
        Meta(description="how calls are authenticated; all but basic and api_key are OAuth grants"),
    ] = "client_credentials"
    username: Annotated[str, Meta(description="the integration's user: basic, password")] = ""
    password: Annotated[Secret, Meta(description="its password; better in ECPROC_DESK_SERVICENOW__PASSWORD_FILE")] = (
        Secret()
    )
    client_id: Annotated[str, Meta(description="of the OAuth application: client_credentials, password, refresh")] = ""
    client_secret: Annotated[Secret, Meta(description="of the OAuth application")] = Secret()
    refresh_token: Annotated[Secret, Meta(description="only for refresh; ends after 100 days by default")] = Secret()
    api_key: Annotated[Secret, Meta(description="sent as x-sn-apikey")] = Secret()
    scope: Annotated[str, Meta(description="OAuth scope, where the application asks for one")] = ""
    key_field: Annotated[
        str, Meta(description="text field that takes the key a record is looked up by, 100 characters or more")
    ] = "correlation_id"
    display_field: Annotated[str, Meta(description="text field that marks records as ours")] = "correlation_display"
    display: Annotated[str, Meta(description="what stands in it")] = "ENSONO"
    note_field: Annotated[
        Literal["comments", "work_notes"], Meta(description="the journal that Ensono's notes go to")
    ] = "comments"
    notes_out: Annotated[
        tuple[str, ...], Meta(description="the journals whose entries go to Ensono: comments, work_notes, both or none")
    ] = ("comments",)
    approvals: Annotated[
        Literal["note", "approver_record"],
        Meta(description="what asks for an approval of a change: a note, or a record of the approver"),
    ] = "note"
    change_api: Annotated[
        Literal["table", "change_management"], Meta(description="the interface that changes are created by")
    ] = "table"
    change_template: Annotated[
        str, Meta(description="sys_id of a standard change template, for changes of type Standard")
    ] = ""
    walk_states: Annotated[bool, Meta(description="changes go through the states between, one by one")] = True
    quota_seconds: Annotated[
        float, Meta(ge=1, le=3_600, description="after which the instance cancels a call: its REST transaction quota")
    ] = 60.0
    lookup_margin_seconds: Annotated[
        float, Meta(ge=0, le=3_600, description="look-ups wait this much longer than quota_seconds")
    ] = QUOTA_MARGIN
    timeout: Annotated[float, Meta(gt=0, le=3_600, description="total seconds per call")] = 30.0
    max_connections: Annotated[int, Meta(ge=1, le=64, description="calls at the same time")] = 8
    requests_per_hour: Annotated[
        int,
        Meta(ge=0, le=10_000_000, description="our own ceiling, 600 or more; 0 is none: the instance's 429 decides"),
    ] = 0
    proxy: Annotated[
        Secret,
        Meta(
            description="http://[user:password@]host:port, better in ECPROC_DESK_SERVICENOW__PROXY_FILE; never taken"
            " from HTTP_PROXY and its like"
        ),
    ] = Secret()
    ca_file: Annotated[str, Meta(description="private CA certificates (PEM) to trust instead of the system's")] = ""

    @property
    def base_url(self) -> str:
        """The address without a slash at its end."""
        return self.url.rstrip("/")

    @property
    def settles_after(self) -> float:
        """Seconds after which a call that was cut off has certainly come to its end."""
        return self.quota_seconds + self.lookup_margin_seconds

    @property
    def proxy_address(self) -> Proxy | None:
        """The proxy to go through, None without one; the checks have seen that it is one."""
        proxy = parse_proxy(self.proxy.reveal()) if self.proxy else None
        return None if isinstance(proxy, BadProxy) else proxy

    @property
    def authorities(self) -> Path | None:
        """The file of certificates to trust, None for the system's."""
        return Path(self.ca_file) if self.ca_file else None


def check_servicenow(
    config: ServiceNowConfig, tables: ServiceNowTables, *, first_look: float, is_local: bool
) -> Iterator[Objection]:
    """What is to be said of the section where it is in use. `first_look` is the least of `outbox.unknown_retry`,
    `is_local` whether the address is this machine's."""
    yield from _check_url(config.url, is_local=is_local)
    yield from _check_credentials(config)
    yield from _check_fields(config)
    yield from _check_tables(tables)
    if 0 < config.requests_per_hour < LEAST_PER_HOUR:
        yield Objection(
            "requests_per_hour", f"must be 0, or {LEAST_PER_HOUR} or more", "one ticket takes several calls"
        )
    if first_look < config.settles_after:
        reason = (
            f"and lookup_margin_seconds make {config.settles_after:g} s, after outbox.unknown_retry's first"
            f" {first_look:g} s: what is unknown is looked up then only"
        )
        yield Objection(
            "quota_seconds", reason, f"outbox.unknown_retry = [{config.settles_after:g}, 120]", warning=True
        )
    if config.lookup_margin_seconds < QUOTA_MARGIN and not is_local:
        reason = f"is below {QUOTA_MARGIN:g}: a look-up may come before a cancelled call has ended"
        yield Objection("lookup_margin_seconds", reason, warning=True)


def _check_url(url: str, *, is_local: bool) -> Iterator[Objection]:
    if not url:
        yield Objection("url", 'is required for desk.kind = "servicenow"', "https://YOURS.service-now.com")
        return
    try:
        parts = urlsplit(url)
        valid = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        valid = False
    if not valid or not url.isascii() or not url.isprintable() or " " in url:
        yield Objection("url", "is not a valid URL", "https://YOURS.service-now.com")
        return
    if parts.username is not None or parts.password is not None:
        yield Objection("url", "must not contain a user name or password", "they go into username and password")
    if "?" in url or "#" in url or parts.path.strip("/"):
        yield Objection("url", "must end with the host", "https://YOURS.service-now.com")
    if parts.scheme != "https" and not is_local:
        yield Objection("url", "must begin with https://", "http:// is allowed for loopback addresses only")


def _check_credentials(config: ServiceNowConfig) -> Iterator[Objection]:
    """Exactly what the chosen way needs: a secret that nothing uses is one too many."""
    needed = _NEEDED[config.auth]
    for key in _CREDENTIALS:
        value: str | Secret = getattr(config, key)
        if key in needed and not value:
            yield Objection(key, f'is required for auth = "{config.auth}"')
        elif key not in needed and value and key in _SECRETS:
            yield Objection(key, f'is not used by auth = "{config.auth}"', "leave it out, or choose another auth")
    for key in ("username", "client_id", "scope"):
        text: str = getattr(config, key)
        if not text.isprintable() or text != text.strip() or (key == "username" and ":" in text):
            yield Objection(key, "has characters that cannot be sent")
    proxy = parse_proxy(config.proxy.reveal()) if config.proxy else None
    if isinstance(proxy, BadProxy):
        yield Objection("proxy", proxy.reason, "as in http://proxy.example.com:3128")


def _check_fields(config: ServiceNowConfig) -> Iterator[Objection]:
    for key in ("key_field", "display_field"):
        name: str = getattr(config, key)
        if not _FIELD.fullmatch(name):
            yield Objection(key, "is no field's name", "as in correlation_id")
        elif name in _UNFIT or name in _REFERENCES:
            yield Objection(key, f"must be a text field, and {name} is a journal, a reference or the platform's own")
    if not {*config.notes_out} <= _JOURNALS:
        yield Objection("notes_out", "may have comments and work_notes only")
    if config.key_field == config.display_field:
        yield Objection("display_field", "must be another field than key_field")
    if not _CONSTANT.fullmatch(config.display) or "javascript:" in config.display.lower():
        yield Objection("display", "must be 1 to 100 characters on one line, without ^ and javascript:")
    if config.change_template and not _TEMPLATE.fullmatch(config.change_template):
        yield Objection("change_template", "must be a sys_id: 32 characters of 0-9 and a-f")


def _check_tables(tables: ServiceNowTables) -> Iterator[Objection]:
    for key, allowed in _TABLES.items():
        table: str = getattr(tables, key)
        if table not in allowed and not _STAGING.fullmatch(table):
            known = " or ".join(sorted(allowed))
            yield Objection(f"tables.{key}", f"must be {known}, or {IMPORT} and a staging table, not {table!r}")
