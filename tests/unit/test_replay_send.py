"""The OTLP client of a replay against a gRPC server that answers as it is told: what is tried again, and what is final."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import grpc
import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTracePartialSuccess, ExportTraceServiceResponse

from services.compare.replay.recorded import Signal
from services.compare.replay.send import Sender

Answer = Callable[[Any], bytes]
TRACES: Signal = "traces"


def ok(_context: Any) -> bytes:
    return ExportTraceServiceResponse().SerializeToString()


def partly(rejected: int, why: str) -> Answer:
    success = ExportTracePartialSuccess(rejected_spans=rejected, error_message=why)
    return lambda _context: ExportTraceServiceResponse(partial_success=success).SerializeToString()


def refuse(code: grpc.StatusCode, retry_after: float | None = None) -> Answer:
    def answer(context: Any) -> bytes:
        if retry_after is not None:
            delay = AnyMessage()
            delay.Pack(RetryInfo(retry_delay=Duration(nanos=int(retry_after * 1e9))))
            status = Status(code=code.value[0], message="wait", details=[delay])
            context.set_trailing_metadata((("grpc-status-details-bin", status.SerializeToString()),))
        context.abort(code, "so it is")
        raise AssertionError("abort returns")

    return answer


@dataclass
class Receiver:
    """Answers with ``answers`` in turn, the last for ever."""

    target: str = ""
    answers: list[Answer] = field(default_factory=lambda: [ok])
    received: list[tuple[str, bytes]] = field(default_factory=list)

    def service(self, details: Any) -> Any:
        def handle(message: bytes, context: Any) -> bytes:
            self.received.append((details.method, message))
            return (self.answers.pop(0) if len(self.answers) > 1 else self.answers[0])(context)

        return grpc.unary_unary_rpc_method_handler(handle)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    server = grpc.server(ThreadPoolExecutor(2))
    server.add_generic_rpc_handlers((type("Handler", (grpc.GenericRpcHandler,), {"service": lambda _, details: made.service(details)})(),))
    made.target = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    yield made
    server.stop(None).wait()


def test_each_signal_goes_to_its_service_as_it_is(receiver: Receiver) -> None:
    with Sender(receiver.target, 1e6) as sender:
        for signal in ("traces", "logs", "metrics"):
            sender.send(signal, signal.encode(), 3)
    assert [(method.split(".")[-1], message) for method, message in receiver.received] == [
        ("TraceService/Export", b"traces"),
        ("LogsService/Export", b"logs"),
        ("MetricsService/Export", b"metrics"),
    ]
    assert sender.sent == {"traces": 3, "logs": 3, "metrics": 3}
    assert not sender.refused


@pytest.mark.parametrize(
    "code", [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.ABORTED, grpc.StatusCode.DATA_LOSS], ids=lambda code: code.name
)
def test_what_may_be_tried_again_is(receiver: Receiver, code: grpc.StatusCode) -> None:
    receiver.answers = [refuse(code), ok]
    with Sender(receiver.target, 1e6) as sender:
        sender.send(TRACES, b"x", 5)
    assert (sender.sent["traces"], sender.retries, len(receiver.received)) == (5, 1, 2)


@pytest.mark.parametrize(
    "code",
    [grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.RESOURCE_EXHAUSTED],
    ids=lambda code: code.name,
)
def test_what_is_final_is_not_tried_again_and_counted_with_its_reason(receiver: Receiver, code: grpc.StatusCode) -> None:
    receiver.answers = [refuse(code)]
    with Sender(receiver.target, 1e6) as sender:
        sender.send(TRACES, b"x", 5)
        sender.send(TRACES, b"y", 2)
    assert len(receiver.received) == 2
    assert sender.refused == {"traces": 7}
    assert sender.reasons == {f"traces: {code.name}: so it is": 7}


def test_an_exhausted_receiver_that_says_when_is_asked_again_then(receiver: Receiver) -> None:
    receiver.answers = [refuse(grpc.StatusCode.RESOURCE_EXHAUSTED, retry_after=0.3), ok]
    began = time.monotonic()
    with Sender(receiver.target, 1e6) as sender:
        sender.send(TRACES, b"x", 5)
    assert time.monotonic() - began >= 0.3
    assert sender.sent["traces"] == 5


def test_what_a_receiver_takes_in_part_is_final(receiver: Receiver) -> None:
    receiver.answers = [partly(2, "too old")]
    with Sender(receiver.target, 1e6) as sender:
        sender.send(TRACES, b"x", 5)
    assert (sender.sent["traces"], sender.refused["traces"]) == (3, 2)
    assert sender.reasons == {"traces: partial success: too old": 2}


def test_patience_ends(receiver: Receiver) -> None:
    receiver.answers = [refuse(grpc.StatusCode.UNAVAILABLE)]
    with Sender(receiver.target, 1e6, patience=0.4) as sender:
        sender.send(TRACES, b"x", 5)
    assert sender.retries
    assert sender.reasons == {"traces: UNAVAILABLE for 0.4 s: so it is": 5}


def test_a_receiver_that_is_dead_ends_the_sending(receiver: Receiver) -> None:
    def alive() -> None:
        raise RuntimeError("dead")

    with Sender(receiver.target, 1e6, alive) as sender, pytest.raises(RuntimeError, match="dead"):
        sender.send(TRACES, b"x", 1)
    assert receiver.received == []


def test_the_rate_is_kept(receiver: Receiver) -> None:
    began = time.monotonic()
    with Sender(receiver.target, rate=100) as sender:
        for _ in range(4):
            sender.send(TRACES, b"x", 10)
    assert time.monotonic() - began >= 0.3, "the fourth request waits for the thirty items before it"
