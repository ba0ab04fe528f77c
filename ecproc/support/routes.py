"""What to ask Ensono for, whom, and in what words: the guide's routes of support (R225)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import msgspec

HELP_DESK: Final = "+1 833-662-7378"
SUPPORT_GROUP: Final = "Platform BPMDevandSupport"
MAPPING_GROUP: Final = "US - Service Management"
NEW_GROUP_GROUP: Final = "ServiceNow Admin"


class Route(NamedTuple):
    """When it is the one, what is to be opened for which of Ensono's groups, and how its text begins."""

    when: str
    ask: str
    text: str


ROUTES: Final = (
    Route(
        "The bridge fails, does not answer, or no ticket can be created through it",
        f"Call the Ensono Help Desk ({HELP_DESK}) and open a high priority incident for '{SUPPORT_GROUP}'",
        "The bridge is down for us: <what fails, since when>",
    ),
    Route(
        "Something happened that should not have, or did not happen, and work goes on",
        f"Open an incident of fitting priority for '{SUPPORT_GROUP}'; the more examples, the sooner they find it",
        "<What happened that should not have, or what did not happen>",
    ),
    Route(
        "Help is needed with a test or an investigation, and nothing failed",
        f"Open a request for '{SUPPORT_GROUP}'",
        "<What is to be looked at or tested, and when>",
    ),
    Route(
        "The integration should do something else or more",
        f"Open a request for '{SUPPORT_GROUP}'",
        "<What it should do, and why>",
    ),
    Route(
        "A group should be mapped otherwise; or a group is missing",
        f"Open a request for '{MAPPING_GROUP}', who approve it; for a new group one for '{NEW_GROUP_GROUP}'",
        "<The group on our side, the group on Ensono's, and what is to change>",
    ),
)


class Facts(msgspec.Struct, frozen=True):
    """What a text for Ensono names: tickets by both numbers, messages, their names for our calls, and when."""

    client: str
    environment: str
    host: str
    version: str
    first_at: str
    last_at: str
    tickets: Sequence[str]
    message_ids: Sequence[str]
    request_ids: Sequence[str]
    answers: Sequence[str]


def write_requests(facts: Facts) -> str:
    """The page with every route and its text, whose blanks `<…>` are left to whoever sends it."""
    return "\n\n".join(_write_route(number, route, facts) for number, route in enumerate(ROUTES, 1)) + "\n"


def _write_route(number: int, route: Route, facts: Facts) -> str:
    head = f"{number}. {route.when}.\n   {route.ask}. Text:\n"
    return "\n".join([head, *(f"   {line}".rstrip() for line in (route.text, "", *_list_facts(facts)))])


def _list_facts(facts: Facts) -> list[str]:
    lines = [
        f"Client {facts.client}, environment {facts.environment} at {facts.host}, ecproc {facts.version}.",
        f"From {facts.first_at} to {facts.last_at}." if facts.first_at else "",
        _list("Tickets", facts.tickets),
        _list("MessageIds", facts.message_ids),
        _list("RequestIds", facts.request_ids),
        *(f"Answered: {answer}" for answer in facts.answers),
    ]
    return [line for line in lines if line]


def _list(title: str, items: Sequence[str]) -> str:
    return f"{title}: {', '.join(items)}" if items else ""
