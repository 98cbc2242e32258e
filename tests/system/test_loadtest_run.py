"""``python -m loadtest`` against a real HTTP server that writes down what reached it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests

from compose.settings import ROOT, Settings, SignalPath
from loadtest.ledger import LedgerEntry, finished
from loadtest.plan import FAULT_HEADER
from loadtest.runs import Run, newest_run, runs
from loadtest.summary import plan_of
from tests.api.servers import environment, hermetic_settings
from tests.ports import free_ports
from tests.waiting import until

SECONDS = 120


@dataclass
class Seen:
    """One request as the server saw it."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes

    @property
    def trace_id(self) -> str:
        root = self.headers["x-amzn-trace-id"].split(";")[0].removeprefix("Root=1-")
        return root.replace("-", "")


class Server(ThreadingHTTPServer):
    """Answers 200 to everything, or as ``answers`` and ``drop`` say; writes down every request before it answers."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.seen: list[Seen] = []
        self.lock = threading.Lock()
        #: Response headers for a request.
        self.headers_for: Any = lambda seen: {}
        #: Requests whose connection is closed without an answer.
        self.drop: Any = lambda seen: False
        self.held = threading.Event()
        self.held.set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        seen = Seen(self.command, self.path, {name.lower(): value for name, value in self.headers.items()}, body)
        with self.server.lock:
            self.server.seen.append(seen)
        self.server.held.wait(SECONDS)
        if self.server.drop(seen):
            self.close_connection = True
            return
        content = b'{"ok":true}'
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Set-Cookie", "session=1; Path=/")
        for name, value in self.server.headers_for(seen).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = answer

    def log_message(self, format: str, *arguments: Any) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as started:
        thread = threading.Thread(target=started.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield started
        started.held.set()
        started.shutdown()
        thread.join()


@dataclass
class Load:
    settings: Settings

    def start(self) -> subprocess.Popen[str]:
        """Begin the load in the background."""
        return subprocess.Popen(
            [sys.executable, "-m", "loadtest"],
            cwd=ROOT,
            env=environment(self.settings),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def finish(self, process: subprocess.Popen[str]) -> tuple[int, str, str]:
        out, err = process.communicate(timeout=SECONDS)
        return process.returncode, out, err

    def run(self) -> tuple[int, str, str]:
        return self.finish(self.start())

    def newest(self) -> Run:
        return newest_run(self.settings)


def load_against(server: Server, state_dir: Path, **overrides: Any) -> Load:
    return Load(hermetic_settings(state_dir=state_dir, target_url=server.url, profile="spike", **overrides))


def locust_of(process: subprocess.Popen[str]) -> list[psutil.Process]:
    """Locust's processes below a load."""
    return psutil.Process(process.pid).children(recursive=True)


def begun(load: Load, requests: int) -> None:
    """Wait until a load in the background has finished so many requests."""
    until(lambda: runs(load.settings) and finished(load.newest().folder) >= requests, 60, f"{requests} finished requests")


def told(entries: list[LedgerEntry]) -> list[tuple[Any, ...]]:
    """What the seed decides of a ledger."""
    return [(entry.sequence, entry.route, entry.outcome, entry.method, entry.target) for entry in entries]


def test_every_planned_request_is_sent_once_with_its_identity(server: Server, tmp_path: Path) -> None:
    load = load_against(server, tmp_path, requests=150, users=8)
    status, out, err = load.run()
    assert status == 0, out + err
    run = load.newest()
    entries = run.entries()
    assert [entry.sequence for entry in entries] == list(range(150))
    plan = plan_of(run)
    by_trace = {seen.trace_id: seen for seen in server.seen}
    assert len(server.seen) == len(by_trace) == 150
    for entry in entries:
        planned, seen = plan[entry.sequence], by_trace[entry.trace_id]
        assert (seen.method, seen.target, seen.body) == (planned.method, planned.target, planned.body or b"")
        assert (entry.route, entry.outcome, entry.target) == (planned.route.value, planned.outcome.value, planned.target)
        assert seen.headers.get(FAULT_HEADER.lower()) == planned.fault
        assert seen.headers["baggage"] == f"run={run.id}"
        version, trace_id, span_id, flags = seen.headers["traceparent"].split("-")
        assert (version, trace_id, flags) == ("00", entry.trace_id, "01")
        assert seen.headers["x-amzn-trace-id"].endswith(f";Parent={span_id};Sampled=1")
        assert "cookie" not in seen.headers
        assert abs(int(entry.trace_id[:8], 16) - entry.start) <= 1
        assert (entry.status, entry.sampled_xray_sdk, entry.sampled_otel, entry.error) == (200, True, True, None)
        assert entry.duration_ms > 0
    assert run.manifest.finished == 150
    assert run.manifest.ended is not None
    assert run.manifest.ended >= run.manifest.started
    for said in (run.id, "150 of 150 requests answered", "200: 150", "p50", "p99", "requests/s", "next: `make compare`"):
        assert said in out
    assert "answered otherwise than planned" in out  # this server knows no 404


def test_the_same_seed_gives_the_same_requests_whatever_users_and_workers(server: Server, tmp_path: Path) -> None:
    one = load_against(server, tmp_path / "one", requests=60, users=1, seed=7)
    assert one.run()[0] == 0
    many = load_against(server, tmp_path / "many", requests=60, users=9, seed=7, locust_workers=3)
    status, out, err = many.run()
    assert status == 0, out + err
    assert len(list(many.newest().folder.glob("ledger-*.jsonl"))) == 3
    assert told(one.newest().entries()) == told(many.newest().entries())
    assert len(server.seen) == 120
    bodies = Counter((seen.target, seen.body) for seen in server.seen)
    assert all(count % 2 == 0 for count in bodies.values())
    assert len({seen.trace_id for seen in server.seen}) == 120


@pytest.mark.parametrize("all_of_it", [True, False], ids=["with the command", "Locust alone"])
def test_sigkill_leaves_every_finished_request(server: Server, tmp_path: Path, all_of_it: bool) -> None:
    load = load_against(server, tmp_path, requests=5_000, users=4)
    process = load.start()
    begun(load, 100)
    locust = locust_of(process)
    if all_of_it:
        process.kill()
    for each in locust:
        each.kill()
    status, out, _ = load.finish(process)
    run = load.newest()
    entries = run.entries()
    assert 100 <= len(entries) < 5_000
    if all_of_it:
        assert (run.manifest.ended, run.manifest.finished) == (None, None)
    else:
        assert status == 1
        assert run.manifest.finished == len(entries)
        assert f"not sent  {5_000 - len(entries):,}" in out
    seen = Counter(seen.trace_id for seen in server.seen)
    assert set(seen.values()) == {1}
    assert {entry.trace_id for entry in entries} <= set(seen)
    # All but the requests that were under way, at most one a user.
    assert len(seen) - len(entries) <= 4
    # What was finished is a repeatable part of the plan.
    plan = plan_of(run)
    assert all(plan[entry.sequence].target == entry.target for entry in entries)


def test_nothing_goes_on_sending_when_the_command_is_killed(server: Server, tmp_path: Path) -> None:
    load = load_against(server, tmp_path, requests=1_000_000, users=4, locust_workers=2)
    process = load.start()
    begun(load, 50)
    locust = locust_of(process)
    assert len(locust) >= 3
    process.kill()
    load.finish(process)
    _, alive = psutil.wait_procs(locust, timeout=60)
    assert alive == []


def test_loads_of_several_workers_share_no_port_and_listen_on_loopback_only(server: Server, tmp_path: Path) -> None:
    loads = [load_against(server, tmp_path / name, requests=1_000_000, users=4, locust_workers=2) for name in ("one", "two")]
    processes = [load.start() for load in loads]
    try:
        for load, process in zip(loads, processes, strict=True):
            begun(load, 50)
            listening = [
                connection.laddr
                for one in locust_of(process)
                for connection in one.net_connections("inet")
                if connection.status == psutil.CONN_LISTEN
            ]
            assert {address.ip for address in listening} == {"127.0.0.1"}
    finally:
        for process in processes:
            process.send_signal(signal.SIGINT)
        ends = [load.finish(process) for load, process in zip(loads, processes, strict=True)]
    for load, (_, out, err) in zip(loads, ends, strict=True):
        assert load.newest().manifest.finished, out + err


def test_a_request_without_an_answer_is_written_down_and_not_repeated(server: Server, tmp_path: Path) -> None:
    server.drop = lambda seen: seen.target == "/api/health-check" or seen.target.endswith("/reply")
    load = load_against(server, tmp_path, requests=100, users=4)
    status, out, _ = load.run()
    assert status == 1
    entries = load.newest().entries()
    failed = [entry for entry in entries if entry.status is None]
    assert {entry.method for entry in failed} == {"GET", "POST"}
    assert {entry.trace_id for entry in failed} == {seen.trace_id for seen in server.seen if server.drop(seen)}
    assert len(server.seen) == len(entries) == 100
    for entry in failed:
        assert entry.error
        assert entry.sampled_otel is None
        assert entry.sampled_xray_sdk is None
    assert f"no answer {len(failed)}" in out


def test_the_backends_decisions_are_recorded_when_they_decide(server: Server, tmp_path: Path) -> None:
    def headers(seen: Seen) -> dict[str, str]:
        assert "traceparent" not in seen.headers
        assert seen.headers["x-amzn-trace-id"].endswith(";Sampled=?")
        trace_id, flag = seen.trace_id, int(seen.trace_id[-1], 16) % 2
        return {
            "X-Amzn-Trace-Id": f"Root=1-{trace_id[:8]}-{trace_id[8:]};Sampled={flag}",
            "traceresponse": f"00-{trace_id}-00f067aa0ba902b7-0{1 - flag}",
        }

    server.headers_for = headers
    load = load_against(server, tmp_path, requests=80, users=4, sampling="rules")
    assert load.run()[0] == 0
    entries = load.newest().entries()
    assert {entry.sampled_xray_sdk for entry in entries} == {True, False}
    for entry in entries:
        assert entry.sampled_xray_sdk == bool(int(entry.trace_id[-1], 16) % 2)
        assert entry.sampled_otel == (not entry.sampled_xray_sdk)


@pytest.mark.parametrize("workers", [1, 2])
def test_ctrl_c_finishes_what_is_under_way_and_completes_the_manifest(server: Server, tmp_path: Path, workers: int) -> None:
    load = load_against(server, tmp_path, requests=5_000, users=4, locust_workers=workers)
    process = load.start()
    begun(load, 50)
    process.send_signal(signal.SIGINT)
    status, out, err = load.finish(process)
    assert status == 1, out + err
    run = load.newest()
    entries = run.entries()
    assert {seen.trace_id for seen in server.seen} == {entry.trace_id for entry in entries}
    assert run.manifest.finished == len(entries) < 5_000
    assert f"not sent  {5_000 - len(entries):,}" in out


def test_the_manifest_describes_the_sandbox_as_it_runs(server: Server, tmp_path: Path) -> None:
    sandbox = hermetic_settings(backends="xray,rollbar", xray_paths="otlp", aws_region="eu-west-1")
    (tmp_path / "sandbox.json").write_text(json.dumps(sandbox.public()))
    load = load_against(server, tmp_path, requests=5, seed=9)
    assert load.run()[0] == 0
    manifest = load.newest().manifest
    assert manifest.paths == [SignalPath.ROLLBAR_SDK, SignalPath.XRAY_OTLP]
    assert manifest.settings["aws_region"] == "eu-west-1"
    assert (manifest.settings["seed"], manifest.settings["target_url"]) == ("9", server.url)
    assert manifest.versions["python"]
    assert manifest.versions["locust"]
    secrets = [load.settings.rollbar_access_token, load.settings.honeycomb_api_key, load.settings.aws_secret_access_key]
    text = (load.newest().folder / "manifest.json").read_text()
    assert not any(secret.get_secret_value() in text for secret in secrets)


def test_locusts_own_environment_variables_do_not_change_the_run(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCUST_USERS", "1")
    monkeypatch.setenv("LOCUST_RUN_TIME", "1ms")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    load = load_against(server, tmp_path, requests=40)
    status, out, err = load.run()
    assert status == 0, out + err
    assert len(load.newest().entries()) == 40


def test_an_application_that_is_down_is_said_in_one_line_and_no_run_is_made(tmp_path: Path) -> None:
    settings = hermetic_settings(state_dir=tmp_path, target_url=f"http://127.0.0.1:{free_ports(1)[0]}")
    status, out, err = Load(settings).run()
    assert (status, out) == (2, "")
    assert len(err.splitlines()) == 1
    assert "make up" in err
    assert not runs(settings)


def test_a_taken_port_of_the_page_is_said_before_anything_is_sent(server: Server, tmp_path: Path) -> None:
    load = load_against(server, tmp_path, ui=True, locust_port=server.server_address[1])
    status, _, err = load.run()
    assert status == 2
    assert "LOCUST_PORT" in err
    assert server.seen == []


def test_locusts_page_shows_the_run_and_stays_until_ctrl_c(server: Server, tmp_path: Path) -> None:
    load = load_against(server, tmp_path, requests=40, users=4, ui=True, locust_port=free_ports(1)[0])
    page = f"http://127.0.0.1:{load.settings.locust_port}"
    process = load.start()

    def statistics() -> dict[str, Any]:
        try:
            return dict(requests.get(f"{page}/stats/requests", timeout=10).json())
        except requests.RequestException:
            return {}

    try:
        until(lambda: runs(load.settings) and load.newest().manifest.ended, 60, "the run to end")
        assert load.newest().manifest.finished == 40
        until(lambda: statistics().get("state") == "stopped", 60, "the page to show the end")
        total = next(row for row in statistics()["stats"] if row["name"] == "Aggregated")
        assert total["num_requests"] == 40
        # Starting again from the page sends nothing more: this run has sent its requests.
        requests.post(f"{page}/swarm", data={"user_count": 4, "spawn_rate": 4}, timeout=30)
        until(lambda: statistics().get("state") == "stopped", 60, "the second start to end")
    finally:
        process.send_signal(signal.SIGINT)
        status, out, err = load.finish(process)
    assert status == 0, out + err
    assert len(server.seen) == len(load.newest().entries()) == 40
    assert page in out
