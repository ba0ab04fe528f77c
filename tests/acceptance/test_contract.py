"""What users, scripts and dashboards hold on to is there: every reading command, every metric and log event."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Final

import httpx
import pytest

from ecproc.simulator.faults import MILD
from tests.acceptance.world import Plan, World, is_empty, open_world

DOCUMENTS: Final = (
    "show {ticket}",
    "outbox list",
    "outbox list --all",
    "outbox show {entry}",
    "quarantine list",
    "log verify",
    "log stats",
    "replay --verify",
    "replay --until 20",
    "config check",
    "config show",
    "map check",
    "map show",
    "doctor",
    "bundle {ticket} --output {folder}/bundle-{run}.tar.gz",
    "log backup {folder}/copy-{run}",
)
"""Commands that print one JSON document."""
LINES: Final = ("tickets", "tickets --limit 2", "events", "events {ticket}", "reconcile")
"""Commands that print a document per line."""
FINDINGS: Final = frozenset({"doctor", "reconcile"})
"""Those that may end with 3: what they find is the simulator's doing."""
METRICS: Final = (
    "ecproc_build_info",
    "ecproc_queue_polls_total",
    "ecproc_queue_last_success_timestamp_seconds",
    "ecproc_messages_received_total",
    "ecproc_messages_duplicate_total",
    "ecproc_messages_quarantined_total",
    "ecproc_messages_deleted_total",
    "ecproc_message_age_seconds",
    "ecproc_message_receive_count",
    "ecproc_message_receives",
    "ecproc_receive_to_delete_seconds",
    "ecproc_log_append_duration_seconds",
    "ecproc_log_last_position",
    "ecproc_log_size_bytes",
    "ecproc_projection_lag_events",
    "ecproc_actors",
    "ecproc_tickets",
    "ecproc_anomalies_total",
    "ecproc_outbox_entries",
    "ecproc_effects_total",
    "ecproc_effect_duration_seconds",
    "ecproc_breaker_open",
    "ecproc_projection_lag_seconds",
    "ecproc_tickets_parked",
    "ecproc_messages_quarantined",
    "ecproc_end_to_end_seconds",
    "ecproc_disk_free_bytes",
    "ecproc_paused",
    "ecproc_event_loop_lag_seconds",
    "ecproc_queue_poll_interval_seconds",
    "ecproc_receiving",
    "ecproc_bridge_request_duration_seconds",
    "ecproc_log_anchor_timestamp_seconds",
    "ecproc_disk_reserve_bytes",
    "ecproc_outbox_oldest_due_age_seconds",
    "ecproc_unknown_fields_total",
    "ecproc_replay_equal",
    "ecproc_log_verify_last_success_timestamp_seconds",
)
"""Metrics that a processor has that ran for a while, whose log was verified and replayed."""
EVENTS: Final = (
    "started",
    "recovered",
    "first_poll",
    "queue_refused",
    "receive_failed",
    "delete_failed",
    "receives_high",
    "message_quarantined",
    "anomaly",
    "attachment_expiring",
    "effect_retry",
    "effect_lost",
    "effect_unknown",
    "ticket_parked",
    "breaker",
    "disk_reserve",
    "paused",
    "secret_reloaded",
    "web",
    "hourly",
    "drained",
    "stopped",
)
TICKET_NUMBER: Final = re.compile(r"(?:CS|INC|CHG|RITM|TASK|LOCAL-)\d{4,}")


async def ask_all(world: World, run: str, folder: Path) -> None:
    """Every reading command, piped and with --json, and what it prints."""
    tickets = await world.ask("tickets")
    ticket = next(found["ticket"] for line in tickets.out.splitlines() if (found := json.loads(line))["effects"])
    entry = json.loads((await world.ask("outbox", "list", "--all")).out)[0]["key"]
    for told, forms in ((DOCUMENTS, ["--json"]), (LINES, ["--json"])):
        for number, command in enumerate(told):
            names = {"ticket": ticket, "entry": entry, "folder": folder, "run": f"{run}-{number}"}
            words = command.format(**names).split()
            answer = await world.ask(*words, *forms)
            allowed = {0, 3} if words[0] in FINDINGS else {0}
            assert answer.code in allowed, (command, answer)
            documents = [answer.out] if told is DOCUMENTS else answer.out.splitlines()
            for document in documents:
                json.loads(document)
            assert documents or told is LINES, command


@pytest.mark.requirement("I11")
async def test_every_command_answers_beside_a_running_processor_and_without_one(tmp_path: Path) -> None:
    plan = Plan(tickets=8, faults=MILD, visibility=1.0)
    async with open_world(tmp_path, plan) as world:
        async with await world.start() as running:
            await world.reach(is_empty, running)
            await ask_all(world, "beside", tmp_path)
            url = await running.told("web", "url")
            async with httpx.AsyncClient() as client:
                text = (await client.get(f"{url}/metrics")).text
                assert (
                    set(METRICS) - {line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")} == set()
                )
                assert not TICKET_NUMBER.search("".join(re.findall(r'="[^"]*"', text)))
        await ask_all(world, "alone", tmp_path)


def test_every_log_event_stands_in_the_code() -> None:
    source = "".join(path.read_text(encoding="utf-8") for path in (Path(__file__).parents[2] / "ecproc").rglob("*.py"))
    assert [event for event in EVENTS if f'"{event}"' not in source] == []
