"""What a query specification may not say, and how each wrong field is named."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localstack.honeycomb.spec import Calculation, Filter, Invalid, Order, parse

COUNT = {"op": "COUNT"}


def test_an_empty_query_counts_the_last_two_hours() -> None:
    query = parse({})
    assert query.calculations == (Calculation("COUNT"),)
    assert (query.limit, query.time_range) == (100, 7200)


def test_names_of_calculations() -> None:
    query = parse({"calculations": [COUNT, {"op": "P99", "column": "duration_ms"}, {"op": "MAX", "column": "a", "name": "most"}]})
    assert [calculation.name for calculation in query.calculations] == ["COUNT", "P99(duration_ms)", "most"]


def test_in_takes_a_list_or_words() -> None:
    for value in (["a", "b"], "a, b"):
        assert parse({"filters": [{"column": "x", "op": "in", "value": value}]}).filters == (Filter("x", "in", ("a", "b")),)


def test_an_order_names_a_breakdown_or_a_calculation() -> None:
    document = {
        "calculations": [COUNT, {"op": "AVG", "column": "duration_ms"}],
        "breakdowns": ["name"],
        "orders": [{"column": "name"}, {"op": "COUNT", "order": "descending"}, {"op": "AVG", "column": "duration_ms"}],
    }
    assert parse(document).orders == (Order("name", False), Order(0, True), Order(1, False))


@pytest.mark.parametrize(
    ("document", "field", "code"),
    [
        ([], "query", "incorrect_type"),
        ({"calculation": []}, "calculation", "invalid"),
        ({"calculations": {}}, "calculations", "incorrect_type"),
        ({"calculations": [COUNT] * 101}, "calculations", "invalid"),
        ({"calculations": [COUNT, COUNT]}, "calculations", "invalid"),
        ({"calculations": ["COUNT"]}, "calculations[0]", "incorrect_type"),
        ({"calculations": [{}]}, "calculations[0].op", "missing"),
        ({"calculations": [{"op": "MEDIAN", "column": "a"}]}, "calculations[0].op", "invalid"),
        ({"calculations": [{"op": "HEATMAP", "column": "a"}]}, "calculations[0].op", "invalid"),
        ({"calculations": [{"op": "SUM"}]}, "calculations[0].column", "missing"),
        ({"calculations": [{"op": "SUM", "column": 3}]}, "calculations[0].column", "incorrect_type"),
        ({"calculations": [{"op": "COUNT", "column": "a"}]}, "calculations[0].column", "invalid"),
        ({"calculations": [COUNT | {"filters": [{"column": "a", "op": "exists"}]}]}, "calculations[0].name", "missing"),
        ({"calculations": [COUNT | {"name": "n"}], "breakdowns": ["n"]}, "calculations", "invalid"),
        ({"filters": [{"op": "="}]}, "filters[0].column", "missing"),
        ({"filters": [{"column": "a", "op": "like", "value": "x"}]}, "filters[0].op", "invalid"),
        ({"filters": [{"column": "a", "op": "="}]}, "filters[0].value", "missing"),
        ({"filters": [{"column": "a", "op": "=", "value": [1]}]}, "filters[0].value", "incorrect_type"),
        ({"filters": [{"column": "a", "op": "=", "value": 10**400}]}, "filters[0].value", "invalid"),
        ({"filters": [{"column": "a", "op": "exists", "value": 1}]}, "filters[0].value", "invalid"),
        ({"filters": [{"column": "a", "op": "contains", "value": 1}]}, "filters[0].value", "incorrect_type"),
        ({"filters": [{"column": "a", "op": "in", "value": 1}]}, "filters[0].value", "incorrect_type"),
        ({"filters": [{"column": "a", "op": "in", "value": ["x", None]}]}, "filters[0].value[1]", "missing"),
        ({"filter_combination": "XOR"}, "filter_combination", "invalid"),
        ({"breakdowns": [""]}, "breakdowns[0]", "invalid"),
        ({"breakdowns": ["a", "a"]}, "breakdowns", "invalid"),
        ({"orders": [{"column": "a"}]}, "orders[0]", "invalid"),
        ({"orders": [{"op": "COUNT", "order": "up"}]}, "orders[0].order", "invalid"),
        ({"havings": [{"calculate_op": "COUNT", "op": ">", "value": "3"}]}, "havings[0].value", "incorrect_type"),
        ({"havings": [{"calculate_op": "COUNT", "op": "in", "value": 3}]}, "havings[0].op", "invalid"),
        ({"havings": [{"calculate_op": "SUM", "column": "a", "op": ">", "value": 3}]}, "havings[0]", "invalid"),
        ({"calculated_fields": [{"name": "a", "expression": "SUM($b, 1)"}]}, "calculated_fields[0].expression", "invalid"),
        ({"calculated_fields": [{"expression": "EVENT_TIMESTAMP()"}]}, "calculated_fields[0].name", "missing"),
        ({"limit": 0}, "limit", "invalid"),
        ({"limit": 10_001}, "limit", "invalid"),
        ({"limit": "10"}, "limit", "incorrect_type"),
        ({"limit": True}, "limit", "incorrect_type"),
        ({"time_range": 0}, "time_range", "invalid"),
        ({"time_range": 60, "start_time": 1, "end_time": 2}, "time_range", "invalid"),
        ({"start_time": 2, "end_time": 2}, "end_time", "invalid"),
        ({"time_range": 600, "granularity": 61}, "granularity", "invalid"),
        ({"time_range": 600_000, "granularity": 1}, "granularity", "invalid"),
        ({"compare_time_offset_seconds": 1800}, "compare_time_offset_seconds", "invalid"),
    ],
)
def test_each_wrong_field_is_named(document: Any, field: str, code: str) -> None:
    with pytest.raises(Invalid) as caught:
        parse(document)
    assert (field, code) in [(detail.field, detail.code) for detail in caught.value.details]


def test_every_wrong_field_is_named_at_once() -> None:
    with pytest.raises(Invalid) as caught:
        parse({"limit": 0, "filters": [{"column": "a", "op": "like"}], "breakdowns": [1]})
    assert {detail.field for detail in caught.value.details} >= {"limit", "filters[0].op", "breakdowns[0]"}


KEYS = st.sampled_from(
    [
        "calculations",
        "filters",
        "breakdowns",
        "orders",
        "havings",
        "calculated_fields",
        "op",
        "column",
        "value",
        "name",
        "expression",
        "limit",
        "time_range",
        "start_time",
        "end_time",
        "granularity",
        "filter_combination",
        "calculate_op",
        "order",
        "x",
    ]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=5),
    max_leaves=20,
)


@given(st.dictionaries(KEYS, JSON, max_size=8) | JSON)
def test_nothing_but_invalid_is_raised(document: Any) -> None:
    try:
        parse(document)
    except Invalid as error:
        assert error.details  # noqa: PT017 (either outcome is right)
