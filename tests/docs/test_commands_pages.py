"""The pages of the commands are held to the code: each example is parsed, accepted and written, each answer judged."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest

from ecproc.bridge.base import Answer
from ecproc.cli import main, send
from ecproc.commands.capability import MATRIX
from ecproc.commands.checks import CommandRequest, check_command, name_command
from ecproc.commands.known import KnownTicket
from ecproc.commands.requests import AnyCommand, Attach, kind_of, write_request
from ecproc.config import CommandsConfig, OutboxConfig
from ecproc.domain.attempt import Attempt, Blamed, Done, Held, Odd, Postponed, Uncertain
from ecproc.domain.commands import CommandAccepted, CommandKind
from ecproc.domain.deltas import Approval
from ecproc.domain.effects import Effect, EffectKind, Repeat
from ecproc.domain.events import TicketType
from ecproc.domain.ids import TicketNumber
from ecproc.domain.sending import encode_call, list_calls
from ecproc.domain.state import ApprovalState
from ecproc.domain.texts import LIMITS
from ecproc.errors import ExitCode
from ecproc.outbox.perform import bridge
from ecproc.outbox.perform.bridge import REPEATS, conclude_answer
from ecproc.wire.answers import judge_call, judge_upload_url
from ecproc.wire.requests import Spelling, TicketCall, ask_upload_url, escape_text, write_call
from ecproc.wire.responses import Verdict

PAGES: Final = Path(__file__).parents[2] / "docs" / "commands"
KINDS: Final = sorted(CommandKind)
BLOCK: Final = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
ROW: Final = re.compile(r"^\| (\d{3}) \| (?:`([^`]*)`|\(empty\)) \| ([a-z]+) \|", re.MULTILINE)
LOST: Final = re.compile(r"^\| ([a-z-]+) \| (asks first|may come twice|is harmless) \| (.*?) \|", re.MULTILINE)
DECIDED_AT: Final = 1_613_716_914_000_000
"""2021-02-19 06:41:54 UTC."""
EFFECTS: Final = {
    CommandKind.CREATE: EffectKind.CREATE_TICKET,
    CommandKind.UPDATE: EffectKind.UPDATE_TICKET,
    CommandKind.NOTE: EffectKind.ADD_COMMENTS,
    CommandKind.RESOLVE: EffectKind.RESOLVE_TICKET,
    CommandKind.CLOSE: EffectKind.CLOSE_TICKET,
    CommandKind.CANCEL: EffectKind.CANCEL_TICKET,
    CommandKind.APPROVE: EffectKind.APPROVE_CHANGE,
    CommandKind.REJECT: EffectKind.REJECT_CHANGE,
    CommandKind.RETURN_NUMBER: EffectKind.RETURN_NUMBER,
}
"""The call of each command; a file has two, to two hosts."""
REPEATED: Final = {
    Repeat.LOOK_UP: "asks first",
    Repeat.BLIND: "may come twice",
    Repeat.IDEMPOTENT: "is harmless",
}


def read(name: str) -> str:
    return (PAGES / f"{name}.md").read_text(encoding="utf-8")


def block(kind: CommandKind, language: str) -> str:
    """The page's one block in that language."""
    (found,) = [text for name, text in BLOCK.findall(read(kind)) if name == language]
    return str(found)


def example(kind: CommandKind) -> AnyCommand:
    """The page's document as the API reads it."""
    command: AnyCommand = msgspec.json.decode(block(kind, "json"), type=AnyCommand)
    assert kind_of(command) is kind
    return command


def know(kind: CommandKind, ticket: str) -> KnownTicket | None:
    """The ticket of the example, as it has to be for the command."""
    if kind is CommandKind.CREATE:
        return None
    change = ticket.startswith("e-CHG")
    name = ("Jason Doe", "Jason.Doe@abc.com")
    asked = Approval("157efa0f1b702d1026a2da49b04bcbf4", *name, generation=1, state=ApprovalState.REQUESTED, order=1)
    return KnownTicket(
        stream=ticket,
        ticket=ticket,
        type=TicketType.CHANGE if change else TicketType.INCIDENT,
        number="CHG00029641" if change else "123456",
        state="Assess" if change else "resolved" if kind is CommandKind.CLOSE else "open",
        approvals=(asked,) if change else (),
    )


def ask(command: AnyCommand) -> CommandRequest:
    if isinstance(command, Attach):
        content, name = command.content or b"", command.name or ""
        fields = {"name": name, "sha256": sha256(content).hexdigest(), "size": str(len(content))}
        return CommandRequest(kind=CommandKind.ATTACH, fields={**fields, "type": "application/pdf"})
    return write_request(command, key="k" if kind_of(command) in (CommandKind.UPDATE, CommandKind.NOTE) else "", who="")


def write_calls(kind: CommandKind) -> list[TicketCall]:
    """The calls to which the page's example leads."""
    command = example(kind)
    ticket = know(kind, getattr(command, "ticket", ""))
    accepted = check_command(ask(command), ticket, CommandsConfig(), environment="prod")
    assert isinstance(accepted, CommandAccepted), accepted
    return [write_call_of(call, ticket, accepted) for call in list_calls(accepted, generation=1)]


def write_call_of(call: Any, ticket: KnownTicket | None, accepted: CommandAccepted) -> TicketCall:
    if call.kind is EffectKind.UPLOAD:
        return ask_upload_url(ticket.ticket if ticket else "", call.fields["name"])
    effect = Effect(
        key=call.key,
        kind=call.kind,
        generation=1,
        position=1,
        at=DECIDED_AT,
        ticket=TicketNumber(ticket.ticket if ticket else ""),
        ticket_type=(ticket.type or "") if ticket else accepted.fields["ticketType"],
        number=call.number or (ticket.number if ticket else "123456"),
        fields=encode_call(call),
    )
    return write_call(effect, Spelling(client_name="YourCompanyName"))


# --- the examples -----------------------------------------------------------------------------------------------------


def test_every_command_has_its_page_and_its_link() -> None:
    assert sorted(path.stem for path in PAGES.glob("*.md")) == sorted(["README", *KINDS])
    assert sorted(set(re.findall(r"\(([a-z-]+)\.md\)", read("README")))) == KINDS


@pytest.mark.parametrize("kind", KINDS)
def test_what_leaves_is_what_the_page_shows(kind: CommandKind) -> None:
    line, _, body = block(kind, "http").partition("\n")
    method, path = line.split(" ", 1)

    (call,) = write_calls(kind)

    assert (call.method, call.path) == (method, path)
    if call.body is None:
        assert body.strip() == ""
    else:
        assert json.dumps(json.loads(body)) == json.dumps(json.loads(call.body)), "the same members in the same order"


@pytest.mark.parametrize("kind", KINDS)
def test_the_command_line_asks_for_the_same(kind: CommandKind, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[AnyCommand] = []

    def note(session: object, command: AnyCommand, way: object) -> ExitCode:
        asked.append(command)
        return ExitCode.OK

    monkeypatch.setattr(send, "send_command", note)
    (line,) = block(kind, "console").splitlines()
    assert line.startswith(f"$ ecproc send {kind} ")

    assert main(split_line(line.removeprefix("$ ecproc "))) == 0

    (command,) = asked
    if isinstance(command, Attach):
        assert Path(command.file or "").name == getattr(example(kind), "name", None)
    else:
        assert msgspec.to_builtins(command) == msgspec.to_builtins(example(kind))


def split_line(line: str) -> list[str]:
    """The words of a line, as a shell has them."""
    return [quoted or bare for quoted, bare in re.findall(r'"([^"]*)"|(\S+)', line)]


@pytest.mark.parametrize("kind", KINDS)
def test_the_key_by_nature_is_as_the_page_says(kind: CommandKind) -> None:
    command = example(kind)
    ticket = getattr(command, "ticket", "")
    request = msgspec.structs.replace(ask(command), key="")
    (told,) = re.findall(r"\*\*Key by nature:\*\* (.*)", read(kind))
    shown = told.split("`")[1] if told.startswith("`") else ""
    words = {"TICKET": ticket, "NUMBER": request.fields.get("clientTicketNumber", ""), "TURN": "1", "gN": "g1"}
    words |= {"SHA256": request.fields.get("sha256", ""), "NAME": request.fields.get("name", "")}

    assert name_command(request, know(kind, ticket)) == ":".join(words.get(word, word) for word in shown.split(":"))


def test_what_a_change_can_have_is_as_the_table_says() -> None:
    (row,) = re.findall(r"^\| (.*) \| all but (.*) and (.*) \|$", read("README"), re.MULTILINE)
    cases = {kind for kind in KINDS if TicketType.INCIDENT in MATRIX[kind]}

    assert set(row[0].split(", ")) == {kind for kind in KINDS if TicketType.CHANGE in MATRIX[kind]}
    assert set(row[1:]) == {*KINDS} - cases


# --- the answers ------------------------------------------------------------------------------------------------------


def list_answers(name: str) -> Iterator[tuple[int, bytes, str]]:
    for status, body, word in ROW.findall(read(name)):
        yield int(status), body.encode(), word


def conclude(kind: EffectKind, status: int, body: bytes) -> str:
    """The page's word for what becomes of a call that was answered so."""
    attempt = conclude_answer(kind, Answer(status, body), judge_call(kind, status, body), {})
    return word_of(attempt)


def word_of(attempt: Attempt) -> str:
    match attempt:
        case Done():
            return "done"
        case Odd(final=final):
            return "parked" if final else "odd"
        case Held(down=down):
            return "breaker" if down else "held"
        case Blamed(final=final):
            return "dead" if final else "counted"
        case Uncertain():
            return "unknown"
        case Postponed():
            return "postponed"


@pytest.mark.requirement("R84", "R101", "R174")
@pytest.mark.parametrize("kind", sorted(EFFECTS))
def test_each_answer_is_what_the_page_says(kind: CommandKind) -> None:
    answers = [*list_answers(kind)]

    assert len(answers) >= 5
    assert {word for *_, word in answers} >= {"done", "unknown"}
    assert [conclude(EFFECTS[kind], status, body) for status, body, _ in answers] == [word for *_, word in answers]


ASKING: Final = {
    Verdict.ACCEPTED: "done",
    Verdict.ODD: "odd",
    Verdict.REFUSED: "dead",
    Verdict.TIMED_OUT: "held",
    Verdict.TROUBLE: "held",
}
"""What becomes of a file whose address was asked for: nothing has left yet."""


@pytest.mark.requirement("R126")
def test_each_answer_about_an_address_is_what_the_page_says() -> None:
    answers = [*list_answers(CommandKind.ATTACH)]

    judged = [ASKING[judge_upload_url(status, body)[0].verdict] for status, body, _ in answers]

    assert len(answers) >= 5
    assert judged == [word for *_, word in answers]


@pytest.mark.requirement("R221", "R223")
@pytest.mark.parametrize("kind", sorted(EFFECTS))
def test_what_is_said_of_all_calls_holds_for_each(kind: CommandKind) -> None:
    blind = REPEATS[EFFECTS[kind]] is not Repeat.IDEMPOTENT
    words = {
        "trouble": "unknown" if blind else "held",
        "refused": "counted" if kind is CommandKind.RETURN_NUMBER else "dead",
    }
    answers = [*list_answers("README")]

    assert len(answers) >= 10
    for status, body, word in answers:
        assert conclude(EFFECTS[kind], status, body) == words.get(word, word), body


def test_what_happens_when_the_answer_is_lost_is_as_the_table_says() -> None:
    rows = {kind: (word, done) for kind, word, done in LOST.findall(read("README"))}
    first, last = OutboxConfig().unknown_retry

    assert sorted(rows) == KINDS
    for kind, (word, done) in rows.items():
        repeat = REPEATS[EFFECTS[CommandKind(kind)]] if kind in EFFECTS else Repeat.BLIND
        assert word == REPEATED[repeat]
        assert f"{first:g}–{last:g} s" in done
        assert (f"parked after {bridge._MOST_UNKNOWN} times" in done) == (word != "is harmless")


@pytest.mark.requirement("R99", "R88")
def test_escaping_and_limits_are_as_the_page_says() -> None:
    page = read("README")
    (before, after), *_ = re.findall(r"`(\S+ \S+)` leaves as `(\S+ \S+)`", page)

    assert json.dumps(escape_text(before))[1:-1] == after
    for name, words in {
        "shortDescription": "short description ({} characters)",
        "description": "description, close notes or\ncomment ({})",
        "closeNotes": "description, close notes or\ncomment ({})",
        "comment": "with a decision ({})",
    }.items():
        assert words.format(f"{LIMITS[name]:,}") in page
