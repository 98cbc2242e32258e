"""An expression as a condition of DuckDB over the index's tables. Pure: text and parameters out, nothing is executed.

Nothing of an expression becomes SQL text: names of tables and columns are this module's own, every value is a parameter.

Where a condition looks into another table it does so by ``IN (SELECT …)`` over that table alone, not by a subquery for each
row: DuckDB makes hash joins of that, one scan a table, at the top level and below OR and NOT alike.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from localstack.aws.xray.filters.keywords import KINDS, Scope
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

#: Seconds are compared as the summaries show them.
DECIMALS = 3


@dataclass(frozen=True, slots=True)
class Condition:
    """``sql``: a boolean expression over a row of ``xray_trace`` aliased ``t``, NULL where it does not hold.

    ``parameters`` by name, each with the prefix asked for. ``causes``: the kinds of root causes that have to be in their table.
    """

    sql: str
    parameters: Mapping[str, Any]
    causes: frozenset[CauseKind] = frozenset()


@dataclass(frozen=True, slots=True)
class _Own:
    """A value of the row the scope is about."""

    sql: str


@dataclass(frozen=True, slots=True)
class _Among:
    """Values of other rows: of those in ``table`` whose ``key`` is the row's. Both keys are lists of columns."""

    table: str
    row: str
    key: str
    column: str
    where: str = ""


_Source = _Own | _Among

_HTTP = {f"http.{name}": f"http_{name}" for name in ("url", "method", "status", "useragent", "clientip")}
_SEGMENT = {
    "user": "user_name",
    "availabilityzone": "availability_zone",
    "instance.id": "instance_id",
    "resource.arn": "resource_arn",
}
_FLAGS = ("ok", "error", "fault", "throttle")


def _flags(alias: str) -> dict[str, tuple[_Source, ...]]:
    return {name: (_Own(f"{alias}.{name}"),) for name in _FLAGS}


def _seconds(value: str) -> tuple[_Source, ...]:
    return (_Own(f"round({value}, {DECIMALS})"),)


def _took(alias: str, ended: str) -> dict[str, tuple[_Source, ...]]:
    return {
        "responsetime": _seconds(f"greatest({alias}.end_time - {alias}.start_time, 0)"),
        "duration": _seconds(f"greatest({alias}.{ended} - {alias}.start_time, 0)"),
        "partial": (_Own(f"({alias}.end_time IS NULL)"),),
    }


def _nodes(column: str, where: str = "") -> _Among:
    """A column of any node of the trace."""
    return _Among("xray_node", "t.trace", "trace", column, where)


def _target(column: str) -> tuple[_Source, ...]:
    """A column of the node an edge leads to."""
    return (_Among("xray_node", "(e.trace, e.target)", "(trace, id)", column),)


#: Where the value of a keyword is, in each scope: the row is ``t`` (xray_trace), ``n`` (xray_node), ``e`` (xray_edge), or
#: ``c`` (xray_root_cause_element). Several sources: in any of them.
_SOURCES: dict[Scope, dict[str, tuple[_Source, ...]]] = {
    "trace": _flags("t")
    | {
        "partial": (_Own("t.partial"),),
        "inferred": (_nodes("inferred", where="inferred"),),
        "root": (_Own("(t.root IS NOT NULL)"),),
        "responsetime": _seconds("t.response_time"),
        "duration": _seconds("t.duration"),
        "name": (_nodes("name"), _Among("xray_failure", "t.trace", "trace", "name")),
        "type": (_nodes("type"),),
        "message": (_Among("xray_failure", "t.trace", "trace", "message"),),
    }
    | {keyword: (_Own(f"t.{column}"),) for keyword, column in _HTTP.items()}
    | {keyword: (_nodes(column),) for keyword, column in _SEGMENT.items()},
    "service": _flags("n")
    | _took("n", "work_end")
    | {
        "inferred": (_Own("n.inferred"),),
        "root": (_Among("xray_trace", "(n.trace, n.id)", "(trace, root)", "(root IS NOT NULL)", "root IS NOT NULL"),),
        "name": (_Own("n.name"),),
        "type": (_Own("n.type"),),
        "message": (_Among("xray_failure", "(n.trace, n.id)", "(trace, node)", "message", "node IS NOT NULL"),),
    }
    | {keyword: (_Own(f"n.{column}"),) for keyword, column in (_HTTP | _SEGMENT).items()},
    "edge": _flags("e")
    | _took("e", "end_time")
    | {
        "inferred": _target("inferred"),
        "root": (_Among("xray_trace", "(e.trace, e.target)", "(trace, root)", "(root IS NOT NULL)", "root IS NOT NULL"),),
        "name": (_Own("e.target_name"),),
        "type": (_Own("e.target_type"),),
        "message": (_Among("xray_failure", "(e.trace, e.target)", "(trace, node)", "message", "node IS NOT NULL"),),
    }
    | {keyword: _target(column) for keyword, column in (_HTTP | _SEGMENT).items()},
}
_PLACE: dict[str, tuple[_Source, ...]] = {
    "first": (_Own("(c.position = 0)"),),
    "last": (_Own("c.last"),),
    "index": (_Own("c.position"),),
}
_SOURCES |= {
    "cause service": _PLACE | {name: (_Own(f"c.{name}"),) for name in ("name", "type", "inferred")},
    "cause entity": _PLACE | {name: (_Own(f"c.{name}"),) for name in ("name", "remote", "coverage")},
    "cause exception": _PLACE | {name: (_Own(f"c.{name}"),) for name in ("name", "message")},
}

#: Whose annotations are meant: the key of xray_annotation's rows, and the row's.
_ANNOTATED: dict[tuple[Scope, str | None], tuple[str, str, str]] = {
    ("trace", None): ("t.trace", "trace", ""),
    ("service", None): ("(n.trace, n.id)", "(trace, node)", "node IS NOT NULL"),
    ("edge", None): ("(e.trace, e.target)", "(trace, node)", "node IS NOT NULL"),
    ("edge", "destination"): ("(e.trace, e.target)", "(trace, node)", "node IS NOT NULL"),
    ("edge", "source"): ("(e.trace, e.source)", "(trace, node)", "node IS NOT NULL"),
}

_CAUSE_SCOPES: dict[str, Scope] = {"service": "cause service", "entity": "cause entity", "exception": "cause exception"}


def condition(expression: Expression, prefix: str, began: tuple[float, float] | None) -> Condition:
    """The condition of a checked expression without groups in it.

    ``prefix``: what every parameter's name begins with. ``began``: the caller looks only at traces that began in this range (both
    ends in it), so that rows of other traces need not be looked at.
    """
    writer = _Writer(prefix, began)
    sql = writer.write(expression, "trace")
    return Condition(sql, writer.parameters, frozenset(writer.causes))


class _Writer:
    def __init__(self, prefix: str, began: tuple[float, float] | None) -> None:
        self._prefix = prefix
        self.parameters: dict[str, Any] = {}
        self.causes: set[CauseKind] = set()
        self._began = began
        self._began_names: tuple[str, str] | None = None

    def write(self, expression: Expression, scope: Scope) -> str:
        if isinstance(expression, And):
            return "(" + " AND ".join(self.write(term, scope) for term in expression.terms) + ")"
        if isinstance(expression, Or):
            return "(" + " OR ".join(self.write(term, scope) for term in expression.terms) + ")"
        if isinstance(expression, Not):
            # What is not known does not hold, so its negation does.
            return f"(NOT coalesce({self.write(expression.term, scope)}, false))"
        if isinstance(expression, Has | Compare):
            return self._test(expression, scope)
        if isinstance(expression, Service):
            return self._rows(
                "t.trace", "xray_node n", [*self._service("n", expression.of), *self._where(expression.where, "service")], "n"
            )
        if isinstance(expression, Edge):
            conditions = [*self._source(expression.source), *self._service("e.target", expression.destination)]
            return self._rows("t.trace", "xray_edge e", [*conditions, *self._where(expression.where, "edge")], "e")
        if isinstance(expression, RootCause):
            return self._root_cause(expression)
        if isinstance(expression, RootCauseJson):
            return self._root_cause_json(expression)
        raise AssertionError(f"{type(expression).__name__} must have been replaced by its expression")

    # -- tests of keywords

    def _test(self, expression: Has | Compare, scope: Scope) -> str:
        of = expression.of
        if isinstance(of, Annotation):
            return self._annotation(of, expression, scope)
        sources = _SOURCES[scope][of.name]
        if KINDS[of.name] == "boolean":
            holds = _any([self._holds(source, _itself) for source in sources])
            wanted = isinstance(expression, Has) or (expression.operator == "=") is expression.value
            return holds if wanted else f"(NOT coalesce({holds}, false))"
        test = _is_set if isinstance(expression, Has) else self._comparison(expression)
        return _any([self._holds(source, test) for source in sources])

    def _holds(self, source: _Source, test: Callable[[str], str]) -> str:
        if isinstance(source, _Own):
            return test(source.sql)
        return self._among(source, [test(source.column)])

    def _comparison(self, expression: Compare) -> Callable[[str], str]:
        parameter = self._parameter(expression.value)
        function = {"CONTAINS": "contains", "BEGINSWITH": "starts_with", "ENDSWITH": "suffix"}.get(expression.operator)
        if function is not None:
            return lambda column: f"{function}({column}, {parameter})"
        return lambda column: f"({column} {expression.operator} {parameter})"

    def _annotation(self, of: Annotation, expression: Has | Compare, scope: Scope) -> str:
        row, key, where = _ANNOTATED[scope, of.side]
        if isinstance(expression, Has):
            # "If the keyword is of boolean type, it will evaluate to the boolean value."
            test = "(boolean_value IS DISTINCT FROM false)"
        else:
            kind = "boolean" if isinstance(expression.value, bool) else "string" if isinstance(expression.value, str) else "number"
            test = self._comparison(expression)(f"{kind}_value")
        return self._among(_Among("xray_annotation", row, key, "", where), [f"key = {self._parameter(of.key)}", test])

    # -- other rows

    def _among(self, source: _Among, conditions: Sequence[str]) -> str:
        where = [source.where] if source.where else []
        return self._rows(source.row, source.table, [*where, *conditions], key=source.key)

    def _rows(self, row: str, table: str, conditions: Sequence[str], alias: str = "", key: str = "trace") -> str:
        where = " AND ".join([*self._within(f"{alias}." if alias else ""), *conditions]) or "true"
        return f"({row} IN (SELECT {key} FROM {table} WHERE {where}))"

    def _within(self, qualifier: str) -> list[str]:
        if self._began is None:
            return []
        if self._began_names is None:  # a parameter nothing uses would be an error
            self._began_names = self._parameter(self._began[0]), self._parameter(self._began[1])
        return [f"{qualifier}began BETWEEN {self._began_names[0]} AND {self._began_names[1]}"]

    def _where(self, where: Expression | None, scope: Scope) -> list[str]:
        return [] if where is None else [self.write(where, scope)]

    def _service(self, row: str, of: ServiceId) -> list[str]:
        """What makes the node of these columns one that is meant. ``row``: an alias, or the beginning of the columns' names."""
        joint = "." if "." not in row else "_"
        members = {"name": of.name, "type": of.type, "account_id": of.account_id}
        return [f"{row}{joint}{column} = {self._parameter(value)}" for column, value in members.items() if value is not None]

    def _source(self, of: ServiceId) -> list[str]:
        """As :meth:`_service` for the source of an edge, which may be the client: its type is "client", it has no name."""
        if of == ServiceId(type="client"):
            return ["e.source IS NULL"]
        return self._service("e.source", of)

    # -- root causes

    def _root_cause(self, expression: RootCause) -> str:
        self.causes.add(expression.kind)
        kind = f"kind = {self._parameter(expression.kind)}"
        if expression.element is None:
            return self._rows("t.trace", "xray_root_cause", [kind])
        conditions = [f"c.{kind}", f"c.element = {self._parameter(expression.element)}"]
        where = self._where(expression.where, _CAUSE_SCOPES[expression.element])
        return self._rows("t.trace", "xray_root_cause_element c", [*conditions, *where], "c")

    def _root_cause_json(self, expression: RootCauseJson) -> str:
        self.causes |= {"fault", "error", "responsetime"}
        found = [
            self._rows("t.trace", "xray_root_cause", self._agrees("members", "$", pattern) or ["true"])
            for pattern in read_patterns(expression)
        ]
        return "(" + " AND ".join(found) + ")"

    def _agrees(self, json: str, path: str, pattern: Any) -> list[str]:
        """Conditions under which the JSON value at ``path`` has what the pattern has; paths hold known members and numbers only."""
        if isinstance(pattern, dict):
            return [part for key, value in pattern.items() for part in self._agrees(json, f"{path}.{key}", value)]
        if isinstance(pattern, list):
            inner = [part for place, value in enumerate(pattern) for part in self._agrees(json, f"{path}[{place}]", value)]
            return [f"json_array_length({json}, '{path}') = {len(pattern)}", *inner]
        if isinstance(pattern, bool):
            return [f"json_extract_string({json}, '{path}') = {self._parameter('true' if pattern else 'false')}"]
        if isinstance(pattern, str):
            return [f"json_extract_string({json}, '{path}') = {self._parameter(pattern)}"]
        return [f"try_cast(json_extract_string({json}, '{path}') AS DOUBLE) = {self._parameter(float(pattern))}"]

    def _parameter(self, value: Any) -> str:
        name = f"{self._prefix}_{len(self.parameters)}"
        self.parameters[name] = value
        return f"${name}"


def _itself(column: str) -> str:
    return column


def _is_set(column: str) -> str:
    return f"({column} IS NOT NULL)"


def _any(conditions: Sequence[str]) -> str:
    return conditions[0] if len(conditions) == 1 else "(" + " OR ".join(conditions) + ")"
