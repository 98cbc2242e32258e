"""The bill of a run, and what sampling would save and hide: held against OpenTelemetry's own sampler, and against plain sums."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from opentelemetry.sdk.trace.sampling import Decision, TraceIdRatioBased

from compose.settings import Backend, SignalPath
from loadtest.ledger import LedgerEntry
from services.compare import prices, record
from services.compare.costs import sampling
from services.compare.costs.bill import MONTH, bill
from services.compare.costs.sampling import bound
from services.compare.model import PathState
from services.compare.prices import Meter
from services.compare.readers.base import Observation
from services.compare.readers.metrics import custom_metrics
from services.compare.record import Record
from services.compare.web.app import create_app
from services.cruddur.signals import Outcome, Route
from tests.api.servers import hermetic_settings
from tests.compared_runs import STARTED, make_run

RUN = "20260101-000000-abcd"
PATHS = (SignalPath.HONEYCOMB_OTLP, SignalPath.XRAY_SDK, SignalPath.XRAY_OTLP, SignalPath.CLOUDWATCH_OTLP)
N = 200
#: Every tenth request fails.
EVENTS, BYTES = 3, 500


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> Record:
    """The record of 200 requests in 100 seconds, each with a span of three billable events, a log line and a segment on both ways."""
    chance = random.Random(7)
    entries, observations = [], []
    for n in range(N):
        trace, start, failed = f"{1767600000 + n // 2:08x}{chance.getrandbits(96):024x}", 1767600000.0 + n / 2, n % 10 == 0
        entries.append(LedgerEntry(RUN, n, trace, "GET", Route.HOME, "/", Outcome.OK, 500 if failed else 200, start, 500.0, True, True))
        observations += [
            Observation(PATHS[0], "span", "cruddur", "GET", f"{n:016x}", trace, RUN, start=start, error=failed, units=EVENTS),
            Observation(PATHS[0], "log", "cruddur", "request", f"{n:016x}/log", trace, RUN),
            Observation(PATHS[1], "segment", "Cruddur", "Cruddur", f"{n:016x}", trace, RUN, start=start),
            Observation(PATHS[2], "segment", "cruddur", "cruddur", f"{n:015x}f", trace, RUN, start=start),
            Observation(PATHS[3], "log", "cruddur", "request", f"{n}", trace, RUN, units=BYTES),
        ]
    metered = {(SignalPath.CLOUDWATCH_OTLP, Meter.CLOUDWATCH_CUSTOM_METRICS): 12, (None, Meter.XRAY_TRACES_READ): 400}
    here = hermetic_settings(state_dir=tmp_path_factory.mktemp("state"))
    run = make_run(here, run=RUN, entries=entries, paths=PATHS, observations=observations, meters=metered)
    return Record.open(run.folder)


def test_units_are_those_that_were_counted_and_a_trace_is_recorded_once(compared: Record) -> None:
    reckoned = bill(compared, prices.built_in())
    units = {(line.meter, line.path): line.units for line in reckoned.lines}
    assert units == {
        (Meter.HONEYCOMB_EVENTS, "honeycomb/otlp"): N * (EVENTS + 1),
        (Meter.XRAY_TRACES_RECORDED, "xray/sdk"): N,
        (Meter.XRAY_TRACES_RECORDED, "xray/otlp"): N,
        (Meter.CLOUDWATCH_LOG_BYTES, "cloudwatch/otlp"): N * BYTES,
        (Meter.CLOUDWATCH_CUSTOM_METRICS, "cloudwatch/otlp"): 12,
        (Meter.XRAY_TRACES_READ, None): 400,
    }
    totals = {total.meter: total for total in reckoned.totals}
    assert totals[Meter.XRAY_TRACES_RECORDED].units == N, "both ways end in the same trace"


def test_a_month_is_the_runs_rate_beyond_the_free_tier_and_what_stands_does_not_grow(compared: Record) -> None:
    reckoned = bill(compared, prices.built_in())
    assert reckoned.seconds == pytest.approx(100.0)
    totals = {total.meter: total for total in reckoned.totals}
    traces = totals[Meter.XRAY_TRACES_RECORDED]
    assert traces.month_units == pytest.approx(2.0 * MONTH)
    assert traces.month_cost == pytest.approx((2.0 * MONTH - 100_000) * 0.000005)
    assert totals[Meter.CLOUDWATCH_CUSTOM_METRICS].month_units == 12
    assert totals[Meter.CLOUDWATCH_CUSTOM_METRICS].month_cost == pytest.approx(0.6)
    assert totals[Meter.HONEYCOMB_EVENTS].month_cost is None, "a price nobody publishes is unknown, not zero"
    assert reckoned.month(Backend.HONEYCOMB) is None
    assert reckoned.month(Backend.XRAY) == pytest.approx(sum(total.month_cost or 0 for total in reckoned.of(Backend.XRAY)))
    tenfold = {total.meter: total for total in bill(compared, prices.built_in(), rate=20.0).totals}
    assert tenfold[Meter.XRAY_TRACES_RECORDED].month_units == pytest.approx(10 * traces.month_units)
    idle = {total.meter: total for total in bill(compared, prices.built_in(), rate=0.0).totals}
    assert idle[Meter.XRAY_TRACES_RECORDED].month_cost == 0.0


@given(some.floats(0, 1))
@settings(max_examples=40, deadline=None)
def test_a_rate_keeps_what_opentelemetrys_own_sampler_keeps(compared: Record, rate: float) -> None:
    table = prices.built_in()
    (choice,) = sampling.choices(compared, bill(compared, table), table, [rate]).choices
    sampler = TraceIdRatioBased(rate)
    rows = compared.rows("SELECT sequence, trace_id, status FROM requests ORDER BY sequence")
    assert bound(rate) == sampler.get_bound_for_rate(rate)
    kept = [row for row in rows if sampler.should_sample(None, int(row["trace_id"], 16), "").decision is Decision.RECORD_AND_SAMPLE]
    assert choice.kept == len(kept)
    hidden = [row for row in rows if row["status"] == 500 and row not in kept]
    assert choice.hidden == len(hidden)
    assert [each.sequence for each in sampling.hidden(compared, rate)] == [row["sequence"] for row in hidden]
    assert bool(choice.blind) == (choice.hidden == N // 10)


def test_the_last_trace_id_of_all_is_kept_at_100_percent_and_a_failure_that_only_rollbar_saw_counts(tmp_path: Path) -> None:
    trace = f"{int(STARTED):08x}{'f' * 24}"
    entry = LedgerEntry(RUN, 0, trace, "GET", Route.HOME, "/", Outcome.OK, 200, STARTED, 5.0, True, True)
    item = Observation(SignalPath.ROLLBAR_SDK, "item", "cruddur", "error", "1", trace, RUN, error=True)
    run = make_run(hermetic_settings(state_dir=tmp_path), run=RUN, entries=[entry], observations=[item])
    table, one = prices.built_in(), Record.open(run.folder)
    sampled = sampling.choices(one, bill(one, table), table, [1.0, 0.5])
    assert (sampled.errors, [choice.hidden for choice in sampled.choices]) == (1, [0, 1])


def test_what_a_meter_leaves_of_its_free_units_those_that_share_them_use() -> None:
    table = prices.built_in()
    logs, metrics = Meter.CLOUDWATCH_LOG_BYTES, Meter.CLOUDWATCH_METRIC_BYTES
    free = table.meters[logs].free_per_month
    assert table.monthly({logs: free / 2, metrics: free / 2}) == {logs: 0.0, metrics: 0.0}
    assert table.monthly({logs: free * 2.0, metrics: 100.0})[metrics] == pytest.approx(100 * (table.meters[metrics].usd_per_unit or 0))
    assert table.monthly({metrics: free + 8.0})[metrics] == pytest.approx(8 * (table.meters[metrics].usd_per_unit or 0))


def test_free_units_that_sampling_leaves_are_a_saving_of_what_shares_them(compared: Record) -> None:
    """Honeycomb's prices set by a user, and metric events that share the events' free units."""
    written = json.loads(prices.built_in().model_dump_json())
    for name in ("honeycomb/events", "honeycomb/metric-events"):
        written["meters"][name]["usd_per_unit"] = 1.0
    written["meters"]["honeycomb/events"]["free_per_month"] = 100
    table = prices.Prices.model_validate(written)
    record = Record(compared.folder, compared.document)
    record.document = {
        **compared.document,
        "meters": [*compared.document["meters"], {"path": "honeycomb/otlp", "meter": "honeycomb/metric-events", "units": 50}],
    }
    reckoned = bill(record, table, rate=1.0)
    (choice,) = sampling.choices(record, reckoned, table, [0.0]).choices
    before = reckoned.month(Backend.HONEYCOMB)
    after = table.monthly({total.meter: choice.units.get(total.meter, total.month_units) for total in reckoned.totals})
    assert before is not None
    assert choice.saved[Meter.HONEYCOMB_EVENTS] == pytest.approx(
        before - sum(after[meter] or 0 for meter in (Meter.HONEYCOMB_EVENTS, Meter.HONEYCOMB_METRIC_EVENTS))
    )


def test_what_compare_reads_is_no_part_of_a_month(compared: Record) -> None:
    reckoned = bill(compared, prices.built_in())
    assert Meter.XRAY_TRACES_READ in {line.meter for line in reckoned.lines}
    assert Meter.XRAY_TRACES_READ not in {total.meter for total in reckoned.totals}


@pytest.mark.parametrize("without", ["meters", "what is billed"])
def test_a_record_that_does_not_say_what_was_billed_is_a_page_that_says_so(tmp_path: Path, without: str) -> None:
    """An older version wrote no meters; where nothing could be read there are none."""
    here = hermetic_settings(state_dir=tmp_path)
    down = {path: PathState(unreadable="it is down") for path in SignalPath}
    run = make_run(here, 5, states=down if without == "what is billed" else None)
    other = make_run(here, 5, run="20260105-080001-abcd")
    if without == "meters":
        document = json.loads((run.folder / record.RECORD).read_text())
        del document["meters"], document["judging_seconds"]
        (run.folder / record.RECORD).write_text(json.dumps(document))
    pages = create_app(here).test_client()
    answer = pages.get(f"/runs/{run.id}/cost")
    assert answer.status_code == 200
    assert ("an older compare made it" in answer.text) == (without == "meters")
    assert pages.get(f"/runs/{run.id}/with/{other.id}").status_code == 200
    assert pages.get(f"/runs/{other.id}/with/{run.id}").status_code == 200


def test_savings_are_of_spans_and_segments_only_and_less_when_errors_are_kept(compared: Record) -> None:
    table = prices.built_in()
    reckoned = bill(compared, table)
    nothing, everything = sampling.choices(compared, reckoned, table, [0.0, 1.0]).choices
    totals = {total.meter: total for total in reckoned.totals}
    # Of the events of a month a quarter are log records, which are not sampled.
    assert nothing.units[Meter.HONEYCOMB_EVENTS] == pytest.approx(totals[Meter.HONEYCOMB_EVENTS].month_units / (EVENTS + 1))
    assert nothing.saved[Meter.XRAY_TRACES_RECORDED] == pytest.approx(totals[Meter.XRAY_TRACES_RECORDED].month_cost)
    assert nothing.saved[Meter.HONEYCOMB_EVENTS] is None
    kept = nothing.units_keeping[Meter.XRAY_TRACES_RECORDED]
    assert kept == pytest.approx(totals[Meter.XRAY_TRACES_RECORDED].month_units / 10)
    assert everything.hidden == 0
    assert everything.saved[Meter.XRAY_TRACES_RECORDED] == pytest.approx(0)
    assert set(nothing.units) == {Meter.HONEYCOMB_EVENTS, Meter.XRAY_TRACES_RECORDED}


def test_a_hidden_error_says_who_still_shows_it(compared: Record) -> None:
    first, *_ = sampling.hidden(compared, 0.0)
    assert (first.sequence, first.status, list(first.elsewhere)) == (0, 500, ["cloudwatch/otlp", "honeycomb/otlp"])


@pytest.mark.parametrize(
    ("line", "count"),
    [
        (
            {
                "_aws": {
                    "CloudWatchMetrics": [{"Namespace": "N", "Dimensions": [["a"], ["a", "b"]], "Metrics": [{"Name": "x"}, {"Name": "y"}]}]
                }
            },
            4,
        ),
        ({"_aws": {"CloudWatchMetrics": [{"Namespace": "N", "Dimensions": [[]], "Metrics": [{"Name": "x"}]}]}}, 1),
        ({"_aws": {"CloudWatchMetrics": "no list"}}, 0),
        ({"_aws": {"CloudWatchMetrics": ["no object"]}}, 0),
        ({}, 0),
    ],
)
def test_a_custom_metric_is_a_name_with_one_set_of_dimensions_and_their_values(line: dict[str, Any], count: int) -> None:
    one, other = {**line, "a": 1, "b": 2}, {**line, "a": 1, "b": 3}
    assert len(custom_metrics(one)) == count
    assert len(custom_metrics(one) | custom_metrics(other)) == count + sum("b=2" in metric for metric in custom_metrics(one))


def test_a_table_that_lacks_a_meter_is_refused_by_its_name(tmp_path: Path) -> None:
    table = json.loads(prices.built_in().model_dump_json())
    del table["meters"]["rollbar/occurrences"]
    with pytest.raises(ValueError, match="rollbar/occurrences missing"):
        prices.Prices.model_validate(table)
