"""The options of watching the client's desk, and of tickets that are the client's own business for a while."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Final, Literal

from msgspec import Meta, Struct

from ecproc.config.servicenow import Objection

_LONGEST_QUERY: Final = 2_000
_JOINTS: Final = ("OR", "NQ", "EQ", "ORDERBY", "GROUPBY")


class WatchConfig(Struct, frozen=True, kw_only=True):
    """How the desk is asked for what changed there."""

    interval: Annotated[
        float, Meta(ge=0, le=86_400, description="seconds between polls of the desk for what people changed; 0 is none")
    ] = 30.0
    overlap: Annotated[
        float, Meta(ge=0, le=86_400, description="seconds that each poll reads again: what becomes visible late")
    ] = 120.0
    page: Annotated[int, Meta(ge=1, le=10_000, description="rows of one answer")] = 200
    backfill_hours: Annotated[
        float, Meta(ge=0, le=8_760, description="where the first poll begins, and one whose cursor was lost")
    ] = 24.0
    query: Annotated[
        str,
        Meta(description="one more condition on the desk's records, as in assignment_groupISNOTEMPTY; empty is none"),
    ] = ""


class InternalConfig(Struct, frozen=True, kw_only=True):
    """Tickets that the client works on itself."""

    ensono_groups: Annotated[
        tuple[str, ...],
        Meta(description="groups of Ensono's at the desk, * and ? as in file names; none: every ticket is Ensono's"),
    ] = ()
    group: Annotated[
        str, Meta(description="the group that Ensono is told of a ticket in another one; required with ensono_groups")
    ] = ""
    status: Annotated[
        Literal["open", "workinprogress", "pending"], Meta(description="the status that it is told then")
    ] = "pending"
    notes: Annotated[bool, Meta(description="comments of such tickets go to Ensono")] = True


def check_watch(watch: WatchConfig) -> Iterator[Objection]:
    """What is to be said of [desk.watch]."""
    query = watch.query
    if query and (len(query) > _LONGEST_QUERY or "^" in query or not query.isprintable()):
        yield Objection("query", f"must be one condition of at most {_LONGEST_QUERY} characters on one line, without ^")
    elif query and ("javascript:" in query.lower() or query.startswith(_JOINTS) or not query[0].islower()):
        yield Objection("query", "must begin with a field's name, and must not contain javascript:")
    if watch.interval and watch.overlap < watch.interval / 2:
        yield Objection(
            "overlap", "is less than half of interval: what becomes visible late may be missed", warning=True
        )


def check_internal(internal: InternalConfig) -> Iterator[Objection]:
    """What is to be said of [policy.internal]."""
    if internal.ensono_groups and not internal.group.strip():
        yield Objection("group", "is required with ensono_groups", 'as in group = "Client internal"')
    if any(not pattern.strip() for pattern in internal.ensono_groups):
        yield Objection("ensono_groups", "has an empty name")
