"""What GetTraceSummaries says of a trace: pure functions, no store."""

from __future__ import annotations

import json
import random
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from localstack.aws.xray.traces.documents import StoredDocument
from localstack.aws.xray.traces.summaries import summarize
from tests.api.aws_answers import check, service_model
from tests.unit.xray_documents import TRACE, stored, subsegment

_SUMMARY = service_model("xray").shape_for("TraceSummary")


def summary_of(*documents: StoredDocument) -> dict[str, Any]:
    """The summary, as JSON has it, once it is known to have the service model's shape and not to depend on the order of arrival."""
    summary = summarize(TRACE, documents)
    assert summarize(TRACE, documents[::-1]) == summary
    found: dict[str, Any] = json.loads(json.dumps(summary))
    check(_SUMMARY, found, "TraceSummary")
    return found


def service(name: str, **members: str) -> dict[str, Any]:
    return {"Name": name, "Names": [name]} | members


def test_every_member_of_the_model_is_there() -> None:
    """All but MatchedEventTime, which only the query knows."""
    summary = summary_of(stored("a", fault=True, error=True))
    assert set(summary) == set(_SUMMARY.members) - {"MatchedEventTime"}


def test_the_members_of_a_whole_trace() -> None:
    call = subsegment("s", start=1.25, end=1.75, name="profiles", namespace="remote", fault=True)
    query = subsegment("q", start=1.4, end=1.45, name="cruddur@db", namespace="remote", sql={"url": "x"})
    root = stored(
        "a",
        end=2.0,
        name="Cruddur",
        origin="AWS::EC2::Instance",
        resource_arn="arn:aws:ec2:us-east-1:1:instance/i-1",
        aws={"account_id": "1", "ec2": {"instance_id": "i-1", "availability_zone": "us-east-1a"}},
        user="bayko",
        fault=True,
        http={"request": {"url": "http://c/", "method": "GET"}, "response": {"status": 500}},
        annotations={"run": "r", "n": 1},
        subsegments=[call],
    )
    answered = stored(
        "b",
        parent="s",
        start=1.3,
        end=1.7,
        name="Profiles",
        fault=True,
        throttle=True,
        user="bayko",
        annotations={"run": "r"},
        subsegments=[query],
        cause={"exceptions": [{"type": "Timeout", "message": "5 s"}, {}]},
    )
    cruddur, profiles = service("Cruddur", AccountId="1", Type="AWS::EC2::Instance"), service("Profiles")
    assert summary_of(root, answered) == {
        "Id": TRACE,
        "StartTime": 1.0,
        "Duration": 1.0,
        "ResponseTime": 1.0,
        "HasFault": True,
        "HasError": False,
        "HasThrottle": True,
        "IsPartial": False,
        "Http": {"HttpURL": "http://c/", "HttpMethod": "GET", "HttpStatus": 500},
        "Annotations": {
            "run": [{"AnnotationValue": {"StringValue": "r"}, "ServiceIds": [cruddur, profiles]}],
            "n": [{"AnnotationValue": {"NumberValue": 1.0}, "ServiceIds": [cruddur]}],
        },
        "Users": [{"UserName": "bayko", "ServiceIds": [cruddur, profiles]}],
        "ServiceIds": [cruddur, profiles, service("cruddur@db", Type="Database::SQL"), service("Cruddur", Type="client")],
        "ResourceARNs": [{"ARN": "arn:aws:ec2:us-east-1:1:instance/i-1"}],
        "InstanceIds": [{"Id": "i-1"}],
        "AvailabilityZones": [{"Name": "us-east-1a"}],
        "EntryPoint": cruddur,
        "FaultRootCauses": [
            {
                "Services": [
                    cruddur
                    | {
                        "Inferred": False,
                        "EntityPath": [
                            {"Name": "Cruddur", "Remote": False, "Exceptions": []},
                            {"Name": "profiles", "Remote": True, "Exceptions": []},
                        ],
                    },
                    profiles
                    | {
                        "Inferred": False,
                        "EntityPath": [{"Name": "Profiles", "Remote": False, "Exceptions": [{"Name": "Timeout", "Message": "5 s"}, {}]}],
                    },
                ],
                "ClientImpacting": True,
            }
        ],
        "ErrorRootCauses": [],
        "ResponseTimeRootCauses": [
            {
                "Services": [
                    cruddur
                    | {
                        "Inferred": False,
                        "EntityPath": [
                            {"Name": "Cruddur", "Remote": False, "Coverage": 1.0},
                            {"Name": "profiles", "Remote": True, "Coverage": 0.5},
                        ],
                    },
                    profiles | {"Inferred": False, "EntityPath": [{"Name": "Profiles", "Remote": False, "Coverage": 0.4}]},
                ],
                "ClientImpacting": True,
            }
        ],
        "Revision": 2,
    }


def test_the_root_is_the_earliest_segment_without_a_parent_in_the_trace() -> None:
    later = stored("b", parent="outside", start=1.5, end=9.0, name="Later", fault=True)
    root = stored("a", parent="outside", start=1.0, end=1.25, name="Root", error=True)
    child = stored("c", parent="a", start=0.5, end=2.0, name="ClockAhead")
    summary = summary_of(later, child, root)
    assert summary["EntryPoint"]["Name"] == "Root"
    assert (summary["HasError"], summary["HasFault"], summary["ResponseTime"], summary["Duration"]) == (True, False, 0.25, 8.5)
    assert [one["Name"] for one in summary["ServiceIds"] if one.get("Type") == "client"] == ["Root", "Later"]


def test_a_trace_in_progress_is_partial_and_has_no_response_time() -> None:
    summary = summary_of(stored("a", end=None))
    assert summary["IsPartial"] is True
    assert summary["Duration"] == 0.0
    assert "ResponseTime" not in summary


def test_a_trace_of_orphans_only_has_no_root() -> None:
    summary = summary_of(stored("b", parent="x", independent=True, annotations={"run": "r"}))
    assert "EntryPoint" not in summary
    assert summary["ServiceIds"] == []
    assert summary["Annotations"] == {"run": [{"AnnotationValue": {"StringValue": "r"}, "ServiceIds": []}]}


def test_annotations_of_embedded_and_independent_subsegments_belong_to_their_segments_service() -> None:
    segment = stored("a", name="Cruddur", annotations={"k": 1}, subsegments=[subsegment("s", annotations={"k": 1})])
    child = stored("b", parent="s", independent=True, annotations={"k": True, "other": "x", "list": [1]})
    carriers = [service("Cruddur")]
    assert summary_of(child, segment)["Annotations"] == {
        "k": [
            {"AnnotationValue": {"NumberValue": 1.0}, "ServiceIds": carriers},
            {"AnnotationValue": {"BooleanValue": True}, "ServiceIds": carriers},
        ],
        "other": [{"AnnotationValue": {"StringValue": "x"}, "ServiceIds": carriers}],
    }


def test_times_have_three_digits() -> None:
    summary = summary_of(stored("a", start=1.0, end=1.123456))
    assert (summary["Duration"], summary["ResponseTime"]) == (0.123, 0.123)


_ODD: list[Any] = [None, True, False, 5, -1.5, 2**40, "text", "", [], [1], ["a"], {}, {"a": 1}, {"exceptions": [{"type": 1}, 5, None]}]


@given(st.randoms(use_true_random=False))
def test_whatever_a_document_says_the_answer_has_the_models_shape(chance: random.Random) -> None:
    def odd() -> dict[str, Any]:
        keys = ("http", "aws", "user", "origin", "resource_arn", "cause", "annotations", "fault", "error", "throttle", "namespace", "sql")
        fields = {key: chance.choice(_ODD) for key in keys if chance.random() < 0.4}
        if chance.random() < 0.5:
            fields["http"] = {"request": {"url": chance.choice(_ODD)}, "response": {"status": chance.choice(_ODD)}}
        if chance.random() < 0.5:
            fields |= {
                "namespace": chance.choice(["aws", "remote"]),
                "aws": {"table_name": chance.choice(_ODD), "ec2": chance.choice(_ODD)},
            }
        return fields

    inner = subsegment("b", subsegments=[subsegment("c", **odd())], **odd())
    summary_of(stored("a", subsegments=[inner], **odd()), stored("d", parent="c", **odd()), stored("e", "b", independent=True, **odd()))
