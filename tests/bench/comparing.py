"""`make compare` of a large run: seconds and memory, in parts.

Locust does not make that run: it would take ten minutes. A short real load is made, everything the six paths hold of it is read through the
vendors' public APIs, and each request becomes the template of many: new ids, new times, the run's new id, nothing else changed. They are
sent through the public APIs again (PutTraceSegments, PutLogEvents, Honeycomb's batches of events, Rollbar's items), as fast as they
are taken, spread over the minutes that a load of :data:`RATE` requests a second would have taken. What is measured is then the
command itself, a process, beside the local vendors that answer it on the same cores.
"""

from __future__ import annotations

import dataclasses
import json
import os
import random
import re
import resource
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
import requests

from compose.settings import ROOT, Settings
from loadtest.ledger import LedgerEntry, LedgerWriter
from loadtest.runs import MANIFEST, load_run
from services.compare.comparing import expected_totals
from services.cruddur.signals import OTEL_SERVICE, REQUEST_DURATION
from tests.bench import clients
from tests.bench.figures import Figure
from tests.sandbox import Sandbox

#: Requests of the real load that the others are made after.
RECORDED = 500
#: Requests a second that the run seems to have been made at.
RATE = 170.0
#: Calls under way at once while the run is made.
SENDERS = 4
#: Seconds between two samples of memory.
SAMPLE = 0.1
#: What is allowed for 100,000 requests.
ALLOWED_SECONDS = 10.0
ALLOWED_MEBIBYTES = 1024.0

_ID = r"(?<![0-9a-f])[0-9a-f]{16}(?![0-9a-f])"
#: Epoch seconds, milliseconds or nanoseconds, as JSON numbers.
_TIME = r"(?<![\w.\"])1\d{9}(?:\.\d+)?(?![\w.\"])|(?<![\w.\"])1\d{12}(?![\w.\"])|(?<![\w.\"])1\d{18}(?![\w.\"])"
_UUID = r"(?<=\"uuid\":\")[0-9a-f-]{32,36}(?=\")"

#: Where a text goes: X-Ray, a log group, a Honeycomb dataset, Rollbar.
Sink = tuple[str, str]


@dataclass(frozen=True)
class Clone:
    """The request that is made after a template: its ledger line, and by how many seconds it is later."""

    entry: LedgerEntry
    later: float

    def id(self, number: int) -> str:
        """The id that takes the place of the template's ``number``-th, the same in every text of the request."""
        return f"{self.entry.sequence:08x}{number:08x}"


class Text:
    """A JSON text with holes for what differs from request to request."""

    def __init__(self, text: str, entry: LedgerEntry, ids: dict[str, int], at: float) -> None:
        """``ids``: the numbers of the request's ids, which grows; ``at``: when the event was, epoch seconds."""
        trace = entry.trace_id
        self.at = at
        self._parts: list[str | Callable[[Clone], str]] = []
        holes = re.compile(f"(?P<trace>{trace})|(?P<xray>1-{trace[:8]}-{trace[8:]})|(?P<run>{entry.run})|(?P<uuid>{_UUID})|{_ID}|{_TIME}")
        done = 0
        for match in holes.finditer(text):
            hole = self._hole(match, ids, entry)
            if hole is not None:
                self._parts += [text[done : match.start()], hole]
                done = match.end()
        self._parts.append(text[done:])

    @staticmethod
    def _hole(match: re.Match[str], ids: dict[str, int], entry: LedgerEntry) -> Callable[[Clone], str] | None:
        found = match[0]
        if match["trace"]:
            return lambda clone: clone.entry.trace_id
        if match["xray"]:
            return lambda clone: f"1-{clone.entry.trace_id[:8]}-{clone.entry.trace_id[8:]}"
        if match["run"]:
            return lambda clone: clone.entry.run
        if match["uuid"]:
            return lambda _: str(uuid.uuid4())
        if re.fullmatch(_ID, found):
            number = ids.setdefault(found, len(ids))
            return lambda clone: clone.id(number)
        scale = {10: 1, 13: 1_000, 19: 1_000_000_000}[len(found.partition(".")[0])]
        if abs(float(found) / scale - entry.start) > 100:
            return None  # a number like any other
        if "." in found:
            seconds = float(found)
            return lambda clone: f"{seconds + clone.later:.6f}"
        whole = int(found)
        return lambda clone: str(whole + int(clone.later * scale))

    def of(self, clone: Clone) -> str:
        return "".join([part if isinstance(part, str) else part(clone) for part in self._parts])


@dataclass
class Template:
    """A recorded request: its ledger line and the texts that each sink had of it."""

    entry: LedgerEntry
    texts: list[tuple[Sink, Text]]


# -- recording


def record(sandbox: Sandbox, count: int) -> list[Template]:
    """Make a real load, and read back what every path holds of it."""
    run = sandbox.load(requests=count)
    sandbox.compare(run, status=0)
    settings = sandbox.settings()
    templates = {entry.trace_id: Template(entry, []) for entry in load_run(settings, run).entries()}
    ids: dict[str, dict[str, int]] = {trace: {} for trace in templates}
    for trace, sink, text, at in _recorded(settings, run, list(templates.values())):
        if trace in templates:
            templates[trace].texts.append((sink, Text(text, templates[trace].entry, ids[trace], at)))
    return list(templates.values())


def _recorded(settings: Settings, run: str, templates: Sequence[Template]) -> Iterator[tuple[str, Sink, str, float]]:
    """Trace id, sink, text and time of everything."""
    start = min(each.entry.start for each in templates) - 5
    xray = clients.aws(settings, "xray", settings.xray_endpoint)
    ids = [f"1-{each.entry.trace_id[:8]}-{each.entry.trace_id[8:]}" for each in templates]
    for at in range(0, len(ids), 5):
        for trace in xray.batch_get_traces(TraceIds=ids[at : at + 5])["Traces"]:
            for segment in trace["Segments"]:
                document = json.loads(segment["Document"])
                yield trace["Id"][2:].replace("-", ""), ("xray", ""), _json(document), document["start_time"]
    logs = clients.aws(settings, "logs", settings.logs_endpoint)
    for group in (settings.log_group, settings.otlp_log_group):
        for page in logs.get_paginator("filter_log_events").paginate(logGroupName=group, startTime=int(start * 1000)):
            for event in page["events"]:
                line = json.loads(event["message"])
                trace = line.get("trace_id") or line.get("attributes", {}).get("trace_id", "")
                yield trace, ("logs", group), _json(line), event["timestamp"] / 1000
    yield from _events(settings, run, start)
    session = requests.Session()
    session.headers["X-Rollbar-Access-Token"] = settings.rollbar_read_token.get_secret_value()
    page = 1
    while instances := session.get(f"{settings.rollbar_endpoint}/api/1/instances", params={"page": page}).json()["result"]["instances"]:
        for instance in instances:
            data = instance["data"]
            yield data.get("custom", {}).get("trace_id", ""), ("rollbar", ""), _json(data), instance["timestamp"]
        page += 1


def _events(settings: Settings, run: str, start: float) -> Iterator[tuple[str, Sink, str, float]]:
    """Honeycomb's events: one group each, broken down by every column the dataset has."""
    session = clients.honeycomb(settings)

    def get(path: str) -> Any:
        response = session.get(f"{settings.honeycomb_endpoint}{path}", timeout=60)
        response.raise_for_status()
        return response.json()

    for dataset in get("/1/datasets"):
        columns = {column["key_name"] for column in get(f"/1/columns/{dataset['slug']}")}
        if "trace.trace_id" not in columns:
            continue
        spec = {
            "breakdowns": sorted(columns)[:100],
            "calculated_fields": [{"name": "at", "expression": "EVENT_TIMESTAMP()"}],
            "calculations": [{"op": "COUNT"}, {"op": "MIN", "column": "at"}],
            "filters": [{"column": "run", "op": "=", "value": run}, {"column": "trace.trace_id", "op": "exists"}],
            "start_time": int(start),
            "end_time": int(time.time()) + 60,
        }
        for row in clients.query(session, settings.honeycomb_endpoint, dataset["slug"], spec):
            at = row.pop("MIN(at)")
            for _ in range(int(row.pop("COUNT"))):
                data = {key: value for key, value in row.items() if value is not None}
                yield str(row["trace.trace_id"]), ("honeycomb", dataset["slug"]), _json(data), at


def _json(document: Any) -> str:
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False)


# -- making a run


def make(sandbox: Sandbox, templates: Sequence[Template], count: int, end: float) -> str:
    """Make a finished run of ``count`` requests until ``end`` (epoch seconds) that every vendor has all of; its id."""
    settings = sandbox.settings()
    begin = end - count / RATE
    run = f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime(begin))}-{os.urandom(2).hex()}"
    folder = settings.runs_dir / run
    folder.mkdir(parents=True)
    entries = []
    with LedgerWriter(folder, 0) as ledger, _Sender(settings) as sender:
        choice = random.Random(1)
        for sequence in range(count):
            template = choice.choice(templates)
            start = begin + sequence / RATE
            trace = f"{int(start):08x}{os.urandom(12).hex()}"
            entry = dataclasses.replace(template.entry, sequence=sequence, run=run, trace_id=trace, start=start)
            clone = Clone(entry, start - template.entry.start)
            entries.append(entry)
            ledger.write(entry)
            for sink, text in template.texts:
                sender.send(sink, text.of(clone), text.at + clone.later)
    manifest = json.loads((settings.runs_dir / templates[0].entry.run / MANIFEST).read_text())
    ended = max(entry.start + entry.duration_ms / 1000 for entry in entries)
    manifest |= {"run": run, "planned": count, "finished": count, "started": begin, "ended": ended}
    (folder / MANIFEST).write_text(json.dumps(manifest))
    _metrics(settings, run, entries)
    return run


class _Sender:
    """Sends in batches, several at once, and never holds more than a few of them."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._pool = ThreadPoolExecutor(SENDERS)
        self._room = threading.Semaphore(SENDERS * 4)
        self._sent: list[Future[None]] = []
        self._waiting: dict[Sink, list[tuple[float, str]]] = {}
        self._sizes: dict[Sink, int] = {}
        self._xray = clients.aws(settings, "xray", settings.xray_endpoint)
        self._logs = clients.aws(settings, "logs", settings.logs_endpoint)
        self._stream = f"bench-{os.urandom(4).hex()}"
        self._http = requests.Session()
        self._http.mount("http://", requests.adapters.HTTPAdapter(pool_maxsize=SENDERS))
        for group in (settings.log_group, settings.otlp_log_group, settings.metrics_log_group):
            self._logs.create_log_stream(logGroupName=group, logStreamName=self._stream)

    def send(self, sink: Sink, text: str, at: float) -> None:
        waiting = self._waiting.setdefault(sink, [])
        waiting.append((at, text))
        self._sizes[sink] = self._sizes.get(sink, 0) + len(text) + 100
        if len(waiting) >= {"xray": 50, "rollbar": 1}.get(sink[0], 2_000) or self._sizes[sink] > 700_000:
            self._flush(sink)

    def _flush(self, sink: Sink) -> None:
        items, self._sizes[sink] = self._waiting.pop(sink, []), 0
        if items:
            self._room.acquire()
            self._sent.append(self._pool.submit(self._one, sink, items))

    def _one(self, sink: Sink, items: list[tuple[float, str]]) -> None:
        kind, name = sink
        try:
            if kind == "xray":
                left = self._xray.put_trace_segments(TraceSegmentDocuments=[text for _, text in items])["UnprocessedTraceSegments"]
                if left:
                    raise RuntimeError(f"X-Ray refused a segment: {left[0]}")
            elif kind == "logs":
                items.sort()
                events = [{"timestamp": int(at * 1000), "message": text} for at, text in items]
                self._logs.put_log_events(logGroupName=name, logStreamName=self._stream, logEvents=events)
            elif kind == "honeycomb":
                body = ",".join(f'{{"time":"{datetime.fromtimestamp(at, UTC).isoformat()}","data":{text}}}' for at, text in items)
                self._post(
                    f"{self._settings.honeycomb_endpoint}/1/batch/{name}",
                    f"[{body}]",
                    {"X-Honeycomb-Team": self._settings.honeycomb_api_key.get_secret_value()},
                )
            else:
                self._post(
                    f"{self._settings.rollbar_endpoint}/api/1/item/",
                    f'{{"data":{items[0][1]}}}',
                    {"X-Rollbar-Access-Token": self._settings.rollbar_access_token.get_secret_value()},
                )
        finally:
            self._room.release()

    def _post(self, url: str, body: str, headers: dict[str, str]) -> None:
        self._http.post(url, body.encode(), headers=headers | {"Content-Type": "application/json"}, timeout=60).raise_for_status()

    def __enter__(self) -> _Sender:
        return self

    def __exit__(self, *_: object) -> None:
        for sink in list(self._waiting):
            self._flush(sink)
        self._pool.shutdown()
        for sent in self._sent:
            sent.result()


def _metrics(settings: Settings, run: str, entries: Sequence[LedgerEntry]) -> None:
    """The run's metrics as the Collector would have written them: one data point a minute."""
    with _Sender(settings) as sender:
        for at in range(int(entries[0].start), int(entries[-1].start) + 1, 60):
            for name, (count, _) in expected_totals([entry for entry in entries if at <= int(entry.start) < at + 60]).items():
                base = {"run": run, "service.name": OTEL_SERVICE}
                honeycomb: dict[str, Any] = {name: count}
                emf: dict[str, Any] = {name: count}
                if name == REQUEST_DURATION:
                    honeycomb = {f"{name}.count": count}
                    emf = {name: {"Count": count, "Sum": 0.01 * count, "Min": 0.001, "Max": 0.1}}
                sender.send(("honeycomb", settings.honeycomb_metrics_dataset), _json(base | honeycomb), at + 1)
                sender.send(("logs", settings.metrics_log_group), _json(base | emf), at + 1)


# -- measuring


@dataclass(frozen=True)
class Measured:
    """One `make compare`: seconds, and resident MiB at most, of the command and of whatever processes it starts.

    ``reading``: seconds by path, of the first look. ``cpu``: seconds of processor time of the command and of each local vendor.
    """

    seconds: float
    mebibytes: float
    reading: dict[str, float]
    judging: float
    cpu: dict[str, float]


def compare(sandbox: Sandbox, run: str, count: int) -> Measured:
    """Run the command on a run, of which nothing may differ."""
    vendors = {name: found for name, found in sandbox.processes().items() if name in ("aws", "honeycomb", "rollbar")}
    before = {name: _cpu(found) for name, found in vendors.items()}
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    begin = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "services.compare", "--run", run, "--format", "json"],
        cwd=ROOT,
        env=sandbox.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    with _Peak(process.pid) as peak:
        out, err = process.communicate(timeout=1200)
    seconds = time.perf_counter() - begin
    if process.returncode != 0:
        raise RuntimeError(f"compare of {run} ended with {process.returncode}: {out[:2000].decode()} {err.decode()}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    document = json.loads(out)
    if document["requests"] != count:
        raise RuntimeError(f"compare saw {document['requests']} of {count} requests")
    cpu = {"compare": after.ru_utime + after.ru_stime - children.ru_utime - children.ru_stime}
    return Measured(
        seconds,
        peak.bytes / 2**20,
        {path: each["read_seconds"] for path, each in document["paths"].items()},
        document["judging_seconds"],
        cpu | {name: _cpu(found) - before[name] for name, found in vendors.items()},
    )


class _Peak(threading.Thread):
    """The most memory that a process and those below it hold, within a ``with``."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self.bytes = 0
        self._pid = pid
        self._ended = threading.Event()

    def run(self) -> None:
        while not self._ended.wait(SAMPLE):
            try:
                process = psutil.Process(self._pid)
                family = [process, *process.children(recursive=True)]
                # Resident memory, not PSS: to sum up the shares of pages would hold up the one that is measured.
                self.bytes = max(self.bytes, sum(each.memory_info().rss for each in family))
            except psutil.NoSuchProcess:
                return

    def __enter__(self) -> _Peak:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self.join()


def _cpu(processes: Iterable[psutil.Process]) -> float:
    times = [process.cpu_times() for process in processes]
    return sum(each.user + each.system for each in times)


def run(folder: Path, small: int, say: Callable[[str], None]) -> list[Figure]:
    """``small``: requests of the smaller run; the larger has ten times as many."""
    with Sandbox.start(folder / "comparing") as sandbox:
        say("comparing: a real load to make others after")
        templates = record(sandbox, RECORDED)
        measured = []
        # The smaller run's minutes are not the larger one's, so that no reader comes upon the other's.
        for count, ago in ((small, 3600), (small * 10, 60)):
            say(f"comparing: a run of {count:,} requests")
            made = make(sandbox, templates, count, time.time() - ago)
            say(f"comparing: `make compare` of {count:,} requests")
            measured.append(compare(sandbox, made, count))
    return _figures(small, *measured)


def _figures(small: int, few: Measured, many: Measured) -> list[Figure]:
    tenth, whole = f"of {small:,}", f"{small * 10:,} requests"
    figures = [
        Figure(f"compare, {whole}", many.seconds, "s", tenth, few.seconds, f"{ALLOWED_SECONDS:g} s"),
        Figure(f"compare, {whole}: resident memory at most", many.mebibytes, "MiB", tenth, few.mebibytes, f"{ALLOWED_MEBIBYTES:g} MiB"),
    ]
    figures += [Figure(f"reading {path}", many.reading[path], "s", tenth, few.reading[path]) for path in many.reading]
    figures.append(Figure("judging what was read", many.judging, "s", tenth, few.judging))
    figures += [Figure(f"processor time of {name}", many.cpu[name], "s", tenth, few.cpu[name]) for name in many.cpu]
    return figures
