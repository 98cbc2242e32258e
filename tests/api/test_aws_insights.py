"""Insights over the wire: an outage of one service among several is found where it was, and nothing else is."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import orjson
import pytest

from localstack.aws.xray.graphs.forecasts import CALM_MINUTES
from tests.api.aws_clients import client, refused, segment_id, trace_id
from tests.api.servers import Vendor, start_vendor

#: Requests a minute; some of them are for another service than the one that fails.
PAYMENTS, SEARCHES = 12, 6
MINUTE = 60

Faulty = Callable[[int, int], bool]


@pytest.fixture(scope="module")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Vendor]:
    with start_vendor("aws", tmp_path_factory.mktemp("insights")) as vendor:
        yield vendor


@pytest.fixture(scope="module")
def xray(aws: Vendor) -> Any:
    return client(aws, "xray")


def traffic(prefix: str, first: int, minutes: int, faulty: Faulty) -> Iterator[dict[str, Any]]:
    """Segments of ``minutes`` minutes from ``first`` (epoch seconds): web calls payments, which asks a table, or search.

    ``faulty(minute, number)``: whether the table fails, and with it payments and web.
    """
    for minute in range(minutes):
        for number in range(PAYMENTS + SEARCHES):
            start = first + minute * MINUTE + number * 3 + 0.5
            trace, root, call = trace_id(start), segment_id(), segment_id()
            fault = {"fault": True} if number < PAYMENTS and faulty(minute, number) else {}
            called = f"{prefix}-payments" if number < PAYMENTS else f"{prefix}-search"
            common = {"trace_id": trace, "start_time": start, "end_time": start + 0.4}
            hop = {"id": call, "name": called, "namespace": "remote", "start_time": start + 0.1, "end_time": start + 0.3}
            yield common | {"id": root, "name": f"{prefix}-web", "origin": "AWS::EC2::Instance", "subsegments": [hop | fault]} | fault
            table = {"id": segment_id(), "name": "DynamoDB", "namespace": "aws", "aws": {"table_name": f"{prefix}-table"}} | fault
            below = {"subsegments": [table | {"start_time": start + 0.15, "end_time": start + 0.2}]} if number < PAYMENTS else {}
            yield common | {"id": segment_id(), "name": called, "parent_id": call} | below | fault


def send(xray: Any, segments: Iterator[dict[str, Any]]) -> None:
    documents = list(segments)

    def put(place: int) -> list[Any]:
        batch = documents[place : place + 50]
        answer = xray.put_trace_segments(TraceSegmentDocuments=[orjson.dumps(one).decode() for one in batch])
        return list(answer["UnprocessedTraceSegments"])

    with ThreadPoolExecutor(4) as pool:
        assert not any(pool.map(put, range(0, len(documents), 50)))


def this_minute() -> int:
    return int(time.time() // MINUTE) * MINUTE


def group(xray: Any, prefix: str, enabled: bool = True) -> str:
    made = xray.create_group(
        GroupName=prefix,
        FilterExpression=f'service("{prefix}-web")',
        InsightsConfiguration={"InsightsEnabled": enabled, "NotificationsEnabled": False},
    )
    return str(made["Group"]["GroupARN"])


def summaries(xray: Any, **arguments: Any) -> list[dict[str, Any]]:
    asked = {"StartTime": this_minute() - 6 * 3600, "EndTime": time.time()} | arguments
    return pages(xray.get_insight_summaries, "InsightSummaries", **asked)


def pages(operation: Callable[..., dict[str, Any]], member: str, **arguments: Any) -> list[dict[str, Any]]:
    """All of a list that comes in pages; botocore knows no paginator for it."""
    answer = operation(**arguments)
    found = list(answer[member])
    while "NextToken" in answer:
        answer = operation(**arguments, NextToken=answer["NextToken"])
        assert len(answer[member]) in range(1, arguments.get("MaxResults", 100) + 1)
        found += answer[member]
    return found


def seconds(moment: Any) -> float:
    return float(moment.timestamp())


def test_an_outage_of_one_service_is_found_and_told(xray: Any, aws: Vendor) -> None:
    """Twelve requests a minute ask a table; for seven minutes, ended a while ago, ten of them fail. Six a minute ask another service."""
    first = this_minute() - 50 * MINUTE
    began, ended = first + 30 * MINUTE, first + 37 * MINUTE
    send(xray, traffic("shop", first, 45, lambda minute, number: 30 <= minute < 37 and number < 10))
    arn = group(xray, "shop")

    (summary,) = summaries(xray, GroupName="shop")
    assert (seconds(summary["StartTime"]), seconds(summary["EndTime"])) == (began, ended)
    assert (summary["State"], summary["Categories"]) == ("CLOSED", ["FAULT"])
    assert (summary["GroupName"], summary["GroupARN"]) == ("shop", arn)
    assert summary["RootCauseServiceId"] == {"Name": "shop-table", "Names": ["shop-table"], "Type": "AWS::DynamoDB::Table"}
    assert summary["RootCauseServiceRequestImpactStatistics"] == {"FaultCount": 70, "OkCount": 14, "TotalCount": 84}
    assert summary["ClientRequestImpactStatistics"] == {"FaultCount": 70, "OkCount": 56, "TotalCount": 126}
    anomalous = [one["ServiceId"]["Name"] for one in summary["TopAnomalousServices"]]
    assert anomalous[0] == "shop-table"
    assert set(anomalous) == {"shop-table", "shop-payments", "shop-web"}
    assert "70 of 84 (83 %) requests to shop-table" in summary["Summary"]

    found = xray.get_insight(InsightId=summary["InsightId"])["Insight"]
    assert found == {key: value for key, value in summary.items() if key != "LastUpdateTime"}

    # The same by any call, and after a restart.
    aws.restart()
    assert summaries(xray, GroupARN=arn) == [summary]
    assert xray.get_insight(InsightId=summary["InsightId"].upper())["Insight"] == found

    events = xray.get_insight_events(InsightId=summary["InsightId"])["InsightEvents"]
    assert [seconds(one["EventTime"]) for one in events] == [
        *(began + (minute + 1) * MINUTE for minute in range(7)),
        ended + CALM_MINUTES * MINUTE,
    ]
    assert [one["RootCauseServiceRequestImpactStatistics"]["FaultCount"] for one in events] == [10, 20, 30, 40, 50, 60, 70, 70]
    assert "back in its expected range" in events[-1]["Summary"]
    assert pages(xray.get_insight_events, "InsightEvents", InsightId=summary["InsightId"], MaxResults=3) == events

    graph = xray.get_insight_impact_graph(InsightId=summary["InsightId"], StartTime=began, EndTime=ended)
    names = {one["ReferenceId"]: (one["Type"] if one.get("Type") == "client" else one["Name"]) for one in graph["Services"]}
    edges = {(names[one["ReferenceId"]], names[edge["ReferenceId"]]) for one in graph["Services"] for edge in one["Edges"]}
    # What the affected services were part of: also web's calls of search, which was well.
    assert edges == {("client", "shop-web"), ("shop-web", "shop-payments"), ("shop-payments", "shop-table"), ("shop-web", "shop-search")}
    assert began <= seconds(graph["ServiceGraphStartTime"]) < seconds(graph["ServiceGraphEndTime"]) <= ended


def test_what_lies_outside_of_the_range_or_state_asked_for_is_left_out(xray: Any) -> None:
    first = this_minute() - 60 * MINUTE
    outages = {**dict.fromkeys(range(20, 23)), **dict.fromkeys(range(35, 38))}
    send(xray, traffic("twice", first, 50, lambda minute, _: minute in outages))
    group(xray, "twice")
    newest, oldest = summaries(xray, GroupName="twice")
    assert [seconds(one["StartTime"]) for one in (newest, oldest)] == [first + 35 * MINUTE, first + 20 * MINUTE]
    assert newest["InsightId"] != oldest["InsightId"]
    assert summaries(xray, GroupName="twice", MaxResults=1) == [newest, oldest]
    assert summaries(xray, GroupName="twice", StartTime=newest["StartTime"]) == [newest]
    assert summaries(xray, GroupName="twice", EndTime=oldest["EndTime"]) == [oldest]
    assert summaries(xray, GroupName="twice", EndTime=seconds(oldest["EndTime"]) - 1) == []
    assert summaries(xray, GroupName="twice", States=["CLOSED"]) == [newest, oldest]
    assert summaries(xray, GroupName="twice", States=["ACTIVE"]) == []


def test_an_outage_that_goes_on_is_active_and_keeps_its_id(xray: Any) -> None:
    now = this_minute()
    send(xray, traffic("now", now - 28 * MINUTE, 26, lambda minute, _: minute >= 24))
    group(xray, "now")
    (before,) = summaries(xray, GroupName="now", States=["ACTIVE"])
    assert "EndTime" not in before
    assert before["RootCauseServiceRequestImpactStatistics"]["TotalCount"] == 24
    send(xray, traffic("now", now - 2 * MINUTE, 2, lambda minute, _: True))
    (after,) = summaries(xray, GroupName="now", States=["ACTIVE"])
    assert after["InsightId"] == before["InsightId"]
    assert after["StartTime"] == before["StartTime"]
    assert after["RootCauseServiceRequestImpactStatistics"]["TotalCount"] == 48
    assert after["LastUpdateTime"] > before["LastUpdateTime"]


def test_steady_faults_and_none_at_all_are_no_insight(xray: Any) -> None:
    first = this_minute() - 60 * MINUTE
    send(xray, traffic("steady", first, 50, lambda minute, number: (minute * PAYMENTS + number) % 25 == 0))
    send(xray, traffic("fine", first, 20, lambda minute, number: False))
    for prefix in ("steady", "fine"):
        group(xray, prefix)
        assert summaries(xray, GroupName=prefix) == []


def test_insights_are_for_groups_that_enable_them(xray: Any) -> None:
    """The rule sees all that is stored, so that it finds what was before it was enabled."""
    send(xray, traffic("off", this_minute() - 40 * MINUTE, 30, lambda minute, _: 20 <= minute < 23))
    group(xray, "off", enabled=False)
    assert summaries(xray, GroupName="off") == []
    xray.update_group(GroupName="off", InsightsConfiguration={"InsightsEnabled": True})
    (found,) = summaries(xray, GroupName="off")
    xray.update_group(GroupName="off", InsightsConfiguration={"InsightsEnabled": False})
    assert summaries(xray, GroupName="off") == [found]
    xray.delete_group(GroupName="off")
    refused(lambda: xray.get_insight(InsightId=found["InsightId"]), "InvalidRequestException", "Insight not found")


def test_bad_requests_are_refused(xray: Any) -> None:
    now = time.time()
    span = {"StartTime": now - 3600, "EndTime": now}
    unknown = {"InsightId": "12345678-1234-1234-8234-123456789012"}
    refused(lambda: xray.get_insight_summaries(**span), "InvalidRequestException", "GroupName or GroupARN")
    refused(lambda: xray.get_insight_summaries(GroupName="nobody", **span), "InvalidRequestException", "Group not found")
    refused(lambda: xray.get_insight_summaries(GroupName="Default", StartTime=now, EndTime=now - 1), "InvalidRequestException", "StartTime")
    refused(
        lambda: xray.get_insight_summaries(GroupName="Default", StartTime=now - 31 * 86400, EndTime=now),
        "InvalidRequestException",
        "30 days",
    )
    refused(lambda: xray.get_insight_summaries(GroupName="Default", NextToken="no", **span), "InvalidRequestException", "NextToken")
    refused(
        lambda: xray.get_insight_summaries(GroupName="Default", States=["ACTIVE", "CLOSED"], **span), "InvalidRequestException", "States"
    )
    refused(lambda: xray.get_insight(InsightId="x"), "InvalidRequestException", "InsightId")
    refused(lambda: xray.get_insight(**unknown), "InvalidRequestException", "Insight not found")
    refused(lambda: xray.get_insight_events(**unknown), "InvalidRequestException", "Insight not found")
    refused(lambda: xray.get_insight_impact_graph(**unknown, **span), "InvalidRequestException", "Insight not found")
    refused(lambda: xray.get_insight_impact_graph(**unknown, StartTime=now - 7 * 3600, EndTime=now), "InvalidRequestException", "6 hours")
