"""`ecproc simulate webhook`: a webhook desk's receiver as a server."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

import anyio

from ecproc.cli.output import flush, say, write_document, write_text
from ecproc.simulator.webhook.receiver import LEDGER, Receiver, ServedReceiver, run_receiver
from ecproc.simulator.webhook.settings import ReceiverConfig


async def serve_webhook(config: ReceiverConfig, *, as_json: bool) -> None:
    """Serve a receiver until cancelled; says at the start how to reach it, and at the end what it applied."""
    async with run_receiver(config) as served:
        _tell_access(served, as_json=as_json)
        try:
            await anyio.sleep_forever()
        finally:
            say(_describe_books(served.receiver))


def _tell_access(served: ServedReceiver, *, as_json: bool) -> None:
    receiver = served.receiver
    access = {"url": served.url, "lookup_url": served.url, "secrets": ",".join(receiver.secrets)}
    access["class"] = "keyed" if receiver.keyed else "look-up"
    variables = {"ECPROC_DESK__KIND": "webhook"}
    variables |= {f"ECPROC_DESK_WEBHOOK__{name.upper()}": value for name, value in access.items()}
    if as_json:
        write_document(access | {"environment": variables})
    else:
        write_text("\n".join(f"export {name}={shlex.quote(value)}" for name, value in variables.items()))
    flush()
    for line in _write_hints(served.url):
        say(line)


def _write_hints(url: str) -> Iterator[str]:
    """What to do next."""
    yield f"listening on {url}"
    yield "with these variables in a second terminal: ecproc desk check, or ecproc run"
    yield f"what was applied so far, and how often: curl {url.rpartition('/')[0]}{LEDGER}"


def _describe_books(receiver: Receiver) -> str:
    books = receiver.books
    answers = ", ".join(f"{status} {count}" for status, count in sorted(receiver.calls.items()))
    return " · ".join(
        [
            f"tickets {len(books.tickets)}",
            f"applied {len(books.applied)}",
            f"doubled {len(books.doubled)}",
            f"answers {answers or 'none'}",
        ]
    )
