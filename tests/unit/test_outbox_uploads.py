"""Files to Ensono as the outbox sends them: an address just in time, used once, and what each answer counts as."""

from __future__ import annotations

import json
from collections import deque
from typing import Any, Final

import msgspec
import pytest

from ecproc.attachments.base import Failure, Outgoing, Uploaded, UploadFailed
from ecproc.bridge.base import Answer
from ecproc.domain.attempt import Attempt, Blamed, Done, Held, Odd, Postponed, Uncertain
from ecproc.domain.effects import Effect, EffectKind
from ecproc.domain.entry import Entry, EntryState
from ecproc.domain.ids import EffectKey, TicketNumber
from ecproc.errors import BridgeUnavailable
from ecproc.outbox.perform.uploads import UploadPerformer
from tests.simulation.scripted_bridge import Line, ScriptedBridge
from tests.simulation.simloop import simulated_backend

HOST: Final = "https://bucket.s3.us-east-2.amazonaws.com"
ASKED: Final = {"method": "GET", "path": "/tickets/e-CS1/attachments/test1.pdf"}
PUT: Final = {"method": "PUT", "path": f"{HOST}/1.pdf"}


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return simulated_backend()


class Storage:
    """An uploader that answers as told and keeps what it was given."""

    def __init__(self, *outcomes: Uploaded | UploadFailed, unfit: UploadFailed | None = None) -> None:
        self.outcomes = deque(outcomes)
        self.unfit = unfit
        self.puts: list[tuple[Outgoing, str]] = []

    async def examine(self, file: Outgoing) -> None:
        if self.unfit is not None:
            raise self.unfit

    async def upload(self, file: Outgoing, url: str) -> Uploaded:
        self.puts.append((file, url))
        outcome = self.outcomes.popleft() if self.outcomes else Uploaded(200, "s3-1")
        if isinstance(outcome, UploadFailed):
            raise outcome
        return outcome

    async def aclose(self) -> None: ...


def give_url(name: str) -> Answer:
    response = {"code": 200, "body": f"{HOST}/{name}?X-Amz-Signature=canary"}
    return Answer(200, json.dumps({"Response": response}).encode(), request_id="r-1")


async def perform(storage: Storage, *lines: Line, **fields: str) -> tuple[Attempt, ScriptedBridge]:
    bridge = ScriptedBridge()
    bridge.sends.extend(lines or [give_url("1.pdf"), give_url("2.pdf"), give_url("3.pdf")])
    effect = Effect(
        key=EffectKey("k"),
        kind=EffectKind.UPLOAD,
        generation=1,
        position=1,
        at=0,
        ticket=TicketNumber("e-CS1"),
        ticket_type="Incident",
        fields={"name": "test1.pdf", "sha256": "ab" * 32, "size": "7", "type": "application/pdf", **fields},
    )
    return await UploadPerformer(bridge, storage).perform("e-CS1", Entry(effect, 1)), bridge


@pytest.mark.requirement("R126", "R128", "R202")
async def test_a_file_is_put_where_the_bridge_says() -> None:
    storage = Storage()

    attempt, bridge = await perform(storage)

    assert attempt == Done({"answer": "HTTP 200", **PUT, "status": "200"}, "s3-1")
    assert [call.what for call in bridge.calls] == ["GET /tickets/e-CS1/attachments/test1.pdf"]
    assert storage.puts == [
        (Outgoing("ab" * 32, 7, "test1.pdf", "application/pdf"), f"{HOST}/1.pdf?X-Amz-Signature=canary")
    ]


@pytest.mark.requirement("R135", "R132")
async def test_base64_says_so_in_the_name_that_is_asked_for() -> None:
    storage = Storage()

    _, bridge = await perform(storage, name="Über  blick (1).docx", base64="true")

    assert [call.what for call in bridge.calls] == ["GET /tickets/e-CS1/attachments/ber-blick-1.docx.base64"]
    assert storage.puts[0][0].base64


@pytest.mark.requirement("R128")
@pytest.mark.parametrize(
    ("told", "sent"), [("text/csv", "text/csv"), ("", "application/pdf"), ("a/b\r\nx-evil: 1", "application/pdf")]
)
async def test_a_type_that_no_header_can_carry_gives_way_to_what_the_name_says(told: str, sent: str) -> None:
    storage = Storage()

    await perform(storage, type=told)

    assert storage.puts[0][0].type == sent


@pytest.mark.requirement("R133")
@pytest.mark.parametrize("name", ["setup.exe", "SETUP.EXE", "setup.exe.base64", "setup.exe. ", "x.pdf.base64"])
async def test_a_forbidden_name_is_refused_before_anybody_is_asked(name: str) -> None:
    storage = Storage()

    attempt, bridge = await perform(storage, name=name)

    assert isinstance(attempt, Blamed)
    assert attempt.final
    assert (bridge.calls, storage.puts) == ([], [])


@pytest.mark.requirement("R134")
async def test_content_that_would_not_be_taken_asks_for_no_address() -> None:
    unfit = UploadFailed("a.csv: its content is zip, not csv", Failure.REFUSED, hint="pack it")

    attempt, bridge = await perform(Storage(unfit=unfit))

    assert attempt == Blamed("a.csv: its content is zip, not csv", final=True, hint="pack it")
    assert bridge.calls == []


@pytest.mark.requirement("R130", "R131")
async def test_an_expired_address_is_replaced_and_none_is_used_twice() -> None:
    over = UploadFailed("HTTP 403 AccessDenied: Request has expired", Failure.EXPIRED, status=403)
    storage = Storage(over)

    attempt, _ = await perform(storage)

    assert isinstance(attempt, Done)
    assert [url.partition("?")[0] for _, url in storage.puts] == [f"{HOST}/1.pdf", f"{HOST}/2.pdf"]


@pytest.mark.requirement("R130")
async def test_addresses_that_expire_again_and_again_are_not_asked_for_without_end() -> None:
    over = UploadFailed("HTTP 403 AccessDenied: Request has expired", Failure.EXPIRED, status=403)
    storage = Storage(over, over, over)

    attempt, bridge = await perform(storage)

    assert isinstance(attempt, Held)
    assert not attempt.down
    assert len(storage.puts) == len(bridge.calls) == 2


@pytest.mark.requirement("R131", "I4")
@pytest.mark.parametrize(
    ("failed", "expected"),
    [
        (UploadFailed("reset", Failure.HELD, uncertain=True), Uncertain("reset", call=PUT)),
        (
            UploadFailed("HTTP 500", Failure.HELD, uncertain=True, status=500, request_id="s"),
            Uncertain("HTTP 500", request_id="s", call={**PUT, "status": "500"}),
        ),
        (UploadFailed("no connection", Failure.HELD), Held("no connection", call=PUT)),
        (
            UploadFailed("HTTP 503", Failure.HELD, status=503, retry_after=9.0),
            Held("HTTP 503", 9.0, call={**PUT, "status": "503"}),
        ),
        (UploadFailed("host x", Failure.CONFIGURATION, hint="add x"), Postponed("host x", hint="add x", call=PUT)),
        (
            UploadFailed("HTTP 403", Failure.COUNTED, status=403),
            Blamed("HTTP 403", call={**PUT, "status": "403"}),
        ),
    ],
)
async def test_what_became_of_the_put_decides(failed: UploadFailed, expected: Attempt) -> None:
    storage = Storage(failed)

    attempt, _ = await perform(storage)

    assert attempt == expected
    assert len(storage.puts) == 1
    assert "canary" not in repr(attempt)


@pytest.mark.requirement("R126", "R223")
@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (BridgeUnavailable("timeout", sent=True), Held("the bridge is unavailable (timeout)", call=ASKED)),
        (BridgeUnavailable("connect", sent=False), Held("the bridge is unavailable (connect)", call=ASKED)),
        (Answer(504, b""), Held("HTTP 504", call={**ASKED, "status": "504"})),
        (Answer(429, b"", 5.0), Held("HTTP 429", 5.0, call={**ASKED, "status": "429"})),
        (
            Answer(200, b'{"Response":"Thank you"}', request_id="r"),
            Odd("Thank you", "r", call={**ASKED, "status": "200"}),
        ),
        (
            Answer(400, b'{"Response":["no such ticket"]}'),
            Blamed("no such ticket", final=True, call={**ASKED, "status": "400"}),
        ),
        (
            Answer(403, b'{"message":"Forbidden"}'),
            Held("Forbidden", down=True, call={**ASKED, "status": "403"}),
        ),
    ],
)
async def test_without_an_address_nothing_was_sent_and_nothing_is_unknown(line: Line, expected: Attempt) -> None:
    storage = Storage()

    attempt, _ = await perform(storage, line)

    assert not isinstance(attempt, Done)
    assert without_hint(attempt) == expected
    assert storage.puts == []


def without_hint(attempt: Attempt) -> Attempt:
    """The attempt without what the judge advises, which is tested there."""
    return attempt if isinstance(attempt, Done | Odd) else msgspec.structs.replace(attempt, hint="")


@pytest.mark.requirement("I4")
async def test_a_file_that_is_unknown_again_and_again_waits_for_a_person() -> None:
    storage, bridge = Storage(), ScriptedBridge(give_url("1.pdf"))
    effect = Effect(
        key=EffectKey("k"),
        kind=EffectKind.UPLOAD,
        generation=1,
        position=1,
        at=0,
        ticket=TicketNumber("e-CS1"),
        ticket_type="Incident",
        fields={"name": "a.pdf"},
    )
    entry = Entry(effect, 1, EntryState.UNKNOWN, attempts=10, tries=10, reason="no answer")

    attempt = await UploadPerformer(bridge, storage).perform("e-CS1", entry)

    assert isinstance(attempt, Blamed)
    assert attempt.final
    assert (bridge.calls, storage.puts) == ([], [])
