"""The bill of a run, and of a month at a rate: units by meter, times the table of prices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from compose.settings import Backend, SignalPath
from services.compare.prices import READING, STANDING, Meter, Price, Prices
from services.compare.record import Record

#: Seconds in a month, as AWS's price calculator has it: 730 hours.
MONTH: Final = 730 * 3600.0


@dataclass(frozen=True)
class Line:
    """One meter on one path. ``path`` None: no single one. Dollars are None where the price is not known, which is not zero."""

    meter: Meter
    path: str | None
    price: Price
    units: float

    @property
    def per_request(self) -> bool:
        """Whether more requests turn it."""
        return self.meter not in STANDING

    @property
    def cost(self) -> float | None:
        """Of the run, before the free tier."""
        return self.price.cost(self.units)


@dataclass(frozen=True)
class Total:
    """One meter of one backend, all paths together. ``month_free``: units of the month that are free; ``month_cost``: dollars for the
    others."""

    meter: Meter
    price: Price
    units: float
    month_units: float
    month_free: float
    month_cost: float | None


@dataclass(frozen=True)
class Bill:
    """``rate``: requests a second that a month is reckoned with; ``run_rate``: those of the run. ``unreadable``: paths of which nothing
    is known. ``totals``: what a month is billed by; what reading costs depends on who reads and is in ``lines`` only."""

    requests: int
    seconds: float
    rate: float
    run_rate: float
    lines: Sequence[Line]
    totals: Sequence[Total]
    unreadable: Sequence[str]

    def of(self, backend: Backend) -> list[Total]:
        return [total for total in self.totals if total.meter.backend is backend]

    def month(self, backend: Backend) -> float | None:
        """A backend's dollars a month; None where a price of it is not known."""
        costs = [total.month_cost for total in self.of(backend)]
        return None if not costs or any(cost is None for cost in costs) else sum(cost for cost in costs if cost is not None)


def bill(record: Record, prices: Prices, rate: float | None = None) -> Bill:
    """``rate``: requests a second; None: as in the run."""
    about = record.rows("SELECT count(*) AS n, min(start) AS first, max(start + duration_ms / 1000) AS last FROM requests")[0]
    requests, seconds = int(about["n"]), max(float(about["last"] or 0) - float(about["first"] or 0), 1e-3)
    run_rate = requests / seconds
    used = run_rate if rate is None else rate
    per_month = used * MONTH / requests if requests else 0.0

    def month(meter: Meter, units: float) -> float:
        return units if meter in STANDING else units * per_month

    lines = [
        Line(meter, each["path"], prices.meters[meter], each["units"])
        for each in record.document.get("meters", [])
        for meter in (Meter(each["meter"]),)
    ]
    used_units: dict[Meter, float] = {}
    for meter in Meter:
        found = [line for line in lines if line.meter is meter]
        if not found or meter in READING:
            continue
        units = sum(line.units for line in found)
        if meter is Meter.XRAY_TRACES_RECORDED and len(found) > 1:
            # Both ways end in the same trace, which is recorded once.
            units = record.rows(
                "SELECT count(DISTINCT trace_id) AS n FROM observations JOIN requests USING (trace_id) WHERE path LIKE 'xray/%'"
            )[0]["n"]
        used_units[meter] = units
    months = {meter: month(meter, units) for meter, units in used_units.items()}
    free, costs = prices.free(months), prices.monthly(months)
    totals = [Total(meter, prices.meters[meter], units, months[meter], free[meter], costs[meter]) for meter, units in used_units.items()]
    states = record.document["paths"]
    unreadable = [str(path) for path in SignalPath if states[path]["state"] == "unreadable"]
    return Bill(requests, seconds, used, run_rate, lines, totals, unreadable)
