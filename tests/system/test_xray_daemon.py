"""The X-Ray daemon's role, played by the Collector's awsxray receiver: what it takes, what it changes, what it survives."""

from __future__ import annotations

import json
import os
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import flask.templating
import pytest
from aws_xray_sdk.core.recorder import AWSXRayRecorder
from aws_xray_sdk.ext.flask.middleware import XRayMiddleware
from flask import Flask
from flask.testing import FlaskClient

from services.telemetry.xray_emitter import Emitter
from tests.topology import Topology, segment, topology
from tests.waiting import until


@pytest.fixture
def parts(tmp_path: Path) -> Iterator[Topology]:
    with topology(tmp_path) as made:
        yield made


def _equals(measure: Callable[[], float], value: float) -> bool:
    return measure() == value


def test_segments_the_daemon_took_before_sigkill_arrive_after_it(parts: Topology) -> None:
    parts.daemon.start()
    documents = [segment() for _ in range(300)]

    def taken() -> float:
        return parts.daemon.metric("otelcol_exporter_queue_size", exporter="otlp_grpc/xray_hop")

    for first in range(0, 300, 50):  # UDP has no flow control: do not outrun the socket's buffer.
        for document in documents[first : first + 50]:
            parts.send_segment(document)
        until(partial(_equals, taken, first + 50), 10, f"{first + 50} segments in the daemon's queue")
    parts.daemon.kill()

    parts.daemon.start()
    parts.aws.start()
    until(lambda: set(parts.aws.segment_ids()) == {document["id"] for document in documents}, 60, "300 segments at X-Ray")
    for document in parts.aws.documents:
        assert document["name"] == "Cruddur"
        assert document["annotations"] == {"run": "r1"}
        assert "X-Ray for Python" in document["aws"]["xray"]["sdk"]


def test_sdk_segments_keep_names_annotations_metadata_and_their_marker(parts: Topology) -> None:
    parts.daemon.start()
    parts.aws.start()
    recorder = AWSXRayRecorder()
    recorder.configure(service="Cruddur", sampling=False, daemon_address=f"127.0.0.1:{parts.environment['XRAY_DAEMON_PORT']}")
    with closing(recorder.emitter._socket):  # The SDK never closes it.
        segment = recorder.begin_segment("Cruddur")
        segment.put_annotation("run", "r1")
        with recorder.in_subsegment("UserData") as subsegment:
            subsegment.put_annotation("handle", "andrew")
            subsegment.put_metadata("username", "andrew")
            subsegment.put_metadata("extra", {"a": 1}, "cruddur")
        with pytest.raises(RuntimeError), recorder.in_subsegment("failing"):
            raise RuntimeError("asked for")
        recorder.end_segment()

    until(lambda: len(parts.aws.documents) == 3, 10, "a segment and two subsegments at X-Ray")
    found = {document["name"]: document for document in parts.aws.documents}
    root, user_data, failing = found["Cruddur"], found["UserData"], found["failing"]
    assert root["annotations"] == {"run": "r1"}
    assert "type" not in root
    assert user_data["annotations"] == {"handle": "andrew"}
    assert user_data["metadata"] == {"default": {"username": "andrew"}, "cruddur": {"extra": {"a": 1}}}
    assert {user_data["type"], failing["type"]} == {"subsegment"}
    assert {user_data["parent_id"], failing["parent_id"]} == {root["id"]}
    assert failing["cause"]["exceptions"][0]["message"] == "asked for"
    for document in found.values():
        assert document["trace_id"] == segment.trace_id
        assert document["aws"]["xray"]["sdk"].startswith("X-Ray for Python")


def test_the_daemon_signs_and_forwards_what_comes_over_tcp(parts: Topology) -> None:
    parts.aws.start()
    parts.daemon.start()
    url = f"http://127.0.0.1:{parts.environment['XRAY_DAEMON_PORT']}/GetSamplingRules"
    with urllib.request.urlopen(urllib.request.Request(url, data=b"{}", method="POST"), timeout=10) as answer:
        assert json.load(answer) == {"SamplingRuleRecords": []}
    assert "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/" in parts.aws.headers[0]["authorization"]
    assert "/us-east-1/xray/aws4_request" in parts.aws.headers[0]["authorization"]


# --- What the role changes (docs/xray-daemon.md) ------------------------------------------------------------------


def sent(parts: Topology, *documents: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Send documents to the role; what comes out at X-Ray by the id, embedded subsegments included."""

    def ids(document: dict[str, Any]) -> set[str]:
        return {document["id"]}.union(*(ids(inner) for inner in document.get("subsegments", [])))

    wanted = set().union(*(ids(document) for document in documents))
    for document in documents:
        parts.send_segment(document)
    until(lambda: wanted <= set(parts.aws.segment_ids()), 10, f"{len(wanted)} documents at X-Ray")
    return {document["id"]: document for document in parts.aws.documents}


def independent(**fields: Any) -> dict[str, Any]:
    """A subsegment sent on its own."""
    return segment() | {"type": "subsegment", "parent_id": "1" * 16} | fields


EXCEPTION = {"id": "a" * 16, "message": "m", "type": "T", "remote": False, "stack": [{"path": "f.py", "line": 12, "label": "fn"}]}


def test_what_the_role_keeps_of_a_segment_and_what_it_changes(parts: Topology) -> None:
    parts.daemon.start()
    parts.aws.start()
    document = segment() | {
        "user": "ada",
        "parent_id": "2" * 16,
        "origin": "AWS::ECS::Container",
        "resource_arn": "arn:aws:x",
        "service": {"version": "1.2", "runtime": "CPython"},
        "http": {
            "request": {"method": "GET", "url": "http://h/x", "user_agent": "ua", "client_ip": "10.0.0.1", "x_forwarded_for": True},
            "response": {"status": 404, "content_length": 123},
        },
        "error": True,
        "annotations": {"i": 20, "f": 1.5, "b": True, "s": "x"},
        "metadata": {"default": {"a": 1}, "ns": {"k": {"deep": [1, 2]}}},
        "aws": {"xray": {"sdk": "X-Ray for Python", "sdk_version": "2.15.0", "sampling_rule_name": "Cruddur"}},
        "unknown": "y",
    }
    found = sent(parts, document)[document["id"]]
    kept = ("id", "trace_id", "parent_id", "name", "start_time", "end_time", "user", "annotations", "error")
    assert {name: found[name] for name in kept} == {name: document[name] for name in kept}
    assert found["http"]["request"] == document["http"]["request"]
    assert found["metadata"]["ns"] == document["metadata"]["ns"]
    assert found["metadata"]["default"]["a"] == 1

    assert found["http"]["response"] == {"status": 404, "content_length": 0}
    assert (found["fault"], found["throttle"]) == (False, False), "flags are written out"
    assert found["service"] == {"version": "1.2"}
    assert found["aws"] == {"xray": {"sdk": "X-Ray for Python", "sdk_version": "2.15.0", "auto_instrumentation": False}}
    assert not {"origin", "resource_arn", "unknown"} & set(found)
    assert set(found["metadata"]["default"]) - {"a"} == {
        "aws.xray.x_forwarded_for",
        "http.response_content_length",
        "otel.resource.aws.xray.resource_arn",
        *(f"otel.resource.{name}" for name in ("cloud.provider", "service.name", "service.version")),
        *(f"otel.resource.telemetry.sdk.{name}" for name in ("name", "version")),
    }


def test_faults_come_from_the_status_or_an_exception_and_not_from_the_flag(parts: Topology) -> None:
    parts.daemon.start()
    parts.aws.start()
    flag = segment() | {"fault": True}
    cause = segment() | {"fault": True, "cause": {"working_directory": "/x", "exceptions": [EXCEPTION]}}
    status = segment() | {"fault": True, "http": {"request": {}, "response": {"status": 503}}}
    throttle = segment() | {"throttle": True, "error": True, "http": {"request": {}, "response": {"status": 429}}}
    progress = {name: value for name, value in segment().items() if name != "end_time"} | {"in_progress": True}
    found = sent(parts, flag, cause, status, throttle, progress)
    assert [found[one["id"]]["fault"] for one in (flag, cause, status)] == [False, True, True]
    assert (found[throttle["id"]]["throttle"], found[throttle["id"]]["error"]) == (True, True)
    assert found[progress["id"]]["in_progress"]
    assert "end_time" not in found[progress["id"]]
    (exception,) = found[cause["id"]]["cause"]["exceptions"]
    assert exception["id"] != EXCEPTION["id"]
    assert exception["stack"] == [{"path": "f.py", "line": 0, "label": "fn"}]
    assert (exception["message"], exception["type"]) == ("m", "T")


def test_embedded_subsegments_become_documents_and_keep_their_stacks_and_statements(parts: Topology) -> None:
    parts.daemon.start()
    parts.aws.start()
    times = {name: value for name, value in segment().items() if name.endswith("_time")}
    inner = {"id": "4" * 16, "name": "inner", "metadata": {"n": {"a": 1}}, **times}
    outer = {"id": "3" * 16, "name": "outer", "fault": True, "cause": {"exceptions": [EXCEPTION]}, "subsegments": [inner], **times}
    root = segment() | {"subsegments": [outer]}
    sql = independent(
        namespace="remote",
        sql={"url": "postgresql://h:5432/db", "sanitized_query": "SELECT 1", "database_type": "PostgreSQL", "user": "bob"},
    )
    remote = independent(
        namespace="remote",
        name="api.example.com",
        http={"request": {"method": "GET", "url": "http://api.example.com/"}, "response": {"status": 500}},
    )
    found = sent(parts, root, sql, remote)
    for one, parent in (("3" * 16, root["id"]), ("4" * 16, "3" * 16)):
        assert (found[one]["type"], found[one]["parent_id"], found[one]["trace_id"]) == ("subsegment", parent, root["trace_id"])
    assert found["4" * 16]["metadata"] == {"n": {"a": 1}}
    assert found["3" * 16]["cause"]["exceptions"][0]["stack"] == [{"path": "f.py", "line": 0, "label": "fn"}]
    statement = found[sql["id"]]["sql"]
    assert (statement["sanitized_query"], statement["database_type"], statement["user"]) == ("SELECT 1", "postgresql", "bob")
    assert (found[remote["id"]]["namespace"], found[remote["id"]]["name"], found[remote["id"]]["fault"]) == (
        "remote",
        "api.example.com",
        True,
    )


# --- What it survives ---------------------------------------------------------------------------------------------

HEADER = b'{"format": "json", "version": 1}\n'


def _document(**fields: Any) -> bytes:
    return json.dumps({name: value for name, value in (segment() | fields).items() if value is not None}).encode()


def test_datagrams_that_are_no_segment_are_logged_and_it_goes_on(parts: Topology) -> None:
    parts.daemon.start()
    parts.aws.start()
    assert parts.daemon.running is not None
    pid = parts.daemon.running.pid
    malformed = [
        b"",
        b"\n",
        os.urandom(500),
        _document(),
        b'{"format": "xml", "version": 1}\n' + _document(),
        b'{"format": "json", "version": 2}\n' + _document(),
        HEADER,
        HEADER + b"{not json",
        HEADER + b"[1]",
        HEADER + _document() + b"\n" + _document(),
        HEADER + _document(name=None),
        HEADER + _document(id=None),
        HEADER + _document(id="xyz"),
        HEADER + _document(trace_id="1-2-3"),
        HEADER + _document(start_time="now"),
        # The daemon would send these on; the receiver wants an object in each namespace, and no ids of subsegments.
        HEADER + _document(metadata={"default": "text"}),
        HEADER + _document(subsegments=["3" * 16]),
    ]
    largest = HEADER + _document(metadata={"default": {"a": "x" * 65_000}})
    largest += b" " * (65_507 - len(largest))
    last = segment()
    address = ("127.0.0.1", int(parts.environment["XRAY_DAEMON_PORT"]))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        for payload in (*malformed, largest):
            udp.sendto(payload, address)
        with pytest.raises(OSError, match="Message too long"):
            udp.sendto(largest + b" ", address)
    parts.send_segment(last)
    until(lambda: len(parts.aws.documents) >= 2, 10, "the two good segments")
    assert {document["id"] for document in parts.aws.documents} == {json.loads(largest.split(b"\n", 1)[1])["id"], last["id"]}

    def told() -> int:
        words = ("Failed to split segment header and body", "Missing body", "X-Ray segment to OT traces conversion failed")
        return sum(parts.daemon.log.read_text().count(f"\t{word}\t") for word in words)

    until(lambda: told() == len(malformed), 10, f"{len(malformed)} lines in the log")
    assert parts.daemon.running.poll() is None
    assert parts.daemon.running.pid == pid


@pytest.mark.parametrize(
    "fields",
    [
        {"cause": {"exceptions": [{"message": "no id"}]}},
        {"subsegments": [{"id": "3" * 16, "start_time": 1.0, "end_time": 2.0}]},
        {"subsegments": [{"id": "3" * 16, "name": "no start", "end_time": 2.0}]},
    ],
    ids=["exception without id", "subsegment without name", "subsegment without start_time"],
)
def test_what_ends_the_receiver_costs_nothing_it_had_taken(parts: Topology, fields: dict[str, Any]) -> None:
    """Defects of the receiver at v0.152. Where a later version has one less, docs/xray-daemon.md is out of date."""
    parts.daemon.start()
    before = segment()
    parts.send_segment(before)
    until(lambda: parts.daemon.metric("otelcol_exporter_queue_size", exporter="otlp_grpc/xray_hop") == 1, 10, "the segment in the queue")
    parts.send_segment(segment() | fields)
    assert parts.daemon.running is not None
    assert parts.daemon.running.wait(10) == 2
    parts.daemon.start()
    parts.aws.start()
    until(lambda: parts.aws.documents, 20, "the segment at X-Ray")
    assert [document["id"] for document in parts.aws.documents] == [before["id"]]


# --- Segments that are too large ----------------------------------------------------------------------------------


@dataclass
class Application:
    """A Flask application whose segments go through the real SDK and our emitter to the daemon's role."""

    emitter: Emitter
    client: FlaskClient
    #: What the view does with the recorder while the segment is open.
    work: list[Callable[[AWSXRayRecorder], None]]

    def request(self, work: Callable[[AWSXRayRecorder], None]) -> str:
        """One request; the trace's id."""
        self.work[:] = [work]
        trace_id = f"1-{int(time.time()):08x}-{os.urandom(12).hex()}"
        assert self.client.get("/large", headers={"X-Amzn-Trace-Id": f"Root={trace_id};Sampled=1"}).status_code == 200
        return trace_id


@pytest.fixture
def application(parts: Topology, monkeypatch: pytest.MonkeyPatch) -> Iterator[Application]:
    # The middleware replaces how Flask renders templates, for every application of this process and for good.
    monkeypatch.setattr(flask.templating, "_render", flask.templating._render)
    parts.daemon.start()
    parts.aws.start()
    recorder, emitter = AWSXRayRecorder(), Emitter()
    recorder.emitter._socket.close()
    recorder.configure(
        service="Cruddur", sampling=True, emitter=emitter, daemon_address=f"127.0.0.1:{parts.environment['XRAY_DAEMON_PORT']}"
    )
    app = Flask("cruddur")
    XRayMiddleware(app, recorder)
    made = Application(emitter, app.test_client(), [])

    @app.get("/<name>")
    def view(name: str) -> str:
        for work in made.work:
            work(recorder)
        return name

    with closing(emitter._socket):
        yield made


def test_a_segment_that_is_too_large_is_sent_in_parts(application: Application, parts: Topology, caplog: pytest.LogCaptureFixture) -> None:
    def work(recorder: AWSXRayRecorder) -> None:
        for number in range(3):
            with recorder.in_subsegment(f"part{number}") as outer:
                outer.put_metadata("text", "x" * 30_000)
                with recorder.in_subsegment(f"inner{number}"):
                    pass

    trace_id = application.request(work)
    until(lambda: len(parts.aws.documents) == 7, 10, "a segment and six subsegments")
    found = {document["name"]: document for document in parts.aws.documents}
    assert {document["trace_id"] for document in found.values()} == {trace_id}
    for number in range(3):
        assert found[f"part{number}"]["metadata"]["default"]["text"] == "x" * 30_000
        assert found[f"part{number}"]["parent_id"] == found["Cruddur"]["id"]
        assert found[f"inner{number}"]["parent_id"] == found[f"part{number}"]["id"]
    (line,) = (record.getMessage() for record in caplog.records if record.name == "services.telemetry.xray_emitter")
    assert line.startswith(f"X-Ray: GET /<name>, trace {trace_id}: segment Cruddur has 9")
    assert line.endswith("Its 3 subsegments were sent on their own; nothing is lost")
    tally = application.emitter.tally
    assert (tally.accepted, tally.delivered, tally.given_up) == (4, 4, 0)


def test_a_fault_set_by_hand_arrives(application: Application, parts: Topology) -> None:
    """The receiver drops the flag of a segment without cause or HTTP status of one; the services' emitter accounts for it."""

    def work(recorder: AWSXRayRecorder) -> None:
        recorder.current_segment().add_fault_flag()
        with recorder.in_subsegment("outer"), recorder.in_subsegment("inner") as inner:
            inner.add_fault_flag()

    application.request(work)
    until(lambda: len(parts.aws.documents) == 3, 10, "a segment and two subsegments")
    found = {document["name"]: document for document in parts.aws.documents}
    assert {name: document["fault"] for name, document in found.items()} == {"Cruddur": True, "outer": False, "inner": True}
    assert found["Cruddur"]["http"]["response"]["status"] == 200
    assert not any("cause" in document for document in found.values())


def test_metadata_that_is_too_large_gives_way_and_the_segment_is_kept(
    application: Application, parts: Topology, caplog: pytest.LogCaptureFixture
) -> None:
    def work(recorder: AWSXRayRecorder) -> None:
        with recorder.in_subsegment("UserData") as subsegment:
            subsegment.put_annotation("handle", "andrew")
            subsegment.put_metadata("small", "kept", "cruddur")
            subsegment.put_metadata("feed", ["x" * 100] * 1_000, "cruddur")

    trace_id = application.request(work)
    until(lambda: len(parts.aws.documents) == 2, 10, "a segment and its subsegment")
    found = {document["name"]: document for document in parts.aws.documents}["UserData"]
    assert found["annotations"] == {"handle": "andrew"}
    assert found["metadata"]["cruddur"] == {"small": "kept", "feed": "left out, 103,001 bytes: the document was too large"}
    lines = [record.getMessage() for record in caplog.records if record.name == "services.telemetry.xray_emitter"]
    assert lines[0].startswith(f"X-Ray: GET /<name>, trace {trace_id}: subsegment UserData has 103,")
    assert lines[0].endswith("Left out of its metadata: cruddur.feed (103,001 bytes). Put less into metadata")
    assert application.emitter.trimmed == 1
    assert application.emitter.tally.given_up == 0


def test_what_cannot_be_made_small_enough_is_counted_and_named(
    application: Application, parts: Topology, caplog: pytest.LogCaptureFixture
) -> None:
    def work(recorder: AWSXRayRecorder) -> None:
        with recorder.in_subsegment("large") as subsegment:
            subsegment.put_annotation("text", "x" * 70_000)

    trace_id = application.request(work)
    until(lambda: len(parts.aws.documents) == 1, 10, "the segment")
    assert parts.aws.documents[0]["name"] == "Cruddur"
    (line,) = (record.getMessage() for record in caplog.records if record.levelname == "ERROR")
    assert line.startswith(f"X-Ray: GET /<name>, trace {trace_id}: subsegment large of 70,")
    tally = application.emitter.tally
    assert (tally.accepted, tally.delivered, tally.given_up) == (2, 1, 1)


def test_metadata_that_is_no_json_costs_its_document_and_not_the_request(
    application: Application, caplog: pytest.LogCaptureFixture
) -> None:
    def work(recorder: AWSXRayRecorder) -> None:
        recorder.current_segment().put_metadata("by_pair", {("a", "b"): 1})

    application.request(work)
    assert "segment Cruddur cannot be written as JSON" in caplog.text
    assert application.emitter.tally.given_up == 1
