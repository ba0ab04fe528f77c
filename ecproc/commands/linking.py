"""Links that another integration made, taken over: which pairs can be, what stands in the way, and all recorded.

One transaction holds them all, so a processor that dies has all of them or none. What is known already is not recorded
again, so the same pairs a second time change nothing.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Annotated, Final, NamedTuple

import msgspec
from msgspec import Meta

from ecproc.domain.entry import DEAD
from ecproc.domain.events import Act, OperatorActed
from ecproc.domain.ids import CLIENT_PREFIX, client_stream, create_key, identity, is_reserved, normalise_number
from ecproc.domain.log import Batch, NewEvent
from ecproc.failpoints import failpoint
from ecproc.fold.recorded import Kind, decode_entry, decode_event, encode_event
from ecproc.store.base import Reader

MOST_PAIRS: Final = 20_000
"""What one import takes: more are so many that a person should look at a part of them first."""
LONGEST_NUMBER: Final = 100
"""Characters of a number, and of a reference."""
MOST_GENERATIONS: Final = 9_999
MOST_TOLD: Final = 20
"""Problems that are told of one import."""

_SHOWN: Final = 60
_WIRE: Final = "as messages name the ticket, such as e-CS0879727"
_UNSEEN: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
"""Characters that act on a terminal, or that nobody sees: two numbers must not look the same."""


class LinkPair(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """Ensono's ticket and the client ticket that it has at the desk. `reference` is what the ITSM itself calls that
    record; `line` is where the pair stands, for whoever is told of a problem."""

    ensono_number: str
    client_number: str
    reference: str = ""
    generation: Annotated[float, Meta(ge=1, le=MOST_GENERATIONS, multiple_of=1)] = 1
    line: Annotated[float, Meta(ge=0, le=1 << 31, multiple_of=1)] = 0


class LinkProblem(msgspec.Struct, frozen=True):
    """Why a pair cannot be taken: where it stands, which of its fields is to blame, and what to do."""

    line: int
    field: str
    text: str


class LinkReport(msgspec.Struct, frozen=True):
    """What became of all pairs: so many were `imported`, so many `known` already. With problems nothing was imported,
    unless they say so; `problems` has the first of `problems_count`."""

    pairs: int
    imported: int
    known: int
    problems: tuple[LinkProblem, ...] = ()
    problems_count: int = 0


class Examination(NamedTuple):
    """What pairs are: new, known already, or not to be taken."""

    fresh: Sequence[LinkPair]
    known: int
    problems: Sequence[LinkProblem]


class _Header(msgspec.Struct):
    type: str | None = None


class _Known(msgspec.Struct):
    number: str
    generation: int


_decode_header = msgspec.json.Decoder(_Header).decode
_decode_known = msgspec.json.Decoder(_Known).decode


def tidy(pair: LinkPair) -> LinkPair:
    """The pair without blanks around its texts; what only fills the place of a reference is none."""
    return msgspec.structs.replace(
        pair,
        ensono_number=pair.ensono_number.strip(),
        client_number=pair.client_number.strip(),
        reference=pair.reference.strip() if identity(pair.reference) else "",
        generation=int(pair.generation),  # 1.0 is a whole number, too, where JSON says it
        line=int(pair.line),
    )


def check_pairs(pairs: Sequence[LinkPair]) -> list[LinkProblem]:
    """What is wrong with tidy pairs by themselves, and with one beside another."""
    problems = [] if len(pairs) <= MOST_PAIRS else [_tell_many(pairs)]
    tickets: dict[tuple[str, float], LinkPair] = {}
    numbers: dict[str, LinkPair] = {}
    for pair in pairs:
        own = list(_check_pair(pair))
        problems += own
        if own:
            continue
        first = tickets.setdefault((normalise_number(pair.ensono_number), pair.generation), pair)
        if first is not pair:
            text = f"line {first.line} has {_show(first.ensono_number)} for generation {pair.generation}: keep one line"
            problems.append(LinkProblem(int(pair.line), "ensono_number", text))
            continue
        first = numbers.setdefault(pair.client_number, pair)
        if first is not pair:
            text = f"line {first.line} gives {_show(pair.client_number)} to {_show(first.ensono_number)}: keep one line"
            problems.append(LinkProblem(int(pair.line), "client_number", text))
    return problems


async def examine_pairs(reader: Reader, pairs: Sequence[LinkPair]) -> Examination:
    """What of these pairs, which are right by themselves, the log has already, and what of it is in their way."""
    fresh: list[LinkPair] = []
    problems: list[LinkProblem] = []
    for pair in pairs:
        known, found = await _look_up(reader, pair)
        if found is not None:
            problems.append(found)
        elif not known:
            fresh.append(pair)
    return Examination(fresh, len(pairs) - len(fresh) - len(problems), problems)


async def import_links(
    reader: Reader,
    submit: Callable[[Batch], Awaitable[None]],
    pairs: Sequence[LinkPair],
    *,
    who: str,
    note: str,
) -> LinkReport:
    """Record the pairs that are new, all in one transaction, unless there is a problem with any of them; returns when
    their tickets have them."""
    pairs = [tidy(pair) for pair in pairs]
    problems = check_pairs(pairs)
    if problems:
        return report_links(pairs, Examination((), 0, problems))
    found = await examine_pairs(reader, pairs)
    if found.problems or not found.fresh:
        return report_links(pairs, found)
    failpoint("link.examined")
    await submit(Batch(events=[_record(pair, who, note) for pair in found.fresh]))
    late = [problem for pair in found.fresh if (problem := await _find_late(reader, pair)) is not None]
    imported = len(found.fresh) - len(late)
    return LinkReport(len(pairs), imported, found.known, tuple(late[:MOST_TOLD]), len(late))


def report_links(pairs: Sequence[LinkPair], found: Examination) -> LinkReport:
    """The report on pairs of which nothing is recorded: `imported` are those that could be."""
    problems = sorted(found.problems, key=lambda problem: problem.line)
    imported = 0 if problems else len(found.fresh)
    return LinkReport(len(pairs), imported, found.known, tuple(problems[:MOST_TOLD]), len(problems))


# --- pairs by themselves ----------------------------------------------------------------------------------------------


def _check_pair(pair: LinkPair) -> Iterator[LinkProblem]:
    texts = {"ensono_number": pair.ensono_number, "client_number": pair.client_number, "reference": pair.reference}
    for field, text in texts.items():
        what = _check_text(text) if text or field == "reference" else ""
        if not what and field != "reference" and not identity(text):
            what = f"{_show(text)} names nothing: write the number, or leave the line out"
        if not what and field == "ensono_number":
            what = _check_number(text)
        if what:
            yield LinkProblem(int(pair.line), field, what)
    if not 1 <= pair.generation <= MOST_GENERATIONS:
        yield LinkProblem(
            int(pair.line), "generation", f"{pair.generation} is none: write 1, or the change's generation"
        )


def _check_text(text: str) -> str:
    if len(text) > LONGEST_NUMBER:
        return f"it has {len(text)} characters, {LONGEST_NUMBER} at most: see whether a quote is missing"
    for letter in text:
        if unicodedata.category(letter) in _UNSEEN:
            return f"it has the character U+{ord(letter):04X}, which nobody sees: write it anew"
    return ""


def _check_number(number: str) -> str:
    if is_reserved(number):
        return f"{_show(number)} is a name that ecproc gives itself: write it {_WIRE}"
    bare = number.removeprefix("e-")
    plain = bare.isascii() and bare.replace("-", "").replace("_", "").isalnum()
    if bare == number or not plain or bare != bare.upper():
        return f"{_show(number)} is not as on the wire: write it {_WIRE}"
    return ""


def _tell_many(pairs: Sequence[LinkPair]) -> LinkProblem:
    text = f"{len(pairs)} pairs, {MOST_PAIRS} at most: split the file, each part is imported by itself"
    return LinkProblem(int(pairs[MOST_PAIRS].line), "pairs", text)


def _show(text: str) -> str:
    return repr(text[:_SHOWN])


# --- pairs beside the log ---------------------------------------------------------------------------------------------


async def _look_up(reader: Reader, pair: LinkPair) -> tuple[bool, LinkProblem | None]:
    """Whether the log has the pair, and what of it is in the way."""
    stream, number = pair.ensono_number, pair.client_number
    headers = await reader.read_rows("ticket", id=normalise_number(stream))
    tickets = {row.stream: row for row in headers if not row.stream.startswith(CLIENT_PREFIX)}
    if tickets and stream not in tickets:
        other = next(iter(tickets))
        return False, LinkProblem(
            int(pair.line), "ensono_number", f"the log calls it {_show(other)}: write it like that"
        )
    opened = stream in tickets and _decode_header(tickets[stream].data or b"{}").type is not None
    rows = await reader.read_rows("client_ticket", stream=stream) if stream in tickets else ()
    client_tickets = [_decode_known(row.data or b"") for row in rows] or await _read_links(reader, stream)
    if any((each.number, each.generation) == (number, pair.generation) for each in client_tickets):
        return True, None
    problem = await _find_other(reader, pair, client_tickets, opened=opened)
    return False, problem or await _find_holder(reader, pair)


async def _read_links(reader: Reader, stream: str) -> list[_Known]:
    """Links that a process recorded which died before it folded them: the next start does."""
    state = await reader.stream_state(stream)
    waiting = await reader.read_stream(stream, after=state.through) if state.wanted > state.through else ()
    acts = [decode_event(event.kind, event.payload) for event in waiting if event.kind == Kind.OPERATOR_ACTED]
    return [_Known(act.number, act.generation) for act in acts if isinstance(act, OperatorActed) and act.number]


async def _find_other(
    reader: Reader, pair: LinkPair, client_tickets: Sequence[_Known], *, opened: bool
) -> LinkProblem | None:
    """What client ticket the ticket has, or is getting, in the place of the pair's."""
    stream, number, generation = pair.ensono_number, pair.client_number, int(pair.generation)
    right = f"if {_show(number)} is right: ecproc send return-number {stream} {number}"
    for known in client_tickets:
        if known.number == number:
            text = f"the log has {_show(number)} for generation {known.generation}: write that"
            return LinkProblem(int(pair.line), "generation", text)
        if opened or known.generation == generation:
            text = f"the log has {_show(known.number)} for {stream}, generation {known.generation}: leave the line out;"
            return LinkProblem(int(pair.line), "client_number", f"{text} {right}")
    entries = await reader.read_rows("outbox", stream=stream, id=create_key(stream, generation)) if opened else ()
    for row in entries:
        entry = decode_entry(row.data or b"")
        if entry.state not in DEAD:
            key = entry.effect.key
            text = f"a message came before, and {key} is {entry.state}: ecproc outbox discard {key}, then import again"
            return LinkProblem(int(pair.line), "ensono_number", text)
    return None


async def _find_holder(reader: Reader, pair: LinkPair) -> LinkProblem | None:
    """Who else has the client number."""
    stream, number = pair.ensono_number, pair.client_number
    for row in await reader.read_rows("client_ticket", id=number):
        if row.stream != stream:
            text = f"the log gives {_show(number)} to {row.stream}: see which is right, ecproc show {row.stream}"
            return LinkProblem(int(pair.line), "client_number", text)
    if (await reader.stream_state(client_stream(number))).version:
        text = f"{_show(number)} was opened at Ensono's by ecproc: leave the line out; see ecproc show {number}"
        return LinkProblem(int(pair.line), "client_number", text)
    return None


async def _find_late(reader: Reader, pair: LinkPair) -> LinkProblem | None:
    stream = pair.ensono_number
    if await reader.read_rows("client_ticket", stream=stream, id=pair.client_number):
        return None
    text = f"it was recorded too late, as a message of {stream} came in that moment: ecproc reconcile shows what it has"
    return LinkProblem(int(pair.line), "ensono_number", text)


def _record(pair: LinkPair, who: str, note: str) -> NewEvent:
    acted = OperatorActed(
        Act.LINK, who, note, number=pair.client_number, generation=int(pair.generation), reference=pair.reference
    )
    return NewEvent(pair.ensono_number, *encode_event(acted), wanted=True)
