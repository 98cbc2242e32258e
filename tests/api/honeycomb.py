"""What the tests of the local Honeycomb share: its headers, a span to send, and reading back as a client would."""

from __future__ import annotations

import time
from typing import Any

import requests
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from compose.settings import LOCAL_HONEYCOMB_KEY
from tests.api.servers import Vendor
from tests.waiting import until

HEADERS = {"X-Honeycomb-Team": LOCAL_HONEYCOMB_KEY}
PROTOBUF = {**HEADERS, "Content-Type": "application/x-protobuf"}


def trace(trace_id: int, spans: int = 1, service: str = "cruddur", **attributes: str) -> ExportTraceServiceRequest:
    """A trace of ``spans`` spans that starts now."""
    request = ExportTraceServiceRequest()
    resource_spans = request.resource_spans.add()
    resource_spans.resource.attributes.add(key="service.name").value.string_value = service
    scope_spans = resource_spans.scope_spans.add()
    now = time.time_ns()
    for number in range(spans):
        span = scope_spans.spans.add(
            trace_id=trace_id.to_bytes(16, "big"),
            span_id=(number + 1).to_bytes(8, "big"),
            parent_span_id=(1).to_bytes(8, "big") if number else b"",
            name=f"span {number}",
            start_time_unix_nano=now,
            end_time_unix_nano=now + 2_000_000,
        )
        for key, value in attributes.items():
            span.attributes.add(key=key).value.string_value = value
    return request


def send(vendor: Vendor, request: ExportTraceServiceRequest) -> None:
    answer = requests.post(f"{vendor.url}/v1/traces", request.SerializeToString(), headers=PROTOBUF, timeout=30)
    assert answer.status_code == 200, answer.text


def ask(vendor: Vendor, spec: dict[str, Any], dataset: str = "__all__", **run: Any) -> dict[str, Any]:
    """Create a query, run it, poll for the result; its ``data``."""
    created = requests.post(f"{vendor.url}/1/queries/{dataset}", json=spec, headers=HEADERS, timeout=30)
    assert created.status_code == 200, created.text
    started = requests.post(
        f"{vendor.url}/1/query_results/{dataset}",
        json={"query_id": created.json()["id"], "disable_series": True, **run},
        headers=HEADERS,
        timeout=30,
    )
    assert started.status_code == 201, started.text
    assert started.json()["complete"] is False
    url = vendor.url + started.headers["Location"]

    def complete() -> dict[str, Any] | None:
        answer = requests.get(url, headers=HEADERS, timeout=30)
        assert answer.status_code == 200, answer.text
        document: dict[str, Any] = answer.json()
        return document if document["complete"] else None

    document = until(complete, 20, "the query to complete")
    assert document is not None
    assert "error" not in document, document
    data: dict[str, Any] = document["data"]
    return data


def rows(vendor: Vendor, spec: dict[str, Any], dataset: str = "__all__", **run: Any) -> list[dict[str, Any]]:
    """The result rows of a query."""
    return [row["data"] for row in ask(vendor, spec, dataset, **run)["results"]]


def count(vendor: Vendor, dataset: str = "__all__", *filters: dict[str, Any]) -> int:
    (row,) = rows(vendor, {"filters": list(filters)}, dataset)
    return int(row["COUNT"])
