"""Insights: GetInsightSummaries, GetInsight, GetInsightEvents, GetInsightImpactGraph."""

from __future__ import annotations

import time
from typing import Any

from localstack.aws.errors import AwsError
from localstack.aws.tokens import make_token, read_token
from localstack.aws.xray.graphs.service_graph import GraphService
from localstack.aws.xray.insights.state import RETENTION_SECONDS, Event, Impact, Insight, events
from localstack.aws.xray.models import XRay
from localstack.aws.xray.responses.common import Handler, Members, page
from localstack.aws.xray.traces.summaries import service_id

#: The largest pages: of MaxResults in the service model.
MAX_SUMMARIES = 100
MAX_EVENTS = 50
#: "The time range between the start time and end time can't be more than six hours".
MAX_GRAPH_SECONDS = 6 * 3600


class InsightResponses:
    def __init__(self, xray: XRay) -> None:
        self._xray = xray
        self.handlers: dict[str, Handler] = {
            "GetInsightSummaries": self.get_insight_summaries,
            "GetInsight": self.get_insight,
            "GetInsightEvents": self.get_insight_events,
            "GetInsightImpactGraph": self.get_insight_impact_graph,
        }

    def get_insight_summaries(self, members: Members) -> dict[str, Any]:
        """StartTime: "the beginning of the time frame in which the insights started", EndTime: "the end of the time frame in which the
        insights ended"; an active one has not ended, so it must have started before. Newest first.
        """
        now = time.time()
        start, end = members["StartTime"], members["EndTime"]
        _check_range(start, end, now)
        group = self._xray.groups.get(members)
        query = ("GetInsightSummaries", start, end, group["GroupARN"], members.get("States"))
        insights = [
            one
            for one in self._xray.insights.of_group(group["GroupARN"])
            if one.start >= start
            and (one.start if one.active(now) else one.end) <= end
            and _state(one, now) in (members.get("States") or ("ACTIVE", "CLOSED"))
        ]
        if "NextToken" in members:
            after = _position(members["NextToken"], query, (int, str))
            insights = [one for one in insights if (-one.start, one.id) > (-after[0], after[1])]
        size = members.get("MaxResults", MAX_SUMMARIES)
        answer: dict[str, Any] = {
            "InsightSummaries": [_members(one, group["GroupName"], now) | {"LastUpdateTime": one.updated} for one in insights[:size]]
        }
        if len(insights) > size:
            answer["NextToken"] = make_token([insights[size - 1].start, insights[size - 1].id], query)
        return answer

    def get_insight(self, members: Members) -> dict[str, Any]:
        insight = self._find(members["InsightId"])
        return {"Insight": _members(insight, self._group_name(insight), time.time())}

    def get_insight_events(self, members: Members) -> dict[str, Any]:
        insight = self._find(members["InsightId"])
        query = ("GetInsightEvents", insight.id)
        found = events(insight, time.time())
        if "NextToken" in members:
            (after,) = _position(members["NextToken"], query, (int,))
            found = [event for event in found if event.time > after]
        size = members.get("MaxResults", MAX_EVENTS)
        answer: dict[str, Any] = {"InsightEvents": [_event(insight, event) for event in found[:size]]}
        if len(found) > size:
            answer["NextToken"] = make_token([found[size - 1].time], query)
        return answer

    def get_insight_impact_graph(self, members: Members) -> dict[str, Any]:
        start, end = members["StartTime"], members["EndTime"]
        _check_range(start, end, time.time())
        if end - start > MAX_GRAPH_SECONDS:
            raise AwsError("InvalidRequestException", "Time range cannot be longer than 6 hours")
        insight = self._find(members["InsightId"])
        graph = self._xray.insights.impact_graph(insight, start, end)
        query = f"GetInsightImpactGraph {insight.id} {start} {end}"
        services, more = page([_graph_service(service) for service in graph.services], members.get("NextToken"), query)
        return {
            "InsightId": insight.id,
            "StartTime": start,
            "EndTime": end,
            "ServiceGraphStartTime": min((service.start_time for service in graph.services), default=start),
            "ServiceGraphEndTime": max((service.end_time for service in graph.services), default=end),
            "Services": services,
        } | more

    def _find(self, insight_id: str) -> Insight:
        insight = self._xray.insights.get(insight_id)
        if insight is None:
            raise AwsError("InvalidRequestException", f"Insight not found: {insight_id}")
        return insight

    def _group_name(self, insight: Insight) -> str:
        return str(self._xray.groups.get({"GroupARN": insight.group_arn})["GroupName"])


def _check_range(start: float, end: float, now: float) -> None:
    if start > end:
        raise AwsError("InvalidRequestException", "StartTime must not be after EndTime")
    if start < now - RETENTION_SECONDS:
        raise AwsError("InvalidRequestException", "StartTime must not be more than 30 days old")


def _position(token: str, query: Any, types: tuple[type, ...]) -> list[Any]:
    position = read_token(token, query, types)
    if position is None:
        raise AwsError("InvalidRequestException", "NextToken is not one that this query returned")
    return position


def _state(insight: Insight, now: float) -> str:
    return "ACTIVE" if insight.active(now) else "CLOSED"


def _members(insight: Insight, group_name: str, now: float) -> dict[str, Any]:
    """What Insight and InsightSummary have in common. EndTime: of one that is closed."""
    state = _state(insight, now)
    return {
        "InsightId": insight.id,
        "GroupARN": insight.group_arn,
        "GroupName": group_name,
        "RootCauseServiceId": service_id(insight.root),
        "Categories": ["FAULT"],
        "State": state,
        "StartTime": insight.start,
        "Summary": _summary(insight, insight.root_cause, insight.client),
        "ClientRequestImpactStatistics": _impact(insight.client),
        "RootCauseServiceRequestImpactStatistics": _impact(insight.root_cause),
        "TopAnomalousServices": [{"ServiceId": service_id(service)} for service in insight.services],
    } | ({"EndTime": insight.end} if state == "CLOSED" else {})


def _event(insight: Insight, event: Event) -> dict[str, Any]:
    over = f"The fault rate of {insight.root.name} is back in its expected range."
    return {
        "Summary": over if event.over else _summary(insight, event.root_cause, event.client),
        "EventTime": event.time,
        "ClientRequestImpactStatistics": _impact(event.client),
        "RootCauseServiceRequestImpactStatistics": _impact(event.root_cause),
        "TopAnomalousServices": [{"ServiceId": service_id(service)} for service in event.services],
    }


def _summary(insight: Insight, root_cause: Impact, client: Impact) -> str:
    return (
        f"{_share(root_cause)} requests to {insight.root.name} were faults, where {_percent(insight.expected)} % were to be expected; "
        f"of client requests {_share(client)}."
    )


def _percent(rate: float) -> str:
    """Two digits of what is small: a rate of faults that is expected may be far below one percent."""
    percent = 100 * rate
    return f"{percent:.2g}" if percent < 10 else f"{percent:.0f}"


def _share(impact: Impact) -> str:
    percent = 100 * impact.faults / impact.total if impact.total else 0
    return f"{impact.faults} of {impact.total} ({percent:.0f} %)"


def _impact(impact: Impact) -> dict[str, int]:
    return {"FaultCount": impact.faults, "OkCount": impact.ok, "TotalCount": impact.total}


def _graph_service(node: GraphService) -> dict[str, Any]:
    return {"ReferenceId": node.reference_id} | service_id(node.service) | {"Edges": [{"ReferenceId": edge.target} for edge in node.edges]}
