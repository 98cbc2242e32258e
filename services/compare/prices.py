"""What a unit costs: a dated table of list prices, which a user can replace.

The table is ``prices.json`` beside this module; ``<STATE_DIR>/prices.json`` of the same form replaces it. A *meter* is what a vendor
counts for its bill.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from enum import StrEnum
from pathlib import Path
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from compose.settings import Backend, ConfigurationError, Settings, SignalPath
from services.compare.model import Measures


class Meter(StrEnum):
    """What is counted, by vendor."""

    #: Spans, span events, span links and log records ("How Honeycomb Calculates Usage").
    HONEYCOMB_EVENTS = "honeycomb/events"
    #: Metric data points of one second and one set of attributes are one event.
    HONEYCOMB_METRIC_EVENTS = "honeycomb/metric-events"
    #: A trace is recorded once, by whichever way its segments came ("AWS X-Ray pricing").
    XRAY_TRACES_RECORDED = "xray/traces-recorded"
    #: Traces that reading has scanned or retrieved: what compare itself is billed.
    XRAY_TRACES_READ = "xray/traces-read"
    #: Bytes of log events, 26 more for each ("PutLogEvents").
    CLOUDWATCH_LOG_BYTES = "cloudwatch/log-bytes"
    #: Bytes of the log events that carry metrics.
    CLOUDWATCH_METRIC_BYTES = "cloudwatch/metric-bytes"
    #: Each combination of name, namespace and dimensions, for the month in which it is first sent.
    CLOUDWATCH_CUSTOM_METRICS = "cloudwatch/custom-metrics"
    ROLLBAR_OCCURRENCES = "rollbar/occurrences"

    @property
    def backend(self) -> Backend:
        return Backend(self.value.split("/")[0])


#: The meter that a path's own signals turn.
OF_PATH: Final = {
    SignalPath.HONEYCOMB_OTLP: Meter.HONEYCOMB_EVENTS,
    SignalPath.XRAY_SDK: Meter.XRAY_TRACES_RECORDED,
    SignalPath.XRAY_OTLP: Meter.XRAY_TRACES_RECORDED,
    SignalPath.CLOUDWATCH_WATCHTOWER: Meter.CLOUDWATCH_LOG_BYTES,
    SignalPath.CLOUDWATCH_OTLP: Meter.CLOUDWATCH_LOG_BYTES,
    SignalPath.ROLLBAR_SDK: Meter.ROLLBAR_OCCURRENCES,
}
#: Meters that count things which exist, not things which happen: twice the traffic does not turn them faster.
STANDING: Final = frozenset({Meter.CLOUDWATCH_CUSTOM_METRICS})
#: Meters that reading turns, which is billed when somebody reads and not by the traffic.
READING: Final = frozenset({Meter.XRAY_TRACES_READ})
#: Meters that use up the free units of another one first.
SHARING: Final = {Meter.HONEYCOMB_METRIC_EVENTS: Meter.HONEYCOMB_EVENTS, Meter.CLOUDWATCH_METRIC_BYTES: Meter.CLOUDWATCH_LOG_BYTES}

_BUILT_IN: Final = Path(__file__).with_name("prices.json")

Unit = Literal["event", "trace", "byte", "metric", "occurrence"]


class Price(BaseModel):
    """``usd_per_unit`` None: not known, so the cost is unknown too, which is not zero. ``free_per_month``: units."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    unit: Unit
    usd_per_unit: float | None = Field(ge=0)
    free_per_month: int = Field(ge=0)
    source: str = ""

    def cost(self, units: float) -> float | None:
        """US dollars, before the free tier."""
        return None if self.usd_per_unit is None else units * self.usd_per_unit


class Prices(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    as_of: date
    currency: Literal["USD"]
    region: str
    note: str = ""
    meters: dict[Meter, Price]

    @field_validator("meters")
    @classmethod
    def _all_of_them(cls, meters: dict[Meter, Price]) -> dict[Meter, Price]:
        missing = [str(meter) for meter in Meter if meter not in meters]
        if missing:
            raise ValueError(f"{', '.join(missing)} missing; copy them from the built-in table, services/compare/prices.json")
        return meters

    def free(self, month: Mapping[Meter, float]) -> dict[Meter, float]:
        """How many of a month's units are free. What a meter leaves of its free units, those that share them use."""
        found = {meter: min(units, float(self.meters[meter].free_per_month)) for meter, units in month.items()}
        for meter, owner in SHARING.items():
            if meter in month:
                left = self.meters[owner].free_per_month - found.get(owner, 0.0)
                found[meter] = min(month[meter], self.meters[meter].free_per_month + left)
        return found

    def monthly(self, month: Mapping[Meter, float]) -> dict[Meter, float | None]:
        """US dollars for a month's units, beyond what is free."""
        free = self.free(month)
        return {meter: self.meters[meter].cost(units - free[meter]) for meter, units in month.items()}

    def of(self, path: SignalPath) -> Price:
        """The price of what a path's own signals are billed by."""
        return self.meters[OF_PATH[path]]


def units(path: SignalPath, measures: Measures) -> int:
    """Units of :data:`OF_PATH` that a path was measured to have."""
    return measures.traces if OF_PATH[path] is Meter.XRAY_TRACES_RECORDED else measures.units


def built_in() -> Prices:
    """The table that comes along."""
    return Prices.model_validate_json(_BUILT_IN.read_bytes())


def load(settings: Settings) -> Prices:
    """The user's table, else the one that comes along. Raises ConfigurationError when it is not one."""
    own = settings.state_dir / "prices.json"
    path = own if own.exists() else _BUILT_IN
    try:
        return Prices.model_validate_json(path.read_bytes())
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read ({error.strerror}); mend it, or remove it to use the built-in prices") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        problem = f"{where + ': ' if where else ''}{first['msg'].removeprefix('Value error, ')}"
        raise ConfigurationError(f"{path} is not a table of prices ({problem}); mend it, or remove it to use the built-in prices") from None
