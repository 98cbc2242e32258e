"""GetTraceSummaries through boto3: time ranges, filters, sampling, pages. Every answer is held against the service model."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import botocore.exceptions
import pytest

from localstack.aws.xray.traces.reading import PAGE_TRACES
from tests.api.aws_clients import client, put, segment, segment_id, summaries, trace_id, w3c_trace_id
from tests.api.servers import Vendor, start_vendor


@pytest.fixture(scope="module")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Vendor]:
    with start_vendor("aws", tmp_path_factory.mktemp("state")) as vendor:
        yield vendor


@pytest.fixture(scope="module")
def xray(aws: Vendor) -> Any:
    return client(aws, "xray")


@pytest.fixture(scope="module")
def thousand(xray: Any) -> tuple[int, list[str]]:
    """1,200 traces of one hour, 24 a minute from its first second on, each third with a fault; the hour's start, and the ids in order."""
    start = int(time.time()) - 40_000
    traces = [trace_id(start + number // 24 * 72) for number in range(1200)]
    documents = [
        segment(trace, fault=number % 3 == 0, start_time=float(start), end_time=start + 0.5) for number, trace in enumerate(traces)
    ]
    for at in range(0, 1200, 50):
        put(xray, *documents[at : at + 50])
    return start, traces


def refused(call: Any, words: str) -> None:
    with pytest.raises(botocore.exceptions.ClientError) as caught:
        call()
    assert caught.value.response["Error"]["Code"] == "InvalidRequestException"
    assert words in caught.value.response["Error"]["Message"]


def summary_of(xray: Any, trace: str) -> dict[str, Any]:
    seconds = int(trace[2:10], 16)
    (found,) = [one for one in summaries(xray, seconds, seconds + 1) if one["Id"] == trace]
    return found


def ids(found: list[dict[str, Any]]) -> list[str]:
    return [summary["Id"] for summary in found]


def pages(xray: Any, start: float, end: float, **arguments: Any) -> list[dict[str, Any]]:
    paginator = xray.get_paginator("get_trace_summaries")
    return list(paginator.paginate(StartTime=start, EndTime=end, **arguments))


# -- members


def test_a_summary_is_computed_from_the_documents(xray: Any) -> None:
    start = float(int(time.time())) - 5
    trace = trace_id(start)
    root = segment(
        trace,
        name="Cruddur",
        start_time=start,
        end_time=start + 0.5,
        origin="AWS::EC2::Instance",
        aws={"account_id": "111122223333", "ec2": {"instance_id": "i-1", "availability_zone": "us-east-1a"}},
        resource_arn="arn:aws:ec2:us-east-1:111122223333:instance/i-1",
        user="bayko",
        http={
            "request": {"url": "http://c/api", "method": "GET", "user_agent": "locust", "client_ip": "127.0.0.1"},
            "response": {"status": 500},
        },
        annotations={"run": "r1", "number": 7, "flag": True},
        fault=True,
    )
    call = {
        "id": segment_id(),
        "name": "db",
        "namespace": "remote",
        "sql": {"url": "x"},
        "start_time": start + 0.1,
        "end_time": start + 0.2,
    }
    child = segment(
        trace,
        name="Profiles",
        parent_id=root["id"],
        start_time=start + 0.1,
        end_time=start + 2,
        throttle=True,
        annotations={"run": "r1"},
        subsegments=[call],
    )
    put(xray, child, root)
    summary = summary_of(xray, trace)
    cruddur = {"Name": "Cruddur", "Names": ["Cruddur"], "AccountId": "111122223333", "Type": "AWS::EC2::Instance"}
    profiles = {"Name": "Profiles", "Names": ["Profiles"]}
    assert summary.pop("StartTime").timestamp() == start
    assert summary == {
        "Id": trace,
        "Duration": 2.0,
        "ResponseTime": 0.5,
        "HasFault": True,
        "HasError": False,
        "HasThrottle": True,
        "IsPartial": False,
        "Http": {"HttpURL": "http://c/api", "HttpStatus": 500, "HttpMethod": "GET", "UserAgent": "locust", "ClientIp": "127.0.0.1"},
        "Annotations": {
            "run": [{"AnnotationValue": {"StringValue": "r1"}, "ServiceIds": [cruddur, profiles]}],
            "number": [{"AnnotationValue": {"NumberValue": 7.0}, "ServiceIds": [cruddur]}],
            "flag": [{"AnnotationValue": {"BooleanValue": True}, "ServiceIds": [cruddur]}],
        },
        "Users": [{"UserName": "bayko", "ServiceIds": [cruddur]}],
        "ServiceIds": [
            cruddur,
            *sorted([profiles, {"Name": "db", "Names": ["db"], "Type": "Database::SQL"}], key=lambda one: summary["ServiceIds"].index(one)),
            {"Name": "Cruddur", "Names": ["Cruddur"], "Type": "client"},
        ],
        "ResourceARNs": [{"ARN": "arn:aws:ec2:us-east-1:111122223333:instance/i-1"}],
        "InstanceIds": [{"Id": "i-1"}],
        "AvailabilityZones": [{"Name": "us-east-1a"}],
        "EntryPoint": cruddur,
        "FaultRootCauses": [
            {
                "ClientImpacting": True,
                "Services": [cruddur | {"Inferred": False, "EntityPath": [{"Name": "Cruddur", "Remote": False, "Exceptions": []}]}],
            }
        ],
        "ErrorRootCauses": [],
        "ResponseTimeRootCauses": [
            {
                "ClientImpacting": True,
                "Services": [
                    cruddur | {"Inferred": False, "EntityPath": [{"Name": "Cruddur", "Remote": False, "Coverage": 1.0}]},
                    profiles | {"Inferred": False, "EntityPath": [{"Name": "Profiles", "Remote": False, "Coverage": 0.8}]},
                ],
            }
        ],
        "Revision": 2,
    }


def test_a_child_may_name_a_parent_outside_the_trace(xray: Any) -> None:
    """The caller (Locust) sends no segment: the segment under its span is the root all the same."""
    trace = trace_id()
    put(xray, segment(trace, parent_id=segment_id(), error=True))
    assert summary_of(xray, trace)["HasError"] is True


# -- time ranges


def test_a_trace_belongs_to_the_whole_second_of_its_id(xray: Any) -> None:
    second = int(time.time()) - 3000
    trace = trace_id(second)
    put(xray, segment(trace, start_time=second + 0.8, end_time=second + 0.9))
    assert trace in ids(summaries(xray, second + 0.7, second + 1))
    assert trace in ids(summaries(xray, second - 5, second))
    assert trace not in ids(summaries(xray, second + 1, second + 5))
    assert trace not in ids(summaries(xray, second - 5, second - 0.1))


def test_a_random_w3c_id_is_found_by_the_start_of_its_first_document(xray: Any) -> None:
    """That never changes, so that pages are stable, whatever comes later."""
    trace, start = w3c_trace_id(), time.time() - 4000.5
    put(xray, segment(trace, start_time=start, end_time=start + 30))
    put(xray, segment(trace, start_time=start - 20, end_time=start + 21))
    assert trace in ids(summaries(xray, start - 1, start + 1))
    assert trace not in ids(summaries(xray, start + 0.1, start + 25)), "no id, so no whole second"
    assert trace not in ids(summaries(xray, start - 30, start - 1))


def test_an_event_range_goes_by_arrival(xray: Any) -> None:
    before = time.time()
    old = int(before) - 7200
    trace = trace_id(old)
    put(xray, segment(trace, start_time=float(old), end_time=old + 3600.5))
    after = time.time()
    (found,) = [one for one in summaries(xray, before, after, TimeRangeType="Event") if one["Id"] == trace]
    assert before <= found["MatchedEventTime"].timestamp() <= after
    assert trace not in ids(summaries(xray, before, after, TimeRangeType="TraceId"))
    # What comes later is an update of the trace.
    put(xray, segment(trace, start_time=float(old)))
    (again,) = [one for one in summaries(xray, after, time.time(), TimeRangeType="Event") if one["Id"] == trace]
    assert again["MatchedEventTime"].timestamp() >= after
    assert again["Revision"] == 2
    fault = summaries(xray, before, time.time(), TimeRangeType="Event", FilterExpression="fault")
    assert trace not in ids(fault)
    fine = summaries(xray, before, time.time(), TimeRangeType="Event", FilterExpression='ok AND service("Cruddur")')
    assert trace in ids(fine)


def test_a_service_range_goes_by_the_end_of_segments(xray: Any) -> None:
    old = int(time.time()) - 90_000
    trace = trace_id(old)
    child = segment(trace, type="subsegment", parent_id=segment_id(), start_time=float(old), end_time=old + 7200.0)
    put(xray, segment(trace, start_time=float(old), end_time=old + 3600.5), child)
    put(xray, segment(trace, start_time=float(old), end_time=None, in_progress=True))
    assert trace in ids(summaries(xray, old + 3600, old + 3601, TimeRangeType="Service"))
    assert trace not in ids(summaries(xray, old, old + 3000, TimeRangeType="Service"))
    assert trace not in ids(summaries(xray, old + 7000, old + 8000, TimeRangeType="Service")), "a subsegment is no segment"
    assert "MatchedEventTime" not in summaries(xray, old + 3600, old + 3601, TimeRangeType="Service")[0]


def test_bad_ranges_and_tokens_are_refused(xray: Any) -> None:
    now = time.time()
    refused(lambda: xray.get_trace_summaries(StartTime=now, EndTime=now - 1), "StartTime")
    refused(lambda: xray.get_trace_summaries(StartTime=now - 86401, EndTime=now), "24 hours")
    refused(lambda: xray.get_trace_summaries(StartTime=now - 1, EndTime=now, NextToken="junk"), "NextToken")
    refused(lambda: xray.get_trace_summaries(StartTime=now - 1, EndTime=now, TimeRangeType="Nope"), "enum")


# -- pages


def test_the_newest_come_first_and_each_once(xray: Any, thousand: tuple[int, list[str]]) -> None:
    start, traces = thousand
    found = pages(xray, start, start + 3600)
    assert len(found) == len(traces) // PAGE_TRACES
    listed = [summary for page in found for summary in page["TraceSummaries"]]
    assert set(ids(listed)) == set(traces)
    assert len(listed) == len(traces)
    seconds = [int(trace[2:10], 16) for trace in ids(listed)]
    assert seconds == sorted(seconds, reverse=True)
    assert sum(page["TracesProcessedCount"] for page in found) == len(traces)
    # How far back each page looked.
    reached = [page["ApproximateTime"].timestamp() for page in found]
    assert reached == [*seconds[PAGE_TRACES - 1 : -1 : PAGE_TRACES], start]


def test_a_page_that_is_asked_for_again_is_the_same(xray: Any, thousand: tuple[int, list[str]]) -> None:
    start, _ = thousand
    asked: dict[str, Any] = {"StartTime": start, "EndTime": start + 3600}
    for _ in range(4):
        page = xray.get_trace_summaries(**asked)
        again = xray.get_trace_summaries(**asked)
        assert (again["TraceSummaries"], again["NextToken"]) == (page["TraceSummaries"], page["NextToken"])
        asked["NextToken"] = page["NextToken"]


def test_pages_are_complete_and_stable_while_others_write(xray: Any) -> None:
    """Traces that come between two pages neither appear twice, nor push out one that was there, nor show up themselves."""
    second = int(time.time()) - 20_000
    before = {trace_id(second + n % 50) for n in range(1100)}
    everything = list(before)
    for at in range(0, 1100, 50):
        put(xray, *(segment(one) for one in everything[at : at + 50]))
    token, found, count = None, [], 0
    while count == 0 or token:
        page = xray.get_trace_summaries(StartTime=second, EndTime=second + 60, **({"NextToken": token} if token else {}))
        found += ids(page["TraceSummaries"])
        token, count = page.get("NextToken"), count + 1
        # New traces, and more of those that were there.
        put(xray, *(segment(trace_id(second + n)) for n in range(25)), *(segment(trace) for trace in everything[:25]))
    assert count > 2
    assert len(found) == len(set(found)) == 1100
    assert set(found) == before


def test_a_page_of_large_traces_is_shorter(xray: Any) -> None:
    second = int(time.time()) - 23_000
    for _ in range(20):
        trace = trace_id(second)
        put(xray, *(segment(trace, metadata={"default": {"x": "y" * 60_000}}) for _ in range(8)))
    found = pages(xray, second, second + 1)
    assert len(found) == 2
    assert len({trace for page in found for trace in ids(page["TraceSummaries"])}) == 20


def test_a_token_is_good_for_its_own_query_only(xray: Any, thousand: tuple[int, list[str]]) -> None:
    start, _ = thousand
    query: dict[str, Any] = {"StartTime": start, "EndTime": start + 3600, "FilterExpression": "!fault"}
    token = xray.get_trace_summaries(**query)["NextToken"]
    assert xray.get_trace_summaries(**query, NextToken=token)["TraceSummaries"]
    others: list[dict[str, Any]] = [
        {"EndTime": start + 3601},
        {"FilterExpression": "fault"},
        {"TimeRangeType": "Service"},
        {"Sampling": True},
        {"SamplingStrategy": {"Name": "FixedRate", "Value": 0.9}},
    ]
    for change in others:
        refused(lambda change=change: xray.get_trace_summaries(**(query | change), NextToken=token), "NextToken")


# -- filters


def test_a_filter_chooses_and_what_it_looked_at_is_counted(xray: Any, thousand: tuple[int, list[str]]) -> None:
    start, traces = thousand
    found = pages(xray, start, start + 3600, FilterExpression="fault")
    assert {trace for page in found for trace in ids(page["TraceSummaries"])} == set(traces[::3])
    assert sum(page["TracesProcessedCount"] for page in found) == 1200
    (whole,) = pages(xray, start, start + 3600, FilterExpression='service("nobody")')
    assert (whole["TraceSummaries"], whole["TracesProcessedCount"]) == ([], 1200)
    assert whole["ApproximateTime"].timestamp() == start
    many = pages(xray, start, start + 3600, FilterExpression="!fault")
    assert [len(page["TraceSummaries"]) for page in many] == [PAGE_TRACES] * (800 // PAGE_TRACES)
    assert sum(page["TracesProcessedCount"] for page in many) == 1200


def test_a_filter_by_root_cause(xray: Any) -> None:
    second = int(time.time()) - 27_000
    trace, other = trace_id(second), trace_id(second)
    times = {"start_time": second + 0.1, "end_time": second + 0.2}
    call = {"id": segment_id(), "name": "db", "namespace": "remote", "fault": True, **times}
    put(xray, segment(trace, fault=True, subsegments=[call], **times), segment(other, fault=True, **times))
    by_cause = 'rootcause.fault.service { inferred AND name = "db" }'
    assert ids(summaries(xray, second, second + 1, FilterExpression=by_cause)) == [trace]


def test_a_malformed_filter_says_where(xray: Any) -> None:
    now = time.time()
    refused(lambda: xray.get_trace_summaries(StartTime=now - 1, EndTime=now, FilterExpression="fault AND ("), "column")


# -- sampling


def test_a_fixed_rate_is_a_share_of_the_traces_and_always_the_same(xray: Any, thousand: tuple[int, list[str]]) -> None:
    start, traces = thousand
    strategy = {"Name": "FixedRate", "Value": 0.5}
    sampled = ids(summaries(xray, start, start + 3600, SamplingStrategy=strategy))
    # 1,200 at one half: 600, and five standard deviations (17.3) about it.
    assert 513 <= len(sampled) <= 687
    assert set(sampled) <= set(traces)
    assert ids(summaries(xray, start, start + 3600, Sampling=True, SamplingStrategy=strategy)) == sampled
    # A part of the range has the same part of them; a smaller rate, some of them.
    half = ids(summaries(xray, start, start + 1799, SamplingStrategy=strategy))
    assert half == [trace for trace in sampled if int(trace[2:10], 16) < start + 1800]
    fewer = ids(summaries(xray, start, start + 3600, SamplingStrategy={"Name": "FixedRate", "Value": 0.25}))
    assert set(fewer) < set(sampled)
    # What the filter sees is what was sampled.
    found = pages(xray, start, start + 3600, SamplingStrategy=strategy, FilterExpression="fault")
    assert {trace for page in found for trace in ids(page["TraceSummaries"])} == set(sampled) & set(traces[::3])
    assert sum(page["TracesProcessedCount"] for page in found) == len(sampled)
    assert summaries(xray, start, start + 3600, SamplingStrategy={"Name": "FixedRate", "Value": 0}) == []
    assert len(summaries(xray, start, start + 3600, SamplingStrategy={"Name": "FixedRate", "Value": 1})) == 1200


@pytest.mark.parametrize("value", [0.25, 25])
def test_a_partial_scan_looks_at_the_end_of_the_range(xray: Any, thousand: tuple[int, list[str]], value: float) -> None:
    start, traces = thousand
    found = pages(xray, start, start + 3600, SamplingStrategy={"Name": "PartialScan", "Value": value})
    expected = {trace for trace in traces if int(trace[2:10], 16) >= start + 2700}
    assert {trace for page in found for trace in ids(page["TraceSummaries"])} == expected
    assert found[-1]["ApproximateTime"].timestamp() == start + 2700


def test_sampling_without_a_strategy_leaves_about_a_thousand(xray: Any, thousand: tuple[int, list[str]]) -> None:
    start, traces = thousand
    found = ids(summaries(xray, start, start + 3600, Sampling=True))
    assert 900 <= len(found) <= 1080
    assert set(found) < set(traces)
    few = summaries(xray, start, start + 71, Sampling=True)
    assert len(few) == 24, "of few, all"


def test_sampling_false_wins_over_a_strategy(xray: Any, thousand: tuple[int, list[str]]) -> None:
    start, _ = thousand
    strategy = {"Name": "FixedRate", "Value": 0.1}
    assert len(summaries(xray, start, start + 3600, Sampling=False, SamplingStrategy=strategy)) == 1200


@pytest.mark.parametrize(
    ("strategy", "words"),
    [
        ({"Name": "FixedRate", "Value": 1.5}, "0 to 1"),
        ({"Name": "FixedRate", "Value": -0.1}, "0 to 1"),
        ({"Name": "PartialScan", "Value": 0}, "percentage"),
        ({"Name": "PartialScan", "Value": 101}, "percentage"),
        ({"Name": "FixedRate"}, "needs Name and Value"),
        ({"Value": 0.5}, "needs Name and Value"),
        ({"Name": "Random", "Value": 0.5}, "enum"),
    ],
)
def test_a_strategy_that_means_nothing_is_refused(xray: Any, strategy: dict[str, Any], words: str) -> None:
    now = time.time()
    refused(lambda: xray.get_trace_summaries(StartTime=now - 1, EndTime=now, SamplingStrategy=strategy), words)
