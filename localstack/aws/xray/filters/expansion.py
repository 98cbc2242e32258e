"""``group.name = "…"`` stands for the expression of that group. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Literal

from localstack.aws.xray.filters.errors import FilterError
from localstack.aws.xray.filters.parser import MAX_TERMS, parse
from localstack.aws.xray.filters.syntax import And, Expression, Group, Has, Keyword, Not, Or

#: The expression of the group with this name or ARN; empty: the group has none, every trace is in it; None: there is no such group.
GroupExpression = Callable[[Literal["name", "arn"], str], str | None]

#: Groups that name groups.
MAX_NESTED = 5

#: True of every trace.
_EVERY = Or((Has(Keyword("ok")), Not(Has(Keyword("ok")))))


def expand(text: str, expression: Expression, group: GroupExpression) -> Expression:
    """The expression with the expressions of its groups in the place of their names. Raises FilterError."""
    return _Expansion(text, group).expand(expression, ())


class _Expansion:
    def __init__(self, text: str, group: GroupExpression) -> None:
        self._text = text
        self._group = group
        self._terms = 0

    def expand(self, expression: Expression, within: tuple[Group, ...]) -> Expression:
        """``within``: the groups this expression is part of; the first one stands in the text that is reported on."""
        if isinstance(expression, And | Or):
            return replace(expression, terms=tuple(self.expand(term, within) for term in expression.terms))
        if isinstance(expression, Not):
            return replace(expression, term=self.expand(expression.term, within))
        at = within[0].at if within else expression.at
        self._terms += 1
        if self._terms > MAX_TERMS:
            raise FilterError(self._text, at, f"with its groups, an expression has at most {MAX_TERMS} terms")
        return self._expand_group(expression, within, at) if isinstance(expression, Group) else expression

    def _expand_group(self, named: Group, within: tuple[Group, ...], at: int) -> Expression:
        path = " > ".join(repr(one.value) for one in (*within, named))
        if named in within or len(within) >= MAX_NESTED:
            why = "is part of itself" if named in within else f"is nested more than {MAX_NESTED} deep"
            raise FilterError(self._text, at, f"the group {path} {why}")
        found = self._group(named.by, named.value)
        if found is None:
            raise FilterError(self._text, at, f"there is no group {path}")
        if not found.strip():
            return _EVERY
        try:
            inner = parse(found)
        except FilterError as error:
            raise FilterError(self._text, at, f"the expression of the group {path} cannot be used: {error.message}") from None
        return self.expand(inner, (*within, named))
