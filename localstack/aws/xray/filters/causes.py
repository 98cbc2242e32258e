"""Root causes in tables, so that SQL can decide what an expression says of them. Filled when one asks.

Root causes are found in Python (:mod:`localstack.aws.xray.traces.rootcauses`) from a trace's documents, at some 10,000 traces a second:
too slow for each query and too dear for each writer, who may never ask. So the first query with a ``rootcause`` clause pays for
the traces in its range, a part at a time, and later ones only for what came since.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import duckdb
import orjson
import pyarrow as pa

from localstack import longtext
from localstack.aws.xray.filters.syntax import CauseKind
from localstack.aws.xray.traces.derivation import MAX_INDEXED
from localstack.aws.xray.traces.documents import Documents
from localstack.aws.xray.traces.rootcauses import RootCause, root_causes
from localstack.aws.xray.traces.summaries import root_cause
from localstack.store import Store, registered

SCHEMA = (
    """CREATE TABLE xray_root_cause (
        trace UUID NOT NULL,
        began DOUBLE NOT NULL,               -- the trace's
        kind VARCHAR NOT NULL,               -- fault, error, responsetime
        number INTEGER NOT NULL,             -- among the causes of this kind
        members VARCHAR NOT NULL             -- as in TraceSummary, JSON
    )""",
    # The services of a root cause, the entities of all its services, their exceptions: three lists, each counted from 0.
    """CREATE TABLE xray_root_cause_element (
        trace UUID NOT NULL,
        began DOUBLE NOT NULL,
        kind VARCHAR NOT NULL,
        number INTEGER NOT NULL,
        element VARCHAR NOT NULL,            -- service, entity, exception
        position INTEGER NOT NULL,
        last BOOLEAN NOT NULL,
        name VARCHAR, type VARCHAR, inferred BOOLEAN, remote BOOLEAN, coverage DOUBLE, message VARCHAR
    )""",
    # Of which traces the causes of a kind are in the tables above, also where there are none.
    "CREATE TABLE xray_root_cause_known (trace UUID NOT NULL, began DOUBLE NOT NULL, kind VARCHAR NOT NULL)",
    # What changed up to this commit is no longer taken for known.
    "CREATE TABLE xray_root_cause_watermark (watermark BIGINT NOT NULL)",
    "INSERT INTO xray_root_cause_watermark VALUES (0)",
)

#: What is read and derived at once at most, in traces and in bytes of documents: what bounds the memory this takes.
PART_TRACES = 2000
PART_BYTES = 8 * 1024 * 1024

_KINDS: tuple[CauseKind, ...] = ("fault", "error", "responsetime")
_TABLES = ("xray_root_cause", "xray_root_cause_element", "xray_root_cause_known")

_CAUSE = pa.schema(
    [
        ("trace", pa.string()),
        ("began", pa.float64()),
        ("kind", pa.string()),
        ("number", pa.int32()),
        ("members", pa.string()),
    ]
)
_ELEMENT = pa.schema(
    [
        ("trace", pa.string()),
        ("began", pa.float64()),
        ("kind", pa.string()),
        ("number", pa.int32()),
        ("element", pa.string()),
        ("position", pa.int32()),
        ("last", pa.bool_()),
        ("name", pa.string()),
        ("type", pa.string()),
        ("inferred", pa.bool_()),
        ("remote", pa.bool_()),
        ("coverage", pa.float64()),
        ("message", pa.string()),
    ]
)
_KNOWN = pa.schema([("trace", pa.string()), ("began", pa.float64()), ("kind", pa.string())])


class RootCauseTables:
    """The root causes of one store's traces. Reads the index: bring it up to date first."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._documents = Documents(store)
        self._lock = threading.Lock()

    def fill(self, kinds: Collection[CauseKind], began: tuple[float, float] | None) -> None:
        """Have the root causes of these kinds, of all traces that began in this range (both ends in it), in the tables."""
        if not kinds:
            return
        with self._lock:
            self._forget_changed()
            for kind in kinds:
                if kind != "responsetime":
                    self._skip(kind, began)
            for part in self._parts(kinds, began):
                self._derive(part)

    def _forget_changed(self) -> None:
        """What is read after this is at least as new as the watermark; what changes after that is forgotten the next time."""
        ((after,),) = self._store.read("SELECT watermark FROM xray_root_cause_watermark")
        ((upto,),) = self._store.read("SELECT coalesce(max(changed_commit), 0) FROM segment")
        if upto == after:
            return
        with self._store.transaction() as db:
            db.execute(
                """CREATE OR REPLACE TEMP TABLE changed_trace AS
                   SELECT DISTINCT trace FROM segment WHERE changed_commit > ? AND changed_commit <= ?""",
                [after, upto],
            )
            for table in _TABLES:
                db.execute(f"DELETE FROM {table} WHERE trace IN (FROM changed_trace)")
            db.execute("DROP TABLE changed_trace")
            db.execute("UPDATE xray_root_cause_watermark SET watermark = ?", [upto])

    def _skip(self, kind: CauseKind, began: tuple[float, float] | None) -> None:
        """Traces in whose documents the member does not occur (nor an escaped letter that may hide it) have no such cause; a long one may.

        Only a short cut: without the memory to look through large documents this does nothing.
        """
        range_, parameters = _range(began)
        with contextlib.suppress(duckdb.OutOfMemoryException), self._store.transaction() as db:
            db.execute(
                f"""INSERT INTO xray_root_cause_known
                    SELECT trace, began, $kind FROM xray_trace
                    WHERE {range_} AND trace NOT IN (SELECT trace FROM xray_root_cause_known WHERE kind = $kind AND {range_})
                      AND trace NOT IN (SELECT trace FROM segment
                                        WHERE contains(document, $member) OR contains(document, '\\u') OR long_text IS NOT NULL)""",
                {"kind": kind, "member": f'"{kind}"', **parameters},
            )

    def _parts(self, kinds: Collection[CauseKind], began: tuple[float, float] | None) -> Iterator[dict[str, float]]:
        """The traces that are not known of, with when they began, some at a time."""
        range_, parameters = _range(began)
        missing = " OR ".join(
            f"trace NOT IN (SELECT trace FROM xray_root_cause_known WHERE kind = '{kind}' AND {range_})" for kind in sorted(kinds)
        )
        after = "00000000-0000-0000-0000-000000000000"
        while True:
            rows = self._store.read(
                f"""
                WITH wanted AS (
                    SELECT trace, began FROM xray_trace WHERE {range_} AND trace >= $after::UUID AND ({missing})
                    ORDER BY trace LIMIT {PART_TRACES}
                ), sized AS (
                    SELECT trace, any_value(began) AS began, sum(bytes) AS bytes FROM wanted JOIN segment USING (trace) GROUP BY trace
                )
                SELECT trace::VARCHAR, began FROM (SELECT *, sum(bytes) OVER (ORDER BY trace) - bytes AS before FROM sized)
                WHERE before < {PART_BYTES} ORDER BY trace
                """,
                {"after": after, **parameters},
            )
            if not rows:
                return
            yield dict(rows)
            after = rows[-1][0]

    def _derive(self, part: Mapping[str, float]) -> None:
        causes: list[dict[str, Any]] = []
        elements: list[dict[str, Any]] = []
        ids = [_trace_id(trace) for trace in part]
        # One alone may be larger: then, as for its summary, its first documents count.
        documents = self._documents.of(ids) if len(ids) > 1 else {ids[0]: self._documents.part(ids[0], PART_BYTES)[0]}
        for trace in part:
            found = root_causes(documents[_trace_id(trace)])
            for kind, listed in zip(_KINDS, (found.fault, found.error, found.response_time), strict=True):
                for number, cause in enumerate(listed):
                    key = {"trace": trace, "began": part[trace], "kind": kind, "number": number}
                    members = orjson.dumps(root_cause(cause)).decode()
                    # As everything that is in a row: of a bounded length. Such a cause is found by its elements.
                    causes.append(key | {"members": "{}" if longtext.is_long(members) else members})
                    elements.extend(key | element for element in _elements(cause))
        known = [{"trace": trace, "began": began, "kind": kind} for trace, began in part.items() for kind in _KINDS]
        with self._store.transaction() as db:
            for table, rows, schema in zip(_TABLES, (causes, elements, known), (_CAUSE, _ELEMENT, _KNOWN), strict=True):
                # Of another kind they may be known already.
                db.execute(f"DELETE FROM {table} WHERE trace IN (SELECT unnest($traces::UUID[]))", {"traces": list(part)})
                with registered(db, pa.Table.from_pylist(rows, schema)) as view:
                    db.execute(f"INSERT INTO {table} BY NAME SELECT * REPLACE (trace::UUID AS trace) FROM {view}")


def _trace_id(trace: str) -> str:
    digits = trace.replace("-", "")
    return f"1-{digits[:8]}-{digits[8:]}"


def _range(began: tuple[float, float] | None) -> tuple[str, dict[str, float]]:
    return ("true", {}) if began is None else ("began BETWEEN $since AND $until", {"since": began[0], "until": began[1]})


def _indexed(text: str | None) -> str | None:
    return text and text[:MAX_INDEXED]


def _elements(cause: RootCause) -> Iterator[dict[str, Any]]:
    """The rows of xray_root_cause_element, without their key."""
    entities = [entity for service in cause.services for entity in service.entities]
    lists: dict[str, list[dict[str, Any]]] = {
        "service": [{"name": one.service.name, "type": one.service.type, "inferred": one.inferred} for one in cause.services],
        "entity": [{"name": one.name, "remote": one.remote, "coverage": one.coverage} for one in entities],
        "exception": [
            {"name": _indexed(failure.name), "message": _indexed(failure.message)} for one in entities for failure in one.exceptions
        ],
    }
    for element, found in lists.items():
        for position, values in enumerate(found):
            yield {"element": element, "position": position, "last": position == len(found) - 1} | values
