"""`python -m services.compare` against running local vendors that were sent exactly what a run must show, less or more than that."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests as http

from compose.settings import ROOT, Settings, SignalPath
from loadtest.ledger import LedgerEntry
from services.cruddur.signals import Outcome, Route
from tests.api.servers import Vendor, environment, hermetic_settings, start_vendor
from tests.compare_run import Keep, Wire, requests, write_run


@dataclass
class Vendors:
    """All three local vendors, and the settings that point at them."""

    aws: Vendor
    honeycomb: Vendor
    rollbar: Vendor
    settings: Settings
    runs: int = 0

    def made(self, count: int, keep: Keep = lambda _entry, _signal: 1, short: int = 0, **how: Any) -> list[LedgerEntry]:
        """A run of its own, sent to the vendors."""
        self.runs += 1
        entries = requests(count, run=f"20260101-12{self.runs:04d}-ab12", **how)
        write_run(self.settings, entries)
        wire = Wire(self.settings)
        wire.send(entries, keep)
        wire.metrics(entries, short)
        return entries

    def send_event(self, dataset: str, data: dict[str, Any]) -> None:
        """One event of somebody else's to Honeycomb."""
        key = self.settings.honeycomb_api_key.get_secret_value()
        answer = http.post(
            f"{self.settings.honeycomb_endpoint}/1/events/{dataset}", json=data, headers={"X-Honeycomb-Team": key}, timeout=30
        )
        assert answer.ok, answer.text

    def compare(self, *arguments: str, **overrides: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "services.compare", *arguments],
            cwd=ROOT,
            env=environment(self.settings) | {"SETTLE": "0.5"} | overrides,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def report(self, entries: list[LedgerEntry], status: int, **overrides: str) -> dict[str, Any]:
        done = self.compare("--run", entries[0].run, "--format", "json", **overrides)
        assert done.returncode == status, done.stdout[:3000] + done.stderr
        document: dict[str, Any] = json.loads(done.stdout)
        assert document["exit_status"] == status
        return document


@pytest.fixture(scope="module")
def vendors(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Vendors]:
    folder: Path = tmp_path_factory.mktemp("vendors")
    with (
        start_vendor("aws", folder / "aws") as aws,
        start_vendor("honeycomb", folder / "honeycomb") as honeycomb,
        start_vendor("rollbar", folder / "rollbar") as rollbar,
    ):
        settings = hermetic_settings(
            state_dir=folder / "state",
            aws_port=aws.ports[0],
            honeycomb_port=honeycomb.ports[0],
            honeycomb_grpc_port=honeycomb.ports[1],
            rollbar_port=rollbar.ports[0],
        )
        yield Vendors(aws, honeycomb, rollbar, settings)


def verdicts(report: dict[str, Any], path: SignalPath) -> dict[str, int]:
    return {verdict: count for verdict, count in report["paths"][path]["verdicts"].items() if count}


def test_a_run_that_arrived_whole_is_all_as_expected(vendors: Vendors) -> None:
    entries = vendors.made(40)
    report = vendors.report(entries, status=0)
    assert report["run"] == entries[0].run
    assert report["requests"] == 40
    assert report["stray"] == 0
    assert report["not_as_expected"] == []
    for path in SignalPath:
        assert set(verdicts(report, path)) <= {"seen", "not-expected"}, path
        assert sum(verdicts(report, path).values()) == 40
    assert {total["state"] for total in report["metrics"]} == {"equal"}
    assert len(report["metrics"]) == 4
    assert verdicts(report, SignalPath.ROLLBAR_SDK) == {"seen": 10, "not-expected": 30}


def test_what_is_measured_is_shown_and_what_a_backend_does_not_say_is_null(vendors: Vendors) -> None:
    report = vendors.report(vendors.made(16), status=0)
    paths = report["paths"]
    assert paths["honeycomb/otlp"]["errors"] == 2
    assert paths["rollbar/sdk"]["errors"] == 2
    for path in ("honeycomb/otlp", "cloudwatch/watchtower", "cloudwatch/otlp"):
        assert paths[path]["visible_seconds"]["p99"] > 0
    for path in ("xray/sdk", "xray/otlp", "rollbar/sdk"):
        assert paths[path]["visible_seconds"] is None
    for path in ("honeycomb/otlp", "xray/sdk", "xray/otlp"):
        assert paths[path]["duration_difference_ms"]["p50"] == pytest.approx(2.0, abs=0.01)
    assert paths["rollbar/sdk"]["duration_difference_ms"] is None
    renamed = {each["key"]: each["renamed"] for each in paths["xray/otlp"]["attributes"] if each["renamed"]}
    assert renamed["app.now"] == 4
    assert paths["xray/sdk"]["billed"] == {"unit": "trace", "units": 16, "usd": pytest.approx(16 * 5e-6)}
    assert paths["honeycomb/otlp"]["billed"]["usd"] is None


def test_exactly_what_was_lost_is_missing_and_what_was_half_lost_partial(vendors: Vendors) -> None:
    def keep(entry: LedgerEntry, signal: Any) -> int:
        lost = (entry.sequence == 3 and signal.path is SignalPath.ROLLBAR_SDK) or (
            entry.sequence == 8 and signal.path is SignalPath.HONEYCOMB_OTLP and signal.name == "home.activities"
        )
        return 0 if lost else 1

    report = vendors.report(vendors.made(24, keep), status=1)
    found = [(row["sequence"], row["path"], row["verdict"], row["absent"]) for row in report["not_as_expected"]]
    assert found == [
        (3, "rollbar/sdk", "missing", ["item error (cruddur)"]),
        (8, "honeycomb/otlp", "partial", ["span home.activities (cruddur)"]),
    ]
    assert "pyrollbar does not retry" in report["not_as_expected"][0]["why"]
    assert report["conclusion"].startswith("Of 24 requests, ")


def test_what_was_delivered_twice_is_a_duplicate_where_the_vendor_keeps_both(vendors: Vendors) -> None:
    def keep(entry: LedgerEntry, signal: Any) -> int:
        return 2 if entry.sequence == 1 and signal.path in (SignalPath.HONEYCOMB_OTLP, SignalPath.CLOUDWATCH_OTLP) else 1

    report = vendors.report(vendors.made(8, keep), status=1)
    found = [(row["sequence"], row["path"], row["verdict"]) for row in report["not_as_expected"]]
    assert found == [(1, "honeycomb/otlp", "duplicate"), (1, "cloudwatch/otlp", "duplicate")]
    assert "log request (cruddur) came 2 times instead of 1" in report["not_as_expected"][1]["extra"]


def test_what_no_ledger_line_explains_is_stray(vendors: Vendors) -> None:
    entries = vendors.made(8)
    ghost = requests(1, run=entries[0].run)
    Wire(vendors.settings).send(ghost)
    report = vendors.report(entries, status=1)
    assert report["stray"] > 0
    assert {stray["trace_id"] for stray in report["strays"]} == {ghost[0].trace_id}
    assert {stray["path"] for stray in report["strays"]} == {path.value for path in SignalPath if path is not SignalPath.ROLLBAR_SDK}
    assert {stray["why"] for stray in report["strays"]} == {"no ledger line has this trace id"}


def test_a_sampling_decision_is_not_a_loss(vendors: Vendors) -> None:
    entries = vendors.made(16, sampled_xray_sdk=lambda number: number % 2 == 0, sampled_otel=lambda number: number % 4 == 0)
    report = vendors.report(entries, status=0)
    assert verdicts(report, SignalPath.XRAY_SDK) == {"seen": 8, "not-sampled": 8}
    assert verdicts(report, SignalPath.XRAY_OTLP) == {"seen": 4, "not-sampled": 12}
    assert verdicts(report, SignalPath.HONEYCOMB_OTLP) == {"seen": 4, "not-sampled": 12}
    assert verdicts(report, SignalPath.CLOUDWATCH_OTLP) == {"seen": 16}


def test_what_came_of_a_request_nobody_saw_an_answer_to_is_explained(vendors: Vendors) -> None:
    entries = vendors.made(4, kinds=((Route.HOME, Outcome.OK, 200), (Route.HOME, Outcome.OK, None)))
    silent = [entry for entry in entries if entry.status is None]
    sent = [LedgerEntry(**{**vars(entry), "status": 200, "sampled_otel": True, "sampled_xray_sdk": True}) for entry in silent[:1]]
    Wire(vendors.settings).send(sent)
    Wire(vendors.settings).metrics(sent)
    report = vendors.report(entries, status=0)
    assert report["stray"] == 0
    for path in SignalPath:
        assert verdicts(report, path).get("not-expected", 0) >= 2, path


def test_a_metric_total_that_differs_from_the_ledger_is_found(vendors: Vendors) -> None:
    report = vendors.report(vendors.made(8, short=3), status=1)
    states = {(total["path"], total["metric"]): total["state"] for total in report["metrics"]}
    assert states[("cloudwatch/otlp", "http.server.request.duration")] == "less"
    assert states[("honeycomb/otlp", "http.server.request.duration")] == "equal"


def test_a_path_that_was_off_is_off_and_not_lost(vendors: Vendors) -> None:
    vendors.runs += 1
    entries = requests(8, run=f"20260101-12{vendors.runs:04d}-ab12")
    on = [SignalPath.CLOUDWATCH_WATCHTOWER]
    write_run(vendors.settings, entries, on)
    Wire(vendors.settings).send(entries, lambda _entry, signal: int(signal.path in on))
    report = vendors.report(entries, status=0)
    assert {path for path, each in report["paths"].items() if each["state"] == "off"} == {path.value for path in SignalPath} - set(on)
    assert report["paths"]["rollbar/sdk"]["verdicts"] == {}
    assert report["metrics"] == []


def test_a_vendor_that_is_down_is_unreadable_and_not_lossy(vendors: Vendors) -> None:
    entries = vendors.made(8)
    vendors.rollbar.stop()
    try:
        report = vendors.report(entries, status=2)
        assert verdicts(report, SignalPath.ROLLBAR_SDK) == {"unreadable": 8}
        assert report["paths"]["rollbar/sdk"]["reason"].startswith("Rollbar does not answer at ")
        assert report["not_as_expected"] == []
        table = vendors.compare("--run", entries[0].run)
        assert table.returncode == 2
        assert "rollbar/sdk could not be read" in table.stdout
    finally:
        vendors.rollbar.start()


def test_a_wrong_key_is_unreadable_at_once(vendors: Vendors) -> None:
    entries = vendors.made(8)
    report = vendors.report(entries, status=2, ROLLBAR_READ_TOKEN="0" * 32, HONEYCOMB_QUERY_KEY="wrongwrongwrongwrongwr", SETTLE="60")
    assert "401" in report["paths"]["rollbar/sdk"]["reason"]
    assert "401" in report["paths"]["honeycomb/otlp"]["reason"]
    assert report["paths"]["honeycomb/otlp"]["next"] == "set HONEYCOMB_QUERY_KEY"


def test_the_table_fits_120_columns_and_says_it_without_colours(vendors: Vendors) -> None:
    entries = vendors.made(16, lambda entry, signal: 0 if entry.sequence == 3 and signal.path is SignalPath.ROLLBAR_SDK else 1)
    done = vendors.compare("--run", entries[0].run)
    assert done.returncode == 1
    assert max(len(line) for line in done.stdout.splitlines()) <= 120
    assert "\x1b" not in done.stdout
    assert "✗ Of 16 requests, rollbar/sdk: 1 missing." in done.stdout
    for path in SignalPath:
        assert path.value in done.stdout


def test_a_trace_is_shown_as_every_path_saw_it_by_either_form_of_its_id(vendors: Vendors) -> None:
    entries = vendors.made(8)
    trace_id = entries[3].trace_id
    for form in (trace_id, f"1-{trace_id[:8]}-{trace_id[8:]}"):
        done = vendors.compare("trace", form)
        assert done.returncode == 0, done.stderr
        for words in ("home.activities (cruddur)", "segment Cruddur", "subsegment HomeActivities", "item error", "log request"):
            assert words in done.stdout, words
    document = json.loads(vendors.compare("trace", trace_id, "--format", "json").stdout)
    assert document["ledger"]["sequence"] == 3
    assert all(path["observations"] for path in document["paths"].values())
    assert document["paths"]["rollbar/sdk"]["observations"][0]["document"]["custom"]["trace_id"] == trace_id


def test_a_trace_has_the_verdict_of_its_run_however_many_columns_its_environment_has(vendors: Vendors) -> None:
    # More than a query can be broken down by: in the metrics' dataset, and in another service's that holds traces too.
    other: dict[str, Any] = {f"a.{number:03}": number for number in range(120)}
    for dataset, data in (("wide-metrics", other), ("wide-service", other | {"trace.trace_id": "ab" * 16})):
        vendors.send_event(dataset, data)
    entries = vendors.made(8)
    for entry in entries:
        document = json.loads(vendors.compare("trace", entry.trace_id, "--format", "json").stdout)
        wrong = {path: found["absent_or_extra"] for path, found in document["paths"].items() if found["absent_or_extra"]}
        assert wrong == {}, entry
        assert document["paths"]["honeycomb/otlp"]["verdict"] == "seen"


def test_a_trace_nobody_knows_is_said_to_be_unknown(vendors: Vendors) -> None:
    done = vendors.compare("trace", f"{int(requests(1)[0].start):08x}{'ab' * 12}")
    assert done.returncode == 1
    assert "Nobody knows this trace" in done.stdout
