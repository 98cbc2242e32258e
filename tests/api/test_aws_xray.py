"""Segments in, traces out, through boto3 against the local X-Ray."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import botocore.exceptions
import pytest
import requests

from tests.api.aws_clients import client, get_trace, put, segment, segment_id, summaries, trace_id, w3c_trace_id
from tests.api.servers import Vendor, start_vendor


@pytest.fixture(scope="module")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Vendor]:
    with start_vendor("aws", tmp_path_factory.mktemp("state")) as vendor:
        yield vendor


@pytest.fixture(scope="module")
def xray(aws: Vendor) -> Any:
    return client(aws, "xray")


def refused(call: Any, code: str, words: str, status: int = 400) -> None:
    with pytest.raises(botocore.exceptions.ClientError) as caught:
        call()
    assert caught.value.response["Error"]["Code"] == code
    assert words in caught.value.response["Error"]["Message"]
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == status


def summary_of(xray: Any, trace: str) -> dict[str, Any]:
    seconds = int(trace[2:10], 16)
    (found,) = [one for one in summaries(xray, seconds, seconds + 1) if one["Id"] == trace]
    return found


# -- PutTraceSegments


def test_a_segment_comes_back_as_it_was_sent(xray: Any) -> None:
    trace = trace_id()
    sent = segment(trace, metadata={"default": {"ümlaut": "ß☃", "n": 1.5, "deep": [1, {"a": None}]}}, annotations={"run": "r"})
    put(xray, sent)
    assert get_trace(xray, trace) == [sent]


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"id": None}, "MissingId"),
        ({"id": "xyz"}, "InvalidId"),
        ({"id": 5}, "InvalidId"),
        ({"name": None}, "MissingName"),
        ({"name": "a?b"}, "InvalidName"),
        ({"name": "n" * 201}, "InvalidName"),
        ({"trace_id": None}, "MissingTraceId"),
        ({"trace_id": "1-abc-def"}, "InvalidTraceId"),
        ({"trace_id": "0af7651916cd43dd8448eb211c80319c"}, "InvalidTraceId"),
        ({"start_time": None}, "MissingStartTime"),
        ({"start_time": "now"}, "InvalidTimestamp"),
        ({"start_time": True}, "InvalidTimestamp"),
        ({"start_time": -1}, "InvalidTimestamp"),
        ({"end_time": None}, "MissingEndTime"),
        ({"end_time": None, "in_progress": False}, "MissingEndTime"),
        ({"in_progress": "yes"}, "InvalidInProgress"),
        ({"parent_id": "p"}, "InvalidParentId"),
        ({"type": "subsegment"}, "MissingParentId"),
        ({"annotations": []}, "ParseError"),
        ({"fault": "yes"}, "ParseError"),
        ({"subsegments": {}}, "ParseError"),
        ({"subsegments": [{"id": "a" * 16, "name": "a?b", "start_time": 1, "end_time": 2}]}, "InvalidName"),
        ({"metadata": {"big": "x" * 64 * 1024}}, "DocumentTooLarge"),
    ],
    ids=lambda value: json.dumps(value)[:60] if isinstance(value, dict) else value,
)
def test_an_invalid_segment_is_named_and_the_rest_is_stored(xray: Any, change: dict[str, Any], code: str) -> None:
    trace = trace_id()
    good, bad = segment(trace), segment(trace, **change)
    answer = xray.put_trace_segments(TraceSegmentDocuments=[json.dumps(bad), json.dumps(good)])
    (unprocessed,) = answer["UnprocessedTraceSegments"]
    assert unprocessed["ErrorCode"] == code
    assert f"ErrorCode: {code}" in unprocessed["Message"]
    if isinstance(bad.get("id"), str):
        assert unprocessed["Id"] == bad["id"]
    else:
        assert "Id" not in unprocessed
    assert [document["id"] for document in get_trace(xray, trace)] == [good["id"]]


@pytest.mark.parametrize("document", ["", "{", "[]", "null", '"text"', "5", '{"id": "\\ud800"}', "{}{}"])
def test_what_is_no_json_object_is_a_parse_error(xray: Any, document: str) -> None:
    (unprocessed,) = xray.put_trace_segments(TraceSegmentDocuments=[document])["UnprocessedTraceSegments"]
    assert unprocessed["ErrorCode"] == "ParseError"


def test_names_may_hold_what_the_guide_allows(xray: Any) -> None:
    trace = trace_id()
    put(xray, segment(trace, name="Größe 7_.:/%&#=+\\-@"))
    assert len(get_trace(xray, trace)) == 1


def test_fifty_documents_a_call_are_taken_and_fifty_one_are_none_of_them(xray: Any) -> None:
    trace, other = trace_id(), trace_id()
    put(xray, *(segment(trace) for _ in range(50)))
    assert len(get_trace(xray, trace)) == 50
    refused(
        lambda: xray.put_trace_segments(TraceSegmentDocuments=[json.dumps(segment(other)) for _ in range(51)]),
        "InvalidRequestException",
        "at most 50",
    )
    assert get_trace(xray, other) == []


def test_a_completed_segment_takes_the_place_of_the_one_in_progress(xray: Any, aws: Vendor) -> None:
    trace = trace_id()
    complete = segment(trace)
    started = {key: value for key, value in complete.items() if key != "end_time"} | {"in_progress": True}
    put(xray, started)
    assert summary_of(xray, trace)["IsPartial"] is True
    assert "ResponseTime" not in summary_of(xray, trace)
    put(xray, complete)
    put(xray, started)  # late: must not bring the old version back
    assert get_trace(xray, trace) == [complete]
    assert summary_of(xray, trace)["IsPartial"] is False
    assert complete["id"] not in duplicates(aws)


def test_a_segment_sent_again_is_stored_once_and_counted(xray: Any, aws: Vendor) -> None:
    trace = trace_id()
    document = segment(trace)
    put(xray, document, document)  # in one call
    put(xray, document)  # and in another
    assert get_trace(xray, trace) == [document]
    assert duplicates(aws)[document["id"]] == 3


def duplicates(aws: Vendor) -> dict[str, int]:
    answer = requests.get(f"{aws.url}/_parallax/xray/deliveries", timeout=10).json()
    return {one["id"]: one["deliveries"] for one in answer["segments"]}


def test_the_same_segment_id_in_two_traces_is_two_segments(xray: Any) -> None:
    first, second = trace_id(), trace_id()
    put(xray, segment(first, id="a" * 16), segment(second, id="a" * 16))
    assert len(get_trace(xray, first)) == len(get_trace(xray, second)) == 1


def test_telemetry_records_are_taken(xray: Any) -> None:
    assert xray.put_telemetry_records(TelemetryRecords=[{"Timestamp": time.time(), "SegmentsSentCount": 3}], Hostname="h")


# -- BatchGetTraces


def test_independent_subsegments_are_embedded_whatever_order_they_come_in(xray: Any) -> None:
    trace = trace_id()
    parent = segment(trace, subsegments=[{"id": "b" * 16, "name": "embedded", "start_time": 1.0, "end_time": 2.0}])
    child = segment(trace, id="c" * 16, name="child", type="subsegment", parent_id="b" * 16)
    grandchild = segment(trace, id="d" * 16, name="grandchild", type="subsegment", parent_id="c" * 16)
    put(xray, grandchild)
    assert [document["type"] for document in get_trace(xray, trace)] == ["subsegment"]
    put(xray, child)
    put(xray, parent)
    (document,) = get_trace(xray, trace)
    embedded = document["subsegments"][0]
    assert embedded["id"] == "b" * 16
    assert embedded["subsegments"][0]["name"] == "child"
    assert embedded["subsegments"][0]["subsegments"][0]["name"] == "grandchild"
    assert not {"type", "trace_id", "parent_id"} & set(embedded["subsegments"][0])


def test_traces_come_whole_and_unknown_ids_are_said_to_be_unprocessed(xray: Any) -> None:
    one, two, unknown = trace_id(), trace_id(), trace_id()
    put(xray, segment(one, start_time=100.0, end_time=101.5), segment(one, start_time=100.5, end_time=103.25), segment(two))
    answer = xray.batch_get_traces(TraceIds=[two, unknown, one])
    assert [trace["Id"] for trace in answer["Traces"]] == [two, one]
    assert answer["Traces"][1]["Duration"] == 3.25
    assert answer["UnprocessedTraceIds"] == [unknown]


def test_more_than_five_ids_or_a_malformed_one_is_refused(xray: Any) -> None:
    refused(lambda: xray.batch_get_traces(TraceIds=[trace_id() for _ in range(6)]), "InvalidRequestException", "at most 5")
    refused(lambda: xray.batch_get_traces(TraceIds=["nonsense"]), "InvalidRequestException", "nonsense")
    refused(lambda: xray.batch_get_traces(TraceIds=[trace_id()], NextToken="x"), "InvalidRequestException", "NextToken")


def test_a_trace_beyond_500_kb_says_so(xray: Any) -> None:
    small, large = trace_id(), trace_id()
    put(xray, segment(small))
    put(xray, *(segment(large, metadata={"default": {"x": "y" * 60_000}}) for _ in range(9)))
    limits = {trace["Id"]: trace["LimitExceeded"] for trace in xray.batch_get_traces(TraceIds=[small, large])["Traces"]}
    assert limits == {small: False, large: True}


# -- GetTraceSummaries


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
    child = segment(
        trace, name="Profiles", parent_id=root["id"], start_time=start + 0.1, end_time=start + 2, throttle=True, annotations={"run": "r1"}
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
        "ServiceIds": [cruddur, profiles],
        "ResourceARNs": [{"ARN": "arn:aws:ec2:us-east-1:111122223333:instance/i-1"}],
        "InstanceIds": [{"Id": "i-1"}],
        "AvailabilityZones": [{"Name": "us-east-1a"}],
        "EntryPoint": cruddur,
        "Revision": 2,
    }


def test_a_trace_belongs_to_the_whole_second_of_its_id(xray: Any) -> None:
    second = int(time.time()) - 3000
    trace = trace_id(second)
    put(xray, segment(trace, start_time=second + 0.8, end_time=second + 0.9))
    assert trace in ids(summaries(xray, second + 0.7, second + 1))
    assert trace in ids(summaries(xray, second - 5, second))
    assert trace not in ids(summaries(xray, second + 1, second + 5))
    assert trace not in ids(summaries(xray, second - 5, second - 0.1))


def ids(found: list[dict[str, Any]]) -> list[str]:
    return [summary["Id"] for summary in found]


def test_a_random_w3c_id_is_found_by_its_earliest_segment(xray: Any) -> None:
    trace, start = w3c_trace_id(), time.time() - 4000
    put(xray, segment(trace, start_time=start + 20, end_time=start + 21))
    put(xray, segment(trace, start_time=start, end_time=start + 30))
    assert trace in ids(summaries(xray, start - 1, start + 1))
    assert trace not in ids(summaries(xray, start + 10, start + 25))


def test_event_and_service_ranges_go_by_arrival_and_by_end(xray: Any) -> None:
    before = time.time()
    old = int(before) - 7200
    trace = trace_id(old)
    put(xray, segment(trace, start_time=float(old), end_time=old + 3600.5))
    after = time.time()
    (found,) = [one for one in summaries(xray, before, after, TimeRangeType="Event") if one["Id"] == trace]
    assert before <= found["MatchedEventTime"].timestamp() <= after
    assert trace not in ids(summaries(xray, before, after, TimeRangeType="TraceId"))
    assert trace in ids(summaries(xray, old + 3600, old + 3601, TimeRangeType="Service"))
    assert trace not in ids(summaries(xray, old, old + 3000, TimeRangeType="Service"))


def test_pages_are_complete_and_stable_while_others_write(xray: Any) -> None:
    """Traces that come between two pages neither appear twice, nor push out one that was there, nor show up themselves."""
    second = int(time.time()) - 20_000
    before = {trace_id(second + n % 50) for n in range(600)}
    everything = list(before)
    for at in range(0, 600, 50):
        put(xray, *(segment(one) for one in everything[at : at + 50]))
    token, found, pages = None, [], 0
    while True:
        page = xray.get_trace_summaries(StartTime=second, EndTime=second + 60, **({"NextToken": token} if token else {}))
        found += ids(page["TraceSummaries"])
        pages += 1
        token = page.get("NextToken")
        if not token:
            break
        put(xray, *(segment(trace_id(second + n)) for n in range(50)))
    assert pages > 2
    assert len(found) == len(set(found)) == 600
    assert set(found) == before


def test_bad_ranges_and_tokens_are_refused(xray: Any) -> None:
    now = time.time()
    refused(lambda: xray.get_trace_summaries(StartTime=now, EndTime=now - 1), "InvalidRequestException", "StartTime")
    refused(lambda: xray.get_trace_summaries(StartTime=now - 86401, EndTime=now), "InvalidRequestException", "24 hours")
    refused(lambda: xray.get_trace_summaries(StartTime=now - 1, EndTime=now, NextToken="junk"), "InvalidRequestException", "NextToken")
    refused(lambda: xray.get_trace_summaries(StartTime=now - 1, EndTime=now, TimeRangeType="Nope"), "InvalidRequestException", "enum")


def test_a_token_of_another_query_is_refused(xray: Any) -> None:
    second = int(time.time()) - 50_000
    for _ in range(6):
        put(xray, *(segment(trace_id(second)) for _ in range(50)))
    token = xray.get_trace_summaries(StartTime=second, EndTime=second + 1)["NextToken"]
    refused(lambda: xray.get_trace_summaries(StartTime=second, EndTime=second + 2, NextToken=token), "InvalidRequestException", "NextToken")


def test_filters_and_sampling_of_summaries_are_refused_rather_than_ignored(xray: Any) -> None:
    now = time.time()
    refused(
        lambda: xray.get_trace_summaries(StartTime=now - 1, EndTime=now, FilterExpression="fault"),
        "InvalidRequestException",
        "FilterExpression is not implemented",
    )
    refused(lambda: xray.get_trace_summaries(StartTime=now - 1, EndTime=now, Sampling=True), "InvalidRequestException", "not implemented")


# -- groups, encryption, tags


def test_groups_are_made_changed_and_deleted(xray: Any) -> None:
    made = xray.create_group(GroupName="slow", FilterExpression="duration > 5", Tags=[{"Key": "team", "Value": "a"}])["Group"]
    assert made["GroupARN"].startswith("arn:aws:xray:us-east-1:123456789012:group/slow/")
    refused(lambda: xray.create_group(GroupName="slow"), "InvalidRequestException", "already exists")
    assert xray.get_group(GroupARN=made["GroupARN"])["Group"] == made
    assert xray.list_tags_for_resource(ResourceARN=made["GroupARN"])["Tags"] == [{"Key": "team", "Value": "a"}]
    changed = xray.update_group(GroupName="slow", InsightsConfiguration={"InsightsEnabled": True})["Group"]
    assert changed["FilterExpression"] == "duration > 5"
    assert changed["InsightsConfiguration"] == {"InsightsEnabled": True, "NotificationsEnabled": False}
    assert {group["GroupName"] for group in xray.get_groups()["Groups"]} == {"Default", "slow"}
    xray.delete_group(GroupName="slow")
    refused(lambda: xray.get_group(GroupName="slow"), "InvalidRequestException", "not found")
    refused(lambda: xray.delete_group(GroupName="Default"), "InvalidRequestException", "cannot be deleted")
    refused(lambda: xray.get_group(), "InvalidRequestException", "either GroupName or GroupARN")


def test_there_are_at_most_25_groups(xray: Any) -> None:
    for number in range(25):
        xray.create_group(GroupName=f"g{number}")
    refused(lambda: xray.create_group(GroupName="one-too-many"), "InvalidRequestException", "25")
    for number in range(25):
        xray.delete_group(GroupName=f"g{number}")


def test_encryption_is_the_default(xray: Any) -> None:
    assert xray.get_encryption_config()["EncryptionConfig"] == {"Status": "ACTIVE", "Type": "NONE"}


def test_what_is_not_built_says_so(xray: Any) -> None:
    now = time.time()
    refused(lambda: xray.get_service_graph(StartTime=now - 60, EndTime=now), "NotImplementedException", "GetServiceGraph", 501)
    refused(lambda: xray.get_trace_graph(TraceIds=[trace_id()]), "NotImplementedException", "GetTraceGraph", 501)


def test_a_child_may_name_a_parent_outside_the_trace(xray: Any) -> None:
    """The caller (Locust) sends no segment: the segment under its span is the root all the same."""
    trace = trace_id()
    put(xray, segment(trace, parent_id=segment_id(), error=True))
    assert summary_of(xray, trace)["HasError"] is True
