"""Documents of the largest size, more of them than DuckDB may have in memory: stored, found, indexed, and there in another process."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any, cast

import duckdb
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from localstack import longtext
from localstack.aws import state as aws
from localstack.aws.state import State
from localstack.aws.xray.segments import storage
from localstack.aws.xray.segments.validation import MAX_DOCUMENT_BYTES, Segment, parse
from localstack.aws.xray.spans.receiving import MAX_SPAN_BYTES
from localstack.aws.xray.traces import index
from localstack.aws.xray.traces.derivation import MAX_INDEXED, Changed, derive
from localstack.aws.xray.traces.reading import SummaryQuery
from localstack.store import Store
from tests.waiting import until

NOW = time.time()


def trace_id(number: int) -> str:
    return f"1-{int(NOW):08x}-{number + 1:024x}"


def large(number: int, size: int) -> str:
    return f"http://{number}/{'ü' * (size // 2)}"


def segment(number: int, **fields: object) -> str:
    document = {"name": "n", "id": f"{number + 1:016x}", "trace_id": trace_id(number), "start_time": NOW, "end_time": NOW + 1} | fields
    return json.dumps(document, ensure_ascii=False)


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(aws, "MEMORY_LIMIT", "36MB")
    return tmp_path / "aws.duckdb"


def test_segments(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The large member is one that the index has, too, as far as it looks into it: which takes more memory than storing."""
    monkeypatch.setattr(aws, "MEMORY_LIMIT", "64MB")
    size = MAX_DOCUMENT_BYTES - 500
    documents = [segment(number, http={"request": {"url": large(number, size)}}) for number in range(1_050)]
    state = State(path, "us-east-1")
    for first in range(0, len(documents), 50):
        assert state.xray.segments.put(documents[first : first + 50]) == []
    start = large(7, size)[:MAX_INDEXED]
    query = SummaryQuery(NOW - 10, NOW + 10, expression=f'http.url BEGINSWITH "{start}"')
    for _ in range(2):
        assert [one["Id"] for one in state.xray.traces.summaries(query).summaries] == [trace_id(7)]
        for number in (0, 1_049):
            (trace,) = state.xray.traces.batch([trace_id(number)]).traces
            assert [text for _, text in trace.documents] == [documents[number]]
        state.close()
        state = State(path, "us-east-1")
    state.close()


class Counting:
    """A connection, and how many statements it has run."""

    def __init__(self, db: duckdb.DuckDBPyConnection) -> None:
        self._db = db
        self.statements = 0

    def __getattr__(self, name: str) -> Any:
        self.statements += name == "execute"
        return getattr(self._db, name)


@pytest.mark.parametrize("sparing", [False, True])
def test_long_documents_among_short_ones_are_indexed_together(tmp_path: Path, sparing: bool) -> None:
    """However they lie: a statement for each of them would take two hundred times as long."""
    schema = (*storage.SCHEMA, *storage.ID_BITS, *storage.INDEXED, *longtext.SCHEMA, *storage.LONG_DOCUMENTS, *index.SCHEMA)
    store = Store(tmp_path / "aws.duckdb", "test", schema, inserts={"segment": storage.SegmentInsert()})
    found = [
        parse(segment(number, http={"request": {"url": f"http://{number}"}}, metadata={"d": "v" * (9_000 if number % 2 else 90)}), NOW)
        for number in range(600)
    ]
    store.append(storage.to_arrow([one for one in found if isinstance(one, Segment)], NOW))
    with store.transaction() as db:
        counting = Counting(db)
        derive(cast(duckdb.DuckDBPyConnection, counting), Changed(0, 1, 1, 0), sparing)
    assert sorted(store.read("SELECT trace_id, http_url FROM xray_trace")) == [(trace_id(n), f"http://{n}") for n in range(600)]
    assert counting.statements < 50
    store.close()


def test_a_long_document_gives_way_to_the_one_that_completes_it(path: Path) -> None:
    state = State(path, "us-east-1")
    sizes = (20_000, 30_000, 100, 40_000)
    for number, size in enumerate(sizes):
        fields = {"metadata": {"d": {"v": "v" * size}}} | ({"in_progress": True, "end_time": None} if number == 0 else {})
        assert state.xray.segments.put([segment(0, **fields)]) == []
        (trace,) = state.xray.traces.batch([trace_id(0)]).traces
        assert [len(json.loads(text)["metadata"]["d"]["v"]) for _, text in trace.documents] == [size]
        (told,) = state.store.read("SELECT bytes, (SELECT coalesce(sum(strlen(text)), 0) FROM long_text) FROM segment")
        assert told == (len(segment(0, **fields)), len(segment(0, **fields)) if size > 8_000 else 0), "nothing is left of what was there"
    # One in progress that comes late changes nothing.
    assert state.xray.segments.put([segment(0, in_progress=True, end_time=None, metadata={"d": {"v": "v" * 9_000}})]) == []
    (trace,) = state.xray.traces.batch([trace_id(0)]).traces
    assert [len(json.loads(text)["metadata"]["d"]["v"]) for _, text in trace.documents] == [sizes[-1]]
    assert state.store.read("SELECT sum(strlen(text)) FROM long_text") == [(len(segment(0, **fields)),)], "nothing is kept of it"
    state.close()


def test_spans(path: Path) -> None:
    state = State(path, "us-east-1")
    state.xray.destinations.update("CloudWatchLogs", None)
    until(state.xray.destinations.to_logs, 30, "the destination to be in force")
    size = MAX_SPAN_BYTES - 1_000
    for number in range(190):
        request = ExportTraceServiceRequest()
        span = (
            request.resource_spans.add()
            .scope_spans.add()
            .spans.add(
                trace_id=(number + 1).to_bytes(16), span_id=(number + 1).to_bytes(8), name="n", kind=2, start_time_unix_nano=int(NOW * 1e9)
            )
        )
        span.attributes.add(key="large").value.string_value = large(number, size)
        assert state.xray.spans.receive(request).rejected == 0
    for _ in range(2):
        ids = [f"{number + 1:032x}" for number in (0, 189)]
        found = state.xray.retrievals.stored(state.xray.retrievals.get(state.xray.retrievals.start(ids, NOW - 10, NOW + 10)))
        kept = [json.loads(span.document)["attributes"]["large"] for spans in found.values() for span in spans]
        assert kept == [large(number, size) for number in (0, 189)]
        state.close()
        state = State(path, "us-east-1")
    state.close()
