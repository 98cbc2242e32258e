"""Statistics of services and edges over time. Knows no HTTP.

Source: the API reference of GetTimeSeriesServiceStatistics, TimeSeriesServiceStatistics and ForecastStatistics. What counts, and how,
is as in a service graph (:mod:`localstack.aws.xray.graphs.service_graph`), so that the windows of a range add up to its graph. Ours,
where the reference leaves it open:

- Windows begin at multiples of the period since the epoch; of the first and the last one only what lies in the range counts.
- A window in which no selected request was completed is left out: there is nothing to say of it, and nothing to divide by.
- A service is selected by ``service("name")`` or ``id(name: "…", type: "…", account.id: "…")``, calls by ``edge("source",
  "destination")``, where an ``id(…)`` can stand for each name, and ``id(type: "client")`` for the client. Without a selector all
  edges count ("edge statistics are returned").
- The forecast of a window is the range in which insights expect its faults to be (:mod:`localstack.aws.xray.graphs.forecasts`), given how
  many requests the whole window had and what is stored of the windows before, 30 days back. Without such a history there is none.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from localstack.aws.errors import AwsError
from localstack.aws.xray.filters.errors import FilterError
from localstack.aws.xray.filters.parser import parse
from localstack.aws.xray.filters.syntax import Edge, Service, ServiceId
from localstack.aws.xray.graphs.forecasts import Minute, judge
from localstack.aws.xray.graphs.service_graph import Selection, TraceCondition, in_range
from localstack.aws.xray.graphs.statistics import STATISTICS_SQL, Histogram, Statistics, histogram, histogram_sql, statistics
from localstack.aws.xray.segments.validation import RETENTION_SECONDS
from localstack.aws.xray.traces.index import Index
from localstack.store import Store

#: Seconds a window can be long, and is when nothing is said: what the X-Ray console and Grafana's X-Ray data source ask for.
PERIODS = (60, 300)

#: How far before its range a forecast looks: as long as X-Ray keeps traces.
HISTORY_SECONDS = RETENTION_SECONDS


@dataclass(frozen=True, slots=True)
class Selector:
    """Whose requests count: those of nodes, or those of edges. ``sql``: a condition over a row, with named parameters.

    ``by_id``: whether it is an ``id(…)``, which a forecast needs.
    """

    of: Literal["service", "edge"]
    sql: str = "true"
    parameters: Mapping[str, Any] = field(default_factory=dict)
    by_id: bool = False


ALL_EDGES = Selector("edge")


@dataclass(frozen=True, slots=True)
class Window:
    """What began in a period from ``start`` (epoch seconds). ``forecast``: the fewest and the most faults to expect."""

    start: int
    statistics: Statistics
    response_times: Histogram
    forecast: tuple[int, int] | None = None


def select(expression: str) -> Selector:
    """The selector of an EntitySelectorExpression. Raises InvalidRequestException."""
    by_id = expression.lstrip()[:2].lower() == "id"
    try:
        # An id alone is no filter expression: there it stands for the name of a service.
        tree = parse(f"service({expression})" if by_id else expression)
    except FilterError as error:
        raise _unusable(expression, error.message) from None
    if not isinstance(tree, Service | Edge) or tree.where is not None:
        raise _unusable(expression, 'it must be one of service("…"), edge("…", "…") and id(…), alone and without { }')
    if isinstance(tree, Service):
        conditions, parameters = _is("", tree.of)
        return Selector("service", conditions, parameters, by_id)
    to, parameters = _is("target_", tree.destination)
    if tree.source == ServiceId(type="client"):
        return Selector("edge", f"source IS NULL AND {to}", parameters)
    conditions, more = _is("source_", tree.source)
    return Selector("edge", f"{conditions} AND {to}", parameters | more)


def _is(prefix: str, of: ServiceId) -> tuple[str, dict[str, Any]]:
    """Whether the columns with this prefix are a service's; what is not said of it may be anything."""
    members = {"name": of.name, "type": of.type, "account_id": of.account_id}
    given = {f"{prefix}{member}": value for member, value in members.items() if value is not None}
    sql = " AND ".join(f"{column} = $selected_{column}" for column in given)
    return sql or "true", {f"selected_{column}": value for column, value in given.items()}


def _unusable(expression: str, why: str) -> AwsError:
    return AwsError("InvalidRequestException", f"EntitySelectorExpression '{expression}' cannot be used: {why}")


class TimeSeries:
    """The statistics over time of one account in one region."""

    def __init__(self, store: Store, index: Index) -> None:
        self._store = store
        self._index = index

    def of_range(
        self,
        start: float,
        end: float,
        period: int,
        selector: Selector = ALL_EDGES,
        condition: TraceCondition | None = None,
        forecast: bool = False,
        limit: int | None = None,
    ) -> list[Window]:
        """The windows of what began in ``[start, end)`` (epoch seconds), of the traces that ``condition`` picks, oldest first.

        ``limit``: how many of them at most. A forecast also asks ``condition`` for traces up to :data:`HISTORY_SECONDS` before the range,
        and up to a period around it.
        """
        self._index.refresh()
        if limit is not None:
            requests, parameters = _requests(in_range(start, end, condition), period, selector)
            first = self._store.read(
                f"{requests} SELECT DISTINCT window_start FROM request ORDER BY window_start LIMIT {limit}", parameters
            )
            if not first:
                return []
            end = min(end, first[-1][0] + period)
        requests, parameters = _requests(in_range(start, end, condition), period, selector)
        rows = self._store.read_dicts(
            f"""{requests} SELECT window_start, {STATISTICS_SQL}, {histogram_sql()} AS response_times
                FROM request GROUP BY window_start ORDER BY window_start""",
            parameters,
        )
        windows = [Window(row["window_start"], statistics(row), histogram(row["response_times"])) for row in rows]
        if not forecast or not windows:
            return windows
        limits = self._limits(windows[0].start, windows[-1].start + period, period, selector, condition)
        return [replace(window, forecast=limits.get(window.start)) for window in windows]

    def _limits(
        self, start: int, end: int, period: int, selector: Selector, condition: TraceCondition | None
    ) -> dict[int, tuple[int, int]]:
        """The limits of the faults to expect of the windows from ``start`` to ``end``: of each as a whole, where it has a history."""
        requests, parameters = _requests(in_range(start - HISTORY_SECONDS, end, condition), period, selector)
        rows = self._store.read(
            f"{requests} SELECT window_start, count(*), count(*) FILTER (fault) FROM request GROUP BY window_start", parameters
        )
        judged = judge((Minute(*row) for row in rows), period)
        return {one.minute.start: one.limits() for one in judged if one.minute.start >= start and one.known_requests}


def _requests(selection: Selection, period: int, selector: Selector) -> tuple[str, dict[str, Any]]:
    """The beginning of a statement, with a table ``request`` of the completed ones that are selected, and its parameters."""
    table = {"service": "xray_node", "edge": "xray_edge"}[selector.of]
    sql = f"""
        WITH {selection.tables}
        request AS (
            SELECT *, floor(start_time / {period})::BIGINT * {period} AS window_start
            FROM {table} WHERE {selection.rows} AND {selector.sql} AND end_time IS NOT NULL
        )"""
    return sql, dict(selection.parameters) | dict(selector.parameters)
