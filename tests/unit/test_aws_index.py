"""The index, derived in SQL, says of every trace what ``facts`` derives of its documents in Python."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import tempfile
from collections.abc import Collection, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compose.settings import ROOT
from localstack.aws.state import APPLICATION, MEMORY_LIMIT, MIGRATIONS
from localstack.aws.xray.account.destinations import Destinations
from localstack.aws.xray.segments.storage import SegmentInsert
from localstack.aws.xray.segments.writing import Segments
from localstack.aws.xray.spans.receiving import Spans
from localstack.aws.xray.traces.documents import StoredDocument
from localstack.aws.xray.traces.facts import Annotation, Edge, Failure, Flags, Http, Node, Service, TraceFacts, facts
from localstack.aws.xray.traces.index import Index
from localstack.store import Store
from tests.waiting import until

#: Recent enough to be taken for a time; the rest of an id makes each example's traces its own.
NOW = 1_795_354_000


def open_store(path: Path) -> Store:
    return Store(path, APPLICATION, MIGRATIONS, memory_limit=MEMORY_LIMIT, inserts={"segment": SegmentInsert()})


@pytest.fixture(scope="module")
def shared() -> Iterator[Store]:
    """One store for all examples of a property: each has traces of its own."""
    with tempfile.TemporaryDirectory() as directory:
        store = open_store(Path(directory) / "aws.duckdb")
        yield store
        store.close()


def stored(store: Store, trace_ids: Collection[str]) -> dict[str, list[StoredDocument]]:
    found: dict[str, list[StoredDocument]] = {}
    for row in store.read(
        """SELECT trace_id, id, parent_id, independent, start_time, end_time, received, revision, document
           FROM segment WHERE trace_id IN (SELECT unnest($ids::VARCHAR[])) ORDER BY random()""",
        {"ids": list(trace_ids)},
    ):
        found.setdefault(row[0], []).append(StoredDocument(*row))
    return found


def indexed(store: Store, trace_ids: Collection[str]) -> dict[str, TraceFacts]:
    """What the index says of these traces, as facts."""
    uuids = [trace_id[2:].replace("-", "") for trace_id in trace_ids]

    def rows(table: str) -> dict[Any, list[dict[str, Any]]]:
        found: dict[Any, list[dict[str, Any]]] = {}
        for row in store.read_dicts(f"SELECT * FROM {table} WHERE trace IN (SELECT unnest($ids::UUID[]))", {"ids": uuids}):
            assert row["began"] == traces[row["trace"]]["began"], "a trace has one beginning"
            found.setdefault(row["trace"], []).append(row)
        return found

    kept = store.read_dicts("SELECT * FROM xray_trace WHERE trace IN (SELECT unnest($ids::UUID[]))", {"ids": uuids})
    traces = {row["trace"]: row for row in kept}
    assert len(traces) == len(kept), "a trace stands once"
    nodes, edges, annotations, failures = (rows(f"xray_{name}") for name in ("node", "edge", "annotation", "failure"))
    return {
        trace["trace_id"]: TraceFacts(
            trace_id=trace["trace_id"],
            start_time=trace["start_time"],
            end_time=trace["end_time"],
            root=_hex(trace["root"]),
            response_time=trace["response_time"],
            flags=_flags(trace),
            partial=trace["partial"],
            http=_http(trace),
            nodes=tuple(_node(row) for row in nodes.get(key, [])),
            edges=tuple(_edge(row) for row in edges.get(key, [])),
            annotations=tuple(_annotation(row) for row in annotations.get(key, [])),
            failures=tuple(
                Failure(_hex(row["node"]), f"{row['entity']:016x}", row["name"], row["message"], row["remote"])
                for row in failures.get(key, [])
            ),
        )
        for key, trace in traces.items()
    }


def _hex(bits: int | None) -> str | None:
    return None if bits is None else f"{bits:016x}"


def _flags(row: dict[str, Any]) -> Flags:
    return Flags(row["ok"], row["error"], row["fault"], row["throttle"])


def _http(row: dict[str, Any]) -> Http:
    return Http(*(row[f"http_{member}"] for member in ("url", "method", "status", "useragent", "clientip")))


def _node(row: dict[str, Any]) -> Node:
    return Node(
        f"{row['id']:016x}",
        Service(row["name"], row["type"], row["account_id"]),
        row["inferred"],
        row["entry"],
        row["start_time"],
        row["end_time"],
        _flags(row),
        _http(row),
        row["user_name"],
        row["availability_zone"],
        row["instance_id"],
        row["resource_arn"],
        row["work_end"],
    )


def _edge(row: dict[str, Any]) -> Edge:
    alias = None if row["alias_name"] is None else Service(row["alias_name"], row["alias_type"])
    target = f"{row['target']:016x}"
    return Edge(_hex(row["source"]), target, _hex(row["via"]), row["start_time"], row["end_time"], _flags(row), alias)


def _annotation(row: dict[str, Any]) -> Annotation:
    (value,) = (row[kind] for kind in ("string_value", "number_value", "boolean_value") if row[kind] is not None)
    return Annotation(_hex(row["node"]), row["key"], value)


def _in_order(one: TraceFacts) -> TraceFacts:
    """Tables have no order."""
    parts: Any = {name: tuple(sorted(getattr(one, name), key=repr)) for name in ("nodes", "edges", "annotations", "failures")}
    return replace(one, **parts)


def assert_index_is_right(store: Store, trace_ids: Collection[str]) -> None:
    found = indexed(store, trace_ids)
    documents = stored(store, trace_ids)
    assert set(found) == set(documents)
    for trace_id, parts in documents.items():
        assert _in_order(found[trace_id]) == _in_order(facts(trace_id, parts)), json.dumps([json.loads(part.document) for part in parts])
    # Edges bear the services at both ends, so that a graph needs no join.
    assert store.read(
        """SELECT count(*) FROM xray_edge e
           LEFT JOIN xray_node s ON s.trace = e.trace AND s.id = e.source LEFT JOIN xray_node t ON t.trace = e.trace AND t.id = e.target
           WHERE (e.source_name, e.source_type, e.source_account_id) IS DISTINCT FROM (s.name, s.type, s.account_id)
              OR (e.target_name, e.target_type, e.target_account_id) IS DISTINCT FROM (t.name, t.type, t.account_id)"""
    ) == [(0,)]


_WRONG = st.sampled_from([None, 5, 2.5, True, "text", "", "5", 'q"uo\\te é', [], ["x"], {}, {"x": 1}])


def _often(good: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """``good``, and now and then anything else."""
    return st.one_of(good, good, good, _WRONG)


def _object(**members: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.fixed_dictionaries({}, optional={name: _often(values) for name, values in members.items()})


_HTTP = _object(
    request=_object(
        url=st.sampled_from(["http://a/b", "/x?y=1", "ü\n"]),
        method=st.sampled_from(["GET", "POST"]),
        user_agent=st.just("curl"),
        client_ip=st.just("1.2.3.4"),
    ),
    response=_object(status=st.sampled_from([200, 404, 500, 2**31, -1, 10**15]), content_length=st.integers(0, 9)),
)
_AWS = st.fixed_dictionaries(
    {},
    optional={
        "account_id": _often(st.just("123456789012")),
        "ec2": _often(_object(availability_zone=st.just("us-east-1a"), instance_id=st.just("i-1"))),
        "table_name": _often(st.just("cruddur")),
        "queue_url": _often(st.sampled_from(["https://sqs/1/queue", "https://sqs/"])),
        "function_name": _often(st.sampled_from(["f", "f:1", "arn:aws:lambda:us-east-1:1:function:f:2", "1:function:f", "a:b:c"])),
        "topic_arn": _often(st.just("arn:aws:sns:us-east-1:1:t")),
    },
)
_ANNOTATIONS = st.dictionaries(
    st.sampled_from(["a", "b", "é", "A"]), st.one_of(st.booleans(), st.integers(-(2**70), 2**70), st.floats(-1e9, 1e9), _WRONG), max_size=3
)
_CAUSE = st.one_of(
    st.just("0123456789abcdef"),
    _object(
        working_directory=st.just("/"),
        exceptions=st.lists(
            st.one_of(_WRONG, _object(type=st.just("KeyError"), message=st.just("k\n"), remote=st.booleans(), id=st.just("1"))), max_size=3
        ),
    ),
)
#: What may stand in any entity. Blocks and flags of wrong types are refused at writing, what stands in the blocks is not.
_FIELDS = st.fixed_dictionaries(
    {"name": st.sampled_from(["Cruddur", "DynamoDB", "lambda", "5", "ü"])},
    optional={
        "error": st.booleans(),
        "fault": st.booleans(),
        "throttle": st.booleans(),
        "namespace": _often(st.sampled_from(["aws", "remote", "remote", "local"])),
        "origin": _often(st.just("AWS::EC2::Instance")),
        "user": _often(st.just("andrew")),
        "resource_arn": _often(st.just("arn:aws:s3:::b")),
        "http": _HTTP,
        "aws": _AWS,
        "sql": st.just({"url": "db"}) | st.none(),
        "annotations": _ANNOTATIONS,
        "cause": _CAUSE,
    },
)


@st.composite
def _traces(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Documents of a trace. Ids are few enough for documents to find each other; each embedded subsegment has one of its own."""
    fresh = iter(range(0xE000, 0xFFFF))
    embedded: list[int] = []

    def entity(depth: int) -> dict[str, Any]:
        fields = dict(draw(_FIELDS))
        start = NOW + draw(st.integers(0, 8)) / 4
        fields["start_time"] = start
        if draw(st.integers(0, 4)):
            fields["end_time"] = start + draw(st.integers(-1, 8)) / 4
        else:
            fields["in_progress"] = True
        if depth:
            children: list[Any] = []
            for _ in range(draw(st.integers(0, 2))):
                number = next(fresh)
                embedded.append(number)
                children.append(entity(depth - 1) | {"id": f"{number:016x}"})
            if children or not draw(st.integers(0, 3)):
                fields["subsegments"] = children + draw(st.sampled_from([[], ["00000000000000aa"]]))
        return fields

    documents: list[dict[str, Any]] = []
    for number in range(1, draw(st.integers(1, 6)) + 1):
        fields = entity(2) | {"id": f"{number:016x}"}
        parents = [*range(9), *embedded, *embedded]
        parent = draw(st.sampled_from([None, *parents]))
        if draw(st.booleans()):
            fields["type"] = "subsegment"
            parent = parent or 0
        if parent is not None:
            fields["parent_id"] = f"{parent:016X}" if draw(st.booleans()) else f"{parent:016x}"
        documents.append(fields)
    # As it was when its parent was sent.
    for document in documents:
        if document.get("type") == "subsegment" and draw(st.booleans()):
            for holder in documents:
                if int(document["parent_id"], 16) == int(holder["id"], 16) != int(document["id"], 16):
                    older = {"id": document["id"], "name": "older", "start_time": NOW, "in_progress": True, "namespace": "remote"}
                    holder.setdefault("subsegments", []).append(older)
    again = draw(st.lists(st.sampled_from(documents), max_size=2))
    again = [dict(document) | ({"in_progress": True} if draw(st.booleans()) else {"name": "again"}) for document in again]
    return list(draw(st.permutations(documents + again)))


_numbers = iter(range(1, 1 << 30))


@settings(max_examples=50, deadline=None)
@given(st.lists(_traces(), min_size=1, max_size=3), st.data())
def test_index_equals_facts(shared: Store, traces: list[list[dict[str, Any]]], data: st.DataObject) -> None:
    """Whatever hangs together with whatever, in whatever order and in however many commits it comes, with refreshes between."""
    segments, index = Segments(shared, Spans(shared, Destinations(shared, "us-east-1")).tables), Index(shared)
    documents = []
    ids = set()
    for trace in traces:
        trace_id = f"1-{data.draw(st.sampled_from([NOW, 0xFFFF0000])):08x}-{next(_numbers):024x}"
        ids.add(trace_id)
        documents.append([json.dumps(document | {"trace_id": trace_id}) for document in trace])
    flat = data.draw(st.permutations([document for trace in documents for document in trace]))
    while flat:
        count = data.draw(st.integers(1, len(flat)))
        assert segments.put(flat[:count]) == []
        flat = flat[count:]
        if data.draw(st.booleans()):
            index.refresh()
    index.refresh()
    assert_index_is_right(shared, ids)


def test_a_trace_that_cannot_be_derived_holds_up_no_other(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """As a document that a bug let in: what stands in the table is no JSON."""
    store = open_store(tmp_path / "aws.duckdb")
    trace_ids = [f"1-{NOW:08x}-{number:024x}" for number in range(20)]
    segments, index = Segments(store, Spans(store, Destinations(store, "us-east-1")).tables), Index(store)
    one = {"name": "n", "id": "a" * 16, "start_time": NOW, "end_time": NOW + 1}
    assert segments.put([json.dumps(one | {"trace_id": trace_id}) for trace_id in trace_ids]) == []
    store.transact(lambda db: db.execute("UPDATE segment SET document = '{' WHERE trace_id = ?", [trace_ids[7]]))
    index.refresh()
    assert f"trace {trace_ids[7]} cannot be indexed" in caplog.text
    assert_index_is_right(store, [trace_id for trace_id in trace_ids if trace_id != trace_ids[7]])
    segments.put([json.dumps(one | {"trace_id": trace_ids[7]})])
    index.refresh()
    assert_index_is_right(store, trace_ids)
    store.close()


def test_documents_that_do_not_fit_into_memory_together_are_indexed(tmp_path: Path) -> None:
    """Documents of one trace and their subsegments, in a database that has less memory than DuckDB reads of either at a time."""
    store = Store(tmp_path / "aws.duckdb", APPLICATION, MIGRATIONS, memory_limit="64MB", inserts={"segment": SegmentInsert()})
    segments = Segments(store, Spans(store, Destinations(store, "us-east-1")).tables)
    trace_id = f"1-{NOW:08x}-{'7':0>24}"
    for first in range(0, 1000, 50):
        documents = []
        for number in range(first, first + 50):
            # Not the same text again and again, which the file would keep once.
            metadata = {"default": {"UserData": random.Random(number).randbytes(10_000).hex()}}
            times = {"start_time": NOW + number / 1000, "end_time": NOW + 2}
            inner = {"id": f"{number + 5000:016x}", "name": "inner", "namespace": "remote", "metadata": metadata, **times}
            documents.append({"id": f"{number + 1:016x}", "trace_id": trace_id, "name": "outer", "subsegments": [inner], **times})
        assert segments.put([json.dumps(document) for document in documents]) == []
    Index(store).refresh()
    counted = store.read("SELECT inferred, count(DISTINCT id) FROM xray_node GROUP BY inferred ORDER BY inferred")
    assert counted == [(False, 1000), (True, 1000)]
    store.close()


def test_what_no_longer_grows_is_indexed_without_a_reading(tmp_path: Path) -> None:
    store = open_store(tmp_path / "aws.duckdb")
    segments, index = Segments(store, Spans(store, Destinations(store, "us-east-1")).tables), Index(store)
    index.watch()
    segments.put([json.dumps({"name": "n", "id": "a" * 16, "trace_id": f"1-{NOW:08x}-{0:024x}", "start_time": NOW, "end_time": NOW})])
    until(lambda: store.read("SELECT count(*) FROM xray_trace") == [(1,)], 30, "the trace to be in the index")
    index.close()
    store.close()


def test_the_index_is_right_after_sigkill_in_the_middle_of_a_refresh(tmp_path: Path) -> None:
    path = tmp_path / "aws.duckdb"
    chance = random.Random(20261122)
    for _ in range(4):
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.unit.index_writer", str(path)], cwd=ROOT, stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        # A refresh takes far longer than the rest of a turn, so it is where the kill falls.
        for _ in range(chance.randint(1, 5)):
            assert process.stdout.readline(), "the writer ended on its own"
        process.kill()
        process.wait()
        process.stdout.close()
        store = open_store(path)
        Index(store).refresh()
        assert_index_is_right(store, [row[0] for row in store.read("SELECT DISTINCT trace_id FROM segment")])
        store.close()
