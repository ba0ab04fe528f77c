"""The demo's proof can fail: each thing that must not happen is seen and named."""

import sqlite3
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from itertools import count
from pathlib import Path

import msgspec
import pytest

from ecproc.cli.demo import make_folder
from ecproc.cli.demo_child import write_environment
from ecproc.cli.demo_proof import Proof, read_desk, take_proof
from ecproc.cli.replay import ReplayDocument
from ecproc.cli.session import UsageError
from ecproc.config import Config, DataConfig, load_config
from ecproc.domain.log import Batch, NewEvent
from ecproc.fold.recorded import Kind
from ecproc.fold.tables import TABLES
from ecproc.simulator.ledger import Ledger
from ecproc.simulator.lives import generate_lives
from ecproc.simulator.queue import FifoQueue, QueueMessage, QueueRules
from ecproc.simulator.script import ScriptedLife
from ecproc.simulator.server import run_simulator
from ecproc.simulator.settings import SimulatorConfig
from ecproc.store.opening import open_store

EQUAL = ReplayDocument(
    events=1, tickets=1, seconds=1, events_per_second=1, digest="a", live_digest="a", equal=True, differences=0
)
FAULTLESS = Proof(
    received=200,
    appended=200,
    deleted=200,
    redelivered=9,
    lost=0,
    tickets=30,
    effects=250,
    doubled=0,
    replay_equal=True,
    complaints=(),
)
DESK = """
    CREATE TABLE ticket (number TEXT PRIMARY KEY, serial INTEGER, key TEXT, ensono TEXT, type TEXT, state TEXT,
    fields TEXT, opened_at INTEGER)
"""

Prove = Callable[..., Proof]


class Stand:
    """One ticket's life, and how much of it the processor got done."""

    def __init__(self, directory: Path) -> None:
        self.config = Config(data=DataConfig(dir=directory))
        lives = generate_lives(0, tickets=20, base_time_ms=0)
        self.life: ScriptedLife = next(life for life in lives if life.outcome.returnptn == 1 and len(life.messages) > 1)
        self.queue = FifoQueue(QueueRules())
        self.ledger = Ledger([self.queue], Counter())

    async def prove(
        self,
        *,
        logged: Sequence[QueueMessage],
        opened: Sequence[str] = ("LOCAL-0000001",),
        returned: Sequence[str] = ("LOCAL-0000001",),
        replayed: ReplayDocument = EQUAL,
        least_redelivered: float = 0.0,
    ) -> Proof:
        """The proof of a run that logged these messages, opened these tickets and returned these numbers."""
        for message in self.life.messages:
            self.queue.send(message, 0.0)
        self.ledger.sent = len(self.life.messages)
        while deliveries := self.queue.receive(1.0):
            self.ledger.record_deliveries(deliveries)
            for delivery in deliveries:
                self.queue.delete(delivery.handle, 1.0)
                self.ledger.record_deleted(delivery.message)
        self.ledger.returnptn[self.life.ticket] += returned
        await self._write_log(logged)
        self._write_desk(opened)
        return await take_proof(
            self.config,
            self.ledger,
            [self.life],
            opened=read_desk(self.config),
            replayed=replayed,
            least_redelivered=least_redelivered,
        )

    async def _write_log(self, messages: Sequence[QueueMessage]) -> None:
        store = await open_store(self.config.data, TABLES, now=partial(next, count()), identity=None)
        for message in messages:
            payload = b'{"attributes":{},"body":' + message.body + b"}"
            key = bytes(16) + message.message_id.encode()
            await store.commit(Batch([NewEvent(message.group, Kind.MESSAGE_RECEIVED, payload, key)]))
        await store.aclose()

    def _write_desk(self, numbers: Sequence[str]) -> None:
        connection = sqlite3.connect(self.config.data.dir / "desk.db")
        connection.execute(DESK)
        for serial, number in enumerate(numbers, 1):
            row = (number, serial, f"key {serial}", self.life.ticket, "Incident", "open", "{}", 0)
            connection.execute("INSERT INTO ticket VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row)
        connection.commit()
        connection.close()


@pytest.fixture
def stand(tmp_path: Path) -> Stand:
    return Stand(tmp_path / "data")


def test_a_former_demo_makes_room_and_nothing_else_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder = make_folder(Path("kept"))
    assert folder == tmp_path / "kept"
    assert folder.stat().st_mode & 0o777 == 0o700
    (folder / "data").mkdir()
    assert list(make_folder(Path("kept")).glob("data")) == []
    (tmp_path / "mine").mkdir()
    (tmp_path / "link").symlink_to("kept")
    for taken in ("mine", "link"):
        with pytest.raises(UsageError, match=f"{tmp_path / taken} is no former demo's"):
            make_folder(Path(taken))
    assert (tmp_path / "kept").is_dir()


async def test_the_processor_starts_with_what_it_is_told(tmp_path: Path) -> None:
    async with run_simulator(SimulatorConfig()) as simulator:
        environment = write_environment(simulator, tmp_path, visibility=3, desk={"ECPROC_DESK__KIND": "local"})
        config = load_config(None, environment)
    assert (config.bridge.url, config.data.dir) == (simulator.url, tmp_path)


def test_the_proof_is_one_line_with_every_count() -> None:
    assert FAULTLESS.holds
    assert FAULTLESS.describe() == (
        "received 200 · appended 200 · deleted 200 · redelivered 9 (4.5 %) · lost 0 · tickets 30 · "
        "effects 250 doubled 0 · replay equal"
    )


def test_nothing_received_is_no_division_by_zero() -> None:
    assert "redelivered 0 (0.0 %)" in msgspec.structs.replace(FAULTLESS, received=0, redelivered=0).describe()


async def test_what_was_logged_and_returned_once_leaves_only_the_missing_document(stand: Stand) -> None:
    proof = await stand.prove(logged=stand.life.messages)
    assert (proof.lost, proof.doubled) == (0, 0)
    assert proof.received == proof.appended == proof.deleted == len(stand.life.messages)
    assert proof.complaints == (f"{stand.life.ticket} ({stand.life.story}): it has no document",)


async def test_a_message_that_is_not_in_the_log_is_lost(stand: Stand) -> None:
    proof = await stand.prove(logged=stand.life.messages[1:])
    assert proof.lost == 1
    assert "1 messages are lost" in proof.complaints
    assert "replay" in proof.describe()


async def test_a_message_that_was_altered_is_lost(stand: Stand) -> None:
    first, *others = stand.life.messages
    proof = await stand.prove(logged=[msgspec.structs.replace(first, body=b"{}"), *others])
    assert proof.lost == 1


@pytest.mark.parametrize(
    ("opened", "returned", "complaint"),
    [
        (["LOCAL-1", "LOCAL-2"], ["LOCAL-1", "LOCAL-2"], "1 client tickets or numbers too many"),
        (["LOCAL-1"], ["LOCAL-1", "LOCAL-9"], "1 client tickets or numbers too many"),
        (["LOCAL-1"], [], "2 client tickets or numbers too few"),
        ([], [], "1 client tickets or numbers too few"),
    ],
)
async def test_client_tickets_and_numbers_beyond_or_below_the_script_are_named(
    opened: Sequence[str], returned: Sequence[str], complaint: str, stand: Stand
) -> None:
    proof = await stand.prove(logged=stand.life.messages, opened=opened, returned=returned)
    assert complaint in proof.complaints


async def test_a_number_returned_twice_is_harmless(stand: Stand) -> None:
    proof = await stand.prove(logged=stand.life.messages, returned=["LOCAL-0000001", "LOCAL-0000001"])
    assert proof.doubled == 0


async def test_a_replay_that_differs_and_faults_that_never_came_are_named(stand: Stand) -> None:
    differing = msgspec.structs.replace(EQUAL, equal=False, differences=4)
    proof = await stand.prove(logged=stand.life.messages, replayed=differing, least_redelivered=0.02)
    assert proof.describe().endswith("replay differs")
    assert "the replay differs in 4 rows" in proof.complaints
    assert "less was redelivered than the faults should have caused" in proof.complaints
