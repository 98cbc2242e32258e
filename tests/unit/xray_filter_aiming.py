"""Filter expressions aimed at one trace: made of what is true of it, so that most of them hold, and many of others only just not."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from random import Random
from typing import Any, cast

import orjson

from localstack.aws.xray.filters import syntax
from localstack.aws.xray.filters.keywords import IN_SCOPE, KINDS, Scope
from localstack.aws.xray.filters.syntax import Annotation, CauseElement, Compare, Expression, Has, Keyword, Operator, ServiceId
from localstack.aws.xray.traces.facts import Service, TraceFacts
from localstack.aws.xray.traces.rootcauses import RootCauses
from localstack.aws.xray.traces.summaries import root_cause
from tests.unit.xray_filter_evaluation import Evaluation, elements, of_trace


def aimed(random: Random, trace: TraceFacts, causes: RootCauses) -> Expression:
    """An expression about the trace, one of its nodes or edges, or an element of one of its root causes."""
    aim = _Aim(random, trace, causes)
    expression = random.choice((aim.at_trace, aim.at_node, aim.at_edge, aim.at_cause, aim.at_cause_json))()
    return syntax.Not(expression) if random.random() < 0.2 else expression


class _Aim:
    def __init__(self, random: Random, trace: TraceFacts, causes: RootCauses) -> None:
        self.random = random
        self.trace = trace
        self.evaluation = Evaluation(trace, causes)

    def at_trace(self) -> Expression:
        return self._tests("trace", lambda keyword: of_trace(self.trace, keyword), self.trace.annotations)

    def at_node(self) -> Expression:
        if not self.trace.nodes:
            return self.at_trace()
        node = self.random.choice(self.trace.nodes)
        own = [one for one in self.trace.annotations if one.node == node.id]
        where = self._tests("service", lambda keyword: self.evaluation.of_node(node, keyword), own)
        return syntax.Service(self._service(node.service), self._maybe(where))

    def at_edge(self) -> Expression:
        if not self.trace.edges:
            return self.at_trace()
        edge = self.random.choice(self.trace.edges)
        services = {node.id: node.service for node in self.trace.nodes}
        source = self._service(services[edge.source or edge.target])
        if edge.source is None:
            source = self.random.choice([ServiceId(), replace(source, type="client")])
        side = cast(Any, self.random.choice([None, "source", "destination"]))
        end = edge.source if side == "source" else edge.target
        own = [one for one in self.trace.annotations if end is not None and one.node == end]
        where = self._tests("edge", lambda keyword: self.evaluation.of_edge(edge, keyword), own, side)
        return syntax.Edge(source, self._service(services[edge.target]), self._maybe(where))

    def at_cause(self) -> Expression:
        found = [(kind, cause) for kind, causes in self.evaluation.causes.items() for cause in causes]
        if not found:
            return self.at_trace()
        kind, cause = self.random.choice(found)
        element = cast(CauseElement, self.random.choice(["service", "entity", "exception"][: 2 if kind == "responsetime" else 3]))
        listed = elements(cause, element)
        scopes: dict[str, Scope] = {"service": "cause service", "entity": "cause entity", "exception": "cause exception"}
        one = self.random.choice(listed) if listed else {}
        where = self._tests(scopes[element], lambda keyword: [one.get(keyword)], ())
        return syntax.RootCause(cast(Any, kind), element, self._maybe(where))

    def at_cause_json(self) -> Expression:
        found = [root_cause(cause) for causes in self.evaluation.causes.values() for cause in causes]
        if not found:
            return self.at_trace()
        return syntax.RootCauseJson(orjson.dumps([self._pruned(self.random.choice(found))]).decode())

    def _pruned(self, value: Any) -> Any:
        """With members left out; now and then an element of a list too, or a text in the place of another."""
        if isinstance(value, dict):
            return {key: self._pruned(inner) for key, inner in value.items() if self.random.random() < 0.7}
        if isinstance(value, list):
            return [self._pruned(inner) for inner in value if self.random.random() < 0.95]
        return "other" if isinstance(value, str) and self.random.random() < 0.05 else value

    def _service(self, service: Service) -> ServiceId:
        return ServiceId(*(value if self.random.random() < 0.6 else None for value in (service.name, service.type, service.account_id)))

    def _maybe(self, where: Expression) -> Expression | None:
        return where if self.random.random() < 0.9 else None

    def _tests(
        self, scope: Scope, values: Callable[[str], Iterable[Any]], annotations: Iterable[Any], side: syntax.Side | None = None
    ) -> Expression:
        terms: list[Expression] = []
        for _ in range(self.random.choice([1, 1, 2, 3])):
            annotated = [(one.key, one.value) for one in annotations]
            if annotated and self.random.random() < 0.4:
                key, value = self.random.choice(annotated)
                terms.append(self._test(Annotation(key, side), value))
            else:
                # Of keywords that have a value more often than of others: of those there is little to say.
                names = self.random.sample(sorted(IN_SCOPE[scope]), 3)
                name = next((name for name in names if any(value is not None for value in values(name))), names[0])
                found = [value for value in values(name) if value is not None]
                # Of what is not set as well: no comparison holds of it, and so every one that is negated.
                terms.append(self._test(Keyword(name), self.random.choice(found or [_ANY[KINDS[name]]])))
        if self.random.random() < 0.2:
            terms[0] = syntax.Not(terms[0])
        if len(terms) == 1:
            return terms[0]
        return syntax.And(tuple(terms)) if self.random.random() < 0.5 else syntax.Or(tuple(terms))

    def _test(self, of: Keyword | Annotation, value: Any) -> Expression:
        kind = KINDS[of.name] if isinstance(of, Keyword) else _kind(value)
        if self.random.random() < 0.2:
            return Has(of)
        if kind == "boolean":
            return Compare(of, cast(Operator, self.random.choice(["=", "!="])), bool(value) != (self.random.random() < 0.3))
        if kind == "number":
            operator = cast(Operator, self.random.choice(["=", "!=", "<", "<=", ">", ">="]))
            return Compare(of, operator, float(value) + self.random.choice([0, 0, 0.5, -0.5]))
        operator = cast(Operator, self.random.choice(["=", "!=", "CONTAINS", "BEGINSWITH", "ENDSWITH"]))
        cut = self.random.randint(0, len(value))
        parts = {"CONTAINS": value[cut // 2 : cut], "BEGINSWITH": value[:cut], "ENDSWITH": value[cut:]}
        return Compare(of, operator, parts.get(operator, value))


#: A value of each kind, for keywords that have none.
_ANY: dict[str, Any] = {"boolean": True, "number": 1.0, "string": "a"}


def _kind(value: Any) -> str:
    return "boolean" if isinstance(value, bool) else "string" if isinstance(value, str) else "number"
