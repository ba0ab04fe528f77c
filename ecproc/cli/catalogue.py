"""The list of commands: their names, where their code is, and what they do. Imports none of them."""

from typing import Final, NamedTuple


class Command(NamedTuple):
    """One command; `name` is two words for one of a group. What `ends_in_order` acts on signals itself."""

    name: str
    target: str
    summary: str
    ends_in_order: bool = False


COMMANDS: Final = (
    Command(
        "run",
        "ecproc.cli.run:run",
        "Run the processor until a signal; with --drain until nothing is left.",
        ends_in_order=True,
    ),
    Command(
        "demo",
        "ecproc.cli.demo:demo",
        "Watch it work: simulator, faults, kills, and the proof at the end.",
        ends_in_order=True,
    ),
    Command(
        "simulate",
        "ecproc.cli.simulate:simulate",
        "Serve a bridge, a ServiceNow instance or a webhook's receiver to test against.",
        ends_in_order=True,
    ),
    Command(
        "replay",
        "ecproc.cli.replay:replay",
        "Rebuild all state from the log, or compare it with --verify.",
        ends_in_order=True,
    ),
    Command("tickets", "ecproc.cli.tickets:tickets", "List tickets; as JSON their whole documents, one per line."),
    Command("show", "ecproc.cli.tickets:show", "Show one ticket, by Ensono's number or ours."),
    Command("events", "ecproc.cli.events:events", "List the log's events; as JSON one per line."),
    Command("outbox list", "ecproc.cli.outbox:list_entries", "List what is to be done outside, and how far it got."),
    Command("outbox show", "ecproc.cli.outbox:show", "Show one entry: its cause, its attempts, what waits for it."),
    Command("outbox retry", "ecproc.cli.steer:retry_entries", "Try entries once more, by key or by a filter."),
    Command("outbox discard", "ecproc.cli.steer:discard_entries", "Give entries up, by key or by a filter."),
    Command("quarantine list", "ecproc.cli.quarantine:list_messages", "List the messages that could not be taken."),
    Command("quarantine show", "ecproc.cli.quarantine:show", "Show one of them: why, its body, would it be taken now."),
    Command("quarantine retry", "ecproc.cli.steer:retry_messages", "Have messages in quarantine taken after all."),
    Command("quarantine discard", "ecproc.cli.steer:discard_messages", "Take messages out of quarantine for good."),
    Command("send create", "ecproc.cli.send:create", "Open a ticket of ours at Ensono's.", ends_in_order=True),
    Command("send update", "ecproc.cli.send:update", "Change fields of a ticket.", ends_in_order=True),
    Command("send note", "ecproc.cli.send:note", "Comment on a ticket.", ends_in_order=True),
    Command("send resolve", "ecproc.cli.send:resolve", "Resolve a ticket.", ends_in_order=True),
    Command("send close", "ecproc.cli.send:close", "Close a resolved ticket.", ends_in_order=True),
    Command("send cancel", "ecproc.cli.send:cancel", "Cancel a ticket.", ends_in_order=True),
    Command("send attach", "ecproc.cli.send:attach", "Send a file to a ticket.", ends_in_order=True),
    Command("send approve", "ecproc.cli.send:approve", "Approve a change.", ends_in_order=True),
    Command("send reject", "ecproc.cli.send:reject", "Reject a change, with the reason.", ends_in_order=True),
    Command(
        "send return-number",
        "ecproc.cli.send:return_number",
        "Tell Ensono the number of our ticket.",
        ends_in_order=True,
    ),
    Command("pause", "ecproc.cli.steer:pause", "Perform nothing more at a destination, or of a ticket."),
    Command("resume", "ecproc.cli.steer:resume", "Go on with what was paused, or with a ticket that is parked."),
    Command("link import", "ecproc.cli.link:import_links", "Take over links that another integration made."),
    Command("bundle", "ecproc.cli.bundle:bundle", "Write an archive for Ensono's support, without secrets and people."),
    Command("log verify", "ecproc.cli.log:verify", "Check the whole log: hash chain, order and anchor."),
    Command("log backup", "ecproc.cli.backup:backup", "Copy the data directory, checked, also while it is in use."),
    Command("log stats", "ecproc.cli.log:stats", "How long the log is, how fast it grows, how long the disk lasts."),
    Command(
        "doctor", "ecproc.cli.doctor:doctor", "See whether all that `run` needs is as it should be, and what to do."
    ),
    Command("reconcile", "ecproc.cli.reconcile:reconcile", "List what does not add up between us and Ensono."),
    Command("desk check", "ecproc.cli.desk:check", "Ask the client's desk whether it is what it is configured as."),
    Command("map check", "ecproc.cli.map:check", "Prove the mapping: no value without an image, no rule in vain."),
    Command("map show", "ecproc.cli.map:show", "Show the tables of the mapping, and its hash."),
    Command("map test", "ecproc.cli.map:test", "Try the mapping on messages, records or events; nothing is sent."),
    Command("map choices", "ecproc.cli.choices:choices", "Read the lists of the client's desk, for the mapping."),
    Command("map diff", "ecproc.cli.map:diff", "Compare two mappings, also by what the log would have sent."),
    Command("hooks secret", "ecproc.cli.hooks:secret", "Print a fresh secret to share with another system."),
    Command("hooks test", "ecproc.cli.hooks:test", "Post a probe to our own listener as a source would."),
    Command("config check", "ecproc.cli.config:check", "Check the configuration as `run` would."),
    Command("config show", "ecproc.cli.config:show", "Show every option, its value and where that came from."),
    Command("config init", "ecproc.cli.config:init", "Print a configuration file with every option and its default."),
    Command("completion", "ecproc.cli.completion:completion", "Print what a shell needs to complete commands."),
)

GROUPS: Final = {
    "send": "What the client asks of Ensono.",
    "outbox": "Side effects that were written down.",
    "quarantine": "Messages that could not be taken.",
    "link": "Links between Ensono's tickets and ours.",
    "log": "The event log itself.",
    "desk": "The client's own desk.",
    "map": "What the guide's fields are at the desk, and the desk's at Ensono.",
    "hooks": "What other systems post to us.",
    "config": "The configuration.",
}

INTRODUCTION: Final = "The client end of Ensono's Envision Connect bridge."
CONFIG_HELP: Final = "Configuration file; else $ECPROC_CONFIG, else ./ecproc.toml."
