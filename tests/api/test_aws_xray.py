"""Segments in, traces out, through boto3 against the local X-Ray."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from tests.api.aws_clients import client, get_trace, put, refused, segment, segment_id, summaries, trace_id
from tests.api.servers import Vendor, start_vendor


@pytest.fixture(scope="module")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Vendor]:
    with start_vendor("aws", tmp_path_factory.mktemp("state")) as vendor:
        yield vendor


@pytest.fixture(scope="module")
def xray(aws: Vendor) -> Any:
    return client(aws, "xray")


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


def test_a_segment_that_comes_after_its_trace_was_summarized_is_in_the_trace(xray: Any) -> None:
    trace = trace_id()
    first, second = segment(trace), segment(trace)
    put(xray, first)
    summary_of(xray, trace)
    assert get_trace(xray, trace) == [first]
    put(xray, second)
    assert sorted(each["id"] for each in get_trace(xray, trace)) == sorted([first["id"], second["id"]])
    # One of those that were summarized, one that was not, and one that is unknown.
    summary_of(xray, trace)
    other, unknown = trace_id(), trace_id()
    put(xray, segment(other))
    answer = xray.batch_get_traces(TraceIds=[other, unknown, trace])
    assert [each["Id"] for each in answer["Traces"]] == [other, trace]
    assert answer["UnprocessedTraceIds"] == [unknown]


def test_more_than_five_ids_or_a_malformed_one_is_refused(xray: Any) -> None:
    refused(lambda: xray.batch_get_traces(TraceIds=[trace_id() for _ in range(6)]), "InvalidRequestException", "at most 5")
    refused(lambda: xray.batch_get_traces(TraceIds=["nonsense"]), "InvalidRequestException", "nonsense")
    refused(lambda: xray.batch_get_traces(TraceIds=[trace_id()], NextToken="x"), "InvalidRequestException", "NextToken")


def test_an_id_is_the_same_in_upper_case(xray: Any) -> None:
    trace = trace_id()
    sent = segment(trace)
    put(xray, sent | {"trace_id": trace.upper(), "id": sent["id"].upper()}, segment(trace, parent_id=sent["id"]))
    (found,) = xray.batch_get_traces(TraceIds=[trace.upper(), trace])["Traces"]
    assert found["Id"] == trace
    assert len(found["Segments"]) == 2
    assert len(summary_of(xray, trace)["ServiceIds"]) == 2, "the service, and the client"
    unknown = trace_id().upper()
    assert xray.batch_get_traces(TraceIds=[unknown])["UnprocessedTraceIds"] == [unknown]


def test_calls_that_nobody_answers_bring_inferred_segments(xray: Any) -> None:
    trace, called = trace_id(), segment_id()
    times = {"start_time": time.time() - 0.2, "end_time": time.time()}
    table = {"id": segment_id(), "name": "DynamoDB", "namespace": "aws", "aws": {"table_name": "users"}, "fault": True, **times}
    answered = {"id": called, "name": "profiles", "namespace": "remote", **times}
    sent = segment(trace, subsegments=[table, answered])
    put(xray, sent, segment(trace, name="Profiles", parent_id=called))
    documents = get_trace(xray, trace)
    assert documents[0] == sent
    (inferred,) = [document for document in documents if document.get("inferred")]
    assert len(inferred["id"]) == 16
    assert inferred == {
        "id": inferred["id"],
        "name": "DynamoDB",
        "parent_id": table["id"],
        "inferred": True,
        "aws": {"table_name": "users"},
        "fault": True,
        "trace_id": trace,
        "origin": "AWS::DynamoDB::Table",
        **times,
    }
    assert get_trace(xray, trace) == documents, "the same each time"
    put(xray, segment(trace, name="users", parent_id=table["id"]))
    assert not any(document.get("inferred") for document in get_trace(xray, trace))


def test_links_precursors_and_what_nobody_documents_come_back(xray: Any) -> None:
    trace = trace_id()
    links = [{"trace_id": trace_id(), "id": segment_id(), "attributes": {"aws.xray.linked_trace": "x"}}]
    first = {"id": segment_id(), "name": "one", "start_time": 1.0, "end_time": 2.0}
    second = first | {"id": segment_id(), "precursor_ids": [first["id"]], "made_up": {"a": None}}
    sent = segment(trace, links=links, subsegments=[first, second])
    put(xray, sent)
    assert get_trace(xray, trace) == [sent]


def test_subsegments_nested_as_deep_as_nobody_reads_come_back_all_the_same(xray: Any) -> None:
    trace = trace_id()
    chain = [segment(trace)]
    for _ in range(300):
        chain.append(segment(trace, type="subsegment", parent_id=chain[-1]["id"]))
    for at in range(0, 301, 50):
        put(xray, *chain[at : at + 50])
    assert {document["id"] for document in get_trace(xray, trace)} == {document["id"] for document in chain}
    assert summary_of(xray, trace)["ServiceIds"][0]["Name"] == "Cruddur"


def test_answers_that_get_too_large_come_in_pages(xray: Any) -> None:
    traces, unknown = [trace_id() for _ in range(3)], trace_id()
    sent: dict[str, set[str]] = {}
    for trace in traces:
        documents = [segment(trace, metadata={"default": {"x": "y" * 60_000}}) for _ in range(45)]
        sent[trace] = {document["id"] for document in documents}
        put(xray, *documents)
    found: dict[str, list[str]] = {}
    unprocessed: list[str] = []
    token, pages = None, 0
    while pages == 0 or token:
        page = xray.batch_get_traces(TraceIds=[unknown, *traces], **({"NextToken": token} if token else {}))
        for trace in page["Traces"]:
            assert trace["LimitExceeded"]
            found.setdefault(trace["Id"], []).extend(one["Id"] for one in trace["Segments"])
        token, pages, unprocessed = page.get("NextToken"), pages + 1, unprocessed + page["UnprocessedTraceIds"]
    assert pages > 1
    assert list(found) == traces
    assert {trace: set(ids) for trace, ids in found.items()} == sent
    assert sum(map(len, found.values())) == sum(map(len, sent.values())), "none twice"
    assert unprocessed == [unknown]


def test_a_trace_too_large_to_be_put_together_is_returned_as_it_was_sent(xray: Any) -> None:
    trace = trace_id()
    root = segment(trace, fault=True)
    put(xray, root)
    sent = {root["id"]: root}
    for _ in range(7):
        parts = [segment(trace, type="subsegment", parent_id=root["id"], metadata={"default": {"a": "x" * 60_000}}) for _ in range(20)]
        put(xray, *parts)
        sent |= {part["id"]: part for part in parts}
    found: list[dict[str, Any]] = []
    more: dict[str, str] = {}
    while True:
        page = xray.batch_get_traces(TraceIds=[trace], **more)
        (part,) = page["Traces"]
        assert part["LimitExceeded"]
        found += [json.loads(one["Document"]) for one in part["Segments"]]
        if "NextToken" not in page:
            break
        more = {"NextToken": page["NextToken"]}
    assert len(found) == len(sent)
    assert {document["id"]: document for document in found} == sent
    # Its summary is made of what came first in it, and the root did.
    summary = summary_of(xray, trace)
    assert (summary["HasFault"], summary["EntryPoint"]["Name"]) == (True, root["name"])


def test_a_trace_beyond_500_kb_says_so(xray: Any) -> None:
    small, large = trace_id(), trace_id()
    put(xray, segment(small))
    put(xray, *(segment(large, metadata={"default": {"x": "y" * 60_000}}) for _ in range(9)))
    limits = {trace["Id"]: trace["LimitExceeded"] for trace in xray.batch_get_traces(TraceIds=[small, large])["Traces"]}
    assert limits == {small: False, large: True}


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
