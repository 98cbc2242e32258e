"""Trace retrieval: a job that fetches traces of a time range by their ids, and what it fetched. Knows no HTTP.

Source: the API reference of StartTraceRetrieval, ListRetrievedTraces, GetRetrievedTracesGraph and CancelTraceRetrieval. AWS reads
the log group of Transaction Search only; here a retrieval finds every span and segment that is stored, indexed or not, by OTLP or
by PutTraceSegments. Ours too: how long a retrieval runs (:data:`RUNNING_SECONDS`), so that a client meets a status other than
COMPLETE, and that what came meanwhile and later is in it.
"""

from __future__ import annotations

import re
import secrets
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import duckdb
import orjson

from localstack import longtext
from localstack.aws.errors import AwsError
from localstack.aws.tokens import make_token, read_token
from localstack.aws.xray.graphs.service_graph import Graph, Graphs
from localstack.aws.xray.segments import storage, validation
from localstack.aws.xray.spans import conversion
from localstack.aws.xray.spans.documents import of_segment
from localstack.aws.xray.traces import index
from localstack.aws.xray.traces.documents import StoredDocument
from localstack.aws.xray.traces.entities import entities
from localstack.aws.xray.traces.facts import Service, service_of
from localstack.store import Store, row_ranges

SCHEMA = (
    """CREATE TABLE xray_retrieval (
        token VARCHAR PRIMARY KEY,
        trace_ids VARCHAR NOT NULL,        -- JSON, as they were asked for
        range_start DOUBLE NOT NULL,
        range_end DOUBLE NOT NULL,
        created DOUBLE NOT NULL,
        cancelled BOOLEAN NOT NULL
    )""",
)

Format = Literal["XRAY", "OTEL"]
Status = Literal["RUNNING", "COMPLETE", "CANCELLED"]

RUNNING_SECONDS = 0.5
#: "Retrievals will time out after 60 minutes": a token is good for so long.
LIFE_SECONDS = 60 * 60

#: Limits of an answer, by the shapes of the service model.
PAGE_TRACES = 5
PAGE_SPANS = 100
MAX_DOCUMENT = 204_800
#: A page ends early where its documents are together larger than this. Ours.
PAGE_BYTES = 4 * 1024 * 1024

#: Documents that are read at once for a page: those of the largest size are a page's bytes. And for everything that was fetched.
_STEP = PAGE_BYTES // MAX_DOCUMENT
_LARGE_STEP = 1000
#: Bytes that a range of rows is read of at once (:func:`localstack.store.row_ranges`).
_RANGE_BYTES = 2 * 1024 * 1024

_TRACE_ID = re.compile(rf"{validation.TRACE_ID.pattern}|[0-9a-fA-F]{{32}}")


@dataclass(frozen=True)
class Retrieval:
    """A retrieval as it stands. ``trace_ids``: as they were asked for, in X-Ray's form or as 32 digits."""

    token: str
    trace_ids: tuple[str, ...]
    start: float
    end: float
    status: Status


@dataclass(frozen=True, slots=True)
class Stored:
    """One span of a trace: a segment document, or (``segment`` false) a span document. Times in epoch seconds."""

    id: str
    start_time: float
    end_time: float | None
    segment: bool
    document: str


@dataclass(frozen=True, slots=True)
class _Row:
    """What is stored of the trace that was asked for as number ``number``. ``duration``: of the whole trace, in seconds."""

    number: int
    duration: float
    stored: Stored


@dataclass(frozen=True)
class TracePart:
    """Some spans of a trace: a trace of more than a page's goes on, with the same id, on the next one.

    ``spans``: ids and documents, by when what is stored began; what is made of one document stands together, earliest first.
    ``duration``: of the whole trace, in seconds.
    """

    id: str
    duration: float
    spans: list[tuple[str, str]]


@dataclass(frozen=True)
class Links:
    """Traces that a trace refers to by the links of a service's spans."""

    service: Service
    source: str
    destinations: tuple[str, ...]


class Retrievals:
    """The retrievals of one account in one region."""

    def __init__(self, store: Store) -> None:
        self._store = store

    # -- jobs

    def start(self, trace_ids: Sequence[str], start: float, end: float) -> str:
        """Begin a retrieval; returns its token."""
        if not trace_ids:
            raise AwsError("InvalidRequestException", "TraceIds must hold at least one trace id")
        for trace_id in trace_ids:
            if not _TRACE_ID.fullmatch(trace_id):
                raise AwsError(
                    "InvalidRequestException",
                    f"Invalid trace id '{trace_id}': 1-<8 hexadecimal digits>-<24 hexadecimal digits>, or 32 digits, expected",
                )
        if start > end:
            raise AwsError("InvalidRequestException", "StartTime must not be after EndTime")
        # Hexadecimal: a token that begins with a hyphen would be an option to a command line.
        token, now = secrets.token_hex(32), time.time()
        row = [token, orjson.dumps(list(dict.fromkeys(trace_ids))).decode(), start, end, now, False]

        def work(db: duckdb.DuckDBPyConnection) -> None:
            db.execute("DELETE FROM xray_retrieval WHERE created < ?", [now - LIFE_SECONDS])
            db.execute("INSERT INTO xray_retrieval VALUES (?, ?, ?, ?, ?, ?)", row)

        self._store.transact(work)
        return token

    def get(self, token: str) -> Retrieval:
        """The retrieval of a token; ResourceNotFoundException for one that was never given or is older than an hour."""
        now = time.time()
        rows = self._store.read(
            """SELECT trace_ids, range_start, range_end, created, cancelled FROM xray_retrieval
               WHERE token = ? AND created >= ?""",
            [token, now - LIFE_SECONDS],
        )
        if not rows:
            raise AwsError("ResourceNotFoundException", "RetrievalToken is none of the last hour", 404, {"ResourceName": token})
        trace_ids, start, end, created, cancelled = rows[0]
        status: Status = "CANCELLED" if cancelled else "RUNNING" if now < created + RUNNING_SECONDS else "COMPLETE"
        return Retrieval(token, tuple(orjson.loads(trace_ids)), start, end, status)

    def cancel(self, token: str) -> None:
        """End a retrieval that runs; one that has ended stays as it is."""
        if self.get(token).status == "RUNNING":

            def work(db: duckdb.DuckDBPyConnection) -> None:
                db.execute("UPDATE xray_retrieval SET cancelled = true WHERE token = ?", [token])

            self._store.transact(work)

    # -- what was fetched

    def page(self, retrieval: Retrieval, form: Format, token: str | None) -> tuple[list[TracePart], str | None]:
        """The next traces of a completed retrieval, in the order asked for, and the token of those after them.

        Of a trace of any size only the documents of the page are read.
        """
        query = ("ListRetrievedTraces", retrieval.token, form)
        # What comes next: the trace, by its number; the row of it that is stored; and of what is made of that row, the place.
        position: list[Any] = [0, -1.0, "", 0]
        if token is not None:
            found = read_token(token, query, (int, float, str, int))
            if found is None:
                raise AwsError("InvalidRequestException", "NextToken is not one that this query returned")
            position = found
        try:
            parts, after = self._page(retrieval, form, position, sparing=False)
        except duckdb.OutOfMemoryException:
            # Not for the documents of a page: for large ones that are stored between them.
            parts, after = self._page(retrieval, form, position, sparing=True)
        return parts, None if after is None else make_token(after, query)

    def _page(self, retrieval: Retrieval, form: Format, position: list[Any], sparing: bool) -> tuple[list[TracePart], list[Any] | None]:
        """The parts from a position on, and the position after them."""
        first, start_time, identity, skip = position
        parts: list[TracePart] = []
        size, current = 0, None
        with self._store.transaction() as db:
            numbers = _present(db, retrieval, range(max(first, 0), len(retrieval.trace_ids)))
            # One more than a page can hold: so that where a trace goes on is known.
            most = PAGE_TRACES * PAGE_SPANS + 1
            for row in _rows(db, retrieval, numbers[:PAGE_TRACES], sparing, most, (first, start_time, identity)):
                number, stored = row.number, row.stored
                for place, made in enumerate(_in_form(stored, form)):
                    if place < skip and (number, stored.start_time, stored.id) == (first, start_time, identity):
                        continue
                    if size > PAGE_BYTES or (number == current and len(parts[-1].spans) == PAGE_SPANS):
                        return parts, [number, stored.start_time, stored.id, place]
                    if number != current:
                        parts.append(TracePart(retrieval.trace_ids[number], row.duration, []))
                        current = number
                    parts[-1].spans.append((made.id, made.document))
                    size += len(made.document)
        return parts, [numbers[PAGE_TRACES], -1.0, "", 0] if len(numbers) > PAGE_TRACES else None

    def graph(self, retrieval: Retrieval) -> tuple[Graph, list[Links]]:
        """The service graph of a completed retrieval, and the links of its services.

        It is the graph of a store that holds just what was fetched: some of it may never have been indexed.
        """
        documents: dict[str, list[str]] = {}
        links: list[Links] = []
        for trace_id, rows in self.stored(retrieval).items():
            found = [made for row in rows for made in _in_form(row, "XRAY")]
            documents[xray_id(trace_id)] = [made.document for made in found]
            links += _links(trace_id, found)
        now = time.time()
        parsed = [validation.parse(document, now) for texts in documents.values() for document in texts]
        valid = [segment for segment in parsed if not isinstance(segment, validation.Rejected)]
        schema = (*storage.SCHEMA, *storage.ID_BITS, *storage.INDEXED, *longtext.SCHEMA, *storage.LONG_DOCUMENTS, *index.SCHEMA)
        with tempfile.TemporaryDirectory(prefix="retrieval-") as folder:
            scratch = Store(
                Path(folder) / "graph.duckdb",
                "parallax.aws.retrieval",
                schema,
                memory_limit="64MB",
                threads=1,
                inserts={"segment": storage.SegmentInsert()},
            )
            try:
                scratch.append(storage.to_arrow(valid, now))
                return Graphs(scratch, index.Index(scratch)).of_traces(list(documents)), links
            finally:
                scratch.close()

    def stored(self, retrieval: Retrieval) -> dict[str, list[Stored]]:
        """What is stored of each trace, by the ids asked for, and began in the retrieval's range; traces without any are not there."""
        try:
            return self._stored(retrieval, sparing=False)
        except duckdb.OutOfMemoryException:
            return self._stored(retrieval, sparing=True)

    def _stored(self, retrieval: Retrieval, sparing: bool) -> dict[str, list[Stored]]:
        found: dict[str, list[Stored]] = {}
        with self._store.transaction() as db:
            for row in _rows(db, retrieval, range(len(retrieval.trace_ids)), sparing):
                found.setdefault(retrieval.trace_ids[row.number], []).append(row.stored)
        return found


#: Whether a row began in a retrieval's range, both of whose ends belong to it, in whole seconds.
_IN_RANGE = "floor(start_time) BETWEEN floor($range_start) AND $range_end"

_CHOSEN = "chosen AS (SELECT unnest($numbers::INTEGER[]) AS number, unnest($trace_ids) AS trace_id, unnest($traces::UUID[]) AS trace)"

#: Rows of the traces without their documents, which are what takes memory.
_PLACES = f"""
    WITH {_CHOSEN},
    kept AS (
        SELECT number, id, start_time, end_time, segment, xray_span.rowid AS place, 'xray_span' AS source
        FROM xray_span JOIN chosen USING (trace_id)
        -- The last one of a span that came more than once; one in progress never in place of a complete one.
        QUALIFY row_number() OVER (PARTITION BY number, id ORDER BY end_time IS NULL, received DESC, xray_span.rowid DESC) = 1
    ),
    indexed AS (
        SELECT number, id, start_time, end_time, true AS segment, segment.rowid AS place, 'segment' AS source
        FROM segment JOIN chosen USING (trace)
    ),
    -- A span may be indexed, as a service's segment and a call of it too: those are no further spans.
    known AS (SELECT number, id FROM kept UNION ALL SELECT number, {conversion.SERVICE_ID_SQL} FROM kept WHERE NOT segment),
    stored AS (SELECT * FROM (FROM kept UNION ALL FROM indexed ANTI JOIN known USING (number, id)) WHERE {_IN_RANGE}),
    lasting AS (
        SELECT *, round(greatest(coalesce(max(end_time) OVER trace - min(start_time) OVER trace, 0), 0), 3) AS duration
        FROM stored WINDOW trace AS (PARTITION BY number)
    )
    SELECT number, id, start_time, end_time, segment, duration, place, source FROM lasting
    WHERE number > $number OR (number = $number AND (start_time > $start_time OR (start_time = $start_time AND id >= $id)))
    ORDER BY number, start_time, id LIMIT $most
"""


def _parameters(retrieval: Retrieval, numbers: Sequence[int]) -> dict[str, Any]:
    trace_ids = [xray_id(retrieval.trace_ids[number]) for number in numbers]
    return {
        "numbers": list(numbers),
        "trace_ids": trace_ids,
        "traces": [trace_id[2:].replace("-", "") for trace_id in trace_ids],
        "range_start": retrieval.start,
        "range_end": retrieval.end,
    }


def _present(db: duckdb.DuckDBPyConnection, retrieval: Retrieval, numbers: Sequence[int]) -> list[int]:
    """The first of these traces of which something is stored, one more than a page can hold."""
    rows = db.execute(
        f"""
        WITH {_CHOSEN}
        SELECT number FROM xray_span JOIN chosen USING (trace_id) WHERE {_IN_RANGE}
        UNION SELECT number FROM segment JOIN chosen USING (trace) WHERE {_IN_RANGE}
        ORDER BY number LIMIT {PAGE_TRACES + 1}
        """,
        _parameters(retrieval, numbers),
    ).fetchall()
    return [number for (number,) in rows]


def _rows(
    db: duckdb.DuckDBPyConnection,
    retrieval: Retrieval,
    numbers: Sequence[int],
    sparing: bool,
    most: int | None = None,
    after: tuple[int, float, str] = (-1, 0.0, ""),
) -> Iterator[_Row]:
    """What is stored of these traces, by (number, start_time, id), from ``after`` on; ``most`` rows. Documents are read as they are wanted.

    ``sparing``: with little memory, whatever else is stored; slower.
    """
    if not numbers:
        return
    number, start_time, identity = after
    places = db.execute(
        _PLACES, _parameters(retrieval, numbers) | {"number": number, "start_time": start_time, "id": identity, "most": most}
    ).fetchall()
    step = _STEP if most is not None else _LARGE_STEP
    for first in range(0, len(places), step):
        wanted = places[first : first + step]
        documents = {
            source: _read(db, source, sorted(place for *_, place, its_source in wanted if its_source == source), sparing)
            for source in ("xray_span", "segment")
        }
        for number, identity, start_time, end_time, segment, duration, place, source in wanted:
            yield _Row(number, duration, Stored(identity, start_time, end_time, segment, documents[source][place]))


def _read(db: duckdb.DuckDBPyConnection, table: str, places: Sequence[int], sparing: bool) -> dict[int, str]:
    """The documents of some rows, by their ids; within the transaction the ids are of."""
    if not places:
        return {}
    if not sparing:
        conditions = [f"rowid IN ({', '.join(map(str, places))})"]
    else:
        ranges = row_ranges([(place, longtext.LONG) for place in places], _RANGE_BYTES)
        conditions = [f"rowid BETWEEN {first} AND {last}" for first, last in ranges]
    found: dict[int, str] = {}
    for condition in conditions:
        rows = db.execute(f"SELECT rowid, document, long_text FROM {table} WHERE {condition}").fetchall()
        texts = longtext.whole(db, (long for _, _, long in rows))
        found.update({place: texts.get(long, document) for place, document, long in rows})
    return found


def xray_id(trace_id: str) -> str:
    """A trace id in X-Ray's form and lower case."""
    digits = trace_id.lower().removeprefix("1-").replace("-", "")
    return conversion.xray_trace_id(digits)


def _in_form(stored: Stored, form: Format) -> list[Stored]:
    """What is stored in the form asked for, by (start_time, id)."""
    made = _as_segments(stored) if form == "XRAY" else _as_spans(stored)
    return sorted(made, key=lambda one: (one.start_time, one.id))


def _as_segments(stored: Stored) -> list[Stored]:
    if stored.segment:
        return [stored]
    return [
        Stored(document["id"], document["start_time"], document["end_time"], True, orjson.dumps(document).decode())
        for document in conversion.documents(orjson.loads(stored.document))
    ]


def _as_spans(stored: Stored) -> list[Stored]:
    if not stored.segment:
        return [stored]
    made = []
    for span in of_segment(orjson.loads(stored.document)):
        end = span["endTimeUnixNano"] / 1e9 if "endTimeUnixNano" in span else None
        made.append(Stored(span["spanId"], span["startTimeUnixNano"] / 1e9, end, False, _span_text(span)))
    return made


def _span_text(span: dict[str, Any]) -> str:
    """A span document as text within the limit of one: metadata, JSON within JSON, may have grown beyond it, and is left out then."""
    text = orjson.dumps(span).decode()
    if len(text) > MAX_DOCUMENT:
        attributes = {key: value for key, value in span["attributes"].items() if not key.startswith("aws.xray.metadata.")}
        text = orjson.dumps(span | {"attributes": attributes}).decode()
    return text


def _links(trace_id: str, documents: Sequence[Stored]) -> list[Links]:
    """The links of a trace by the services that carry them."""
    found: dict[Service, dict[str, None]] = {}
    rows = []
    for one in documents:
        fields = orjson.loads(one.document)
        independent = fields.get("type") == "subsegment"
        rows.append(
            StoredDocument(
                xray_id(trace_id), one.id, fields.get("parent_id"), independent, one.start_time, one.end_time, 0.0, 1, one.document
            )
        )
    for entity in entities(rows).all:
        linked = entity.fields.get("links")
        for link in linked if isinstance(linked, list) else []:
            destination = link.get("trace_id") if isinstance(link, dict) else None
            if entity.owner is not None and isinstance(destination, str) and 1 <= len(destination) <= 35:
                found.setdefault(service_of(entity.owner), {})[destination] = None
    return [Links(service, trace_id, tuple(destinations)) for service, destinations in found.items()]
