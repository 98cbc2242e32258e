"""Totals of metrics over a run, read back where metrics arrive: Honeycomb's metrics dataset, and CloudWatch's EMF log events.

Metrics carry the run but no trace, so they are compared as totals with the ledger. Two services may record a metric of the same
name, so only the data points of the metric's own service count. Wire facts: Honeycomb keeps a sum as a column of its name and a
histogram's count as ``<name>.count`` ("Metrics-to-Event Mapping", Honeycomb documentation); ``awsemf`` writes a histogram as an
object with ``Count`` and ``Sum``, a sum as a number ("Embedded metric format specification", CloudWatch user guide).
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol

from compose.settings import Settings, SignalPath
from services.compare.prices import Meter
from services.compare.readers.aws import client
from services.compare.readers.base import Window, mapping, parse
from services.compare.readers.cloudwatch import OVERHEAD, pages
from services.compare.readers.honeycomb import HoneycombReader, minutes
from services.cruddur.signals import Metric

#: Seconds after a run in which its last data points may still carry their time: an export interval, and the wait for a collection.
LATE: Final = 120.0


class MetricReader(Protocol):
    path: SignalPath
    #: What the vendor bills for the data points of the last :meth:`totals`.
    billed: Mapping[Meter, int]

    def totals(self, window: Window) -> dict[str, float]:
        """The total of each metric over the run, by name; 0 where the backend holds no data point of it. Raises Unreadable."""
        ...


class HoneycombMetrics:
    path = SignalPath.HONEYCOMB_OTLP

    def __init__(self, settings: Settings, metrics: Sequence[Metric]) -> None:
        self._honeycomb = HoneycombReader(settings, ())
        self._dataset = settings.honeycomb_metrics_dataset
        self._services = {metric.name: metric.service for metric in metrics}
        self.billed: Mapping[Meter, int] = {}
        self._columns = {metric.name: f"{metric.name}.count" if metric.kind == "histogram" else metric.name for metric in metrics}

    def totals(self, window: Window) -> dict[str, float]:
        totals = dict.fromkeys(self._columns, 0.0)
        slug = self._honeycomb.slug(self._dataset)
        known = self._honeycomb.columns(slug) if slug is not None else set()
        asked = {name: column for name, column in self._columns.items() if column in known}
        if slug is None or not asked or not {"run", "service.name"} <= known:
            return totals
        start, end = minutes(window.start - 60, min(window.end + LATE, time.time()))
        rows = self._honeycomb.query(
            slug,
            {
                "calculations": [{"op": "COUNT"}, *({"op": "SUM", "column": column} for column in asked.values())],
                "breakdowns": ["service.name"],
                "filters": [{"column": "run", "op": "=", "value": window.run}],
                "start_time": start,
                "end_time": end,
            },
        )
        self.billed = {Meter.HONEYCOMB_METRIC_EVENTS: int(sum(row.get("COUNT") or 0 for row in rows))}
        for row in rows:
            for name, column in asked.items():
                if row.get("service.name") == self._services[name]:
                    totals[name] += row.get(f"SUM({column})") or 0.0
        return totals


class CloudWatchMetrics:
    path = SignalPath.CLOUDWATCH_OTLP

    def __init__(self, settings: Settings, metrics: Sequence[Metric]) -> None:
        self._client = client(settings, "logs")
        self._group = settings.metrics_log_group
        self._services = {metric.name: metric.service for metric in metrics}
        self.billed: Mapping[Meter, int] = {}

    def totals(self, window: Window) -> dict[str, float]:
        totals = dict.fromkeys(self._services, 0.0)
        size, custom = 0, set[tuple[str, ...]]()
        for page in pages(self._client, self._group, "METRICS_LOG_GROUP", window.start - 60, window.end + LATE):
            for event in page:
                try:
                    line = parse(event["message"])
                except ValueError:
                    continue  # not an EMF line: somebody else writes to the group too
                if not isinstance(line, dict) or line.get("run") != window.run:
                    continue
                size += len(event["message"].encode()) + OVERHEAD
                custom |= custom_metrics(line)
                for name, service in self._services.items():
                    if line.get("service.name") != service:
                        continue
                    value = line.get(name)
                    if isinstance(value, dict):
                        totals[name] += value.get("Count", 0)
                    elif isinstance(value, (int, float)):
                        totals[name] += value
        self.billed = {Meter.CLOUDWATCH_METRIC_BYTES: size, Meter.CLOUDWATCH_CUSTOM_METRICS: len(custom)}
        return totals


def custom_metrics(line: Mapping[str, Any]) -> set[tuple[str, ...]]:
    """The custom metrics that CloudWatch makes of an EMF line: each name with each of the line's dimension sets and their values."""
    found: set[tuple[str, ...]] = set()
    directives = mapping(line.get("_aws")).get("CloudWatchMetrics")
    for directive in directives if isinstance(directives, list) else ():
        about = mapping(directive)
        sets = [each for each in about.get("Dimensions") or () if isinstance(each, list)]
        names = [mapping(each).get("Name") for each in about.get("Metrics") or ()]
        for dimensions in sets:
            values = [f"{key}={line.get(key)}" for key in sorted(map(str, dimensions))]
            found |= {(str(about.get("Namespace")), str(name), *values) for name in names}
    return found
