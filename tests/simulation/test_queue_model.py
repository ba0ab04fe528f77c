"""The queue model in a clock of our own: the guide's times and numbers; no sequence of calls loses a message."""

from __future__ import annotations

from collections import defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecproc.simulator.queue import FifoQueue, HandleOutcome, QueueMessage, QueueRules

START = 1_700_000_000.0
FOUR_DAYS = 4 * 86400.0


def make_message(name: str, group: str = "e-CS1") -> QueueMessage:
    return QueueMessage(message_id=name, group=group, body=b"{}", attributes={"MessageGroupId": group})


def make_queue(*names: str, rules: QueueRules | None = None) -> FifoQueue:
    queue = FifoQueue(rules or QueueRules())
    for name in names:
        queue.send(make_message(name), START)
    return queue


@pytest.mark.requirement("R40")
def test_sequence_numbers_have_twenty_digits_exceed_64_bits_and_grow() -> None:
    queue = FifoQueue(QueueRules())
    sent = [queue.send(make_message(f"{n}"), START) for n in range(3)]
    numbers = [str(message.attributes["SequenceNumber"]) for message in sent]
    assert all(len(number) == 20 and int(number) > 2**64 for number in numbers)
    assert numbers == sorted(set(numbers))


@pytest.mark.requirement("R27")
def test_handles_hold_what_must_be_url_encoded() -> None:
    handles = [delivery.handle for delivery in make_queue(*"abcdefgh").receive(START)]
    assert len(set(handles)) == 8
    assert all(handle.startswith("AQEB") and {"/", "+", "="} <= set(handle) for handle in handles)


@pytest.mark.requirement("R21")
def test_a_received_message_is_hidden_for_exactly_the_visibility_time() -> None:
    queue = make_queue("a")
    queue.receive(START)
    assert queue.receive(START + 29.999) == []
    assert [delivery.receive_count for delivery in queue.receive(START + 30)] == [2]


@pytest.mark.requirement("R22", "R42")
def test_a_redelivery_repeats_all_but_handle_and_count() -> None:
    queue = make_queue("a")
    (first,) = queue.receive(START + 1)
    (second,) = queue.receive(START + 60)
    assert second.message == first.message
    assert second.first_received == first.first_received == int((START + 1) * 1000)
    assert second.handle != first.handle


@pytest.mark.requirement("R23")
def test_the_twentieth_receive_is_the_last() -> None:
    queue = make_queue("a", "b", rules=QueueRules(per_group=1))
    for count in range(20):
        (delivery,) = queue.receive(START + 30 * count)
        assert delivery.message.message_id == "a"
    (following,) = queue.receive(START + 600)
    assert following.message.message_id == "b"
    assert [message.message_id for message in queue.failed] == ["a"]
    assert queue.delete(delivery.handle, START + 601).outcome is HandleOutcome.EXPIRED


@pytest.mark.requirement("R24")
def test_a_message_expires_after_four_days_whether_hidden_or_not() -> None:
    queue = make_queue("hidden", "waiting", rules=QueueRules(per_group=1))
    queue.receive(START + FOUR_DAYS - 1)
    queue.send(make_message("younger", "e-CS2"), START + 10)
    queue.advance(START + FOUR_DAYS - 0.001)
    assert queue.expired == []
    assert [delivery.message.message_id for delivery in queue.receive(START + FOUR_DAYS)] == ["younger"]
    assert [message.message_id for message in queue.expired] == ["hidden", "waiting"]
    assert len(queue) == 1


@pytest.mark.requirement("R29", "R30")
def test_a_delete_is_judged_by_its_handle() -> None:
    queue = make_queue("a", "b")
    first, second = queue.receive(START)
    assert queue.delete("AQEBnever/given+out=", START).outcome is HandleOutcome.INVALID
    assert queue.delete("Ä" * 40, START).outcome is HandleOutcome.INVALID
    assert FifoQueue(QueueRules(), salt=b"other").delete(first.handle, START).outcome is HandleOutcome.INVALID
    assert queue.delete(first.handle, START).outcome is HandleOutcome.DELETED
    assert queue.delete(first.handle, START).outcome is HandleOutcome.ALREADY_DELETED
    assert queue.delete(second.handle, START + 30).outcome is HandleOutcome.EXPIRED
    (again,) = queue.receive(START + 31)
    assert queue.delete(second.handle, START + 31).outcome is HandleOutcome.EXPIRED
    assert queue.delete(again.handle, START + 31).outcome is HandleOutcome.DELETED
    assert len(queue) == 0


def test_a_message_put_back_comes_again_at_its_old_place() -> None:
    queue = make_queue("a", "b", "c", rules=QueueRules(batch=1))
    (first,) = queue.receive(START)
    deletion = queue.delete(first.handle, START)
    (second,) = queue.receive(START)
    queue.put_back(deletion)
    assert queue.receive(START) == []
    queue.delete(second.handle, START)
    (again,) = queue.receive(START)
    assert again.message == first.message
    assert (again.receive_count, again.handle != first.handle) == (2, True)
    assert queue.delete(again.handle, START).outcome is HandleOutcome.DELETED
    assert [delivery.message.message_id for delivery in queue.receive(START)] == ["c"]


def test_a_batch_takes_the_oldest_messages_of_the_groups_that_are_free() -> None:
    queue = FifoQueue(QueueRules())
    for n in range(40):
        queue.send(make_message(f"{n}", f"g{n % 4}"), START)
    assert [delivery.message.message_id for delivery in queue.receive(START)] == [f"{n}" for n in range(10)]
    queue.send(make_message("40", "g9"), START)
    assert [delivery.message.message_id for delivery in queue.receive(START)] == ["40"]


class Check:
    """Follows a queue from outside and remembers what it promised."""

    def __init__(self, rules: QueueRules) -> None:
        self.queue = FifoQueue(rules)
        self.now = START
        self.sent = 0
        self.deleted: list[str] = []
        self.first: defaultdict[str, list[int]] = defaultdict(list)
        self.handles: list[tuple[str, str, str, float]] = []

    def send(self, group: int) -> None:
        self.queue.send(make_message(f"{self.sent}", f"g{group}"), self.now)
        self.sent += 1

    def receive(self) -> None:
        locked = {group for _, group, _, until in self.handles if until > self.now}
        batch = self.queue.receive(self.now)
        assert locked.isdisjoint(delivery.message.group for delivery in batch)
        for delivery in batch:
            message = delivery.message
            if delivery.receive_count == 1:
                self.first[message.group].append(int(message.message_id))
            self.handles.append((delivery.handle, message.group, message.message_id, self.now + 30))

    def delete(self, place: int) -> None:
        if self.handles:
            handle, _, name, until = self.handles.pop(place % len(self.handles))
            outcome = self.queue.delete(handle, self.now).outcome
            assert (outcome is HandleOutcome.DELETED) == (until > self.now)
            self.deleted += [name] if outcome is HandleOutcome.DELETED else []

    def wait(self, seconds: int) -> None:
        self.now += seconds

    def finish(self) -> None:
        gone = [message.message_id for message in (*self.queue.failed, *self.queue.waiting())] + self.deleted
        assert sorted(gone, key=int) == [f"{n}" for n in range(self.sent)]
        assert all(order == sorted(order) for order in self.first.values())


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("send"), st.integers(0, 4)),
        st.tuples(st.just("receive"), st.just(0)),
        st.tuples(st.just("delete"), st.integers(0, 40)),
        st.tuples(st.just("wait"), st.sampled_from((1, 10, 29, 30, 31))),
    ),
    max_size=120,
)


@pytest.mark.requirement("R19", "R20", "R23")
@given(steps=STEPS, per_group=st.sampled_from((1, 3, 10)))
def test_no_sequence_of_calls_loses_a_message_or_breaks_a_groups_order(
    steps: list[tuple[str, int]], per_group: int
) -> None:
    check = Check(QueueRules(max_receives=3, per_group=per_group))
    for name, argument in steps:
        match name:
            case "send":
                check.send(argument)
            case "receive":
                check.receive()
            case "delete":
                check.delete(argument)
            case _:
                check.wait(argument)
    check.finish()
