"""The query language: a validated query in, SQL with parameters out. Pure: no state, no HTTP.

What a column holds can be a string, a number or a boolean, and differ from event to event; an event without it counts as
having no value. For each column that a query names, three expressions are derived from the row:

- its *value* as JSON, which breakdowns group by and COUNT_DISTINCT counts,
- its *text*: a string as it is, a number or boolean as its JSON text,
- its *number*: the number, and nothing for strings and booleans.

Filters compare by the type of the filter's value: a number with the column's number, a boolean with the boolean, a string
with the column's text, so that ``"200"`` finds 200. ``!=``, ``not-in`` and the ``does-not-…`` operators are the
opposites of theirs, so they also match events that lack the column.

A long string's value is the object that stands for it (see ``layout``): it groups and counts like the string. Its text is read where a
filter asks for a part of it or for an order.

Weights: COUNT, SUM, AVG and percentiles count each event ``sample_rate`` times; COUNT_DISTINCT, MIN and MAX do not.
A percentile is the smallest value that at least that share of the weight does not exceed (Honeycomb's own are estimates).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from localstack.honeycomb.layout import PROMOTED, digest, is_long
from localstack.honeycomb.spec import PERCENTILES, Filter, FilterValue, QuerySpec, Window

#: Operators that compare with the column's text, and never match what lacks it.
_NARROWING = frozenset({"=", "in", "starts-with", "ends-with", "contains"})

_SECOND = 1_000_000_000
_MIN_INT64, _MAX_INT64 = -(2**63), 2**63 - 1


@dataclass(frozen=True)
class Statement:
    """SQL over the table ``event``, and its named parameters.

    A row is ``[bucket, ]breakdown…, calculation…``: the bucket in epoch seconds when the statement is a series, the value of
    each breakdown as JSON text (or nothing; an object stands for a long string), the calculations as numbers (or nothing).
    """

    sql: str
    parameters: dict[str, Any]


def compile_results(query: QuerySpec, dataset: str | None, window: Window, limit: int) -> Statement:
    """The statement for the summary table. ``dataset`` is a slug, or None for all of them."""
    return _Compiler(query, dataset, window).results(limit)


def compile_series(query: QuerySpec, dataset: str | None, window: Window, limit: int) -> Statement:
    """The statement for the time series of the groups that :func:`compile_results` gives, by time."""
    return _Compiler(query, dataset, window).series(limit)


class _Compiler:
    def __init__(self, query: QuerySpec, dataset: str | None, window: Window) -> None:
        self.query = query
        self.parameters: dict[str, Any] = {"start": _nanoseconds(window.start), "end": _nanoseconds(window.end)}
        self.bucket = query.bucket(window) * _SECOND
        self.where = "event_time >= $start AND event_time < $end"
        if dataset is not None:
            self.where += " AND dataset = $dataset"
            self.parameters["dataset"] = dataset
        #: Number of each column that the query names, in order of first use.
        self.columns: dict[str, int] = {}
        #: Those of which a filter has to read the whole text.
        self.whole: set[str] = set()
        self.groups = [f"v{self.column(name)}" for name in query.breakdowns]
        self.predicate = self.combine(query.filters, query.filter_combination)
        #: For each calculation the condition of its own filters.
        self.conditions = [self.combine(calculation.filters, calculation.filter_combination) for calculation in query.calculations]
        for calculation in query.calculations:
            if calculation.column is not None:
                self.column(calculation.column)

    # -- the two statements

    def results(self, limit: int) -> Statement:
        ctes = self.matching() + self.summary(limit)
        sql = f"WITH {ctes} SELECT * FROM results ORDER BY {self.order()}"
        return Statement(sql, self.parameters)

    def series(self, limit: int) -> Statement:
        # IS NOT DISTINCT FROM: a group may have no value for a breakdown.
        join = " AND ".join(f"m.{group} IS NOT DISTINCT FROM r.g{number}" for number, group in enumerate(self.groups)) or "TRUE"
        self.parameters["bucket"] = self.bucket
        bucketed = f"bucketed AS (SELECT m.*, m.event_time // $bucket AS bucket FROM matching m JOIN results r ON {join})"
        ctes = f"{self.matching()}{self.summary(limit)}, {bucketed}{self.ranked('bucketed', ['bucket', *self.groups], 'ranked_by_time')}"
        source = "ranked_by_time" if self.percentile_columns() else "bucketed"
        keys = ", ".join(["bucket", *self.groups])
        calculations = ", ".join(self.aggregate(number) for number in range(len(self.query.calculations)))
        selected = ", ".join([f"bucket * {self.bucket // _SECOND} AS time", *self.groups])
        sql = f"WITH {ctes} SELECT {selected}, {calculations} FROM {source} GROUP BY {keys} ORDER BY {keys}"
        return Statement(sql, self.parameters)

    # -- its parts

    def matching(self) -> str:
        """The CTE of the events that the filters let through, with the columns that the query names."""
        pointers = [_pointer(name) for name in self.columns if name not in self.fields]
        promoted = [f'"{name}"' for name in self.columns if name in PROMOTED and name not in self.fields]
        extracted = []
        if pointers:
            self.parameters["pointers"] = pointers
            extracted = ["json_extract(attributes, $pointers) AS extracted"]
        base = ", ".join(["event_time", "ingest_time", "sample_rate AS weight", *promoted, *extracted])
        cells = ["event_time", "weight"]
        position = 0
        for name, number in self.columns.items():
            if name in self.fields:
                # Whole seconds and the rest apart: a double cannot hold nanoseconds since the epoch.
                seconds = f"({self.fields[name]} // {_SECOND} + {self.fields[name]} % {_SECOND} / 1e9)"
                cells += [
                    f"to_json({seconds}) AS v{number}",
                    f"CAST(to_json({seconds}) AS VARCHAR) AS t{number}",
                    f"{seconds} AS n{number}",
                ]
                continue
            position += 1
            cells += _cells(name, f"extracted[{position}]", number, name in self.whole)
        where = " AND ".join([self.where, *self.narrowed()])
        return (
            f"base AS (SELECT {base} FROM event WHERE {where}), "
            f"cells AS (SELECT {', '.join(cells)} FROM base), "
            f"matching AS (SELECT * FROM cells WHERE {self.predicate})"
        )

    def summary(self, limit: int) -> str:
        """The CTE ``results``: one row a group."""
        self.parameters["row_limit"] = limit
        source = "ranked" if self.percentile_columns() else "matching"
        selected = [f"{group} AS g{number}" for number, group in enumerate(self.groups)]
        selected += [f"{self.aggregate(number)} AS c{number}" for number in range(len(self.query.calculations))]
        group_by = f" GROUP BY {', '.join(self.groups)}" if self.groups else ""
        having = self.having()
        grouped = f"grouped AS (SELECT {', '.join(selected)} FROM {source}{group_by})"
        ranked = self.ranked("matching", self.groups, "ranked")
        return f"{ranked}, {grouped}, results AS (SELECT * FROM grouped{having} ORDER BY {self.order()} LIMIT $row_limit)"

    def ranked(self, source: str, partition: Sequence[str], name: str) -> str:
        """A CTE that adds, for each percentile, the weight up to and including each event, and the group's whole weight."""
        columns = []
        by = f"PARTITION BY {', '.join(partition)}" if partition else ""
        for number, (column, condition) in enumerate(self.percentile_columns()):
            weight = f"CASE WHEN n{column} IS NOT NULL AND {condition} THEN weight ELSE 0 END"
            columns.append(f"sum({weight}) OVER ({by} ORDER BY n{column} NULLS LAST ROWS UNBOUNDED PRECEDING) AS upto{number}")
            columns.append(f"sum({weight}) OVER ({by}) AS whole{number}")
        return f", {name} AS (SELECT *, {', '.join(columns)} FROM {source})" if columns else ""

    def percentile_columns(self) -> list[tuple[int, str]]:
        """The columns that percentiles are taken of, each with its condition, without repeats."""
        pairs = [
            (self.columns[calculation.column], condition)
            for calculation, condition in zip(self.query.calculations, self.conditions, strict=True)
            if calculation.op in PERCENTILES and calculation.column is not None
        ]
        return list(dict.fromkeys(pairs))

    def aggregate(self, number: int) -> str:
        calculation, condition = self.query.calculations[number], self.conditions[number]
        if calculation.column is None:
            return f"coalesce(sum(weight) FILTER (WHERE {condition}), 0)"
        column = self.columns[calculation.column]
        n = f"n{column}"
        where = f"FILTER (WHERE {n} IS NOT NULL AND {condition})"
        if calculation.op in PERCENTILES:
            rank = self.percentile_columns().index((column, condition))
            share = self.bind(PERCENTILES[calculation.op])
            return f"min({n}) FILTER (WHERE {n} IS NOT NULL AND {condition} AND upto{rank} >= {share} * whole{rank})"
        return {
            "SUM": f"sum({n} * weight) {where}",
            "AVG": f"sum({n} * weight) {where} / sum(weight) {where}",
            "MIN": f"min({n}) {where}",
            "MAX": f"max({n}) {where}",
            "COUNT_DISTINCT": f"count(DISTINCT v{column}) FILTER (WHERE {condition})",
        }[calculation.op]

    def having(self) -> str:
        conditions = [
            f"coalesce(c{having.calculation} {_sql_operator(having.op)} {self.bind(having.value)}, FALSE)" for having in self.query.havings
        ]
        return f" WHERE {' AND '.join(conditions)}" if conditions else ""

    def order(self) -> str:
        """What orders result rows: the query's orders, else the first calculation from high to low; then the groups."""
        terms = []
        for order in self.query.orders:
            direction = "DESC" if order.descending else "ASC"
            if isinstance(order.key, int):
                terms.append(f"c{order.key} {direction} NULLS LAST")
            else:
                group = f"g{self.query.breakdowns.index(order.key)}"
                text = f"coalesce({group} ->> '$.start', {_text(group)})"
                terms += [f"{_number(group)} {direction} NULLS LAST", f"{text} {direction} NULLS LAST"]
        if not terms:
            terms.append("c0 DESC NULLS LAST")
        terms += [f"coalesce(to_json(g{number} ->> '$.start'), g{number}) ASC NULLS LAST" for number in range(len(self.groups))]
        return ", ".join(terms)

    # -- filters

    def combine(self, filters: Sequence[Filter], combination: str) -> str:
        if not filters:
            return "TRUE"
        return "(" + f" {combination} ".join(self.filter(item) for item in filters) + ")"

    def narrowed(self) -> list[str]:
        """Of filters that all must hold, what promoted columns alone rule out: without reading the JSON of the events it leaves out."""
        if self.query.filter_combination != "AND":
            return []
        conditions = []
        for item in self.query.filters:
            texts = bool(item.values) and all(isinstance(value, str) and not is_long(value) for value in item.values)
            if texts and item.op in _NARROWING and PROMOTED.get(item.column) == "string" and item.column not in self.fields:
                own = f'"{item.column}"'
                # Where it is NULL, the value may be of another type and in the JSON.
                conditions.append(f"({own} IS NULL OR {self.condition(item, own, own, own, own)})")
        return conditions

    def filter(self, item: Filter) -> str:
        """A condition that is true or false, never unknown."""
        number = self.column(item.column)
        text = f"t{number}"
        if _reads_text(item) and item.column not in self.fields:
            self.whole.add(item.column)
            text = f"w{number}"
        return self.condition(item, f"v{number}", f"t{number}", f"n{number}", text)

    def condition(self, item: Filter, v: str, t: str, n: str, w: str) -> str:
        """The filter's condition on a value, its text, its number, and its text where that may be a long one."""
        if item.op == "exists":
            return f"({v} IS NOT NULL)"
        if item.op == "does-not-exist":
            return f"({v} IS NULL)"
        if item.op in ("in", "not-in"):
            found = self.member(item.values, v, t, n)
            return found if item.op == "in" else f"(NOT {found})"
        value = item.values[0]
        if item.op in ("=", "!="):
            found = self.member((value,), v, t, n)
            return found if item.op == "=" else f"(NOT {found})"
        if item.op in ("<", "<=", ">", ">="):
            left = w if isinstance(value, str | bool) else n
            return f"coalesce({left} {item.op} {self.bind(_comparable(value))}, FALSE)"
        function = {"start": "starts_with", "end": "ends_with", "contain": "contains"}[_stem(item.op)]
        found = f"coalesce({function}({w}, {self.bind(str(value))}), FALSE)"
        return f"(NOT {found})" if item.op.startswith("does-not-") else found

    def member(self, values: Sequence[FilterValue], v: str, t: str, n: str) -> str:
        """Whether the column equals one of ``values``. The values go in as lists, however many there are."""
        texts = [value for value in values if isinstance(value, str) and not is_long(value)]
        digests = [digest(value) for value in values if isinstance(value, str) and is_long(value)]
        booleans = ["true" if value else "false" for value in values if isinstance(value, bool)]
        numbers = [float(value) for value in values if not isinstance(value, str | bool)]
        parts = []
        if texts:
            parts.append(self.among(t, texts, "VARCHAR"))
        if digests:
            parts.append(self.among(f"({v} ->> '$.long')", digests, "VARCHAR"))
        if booleans:
            parts.append(self.among(f"CAST({v} AS VARCHAR)", booleans, "VARCHAR"))
        if numbers:
            parts.append(self.among(n, numbers, "DOUBLE"))
        return f"({' OR '.join(parts)})" if parts else "FALSE"

    def among(self, expression: str, values: list[Any], kind: str) -> str:
        if len(values) == 1:
            return f"coalesce({expression} = {self.bind(values[0])}, FALSE)"
        # A subquery, which DuckDB turns into a hash join; list_contains would compare with every value of the list.
        return f"coalesce({expression} IN (SELECT unnest(CAST({self.bind(values)} AS {kind}[]))), FALSE)"

    # -- names

    @property
    def fields(self) -> dict[str, Any]:
        return dict(self.query.fields or {})

    def column(self, name: str) -> int:
        return self.columns.setdefault(name, len(self.columns))

    def bind(self, value: Any) -> str:
        name = f"p{len(self.parameters)}"
        self.parameters[name] = value
        return f"${name}"


def _cells(name: str, extracted: str, number: int, whole: bool) -> list[str]:
    """Value, text and number of a column: from its promoted column where it has one, else from ``attributes``; ``whole``: and its text
    with that of long ones."""
    kind = PROMOTED.get(name)
    value, text, as_number = extracted, _text(extracted), _number(extracted)
    own = f'"{name}"'
    if kind is not None:
        value = f"coalesce(to_json({own}), {extracted})"
    if kind == "string":
        text = f"coalesce({own}, {text})"
    elif kind is not None:
        text = f"coalesce(CAST(to_json({own}) AS VARCHAR), {text})"
        as_number = f"coalesce(CAST({own} AS DOUBLE), {as_number})"
    cells = [f"{value} AS v{number}", f"{text} AS t{number}", f"{as_number} AS n{number}"]
    if whole:
        parts = f"SELECT string_agg(text, '' ORDER BY part) FROM long_text WHERE digest = ({extracted} ->> '$.long')"
        cells.append(f"coalesce(({parts}), {text}) AS w{number}")
    return cells


def _reads_text(item: Filter) -> bool:
    """Whether a filter needs more of a text than whether it is the same."""
    if item.op in ("<", "<=", ">", ">="):
        return isinstance(item.values[0], str | bool)
    return item.op not in ("=", "!=", "in", "not-in", "exists", "does-not-exist")


def _text(value: str) -> str:
    return f"({value} ->> '$')"


def _number(value: str) -> str:
    # The JSON text of a string has quotes and that of a boolean has letters: neither casts.
    return f"TRY_CAST(CAST({value} AS VARCHAR) AS DOUBLE)"


def _pointer(name: str) -> str:
    """JSON Pointer (RFC 6901) to a key of the object ``attributes``."""
    return "/" + name.replace("~", "~0").replace("/", "~1")


def _stem(op: str) -> str:
    return op.removeprefix("does-not-").removesuffix("-with").removesuffix("s")


def _sql_operator(op: str) -> str:
    return "<>" if op == "!=" else op


def _comparable(value: FilterValue) -> str | float:
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else float(value)


def _nanoseconds(seconds: float) -> int:
    return min(max(int(seconds * _SECOND) if isinstance(seconds, float) else seconds * _SECOND, _MIN_INT64), _MAX_INT64)
