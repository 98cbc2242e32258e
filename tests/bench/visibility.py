"""Time from a request's response until a backend shows it, per path, under the demo load; memory; time of `up`.

Each path is asked every tenth of a second through the vendor's public API while the load runs; a request counts as visible
when an answer held it, so the figures are upper bounds by one round of asking.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable

import requests

from compose import status
from compose.settings import Settings, SignalPath
from tests.bench import clients
from tests.bench.figures import Figure
from tests.sandbox import Sandbox

#: Seconds between two askings of a path.
INTERVAL = 0.1

#: Seconds an asking looks back, so that what was committed late is still found.
LOOK_BACK = 15


class Watcher(threading.Thread):
    """Asks one backend again and again which traces it shows, and remembers when each was first shown on each path."""

    def __init__(self, ask: Callable[[], dict[SignalPath, set[str]]]) -> None:
        super().__init__(daemon=True)
        self.ask = ask
        self.first_seen: dict[SignalPath, dict[str, float]] = {}
        self.error: BaseException | None = None
        self.stopping = threading.Event()

    def run(self) -> None:
        try:
            while not self.stopping.wait(INTERVAL):
                shown = self.ask()
                now = time.time()
                for path, traces in shown.items():
                    seen = self.first_seen.setdefault(path, {})
                    for trace in traces:
                        seen.setdefault(trace, now)
        except BaseException as error:
            self.error = error


def ask_honeycomb(settings: Settings) -> Callable[[], dict[SignalPath, set[str]]]:
    """Traces of the last seconds, from a grouped query."""
    session = clients.honeycomb(settings)

    def ask() -> dict[SignalPath, set[str]]:
        spec = {
            "breakdowns": ["trace.trace_id"],
            "calculations": [{"op": "COUNT"}],
            "filters": [{"column": "meta.signal_type", "op": "=", "value": "trace"}],
            "start_time": int(time.time()) - LOOK_BACK,
            "end_time": int(time.time()) + 2,
            "limit": 10_000,
        }
        try:
            rows = clients.query(session, settings.honeycomb_endpoint, "cruddur", spec)
        except requests.HTTPError as error:
            if error.response.status_code == 404:
                return {}  # no event has made the dataset yet
            raise
        return {SignalPath.HONEYCOMB_OTLP: {str(row.get("trace.trace_id")) for row in rows}}

    return ask


def ask_xray(settings: Settings) -> Callable[[], dict[SignalPath, set[str]]]:
    """Traces of the last seconds, by the SDK that wrote their segments."""
    client = clients.aws(settings, "xray", settings.xray_endpoint)
    complete: set[str] = set()

    def ask() -> dict[SignalPath, set[str]]:
        shown: dict[SignalPath, set[str]] = {SignalPath.XRAY_SDK: set(), SignalPath.XRAY_OTLP: set()}
        now = time.time()
        ids = [
            summary["Id"]
            for page in client.get_paginator("get_trace_summaries").paginate(StartTime=now - LOOK_BACK, EndTime=now + 2)
            for summary in page["TraceSummaries"]
        ]
        new = [each for each in ids if each not in complete]
        for at in range(0, len(new), 5):
            for trace in client.batch_get_traces(TraceIds=new[at : at + 5])["Traces"]:
                trace_id = trace["Id"].replace("-", "")[1:]
                paths = set()
                for each in trace["Segments"]:
                    document = json.loads(each["Document"])
                    if document.get("type") != "subsegment" and document["name"] in ("Cruddur", "cruddur"):
                        sdk = document.get("aws", {}).get("xray", {}).get("sdk", "")
                        paths.add(SignalPath.XRAY_SDK if "X-Ray for Python" in sdk else SignalPath.XRAY_OTLP)
                for path in paths:
                    shown[path].add(trace_id)
                if len(paths) == 2:
                    complete.add(trace["Id"])
        return shown

    return ask


def ask_logs(settings: Settings, path: SignalPath, group: str) -> Callable[[], dict[SignalPath, set[str]]]:
    """Traces named by the log lines of the last seconds."""
    client = clients.aws(settings, "logs", settings.logs_endpoint)

    def ask() -> dict[SignalPath, set[str]]:
        traces: set[str] = set()
        start = int((time.time() - LOOK_BACK) * 1000)
        try:
            for page in client.get_paginator("filter_log_events").paginate(logGroupName=group, startTime=start):
                traces |= {trace_of(event["message"]) for event in page["events"]}
        except client.exceptions.ResourceNotFoundException:
            return {}
        return {path: traces}

    return ask


def trace_of(message: str) -> str:
    """The trace id in a JSON log line, wherever its writer put it; empty when there is none."""
    line = json.loads(message)
    for holder in (line, line.get("attributes", {}), line.get("body") if isinstance(line.get("body"), dict) else {}):
        if holder.get("trace_id"):
            return str(holder["trace_id"])
    return ""


def ask_rollbar(settings: Settings) -> Callable[[], dict[SignalPath, set[str]]]:
    """Traces named by the newest occurrences."""
    session = requests.Session()
    session.headers["X-Rollbar-Access-Token"] = settings.rollbar_read_token.get_secret_value()

    def ask() -> dict[SignalPath, set[str]]:
        answer = session.get(f"{settings.rollbar_endpoint}/api/1/instances", timeout=30)
        answer.raise_for_status()
        instances = answer.json()["result"]["instances"]
        return {SignalPath.ROLLBAR_SDK: {str(each["data"].get("custom", {}).get("trace_id")) for each in instances}}

    return ask


def percentile(values: list[float], share: float) -> float:
    """The value below which this share of sorted ``values`` lies."""
    return values[min(int(len(values) * share), len(values) - 1)]


def visible(sandbox: Sandbox, count: int) -> list[Figure]:
    """Run the demo load while every path is watched."""
    settings = sandbox.settings()
    watchers = [
        Watcher(ask_honeycomb(settings)),
        Watcher(ask_xray(settings)),
        Watcher(ask_logs(settings, SignalPath.CLOUDWATCH_WATCHTOWER, settings.log_group)),
        Watcher(ask_logs(settings, SignalPath.CLOUDWATCH_OTLP, settings.otlp_log_group)),
        Watcher(ask_rollbar(settings)),
    ]
    for watcher in watchers:
        watcher.start()
    run = sandbox.load(requests=count)
    sandbox.compare(run, status=0)
    for watcher in watchers:
        watcher.stopping.set()
    for watcher in watchers:
        watcher.join(30)
        if watcher.error:
            raise RuntimeError(f"a path could not be watched: {watcher.error!r}")
    ended: dict[str, float] = {}
    durations: list[float] = []
    for file in (sandbox.state_dir / "runs" / run).glob("ledger-*.jsonl"):
        for line in file.read_text().splitlines():
            entry = json.loads(line)
            ended[entry["trace_id"]] = entry["start"] + entry["duration_ms"] / 1000
            durations.append(entry["duration_ms"] / 1000)
    durations.sort()
    figures = []
    for path in SignalPath:
        seen = next((watcher.first_seen[path] for watcher in watchers if path in watcher.first_seen), {})
        delays = sorted(max(seen[trace] - end, 0) for trace, end in ended.items() if trace in seen)
        if not delays:
            raise RuntimeError(f"{path} showed no request of the run")
        for name, share in (("p50", 0.5), ("p99", 0.99)):
            reach = "2 s" if name == "p99" else ""
            yardstick = percentile(durations, share)
            figures.append(
                Figure(f"{path}: until visible, {name}", percentile(delays, share), "s", f"the response itself, {name}", yardstick, reach)
            )
    return figures


def memory(sandbox: Sandbox) -> list[Figure]:
    """Memory of each process, and of all: PSS, where a page that several processes share counts once among them."""
    figures = []
    total = 0.0
    for name, processes in sorted(sandbox.processes().items()):
        resident = status.memory(processes) / 2**20
        total += resident
        figures.append(Figure(f"{name}: memory", resident, "MiB"))
    for position, figure in enumerate(figures):
        figures[position] = Figure(figure.what, figure.value, figure.unit, "the whole sandbox", total)
    figures.append(Figure("whole sandbox: memory", total, "MiB", "allowed", 900, "900 MB"))
    return figures


def up(sandbox: Sandbox) -> list[Figure]:
    """Seconds of `up` when everything is built; the sandbox is down before and up after."""
    assert sandbox.run("compose", "down").status == 0
    begin = time.perf_counter()
    result = sandbox.run("compose", "up")
    seconds = time.perf_counter() - begin
    if result.status:
        raise RuntimeError(result.err)
    return [Figure("up, once built", seconds, "s", "allowed", 8, "8 s")]
