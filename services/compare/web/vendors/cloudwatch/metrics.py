"""Metrics: what the lines of the metrics' log group hold in the embedded metric format, and what CloudWatch lists as metrics."""

from __future__ import annotations

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


def _figure(same: Sequence[Metric]) -> Figure:
    """The series of one metric, those with most values first: of a histogram its mean."""
    drawn = sorted(same, key=lambda metric: (-sum(point.count for point in metric.points), metric.dimensions))[:PLOTTED]
    xs = sorted({point.at for metric in drawn for point in metric.points})
    at = [{point.at: point.mean for point in metric.points} for metric in drawn]
    return Figure(
        same[0].name,
        Axis("time (UTC)", "time"),
        Axis(same[0].unit if same[0].unit != "None" else "value", _UNITS.get(same[0].unit, "count")),
        xs,
        [
            Series(metric.label, [values.get(x) for x in xs], path="cloudwatch/otlp" if len(drawn) == 1 else "", number=number)
            for number, (metric, values) in enumerate(zip(drawn, at, strict=True), 1)
        ],
    )
