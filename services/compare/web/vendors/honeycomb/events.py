"""A dataset's newest events.

The Query Data API answers no events, so a query grouped by time and by every column makes each group one event: see ``client``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from flask import render_template, request

from services.compare.readers.base import text
from services.compare.web.site import site
from services.compare.web.vendors import timerange
from services.compare.web.vendors.asking import Asked, ask
from services.compare.web.vendors.honeycomb.client import EVENTS, TIME, Events, Honeycomb

_FIRST = ("name", "event.name", "body")


@dataclass(frozen=True)
class Event:
    """``at`` epoch seconds. ``kind``: span, span event, log or metric. ``count``: how often it is there. ``attributes``: by name."""

    at: float | None
    kind: str
    name: Any
    service: Any
    duration_ms: float | None
    error: bool
    trace_id: str | None
    run: str | None
    count: int
    attributes: list[tuple[str, Any]]


def show() -> str:
    slug = request.args.get("dataset", "")
    chosen = timerange.read(default="15m")
    honeycomb = Honeycomb(site().settings)
    datasets = ask("Honeycomb", honeycomb.datasets)
    found: Asked[Events] = ask("Honeycomb", honeycomb.events, slug, chosen) if slug and datasets.value else Asked(None)
    return render_template(
        "vendors/honeycomb/events.html",
        datasets=datasets.value or [],
        problem=datasets.problem or found.problem,
        events=[event(row) for row in found.value.rows] if found.value else [],
        whole=found.value is None or found.value.whole,
        slug=slug,
        range=chosen,
        most=EVENTS,
    )


def event(row: Mapping[str, Any]) -> Event:
    """A row of the query as an event."""
    kind = row.get("meta.signal_type") or "event"
    if kind == "trace":
        kind = {"span_event": "span event", "link": "link"}.get(str(row.get("meta.annotation_type")), "span")
    at, duration, count = row.get(TIME), row.get("duration_ms"), row.get("COUNT")
    return Event(
        at=float(at) if isinstance(at, int | float) and 0 <= at < 32_503_680_000 else None,
        kind=str(kind),
        name=next((row[name] for name in _FIRST if name in row), ""),
        service=row.get("service.name", ""),
        duration_ms=float(duration) if isinstance(duration, int | float) else None,
        error=row.get("error") in (True, "true"),
        trace_id=text(row.get("trace.trace_id")),
        run=text(row.get("run")),
        count=int(count) if isinstance(count, int | float) else 1,
        attributes=sorted((name, value) for name, value in row.items() if name not in (TIME, "COUNT")),
    )
