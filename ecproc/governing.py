"""The policy and the mapping in force, and the event that says so: `$config` holds each from when on it was (decision
20)."""

from __future__ import annotations

from contextlib import suppress
from typing import Final

import msgspec
import structlog

from ecproc.config import Config
from ecproc.domain.events import PolicyChanged
from ecproc.domain.log import Batch, NewEvent
from ecproc.domain.policy import Policy
from ecproc.fold.control import CONFIG_STREAM
from ecproc.fold.recorded import decode_event, encode_event
from ecproc.mapping import Mapping
from ecproc.mapping_file import open_mapping
from ecproc.policy import document_of, hash_of, open_policy
from ecproc.store.base import Reader, Store

log = structlog.get_logger()

_BUILT_IN: Final = "built-in"


async def govern(store: Store, config: Config) -> Policy:
    """The policy in force under this configuration, recorded with the mapping unless the log's last one is the same.

    Nothing may be decided before this. Raises ConfigError and StoreError.
    """
    policy, (mapping, _) = open_policy(config), open_mapping(config)
    document = document_of(config)
    now = PolicyChanged(hash_of(document), document, describe_mapping(config, mapping))
    last = await read_policy_event(store)
    if last is None or msgspec.json.encode(last) != msgspec.json.encode(now):
        await store.commit(Batch(events=[NewEvent(CONFIG_STREAM, *encode_event(now))]))
        log.debug("policy", hash=now.hash, mapping=mapping.hash)
    return policy


def describe_mapping(config: Config, mapping: Mapping) -> dict[str, object]:
    """The mapping as the log keeps it: its hash, whose it is, and a file's own text."""
    path = config.mapping_file
    described: dict[str, object] = {"hash": mapping.hash, "desk": mapping.desk, "source": _BUILT_IN}
    if path is not None:
        described["source"] = path.name
        with suppress(OSError, UnicodeDecodeError):  # it was read a moment ago
            described["content"] = path.read_text(encoding="utf-8-sig")
    return described


async def read_policy_event(reader: Reader, *, until: int | None = None) -> PolicyChanged | None:
    """The policy in force at that position, or now; None where the log says none."""
    found = None
    for event in await reader.read_stream(CONFIG_STREAM):
        fact = decode_event(event.kind, event.payload)
        if isinstance(fact, PolicyChanged) and (until is None or event.position <= until):
            found = fact
    return found
