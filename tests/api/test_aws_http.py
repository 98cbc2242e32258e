"""The front door: routing by signature and path, keys, malformed requests, moto behind it, and AWS's own command line."""

from __future__ import annotations

import gzip
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from botocore.auth import SigV4Auth, SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from tests.api.aws_clients import aws_cli, client, get_trace, put, refused, segment, trace_id
from tests.api.servers import Vendor, start_vendor


@pytest.fixture(scope="module")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Vendor]:
    with start_vendor("aws", tmp_path_factory.mktemp("state")) as vendor:
        yield vendor


def call(
    aws: Vendor,
    path: str,
    body: bytes | str = b"{}",
    service: str = "xray",
    method: str = "POST",
    presigned: bool = False,
    tamper: bytes | None = None,
    **headers: str,
) -> requests.Response:
    """One signed request by hand; ``tamper``: the body that is sent instead of the one that was signed."""
    keys = Credentials(aws.settings.aws_access_key_id, aws.settings.aws_secret_access_key.get_secret_value())
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    request = AWSRequest(method, aws.url + path, data=body, headers={"Content-Type": "application/json"} | named)
    auth: Any = SigV4QueryAuth if presigned else SigV4Auth
    auth(keys, service, aws.settings.aws_region).add_auth(request)
    prepared: Any = request.prepare()
    return requests.request(method, prepared.url, data=tamper or prepared.body, headers=dict(prepared.headers), timeout=60)


def logs_call(aws: Vendor, operation: str, body: bytes | str = b"{}", **headers: str) -> requests.Response:
    defaults: dict[str, Any] = {"X_Amz_Target": f"Logs_20140328.{operation}", "Content_Type": "application/x-amz-json-1.1"}
    return call(aws, "/", body, "logs", **(defaults | headers))


def assert_xray_error(answer: requests.Response, status: int, code: str) -> str:
    assert (answer.status_code, answer.headers["x-amzn-ErrorType"]) == (status, code), answer.text
    assert answer.headers["x-amzn-RequestId"]
    return str(answer.json()["Message"])


def assert_logs_error(answer: requests.Response, status: int, code: str) -> str:
    assert (answer.status_code, answer.json()["__type"]) == (status, code), answer.text
    assert answer.headers["Content-Type"] == "application/x-amz-json-1.1"
    return str(answer.json()["message"])


# -- keys and signatures


def test_a_call_without_a_signature_is_refused(aws: Vendor) -> None:
    unsigned = requests.post(f"{aws.url}/TraceSegments", json={"TraceSegmentDocuments": ["{}"]}, timeout=60)
    assert_xray_error(unsigned, 403, "MissingAuthenticationTokenException")
    unsigned = requests.post(aws.url, json={}, headers={"X-Amz-Target": "Logs_20140328.DescribeLogGroups"}, timeout=60)
    assert_logs_error(unsigned, 400, "MissingAuthenticationTokenException")


@pytest.mark.parametrize("service", ["xray", "logs"])
def test_wrong_keys_and_wrong_regions_are_refused(aws: Vendor, service: str) -> None:
    status = 403 if service == "xray" else 400

    def attempt(**overrides: Any) -> Any:
        made = client(aws, service, **overrides)
        return (lambda: made.get_groups()) if service == "xray" else (lambda: made.describe_log_groups())

    refused(attempt(aws_access_key_id="AKIASOMEBODYELSE0000"), "UnrecognizedClientException", "security token", status)
    refused(attempt(aws_secret_access_key="wrong"), "InvalidSignatureException", "Secret Access Key", status)
    refused(attempt(region_name="eu-west-1"), "InvalidSignatureException", "not 'eu-west-1'", status)


def test_a_body_that_is_not_the_signed_one_is_refused(aws: Vendor) -> None:
    assert_xray_error(call(aws, "/Groups", b"{}", tamper=b'{"NextToken": "x"}'), 403, "InvalidSignatureException")


@pytest.mark.parametrize(
    "authorization",
    [
        "AWS4-HMAC-SHA256 nonsense",
        "AWS4-HMAC-SHA256 Credential=AKIA/20260101/us-east-1/xray/aws4_request",
        "Bearer token",
        "AWS4-HMAC-SHA256 Credential=a/b/c",
    ],
)
def test_a_malformed_authorization_is_an_error_of_ours(aws: Vendor, authorization: str) -> None:
    answer = requests.post(f"{aws.url}/Groups", json={}, headers={"Authorization": authorization}, timeout=60)
    assert answer.status_code == 403
    assert answer.headers["x-amzn-ErrorType"] in ("IncompleteSignatureException", "UnrecognizedClientException")


def test_an_old_signature_is_refused(aws: Vendor) -> None:
    keys = Credentials(aws.settings.aws_access_key_id, aws.settings.aws_secret_access_key.get_secret_value())
    request = AWSRequest("POST", f"{aws.url}/Groups", data=b"{}", headers={"Content-Type": "application/json"})
    SigV4Auth(keys, "xray", "us-east-1").add_auth(request)
    headers = dict(request.headers)
    stamp = headers["X-Amz-Date"]
    old = f"{stamp[:4]}0101{stamp[8:]}" if stamp[4:8] != "0101" else f"{stamp[:4]}0201{stamp[8:]}"
    headers["X-Amz-Date"] = old
    headers["Authorization"] = headers["Authorization"].replace(f"/{stamp[:8]}/", f"/{old[:8]}/")
    answer = requests.post(f"{aws.url}/Groups", data=b"{}", headers=headers, timeout=60)
    assert "expired" in assert_xray_error(answer, 403, "InvalidSignatureException")


def test_a_presigned_call_is_routed_and_checked_by_its_query(aws: Vendor) -> None:
    answer = call(aws, "/Groups", presigned=True)
    assert answer.status_code == 200, answer.text
    assert answer.json()["Groups"]


# -- malformed requests


@pytest.mark.parametrize(("method", "path"), [("POST", "/Nope"), ("GET", "/TraceSegments"), ("PUT", "/Traces"), ("POST", "/traces")])
def test_an_unknown_path_or_method_is_an_unknown_operation(aws: Vendor, method: str, path: str) -> None:
    assert_xray_error(call(aws, path, method=method), 404, "UnknownOperationException")


def test_an_unknown_target_is_an_unknown_operation(aws: Vendor) -> None:
    assert_logs_error(logs_call(aws, "Nope"), 404, "UnknownOperationException")
    assert_logs_error(logs_call(aws, "", X_Amz_Target="Other_1.PutLogEvents"), 404, "UnknownOperationException")
    assert_logs_error(logs_call(aws, "", X_Amz_Target=""), 404, "UnknownOperationException")


@pytest.mark.parametrize("body", ["{", "[]", "5", "null", '"x"', b"\xff\xfe", "{}{}", '{"a": NaN}', "[" * 5000])
def test_a_body_that_is_no_json_object_is_a_serialization_error(aws: Vendor, body: bytes | str) -> None:
    assert_xray_error(call(aws, "/TraceSegments", body), 400, "SerializationException")
    assert_logs_error(logs_call(aws, "PutLogEvents", body), 400, "SerializationException")


@pytest.mark.parametrize(
    "body",
    [
        {"TraceSegmentDocuments": "text"},
        {"TraceSegmentDocuments": [5]},
        {"TraceSegmentDocuments": [None]},
        {"TraceSegmentDocuments": {"a": 1}},
    ],
    ids=str,
)
def test_a_member_of_the_wrong_type_is_a_serialization_error(aws: Vendor, body: Any) -> None:
    assert "TraceSegmentDocuments" in assert_xray_error(call(aws, "/TraceSegments", json.dumps(body)), 400, "SerializationException")


def test_broken_constraints_are_all_named(aws: Vendor) -> None:
    assert "'TraceSegmentDocuments'" in assert_xray_error(call(aws, "/TraceSegments", "{}"), 400, "InvalidRequestException")
    message = assert_logs_error(logs_call(aws, "CreateLogStream", '{"logGroupName": "a b"}'), 400, "InvalidParameterException")
    assert message.startswith("2 validation errors detected: ")
    assert "'logStreamName'" in message
    assert "regular expression" in message
    body = {"logGroupName": "g", "logStreamName": "s", "logEvents": [{"timestamp": -1, "message": "m"}]}
    assert "logEvents.1.member.timestamp" in assert_logs_error(
        logs_call(aws, "PutLogEvents", json.dumps(body)), 400, "InvalidParameterException"
    )
    body["logEvents"] = [{"timestamp": 2**70, "message": "m"}]
    assert_logs_error(logs_call(aws, "PutLogEvents", json.dumps(body)), 400, "SerializationException")
    body["logEvents"] = [{"timestamp": True, "message": "m"}]
    assert_logs_error(logs_call(aws, "PutLogEvents", json.dumps(body)), 400, "SerializationException")


def test_a_content_type_that_is_not_json_is_refused(aws: Vendor) -> None:
    assert_xray_error(call(aws, "/Groups", Content_Type="text/xml"), 415, "UnsupportedMediaTypeException")
    assert_logs_error(logs_call(aws, "DescribeLogGroups", Content_Type="text/xml"), 415, "UnsupportedMediaTypeException")


def test_compressed_bodies_are_read_within_bounds(aws: Vendor) -> None:
    assert call(aws, "/Groups", gzip.compress(b"{}"), Content_Encoding="gzip").status_code == 200
    assert_xray_error(call(aws, "/Groups", b"no gzip", Content_Encoding="gzip"), 400, "SerializationException")
    assert_xray_error(call(aws, "/Groups", gzip.compress(b"{}")[:-4], Content_Encoding="gzip"), 400, "SerializationException")
    assert_xray_error(call(aws, "/Groups", b"{}", Content_Encoding="br"), 415, "UnsupportedMediaTypeException")
    bomb = gzip.compress(b" " * (17 * 1024 * 1024))
    assert_xray_error(call(aws, "/Groups", bomb, Content_Encoding="gzip"), 413, "RequestEntityTooLargeException")


def test_members_the_model_does_not_know_are_ignored(aws: Vendor) -> None:
    assert call(aws, "/Groups", '{"Later": 1, "NextToken": null}').json()["Groups"]


# -- moto and the local pages


def test_every_other_service_is_motos(aws: Vendor) -> None:
    assert client(aws, "sts").get_caller_identity()["Account"] == "123456789012"
    s3 = client(aws, "s3")
    s3.create_bucket(Bucket="parallax")
    assert [bucket["Name"] for bucket in s3.list_buckets()["Buckets"]] == ["parallax"]
    cloudwatch = client(aws, "cloudwatch")
    cloudwatch.put_metric_data(Namespace="Cruddur", MetricData=[{"MetricName": "m", "Value": 1.0}])
    assert [metric["MetricName"] for metric in cloudwatch.list_metrics(Namespace="Cruddur")["Metrics"]] == ["m"]


def test_the_local_pages_say_what_there_is(aws: Vendor) -> None:
    assert requests.get(f"{aws.url}/_parallax/health", timeout=60).json() == {"status": "ok"}
    missing = requests.get(f"{aws.url}/_parallax/nope", timeout=60)
    assert missing.status_code == 404
    assert "/_parallax/xray/deliveries" in missing.json()["message"]


def test_no_request_of_these_tests_was_an_error_inside(aws: Vendor) -> None:
    assert "Traceback" not in aws.log
    assert aws.settings.aws_secret_access_key.get_secret_value() not in aws.log


# -- awscli


def test_the_command_line_reads_traces_and_events(aws: Vendor, tmp_path: Path) -> None:
    trace = trace_id()
    put(client(aws, "xray"), segment(trace, annotations={"run": "cli"}))
    seconds = int(trace[2:10], 16)
    told = aws_cli(
        aws, tmp_path, "xray", "get-trace-summaries", "--start-time", str(seconds), "--end-time", str(seconds + 1), "--output", "json"
    )
    assert told.returncode == 0, told.stderr
    assert trace in [summary["Id"] for summary in json.loads(told.stdout)["TraceSummaries"]]
    told = aws_cli(
        aws, tmp_path, "xray", "batch-get-traces", "--trace-ids", trace, "--query", "Traces[0].Segments[0].Document", "--output", "text"
    )
    assert json.loads(told.stdout)["annotations"] == {"run": "cli"}
    for arguments in (
        ("logs", "create-log-group", "--log-group-name", "cli"),
        ("logs", "create-log-stream", "--log-group-name", "cli", "--log-stream-name", "s"),
        (
            "logs",
            "put-log-events",
            "--log-group-name",
            "cli",
            "--log-stream-name",
            "s",
            "--log-events",
            f"timestamp={int(time.time() * 1000)},message=hello",
        ),
    ):
        told = aws_cli(aws, tmp_path, *arguments)
        assert told.returncode == 0, told.stderr
    told = aws_cli(aws, tmp_path, "logs", "filter-log-events", "--log-group-name", "cli", "--query", "events[].message", "--output", "text")
    assert told.stdout == "hello\n"
    assert aws_cli(aws, tmp_path, "sts", "get-caller-identity", "--query", "Account", "--output", "text").stdout == "123456789012\n"


def test_the_command_line_shows_our_errors(aws: Vendor, tmp_path: Path) -> None:
    told = aws_cli(aws, tmp_path, "xray", "get-trace-summaries", "--start-time", "0", "--end-time", "1", "--filter-expression", "fault AND")
    assert told.returncode != 0
    assert "InvalidRequestException" in told.stderr
    assert "Invalid filter expression at line 1, column 10" in told.stderr
    told = aws_cli(aws, tmp_path, "xray", "get-groups", AWS_SECRET_ACCESS_KEY="wrong")
    assert "InvalidSignatureException" in told.stderr
    told = aws_cli(aws, tmp_path, "logs", "describe-queries")
    assert "NotImplementedException" in told.stderr


def test_nothing_of_a_refused_call_is_stored(aws: Vendor) -> None:
    trace = trace_id()
    body = json.dumps({"TraceSegmentDocuments": [json.dumps(segment(trace))]})
    assert call(aws, "/TraceSegments", body, tamper=body.encode() + b" ").status_code == 403
    assert call(aws, "/TraceSegments", body, Content_Type="text/plain").status_code == 415
    assert get_trace(client(aws, "xray"), trace) == []
