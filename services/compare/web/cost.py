"""``/runs/<id>/cost``: what the run would cost, what a month at its rate would, and what sampling would save and hide."""

from __future__ import annotations

import math

from flask import Blueprint, render_template, request

from compose.settings import Backend
from services.compare.costs import sampling
from services.compare.costs.bill import bill
from services.compare.web.site import refuse, site

blueprint = Blueprint("cost", __name__, url_prefix="/runs/<run_id>/cost")

#: Where the page begins: a rate that many use.
RATE = 0.1


@blueprint.get("")
def show(run_id: str) -> str:
    """``?rate=``: requests a second for the month; ``?sampling=``: percent of requests whose spans are kept."""
    run = site().run(run_id)
    record = site().record(run)
    prices = site().prices()
    rate = _number("rate", 0, 1e9)
    percent = _number("sampling", 0, 100)
    chosen = RATE if percent is None else percent / 100
    reckoned = bill(record, prices, rate)
    rates = sorted({*sampling.RATES, chosen}, reverse=True)
    return render_template(
        "cost/show.html",
        run=run,
        report=record.document,
        bill=reckoned,
        prices=prices,
        backends=[backend for backend in Backend if reckoned.of(backend)],
        sampled=sampling.choices(record, reckoned, prices, rates),
        chosen=chosen,
        hidden=sampling.hidden(record, chosen),
        listed=sampling.LISTED,
        own_prices=(site().settings.state_dir / "prices.json").exists(),
    )


def _number(name: str, low: float, high: float) -> float | None:
    text = request.args.get(name, "").strip()
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not low <= value <= high:
        refuse(f"{name}={text} is not a number from {low:g} to {high:g}")
    return value
