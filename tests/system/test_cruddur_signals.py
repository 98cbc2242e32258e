"""What cruddur and profiles really emit, held against the table of expected signals, for every route and outcome, both ways.

The services run as processes under gunicorn; the sinks take what their SDKs send over the wire.
"""

from __future__ import annotations

import secrets
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests

from compose.settings import SignalPath
from services.cruddur import seed
from services.cruddur.signals import METRICS, Outcome, Route, Signal, expected
from tests import cruddur_process, cruddur_sinks
from tests.ports import free_port
from tests.waiting import until

RUN = "run-1.test"
ADA, ALAN = seed.handles()[:2]
ACTIVITY = seed.activity_uuids()[0]
MESSAGE = {"user_sender_handle": ADA, "user_receiver_handle": ALAN, "message": "hello"}


@dataclass(frozen=True)
class Case:
    route: Route
    outcome: Outcome
    status: int
    target: str
    body: Any = None
    fault: str | None = None
    method: str | None = None

    def __str__(self) -> str:
        return f"{self.route.name}-{self.outcome}-{self.status}"


_OK: dict[Route, tuple[str, Any, int]] = {
    Route.HOME: ("/api/activities/home", None, 200),
    Route.NOTIFICATIONS: (f"/api/activities/notifications?user_handle={ADA}", None, 200),
    Route.USER: (f"/api/activities/@{ADA}", None, 200),
    Route.SEARCH: ("/api/activities/search?term=sampling", None, 200),
    Route.CREATE_ACTIVITY: ("/api/activities", {"user_handle": ADA, "message": "hello", "ttl": "7-days"}, 201),
    Route.REPLY: (f"/api/activities/{ACTIVITY}/reply", {"user_handle": ADA, "message": "hello"}, 201),
    Route.MESSAGE_GROUPS: (f"/api/message_groups?user_handle={ADA}", None, 200),
    Route.MESSAGES: (f"/api/messages/@{ALAN}?user_handle={ADA}", None, 200),
    Route.CREATE_MESSAGE: ("/api/messages", MESSAGE, 201),
    Route.HEALTH_CHECK: ("/api/health-check", None, 200),
    Route.ROLLBAR_TEST: ("/rollbar/test", None, 200),
}

CASES: list[Case] = [
    *(Case(route, Outcome.OK, status, target, body) for route, (target, body, status) in _OK.items()),
    *(Case(route, Outcome.SLOW, status, target, body, "slow=1") for route, (target, body, status) in _OK.items()),
    *(Case(route, Outcome.EXCEPTION, 500, target, body, "exception") for route, (target, body, _) in _OK.items()),
    *(Case(route, Outcome.BAD_INPUT, 400, target, body, "nonsense") for route, (target, body, _) in _OK.items()),
    *(Case(route, Outcome.DOWNSTREAM_ERROR, 502, _OK[route][0], fault="downstream-error") for route in (Route.USER, Route.MESSAGES)),
    *(Case(route, Outcome.DOWNSTREAM_SLOW, 504, _OK[route][0], fault="downstream-slow=900") for route in (Route.USER, Route.MESSAGES)),
    Case(Route.USER, Outcome.DOWNSTREAM_SLOW, 200, _OK[Route.USER][0], fault="downstream-slow=1"),
    Case(Route.HOME, Outcome.DOWNSTREAM_ERROR, 400, "/api/activities/home", fault="downstream-error"),
    Case(Route.NOTIFICATIONS, Outcome.NOT_FOUND, 404, "/api/activities/notifications?user_handle=nobody"),
    Case(Route.USER, Outcome.NOT_FOUND, 404, "/api/activities/@nobody"),
    Case(Route.USER, Outcome.BAD_INPUT, 400, "/api/activities/@no%20body"),
    Case(Route.SEARCH, Outcome.BAD_INPUT, 400, "/api/activities/search"),
    Case(Route.CREATE_ACTIVITY, Outcome.BAD_INPUT, 422, "/api/activities", {"user_handle": ADA}),
    Case(Route.CREATE_ACTIVITY, Outcome.NOT_FOUND, 404, "/api/activities", {"user_handle": "nobody", "message": "x"}),
    Case(Route.REPLY, Outcome.BAD_INPUT, 400, "/api/activities/not-a-uuid/reply", {"user_handle": ADA, "message": "x"}),
    Case(
        Route.REPLY,
        Outcome.NOT_FOUND,
        404,
        f"/api/activities/{'0' * 8}-0000-0000-0000-{'0' * 12}/reply",
        {"user_handle": ADA, "message": "x"},
    ),
    Case(Route.MESSAGE_GROUPS, Outcome.BAD_INPUT, 400, "/api/message_groups"),
    Case(Route.MESSAGE_GROUPS, Outcome.NOT_FOUND, 404, "/api/message_groups?user_handle=nobody"),
    Case(Route.MESSAGES, Outcome.BAD_INPUT, 400, f"/api/messages/@{ALAN}"),
    Case(Route.MESSAGES, Outcome.NOT_FOUND, 404, f"/api/messages/@nobody?user_handle={ADA}"),
    Case(Route.CREATE_MESSAGE, Outcome.BAD_INPUT, 422, "/api/messages", {**MESSAGE, "message": ""}),
    Case(Route.CREATE_MESSAGE, Outcome.BAD_INPUT, 400, "/api/messages", "{cut"),
    Case(Route.CREATE_MESSAGE, Outcome.BAD_INPUT, 415, "/api/messages", b"plain"),
    Case(Route.CREATE_MESSAGE, Outcome.BAD_INPUT, 413, "/api/messages", {**MESSAGE, "message": "x" * 70_000}),
    Case(Route.CREATE_MESSAGE, Outcome.NOT_FOUND, 404, "/api/messages", {**MESSAGE, "user_receiver_handle": "nobody"}),
    Case(Route.UNMATCHED, Outcome.NOT_FOUND, 404, "/api/nothing/here"),
    Case(Route.UNMATCHED, Outcome.EXCEPTION, 404, "/api/nothing/here", fault="exception"),
    Case(Route.UNMATCHED, Outcome.BAD_INPUT, 405, "/api/messages"),
]


@dataclass(frozen=True)
class Sent:
    case: Case
    trace_id: str
    parent_id: str
    status: int
    headers: dict[str, str]


def send(url: str, case: Case, run: str = RUN) -> Sent:
    trace_id, parent_id = f"{int(time.time()):08x}{secrets.token_hex(12)}", secrets.token_hex(8)
    headers = {
        "traceparent": f"00-{trace_id}-{parent_id}-01",
        "X-Amzn-Trace-Id": f"Root=1-{trace_id[:8]}-{trace_id[8:]};Parent={parent_id};Sampled=1",
        "baggage": f"run={run}",
    }
    if case.fault is not None:
        headers["X-Parallax-Fault"] = case.fault
    arguments: dict[str, Any] = {}
    if isinstance(case.body, dict):
        arguments["json"] = case.body
    elif isinstance(case.body, str):
        arguments["data"], headers["Content-Type"] = case.body, "application/json"
    elif case.body is not None:
        arguments["data"], headers["Content-Type"] = case.body, "text/plain"
    response = requests.request(case.route.method, f"{url}{case.target}", headers=headers, timeout=30, **arguments)
    assert response.status_code == case.status, f"{case}: {response.text}"
    if response.status_code >= 400:
        error = response.json()["error"]
        assert error["code"]
        assert error["message"]
    return Sent(case, trace_id, parent_id, response.status_code, dict(response.headers))


@dataclass(frozen=True)
class World:
    seen: cruddur_sinks.Seen
    sent: list[Sent]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Every case sent once, the services ended, everything they had delivered."""
    directory: Path = tmp_path_factory.mktemp("cruddur")
    with cruddur_sinks.listening() as sinks:
        profiles_port = free_port()
        environment = {
            **sinks.environment(),
            "PROFILES_PORT": str(profiles_port),
            "PROFILES_URL": f"http://127.0.0.1:{profiles_port}",
            "PROFILES_TIMEOUT": "0.5",
            "BACKENDS": "honeycomb,xray,cloudwatch,rollbar",
            "SANDBOX": "true",
            "MODE": "offline",
            "DATABASE_URL": "",
        }
        with (
            cruddur_process.running("profiles", profiles_port, environment, directory) as profiles,
            cruddur_process.running("cruddur", free_port(), environment, directory) as cruddur,
        ):
            # Warm: the first call to profiles of each thread opens a connection, and 0.5 s is little.
            sent = [send(cruddur.url, case) for case in CASES]
            # A segment of profiles leaves when its request ends, so wait for the slow ones; the rest leaves at the end at the latest.
            slow = {s.trace_id for s in sent if s.case.fault == "downstream-slow=900"}
            until(lambda: slow <= {of_segment(d) for d in sinks.seen.segments if d["name"] == "Profiles"}, 20, "slow segments of profiles")
            assert cruddur.stop() == 0, cruddur.log.read_text()
            assert profiles.stop() == 0, profiles.log.read_text()
            until(lambda: len(sinks.seen.segments) >= len(sent), 10, "segments")
        yield World(sinks.seen, sent)


def of_segment(document: dict[str, Any]) -> str:
    return str(document["trace_id"]).removeprefix("1-").replace("-", "")


def _subsegments(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for subsegment in document.get("subsegments", ()):
        yield subsegment
        yield from _subsegments(subsegment)


def shown(seen: cruddur_sinks.Seen, trace_id: str, path: SignalPath) -> list[tuple[str, str, str, dict[str, Any]]]:
    """Everything a path shows of a trace: (kind, service, name, attributes). One for the three OTLP paths: what left."""
    found: list[tuple[str, str, str, dict[str, Any]]] = []
    if path in (SignalPath.HONEYCOMB_OTLP, SignalPath.XRAY_OTLP):
        for span in seen.spans:
            if span.trace_id == trace_id:
                # The Collector makes a segment, named by service, of a server span, and subsegments of the others.
                server = span.kind == 2
                kind = "span" if path is SignalPath.HONEYCOMB_OTLP else "segment" if server else "subsegment"
                found.append((kind, span.service, span.service if kind == "segment" else span.name, span.attributes))
    if path in (SignalPath.HONEYCOMB_OTLP, SignalPath.CLOUDWATCH_OTLP):
        found += [("log", log.service, log.event, log.attributes) for log in seen.logs if log.trace_id == trace_id]
    if path is SignalPath.CLOUDWATCH_WATCHTOWER:
        found += [("log", "cruddur", line["event"], line) for line in seen.lines if line["trace_id"] == trace_id]
    if path is SignalPath.ROLLBAR_SDK:
        found += [("item", "cruddur", item["level"], item["custom"]) for item in seen.items if item["custom"]["trace_id"] == trace_id]
    if path is SignalPath.XRAY_SDK:
        for document in seen.segments:
            if of_segment(document) == trace_id:
                found.append(("segment", document["name"], document["name"], document.get("annotations", {})))
                for sub in _subsegments(document):
                    fields = {**sub.get("annotations", {}), **sub.get("metadata", {}).get("cruddur", {})}
                    found.append(("subsegment", document["name"], sub["name"], fields))
    return found


def _fits(signal: Signal, kind: str, service: str, name: str, attributes: dict[str, Any]) -> bool:
    return (
        (kind, service) == (signal.kind, signal.service)
        and signal.name in ("", name)
        and all(attributes.get(key) not in (None, "") for key in signal.attributes)
        and all(attributes.get(key) == value for key, value in signal.values.items())
    )


def test_every_route_and_outcome_is_tried() -> None:
    assert {case.route for case in CASES} == set(Route)
    assert {case.outcome for case in CASES} == set(Outcome)


@pytest.mark.parametrize("index", range(len(CASES)), ids=[f"{i}-{case}" for i, case in enumerate(CASES)])
def test_a_request_shows_what_the_table_says_and_nothing_else_of_that_kind(world: World, index: int) -> None:
    sent = world.sent[index]
    table = expected(sent.case.route, sent.case.outcome, sent.status)
    for path in SignalPath:
        signals = [signal for signal in table if signal.path is path]
        found = shown(world.seen, sent.trace_id, path)
        for signal in signals:
            fitting = [one for one in found if _fits(signal, *one)]
            assert fitting, f"{path}: {signal} is missing or incomplete; there is {found}"
        # The other way round. Database and client spans may be there beside the table; of everything else only what it names.
        certain = {"segment", "log", "item"}
        counts = Counter((kind, service) for kind, service, _, _ in found if kind in certain)
        assert counts == Counter((s.kind, s.service) for s in signals if s.kind in certain), f"{path}: {found}"
        named = {"home.activities", "messages.create", "HomeActivities", "UserData"}
        there = Counter(name for kind, _, name, _ in found if name in named)
        assert there == Counter(s.name for s in signals if s.name in named), f"{path}: {found}"


def test_nothing_is_emitted_that_no_request_explains(world: World) -> None:
    known = {sent.trace_id for sent in world.sent}
    assert {span.trace_id for span in world.seen.spans} <= known
    assert {of_segment(document) for document in world.seen.segments} <= known
    assert {item["custom"]["trace_id"] for item in world.seen.items} <= known
    # The probe that waits for the service is not sampled, but it is a request: it has its line.
    probe = {"a" * 32}
    assert {line["trace_id"] for line in world.seen.lines} <= known | probe
    assert {log.trace_id for log in world.seen.logs} <= known | probe


def test_metrics_count_what_the_ledger_counts(world: World) -> None:
    for metric in METRICS:
        points = [
            p for p in world.seen.points if p.metric == metric.name and p.service == metric.service and p.attributes.get("run") == RUN
        ]
        assert points
        assert all(point.delta for point in points)
        assert sum(p.amount for p in points) == sum(metric.count(s.case.route, s.case.outcome, s.status) for s in world.sent)
        assert all(set(metric.attributes) - {"http.route"} <= set(point.attributes) for point in points)


def statements(route: Route) -> set[str]:
    """First words of the statements that a route runs when all goes well."""
    if route in (Route.HEALTH_CHECK, Route.ROLLBAR_TEST):
        return set()
    return {"SELECT", "INSERT"} if route in (Route.CREATE_ACTIVITY, Route.REPLY, Route.CREATE_MESSAGE) else {"SELECT"}


def test_statements_are_spans_named_after_the_database_not_its_file(world: World) -> None:
    for sent in world.sent:
        if sent.case.outcome is Outcome.OK:
            spans = [s for s in world.seen.spans if s.trace_id == sent.trace_id and s.scope == "opentelemetry.instrumentation.sqlalchemy"]
            wanted = statements(sent.case.route)
            assert {s.name for s in spans} == {f"{word} cruddur" for word in wanted} | ({"connect"} if wanted else set()), sent.case
            assert {s.attributes["db.namespace"] for s in spans} <= {"cruddur"}
            assert {s.attributes["db.system.name"] for s in spans} <= {"sqlite"}


def test_the_pool_of_connections_is_measured(world: World) -> None:
    usage = [p for p in world.seen.points if p.metric == "db.client.connections.usage"]
    assert {p.attributes["state"] for p in usage} == {"idle", "used"}
    assert {p.attributes["pool.name"] for p in usage} == {"cruddur"}
    assert any(p.amount for p in usage)


def test_durations_are_counted_by_route_and_status(world: World) -> None:
    found: Counter[tuple[str | None, int]] = Counter()
    for point in world.seen.points:
        if point.metric == "http.server.request.duration" and point.service == "cruddur" and point.attributes.get("run") == RUN:
            found[point.attributes.get("http.route"), point.attributes["http.response.status_code"]] += int(point.amount)
    sent: Counter[tuple[str | None, int]] = Counter()
    for one in world.sent:
        sent[None if one.case.route is Route.UNMATCHED else one.case.route.rule, one.status] += 1
    assert found == sent


def test_telemetry_counts_itself(world: World) -> None:
    fates: Counter[tuple[str, str]] = Counter()
    for point in world.seen.points:
        if point.metric == "parallax.telemetry.items":
            fates[point.attributes["kind"], point.attributes["fate"]] += int(point.amount)
    assert fates["spans", "accepted"] > 0
    assert not any(count for (_, fate), count in fates.items() if fate == "given_up")


def test_both_tracers_continue_the_callers_trace_and_profiles_hangs_below_cruddur(world: World) -> None:
    sent = next(s for s in world.sent if s.case.route is Route.USER and s.case.outcome is Outcome.OK)
    spans = [s for s in world.seen.spans if s.trace_id == sent.trace_id]
    server = next(s for s in spans if s.service == "cruddur" and s.kind == 2)
    client = next(s for s in spans if s.service == "cruddur" and s.kind == 3 and s.name.startswith("GET"))
    downstream = next(s for s in spans if s.service == "profiles")
    assert (server.parent_id, client.parent_id, downstream.parent_id) == (sent.parent_id, server.span_id, client.span_id)

    segments = {d["name"]: d for d in world.seen.segments if of_segment(d) == sent.trace_id}
    remote = next(s for s in _subsegments(segments["Cruddur"]) if s.get("namespace") == "remote")
    assert segments["Cruddur"]["parent_id"] == sent.parent_id
    assert segments["Profiles"]["parent_id"] == remote["id"], "profiles' segment hangs under the SDK's subsegment, not OpenTelemetry's span"


def test_logs_and_items_name_the_requests_own_span(world: World) -> None:
    for sent in world.sent:
        server = next(s for s in world.seen.spans if s.trace_id == sent.trace_id and s.service == "cruddur" and s.kind == 2)
        assert {log.span_id for log in world.seen.logs if log.trace_id == sent.trace_id} == {server.span_id}
        items = [item for item in world.seen.items if item["custom"]["trace_id"] == sent.trace_id]
        assert {item["custom"]["span_id"] for item in items} <= {server.span_id}
        assert sent.headers["traceresponse"] == f"00-{sent.trace_id}-{server.span_id}-01"


def test_an_exception_is_recorded_where_it_happened(world: World) -> None:
    sent = next(s for s in world.sent if s.case.route is Route.HOME and s.case.outcome is Outcome.EXCEPTION)
    span = next(s for s in world.seen.spans if s.trace_id == sent.trace_id and s.name == "home.activities")
    assert span.status == 2
    assert "exception" in span.events
    assert span.scope == "home.activities"
    segment = next(d for d in world.seen.segments if of_segment(d) == sent.trace_id)
    assert segment["fault"]
    item = next(i for i in world.seen.items if i["custom"]["trace_id"] == sent.trace_id)
    assert item["body"]["trace"]["exception"]["class"] == "InjectedFault"
    assert item["framework"] == "flask"
    assert "home" in [frame["method"] for frame in item["body"]["trace"]["frames"]]


def test_the_vendors_own_posts_are_not_traced(world: World) -> None:
    assert not any("/api/1/item" in str(span.attributes.get("url.full", "")) for span in world.seen.spans)
    for item in world.seen.items:
        assert not {name.lower() for name in item["request_headers"]} & {"traceparent"}


def test_secrets_and_bodies_stay_out_of_error_items(world: World) -> None:
    for item in world.seen.items:
        assert "parallax0local" not in str({key: value for key, value in item.items() if key != "request_headers"})
