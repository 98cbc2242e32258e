"""Filter expressions as the rest of X-Ray uses them: with this account's groups, and ready to be asked of the index."""

from __future__ import annotations

from localstack.aws.xray.filters.causes import RootCauseTables
from localstack.aws.xray.filters.compilation import compile
from localstack.aws.xray.filters.groups import Groups
from localstack.aws.xray.filters.sql import Condition
from localstack.aws.xray.traces.index import Index
from localstack.store import Store


class Filters:
    """The filter expressions of one account in one region."""

    def __init__(self, store: Store, index: Index, groups: Groups) -> None:
        self._index = index
        self._groups = groups
        self._causes = RootCauseTables(store)

    def condition(self, expression: str, *, prefix: str = "filter", began: tuple[float, float] | None = None) -> Condition:
        """What an expression says, as a condition over a row of ``xray_trace t``; see ``compilation.compile``.

        The index is up to date afterwards, and has what the condition needs. Raises FilterError.
        """
        found = compile(expression, self._groups.expression, prefix=prefix, began=began)
        self._index.refresh()
        self._causes.fill(found.causes, began)
        return found
