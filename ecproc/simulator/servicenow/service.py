"""The instance behind HTTP: who calls, how often, what goes wrong, and which API answers."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Final
from urllib.parse import unquote

import msgspec

from ecproc.simulator.exchange import HttpRequest, Reply
from ecproc.simulator.late import LateRequests
from ecproc.simulator.servicenow.accounts import Accounts, RateLimits
from ecproc.simulator.servicenow.answers import (
    ACL,
    NO_SUCH_PATH,
    SLEEPING,
    UNAUTHENTICATED,
    Denial,
    cut,
    deny,
    deny_rate,
    refuse_request,
    throttle,
)
from ecproc.simulator.servicenow.attachments import AttachmentApi
from ecproc.simulator.servicenow.changes import ChangeApi
from ecproc.simulator.servicenow.display import Renderer
from ecproc.simulator.servicenow.faults import HEADER, FaultRule, Faults, InstanceFault, Suffered
from ecproc.simulator.servicenow.imports import ImportApi
from ecproc.simulator.servicenow.instance import Author, Instance
from ecproc.simulator.servicenow.ledger import InstanceLedger
from ecproc.simulator.servicenow.settings import InstanceConfig
from ecproc.simulator.servicenow.tables import TableApi

TOKEN_PATH: Final = "/oauth_token.do"  # noqa: S105 - an address
READS: Final = ("GET", "HEAD")
DROPPED: Final = Reply(status=504, dropped=True)
_RATE: Final = 5000
"""What a simulated 429 names as the limit."""
_CHANGES: Final = "change_request"
_FAILED: Final = Denial(500, "Transaction failed", "An after rule failed once the record had been written")


class _Late(msgspec.Struct, frozen=True):
    request: HttpRequest
    user: str
    due: float


class ServiceNow:
    """One instance's APIs. `clock` gives seconds since the epoch and rules stamps, tokens, rates and late calls."""

    headers = ("authorization", "accept", "content-type", "x-sn-apikey", HEADER)

    def __init__(self, config: InstanceConfig, *, url_base: str, clock: Callable[[], float]) -> None:
        self.config = config
        self.clock = clock
        # Each has its own chance: a fault more or less leaves all ids and tokens as they are.
        self.faults = Faults(Random(f"faults {config.seed}"), config.faults)
        self.ledger = InstanceLedger(self.faults.counts)
        self.instance = Instance(config, clock=clock, rng=Random(config.seed), ledger=self.ledger)
        self._accounts = Accounts(config, Random(f"tokens {config.seed}"))
        self._limits = RateLimits(config.rate_rules)
        renderer = Renderer(self.instance.database, zone=config.zone, url_base=url_base)
        self._tables = TableApi(self.instance, renderer)
        self._attachments = AttachmentApi(self.instance, renderer, self._tables)
        self._changes = ChangeApi(self.instance, renderer)
        self._imports = ImportApi(self.instance, renderer)
        self._late: LateRequests[_Late] = LateRequests()
        self._known = frozenset((*self.instance.database.schemas, *config.staging))

    def answer(self, request: HttpRequest) -> Reply:
        """Answer one request, or let it suffer what is due."""
        self.ledger.record_started()
        self.apply_due()
        now = self.clock()
        reply = self._admit(request, now)
        self.ledger.answers["dropped" if reply.dropped else str(reply.status)] += 1
        return msgspec.structs.replace(reply, date=now)

    def apply_due(self) -> None:
        """Apply what was to come late and is due by now, each at its own time."""
        for late in self._late.take_due(self.clock()):
            self.ledger.late += 1
            self._apply(late.request, Author(late.user, late.due, machine=late.user == self.config.username))
        self.ledger.waiting = len(self._late)

    def _admit(self, request: HttpRequest, now: float) -> Reply:
        if request.path == TOKEN_PATH:
            return self._accounts.give_token(request, now)
        accepted = request.headers.get("accept", "*/*")
        if "json" not in accepted and "*" not in accepted and not request.path.endswith("/file"):
            return deny(Denial(406, "Not acceptable", "Only application/json is given"))
        user = self._accounts.identify(request, now)
        if user is None:
            return deny(UNAUTHENTICATED, (("www-authenticate", 'Basic realm="Service-now"'),))
        table = self._find_table(request.path)
        self.ledger.calls[f"{request.method} {table}"] += 1
        limited = self._limits.count(user, table, now)
        if limited is not None:
            return limited
        try:
            suffered = self.faults.draw(request.method, table, request.headers.get(HEADER))
        except msgspec.ValidationError as error:
            return deny(refuse_request(f"{HEADER} cannot be read", str(error)))
        return self._suffer(request, user, suffered, now)

    def _find_table(self, path: str) -> str:
        """Give what rates, faults and the ledger know a call by: its table, if there is one of that name."""
        parts = [part for part in path.split("/")[1:] if part not in ("v1", "v2")]
        match parts:
            case ["api", "now", ("table" | "import"), table, *_] if table in self._known:
                return table
            case ["api", "now", "attachment", *_]:
                return "sys_attachment"
            case ["api", "sn_chg_rest", *_]:
                return _CHANGES
            case _:
                return "unrouted"

    def _suffer(self, request: HttpRequest, user: str, suffered: Suffered, now: float) -> Reply:
        if suffered.rules and (stopped := self._stop(request, user, suffered, now)) is not None:
            return stopped
        reply = self._apply(request, Author(user, now, suffered, machine=user == self.config.username))
        return _distort(reply, request, suffered) if suffered.rules else reply

    def _stop(self, request: HttpRequest, user: str, suffered: Suffered, now: float) -> Reply | None:
        """Give the answer of a call that is not applied, at least not now."""
        for rule in suffered.rules:
            match rule.kind:
                case InstanceFault.LOST_REQUEST:
                    return DROPPED
                case InstanceFault.APPLY_LATE if request.method not in READS:
                    self._late.put(_Late(request, user, now + rule.seconds), now + rule.seconds)
                    self.ledger.waiting = len(self._late)
                    return DROPPED
                case InstanceFault.HTML_200:
                    return SLEEPING
                case InstanceFault.TOO_MANY:
                    return _throttle(rule, now)
                case InstanceFault.EXPIRED:
                    self._accounts.revoke(request)
                    return deny(UNAUTHENTICATED)
                case InstanceFault.MFA:
                    return deny(UNAUTHENTICATED, (("x-mfa_token", "required"),))
                case InstanceFault.ACL_DENY:
                    return deny(Denial(ACL.status, ACL.message, rule.detail or ACL.detail))
                case _:
                    pass
        return None

    def _apply(self, request: HttpRequest, author: Author) -> Reply:
        """Answer by the API that the path names, with or without a version in it."""
        parts = [unquote(part) for part in request.path.split("/")[1:]]
        version = parts.pop(2) if len(parts) > 3 and parts[2] in ("v1", "v2") else ""
        match parts:
            case ["api", "now", "table", *rest]:
                return self._tables.answer(request, rest, author, version=version)
            case ["api", "now", "attachment", *rest]:
                return self._attachments.answer(request, rest, author)
            case ["api", "now", "import", *rest]:
                return self._imports.answer(request, rest, author)
            case ["api", "sn_chg_rest", "change", *rest]:
                return self._changes.answer(request, rest, author)
            case _:
                return deny(NO_SUCH_PATH)


def _distort(reply: Reply, request: HttpRequest, suffered: Suffered) -> Reply:
    """Make an answer odd that was given to a call which was applied."""
    for rule in suffered.rules:
        match rule.kind:
            case InstanceFault.QUOTA_CUT if reply.status < 300:
                return cut(reply)
            case InstanceFault.APPLY_THEN_500 if request.method not in READS and reply.status < 300:
                return deny(_FAILED)
            case InstanceFault.LOST_ANSWER:
                return msgspec.structs.replace(reply, dropped=True)
            case InstanceFault.SLOW:
                return msgspec.structs.replace(reply, delay=rule.seconds)
            case _:
                pass
    return reply


def _throttle(rule: FaultRule, now: float) -> Reply:
    if rule.bare:
        return deny_rate()
    wait = max(1, round(rule.seconds))
    return throttle(retry_after=wait, limit=_RATE, reset=int(now) + wait, rule=rule.detail or "Simulated")
