"""`ecproc map`: the mapping between the guide's fields and the desk's, proven, shown, tried and compared."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import anyio
import msgspec
from cyclopts import Parameter
from msgspec.structs import asdict

from ecproc.cli.listing import write_table
from ecproc.cli.output import say, wants_json, write_document, write_human
from ecproc.cli.printable import printable_line
from ecproc.cli.session import Failed, Json, Own, UsageError, require_log, say_problem
from ecproc.config import Config
from ecproc.errors import ConfigError, ConfigProblem, ExitCode
from ecproc.mapping import Mapping
from ecproc.mapping.rules import EVERY, How, Rule
from ecproc.mapping_file import judge_mapping, open_mapping, read_mapping
from ecproc.reading.masking import mask_struct, mask_text

if TYPE_CHECKING:
    from ecproc.reading.mapped import Trial
    from ecproc.reading.whatif import Otherwise

_MOST_BYTES: Final = 64 * 1024 * 1024
"""Of a file with messages, records or events."""
_MOST_SHOWN: Final = 1_000
"""Fields of effects that are listed; the others are counted."""

_MapFile = Annotated[Path | None, Parameter(help="Mapping file; else the one that the configuration names.")]
_TicketWord = Literal["Incident", "Request", "Change"]


class _Listed(msgspec.Struct, frozen=True):
    """A rule as it is shown."""

    rule: str
    reads: tuple[str, ...]
    how: str
    default: str | None
    place: str
    map: dict[str, str] = {}


def check(file: _MapFile = None, /, *, json: Json = False, session: Own) -> ExitCode:
    """Prove a mapping: every value has an image, every image is one, every rule can apply; exit 78 if not.

    Example:
        ecproc map check
        ecproc map check mapping.toml
    """
    problems: Sequence[ConfigProblem] = ()
    warnings: Sequence[ConfigProblem] = ()
    digest: str | None = None
    try:
        mapping, warnings = _prove(session, file)
        digest = mapping.hash
    except ConfigError as error:
        problems = error.problems
    for problem in problems:
        say_problem("error", problem)
    for warning in warnings:
        say_problem("warning", warning)
    if wants_json(json):
        found = {"problems": list(map(asdict, problems)), "warnings": list(map(asdict, warnings))}
        write_document({"ok": not problems, "mapping": digest, **found})
    elif not problems:
        write_human(f"the mapping {digest} holds")
    return ExitCode.CONFIG if problems else ExitCode.OK


def show(file: _MapFile = None, /, *, json: Json = False, session: Own) -> None:
    """Show the tables of a mapping, with the hash that tells it from any other.

    Example:
        ecproc map show
        ecproc map show --json | jq -r .mapping
    """
    mapping, _ = _prove(session, file)
    listed = [_list_rule(rule) for rule in mapping.rules]
    if wants_json(json):
        rules = [asdict(one) for one in listed]
        head = {"mapping": mapping.hash, "desk": mapping.desk, "source": mapping.source}
        write_document({**head, "rules": rules, "choices": mapping.choices, "lossy": sorted(mapping.lossy)})
        return
    write_human(printable_line(f"mapping {mapping.hash} of the desk {mapping.desk}, from {mapping.source}"))
    rows = [(one.rule, " / ".join(one.reads), one.how, _tell_default(one.default)) for one in listed]
    write_table(("rule", "reads", "becomes", "else"), rows, whole=("rule",))


def test(
    *files: Annotated[Path, Parameter(name="FILE", help="Queue messages, records of the desk, or lines of events.")],
    mapping: Annotated[Path | None, Parameter(help="Mapping file; else the one that the configuration names.")] = None,
    type: Annotated[_TicketWord | None, Parameter(help="Of what type records are that do not say so.")] = None,
    json: Json = False,
    session: Own,
) -> ExitCode:
    """Try a mapping on files: which rules fire, values before and after, what would be sent, what no row has.

    A file holds one JSON value, a list, or one on each line. Nothing is sent. Exit 3 where a value fell to a default
    whose rule has report_unmapped.

    Example:
        ecproc map test message.json
        ecproc map test events.ndjson --mapping new.toml
    """
    from ecproc.domain.events import TicketType
    from ecproc.reading.mapped import Unreadable, list_trials

    if not files:
        raise UsageError("map test needs a FILE to try the mapping on")
    config = session.load_config()
    tables = _prove_file(mapping) if mapping is not None else open_mapping(config)[0]
    told = {"ticket_type": TicketType(type) if type else None, "client_name": config.bridge.client_name}
    reported = False
    documents: list[dict[str, Any]] = []
    for file in files:
        try:
            trials = [mask_struct(trial) for trial in list_trials(tables, _read(file), **told)]  # type: ignore[arg-type]  # the two it takes
        except Unreadable as error:
            raise Failed(f"{file}: {error}", hint=error.hint) from None
        reported |= any(trial.is_reported for trial in trials)
        documents.append({"file": str(file), "mapping": tables.hash, "items": trials})
        if not wants_json(json):
            _write_trials(file, trials)
    if wants_json(json):
        write_document(documents)
    return ExitCode.FINDINGS if reported else ExitCode.OK


def diff(
    old: Annotated[Path, Parameter(name="OLD", help="The mapping file as it is.")],
    new: Annotated[Path, Parameter(name="NEW", help="The mapping file as it shall be.")],
    /,
    *,
    log: Annotated[
        bool, Parameter(help="Also which effects in the log would have been sent otherwise.", show_default=False)
    ] = False,
    json: Json = False,
    session: Own,
) -> None:
    """Compare two mappings: the rules that differ, and with --log each field that the log's effects would have sent
    otherwise. Nothing is sent, and nothing in the log changes.

    Example:
        ecproc map diff mapping.toml new.toml --log
    """
    from ecproc.reading.whatif import WhatIf, list_rule_changes

    config = session.load_config()
    before, after = _prove_file(old), _prove_file(new)
    changes = list_rule_changes(before, after)
    what_if = WhatIf(before, after)
    found: list[Otherwise] = []
    if log:
        require_log(config)
        found = anyio.run(partial(_compare, config, what_if))
    if wants_json(json):
        document = {"old": before.hash, "new": after.hash, "rules": changes}
        counts = {"effects": what_if.effects, "otherwise": what_if.otherwise, "fields": found} if log else {}
        write_document({**document, **counts})
        return
    write_table(("rule", "change"), [(one.rule, one.change) for one in changes], whole=("rule", "change"))
    columns = ("effect", "field", "old", "new")
    write_table(columns, [(one.key, one.field, *map(_tell_default, (one.old, one.new))) for one in found])
    say(f"{len(changes)} differences between {before.hash} and {after.hash}")
    if log:
        say(f"{what_if.otherwise:,} of {what_if.effects:,} effects would have been sent otherwise")


async def _compare(config: Config, what_if: Any) -> list[Otherwise]:
    """The first fields that would have been sent otherwise; all of them are counted."""
    from ecproc.reading.opening import open_reading

    found: list[Otherwise] = []
    async with open_reading(config) as reader:
        async for one in what_if.list_otherwise(reader):
            if len(found) < _MOST_SHOWN:
                found.append(mask_struct(one))
    return found


def _prove(session: Own, file: Path | None) -> tuple[Mapping, Sequence[ConfigProblem]]:
    """The mapping in that file, else the one in force, with what the proof warns of. Raises ConfigError."""
    config = session.load_config()
    if file is None:
        return open_mapping(config)
    mapping = read_mapping(file)
    problems, warnings = judge_mapping(mapping)
    if problems:
        raise ConfigError(*problems)
    return mapping, warnings


def _prove_file(file: Path) -> Mapping:
    mapping = read_mapping(file)
    problems, _ = judge_mapping(mapping)
    if problems:
        raise ConfigError(*problems)
    return mapping


def _read(file: Path) -> bytes:
    with file.open("rb") as opened:
        content = opened.read(_MOST_BYTES + 1)
    if len(content) > _MOST_BYTES:
        raise Failed(f"{file} has more than {_MOST_BYTES:,} bytes", hint="try it in parts, as one value on each line")
    return content


def _list_rule(rule: Rule) -> _Listed:
    how = str(rule.how)
    if rule.how is How.CONST:
        how = f"const {rule.const}"
    elif rule.reference:
        how = f"{how} of {rule.reference}" if rule.how is How.REFERENCE else f"{how}, reference {rule.reference}"
    reads = rule.reads or ((EVERY,) if rule.field == EVERY else ())
    return _Listed(rule.name, reads, how, rule.default, rule.place, dict(rule.rows))


def _tell_default(value: str | None) -> str:
    return "–" if value is None else value or '""'


def _write_trials(file: Path, trials: Sequence[Trial]) -> None:
    """What became of a file's things, for a person."""
    for trial in trials:
        named = " ".join(filter(None, (trial.what, trial.type, trial.ticket)))
        write_human(printable_line(": ".join(filter(None, (str(file), named, trial.remark)))))
        rows = [(one.rule, one.field, one.before, one.after, "default" if one.default else "") for one in trial.rules]
        write_table(("rule", "field", "before", "after", ""), rows, whole=("rule", "field"))
        if trial.call is not None:
            body = msgspec.json.encode(trial.call.body).decode()
            write_human(printable_line(" ".join(filter(None, (trial.call.method, trial.call.path, body)))))
        for text in trial.overflow:
            write_human(printable_line(f"comment: {text}"))
        if trial.refused:
            write_human(printable_line(f"not sent: {trial.refused}"))
        for missing in trial.unmapped:
            write_human(printable_line(f"no row: {missing.direction} {missing.field} {mask_text(missing.value)!r}"))
