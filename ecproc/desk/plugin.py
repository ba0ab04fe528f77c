"""Desks of other packages: found by entry point, with options of their own, opened in what they are given."""

from __future__ import annotations

import traceback
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Generic, NamedTuple, TypeVar

from msgspec import Struct

from ecproc.clock import Clock
from ecproc.config import Config, Secret, Secrets, list_secret_texts
from ecproc.config.desks import DESK_NAME, find_fault, unknown_desk
from ecproc.config.options import DESKS
from ecproc.desk.base import Desk
from ecproc.desk.finding import DeskFinding
from ecproc.desk.guard import GuardedDesk, WrongDesk
from ecproc.errors import ConfigError, ConfigProblem
from ecproc.mapping import Mapping as FieldMapping
from ecproc.room import is_no_room

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

GROUP: Final = "ecproc.desks"
"""The entry points that are desks, each under the name that `desk.kind` has."""
DIRECTORY: Final = "desks"
"""Where in the data directory such desks keep what is theirs, each in a directory of its own."""

_TOLD: Final = 300
"""Characters kept of what went wrong in another package."""
_NAME_HELP: Final = "a desk's name is lower-case letters and digits, a letter first, and none of ours"
_REACH_HELP: Final = "see the package's own page; what its desk needs at the start has to be there"

OptionsT = TypeVar("OptionsT", bound=Struct)


class DeskContext(Struct, frozen=True):
    """What a desk of another package is given beside its options.

    `clock` is the one source of time. `directory` is for files of the desk's own, and nobody else writes there; a
    backup does not hold it. `mapping` is the operator's, from the guide's fields to the desk's. `secrets` gives all
    values that an option has now, by its key, for a file of secrets is read again when it changes: ask for each call.
    """

    clock: Clock
    directory: Path
    mapping: FieldMapping
    secrets: Callable[[str], Sequence[Secret]]

    def secret(self, key: str) -> Secret:
        """The value that an option has now, the first one of several; an empty one where it is not set."""
        return next(iter(self.secrets(key)), Secret())


class DeskPlugin(Struct, Generic[OptionsT], frozen=True, kw_only=True):
    """What an entry point of `ecproc.desks` names: a desk that `desk.kind` may ask for (guide: docs/own_desk.md).

    `options` is the type of its section `desk.NAME`. `open` gives the desk without asking anything of what is behind
    it, which may be down. `check` is what `ecproc desk check` tells of it, beside a desk that may be running.
    """

    options: type[OptionsT]
    open: Callable[[OptionsT, DeskContext], Awaitable[Desk]]
    check: Callable[[OptionsT, DeskContext], Awaitable[Sequence[DeskFinding]]] | None = None


class InstalledDesk(NamedTuple):
    """A desk, and the package that brings it, with its version."""

    plugin: DeskPlugin[Any]
    package: str

    @property
    def options(self) -> type[Struct]:
        """The type of its options."""
        return self.plugin.options


def load_plugin(kind: str) -> InstalledDesk:
    """The desk of that name. Raises ConfigError where no package brings it, several do, or it is of no use."""
    found = _find_points()
    points = found.get(kind, {})
    if not points:
        raise unknown_desk(kind, filter(_is_name, found))
    package, point = next(iter(points.items()))
    if len(points) > 1:
        raise _blame(kind, " and ".join(sorted(points)), "both bring it", "uninstall one of them")
    if not _is_name(kind):
        raise _blame(kind, package, "it cannot be called that", _NAME_HELP)
    reason = ""
    try:
        plugin = point.load()
        if not isinstance(plugin, DeskPlugin):
            reason = f"{point.value} is a {type(plugin).__name__}, not a DeskPlugin"
        else:
            reason = find_fault(plugin.options)
    except (Exception, SystemExit) as error:  # it is another package's code
        reason = f"{point.value} cannot be loaded: {_describe(error)}"
    if reason:
        raise _blame(kind, package, reason, "reinstall it, or ask whoever made it")
    return InstalledDesk(plugin, package)


async def open_plugin(config: Config, *, mapping: FieldMapping, secrets: Secrets, clock: Clock) -> Desk:
    """The desk of another package that the configuration asks for. Raises ConfigError, and OSError where there is no
    room for it just now."""
    kind = config.desk.kind
    found = load_plugin(kind)
    context = _make_context(config, mapping=mapping, secrets=secrets, clock=clock)
    try:
        context.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        desk = GuardedDesk(await found.plugin.open(_options_of(config), context))
    except WrongDesk as wrong:
        reason = f"what it opens is no Desk: {wrong}"
    except (Exception, SystemExit) as error:  # it is another package's code
        if is_no_room(error):
            raise
        reason = f"it cannot be opened: {_describe(error, list_secret_texts(config))}"
    else:
        return desk
    # Outside the handler, so that no exception of another package hangs on to a secret.
    raise _blame(kind, found.package, reason, _REACH_HELP)


async def check_plugin(
    config: Config, *, mapping: FieldMapping, secrets: Secrets, clock: Clock
) -> Sequence[DeskFinding] | None:
    """What a desk of another package finds wrong with itself; None where it brings no check. Raises ConfigError."""
    found = load_plugin(config.desk.kind)
    if found.plugin.check is None:
        return None
    context = _make_context(config, mapping=mapping, secrets=secrets, clock=clock)
    try:
        findings = await found.plugin.check(_options_of(config), context)
        if all(isinstance(finding, DeskFinding) for finding in findings):
            return tuple(findings)
        reason = "its check gives other things than a DeskFinding"
    except (Exception, SystemExit) as error:  # it is another package's code
        reason = f"its check failed: {_describe(error, list_secret_texts(config))}"
    raise _blame(config.desk.kind, found.package, reason, _REACH_HELP)


def _make_context(config: Config, *, mapping: FieldMapping, secrets: Secrets, clock: Clock) -> DeskContext:
    """What the configured desk is given."""
    kind = config.desk.kind
    directory = config.data.directory / DIRECTORY / kind
    return DeskContext(clock, directory, mapping, lambda key: secrets[f"desk.{kind}.{key}"].values)


def _options_of(config: Config) -> Struct:
    """The options as they were read with the rest."""
    if config.desk_options is None:
        raise ConfigError(ConfigProblem(f"[desk.{config.desk.kind}] was not read with the configuration"))
    return config.desk_options


def _find_points() -> Mapping[str, Mapping[str, EntryPoint]]:
    """By name and by package, which is named once, the desks that are installed."""
    from importlib.metadata import entry_points  # takes its time

    found: dict[str, dict[str, EntryPoint]] = {}
    try:
        for point in entry_points(group=GROUP):
            package = f"{point.dist.name} {point.dist.version}" if point.dist else point.module
            found.setdefault(point.name, {})[package] = point
    except Exception as error:
        reason = f"what is installed cannot be listed: {_describe(error)}"
        raise ConfigError(
            ConfigProblem(reason, help="a package's entry_points.txt may be damaged: pip check")
        ) from None
    return found


def _is_name(kind: str) -> bool:
    return bool(DESK_NAME.fullmatch(kind)) and kind not in DESKS


def _blame(kind: str, package: str, reason: str, help_text: str) -> ConfigError:
    return ConfigError(ConfigProblem(f"desk.kind {kind!r} of {package}: {reason}", help=help_text))


def _describe(error: BaseException, secrets: Iterable[str] = ()) -> str:
    """What failed and where, in one bounded text; without its words where one of the secrets is among them."""
    text = str(error)
    if any(secret and secret in text for secret in secrets):
        text = ""
    frames = [(Path(frame.filename), frame.lineno) for frame in traceback.extract_tb(error.__traceback__)]
    theirs = [f"{path.name}:{line}" for path, line in frames if not _is_passed_through(path)]
    place = f" ({theirs[-1]})" if theirs else ""
    return f"{type(error).__name__}{text and f': {text[:_TOLD]}'}{place}"


def _is_passed_through(path: Path) -> bool:
    """Whether it is code between us and a package, where no defect of the package is."""
    return path == Path(__file__) or path.name.startswith("<frozen") or "importlib" in path.parts
