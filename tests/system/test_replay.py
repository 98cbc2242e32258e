"""Recording and replay with the real Collector: what it records, that recording costs nobody anything, and what a configuration changes."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from opentelemetry.proto.logs.v1.logs_pb2 import LogsData
from opentelemetry.proto.trace.v1.trace_pb2 import Span, TracesData

from compose.settings import ROOT
from loadtest.runs import load_run
from services.compare.replay.recorded import Signal, files
from services.compare.web.app import create_app
from services.cruddur.signals import Route
from tests.sandbox import Sandbox
from tests.topology import attribute, new_trace_id, topology
from tests.waiting import until

OTLP = {"honeycomb/otlp", "xray/otlp", "cloudwatch/otlp"}

#: Loses the spans of one route on their way to Honeycomb, and nothing else.
FILTER = """\
processors:
  filter/home:
    error_mode: ignore
    traces:
      span:
        - attributes["http.route"] == "/api/activities/home"
service:
  pipelines:
    traces/honeycomb:
      processors: [memory_limiter, filter/home]
"""


# --- Recording -----------------------------------------------------------------------------------------------------


def spans(count: int) -> list[Span]:
    now = time.time_ns()
    return [
        Span(trace_id=new_trace_id(), span_id=os.urandom(8), name="GET", start_time_unix_nano=now, end_time_unix_nano=now + 1,
             attributes=[attribute("run", "r1")])
        for _ in range(count)
    ]  # fmt: skip


def recorded(folder: Path, signal: Signal) -> list[bytes]:
    found = []
    for file in files(folder, signal):
        with file:
            found += list(file.messages())
            assert not file.damaged
    return found


def test_every_request_is_recorded_as_it_came_also_over_a_restart(tmp_path: Path) -> None:
    with topology(tmp_path, frozenset(), record=True) as parts:
        folder = tmp_path / "recorded"
        parts.collector.start()
        sent = [spans(3), spans(1)]
        parts.send_spans(sent[0])
        parts.send_log("one request", time.time_ns())
        until(lambda: recorded(folder, "traces") and recorded(folder, "logs"), 10, "a recording")
        parts.collector.kill()
        parts.collector.start()
        parts.send_spans(sent[1])
        until(lambda: len(recorded(folder, "traces")) == 2, 10, "the second request in the recording")
    data = [TracesData.FromString(message) for message in recorded(folder, "traces")]
    # One message a request, never joined to another; the Collector writes an empty status where there was none.
    found = [
        [(span.trace_id, span.span_id, span.start_time_unix_nano) for span in each.resource_spans[0].scope_spans[0].spans] for each in data
    ]
    assert found == [[(span.trace_id, span.span_id, span.start_time_unix_nano) for span in batch] for batch in sent]
    (log,) = (LogsData.FromString(message) for message in recorded(folder, "logs"))
    assert log.resource_logs[0].scope_logs[0].log_records[0].body.string_value == "one request"


def test_what_cannot_be_recorded_costs_nobody_anything(tmp_path: Path) -> None:
    """A file stands where the folder should be: each write fails, as on a full disk."""
    (tmp_path / "recorded").write_text("")
    with topology(tmp_path, frozenset({"honeycomb"}), record=True) as parts:
        parts.honeycomb.start()
        parts.collector.start()
        batches = [spans(10) for _ in range(5)]
        for batch in batches:
            parts.send_spans(batch)  # Raises when it is not accepted.
        until(lambda: sum(parts.honeycomb.spans.values()) >= 50, 10, "50 spans at Honeycomb")
        failed = "otelcol_exporter_send_failed_spans"
        until(lambda: parts.collector.metric(failed, exporter="otlp_grpc/recording_hop") == 50, 10, "50 spans counted as not recorded")
        assert set(parts.honeycomb.spans.values()) == {1}, "none came twice"
        assert parts.collector.metric("otelcol_receiver_refused_spans", receiver="otlp") == 0


# --- Replay --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    with Sandbox.start(tmp_path_factory.mktemp("replay"), settle="1") as started:
        yield started


@pytest.fixture(scope="module")
def run(sandbox: Sandbox) -> str:
    return sandbox.load(60)


def replay(sandbox: Sandbox, run: str, status: int, **chosen: str) -> tuple[dict[str, Any], str]:
    """The replay's document, and the new run."""
    before = set(sandbox.runs())
    done = sandbox.run("services.compare.replay", run=run, format="json", **chosen)
    assert done.status == status, done.out + done.err
    document: dict[str, Any] = json.loads(done.out)
    assert set(sandbox.runs()) - before == {document["run"]}
    return document, document["run"]


def verdicts(report: dict[str, Any], path: str) -> dict[str, int]:
    return {verdict: count for verdict, count in report["paths"][path]["verdicts"].items() if count}


def test_the_same_configuration_shows_the_same(sandbox: Sandbox, run: str) -> None:
    document, new = replay(sandbox, run, status=0)
    assert document["replay_of"] == run
    assert document["configuration"] == ["base.yaml", "honeycomb.yaml", "xray.yaml", "cloudwatch.yaml"]
    assert document["left_out"] == document["damaged_bytes"] == 0
    assert all(each["dropped"] == 0 for each in document["processors"])
    sent = {(each["exporter"], each["items"]): each["sent"] for each in document["exporters"]}
    assert sent["otlp_http/honeycomb", "spans"] == sent["awsxray", "spans"] == document["sent"]["traces"] > 60
    assert sent["awscloudwatchlogs", "log_records"] == document["sent"]["logs"] >= 60

    report = sandbox.compare(new, status=0)
    assert report["about"]["replay_of"] == run
    assert {path for path, each in report["paths"].items() if each["state"] != "off"} == OTLP
    for path in OTLP:
        assert verdicts(report, path) == {"seen": 60}, path
    assert report["stray"] == 0
    assert {total["state"] for total in report["metrics"]} == {"equal"}

    old, made = load_run(sandbox.settings(), run), load_run(sandbox.settings(), new)
    assert made.manifest.finished == 60
    assert made.manifest.ended is not None
    assert made.manifest.ended <= time.time(), "no time lies in the future"
    assert not {entry.trace_id for entry in old.entries()} & {entry.trace_id for entry in made.entries()}
    assert (made.folder / "collector.log").exists()
    assert json.loads((made.folder / "replay.json").read_text())["run"] == new


def test_a_filter_loses_exactly_what_it_names(sandbox: Sandbox, run: str, tmp_path: Path) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text(FILTER)
    document, new = replay(sandbox, run, status=0, config=str(mine))
    home = {entry.sequence for entry in load_run(sandbox.settings(), run).entries() if entry.route == Route.HOME}
    (dropped,) = (each for each in document["processors"] if each["processor"] == "filter/home")
    assert dropped["dropped"] == len(home) > 0
    report = sandbox.compare(new, status=1)
    assert {(row["sequence"], row["path"]) for row in report["not_as_expected"]} == {(each, "honeycomb/otlp") for each in home}
    assert {row["verdict"] for row in report["not_as_expected"]} == {"partial"}
    assert all("the Collector's configuration or the recording" in row["why"] for row in report["not_as_expected"])
    assert report["stray"] == 0


def test_a_whole_configuration_of_ones_own(sandbox: Sandbox, run: str, tmp_path: Path) -> None:
    """Its receiver and its metrics are where the replay needs them, whatever it says; a signal it has no pipeline for is refused."""
    own = tmp_path / "own.yaml"
    own.write_text(
        f"""\
receivers: {{otlp: {{protocols: {{grpc: {{endpoint: "127.0.0.1:{sandbox.environment["OTLP_GRPC_PORT"]}"}}}}}}}}
exporters: {{nop: }}
service:
  pipelines:
    traces: {{receivers: [otlp], exporters: [nop]}}
    logs: {{receivers: [otlp], exporters: [nop]}}
"""
    )
    document, _ = replay(sandbox, run, status=1, config=str(own), config_only="1", xray_paths="sdk", cloudwatch_paths="")
    assert document["paths"] == ["honeycomb/otlp"]
    assert document["configuration"] == [str(own)]
    assert set(document["refused"]) == {"metrics"}
    assert "UNIMPLEMENTED" in next(iter(document["reasons"]))


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ("exporters:\n  nonsense:\n", "'exporters' unknown type: \"nonsense\""),
        ("a: [", "yaml"),
    ],
    ids=["unknown-exporter", "no-yaml"],
)
def test_a_wrong_configuration_is_told_in_the_collectors_words_and_leaves_nothing(
    sandbox: Sandbox, run: str, tmp_path: Path, wrong: str, words: str
) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text(wrong)
    before, processes = sandbox.runs(), len(sandbox.processes().get("supervisor", []))
    done = sandbox.run("services.compare.replay", run=run, config=str(mine))
    assert done.status == 2
    assert done.out == ""
    assert words in done.err
    assert "no run was made" in done.err
    assert sandbox.runs() == before
    assert not list(sandbox.state_dir.glob("replays/*"))
    assert len(sandbox.processes().get("supervisor", [])) == processes


def test_a_replay_is_followed_and_ended_on_the_page_and_takes_its_run_and_its_collector_with_it(sandbox: Sandbox, run: str) -> None:
    page = create_app(sandbox.settings()).test_client()
    before = set(sandbox.runs())
    with subprocess.Popen(
        [sys.executable, "-m", "services.compare.replay"],
        cwd=ROOT,
        env=sandbox.environment | {"RUN": run, "REPLAY_RATE": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as command:
        try:
            until(lambda: set(sandbox.runs()) - before, 30, "the new run")
            (collector,) = psutil.Process(command.pid).children()
            (new,) = set(sandbox.runs()) - before
            until(
                lambda: re.search(r"[1-9][\d,]* of [\d,]+ recorded items are sent again", page.get(f"/runs/{new}/live").text),
                30,
                "progress",
            )
            assert f"replay of {run}" in page.get("/loads/running").text
            assert f'href="/runs/{new}/live"' in page.get(f"/runs/{run}").text, "the way from the run to its replay"
            assert "Stop the replay" in page.get(f"/runs/{new}/live").text
            assert page.post(f"/runs/{new}/stop", headers={"Origin": "http://evil.example"}).status_code == 403
            stopped = page.post(f"/runs/{new}/stop")
            assert stopped.headers["Location"] == f"/runs/{new}/live?stopping=1&of={run}"
            command.terminate()  # who asks twice gets the same
            output, _ = command.communicate(timeout=30)
        finally:
            command.kill()
    assert command.returncode == 130, output
    assert "the new run was taken back" in output
    assert set(sandbox.runs()) == before
    assert not collector.is_running()
    gone = f"/runs/{run}?taken_back={new}"
    assert page.get(stopped.headers["Location"]).headers["Location"] == gone
    assert page.get(f"/runs/{new}/live/now?state=running&of={run}").headers["HX-Redirect"] == gone
    assert "has taken its run back" in page.get(gone).text
    assert not list(sandbox.state_dir.glob("replays/*"))
