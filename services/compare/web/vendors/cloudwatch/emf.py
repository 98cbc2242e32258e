"""Metrics in log events. Pure.

An event in the embedded metric format is a JSON object that says which of its members are metrics: ``_aws.CloudWatchMetrics`` names
namespace, sets of dimensions and metrics with their units; a value is a number, a list of numbers, or an object with ``Count``, ``Sum``,
``Min`` and ``Max`` ("Specification: Embedded metric format", CloudWatch user guide).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from services.compare.readers.base import mapping, text


@dataclass(frozen=True)
class Point:
    """``at`` epoch seconds. ``count`` values that add up to ``total``; a single number has a count of 1."""

    at: float
    count: float
    total: float

    @property
    def mean(self) -> float:
        return self.total / self.count if self.count else 0.0


@dataclass(frozen=True)
class Metric:
    """One series: a metric with its dimensions. ``points`` oldest first."""

    namespace: str
    name: str
    unit: str
    dimensions: tuple[tuple[str, str], ...]
    points: list[Point] = field(default_factory=list)

    @property
    def label(self) -> str:
        return self.without(frozenset())

    def without(self, common: frozenset[tuple[str, str]]) -> str:
        """The dimensions in words, but those that go without saying."""
        return ", ".join(f"{key}={value}" for key, value in self.dimensions if (key, value) not in common) or "(no dimensions)"

    def means(self, step: float) -> dict[float, float]:
        """The mean of the values in each ``step`` seconds, by when those begin."""
        sums: dict[float, tuple[float, float]] = {}
        for point in self.points:
            at = point.at // step * step
            count, total = sums.get(at, (0.0, 0.0))
            sums[at] = (count + point.count, total + point.total)
        return {at: total / count for at, (count, total) in sums.items() if count}


def metrics(lines: Iterable[tuple[float, Mapping[str, Any] | None]]) -> list[Metric]:
    """The metrics that log lines hold, each a time (epoch seconds) and its JSON object if it is one; by name, then dimensions."""
    found: dict[tuple[Any, ...], Metric] = {}
    for at, document in lines:
        declared = mapping(mapping(document).get("_aws")).get("CloudWatchMetrics")
        for directive in declared if document is not None and isinstance(declared, list) else ():
            for metric, point in _declared(mapping(directive), document or {}, at):
                key = (metric.name, metric.dimensions, metric.namespace, metric.unit)
                found.setdefault(key, metric).points.append(point)
    for metric in found.values():
        metric.points.sort(key=lambda point: point.at)
    return [found[key] for key in sorted(found)]


def _declared(directive: Mapping[str, Any], document: Mapping[str, Any], at: float) -> Iterable[tuple[Metric, Point]]:
    sets = directive.get("Dimensions")
    # Each set makes metrics of its own at CloudWatch; the one with most dimensions tells most apart.
    widest: Sequence[Any] = max((each for each in sets if isinstance(each, list)), key=len, default=()) if isinstance(sets, list) else ()
    dimensions = tuple(sorted((str(key), str(document[key])) for key in widest if isinstance(key, str) and key in document))
    listed = directive.get("Metrics")
    for each in map(mapping, listed) if isinstance(listed, list) else ():
        name = text(each.get("Name"))
        point = None if name is None else _point(document.get(name), at)
        if name is not None and point is not None:
            yield Metric(text(directive.get("Namespace")) or "", name, text(each.get("Unit")) or "None", dimensions), point


def _point(value: Any, at: float) -> Point | None:
    if isinstance(value, Mapping):
        count, total = value.get("Count"), value.get("Sum")
        return Point(at, float(count), float(total)) if _number(count) and _number(total) else None  # type: ignore[arg-type]
    if isinstance(value, list) and value and all(map(_number, value)):
        return Point(at, len(value), float(sum(value)))
    return Point(at, 1, float(value)) if _number(value) else None


def _number(value: Any) -> bool:
    """A finite number; an integer beyond a float's range is none, for it cannot be drawn."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300
