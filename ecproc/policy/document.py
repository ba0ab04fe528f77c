"""The policy as a document: out of the configuration, with a hash, into the log, and out of it again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from ecproc.config import Config
from ecproc.domain.policy import AdoptFinal, Policy, Reopen
from ecproc.errors import ConfigError, ConfigProblem
from ecproc.policy.rules import read_rules

_HASH_DIGITS: Final = 12
_FALLBACK: Final = Reopen.NEW_TICKET.value


class _Reopening(msgspec.Struct, frozen=True):
    incident: Reopen = Reopen.REOPEN
    request: Reopen = Reopen.REOPEN
    within_days: int = 0
    fallback: str = ""


class _Adopting(msgspec.Struct, frozen=True):
    final: AdoptFinal = AdoptFinal.CREATE


class Recorded(msgspec.Struct, frozen=True):
    """The policy as the log keeps it; what newer code adds is passed over."""

    scope: tuple[Mapping[str, object], ...] = ()
    reopen: _Reopening = _Reopening()
    adopt: _Adopting = _Adopting()


def document_of(config: Config) -> dict[str, object]:
    """The configuration's policy as the log keeps it; it has no secrets."""
    return {
        "scope": [dict(table.values) for table in config.policy_scope],
        "reopen": {
            "incident": config.policy_reopen.incident,
            "request": config.policy_reopen.request,
            "within_days": config.policy_reopen.within_days,
            "fallback": config.policy_reopen.fallback,
        },
        "adopt": {"final": config.policy_adopt.final},
    }


def hash_of(document: Mapping[str, object]) -> str:
    """What tells one policy from another: 12 hexadecimal digits, whatever the order of keys."""
    canonical = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=str)
    return hashlib.sha256(canonical.encode("utf-8", "surrogatepass")).hexdigest()[:_HASH_DIGITS]


def open_policy(config: Config) -> Policy:
    """The policy in force under this configuration. Raises ConfigError with every problem of its rules."""
    tables = config.policy_scope
    _, found = read_rules([table.values for table in tables])
    problems = [
        ConfigProblem(problem.message, tables[problem.rule].place_of(problem.key), problem.help) for problem in found
    ]
    if problems:
        raise ConfigError(*problems)
    return read_policy(document_of(config))


def read_policy(document: Mapping[str, object]) -> Policy:
    """The policy that a document of the log is; a rule that this code cannot read is left out.

    Raises msgspec.ValidationError for what is no such document.
    """
    recorded = msgspec.convert(document, Recorded)
    rules, _ = read_rules(recorded.scope)
    return Policy(
        scope=rules,
        reopen_incident=recorded.reopen.incident,
        reopen_request=recorded.reopen.request,
        reopen_within_days=recorded.reopen.within_days,
        reopen_fallback=recorded.reopen.fallback == _FALLBACK,
        adopt_final=recorded.adopt.final,
        hash=hash_of(document),
    )


def describe_policy(config: Config) -> Sequence[str]:
    """The configuration's policy in lines for people. Raises ConfigError."""
    policy = open_policy(config)
    scope = ", ".join(f"{rule.name} {'in' if rule.inside else 'out'}" for rule in policy.scope)
    late = f", a new ticket after {policy.reopen_within_days} days" if policy.reopen_within_days else ""
    refused = ", a new ticket where the desk refuses" if policy.reopen_fallback else ""
    return (
        f"policy {policy.hash}",
        f"scope: {scope or 'every ticket'}",
        f"re-open: incidents {policy.reopen_incident}, requests {policy.reopen_request}{late}{refused}",
        f"first seen when it is over: {policy.adopt_final}",
    )
