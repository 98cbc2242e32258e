"""Items: groups of occurrences that are the same problem."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flask import Response, render_template, request, url_for

from services.compare.web import paging
from services.compare.web.figures import Axis, Figure, Series
from services.compare.web.site import site
from services.compare.web.vendors import raw
from services.compare.web.vendors.asking import Asked, ask
from services.compare.web.vendors.rollbar.client import ITEMS, LEVELS, OCCURRENCES, STATUSES, Rollbar
from services.compare.web.vendors.rollbar.shapes import occurrence

#: The API's own parameters ("List all items").
FILTERS = ("status", "level", "environment", "framework", "query")
#: Hours of the most active items ("Get top active items": 168 at most).
HOURS = 24


def index() -> str:
    page = paging.number(None)
    filters = {name: value for name in FILTERS if (value := request.args.get(name, "").strip())}
    found = ask("Rollbar", Rollbar(site().settings).items, filters, page)
    items, total = found.value or ([], 0)
    return render_template(
        "vendors/rollbar/items.html",
        found=found,
        items=items,
        total=total,
        filters=filters,
        statuses=STATUSES,
        levels=LEVELS,
        page=page,
        pages=max(1, -(-total // ITEMS)),
        at=lambda number: url_for(".items", page=number, **dict[str, Any](filters)),
    )


def show(item_id: int) -> str:
    page = paging.number(None)
    rollbar = Rollbar(site().settings)
    item = ask("Rollbar", rollbar.item, item_id)
    instances: Asked[list[Mapping[str, Any]]] = Asked([])
    figure = None
    if item.value is not None:
        instances = ask("Rollbar", rollbar.occurrences, page, item_id)
        figure = _by_hour(rollbar, item_id, str(item.value.get("environment") or ""))
    return render_template(
        "vendors/rollbar/item.html",
        item=item,
        item_id=item_id,
        found=instances,
        occurrences=[occurrence(each) for each in instances.value or ()],
        figure=figure,
        hours=HOURS,
        page=page,
        full=len(instances.value or ()) >= OCCURRENCES,
    )


def raw_item(item_id: int) -> Response:
    return raw.of(ask("Rollbar", Rollbar(site().settings).item, item_id))


def _by_hour(rollbar: Rollbar, item_id: int, environment: str) -> Figure | None:
    """An item's occurrences by hour. The API counts them by item only for those that were most active."""
    top = ask("Rollbar", rollbar.top_active_items, HOURS, environment).value or []
    counts = next((counts for item, counts in top if item.get("id") == item_id), None)
    if not counts:
        return None
    ago = range(1 - len(counts), 1)
    return Figure(
        f"Occurrences in the last {HOURS} hours, by hour",
        Axis("hours ago", "count"),
        Axis("occurrences", "count"),
        [float(hour) for hour in ago],
        (Series("occurrences", counts, path="rollbar/sdk", kind="bars"),),
    )
