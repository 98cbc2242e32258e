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

from localstack.aws.errors import AwsError
from localstack.aws.tokens import make_token, read_token
from localstack.aws.xray import index, otlp, segments
from localstack.aws.xray.documents import StoredDocument
from localstack.aws.xray.entities import entities
from localstack.aws.xray.facts import Service, service_of
from localstack.aws.xray.graphs import Graph, Graphs
from localstack.aws.xray.spandocuments import of_segment
from localstack.store import Store

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

_TRACE_ID = re.compile(rf"{segments.TRACE_ID.pattern}|[0-9a-fA-F]{{32}}")


@dataclass(frozen=True)
class Retrieval:
    """A retrieval as it stands. ``trace_ids``: as they were asked for, in X-Ray's form or as 32 digits."""

    token: str
    trace_ids: tuple[str, ...]
    start: float
    end: float
    status: Status


@dataclass(frozen=True)
class Stored:
    """One span of a trace: a segment document, or (``segment`` false) a span document. Times in epoch seconds."""

    id: str
    start_time: float
    end_time: float | None
    segment: bool
    document: str


@dataclass(frozen=True)
class TracePart:
    """Some spans of a trace: a trace of more than a page's goes on, with the same id, on the next one.

    ``spans``: ids and documents, earliest first. ``duration``: of the whole trace, in seconds.
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
        token, now = secrets.token_urlsafe(32), time.time()
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
        """The next traces of a completed retrieval, in the order asked for, and the token of those after them."""
        query = ("ListRetrievedTraces", retrieval.token, form)
        position: list[Any] = [0, -1.0, ""]
        if token is not None:
            found = read_token(token, query, (int, float, str))
            if found is None:
                raise AwsError("InvalidRequestException", "NextToken is not one that this query returned")
            position = found
        first, *after = position
        parts: list[TracePart] = []
        size = 0
        for number in range(first, len(retrieval.trace_ids)):
            trace_id = retrieval.trace_ids[number]
            stored = self.stored(retrieval, trace_id)
            spans = [span for span in _documents(stored, form) if (span.start_time, span.id) > tuple(after)]
            after = [-1.0, ""]
            if not spans:
                continue
            if len(parts) == PAGE_TRACES or size > PAGE_BYTES:
                return parts, make_token([number, -1.0, ""], query)
            taken: list[Stored] = []
            for span in spans[:PAGE_SPANS]:
                if taken and size > PAGE_BYTES:
                    break
                taken.append(span)
                size += len(span.document)
            parts.append(TracePart(trace_id, _duration(stored), [(span.id, span.document) for span in taken]))
            if len(taken) < len(spans):
                return parts, make_token([number, taken[-1].start_time, taken[-1].id], query)
        return parts, None

    def graph(self, retrieval: Retrieval) -> tuple[Graph, list[Links]]:
        """The service graph of a completed retrieval, and the links of its services.

        It is the graph of a store that holds just what was fetched: some of it may never have been indexed.
        """
        documents: dict[str, list[str]] = {}
        links: list[Links] = []
        for trace_id in retrieval.trace_ids:
            found = list(_documents(self.stored(retrieval, trace_id), "XRAY"))
            if found:
                documents[xray_id(trace_id)] = [span.document for span in found]
                links += _links(trace_id, found)
        now = time.time()
        parsed = [segments.parse(document, now) for texts in documents.values() for document in texts]
        valid = [segment for segment in parsed if not isinstance(segment, segments.Rejected)]
        schema = (*segments.SCHEMA, *segments.ID_BITS, *segments.INDEXED, *index.SCHEMA)
        with tempfile.TemporaryDirectory(prefix="retrieval-") as folder:
            scratch = Store(
                Path(folder) / "graph.duckdb",
                "parallax.aws.retrieval",
                schema,
                memory_limit="64MB",
                threads=1,
                inserts={"segment": segments.SegmentInsert()},
            )
            try:
                scratch.append({"segment": segments.to_arrow(valid, now)})
                return Graphs(scratch, index.Index(scratch)).of_traces(list(documents)), links
            finally:
                scratch.close()

    def stored(self, retrieval: Retrieval, trace_id: str) -> list[Stored]:
        """What is stored of a trace and began in the retrieval's range, both of whose ends belong to it, in whole seconds."""
        rows = self._store.read(
            """
            WITH kept AS (
                SELECT id, start_time, end_time, segment, document FROM xray_span WHERE trace_id = $trace_id
                -- The last one of a span that came more than once; one in progress never in place of a complete one.
                QUALIFY row_number() OVER (PARTITION BY id ORDER BY end_time IS NULL, received DESC, rowid DESC) = 1
            ), indexed AS (
                SELECT lower(id) AS id, start_time, end_time, true AS segment, document FROM segment WHERE trace = $trace
            )
            SELECT * FROM (FROM kept UNION ALL FROM indexed ANTI JOIN kept USING (id))
            WHERE floor(start_time) BETWEEN floor($start) AND $end
            ORDER BY start_time, id
            """,
            {
                "trace_id": xray_id(trace_id),
                "trace": xray_id(trace_id)[2:].replace("-", ""),
                "start": retrieval.start,
                "end": retrieval.end,
            },
        )
        found = [Stored(*row) for row in rows]
        # A span may be indexed as a service's segment and a call of it: those are no further spans.
        made = {document["id"] for one in found if not one.segment for document in otlp.documents(orjson.loads(one.document))}
        return [one for one in found if not one.segment or one.id not in made]


def xray_id(trace_id: str) -> str:
    """A trace id in X-Ray's form and lower case."""
    digits = trace_id.lower().removeprefix("1-").replace("-", "")
    return otlp.xray_trace_id(digits)


def _documents(stored: Sequence[Stored], form: Format) -> Iterator[Stored]:
    """The spans in the form asked for, by (start_time, id)."""
    found = [made for one in stored for made in (_as_segments(one) if form == "XRAY" else _as_spans(one))]
    return iter(sorted(found, key=lambda one: (one.start_time, one.id)))


def _as_segments(stored: Stored) -> list[Stored]:
    if stored.segment:
        return [stored]
    return [
        Stored(document["id"], document["start_time"], document["end_time"], True, orjson.dumps(document).decode())
        for document in otlp.documents(orjson.loads(stored.document))
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


def _duration(stored: Sequence[Stored]) -> float:
    start = min(one.start_time for one in stored)
    return round(max(max((one.end_time for one in stored if one.end_time is not None), default=start) - start, 0.0), 3)


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
