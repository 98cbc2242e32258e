"""OTLP over HTTP: ``POST /v1/traces``, ``/v1/logs``, ``/v1/metrics``, with the errors Honeycomb documents.

Success is 200 and an empty response message; failure is a ``google.rpc.Status``, both in the request's content type.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from google.protobuf.message import Message
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest, ExportLogsServiceResponse
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest, ExportMetricsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest, ExportTraceServiceResponse

from localstack import encoding
from localstack.honeycomb import otlp
from localstack.honeycomb.layout import Rows
from localstack.honeycomb.problems import UNKNOWN_KEY
from localstack.otlp import INTERNAL, JSON, PROTOBUF, UNAUTHENTICATED, UNAVAILABLE, UNIMPLEMENTED, Malformed, read, status

#: Bytes of a request body, packed or unpacked.
MAX_BODY = 20 * 1024 * 1024


@dataclass(frozen=True)
class Refusal:
    """Why a request is refused: HTTP status, gRPC status code and message."""

    http_status: int
    grpc_code: int
    message: str


class OtlpError(Exception):
    """A refused request."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.message)
        self.refusal = refusal


UNSUPPORTED_TYPE = Refusal(415, UNIMPLEMENTED, f"unsupported content-type, valid types are: {', '.join((*PROTOBUF, JSON))}")
MALFORMED = Refusal(400, INTERNAL, "failed to parse OTLP request body")
TOO_LARGE = Refusal(400, INTERNAL, f"{MALFORMED.message}: request body too large")
MISSING_KEY = Refusal(401, UNAUTHENTICATED, "missing 'x-honeycomb-team' header")
MISSING_DATASET = Refusal(401, UNAUTHENTICATED, "missing 'x-honeycomb-dataset' header")
# Unsure: Honeycomb does not document the HTTP answer to a key it does not know.
UNKNOWN = Refusal(401, UNAUTHENTICATED, f"{UNKNOWN_KEY}, region, and API URL")
CLOSING = Refusal(503, UNAVAILABLE, "shutting down, try again")


@dataclass(frozen=True)
class Signal:
    """One of OTLP's signals: its messages and its translation to rows (message, dataset header, whether the key is Classic)."""

    path: str
    service: str
    request: Callable[[], Message]
    response: Callable[[], Message]
    translate: Callable[[Any, str, bool], Rows]


SIGNALS = (
    Signal("/v1/traces", "trace.v1.TraceService", ExportTraceServiceRequest, ExportTraceServiceResponse, otlp.traces),
    Signal("/v1/logs", "logs.v1.LogsService", ExportLogsServiceRequest, ExportLogsServiceResponse, otlp.logs),
    Signal(
        "/v1/metrics",
        "metrics.v1.MetricsService",
        ExportMetricsServiceRequest,
        ExportMetricsServiceResponse,
        otlp.metrics,
    ),
)

_CLASSIC = re.compile(r"[0-9a-f]{32}|hc[a-z]ic_[0-9a-z]{58}")


def is_classic(key: str) -> bool:
    """Whether a key is of the form of a Classic key, which names its dataset in a header."""
    return _CLASSIC.fullmatch(key) is not None


def same_key(given: str, keys: Sequence[str]) -> bool:
    """Whether a key is one of ``keys``."""
    return any(hmac.compare_digest(given.encode(errors="replace"), key.encode()) for key in keys if key)


def check_key(signal: Signal, key: str, dataset: str, keys: Sequence[str]) -> None:
    """Raise OtlpError unless ``key`` may send this signal."""
    if not key:
        raise OtlpError(MISSING_KEY)
    # Logs have a dataset of last resort, so only traces and metrics insist on the header.
    if is_classic(key) and not dataset and signal.path != "/v1/logs":
        raise OtlpError(MISSING_DATASET)
    if not same_key(key, keys):
        raise OtlpError(UNKNOWN)


def parse(signal: Signal, body: bytes, content_type: str, content_encoding: str) -> Message:
    """The message in a request body. Raises OtlpError."""
    try:
        body = encoding.decode(body, content_encoding, MAX_BODY)
    except encoding.BodyTooLarge:
        raise OtlpError(TOO_LARGE) from None
    except encoding.BodyMalformed:
        raise OtlpError(MALFORMED) from None
    try:
        return read(signal.request(), body, content_type)
    except Malformed:
        raise OtlpError(MALFORMED) from None


def failure(error: Refusal, content_type: str) -> tuple[bytes, str]:
    """Body and content type of a refused request."""
    if content_type != JSON and content_type not in PROTOBUF:
        return UNSUPPORTED_TYPE.message.encode(), "text/plain"
    # Honeycomb leaves the code out of a JSON one.
    return status(0 if content_type == JSON else error.grpc_code, error.message, content_type), content_type
