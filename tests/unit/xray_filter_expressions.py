"""Random filter expressions that have a meaning, for hypothesis. Values are few, so that they meet those of random traces."""

from __future__ import annotations

from typing import Any

import orjson
from hypothesis import strategies as st

from localstack.aws.xray.filters.keywords import IN_SCOPE, KINDS, Scope
from localstack.aws.xray.filters.syntax import (
    And,
    Annotation,
    Compare,
    Edge,
    Expression,
    Has,
    Keyword,
    Not,
    Or,
    RootCause,
    RootCauseJson,
    Service,
    ServiceId,
)

#: What also stands in the traces of test_aws_xray_filters_sql.
NAMES = ("a", "b", "db", "KeyError")
TYPES = ("AWS::EC2::Instance", "Database::SQL", "remote", "client")
ACCOUNTS = ("111122223333",)
KEYS = ("k", "k.2", 'q"]')
STRINGS = (
    "",
    "a",
    "b",
    "ab",
    "/x",
    "http://h/x",
    'q"\\',
    "ü🚀",
    "50%_",
    "GET",
    "alice",
    "us-east-1a",
    "i-1",
    "arn:t",
    "boom",
    *NAMES,
    *TYPES,
)
NUMBERS = (-1.0, 0.0, 0.5, 1.0, 1.5, 2.0, 200.0, 500.0, 1e-7, 2.0**70)

_strings = st.sampled_from(STRINGS)
_numbers = st.sampled_from(NUMBERS)
_order: Any = st.sampled_from(["=", "!=", "<", "<=", ">", ">="])
_text: Any = st.sampled_from(["=", "!=", "CONTAINS", "BEGINSWITH", "ENDSWITH"])
_equality: Any = st.sampled_from(["=", "!="])


def _comparison(of: Any, kind: str) -> st.SearchStrategy[Expression]:
    values: dict[str, tuple[Any, Any]] = {
        "boolean": (_equality, st.booleans()),
        "number": (_order, _numbers),
        "string": (_text, _strings),
    }
    return st.builds(Compare, of, *values[kind])


def _tests(scope: Scope) -> st.SearchStrategy[Expression]:
    names = sorted(IN_SCOPE[scope])
    simple: st.SearchStrategy[Expression] = st.sampled_from(names).flatmap(
        lambda name: st.one_of(st.just(Has(Keyword(name))), _comparison(st.just(Keyword(name)), KINDS[name]))
    )
    if scope.startswith("cause"):
        return simple
    sides: Any = st.sampled_from([None, "source", "destination"]) if scope == "edge" else st.none()
    annotations = st.builds(Annotation, st.sampled_from(KEYS), sides)
    tests: list[st.SearchStrategy[Expression]] = [st.builds(Has, annotations)]
    tests += [_comparison(annotations, kind) for kind in ("boolean", "number", "string")]
    return st.one_of(simple, simple, *tests)


def _combined(tests: st.SearchStrategy[Expression], leaves: int) -> st.SearchStrategy[Expression]:
    def extend(inner: st.SearchStrategy[Expression]) -> st.SearchStrategy[Expression]:
        terms = st.lists(inner, min_size=2, max_size=3).map(tuple)
        return st.one_of(st.builds(Not, inner), st.builds(And, terms), st.builds(Or, terms))

    return st.recursive(tests, extend, max_leaves=leaves)


def _where(scope: Scope) -> st.SearchStrategy[Expression | None]:
    return st.none() | _combined(_tests(scope), 4)


def _maybe(values: tuple[str, ...]) -> st.SearchStrategy[str | None]:
    return st.sampled_from([None, None, *values])


_services = st.builds(ServiceId, _maybe(NAMES), _maybe(TYPES), _maybe(ACCOUNTS))


def _member(**members: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=members)


_exception = _member(Name=st.sampled_from(NAMES), Message=_strings)
_entity = _member(
    Name=st.sampled_from(NAMES), Remote=st.booleans(), Coverage=st.sampled_from([1, 0.5]), Exceptions=st.lists(_exception, max_size=1)
)
_service = _member(
    Name=st.sampled_from(NAMES),
    Names=st.sampled_from([["a"], ["b"], ["a", "b"]]),
    Type=st.sampled_from(TYPES),
    AccountId=st.sampled_from(ACCOUNTS),
    Inferred=st.booleans(),
    EntityPath=st.lists(_entity, max_size=2),
)
_causes = _member(Services=st.lists(_service, max_size=2), ClientImpacting=st.booleans())


def _root_causes() -> st.SearchStrategy[Expression]:
    def build(kind: Any, element: Any) -> st.SearchStrategy[Expression]:
        scopes: dict[str, Scope] = {"service": "cause service", "entity": "cause entity", "exception": "cause exception"}
        where = st.none() if element is None else _where(scopes[element])
        return st.builds(RootCause, st.just(kind), st.just(element), where)

    choices = [
        (kind, element)
        for kind in ("fault", "error", "responsetime")
        for element in (None, "service", "entity", "exception")
        if (kind, element) != ("responsetime", "exception")
    ]
    patterns = st.lists(_causes, min_size=1, max_size=2).map(lambda found: RootCauseJson(orjson.dumps(found).decode()))
    return st.one_of(*(build(*choice) for choice in choices), patterns)


def expressions(leaves: int = 5) -> st.SearchStrategy[Expression]:
    """Expressions without groups."""
    return _combined(
        st.one_of(
            _tests("trace"),
            st.builds(Service, _services, _where("service")),
            st.builds(Edge, _services, _services, _where("edge")),
            _root_causes(),
        ),
        leaves,
    )
