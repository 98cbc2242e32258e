"""What is counted of many requests: how they ended, how long they took. The columns of SQL that count it, and what they become.

A *request* is a node of :mod:`localstack.aws.xray.traces.facts` (what a service says of what it did) or an edge (what a caller says of
what it asked for). Only those that have ended are counted ("the total number of completed requests"). Ours, where the API
reference of ServiceStatistics, EdgeStatistics and HistogramEntry leaves it open:

- Each request counts once: as a fault, else as throttled, else as an error, else as ok. So OkCount, ErrorStatistics.TotalCount
  (ThrottleCount + OtherCount) and FaultStatistics.TotalCount add up to TotalCount. The flags count, not status codes.
- Times in histograms are rounded to the millisecond, as in the examples of the developer guide; a histogram is in ascending order.
  TotalResponseTime is the sum of the exact times, to the microsecond. An end before its start counts as taking no time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

#: Seconds, to the millisecond, and how many requests took so long; ascending.
Histogram = tuple[tuple[float, int], ...]


@dataclass(frozen=True, slots=True)
class Statistics:
    """How requests ended; each is in one of the counts. ``response_time``: the sum of the times they took, in seconds."""

    ok: int = 0
    error: int = 0
    throttle: int = 0
    fault: int = 0
    response_time: float = 0.0

    @property
    def total(self) -> int:
        return self.ok + self.error + self.throttle + self.fault


#: Aggregates over rows with the columns of xray_node or xray_edge; read back by :func:`statistics`.
STATISTICS_SQL = """
    count(end_time) FILTER (NOT fault AND NOT throttle AND NOT error) AS ok,
    count(end_time) FILTER (NOT fault AND NOT throttle AND error) AS error,
    count(end_time) FILTER (NOT fault AND throttle) AS throttle,
    count(end_time) FILTER (fault) AS fault,
    coalesce(sum(greatest(end_time - start_time, 0)), 0) AS response_time
"""


def histogram_sql(start: str = "start_time", end: str = "end_time") -> str:
    """An aggregate: how often each number of milliseconds from ``start`` to ``end`` (SQL) came; read back by :func:`histogram`."""
    # Of NULL and 0 the greatest is 0.
    counts = f"histogram(round(greatest({end} - {start}, 0) * 1000)::BIGINT) FILTER ({end} IS NOT NULL)"
    # Lists of numbers come into Python several times as fast as a map of them.
    return f"[map_keys({counts}), map_values({counts})::BIGINT[]]"


def statistics(row: Mapping[str, Any]) -> Statistics:
    """A row with the columns of :data:`STATISTICS_SQL`."""
    return Statistics(row["ok"], row["error"], row["throttle"], row["fault"], round(row["response_time"], 6))


def histogram(counts: Sequence[Sequence[int] | None] | None) -> Histogram:
    """What the aggregate of :func:`histogram_sql` gave; None where there was nothing to count."""
    milliseconds, times = counts or (None, None)
    return tuple((value / 1000, count) for value, count in sorted(zip(milliseconds or (), times or (), strict=True)))
