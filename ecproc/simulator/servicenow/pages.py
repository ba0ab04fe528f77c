"""The simulator's own pages under /simulator/: what was applied, and what is to go wrong."""

from __future__ import annotations

from typing import Final

import msgspec

from ecproc.simulator.exchange import HttpRequest, Reply, give_json
from ecproc.simulator.servicenow.faults import FaultRates, FaultRule
from ecproc.simulator.servicenow.service import ServiceNow

PREFIX: Final = "/simulator/"


class FaultsOrder(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What POST /simulator/faults takes: rules to add, rates to follow from now on, or both."""

    rules: list[FaultRule] = []
    rates: FaultRates | None = None


class InstancePages:
    """Answers the pages; they need no credentials and suffer no faults.

    `GET ledger` · `GET faults` (what waits, the rates, and what happened so far) · `POST faults` · `DELETE faults` (let
    nothing go wrong any more).
    """

    def __init__(self, service: ServiceNow) -> None:
        self._service = service

    def answer(self, request: HttpRequest) -> Reply:
        """Answer one request; what it can't read it refuses with the reason."""
        match request.method, request.path.removeprefix(PREFIX):
            case "GET", "ledger":
                self._service.apply_due()
                return give_json(self._service.ledger.describe())
            case "GET", "faults":
                return self._describe_faults()
            case "POST", "faults":
                return self._order_faults(request)
            case "DELETE", "faults":
                self._service.faults.clear()
                return self._describe_faults()
            case _:
                return give_json({"message": "no such page"}, 404)

    def _order_faults(self, request: HttpRequest) -> Reply:
        try:
            order = msgspec.json.decode(request.body, type=FaultsOrder)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            return give_json({"message": str(error)}, 400)
        for rule in order.rules:
            self._service.faults.inject(rule)
        if order.rates is not None:
            self._service.faults.set_rates(order.rates)
        return self._describe_faults()

    def _describe_faults(self) -> Reply:
        faults = self._service.faults
        return give_json({"rules": faults.rules, "rates": faults.rates, "counts": faults.counts})
