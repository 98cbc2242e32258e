"""Reading traces back: pages of summaries, and whole traces. Knows no HTTP and no JSON body.

Source: the API references of GetTraceSummaries and BatchGetTraces, "Using filter expressions" in the developer guide.
"""

from __future__ import annotations

import math
import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol

from localstack.aws.errors import AwsError
from localstack.aws.tokens import make_token, read_token
from localstack.aws.xray.segments import validation
from localstack.aws.xray.segments.validation import MAX_TRACE_BYTES
from localstack.aws.xray.traces.documents import Documents, Recent, StoredDocument
from localstack.aws.xray.traces.entities import entities
from localstack.aws.xray.traces.index import KNOWN_TRACES, Index
from localstack.aws.xray.traces.inferred import inferred_segments
from localstack.aws.xray.traces.summaries import summarize
from localstack.store import Store

TimeRangeType = Literal["TraceId", "Event", "Service"]
SamplingName = Literal["PartialScan", "FixedRate"]

#: BatchGetTraces: 5 trace ids a call.
MAX_TRACE_IDS = 5
#: GetTraceSummaries: "Time range is limited to 24 hours".
MAX_RANGE_SECONDS = 24 * 3600
#: Summaries a page, and the bytes of the documents they are made of; of one trace that is larger itself, its first documents. X-Ray does
#: not document its own figures.
PAGE_TRACES = 100
PAGE_DOCUMENT_BYTES = 8 * 1024 * 1024
#: Who asks for a second page mostly asks for all: documents are then read for so many traces at once, up to so many bytes beyond a page's.
AHEAD_TRACES = 400
AHEAD_BYTES = 3 * 1024 * 1024
#: Bytes of documents in one answer of BatchGetTraces (one document at least). Five traces within their limit are below it.
BATCH_BYTES = 4 * 1024 * 1024

#: A trace whose documents are larger than this is returned as it was sent, not put together: that would take ten times as much memory.
MAX_ASSEMBLED_BYTES = 8 * 1024 * 1024

#: About how many traces ``Sampling`` without a strategy leaves.
SAMPLE_TRACES = 1000
#: Parts of a time range, from its end, in which a page is looked for before the whole range is gone through.
_PARTS = (1 / 64, 1 / 8)
#: Queries of which the traces of the next pages are held.
_FOLLOWED = 16
#: A rate is kept in this many steps.
_RATE_STEPS = 1_000_000


class Condition(Protocol):
    """A compiled filter expression: SQL over a row of ``xray_trace t``, with named parameters."""

    @property
    def sql(self) -> str: ...

    @property
    def parameters(self) -> Mapping[str, Any]: ...


class Filters(Protocol):
    """Compiles filter expressions; ``began``: when the traces that are looked at began, first and last."""

    def condition(self, expression: str, *, prefix: str = "filter", began: tuple[float, float] | None = None) -> Condition: ...


@dataclass(frozen=True, slots=True)
class Sampling:
    """How a part of the traces in the time range is chosen. X-Ray documents the two names and no more; the meanings are ours.

    FixedRate: each trace with this probability (0 to 1), by its id, so that the same ones are chosen each time. PartialScan: the
    traces in this part of the time range, from its end backwards, as the console scans it ("the percentage of the selected time
    frame that was scanned"): a share up to 1, or above 1 a percentage up to 100. No name: FixedRate, at a rate that leaves about
    :data:`SAMPLE_TRACES` traces.
    """

    name: SamplingName | None = None
    value: float = 1.0

    def __post_init__(self) -> None:
        if self.name == "FixedRate" and not 0 <= self.value <= 1:
            raise AwsError("InvalidRequestException", f"SamplingStrategy.Value must be from 0 to 1 for FixedRate, not {self.value}")
        if self.name == "PartialScan" and not 0 < self.value <= 100:
            raise AwsError(
                "InvalidRequestException",
                f"SamplingStrategy.Value must be a share above 0 and up to 1, or a percentage up to 100, for PartialScan, not {self.value}",
            )


@dataclass(frozen=True, slots=True)
class SummaryQuery:
    """Which traces: times in epoch seconds, both ends within.

    ``by``: TraceId, when the trace began (its id's seconds, or for a W3C id the start of the segment that came first); Event, when one
    of its documents was received (last, where it came again); Service, when one of its segments ended.
    """

    start: float
    end: float
    by: TimeRangeType = "TraceId"
    expression: str | None = None
    sampling: Sampling | None = None

    def __post_init__(self) -> None:
        if self.start > self.end:
            raise AwsError("InvalidRequestException", "StartTime must not be after EndTime")
        if self.end - self.start > MAX_RANGE_SECONDS:
            raise AwsError("InvalidRequestException", "Time range cannot be longer than 24 hours")

    @property
    def scanned_from(self) -> float:
        """Where the time range begins that is looked at."""
        if self.sampling is None or self.sampling.name != "PartialScan":
            return self.start
        share = self.sampling.value if self.sampling.value <= 1 else self.sampling.value / 100
        return self.end - share * (self.end - self.start)

    @property
    def settled(self) -> bool:
        """Whether it finds the same traces whatever arrives between two of its pages."""
        return self.by == "TraceId" and not self.expression


@dataclass(frozen=True, slots=True)
class SummaryPage:
    """``processed``: traces that were looked at for this page; ``since``: epoch seconds down to which they were."""

    summaries: list[dict[str, Any]]
    processed: int
    since: float
    next_token: str | None


@dataclass(frozen=True, slots=True)
class Trace:
    """A trace, or, where an answer would be too large, a part of it; ``documents``: (id, JSON text), put together."""

    id: str
    duration: float
    limit_exceeded: bool
    documents: list[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class TracePage:
    traces: list[Trace]
    unprocessed: list[str]
    next_token: str | None


@dataclass(frozen=True, slots=True)
class _Place:
    """Where in a query's answer a page begins. ``snapshot``: the last commit whose traces belong to it; ``rate``: of how many steps."""

    snapshot: int
    rate: int
    began: float = math.inf
    trace_id: str = ""


class Traces:
    """The traces of one account in one region."""

    def __init__(self, store: Store, index: Index, filters: Filters) -> None:
        self._store = store
        self._documents = Documents(store)
        self._recent = Recent(store)
        self._following = _Following()
        self._index = index
        self._filters = filters

    def summaries(self, query: SummaryQuery, token: str | None = None) -> SummaryPage:
        """A page of summaries, the traces that began last first.

        The pages of one query show the traces there were at its first page, each as it is when its page is made.
        """
        if query.expression:
            self._index.refresh()
        # Without a filter nothing has to wait for the index; where it is up to date, it is the shorter way.
        indexed = bool(query.expression) or self._index.current()
        place = self._first_place(query, indexed) if token is None else _read_place(token, query)
        scope = _Scope(query, place, indexed)
        found = self._following.take(token) or self._found(query, scope, PAGE_TRACES if token is None else AHEAD_TRACES)
        page, documents = self._cut(found[:PAGE_TRACES], [trace_id for trace_id, _, _ in found[PAGE_TRACES:]])
        summaries = []
        for trace_id, _, matched in page:
            summary = summarize(trace_id, documents[trace_id])
            if query.by == "Event":
                summary["MatchedEventTime"] = matched
            summaries.append(summary)
        if len(page) == len(found):
            processed = self._count(scope) if query.expression else len(page)
            return SummaryPage(summaries, processed, query.scanned_from, None)
        last_id, last_began, _ = page[-1]
        processed = self._count(scope, last_began, last_id) if query.expression else len(page)
        next_token = make_token([place.snapshot, place.rate, last_began, last_id], query)
        if query.settled:
            self._following.keep(next_token, found[len(page) :])
        return SummaryPage(summaries, processed, last_began, next_token)

    def batch(self, trace_ids: Sequence[str], token: str | None = None) -> TracePage:
        """Whole traces in the order asked for, and the ids of which nothing is stored.

        An answer that would be larger than :data:`BATCH_BYTES` goes on in the next page, if need be within a trace.
        """
        wanted = _checked_ids(trace_ids)
        query = ("batch", *wanted)
        first, after = 0, ""
        if token is not None:
            position = read_token(token, query, (int, str))
            if position is None or not 0 <= position[0] < len(wanted):
                raise AwsError("InvalidRequestException", "NextToken is not one that this query returned")
            first, after = position
        sizes, documents = self._recent.of(list(wanted))
        if others := [trace_id for trace_id in wanted if trace_id not in sizes]:
            read = self._documents.sizes(others)
            sizes |= read
            if sum(read.values()) <= MAX_ASSEMBLED_BYTES:
                # At once: each reading goes through the whole table's statistics.
                documents |= self._documents.of(list(read))
        missing = _missing(wanted, sizes) if token is None else []
        traces: list[Trace] = []
        room = BATCH_BYTES
        for number, trace_id in list(enumerate(wanted))[first:]:
            if trace_id not in sizes:
                continue
            # What is left of it, as far as it is read.
            begin = after if number == first else ""
            trace, complete = self._trace(trace_id, sizes[trace_id], begin, documents.get(trace_id))
            fitting = _fitting(trace.documents, room, at_least=0 if traces else 1)
            if fitting:
                traces.append(replace(trace, documents=trace.documents[:fitting]))
            if fitting < len(trace.documents) or not complete:
                last = trace.documents[fitting - 1][0] if fitting else ""
                return TracePage(traces, missing, make_token([number, last], query))
            room -= sum(len(text) for _, text in trace.documents)
        return TracePage(traces, missing, None)

    def _trace(self, trace_id: str, size: int, after: str, stored: Sequence[StoredDocument] | None) -> tuple[Trace, bool]:
        """A trace with its documents after the one with this id, and whether these are all. ``stored``: where it was read already."""
        limit_exceeded = size > MAX_TRACE_BYTES
        if size > MAX_ASSEMBLED_BYTES:
            ((start, end),) = self._store.read(
                "SELECT min(start_time), coalesce(max(end_time), min(start_time)) FROM segment WHERE trace = ?::UUID", [_uuid(trace_id)]
            )
            parts, complete = self._documents.part(trace_id, BATCH_BYTES, after)
            return Trace(trace_id, _duration(start, end), limit_exceeded, [(part.id, part.document) for part in parts]), complete
        if stored is None:
            stored = self._documents.of([trace_id])[trace_id]
        found = entities(stored)
        start = min(document.start_time for document in stored)
        end = max((document.end_time for document in stored if document.end_time is not None), default=start)
        documents = [document for tree in found.trees for document in tree.documents()]
        documents += inferred_segments(trace_id, found)
        return Trace(trace_id, _duration(start, end), limit_exceeded, _after(documents, after)), True

    def _first_place(self, query: SummaryQuery, indexed: bool) -> _Place:
        known = "SELECT watermark FROM xray_index" if indexed else "SELECT coalesce(max(changed_commit), 0) FROM segment"
        ((snapshot,),) = self._store.read(known)
        if query.sampling is None or query.sampling.name == "PartialScan":
            return _Place(snapshot, _RATE_STEPS)
        if query.sampling.name == "FixedRate":
            return _Place(snapshot, round(query.sampling.value * _RATE_STEPS))
        count = self._count(_Scope(query, _Place(snapshot, _RATE_STEPS), indexed))
        return _Place(snapshot, math.ceil(_RATE_STEPS * min(1.0, SAMPLE_TRACES / max(count, 1))))

    def _found(self, query: SummaryQuery, scope: _Scope, most: int) -> list[tuple[str, float, float | None]]:
        """The first traces of the scope that the query's expression picks: more than a page holds where there are more, and up to one more
        than ``most``."""
        found: list[tuple[str, float, float | None]] = []
        for first, last in self._stretches(query, scope):
            condition = self._filters.condition(query.expression, began=(first, last)) if query.expression else None
            found = self._store.read(
                f"""{scope.tables} SELECT t.trace_id, t.began, {scope.matched} FROM {scope.rows}
                    AND t.began BETWEEN $first AND $last AND ({condition.sql if condition else "true"})
                    ORDER BY t.began DESC, t.trace_id DESC LIMIT {most + 1}""",
                scope.parameters | {"first": first, "last": last} | dict(condition.parameters if condition else {}),
            )
            # A filter is dear where it finds little.
            if len(found) > (most if query.settled else PAGE_TRACES):
                break
        return found

    def _stretches(self, query: SummaryQuery, scope: _Scope) -> Iterator[tuple[float, float]]:
        """When the traces that are looked at began, first and last: what is left of the range, and before that the end of it.

        What begins last comes first in an answer: where that fills a page, nothing else has to be looked at.
        """
        if query.by != "TraceId":
            ((first, last),) = self._store.read(f"{scope.tables} SELECT min(t.began), max(t.began) FROM {scope.rows}", scope.parameters)
            yield first or 0.0, last or 0.0
            return
        first, last = float(scope.parameters["floor"]), min(query.end, float(scope.parameters.get("began", math.inf)))
        for part in _PARTS:
            yield last - (last - first) * part, last
        yield first, last

    def _count(self, scope: _Scope, began: float | None = None, trace_id: str = "") -> int:
        """Traces in the scope; down to this one, where one is given."""
        parameters = dict(scope.parameters)
        rows = scope.rows
        if began is not None:
            rows += " AND (t.began > $last_began OR (t.began = $last_began AND t.trace_id >= $last_id))"
            parameters |= {"last_began": began, "last_id": trace_id}
        ((count,),) = self._store.read(f"{scope.tables} SELECT count(*) FROM {rows}", parameters)
        return int(count)

    def _cut(
        self, found: list[tuple[str, float, float | None]], ahead: Sequence[str]
    ) -> tuple[list[tuple[str, float, float | None]], dict[str, list[StoredDocument]]]:
        """As many of these traces as one page may be made of, and their documents; of one that is larger by itself, the first ones.

        Where they have to be read, so are those of the traces ``ahead``, for the pages to come.
        """
        commits = self._recent.commits()
        sizes, documents = self._recent.of([trace_id for trace_id, _, _ in found])
        if len(sizes) < len(found):
            sizes |= self._documents.sizes([*(trace_id for trace_id, _, _ in found if trace_id not in sizes), *ahead])
        room = PAGE_DOCUMENT_BYTES
        for number, (trace_id, _, _) in enumerate(found):
            room -= sizes[trace_id]
            if room < 0 and number == 0:
                return found[:1], {trace_id: self._documents.part(trace_id, PAGE_DOCUMENT_BYTES)[0]}
            if room < 0:
                found = found[:number]
                break
        missing = [trace_id for trace_id, _, _ in found if trace_id not in documents]
        if missing:
            room = AHEAD_BYTES
            for trace_id in ahead:
                room -= sizes.get(trace_id, 0)
                if room < 0:
                    break
                missing.append(trace_id)
            read = self._documents.of(missing)
            self._recent.keep(commits, sizes, read)
            documents |= read
        return found, documents


class _Following:
    """Traces that were found beyond a page, by the token of the next one, of the last queries. Safe from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._found: OrderedDict[str, list[tuple[str, float, float | None]]] = OrderedDict()

    def keep(self, token: str, found: list[tuple[str, float, float | None]]) -> None:
        # Fewer may be all there are or not: only another look tells.
        if len(found) > PAGE_TRACES:
            with self._lock:
                self._found[token] = found
                if len(self._found) > _FOLLOWED:
                    self._found.popitem(last=False)

    def take(self, token: str | None) -> list[tuple[str, float, float | None]] | None:
        with self._lock:
            return self._found.pop(token, None) if token is not None else None


class _Scope:
    """The traces a page is taken from, before any filter, as SQL: ``{tables} SELECT … FROM {rows} AND …``, over ``xray_trace t``.

    Where it is not ``indexed``, the index need not be up to date, and only the trace, its id, ``began`` and ``first_commit`` are there.

    ``matched``: the time that made a trace one of these, for ranges of events.
    """

    def __init__(self, query: SummaryQuery, place: _Place, indexed: bool) -> None:
        since = query.scanned_from
        self.parameters: dict[str, Any] = {"snapshot": place.snapshot, "since": since, "until": query.end}
        conditions = ["t.first_commit <= $snapshot"]
        traces = "xray_trace" if indexed else KNOWN_TRACES
        if query.by == "TraceId":
            # An id has whole seconds: the trace of second 7 belongs to a range that starts at 7.4.
            self.parameters["floor"] = float(math.floor(since))
            self.tables, self.rows, self.matched = "", f"{traces} t", "NULL"
            conditions.append("t.began BETWEEN $floor AND $until AND (t.began >= $since OR t.began = floor(t.began))")
        else:
            column = "received" if query.by == "Event" else "CASE WHEN NOT independent THEN end_time END"
            self.tables = f"""
                WITH matched AS (
                    SELECT trace, max({column}) AS at FROM segment
                    WHERE {column} BETWEEN $since AND $until AND first_commit <= $snapshot GROUP BY trace
                )"""
            self.rows, self.matched = f"{traces} t JOIN matched ON matched.trace = t.trace", "matched.at"
        if place.rate < _RATE_STEPS:
            conditions.append(f"hash(t.trace) % {_RATE_STEPS} < $rate")
            self.parameters["rate"] = place.rate
        if place.began < math.inf:
            conditions.append("(t.began < $began OR (t.began = $began AND t.trace_id < $trace_id))")
            self.parameters |= {"began": place.began, "trace_id": place.trace_id}
        self.rows += " WHERE " + " AND ".join(conditions)


def _read_place(token: str, query: SummaryQuery) -> _Place:
    position = read_token(token, query, (int, int, float, str))
    if position is None:
        raise AwsError("InvalidRequestException", "NextToken is not one that this query returned")
    return _Place(*position)


def _checked_ids(trace_ids: Sequence[str]) -> dict[str, str]:
    """The ids as they are stored, with how they were asked for."""
    if len(trace_ids) > MAX_TRACE_IDS:
        raise AwsError("InvalidRequestException", f"TraceIds must hold at most {MAX_TRACE_IDS} ids, not {len(trace_ids)}")
    for trace_id in trace_ids:
        if not validation.TRACE_ID.fullmatch(trace_id):
            raise AwsError(
                "InvalidRequestException", f"Invalid trace id '{trace_id}': 1-<8 hexadecimal digits>-<24 hexadecimal digits> expected"
            )
    wanted: dict[str, str] = {}
    for trace_id in trace_ids:
        wanted.setdefault(trace_id.lower(), trace_id)
    return wanted


def _missing(wanted: Mapping[str, str], stored: Mapping[str, Any]) -> list[str]:
    return [asked for trace_id, asked in wanted.items() if trace_id not in stored]


def _duration(start: float, end: float) -> float:
    return round(max(end - start, 0.0), 3)


def _after(documents: list[tuple[str, str]], identity: str) -> list[tuple[str, str]]:
    """The documents after the one with this id; all, where there is none."""
    place = next((number for number, (each, _) in enumerate(documents) if each == identity), -1)
    return documents[place + 1 :]


def _fitting(documents: Sequence[tuple[str, str]], room: int, at_least: int) -> int:
    """How many of the documents have room."""
    for number, (_, text) in enumerate(documents):
        room -= len(text)
        if room < 0:
            return max(number, at_least)
    return len(documents)


def _uuid(trace_id: str) -> str:
    return trace_id[2:].replace("-", "")
