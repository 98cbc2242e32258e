"""Pure: TimeSeriesServiceStatistics as figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from services.compare.readers.base import mapping
from services.compare.web.figures import Axis, Figure, Series
from services.compare.web.vendors.xray.client import epoch
from services.compare.web.vendors.xray.graphs import OUTCOMES, Counts, counts

#: Windows of a minute up to this many seconds, of five minutes above.
MINUTES_UP_TO: Final = 3 * 3600


def period(seconds: float) -> int:
    return 60 if seconds <= MINUTES_UP_TO else 300


def figures(windows: Sequence[Mapping[str, Any]], start: float, end: float, period: int) -> list[Figure]:
    """Requests by outcome, and the average response time, over ``[start, end)``. X-Ray leaves out windows in which nothing was completed:
    those had no requests, and no response time. Empty where there is nothing at all."""
    found = {
        round(at): counts(mapping(window.get("ServiceSummaryStatistics") or window.get("EdgeSummaryStatistics")))
        for window in windows
        if (at := epoch(window.get("Timestamp"))) is not None
    }
    if not found:
        return []
    first, last = min(min(found), int(start // period) * period), max(max(found), int((end - 1) // period) * period)
    xs = list(range(first, last + 1, period))
    each_window = [found.get(x, Counts()) for x in xs]
    rows = [place for place, each in enumerate(each_window) if each.total][-60:]
    time = Axis("time, UTC", "time")
    return [
        Figure(
            "Requests a minute",
            time,
            Axis("requests/min", "count"),
            xs,
            [
                Series(word.name, [round(60 * each.of(word.name) / period, 3) for each in each_window], f"outcome/{word.name}", "steps")
                for word in OUTCOMES
                if word.name == "ok" or any(each.of(word.name) for each in each_window)
            ],
            rows,
        ),
        Figure(
            "Average response time",
            time,
            Axis("response time", "ms"),
            xs,
            [Series("average", [each.average for each in each_window], kind="points" if len(found) < 3 else "line")],
            rows,
        ),
    ]
