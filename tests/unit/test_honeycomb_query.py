"""The query language of the local Honeycomb: its SQL answers what a plain reading of the rules answers."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from typing import Any, cast

import duckdb
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from localstack.honeycomb.layout import CREATE_EVENT, CREATE_LONG_TEXT, Rows, Value
from localstack.honeycomb.query import compile_results, compile_series
from localstack.honeycomb.spec import FILTER_OPS, OPS, PERCENTILES, QuerySpec, Window, parse

SECOND = 1_000_000_000
START, END = 1_700_000_000, 1_700_000_600

# Promoted columns of each type, and keys that need escaping in JSON or JSON Pointer.
COLUMNS = ("name", "duration_ms", "status_code", "http.route", 'a/b~c"d', "never")
VALUES = st.one_of(
    # The last three are not in the event's row.
    st.sampled_from(["", "a", "ab", "b", "5", "5.0", "true", 'q"', "ü", "a\nb", "a" * 9_000, "ü\n" * 5_000 + "b", '{"long": "a"}' * 400]),
    st.integers(-3, 6),
    # Sums of these are exact, so that the order of summing does not matter.
    st.integers(-8, 24).map(lambda quarter: quarter / 4),
    st.booleans(),
)
EVENTS = st.lists(
    st.tuples(
        st.integers(START - 60, END + 60),
        st.sampled_from(["cruddur", "profiles"]),
        st.integers(1, 5),
        st.dictionaries(st.sampled_from(COLUMNS[:-1]), VALUES, max_size=5),
    ),
    max_size=25,
)


def filter_documents() -> st.SearchStrategy[dict[str, Any]]:
    def of(op: str) -> st.SearchStrategy[dict[str, Any]]:
        base = {"column": st.sampled_from(COLUMNS), "op": st.just(op)}
        if op in ("exists", "does-not-exist"):
            return st.fixed_dictionaries(base)
        if op in ("in", "not-in"):
            return st.fixed_dictionaries(base | {"value": st.lists(VALUES, max_size=4)})
        if "with" in op or "contain" in op:
            return st.fixed_dictionaries(base | {"value": st.sampled_from(["", "a", "b", "5", "tr", "ü"])})
        return st.fixed_dictionaries(base | {"value": VALUES})

    return st.sampled_from(FILTER_OPS).flatmap(of)


FILTERS = st.lists(filter_documents(), max_size=3)
BOOLEANS = st.booleans()
COMBINATIONS = st.sampled_from(["AND", "OR"])


@st.composite
def specs(draw: st.DrawFn) -> dict[str, Any]:
    calculations = []
    for number, op in enumerate(draw(st.lists(st.sampled_from(OPS), max_size=4))):
        calculation: dict[str, Any] = {"op": op, "name": f"calculation {number}"}
        if op != "COUNT":
            calculation["column"] = draw(st.sampled_from((*COLUMNS, "when")))
        if draw(BOOLEANS):
            calculation |= {"filters": draw(FILTERS), "filter_combination": draw(COMBINATIONS)}
        calculations.append(calculation)
    breakdowns = draw(st.lists(st.sampled_from(COLUMNS), unique=True, max_size=3))
    terms: list[dict[str, Any]] = [{"column": name} for name in (*breakdowns, *(c["name"] for c in calculations))]
    orders: list[dict[str, Any]] = draw(st.lists(st.sampled_from(terms), max_size=2)) if terms else []
    havings: list[dict[str, Any]] = []
    if draw(BOOLEANS) and calculations:
        target = draw(st.sampled_from(calculations))
        havings.append(
            {
                "calculate_op": target["op"],
                "column": target.get("column"),
                "op": draw(st.sampled_from(["=", "!=", "<", "<=", ">", ">="])),
                "value": draw(st.integers(-3, 20)),
            }
        )
    return {
        "calculated_fields": [{"name": "when", "expression": "EVENT_TIMESTAMP()"}],
        "calculations": calculations,
        "filters": draw(FILTERS),
        "filter_combination": draw(COMBINATIONS),
        "breakdowns": breakdowns,
        "orders": [order | {"order": draw(st.sampled_from(["ascending", "descending"]))} for order in orders],
        "havings": havings,
        "limit": draw(st.sampled_from([1, 2, 100])),
        "start_time": START,
        "end_time": END,
    }


# -- the rules, read plainly

Event = tuple[int, str, int, dict[str, Value]]
COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "=": operator.eq,
    "!=": operator.ne,
}


def cell(event: Event, column: str) -> Value | None:
    return float(event[0]) if column == "when" else event[3].get(column)


def json_text(value: Value) -> bytes:
    return orjson.dumps(value)


def text(value: Value) -> str:
    return value if isinstance(value, str) else json_text(value).decode()


def number(value: Value | None) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def equals(value: Value | None, wanted: Value) -> bool:
    if value is None:
        return False
    if isinstance(wanted, str):
        return text(value) == wanted
    if isinstance(wanted, bool):
        return value is wanted
    return number(value) == wanted


def matches(event: Event, condition: dict[str, Any]) -> bool:
    op: str = condition["op"]
    value, wanted = cell(event, condition["column"]), cast(Any, condition.get("value"))
    if op == "exists":
        return value is not None
    if op in ("!=", "not-in", "does-not-exist") or op.startswith("does-not-"):
        positive = {"!=": "=", "not-in": "in", "does-not-exist": "exists", "does-not-contain": "contains"}
        opposite = positive.get(op) or op.replace("does-not-start", "starts").replace("does-not-end", "ends")
        return not matches(event, condition | {"op": opposite})
    if op == "in":
        return any(equals(value, member) for member in wanted)
    if op == "=":
        return equals(value, wanted)
    if value is None:
        return False
    if op in COMPARE:
        if isinstance(wanted, str | bool):
            return COMPARE[op](text(value).encode(), text(wanted).encode())
        left = number(value)
        return left is not None and COMPARE[op](left, wanted)
    tests = {"starts-with": str.startswith, "ends-with": str.endswith, "contains": str.__contains__}
    return bool(tests[op](text(value), wanted))


def passes(event: Event, filters: list[dict[str, Any]], combination: str) -> bool:
    results = [matches(event, condition) for condition in filters]
    return not results or (all(results) if combination == "AND" else any(results))


def calculate(calculation: dict[str, Any], events: list[Event]) -> float | None:
    events = [event for event in events if passes(event, calculation.get("filters", []), calculation.get("filter_combination", "AND"))]
    op = calculation["op"]
    if op == "COUNT":
        return sum(event[2] for event in events)
    column = calculation["column"]
    if op == "COUNT_DISTINCT":
        return len({json_text(value) for event in events if (value := cell(event, column)) is not None})
    weighted = [(value, event[2]) for event in events if (value := number(cell(event, column))) is not None]
    if not weighted:
        return None
    weight = sum(each for _, each in weighted)
    total = sum(value * each for value, each in weighted)
    if op == "SUM":
        return total
    if op == "AVG":
        return total / weight
    if op in ("MIN", "MAX"):
        return {"MIN": min, "MAX": max}[op](value for value, _ in weighted)
    upto = 0
    for value, each in sorted(weighted):
        upto += each
        if upto >= PERCENTILES[op] * weight:
            return value
    raise AssertionError("a percentile is one of the values")


def evaluate(spec: dict[str, Any], events: list[Event]) -> list[tuple[Any, ...]]:
    """Result rows: breakdown values as JSON, then calculations."""
    calculations = spec["calculations"] or [{"op": "COUNT", "name": "COUNT"}]
    groups: dict[tuple[bytes | None, ...], list[Event]] = {} if spec["breakdowns"] else {(): []}
    for event in events:
        if START <= event[0] < END and passes(event, spec["filters"], spec["filter_combination"]):
            values = (cell(event, column) for column in spec["breakdowns"])
            groups.setdefault(tuple(None if value is None else json_text(value) for value in values), []).append(event)
    rows = [(*key, *(calculate(calculation, members) for calculation in calculations)) for key, members in groups.items()]
    width = len(spec["breakdowns"])
    for having in spec["havings"]:
        position = width + next(
            i for i, c in enumerate(calculations) if c["op"] == having["calculate_op"] and c.get("column") == having["column"]
        )
        rows = [row for row in rows if row[position] is not None and COMPARE[having["op"]](row[position], having["value"])]
    # Sort by the least important key first; what has no value comes last, whatever the direction.
    for position in reversed(range(width)):
        rows.sort(key=lambda row, at=position: (row[at] is None, row[at] or b""))  # type: ignore[misc]
    names = [calculation["name"] for calculation in calculations]
    orders = spec["orders"] or [{"column": names[0], "order": "descending"}]
    for order in reversed(orders):
        descending = order["order"] == "descending"
        if order["column"] in spec["breakdowns"]:
            at = spec["breakdowns"].index(order["column"])
            _sort(rows, lambda row, at=at: None if row[at] is None else text(orjson.loads(row[at])).encode(), descending)  # type: ignore[misc]
            _sort(rows, lambda row, at=at: None if row[at] is None else number(orjson.loads(row[at])), descending)  # type: ignore[misc]
        else:
            at = width + names.index(order["column"])
            _sort(rows, lambda row, at=at: row[at], descending)  # type: ignore[misc]
    return rows[: spec["limit"]]


def _sort(rows: list[Any], key: Callable[[Any], Any], descending: bool) -> None:
    valued = sorted((row for row in rows if key(row) is not None), key=key, reverse=False)
    if descending:
        # sorted(reverse=True) keeps equal rows in order, as SQL's further terms do.
        valued = sorted((row for row in rows if key(row) is not None), key=key, reverse=True)
    rows[:] = valued + [row for row in rows if key(row) is None]


# -- held against each other


@pytest.fixture(scope="module")
def database() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as connection:
        connection.execute(CREATE_EVENT)
        connection.execute(CREATE_LONG_TEXT)
        yield connection


def store(database: duckdb.DuckDBPyConnection, events: list[Event]) -> None:
    rows = Rows()
    for seconds, dataset, rate, data in events:
        rows.add(dataset, seconds * SECOND, rate, data)
    database.execute("DELETE FROM event")
    database.register("appended", rows.table(END * SECOND))
    database.execute("INSERT INTO event BY NAME SELECT * FROM appended")
    database.unregister("appended")
    database.execute("DELETE FROM long_text")
    database.register("appended", rows.long_texts())
    database.execute("INSERT INTO long_text BY NAME SELECT * FROM appended")
    database.unregister("appended")


def plain(database: duckdb.DuckDBPyConnection, rows: list[tuple[Any, ...]], groups: int, leading: int = 0) -> list[tuple[Any, ...]]:
    groups += leading
    long = dict(database.execute("SELECT digest, string_agg(text, '' ORDER BY part) FROM long_text GROUP BY digest").fetchall())

    def whole(value: str | None) -> bytes | None:
        if value is None or value[0] != "{":
            return None if value is None else value.encode()
        return orjson.dumps(long[orjson.loads(value)["long"]])

    return [(*row[:leading], *map(whole, row[leading:groups]), *row[groups:]) for row in rows]


def run(database: duckdb.DuckDBPyConnection, query: QuerySpec, dataset: str | None = None) -> list[tuple[Any, ...]]:
    statement = compile_results(query, dataset, query.window(0), query.limit)
    return plain(database, database.execute(statement.sql, statement.parameters).fetchall(), len(query.breakdowns))


@settings(max_examples=300, deadline=None)
@given(spec=specs(), events=EVENTS)
def test_sql_answers_what_the_rules_say(database: duckdb.DuckDBPyConnection, spec: dict[str, Any], events: list[Event]) -> None:
    store(database, events)
    assert run(database, parse(spec)) == evaluate(spec, events)


@settings(max_examples=60, deadline=None)
@given(spec=specs(), events=EVENTS)
def test_a_series_is_the_same_query_in_steps(database: duckdb.DuckDBPyConnection, spec: dict[str, Any], events: list[Event]) -> None:
    store(database, events)
    query = parse(spec | {"havings": [], "limit": 100, "granularity": 60})
    statement = compile_series(query, None, query.window(0), 100)
    series = plain(database, database.execute(statement.sql, statement.parameters).fetchall(), len(query.breakdowns), leading=1)
    expected = []
    for step in sorted({event[0] // 60 * 60 for event in events if START <= event[0] < END}):
        within = [event for event in events if event[0] // 60 * 60 == step]
        rows = evaluate(spec | {"havings": [], "limit": 100}, within)
        expected += [(step, *row) for row in rows if within and (query.breakdowns or any_passes(spec, within))]
    order = lambda row: [(value is None, str(value)) for value in row]  # noqa: E731
    assert sorted(series, key=order) == sorted(expected, key=order)


def any_passes(spec: dict[str, Any], events: list[Event]) -> bool:
    return any(passes(event, spec["filters"], spec["filter_combination"]) for event in events if START <= event[0] < END)


def test_one_dataset_leaves_the_others_out(database: duckdb.DuckDBPyConnection) -> None:
    store(database, [(START, "cruddur", 1, {}), (START, "profiles", 1, {}), (START, "profiles", 1, {})])
    query = parse({"start_time": START, "end_time": END})
    assert run(database, query, "profiles") == [(2,)]
    assert run(database, query, None) == [(3,)]
    assert run(database, query, "nobody") == [(0,)]


def test_percentiles_weigh_by_sample_rate(database: duckdb.DuckDBPyConnection) -> None:
    # 10 stands for one event, 20 for three, 40 for four.
    store(database, [(START, "cruddur", rate, {"duration_ms": value}) for value, rate in ((10.0, 1), (20.0, 3), (40.0, 4))])
    ops = ("P10", "P50", "P75", "P999")
    query = parse({"calculations": [{"op": op, "column": "duration_ms"} for op in ops], "start_time": START, "end_time": END})
    # Half of the weight does not exceed 20: an exact half is enough.
    assert run(database, query) == [(10.0, 20.0, 40.0, 40.0)]


def test_thousands_of_values_in_one_filter(database: duckdb.DuckDBPyConnection) -> None:
    traces = [f"{number:032x}" for number in range(5000)]
    store(database, [(START, "cruddur", 1, {"trace.trace_id": trace}) for trace in traces[:300]])
    query = parse(
        {"start_time": START, "end_time": END, "filters": [{"column": "trace.trace_id", "op": "in", "value": traces[100:]}]},
    )
    assert run(database, query) == [(200,)]


def test_timestamps_are_float_seconds(database: duckdb.DuckDBPyConnection) -> None:
    rows = Rows()
    rows.add("cruddur", START * SECOND + 250_000_000, 1, {"name": "x"})
    database.execute("DELETE FROM event")
    database.register("appended", rows.table(END * SECOND + 500_000_000))
    database.execute("INSERT INTO event BY NAME SELECT * FROM appended")
    database.unregister("appended")
    query = parse(
        {
            "calculated_fields": [
                {"name": "ts", "expression": "EVENT_TIMESTAMP()"},
                {"name": "seen", "expression": " ingest_timestamp( ) "},
            ],
            "calculations": [{"op": "MIN", "column": "ts"}, {"op": "MAX", "column": "seen"}],
            "start_time": START,
            "end_time": END,
        }
    )
    assert run(database, query) == [(START + 0.25, END + 0.5)]


def test_time_windows() -> None:
    now = 1_000_000.0
    assert parse({}).window(now) == Window(now - 7200, now)
    assert parse({"time_range": 60}).window(now) == Window(now - 60, now)
    assert parse({"start_time": 100}).window(now) == Window(100, 7300)
    assert parse({"start_time": 100, "time_range": 60}).window(now) == Window(100, 160)
    assert parse({"end_time": 9000, "time_range": 60}).window(now) == Window(8940, 9000)
    assert parse({"start_time": 100, "end_time": 200}).window(now) == Window(100, 200)


def test_steps_of_a_series() -> None:
    assert parse({"time_range": 7200}).bucket(Window(0, 7200)) == 60
    assert parse({"time_range": 600, "granularity": 30}).bucket(Window(0, 600)) == 30
    assert parse({}).bucket(Window(0, 10**8)) == 833_334
