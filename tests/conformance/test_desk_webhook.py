"""The webhook desk on real HTTP: the shared suite, lost answers by class, rotation, and the probe."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Literal

import msgspec
import pytest

from ecproc.clock import SystemClock
from ecproc.config import DeskWebhookConfig, Secret
from ecproc.desk.base import DeskAnswer, DeskRefused, DeskUnavailable, StoredFile
from ecproc.desk.webhook.desk import WebhookDesk
from ecproc.desk.webhook.probe import check
from ecproc.desk.webhook.wire import make_id
from ecproc.simulator.webhook.receiver import Receiver, ServedReceiver, run_receiver
from ecproc.simulator.webhook.settings import ReceiverConfig, ReceiverFault, ReceiverFaults
from ecproc.testing.desk import DeskTests, make_call, plain
from ecproc.webhooks import open_file, read_key

CANARY = "whsec_Y2FuYXJ5IGNhbmFyeSBjYW5hcnkgY2FuYXJ5IQ=="
SECRETS = ReceiverConfig().secrets
Class = Literal["keyed", "look-up", "blind"]


def open_desk(
    served: ServedReceiver, *, repeat: Class = "keyed", secrets: tuple[str, ...] = SECRETS, seconds: float = 5.0
) -> WebhookDesk:
    config = DeskWebhookConfig(url=served.url, lookup_url=served.url, repeat=repeat, timeout=seconds)
    return WebhookDesk(
        config,
        secrets=lambda: [Secret(one) for one in secrets],
        clock=SystemClock(),
        public_url="https://hooks.example.com/",
    )


@asynccontextmanager
async def between(
    *, repeat: Class = "keyed", keyed: bool = True, seconds: float = 5.0
) -> AsyncIterator[tuple[WebhookDesk, Receiver]]:
    """A desk and the receiver that it posts to."""
    config = ReceiverConfig(keyed=keyed, faults=ReceiverFaults(slow_seconds=60.0))
    async with run_receiver(config) as served:
        desk = open_desk(served, repeat=repeat, seconds=seconds)
        try:
            yield desk, served.receiver
        finally:
            await desk.aclose()


class TestWebhookDesk(DeskTests):
    @pytest.fixture(autouse=True)
    async def receiver(self) -> AsyncIterator[None]:
        async with run_receiver(ReceiverConfig()) as self.served:
            yield

    async def open_desk(self, directory: Path) -> WebhookDesk:
        return open_desk(self.served)


@pytest.mark.requirement("I4")
@pytest.mark.parametrize("fault", [ReceiverFault.LOST, ReceiverFault.SLOW, ReceiverFault.ERROR])
async def test_a_lost_answer_of_a_keyed_receiver_is_asked_for_again(fault: ReceiverFault) -> None:
    async with between(seconds=0.5) as (desk, receiver):
        receiver.order(fault)
        with pytest.raises(DeskUnavailable) as held:
            await desk.perform(make_call("create"))
        assert not held.value.sent
        assert plain(await desk.perform(make_call("create"))) == DeskAnswer("WH0000001", "open")
        assert receiver.books.times == {"create": 1}


@pytest.mark.requirement("I4")
async def test_a_lost_answer_of_another_is_looked_up() -> None:
    async with between(repeat="look-up", keyed=False) as (desk, receiver):
        receiver.order(ReceiverFault.LOST)
        with pytest.raises(DeskUnavailable) as unknown:
            await desk.perform(make_call("create"))
        assert unknown.value.sent
        found = await desk.look_up(make_call("create"))
        assert found is not None
        assert plain(found) == DeskAnswer("WH0000001", "open")
        assert await desk.look_up(make_call("other")) is None
        assert receiver.books.times == {"create": 1}


async def test_a_receiver_without_keys_doubles_what_is_repeated() -> None:
    """The negative control of both: the ledger sees it."""
    async with between(keyed=False) as (desk, receiver):
        receiver.order(ReceiverFault.LOST)
        with pytest.raises(DeskUnavailable):
            await desk.perform(make_call("create"))
        await desk.perform(make_call("create"))
        assert receiver.books.doubled == ["create"]


async def test_a_pending_create_is_unknown_and_numbered_later() -> None:
    async with between() as (desk, receiver):
        receiver.order(ReceiverFault.PENDING)
        with pytest.raises(DeskUnavailable, match="pending") as unknown:
            await desk.perform(make_call("create"))
        assert unknown.value.sent
        assert (await desk.perform(make_call("create"))).number == "WH0000001"
        assert receiver.books.times == {"create": 1}


@pytest.mark.parametrize(("fault", "down"), [(ReceiverFault.GONE, True), (ReceiverFault.THROTTLE, False)])
async def test_a_receiver_that_does_nothing_holds_the_call(fault: ReceiverFault, down: bool) -> None:
    async with between() as (desk, receiver):
        receiver.order(fault)
        with pytest.raises(DeskUnavailable) as held:
            await desk.perform(make_call("create"))
        assert (held.value.down, held.value.sent) == (down, False)
        assert held.value.retry_after == (1.0 if fault is ReceiverFault.THROTTLE else None)
        assert receiver.books.applied == []


async def test_a_page_for_people_is_no_number() -> None:
    async with between() as (desk, receiver):
        receiver.order(ReceiverFault.HTML)
        with pytest.raises(DeskRefused, match="no number"):
            await desk.perform(make_call("create"))


async def test_nobody_there_is_nothing_sent() -> None:
    async with run_receiver(ReceiverConfig()) as served:
        desk = open_desk(served, repeat="blind")
    with pytest.raises(DeskUnavailable) as held:
        await desk.perform(make_call("create"))
    assert not held.value.sent
    await desk.aclose()


async def test_each_attempt_has_one_id_one_body_and_a_signature_of_its_own_time() -> None:
    async with between() as (desk, receiver):
        receiver.order(ReceiverFault.ERROR)
        with pytest.raises(DeskUnavailable):
            await desk.perform(make_call("create"))
        await desk.perform(make_call("create"))
        first, second = receiver.requests
        assert first.headers["webhook-id"] == second.headers["webhook-id"] == make_id("create")
        assert first.body == second.body


async def test_secrets_may_change_on_either_side_first() -> None:
    old, new = SECRETS[0], CANARY
    async with run_receiver(ReceiverConfig()) as served:
        both = open_desk(served, secrets=(new, old))
        await both.perform(make_call("1"))
        served.receiver.secrets = (new,)
        await both.perform(make_call("2"))
        late = open_desk(served, secrets=(old,))
        with pytest.raises(DeskUnavailable) as held:
            await late.perform(make_call("3"))
        assert (held.value.down, held.value.sent) == (True, False)
        assert [len(request.headers["webhook-signature"].split(" ")) for request in served.receiver.requests] == [
            2,
            2,
            1,
        ]
        await both.aclose()
        await late.aclose()


async def test_a_file_is_told_with_an_address_that_opens_it(tmp_path: Path) -> None:
    async with between() as (desk, receiver):
        number = (await desk.perform(make_call("create"))).number
        (tmp_path / "a").write_bytes(b"abc")
        file = StoredFile("a.txt", "text/plain", 3, "cd" * 32, tmp_path / "a")
        call = make_call("attach", "attach_client_ticket", number=number)
        call = msgspec.structs.replace(call, file=file)
        await desk.perform(call)
        download = receiver.books.applied[-1].data["attachment"]["download"]
        base, _, token = download.rpartition("/")
        assert base == "https://hooks.example.com/hooks/files"
        now = SystemClock().now() / 1_000_000
        assert open_file([read_key(SECRETS[0])], token, now=now + 3_590) == "cd" * 32
        (tmp_path / "a").unlink()
        with pytest.raises(DeskRefused, match="is gone") as gone:
            await desk.perform(call)
        assert (gone.value.final, bool(gone.value.hint)) == (True, True)


@pytest.fixture
def heard(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    with caplog.at_level(logging.DEBUG):
        yield caplog


async def test_a_failure_tells_neither_secret_nor_query(heard: pytest.LogCaptureFixture) -> None:
    async with run_receiver(ReceiverConfig()) as served:
        config = DeskWebhookConfig(url=f"{served.url}?sig=canary-query", timeout=0.5)
        desk = WebhookDesk(config, secrets=lambda: [Secret(CANARY)], clock=SystemClock())
        refused = await fail(desk)
        served.receiver.secrets = (CANARY,)
        served.receiver.order(ReceiverFault.LOST)
        lost = await fail(desk)
    away = await fail(desk)
    await desk.aclose()
    for text in (*refused, *lost, *away, heard.text):
        assert CANARY not in text
        assert CANARY.removeprefix("whsec_") not in text
        assert "canary-query" not in text


async def fail(desk: WebhookDesk) -> list[str]:
    """Everything that an error and what led to it say."""
    with pytest.raises((DeskUnavailable, DeskRefused)) as failed:
        await desk.perform(make_call("create"))
    error: BaseException | None = failed.value
    said = [str(failed.getrepr(showlocals=False)), str(vars(failed.value))]
    while error is not None:
        said += [str(error), repr(error)]
        error = error.__cause__ or error.__context__
    return said


@pytest.mark.parametrize("repeat", ["keyed", "look-up", "blind"])
async def test_the_probe_of_an_honest_receiver_finds_nothing(repeat: Class) -> None:
    async with between(repeat=repeat, keyed=repeat == "keyed") as (desk, receiver):
        assert await check(desk, nonce="1", now=0) == ()
        assert receiver.books.applied == []
        posted = [request for request in receiver.requests if request.method == "POST"]
        assert len({request.headers["webhook-id"] for request in posted}) == 1


async def test_the_probe_finds_a_receiver_that_only_says_keyed() -> None:
    async with between(keyed=False) as (desk, _):
        (found,) = await check(desk, nonce="1", now=0)
        assert (found.check, found.severity) == ("class", "error")
        assert "desk.webhook.class" in found.fix


async def test_the_probe_finds_what_else_is_wrong() -> None:
    async with run_receiver(ReceiverConfig()) as served:
        stranger = open_desk(served, secrets=(CANARY,))
        (found,) = await check(stranger, nonce="1", now=0)
        assert (found.check, "401" in found.text) == ("probe", True)
        lost = WebhookDesk(
            DeskWebhookConfig(url=served.url, lookup_url=f"{served.url}/nowhere", repeat="look-up"),
            secrets=lambda: [Secret(SECRETS[0])],
            clock=SystemClock(),
        )
        assert await check(lost, nonce="1", now=0) == (), "the receiver says 404 in its own words"
    (found,) = await check(lost, nonce="1", now=0)
    assert found.check == "reach"
    await stranger.aclose()
    await lost.aclose()
