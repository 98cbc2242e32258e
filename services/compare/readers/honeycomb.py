"""Honeycomb read back through its Query Data API.

The API returns aggregates, never events: an event is had back by grouping on its span id and on everything that is asked about it
("Query Data", Honeycomb API documentation). The facts that shape this module, all from there:

- a result holds at most 10,000 groups, with ``disable_series``: a full result is cut, and its slice is divided and read again;
- the times of a query of up to 6 hours are truncated to the minute, so slices are whole minutes, and within a minute the last digits of
  the trace id divide on;
- a column that no event had yet is an error, so columns are listed first;
- ten results a minute, 429 beyond; a plan below Enterprise, or a key without the permission, cannot read at all.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Collection, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final

from tenacity import RetryError, Retrying, retry_if_result, stop_after_delay, wait_exponential

from compose.settings import Settings, SignalPath
from services.compare.readers.base import Batch, Observation, Unreadable, Window
from services.compare.readers.http import PAGE_TIMEOUT, TIMEOUT, Api

#: Groups a result holds at most.
LIMIT: Final = 10_000
#: Rows that one request makes, roughly: only used to guess how to slice before the first answer.
ROWS_A_REQUEST: Final = 6
#: Trace ids in one ``in`` filter, and how many are asked for one by one before everything is read again.
TRACES_A_QUERY: Final = 500
TRACES_AT_MOST: Final = 2_000
#: Queries under way at once: while one runs, the rows of another are read. More would only come upon the limit of ten a minute sooner.
QUERIES: Final = 2
#: Seconds a query may run.
QUERY_SECONDS: Final = 60.0
#: The same for a page that somebody waits for.
PAGE_SECONDS: Final = 10.0
#: Breakdowns a query may have ("Queries": ``breakdowns`` <= 100 items).
BREAKDOWNS: Final = 100

#: What tells of an event where and when it belongs.
CORE: Final = (
    "trace.trace_id",
    "trace.span_id",
    "trace.parent_id",
    "name",
    "service.name",
    "run",
    "error",
    "event.name",
    "meta.signal_type",
    "meta.annotation_type",
    "span.num_events",
    "span.num_links",
)
_HEX: Final = "0123456789abcdef"


@dataclass(frozen=True)
class _Slice:
    """A part of a run: whole minutes, and the end of the trace id."""

    start: int
    end: int
    ending: str = ""

    def divided(self) -> list[_Slice]:
        if self.end - self.start > 60:
            middle = self.start + (self.end - self.start) // 120 * 60
            return [_Slice(self.start, middle, self.ending), _Slice(middle, self.end, self.ending)]
        if len(self.ending) >= 4:
            raise Unreadable(f"Honeycomb holds more than {LIMIT} events of one trace id ending in {self.ending!r} in one minute")
        return [_Slice(self.start, self.end, digit + self.ending) for digit in _HEX]


class QueryFailed(Unreadable):
    """Honeycomb took a query and could not answer it: a smaller one may do."""


class HoneycombReader:
    """``keys``: the attributes that the expected signals declare; they are asked for by name. ``hurry``: for a page that somebody waits
    for, so nothing is waited for long, nor tried again. ``documents``: each observation comes with all its columns."""

    paths = frozenset({SignalPath.HONEYCOMB_OTLP})

    def __init__(self, settings: Settings, keys: Collection[str], hurry: bool = False, documents: bool = False) -> None:
        self._documents = documents
        self.pause = 15.0 if settings.mode == "online" else 0.5
        self._api = Api(
            "Honeycomb",
            settings.honeycomb_endpoint,
            {"X-Honeycomb-Team": settings.honeycomb_query_key.get_secret_value()},
            "HONEYCOMB_QUERY_KEY",
            0.0 if hurry else settings.compare_timeout,
            PAGE_TIMEOUT if hurry else TIMEOUT,
        )
        self._query_seconds = PAGE_SECONDS if hurry else QUERY_SECONDS
        self._keys = tuple(sorted(keys))
        self._checked = False

    def read(self, window: Window, wanted: Collection[str] | None) -> Iterator[Batch]:
        columns = self.columns()
        if not {"trace.trace_id", "run"} <= columns:
            return  # no event of any run ever arrived: the environment does not know the columns
        breakdowns = self._whole() if self._documents else self._breakdowns(columns)
        if wanted is not None and len(wanted) <= TRACES_AT_MOST:
            yield from self._traces(sorted(wanted), breakdowns, window)
            return
        if wanted is not None:
            yield Batch(anew=True)
        run = {"column": "run", "op": "=", "value": window.run}
        todo = _slices(window)
        under_way: deque[tuple[_Slice, Future[list[dict[str, Any]]]]] = deque()
        with ThreadPoolExecutor(QUERIES, thread_name_prefix="honeycomb") as threads:
            while todo or under_way:
                while todo and len(under_way) < QUERIES:
                    part = todo.pop()
                    under_way.append((part, threads.submit(self._rows, breakdowns, [run, *_ending(part)], part.start, part.end)))
                part, query = under_way.popleft()
                rows = query.result()
                if len(rows) >= LIMIT:
                    todo += part.divided()
                else:
                    yield Batch([each for row in rows if (each := observation(row, self._keys, self._documents)) is not None])

    def trace(self, trace_id: str, around: float) -> list[Observation]:
        breakdowns = self._whole()
        if not breakdowns:
            return []
        rows = self._rows(
            breakdowns,
            [{"column": "trace.trace_id", "op": "=", "value": trace_id}],
            *minutes(around - 60, min(around + 3600, time.time())),
        )
        return [each for row in rows if (each := observation(row, tuple(breakdowns), document=True)) is not None]

    def _whole(self) -> list[str]:
        """Every column that a query has room for; none where no dataset holds traces."""
        # Only datasets that hold traces: the many columns of metrics would crowd those of the spans out of the breakdowns.
        columns = set().union(*(found for each in self.datasets() if "trace.trace_id" in (found := self.columns(each["slug"]))))
        # What is asked about comes first, so that a verdict never rests on a column that found no room.
        breakdowns = self._breakdowns(columns)
        return breakdowns + sorted(columns - set(breakdowns))[: BREAKDOWNS - len(breakdowns)]

    def slug(self, name: str) -> str | None:
        """The slug of a dataset by its name or slug; None when there is no such dataset."""
        return next((each["slug"] for each in self.datasets() if name.lower() in (each["slug"], each["name"].lower())), None)

    def columns(self, slug: str | None = None) -> set[str]:
        """Every column of one dataset, or of all. Raises Unreadable when the key may not read."""
        slugs = [slug] if slug is not None else [each["slug"] for each in self.datasets()]
        return {column["key_name"] for each in slugs for column in self.described(each)}

    def described(self, slug: str) -> list[dict[str, Any]]:
        """Every column of one dataset as the API describes it, by the dataset's slug."""
        columns: list[dict[str, Any]] = self._api.call("GET", f"/1/columns/{slug}")
        return columns

    def datasets(self) -> list[dict[str, Any]]:
        """Every dataset as the API describes it. Raises Unreadable when the key may not read."""
        if not self._checked:
            access = self._api.call("GET", "/1/auth").get("api_key_access", {})
            for permission, words in (("queries", "Run Queries"), ("columns", "Manage Queries and Columns")):
                if not access.get(permission):
                    raise Unreadable(
                        f"the Honeycomb key lacks the permission {words!r}",
                        "set HONEYCOMB_QUERY_KEY to a configuration key that has it",
                        final=True,
                    )
            self._checked = True
        datasets: list[dict[str, Any]] = self._api.call("GET", "/1/datasets")
        return datasets

    def query(self, dataset: str, spec: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Run one query and wait for its rows: a dictionary by column or calculation for each group."""
        return [row["data"] for row in self.answer(dataset, spec)["data"]["results"]]

    def answer(self, dataset: str, spec: Mapping[str, Any], *, series: bool = False, limit: int = LIMIT) -> dict[str, Any]:
        """Run one query and wait for its whole answer; ``series``: with its values over time, of 1,000 groups at most."""
        query = self._api.call("POST", f"/1/queries/{dataset}", json=spec)
        asked = {"query_id": query["id"], "disable_series": not series, "limit": limit}
        result: dict[str, Any] = self._api.call("POST", f"/1/query_results/{dataset}", json=asked)
        path = f"/1/query_results/{dataset}/{result['id']}"
        if not result.get("complete"):
            waiting = Retrying(
                retry=retry_if_result(lambda answer: not answer.get("complete")),
                wait=wait_exponential(0.02, max=2),
                stop=stop_after_delay(self._query_seconds),
                sleep=time.sleep,
            )
            try:
                result = waiting(self._api.call, "GET", path)
            except RetryError:
                raise Unreadable(f"Honeycomb did not finish a query in {self._query_seconds:g} s") from None
        # A failed query is complete, has an error and no data; it must not pass for an empty result.
        if "data" not in result:
            raise QueryFailed(f"Honeycomb could not run the query ({result.get('error') or 'it gave no reason'})")
        return result

    def _traces(self, traces: list[str], breakdowns: list[str], window: Window) -> Iterator[Batch]:
        start, end = minutes(window.start, window.end)
        size = TRACES_A_QUERY
        while traces:
            some, traces = traces[:size], traces[size:]
            rows = self._rows(breakdowns, [{"column": "trace.trace_id", "op": "in", "value": some}], start, end)
            if len(rows) >= LIMIT and len(some) > 1:
                traces, size = some + traces, max(1, len(some) // 4)
                continue
            found = [each for row in rows if (each := observation(row, self._keys, self._documents)) is not None]
            yield Batch(found, replaces=frozenset(some))

    def _breakdowns(self, columns: set[str]) -> list[str]:
        return [key for key in dict.fromkeys((*CORE, *self._keys)) if key in columns][:BREAKDOWNS]

    def _rows(self, breakdowns: list[str], filters: list[dict[str, Any]], start: int, end: int) -> list[dict[str, Any]]:
        return self.query(
            "__all__",
            {
                "calculated_fields": [
                    {"name": "parallax_start", "expression": "EVENT_TIMESTAMP()"},
                    {"name": "parallax_ingested", "expression": "INGEST_TIMESTAMP()"},
                ],
                "calculations": [
                    {"op": "COUNT"},
                    {"op": "MIN", "column": "parallax_start"},
                    {"op": "MAX", "column": "parallax_ingested"},
                    {"op": "MAX", "column": "duration_ms"},
                ],
                "breakdowns": breakdowns,
                # Metrics and markers carry the run too, but no trace.
                "filters": [*filters, {"column": "trace.trace_id", "op": "exists"}],
                "start_time": start,
                "end_time": end,
                "limit": 1_000,
            },
        )


def observation(row: Mapping[str, Any], keys: Collection[str], document: bool = False) -> Observation | None:
    """One group as an observation; None for a span event or link, which belongs to its span."""
    log = row.get("meta.signal_type") == "log"
    if not log and row.get("meta.annotation_type"):
        return None
    parent = row.get("trace.parent_id")
    start = row.get("MIN(parallax_start)")
    return Observation(
        path=SignalPath.HONEYCOMB_OTLP,
        kind="log" if log else "span",
        service=row.get("service.name") or "",
        name=(row.get("event.name") if log else row.get("name")) or "",
        # A log record has no identity of its own; two of one event in one span are two deliveries of it.
        id=f"{parent}/{row.get('event.name')}" if log else row.get("trace.span_id") or "",
        trace_id=row.get("trace.trace_id"),
        run=row.get("run"),
        attributes={key: row[key] for key in keys if row.get(key) is not None},
        parent_id=parent,
        start=start,
        duration_ms=None if log else row.get("MAX(duration_ms)"),
        ingested_at=row.get("MAX(parallax_ingested)"),
        error=row.get("error") in (True, "true"),
        deliveries=int(row.get("COUNT", 1)),
        # Each span event and link is billed as an event of its own.
        units=1 + int(row.get("span.num_events") or 0) + int(row.get("span.num_links") or 0),
        document={key: value for key, value in row.items() if value is not None} if document else None,
    )


def minutes(start: float, end: float) -> tuple[int, int]:
    """Whole minutes around a time; Honeycomb cuts a query's times to them."""
    return int(start // 60 * 60), int(math.ceil(end / 60) * 60)


def _slices(window: Window) -> list[_Slice]:
    """A first guess at slices whose results are not full."""
    start, end = minutes(window.start, window.end)
    parts = math.ceil(len(window.traces) * ROWS_A_REQUEST / (LIMIT * 0.7))
    count = (end - start) // 60
    step = max(1, count // max(1, parts)) * 60
    slices = [_Slice(at, min(at + step, end)) for at in range(start, end, step)]
    return [each for part in slices for each in part.divided()] if parts > 2 * count else slices


def _ending(part: _Slice) -> list[dict[str, Any]]:
    return [{"column": "trace.trace_id", "op": "ends-with", "value": part.ending}] if part.ending else []
