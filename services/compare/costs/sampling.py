"""What a sampling rate would have saved of this run, and which of its errors it would have hidden.

Head sampling decides by the trace id, as the ``TraceIdRatioBased`` sampler of OpenTelemetry's SDK for Python does: a trace is kept when the
lower 64 bits of its id are below the rate's share of their range. So the answer is the same each time, and a higher rate keeps
everything that a lower one kept: "Tracing SDK", OpenTelemetry specification, asks for both and leaves the algorithm open. Spans and
segments are sampled; log lines, items and metrics are not.

*Keeping errors* is what tail sampling does instead: every request that failed is kept, of the others the rate's share.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from services.compare.costs.bill import Bill
from services.compare.prices import SHARING, Meter, Prices
from services.compare.record import Record

#: Rates that the page shows beside the one that is asked about.
RATES: Final = (0.5, 0.25, 0.1, 0.05, 0.01)
#: Hidden errors that are listed.
LISTED: Final = 100

#: A trace's place in the sampler's range of 2^64; its error, as the client or any backend saw it; and its billable spans.
_TRACES: Final = """
WITH spans AS (
    SELECT trace_id,
           sum(units * deliveries) FILTER (WHERE path = 'honeycomb/otlp' AND kind = 'span') AS events,
           bool_or(path LIKE 'xray/%') AS traced,
           bool_or(error) AS error
    FROM observations GROUP BY trace_id)
SELECT requests.sequence, requests.trace_id, requests.route, requests.status, requests.start,
       CAST('0x' || right(requests.trace_id, 16) AS UBIGINT)::HUGEINT AS place,
       coalesce(requests.status >= 500, FALSE) OR requests.status IS NULL OR coalesce(spans.error, FALSE) AS error,
       coalesce(spans.events, 0) AS events, coalesce(spans.traced, FALSE) AS traced
FROM requests LEFT JOIN spans USING (trace_id)
"""


@dataclass(frozen=True)
class Choice:
    """One rate. ``kept``, ``hidden``: requests that are kept, and those that failed and are not. ``blind``: kinds of error (route and
    status) of which not one request is kept. ``units``: a month's units by meter that are left; ``saved``: dollars a month by meter,
    None where the price is not known. ``*_keeping``: the same when errors are always kept."""

    rate: float
    kept: int
    hidden: int
    blind: Sequence[tuple[str, int | None]]
    units: dict[Meter, float]
    saved: dict[Meter, float | None]
    units_keeping: dict[Meter, float]
    saved_keeping: dict[Meter, float | None]


@dataclass(frozen=True)
class Hidden:
    """A request that failed and would not have been kept. ``elsewhere``: paths that show it all the same, because they sample nothing."""

    sequence: int
    trace_id: str
    route: str
    status: int | None
    elsewhere: Sequence[str]


@dataclass(frozen=True)
class Sampled:
    """``errors``: requests that failed; ``recorded``: requests of which anything that is sampled was recorded."""

    requests: int
    recorded: int
    errors: int
    choices: Sequence[Choice]


def bound(rate: float) -> int:
    """The first place in the sampler's range that this rate does not keep."""
    return round(rate * (1 << 64))


def choices(record: Record, bill: Bill, prices: Prices, rates: Sequence[float]) -> Sampled:
    """What each rate would mean, for the month that ``bill`` reckons with."""
    # All rates in one pass: what takes the time is to put the spans of every request together.
    bounds = ", ".join(f"{each}::HUGEINT" for each in dict.fromkeys(map(bound, rates)))
    rows = record.rows(
        f"""
        WITH traces AS MATERIALIZED ({_TRACES})
        SELECT bound, count(*) FILTER (WHERE place < bound) AS kept,
               count(*) FILTER (WHERE error AND place >= bound) AS hidden,
               coalesce(sum(events) FILTER (WHERE place >= bound), 0) AS events,
               count(*) FILTER (WHERE traced AND place >= bound) AS traces,
               coalesce(sum(events) FILTER (WHERE place >= bound AND NOT error), 0) AS events_keeping,
               count(*) FILTER (WHERE traced AND place >= bound AND NOT error) AS traces_keeping
        FROM traces CROSS JOIN (SELECT unnest([{bounds}]) AS bound) GROUP BY bound
        """
    )
    by_bound = {row["bound"]: row for row in rows}
    kinds = record.rows(
        f"""
        SELECT error, CASE WHEN error THEN route END AS route, CASE WHEN error THEN status END AS status, count(*) AS n,
               count(*) FILTER (WHERE events > 0 OR traced) AS recorded, min(place) AS first
        FROM ({_TRACES}) GROUP BY ALL ORDER BY ALL
        """
    )
    errors = [kind for kind in kinds if kind["error"]]
    return Sampled(
        sum(kind["n"] for kind in kinds),
        sum(kind["recorded"] for kind in kinds),
        sum(kind["n"] for kind in errors),
        [
            _choice(
                bill,
                prices,
                rate,
                by_bound.get(bound(rate), _NONE),
                [(kind["route"], kind["status"]) for kind in errors if kind["first"] >= bound(rate)],
            )
            for rate in rates
        ],
    )


#: What a rate means for a run without requests.
_NONE: Final = dict.fromkeys(("kept", "hidden", "events", "traces", "events_keeping", "traces_keeping"), 0)


def _choice(bill: Bill, prices: Prices, rate: float, row: Mapping[str, Any], blind: Sequence[tuple[str, int | None]]) -> Choice:
    plain = {Meter.HONEYCOMB_EVENTS: float(row["events"]), Meter.XRAY_TRACES_RECORDED: float(row["traces"])}
    keeping = {Meter.HONEYCOMB_EVENTS: float(row["events_keeping"]), Meter.XRAY_TRACES_RECORDED: float(row["traces_keeping"])}
    units, saved = _savings(bill, prices, plain)
    units_keeping, saved_keeping = _savings(bill, prices, keeping)
    return Choice(rate, row["kept"], row["hidden"], blind, units, saved, units_keeping, saved_keeping)


def _savings(bill: Bill, prices: Prices, dropped: dict[Meter, float]) -> tuple[dict[Meter, float], dict[Meter, float | None]]:
    """A month's units that are left, and the dollars that are saved, by meter, when these units of the run are not sent."""
    before = {total.meter: total.month_units for total in bill.totals}
    after = dict(before)
    for total in bill.totals:
        if total.meter in dropped and total.units:
            after[total.meter] = max(0.0, total.month_units * (1 - dropped[total.meter] / total.units))
    paid, left = prices.monthly(before), prices.monthly(after)
    units: dict[Meter, float] = {}
    saved: dict[Meter, float | None] = {}
    for meter in dropped.keys() & before.keys():
        # Free units that are no longer used are there for the meters that share them.
        together = [meter, *(each for each, owner in SHARING.items() if owner is meter and each in before)]
        units[meter] = after[meter]
        costs = [(paid[each], left[each]) for each in together]
        known = [then - now for then, now in costs if then is not None and now is not None]
        saved[meter] = sum(known) if len(known) == len(costs) else None
    return units, saved


def hidden(record: Record, rate: float) -> list[Hidden]:
    """The first :data:`LISTED` requests that failed and that this rate would not have kept."""
    rows = record.rows(
        f"""
        WITH lost AS (SELECT * FROM ({_TRACES}) WHERE error AND place >= $bound ORDER BY sequence LIMIT {LISTED})
        SELECT lost.sequence, lost.trace_id, lost.route, lost.status,
               coalesce(list(DISTINCT observations.path ORDER BY observations.path)
                        FILTER (WHERE observations.kind IN ('log', 'item')), []) AS elsewhere
        FROM lost LEFT JOIN observations USING (trace_id)
        GROUP BY ALL ORDER BY lost.sequence
        """,
        {"bound": bound(rate)},
    )
    return [Hidden(**row) for row in rows]
