"""An expression as a condition of DuckDB over the index's tables. Pure: text and parameters out, nothing is executed.

Nothing of an expression becomes SQL text: names of tables and columns are our own (``sources``), every value is a parameter.

A test of another table's rows is a *lookup*. One or two in a scope become ``IN (SELECT …)``, which DuckDB plans as hash joins: one
scan each. Each such join holds its rows in memory, and a dozen of them would not fit; so more than that are looked up together:
every table is scanned once, each of its rows says by bits which lookups it satisfies, and the sum of a trace's bits decides.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from localstack.aws.xray.filters.keywords import KINDS, Scope
from localstack.aws.xray.filters.sources import ALIASES, ANNOTATIONS, SOURCES, Other, Own, Source
from localstack.aws.xray.filters.syntax import (
    And,
    Annotation,
    CauseKind,
    Compare,
    Edge,
    Expression,
    Has,
    Not,
    Or,
    RootCause,
    RootCauseJson,
    Service,
    ServiceId,
    read_patterns,
)
from localstack.aws.xray.traces.summaries import CLIENT_TYPE

#: Lookups of one scope that are made one by one.
SEPARATE_LOOKUPS = 2
#: Lookups that one number has bits for.
_BITS = 60


@dataclass(frozen=True, slots=True)
class Condition:
    """``sql``: a boolean expression over a row of ``xray_trace`` aliased ``t``, NULL where it does not hold.

    ``parameters`` by name, each with the prefix asked for. ``causes``: the kinds of root causes that have to be in their table.
    """

    sql: str
    parameters: Mapping[str, Any]
    causes: frozenset[CauseKind] = frozenset()


def condition(expression: Expression, prefix: str, began: tuple[float, float] | None) -> Condition:
    """The condition of a checked expression without groups in it.

    ``prefix``: what every parameter's name begins with. ``began``: the caller looks only at traces that began in this range (both
    ends in it), so that rows of other traces need not be looked at.
    """
    writer = _Writer(prefix, began)
    return Condition(writer.trace(expression), writer.parameters, frozenset(writer.causes))


@dataclass(frozen=True, slots=True)
class _Lookup:
    """There is a row in ``table`` whose ``key`` is ``row``, for which ``where`` holds."""

    table: str
    row: tuple[str, ...]
    key: tuple[str, ...]
    where: _Formula


@dataclass(frozen=True, slots=True)
class _All:
    parts: tuple[_Formula, ...]


@dataclass(frozen=True, slots=True)
class _Any:
    parts: tuple[_Formula, ...]


@dataclass(frozen=True, slots=True)
class _Not:
    part: _Formula


#: What holds of a row: SQL over its own columns, lookups, and what is made of both.
_Formula: TypeAlias = str | _Lookup | _All | _Any | _Not

_CAUSE_SCOPES: dict[str, Scope] = {"service": "cause service", "entity": "cause entity", "exception": "cause exception"}


class _Writer:
    def __init__(self, prefix: str, began: tuple[float, float] | None) -> None:
        self._prefix = prefix
        self.parameters: dict[str, Any] = {}
        self.causes: set[CauseKind] = set()
        self._began = began
        self._began_names: tuple[str, str] | None = None
        self._joins = 0

    def trace(self, expression: Expression) -> str:
        joins, (where,) = self._resolved([self._formula(expression, "trace")])
        if not joins:
            return where
        # Inside, t is another row, of the same trace.
        within = self._within("xray_trace")
        return f"(t.trace IN (SELECT t.trace FROM {_from('xray_trace', joins)} WHERE {' AND '.join([*within, where])}))"

    def _resolved(self, formulas: Sequence[_Formula]) -> tuple[Sequence[str], list[str]]:
        """Formulas over one table's row as SQL, and the joins to the table that this SQL needs."""
        lookups = [lookup for formula in formulas for lookup in _lookups(formula)]
        if len(lookups) <= SEPARATE_LOOKUPS:
            return (), [_text(formula, self._in) for formula in formulas]
        joins: list[str] = []
        tests: dict[_Lookup, str] = {}
        by_row: dict[tuple[str, ...], list[_Lookup]] = {}
        for lookup in dict.fromkeys(lookups):
            by_row.setdefault(lookup.row, []).append(lookup)
        for row, found in by_row.items():
            for first in range(0, len(found), _BITS):
                name = f"{self._prefix}_joined_{self._joins}"
                self._joins += 1
                part = found[first : first + _BITS]
                joins.append(self._joined(name, row, part))
                tests |= {lookup: f"((coalesce({name}.bits, 0) & {1 << number}) <> 0)" for number, lookup in enumerate(part)}
        return joins, [_text(formula, tests.__getitem__) for formula in formulas]

    # -- formulas

    def _formula(self, expression: Expression, scope: Scope) -> _Formula:
        if isinstance(expression, And):
            return _All(tuple(self._formula(term, scope) for term in expression.terms))
        if isinstance(expression, Or):
            return _merged([self._formula(term, scope) for term in expression.terms])
        if isinstance(expression, Not):
            return _Not(self._formula(expression.term, scope))
        if isinstance(expression, Has | Compare):
            return self._test(expression, scope)
        if isinstance(expression, Service):
            return self._rows("xray_node", self._service("n.", expression.of), expression.where, "service")
        if isinstance(expression, Edge):
            conditions = [*self._source(expression.source), *self._service("e.target_", expression.destination)]
            return self._rows("xray_edge", conditions, expression.where, "edge")
        if isinstance(expression, RootCause):
            return self._root_cause(expression)
        if isinstance(expression, RootCauseJson):
            return self._root_cause_json(expression)
        raise AssertionError(f"{type(expression).__name__} must have been replaced by its expression")

    def _test(self, expression: Has | Compare, scope: Scope) -> _Formula:
        of = expression.of
        if isinstance(of, Annotation):
            return self._annotation(of, expression, scope)
        sources = SOURCES[scope][of.name]
        if KINDS[of.name] == "boolean":
            holds = _merged([_holds(source, _itself) for source in sources])
            wanted = isinstance(expression, Has) or (expression.operator == "=") is expression.value
            return holds if wanted else _Not(holds)
        test = _is_set if isinstance(expression, Has) else self._comparison(expression)
        return _merged([_holds(source, test) for source in sources])

    def _comparison(self, expression: Compare) -> Callable[[str], str]:
        parameter = self._parameter(expression.value)
        function = {"CONTAINS": "contains", "BEGINSWITH": "starts_with", "ENDSWITH": "suffix"}.get(expression.operator)
        if function is not None:
            return lambda column: f"{function}({column}, {parameter})"
        return lambda column: f"({column} {expression.operator} {parameter})"

    def _annotation(self, of: Annotation, expression: Has | Compare, scope: Scope) -> _Formula:
        source = ANNOTATIONS[scope, of.side]
        if isinstance(expression, Has):
            # "If the keyword is of boolean type, it will evaluate to the boolean value."
            test = "(a.boolean_value IS DISTINCT FROM false)"
        else:
            kind = "boolean" if isinstance(expression.value, bool) else "string" if isinstance(expression.value, str) else "number"
            test = self._comparison(expression)(f"a.{kind}_value")
        return _lookup(source, f"a.key = {self._parameter(of.key)} AND {test}")

    def _rows(self, table: str, conditions: Sequence[str], where: Expression | None, scope: Scope) -> _Formula:
        """The trace has a row in this table for which both hold."""
        parts: list[_Formula] = [*conditions]
        if where is not None:
            parts.append(self._formula(where, scope))
        return _Lookup(table, ("t.trace",), ("trace",), _All(tuple(parts)) if parts else "true")

    def _service(self, columns: str, of: ServiceId) -> list[str]:
        """What makes the node of these columns one that is meant."""
        members = {"name": of.name, "type": of.type, "account_id": of.account_id}
        return [f"{columns}{column} = {self._parameter(value)}" for column, value in members.items() if value is not None]

    def _source(self, of: ServiceId) -> list[str]:
        """As :meth:`_service` for the source of an edge, which may be the client: graphs show it by the name of what it called."""
        if of.type == CLIENT_TYPE:
            return ["e.source IS NULL", *self._service("e.target_", replace(of, type=None))]
        return self._service("e.source_", of)

    def _root_cause(self, expression: RootCause) -> _Formula:
        self.causes.add(expression.kind)
        kind = self._parameter(expression.kind)
        if expression.element is None:
            return _Lookup("xray_root_cause", ("t.trace",), ("trace",), f"r.kind = {kind}")
        conditions = [f"c.kind = {kind}", f"c.element = {self._parameter(expression.element)}"]
        return self._rows("xray_root_cause_element", conditions, expression.where, _CAUSE_SCOPES[expression.element])

    def _root_cause_json(self, expression: RootCauseJson) -> _Formula:
        self.causes |= {"fault", "error", "responsetime"}
        parts = [" AND ".join(self._agrees("$", pattern)) or "true" for pattern in read_patterns(expression)]
        return _All(tuple(_Lookup("xray_root_cause", ("t.trace",), ("trace",), part) for part in parts))

    def _agrees(self, path: str, pattern: Any) -> list[str]:
        """Conditions under which the JSON at ``path`` has what the pattern has; a path is made of known members and numbers only."""
        if isinstance(pattern, dict):
            return [part for key, value in pattern.items() for part in self._agrees(f"{path}.{key}", value)]
        if isinstance(pattern, list):
            inner = [part for place, value in enumerate(pattern) for part in self._agrees(f"{path}[{place}]", value)]
            return [f"json_array_length(r.members, '{path}') = {len(pattern)}", *inner]
        text = f"json_extract_string(r.members, '{path}')"
        if isinstance(pattern, bool):
            return [f"{text} = {self._parameter('true' if pattern else 'false')}"]
        if isinstance(pattern, str):
            return [f"{text} = {self._parameter(pattern)}"]
        return [f"try_cast({text} AS DOUBLE) = {self._parameter(float(pattern))}"]

    # -- lookups

    def _in(self, lookup: _Lookup) -> str:
        """One lookup, on its own."""
        joins, texts = self._resolved([lookup.where])
        where = " AND ".join([*self._within(lookup.table), *texts])
        row = lookup.row[0] if len(lookup.row) == 1 else f"({', '.join(lookup.row)})"
        columns = [f"{ALIASES[lookup.table]}.{column}" for column in lookup.key]
        key = columns[0] if len(columns) == 1 else f"({', '.join(columns)})"
        return f"({row} IN (SELECT {key} FROM {_from(lookup.table, joins)} WHERE {where}))"

    def _joined(self, name: str, row: tuple[str, ...], lookups: Sequence[_Lookup]) -> str:
        """A join that gives a row its ``bits``, by number of the lookup."""
        by_table: dict[tuple[str, tuple[str, ...]], list[tuple[int, _Lookup]]] = {}
        for number, lookup in enumerate(lookups):
            by_table.setdefault((lookup.table, lookup.key), []).append((number, lookup))
        width = range(len(row))
        keys = ", ".join(f"key_{place}" for place in width)
        tables = []
        for (table, key), found in by_table.items():
            columns = ", ".join(f"{ALIASES[table]}.{column} AS key_{place}" for place, column in enumerate(key))
            # All tests of this table's rows share the joins they need in their turn.
            joins, tests = self._resolved([lookup.where for _, lookup in found])
            bits = " | ".join(f"CASE WHEN {test} THEN {1 << number} ELSE 0 END" for (number, _), test in zip(found, tests, strict=True))
            where = " AND ".join(self._within(table)) or "true"
            tables.append(f"SELECT {columns}, ({bits})::BIGINT AS bits FROM {_from(table, joins)} WHERE {where}")
        on = " AND ".join(f"{name}.key_{place} = {row[place]}" for place in width)
        return (
            f"LEFT JOIN (SELECT {keys}, bit_or(bits) AS bits FROM ({' UNION ALL '.join(tables)}) "
            f"WHERE bits <> 0 GROUP BY {keys}) {name} ON {on}"
        )

    def _within(self, table: str) -> list[str]:
        if self._began is None:
            return []
        if self._began_names is None:  # a parameter nothing uses would be an error
            self._began_names = self._parameter(self._began[0]), self._parameter(self._began[1])
        return [f"{ALIASES[table]}.began BETWEEN {self._began_names[0]} AND {self._began_names[1]}"]

    def _parameter(self, value: Any) -> str:
        name = f"{self._prefix}_{len(self.parameters)}"
        self.parameters[name] = value
        return f"${name}"


def _holds(source: Source, test: Callable[[str], str]) -> _Formula:
    return test(source.sql) if isinstance(source, Own) else _lookup(source, test(source.column))


def _lookup(source: Other, test: str) -> _Lookup:
    return _Lookup(source.table, source.row, source.key, f"{source.where} AND {test}" if source.where else test)


def _merged(parts: Sequence[_Formula]) -> _Formula:
    """One of the parts holds. Lookups of the same rows are one: there is a row for which one of the tests holds."""
    others: list[_Formula] = []
    same: dict[tuple[str, tuple[str, ...], tuple[str, ...]], list[_Lookup]] = {}
    for part in parts:
        if isinstance(part, _Lookup):
            same.setdefault((part.table, part.row, part.key), []).append(part)
        else:
            others.extend(part.parts if isinstance(part, _Any) else [part])
    for (table, row, key), found in same.items():
        others.append(_Lookup(table, row, key, found[0].where if len(found) == 1 else _Any(tuple(lookup.where for lookup in found))))
    return others[0] if len(others) == 1 else _Any(tuple(others))


def _lookups(formula: _Formula) -> list[_Lookup]:
    if isinstance(formula, _Lookup):
        return [formula]
    if isinstance(formula, _Not):
        return _lookups(formula.part)
    return [lookup for part in formula.parts for lookup in _lookups(part)] if isinstance(formula, _All | _Any) else []


def _text(formula: _Formula, found: Callable[[_Lookup], str]) -> str:
    """The formula as SQL. ``found``: what says that a lookup finds something."""
    if isinstance(formula, _All | _Any):
        word = " AND " if isinstance(formula, _All) else " OR "
        return f"({word.join(_text(part, found) for part in formula.parts)})"
    if isinstance(formula, _Not):
        # What is not known does not hold, so its negation does.
        return f"(NOT coalesce({_text(formula.part, found)}, false))"
    return found(formula) if isinstance(formula, _Lookup) else formula


def _from(table: str, joins: Sequence[str]) -> str:
    return " ".join([f"{table} {ALIASES[table]}", *joins])


def _itself(column: str) -> str:
    return column


def _is_set(column: str) -> str:
    return f"({column} IS NOT NULL)"
