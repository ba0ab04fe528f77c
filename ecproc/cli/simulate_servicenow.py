"""`ecproc simulate servicenow`: a ServiceNow instance as a server."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping

import anyio

from ecproc.cli.output import flush, say, write_document, write_text
from ecproc.simulator.servicenow.ledger import InstanceLedger
from ecproc.simulator.servicenow.server import ServiceNowSimulator, run_servicenow
from ecproc.simulator.servicenow.settings import InstanceConfig


async def serve_servicenow(config: InstanceConfig, *, as_json: bool) -> None:
    """Serve an instance until cancelled; says at the start how to reach it, and at the end what it applied."""
    async with run_servicenow(config) as simulator:
        _tell_access(simulator, as_json=as_json)
        try:
            await anyio.sleep_forever()
        finally:
            say(_describe_books(simulator.ledger))


def _tell_access(simulator: ServiceNowSimulator, *, as_json: bool) -> None:
    config = simulator.service.config
    names = ("username", "password", "client_id", "client_secret", "api_key")
    access = {"url": simulator.url, **{name: str(getattr(config, name)) for name in names}}
    variables = {f"SERVICENOW_{name.upper()}": value for name, value in access.items()}
    if as_json:
        write_document(access | {"people": dict(config.people), "environment": variables})
    else:
        write_text("\n".join(f"export {name}={shlex.quote(value)}" for name, value in variables.items()))
    flush()
    for line in _write_hints(simulator.url, config.people):
        say(line)


def _write_hints(url: str, people: Mapping[str, str]) -> Iterator[str]:
    """What to do next."""
    yield f"listening on {url}"
    yield "with these variables in a second terminal, a record is made by:"
    yield (
        '  curl -u "$SERVICENOW_USERNAME:$SERVICENOW_PASSWORD" -H "content-type: application/json"'
        ' -d \'{"short_description":"cannot open mail"}\' "$SERVICENOW_URL/api/now/table/incident"'
    )
    for user, password in people.items():
        yield f"who calls as {user}:{password} edits as a person does"
    yield "what is to go wrong next:"
    yield f'  curl -d \'{{"rules":[{{"kind":"lost_answer"}}]}}\' {url}/simulator/faults'
    yield f"what was applied so far, and how often: {url}/simulator/ledger"


def _describe_books(ledger: InstanceLedger) -> str:
    calls = ", ".join(f"{name} {count}" for name, count in sorted(ledger.calls.items()))
    return " · ".join(
        [
            f"created {sum(map(len, ledger.created.values()))}",
            f"notes {sum(map(len, ledger.notes.values()))}",
            f"attachments {sum(map(len, ledger.attachments.values()))}",
            f"doubles {len(ledger.list_doubles())}",
            f"applied late {ledger.late}",
            f"calls {calls or 'none'}",
        ]
    )
