"""X-Ray beside moto: how fast it is written while somebody reads, how long a reading takes, and in how much memory.

The requests are built and signed before the clock starts and sent over connections that stay open, so that the client, which has
the same cores, costs as little as it can. A signature is good for five minutes, as at AWS.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import botocore.auth
import botocore.awsrequest
import botocore.exceptions
import psutil

from compose.settings import ROOT, Settings
from tests.api.servers import hermetic_settings, start_vendor
from tests.bench import clients
from tests.bench.figures import Figure
from tests.bench.moto import moto_server
from tests.bench.sender import write

WRITERS = 8
#: A call holds as many documents as it may.
DOCUMENTS = 50
#: How often the reader asks while others write, seconds.
POLL_SECONDS = 0.25
#: Calls of which the median is taken.
CALLS = 15


@dataclass(frozen=True)
class Written:
    """``rate``: documents a second, acknowledged; ``reads`` and ``failed``: how often the reader was answered, and was not."""

    rate: float
    reads: int
    failed: int

    @property
    def failure(self) -> float:
        """Of the reader's calls, in percent."""
        return 100 * self.failed / max(self.reads + self.failed, 1)


def segment(start: float) -> dict[str, Any]:
    """A segment as an application sends it, a trace of its own."""
    return {
        "name": "Bench",
        "id": os.urandom(8).hex(),
        "trace_id": f"1-{int(start):08x}-{os.urandom(12).hex()}",
        "start_time": start,
        "end_time": start + 0.05,
        "http": {"request": {"method": "GET", "url": "http://127.0.0.1/api/activities/home"}, "response": {"status": 200}},
        "annotations": {"run": "bench", "result_length": 20},
        "metadata": {"default": {"username": "andrew"}},
    }


def documents(count: int, end: float) -> Iterator[str]:
    """Segments of the hour before ``end``, oldest first."""
    for number in range(count):
        yield json.dumps(segment(end - 3600 + 3600 * number / count))


def requests(settings: Settings, endpoint: str, count: int, end: float) -> Iterator[bytes]:
    """Signed PutTraceSegments with ``count`` documents in all, each a whole HTTP request."""
    address = endpoint.removeprefix("http://")
    signer = botocore.auth.SigV4Auth(clients.session(settings).get_credentials(), "xray", settings.aws_region)
    source = documents(count, end)
    while batch := list(itertools.islice(source, DOCUMENTS)):
        body = json.dumps({"TraceSegmentDocuments": batch}).encode()
        headers = {"Content-Type": "application/json", "Host": address, "Content-Length": str(len(body))}
        request = botocore.awsrequest.AWSRequest("POST", f"{endpoint}/TraceSegments", headers=headers, data=body)
        signer.add_auth(request)
        lines = "".join(f"{name}: {value}\r\n" for name, value in request.headers.items())
        yield f"POST /TraceSegments HTTP/1.1\r\n{lines}\r\n".encode() + body


def put(settings: Settings, endpoint: str, folder: Path, count: int, end: float, reading: bool) -> Written:
    """Put segments with eight writers; ``reading``: while one asks for the summaries of that hour, again and again."""
    file = folder / "xray.bin"
    write(file, requests(settings, endpoint, count, end))
    sender = [sys.executable, "-m", "tests.bench.sender", "raw", endpoint.removeprefix("http://"), str(file), "--connections", str(WRITERS)]
    process = subprocess.Popen(sender, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    client = clients.aws(settings, "xray", endpoint)
    reads = failed = 0
    while reading and process.poll() is None:
        begin = time.perf_counter()
        try:
            client.get_trace_summaries(StartTime=end - 3600, EndTime=end)
            reads += 1
        except (botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError):
            failed += 1
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(max(POLL_SECONDS - (time.perf_counter() - begin), 0))
    told, error = process.communicate(timeout=600)
    if process.returncode:
        raise RuntimeError(error.strip())
    begin, finish = map(float, told.split())
    return Written(count / (finish - begin), reads, failed)


class Peak:
    """The largest resident memory of a process within a ``with``, MiB."""

    def __init__(self, process: psutil.Process) -> None:
        self.mebibytes = 0.0
        self._process = process
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def _watch(self) -> None:
        while not self._ended.wait(0.05):
            self.mebibytes = max(self.mebibytes, self._process.memory_info().rss / 2**20)

    def __enter__(self) -> Peak:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()


def median(ask: Callable[[], object], count: int = CALLS) -> float:
    """Milliseconds of one call."""
    taken = []
    for _ in range(count):
        begin = time.perf_counter()
        ask()
        taken.append((time.perf_counter() - begin) * 1000)
    return statistics.median(taken)


def summaries(client: Any, end: float, **more: Any) -> float:
    """Milliseconds for a page of summaries of the hour, each call one page further."""
    token: dict[str, str] = {}

    def page() -> None:
        answer = client.get_trace_summaries(StartTime=end - 3600, EndTime=end, **more, **token)
        if not answer["TraceSummaries"]:
            raise RuntimeError("there are no summaries")
        token.clear()
        if "NextToken" in answer:
            token["NextToken"] = answer["NextToken"]

    return median(page)


def moto(settings: Settings, folder: Path, written: int, stored: int) -> tuple[Written, float, float]:
    """How fast it is written, milliseconds for the summaries of ``stored`` segments (all in one answer), peak memory in MiB."""
    with moto_server(folder) as (endpoint, process), Peak(process) as peak:
        end = time.time()
        rate = put(settings, endpoint, folder, written, end, reading=True)
        put(settings, endpoint, folder, stored - written, end, reading=False)
        client = clients.aws(settings, "xray", endpoint)
        taken = median(lambda: client.get_trace_summaries(StartTime=end - 3600, EndTime=end), 3)
    return rate, taken, peak.mebibytes


#: What all traces of the benchmark match, so that nothing ends the search early but a full page.
FILTER = 'service("Bench") AND http.status = 200 AND annotation.run = "bench"'


def run(folder: Path, written: int, stored: int, many: int, say: Callable[[str], None]) -> list[Figure]:
    """``written``: segments put while the rate is taken; ``stored`` and ``many``: how many there are when readings are."""
    say("X-Ray: moto")
    moto_written, moto_summaries, moto_peak = moto(hermetic_settings(), folder, written, stored)
    say("X-Ray: the local AWS")
    with start_vendor("aws", folder / "xray") as vendor, Peak(psutil.Process(vendor.process.pid)) as peak:
        settings, end = vendor.settings, time.time()
        client = clients.aws(settings, "xray", vendor.url)
        own = put(settings, vendor.url, folder, written, end, reading=True)
        put(settings, vendor.url, folder, stored - written, end, reading=False)
        page, filtered = summaries(client, end), summaries(client, end, FilterExpression=FILTER)
        graph = median(lambda: client.get_service_graph(StartTime=end - 3600, EndTime=end), 5)
        say(f"X-Ray: the local AWS with {many:,} segments")
        for begin in range(stored, many, stored):
            put(settings, vendor.url, folder, min(stored, many - begin), end, reading=False)
        first = median(lambda: client.get_trace_summaries(StartTime=end - 3600, EndTime=end), 1)
        many_page, many_filtered = summaries(client, end), summaries(client, end, FilterExpression=FILTER)
    asked = "GetTraceSummaries"
    return [
        Figure("PutTraceSegments, 8 writers and a reader", own.rate, "segments/s", "moto", moto_written.rate, "4 times moto"),
        Figure("the reader meanwhile, calls that failed", own.failure, "%", "moto", moto_written.failure, "0"),
        Figure(f"{asked}, a page of {stored:,}, p50", page, "ms", "moto, all at once", moto_summaries, "150 ms"),
        Figure(f"{asked}, filtered, a page of {stored:,}, p50", filtered, "ms", "moto, all, no filter", moto_summaries, "150 ms"),
        Figure(f"GetServiceGraph, an hour of {stored:,} traces, p50", graph, "ms", "allowed", 1000, "1 s"),
        Figure(f"{asked}, the first after {many:,}", first, "ms"),
        Figure(f"{asked}, a page of {many:,}, p50", many_page, "ms", "allowed", 500, "500 ms"),
        Figure(f"{asked}, filtered, a page of {many:,}, p50", many_filtered, "ms", "allowed", 500, "500 ms"),
        Figure(f"memory with {many:,}, at most", peak.mebibytes, "MiB", f"moto with {stored:,}", moto_peak, "400 MB"),
    ]
