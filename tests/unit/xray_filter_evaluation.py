"""What a filter expression means, in plain Python: the same expression decided over the facts of one trace, without SQL.

Written from docs/local-xray-filters.md, not from the compiler, and slow on purpose: each keyword names its values, and a
comparison holds where one of them satisfies it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

from localstack.aws.xray.filters import syntax
from localstack.aws.xray.filters.syntax import Expression
from localstack.aws.xray.traces.facts import Edge, Node, TraceFacts
from localstack.aws.xray.traces.rootcauses import RootCause, RootCauses
from localstack.aws.xray.traces.summaries import root_cause

Values = Callable[[str], Iterable[Any]]


def evaluate(expression: Expression, trace: TraceFacts, causes: RootCauses) -> bool:
    """Whether the expression holds of the trace. Groups must have been replaced by their expressions."""
    return Evaluation(trace, causes).holds(expression, lambda keyword: of_trace(trace, keyword), trace.annotations, None)


class Evaluation:
    def __init__(self, trace: TraceFacts, causes: RootCauses) -> None:
        self.trace = trace
        self.causes = {"fault": causes.fault, "error": causes.error, "responsetime": causes.response_time}

    def holds(self, expression: Expression, values: Values, annotations: Iterable[Any], edge: Edge | None) -> bool:
        match expression:
            case syntax.And(terms):
                return all(self.holds(term, values, annotations, edge) for term in terms)
            case syntax.Or(terms):
                return any(self.holds(term, values, annotations, edge) for term in terms)
            case syntax.Not(term):
                return not self.holds(term, values, annotations, edge)
            case syntax.Has(syntax.Keyword(name)):
                return any(value is not False and value is not None for value in values(name))
            case syntax.Has(syntax.Annotation(key, side)):
                return any(value is not False for value in self._annotated(annotations, key, side, edge))
            case syntax.Compare(syntax.Keyword(name), operator, value):
                found = [one for one in values(name) if one is not None]
                if isinstance(value, bool):  # of the flags, the whole is true or false
                    return _compare(any(found), operator, value)
                return any(_compare(one, operator, value) for one in found)
            case syntax.Compare(syntax.Annotation(key, side), operator, value):
                return any(
                    _compare(one, operator, value) for one in self._annotated(annotations, key, side, edge) if _same_kind(one, value)
                )
            case syntax.Service(of, where):
                return any(_is(of, node.service) and self._holds_of_node(where, node) for node in self.trace.nodes)
            case syntax.Edge(source, destination, where):
                return any(
                    self._comes_from(edge, source) and self._is_node(edge.target, destination) and self._holds_of_edge(where, edge)
                    for edge in self.trace.edges
                )
            case syntax.RootCause(kind, None):
                return bool(self.causes[kind])
            case syntax.RootCause(kind, element, where):
                return any(
                    where is None or self.holds(where, lambda keyword, one=one: [one.get(keyword)], (), None)  # type: ignore[misc]
                    for cause in self.causes[kind]
                    for one in elements(cause, str(element))
                )
            case syntax.RootCauseJson():
                told = [root_cause(cause) for listed in self.causes.values() for cause in listed]
                return all(any(_agrees(pattern, cause) for cause in told) for pattern in syntax.read_patterns(expression))
        raise AssertionError(expression)

    def _holds_of_node(self, where: Expression | None, node: Node) -> bool:
        own = [one for one in self.trace.annotations if one.node == node.id]
        return where is None or self.holds(where, lambda keyword: self.of_node(node, keyword), own, None)

    def of_node(self, node: Node, keyword: str) -> list[Any]:
        """The values a keyword has in the braces of service()."""
        match keyword:
            case "root":
                return [node.id == self.trace.root]
            case "responsetime":
                return [_seconds(node.start_time, node.end_time)]
            case "duration":
                return [_seconds(node.start_time, node.work_end)]
            case "partial":
                return [node.end_time is None]
            case "message":
                return [failure.message for failure in self.trace.failures if failure.node == node.id]
            case _:
                return [_of_segment(node, keyword)]

    def _holds_of_edge(self, where: Expression | None, edge: Edge) -> bool:
        own = [one for one in self.trace.annotations if one.node == edge.target]
        return where is None or self.holds(where, lambda keyword: self.of_edge(edge, keyword), own, edge)

    def of_edge(self, edge: Edge, keyword: str) -> list[Any]:
        """The values a keyword has in the braces of edge()."""
        if keyword in ("ok", "error", "fault", "throttle"):
            return [getattr(edge.flags, keyword)]
        if keyword in ("responsetime", "duration"):
            return [_seconds(edge.start_time, edge.end_time)]
        if keyword == "partial":
            return [edge.end_time is None]
        if keyword == "root":
            return [edge.target == self.trace.root]
        return [value for node in self.trace.nodes if node.id == edge.target for value in self.of_node(node, keyword)]

    def _comes_from(self, edge: Edge, of: syntax.ServiceId) -> bool:
        if edge.source is not None:
            return of.type != "client" and self._is_node(edge.source, of)
        if of == syntax.ServiceId():
            return True
        return of.type == "client" and self._is_node(edge.target, syntax.ServiceId(of.name, None, of.account_id))

    def _is_node(self, identity: str, of: syntax.ServiceId) -> bool:
        return any(node.id == identity and _is(of, node.service) for node in self.trace.nodes)

    def _annotated(self, annotations: Iterable[Any], key: str, side: str | None, edge: Edge | None) -> list[Any]:
        if side == "source":
            assert edge is not None
            annotations = [one for one in self.trace.annotations if edge.source is not None and one.node == edge.source]
        return [one.value for one in annotations if one.key == key]


def of_trace(trace: TraceFacts, keyword: str) -> list[Any]:
    """The values a keyword has outside of braces."""
    match keyword:
        case "ok" | "error" | "fault" | "throttle":
            return [getattr(trace.flags, keyword)]
        case "partial":
            return [trace.partial]
        case "inferred":
            return [node.inferred for node in trace.nodes]
        case "root":
            return [trace.root is not None]
        case "responsetime":
            return [None if trace.response_time is None else _rounded(trace.response_time)]
        case "duration":
            return [_rounded(trace.duration)]
        case "name":
            return [node.service.name for node in trace.nodes] + [failure.name for failure in trace.failures]
        case "message":
            return [failure.message for failure in trace.failures]
    if keyword.startswith("http."):
        return [getattr(trace.http, keyword.removeprefix("http."))]
    return [_of_segment(node, keyword) for node in trace.nodes]


def _of_segment(node: Node, keyword: str) -> Any:
    if keyword.startswith("http."):
        return getattr(node.http, keyword.removeprefix("http."))
    return {
        "ok": node.flags.ok,
        "error": node.flags.error,
        "fault": node.flags.fault,
        "throttle": node.flags.throttle,
        "inferred": node.inferred,
        "name": node.service.name,
        "type": node.service.type,
        "user": node.user,
        "availabilityzone": node.availability_zone,
        "instance.id": node.instance_id,
        "resource.arn": node.resource_arn,
    }[keyword]


def _is(of: syntax.ServiceId, service: Any) -> bool:
    return all(
        wanted is None or wanted == found
        for wanted, found in ((of.name, service.name), (of.type, service.type), (of.account_id, service.account_id))
    )


def elements(cause: RootCause, element: str) -> list[dict[str, Any]]:
    """The elements of a root cause's path, each with its values by keyword."""
    entities = [entity for service in cause.services for entity in service.entities]
    lists: dict[str, list[dict[str, Any]]] = {
        "service": [{"name": one.service.name, "type": one.service.type, "inferred": one.inferred} for one in cause.services],
        "entity": [{"name": one.name, "remote": one.remote, "coverage": one.coverage} for one in entities],
        "exception": [{"name": failure.name, "message": failure.message} for one in entities for failure in one.exceptions],
    }
    found = lists[element]
    return [
        values | {"index": position, "first": position == 0, "last": position == len(found) - 1} for position, values in enumerate(found)
    ]


def _agrees(pattern: Any, value: Any) -> bool:
    if isinstance(pattern, dict):
        return isinstance(value, dict) and all(key in value and _agrees(inner, value[key]) for key, inner in pattern.items())
    if isinstance(pattern, list):
        return isinstance(value, list) and len(pattern) == len(value) and all(map(_agrees, pattern, value))
    return _same_kind(value, pattern) and bool(value == pattern)


def _same_kind(value: Any, other: Any) -> bool:
    kinds = (bool, str, int | float)
    return next(kind for kind in kinds if isinstance(value, kind)) == next(kind for kind in kinds if isinstance(other, kind))


def _compare(value: Any, operator: str, other: Any) -> bool:
    match operator:
        case "=":
            return bool(value == other)
        case "!=":
            return bool(value != other)
        case "<":
            return bool(value < other)
        case "<=":
            return bool(value <= other)
        case ">":
            return bool(value > other)
        case ">=":
            return bool(value >= other)
        case "CONTAINS":
            return other in value
        case "BEGINSWITH":
            return bool(value.startswith(other))
        case "ENDSWITH":
            return bool(value.endswith(other))
    raise AssertionError(operator)


def _seconds(start: float, end: float | None) -> float | None:
    return None if end is None else _rounded(max(end - start, 0.0))


def _rounded(seconds: float) -> float:
    """To milliseconds, halves up: as DuckDB has it."""
    return math.floor(seconds * 1000 + 0.5) / 1000
