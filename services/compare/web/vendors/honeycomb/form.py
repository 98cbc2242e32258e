"""Between the form of a query, its JSON and what the vendor says is wrong with it. Pure.

Fields that belong together are repeated and paired by their order: ``op`` and ``column`` are a calculation, ``where``, ``is`` and
``value`` a filter. A row whose fields are all empty is none; the form always ends with such a row, so that there is room for one more.

    ?dataset=cruddur&op=P99&column=duration_ms&breakdown=name&where=error&is=%3D&value=true&range=1h
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Any, Final

from werkzeug.datastructures import MultiDict

from services.compare.readers.base import mapping

#: Operators of calculations ("Query Specification", Honeycomb API reference); which of them the vendor has, it says.
OPS: Final = (
    "COUNT", "SUM", "AVG", "COUNT_DISTINCT", "MAX", "MIN",
    "P001", "P01", "P05", "P10", "P20", "P25", "P50", "P75", "P80", "P90", "P95", "P99", "P999",
    "CONCURRENCY", "RATE_AVG", "RATE_SUM", "RATE_MAX",
)  # fmt: skip
FILTER_OPS: Final = (
    "=", "!=", ">", ">=", "<", "<=", "exists", "does-not-exist", "contains", "does-not-contain",
    "starts-with", "does-not-start-with", "ends-with", "does-not-end-with", "in", "not-in",
)  # fmt: skip
#: Rows a result holds at most where it has values over time.
ROWS: Final = 1_000
#: Rows of a form that are read at most: the vendor takes 100.
_FIELDS: Final = 100
_STEPS: Final = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 21600, 43200, 86400)
_NUMBER: Final = re.compile(r"-?\d{1,15}(\.\d{1,15})?([eE][+-]?\d{1,3})?")
_PLACE: Final = re.compile(r"/?(calculations|breakdowns|filters|orders)[\[./](\d+)")


@dataclass
class Line:
    """One row of the form: its fields, and what the vendor says is wrong with them."""

    values: tuple[str, ...]
    wrong: list[str] = field(default_factory=list)


@dataclass
class Form:
    """What the form says; ``wrong``: what the vendor says of no row in particular, field and words."""

    dataset: str
    calculations: list[Line]
    breakdowns: list[Line]
    filters: list[Line]
    combination: str
    order: str
    direction: str
    granularity: str
    limit: str
    #: Whether it asks for an answer: else it was only opened.
    asked: bool
    wrong: list[tuple[str, str]] = field(default_factory=list)

    @property
    def labels(self) -> list[str]:
        """The calculations as the columns of a result are called."""
        return [_label(*line.values) for line in self.calculations]


def read(arguments: MultiDict[str, str]) -> Form:
    """What an address says."""
    calculations = _rows(arguments, "op", "column")
    return Form(
        dataset=arguments.get("dataset", ""),
        # A column alone is no calculation; an operator is chosen in every row, so only the column tells whether it is meant.
        calculations=[Line(row) for row in calculations if row[0]] or [Line(("COUNT", ""))],
        breakdowns=[Line(row) for row in _rows(arguments, "breakdown")],
        filters=[Line(row) for row in _rows(arguments, "where", "is", "value") if row[0] or row[2]],
        combination="OR" if arguments.get("combination", "") == "OR" else "AND",
        order=arguments.get("order", "").strip(),
        direction="ascending" if arguments.get("direction", "") == "ascending" else "descending",
        granularity=arguments.get("granularity", "").strip(),
        limit=arguments.get("limit", "").strip(),
        asked=bool(arguments.get("dataset", "")) and bool(calculations),
    )


def spec(form: Form, when: Mapping[str, int], seconds: float) -> tuple[dict[str, Any], int]:
    """The query's JSON, and its granularity in seconds; ``when``: its time, ``seconds`` long.

    Raises ValueError with one line when a number is none: the vendor is not asked then.
    """
    step = _integer("granularity", form.granularity) if form.granularity else granularity(seconds)
    document: dict[str, Any] = {"calculations": [_calculation(*line.values) for line in form.calculations]}
    if form.breakdowns:
        document["breakdowns"] = [line.values[0] for line in form.breakdowns]
    if form.filters:
        document["filters"] = [_filter(*line.values) for line in form.filters]
        document["filter_combination"] = form.combination
    if form.order:
        known = {_label(*line.values): _calculation(*line.values) for line in form.calculations}
        document["orders"] = [{**known.get(form.order, {"column": form.order}), "order": form.direction}]
    return {**document, "granularity": step, "limit": limit(form), **when}, step


def limit(form: Form) -> int:
    """Rows that are asked for. Raises ValueError."""
    rows = _integer("limit", form.limit) if form.limit else 100
    if not 1 <= rows <= ROWS:
        raise ValueError(f"limit={form.limit}: a result with values over time holds 1 to {ROWS:,} rows")
    return rows


def granularity(seconds: float) -> int:
    """Seconds of one step: a round number that makes at most 90 steps, and no more than a tenth of the time, as the API wants it."""
    step = next((step for step in _STEPS if seconds / step <= 90), math.ceil(seconds / 90))
    return max(1, min(step, int(seconds / 10)))


def explain(form: Form, document: Any) -> None:
    """Put what the vendor says is wrong (a problem document with ``type_detail``, "Errors", Honeycomb API reference) at its rows."""
    details = mapping(document).get("type_detail")
    for detail in map(mapping, details) if isinstance(details, list) else ():
        where, words = str(detail.get("field", "")), str(detail.get("description", ""))
        match = _PLACE.match(where)
        lines: Sequence[Line] = {"calculations": form.calculations, "breakdowns": form.breakdowns, "filters": form.filters}.get(
            match[1] if match else "", []
        )
        if match and int(match[2]) < len(lines):
            lines[int(match[2])].wrong.append(f"{where[match.end() :].strip(']./')} {words}".strip())
        else:
            form.wrong.append((where, words))


def _rows(arguments: MultiDict[str, str], *names: str) -> list[tuple[str, ...]]:
    rows: Iterable[tuple[str, ...]] = zip_longest(*(arguments.getlist(name)[:_FIELDS] for name in names), fillvalue="")
    stripped = (tuple(text.strip() for text in row) for row in rows)
    return [row for row in stripped if any(row)]


def _label(op: str, column: str) -> str:
    return f"{op}({column})" if column else op


def _calculation(op: str, column: str) -> dict[str, str]:
    return {"op": op, "column": column} if column else {"op": op}


def _filter(column: str, op: str, value: str) -> dict[str, Any]:
    if op in ("exists", "does-not-exist"):
        return {"column": column, "op": op}
    if op in ("in", "not-in"):
        return {"column": column, "op": op, "value": [_value(each.strip()) for each in value.split(",")]}
    return {"column": column, "op": op or "=", "value": _value(value)}


def _value(text: str) -> Any:
    """A filter's value: a number or a boolean where it looks like one, else a text; in quotation marks always a text."""
    if len(text) > 1 and text[0] == text[-1] == '"':
        return text[1:-1]
    if text in ("true", "false"):
        return text == "true"
    if _NUMBER.fullmatch(text):
        number = float(text)
        return int(text) if text.lstrip("-").isdigit() else number if math.isfinite(number) else text
    return text


def _integer(name: str, text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 9):
        raise ValueError(f"{name}={text} is no whole number")
    return int(text)
