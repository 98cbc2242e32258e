"""The main job on real parts: up, load, compare. What is lost on purpose is found, exactly."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import duckdb
import pytest

from compose.settings import SignalPath
from tests.sandbox import Sandbox
from tests.waiting import until

#: Verdicts that say "as expected".
AS_EXPECTED = {"seen", "not-expected", "not-sampled"}

#: Seconds of quiet where no Collector queue holds anything back: what is absent then stays so.
NOTHING_ON_ITS_WAY = "4"

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    """One sandbox for this module's tests; each makes a run of its own."""
    with Sandbox.start(tmp_path_factory.mktemp("sandbox")) as started:
        yield started


def differing(report: dict[str, Any]) -> list[tuple[str, str, str]]:
    """(path, verdict, trace id) of each request that is not as expected."""
    return sorted((row["path"], row["verdict"], row["trace_id"]) for row in report["not_as_expected"])


def requests_by_rule(sandbox: Sandbox) -> Counter[str]:
    """How many requests the X-Ray SDK has reported, by the sampling rule that they matched."""
    settings = sandbox.settings()
    xray: Any = boto3.client(
        "xray",
        endpoint_url=settings.xray_endpoint,
        region_name=settings.aws_region,
        aws_access_key_id=settings.aws_access_key_id,
        aws_secret_access_key=settings.aws_secret_access_key.get_secret_value(),
    )
    requests: Counter[str] = Counter()
    for page in xray.get_paginator("get_sampling_statistic_summaries").paginate():
        for summary in page["SamplingStatisticSummaries"]:
            requests[summary["RuleName"]] += summary["RequestCount"]
    return requests


def test_every_request_arrives_on_all_six_paths(sandbox: Sandbox) -> None:
    run = sandbox.load(requests=300)
    report = sandbox.compare(run, status=0)
    assert report["requests"] == 300
    assert set(report["paths"]) == {path.value for path in SignalPath}
    for name, path in report["paths"].items():
        verdicts = {verdict: count for verdict, count in path["verdicts"].items() if count}
        assert set(verdicts) <= AS_EXPECTED, name
        assert sum(verdicts.values()) == 300, name
        assert verdicts.get("seen"), f"{name} showed no request at all"
    assert report["stray"] == 0
    assert report["not_as_expected"] == []


def test_the_backends_sampling_decides_when_asked_to(sandbox: Sandbox) -> None:
    """With SAMPLING=rules the ledger holds each SDK's decision, and what was not sampled is not called lost.

    For X-Ray the sandbox's own rule decides, which `up` has made.
    """
    before = requests_by_rule(sandbox)
    run = sandbox.load(requests=200, sampling="rules")
    report = sandbox.compare(run, status=0)

    # Not each of the 200: the first may have come before the rules of now, since the sandbox's processes start before its rule is made,
    # and what the SDK counts while it takes over changed rules is lost to it. It reports every 10 s, and looks every 10 s whether to.
    reported: Counter[str] = Counter()

    def nearly_all_reported() -> bool:
        reported.clear()
        reported.update(requests_by_rule(sandbox) - before)
        return reported["Cruddur"] >= 180

    until(nearly_all_reported, 40, "the X-Ray SDK's reports of nearly all of 200 requests")
    assert reported.keys() <= {"Cruddur", "Default"}, reported
    for name in ("xray/sdk", "xray/otlp", "honeycomb/otlp"):
        assert report["paths"][name]["verdicts"]["not-sampled"] > 0, name
        assert report["paths"][name]["verdicts"]["seen"] > 0, name
    for name in ("cloudwatch/watchtower", "cloudwatch/otlp", "rollbar/sdk"):
        assert report["paths"][name]["verdicts"].get("not-sampled", 0) == 0, name


def test_items_sent_while_rollbar_was_stopped_are_found_missing(sandbox: Sandbox) -> None:
    sandbox.process("stop", "rollbar")
    run = sandbox.load(requests=200)
    sandbox.process("start", "rollbar")
    report = sandbox.compare(run, status=1, settle=NOTHING_ON_ITS_WAY)
    expected = report["paths"]["rollbar/sdk"]["verdicts"]
    assert expected["missing"] > 0
    assert expected.get("seen", 0) == 0
    rows = differing(report)
    assert len(rows) == expected["missing"]
    assert {(path, verdict) for path, verdict, _ in rows} == {("rollbar/sdk", "missing")}
    assert all(row["why"] for row in report["not_as_expected"])


def test_a_vendor_that_is_down_is_unreadable_not_lossy(sandbox: Sandbox) -> None:
    run = sandbox.load(requests=50)
    sandbox.compare(run, status=0)
    sandbox.process("stop", "rollbar")
    try:
        report = sandbox.compare(run, status=2, settle=NOTHING_ON_ITS_WAY)
        verdicts = report["paths"]["rollbar/sdk"]["verdicts"]
        assert verdicts["unreadable"] > 0
        assert verdicts.get("missing", 0) == 0
    finally:
        sandbox.process("start", "rollbar")


def test_a_row_deleted_behind_honeycombs_back_is_found(sandbox: Sandbox) -> None:
    run = sandbox.load(requests=100)
    sandbox.compare(run, status=0)
    sandbox.process("stop", "honeycomb")
    with duckdb.connect(str(sandbox.state_dir / "data" / "honeycomb.duckdb")) as db:
        columns = {row[0]: row[1] for row in db.execute("SELECT column_name, table_name FROM information_schema.columns").fetchall()}
        trace_column = next(name for name in columns if name.replace(".", "_") == "trace_trace_id")
        table = columns[trace_column]
        victim = db.execute(
            f'SELECT "{trace_column}" FROM "{table}" WHERE name = \'home.activities\' AND "{trace_column}" IN '
            f"(SELECT trace_id FROM read_json_auto(?)) LIMIT 1",
            [str(next((sandbox.state_dir / "runs" / run).glob("ledger-*.jsonl")))],
        ).fetchone()
        assert victim is not None
        db.execute(f'DELETE FROM "{table}" WHERE "{trace_column}" = ?', victim)
    sandbox.process("start", "honeycomb")
    report = sandbox.compare(run, status=1, settle=NOTHING_ON_ITS_WAY)
    assert differing(report) == [("honeycomb/otlp", "missing", victim[0])]


def test_a_backend_switched_off_is_said_to_be_off(tmp_path: Path) -> None:
    with Sandbox.start(tmp_path, backends="honeycomb,cloudwatch") as sandbox:
        run = sandbox.load(requests=60)
        report = sandbox.compare(run, status=0)
        states = {name: path["state"] for name, path in report["paths"].items()}
        assert {name for name, state in states.items() if state == "off"} == {"xray/sdk", "xray/otlp", "rollbar/sdk"}
        assert report["not_as_expected"] == []


def test_a_proxy_in_the_environment_stands_between_nobody(tmp_path: Path) -> None:
    """Whoever needs HTTP_PROXY for the package index has it here too, where nobody answers behind it."""
    nobody = "http://127.0.0.1:9"
    with Sandbox.start(tmp_path, http_proxy=nobody, https_proxy=nobody, no_proxy="") as sandbox:
        run = sandbox.load(requests=60)
        assert sandbox.compare(run, status=0)["not_as_expected"] == []


def test_up_twice_is_harmless_and_down_leaves_nothing(tmp_path: Path) -> None:
    with Sandbox.start(tmp_path, backends="rollbar") as sandbox:
        again = sandbox.run("compose", "up")
        assert again.status == 0, again.err
        assert sandbox.run("compose", "status").status == 0
    assert sandbox.processes() == {}
    assert sandbox.run("compose", "status").status == 1
