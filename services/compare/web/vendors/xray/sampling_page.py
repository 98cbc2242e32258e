"""``/vendors/xray/sampling``: the sampling rules in the order in which they are tried, and what they sampled of late."""

from __future__ import annotations

from services.compare.web.vendors.xray import sampling
from services.compare.web.vendors.xray.frame import ask, blueprint, console, page


@blueprint.get("/sampling", endpoint="sampling")
def rules() -> tuple[str, int]:
    records = ask(lambda xray: xray.sampling_rules())
    statistics = ask(lambda xray: xray.sampling_statistics())
    reported = statistics.value.entries if statistics.value else []
    return page(
        "sampling.html",
        "sampling",
        records.status,
        records=records,
        statistics=statistics,
        rules=sampling.rules(records.value.entries if records.value else [], reported),
        span_reported=sampling.span(reported),
        figure=sampling.figure(reported),
        console=console("sampling"),
    )
