"""The bill of a run, and of a month at a rate: units by meter, times the table of prices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from compose.settings import Backend, SignalPath
from services.compare.prices import STANDING, Meter, Price, Prices
from services.compare.record import Record

#: Seconds in a month, as AWS's price calculator has it: 730 hours.
MONTH: Final = 730 * 3600.0


@dataclass(frozen=True)
class Line:
    """One meter on one path. ``path`` None: no single one, or several that are billed once.
    ``month_units``: at the rate asked about. Dollars are None where the price is not known, which is not zero."""

    meter: Meter
    path: str | None
    price: Price
    units: float
    month_units: float

    @property
    def cost(self) -> float | None:
        """Of the run, before the free tier."""
        return self.price.cost(self.units)


@dataclass(frozen=True)
class Total:
    """One meter of one backend, all paths together."""

    meter: Meter
    price: Price
    units: float
    month_units: float

    @property
    def cost(self) -> float | None:
        return self.price.cost(self.units)

    @property
    def month_cost(self) -> float | None:
        """Beyond the free tier."""
        return self.price.monthly(self.month_units)

    @property
    def free_share(self) -> float | None:
        """How much of a month's free units is used; None where there are none."""
        return self.month_units / self.price.free_per_month if self.price.free_per_month else None


@dataclass(frozen=True)
class Bill:
    """``rate``: requests a second that a month is reckoned with; ``run_rate``: those of the run. ``unreadable``: paths of which nothing
    is known."""

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
        Line(meter, each["path"], prices.meters[meter], each["units"], month(meter, each["units"]))
        for each in record.document.get("meters", [])
        for meter in (Meter(each["meter"]),)
    ]
    totals = []
    for meter in Meter:
        found = [line for line in lines if line.meter is meter]
        if not found:
            continue
        units = sum(line.units for line in found)
        if meter is Meter.XRAY_TRACES_RECORDED and len(found) > 1:
            # Both ways end in the same trace, which is recorded once.
            units = record.rows("SELECT count(DISTINCT trace_id) AS n FROM observations WHERE path LIKE 'xray/%'")[0]["n"]
        totals.append(Total(meter, prices.meters[meter], units, month(meter, units)))
    states = record.document["paths"]
    unreadable = [str(path) for path in SignalPath if states[path]["state"] == "unreadable"]
    return Bill(requests, seconds, used, run_rate, lines, totals, unreadable)
