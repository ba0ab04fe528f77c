"""The list of options drawn from the structs: their names, variables, types and what a value may be."""

import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal, get_args, get_origin

import msgspec
from msgspec import Meta, Struct

from ecproc.config.hooks import DeskWebhookConfig, HooksConfig, HookSourceConfig
from ecproc.config.options import (
    AttachmentsConfig,
    BridgeConfig,
    CommandsConfig,
    Config,
    DataConfig,
    DeskConfig,
    LogConfig,
    MappingConfig,
    OutboxConfig,
    OutboxSlots,
    WebConfig,
)
from ecproc.config.policies import PolicyAdopt, PolicyConfig, PolicyReopen
from ecproc.config.secret import Secret
from ecproc.config.servicenow import ServiceNowConfig, ServiceNowTables
from ecproc.config.watch import InternalConfig, WatchConfig

PREFIX: Final = "ECPROC_"

SECTIONS: Final[Mapping[str, type[Struct]]] = {
    "bridge": BridgeConfig,
    "data": DataConfig,
    "attachments": AttachmentsConfig,
    "desk": DeskConfig,
    "mapping": MappingConfig,
    "desk.servicenow": ServiceNowConfig,
    "desk.servicenow.tables": ServiceNowTables,
    "desk.webhook": DeskWebhookConfig,
    "policy": PolicyConfig,
    "policy.reopen": PolicyReopen,
    "policy.adopt": PolicyAdopt,
    "desk.watch": WatchConfig,
    "policy.internal": InternalConfig,
    "outbox": OutboxConfig,
    "outbox.slots": OutboxSlots,
    "commands": CommandsConfig,
    "web": WebConfig,
    "hooks": HooksConfig,
    "log": LogConfig,
}

SOURCES: Final = "hooks.sources"
FAMILIES: Final[Mapping[str, type[Struct]]] = {SOURCES: HookSourceConfig}
"""Sections that there are several of, each under a name of its own behind this one."""
_DOUBLED: Final = frozenset({"outbox.slots"})
"""Sections whose variables were named before those of others that have a dot."""


TABLE_LISTS: Final[Mapping[str, str]] = {
    "policy.scope": "which tickets the client wants at its desk: the first rule that holds decides, else they are in",
}
"""Arrays of tables, which only a file can hold, and what they are for; `field_of` names them in a `Config`."""


class Option(Struct, frozen=True):
    """One key of one section."""

    section: str
    key: str
    attribute: str
    """What the section's struct calls it."""
    type: Any
    """The annotation without its bounds: what a value is turned into."""
    annotation: Any
    default: Any
    description: str

    @property
    def name(self) -> str:
        """`section.key`, as messages name it."""
        return f"{self.section}.{self.key}"

    @property
    def variable(self) -> str:
        """The environment variable that overrides the file."""
        section = self.section.replace(".", "__" if self.section in _DOUBLED else "_")
        return f"{PREFIX}{section}__{self.key}".upper()

    @property
    def is_secret(self) -> bool:
        """Whether the value must never be shown."""
        return self.type is Secret or self.is_secret_list

    @property
    def is_secret_list(self) -> bool:
        """Whether it is several of them, any of which may be in use."""
        return bool(self.type == tuple[Secret, ...])

    @property
    def expectation(self) -> str:
        """What a value must be, in words."""
        return _describe(self.annotation)


def field_of(section: str) -> str:
    """What the section is called in a `Config`."""
    return section.replace(".", "_")


def suggest_option(section: str, key: str, options: Mapping[str, Option]) -> str:
    """The one of the `options` that the writer of `section.key` probably meant, or an empty string."""
    elsewhere = [option.name for option in OPTIONS.values() if option.key == key]
    own = [option.key for option in options.values() if option.section == section]
    own += [name.rpartition(".")[2] for name in TABLE_LISTS if name.rpartition(".")[0] == section]
    close = [f"{section}.{match}" for match in difflib.get_close_matches(key, own, n=1)]
    return next(iter(elsewhere or close or difflib.get_close_matches(f"{section}.{key}", OPTIONS, n=1)), "")


def suggest_word(word: str, known: Iterable[str]) -> str:
    """The closest of the `known` words, or an empty string."""
    return next(iter(difflib.get_close_matches(word, list(known), n=1)), "")


def list_options(section: str, struct: type[Struct]) -> Iterator[Option]:
    """The options of one section."""
    for field in msgspec.structs.fields(struct):
        kind, metas = _strip(field.type)
        description = next((meta.description for meta in reversed(metas) if meta.description), "")
        default = field.default if field.default_factory is msgspec.NODEFAULT else field.default_factory()
        yield Option(section, field.encode_name, field.name, kind, field.type, default, description)


def list_desk_options(config: Config) -> Sequence[Option]:
    """The options of a desk that another package brings."""
    own = config.desk_options
    return [] if own is None else [*list_options(name_desk_section(config.desk.kind), type(own))]


def name_desk_section(kind: str) -> str:
    """Where the options of that desk stand."""
    return f"desk.{kind}"


def find_section(config: Config, section: str) -> Any:
    """That section of a `Config`."""
    if config.desk_options is not None and section == name_desk_section(config.desk.kind):
        return config.desk_options
    family, _, name = section.rpartition(".")
    return getattr(config, field_of(family))[name] if family in FAMILIES else getattr(config, field_of(section))


def _strip(annotation: Any) -> tuple[Any, list[Meta]]:
    metas = [meta for meta in getattr(annotation, "__metadata__", ()) if isinstance(meta, Meta)]
    return getattr(annotation, "__origin__", annotation) if metas else annotation, metas


def _describe(annotation: Any) -> str:
    kind, metas = _strip(annotation)
    if kind in (int, float):
        return ("a whole number" if kind is int else "a number") + _describe_bounds(metas)
    if kind is bool:
        return "true or false"
    if kind in (str, Secret):
        return "text"
    if kind is Path:
        return "a path"
    if get_origin(kind) is Literal:
        return " or ".join(f'"{choice}"' for choice in get_args(kind))
    parts = get_args(kind)
    return "a list of texts" if parts[-1] is Ellipsis else f"two numbers, each {_describe(parts[0])}"


def _describe_bounds(metas: list[Meta]) -> str:
    above = next((f" above {meta.gt:g}" for meta in metas if meta.gt is not None), "")
    low = next((meta.ge for meta in metas if meta.ge is not None), None)
    high = next((meta.le for meta in metas if meta.le is not None), None)
    if low is not None and high is not None:
        return f" from {low} to {high}"
    return above + (f" and at most {high}" if high is not None else "")


OPTIONS: Final[Mapping[str, Option]] = {
    option.name: option for section, struct in SECTIONS.items() for option in list_options(section, struct)
}
