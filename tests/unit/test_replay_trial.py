"""The Collector's own account of a replay, read from its metrics, and what is said of it."""

from __future__ import annotations

from compose.settings import SignalPath
from services.compare.replay.outcome import DONE, LOST, Outcome
from services.compare.replay.rewrite import Seen
from services.compare.replay.trial import Counts, Export, Processing, parse

# As the Collector v0.152 writes it, labels abridged.
METRICS = """\
# TYPE otelcol_exporter_sent_spans_total counter
otelcol_exporter_sent_spans_total{exporter="otlp_http/honeycomb",server_address="127.0.0.1"} 60
otelcol_exporter_sent_spans_total{exporter="otlp_http/honeycomb",server_address="::1"} 7
otelcol_exporter_send_failed_spans_total{exporter="awsxray"} 3
otelcol_exporter_enqueue_failed_log_records_total{exporter="awscloudwatchlogs"} 4
otelcol_exporter_queue_size{data_type="traces",exporter="otlp_grpc/xray_hop"} 5
otelcol_exporter_queue_size{data_type="metrics",exporter="otlp_http/honeycomb"} 0
otelcol_exporter_queue_capacity{data_type="traces",exporter="otlp_grpc/xray_hop"} 5e+06
otelcol_processor_incoming_items_total{otel_signal="traces",processor="filter/x"} 100
otelcol_processor_outgoing_items_total{otel_signal="traces",processor="filter/x"} 67
otelcol_processor_tail_sampling_new_trace_id_received_total 33
otelcol_processor_tail_sampling_global_count_traces_sampled_total{sampled="true"} 20
otelcol_processor_tail_sampling_global_count_traces_sampled_total{sampled="false"} 10
otelcol_receiver_accepted_spans_total{receiver="otlp",transport="grpc"} 100
"""


def outcome(counts: Counts, refused: int = 0) -> Outcome:
    return Outcome(
        run="20260101-130000-cd34",
        replay_of="20260101-120000-ab12",
        requests=60,
        paths=[SignalPath.HONEYCOMB_OTLP],
        configuration=["base.yaml", "mine.yaml"],
        recorded={"traces": Seen(kept=100), "logs": Seen(kept=60), "metrics": Seen(kept=10, of_no_run=4)},
        left_out=0,
        damaged=0,
        sent={"traces": 100 - refused, "logs": 60, "metrics": 10},
        refused={"traces": refused} if refused else {},
        reasons={"traces: UNIMPLEMENTED: unknown service": refused} if refused else {},
        retries=0,
        counts=counts,
        seconds=2.5,
    )


def test_the_account_is_read_with_its_labels_and_without() -> None:
    counts = parse(METRICS)
    assert counts.exports == [
        Export("awscloudwatchlogs", "log_records", not_queued=4),
        Export("awsxray", "spans", failed=3),
        Export("otlp_grpc/xray_hop", "spans", waiting=5),
        Export("otlp_http/honeycomb", "metric_points"),
        Export("otlp_http/honeycomb", "spans", sent=67),
    ]
    assert counts.processing == [Processing("filter/x", "spans", 100, 67)]
    assert counts.undecided == 3
    assert counts.waiting == 8


def test_what_a_configuration_drops_is_no_failure_and_is_said() -> None:
    dropped = outcome(Counts([Export("otlp_http/honeycomb", "spans", sent=67)], [Processing("filter/x", "spans", 100, 67)]))
    assert dropped.exit_status == DONE
    assert "filter/x: 100 spans in, 67 out, 33 dropped" in dropped.text()
    assert "✗" not in dropped.text()
    assert dropped.document()["processors"][0]["dropped"] == 33
    assert dropped.text().splitlines()[-1].startswith("next: `make compare RUN=20260101-130000-cd34")


def test_what_did_not_leave_is_a_failure_and_is_said() -> None:
    for counts, words in (
        (Counts([Export("awsxray", "spans", sent=1, failed=3)]), "awsxray: 1 spans sent, 3 failed"),
        (Counts([Export("awsxray", "spans", waiting=5)]), "5 still waiting"),
        (Counts([Export("awsxray", "spans", not_queued=5)]), "5 refused by its full queue"),
        (Counts(undecided=2), "2 traces wait for a decision"),
    ):
        assert outcome(counts).exit_status == LOST
        assert words in outcome(counts).text()
        assert "✗" in outcome(counts).text()
    refused = outcome(Counts(), refused=9)
    assert refused.exit_status == LOST
    assert "9 traces: UNIMPLEMENTED" in refused.text()
