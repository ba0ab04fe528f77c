"""The performers: which call is made, and what each answer counts as."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import pytest

from ecproc.attachments.base import Failure, FetchFailed, OutOfRoom, Stored
from ecproc.bridge.base import Answer
from ecproc.desk.base import DeskAnswer, DeskCall, DeskHasNoRoom, DeskRefused, DeskUnavailable, StoredFile
from ecproc.domain.attempt import Attempt, Blamed, Deferred, Done, Held, Odd, Performer, Postponed, Uncertain
from ecproc.domain.deltas import Attachment, AttachmentChanged, ClientTicket, ClientTicketChanged
from ecproc.domain.effects import LANES, Effect, EffectKind, Lane, Repeat
from ecproc.domain.entry import Entry, EntryState
from ecproc.domain.events import Remark, TicketType
from ecproc.domain.ids import ClientNumber, EffectKey, TicketNumber, create_key
from ecproc.domain.log import Batch, NewEvent, Row
from ecproc.domain.state import TicketState
from ecproc.errors import BridgeUnavailable, StoreUnavailable
from ecproc.fold.rows import entry_row, ticket_rows
from ecproc.fold.tables import TABLES
from ecproc.outbox.perform import bridge as bridge_performer
from ecproc.outbox.perform import desk as module
from ecproc.outbox.perform.attachments import SEND_AGAIN_HINT, AttachmentPerformer
from ecproc.outbox.perform.bridge import BridgePerformer
from ecproc.outbox.perform.desk import DeskPerformer
from ecproc.outbox.perform.uploads import UploadPerformer
from ecproc.store.memory import MemoryStore
from ecproc.testing.ticket import file, incident
from ecproc.wire.queue import decode_message
from ecproc.wire.responses import Judgement, Verdict
from tests.simulation.clock import VirtualClock
from tests.simulation.scripted_bridge import Line, ScriptedBridge
from tests.simulation.simloop import simulated_backend
from tests.unit.test_outbox_uploads import Storage

TICKET = TicketNumber("e-CS1")


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return simulated_backend()


def make_entry(kind: EffectKind, state: EntryState = EntryState.AVAILABLE, **members: Any) -> Entry:
    result = members.pop("result", {})
    members = {"generation": 1, "position": 1, "at": 0, "ticket_type": "Incident", **members}
    return Entry(Effect(key=EffectKey(f"{kind}:k"), kind=kind, ticket=TICKET, **members), 1, state, result=result)


def only_reasons_differ(found: Attempt | Deferred, expected: Attempt) -> bool:
    return type(found) is type(expected) and msgspec.structs.replace(found, reason="") == msgspec.structs.replace(
        expected, reason=""
    )


# --- the desk ---------------------------------------------------------------------------------------------------------


T = TypeVar("T")


class Desk:
    """Answers as told, keeps the calls."""

    def __init__(self, repeat: Repeat = Repeat.KEYED, *, does: Any = None, knows: Any = None) -> None:
        self.repeat = repeat
        self.does = does or DeskAnswer("L-1", "open")
        self.knows = knows
        self.calls: list[tuple[str, DeskCall]] = []

    def repeat_of(self, kind: EffectKind) -> Repeat:
        return self.repeat

    def ends_after(self, kind: EffectKind) -> float:
        return 0.0

    async def perform(self, call: DeskCall) -> DeskAnswer:
        self.calls.append(("perform", call))
        return give(self.does, DeskAnswer)

    async def look_up(self, call: DeskCall) -> DeskAnswer | None:
        self.calls.append(("look_up", call))
        return None if self.knows is None else give(self.knows, DeskAnswer)

    async def aclose(self) -> None: ...

    @property
    def verbs(self) -> list[str]:
        return [verb for verb, _ in self.calls]


def give(what: Any, of: type[T]) -> T:
    """Raise it, or return it as what it is."""
    if isinstance(what, Exception):
        raise what
    assert isinstance(what, of)
    return what


NO_ANSWER = DeskUnavailable("no answer", sent=True)
NO_CONNECTION = DeskUnavailable("no connection", sent=False, retry_after=7.0)


async def perform(desk: Desk, entry: Entry, *, created: Mapping[str, str] | None = None) -> Attempt:
    """Perform an entry at a desk, beside a create of its generation that ended so."""
    store = MemoryStore(VirtualClock().now, TABLES)
    if created is not None:
        create = make_entry(EffectKind.CREATE, EntryState.COMPLETED, result=created)
        effect = msgspec.structs.replace(create.effect, key=create_key(TICKET, 1))
        await store.commit(Batch(rows=[entry_row(TICKET, msgspec.structs.replace(create, effect=effect))]))
    return await DeskPerformer(desk, store, directory=Path()).perform(TICKET, entry)


async def test_a_create_names_no_client_ticket_and_tells_the_new_one() -> None:
    desk = Desk()

    assert await perform(desk, make_entry(EffectKind.CREATE, fields={"priority": "1"})) == Done(
        {"number": "L-1", "state": "open"}
    )
    (call,) = [call for _, call in desk.calls]
    assert call == DeskCall(
        "create_client_ticket:k", "create_client_ticket", TICKET, "Incident", None, {"priority": "1"}
    )


async def test_a_desk_whose_file_has_no_room_is_asked_again_and_nobody_is_blamed() -> None:
    class Locked(Desk):
        async def perform(self, call: DeskCall) -> DeskAnswer:
            answer = await super().perform(call)
            if len(self.calls) < opens_at:
                raise DeskHasNoRoom("locked")
            return answer

    opens_at = 10
    assert isinstance(await perform(Locked(), make_entry(EffectKind.CREATE)), Done)
    opens_at = 1_000_000
    assert isinstance(await perform(desk := Locked(), make_entry(EffectKind.CREATE)), Held)
    assert len(desk.calls) < 100


async def test_a_later_call_finds_the_number_that_the_create_gave() -> None:
    desk = Desk()

    await perform(desk, make_entry(EffectKind.UPDATE), created={"number": "L-77"})

    assert desk.calls[0][1].number == "L-77"


async def test_numbers_seen_lately_are_not_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_REMEMBERED", 2)
    store, desk = MemoryStore(VirtualClock().now, TABLES), Desk()
    performer = DeskPerformer(desk, store, directory=Path())
    for ticket in ("e-1", "e-2", "e-3"):
        desk.does = DeskAnswer(f"L-{ticket}", "open")
        await performer.perform(ticket, make_entry(EffectKind.CREATE))

    told = [await performer.perform(ticket, make_entry(EffectKind.UPDATE)) for ticket in ("e-1", "e-2", "e-3")]

    assert [isinstance(attempt, Done) for attempt in told] == [False, True, True], "the oldest one is in the store only"
    assert [call.number for _, call in desk.calls[3:]] == ["L-e-2", "L-e-3"]


@pytest.mark.requirement("R213")
@pytest.mark.parametrize("seen_lately", [True, False])
async def test_what_follows_a_re_open_goes_to_the_ticket_that_its_create_made(seen_lately: bool) -> None:
    again = EffectKey(f"reopen:{TICKET}:m3")
    store, desk = MemoryStore(VirtualClock().now, TABLES), Desk()
    for key, number in ((create_key(TICKET, 1), "L-1"), (again, "L-2")):
        create = make_entry(EffectKind.CREATE, EntryState.COMPLETED, result={"number": number})
        create = msgspec.structs.replace(create, effect=msgspec.structs.replace(create.effect, key=key))
        await store.commit(Batch(rows=[entry_row(TICKET, create)]))
    performer = DeskPerformer(desk, store, directory=Path())
    if seen_lately:
        desk.does = DeskAnswer("L-2", "open")
        await performer.perform(TICKET, create)
        desk.calls.clear()

    await performer.perform(TICKET, make_entry(EffectKind.COMMENT, created_by=again))
    await performer.perform(TICKET, make_entry(EffectKind.COMMENT))

    assert [call.number for _, call in desk.calls] == ["L-2", "L-1"]


async def test_the_desk_s_own_name_for_a_record_goes_with_the_number() -> None:
    desk = Desk(does=DeskAnswer("L-1", "open", "7f", "https://x/7f"))

    told = await perform(desk, make_entry(EffectKind.UPDATE), created={"number": "L-77", "reference": "8a"})
    await perform(desk, make_entry(EffectKind.UPDATE, number="L-1", reference="9b"))

    assert told == Done({"number": "L-1", "state": "open", "reference": "7f", "url": "https://x/7f"})
    assert [call.reference for _, call in desk.calls] == ["8a", "9b"]


async def test_a_file_is_handed_over_from_where_it_is_stored(tmp_path: Path) -> None:
    fields = {"attachment": "a1", "name": "r.jpg", "type": "image/jpeg", "size": "3", "sha256": "ab", "path": "x/ab"}
    desk, store = Desk(), MemoryStore(VirtualClock().now, TABLES)
    performer = DeskPerformer(desk, store, directory=tmp_path)

    assert isinstance(await performer.perform(TICKET, make_entry(EffectKind.ATTACH, number="L-1", fields=fields)), Done)
    assert desk.calls[0][1].file == StoredFile("r.jpg", "image/jpeg", 3, "ab", tmp_path / "x/ab")


async def test_a_desk_that_wants_it_is_given_the_whole_record() -> None:
    store = MemoryStore(VirtualClock().now, TABLES)
    state = TicketState(TICKET)
    state.ticket, state.type, state.state = TICKET, TicketType.INCIDENT, "pending"
    state.record.fields = {"priority": "2"}
    await store.commit(Batch(rows=ticket_rows(state, [])))
    plain, asking = Desk(), Desk()

    await DeskPerformer(plain, store, directory=Path()).perform(TICKET, make_entry(EffectKind.UPDATE, number="L-1"))
    performer = DeskPerformer(asking, store, directory=Path(), with_record=True)
    await performer.perform(TICKET, make_entry(EffectKind.UPDATE, number="L-1"))

    assert [call.record for _, call in plain.calls + asking.calls] == [{}, {"priority": "2", "state": "pending"}]


async def test_what_the_desk_finds_odd_about_the_ticket_goes_with_whatever_came_of_the_call() -> None:
    remarks = (Remark("client_ticket_gone", "INC1"),)
    for does, of in [
        (DeskAnswer("L-1", "open", remarks=remarks), Done),
        (DeskUnavailable("x", sent=True, remarks=remarks), Uncertain),
        (DeskUnavailable("x", sent=False, down=True, hint="h", remarks=remarks), Held),
        (DeskRefused("x", final=True, hint="h", remarks=remarks), Blamed),
    ]:
        attempt = await perform(Desk(does=does), make_entry(EffectKind.UPDATE, number="L-1"))
        assert isinstance(attempt, Done | Uncertain | Held | Blamed)
        assert (type(attempt), attempt.remarks) == (of, remarks)


async def test_a_look_up_that_is_refused_for_good_ends_it_for_a_person() -> None:
    remarks = (Remark("client_ticket_gone", "INC1"),)
    desk = Desk(Repeat.LOOK_UP, knows=DeskRefused("gone", final=True, hint="h", remarks=remarks))

    attempt = await perform(desk, make_entry(EffectKind.COMMENT, EntryState.UNKNOWN, number="INC1"))

    assert attempt == Blamed("gone", final=True, hint="h", remarks=remarks)
    assert desk.verbs == ["look_up"]


async def test_an_adopted_tickets_number_is_known_from_the_start() -> None:
    desk = Desk()

    await perform(desk, make_entry(EffectKind.COMMENT, number="OURS-5"), created={"number": "L-77"})

    assert desk.calls[0][1].number == "OURS-5"


@pytest.mark.parametrize("created", [None, {}])
async def test_without_a_client_ticket_nothing_is_called(created: Mapping[str, str] | None) -> None:
    desk = Desk()

    attempt = await perform(desk, make_entry(EffectKind.UPDATE), created=created)

    assert only_reasons_differ(attempt, Blamed("", final=True))
    assert desk.calls == []


async def test_another_generations_number_is_not_taken() -> None:
    desk = Desk()

    attempt = await perform(desk, make_entry(EffectKind.UPDATE, generation=2), created={"number": "L-77"})

    assert only_reasons_differ(attempt, Blamed("", final=True))


@pytest.mark.parametrize("repeat", Repeat)
@pytest.mark.parametrize(
    ("does", "expected"),
    [
        (NO_ANSWER, Uncertain("no answer")),
        (NO_CONNECTION, Held("no connection", 7.0)),
        (DeskRefused("unknown field"), Blamed("unknown field")),
    ],
)
async def test_troubles_at_the_desk_are_told_apart(repeat: Repeat, does: Exception, expected: Attempt) -> None:
    assert await perform(Desk(repeat, does=does), make_entry(EffectKind.CREATE)) == expected


@pytest.mark.requirement("I4")
async def test_a_look_up_desk_is_asked_before_an_unknown_call_is_repeated() -> None:
    desk = Desk(Repeat.LOOK_UP, knows=DeskAnswer("L-9", "open"))

    attempt = await perform(desk, make_entry(EffectKind.CREATE, EntryState.UNKNOWN))

    assert attempt == Done({"number": "L-9", "state": "open"})
    assert desk.verbs == ["look_up"]


@pytest.mark.requirement("I4")
async def test_what_a_look_up_desk_does_not_know_is_done_again() -> None:
    desk = Desk(Repeat.LOOK_UP)

    assert await perform(desk, make_entry(EffectKind.CREATE, EntryState.UNKNOWN)) == Done(
        {"number": "L-1", "state": "open"}
    )
    assert desk.verbs == ["look_up", "perform"]


@pytest.mark.requirement("I4")
@pytest.mark.parametrize("trouble", [NO_ANSWER, NO_CONNECTION, DeskRefused("not now")])
async def test_a_look_up_that_fails_leaves_it_unknown(trouble: Exception) -> None:
    desk = Desk(Repeat.LOOK_UP, knows=trouble)

    attempt = await perform(desk, make_entry(EffectKind.CREATE, EntryState.UNKNOWN))

    assert isinstance(attempt, Uncertain)
    assert desk.verbs == ["look_up"]


@pytest.mark.parametrize(
    ("repeat", "state"),
    [
        (Repeat.IDEMPOTENT, EntryState.UNKNOWN),
        (Repeat.KEYED, EntryState.UNKNOWN),
        (Repeat.BLIND, EntryState.UNKNOWN),
        (Repeat.LOOK_UP, EntryState.AVAILABLE),
        (Repeat.LOOK_UP, EntryState.RETRYABLE),
    ],
)
async def test_otherwise_nothing_is_looked_up(repeat: Repeat, state: EntryState) -> None:
    desk = Desk(repeat)

    await perform(desk, make_entry(EffectKind.CREATE, state))

    assert desk.verbs == ["perform"]


@pytest.mark.requirement("I4")
@pytest.mark.parametrize("repeat", [Repeat.KEYED, Repeat.LOOK_UP, Repeat.BLIND])
def test_what_is_not_answered_as_the_first_time_leaves_an_intent(repeat: Repeat) -> None:
    store = MemoryStore(VirtualClock().now, TABLES)
    performers: list[Performer] = [
        DeskPerformer(Desk(repeat), store, directory=Path()),
        BridgePerformer(ScriptedBridge(), store, client_name="testClient"),
        AttachmentPerformer(Fetcher(), store, clock=VirtualClock()),
        UploadPerformer(ScriptedBridge(), Storage()),
    ]

    left = {kind: performer.repeat_of(kind).leaves_intent for performer in performers for kind in performer.kinds}

    asks = {EffectKind.CREATE_TICKET, EffectKind.ADD_COMMENTS, EffectKind.UPLOAD}
    assert left == {
        kind: kind in asks or (LANES[kind] is Lane.DESK and repeat is not Repeat.KEYED) for kind in EffectKind
    }


# --- the bridge -------------------------------------------------------------------------------------------------------


NUMBER = ClientNumber("LOCAL-0000001")


async def send(line: Line, *, tries: int = 0, shown: bool | None = None, **members: Any) -> tuple[Attempt, list[str]]:
    """Return a number, beside a client ticket that has it returned or not, with `shown` None beside none."""
    bridge, store = ScriptedBridge(), MemoryStore(VirtualClock().now, TABLES)
    bridge.sends.append(line)
    if shown is not None:
        state = TicketState(TICKET)
        changed = ClientTicketChanged(ClientTicket(NUMBER, 1, returned=shown, state="open"))
        await store.commit(Batch(rows=ticket_rows(state, [changed])))
    entry = make_entry(EffectKind.RETURN_NUMBER, number=NUMBER, **members)
    entry = msgspec.structs.replace(entry, tries=tries)
    attempt = await BridgePerformer(bridge, store, client_name="testClient").perform(TICKET, entry)
    return without_call(attempt), [call.what for call in bridge.calls]


def without_call(attempt: Attempt) -> Attempt:
    """The attempt without what was asked of whom, which has tests of its own."""
    if isinstance(attempt, Done):
        kept = {name: told for name, told in attempt.result.items() if name not in ("method", "path", "status")}
        return msgspec.structs.replace(attempt, result=kept)
    return msgspec.structs.replace(attempt, call={})


@pytest.mark.requirement("R119")
async def test_our_number_goes_to_its_ticket() -> None:
    attempt, calls = await send(Answer(200, b'{"Response": "PTN added"}'))

    assert attempt == Done({"answer": "PTN added"})
    assert calls == ["PUT /tickets/e-CS1/returnptn"]


@pytest.mark.requirement("R223", "R217")
@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (Answer(200, b'{"Response": "Whatever this says"}', request_id="r"), Odd("Whatever this says", "r")),
        (Answer(200, b'{"Response": "PTN added"}', request_id="r"), Done({"answer": "PTN added"}, "r")),
        (Answer(403, b'{"message": "Forbidden"}', request_id="r"), Held("Forbidden", down=True, request_id="r")),
        (Answer(503, b"", request_id="r"), Held("HTTP 503", request_id="r")),
        (Answer(422, b'{"Response": ["no"]}', request_id="r"), Blamed("no", request_id="r")),
        (Answer(200, b'{"Response": "Bad Path"}'), Held("Bad Path", None, down=True)),
        (Answer(403, b'{"message": "Forbidden"}', 5.0), Held("Forbidden", 5.0, down=True)),
        (Answer(429, b'{"message": "Too Many Requests"}', 9.0), Held("HTTP 429 Too Many Requests", 9.0)),
        (Answer(502, b"<html>"), Held("HTTP 502")),
        (Answer(400, b'{"Response": ["no such group"]}'), Blamed("no such group")),
        (
            Answer(200, b'{"Response": "APIKey not authorized for ticket company"}'),
            Blamed("APIKey not authorized for ticket company"),
        ),
        (BridgeUnavailable("timeout", sent=True), Uncertain("the bridge is unavailable (timeout)")),
        (BridgeUnavailable("connect", sent=False), Held("the bridge is unavailable (connect)")),
    ],
)
async def test_what_the_bridge_says_decides(line: Line, expected: Attempt) -> None:
    attempt, _ = await send(line)
    if isinstance(attempt, Held | Blamed | Uncertain):
        attempt = msgspec.structs.replace(attempt, hint="")  # what can be done is told by the judge, and tested there

    assert attempt == expected


@pytest.mark.parametrize("sent", [True, False])
async def test_a_number_that_the_network_lost_says_where_to_look(sent: bool) -> None:
    attempt, _ = await send(BridgeUnavailable("tls", "h:443: certificate verify failed", sent=sent))
    assert isinstance(attempt, Uncertain if sent else Held)
    assert "bridge.ca_file" in attempt.hint


@pytest.mark.requirement("R204", "R223")
@pytest.mark.parametrize(
    ("verdict", "expected"),
    [
        (Verdict.TIMED_OUT, Uncertain("text", "hint", "r")),
        (Verdict.MISCONFIGURED, Held("text", 4.0, down=True, hint="hint", request_id="r")),
        (Verdict.TROUBLE, Held("text", 4.0, hint="hint", request_id="r")),
        (Verdict.REFUSED, Blamed("text", hint="hint", request_id="r")),
        (Verdict.INVALID, Blamed("text", hint="hint", request_id="r")),
        (Verdict.EXPIRED, Blamed("text", hint="hint", request_id="r")),
    ],
)
async def test_each_verdict_has_its_attempt(
    monkeypatch: pytest.MonkeyPatch, verdict: Verdict, expected: Attempt
) -> None:
    monkeypatch.setattr(bridge_performer, "judge_call", lambda *_: Judgement(verdict, "text", "hint"))

    assert (await send(Answer(200, b"", 4.0, request_id="r")))[0] == expected


@pytest.mark.requirement("R120")
@pytest.mark.parametrize(
    ("tries", "shown", "rearm", "asks"),
    [
        (1, True, False, False),
        (7, True, False, False),
        (0, True, False, True),  # nothing was sent yet, so nothing can have been shown
        (1, False, False, True),
        (1, None, False, True),
        (1, True, True, True),  # Ensono lost it: that it was shown once says nothing
    ],
)
async def test_a_number_that_a_message_has_shown_meanwhile_is_not_sent_again(
    tries: int, shown: bool | None, rearm: bool, asks: bool
) -> None:
    attempt, calls = await send(Answer(503, b""), tries=tries, shown=shown, rearm=rearm)

    assert attempt == (Held("HTTP 503") if asks else Done({"answer": "shown by a message"}))
    assert bool(calls) == asks


# --- downloads --------------------------------------------------------------------------------------------------------

STORED = Stored("ab" * 32, 138092, "attachments/ab/" + "ab" * 32)


class Fetcher:
    """Fetches as told, keeps what was asked for."""

    def __init__(self, outcome: Stored | Exception = STORED) -> None:
        self.outcome = outcome
        self.asked: list[tuple[str, int | None]] = []

    async def fetch(self, url: str, *, announced_size: int | None) -> Stored:
        self.asked.append((url, announced_size))
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome

    async def aclose(self) -> None: ...


async def download(
    fetcher: Fetcher,
    *,
    announced: bool = True,
    overdue: float = -1,
    rows: Sequence[Row] = (),
    **members: Any,
) -> Attempt | Deferred:
    clock = VirtualClock()
    store = MemoryStore(clock.now, TABLES)
    body = file("f1") if announced else {}
    message = decode_message(msgspec.json.encode({"MessageId": "m1", **incident("Attachment", **body)}))
    event = NewEvent(TICKET, "MessageReceived", message.payload, message_key=message.key)
    await store.commit(Batch(events=[event], rows=rows))
    deadline = clock.now() - int(overdue * 1_000_000)
    entry = make_entry(EffectKind.DOWNLOAD, deadline=deadline, **members)
    return await AttachmentPerformer(fetcher, store, clock=clock).perform(TICKET, entry)


async def test_a_file_is_fetched_from_the_address_in_its_message() -> None:
    fetcher = Fetcher()

    attempt = await download(fetcher, fields={"attachment": "f1", "size": "138092"})

    assert attempt == Done({"sha256": STORED.sha256, "size": "138092", "path": STORED.path})
    ((url, size),) = fetcher.asked
    assert url.startswith("https://b.s3.us-west-1.amazonaws.com/rocket.jpg?")
    assert size == 138092


async def test_a_file_of_no_announced_size_is_fetched_too() -> None:
    fetcher = Fetcher()

    await download(fetcher, fields={"attachment": "f1"})

    assert fetcher.asked[0][1] is None


async def test_a_file_that_finds_no_room_is_deferred_and_nobody_is_blamed() -> None:
    attempt = await download(Fetcher(OutOfRoom()))

    assert isinstance(attempt, Deferred)
    assert attempt.hint


@pytest.mark.parametrize("members", [{"position": 99}, {}])
async def test_without_an_address_there_is_nothing_to_try_again(members: dict[str, Any]) -> None:
    attempt = await download(Fetcher(), announced=False, **members)

    assert only_reasons_differ(attempt, Blamed("", final=True))


@pytest.mark.requirement("R138")
@pytest.mark.parametrize(
    ("failure", "overdue", "expected"),
    [
        (
            FetchFailed("tls", Failure.HELD, retry_after=4.0, request_id="r"),
            -1,
            Held("tls", 4.0, request_id="r"),
        ),
        (FetchFailed("clock skew", Failure.HELD, hint="h"), -1, Held("clock skew", hint="h")),
        (FetchFailed("tls", Failure.HELD), 1, Held("tls")),
        (FetchFailed("HTTP 404", Failure.COUNTED, request_id="r"), -1, Blamed("HTTP 404", request_id="r")),
        (FetchFailed("HTTP 404", Failure.COUNTED), 1, Blamed("expired: HTTP 404", lost=True, hint=SEND_AGAIN_HINT)),
        (FetchFailed("url_userinfo", Failure.REFUSED), -1, Blamed("url_userinfo", final=True)),
        (
            FetchFailed("url_userinfo", Failure.REFUSED),
            1,
            Blamed("expired: url_userinfo", lost=True, hint=SEND_AGAIN_HINT),
        ),
        (
            FetchFailed("HTTP 403", Failure.EXPIRED, request_id="r"),
            -1,
            Blamed("expired: HTTP 403", lost=True, hint=SEND_AGAIN_HINT, request_id="r"),
        ),
        (
            FetchFailed("HTTP 403", Failure.EXPIRED),
            1,
            Blamed("expired: HTTP 403", lost=True, hint=SEND_AGAIN_HINT),
        ),
        (FetchFailed("host x", Failure.CONFIGURATION, hint="add x"), -1, Postponed("host x", hint="add x")),
        (
            FetchFailed("host x", Failure.CONFIGURATION, hint="add x"),
            1,
            Blamed("expired: host x", lost=True, hint=f"add x; then {SEND_AGAIN_HINT}"),
        ),
    ],
)
async def test_past_its_expiry_a_file_is_tried_once_and_before_it_nothing_of_ours_loses_it(
    failure: FetchFailed, overdue: float, expected: Attempt
) -> None:
    assert await download(Fetcher(failure), overdue=overdue) == expected


@pytest.mark.parametrize(("status", "asks"), [("stored", False), ("pending", True), ("failed", True), (None, True)])
@pytest.mark.parametrize("rearm", [True, False])
async def test_what_a_former_announcement_gave_meanwhile_is_not_fetched_again(
    status: str | None, asks: bool, rearm: bool
) -> None:
    fetcher = Fetcher()
    known = Attachment("f1", "a", "b", 7, status or "", 1, sha256="cd", path="attachments/cd/cd")
    rows = ticket_rows(TicketState(TICKET), [AttachmentChanged(known)]) if status else []

    attempt = await download(fetcher, fields={"attachment": "f1"}, rearm=rearm, rows=rows)

    assert isinstance(attempt, Done)
    assert bool(fetcher.asked) == (asks or not rearm)
    assert (attempt.result["sha256"] == "cd") == (not fetcher.asked)


async def test_a_disk_that_fails_is_no_attempt() -> None:
    with pytest.raises(StoreUnavailable):
        await download(Fetcher(StoreUnavailable("I/O error")))


@pytest.mark.parametrize("failure", Failure)
async def test_no_reason_names_the_address(failure: Failure) -> None:
    for overdue in (-1, 1):
        attempt: Any = await download(Fetcher(FetchFailed("x", failure)), overdue=overdue)
        assert "X-Amz" not in attempt.reason
        assert "http" not in attempt.reason
