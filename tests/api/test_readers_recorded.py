"""Readers against recorded answers of the real vendors: plans, permissions, rate limits, throttling and paging, over the wire."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from compose.settings import SignalPath
from services.compare.readers.base import Observation, Reader, Unreadable, Window
from services.compare.readers.cloudwatch import CloudWatchReader
from services.compare.readers.honeycomb import HoneycombReader
from services.compare.readers.rollbar import RollbarReader
from services.compare.readers.xray import XRayReader
from tests.api.servers import hermetic_settings

RECORDED = Path(__file__).resolve().parent.parent / "recorded"
RUN = "20260101-120000-ab12"
WINDOW = Window(RUN, 1704164730.0, 1704164750.0)


class Recorded:
    """A server that answers what was recorded. ``asked`` is what it was asked: (method, path with query, JSON body)."""

    def __init__(self, name: str) -> None:
        self.asked: list[tuple[str, str, Any]] = []
        self._exchanges: dict[tuple[str, str], list[dict[str, Any]]] = {}
        for exchange in json.loads((RECORDED / name).read_text()):
            self._exchanges.setdefault((exchange["method"], exchange["path"]), []).append(exchange)

    def answer(self, method: str, path: str, body: bytes) -> tuple[int, dict[str, str], bytes]:
        self.asked.append((method, path, json.loads(body) if body else None))
        left = self._exchanges[method, path.partition("?")[0]]
        exchange = left.pop(0) if len(left) > 1 else left[0]
        headers = {"Content-Type": "application/json"} | exchange.get("headers", {})
        return exchange["status"], headers, json.dumps(exchange["body"]).encode()


@contextmanager
def recorded(name: str) -> Iterator[tuple[str, Recorded]]:
    """A recording being served, and its address."""
    recording = Recorded(name)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            status, headers, body = recording.answer(self.command, self.path, self.rfile.read(int(self.headers.get("Content-Length", 0))))
            self.send_response(status)
            for key, value in headers.items():
                self.send_header(key, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", recording
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _honeycomb(url: str) -> Reader:
    return HoneycombReader(hermetic_settings(honeycomb_endpoint=url, compare_timeout=5), ("http.route",))


def _rollbar(url: str) -> Reader:
    return RollbarReader(hermetic_settings(rollbar_endpoint=url, compare_timeout=5))


def _xray(url: str) -> Reader:
    return XRayReader(hermetic_settings(xray_endpoint=url))


def _watchtower(url: str) -> Reader:
    return CloudWatchReader(hermetic_settings(logs_endpoint=url), SignalPath.CLOUDWATCH_WATCHTOWER)


Make = Callable[[str], Reader]


def read(reader: Reader) -> list[Observation]:
    return [each for batch in reader.read(WINDOW, None) for each in batch.observations]


@pytest.mark.parametrize(
    ("name", "make", "reason", "final"),
    [
        ("honeycomb-plan.json", _honeycomb, "does not let this key read (403: The Query Data API is available as part of the", True),
        ("honeycomb-ingest-key.json", _honeycomb, "lacks the permission 'Run Queries'", True),
        ("honeycomb-unknown-key.json", _honeycomb, "refuses the key (401: unknown API key - check your credentials)", True),
        ("honeycomb-rate-limited-for-long.json", _honeycomb, "limits the rate of requests (429), for longer than 5 s", False),
        ("honeycomb-failed-query.json", _honeycomb, "could not run the query (query timed out)", False),
        ("rollbar-post-token.json", _rollbar, "does not let this key read (403: insufficient privileges: read scope is required)", True),
        ("rollbar-unknown-token.json", _rollbar, "refuses the key (401: invalid access token)", True),
        ("rollbar-not-an-answer.json", _rollbar, "answered the list of occurrences with 'no result'", False),
        ("rollbar-redirect.json", _rollbar, "with 301, a redirect, which the key does not follow", True),
        ("xray-denied.json", _xray, "does not let this key read (AccessDeniedException: User is not authorized", True),
        ("logs-no-group.json", _watchtower, "has no log group 'cruddur'", False),
    ],
)
def test_what_cannot_be_read_is_said_and_never_an_empty_answer(name: str, make: Make, reason: str, final: bool) -> None:
    with recorded(name) as (url, _), pytest.raises(Unreadable) as caught:
        read(make(url))
    assert reason in caught.value.reason
    assert caught.value.final is final
    assert caught.value.hint or not final


def test_nobody_listening_is_unreadable_with_the_next_command() -> None:
    with recorded("logs-pages.json") as (url, _):
        pass  # its port is free again
    for make in (_honeycomb, _rollbar, _xray, _watchtower):
        with pytest.raises(Unreadable) as caught:
            read(make(url))
        assert "make status" in caught.value.hint


def test_honeycomb_is_asked_again_when_it_says_when_and_polled_until_complete() -> None:
    with recorded("honeycomb-rate-limited.json") as (url, recording):
        (span,) = read(_honeycomb(url))
    assert (span.kind, span.service, span.name) == ("span", "cruddur", "GET /api/activities/home")
    assert (span.start, span.ingested_at, span.duration_ms) == (1704164736.5, 1704164737.25, 9.5)
    posts = [path for method, path, _ in recording.asked if method == "POST"]
    assert posts == ["/1/queries/__all__", "/1/query_results/__all__", "/1/query_results/__all__"]


def test_honeycomb_is_asked_for_whole_minutes_and_only_for_columns_it_has() -> None:
    with recorded("honeycomb-rate-limited.json") as (url, recording):
        read(_honeycomb(url))
    (spec,) = [body for method, path, body in recording.asked if path == "/1/queries/__all__"]
    assert (spec["start_time"] % 60, spec["end_time"] % 60) == (0, 0)
    assert spec["start_time"] <= WINDOW.start
    assert spec["end_time"] >= WINDOW.end
    assert "http.route" not in spec["breakdowns"]
    assert "run" in spec["breakdowns"]


def test_rollbar_pages_until_the_run_began_and_takes_each_occurrence_once() -> None:
    with recorded("rollbar-pages.json") as (url, recording):
        items = read(_rollbar(url))
    assert [each.id for each in items] == ["0000-4", "0000-3", "0000-2", "0000-1"]
    assert [each.run for each in items] == [RUN, "other", RUN, None]
    assert [path for _, path, _ in recording.asked] == [f"/api/1/instances?page={page}" for page in (1, 2, 3)]


def test_x_ray_throttling_is_waited_out_pages_are_followed_and_the_unprocessed_asked_for_again() -> None:
    with recorded("xray-throttled-and-paged.json") as (url, recording):
        batches = list(_xray(url).read(WINDOW, None))
    found = [each for batch in batches for each in batch.observations]
    assert [each.trace_id for each in found] == [f"65937d80{number:024x}" for number in (1, 2)]
    assert {each.path for each in found} == {SignalPath.XRAY_SDK}
    assert batches[0].unknown == {f"65937d80{2:024x}": "X-Ray cut this trace at its size limit"}
    bodies = [body for _, path, body in recording.asked if path == "/Traces"]
    assert [body["TraceIds"] for body in bodies] == [[f"1-65937d80-{n:024x}" for n in (1, 2)], [f"1-65937d80-{2:024x}"]]


def test_a_trace_x_ray_never_processes_is_unknown_and_not_lost() -> None:
    with recorded("xray-never-processed.json") as (url, _):
        (batch,) = list(_xray(url).read(WINDOW, None))
    assert batch.observations == []
    assert list(batch.unknown) == [f"65937d80{1:024x}"]


def test_log_pages_are_followed_through_an_empty_one_and_foreign_lines_are_passed_over() -> None:
    with recorded("logs-pages.json") as (url, recording):
        reader = _watchtower(url)
        (line,) = read(reader)
        # A later look gives only what is new.
        assert [each for batch in reader.read(WINDOW, ["65937d80" + "0" * 24]) for each in batch.observations] == []
    assert (line.kind, line.name, line.service, line.error) == ("log", "request", "cruddur", True)
    assert line.ingested_at == pytest.approx(1704164737.7)
    assert [body.get("nextToken") for _, _, body in recording.asked][:3] == [None, "t1", "t2"]
