"""The vendor's own client works with the simulated instance, over TLS."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import TypeVar

import anyio
import pysnc  # type: ignore[import-untyped]
import pytest
import trustme
from anyio import to_thread
from pysnc.auth import ServiceNowClientCredentialsFlow  # type: ignore[import-untyped]
from pysnc.exceptions import RoleException  # type: ignore[import-untyped]

from ecproc.simulator.servicenow.faults import FaultRule, InstanceFault
from ecproc.simulator.servicenow.server import ServiceNowSimulator, run_servicenow
from ecproc.simulator.servicenow.settings import InstanceConfig

T = TypeVar("T")
MACHINE = InstanceConfig()


@pytest.fixture
async def simulator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[ServiceNowSimulator]:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    bundle = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(bundle))
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(bundle))  # which the client reads before what it is told itself
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    async with run_servicenow(tls=context) as running:
        yield running


async def drive(simulator: ServiceNowSimulator, act: Callable[[pysnc.ServiceNowClient], T], auth: object = None) -> T:
    """Let a client act in a thread of its own, as it blocks."""

    def run() -> T:
        client = pysnc.ServiceNowClient(simulator.url, auth or (MACHINE.username, MACHINE.password), auto_retry=False)
        try:
            return act(client)
        finally:
            client.session.close()

    with anyio.fail_after(60):
        return await to_thread.run_sync(run)


def insert(client: pysnc.ServiceNowClient, **values: str) -> str:
    record = client.GlideRecord("incident")
    record.initialize()
    for name, value in values.items():
        record.set_value(name, value)
    return str(record.insert())


async def test_it_inserts_and_gets(simulator: ServiceNowSimulator) -> None:
    def act(client: pysnc.ServiceNowClient) -> tuple[str, str, str]:
        sys_id = insert(client, short_description="mail is slow", correlation_id="k")
        record = client.GlideRecord("incident")
        assert record.get(sys_id)
        assert not client.GlideRecord("incident").get("0" * 32)
        return sys_id, record.get_value("state"), record.get_display_value("state")

    sys_id, state, shown = await drive(simulator, act)
    (row,) = simulator.find("incident")
    assert (row["sys_id"], row["short_description"], state, shown) == (sys_id, "mail is slow", "1", "New")
    assert simulator.ledger.created == {"k": [row["number"]]}


async def test_it_updates_and_deletes(simulator: ServiceNowSimulator) -> None:
    def act(client: pysnc.ServiceNowClient) -> str:
        record = client.GlideRecord("incident")
        assert record.get(insert(client))
        record.urgency = "1"
        assert record.update()
        changed = str(record.get_value("sys_mod_count"))
        other = client.GlideRecord("incident")
        assert other.get(insert(client))
        assert other.delete()
        return changed

    assert await drive(simulator, act) == "1"
    assert [(row["urgency"], row["sys_mod_count"]) for row in simulator.find("incident")] == [("1", "1")]


async def test_it_queries(simulator: ServiceNowSimulator) -> None:
    for state in ("1", "2", "2", "6"):
        simulator.create("incident", state=state, correlation_id=f"k{state}")

    def count(ask: Callable[[pysnc.GlideRecord], object]) -> Callable[[pysnc.ServiceNowClient], int]:
        def act(client: pysnc.ServiceNowClient) -> int:
            record = client.GlideRecord("incident")
            ask(record)
            record.query()
            return len([*record])

        return act

    assert await drive(simulator, count(lambda record: record.add_query("state", "2"))) == 2
    assert await drive(simulator, count(lambda record: record.add_query("state", "!=", "2"))) == 2
    alternatives = count(lambda record: record.add_query("state", "1").add_or_condition("state", "6"))
    assert await drive(simulator, alternatives) == 2
    assert await drive(simulator, count(lambda record: record.add_null_query("correlation_display"))) == 4
    assert await drive(simulator, count(lambda record: record.add_encoded_query("correlation_idLIKEk2"))) == 2


async def test_it_pages_through_all_rows_and_sees_each_once(simulator: ServiceNowSimulator) -> None:
    for number in range(250):
        simulator.create("incident", correlation_id=str(number))

    def act(client: pysnc.ServiceNowClient) -> list[str]:
        record = client.GlideRecord("incident", batch_size=40)
        record.order_by("number")
        record.query()
        assert len(record) == 250
        return [str(row.get_value("correlation_id")) for row in record]

    assert await drive(simulator, act) == [str(number) for number in range(250)]
    assert simulator.ledger.calls["GET incident"] == 7


async def test_it_attaches_and_reads_what_it_attached(simulator: ServiceNowSimulator) -> None:
    row = simulator.create("incident")

    def act(client: pysnc.ServiceNowClient) -> list[tuple[str, bytes]]:
        record = client.GlideRecord("incident")
        assert record.get(row["sys_id"])
        assert "/attachment/" in record.add_attachment("a b.log", b"12345", content_type="text/plain")
        record.add_attachment("c.log", b"6")
        return [(file.file_name, file.read()) for file in record.get_attachments()]

    assert await drive(simulator, act) == [("a b.log", b"12345"), ("c.log", b"6")]
    assert simulator.ledger.list_doubles() == {}


async def test_it_takes_a_token(simulator: ServiceNowSimulator) -> None:
    flow = ServiceNowClientCredentialsFlow(MACHINE.client_id, MACHINE.client_secret)
    await drive(simulator, insert, flow)
    (row,) = simulator.find("incident")
    assert row["sys_created_by"] == MACHINE.username


async def test_it_hears_a_refusal(simulator: ServiceNowSimulator) -> None:
    simulator.faults.inject(FaultRule(kind=InstanceFault.ABORT_RULE, detail="No outsiders"))
    with pytest.raises(RoleException, match="No outsiders"):
        await drive(simulator, insert)
    assert simulator.find("incident") == []
