"""Long strings in the local Honeycomb: however many there are, they are stored, found, and given back as far as a result may go."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from localstack.honeycomb.layout import MAX_FIELD, Rows
from localstack.honeycomb.models import Honeycomb
from localstack.honeycomb.results import MAX_LONG, Results

KEYS = [f"key {number}" for number in range(8)]


@pytest.fixture
def state(tmp_path: Path) -> Iterator[Honeycomb]:
    opened = Honeycomb(tmp_path / "honeycomb.duckdb")
    yield opened
    opened.close()


@pytest.fixture
def results(state: Honeycomb) -> Iterator[Results]:
    opened = Results(state)
    yield opened
    opened.close()


def long(event: int, key: str) -> str:
    """A value of its own for each event and key, as long as one may be, which no compression makes short."""
    begin = f"{event} {key} "
    noise = hashlib.shake_128(begin.encode()).hexdigest(MAX_FIELD)
    return (begin + noise)[:MAX_FIELD]


def add(state: Honeycomb, events: range) -> None:
    rows = Rows()
    for event in events:
        rows.add("ds", time.time_ns(), 1, {"trace.trace_id": f"{event:032x}", **{key: long(event, key) for key in KEYS}})
    state.add(rows)


def ask(state: Honeycomb, results: Results, **spec: Any) -> dict[str, Any]:
    query = state.create_query("ds", {"breakdowns": ["trace.trace_id"], "time_range": 7_200} | spec)
    run = state.create_query_run("ds", query.id, disable_series=True, limit=10_000)
    answer: dict[str, Any] = orjson.loads(results.start(run, query).result())
    return answer


def test_large_events_fit_however_many_there_are(state: Honeycomb, results: Results) -> None:
    """300 MB of values, of which DuckDB may have a third in memory."""
    for first in range(0, 600, 20):
        add(state, range(first, first + 20))
    filters = [{"column": "trace.trace_id", "op": "in", "value": [f"{event:032x}" for event in (3, 500)]}]
    answer = ask(state, results, breakdowns=["trace.trace_id", *KEYS], filters=filters)
    expected = [{"trace.trace_id": f"{event:032x}", **{key: long(event, key) for key in KEYS}, "COUNT": 1} for event in (3, 500)]
    assert [row["data"] for row in answer["data"]["results"]] == expected
    # Grouping reads no long string: what a row holds of it is enough.
    assert len(ask(state, results, calculations=[{"op": "COUNT_DISTINCT", "column": KEYS[0]}])["data"]["results"]) == 600


def test_a_result_beyond_what_the_server_holds_says_so(state: Honeycomb, results: Results) -> None:
    count = MAX_LONG // (len(KEYS) * MAX_FIELD) + 1
    add(state, range(count))
    answer = ask(state, results, breakdowns=["trace.trace_id", *KEYS])
    assert answer == {
        "error": "The query could not be run: its long strings are more than 64 MiB. Ask for fewer columns or fewer groups.",
    }


def test_the_same_text_is_kept_once(state: Honeycomb) -> None:
    for _ in range(3):
        add(state, range(2))
    (count,) = state.store.read("SELECT count(DISTINCT digest), count(*) FILTER (WHERE part = 0) FROM long_text")
    assert count == (2 * len(KEYS), 2 * len(KEYS))


def test_a_part_of_a_long_string_is_found(state: Honeycomb, results: Results) -> None:
    add(state, range(3))
    whole = long(1, KEYS[0])
    for op, value in (
        ("=", whole),
        ("in", [whole]),
        ("starts-with", whole[:60_000]),
        ("ends-with", whole[30_000:]),
        ("contains", whole[20_000:20_100]),
    ):
        answer = ask(state, results, filters=[{"column": KEYS[0], "op": op, "value": value}])
        assert [row["data"]["trace.trace_id"] for row in answer["data"]["results"]] == [f"{1:032x}"], op
