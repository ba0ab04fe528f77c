"""What Ensono needs to look at tickets of ours: what came, what was sent and answered, and what to ask for."""

from __future__ import annotations

import platform
import re
import sqlite3
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec

from ecproc import __version__
from ecproc.config import Config, describe_config, list_secret_texts
from ecproc.domain.entry import Entry, EntryState
from ecproc.domain.events import EffectFailed, EffectSucceeded, EffectUnknown
from ecproc.domain.ids import client_stream
from ecproc.domain.log import RecordedEvent
from ecproc.domain.times import format_time
from ecproc.fold.history import message_id_of
from ecproc.fold.recorded import Kind, decode_entry, decode_event
from ecproc.fold.tables import TABLES
from ecproc.reading.documents import find_stream, is_text, read_document
from ecproc.reading.entries import EntryFilter, list_entries
from ecproc.reading.events import describe_event
from ecproc.reading.join import LISTS
from ecproc.reading.masking import mask_json, mask_text
from ecproc.reading.quarantine import list_quarantined
from ecproc.store.base import Reader
from ecproc.store.identity import IDENTITY_KIND
from ecproc.support.archive import conceal
from ecproc.support.personal import PersonalMask
from ecproc.support.routes import Facts, write_requests

MOST_EVENTS: Final = 2000
"""Events of one ticket that are given, the newest."""
MOST_BYTES: Final = 16 * 1024 * 1024
"""Bytes of events that are read for it, shared between its tickets."""
MOST_TICKETS: Final = 50
"""Tickets that are given where none is named."""
_AROUND: Final = 100
"""Events of the whole log before and after a ticket's last trouble."""
_NAMED: Final = 20
"""Tickets, messages and calls that a text for Ensono names, the newest."""
_PAGE: Final = 200
_TROUBLES: Final = frozenset({Kind.EFFECT_FAILED, Kind.EFFECT_UNKNOWN, Kind.MESSAGE_QUARANTINED, Kind.ANOMALY_NOTICED})
_MESSAGES: Final = frozenset({Kind.MESSAGE_RECEIVED, Kind.MESSAGE_RELEASED})
_NO_NAME: Final = re.compile(r"[^A-Za-z0-9_-]+")
_SHOWN: Final = 300

_HEADERS: Final = tuple(table for table in LISTS if table in TABLES.names)

_encode: Final = msgspec.json.Encoder().encode


class Call(msgspec.Struct, frozen=True):
    """One call to the other side as its outcome tells it: what was asked, the answer's status and words, and Ensono's
    name for it."""

    at: str
    key: str
    kind: str
    method: str
    path: str
    status: str
    outcome: str
    request_id: str
    text: str
    fields: Mapping[str, str]


class Story(msgspec.Struct):
    """All that is told of one stream; `left_out` are its older events."""

    stream: str
    events: Sequence[RecordedEvent]
    left_out: int
    document: bytes | None
    calls: Sequence[Call]


class Bundle(msgspec.Struct):
    """The members of an archive by name, and the tickets that they are about."""

    members: dict[str, bytes]
    tickets: list[str]


async def collect_bundle(reader: Reader, config: Config, ticket: str | None, *, now: int) -> Bundle | None:
    """The bundle of one ticket, by either number, or without one of those in trouble, the first fifty; None if there is
    no such ticket. `now` is microseconds UTC. Raises StoreError."""
    streams = [stream async for stream in _choose(reader, ticket)]
    if ticket is not None and not streams:
        return None
    most_bytes = MOST_BYTES // max(len(streams), 1)
    stories = [await _read_story(reader, config, stream, most_bytes) for stream in streams]
    mask = PersonalMask()
    for story in stories:
        _learn(mask, story)
    told: dict[str, bytes] = {
        "README.txt": _describe(stories, ticket, now=now).encode(),
        "requests.txt": write_requests(_list_facts(await _read_identity(reader), stories, mask)).encode(),
        "versions.json": _write(_read_versions(now)),
        "config.json": mask_json(_write(_describe_config(config))),
    }
    for story in stories:
        folder = f"tickets/{_NO_NAME.sub('-', story.stream)[:80]}"
        told |= {f"{folder}/{name}": content async for name, content in _write_story(reader, story)}
    secrets = [*list_secret_texts(config)]
    members = {name: conceal(_mask_member(mask, name, content), secrets) for name, content in told.items()}
    return Bundle(members, [story.stream for story in stories])


async def _choose(reader: Reader, ticket: str | None) -> AsyncIterator[str]:
    """The streams that are told of: a ticket and our request for it, or those in trouble."""
    if ticket is None:
        async for stream in _find_troubled(reader):
            yield stream
        return
    stream = await find_stream(reader, ticket) or ticket
    if not is_text(stream):
        return
    numbers = [row.id for row in await reader.read_rows("client_ticket", stream=stream)]
    for name in dict.fromkeys((stream, *map(client_stream, numbers))):
        if (await reader.stream_state(name)).version:
            yield name


async def _find_troubled(reader: Reader) -> AsyncIterator[str]:
    found: dict[str, None] = {}
    async for entry in list_entries(reader, EntryFilter(unfinished=True)):
        if entry.reason or entry.state in (EntryState.UNKNOWN, EntryState.DISCARDED, EntryState.PARKED):
            found[await find_stream(reader, entry.ticket) or entry.ticket] = None
        if len(found) >= MOST_TICKETS:
            break
    async for message in list_quarantined(reader, reveal=False):
        if len(found) >= MOST_TICKETS:
            break
        found[message.stream] = None
    for stream in sorted(found):
        if (await reader.stream_state(stream)).version:
            yield stream


async def _read_story(reader: Reader, config: Config, stream: str, most_bytes: int) -> Story:
    events, left_out = await _read_newest(reader, stream, most_bytes)
    rows = await reader.read_rows("outbox", stream=stream)
    entries = {row.id: decode_entry(row.data or b"") for row in rows}
    return Story(
        stream=stream,
        events=events,
        left_out=left_out,
        document=await read_document(reader, stream, entries=config.limits.document_entries, headers=_HEADERS),
        calls=[call for event in events if (call := _read_call(event, entries)) is not None],
    )


async def _read_newest(reader: Reader, stream: str, most_bytes: int) -> tuple[list[RecordedEvent], int]:
    """The stream's newest events that there is room for, in order, and how many older ones there are."""
    version = (await reader.stream_state(stream)).version
    kept: list[RecordedEvent] = []
    size, end = 0, version
    while end and len(kept) < MOST_EVENTS:
        after = max(end - _PAGE, version - MOST_EVENTS, 0)
        page = await reader.read_stream(stream, after=after, limit=end - after)
        size += sum(len(event.payload) for event in page)
        if size > most_bytes and kept:
            break
        kept[:0] = page
        end = after
    return kept, version - len(kept)


def _read_call(event: RecordedEvent, entries: Mapping[str, Entry]) -> Call | None:
    """The call in an outcome; None for what was done without one."""
    outcome = decode_event(event.kind, event.payload)
    match outcome:
        case EffectSucceeded():
            call, text, word = outcome.result, outcome.result.get("answer", ""), "succeeded"
            request_id = outcome.result.get("request_id", "")
        case EffectFailed() | EffectUnknown():
            call, text, request_id = outcome.call, outcome.reason, outcome.request_id
            word = "unknown" if isinstance(outcome, EffectUnknown) else "failed"
        case _:
            return None
    if "method" not in call and not request_id:
        return None
    entry = entries.get(outcome.key)
    return Call(
        at=format_time(event.at),
        key=outcome.key,
        kind=entry.effect.kind if entry else "",
        method=call.get("method", ""),
        path=call.get("path", "").partition("?")[0],
        status=call.get("status", ""),
        outcome=word,
        request_id=request_id,
        text=text,
        fields=entry.effect.fields if entry else {},
    )


def _learn(mask: PersonalMask, story: Story) -> None:
    for event in story.events:
        mask.learn(describe_event(event, reveal=False))
    for document in (story.document, _encode(story.calls)):
        mask.learn(document or b"null")


async def _write_story(reader: Reader, story: Story) -> AsyncIterator[tuple[str, bytes]]:
    events = [(event.kind, describe_event(event, reveal=False)) for event in story.events]
    yield "messages.ndjson", _write_lines(_drop_bytes(line) for kind, line in events if kind in _MESSAGES)
    yield "timeline.ndjson", _write_lines(line for kind, line in events if kind not in _MESSAGES)
    yield "calls.ndjson", _write_lines(mask_json(_encode(call)) for call in story.calls)
    if story.document is not None:
        yield "ticket.json", mask_json(story.document) + b"\n"
    yield "around.ndjson", _write_lines([line async for line in _list_around(reader, story)])


async def _list_around(reader: Reader, story: Story) -> AsyncIterator[bytes]:
    """What stands in the log around the ticket's last trouble, or its end: when what came, and nothing of its content,
    which is other tickets'."""
    if not story.events:
        return
    troubles = [event.position for event in story.events if event.kind in _TROUBLES]
    middle = troubles[-1] if troubles else story.events[-1].position
    async for page in reader.read_log(after=max(middle - _AROUND - 1, 0), until=middle + _AROUND):
        for event in page:
            yield _encode(
                {
                    "position": event.position,
                    "at": format_time(event.at),
                    "stream": event.stream,
                    "kind": event.kind,
                    "bytes": len(event.payload),
                }
            )


def _drop_bytes(line: bytes) -> bytes:
    """A message's line without its exact bytes: nobody could mask those."""
    if b'"body_base64"' not in line:
        return line
    event: dict[str, Any] = msgspec.json.decode(line)
    event["data"].pop("body_base64", None)
    return _encode(event)


def _mask_member(mask: PersonalMask, name: str, content: bytes) -> bytes:
    match name.rpartition(".")[2]:
        case "ndjson":
            return b"".join(mask.mask(line) + b"\n" for line in content.split(b"\n") if line)
        case "json":
            return mask.mask(content) + b"\n"
        case _:
            return content


def _write(document: object) -> bytes:
    return _encode(document) + b"\n"


def _write_lines(lines: Iterable[bytes]) -> bytes:
    return b"".join(line + b"\n" for line in lines)


def _read_versions(now: int) -> Mapping[str, str]:
    return {
        "ecproc": __version__,
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "system": platform.platform(),
        "at": format_time(now),
    }


def _describe_config(config: Config) -> Mapping[str, Mapping[str, object]]:
    """By section what each option is set to, and at the end where that came from."""
    rows = describe_config(config)
    sections: dict[str, dict[str, object]] = {}
    for row in rows:
        section, _, key = row.key.rpartition(".")
        sections.setdefault(section, {})[key] = row.value
    return {**sections, "origins": {row.key: row.origin for row in rows}}


async def _read_identity(reader: Reader) -> Mapping[str, str]:
    """Whose log it is, as its first event says."""
    first = await reader.read_event(1)
    if first is None or first.kind != IDENTITY_KIND:
        return {}
    return msgspec.json.decode(first.payload, type=dict[str, str])


def _list_facts(identity: Mapping[str, str], stories: Sequence[Story], mask: PersonalMask) -> Facts:
    events = sorted((event for story in stories for event in story.events), key=lambda event: event.position)
    calls = sorted((call for story in stories for call in story.calls), key=lambda call: call.at)
    messages = [message_id_of(event) for event in events if event.kind == Kind.MESSAGE_RECEIVED]
    bad = [call for call in calls if call.outcome != "succeeded"]
    return Facts(
        client=identity.get("client_name", "?"),
        environment=identity.get("environment", "?"),
        host=identity.get("host", "?"),
        version=__version__,
        first_at=format_time(events[0].at) if events else "",
        last_at=format_time(events[-1].at) if events else "",
        tickets=[story.stream for story in stories][:_NAMED],
        message_ids=messages[-_NAMED:],
        request_ids=[call.request_id for call in calls if call.request_id][-_NAMED:],
        answers=[_describe_answer(call, mask) for call in bad[-_NAMED:]],
    )


def _describe_answer(call: Call, mask: PersonalMask) -> str:
    text = mask.mask_text(mask_text(call.text))[:_SHOWN]
    return " ".join(part for part in (call.at, call.method, call.path, call.status, text, call.request_id) if part)


def _describe(stories: Sequence[Story], ticket: str | None, *, now: int) -> str:
    cut = [f"  {story.stream}: {story.left_out:,} older events are left out" for story in stories if story.left_out]
    about = f"{len(stories)} tickets that wait or failed" if ticket is None else "one ticket"
    return "\n".join([_README.format(about=about, version=__version__, at=format_time(now)), *cut, ""])


_README: Final = """\
A support bundle about {about}, written by ecproc {version} at {at}.

requests.txt             what to ask Ensono for, whom, and a text for it: fill in what stands in <>
versions.json            what runs here
config.json              every option, its value and where it came from; secrets are ***
tickets/NUMBER/
  messages.ndjson        the queue's messages as they were received, one per line
  calls.ndjson           what was sent to Ensono and answered: method, path, status, request id, text
  timeline.ndjson        what ecproc decided and did about it
  ticket.json            how the ticket stands
  around.ndjson          which events stand in the log around its last trouble, without their content

The lines that the processor logs go to its standard error and are kept by whoever runs it, not by ecproc: around.ndjson
is what there is instead. Add those lines from your journal, if you have them, for the times in around.ndjson.

Secrets, the queries of URLs, e-mail addresses, telephone numbers, and the names that stand in members of their own are
masked, each person under one stand-in, as [name 1]. What a free text says of people who are named nowhere else is not
found: read the archive before you send it."""
