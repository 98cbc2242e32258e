"""OTLP to the local X-Ray: spans by hand, and requests signed as its endpoint wants them."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping, Sequence
from typing import Any

import botocore.auth
import botocore.awsrequest
import botocore.credentials
import requests
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.api.servers import Vendor
from tests.waiting import until

PROTOBUF = "application/x-protobuf"


class SignedSession(requests.Session):
    """Signs every request with Signature Version 4 for ``service``, as the Collector's sigv4auth does."""

    def __init__(self, vendor: Vendor, service: str = "xray", secret: str | None = None) -> None:
        super().__init__()
        settings = vendor.settings
        known = secret or settings.aws_secret_access_key.get_secret_value()
        credentials = botocore.credentials.Credentials(settings.aws_access_key_id, known)
        self._signer = botocore.auth.SigV4Auth(credentials, service, settings.aws_region)

    def send(self, request: requests.PreparedRequest, **arguments: Any) -> requests.Response:
        signed = botocore.awsrequest.AWSRequest(
            request.method, request.url, {"Content-Type": request.headers.get("Content-Type", "")}, request.body or b""
        )
        self._signer.add_auth(signed)
        request.headers.update(dict(signed.headers.items()))
        return super().send(request, **arguments)


def value(of: Any) -> AnyValue:
    if isinstance(of, bool):
        return AnyValue(bool_value=of)
    if isinstance(of, int):
        return AnyValue(int_value=of)
    if isinstance(of, float):
        return AnyValue(double_value=of)
    if isinstance(of, str):
        return AnyValue(string_value=of)
    return AnyValue(array_value=ArrayValue(values=[value(element) for element in of]))


def attributes(of: Mapping[str, Any]) -> list[KeyValue]:
    return [KeyValue(key=key, value=value(element)) for key, element in of.items()]


def span(trace: bytes, name: str = "GET /", kind: Any = Span.SPAN_KIND_SERVER, parent: Span | None = None, **fields: Any) -> Span:
    """A span that ended just now, a quarter of a second long; ``attributes`` as a dictionary."""
    end = time.time_ns()
    own = attributes(fields.pop("attributes", {}))
    times = {"start_time_unix_nano": end - 250_000_000, "end_time_unix_nano": end}
    made = Span(trace_id=trace, span_id=secrets.token_bytes(8), name=name, kind=kind, attributes=own, **(times | fields))
    if parent is not None:
        made.parent_span_id = parent.span_id
    return made


def export(spans: Sequence[Span], **resource: Any) -> ExportTraceServiceRequest:
    """A request of one resource; ``service_name`` is Cruddur unless told."""
    request = ExportTraceServiceRequest()
    one = request.resource_spans.add()
    one.resource.attributes.extend(attributes({"service.name": "Cruddur"} | resource))
    one.scope_spans.add(spans=spans).scope.name = "tests"
    return request


def new_trace() -> bytes:
    """A trace id whose first digits are the time, which W3C and X-Ray both take."""
    return int(time.time()).to_bytes(4, "big") + secrets.token_bytes(12)


def xray_form(trace: bytes) -> str:
    return f"1-{trace.hex()[:8]}-{trace.hex()[8:]}"


def to_cloudwatch_logs(xray: Any, percentage: float) -> None:
    """Make the endpoint take spans, and ``percentage`` of the traces be indexed."""
    xray.update_trace_segment_destination(Destination="CloudWatchLogs")
    xray.update_indexing_rule(Name="Default", Rule={"Probabilistic": {"DesiredSamplingPercentage": percentage}})
    until(lambda: xray.get_trace_segment_destination()["Status"] == "ACTIVE", 10, "the destination to be active")
