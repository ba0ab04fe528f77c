"""What every desk must do: subclass `DeskTests`, say how to open yours, and let pytest run it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from hashlib import sha256
from pathlib import Path

import anyio
import pytest

from ecproc.desk.base import DESK_KINDS, Desk, DeskAnswer, DeskCall, DeskRefused, DeskUnavailable, StoredFile
from ecproc.domain.effects import EffectKind, Repeat
from ecproc.testing.suite import Suite

_CREATE = "create_client_ticket"
_COMMENT = "comment_client_ticket"
_ATTACH = "attach_client_ticket"


def make_call(
    key: str,
    kind: str = _CREATE,
    *,
    number: str | None = None,
    ticket: str = "e-CS0879727",
    fields: Mapping[str, str] | None = None,
    reference: str = "",
    file: StoredFile | None = None,
) -> DeskCall:
    """A call for an incident."""
    return DeskCall(
        key=key,
        kind=kind,
        ticket=ticket,
        ticket_type="Incident",
        number=number,
        fields=fields or {},
        reference=reference,
        file=file,
    )


async def repeat(desk: Desk, call: DeskCall) -> DeskAnswer:
    """The answer to a call that may have been made before, as the outbox gets it: what has to be looked up is."""
    found = await desk.look_up(call) if desk.repeat_of(EffectKind(call.kind)) is Repeat.LOOK_UP else None
    return found or await desk.perform(call)


def plain(answer: DeskAnswer) -> DeskAnswer:
    """The number and the state, without what each desk tells in its own words."""
    return DeskAnswer(answer.number, answer.state)


class DeskTests(Suite, ABC):
    """The suite. A desk opened twice on one directory must be the same desk.

    A desk of another model of states says so in `reopened`, `reopenings` and `closed_behind_cancelled`; one behind a
    network lets `lose_answer` and `apply_late` do what their names say, and `count_made` tell what was made.
    """

    reopened = "open"
    """The state of a ticket that is re-opened by a call which names none."""
    reopenings: Sequence[str] = ("workinprogress", "open")
    """States that it may be re-opened in."""
    closed_behind_cancelled = "closed"
    """The state of a cancelled ticket that is closed."""

    @abstractmethod
    async def open_desk(self, directory: Path) -> Desk:
        """Give the desk whose data stand in that directory."""

    def lose_answer(self) -> None:
        """Let the next call that changes something be applied, and its answer be lost."""
        pytest.skip("this desk loses no answers")

    def apply_late(self) -> Callable[[], None]:
        """Let the next call be applied only when the function that is returned is called, and its answer be lost."""
        pytest.skip("this desk applies nothing late")

    def count_made(self, call: DeskCall, number: str) -> int:
        """How often the call was applied, to the ticket of that number where it is not a create."""
        pytest.skip("this desk keeps no books of its own")

    @asynccontextmanager
    async def desk_in(self, directory: Path) -> AsyncIterator[Desk]:
        """Have a desk open for a block."""
        desk = await self.open_desk(directory)
        try:
            yield desk
        finally:
            await desk.aclose()

    async def test_each_kind_says_why_a_repeat_is_harmless(self, tmp_path: Path) -> None:
        async with self.desk_in(tmp_path) as desk:
            assert all(isinstance(desk.repeat_of(kind), Repeat) for kind in DESK_KINDS)

    @pytest.mark.requirement("I4")
    async def test_same_key_is_applied_once_and_answered_alike(self, tmp_path: Path) -> None:
        async with self.desk_in(tmp_path) as desk:
            first = await desk.perform(make_call("create:e-CS1:g1"))
            again = await repeat(desk, make_call("create:e-CS1:g1"))
            other = await desk.perform(make_call("create:e-CS2:g1", ticket="e-CS2"))
        assert (plain(first), first.reference) == (plain(again), again.reference)
        assert first.number != other.number

    @pytest.mark.requirement("I4")
    async def test_same_key_at_the_same_time_is_applied_once(self, tmp_path: Path) -> None:
        answers: list[DeskAnswer] = []
        async with self.desk_in(tmp_path) as desk:
            if desk.repeat_of(EffectKind.CREATE) is not Repeat.KEYED:
                pytest.skip("whoever calls this desk looks up first")

            async def perform() -> None:
                answers.append(await desk.perform(make_call("create:e-CS1:g1")))

            async with anyio.create_task_group() as tasks:
                for _ in range(10):
                    tasks.start_soon(perform)
        assert len(answers) == 10
        assert len({answer.number for answer in answers}) == 1

    async def test_numbers_are_unique_when_many_create_at_once(self, tmp_path: Path) -> None:
        answers: list[DeskAnswer] = []
        async with self.desk_in(tmp_path) as desk:

            async def create(index: int) -> None:
                answers.append(await desk.perform(make_call(f"create:e-CS{index}:g1", ticket=f"e-CS{index}")))

            async with anyio.create_task_group() as tasks:
                for index in range(50):
                    tasks.start_soon(create, index)
        assert len({answer.number for answer in answers}) == 50

    async def test_state_follows_the_kind(self, tmp_path: Path) -> None:
        async with self.desk_in(tmp_path) as desk:
            number = (await desk.perform(make_call("create"))).number
            steps = {
                "comment_client_ticket": "open",
                "resolve_client_ticket": "resolved",
                "reopen_client_ticket": self.reopened,
                "cancel_client_ticket": "cancelled",
                "close_client_ticket": self.closed_behind_cancelled,
            }
            for kind, state in steps.items():
                answer = await desk.perform(make_call(kind, kind, number=number))
                assert plain(answer) == DeskAnswer(number, state)

    async def test_state_follows_the_fields_of_an_update(self, tmp_path: Path) -> None:
        async with self.desk_in(tmp_path) as desk:
            number = (await desk.perform(make_call("create"))).number
            for key, fields, state in [
                ("1", {"priority": "2"}, "open"),
                ("2", {"status": "pending"}, "pending"),
                ("3", {"priority": "1", "state": "workinprogress"}, "workinprogress"),
            ]:
                answer = await desk.perform(make_call(key, "update_client_ticket", number=number, fields=fields))
                assert plain(answer) == DeskAnswer(number, state)

    async def test_a_ticket_is_opened_and_reopened_in_the_state_the_fields_name(self, tmp_path: Path) -> None:
        async with self.desk_in(tmp_path) as desk:
            created = await desk.perform(make_call("create", fields={"state": "pending"}))
            assert created.state == "pending"
            for key, state in enumerate(self.reopenings):
                await desk.perform(make_call(f"resolve {key}", "resolve_client_ticket", number=created.number))
                call = make_call(str(key), "reopen_client_ticket", number=created.number, fields={"state": state})
                assert plain(await desk.perform(call)) == DeskAnswer(created.number, state)
            ended = await desk.perform(make_call("other", fields={"state": "closed"}))
            assert ended.state == "open"

    async def test_look_up_finds_what_was_applied(self, tmp_path: Path) -> None:
        async with self.desk_in(tmp_path) as desk:
            call = make_call("create:e-CS1:g1")
            assert await desk.look_up(call) is None
            answer = await desk.perform(call)
            found = await desk.look_up(call)
            assert found is not None
            assert (plain(found), found.reference) == (plain(answer), answer.reference)

    async def test_refused_call_leaves_nothing(self, tmp_path: Path) -> None:
        async with self.desk_in(tmp_path) as desk:
            refused = make_call("1", "no_such_kind", number="INC1235678")
            for _ in range(2):
                with pytest.raises(DeskRefused):
                    await desk.perform(refused)
            assert await desk.look_up(refused) is None
            assert (await desk.perform(make_call("2"))).state == "open"

    @pytest.mark.requirement("I4")
    async def test_everything_is_there_after_it_was_opened_again(self, tmp_path: Path) -> None:
        async with self.desk_in(tmp_path) as desk:
            created = await desk.perform(make_call("create:e-CS1:g1"))
            await desk.perform(make_call("resolve", "resolve_client_ticket", number=created.number))
        async with self.desk_in(tmp_path) as desk:
            again = await repeat(desk, make_call("create:e-CS1:g1"))
            assert (again.number, again.reference) == (created.number, created.reference)
            commented = await desk.perform(make_call("note", "comment_client_ticket", number=created.number))
            assert plain(commented) == DeskAnswer(created.number, "resolved")
            other = await desk.perform(make_call("create:e-CS2:g1", ticket="e-CS2"))
            assert other.number != created.number

    async def test_the_desks_own_name_for_a_ticket_leads_to_it(self, tmp_path: Path) -> None:
        async with self.desk_in(tmp_path) as desk:
            created = await desk.perform(make_call("create"))
            fields = {"body": "hello"}
            call = make_call("note", _COMMENT, number=created.number, fields=fields, reference=created.reference)
            answer = await desk.perform(call)
        assert (answer.number, answer.reference, answer.url) == (created.number, created.reference, created.url)

    @pytest.mark.requirement("I4")
    async def test_a_file_and_a_note_are_handed_over_once(self, tmp_path: Path) -> None:
        file = write_file(tmp_path, b"content")
        async with self.desk_in(tmp_path) as desk:
            created = await desk.perform(make_call("create"))
            for call in (
                make_call("note:e-CS0879727:1", _COMMENT, number=created.number, fields={"body": "hello"}),
                make_call("note:e-CS0879727:12", _COMMENT, number=created.number, fields={"body": "hello"}),
                make_call("attach:e-CS0879727:a:g1", _ATTACH, number=created.number, file=file),
                make_call("attach:e-CS0879727:b:g1", _ATTACH, number=created.number, file=write_file(tmp_path, b"")),
            ):
                assert await desk.look_up(call) is None
                first = await desk.perform(call)
                assert plain(await repeat(desk, call)) == plain(first) == DeskAnswer(created.number, "open")

    @pytest.mark.requirement("I4")
    @pytest.mark.parametrize("kind", [_CREATE, _COMMENT, _ATTACH])
    async def test_a_call_whose_answer_is_lost_is_applied_once(self, tmp_path: Path, kind: str) -> None:
        async with self.desk_in(tmp_path) as desk:
            created = await desk.perform(make_call("create:e-CS1:g1"))
            call = self._call_of(kind, created, tmp_path)
            self.lose_answer()
            with pytest.raises(DeskUnavailable) as lost:
                await desk.perform(call)
            assert lost.value.sent
            answer = await repeat(desk, call)
            assert self.count_made(call, answer.number) == 1

    @pytest.mark.requirement("I4")
    @pytest.mark.parametrize("kind", [_CREATE, _COMMENT, _ATTACH])
    async def test_a_call_that_is_not_there_yet_is_not_found(self, tmp_path: Path, kind: str) -> None:
        """The negative control of the look-up: it must not find what was never applied."""
        async with self.desk_in(tmp_path) as desk:
            created = await desk.perform(make_call("create:e-CS1:g1"))
            call = self._call_of(kind, created, tmp_path)
            apply = self.apply_late()
            with pytest.raises(DeskUnavailable):
                await desk.perform(call)
            assert await desk.look_up(call) is None
            apply()
            found = await desk.look_up(call)
            assert found is not None
            assert self.count_made(call, found.number) == 1

    def _call_of(self, kind: str, created: DeskAnswer, directory: Path) -> DeskCall:
        if kind == _CREATE:
            return make_call("create:e-CS2:g1", ticket="e-CS2")
        file = write_file(directory, b"content") if kind == _ATTACH else None
        key = f"note:{created.number}:1"
        return make_call(
            key, kind, number=created.number, reference=created.reference, fields={"body": "hello"}, file=file
        )


def write_file(directory: Path, content: bytes) -> StoredFile:
    """A stored file of that content."""
    digest = sha256(content).hexdigest()
    path = directory / digest
    path.write_bytes(content)
    return StoredFile("report.txt", "text/plain", len(content), digest, path)
