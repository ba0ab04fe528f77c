"""What a client has decided about its own side, as `decide` is told it; `evolve` hears nothing of it (decision 20)."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final, Protocol

import msgspec

from ecproc.domain.events import Scope, TicketType

DAY: Final = 24 * 3_600 * 1_000_000
"""Microseconds."""
ADOPT_FINAL: Final = "policy.adopt.final"
"""What stands for a rule where a ticket is only documented because it was over when it was first seen."""
RESCOPED: Final = "scope apply"
"""What stands for a rule where a person took the ticket in."""


class Reopen(StrEnum):
    """What becomes of the client ticket when Ensono re-opens its own (R213)."""

    REOPEN = "reopen"
    """It is re-opened."""
    NEW_TICKET = "new_ticket"
    """It is left as it is, and another is created."""
    COMMENT_ONLY = "comment_only"
    """It is left as it is, and told by comments what happens."""


class AdoptFinal(StrEnum):
    """What becomes of a ticket that is over when it is first seen."""

    CREATE = "create"
    DOCUMENT = "document"


_DOCUMENT: Final = AdoptFinal.DOCUMENT  # a member looked up by its class is slow, and this is asked of every message


class ScopeCondition(Protocol):
    """What must hold for a rule to apply."""

    def holds(self, values: Mapping[str, str]) -> bool:
        """Whether it holds for a ticket with these fields."""


class ScopeRule(msgspec.Struct, frozen=True):
    """Tickets for which `when` holds are `inside` the client's scope, or outside."""

    name: str
    when: ScopeCondition
    inside: bool


class Policy(msgspec.Struct, frozen=True):
    """The policy in force; its defaults are what is done without any.

    The first rule of `scope` that holds decides; a ticket that none is about is inside. A re-open later than
    `reopen_within_days` after the ticket's end gets a new ticket, 0 is no limit; so does one that the desk refuses,
    with `reopen_fallback`. `hash` names the policy as the log has it.
    """

    scope: tuple[ScopeRule, ...] = ()
    reopen_incident: Reopen = Reopen.REOPEN
    reopen_request: Reopen = Reopen.REOPEN
    reopen_within_days: int = 0
    reopen_fallback: bool = False
    adopt_final: AdoptFinal = AdoptFinal.CREATE
    hash: str = ""

    @property
    def judges(self) -> bool:
        """Whether any ticket may be out of scope."""
        return bool(self.scope) or self.adopt_final is _DOCUMENT

    def find_scope(self, values: Mapping[str, str]) -> Scope:
        """What the rules say of a ticket with these values, and which one says it."""
        for rule in self.scope:
            if rule.when.holds(values):
                return Scope(rule.inside, rule.name)
        return Scope(True)

    def reopen_of(self, kind: TicketType | None) -> Reopen:
        """What is done about a re-open of tickets of that type, whenever it comes."""
        return self.reopen_request if kind is TicketType.REQUEST else self.reopen_incident


def without_scope(policy: Policy) -> Policy:
    """The policy with every ticket inside."""
    return msgspec.structs.replace(policy, scope=(), adopt_final=AdoptFinal.CREATE)
