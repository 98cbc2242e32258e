"""An OTLP/gRPC client for messages that are there already, serialized: bounded rate, and the retries the protocol asks for.

    with Sender("127.0.0.1:4317", rate=5000) as sender:
        sender.send("traces", message, items=512)
    sender.sent, sender.refused

"OpenTelemetry Protocol Specification", OTLP/gRPC: what is retryable, RESOURCE_EXHAUSTED only where the answer says when to come again
(``google.rpc.RetryInfo``), exponential backoff with jitter, partial success is final. One request is under way at a time, so data arrives
in the order it was recorded.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable
from types import TracebackType
from typing import Any, Final

import grpc
from google.protobuf.message import DecodeError
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from services.compare.replay.recorded import Signal

#: Seconds one request is tried for.
PATIENCE: Final = 60.0
#: Seconds one attempt may take.
ATTEMPT: Final = 20.0

#: By signal: the method, its answer, and the answer's field that counts what was not taken.
_SERVICES: Final[dict[Signal, tuple[str, Any, str]]] = {
    "traces": ("/opentelemetry.proto.collector.trace.v1.TraceService/Export", ExportTraceServiceResponse, "rejected_spans"),
    "logs": ("/opentelemetry.proto.collector.logs.v1.LogsService/Export", ExportLogsServiceResponse, "rejected_log_records"),
    "metrics": ("/opentelemetry.proto.collector.metrics.v1.MetricsService/Export", ExportMetricsServiceResponse, "rejected_data_points"),
}
_RETRYABLE: Final = frozenset(
    {
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.ABORTED,
        grpc.StatusCode.OUT_OF_RANGE,
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DATA_LOSS,
    }
)


class Sender:
    """``target``: host and port. ``rate``: items a second. ``alive``: called before each attempt; what it raises ends the sending."""

    def __init__(self, target: str, rate: float, alive: Callable[[], None] = lambda: None, patience: float = PATIENCE) -> None:
        self._channel: Any = grpc.insecure_channel(
            target,
            options=[
                ("grpc.max_send_message_length", -1),
                # The Collector is on this machine: no proxy of the environment lies between.
                ("grpc.enable_http_proxy", 0),
                ("grpc.max_reconnect_backoff_ms", 1000),
            ],
        )
        self._calls: dict[str, Any] = {
            signal: self._channel.unary_unary(method, request_serializer=None, response_deserializer=answer.FromString)
            for signal, (method, answer, _) in _SERVICES.items()
        }
        self._rate = rate
        self._alive = alive
        self._patience = patience
        self._next = time.monotonic()
        #: Items the receiver took, by signal.
        self.sent: Counter[Signal] = Counter()
        #: Items it did not take, by signal.
        self.refused: Counter[Signal] = Counter()
        #: Its reasons, with the items each has cost.
        self.reasons: Counter[str] = Counter()
        #: Requests that were sent again.
        self.retries = 0

    def send(self, signal: Signal, message: bytes, items: int) -> None:
        """Send one message and return when it was answered for good."""
        self._pace(items)
        deadline = time.monotonic() + self._patience
        backoff = 0.1
        while True:
            self._alive()
            try:
                answer = self._calls[signal](message, timeout=ATTEMPT)
            except grpc.RpcError as error:
                wait = _wait(error, backoff)
                if wait is None or time.monotonic() + wait > deadline:
                    late = f" for {self._patience:g} s" if wait is not None else ""
                    self._refuse(signal, items, f"{error.code().name}{late}: {error.details()}")
                    return
                self.retries += 1
                time.sleep(wait)
                backoff = min(backoff * 2, 5.0)
                continue
            rejected = min(items, getattr(answer.partial_success, _SERVICES[signal][2]))
            if rejected:
                self._refuse(signal, rejected, f"partial success: {answer.partial_success.error_message}")
            self.sent[signal] += items - rejected
            return

    def close(self) -> None:
        self._channel.close()

    def __enter__(self) -> Sender:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.close()

    def _refuse(self, signal: Signal, items: int, why: str) -> None:
        self.refused[signal] += items
        self.reasons[f"{signal}: {why}"] += items

    def _pace(self, items: int) -> None:
        """Wait until the rate allows these items. A pause earns no credit."""
        now = time.monotonic()
        if self._next > now:
            time.sleep(self._next - now)
        self._next = max(now, self._next) + items / self._rate


def _wait(error: Any, backoff: float) -> float | None:
    """Seconds until the next attempt; None where there must be none."""
    asked = _retry_info(error)
    if error.code() not in _RETRYABLE and not (error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED and asked is not None):
        return None
    # A receiver may ask for any time, 0 included; at least the backoff keeps it from being asked without a pause.
    return max(asked or 0.0, backoff * random.uniform(0.5, 1.5))  # noqa: S311  jitter


def _retry_info(error: Any) -> float | None:
    """Seconds the answer asks to wait, where it does."""
    for key, value in error.trailing_metadata() or ():
        if key == "grpc-status-details-bin":
            try:
                for detail in Status.FromString(value).details:
                    if detail.Is(RetryInfo.DESCRIPTOR):
                        info = RetryInfo.FromString(detail.value)
                        return float(max(0.0, info.retry_delay.seconds + info.retry_delay.nanos / 1e9))
            except DecodeError:
                return None
    return None
