"""Checking segment documents, and telling epoch trace ids from random ones."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localstack.aws.state import State
from localstack.aws.xray.segments.validation import RETENTION_SECONDS, Limits, Rejected, Segment, id_time, parse

NOW = 1_795_354_123.5


def document(trace_epoch: int) -> str:
    trace = f"1-{trace_epoch:08x}-{'a' * 24}"
    return json.dumps({"id": "b" * 16, "name": "n", "trace_id": trace, "start_time": NOW, "end_time": NOW + 1})


def test_an_id_of_the_last_30_days_carries_its_time() -> None:
    assert id_time(f"1-{int(NOW):08x}-{'a' * 24}", NOW) == int(NOW)
    assert id_time(f"1-{int(NOW - RETENTION_SECONDS) + 1:08x}-{'a' * 24}", NOW) is not None
    assert id_time(f"1-{int(NOW - RETENTION_SECONDS) - 1:08x}-{'a' * 24}", NOW) is None
    assert id_time(f"1-ffffffff-{'a' * 24}", NOW) is None


def test_random_ids_are_taken_unless_old_ids_are_to_be_refused() -> None:
    random_id = document(0xFFFFFFFF)
    assert isinstance(parse(random_id, NOW), Segment)
    rejected = parse(random_id, NOW, Limits(old_trace_ids=True))
    assert isinstance(rejected, Rejected)
    assert rejected.code == "InvalidTraceId"
    assert isinstance(parse(document(int(NOW)), NOW, Limits(old_trace_ids=True)), Segment)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=10,
)
_KEYS = [
    "id", "name", "trace_id", "parent_id", "start_time", "end_time", "in_progress", "type", "subsegments",
    "http", "aws", "annotations", "metadata", "cause", "error", "fault", "throttle", "service", "user",
]  # fmt: skip
_GOOD = json.loads(document(int(NOW)))


@given(st.dictionaries(st.sampled_from(_KEYS), _JSON, max_size=5))
def test_whatever_a_field_holds_the_answer_is_a_segment_or_a_reason(change: dict[str, object]) -> None:
    answer = parse(json.dumps(_GOOD | change), NOW)
    assert isinstance(answer, Segment | Rejected)


@given(st.text(max_size=200))
def test_whatever_text_comes_the_answer_is_a_reason(text: str) -> None:
    assert isinstance(parse(text, NOW), Rejected)


def made(**fields: object) -> str:
    """A document with an id of now, changed by ``fields``."""
    return json.dumps(json.loads(document(int(NOW))) | fields)


def embedding(**fields: object) -> dict[str, object]:
    """A subsegment within two others, as a member of a document."""
    inner = {"id": "c" * 16, "name": "n", "start_time": NOW, "end_time": NOW} | fields
    outer = {"id": "d" * 16, "name": "n", "start_time": NOW, "in_progress": True, "subsegments": [inner]}
    return {"subsegments": [outer]}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"user": 5}, "user must be a string"),
        ({"origin": ["AWS::EC2::Instance"]}, "origin must be a string"),
        ({"service": {"version": 1.5}}, "service.version must be a string"),
        ({"http": {"request": {"method": True}}}, "http.request.method must be a string"),
        ({"http": {"request": {"x_forwarded_for": "yes"}}}, "http.request.x_forwarded_for must be a boolean"),
        ({"http": {"response": {"status": "200"}}}, "http.response.status must be an integer"),
        ({"http": {"response": {"status": True}}}, "http.response.status must be an integer"),
        ({"http": {"response": []}}, "http.response must be an object"),
        ({"aws": {"ec2": {"instance_id": 5}}}, "aws.ec2.instance_id must be a string"),
        ({"aws": {"elastic_beanstalk": {"deployment_id": "5"}}}, "aws.elastic_beanstalk.deployment_id must be an integer"),
        ({"cause": "no id"}, "cause must be the 16 hexadecimal digits of an exception's id, or an object"),
        ({"cause": {"paths": "p"}}, "cause.paths must be a list"),
        ({"cause": {"exceptions": [{}, {"stack": [{"line": "1"}]}]}}, "cause.exceptions[1].stack[0].line must be an integer"),
        (embedding(namespace="local"), "namespace must be aws or remote"),
        (embedding(sql={"preparation": "none"}), "sql.preparation must be call or statement"),
        (embedding(precursor_ids=[5]), "precursor_ids[0] must be a string"),
        (embedding(http={"request": {"traced": 1}}), "http.request.traced must be a boolean"),
        (embedding(aws={"table_name": {}}), "aws.table_name must be a string"),
    ],
)
def test_a_member_of_a_wrong_type_is_kept_unless_it_is_to_be_refused(fields: dict[str, object], message: str) -> None:
    assert isinstance(parse(made(**fields), NOW), Segment)
    rejected = parse(made(**fields), NOW, Limits(wrong_types=True))
    assert rejected == Rejected("b" * 16, "ParseError", f"Invalid segment. ErrorCode: ParseError, Cause: {message}")


@pytest.mark.parametrize(
    ("annotations", "message"),
    [
        ({"a b": 1}, "the annotation key 'a b' must be 1 to 500 letters, digits, '_' or '.'"),
        ({"": 1}, "the annotation key '' must be 1 to 500 letters, digits, '_' or '.'"),
        ({"k" * 501: 1}, f"the annotation key '{'k' * 100}' must be 1 to 500 letters, digits, '_' or '.'"),
        ({"k": "v" * 1001}, "the annotation k must have at most 1000 characters"),
        ({"k": ["v"]}, "the annotation k must be a string, a number or a boolean"),
        ({"k": None}, "the annotation k must be a string, a number or a boolean"),
    ],
)
@pytest.mark.parametrize("inside", [False, True], ids=["segment", "subsegment"])
def test_an_annotation_that_breaks_the_documented_form_is_kept_unless_it_is_to_be_refused(
    annotations: dict[str, object], message: str, inside: bool
) -> None:
    text = made(**embedding(annotations=annotations)) if inside else made(annotations=annotations)
    assert isinstance(parse(text, NOW), Segment)
    assert parse(text, NOW, Limits(annotations=True)) == Rejected(
        "b" * 16, "ParseError", f"Invalid segment. ErrorCode: ParseError, Cause: {message}"
    )


#: Every member that "AWS X-Ray segment documents" shows, as it shows them.
_DOCUMENTED = {
    "service": {"version": "1.0"},
    "user": "u",
    "origin": "AWS::EC2::Instance",
    "parent_id": "a" * 16,
    "http": {
        "request": {"method": "GET", "url": "u", "user_agent": "a", "client_ip": "1.2.3.4", "x_forwarded_for": True},
        "response": {"status": 200, "content_length": 5},
    },
    "aws": {
        "account_id": "1",
        "ecs": {"container": "c"},
        "ec2": {"instance_id": "i", "availability_zone": "z"},
        "elastic_beanstalk": {"environment_name": "e", "version_label": "v", "deployment_id": 32},
        "xray": {"sdk": "s", "sdk_version": "1"},
    },
    "error": False,
    "throttle": None,
    "fault": True,
    "in_progress": None,
    "cause": {
        "working_directory": "/",
        "paths": ["/"],
        "exceptions": [{"id": "1" * 16, "message": "m", "type": "t", "remote": False, "truncated": 0, "skipped": 1, "cause": "2" * 16}],
    },
    "annotations": {"a_1.b": "v" * 1000, "n": 1.5, "b": False},
    "metadata": {"default": {"any": [{}]}},
    **embedding(
        namespace="remote",
        http={"request": {"url": "u", "method": "GET", "traced": True}, "response": {"status": 200, "content_length": None}},
        aws={"operation": "o", "account_id": "1", "region": "r", "request_id": "i", "queue_url": "q", "table_name": "t"},
        sql={
            "connection_string": "c",
            "url": "u",
            "sanitized_query": "q",
            "database_type": "d",
            "database_version": "1",
            "preparation": "call",
        },
        precursor_ids=["1" * 16],
        cause="1" * 16,
    ),
}


def test_all_that_is_documented_is_taken_however_strict_x_ray_is() -> None:
    strict = Limits(old_trace_ids=True, full_traces=True, annotations=True, wrong_types=True)
    assert isinstance(parse(made(**_DOCUMENTED), NOW, strict), Segment)


def test_a_full_trace_takes_no_more_where_it_is_to_be_refused(tmp_path: Path) -> None:
    """The document that fills it is taken, in one call with what comes after or in another."""
    strict = State(tmp_path / "strict.duckdb", "us-east-1", Limits(full_traces=True))
    lenient = State(tmp_path / "lenient.duckdb", "us-east-1")
    large = {"default": {"pad": "x" * 64_000}}
    texts = [made(id=f"{number:016x}", metadata=large) for number in range(1, 13)]
    assert lenient.xray.segments.put(texts) == []
    for texts_of_a_call, refused in ((texts[:5], []), (texts[5:10], ["9", "a"]), (texts[10:], ["b", "c"])):
        rejected = strict.xray.segments.put(texts_of_a_call)
        assert [one.id for one in rejected] == [digit.zfill(16) for digit in refused]
        assert {one.code for one in rejected} <= {"InvalidSegment"}
    assert strict.xray.segments.put([made(trace_id=f"1-{int(NOW):08x}-{'b' * 24}")]) == []
    for state in (strict, lenient):
        (trace,) = state.xray.traces.batch([f"1-{int(NOW):08x}-{'a' * 24}"]).traces
        assert trace.limit_exceeded
        state.close()
