"""Filter expressions as a tree, and the tree as text. Pure.

Every node has ``at``: where in the text it stood, for messages; two trees that differ in nothing else are equal.
``parse(write(tree)) == tree`` for every tree that :func:`localstack.aws.xray.filters.parser.parse` can return.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import orjson

CauseKind = Literal["fault", "error", "responsetime"]
CauseElement = Literal["service", "entity", "exception"]
Side = Literal["source", "destination"]
Operator = Literal["=", "!=", "<", "<=", ">", ">=", "CONTAINS", "BEGINSWITH", "ENDSWITH"]


def _position() -> Any:
    return field(default=0, compare=False, repr=False, kw_only=True)


@dataclass(frozen=True, slots=True)
class And:
    """All of at least two."""

    terms: tuple[Expression, ...]
    at: int = _position()


@dataclass(frozen=True, slots=True)
class Or:
    """One of at least two."""

    terms: tuple[Expression, ...]
    at: int = _position()


@dataclass(frozen=True, slots=True)
class Not:
    term: Expression
    at: int = _position()


@dataclass(frozen=True, slots=True)
class Keyword:
    """A simple keyword, in lower case: ``http.url``."""

    name: str
    at: int = _position()


@dataclass(frozen=True, slots=True)
class Annotation:
    """The annotations of one key. ``side``: of which end of an edge; None: of what the scope is about."""

    key: str
    side: Side | None = None
    at: int = _position()


@dataclass(frozen=True, slots=True)
class Has:
    """A keyword alone: it is true, or it is set."""

    of: Keyword | Annotation
    at: int = _position()


@dataclass(frozen=True, slots=True)
class Compare:
    """A keyword compared with a value; the value's type decides which comparison it is."""

    of: Keyword | Annotation
    operator: Operator
    value: str | bool | float
    at: int = _position()


@dataclass(frozen=True, slots=True)
class ServiceId:
    """Which nodes are meant; None: any. ``service("a")`` means the name."""

    name: str | None = None
    type: str | None = None
    account_id: str | None = None


@dataclass(frozen=True, slots=True)
class Service:
    """The trace has such a node, for which ``where`` holds."""

    of: ServiceId
    where: Expression | None = None
    at: int = _position()


@dataclass(frozen=True, slots=True)
class Edge:
    """The trace has such a call, for which ``where`` holds."""

    source: ServiceId
    destination: ServiceId
    where: Expression | None = None
    at: int = _position()


@dataclass(frozen=True, slots=True)
class Group:
    """The trace belongs to the group of this name or ARN."""

    by: Literal["name", "arn"]
    value: str
    at: int = _position()


@dataclass(frozen=True, slots=True)
class RootCause:
    """The trace has a root cause of this kind (``element`` None), or one whose path has such an element, for which ``where`` holds."""

    kind: CauseKind
    element: CauseElement | None = None
    where: Expression | None = None
    at: int = _position()


@dataclass(frozen=True, slots=True)
class RootCauseJson:
    """For each of the JSON objects the trace has a root cause that agrees with it. ``text``: the list, as compact JSON."""

    text: str
    at: int = _position()


Expression: TypeAlias = And | Or | Not | Has | Compare | Service | Edge | Group | RootCause | RootCauseJson


def write(expression: Expression) -> str:
    """The expression as text, with AND written out and parentheses where they are needed."""
    if isinstance(expression, And):
        return " AND ".join(_inner(term, And | Or) for term in expression.terms)
    if isinstance(expression, Or):
        return " OR ".join(_inner(term, Or) for term in expression.terms)
    if isinstance(expression, Not):
        return "!" + _inner(expression.term, And | Or)
    if isinstance(expression, Has):
        return _field(expression.of)
    if isinstance(expression, Compare):
        return f"{_field(expression.of)} {expression.operator} {_value(expression.value)}"
    if isinstance(expression, Service):
        return f"service({_service(expression.of)}){_where(expression.where)}"
    if isinstance(expression, Edge):
        return f"edge({_service(expression.source)}, {_service(expression.destination)}){_where(expression.where)}"
    if isinstance(expression, Group):
        return f"group.{expression.by} = {quote(expression.value)}"
    if isinstance(expression, RootCause):
        element = "" if expression.element is None else f".{expression.element}"
        return f"rootcause.{expression.kind}{element}{_where(expression.where)}"
    return f"rootcause.json = #{expression.text}"


def quote(text: str) -> str:
    """A string as expressions have it: in quotation marks, with a backslash before a quotation mark and before a backslash."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def unquote(text: str) -> str:
    """What a quoted string says. A backslash before anything but a quotation mark or a backslash is itself."""
    found = []
    characters = iter(text[1:-1])
    for character in characters:
        if character == "\\":
            escaped = next(characters)
            found.append(escaped if escaped in '"\\' else character + escaped)
        else:
            found.append(character)
    return "".join(found)


def read_patterns(expression: RootCauseJson) -> list[dict[str, Any]]:
    """The JSON objects of a ``rootcause.json``."""
    patterns: list[dict[str, Any]] = orjson.loads(expression.text)
    return patterns


def _inner(expression: Expression, kinds: Any) -> str:
    return f"({write(expression)})" if isinstance(expression, kinds) else write(expression)


def _where(where: Expression | None) -> str:
    return "" if where is None else f" {{ {write(where)} }}"


def _field(of: Keyword | Annotation) -> str:
    if isinstance(of, Keyword):
        return of.name
    side = "" if of.side is None else f"{of.side}."
    return f"{side}annotation[{quote(of.key)}]"


def _value(value: str | bool | float) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return quote(value) if isinstance(value, str) else repr(value)


def _service(of: ServiceId) -> str:
    members = {"name": of.name, "type": of.type, "account.id": of.account_id}
    return f"id({', '.join(f'{key}: {quote(value)}' for key, value in members.items() if value is not None)})"
