"""Query specifications: what a client asks, validated ("Reference: Query Specification" of Honeycomb's documentation).

    query = parse({"calculations": [{"op": "P99", "column": "duration_ms"}], "breakdowns": ["name"]})

Raises :class:`Invalid` with every field that is wrong. Knows nothing of HTTP, state or SQL.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast

from localstack.honeycomb.problems import Detail

PERCENTILES = {
    "P001": 0.001,
    "P01": 0.01,
    "P05": 0.05,
    "P10": 0.10,
    "P20": 0.20,
    "P25": 0.25,
    "P50": 0.50,
    "P75": 0.75,
    "P80": 0.80,
    "P90": 0.90,
    "P95": 0.95,
    "P99": 0.99,
    "P999": 0.999,
}
#: Calculations that are answered.
OPS = ("COUNT", "SUM", "AVG", "COUNT_DISTINCT", "MAX", "MIN", *PERCENTILES)
#: Calculations that Honeycomb has and this program does not.
OPS_NOT_IMPLEMENTED = ("CONCURRENCY", "HEATMAP", "RATE_AVG", "RATE_SUM", "RATE_MAX")

COMPARISONS = ("=", "!=", ">", ">=", "<", "<=")
TEXT_OPS = ("starts-with", "does-not-start-with", "ends-with", "does-not-end-with", "contains", "does-not-contain")
LIST_OPS = ("in", "not-in")
EXISTENCE = ("exists", "does-not-exist")
FILTER_OPS = (*COMPARISONS, *TEXT_OPS, *EXISTENCE, *LIST_OPS)

#: Calculated fields that are answered; the rest of the derived column language is not.
EXPRESSIONS = {"EVENT_TIMESTAMP()": "event_time", "INGEST_TIMESTAMP()": "ingest_time"}

DEFAULT_TIME_RANGE = 7200
DEFAULT_LIMIT = 100
#: Result rows: with a series, and with ``disable_series``.
MAX_ROWS_WITH_SERIES = 1_000
MAX_ROWS = 10_000
#: Members of any list of a specification but the values of a filter.
MAX_ITEMS = 100

#: Fields that have no effect on results here and are kept as they are.
_IGNORED = ("id", "query_annotation_id", "chart_settings", "usage_mode", "name", "description")
#: Fields that ask for something this program does not have.
_NOT_IMPLEMENTED = ("compare_time_offset_seconds", "formulas", "compound")

FilterValue = str | int | float | bool
FieldSource = Literal["event_time", "ingest_time"]


class Invalid(Exception):
    """A specification that is wrong; ``details`` names each wrong field."""

    def __init__(self, details: list[Detail]) -> None:
        super().__init__("; ".join(f"{detail.field}: {detail.description}" for detail in details))
        self.details = details


@dataclass(frozen=True)
class Filter:
    """``values`` holds none for ``exists``, any number for ``in``, one otherwise."""

    column: str
    op: str
    values: tuple[FilterValue, ...] = ()


@dataclass(frozen=True)
class Calculation:
    """An aggregate of the matching events. ``name`` is its key in a result row."""

    op: str
    column: str | None = None
    name: str = "COUNT"
    filters: tuple[Filter, ...] = ()
    filter_combination: str = "AND"


@dataclass(frozen=True)
class Order:
    """``key`` names a breakdown, or a calculation by its position."""

    key: str | int
    descending: bool


@dataclass(frozen=True)
class Having:
    """A condition on the calculation at ``calculation``."""

    calculation: int
    op: str
    value: float


@dataclass(frozen=True)
class Window:
    """When events must have happened: epoch seconds, from ``start`` up to but not including ``end``."""

    start: float
    end: float


@dataclass(frozen=True)
class QuerySpec:
    """A validated query. ``fields`` are the calculated fields by name."""

    calculations: tuple[Calculation, ...]
    filters: tuple[Filter, ...] = ()
    filter_combination: str = "AND"
    breakdowns: tuple[str, ...] = ()
    orders: tuple[Order, ...] = ()
    havings: tuple[Having, ...] = ()
    fields: Mapping[str, FieldSource] | None = None
    limit: int = DEFAULT_LIMIT
    time_range: int = DEFAULT_TIME_RANGE
    start_time: int | None = None
    end_time: int | None = None
    granularity: int | None = None

    def window(self, now: float) -> Window:
        """The time window when the query runs at ``now`` (epoch seconds).

        A range is added after a start or before an end; with neither it ends now.
        """
        if self.start_time is not None and self.end_time is not None:
            return Window(self.start_time, self.end_time)
        if self.start_time is not None:
            return Window(self.start_time, self.start_time + self.time_range)
        end = now if self.end_time is None else self.end_time
        return Window(end - self.time_range, end)

    def bucket(self, window: Window) -> int:
        """Seconds of one step of the series: ``granularity``, or a round number that makes at most 120 steps."""
        if self.granularity is not None:
            return self.granularity
        seconds = window.end - window.start
        return next((step for step in _STEPS if seconds / step <= 120), math.ceil(seconds / 120))


_STEPS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 21600, 43200, 86400)


def parse(document: Any) -> QuerySpec:
    """Validate a query specification. Raises Invalid."""
    return _Parser().query(document)


class _Parser:
    """Collects every error instead of stopping at the first."""

    def __init__(self) -> None:
        self.details: list[Detail] = []

    def wrong(self, field: str, description: str, code: Literal["invalid", "missing", "incorrect_type"] = "invalid") -> None:
        self.details.append(Detail(field, code, description))

    # -- values

    def text(self, value: Any, field: str) -> str:
        if value is None:
            self.wrong(field, "is required", "missing")
        elif not isinstance(value, str):
            self.wrong(field, "must be a string", "incorrect_type")
        elif not value:
            self.wrong(field, "must not be empty")
        else:
            return value
        return ""

    def choice(self, value: Any, field: str, allowed: tuple[str, ...]) -> str:
        text = self.text(value, field)
        if text and text not in allowed:
            self.wrong(field, f"must be one of {', '.join(allowed)}")
        return text

    def integer(self, value: Any, field: str, least: int, most: int | None = None) -> int | None:
        if value is None:
            return None
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int):
            self.wrong(field, "must be an integer", "incorrect_type")
            return None
        if value < least or value > (2**53 if most is None else most):
            self.wrong(field, f"must be at least {least}" if most is None else f"must be between {least} and {most}")
            return None
        return value

    def items(self, document: Mapping[str, Any], field: str, parse_item: Callable[[Any, str], Any]) -> tuple[Any, ...]:
        value = document.get(field.rpartition(".")[2])
        if value is None:
            return ()
        if not isinstance(value, list):
            self.wrong(field, "must be a list", "incorrect_type")
            return ()
        if len(value) > MAX_ITEMS:
            self.wrong(field, f"must have at most {MAX_ITEMS} items")
            return ()
        return tuple(parse_item(item, f"{field}[{number}]") for number, item in enumerate(value))

    def document(self, value: Any, field: str, known: tuple[str, ...]) -> Mapping[str, Any]:
        if not isinstance(value, dict):
            self.wrong(field, "must be an object", "incorrect_type")
            return {}
        for name in value:
            if name not in known:
                self.wrong(f"{field}.{name}", "is not a field of a query specification")
        return value

    # -- the parts of a query

    def query(self, document: Any) -> QuerySpec:
        if not isinstance(document, dict):
            raise Invalid([Detail("query", "incorrect_type", "must be a JSON object")])
        known = (
            "calculations",
            "filters",
            "filter_combination",
            "breakdowns",
            "orders",
            "havings",
            "calculated_fields",
            "limit",
            "time_range",
            "start_time",
            "end_time",
            "granularity",
        )
        for name, value in document.items():
            if name in _NOT_IMPLEMENTED and value:
                self.wrong(name, "is not implemented by the local Honeycomb")
            elif name not in known and name not in _IGNORED and name not in _NOT_IMPLEMENTED:
                self.wrong(name, "is not a field of a query specification")
        fields = self.fields(document)
        calculations = self.items(document, "calculations", self.calculation) or (Calculation("COUNT"),)
        names = [calculation.name for calculation in calculations]
        for name in {name for name in names if names.count(name) > 1}:
            self.wrong("calculations", f"{name} occurs more than once; give each calculation its own name")
        breakdowns = cast(tuple[str, ...], self.items(document, "breakdowns", self.text))
        if len(set(breakdowns)) < len(breakdowns):
            self.wrong("breakdowns", "must not name a column twice")
        for name in set(breakdowns) & set(names):
            self.wrong("calculations", f"{name} is the name of a breakdown too")
        filters = self.items(document, "filters", self.filter)
        combination = self.combination(document, "filter_combination")
        orders = self.items(document, "orders", lambda item, field: self.order(item, field, calculations, breakdowns))
        havings = self.items(document, "havings", lambda item, field: self.having(item, field, calculations))
        limit = self.integer(document.get("limit"), "limit", 1, MAX_ROWS)
        time_range = self.integer(document.get("time_range"), "time_range", 1)
        start = self.integer(document.get("start_time"), "start_time", 0)
        end = self.integer(document.get("end_time"), "end_time", 1)
        if document.get("time_range") is not None and start is not None and end is not None:
            self.wrong("time_range", "must not be given together with both start_time and end_time")
        if start is not None and end is not None and start >= end:
            self.wrong("end_time", "must be after start_time")
        query = QuerySpec(
            calculations=calculations,
            filters=filters,
            filter_combination=combination,
            breakdowns=breakdowns,
            orders=orders,
            havings=havings,
            fields=fields,
            limit=DEFAULT_LIMIT if limit is None else limit,
            time_range=DEFAULT_TIME_RANGE if time_range is None else time_range,
            start_time=start,
            end_time=end,
            granularity=self.granularity(document),
        )
        window = query.window(2**40)
        seconds = window.end - window.start
        if query.granularity is not None and not self.details and not seconds / 1000 <= query.granularity <= max(seconds / 10, 1):
            self.wrong("granularity", f"must be between a thousandth and a tenth of the time range of {seconds:g} s")
        if self.details:
            raise Invalid(self.details)
        return query

    def granularity(self, document: Mapping[str, Any]) -> int | None:
        # 0 is what the web interface writes for "automatic".
        return self.integer(document.get("granularity"), "granularity", 0) or None

    def combination(self, document: Mapping[str, Any], field: str) -> str:
        value = document.get("filter_combination")
        return "AND" if value is None else self.choice(value, field, ("AND", "OR"))

    def fields(self, document: Mapping[str, Any]) -> dict[str, FieldSource]:
        fields: dict[str, FieldSource] = {}

        def field(item: Any, where: str) -> None:
            value = self.document(item, where, ("name", "expression"))
            name = self.text(value.get("name"), f"{where}.name")
            expression = self.text(value.get("expression"), f"{where}.expression")
            source = EXPRESSIONS.get(re.sub(r"\s+", "", expression).upper())
            if expression and source is None:
                self.wrong(
                    f"{where}.expression",
                    f"only {' and '.join(EXPRESSIONS)} are implemented by the local Honeycomb, not {expression[:200]}",
                )
            if name in fields:
                self.wrong(f"{where}.name", f"{name} is defined twice")
            if name and source is not None:
                fields[name] = cast(FieldSource, source)

        self.items(document, "calculated_fields", field)
        return fields

    def calculation(self, item: Any, field: str) -> Calculation:
        document = self.document(item, field, ("op", "column", "name", "filters", "filter_combination"))
        op = self.text(document.get("op"), f"{field}.op")
        if op in OPS_NOT_IMPLEMENTED:
            self.wrong(f"{field}.op", f"{op} is not implemented by the local Honeycomb")
        elif op and op not in OPS:
            self.wrong(f"{field}.op", f"must be one of {', '.join((*OPS, *OPS_NOT_IMPLEMENTED))}")
        column = document.get("column")
        if op == "COUNT":
            if column is not None:
                self.wrong(f"{field}.column", "COUNT takes no column")
            column = None
        elif op in OPS:
            column = self.text(column, f"{field}.column")
        name = document.get("name")
        if name is not None:
            name = self.text(name, f"{field}.name")
        filters = self.items(document, f"{field}.filters", self.filter)
        if filters and name is None:
            self.wrong(f"{field}.name", "is required where a calculation has filters", "missing")
        combination = self.combination(document, f"{field}.filter_combination")
        return Calculation(op, column, name or (f"{op}({column})" if column else op), filters, combination)

    def filter(self, item: Any, field: str) -> Filter:
        document = self.document(item, field, ("column", "op", "value"))
        column = self.text(document.get("column"), f"{field}.column")
        op = self.choice(document.get("op"), f"{field}.op", FILTER_OPS)
        value = document.get("value")
        where = f"{field}.value"
        if op in EXISTENCE:
            if value is not None:
                self.wrong(where, f"{op} takes no value")
            return Filter(column, op)
        if op in LIST_OPS:
            if isinstance(value, str):
                value = [part.strip() for part in value.split(",")]
            if not isinstance(value, list):
                self.wrong(where, f"{op} takes a list", "missing" if value is None else "incorrect_type")
                return Filter(column, op)
            return Filter(column, op, tuple(self.scalar(member, f"{where}[{number}]") for number, member in enumerate(value)))
        value = self.scalar(value, where)
        if op in TEXT_OPS and not isinstance(value, str):
            self.wrong(where, f"{op} takes a string", "incorrect_type")
        return Filter(column, op, (value,))

    def scalar(self, value: Any, field: str) -> FilterValue:
        if value is None:
            self.wrong(field, "is required", "missing")
        elif isinstance(value, str | bool):
            return value
        elif not isinstance(value, int | float):
            self.wrong(field, "must be a string, a number or a boolean", "incorrect_type")
        elif not abs(value) <= 1e300:
            self.wrong(field, "is out of range")
        else:
            return value
        return ""

    def order(self, item: Any, field: str, calculations: tuple[Calculation, ...], breakdowns: tuple[str, ...]) -> Order:
        document = self.document(item, field, ("column", "op", "order"))
        direction = document.get("order")
        if direction is not None:
            self.choice(direction, f"{field}.order", ("ascending", "descending"))
        descending = direction == "descending"
        column, op = document.get("column"), document.get("op")
        if op is None:
            name = self.text(column, f"{field}.column")
            if name in breakdowns:
                return Order(name, descending)
            for number, calculation in enumerate(calculations):
                if name and name == calculation.name:
                    return Order(number, descending)
        else:
            for number, calculation in enumerate(calculations):
                if calculation.op == op and calculation.column == column:
                    return Order(number, descending)
        self.wrong(field, "must name one of the breakdowns or calculations")
        return Order("", descending)

    def having(self, item: Any, field: str, calculations: tuple[Calculation, ...]) -> Having:
        document = self.document(item, field, ("calculate_op", "column", "op", "value"))
        op = self.choice(document.get("op"), f"{field}.op", COMPARISONS)
        calculate_op, column = self.text(document.get("calculate_op"), f"{field}.calculate_op"), document.get("column")
        value = document.get("value")
        if value is None:
            self.wrong(f"{field}.value", "is required", "missing")
        elif isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= 1e300:
            self.wrong(f"{field}.value", "must be a number", "incorrect_type")
            value = None
        for number, calculation in enumerate(calculations):
            if calculate_op and calculation.op == calculate_op and calculation.column == column:
                return Having(number, op, float(value or 0))
        if calculate_op:
            self.wrong(field, "calculate_op and column must name one of the calculations")
        return Having(0, op, 0)
