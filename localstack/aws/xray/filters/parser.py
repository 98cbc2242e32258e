"""Text to tree: the grammar, then what a grammar cannot say (which keyword, which value, where). Pure.

    parse('service("api") { fault } AND annotation.plan = "gold"')

Whatever the text, the answer is a tree or a :class:`FilterError`.
"""

from __future__ import annotations

import difflib
import functools
import math
import re
from collections.abc import Collection
from pathlib import Path
from typing import Any, cast

import orjson
from lark import Lark, Token, Transformer, UnexpectedCharacters, UnexpectedToken, v_args
from lark.exceptions import VisitError
from lark.parsers.lalr_interactive_parser import InteractiveParser

from localstack.aws.xray.filters.errors import FilterError
from localstack.aws.xray.filters.keywords import IN_SCOPE, KINDS, SCOPE_NAMES, Kind, Scope
from localstack.aws.xray.filters.syntax import (
    And,
    Annotation,
    Compare,
    Edge,
    Expression,
    Group,
    Has,
    Keyword,
    Not,
    Operator,
    Or,
    RootCause,
    RootCauseJson,
    Service,
    ServiceId,
    unquote,
)

#: X-Ray documents no limits. These are far above what people write, and keep a query's cost within bounds.
MAX_CHARACTERS = 10_000
MAX_TERMS = 250
#: Brackets and negations within one another.
MAX_DEPTH = 30

_OPERATORS: dict[Kind, tuple[Operator, ...]] = {
    "boolean": ("=", "!="),
    "number": ("=", "!=", "<", "<=", ">", ">="),
    "string": ("=", "!=", "CONTAINS", "BEGINSWITH", "ENDSWITH"),
}

#: The members of root causes, as TraceSummary has them: what a JSON object of rootcause.json may name.
CAUSE_MEMBERS: dict[str, dict[str, Any]] = {
    "cause": {"Services": "service", "ClientImpacting": bool},
    "service": {"Name": str, "Names": "name", "Type": str, "AccountId": str, "EntityPath": "entity", "Inferred": bool},
    "entity": {"Name": str, "Exceptions": "exception", "Coverage": float, "Remote": bool},
    "exception": {"Name": str, "Message": str},
}


def parse(text: str) -> Expression:
    """The tree of an expression. Raises FilterError."""
    if len(text) > MAX_CHARACTERS:
        raise FilterError(text, MAX_CHARACTERS, f"an expression has at most {MAX_CHARACTERS} characters, not {len(text)}")
    for position, character in enumerate(text):
        if "\ud800" <= character <= "\udfff":
            raise FilterError(text.encode("utf-8", "replace").decode(), position, "half of a surrogate pair is no character")
    if not text.strip():
        raise FilterError(text, 0, "the expression is empty", _words({"KEYWORD", "SERVICE", "EDGE"}))
    expression = _read(text)
    _check(text, expression, "trace")
    return expression


# -- the grammar


@functools.cache
def _grammar() -> Lark:
    return Lark.open("grammar.lark", rel_to=str(Path(__file__)), parser="lalr", maybe_placeholders=True, propagate_positions=True)


def _read(text: str) -> Expression:
    state = _grammar().parse_interactive(text)
    depth = _Depth(text)
    terms = 0
    try:
        for token in state.iter_parse():
            depth.see(token)
            terms += token.type in _TERMS
            if terms > MAX_TERMS:
                raise FilterError(text, token.start_pos or 0, f"an expression has at most {MAX_TERMS} terms")
        tree = state.feed_eof()  # type: ignore[no-untyped-call]
    except UnexpectedCharacters as error:
        position = error.pos_in_stream or 0
        piece = re.split(r"[\s(){}]", text[position:], maxsplit=1)[0] or text[position]
        raise _unexpected(text, position, piece, _accepted(state)) from None
    except UnexpectedToken as error:
        token = error.token
        if token.type == "$END":
            raise FilterError(text, len(text.rstrip()), "the expression ends too early", _words(_accepted(state))) from None
        raise _unexpected(text, token.start_pos or 0, str(token), _accepted(state)) from None
    # Nesting is bounded by now: what follows may recurse.
    try:
        return cast(Expression, _Tree(text).transform(tree))
    except VisitError as error:
        raise error.orig_exc from None


def _accepted(state: InteractiveParser) -> set[str]:
    """The terminals that can really stand next."""
    return cast("set[str]", state.accepts())  # type: ignore[no-untyped-call]


#: The tokens that begin a term which costs something to decide.
_TERMS = frozenset(
    {"KEYWORD", "ANNOTATION", "SERVICE", "EDGE", "GROUP", "ROOTCAUSE", "ROOTCAUSE_JSON", "JSON_WORD", "JSON_NUMBER", "COLON"}
)


class _Depth:
    """Bounds how deep an expression is nested while it is read: negations in a row and open brackets."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._open: list[int] = []
        self._negations = 0

    def see(self, token: Token) -> None:
        if token.type == "NOT":
            self._negations += 1
        elif token.type in ("LPAR", "LBRACE", "LSQB"):
            self._open.append(self._negations + 1)
            self._negations = 0
        else:
            self._negations = 0
            if token.type in ("RPAR", "RBRACE", "RSQB") and self._open:
                self._open.pop()
        if sum(self._open) + self._negations > MAX_DEPTH:
            raise FilterError(self._text, token.start_pos or 0, f"an expression is nested at most {MAX_DEPTH} deep")


@v_args(inline=True)
class _Tree(Transformer[Token, Any]):
    """Lark's tree to ours."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self._text = text

    def __default__(self, data: Any, children: Any, meta: Any) -> Any:
        raise AssertionError(f"the grammar's rule {data} is not known here")

    def start(self, expression: Expression) -> Expression:
        return expression

    def disjunction(self, *terms: Expression) -> Expression:
        return terms[0] if len(terms) == 1 else Or(terms, at=terms[0].at)

    def conjunction(self, *terms: Expression) -> Expression:
        return terms[0] if len(terms) == 1 else And(terms, at=terms[0].at)

    def negated(self, sign: Token, term: Expression) -> Expression:
        return Not(term, at=_at(sign))

    def grouped(self, expression: Expression) -> Expression:
        return expression

    def keyword(self, token: Token) -> Keyword:
        return Keyword(str(token).lower(), at=_at(token))

    def annotation(self, token: Token) -> Annotation:
        prefix, key = re.split(r"annotation(?=[.\[])", token, maxsplit=1, flags=re.IGNORECASE)
        side = cast(Any, prefix.rstrip(".").lower() or None)
        if key.startswith("."):
            key = key[1:]
            if "." in key:
                raise FilterError(self._text, _at(token), f"an annotation key with a dot stands in brackets: annotation[{key}]")
        else:
            key = key[1:-1].strip()
            if key.startswith('"'):
                key = unquote(key)
        if not key:
            raise FilterError(self._text, _at(token), "the annotation key is empty")
        return Annotation(key, side, at=_at(token))

    def has(self, field: Keyword | Annotation) -> Has:
        return Has(field, at=field.at)

    def compared(self, field: Keyword | Annotation, operator: Token, value: Token) -> Compare:
        return Compare(field, cast(Operator, operator.upper()), self._literal(field, value), at=field.at)

    def _literal(self, field: Keyword | Annotation, token: Token) -> str | bool | float:
        kind = KINDS.get(field.name) if isinstance(field, Keyword) else None
        text = str(token)
        if token.type == "NUMBER":
            number = float(text)
            if not math.isfinite(number):
                raise FilterError(self._text, _at(token), "the number is too large")
            if kind == "string":
                raise FilterError(self._text, _at(token), "a string stands in quotation marks", [f'"{text}"'])
            return number
        if token.type == "STRING":
            text = unquote(text)
            # "Compare the value of the keyword to the string true or false."
            return text.lower() == "true" if kind == "boolean" and text.lower() in ("true", "false") else text
        if kind != "string" and text.lower() in ("true", "false"):
            return text.lower() == "true"
        return text

    def where(self, expression: Expression) -> Expression:
        return expression

    def service(self, token: Token, of: ServiceId | None, where: Expression | None) -> Service:
        return Service(of or ServiceId(), where, at=_at(token))

    def edge(self, token: Token, source: ServiceId | None, destination: ServiceId | None, where: Expression | None) -> Edge:
        return Edge(source or ServiceId(), destination or ServiceId(), where, at=_at(token))

    def named(self, name: Token) -> ServiceId:
        return ServiceId(name=unquote(name))

    def member(self, name: Token, value: Token) -> tuple[Token, str]:
        return name, unquote(value)

    def identified(self, _: Token, *members: tuple[Token, str]) -> ServiceId:
        found: dict[str, str] = {}
        for token, value in members:
            name = str(token).lower().replace(".", "_")
            if name in found:
                raise FilterError(self._text, _at(token), f"id() names {token} twice")
            found[name] = value
        return ServiceId(**found)

    def group(self, token: Token, operator: Token, value: Token) -> Expression:
        by = cast(Any, str(token).lower().removeprefix("group."))
        return self._equality(operator, Group(by, unquote(value), at=_at(token)), "group")

    def root_cause(self, token: Token, where: Expression | None) -> RootCause:
        parts: list[Any] = [*str(token).lower().split(".")[1:], None, None][:2]
        known = ("fault", "error", "responsetime"), ("service", "entity", "exception", None)
        for place, (part, names) in enumerate(zip(parts, known, strict=True)):
            if part not in names or token.count(".") > 2:
                example = ".".join(("rootcause", *[str(names[0]) for names in known[: place + 1]]))
                raise FilterError(
                    self._text,
                    _at(token),
                    f"unknown keyword {_shown(str(token))}",
                    ["rootcause.json", "rootcause.fault", "rootcause.error", "rootcause.responsetime"]
                    if example.count(".") == 1
                    else [f"rootcause.{parts[0]}.{name}" for name in known[1][:3]],
                )
        kind, element = parts
        if (kind, element) == ("responsetime", "exception"):
            raise FilterError(self._text, _at(token), "a response time root cause has no exceptions")
        if where is not None and element is None:
            raise FilterError(
                self._text,
                where.at,
                "braces need to know which element they speak of",
                [f"rootcause.{kind}.{name} {{}}" for name in known[1][:3]],
            )
        return RootCause(kind, element, where, at=_at(token))

    def root_cause_json(self, token: Token, operator: Token, value: Any) -> Expression:
        patterns = value if isinstance(value, list) else [value]
        if not patterns:
            raise FilterError(self._text, _at(token), "rootcause.json needs a root cause to look for", ["#[{…}]"])
        for pattern in patterns:
            wrong = _wrong_pattern(pattern, "cause")
            if wrong:
                raise FilterError(self._text, _at(token), wrong)
        return self._equality(operator, RootCauseJson(orjson.dumps(patterns).decode(), at=_at(token)), "rootcause.json")

    def _equality(self, operator: Token, expression: Expression, noun: str) -> Expression:
        if operator == "=":
            return expression
        if operator == "!=":
            return Not(expression, at=expression.at)
        raise FilterError(self._text, _at(operator), f"{noun} cannot be compared with {operator.upper()}", ["=", "!="])

    def json_list(self, *values: Any) -> list[Any]:
        return list(values)

    def json_object(self, *pairs: tuple[str, Any]) -> dict[str, Any]:
        return dict(pairs)

    def pair(self, key: Token, value: Any) -> tuple[str, Any]:
        return self.json_string(key), value

    def json_string(self, token: Token) -> str:
        return cast(str, self._json(token))

    def json_number(self, token: Token) -> Any:
        return self._json(token)

    def json_word(self, token: Token) -> Any:
        return self._json(token)

    def _json(self, token: Token) -> Any:
        try:
            return orjson.loads(str(token))
        except orjson.JSONDecodeError:
            raise FilterError(self._text, _at(token), f"{_shown(str(token))} is no JSON value") from None


def _wrong_pattern(value: Any, of: Any) -> str | None:
    """What is wrong with a JSON value of rootcause.json; None: nothing. ``of``: a key of CAUSE_MEMBERS, or a type."""
    if isinstance(of, type):
        fits = isinstance(value, int | float) and not isinstance(value, bool) if of is float else isinstance(value, of)
        return None if fits else f"{_shown(orjson.dumps(value).decode())} is no {_TYPES[of]}"
    if not isinstance(value, dict):
        return f"a {of} of rootcause.json is a JSON object, not {_shown(orjson.dumps(value).decode())}"
    for key, member in value.items():
        kind = CAUSE_MEMBERS[of].get(key)
        if kind is None:
            return f"a {of} of rootcause.json has no member {_shown(key)}, only {', '.join(CAUSE_MEMBERS[of])}"
        values, inner = (member, str if kind == "name" else kind) if isinstance(kind, str) else ([member], kind)
        if not isinstance(values, list):
            return f"the member {key} of rootcause.json is a list"
        for one in values:
            wrong = _wrong_pattern(one, inner)
            if wrong:
                return wrong
    return None


_TYPES: dict[type, str] = {str: "string", bool: "boolean", float: "number"}


def _at(token: Token) -> int:
    return token.start_pos or 0


# -- what a grammar cannot say


def _check(text: str, expression: Expression, scope: Scope) -> None:
    """Raise FilterError where a keyword does not exist, has no meaning in ``scope``, or is compared with what it cannot be."""
    if isinstance(expression, And | Or):
        for term in expression.terms:
            _check(text, term, scope)
    elif isinstance(expression, Not):
        _check(text, expression.term, scope)
    elif isinstance(expression, Has):
        _check_field(text, expression.of, scope)
    elif isinstance(expression, Compare):
        _check_field(text, expression.of, scope)
        _check_comparison(text, expression)
    else:
        if scope != "trace":
            raise FilterError(text, expression.at, f"{_NOUNS[type(expression)]} speaks of the trace and cannot stand {SCOPE_NAMES[scope]}")
        if isinstance(expression, Service | Edge) and expression.where is not None:
            _check(text, expression.where, "service" if isinstance(expression, Service) else "edge")
        elif isinstance(expression, RootCause) and expression.where is not None:
            _check(text, expression.where, _CAUSE_SCOPES[expression.element or "service"])


_NOUNS: dict[type, str] = {
    Service: "service()",
    Edge: "edge()",
    Group: "group",
    RootCause: "rootcause",
    RootCauseJson: "rootcause.json",
}
_CAUSE_SCOPES: dict[str, Scope] = {"service": "cause service", "entity": "cause entity", "exception": "cause exception"}


def _check_field(text: str, of: Keyword | Annotation, scope: Scope) -> None:
    if isinstance(of, Annotation):
        if of.side is not None and scope != "edge":
            raise FilterError(text, of.at, f"{of.side}.annotation has a meaning only {SCOPE_NAMES['edge']}")
        if scope.startswith("cause"):
            raise FilterError(text, of.at, f"annotation has no meaning {SCOPE_NAMES[scope]}")
        return
    allowed = IN_SCOPE[scope]
    if of.name in allowed:
        return
    if of.name in KINDS:
        others = [SCOPE_NAMES[other] for other, names in IN_SCOPE.items() if of.name in names]
        raise FilterError(text, of.at, f"{of.name} has no meaning {SCOPE_NAMES[scope]}, only {', '.join(others)}")
    known = [*allowed, "service()", "edge()", "annotation.key", "group.name", "group.arn", "rootcause.fault.service"]
    raise FilterError(text, of.at, f"unknown keyword {_shown(of.name)}", difflib.get_close_matches(of.name, known, 2))


def _check_comparison(text: str, expression: Compare) -> None:
    of, value = expression.of, expression.value
    given: Kind = "boolean" if isinstance(value, bool) else "string" if isinstance(value, str) else "number"
    kind = KINDS[of.name] if isinstance(of, Keyword) else given
    name = of.name if isinstance(of, Keyword) else f"annotation[{of.key}]"
    if given != kind:
        raise FilterError(text, of.at, f"{name} is a {kind} and cannot be compared with the {given} {_written(value)}")
    if expression.operator not in _OPERATORS[kind]:
        noun = f"{name}, a {kind}," if isinstance(of, Keyword) else f"{name} and a {kind}"
        raise FilterError(text, of.at, f"{noun} cannot be compared with {expression.operator}", _OPERATORS[kind])


# -- words for messages

_NAMES = {
    "KEYWORD": "a keyword",
    "ANNOTATION": "annotation.key",
    "SERVICE": "service()",
    "EDGE": "edge()",
    "GROUP": "group.name",
    "ROOTCAUSE": "rootcause",
    "ID": "id()",
    "MEMBER": "name, type or account.id",
    "STRING": "a string in quotation marks",
    "NUMBER": "a number",
    "WORD": "true, false",
    "OPERATOR": "an operator",
    "NOT": "!",
    "_AND": "AND",
    "_OR": "OR",
    "LPAR": '"("',
    "RPAR": '")"',
    "LBRACE": '"{"',
    "RBRACE": '"}"',
    "LSQB": '"["',
    "RSQB": '"]"',
    "COMMA": '","',
    "COLON": '":"',
    "HASH": '"#[", a JSON list',
    "JSON_NUMBER": "a JSON number",
    "JSON_WORD": "true, false or null",
    "$END": "the end",
}
#: A keyword says it all.
_IMPLIED = frozenset({"NOT", "GROUP", "ROOTCAUSE", "ROOTCAUSE_JSON", "ANNOTATION", "LPAR"})


def _words(terminals: Collection[str]) -> list[str]:
    """Terminals of the grammar in words, in an order that does not change."""
    found = set(terminals) - (_IMPLIED if "KEYWORD" in terminals else frozenset())
    return [name for terminal, name in _NAMES.items() if terminal in found]


def _unexpected(text: str, position: int, found: str, accepted: Collection[str]) -> FilterError:
    if text[position] == '"' and "STRING" in accepted and not found.endswith('"', 1):
        return FilterError(text, position, "the string that begins here has no closing quotation mark")
    if text[position] == "[" and text[:position].lower().endswith("annotation"):
        return FilterError(text, position, 'the annotation key that begins here has no closing "]"')
    what = f"unexpected {_shown(found)}"
    if text[position] in "'`‘’‚“”„«»":
        what += ': strings stand in "quotation marks"'
    return FilterError(text, position, what, _words(accepted))


def _shown(text: str) -> str:
    return repr(text if len(text) <= 40 else text[:40] + "…")


def _written(value: str | bool | float) -> str:
    return str(value).lower() if isinstance(value, bool) else _shown(value) if isinstance(value, str) else f"{value:g}"
