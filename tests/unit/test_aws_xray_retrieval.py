"""Pages of what a trace retrieval fetched: each span once, whatever the trace is made of, and no more in memory than a page."""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pytest

from localstack.aws.state import State
from localstack.aws.xray.spans import conversion
from localstack.aws.xray.spans.retrieval import PAGE_BYTES, PAGE_SPANS, Format, Retrieval, TracePart
from tests.api.aws_clients import segment_id, trace_id

NOW = float(int(time.time()))


@pytest.fixture
def state(tmp_path: Path) -> Iterator[State]:
    made = State(tmp_path / "aws.duckdb", "us-east-1")
    yield made
    made.close()


def span(trace: str, start: float, **fields: Any) -> dict[str, Any]:
    """A span document of a second's length."""
    times = {"startTimeUnixNano": int(start * 1e9), "endTimeUnixNano": int((start + 1) * 1e9), "durationNano": 10**9}
    made = {"traceId": trace[2:].replace("-", ""), "spanId": segment_id(), "name": "work", "kind": "INTERNAL", "parentSpanId": "1" * 16}
    blocks: dict[str, Any] = {"resource": {"attributes": {}}, "scope": {}, "attributes": {}, "events": [], "links": []}
    return made | times | blocks | {"status": {"code": "UNSET"}} | fields


def keep(state: State, *spans: dict[str, Any], trace: str) -> None:
    rows = [
        {
            "trace_id": trace,
            "id": one["spanId"],
            "start_time": one["startTimeUnixNano"] / 1e9,
            "end_time": one["endTimeUnixNano"] / 1e9,
            "received": NOW,
            "segment": False,
            "document": orjson.dumps(one).decode(),
        }
        for one in spans
    ]
    state.store.append({"xray_span": pa.Table.from_pylist(rows)})


def fetched(state: State, *traces: str) -> Retrieval:
    retrievals = state.xray.retrievals
    return replace(retrievals.get(retrievals.start(traces, NOW - 60, NOW + 60)), status="COMPLETE")


def pages(state: State, retrieval: Retrieval, form: Format) -> list[list[TracePart]]:
    found, token = [], None
    while True:
        parts, token = state.xray.retrievals.page(retrieval, form, token)
        found.append(parts)
        if token is None:
            return found


def test_a_page_of_a_huge_trace_takes_the_memory_of_a_page(state: State) -> None:
    trace = trace_id(NOW)
    for _ in range(4):
        keep(state, *(span(trace, NOW, attributes={"much": "x" * 100_000}) for _ in range(100)), trace=trace)
    retrieval = fetched(state, trace)
    tracemalloc.start()
    try:
        found = state.xray.retrievals.page(retrieval, "OTEL", None)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert PAGE_BYTES <= sum(len(document) for part in found[0] for _, document in part.spans) <= PAGE_BYTES + 200_000
    assert peak < 3 * PAGE_BYTES, "of 40 MB"
    assert sum(len(part.spans) for page in pages(state, retrieval, "OTEL") for part in page) == 400


def test_each_span_is_on_one_page_whatever_it_came_as(state: State) -> None:
    """Of one start, sent again, indexed as two segments, embedded in a segment by more than a page holds."""
    trace = trace_id(NOW)
    same = [span(trace, NOW) for _ in range(150)]
    roots = [
        span(trace, NOW + 1, kind="CLIENT", attributes={"aws.span.kind": "LOCAL_ROOT", "aws.local.service": "Worker"}) for _ in range(70)
    ]
    keep(state, *same, *roots, trace=trace)
    again = [one | {"name": "sent again"} for one in same[:20]]
    keep(state, *again, trace=trace)
    # What an indexing rule takes of them is stored as segments too.
    state.xray.segments.put(_segments(roots[:25]))
    calls = [{"id": segment_id(), "name": "db", "start_time": NOW + 3, "end_time": NOW + 4} for _ in range(230)]
    large = {"trace_id": trace, "id": segment_id(), "name": "Cruddur", "start_time": NOW + 3, "end_time": NOW + 9, "subsegments": calls}
    state.xray.segments.put([orjson.dumps(large).decode()])
    retrieval = fetched(state, trace_id(NOW), trace)

    parts = [part for page in pages(state, retrieval, "OTEL") for part in page]
    assert {(part.id, part.duration) for part in parts} == {(trace, 9.0)}
    assert [len(part.spans) for part in parts] == [PAGE_SPANS] * 4 + [51]
    documents = [orjson.loads(document) for part in parts for _, document in part.spans]
    assert sorted(one["spanId"] for one in documents) == sorted(
        [*(one["spanId"] for one in same + roots), large["id"], *(one["id"] for one in calls)]
    )
    assert [one["startTimeUnixNano"] for one in documents] == sorted(one["startTimeUnixNano"] for one in documents)
    assert sum(one["name"] == "sent again" for one in documents) == 20

    parts = [part for page in pages(state, retrieval, "XRAY") for part in page]
    assert [len(part.spans) for part in parts] == [PAGE_SPANS] * 2 + [150 + 2 * 70 + 1 - 2 * PAGE_SPANS]
    assert len({identity for part in parts for identity, _ in part.spans}) == 291


def _segments(spans: list[dict[str, Any]]) -> list[str]:
    return [orjson.dumps(document).decode() for one in spans for document in conversion.documents(one)]
