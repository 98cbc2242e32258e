"""Service graphs and statistics over time: GetServiceGraph, GetTraceGraph, GetTimeSeriesServiceStatistics."""

from __future__ import annotations

import secrets
import threading
import zlib
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from typing import Any

import orjson

from localstack.aws.errors import AwsError
from localstack.aws.tokens import make_token, read_token
from localstack.aws.xray.graphs.service_graph import Graph, GraphEdge, GraphService, TraceCondition
from localstack.aws.xray.graphs.statistics import Histogram, Statistics
from localstack.aws.xray.graphs.timeseries import ALL_EDGES, HISTORY_SECONDS, PERIODS, Window, select
from localstack.aws.xray.models import XRay
from localstack.aws.xray.responses.common import Handler, Members
from localstack.aws.xray.segments import validation
from localstack.aws.xray.traces.summaries import service_id

#: GetServiceGraph: "Time range cannot be longer than 6 hours", as the console's map has it.
MAX_GRAPH_SECONDS = 6 * 3600

#: Services of a graph a page, and bytes of JSON after which a page ends before that. X-Ray does not document its own figures.
PAGE_SERVICES = 100
PAGE_BYTES = 1024 * 1024
#: Windows of a time series a page: two hours by the minute are one. X-Ray does not document its own figure.
PAGE_WINDOWS = 120


class KeptPages:
    """The pages of graphs that did not fit one answer.

    A graph is made once and its further pages are kept: made again while data arrives, its reference ids would mean other services.
    Kept, compressed, are the pages of the last :data:`GRAPHS` of them; the token of one that is gone, or of another process, is refused.
    """

    GRAPHS = 16

    def __init__(self) -> None:
        self._kept: OrderedDict[str, list[bytes]] = OrderedDict()
        self._lock = threading.Lock()

    def first(self, services: Iterable[dict[str, Any]], query: object) -> tuple[list[dict[str, Any]], dict[str, str]]:
        """The first page of a graph, and the NextToken where there is more. ``query``: what only these pages are the answer to."""
        pages = _pages(services)
        first = next(pages, [])
        # One page at a time: as objects, a large graph would take ten times the memory.
        further = [zlib.compress(orjson.dumps(page), 1) for page in pages]
        if not further:
            return first, {}
        key = secrets.token_hex(8)
        with self._lock:
            self._kept[key] = further
            while len(self._kept) > self.GRAPHS:
                self._kept.popitem(last=False)
        return first, {"NextToken": make_token([key, 0], query)}

    def next(self, token: str, query: object) -> tuple[list[dict[str, Any]], dict[str, str]]:
        """The page a NextToken stands for."""
        position = read_token(token, query, (str, int))
        if position is None:
            raise AwsError("InvalidRequestException", "NextToken is not one that this query returned")
        key, number = position
        with self._lock:
            further = self._kept.get(key)
            if further is not None:
                self._kept.move_to_end(key)
        if further is None or not 0 <= number < len(further):
            raise AwsError("InvalidRequestException", "NextToken has expired: ask for the graph anew, without it")
        more = {"NextToken": make_token([key, number + 1], query)} if number + 1 < len(further) else {}
        return orjson.loads(zlib.decompress(further[number])), more


def _pages(services: Iterable[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    page: list[dict[str, Any]] = []
    size = 0
    for service in services:
        length = len(orjson.dumps(service))
        if page and (len(page) == PAGE_SERVICES or size + length > PAGE_BYTES):
            yield page
            page, size = [], 0
        page.append(service)
        size += length
    if page:
        yield page


class GraphResponses:
    def __init__(self, xray: XRay) -> None:
        self._xray = xray
        self._pages = KeptPages()
        self.handlers: dict[str, Handler] = {
            "GetServiceGraph": self.get_service_graph,
            "GetTraceGraph": self.get_trace_graph,
            "GetTimeSeriesServiceStatistics": self.get_time_series_service_statistics,
        }

    def get_service_graph(self, members: Members) -> dict[str, Any]:
        start, end = _range(members)
        if end - start > MAX_GRAPH_SECONDS:
            raise AwsError("InvalidRequestException", "Time range cannot be longer than 6 hours")
        query = ("GetServiceGraph", start, end, members.get("GroupName"), members.get("GroupARN"))
        condition, changed = self._group(members, start, end)
        if "NextToken" in members:
            services, more = self._pages.next(members["NextToken"], query)
        else:
            services, more = self._pages.first(graph_members(self._xray.graphs.of_range(start, end, condition)), query)
        return {"Services": services, "StartTime": start, "EndTime": end, "ContainsOldGroupVersions": changed} | more

    def get_trace_graph(self, members: Members) -> dict[str, Any]:
        trace_ids = members["TraceIds"]
        if not trace_ids:
            raise AwsError("InvalidRequestException", "TraceIds must hold at least one trace id")
        for trace_id in trace_ids:
            if not validation.TRACE_ID.fullmatch(trace_id):
                raise AwsError(
                    "InvalidRequestException", f"Invalid trace id '{trace_id}': 1-<8 hexadecimal digits>-<24 hexadecimal digits> expected"
                )
        query = ("GetTraceGraph", sorted(set(trace_ids)))
        if "NextToken" in members:
            services, more = self._pages.next(members["NextToken"], query)
        else:
            services, more = self._pages.first(graph_members(self._xray.graphs.of_traces(trace_ids)), query)
        return {"Services": services} | more

    def get_time_series_service_statistics(self, members: Members) -> dict[str, Any]:
        start, end = _range(members)
        period = members.get("Period", PERIODS[0])
        if period not in PERIODS:
            raise AwsError("InvalidRequestException", f"Period must be {' or '.join(map(str, PERIODS))} seconds, not {period}")
        expression = members.get("EntitySelectorExpression")
        selector = ALL_EDGES if expression is None else select(expression)
        forecast = members.get("ForecastStatistics", False)
        if forecast and not selector.by_id:
            raise AwsError("InvalidRequestException", 'ForecastStatistics needs an EntitySelectorExpression id(name: "…", …)')
        query = (
            "GetTimeSeriesServiceStatistics",
            start,
            end,
            period,
            expression,
            forecast,
            members.get("GroupName"),
            members.get("GroupARN"),
        )
        begin = start
        if "NextToken" in members:
            position = read_token(members["NextToken"], query, (int,))
            if position is None:
                raise AwsError("InvalidRequestException", "NextToken is not one that this query returned")
            begin = float(position[0])
        condition, changed = self._group(members, start, end, HISTORY_SECONDS + period if forecast else 0)
        windows = self._xray.timeseries.of_range(begin, end, period, selector, condition, forecast, PAGE_WINDOWS + 1)
        page = [_window_members(window, selector.of) for window in windows[:PAGE_WINDOWS]]
        more = {"NextToken": make_token([windows[PAGE_WINDOWS].start], query)} if len(windows) > PAGE_WINDOWS else {}
        return {"TimeSeriesServiceStatistics": page, "ContainsOldGroupVersions": changed} | more

    def _group(self, members: Members, start: float, end: float, around: float = 0) -> tuple[TraceCondition | None, bool]:
        """What picks the traces of the group in question, and whether its expression was another one in some of the time.

        ``around``: in how many seconds before and after the range traces are looked at, too.
        """
        if not (members.get("GroupName") or members.get("GroupARN")):
            return None, False
        group = self._xray.groups.get(members)
        changed = self._xray.groups.expression_changed(group["GroupARN"])
        expression = group.get("FilterExpression")
        began = self._xray.graphs.began(start - around, end + around)
        condition = self._xray.filters.condition(expression, began=began) if expression else None
        return condition, changed is not None and changed > start


def _range(members: Members) -> tuple[float, float]:
    start, end = members["StartTime"], members["EndTime"]
    if start > end:
        raise AwsError("InvalidRequestException", "StartTime must not be after EndTime")
    return start, end


def graph_members(graph: Graph) -> Iterator[dict[str, Any]]:
    """The services of a graph, each as the API's Service."""
    return map(_service_members, graph.services)


def _service_members(service: GraphService) -> dict[str, Any]:
    members = {"ReferenceId": service.reference_id} | service_id(service.service)
    if service.root:
        members["Root"] = True
    members |= {
        "State": service.state,
        "StartTime": _time(service.start_time),
        "EndTime": _time(service.end_time),
        "Edges": [_edge_members(edge) for edge in service.edges],
    }
    if service.statistics is not None:
        members |= {
            "SummaryStatistics": _statistics_members(service.statistics),
            "DurationHistogram": _histogram_members(service.durations),
            "ResponseTimeHistogram": _histogram_members(service.response_times),
        }
    return members


def _edge_members(edge: GraphEdge) -> dict[str, Any]:
    members: dict[str, Any] = {
        "ReferenceId": edge.target,
        "StartTime": _time(edge.start_time),
        "EndTime": _time(edge.end_time),
        "SummaryStatistics": _statistics_members(edge.statistics),
        "Aliases": [service_id(alias) for alias in edge.aliases],
    }
    if edge.link:
        return members | {"EdgeType": "link", "ReceivedEventAgeHistogram": _histogram_members(edge.event_ages)}
    return members | {"ResponseTimeHistogram": _histogram_members(edge.response_times)}


def _statistics_members(statistics: Statistics) -> dict[str, Any]:
    return {
        "OkCount": statistics.ok,
        "ErrorStatistics": {
            "ThrottleCount": statistics.throttle,
            "OtherCount": statistics.error,
            "TotalCount": statistics.throttle + statistics.error,
        },
        "FaultStatistics": {"OtherCount": statistics.fault, "TotalCount": statistics.fault},
        "TotalCount": statistics.total,
        "TotalResponseTime": statistics.response_time,
    }


def _histogram_members(histogram: Histogram) -> list[dict[str, Any]]:
    return [{"Value": value, "Count": count} for value, count in histogram]


def _window_members(window: Window, of: str) -> dict[str, Any]:
    key = "ServiceSummaryStatistics" if of == "service" else "EdgeSummaryStatistics"
    members = {
        "Timestamp": window.start,
        key: _statistics_members(window.statistics),
        "ResponseTimeHistogram": _histogram_members(window.response_times),
    }
    if window.forecast is not None:
        low, high = window.forecast
        members["ServiceForecastStatistics"] = {"FaultCountHigh": high, "FaultCountLow": low}
    return members


def _time(seconds: float) -> float:
    """Epoch seconds, to the millisecond."""
    return round(seconds, 3)
