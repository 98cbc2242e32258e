"""Service graphs and statistics over time, through boto3 against the local X-Ray. Every answer is held against the service model."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import botocore.exceptions
import pytest

from localstack.aws.xray.responses.graphs import PAGE_SERVICES, PAGE_WINDOWS
from tests.api.aws_clients import client, put, segment, segment_id, trace_id
from tests.api.servers import Vendor, start_vendor

MINUTE = 60
HOUR = 3600


@pytest.fixture(scope="module")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Vendor]:
    with start_vendor("aws", tmp_path_factory.mktemp("state")) as vendor:
        yield vendor


@pytest.fixture(scope="module")
def xray(aws: Vendor) -> Any:
    return client(aws, "xray")


def refused(call: Any, words: str) -> None:
    with pytest.raises(botocore.exceptions.ClientError) as caught:
        call()
    assert caught.value.response["Error"]["Code"] == "InvalidRequestException"
    assert words in caught.value.response["Error"]["Message"]
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 400


def call(name: str, start: float, took: float, **fields: Any) -> dict[str, Any]:
    return {"id": segment_id(), "name": name, "start_time": start, "end_time": start + took} | fields


class Story:
    """Ten requests in the minute from ``start``: a client calls Cruddur, which calls a table, a database, Profiles and a host.

    The first faults, the second and third are the client's errors, of which the third is throttled.
    """

    def __init__(self, xray: Any, start: int, name: str = "Cruddur") -> None:
        self.start, self.end = float(start), start + MINUTE
        self.name = name
        self.traces: list[str] = []
        for number in range(10):
            self._request(xray, start + number * 5, number)

    def _request(self, xray: Any, at: float, number: int) -> None:
        trace = trace_id(at)
        self.traces.append(trace)
        flags: dict[str, Any] = {0: {"fault": True}, 1: {"error": True}, 2: {"error": True, "throttle": True}}.get(number, {})
        to_profiles = call("profiles.local", at + 0.01, 0.05, namespace="remote")
        calls = [
            call("DynamoDB", at + 0.1, 0.02, namespace="aws", aws={"table_name": "cruds", "operation": "PutItem"}, **flags),
            call("postgres@db", at + 0.2, 0.03, namespace="remote", sql={"url": "postgres://db"}),
            call("api.example.com", at + 0.3, 0.04, namespace="remote"),
            to_profiles,
        ]
        entry = segment(
            trace,
            name=self.name,
            start_time=at,
            end_time=at + 0.5,
            origin="AWS::EC2::Instance",
            subsegments=calls,
            user=f"u{number}",
            **flags,
        )
        profiles = segment(trace, name=f"{self.name}-profiles", parent_id=to_profiles["id"], start_time=at + 0.02, end_time=at + 0.05)
        put(xray, entry, profiles)

    def graph(self, xray: Any, **arguments: Any) -> dict[str, Any]:
        answer = xray.get_service_graph(StartTime=self.start, EndTime=self.end, **arguments)
        assert isinstance(answer, dict)
        return answer


@pytest.fixture(scope="module")
def story(xray: Any) -> Story:
    return Story(xray, (int(time.time()) // HOUR - 2) * HOUR)


def services(answer: dict[str, Any]) -> dict[tuple[str, str | None], dict[str, Any]]:
    return {(one["Name"], one.get("Type")): one for one in answer["Services"]}


def edges(answer: dict[str, Any]) -> set[tuple[str, str, str]]:
    """(type of the source, its name, name of the target) of every edge."""
    names = {one["ReferenceId"]: one["Name"] for one in answer["Services"]}
    return {(one.get("Type", ""), one["Name"], names[edge["ReferenceId"]]) for one in answer["Services"] for edge in one["Edges"]}


def counts(ok: int, error: int = 0, throttle: int = 0, fault: int = 0, seconds: float = 0.0) -> dict[str, Any]:
    return {
        "OkCount": ok,
        "ErrorStatistics": {"ThrottleCount": throttle, "OtherCount": error, "TotalCount": error + throttle},
        "FaultStatistics": {"OtherCount": fault, "TotalCount": fault},
        "TotalCount": ok + error + throttle + fault,
        "TotalResponseTime": pytest.approx(seconds, abs=1e-4),
    }


STORY_EDGES = {
    ("client", "Cruddur", "Cruddur"),
    ("AWS::EC2::Instance", "Cruddur", "cruds"),
    ("AWS::EC2::Instance", "Cruddur", "postgres@db"),
    ("AWS::EC2::Instance", "Cruddur", "api.example.com"),
    ("AWS::EC2::Instance", "Cruddur", "Cruddur-profiles"),
}

# -- GetServiceGraph


def test_the_classic_graph(xray: Any, story: Story) -> None:
    answer = story.graph(xray)
    assert edges(answer) == STORY_EDGES
    assert (answer["StartTime"].timestamp(), answer["EndTime"].timestamp()) == (story.start, story.end)
    assert answer["ContainsOldGroupVersions"] is False
    assert "NextToken" not in answer
    found = services(answer)

    the_client = found["Cruddur", "client"]
    assert (the_client["State"], the_client["ReferenceId"]) == ("unknown", 0)
    assert not {"SummaryStatistics", "Root", "DurationHistogram", "ResponseTimeHistogram"} & set(the_client)

    cruddur = found["Cruddur", "AWS::EC2::Instance"]
    assert (cruddur["State"], cruddur["Root"], cruddur["Names"]) == ("active", True, ["Cruddur"])
    assert cruddur["SummaryStatistics"] == counts(ok=7, error=1, throttle=1, fault=1, seconds=5.0)
    assert cruddur["ResponseTimeHistogram"] == cruddur["DurationHistogram"] == [{"Value": 0.5, "Count": 10}]
    assert cruddur["StartTime"].timestamp() == story.start
    assert cruddur["EndTime"].timestamp() == pytest.approx(story.start + 45.5)

    table = found["cruds", "AWS::DynamoDB::Table"]
    assert (table["State"], table["Edges"], "Root" in table) == ("unknown", [], False)
    assert table["SummaryStatistics"] == counts(ok=7, error=1, throttle=1, fault=1, seconds=0.2)
    assert ("postgres@db", "Database::SQL") in found
    assert ("api.example.com", "remote") in found
    assert ("Cruddur-profiles", None) in found


def test_an_edge_has_the_callers_view_and_says_by_what_name_it_called(xray: Any, story: Story) -> None:
    found = services(story.graph(xray))
    profiles = found["Cruddur-profiles", None]
    (edge,) = [one for one in found["Cruddur", "AWS::EC2::Instance"]["Edges"] if one["ReferenceId"] == profiles["ReferenceId"]]
    assert edge["SummaryStatistics"] == counts(ok=10, seconds=0.5)
    assert profiles["SummaryStatistics"] == counts(ok=10, seconds=0.3)
    assert edge["ResponseTimeHistogram"] == [{"Value": 0.05, "Count": 10}]
    assert edge["Aliases"] == [{"Name": "profiles.local", "Names": ["profiles.local"], "Type": "remote"}]
    assert not {"EdgeType", "ReceivedEventAgeHistogram"} & set(edge)


def test_a_message_is_a_link(xray: Any) -> None:
    start = (int(time.time()) // HOUR - 4) * HOUR
    trace = trace_id(start)
    send = call("SQS", start + 1, 0.1, namespace="aws", aws={"queue_url": "https://sqs.us-east-1.amazonaws.com/1/crudqueue"})
    put(
        xray,
        segment(trace, start_time=start, end_time=start + 2, subsegments=[send]),
        segment(trace, name="Worker", parent_id=send["id"], start_time=start + 6, end_time=start + 7),
    )
    found = services(xray.get_service_graph(StartTime=start, EndTime=start + 10))
    (edge,) = found["Cruddur", None]["Edges"]
    assert edge["EdgeType"] == "link"
    assert edge["ReceivedEventAgeHistogram"] == [{"Value": 5.0, "Count": 1}]
    assert "ResponseTimeHistogram" not in edge


def test_nothing_in_the_range_is_an_empty_graph(xray: Any, story: Story) -> None:
    answer = xray.get_service_graph(StartTime=story.start - HOUR, EndTime=story.start)
    assert answer["Services"] == []


def test_a_group_has_the_graph_of_its_traces(xray: Any, story: Story) -> None:
    arn = xray.create_group(GroupName="faulty", FilterExpression='service("Cruddur") { fault }')["Group"]["GroupARN"]
    for address in ({"GroupName": "faulty"}, {"GroupARN": arn}):
        answer = story.graph(xray, **address)
        assert edges(answer) == STORY_EDGES
        assert services(answer)["Cruddur", "AWS::EC2::Instance"]["SummaryStatistics"] == counts(ok=0, fault=1, seconds=0.5)
        assert answer["ContainsOldGroupVersions"] is False
    everything = story.graph(xray, GroupName="Default")
    assert services(everything)["Cruddur", "AWS::EC2::Instance"]["SummaryStatistics"]["TotalCount"] == 10


def test_a_group_whose_expression_changed_since_the_start_says_so(xray: Any, story: Story) -> None:
    xray.create_group(GroupName="changing", FilterExpression="fault")
    xray.update_group(GroupName="changing", FilterExpression="fault")
    assert story.graph(xray, GroupName="changing")["ContainsOldGroupVersions"] is False
    xray.update_group(GroupName="changing", FilterExpression="error")
    assert story.graph(xray, GroupName="changing")["ContainsOldGroupVersions"] is True
    windows = {"StartTime": story.start, "EndTime": story.end, "GroupName": "changing"}
    assert xray.get_time_series_service_statistics(**windows)["ContainsOldGroupVersions"] is True
    # What is asked of the time since then is of one expression.
    now = time.time()
    assert xray.get_service_graph(StartTime=now, EndTime=now + 1, GroupName="changing")["ContainsOldGroupVersions"] is False


def test_a_large_graph_comes_in_pages_that_belong_together(xray: Any) -> None:
    start = (int(time.time()) // HOUR - 5) * HOUR
    hosts = [f"host-{number:03}" for number in range(2 * PAGE_SERVICES)]
    calls = [call(host, start + 1, 0.1, namespace="remote") for host in hosts]
    put(xray, segment(trace_id(start), name="Fan", start_time=start, end_time=start + 2, subsegments=calls))
    query = {"StartTime": start, "EndTime": start + 10}
    pages = iter(xray.get_paginator("get_service_graph").paginate(**query))
    found = next(pages)["Services"]
    assert len(found) == PAGE_SERVICES
    # What comes in between would be the first of the others.
    put(xray, segment(trace_id(start), name="Another", start_time=start, end_time=start + 2))
    found += [service for page in pages for service in page["Services"]]
    assert [service["ReferenceId"] for service in found] == list(range(2 * PAGE_SERVICES + 2))
    assert {one[2] for one in edges({"Services": found})} == {"Fan", *hosts}

    token = xray.get_service_graph(**query)["NextToken"]
    refused(lambda: xray.get_service_graph(StartTime=start, EndTime=start + 11, NextToken=token), "NextToken")
    refused(lambda: xray.get_service_graph(**query, NextToken="token"), "NextToken")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"EndTime": -1}, "StartTime must not be after EndTime"),
        ({"EndTime": 6 * HOUR + 1}, "6 hours"),
        ({"GroupName": "nobody"}, "Group not found"),
        ({"GroupName": "Default", "GroupARN": "arn"}, "either GroupName or GroupARN"),
    ],
    ids=str,
)
def test_a_graph_that_cannot_be_made_is_refused(xray: Any, story: Story, change: dict[str, Any], words: str) -> None:
    arguments = {"StartTime": story.start} | change | {"EndTime": story.start + change.get("EndTime", MINUTE)}
    refused(lambda: xray.get_service_graph(**arguments), words)


# -- GetTraceGraph


def test_the_graph_of_some_traces(xray: Any, story: Story) -> None:
    unknown = trace_id(story.start)
    answer = xray.get_trace_graph(TraceIds=[*story.traces[:2], story.traces[0], unknown])
    assert edges(answer) == STORY_EDGES
    assert services(answer)["Cruddur", "AWS::EC2::Instance"]["SummaryStatistics"] == counts(ok=0, error=1, fault=1, seconds=1.0)
    assert xray.get_trace_graph(TraceIds=[unknown])["Services"] == []
    whole = list(xray.get_paginator("get_trace_graph").paginate(TraceIds=story.traces))
    assert whole[0]["Services"] == story.graph(xray)["Services"]


def test_traces_that_cannot_be_meant_are_refused(xray: Any) -> None:
    refused(lambda: xray.get_trace_graph(TraceIds=[]), "at least one")
    refused(lambda: xray.get_trace_graph(TraceIds=["1-5-5"]), "Invalid trace id")
    refused(lambda: xray.get_trace_graph(TraceIds=[trace_id()], NextToken="token"), "NextToken")


# -- GetTimeSeriesServiceStatistics


def windows(xray: Any, start: float, end: float, **arguments: Any) -> list[dict[str, Any]]:
    pages = xray.get_paginator("get_time_series_service_statistics").paginate(StartTime=start, EndTime=end, **arguments)
    return [window for page in pages for window in page["TimeSeriesServiceStatistics"]]


def test_a_service_over_time(xray: Any, story: Story) -> None:
    later = Story(xray, int(story.start) + 3 * MINUTE)
    of_service = {"EntitySelectorExpression": 'service("Cruddur")'}
    found = windows(xray, story.start, later.end, **of_service)
    assert [window["Timestamp"].timestamp() for window in found] == [story.start, later.start]
    for window in found:
        assert window["ServiceSummaryStatistics"] == counts(ok=7, error=1, throttle=1, fault=1, seconds=5.0)
        assert window["ResponseTimeHistogram"] == [{"Value": 0.5, "Count": 10}]
        assert not {"EdgeSummaryStatistics", "ServiceForecastStatistics"} & set(window)
    (together,) = windows(xray, story.start, later.end, **of_service, Period=300)
    assert together["ServiceSummaryStatistics"]["TotalCount"] == 20


def test_edges_over_time(xray: Any, story: Story) -> None:
    (to_table,) = windows(xray, story.start, story.end, EntitySelectorExpression='edge("Cruddur", id(type: "AWS::DynamoDB::Table"))')
    assert to_table["EdgeSummaryStatistics"] == counts(ok=7, error=1, throttle=1, fault=1, seconds=0.2)
    assert "ServiceSummaryStatistics" not in to_table
    (all_edges,) = windows(xray, story.start, story.end)
    # Of ten requests each: the client's, those to the table, the database, the host and to Profiles.
    assert all_edges["EdgeSummaryStatistics"] == counts(ok=44, error=2, throttle=2, fault=2, seconds=5 + 0.2 + 0.3 + 0.4 + 0.5)
    (of_group,) = windows(xray, story.start, story.end, GroupName="Default")
    assert of_group == all_edges


def test_a_long_series_comes_in_pages(xray: Any) -> None:
    start = (int(time.time()) // HOUR - 20) * HOUR
    count = PAGE_WINDOWS + 2
    for first in range(0, count, 50):
        put(
            xray,
            *(segment(trace_id(at), name="Long", start_time=at, end_time=at + 1) for at in _minutes(start, first, min(first + 50, count))),
        )
    query: dict[str, Any] = {"StartTime": start, "EndTime": start + count * MINUTE, "EntitySelectorExpression": 'service("Long")'}
    page = xray.get_time_series_service_statistics(**query)
    assert len(page["TimeSeriesServiceStatistics"]) == PAGE_WINDOWS
    refused(lambda: xray.get_time_series_service_statistics(**query, Period=300, NextToken=page["NextToken"]), "NextToken")
    found = windows(xray, query.pop("StartTime"), query.pop("EndTime"), **query)
    assert [window["Timestamp"].timestamp() for window in found] == _minutes(start, 0, count)


def _minutes(start: int, first: int, last: int) -> list[int]:
    return [start + number * MINUTE for number in range(first, last)]


def test_a_forecast_says_how_many_faults_are_to_be_expected(xray: Any) -> None:
    start = (int(time.time()) // HOUR - 23) * HOUR
    for minute in range(4):
        faulty = {"fault": True} if minute == 3 else {}
        times = [start + minute * MINUTE + second for second in range(20)]
        put(xray, *(segment(trace_id(at), name="Forecast", start_time=at, end_time=at + 0.5, **faulty) for at in times))
    arguments = {"EntitySelectorExpression": 'id(name: "Forecast")', "ForecastStatistics": True}
    first, *_, outage = windows(xray, start, start + 4 * MINUTE, **arguments)
    assert "ServiceForecastStatistics" not in first
    forecast = outage["ServiceForecastStatistics"]
    assert forecast["FaultCountLow"] == 0
    assert 0 < forecast["FaultCountHigh"] < outage["ServiceSummaryStatistics"]["FaultStatistics"]["TotalCount"]
    # Also of a group, what was before the range is known.
    xray.create_group(GroupName="forecast", FilterExpression='service("Forecast")')
    (alone,) = windows(xray, start + 3 * MINUTE, start + 4 * MINUTE, **arguments, GroupName="forecast")
    assert alone == outage


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"Period": 61}, "Period must be 60 or 300"),
        ({"EntitySelectorExpression": "fault"}, "EntitySelectorExpression"),
        ({"EntitySelectorExpression": 'service("a'}, "EntitySelectorExpression"),
        ({"ForecastStatistics": True}, "ForecastStatistics needs"),
        ({"ForecastStatistics": True, "EntitySelectorExpression": 'service("Cruddur")'}, "ForecastStatistics needs"),
        ({"EndTime": 1}, "StartTime must not be after EndTime"),
        ({"GroupName": "nobody"}, "Group not found"),
        ({"NextToken": "token"}, "NextToken"),
    ],
    ids=str,
)
def test_a_series_that_cannot_be_made_is_refused(xray: Any, story: Story, change: dict[str, Any], words: str) -> None:
    arguments = {"StartTime": story.start, "EndTime": story.end} | change
    refused(lambda: xray.get_time_series_service_statistics(**arguments), words)
