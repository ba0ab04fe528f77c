"""The desk scenario's proof can fail: a planted echo, double or silence is seen and named. People's edits are exact."""

from collections import Counter
from collections.abc import AsyncIterator

import msgspec
import pytest

from ecproc.cli.demo_desk import TABLES, furnish, list_opened
from ecproc.cli.demo_desk_proof import DeskProof, prove_desk
from ecproc.cli.demo_people import Edit, EditKind, People, choose_edit, is_left_open
from ecproc.simulator.ledger import Decision, Ledger, UploadedFile
from ecproc.simulator.lives import generate_lives
from ecproc.simulator.queue import FifoQueue, QueueRules
from ecproc.simulator.script import ScriptedLife
from ecproc.simulator.servicenow.ledger import InstanceLedger
from ecproc.simulator.servicenow.server import ServiceNowSimulator, run_servicenow
from tests.unit.test_cli_demo import FAULTLESS

TICKET = "e-CS1"
COMMENT = Edit(TICKET, EditKind.COMMENT, {"body": "any news?"})
UPDATE = Edit(TICKET, EditKind.UPDATE, {"priority": "1"})
FILE = Edit(TICKET, EditKind.FILE, {"name": "trace.txt", "sha256": "ab"})
EDITS = (COMMENT, UPDATE, FILE)
PUT = UploadedFile(TICKET, "trace.txt", 2, "ab", "text/plain")


class Books:
    """Both ledgers of a run in which all went well, to be spoilt by a test."""

    def __init__(self) -> None:
        self.bridge = Ledger([FifoQueue(QueueRules())], Counter())
        self.bridge.notes[TICKET].append("any news?")
        self.bridge.updates[TICKET].append({"priority": "1"})
        self.bridge.uploads.append(PUT)
        self.instance = InstanceLedger(Counter())
        self.instance.record_created(f"{TICKET}:g1", "INC1")
        self.edits = list(EDITS)

    def prove(self) -> DeskProof:
        return prove_desk(FAULTLESS, self.bridge, self.instance, self.edits)


@pytest.fixture
def books() -> Books:
    return Books()


def test_each_edit_told_once_is_the_proof_in_one_line(books: Books) -> None:
    proof = books.prove()
    assert proof.holds
    assert proof.describe() == (
        "received 200 · appended 200 · deleted 200 · redelivered 9 (4.5 %) · lost 0 · tickets 30 · effects 250 · "
        "created 1 · updated 1 · commented 1 · attached 1 · doubled 0 · echoed 0 · replay equal"
    )


def test_what_the_bridges_side_complains_of_stays_a_complaint(books: Books) -> None:
    spoilt = msgspec.structs.replace(FAULTLESS, doubled=2, complaints=("2 client tickets or numbers too many",))
    proof = prove_desk(spoilt, books.bridge, books.instance, EDITS)
    assert (proof.holds, proof.doubled) == (False, 2)


@pytest.mark.parametrize("echo", ["note", "update", "file", "decision", "create"])
def test_a_command_that_no_edit_explains_is_an_echo(echo: str, books: Books) -> None:
    match echo:
        case "note":
            books.bridge.notes[TICKET].append("what Ensono wrote itself")
        case "update":
            books.bridge.updates[TICKET].append({"status": "pending"})
        case "file":
            books.bridge.uploads.append(UploadedFile(TICKET, "theirs.txt", 2, "cd", "text/plain"))
        case "decision":
            books.bridge.decisions["e-CHG1"].append(Decision(True, "a", "b", "c"))
        case _:
            books.bridge.created["INC9"].append("e-CS9")
    proof = books.prove()
    assert (proof.holds, proof.echoed) == (False, 1)
    assert proof.complaints == ("1 commands at Ensono that no person's edit explains",)
    assert "echoed 1" in proof.describe()


@pytest.mark.parametrize("double", ["record", "note", "file", "comment"])
def test_what_is_there_twice_is_a_double(double: str, books: Books) -> None:
    match double:
        case "record":
            books.instance.record_created(f"{TICKET}:g1", "INC2")
        case "note":
            for _ in range(2):
                books.instance.record_notes("id", "INC1", "seen [Ensono note 7]")
        case "file":
            for _ in range(2):
                row = {"table_sys_id": "id", "file_name": "a", "size_bytes": "1", "hash": "h", "sys_id": "x"}
                books.instance.record_attachment(row)
        case _:
            books.bridge.notes[TICKET].append("any news?")
    proof = books.prove()
    assert (proof.holds, proof.doubled, proof.echoed) == (False, 1, 0)
    assert "doubled 1" in proof.describe()


def test_fields_and_files_that_were_sent_again_are_neither(books: Books) -> None:
    books.bridge.updates[TICKET].append({"priority": "1"})
    books.bridge.uploads.append(PUT)
    proof = books.prove()
    assert proof.holds
    assert (proof.updated, proof.attached) == (1, 1)


def test_an_edit_that_ensono_never_heard_of_and_people_who_do_nothing_are_named(books: Books) -> None:
    books.bridge.updates.clear()
    assert books.prove().complaints == ("1 edits of people's that Ensono was not told of",)
    idle = Books()
    idle.edits = []
    assert "nobody edited anything at the instance" in idle.prove().complaints


# --- people -----------------------------------------------------------------------------------------------------------


def find_life(kind: str) -> ScriptedLife:
    lives = generate_lives(0, tickets=58, base_time_ms=0)
    return next(life for life in lives if is_left_open(life) and life.outcome.type == kind and life.outcome.returnptn)


@pytest.fixture
async def instance() -> AsyncIterator[ServiceNowSimulator]:
    async with run_servicenow() as running:
        yield running


async def settled(ticket: str) -> bool:
    return True


async def unsettled(ticket: str) -> bool:
    return False


class Desk:
    """A life whose record is there and returned; `hear` lets all of its messages be taken."""

    def __init__(self, instance: ServiceNowSimulator, life: ScriptedLife) -> None:
        self.life = life
        self.ledger = Ledger([FifoQueue(QueueRules())], Counter())
        self.people = People(instance, self.ledger, [life])
        self._instance = instance
        self._table = TABLES[life.outcome.type]

    def return_number(self) -> None:
        row = self._instance.create(self._table, short_description=f"[{self.life.ticket}] mail is down")
        self.ledger.returnptn[self.life.ticket].append(row["number"])

    def hear(self) -> None:
        self.ledger.delivered.update(message.message_id for message in self.life.messages)

    @property
    def kinds(self) -> list[EditKind]:
        return [edit.kind for edit in self.people.edits]


async def test_people_wait_for_the_number_and_edit_fields_once_all_is_settled(instance: ServiceNowSimulator) -> None:
    desk = Desk(instance, find_life("Incident"))
    await desk.people.act(settled)
    assert desk.kinds == []
    desk.return_number()
    for _ in range(3):
        await desk.people.act(settled)
    assert desk.kinds == [EditKind.COMMENT, EditKind.FILE]
    desk.hear()
    await desk.people.act(unsettled)
    assert len(desk.kinds) == 2
    await desk.people.act(settled)
    assert desk.kinds[2:] == [EditKind.UPDATE]
    assert desk.people.act_unseen() == 1
    await desk.people.act(settled)
    assert len(desk.kinds) == 4
    entries = {row["value"] for row in instance.find("sys_journal_field")}
    assert {edit.told["body"] for edit in desk.people.edits if edit.kind is EditKind.COMMENT} == entries
    (file,) = instance.find("sys_attachment")
    assert (file["file_name"], file["hash"]) == tuple(desk.people.edits[1].told.values())
    assert instance.ledger.list_doubles() == {}


async def test_what_people_had_no_time_for_is_done_unseen(instance: ServiceNowSimulator) -> None:
    desk = Desk(instance, find_life("Incident"))
    assert desk.people.act_unseen() == 0
    desk.return_number()
    assert desk.people.act_unseen() == 2
    assert desk.kinds == [EditKind.COMMENT, EditKind.UPDATE]


@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize("table", ["incident", "sc_req_item"])
def test_every_edit_changes_something(place: int, table: str) -> None:
    for state in ("1", "2", "3", "-5"):
        for level in "123":
            row = {"impact": level, "urgency": level, "state": state, "short_description": "[e-CS1] mail ] down"}
            fields, told = choose_edit(table, row, place)
            assert any(row.get(name) != value for name, value in fields.items())
            assert "[e-CS1]" not in "".join(told.values())
            assert len(told) == 1


async def test_a_furnished_instance_has_ensonos_groups_items_and_known_records(instance: ServiceNowSimulator) -> None:
    lives = generate_lives(0, tickets=58, base_time_ms=0)
    furnish(instance, lives)
    assert instance.find("sys_user_group", "name=Mainframe")
    assert {"2000", "PRD2", "sw-core-02"} <= {row["name"] for row in instance.find("cmdb_ci")}
    known = [life.outcome for life in lives if life.outcome.adopted_number]
    assert all(instance.find(TABLES[one.type], f"number={one.adopted_number}") for one in known)
    assert list_opened(instance) == {}


async def test_opened_records_stand_in_the_order_of_their_generations(instance: ServiceNowSimulator) -> None:
    for generation in (10, 2, 1):
        instance.ledger.record_created(f"{TICKET}:g{generation}", f"CHG{generation}")
    assert list_opened(instance) == {TICKET: ["CHG1", "CHG2", "CHG10"]}
