"""What Honeycomb's pages ask of its API, on top of what compare reads by: datasets, columns, and queries.

The API returns aggregates and never an event, so events are had as compare has them (``services/compare/readers/honeycomb.py``): by a
query grouped by everything that tells them apart. Every call raises Unreadable.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from compose.settings import Settings
from services.compare.readers.base import Observation
from services.compare.readers.honeycomb import BREAKDOWNS, CORE, HoneycombReader, QueryFailed
from services.compare.web.site import Refused
from services.compare.web.vendors.timerange import CUSTOM, TimeRange

#: Every dataset of the environment at once.
ALL: Final = "__all__"
#: Events that are shown.
EVENTS: Final = 50
#: The name under which an event's time is asked for.
TIME: Final = "parallax_time"


@dataclass(frozen=True)
class Events:
    """``whole``: with every column, not only those that every event has."""

    rows: Sequence[Mapping[str, Any]]
    whole: bool


class Honeycomb:
    """Made for one page: nothing is waited for long, nothing tried again."""

    def __init__(self, settings: Settings) -> None:
        self._reader = HoneycombReader(settings, (), hurry=True)

    def datasets(self) -> list[Mapping[str, Any]]:
        return sorted(self._reader.datasets(), key=lambda each: str(each["slug"]))

    def columns(self, slug: str) -> list[Mapping[str, Any]]:
        """A dataset's columns by name; those of all datasets for ``__all__``. An unknown dataset becomes a page (404)."""
        slugs = [str(each["slug"]) for each in self._reader.datasets()]
        if slug != ALL and slug not in slugs:
            known = f"There are {', '.join(slugs)}." if slugs else "There is none: nothing was sent yet."
            raise Refused(404, "No such dataset", f"Honeycomb has no dataset {slug!r}.", known)
        found: dict[str, Mapping[str, Any]] = {}
        for each in slugs if slug == ALL else [slug]:
            for column in self._reader.described(each):
                found.setdefault(str(column["key_name"]), column)
        return [found[name] for name in sorted(found)]

    def events(self, slug: str, chosen: TimeRange) -> Events:
        """The newest events of a dataset, each as its columns that are set, with ``parallax_time`` and ``COUNT``: those that agree in
        all of them, and in time, are one with a higher count. Of a dataset with more columns than a query may name, the first by name.
        Where that is more than Honeycomb can answer, because values are huge, only the columns that every event has.

        Two queries: groups by every column of hours of events are more than a server likes, so the first finds when the newest were.
        """
        columns = [str(column["key_name"]) for column in self.columns(slug)]
        newest = [row[TIME] for row in self._newest(slug, [], when(chosen)) if isinstance(row.get(TIME), int | float)]
        if not newest:
            return Events([], whole=True)
        between = {"start_time": int(min(newest)), "end_time": int(max(newest)) + 1}
        names = [name for name in columns if name != TIME]
        try:
            rows, whole = self._newest(slug, names, between), True
        except QueryFailed:
            rows, whole = self._newest(slug, [name for name in names if name in (*CORE, "duration_ms")], between), False
        return Events([{name: value for name, value in row.items() if value is not None} for row in rows], whole)

    def _newest(self, slug: str, columns: Sequence[str], between: Mapping[str, int]) -> list[Mapping[str, Any]]:
        answer = self._reader.answer(
            slug,
            {
                "calculated_fields": [{"name": TIME, "expression": "EVENT_TIMESTAMP()"}],
                "calculations": [{"op": "COUNT"}],
                "breakdowns": [TIME, *columns][:BREAKDOWNS],
                "orders": [{"column": TIME, "order": "descending"}],
                "limit": EVENTS,
                **between,
            },
            limit=EVENTS,
        )
        return [row["data"] for row in answer["data"]["results"]]

    def query(self, slug: str, spec: Mapping[str, Any], limit: int) -> Mapping[str, Any]:
        """A query's whole answer, with its values over time."""
        return self._reader.answer(slug, spec, series=True, limit=limit)

    def trace(self, trace_id: str, around: float) -> list[Observation]:
        """A trace's spans and log records from a minute before ``around`` (epoch seconds) to an hour after."""
        return self._reader.trace(trace_id, around)


def when(chosen: TimeRange) -> dict[str, int]:
    """The time of a query: a preset as a range that ends when it runs, anything else as two moments."""
    if chosen.name != CUSTOM and any(chosen.name == preset.name for preset in chosen.presets):
        return {"time_range": int(chosen.seconds)}
    return {"start_time": int(chosen.start), "end_time": int(chosen.end) + 1}
