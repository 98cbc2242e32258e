"""Filter expressions: which traces a query, a group or a graph is about.

    condition = compile('service("api") { fault } AND annotation.plan = "gold"', groups)
    store.read(f"SELECT trace_id FROM xray_trace t WHERE t.began > $since AND {condition.sql}",
               {"since": 0.0, **condition.parameters})

- ``grammar.lark`` and ``parser`` read an expression, by the vocabulary in ``keywords``, into the tree of ``syntax``.
- ``sql`` makes a condition over the index's tables of it, with parameters.

What an expression means is defined on :mod:`localstack.aws.xray.traces.facts` alone; docs/local-xray-filters.md tells it keyword by
keyword. Everything that is wrong with an expression is a :class:`FilterError`, X-Ray's InvalidRequestException.
"""

from __future__ import annotations

from localstack.aws.xray.filters.expansion import GroupExpression, expand
from localstack.aws.xray.filters.parser import parse
from localstack.aws.xray.filters.sql import Condition, condition


def compile(  # the word of the field; it hides a builtin nobody calls here
    text: str, group: GroupExpression, *, prefix: str = "filter", began: tuple[float, float] | None = None
) -> Condition:
    """The condition of an expression, over a row of ``xray_trace`` aliased ``t``. Raises FilterError.

    ``group`` gives the expression of the group an expression names. ``prefix``: what the names of the parameters begin with, so
    that two conditions can stand in one statement. ``began``: the first and last ``began`` of the traces the caller looks at
    anyway, so that nothing else is looked at.
    """
    return condition(expand(text, parse(text), group), prefix, began)


def check(text: str, group: GroupExpression) -> None:
    """Raise FilterError where :func:`compile` would."""
    expand(text, parse(text), group)
