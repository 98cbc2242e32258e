"""Runs queries in the background and holds what they answered.

A result is kept in memory only, within a bound; what was asked is in the database. So a result that was dropped, or asked for
after a restart, is computed again over the same time window.
"""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import duckdb
import orjson

from localstack.honeycomb.models import ALL, Honeycomb, Query, QueryRun
from localstack.honeycomb.query import Statement, compile_results, compile_series
from localstack.honeycomb.spec import MAX_ROWS, MAX_ROWS_WITH_SERIES, QuerySpec, parse

log = logging.getLogger(__name__)

#: Results and bytes of results held at most.
MAX_HELD = 32
MAX_BYTES = 24 * 1024 * 1024
#: Bytes of the long strings of one result: far above what a few of them take, and within what this process may use.
MAX_LONG = 64 * 1024 * 1024
#: Long strings that are read at once.
LONG_TEXTS = 50


class _TooLarge(Exception):
    """A result that has more in its long strings than :data:`MAX_LONG`."""


class Results:
    """The results of query runs, as JSON texts ``{"data": …}`` or ``{"error": …}``."""

    def __init__(self, state: Honeycomb) -> None:
        self._state = state
        self._pool = ThreadPoolExecutor(max_workers=2, thread_name_prefix="query")
        self._held: OrderedDict[str, Future[bytes]] = OrderedDict()
        self._lock = threading.Lock()

    def start(self, run: QueryRun, query: Query) -> Future[bytes]:
        """The result of a run, which is computed unless it is held."""
        with self._lock:
            future = self._held.get(run.id)
            if future is None:
                future = self._held[run.id] = self._pool.submit(self._answer, run, query)
            self._held.move_to_end(run.id)
            self._drop()
            return future

    def close(self) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _drop(self) -> None:
        done = [(key, future) for key, future in self._held.items() if future.done() and not future.cancelled()]
        total = sum(len(future.result()) for _, future in done)
        for key, future in done[:-1]:
            if len(self._held) <= MAX_HELD and total <= MAX_BYTES:
                break
            total -= len(future.result())
            del self._held[key]

    def _answer(self, run: QueryRun, query: Query) -> bytes:
        try:
            return orjson.dumps({"data": self._data(run, parse(query.spec))})
        except duckdb.Error as error:
            log.error("query %s failed: %s", query.id, error)
            reason = (
                "it needs more memory than this server has" if isinstance(error, duckdb.OutOfMemoryException) else "the database refused it"
            )
            return orjson.dumps({"error": f"The query could not be run: {reason}. Ask for a shorter time range or fewer groups."})
        except _TooLarge:
            reason = f"its long strings are more than {MAX_LONG // 2**20} MiB"
            return orjson.dumps({"error": f"The query could not be run: {reason}. Ask for fewer columns or fewer groups."})
        except Exception:
            log.exception("query %s failed", query.id)
            return orjson.dumps({"error": "The query could not be run; the reason is in the log of honeycomb."})

    def _data(self, run: QueryRun, query: QuerySpec) -> dict[str, Any]:
        window = query.window(run.created_at / 1e9)
        dataset = None if run.dataset == ALL else run.dataset
        limit = min(run.limit or query.limit, MAX_ROWS if run.disable_series else MAX_ROWS_WITH_SERIES)
        results = [{"data": row} for _, row in self._rows(query, compile_results(query, dataset, window, limit), 0)]
        series: list[dict[str, Any]] = []
        if not run.disable_series:
            series = [
                {"time": _rfc3339(time), "data": row} for time, row in self._rows(query, compile_series(query, dataset, window, limit), 1)
            ]
        return {"series": series, "results": results}

    def _rows(self, query: QuerySpec, statement: Statement, leading: int) -> list[tuple[int, dict[str, Any]]]:
        names = [calculation.name for calculation in query.calculations]
        groups = leading + len(query.breakdowns)
        found = self._state.store.read(statement.sql, statement.parameters)
        long = self._long([value for row in found for value in row[leading:groups] if value is not None and value[0] == "{"])
        rows = []
        for row in found:
            # JSON already: it goes into the answer as it is.
            data: dict[str, Any] = {
                name: None if value is None else orjson.Fragment(long.get(value, value))
                for name, value in zip(query.breakdowns, row[leading:groups], strict=True)
            }
            data.update(zip(names, map(_number, row[groups:]), strict=True))
            rows.append((row[0] if leading else 0, data))
        return rows

    def _long(self, values: list[str]) -> dict[str, bytes]:
        """The JSON of long strings by that of what stands for them. Raises _TooLarge."""
        digests = {value: str(orjson.loads(value)["long"]) for value in dict.fromkeys(values)}
        texts: dict[str, bytes] = {}
        wanted = list(dict.fromkeys(digests.values()))
        for at in range(0, len(wanted), LONG_TEXTS):
            texts |= {key: orjson.dumps(text) for key, text in self._state.long_texts(wanted[at : at + LONG_TEXTS]).items()}
            if sum(map(len, texts.values())) > MAX_LONG:
                raise _TooLarge
        if sum(len(texts[digests[value]]) for value in values) > MAX_LONG:
            raise _TooLarge
        return {value: texts[key] for value, key in digests.items()}


def _number(value: Any) -> Any:
    """A number as JSON writes it at Honeycomb: 3, not 3.0."""
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) < 2**53 else value


def _rfc3339(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
