"""Reading traces back: pages of summaries, and whole traces. Knows no HTTP and no JSON body."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from localstack.aws.errors import AwsError
from localstack.aws.tokens import make_token, read_token
from localstack.aws.xray import segments
from localstack.aws.xray.documents import StoredDocument, assemble
from localstack.aws.xray.summaries import summarize
from localstack.store import Store

TimeRangeType = Literal["TraceId", "Event", "Service"]

#: BatchGetTraces: 5 trace ids a call.
MAX_TRACE_IDS = 5
#: GetTraceSummaries: "Time range is limited to 24 hours".
MAX_RANGE_SECONDS = 24 * 3600
#: "Trace document size": 500 KB; beyond it LimitExceeded is set.
MAX_TRACE_BYTES = 500 * 1024
#: Summaries a page. X-Ray does not document its own figure.
PAGE_TRACES = 250


@dataclass(frozen=True)
class SummaryPage:
    summaries: list[dict[str, Any]]
    next_token: str | None


@dataclass(frozen=True)
class Trace:
    """A whole trace; ``documents`` are ``(id, document)`` as JSON values, put together."""

    id: str
    duration: float
    limit_exceeded: bool
    documents: list[dict[str, Any]]


class Traces:
    """The traces of one account in one region."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def summaries(self, start: float, end: float, by: TimeRangeType = "TraceId", token: str | None = None) -> SummaryPage:
        """Summaries of the traces in a time range, oldest first, a page at a time.

        ``by``: TraceId, when the trace began (its id's seconds, or for a W3C id its earliest segment); Event, when a segment
        was received; Service, when a segment ended. The pages of one query show the traces there were at its first page.
        """
        if start > end:
            raise AwsError("InvalidRequestException", "StartTime must not be after EndTime")
        if end - start > MAX_RANGE_SECONDS:
            raise AwsError("InvalidRequestException", "Time range cannot be longer than 24 hours")
        query = (start, end, by)
        if token is None:
            ((snapshot,),) = self._store.read("SELECT coalesce(max(first_commit), 0) FROM segment")
            after: tuple[float, str] = (-1.0, "")
        else:
            position = read_token(token, query, (int, float, str))
            if position is None:
                raise AwsError("InvalidRequestException", "NextToken is not one that this query returned")
            snapshot, *rest = position
            after = (rest[0], rest[1])
        # An id has whole seconds: the trace of second 7 belongs to a range that starts at 7.4.
        since = float(math.floor(start)) if by == "TraceId" else start
        column = {"TraceId": "trace_time", "Event": "received", "Service": "end_time"}[by]
        found = self._store.read(
            f"""
            SELECT trace_id, min(trace_time) FILTER (first_commit <= $snapshot) AS began,
                   max({column}) FILTER ({column} BETWEEN $since AND $until) AS matched
            FROM segment
            WHERE trace_id IN (SELECT trace_id FROM segment WHERE {column} BETWEEN $since AND $until AND first_commit <= $snapshot)
            GROUP BY trace_id
            HAVING (began > $time OR (began = $time AND trace_id > $id)) {"AND began >= $since" if by == "TraceId" else ""}
            ORDER BY began, trace_id LIMIT {PAGE_TRACES + 1}
            """,
            {"snapshot": snapshot, "since": since, "until": end, "time": after[0], "id": after[1]},
        )
        page = found[:PAGE_TRACES]
        documents = self._documents([row[0] for row in page])
        summaries = []
        for trace_id, _, matched in page:
            summary = summarize(trace_id, documents[trace_id])
            if by == "Event":
                summary["MatchedEventTime"] = matched
            summaries.append(summary)
        more = len(found) > PAGE_TRACES
        return SummaryPage(summaries, make_token([snapshot, page[-1][1], page[-1][0]], query) if more else None)

    def batch(self, trace_ids: Sequence[str]) -> tuple[list[Trace], list[str]]:
        """Whole traces in the order asked for, and the ids of which nothing is stored."""
        if len(trace_ids) > MAX_TRACE_IDS:
            raise AwsError("InvalidRequestException", f"TraceIds must hold at most {MAX_TRACE_IDS} ids, not {len(trace_ids)}")
        for trace_id in trace_ids:
            if not segments.TRACE_ID.fullmatch(trace_id):
                raise AwsError(
                    "InvalidRequestException", f"Invalid trace id '{trace_id}': 1-<8 hexadecimal digits>-<24 hexadecimal digits> expected"
                )
        wanted = list(dict.fromkeys(trace_ids))
        documents = self._documents(wanted)
        found = []
        for trace_id in wanted:
            stored = documents.get(trace_id)
            if not stored:
                continue
            start = min(document.start_time for document in stored)
            end = max((document.end_time for document in stored if document.end_time is not None), default=start)
            size = sum(len(document.document.encode()) for document in stored)
            fields = [tree.fields for tree in assemble(stored)]
            found.append(Trace(trace_id, round(max(end - start, 0.0), 3), size > MAX_TRACE_BYTES, fields))
        return found, [trace_id for trace_id in wanted if trace_id not in documents]

    def _documents(self, trace_ids: Sequence[str]) -> dict[str, list[StoredDocument]]:
        found: dict[str, list[StoredDocument]] = {}
        if trace_ids:
            marks = ", ".join("?" for _ in trace_ids)
            rows = self._store.read(
                f"""SELECT trace_id, id, parent_id, independent, start_time, end_time, received, revision, document
                    FROM segment WHERE trace_id IN ({marks})""",
                list(trace_ids),
            )
            for row in rows:
                found.setdefault(row[0], []).append(StoredDocument(*row))
        return found
