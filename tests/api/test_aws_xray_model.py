"""Every operation of X-Ray's service model with thousands of broken requests: refused in the protocol's form, and nothing stored.

The server is the application itself on waitress, in this process, so that its tables can be compared before and after.
"""

from __future__ import annotations

import http.client
import json
import logging
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import orjson
import pytest
import waitress
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from waitress import wasyncore

from localstack.aws.app import MAX_BODY, Application
from localstack.aws.signature import Verifier
from localstack.aws.state import State
from localstack.aws.xray.responses import UNSIGNED
from tests.api.aws_answers import check_answer, check_error, model
from tests.api.aws_clients import segment_id, trace_id
from tests.api.aws_requests import LAST, OPERATIONS, POLICY, Case, World, broken, odd_documents, valid
from tests.api.xray_story import request, rule
from tests.waiting import until

REGION = "us-east-1"
KEYS = Credentials("AKIAMODEL", "a secret")

#: What a protocol of AWS answers itself, where the operation's model has nothing better to say.
PROTOCOL = {"SerializationException", "ValidationException", "UnsupportedMediaTypeException"}


AUTHORIZATION = f"AWS4-HMAC-SHA256 Credential={KEYS.access_key}/20200101/{REGION}/xray/aws4_request, SignedHeaders=host, Signature=00"


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return orjson.loads(self.body)


class Server:
    """The local AWS on a port, with its tables in reach, and one connection that is kept open."""

    def __init__(self, folder: Path) -> None:
        self.state = State(folder / "aws.duckdb", REGION)
        verifier = Verifier(KEYS.access_key, KEYS.secret_key, REGION)
        self._server: Any = waitress.create_server(Application(self.state, verifier), host="127.0.0.1", port=0, threads=2)
        self._thread = threading.Thread(target=self._server.run, daemon=True)
        self._thread.start()
        self.port = int(self._server.effective_port)
        self.connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)

    def close(self) -> None:
        self.connection.close()
        # Waitress closes the file of a long answer when it sees that the client has gone, and not when it is told to close all.
        until(lambda: not self._server.active_channels, 10, "the end of the connections")
        self._server.trigger.pull_trigger(lambda: wasyncore.close_all(self._server._map))
        self._thread.join(30)
        self._server.task_dispatcher.shutdown()
        self.state.close()

    def send(
        self,
        path: str,
        body: bytes,
        method: str = "POST",
        service: str = "xray",
        keys: Credentials = KEYS,
        region: str = REGION,
        **headers: str,
    ) -> Answer:
        """One signed request; ``headers`` with _ for -."""
        named = {"Content-Type": "application/json"} | {name.replace("_", "-"): value for name, value in headers.items()}
        request = AWSRequest(method, f"http://127.0.0.1:{self.port}{path}", data=body, headers=named)
        SigV4Auth(keys, service, region).add_auth(request)
        return self.raw(method, path, body, dict(request.headers.items()))

    def raw(self, method: str, path: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        self.connection.request(method, path, body, dict(headers))
        answer = self.connection.getresponse()
        return Answer(answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read())

    def call(self, operation: str, members: Mapping[str, Any]) -> Any:
        answer = self.send(path_of(operation), json.dumps(members).encode())
        assert answer.status == 200, answer
        return check_answer(model("xray", operation), answer.status, answer.headers, answer.body)

    def tables(self) -> dict[str, list[Any]]:
        """Everything that is stored; what is derived of it is brought up to date first, so that a reader has nothing to derive."""
        self.state.xray.index.refresh()
        self.state.xray.insights.refresh()
        names = [row[0] for row in self.state.store.read("SELECT table_name FROM duckdb_tables() ORDER BY ALL")]
        return {name: self.state.store.read(f'SELECT * FROM "{name}" ORDER BY ALL') for name in names}


def path_of(operation: str) -> str:
    return str(model("xray", operation).http["requestUri"])


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("model"))
    yield server
    server.close()


@pytest.fixture(scope="module")
def world(server: Server) -> World:
    """Something of each kind that requests can name."""
    now = time.time()
    minute = now // 60 * 60
    trace = trace_id()
    documents = request(trace, now - 2)
    for ago in range(20, 2, -1):
        for second in range(20):
            start = minute - ago * 60 + second
            documents += request(trace_id(start), start, fault=ago < 5)
    for first in range(0, len(documents), 50):
        batch = [json.dumps(document) for document in documents[first : first + 50]]
        assert server.call("PutTraceSegments", {"TraceSegmentDocuments": batch}) == {"UnprocessedTraceSegments": []}
    insights = {"InsightsEnabled": True, "NotificationsEnabled": False}
    group = server.call("CreateGroup", {"GroupName": "model", "InsightsConfiguration": insights})["Group"]
    server.call("CreateSamplingRule", {"SamplingRule": rule("model", Priority=5)})
    server.call("PutResourcePolicy", {"PolicyName": "model", "PolicyDocument": POLICY})
    span = {"StartTime": now - 3600, "EndTime": now}
    found = server.call("GetInsightSummaries", {"GroupName": "model"} | span)
    retrieval = server.call("StartTraceRetrieval", {"TraceIds": [trace]} | span)
    return World(
        trace, "model", group["GroupARN"], "model", "model", retrieval["RetrievalToken"], found["InsightSummaries"][0]["InsightId"]
    )


IN_ORDER = sorted(OPERATIONS, key=lambda name: (name in LAST, name))


@pytest.mark.parametrize("operation", IN_ORDER)
def test_valid_requests_are_answered(server: Server, world: World, operation: str) -> None:
    """What is broken below is broken by the one thing that was changed."""
    if operation in LAST:
        return
    for which in (0, 1):
        members = valid(operation, world)[which]
        answer = server.send(path_of(operation), json.dumps(members).encode())
        check_answer(model("xray", operation), answer.status, answer.headers, answer.body)
        assert answer.status == 200, (members, answer.body)


@pytest.mark.parametrize("operation", IN_ORDER)
def test_broken_requests_are_refused_and_nothing_is_stored(
    server: Server, world: World, operation: str, caplog: pytest.LogCaptureFixture
) -> None:
    shapes = model("xray", operation)
    path = path_of(operation)
    modelled = {shape.name for shape in shapes.error_shapes}
    cases = list(broken(operation, world))
    before = server.tables()
    wrong = []

    def attempt(case: Case) -> None:
        headers: Any = {name.replace("-", "_"): value for name, value in case.headers}
        answer = server.send(path, case.body, **headers)
        try:
            check_answer(shapes, answer.status, answer.headers, answer.body)
            if case.refused or answer.status != 200:
                assert 400 <= answer.status < 500, answer
                code = check_error(shapes, answer.status, answer.headers, answer.json)
                assert code in modelled | PROTOCOL, answer
        except AssertionError as error:
            wrong.append(f"{case.what}: {str(error).splitlines()[0][:300]}")

    with caplog.at_level(logging.ERROR):
        for case in cases:
            if case.refused:
                attempt(case)
        assert server.tables() == before or wrong
        for case in cases:
            if not case.refused:
                attempt(case)
    assert not wrong, f"{len(wrong)} of {len(cases)}:\n" + "\n".join(wrong)
    assert not caplog.records
    server.call("GetEncryptionConfig", {})


# -- what documents may hold

EXPRESSIONS = (
    'service("odd") { fault }',
    'edge("odd", "called")',
    "http.status >= 0 OR responsetime > 0.01 OR duration < 5",
    'annotation.key = "value" OR annotation.key > 1 OR annotation.key = true OR annotation.a BEGINSWITH "x"',
    'user = "ada" OR http.url CONTAINS "odd" OR http.method = "GET" OR http.clientip = "0" OR http.useragent = "a"',
    'rootcause.fault.entity { name = "odd" } OR rootcause.fault.service { name = "odd" }',
    'availabilityzone = "a" OR instance.id = "a" OR resource.arn = "a"',
)


def test_odd_documents_are_refused_or_read_like_any_other(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    """Whatever a field holds: the document comes back as unprocessed, or everything that reads it answers by the service model."""
    now = time.time()
    documents = list(odd_documents(now - 1))
    stored: list[str] = []
    with caplog.at_level(logging.ERROR):
        for first in range(0, len(documents), 50):
            batch = documents[first : first + 50]
            refused = server.call("PutTraceSegments", {"TraceSegmentDocuments": batch})["UnprocessedTraceSegments"]
            assert all(entry["ErrorCode"] and entry["Message"] for entry in refused)
            stored += [json.loads(document)["trace_id"] for document in batch]
        traces = [trace for trace in stored if isinstance(trace, str) and len(trace) == 35]
        span = {"StartTime": now - 60, "EndTime": now + 60}
        pages(server, "GetTraceSummaries", span)
        # What chooses traces looks at all of them for the first page.
        for by in ("Event", "Service"):
            server.call("GetTraceSummaries", span | {"TimeRangeType": by})
        server.call("GetTraceSummaries", span | {"FilterExpression": " OR ".join(f"({one})" for one in EXPRESSIONS)})
        for first in range(0, len(traces), 5):
            pages(server, "BatchGetTraces", {"TraceIds": traces[first : first + 5]})
        pages(server, "GetServiceGraph", span)
        pages(server, "GetTraceGraph", {"TraceIds": traces[:200]})
        for selector in ('service("odd")', 'edge("odd", "called")'):
            pages(server, "GetTimeSeriesServiceStatistics", span | {"EntitySelectorExpression": selector})
        server.call("GetInsightSummaries", span | {"GroupName": "Default"})
        some = traces[::10]
        for first in range(0, len(some), 100):
            token = server.call("StartTraceRetrieval", {"TraceIds": some[first : first + 100]} | span)
            until(partial(retrieved, server, token), 10, "the retrieval")
            for form in ("XRAY", "OTEL"):
                pages(server, "ListRetrievedTraces", token | {"TraceFormat": form})
            pages(server, "GetRetrievedTracesGraph", token)
    assert not caplog.records


def retrieved(server: Server, token: Mapping[str, str]) -> bool:
    return bool(server.call("ListRetrievedTraces", token)["RetrievalStatus"] == "COMPLETE")


def pages(server: Server, operation: str, members: Mapping[str, Any]) -> None:
    answer = server.call(operation, members)
    while "NextToken" in answer:
        answer = server.call(operation, {**members, "NextToken": answer["NextToken"]})


# -- the front door, for every operation


def refused_everywhere(answer: Answer, status: int, code: str) -> None:
    assert (answer.status, answer.headers.get("x-amzn-errortype")) == (status, code), answer
    assert answer.headers["x-amzn-requestid"]


def test_only_a_well_signed_post_gets_in(server: Server, world: World) -> None:
    before = server.tables()
    for operation in OPERATIONS:
        path, body = path_of(operation), json.dumps(valid(operation, world)[1]).encode()
        if operation not in UNSIGNED:
            refused_everywhere(server.raw("POST", path, body, {}), 403, "MissingAuthenticationTokenException")
        nobody = Credentials("AKIANOBODY", KEYS.secret_key)
        refused_everywhere(server.send(path, body, keys=nobody), 403, "UnrecognizedClientException")
        refused_everywhere(server.send(path, body, keys=Credentials(KEYS.access_key, "wrong")), 403, "InvalidSignatureException")
        refused_everywhere(server.send(path, body, region="eu-west-1"), 403, "InvalidSignatureException")
        stale = {"X-Amz-Date": "20200101T000000Z", "Authorization": AUTHORIZATION}
        refused_everywhere(server.raw("POST", path, body, stale), 403, "InvalidSignatureException")
        for method in ("GET", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD"):
            answer = server.send(path, body, method=method)
            refused_everywhere(answer, 404, "UnknownOperationException")
            assert bool(answer.body) == (method != "HEAD")
        for wrong in (path + "/", path.lower() + "x", path + "%00"):
            refused_everywhere(server.send(wrong, body), 404, "UnknownOperationException")
        answer = server.send(path, body, service="logs")
        assert (answer.status, answer.json["__type"]) == (404, "UnknownOperationException")
    assert server.tables() == before


def test_a_body_that_is_too_large_is_refused(server: Server) -> None:
    body = b'{"TraceSegmentDocuments": ["' + b"x" * MAX_BODY + b'"]}'
    refused_everywhere(server.send("/TraceSegments", body), 413, "RequestEntityTooLargeException")
    server.call("GetEncryptionConfig", {})


def test_what_does_not_fit_into_memory_is_a_503_and_does_no_harm(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """With a filter that joins most tables, in a database that is left hardly any memory for it."""
    server = Server(tmp_path)
    try:
        answer, again = answers_of_little_memory(server)
    finally:
        server.close()
    refused_everywhere(answer, 503, "ServiceUnavailableException")
    assert "shorter time range" in answer.json["message"]
    assert [(record.levelname, record.exc_info) for record in caplog.records] == [("WARNING", None)]
    assert again["TraceSummaries"]


def answers_of_little_memory(server: Server) -> tuple[Answer, Any]:
    """What the same query is answered with too little memory, and then with enough."""
    now = time.time()
    keys = {f"k{number}": number for number in range(20)}
    documents = [
        json.dumps({"name": "x" * 200, "id": segment_id(), "trace_id": trace_id(), "start_time": now, "end_time": now, "annotations": keys})
        for _ in range(2000)
    ]
    for first in range(0, len(documents), 50):
        server.call("PutTraceSegments", {"TraceSegmentDocuments": documents[first : first + 50]})
    expression = " OR ".join(['service("x")', "edge()", 'name = "x"', *(f"annotation.{key}" for key in keys)])
    members = {"StartTime": now - 60, "EndTime": now + 1, "FilterExpression": expression}
    server.state.xray.index.refresh()
    ((limit,),) = server.state.store.read("SELECT current_setting('memory_limit')")
    server.state.store.cursor().execute("SET memory_limit = '6MB'")
    try:
        answer = server.send("/TraceSummaries", json.dumps(members).encode())
    finally:
        server.state.store.cursor().execute(f"SET memory_limit = '{limit}'")
    return answer, server.call("GetTraceSummaries", members)


@pytest.mark.parametrize(
    "kind",
    ["", "application/json; charset=utf-8", "application/x-amz-json-1.1", "application/octet-stream", "application/x-www-form-urlencoded"],
)
def test_a_client_that_does_not_say_that_it_sends_json_is_understood(server: Server, kind: str) -> None:
    assert server.send("/GetSamplingRules", b"{}", Content_Type=kind).status == 200
    assert server.raw("POST", "/GetSamplingRules", b"{}", {"Content-Type": kind}).status == 200
    assert server.raw("POST", "/GetSamplingRules", b"", {}).status == 200
