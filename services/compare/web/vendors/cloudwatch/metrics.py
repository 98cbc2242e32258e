"""Metrics: what the lines of the metrics' log group hold in the embedded metric format, and what CloudWatch lists as metrics."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from flask import render_template, request

from services.compare.web.figures import Axis, Figure, Series, Unit
from services.compare.web.site import site
from services.compare.web.vendors import timerange
from services.compare.web.vendors.asking import ask
from services.compare.web.vendors.cloudwatch.client import CloudWatch
from services.compare.web.vendors.cloudwatch.emf import Metric, metrics
from services.compare.web.vendors.cloudwatch.lines import line

#: Pages of lines that are read: 1 MB each, which an application fills in minutes.
PAGES: Final = 4
#: Series in one plot, and in the table.
PLOTTED: Final = 8
LISTED: Final = 300
#: Points of one series at most.
POINTS: Final = 100
_UNITS: Final[dict[str, Unit]] = {"Seconds": "s", "Milliseconds": "ms", "Bytes": "bytes", "Percent": "percent"}


@dataclass(frozen=True)
class Read:
    """``lines`` that were read, ``oldest`` of them (epoch seconds, None of none), and whether there were more in the range."""

    found: Sequence[Metric]
    lines: int
    oldest: float | None


def show() -> str:
    settings = site().settings
    chosen = timerange.read(default="5m")
    cloudwatch = CloudWatch.of_site()
    read = ask("CloudWatch Logs", _read, cloudwatch, settings.metrics_log_group, chosen.start, chosen.end)
    listed = ask("CloudWatch", cloudwatch.metrics, settings.metrics_namespace)
    name = request.args.get("metric", "")
    every = read.value.found if read.value else []
    same = [metric for metric in every if metric.name == name]
    return render_template(
        "vendors/cloudwatch/metrics.html",
        read=read,
        found=every[:LISTED],
        left_out=max(0, len(every) - LISTED),
        listed=listed,
        range=chosen,
        name=name,
        figure=_figure(same) if same else None,
        plotted=PLOTTED,
        same=same,
        group=settings.metrics_log_group,
        namespace=settings.metrics_namespace,
    )


def _read(cloudwatch: CloudWatch, group: str, start: float, end: float) -> Read:
    lines = [line(event) for page in cloudwatch.every(group, start, end + 1, True, PAGES) for event in page]
    return Read(metrics((each.at, each.document) for each in lines), len(lines), min((each.at for each in lines), default=None))


def _figure(same: Sequence[Metric]) -> Figure | None:
    """The series of one metric, those with most values first: the mean of each step of time, which is the same for all of them."""
    drawn = sorted(same, key=lambda metric: (-sum(point.count for point in metric.points), metric.dimensions))[:PLOTTED]
    times = [point.at for metric in drawn for point in metric.points]
    step = max(1, math.ceil((max(times) - min(times)) / POINTS))
    means = [metric.means(step) for metric in drawn]
    xs = sorted(set().union(*means))
    if not xs:
        return None
    common = frozenset(drawn[0].dimensions).intersection(*(metric.dimensions for metric in drawn)) if len(drawn) > 1 else frozenset()
    unit = same[0].unit
    return Figure(
        f"{same[0].name}, mean of {step} s",
        Axis("time (UTC)", "time" if xs[-1] - xs[0] <= 86_400 else "moment"),
        Axis(unit if unit != "None" else "value", _UNITS.get(unit, "count")),
        xs,
        [
            Series(metric.without(common), [values.get(x) for x in xs], path="cloudwatch/otlp" if len(drawn) == 1 else "", number=number)
            for number, (metric, values) in enumerate(zip(drawn, means, strict=True), 1)
        ],
    )
