"""The local X-Ray's OTLP endpoint beside the real Collector: its otlphttp exporter signs and sends, its awsxray exporter translates.

The same spans go both ways, to an X-Ray each, and must be the same segments there.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from collector.build import ensure_built
from tests.api.aws_clients import client, get_trace
from tests.api.servers import Vendor, start_vendor
from tests.api.xray_otlp import PROTOBUF, attributes, export, new_trace, span, to_cloudwatch_logs, xray_form
from tests.ports import free_port, listens
from tests.waiting import until

PYTHON_TRACE = """Traceback (most recent call last):
  File "/srv/db.py", line 9, in read
    raise KeyError("id")
KeyError: 'id'

During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File "/srv/app.py", line 3, in show
    read()
  File "/srv/app.py", line 7, in read
    raise ValueError("boom")
ValueError: boom
"""
JAVA_TRACE = """java.lang.IllegalStateException: boom
\tat java.base/com.example.Shop.buy(Shop.java:12)
\tat com.example.Main.main(Main.java)
Caused by: java.io.IOException: disk
\tat com.example.Disk.read(Disk.java:7)
\t... 2 more
"""
V8_TRACE = """Error: boom
    at buy (/srv/shop.js:12:5)
    at /srv/main.js:3:1
"""
DOTNET_TRACE = """System.Exception: boom
   at Shop.Buy(Int32 id) in /srv/Shop.cs:line 12
   at Shop.Main()
"""

SERVER, CLIENT, PRODUCER, CONSUMER, INTERNAL = (
    Span.SPAN_KIND_SERVER,
    Span.SPAN_KIND_CLIENT,
    Span.SPAN_KIND_PRODUCER,
    Span.SPAN_KIND_CONSUMER,
    Span.SPAN_KIND_INTERNAL,
)


class Pair:
    """A Collector that sends what it gets to two X-Rays: ``translated`` by awsxray, ``sent`` by otlphttp."""

    def __init__(self, url: str, translated: Vendor, sent: Vendor) -> None:
        self.url = url
        self.translated = client(translated, "xray")
        self.sent = client(sent, "xray")

    def export(self, request: ExportTraceServiceRequest) -> None:
        answer = requests.post(f"{self.url}/v1/traces", request.SerializeToString(), headers={"Content-Type": PROTOBUF}, timeout=30)
        assert answer.status_code == 200, answer.text


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    folder: Path = tmp_path_factory.mktemp("collector")
    port = free_port()
    with start_vendor("aws", folder / "translated") as translated, start_vendor("aws", folder / "sent") as sent:
        to_cloudwatch_logs(client(sent, "xray"), 100)
        region = sent.settings.aws_region
        configuration = {
            "receivers": {"otlp": {"protocols": {"http": {"endpoint": f"127.0.0.1:{port}"}}}},
            "exporters": {
                "awsxray": {"endpoint": translated.url, "region": region, "local_mode": True},
                "otlphttp": {"traces_endpoint": f"{sent.url}/v1/traces", "auth": {"authenticator": "sigv4auth"}},
            },
            "extensions": {"sigv4auth": {"region": region, "service": "xray"}},
            "service": {
                "extensions": ["sigv4auth"],
                "telemetry": {"metrics": {"level": "none"}},
                "pipelines": {"traces": {"receivers": ["otlp"], "exporters": ["awsxray", "otlphttp"]}},
            },
        }
        (folder / "collector.yaml").write_text(yaml.safe_dump(configuration))
        keys = {
            "AWS_ACCESS_KEY_ID": sent.settings.aws_access_key_id,
            "AWS_SECRET_ACCESS_KEY": sent.settings.aws_secret_access_key.get_secret_value(),
            "AWS_EC2_METADATA_DISABLED": "true",
        }
        with (folder / "collector.log").open("wb") as log:
            command = [str(ensure_built(progress=False)), f"--config={folder / 'collector.yaml'}"]
            process = subprocess.Popen(command, env=os.environ | keys, stdout=log, stderr=subprocess.STDOUT)
            try:

                def ready() -> bool:
                    assert process.poll() is None, (folder / "collector.log").read_text()[-4000:]
                    return listens(port)

                until(ready, 60, "the Collector to listen")
                yield Pair(f"http://127.0.0.1:{port}", translated, sent)
            finally:
                process.terminate()
                process.wait(30)


def failed(trace: bytes, text: str, **fields: Any) -> Span:
    """A span with an exception event."""
    made = span(trace, **fields)
    said = {"exception.type": "Boom", "exception.message": "boom", "exception.stacktrace": text}
    made.events.add(name="exception", time_unix_nano=made.end_time_unix_nano, attributes=attributes(said))
    made.status.code = Status.STATUS_CODE_ERROR
    return made


def cases(trace: bytes) -> dict[str, ExportTraceServiceRequest]:
    """Requests by what they are to show, all of one trace; each of a few spans."""
    root = span(
        trace,
        attributes={
            "http.request.method": "GET",
            "url.scheme": "http",
            "server.address": "cruddur",
            "server.port": 4567,
            "url.path": "/home",
            "url.query": "page=2",
            "http.response.status_code": 404,
            "user_agent.original": "Locust",
            "client.address": "10.1.2.3",
            "http.route": "/home",
            "enduser.id": "andrew",
            "app.count": 3,
            "app.ok": True,
            "app.list": ["a", "b"],
            "aws.xray.annotations": ["run", "bad key!"],
            "run": "r1",
            "bad key!": 1.5,
            "aws.xray.metadata.ns": '{"deep": {"a": [1]}}',
            "aws.xray.metadata.default": '{"UserData": "x"}',
        },
    )
    old = {"http.method": "POST", "http.status_code": 429, "http.user_agent": "curl"}
    linked = span(trace, kind=CONSUMER, parent=root, attributes={"messaging.system": "sqs", "messaging.url": "http://queue"})
    linked.links.add(trace_id=new_trace(), span_id=b"\2" * 8, attributes=attributes({"why": "retry"}))
    message = span(trace, kind=INTERNAL, parent=root, name="work {id}?")
    message.status.code = Status.STATUS_CODE_ERROR
    message.status.message = "it broke"
    dynamodb = {
        "rpc.system": "aws-api",
        "rpc.service": "DynamoDB",
        "rpc.method": "GetItem",
        "aws.request_id": "r-1",
        "aws.region": "us-east-1",
    }
    local = {"aws.span.kind": "LOCAL_ROOT", "aws.local.service": "Worker"}
    python, ecs = {"telemetry.sdk.name": "opentelemetry", "telemetry.sdk.language": "python", "telemetry.sdk.version": "1.45"}, "aws_ecs"
    return {
        "new conventions": export([root], **{"service.version": "1.2", **python}),
        "old conventions": export(
            [
                span(trace, parent=root, attributes=old | {"http.scheme": "https", "http.host": "shop:8443", "http.target": "/a?b=c"}),
                span(trace, parent=root, attributes=old | {"http.url": "http://whole/url", "http.client_ip": "10.0.0.1"}),
                span(trace, parent=root, attributes=old | {"net.host.name": "h", "net.host.port": 80, "net.peer.ip": "10.0.0.2"}),
                span(trace, kind=CLIENT, parent=root, attributes=old | {"net.peer.name": "peer", "net.peer.port": 8080}),
            ]
        ),
        "calls": export(
            [
                span(trace, kind=CLIENT, parent=root, attributes={"peer.service": "profiles", "url.full": "http://profiles/x"}),
                span(trace, kind=CLIENT, parent=root, attributes=dynamodb | {"aws.dynamodb.table_names": ["one"]}),
                span(trace, kind=CLIENT, parent=root, attributes=dynamodb | {"aws.dynamodb.table_names": ["one", "two"]}),
                span(
                    trace, kind=CLIENT, parent=root, attributes={"aws.service": "S3", "aws.operation": "GetObject", "aws.account_id": "1"}
                ),
                span(
                    trace, "query", kind=CLIENT, parent=root, attributes={"db.system": "postgresql", "db.name": "cruddur", "db.user": "u"}
                ),
                span(
                    trace,
                    kind=CLIENT,
                    parent=root,
                    attributes={"db.system": "mysql", "db.name": "a", "db.connection_string": "jdbc:mysql://db.example.com:3306"},
                ),
                span(trace, kind=CLIENT, parent=root, attributes={"db.system": "redis", "db.statement": "GET x"}),
                span(trace, kind=PRODUCER, parent=root, attributes={"aws.remote.service": "AWS::SQS", "rpc.system": "aws-api"}),
                span(trace, "bare", kind=CLIENT, parent=root),
                span(trace, "bare", kind=PRODUCER, parent=root),
                linked,
                message,
            ]
        ),
        "roots": export([span(trace, "job", kind=INTERNAL), span(trace, "call", kind=CLIENT), span(trace, "take", kind=CONSUMER)]),
        "local roots": export(
            [
                span(trace, kind=INTERNAL, parent=root, attributes=local),
                span(trace, kind=CONSUMER, parent=root, attributes=local | {"aws.remote.service": "Queue", "http.request.method": "GET"}),
                span(trace, kind=CLIENT, attributes=local | {"aws.remote.service": "AWS.SDK.S3", "rpc.system": "aws-api"}),
            ]
        ),
        "python": export([failed(trace, PYTHON_TRACE, parent=root)], **python),
        "java": export([failed(trace, JAVA_TRACE, parent=root, kind=CLIENT)], **{"telemetry.sdk.language": "java"}),
        "javascript": export([failed(trace, V8_TRACE, parent=root)], **{"telemetry.sdk.language": "javascript"}),
        "dotnet": export([failed(trace, DOTNET_TRACE, parent=root)], **{"telemetry.sdk.language": "dotnet"}),
        "ec2": export(
            [span(trace)], **{"cloud.provider": "aws", "cloud.platform": "aws_ec2", "host.id": "i-1", "cloud.availability_zone": "a"}
        ),
        "ecs": export(
            [span(trace)], **{"cloud.platform": ecs, "aws.ecs.launchtype": "fargate", "container.name": "c", "aws.ecs.task.family": "f"}
        ),
        "eks": export([span(trace)], **{"cloud.platform": "aws_eks", "k8s.cluster.name": "k", "k8s.pod.name": "p", "container.id": "c"}),
        "beanstalk": export(
            [span(trace)],
            **{"cloud.platform": "aws_elastic_beanstalk", "service.instance.id": "7", "service.namespace": "e", "service.version": "v"},
        ),
        "logs": export([span(trace)], **{"aws.log.group.names": "one&two"}),
        "log arns": export([span(trace)], **{"aws.log.group.arns": ["arn:aws:logs:us-east-1:123456789012:log-group:/g:*"]}),
        "another cloud": export([span(trace)], **{"cloud.provider": "gcp", "cloud.platform": "gcp_gke"}),
    }


def comparable(document: Any) -> Any:
    """A document without what the exporter draws at random, and without what says nothing: false flags, empty blocks, length 0."""
    if isinstance(document, dict):
        found = {key: comparable(value) for key, value in document.items()}
        for exception in found.get("exceptions", []):
            exception.pop("id", None)
            exception["cause"] = bool(exception.get("cause"))
        return {
            key: value
            for key, value in found.items()
            if value not in (None, "", {}, [])
            and not (key in ("fault", "error", "throttle") and value is False)
            and (key, value) != ("content_length", 0)
        }
    if isinstance(document, list):
        return [comparable(element) for element in document]
    if isinstance(document, float):
        return round(document, 4)
    # The exporter leaves a blank after the function of a frame of JavaScript's.
    return document.strip() if isinstance(document, str) else document


def by_span(documents: list[dict[str, Any]]) -> dict[str, Any]:
    """Documents and what is embedded in them, flat; the id that a local root's segment is given is no span's."""
    found: dict[str, Any] = {}
    waiting = [document for document in documents if not document.get("inferred")]
    while waiting:
        document = waiting.pop()
        waiting += document.pop("subsegments", [])
        found[document["id"]] = comparable(document)
    return found


def test_the_endpoint_makes_of_spans_what_the_collectors_exporter_makes_of_them(pair: Pair) -> None:
    for what in cases(new_trace()):
        trace = new_trace()
        request = cases(trace)[what]
        spans = {one.span_id.hex() for one in request.resource_spans[0].scope_spans[0].spans}
        pair.export(request)

        def arrived(of: Any, trace: bytes = trace, spans: set[str] = spans) -> dict[str, Any]:
            found = by_span(get_trace(of, xray_form(trace)))
            return found if spans <= set(found) else {}

        expected = until(lambda arrived=arrived: arrived(pair.translated), 20, f"{what} to arrive by awsxray")  # type: ignore[misc]
        found = until(lambda arrived=arrived: arrived(pair.sent), 20, f"{what} to arrive by otlphttp")  # type: ignore[misc]
        for identity in spans:
            if what == "local roots":
                for document in (expected[identity], found[identity]):
                    # In the segment that is made beside it, whose id is random. The resource: see the translation's own rules.
                    document.pop("parent_id", None)
                    document.pop("metadata")
            assert found[identity] == expected[identity], what
        made = [sorted((one["name"] for key, one in of.items() if key not in spans)) for of in (found, expected)]
        assert made[0] == made[1], what


def test_what_the_collector_cannot_send_it_is_told_why(pair: Pair, tmp_path: Path) -> None:
    """A span beyond a limit comes back as a partial success, which the Collector logs and does not send again."""
    trace = new_trace()
    old = span(trace)
    old.start_time_unix_nano -= 15 * 24 * 3600 * 10**9
    good = span(trace)
    pair.export(export([old, good]))
    until(lambda: get_trace(pair.sent, xray_form(trace)), 20, "the good span to arrive")
    assert [one["id"] for one in get_trace(pair.sent, xray_form(trace))] == [good.span_id.hex()]
    assert time.time() - int(xray_form(trace)[2:10], 16) < 60
