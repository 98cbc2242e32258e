"""Writing traces: what PutTraceSegments stores, and how often it was delivered. Knows no HTTP and no JSON body."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import pyarrow as pa

from localstack.aws.errors import AwsError
from localstack.aws.xray.segments import validation
from localstack.aws.xray.segments.validation import LENIENT, MAX_TRACE_BYTES, Limits, Rejected, Segment
from localstack.store import Store

#: "Up to 50 segment documents" a call.
MAX_DOCUMENTS = 50

#: Rows by table that are to be stored of segments that arrived at a time, epoch seconds: the destination of trace data decides.
Tables = Callable[[Sequence[Segment], float], dict[str, pa.Table]]


class Segments:
    """The segment documents of one account in one region."""

    def __init__(self, store: Store, tables: Tables, limits: Limits = LENIENT) -> None:
        self._store = store
        self._tables = tables
        self._limits = limits
        self._turn = threading.Lock()

    def put(self, documents: Sequence[str]) -> list[Rejected]:
        """Store the valid documents; returns when they are committed. The rest comes back with what is wrong."""
        if len(documents) > MAX_DOCUMENTS:
            raise AwsError(
                "InvalidRequestException", f"TraceSegmentDocuments must hold at most {MAX_DOCUMENTS} documents, not {len(documents)}"
            )
        # One call at a time: two would take Python's lock from each other again and again, and neither be done sooner.
        with self._turn:
            now = time.time()
            parsed = [validation.parse(document, now, self._limits) for document in documents]
            if self._limits.full_traces:
                parsed = self._within_traces(parsed)
            valid = [segment for segment in parsed if not isinstance(segment, Rejected)]
            tables = self._tables(valid, now)
        self._store.append(tables)
        return [segment for segment in parsed if isinstance(segment, Rejected)]

    def _within_traces(self, parsed: Sequence[Segment | Rejected]) -> list[Segment | Rejected]:
        """Reject what comes for a trace that is full; what fills it is still taken."""
        trace_ids = {segment.trace_id for segment in parsed if isinstance(segment, Segment)}
        sizes = dict.fromkeys(trace_ids, 0) | dict(
            self._store.read(
                "SELECT trace_id, sum(bytes) FROM segment WHERE trace_id IN (SELECT unnest($ids::VARCHAR[])) GROUP BY trace_id",
                {"ids": list(trace_ids)},
            )
        )
        found: list[Segment | Rejected] = []
        for segment in parsed:
            if isinstance(segment, Segment):
                if sizes[segment.trace_id] >= MAX_TRACE_BYTES:
                    why = f"the trace has reached its maximum size, {MAX_TRACE_BYTES} bytes"
                    found.append(validation.reject(segment.id, "InvalidSegment", why))
                    continue
                sizes[segment.trace_id] += len(segment.document.encode())
            found.append(segment)
        return found

    def deliveries(self, limit: int = 1000) -> list[dict[str, Any]]:
        """Segments that came more than once in the same form, newest first; X-Ray's own API cannot say it."""
        return self._store.read_dicts(
            f"""SELECT trace_id, id, name, deliveries FROM segment WHERE deliveries > 1
                ORDER BY received DESC, trace_id, id LIMIT {int(limit)}"""
        )
