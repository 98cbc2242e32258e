"""Segment documents: what makes one valid, and how it is stored.

Source: "AWS X-Ray segment documents" in the X-Ray developer guide, and the API reference of PutTraceSegments.
Error codes and messages are the ones that users of X-Ray report (MissingName, MissingId, InvalidName, ParseError …); where no
report is known (DocumentTooLarge, InvalidTimestamp) the code follows their pattern, and may differ from the service's.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import duckdb
import orjson
import pyarrow as pa

from localstack.aws.xray import members
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

#: "Segment documents can be up to 64 kB in size."
MAX_DOCUMENT_BYTES = 64 * 1024

MAX_NAME = 200

#: How old a trace may be by its id. X-Ray keeps traces for 30 days.
RETENTION_SECONDS = 30 * 24 * 3600

#: A clock may be ahead of ours by this much; an id beyond it is not taken for epoch seconds.
MAX_AHEAD_SECONDS = 24 * 3600

TRACE_ID = re.compile(r"1-[0-9a-fA-F]{8}-[0-9a-fA-F]{24}")
SEGMENT_ID = re.compile(r"[0-9a-fA-F]{16}")
#: "The name can contain up to 200 Unicode letters, digits, and whitespace, and the symbols _ . : / % & # = + \ - @"
NAME = re.compile(r"[\w\s.:/%&#=+\\\-@]{1,200}")


@dataclass(frozen=True, slots=True)
class Limits:
    """How strict X-Ray is where the documentation leaves it open; each is a setting, and False is what loses nothing.

    ``old_trace_ids``: refuse a trace id whose first 8 digits are no time of the last 30 days (InvalidTraceId). Since October 2023 X-Ray
    takes W3C ids, whose digits are random, so it cannot refuse all of them; whether it still refuses some is not documented.
    ``full_traces``: refuse what comes for a trace of 500 KB or more (InvalidSegment, as users report it); the API reference says of
    such a trace only that LimitExceeded is set.
    ``annotations``: refuse annotations that break the documented form (ParseError); otherwise those are kept, and indexed where they are
    strings, numbers or booleans. ``wrong_types``: refuse documented members of another type (ParseError); otherwise they are kept
    and count as absent.
    """

    old_trace_ids: bool = False
    full_traces: bool = False
    annotations: bool = False
    wrong_types: bool = False


LENIENT = Limits()


@dataclass(frozen=True)
class Rejected:
    """A document that is not stored, as UnprocessedTraceSegments reports it. ``id`` is None where none could be read."""

    id: str | None
    code: str
    message: str


class Segment(NamedTuple):
    """One valid document. Times in epoch seconds; ``end_time`` None while in progress."""

    trace_id: str
    id: str
    parent_id: str | None
    independent: bool
    name: str
    start_time: float
    end_time: float | None
    document: str


class _Invalid(Exception):
    def __init__(self, code: str, why: str) -> None:
        super().__init__(code)
        self.code = code
        self.why = why


def parse(document: str, now: float, limits: Limits = LENIENT) -> Segment | Rejected:
    """Check one element of TraceSegmentDocuments. ``now``: epoch seconds."""
    identity: str | None = None
    kind = "segment"
    try:
        try:
            fields = orjson.loads(document)
        except orjson.JSONDecodeError as error:
            raise _Invalid("ParseError", str(error)) from None
        if not isinstance(fields, dict):
            raise _Invalid("ParseError", "the document is not a JSON object")
        found = fields.get("id")
        identity = found if isinstance(found, str) else None
        if fields.get("type") == "subsegment":
            kind = "subsegment"
        # A character is at most 4 bytes: most documents need no second look.
        if len(document) * 4 > MAX_DOCUMENT_BYTES and len(document.encode()) > MAX_DOCUMENT_BYTES:
            raise _Invalid("DocumentTooLarge", f"the document is larger than {MAX_DOCUMENT_BYTES} bytes")
        return _checked(fields, document, kind == "subsegment", now, limits)
    except _Invalid as error:
        return reject(identity, error.code, error.why, kind)


def reject(identity: str | None, code: str, why: str, kind: str = "segment") -> Rejected:
    """A rejection in the words of X-Ray."""
    return Rejected(identity, code, f"Invalid {kind}. ErrorCode: {code}, Cause: {why}")


def _checked(fields: dict[str, Any], document: str, independent: bool, now: float, limits: Limits) -> Segment:
    identity = _text(fields, "id", "Id")
    if not SEGMENT_ID.fullmatch(identity):
        raise _Invalid("InvalidId", "id must be 16 hexadecimal digits")
    trace_id = _text(fields, "trace_id", "TraceId")
    if not TRACE_ID.fullmatch(trace_id):
        raise _Invalid("InvalidTraceId", "trace_id must be 1-<8 hexadecimal digits>-<24 hexadecimal digits>")
    if limits.old_trace_ids and id_time(trace_id, now) is None:
        raise _Invalid("InvalidTraceId", "the time in trace_id is not within the last 30 days")
    parent_id = fields.get("parent_id")
    if parent_id is not None and not (isinstance(parent_id, str) and SEGMENT_ID.fullmatch(parent_id)):
        raise _Invalid("InvalidParentId", "parent_id must be 16 hexadecimal digits")
    if independent and parent_id is None:
        raise _Invalid("MissingParentId", "a subsegment sent on its own needs parent_id")
    name, start, end = _checked_body(fields)
    _check_blocks(fields)
    _check_members(fields, independent, limits)
    _check_subsegments(fields.get("subsegments"), limits)
    parent_id = None if parent_id is None else parent_id.lower()
    return Segment(trace_id.lower(), identity.lower(), parent_id, independent, name, start, end, document)


def _checked_body(fields: dict[str, Any]) -> tuple[str, float, float | None]:
    """What segments and subsegments share: name and times."""
    name = _text(fields, "name", "Name")
    if not NAME.fullmatch(name):
        raise _Invalid("InvalidName", f"name must be 1 to {MAX_NAME} letters, digits, whitespace and _ . : / % & # = + \\ - @")
    start = _time(fields, "start_time")
    if start is None:
        raise _Invalid("MissingStartTime", "start_time is required")
    in_progress = fields.get("in_progress")
    if in_progress is not None and not isinstance(in_progress, bool):
        raise _Invalid("InvalidInProgress", "in_progress must be a boolean")
    end = None if in_progress else _time(fields, "end_time")
    if end is None and not in_progress:
        raise _Invalid("MissingEndTime", "either end_time or in_progress is required")
    return name, start, end


def _check_blocks(fields: dict[str, Any]) -> None:
    for key in ("http", "aws", "annotations", "metadata", "service", "cause"):
        value = fields.get(key)
        if value is not None and not isinstance(value, dict) and not (key == "cause" and isinstance(value, str)):
            raise _Invalid("ParseError", f"{key} must be an object")
    for key in ("error", "fault", "throttle"):
        value = fields.get(key)
        if value is not None and not isinstance(value, bool):
            raise _Invalid("ParseError", f"{key} must be a boolean")


def _check_members(fields: dict[str, Any], subsegment: bool, limits: Limits) -> None:
    wrong = members.wrong_type(fields, subsegment) if limits.wrong_types else None
    if wrong is None and limits.annotations and fields.get("annotations"):
        wrong = members.wrong_annotation(fields["annotations"])
    if wrong is not None:
        raise _Invalid("ParseError", wrong)


def _check_subsegments(subsegments: Any, limits: Limits) -> None:
    if subsegments is None:
        return
    if not isinstance(subsegments, list):
        raise _Invalid("ParseError", "subsegments must be a list")
    for subsegment in subsegments:
        if isinstance(subsegment, str):
            continue  # the id of a subsegment that is sent on its own
        if not isinstance(subsegment, dict):
            raise _Invalid("ParseError", "a subsegment must be an object")
        if not SEGMENT_ID.fullmatch(_text(subsegment, "id", "Id")):
            raise _Invalid("InvalidId", "the id of a subsegment must be 16 hexadecimal digits")
        _checked_body(subsegment)
        _check_blocks(subsegment)
        _check_members(subsegment, True, limits)
        _check_subsegments(subsegment.get("subsegments"), limits)


def _text(fields: dict[str, Any], key: str, noun: str) -> str:
    value = fields.get(key)
    if value is None or value == "":
        raise _Invalid(f"Missing{noun}", f"{key} is required")
    if not isinstance(value, str):
        raise _Invalid(f"Invalid{noun}", f"{key} must be a string")
    return value


def _time(fields: dict[str, Any], key: str) -> float | None:
    value = fields.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e11:
        raise _Invalid("InvalidTimestamp", f"{key} must be epoch seconds")
    return float(value)


def id_time(trace_id: str, now: float) -> float | None:
    """The epoch seconds a trace id begins with; None where its digits are no recent time (a W3C id made at random)."""
    seconds = int(trace_id[2:10], 16)
    return float(seconds) if now - RETENTION_SECONDS <= seconds <= now + MAX_AHEAD_SECONDS else None


#: What is known of a segment when it arrives, as the table has it.
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
    }
)


def to_arrow(segments: Sequence[Segment], now: float) -> pa.Table:
    """Rows for the store's table ``segment``, in the order of arrival."""
    if not segments:
        return _ARRIVED.empty_table()
    trace_ids, ids, parents, independent, names, starts, ends, documents = zip(*segments, strict=True)
    # As bytes: to make them of texts takes DuckDB longer than all else of a row.
    traces = pa.array([bytes.fromhex(trace_id[2:10] + trace_id[11:]) for trace_id in trace_ids], pa.binary(16))
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
        documents,
    ]
    return pa.table(columns, schema=_ARRIVED)


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
        columns = ", ".join(_ARRIVED.names)
        db.execute(
            f"""PREPARE insert_segment AS
                INSERT INTO segment ({columns}, first_commit, changed_commit, revision, deliveries, bytes)
                SELECT {columns}, commit, commit, 1, 1, strlen(document) FROM arrived_segment"""
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
            aimed = wave.append_column("target", pa.array(targets, pa.int64()))
            with registered(db, aimed.filter(pa.array([target is not None for target in targets]))) as view:
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
                bytes = CASE WHEN late THEN bytes ELSE strlen(new.document) END,
                revision = segment.revision + 1,
                received = new.received,
                deliveries = CASE WHEN late THEN deliveries WHEN segment.end_time IS NULL AND new.end_time IS NOT NULL THEN 1
                                  ELSE deliveries + 1 END,
                parent_id = CASE WHEN late THEN segment.parent_id ELSE new.parent_id END,
                independent = CASE WHEN late THEN segment.independent ELSE new.independent END,
                name = CASE WHEN late THEN segment.name ELSE new.name END,
                start_time = CASE WHEN late THEN segment.start_time ELSE new.start_time END,
                end_time = CASE WHEN late THEN segment.end_time ELSE new.end_time END,
                document = CASE WHEN late THEN segment.document ELSE new.document END
            FROM (
                -- late: it was in progress, and came after the complete one
                SELECT arrived.*, arrived.end_time IS NULL AND before.end_time IS NOT NULL AS late
                FROM {view} arrived JOIN segment before ON before.rowid = arrived.target
            ) new
            WHERE segment.rowid = new.target
            """
        )


def _with_commit(rows: pa.Table, commit: int) -> pa.Table:
    return rows.append_column("commit", pa.array([commit] * rows.num_rows, pa.int64()))


def _keys(rows: pa.Table) -> list[tuple[str, str]]:
    """What makes a segment one of its own: trace and id."""
    return list(zip(rows["trace_id"].to_pylist(), rows["id"].to_pylist(), strict=True))


def _targets(db: duckdb.DuckDBPyConnection, rows: pa.Table, ids: Sequence[int]) -> list[int | None]:
    """For each row the number of the table's row that is the same segment; ``ids``: those that may have one."""
    marks = ", ".join(map(str, set(ids)))
    found = db.execute(f"SELECT trace_id, id, rowid FROM segment WHERE id_bits IN ({marks})").fetchall()
    stored = {(trace_id, identity): number for trace_id, identity, number in found}
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
