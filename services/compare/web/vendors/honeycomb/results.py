"""A query's answer as a table and plots. Pure.

An answer holds ``results``, one row a group, and ``series``, the same for each step of time that has events ("Query Results", Honeycomb
API reference). A step without events has no row: nothing was counted there, which is 0 for COUNT and nothing for all else.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from services.compare.readers.base import mapping
from services.compare.web.figures import Axis, Figure, Series, Unit

#: Groups in one plot, and plots.
GROUPS: Final = 8
PLOTS: Final = 6
#: Steps of time that are filled in.
_STEPS: Final = 2_000


def rows(answer: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The rows of a result, by column."""
    return [mapping(mapping(row).get("data")) for row in mapping(answer.get("data")).get("results") or ()]


def figures(answer: Mapping[str, Any], calculations: Sequence[str], breakdowns: Sequence[str], step: int, day: bool) -> list[Figure]:
    """A plot for each calculation, of the first groups of the result. ``step`` seconds; ``day``: the time is longer than one."""
    groups = [_group(row, breakdowns) for row in rows(answer)][:GROUPS]
    points: dict[tuple[str, ...], dict[float, Mapping[str, Any]]] = {group: {} for group in groups}
    times = set()
    for each in map(mapping, mapping(answer.get("data")).get("series") or ()):
        at, data = _seconds(each.get("time")), mapping(each.get("data"))
        if at is not None and (group := _group(data, breakdowns)) in points:
            points[group][at] = data
            times.add(at)
    if not times:
        return []
    first, last = min(times), max(times)
    if step > 0 and (last - first) / step <= _STEPS:
        times |= {first + number * step for number in range(int((last - first) / step) + 1)}
    xs = sorted(times)
    return [
        Figure(
            f"{calculation} over time",
            Axis("time (UTC)", "moment" if day else "time"),
            Axis(calculation, _unit(calculation)),
            xs,
            [
                Series(
                    ", ".join(group) or calculation,
                    [_number(points[group].get(x), calculation) for x in xs],
                    path="honeycomb/otlp" if len(groups) == 1 else "",
                    number=number,
                )
                for number, group in enumerate(groups, 1)
            ],
        )
        for calculation in calculations[:PLOTS]
    ]


def _group(row: Mapping[str, Any], breakdowns: Sequence[str]) -> tuple[str, ...]:
    return tuple("(none)" if row.get(name) is None else str(row[name])[:60] for name in breakdowns)


def _seconds(text: Any) -> float | None:
    try:
        return datetime.fromisoformat(text).timestamp()
    except (TypeError, ValueError, OverflowError):
        return None


def _number(row: Mapping[str, Any] | None, calculation: str) -> float | None:
    if row is None:
        return 0 if calculation == "COUNT" else None
    value = row.get(calculation)
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) else None


def _unit(calculation: str) -> Unit:
    return "ms" if calculation.endswith("duration_ms)") and not calculation.startswith("COUNT") else "count"
