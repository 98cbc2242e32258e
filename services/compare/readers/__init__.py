"""One module a backend, all with the interface of :class:`services.compare.readers.base.Reader`."""

from __future__ import annotations

from collections.abc import Collection

from compose.settings import Settings, SignalPath
from services.compare.readers.base import Reader
from services.compare.readers.cloudwatch import CloudWatchReader
from services.compare.readers.honeycomb import HoneycombReader
from services.compare.readers.metrics import CloudWatchMetrics, HoneycombMetrics, MetricReader
from services.compare.readers.rollbar import RollbarReader
from services.compare.readers.xray import XRayReader
from services.cruddur.signals import METRICS


def readers(
    settings: Settings, paths: Collection[SignalPath], honeycomb_keys: Collection[str], documents: bool | Collection[str] = False
) -> list[Reader]:
    """A reader for each backend that has one of ``paths``. ``documents``: what is read comes with the vendor's own record of it; where
    trace ids are given, those of these at least, from whichever backend gives them without being asked for more (Honeycomb does not)."""
    some = documents is not False
    found: list[Reader] = []
    if SignalPath.HONEYCOMB_OTLP in paths:
        found.append(HoneycombReader(settings, honeycomb_keys, documents=documents is True))
    if {SignalPath.XRAY_SDK, SignalPath.XRAY_OTLP} & set(paths):
        found.append(XRayReader(settings, documents))
    found += [
        CloudWatchReader(settings, path, documents=some)
        for path in (SignalPath.CLOUDWATCH_WATCHTOWER, SignalPath.CLOUDWATCH_OTLP)
        if path in paths
    ]
    if SignalPath.ROLLBAR_SDK in paths:
        found.append(RollbarReader(settings, documents=some))
    return found


def metric_readers(settings: Settings, paths: Collection[SignalPath]) -> list[MetricReader]:
    """A reader of metric totals for each path that carries metrics."""
    found: list[MetricReader] = []
    if SignalPath.HONEYCOMB_OTLP in paths:
        found.append(HoneycombMetrics(settings, METRICS))
    if SignalPath.CLOUDWATCH_OTLP in paths:
        found.append(CloudWatchMetrics(settings, METRICS))
    return found
