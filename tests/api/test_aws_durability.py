"""What the local AWS acknowledged is there after a restart and after SIGKILL, and reading never fails beside writing."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import botocore.exceptions
import pytest

from compose.settings import ROOT
from tests.api.aws_clients import client, put, segment, summaries, trace_id
from tests.api.servers import Vendor, environment, hermetic_settings, start_vendor
from tests.waiting import until


@pytest.fixture
def aws(tmp_path: Path) -> Iterator[Vendor]:
    with start_vendor("aws", tmp_path) as vendor:
        yield vendor


def test_state_is_kept_over_a_restart(aws: Vendor) -> None:
    xray, logs = client(aws, "xray"), client(aws, "logs")
    trace = trace_id()
    put(xray, segment(trace))
    xray.create_group(GroupName="kept", FilterExpression="fault")
    logs.create_log_group(logGroupName="g", tags={"k": "v"})
    logs.create_log_stream(logGroupName="g", logStreamName="s")
    logs.put_log_events(logGroupName="g", logStreamName="s", logEvents=[{"timestamp": int(time.time() * 1000), "message": "m"}])
    before = (
        xray.batch_get_traces(TraceIds=[trace])["Traces"],
        xray.get_groups()["Groups"],
        logs.filter_log_events(logGroupName="g")["events"],
        logs.list_tags_log_group(logGroupName="g")["tags"],
    )
    aws.restart()
    assert before == (
        xray.batch_get_traces(TraceIds=[trace])["Traces"],
        xray.get_groups()["Groups"],
        logs.filter_log_events(logGroupName="g")["events"],
        logs.list_tags_log_group(logGroupName="g")["tags"],
    )
    logs.put_log_events(logGroupName="g", logStreamName="s", logEvents=[{"timestamp": int(time.time() * 1000), "message": "m2"}])
    ids = [event["eventId"] for event in logs.filter_log_events(logGroupName="g")["events"]]
    assert len(set(ids)) == 2, "event ids go on where they were"


def test_sigkill_loses_nothing_that_was_acknowledged(aws: Vendor) -> None:
    logs = client(aws, "logs")
    logs.create_log_group(logGroupName="g")
    logs.create_log_stream(logGroupName="g", logStreamName="s")
    segments: set[str] = set()
    lines: set[str] = set()
    failures: list[BaseException] = []
    stop = threading.Event()

    def write(one_batch: Any) -> None:
        while not stop.is_set():
            try:
                one_batch()
            except botocore.exceptions.BotoCoreError:
                if stop.is_set():
                    return
                time.sleep(0.02)  # the vendor is being killed or started
            except BaseException as error:
                failures.append(error)
                return

    def put_segments() -> None:
        ids = [trace_id() for _ in range(10)]
        put(client_of_thread("xray"), *(segment(one) for one in ids))
        segments.update(ids)

    def put_lines() -> None:
        stamp = time.time_ns()
        names = [f"{threading.get_ident()}-{stamp}-{number}" for number in range(10)]
        client_of_thread("logs").put_log_events(
            logGroupName="g", logStreamName="s", logEvents=[{"timestamp": stamp // 1_000_000, "message": name} for name in names]
        )
        lines.update(names)

    local = threading.local()

    def client_of_thread(service: str) -> Any:
        if not hasattr(local, service):
            setattr(local, service, client(aws, service))
        return getattr(local, service)

    started = time.time()
    writers = [threading.Thread(target=write, args=(batch,)) for batch in (put_segments, put_segments, put_lines, put_lines)]
    for writer in writers:
        writer.start()
    try:
        for _ in range(3):
            # Bound by what was written, not by time.
            wanted_segments, wanted_lines = len(segments) + 100, len(lines) + 100
            until(lambda: failures or (len(segments) >= wanted_segments and len(lines) >= wanted_lines), 60, "writes to be acknowledged")  # noqa: B023
            aws.kill()
            aws.start()
    finally:
        stop.set()
        for writer in writers:
            writer.join(60)
    assert failures == []
    found = {summary["Id"] for summary in summaries(client(aws, "xray"), started - 1, time.time() + 1)}
    assert segments <= found, f"lost {len(segments - found)} of {len(segments)} traces"
    pages = client(aws, "logs").get_paginator("filter_log_events").paginate(logGroupName="g")
    stored = {event["message"] for page in pages for event in page["events"]}
    assert lines <= stored, f"lost {len(lines - stored)} of {len(lines)} lines"


def test_reading_never_fails_while_many_write(aws: Vendor) -> None:
    stop = threading.Event()
    failures: list[str] = []
    start = time.time()

    def write() -> None:
        xray = client(aws, "xray")
        while not stop.is_set():
            try:
                put(xray, *(segment(trace_id(), metadata={"default": {"pad": "x" * 500}}) for _ in range(50)))
            except Exception as error:
                failures.append(f"write: {error!r}")
                return

    writers = [threading.Thread(target=write) for _ in range(4)]
    for writer in writers:
        writer.start()
    try:
        xray = client(aws, "xray")
        reads = 0
        while reads < 40:
            try:
                page = xray.get_trace_summaries(StartTime=start - 1, EndTime=start + 600)
                ids = [summary["Id"] for summary in page["TraceSummaries"]][:5]
                if ids:
                    assert len(xray.batch_get_traces(TraceIds=ids)["Traces"]) == len(ids)
                    reads += 1
            except Exception as error:
                failures.append(f"read: {error!r}")
                break
    finally:
        stop.set()
        for writer in writers:
            writer.join(60)
    assert failures == []


def _refused_start(state_dir: Path, **settings: Any) -> str:
    """Start ``python -m localstack.aws`` where it must refuse; its one line."""
    made = hermetic_settings(state_dir=state_dir, **settings)
    told = subprocess.run(
        [sys.executable, "-m", "localstack.aws"], cwd=ROOT, env=environment(made), capture_output=True, text=True, timeout=60
    )
    assert told.returncode == 2, told.stderr
    lines = [line for line in told.stderr.splitlines() if " INFO " not in line]
    assert len(lines) == 1, told.stderr
    return lines[0]


def test_a_busy_port_is_an_error_of_one_line(aws: Vendor, tmp_path: Path) -> None:
    line = _refused_start(tmp_path / "other", aws_port=aws.port)
    assert line == f"aws: port 127.0.0.1:{aws.port} is in use; `make doctor` names the process that holds it"


def test_a_file_in_use_is_an_error_of_one_line(aws: Vendor) -> None:
    line = _refused_start(aws.settings.state_dir, aws_port=aws.port)
    assert "is in use by another process" in line
    assert f"PID {aws.process.pid}" in line


def test_a_corrupt_file_is_an_error_of_one_line_and_stays(tmp_path: Path) -> None:
    path = tmp_path / "data" / "aws.duckdb"
    path.parent.mkdir()
    path.write_text(json.dumps({"not": "a database"}))
    assert "move it away or run `make clean`" in _refused_start(tmp_path)
    assert path.read_text() == json.dumps({"not": "a database"})


def test_it_stops_in_order_on_sigterm(aws: Vendor) -> None:
    assert aws.stop() == 0
    assert " aws stopped" in aws.log
    assert not aws.settings.data_dir.joinpath("aws.duckdb.wal").exists(), "closing writes the log into the file"
