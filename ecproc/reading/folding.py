"""A stream as all that it holds leaves it, decided or not."""

from __future__ import annotations

from ecproc.domain.state import StreamState
from ecproc.fold.machine import Machines
from ecproc.fold.stream import StreamFold
from ecproc.store.base import Reader


async def read_state(reader: Reader, stream: str, machines: Machines) -> StreamState:
    """The state of a stream as of now, from its snapshot where that is good."""
    machine = machines.of(stream)
    snapshot, events = await reader.read_tail(stream, snapshot_version=machine.snapshot_version)
    fold = StreamFold.from_snapshot(snapshot, machine) if snapshot else StreamFold(stream, machine)
    if snapshot is not None and fold.seen < snapshot.version:
        events = await reader.read_stream(stream)
    fold.extend(events)
    fold.evolve_rest()
    return fold.state
