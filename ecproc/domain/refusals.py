"""Why the built-in HTTP server turned somebody away."""

from enum import StrEnum


class WebRefusal(StrEnum):
    """The closed set of reasons."""

    HOST = "host"
    """The Host header names somebody else."""
    NO_TOKEN = "no_token"  # noqa: S105 - the name of a reason
    """A token is needed, and there was none."""
    WRONG_TOKEN = "wrong_token"  # noqa: S105
    """The token is another one."""
    NO_COMMANDS = "no_commands"
    """Something was to be changed where nothing may be: there is no token for it."""
    BUSY = "busy"
    """Too many answers were being made."""
    MALFORMED = "malformed"
    """It was no HTTP."""
    SLOW = "slow"
    """A request did not come whole, or an answer was not read, in time."""
    TOO_LARGE = "too_large"
    """A request was longer than any may be."""
    CROWDED = "crowded"
    """There were too many connections, and this one had asked nothing for the longest time."""
