"""Service graphs and statistics over time: the sums made in SQL are those made of ``facts`` in Python, and what they say of one story."""

from __future__ import annotations

import itertools
import json
import math
import secrets
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from localstack.aws.errors import AwsError
from localstack.aws.state import State
from localstack.aws.xray.graphs.forecasts import Minute, is_anomalous, judge
from localstack.aws.xray.graphs.service_graph import Graph, GraphService
from localstack.aws.xray.graphs.statistics import Statistics
from localstack.aws.xray.graphs.timeseries import Window, select
from localstack.aws.xray.models import XRay
from localstack.aws.xray.responses.graphs import PAGE_BYTES, PAGE_SERVICES, KeptPages
from localstack.aws.xray.traces.documents import StoredDocument
from localstack.aws.xray.traces.facts import Edge, Node, Service, TraceFacts, facts

#: A whole number of windows of 300 seconds since the epoch, and recent enough to be taken for the time in a trace id.
NOW = 1_795_353_900

CRUDDUR = Service("Cruddur", "AWS::EC2::Instance")


@pytest.fixture(scope="module")
def xray() -> Iterator[XRay]:
    """One X-Ray for all tests: each has traces of its own."""
    with tempfile.TemporaryDirectory() as directory:
        state = State(Path(directory) / "aws.duckdb", "us-east-1")
        yield state.xray
        state.close()


@dataclass
class Traces:
    """Traces of one test, and the condition that picks them."""

    ids: list[str] = field(default_factory=list)
    facts: list[TraceFacts] = field(default_factory=list)
    sql: str = "t.trace_id IN (SELECT unnest($test_ids::VARCHAR[]))"

    @property
    def parameters(self) -> dict[str, Any]:
        return {"test_ids": self.ids}

    def put(self, xray: XRay, *documents: dict[str, Any]) -> None:
        """Store the documents of a new trace."""
        assert xray.segments.put(self.add(*documents)) == []

    def add(self, *documents: dict[str, Any]) -> list[str]:
        """The documents of a new trace, to be stored."""
        trace_id = f"1-{NOW:08x}-{secrets.token_hex(12)}"
        texts = [json.dumps(document | {"trace_id": trace_id}) for document in documents]
        stored = [
            StoredDocument(
                trace_id,
                document["id"],
                document.get("parent_id"),
                document.get("type") == "subsegment",
                document["start_time"],
                document.get("end_time"),
                0.0,
                1,
                text,
            )
            for document, text in zip(documents, texts, strict=True)
        ]
        self.ids.append(trace_id)
        self.facts.append(facts(trace_id, stored))
        return texts


def entity(number: int, start: float = 0, took: float | None = 1, **fields: Any) -> dict[str, Any]:
    """A segment or subsegment; ``start`` in seconds after NOW, ``took`` None: in progress."""
    times = {"in_progress": True} if took is None else {"end_time": NOW + start + took}
    return {"id": f"{number:016x}", "name": "Cruddur", "start_time": NOW + start} | times | fields


def child_of(number: int) -> dict[str, Any]:
    return {"parent_id": f"{number:016x}"}


# -- the same in Python


@dataclass
class Sums:
    """What is said of a service or an edge, made one by one."""

    start: float = math.inf
    end: float = -math.inf
    ended: Counter[str] = field(default_factory=Counter)
    took: Counter[int] = field(default_factory=Counter)
    worked: Counter[int] = field(default_factory=Counter)
    seconds: float = 0.0
    marks: set[Any] = field(default_factory=set)

    def add(self, request: Node | Edge) -> None:
        self.start = min(self.start, request.start_time)
        self.end = max(self.end, request.start_time if request.end_time is None else request.end_time)
        if request.end_time is None:
            return
        flags = request.flags
        self.ended["fault" if flags.fault else "throttle" if flags.throttle else "error" if flags.error else "ok"] += 1
        self.took[_milliseconds(request.start_time, request.end_time)] += 1
        self.seconds += max(request.end_time - request.start_time, 0)
        if isinstance(request, Node):
            assert request.work_end is not None
            self.worked[_milliseconds(request.start_time, request.work_end)] += 1

    @property
    def statistics(self) -> Statistics:
        ended = self.ended
        return Statistics(ended["ok"], ended["error"], ended["throttle"], ended["fault"], round(self.seconds, 6))


def _milliseconds(start: float, end: float) -> int:
    return round(max(end - start, 0) * 1000)


def _is_messaging(kind: str | None) -> bool:
    return kind is not None and kind.startswith(("AWS::SQS", "AWS::SNS", "AWS::Events", "AWS::Kinesis", "AWS::MQ", "AWS::MSK"))


def expected(traces: Iterable[TraceFacts], inside: Callable[[float], bool]) -> dict[Any, Any]:
    """The graph of what began inside, as :func:`plain` writes it."""
    services: dict[Service, Sums] = {}
    edges: dict[tuple[bool, Service, Service, bool], Sums] = {}
    for trace in traces:
        nodes = {node.id: node for node in trace.nodes}
        for node in trace.nodes:
            if inside(node.start_time):
                sums = services.setdefault(node.service, Sums())
                sums.add(node)
                sums.marks |= {"root"} if node.entry else set()
                sums.marks |= set() if node.inferred else {"active"}
        for edge in trace.edges:
            if not inside(edge.start_time):
                continue
            target = nodes[edge.target]
            source = nodes[edge.source] if edge.source is not None else None
            called_queue = edge.alias is not None and _is_messaging(edge.alias.type)
            link = called_queue or (source is not None and _is_messaging(source.service.type))
            key = (source is None, source.service if source is not None else target.service, target.service, link)
            sums = edges.setdefault(key, Sums())
            sums.add(edge)
            if edge.alias is not None and edge.alias.name != target.service.name:
                sums.marks.add(edge.alias)
            if link and source is not None:
                sums.worked[_milliseconds(edge.start_time if called_queue else source.start_time, target.start_time)] += 1
    found: dict[Any, Any] = {}
    for client, source_service, target_service, _ in edges:
        for end in (source_service, target_service) if not client else (target_service,):
            touching = [sums for key, sums in edges.items() if end == key[2] or (end == key[1] and not key[0])]
            if end not in services:
                found[False, end] = (
                    (min(one.start for one in touching), max(one.end for one in touching)),
                    set(),
                    Statistics(),
                    {},
                    {},
                    {},
                )
        if client:
            calls = [sums for key, sums in edges.items() if key[0] and key[1] == source_service]
            found[True, source_service] = ((min(one.start for one in calls), max(one.end for one in calls)), set(), None, {}, {}, {})
    for service, sums in services.items():
        found[False, service] = ((sums.start, sums.end), sums.marks, sums.statistics, dict(sums.took), dict(sums.worked), {})
    for (client, source_service, target_service, link), sums in edges.items():
        took, ages = ({}, dict(sums.worked)) if link else (dict(sums.took), {})
        found[client, source_service][-1][target_service, link] = ((sums.start, sums.end), sums.statistics, took, ages, sums.marks)
    return found


def plain(graph: Graph) -> dict[Any, Any]:
    """A graph without its order and reference ids."""

    def counts(histogram: Sequence[tuple[float, int]]) -> dict[int, int]:
        assert list(histogram) == sorted(histogram)
        return {round(value * 1000): count for value, count in histogram}

    services = {service.reference_id: service for service in graph.services}
    assert [service.reference_id for service in graph.services] == list(range(len(services)))
    found: dict[Any, Any] = {}
    for one in graph.services:
        edges = {
            (services[edge.target].service, edge.link): (
                (edge.start_time, edge.end_time),
                edge.statistics,
                counts(edge.response_times),
                counts(edge.event_ages),
                set(edge.aliases),
            )
            for edge in one.edges
        }
        assert len(edges) == len(one.edges)
        assert not any(services[edge.target].client for edge in one.edges)
        assert (one.service.type == "client") == one.client
        key = services[one.edges[0].target].service if one.client else one.service
        assert key.name == one.service.name
        marks = ({"root"} if one.root else set()) | ({"active"} if one.state == "active" else set())
        found[one.client, key] = (
            (one.start_time, one.end_time),
            marks,
            one.statistics,
            counts(one.response_times),
            counts(one.durations),
            edges,
        )
    return found


def expected_windows(
    traces: Iterable[TraceFacts], inside: Callable[[float], bool], period: int, of: str, selected: Callable[[Any], bool]
) -> list[Window]:
    windows: dict[int, Sums] = {}
    for trace in traces:
        services = {node.id: node.service for node in trace.nodes}
        for request in trace.nodes if of == "service" else trace.edges:
            ends = request.service if isinstance(request, Node) else (services.get(request.source or ""), services[request.target])
            if inside(request.start_time) and request.end_time is not None and selected(ends):
                windows.setdefault(math.floor(request.start_time / period) * period, Sums()).add(request)
    return [
        Window(start, sums.statistics, tuple((took / 1000, count) for took, count in sorted(sums.took.items())))
        for start, sums in sorted(windows.items())
    ]


# -- random traces

_CALLS: st.SearchStrategy[dict[str, Any]] = st.sampled_from(
    [
        {},
        {"namespace": "remote"},
        {"namespace": "remote", "name": "Cruddur"},
        {"namespace": "remote", "sql": {}},
        {"namespace": "aws", "name": "DynamoDB", "aws": {"table_name": "cruds"}},
        {"namespace": "aws", "name": "SQS", "aws": {"queue_url": "https://sqs/1/queue"}},
    ]
)


def _entity(draw: st.DrawFn, number: int, **fields: Any) -> dict[str, Any]:
    flags = {flag: True for flag in ("error", "fault", "throttle") if not draw(st.integers(0, 3))}
    # Quarters of a second are numbers without an error: their sums are the same in every order.
    took = draw(st.sampled_from([None, *(quarters / 4 for quarters in range(-1, 12))]))
    name = draw(st.sampled_from(["Cruddur", "Profiles", "queue"]))
    return entity(number, draw(st.integers(0, 60)) * 10.25, took, name=name) | fields | flags


@st.composite
def _traces(draw: st.DrawFn) -> list[dict[str, Any]]:
    documents: list[dict[str, Any]] = []
    ids: list[int] = []
    numbers = itertools.count(1)
    for _ in range(draw(st.integers(1, 4))):
        number = next(numbers)
        origin = draw(st.sampled_from([{}, {"origin": "AWS::EC2::Instance"}, {"origin": "AWS::SQS::Queue"}]))
        account = draw(st.sampled_from([{}, {}, {"aws": {"account_id": "111122223333"}}]))
        parent = draw(st.sampled_from([None, 99, *ids]))
        calls = [_entity(draw, next(numbers), **draw(_CALLS)) for _ in range(draw(st.integers(0, 2)))]
        document = _entity(draw, number) | origin | account | {"subsegments": calls} | (child_of(parent) if parent is not None else {})
        documents.append(document)
        ids += [number, *(int(call["id"], 16) for call in calls)]
    if draw(st.booleans()):
        late = _entity(draw, next(numbers), **draw(_CALLS))
        documents.append(late | {"type": "subsegment"} | child_of(draw(st.sampled_from([99, *ids]))))
    return documents


@settings(max_examples=60, deadline=None)
@given(
    st.lists(_traces(), min_size=1, max_size=4),
    st.integers(0, 40),
    st.integers(0, 60),
    st.sampled_from([60, 300]),
    st.sampled_from(
        [
            ('service("Cruddur")', lambda node: node.name == "Cruddur"),
            ('id(name: "queue", type: "AWS::SQS::Queue")', lambda node: (node.name, node.type) == ("queue", "AWS::SQS::Queue")),
            ('id(account.id: "111122223333")', lambda node: node.account_id == "111122223333"),
            ("edge()", lambda ends: True),
            ('edge("Cruddur", "queue")', lambda ends: ends[0] is not None and (ends[0].name, ends[1].name) == ("Cruddur", "queue")),
            ('edge(id(type: "client"), "Profiles")', lambda ends: ends[0] is None and ends[1].name == "Profiles"),
        ]
    ),
)
def test_graphs_and_windows_are_the_sums_of_the_facts(
    xray: XRay, traces: list[list[dict[str, Any]]], start: int, length: int, period: int, selector: tuple[str, Callable[[Any], bool]]
) -> None:
    mine = Traces()
    assert xray.segments.put([text for trace in traces for text in mine.add(*trace)]) == []
    since, until = NOW + start * 10.25, NOW + (start + length) * 10.25

    assert plain(xray.graphs.of_traces(mine.ids)) == expected(mine.facts, lambda _: True)
    assert plain(xray.graphs.of_range(since, until, mine)) == expected(mine.facts, lambda time: since <= time < until)

    text, selected = selector
    chosen = select(text)
    windows = expected_windows(mine.facts, lambda time: since <= time < until, period, chosen.of, selected)
    assert xray.timeseries.of_range(since, until, period, chosen, mine) == windows
    assert xray.timeseries.of_range(since, until, period, chosen, mine, limit=1) == windows[:1]


# -- one story


def only(graph: Graph, name: str, kind: str | None = None) -> GraphService:
    (found,) = [one for one in graph.services if one.service.name == name and (kind is None or one.service.type == kind)]
    return found


def test_what_a_client_sees_what_a_caller_sees_and_what_is_inferred(xray: XRay) -> None:
    """The client calls Cruddur, which calls Profiles by its host name, and a table."""
    mine = Traces()
    called = entity(2, 0.1, 0.3, name="profiles.local", namespace="remote")
    table = entity(3, 0.5, 0.2, name="DynamoDB", namespace="aws", aws={"table_name": "cruds"}, error=True, throttle=True)
    mine.put(
        xray,
        entity(1, 0, 0.8, origin="AWS::EC2::Instance", subsegments=[called, table]),
        entity(4, 0.15, 0.2, name="Profiles", fault=True, **child_of(2)),
    )
    graph = xray.graphs.of_traces(mine.ids)
    assert [(one.service, one.root, one.state) for one in graph.services] == [
        (Service("Cruddur", "client"), False, "unknown"),
        (CRUDDUR, True, "active"),
        (Service("Profiles"), False, "active"),
        (Service("cruds", "AWS::DynamoDB::Table"), False, "unknown"),
    ]
    client, cruddur, profiles, cruds = graph.services
    assert [(edge.target, edge.statistics) for edge in client.edges] == [(1, Statistics(ok=1, response_time=0.8))]
    # Cruddur saw its call succeed; Profiles knows better. Each has its own time.
    to_profiles, to_table = cruddur.edges
    assert (to_profiles.target, to_profiles.statistics) == (2, Statistics(ok=1, response_time=0.3))
    assert to_profiles.aliases == (Service("profiles.local", "remote"),)
    assert (profiles.statistics, profiles.response_times) == (Statistics(fault=1, response_time=0.2), ((0.2, 1),))
    assert (to_table.target, to_table.statistics, to_table.aliases) == (3, Statistics(throttle=1, response_time=0.2), ())
    assert cruds.statistics == to_table.statistics
    assert client.statistics is None


def test_the_same_name_as_another_type_is_another_service_with_a_client_of_its_own(xray: XRay) -> None:
    mine = Traces()
    mine.put(xray, entity(1, origin="AWS::EC2::Instance"))
    mine.put(xray, entity(1))
    graph = xray.graphs.of_traces(mine.ids)
    assert [(one.service.type, [edge.target for edge in one.edges]) for one in graph.services] == [
        ("client", [2]),
        ("client", [3]),
        (None, []),
        ("AWS::EC2::Instance", []),
    ]


def test_work_after_the_response_is_part_of_the_duration_only(xray: XRay) -> None:
    mine = Traces()
    mine.put(xray, entity(1, 0, 1, subsegments=[entity(2, 0.5, 2, name="mail")]))
    _, service = xray.graphs.of_traces(mine.ids).services
    assert (service.response_times, service.durations) == (((1.0, 1),), ((2.5, 1),))


def test_what_is_in_progress_is_there_and_is_not_counted(xray: XRay) -> None:
    mine = Traces()
    mine.put(xray, entity(1, 0, None))
    client, service = xray.graphs.of_traces(mine.ids).services
    assert (service.statistics, service.response_times, service.durations) == (Statistics(), (), ())
    assert (service.start_time, service.end_time) == (NOW, NOW)
    assert client.edges[0].statistics == Statistics()


def test_a_message_makes_a_link_with_the_age_at_which_it_came(xray: XRay) -> None:
    """By the queue's own segment, and by the call that sent it."""
    mine = Traces()
    send = entity(2, 0.1, 0.1, name="SQS", namespace="aws", aws={"queue_url": "https://sqs/1/crudqueue"})
    mine.put(xray, entity(1, subsegments=[send]), entity(3, 5, name="Worker", **child_of(2)))
    mine.put(xray, entity(1, 0, name="topic", origin="AWS::SNS"), entity(2, 1.5, name="Worker", **child_of(1)))
    graph = xray.graphs.of_traces(mine.ids)
    by_call = only(graph, "Cruddur", "client").edges[0].target
    (edge,) = graph.services[by_call].edges
    assert (edge.link, edge.event_ages, edge.response_times, edge.statistics.total) == (True, ((4.9, 1),), (), 1)
    assert edge.aliases == (Service("crudqueue", "AWS::SQS::Queue"),)
    (edge,) = only(graph, "topic", "AWS::SNS").edges
    assert (edge.link, edge.event_ages) == (True, ((1.5, 1),))


def test_a_range_holds_its_start_and_not_its_end(xray: XRay) -> None:
    mine = Traces()
    for second in (0, 1, 2):
        mine.put(xray, entity(1, second))

    def requests(since: float, until: float) -> int:
        return sum(one.statistics.total for one in xray.graphs.of_range(NOW + since, NOW + until, mine).services if one.statistics)

    assert [requests(0, 1), requests(0, 2), requests(1, 3), requests(0.5, 0.9), requests(1, 1)] == [1, 2, 2, 0, 0]


def test_a_range_that_cuts_a_call_shows_whom_it_led_to(xray: XRay) -> None:
    mine = Traces()
    call = entity(2, 0.5, 2, name="Profiles", namespace="remote")
    mine.put(xray, entity(1, subsegments=[call]), entity(3, 1.5, name="Profiles", **child_of(2)))
    graph = xray.graphs.of_range(NOW, NOW + 1, mine)
    profiles = only(graph, "Profiles")
    assert (profiles.statistics, profiles.state, profiles.start_time, profiles.end_time) == (Statistics(), "unknown", NOW + 0.5, NOW + 2.5)


def test_times_are_rounded_to_the_millisecond_in_histograms_only(xray: XRay) -> None:
    mine = Traces()
    for took in (0.0104, 0.0096, 0.0106):
        mine.put(xray, entity(1, 0, took))
    _, service = xray.graphs.of_traces(mine.ids).services
    assert service.response_times == ((0.01, 2), (0.011, 1))
    assert service.statistics is not None
    assert service.statistics.response_time == pytest.approx(0.0306, abs=2e-6)


# -- windows, selectors, forecasts


@pytest.mark.parametrize(
    "expression",
    [
        "nonsense",
        "fault",
        'service("a") AND service("b")',
        'service("a") { fault }',
        'edge("a", "b") { fault }',
        'id("a")',
        "id(",
        'id(name: "a") OR fault',
        'service("a") = 1',
        "",
    ],
)
def test_what_is_no_selector_is_refused(expression: str) -> None:
    with pytest.raises(AwsError) as caught:
        select(expression)
    assert caught.value.code == "InvalidRequestException"
    assert "EntitySelectorExpression" in caught.value.message


def test_a_forecast_is_where_insights_begin_to_be_found() -> None:
    minutes = [Minute(NOW + 60 * place, 100, 2) for place in range(30)]
    *_, last = judge(minutes)
    fewest, most = last.limits()
    assert fewest <= 2 <= most < 100
    assert is_anomalous(Minute(0, 100, most + 1), last.known_faults, last.known_requests)
    assert not is_anomalous(Minute(0, 100, most), last.known_faults, last.known_requests)
    # Where half of all requests fault, none at all is out of the range too.
    *_, last = judge([Minute(NOW + 60 * place, 100, 50) for place in range(60)])
    assert last.limits()[0] > 10


def test_windows_have_a_forecast_once_there_is_a_history(xray: XRay) -> None:
    mine = Traces()
    for minute in range(4):
        requests = [
            entity(1, minute * 60 + second, 0.5, name="Forecast", **({"fault": True} if minute == 3 else {})) for second in range(12)
        ]
        assert xray.segments.put([text for request in requests for text in mine.add(request)]) == []
    windows = xray.timeseries.of_range(NOW, NOW + 240, 60, select('id(name: "Forecast")'), mine, forecast=True)
    assert [window.statistics.total for window in windows] == [12] * 4
    assert windows[0].forecast is None
    forecasts = [window.forecast for window in windows[1:]]
    assert all(forecast is not None and 0 <= forecast[0] <= forecast[1] for forecast in forecasts)
    # Each normal minute makes the expectation narrower; the outage is out of it.
    assert forecasts[2] is not None
    assert forecasts[2][1] < 12
    # The history before the range counts.
    (alone,) = xray.timeseries.of_range(NOW + 180, NOW + 240, 60, select('id(name: "Forecast")'), mine, forecast=True)
    assert alone.forecast == forecasts[2]


# -- pages


def test_pages_are_of_one_graph() -> None:
    pages, services = KeptPages(), [{"ReferenceId": number} for number in range(2 * PAGE_SERVICES + 1)]
    page, more = pages.first(services, "query")
    found = page
    while more:
        page, more = pages.next(more["NextToken"], "query")
        found = found + page
    assert found == services
    assert pages.first(services[:PAGE_SERVICES], "query") == (services[:PAGE_SERVICES], {})


def test_a_page_ends_where_it_grows_large() -> None:
    pages, services = KeptPages(), [{"ReferenceId": number, "Name": "n" * (PAGE_BYTES // 2)} for number in range(3)]
    first, more = pages.first(iter(services), "query")
    assert [len(first), len(pages.next(more["NextToken"], "query")[0])] == [1, 1]
    assert pages.first([], "query") == ([], {})


def test_a_token_is_good_for_its_query_and_while_its_graph_is_kept() -> None:
    pages, services = KeptPages(), [{"ReferenceId": number} for number in range(PAGE_SERVICES + 1)]
    token = pages.first(services, "query")[1]["NextToken"]
    for bad, query in ((token, "another"), ("token", "query")):
        with pytest.raises(AwsError, match="not one that this query returned"):
            pages.next(bad, query)
    for _ in range(KeptPages.GRAPHS):
        pages.first(services, "query")
    with pytest.raises(AwsError, match="has expired"):
        pages.next(token, "query")
