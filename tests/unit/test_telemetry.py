"""Metrics: the names are a contract, the label sets are closed, and every report lands where it says."""

import inspect
import re
from collections.abc import Callable

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from ecproc.telemetry.exposition import OpenMetricsView, write_metrics
from ecproc.telemetry.hooks import ANOMALY_CODES, TICKET_STATES, Reading, Telemetry
from ecproc.telemetry.metrics import PrometheusTelemetry

CONTRACT = {
    "ecproc_build_info": {"version", "python", "sqlite"},
    "ecproc_queue_polls_total": {"outcome"},
    "ecproc_messages_received_total": {"type"},
    "ecproc_messages_duplicate_total": set(),
    "ecproc_messages_quarantined_total": {"reason"},
    "ecproc_messages_deleted_total": {"outcome"},
    "ecproc_message_age_seconds": set(),
    "ecproc_message_receives": set(),
    "ecproc_message_receive_count": set(),
    "ecproc_bridge_request_duration_seconds": {"call", "status_class"},
    "ecproc_receive_to_delete_seconds": set(),
    "ecproc_log_append_duration_seconds": set(),
    "ecproc_projection_lag_events": set(),
    "ecproc_actors": set(),
    "ecproc_tickets": {"type", "state"},
    "ecproc_anomalies_total": {"code"},
    "ecproc_scope_decisions_total": {"decision"},
    "ecproc_unknown_fields_total": set(),
    "ecproc_outbox_entries": {"lane", "state"},
    "ecproc_effects_total": {"kind", "outcome", "reason"},
    "ecproc_end_to_end_seconds": {"direction"},
    "ecproc_effect_duration_seconds": {"kind"},
    "ecproc_breaker_open": {"destination"},
    "ecproc_paused": {"what"},
    "ecproc_web_refusals_total": {"reason"},
    "ecproc_external_received_total": {"source", "outcome"},
    "ecproc_watch_polls_total": {"source", "outcome"},
    "ecproc_watch_lag_seconds": {"source"},
    "ecproc_watch_poll_interval_seconds": {"source"},
    "ecproc_hook_requests_total": {"source", "code"},
    "ecproc_hook_seconds": {"source"},
}

LATER = {
    "ecproc_queue_last_success_timestamp_seconds": set[str](),
    "ecproc_messages_quarantined": set(),
    "ecproc_log_last_position": set(),
    "ecproc_log_size_bytes": set(),
    "ecproc_outbox_oldest_due_timestamp_seconds": {"lane"},
    "ecproc_outbox_oldest_due_age_seconds": {"lane"},
    "ecproc_message_receives_left": set(),
    "ecproc_queue_expiry_seconds": set(),
    "ecproc_attachment_expiry_seconds": set(),
    "ecproc_projection_lag_seconds": set(),
    "ecproc_tickets_parked": set(),
    "ecproc_receiving": {"reason"},
    "ecproc_queue_poll_interval_seconds": set(),
    "ecproc_event_loop_lag_seconds": set(),
    "ecproc_disk_free_bytes": set(),
    "ecproc_disk_reserve_bytes": set(),
    "ecproc_clock_skew_seconds": set(),
    "ecproc_tls_not_after_timestamp_seconds": set(),
    "ecproc_log_anchor_timestamp_seconds": set(),
    "ecproc_log_verify_last_success_timestamp_seconds": set(),
    "ecproc_replay_equal": set(),
    "ecproc_watch_last_success_timestamp_seconds": {"source"},
}
"""Those that appear once there is something to tell."""

LABELLED = {Reading.RECEIVING, Reading.OLDEST_DUE}

Samples = Callable[..., float | None]


class FixedClock:
    """A clock that stands still."""

    def now(self) -> int:
        return 1_700_000_000_500_000

    def monotonic(self) -> float:
        return 0.0

    async def sleep(self, seconds: float) -> None:
        raise AssertionError("metrics never wait")


@pytest.fixture
def registry() -> CollectorRegistry:
    """Give an empty registry."""
    return CollectorRegistry()


@pytest.fixture
def telemetry(registry: CollectorRegistry) -> PrometheusTelemetry:
    """Give telemetry that counts in `registry`."""
    return PrometheusTelemetry(
        registry,
        clock=FixedClock(),
        version="0.1.0",
        python="3.11.7",
        sqlite="3.45.0",
        sources=("itsm",),
        polled={"itsm": 30.0},
    )


@pytest.fixture
def sample(telemetry: PrometheusTelemetry, registry: CollectorRegistry) -> Samples:
    """Give the value of one sample: `sample("actors")`, `sample("tickets", type="Change", state="Draft")`."""

    def read(name: str, **labels: str) -> float | None:
        return registry.get_sample_value(f"ecproc_{name}", labels)

    return read


def list_names(registry: CollectorRegistry) -> dict[str, set[str]]:
    """The names and labels of what is exposed."""
    found: dict[str, set[str]] = {}
    for metric in registry.collect():
        if not metric.name.startswith("process_"):
            suffix = {"counter": "_total", "info": "_info"}.get(metric.type, "")
            found[metric.name + suffix] = {name for sample in metric.samples for name in sample.labels} - {"le"}
    return found


def test_names_and_labels_are_those_of_the_contract(telemetry: Telemetry, registry: CollectorRegistry) -> None:
    assert list_names(registry) == CONTRACT


def test_times_and_ages_appear_once_they_exist(telemetry: Telemetry, registry: CollectorRegistry) -> None:
    for reading in Reading:
        telemetry.watch(reading, lambda: None)
    assert list_names(registry) == CONTRACT

    for reading in Reading:
        telemetry.watch(reading, lambda found={"a": 1.0} if reading in LABELLED else 2.0: found)  # type: ignore[misc]
    telemetry.poll_finished("empty")
    telemetry.quarantine_counted(0)
    telemetry.outbox_oldest_due("desk", 1)
    telemetry.log_position(0, 0)
    telemetry.desk_polled("itsm", "ok", whole_at=0)

    assert list_names(registry) == CONTRACT | LATER


@pytest.mark.requirement("R23")
def test_a_reading_is_asked_for_at_every_scrape(telemetry: Telemetry, sample: Samples) -> None:
    left: list[float | None] = [7, None, 5]
    telemetry.watch(Reading.RECEIVES_LEFT, lambda: left.pop(0))
    telemetry.watch(Reading.RECEIVING, lambda: {"disk_reserve": 0.0, "stopping": 1.0})

    assert [sample("message_receives_left") for _ in range(3)] == [7, None, 5]
    telemetry.watch(Reading.RECEIVES_LEFT, lambda: 4)
    assert (sample("receiving", reason="disk_reserve"), sample("receiving", reason="stopping")) == (0, 1)


def test_a_reading_that_fails_costs_nobody_the_others(telemetry: Telemetry, sample: Samples) -> None:
    def fail() -> float:
        raise OverflowError

    telemetry.watch(Reading.VERIFIED, fail)
    telemetry.watch(Reading.PARKED, lambda: 3)

    assert sample("log_verify_last_success_timestamp_seconds") is None
    assert sample("tickets_parked") == 3


def test_openmetrics_has_units_and_exemplars_that_name_the_log_s_position(
    telemetry: Telemetry, registry: CollectorRegistry
) -> None:
    telemetry.quarantine_counted(3)
    telemetry.message_quarantined("undecodable")
    telemetry.effect_finished("create_client_ticket", "succeeded", 0.2, position=42)
    telemetry.arrived("in", 0.4, position=42)

    telemetry.log_position(7, 9_000)

    text = OpenMetricsView(registry).write().decode()
    families = {family.name: family for family in text_string_to_metric_families(text)}  # type: ignore[no-untyped-call]
    assert families["ecproc_message_age_seconds"].unit == families["ecproc_effect_duration_seconds"].unit == "seconds"
    assert families["ecproc_log_size_bytes"].unit == "bytes"
    for name in ("ecproc_effect_duration_seconds", "ecproc_end_to_end_seconds"):
        exemplars = {str(one.exemplar.labels) for one in families[name].samples if one.exemplar}
        assert exemplars == {"{'position': '42'}"}
    assert [one.value for one in families["ecproc_messages_quarantined"].samples] == [3]
    refused = families["ecproc_messages_quarantined_total"]
    assert sum(one.value for one in refused.samples) == 1


def test_every_known_label_set_starts_at_zero(telemetry: Telemetry, registry: CollectorRegistry) -> None:
    samples = [s for m in registry.collect() for s in m.samples if m.name.startswith("ecproc_") and m.type != "info"]
    samples = [sample for sample in samples if sample.name != "ecproc_watch_poll_interval_seconds"]  # it is what is set
    assert {sample.value for sample in samples} == {0.0}
    assert sum(sample.name == "ecproc_tickets" for sample in samples) == 6 + 6 + 8
    assert sum(sample.name == "ecproc_outbox_entries" for sample in samples) == 3 * 6
    assert sum(sample.name == "ecproc_effects_total" for sample in samples) == 19 * (4 + 2 * 5)
    assert sum(sample.name == "ecproc_messages_received_total" for sample in samples) == 9


def test_exposition_has_no_created_samples_and_a_help_text_each(
    telemetry: Telemetry, registry: CollectorRegistry
) -> None:
    text = generate_latest(registry).decode()
    assert "_created" not in text
    assert all(re.fullmatch(r"# HELP \S+ \S.*\.", line) for line in text.splitlines() if "# HELP ecproc_" in line)


def test_build_info_says_what_runs(sample: Samples) -> None:
    assert sample("build_info", version="0.1.0", python="3.11.7", sqlite="3.45.0") == 1


def test_reads_are_counted_and_successes_stamped(telemetry: Telemetry, sample: Samples) -> None:
    for outcome in ("throttled", "refused", "error"):
        telemetry.poll_finished(outcome)
    assert sample("queue_last_success_timestamp_seconds") is None
    telemetry.poll_finished("empty")
    telemetry.poll_finished("messages")
    assert sample("queue_last_success_timestamp_seconds") == 1_700_000_000.5
    assert sample("queue_polls_total", outcome="messages") == sample("queue_polls_total", outcome="refused") == 1


@pytest.mark.requirement("R21", "R23", "R24")
def test_a_message_s_way_is_measured(telemetry: Telemetry, sample: Samples) -> None:
    telemetry.messages_received("Create", 3)
    telemetry.messages_received("Approval Request")
    telemetry.message_duplicate(2)
    telemetry.message_quarantined("too_deep")
    telemetry.message_deleted("expired")
    telemetry.receive_count(4)
    telemetry.receive_to_delete(26.0)
    telemetry.message_age(4_000)
    telemetry.message_age(-3)
    assert sample("messages_received_total", type="Create") == 3
    assert sample("messages_received_total", type="Approval Request") == 1
    assert sample("messages_duplicate_total") == 2
    assert sample("messages_quarantined_total", reason="too_deep") == 1
    assert sample("messages_deleted_total", outcome="expired") == 1
    assert sample("message_receive_count_bucket", le="3.0") == 0
    assert sample("message_receive_count_bucket", le="5.0") == 1
    assert sample("receive_to_delete_seconds_bucket", le="25.0") == 0
    assert sample("receive_to_delete_seconds_bucket", le="30.0") == 1
    assert sample("message_age_seconds_sum") == 4_000


def test_the_log_and_its_readers_are_measured(telemetry: Telemetry, sample: Samples) -> None:
    telemetry.append_finished(0.002)
    telemetry.log_position(42, 9_000)
    telemetry.projection_lag(7)
    telemetry.actors(5)
    telemetry.anomaly("late")
    assert sample("log_append_duration_seconds_count") == 1
    assert (sample("log_last_position"), sample("log_size_bytes")) == (42, 9_000)
    assert (sample("projection_lag_events"), sample("actors")) == (7, 5)
    assert sample("anomalies_total", code="late") == 1


def test_tickets_move_between_states(telemetry: Telemetry, sample: Samples) -> None:
    telemetry.tickets_counted("Incident", "open", 10)
    telemetry.ticket_changed(None, ("Incident", "open"))
    telemetry.ticket_changed(("Incident", "open"), ("Incident", "pending"))
    telemetry.ticket_changed(None, ("Change", None))
    telemetry.ticket_changed(("Change", None), ("Change", "Draft"))
    assert sample("tickets", type="Incident", state="open") == 10
    assert sample("tickets", type="Incident", state="pending") == 1
    assert sample("tickets", type="Change", state="Draft") == 1
    assert sample("tickets", type="Change", state="other") == 0


def test_outbox_entries_move_between_states(telemetry: Telemetry, sample: Samples) -> None:
    telemetry.outbox_changed("bridge", None, "available")
    telemetry.outbox_changed("bridge", "available", "executing")
    telemetry.outbox_changed("bridge", None, "completed")
    telemetry.outbox_changed("bridge", None, "completed")
    telemetry.outbox_changed("bridge", "completed", None)
    telemetry.outbox_oldest_due("desk", FixedClock().now() - 1_500_000)
    telemetry.outbox_oldest_due("bridge", 1_500_000)
    telemetry.outbox_oldest_due("bridge", None)
    assert sample("outbox_entries", lane="bridge", state="available") == 0
    assert sample("outbox_entries", lane="bridge", state="executing") == 1
    assert sample("outbox_entries", lane="bridge", state="completed") is None
    assert sample("outbox_oldest_due_timestamp_seconds", lane="desk") == 1_699_999_999.0
    assert sample("outbox_oldest_due_timestamp_seconds", lane="bridge") is None


def test_effects_and_breakers_are_measured(telemetry: Telemetry, sample: Samples) -> None:
    telemetry.effect_finished("download_attachment", "succeeded", 2.0, position=7)
    telemetry.effect_finished("download_attachment", "discarded", 0.0, position=8, reason="expired")
    telemetry.bridge_called("delete", 200, 0.2)
    telemetry.bridge_called("delete", None, 30.0)
    telemetry.paused("ticket", 3)
    telemetry.breaker("bridge", is_open=True)
    telemetry.breaker("desk", is_open=True)
    telemetry.breaker("desk", is_open=False)
    assert sample("effects_total", kind="download_attachment", outcome="succeeded") == 1
    lost = {"kind": "download_attachment", "outcome": "discarded"}
    assert (sample("effects_total", **lost, reason="expired"), sample("effects_total", **lost)) == (1, None)
    assert sample("bridge_request_duration_seconds_sum", call="delete", status_class="2xx") == 0.2
    assert sample("bridge_request_duration_seconds_count", call="delete", status_class="none") == 1
    assert sample("effect_duration_seconds_sum", kind="download_attachment") == 2
    assert (sample("breaker_open", destination="bridge"), sample("breaker_open", destination="desk")) == (1, 0)
    assert (sample("paused", what="ticket"), sample("paused", what="desk")) == (3, 0)


@pytest.mark.requirement("I7", "R231")
def test_unknown_words_share_one_label_value(
    telemetry: Telemetry, registry: CollectorRegistry, sample: Samples
) -> None:
    before = sum(len(metric.samples) for metric in registry.collect())
    for number in range(500):
        word = f"e-CS{number}"
        telemetry.poll_finished(word)
        telemetry.messages_received(word)
        telemetry.message_quarantined(word)
        telemetry.anomaly(word)
        telemetry.ticket_changed(None, ("Incident", word))
        telemetry.ticket_changed(None, (word, word))
        telemetry.outbox_changed(word, None, word)
        telemetry.effect_finished("download_attachment", word, 0.1, position=1)
        telemetry.bridge_called(word, 200, 0.1)
        telemetry.outbox_oldest_due("desk", number)
    added = sum(len(metric.samples) for metric in registry.collect()) - before
    bridge_calls = 11  # the samples of one histogram
    assert added <= 9 + bridge_calls
    assert sample("messages_received_total", type="unknown") == 500
    assert sample("messages_quarantined_total", reason="other") == 500
    assert sample("tickets", type="Incident", state="other") == 500
    assert sample("tickets", type="other", state="other") == 500
    assert sample("effects_total", kind="other", outcome="other", reason="other") == 500
    assert sample("bridge_request_duration_seconds_count", call="other", status_class="other") == 500
    assert "e-CS" not in generate_latest(registry).decode()


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        ("application/openmetrics-text;version=abc", "text/plain; version=0.0.4"),
        ("text/plain;version=abc", "text/plain; version=0.0.4"),
        ("application/openmetrics-text;version=1.0.0", "application/openmetrics-text; version=1.0.0"),
    ],
)
def test_a_format_that_nobody_knows_is_plain_text(
    telemetry: Telemetry, registry: CollectorRegistry, accept: str, content_type: str
) -> None:
    telemetry.paused("desk", 3)
    text, told = write_metrics(registry, accept)
    assert told.startswith(content_type)
    assert b'ecproc_paused{what="desk"} 3.0' in text


def test_the_silent_telemetry_answers_every_report() -> None:
    silent = Telemetry()
    reports = [name for name, value in vars(Telemetry).items() if inspect.isfunction(value)]
    assert len(reports) == 30
    for name in reports:
        report = getattr(silent, name)
        arguments = {
            parameter.name: True if parameter.name == "is_open" else ("Incident", "open")
            for parameter in inspect.signature(report).parameters.values()
        }
        assert report(**arguments) is None


def test_metrics_hear_every_report() -> None:
    reports = {name for name, value in vars(Telemetry).items() if inspect.isfunction(value)}
    assert reports <= set(vars(PrometheusTelemetry))


def test_the_words_are_those_of_the_contract() -> None:
    assert set(TICKET_STATES) == {"Incident", "Request", "Change"}
    assert TICKET_STATES["Incident"] == ("open", "workinprogress", "pending", "resolved", "closed", "cancelled")
    assert len(ANOMALY_CODES) == 31
