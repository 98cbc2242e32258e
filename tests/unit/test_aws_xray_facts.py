"""What X-Ray knows of a trace: service nodes, edges, annotations, exceptions."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from localstack.aws.xray.traces.documents import StoredDocument
from localstack.aws.xray.traces.facts import (
    MAX_ANNOTATIONS,
    Annotation,
    Edge,
    Failure,
    Flags,
    Http,
    Node,
    Service,
    TraceFacts,
    facts,
    inferred_service,
)
from tests.unit.xray_documents import TRACE, stored, subsegment

OK = Flags(ok=True, error=False, fault=False, throttle=False)


def of(*documents: StoredDocument) -> TraceFacts:
    found = facts(TRACE, documents)
    assert facts(TRACE, documents[::-1]) == found, "the order of arrival must not matter"
    return found


def nodes(found: TraceFacts) -> dict[str, Node]:
    return {node.id: node for node in found.nodes}


def edges(found: TraceFacts) -> set[tuple[str | None, str, str | None]]:
    return {(edge.source, edge.target, edge.via) for edge in found.edges}


def test_a_segment_is_a_node_called_by_the_client() -> None:
    found = of(
        stored(
            "a",
            start=1.0,
            end=1.5,
            name="Cruddur",
            origin="AWS::EC2::Instance",
            user="bayko",
            resource_arn="arn:x",
            aws={"account_id": "111122223333", "ec2": {"availability_zone": "us-east-1a", "instance_id": "i-1"}},
            http={
                "request": {"url": "http://c/", "method": "GET", "user_agent": "curl", "client_ip": "10.0.0.1"},
                "response": {"status": 200},
            },
        )
    )
    http = Http("http://c/", "GET", 200, "curl", "10.0.0.1")
    service = Service("Cruddur", "AWS::EC2::Instance", "111122223333")
    assert found == TraceFacts(
        TRACE, 1.0, 1.5, "a", 0.5, OK, False, http,
        nodes=(Node("a", service, False, True, 1.0, 1.5, OK, http, "bayko", "us-east-1a", "i-1", "arn:x", 1.5),),
        edges=(Edge(None, "a", None, 1.0, 1.5, OK),),
    )  # fmt: skip
    assert found.duration == 0.5


def test_work_that_goes_on_after_the_response() -> None:
    late = stored("b", parent="a", independent=True, start=1.0, end=4.0)
    found = of(stored("a", subsegments=[subsegment("c", start_time=1.0, end_time=3.0)], end=2.0), late)
    assert (found.nodes[0].end_time, found.nodes[0].work_end) == (2.0, 4.0)
    assert of(stored("a", end=None), late).nodes[0].work_end is None


def test_a_segment_called_by_another_segment_and_one_called_by_a_subsegment() -> None:
    call = subsegment("s", start=1.1, end=1.9, namespace="remote", name="profiles.internal", error=True)
    found = of(
        stored("a", start=1.0, end=3.0, subsegments=[call]),
        stored("b", parent="a", start=1.2, end=1.4),
        stored("c", parent="s", start=1.3, end=1.8, fault=True),
    )
    assert edges(found) == {(None, "a", None), ("a", "b", None), ("a", "c", "s")}
    # Of the call the caller's view counts, and by what name it called.
    (edge,) = [edge for edge in found.edges if edge.target == "c"]
    error = Flags(ok=False, error=True, fault=False, throttle=False)
    assert edge == Edge("a", "c", "s", 1.1, 1.9, error, alias=Service("profiles.internal", "remote"))
    assert [node.id for node in found.nodes if node.entry] == ["a"]
    assert not any(node.inferred for node in found.nodes)


def test_under_a_subsegment_that_is_no_call_the_called_segments_own_view_counts() -> None:
    found = of(stored("a", subsegments=[subsegment("s", start=1.1)]), stored("c", parent="s", start=1.3, end=1.8))
    (edge,) = [edge for edge in found.edges if edge.target == "c"]
    assert edge == Edge("a", "c", "s", 1.3, 1.8, OK)


def test_a_call_that_no_segment_answers_is_an_inferred_node() -> None:
    inner = subsegment(
        "t", start=1.2, end=1.4, namespace="aws", name="DynamoDB", aws={"table_name": "users", "account_id": "1"}, fault=True
    )
    local = subsegment("s", user="not a segment's", subsegments=[inner], http={"response": {"status": 200}})
    found = of(stored("a", subsegments=[local]))
    fault = Flags(ok=False, error=False, fault=True, throttle=False)
    assert nodes(found)["t"] == Node(
        "t", Service("users", "AWS::DynamoDB::Table", "1"), True, False, 1.2, 1.4, fault, Http(), None, None, None, None, 1.4
    )
    assert edges(found) == {(None, "a", None), ("a", "t", "t")}
    assert "s" not in nodes(found)


@pytest.mark.parametrize(
    ("call", "service"),
    [
        ({"name": "api.example.com", "namespace": "remote"}, Service("api.example.com", "remote")),
        ({"name": "cruddur@db", "namespace": "remote", "sql": {"url": "postgresql://db/cruddur"}}, Service("cruddur@db", "Database::SQL")),
        ({"name": "api", "namespace": "remote", "sql": "SELECT 1"}, Service("api", "remote")),
        ({"name": "api", "namespace": "remote", "aws": {"table_name": "t"}}, Service("api", "remote")),
        ({"name": "DynamoDB", "namespace": "aws", "aws": {"table_name": "users"}}, Service("users", "AWS::DynamoDB::Table")),
        ({"name": "dynamodb", "namespace": "aws"}, Service("dynamodb", "AWS::DynamoDB")),
        ({"name": "DynamoDB", "namespace": "aws", "aws": {"table_name": 5}}, Service("DynamoDB", "AWS::DynamoDB")),
        ({"name": "DynamoDB", "namespace": "aws", "aws": {"table_name": ""}}, Service("DynamoDB", "AWS::DynamoDB")),
        ({"name": "S3", "namespace": "aws", "aws": {"bucket_name": "avatars"}}, Service("avatars", "AWS::S3::Bucket")),
        (
            {"name": "sqs", "namespace": "aws", "aws": {"queue_url": "https://sqs.us-east-1.amazonaws.com/123456789012/orders"}},
            Service("orders", "AWS::SQS::Queue"),
        ),
        ({"name": "sqs", "namespace": "aws", "aws": {"queue_url": "https://sqs/"}}, Service("sqs", "AWS::SQS")),
        ({"name": "SQS", "namespace": "aws", "aws": {"queue_name": "orders"}}, Service("orders", "AWS::SQS::Queue")),
        ({"name": "SNS", "namespace": "aws", "aws": {"topic_arn": "arn:aws:sns:us-west-2:1:news"}}, Service("news", "AWS::SNS")),
        ({"name": "Lambda", "namespace": "aws", "aws": {"function_name": "resize"}}, Service("resize", "AWS::Lambda")),
        ({"name": "lambda", "namespace": "aws", "aws": {"function_name": "resize:live"}}, Service("resize", "AWS::Lambda")),
        (
            {"name": "lambda", "namespace": "aws", "aws": {"function_name": "arn:aws:lambda:us-east-1:1:function:resize:7"}},
            Service("resize", "AWS::Lambda"),
        ),
        ({"name": "lambda", "namespace": "aws", "aws": {"function_name": "1:function:resize"}}, Service("resize", "AWS::Lambda")),
        ({"name": "Bedrock", "namespace": "aws", "aws": {"account_id": "1"}}, Service("Bedrock", "AWS::Bedrock", "1")),
        ({"name": "sts", "namespace": "aws", "aws": "odd"}, Service("sts", "AWS::STS")),
    ],
    ids=lambda value: str(value)[:60],
)
def test_names_and_types_of_what_is_inferred(call: dict[str, Any], service: Service) -> None:
    assert inferred_service(call) == service


def test_a_namespace_of_another_kind_is_no_call() -> None:
    found = of(stored("a", subsegments=[subsegment("s", namespace="local"), subsegment("t", namespace=["aws"])]))
    assert list(nodes(found)) == ["a"]


def test_an_independent_subsegment_belongs_to_the_segment_it_is_part_of() -> None:
    call = stored("c", parent="s", independent=True, namespace="remote", name="api", annotations={"k": "v"})
    between = stored("s", parent="a", independent=True)
    orphaned = of(call)
    assert (orphaned.root, orphaned.nodes, orphaned.edges) == (None, (), ())
    assert orphaned.annotations == (Annotation(None, "k", "v"),)
    assert orphaned.flags == Flags(ok=False, error=False, fault=False, throttle=False)
    whole = of(call, between, stored("a"))
    assert edges(whole) == {(None, "a", None), ("a", "c", "c")}
    assert whole.annotations == (Annotation("a", "k", "v"),)


def test_a_segment_under_a_subsegment_that_has_no_segment_yet_is_a_node_without_an_edge() -> None:
    found = of(stored("s", parent="x", independent=True, namespace="remote"), stored("b", parent="s"))
    assert [(node.id, node.entry) for node in found.nodes] == [("b", False)]
    assert found.edges == ()
    assert found.root == "b"


def test_segments_that_are_each_others_parents_have_the_earliest_for_a_root() -> None:
    found = of(stored("b", parent="a", start=1.0), stored("a", parent="b", start=1.5, fault=True))
    assert found.root == "b"
    assert edges(found) == {("a", "b", None), ("b", "a", None)}
    assert not any(node.entry for node in found.nodes)
    assert of(stored("a", parent="a")).root == "a"


def test_subsegments_in_a_circle_have_no_owner() -> None:
    found = of(
        stored("a", parent="b", independent=True, namespace="remote", annotations={"k": 1}), stored("b", parent="a", independent=True)
    )
    assert (found.nodes, found.edges, found.root) == ((), (), None)
    assert found.annotations == (Annotation(None, "k", 1.0),)


def test_the_root_is_the_earliest_entry() -> None:
    later = stored("b", parent="outside", start=1.5, end=9.0, fault=True)
    root = stored("a", parent="outside", start=1.0, end=1.25, error=True)
    child = stored("c", parent="a", start=0.5, end=2.0, throttle=True)
    found = of(later, child, root)
    assert found.root == "a"
    assert found.flags == Flags(ok=False, error=True, fault=False, throttle=True)
    assert (found.response_time, found.duration, found.start_time, found.end_time) == (0.25, 8.5, 0.5, 9.0)


def test_a_trace_in_progress_is_partial_not_ok_and_has_no_response_time() -> None:
    found = of(stored("a", end=None))
    assert (found.partial, found.flags.ok, found.response_time, found.duration) == (True, False, None, 0.0)
    assert found.nodes[0].end_time is None


def test_ids_are_in_lower_case() -> None:
    found = of(stored("AB", subsegments=[subsegment("CD", namespace="remote")]), stored("EF", parent="cd"))
    assert edges(found) == {(None, "ab", None), ("ab", "ef", "cd")}


def test_what_has_another_type_than_documented_is_absent() -> None:
    odd = stored(
        "a",
        http={"request": "x", "response": {"status": "500"}},
        aws={"ec2": 5, "account_id": 1},
        user=7,
        origin=1,
        resource_arn=2,
        cause="an exception's id",
        fault="true",
        error=1,
        subsegments=[
            subsegment("b", http=5, cause={"exceptions": "x"}, annotations=[]),
            subsegment("c", http={"request": {"url": 1, "method": None}, "response": {"status": True}}, cause={"exceptions": [1, None]}),
            subsegment("d", namespace="remote", http={"response": {"status": 2**31}}),
        ],
    )
    found = of(odd)
    assert found.nodes[0] == Node("a", Service("na"), False, True, 1.0, 2.0, OK, Http(), None, None, None, None, 2.0)
    assert nodes(found)["d"].http == Http()
    assert (found.failures, found.annotations) == ((), ())


def test_annotations_are_of_three_types_in_the_order_of_their_entities() -> None:
    found = of(
        stored("b", parent="a", start=3.0, annotations={"late": "x"}),
        stored("a", annotations={"n": 1, "f": 1.5, "t": True, "s": "", "list": [1], "null": None, "object": {}}, subsegments=[
            subsegment("s", start=2.0, annotations={"n": 1})
        ]),
    )  # fmt: skip
    assert found.annotations == (
        Annotation("a", "n", 1.0),
        Annotation("a", "f", 1.5),
        Annotation("a", "t", True),
        Annotation("a", "s", ""),
        Annotation("a", "n", 1.0),
        Annotation("b", "late", "x"),
    )
    assert [type(one.value) for one in found.annotations[:3]] == [float, float, bool]


def test_of_the_annotations_of_a_trace_the_first_fifty_count() -> None:
    found = of(
        stored("a", start=2.0, annotations={f"k{n}": n for n in range(40)}),
        stored("b", start=1.0, annotations={f"e{n}": n for n in range(40)}),
    )
    assert len(found.annotations) == MAX_ANNOTATIONS
    assert [one.node for one in found.annotations] == ["b"] * 40 + ["a"] * 10


def test_exceptions_of_segments_and_subsegments() -> None:
    cause = {"working_directory": "/", "exceptions": [{"id": "1", "type": "KeyError", "message": "'x'", "remote": True}, {"message": 5}]}
    found = of(stored("a", cause=cause, subsegments=[subsegment("s", start=1.5, cause={"exceptions": [{"type": "Inner"}]})]))
    assert found.failures == (
        Failure("a", "a", "KeyError", "'x'", True),
        Failure("a", "a", None, None, False),
        Failure("a", "s", "Inner", None, False),
    )


def test_facts_are_values_that_can_be_compared_and_not_changed() -> None:
    found = of(stored("a"))
    with pytest.raises(dataclasses.FrozenInstanceError):
        found.trace_id = "x"  # type: ignore[misc]
