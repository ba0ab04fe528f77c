"""What every desk must do: subclass `DeskTests`, say how to open yours, and let pytest run it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import msgspec
import pytest

from ecproc.desk.base import DESK_KINDS, Desk, DeskAnswer, DeskCall, DeskRefused
from ecproc.domain.effects import Repeat
from ecproc.testing.suite import Suite

_CREATE = "create_client_ticket"


def make_call(
    key: str,
    kind: str = _CREATE,
    *,
    number: str | None = None,
    ticket: str = "e-CS0879727",
    fields: Mapping[str, str] | None = None,
) -> DeskCall:
    """A call for an incident."""
    return DeskCall(key=key, kind=kind, ticket=ticket, ticket_type="Incident", number=number, fields=fields or {})


def plain(answer: DeskAnswer) -> DeskAnswer:
    """The answer without what the record has in its fields, which each desk tells in its own words."""
    return msgspec.structs.replace(answer, view={}, stamp=0)


class DeskTests(Suite, ABC):
    """The suite. A desk opened twice on one directory must be the same desk."""

    @abstractmethod
    async def open_desk(self, directory: Path) -> Desk:
        """Give the desk whose data stand in that directory."""

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
            again = await desk.perform(make_call("create:e-CS1:g1"))
            other = await desk.perform(make_call("create:e-CS2:g1", ticket="e-CS2"))
        assert first == again
        assert first.number != other.number

    @pytest.mark.requirement("I4")
    async def test_same_key_at_the_same_time_is_applied_once(self, tmp_path: Path) -> None:
        answers: list[DeskAnswer] = []
        async with self.desk_in(tmp_path) as desk:

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
                "reopen_client_ticket": "open",
                "cancel_client_ticket": "cancelled",
                "close_client_ticket": "closed",
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
            await desk.perform(make_call("resolve", "resolve_client_ticket", number=created.number))
            for key, state in [("1", "workinprogress"), ("2", "open")]:
                call = make_call(key, "reopen_client_ticket", number=created.number, fields={"state": state})
                assert plain(await desk.perform(call)) == DeskAnswer(created.number, state)
            ended = await desk.perform(make_call("other", fields={"state": "closed"}))
            assert ended.state == "open"

    async def test_look_up_finds_what_was_applied(self, tmp_path: Path) -> None:
        async with self.desk_in(tmp_path) as desk:
            call = make_call("create:e-CS1:g1")
            assert await desk.look_up(call) is None
            answer = await desk.perform(call)
            await desk.perform(make_call("close", "close_client_ticket", number=answer.number))
            assert await desk.look_up(call) == answer

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
            assert await desk.perform(make_call("create:e-CS1:g1")) == created
            commented = await desk.perform(make_call("note", "comment_client_ticket", number=created.number))
            assert plain(commented) == DeskAnswer(created.number, "resolved")
            other = await desk.perform(make_call("create:e-CS2:g1", ticket="e-CS2"))
            assert other.number != created.number
