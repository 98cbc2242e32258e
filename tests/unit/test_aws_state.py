"""The file of the local AWS: older ones are brought up to date, and ingest keeps its promises without HTTP in between."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import duckdb
import pytest

from localstack.aws.state import APPLICATION, MIGRATIONS, State
from localstack.aws.xray.segments.storage import ID_BITS, INDEXED
from localstack.aws.xray.traces.reading import SummaryQuery
from localstack.store import Store

TRACE = "1-6b02ee0b-536effe739ae0731fac41d6c"


def document(**fields: Any) -> str:
    now = time.time()
    return json.dumps({"id": "Ab" * 8, "name": "n", "trace_id": TRACE, "start_time": now, "end_time": now + 1} | fields)


def test_a_file_from_before_a_migration_keeps_its_segments_and_knows_them_again(tmp_path: Path) -> None:
    path = tmp_path / "aws.duckdb"
    before = MIGRATIONS.index(ID_BITS[0])
    assert MIGRATIONS[before : before + len(ID_BITS)] == ID_BITS
    old = Store(path, APPLICATION, MIGRATIONS[:before])

    def write(db: duckdb.DuckDBPyConnection) -> None:
        db.execute(
            "INSERT INTO segment VALUES (?, ?, NULL, false, 'n', 1, 1, 2, 1, 1, 1, 1, ?)", [TRACE, "Ab" * 8, document(metadata={"old": 1})]
        )

    old.transact(write)
    old.close()
    state = State(path, "us-east-1")
    assert state.xray.segments.put([document(metadata={"new": 1})]) == []
    (trace,) = state.xray.traces.batch([TRACE]).traces
    assert [json.loads(text)["metadata"] for _, text in trace.documents] == [{"new": 1}]
    assert [one["deliveries"] for one in state.xray.segments.deliveries()] == [2]
    state.close()


def test_a_file_from_before_the_index_gets_it_at_its_first_reading(tmp_path: Path) -> None:
    path = tmp_path / "aws.duckdb"
    before = MIGRATIONS.index(INDEXED[0])
    assert MIGRATIONS[before : before + len(INDEXED)] == INDEXED
    old = Store(path, APPLICATION, MIGRATIONS[:before])

    def write(db: duckdb.DuckDBPyConnection) -> None:
        for number, trace in enumerate((TRACE.upper(), TRACE[:-1] + "0"), 1):
            db.execute(
                f"INSERT INTO segment VALUES (?, ?, NULL, false, 'n', 1, 1, 2, 1, {number}, 1, 1, ?, {0xABABABABABABABAB})",
                [trace, "Ab" * 8, document(trace_id=trace, fault=True)],
            )

    old.transact(write)
    old.close()
    state = State(path, "us-east-1")
    state.xray.index.refresh()
    assert state.store.read("SELECT trace_id, root, fault, first_commit FROM xray_trace ORDER BY first_commit") == [
        (TRACE, 0xABABABABABABABAB, True, 1),
        (TRACE[:-1] + "0", 0xABABABABABABABAB, True, 2),
    ]
    state.xray.segments.put([document()])
    state.xray.index.refresh()
    assert state.store.read("SELECT trace_id, fault, first_commit FROM xray_trace ORDER BY first_commit") == [
        (TRACE, False, 1),
        (TRACE[:-1] + "0", True, 2),
    ]
    state.close()


def test_a_segment_is_known_by_trace_and_id_whatever_their_case(tmp_path: Path) -> None:
    state = State(tmp_path / "aws.duckdb", "us-east-1")
    state.xray.segments.put([document()])
    state.xray.segments.put([document(id="ab" * 8, trace_id=TRACE.upper()), document(trace_id=TRACE[:-1] + "0")])
    (trace,) = state.xray.traces.batch([TRACE]).traces
    assert len(trace.documents) == 1
    assert [(one["trace_id"], one["id"], one["deliveries"]) for one in state.xray.segments.deliveries()] == [(TRACE, "ab" * 8, 2)]
    state.close()


@pytest.mark.parametrize("together", [True, False], ids=["in one batch", "one by one"])
def test_versions_of_a_segment_end_the_same_whether_they_come_together_or_not(tmp_path: Path, together: bool) -> None:
    """In progress, complete, in progress again (late), complete again: the last complete one stays, delivered twice."""
    state = State(tmp_path / "aws.duckdb", "us-east-1")
    versions = [
        document(end_time=None, in_progress=True, metadata={"v": 1}),
        document(metadata={"v": 2}),
        document(end_time=None, in_progress=True, metadata={"v": 3}),
        document(metadata={"v": 4}),
        document(id="c" * 16, metadata={"v": 5}),
    ]
    for call in [versions] if together else [[one] for one in versions]:
        assert state.xray.segments.put(call) == []
    (trace,) = state.xray.traces.batch([TRACE]).traces
    assert {one["id"]: one["metadata"]["v"] for one in (json.loads(text) for _, text in trace.documents)} == {"Ab" * 8: 4, "c" * 16: 5}
    assert [(one["id"], one["deliveries"]) for one in state.xray.segments.deliveries()] == [("ab" * 8, 2)]
    (summary,) = state.xray.traces.summaries(SummaryQuery(int(TRACE[2:10], 16), int(TRACE[2:10], 16) + 1)).summaries
    assert summary["Revision"] == 5
    state.close()
