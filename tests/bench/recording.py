"""Spans recorded from the real application, to be replayed with new ids at any rate.

A recorder stands where the Collector would, so the spans are what cruddur and profiles really send.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import grpc
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest, ExportTraceServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import TraceServiceServicer, add_TraceServiceServicer_to_server

from tests.bench.application import cruddur, run_pinned
from tests.sandbox import Sandbox


class _Recorder(TraceServiceServicer):
    def __init__(self) -> None:
        self.requests: list[ExportTraceServiceRequest] = []

    def Export(self, request: ExportTraceServiceRequest, context: grpc.ServicerContext) -> ExportTraceServiceResponse:
        self.requests.append(request)
        return ExportTraceServiceResponse()


@dataclass
class Recording:
    """Requests as the application's exporter sent them."""

    requests: list[ExportTraceServiceRequest]

    @property
    def spans(self) -> int:
        return sum(spans_in(request) for request in self.requests)

    def batches(self, spans: int, size: int, run: str) -> Iterator[tuple[bytes, int, set[bytes]]]:
        """Yield (protobuf, spans, trace ids) with new ids, ``size`` spans each, until at least ``spans`` have been yielded.

        Times are moved to now; the attribute ``run`` is set to ``run`` so that the batches can be counted at the vendor.
        """
        template = self._template(size)
        earliest = min(span.start_time_unix_nano for rs in template.resource_spans for ss in rs.scope_spans for span in ss.spans)
        done = 0
        while done < spans:
            batch = ExportTraceServiceRequest()
            batch.CopyFrom(template)
            shift = time.time_ns() - earliest
            head = int(time.time()).to_bytes(4, "big")
            traces: dict[bytes, bytes] = {}
            prefix = os.urandom(4)
            for resource in batch.resource_spans:
                for scope in resource.scope_spans:
                    for span in scope.spans:
                        new = traces.get(span.trace_id)
                        if new is None:
                            new = traces[span.trace_id] = head + os.urandom(12)
                        span.trace_id = new
                        span.span_id = prefix + span.span_id[4:]
                        if span.parent_span_id:
                            span.parent_span_id = prefix + span.parent_span_id[4:]
                        span.start_time_unix_nano += shift
                        span.end_time_unix_nano += shift
                        for attribute in span.attributes:
                            if attribute.key == "run":
                                attribute.value.string_value = run
            count = spans_in(batch)
            done += count
            yield batch.SerializeToString(), count, set(traces.values())

    def _template(self, size: int) -> ExportTraceServiceRequest:
        template = ExportTraceServiceRequest()
        left = size
        while left > 0:
            for request in self.requests:
                for resource in request.resource_spans:
                    if left <= 0:
                        return template
                    into = template.resource_spans.add()
                    into.resource.CopyFrom(resource.resource)
                    for scope in resource.scope_spans:
                        taken = list(scope.spans[:left])
                        if taken:
                            scope_into = into.scope_spans.add()
                            scope_into.scope.CopyFrom(scope.scope)
                            scope_into.spans.extend(taken)
                            left -= len(taken)
        return template


def spans_in(request: ExportTraceServiceRequest) -> int:
    """Spans in one export request."""
    return sum(len(scope.spans) for resource in request.resource_spans for scope in resource.scope_spans)


def record(sandbox: Sandbox, folder: Path, seconds: float = 4) -> Recording:
    """Run the application against a recorder for a few seconds."""
    recorder = _Recorder()
    server = grpc.server(ThreadPoolExecutor(4), options=[("grpc.max_receive_message_length", -1)])
    add_TraceServiceServicer_to_server(recorder, server)  # type: ignore[no-untyped-call]
    otlp = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        with cruddur(sandbox, folder, BACKENDS="honeycomb", OTLP_GRPC_PORT=str(otlp)) as (url, _):
            run_pinned([sys.executable, "-m", "tests.bench.client", url, "--seconds", str(seconds), "--connections", "4"], [])
    finally:
        server.stop(5).wait()
    if not recorder.requests:
        raise RuntimeError(f"cruddur sent no span; see {folder / 'cruddur.log'}")
    return Recording(recorder.requests)
