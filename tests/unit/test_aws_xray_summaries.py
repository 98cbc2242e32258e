"""What GetTraceSummaries says of a trace: pure functions, no store."""

from __future__ import annotations

from localstack.aws.xray.summaries import summarize
from tests.unit.xray_documents import TRACE, stored


def test_the_root_is_the_earliest_segment_without_a_parent_in_the_trace() -> None:
    later = stored("b", parent="outside", start=1.5, end=9.0, name="Later", fault=True)
    root = stored("a", parent="outside", start=1.0, end=1.25, name="Root", error=True)
    child = stored("c", parent="a", start=0.5, end=2.0, name="ClockAhead")
    summary = summarize(TRACE, [later, child, root])
    assert summary["EntryPoint"]["Name"] == "Root"
    assert (summary["HasError"], summary["HasFault"], summary["ResponseTime"], summary["Duration"]) == (True, False, 0.25, 8.5)


def test_a_trace_in_progress_is_partial_and_has_no_response_time() -> None:
    summary = summarize(TRACE, [stored("a", end=None)])
    assert summary["IsPartial"] is True
    assert summary["Duration"] == 0.0
    assert "ResponseTime" not in summary


def test_a_trace_of_orphans_only_has_no_root() -> None:
    summary = summarize(TRACE, [stored("b", parent="x", independent=True, annotations={"run": "r"})])
    assert "EntryPoint" not in summary
    assert summary["ServiceIds"] == []
    assert summary["Annotations"] == {"run": [{"AnnotationValue": {"StringValue": "r"}, "ServiceIds": []}]}


def test_annotations_of_embedded_and_independent_subsegments_belong_to_their_segments_service() -> None:
    segment = stored(
        "a",
        name="Cruddur",
        annotations={"k": 1},
        subsegments=[{"id": "s", "name": "s", "start_time": 1, "end_time": 2, "annotations": {"k": 1}}],
    )
    child = stored("b", parent="s", independent=True, annotations={"k": True, "other": "x", "list": [1]})
    annotations = summarize(TRACE, [child, segment])["Annotations"]
    service = {"Name": "Cruddur", "Names": ["Cruddur"]}
    assert annotations == {
        "k": [
            {"AnnotationValue": {"NumberValue": 1}, "ServiceIds": [service]},
            {"AnnotationValue": {"BooleanValue": True}, "ServiceIds": [service]},
        ],
        "other": [{"AnnotationValue": {"StringValue": "x"}, "ServiceIds": [service]}],
    }


def test_oddly_shaped_blocks_are_left_out_not_fatal() -> None:
    odd = stored("a", http={"request": "x", "response": {"status": "500"}}, aws={"ec2": 5}, user=7, origin=1, resource_arn=2)
    summary = summarize(TRACE, [odd])
    assert (summary["Http"], summary["Users"], summary["InstanceIds"], summary["ResourceARNs"]) == ({}, [], [], [])
