"""How segments are stored: the table ``segment``, and what an arrival does to it.

A segment that comes again in its present form counts as one more delivery; in another form it takes the place of what was there.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import duckdb
import pyarrow as pa

from localstack import longtext
from localstack.aws.xray.segments.validation import Segment, id_time
from localstack.store import Feed, registered

SCHEMA = (
    """CREATE TABLE segment (
        trace_id VARCHAR NOT NULL,
        id VARCHAR NOT NULL,
        parent_id VARCHAR,
        independent BOOLEAN NOT NULL,      -- a subsegment sent as a document of its own
        name VARCHAR NOT NULL,
        trace_time DOUBLE NOT NULL,        -- when the trace began, as far as this segment knows; epoch seconds, as all times
        start_time DOUBLE NOT NULL,
        end_time DOUBLE,                   -- NULL: in progress
        received DOUBLE NOT NULL,          -- when it came last
        first_commit BIGINT NOT NULL,      -- the commit that brought it first; grows from commit to commit
        revision INTEGER NOT NULL,         -- how often it came, in progress or complete
        deliveries INTEGER NOT NULL,       -- how often it came in its present form: more than 1 is a duplicate
        document VARCHAR NOT NULL
    )""",
)

#: The 64 bits of ``id`` as a number: looking for a segment among numbers takes a tenth of the time it takes among texts.
ID_BITS = (
    "ALTER TABLE segment ADD COLUMN id_bits UBIGINT",
    "UPDATE segment SET id_bits = ('0x' || id)::UBIGINT",
)

#: What the index of traces needs: the trace as the number its 32 digits are, the commit that changed the row last (which grows from
#: commit to commit too), the document's size. X-Ray's ids are the same in upper and in lower case; rows have them in lower case.
INDEXED = (
    "UPDATE segment SET trace_id = lower(trace_id), id = lower(id), parent_id = lower(parent_id) "
    "WHERE trace_id <> lower(trace_id) OR id <> lower(id) OR parent_id <> lower(parent_id)",
    "ALTER TABLE segment ADD COLUMN trace UUID",
    "ALTER TABLE segment ADD COLUMN changed_commit BIGINT",
    "ALTER TABLE segment ADD COLUMN bytes INTEGER",
    "UPDATE segment SET trace = replace(trace_id[3:], '-', '')::UUID, changed_commit = first_commit, bytes = strlen(document)",
)

#: Long documents are beside their segments.
LONG_DOCUMENTS = longtext.moved("segment", "document")

#: What is known of a segment when it arrives, as the table has it; ``bytes`` of a long document only.
_ARRIVED = pa.schema(
    {
        "trace": pa.uuid(),
        "trace_id": pa.string(),
        "id": pa.string(),
        "id_bits": pa.uint64(),
        "parent_id": pa.string(),
        "independent": pa.bool_(),
        "name": pa.string(),
        "trace_time": pa.float64(),
        "start_time": pa.float64(),
        "end_time": pa.float64(),
        "received": pa.float64(),
        "document": pa.string(),
        "bytes": pa.int32(),
        "long_text": pa.int64(),
    }
)


def to_arrow(segments: Sequence[Segment], now: float) -> dict[str, pa.Table]:
    """Rows for the store's tables ``long_text`` and ``segment``, in the order of arrival."""
    if not segments:
        return {"segment": _ARRIVED.empty_table()}
    trace_ids, ids, parents, independent, names, starts, ends, documents = zip(*segments, strict=True)
    # As bytes: to make them of texts takes DuckDB longer than all else of a row.
    traces = pa.array([bytes.fromhex(trace_id[2:10] + trace_id[11:]) for trace_id in trace_ids], pa.binary(16))
    shorts, long, parts = longtext.split(documents)
    times = [id_time(trace_id, now) or start for trace_id, start in zip(trace_ids, starts, strict=True)]
    columns = [
        pa.ExtensionArray.from_storage(pa.uuid(), traces),
        trace_ids,
        ids,
        [int(identity, 16) for identity in ids],
        parents,
        independent,
        names,
        times,
        starts,
        ends,
        [now] * len(segments),
        shorts,
        [None if number is None else len(document.encode()) for number, document in zip(long, documents, strict=True)],
        long,
    ]
    return {"long_text": parts, "segment": pa.table(columns, schema=_ARRIVED)}


class _Seen:
    """Ids that may be in the table: a Bloom filter, so that a new segment, as almost all are, costs no look at a million others.

    The ids are random bits themselves and need no hashing: three parts of one say where it is noted. Of a million ids, one new one
    in ten thousand looks like one of them.
    """

    _MASK = (1 << 26) - 1

    def __init__(self, db: duckdb.DuckDBPyConnection) -> None:
        self._bits = bytearray((self._MASK + 1) // 8)
        result = db.execute("SELECT id_bits FROM segment")
        while rows := result.fetchmany(10_000):
            self.add([row[0] for row in rows])

    def add(self, ids: Sequence[int]) -> list[int]:
        """Note ids; those of them that may have been noted before."""
        bits, mask = self._bits, self._MASK
        known = []
        for number in ids:
            first, second, third = number & mask, number >> 19 & mask, number >> 38
            one, two, three = 1 << (first & 7), 1 << (second & 7), 1 << (third & 7)
            first, second, third = first >> 3, second >> 3, third >> 3
            if bits[first] & one and bits[second] & two and bits[third] & three:
                known.append(number)
            else:
                bits[first] |= one
                bits[second] |= two
                bits[third] |= three
        return known


#: Whether a segment ``new`` was in progress, and came after the complete one.
_LATE = "(new.end_time IS NULL AND segment.end_time IS NOT NULL)"
#: The long text of the one of the two that does not stay.
_SUPERSEDED = f"CASE WHEN {_LATE} THEN new.long_text ELSE segment.long_text END"


class SegmentInsert:
    """Brings segments into the table: a segment is stored once for its trace and id.

    A complete document takes the place of one in progress, never the other way round; of two complete ones the later stays.
    """

    def __init__(self) -> None:
        self._commit: int | None = None
        self._seen: _Seen | None = None
        self._feed: Feed | None = None

    def prepare(self, db: duckdb.DuckDBPyConnection) -> None:
        """See :class:`localstack.store.Store`: to plan the insert takes longer than to do it."""
        self._feed = Feed(db, "arrived_segment", _with_commit(_ARRIVED.empty_table(), 0))
        columns = ", ".join(name for name in _ARRIVED.names if name != "bytes")
        db.execute(
            f"""PREPARE insert_segment AS
                INSERT INTO segment ({columns}, first_commit, changed_commit, revision, deliveries, bytes)
                SELECT {columns}, commit, commit, 1, 1, coalesce(bytes, strlen(document)) FROM arrived_segment"""
        )

    def __call__(self, db: duckdb.DuckDBPyConnection, rows: pa.Table) -> None:
        if self._commit is None or self._seen is None:
            ((self._commit,),) = db.execute("SELECT coalesce(max(changed_commit), 0) FROM segment").fetchall()
            self._seen = _Seen(db)
        self._commit += 1
        # What a transaction noted stays noted when it fails: then a new segment is looked for, and not found.
        known = self._seen.add(rows["id_bits"].to_pylist())
        if not known:
            self._insert(db, rows)
            return
        for wave in _waves(rows):
            targets = _targets(db, wave, known)
            aimed = wave.append_column("target", pa.array([target and target[0] for target in targets], pa.int64()))
            with registered(db, aimed.filter(pa.array([target is not None for target in targets]))) as view:
                long = wave["long_text"].to_pylist()
                if any(target is not None and (target[1], new) != (None, None) for target, new in zip(targets, long, strict=True)):
                    longtext.delete(db, f"segment, {view} new WHERE segment.rowid = new.target", _SUPERSEDED)
                self._update(db, view)
            self._insert(db, wave.filter(pa.array([target is None for target in targets])))

    def _insert(self, db: duckdb.DuckDBPyConnection, rows: pa.Table) -> None:
        assert self._feed is not None, "the writer thread has prepared it"
        assert self._commit is not None
        # As a column: a statement with a parameter is planned anew each time.
        self._feed.rows = _with_commit(rows, self._commit)
        try:
            db.execute("EXECUTE insert_segment")
        finally:
            self._feed.rows = self._feed.rows.slice(0, 0)

    def _update(self, db: duckdb.DuckDBPyConnection, view: str) -> None:
        db.execute(
            f"""
            UPDATE segment SET
                changed_commit = {self._commit},
                bytes = CASE WHEN late THEN segment.bytes ELSE coalesce(new.bytes, strlen(new.document)) END,
                revision = segment.revision + 1,
                received = new.received,
                deliveries = CASE WHEN late THEN deliveries WHEN segment.end_time IS NULL AND new.end_time IS NOT NULL THEN 1
                                  ELSE deliveries + 1 END,
                parent_id = CASE WHEN late THEN segment.parent_id ELSE new.parent_id END,
                independent = CASE WHEN late THEN segment.independent ELSE new.independent END,
                name = CASE WHEN late THEN segment.name ELSE new.name END,
                start_time = CASE WHEN late THEN segment.start_time ELSE new.start_time END,
                end_time = CASE WHEN late THEN segment.end_time ELSE new.end_time END,
                document = CASE WHEN late THEN segment.document ELSE new.document END,
                long_text = CASE WHEN late THEN segment.long_text ELSE new.long_text END
            FROM (
                SELECT new.*, {_LATE} AS late FROM {view} new JOIN segment ON segment.rowid = new.target
            ) new
            WHERE segment.rowid = new.target
            """
        )


def _with_commit(rows: pa.Table, commit: int) -> pa.Table:
    return rows.append_column("commit", pa.array([commit] * rows.num_rows, pa.int64()))


def _keys(rows: pa.Table) -> list[tuple[str, str]]:
    """What makes a segment one of its own: trace and id."""
    return list(zip(rows["trace_id"].to_pylist(), rows["id"].to_pylist(), strict=True))


def _targets(db: duckdb.DuckDBPyConnection, rows: pa.Table, ids: Sequence[int]) -> list[tuple[int, int | None] | None]:
    """For each row the table's row that is the same segment, its number and its long text's; ``ids``: those that may have one."""
    marks = ", ".join(map(str, set(ids)))
    found = db.execute(f"SELECT trace_id, id, rowid, long_text FROM segment WHERE id_bits IN ({marks})").fetchall()
    stored = {(trace_id, identity): (number, long) for trace_id, identity, number, long in found}
    return [stored.get(key) for key in _keys(rows)]


def _waves(rows: pa.Table) -> Iterable[pa.Table]:
    """Split rows so that no part holds a segment twice, and each finds what the one before it stored; almost always one part."""
    seen: dict[tuple[str, str], int] = {}
    numbers = []
    for key in _keys(rows):
        number = seen.get(key, 0)
        seen[key] = number + 1
        numbers.append(number)
    last = max(numbers, default=0)
    if last == 0:
        return [rows]
    return [rows.filter(pa.array([number == wave for number in numbers])) for wave in range(last + 1)]
