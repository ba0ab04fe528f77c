"""The options of what the client has decided about its own side."""

from typing import Annotated, Literal

from msgspec import Meta, Struct


class PolicyConfig(Struct, frozen=True, kw_only=True):
    """What the client has decided about its own side; which tickets it wants there is in `[[policy.scope]]`."""


class PolicyReopen(Struct, frozen=True, kw_only=True):
    """What becomes of the client ticket when Ensono re-opens its own."""

    incident: Annotated[
        Literal["reopen", "new_ticket", "comment_only"],
        Meta(description="an incident's: it is re-opened, or another is created, or it is only told by comments"),
    ] = "reopen"
    request: Annotated[
        Literal["reopen", "new_ticket", "comment_only"], Meta(description="a request's, in the same words")
    ] = "reopen"
    within_days: Annotated[
        int,
        Meta(
            ge=0,
            le=3_650,
            description="days after its end up to which it is re-opened; later it is new_ticket; 0 is any",
        ),
    ] = 0
    fallback: Annotated[
        Literal["", "new_ticket"],
        Meta(description="what is done where the desk refuses to re-open it; empty waits for a person"),
    ] = ""


class PolicyAdopt(Struct, frozen=True, kw_only=True):
    """What becomes of tickets whose beginning was not seen."""

    final: Annotated[
        Literal["create", "document"],
        Meta(description="one that is over when it is first seen: create a client ticket, or only document it"),
    ] = "create"
