"""OTLP spans as segment documents, segment documents as span documents, stack traces: pure functions.

What the Collector's exporter makes of a span is held against the real one in the system tests; here is what is ours, and what
must hold for every span.
"""

from __future__ import annotations

import json
import secrets
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from localstack.aws.xray.segments import validation
from localstack.aws.xray.spans import conversion, stacktraces
from localstack.aws.xray.spans.documents import attributes_of, of_segment, of_span
from tests.api.xray_otlp import attributes, new_trace, span

NOW = time.time()


def documents(sent: Span, **resource: Any) -> list[dict[str, Any]]:
    return conversion.documents(of_span(sent, {"service.name": "Cruddur"} | resource, {}))


def document(sent: Span, **resource: Any) -> dict[str, Any]:
    (found,) = documents(sent, **resource)
    return found


def client_span(**own: Any) -> Span:
    return span(new_trace(), "GET", kind=Span.SPAN_KIND_CLIENT, parent=span(new_trace()), attributes=own)


# -- names


@pytest.mark.parametrize(
    ("own", "name"),
    [
        ({"server.address": "db.example.com", "server.port": 5432}, "db.example.com"),
        ({"db.system.name": "postgresql", "db.namespace": "cruddur", "server.address": "db"}, "cruddur@db"),
        ({"db.name": "a", "db.connection_string": "http://[broken"}, "a"),
        ({"peer.service": "what? {is} this!"}, "what is this"),
        ({"peer.service": "ü" * 300}, "ü" * 200),
        ({"peer.service": 5}, "GET"),
        ({"peer.service": "???"}, "span"),
    ],
)
def test_names_of_calls(own: dict[str, Any], name: str) -> None:
    assert document(client_span(**own))["name"] == name


def test_a_host_that_has_its_port_gets_no_second_one() -> None:
    own = {"http.request.method": "GET", "url.scheme": "http", "url.path": "/a", "server.address": "cruddur:4567", "server.port": 4567}
    assert document(span(new_trace(), attributes=own))["http"]["request"]["url"] == "http://cruddur:4567/a"


def test_attributes_of_a_call_that_is_not_http_stay_metadata() -> None:
    found = document(client_span(**{"server.address": "cache", "server.port": 6379}))
    assert "http" not in found
    assert found["metadata"]["default"] == {"server.address": "cache", "server.port": 6379}


def test_current_database_conventions_make_an_sql_block() -> None:
    own = {"db.system.name": "postgresql", "db.namespace": "cruddur", "db.query.text": "SELECT ?", "server.address": "db"}
    found = document(client_span(**own))
    assert found["sql"] == {"url": "GET", "connection_string": "db/cruddur", "database_type": "postgresql", "sanitized_query": "SELECT ?"}


# -- outcome


@pytest.mark.parametrize(
    ("status", "code", "flags"),
    [
        (200, Status.STATUS_CODE_UNSET, set()),
        (404, Status.STATUS_CODE_ERROR, {"error"}),
        (429, Status.STATUS_CODE_UNSET, {"error", "throttle"}),
        (500, Status.STATUS_CODE_UNSET, {"fault"}),
        (None, Status.STATUS_CODE_ERROR, {"fault"}),
        (302, Status.STATUS_CODE_ERROR, {"fault"}),
        ("500", Status.STATUS_CODE_OK, set()),
    ],
)
def test_the_outcome_is_the_http_statuss_else_the_spans(status: Any, code: Any, flags: set[str]) -> None:
    sent = span(new_trace(), attributes={} if status is None else {"http.response.status_code": status})
    sent.status.code = code
    assert {flag for flag in ("error", "fault", "throttle") if document(sent).get(flag)} == flags


def test_the_same_span_is_the_same_document_each_time() -> None:
    sent = client_span(**{"aws.span.kind": "LOCAL_ROOT", "aws.local.service": "Worker"})
    sent.events.add(name="exception", attributes=attributes({"exception.type": "Boom"}))
    assert documents(sent) == documents(sent)
    assert len({one["id"] for one in documents(sent)}) == 2


# -- every span

_names = st.sampled_from(
    [
        *("http.method", "http.request.method", "http.status_code", "http.response.status_code", "http.url", "url.full", "url.path"),
        *("http.host", "net.peer.ip", "client.address", "network.peer.address", "server.address", "server.port", "net.host.port"),
        *("db.system", "db.name", "db.connection_string", "db.namespace", "rpc.system", "rpc.service", "rpc.method", "peer.service"),
        *("aws.span.kind", "aws.local.service", "aws.remote.service", "aws.dynamodb.table_names", "aws.queue_url", "enduser.id"),
        *("aws.xray.annotations", "aws.xray.metadata.x", "aws.xray.metadata.default", "messaging.message_payload_size_bytes", "any"),
        *("cloud.provider", "cloud.platform", "service.version", "service.instance.id", "host.id", "aws.log.group.names"),
        *("telemetry.sdk.language", "telemetry.sdk.name", "exception.stacktrace", "exception.type", "message.type"),
    ]
)
_words = st.sampled_from(
    ["aws", "aws-api", "LOCAL_ROOT", "postgresql", "aws_ecs", "aws_elastic_beanstalk", "python", "RECEIVED", "{}", "[1]"]
)
_values = st.one_of(_words, st.text(), st.integers(-(2**63), 2**63 - 1), st.booleans(), st.floats(), st.lists(st.text(), max_size=3))
_attributes = st.dictionaries(_names, _values, max_size=8)


@given(_attributes, _attributes, _attributes, st.integers(0, 5), st.booleans(), st.text(), st.integers(0, 2), st.integers(0, 2**64 - 1))
def test_any_span_makes_valid_segments(
    own: dict[str, Any], resource: dict[str, Any], said: dict[str, Any], kind: Any, child: bool, name: str, status: Any, end: int
) -> None:
    sent = span(new_trace(), name, kind=kind, attributes=own, end_time_unix_nano=end)
    if child:
        sent.parent_span_id = secrets.token_bytes(8)
    sent.status.code = status
    sent.events.add(name="exception", attributes=attributes(said))
    sent.links.add(trace_id=b"\1" * 16, span_id=b"\2" * 8, attributes=attributes(said))
    for made in conversion.documents(of_span(sent, attributes_of(attributes(resource)), {})):
        assert isinstance(validation.parse(json.dumps(made), NOW), validation.Segment)
        assert "in_progress" not in made
        # And back: a span for each.
        (back,) = of_segment(json.loads(json.dumps(made)))
        assert (back["spanId"], back["traceId"], back["name"]) == (made["id"], sent.trace_id.hex(), made["name"])


# -- segment documents as spans


@pytest.mark.parametrize(
    "key", ["http", "sql", "aws", "annotations", "metadata", "cause", "links", "subsegments", "user", "origin", "service"]
)
@pytest.mark.parametrize(
    "odd", [None, 5, "text", ["text"], [], {}, {"exceptions": "x"}, {"exceptions": [5]}, {"request": 5}, {"a": {"b": []}}]
)
def test_a_segment_of_odd_blocks_is_a_span_all_the_same(key: str, odd: Any) -> None:
    fields = {"name": "a", "id": "Ab" * 8, "trace_id": "1-6b02ee0b-" + "0" * 24, "start_time": 1, "end_time": 2, key: odd}
    (found,) = of_segment(fields)
    assert (found["spanId"], found["durationNano"]) == ("ab" * 8, 10**9)
    json.dumps(found)


# -- stack traces


def test_go() -> None:
    text = "goroutine 1 [running]:\nmain.buy(0x1, 0x2)\n\t/srv/shop.go:12 +0x1d\nmain.main()\n\t/srv/main.go:3 +0x20\n"
    (raised,) = stacktraces.parse("go", text)
    assert raised.stack == [
        {"path": "/srv/shop.go", "line": 12, "label": "main.buy"},
        {"path": "/srv/main.go", "line": 3, "label": "main.main"},
    ]


def test_a_direct_cause_of_python() -> None:
    text = (
        'Traceback (most recent call last):\n  File "a.py", line 1, in f\n    1 / 0\n    ~~^~~\nZeroDivisionError: division by zero\n\n'
        "The above exception was the direct cause of the following exception:\n\n"
        'Traceback (most recent call last):\n  File "b.py", line 2, in g\n    f()\nRuntimeError: it broke\nover two lines\n'
    )
    raised, cause = stacktraces.parse("python", text)
    assert (raised.type, raised.stack) == (None, [{"path": "b.py", "line": 2, "label": "g"}])
    assert (cause.type, cause.message, cause.stack) == (
        "ZeroDivisionError",
        "division by zero",
        [{"path": "a.py", "line": 1, "label": "f"}],
    )


def test_a_language_nobody_knows_has_no_frames() -> None:
    assert stacktraces.parse("cobol", "anything") == [stacktraces.Raised()]


@pytest.mark.parametrize("language", ["python", "java", "php", "nodejs", "dotnet", "go"])
@given(text=st.text(st.sampled_from('\n\t ()":/at in line FileCaused by123.,')))
def test_no_text_is_too_odd(language: str, text: str) -> None:
    for raised in stacktraces.parse(language, text):
        assert all(isinstance(frame["line"], int) for frame in raised.stack)


@pytest.mark.parametrize("language", ["python", "java", "nodejs", "dotnet", "go"])
@pytest.mark.parametrize("unit", ["   at  in ", "    at (", ":1", "\n\t", '  File "', "((((", "Caused by: \n"])
def test_the_largest_of_hostile_texts_is_read(language: str, unit: str) -> None:
    """As long as a span may be; where the work grew with the square of it, this would not end."""
    found = stacktraces.parse(language, unit * (200_000 // len(unit)))
    assert all(len(raised.stack) <= stacktraces.MAX_FRAMES for raised in found)
