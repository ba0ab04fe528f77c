"""The pages about the process itself: metrics, probes, versions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from ecproc.web.answers import answer_document
from ecproc.web.operations import JSON, Given, Operation
from ecproc.web.scrape import Scraper
from ecproc.web.state import Check, Health

TEXT: Final = "text/plain"
_METRICS: Final = "application/openmetrics-text"


class ProcessPages:
    """One method per page about the process."""

    def __init__(self, health: Health, scraper: Scraper) -> None:
        self._health = health
        self._scraper = scraper

    def list_operations(self) -> tuple[Operation, ...]:
        """What can be asked."""
        text: Mapping[str, None] = {TEXT: None}
        live = "Whether it makes progress; 503 asks for a restart."
        return (
            Operation(
                path="/metrics",
                name="metrics",
                text="The metrics, in the format that the Accept header names.",
                answer=self.show_metrics,
                answers={TEXT: None, _METRICS: None},
            ),
            Operation(path="/livez", name="liveness", text=live, answer=self.show_liveness, answers=text),
            Operation(path="/healthz", name="health", text=live, answer=self.show_liveness, answers=text),
            Operation(
                path="/readyz",
                name="readiness",
                text="Whether it takes messages and is not on its way out, else why not; `?verbose` tells every check.",
                answer=self.show_readiness,
                answers=text,
            ),
            Operation(
                path="/version",
                name="version",
                text="Names and versions of what is running.",
                answer=self.show_version,
                answers={JSON: dict[str, str]},
            ),
        )

    async def show_metrics(self, request: Request, asked: Given) -> Response:
        made = await self._scraper.scrape(request.headers.get("accept", ""))
        return Response(made.body, headers={"content-type": made.content_type})

    async def show_liveness(self, request: Request, asked: Given) -> Response:
        live = self._health.live()
        return PlainTextResponse("ok\n" if live else "not live\n", 200 if live else 503)

    async def show_readiness(self, request: Request, asked: Given) -> Response:
        checks = self._health.checks()
        ready, verbose = all(check.ok for check in checks if check.counts), "verbose" in request.query_params
        shown = [check for check in checks if verbose or (check.counts and not check.ok)]
        text = "".join(f"{_describe_check(check)}\n" for check in shown)
        return PlainTextResponse(f"{text}{'ready' if ready else 'not ready'}\n", 200 if ready else 503)

    async def show_version(self, request: Request, asked: Given) -> Response:
        return answer_document(msgspec.json.encode(self._health.version()))


def _describe_check(check: Check) -> str:
    detail = f": {check.detail}" if check.detail else ""
    mark = "+" if check.ok else "-" if check.counts else "!"
    return f"[{mark}] {check.name}{detail}"
