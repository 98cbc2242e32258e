"""The spans of Transaction Search: what comes while the destination is CloudWatchLogs. Knows no HTTP.

All of it is kept for trace retrieval, AWS's log group ``aws/spans``; the traces the indexing rule takes become segments too, which
is what summaries, filters and graphs know ("Transaction Search", CloudWatch user guide).
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
import pyarrow as pa
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from localstack import longtext
from localstack.aws.xray.account.destinations import Destinations
from localstack.aws.xray.segments import storage, validation
from localstack.aws.xray.segments.validation import MAX_DOCUMENT_BYTES, Rejected, Segment
from localstack.aws.xray.spans import conversion
from localstack.aws.xray.spans.documents import Document, attributes_of, of_span, scope_of
from localstack.store import Store

SCHEMA = (
    """CREATE TABLE xray_span (
        trace_id VARCHAR NOT NULL,         -- as X-Ray writes it, in lower case
        id VARCHAR NOT NULL,
        start_time DOUBLE NOT NULL,        -- epoch seconds
        end_time DOUBLE,                   -- NULL: in progress
        received DOUBLE NOT NULL,
        segment BOOLEAN NOT NULL,          -- a segment document, by PutTraceSegments; else a span document, by OTLP
        document VARCHAR NOT NULL
    )""",
)

#: Long documents are beside their spans.
LONG_DOCUMENTS = longtext.moved("xray_span", "document")

#: Limits of the OTLP endpoint for traces ("OTLP endpoints", CloudWatch user guide).
MAX_SPANS = 10_000
MAX_SPAN_BYTES = 200 * 1024
MAX_AGE_SECONDS = 14 * 24 * 3600
MAX_AHEAD_SECONDS = 2 * 3600
MAX_GAP_SECONDS = 24 * 3600
#: Each span is kept with its resource, so a small request may stand for very much: 10,000 spans of a resource of 200 KB. Bytes of all span
#: documents of a request. Ours; the largest request of ordinary spans is half of it.
MAX_DOCUMENTS_BYTES = 32 * 1024 * 1024

#: How many reasons the answer to an export names.
_REASONS = 5


class WrongDestination(Exception):
    """Spans are taken with the destination CloudWatchLogs only."""


class TooMuch(Exception):
    """The request as a whole is beyond a limit; the message says which."""


@dataclass(frozen=True)
class Receipt:
    """What became of an export. ``reasons``: of the first rejected spans."""

    rejected: int
    reasons: tuple[str, ...]


class Spans:
    """The spans of one account in one region."""

    def __init__(self, store: Store, destinations: Destinations) -> None:
        self._store = store
        self._destinations = destinations

    def receive(self, request: ExportTraceServiceRequest) -> Receipt:
        """Store the valid spans of an export; returns when they are committed. Raises WrongDestination, TooMuch."""
        if not self._destinations.to_logs():
            raise WrongDestination
        now = time.time()
        valid: list[tuple[Document, bytes]] = []
        reasons: list[str] = []
        size = 0
        for number, span in enumerate(_spans(request), 1):
            if number > MAX_SPANS:
                raise TooMuch(f"The request has more than {MAX_SPANS} spans")
            text = orjson.dumps(span)
            size += len(text)
            if size > MAX_DOCUMENTS_BYTES:
                raise TooMuch(f"The spans of the request, each with its resource, are larger than {MAX_DOCUMENTS_BYTES // 2**20} MB")
            reason = _fault(span, len(text), now)
            if reason is None:
                valid.append((span, text))
            else:
                reasons.append(f"span '{span['spanId']}': {reason}")
        starts = [span["startTimeUnixNano"] for span, _ in valid]
        if starts and max(starts) - min(starts) > MAX_GAP_SECONDS * 10**9:
            raise TooMuch("The spans of one request must not be more than 24 hours apart")
        self._store.append(_together(storage.to_arrow(self._indexed(valid, now), now), _rows(valid, now)))
        return Receipt(len(reasons), tuple(reasons[:_REASONS]))

    def tables(self, arrived: Sequence[Segment], now: float) -> dict[str, pa.Table]:
        """What is to be stored of the segments that PutTraceSegments brought."""
        if not self._destinations.to_logs():
            return storage.to_arrow(arrived, now)
        indexed = [segment for segment in arrived if self._destinations.indexes(segment.trace_id)]
        kept = [
            (segment.trace_id.lower(), segment.id.lower(), segment.start_time, segment.end_time, now, True, segment.document)
            for segment in arrived
        ]
        return _together(storage.to_arrow(indexed, now), _arrow(kept))

    def _indexed(self, spans: Sequence[tuple[Document, bytes]], now: float) -> list[Segment]:
        """The segments of the spans that the indexing rule takes."""
        found = []
        for span, _ in spans:
            if self._destinations.indexes(span["traceId"]):
                parsed = [validation.parse(_fitting(document), now) for document in conversion.documents(span)]
                # What no segment can be, however it is cut, is found by retrieval alone.
                found += [segment for segment in parsed if not isinstance(segment, Rejected)]
        return found


def _spans(request: ExportTraceServiceRequest) -> Iterator[Document]:
    for resource_spans in request.resource_spans:
        resource = attributes_of(resource_spans.resource.attributes)
        for scope_spans in resource_spans.scope_spans:
            scope = scope_of(scope_spans.scope)
            for span in scope_spans.spans:
                yield of_span(span, resource, scope)


def _fault(span: Document, size: int, now: float) -> str | None:
    """Why a span is rejected; None for a valid one."""
    for member, digits in (("traceId", 32), ("spanId", 16)):
        if len(span[member]) != digits or not span[member].strip("0"):
            return f"{member} must be {digits} hexadecimal digits that are not all zero"
    if len(span.get("parentSpanId", "0" * 16)) != 16:
        return "parentSpanId must be 16 hexadecimal digits"
    if any(len(link["traceId"]) != 32 or len(link["spanId"]) != 16 for link in span["links"]):
        return "a link must have a traceId of 32 and a spanId of 16 hexadecimal digits"
    if size > MAX_SPAN_BYTES:
        return f"larger than {MAX_SPAN_BYTES // 1024} KB"
    start = span["startTimeUnixNano"] / 1e9
    if start < now - MAX_AGE_SECONDS:
        return "startTimeUnixNano is more than 14 days in the past"
    if start > now + MAX_AHEAD_SECONDS:
        return "startTimeUnixNano is more than 2 hours in the future"
    return None


def _fitting(document: Document) -> str:
    """A segment document as text within the limit of one: a span may be three times as large.

    What does not fit is left out, the least looked for first: metadata, then the frames of exceptions. The span keeps it all.
    """
    text = orjson.dumps(document)
    if len(text) > MAX_DOCUMENT_BYTES:
        document = {key: value for key, value in document.items() if key != "metadata"}
        text = orjson.dumps(document)
    if len(text) > MAX_DOCUMENT_BYTES and "cause" in document:
        exceptions = [{key: value for key, value in one.items() if key != "stack"} for one in document["cause"]["exceptions"]]
        text = orjson.dumps(document | {"cause": {"exceptions": exceptions}})
    return text.decode()


def _rows(spans: Sequence[tuple[Document, bytes]], now: float) -> dict[str, pa.Table]:
    return _arrow(
        [
            (
                conversion.xray_trace_id(span["traceId"]),
                span["spanId"],
                span["startTimeUnixNano"] / 1e9,
                span["endTimeUnixNano"] / 1e9,
                now,
                False,
                text.decode(),
            )
            for span, text in spans
        ]
    )


_COLUMNS = pa.schema(
    [
        ("trace_id", pa.string()),
        ("id", pa.string()),
        ("start_time", pa.float64()),
        ("end_time", pa.float64()),
        ("received", pa.float64()),
        ("segment", pa.bool_()),
        ("document", pa.string()),
        ("long_text", pa.int64()),
    ]
)


def _arrow(rows: Sequence[tuple[Any, ...]]) -> dict[str, pa.Table]:
    """Rows for the tables ``long_text`` and ``xray_span``; of a row everything but the number of its long text."""
    if not rows:
        return {"xray_span": _COLUMNS.empty_table()}
    *columns, documents = zip(*rows, strict=True)
    shorts, long, parts = longtext.split(documents)
    return {"long_text": parts, "xray_span": pa.table([*columns, shorts, long], schema=_COLUMNS)}


def _together(*tables: dict[str, pa.Table]) -> dict[str, pa.Table]:
    names = dict.fromkeys(name for each in tables for name in each)
    return {name: pa.concat_tables([each[name] for each in tables if name in each]) for name in names}
