"""Reports: the most active items, and how many occurrences there were over time."""

from __future__ import annotations

from flask import render_template, request

from services.compare.web.figures import Axis, Figure, Series
from services.compare.web.site import refuse, site
from services.compare.web.vendors.asking import ask
from services.compare.web.vendors.rollbar.client import BUCKETS, Rollbar
from services.compare.web.vendors.rollbar.shapes import level, seconds

HOURS = (1, 6, 24, 168)


def show() -> str:
    bucket = request.args.get("by", "") or "minute"
    if bucket not in BUCKETS:
        refuse(f"by={bucket}: occurrences are not counted by that.", f"Take one of {', '.join(BUCKETS)}.")
    asked = request.args.get("hours", "") or "24"
    hours = next((hours for hours in HOURS if str(hours) == asked), None)
    if hours is None:
        refuse(f"hours={asked} cannot be asked for.", f"Take one of {', '.join(map(str, HOURS))}.")
    environment = request.args.get("environment", "").strip()
    rollbar = Rollbar(site().settings)
    counts = ask("Rollbar", rollbar.occurrence_counts, BUCKETS[bucket], environment)
    top = ask("Rollbar", rollbar.top_active_items, hours, environment)
    return render_template(
        "vendors/rollbar/reports.html",
        counts=counts,
        figure=_figure(counts.value, bucket) if counts.value else None,
        top=top,
        by=bucket,
        buckets=BUCKETS,
        hours=hours,
        choices=HOURS,
        environment=environment,
        level_word=level,
        seconds=seconds,
    )


def _figure(counts: list[tuple[float, int]], bucket: str) -> Figure:
    return Figure(
        f"Occurrences of level error and critical, by {bucket}",
        Axis("time (UTC)", "moment" if bucket != "minute" else "time"),
        Axis("occurrences", "count"),
        [start for start, _ in counts],
        (Series("occurrences", [count for _, count in counts], path="rollbar/sdk", kind="bars"),),
    )
