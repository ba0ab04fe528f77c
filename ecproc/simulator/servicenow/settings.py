"""What a simulated instance is started with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import msgspec

from ecproc.simulator.servicenow.faults import FaultRates

Whole = Annotated[int, msgspec.Meta(ge=0)]


class RateRule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """At most `limit` calls of one user in each `seconds`; of one table where that is named."""

    name: str
    limit: Annotated[int, msgspec.Meta(ge=0)]
    table: str | None = None
    seconds: Annotated[float, msgspec.Meta(gt=0)] = 3600.0


class StagingTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A transform map: rows of the staging table become rows of `target`, found again by `coalesce`.

    A staging column is the target's, with or without `u_` before it.
    """

    target: str = "incident"
    coalesce: str = "correlation_id"
    transform_map: str = "Ensono incident"


class InstanceConfig(msgspec.Struct, frozen=True, kw_only=True):
    """One instance. `username` is who every machine's credentials act as; `people` are further accounts, for basic.

    `zone` is the user's, which display values of times are in. `invalid_query_returns_no_rows` is the property
    glide.invalid_query.returns_no_rows. `missing_fields` are columns this instance does not have, on any table. No
    `allowed_extensions` allow all. A conflict check of a change takes `conflict_seconds`.
    """

    host: str = "127.0.0.1"
    port: int = 0
    username: str = "ecproc.integration"
    password: str = "simulator-password"  # noqa: S105 - made up, and printed at the start
    people: Mapping[str, str] = msgspec.field(default_factory=lambda: {"abel.tuter": "simulator-password"})
    client_id: str = "5bd6f40cc0a8016401c5a33be04be441"
    client_secret: str = "simulator-secret"  # noqa: S105 - as password
    api_key: str = "simulator-key"
    token_seconds: Whole = 1800
    refresh_seconds: Whole = 8_640_000
    zone: str = "GMT"
    invalid_query_returns_no_rows: bool = False
    missing_fields: frozenset[str] = frozenset()
    max_attachment_bytes: Whole = 1024 * 1024 * 1024
    allowed_extensions: frozenset[str] = frozenset()
    rate_rules: tuple[RateRule, ...] = ()
    staging: Mapping[str, StagingTable] = msgspec.field(default_factory=lambda: {"u_ensono_incident": StagingTable()})
    conflict_seconds: Annotated[float, msgspec.Meta(ge=0)] = 0.0
    faults: FaultRates = FaultRates()
    seed: int = 0
