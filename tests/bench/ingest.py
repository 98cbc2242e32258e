"""How fast the Collector and each local vendor take telemetry, until it can be queried.

Everything is prepared before the clock starts. A figure counts only what a query found afterwards: what was acknowledged but cannot be
found would end the benchmark with an error.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import requests

from collector.build import ensure_built
from collector.configs import command
from compose.settings import ROOT, Settings
from tests.bench import clients
from tests.bench.figures import Figure
from tests.bench.moto import moto_server
from tests.bench.recording import Recording
from tests.bench.sender import write
from tests.ports import free_ports, listens
from tests.sandbox import PORTS, Sandbox
from tests.waiting import until


def honeycomb_count(settings: Settings, run: str) -> int:
    """Spans with this ``run`` that a query finds."""
    spec = {"calculations": [{"op": "COUNT"}], "filters": [{"column": "run", "op": "=", "value": run}], "time_range": 7200}
    rows = clients.query(clients.honeycomb(settings), settings.honeycomb_endpoint, "__all__", spec)
    return int(rows[0]["COUNT"]) if rows else 0


def send(protocol: str, target: str, bodies: Path, *headers: str, connections: int = 4) -> tuple[float, float]:
    """Run the sender; epoch seconds of its begin and of the last acknowledgement."""
    arguments = [sys.executable, "-m", "tests.bench.sender", protocol, target, str(bodies), "--connections", str(connections)]
    for header in headers:
        arguments += ["--header", header]
    done = subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr.strip())
    begin, end = map(float, done.stdout.split())
    return begin, end


def when(condition: Callable[[], bool], what: str) -> float:
    """Epoch seconds when a condition first held."""
    until(condition, 240, what)
    return time.time()


@contextmanager
def bare_collector(folder: Path) -> Iterator[int]:
    """The same binary with the same receiver and limiter, and nowhere to send: the Collector's yardstick."""
    names = {name.upper(): str(port) for name, port in zip(PORTS, free_ports(len(PORTS)), strict=True)}
    environment = dict(os.environ) | names
    environment |= {"BIND_HOST": "127.0.0.1", "COLLECTOR_MEMORY_LIMIT_MIB": "512", "COLLECTOR_QUEUE_DIR": str(folder / "bare-queue")}
    (folder / "bare-queue").mkdir(exist_ok=True)
    with (folder / "bare-collector.log").open("a") as log:
        process = subprocess.Popen(command("collector", frozenset(), ensure_built()), env=environment, stdout=log, stderr=log)
    try:
        port = int(names["OTLP_GRPC_PORT"])
        until(lambda: listens(port), 30, f"the Collector to listen; see {folder / 'bare-collector.log'}")
        yield port
    finally:
        process.terminate()
        process.wait(30)


def collector(sandbox: Sandbox, recording: Recording, folder: Path, spans: int) -> list[Figure]:
    """Spans a second that the Collector accepts with every backend's pipeline, and until visible at the vendors."""
    settings = sandbox.settings()
    run = f"bench-{uuid.uuid4().hex[:8]}"
    prepared = list(recording.batches(spans, 512, run))
    total = sum(count for _, count, _ in prepared)
    traces = {f"1-{each.hex()[:8]}-{each.hex()[8:]}" for _, _, ids in prepared for each in ids}
    bodies = folder / "collector.bin"
    write(bodies, (body for body, _, _ in prepared))
    with bare_collector(folder) as port:
        begin, end = send("grpc", f"127.0.0.1:{port}", bodies)
        bare = total / (end - begin)
    begin, end = send("grpc", f"127.0.0.1:{settings.otlp_grpc_port}", bodies)
    accepted = total / (end - begin)
    honeycomb = when(lambda: honeycomb_count(settings, run) >= total, f"{total} spans in Honeycomb")
    xray = when(lambda: not traces - xray_traces(settings, begin), f"{len(traces)} traces in X-Ray")
    if honeycomb_count(settings, run) != total:
        raise RuntimeError(f"Honeycomb shows {honeycomb_count(settings, run)} spans, {total} were sent")
    return [
        Figure("Collector, all pipelines: accepted", accepted, "spans/s", "the same binary, no exporter", bare),
        Figure("Collector to Honeycomb: until visible", total / (honeycomb - begin), "spans/s", "accepted", accepted),
        Figure("Collector to X-Ray (daemon's role): until visible", total / (xray - begin), "spans/s", "accepted", accepted),
    ]


def xray_traces(settings: Settings, since: float) -> set[str]:
    """Ids of the traces X-Ray shows since then."""
    pages = clients.aws(settings, "xray", settings.xray_endpoint).get_paginator("get_trace_summaries")
    found: set[str] = set()
    for page in pages.paginate(StartTime=since - 60, EndTime=time.time() + 60, TimeRangeType="TraceId"):
        found |= {summary["Id"] for summary in page["TraceSummaries"]}
    return found


def honeycomb(sandbox: Sandbox, recording: Recording, folder: Path, spans: int) -> list[Figure]:
    """Spans a second into the local Honeycomb over OTLP/HTTP until a query finds them, against the same work without the wire."""
    settings = sandbox.settings()
    run = f"bench-{uuid.uuid4().hex[:8]}"
    prepared = list(recording.batches(spans, 4096, run))
    total = sum(count for _, count, _ in prepared)
    bodies = folder / "honeycomb.bin"
    write(bodies, (body for body, _, _ in prepared))
    yardstick = in_process(folder, bodies, total)
    key = f"x-honeycomb-team={settings.honeycomb_api_key.get_secret_value()}"
    begin, _ = send("http", f"{settings.honeycomb_endpoint}/v1/traces", bodies, key)
    visible = when(lambda: honeycomb_count(settings, run) >= total, f"{total} spans in Honeycomb")
    return [
        Figure(
            "Honeycomb, OTLP/HTTP: until visible",
            total / (visible - begin),
            "spans/s",
            "decode and commit, one thread, no wire",
            yardstick,
            "40,000 spans/s",
        )
    ]


def in_process(folder: Path, bodies: Path, total: int) -> float:
    """Spans a second of decoding, flattening and committing alone, in a fresh process."""
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "tests.bench.in_process",
            str(bodies),
            str(folder / f"in-process-{uuid.uuid4().hex[:6]}.duckdb"),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(done.stderr.strip())
    return total / float(done.stdout)


def logs(sandbox: Sandbox, folder: Path, events: int) -> list[Figure]:
    """Log events a second from eight writers, against moto with the same writers."""
    settings = sandbox.settings()
    with moto_server(folder) as (endpoint, _):
        moto_events = put_events(settings, endpoint, events)
    own_events = put_events(settings, settings.logs_endpoint, events)
    return [Figure("CloudWatch Logs, PutLogEvents, 8 writers", own_events, "events/s", "moto", moto_events)]


def eight_writers(work: Callable[[Any, int], None], settings: Settings, service: str, endpoint: str) -> float:
    """Seconds for eight threads to do their work, each with its own client."""
    writers = [clients.aws(settings, service, endpoint) for _ in range(8)]
    errors: list[BaseException] = []

    def guarded(client: Any, number: int) -> None:
        try:
            work(client, number)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=(client, number)) for number, client in enumerate(writers)]
    begin = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return time.perf_counter() - begin


def put_events(settings: Settings, endpoint: str, count: int) -> float:
    """Log events a second, 500 a call, a stream a writer."""
    group = f"bench-{uuid.uuid4().hex[:8]}"
    client = clients.aws(settings, "logs", endpoint)
    client.create_log_group(logGroupName=group)
    for number in range(8):
        client.create_log_stream(logGroupName=group, logStreamName=str(number))
    message = json.dumps(
        {"event": "request", "method": "GET", "path": "/api/activities/home", "status": 200, "trace_id": "0" * 32, "run": "bench"}
    )
    calls = count // 4000

    def work(client: Any, number: int) -> None:
        for _ in range(calls):
            now = int(time.time() * 1000)
            client.put_log_events(
                logGroupName=group, logStreamName=str(number), logEvents=[{"timestamp": now, "message": message} for _ in range(500)]
            )

    return calls * 8 * 500 / eight_writers(work, settings, "logs", endpoint)


def rollbar(sandbox: Sandbox, items: int) -> list[Figure]:
    """Items a second from eight connections, against a GET of the same server that stores nothing."""
    settings = sandbox.settings()
    base = settings.rollbar_endpoint
    headers = {"X-Rollbar-Access-Token": settings.rollbar_access_token.get_secret_value()}

    def each(send: Callable[[requests.Session, int], requests.Response]) -> float:
        errors: list[BaseException] = []

        def work() -> None:
            session = requests.Session()
            try:
                for number in range(items // 8):
                    send(session, number).raise_for_status()
            except BaseException as error:
                errors.append(error)

        threads = [threading.Thread(target=work) for _ in range(8)]
        begin = time.perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if errors:
            raise errors[0]
        return items // 8 * 8 / (time.perf_counter() - begin)

    def item(number: int) -> dict[str, Any]:
        return {
            "data": {
                "environment": "bench",
                "level": "error",
                "uuid": str(uuid.uuid4()),
                "custom": {"run": "bench"},
                "body": {
                    "trace": {
                        "frames": [{"filename": "app.py", "lineno": number, "method": "home"}],
                        "exception": {"class": "BenchError", "message": f"number {number}"},
                    }
                },
            }
        }

    ping = each(lambda session, _: session.get(f"{base}/api/1/status/ping", headers=headers, timeout=60))
    posted = each(lambda session, number: session.post(f"{base}/api/1/item/", json=item(number), headers=headers, timeout=60))
    return [Figure("Rollbar, items, 8 connections: committed", posted, "items/s", "GET status/ping", ping)]
