"""The bounds that are not options."""

from msgspec import Struct


class Limits(Struct, frozen=True, kw_only=True):
    """The bounds that are not options: nothing in ecproc grows without one of these numbers or an option's."""

    response_bytes: int = 16 * 1024 * 1024
    """Largest answer read from the bridge; a longer one is cut and counts as a failed call."""
    bridge_connections: int = 64
    """Open sockets to the bridge, readers and deletes together."""
    deletes_at_once: int = 56
    """The other sockets are for the readers: ten messages take one GET and ten DELETEs."""
    download_seconds: float = 300.0
    """From the first byte sent to the last one stored of an attachment."""
    step_facts: int = 1_000
    """Facts of one ticket that are decided in one step; the others wait for the next one."""
    events_held: int = 4_096
    """Events in memory that no ticket has read yet; of any more the log is read when their ticket's turn comes."""
    events_bytes: int = 4 * 1024 * 1024
    """Bytes of those events: what deciding them takes in all is several times that, for a moment."""
    actors_at_once: int = 256
    """Tickets folded and decided at the same time."""
    states_held: int = 10_000
    """Folded tickets kept in memory; the rest is snapshot and tail."""
    states_bytes: int = 40 * 1024 * 1024
    """Bytes of those tickets: ten thousand of the usual size, and no more than that of large ones."""
    arguments_bytes: int = 8 * 1024 * 1024
    """Bytes of what is to be told with unfinished effects; of any more it is read again when their turn comes."""
    snapshot_events: int = 200
    """Events of one stream between two snapshots of its state."""
    document_entries: int = 1_000
    """Newest history, effect and anomaly entries shown in a ticket document."""
    retry_longest: float = 3_600.0
    """Longest back-off in seconds; persisted times further ahead are clipped to it at start."""
    breaker_seconds: float = 30.0
    """How long an open breaker rests before one call may try again."""
    shutdown_seconds: float = 20.0
    """From the first SIGTERM to the end of the process."""
    web_connections: int = 128
    """Open connections to the built-in HTTP server, a quarter of all descriptors at most; beyond them whoever has asked
    nothing for the longest time makes room."""
    control_connections: int = 32
    """Open connections to the control socket, an eighth of all descriptors at most."""
    web_answers: int = 32
    """Answers of its API that are made at once; beyond them it says 503. Probes and metrics are always answered."""
    web_wait_seconds: float = 5.0
    """Within which a request has to come whole, and 16 KiB of an answer have to be read."""
    web_header_bytes: int = 8 * 1024
    """Largest head of a request to it."""
    web_body_bytes: int = 1024 * 1024
    """Largest body of a request to it."""
    web_tickets: int = 1_000
    """Documents, of tickets and all else but events, in one answer of the JSON API."""
    web_events: int = 1_000
    """Event lines in one answer of it."""
    web_followers: int = 16
    """Answers that follow the log at the same time."""
