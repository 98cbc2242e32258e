"""Requests against botocore's service models: every operation of both services, whether it is built or not."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

import botocore.serialize
import pytest

from localstack.aws.errors import AwsError
from localstack.aws.logs.responses import LogsResponses
from localstack.aws.protocol import MAX_LISTED, Service
from localstack.aws.signature import Verifier
from localstack.aws.tokens import make_token, read_token
from localstack.aws.xray import responses

XRAY = Service("xray", invalid="InvalidRequestException")
LOGS = Service("logs", invalid="InvalidParameterException")


@pytest.mark.parametrize("service", [XRAY, LOGS], ids=["xray", "logs"])
def test_every_operation_of_the_model_is_found_where_botocore_sends_it(service: Service) -> None:
    serializer = botocore.serialize.create_serializer(service.model.metadata["protocol"], include_validation=False)
    for name in service.model.operation_names:
        request = serializer.serialize_to_request({}, service.model.operation_model(name))
        assert service.operation(request["method"], request["url_path"], request["headers"].get("X-Amz-Target", "")) == name


@pytest.mark.parametrize("service", [XRAY, LOGS], ids=["xray", "logs"])
def test_no_input_travels_outside_the_body(service: Service) -> None:
    """What Service.parse takes for granted of both services; another service would need more."""
    for name in service.model.operation_names:
        shape: Any = service.model.operation_model(name).input_shape
        for member in shape.members.values() if shape is not None else []:
            assert "location" not in member.serialization
            assert "name" not in member.serialization


def test_every_operation_of_x_ray_is_built_and_those_of_logs_are_of_the_model() -> None:
    logs = LogsResponses.__new__(LogsResponses)
    LogsResponses.__init__(logs, None)  # type: ignore[arg-type]
    assert set(responses.handlers(None)) == set(XRAY.model.operation_names)  # type: ignore[arg-type]
    assert set(logs.handlers) <= set(LOGS.model.operation_names)


def test_members_are_checked_and_unknown_and_null_ones_dropped() -> None:
    body = b'{"logGroupName": "g", "limit": null, "later": {}}'
    assert LOGS.parse("FilterLogEvents", body, "application/x-amz-json-1.1") == {"logGroupName": "g"}
    assert XRAY.parse("GetGroups", b"", "") == {}


def test_tags_may_hold_letters_of_any_alphabet() -> None:
    assert LOGS.parse("CreateLogGroup", '{"logGroupName": "g", "tags": {"größe 1": "ß/é"}}'.encode(), "")
    with pytest.raises(AwsError, match="regular expression"):
        LOGS.parse("CreateLogGroup", b'{"logGroupName": "g", "tags": {"a!": "b"}}', "")


def test_a_long_value_is_shortened_in_the_error() -> None:
    with pytest.raises(AwsError, match=re.escape("x" * 100 + "…' at 'logGroupName'")):
        LOGS.parse("CreateLogGroup", b'{"logGroupName": "%s"}' % (b"x" * 600), "")


def test_no_more_errors_are_looked_for_than_are_listed() -> None:
    records = ",".join(["{}"] * 100_000)
    with pytest.raises(AwsError) as caught:
        XRAY.parse("PutTelemetryRecords", f'{{"TelemetryRecords": [{records}]}}'.encode(), "")
    assert caught.value.message.startswith(f"More than {MAX_LISTED} validation errors detected: ")
    assert caught.value.message.count("failed to satisfy constraint") == MAX_LISTED


def test_tokens_are_good_for_their_query_only() -> None:
    token = make_token([1, 2.5, "a"], ("query", 1))
    assert read_token(token, ("query", 1), (int, float, str)) == [1, 2.5, "a"]
    assert read_token(token, ("query", 2), (int, float, str)) is None
    assert read_token(token, ("query", 1), (int, int, str)) is None
    for junk in ("", "x", "é", "bnVsbA==", token[:-4], token + "AAAA"):
        assert read_token(junk, ("query", 1), (int, float, str)) is None


def test_a_signature_is_checked_against_the_documented_example() -> None:
    """The GET example of "Create a signed AWS API request" (service iam, 2015-08-30), with its published signature."""
    environ = {
        "REQUEST_METHOD": "GET",
        "PATH_INFO": "/",
        "QUERY_STRING": "Action=ListUsers&Version=2010-05-08",
        "CONTENT_TYPE": "application/x-www-form-urlencoded; charset=utf-8",
        "HTTP_HOST": "iam.amazonaws.com",
        "HTTP_X_AMZ_DATE": "20150830T123600Z",
        "HTTP_AUTHORIZATION": (
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/iam/aws4_request, SignedHeaders=content-type;host;x-amz-date, "
            "Signature=5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7"
        ),
    }
    verifier = Verifier("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", "us-east-1")
    at = datetime(2015, 8, 30, 12, 36, tzinfo=UTC)
    verifier.verify(environ, b"", at)
    with pytest.raises(AwsError, match="InvalidSignature"):
        verifier.verify(environ | {"QUERY_STRING": "Action=DeleteUser&Version=2010-05-08"}, b"", at)
    with pytest.raises(AwsError, match="InvalidSignature"):
        verifier.verify(environ | {"HTTP_AUTHORIZATION": environ["HTTP_AUTHORIZATION"][:-1] + "é"}, b"", at)
