"""Service graphs and statistics over time: GetServiceGraph, GetTraceGraph, GetTimeSeriesServiceStatistics."""

from __future__ import annotations

import secrets
import threading
from collections import OrderedDict
from typing import Any

from localstack.aws.errors import AwsError
from localstack.aws.tokens import make_token, read_token
from localstack.aws.xray import segments
from localstack.aws.xray.facts import Service
from localstack.aws.xray.graphs import Graph, GraphEdge, GraphService, TraceCondition
from localstack.aws.xray.models import XRay
from localstack.aws.xray.responses.common import Handler, Members
from localstack.aws.xray.statistics import Histogram, Statistics
from localstack.aws.xray.timeseries import ALL_EDGES, HISTORY_SECONDS, PERIODS, Window, select

#: GetServiceGraph: "Time range cannot be longer than 6 hours", as the console's map has it.
MAX_GRAPH_SECONDS = 6 * 3600

#: Services of a graph a page. X-Ray does not document its own figure.
PAGE_SERVICES = 100
#: Windows of a time series a page: a day by the minute is three pages. X-Ray does not document its own figure.
PAGE_WINDOWS = 500


class KeptPages:
    """The pages of graphs that did not fit one answer.

    A graph is made once and kept for its further pages: made again while data arrives, its reference ids would mean other services.
    Kept are the last :data:`GRAPHS` of them; the token of one that is gone, or of another process, is refused.
    """

    GRAPHS = 16

    def __init__(self) -> None:
        self._kept: OrderedDict[str, list[dict[str, Any]]] = OrderedDict()
        self._lock = threading.Lock()

    def first(self, services: list[dict[str, Any]], query: object) -> tuple[list[dict[str, Any]], dict[str, str]]:
        """The first page of a graph, and the NextToken where there is more. ``query``: what only these pages are the answer to."""
        if len(services) <= PAGE_SERVICES:
            return services, {}
        key = secrets.token_hex(8)
        with self._lock:
            self._kept[key] = services
            while len(self._kept) > self.GRAPHS:
                self._kept.popitem(last=False)
        return self._page(key, services, 0, query)

    def next(self, token: str, query: object) -> tuple[list[dict[str, Any]], dict[str, str]]:
        """The page a NextToken stands for."""
        position = read_token(token, query, (str, int))
        if position is None:
            raise AwsError("InvalidRequestException", "NextToken is not one that this query returned")
        key, start = position
        with self._lock:
            services = self._kept.get(key)
            if services is not None:
                self._kept.move_to_end(key)
        if services is None:
            raise AwsError("InvalidRequestException", "NextToken has expired: ask for the graph anew, without it")
        return self._page(key, services, start, query)

    def _page(self, key: str, services: list[dict[str, Any]], start: int, query: object) -> tuple[list[dict[str, Any]], dict[str, str]]:
        end = start + PAGE_SERVICES
        return services[start:end], ({"NextToken": make_token([key, end], query)} if end < len(services) else {})


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
            if not segments.TRACE_ID.fullmatch(trace_id):
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
        after: float = -1
        if "NextToken" in members:
            position = read_token(members["NextToken"], query, (int,))
            if position is None:
                raise AwsError("InvalidRequestException", "NextToken is not one that this query returned")
            after = position[0]
        condition, changed = self._group(members, start, end, HISTORY_SECONDS if forecast else 0)
        windows = self._xray.timeseries.of_range(start, end, period, selector, condition, forecast)
        left = [window for window in windows if window.start > after]
        page = left[:PAGE_WINDOWS]
        more = {"NextToken": make_token([page[-1].start], query)} if len(left) > PAGE_WINDOWS else {}
        described = [_window_members(window, selector.of) for window in page]
        return {"TimeSeriesServiceStatistics": described, "ContainsOldGroupVersions": changed} | more

    def _group(self, members: Members, start: float, end: float, history: float = 0) -> tuple[TraceCondition | None, bool]:
        """What picks the traces of the group in question, and whether its expression was another one in some of the time.

        ``history``: how many seconds before ``start`` traces are looked at, too.
        """
        if not (members.get("GroupName") or members.get("GroupARN")):
            return None, False
        group = self._xray.groups.get(members)
        changed = self._xray.groups.expression_changed(group["GroupARN"])
        expression = group.get("FilterExpression")
        condition = self._xray.filters.condition(expression, began=self._xray.graphs.began(start - history, end)) if expression else None
        return condition, changed is not None and changed > start


def _range(members: Members) -> tuple[float, float]:
    start, end = members["StartTime"], members["EndTime"]
    if start > end:
        raise AwsError("InvalidRequestException", "StartTime must not be after EndTime")
    return start, end


def graph_members(graph: Graph) -> list[dict[str, Any]]:
    """A graph as a list of the API's Service."""
    return [_service_members(service) for service in graph.services]


def _service_members(service: GraphService) -> dict[str, Any]:
    members = {"ReferenceId": service.reference_id} | name_members(service.service)
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


def name_members(service: Service) -> dict[str, Any]:
    """Name, Names, AccountId and Type, as far as they are known."""
    members: dict[str, Any] = {"Name": service.name, "Names": [service.name]}
    if service.account_id is not None:
        members["AccountId"] = service.account_id
    if service.type is not None:
        members["Type"] = service.type
    return members


def _edge_members(edge: GraphEdge) -> dict[str, Any]:
    members: dict[str, Any] = {
        "ReferenceId": edge.target,
        "StartTime": _time(edge.start_time),
        "EndTime": _time(edge.end_time),
        "SummaryStatistics": _statistics_members(edge.statistics),
        "Aliases": [name_members(alias) for alias in edge.aliases],
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
